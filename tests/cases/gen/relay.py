"""ICMP errors about packets that a tunnel of ours sent: relayed to the sender of the packet inside, or kept as what is
known of the tunnel (RFC 2003 §4, §5, RFC 2473 §8)."""

import struct

from scapy.layers.inet import IP
from scapy.layers.inet6 import (ICMPv6DestUnreach, ICMPv6PacketTooBig, ICMPv6ParamProblem, ICMPv6TimeExceeded, IPv6)
from scapy.packet import Raw

from .icmp import told
from .kit import case, fresh, hop, pieces, raw
from .minimal import MOBILE, minimal
from .net import *  # noqa: F403
from .six import H6, lan6, udp6
from .six_mtu import FAR6, SIX_IN_FOUR, over4
from .six_tunnels import C06, C16, GRE6, IPIP6, from_net, hop6, is6, net6, to_lan as to_lan6, wrapped

ROUTER_INSIDE, ROUTER_INSIDE6 = "192.0.2.1", "2001:db8:ee::1"
# Ten minutes after the last word a path is tried anew.
AGE = 600


def goes(c, packet, at=0.0, outer=None):
    """A LAN datagram goes into gre0; gives its outer packet."""
    c.rx("en0", at_c0(packet), at)
    inner = hop(packet)
    outer = outer or in_gre(inner)
    c.tx("en1", to_net(outer), "en0", at, tunnel=("gre0", len(raw(inner))))
    return outer


def inside(c, kind, code, about, at, rest=0, quote=548, read=True):
    """A router inside the tunnel sends C an error that quotes so many bytes."""
    body = struct.pack("!BBHI", kind, code, 0, rest) + raw(about)[:quote]
    header = IP(src=ROUTER_INSIDE, dst=C1, proto=1, ttl=60, id=7)
    c.rx("en1", at_c1(IP(raw(header / Raw(with_icmp_checksum(body))))), at)
    c.punt("en1", "local_icmp")
    if read:
        c.consumed()
    else:
        c.control_drop("icmp_unsupported")


def relayed(c, kind, code, inner, at, mtu=0, known=524):
    """H is told of its packet, which is quoted as far as it is known."""
    body = struct.pack("!BBHI", kind, code, 0, mtu) + raw(inner)[:known]
    tos = 0xC0 | (inner.tos & 0x1C)
    header = IP(src=C0, dst=H, tos=tos, ttl=64, id=fresh(), proto=1)
    message = IP(raw(header / Raw(with_icmp_checksum(body))))
    send_error(c, message, "en0", to_lan(message), at)


def large(n=1448, **ip):
    """A datagram with DF: of 1476 bytes unless it says otherwise."""
    return udp(dst=A_IN, n=n, flags="DF", id=0, **ip)


@case("Fragmentation needed inside the tunnel: the sender is told what the tunnel takes, its next packets are too, "
      "those without DF are cut, and ten minutes later the path is tried again (II-07, II-11, PM-06)", until=AGE + 2)
def relay_frag_needed(c):
    c.config = GATEWAY
    packet = large(tos=0x48)
    outer = goes(c, packet)
    inside(c, 3, 4, outer, 0.1, rest=1400)
    relayed(c, 3, 4, hop(packet), 0.1, mtu=1376)
    told(c, large(), "fragmentation_needed", 3, 4, leaving="gre0", mtu=1376, at=0.2)
    told(c, large(1349), "fragmentation_needed", 3, 4, leaving="gre0", mtu=1376, at=0.3)
    goes(c, large(1348), 0.4)
    packet = udp(dst=A_IN, n=1400, id=77)
    c.rx("en0", at_c0(packet), 0.5)
    parts = pieces(hop(packet), 1376)
    c.cut("en0", len(parts))
    for part in parts:
        c.tx("en1", to_net(in_gre(part)), "en0", 0.5, tunnel=("gre0", len(part)), free_id=(0,))
    # Not more, and not about what would have fit.
    inside(c, 3, 4, outer, 0.6, rest=1450)
    relayed(c, 3, 4, hop(large(tos=0x48)), 0.6, mtu=1376)
    inside(c, 3, 4, in_gre(hop(large(1300))), 0.7, rest=1390)
    told(c, large(), "fragmentation_needed", 3, 4, leaving="gre0", mtu=1376, at=AGE - 1)
    goes(c, large(), AGE + 1)


