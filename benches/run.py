#!/usr/bin/python3
"""`make bench`: Greyhound beside dpdk-testpmd on the very same ports, one core.

Source net_pcap (infinite_rx) with distinct 64-byte frames, sink net_null. Both
processes live on one core and take turns of a tenth of a second (SIGSTOP and
SIGCONT), since whoever shares the physical core moves absolute numbers by 1.8:
each turn of ours is compared with the turn of testpmd next to it, and the
median of these ratios is the result. testpmd only moves packets (io); we check,
look up, wrap and count them. First a sample of the output is compared with what
scapy builds, through the same binary and configuration.

    benches/run.py [--quick] [--only W1,W5] [--turns 21]
"""

import argparse
import contextlib
import json
import os
import platform
import re
import signal
import socket
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(HERE)
sys.path[:0] = [HERE, os.path.join(REPO, "tests/lab"), os.path.join(REPO, "tests/peers")]

import frames as work_frames  # noqa: E402
from greyhound import binary, reserve_hugepages  # noqa: E402
from lab import Lab, wait_for  # noqa: E402

CORE = 1 if (os.cpu_count() or 1) > 1 else 0
TURN = 0.1
SAMPLE = 48
PAGES = 1024


class Greyhound:
    """The gateway as a measured process, driven over its control socket."""

    def __init__(self, lab, work, source, sink):
        self.path = lab.path("bench.sock")
        config = lab.path("bench.toml")
        buffers = work.frames + 16384
        memory = 128 + buffers * 2560 // (1 << 20)
        neighbours = "\n".join(f'[[neighbour]]\naddress = "10.0.1.{n}"\nport = "en1"\n'
                               f'mac = "{work_frames.HOP_MAC.format(n)}"' for n in range(2, 10))
        with open(config, "w") as file:
            file.write(f"""[dpdk]
workers = [{CORE}]
memory = "{memory}M"
buffers = {buffers}
idle = "poll"
[[port]]
name = "en0"
device = "{source}"
mac = "{work_frames.MAC_IN}"
address = ["10.0.0.1/24"]
[[port]]
name = "en1"
device = "{sink}"
mac = "{work_frames.MAC_OUT}"
address = ["10.0.1.1/24"]
{neighbours}
{work.config()}
[control]
socket = "{self.path}"
[metrics]
enabled = false
""")
        self.proc = lab.start("greyhound", [binary(), "run", "-c", config])
        self.number = 0
        wait_for(f"greyhound\n{self.proc.text()}", lambda: self._connect() or not self.proc.alive(), 60)
        if not self.proc.alive():
            raise RuntimeError(f"greyhound ended:\n{self.proc.text()}")

    def _connect(self):
        try:
            link = socket.socket(socket.AF_UNIX)
            link.connect(self.path)
            self.link = link.makefile("rwb")
            return True
        except OSError:
            return False

    def call(self, method, params=None):
        self.number += 1
        request = {"version": 1, "id": self.number, "method": method}
        self.link.write(json.dumps(request | ({"params": params} if params else {})).encode() + b"\n")
        self.link.flush()
        answer = json.loads(self.link.readline())
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def sent(self):
        return next(p for p in self.call("show-ports") if p["name"] == "en1")["tx_packets"]

    def cycles(self):
        """(busy ticks, packets) of the worker's loop so far."""
        worker = self.call("show-workers")[0]
        return worker["ticks_per_packet"] * worker["packets"], worker["packets"]

    def dropped(self):
        return {d["reason"]: d["packets"] for d in self.call("show-drops")["drops"]}


