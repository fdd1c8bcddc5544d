#!/usr/bin/python3
"""`make run`: the note's example on real packets.

Machine C is Greyhound, machine A a stock Linux kernel with its own GRE, the LAN
host and the Internet are namespaces. Each step prints what it did; with --once
the exit code is 0 only when every step held. Otherwise it stays with live
counters until Ctrl-C. Nothing is left behind either way.
"""

import argparse
import contextlib
import re
import sys
import time

import topology
from greyhound import Greyhound, af_packet, binary, ports_config, reserve_hugepages
from lab import Lab
from topology import A_INNER, B_HOST, C_INNER, Office
from transfer import expect_file, expect_ping

class Steps:
    """Titles, timing and the count of what failed."""

    def __init__(self):
        self.failed = []

    @contextlib.contextmanager
    def step(self, title, vital=False):
        print(f"\n== {title}", flush=True)
        began = time.monotonic()
        try:
            yield
            print(f"   ok ({time.monotonic() - began:.1f} s)", flush=True)
        except Exception as why:
            self.failed.append(title)
            print(indent(f"FAILED: {why}"), flush=True)
            if vital:
                raise


def indent(text):
    return "\n".join("   " + line for line in str(text).rstrip().splitlines())


def demonstrate(lab, steps):
    """The whole demonstration; returns (office, guest A, greyhound C)."""
    with steps.step("wires: LAN, Internet, machine C's two ports", vital=True):
        print(indent(f"hugepages of 2 MB: {reserve_hugepages(lab)}"))
        office = Office(lab).wire_veth()
    with steps.step("machine C: greyhound starts", vital=True):
        print(indent(binary()))
        config = ports_config(en0=af_packet("en0", 0), en1=af_packet("en1", 1))
        c = Greyhound(lab, office.gw, config).start()
    with steps.step("machine C: the note's commands, as typed", vital=True):
        for line in [*topology.C_REAL_INTERFACES, topology.C_PUBLISH, *topology.C_TUNNEL]:
            print(indent(f"# {line}"))
            out = c.note(line)
            if out.strip():
                print(indent(out))
    with steps.step("machine A: a stock Linux kernel boots and opens its end", vital=True):
        a = office.boot_a()
        print(indent(f"{a.sh('uname -sr').strip()} (User Mode Linux), ready in {a.boot_seconds:.1f} s"))
        print(indent(a.sh("ip -d link show gre0; ip -br addr; ip route")))

    outer = lab.capture(office.inet, "toc", "ip proto 47")
    with steps.step(f"ping, A {A_INNER} -> LAN host {B_HOST}"):
        print(indent(expect_ping(a, B_HOST)))
    with steps.step(f"ping, LAN host {B_HOST} -> A {A_INNER}"):
        print(indent(expect_ping(office.lan, A_INNER)))
        print(indent(office.lan.sh(f"ip neigh show {A_INNER}")), "<- C answers ARP for A; en0 has",
              office.gw.mac("en0"))
    with steps.step("outer packets on the Internet side of C, as tcpdump captured them"):
        text = outer.text(limit=4)
        print(indent(text))
        assert "proto GRE (47)" in text, "no GRE packet was captured"
        print(indent(f"{len(outer.packets())} in all"))
    with steps.step("file of 8 MB over TCP, A -> LAN host"):
        print(indent(f"sha256 {expect_file(a, office.lan, B_HOST, port=5001)} on both sides"))
    with steps.step("file of 8 MB over TCP, LAN host -> A"):
        print(indent(f"sha256 {expect_file(office.lan, a, A_INNER, port=5002)} on both sides"))
    with steps.step("traceroute, A -> LAN host: the tunnel is one hop"):
        out = a.sh(f"traceroute -n -q 1 -w 2 {B_HOST}")
        print(indent(out))
        hops = re.findall(r"^\s*\d+\s+(\S+)", out, re.M)
        assert hops == [C_INNER, B_HOST], f"hops {hops}, expected {[C_INNER, B_HOST]}"
    for line in ("ifconfig gre0", "netstat -in"):
        with steps.step(f"machine C: {line}"):
            print(indent(c.note(line)))
    with steps.step("machine C: metrics"):
        print(indent("\n".join(counters(c)) or "none"))
        assert counters(c), "no packet counter of a port or tunnel in /metrics"
    return office, a, c


def counters(c):
    """The lines of /metrics a glance wants: port and tunnel counters that moved."""
    return [line for line in c.metrics().splitlines()
            if re.match(r"greyhound_(port|tunnel)_\w*_total\{", line) and not line.endswith(" 0")]


def stay(office, a, c):
    """Live counters, with a ping a second to have something to count."""
    office.lan.start(f"exec ping -n -i 1 {A_INNER} >/dev/null", "ping")
    a.spawn(f"ping -n -i 1 {B_HOST}")
    print("\nMachine C is up. In another terminal:")
    print(f"  ip netns exec {office.gw.full} {c.binary} --socket {c.socket} show tunnels")
    print(f"  ip netns exec {office.lan.full} ping {A_INNER}")
    print("Ctrl-C ends it.\n")
    while c.proc.alive():
        lines = [time.strftime("%H:%M:%S"), *counters(c)]
        clear = "\033[H\033[J" if sys.stdout.isatty() else ""
        print(clear + "\n".join(lines), flush=True)
        time.sleep(2)
    raise RuntimeError(f"greyhound died:\n{c.log()}")


def main():
    args = argparse.ArgumentParser(description="the note's example set-up on real packets")
    args.add_argument("--once", action="store_true", help="end after the demonstration")
    args = args.parse_args()
    steps = Steps()
    print(topology.__doc__)
    began = time.monotonic()
    c = None
    try:
        with Lab() as lab:
            office, a, c = demonstrate(lab, steps)
            print(f"\n{time.monotonic() - began:.0f} s so far")
            if not args.once:
                with contextlib.suppress(KeyboardInterrupt):
                    stay(office, a, c)
            with steps.step("machine C: SIGTERM, drains and exits 0"):
                c.stop()
            if steps.failed:
                print("\nmachine C's log:\n" + indent("\n".join(c.log().splitlines()[-25:])))
    except KeyboardInterrupt:
        print("\ninterrupted; everything was taken down")
        return 130
    except Exception as why:
        if not steps.failed:
            steps.failed.append(str(why))
    print(f"\n{'FAILED: ' + ', '.join(steps.failed) if steps.failed else 'every step held'}"
          f" ({time.monotonic() - began:.0f} s); nothing is left behind")
    return 1 if steps.failed else 0


if __name__ == "__main__":
    sys.exit(main())
