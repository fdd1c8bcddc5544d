"""The tunnel encapsulation limit (RFC 2473 4.1.1) and what keeps a tunnel out of itself (4.1.2)."""

from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ParamProblem, IPv6
from scapy.packet import Raw

from .kit import case, hop, raw
from .net import *  # noqa: F403
from .six import H6, lan6, udp6
from .six_tunnels import (A6, C06, C16, GRE6, IPIP6, around, from_net, gre, hop6, is6, net6, told6, to_lan, wrapped)


def options(nh, limit):
    """The header that carries a limit."""
    return bytes([nh, 0, 4, 1, limit, 1, 1, 0])


def limited(kind, inner, limit):
    """`inner` as the tunnel of that kind sends it, with this limit."""
    nh = 47 if kind == "gre" else 41 if is6(inner) else 4
    body = gre(inner) if kind == "gre" else raw(inner)
    return around(inner, options(nh, limit) + body, 60)


def carrying(dst, limit, n=33, before=b""):
    """A packet that says how often it may still be put into a tunnel."""
    inside = raw(udp6(dst=dst, n=n))[40:]
    header = before + options(17, limit)
    nh = 0 if before else 60
    return IPv6(raw(IPv6(src=H6, dst=dst, nh=nh, hlim=64) / Raw(header + inside)))


def into(c, kind, name, packet, outer):
    inner = hop6(packet) if is6(packet) else hop(packet)
    c.rx("en0", lan6(packet) if is6(packet) else at_c0(packet))
    c.tx("en1", net6(outer(inner)), "en0", tunnel=(name, len(raw(inner))))


@case("encaplimit = n: every packet goes out with an option that says so, and 8 bytes less fit (V6-03)")
def encaplimit_sent(c):
    for_gre = changed(GRE6, "link1 = true\n", "link1 = true\nencaplimit = 4\n")
    c.config = for_gre + changed(IPIP6[IPIP6.index("\n[[tunnel]]"):], 'inet6 =', 'encaplimit = 0\ninet6 =').replace(
        "2001:db8:aa::2", "2001:db8:aa::2")
    for kind, name, number, limit, overhead in (("gre", "gre6", 40, 4, 52), ("ipip", "ipip6", 41, 0, 48)):
        for n in (0, 33, 1500 - overhead - 48):
            into(c, kind, name, udp6(dst=f"2001:db8:{number}::9", n=n), lambda inner: limited(kind, inner, limit))
            into(c, kind, name, udp(dst=f"{number}.0.0.9", n=n), lambda inner: limited(kind, inner, limit))
    too_large = udp(dst="40.0.0.9", n=1448 - 27, flags="DF")
    c.rx("en0", at_c0(too_large))
    c.drop("en0", "fragmentation_needed", leaving="gre6")
    message = error(3, 4, too_large, C0, mtu=1448)
    send_error(c, message, "en0", to_lan(message))


@case("A packet that may be nested n times more goes out with n - 1, whatever the tunnel is set to (V6-03)")
def encaplimit_counted(c):
    c.config = IPIP6 + changed(GRE6[GRE6.index("\n[[tunnel]]"):], "link1 = true\n", "link1 = true\nencaplimit = 9\n")
    for kind, name, number in (("ipip", "ipip6", 41), ("gre", "gre6", 40)):
        dst = f"2001:db8:{number}::9"
        for limit in (1, 4, 255):
            into(c, kind, name, carrying(dst, limit), lambda inner: limited(kind, inner, limit - 1))
        hop_by_hop = bytes([60, 0, 5, 2, 0, 0, 1, 0])
        into(c, kind, name, carrying(dst, 3, before=hop_by_hop), lambda inner: limited(kind, inner, 2))
        # Options, but no limit among them.
        other = IPv6(raw(IPv6(src=H6, dst=dst, nh=60) / Raw(bytes([59, 0, 1, 4, 0, 0, 0, 0]))))
        own = (lambda inner: limited(kind, inner, 9)) if kind == "gre" else (lambda inner: wrapped(kind, inner))
        into(c, kind, name, other, own)


@case("With a limit of its own a packet has 8 bytes less in a tunnel that sends none")
def encaplimit_counted_mtu(c):
    c.config = IPIP6
    dst = "2001:db8:41::9"
    into(c, "ipip", "ipip6", carrying(dst, 4, n=1452 - 56), lambda inner: limited("ipip", inner, 3))
    from scapy.layers.inet6 import ICMPv6PacketTooBig
    told(c, carrying(dst, 4, n=1452 - 55), "fragmentation_needed", ICMPv6PacketTooBig(mtu=1452))


def told(c, cause, reason, message):
    """Dropped on its way into ipip6, and its sender told."""
    c.rx("en0", lan6(cause))
    c.drop("en0", reason, leaving="ipip6")
    reply = IPv6(raw(IPv6(src=C06, dst=H6, hlim=64) / message / Raw(raw(cause)[:1232])))
    c.inject(reply)
    c.tx("en0", to_lan(reply), "control")


@case("A packet that may not be nested any more is refused, and its sender told where it says so (V6-02)")
def encapsulation_limit(c):
    c.config = IPIP6
    dst = "2001:db8:41::9"
    told(c, carrying(dst, 0), "encapsulation_limit", ICMPv6ParamProblem(code=0, ptr=44))
    hop_by_hop = bytes([60, 0, 5, 2, 0, 0, 1, 0])
    told(c, carrying(dst, 0, before=hop_by_hop), "encapsulation_limit", ICMPv6ParamProblem(code=0, ptr=52))
    # Elsewhere it is nobody's business.
    plain = carrying("2001:db8:f::9", 0)
    c.rx("en0", lan6(plain))
    c.tx("en1", net6(hop6(plain)), "en0")


@case("What has the tunnel's own ends as its own does not go into it (V6-04)")
def tunnel_into_itself(c):
    c.config = changed(GRE6, "link1 = true\n", "") + f"""
[[route]]
to = "{A6}/128"
interface = "gre6"
"""
    ask = IPv6(raw(IPv6(src=A6, dst=C16) / ICMPv6EchoRequest(id=7, seq=9, data=payload(56))))
    c.rx("en1", from_net(ask))
    c.drop("en1", "tunnel_into_itself", leaving="gre6")


assert told6
