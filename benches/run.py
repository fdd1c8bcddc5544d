#!/usr/bin/python3
"""`make bench`: Greyhound beside its peers on the very same ports, and its other figures.

The rows of rates (W1 to W8, K-..., O1, Z0, S1): source net_pcap (infinite_rx) with distinct
64-byte frames, sink net_null. Both processes live on one core and take turns of a
tenth of a second, since whoever shares the physical core moves absolute numbers by
1.8: each turn of ours is compared with the turn of the peer next to it, and the
median of these ratios is the result. testpmd only moves packets (io); we check,
look up, wrap and count them. Before that a sample of the output is compared with
what scapy builds, made by the same binary and configuration.

The other rows: P1, R1, F1, F2, F3 (native.py), L1 (latency.py), Z1 (loss.py), T1 (tunnels.py).

    benches/run.py [--quick] [--only "W1 L1"] [--turns 21] [--charts] [--enforce]

Exit code 0 unless a sample differs or a row could not be measured; with --enforce
also when a bar is missed. Results go to target/bench/; a run of everything also
rewrites the tables and draws the charts of docs/performance.md, which says what
each number means.
"""

import argparse
import importlib.util
import os
import platform
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(HERE)
sys.path[:0] = [HERE, os.path.join(REPO, "tests/lab"), os.path.join(REPO, "tests/peers")]

import built  # noqa: E402
import charts  # noqa: E402
import churn  # noqa: E402
import frames as work_frames  # noqa: E402
import kinds  # noqa: E402
import latency  # noqa: E402
import loss  # noqa: E402
import native  # noqa: E402
import ovs  # noqa: E402
import peers  # noqa: E402
import report  # noqa: E402
import rows  # noqa: E402
import scaling  # noqa: E402
import spread  # noqa: E402
import sweeps  # noqa: E402
import tunnels  # noqa: E402
import windows  # noqa: E402
from greyhound import binary  # noqa: E402
from lab import Lab, wait_for  # noqa: E402

CORE = peers.CORE
DOCS = os.path.join(REPO, "docs")
SAMPLE = 96
SWEEP_TURNS = 5
ETHERTYPE_ARP = b"\x08\x06"
MULTICAST6 = b"\x33\x33"
WORKS = {work.name: work for work in [*work_frames.WORKS, *kinds.WORKS]}
OTHERS = {"P1": native.path, "R1": native.reassembly, "F1": native.fib("lookup4", "lookup6"), "F2": native.fib("changes4", "changes6"),
          "F3": native.fib("load"), "L1": latency.measure, "Z1": loss.measure, "T1": tunnels.measure}
QUICK = ("W1", "W2", "W4", "W5", "P1", "L1", "Z1", "T1")
PEERS = {"testpmd": peers.Testpmd, "ovs": ovs.OpenVSwitch}


def sample(work, make):
    """The first frames, looped through `make`'s process into a pcap file:
    (what went in, what came out)."""
    wanted = work.all_frames(SAMPLE)
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
    got = [frame for frame in got if frame[12:14] != ETHERTYPE_ARP and frame[:2] != MULTICAST6][:SAMPLE]
    assert len(got) == SAMPLE, f"{work.name}: {process.name} let {len(got)} frames out for {SAMPLE}"
    return wanted, got


def check_sample(work):
    """Ours: byte for byte and in order what scapy builds."""
    wanted, got = sample(work, peers.Greyhound)
    # Where the loop was cut open when the source came up is chance.
    start = next((i for i in range(SAMPLE) if work.expected(wanted[i], got[0]) == got[0]), 0)
    for place, out in enumerate(got):
        frame = wanted[(start + place) % SAMPLE]
        expected = work.expected(frame, out)
        assert out == expected, (f"{work.name}: frame {place} of the sample differs\n in       {frame.hex()}\n"
                                 f" out      {out.hex()}\n expected {expected.hex()}")
    work.check_order(got)


def check_peer_sample(work, make):
    """A peer that routes must do the same work; while it learns flows it may
    lose packets, so only what came out is looked at."""
    wanted, got = sample(work, make)
    for out in got:
        assert any(work.expected(frame, out) == out for frame in wanted), f"{make.name} does other work: {out.hex()}"


def start(lab, work, make):
    """A process of the pair, forwarding."""
    source = lab.path(f"{work.name}.pcap")
    work_frames.write_pcap(source, work.all_frames())
    process = make(lab, work, f"net_pcap0,rx_pcap={source},infinite_rx=1", "net_null0,no-rx=1")
    lab.on_close(process.thaw)
    process.load()
    windows.prioritise(process.pid)
    return process


def peer_of(work):
    """What a peer does, and what makes its process."""
    return (work.plain, peers.Greyhound) if work.peer == "plain" else (work, PEERS[work.peer])


def measure(work, turns, calibrator):
    """One row: ratios of neighbouring turns, and rates."""
    with Lab() as lab:
        ours = start(lab, work, peers.Greyhound)
        strays = {ours: ours.strays()}
        if work.peer == "itself":
            pair = churn.Churning(lab, ours), ours
            ours.freeze()
        else:
            ours.freeze()
            pair = ours, start(lab, *peer_of(work))
            strays[pair[1]] = pair[1].strays()
            pair[1].freeze()
        before = windows.steal(CORE)
        rounds = windows.alternate(pair, calibrator, turns)
        after = windows.steal(CORE)
        for process, strays_before in strays.items():
            process.thaw()
            assert process.strays() == strays_before, (f"{work.name}: not every packet was forwarded: "
                                                       f"{process.strays()} after {strays_before}")
            process.freeze()
        ours.thaw()
        worker = ours.worker()
    row = {"unit": "Mpps"} | windows.summary(rounds, calibrator.best)
    row["ns"], row["peer_ns"] = 1e3 / row["median"], 1e3 / row["peer_median"]
    row["steal"] = (after[0] - before[0]) / max(1, after[1] - before[1])
    row["burst_fill"], row["route_load_seconds"] = worker["burst_fill"], ours.load_seconds if work.prefixes else None
    if work.peer == "itself":
        row["changes_per_second"] = pair[0].changes_per_second()
    return row


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


