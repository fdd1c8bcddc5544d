"""S1: what a second worker on a second core brings, beside what it brings testpmd.

Four processes take turns: each program with one packet thread (core 1) and with
two (cores 0 and 1), every thread with a receive queue of its own. Core 0 also carries
the control threads and this harness; both programs suffer from that alike.
"""

import statistics

import frames as work_frames
import peers
import windows
from lab import Lab, wait_for

TURNS = 7       # at most
SECONDS = 0.5   # a turn: with a worker on core 0, too, control answers late


def lanes(source, cores):
    """The source with a receive queue for each core, all looping the same file."""
    driver, file, rest = source.split(",")
    return ",".join([driver, *[file] * len(cores), rest])


class Greyhound(peers.Greyhound):
    """A worker on each core of `cores`; queues are dealt out by default."""

    def __init__(self, lab, work, source, sink, cores):
        self.cores, self.name = cores, f"greyhound on {len(cores)}"
        super().__init__(lab, work, lanes(source, cores), sink)

    def load(self):
        super().load()
        wait_for("every worker to forward", lambda: all(count > 1000 for count in self.counts()), 30)

    def counts(self):
        return [worker["packets"] for worker in self.call("show-workers")]


class Testpmd(peers.Testpmd):
    """A forwarding core and a queue for each of `cores`."""

    def __init__(self, lab, work, source, sink, cores):
        self.cores, self.name = cores, f"testpmd on {len(cores)}"
        super().__init__(lab, work, lanes(source, cores), sink)

    def options(self):
        return [f"--rxq={len(self.cores)}", f"--txq={len(self.cores)}"]

    def counts(self):
        return self.stats()["q_opackets"][:len(self.cores)]


def measure(work, turns, calibrator):
    """The row."""
    with Lab() as lab:
        file = lab.path("half.pcap")
        work_frames.write_pcap(file, work.all_frames()[:work.frames // 2])
        four, strays = [], []
        for make in (Greyhound, Testpmd):
            for cores in ((1,), (0, 1)):
                process = make(lab, work, f"net_pcap0,rx_pcap={file},infinite_rx=1", "net_null0,no-rx=1", cores)
                lab.on_close(process.thaw)
                process.load()
                windows.prioritise(process.pid)
                strays.append(process.strays())
                process.freeze()
                four.append(process)
        rounds = windows.alternate(four, calibrator, min(turns, TURNS), SECONDS)
        for process, before in zip(four, strays):
            process.thaw()
            after = process.strays()
            assert before == after, f"{process.name}: not every packet was forwarded: {after} after {before}"
            process.freeze()
    ours, theirs = ([r["rates"][i + 1] / r["rates"][i] for r in rounds] for i in (0, 2))
    # As if the scalings were rates: the summary is the same.
    row = windows.summary([r | {"rates": (1e6 * a, 1e6 * b)} for r, a, b in zip(rounds, ours, theirs)],
                          calibrator.best)
    row["mpps"] = [statistics.median(r["rates"][i] for r in rounds) / 1e6 for i in range(4)]
    return {"unit": "times one core"} | row
