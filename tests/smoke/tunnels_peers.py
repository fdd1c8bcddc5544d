"""Far ends that move, several far ends, and doors, with a stock Linux at the far end."""

from greyhound import af_packet, ports_config
from lab import wait_for
from support import finish, neighbours, start
from topology import Neighbours
from transfer import expect_ping, ping

A, B = Neighbours.A, Neighbours.B
A_IN, B_IN = "12.0.0.1", "12.0.0.2"
B_MAC, C_MAC = "02:00:00:00:00:63", "02:00:00:00:00:64"
ELSEWHERE, C = "10.0.0.99", "10.0.0.164"


def one_port(stage):
    """Greyhound as A, with one port on the wire."""
    a = start(stage.lab, stage.lan.port("a"), ports_config(en0=af_packet("en0")), "a")
    a.note("ifconfig en0 10.25")
    return a


def far(gateway, name="gre0"):
    """The outer address in use, and what is told of it."""
    tunnel = gateway.tunnel(name)["tunnel"]
    return tunnel["remote"], tunnel["far"]


def silent(machine, address):
    """Nothing comes back."""
    loss, out = ping(machine, address, count=3)
    assert loss == 100, out


def expect_learned(machine, address):
    """No more is lost than the packet that teaches."""
    loss, out = ping(machine, address)
    assert loss <= 20, f"more than the packet that teaches was lost\n{out}"


def expect_answers(gateway, address):
    """The gateway's own pings are all answered."""
    out = gateway.note(f"ping -c 3 -i 0.2 {address}")
    assert " 0.0% packet loss" in out, out


def smoke_far_end_learned():
    """learn: Linux changes its outer address and traffic goes on, both ways; without the key nothing moves"""
    with neighbours() as stage:
        b = stage.lan.linux("b", B, A, B_IN, A_IN, B_MAC)
        b.sh(f"ip addr add {ELSEWHERE}/8 dev eth0; ip link del gre0")

        def outer(local, key):
            b.sh(f"ip link del t0 2>/dev/null; ip link add t0 type gre local {local} remote {A} key {key} && "
                 f"ip addr add {B_IN} peer {A_IN} dev t0 && ip link set t0 up")

        a = one_port(stage)
        # Linux speaks first: where it is need not be configured.
        a.note(f"ifconfig gre0 create {A_IN} {B_IN} link1 tunnel {A} any key 7 learn")
        shown = a.note("ifconfig gre0")
        assert "--> any" in shown and "nobody has sent it a packet" in shown, shown
        outer(B, 7)
        expect_learned(b, A_IN)
        expect_ping(b, A_IN)
        assert far(a) == (B, {"found": True, "moves": 1, "refused": 0}), far(a)
        expect_answers(a, B_IN)

        outer(ELSEWHERE, 7)
        expect_learned(b, A_IN)
        expect_ping(b, A_IN, size=4000)
        expect_answers(a, B_IN)
        assert far(a)[0] == ELSEWHERE and far(a)[1]["moves"] == 2, far(a)
        assert "the far end moved" in a.log(), a.log()
        assert a.metric("greyhound_tunnel_far_end_moves_total", tunnel="gre0") == 2

        # Whoever has not the key moves nothing.
        before = a.dropped("unknown_tunnel")
        outer(B, 8)
        silent(b, A_IN)
        assert a.dropped("unknown_tunnel") >= before + 3 and far(a)[0] == ELSEWHERE
        # Nor does a packet that the tunnel would not let in.
        a.note("ifconfig gre0 allow 13.0.0.0/8")
        outer(B, 7)
        silent(b, A_IN)
        assert a.dropped("source_not_allowed") >= 3 and far(a)[0] == ELSEWHERE
        a.note("ifconfig gre0 -allow")
        ping(b, A_IN, count=1)
        expect_ping(b, A_IN)
        assert "learn = true" in a.verb("show", "config").check().out
        assert B not in a.verb("show", "config").check().out, "what is found is not configured"
        finish(a)


