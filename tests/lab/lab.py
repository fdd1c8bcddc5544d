"""The lab: throwaway network namespaces, links, captures and processes.

Everything is named after this process (`gh<pid>-lan`), lives in a `with Lab()`
block and is gone when the block ends, whether by return, exception, SIGINT or
SIGTERM. What a killed run left behind is swept by the next one: namespaces are
the only things that outlive a process, and their names hold its pid.

    with Lab() as lab:
        lan, gw = lab.netns("lan"), lab.netns("gw")
        lab.veth(lan, "eth0", gw, "en0")
        lan.ip("addr add 10.0.0.163/8 dev eth0")
        lan.run("ping -c 1 10.0.0.1").check()
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [p for p in (HERE, os.path.join(REPO, "tests/peers")) if p not in sys.path]

import uml  # noqa: E402
from uml import BootFailure, CommandFailed, Result  # noqa: E402,F401

PREFIX = "gh"


class Timeout(Exception):
    """A condition the lab waited for did not come true."""


def wait_for(what, condition, timeout=10.0, every=0.05):
    """Polls `condition` until it is truthy and returns that; names `what` on failure."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Timeout(f"waited {timeout:g} s for {what}")
        time.sleep(every)


def shell(command, timeout=60, where="host", **kwargs):
    """Runs argv or a shell line; combined output and exit code as a Result."""
    argv = command if isinstance(command, list) else ["bash", "-c", command]
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=timeout, **kwargs)
        code, out = done.returncode, done.stdout
    except subprocess.TimeoutExpired as late:
        code, out = 124, (late.stdout or b"") + f"\n(timed out after {timeout} s)\n".encode()
    text = command if isinstance(command, str) else shlex.join(command)
    return Result(where, text, code, out.decode(errors="replace"))


def host_ip(args):
    """`ip ARGS` outside any namespace; raises on failure."""
    return shell(["ip", *shlex.split(args)]).check().out


class Proc:
    """A background process in a namespace; its combined output is in `log`."""

    def __init__(self, name, argv, log, env=None, cwd=None):
        self.name, self.argv, self.log = name, argv, log
        with open(log, "ab") as out:
            self.popen = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                          env=env, cwd=cwd, start_new_session=True)

    @property
    def pid(self):
        return self.popen.pid

    def alive(self):
        return self.popen.poll() is None

    def text(self):
        with open(self.log, errors="replace") as log:
            return log.read()

    def wait(self, timeout):
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Timeout(f"{self.name} (pid {self.pid}) still runs after {timeout} s") from None

    def stop(self, sig=signal.SIGTERM, timeout=5):
        """Signals, waits, kills if it must; returns the exit code."""
        if self.alive():
            self.popen.send_signal(sig)
            try:
                self.popen.wait(timeout)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        return self.popen.wait()


class Netns:
    """A network namespace of this lab."""

    def __init__(self, lab, name):
        self.lab, self.name, self.full = lab, name, lab.unique(name)
        self.scratch = lab.dir
        host_ip(f"netns add {self.full}")
        self.ip("link set lo up")

    def argv(self, command):
        inner = command if isinstance(command, list) else ["bash", "-c", command]
        return ["ip", "netns", "exec", self.full, *inner]

    def ip(self, args):
        """`ip ARGS` inside; raises on failure."""
        return shell(["ip", "-n", self.full, *shlex.split(args)], where=self.name).check().out

    def run(self, command, timeout=60, **kwargs):
        """Runs to the end and returns a Result; does not raise by itself."""
        done = shell(self.argv(command), timeout, where=self.name, **kwargs)
        done.command = command if isinstance(command, str) else shlex.join(command)
        return done

    def sh(self, command, timeout=60):
        """Like run, but the command must succeed; returns its output."""
        return self.run(command, timeout).check().out

    def start(self, command, name=None, env=None, cwd=None):
        """Starts in the background; stopped with the lab."""
        return self.lab.start(name or f"{self.name}-proc", self.argv(command), env, cwd)

    def etc(self, name, text):
        """What processes started here from now on find as /etc/NAME. Written again, they see it change."""
        folder = f"/etc/netns/{self.full}"
        os.makedirs(folder, exist_ok=True)
        with open(f"{folder}/{name}", "w") as file:
            file.write(text)
        self.lab.on_close(lambda: shutil.rmtree(folder, ignore_errors=True))

    def spawn(self, command):
        """Starts a shell command in the background; returns the process's id."""
        return self.start(command).pid

    def sysctl(self, key, value):
        self.sh(["sysctl", "-qw", f"{key}={value}"])

    def mac(self, dev):
        """MAC address of a device in here, lower case with colons."""
        return json.loads(self.ip(f"-j link show dev {dev}"))[0]["address"]


class Capture:
    """tcpdump on one device into a pcap file, started before it returns."""

    def __init__(self, netns, dev, expression=""):
        self.netns, self.dev = netns, dev
        self.file = netns.lab.path(f"{netns.name}-{dev}.pcap")
        self.proc = netns.start(["tcpdump", "-i", dev, "-n", "-U", "--immediate-mode", "-s", "0",
                                 "-w", self.file, *shlex.split(expression)], f"tcpdump-{dev}")
        wait_for(f"tcpdump on {dev}", lambda: "listening on" in self.proc.text() or not self.proc.alive())
        if not self.proc.alive():
            raise CommandFailed(f"tcpdump on {dev}: {self.proc.text()}")

    def stop(self):
        """Ends the capture after what is in flight arrived; returns the file."""
        time.sleep(0.2)
        self.proc.stop(signal.SIGINT)
        return self.file

    def packets(self):
        """The frames captured, as scapy packets (stops the capture)."""
        self.stop()
        import scapy_quiet
        return scapy_quiet.rdpcap(self.file)

    def text(self, limit=12):
        """tcpdump's own view of the first `limit` frames (stops the capture)."""
        self.stop()
        return shell(["tcpdump", "-r", self.file, "-n", "-e", "-v", "-c", str(limit)]).out


