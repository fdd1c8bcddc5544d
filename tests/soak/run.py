#!/usr/bin/python3
"""`make soak`: all tunnel types at once through one gateway, for ten minutes, while its tables change.

    tests/soak/run.py [--seconds 600]

Two raw sockets on the kernel's ends of its ports send IMIX through every encapsulation,
IPv4 and IPv6 inside, both ways, in fragments, and what has to be dropped
(`flows.py`). Meanwhile routes flap, a tunnel comes and goes, the router changes its MAC
address, hosts ask by ARP, and the metrics are read. No more is sent than the gateway has
taken in, so nothing is lost on the way there, and at the end every counter must be what
the sum over the packets says: none more, none less. Memory, buffers and the numbers of
interfaces must be where they were.

The judge is judged, too: a packet that nobody announced, and each kind of deviation.
"""

import argparse
import collections
import copy
import ctypes
import itertools
import json
import multiprocessing
import os
import random
import re
import socket
import struct
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE] + [os.path.join(REPO, f) for f in ("tests/lab", "tests/smoke", "tests/peers", "benches")]

import churn  # noqa: E402
import flows as soak_flows  # noqa: E402
from flows import EN0_MAC, EN1_MAC, FLAPPING, FLAPPING_NET, HOP_MACS, HOST4, HOST6, HOST_MAC, PASSING, PASSING_NET, TUNNELS  # noqa: E402
from greyhound import Greyhound, reserve_hugepages, samples  # noqa: E402
from lab import Lab, Timeout, shell, wait_for  # noqa: E402

AHEAD = 200             # frames sent before the gateway is asked how far it is; a tap holds 500
CHANGES = 500           # a second
MOST_GROWN = 4 << 20    # bytes of memory, from a quarter of the time on
NUMBERS = 64            # interfaces beyond those there are: as many as wait for a worker
CLONE_NEWNET = 0x40000000


def toml(section, keys):
    return f"[[{section}]]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in keys.items())


def config():
    """The gateway with all tunnels. Its ports are taps, since the kernel puts the fragments of IPv4 together
    before net_af_packet sees them."""
    parts = ['[dpdk]\nworkers = [1]\nidle = "adaptive"\nmemory = "256M"\n[icmp]\nerror_rate = 100000\nerror_burst = 10000\n']
    for number, (mac, addresses) in enumerate(((EN0_MAC, ["10.0.0.1/24", "2001:db8::1/64"]),
                                               (EN1_MAC, ["203.0.113.1/24", "2001:db8:ff::1/64"]))):
        parts.append(toml("port", {"name": f"en{number}", "device": f"net_tap{number},iface=en{number}", "mac": mac,
                                   "address": addresses}))
    for address, mac in ((HOST4, HOST_MAC), (HOST6, HOST_MAC), ("203.0.113.254", HOP_MACS[0]),
                         ("2001:db8:ff::fe", HOP_MACS[0])):
        parts.append(toml("neighbour", {"address": address, "mac": mac}))
    parts += [toml("tunnel", tunnel.spec()) for tunnel in (*TUNNELS, *FLAPPING)]
    routes = {to: {"interface": tunnel.name} for tunnel in TUNNELS for to in tunnel.routes()}
    routes |= {"default": {"via": "203.0.113.254"}, "::/0": {"via": "2001:db8:ff::fe"},
               FLAPPING_NET: {"interface": FLAPPING[0].name}, PASSING_NET: {"blackhole": True}}
    return "\n".join([*parts, *(toml("route", {"to": to, **target}) for to, target in routes.items())])


class Link:
    """The control socket, without a process for each question."""

    def __init__(self, path):
        link = socket.socket(socket.AF_UNIX)
        link.connect(path)
        self.file, self.number = link.makefile("rwb"), 0

    def call(self, method, **params):
        self.number += 1
        request = {"version": 1, "id": self.number, "method": method, **({"params": params} if params else {})}
        self.file.write(json.dumps(request).encode() + b"\n")
        self.file.flush()
        answer = json.loads(self.file.readline())
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]


