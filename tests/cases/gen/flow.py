"""Which path a flow takes, worked out anew from what docs/architecture.md says
of it: the flow's hash, and the scores by which paths own buckets."""

import math
import struct
from ipaddress import IPv4Address

BUCKETS = 512
ALL = (1 << 64) - 1


def splitmix(n):
    z = (n * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) & ALL
    z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & ALL
    z = ((z ^ z >> 27) * 0x94D049BB133111EB) & ALL
    return z ^ z >> 31


def fold(a, b):
    return (a * b & ALL) ^ (a * b >> 64)


def flow(packet, seed=0):
    """The hash of an IPv4 datagram; replay's seed is 0."""
    data = bytes(packet)
    fragment = struct.unpack("!H", data[6:8])[0] & 0x3FFF
    source, to = struct.unpack("!II", data[12:20])
    ports = (0, 0)
    if data[9] in (6, 17) and not fragment:
        at = (data[0] & 15) * 4
        ports = struct.unpack("!HH", data[at : at + 4])
    low, high = sorted((source << 16 | ports[0], to << 16 | ports[1]))
    words = [splitmix(seed + n) for n in (1, 2, 3)]
    mixed = fold(low ^ words[0], high ^ words[1])
    return fold(mixed ^ data[9], words[2] | 1) >> 16 & 0xFFFFFFFF


def flow6(packet, seed=0):
    """The hash of an IPv6 datagram; replay's seed is 0."""
    data = bytes(packet)
    source, to = (int.from_bytes(data[at : at + 16], "big") for at in (8, 24))
    ports = struct.unpack("!HH", data[40:44]) if data[6] in (6, 17) else (0, 0)
    a, b, c = (splitmix(seed + n) for n in (1, 2, 3))
    low, high = sorted(((source, ports[0]), (to, ports[1])))

    def mix(address, first, second):
        return fold(address >> 64 ^ first, address & ALL ^ second)

    def turned(word):
        return (word << 32 | word >> 32) & ALL

    mixed = fold(mix(low[0], a, b) ^ low[1] ^ a, mix(high[0], turned(b), turned(a)) ^ high[1] ^ b)
    return fold(mixed ^ data[6], c | 1) >> 16 & 0xFFFFFFFF


def ranks(path):
    """A path's permutation of the buckets: by gateway address or `gre`, `ipip` number."""
    if path.startswith("gre"):
        seed = splitmix(1 << 32 | int(path[3:]))
    elif path.startswith("ipip"):
        seed = splitmix(2 << 32 | int(path[4:]))
    else:
        seed = splitmix(int(IPv4Address(path)))
    order = list(range(BUCKETS))
    for last in range(BUCKETS - 1, 0, -1):
        seed = splitmix(seed)
        other = seed % (last + 1)
        order[last], order[other] = order[other], order[last]
    return order


def owners(paths):
    """The path that owns each bucket, of a dict of paths and weights."""

    def score(path, rank):
        return -math.log((rank + 0.5) / BUCKETS) / paths[path]

    scores = {path: [score(path, rank) for rank in ranks(path)] for path in paths}
    return [min(paths, key=lambda path: scores[path][n]) for n in range(BUCKETS)]


def path_of(packet, paths):
    """The path that a datagram takes."""
    return owners(paths)[flow(packet) % BUCKETS]
