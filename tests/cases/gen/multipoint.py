"""Multipoint GRE: one interface, several far ends (`nbma`)."""

from scapy.layers.inet6 import IPv6

from . import six_tunnels as six
from .kit import case, hop, raw
from .net import *  # noqa: F403
from .six import H6, lan6, udp6

E1, E2 = "198.51.100.2", "198.51.100.9"
INSIDE = "10.66.0.9"
CONFIG = six.ROUTER6 + f"""
[[tunnel]]
name = "gre0"
local = "{C1}"
address = "12.0.0.1"
inet6 = ["fd00:12::1/64"]
nbma = {{ "12.0.0.2" = "{E1}", "fd00:12::2" = "{E1}", "12.0.0.3" = "{E2}" }}
link1 = true

[[route]]
to = "10.66.0.0/16"
via = "12.0.0.3"

[[route]]
to = "2001:db8:66::/48"
via = "fd00:12::2"
"""


def carried(inner, **how):
    """In GRE of whichever family `inner` is; its DSCP and ECN are 0."""
    proto = 0x86DD if isinstance(inner, IPv6) else 0x0800
    return in_gre(inner, tos=0, gre=GRE(proto=proto), **how)


def into(c, packet, outer):
    """A LAN packet goes to the far end at `outer`."""
    ipv6 = isinstance(packet, IPv6)
    inner = six.hop6(packet) if ipv6 else hop(packet)
    c.rx("en0", (lan6 if ipv6 else at_c0)(packet))
    c.tx("en1", to_net(carried(inner, dst=outer)), "en0", tunnel=(f"gre0:{outer}", len(raw(inner))), free_id=(0,))


def out_of(c, inner, outer):
    """A packet comes from the far end at `outer`."""
    out = six.hop6(inner) if isinstance(inner, IPv6) else hop(inner)
    c.rx("en1", at_c1(carried(inner, src=outer, dst=C1)))
    c.tunnel_rx(f"gre0:{outer}", inner)
    c.tx("en0", six.to_lan(out), "en1")


@case("Multipoint GRE: each far end has its packets, routes go by far ends' inner addresses, both families, both ways")
def multipoint(c):
    c.config = CONFIG
    into(c, udp(dst="12.0.0.2"), E1)
    into(c, udp(dst="12.0.0.3", n=99), E2)
    into(c, udp(dst=INSIDE), E2)
    into(c, udp6(dst="fd00:12::2"), E1)
    into(c, udp6(dst="2001:db8:66::9"), E1)
    out_of(c, udp(src="12.0.0.2", dst=H), E1)
    out_of(c, udp(src=INSIDE, dst=H), E2)
    out_of(c, udp6(src="2001:db8:66::9", dst=H6), E1)
    # From nobody's outer address: not taken (S4-04).
    c.rx("en1", at_c1(carried(udp(src="12.0.0.2", dst=H), src="198.51.100.77", dst=C1)))
    c.drop("en1", "unknown_tunnel")
    # Between far ends: out of one part, into the other.
    inner = udp(src="12.0.0.2", dst="12.0.0.3")
    c.rx("en1", at_c1(carried(inner, src=E1, dst=C1)))
    c.tunnel_rx(f"gre0:{E1}", inner)
    c.tx("en1", to_net(carried(hop(inner), dst=E2)), "en1", tunnel=(f"gre0:{E2}", len(raw(inner))), free_id=(0,))


@case("Multipoint GRE with learn = true: a packet with the key tells where its inner source is; allowed ones only, and what is configured wins")
def multipoint_learned(c):
    e3, e4, inside = "192.0.2.33", "192.0.2.44", "12.0.0.9"
    c.config = changed(CONFIG, "link1 = true\n", 'link1 = true\nkey = 9\nlearn = true\nallow = ["12.0.0.0/8"]\n')

    def keyed(inner, **how):
        return in_gre(inner, tos=0, gre=GRE(proto=0x0800, key_present=1, key=9), **how)

    def sent(at, to, outer, n=32):
        packet = udp(dst=to, n=n)
        c.rx("en0", at_c0(packet), at)
        # What was learned is gone in the end, and its counters with it.
        part = (f"gre0:{outer}", len(raw(packet))) if outer == E1 else None
        c.tx("en1", to_net(keyed(hop(packet), dst=outer)), "en0", at, tunnel=part, free_id=(0,))

    def heard(at, source, outer):
        c.rx("en1", at_c1(keyed(udp(src=source, dst=H), src=outer, dst=C1)), at)

    def learns(at, source, outer):
        heard(at, source, outer)
        c.punt("en1", "learn")
        c.consumed()

    learns(0.010, inside, e3)
    sent(0.020, inside, e3)
    heard(0.030, inside, e3)
    c.tx("en0", to_lan(hop(udp(src=inside, dst=H))), "en1", 0.030)
    # It moves; and not to where another has its own.
    learns(0.040, inside, e4)
    sent(0.050, inside, e4, n=50)
    learns(0.060, "12.0.0.2", e3)
    sent(0.070, "12.0.0.2", E1, n=51)
    heard(0.080, "172.16.0.9", e3)
    c.drop("en1", "source_not_allowed", came="gre0")
    # Nothing came from it for ten minutes.
    packet = udp(dst=inside, n=52)
    c.rx("en0", at_c0(packet), 625.0)
    c.tx("en1", to_net(hop(packet)), "en0", 625.0)
