#!/usr/bin/python3
"""`make bench-instructions`: instructions per packet of W1 to W8, against what is committed.

    benches/instructions.py [--update WHY] [--stages]

`benches/path.rs` runs each kind of work under callgrind twice, with more packets
the second time: the difference is the path alone, with the source's copy and
without set-up. The same program gives the same count (to one in a thousand: the
set-up has hash tables with random seeds). Valgrind hides AVX-512, so this is the
AVX2 path. More than 3 % above benches/instructions.json fails; whoever has to
change that file says why in it.

`--stages` shows in whose source file the instructions are; code of the standard
library counts for the file it was inlined into, as far as addresses tell.
"""

import argparse
import collections
import concurrent.futures
import json
import os
import re
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(HERE)
sys.path[:0] = [HERE, os.path.join(REPO, "tests/lab"), os.path.join(REPO, "tests/peers")]

import built  # noqa: E402
import windows  # noqa: E402

BASELINE = os.path.join(HERE, "instructions.json")
RESULT = "instructions.json"
WORKS = ("W1", "W2", "W3", "W4", "W5", "W6e", "W6d", "W7", "W8")
FEW, MANY = 65_536, 5 * 65_536
ALLOWED = 1.03


def by_stage(profile):
    """Instructions of a callgrind file, by the source file they come from."""
    names, stages, stage, callee = {}, collections.Counter(), "other", False
    with open(profile) as file:
        for line in file:
            if found := re.match(r"(c?f[lie])=\((\d+)\)(?: (.*))?", line):
                kind, number, name = found.groups()
                if name:
                    names[number] = name
                if kind[0] != "c":  # not the file of a callee
                    stage = stage_of(names[number]) or (stage if kind != "fl" else "other")
            elif line.startswith("calls="):
                callee = True  # the next line is what the callee took
            elif line[0] in "+-*0123456789":
                if not callee:
                    stages[stage] += int(line.split()[1])
                callee = False
    return stages


def stage_of(file):
    """A short name for a source file; None for the standard library's."""
    if file.startswith("/rust") or "/library/" in file:
        return None
    if file.endswith("benches/path.rs") or "mem" in os.path.basename(file):
        return "source"
    found = re.search(r"src/(?:datapath/)?([\w/]+)\.rs$", file)
    return found.group(1) if found else "other"


def instructions(program, work):
    """Instructions per packet of a kind of work, by stage."""
    counts = []
    with tempfile.TemporaryDirectory() as folder:
        for packets in (FEW, MANY):
            out = os.path.join(folder, str(packets))
            built.command(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}",
                           program, "one", work, str(packets)])
            counts.append(by_stage(out))
    few, many = counts
    return {stage: (many[stage] - few[stage]) / (MANY - FEW) for stage in many}


def count_all():
    """{work: {stage: instructions per packet}}"""
    windows.need_programs("valgrind", "cargo")
    with open("/proc/cpuinfo") as file:
        if " avx2 " not in file.read():
            raise windows.CommandFailed("the baseline is the AVX2 path; this processor has no AVX2")
    program = built.bench("path", "path.rs")
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(WORKS, pool.map(lambda work: instructions(program, work), WORKS)))


def show_stages(counted):
    """A table: stages down, kinds of work across."""
    names = collections.Counter()
    for stages in counted.values():
        names.update(stages)
    print(f"\n{'by source file':24}" + "".join(f"{work:>8}" for work in counted))
    for name, total in names.most_common():
        if total >= 1:
            print(f"{name:24}" + "".join(f"{stages.get(name, 0):8.1f}" for stages in counted.values()))


def compare(totals):
    """Prints the table; works above what is allowed."""
    with open(BASELINE) as file:
        baseline = json.load(file)
    worse = []
    print(f"{'id':6} {'instructions/packet':>20} {'baseline':>10} {'change':>8}")
    for work, total in totals.items():
        before = baseline["per_packet"][work]
        if total > ALLOWED * before:
            worse.append(work)
        print(f"{work:6} {total:20.1f} {before:10.1f} {total / before - 1:+8.1%}{'  MORE' if work in worse else ''}")
    compiler = rustc()
    if compiler != baseline["rustc"]:
        print(f"(the baseline is by {baseline['rustc']}, this by {compiler})")
    return worse


def rustc():
    return built.command(["rustc", "--version"]).strip()


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--update", metavar="WHY", help="write what is counted as the new baseline, and why it changed")
    args.add_argument("--stages", action="store_true", help="show the source files, too")
    args = args.parse_args()
    counted = count_all()
    totals = {work: round(sum(stages.values()), 1) for work, stages in counted.items()}
    with open(os.path.join(built.FOLDER, RESULT), "w") as file:
        json.dump(counted, file, indent=1)
    if args.update:
        with open(BASELINE, "w") as file:
            json.dump({"why": args.update, "rustc": rustc(), "per_packet": totals}, file, indent=1)
            file.write("\n")
    worse = compare(totals)
    if args.stages:
        show_stages(counted)
    if worse:
        print(f"more than {ALLOWED - 1:.0%} above the baseline: {', '.join(worse)}. Find out why; if it has to be, "
              f"commit a new one with its reason: make bench-instructions UPDATE=\"why\"")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
