"""Changes while traffic runs: each is a transaction, and the next packet meets it."""

from .kit import case, hop, raw
from .net import *  # noqa: F403


@case("A route is added, changed and deleted under traffic")
def route_changes(c):
    c.config = EN0 + EN1 + KNOWN + """
[[neighbour]]
address = "203.0.113.253"
mac = "02:bb:00:00:02:53"
"""
    route = {"to": "192.0.2.0/24", "target": {"via": R}}
    other = {"to": "192.0.2.0/24", "target": {"via": "203.0.113.253"}}

    def lost(at):
        packet = udp()
        c.rx("en0", at_c0(packet), at)
        c.drop("en0", "no_route")
        message = error(3, 0, packet, C0)
        send_error(c, message, "en0", to_lan(message), at)

    def passes(at, mac):
        packet = udp()
        c.rx("en0", at_c0(packet), at)
        c.tx("en1", to_net(hop(packet), dst=mac), "en0", at)

    lost(0.0)
    c.verb(1.0, {"op": "add-route", "route": route})
    passes(1.5, RM)
    c.verb(2.0, {"op": "change-route", "route": other})
    passes(2.5, "02:bb:00:00:02:53")
    c.verb(3.0, {"op": "delete-route", "to": "192.0.2.0/24"})
    lost(3.5)


@case("A tunnel's far end is changed live: packets go to the new one at once and the old one is "
      "unknown (T3)")
def endpoint_change(c):
    c.config = GATEWAY
    other = "198.51.100.77"
    for at, remote, stranger in ((0.0, A, other), (2.0, other, A)):
        if at:
            c.verb(1.0, {"op": "set-endpoints", "name": "gre0", "local": C1, "remote": other})
        packet = udp(dst=A_IN)
        inner = hop(packet)
        c.rx("en0", at_c0(packet), at)
        tunnel = ("gre0", len(raw(inner)))
        outer = in_gre(inner, dst=remote)
        c.tx("en1", to_net(outer), "en0", at, tunnel=tunnel, free_id=(0,))
        back = udp(src=A_IN, dst=H)
        c.rx("en1", at_c1(in_gre(back, remote, C1)), at)
        c.tunnel_rx("gre0", back)
        c.tx("en0", to_lan(hop(back)), "en1", at)
        c.rx("en1", at_c1(in_gre(back, stranger, C1)), at)
        c.drop("en1", "unknown_tunnel")


@case("The implicit tunnel route follows the routes: default, then a better one, then default "
      "again (T16, T17)")
def implicit_route_follows(c):
    c.config = EN0 + KNOWN.split("[[neighbour]]")[0] + """
[[port]]
name = "en1"
device = "net_null1"
address = ["172.16.0.1/24"]

[[neighbour]]
address = "10.0.0.3"
mac = "02:aa:00:00:00:03"

[[neighbour]]
address = "10.0.0.2"
mac = "02:aa:00:00:00:02"

[[neighbour]]
address = "172.16.0.9"
mac = "02:bb:00:00:00:09"

[[route]]
to = "default"
via = "10.0.0.3"

[[tunnel]]
name = "ipip0"
kind = "ipip"
address = "11.0.0.1"
peer = "11.0.0.2"
"""
    net11 = {"to": "11.0.0.0/8", "target": {"via": "10.0.0.2"}}

    def passes(at, mac):
        packet = udp(src="172.16.0.9", dst="11.0.0.2")
        c.rx("en1", at_c1(packet, src="02:bb:00:00:00:09"), at)
        inner = hop(packet)
        outer = in_ip(inner, src="11.0.0.1", dst="11.0.0.2")
        tunnel = ("ipip0", len(raw(inner)))
        c.tx("en0", to_lan(outer, dst=mac), "en1", at, tunnel=tunnel, free_id=(0,))

    passes(0.0, "02:aa:00:00:00:03")
    c.verb(1.0, {"op": "add-route", "route": net11})
    passes(1.5, "02:aa:00:00:00:02")
    c.verb(2.0, {"op": "delete-route", "to": "11.0.0.0/8"})
    passes(2.5, "02:aa:00:00:00:03")


@case("A port goes down and up again")
def port_down_up(c):
    c.config = ROUTER
    packet = udp()
    c.rx("en0", at_c0(packet))
    c.tx("en1", to_net(hop(packet)), "en0")
    c.verb(1.0, {"op": "set-interface", "name": "en0", "up": False})
    c.rx("en0", at_c0(packet), 1.5)
    c.drop("en0", "interface_down")
    c.verb(2.0, {"op": "set-interface", "name": "en0", "up": True})
    from .arp import announcement, said

    said(c, announcement(C0, M0), at=2.0)
    c.rx("en0", at_c0(packet), 2.5)
    c.tx("en1", to_net(hop(packet)), "en0", 2.5)
