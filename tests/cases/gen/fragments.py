"""Cutting datagrams, and putting together those that are for us."""

from scapy.layers.inet import IP, IPOption
from scapy.packet import Raw

from .kit import case, fresh, hop, pieces, raw, rebuilt
from .net import *  # noqa: F403

NARROW = changed(ROUTER, 'device = "net_null1"', 'device = "net_null1"\nmtu = 1000')


def cut(c, packet, mtu=1000):
    """A LAN datagram leaves by en1 in pieces."""
    c.rx("en0", at_c0(packet))
    parts = pieces(hop(packet), mtu)
    c.cut("en0", len(parts))
    for part in parts:
        c.tx("en1", to_net(part), "en0")


@case("Too long for the next link and no DF: cut, as few pieces as can be, in order (RT-06)")
def fragment_transit(c):
    c.config = NARROW
    for n in (973, 1472):
        cut(c, udp(n=n, id=n, tos=0xB9))
    packet = udp(n=972)
    c.rx("en0", at_c0(packet))
    c.tx("en1", to_net(hop(packet)), "en0")


@case("Fragments are cut again: offsets go on, the last piece keeps its flag (RT-06)")
def fragment_of_fragment(c):
    c.config = NARROW
    for part in pieces(udp(n=4000), 1500):
        if len(part) > 1000:
            cut(c, part)
        else:
            c.rx("en0", at_c0(part))
            c.tx("en1", to_net(hop(part)), "en0")


@case("Options that are not to be copied stay with the first piece; the reserved flag with all")
def fragment_options(c):
    c.config = NARROW
    cut(c, udp(n=1400, options=[IPOption(b"\x1e\x04\xab\xcd")]))
    cut(c, udp(n=1400, flags="evil", id=3))


@case("A link of 68 bytes: a datagram in forty-eight byte pieces; one with a header that leaves no "
      "room cannot be cut")
def fragment_smallest_mtu(c):
    c.config = changed(ROUTER, 'device = "net_null1"', 'device = "net_null1"\nmtu = 68')
    cut(c, udp(n=200), 68)


@case("A fragment that would reach beyond 65535 bytes cannot be cut")
def cannot_fragment(c):
    c.config = NARROW
    packet = IP(raw(IP(src=H, dst=FAR, proto=17, id=9, frag=8100) / Raw(payload(1400))))
    c.rx("en0", at_c0(packet))
    c.drop("en0", "cannot_fragment", leaving="en1")


@case("Too long for the tunnel and no DF: the inner datagram is cut, each piece wrapped (PM-02)")
def fragment_inner(c):
    c.config = GATEWAY
    for n in (1449, 1472):
        packet = udp(dst=A_IN, n=n, id=n)
        c.rx("en0", at_c0(packet))
        parts = pieces(hop(packet), 1476)
        c.cut("en0", len(parts))
        for part in parts:
            tunnel = ("gre0", len(part))
            c.tx("en1", to_net(in_gre(part)), "en0", tunnel=tunnel, free_id=(0,))


@case("df = copy and no inner DF: the datagram is wrapped whole and the outer one cut; its pieces "
      "share an identification that no other has (V4-04)")
def fragment_outer(c):
    c.config = changed(GATEWAY, "link1 = true\n", 'link1 = true\ndf = "copy"\n')
    for i, n in enumerate((1449, 1472, 1472)):
        packet = udp(dst=A_IN, n=n, id=n)
        c.rx("en0", at_c0(packet))
        inner = hop(packet)
        parts = pieces(in_gre(inner, df=False, id=i + 1), 1500)
        c.cut("en0", len(parts))
        for number, part in enumerate(parts):
            # The tunnel carries one datagram, the port its pieces.
            tunnel = ("gre0", len(inner)) if number == 0 else None
            c.tx("en1", to_net(part), "en0", tunnel=tunnel, free_id=(0,))


@case("df = copy and an MTU above what fits: one with inner DF is refused with what does fit, one "
      "without is cut outside")
def fragment_copy_mtu(c):
    c.config = changed(GATEWAY, "link1 = true\n", 'link1 = true\ndf = "copy"\nmtu = 1500\n')
    cause = udp(dst=A_IN, n=1472, flags="DF", id=0)
    c.rx("en0", at_c0(cause))
    c.drop("en0", "fragmentation_needed", leaving="gre0")
    message = error(3, 4, cause, C0, mtu=1476)
    send_error(c, message, "en0", to_lan(message))
    packet = udp(dst=A_IN, n=1472)
    c.rx("en0", at_c0(packet))
    inner = hop(packet)
    parts = pieces(in_gre(inner, df=False, id=1), 1500)
    c.cut("en0", len(parts))
    for number, part in enumerate(parts):
        assert len(part) <= 1500
        tunnel = ("gre0", len(inner)) if number == 0 else None
        c.tx("en1", to_net(part), "en0", tunnel=tunnel, free_id=(0,))


@case("Out of the tunnel and too long for the LAN: cut there")
def fragment_after_decap(c):
    c.config = changed(GATEWAY, 'device = "net_null0"', 'device = "net_null0"\nmtu = 900')
    inner = udp(src=A_IN, dst=H, n=1400)
    c.rx("en1", at_c1(in_gre(inner, A, C1)))
    c.tunnel_rx("gre0", inner)
    parts = pieces(hop(inner), 900)
    c.cut("en1", len(parts))
    for part in parts:
        c.tx("en0", to_lan(part), "en1")


def collected(c, part, at=0.0, frame=None, port="en1", held=False):
    """A fragment for us; `held`: it still waits at the end."""
    c.rx(port, (frame or at_c1)(part), at)
    if held:
        c.add(f"origin.{port}.held")


