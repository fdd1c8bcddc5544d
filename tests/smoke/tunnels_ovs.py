"""GRE with Open vSwitch's userspace datapath at the far end: a second implementation beside Linux."""

from greyhound import af_packet, ports_config
from ovs import OpenVSwitch
from scapy_quiet import IP
from support import expect_checksum, finish, neighbours, start
from topology import Neighbours
from transfer import expect_ping, ping

A, B = Neighbours.A, Neighbours.B
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
        b = OpenVSwitch(stage.lab, stage.lan.port("b"), "en0")
        b.gre(f"{B}/8", A, B_IN, A_IN)
        a = start(stage.lab, stage.lan.port("a"), ports_config(en0=af_packet("en0")), "a")
        a.notes(["ifconfig en0 10.25", "ifconfig gre0 create 12.1 12.2 link1 tunnel 10.25 10.163"])
        for name, (ours, theirs) in OPTIONS.items():
            b.options(**theirs)
            a.note("ifconfig gre0 -key -checksum -sequence")
            if ours:
                a.note(f"ifconfig gre0 {ours}")
            wire = stage.lab.capture(stage.lan.wire, "to-b", "ip proto 47")
            loss, out = ping(b, A_IN, count=3, size=1400)
            assert loss == 0, f"{name}: {a.show('drops')['drops']}\n{wire.text()}\n{out}"
            out = a.note(f"ping -c 3 -i 0.2 {B_IN}", timeout=30)
            assert " 0% packet loss" in out or " 0.0% packet loss" in out, f"{name}: {out}"
            frames = [f for f in wire.packets() if f[IP].src == B]
            assert len(frames) >= 6, f"{name}: {len(frames)} packets from Open vSwitch"
            for frame in frames:
                expect_checksum(frame[IP])
        b.options(key=43)
        before = a.dropped("unknown_tunnel")
        loss, out = ping(b, A_IN, count=3)
        assert loss == 100, out
        assert a.dropped("unknown_tunnel") >= before + 3
        finish(a)
