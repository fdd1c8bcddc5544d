"""A link of 1400 bytes inside the tunnel: path MTU discovery (RFC 1191, RFC 2003 §5, RFC 2473 §8).

    lan --- C (Greyhound) --- inet, a Linux router ---1400--- A, a stock Linux
             ==================== gre0 ====================
"""

from support import office
from topology import A_INNER
from transfer import expect_file, expect_ping, ping

NARROW = 1400
OUTER6 = {"c": "2001:db8:c::1", "c_router": "2001:db8:c::fe", "a": "2001:db8:a::2", "a_router": "2001:db8:a::fe"}
LAN6, GATEWAY6, FAR6 = "2001:db8:1::163", "2001:db8:1::1", "fd00:12::2"


def expect_narrow(c, name, inner):
    """C knows the path, and shows it wherever it shows tunnels."""
    shown = c.note(f"ifconfig {name}")
    assert f"path mtu {NARROW} (ICMP: learned 1" in shown and f"mtu {inner}\n" in shown, shown
    metric = c.metric("greyhound_tunnel_path_mtu_bytes", tunnel=name)
    assert metric == NARROW, metric


def smoke_pmtu_gre():
    """GRE: the router's "fragmentation needed" is learned and relayed, a file passes, what fits passes, and -pmtu"""
    with office() as o:
        o.inet.ip(f"link set toa mtu {NARROW}")
        expect_ping(o.lan, A_INNER)
        # TCP finds out by itself: no black hole.
        expect_file(o.lan, o.a, A_INNER, megabytes=2)
        expect_narrow(o.c, "gre0", NARROW - 24)
        o.lan.ip("route flush cache")
        loss, out = ping(o.lan, A_INNER, count=2, size=1448, extra="-M do")
        assert loss == 100 and "mtu = 1376" in out.replace("mtu=", "mtu = "), out
        expect_ping(o.lan, A_INNER, size=1348, extra="-M do")
        # Without DF the inner packet is cut to what the path takes.
        expect_ping(o.lan, A_INNER, size=4000)
        o.c.note("ifconfig gre0 -pmtu")
        assert "mtu 1476" in o.c.note("ifconfig gre0")
        o.lan.ip("route flush cache")
        # Relayed all the same: the router quotes enough.
        loss, out = ping(o.lan, A_INNER, count=3, size=1448, extra="-M do")
        assert loss == 100 and "1376" in out, out


def smoke_pmtu_gre6():
    """GRE over IPv6: packet too big is learned and relayed to IPv6 and IPv4 senders, a file passes"""
    with office() as o:
        for space in (o.lan, o.inet):
            space.sysctl("net.ipv6.conf.all.disable_ipv6", 0)
        o.inet.sysctl("net.ipv6.conf.all.forwarding", 1)
        o.inet.ip(f"-6 addr add {OUTER6['c_router']}/64 dev toc nodad")
        o.inet.ip(f"-6 addr add {OUTER6['a_router']}/64 dev toa nodad")
        o.inet.ip(f"link set toa mtu {NARROW}")
        o.lan.ip(f"-6 addr add {LAN6}/64 dev eth0 nodad")
        o.lan.ip(f"-6 route add default via {GATEWAY6}")
        o.a.sh(f"ip -6 addr add {OUTER6['a']}/64 dev eth0 nodad; ip -6 route add default via {OUTER6['a_router']}; "
               f"ip link add t6 type ip6gre local {OUTER6['a']} remote {OUTER6['c']} encaplimit none; "
               f"ip link set t6 up; ip -6 addr add {FAR6}/64 dev t6 nodad; ip -6 route add {GATEWAY6}/64 dev t6")
        o.c.notes([f"ifconfig en0 inet6 {GATEWAY6} prefixlen 64", f"ifconfig en1 inet6 {OUTER6['c']} prefixlen 64",
                   f"route add -inet6 default {OUTER6['c_router']}", "ifconfig gre1 create",
                   f"ifconfig gre1 tunnel {OUTER6['c']} {OUTER6['a']} link1",
                   "ifconfig gre1 inet6 fd00:12::1 prefixlen 64"])
        expect_ping(o.lan, FAR6)
        expect_file(o.lan, o.a, f"[{FAR6}]", megabytes=2)
        expect_narrow(o.c, "gre1", NARROW - 44)
        o.lan.ip("-6 route flush cache")
        loss, out = ping(o.lan, FAR6, count=2, size=1400, extra="-M do")
        assert loss == 100 and "1356" in out, out
        expect_ping(o.lan, FAR6, size=1356 - 48, extra="-M do")