class Testpmd:
    """dpdk-testpmd in io mode on its own instance of the same ports."""

    def __init__(self, lab, work, source, sink):
        self.log = lab.path("testpmd.log")
        buffers = work.frames + 16384
        argv = ["dpdk-testpmd", "--lcores", f"0@0,1@{CORE}", "--in-memory", "--no-pci", "--no-telemetry",
                "--file-prefix", f"ghbench{os.getpid()}", "--vdev", source, "--vdev", sink, "--", "-i",
                "--forward-mode=io", "--burst=64", f"--total-num-mbufs={buffers}", "--mbcache=512",
                "--nb-cores=1", "--no-flush-rx", "--txd=1024", "--rxd=1024"]
        self.popen = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                      start_new_session=True)
        lab.on_close(self.stop)
        self.until("testpmd> ")
        self.say("start")

    @property
    def pid(self):
        return self.popen.pid

    def until(self, mark):
        text = b""
        while not text.endswith(mark.encode()):
            byte = os.read(self.popen.stdout.fileno(), 65536)
            if not byte:
                raise RuntimeError(f"testpmd ended:\n{text.decode(errors='replace')}")
            text += byte
        return text.decode(errors="replace")

    def say(self, line):
        self.popen.stdin.write(line.encode() + b"\n")
        self.popen.stdin.flush()
        return self.until("testpmd> ")

    def sent(self):
        return int(re.search(r"TX-packets:\s*(\d+)", self.say("show port stats 1")).group(1))

    def stop(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()


def priority(pid):
    """Ahead of everything else on this machine while measured."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, -20)
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/autogroup", "w") as file:
            file.write("-20")


def turn(peer, pid):
    """Packets per second of one turn; the process runs only meanwhile."""
    os.kill(pid, signal.SIGCONT)
    try:
        time.sleep(0.01)
        marks = []
        for pause in (TURN, 0):
            before = time.perf_counter()
            count = peer.sent()
            marks.append((count, (before + time.perf_counter()) / 2))
            time.sleep(pause)
        (first, began), (last, ended) = marks
        return (last - first) / (ended - began)
    finally:
        os.kill(pid, signal.SIGSTOP)


def measure(work, turns):
    """One row: ratios of neighbouring turns, rates, the worker's own cycles."""
    with Lab() as lab:
        source = lab.path(f"{work.name}.pcap")
        work_frames.write_pcap(source, work.all_frames())
        rx, sink = f"net_pcap0,rx_pcap={source},infinite_rx=1", "net_null0,no-rx=1"
        ours, theirs = Greyhound(lab, work, rx, sink), None
        os.kill(ours.proc.pid, signal.SIGSTOP)
        theirs = Testpmd(lab, work, rx, sink)
        os.kill(theirs.pid, signal.SIGSTOP)
        for pid in (ours.proc.pid, theirs.pid):
            priority(pid)
        rates, ratios = [], []
        lab.on_close(lambda: [os.kill(p, signal.SIGCONT) for p in (ours.proc.pid, theirs.pid)])
        for number in range(turns + 1):
            pair = {}
            for peer, pid in ((ours, ours.proc.pid), (theirs, theirs.pid))[::1 if number % 2 else -1]:
                pair[peer] = turn(peer, pid)
            if number:  # the first pair warms caches up
                rates.append((pair[ours], pair[theirs]))
                ratios.append(pair[ours] / pair[theirs])
        os.kill(ours.proc.pid, signal.SIGCONT)
        (ticks, packets), dropped = ours.cycles(), ours.dropped()
        assert not dropped, f"{work.name}: the gateway dropped {dropped}"
        return {
            "id": work.name, "title": work.title, "unit": "ratio to testpmd io",
            "median": statistics.median(ratios), "min": min(ratios), "max": max(ratios),
            "mpps": statistics.median(r[0] for r in rates) / 1e6,
            "peer_mpps": statistics.median(r[1] for r in rates) / 1e6,
            "ticks_per_packet": ticks / packets, "turns": turns,
        }


def check_sample(work):
    """The first frames through the same configuration into a pcap file: byte
    for byte what scapy builds, apart from the id of datagrams that no router
    may cut (RFC 6864), whose checksum scapy computes for ours."""
    from scapy_quiet import IP, rdpcap
    with Lab() as lab:
        wanted = work.all_frames()[:SAMPLE]
        source, sink = lab.path("sample.pcap"), lab.path("out.pcap")
        work_frames.write_pcap(source, wanted)
        ours = Greyhound(lab, work, f"net_pcap0,rx_pcap={source}", f"net_pcap1,tx_pcap={sink}")
        wait_for("the sample", lambda: sum(o["received"] for o in ours.call("show-drops")["origins"]) >= SAMPLE, 10)
        ours.proc.stop()
        got = [bytes(p) for p in rdpcap(sink)] if os.path.getsize(sink) > 24 else []
        return got, [work.expected(f) for f in wanted], IP


def facts():
    with open("/proc/cpuinfo") as file:
        text = file.read()
    model = re.search(r"model name\s*: (.*)", text)
    mhz = re.search(r"cpu MHz\s*: (.*)", text)
    dpdk = subprocess.run(["pkg-config", "--modversion", "libdpdk"], capture_output=True, text=True).stdout.strip()
    return {"cpu": model.group(1) if model else platform.machine(), "mhz": mhz.group(1) if mhz else "?",
            "cores": os.cpu_count(), "avx512": " avx512f " in text, "kernel": platform.release(), "dpdk": dpdk,
            "binary": binary(), "core": CORE, "turn_seconds": TURN}


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--quick", action="store_true", help="four rows and fewer turns")
    args.add_argument("--only", default="", help="rows by name, comma separated")
    args.add_argument("--turns", type=int, help="pairs of turns per row (21)")
    args = args.parse_args()
    turns = args.turns or (9 if args.quick else 21)
    chosen = set(filter(None, args.only.split(",")))
    results = []
    with Lab() as lab:
        reserve_hugepages(lab, PAGES)
        print(json.dumps(facts()))
        print(f"{'':4} {'work':42} {'ratio':>6} {'[min, max]':>15} {'Mpps':>6} {'io':>6} {'ns':>6} {'ticks':>6}")
        for work in work_frames.works(args.quick):
            if chosen and work.name not in chosen:
                continue
            row = measure(work, turns)
            results.append(row)
            span = f"[{row['min']:.2f}, {row['max']:.2f}]"
            print(f"{row['id']:4} {row['title']:42} {row['median']:6.2f} {span:>15} {row['mpps']:6.1f} "
                  f"{row['peer_mpps']:6.1f} {1e3 / row['mpps']:6.1f} {row['ticks_per_packet']:6.0f}", flush=True)
    folder = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(REPO, "target")), "bench")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "results.json"), "w") as file:
        json.dump(results, file, indent=1)
    print(f"also in {folder}/results.json")
    return 0 if results else 1


if __name__ == "__main__":
    sys.exit(main())
