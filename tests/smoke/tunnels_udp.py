"""Tunnels in UDP with a stock Linux (its FOU, under QEMU) at the far end.

T5's pair on one LAN, with both families: Greyhound is A, Linux is B. A host behind
A talks to B through the tunnel.
"""

import qemu
from greyhound import af_packet, ports_config
from lab import shell
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from support import finish, neighbours, start
from topology import Neighbours
from transfer import expect_file, expect_ping, iperf, ping

A4, B4 = Neighbours.A, Neighbours.B
A6, B6 = "2001:db8:5::25", "2001:db8:5::163"
B_IN4, B_IN6 = "12.0.0.2", "fd00:12::2"
LAN4, LAN6 = "172.20.0.9", "2001:db8:1::9"
GATE4, GATE6 = "172.20.0.1", "2001:db8:1::1"
B_MAC = "02:00:00:00:00:63"

# Greyhound's kind and words; what Linux's port carries, and its kind and words for
# the same tunnel; the inner families.
OVER4 = {
    "GRE in UDP": ("gre", "udp 4754", "ipproto 47", "gre", "ttl 64", "encap-csum", (4, 6)),
    "GRE in UDP, no checksum": ("gre", "udp 4754 nosum", "ipproto 47", "gre", "ttl 64", "", (4,)),
    "GRE in UDP, key and fixed port": ("gre", "key 7 udp 4754 from 50001", "ipproto 47", "gre", "key 7 ttl 64",
                                       "encap-csum", (4,)),
    "IPv4 in UDP": ("ipip", "udp 5555", "ipproto 4", "ipip", "ttl 64", "encap-csum", (4,)),
    "IPv6 in UDP": ("ipip", "udp 5556", "ipproto 41", "sit", "ttl 64", "encap-csum", (6,)),
}
OVER6 = {
    "GRE in UDP over IPv6": ("gre", "udp 4754", "ipproto 47 -6", "ip6gre", "encaplimit none", "encap-udp6-csum", (4, 6)),
    "IPv4 in UDP over IPv6": ("ipip", "udp 5555", "ipproto 4 -6", "ip6tnl mode ipip6", "encaplimit none",
                              "encap-udp6-csum", (4,)),
    "IPv6 in UDP over IPv6": ("ipip", "udp 5556", "ipproto 41 -6", "ip6tnl mode ip6ip6", "encaplimit none",
                              "encap-udp6-csum", (6,)),
}


def smoke_tunnels_in_udp():
    """GRE, IPv4 and IPv6 in UDP over IPv4: pings both ways, in fragments too, a file by TCP, what is on the wire"""
    every(OVER4, A4, B4)


def smoke_tunnels_in_udp_over_ipv6():
    """GRE, IPv4 and IPv6 in UDP over IPv6: pings both ways, in fragments too, a file by TCP, what is on the wire"""
    every(OVER6, A6, B6)


def every(kinds, local, remote):
    """All kinds of tunnel over one family, one after the other."""
    with neighbours() as stage:
        wire, lab = stage.lan.wire, stage.lab
        lab.tap(wire, "tb")
        wire.ip("link set tb master br0")
        b = lab.guest("b", wire, [("tb", B_MAC)], kind=qemu.Guest)
        b.sh(f"ip addr add {B4}/8 dev eth0; ip addr add {B6}/64 dev eth0 nodad; ip link set eth0 up")
        space, lan = stage.lan.port("a"), lab.netns("lan", ipv6=True)
        lab.veth(lan, "eth0", space, "en1")
        lan.sh(f"ip addr add {LAN4}/24 dev eth0; ip -6 addr add {LAN6}/64 dev eth0 nodad; "
               f"ip route add default via {GATE4}; ip -6 route add default via {GATE6}")
        a = start(lab, space, ports_config(en0=af_packet("en0", 0), en1=af_packet("en1", 1)), "a")
        a.notes(["ifconfig en0 10.25", f"ifconfig en0 inet6 {A6} prefixlen 64",
                 f"ifconfig en1 {GATE4} netmask 255.255.255.0", f"ifconfig en1 inet6 {GATE6} prefixlen 64"])
        for name, kind in kinds.items():
            try:
                one(stage, a, b, lan, (local, remote), kind)
            except AssertionError as why:
                raise AssertionError(f"{name}: {why}\n{a.note('netstat -s')}") from why
        finish(a)


