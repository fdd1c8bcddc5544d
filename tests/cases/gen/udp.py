"""Tunnels in UDP: GRE (RFC 8086), and IP straight in UDP, over both families."""

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import GRE, Dot1Q, Ether
from scapy.packet import Raw

from .flow import flow, flow6
from .kit import case, fresh, hop, pieces, raw
from .net import *  # noqa: F403
from .refused import refuse
from .six import H6, lan6, udp6
from .six_tunnels import A6, C16, ROUTER6, from_net, gre, hop6, is6, net6, to_lan

# Tunnels by number, each led to by networks of both families.
TUNNEL = """
[[tunnel]]
name = "{name}"
{ends}
inet6 = ["fd00:{number}::1/64"]
udp = {udp}

[[route]]
to = "2001:db8:{number}::/48"
interface = "{name}"

[[route]]
to = "{number}.0.0.0/8"
interface = "{name}"
"""
FOU = 5555


class Tunnel:
    """One of them: its lines in the configuration and its packets."""

    def __init__(self, name, number, far, udp, port, extra=""):
        self.name, self.number, self.far, self.port = name, number, far, port
        self.kind = name.rstrip("0123456789")
        self.local = C16 if ":" in far else C1
        ends = f'local = "{self.local}"\nremote = "{far}"'
        if self.kind == "gre":
            ends += f'\naddress = "172.31.{number}.1"\npeer = "172.31.{number}.2"\nlink1 = true'
        elif ":" not in far:
            ends = f'address = "{self.local}"\npeer = "{far}"'
        self.config = TUNNEL.format(name=name, ends=ends + extra, number=number, udp=udp)

    def body(self, inner):
        return gre(inner) if self.kind == "gre" else raw(inner)

    def to(self, inner_is6, **how):
        """A LAN datagram for the network behind it."""
        if inner_is6:
            return udp6(dst=f"2001:db8:{self.number}::9", **how)
        return udp(dst=f"{self.number}.0.0.9", **how)

    def sent(self, inner, sport=None, body=None, df=True, **udp_fields):
        """What Greyhound makes of `inner`."""
        hashed = flow6(inner) if is6(inner) else flow(inner)
        sport = sport or 0xC000 | hashed >> 18
        inside = UDP(sport=sport, dport=self.port, **udp_fields) / Raw(body or self.body(inner))
        if ":" in self.far:
            return IPv6(raw(IPv6(src=C16, dst=self.far, hlim=64, fl=hashed & 0xFFFFF) / inside))
        flags = "DF" if df else 0
        return IP(raw(IP(src=C1, dst=self.far, ttl=64, id=0 if df else fresh(), flags=flags) / inside))

    def received(self, body, sport=1, **fields):
        """What the far end sends."""
        udp_fields = {name: fields.pop(name) for name in ("chksum", "len", "dport") if name in fields}
        udp_fields.setdefault("dport", self.port)
        inside = UDP(sport=sport, **udp_fields) / Raw(body)
        if ":" in self.far:
            return IPv6(raw(IPv6(src=self.far, dst=C16, hlim=9, **fields) / inside))
        return IP(raw(IP(src=self.far, dst=C1, ttl=9, id=77, **fields) / inside))


GRE4 = Tunnel("gre4", 42, A, "{ }", 4754)
GRE6 = Tunnel("gre6", 43, A6, "{ port = 4754 }", 4754)
IPIP4 = Tunnel("ipip4", 44, B, f"{{ port = {FOU} }}", FOU)
IPIP6 = Tunnel("ipip6", 45, A6, f"{{ port = {FOU} }}", FOU)
ALL = (GRE4, GRE6, IPIP4, IPIP6)


def config(*tunnels):
    return ROUTER6 + "".join(tunnel.config for tunnel in tunnels)


def inwards(c, tunnel, packet, at=0.0, **how):
    """A LAN datagram goes into the tunnel."""
    inner = hop6(packet) if is6(packet) else hop(packet)
    # IPv6 in ipip over IPv4: the one kind with DF clear (RFC 4213).
    clear = is6(packet) and tunnel.kind == "ipip" and ":" not in tunnel.far
    c.rx("en0", lan6(packet) if is6(packet) else at_c0(packet), at)
    outer = tunnel.sent(inner, df=not clear, **how)
    free = () if ":" in tunnel.far else (0,)
    c.tx("en1", net6(outer), "en0", at, tunnel=(tunnel.name, len(raw(inner))), free_id=free)


def outwards(c, tunnel, inner, at=0.0, outer=None, **how):
    """A datagram for the LAN comes out of the tunnel."""
    c.rx("en1", from_net(outer or tunnel.received(tunnel.body(inner), **how)), at)
    c.tunnel_rx(tunnel.name, inner)
    c.tx("en0", to_lan(hop6(inner) if is6(inner) else hop(inner)), "en1", at)


