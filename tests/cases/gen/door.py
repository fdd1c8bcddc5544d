"""Who may come in: inner sources (`allow`, `rpf`), the port of arrival (`port`),
and the reverse-path check of ports (RFC 1812 5.3.8, RFC 2827, RFC 3704)."""

from scapy.layers.l2 import GRE

from . import six_tunnels as six
from .kit import case, hop
from .net import *  # noqa: F403
from .refused import refuse
from .six import H6, lan6, udp6
from .tunnels import decap

A6, NET6 = "2001:db8:aa::2", six.NET6


def asking(config, words):
    """gre0 with more words."""
    return changed(config, "link1 = true\n", f"link1 = true\n{words}\n")


def carrying6(inner):
    """An IPv6 packet in GRE as A sends it."""
    return in_gre(inner, src=A, dst=C1, tos=0, gre=GRE(proto=0x86DD))


def kept_out(c, inner, reason, at=0.0, outer=None, port="en1", frame=at_c1):
    """A packet from A that does not come out of gre0."""
    c.rx(port, frame(outer or in_gre(inner, src=A, dst=C1)), at)
    c.drop(port, reason, came="gre0")


@case("allow = [prefixes]: inner sources on the list come out of the tunnel, others do not, silently; both families")
def door_allow(c):
    c.config = asking(six.ROUTER6 + GRE0, f'allow = ["{A_IN}/32", "172.16.0.0/12", "2001:db8:aa::/48"]')
    decap(c, udp(src=A_IN, dst=H))
    decap(c, udp(src="172.31.255.255", dst=H))
    inner = udp6(src=A6, dst=H6)
    c.rx("en1", at_c1(carrying6(inner)))
    c.tunnel_rx("gre0", inner)
    c.tx("en0", six.to_lan(six.hop6(inner)), "en1")
    for source in ("10.0.0.26", "172.32.0.0", H):
        kept_out(c, udp(src=source, dst=H), "source_not_allowed")
    # Those for us are looked at, too.
    kept_out(c, echo(src="10.0.0.26", dst=C0), "source_not_allowed")
    other = udp6(src=NET6, dst=H6)
    kept_out(c, other, "source_not_allowed", outer=carrying6(other))


@case("rpf = \"strict\" on a tunnel: an inner source has to be routed into it")
def door_rpf_tunnel(c):
    c.config = asking(GATEWAY, 'rpf = "strict"') + """
[[route]]
to = "172.16.0.0/12"
interface = "gre0"
"""
    decap(c, udp(src=A_IN, dst=H))
    decap(c, udp(src="172.16.0.9", dst=H))
    # By the default route, by the LAN, and our own.
    for source in (FAR, "10.0.0.77", C1):
        kept_out(c, udp(src=source, dst=H), "reverse_path")


@case("rpf on a port, strict: a source has to be reached by that port; loose: by any, the default route's too")
def door_rpf_port(c):
    strict, loose = (changed(EN0, "/8\"]\n", f'/8"]\nrpf = "{check}"\n') for check in ("strict", "loose"))
    c.config = strict + EN1 + DEFAULT + KNOWN + """
[[route]]
to = "198.18.0.0/15"
reject = true
"""
    packet = udp()
    c.rx("en0", at_c0(packet))
    c.tx("en1", to_net(hop(packet)), "en0")
    for source in (FAR, C1, "198.18.0.1"):
        refuse(c, at_c0(udp(src=source, dst=A)), "reverse_path")
    refuse(c, at_c0(echo(src=FAR, dst=C0)), "reverse_path")
    # en1 asks nothing.
    back = udp(src="10.0.0.77", dst=H)
    c.rx("en1", at_c1(back))
    c.tx("en0", to_lan(hop(back)), "en1")
    c.verb(0.010, {"op": "set-door", "name": "en0", "rpf": "loose"})
    other = udp(src=FAR, dst=A)
    c.rx("en0", at_c0(other), 0.020)
    c.tx("en1", to_net(hop(other)), "en0", 0.020)
    for source in (C1, "198.18.0.1"):
        c.rx("en0", at_c0(udp(src=source, dst=A)), 0.020)
        c.drop("en0", "reverse_path")
    c.verb(0.030, {"op": "set-door", "name": "en0", "rpf": "off"})
    anybody = udp(src="198.18.0.1", dst=A)
    c.rx("en0", at_c0(anybody), 0.040)
    c.tx("en1", to_net(hop(anybody)), "en0", 0.040)


@case("rpf on a port for IPv6: a source that is routed elsewhere is dropped silently")
def door_rpf_ipv6(c):
    c.config = changed(six.ROUTER6, f'"{six.C06}/64"]\n', f'"{six.C06}/64"]\nrpf = "strict"\n')
    packet = udp6(src=H6, dst=NET6)
    c.rx("en0", lan6(packet))
    c.tx("en1", six.net6(six.hop6(packet)), "en0")
    refuse(c, lan6(udp6(src=NET6, dst=A6)), "reverse_path")


@case("port = \"en1\": packets of the tunnel that arrive elsewhere are not taken (S4-04)")
def door_arrival(c):
    c.config = asking(GATEWAY, 'port = "en1"')
    inner = udp(src=A_IN, dst=H)
    decap(c, inner)
    kept_out(c, inner, "wrong_arrival", port="en0", frame=at_c0)
    c.verb(0.010, {"op": "set-door", "name": "gre0", "port": ""})
    c.rx("en0", at_c0(in_gre(inner, src=A, dst=C1)), 0.020)
    c.tunnel_rx("gre0", inner)
    c.tx("en0", to_lan(hop(inner)), "en0", 0.020)
