"""The matrix of tunnels with a stock Linux at the far end: every kind, with every option of GRE.

A LAN host behind Greyhound and Linux beyond the tunnel exchange pings, small and in fragments, a file by TCP each way
and datagrams by UDP: of both families where the tunnel has both, but with single options of IPv4 alone. For each kind
iperf3 runs both ways. Then, with another key, nothing passes.

(Not here: tunnels in UDP, `tunnels_udp.py`, since this kernel has no FOU; Linux's GUE, whose header Greyhound does not speak.)
"""

from greyhound import af_packet, ports_config
from support import finish, neighbours, start
from topology import Neighbours
from transfer import expect_file, expect_ping, iperf, ping

A4, B4 = Neighbours.A, Neighbours.B
A6, B6 = "2001:db8:5::25", "2001:db8:5::163"
HOST4, GATEWAY4, FAR4 = "172.20.0.163", "172.20.0.1", "12.0.0.2"
HOST6, GATEWAY6, FAR6 = "2001:db8:1::163", "2001:db8:1::1", "fd00:12::2"
HOST = {4: HOST4, 6: HOST6}
FAR = {4: FAR4, 6: FAR6}

# GRE's options, in Greyhound's words and in Linux's.
OPTIONS = {
    "plain": ("", ""),
    "key": ("key 42", "key 42"),
    "two keys": ("key 1 2", "ikey 2 okey 1"),
    "checksum": ("checksum", "csum"),
    "sequence": ("sequence", "seq"),
    "all": ("key 42 checksum sequence", "key 42 csum seq"),
}
# The other kinds: ours, its outer pair, Linux's words, the families inside.
OTHERS = {
    "4-in-4": ("ipip", (A4, B4), f"type ipip local {B4} remote {A4} ttl 64", (4,)),
    "6-in-4": ("ipip", (A4, B4), f"type sit local {B4} remote {A4} ttl 64", (6,)),
    "4-in-6 and 6-in-6": ("ipip", (A6, B6), f"type ip6tnl mode any local {B6} remote {A6} encaplimit none", (4, 6)),
}
# Linux as it is when nobody says anything: a destination options header with a limit of 4
# in each of its packets. The last column is ours.
LIMITED = {
    "ip6tnl with a limit": ("ipip", (A6, B6), f"type ip6tnl mode any local {B6} remote {A6}", ""),
    "ip6tnl with a limit, ours too": ("ipip", (A6, B6), f"type ip6tnl mode any local {B6} remote {A6}", "encaplimit 4"),
    "ip6gre with a limit": ("gre", (A6, B6), f"type ip6gre local {B6} remote {A6}", ""),
}


