#!/usr/bin/python3
"""Licences of all dependencies against deny.toml, where cargo-deny is not at hand.

An SPDX expression passes when its OR / AND terms leave an allowed choice.
"""

import json
import re
import subprocess
import sys
import tomllib


def allowed(expression, allow):
    """Whether an SPDX expression ("/" is the old spelling of OR) can be met from `allow`."""
    spaced = re.sub(r"([()])", r" \1 ", expression.replace("/", " OR "))
    terms = re.split(r"\s*(\(|\)|\bOR\b|\bAND\b)\s*", spaced)
    logic = [t.lower() if t in ("(", ")", "OR", "AND") else str(t in allow) for t in map(str.strip, terms) if t]
    return bool(logic) and eval(" ".join(logic), {"__builtins__": {}})  # only True False and or ( )


def main():
    with open("deny.toml", "rb") as file:
        allow = set(tomllib.load(file)["licenses"]["allow"])
    run = subprocess.run(["cargo", "metadata", "--format-version", "1", "--locked", "--all-features"],
                         capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(run.stderr)
    packages = json.loads(run.stdout)["packages"]
    bad = [f"{p['name']} {p['version']}: {p['license']}" for p in packages
           if not allowed(p["license"] or "", allow)]
    for line in bad:
        print(f"licence not in deny.toml: {line}")
    foreign = [f"{p['name']}: {p['source']}" for p in packages
               if p["source"] and not p["source"].startswith("registry+https://github.com/rust-lang/crates.io-index")]
    for line in foreign:
        print(f"source is not crates.io: {line}")
    print(f"{len(packages)} packages checked")
    return 1 if bad or foreign else 0


if __name__ == "__main__":
    sys.exit(main())