def refused(c, reason, n=1):
    """So many fragments are dropped."""
    for _ in range(n):
        c.drop("en1", reason)


@case("Outer fragments are put together, in whatever order they come, and unwrapped (RT-07)")
def reassemble_tunnel_packet(c):
    c.config = GATEWAY
    at = 0.0
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        inner = udp(src=A_IN, dst=H, n=1400, id=500 + order[0])
        whole = in_gre(inner, A, C1, df=False, id=0x100 + order[0] * 7 + order[1])
        parts = pieces(whole, 600)
        assert len(parts) == 3
        for number in order:
            collected(c, parts[number], at)
        c.merged("en1", 2)
        c.tunnel_rx("gre0", inner)
        c.tx("en0", to_lan(hop(inner)), "en1", at)
        at += 0.1


@case("reassemble = false: tunnel packets that arrive in fragments are dropped, whole ones and others' are not (RFC 7588 3.4)")
def reassemble_refused(c):
    c.config = changed(GATEWAY, "link1 = true\n", "link1 = true\nreassemble = false\n")
    inner = udp(src=A_IN, dst=H, n=1400)
    parts = pieces(in_gre(inner, A, C1, df=False), 600)
    for part in parts:
        collected(c, part, 0.0)
    c.merged("en1", len(parts) - 1)
    c.drop("en1", "delivery_fragment", came="gre0")
    c.rx("en1", at_c1(in_gre(inner, A, C1)))
    c.tunnel_rx("gre0", inner)
    c.tx("en0", to_lan(hop(inner)), "en1")
    c.verb(0.010, {"op": "set-interface", "name": "gre0", "reassemble": True})
    for part in parts:
        collected(c, part, 0.020)
    c.merged("en1", len(parts) - 1)
    c.tunnel_rx("gre0", inner)
    c.tx("en0", to_lan(hop(inner)), "en1", 0.020)


@case("An echo request to us in fragments is put together and answered")
def reassemble_echo(c):
    c.config = ROUTER
    request = echo(dst=C0, n=1600)
    for part in pieces(request, 1500):
        collected(c, part, frame=at_c0, port="en0")
    c.merged("en0", 1)
    message = with_icmp_checksum(b"\0" + raw(request)[21:])
    reply = IP(raw(IP(src=C0, dst=H, ttl=64, id=fresh(), proto=1) / Raw(message)))
    parts = pieces(reply, 1500)
    c.cut("en0", len(parts))
    for part in parts:
        c.tx("en0", to_lan(part), "en0", free_id=(0,))


@case("Fragments in transit are passed on one by one, never put together (RT-08)")
def fragments_in_transit(c):
    c.config = ROUTER
    for part in pieces(udp(n=3000), 1500):
        c.rx("en0", at_c0(part))
        c.tx("en1", to_net(hop(part)), "en0")


@case("Repeated, overlapping and impossible fragments are refused")
def fragments_refused(c):
    c.config = GATEWAY
    whole = in_gre(udp(src=A_IN, dst=H, n=1000), A, C1, df=False, id=1)
    first, second, last = pieces(whole, 500)
    collected(c, first)
    collected(c, first)
    refused(c, "fragment_duplicate")
    # One that overlaps both: the whole datagram is refused.
    body = raw(whole)[20:]
    across = IP(src=A, dst=C1, proto=47, id=1, flags="MF", frag=1) / Raw(body[8:488])
    collected(c, IP(raw(across)))
    refused(c, "fragment_overlap", 2)
    odd = IP(src=A, dst=C1, proto=47, id=2, flags="MF") / Raw(body[:13])
    collected(c, IP(raw(odd)))
    refused(c, "fragment_invalid")
    beyond = IP(src=A, dst=C1, proto=47, id=3, frag=8191) / Raw(body[:64])
    collected(c, IP(raw(beyond)))
    refused(c, "fragment_too_large")
    assert second and last and rebuilt


@case("Congestion that one outer fragment saw comes out with the datagram (RFC 3168 5.3); where "
      "another fragment does not know ECN, the datagram is refused")
def fragments_ecn(c):
    c.config = GATEWAY
    inner = udp(src=A_IN, dst=H, n=1000, tos=2)
    whole = in_gre(inner, A, C1, df=False, id=1)
    first, second = pieces(whole, 600)
    collected(c, rebuilt(first, tos=3))
    collected(c, second)
    c.merged("en1", 1)
    c.tunnel_rx("gre0", inner)
    c.tx("en0", to_lan(rebuilt(hop(inner), tos=3)), "en1")
    first, second = pieces(in_gre(inner, A, C1, df=False, id=2), 600)
    collected(c, rebuilt(first, tos=3))
    collected(c, rebuilt(second, tos=0))
    refused(c, "fragment_ecn", 2)


@case("One source cannot have more than 128 datagrams under way")
def fragments_limit(c):
    c.config = GATEWAY
    for i in range(130):
        part = IP(src=A, dst=C1, proto=47, id=i, flags="MF") / Raw(payload(8))
        collected(c, IP(raw(part)), held=i >= 2)
    refused(c, "fragment_limits", 2)


@case("What is not complete in time is given up, and the sender told if the first piece came",
      until=70.0)
def fragments_timeout(c):
    c.config = GATEWAY
    first, *_ = pieces(in_gre(udp(src=A_IN, dst=H, n=1000), A, C1, df=False, id=1), 600)
    collected(c, first)
    *_, last = pieces(in_gre(udp(src=A_IN, dst=H, n=1000), A, C1, df=False, id=2), 600)
    collected(c, last)
    refused(c, "fragment_timeout", 2)
    message = error(11, 1, first, C1)
    send_error(c, message, "en1", to_net(message), 30.0)
