"""Rules of tunnels with IPv6 inside or outside; of sizes, the table in docs/architecture.md."""

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6PacketTooBig, IPv6
from scapy.layers.l2 import GRE
from scapy.packet import Raw

from .fragments import collected
from .icmp import told
from .kit import case, fresh, hop, pieces, raw
from .mss import lowered
from .net import *  # noqa: F403
from .refused import refuse
from .six import H6, lan6, udp6
from .six_tunnels import (A6, C06, C16, GRE6, IPIP6, LINKS6, R6, from_net, gre, hop6, is6, net6, to_lan, wrapped)

FAR6 = "2001:db8:50::9"
# Tunnels over IPv4 that carry IPv6.
GRE4 = LINKS6 + f"""
[[tunnel]]
name = "gre0"
kind = "gre"
local = "{C1}"
remote = "{A}"
inet6 = ["fd00:50::1/64"]
link1 = true

[[route]]
to = "2001:db8:50::/48"
interface = "gre0"
"""
SIX_IN_FOUR = LINKS6 + f"""
[[tunnel]]
name = "ipip0"
kind = "ipip"
address = "{C1}"
peer = "{A}"

[[route]]
to = "2001:db8:50::/48"
interface = "ipip0"
"""


def narrow(config, mtu):
    return changed(config, 'device = "net_null1"', f'device = "net_null1"\nmtu = {mtu}')


def over4(inner, kind, df):
    """The IPv4 packet that carries `inner`, its DSCP and ECN copied."""
    body = gre(inner) if kind == "gre" else raw(inner)
    proto = 47 if kind == "gre" else 41 if is6(inner) else 4
    outer = IP(src=C1, dst=A, proto=proto, ttl=64, id=0 if df else fresh(), tos=IPv6(raw(inner)).tc)
    outer.flags = "DF" if df else 0
    return IP(raw(outer / Raw(body)))


def into(c, n, kind, name, df, **ip):
    packet = udp6(dst=FAR6, n=n, **ip)
    c.rx("en0", lan6(packet))
    inner = hop6(packet)
    c.tx("en1", net6(over4(inner, kind, df)), "en0", tunnel=(name, len(raw(inner))), free_id=(0,))


def too_big(c, packet, mtu, name):
    """Dropped, and the sender told the MTU."""
    c.rx("en0", lan6(packet))
    c.drop("en0", "fragmentation_needed", leaving=name)
    error = IPv6(raw(IPv6(src=C06, dst=H6, hlim=64) / ICMPv6PacketTooBig(mtu=mtu) / Raw(raw(packet)[:1232])))
    c.inject(error)
    c.tx("en0", to_lan(error), "control")


@case("GRE over IPv4 with IPv6 inside: protocol type 86DD, outer DF set, both ways; 1477 bytes are too many (G6-02, "
      "G6-05)")
def gre_carries_ipv6(c):
    c.config = GRE4
    for n, tc in ((0, 0), (33, 0xB9), (1428, 3)):
        into(c, n, "gre", "gre0", df=True, tc=tc)
        inner = udp6(src=FAR6, dst=H6, n=n)
        c.rx("en1", from_net(IP(raw(IP(src=A, dst=C1, proto=47, id=9) / Raw(gre(inner))))))
        c.tunnel_rx("gre0", inner)
        c.tx("en0", to_lan(hop6(inner)), "en1")
    too_big(c, udp6(dst=FAR6, n=1429), 1476, "gre0")


@case("Numbers leave in order, whatever the packets of a burst are: both families, cut before or behind the header, "
      "with a sum over all of it (GR-11)", bursts=(1, 7, 64))
def gre_sequence_order(c):
    options = "link1 = true\nsequence = true\nchecksum = true\n"
    c.config = changed(GRE4, "link1 = true\n", options) + f"""
[[route]]
to = "{FAR}/32"
interface = "gre0"
"""
    number = 0
    for n in (0, None, 1500, None, 7, 1457, None):
        packet = udp6(dst=FAR6, n=9) if n is None else udp(dst=FAR, n=n, id=n + 1)
        c.rx("en0", at_c0(packet) if n is not None else lan6(packet))
        parts = [hop6(packet)] if n is None else pieces(hop(packet), 1468)
        c.cut("en0", len(parts))
        for part in parts:
            proto = 0x86DD if n is None else 0x0800
            header = GRE(proto=proto, chksum_present=1, seqnum_present=1, seqence_number=number)
            carried = IP(src=C1, dst=A, proto=47, flags="DF", tos=0, id=0) / header / Raw(raw(part))
            c.tx("en1", net6(IP(raw(carried))), "en0", tunnel=("gre0", len(raw(part))), free_id=(0,))
            number += 1


