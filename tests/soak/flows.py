"""What the soak sends, and what has to become of each packet.

A round is one list of frames per port. Every kind of frame is a `Flow`, which says
how often it is in a round and what one of it does to the counters; what must have been
counted at the end is the sum. Frames come from scapy. They are made once; what has to
differ each time (GRE sequence numbers, identifications of fragments) is patched in.

    LAN host 10.0.0.163 ── en0 [ gateway ] en1 ── router 203.0.113.254 ── far ends
"""

import collections
import struct

from scapy_quiet import GRE, IP, UDP, Ether, Raw
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment

EN0_MAC, EN1_MAC = "02:00:00:00:00:10", "02:00:00:00:00:11"
HOST_MAC, HOP_MACS = "02:aa:00:00:01:63", ("02:bb:00:00:02:54", "02:bb:00:00:02:55")
HOST4, HOST6 = "10.0.0.163", "2001:db8::a3"
LOCAL4, LOCAL6 = "203.0.113.1", "2001:db8:ff::1"
# IMIX: bytes of the inner datagram, and how many of them.
SIZES = ((64, 7), (576, 4), (1400, 1))
KEYS = {"key": 42}
ALL = {"key": 42, "checksum": True, "sequence": True}


class Tunnel:
    """One tunnel: its table of the configuration and the bytes around an inner datagram."""

    def __init__(self, number, name, six=False, inner=(4, 6), **keys):
        self.number, self.name, self.six, self.inner, self.keys = number, name, six, inner, keys
        self.kind = name.rstrip("0123456789")
        self.remote = f"2001:db8:aa::{number + 16:x}" if six else f"198.51.100.{number + 16}"
        self.local = LOCAL6 if six else LOCAL4
        self.gre = self.kind == "gre"
        self.sequence = keys.get("sequence", False)

    def spec(self):
        """As the configuration and the control socket name its keys."""
        if self.kind == "ipip" and not self.six:
            return {"name": self.name, "kind": "ipip", "address": self.local, "peer": self.remote}
        links = {"link1": True} if self.gre else {}
        return {"name": self.name, "kind": self.kind, "local": self.local, "remote": self.remote, **links,
                "address": f"172.31.{self.number}.1", "peer": f"172.31.{self.number}.2", **self.keys}

    def routes(self):
        return [f"40.{self.number}.0.0/16", f"2001:db8:{0x4000 + self.number:x}::/48"]

    def far(self, family, low=9):
        """An address behind the far end."""
        return f"40.{self.number}.0.{low}" if family == 4 else f"2001:db8:{0x4000 + self.number:x}::{low:x}"

    def key_here(self):
        return self.keys.get("key", self.keys.get("key_in"))

    def wrap(self, inner, family, tos=0):
        """`inner` (bytes) as the far end sends it, as a scapy packet."""
        if self.gre:
            within = GRE(proto=0x0800 if family == 4 else 0x86DD, chksum_present=int(self.keys.get("checksum", False)),
                         key_present=int(self.key_here() is not None), key=self.key_here(),
                         seqnum_present=int(self.sequence), seqence_number=0 if self.sequence else None) / Raw(inner)
            protocol = 47
        else:
            within, protocol = Raw(inner), 4 if family == 4 else 41
        if self.six:
            return IPv6(src=self.remote, dst=self.local, nh=protocol, hlim=64, tc=tos) / within
        return IP(src=self.remote, dst=self.local, proto=protocol, ttl=64, flags="DF", tos=tos) / within

    def sent_by_far_end(self, family, inner, tos=0):
        """The outer datagram with `inner` in it, minimal encapsulation included."""
        if self.keys.get("link0") is not False:
            return bytes(self.wrap(inner, family, tos))
        # RFC 2004: protocol, S bit, checksum, destination and source of the inner header.
        header = IP(inner)
        body = struct.pack("!BBH4s4s", header.proto, 0x80, 0, inner[16:20], inner[12:16])
        body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
        return bytes(IP(src=self.remote, dst=self.local, proto=55, ttl=63) / Raw(body + inner[20:]))