def raw_socket(space, device):
    """A socket that sends frames on a device of a namespace, and receives none."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/net") as here, open(f"/var/run/netns/{space.full}") as there:
        assert libc.setns(there.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        try:
            link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            link.bind((device, 0))
        finally:
            assert libc.setns(here.fileno(), CLONE_NEWNET) == 0
    return link


class Source:
    """Sends rounds of frames, as fast as the gateway takes them in."""

    def __init__(self, space, link):
        self.space, self.link = space, link
        self.sockets = {port: raw_socket(space, port) for port in ("en0", "en1")}
        self.sent, self.expected = collections.Counter(), collections.Counter()
        self.order, self.began = random.Random(4), None
        flows = soak_flows.all_flows()
        # Mixed, but each flow's packets in order: a burst holds all kinds.
        self.round = [flow for flow in flows for _ in range(flow.weight)]
        self.refused = {id(flow) for flow in flows if any(name.startswith("drop.") for name in flow.does)}
        self.hosts = itertools.cycle(range(2, 150))

    def rounds(self, deadline):
        """Sends until the deadline; how many rounds."""
        count = 0
        while time.monotonic() < deadline:
            self.one_round()
            count += 1
        return count

    def one_round(self):
        self.order.shuffle(self.round)
        for start in range(0, len(self.round), AHEAD // 2):
            for flow in self.round[start:start + AHEAD // 2]:
                if flow.patch:
                    flow.patch(flow.frames)
                for one in flow.frames:
                    self.send(flow.port, one)
                self.expected.update(flow.does)
            self.send("en0", self.arp())
            self.expected["arp"] += 1
            self.wait()

    def send(self, port, one):
        self.sockets[port].send(one)
        self.sent[port] += 1

    def arp(self):
        """A host of the LAN asks for us, every few seconds from another MAC address."""
        host = next(self.hosts)
        mac = bytes((2, 0, 0, 7, int(time.monotonic() / 5) & 1, host))
        body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + bytes((10, 0, 0, host)) + bytes(6) + bytes((10, 0, 0, 1))
        return b"\xff" * 6 + mac + b"\x08\x06" + body.ljust(46, b"\0")

    def wait(self):
        """Until all that was sent has come in. What never comes is lost, which is said."""
        deadline = time.monotonic() + 10
        while (seen := received(self.link)) != self.sent:
            if time.monotonic() > deadline:
                raise AssertionError(f"sent {dict(self.sent)}, but only {dict(seen)} came in; {whereabouts(self.space, self.link)}")
            time.sleep(0.0005)


def whereabouts(space, link):
    """Who may have lost a frame on its way in: the kernel's end of a tap, or the device."""
    kernel = {port: json.loads(space.ip(f"-j -s link show {port}"))[0]["stats64"]["tx"] for port in ("en0", "en1")}
    ports = {port["name"]: (port["rx_missed"], port["rx_errors"], port["rx_no_buffer"]) for port in link.call("show-ports")}
    return f"the kernel sent {kernel}; the ports missed, refused, had no buffer for: {ports}"


def received(link):
    return collections.Counter({port["name"]: port["rx_packets"] for port in link.call("show-ports")})


def changes():
    """The transactions: [(line, changes)]."""
    def line(*ops):
        request = {"version": 1, "method": "transaction", "params": {"ops": list(ops)}}
        return json.dumps(request).encode() + b"\n", len(ops)

    def route(to, target):
        return {"op": "put-route", "route": {"to": to, "target": target}}

    def hop(address, mac):
        return {"op": "put-neighbour", "neighbour": {"address": address, "port": "en1", "mac": mac}}

    come = [{"op": "put-tunnel", "tunnel": PASSING.spec()}, route("41.0.0.0/24", {"interface": PASSING.name})]
    go = [{"op": "delete-route", "to": "41.0.0.0/24"}, {"op": "destroy", "name": PASSING.name}]
    for turn in range(16):
        yield line(*come)
        for low in range(8):
            yield line(route(f"42.0.{low}.0/24", {"interface": FLAPPING[turn % 2].name}))
        yield line(hop("203.0.113.254", HOP_MACS[turn % 2]), hop("2001:db8:ff::fe", HOP_MACS[turn % 2]))
        yield line(*go)
        for low in range(8):
            yield line({"op": "delete-route", "to": f"42.0.{low}.0/24"})


class Trouble:
    """The processes that change and scrape."""

    def __init__(self, lab, space, path):
        self.done = multiprocessing.Value("Q", lock=False)
        self.refused = multiprocessing.Array("c", 1001, lock=False)
        self.process = multiprocessing.Process(target=churn.churn, daemon=True,
                                               args=(path, list(changes()), self.done, self.refused, CHANGES))
        self.process.start()
        lab.on_close(self.process.kill)
        self.scraper = space.start("while :; do curl -sf -m 5 -o /dev/null http://127.0.0.1:9464/metrics && echo read; "
                                   "sleep 0.2; done", "scraper")

    def stop(self):
        """(changes, scrapes) done; the gateway is left alone from now on."""
        self.process.kill()
        self.process.join()
        self.scraper.stop()
        assert not self.refused.value, f"a change was refused: {self.refused.value.decode()}"
        return self.done.value, self.scraper.text().count("read")


