"""A stock Linux kernel as a peer: Debian's User Mode Linux, run as a process.

The build machine's own kernel has no ip_gre and no KVM. UML 6.1 from Debian's
`user-mode-linux` package boots in a second or two as an ordinary process inside
the network namespace that holds its tap device, with the real ip_gre and ipip.

    guest = Guest("a", netns, [("tapa", "02:00:00:00:0a:02")])
    guest.start()                       # raises BootFailure with the console log
    guest.run("ip addr add 198.51.100.2/24 dev eth0").check()
    guest.stop()

Commands reach the guest over its serial line ttyS0, which is a pair of pipes:
one base64 line per command, answered by one line `GH <id> <exit code> <base64>`.
The initramfs (busybox, iproute2, iperf3, ping, traceroute, tcpdump with their
libraries, tunnel modules) is built once and kept under target/lab/.
"""

import base64
import glob
import hashlib
import os
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CACHE = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(REPO, "target")), "lab")
KERNEL = "/usr/bin/linux.uml"
PROGRAMS = ["ip", "ss", "iperf3", "ping", "traceroute", "tcpdump", "ethtool", "arping", "socat"]
# Wanted modules; what they need comes from modules.dep. gre and tunnel4 first
# because ip_gre's dependency list alone does not bring the IPv6 half it calls.
MODULES = ["crc-ccitt", "ipv6", "gre", "tunnel4", "ip_tunnel", "ip_gre", "ipip",
           "ip6_tunnel", "ip6_gre", "sit", "8021q"]
READY = "GH-READY"

# /init of the guest. It reads commands from ttyS0 until it is told to halt.
INIT = r"""#!/bin/sh
export PATH=/bin HOME=/tmp
mount -t proc proc /proc; mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null; mkdir -p /dev/pts /dev/shm
mount -t tmpfs tmp /tmp; mount -t tmpfs run /run
# No fallback devices: gre0 and tunl0 are names for us to give.
echo 2 >/proc/sys/net/core/fb_tunnels_only_for_init_net
while read -r m; do insmod "/mod/$m" || echo "GH-INSMOD-FAILED $m"; done </mod/order
ip link set lo up
for n in 0 1 2 3; do
  [ -e /sys/class/net/vec$n ] && ip link set vec$n name eth$n
  [ -e /sys/class/net/eth$n ] || continue
  # Whole frames on the wire: no partial checksums, no segments to cut later.
  ethtool -K eth$n tx off rx off sg off tso off gso off gro off >/dev/null 2>&1
done
exec <>/dev/ttyS0 >&0
stty raw -echo
echo %READY%
while read -r id b64; do
  [ "$id" = halt ] && break
  echo "$b64" | base64 -d >/tmp/.cmd
  sh /tmp/.cmd >/tmp/.out 2>&1 </dev/null; rc=$?
  echo "GH $id $rc $(base64 /tmp/.out | tr -d '\n')"
done
poweroff -f
""".replace("%READY%", READY)


class BootFailure(Exception):
    """The guest did not come up; the text holds its console log."""


class CommandFailed(Exception):
    """A command that had to succeed in a peer did not."""


class Result:
    """What a command left: exit code and combined output."""

    def __init__(self, where, command, code, out):
        self.where, self.command, self.code, self.out = where, command, code, out

    def check(self):
        if self.code != 0:
            raise CommandFailed(f"{self.where}: `{self.command}` exited {self.code}:\n{self.out}")
        return self


def module_order(root, modules):
    """Module files in the order insmod needs, dependencies first."""
    deps, names = {}, {}
    with open(os.path.join(root, "modules.dep")) as dep_file:
        for line in dep_file:
            mod, _, needs = line.partition(":")
            deps[mod] = needs.split()
            names[os.path.basename(mod).split(".ko")[0].replace("-", "_")] = mod
    order = []

    def add(mod):
        for need in reversed(deps[mod]):
            add(need)
        if mod not in order:
            order.append(mod)

    for name in modules:
        key = name.replace("-", "_")
        if key not in names and name in builtin(root):
            continue
        if key not in names:
            raise BootFailure(f"module {name} is not in {root}")
        add(names[key])
    return order


def builtin(root):
    """Names of what the kernel has in itself, if it says so."""
    path = os.path.join(root, "modules.builtin")
    if not os.path.exists(path):
        return set()
    with open(path) as lines:
        return {os.path.basename(line.strip()).removesuffix(".ko").replace("_", "-") for line in lines}


