"""What is refused on arrival, each for its own reason and without a word."""

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw

from .kit import case, hop, raw, rebuilt
from .net import *  # noqa: F403


def refuse(c, frame, reason, port="en0", iface=None):
    """A frame is refused. Until one is known to belong to an interface, it
    counts for none."""
    if reason in ("frame_too_short", "not_our_mac", "unknown_vlan"):
        iface = False
    c.rx(port, frame, iface=iface)
    c.drop(port, reason, came=iface)


@case("Frames shorter than their link header are refused, also behind a VLAN tag")
def frame_too_short(c):
    c.config = ROUTER
    whole = raw(at_c0(udp()))
    for n in (0, 1, 12, 13):
        refuse(c, Raw(whole[:n]), "frame_too_short")
    tagged = raw(Ether(src=HM, dst=M0) / Dot1Q(vlan=20, type=0x0800) / udp())
    for n in (14, 15, 16, 17):
        refuse(c, Raw(tagged[:n]), "frame_too_short")


@case("A unicast frame for another station is none of our business")
def not_our_mac(c):
    c.config = ROUTER
    refuse(c, at_c0(udp(), dst="02:00:00:00:00:63"), "not_our_mac")
    refuse(c, at_c0(udp(), dst=M1), "not_our_mac")  # another port's address


@case("A VLAN without sub-interface is refused, and so is one of another port")
def unknown_vlan(c):
    c.config = ROUTER + """
[[vlan]]
name = "en1.20"
address = ["172.20.0.1/16"]
"""
    for vlan in (1, 20, 21, 4094):
        frame = Ether(src=HM, dst=M0) / Dot1Q(vlan=vlan, type=0x0800) / udp()
        refuse(c, frame, "unknown_vlan")


@case("Ethernet payloads other than IP and ARP are refused: MPLS, a second tag, lengths")
def unknown_ethertype(c):
    c.config = ROUTER
    for kind in (0x8847, 0x8848, 0x88CC, 0x05DC, 0x0026, 0xFFFF):
        refuse(c, Ether(src=HM, dst=M0, type=kind) / raw(udp()), "unknown_ethertype")
    double = Ether(src=HM, dst=M0) / Dot1Q(vlan=0) / Dot1Q(vlan=20, type=0x0800) / udp()
    refuse(c, double, "unknown_ethertype")


@case("What arrives on an interface that is down is refused, and so is what its VLAN gets")
def interface_down(c):
    c.config = changed(ROUTER, 'device = "net_null0"', 'device = "net_null0"\nup = false') + """
[[vlan]]
name = "en1.20"
address = ["172.20.0.1/16"]
up = false
"""
    refuse(c, at_c0(udp()), "interface_down")
    refuse(c, arp(1, HM, H, ZERO_MAC, C0, dst=BROADCAST), "interface_down")
    frame = Ether(src=RM, dst=M1) / Dot1Q(vlan=20, type=0x0800) / udp(src="172.20.0.9")
    c.rx("en1", frame)
    c.drop("en1", "interface_down", came="en1.20")


@case("Fewer bytes than an IPv4 header are refused")
def ipv4_too_short(c):
    c.config = ROUTER
    for n in (0, 1, 19):
        refuse(c, at_c0(Raw(raw(udp())[:n])), "ipv4_too_short")


@case("IP versions other than 4 are refused")
def ipv4_bad_version(c):
    c.config = ROUTER
    for version in (0, 3, 5, 6, 15):
        refuse(c, at_c0(rebuilt(udp(), version=version)), "ipv4_bad_version")


@case("An IPv4 header length below 20 bytes is refused")
def ipv4_bad_header_length(c):
    c.config = ROUTER
    for ihl in (0, 1, 4):
        refuse(c, at_c0(patched(udp(), 0, 0x40 | ihl)), "ipv4_bad_header_length")


@case("An IPv4 total length shorter than the header is refused")
def ipv4_bad_total_length(c):
    c.config = ROUTER
    for length in (0, 1, 19):
        refuse(c, at_c0(patched(udp(), 3, length)), "ipv4_bad_total_length")
    # A header of 60 bytes in a datagram of 28.
    refuse(c, at_c0(patched(udp(n=0), 0, 0x4F)), "ipv4_bad_total_length")


@case("An IPv4 total length longer than what arrived is refused")
def ipv4_truncated(c):
    c.config = ROUTER
    packet = raw(udp(n=64))
    for lost in (1, 30, 64):
        refuse(c, at_c0(Raw(packet[:-lost])), "ipv4_truncated")


@case("A wrong IPv4 header checksum is refused, whichever bit is wrong, also on what is for us")
def bad_checksum(c):
    c.config = GATEWAY
    packet = udp()
    for byte, bit in ((1, 0), (4, 7), (8, 3), (10, 0), (11, 0), (15, 5), (19, 7)):
        data = bytearray(raw(packet))
        data[byte] ^= 1 << bit
        refuse(c, at_c0(Raw(bytes(data))), "ipv4_bad_checksum")
    own = bytearray(raw(echo(dst=C0)))
    own[10] ^= 0x40
    refuse(c, at_c0(Raw(bytes(own))), "ipv4_bad_checksum")
    outer = bytearray(raw(in_gre(udp(src=A_IN, dst=H), A, C1)))
    outer[8] ^= 0x01
    refuse(c, at_c1(Raw(bytes(outer))), "ipv4_bad_checksum", port="en1")


