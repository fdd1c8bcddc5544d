"""IPv6 forwarded, and tunnels whose inside or outside is IPv6."""

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptMTU,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import GRE, Ether
from scapy.packet import Raw

from .flow import flow, flow6
from .kit import case, hop, raw
from .net import *  # noqa: F403
from .refused import refuse
from .six import H6, lan6, udp6

C06, C16, R6 = "2001:db8::1", "2001:db8:ff::1", "2001:db8:ff::fe"
NET6 = "2001:db8:f::9"
A6 = "2001:db8:aa::2"

LINKS6 = f"""
[[port]]
name = "en0"
device = "net_null0"
address = ["10.0.0.1/8", "{C06}/64"]

[[port]]
name = "en1"
device = "net_null1"
address = ["203.0.113.1/24", "{C16}/64"]

[[neighbour]]
address = "{H}"
mac = "{HM}"

[[neighbour]]
address = "{R}"
mac = "{RM}"

[[neighbour]]
address = "{H6}"
mac = "{HM}"

[[neighbour]]
address = "{R6}"
mac = "{RM}"

[[route]]
to = "default"
via = "{R}"
"""
ROUTER6 = LINKS6 + f"""
[[route]]
to = "::/0"
via = "{R6}"
"""
# Tunnels by number: what is outside, what kind. Each is led to by a network of
# either family: 2001:db8:<number>::/48 and <number>.0.0.0/8.
OVER6 = """
[[tunnel]]
name = "{name}"
kind = "{kind}"
local = "2001:db8:ff::1"
remote = "2001:db8:aa::2"
address = "172.31.{number}.1"
peer = "172.31.{number}.2"
inet6 = ["fd00:{number}::1/64"]
link1 = true

[[route]]
to = "2001:db8:{number}::/48"
interface = "{name}"

[[route]]
to = "{number}.0.0.0/8"
interface = "{name}"
"""
GRE6 = ROUTER6 + OVER6.format(name="gre6", kind="gre", number=40)
IPIP6 = ROUTER6 + changed(OVER6, "link1 = true\n", "").format(name="ipip6", kind="ipip", number=41)


def hop6(packet):
    """The datagram with one hop less."""
    data = bytearray(raw(packet))
    data[7] -= 1
    return IPv6(bytes(data))


def net6(packet):
    """A frame as C sends it to the router."""
    return Ether(src=M1, dst=RM, type=0x86DD if raw(packet)[0] >> 4 == 6 else 0x0800) / packet


def from_net(packet):
    """A frame as C receives it from the router."""
    return Ether(src=RM, dst=M1, type=0x86DD if raw(packet)[0] >> 4 == 6 else 0x0800) / packet


def to_lan(packet):
    """A frame as C sends it to the LAN host."""
    return Ether(src=M0, dst=HM, type=0x86DD if raw(packet)[0] >> 4 == 6 else 0x0800) / packet


def is6(packet):
    return raw(packet)[0] >> 4 == 6


def around(inner, payload, nh, **ip):
    """The outer IPv6 that Greyhound puts around: its label is the flow inside."""
    label = (flow6(inner) if is6(inner) else flow(inner)) & 0xFFFFF
    ip.setdefault("hlim", 64)
    return IPv6(raw(IPv6(src=C16, dst=A6, nh=nh, fl=label, **ip) / Raw(payload)))


def gre(inner):
    return raw(GRE(proto=0x86DD if is6(inner) else 0x0800)) + raw(inner)


def wrapped(kind, inner, **ip):
    """`inner` as the tunnel of that kind sends it."""
    if kind == "gre":
        return around(inner, gre(inner), 47, **ip)
    return around(inner, raw(inner), 41 if is6(inner) else 4, **ip)


def told6(c, cause, reason, message, port="en0", answer="en0"):
    """`cause` is dropped, and its sender told with this ICMPv6 message."""
    c.rx(port, lan6(cause))
    c.drop(port, reason)
    error = IPv6(raw(IPv6(src=C06, dst=H6, hlim=64) / message / Raw(raw(cause)[:1232])))
    c.inject(error)
    c.tx(answer, to_lan(error), "control")