def inners(n=33):
    return (udp6(src="2001:db8:c::9", dst=H6, n=n), udp(src=FAR, dst=H, n=n))


@case("GRE and IP go into UDP over both families: source port by the flow inside, checksum, at every size that fits, "
      "in bursts", bursts=(1, 7, 64))
def udp_encap(c):
    c.config = config(*ALL)
    for tunnel in ALL:
        overhead = (40 if ":" in tunnel.far else 20) + (12 if tunnel.kind == "gre" else 8)
        for n in (0, 1, 2, 33, 512, 1201):
            inwards(c, tunnel, tunnel.to(True, n=n, src=f"2001:db8::{n + 2:x}"))
            inwards(c, tunnel, tunnel.to(False, n=n, sport=1000 + n))
        inwards(c, tunnel, tunnel.to(True, n=1500 - overhead - 48))
        inwards(c, tunnel, tunnel.to(False, n=1500 - overhead - 28))


@case("GRE and IP come out of UDP over both families, whatever the source port, with a checksum and (over IPv4) "
      "without", bursts=(1, 7, 64))
def udp_decap(c):
    c.config = config(*ALL)
    for tunnel in ALL:
        for n in (0, 1, 2, 33, 1201):
            for inner in inners(n):
                outwards(c, tunnel, inner, sport=4754 + n)
                if ":" not in tunnel.far:
                    outwards(c, tunnel, inner, chksum=0)


@case("checksum = false: none is sent, and packets over IPv6 without one are taken (RFC 6935); a wrong one is refused "
      "all the same")
def udp_checksum_off(c):
    tunnels = [Tunnel(t.name, t.number, t.far, f"{{ port = {t.port}, checksum = false }}", t.port) for t in ALL]
    c.config = config(*tunnels)
    for tunnel in tunnels:
        for six in (True, False):
            inwards(c, tunnel, tunnel.to(six, n=100), chksum=0)
        for inner in inners():
            outwards(c, tunnel, inner, chksum=0)
            outwards(c, tunnel, inner)
            refuse(c, from_net(tunnel.received(tunnel.body(inner), chksum=0x1234)), "udp_bad_checksum", port="en1")


@case("A fixed source port, and the one port of a tunnel that numbers its packets (they are one flow)")
def udp_source(c):
    fixed = Tunnel("gre4", 42, A, "{ port = 999, source = 50000 }", 999)
    flows = Tunnel("ipip6", 45, A6, '{ port = 4754, source = "flow" }', 4754)
    c.config = config(fixed, flows)
    for sport in (1, 2, 3):
        inwards(c, fixed, fixed.to(False, sport=sport), sport=50000)
        inwards(c, flows, flows.to(False, sport=sport))


@case("GRE's own options in UDP: key and checksum, told apart by key and by port; the UDP checksum comes last")
def udp_gre_options(c):
    one = Tunnel("gre4", 42, A, "{ }", 4754, '\nkey = 1\nchecksum = true')
    two = Tunnel("gre5", 46, A, "{ }", 4754, '\nkey = 2')
    three = Tunnel("gre6", 47, A, "{ port = 4755 }", 4755, '\nkey = 1')
    plain = Tunnel("gre7", 48, A, "{ port = 4754 }", 4754)
    c.config = config(one, two, three, plain)

    def header(tunnel, key, **words):
        return lambda inner: raw(GRE(proto=0x0800, key_present=1, key=key, **words) / inner)

    for tunnel, make in ((one, header(one, 1, chksum_present=1)), (two, header(two, 2)), (three, header(three, 1)),
                         (plain, gre)):
        packet = tunnel.to(False, n=70)
        inwards(c, tunnel, packet, body=make(hop(packet)))
        inner = inners()[1]
        outwards(c, tunnel, inner, outer=tunnel.received(make(inner)))
    # Nobody's key, nobody's pair, and a key on the wrong port.
    inner = inners()[1]
    refuse(c, from_net(one.received(header(one, 3)(inner))), "unknown_tunnel", port="en1")
    refuse(c, from_net(three.received(header(three, 2)(inner))), "unknown_tunnel", port="en1")
    refuse(c, from_net(IP(raw(IP(src=B, dst=C1) / UDP(dport=4754) / Raw(gre(inner))))), "unknown_tunnel", port="en1")


