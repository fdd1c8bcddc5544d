"""GRE options with a stock Linux at the far end: checksum, key, sequence number, all three.

T5's pair on one LAN: Greyhound is A (10.0.0.25), Linux is B (10.0.0.163).
"""

from greyhound import af_packet, ports_config
from scapy_quiet import GRE, IP
from support import expect_checksum, finish, neighbours, start
from topology import Neighbours
from transfer import expect_ping, ping

A, B = Neighbours.A, Neighbours.B
A_IN, B_IN = "12.0.0.1", "12.0.0.2"
PLAIN = "-key -checksum -sequence"
# Greyhound's words, Linux's words, and the GRE fields A sends.
OPTIONS = {
    "checksum": ("checksum", "csum", {"chksum_present": 1, "key_present": 0, "seqnum_present": 0}),
    "key": ("key 42", "key 42", {"chksum_present": 0, "key_present": 1, "key": 42}),
    "key 0": ("key 0", "key 0.0.0.0", {"key_present": 1, "key": 0}),
    "two keys": ("key 1 2", "ikey 2 okey 1", {"key_present": 1, "key": 2}),
    "sequence": ("sequence", "seq", {"chksum_present": 0, "key_present": 0, "seqnum_present": 1}),
    "all": ("key 42 checksum sequence", "key 42 csum seq",
            {"chksum_present": 1, "key_present": 1, "seqnum_present": 1, "key": 42}),
}


def pair(stage):
    """Greyhound as A and Linux as B, joined by a plain gre0."""
    b = stage.lan.linux("b", B, A, B_IN, A_IN, "02:00:00:00:00:63")
    a = start(stage.lab, stage.lan.port("a"), ports_config(en0=af_packet("en0")), "a")
    a.notes(["ifconfig en0 10.25", "ifconfig gre0 create 12.1 12.2 link1 tunnel 10.25 10.163"])
    expect_ping(b, A_IN, count=2)
    return a, b


def relink(b, words):
    """B's gre0 with other options."""
    b.sh(f"ip link del gre0; ip link add gre0 type gre local {B} remote {A} ttl 64 {words} && "
         f"ip addr add {B_IN} peer {A_IN} dev gre0 && ip link set gre0 up")


def mtu(machine):
    return int(machine.sh("cat /sys/class/net/gre0/mtu"))


def expect_pings(a, b):
    """Both ways, small, full size and in fragments; nothing may be lost."""
    for size in (56, 1400, 4000):
        expect_ping(b, A_IN, size=size)
    out = a.note(f"ping -c 3 -i 0.2 {B_IN}", timeout=30)
    assert " 0% packet loss" in out or " 0.0% packet loss" in out, out


def smoke_gre_options():
    """each option alone and all three: pings both ways, header and MTU as Linux has them"""
    with neighbours() as stage:
        a, b = pair(stage)
        for name, (ours, theirs, fields) in OPTIONS.items():
            relink(b, theirs)
            a.note(f"ifconfig gre0 {PLAIN}")
            a.note(f"ifconfig gre0 {ours}")
            assert a.tunnel()["mtu"] == mtu(b), f"{name}: {a.tunnel()['mtu']}, Linux {mtu(b)}"
            wire = stage.lab.capture(stage.lan.wire, "to-a", "ip proto 47")
            expect_pings(a, b)
            sent = [f for f in wire.packets() if IP in f and f[IP].src == A]
            assert sent, name
            for number, frame in enumerate(sent):
                gre = frame[GRE]
                expect_checksum(frame[IP])
                for field, value in fields.items():
                    assert getattr(gre, field) == value, f"{name}: {field}: {frame.summary()}"
                if gre.chksum_present:
                    fresh = gre.copy()
                    fresh.chksum = None
                    assert GRE(bytes(fresh)).chksum == gre.chksum, f"{name}: checksum: {frame.summary()}"
                if gre.seqnum_present:
                    assert gre.seqence_number == number, f"{name}: number {gre.seqence_number}, not {number}"
        shown = a.note("ifconfig gre0")
        assert "gre key 42 checksum sequence" in shown, shown
        finish(a)


def smoke_gre_wrong_key():
    """another key, or none on one side: nothing passes and it is counted"""
    with neighbours() as stage:
        a, b = pair(stage)
        for ours, theirs in (("key 42", "key 43"), ("key 42", ""), (PLAIN, "key 42"), ("key 0", "")):
            relink(b, theirs)
            a.note(f"ifconfig gre0 -key {ours}")
            before = a.dropped("unknown_tunnel")
            loss, out = ping(b, A_IN, count=3)
            assert loss == 100, f"{ours!r} against {theirs!r}:\n{out}"
            counted = a.dropped("unknown_tunnel") - before
            assert counted >= 3, f"{ours!r} against {theirs!r}: {counted} counted"
        finish(a)


def smoke_gre_sequence_begins_anew():
    """a far end whose numbers begin anew is followed after a second"""
    with neighbours() as stage:
        a, b = pair(stage)
        relink(b, "seq")
        a.note("ifconfig gre0 sequence")
        expect_ping(b, A_IN, count=20)
        relink(b, "seq")
        loss, out = ping(b, A_IN, count=15)
        assert 0 < loss < 100, f"{loss} % lost\n{out}"
        assert a.dropped("gre_out_of_sequence") > 0
        expect_ping(b, A_IN)
        finish(a)
