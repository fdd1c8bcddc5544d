"""A Greyhound process in a namespace of the lab, driven by its own verbs.

    c = Greyhound(lab, office.gw, ports_config(en0="net_af_packet0,iface=en0"))
    c.start()                          # raises with its log when it does not answer
    c.note("ifconfig gre0 create")     # a line of the note, verbatim, through the shims
    c.show("tunnels")                  # parsed --json
    c.stop()                           # SIGTERM; asserts exit 0 and nothing left
"""

import contextlib
import glob
import json
import os
import re
import shlex
import shutil
import signal

from lab import REPO, CommandFailed, Timeout, wait_for

HUGEPAGES = "/proc/sys/vm/nr_hugepages"


def binary():
    """The binary under test: $GREYHOUND, else the release build, else the debug one."""
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(REPO, "target"))
    candidates = [os.environ.get("GREYHOUND"), *(f"{target}/{kind}/greyhound" for kind in ("release", "debug"))]
    for path in filter(None, candidates):
        if os.access(path, os.X_OK):
            return os.path.abspath(path)
    raise CommandFailed(f"no greyhound binary at {candidates[1]}: run `make build`")


def reserve_hugepages(lab, pages=512):
    """Asks the kernel for 2 MB pages until the lab closes; returns how many there are."""
    try:
        with open(HUGEPAGES) as file:
            before = int(file.read())
        if before < pages:
            lab.on_close(lambda: _write(HUGEPAGES, before))
            _write(HUGEPAGES, pages)
        with open(HUGEPAGES) as file:
            return int(file.read())
    except OSError:
        return 0


def _write(path, value):
    with open(path, "w") as file:
        file.write(str(value))


def ports_config(**ports):
    """A configuration with nothing but ports: ports_config(en0="net_tap0,iface=tc0").

    A value may be (device, {key: value}) to add keys such as address or mtu.
    """
    text = ['[dpdk]', 'workers = [1]' if (os.cpu_count() or 1) > 1 else 'workers = [0]',
            'idle = "adaptive"', 'memory = "256M"', '']
    for name, device in ports.items():
        device, extra = device if isinstance(device, tuple) else (device, {})
        text += ["[[port]]", f"name = {json.dumps(name)}", f"device = {json.dumps(device)}"]
        text += [f"{key} = {json.dumps(value)}" for key, value in extra.items()] + [""]
    return "\n".join(text)


def af_packet(dev, index=0):
    """The vdev string of a port on an existing kernel device."""
    return f"net_af_packet{index},iface={dev}"


