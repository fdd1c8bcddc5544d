"""What the curves of docs/performance.md are measured on: one thing varies, the rest stays.

Points are rows like those of the table, with fewer turns.
"""

from frames import GRE, Work

FRAMES = 65536
MANY = 262_144  # so that more of a big table is looked at
LARGE = 16384  # frames of a source with large ones: they are kept in memory whole
IMIX = (64,) * 7 + (594,) * 4 + (1514,)


class Sweep:
    """One chart: `lines` are {name: [(x, Work)]}; x is a number or a word."""

    def __init__(self, name, title, axis, lines):
        self.name, self.title, self.axis, self.lines = name, title, axis, lines

    def works(self):
        return [work for line in self.lines.values() for _, work in line]


def _slug(name):
    return name.lower().replace(" ", "-")


def _sizes(name, largest, **work):
    sizes = [64, 128, 256, 512, 1024, largest]
    points = [(size, Work(f"size-{_slug(name)}-{size}", f"{name}, {size} B", sizes=(size,), frames=LARGE, **work))
              for size in sizes]
    if largest == max(IMIX):
        points.append(("IMIX", Work(f"size-{_slug(name)}-imix", f"{name}, IMIX", sizes=IMIX, frames=LARGE, **work)))
    return points


def _routes(name, **work):
    return [(n, Work(f"routes-{_slug(name)}-{n}", f"{name}, {n} routes", prefixes=n, frames=MANY, **work))
            for n in (1, 10, 100, 1000, 10_000, 100_000, 1_000_000)]


def _tunnels(name, **work):
    return [(n, Work(f"tunnels-{_slug(name)}-{n}", f"{name}, {n} tunnels", tunnels=n, frames=FRAMES, **work))
            for n in (1, 10, 100, 1000, 10_000, 100_000)]


# 1514 bytes hold an IP datagram of 1500; 1490 one of 1476, what a GRE tunnel takes.
SWEEPS = [
    Sweep("size", f"by frame size, {LARGE:,} frames", "frame without FCS, bytes", {
        "forward": _sizes("forward", 1514),
        "GRE encap": _sizes("GRE encap", 1490, kind=GRE, tunnels=1),
    }),
    Sweep("routes", f"by number of routes, 64 B, {MANY:,} frames", "routes", {
        "forward": _routes("forward"),
        "GRE encap": _routes("GRE encap", kind=GRE, tunnels=1024),
    }),
    Sweep("tunnels", f"by number of tunnels, 64 B, {FRAMES:,} frames", "tunnels", {
        "GRE encap": _tunnels("GRE encap", kind=GRE),
        "GRE decap": _tunnels("GRE decap", kind=GRE, decap=True),
    }),
]
