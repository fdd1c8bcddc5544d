#!/usr/bin/python3
"""`make bench`: Greyhound beside dpdk-testpmd on the very same ports, one core.

Source net_pcap (infinite_rx) with distinct 64-byte frames, sink net_null. Both
processes live on one core and take turns of a tenth of a second, since whoever
shares the physical core moves absolute numbers by 1.8: each turn of ours is
compared with the turn of testpmd next to it, and the median of these ratios is
the result. testpmd only moves packets (io); we check, look up, wrap and count
them. Before that a sample of the output is compared with what scapy builds,
made by the same binary and configuration.

    benches/run.py [--quick] [--only W1,W5] [--turns 21] [--enforce]

Exit code 0 unless a sample differs or a row could not be measured; with
--enforce also when a bar is missed. Results go to target/bench/; a run of everything
also rewrites the table and the charts of docs/performance.md, which says what each
number means.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(HERE)
sys.path[:0] = [HERE, os.path.join(REPO, "tests/lab"), os.path.join(REPO, "tests/peers")]

import churn  # noqa: E402
import frames as work_frames  # noqa: E402
import ovs  # noqa: E402
import peers  # noqa: E402
import report  # noqa: E402
import scaling  # noqa: E402
import spread  # noqa: E402
import sweeps  # noqa: E402
import windows  # noqa: E402
from greyhound import binary  # noqa: E402
from lab import CommandFailed, Lab, Timeout, wait_for  # noqa: E402

CORE = peers.CORE
DOCS = os.path.join(REPO, "docs")
SAMPLE = 96
SWEEP_TURNS = 5
ETHERTYPE_ARP = b"\x08\x06"
QUICK = ("W1", "W2", "W4", "W5")
# Ratios to the peer; the rows with 1M routes are compared with those of 100k (E5).
BARS = {"W1": ("E1", 0.70), "W2": ("E2", 0.63), "W3": ("E2", 0.63), "W4": ("E3", 0.58), "W5": ("E3", 0.58),
        "W6e": ("E6", 0.63), "W6d": ("E6", 0.58), "W7": ("E4", 0.58), "W8": ("E4", 0.53), "O1": ("O1", 5.0),
        "Z0": ("F2", 0.95), "S1": ("S1", 0.95), "S2": ("S2", 1.3), "S2e": ("S2", 1.3)}
PEERS = {"testpmd": peers.Testpmd, "ovs": ovs.OpenVSwitch}
BAR_OF_HUGE = 0.9
FOLDER = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(REPO, "target")), "bench")


def sample(work, make):
    """The first frames, looped through `make`'s process into a pcap file:
    (what went in, what came out)."""
    wanted = work.all_frames()[:SAMPLE]
    with Lab() as lab:
        source, sink = lab.path("sample.pcap"), lab.path("out.pcap")
        work_frames.write_pcap(source, wanted)
        process = make(lab, work, f"net_pcap0,rx_pcap={source},infinite_rx=1", f"net_pcap1,tx_pcap={sink}")
        process.load()
        wait_for(f"{SAMPLE} frames to leave", lambda: process.sent() > 20 * SAMPLE, 20)
        process.source(up=False)
        process.proc.stop()
        got = work_frames.read_pcap(sink, 3 * SAMPLE)
    # Who has addresses announces them, too.
    got = [frame for frame in got if frame[12:14] != ETHERTYPE_ARP][:SAMPLE]
    assert len(got) == SAMPLE, f"{work.name}: {process.name} let {len(got)} frames out for {SAMPLE}"
    return wanted, got


def check_sample(work):
    """Ours: byte for byte and in order what scapy builds."""
    from scapy_quiet import IP
    wanted, got = sample(work, peers.Greyhound)
    # Where the loop was cut open when the source came up is chance.
    start = next((i for i in range(SAMPLE) if work.expected(wanted[i], IP(got[0][14:]).id) == got[0]), 0)
    for place, out in enumerate(got):
        frame = wanted[(start + place) % SAMPLE]
        expected = work.expected(frame, IP(out[14:]).id)
        assert out == expected, (f"{work.name}: frame {place} of the sample differs\n in       {frame.hex()}\n"
                                 f" out      {out.hex()}\n expected {expected.hex()}")


def check_peer_sample(work, make):
    """A peer that routes must do the same work; while it learns flows it may
    lose packets, so only what came out is looked at."""
    from scapy_quiet import IP
    wanted, got = sample(work, make)
    for out in got:
        ident = IP(out[14:]).id
        assert any(work.expected(frame, ident) == out for frame in wanted), f"{make.name} does other work: {out.hex()}"


def start(lab, work, make, source):
    """A process of the pair, forwarding, then frozen."""
    process = make(lab, work, f"net_pcap0,rx_pcap={source},infinite_rx=1", "net_null0,no-rx=1")
    lab.on_close(process.thaw)
    process.load()
    windows.prioritise(process.pid)
    return process


def measure(work, turns, calibrator):
    """One row: ratios of neighbouring turns, and rates."""
    with Lab() as lab:
        source = lab.path(f"{work.name}.pcap")
        work_frames.write_pcap(source, work.all_frames())
        ours = start(lab, work, peers.Greyhound, source)
        strays_before = ours.strays()
        if work.peer == "itself":
            pair = churn.Churning(lab, ours), ours
            ours.freeze()
        else:
            ours.freeze()
            pair = ours, start(lab, work, PEERS[work.peer], source)
            pair[1].freeze()
        before = windows.steal(CORE)
        rounds = windows.alternate(pair, calibrator, turns)
        after = windows.steal(CORE)
        ours.thaw()
        worker, strays = ours.worker(), ours.strays()
        assert strays == strays_before, (f"{work.name}: not every packet was forwarded: {strays} "
                                         f"after {strays_before}")
    row = {"unit": "Mpps"} | windows.summary(rounds, calibrator.best)
    row["ns"], row["peer_ns"] = 1e3 / row["median"], 1e3 / row["peer_median"]
    row["steal"] = (after[0] - before[0]) / max(1, after[1] - before[1])
    row["burst_fill"], row["route_load_seconds"] = worker["burst_fill"], ours.load_seconds if work.prefixes else None
    if work.peer == "itself":
        row["changes_per_second"] = pair[0].changes_per_second()
    return row


def judged(work, row):
    """The row with its name and its bar."""
    bar_id, bar = BARS.get(work.name, (None, None))
    row = {"id": work.name, "title": work.title, "peer": work.peer, "frames": work.frames,
           "frame_bytes": work.sizes[0]} | row
    return row | {"bar_id": bar_id, "bar": bar, "met": bar is None or row["ratio"] >= bar}


def judge_huge(rows):
    """The bar of the rows with 1M routes follows from those with 100k."""
    by_id = {row["id"]: row for row in rows}
    for row in rows:
        base = by_id.get(row["id"].removesuffix("-1M"))
        if row["id"].endswith("-1M") and base:
            row["bar_id"], row["bar"] = "E5", round(BAR_OF_HUGE * base["ratio"], 3)
            row["met"] = row["ratio"] >= row["bar"]


def facts():
    """The machine and the programs, for the head of the table."""
    with open("/proc/cpuinfo") as file:
        text = file.read()
    model = re.search(r"model name\s*: (.*)", text)
    dpdk = subprocess.run(["pkg-config", "--modversion", "libdpdk"], capture_output=True, text=True).stdout.strip()
    commit = subprocess.run(["git", "-C", REPO, "describe", "--always", "--dirty"], capture_output=True, text=True)
    return {"cpu": model.group(1) if model else platform.machine(), "cores": os.cpu_count(),
            "avx512": " avx512f " in text, "hypervisor": " hypervisor " in text, "kernel": platform.release(),
            "dpdk": dpdk, "binary": os.path.relpath(binary(), REPO), "commit": commit.stdout.strip(),
            "date": time.strftime("%Y-%m-%d %H:%M %Z"), "load_before": os.getloadavg()[0], "measured_core": CORE,
            "turn_seconds": windows.TURN}


def heading():
    return (f"{'id':24} {'work':42} {'ratio':>6} {'[min, max]':>13} {'bar':>5}  {'Mpps':>5} {'ns':>5} "
            f"{'peer':>5} {'ns':>5} {'quiet':>6}")


def line(row):
    def ns(key):
        return f"{row[key]:5.1f}" if key in row else f"{'':5}"

    bar = "" if row["bar"] is None else f"{row['bar']:.2f}"
    mark = " " if row["bar"] is None else "+" if row["met"] else "-"
    return (f"{row['id']:24} {row['title']:42} {row['ratio']:6.3f} [{row['ratio_min']:.2f}, {row['ratio_max']:.2f}] "
            f"{bar:>5}{mark} {row['median']:5.1f} {ns('ns')} {row['peer_median']:5.1f} {ns('peer_ns')} "
            f"{row['quiet_windows']:3}/{row['windows']}")


def run(chosen, turns, calibrator, wrong, written):
    """Measures the rows; adds to `wrong` those that could not be, and keeps
    the file `written` up to date."""
    rows = []
    print(heading(), flush=True)
    for work in chosen:
        try:
            check_sample(work)
            if work.peer == "ovs":
                check_peer_sample(work, PEERS[work.peer])
            one = {"scaling": scaling.measure, "spread": spread.measure}.get(work.peer, measure)
            rows.append(judged(work, one(work, turns, calibrator)))
        except (AssertionError, CommandFailed, Timeout, windows.Noisy) as error:
            wrong.append(work.name)
            print(f"{work.name:24} FAILED: {error}", flush=True)
            continue
        judge_huge(rows)
        report.save(*written, rows)
        print(line(rows[-1]), flush=True)
    return rows


def draw_sweeps(calibrator, wrong, out):
    """Measures and draws every sweep; those that were drawn."""
    drawn = []
    for sweep in sweeps.SWEEPS:
        print(f"\n{sweep.title}")
        rows = run(sweep.works(), SWEEP_TURNS, calibrator, wrong, (out, f"sweep-{sweep.name}.json"))
        if rows:
            report.chart(DOCS, sweep, rows)
            drawn.append(sweep)
    return drawn


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--quick", action="store_true", help=f"{', '.join(QUICK)} and fewer turns; under 5 minutes")
    args.add_argument("--only", default="", help="rows by id, comma separated")
    args.add_argument("--turns", type=int, help="pairs of turns per row (21, quick: 9)")
    args.add_argument("--enforce", action="store_true", help="a missed bar is an error")
    args.add_argument("--out", default=FOLDER, help="where results.json goes")
    args = args.parse_args()
    wanted = args.only.replace(",", " ").split() or (QUICK if args.quick else [w.name for w in work_frames.WORKS])
    unknown = set(wanted) - {w.name for w in work_frames.WORKS}
    if unknown:
        sys.exit(f"no such row: {', '.join(sorted(unknown))}")
    if os.geteuid() or CORE not in os.sched_getaffinity(0) or 0 not in os.sched_getaffinity(0):
        sys.exit(f"the bench needs root and cores 0 (control) and {CORE} (measured)")
    windows.need_programs("dpdk-testpmd", "rustc", "ovs-vsctl")
    found = facts()
    print(", ".join(f"{key} {value}" for key, value in found.items()))
    wrong, everything = [], not (args.only or args.quick)
    with Lab() as lab:
        os.makedirs(FOLDER, exist_ok=True)
        windows.prioritise_harness(lab, CORE)
        calibrator = windows.Calibrator(lab, FOLDER, CORE)
        turns = args.turns or (9 if args.quick else 21)
        rows = run([w for w in work_frames.WORKS if w.name in wanted], turns, calibrator, wrong,
                   (args.out, "results.json"))
        found["load_after"] = os.getloadavg()[0]
        report.save(args.out, "facts.json", found)
        if everything:
            drawn = draw_sweeps(calibrator, wrong, args.out)
            report.document(os.path.join(DOCS, "performance.md"), found, rows, drawn)
    missed = [row["id"] for row in rows if not row["met"]]
    print(f"ratio: ours to the peer (testpmd io; O1: Open vSwitch), medians of alternated windows of {windows.TURN:g} s on core {CORE}. "
          f"{'Below the bar: ' + ', '.join(missed) + '. ' if missed else 'No bar missed. '}Results: {args.out}/results.json")
    if wrong:
        print(f"could not be measured: {', '.join(wrong)}")
    return 1 if wrong or (args.enforce and missed) else 0


if __name__ == "__main__":
    sys.exit(main())
