"""What a case is made of, and how its files are written.

A case says what arrives (`rx`), what leaves (`tx`) and what becomes of the
rest (`drop`, `punt`, ...). Each call adds to the counters that it has to move,
so the expected counter sheet is the sum of what the case says happened and
nothing is left out. Packets are scapy's; nothing here knows Greyhound's code.

Counting, in the words of `src/stats/counters.rs`:

* origin: the port a packet came from, or `control` for what control injected
* interface: `en0`, `en0.20`, `gre0`; bytes are the frame's on ports and VLANs
  and the inner datagram's on tunnels
"""

import struct
from collections import Counter
from pathlib import Path

from scapy.layers.inet import IP
from scapy.layers.l2 import Dot1Q, Ether

CASES = []
FRESH = [0]


def fresh():
    """An identification that no other datagram of the case has. Its value is
    Greyhound's to choose (`free_id`), that it is another one is not."""
    FRESH[0] += 1
    return FRESH[0]


def case(title, **options):
    """Declares the function below as a case: its name is the folder's, `title`
    says in a sentence what has to happen."""

    def register(build):
        CASES.append((build.__name__, title, options, build))
        return build

    return register


def raw(packet):
    return bytes(packet)


class Case:
    """One case in the making."""

    def __init__(self, name, title, until=0.0, bursts=(), check_times=False, from_start=False):
        self.name = name
        self.title = title
        self.until = until
        self.bursts = bursts
        self.check_times = check_times
        self.from_start = from_start
        self.config = ""
        self.inputs = {}
        self.outputs = {}
        self.verbs = []
        self.free = {}
        self.count = Counter()

    # -- what happens ------------------------------------------------------

    def rx(self, port, frame, at=0.0, iface=None):
        """`frame` arrives on `port` at `at` seconds. `iface`: the logical
        interface it belongs to (default: the port, or its VLAN by the tag);
        False when it belongs to none."""
        data = raw(frame)
        self.inputs.setdefault(port, []).append((at, data))
        self.add(f"origin.{port}.received")
        self.add(f"origin.{port}.received_bytes", len(data))
        if iface is None:
            vlan = frame[Dot1Q].vlan if isinstance(frame, Ether) and Dot1Q in frame else 0
            iface = f"{port}.{vlan}" if vlan else port
        if iface:
            self.add(f"interface.{iface}.rx_packets")
            self.add(f"interface.{iface}.rx_bytes", len(data))

    def tx(self, port, frame, origin, at=0.0, iface=None, tunnel=None, free_id=()):
        """`frame`, which came from `origin`, leaves by `port`. `iface` is the
        port's VLAN if any; through `tunnel`, its inner datagram is counted
        there too. `free_id` lists the IPv4 headers (0 is the outermost) whose
        identification Greyhound chooses."""
        data = raw(frame)
        out = self.outputs.setdefault(port, [])
        for header in free_id:
            self.free.setdefault((port, header), []).append(len(out))
        out.append((at, data))
        self.add(f"origin.{origin}.sent")
        self.add(f"port.{port}.sent")
        iface = iface or port
        self.add(f"interface.{iface}.tx_packets")
        self.add(f"interface.{iface}.tx_bytes", len(data))
        if tunnel:
            name, inner_bytes = tunnel
            self.add(f"interface.{name}.tx_packets")
            self.add(f"interface.{name}.tx_bytes", inner_bytes)

    def tunnel_rx(self, tunnel, inner):
        """`inner` came out of `tunnel`."""
        self.add(f"interface.{tunnel}.rx_packets")
        self.add(f"interface.{tunnel}.rx_bytes", len(raw(inner)))

    def drop(self, origin, reason, came=None, leaving=None):
        """The worker drops a packet of `origin`. `came`: the interface it
        arrived on (default: the origin, unless control made it; False: it
        belonged to none); `leaving`: the one it was to leave by, if the drop is
        that one's doing."""
        self.add(f"origin.{origin}.dropped.{reason}")
        if leaving:
            self.add(f"interface.{leaving}.tx_dropped")
        elif came is None and origin != "control":
            self.add(f"interface.{origin}.rx_dropped")
        elif came:
            self.add(f"interface.{came}.rx_dropped")

    def cut(self, origin, pieces):
        """One packet of `origin` became so many."""
        self.add(f"origin.{origin}.fragments_created", pieces - 1)

    def punt(self, origin, reason):
        """The worker hands a packet to control."""
        self.add(f"origin.{origin}.punted.{reason}")
        self.add("control.punts_taken")

    def consumed(self, n=1):
        """Control read a packet, and that was it."""
        self.add("control.consumed", n)

    def control_drop(self, reason, n=1):
        """Control dropped a packet."""
        self.add(f"control.dropped.{reason}", n)

    def held(self, n):
        """So many packets wait in control at the end."""
        self.add("control.held", n)

    def merged(self, origin, n):
        """So many fragments of `origin` became part of another's datagram."""
        self.add(f"origin.{origin}.merged", n)

    def inject(self, data, made=True):
        """Control hands bytes to the worker; `made`: it made them itself."""
        if made:
            self.add("control.originated")
        self.add("control.injected")
        self.add("origin.control.received")
        self.add("origin.control.received_bytes", len(raw(data)))

    def verb(self, at, *ops):
        """A transaction at `at` seconds; each op a dict as in `model::op`."""
        self.verbs.append((at, ops))

    def add(self, counter, n=1):
        self.count[counter] += n

    # -- writing -----------------------------------------------------------

    def files(self):
        """The case's files: name to bytes."""
        files = {
            "gateway.toml": self.config.lstrip("\n").encode(),
            "case.toml": self.case_toml().encode(),
            "counters.toml": self.counters_toml().encode(),
        }
        for kind, captures in (("in", self.inputs), ("out", self.outputs)):
            for port, frames in captures.items():
                files[f"{kind}.{port}.pcap"] = pcap(frames)
        return files

    def case_toml(self):
        lines = [f"title = {toml(self.title)}"]
        if self.until:
            lines.append(f"until_ms = {round(self.until * 1000)}")
        if self.bursts:
            lines.append(f"bursts = {toml(list(self.bursts))}")
        if self.check_times:
            lines.append("check_times = true")
        if self.from_start:
            lines.append("from_start = true")
        for at, ops in self.verbs:
            lines += ["", "[[verb]]", f"at_ms = {round(at * 1000)}", f"ops = {toml(list(ops))}"]
        for (port, header), packets in sorted(self.free.items()):
            lines += ["", "[[free_id]]", f"port = {toml(port)}", f"header = {header}"]
            lines.append(f"packets = {toml(packets)}")
        return "\n".join(lines) + "\n"

    def counters_toml(self):
        tables = {}
        for name, value in sorted(self.count.items()):
            if value:
                table, key = name.rsplit(".", 1)
                tables.setdefault(table, []).append(f"{key} = {value}")
        blocks = []
        for table, lines in tables.items():
            blocks.append("\n".join([f"[{quoted(table)}]", *lines]) + "\n")
        return "\n".join(blocks)