@case("IPv6 is forwarded with one hop less and nothing else changed, both ways and in bursts",
      bursts=(1, 7, 32, 64))
def ipv6_forward(c):
    c.config = ROUTER6
    for n in range(63):
        packet = udp6(dst=NET6, n=n * 23, tc=n, fl=n * 16411, hlim=2 + n)
        c.rx("en0", lan6(packet))
        c.tx("en1", net6(hop6(packet)), "en0")
        back = udp6(src=NET6, dst=H6, n=n * 23, hlim=255 - n)
        c.rx("en1", from_net(back))
        c.tx("en0", to_lan(hop6(back)), "en1")


@case("Hop limit 1 and 0 in transit: time exceeded (C6-04)")
def ipv6_hop_limit(c):
    c.config = ROUTER6
    for hlim in (1, 0):
        told6(c, udp6(hlim=hlim), "ttl_expired", ICMPv6TimeExceeded())


@case("No IPv6 route: destination unreachable, no route")
def ipv6_no_route(c):
    c.config = LINKS6
    told6(c, udp6(), "no_route", ICMPv6DestUnreach(code=0))


@case("IPv6 is never cut: packet too big with the MTU of the link, or of the tunnel (H6-01, V6-05, "
      "G6-05)")
def ipv6_packet_too_big(c):
    c.config = changed(GRE6, 'device = "net_null1"', 'device = "net_null1"\nmtu = 1400')
    for dst, mtu in ((NET6, 1400), ("2001:db8:40::9", 1356)):
        fits = udp6(dst=dst, n=mtu - 48)
        c.rx("en0", lan6(fits))
        if mtu == 1400:
            c.tx("en1", net6(hop6(fits)), "en0")
        else:
            inner = hop6(fits)
            c.tx("en1", net6(wrapped("gre", inner)), "en0", tunnel=("gre6", len(raw(inner))))
        cause = udp6(dst=dst, n=mtu - 47)
        c.rx("en0", lan6(cause))
        leaving = "en1" if mtu == 1400 else "gre6"
        c.drop("en0", "fragmentation_needed", leaving=leaving)
        quote = Raw(raw(cause)[:1232])
        error = IPv6(raw(IPv6(src=C06, dst=H6, hlim=64) / ICMPv6PacketTooBig(mtu=mtu) / quote))
        c.inject(error)
        c.tx("en0", to_lan(error), "control")


@case("Echo requests to every own IPv6 address are answered in place")
def ipv6_echo(c):
    c.config = GRE6
    for own in (C06, C16, "fd00:40::1"):
        ask = IPv6(raw(IPv6(src=H6, dst=own, hlim=3) / ICMPv6EchoRequest(id=7, seq=9, data=payload(56))))
        c.rx("en0", lan6(ask))
        reply = IPv6(raw(IPv6(src=own, dst=H6, hlim=64) / ICMPv6EchoReply(id=7, seq=9, data=payload(56))))
        c.tx("en0", to_lan(reply), "en0")


@case("Extension headers to us that say discard, or that do not end, are refused (RFC 8200 4)")
def ipv6_bad_extension(c):
    c.config = ROUTER6
    for nh, header in ((60, b"\x11\0\x42\1\0\0\0\0"), (60, b"\x11\x09\1\4\0\0\0\0"),
                       (43, b"\x11\0\4\1\0\0\0\0"), (0, b"\x3b")):
        refuse(c, lan6(IPv6(raw(IPv6(src=H6, dst=C06, nh=nh) / Raw(header)))), "ipv6_bad_extension")