@case("6in4: protocol 41, outer DF clear and an identification each, both ways; 1481 bytes are too many (S4-02)")
def six_in_four(c):
    c.config = SIX_IN_FOUR
    for n in (0, 33, 1432):
        into(c, n, "ipip", "ipip0", df=False)
        inner = udp6(src=FAR6, dst=H6, n=n)
        c.rx("en1", from_net(IP(raw(IP(src=A, dst=C1, proto=41, id=9) / Raw(raw(inner))))))
        c.tunnel_rx("ipip0", inner)
        c.tx("en0", to_lan(hop6(inner)), "en1")
    # Padding behind the inner packet is not part of it (S4-07).
    inner = udp6(src=FAR6, dst=H6, n=5)
    c.rx("en1", from_net(IP(raw(IP(src=A, dst=C1, proto=41, id=9) / Raw(raw(inner) + b"\xee" * 9)))))
    c.tunnel_rx("ipip0", inner)
    c.tx("en0", to_lan(hop6(inner)), "en1")
    too_big(c, udp6(dst=FAR6, n=1433), 1480, "ipip0")


@case("6in4: outer fragments are put together up to the MTU of the interface, 1500 bytes here (S4-05)")
def six_in_four_reassembled(c):
    c.config = SIX_IN_FOUR
    for n in (1432, 1400):
        inner = udp6(src=FAR6, dst=H6, n=n)
        whole = IP(raw(IP(src=A, dst=C1, proto=41, id=n) / Raw(raw(inner))))
        parts = pieces(whole, 1280)
        for part in reversed(parts):
            collected(c, part, frame=from_net)
        c.merged("en1", len(parts) - 1)
        c.tunnel_rx("ipip0", inner)
        c.tx("en0", to_lan(hop6(inner)), "en1")


@case("ecn = \"compatibility\" and dscp = \"uniform\" over IPv6 and with IPv6 inside (EC-01, DS-01)")
def tos_modes6(c):
    c.config = changed(GRE6, 'link1 = true\n', 'link1 = true\necn = "compatibility"\ndscp = "uniform"\n')
    for tc in (0, 3, 0x49, 0xFE):
        packet = udp6(dst="2001:db8:40::9", tc=tc)
        c.rx("en0", lan6(packet))
        inner = hop6(packet)
        c.tx("en1", net6(wrapped("gre", inner, tc=tc & 0xFC)), "en0", tunnel=("gre6", len(raw(inner))))
    for outer, inside, tc in ((0xB8, 0, 0xB8), (0, 0x4A, 0x02), (0xBB, 0x02, 0xBB), (0x29, 0x56, 0x29)):
        inner = udp6(src="2001:db8:c::9", dst=H6, tc=inside)
        c.rx("en1", from_net(IPv6(src=A6, dst=C16, nh=47, hlim=9, tc=outer) / Raw(gre(inner))))
        c.tunnel_rx("gre6", inner)
        c.tx("en0", to_lan(udp6(src="2001:db8:c::9", dst=H6, tc=tc, hlim=63)), "en1")


@case("What is inside 6in4 has to have a source that a host can have (S4-06), and the outer one has to be the peer "
      "(S4-04)")
def six_in_four_sources(c):
    c.config = SIX_IN_FOUR
    for src in ("ff0e::1", "::1", "::192.0.2.1", "::ffff:192.0.2.1"):
        c.rx("en1", from_net(IP(raw(IP(src=A, dst=C1, proto=41, id=9) / Raw(raw(udp6(src=src, dst=H6)))))))
        c.tunnel_rx("ipip0", udp6(src=src, dst=H6))
        c.drop("en1", "martian_source", came="ipip0")
    inner = udp6(src=FAR6, dst=H6)
    refuse(c, from_net(IP(raw(IP(src="198.51.100.77", dst=C1, proto=41, id=9) / Raw(raw(inner))))), "unknown_tunnel",
           port="en1")


