"""Several paths at once: each flow keeps to one, and only the flows of a path
that goes move. Which flow takes which path is worked out by `flow`, a second
implementation that shares no code with Greyhound's."""

from . import flow
from .kit import case, hop, raw
from .net import *  # noqa: F403

SECOND, SECOND_MAC = "203.0.113.253", "02:bb:00:00:02:53"
CONFIG = GATEWAY + f"""
[[neighbour]]
address = "{SECOND}"
mac = "{SECOND_MAC}"

[[route]]
to = "60.0.0.0/8"
paths = [
    {{ via = "{R}" }},
    {{ via = "{SECOND}", weight = 2 }},
    {{ interface = "gre0" }},
]
"""
PATHS = {R: 1, SECOND: 2, "gre0": 1}


def sends(c, packet, path, at):
    """A packet from the LAN that has to take this path."""
    c.rx("en0", at_c0(packet), at)
    out = hop(packet)
    if path == "gre0":
        tunnel = ("gre0", len(raw(out)))
        c.tx("en1", to_net(in_gre(out)), "en0", at, tunnel=tunnel, free_id=(0,))
    else:
        c.tx("en1", to_net(out, dst=RM if path == R else SECOND_MAC), "en0", at)


def flows():
    for n in range(48):
        yield dict(dst=f"60.1.{n % 3}.{n}", sport=4000 + 7 * n, n=40)


@case("Each flow keeps to one of three paths, gateways and a tunnel, and all are used",
      bursts=(1, 7, 64))
def ecmp(c):
    c.config = CONFIG
    used = set()
    for n in range(2):
        for fields in flows():
            packet = udp(id=n, **fields)
            path = flow.path_of(packet, PATHS)
            used.add(path)
            sends(c, packet, path, 0.001 * n)
    assert used == set(PATHS), used


@case("Both directions of a connection and all fragments of a datagram are one flow",
      bursts=(1, 64))
def ecmp_fragments(c):
    c.config = CONFIG
    for n in range(12):
        whole = udp(dst="60.2.3.4", sport=9000 + n, n=1200, id=n)
        data = raw(whole)[20:]
        both = []
        for at, more in ((0, True), (512, True), (1024, False)):
            flags = "MF" if more else 0
            part = data[at : at + 512] if more else data[at:]
            piece = IP(src=H, dst="60.2.3.4", id=n, flags=flags, frag=at // 8, proto=17) / Raw(part)
            both.append(IP(raw(piece)))
        paths = {flow.path_of(piece, PATHS) for piece in both}
        assert len(paths) == 1
        path = paths.pop()
        for piece in both:
            sends(c, piece, path, 0.0)


@case("A path that is taken away moves its own flows and no other, and gets them back")
def ecmp_path_gone(c):
    c.config = CONFIG
    rest = {path: weight for path, weight in PATHS.items() if path != SECOND}
    route = {"to": "60.0.0.0/8", "target": {"paths": [{"via": R}, {"interface": "gre0"}]}}
    for fields in flows():
        sends(c, udp(**fields), flow.path_of(udp(**fields), PATHS), 0.0)
    moved = 0
    for fields in flows():
        packet = udp(**fields)
        before, after = flow.path_of(packet, PATHS), flow.path_of(packet, rest)
        assert before in (SECOND, after)
        moved += before != after
        sends(c, packet, after, 2.0)
    assert moved > 10
    c.verb(1.0, {"op": "change-route", "route": route})


@case("A path whose tunnel is down is left out")
def ecmp_tunnel_down(c):
    c.config = CONFIG
    c.verb(1.0, {"op": "set-interface", "name": "gre0", "up": False})
    rest = {path: weight for path, weight in PATHS.items() if path != "gre0"}
    for at, paths in ((0.0, PATHS), (2.0, rest)):
        for fields in flows():
            packet = udp(**fields)
            sends(c, packet, flow.path_of(packet, paths), at)
