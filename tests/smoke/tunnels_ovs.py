"""GRE with Open vSwitch's userspace datapath at the far end: a second implementation beside Linux."""

from greyhound import af_packet, ports_config
from lab import wait_for
from ovs import OpenVSwitch
from scapy_quiet import IP, IPv6
from support import expect_checksum, finish, neighbours, start
from topology import Neighbours
from transfer import expect_ping, ping

A, B = Neighbours.A, Neighbours.B
A6, B6 = "2001:db8:5::25", "2001:db8:5::163"
A_IN, B_IN = "12.0.0.1", "12.0.0.2"
# Greyhound's words and Open vSwitch's.
OPTIONS = {
    "plain": ("", {}),
    "key": ("key 42", {"key": 42}),
    "two keys": ("key 1 2", {"in_key": 2, "out_key": 1}),
    "checksum": ("checksum", {"csum": "true"}),
    "sequence": ("sequence", {"seq": "true"}),
    # Not all three: Open vSwitch 3.1 sums its header before it puts the number in.
    "key and checksum": ("key 42 checksum", {"key": 42, "csum": "true"}),
    "key and sequence": ("key 42 sequence", {"key": 42, "seq": "true"}),
}


def smoke_ovs_gre():
    """Open vSwitch as far end: plain, keys, checksum, sequence, two of them; a wrong key passes nothing"""
    with neighbours() as stage:
        far_end(stage, (A, f"{B}/8"), OPTIONS, "ip proto 47", IP)


def smoke_ovs_gre_over_ipv6():
    """the same over IPv6, plain and with a key"""
    with neighbours() as stage:
        far_end(stage, (A6, f"{B6}/64"), {name: OPTIONS[name] for name in ("plain", "key", "key and sequence")},
                "ip6 proto 47", IPv6)


def far_end(stage, ends, options, filter_of_outer, outer):
    """Pings both ways with each of the options; with another key, none."""
    ours, theirs = ends[0], ends[1].split("/")[0]
    b = OpenVSwitch(stage.lab, stage.lan.port("b", ipv6=True), "en0")
    b.gre(ends[1], ours, B_IN, A_IN)
    a = start(stage.lab, stage.lan.port("a"), ports_config(en0=af_packet("en0")), "a")
    a.notes([f"ifconfig en0 {ours}" if outer is IP else f"ifconfig en0 inet6 {ours} prefixlen 64",
             f"ifconfig gre0 create 12.1 12.2 link1 tunnel {ours} {theirs}"])
    # Over IPv6 its first packet is lost while it looks for its neighbour.
    wait_for("Open vSwitch to know the way", lambda: ping(b, A_IN, count=1)[0] == 0, 10)
    for name, (words, others) in options.items():
        b.options(**others)
        a.note("ifconfig gre0 -key -checksum -sequence")
        if words:
            a.note(f"ifconfig gre0 {words}")
        wire = stage.lab.capture(stage.lan.wire, "to-b", filter_of_outer)
        loss, out = ping(b, A_IN, count=3, size=1400)
        assert loss == 0, f"{name}: {a.show('drops')['drops']}\n{wire.text()}\n{out}"
        out = a.note(f"ping -c 3 -i 0.2 {B_IN}", timeout=30)
        assert " 0% packet loss" in out or " 0.0% packet loss" in out, f"{name}: {out}"
        frames = [f for f in wire.packets() if f[outer].src == theirs]
        assert len(frames) >= 6, f"{name}: {len(frames)} packets from Open vSwitch"
        for frame in frames if outer is IP else []:
            expect_checksum(frame[IP])
    b.options(key=43)
    before = a.dropped("unknown_tunnel")
    loss, out = ping(b, A_IN, count=3)
    assert loss == 100, out
    assert a.dropped("unknown_tunnel") >= before + 3
    finish(a)
