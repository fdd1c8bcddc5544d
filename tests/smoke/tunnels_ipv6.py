"""IPv6 with a stock Linux at the far end: on the wire, and in and around tunnels of every kind.

T5's pair on one LAN, with both families: Greyhound is A, Linux is B.
"""

from greyhound import af_packet, ports_config
from lab import wait_for
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6ND_RA, IPv6
from support import finish, neighbours, start
from topology import Neighbours
from transfer import expect_file, expect_ping, ping

A4, B4 = Neighbours.A, Neighbours.B
A6, B6 = "2001:db8:5::25", "2001:db8:5::163"
A_IN, B_IN = "12.0.0.1", "12.0.0.2"
A_IN6, B_IN6 = "fd00:12::1", "fd00:12::2"
B_MAC = "02:00:00:00:00:63"

# Greyhound's kind and its outer pair; Linux's words for the same; inner families.
KINDS = {
    "GRE over IPv4": ("gre", (A4, B4), f"type gre local {B4} remote {A4} ttl 64", (4, 6)),
    "GRE over IPv6": ("gre", (A6, B6), f"type ip6gre local {B6} remote {A6} encaplimit none", (4, 6)),
    "6-in-4": ("ipip", (A4, B4), f"type sit local {B4} remote {A4} ttl 64", (6,)),
    "4-in-6 and 6-in-6": ("ipip", (A6, B6),
                          f"type ip6tnl mode any local {B6} remote {A6} encaplimit none", (4, 6)),
    "with an encapsulation limit": ("ipip", (A6, B6),
                                    f"type ip6tnl mode any local {B6} remote {A6} encaplimit 4", (4, 6)),
}


def pair(stage):
    """Greyhound as A, Linux as B, both families on the wire."""
    b = stage.lan.linux("b", B4, A4, B_IN, A_IN, B_MAC)
    b.sh(f"ip link del gre0; ip addr add {B6}/64 dev eth0 nodad")
    a = start(stage.lab, stage.lan.port("a"), ports_config(en0=af_packet("en0")), "a")
    a.notes(["ifconfig en0 10.25", f"ifconfig en0 inet6 {A6} prefixlen 64"])
    return a, b


def expect_pings(a, b, there, back):
    """Both ways, small, large and in fragments; nothing may be lost."""
    for size in (56, 1200, 4000):
        expect_ping(b, there, size=size)
    for size in (56, 4000):
        out = a.note(f"ping -c 3 -i 0.2 -s {size} {back}", timeout=30)
        assert " 0.0% packet loss" in out, out


def smoke_ipv6_on_the_wire():
    """neighbour discovery both ways, echo, ndp, and what the wire saw of it"""
    with neighbours() as stage:
        b = stage.lan.linux("b", B4, A4, B_IN, A_IN, B_MAC)
        b.sh(f"ip link del gre0; ip addr add {B6}/64 dev eth0 nodad")
        a = start(stage.lab, stage.lan.port("a"), ports_config(en0=af_packet("en0")), "a")
        wire = stage.lab.capture(stage.lan.wire, "to-a", "icmp6")
        a.notes(["ifconfig en0 10.25", f"ifconfig en0 inet6 {A6} prefixlen 64"])
        expect_pings(a, b, A6, B6)
        shown = a.note("ndp -an")
        assert B6 in shown and B_MAC in shown, shown
        assert B6 not in a.note("arp -an"), "arp shows IPv4"
        frames = wire.packets()
        probes = [f for f in frames if ICMPv6ND_NS in f and f[IPv6].src == "::" and f[ICMPv6ND_NS].tgt == A6]
        told = [f for f in frames if ICMPv6ND_NA in f and f[ICMPv6ND_NA].tgt == A6]
        assert probes, "its address was not asked for before it was announced"
        assert any(f[IPv6].dst == "ff02::1" for f in told) and any(f[ICMPv6ND_NA].S for f in told), told
        assert all(f[IPv6].hlim == 255 for f in probes + told)
        # A neighbour that goes is missed: what waits for it is answered.
        b.sh(f"ip -6 addr del {B6}/64 dev eth0")
        a.note("ndp -c")
        out = a.note_result(f"ping -c 1 -W 6 {B6}", timeout=30).out
        assert "Unreachable" in out or "timeout" in out, out
        finish(a)