def resident(pid):
    with open(f"/proc/{pid}/status") as file:
        return 1024 * sum(int(line.split()[1]) for line in file if line.startswith(("VmRSS:", "HugetlbPages:")))


def kernel_received(space, device):
    """Packets that came out of the kernel's end of a tap."""
    return json.loads(space.ip(f"-j -s link show {device}"))[0]["stats64"]["rx"]["packets"]


def look(gateway, link):
    """All that the judge wants to know, at rest."""
    drops, counts = link.call("show-drops"), collections.Counter()
    for one in drops["drops"]:
        counts[f"drop.{one['reason']}"] += one["packets"]
    for reason, packets in drops["control"]["dropped"].items():
        counts[f"control.{reason}"] += packets
    for origin in drops["origins"]:
        counts["pieces"] += origin["fragments_created"]
        counts["arp"] += origin["punted"].get("arp", 0)
        counts[f"{origin['origin']}.in"] += origin["received"]
    for port in link.call("show-ports"):
        # What the device says it sent and what its other end has not got.
        counts[f"{port['name']}.lost"] = port["tx_packets"] - kernel_received(gateway.space, port["name"])
    interfaces = link.call("show-interfaces", name=None)
    for one in interfaces:
        if one.get("tunnel"):
            counts[f"{one['name']}.tx"], counts[f"{one['name']}.rx"] = (one["traffic"][f"{way}_packets"] for way in ("tx", "rx"))
            counts[f"{one['name']}.lost"] = one["traffic"]["tx_dropped"] if one["name"] == PASSING.name else 0
    imbalance = {o["origin"]: o["imbalance"] for o in drops["origins"]} | {"control itself": drops["control"]["imbalance"]}
    page = gateway.metrics()
    return {"counts": counts, "imbalance": {k: v for k, v in imbalance.items() if v}, "held": drops["control"]["held"],
            "memory": resident(gateway.proc.pid),
            "buffers": sum(value for _, value in samples(page, "greyhound_pool_buffers_in_use")),
            "interfaces": len(interfaces), "highest": max(one["index"] for one in interfaces)}


def judge(before, after, expected, sent):
    """What is not as it must be, as a list of sentences."""
    problems = []
    moved = after["counts"] - before["counts"]
    for name in (PASSING.name, *(tunnel.name for tunnel in FLAPPING)):
        for way in ("tx", "rx", "lost"):
            moved.pop(f"{name}.{way}", None)
    flapped = sum(after["counts"][f"{t.name}.tx"] - before["counts"][f"{t.name}.tx"] for t in FLAPPING)
    if flapped != expected["either.flapping"]:
        problems.append(f"{flapped} packets through the flapping routes instead of {expected['either.flapping']}")
    # Whether a tunnel that comes and goes is there decides what becomes of its packets.
    for reason, either in (("drop.blackhole", "either.out"), ("drop.unknown_tunnel", "either.in")):
        surplus = moved.pop(reason, 0) - expected[reason]
        if not 0 < surplus < expected[either]:
            problems.append(f"{reason}: {surplus} of the {expected[either]} packets of a tunnel that comes and goes")
    exact = collections.Counter({name: n for name, n in expected.items()
                                 if not name.startswith("either.") and name not in ("drop.blackhole", "drop.unknown_tunnel")})
    exact.update({f"{port}.in": n for port, n in sent.items()})
    moved.pop("control.in", None)  # errors it sends and packets it puts together again
    for name in sorted(exact.keys() | moved.keys()):
        if exact[name] != moved[name]:
            problems.append(f"{name}: {moved[name]} instead of {exact[name]}")
    if after["imbalance"]:
        problems.append(f"packets not accounted for: {after['imbalance']}")
    if after["held"]:
        problems.append(f"control holds {after['held']} packets at rest")
    if after["buffers"] > before["buffers"]:
        problems.append(f"{after['buffers']:g} buffers in use, at the start {before['buffers']:g}")
    if after["memory"] - before["memory"] > MOST_GROWN:
        problems.append(f"memory grew by {(after['memory'] - before['memory']) >> 10} KiB")
    if after["highest"] > before["highest"] + NUMBERS:
        problems.append(f"interface number {after['highest']} is in use: those of destroyed ones are not used again")
    return problems