def into(c, config, kind, name, number):
    """Both families into a tunnel over IPv6, at all sizes that fit."""
    c.config = config
    overhead = 44 if kind == "gre" else 40
    for n in (0, 1, 18, 56, 511, 1200, 1500 - overhead - 48):
        packet = udp6(dst=f"2001:db8:{number}::9", n=n)
        c.rx("en0", lan6(packet))
        inner = hop6(packet)
        c.tx("en1", net6(wrapped(kind, inner)), "en0", tunnel=(name, len(raw(inner))))
        packet = udp(dst=f"{number}.0.0.9", n=n)
        c.rx("en0", at_c0(packet))
        inner = hop(packet)
        c.tx("en1", net6(wrapped(kind, inner)), "en0", tunnel=(name, len(raw(inner))))


@case("GRE over IPv6, both families inside: header, protocol type, flow label (G6-01, G6-02)")
def gre6_encap(c):
    into(c, GRE6, "gre", "gre6", 40)


@case("IPv6 in IPv6 and IPv4 in IPv6 (RFC 2473): next header 41 and 4, hop limit of our own (V6-01)")
def ipip6_encap(c):
    into(c, IPIP6, "ipip", "ipip6", 41)


def out_of(c, config, kind, name):
    """Both families out of a tunnel over IPv6, with and without a limit on
    nesting in between."""
    c.config = config
    for n in (0, 1, 56, 1200):
        for inner in (udp6(src="2001:db8:c::9", dst=H6, n=n), udp(src="192.0.2.9", dst=H, n=n)):
            payload_ = gre(inner) if kind == "gre" else raw(inner)
            nh = 47 if kind == "gre" else 41 if is6(inner) else 4
            plain = IPv6(src=A6, dst=C16, nh=nh, hlim=9) / Raw(payload_)
            limit = bytes([nh, 0, 4, 1, 4, 1, 1, 0])
            limited = IPv6(src=A6, dst=C16, nh=60, hlim=9) / Raw(limit + payload_)
            for outer in (plain, limited):
                c.rx("en1", from_net(outer))
                c.tunnel_rx(name, inner)
                forwarded = hop6(inner) if is6(inner) else hop(inner)
                c.tx("en0", to_lan(forwarded), "en1")


@case("GRE over IPv6 comes out, extension headers in front of it walked (G6-07)")
def gre6_decap(c):
    out_of(c, GRE6, "gre", "gre6")


@case("IPv6 in IPv6 and IPv4 in IPv6 come out")
def ipip6_decap(c):
    out_of(c, IPIP6, "ipip", "ipip6")


@case("Tunnel packets over IPv6 from elsewhere, or of another protocol, are nobody's")
def unknown_tunnel6(c):
    c.config = GRE6
    inner = udp6(src="2001:db8:c::9", dst=H6)
    for src, dst, nh, data in (("2001:db8:aa::3", C16, 47, gre(inner)), (A6, C06, 47, gre(inner)),
                               (A6, C16, 41, raw(inner)), (A6, C16, 4, raw(udp(dst=H)))):
        refuse(c, from_net(IPv6(src=src, dst=dst, nh=nh) / Raw(data)), "unknown_tunnel", port="en1")


def discovery(message, src, dst, hlim=255):
    """A datagram of neighbour discovery."""
    return IPv6(raw(IPv6(src=src, dst=dst, hlim=hlim) / message))


@case("Neighbour solicitations for our own address are answered, by multicast and by unicast")
def nd_own(c):
    c.config = ROUTER6
    for dst, mac in (("ff02::1:ff00:1", "33:33:ff:00:00:01"), (C06, M0)):
        ask = ICMPv6ND_NS(tgt=C06) / ICMPv6NDOptSrcLLAddr(lladdr=HM)
        c.rx("en0", lan6(discovery(ask, H6, dst), dst=mac))
        c.punt("en0", "nd")
        c.consumed()
        answer = ICMPv6ND_NA(tgt=C06, R=1, S=1, O=1) / ICMPv6NDOptDstLLAddr(lladdr=M0)
        frame = to_lan(discovery(answer, C06, H6))
        c.inject(frame)
        c.tx("en0", frame, "control")