class Matrix:
    """The machines; `tunnel` gives them another tunnel."""

    def __init__(self, stage):
        self.b = stage.lan.linux("b", B4, A4, FAR4, "12.0.0.1", "02:00:00:00:00:63")
        self.b.sh(f"ip link del gre0; ip addr add {B6}/64 dev eth0 nodad")
        self.lan, space = stage.lab.netns("lan", ipv6=True), stage.lan.port("a")
        stage.lab.veth(self.lan, "eth0", space, "en1")
        self.lan.ip(f"addr add {HOST4}/16 dev eth0")
        self.lan.ip(f"-6 addr add {HOST6}/64 dev eth0 nodad")
        self.lan.ip(f"route add default via {GATEWAY4}")
        self.lan.ip(f"-6 route add default via {GATEWAY6}")
        self.a = start(stage.lab, space, ports_config(en0=af_packet("en0", 0), en1=af_packet("en1", 1)), "a")
        self.a.notes(["ifconfig en0 10.25", f"ifconfig en0 inet6 {A6} prefixlen 64",
                      f"ifconfig en1 {GATEWAY4} netmask 255.255.0.0", f"ifconfig en1 inet6 {GATEWAY6} prefixlen 64"])
        self.port = 5001

    def tunnel(self, kind, ends, linux, families, options=""):
        """One on both sides, in place of the last."""
        bare = kind == "ipip" and ends == (A4, B4)
        outer = " ".join(ends) if bare else f"tunnel {' '.join(ends)}"
        lines = [f"ifconfig {kind}0 create", f"ifconfig {kind}0 {outer}"]
        self.b.sh(f"ip link del t0 2>/dev/null; ip link add t0 {linux} && ip link set t0 up")
        if 4 in families:
            self.b.sh(f"ip addr add {FAR4} peer 12.0.0.1 dev t0 && ip route add 172.20.0.0/16 dev t0")
            lines.append(f"route add -host {FAR4} -interface {kind}0" if bare
                         else f"ifconfig {kind}0 12.1 12.2" + (" link1" if kind == "gre" else ""))
        if 6 in families:
            self.b.sh(f"ip -6 addr add {FAR6}/64 dev t0 nodad && ip -6 route add 2001:db8:1::/64 dev t0")
            lines.append(f"ifconfig {kind}0 inet6 fd00:12::1 prefixlen 64")
        self.a.notes(lines + ([f"ifconfig {kind}0 {options}"] if options else []))

    def expect_traffic(self, families):
        """All that has to pass, does."""
        for family in families:
            host, far = HOST[family], FAR[family]
            around = "[{}]" if family == 6 else "{}"
            expect_ping(self.lan, far, count=2)
            if family == 6:
                ping(self.lan, far, count=1, size=4000)  # learns the tunnel's MTU
            expect_ping(self.lan, far, count=2, size=4000)
            expect_ping(self.b, host, count=2, size=4000)
            for sender, receiver, address in ((self.lan, self.b, far), (self.b, self.lan, host)):
                self.port += 1
                expect_file(sender, receiver, around.format(address), megabytes=1, port=self.port)
            self.port += 1
            seen = iperf(self.lan, self.b, far, seconds=1, udp_mbit=2, port=self.port)["sum"]
            assert seen["packets"] > 50 and seen["lost_packets"] == 0, seen

    def expect_streams(self, families):
        """iperf3 by TCP, from each end."""
        for family in families:
            for back in (False, True):
                self.port += 1
                seen = iperf(self.lan, self.b, FAR[family], seconds=1, reverse=back, port=self.port)["sum_received"]
                assert seen["bits_per_second"] > 1e6, f"IPv{family}{' back' if back else ''}: {seen}"

    def row(self, name, *tunnel, options="", streams=False):
        """One row of the matrix."""
        self.tunnel(*tunnel, options)
        try:
            self.expect_traffic(tunnel[3])
            if streams:
                self.expect_streams(tunnel[3])
        except AssertionError as why:
            raise AssertionError(f"{name}: {why}\n{self.a.note('netstat -s')}") from why

    def expect_nothing_with_another_key(self, kind, linux, families):
        """Linux has key 43 now: neither way passes anything."""
        self.b.sh(f"ip link del t0; ip link add t0 {linux} key 43 && ip link set t0 up && "
                  f"ip addr add {FAR4} peer 12.0.0.1 dev t0 && ip route add 172.20.0.0/16 dev t0 && "
                  f"ip -6 addr add {FAR6}/64 dev t0 nodad && ip -6 route add 2001:db8:1::/64 dev t0")
        before = self.a.tunnel(f"{kind}0")["traffic"]["rx_packets"], self.a.dropped("unknown_tunnel")
        for family in families:
            for sender, address in ((self.lan, FAR[family]), (self.b, HOST[family])):
                loss, out = ping(sender, address, count=2)
                assert loss == 100, f"IPv{family} with another key: {out}"
        after = self.a.tunnel(f"{kind}0")["traffic"]["rx_packets"], self.a.dropped("unknown_tunnel")
        assert after[0] == before[0] and after[1] >= before[1] + 2 * len(families), (before, after)


def gre_rows(matrix, ends, linux):
    for name, (ours, theirs) in OPTIONS.items():
        families = (4, 6) if name in ("plain", "all") else (4,)
        matrix.row(f"GRE {ends[0]} {name}", "gre", ends, f"{linux} {theirs}", families, options=ours, streams=name == "plain")
        if name == "all":
            matrix.expect_nothing_with_another_key("gre", linux, (4, 6))
        matrix.a.note("ifconfig gre0 destroy")


def smoke_matrix_gre_over_ipv4():
    """gre with every option: pings, fragments, files both ways, UDP, of both families; another key"""
    with neighbours() as stage:
        matrix = Matrix(stage)
        gre_rows(matrix, (A4, B4), f"type gre local {B4} remote {A4} ttl 64")
        finish(matrix.a)


def smoke_matrix_gre_over_ipv6():
    """ip6gre with every option: the same"""
    with neighbours() as stage:
        matrix = Matrix(stage)
        gre_rows(matrix, (A6, B6), f"type ip6gre local {B6} remote {A6} encaplimit none")
        finish(matrix.a)


def smoke_matrix_ip_in_ip():
    """ipip, sit and ip6tnl: the same"""
    with neighbours() as stage:
        matrix = Matrix(stage)
        for name, tunnel in OTHERS.items():
            matrix.row(name, *tunnel, streams=True)
            matrix.a.note(f"ifconfig {tunnel[0]}0 destroy")
        finish(matrix.a)


def smoke_matrix_encapsulation_limit():
    """ip6tnl and ip6gre as Linux has them by default, with a limit in each packet; and with ours"""
    with neighbours() as stage:
        matrix = Matrix(stage)
        wire = stage.lab.capture(stage.lan.wire, "to-a", "ip6[6] == 60")  # destination options
        for name, (kind, ends, linux, options) in LIMITED.items():
            matrix.tunnel(kind, ends, linux, (4, 6), options)
            for host, far in ((HOST4, FAR4), (HOST6, FAR6)):
                ping(matrix.lan, far, count=1, size=4000)  # learns the tunnel's MTU
                for size in (56, 4000):
                    expect_ping(matrix.lan, far, count=2, size=size)
                    expect_ping(matrix.b, host, count=2, size=size)
            matrix.a.note(f"ifconfig {kind}0 destroy")
        sources = [str(frame["IPv6"].src) for frame in wire.packets()]
        # Each of theirs has one; of ours, those of the middle row.
        assert sources.count(B6) > 40 and 10 < sources.count(A6) < sources.count(B6), sources
        finish(matrix.a)
