#!/usr/bin/python3
"""Writes every pcap case under tests/cases from what its function says.

Packets come from scapy, so what Greyhound has to send is never Greyhound's own
output. The files are committed; `--check` (run by the tests) makes them again
and fails if a single byte differs.

    tests/cases/generate.py            write all cases
    tests/cases/generate.py --check    compare with what is there
    tests/cases/generate.py NAME...    write these
"""

import argparse
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path[:0] = [str(HERE), str(HERE.parent / "lab")]

import scapy_quiet  # noqa: E402,F401
from gen import (  # noqa: E402
    arp, changes, door, ecmp, far_ends, filter, forward, fragments, icmp, kit, limit, liveness, matrix,
    minimal, mss, multipoint, options, refused, relay, six, six_mtu, six_tunnels, tunnels, udp,
)

assert all((arp, changes, door, ecmp, far_ends, filter, forward, fragments, icmp, minimal, mss, multipoint))
assert all((options, limit, liveness, matrix, refused, relay, six, six_mtu, six_tunnels, tunnels, udp))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="cases; default: all")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    args = parser.parse_args()
    names = [name for name, *_ in kit.CASES]
    assert len(names) == len(set(names)), "two cases share a name"
    unknown = set(args.names) - set(names)
    if unknown:
        sys.exit(f"no such case: {', '.join(sorted(unknown))}")
    chosen = [one for one in kit.CASES if not args.names or one[0] in args.names]
    made = [kit.make(*one) for one in chosen]
    problems = check(made, names) if args.check else write(made, names)
    for problem in problems:
        print(problem, file=sys.stderr)
    sys.exit(1 if problems else 0)


def folders():
    return {path.name for path in HERE.iterdir() if path.is_dir()} - {"gen", "__pycache__"}


def write(made, names):
    for one in made:
        kit.write(one, HERE)
    for stale in folders() - set(names):
        shutil.rmtree(HERE / stale)
    return []


def check(made, names):
    problems = [f"{name}: no function makes this case" for name in sorted(folders() - set(names))]
    if len(made) == len(names):
        problems += matrix.missing(made)
    for one in made:
        folder = HERE / one.name
        files = one.files()
        there = {path.name: path.read_bytes() for path in folder.glob("*")}
        for name in sorted(files.keys() | there.keys()):
            if files.get(name) != there.get(name):
                problems.append(f"{one.name}/{name}: not what generate.py writes")
    return problems


if __name__ == "__main__":
    main()
