"""A stock Debian cloud kernel as a peer, under QEMU: what the UML kernel lacks.

It has FOU (UDP around GRE, IPIP and SIT), which User Mode Linux has not. QEMU
translates it (TCG), which takes some seconds to boot and works on every machine;
KVM inside a virtual machine does not. Used like `uml.Guest`, whose /init and serial
line it shares:

    guest = qemu.Guest("b", netns, [("tapb", "02:00:00:00:0a:02")]).start()
    guest.sh("ip fou add port 4754 ipproto 47")

`tests/lab/setup.sh` unpacks the kernel under target/lab/kernel; nothing of it is
installed on this machine.
"""

import glob
import os
import subprocess

import uml

HOME = os.path.join(uml.CACHE, "kernel")
MODULES = ["virtio-pci", "virtio-net", "gre", "tunnel4", "ip-tunnel", "ip-gre", "ipip", "ip6-tunnel",
           "ip6-gre", "sit", "fou", "fou6"]


def build_initramfs():
    """Kernel and initramfs."""
    kernels = sorted(glob.glob(os.path.join(HOME, "boot/vmlinuz-*")))
    roots = sorted(glob.glob(os.path.join(HOME, "lib/modules/*")))
    if not kernels or not roots:
        raise uml.BootFailure("there is no kernel for QEMU: run tests/lab/setup.sh")
    return kernels[-1], uml.initramfs("qemu-initramfs", kernels[-1], roots[-1], MODULES)


class Guest(uml.Guest):
    """One virtual machine inside network namespace `netns`."""

    def boot(self, guest_in, guest_out, log):
        kernel, initrd = build_initramfs()
        argv = ["ip", "netns", "exec", self.netns, "qemu-system-x86_64", "-nodefaults", "-no-user-config",
                "-no-reboot", "-display", "none", "-m", self.mem, "-machine", "pc,accel=tcg", "-cpu", "qemu64",
                "-kernel", kernel, "-initrd", initrd,
                "-append", "console=ttyS1 rdinit=/init panic=-1 net.ifnames=0 quiet tsc=unstable",
                "-chardev", "stdio,id=tty,signal=off", "-serial", "chardev:tty",
                "-serial", f"file:{self.console}.kernel"]
        for n, (tap, mac) in enumerate(self.nics):
            argv += ["-netdev", f"tap,id=n{n},ifname={tap},script=no,downscript=no",
                     # Whole frames on the wire: no partial checksums, no segments to cut later.
                     "-device", f"virtio-net-pci,netdev=n{n},mac={mac},csum=off,gso=off,guest_csum=off,romfile="]
        return subprocess.Popen(argv, stdin=guest_in, stdout=guest_out, stderr=log, start_new_session=True)

    def console_text(self):
        text = super().console_text()
        try:
            with open(f"{self.console}.kernel", errors="replace") as log:
                return text + log.read()
        except FileNotFoundError:
            return text


if __name__ == "__main__":
    # qemu.py: build the image ahead of time (setup does this).
    print(build_initramfs()[1])
