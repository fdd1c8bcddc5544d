"""The note's picture, as namespaces:

      namespace lan              namespace gw               namespace inet
  +-------------------+     +----------------------+     +--------------------+
  | B 10.0.0.163/8    |     | machine C: Greyhound |     | 203.0.113.254/24   |
  |   eth0 -----------+-----+- en0            en1 -+-----+- toc               |
  | the office LAN    |     | 10.0.0.1/8           |     |   a plain router   |
  +-------------------+     |      203.0.113.1/24  |     | 198.51.100.254/24  |
                            +----------------------+     |  toa (tap) --------+-- machine A
                                                         +--------------------+   a stock Linux:
  gre0 on C: 10.0.0.1 -> 10.0.0.25, tunnel 203.0.113.1 -> 198.51.100.2            198.51.100.2/24
  gre0 on A: 10.0.0.25 -> 10.0.0.1, tunnel 198.51.100.2 -> 203.0.113.1            10/8 via gre0

`Office` builds it around any machine C; `Neighbours` is T5's pair on one LAN.
"""

from lab import wait_for

A_OUTER, C_OUTER = "198.51.100.2", "203.0.113.1"
A_ROUTER, C_ROUTER = "198.51.100.254", "203.0.113.254"
A_INNER, C_INNER, B_HOST = "10.0.0.25", "10.0.0.1", "10.0.0.163"
A_MAC = "02:00:00:00:0a:02"

# The note's lines, with A.A.A.A and C.C.C.C filled in. The first three are what
# it takes for granted ("two real interfaces"); the rest are verbatim.
C_REAL_INTERFACES = [
    "ifconfig en0 10.1",
    f"ifconfig en1 {C_OUTER} netmask 255.255.255.0",
    f"route add default {C_ROUTER}",
]
C_PUBLISH = "arp -s 10.0.0.25 $(netstat -in | grep en0 | grep Link | cut -c 27-43) pub"
C_TUNNEL = [
    "ifconfig gre0 create",
    "ifconfig gre0 10.1 10.25 link1",
    f"ifconfig gre0 tunnel {C_OUTER} {A_OUTER}",
]
A_REAL_INTERFACES = [
    f"ifconfig en0 {A_OUTER} netmask 255.255.255.0",
    f"route add default {A_ROUTER}",
]
A_TUNNEL = [
    "ifconfig gre0 create",
    "ifconfig gre0 10.25 10.1 link1",
    f"ifconfig gre0 tunnel {A_OUTER} {C_OUTER}",
    "route add -net 10 10.1",
]


