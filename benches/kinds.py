"""The rows K-…: each encapsulation beside plain GRE over IPv4, Greyhound beside itself.

Both processes get the same datagrams inside, of the same family, in the same order,
through as many tunnels; only what is around them differs. So the ratio is the rate
of the encapsulation over that of plain GRE over IPv4 in the same direction. Where
1024 tunnels are too many (numbered packets), it is one, on both sides.
"""

import dataclasses
import ipaddress
import random
import struct

from frames import (GRE, HOP_MAC, IP_LEN, IPIP, LOCAL, MAC_HOST, MAC_IN, MAC_OUT, Work, checksum, dotted, ether, ipv4,
                    number, table)

SIX_IN, MINIMAL, UDP = 41, 55, 17
GRE_PORT = 4754
TUNNELS = 1024
KEY = 0x6B657900  # of tunnel 0
ETHERTYPES = {4: 0x0800, 6: 0x86DD}


def six(text):
    return int(ipaddress.IPv6Address(text))


HOST6, LOCAL6, REMOTE6 = six("2001:db8::2"), six("2001:db8:1::1"), six("2001:db8:2::1")
BEHIND6, BEYOND6 = six("2001:db8:20::"), six("2001:db8:30::")


def ipv6(source, destination, protocol, payload_len):
    """A 40-byte header."""
    ends = source.to_bytes(16, "big") + destination.to_bytes(16, "big")
    return struct.pack("!IHBB", 6 << 28, payload_len, protocol, 64) + ends


@dataclasses.dataclass(frozen=True)
class Kind:
    """An encapsulation: what is outside, what inside, and the options between."""

    title: str
    outer: int = 4
    inner: int = 4
    protocol: int = GRE
    key: bool = False
    checksum: bool = False
    sequence: bool = False
    udp: bool = False

    def options(self, tunnel):
        """As a tunnel's section has them."""
        return {"key": KEY + tunnel if self.key else None, "checksum": self.checksum or None,
                "sequence": self.sequence or None, "udp": {"port": GRE_PORT} if self.udp else None,
                "link1": self.protocol in (GRE, MINIMAL) or None, "link0": False if self.protocol == MINIMAL else None}


