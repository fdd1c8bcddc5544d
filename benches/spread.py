"""S2: what a second worker brings where the port cannot spread: one receive queue,
many flows, `spread = "inner"`, beside one worker on the same frames.

Both processes are Greyhound. Counted is what left by the second port: what the
rings between workers could not take is lost and does not count. The source knows
no pace, so the giver is always busy; how much of what it received was lost is told.
"""

import statistics

import frames as work_frames
import peers
import windows
from lab import Lab, wait_for

SECONDS = 0.5  # a turn: with a worker on core 0, too, control answers late


class Greyhound(peers.Greyhound):
    """Workers on `cores`, the first of which receives everything."""

    def __init__(self, lab, work, source, sink, cores):
        self.cores, self.name = cores, f"greyhound on {len(cores)}"
        super().__init__(lab, work, source, sink)

    def start(self, lab, text):
        super().start(lab, text.replace('idle = "poll"', 'idle = "poll"\nspread = "inner"'))

    def load(self):
        super().load()
        wait_for("every worker to forward", lambda: all(n > 1000 for n in self.workers()), 30)

    def workers(self):
        return [worker["packets"] for worker in self.call("show-workers")]

    def counts(self):
        # A packet may be another worker's by now: all of them together.
        return [self.sent()] + [0] * (len(self.cores) - 1)

    def received_and_lost(self):
        drops = self.call("show-drops")
        lost = sum(d["packets"] for d in drops["drops"] if d["reason"] == "spread_queue_full")
        return next(o["received"] for o in drops["origins"] if o["origin"] == "en0"), lost


def measure(work, turns, calibrator):
    """The row."""
    with Lab() as lab:
        source = lab.path("spread.pcap")
        work_frames.write_pcap(source, work.all_frames())
        pair = []
        for cores in ((1, 0), (1,)):
            # One receive queue, a transmit queue for each worker.
            device = ",".join([f"net_pcap0,rx_pcap={source}", *["tx_pcap=/dev/null"] * len(cores), "infinite_rx=1"])
            process = Greyhound(lab, work, device, "net_null0,no-rx=1", cores)
            lab.on_close(process.thaw)
            process.load()
            windows.prioritise(process.pid)
            process.freeze()
            pair.append(process)
        pair[0].thaw()
        before = pair[0].received_and_lost()
        pair[0].freeze()
        rounds = windows.alternate(pair, calibrator, turns, SECONDS)
        pair[0].thaw()
        after = pair[0].received_and_lost()
    row = {"unit": "times one worker"} | windows.summary(rounds, calibrator.best)
    row["mpps"] = [statistics.median(r["rates"][i] for r in rounds) / 1e6 for i in range(2)]
    row["lost_between_workers"] = (after[1] - before[1]) / max(1, after[0] - before[0])
    return row
