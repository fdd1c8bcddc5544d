"""Into and out of tunnels: GRE (RFC 2784) and IP in IP (RFC 2003), ECN (RFC 6040)."""

from scapy.layers.inet import IP, IPOption
from scapy.layers.l2 import GRE, Ether
from scapy.packet import Raw

from .kit import case, hop, raw, rebuilt
from .net import *  # noqa: F403


def encap(c, packet, outer=None, at=0.0, **how):
    """A LAN datagram for A goes into gre0."""
    inner = hop(packet)
    c.rx("en0", at_c0(packet), at)
    outer = outer or in_gre(inner, **how)
    c.tx("en1", to_net(outer), "en0", at, tunnel=("gre0", len(raw(inner))), free_id=(0,))


def decap(c, inner, outer=None, at=0.0, out=None, tunnel="gre0"):
    """A datagram from A for the LAN comes out of gre0."""
    c.rx("en1", at_c1(outer or in_gre(inner, src=A, dst=C1)), at)
    c.tunnel_rx(tunnel, inner)
    c.tx("en0", to_lan(out or hop(inner)), "en1", at)


@case("A datagram for the tunnel's far network goes out in IPv4 and GRE, TTL less one inside")
def gre_encap(c):
    c.config = GATEWAY
    encap(c, udp(dst=A_IN, n=100))
    encap(c, echo(dst=A_IN, seq=2))
    encap(c, udp(dst=A_IN, n=1448, flags="DF", id=0))  # 1476 bytes: just fits


@case("A GRE packet from the tunnel's far end is unwrapped and forwarded on the inner header")
def gre_decap(c):
    c.config = GATEWAY
    decap(c, udp(src=A_IN, dst=H, n=100))
    decap(c, echo(src=A_IN, dst=H, seq=2, reply=True))
    decap(c, udp(src=A_IN, dst=H, n=1448))


@case("GRE packets as other implementations send them: DF clear, any TTL, DSCP and identification")
def gre_decap_lenient(c):
    c.config = GATEWAY
    inner = udp(src=A_IN, dst=H)
    decap(c, inner, in_gre(inner, A, C1, df=False, id=0x7777, ttl=1))
    decap(c, inner, in_gre(inner, A, C1, ttl=255, tos=0xB8))
    padded = in_gre(inner, A, C1)
    c.rx("en1", at_c1(padded) / Raw(b"\xee" * 9))
    c.tunnel_rx("gre0", inner)
    c.tx("en0", to_lan(hop(inner)), "en1")


@case("Bytes behind the inner datagram's own length are not part of it")
def inner_padding(c):
    c.config = GATEWAY
    inner = udp(src=A_IN, dst=H)
    decap(c, inner, in_gre(Raw(raw(inner) + b"\xee" * 11), A, C1, tos=0))


@case("IP in IP, both ways: the outer protocol is 4 and nothing stands between the headers")
def ipip_both_ways(c):
    c.config = IPIP_GATEWAY
    out = udp(dst="172.16.0.5", n=80)
    c.rx("en0", at_c0(out))
    inner = hop(out)
    c.tx("en1", to_net(in_ip(inner)), "en0", tunnel=("ipip0", len(raw(inner))), free_id=(0,))
    back = udp(src="172.16.0.5", dst=H, n=80)
    c.rx("en1", at_c1(in_ip(back, src=B, dst=C1)), 0.001)
    c.tunnel_rx("ipip0", back)
    c.tx("en0", to_lan(hop(back)), "en1", 0.001)


@case("GRE bits 6 to 12 are ignored on receipt (GR-02)")
def gre_ignored_bits(c):
    c.config = GATEWAY
    inner = udp(src=A_IN, dst=H)
    for bit in range(6, 13):
        header = (0x8000 >> bit).to_bytes(2, "big") + b"\x08\x00"
        decap(c, inner, in_gre(Raw(header + raw(inner)), A, C1, tos=0, gre=Raw(b"")))


