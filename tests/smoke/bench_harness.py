"""The bench judges others, so it is judged here: does it see wrong output, and
does it measure a row from end to end?"""

import json
import os
import subprocess
import sys

from lab import REPO, Lab

BENCHES = os.path.join(REPO, "benches")
sys.path.insert(0, BENCHES)

KEYS = {"id", "unit", "median", "min", "max", "peer_median", "ratio", "bar", "met"}


def smoke_bench_samples():
    """the bench's samples equal scapy's frames, and a wrong one is seen"""
    import frames
    import kinds
    import run

    every = [kinds.KindWork(work.name, work.around, work.decap, min(work.tunnels, 16), 256) for work in kinds.WORKS]
    for work in [*every, every[0].plain]:
        run.check_sample(work)
    for work in (frames.Work("W5", "decap", frames.GRE, 16, decap=True, frames=256),
                 frames.Work("W8", "routes", frames.GRE, 16, prefixes=500, frames=256)):
        run.check_sample(work)

    class Wrong(frames.Work):
        """Expects every tunnel but the right one."""

        def remote(self, tunnel):
            return super().remote(tunnel) ^ self.off

    work = Wrong("W3", "encap", frames.GRE, 16, frames=256)
    work.off, honest = 0, work.expected
    work.expected = lambda frame, ident: (setattr(work, "off", 1), honest(frame, ident), setattr(work, "off", 0))[1]
    try:
        run.check_sample(work)
    except AssertionError as seen:
        assert "differs" in str(seen), seen
    else:
        raise AssertionError("the bench took a packet into the wrong tunnel for right")


def smoke_bench_pacer():
    """the paced source loses nothing at a running gateway, and sees what a stopped one loses"""
    import frames
    import loop
    import peers

    work = frames.Work("W2", "encap", frames.GRE, 1, frames=256)
    with Lab() as lab:
        one = loop.Loop(lab, work, peers.Greyhound)
        (seen,) = one.pacer.run(20_000, 0.5)
        # The last of the hundred that tried the loop before may come back only now.
        late = seen["received"] - seen["sent"]
        assert seen["sent"] > 5000 and seen["refused"] == 0 and 0 <= late <= 100, seen
        assert seen["reordered"] == 0 and 0 < seen["p50"] <= seen["p99"] <= seen["most"], seen
        assert one.process.strays() == {}
        one.process.freeze()
        (seen,) = one.pacer.run(20_000, 0.5)
        one.process.thaw()
        # Its ring takes 4096; what was on its way back before is all that comes.
        assert seen["received"] <= 100 and seen["sent"] <= 4096 + 100 and seen["refused"] > 900, seen


def smoke_bench_rfc2544():
    """the trials of RFC 2544 find a rate that loses nothing, one way and both ways, and a restart's silence"""
    def row(*how):
        with Lab() as lab:
            out = os.path.join(lab.dir, "rfc2544.json")
            done = subprocess.run([sys.executable, os.path.join(BENCHES, "rfc2544.py"), "--quick", "--sizes", "64",
                                   "--seconds", "0.1", "--json", out, *how], capture_output=True, text=True, timeout=200)
            assert done.returncode == 0, done.stdout + done.stderr
            with open(out) as file:
                (row,) = json.load(file)["rows"]
        assert row["one way"]["rate"] > 50_000, row
        return row

    assert row("--only", "dual", "--tests", "throughput both")["both ways"]["rate"] > 50_000
    seen = row("--only", "gre", "--tests", "throughput latency loss burst recovery reset")["one way"]
    assert seen["loss"] and seen["burst"]["trials"] and seen["latency"]["mean"] > 0, seen
    assert seen["recovery"]["overload"] >= seen["rate"], seen
    # Ending takes a while; frames come again after it.
    assert all(1 < silence < 3000 for silence in seen["reset"].values()), seen


def smoke_bench_row():
    """a row is measured beside testpmd, one beside plain GRE, and both are written down"""
    with Lab() as lab:
        done = subprocess.run([sys.executable, os.path.join(BENCHES, "run.py"), "--only", "W2 K-gre6-d", "--turns", "1",
                               "--out", lab.dir], capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stdout + done.stderr
        with open(os.path.join(lab.dir, "results.json")) as file:
            rows = json.load(file)
    assert [row["id"] for row in rows] == ["W2", "K-gre6-d"], rows
    for row in rows:
        assert KEYS <= set(row), row
        assert row["median"] > 0.1 and 0 < row["ratio"] < 2, row