def measure_work(work, turns, calibrator):
    """The row of a piece of work, its output checked before."""
    check_sample(work)
    if work.peer == "ovs":
        check_peer_sample(work, PEERS[work.peer])
    if work.peer == "plain":
        check_sample(work.plain)
    one = {"scaling": scaling.measure, "spread": spread.measure}.get(work.peer, measure)
    return [rows.rate(work, one(work, turns, calibrator))]


def run(measures, written):
    """Rows of {name: what measures it}. One that cannot be measured is a row, too,
    which says why; the file `written` is kept up to date."""
    found = []
    for name, one in measures.items():
        try:
            new = one()
        except Exception as error:  # whatever it is, the others can be measured all the same
            new = [rows.failed(name, error)]
        found += new
        rows.judge_huge(found)
        report.save(*written, found)
        for row in new:
            print(rows.line(row), flush=True)
    return found


def measures_of(names, turns, calibrator, quick):
    """{name: what measures it}"""
    def one(name):
        if name in WORKS:
            return lambda: measure_work(WORKS[name], turns, calibrator)
        return lambda: OTHERS[name](calibrator, quick)

    return {name: one(name) for name in names}


def draw_sweeps(turns, calibrator, out):
    """Measures and draws every sweep and the stages; ({file: title}, rows that failed)."""
    drawn, wrong = {}, []
    for sweep in sweeps.SWEEPS:
        print(f"\n{sweep.title}\n{rows.heading()}")
        measures = {work.name: lambda work=work: measure_work(work, turns, calibrator) for work in sweep.works()}
        found = run(measures, (out, f"sweep-{sweep.name}.json"))
        wrong += [row for row in found if "error" in row]
        if good := [row for row in found if "error" not in row]:
            charts.draw_sweep(DOCS, sweep, good)
            drawn[charts.sweep_file(sweep)] = f"Throughput {sweep.title}"
    try:
        ticks = native.stages(turns < SWEEP_TURNS)
        report.save(out, "stages.json", ticks)
        charts.draw_stages(DOCS, ticks)
        drawn[charts.STAGES] = "Ticks per packet by stage"
    except Exception as error:  # as in `run`
        wrong.append(rows.failed("stages", error))
        print(rows.line(wrong[-1]))
    return drawn, wrong


def arguments():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--quick", action="store_true", help=f"{', '.join(QUICK)} and fewer turns; under 5 minutes")
    args.add_argument("--only", default="", help="rows by id, comma separated; K: all K-...")
    args.add_argument("--turns", type=int, help="pairs of turns per row (21, quick: 9) and point of a chart (5)")
    args.add_argument("--charts", action="store_true", help="measure and draw the charts, too (without --only: do so anyway)")
    args.add_argument("--enforce", action="store_true", help="a missed bar is an error")
    args.add_argument("--out", default=built.FOLDER, help="where results.json goes")
    args = args.parse_args()
    everything = [*WORKS, *OTHERS]
    asked = [[name for name in everything if name == word or (word == "K" and name.startswith("K-"))] or [word]
             for word in args.only.replace(",", " ").split()]
    args.names = [name for names in asked for name in names] or (QUICK if args.quick else everything)
    args.everything = not (args.only or args.quick)
    if unknown := set(args.names) - set(everything):
        sys.exit(f"no such row: {', '.join(sorted(unknown))}; there are {' '.join(everything)}")
    return args


def main():
    args = arguments()
    if os.geteuid() or CORE not in os.sched_getaffinity(0) or 0 not in os.sched_getaffinity(0):
        sys.exit(f"the bench needs root and cores 0 (control) and {CORE} (measured)")
    windows.need_programs("dpdk-testpmd", "rustc", "cargo", "cc", "ovs-vsctl")
    if not importlib.util.find_spec("scapy"):
        sys.exit(f"{sys.executable} has no scapy, which builds the frames that must come out: run this with /usr/bin/python3")
    found = facts()
    print(", ".join(f"{key} {value}" for key, value in found.items()))
    with Lab() as lab:
        windows.prioritise_harness(lab, CORE)
        calibrator = windows.Calibrator(lab, CORE)
        turns = args.turns or (9 if args.quick else 21)
        print(rows.heading(), flush=True)
        results = run(measures_of(args.names, turns, calibrator, args.quick), (args.out, "results.json"))
        found["load_after"] = os.getloadavg()[0]
        report.save(args.out, "facts.json", found)
        drawn, wrong = {}, [row for row in results if "error" in row]
        if args.everything or args.charts:
            drawn, undrawn = draw_sweeps(args.turns or SWEEP_TURNS, calibrator, args.out)
            wrong += undrawn
        if args.everything:
            report.document(os.path.join(DOCS, "performance.md"), found, results, drawn)
    missed = [row["id"] for row in results if row["met"] is False and row not in wrong]
    print(f"ratio: ours to the peer (testpmd io; O1: Open vSwitch), medians of alternated windows of {windows.TURN:g} s on "
          f"core {CORE}. {'Below the bar: ' + ', '.join(missed) + '. ' if missed else 'No bar missed. '}"
          f"Results: {args.out}/results.json")
    if wrong:
        print(f"could not be measured: {', '.join(row['id'] for row in wrong)}")
    return 1 if wrong or (args.enforce and missed) else 0


if __name__ == "__main__":
    sys.exit(main())