# Every encapsulation and option that there is. The numbers are addresses, too.
TUNNELS = [
    Tunnel(0, "gre0"), Tunnel(1, "gre1", **KEYS), Tunnel(2, "gre2", checksum=True), Tunnel(3, "gre3", sequence=True),
    Tunnel(4, "gre4", **ALL), Tunnel(5, "gre5", key_in=1, key_out=2), Tunnel(6, "gre6", inner=(4,), link0=False),
    Tunnel(7, "ipip7"), Tunnel(8, "gre8", six=True), Tunnel(9, "gre9", six=True, **ALL), Tunnel(10, "ipip10", six=True),
    Tunnel(11, "gre11", dscp="copy", df="copy"),
]
# Two between which routes flap, and one that comes and goes.
FLAPPING = [Tunnel(20, "gre20"), Tunnel(21, "gre21", **KEYS)]
PASSING = Tunnel(22, "gre22")
FLAPPING_NET, PASSING_NET = "42.0.0.0/16", "41.0.0.0/16"


def checksum(data):
    """The Internet checksum (RFC 1071)."""
    return ~folded(total(data)) & 0xFFFF


def total(data):
    data = bytes(data) + b"\0" * (len(data) % 2)
    return sum(struct.unpack(f"!{len(data) // 2}H", data))


def folded(number):
    while number >> 16:
        number = (number & 0xFFFF) + (number >> 16)
    return number


def frame(to_en0, datagram):
    """An Ethernet frame to en0 from the LAN host, or to en1 from the router."""
    link = Ether(dst=EN0_MAC, src=HOST_MAC) if to_en0 else Ether(dst=EN1_MAC, src=HOP_MACS[0])
    link.type = 0x0800 if datagram[0] >> 4 == 4 else 0x86DD
    return bytes(link) + datagram


def udp(source, destination, length, **fields):
    """A UDP datagram of `length` bytes, headers included."""
    header = IPv6(src=source, dst=destination, hlim=64) if ":" in source else IP(src=source, dst=destination)
    for name, value in fields.items():
        setattr(header, name, value)
    room = length - (48 if ":" in source else 28)
    return bytes(header / UDP(sport=1000, dport=2000) / Raw(bytes(i & 255 for i in range(max(0, room)))))


class Flow:
    """A kind of frame. `does` counts what one of it does: names are `tunnel.rx`,
    `tunnel.tx`, `drop.reason`, `control.reason`, or `pieces` for what is cut."""

    def __init__(self, port, frames, weight=1, does=(), patch=None):
        self.port, self.weight, self.does, self.patch = port, weight, collections.Counter(does), patch
        self.frames = [bytearray(one) for one in frames]


class Sequence:
    """Writes the next GRE sequence number into a frame; shared by all flows of a tunnel."""

    def __init__(self, tunnel):
        self.link = 14 + (40 if tunnel.six else 20)
        self.at = self.link + 4 + 4 * bool(tunnel.keys.get("checksum")) + 4 * (tunnel.key_here() is not None)
        self.summed, self.number, self.sums = tunnel.keys.get("checksum"), -1, {}

    def __call__(self, frames):
        for one in frames:
            self.number += 1
            base = self.sums.get(id(one))
            if base is None and self.summed:
                struct.pack_into("!I", one, self.at, 0)
                struct.pack_into("!H", one, self.link + 4, 0)
                base = self.sums[id(one)] = total(one[self.link:])
            struct.pack_into("!I", one, self.at, self.number & 0xFFFFFFFF)
            if self.summed:
                both = base + (self.number >> 16 & 0xFFFF) + (self.number & 0xFFFF)
                struct.pack_into("!H", one, self.link + 4, ~folded(both) & 0xFFFF)


class Identification:
    """Writes the next identification into the fragments of a datagram."""

    def __init__(self):
        self.number = 0

    def __call__(self, frames):
        self.number = self.number + 1 & 0xFFFF
        for one in frames:
            if one[12] == 0x86:  # IPv6: behind its header
                struct.pack_into("!I", one, 14 + 40 + 4, self.number)
            else:
                struct.pack_into("!H", one, 14 + 4, self.number)
                struct.pack_into("!H", one, 14 + 10, 0)
                struct.pack_into("!H", one, 14 + 10, checksum(one[14:34]))


def both_ways(tunnel, sequence):
    """IMIX of each inner family through a tunnel, out and in."""
    for family in tunnel.inner:
        host, far = (HOST4, tunnel.far(4)) if family == 4 else (HOST6, tunnel.far(6))
        for size, weight in SIZES:
            yield Flow("en0", [frame(True, udp(host, far, size))], weight, {f"{tunnel.name}.tx": 1})
            back = tunnel.sent_by_far_end(family, udp(far, host, size))
            yield Flow("en1", [frame(False, back)], weight, {f"{tunnel.name}.rx": 1}, sequence)