@case("A quote of eight bytes tells the tunnel and not the sender: its next packets are answered instead (II-10); "
      "unreachable is believed for a second")
def relay_short_quote(c):
    c.config = changed(GATEWAY, "link1 = true\n", "link1 = true\nkey = 9\n")
    from scapy.layers.l2 import GRE
    keyed = in_gre(hop(large(1444)), gre=GRE(proto=0x0800, key_present=1, key=9))
    goes(c, large(1444), outer=keyed)
    inside(c, 3, 4, keyed, 0.1, rest=1300, quote=28)
    told(c, large(1444), "fragmentation_needed", 3, 4, leaving="gre0", mtu=1272, at=0.2)
    for number, (kind, code) in enumerate(((3, 0), (3, 1), (3, 2), (3, 13), (11, 0))):
        at = 1 + 2 * number
        inside(c, kind, code, keyed, at, quote=28)
        told(c, large(8), "unreachable", 3, 1, leaving="gre0", at=at + 0.5)
        small = large(8)
        goes(c, small, at + 1.5, in_gre(hop(small), gre=GRE(proto=0x0800, key_present=1, key=9)))
    # Another key is another tunnel's.
    other = in_gre(hop(large(1444)), gre=GRE(proto=0x0800, key_present=1, key=8))
    inside(c, 3, 1, other, 12.0, quote=28)
    small = large(8)
    goes(c, small, 12.2, in_gre(hop(small), gre=GRE(proto=0x0800, key_present=1, key=9)))


@case("What the sender is told of other errors inside the tunnel: net and protocol unreachable as net unreachable, "
      "host unreachable, prohibited and time exceeded as host unreachable (II-08, II-09)")
def relay_unreachable(c):
    c.config = GATEWAY
    for n, (kind, code, as_code) in enumerate(((3, 0, 0), (3, 1, 1), (3, 2, 0), (3, 13, 1))):
        packet = udp(dst=A_IN, n=30 + n)
        outer = goes(c, packet, float(n))
        inside(c, kind, code, outer, n + 0.1)
        relayed(c, 3, as_code, hop(packet), n + 0.1)


@case("Time exceeded inside the tunnel is host unreachable to the sender; the tunnel goes on (II-09)")
def relay_ttl_exceeded(c):
    c.config = GATEWAY
    packet = udp(dst=A_IN, n=30)
    outer = goes(c, packet)
    inside(c, 11, 0, outer, 0.1, quote=24 + 28)
    relayed(c, 3, 1, hop(packet), 0.1, known=28)
    goes(c, udp(dst=A_IN, n=31), 0.2)


@case("Port unreachable, parameter problems, redirects, source quench and failed source routes are never relayed "
      "(II-08, II-09)")
def relay_port_unreachable_not(c):
    c.config = GATEWAY
    outer = goes(c, udp(dst=A_IN, n=30))
    inside(c, 3, 3, outer, 0.1)
    inside(c, 12, 0, outer, 0.1, rest=20 << 24)
    for kind, code in ((3, 5), (5, 1), (4, 0)):
        inside(c, kind, code, outer, 0.1, read=False)
    goes(c, udp(dst=A_IN, n=31), 0.2)


@case("No error about an error, a later fragment or a broken header, also when relayed (IC-03), and none about "
      "packets that no tunnel sent")
def relay_forbidden(c):
    c.config = GATEWAY
    later = hop(udp(dst=A_IN, n=30, frag=9))
    for inner in (udp(src=H, dst=A_IN, n=30, proto=1, sport=0x0301), later):
        inside(c, 3, 1, in_gre(inner), 0.1)
    broken = bytearray(raw(in_gre(udp(dst=A_IN, n=30))))
    broken[24 + 8] ^= 1
    inside(c, 11, 1, Raw(bytes(broken)), 0.1)
    good = in_gre(hop(large()))
    for other in (in_gre(hop(large()), dst="198.51.100.77"), in_gre(hop(large()), src=R), in_ip(hop(large()), dst=A)):
        inside(c, 3, 4, other, 0.2, rest=1300)
    inside(c, 3, 4, Raw(raw(good)[:19]), 0.2, rest=1300)
    may_be_cut = IP(raw(good))
    may_be_cut.flags = 0
    inside(c, 3, 4, may_be_cut, 0.2, rest=1300)
    goes(c, large(), 0.3)


