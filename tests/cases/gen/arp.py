"""ARP (RFC 826), resolution with held packets, proxy ARP (RFC 1027)."""

from scapy.layers.inet import IP
from scapy.packet import Raw

from .kit import case, fresh, hop, raw
from .net import *  # noqa: F403
from .net import arp as arp_frame

UNKNOWN = EN0 + EN1 + DEFAULT
# The default route leads to one, a route of its own to the other.
ELSEWHERE, ROUTED = "198.51.100.77", "192.0.2.77"
NEW, NEW_MAC = "10.0.0.77", "02:aa:00:00:00:77"


def heard(c, frame, port="en0", at=0.0, drop=None, iface=None):
    """An ARP frame goes to control, which reads it or refuses it."""
    c.rx(port, frame, at, iface=iface)
    c.punt(port, "arp")
    if drop:
        c.control_drop(drop)
    else:
        c.consumed()


def said(c, frame, port="en0", at=0.0, iface=None):
    """Control sends an ARP frame, padded to the least Ethernet takes."""
    data = raw(frame)
    data += b"\0" * (60 - len(data))
    c.inject(data)
    c.tx(port, Raw(data), "control", at, iface=iface)


def request(who, mac, target, **how):
    how.setdefault("dst", BROADCAST)
    return arp_frame(1, mac, who, ZERO_MAC, target, **how)


def reply(who, mac, target, target_mac, **how):
    return arp_frame(2, mac, who, target_mac, target, **how)


@case("A request for our own address is answered to the sender; others' are not ours to answer")
def arp_own(c):
    c.config = ROUTER
    heard(c, request(H, HM, C0))
    said(c, reply(C0, M0, H, HM))
    heard(c, request(H, HM, C0, dst=M0))  # a unicast poll
    said(c, reply(C0, M0, H, HM))
    heard(c, request(NEW, NEW_MAC, "10.0.0.78"), drop="arp_not_for_us")
    heard(c, request(H, HM, C1), drop=None)  # ours, but of the other wire


@case("A probe for our own address (sender 0.0.0.0) is answered, and nothing learned from it")
def arp_probe(c):
    c.config = UNKNOWN
    heard(c, request("0.0.0.0", NEW_MAC, C0))
    said(c, reply(C0, M0, "0.0.0.0", NEW_MAC))


@case("On a VLAN, ARP is answered with the tag")
def arp_vlan(c):
    from scapy.layers.l2 import ARP, Dot1Q, Ether

    c.config = ROUTER + """
[[vlan]]
name = "en0.20"
address = ["172.20.0.1/16"]
"""
    mac = "02:aa:00:20:00:05"
    ask = ARP(op=1, hwsrc=mac, psrc="172.20.0.5", hwdst=ZERO_MAC, pdst="172.20.0.1")
    heard(c, Ether(src=mac, dst=BROADCAST) / Dot1Q(vlan=20, type=0x0806) / ask, iface="en0.20")
    answer = ARP(op=2, hwsrc=M0, psrc="172.20.0.1", hwdst=mac, pdst="172.20.0.5")
    said(c, Ether(src=M0, dst=mac) / Dot1Q(vlan=20, type=0x0806) / answer, iface="en0.20")


@case("ARP that cannot be believed is refused: group and zero senders, foreign and own addresses")
def arp_refused(c):
    c.config = UNKNOWN
    heard(c, Ether(src=HM, dst=BROADCAST, type=0x0806) / Raw(b"\0" * 28), drop="arp_invalid")
    heard(c, Ether(src=HM, dst=BROADCAST, type=0x0806) / Raw(b"\0\1\x08\0\6\4"),
          drop="arp_invalid")
    heard(c, reply(H, BROADCAST, C0, M0, src=HM), drop="arp_bad_sender_mac")  # AR-03
    heard(c, reply(H, "01:00:5e:00:00:01", C0, M0, src=HM), drop="arp_bad_sender_mac")
    heard(c, reply(H, ZERO_MAC, C0, M0, src=HM), drop="arp_bad_sender_mac")
    heard(c, request("192.0.2.1", HM, C0), drop="arp_foreign_sender")
    heard(c, request("10.255.255.255", HM, C0), drop="arp_foreign_sender")
    heard(c, request(C0, M0, C0), drop="arp_own_echo")


@case("Somebody else claims our address: counted, and claimed back at most once in ten seconds")
def arp_conflict(c):
    c.config = UNKNOWN
    for at in (0.0, 1.0):
        heard(c, request(C0, NEW_MAC, H), at=at, drop="arp_conflict")
        if at == 0.0:
            said(c, announcement(C0, M0), at=at)


