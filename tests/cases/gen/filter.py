"""Packet filters (RFC 1812 5.3.9): the first rule that fits decides."""

from scapy.layers.inet import TCP
from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6
from scapy.layers.l2 import GRE

from . import six_tunnels as six
from .icmp import told
from .kit import case, hop, pieces
from .net import *  # noqa: F403
from .refused import refuse
from .six import FAR6, H6, lan6, udp6
from .tunnels import decap, encap

A6 = "2001:db8:aa::2"


def rules(*lines):
    """`[[filter]]` sections from `name: key = value; …`."""
    text = ""
    for line in lines:
        name, _, keys = line.partition(": ")
        text += f'\n[[filter]]\nname = "{name}"\n' + keys.replace("; ", "\n") + "\n"
    return text


def tcp(src=H, dst=FAR, sport=4000, dport=22, n=40, **ip):
    ip.setdefault("id", 0x2345)
    return IP(raw(IP(src=src, dst=dst, **ip) / TCP(sport=sport, dport=dport) / Raw(payload(n))))


def passes(c, packet, at=0.0):
    """A LAN datagram is forwarded to the Internet."""
    c.rx("en0", at_c0(packet), at)
    c.tx("en1", to_net(hop(packet)), "en0", at)


@case("action = \"drop\" by source, destination, protocol and ports: dropped silently; what no rule is about goes on")
def filter_drop(c):
    c.config = ROUTER + rules(
        'from: in = "en0"; from = "10.9.0.0/16"; action = "drop"',
        'to: to = "192.0.2.128/25"; action = "drop"; log = true',
        'ssh: protocol = "tcp"; dport = 22; action = "drop"',
        'low: protocol = "udp"; sport = "0-1023"; dport = "5000-5999"; action = "drop"',
        'ospf: protocol = 89; action = "drop"',
        'elsewhere: in = "en1"; action = "drop"',
    )
    for packet in (udp(src="10.9.255.1"), udp(dst="192.0.2.200"), tcp(), udp(sport=1023, dport=5999),
                   rebuilt(udp(), proto=89)):
        refuse(c, at_c0(packet), "filtered")
    for packet in (udp(src="10.10.0.1"), udp(dst="192.0.2.127"), tcp(dport=23), udp(sport=1024),
                   udp(sport=1023, dport=6000), rebuilt(udp(), proto=88)):
        passes(c, packet)
    # What arrives on the other port meets the last rule, and so does what is for us.
    refuse(c, at_c1(udp(src=FAR, dst=H)), "filtered", port="en1")
    refuse(c, at_c1(echo(src=FAR, dst=C1)), "filtered", port="en1")


@case("The first rule that fits decides: accept in front of drop, and rules put in front of others by a verb")
def filter_first_match(c):
    c.config = ROUTER + rules(
        'web: protocol = "tcp"; dport = "80-443"; action = "accept"',
        'lan: from = "10.0.0.160/28"; action = "accept"',
        'rest: in = "en0"; action = "drop"',
    )
    passes(c, tcp(src="10.7.0.1", dport=443))
    passes(c, udp(src="10.0.0.175"))
    refuse(c, at_c0(udp(src="10.0.0.176")), "filtered")
    rule = {"name": "first", "from": "10.0.0.163/32", "action": "drop"}
    c.verb(0.010, {"op": "add-filter", "filter": rule, "before": "web"})
    c.rx("en0", at_c0(tcp(dport=80)), 0.020)
    c.drop("en0", "filtered")
    passes(c, tcp(src="10.0.0.164", dport=80), 0.020)
    c.verb(0.030, {"op": "delete-filter", "name": "first"}, {"op": "delete-filter", "name": "rest"})
    passes(c, tcp(dport=80), 0.040)
    passes(c, udp(src="10.0.0.176"), 0.040)
    c.verb(0.050, {"op": "flush-filters"})
    passes(c, udp(src="10.0.0.176"), 0.060)


@case("action = \"reject\": the sender is told \"administratively prohibited\", ICMP 3 code 13")
def filter_reject(c):
    c.config = ROUTER + rules('no-ssh: in = "en0"; protocol = "tcp"; dport = 22; action = "reject"')
    told(c, tcp(), "filter_rejected", 3, 13)
    passes(c, tcp(dport=23))


