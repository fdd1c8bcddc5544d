"""Keepalives and probes sent, what comes back of them, and what becomes of routes."""

from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import GRE
from scapy.packet import Raw

from .arp import heard, reply, request, said
from .kit import case, hop, raw, rebuilt
from .net import *  # noqa: F403

TIMING = {"interval": "10s", "retries": 3, "up_after": 2}
KEEPALIVE = {"op": "set-keepalive", "name": "gre0", "keepalive": TIMING}
PROBE = {"op": "set-probe", "name": "gre0", "probe": {"timing": TIMING, "size": False}}
KEY = 0x2A


def ask(number, key=None, **ip):
    """Cisco's keepalive: from the far end to us, GRE of protocol type 0, empty."""
    words = b"\0\0\0\0" if key is None else b"\x20\0\0\0" + key.to_bytes(4, "big")
    ip = {"src": A, "dst": C1, "ttl": 255, "tos": 0xC0, "id": number, **ip}
    return IP(raw(IP(proto=47, **ip) / Raw(words)))


def sent(c, packet, at, gre=None):
    """Control hands it over, and it goes into gre0."""
    c.inject(packet)
    outer = in_gre(packet, gre=gre)
    c.tx("en1", to_net(outer), "control", at, tunnel=("gre0", len(raw(packet))), free_id=(0,))


def returned(c, packet, at, drop=None):
    """It comes back from the far end, out of the tunnel already."""
    c.rx("en1", at_c1(packet), at)
    c.punt("en1", "liveness")
    if drop:
        c.control_drop(drop)
    else:
        c.consumed()


@case("Keepalives: a GRE packet from the far end to us, in the tunnel's own headers, each interval", until=15.0)
def keepalive_sent(c):
    c.config = GATEWAY
    c.verb(1.0, KEEPALIVE)
    sent(c, ask(1), 1.0)
    sent(c, ask(2), 11.0)


@case("A keepalive that comes back is control's, whatever NAT did to its TTL, DSCP and identification; "
      "a second copy answers nothing", until=25.0)
def keepalive_returned(c):
    c.config = GATEWAY
    c.verb(1.0, KEEPALIVE)
    sent(c, ask(1), 1.0)
    returned(c, hop(ask(1)), 1.5)
    returned(c, hop(ask(1)), 2.0, drop="keepalive_unexpected")
    sent(c, ask(2), 11.0)
    returned(c, ask(0x7777, ttl=3, tos=0, flags="DF"), 11.5)
    sent(c, ask(3), 21.0)


@case("A tunnel with a key sends it inside, too, and knows what comes back by it; without it is nobody's", until=5.0)
def keepalive_key(c):
    c.config = changed(GATEWAY, "link1 = true\n", f"link1 = true\nkey = {KEY}\n")
    c.verb(1.0, KEEPALIVE)
    sent(c, ask(1, KEY), 1.0, gre=GRE(proto=0x0800, key_present=1, key=KEY))
    for other in (None, KEY ^ 1):
        c.rx("en1", at_c1(hop(ask(1, other))), 1.5)
        c.drop("en1", "gre_unknown_protocol")
    returned(c, hop(ask(1, KEY)), 2.0)


@case("What only looks like a keepalive of ours: from elsewhere, of another type, of a tunnel that sends none", until=5.0)
def keepalive_foreign(c):
    c.config = GATEWAY
    c.rx("en1", at_c1(hop(ask(1))), 0.5)
    c.drop("en1", "gre_unknown_protocol")
    c.verb(1.0, KEEPALIVE)
    sent(c, ask(1), 1.0)
    for packet in (ask(1, src="198.51.100.9"), rebuilt(IP(raw(ask(1))[:-2] + b"\x65\x58"))):
        c.rx("en1", at_c1(packet), 1.5)
        c.drop("en1", "gre_unknown_protocol")