@case("Tunnels in UDP take no packets without, and others none in UDP; GRE and IP on one port are not mixed up")
def udp_not_plain(c):
    plain = Tunnel("gre4", 42, A, "{ }", 4754)
    c.config = config(plain, Tunnel("ipip4", 44, B, "{ port = 4754 }", 4754)) + f"""
[[tunnel]]
name = "gre5"
local = "{C1}"
remote = "198.51.100.77"
address = "172.31.99.1"
peer = "172.31.99.2"
link1 = true
"""
    six, four = inners()
    for outer in (IP(src=A, dst=C1, proto=47) / Raw(gre(four)), IP(src=B, dst=C1, proto=4) / Raw(raw(four)),
                  IP(src=B, dst=C1, proto=41) / Raw(raw(six)),
                  IP(src="198.51.100.77", dst=C1) / UDP(dport=4754) / Raw(gre(four)),
                  IP(src=A, dst=C1) / UDP(dport=4754) / Raw(raw(four)),
                  IP(src=B, dst=C1) / UDP(dport=4754) / Raw(gre(four))):
        refuse(c, from_net(IP(raw(outer))), "unknown_tunnel", port="en1")


@case("UDP to any other port is none of a tunnel's: port unreachable, as ever")
def udp_other_port(c):
    c.config = config(GRE4)
    for port in (4753, 4755, 5555, 0):
        outer = GRE4.received(gre(inners()[1]), dport=port)
        c.rx("en1", from_net(outer))
        c.drop("en1", "port_unreachable")
        message = error(3, 3, outer, C1)
        send_error(c, message, "en1", net6(message))


@case("A wrong UDP checksum is refused, wherever the damage is")
def udp_bad_checksum(c):
    c.config = config(*ALL)
    for tunnel in ALL:
        inner = inners()[1]
        good = raw(tunnel.received(tunnel.body(inner)))
        udp_at = 40 if ":" in tunnel.far else 20
        for at in (udp_at, udp_at + 1, udp_at + 6, udp_at + 7, udp_at + 9, len(good) - 1):
            bad = good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1:]
            refuse(c, from_net(Raw(bad)), "udp_bad_checksum", port="en1")


@case("A UDP header cut short, or with a length that its datagram does not have; what is behind a shorter one is "
      "padding")
def udp_bad_length(c):
    c.config = config(*ALL)
    for tunnel in ALL:
        inner = inners()[1]
        body = tunnel.body(inner)
        for length in (0, 7, len(body) + 9, 0xFFFF):
            refuse(c, from_net(tunnel.received(body, len=length, chksum=0)), "udp_bad_length", port="en1")
        head = {"nh": 17} if ":" in tunnel.far else {"proto": 17, "id": 7}
        outer = IPv6 if ":" in tunnel.far else IP
        short = outer(src=tunnel.far, dst=tunnel.local, **head) / Raw(b"\x12\x34" + tunnel.port.to_bytes(2, "big") + b"\0\7\0")
        refuse(c, from_net(outer(raw(short))), "udp_bad_length", port="en1")
    # The UDP length counts, not what is behind.
    for tunnel in (GRE4, IPIP4):
        inner = inners()[1]
        body = tunnel.body(inner)
        longer = IP(raw(IP(src=tunnel.far, dst=C1, id=7) / UDP(sport=1, dport=tunnel.port, len=len(body) + 8, chksum=0)
                        / Raw(body + b"\xee" * 5)))
        outwards(c, tunnel, inner, outer=longer)
        cut = IP(raw(IP(src=tunnel.far, dst=C1, id=7) / UDP(sport=1, dport=tunnel.port, len=len(body) + 7, chksum=0)
                     / Raw(body)))
        c.rx("en1", from_net(cut))
        c.drop("en1", "inner_invalid", came=tunnel.name)
    empty = IPIP4.received(b"")
    refuse(c, from_net(empty), "gre_truncated", port="en1")


@case("UDP over IPv6 without a checksum is refused unless the tunnel is without (RFC 6935 5)")
def udp_no_checksum(c):
    c.config = config(GRE6, IPIP6)
    for tunnel in (GRE6, IPIP6):
        for inner in inners():
            c.rx("en1", from_net(tunnel.received(tunnel.body(inner), chksum=0)))
            c.drop("en1", "udp_no_checksum", came=tunnel.name)


@case("8 bytes less fit: DF gets the tunnel's MTU, IPv6 Packet Too Big, others are cut inside before UDP (RFC 8086 "
      "2.1.1)")