@case("pmtu = false: errors are relayed, the tunnel itself learns nothing")
def relay_without_pmtu(c):
    c.config = changed(GATEWAY, "link1 = true\n", "link1 = true\npmtu = false\n")
    packet = large()
    outer = goes(c, packet)
    inside(c, 3, 4, outer, 0.1, rest=1400)
    relayed(c, 3, 4, hop(packet), 0.1, mtu=1376)
    inside(c, 3, 4, outer, 0.2, rest=1400, quote=28)
    inside(c, 3, 1, outer, 0.2, quote=28)
    goes(c, packet, 0.3)
    c.verb(400e-3, {"op": "set-interface", "name": "gre0", "pmtu": True})
    inside(c, 3, 4, outer, 0.5, rest=1400, quote=28)
    told(c, large(), "fragmentation_needed", 3, 4, leaving="gre0", mtu=1376, at=0.6)
    c.verb(700e-3, {"op": "set-interface", "name": "gre0", "pmtu": False})
    goes(c, packet, 0.8)


@case("A router older than RFC 1191 tells no MTU: the next plateau below the packet; never less than 576")
def relay_plateau(c):
    c.config = GATEWAY
    outer = goes(c, large())
    inside(c, 3, 4, outer, 0.1, quote=28)
    told(c, large(), "fragmentation_needed", 3, 4, leaving="gre0", mtu=1492 - 24, at=0.2)
    inside(c, 3, 4, in_gre(hop(large(1440))), 0.3, rest=68, quote=28)
    told(c, large(), "fragmentation_needed", 3, 4, leaving="gre0", mtu=576 - 24, at=0.4)


@case("Minimal encapsulation: the packet gets its own header back before its sender is told")
def relay_minimal(c):
    c.config = MOBILE
    packet = large(1452)
    c.rx("en0", at_c0(packet))
    inner = hop(packet)
    outer = minimal(inner)
    c.tx("en1", to_net(outer), "en0", tunnel=("gre0", len(raw(inner))))
    # Two routers further.
    received = IP(raw(outer))
    received.ttl -= 2
    del received.chksum
    at_router = IP(raw(inner))
    at_router.ttl -= 2
    del at_router.chksum
    inside(c, 3, 4, IP(raw(received)), 0.1, rest=1400)
    relayed(c, 3, 4, IP(raw(at_router)), 0.1, mtu=1380, known=548 - 12)
    told(c, packet, "fragmentation_needed", 3, 4, leaving="gre0", mtu=1380, at=0.2)


def inside6(c, message, about, at, quote=1232):
    header = IPv6(src=ROUTER_INSIDE6, dst=C16, hlim=60)
    c.rx("en1", from_net(IPv6(raw(header / message / Raw(raw(about)[:quote])))), at)
    c.punt("en1", "local_icmp")
    c.consumed()


def relayed6(c, message, inner, at):
    """H6 is told of its packet."""
    error = IPv6(raw(IPv6(src=C06, dst=H6, hlim=64) / message / Raw(raw(inner))))
    c.inject(error)
    c.tx("en0", to_lan6(error), "control", at)


def goes6(c, packet, kind, name, at=0.0):
    """A LAN datagram of either family goes into a tunnel over IPv6."""
    c.rx("en0", lan6(packet) if is6(packet) else at_c0(packet), at)
    inner = hop6(packet) if is6(packet) else hop(packet)
    outer = wrapped(kind, inner)
    c.tx("en1", net6(outer), "en0", at, tunnel=(name, len(raw(inner))))
    return inner, outer


@case("Packet too big inside a tunnel over IPv6, for GRE and IP: IPv6 and IPv4 senders are told what is left, and the "
      "next packets are too (V6-08)")
