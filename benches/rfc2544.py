#!/usr/bin/python3
"""`make bench-rfc2544`: the trials of RFC 2544 and RFC 5180 on the gateway.

    benches/rfc2544.py [--quick] [--only "ipv4 gre"] [--sizes "64 1518"] [--tests "throughput reset"]
                       [--seconds 60] [--json FILE]

For each kind of traffic and frame size (with the FCS, which no frame here has):

    throughput   §26.1  the highest rate without a single loss: binary search with short trials,
                        confirmed by one of --seconds; one way, and both ways at once
    latency      §26.2  at that rate, 20 trials; every frame is timed
    loss         §26.3  from the fastest source down in tenths of that, until two trials lose nothing
    burst        §26.4  the longest burst, as fast as frames go, without a loss; 50 trials of 2 s at most
    recovery     §26.5  110 % of the throughput, then 50 %: until the last loss
    reset        §26.6  the process ends by SIGTERM, or dies, and starts anew: the silence; smallest frames

Tester and gateway share two cores: pacer.c and all threads that are no worker are on
core 0. The source is no medium with a rate of its own: what it can send is measured
first, and where it, not the gateway, is the limit, the table says `source`. A trial
in which the host or another process had one of the cores is repeated, thrice at most.
"""

import argparse
import contextlib
import functools
import json
import os
import statistics
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(HERE)
sys.path[:0] = [HERE, os.path.join(REPO, "tests/lab"), os.path.join(REPO, "tests/peers")]

import built  # noqa: E402
import frames as work_frames  # noqa: E402
import kinds  # noqa: E402
import loop  # noqa: E402
import peers  # noqa: E402
import run as bench  # noqa: E402
import windows  # noqa: E402
from frames import GRE, HOP_MAC, MAC_HOST, MAC_IN, MAC_OUT, Work, dotted, ether, ipv4, number, table  # noqa: E402
from kinds import address6, ipv6, six  # noqa: E402
from lab import CommandFailed, Lab  # noqa: E402

SIZES = (64, 128, 256, 512, 1024, 1280, 1518)  # RFC 2544 §9.1, RFC 5180 §5.1.1
FCS, ETHER = 4, 14
MTU = 1500
GRE_OVERHEAD = 24
FRAMES = 4096
SPACE4 = number("198.18.0.0"), number("198.19.0.0")  # RFC 2544 appendix C.2.2; behind each port
SPACE6 = six("2001:2:0:1000::"), six("2001:2:0:2000::")  # RFC 5180 §8 with erratum 1752
TUNNEL = "198.19.255.1"  # the far end
UDP, DESTINATION_OPTIONS = 17, 60
PADDING = bytes((UDP, 0, 1, 4, 0, 0, 0, 0))  # a header of 8 bytes that says nothing

PACE = 0.01        # the source keeps its rate so well
RESOLUTION = 0.02  # of the search for a rate
BURST_RESOLUTION = 0.1
REPEATS = 3        # of a trial that somebody disturbed
LOSS_STEPS = 10
OVERLOAD, AFTER = 1.1, 0.5
OFFERED = 1e9      # more than any source sends: all that go


