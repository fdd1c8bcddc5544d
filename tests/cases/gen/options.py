"""GRE's optional words: checksum (RFC 2784), key and sequence number (RFC 2890)."""

from scapy.layers.inet import IP
from scapy.layers.l2 import GRE
from scapy.packet import Raw

from .kit import case, hop, pieces, raw
from .net import *  # noqa: F403
from .tunnels import decap, encap

KEY = 0xDEADBEEF


def with_options(*lines, config=GATEWAY):
    """C with these lines in gre0's table."""
    return changed(config, "link1 = true\n", "\n".join(["link1 = true", *lines, ""]))


def header(checksum=False, key=None, number=None):
    """scapy's GRE header with these words."""
    words = {"proto": 0x0800}
    if checksum:
        words["chksum_present"] = 1
    if key is not None:
        words.update(key_present=1, key=key)
    if number is not None:
        words.update(seqnum_present=1, seqence_number=number)
    return GRE(**words)


def out(c, packet, **words):
    """A LAN datagram for A leaves with this GRE header."""
    encap(c, packet, in_gre(hop(packet), gre=header(**words)))


def back(c, inner, at=0.0, tunnel="gre0", **words):
    """A datagram from A comes out of gre0."""
    decap(c, inner, in_gre(inner, A, C1, gre=header(**words)), at, tunnel=tunnel)


def refused(c, reason, at=0.0, came=None, gre=None, **words):
    """A packet from A with this GRE header is refused."""
    inner = udp(src=A_IN, dst=H)
    c.rx("en1", at_c1(in_gre(inner, A, C1, gre=gre or header(**words))), at)
    c.drop("en1", reason, came=came)


@case("checksum = true: sent over header and payload, odd lengths too (GR-06)")
def gre_checksum_encap(c):
    c.config = with_options("checksum = true")
    for n in (0, 1, 2, 33, 100, 1443, 1444):  # 1472 bytes: just fits
        out(c, udp(dst=A_IN, n=n), checksum=True)


@case("A checksum is verified wherever there is one, whatever the tunnel sends (GR-01)")
def gre_checksum_decap(c):
    c.config = GATEWAY
    for n in (0, 1, 2, 33, 100, 1444):
        back(c, udp(src=A_IN, dst=H, n=n), checksum=True)
    # Frames are padded to 60 bytes: that is not part of it.
    inner = udp(src=A_IN, dst=H, n=3)
    padded = in_gre(inner, A, C1, gre=header(checksum=True))
    c.rx("en1", at_c1(padded) / Raw(b"\xee" * 7))
    c.tunnel_rx("gre0", inner)
    c.tx("en0", to_lan(hop(inner)), "en1")


@case("A wrong GRE checksum is refused, wherever the damage is")
def gre_bad_checksum(c):
    c.config = GATEWAY
    inner = udp(src=A_IN, dst=H)
    good = raw(header(checksum=True) / inner)
    for at in (4, 5, 6, 7, 8 + 10, 8 + 20, len(good) - 1):
        bad = good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1 :]
        c.rx("en1", at_c1(in_gre(Raw(bad), A, C1, tos=0, gre=Raw(b""))))
        c.drop("en1", "gre_bad_checksum")


@case("key = N: sent, and required on receipt: another key, 0 or none is for no tunnel (GR-09)")
def gre_key(c):
    c.config = with_options(f"key = {KEY}")
    out(c, udp(dst=A_IN, n=100), key=KEY)
    out(c, udp(dst=A_IN, n=1444), key=KEY)
    back(c, udp(src=A_IN, dst=H, n=100), key=KEY)
    for key in (KEY ^ 1, 0, 0xFFFFFFFF, None):
        refused(c, "unknown_tunnel", key=key)


@case("A tunnel without a key takes no packet with one, not even key 0")
def gre_key_unexpected(c):
    c.config = GATEWAY
    for key in (0, 7):
        refused(c, "unknown_tunnel", key=key)


