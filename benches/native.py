"""The Rust benches' rows: P1 and R1 of benches/path.rs, F1 to F3 of benches/fib."""

import json
import os
import re
import tempfile

import built
import peers
import rows

ALONE = ["nice", "-n", "-20"]
PATH_BARS = {"W1": 50, "W2": 62, "W3": 55, "W4": 65, "W5": 80, "W7": 70, "W8": 90, "W8M": 105}
ROUNDS, QUICK_ROUNDS = 21, 7
FRAGMENTS = 500_000  # a second, of each worker
# What a line of benches/fib is about, and what that makes of its id.
FIB_IDS = (("ours", ""), ("scalar", "-scalar"), ("AVX-512", "-avx512"), ("changes beside a reader", ""),
           ("lookups without changes", "-lookups"), ("writer idle before", "-loss"),
           ("writer busy elsewhere before", "-loss-beside"), ("reading routes_file", "-read"),
           ("one transaction", "-transaction"), ("file to forwarding", ""), ("memory of it", "-memory-control"),
           ("the table alone", "-alone"), ("memory that both tables", "-memory"))
FIB_BARS = {"ratio": "ratio at most", "none": None}


def _path(*args):
    """What benches/path.rs prints, run on the measured core."""
    return built.command(["taskset", "-c", str(peers.CORE), *ALONE, built.bench("path", "path.rs"), *args])


def path(_calibrator, quick):
    """P1: the stages between rx and tx, in process."""
    out = _path(str(QUICK_ROUNDS if quick else ROUNDS))
    found = re.findall(r"^(W\w+) +(.+?) +([\d.]+) \[ *([\d.]+)- *([\d.]+)\]", out, re.MULTILINE)
    assert found, f"no row in what benches/path.rs printed:\n{out}"
    adds = float(re.search(r"adds per tick: median ([\d.]+)", out).group(1))
    return [rows.figure(f"P1-{work}", f"path alone: {title}", "clk", [float(low), float(middle), float(high)],
                        PATH_BARS.get(work), "at most", adds_per_tick=adds)
            for work, title, middle, low, high in found]


def reassembly(_calibrator, quick):
    """R1: fragments a second that one worker puts together, in process."""
    out = _path("reassembly", str(QUICK_ROUNDS if quick else ROUNDS))
    found = re.findall(r"^R\d IPv(\d) (\d+) \[(\d+)-(\d+)\]", out, re.MULTILINE)
    assert len(found) == 2, f"no two rows in what benches/path.rs printed:\n{out}"
    return [rows.figure(f"R1-v{family}", f"reassembly, IPv{family}: GRE packets of 1500 in two pieces", "fragments/s",
                        [float(low), float(middle), float(high)], FRAGMENTS, "at least")
            for family, middle, low, high in found]


def stages(quick):
    """{work: {stage: ticks per packet}}, frees included."""
    head, *lines = _path("stages", str(QUICK_ROUNDS if quick else ROUNDS)).splitlines()
    names = head.split()[1:]
    return {work: dict(zip(names, map(float, ticks))) for work, *ticks in map(str.split, lines)}


def _fib_row(line):
    """A row from a line of benches/fib."""
    what, number = line["what"], line["id"]
    suffix = next(suffix for words, suffix in FIB_IDS if words in what)
    family = re.search("IP(v[46])", what)
    if family and (number != "F3" or suffix == "-alone"):
        number += "-" + family.group(1)
    row = {key: line[key] for key in ("unit", "median", "min", "max", "peer_median", "ratio", "bar")}
    return rows.judge({"id": number + suffix, "title": what, "bar_id": line["id"] if line["bar"] else None,
                       "bar_is": FIB_BARS.get(line["bar_is"], line["bar_is"])} | row)


def fib(*parts):
    """What measures these parts of benches/fib."""
    def measure(_calibrator, _quick):
        program = built.bench("fib", "fib/main.rs")
        with tempfile.TemporaryDirectory() as folder:  # it adds lines to a file below
            built.command([*peers.BOTH, *ALONE, program, *parts], cwd=folder)
            with open(os.path.join(folder, "target/bench/fib.json")) as file:
                return [_fib_row(json.loads(line)) for line in file]
    return measure
