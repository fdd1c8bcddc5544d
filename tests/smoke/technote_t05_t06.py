"""T5 and T6: A (10.0.0.25) and B (10.0.0.163) on one LAN, joined by gre0.

Greyhound as A against Linux, as B against Linux, and as both.
"""

from greyhound import af_packet, ports_config
from scapy_quiet import GRE, IP
from support import expect_outer, finish, neighbours, start
from topology import Neighbours
from transfer import expect_ping

A, B = Neighbours.A, Neighbours.B
AS_A = ["ifconfig en0 10.25", "ifconfig gre0 create", "ifconfig gre0 12.1 12.2 link1",
        "ifconfig gre0 tunnel 10.25 10.163", "ifconfig gre0"]
AS_B = ["ifconfig en0 10.163", "ifconfig gre0 create", "ifconfig gre0 12.2 12.1 link1",
        "ifconfig gre0 tunnel 10.163 10.25", "ifconfig gre0"]


def greyhound(stage, name, lines):
    """Greyhound on the wire, set up by the note's lines."""
    machine = start(stage.lab, stage.lan.port(name), ports_config(en0=af_packet("en0")), name)
    return machine.notes(lines)


def greyhound_pings(machine, address):
    """Greyhound's own `ping` verb, as typed; nothing may be lost."""
    out = machine.note(f"ping -c 4 {address}", timeout=30)
    assert " 0% packet loss" in out or " 0.0% packet loss" in out, out


def technote_t05_greyhound_is_a():
    """ping 12.0.0.2 from Greyhound A to Linux B; the outer packets are the note's"""
    with neighbours() as stage:
        b = stage.lan.linux("b", B, A, "12.0.0.2", "12.0.0.1", "02:00:00:00:00:63")
        a = greyhound(stage, "a", AS_A)
        wire = stage.lab.capture(stage.lan.wire, "to-a", "ip proto 47")
        b.spawn("tcpdump -Z root -n -i gre0 -c 1 icmp and dst host 12.0.0.2 >/tmp/inner 2>&1")
        greyhound_pings(a, "12.0.0.2")
        frames = wire.packets()
        expect_outer(frames, (A, B), ("12.0.0.1", "12.0.0.2"))
        expect_outer(frames, (B, A), ("12.0.0.2", "12.0.0.1"))
        inner = b.sh("cat /tmp/inner")
        assert "12.0.0.1 > 12.0.0.2: ICMP echo request" in inner, f"B's gre0 saw\n{inner}"
        finish(a)


def technote_t05_greyhound_is_b():
    """ping 12.0.0.2 from Linux A to Greyhound B"""
    with neighbours() as stage:
        a = stage.lan.linux("a", A, B, "12.0.0.1", "12.0.0.2", "02:00:00:00:00:25")
        b = greyhound(stage, "b", AS_B)
        wire = stage.lab.capture(stage.lan.wire, "to-b", "ip proto 47")
        expect_ping(a, "12.0.0.2")
        expect_ping(a, "12.0.0.2", size=1400)
        frames = wire.packets()
        expect_outer(frames, (A, B), ("12.0.0.1", "12.0.0.2"))
        expect_outer(frames, (B, A), ("12.0.0.2", "12.0.0.1"))
        finish(b)


def technote_t05_greyhound_is_both():
    """ping 12.0.0.2 from Greyhound A to Greyhound B"""
    with neighbours() as stage:
        a, b = greyhound(stage, "a", AS_A), greyhound(stage, "b", AS_B)
        wire = stage.lab.capture(stage.lan.wire, "to-b", "ip proto 47")
        greyhound_pings(a, "12.0.0.2")
        greyhound_pings(b, "12.0.0.1")
        frames = wire.packets()
        expect_outer(frames, (A, B), ("12.0.0.1", "12.0.0.2"))
        expect_outer(frames, (B, A), ("12.0.0.2", "12.0.0.1"))
        for machine in (a, b):
            finish(machine)


def technote_t06():
    """B decapsulates: behind Greyhound B the packet has dst 12.0.0.2 and no outer header"""
    with neighbours() as stage:
        # 12.0.0.2 is a host behind B here, so that what B takes out of the
        # tunnel is seen on a wire.
        a = stage.lan.linux("a", A, B, "12.0.0.1", "12.0.0.2", "02:00:00:00:00:25")
        space = stage.lan.port("b")
        behind = stage.lab.netns("behind")
        stage.lab.veth(behind, "eth0", space, "en1")
        behind.ip("addr add 12.0.0.2/24 dev eth0")
        behind.ip("route add 12.0.0.1/32 via 12.0.0.3")
        b = start(stage.lab, space, ports_config(en0=af_packet("en0", 0), en1=af_packet("en1", 1)), "b")
        b.notes(["ifconfig en0 10.163", "ifconfig en1 12.0.0.3 netmask 255.255.255.0",
                 "ifconfig gre0 create", "ifconfig gre0 12.3 12.1 link1", "ifconfig gre0 tunnel 10.163 10.25"])
        wire = stage.lab.capture(behind, "eth0", "icmp or proto 47")
        expect_ping(a, "12.0.0.2")
        frames = wire.packets()
        requests = [f for f in frames if f[IP].dst == "12.0.0.2"]
        assert len(requests) == 5, [f.summary() for f in frames]
        for frame in requests:
            assert frame[IP].src == "12.0.0.1" and frame[IP].proto == 1 and GRE not in frame, frame.summary()
        finish(b)
