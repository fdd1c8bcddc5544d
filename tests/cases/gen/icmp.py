"""ICMP: echo, errors, and where errors are forbidden (IC-03)."""

from scapy.layers.inet import ICMP, IP, TCP, IPOption_LSRR
from scapy.packet import Raw

from .kit import case, fresh, hop, pieces, raw, rebuilt
from .net import *  # noqa: F403


def answered(c, request, frame_of, port, source=None, at=0.0):
    """An echo request to us is answered on the spot."""
    c.rx(port, frame_of[0](request), at)
    reply = IP(raw(IP(src=request.dst, dst=request.src, tos=request.tos, ttl=64,
                      flags=request.flags, id=fresh()) / Raw(reply_of(request))))
    reply = rebuilt(reply, proto=1)
    c.tx(port, frame_of[1](reply), port, at, free_id=(0,))


def reply_of(request):
    """The ICMP message that answers an echo request."""
    return with_icmp_checksum(b"\0" + raw(request)[21:])


LAN = (at_c0, to_lan)
NET = (at_c1, to_net)


def told(c, cause, reason, kind, code, port="en0", source=C0, came=None, leaving=None, mtu=0,
         arrival=None, at=0.0):
    """A LAN datagram is dropped for `reason` and its sender told."""
    c.rx(port, (arrival or at_c0)(cause), at)
    c.drop(port, reason, came=came, leaving=leaving)
    message = error(kind, code, cause, source, mtu=mtu)
    send_error(c, message, "en0", to_lan(message), at)


def untold(c, frame, reason, port="en0", leaving=None):
    """A datagram is dropped for `reason` and nobody told."""
    c.rx(port, frame)
    c.drop(port, reason, leaving=leaving)


@case("Echo requests to each of our addresses are answered, whichever port they come in by")
def echo_own_addresses(c):
    c.config = GATEWAY
    for n in (0, 1, 56, 1472):
        answered(c, echo(dst=C0, n=n, seq=n), LAN, "en0")
    answered(c, echo(dst=C1, seq=5), LAN, "en0")
    answered(c, echo(src=FAR, dst=C1, seq=6), NET, "en1")
    answered(c, echo(dst=C0, flags="DF", id=0, tos=0xB8, seq=7), LAN, "en0")


@case("An echo request with TTL 1 or 0 is for us all the same (RT-10)")
def echo_low_ttl(c):
    c.config = ROUTER
    answered(c, echo(dst=C0, ttl=1), LAN, "en0")
    answered(c, echo(dst=C0, ttl=0, seq=2), LAN, "en0")


@case("An echo request to the tunnel's inner address is answered through the tunnel")
def echo_through_tunnel(c):
    c.config = GATEWAY
    request = echo(src=A_IN, dst=C0)
    c.rx("en1", at_c1(in_gre(request, A, C1)))
    c.tunnel_rx("gre0", request)
    reply = IP(raw(IP(src=C0, dst=A_IN, ttl=64, id=fresh(), proto=1) / Raw(reply_of(request))))
    outer = in_gre(reply)
    c.tx("en1", to_net(outer), "en1", tunnel=("gre0", len(reply)), free_id=(0, 1))


@case("With echo off, echo requests end in control and are not answered")
def echo_off(c):
    c.config = ROUTER + "\n[icmp]\necho = false\n"
    c.rx("en0", at_c0(echo(dst=C0)))
    c.punt("en0", "local_icmp")
    c.control_drop("echo_off")


@case("Other ICMP to us goes to control: replies nobody asked for, broken and unknown messages")
def icmp_to_us(c):
    c.config = ROUTER
    broken = bytearray(raw(echo(dst=C0)))
    broken[30] ^= 1
    timestamp = IP(raw(IP(src=H, dst=C0, proto=1) / Raw(with_icmp_checksum(b"\x0d" + b"\0" * 19))))
    for packet, reason in (
        (echo(dst=C0, reply=True), "icmp_unexpected"),
        (IP(bytes(broken)), "icmp_invalid"),
        (timestamp, "icmp_unsupported"),
    ):
        c.rx("en0", at_c0(packet))
        c.punt("en0", "local_icmp")
        c.control_drop(reason)


@case("A source-routed echo request is not answered (RFC 7126)")
def echo_source_routed(c):
    c.config = ROUTER
    request = echo(dst=C0, options=[IPOption_LSRR(routers=["192.0.2.1"], pointer=4)])
    c.rx("en0", at_c0(request))
    c.punt("en0", "local_icmp")
    c.control_drop("echo_refused")