@case("action = \"reject\" of IPv6: ICMPv6 type 1 code 1")
def filter_reject_ipv6(c):
    c.config = six.ROUTER6 + rules('no: from = "2001:db8::/64"; protocol = "udp"; action = "reject"')
    cause = udp6(src=H6, dst=FAR6)
    c.rx("en0", lan6(cause))
    c.drop("en0", "filter_rejected")
    message = IPv6(raw(IPv6(src=six.C06, dst=H6, hlim=64) / ICMPv6DestUnreach(code=1) / Raw(raw(cause))))
    c.inject(message)
    c.tx("en0", six.to_lan(message), "control")
    other = udp6(src=A6, dst=FAR6)
    c.rx("en0", lan6(other))
    c.tx("en1", six.net6(six.hop6(other)), "en0")


@case("in = \"gre0\": what comes out of the tunnel is filtered by what is inside; what goes into it, where it arrives")
def filter_tunnel(c):
    c.config = six.ROUTER6 + GRE0 + rules(
        f'out: in = "gre0"; from = "{A_IN}/32"; protocol = "udp"; dport = 5000; action = "drop"',
        'out6: in = "gre0"; to = "2001:db8::/64"; action = "reject"',
        f'into: in = "en0"; to = "{A_IN}/32"; protocol = "udp"; dport = 6000; action = "drop"',
    )
    inner = udp(src=A_IN, dst=H)
    c.rx("en1", at_c1(in_gre(inner, src=A, dst=C1)))
    c.tunnel_rx("gre0", inner)
    c.drop("en1", "filtered", came="gre0")
    decap(c, udp(src=A_IN, dst=H, dport=5001))
    # The sender is told by the way that leads to it; that is not the tunnel here.
    inner6 = udp6(src=FAR6, dst=H6)
    c.rx("en1", at_c1(in_gre(inner6, src=A, dst=C1, tos=0, gre=GRE(proto=0x86DD))))
    c.tunnel_rx("gre0", inner6)
    c.drop("en1", "filter_rejected", came="gre0")
    message = IPv6(raw(IPv6(src=six.C16, dst=FAR6, hlim=64) / ICMPv6DestUnreach(code=1) / Raw(raw(inner6))))
    c.inject(message)
    c.tx("en1", six.net6(message), "control")
    refuse(c, at_c0(udp(dst=A_IN, dport=6000)), "filtered")
    encap(c, udp(dst=A_IN, dport=6001), at=0.010)


@case("The outer packets of a tunnel are filtered where they arrive, by what is outside")
def filter_outer(c):
    c.config = GATEWAY + rules(
        f'far-end: in = "en1"; from = "{A}/32"; to = "{C1}/32"; protocol = "gre"; action = "accept"',
        'rest: in = "en1"; action = "drop"',
    )
    decap(c, udp(src=A_IN, dst=H))
    refuse(c, at_c1(in_gre(udp(src=A_IN, dst=H), src=FAR, dst=C1)), "filtered", port="en1")


@case("Fragments: later ones pass with what may pass and TCP cut within its header is refused (RFC 1858)")
def filter_fragments(c):
    c.config = ROUTER + rules(
        'web: in = "en0"; protocol = "tcp"; dport = 80; action = "accept"',
        'ssh: in = "en0"; protocol = "tcp"; dport = 22; action = "drop"',
        'rest: in = "en0"; protocol = "udp"; action = "drop"',
    )
    for piece in pieces(tcp(dport=80, n=200), 124):
        passes(c, piece)
    first, *later = pieces(tcp(dport=22, n=200), 124)
    refuse(c, at_c0(first), "filtered")
    for piece in later:
        passes(c, piece)
    for piece in pieces(udp(n=200), 124):
        refuse(c, at_c0(piece), "filtered")
    # Eight bytes: ports and no flags. And the piece that would overwrite them.
    tiny = IP(raw(tcp(dport=80))[:28])
    refuse(c, at_c0(rebuilt(tiny, len=28, flags="MF")), "filter_evasion")
    refuse(c, at_c0(rebuilt(tcp(dport=80), frag=1)), "filter_evasion")