def relay6_too_big(c):
    for_gre = udp6(dst="2001:db8:40::9", n=1456 - 48)
    c.config = GRE6
    inner, outer = goes6(c, for_gre, "gre", "gre6")
    inside6(c, ICMPv6PacketTooBig(mtu=1400), outer, 0.1)
    relayed6(c, ICMPv6PacketTooBig(mtu=1356), raw(inner)[: 1232 - 44], 0.1)
    c.rx("en0", lan6(for_gre), 0.2)
    c.drop("en0", "fragmentation_needed", leaving="gre6")
    relayed6(c, ICMPv6PacketTooBig(mtu=1356), raw(for_gre)[:1232], 0.2)
    four = udp(dst="40.0.0.9", n=1356 - 28, flags="DF", id=0)
    inner, outer = goes6(c, four, "gre", "gre6", 0.3)
    inside6(c, ICMPv6PacketTooBig(mtu=1300), outer, 0.4)
    relayed(c, 3, 4, inner, 0.4, mtu=1256, known=548)
    # Less than 1280 is nothing that IPv6 has, and 1280 bytes go in whole.
    inner, outer = goes6(c, udp(dst="40.0.0.9", n=1256 - 28, flags="DF", id=0), "gre", "gre6", 0.5)
    inside6(c, ICMPv6PacketTooBig(mtu=600), outer, 0.6)
    relayed(c, 3, 4, inner, 0.6, mtu=1236, known=548)


@case("Too big inside IP in IPv6: 40 less")
def relay6_too_big_ipip(c):
    c.config = IPIP6
    packet = udp6(dst="2001:db8:41::9", n=1460 - 48)
    inner, outer = goes6(c, packet, "ipip", "ipip6")
    inside6(c, ICMPv6PacketTooBig(mtu=1400), outer, 0.1)
    relayed6(c, ICMPv6PacketTooBig(mtu=1360), raw(inner)[: 1232 - 40], 0.1)


@case("Other errors inside a tunnel over IPv6: address unreachable, to IPv4 senders host unreachable; port "
      "unreachable is not relayed (V6-08)")
def relay6_unreachable(c):
    c.config = IPIP6
    at = 0.0
    for message in (ICMPv6DestUnreach(code=0), ICMPv6DestUnreach(code=3), ICMPv6TimeExceeded(code=0),
                    ICMPv6ParamProblem(code=1, ptr=6)):
        inner, outer = goes6(c, udp6(dst="2001:db8:41::9", n=20), "ipip", "ipip6", at)
        inside6(c, message, outer, at + 0.1)
        relayed6(c, ICMPv6DestUnreach(code=3), inner, at + 0.1)
        inner, outer = goes6(c, udp(dst="41.0.0.9", n=20), "ipip", "ipip6", at + 0.2)
        inside6(c, message, outer, at + 0.3)
        relayed(c, 3, 1, inner, at + 0.3)
        at += 1
    inner, outer = goes6(c, udp6(dst="2001:db8:41::9", n=20), "ipip", "ipip6", at)
    inside6(c, ICMPv6DestUnreach(code=4), outer, at + 0.1)
    inside6(c, ICMPv6DestUnreach(code=3), outer, at + 0.2, quote=44)
    lost = udp6(dst="2001:db8:41::9", n=20)
    c.rx("en0", lan6(lost), at + 0.3)
    c.drop("en0", "unreachable", leaving="ipip6")
    relayed6(c, ICMPv6DestUnreach(code=3), lost, at + 0.3)


@case("IPv6 in IPv4: unreachable inside the tunnel is address unreachable to the sender (RFC 4213 §3.4)")
def relay_six_in_four(c):
    c.config = SIX_IN_FOUR
    for at, code in ((0.0, 0), (1.0, 1)):
        packet = udp6(dst=FAR6, n=20)
        c.rx("en0", lan6(packet), at)
        inner = hop6(packet)
        outer = over4(inner, "ipip", df=False)
        c.tx("en1", net6(outer), "en0", at, tunnel=("ipip0", len(raw(inner))), free_id=(0,))
        inside(c, 3, code, outer, at + 0.1)
        relayed6(c, ICMPv6DestUnreach(code=3), inner, at + 0.1)