class Office:
    """LAN, Internet and machine A around a gateway C which the caller starts in `gw`."""

    def __init__(self, lab, mtu=1500, internet_mtu=1500):
        self.lab = lab
        self.lan, self.gw, self.inet = lab.netns("lan"), lab.netns("gw"), lab.netns("inet")
        self.gw.sysctl("net.ipv4.ip_forward", 0)
        self.mtu, self.internet_mtu = mtu, internet_mtu

    def wire_veth(self):
        """C's ports are veth ends named en0 and en1 in `gw` (net_af_packet)."""
        self.lab.veth(self.lan, "eth0", self.gw, "en0", self.mtu)
        self.lab.veth(self.inet, "toc", self.gw, "en1", self.internet_mtu)
        self._addresses()
        return self

    def wire_bridges(self, en0_tap, en1_tap):
        """C's ports are the taps `en0_tap`, `en1_tap`, joined to the wires by bridges.

        The bridges exist at once; call `join_tap` when the tap does (net_tap
        creates its tap when the gateway starts).
        """
        for bridge, space, dev in (("br0", self.lan, "eth0"), ("br1", self.inet, "toc")):
            self.lab.veth(space, dev, self.gw, f"{bridge}v", self.mtu)
            self.lab.bridge(self.gw, bridge, f"{bridge}v")
        self.taps = {"br0": en0_tap, "br1": en1_tap}
        self._addresses()
        return self

    def join_taps(self):
        """Puts C's taps on their bridges, waiting until they exist.

        net_tap gives the kernel's end the port's own MAC, for which a bridge
        would take frames itself; so that end gets another one.
        """
        for number, (bridge, tap) in enumerate(self.taps.items()):
            wait_for(f"tap {tap} in gw", lambda t=tap: self.gw.run(["ip", "link", "show", t]).code == 0)
            self.gw.ip(f"link set {tap} address 02:00:00:00:fe:0{number}")
            self.gw.ip(f"link set {tap} master {bridge} up")

    def _addresses(self):
        self.lan.ip(f"addr add {B_HOST}/8 dev eth0")
        self.inet.ip(f"addr add {C_ROUTER}/24 dev toc")
        self.inet.sysctl("net.ipv4.ip_forward", 1)
        self.lab.tap(self.inet, "toa", self.internet_mtu)
        self.inet.ip(f"addr add {A_ROUTER}/24 dev toa")

    def boot_c(self):
        """Machine C as a stock Linux, for tests in which Greyhound is A.

        Its ports are taps on the bridges; `ip neigh add proxy` stands for
        `arp ... pub`.
        """
        for tap in self.taps.values():
            self.lab.tap(self.gw, tap)
        self.join_taps()
        guest = self.lab.guest("c", self.gw, [(self.taps["br0"], "02:00:00:00:0c:00"),
                                              (self.taps["br1"], "02:00:00:00:0c:01")])
        guest.sh(f"""set -e
            echo 1 >/proc/sys/net/ipv4/ip_forward
            ip addr add {C_INNER}/8 dev eth0; ip link set eth0 up
            ip addr add {C_OUTER}/24 dev eth1; ip link set eth1 up
            ip route add default via {C_ROUTER}
            ip link add gre0 type gre local {C_OUTER} remote {A_OUTER} ttl 64
            ip addr add {C_INNER} peer {A_INNER} dev gre0; ip link set gre0 up
            ip neigh add proxy {A_INNER} dev eth0""")
        return guest

    def port_of_a(self):
        """A namespace with veth end `en0` where machine A is, for Greyhound as A."""
        self.inet.ip("link del toa")
        space = self.lab.netns("a")
        self.lab.veth(self.inet, "toa", space, "en0", self.internet_mtu)
        self.inet.ip(f"addr add {A_ROUTER}/24 dev toa")
        return space

    def boot_a(self, tunnel=True):
        """Machine A: a stock Linux kernel with the mirror image of the tunnel."""
        guest = self.lab.guest("a", self.inet, [("toa", A_MAC)], self.internet_mtu)
        guest.sh(f"ip addr add {A_OUTER}/24 dev eth0; ip link set eth0 up; ip route add default via {A_ROUTER}")
        if tunnel:
            guest.sh(f"ip link add gre0 type gre local {A_OUTER} remote {C_OUTER} ttl 64 && "
                     f"ip addr add {A_INNER} peer {C_INNER} dev gre0 && ip link set gre0 up && "
                     f"ip route add 10.0.0.0/8 via {C_INNER} src {A_INNER}")
        return guest


class Neighbours:
    """T5: two machines on one LAN, 10.0.0.25 (A) and 10.0.0.163 (B).

    Each side is a Linux guest on a tap, or Greyhound on a veth end in its own
    namespace. The wire between them is bridge `br0` in namespace `wire`, where
    captures see every outer packet once.
    """

    A, B = "10.0.0.25", "10.0.0.163"

    def __init__(self, lab):
        self.lab, self.wire = lab, lab.netns("wire")
        lab.bridge(self.wire, "br0")

    def linux(self, name, outer, peer_outer, inner, peer_inner, mac, kind="gre"):
        """A stock Linux on the wire with its end of the tunnel."""
        tap = f"t{name}"
        self.lab.tap(self.wire, tap)
        self.wire.ip(f"link set {tap} master br0")
        guest = self.lab.guest(name, self.wire, [(tap, mac)])
        guest.sh(f"ip addr add {outer}/8 dev eth0 && ip link set eth0 up && "
                 f"ip link add {kind}0 type {kind} local {outer} remote {peer_outer} ttl 64 && "
                 f"ip addr add {inner} peer {peer_inner} dev {kind}0 && ip link set {kind}0 up")
        return guest

    def port(self, name, ipv6=False):
        """A namespace with veth end `en0` on the wire, for a Greyhound process."""
        space = self.lab.netns(name, ipv6)
        self.lab.veth(space, "en0", self.wire, f"to-{name}")
        self.wire.ip(f"link set to-{name} master br0")
        return space