def announcement(address, mac):
    return arp_frame(1, mac, address, ZERO_MAC, address, dst=BROADCAST)


@case("A neighbour moves to another link address once a second at most: what comes sooner is "
      "ignored")
def arp_moves(c):
    c.config = UNKNOWN
    other = "02:aa:00:00:00:78"
    heard(c, request(NEW, NEW_MAC, C0))
    said(c, reply(C0, M0, NEW, NEW_MAC))
    heard(c, request(NEW, other, H), at=0.1)
    heard(c, request(NEW, NEW_MAC, H), at=0.2, drop="arp_moved_too_often")
    packet = udp(src=FAR, dst=NEW)
    for at, mac in ((0.3, other), (1.3, NEW_MAC)):
        if at > 1:
            heard(c, request(NEW, NEW_MAC, H), at=1.2)
        c.rx("en1", at_c1(packet), at)
        c.tx("en0", to_lan(hop(packet), dst=mac), "en1", at)


@case("At start each address is announced on its own port (gratuitous ARP)", from_start=True)
def arp_announce(c):
    c.config = changed(EN0, '"10.0.0.1/8"', '"10.0.0.1/8", "172.31.0.1/16"') + EN1
    said(c, announcement(C0, M0))
    said(c, announcement("172.31.0.1", M0))
    said(c, announcement(C1, M1), port="en1")


def waits(c, packet, at=0.0):
    """A datagram from the internet for a LAN host whose link address is not
    known goes to control."""
    c.rx("en1", at_c1(packet), at)
    c.punt("en1", "resolve")


def released(c, packet, at, mac=NEW_MAC):
    """It goes out when the answer came."""
    c.inject(packet, made=False)
    c.tx("en0", to_lan(hop(packet), dst=mac), "control", at)


@case("Packets for an unknown neighbour are held while one request asks, and sent in order when it "
      "answers; then they pass by themselves")
def arp_resolution(c):
    c.config = ROUTER
    packets = [udp(src=FAR, dst=NEW, n=n, id=n) for n in (10, 11, 12)]
    waits(c, packets[0])
    said(c, request(C0, M0, NEW))
    waits(c, packets[1])
    waits(c, packets[2], at=0.3)
    heard(c, reply(NEW, NEW_MAC, C0, M0), at=0.5)
    for packet in packets:
        released(c, packet, at=0.5)
    after = udp(src=FAR, dst=NEW, n=20, id=20)
    c.rx("en1", at_c1(after), 0.6)
    c.tx("en0", to_lan(hop(after), dst=NEW_MAC), "en1", 0.6)


@case("A gateway's link address is asked for on its own wire, and all routes through it then work")
def arp_gateway(c):
    c.config = changed(ROUTER, f"""
[[neighbour]]
address = "{R}"
mac = "{RM}"
""", "")
    packet = udp()
    c.rx("en0", at_c0(packet))
    c.punt("en0", "resolve")
    said(c, request(C1, M1, R), port="en1")
    heard(c, reply(R, RM, C1, M1), port="en1", at=0.2)
    c.inject(packet, made=False)
    c.tx("en1", to_net(hop(packet)), "control", 0.2)
    other = udp(dst="198.18.9.9", id=2)
    c.rx("en0", at_c0(other), 0.3)
    c.tx("en1", to_net(hop(other)), "en0", 0.3)


def on_the_wire(c, to, host, mac):
    """A host outside en1's subnets that a route says is there."""
    c.config = ROUTER + f"""
[[route]]
to = "{to}"
interface = "en1"
"""
    packet = udp(dst=host)
    c.rx("en0", at_c0(packet))
    c.punt("en0", "resolve")
    said(c, request(C1, M1, host), port="en1")
    heard(c, reply(host, mac, C1, M1), port="en1", at=0.2)
    c.inject(packet, made=False)
    c.tx("en1", to_net(hop(packet), dst=mac), "control", 0.2)
    c.rx("en0", at_c0(packet), 0.3)
    c.tx("en1", to_net(hop(packet), dst=mac), "en0", 0.3)


@case("A route to a port: hosts outside its subnets are asked for on its wire, believed and reached")
def route_to_link(c):
    on_the_wire(c, "192.0.2.0/24", FAR, "02:bb:00:00:00:07")


@case("A host route to a port: the host is learned, and the route leads to it")
def host_route_to_link(c):
    on_the_wire(c, f"{FAR}/32", FAR, "02:bb:00:00:00:07")


