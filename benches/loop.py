"""Packets at a pace: a source on core 0 sends over memif into a process on core 1.

```text
  core 0   pacer ──memif──▶ process ──memif──▶ pacer      core 1
                                    or net_null, which only counts
```

The pacer (`harness/pacer.c`) sends, receives and keeps the time on one core, with
everything else that runs on it: the process's control threads and this harness.
"""

import json
import os
import subprocess

import built
import frames as work_frames
from lab import wait_for
from peers import Piped

SINK = "net_null0,no-rx=1"
MEMORY_MIB = 128
RING = 12  # 4096 descriptors, what a NIC has at most


class Pacer(Piped):
    """The source. Started first: the process under test connects to it."""

    def __init__(self, lab, work, comes_back, beside=(), back=()):
        self.sockets = [lab.path("memif.sock") for _ in range(2 if comes_back else 1)]
        files = []
        for content in (work.all_frames(), beside, back):
            files.append(lab.path("paced.pcap") if content else "-")
            if content:
                work_frames.write_pcap(files[-1], content)
        while files[-1] == "-":
            files.pop()
        vdevs = [f"--vdev=net_memif{number},role=server,{self._memif(number)}" for number in range(len(self.sockets))]
        super().__init__(lab, "pacer", MEMORY_MIB, [built.pacer(), "--lcores=0@0", "--no-telemetry", *vdevs, "--",
                                                    *files], stdout=subprocess.PIPE)

    def _memif(self, number):
        return f"id=0,socket={self.sockets[number]},socket-abstract=no"

    def device(self, number):
        """The other end, for the process under test."""
        return f"net_memif{number},role=client,{self._memif(number)},rsize={RING}"

    def wait(self):
        """Until the other end is there."""
        line = self.popen.stdout.readline()
        self.check()
        assert line == b"ready\n", line

    def run(self, rate, seconds, every=None, beside=0, gentle=False, then=(0, 0)):
        """Sends; yields what happened in each `every` seconds (or in all of them).
        `then`: (rate, seconds) right after that, without a pause."""
        self.begin(rate, seconds, every or 2 * (seconds + then[1]), beside, gentle, then)
        yield from self.results()

    def begin(self, rate, seconds, every, beside=0, gentle=False, then=(0, 0)):
        """The same without waiting: `results` has them."""
        command = f"run {rate} {seconds} {every} {beside} {int(gentle)} {then[0]} {then[1]}\n"
        self.popen.stdin.write(command.encode())
        self.popen.stdin.flush()

    def results(self):
        for line in self.popen.stdout:
            if line == b"done\n":
                return
            yield json.loads(line)
        self.popen.wait(5)
        self.check()


class Loop:
    """A pacer and a process of the kind `make` between its ends, ready to forward."""

    def __init__(self, lab, work, make, comes_back=True, beside=(), back=()):
        self.pacer = Pacer(lab, work, comes_back, beside, back)
        wait_for("the pacer's sockets", lambda: all(map(os.path.exists, self.pacer.sockets)) or self.pacer.check(), 30)
        self.process = make(lab, work, self.pacer.device(0), self.pacer.device(1) if comes_back else SINK)
        lab.on_close(self.process.thaw)
        self.process.fill()
        self.pacer.wait()
        # The ring has room only once the process polls it. (`sum` reads all that the pacer answers; `any` may not.)
        wait_for(f"{self.process.name} to poll", lambda: not sum(t["refused"] for t in self.pacer.run(10_000, 0.01)))