def smoke_router_advertisements():
    """a host makes an address and a default route of what Greyhound advertises; gateways by link-local address"""
    with neighbours() as stage:
        b = stage.lan.linux("b", B4, A4, B_IN, A_IN, B_MAC)
        b.sh("ip link del gre0; cd /proc/sys/net/ipv6/conf; echo 0 >all/forwarding; echo 1 >eth0/accept_ra; "
             "echo 1 >eth0/autoconf; ip addr add 2001:db8:6::1/128 dev lo nodad")
        a = start(stage.lab, stage.lan.port("a"), ports_config(en0=af_packet("en0")), "a")
        wire = stage.lab.capture(stage.lan.wire, "to-a", "icmp6")
        a.notes(["ifconfig en0 10.25", f"ifconfig en0 inet6 {A6} prefixlen 64",
                 "ifconfig en0 advertise interval 4 lifetime 60"])
        made, gateway = "2001:db8:5::ff:fe00:63", "fe80::ff:fe00:63"
        wait_for(f"{made} on b", lambda: made in b.sh("ip -6 addr show dev eth0 scope global -tentative"))
        route = b.sh("ip -6 route show default")
        assert "via fe80::" in route and "dev eth0 proto ra" in route, route
        expect_ping(b, A6)
        # The other way by the host's link-local address; and what it answers to comes by its
        # own default route.
        told = a.note(f"route add -inet6 2001:db8:6::/48 {gateway}%en0")
        assert f"gateway {gateway}%en0" in told, told
        out = a.note("ping -c 3 -i 0.2 2001:db8:6::1", timeout=30)
        assert " 0.0% packet loss" in out, out
        a.note("ifconfig en0 -advertise")
        wait_for("no default route on b", lambda: not b.sh("ip -6 route show default").strip())
        told = [f for f in wire.packets() if ICMPv6ND_RA in f]
        assert told and all(f[IPv6].hlim == 255 and f[IPv6].src.startswith("fe80::") for f in told), told
        assert [f[ICMPv6ND_RA].routerlifetime for f in told][-1] == 0, told
        finish(a)


def technote_t18_tunnels():
    """each kind of tunnel with each inner family: pings both ways, in fragments too"""
    with neighbours() as stage:
        a, b = pair(stage)
        for name, (kind, (local, remote), linux, families) in KINDS.items():
            b.sh(f"ip link del t0 2>/dev/null; ip link add t0 {linux} && ip link set t0 up")
            # The address pair of ipip over IPv4 is its outer pair too.
            outer = f"{local} {remote}" if name == "6-in-4" else f"tunnel {local} {remote}"
            lines = [f"ifconfig {kind}0 create", f"ifconfig {kind}0 {outer}"]
            if 4 in families:
                b.sh(f"ip addr add {B_IN} peer {A_IN} dev t0")
                lines.append(f"ifconfig {kind}0 12.1 12.2" + (" link1" if kind == "gre" else ""))
            if 6 in families:
                b.sh(f"ip -6 addr add {B_IN6}/64 dev t0 nodad")
                lines.append(f"ifconfig {kind}0 inet6 {A_IN6} prefixlen 64")
            a.notes(lines)
            for family, there, back in ((4, A_IN, B_IN), (6, A_IN6, B_IN6)):
                if family not in families:
                    continue
                try:
                    expect_pings(a, b, there, back)
                except AssertionError as why:
                    raise AssertionError(f"{name}, IPv{family}: {why}\n{a.note('netstat -s')}") from why
            a.note(f"ifconfig {kind}0 destroy")
        finish(a)


def technote_t18():
    """a LAN host and the far end over gre0: ping, a file by TCP both ways, traceroute, too big"""
    host, gateway, far = "2001:db8:1::163", "2001:db8:1::1", B_IN6
    with neighbours() as stage:
        b = stage.lan.linux("b", B4, A4, B_IN, A_IN, B_MAC)
        lan, space = stage.lab.netns("lan", ipv6=True), stage.lan.port("a")
        stage.lab.veth(lan, "eth0", space, "en1")
        lan.ip(f"-6 addr add {host}/64 dev eth0 nodad")
        lan.ip(f"-6 route add default via {gateway}")
        a = start(stage.lab, space, ports_config(en0=af_packet("en0", 0), en1=af_packet("en1", 1)), "a")
        a.notes(["ifconfig en0 10.25", f"ifconfig en1 inet6 {gateway} prefixlen 64", "ifconfig gre0 create",
                 "ifconfig gre0 12.1 12.2 link1 tunnel 10.25 10.163", f"ifconfig gre0 inet6 {A_IN6} prefixlen 64"])
        b.sh(f"ip -6 addr add {far}/64 dev gre0 nodad && ip -6 route add 2001:db8:1::/64 dev gre0")
        for size in (56, 1400):
            expect_ping(lan, far, size=size)
        # Nobody but the source cuts IPv6: the first one teaches it the tunnel's MTU.
        loss, out = ping(lan, far, size=4000)
        assert loss == 20 and "Packet too big: mtu=1476" in out, out
        expect_ping(lan, far, size=4000)
        expect_ping(b, host)
        expect_file(lan, b, f"[{far}]", megabytes=2)
        expect_file(b, lan, f"[{host}]", megabytes=2, port=5002)
        # More than the tunnel takes, and not to be cut by the host: told so.
        loss, out = ping(lan, far, count=2, size=1440, extra="-M do")
        assert loss == 100 and "1476" in out, out
        hops = lan.sh(f"traceroute -n -q 1 -w 2 -m 4 {far}")
        assert gateway in hops and far in hops, hops
        finish(a)
