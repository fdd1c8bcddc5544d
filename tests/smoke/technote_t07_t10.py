"""T7 to T10: machines A and C of the travelling-office example, line by line."""

import re

from greyhound import af_packet, ports_config
from lab import Lab, wait_for
from scapy_quiet import ARP, IP
from support import expect_outer, finish, office, reserve_hugepages, start
from topology import (A_INNER, A_OUTER, A_REAL_INTERFACES, A_ROUTER, A_TUNNEL, B_HOST, C_INNER, C_OUTER,
                      C_PUBLISH, C_REAL_INTERFACES, C_ROUTER, C_TUNNEL, Office)
from transfer import expect_ping, ping


def technote_t07():
    """two real interfaces, forwarding: LAN and Internet reach each other through C"""
    with office(boot_a=False, commands=C_REAL_INTERFACES) as o:
        o.lan.ip(f"route add default via {C_INNER}")
        o.inet.ip(f"route add 10.0.0.0/8 via {C_OUTER}")
        out = expect_ping(o.lan, A_ROUTER)
        assert "ttl=63" in out, f"TTL not decremented once:\n{out}"
        wire = o.lab.capture(o.lan, "eth0", "icmp")
        expect_ping(o.inet, B_HOST, size=1472)
        requests = [f[IP] for f in wire.packets() if f[IP].dst == B_HOST]
        assert requests and all(p.ttl == 63 and p.src == C_ROUTER for p in requests), [p.summary() for p in requests]
        for address in (C_INNER, C_OUTER):
            expect_ping(o.lan, address)


def technote_t08():
    """Greyhound as A, Linux as C: the note's lines, then all of net 10 through the tunnel"""
    with Lab() as lab:
        reserve_hugepages(lab)
        town = Office(lab).wire_bridges("tc0", "tc1")
        town.boot_c()
        a = start(lab, town.port_of_a(), ports_config(en0=af_packet("en0")), "a")
        a.notes([*A_REAL_INTERFACES, *A_TUNNEL])
        got = a.note("route get 10.9.8.7")
        assert "gre0" in got, f"10.9.8.7 does not go through gre0:\n{got}"
        wire = lab.capture(town.inet, "toa", "ip proto 47")
        out = a.note(f"ping -c 4 -i 0.2 {B_HOST}", timeout=30)
        assert re.search(r" 0(\.0)?% packet loss", out), out
        frames = wire.packets()
        expect_outer(frames, (A_OUTER, C_OUTER), (A_INNER, B_HOST))
        expect_outer(frames, (C_OUTER, A_OUTER), (B_HOST, A_INNER))
        expect_ping(town.lan, A_INNER)
        finish(a)


def technote_t08_greyhound_is_both():
    """Greyhound as A and as C: all of net 10 through the tunnel between them, both ways"""
    with office(boot_a=False) as o:
        a = start(o.lab, o.town.port_of_a(), ports_config(en0=af_packet("en0")), "a")
        a.notes([*A_REAL_INTERFACES, *A_TUNNEL])
        wire = o.lab.capture(o.inet, "toa", "ip proto 47")
        out = a.note(f"ping -c 4 -i 0.2 {B_HOST}", timeout=30)
        assert re.search(r" 0(\.0)?% packet loss", out), out
        expect_ping(o.lan, A_INNER)
        expect_ping(o.lan, A_INNER, size=4000)
        frames = wire.packets()
        expect_outer(frames, (A_OUTER, C_OUTER), (A_INNER, B_HOST))
        expect_outer(frames, (C_OUTER, A_OUTER), (B_HOST, A_INNER))
        finish(a)


def technote_t08_route_verbs():
    """route add, delete, get, show, change, flush with -net, -host, default, -netmask, /len"""
    with office(boot_a=False, commands=C_REAL_INTERFACES) as o:
        def routes():
            return {r["to"]: r["gateway"] for r in o.c.show("routes") if r["origin"] == "static"}

        default = {"0.0.0.0/0": C_ROUTER}
        assert routes() == default, routes()
        o.c.notes([f"route add -net 12 10.2", "route add -host 13.0.0.1 10.3", "route add 14.1.0.0/16 10.4",
                   "route add -net 15.1.2.0 -netmask 255.255.255.0 10.5"])
        assert routes() == {**default, "12.0.0.0/8": "10.0.0.2", "13.0.0.1/32": "10.0.0.3",
                            "14.1.0.0/16": "10.0.0.4", "15.1.2.0/24": "10.0.0.5"}, routes()
        o.c.note("route change -net 12 10.6")
        assert routes()["12.0.0.0/8"] == "10.0.0.6"
        o.c.note("route delete -host 13.0.0.1")
        assert "13.0.0.1/32" not in routes()
        for line in ("route add -net 12 10.7", "route delete -net 99", "route change -net 98 10.2"):
            assert o.c.note_result(line).code != 0, f"`{line}` was accepted"
        assert routes()["12.0.0.0/8"] == "10.0.0.6"
        shown = o.c.note("route show")
        assert "10.0.0.6" in shown and "en0" in shown, shown
        o.c.note("route flush")
        assert routes() == {}, routes()


