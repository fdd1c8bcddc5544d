"""The frames and the configuration of each piece of work (W1 to W8).

64-byte Ethernet frames without FCS around an IP datagram of 50 bytes; a tunnel
packet on its way in carries such a datagram. Addresses are random but the same
in every run. `expected` is what must come out for a frame, built by scapy.
"""

import functools
import json
import random
import struct

MAC_IN, MAC_OUT = "02:00:00:00:00:10", "02:00:00:00:00:11"  # our two ports
MAC_HOST = "02:00:00:00:00:99"
HOP_MAC = "02:00:00:00:01:{:02x}"
IP_LEN = 50
LOCAL = "10.0.1.1"  # outer source of every tunnel

GRE, IPIP = 47, 4


def number(text):
    """A dotted address as an integer."""
    a, b, c, d = (int(part) for part in text.split("."))
    return a << 24 | b << 16 | c << 8 | d


def dotted(value):
    return ".".join(str(value >> shift & 255) for shift in (24, 16, 8, 0))


def checksum(header):
    total = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(source, destination, protocol, payload_len, ttl=64, df=False):
    """A 20-byte header."""
    fields = (0x45, 0, 20 + payload_len, 0, 0x4000 if df else 0, ttl, protocol, 0, source, destination)
    header = struct.pack("!BBHHHBBHII", *fields)
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:]


def ether(destination, source, kind=0x0800):
    return bytes.fromhex((destination + source).replace(":", "")) + struct.pack("!H", kind)


def table(section, **keys):
    """An entry of a list of sections, as a configuration file has it; without the keys that are None."""
    return f"[[{section}]]\n" + "".join(f"{key} = {toml(value)}\n" for key, value in keys.items() if value is not None)


def toml(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(inside)}" for key, inside in value.items()) + " }"
    return json.dumps(value)


class Work:
    """One row of the table: what comes in, how the gateway is set up."""

    def __init__(self, name, title, kind=None, tunnels=0, decap=False, prefixes=0, frames=65536, sizes=(64,),
                 peer="testpmd"):
        self.name, self.title, self.kind, self.tunnels = name, title, kind, tunnels
        self.decap, self.prefixes, self.frames, self.sizes = decap, prefixes, frames, sizes
        self.peer = peer
        self.random = random.Random(name)

    @functools.cached_property
    def table(self):
        """Random distinct prefixes /16 to /24, six in ten of them /24."""
        chosen, pick = {}, random.Random("prefixes")
        while len(chosen) < self.prefixes:
            length = 24 if pick.random() < 0.6 else pick.randint(16, 23)
            network = pick.randint(40 << 24, (200 << 24) - 1) >> (32 - length) << (32 - length)
            if network >> 24 != 127:
                chosen[(network, length)] = len(chosen)
        return list(chosen)

    @functools.cached_property
    def places(self):
        """Place in the table of each prefix."""
        return {prefix: place for place, prefix in enumerate(self.table)}

    def remote(self, tunnel):
        return number("10.2.0.1") + tunnel

    def destination(self, index):
        """Destination of the inner datagram."""
        if self.table:
            network, length = self.table[self.random.randrange(len(self.table))]
            return network | self.random.getrandbits(32 - length)
        if self.kind and not self.decap:
            if self.tunnels == 1:
                return 30 << 24 | self.random.getrandbits(24)
            return (30 << 24) + (self.random.randrange(self.tunnels) << 8 | self.random.getrandbits(8))
        return 20 << 24 | self.random.getrandbits(24)

    def frame(self, index):
        source = number("10.0.0.2") + self.random.randrange(250)
        length = self.sizes[index % len(self.sizes)] - 14
        inner = ipv4(source, self.destination(index), 17, length - 20)
        inner += struct.pack("!HHHH", 1024 + index % 60000, 53, length - 20, 0) + bytes(length - 28)
        if self.decap:
            head = b"\0\0\x08\0" if self.kind == GRE else b""
            remote = self.remote(self.random.randrange(self.tunnels))
            inner = ipv4(remote, number(LOCAL), self.kind, len(head) + length, df=True) + head + inner
        return ether(MAC_IN, MAC_HOST) + inner

    def all_frames(self, count=None):
        """What comes in, or the first `count` frames of it."""
        self.random.seed(self.name)
        return [self.frame(i) for i in range(count or self.frames)]

    addresses = (["10.0.0.1/24"], ["10.0.1.1/24"])  # of our two ports

    def neighbours(self):
        """{address: MAC address} behind the second port."""
        return {f"10.0.1.{n}": HOP_MAC.format(n) for n in range(2, 10)}

    def tunnel_name(self, tunnel):
        return f"{'gre' if self.kind == GRE else 'ipip'}{tunnel}"

    def config(self):
        """Tunnels and the routes beside the big table, as a configuration file has them."""
        def route(to, **target):
            return table("route", to=to, **target)

        parts = [route("20.0.0.0/8", via="10.0.1.2"), route("10.2.0.0/15", via="10.0.1.3")]
        for i in range(self.tunnels):
            remote = dotted(self.remote(i))
            if self.kind == GRE:
                parts.append(table("tunnel", name=self.tunnel_name(i), kind="gre", local=LOCAL, remote=remote,
                                   address="10.63.0.1", peer=dotted(number("10.64.0.1") + i), link1=True))
            else:
                parts.append(table("tunnel", name=self.tunnel_name(i), kind="ipip", address=LOCAL, peer=remote))
        if self.tunnels == 1 and not self.decap:
            parts.append(route("30.0.0.0/8", interface=self.tunnel_name(0)))
        elif self.tunnels and not self.decap and not self.table:
            parts += [route(f"{dotted((30 << 24) + (i << 8))}/24", interface=self.tunnel_name(i))
                      for i in range(self.tunnels)]
        return "\n".join(parts)

    def changes(self, batch):
        """The big table, as lists of changes over the control socket."""
        for start in range(0, len(self.table), batch):
            yield [{"op": "put-route", "route": {"to": f"{dotted(network)}/{length}", "target": self.target(place)}}
                   for place, (network, length) in enumerate(self.table[start:start + batch], start)]

    def target(self, place):
        """Where the prefix at that place of the table leads."""
        if self.tunnels and not self.decap:
            return {"interface": self.tunnel_name(place % self.tunnels)}
        return {"via": f"10.0.1.{2 + place % 8}"}

    def reached(self, destination):
        """(hop MAC, tunnel or None) for an inner destination."""
        if self.table:
            found = ((destination >> (32 - n) << (32 - n), n) for n in range(24, 15, -1))
            index = next(self.places[prefix] for prefix in found if prefix in self.places)
            if self.tunnels and not self.decap:
                return HOP_MAC.format(3), index % self.tunnels
            return HOP_MAC.format(2 + index % 8), None
        if self.kind and not self.decap:
            return HOP_MAC.format(3), (0 if self.tunnels == 1 else destination - (30 << 24) >> 8)
        return HOP_MAC.format(2), None

    def check_order(self, got):
        """Raises if what came out was right one by one, but not one after the other."""

    def expected(self, frame, out):
        """The frame that must leave for `frame`, by scapy. From `out`, which left,
        is the id of an outer header: any will do in what no router may cut (RFC 6864)."""
        from scapy_quiet import IP, Ether, GRE as ScapyGRE
        datagram = IP(frame[14:])
        if self.decap:
            datagram = datagram[IP].payload.getlayer(IP)
        datagram = IP(bytes(datagram))
        datagram.ttl -= 1
        del datagram.chksum
        mac, tunnel = self.reached(number(datagram.dst))
        packet = datagram
        if tunnel is not None:
            outer = IP(src=LOCAL, dst=dotted(self.remote(tunnel)), ttl=64, id=IP(out[14:]).id, flags="DF")
            packet = outer / (ScapyGRE(proto=0x0800) / datagram if self.kind == GRE else datagram)
        return bytes(Ether(src=MAC_OUT, dst=mac) / packet)


