"""Far ends that move: a packet with the tunnel's key that comes from elsewhere
(`learn`) is the last one from there that does not come through."""

from scapy.layers.inet import UDP
from scapy.layers.l2 import GRE
from scapy.packet import Raw

from . import six_tunnels as six
from .kit import case, hop, raw
from .net import *  # noqa: F403

KEY = 7
B1, B2 = "198.51.100.77", "192.0.2.99"
LEARNS = changed(GRE0, f'remote = "{A}"\n', f'remote = "{A}"\nlearn = true\nkey = {KEY}\n')
UNTOLD = changed(GRE0, f'remote = "{A}"\n', f"learn = true\nkey = {KEY}\n")


def keyed(inner, key=KEY, **how):
    return in_gre(inner, gre=GRE(proto=0x0800, key_present=1, key=key), **how)


def into(c, at, outer, n=32):
    """A LAN packet goes into gre0, to `outer`."""
    packet = udp(dst=A_IN, n=n)
    c.rx("en0", at_c0(packet), at)
    sent = to_net(keyed(hop(packet), dst=outer))
    c.tx("en1", sent, "en0", at, tunnel=("gre0", len(raw(packet))), free_id=(0,))


def out_of(c, at, outer, packed=None):
    """A packet comes out of gre0, from `outer`."""
    inner = udp(src=A_IN, dst=H)
    c.rx("en1", packed(inner) if packed else at_c1(keyed(inner, src=outer, dst=C1)), at)
    c.tunnel_rx("gre0", inner)
    c.tx("en0", to_lan(hop(inner)), "en1", at)


def teaches(c, at, frame, moves=True):
    """A frame that shows another far end."""
    c.rx("en1", frame, at)
    c.punt("en1", "learn")
    if moves:
        c.consumed()
    else:
        c.control_drop("learn_refused")


def from_(outer, inner=None, **how):
    return at_c1(keyed(inner or udp(src=A_IN, dst=H), src=outer, dst=C1, **how))


@case("learn = true: a packet with the tunnel's key from elsewhere moves the far end there, once a second at most")
def far_end_learned(c):
    c.config = ROUTER + LEARNS
    into(c, 0.0, A)
    out_of(c, 0.010, A)
    teaches(c, 0.100, from_(B1))
    into(c, 0.110, B1, n=50)
    out_of(c, 0.120, B1)
    # Where it was is elsewhere now, and that was a moment ago.
    teaches(c, 0.200, from_(A), moves=False)
    into(c, 0.300, B1, n=51)
    teaches(c, 1.200, from_(A))
    into(c, 1.210, A, n=52)
    # Another key is another's.
    c.rx("en1", from_(B2, key=8), 2.5)
    c.drop("en1", "unknown_tunnel")
    into(c, 2.510, A, n=53)
    # Without `learn` nobody moves it, and it is where it is configured to be.
    teaches(c, 2.600, from_(B1))
    into(c, 2.610, B1, n=54)
    c.verb(2.700, {"op": "set-interface", "name": "gre0", "learn": False})
    c.rx("en1", from_(B1), 4.0)
    c.drop("en1", "unknown_tunnel")
    into(c, 4.010, A, n=55)


@case("learn = true without a remote: the tunnel does not run until the first packet with its key tells it where to")
def far_end_untold(c):
    c.config = ROUTER + UNTOLD
    packet = udp(dst=A_IN)
    # Not running: its far end is unreachable.
    c.rx("en0", at_c0(packet))
    c.drop("en0", "unreachable", leaving="gre0")
    error = IP(src=C0, dst=H, ttl=64, tos=0xC0, id=0) / ICMP(type=3, code=1) / Raw(raw(packet))
    error = IP(raw(error))
    c.inject(error)
    c.tx("en0", to_lan(error), "control", free_id=(0,))
    teaches(c, 0.100, from_(B1))
    into(c, 0.110, B1, n=50)
    out_of(c, 0.120, B1)