@case("An error that has no way back is made and dropped")
def icmp_no_return(c):
    c.config = EN0 + EN1 + KNOWN
    cause = udp(src=FAR, dst="198.18.0.1")
    c.rx("en1", at_c1(cause))
    c.drop("en1", "no_route")
    c.add("control.originated")
    c.control_drop("icmp_no_return")


@case("ICMP errors addressed to us are read by control")
def icmp_errors_to_us(c):
    c.config = ROUTER
    for kind, code in ((3, 0), (3, 4), (11, 0)):
        message = error(kind, code, udp(src=C0, dst=FAR), H, mtu=1400)
        c.rx("en0", at_c0(message))
        c.punt("en0", "local_icmp")
        c.consumed()


@case("TTL 1 and 0 in transit: time exceeded, from the address of the interface it goes back by")
def ttl_expired(c):
    c.config = ROUTER
    told(c, udp(ttl=1, n=30), "ttl_expired", 11, 0)
    told(c, udp(ttl=0, n=30, id=2), "ttl_expired", 11, 0)
    cause = udp(src=FAR, dst=H, ttl=1)
    c.rx("en1", at_c1(cause))
    c.drop("en1", "ttl_expired")
    message = error(11, 0, cause, C1)
    send_error(c, message, "en1", to_net(message))


@case("Time exceeded can be switched off; the packet is dropped and counted all the same")
def time_exceeded_off(c):
    c.config = ROUTER + "\n[icmp]\ntime_exceeded = false\n"
    untold(c, at_c0(udp(ttl=1)), "ttl_expired")


@case("An error quotes as much as fits in 576 bytes, as it was received (IC-05)")
def error_quote(c):
    c.config = ROUTER
    for n in (0, 519, 520, 521, 1472):
        told(c, udp(ttl=1, n=n, id=n, tos=0xB8), "ttl_expired", 11, 0)


@case("No route: network unreachable (IC-09)")
def no_route(c):
    c.config = EN0 + EN1 + KNOWN
    told(c, udp(), "no_route", 3, 0)
    told(c, echo(), "no_route", 3, 0)


@case("A reject route: host unreachable")
def reject(c):
    c.config = ROUTER + """
[[route]]
to = "192.0.2.0/24"
reject = true
"""
    told(c, udp(), "unreachable", 3, 1)


@case("UDP and TCP to our own addresses: port unreachable, which ends a traceroute")
def port_unreachable(c):
    c.config = GATEWAY
    told(c, udp(dst=C0, dport=33434, ttl=1), "port_unreachable", 3, 3)
    told(c, udp(dst=C1, dport=53), "port_unreachable", 3, 3)
    segment = IP(raw(IP(src=H, dst=C0, id=9) / TCP(sport=999, dport=22, flags="S")))
    told(c, segment, "port_unreachable", 3, 3)


@case("UDP to the inner address through the tunnel: port unreachable through the tunnel")
def port_unreachable_tunnel(c):
    c.config = GATEWAY
    cause = udp(src=A_IN, dst=C0, dport=33434, ttl=1)
    c.rx("en1", at_c1(in_gre(cause, A, C1)))
    c.tunnel_rx("gre0", cause)
    c.drop("en1", "port_unreachable", came="gre0")
    message = error(3, 3, cause, C0)
    outer = in_gre(message)
    send_error(c, message, "en1", to_net(outer), tunnel=("gre0", len(message)), free_id=(0, 1))


@case("Protocols that nobody here speaks: protocol unreachable")
def protocol_unreachable(c):
    c.config = ROUTER
    for proto in (2, 50, 51, 89, 132, 255):
        cause = IP(raw(IP(src=H, dst=C0, proto=proto, id=proto) / Raw(payload(20))))
        told(c, cause, "protocol_unreachable", 3, 2)


NARROW = changed(ROUTER, 'device = "net_null1"', 'device = "net_null1"\nmtu = 1000')


@case("Too long for the next link and DF: fragmentation needed with that link's MTU (IC-01)")
def frag_needed_transit(c):
    c.config = NARROW
    told(c, udp(n=973, flags="DF", id=0), "fragmentation_needed", 3, 4, leaving="en1", mtu=1000)
    packet = udp(n=972, flags="DF", id=0)
    c.rx("en0", at_c0(packet))
    c.tx("en1", to_net(hop(packet)), "en0")