def refuse(c, header, reason, body=None):
    """A GRE packet with these header bytes is refused."""
    inner = raw(udp(src=A_IN, dst=H)) if body is None else body
    c.rx("en1", at_c1(in_gre(Raw(header + inner), A, C1, tos=0, gre=Raw(b""))))
    c.drop("en1", reason)


@case("GRE routing and reserved bits 4 and 5 are refused (GR-02)")
def gre_reserved_bits(c):
    c.config = GATEWAY
    for bit in (1, 4, 5):
        header = (0x8000 >> bit).to_bytes(2, "big") + b"\x08\x00"
        refuse(c, header, "gre_reserved_bits", b"\0" * 4 + raw(udp(src=A_IN, dst=H)))


@case("GRE versions other than 0 are refused, PPTP's among them (GR-04)")
def gre_version(c):
    c.config = GATEWAY
    for version in range(1, 8):
        refuse(c, bytes([0, version]) + b"\x08\x00", "gre_bad_version")
    # As PPTP sends it: version 1, key and sequence bits, its own protocol type.
    refuse(c, b"\x30\x01\x88\x0b", "gre_bad_version", b"\0" * 8)


@case("GRE payload types that are not carried are refused, bridged frames and keepalives among them "
      "(GR-05)")
def gre_unknown_protocol(c):
    c.config = GATEWAY
    for kind in (0x0000, 0x86DC, 0x6558, 0x8847, 0x0806, 0xFFFF):
        refuse(c, b"\0\0" + kind.to_bytes(2, "big"), "gre_unknown_protocol")


@case("A GRE header that is cut short is refused")
def gre_truncated(c):
    c.config = GATEWAY
    for n in range(4):
        refuse(c, b"\0\0\x08\0"[:n], "gre_truncated", b"")


@case("Tunnel packets that no tunnel matches are refused: source, destination or protocol is "
      "another")
def unknown_tunnel(c):
    c.config = GATEWAY
    inner = udp(src=A_IN, dst=H)
    for outer in (
        in_gre(inner, src="198.51.100.3", dst=C1),
        in_gre(inner, src=A, dst=C0),
        in_ip(inner, src=A, dst=C1),
    ):
        c.rx("en1", at_c1(outer))
        c.drop("en1", "unknown_tunnel")


@case("A tunnel that is down takes nothing in and lets nothing out")
def tunnel_down(c):
    c.config = changed(GATEWAY, "link1 = true\n", "link1 = true\nup = false\n") + f"""
[[route]]
to = "172.16.0.0/12"
interface = "gre0"
"""
    c.rx("en1", at_c1(in_gre(udp(src=A_IN, dst=H), A, C1)))
    c.drop("en1", "tunnel_down", came="gre0")
    packet = udp(dst="172.16.0.1")
    c.rx("en0", at_c0(packet))
    c.drop("en0", "unreachable", leaving="gre0")
    message = error(3, 1, packet, C0)
    send_error(c, message, "en0", to_lan(message))


@case("What is inside a tunnel packet has to be a valid IPv4 datagram")
def inner_invalid(c):
    c.config = GATEWAY
    good = udp(src=A_IN, dst=H)
    data = bytearray(raw(good))
    bad = [
        b"",
        bytes(data[:19]),
        bytes([0x65]) + bytes(data[1:]),  # version 6
        bytes([0x44]) + bytes(data[1:]),  # header length 16
        bytes(data[:10]) + b"\0\0" + bytes(data[12:]),  # checksum
        bytes(data[:-1]),  # shorter than its total length
        raw(rebuilt(good, len=19)),
    ]
    for inner in bad:
        c.rx("en1", at_c1(in_gre(Raw(inner), A, C1, tos=0)))
        c.drop("en1", "inner_invalid", came="gre0")