@case("Key 0 is a key and not the absence of one")
def gre_key_zero(c):
    c.config = with_options("key = 0")
    out(c, udp(dst=A_IN), key=0)
    back(c, udp(src=A_IN, dst=H), key=0)
    refused(c, "unknown_tunnel")
    refused(c, "unknown_tunnel", key=1)


@case("key_in and key_out: one received with, the other sent with; either may be missing")
def gre_key_in_out(c):
    c.config = with_options("key_in = 1", "key_out = 2")
    out(c, udp(dst=A_IN), key=2)
    back(c, udp(src=A_IN, dst=H), key=1)
    refused(c, "unknown_tunnel", key=2)


@case("key_out alone: packets go out with a key and come in without")
def gre_key_out_only(c):
    c.config = with_options("key_out = 2")
    out(c, udp(dst=A_IN), key=2)
    back(c, udp(src=A_IN, dst=H))
    refused(c, "unknown_tunnel", key=2)


@case("Tunnels between the same outer addresses are told apart by their keys (GR-09)")
def gre_keys_apart(c):
    c.config = with_options("key = 1") + f"""
[[tunnel]]
name = "gre1"
local = "{C1}"
remote = "{A}"
address = "{C0}"
peer = "10.0.0.26"
key = 2
link1 = true

[[tunnel]]
name = "gre2"
local = "{C1}"
remote = "{A}"
address = "{C0}"
peer = "10.0.0.27"
link1 = true
"""
    for tunnel, key in (("gre0", 1), ("gre1", 2), ("gre2", None)):
        back(c, udp(src=A_IN, dst=H, id=key or 9), tunnel=tunnel, key=key)
    packet = udp(dst="10.0.0.26")
    outer = in_gre(hop(packet), gre=header(key=2))
    c.rx("en0", at_c0(packet))
    c.tx("en1", to_net(outer), "en0", tunnel=("gre1", len(raw(packet))), free_id=(0,))
    refused(c, "unknown_tunnel", key=3)


@case("sequence = true: packets are numbered from 0, forwarded or made here (GR-11)")
def gre_sequence_encap(c):
    c.config = with_options("sequence = true")
    for number in range(5):
        out(c, udp(dst=A_IN, n=number), number=number)
    # Refused ones take no number.
    c.rx("en0", at_c0(udp(src=A, dst=A_IN)))
    c.drop("en0", "exit_source_into_tunnel", leaving="gre0")
    out(c, udp(dst=A_IN), number=5)


@case("Late and repeated numbers are refused silently, gaps are not; unnumbered packets are none "
      "of it (GR-11, GR-12)")
def gre_sequence_decap(c):
    c.config = GATEWAY
    # The last number before the first packet is 2^32 - 1.
    for number in (0xFFFFFFFF, 0x80000000):
        refused(c, "gre_out_of_sequence", came="gre0", number=number)
    for number, fine in ((0, True), (1, True), (1, False), (0, False), (9, True), (5, False),
                         (10, True), (None, True), (9 + 2**31, True), (10, False),
                         (0xFFFFFFFF, True), (0, True), (0xFFFFFFFF, False), (1, True)):
        if fine:
            back(c, udp(src=A_IN, dst=H), number=number)
        else:
            refused(c, "gre_out_of_sequence", came="gre0", number=number)


@case("A far end that begins anew is followed once nothing else has come for a while",
      until=3.0)