def patched(packet, at, value):
    """The datagram with one byte changed and its checksum right again, as far
    as the header then is 20 bytes."""
    data = bytearray(raw(packet))
    data[at] = value
    data[10:12] = b"\0\0"
    data[10:12] = checksum(bytes(data[:20])).to_bytes(2, "big")
    return Raw(bytes(data))


@case("Sources that no host can have are refused (RT-14)")
def martian_source(c):
    c.config = ROUTER
    for source in (
        "0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.255", "224.0.0.1", "239.255.255.255",
        "240.0.0.1", "255.255.255.255",
    ):
        refuse(c, at_c0(udp(src=source)), "martian_source")


@case("Destinations that no host can have are refused (RT-14)")
def martian_destination(c):
    c.config = ROUTER
    for destination in (
        "0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.255", "240.0.0.1", "255.255.255.254",
    ):
        refuse(c, at_c0(udp(dst=destination)), "martian_destination")


@case("What comes out of a tunnel has to have possible addresses, too")
def martian_inner(c):
    c.config = GATEWAY
    for source, destination, reason in (
        ("127.0.0.1", H, "martian_source"),
        ("224.0.0.5", H, "martian_source"),
        (A_IN, "127.0.0.1", "martian_destination"),
        (A_IN, "240.1.1.1", "martian_destination"),
    ):
        inner = udp(src=source, dst=destination)
        c.rx("en1", at_c1(in_gre(inner, A, C1)))
        c.tunnel_rx("gre0", inner)
        c.drop("en1", reason, came="gre0")


@case("A link broadcast or multicast with somebody else's unicast address is not forwarded (RT-12)")
def link_broadcast_transit(c):
    c.config = ROUTER
    refuse(c, at_c0(udp(), dst=BROADCAST), "link_broadcast_transit")
    refuse(c, at_c0(udp(), dst="01:00:5e:00:00:05"), "link_broadcast_transit")


@case("Multicast is not routed: on the link, and out of a tunnel")
def multicast(c):
    c.config = GATEWAY
    refuse(c, at_c0(udp(dst="224.0.0.5", ttl=1), dst="01:00:5e:00:00:05"), "multicast")
    refuse(c, at_c0(udp(dst="239.1.2.3"), dst="01:00:5e:01:02:03"), "multicast")
    refuse(c, at_c0(udp(dst="239.1.2.3")), "multicast")  # in a unicast frame
    inner = udp(src=A_IN, dst="224.0.0.5", ttl=1)
    c.rx("en1", at_c1(in_gre(inner, A, C1)))
    c.tunnel_rx("gre0", inner)
    c.drop("en1", "multicast", came="gre0")


@case("Broadcasts are never forwarded: limited, a subnet's, a subnet's from afar, through a tunnel")
def broadcast(c):
    c.config = GATEWAY
    refuse(c, at_c0(udp(dst="255.255.255.255"), dst=BROADCAST), "broadcast")
    refuse(c, at_c0(udp(dst="255.255.255.255")), "broadcast")
    refuse(c, at_c0(udp(dst="10.255.255.255"), dst=BROADCAST), "broadcast")
    refuse(c, at_c0(udp(dst="203.0.113.255")), "broadcast")
    refuse(c, at_c0(udp(dst="10.0.0.0"), dst=BROADCAST), "broadcast")  # the old form
    refuse(c, at_c0(echo(dst="10.255.255.255"), dst=BROADCAST), "broadcast")
    inner = udp(src=A_IN, dst="10.255.255.255")
    c.rx("en1", at_c1(in_gre(inner, A, C1)))
    c.tunnel_rx("gre0", inner)
    c.drop("en1", "broadcast", came="gre0")


@case("A blackhole route drops without a word")
def blackhole(c):
    c.config = ROUTER + """
[[route]]
to = "192.0.2.0/24"
blackhole = true
"""
    refuse(c, at_c0(udp()), "blackhole")
    packet = udp(dst="192.0.3.1")
    c.rx("en0", at_c0(packet))
    c.tx("en1", to_net(hop(packet)), "en0")


@case("Only good datagrams of a mixed burst go on, in order, and the rest is accounted for",
      bursts=(1, 7, 32, 64))
def mixed_burst(c):
    c.config = GATEWAY
    bad = [
        (Raw(b"\1" * 9), "frame_too_short"),
        (at_c0(udp(), dst="02:00:00:00:00:63"), "not_our_mac"),
        (at_c0(rebuilt(udp(), version=6)), "ipv4_bad_version"),
        (at_c0(udp(dst="127.0.0.1")), "martian_destination"),
        (at_c0(udp(src="127.0.0.1")), "martian_source"),
        (Ether(src=HM, dst=M0) / Dot1Q(vlan=9, type=0x0800) / udp(), "unknown_vlan"),
        (at_c0(udp(dst="239.0.0.1")), "multicast"),
    ]
    for i in range(63):
        if i % 3 == 0:
            refuse(c, *bad[i // 3 % len(bad)])
        else:
            packet = udp(id=i, n=i, ttl=64 - i % 5)
            c.rx("en0", at_c0(packet))
            c.tx("en1", to_net(hop(packet)), "en0")


assert IP and UDP
