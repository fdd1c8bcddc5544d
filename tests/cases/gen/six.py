"""IPv6: what is refused before any address is looked up."""

from scapy.layers.inet import UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from .kit import case, raw
from .net import *  # noqa: F403
from .refused import refuse

H6 = "2001:db8::a3"
FAR6 = "2001:db8:f::9"


def udp6(src=H6, dst=FAR6, n=32, **ip):
    """A UDP datagram with `n` bytes of data."""
    return IPv6(raw(IPv6(src=src, dst=dst, **ip) / UDP(sport=4000, dport=5000) / Raw(payload(n))))


def lan6(packet, src=HM, dst=M0):
    """A frame as C's en0 receives it from the LAN."""
    return Ether(src=src, dst=dst, type=0x86DD) / packet


@case("Fewer bytes than an IPv6 header are refused")
def ipv6_too_short(c):
    c.config = ROUTER
    for n in (0, 1, 39):
        refuse(c, lan6(Raw(raw(udp6())[:n])), "ipv6_too_short")


@case("IP versions other than 6 behind the EtherType of IPv6 are refused")
def ipv6_bad_version(c):
    c.config = ROUTER
    for version in (0, 4, 5, 7, 15):
        refuse(c, lan6(Raw(bytes([version << 4]) + raw(udp6())[1:])), "ipv6_bad_version")


@case("An IPv6 payload length longer than what arrived is refused")
def ipv6_truncated(c):
    c.config = ROUTER
    packet = raw(udp6(n=64))
    for lost in (1, 30, 72):
        refuse(c, lan6(Raw(packet[:-lost])), "ipv6_truncated")


@case("Addresses that no IPv6 host can have are refused, as sources (S4-06) and as destinations")
def ipv6_martians(c):
    c.config = ROUTER
    for src in ("::", "::1", "::192.0.2.1", "::ffff:192.0.2.1", "ff02::1", "ff0e::1"):
        refuse(c, lan6(udp6(src=src)), "martian_source")
    for dst in ("::", "::1", "::192.0.2.1", "::ffff:192.0.2.1"):
        refuse(c, lan6(udp6(dst=dst)), "martian_destination")


@case("IPv6 multicast is not routed, and only neighbour discovery's groups are listened to")
def ipv6_multicast(c):
    c.config = ROUTER
    for dst in ("ff02::1", "ff02::2", "ff02::1:ff00:1", "ff02::16", "ff05::2", "ff0e::101"):
        refuse(c, lan6(udp6(dst=dst), dst="33:33:00:00:00:01"), "multicast")


@case("IPv6 link-local addresses stay on their link (RFC 4291 2.5.6)")
def ipv6_link_local_transit(c):
    c.config = ROUTER
    refuse(c, lan6(udp6(src="fe80::a3")), "link_local_transit")
    refuse(c, lan6(udp6(dst="fe80::99")), "link_local_transit")
    refuse(c, lan6(udp6(src="febf::1", dst="febf::2")), "link_local_transit")
