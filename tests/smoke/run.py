#!/usr/bin/python3
"""Runs the smoke tests: every function named technote_* or smoke_* in this folder.

    tests/smoke/run.py              all of them
    tests/smoke/run.py t08 restart  those whose name contains a word
    tests/smoke/run.py --list

Each test is its own process, so that one that hangs (300 s) or dies cannot take
the others along; the next process sweeps what it left. Exit code 0 only when
every selected test passed. There is no "skipped".
"""

import argparse
import ast
import glob
import os
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(os.path.dirname(HERE))
LIMIT_SECONDS = 300


def tests():
    """[(file, function, title)] in file order, read without importing."""
    found = []
    for path in sorted(glob.glob(os.path.join(HERE, "*.py"))):
        with open(path) as source:
            tree = ast.parse(source.read(), path)
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith(("technote_", "smoke_")):
                found.append((path, node.name, (ast.get_docstring(node) or "").split("\n")[0]))
    return found


def run_one(path, name):
    """Runs one test in this process (the child's side)."""
    sys.path[:0] = [HERE, os.path.join(REPO, "tests/lab"), os.path.join(REPO, "tests/peers")]
    module = __import__(os.path.basename(path)[:-3])
    getattr(module, name)()


def supervise(path, name):
    """Runs one test in a child; (passed, output)."""
    child = subprocess.Popen([sys.executable, __file__, "--one", path, name], stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, start_new_session=True)
    try:
        out, _ = child.communicate(timeout=LIMIT_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt) as why:
        child.send_signal(signal.SIGTERM)  # the lab cleans up on SIGTERM
        try:
            out, _ = child.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            out, _ = child.communicate()
        if isinstance(why, KeyboardInterrupt):
            print(out)
            raise
        return False, out + f"\nstopped after {LIMIT_SECONDS} s"
    return child.returncode == 0, out


def main():
    args = argparse.ArgumentParser(description="Greyhound smoke tests")
    args.add_argument("words", nargs="*", help="run only tests whose name contains one of these")
    args.add_argument("--list", action="store_true")
    args.add_argument("--one", nargs=2, metavar=("FILE", "TEST"), help=argparse.SUPPRESS)
    args = args.parse_args()
    if args.one:
        return run_one(*args.one)
    chosen = [t for t in tests() if not args.words or any(w in t[1] for w in args.words)]
    if args.list:
        print("\n".join(f"{name:40} {title}" for _, name, title in chosen))
        return 0
    if not chosen:
        sys.exit(f"no smoke test matches {args.words}")
    passed = failed = 0
    for path, name, title in chosen:
        print(f"{name}: {title} ... ", end="", flush=True)
        began = time.monotonic()
        good, out = supervise(path, name)
        passed, failed = passed + good, failed + (not good)
        print(f"{'ok' if good else 'FAILED'} ({time.monotonic() - began:.1f} s)")
        if out.strip():
            print("\n".join("    " + line for line in out.rstrip().splitlines()))
    print(f"smoke: {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
