"""Windows: two polling processes take turns on one core, and how each is counted.

```text
  core 1   |calibrate| ours 0.1 s |calibrate| theirs 0.1 s |calibrate| theirs | ...
  core 0      this harness, and the threads of both that answer "how many packets"
```

A process runs (SIGCONT) only during its turn. Its packet counter is read twice
while it runs, each reading between two looks at the clock: what the answer took
bounds the error, and a turn whose bound is above `WORST` is taken again.
"""

import contextlib
import os
import shutil
import signal
import statistics
import subprocess
import time

from lab import CommandFailed

TURN = 0.1    # seconds counted
SETTLE = 0.01  # seconds before that: caches fill up again
WORST = 0.02  # error of a rate that is still taken
TRIES = 12    # attempts at one turn
QUIET = 0.85  # of the best calibration seen: nobody on the sibling thread


class Noisy(Exception):
    """This core is not ours long enough to measure anything."""


class Calibrator:
    """The calibration loop as a process on the measured core."""

    def __init__(self, lab, folder, core):
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "harness/calibrate.rs")
        program = os.path.join(folder, "calibrate")
        if not os.path.exists(program) or os.path.getmtime(program) < os.path.getmtime(source):
            done = subprocess.run(["rustc", "--edition=2024", "-O", "-o", program, source],
                                  capture_output=True, text=True)
            if done.returncode:
                raise CommandFailed(f"rustc {source}: {done.stderr}")
        self.proc = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
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


def freeze(peer):
    os.kill(peer.pid, signal.SIGSTOP)


def thaw(peer):
    os.kill(peer.pid, signal.SIGCONT)


def reading(peer):
    """(packets sent, when, how far off `when` may be)."""
    before = time.perf_counter()
    count = peer.sent()
    after = time.perf_counter()
    return count, (before + after) / 2, (after - before) / 2


def turn(peer):
    """(packets per second, bound of its relative error) of one turn."""
    thaw(peer)
    try:
        time.sleep(SETTLE)
        first, began, off = reading(peer)
        time.sleep(TURN)
        last, ended, off_too = reading(peer)
    finally:
        freeze(peer)
    return (last - first) / (ended - began), (off + off_too) / (ended - began)


def good_turn(peer):
    """A turn whose count is sharp enough."""
    for _ in range(TRIES):
        rate, error = turn(peer)
        if error <= WORST:
            return rate, error
    raise Noisy(f"{TRIES} turns of {peer.name} in a row with a counter reading too slow to use "
                f"(the last one off by up to {error:.1%}): is core 0 overloaded?")


def alternate(peers, calibrator, turns):
    """Alternated turns of frozen `peers`, the order turned round each time.

    A list of {"rates": one per peer, "state": calibration in operations per ns,
    "error": bound}. The first round only warms up.
    """
    rounds = []
    before = calibrator.read()
    for number in range(turns + 1):
        order = range(len(peers)) if number % 2 else reversed(range(len(peers)))
        rates, errors, states = [0.0] * len(peers), [], [before]
        for index in order:
            rates[index], error = good_turn(peers[index])
            errors.append(error)
            before = calibrator.read()
            states.append(before)
        if number:
            rounds.append({"rates": rates, "state": min(states), "error": max(errors)})
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
        "reading_error": max(r["error"] for r in rounds),
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