def too_large(tunnel):
    """A datagram that may be cut, too large for the tunnel: the inner one is cut, or the outer one."""
    inner_is_cut = tunnel.keys.get("df") != "copy" and not (tunnel.six and tunnel.kind == "ipip")
    does = {f"{tunnel.name}.tx": 2 if inner_is_cut else 1, "pieces": 1}
    return Flow("en0", [frame(True, udp(HOST4, tunnel.far(4), 1500))], 1, does)


def in_fragments(tunnel):
    """A tunnel packet that arrives in two fragments."""
    outer = tunnel.sent_by_far_end(4, udp(tunnel.far(4), HOST4, 1400))
    if tunnel.six:
        header, body = IPv6(outer[:40]), outer[40:]
        pieces = [bytes(IPv6(src=header.src, dst=header.dst, hlim=64) /
                        IPv6ExtHdrFragment(nh=header.nh, offset=at // 8, m=int(at == 0)) / Raw(body[at:to]))
                  for at, to in ((0, 720), (720, len(body)))]
    else:
        header, body = IP(outer[:20]), outer[20:]
        pieces = [bytes(IP(src=header.src, dst=header.dst, proto=header.proto, frag=at // 8, flags="MF" if at == 0 else 0) /
                        Raw(body[at:to])) for at, to in ((0, 720), (720, len(body)))]
    return Flow("en1", [frame(False, piece) for piece in pieces], 1, {f"{tunnel.name}.rx": 1}, Identification())


def spoilt(datagram, at):
    """With one bit turned round."""
    return datagram[:at] + bytes([datagram[at] ^ 1]) + datagram[at + 1:]


def refused():
    """What has to be dropped, each for its own reason."""
    plain, keyed, summed, numbered = TUNNELS[:4]
    inner = udp(plain.far(4), HOST4, 100)
    wrong = Tunnel(1, "gre1", key=43).sent_by_far_end(4, inner)
    for port, datagram, reason in (
        ("en1", wrong, "unknown_tunnel"),
        ("en1", spoilt(plain.sent_by_far_end(4, inner), 8), "ipv4_bad_checksum"),
        ("en1", spoilt(summed.sent_by_far_end(4, inner), 60), "gre_bad_checksum"),
        ("en1", numbered.sent_by_far_end(4, inner), "gre_out_of_sequence"),
        ("en1", plain.sent_by_far_end(4, inner, tos=3), "ecn_congestion_lost"),
        ("en1", plain.sent_by_far_end(4, spoilt(inner, 8)), "inner_invalid"),
        ("en0", udp(HOST4, plain.far(4), 100, ttl=1), "ttl_expired"),
        ("en0", udp(HOST6, plain.far(6), 100, hlim=1), "ttl_expired"),
        ("en0", udp(HOST6, plain.far(6), 1500), "fragmentation_needed"),
        ("en0", udp(HOST4, keyed.far(4), 1500, flags="DF"), "fragmentation_needed"),
        ("en0", udp("127.0.0.1", plain.far(4), 100), "martian_source"),
    ):
        yield Flow(port, [frame(port == "en0", datagram)], 1, {f"drop.{reason}": 1})


def changing():
    """Through what changes meanwhile: `either` counts what cannot be said for one counter alone."""
    for low in range(8):
        yield Flow("en0", [frame(True, udp(HOST4, f"42.0.{low}.9", 300))], 2, {"either.flapping": 1})
    yield Flow("en0", [frame(True, udp(HOST4, "41.0.0.9", 300))], 4, {"either.out": 1})
    back = PASSING.sent_by_far_end(4, udp("41.0.0.9", HOST4, 300))
    yield Flow("en1", [frame(False, back)], 4, {"either.in": 1})


def all_flows():
    flows = []
    for tunnel in TUNNELS:
        flows += both_ways(tunnel, Sequence(tunnel) if tunnel.sequence else None)
        flows.append(too_large(tunnel))
        if not tunnel.sequence and tunnel.keys.get("link0") is not False:
            flows.append(in_fragments(tunnel))
    return [*flows, *refused(), *changing()]