@case("An inner TTL of 0 ends at decapsulation, 1 at forwarding (II-03)")
def inner_ttl(c):
    c.config = GATEWAY
    c.rx("en1", at_c1(in_gre(udp(src=A_IN, dst=H, ttl=0), A, C1)))
    c.drop("en1", "inner_ttl_zero", came="gre0")
    inner = udp(src=A_IN, dst=H, ttl=1)
    c.rx("en1", at_c1(in_gre(inner, A, C1)))
    c.tunnel_rx("gre0", inner)
    c.drop("en1", "ttl_expired", came="gre0")
    message = error(11, 0, inner, C0)
    outer = in_gre(message)
    c.inject(message)
    c.tx("en1", to_net(outer), "control", tunnel=("gre0", len(message)), free_id=(0, 1))


@case("A datagram that comes out of a tunnel for the tunnel's far end would loop (GR-08)")
def decap_loop(c):
    c.config = GATEWAY
    c.rx("en1", at_c1(in_gre(udp(src=A_IN, dst=A), A, C1)))
    c.drop("en1", "decap_loop", came="gre0")


def keepalive(src=C1, dst=A, kind=0, flags=0, **ip):
    """What the far end sends to itself: GRE with protocol type 0, and nothing in it."""
    words = b"\0\0\0\x2a" if flags else b""
    header = flags.to_bytes(2, "big") + kind.to_bytes(2, "big") + words
    return IP(raw(IP(src=src, dst=dst, proto=47, ttl=255, id=7, **ip) / Raw(header)))


@case("A far end's keepalive, a packet to itself, goes back to it: with a key, too, and NAT's TTLs")
def keepalive_answered(c):
    c.config = GATEWAY
    for ask in (keepalive(), keepalive(flags=0x2000), keepalive(tos=0xC0)):
        c.rx("en1", at_c1(in_gre(ask, A, C1)))
        c.tunnel_rx("gre0", ask)
        c.tx("en1", to_net(hop(ask)), "en1")


@case("What only looks like a keepalive is a loop (GR-08): something in it, from elsewhere, IP in IP, a fragment")
def keepalive_not(c):
    c.config = GATEWAY
    for ask in (keepalive(kind=0x0800), keepalive(src=C0), keepalive(src="198.51.100.9"), keepalive(flags=0x4000),
                rebuilt(keepalive(), proto=4), keepalive(frag=3), keepalive(flags=0x0001)):
        c.rx("en1", at_c1(in_gre(ask, A, C1)))
        c.drop("en1", "decap_loop", came="gre0")


@case("The ECN field that comes out is RFC 6040's: all sixteen combinations of inner and outer")
def ecn_decap(c):
    c.config = GATEWAY
    # RFC 6040 figure 4: rows inner, columns outer (Not-ECT, ECT(0), ECT(1), CE).
    not_ect, ect1, ect0, ce, dropped = 0, 1, 2, 3, None
    table = {
        not_ect: {not_ect: not_ect, ect0: not_ect, ect1: not_ect, ce: dropped},
        ect0: {not_ect: ect0, ect0: ect0, ect1: ect1, ce: ce},
        ect1: {not_ect: ect1, ect0: ect1, ect1: ect1, ce: ce},
        ce: {not_ect: ce, ect0: ce, ect1: ce, ce: ce},
    }
    for inner_ecn, row in table.items():
        for outer_ecn, result in row.items():
            inner = udp(src=A_IN, dst=H, tos=0x88 | inner_ecn, id=inner_ecn * 4 + outer_ecn)
            outer = in_gre(inner, A, C1, tos=0x20 | outer_ecn)
            # Marked (!!!) or (!) there.
            if (inner_ecn, outer_ecn) in ((0, 1), (0, 2), (0, 3), (ect1, ect0), (ce, ect1)):
                c.add("interface.gre0.ecn_anomalies")
            if result is dropped:
                c.rx("en1", at_c1(outer))
                c.drop("en1", "ecn_congestion_lost", came="gre0")
            else:
                decap(c, inner, outer, out=rebuilt(hop(inner), tos=0x88 | result))