@case("A gateway by its link-local address: asked for from ours on its link; errors to those beyond have a global source")
def link_local_gateway(c):
    here, there = "fe80::ff:fe00:2", "fe80::fe"
    c.config = LINKS6 + """
[[route]]
to = "::/0"
via = "fe80::fe%en1"
"""
    packet = udp6()
    c.rx("en0", lan6(packet))
    c.punt("en0", "resolve")
    ask = discovery(ICMPv6ND_NS(tgt=there) / ICMPv6NDOptSrcLLAddr(lladdr=M1), here, "ff02::1:ff00:fe")
    frame = Ether(src=M1, dst="33:33:ff:00:00:fe", type=0x86DD) / ask
    c.inject(frame)
    c.tx("en1", frame, "control")
    answer = ICMPv6ND_NA(tgt=there, R=1, S=1, O=1) / ICMPv6NDOptDstLLAddr(lladdr=RM)
    c.rx("en1", from_net(discovery(answer, there, here)), 0.2)
    c.punt("en1", "nd")
    c.consumed()
    c.inject(packet, made=False)
    c.tx("en1", net6(hop6(packet)), "control", 0.2)
    other = udp6(n=9)
    c.rx("en0", lan6(other), 0.3)
    c.tx("en1", net6(hop6(other)), "en0", 0.3)
    lost = udp6(src=NET6, dst=H6, hlim=1)
    c.rx("en1", from_net(lost), 0.4)
    c.drop("en1", "ttl_expired")
    message = IPv6(raw(IPv6(src=C16, dst=NET6, hlim=64) / ICMPv6TimeExceeded() / Raw(raw(lost))))
    c.inject(message)
    c.tx("en1", net6(message), "control", 0.4)


def router_advert(c, lifetime, at):
    """C tells the LAN of itself."""
    message = ICMPv6ND_RA(chlim=64, routerlifetime=lifetime, prf=0) / ICMPv6NDOptSrcLLAddr(lladdr=M0)
    message /= ICMPv6NDOptMTU(mtu=1500)
    for prefix, length in (("2001:db8::", 64), ("2001:db8:5::", 80)):
        message /= ICMPv6NDOptPrefixInfo(prefix=prefix, prefixlen=length, L=1, A=int(length == 64),
                                         validlifetime=2592000, preferredlifetime=604800)
    packet = discovery(message, "fe80::ff:fe00:1", "ff02::1")
    frame = Ether(src=M0, dst="33:33:00:00:00:01", type=0x86DD) / packet
    c.inject(frame)
    c.tx("en0", frame, "control", at)


@case("advertise: hosts that solicit are told of router, prefixes and MTU, once in 3 s, and of the end (RFC 4861 6.2)", until=9.0)
def router_advertisements(c):
    c.config = changed(LINKS6, f'"{C06}/64"]\n', f'"{C06}/64", "2001:db8:5::1/80"]\nadvertise = true\n')
    ask = discovery(ICMPv6ND_RS() / ICMPv6NDOptSrcLLAddr(lladdr=HM), "fe80::a3", "ff02::2")
    # The second and third share an answer.
    for at in (1.0, 2.0, 2.1):
        c.rx("en0", lan6(ask, dst="33:33:00:00:00:02"), at)
        c.punt("en0", "nd")
        c.consumed()
    router_advert(c, 1800, 1.5)
    router_advert(c, 1800, 5.0)
    # Not from this link, and asked where nothing is advertised.
    c.rx("en0", lan6(discovery(ICMPv6ND_RS(), "fe80::a3", "ff02::2", hlim=64), dst="33:33:00:00:00:02"), 6.0)
    c.punt("en0", "nd")
    c.control_drop("nd_invalid")
    c.rx("en1", Ether(src=RM, dst="33:33:00:00:00:02", type=0x86DD) / ask, 6.0)
    c.punt("en1", "nd")
    c.control_drop("nd_router")
    c.verb(8.0, {"op": "set-advertise", "name": "en0"})
    router_advert(c, 0, 8.0)
