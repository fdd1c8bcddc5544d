"""T1 to T4: the life of a gre interface, by the note's own commands."""

from support import neighbours, start
from greyhound import af_packet, ports_config


def machine(stage):
    space = stage.lan.port("a")
    a = start(stage.lab, space, ports_config(en0=af_packet("en0")), "a")
    a.note("ifconfig en0 10.25")
    return a


def refused(gateway, line, *words):
    """The line must fail and its message contain each word."""
    done = gateway.note_result(line)
    assert done.code != 0, f"`{line}` was accepted:\n{done.out}"
    for word in words:
        assert word in done.out, f"`{line}` does not say {word!r}:\n{done.out}"


def technote_t01():
    """ifconfig gre0 create; gre picks the next number; twice is an error; destroy"""
    with neighbours() as stage:
        a = machine(stage)
        a.note("ifconfig gre0 create")
        out = a.note("ifconfig gre0")
        assert "UP" not in out.split("\n")[0], f"up before it is addressed:\n{out}"
        assert a.note("ifconfig gre create").strip() == "gre1"
        refused(a, "ifconfig gre0 create", "gre0", "exists")
        a.notes(["ifconfig gre0 12.1 12.2 link1", "ifconfig gre0 tunnel 10.25 10.163",
                 "route add -net 13 12.2", "ifconfig gre0 destroy"])
        refused(a, "ifconfig gre0", "gre0")
        left = [r for r in a.show("routes") if r.get("interface") == "gre0"]
        assert not left, f"routes through the destroyed interface: {left}"
        a.stop()


def technote_t02():
    """ifconfig gre0 12.1 12.2 link1: inner pair, host route, LINK1"""
    with neighbours() as stage:
        a = machine(stage)
        a.notes(["ifconfig gre0 create", "ifconfig gre0 12.1 12.2 link1", "ifconfig gre0 tunnel 10.25 10.163"])
        gre = a.tunnel()
        pair = gre["addresses"][0]
        assert (pair["address"], pair["peer"]) == ("12.0.0.1", "12.0.0.2"), pair
        assert "LINK1" in gre["flags"], gre["flags"]
        routes = [r for r in a.show("routes --all") if r["to"] == "12.0.0.2/32"]
        assert routes and routes[0]["interface"] == "gre0", routes
        a.stop()


def technote_t03():
    """ifconfig gre0 tunnel 10.25 10.163; deletetunnel; again replaces"""
    with neighbours() as stage:
        a = machine(stage)
        a.notes(["ifconfig gre0 create", "ifconfig gre0 12.1 12.2 link1", "ifconfig gre0 tunnel 10.25 10.163"])
        outer = a.tunnel()["tunnel"]
        assert (outer["local"], outer["remote"]) == ("10.0.0.25", "10.0.0.163"), outer
        a.note("ifconfig gre0 tunnel 10.25 10.164")
        assert a.tunnel()["tunnel"]["remote"] == "10.0.0.164"
        a.note("ifconfig gre0 deletetunnel")
        gre = a.tunnel()
        assert gre["tunnel"]["local"] is None and "RUNNING" not in gre["flags"], gre
        a.stop()


def technote_t04():
    """ifconfig gre0 prints flags, MTU, both pairs and the underlay; -a and -l exist"""
    with neighbours() as stage:
        a = machine(stage)
        a.notes(["ifconfig gre0 create", "ifconfig gre0 12.1 12.2 link1", "ifconfig gre0 tunnel 10.25 10.163"])
        out = a.note("ifconfig gre0")
        for word in ("UP", "POINTOPOINT", "RUNNING", "LINK0", "LINK1", "MULTICAST", "mtu 1476",
                     "10.0.0.25", "10.0.0.163", "12.0.0.1", "12.0.0.2"):
            assert word in out, f"no {word!r} in\n{out}"
        assert a.note("ifconfig -l").split() == ["en0", "gre0"]
        everything = a.note("ifconfig -a")
        assert "en0:" in everything and "gre0:" in everything, everything
        a.stop()
