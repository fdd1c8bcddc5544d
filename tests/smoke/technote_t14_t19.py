"""T14 (link1), T15 (underlay follows the routes) and T19 (one hop)."""

import re

from support import expect_outer, office
from lab import wait_for
from topology import (A_INNER, A_OUTER, B_HOST, C_INNER, C_OUTER, C_PUBLISH, C_REAL_INTERFACES, C_ROUTER, C_TUNNEL)
from transfer import expect_ping


def running(gateway):
    return "RUNNING" in gateway.tunnel()["flags"]


def technote_t14():
    """link1: the real outer destination is looked up; through the tunnel itself is refused, no loop"""
    with office() as o:
        expect_ping(o.a, B_HOST, count=2)
        # A host route for the outer destination into the tunnel itself.
        done = o.c.note_result(f"route add -host {A_OUTER} 10.0.0.25")
        assert not running(o.c), f"gre0 still runs through itself:\n{done.out}"
        said = o.c.note("ifconfig gre0") + done.out
        assert re.search(r"through (itself|gre0)|itself|loop", said), f"nothing says why:\n{said}"
        before = o.c.metric("greyhound_tunnel_sent_packets_total", tunnel="gre0")
        o.lan.run(f"ping -n -c 2 -i 0.2 -W 1 {A_INNER}")
        after = o.c.metric("greyhound_tunnel_sent_packets_total", tunnel="gre0")
        assert after == before, f"{after - before} packets went into a tunnel that leads to itself"
        o.c.note(f"route delete -host {A_OUTER}")
        wait_for("gre0 to run again", lambda: running(o.c), 3)
        expect_ping(o.a, B_HOST, count=2)


def technote_t15():
    """the underlay is resolved anew when routes and neighbours change"""
    with office() as o:
        expect_ping(o.a, B_HOST, count=2)
        # A second router on the Internet side, with another MAC.
        o.inet.ip("link add alt link toc type macvlan mode bridge")
        o.inet.ip("addr add 203.0.113.253/24 dev alt")
        o.inet.ip("link set alt up")
        o.inet.sysctl("net.ipv4.conf.all.arp_ignore", 1)
        o.inet.sysctl("net.ipv4.conf.all.rp_filter", 0)
        o.inet.sysctl("net.ipv4.conf.alt.rp_filter", 0)
        # On the far side of the veth: what net_af_packet sends passes by captures
        # on its own device. `alt` sits on toc, so toc's capture has both.
        wire = o.lab.capture(o.inet, "toc", "ip proto 47 and src host " + C_OUTER)
        expect_ping(o.lan, A_INNER, count=2)
        o.c.note("route change default 203.0.113.253")
        assert o.c.tunnel()["tunnel"]["underlay"]["next_hop"] == "203.0.113.253"
        expect_ping(o.lan, A_INNER, count=2)
        frames = expect_outer(wire.packets(), (C_OUTER, A_OUTER), (B_HOST, A_INNER))
        macs = [f.dst for f in frames]
        assert macs == [o.inet.mac("toc")] * 2 + [o.inet.mac("alt")] * 2, macs
        # Without a route the tunnel does not run; with it, it does again.
        o.c.note("route delete default")
        assert not running(o.c)
        o.c.note(f"route add default {C_ROUTER}")
        assert running(o.c)
        expect_ping(o.lan, A_INNER, count=2)
        # The router's MAC changes (a replaced router): its announcement is enough.
        o.inet.ip("link set toc address 02:00:00:00:fe:fe")
        o.inet.sh(f"arping -q -U -c 2 -I toc {C_ROUTER} || true")
        wait_for("pings through the new MAC",
                 lambda: o.lan.run(f"ping -n -c 1 -W 1 {A_INNER}").code == 0, 10)


def technote_t15_order():
    """commands in another order: tunnel first, addresses and routes last"""
    with office(boot_a=False, commands=[*C_TUNNEL, C_PUBLISH.replace("$(netstat", "$( netstat")][:2]) as o:
        o.c.note(C_TUNNEL[2])
        assert not running(o.c)
        o.c.notes(C_REAL_INTERFACES)
        o.c.note(C_PUBLISH)
        assert running(o.c)
        o.a = o.town.boot_a()
        expect_ping(o.a, B_HOST)
        expect_ping(o.lan, A_INNER)


def technote_t19():
    """traceroute from A to a LAN host shows C once; the inner TTL drops by one per router"""
    with office() as o:
        for probe in ("", "-I"):
            hops = re.findall(r"^\s*\d+\s+(\S+)", o.a.sh(f"traceroute -n -q 1 -w 2 {probe} {B_HOST}"), re.M)
            assert hops == [C_INNER, B_HOST], f"traceroute {probe}: hops {hops}"
        hops = re.findall(r"^\s*\d+\s+(\S+)", o.lan.sh(f"traceroute -n -q 1 -w 2 {A_INNER}"), re.M)
        assert hops == [C_INNER, A_INNER], f"traceroute from the LAN: hops {hops}"
        # To C itself: port unreachable ends it.
        hops = re.findall(r"^\s*\d+\s+(\S+)", o.lan.sh(f"traceroute -n -q 1 -w 2 {C_INNER}"), re.M)
        assert hops == [C_INNER], f"traceroute to C: hops {hops}"
        assert "ttl=63" in expect_ping(o.a, B_HOST, count=1)
