"""Minimal encapsulation (RFC 2004), the note's MOBILE: T12.

No Linux speaks it, so Greyhound is at both ends; tcpdump, which knows the
format, reads what is on the wire.
"""

import re

from greyhound import af_packet, ports_config
from lab import shell
from support import expect_checksum, finish, office, start
from scapy_quiet import IP
from topology import A_INNER, A_OUTER, A_REAL_INTERFACES, A_TUNNEL, B_HOST, C_OUTER

SWITCH = "ifconfig gre0 10.1 10.25 link1 -link0"


def expect_minimal(frames, outer, inner):
    """Whole datagrams between `outer` in minimal encapsulation, `inner` written behind their header."""
    found = 0
    for frame in frames:
        ip = frame[IP]
        if (ip.src, ip.dst) != outer or ip.proto != 55:
            continue
        header = bytes(ip.payload)[:12]
        assert header[1] == 0x80, header.hex()
        where = [".".join(map(str, header[at : at + 4])) for at in (8, 4)]
        assert tuple(where) == inner, (where, inner)
        expect_checksum(ip)
        found += 1
    assert found, f"nothing in minimal encapsulation from {outer[0]} to {outer[1]}"
    return found


def technote_t12():
    """-link0 switches the live tunnel to MOBILE: RFC 2004 on the wire as tcpdump reads it; fragments as IP in IP"""
    with office(boot_a=False) as o:
        a = start(o.lab, o.town.port_of_a(), ports_config(en0=af_packet("en0")), "a")
        a.notes([*A_REAL_INTERFACES, *A_TUNNEL])
        assert "LINK0" in o.c.note("ifconfig gre0")
        ping(a)
        o.c.note(SWITCH)
        assert "LINK0" not in o.c.note("ifconfig gre0"), o.c.note("ifconfig gre0")
        a.note("ifconfig gre0 10.25 10.1 link1 -link0")
        wire = o.lab.capture(o.inet, "toa", "ip proto 55 or ip proto 4")
        ping(a)
        ping(a, "-s 1400")
        o.lan.run(f"ping -c 3 -i 0.2 -W 2 {A_INNER}")
        frames = wire.packets()
        expect_minimal(frames, (A_OUTER, C_OUTER), (A_INNER, B_HOST))
        expect_minimal(frames, (C_OUTER, A_OUTER), (B_HOST, A_INNER))
        decoded = shell(["tcpdump", "-nvr", wire.file, "ip proto 55"]).out
        assert re.search(r"mobile: \[S\] ", decoded) and "bad" not in decoded, decoded[:2000]

        wire = o.lab.capture(o.inet, "toa", "ip proto 55 or ip proto 4")
        o.lan.run(f"ping -c 3 -i 0.2 -W 2 -s 4000 {A_INNER}")
        protocols = {frame[IP].proto for frame in wire.packets()}
        assert protocols == {4}, protocols
        counted = o.c.metric("greyhound_tunnel_fallback_packets_total", tunnel="gre0")
        assert counted >= 9, counted
        o.c.note("ifconfig gre0 link0")
        a.note("ifconfig gre0 link0")
        ping(a)
        finish(a)


def ping(a, options=""):
    out = a.note(f"ping -c 4 -i 0.2 {options} {B_HOST}", timeout=30)
    assert re.search(r" 0(\.0)?% packet loss", out), out
