"""T13 (implicit route, link1 clear), T16 and T17 (ipip0): where outer packets go.

One LAN, network 10: Greyhound on it, a stock Linux with the far end, and for
T16 and T17 the note's two gateways, 10.0.0.2 and 10.0.0.3.
"""

import contextlib

from greyhound import af_packet, ports_config
from scapy_quiet import IP, Ether
from support import expect_outer, finish, neighbours, start
from transfer import expect_ping, ping

LINUX_MAC = "02:00:00:00:00:63"
FAR, NEAR = "12.0.0.2", "12.0.0.1"


def greyhound(stage, *lines):
    a = start(stage.lab, stage.lan.port("a"), ports_config(en0=af_packet("en0")), "a")
    a.notes(lines)
    return a


def pings(a, address):
    out = a.note(f"ping -c 3 -i 0.2 {address}", timeout=30)
    assert " 0% packet loss" in out or " 0.0% packet loss" in out, out


def underlay(a, name="gre0"):
    return a.tunnel(name)["tunnel"]["underlay"]


def technote_t13():
    """link1 clear: the toggled address selects the route, never the tunnel's own; the real destination is resolved"""
    with neighbours() as stage:
        # Adjacent: the far end's address with its last bit toggled is our own.
        b = stage.lan.linux("b", "10.0.0.25", "10.0.0.24", FAR, NEAR, LINUX_MAC)
        a = greyhound(stage, "ifconfig en0 10.24", "ifconfig gre0 create",
                      "ifconfig gre0 12.1 12.2 -link1", "ifconfig gre0 tunnel 10.24 10.25")
        assert underlay(a)["next_hop"] == "10.0.0.25", underlay(a)
        wire = stage.lab.capture(stage.lan.wire, "to-a", "ip proto 47")
        pings(a, FAR)
        expect_ping(b, NEAR)
        frames = expect_outer(wire.packets(), ("10.0.0.24", "10.0.0.25"), (NEAR, FAR))
        assert {f[Ether].dst for f in frames} == {LINUX_MAC}, [f.summary() for f in frames]
        # A host route for the far end into the tunnel itself: what link1 refuses.
        a.note("route add -host 10.0.0.25 12.2")
        assert "RUNNING" in a.tunnel()["flags"] and underlay(a)["next_hop"] == "10.0.0.25", a.tunnel()
        pings(a, FAR)
        a.note("route delete -host 10.0.0.25")
        # A subnet of two addresses.
        b.sh("ip link del gre0; ip addr add 192.168.7.1/31 dev eth0; "
             "ip link add gre0 type gre local 192.168.7.1 remote 192.168.7.0 ttl 64 && "
             f"ip addr add {FAR} peer {NEAR} dev gre0 && ip link set gre0 up")
        a.notes(["ifconfig en0 192.168.7.0/31", "ifconfig gre0 tunnel 192.168.7.0 192.168.7.1"])
        assert underlay(a)["next_hop"] == "192.168.7.1", underlay(a)
        pings(a, FAR)
        expect_ping(b, NEAR)
        finish(a)


def gateway(stage, name, address, linux):
    """A router on the LAN that hands what is for 11.0.0.2 on to the Linux there."""
    space = stage.lab.netns(name)
    stage.lab.veth(space, "eth0", stage.lan.wire, f"to-{name}")
    stage.lan.wire.ip(f"link set to-{name} master br0")
    space.ip(f"addr add {address}/8 dev eth0")
    space.ip("link set eth0 up")
    space.sysctl("net.ipv4.ip_forward", 1)
    space.sysctl("net.ipv4.conf.all.send_redirects", 0)
    space.sysctl("net.ipv4.conf.eth0.send_redirects", 0)
    space.ip(f"route add 11.0.0.2 via {linux}")
    return space


def outer_macs(frames):
    """Where the outer packets of ipip0 went, each a ping from 11.1 to 11.2 in protocol 4."""
    expect_outer(frames, ("11.0.0.1", "11.0.0.2"), ("11.0.0.1", "11.0.0.2"), protocol=4)
    return [f[Ether].dst for f in frames if f[IP].src == "11.0.0.1" and f[IP].proto == 4]


@contextlib.contextmanager
def ipip(before=()):
    """The note's lines, `before` ahead of the last; Linux with its end of ipip0 behind both gateways."""
    with neighbours() as stage:
        stage.b = stage.lan.linux("b", "10.0.0.9", "10.0.0.1", FAR, NEAR, LINUX_MAC)
        # Linux finds the outer route by device, so that its own tunnel does not swallow it.
        stage.b.sh("ip link add ipip0 type ipip local 11.0.0.2 remote 11.0.0.1 ttl 64 dev eth0 && "
                   "ip addr add 11.0.0.2 peer 11.0.0.1 dev ipip0 && ip link set ipip0 up && "
                   "ip route add 11.0.0.1 via 10.0.0.1 dev eth0 metric 9")
        stage.two, stage.three = (gateway(stage, f"g{n}", f"10.0.0.{n}", "10.0.0.9") for n in (2, 3))
        stage.a = greyhound(stage, "ifconfig en0 10.1", "route add default 10.3", *before, "ifconfig ipip0 create",
                            "ifconfig ipip0 11.1 11.2")
        yield stage
        finish(stage.a)


def expect_by(stage, router, last):
    """Pings through ipip0 work, and their outer packets go to this gateway, 10.0.0.`last`."""
    assert underlay(stage.a, "ipip0")["next_hop"] == f"10.0.0.{last}", underlay(stage.a, "ipip0")
    wire = stage.lab.capture(stage.lan.wire, "to-a", "ip proto 4 and src host 11.0.0.1")
    pings(stage.a, "11.2")
    assert set(outer_macs(wire.packets())) == {router.mac("eth0")}


def technote_t16():
    """ifconfig ipip0 11.1 11.2: no tunnel keyword, no link1; outer packets go by the default route, to 10.3"""
    with ipip() as stage:
        for line in ("ifconfig ipip0 tunnel 10.1 10.9", "ifconfig ipip0 link1"):
            done = stage.a.note_result(line)
            assert done.code != 0 and "ipip0" in done.out, done.out
        expect_by(stage, stage.three, 3)
        loss, out = ping(stage.b, "11.0.0.1")
        assert loss == 0, out


def technote_t17():
    """route add -net 11 10.2 before ipip0: outer packets go to 10.2; deleted and added again while it runs"""
    with ipip(["route add -net 11 10.2"]) as stage:
        expect_by(stage, stage.two, 2)
        stage.a.note("route delete -net 11")
        expect_by(stage, stage.three, 3)
        stage.a.note("route add -net 11 10.2")
        expect_by(stage, stage.two, 2)