class Lab:
    """Owner of namespaces, processes, guests and the scratch directory of a run."""

    def __init__(self, keep_logs=False):
        sweep()
        self.tag = f"{PREFIX}{os.getpid()}"
        self.dir = tempfile.mkdtemp(prefix=f"{self.tag}-", dir="/tmp")
        self.keep_logs = keep_logs
        self.namespaces, self.cleanups, self.procs, self.serial = [], [], [], 0

    def __enter__(self):
        self.old = {s: signal.signal(s, _interrupt) for s in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
        return self

    def __exit__(self, kind, value, trace):
        previous = {s: signal.signal(s, signal.SIG_IGN) for s in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
        if kind and issubclass(kind, Exception):
            self._last_words()
        self.close()
        for sig, handler in {**previous, **self.old}.items():
            signal.signal(sig, handler)

    def _last_words(self):
        """After a failure: the end of every gateway's log."""
        for proc in self.procs:
            if proc.name.startswith("greyhound"):
                state = "running" if proc.alive() else f"exited {proc.popen.returncode}"
                tail = "\n".join("  | " + line for line in proc.text().splitlines()[-25:])
                print(f"{proc.name} ({state}) wrote:\n{tail}")

    def unique(self, name):
        return f"{self.tag}-{name}"

    def path(self, name):
        """A fresh file name in the scratch directory."""
        self.serial += 1
        return os.path.join(self.dir, f"{self.serial:02}-{name}")

    def on_close(self, action):
        """Registers an action for the end of the lab; last in, first out."""
        self.cleanups.append(action)

    def netns(self, name, ipv6=False):
        """A new namespace. IPv6 off by default: no router solicitations in captures."""
        space = Netns(self, name)
        self.namespaces.append(space)
        if not ipv6:
            space.sysctl("net.ipv6.conf.all.disable_ipv6", 1)
            space.sysctl("net.ipv6.conf.default.disable_ipv6", 1)
        return space

    def veth(self, left, left_dev, right, right_dev, mtu=1500):
        """A veth pair between two namespaces, up, with every offload off.

        Offloads off because a veth passes partial checksums and 64 kB frames
        along, which a gateway reading raw frames must not be blamed for.
        """
        host_ip(f"link add {left_dev} netns {left.full} mtu {mtu} type veth "
                f"peer name {right_dev} netns {right.full} mtu {mtu}")
        for space, dev in ((left, left_dev), (right, right_dev)):
            space.sh(f"ethtool -K {dev} tx off rx off sg off tso off gso off gro off >/dev/null")
            space.ip(f"link set {dev} up")

    def bridge(self, space, name, *devices):
        """A bridge without an address in `space` over `devices` already there."""
        space.ip(f"link add {name} type bridge forward_delay 0 mcast_snooping 0")
        for dev in devices:
            space.ip(f"link set {dev} master {name}")
        space.ip(f"link set {name} up")

    def tap(self, space, name, mtu=1500):
        """A persistent tap device in `space`, up; a UML guest opens it."""
        space.ip(f"tuntap add dev {name} mode tap")
        space.ip(f"link set {name} mtu {mtu} up")

    def start(self, name, argv, env=None, cwd=None):
        """Starts a background process which ends with the lab."""
        proc = Proc(name, argv, self.path(f"{name}.log"), env, cwd)
        self.procs.append(proc)
        self.on_close(proc.stop)
        return proc

    def capture(self, space, dev, expression=""):
        return Capture(space, dev, expression)

    def guest(self, name, space, nics, mtu=1500, kind=uml.Guest):
        """Boots a stock Linux (UML unless told) on [(tap, MAC), ...]; raises BootFailure with its console."""
        guest = kind(name, space.full, nics, mtu=mtu, workdir=self.dir)
        self.on_close(guest.stop)
        return guest.start()

    def close(self):
        """Stops and deletes everything; never raises, says what went wrong."""
        while self.cleanups:
            action = self.cleanups.pop()
            try:
                action()
            except Exception as err:  # the rest must be cleaned all the same
                print(f"lab: clean-up {action} failed: {err}", file=sys.stderr)
        for space in self.namespaces:
            delete_netns(space.full)
        self.namespaces = []
        if not self.keep_logs:
            shutil.rmtree(self.dir, ignore_errors=True)


def _interrupt(signum, _frame):
    raise KeyboardInterrupt(f"signal {signum}")


def delete_netns(name):
    """Kills what still runs in a namespace of ours, then deletes it."""
    for pid in shell(["ip", "netns", "pids", name]).out.split():
        try:
            os.kill(int(pid), signal.SIGKILL)
        except (ProcessLookupError, ValueError):
            pass
    shell(["ip", "netns", "del", name])


def sweep():
    """Removes namespaces and scratch directories of labs whose process is dead."""
    for line in shell(["ip", "netns", "list"]).out.splitlines():
        name = line.split(" ")[0]
        if _orphan(name):
            delete_netns(name)
    for name in os.listdir("/tmp"):
        if _orphan(name):
            shutil.rmtree(os.path.join("/tmp", name), ignore_errors=True)


def _orphan(name):
    owner = re.fullmatch(PREFIX + r"(\d+)-.*", name)
    return bool(owner) and not os.path.exists(f"/proc/{owner.group(1)}")