def judge_the_judge(before, after, expected, sent):
    """Each kind of deviation must be noticed; by what is there once the run was good."""
    def with_change(what):
        changed = copy.deepcopy(after)
        what(changed)
        return judge(before, changed, expected, sent)

    def count(name, by=1):
        return lambda seen: seen["counts"].update({name: by})

    tampered = {name: with_change(count(name)) for name in
                (*(f"{t.name}.{way}" for t in TUNNELS for way in ("tx", "rx")), f"{FLAPPING[0].name}.tx", "pieces", "en0.in", "en1.lost",
                 "drop.ttl_expired", "drop.no_route", "control.fragment_timeout", "arp")}
    tampered["half a blackhole"] = with_change(count("drop.blackhole", expected["either.out"]))
    for key, value in (("buffers", after["buffers"] + before["buffers"] + 1), ("memory", before["memory"] + MOST_GROWN + 1),
                       ("imbalance", {"en0": 1}), ("held", 1), ("highest", before["highest"] + NUMBERS + 1)):
        tampered[key] = with_change(lambda seen, key=key, value=value: seen.update({key: value}))
    blind = [name for name, problems in tampered.items() if not problems]
    assert not blind, f"the soak does not notice a wrong {', '.join(blind)}"
    return len(tampered)


def at_rest(gateway, link):
    """A look once nothing is under way any more; what never rests shows in it."""
    def rests():
        seen = look(gateway, link)
        return seen if not seen["imbalance"] and not seen["held"] else None

    time.sleep(1)
    try:
        return wait_for("traffic to rest", rests, 5, every=0.2)
    except Timeout:
        return look(gateway, link)


def table(before, after, expected, sent, seconds, done):
    """Prints what was done, with rates."""
    moved = after["counts"] - before["counts"]
    print(f"{'tunnel':10} {'kind':8} {'outer':6} {'options':28} {'out':>10} {'in':>10} {'packets/s':>10}")
    for tunnel in TUNNELS:
        options = " ".join(f"{key}={value}" for key, value in tunnel.keys.items())
        out, into = moved[f"{tunnel.name}.tx"], moved[f"{tunnel.name}.rx"]
        print(f"{tunnel.name:10} {tunnel.kind:8} {'IPv6' if tunnel.six else 'IPv4':6} {options:28} {out:10,} {into:10,} "
              f"{(out + into) / seconds:10,.0f}")
    print(f"sent {sum(sent.values()):,} frames in {seconds:.0f} s ({sum(sent.values()) / seconds:,.0f} a second), "
          f"{moved['pieces']:,} cut, {expected['arp']:,} ARP, {done[0]:,} changes ({done[0] / seconds:,.0f} a second), {done[1]} scrapes")
    drops = {name[5:]: n for name, n in sorted(moved.items()) if name.startswith("drop.")}
    print("dropped as they had to be: " + ", ".join(f"{reason} {n:,}" for reason, n in drops.items()))
    print(f"memory {after['memory'] >> 10:,} KiB ({(after['memory'] - before['memory']) >> 10:+,} since a quarter of the time), "
          f"{after['buffers']:g} buffers in use, highest interface number {after['highest']} of {after['interfaces']} interfaces")


def soak(lab, seconds):
    reserve_hugepages(lab)
    gw = lab.netns("gw")
    gateway = Greyhound(lab, gw, config()).start()
    link = Link(gateway.socket)
    source = Source(gw, link)
    first = at_rest(gateway, link)

    # A packet that nobody announced has to be noticed.
    source.send("en1", soak_flows.frame(False, soak_flows.Tunnel(1, "gre1", key=44).sent_by_far_end(4, b"")))
    source.wait()
    canary = judge(first, at_rest(gateway, link), collections.Counter({"either.in": 1}), source.sent)
    assert any("unknown_tunnel" in problem for problem in canary), f"one packet of an unknown tunnel: {canary}"

    start = at_rest(gateway, link)
    source.sent_before = collections.Counter(source.sent)
    began, trouble = time.monotonic(), Trouble(lab, gw, gateway.socket)
    source.rounds(began + seconds / 4)
    start["memory"] = resident(gateway.proc.pid)
    source.rounds(began + seconds)
    done, took = trouble.stop(), time.monotonic() - began
    link.call("transaction", ops=[{"op": "put-route", "route": {"to": "41.0.0.0/24", "target": "blackhole"}}])
    end, sent = at_rest(gateway, link), source.sent - source.sent_before
    table(start, end, source.expected, sent, took, done)
    problems = judge(start, end, source.expected, sent)
    assert not problems, "\n  ".join(["not as it must be:", *problems])
    assert done[0] > seconds * CHANGES / 10 and done[1] > seconds / 2, f"too little else went on: {done}"
    print(f"soak: all as it must be; {judge_the_judge(start, end, source.expected, sent)} deviations noticed by the judge")
    gateway.stop()


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--seconds", type=float, default=600)
    with Lab() as lab:
        soak(lab, args.parse_args().seconds)


if __name__ == "__main__":
    sys.exit(main())
