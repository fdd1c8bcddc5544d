"""Minimal encapsulation (RFC 2004, MOBILE): `-link0`."""

import struct

from scapy.layers.inet import IP, IPOption
from scapy.packet import Raw
from scapy.utils import checksum

from .kit import case, fresh, hop, pieces, raw
from .net import *  # noqa: F403
from .icmp import told

MOBILE = changed(GATEWAY, "link1 = true\n", "link1 = true\nlink0 = false\n")


def minimal(inner, src=C1, dst=A, reserved=0):
    """`inner` in minimal encapsulation: its own header with the tunnel's
    addresses, and behind it where it came from and was going to."""
    inner = IP(raw(inner))
    body = raw(inner)[inner.ihl * 4 :]
    addresses = bytes(map(int, inner.dst.split(".")))
    if inner.src != src:
        addresses += bytes(map(int, inner.src.split(".")))
    flags = (0x80 if inner.src != src else 0) | reserved
    header = struct.pack("!BBH", inner.proto, flags, 0) + addresses
    header = header[:2] + struct.pack("!H", checksum(header)) + header[4:]
    outer = inner.copy()
    outer.remove_payload()
    outer.src, outer.dst, outer.proto = src, dst, 55
    del outer.len, outer.chksum
    return IP(raw(outer / Raw(header + body)))


def out(c, packet, at=0.0):
    """A LAN datagram for A leaves with the tunnel's addresses in its header."""
    c.rx("en0", at_c0(packet), at)
    inner = hop(packet)
    c.tx("en1", to_net(minimal(inner)), "en0", at, tunnel=("gre0", len(raw(inner))))


def back(c, inner, outer=None, at=0.0):
    """A datagram from A comes out of gre0."""
    c.rx("en1", at_c1(outer or minimal(inner, A, C1)), at)
    c.tunnel_rx("gre0", inner)
    c.tx("en0", to_lan(hop(inner)), "en1", at)


@case("-link0: the packet's own header with the tunnel's addresses, its own in twelve bytes behind "
      "it; TTL, TOS, identification, DF and options are its own (ME-01)")
def minimal_encap(c):
    c.config = MOBILE
    out(c, udp(dst=A_IN, n=100))
    out(c, echo(dst=A_IN, seq=2))
    for tos in (0x01, 0x02, 0x03, 0xB8):
        out(c, udp(dst=A_IN, n=7, tos=tos, ttl=2))
    out(c, udp(dst=A_IN, n=0, flags="DF", id=0))
    out(c, udp(dst=A_IN, n=33, options=[IPOption(b"\x94\x04\0\0")]))
    out(c, udp(dst=A_IN, n=1452, flags="DF", id=0))  # 1480 bytes: just fits


@case("What comes in minimal encapsulation is put together again, with eight or twelve bytes; the "
      "reserved bits are ignored")
def minimal_decap(c):
    c.config = MOBILE
    back(c, udp(src=A_IN, dst=H, n=100))
    back(c, udp(src=A, dst=H, n=100))  # its source is the tunnel's: eight bytes
    inner = udp(src=A_IN, dst=H, n=0)
    back(c, inner, minimal(inner, A, C1, reserved=0x7F))
    for tos in (0x01, 0x02, 0x03, 0xB8):
        back(c, udp(src=A_IN, dst=H, n=7, tos=tos, ttl=2, flags="DF"))
    back(c, udp(src=A_IN, dst=H, n=33, options=[IPOption(b"\x94\x04\0\0")]))
    padded = minimal(inner, A, C1)
    c.rx("en1", at_c1(padded) / Raw(b"\xee" * 9))
    c.tunnel_rx("gre0", inner)
    c.tx("en0", to_lan(hop(inner)), "en1")


@case("A packet of our own whose source is the tunnel's goes with eight bytes")
def minimal_own_source(c):
    c.config = MOBILE
    ask = echo(src=A_IN, dst=C1)
    c.rx("en1", at_c1(minimal(ask, A, C1)))
    c.tunnel_rx("gre0", ask)
    answer = echo(src=C1, dst=A_IN, reply=True, id=fresh())
    c.tx("en1", to_net(minimal(answer)), "en1", tunnel=("gre0", len(raw(answer))), free_id=(0,))


def as_ip_in_ip(c, piece, origin):
    """A fragment goes into the tunnel as IP in IP, and is counted."""
    size = len(raw(piece))
    c.tx("en1", to_net(in_ip(piece, dst=A)), origin, tunnel=("gre0", size), free_id=(0,))
    c.add("interface.gre0.fallback")