def libraries(program):
    """Shared objects `program` loads, the dynamic loader included."""
    out = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    return sorted(set(re.findall(r"(/[^ ]+)", out)))


def build_initramfs():
    """Path of the initramfs; built only when its ingredients changed."""
    roots = sorted(glob.glob("/usr/lib/uml/modules/*"))
    if not roots or not os.path.exists(KERNEL):
        raise BootFailure("user-mode-linux is not installed: run tests/lab/setup.sh")
    return initramfs("initramfs", KERNEL, roots[-1], MODULES)


def initramfs(label, kernel, root, modules):
    """Path of an initramfs for this kernel with modules from `root`."""
    os.makedirs(CACHE, exist_ok=True)
    programs = {}
    for name in PROGRAMS:
        found = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
        if not found:
            raise BootFailure(f"the guest needs `{name}`, which is not installed here")
        programs[name] = found
    stamp = hashlib.sha256(INIT.encode())
    for path in [kernel, "/usr/bin/busybox", __file__, *programs.values()]:
        info = os.stat(path)
        stamp.update(f"{path} {info.st_size} {int(info.st_mtime)}\n".encode())
    stamp.update(" ".join(modules).encode())
    image = os.path.join(CACHE, f"{label}-{stamp.hexdigest()[:16]}.cpio")
    if os.path.exists(image):
        return image
    for old in glob.glob(os.path.join(CACHE, f"{label}-*.cpio")):
        os.unlink(old)
    with tempfile.TemporaryDirectory(dir=CACHE) as tree:
        _fill_tree(tree, root, modules, programs)
        listing = subprocess.run(["find", ".", "-print0"], cwd=tree, capture_output=True, check=True)
        part = image + f".{os.getpid()}"
        with open(part, "wb") as out:
            subprocess.run(["cpio", "--quiet", "-0", "-o", "-H", "newc"], cwd=tree,
                           input=listing.stdout, stdout=out, check=True)
        os.rename(part, image)
    return image


def _fill_tree(tree, module_root, modules, programs):
    for sub in ["bin", "dev", "proc", "sys", "tmp", "run", "mod", "etc"]:
        os.makedirs(os.path.join(tree, sub))

    def put(source, target):
        path = tree + target
        os.makedirs(os.path.dirname(path), exist_ok=True)
        shutil.copy(source, path)

    put("/usr/bin/busybox", "/bin/busybox")
    applets = subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=True)
    for applet in applets.stdout.split():
        if applet not in programs and applet not in ("busybox", "sh"):
            os.symlink("/bin/busybox", f"{tree}/bin/{applet}")
    # dash, not busybox sh: the latter runs its own ip and ping before ours.
    for name, path in [*programs.items(), ("sh", "/bin/dash")]:
        put(os.path.realpath(path), f"/bin/{name}")
        for lib in libraries(path):
            put(os.path.realpath(lib), lib)
    order = module_order(module_root, modules)
    for mod in order:
        put(os.path.join(module_root, mod), "/mod/" + os.path.basename(mod))
    with open(f"{tree}/mod/order", "w") as out:
        out.writelines(os.path.basename(mod) + "\n" for mod in order)
    for name, text in {"etc/passwd": "root:x:0:0:root:/:/bin/sh\n",
                       "etc/group": "root:x:0:\n",
                       "etc/protocols": "icmp 1 ICMP\nudp 17 UDP\ntcp 6 TCP\n",
                       "etc/services": "\n", "etc/nsswitch.conf": "hosts: files\n",
                       "etc/hosts": "127.0.0.1 localhost\n", "init": INIT}.items():
        with open(os.path.join(tree, name), "w") as out:
            out.write(text)
    os.chmod(f"{tree}/init", 0o755)