@case("A host route to a port and a static neighbour: nobody has to be asked")
def host_route_to_static(c):
    mac = "02:bb:00:00:00:07"
    c.config = ROUTER + f"""
[[route]]
to = "{FAR}/32"
interface = "en1"

[[neighbour]]
address = "{FAR}"
mac = "{mac}"
port = "en1"
"""
    packet = udp()
    c.rx("en0", at_c0(packet))
    c.tx("en1", to_net(hop(packet), dst=mac), "en0")


@case("A tunnel whose underlay next hop is unknown waits for it, and its packets go out wrapped")
def arp_tunnel_underlay(c):
    c.config = changed(GATEWAY, f"""
[[neighbour]]
address = "{R}"
mac = "{RM}"
""", "")
    packet = udp(dst=A_IN)
    c.rx("en0", at_c0(packet))
    c.punt("en0", "resolve")
    said(c, request(C1, M1, R), port="en1")
    heard(c, reply(R, RM, C1, M1), port="en1", at=0.2)
    c.inject(packet, made=False)
    inner = hop(packet)
    tunnel = ("gre0", len(inner))
    c.tx("en1", to_net(in_gre(inner)), "control", 0.2, tunnel=tunnel, free_id=(0,))


@case("Three requests a second apart go unanswered: each held packet's sender is told host "
      "unreachable, and so is who comes later", until=4.0, check_times=True)
def arp_failure(c):
    c.config = ROUTER
    first, second = (udp(src=FAR, dst=NEW, id=i) for i in (1, 2))
    waits(c, first)
    waits(c, second, at=0.5)
    for at in (0.0, 1.0, 2.0):
        said(c, request(C0, M0, NEW), at=at)
    c.control_drop("neighbour_failed", 2)
    for packet in (first, second):
        message = error(3, 1, packet, C1)
        send_error(c, message, "en1", to_net(message), 3.0)
    late = udp(src=FAR, dst=NEW, id=3)
    c.rx("en1", at_c1(late), 3.5)
    c.drop("en1", "unreachable", leaving="en0")
    message = error(3, 1, late, C1)
    send_error(c, message, "en1", to_net(message), 3.5)


@case("A neighbour that failed is asked for again after a while, and works when it answers",
      until=10.0)
def arp_failure_recovers(c):
    c.config = ROUTER
    packet = udp(src=FAR, dst=NEW)
    waits(c, packet)
    for at in (0.0, 1.0, 2.0):
        said(c, request(C0, M0, NEW), at=at)
    c.control_drop("neighbour_failed")
    message = error(3, 1, packet, C1)
    send_error(c, message, "en1", to_net(message), 3.0)
    again = udp(src=FAR, dst=NEW, id=2)
    waits(c, again, at=9.0)
    said(c, request(C0, M0, NEW), at=9.0)
    heard(c, reply(NEW, NEW_MAC, C0, M0), at=9.1)
    released(c, again, at=9.1)


@case("Sixteen packets are held for a neighbour; newer ones displace the oldest")
def arp_held_bound(c):
    c.config = ROUTER
    packets = [udp(src=FAR, dst=NEW, n=i, id=i + 1) for i in range(20)]
    for i, packet in enumerate(packets):
        waits(c, packet)
        if i == 0:
            said(c, request(C0, M0, NEW))
    c.control_drop("held_displaced", 4)
    heard(c, reply(NEW, NEW_MAC, C0, M0), at=0.5)
    for packet in packets[4:]:
        released(c, packet, at=0.5)


@case("What we make ourselves waits for the neighbour like everything else: an echo reply and an "
      "ICMP error, TTL untouched")
def arp_for_own_packets(c):
    c.config = UNKNOWN
    request_ = echo(src=NEW, dst=C0)
    c.rx("en0", at_c0(request_, src=NEW_MAC))
    c.punt("en0", "resolve")
    said(c, request(C0, M0, NEW))
    cause = udp(src=NEW, dst=C0)
    c.rx("en0", at_c0(cause, src=NEW_MAC), 0.1)
    c.drop("en0", "port_unreachable")
    message = error(3, 3, cause, C0)
    c.inject(message)
    c.punt("control", "resolve")
    heard(c, reply(NEW, NEW_MAC, C0, M0), at=0.5)
    answer = IP(raw(IP(src=C0, dst=NEW, ttl=64, id=fresh(), proto=1)
                    / Raw(with_icmp_checksum(b"\0" + raw(request_)[21:]))))
    for packet in (answer, message):
        c.inject(packet, made=False)
        c.tx("en0", to_lan(packet, dst=NEW_MAC), "control", 0.5, free_id=(0,))