class KindWork(Work):
    """One direction of an encapsulation; `plain` is the work it is compared with."""

    def __init__(self, name, kind, decap, tunnels, frames=65536):
        self.around = kind
        title = f"{kind.title} {'decap' if decap else 'encap'}, {tunnels} tunnel{'s' * (tunnels > 1)}"
        super().__init__(name, title, tunnels=tunnels, decap=decap, frames=frames, peer="plain")

    @property
    def plain(self):
        """The same datagrams in plain GRE over IPv4."""
        around = Kind("plain GRE", inner=self.around.inner)
        return KindWork(f"{self.name}-plain", around, self.decap, self.tunnels, self.frames)

    # What comes in.

    def all_frames(self, count=None):
        count = count or self.frames
        # Not the row's name: its plain twin has to draw the same.
        pick = random.Random(f"kinds {self.around.inner}")
        return [self.kind_frame(pick, place, count) for place in range(count)]

    def kind_frame(self, pick, place, count):
        tunnel = pick.randrange(self.tunnels)
        inner = self.datagram(pick, tunnel)
        if not self.decap:
            return ether(MAC_IN, MAC_HOST, ETHERTYPES[self.around.inner]) + inner
        # Numbers so far apart that the first is ahead of the last when the file begins anew.
        packet = self.wrapped(inner, tunnel, place * (2**32 // count))
        return ether(MAC_IN, MAC_HOST, ETHERTYPES[self.around.outer]) + packet

    def datagram(self, pick, tunnel):
        """UDP from a host behind the first port; where to depends on the direction."""
        host, low, port = pick.randrange(250), pick.getrandbits(24), 1024 + pick.randrange(60000)
        if self.around.inner == 4:
            to = (20 << 24) + low if self.decap else (30 << 24) + (tunnel << 8 | low & 255)
            head = ipv4(number("10.0.0.2") + host, to, UDP, IP_LEN - 20)
        else:
            to = BEHIND6 + (low << 40) if self.decap else BEYOND6 + (tunnel << 64 | low)
            head = ipv6(HOST6 + host, to, UDP, IP_LEN - 40)
        rest = IP_LEN - len(head)
        return head + struct.pack("!HHHH", port, 53, rest, 0) + bytes(rest - 8)

    def wrapped(self, inner, tunnel, sequence):
        """A packet of the far end, with `inner` in it."""
        kind = self.around
        if kind.protocol == MINIMAL:
            return minimal(inner, self.remote(tunnel), number(LOCAL))
        packet = self.gre(inner, tunnel, sequence) + inner if kind.protocol == GRE else inner
        protocol = kind.protocol
        if kind.udp:
            head = struct.pack("!HHHH", 0xC000 | tunnel, GRE_PORT, 8 + len(packet), 0)
            ends = struct.pack("!IIHH", self.remote(tunnel), number(LOCAL), UDP, 8 + len(packet))
            packet = head[:6] + struct.pack("!H", checksum(ends + head + packet) or 0xFFFF) + packet
            protocol = UDP
        if kind.outer == 6:
            return ipv6(REMOTE6 + tunnel, LOCAL6, protocol, len(packet)) + packet
        return ipv4(self.remote(tunnel), number(LOCAL), protocol, len(packet), df=True) + packet

    def gre(self, inner, tunnel, sequence):
        kind = self.around
        flags = kind.checksum << 15 | kind.key << 13 | kind.sequence << 12
        rest = (struct.pack("!I", KEY + tunnel) if kind.key else b"") + (struct.pack("!I", sequence) if kind.sequence else b"")
        head = struct.pack("!HH", flags, ETHERTYPES[kind.inner])
        if kind.checksum:
            rest = struct.pack("!HH", checksum(head + bytes(4) + rest + inner), 0) + rest
        return head + rest

    # How the gateway is set up.

    addresses = (["10.0.0.1/24", "2001:db8::1/64"], ["10.0.1.1/24", "2001:db8:1::1/64"])

    def neighbours(self):
        return super().neighbours() | {f"2001:db8:1::{n}": HOP_MAC.format(n) for n in (2, 3)}

    def config(self):
        routes = {"20.0.0.0/8": "10.0.1.2", "10.2.0.0/15": "10.0.1.3", "2001:db8:20::/48": "2001:db8:1::2",
                  "2001:db8:2::/48": "2001:db8:1::3"}
        parts = [table("route", to=to, via=via) for to, via in routes.items()]
        for tunnel in range(self.tunnels):
            name = f"{'gre' if self.around.protocol in (GRE, MINIMAL) else 'ipip'}{tunnel}"
            to = (f"{dotted((30 << 24) + (tunnel << 8))}/24" if self.around.inner == 4 else
                  f"{address6(BEYOND6 + (tunnel << 64))}/64")
            parts.append(table("tunnel", name=name, **self.ends(tunnel), **self.around.options(tunnel)))
            parts.append(table("route", to=to, interface=name))
        return "\n".join(parts)

    def ends(self, tunnel):
        if self.around.outer == 4 and self.around.protocol in (IPIP, SIX_IN):
            return {"address": LOCAL, "peer": dotted(self.remote(tunnel))}
        local, remote = ((LOCAL, dotted(self.remote(tunnel))) if self.around.outer == 4 else
                         (address6(LOCAL6), address6(REMOTE6 + tunnel)))
        return {"local": local, "remote": remote, "address": "10.63.0.1", "peer": dotted(number("10.64.0.1") + tunnel)}

    # What must come out.

    def expected(self, frame, out):
        """By scapy (minimal encapsulation, which it does not know, by its sixteen bits)."""
        from scapy_quiet import IP, Ether, IPv6
        inner = self.opened(frame) if self.decap else frame[14:]
        datagram = IP(inner) if self.around.inner == 4 else IPv6(inner)
        if self.around.inner == 4:
            datagram.ttl -= 1
            del datagram.chksum
        else:
            datagram.hlim -= 1
        if self.decap:
            return bytes(Ether(src=MAC_OUT, dst=HOP_MAC.format(2)) / datagram)
        to = number(datagram.dst) - (30 << 24) >> 8 if self.around.inner == 4 else six(datagram.dst) - BEYOND6 >> 64
        kind = ETHERTYPES[self.around.outer]
        return bytes(Ether(src=MAC_OUT, dst=HOP_MAC.format(3), type=kind) / self.by_scapy(datagram, to, out[14:]))

    def opened(self, frame):
        """The datagram inside."""
        if self.around.protocol != MINIMAL:
            return frame[-IP_LEN:]
        outer, head, body = frame[14:34], frame[34:46], frame[46:]
        to, source = struct.unpack("!II", head[4:])
        return ipv4(source, to, head[0], len(body), ttl=outer[8]) + body

    def by_scapy(self, datagram, tunnel, out):
        """`datagram` in a tunnel. From `out` is what may be any: the id and the flow label
        of an outer header, a source port, and where the numbers began."""
        from scapy_quiet import GRE as ScapyGRE, IP, IPv6, UDP as ScapyUDP
        kind = self.around
        if kind.protocol == MINIMAL:
            return minimal(bytes(datagram), number(LOCAL), self.remote(tunnel))
        protocol = UDP if kind.udp else kind.protocol
        if kind.outer == 4:
            found = IP(out)
            packet = IP(src=LOCAL, dst=dotted(self.remote(tunnel)), ttl=64, id=found.id, proto=protocol,
                        flags=0 if kind.protocol == SIX_IN else "DF")
        else:
            found = IPv6(out)
            packet = IPv6(src=address6(LOCAL6), dst=address6(REMOTE6 + tunnel), hlim=64, fl=found.fl, nh=protocol)
        if kind.udp:
            packet /= ScapyUDP(sport=max(found.sport, 0xC000), dport=GRE_PORT)
        if kind.protocol == GRE:
            packet /= ScapyGRE(proto=ETHERTYPES[kind.inner], chksum_present=int(kind.checksum), key_present=int(kind.key),
                               key=KEY + tunnel if kind.key else None, seqnum_present=int(kind.sequence),
                               seqence_number=self.sequence(out) if kind.sequence else None)
        return packet / datagram

    @staticmethod
    def sequence(packet):
        """The number in a packet of GRE over IPv4 with nothing but that."""
        return int.from_bytes(packet[24:28], "big")

    def check_order(self, got):
        """Numbered packets that leave are numbered without a gap."""
        if self.around.sequence and not self.decap:
            first = self.sequence(got[0][14:])
            numbers = [self.sequence(frame[14:]) for frame in got]
            assert numbers == list(range(first, first + len(got))), f"{self.name}: numbers {numbers}"


def minimal(inner, source, destination):
    """A datagram of a 20-byte header in minimal encapsulation (RFC 2004 §3.1): its own header
    with the tunnel's ends, and behind it where it came from and was going to."""
    head = bytes((inner[9], 0x80, 0, 0)) + inner[16:20] + inner[12:16]
    head = head[:2] + struct.pack("!H", checksum(head)) + head[4:]
    return ipv4(source, destination, MINIMAL, len(head) + len(inner) - 20, ttl=inner[8]) + head + inner[20:]


def address6(value):
    return str(ipaddress.IPv6Address(value))


# Which of them have a bar: rows.py.
KINDS = {
    "key": Kind("GRE with key", key=True),
    "gre6": Kind("GRE over IPv6", outer=6),
    "6in4": Kind("6 in 4", inner=6, protocol=SIX_IN),
    "4in6": Kind("4 in 6", outer=6, protocol=IPIP),
    "min": Kind("minimal", protocol=MINIMAL),
    "csum": Kind("GRE with checksum", checksum=True),
    "seq": Kind("GRE with numbers", sequence=True),
    "udp": Kind("GRE in UDP over IPv4", udp=True),
    "6in6": Kind("6 in 6", outer=6, inner=6, protocol=SIX_IN),
}
WORKS = [KindWork(f"K-{name}-{'d' if decap else 'e'}", kind, decap, 1 if kind.sequence else TUNNELS)
         for name, kind in KINDS.items() for decap in (False, True)]