@case("Fragments have no place in minimal encapsulation: they go, and are taken, as IP in IP")
def minimal_fragments(c):
    c.config = MOBILE
    for part in pieces(udp(dst=A_IN, n=3000), 1400):
        c.rx("en0", at_c0(part))
        as_ip_in_ip(c, hop(part), "en0")
    # Too long for the tunnel: cut, and its pieces are fragments.
    packet = udp(dst=A_IN, n=1453)
    c.rx("en0", at_c0(packet))
    parts = pieces(hop(packet), 1480)
    c.cut("en0", len(parts))
    for part in parts:
        as_ip_in_ip(c, part, "en0")
    for part in pieces(udp(src=A_IN, dst=H, n=3000), 1400):
        back(c, part, in_ip(part, src=A, dst=C1))


@case("Too long for the tunnel with DF: its MTU leaves room for IP in IP")
def minimal_frag_needed(c):
    c.config = MOBILE
    cause = udp(dst=A_IN, n=1453, flags="DF", id=0)
    told(c, cause, "fragmentation_needed", 3, 4, leaving="gre0", mtu=1480)


def refused(c, outer, reason):
    c.rx("en1", at_c1(outer))
    c.drop("en1", reason)


@case("A minimal forwarding header that is cut short is refused")
def minimal_truncated(c):
    c.config = MOBILE
    whole = raw(minimal(udp(src=A_IN, dst=H), A, C1))[20:32]
    for n in (0, 1, 7, 8, 11):
        outer = IP(src=A, dst=C1, proto=55, id=9) / Raw(whole[:n])
        refused(c, IP(raw(outer)), "minimal_truncated")


@case("A minimal forwarding header with a wrong checksum is refused, wherever the damage is")
def minimal_bad_checksum(c):
    c.config = MOBILE
    good = raw(minimal(udp(src=A_IN, dst=H), A, C1))
    for at in (20, 22, 23, 24, 27, 28, 31):
        bad = good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1 :]
        refused(c, IP(bad), "minimal_bad_checksum")


@case("What came for the wrong tunnel: GRE to a MOBILE tunnel, MOBILE to a GRE tunnel, another end")
def minimal_unknown_tunnel(c):
    c.config = MOBILE + changed(changed(GRE0, "gre0", "gre1"), A, "198.51.100.3").replace(A_IN, "10.0.0.26")
    inner = udp(src=A_IN, dst=H)
    refused(c, in_gre(inner, A, C1), "unknown_tunnel")
    refused(c, minimal(inner, "198.51.100.3", C1), "unknown_tunnel")
    refused(c, minimal(inner, "198.51.100.4", C1), "unknown_tunnel")


@case("The loop rules count here, too: an inner destination that is the far end, our own source, "
      "the far end's source, TTL 0")
def minimal_rules(c):
    c.config = MOBILE
    for inner, reason in (
        (udp(src=A_IN, dst=A), "decap_loop"),
        (udp(src=A_IN, dst=H, ttl=0), "inner_ttl_zero"),
    ):
        c.rx("en1", at_c1(minimal(inner, A, C1)))
        c.drop("en1", reason, came="gre0")
    for packet, reason in (
        (udp(src=C0, dst=A_IN), "own_source_into_tunnel"),
        (udp(src=A, dst=A_IN), "exit_source_into_tunnel"),
    ):
        c.rx("en0", at_c0(packet))
        c.drop("en0", reason, leaving="gre0")


@case("ifconfig gre0 -link0 and link0 switch the live tunnel, both ways (T12)", until=4.0)
def minimal_switched_live(c):
    c.config = GATEWAY
    there, here = udp(dst=A_IN, n=60), udp(src=A_IN, dst=H, n=60)
    inner = hop(there)

    def as_gre(at):
        c.rx("en0", at_c0(there), at)
        c.tx("en1", to_net(in_gre(inner)), "en0", at, tunnel=("gre0", len(raw(inner))), free_id=(0,))
        back(c, here, in_gre(here, A, C1), at)

    as_gre(0.5)
    c.verb(1.0, {"op": "set-interface", "name": "gre0", "link0": False})
    out(c, there, 1.5)
    back(c, here, at=1.5)
    c.rx("en1", at_c1(in_gre(here, A, C1)), 1.6)
    c.drop("en1", "unknown_tunnel")
    c.verb(2.0, {"op": "set-interface", "name": "gre0", "link0": True})
    as_gre(2.5)
    c.rx("en1", at_c1(minimal(here, A, C1)), 2.6)
    c.drop("en1", "unknown_tunnel")