class Greyhound:
    """`greyhound run` in namespace `space`; `config` is the TOML without [control] and [metrics]."""

    def __init__(self, lab, space, config, name="c"):
        self.lab, self.space, self.name, self.binary = lab, space, name, binary()
        self.socket = os.path.join(lab.dir, f"{name}.sock")
        self.config = lab.path(f"{name}.toml")
        with open(self.config, "w") as file:
            file.write(f'{config}\n[control]\nsocket = "{self.socket}"\n\n[metrics]\nlisten = "127.0.0.1:9464"\n')
        self.env = {**os.environ, "GREYHOUND_SOCKET": self.socket,
                    "PATH": os.path.dirname(self.binary) + ":" + os.environ["PATH"]}
        self.proc = self.last = None
        self._own_shims()

    def _own_shims(self):
        """The folder of links that `greyhound env` makes goes with the lab, unless it was there before."""
        if glob.glob("/run/greyhound/bin-*"):
            return

        def remove():
            for folder in glob.glob("/run/greyhound/bin-*"):
                shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                os.rmdir("/run/greyhound")  # only if nothing else is in it

        self.lab.on_close(remove)

    def start(self, timeout=30):
        """Starts and waits until the control socket answers."""
        self.proc = self.space.start([self.binary, "run", "-c", self.config], f"greyhound-{self.name}", env=self.env)
        self.last = self.proc
        ready = wait_for(f"greyhound {self.name} to answer on {self.socket}\n(its log: {self.proc.log})",
                         lambda: not self.proc.alive() or self.answers(), timeout, every=0.1)
        if not ready or not self.proc.alive():
            raise CommandFailed(f"greyhound {self.name} exited {self.proc.popen.poll()}:\n{self.proc.text()}")
        return self

    def answers(self):
        return os.path.exists(self.socket) and self.verb("show", "ports", "--json").code == 0

    def verb(self, *args, timeout=20):
        """`greyhound ARGS` against this process; a Result."""
        return self.space.run([self.binary, "--socket", self.socket, *args], timeout, env=self.env)

    def note(self, line, timeout=20):
        """A shell line as typed in the note, verb shims first on PATH; must succeed."""
        return self.note_result(line, timeout).check().out

    def note_result(self, line, timeout=20):
        done = self.space.run(["bash", "-c", f'eval "$(greyhound env)"\n{line}'], timeout, env=self.env)
        done.command = line
        return done

    def show(self, what):
        """Parsed `greyhound show WHAT --json`."""
        return self.verb_json("show", *shlex.split(what))

    def verb_json(self, *args):
        """Parsed output of a verb with --json."""
        return json.loads(self.verb(*args, "--json").check().out)

    def metrics(self):
        """The text of /metrics."""
        return self.space.sh("curl -sf -m 5 http://127.0.0.1:9464/metrics")

    def metric(self, name, **labels):
        """Sum of the samples of `name` whose labels include `labels`; KeyError when there are none."""
        found = [value for labelled, value in samples(self.metrics(), name)
                 if all(labelled.get(k) == v for k, v in labels.items())]
        if not found:
            raise KeyError(f"no sample of {name} with {labels}")
        return sum(found)

    def notes(self, lines):
        """Several lines of the note, in order."""
        for line in lines:
            self.note(line)
        return self

    def imbalance(self):
        """Packets not accounted for, by origin: {} when conservation holds."""
        drops = self.show("drops")
        sums = {o["origin"]: o["imbalance"] for o in drops["origins"]}
        sums["control itself"] = drops["control"]["imbalance"]
        return {origin: packets for origin, packets in sums.items() if packets}

    def expect_conservation(self):
        """Every packet is accounted for once traffic rests (a second at most)."""
        try:
            wait_for("conservation", lambda: not self.imbalance(), 3, every=0.3)
        except Timeout:
            raise AssertionError(f"packets not accounted for: {self.imbalance()}") from None

    def dropped(self, reason):
        """Packets dropped for a reason, over all origins."""
        return sum(d["packets"] for d in self.show("drops")["drops"] if d["reason"] == reason)

    def tunnel(self, name="gre0"):
        """The `show tunnels` entry of one tunnel."""
        return next(t for t in self.show("tunnels") if t["name"] == name)

    def log(self):
        """What it wrote so far, also after it ended."""
        return self.last.text() if self.last else ""

    def stop(self, timeout=15):
        """SIGTERM; it must exit 0 by itself and leave neither socket nor EAL files."""
        if self.proc is None:
            return
        proc, self.proc = self.proc, None
        assert proc.alive(), f"greyhound {self.name} had died, exit code {proc.popen.poll()}:\n{proc.text()}"
        proc.popen.send_signal(signal.SIGTERM)
        code = proc.wait(timeout)
        assert code == 0, f"greyhound {self.name} exited {code} on SIGTERM:\n{proc.text()}"
        assert not os.path.exists(self.socket), f"{self.socket} was left behind"
        left = [p for p in glob.glob("/var/run/dpdk/*") if str(proc.pid) in re.findall(r"\d+", p)]
        assert not left, f"EAL files were left behind: {left}"


def samples(text, name):
    """[({label: value}, number)] of one metric in Prometheus text format."""
    out = []
    for line in text.splitlines():
        match = re.fullmatch(re.escape(name) + r"(?:\{(.*)\})?\s+(\S+)", line)
        if match:
            out.append((dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match.group(1) or "")), float(match.group(2))))
    return out
