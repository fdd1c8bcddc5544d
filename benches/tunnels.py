"""T1: a hundred thousand GRE tunnels created one by one over the control socket."""

import json
import time

import frames as work_frames
import loop
import peers
import rows
from lab import Lab

COUNT = 100_000
PART = 1000  # tunnels timed together


def request(number):
    """The change that makes a tunnel, as a line."""
    tunnel = {"name": f"gre{number}", "kind": "gre", "local": work_frames.LOCAL,
              "remote": work_frames.dotted(work_frames.number("10.2.0.1") + number),
              "address": "10.63.0.1", "peer": work_frames.dotted(work_frames.number("10.64.0.1") + number), "link1": True}
    return json.dumps({"version": 1, "method": "transaction",
                       "params": {"ops": [{"op": "put-tunnel", "tunnel": tunnel}]}}).encode() + b"\n"


def resident(pid):
    """Memory of a process in ordinary pages, bytes."""
    with open(f"/proc/{pid}/status") as file:
        return 1024 * sum(int(line.split()[1]) for line in file if line.startswith(("VmRSS:", "HugetlbPages:")))


def measure(_calibrator, quick):
    """The rows."""
    work = work_frames.Work("T1", "tunnels", frames=64)
    with Lab() as lab:
        gateway = peers.Greyhound(lab, work, "net_null1,no-rx=1", loop.SINK)
        lines = [request(number) for number in range(COUNT)]
        before, parts = resident(gateway.pid), []
        for first in range(0, COUNT, PART):
            began = time.perf_counter()
            for line in lines[first:first + PART]:
                gateway.link.write(line)
                gateway.link.flush()
                answer = gateway.link.readline()
                assert b'"error"' not in answer[:100], answer[:500]
            parts.append(time.perf_counter() - began)
        time.sleep(1)  # what is no longer read is given back
        grown = resident(gateway.pid) - before
        made = len([i for i in gateway.call("show-tunnels")])
        assert made == COUNT, f"{made} tunnels instead of {COUNT}"
    cost = [1e6 * part / PART for part in parts]
    early, late = sorted(cost[1:11]), sorted(cost[-10:])
    flat = late[5] / early[5]
    return [rows.figure("T1", f"{COUNT:,} tunnels created one by one", "s", [sum(parts)], 10, "at most"),
            rows.figure("T1-cost", "cost of one, thousand by thousand", "µs", cost),
            rows.figure("T1-flat", "cost of one at 100k over that at 1k to 10k", "times", [flat], 1.25, "at most"),
            rows.figure("T1-memory", "memory of a tunnel, control included", "bytes", [grown / COUNT])]
