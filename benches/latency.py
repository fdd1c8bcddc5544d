"""L1: the latency a gateway adds at half of the load it can take, beside testpmd io.

Two loops over memif (see loop.py), one with each process, take turns. The load is
half of the most that came back from the slower of the two when as much was sent as
went. The delay of a frame is from its stamp before the pacer's transmit to the
pacer's next receive: it holds two passes through memif and what the pacer itself
takes to come round, the same for both.
"""

import statistics

import frames as work_frames
import loop
import peers
import rows
import windows
from lab import Lab

WORK = "W2"
TURNS = 7
SECONDS = 1.0
FLAT_OUT = 0.3  # seconds, the best of three
MORE_THAN_TESTPMD = 20.0  # microseconds, p99
WORST_SOURCE = 0.01


def turn(one, rate, seconds=SECONDS):
    """What one turn of a frozen process gave."""
    one.process.thaw()
    try:
        list(one.pacer.run(rate, 0.05))  # caches fill, and what waited is gone
        (seen,) = one.pacer.run(rate, seconds)
    finally:
        one.process.freeze()
    return seen


def measure(_calibrator, quick):
    """The rows."""
    work = next(w for w in work_frames.WORKS if w.name == WORK)
    with Lab() as lab:
        ours, theirs = loops = [loop.Loop(lab, work, make) for make in (peers.Greyhound, peers.Testpmd)]
        for one in loops:
            windows.prioritise(one.process.pid)
            windows.prioritise(one.pacer.pid)
            one.process.freeze()
        most = [max(turn(one, 0, FLAT_OUT)["received"] for _ in range(3)) / FLAT_OUT for one in loops]
        rate = min(most) / 2
        seen = [[], []]
        for number in range(3 if quick else TURNS):
            for index in (0, 1) if number % 2 else (1, 0):
                seen[index].append(turn(loops[index], rate))
        ours.process.thaw()
        strays = ours.process.strays()
    for name, turns in zip(("ours", "testpmd's"), seen):
        late = statistics.median(1 - t["sent"] / (rate * t["seconds"]) for t in turns)
        assert late <= WORST_SOURCE, f"{name} got {late:.1%} less than {rate / 1e6:.2f} Mpps from the source"
    assert not any(t["reordered"] for t in seen[0]), "frames were reordered"
    facts = {"rate": rate, "most": most, "strays": strays, "turns": len(seen[0]),
             "lost": [sum(t["sent"] - t["received"] for t in turns) for turns in seen],
             "untimed": [sum(t["untimed"] for t in turns) / sum(t["received"] for t in turns) for turns in seen],
             "source_gap_us": max(t["longest_gap_us"] for turns in seen for t in turns)}
    title = f"{work.title}, {rate / 1e6:.1f} Mpps over memif"
    return [rows.figure(name, f"{share} of the delay, {title}", "µs", [t[share] for t in seen[0]],
                        *((MORE_THAN_TESTPMD, "peer plus") if name == "L1" else ()), peer=[t[share] for t in seen[1]],
                        **facts)
            for name, share in (("L1", "p99"), ("L1-p50", "p50"), ("L1-p99.9", "p99.9"))]
