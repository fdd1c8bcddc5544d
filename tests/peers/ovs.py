"""Open vSwitch as a GRE far end: its userspace datapath in a namespace.

    vswitch = OpenVSwitch(lab, space, "en0")   # `en0` carries the outer packets
    vswitch.gre("10.0.0.163/8", "10.0.0.25", "12.0.0.2", "12.0.0.1", key=7)   # outer ones may be IPv6
    vswitch.ping("12.0.0.1")

Bridge `under` has the device and the outer address, bridge `inner` the tunnel
port and, as its own device, the inner address. The tunnel carries IP and no
Ethernet (`packet_type=legacy_l3`), so a flow each way does what a LAN's ARP would.
"""

import os

from lab import CommandFailed, wait_for

VSWITCHD = "/usr/sbin/ovs-vswitchd"
SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
NOBODY = "02:00:00:00:0e:0e"  # what the far inner address resolves to


class OpenVSwitch:
    """A running ovs-vswitchd whose daemons end with the lab."""

    def __init__(self, lab, space, device):
        self.lab, self.space, self.device = lab, space, device
        self.name, self.scratch = f"ovs-{space.name}", space.scratch
        self.database = lab.path("ovs.sock")
        # The device's kernel end sees the same frames and must not answer ARP.
        space.sysctl("net.ipv4.conf.all.arp_ignore", 1)
        self._start()
        self.vsctl("add-br", "under", "--", "set", "bridge", "under", "datapath_type=netdev",
                   "--", "add-port", "under", device)
        self.vsctl("add-br", "inner", "--", "set", "bridge", "inner", "datapath_type=netdev", "fail-mode=secure")

    def _start(self):
        file = self.lab.path("ovs.db")
        self.space.sh(["ovsdb-tool", "create", file, SCHEMA])
        self.space.start(["ovsdb-server", file, f"--remote=punix:{self.database}",
                          f"--unixctl={self.lab.path('ovsdb.ctl')}", "--log-file=/dev/null"], "ovsdb-server")
        wait_for("ovsdb-server", lambda: os.path.exists(self.database))
        self.vsctl("--no-wait", "init")
        control = self.lab.path("ovs.ctl")
        self.proc = self.space.start(["env", f"OVS_RUNDIR={self.lab.dir}", VSWITCHD, f"unix:{self.database}",
                                      f"--unixctl={control}", f"--log-file={self.lab.path('vswitchd.log')}"],
                                     "ovs-vswitchd")
        wait_for("ovs-vswitchd", lambda: os.path.exists(control) or not self.proc.alive(), 30)
        if not self.proc.alive():
            raise CommandFailed(f"ovs-vswitchd ended:\n{self.proc.text()}")

    def gre(self, outer, remote, inner, far, **options):
        """A GRE tunnel; `outer` with its prefix length, `options` as Open vSwitch names them."""
        self.space.ip(f"addr add {outer} dev under{' nodad' if ':' in outer else ''}")
        self.space.ip("link set under up")
        local = outer.split("/")[0]
        self.vsctl("add-port", "inner", "gre0", "--", "set", "Interface", "gre0", "type=gre", "ofport_request=10",
                   f"options:local_ip={local}", f"options:remote_ip={remote}", "options:packet_type=legacy_l3")
        self.options(**options)
        self.space.ip(f"addr add {inner} peer {far} dev inner")
        self.space.ip("link set inner up mtu 1450")
        self.space.ip(f"neigh replace {far} lladdr {NOBODY} dev inner nud permanent")
        mac = self.space.mac("inner")
        for flow in ("in_port=LOCAL,ip,actions=output:10",
                     f"in_port=10,actions=set_field:{mac}->eth_dst,LOCAL"):
            self.ofctl("add-flow", flow)

    def options(self, **options):
        """Replaces the tunnel's options but for the addresses: `key`, `in_key`, `out_key`, `csum`, `seq`."""
        for gone in ("key", "in_key", "out_key", "csum", "seq"):
            self.vsctl("--if-exists", "remove", "Interface", "gre0", "options", gone)
        if options:
            self.vsctl("set", "Interface", "gre0", *(f"options:{name}={value}" for name, value in options.items()))

    def vsctl(self, *args):
        return self.space.sh(["ovs-vsctl", f"--db=unix:{self.database}", "--timeout=20", *args])

    def ofctl(self, verb, *args):
        return self.space.sh(["ovs-ofctl", verb, f"unix:{self.lab.dir}/inner.mgmt", *args])

    def sh(self, command, timeout=60):
        return self.space.sh(command, timeout)

    def run(self, command, timeout=60):
        return self.space.run(command, timeout)
