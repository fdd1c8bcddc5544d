"""T11: a LAN host and A reach each other as if A sat on the LAN. A is a stock Linux."""

import re

from support import office
from topology import A_INNER, B_HOST
from transfer import expect_file, expect_ping, iperf


def technote_t11_ping():
    """ping both ways, from 1 byte to several fragments, started from either side"""
    with office() as o:
        # Without DF: C cuts what the tunnel does not take.
        for size in (1, 56, 1400, 1448, 1449, 1472, 4000):
            expect_ping(o.a, B_HOST, size=size, count=3, extra="-M dont")
            expect_ping(o.lan, A_INNER, size=size, count=3, extra="-M dont")
        # 1448 + 28 = 1476 fits the tunnel; a byte more with DF draws the MTU.
        expect_ping(o.lan, A_INNER, size=1448, count=2, extra="-M do")
        out = o.lan.run(f"ping -n -c 2 -i 0.3 -W 1 -M do -s 1449 {A_INNER}").out
        assert re.search(r"mtu\s*=\s*1476", out), f"no frag needed with MTU 1476:\n{out}"


def technote_t11_files():
    """a file each way over TCP, whichever side starts"""
    with office() as o:
        expect_file(o.a, o.lan, B_HOST, port=5001)
        expect_file(o.lan, o.a, A_INNER, port=5002)


def technote_t11_iperf():
    """iperf3 TCP and UDP, both directions"""
    with office() as o:
        for client, server, address in ((o.lan, o.a, A_INNER), (o.a, o.lan, B_HOST)):
            tcp = iperf(client, server, address)["sum_received"]
            print(f"TCP {client.name} -> {server.name}: {tcp['bits_per_second'] / 1e6:.0f} Mbit/s")
            assert tcp["bytes"] > 1 << 20, tcp
            udp = iperf(client, server, address, udp_mbit=5)["sum"]
            print(f"UDP {client.name} -> {server.name}: {udp['packets']} datagrams, {udp['lost_percent']:.2f} % lost")
            assert udp["packets"] > 1000 and udp["lost_percent"] < 1, udp
