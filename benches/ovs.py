"""Open vSwitch with DPDK as a peer: its userspace datapath made a tunnel router.

The same pair of ports, one packet thread on the measured core, its defaults
otherwise. Each prefix is a flow "decrement the TTL, out of that tunnel"; the
tunnels carry IP (`packet_type=legacy_l3`). Daemons, database and the bridges'
kernel ends live in the lab's directory and a namespace of their own.
"""

import json
import os
import re
import socket
import time

import frames as work_frames
from lab import CommandFailed, wait_for
from peers import BOTH, CORE, Measured, forget_eal, need_hugepages

VSWITCHD = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"
SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
MEMORY_MIB = 1024  # its pool takes 131,072 buffers from that: more than 65,536 frames
LEARNING = 2.0     # seconds until flows are in its caches


class OpenVSwitch(Measured):
    """A running ovs-vswitchd with the work's prefixes as flows."""

    name = "ovs-vswitchd"

    def __init__(self, lab, work, source, sink):
        self.lab, self.space = lab, lab.netns("ovs")
        self.prefix = f"ghovs{os.getpid()}"
        self.database, self.control = lab.path("ovs.sock"), lab.path("ovs.ctl")
        self._database()
        self._daemon()
        self._ports(work, source, sink)
        self._flows(work)

    def _database(self):
        file = self.lab.path("ovs.db")
        self.space.sh(["ovsdb-tool", "create", file, SCHEMA])
        self.space.start(["ovsdb-server", file, f"--remote=punix:{self.database}",
                          f"--unixctl={self.lab.path('ovsdb.ctl')}", "--log-file=/dev/null"], "ovsdb-server")
        wait_for("ovsdb-server", lambda: os.path.exists(self.database))
        self.vsctl("--no-wait", "init")

    def _daemon(self):
        need_hugepages(self.lab, MEMORY_MIB)
        self.vsctl("--no-wait", "set", "Open_vSwitch", ".", "other_config:dpdk-init=true",
                   f"other_config:dpdk-socket-mem={MEMORY_MIB}", "other_config:dpdk-lcore-mask=0x1",
                   f"other_config:pmd-cpu-mask={1 << CORE:#x}",
                   f'other_config:dpdk-extra="--no-pci --in-memory --file-prefix {self.prefix}"')
        self.lab.on_close(lambda: forget_eal(self.prefix))
        self.proc = self.space.start(["env", f"OVS_RUNDIR={self.lab.dir}", *BOTH, VSWITCHD, f"unix:{self.database}", f"--unixctl={self.control}",
                                      "--log-file=" + self.lab.path("vswitchd.log")], "ovs-vswitchd")
        wait_for(f"ovs-vswitchd (its log: {self.proc.log})",
                 lambda: os.path.exists(self.control) or not self.proc.alive(), 60)
        if not self.proc.alive():
            raise CommandFailed(f"ovs-vswitchd ended:\n{self.proc.text()}")
        self.vsctl("--timeout=60", "add-br", "bin", "--", "set", "bridge", "bin", "datapath_type=netdev",
                   "fail-mode=secure")
        self.vsctl("--timeout=60", "add-br", "bout", "--", "set", "bridge", "bout", "datapath_type=netdev",
                   "--", "set", "bridge", "bout", f'other-config:hwaddr="{work_frames.MAC_OUT}"')

    def _ports(self, work, source, sink):
        """The outer addresses are the kernel's on bridge `bout`; it routes for the tunnels."""
        self.space.ip(f"addr add {work_frames.LOCAL}/24 dev bout")
        self.space.ip("link set bout up")
        self.space.ip("route add 10.2.0.0/15 via 10.0.1.3")
        self.vsctl("--timeout=60", "add-port", "bout", "p1", "--", "set", "Interface", "p1", "type=dpdk",
                   f'options:dpdk-devargs="{sink}"')
        self.ctl("tnl/neigh/set", "bout", "10.0.1.3", work_frames.HOP_MAC.format(3))
        for i in range(work.tunnels):
            name = work.tunnel_name(i)
            self.vsctl("--timeout=60", "add-port", "bin", name, "--", "set", "Interface", name, "type=gre",
                       f"options:local_ip={work_frames.LOCAL}",
                       f"options:remote_ip={work_frames.dotted(work.remote(i))}", "options:packet_type=legacy_l3")
        self.device = source

    def _flows(self, work):
        file = self.lab.path("flows")
        with open(file, "w") as flows:
            for place, (network, length) in enumerate(work.table):
                flows.write(f"priority={length},ip,nw_dst={work_frames.dotted(network)}/{length},"
                            f"actions=dec_ttl,output:{work.tunnel_name(place % work.tunnels)}\n")
        management = os.path.join(self.lab.dir, "bin.mgmt")
        wait_for("the bridge's OpenFlow socket", lambda: os.path.exists(management))
        self.space.sh(["ovs-ofctl", "add-flows", f"unix:{management}", file])

    def load(self):
        """Lets the source's packets in, and the datapath learn its flows."""
        self.vsctl("--timeout=60", "add-port", "bin", "p0", "--", "set", "Interface", "p0", "type=dpdk",
                   f'options:dpdk-devargs="{self.device}"')
        wait_for(f"Open vSwitch to forward (its log: {self.proc.log})", self.sent, 30)
        time.sleep(LEARNING)

    def source(self, up):
        """Takes the source away (there is no way back)."""
        if not up:
            self.vsctl("--timeout=60", "del-port", "p0")

    @property
    def pid(self):
        return self.proc.pid

    def sent(self):
        shown = self.ctl("dpctl/show", "-s", "netdev@ovs-netdev")
        return int(re.search(r"port \d+: p1 .*?TX packets:(\d+)", shown, re.DOTALL).group(1))

    def vsctl(self, *args):
        return self.space.sh(["ovs-vsctl", f"--db=unix:{self.database}", *args])

    def ctl(self, method, *params):
        """A call of the daemon's own control socket (JSON-RPC)."""
        link = socket.socket(socket.AF_UNIX)
        with link:
            link.connect(self.control)
            link.sendall(json.dumps({"method": method, "params": params, "id": 0}).encode())
            text = b""
            while True:
                text += link.recv(65536)
                try:
                    answer = json.loads(text)
                    break
                except ValueError:
                    continue
        if answer["error"]:
            raise CommandFailed(f"{method} {' '.join(params)}: {answer['error']}")
        return answer["result"]