@case("The outer ECN field is the inner one's (EC-01 normal mode), DSCP with it unless set")
def ecn_dscp_encap(c):
    c.config = GATEWAY
    for tos in (0, 1, 2, 3, 0xB8, 0xBB, 0xFF):
        encap(c, udp(dst=A_IN, tos=tos, id=tos))


@case("ecn = \"compatibility\": the outer ECN field is Not-ECT, whatever is inside, which stays as it is (EC-01)")
def ecn_compatibility(c):
    c.config = changed(GATEWAY, "link1 = true\n", "link1 = true\necn = \"compatibility\"\n")
    for tos in (0, 1, 2, 3, 0xB8, 0xBB, 0xFF):
        encap(c, udp(dst=A_IN, tos=tos, id=tos), tos=tos & 0xFC)


@case("dscp = \"uniform\": the outer DSCP is carried inwards, and ECN as ever (DS-01)")
def dscp_uniform(c):
    c.config = changed(GATEWAY, "link1 = true\n", "link1 = true\ndscp = \"uniform\"\n")
    for outer, inner_tos, tos in ((0xB8, 0, 0xB8), (0, 0xB8, 0), (0x48, 0x48, 0x48), (0xBB, 0x02, 0xBB),
                                  (0xB8, 0x03, 0xBB), (0x29, 0x56, 0x29), (0xFC, 0x01, 0xFD)):
        inner = udp(src=A_IN, dst=H, tos=inner_tos)
        decap(c, inner, in_gre(inner, A, C1, tos=outer), out=rebuilt(hop(inner), tos=tos))
    encap(c, udp(dst=A_IN, tos=0xB9))


@case("A fixed outer DSCP and TTL replace the inner packet's, and ECN is copied all the same")
def outer_dscp_ttl(c):
    c.config = changed(GATEWAY, "link1 = true\n", "link1 = true\ndscp = 46\nttl = 17\n")
    for tos in (0, 3, 0x49):
        encap(c, udp(dst=A_IN, tos=tos, id=tos), tos=46 << 2 | tos & 3, ttl=17)


@case("The inner TTL does not show outside, and TTL 1 never enters a tunnel (II-02)")
def encap_ttl(c):
    c.config = GATEWAY
    encap(c, udp(dst=A_IN, ttl=2))
    encap(c, udp(dst=A_IN, ttl=255))
    packet = udp(dst=A_IN, ttl=1)
    c.rx("en0", at_c0(packet))
    c.drop("en0", "ttl_expired")
    message = error(11, 0, packet, C0)
    send_error(c, message, "en0", to_lan(message))


@case("df = copy: outer DF is the inner one's, and a datagram that may be cut has an "
      "identification of its own (V4-04)")
def outer_df_copy(c):
    c.config = changed(GATEWAY, "link1 = true\n", 'link1 = true\ndf = "copy"\n')
    for i in range(5):
        encap(c, udp(dst=A_IN, id=i), df=False, id=i + 1)
    encap(c, udp(dst=A_IN, flags="DF", id=9), df=True)


@case("df = set: outer DF is set whatever the inner packet says")
def outer_df_set(c):
    c.config = GATEWAY
    encap(c, udp(dst=A_IN, id=1))
    encap(c, udp(dst=A_IN, id=2, flags="DF"))


@case("What carries one of our own addresses as source is not forwarded into a tunnel (II-05)")
def own_source_into_tunnel(c):
    c.config = GATEWAY
    for source in (C1, C0):
        c.rx("en0", at_c0(udp(src=source, dst=A_IN)))
        c.drop("en0", "own_source_into_tunnel", leaving="gre0")


@case("What carries the tunnel's far end as source is not forwarded into it (II-06)")
def exit_source_into_tunnel(c):
    c.config = GATEWAY
    c.rx("en0", at_c0(udp(src=A, dst=A_IN)))
    c.drop("en0", "exit_source_into_tunnel", leaving="gre0")