BIG = dict(prefixes=100_000, frames=262_144)
HUGE = dict(prefixes=1_000_000, frames=262_144)
WORKS = [
    Work("W1", "IPv4 forward, random destination"),
    Work("W2", "GRE encap, 1 tunnel", GRE, 1),
    Work("W3", "GRE encap, 1024 tunnels", GRE, 1024),
    Work("W4", "GRE decap, 1 tunnel", GRE, 1, decap=True),
    Work("W5", "GRE decap, 1024 tunnels, random", GRE, 1024, decap=True),
    Work("W6e", "IPIP encap, 1024 tunnels", IPIP, 1024),
    Work("W6d", "IPIP decap, 1024 tunnels, random", IPIP, 1024, decap=True),
    Work("W7", "IPv4 forward, 100k routes", **BIG),
    Work("W8", "GRE encap, 100k routes over 1024 tunnels", GRE, 1024, **BIG),
    Work("W7-1M", "IPv4 forward, 1M routes", **HUGE),
    Work("W8-1M", "GRE encap, 1M routes over 1024 tunnels", GRE, 1024, **HUGE),
    Work("T1-decap", "GRE decap, 100k tunnels, random", GRE, 100_000, decap=True, frames=262_144),
    Work("O1", "GRE encap, 1002 routes over 2 tunnels", GRE, 2, prefixes=1002, peer="ovs"),
    Work("Z0", "W8 under route churn / at rest", GRE, 1024, peer="itself", **BIG),
    Work("S2", "GRE decap, 1 tunnel, 100k routes: 2 / 1 workers", GRE, 1, decap=True, peer="spread", **BIG),
    Work("S2e", "W8, one queue: 2 / 1 workers", GRE, 1024, peer="spread", **BIG),
    Work("S1", "W1, two cores / one", frames=32768, peer="scaling"),
]


def write_pcap(path, frames):
    """A classic little-endian pcap file."""
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for frame in frames:
            file.write(struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame)


def read_pcap(path, most):
    """The first frames of such a file."""
    frames = []
    with open(path, "rb") as file:
        file.seek(24)
        while len(frames) < most and len(head := file.read(16)) == 16:
            length = struct.unpack("<IIII", head)[2]
            frame = file.read(length)
            if len(frame) == length:
                frames.append(frame)
    return frames