@case("Too long for the tunnel and DF: fragmentation needed with the tunnel's MTU, 1476")
def frag_needed_tunnel(c):
    c.config = GATEWAY
    cause = udp(dst=A_IN, n=1449, flags="DF", id=0)
    told(c, cause, "fragmentation_needed", 3, 4, leaving="gre0", mtu=1476)


@case("Too long for a narrow underlay: the tunnel's MTU is the underlay's less 24")
def frag_needed_narrow_underlay(c):
    c.config = NARROW + GRE0
    cause = udp(dst=A_IN, n=949, flags="DF", id=0)
    told(c, cause, "fragmentation_needed", 3, 4, leaving="gre0", mtu=976)
    packet = udp(dst=A_IN, n=948, flags="DF", id=0)
    c.rx("en0", at_c0(packet))
    inner = hop(packet)
    c.tx("en1", to_net(in_gre(inner)), "en0", tunnel=("gre0", len(inner)), free_id=(0,))


@case("Out of the tunnel and too long for the LAN with DF: the far host is told through the tunnel")
def frag_needed_after_decap(c):
    c.config = changed(GATEWAY, 'device = "net_null0"', 'device = "net_null0"\nmtu = 900')
    cause = udp(src=A_IN, dst=H, n=873, flags="DF", id=0)
    c.rx("en1", at_c1(in_gre(cause, A, C1)))
    c.tunnel_rx("gre0", cause)
    c.drop("en1", "fragmentation_needed", leaving="en0")
    message = error(3, 4, cause, C0, mtu=900)
    outer = in_gre(message)
    send_error(c, message, "en1", to_net(outer), tunnel=("gre0", len(message)), free_id=(0, 1))


def icmp_message(kind, code, dst=FAR, ttl=1):
    """An ICMP message in transit whose TTL runs out here."""
    body = with_icmp_checksum(bytes([kind, code]) + b"\0" * 6 + raw(udp(src=FAR, dst=H, n=8)))
    return IP(raw(IP(src=H, dst=dst, ttl=ttl, proto=1, id=5) / Raw(body)))


@case("No error about an ICMP error, but one about a query (IC-03)")
def no_error_about_errors(c):
    c.config = ROUTER
    for kind, code in ((3, 0), (3, 3), (3, 4), (4, 0), (5, 1), (11, 0), (12, 0), (99, 0)):
        untold(c, at_c0(icmp_message(kind, code)), "ttl_expired")
    told(c, echo(ttl=1), "ttl_expired", 11, 0)
    told(c, echo(ttl=1, reply=True, id=2), "ttl_expired", 11, 0)


@case("No error about a fragment other than the first (IC-03)")
def no_error_about_later_fragments(c):
    c.config = ROUTER
    first, *rest = pieces(udp(n=2000, ttl=1), 1000)
    told(c, first, "ttl_expired", 11, 0)
    for piece in rest:
        untold(c, at_c0(piece), "ttl_expired")


@case("No error about what came as a link broadcast or multicast (IC-03)")
def no_error_about_link_broadcasts(c):
    c.config = ROUTER
    untold(c, at_c0(udp(dst=C0, dport=137), dst=BROADCAST), "port_unreachable")
    untold(c, at_c0(udp(dst=C0, dport=137), dst="01:00:5e:00:00:01"), "port_unreachable")


@case("No error to a source that is a subnet's broadcast address (IC-03)")
def no_error_to_broadcast_source(c):
    c.config = ROUTER
    untold(c, at_c0(udp(src="10.255.255.255", ttl=1)), "ttl_expired")
    untold(c, at_c0(udp(src="203.0.113.255", ttl=1)), "ttl_expired")


@case("Errors are limited: two at once by configuration, then by rate (IC-04)", until=3.0)
def error_rate(c):
    c.config = ROUTER + "\n[icmp]\nerror_rate = 1\nerror_burst = 2\n"
    for i in range(5):
        cause = udp(dst=C0, id=i)
        if i < 2:
            told(c, cause, "port_unreachable", 3, 3)
        else:
            # Made, and not sent.
            untold(c, at_c0(cause), "port_unreachable")
            c.add("control.originated")
            c.control_drop("icmp_rate_limited")
    told(c, udp(dst=C0, id=9), "port_unreachable", 3, 3, at=1.5)


assert ICMP