def one(stage, a, b, lan, ends, kind):
    """One tunnel: set up at both ends, used, looked at, taken down."""
    ours, words, carries, theirs, options, checksum, families = kind
    (local, remote), port = ends, words.split("udp ")[1].split()[0]
    kind_of_b, _, mode = theirs.partition(" ")
    b.sh(f"ip fou add port {port} {carries} && ip link add t0 type {kind_of_b} {mode} local {remote} remote {local} "
         f"{options} encap fou encap-sport auto encap-dport {port} {checksum} && ip link set t0 up")
    one_pair = ours == "ipip" and ":" not in local
    lines = [f"ifconfig {ours}0 create",
             f"ifconfig {ours}0 {local} {remote}" if one_pair else f"ifconfig {ours}0 tunnel {local} {remote}",
             f"ifconfig {ours}0 {words}"]
    if 4 in families:
        b.sh(f"ip addr add {B_IN4}/32 dev t0; ip route add {LAN4} dev t0 src {B_IN4}")
        link1 = " link1" if ours == "gre" else ""
        lines.append(f"route add {B_IN4} -interface {ours}0" if one_pair else f"ifconfig {ours}0 12.1 12.2{link1}")
    if 6 in families:
        b.sh(f"ip -6 addr add {B_IN6}/64 dev t0 nodad; ip -6 route add {LAN6} dev t0")
        lines.append(f"ifconfig {ours}0 inet6 fd00:12::1 prefixlen 64")
    a.notes(lines)
    wire = stage.lab.capture(stage.lan.wire, "to-a", f"udp port {port} or ip6 proto 17")
    for family, host, far in ((4, LAN4, B_IN4), (6, LAN6, B_IN6)):
        if family not in families:
            continue
        # The first one that is too large teaches the host the tunnel's MTU.
        ping(lan, far, count=1, size=4000)
        for size in (56, 4000):
            expect_ping(b, host, count=2, size=size)
            expect_ping(lan, far, count=2, size=size)
    expect_file(lan, b, B_IN4 if 4 in families else f"[{B_IN6}]", megabytes=1)
    expect_outer(wire, ends, int(port), words)
    for back in (False, True):
        seen = iperf(lan, b, B_IN4 if 4 in families else B_IN6, seconds=1, reverse=back)["sum_received"]
        assert seen["bits_per_second"] > 100_000, f"iperf3{' back' if back else ''}: {seen}"
    a.note(f"ifconfig {ours}0 destroy")
    b.sh(f"ip link del t0; ip fou del port {port}{' -6' if '-6' in carries else ''}")


def expect_outer(wire, ends, port, words):
    """Ports and checksums as configured, and nothing that tshark calls wrong."""
    frames = [f for f in wire.packets() if UDP in f and f[UDP].dport == port]
    header = IPv6 if ":" in ends[0] else IP
    mine = [f[UDP] for f in frames if f[header].src == ends[0]]
    assert len(mine) > 50 and len(mine) < len(frames), f"{len(mine)} of {len(frames)} are ours"
    ports = {udp.sport for udp in mine}
    assert ports == {50001} if "from" in words else min(ports) >= 49152 and len(ports) > 1, ports
    assert all((udp.chksum == 0) == ("nosum" in words) for udp in mine)
    wrong = "_ws.malformed || udp.checksum.status==Bad || ip.checksum.status==Bad || tcp.checksum.status==Bad"
    checks = "-o ip.check_checksum:TRUE -o udp.check_checksum:TRUE -o tcp.check_checksum:TRUE"
    out = shell(f"tshark -r {wire.file} {checks} -d udp.port==4754,gre -Y '{wrong}' 2>/dev/null").out
    assert not out.strip(), out[:2000]
