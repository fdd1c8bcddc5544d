"""Windows: two polling processes take turns on one core, and how each is counted.

```text
  core 1   |calibrate| ours 0.1 s |calibrate| theirs 0.1 s |calibrate| theirs | ...
  core 0      this harness, and the threads of both that answer "how many packets"
```

A process runs (SIGCONT) only during its turn. Its packet counter is read twice
while it runs, each reading between two looks at the clock: what the answer took
bounds the error, and the kernel says how long its packet thread was kept off the
core by others, which is taken out of the time. Turns with too much of either are
taken again.
"""

import contextlib
import os
import shutil
import statistics
import subprocess
import time

import built
from lab import CommandFailed

TURN = 0.1   # seconds counted
SETTLE = 0.01  # seconds before that: caches fill up again
WORST = 0.02  # error of a rate that is still taken
MOST_KEPT_OFF = 0.1  # share of a turn that others may have the core
PATIENCE = 10.0  # seconds of attempts at one turn
QUIET = 0.85  # of the best calibration seen: nobody on the sibling thread


class Noisy(Exception):
    """This core is not ours long enough to measure anything."""


class Calibrator:
    """The calibration loop as a process on the measured core."""

    def __init__(self, lab, core):
        self.proc = subprocess.Popen([built.calibrate()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                     start_new_session=True)
        lab.on_close(self.stop)
        os.sched_setaffinity(self.proc.pid, {core})
        prioritise(self.proc.pid)
        self.best = max(self.read() for _ in range(20))

    def read(self):
        """Operations per nanosecond now."""
        self.proc.stdin.write("\n")
        self.proc.stdin.flush()
        value = float(self.proc.stdout.readline())
        self.best = max(value, getattr(self, "best", 0))
        return value

    def stop(self):
        self.proc.kill()
        self.proc.wait()


def prioritise(pid):
    """Ahead of everything else on this machine while measured."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, -20)
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/autogroup", "w") as file:
            file.write("-20")


def at_once(pid):
    """For a process that mostly sleeps: whenever it wants, the core is its."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(1))


def prioritise_harness(lab, core):
    """This process, too, until the lab closes: it keeps the time."""
    path = "/proc/self/autogroup"
    with contextlib.suppress(OSError, IndexError, ValueError):
        with open(path) as file:
            before = file.read().split()[-1]
        lab.on_close(lambda: _write(path, before))
    nice, affinity = os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0)
    lab.on_close(lambda: os.setpriority(os.PRIO_PROCESS, 0, nice))
    lab.on_close(lambda: os.sched_setaffinity(0, affinity))
    prioritise(os.getpid())
    os.sched_setaffinity(0, affinity - {core})


def _write(path, text):
    with open(path, "w") as file:
        file.write(text)


def reading(peer):
    """(packets of each packet thread, when, how far off `when` may be)."""
    before = time.perf_counter()
    counts = peer.counts()
    after = time.perf_counter()
    return counts, (before + after) / 2, (after - before) / 2


def packet_threads(peer):
    """The threads that poll: the busiest of those that may run on one of its cores only."""
    folder = f"/proc/{peer.pid}/task"

    def busiest(core):
        pinned = [thread for thread in os.listdir(folder) if os.sched_getaffinity(int(thread)) == {core}]
        if not pinned:
            raise CommandFailed(f"{peer.name} has no thread pinned to core {core}")
        return max(pinned, key=lambda thread: _schedstat(f"{folder}/{thread}/schedstat")[0])

    return [busiest(core) for core in peer.cores]


def _schedstat(path):
    """(ns on a CPU, ns ready but without one)."""
    with open(path) as file:
        ran, waited = file.read().split()[:2]
    return int(ran), int(waited)


def waited(peer, threads):
    """How long each of them was ready but without its core so far, ns."""
    return [_schedstat(f"/proc/{peer.pid}/task/{thread}/schedstat")[1] for thread in threads]


def turn(peer, threads, seconds):
    """(packets per second on its cores, bound of its relative error, share of
    the time that a packet thread was kept off its core) of one turn."""
    peer.thaw()
    try:
        time.sleep(SETTLE)
        before = waited(peer, threads)
        first, began, off = reading(peer)
        time.sleep(seconds)
        last, ended, off_too = reading(peer)
        after = waited(peer, threads)
    finally:
        peer.freeze()
    span = ended - began
    kept_off = [min(0.99, (b - a) / 1e9 / span) for a, b in zip(before, after)]
    rate = sum((b - a) / span / (1 - lost) for a, b, lost in zip(first, last, kept_off))
    return rate, (off + off_too) / span, max(kept_off)


def good_turn(peer, threads, seconds):
    """A turn whose count is sharp enough, on a core that was ours most of the time."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        rate, error, kept_off = turn(peer, threads, seconds)
        if error <= WORST and kept_off <= MOST_KEPT_OFF:
            return rate, error, kept_off
    raise Noisy(f"no usable turn of {peer.name} in {PATIENCE:g} s (in the last one the count was off by up to "
                f"{error:.1%} and its thread was kept off the core for {kept_off:.1%}): is the machine overloaded?")


def alternate(peers, calibrator, turns, seconds=TURN):
    """Alternated turns of frozen `peers`, the order turned round each time.

    A list of {"rates": one per peer, "state": calibration in operations per ns,
    "error": bound, "kept_off": share}. The first round only warms up.
    """
    rounds, threads = [], [packet_threads(peer) for peer in peers]
    before = calibrator.read()
    for number in range(turns + 1):
        order = range(len(peers)) if number % 2 else reversed(range(len(peers)))
        rates, errors, lost, states = [0.0] * len(peers), [], [], [before]
        for index in order:
            rates[index], error, kept_off = good_turn(peers[index], threads[index], seconds)
            errors.append(error)
            lost.append(kept_off)
            before = calibrator.read()
            states.append(before)
        if number:
            rounds.append({"rates": rates, "state": min(states), "error": max(errors),
                           "kept_off": max(lost)})
    return rounds


def summary(rounds, best):
    """Medians and ranges of the first peer against the second."""
    ratios = [r["rates"][0] / r["rates"][1] for r in rounds]
    ours, theirs = ([r["rates"][i] / 1e6 for r in rounds] for i in (0, 1))
    quiet = [r["state"] >= QUIET * best for r in rounds]

    def median_where(wanted):
        return _median([ratio for ratio, q in zip(ratios, quiet) if q == wanted])

    return {
        "median": statistics.median(ours), "min": min(ours), "max": max(ours),
        "peer_median": statistics.median(theirs), "peer_min": min(theirs), "peer_max": max(theirs),
        "ratio": statistics.median(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios),
        "windows": len(rounds), "quiet_windows": sum(quiet),
        "ratio_quiet": median_where(True), "ratio_shared": median_where(False),
        "reading_error": max(r["error"] for r in rounds), "kept_off": max(r["kept_off"] for r in rounds),
    }


def _median(values):
    return statistics.median(values) if values else None


def steal(core):
    """Clock ticks the host took from this core so far, and all of them."""
    with open("/proc/stat") as file:
        fields = next(line for line in file if line.startswith(f"cpu{core} ")).split()[1:]
    values = [int(v) for v in fields[:8]]
    return values[7], sum(values)


def need_programs(*names):
    """Refuses when a program is missing, with the way to get it."""
    missing = [n for n in names if not shutil.which(n)]
    if missing:
        raise CommandFailed(f"not installed: {', '.join(missing)}; run `make setup`")