@case("From one tunnel into another: out of gre0, into ipip0, one hop")
def tunnel_to_tunnel(c):
    c.config = GATEWAY + IPIP0
    inner = udp(src=A_IN, dst="172.16.0.5", n=60)
    c.rx("en1", at_c1(in_gre(inner, A, C1)))
    c.tunnel_rx("gre0", inner)
    out = hop(inner)
    c.tx("en1", to_net(in_ip(out)), "en1", tunnel=("ipip0", len(raw(out))), free_id=(0,))


def nested(levels):
    """A datagram for H in `levels` tunnel packets, all of gre0."""
    packet = udp(src=A_IN, dst=H)
    layers = [packet]
    for _ in range(levels):
        packet = in_gre(packet, A, C1)
        layers.append(packet)
    return layers


@case("A tunnel packet inside a tunnel packet is unwrapped as often as the bound allows, and no "
      "more")
def nesting(c):
    c.config = GATEWAY
    *inners, outer = nested(2)
    c.rx("en1", at_c1(outer))
    for inner in reversed(inners):
        c.tunnel_rx("gre0", inner)
    c.tx("en0", to_lan(hop(inners[0])), "en1")
    *inners, outer = nested(8)
    c.rx("en1", at_c1(outer))
    for inner in list(reversed(inners))[:NESTING]:
        c.tunnel_rx("gre0", inner)
    c.drop("en1", "nesting_too_deep", came="gre0")


def with_options(inner):
    """A tunnel packet whose outer header is as long as headers get."""
    outer = IP(src=A, dst=C1, proto=47, id=0, flags="DF", options=[IPOption(b"\x01")] * 40)
    return IP(raw(outer / GRE(proto=0x0800) / inner))


@case("Three tunnel packets in each other whose headers are full of options are unwrapped; four "
      "are more header than the path looks at")
def nested_options(c):
    c.config = GATEWAY
    for levels in (3, 4):
        layers = [udp(src=A_IN, dst=H)]
        for _ in range(levels):
            layers.append(with_options(layers[-1]))
        *inners, outer = layers
        c.rx("en1", at_c1(outer))
        for inner in list(reversed(inners))[:3]:
            c.tunnel_rx("gre0", inner)
        if levels == 3:
            c.tx("en0", to_lan(hop(inners[0])), "en1")
        else:
            c.drop("en1", "nesting_too_deep", came="gre0")


# How deep the path unwraps: `datapath`'s bound.
NESTING = 4


@case("A tunnel over a VLAN: the outer frame is tagged")
def gre_over_vlan(c):
    c.config = EN0 + KNOWN.split("[[neighbour]]")[0] + f"""
[[neighbour]]
address = "{H}"
mac = "{HM}"

[[port]]
name = "en1"
device = "net_null1"

[[vlan]]
name = "en1.30"
address = ["203.0.113.1/24"]

[[neighbour]]
address = "{R}"
mac = "{RM}"
""" + DEFAULT + GRE0
    from scapy.layers.l2 import Dot1Q

    packet = udp(dst=A_IN)
    inner = hop(packet)
    c.rx("en0", at_c0(packet))
    tagged = Ether(src=M1, dst=RM) / Dot1Q(vlan=30, type=0x0800) / in_gre(inner)
    tunnel = ("gre0", len(raw(inner)))
    c.tx("en1", tagged, "en0", iface="en1.30", tunnel=tunnel, free_id=(0,))
    back = udp(src=A_IN, dst=H)
    c.rx("en1", Ether(src=RM, dst=M1) / Dot1Q(vlan=30, type=0x0800) / in_gre(back, A, C1))
    c.tunnel_rx("gre0", back)
    c.tx("en0", to_lan(hop(back)), "en1")


assert IP and GRE