def smoke_far_end_by_name():
    """a far end by its name: found, followed when the name leads elsewhere, kept when it leads nowhere"""
    name = "far.greyhound.test"
    with neighbours() as stage:
        b = stage.lan.linux("b", B, A, B_IN, A_IN, B_MAC)
        b.sh(f"ip addr add {ELSEWHERE}/8 dev eth0")
        space = stage.lan.port("a")

        def leads(*addresses):
            space.etc("hosts", "127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for address in addresses))

        leads("2001:db8::9", B)
        space.etc("nsswitch.conf", "hosts: files\n")
        a = start(stage.lab, space, ports_config(en0=af_packet("en0")), "a")
        a.notes(["ifconfig en0 10.25", f"ifconfig gre0 create {A_IN} {B_IN} link1 tunnel {A} {name} resolve 5"])
        wait_for("an address", lambda: far(a)[0] == B, 5, every=0.1)
        expect_ping(b, A_IN)
        assert f'remote = "{name}"' in a.verb("show", "config").check().out
        b.sh(f"ip link set gre0 type gre local {ELSEWHERE} remote {A} ttl 64")
        leads(ELSEWHERE)
        wait_for("the other address", lambda: far(a)[0] == ELSEWHERE, 8, every=0.2)
        expect_ping(b, A_IN)
        leads()
        wait_for("a look-up that fails", lambda: far(a)[1]["refused"] >= 1, 8, every=0.2)
        assert far(a)[0] == ELSEWHERE and "leads nowhere" in a.log(), a.log()
        expect_ping(b, A_IN)
        finish(a)


def smoke_doors():
    """allow, rpf and port: a wrong inner source or port of arrival does not pass, and the right counter counts"""
    wrong = "12.0.0.77"
    with neighbours() as stage:
        b = stage.lan.linux("b", B, A, B_IN, A_IN, B_MAC)
        b.sh(f"ip addr add {wrong}/32 dev lo; ip link set lo up")
        space = stage.lan.port("a")
        lan = stage.lab.netns("lan")
        stage.lab.veth(lan, "eth0", space, "en1")
        a = start(stage.lab, space, ports_config(en0=af_packet("en0", 0), en1=af_packet("en1", 1)), "a")
        a.notes(["ifconfig en0 10.25", "ifconfig en1 192.168.7.1/24",
                 f"ifconfig gre0 create {A_IN} {B_IN} link1 tunnel {A} {B}"])

        def kept_out(reason):
            before = a.dropped(reason)
            loss, out = ping(b, A_IN, count=3, extra=f"-I {wrong}")
            # Linux may say something of its own, too: its neighbour discovery.
            assert loss == 100 and a.dropped(reason) >= before + 3, (reason, a.dropped(reason), before, out)
            expect_ping(b, A_IN, count=3)

        # Open: a route back is all it takes.
        a.note(f"route add {wrong} -interface gre0")
        expect_ping(b, A_IN, count=3, extra=f"-I {wrong}")
        a.note(f"ifconfig gre0 allow {B_IN}/32")
        kept_out("source_not_allowed")
        a.note("ifconfig gre0 -allow rpf strict")
        expect_ping(b, A_IN, count=3, extra=f"-I {wrong}")
        a.note(f"route change {wrong} 192.168.7.9")
        kept_out("reverse_path")
        assert "a packet was kept out" in a.log(), a.log()
        a.note("ifconfig gre0 rpf off port en1")
        before = a.dropped("wrong_arrival")
        silent(b, A_IN)
        assert a.dropped("wrong_arrival") >= before + 3
        a.note("ifconfig gre0 port en0")
        expect_ping(b, A_IN)
        finish(a)


def smoke_multipoint_gre():
    """two Linux far ends of one interface, set up by verbs: each with the hub, and with each other through it"""
    spokes = {"b": (B, "12.0.0.2", B_MAC), "c": (C, "12.0.0.3", C_MAC)}
    with neighbours() as stage:
        machines = {}
        for name, (outer, inner, mac) in spokes.items():
            machine = stage.lan.linux(name, outer, A, inner, A_IN, mac)
            # Multipoint there, too: no remote, and who is where by hand.
            machine.sh(f"ip link del gre0; ip link add m0 type gre local {outer} ttl 64 && "
                       f"ip addr add {inner}/24 dev m0 && ip link set m0 up")
            machine.sh("".join(f"ip neigh replace 12.0.0.{n} lladdr {A} dev m0;" for n in (1, 2, 3)))
            machines[name] = machine
        a = one_port(stage)
        a.note(f"ifconfig gre0 create tunnel {A} any nbma 12.2 {B} {A_IN} link1")
        b, c = machines["b"], machines["c"]
        expect_ping(b, A_IN)
        silent(c, A_IN)
        assert a.dropped("unknown_tunnel") >= 3
        a.note(f"ifconfig gre0 nbma 12.3 {C}")
        for machine in (b, c):
            expect_ping(machine, A_IN, size=4000)
        for peer in ("12.0.0.2", "12.0.0.3"):
            expect_answers(a, peer)
        expect_ping(b, "12.0.0.3")
        traffic = {t["name"]: t["traffic"] for t in a.show("tunnels")}
        for outer in (B, C):
            part = traffic[f"gre0:{outer}"]
            assert part["rx_packets"] >= 10 and part["tx_packets"] >= 10, traffic
        a.note("ifconfig gre0 -nbma 12.3")
        silent(c, A_IN)
        expect_ping(b, A_IN)
        finish(a)


def smoke_multipoint_learned():
    """a hub learns where a Linux spoke is, and follows it; not what it does not allow"""
    with neighbours() as stage:
        c = stage.lan.linux("c", C, A, "12.0.0.3", A_IN, C_MAC)
        c.sh(f"ip addr add {ELSEWHERE}/8 dev eth0; ip link del gre0")

        def outer(local):
            c.sh(f"ip link del m0 2>/dev/null; ip link add m0 type gre local {local} key 9 ttl 64 && "
                 f"ip addr add 12.0.0.3/24 dev m0 && ip link set m0 up && ip neigh replace {A_IN} lladdr {A} dev m0")

        a = one_port(stage)
        a.note(f"ifconfig gre0 create tunnel {A} any nbma 12.2 {B} {A_IN} link1 key 9 learn allow 12.0.0.0/30")
        for local in (C, ELSEWHERE):
            outer(local)
            expect_learned(c, A_IN)
            expect_ping(c, A_IN, size=4000)
            expect_answers(a, "12.0.0.3")
            names = [t["name"] for t in a.show("tunnels")]
            assert sorted(names) == sorted(["gre0", f"gre0:{B}", f"gre0:{local}"]), names
        assert C not in a.verb("show", "config").check().out, "what is learned is not configured"
        a.note("ifconfig gre0 -learn")
        silent(c, A_IN)
        assert a.dropped("unknown_tunnel") >= 3
        finish(a)