class Guest:
    """One UML process inside network namespace `netns`.

    `nics` lists (tap, MAC) pairs; they become eth0, eth1, ... in the guest.
    """

    def __init__(self, name, netns, nics, mem="192M", mtu=1500, workdir=None):
        self.name, self.netns, self.nics, self.mem, self.mtu = name, netns, nics, mem, mtu
        self.dir = workdir or tempfile.mkdtemp(prefix="gh-uml-")
        self.console = os.path.join(self.dir, f"uml-{name}.console")
        self.scratch = "/tmp"  # in the guest
        self.proc = None
        self.serial = 0
        self.pending = b""
        self.boot_seconds = None

    def start(self, timeout=90):
        """Boots and waits for the ready line; raises BootFailure otherwise."""
        guest_in, self.to_guest = os.pipe()
        self.from_guest, guest_out = os.pipe()
        began = time.monotonic()
        with open(self.console, "wb") as log:
            self.proc = self.boot(guest_in, guest_out, log)
        os.close(guest_in)
        os.close(guest_out)
        try:
            while self._line(began + timeout) != READY:
                pass
        except CommandFailed as why:
            text = self.console_text()
            self.stop()
            raise BootFailure(f"peer {self.name} did not boot in {timeout} s ({why}); its console:\n{text}")
        self.boot_seconds = time.monotonic() - began
        bad = re.findall(r"GH-INSMOD-FAILED (\S+)", self.console_text())
        if bad:
            self.stop()
            raise BootFailure(f"peer {self.name}: insmod failed for {bad}:\n{self.console_text()}")
        return self

    def boot(self, guest_in, guest_out, log):
        """Starts the process, its ttyS0 on two pipes and its console in `log`."""
        umid = f"gh{os.getpid()}-{self.name}"
        argv = ["ip", "netns", "exec", self.netns, KERNEL, f"mem={self.mem}", f"initrd={build_initramfs()}",
                "root=/dev/ram0", "rdinit=/init", f"umid={umid}", f"uml_dir={self.dir}/",
                "con=null", "con0=null,fd:1", "ssl=null", f"ssl0=fd:{guest_in},fd:{guest_out}",
                *(f"vec{n}:{self.nic(*nic)},depth=64,gro=0,mtu={self.mtu}" for n, nic in enumerate(self.nics)),
                "panic=-1", "net.ifnames=0", "quiet"]
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                pass_fds=[guest_in, guest_out], start_new_session=True)

    @staticmethod
    def nic(tap, mac):
        """The vector driver's transport arguments for one network card."""
        return f"transport=tap,ifname={tap},mac={mac}"

    def run(self, command, timeout=60):
        """Runs a shell command line in the guest; combined output, exit code."""
        if isinstance(command, (list, tuple)):
            command = shlex.join(command)
        self.serial += 1
        text = base64.b64encode(command.encode()).decode()
        os.write(self.to_guest, f"{self.serial} {text}\n".encode())
        deadline = time.monotonic() + timeout
        while True:
            words = self._line(deadline, command).split(" ")
            if words[0] == "GH" and words[1] == str(self.serial):
                out = base64.b64decode(words[3] if len(words) > 3 else "").decode(errors="replace")
                return Result(self.name, command, int(words[2]), out)

    def sh(self, command, timeout=60):
        """Like run, but the command must succeed; returns its output."""
        return self.run(command, timeout).check().out

    def spawn(self, command):
        """Starts a shell command in the background of the guest; returns its pid there."""
        log = f"/tmp/bg{self.serial + 1}.log"
        return int(self.sh(f"setsid sh -c {shlex.quote(command)} >{log} 2>&1 </dev/null & echo $!"))

    def console_text(self):
        with open(self.console, errors="replace") as log:
            return log.read()

    def stop(self):
        """Powers the guest off; its processes are gone when this returns."""
        if self.proc is None:
            return
        try:
            os.write(self.to_guest, b"halt -\n")
            self.proc.wait(timeout=5)
        except (OSError, subprocess.TimeoutExpired):
            pass
        try:
            os.killpg(self.proc.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.proc.wait()
        for fd in (self.to_guest, self.from_guest):
            os.close(fd)
        self.proc = None

    def _line(self, deadline, what="boot"):
        """Next line from the guest, or CommandFailed at the deadline or its death."""
        while b"\n" not in self.pending:
            left = deadline - time.monotonic()
            if left <= 0:
                raise CommandFailed(f"{self.name}: no answer to `{what}` in time")
            ready, _, _ = select.select([self.from_guest], [], [], min(left, 0.5))
            if ready:
                chunk = os.read(self.from_guest, 65536)
                if not chunk:
                    raise CommandFailed(f"{self.name}: the guest died during `{what}`:\n{self.console_text()[-3000:]}")
                self.pending += chunk
            elif self.proc.poll() is not None:
                raise CommandFailed(f"{self.name}: the guest exited {self.proc.returncode} during `{what}`")
        line, _, self.pending = self.pending.partition(b"\n")
        return line.decode(errors="replace").strip()


if __name__ == "__main__":
    # uml.py initramfs: build the image ahead of time (setup does this).
    if sys.argv[1:] == ["initramfs"]:
        print(build_initramfs())
    else:
        sys.exit("usage: uml.py initramfs")
