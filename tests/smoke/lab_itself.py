"""The lab without Greyhound: machine C played by a second stock Linux.

Shows that the wires, the guests and the captures are sound, so that a failure
of the other tests is Greyhound's.
"""

import time

from scapy_quiet import GRE
from topology import A_INNER, B_HOST, Office
from lab import Lab


def smoke_lab_linux_as_c():
    """ping, iperf3 and proxy ARP between A and B with Linux as gateway C"""
    with Lab() as lab:
        office = Office(lab).wire_bridges("tc0", "tc1")
        c = office.boot_c()
        a = office.boot_a()
        outer = lab.capture(office.inet, "toc", "ip proto 47")
        out = a.sh(f"ping -c 3 -i 0.2 -W 2 {B_HOST}")
        assert " 0% packet loss" in out, out
        out = office.lan.sh(f"ping -c 3 -i 0.2 -W 2 {A_INNER}")
        assert " 0% packet loss" in out, out
        # Not the guests' IPv6 neighbour discovery on their tunnels.
        frames = [f for f in outer.packets() if f[GRE].proto == 0x0800]
        assert len(frames) == 12, f"12 outer packets expected, {len(frames)} captured"
        a.spawn("iperf3 -s -1")
        time.sleep(0.3)
        out = office.lan.sh(f"iperf3 -c {A_INNER} -t 2 -f m")
        print(f"  boot A {a.boot_seconds:.1f} s, C {c.boot_seconds:.1f} s;",
              [l.split("Bytes")[1].strip() for l in out.splitlines() if "receiver" in l][0])
