"""Datagrams that pass through: ports, VLANs, sizes, bursts, options."""

from scapy.layers.inet import IP, TCP, IPOption
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Padding, Raw

from .kit import case, hop, raw, rebuilt
from .net import *  # noqa: F403


def through(c, packet, at=0.0):
    """LAN to router, and nothing special."""
    c.rx("en0", at_c0(packet), at)
    c.tx("en1", to_net(hop(packet)), "en0", at)


@case("A datagram for elsewhere leaves by its route with TTL less one, and the answer comes back")
def plain_forward(c):
    c.config = ROUTER
    through(c, udp(n=100))
    answer = udp(src=FAR, dst=H, n=100, ttl=50)
    c.rx("en1", at_c1(answer), 0.001)
    c.tx("en0", to_lan(hop(answer)), "en1", 0.001)


@case("The longest of three matching prefixes wins, and a host route beats them all")
def longest_prefix(c):
    c.config = ROUTER + """
[[route]]
to = "192.0.0.0/8"
blackhole = true

[[route]]
to = "192.0.2.0/24"
via = "203.0.113.253"

[[route]]
to = "192.0.2.9/32"
via = "10.0.0.163"

[[neighbour]]
address = "203.0.113.253"
mac = "02:bb:00:00:02:53"
"""
    second = "02:bb:00:00:02:53"
    packet = udp(dst="198.18.0.1")
    c.rx("en0", at_c0(packet))
    c.tx("en1", to_net(hop(packet)), "en0")
    packet = udp(dst="192.0.2.7")
    c.rx("en0", at_c0(packet))
    c.tx("en1", to_net(hop(packet), dst=second), "en0")
    packet = udp(dst="192.0.2.9", src="203.0.113.9")
    c.rx("en1", at_c1(packet))
    c.tx("en0", to_lan(hop(packet)), "en1")
    c.rx("en0", at_c0(udp(dst="192.0.3.1")))
    c.drop("en0", "blackhole")


@case("TCP and UDP payloads of 0 to 1500 bytes pass unchanged, in order", bursts=(1, 7, 32, 64))
def payload_sizes(c):
    config = changed(ROUTER, 'device = "net_null0"', 'device = "net_null0"\nmtu = 2000')
    c.config = changed(config, 'device = "net_null1"', 'device = "net_null1"\nmtu = 2000')
    sizes = [0, 1, 2, 3, 7, 17, 18, 19, 63, 64, 65, 127, 128, 255, 256, 511, 512, 575, 576]
    sizes += [1023, 1024, 1399, 1400, 1447, 1448, 1459, 1460, 1461, 1471, 1472, 1473, 1499, 1500]
    for i, n in enumerate(sizes):
        through(c, udp(n=n, id=i + 1))
        segment = IP(src=H, dst=FAR, id=i + 500, flags="DF")
        segment /= TCP(sport=33000, dport=80, seq=i, ack=7, flags="PA")
        through(c, IP(raw(segment / Raw(payload(n)))))


@case("A hundred datagrams for many destinations keep their order per port, however they are "
      "bursted", bursts=(1, 7, 32, 64))
def bursts(c):
    c.config = GATEWAY
    for i in range(100):
        if i % 5 == 4:
            packet = udp(dst=A_IN, n=i, id=i + 1, dport=i)
            c.rx("en0", at_c0(packet))
            inner = hop(packet)
            outer = to_net(in_gre(inner))
            c.tx("en1", outer, "en0", tunnel=("gre0", len(raw(inner))), free_id=(0,))
        elif i % 5 == 3:
            packet = udp(src=FAR, dst=H, n=i, id=i + 1, dport=i)
            c.rx("en1", at_c1(packet))
            c.tx("en0", to_lan(hop(packet)), "en1")
        elif i % 10 == 0:
            c.rx("en0", at_c0(udp(dst="127.0.0.1", n=i)))
            c.drop("en0", "martian_destination")
        else:
            through(c, udp(dst=f"198.18.{i}.1", n=i, id=i + 1, dport=i))