def gre_sequence_resync(c):
    c.config = with_options("sequence_resync = 1")
    for number in range(1000, 1003):
        back(c, udp(src=A_IN, dst=H), number=number)
    for ms in (100, 600, 1000):
        refused(c, "gre_out_of_sequence", at=ms / 1000, came="gre0", number=ms // 100)
    back(c, udp(src=A_IN, dst=H), at=1.2, number=11)
    back(c, udp(src=A_IN, dst=H), at=1.3, number=12)
    # One late packet long ago is no beginning: what is in sequence comes between.
    refused(c, "gre_out_of_sequence", at=1.4, came="gre0", number=3)
    back(c, udp(src=A_IN, dst=H), at=1.5, number=13)
    refused(c, "gre_out_of_sequence", at=2.6, came="gre0", number=4)


@case("sequence_resync = 0: late numbers are refused for good", until=60.0)
def gre_sequence_never_resync(c):
    c.config = with_options("sequence_resync = 0")
    back(c, udp(src=A_IN, dst=H), number=1000)
    for at in (0.1, 5.0, 59.0):
        refused(c, "gre_out_of_sequence", at=at, came="gre0", number=3)
    back(c, udp(src=A_IN, dst=H), at=59.5, number=1001)


@case("Checksum, key and sequence number together, in this order, both ways (GR-09)")
def gre_all_options(c):
    c.config = with_options("checksum = true", f"key = {KEY}", "sequence = true")
    for number in range(3):
        out(c, udp(dst=A_IN, n=50 + number), checksum=True, key=KEY, number=number)
        back(c, udp(src=A_IN, dst=H, n=50 + number), checksum=True, key=KEY, number=number)
    out(c, udp(dst=A_IN, n=1436), checksum=True, key=KEY, number=3)  # 1464 bytes: just fits
    # Each of the three wrong: the checksum comes first, the number last.
    inner = udp(src=A_IN, dst=H)
    bad = bytearray(raw(header(checksum=True, key=KEY, number=9) / inner))
    bad[-1] ^= 1
    refused_bytes(c, "gre_bad_checksum", bytes(bad))
    refused(c, "unknown_tunnel", checksum=True, key=KEY + 1, number=9)
    refused(c, "gre_out_of_sequence", came="gre0", checksum=True, key=KEY, number=2)
    back(c, udp(src=A_IN, dst=H), checksum=True, key=KEY, number=3)


def refused_bytes(c, reason, gre):
    """These bytes behind an outer header from A are refused."""
    c.rx("en1", at_c1(in_gre(Raw(gre), A, C1, tos=0, gre=Raw(b""))))
    c.drop("en1", reason)


@case("A GRE header that ends within a word its flags announce is cut short")
def gre_options_truncated(c):
    c.config = GATEWAY
    whole = raw(header(checksum=True, key=KEY, number=9))
    for n in (4, 7, 8, 11, 12, 15):
        refused_bytes(c, "gre_truncated", whole[:n])


@case("The tunnel's MTU is less by 4 for each option, and larger datagrams are cut to that")
def gre_options_mtu(c):
    c.config = with_options("checksum = true", f"key = {KEY}", "sequence = true")
    too_large = udp(dst=A_IN, n=1437, flags="DF")
    c.rx("en0", at_c0(too_large))
    c.drop("en0", "fragmentation_needed", leaving="gre0")
    message = error(3, 4, too_large, C0, mtu=1464)
    send_error(c, message, "en0", to_lan(message))
    packet = udp(dst=A_IN, n=2000)
    c.rx("en0", at_c0(packet))
    cuts = pieces(hop(packet), 1464)
    c.cut("en0", len(cuts))
    for number, piece in enumerate(cuts):
        outer = in_gre(piece, gre=header(checksum=True, key=KEY, number=number))
        assert len(raw(outer)) <= 1500
        c.tx("en1", to_net(outer), "en0", tunnel=("gre0", len(raw(piece))), free_id=(0,))


@case("Options of a live tunnel are changed; a new flow's numbers begin with 0", until=1.0)
def gre_options_changed(c):
    c.config = with_options("sequence = true")
    for number in range(2):
        out(c, udp(dst=A_IN), number=number)
    c.verb(0.1, {"op": "set-gre", "name": "gre0", "key": {"in": 5, "out": 6}, "checksum": True})
    for number in range(2):
        packet = udp(dst=A_IN)
        outer = in_gre(hop(packet), gre=header(checksum=True, key=6, number=number))
        encap(c, packet, outer, at=0.2)
    refused(c, "unknown_tunnel", at=0.2)
    back(c, udp(src=A_IN, dst=H), at=0.3, key=5)
    c.verb(0.4, {"op": "set-gre", "name": "gre0", "key": {}, "checksum": False, "sequence": False})
    encap(c, udp(dst=A_IN), at=0.5)
    back(c, udp(src=A_IN, dst=H), at=0.5)


assert IP
