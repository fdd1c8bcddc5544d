"""Z1: is a packet lost while everything around the packets changes?

A source paced over memif, W8 with net_null behind it, and on the other core all at
once: route changes, tunnels that come and go, the tunnels' next hop with ever other
MAC addresses, hosts that ask by ARP from ever other MAC addresses, and scrapes of
the metrics. Lost is what found the ring of 4096 full, and what the gateway dropped.
A window counts only if the source kept its pace and the host took nothing from
either core; there are windows until enough count.
"""

import contextlib
import itertools
import multiprocessing
import socket
import struct
import time
import urllib.request

import churn
import frames as work_frames
import loop
import peers
import rows
import windows
from lab import Lab

RATE = 2.5e6
WINDOW = 5.0
SECONDS, QUICK_SECONDS = 60, 10
PATIENCE = 3            # times as long at most
SOURCE_KEEPS = 0.01
CHANGES = 100_000       # a second
AHEAD = 1.02            # so much more is sent, to make up for waiting too long
OTHERS_EVERY = 10       # transactions
SCRAPES = 10            # a second
ARP = 200               # a second
CORES = (0, peers.CORE)


def arp_requests():
    """Every host of the source's subnet asks for us, from two MAC addresses in turn."""
    ours, frames = socket.inet_aton("10.0.0.1"), []
    for turn, host in itertools.product(range(2), range(2, 200)):
        mac = bytes((2, 0, 0, 7, turn, host))
        body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + bytes((10, 0, 0, host)) + bytes(6) + ours
        frames.append(b"\xff" * 6 + mac + b"\x08\x06" + body.ljust(46, b"\0"))
    return frames


def transactions(work):
    """Route changes, and something else after every so many of them."""
    other = itertools.cycle(churn.others(work))
    plain = churn.changes(work)
    for place, line in enumerate(plain):
        yield line
        if place % OTHERS_EVERY == 0:
            yield next(other)


def scrape(port, count):
    """Reads the metrics so many times a second, until killed."""
    due = time.perf_counter()
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
            count.value += bool(page.read())
        due = max(due + 1 / SCRAPES, time.perf_counter())
        time.sleep(max(0, due - time.perf_counter()))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Trouble:
    """The processes that change and scrape, and what they got done."""

    def __init__(self, lab, gateway, port):
        self.changes, self.scrapes = (multiprocessing.Value("Q", lock=False) for _ in range(2))
        self.refused = multiprocessing.Array("c", 1001, lock=False)
        lines = list(transactions(gateway.work))
        for target, args in ((churn.churn, (gateway.path, lines, self.changes, self.refused, AHEAD * CHANGES)),
                             (scrape, (port, self.scrapes))):
            process = multiprocessing.Process(target=target, args=args, daemon=True)
            process.start()
            lab.on_close(process.kill)

    def done(self):
        assert not self.refused.value, f"a change was refused: {self.refused.value.decode()}"
        return self.changes.value, self.scrapes.value


def stolen():
    return sum(windows.steal(core)[0] for core in CORES)


def dropped(gateway):
    return sum(drop["packets"] for drop in gateway.call("show-drops")["drops"])


def window(one, trouble, threads):
    """What happened in one, and whether it counts."""
    def read():
        return trouble.done(), stolen(), dropped(one.process), sum(windows.waited(one.process, threads)) / 1e6

    before = read()
    (seen,) = one.pacer.run(RATE, WINDOW, beside=ARP, gentle=True)
    after = read()
    pace = (seen["sent"] + seen["refused"]) / seen["seconds"] / RATE
    changes, scrapes = ((b - a) / seen["seconds"] for a, b in zip(before[0], after[0]))
    return {"lost": seen["refused"] + after[2] - before[2], "refused": seen["refused"], "sent": seen["sent"],
            "kept_off_ms": after[3] - before[3], "pace": pace, "steal": after[1] - before[1], "changes": changes, "scrapes": scrapes, "arp": seen["beside"],
            "counts": abs(pace - 1) <= SOURCE_KEEPS and after[1] == before[1]}


def measure(_calibrator, quick):
    """The rows."""
    work, port = next(w for w in work_frames.WORKS if w.name == "W8"), free_port()

    class Scraped(peers.Greyhound):
        metrics = f'listen = "127.0.0.1:{port}"'

    wanted = QUICK_SECONDS if quick else SECONDS
    with Lab() as lab:
        one = loop.Loop(lab, work, Scraped, comes_back=False, beside=arp_requests())
        windows.prioritise(one.process.pid)
        windows.at_once(one.pacer.pid)
        list(one.pacer.run(RATE, 1, gentle=True))
        trouble = Trouble(lab, one.process, port)
        time.sleep(1)
        threads = windows.packet_threads(one.process)
        gap_before, seen = one.process.worker()["longest_gap_seconds"], []
        while sum(w["counts"] for w in seen) * WINDOW < wanted and len(seen) * WINDOW < PATIENCE * wanted:
            seen.append(window(one, trouble, threads))
        gap = one.process.worker()["longest_gap_seconds"]
        drops = one.process.strays()
    good = [w for w in seen if w["counts"]]
    assert len(good) * WINDOW >= wanted, (f"only {len(good)} of {len(seen)} windows count: pace "
                                          f"{[round(w['pace'], 3) for w in seen]}, steal {[w['steal'] for w in seen]}")
    facts = {"seconds": len(good) * WINDOW, "windows_seen": seen, "strays": drops}
    when = "" if gap > gap_before else ", at most"
    return [rows.figure("Z1", f"packets lost of {sum(w['sent'] for w in good):,} under changes, {len(good) * WINDOW:.0f} s",
                        "packets", [sum(w["lost"] for w in good)], 0, "at most", **facts),
            rows.figure("Z1-changes", "route changes a second meanwhile", "1/s", [w["changes"] for w in good],
                        CHANGES, "at least"),
            rows.figure("Z1-scrapes", "scrapes a second meanwhile", "1/s", [w["scrapes"] for w in good],
                        0.9 * SCRAPES, "at least"),
            rows.figure("Z1-off", "in a window, other threads had the worker's core", "ms", [w["kept_off_ms"] for w in good]),
            rows.figure("Z1-gap", f"longest time between two polls{when}", "µs", [1e6 * gap])]