def technote_t09():
    """C's mirror image; its inner local address equals en0's own: both answer"""
    with office(commands=[*C_REAL_INTERFACES, *C_TUNNEL]) as o:
        gre = o.c.tunnel()
        pair = gre["addresses"][0]
        assert (pair["address"], pair["peer"]) == (C_INNER, A_INNER), pair
        assert (gre["tunnel"]["local"], gre["tunnel"]["remote"]) == (C_OUTER, A_OUTER), gre["tunnel"]
        wire = o.lab.capture(o.inet, "toc", "ip proto 47")
        expect_ping(o.a, C_INNER)
        expect_ping(o.lan, C_INNER)
        frames = wire.packets()
        expect_outer(frames, (A_OUTER, C_OUTER), (A_INNER, C_INNER))
        expect_outer(frames, (C_OUTER, A_OUTER), (C_INNER, A_INNER))


def technote_t10():
    """the arp line verbatim: silent before the tunnel, then C's MAC, announced, and a claim is noticed"""
    with office(boot_a=False, commands=C_REAL_INTERFACES) as o:
        mac = o.gw.mac("en0")
        columns = [line[26:43] for line in o.c.note("netstat -in").splitlines()
                   if line.startswith("en0") and "<Link" in line]
        assert columns == [mac], f"columns 27-43 of en0's <Link> line are {columns}, the MAC is {mac}"
        o.c.note(C_PUBLISH)
        assert ping(o.lan, A_INNER, count=1)[0] == 100
        assert asked(o) is None, "C answers for A before a route to A leaves elsewhere"
        wire = o.lab.capture(o.lan, "eth0", "arp")
        o.c.notes(C_TUNNEL)
        wait_for("C to answer for A", lambda: asked(o) == mac, 5)
        announced = [f[ARP] for f in wire.packets() if f[ARP].psrc == A_INNER and f[ARP].pdst == A_INNER]
        assert announced and announced[0].hwsrc == mac, "no gratuitous ARP when the entry became active"
        listed = o.c.note("arp -a")
        assert A_INNER in listed and "pub" in listed, listed
        # Another station claims A's address: C's log warns and the entry says who.
        o.lan.sh(f"arping -q -U -c 1 -I eth0 -s {A_INNER} {A_INNER} || true")
        o.lan.ip(f"addr add {A_INNER}/32 dev eth0")
        o.lan.sh(f"arping -q -U -c 2 -I eth0 -s {A_INNER} {A_INNER} || true")
        wait_for("the claim in C's log", lambda: o.lan.mac("eth0") in o.c.log().lower(), 3)
        o.lan.ip(f"addr del {A_INNER}/32 dev eth0")
        o.c.note(f"arp -d {A_INNER}")
        o.lan.ip("neigh flush all")
        assert asked(o) is None, "C still answers after arp -d"


def technote_t10_static_entry():
    """arp -s without pub, arp -d and arp -a"""
    with office(boot_a=False, commands=C_REAL_INTERFACES) as o:
        o.c.note("arp -s 10.0.0.77 02:00:00:00:00:77")
        listed = o.c.note("arp -a")
        assert "10.0.0.77" in listed and "02:00:00:00:00:77" in listed and "permanent" in listed, listed
        o.c.note("arp -d 10.0.0.77")
        assert "10.0.0.77" not in o.c.note("arp -a")
        assert o.c.note_result("arp -d 10.0.0.77").code != 0, "deleting what is not there was accepted"


def asked(o):
    """The MAC a LAN host gets when it asks for A, or None."""
    out = o.lan.run(["arping", "-c", "1", "-w", "1", "-I", "eth0", A_INNER]).out
    found = re.search(r"\[([0-9A-Fa-f:]{17})\]", out)
    return found.group(1).lower() if found else None