def quoted(table):
    """A table name for TOML; the dot of a VLAN's name belongs to the name."""
    kind, _, name = table.partition(".")
    if kind == "interface" and "." in name:
        return f'{kind}."{name}"'
    return table


def toml(value):
    """A value in TOML's inline form."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(v)}" for key, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(toml(v) for v in value) + "]"
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def pcap(frames):
    """A classic pcap file with nanosecond times."""
    out = [struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1)]
    for at, data in sorted(frames, key=lambda frame: frame[0]):
        ns = round(at * 1e9)
        out.append(struct.pack("<IIII", ns // 10**9, ns % 10**9, len(data), len(data)) + data)
    return b"".join(out)


def make(name, title, options, build):
    """Runs a case's function."""
    FRESH[0] = 0
    made = Case(name, title, **options)
    build(made)
    return made


def write(made, folder):
    """Writes a case's folder, and nothing else stays in it."""
    target = Path(folder) / made.name
    target.mkdir(parents=True, exist_ok=True)
    files = made.files()
    for stale in target.iterdir():
        if stale.name not in files:
            stale.unlink()
    for name, data in files.items():
        (target / name).write_bytes(data)


# -- packets ---------------------------------------------------------------


def rebuilt(packet, **changes):
    """A copy of a scapy packet with fields of its outermost layer changed and
    that layer's checksum computed anew."""
    changed = packet.__class__(raw(packet))
    for field, value in changes.items():
        setattr(changed, field, value)
    if isinstance(changed, IP):
        del changed.chksum
    return changed.__class__(raw(changed))


def hop(packet):
    """The datagram after one router: TTL less one."""
    return rebuilt(packet, ttl=packet.ttl - 1)


def pieces(packet, mtu):
    """The fragments of a datagram (or of a fragment) for an MTU, in order, as
    few as can be. Its options, if any, have to be none that are copied."""
    packet = IP(raw(packet))
    body = raw(packet)[packet.ihl * 4 :]
    last_flag = int(packet.flags) & 1
    out = []
    at = 0
    while True:
        options = packet.options if at == 0 else []
        header = len(raw(IP(options=options)))
        room = (mtu - header) // 8 * 8
        more = header + len(body) - at > mtu
        size = room if more else len(body) - at
        piece = IP(
            src=packet.src,
            dst=packet.dst,
            tos=packet.tos,
            ttl=packet.ttl,
            id=packet.id,
            proto=packet.proto,
            options=options,
            flags=(int(packet.flags) & 6) | (1 if more or last_flag else 0),
            frag=packet.frag + at // 8,
        )
        out.append(IP(raw(piece / body[at : at + size])))
        at += size
        if not more:
            return out