@case("learn = true: what the tunnel would not let in does not move it: doors, checksum, what is inside, being down")
def far_end_not_learned(c):
    doors = f'allow = ["{A_IN}/32"]\nport = "en1"\n'
    c.config = ROUTER + changed(LEARNS, "learn = true\n", "learn = true\n" + doors)

    def refused(at, frame, reason, came="gre0", port="en1"):
        c.rx(port, frame, at)
        c.drop(port, reason, came=came)

    refused(0.010, from_(B1, udp(src="10.0.0.26", dst=H)), "source_not_allowed")
    elsewhere = keyed(udp(src=A_IN, dst=H), src=B1, dst=C1)
    refused(0.020, at_c0(elsewhere), "wrong_arrival", port="en0")
    damaged = bytearray(raw(from_(B1)))
    damaged[14 + 20 + 8 + 10] ^= 1
    refused(0.030, Ether(bytes(damaged)), "inner_invalid")
    summed = GRE(proto=0x0800, key_present=1, key=KEY, chksum_present=1)
    damaged = bytearray(raw(in_gre(udp(src=A_IN, dst=H), src=B1, dst=C1, gre=summed)))
    damaged[20 + 4] ^= 1
    refused(0.040, at_c1(IP(bytes(damaged))), "gre_bad_checksum", came="en1")
    into(c, 0.050, A)
    c.verb(0.060, {"op": "set-interface", "name": "gre0", "up": False})
    refused(0.070, from_(B1), "tunnel_down")
    c.verb(0.080, {"op": "set-interface", "name": "gre0", "up": True})
    teaches(c, 0.090, from_(B1))
    into(c, 0.100, B1, n=50)


@case("learn = true over IPv6: the far end moves there too, and back with another hash")
def far_end_learned6(c):
    far, near = six.A6, six.C16
    other = "2001:db8:bb::9"
    c.config = six.ROUTER6 + changed(
        changed(LEARNS, f'local = "{C1}"', f'local = "{near}"'), f'remote = "{A}"', f'remote = "{far}"')
    inner = udp(src=A_IN, dst=H)
    header = raw(GRE(proto=0x0800, key_present=1, key=KEY))

    def outer(source):
        packet = six.IPv6(src=source, dst=near, nh=47) / Raw(header + raw(inner))
        return six.from_net(packet)

    out_of(c, 0.0, far, packed=lambda _: outer(far))
    teaches(c, 0.100, outer(other))
    out_of(c, 0.110, other, packed=lambda _: outer(other))
    teaches(c, 0.200, outer(far), moves=False)
    teaches(c, 1.300, outer(far))
    out_of(c, 1.310, far, packed=lambda _: outer(far))


@case("learn = true in UDP (RFC 8086): another source port is no other far end, another address is")
def far_end_learned_udp(c):
    c.config = ROUTER + changed(LEARNS, "learn = true\n", "learn = true\nudp = { port = 4754 }\n")
    inner = udp(src=A_IN, dst=H)
    header = raw(GRE(proto=0x0800, key_present=1, key=KEY))

    def outer(source, sport=50001):
        return at_c1(IP(raw(IP(src=source, dst=C1) / UDP(sport=sport, dport=4754) / Raw(header + raw(inner)))))

    out_of(c, 0.0, A, packed=lambda _: outer(A))
    out_of(c, 0.010, A, packed=lambda _: outer(A, 60001))
    teaches(c, 0.100, outer(B1))
    out_of(c, 0.110, B1, packed=lambda _: outer(B1))
    # Another port is nobody's tunnel.
    c.rx("en1", at_c1(IP(raw(IP(src=B1, dst=C1) / UDP(sport=1, dport=4755) / Raw(header + raw(inner))))), 0.120)
    c.drop("en1", "port_unreachable")
    error = IP(raw(IP(src=C1, dst=B1, ttl=64, tos=0xC0, id=0) / ICMP(type=3, code=3)
                   / Raw(raw(IP(raw(IP(src=B1, dst=C1) / UDP(sport=1, dport=4755) / Raw(header + raw(inner))))))))
    c.inject(error)
    c.tx("en1", to_net(error), "control", 0.120, free_id=(0,))