@case("A far end that is silent loses its routes to the less specific ones; two answers bring them back", until=33.0)
def keepalive_down_and_up(c):
    c.config = GATEWAY + """
[[route]]
to = "11.0.0.0/8"
interface = "gre0"
"""
    once = {**KEEPALIVE, "keepalive": {**TIMING, "retries": 1}}
    c.verb(1.0, once)
    traffic = udp(dst="11.0.0.1")

    def through(at):
        c.rx("en0", at_c0(traffic), at)
        inner = hop(traffic)
        c.tx("en1", to_net(in_gre(inner)), "en0", at, tunnel=("gre0", len(raw(inner))), free_id=(0,))

    def past(at):
        c.rx("en0", at_c0(traffic), at)
        c.tx("en1", to_net(hop(traffic)), "en0", at)

    sent(c, ask(1), 1.0)
    through(10.0)
    sent(c, ask(2), 11.0)  # and the first is lost
    past(12.0)
    returned(c, hop(ask(2)), 12.5)
    past(13.0)
    sent(c, ask(3), 21.0)
    returned(c, hop(ask(3)), 21.5)
    through(22.0)
    sent(c, ask(4), 31.0)


def probe(number, size=84, **ip):
    """An echo request with our identifier: bytes that show where they are."""
    ip = {"src": C0, "dst": A_IN, "ttl": 64, "flags": "DF", "id": number, **ip}
    message = ICMP(type=8, id=0x6C76, seq=number)
    return IP(raw(IP(**ip) / message / Raw(bytes(i & 0xFF for i in range(28, size)))))


def answered(c, request, at, ident=0x6C76):
    """The far end's answer, out of the tunnel."""
    message = ICMP(type=0, id=ident, seq=request[ICMP].seq)
    answer = IP(raw(IP(src=A_IN, dst=C0, ttl=64, id=9) / message / Raw(raw(request)[28:])))
    c.rx("en1", at_c1(in_gre(answer, A, C1)), at)
    c.tunnel_rx("gre0", answer)
    if ident == 0x6C76:
        c.punt("en1", "liveness")
        c.consumed()
    else:
        c.punt("en1", "local_icmp")
        c.control_drop("icmp_unexpected")


@case("Probes: echo requests through the tunnel with DF set; their answers go to control by a way of "
      "their own, other echo replies as ever", until=15.0)
def probe_sent(c):
    c.config = GATEWAY
    c.verb(1.0, PROBE)
    sent(c, probe(1), 1.0)
    answered(c, probe(1), 1.5, ident=0x77)
    answered(c, probe(1), 2.0)
    sent(c, probe(2), 11.0)


@case("The largest packet is looked for: what the tunnel takes first, and that is all if it passes", until=9.0)
def probe_size(c):
    c.config = GATEWAY
    c.verb(1.0, {**PROBE, "probe": {"timing": TIMING, "size": True}})
    sent(c, probe(1), 1.0)
    answered(c, probe(1), 2.0)
    sent(c, probe(2, 1476), 2.0)
    answered(c, probe(2, 1476), 2.5)


@case("A keepalive whose next hop is not known is given up, and the next hop asked for", until=15.0)
def keepalive_unresolved(c):
    c.config = changed(GATEWAY, f"""
[[neighbour]]
address = "{R}"
mac = "{RM}"
""", "")
    c.verb(1.0, KEEPALIVE)
    c.inject(ask(1))
    c.punt("control", "resolve")
    c.control_drop("probe_unresolved")
    said(c, request(C1, M1, R), port="en1", at=1.0)
    heard(c, reply(R, RM, C1, M1), port="en1", at=1.5)
    sent(c, ask(2), 11.0)


@case("With a strict reverse path a far end that was taken for dead is heard all the same, though its routes "
      "are withdrawn", until=29.0)
def probe_back_by_strict_rpf(c):
    c.config = changed(GATEWAY, "link1 = true\n", 'link1 = true\nrpf = "strict"\n')
    c.verb(1.0, {**PROBE, "probe": {"timing": {**TIMING, "retries": 1}, "size": False}})
    other = udp(src=A_IN, dst=H)
    sent(c, probe(1), 1.0)
    sent(c, probe(2), 11.0)  # and the first is lost
    c.rx("en1", at_c1(in_gre(other, A, C1)), 12.0)
    c.drop("en1", "reverse_path", came="gre0")
    answered(c, probe(2), 12.5)
    sent(c, probe(3), 21.0)
    answered(c, probe(3), 21.5)
    c.rx("en1", at_c1(in_gre(other, A, C1)), 22.0)
    c.tunnel_rx("gre0", other)
    c.tx("en0", to_lan(hop(other)), "en1", 22.0)
