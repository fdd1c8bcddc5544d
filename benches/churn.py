"""Route changes while packets flow: as fast as control takes them (row `Z0`), or so many a second (`Z1`).

A process of its own sends transactions over the control socket, and is stopped
and continued with the gateway. Every prefix of a part of the big table gets
another tunnel, a longer prefix inside, which goes again, and its first tunnel
back; no packet may be lost by any of that.
"""

import json
import multiprocessing
import os
import signal
import socket
import time

from frames import HOP_MAC, LOCAL, dotted
from peers import Measured

PREFIXES = 4000   # of the table, over and over
TRANSACTION = 100  # prefixes in one
LATEST = 0.05     # seconds of changes that are caught up with


def put(to, length, target):
    return {"op": "put-route", "route": {"to": f"{dotted(to)}/{length}", "target": target}}


def changes(work):
    """The transactions of one time round, ready to send: [(bytes, changes)]."""
    lines = []
    for first in range(0, PREFIXES, TRANSACTION):
        part = [(place, *work.table[place]) for place in range(first, first + TRANSACTION)]
        steps = (
            [put(network, length, work.target(place + 1)) for place, network, length in part],
            [put(network, length + 2, work.target(place)) for place, network, length in part],
            [{"op": "delete-route", "to": f"{dotted(network)}/{length + 2}"} for _, network, length in part],
            [put(network, length, work.target(place)) for place, network, length in part],
        )
        for ops in steps:
            line = json.dumps({"version": 1, "method": "transaction", "params": {"ops": ops}})
            lines.append((line.encode() + b"\n", len(ops)))
    return lines


def others(work):
    """Transactions that are no route changes: tunnels come and go, and the next hop
    of all tunnels gets another MAC address."""
    def line(*ops):
        return json.dumps({"version": 1, "method": "transaction", "params": {"ops": ops}}).encode() + b"\n", 0

    remote = dotted(work.remote(work.tunnels))
    tunnel = {"name": f"gre{work.tunnels}", "kind": "gre", "local": LOCAL, "remote": remote}
    macs = [line({"op": "put-neighbour", "neighbour": {"address": "10.0.1.3", "port": "en1", "mac": HOP_MAC.format(n)}})
            for n in (4, 3)]
    come_and_go = [line({"op": "put-tunnel", "tunnel": tunnel}), line({"op": "destroy", "name": tunnel["name"]})]
    return come_and_go * 4 + macs[:1] + come_and_go * 4 + macs[1:]


def churn(path, lines, done, refused, per_second=None):
    """Sends them over and over until killed; counts what was done."""
    link = socket.socket(socket.AF_UNIX)
    link.connect(path)
    link = link.makefile("rwb")
    due = time.perf_counter()
    while True:
        for line, count in lines:
            link.write(line)
            link.flush()
            answer = link.readline()
            if b'"error"' in answer[:200]:
                refused.value = answer[:1000]
                return
            done.value += count
            if per_second:
                due = max(due + count / per_second, time.perf_counter() - LATEST)
                time.sleep(max(0, due - time.perf_counter()))


class Churning(Measured):
    """A gateway under churn, as a process to measure: the same one as at rest."""

    name = "greyhound under churn"

    def __init__(self, lab, gateway):
        self.gateway, self.seconds = gateway, 0.0
        self.done = multiprocessing.Value("Q", lock=False)
        self.refused = multiprocessing.Array("c", 1001, lock=False)
        self.process = multiprocessing.Process(target=churn, daemon=True,
                                               args=(gateway.path, changes(gateway.work), self.done, self.refused))
        self.process.start()
        self._signal(signal.SIGSTOP)
        lab.on_close(self.process.kill)

    @property
    def pid(self):
        return self.gateway.pid

    def sent(self):
        return self.gateway.sent()

    def thaw(self):
        super().thaw()
        self._signal(signal.SIGCONT)
        self.since = time.perf_counter()

    def freeze(self):
        self._signal(signal.SIGSTOP)
        self.seconds += time.perf_counter() - self.since
        super().freeze()

    def _signal(self, number):
        os.kill(self.process.pid, number)

    def changes_per_second(self):
        """While it ran; raises if a change was refused."""
        assert not self.refused.value, f"a change was refused: {self.refused.value.decode()}"
        return self.done.value / self.seconds