def udp_mtu(c):
    c.config = config(GRE4)
    too_large = GRE4.to(False, n=1468 - 27, flags="DF")
    c.rx("en0", at_c0(too_large))
    c.drop("en0", "fragmentation_needed", leaving="gre4")
    message = error(3, 4, too_large, C0, mtu=1468)
    send_error(c, message, "en0", to_lan(message))
    packet = GRE4.to(False, n=2000)
    c.rx("en0", at_c0(packet))
    cuts = pieces(hop(packet), 1468)
    c.cut("en0", len(cuts))
    for piece in cuts:
        outer = GRE4.sent(piece)
        assert len(raw(outer)) <= 1500
        c.tx("en1", net6(outer), "en0", tunnel=("gre4", len(raw(piece))), free_id=(0,))


@case("df = copy: the whole UDP datagram is cut outside, its checksum over all of it; and such a one is put together")
def udp_outer_fragments(c):
    tunnel = Tunnel("gre4", 42, A, "{ }", 4754, '\ndf = "copy"')
    c.config = config(tunnel)
    packet = tunnel.to(False, n=2000)
    inner = hop(packet)
    c.rx("en0", at_c0(packet))
    cuts = pieces(tunnel.sent(inner, df=False), 1500)
    c.cut("en0", len(cuts))
    c.add("interface.gre4.tx_packets")
    c.add("interface.gre4.tx_bytes", len(raw(inner)))
    for piece in cuts:
        c.tx("en1", net6(piece), "en0", free_id=(0,))
    inner = udp(src=FAR, dst=H, n=1400)
    arrived = pieces(tunnel.received(gre(inner)), 800)
    for piece in arrived:
        c.rx("en1", from_net(piece))
    c.merged("en1", len(arrived) - 1)
    c.tunnel_rx("gre4", inner)
    c.tx("en0", to_lan(hop(inner)), "en1")


@case("ECN and DSCP through UDP as through any tunnel, over a VLAN")
def udp_ecn_vlan(c):
    c.config = changed(config(GRE4), f"""
[[neighbour]]
address = "{R}"
mac = "{RM}"
""", f"""
[[vlan]]
name = "en1.20"
address = ["198.18.0.1/24"]

[[neighbour]]
address = "198.18.0.9"
mac = "{RM}"

[[route]]
to = "{A}/32"
via = "198.18.0.9"
""")

    def tagged(packet):
        return Ether(src=M1, dst=RM) / Dot1Q(vlan=20, type=0x0800) / packet

    for tos in (0, 1, 2, 0xB8):
        packet = GRE4.to(False, n=90, tos=tos)
        inner = hop(packet)
        c.rx("en0", at_c0(packet))
        outer = GRE4.sent(inner)
        outer.tos = tos
        del outer.chksum
        c.tx("en1", tagged(IP(raw(outer))), "en0", iface="en1.20", tunnel=("gre4", len(raw(inner))), free_id=(0,))
    inner = udp(src=FAR, dst=H, tos=2)
    marked = udp(src=FAR, dst=H, tos=3)
    c.rx("en1", Ether(src=RM, dst=M1) / Dot1Q(vlan=20, type=0x0800) / GRE4.received(gre(inner), tos=3))
    c.tunnel_rx("gre4", inner)
    c.tx("en0", to_lan(hop(marked)), "en1")


@case("UDP is put around a live tunnel, changed and taken away", until=1.0)
def udp_changed(c):
    tunnel = Tunnel("gre4", 42, A, "{ }", 4754)
    other = Tunnel("gre4", 42, A, "{ }", 4999)
    c.config = changed(config(tunnel), "udp = { }\n", "")
    inner = udp(src=FAR, dst=H, n=60)

    def plain(at):
        packet = tunnel.to(False, n=60)
        c.rx("en0", at_c0(packet), at)
        c.tx("en1", net6(in_gre(hop(packet))), "en0", at, tunnel=("gre4", len(raw(packet))), free_id=(0,))
        outwards(c, tunnel, inner, at, outer=in_gre(inner, A, C1))

    plain(0.0)
    c.verb(0.1, {"op": "set-udp", "name": "gre4", "udp": {"port": 4754}})
    inwards(c, tunnel, tunnel.to(False, n=60), at=0.2)
    outwards(c, tunnel, inner, at=0.2)
    c.rx("en1", from_net(in_gre(inner, A, C1)), 0.2)
    c.drop("en1", "unknown_tunnel")
    c.verb(0.3, {"op": "set-udp", "name": "gre4", "udp": {"port": 4999, "checksum": False}})
    inwards(c, other, tunnel.to(False, n=60), at=0.4, chksum=0)
    outwards(c, other, inner, at=0.4)
    outer = tunnel.received(gre(inner))
    c.rx("en1", from_net(outer), 0.4)
    c.drop("en1", "port_unreachable")
    message = error(3, 3, outer, C1)
    send_error(c, message, "en1", net6(message), at=0.4)
    c.verb(0.5, {"op": "set-udp", "name": "gre4"})
    plain(0.6)