class Stream(Work):
    """Traffic of a kind and size; `other` is the same the other way."""

    addresses = (["198.18.0.1/24", "2001:2::1/64"], ["198.19.0.1/24", "2001:2:0:1::1/64"])

    def __init__(self, name, title, size, families=(4,), tunnel=False, extension=False):
        # What a tunnel over links of 1500 takes is the largest there.
        largest = MTU - GRE_OVERHEAD * tunnel
        self.size = min(size, largest + ETHER + FCS)
        self.families, self.tunnel, self.extension, self.back = families, tunnel, extension, False
        super().__init__(name, f"{title}, {self.size} B", frames=FRAMES, sizes=(self.size - FCS,))

    def all_frames(self, count=None):
        self.random.seed(self.name)
        return [self.frame(place) for place in range(count or self.frames)]

    def other(self):
        """The frames that come in by the second port."""
        self.back = True
        try:
            return self.all_frames()
        finally:
            self.back = False

    def frame(self, index):
        family = self.families[index % len(self.families)]
        packet = self.datagram(family, self.size - FCS - ETHER, index)
        macs = (MAC_OUT, HOP_MAC.format(2)) if self.back else (MAC_IN, MAC_HOST)
        if self.back and self.tunnel:
            packet = ipv4(number(TUNNEL), number("198.19.0.1"), GRE, 4 + len(packet), df=True) + b"\0\0\x08\0" + packet
        return ether(*macs, kinds.ETHERTYPES[family]) + packet

    def datagram(self, family, length, index):
        """From one port's space to the other's: 256 networks (RFC 2544 appendix C.2.6 has up to that)."""
        here, there = (1, 0) if self.back else (0, 1)
        near, far = self.random.getrandbits(8) << 8 | 2 + self.random.randrange(250), self.random.getrandbits(16) | 2
        if family == 4:
            head = ipv4(SPACE4[here] + 0x10000 // 2 + (near & 0x7FFF), SPACE4[there] + 0x8000 + (far & 0x3FFF), UDP, length - 20)
        else:
            protocol, between = (DESTINATION_OPTIONS, PADDING) if self.extension else (UDP, b"")
            head = ipv6(SPACE6[here] + (near << 64 | 2), SPACE6[there] + ((far & 0xFF) << 64 | far), protocol, length - 40) + between
        rest = length - len(head)
        # The smallest IPv6 frame has no room for all of UDP.
        return head + (struct.pack("!HHHH", 1024 + index % 60000, 7, rest, 0) + bytes(max(0, rest - 8)))[:rest]

    def neighbours(self):
        return {"198.19.0.2": HOP_MAC.format(2), "2001:2:0:1::2": HOP_MAC.format(2)}

    def config(self):
        """Behind each port a router, and behind that the space; or a tunnel instead of the second one."""
        parts = [table("neighbour", address=address, port="en0", mac=MAC_HOST) for address in ("198.18.0.2", "2001:2::2")]
        routes = {"198.18.128.0/17": "198.18.0.2", "2001:2:0:1000::/52": "2001:2::2",
                  "2001:2:0:2000::/52": "2001:2:0:1::2", "198.19.192.0/18": "198.19.0.2"}
        parts += [table("route", to=to, via=via) for to, via in routes.items()]
        if self.tunnel:
            parts.append(table("tunnel", name="gre0", local="198.19.0.1", remote=TUNNEL, address="10.63.0.1",
                               peer="10.64.0.1", link1=True))
        target = {"interface": "gre0"} if self.tunnel else {"via": "198.19.0.2"}
        return "\n".join([*parts, table("route", to="198.19.128.0/18", **target)])

    def expected(self, frame, out):
        """By scapy; the way that `check_sample` sends, by the first port."""
        from scapy_quiet import GRE as ScapyGRE, IP, Ether, IPv6
        if frame[12:14] == b"\x86\xdd":
            datagram = IPv6(frame[14:])
            datagram.hlim -= 1
        else:
            datagram = IP(frame[14:])
            datagram.ttl -= 1
            del datagram.chksum
        if self.tunnel:
            datagram = IP(src="198.19.0.1", dst=TUNNEL, ttl=64, id=IP(out[14:]).id, flags="DF") / ScapyGRE(proto=0x0800) / datagram
        return bytes(Ether(src=MAC_OUT, dst=HOP_MAC.format(2)) / datagram)

    @property
    def stamps_short(self):
        """Whether its frames are told apart by time alone."""
        return 6 in self.families and self.size < ETHER + 40 + 16 + FCS


KINDS = {
    "ipv4": ("IPv4 forward", {}),
    "gre": ("GRE encap", {"tunnel": True}),
    "ipv6": ("IPv6 forward", {"families": (6,)}),
    "dual": ("IPv4 and IPv6, half each", {"families": (4, 6)}),
    "ipv6-ext": ("IPv6 with destination options", {"families": (6,), "extension": True}),
}
EXTENSION_FROM = 128  # the smallest size with room for them


class Dut(peers.Greyhound):
    """The device under test; its ports are up from the start."""

    def start(self, lab, text):
        self.lab, self.text = lab, text.replace("up = false\n", "")
        super().start(lab, self.text)
        windows.prioritise(self.pid)

    def restart(self, ended):
        """`ended` ends the process; back when the next one answers."""
        ended(self.proc)
        super().start(self.lab, self.text)

    def fill(self):
        """There is nothing but the file."""

    def thaw(self):
        with contextlib.suppress(ProcessLookupError):  # it may be another process by now
            super().thaw()


class Trials:
    """Pacer and gateway for one kind of traffic and size, and the trials with them."""

    def __init__(self, lab, stream, both, options):
        self.stream, self.options = stream, options
        self.loop = loop.Loop(lab, stream, Dut, back=stream.other() if both else ())
        self.process, self.pacer = self.loop.process, self.loop.pacer
        windows.prioritise(self.pacer.pid)
        self.ways = 2 if both else 1
        self.disturbed = 0

    @functools.cached_property
    def most(self):
        """Frames a second, each way, that the source offers at most, taken or not."""
        seen = self.one(OFFERED, self.options.search)
        return (seen["sent"] + seen["refused"]) / self.options.search / self.ways

    def one(self, rate, seconds, **more):
        (seen,) = self.pacer.run(rate, seconds, **more)
        return seen

    def trial(self, rate, seconds, **more):
        """One that nobody disturbed, or the third that somebody did."""
        threads = windows.packet_threads(self.process)
        for _ in range(REPEATS):
            before = self.outside(threads)
            seen = self.one(rate, seconds, **more)
            seen["disturbed"] = self.outside(threads) != before
            if not seen["disturbed"] or not lost(seen):
                break
        self.disturbed += seen["disturbed"]
        return seen

    def outside(self, threads):
        """What others took: the host, of both cores, and milliseconds of the worker's."""
        return sum(windows.steal(core)[0] for core in (0, peers.CORE)), sum(windows.waited(self.process, threads)) // 1_000_000

    def kept(self, seen, rate, seconds):
        """Whether the source sent as many as it was to."""
        return seen["sent"] + seen["refused"] >= (1 - PACE) * rate * seconds * self.ways

    def verdict(self, rate, seconds):
        """(None or who could not do it, what was seen)."""
        seen = self.trial(rate, seconds)
        return "gateway" if lost(seen) else None if self.kept(seen, rate, seconds) else "source", seen

    def throughput(self):
        """The highest rate without a loss, and what is known of it."""
        rate, limit = largest(lambda rate: self.verdict(rate, self.options.search)[0], self.most, RESOLUTION)
        limit = limit or "source"  # it has no more
        while rate > self.most / 100:
            wrong, seen = self.verdict(rate, self.options.seconds)
            if not wrong:
                return {"rate": rate, "limit": limit, "most": self.most, "seconds": seen["seconds"], "frames": seen["sent"],
                        "reordered": None if self.stream.stamps_short else seen["reordered"], "mean": seen["mean"]}
            rate, limit = rate * (1 - RESOLUTION), wrong
        return {"rate": 0.0, "limit": limit, "most": self.most}

    def latency(self, rate):
        """Mean of the trials' means, and of their 99th percentiles, microseconds."""
        seen = [self.trial(rate, self.options.latency) for _ in range(self.options.latency_trials)]
        return {"trials": len(seen), "seconds": self.options.latency,
                "lost": sum(map(lost, seen)), "mean": statistics.mean(s["mean"] for s in seen),
                "p50": statistics.mean(s["p50"] for s in seen), "p99": statistics.mean(s["p99"] for s in seen),
                "worst": max(s["most"] for s in seen)}

    def loss(self):
        """[(rate, share lost)] from the fastest source down, until two trials in a row lose nothing."""
        curve, clean = [], 0
        for tenth in range(LOSS_STEPS, 0, -1):
            rate = self.most * tenth / LOSS_STEPS
            seen = self.trial(rate, self.options.curve)
            share = lost(seen) / (seen["sent"] + seen["refused"])
            curve.append((rate, share))
            clean = 0 if share else clean + 1
            if clean == 2:
                break
        return curve

    def burst(self):
        """Mean of the longest bursts without a loss, frames each way."""
        found = []
        for _ in range(self.options.burst_trials):
            taken = {}

            def wrong(seconds):
                seen = self.one(OFFERED, seconds)
                taken[seconds] = seen["sent"] // self.ways
                return lost(seen)

            found.append(taken.get(largest(wrong, self.options.burst, BURST_RESOLUTION)[0], 0))
        return {"frames": statistics.mean(found), "trials": len(found), "longest_seconds": self.options.burst}

    def recovery(self, rate):
        """Milliseconds from the end of the overload to the last frame lost."""
        if self.stream.stamps_short:
            return None
        over = min(OVERLOAD * rate, self.most)
        seen = [self.one(over, self.options.seconds, then=(AFTER * over, self.options.search))
                for _ in range(self.options.recovery_trials)]
        return {"overload": over, "lost": sum(map(lost, seen)), "trials": len(seen),
                "milliseconds": statistics.mean(s["last_loss_us"] for s in seen) / 1000}

    def reset(self, rate):
        """Milliseconds without a frame while the gateway ends and starts anew. At a tenth of
        the rate: the source shares its core with the process that starts."""
        found = {}
        for name, ended in (("SIGTERM", lambda proc: proc.stop()), ("SIGKILL", kill)):
            self.pacer.begin(rate / 10, self.options.reset, 2 * self.options.reset, gentle=True)
            self.process.restart(ended)
            (seen,) = self.pacer.results()
            assert seen["silence_us"] > 1000, f"nothing came back after {name}: {seen}"
            found[name] = seen["silence_us"] / 1000
        return found


def kill(proc):
    proc.popen.kill()
    proc.popen.wait()


def largest(wrong, most, resolution):
    """(the largest value up to `most` for which nothing is wrong, what was wrong right above
    it), by halving until both are as near as `resolution`."""
    low, high, why = 0.0, most, wrong(most)
    if not why:
        return most, None
    while high - low > resolution * high and high > most / 1000:
        middle = (low + high) / 2
        if found := wrong(middle):
            high, why = middle, found
        else:
            low = middle
    return low, why


def lost(seen):
    """Frames offered that did not come back."""
    return seen["sent"] + seen["refused"] - seen["received"]


def measure(kind, size, options):
    """All tests of one kind of traffic and size, one way and both ways."""
    title, how = KINDS[kind]
    row = {"traffic": kind, "title": title}
    for both in (False, True):
        stream = Stream(f"{kind}-{size}", title, size, **how)
        row["size"] = stream.size
        with Lab() as lab:
            trials = Trials(lab, stream, both, options)
            result = trials.throughput()
            rate = result["rate"]
            if not both and rate:
                result |= {name: getattr(trials, name)(*([rate] if name in NEED_RATE else []))
                           for name in TESTS[1:] if name in options.tests and (name != "reset" or size == SIZES[0])}
            result["disturbed"] = trials.disturbed
        row["both ways" if both else "one way"] = result
        if "both" not in options.tests:
            break
    return row


TESTS = ("throughput", "latency", "loss", "burst", "recovery", "reset")
NEED_RATE = ("latency", "recovery", "reset")


def figure(value, digits=1):
    return "–" if value is None else f"{value:,.{digits}f}"


HEAD = ("traffic", "B", "Mpps", "limit", "Gbit/s", "both ways", "limit", "mean µs", "p99 µs", "lost at most", "burst",
        "recovery ms", "reset ms")


def cells(row):
    """A line of the table."""
    one, both = row["one way"], row.get("both ways")
    latency, recovery, reset, burst = (one.get(name) for name in ("latency", "recovery", "reset", "burst"))
    return (row["traffic"], str(row["size"]), figure(one["rate"] / 1e6, 3), one["limit"],
            figure(one["rate"] * row["size"] * 8 / 1e9, 2), figure(both["rate"] * 2 / 1e6, 3) if both else "–",
            both["limit"] if both else "–", figure(latency and latency["mean"]), figure(latency and latency["p99"]),
            f"{one['loss'][0][1]:.1%}" if one.get("loss") else "–", figure(burst and burst["frames"], 0),
            figure(recovery and recovery["milliseconds"]),
            " / ".join(figure(value, 0) for value in reset.values()) if reset else "–")


WIDTHS = (9, 5, 8, 8, 7, 10, 8, 8, 8, 13, 11, 12, 12)


def line(texts):
    return " ".join(text.rjust(width) for text, width in zip(texts, WIDTHS))


def arguments():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--quick", action="store_true", help="short trials and few of them: no figure of the RFC's")
    args.add_argument("--only", default=" ".join(KINDS), help=f"of {' '.join(KINDS)}")
    args.add_argument("--sizes", default=" ".join(map(str, SIZES)), help="frame sizes, with FCS")
    args.add_argument("--tests", default=" ".join((*TESTS, "both")), help=f"of {' '.join(TESTS)} both")
    args.add_argument("--seconds", type=float, help="of a confirming trial (60; quick: 2)")
    args.add_argument("--json", default=os.path.join(built.FOLDER, "rfc2544.json"), help="where the results go")
    options = args.parse_args()
    options.seconds = options.seconds or (2.0 if options.quick else 60.0)
    options.search = min(options.seconds, 0.2 if options.quick else 2.0)
    options.latency, options.latency_trials = (0.2, 3) if options.quick else (5.0, 20)
    options.curve = min(options.seconds, 0.2 if options.quick else 10.0)
    options.burst, options.burst_trials = (0.2, 3) if options.quick else (2.0, 50)
    options.recovery_trials = 1 if options.quick else 3
    options.reset = 3.0 if options.quick else 20.0
    options.only, options.tests = options.only.split(), options.tests.split()
    options.sizes = [int(size) for size in options.sizes.split()]
    for found, known in ((options.only, KINDS), (options.tests, (*TESTS, "both")), (options.sizes, SIZES)):
        if unknown := set(found) - set(known):
            sys.exit(f"unknown: {', '.join(map(str, sorted(unknown)))}; there are {', '.join(map(str, known))}")
    return options


def main():
    options = arguments()
    if os.geteuid() or {0, peers.CORE} - os.sched_getaffinity(0):
        sys.exit(f"the trials need root and cores 0 and {peers.CORE}")
    facts, rows, wrong = bench.facts(), [], []
    facts |= {"seconds": options.seconds, "quick": options.quick}
    print(", ".join(f"{key} {value}" for key, value in facts.items()))
    if options.quick:
        print("QUICK: trials are shorter and fewer than RFC 2544 has them")
    with Lab() as lab:
        windows.prioritise_harness(lab, peers.CORE)
        print(line(HEAD), flush=True)
        for kind in options.only:
            title, how = KINDS[kind]
            try:
                bench.check_sample(Stream(f"{kind}-sample", title, EXTENSION_FROM, **how))
                for size in options.sizes:
                    if kind != "ipv6-ext" or size >= EXTENSION_FROM:
                        rows.append(measure(kind, size, options))
                        print(line(cells(rows[-1])), flush=True)
                        save(options.json, {"facts": facts, "rows": rows})
            except (AssertionError, CommandFailed) as error:  # the other kinds can be measured all the same
                wrong.append(kind)
                print(f"{kind}: FAILED: {error}", flush=True)
    print(f"`lost at most`: at the fastest the source sends; the curve is in {options.json}. Reset: SIGTERM / SIGKILL, "
          "to the first frame of the next process.")
    return 1 if wrong else 0


def save(path, content):
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path, "w") as file:
        json.dump(content, file, indent=1)


if __name__ == "__main__":
    sys.exit(main())
