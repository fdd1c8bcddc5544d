"""The measured processes: Greyhound and what it is measured against.

All run on the same core, with bursts of 64, on an instance of its own of the
same pair of ports.
"""

import contextlib
import glob
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import frames as work_frames
from greyhound import HUGEPAGES, binary
from lab import CommandFailed, wait_for

CORE = 1
# The harness itself keeps off the measured core; what it starts must not inherit that.
BOTH = ["taskset", "-c", f"0,{CORE}"]
BUFFER = 2560        # bytes of a packet buffer with all its headers
SPARE = 16384        # buffers beside those that hold the pcap
BATCH = 20_000       # routes in a transaction (a line has at most 4 MiB)


def buffers(frames):
    """net_pcap with infinite_rx keeps every frame of its file in the pool."""
    return frames + SPARE


def memory_mib(frames):
    return 160 + buffers(frames) * BUFFER // (1 << 20)


def need_hugepages(lab, mib):
    """Has that much free in 2 MB pages until the lab closes, or says why not.

    Called right before each process starts: other labs come and go.
    """
    def pages():
        with open("/proc/meminfo") as file:
            fields = dict(re.findall(r"(HugePages_\w+):\s*(\d+)", file.read()))
        return int(fields["HugePages_Total"]), int(fields["HugePages_Free"])

    def reserve(more):
        with open(HUGEPAGES, "w") as file:
            file.write(str(max(0, pages()[0] + more)))

    wanted = mib // 2 + 8
    total, free = pages()
    if free < wanted:
        more = wanted - free
        lab.on_close(lambda: reserve(-more))
        reserve(more)
        total, free = pages()
    if free < wanted:
        raise CommandFailed(f"{wanted} free pages of 2 MB are needed, the kernel found {free} of {total}: "
                            f"free memory, or reserve {2 * wanted} at boot (hugepages=)")


def forget_eal(prefix):
    """Removes what an EAL that was killed leaves in /var/run."""
    shutil.rmtree(f"/var/run/dpdk/{prefix}", ignore_errors=True)


class Measured:
    """A process with `name`, `pid` and `sent()`: packets its second port took so far."""

    cores = (CORE,)  # of its packet threads

    def counts(self):
        """Packets so far of each packet thread."""
        return [self.sent()]

    def freeze(self):
        os.kill(self.pid, signal.SIGSTOP)
        # The signal is on its way when kill() returns, and each thread stops on its own.
        wait_for(f"{self.name} to stand still", self.stands_still, 5, 0.0005)

    def stands_still(self):
        for path in glob.glob(f"/proc/{self.pid}/task/*/stat"):
            with open(path) as file:
                if file.read().rpartition(") ")[2][0] != "T":
                    return False
        return True

    def thaw(self):
        os.kill(self.pid, signal.SIGCONT)

    def strays(self):
        """Packets it did not forward, by what became of them; none by default."""
        return {}


