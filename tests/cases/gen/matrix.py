"""Every option of GRE over each outer family with each inner one, both ways; and which combination of
encapsulation, families, options and direction no case has: `generate.py --check` refuses such."""

import itertools

from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.layers.l2 import GRE, Dot1Q, Ether
from scapy.packet import Raw

from .kit import CASES, hop, raw
from .net import *  # noqa: F403
from .six import H6, lan6, udp6
from .six_tunnels import A6, C16, OVER6, ROUTER6, around, from_net, hop6, is6, net6, to_lan

KEY = 0xDEADBEEF
# By the letters of RFC 2890's flags: the tunnel's lines, and scapy's words.
OPTIONS = {
    "C": ("checksum = true", {"chksum_present": 1}),
    "K": (f"key = {KEY}", {"key_present": 1, "key": KEY}),
    "S": ("sequence = true", {"seqnum_present": 1}),
    "CKS": (f"checksum = true\nkey = {KEY}\nsequence = true",
            {"chksum_present": 1, "key_present": 1, "key": KEY, "seqnum_present": 1}),
}
FAMILIES = ("v4", "v6")


def gre(inner, words, number):
    """GRE header and `inner`."""
    words = dict(words, seqence_number=number) if "seqnum_present" in words else words
    return raw(GRE(proto=0x86DD if is6(inner) else 0x0800, **words) / Raw(raw(inner)))


def sent(outer, inner, body):
    """The outer datagram that leaves."""
    return around(inner, body, 47) if outer == "v6" else IP(raw(IP(src=C1, dst=A, proto=47, flags="DF", id=0) / Raw(body)))


def received(outer, body):
    """The outer datagram that arrives."""
    header = IPv6(src=A6, dst=C16, nh=47) if outer == "v6" else IP(src=A, dst=C1, proto=47, flags="DF", id=0)
    return raw(header / Raw(body))


def build(outer, letters):
    """The function that makes a case."""
    lines, words = OPTIONS[letters]

    def one(c):
        tunnel = OVER6.format(name="gre6", kind="gre", number=40)
        if outer == "v4":
            tunnel = changed(changed(tunnel, C16, C1), A6, A)
        c.config = ROUTER6 + changed(tunnel, "link1 = true\n", f"link1 = true\n{lines}\n")
        for number in range(6):
            four = number % 2 == 0
            n, at = 20 + 31 * number, number / 10
            packet = udp(dst="40.0.0.9", n=n) if four else udp6(dst="2001:db8:40::9", n=n)
            inner = hop(packet) if four else hop6(packet)
            c.rx("en0", at_c0(packet) if four else lan6(packet), at)
            c.tx("en1", net6(sent(outer, inner, gre(inner, words, number))), "en0", at, tunnel=("gre6", len(raw(inner))),
                 free_id=(0,) if outer == "v4" else ())
            inner = udp(src="40.0.0.9", dst=H, n=n) if four else udp6(src="2001:db8:40::9", dst=H6, n=n)
            c.rx("en1", from_net(received(outer, gre(inner, words, number))), at)
            c.tunnel_rx("gre6", inner)
            c.tx("en0", to_lan(hop(inner) if four else hop6(inner)), "en1", at)

    return one


for outer_, letters_ in itertools.product(FAMILIES, OPTIONS):
    CASES.append((f"gre_matrix_{outer_}_{letters_.lower()}",
                  f"GRE over IP{outer_} with {letters_}, IPv4 and IPv6 inside, both ways (RFC 2784, RFC 2890, RFC 7676)",
                  {}, build(outer_, letters_)))


def wanted():
    """All combinations: (kind, outer, inner, options, way)."""
    ways = ("in", "out")
    yield from itertools.product(("gre",), FAMILIES, FAMILIES, ("", *OPTIONS), ways)
    yield from itertools.product(("ip",), FAMILIES, FAMILIES, ("",), ways)
    yield from itertools.product(("minimal",), ("v4",), ("v4",), ("",), ways)


def combination(frame):
    """(kind, outer, inner, options) of a frame, if it is a tunnel packet."""
    outer = Ether(frame).payload
    outer = outer.payload if isinstance(outer, Dot1Q) else outer
    within = outer.payload
    while isinstance(within, (IPv6ExtHdrDestOpt, IPv6ExtHdrFragment)):
        within = within.payload
    family = {IP: "v4", IPv6: "v6"}
    if isinstance(within, GRE):
        letters = zip("CKS", (within.chksum_present, within.key_present, within.seqnum_present))
        inner = {0x0800: "v4", 0x86DD: "v6"}.get(within.proto)
        return "gre", family.get(type(outer)), inner, "".join(letter for letter, there in letters if there)
    if type(within) in family:
        return "ip", family.get(type(outer)), family[type(within)], ""
    return ("minimal", "v4", "v4", "") if isinstance(outer, IP) and outer.proto == 55 else None


def missing(made):
    """Combinations that no case has."""
    there = {(*found, way) for one in made for way, ports in (("in", one.inputs), ("out", one.outputs))
             for frames in ports.values() for _, frame in frames if len(frame) > 34 and (found := combination(frame))}
    return [f"no case has {kind} {outer} around {inner} {options} {way}".replace("  ", " ")
            for kind, outer, inner, options, way in wanted() if (kind, outer, inner, options, way) not in there]
