"""Liveness of tunnels with a stock Linux at the far end: keepalives it sends back, probes it answers, and
what becomes of routes when it goes silent."""

import json
import time

from greyhound import af_packet, ports_config
from support import finish, neighbours, start
from topology import Neighbours
from transfer import expect_ping

A, B = Neighbours.A, Neighbours.B
A_IN, B_IN = "12.0.0.1", "12.0.0.2"
B_MAC = "02:00:00:00:00:63"


def liveness(a, name="gre0"):
    return json.loads(a.note(f"ifconfig {name} --json"))[0]["tunnel"]["liveness"]


def until(what, seconds):
    """Waits until it is so; gives how long that took."""
    begun = time.monotonic()
    while not what():
        assert time.monotonic() - begun < seconds, "not so in time"
        time.sleep(0.05)
    return time.monotonic() - begun


def smoke_liveness_with_linux():
    """keepalives and probes answered by Linux; silence withdraws routes in time, answers bring them back"""
    with neighbours() as stage:
        b = stage.lan.linux("b", B, A, B_IN, A_IN, B_MAC)
        # A second tunnel between the same hosts, by its key.
        b.sh(f"ip link add t1 type gre local {B} remote {A} key 7 && ip addr add 12.0.1.2 peer 12.0.1.1 dev t1"
             " && ip link set t1 up && ip addr add 13.0.0.9/32 dev lo; ip link set lo up")
        # What lets Linux send a keepalive back: it routes, and takes packets from an address of its own.
        b.sh("cd /proc/sys/net/ipv4; echo 1 >ip_forward; for i in all gre0 t1 eth0; do "
             "echo 1 >conf/$i/accept_local; echo 0 >conf/$i/rp_filter; done")
        a = start(stage.lab, stage.lan.port("a"), ports_config(en0=af_packet("en0")), "a")
        a.notes([
            "ifconfig en0 10.25",
            f"ifconfig gre0 create {A_IN} {B_IN} link1 tunnel {A} {B}",
            f"ifconfig gre1 create 12.0.1.1 12.0.1.2 link1 tunnel {A} {B} key 7",
            "route add -net 13.0.0.0/24 -interface gre0",
            "route add -net 13 -interface gre1",
            "ifconfig gre0 keepalive 500ms 3 probe 500ms 3",
            "ifconfig gre1 probe 200ms 3",
        ])
        up = lambda: liveness(a)["state"] == "up" and liveness(a)["probe"].get("largest")
        until(up, 10)
        seen = liveness(a)
        assert seen["keepalive"]["received"] >= 1, seen
        assert seen["probe"]["largest"] == 1476 and seen["probe"]["rtt"]["last_us"] > 0, seen
        assert liveness(a, "gre1")["state"] == "up"
        expect_ping(b, A_IN)
        assert "gre0" in a.note("route get 13.0.0.9")

        # The first tunnel goes silent at the far end; the second is untouched.
        b.sh("ip link set gre0 down")
        took = until(lambda: liveness(a)["state"] == "down", 6)
        assert took <= 0.5 * 4 + 1, f"down after {took:.1f} s"
        assert "gre1" in a.note("route get 13.0.0.9")
        out = a.note("ping -c 3 -i 0.2 13.0.0.9", timeout=20)
        assert " 0.0% packet loss" in out, out
        assert "far end down" in a.note("ifconfig gre0") and "RUNNING" not in a.note("ifconfig gre0")

        b.sh(f"ip link set gre0 up; ip addr show dev gre0 | grep -q {B_IN} || ip addr add {B_IN} peer {A_IN} dev gre0")
        until(lambda: liveness(a)["state"] == "up", 6)
        assert "gre0" in a.note("route get 13.0.0.9")
        assert liveness(a)["transitions"] == 2
        finish(a)