class Greyhound(Measured):
    """The gateway as a measured process, driven over its control socket."""

    name = "greyhound"
    metrics = "enabled = false"

    def __init__(self, lab, work, source, sink):
        """The source is down until `load` is done."""
        self.work = work
        need_hugepages(lab, memory_mib(work.frames))
        self.path = lab.path("bench.sock")
        neighbours = "\n".join(work_frames.table("neighbour", address=address, port="en1", mac=mac)
                               for address, mac in work.neighbours().items())
        self.start(lab, f"""[dpdk]
workers = {list(self.cores)}
memory = "{memory_mib(work.frames)}M"
hugepages = "on"
buffers = {buffers(work.frames)}
idle = "poll"
[[port]]
name = "en0"
device = "{source}"
mac = "{work_frames.MAC_IN}"
address = {work_frames.toml(work.addresses[0])}
up = false
[[port]]
name = "en1"
device = "{sink}"
mac = "{work_frames.MAC_OUT}"
address = {work_frames.toml(work.addresses[1])}
{neighbours}
{work.config()}
[control]
socket = "{self.path}"
[metrics]
{self.metrics}
""")

    def start(self, lab, text):
        """Starts it with this configuration; back when it answers."""
        config = lab.path("bench.toml")
        with open(config, "w") as file:
            file.write(text)
        self.proc = lab.start("greyhound", [*BOTH, binary(), "run", "-c", config])
        self.number = 0
        wait_for(f"greyhound (its log: {self.proc.log})", lambda: self._connect() or not self.proc.alive(), 90)
        if not self.proc.alive():
            raise CommandFailed(f"greyhound ended:\n{self.proc.text()}")

    def fill(self):
        """The big table, in transactions, while running; then the source may start."""
        started = time.perf_counter()
        for ops in self.work.changes(BATCH):
            self.call("transaction", {"ops": ops})
        self.load_seconds = time.perf_counter() - started
        self.source(up=True)

    def load(self):
        """The same, and back when packets are forwarded."""
        self.fill()
        wait_for("greyhound to forward", lambda: self.sent() > 1000, 10)

    def source(self, up):
        """Lets the source's packets in, or not."""
        self.call("transaction", {"ops": [{"op": "set-interface", "name": "en0", "up": up}]})

    @property
    def pid(self):
        return self.proc.pid

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
        line = self.link.readline()
        if not line:
            raise CommandFailed(f"{method}: greyhound hung up:\n{self.proc.text()}")
        answer = json.loads(line)
        if "error" in answer:
            raise CommandFailed(f"{method}: {answer['error']}")
        return answer["result"]

    def sent(self):
        return next(p for p in self.call("show-ports") if p["name"] == "en1")["tx_packets"]

    def worker(self):
        return self.call("show-workers")[0]

    def strays(self):
        """Packets that were not forwarded so far, by what became of them."""
        drops = self.call("show-drops")
        found = {d["reason"]: d["packets"] for d in drops["drops"] if d["packets"]}
        for origin in drops["origins"]:
            found |= {f"punted {why}": n for why, n in origin["punted"].items() if n}
        return found


class Piped:
    """A DPDK process with its input on a pipe, killed with the lab."""

    def __init__(self, lab, name, mib, argv, stdout=None):
        self.prefix = f"ghbench{os.getpid()}-{lab.serial}"
        need_hugepages(lab, mib)
        eal = ["--in-memory", "--no-pci", "-m", str(mib), "--file-prefix", self.prefix]
        program, *rest = argv
        self.log = lab.path(f"{name}.log")
        with open(self.log, "wb") as out:
            self.popen = subprocess.Popen([*BOTH, program, *eal, *rest], stdin=subprocess.PIPE, stdout=stdout or out,
                                          stderr=out, start_new_session=True)
        lab.on_close(self.stop)

    def check(self):
        """Raises with its log when it has ended."""
        if self.popen.poll() is not None:
            with open(self.log, errors="replace") as text:
                raise CommandFailed(f"{self.popen.args[3]} ended:\n{text.read()}")

    @property
    def pid(self):
        return self.popen.pid

    def stop(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()
        forget_eal(self.prefix)


class Testpmd(Piped, Measured):
    """dpdk-testpmd in io mode, which looks at no packet; read over its telemetry socket."""

    name = "testpmd"

    def __init__(self, lab, work, source, sink):
        lcores = ",".join(f"{number}@{core}" for number, core in enumerate((0, *self.cores)))
        # An open pipe as input: at its end testpmd would quit.
        super().__init__(lab, "testpmd", memory_mib(work.frames), [
            "dpdk-testpmd", "--lcores", lcores, "--vdev", source, "--vdev", sink,
            "--", "-i", "--auto-start", *self.options(), "--forward-mode=io", "--burst=64", "--mbcache=512",
            f"--nb-cores={len(self.cores)}", f"--total-num-mbufs={buffers(work.frames)}", "--no-flush-rx",
            "--txd=1024", "--rxd=1024"])
        wait_for(f"testpmd (its log: {self.log})", lambda: self._connect() or self.popen.poll() is not None, 90)
        self.check()

    def options(self):
        return []

    def fill(self):
        """It has no tables."""

    def load(self):
        wait_for("testpmd to forward", self.sent, 30)

    def _connect(self):
        try:
            self.link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self.link.connect(f"/var/run/dpdk/{self.prefix}/dpdk_telemetry.v2")
            self.link.recv(16384)
            return True
        except OSError:
            return False

    def stats(self):
        self.link.send(b"/ethdev/stats,1")
        return json.loads(self.link.recv(16384))["/ethdev/stats"]

    def sent(self):
        stats = self.stats()
        return stats["opackets"] if stats else 0