VLAN = """
[[vlan]]
name = "en0.20"
address = ["172.20.0.1/16"]

[[neighbour]]
address = "172.20.0.5"
mac = "02:aa:00:20:00:05"
"""


@case("A VLAN's frames belong to its sub-interface, and what leaves by it is tagged")
def vlan(c):
    c.config = ROUTER + VLAN
    host, mac = "172.20.0.5", "02:aa:00:20:00:05"
    packet = udp(src=host)
    c.rx("en0", Ether(src=mac, dst=M0) / Dot1Q(vlan=20, type=0x0800) / packet)
    c.tx("en1", to_net(hop(packet)), "en0")
    answer = udp(src=FAR, dst=host)
    c.rx("en1", at_c1(answer), 0.1)
    tagged = Ether(src=M0, dst=mac) / Dot1Q(vlan=20, type=0x0800) / hop(answer)
    c.tx("en0", tagged, "en1", 0.1, iface="en0.20")
    # From one VLAN of the port to its untagged network and back.
    packet = udp(src=H, dst=host, id=3)
    c.rx("en0", at_c0(packet), 0.2)
    tagged = Ether(src=M0, dst=mac) / Dot1Q(vlan=20, type=0x0800) / hop(packet)
    c.tx("en0", tagged, "en0", 0.2, iface="en0.20")
    packet = udp(src=host, dst=H, id=4)
    c.rx("en0", Ether(src=mac, dst=M0) / Dot1Q(vlan=20, prio=5, type=0x0800) / packet, 0.3)
    c.tx("en0", to_lan(hop(packet)), "en0", 0.3)


@case("A frame with VLAN 0 is a priority tag: it belongs to the port itself")
def priority_tag(c):
    c.config = ROUTER
    packet = udp()
    c.rx("en0", Ether(src=HM, dst=M0) / Dot1Q(vlan=0, prio=3, type=0x0800) / packet)
    c.tx("en1", to_net(hop(packet)), "en0")


@case("Ethernet padding is not part of the datagram and does not go out again")
def ethernet_padding(c):
    c.config = ROUTER
    packet = udp(n=2)
    c.rx("en0", at_c0(packet) / Padding(b"\xee" * 16))
    c.tx("en1", to_net(hop(packet)), "en0")


@case("IP options that nobody knows pass unchanged, and so does the reserved flag (RT-04)")
def unknown_options(c):
    c.config = ROUTER
    option = IPOption(b"\x9e\x04\xab\xcd")
    through(c, udp(options=[option], n=40))
    through(c, udp(flags="evil", n=40, id=7))


@case("Every TOS byte, DF and fragment field passes as it came")
def header_fields_pass(c):
    c.config = ROUTER
    for tos in (0x01, 0x02, 0x03, 0x04, 0xB8, 0xE0, 0xFF):
        through(c, udp(tos=tos, id=tos))
    through(c, udp(flags="DF", id=0))
    through(c, rebuilt(udp(n=64), flags="MF", frag=0))
    through(c, rebuilt(udp(n=64), flags=0, frag=100))


@case("TTL 2 is the least that is forwarded, 255 the most")
def ttl_edges(c):
    c.config = ROUTER
    through(c, udp(ttl=2))
    through(c, udp(ttl=255))


@case("Ones' complement corner cases of the header checksum come out right after the TTL changes")
def checksum_edges(c):
    c.config = ROUTER
    # The identification is chosen so that the checksum is near 0x0000 / 0xffff.
    probe = udp(id=0)
    base = probe.chksum
    for wanted in (0x0000, 0x0001, 0x00FF, 0x0100, 0xFEFF, 0xFF00, 0xFFFE):
        ident = (base - wanted) % 0xFFFF
        through(c, udp(id=ident))