@case("arp -d while packets are held: they are given up, and the next one asks anew")
def arp_forget(c):
    c.config = ROUTER
    waits(c, udp(src=FAR, dst=NEW))
    said(c, request(C0, M0, NEW))
    c.verb(0.5, {"op": "delete-arp", "address": NEW})
    c.control_drop("neighbour_forgotten")
    waits(c, udp(src=FAR, dst=NEW, id=2), at=2.0)
    said(c, request(C0, M0, NEW), at=2.0)
    c.held(1)


@case("A neighbour that moves to another link address is followed at once")
def arp_move(c):
    c.config = UNKNOWN + f"""
[[neighbour]]
address = "{R}"
mac = "{RM}"
"""
    heard(c, request(NEW, NEW_MAC, C0))
    said(c, reply(C0, M0, NEW, NEW_MAC))
    for at, mac in ((0.1, NEW_MAC), (0.3, HM)):
        if mac == HM:
            heard(c, announcement(NEW, HM), at=0.2)
        packet = udp(src=FAR, dst=NEW)
        c.rx("en1", at_c1(packet), at)
        c.tx("en0", to_lan(hop(packet), dst=mac), "en1", at)


@case("A silent neighbour is probed after a minute, three times, and then forgotten", until=69.5)
def arp_ageing(c):
    c.config = UNKNOWN
    heard(c, request(NEW, NEW_MAC, C0))
    said(c, reply(C0, M0, NEW, NEW_MAC))
    for at in (60.0, 61.0, 62.0):
        said(c, request(C0, M0, NEW, dst=NEW_MAC), at=at)
    packet = udp(src=FAR, dst=NEW)
    waits(c, packet, at=69.0)
    said(c, request(C0, M0, NEW), at=69.0)
    c.held(1)


PUBLISHED = GATEWAY + f"""
[[arp]]
address = "{A_IN}"
port = "en0"
publish = true
"""


@case("A published address is answered for with the port's link address while its route leaves "
      "elsewhere, and its packets then go through the tunnel")
def proxy_arp(c):
    c.config = PUBLISHED
    heard(c, request(H, HM, A_IN))
    said(c, reply(A_IN, M0, H, HM))
    packet = udp(dst=A_IN)
    c.rx("en0", at_c0(packet), 0.1)
    inner = hop(packet)
    tunnel = ("gre0", len(inner))
    c.tx("en1", to_net(in_gre(inner)), "en0", 0.1, tunnel=tunnel, free_id=(0,))
    # Not on the other wire.
    heard(c, request(R, RM, A_IN), port="en1", at=0.2, drop=None)


@case("A published address whose route leaves by the same link stays silent (AR-06)")
def proxy_arp_silent(c):
    c.config = ROUTER + f"""
[[arp]]
address = "{A_IN}"
port = "en0"
publish = true
"""
    heard(c, request(H, HM, A_IN), drop=None)


@case("A published address that only the default route leads to stays silent (AR-06)")
def proxy_arp_default_route(c):
    c.config = ROUTER + f"""
[[arp]]
address = "{ELSEWHERE}"
port = "en0"
publish = true

[[arp]]
address = "{ROUTED}"
port = "en0"
publish = true

[[route]]
to = "192.0.2.0/24"
via = "{R}"
"""
    heard(c, request(H, HM, ELSEWHERE), drop=None)
    # The route to this one leaves by the same router, but is its own.
    heard(c, request(H, HM, ROUTED), at=1.0)
    said(c, reply(ROUTED, M0, H, HM), at=1.0)


@case("Published before the tunnel exists: silent, then announced and answered when the tunnel "
      "comes up, and silent again when it goes")
def proxy_arp_becomes_active(c):
    c.config = ROUTER + f"""
[[arp]]
address = "{A_IN}"
port = "en0"
publish = true
"""
    heard(c, request(H, HM, A_IN), drop=None)
    c.verb(
        1.0,
        {"op": "create", "name": "gre0"},
        {"op": "set-address", "name": "gre0", "address": C0, "peer": A_IN},
        {"op": "set-interface", "name": "gre0", "link1": True},
        {"op": "set-endpoints", "name": "gre0", "local": C1, "remote": A},
    )
    said(c, announcement(A_IN, M0), at=1.0)
    heard(c, request(H, HM, A_IN), at=2.0)
    said(c, reply(A_IN, M0, H, HM), at=2.0)
    c.verb(3.0, {"op": "destroy", "name": "gre0"})
    heard(c, request(H, HM, A_IN), at=4.0, drop=None)


@case("Another station claims a published address: refused and counted")
def proxy_arp_conflict(c):
    c.config = PUBLISHED
    heard(c, request(A_IN, NEW_MAC, C0), drop="arp_published_conflict")


from scapy.layers.l2 import Ether  # noqa: E402
