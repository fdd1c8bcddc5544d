"""What the smoke tests share: the note's office with Greyhound as machine C.

    with office() as o:
        expect_ping(o.a, B_HOST)

When the block ends without an error, every packet must be accounted for, the
buffers back in their pool, and SIGTERM must end the gateway with exit code 0.
"""

import contextlib

from greyhound import Greyhound, af_packet, ports_config, reserve_hugepages
from lab import Lab, Timeout, wait_for
from scapy_quiet import GRE, IP
from topology import C_PUBLISH, C_REAL_INTERFACES, C_TUNNEL, Neighbours, Office


class Stage:
    """A lab with its machines as attributes."""

    def __init__(self, lab, **machines):
        self.lab = lab
        self.__dict__.update(machines)


@contextlib.contextmanager
def office(boot_a=True, commands=(*C_REAL_INTERFACES, C_PUBLISH, *C_TUNNEL), mtu=1500, internet_mtu=1500):
    """LAN, Internet, Greyhound as C on veth ports, and a stock Linux as A."""
    with Lab() as lab:
        reserve_hugepages(lab)
        town = Office(lab, mtu, internet_mtu).wire_veth()
        ports = ports_config(en0=(af_packet("en0", 0), {"mtu": mtu}), en1=(af_packet("en1", 1), {"mtu": internet_mtu}))
        c = start(lab, town.gw, ports)
        c.notes(commands)
        a = town.boot_a() if boot_a else None
        yield Stage(lab, town=town, lan=town.lan, inet=town.inet, gw=town.gw, c=c, a=a)
        finish(c)


@contextlib.contextmanager
def neighbours():
    """T5's LAN; the test puts machines on it and calls `finish` on its gateways."""
    with Lab() as lab:
        reserve_hugepages(lab)
        yield Stage(lab, lan=Neighbours(lab))


def start(lab, space, config, name="c"):
    """A running Greyhound which remembers how many buffers were in use at rest."""
    gateway = Greyhound(lab, space, config, name).start()
    gateway.buffers = buffers(gateway)
    return gateway


def buffers(gateway):
    """Buffers out of all pools now."""
    return gateway.metric("greyhound_pool_buffers_in_use")


def finish(gateway):
    """Conservation, buffers back where they were, a clean end."""
    gateway.expect_conservation()
    try:
        wait_for("buffers", lambda: buffers(gateway) <= gateway.buffers, 5, every=0.2)
    except Timeout:
        raise AssertionError(f"buffers in use: {buffers(gateway)}, at the start {gateway.buffers}") from None
    gateway.stop()


def expect_outer(frames, outer, inner, protocol=47):
    """Fails unless some frame is `outer` (src, dst) around `inner` (src, dst),
    well formed as scapy reads it; returns the matching frames."""
    found = []
    for frame in frames:
        if IP not in frame or (frame[IP].src, frame[IP].dst) != outer:
            continue
        assert frame[IP].proto == protocol, f"protocol {frame[IP].proto}, expected {protocol}: {frame.summary()}"
        expect_checksum(frame[IP])
        if protocol == 47:
            gre = frame[GRE]
            if gre.proto == 0x86DD:
                continue  # a Linux peer's neighbour discovery on its own tunnel
            assert gre.proto == 0x0800 and bytes(gre)[:2] == b"\0\0", f"GRE header {bytes(gre)[:4].hex()}"
        within = frame[IP].payload.getlayer(IP)
        expect_checksum(within)
        if (within.src, within.dst) == inner:
            found.append(frame)
    seen = sorted({f.summary() for f in frames})[:10]
    assert found, f"no packet {outer} around {inner}; seen: {seen}"
    return found


def expect_checksum(header):
    """Fails unless an IPv4 header's checksum is what scapy computes."""
    fresh = header.copy()
    del fresh.chksum
    want = IP(bytes(fresh)).chksum
    assert header.chksum == want, f"IPv4 checksum {header.chksum:#06x}, expected {want:#06x}: {header.summary()}"