@case("Less than 1280 fits: IPv6 packets up to 1280 go in whole and the outer datagram is cut (G6-06, V6-05)")
def small_underlay_ipv6(c):
    c.config = GRE4.replace(f', "{C16}/64"', "").replace(f"""
[[neighbour]]
address = "{R6}"
mac = "{RM}"
""", "")
    c.config = narrow(c.config, 1200)
    packet = udp6(dst=FAR6, n=1280 - 48)
    c.rx("en0", lan6(packet))
    parts = pieces(over4(hop6(packet), "gre", df=False), 1200)
    c.cut("en0", len(parts))
    c.add("interface.gre0.tx_packets")
    c.add("interface.gre0.tx_bytes", 1280)
    for part in parts:
        c.tx("en1", net6(part), "en0", free_id=(0,))
    too_big(c, udp6(dst=FAR6, n=1281 - 48), 1280, "gre0")


@case("IPv4 in IPv6: with DF too large is told, 1460 fit (V6-06)")
def ipip6_frag_needed(c):
    c.config = IPIP6
    told(c, udp(dst="41.0.0.9", n=1433, flags="DF", id=0), "fragmentation_needed", 3, 4, leaving="ipip6", mtu=1460)


@case("A checksum over IPv6 is verified wherever there is one, and sent when asked for (G6-01)")
def gre6_checksum(c):
    c.config = changed(GRE6, 'name = "gre6"\n', 'name = "gre6"\nchecksum = true\n')
    inner = udp6(src="2001:db8:c::9", dst=H6, n=33)
    good = raw(GRE(proto=0x86DD, chksum_present=1) / Raw(raw(inner)))
    c.rx("en1", from_net(IPv6(src=A6, dst=C16, nh=47, hlim=9) / Raw(good)))
    c.tunnel_rx("gre6", inner)
    c.tx("en0", to_lan(hop6(inner)), "en1")
    for at in (4, 5, 8, 20, len(good) - 1):
        bad = good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]
        refuse(c, from_net(IPv6(src=A6, dst=C16, nh=47, hlim=9) / Raw(bad)), "gre_bad_checksum", port="en1")


def syn6(src, dst, mss, flags="S"):
    return IPv6(raw(IPv6(src=src, dst=dst) / TCP(sport=4000, dport=80, seq=7, flags=flags, options=[("MSS", mss)])))


@case("mss = \"auto\" over IPv6: 60 less than the MTU for IPv6 inside, 40 for IPv4")
def mss6(c):
    c.config = changed(GRE6, 'name = "gre6"\n', 'name = "gre6"\nmss = "auto"\n')
    for mss, now in ((1440, 1396), (1397, 1396), (1396, 1396), (536, 536)):
        packet = syn6(H6, "2001:db8:40::9", mss)
        c.rx("en0", lan6(packet))
        inner = hop6(syn6(H6, "2001:db8:40::9", now))
        c.tx("en1", net6(wrapped("gre", inner)), "en0", tunnel=("gre6", len(raw(inner))))
        back = syn6("2001:db8:40::9", H6, mss, "SA")
        c.rx("en1", from_net(IPv6(src=A6, dst=C16, nh=47, hlim=9) / Raw(gre(back))))
        c.tunnel_rx("gre6", back)
        c.tx("en0", to_lan(hop6(syn6("2001:db8:40::9", H6, now, "SA"))), "en1")
    packet = IP(raw(IP(src=H, dst="40.0.0.9", id=5) / TCP(sport=4000, dport=80, flags="S", options=[("MSS", 1460)])))
    c.rx("en0", at_c0(packet))
    inner = hop(lowered(packet, 1416))
    c.tx("en1", net6(wrapped("gre", inner)), "en0", tunnel=("gre6", len(raw(inner))))


@case("What came out of a tunnel for an address of its subnet that nobody has does not go back in (C6-05)")
def ipv6_no_ping_pong(c):
    c.config = GRE6
    for dst in ("fd00:40::3", "2001:db8:40::9"):
        lost = udp6(src="fd00:40::2", dst=dst)
        c.rx("en1", from_net(IPv6(src=A6, dst=C16, nh=47, hlim=9) / Raw(gre(lost))))
        c.tunnel_rx("gre6", lost)
        c.drop("en1", "unreachable", leaving="gre6")
        error = IPv6(raw(IPv6(src="fd00:40::1", dst="fd00:40::2", hlim=64) / ICMPv6DestUnreach(code=3)
                         / Raw(raw(lost))))
        c.inject(error)
        c.tx("en1", net6(wrapped("gre", error)), "control", tunnel=("gre6", len(raw(error))))
