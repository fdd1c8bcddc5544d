"""Restart under load, net_tap ports, idle CPU, system calls on the path."""

import re
import statistics
import time

from greyhound import Greyhound, af_packet, ports_config, reserve_hugepages
from lab import Lab, shell, wait_for
from support import finish, office, start
from topology import (A_INNER, A_OUTER, B_HOST, C_INNER, C_OUTER, C_PUBLISH, C_REAL_INTERFACES, C_ROUTER, C_TUNNEL,
                      Office)
from transfer import expect_file, expect_ping

# Machine C as a configuration file: what the note's commands add up to.
MACHINE_C = f"""
[[tunnel]]
name = "gre0"
kind = "gre"
local = "{C_OUTER}"
remote = "{A_OUTER}"
address = "{C_INNER}"
peer = "{A_INNER}"
link1 = true

[[route]]
to = "default"
via = "{C_ROUTER}"

[[arp]]
address = "{A_INNER}"
port = "en0"
publish = true
"""


def smoke_restart_under_load():
    """SIGTERM under load exits 0; started again from a file, traffic goes on"""
    with Lab() as lab:
        reserve_hugepages(lab)
        town = Office(lab).wire_veth()
        ports = ports_config(en0=(af_packet("en0", 0), {"address": [f"{C_INNER}/8"]}),
                             en1=(af_packet("en1", 1), {"address": [f"{C_OUTER}/24"]}))
        c = start(lab, town.gw, ports + MACHINE_C)
        a = town.boot_a()
        expect_ping(a, B_HOST)
        expect_ping(town.lan, A_INNER)
        load = town.lan.start(f"exec ping -n -i 0.002 -s 1000 -W 1 {A_INNER} >/dev/null", "load")
        a.spawn(f"exec ping -n -i 0.005 -s 2000 -M dont {B_HOST} >/dev/null")
        for turn in (1, 2):
            time.sleep(1)
            c.stop()
            c.start()
            wait_for(f"traffic after restart {turn}",
                     lambda: town.lan.run(f"ping -n -c 1 -W 1 {A_INNER}").code == 0, 15)
        load.stop()
        a.sh("killall ping || true")
        expect_ping(a, B_HOST)
        finish(c)


def smoke_running_state_reproduces_itself():
    """`show config` is a file from which the same machine C starts"""
    with office(boot_a=False) as o:
        printed = o.c.verb("show", "config").check().out
        text = re.sub(r"(?ms)^\[(control|metrics)\]\n.*?(?=^\[|\Z)", "", printed)
        before = {what: o.c.show(what) for what in ("tunnels", "routes")}
        again = Greyhound(o.lab, o.gw, text, "again")
        o.c.stop()
        again.start()
        for what, old in before.items():
            new = again.show(what)
            for entry in (*old, *new):
                entry.pop("traffic", None)
                underlay = (entry.get("tunnel") or {}).get("underlay") or {}
                underlay.pop("state", None)
            assert new == old, f"{what} differ\nbefore {old}\nafter  {new}\nfile:\n{text}"
        again.stop()
        o.c.start()


def smoke_net_tap():
    """ping, traceroute and a file over net_tap ports"""
    with Lab() as lab:
        reserve_hugepages(lab)
        town = Office(lab).wire_bridges("tc0", "tc1")
        c = start(lab, town.gw, ports_config(en0="net_tap0,iface=tc0", en1="net_tap1,iface=tc1"))
        town.join_taps()
        c.notes([*C_REAL_INTERFACES, C_PUBLISH, *C_TUNNEL])
        a = town.boot_a()
        expect_ping(a, B_HOST)
        expect_ping(town.lan, A_INNER)
        hops = re.findall(r"^\s*\d+\s+(\S+)", a.sh(f"traceroute -n -q 1 -w 3 {B_HOST}"), re.M)
        assert hops == [C_INNER, B_HOST], hops
        expect_file(a, town.lan, B_HOST, megabytes=1)
        finish(c)


def smoke_idle_cpu():
    """adaptive without traffic: under 10 % of a core; first packet after idle within 5 ms"""
    with office(boot_a=False) as o:
        expect_ping(o.lan, C_INNER, count=2)
        time.sleep(1)
        used, seconds = cpu_seconds(o.c.proc.pid), 4
        time.sleep(seconds)
        share = (cpu_seconds(o.c.proc.pid) - used) / seconds
        times = []
        for _ in range(7):
            time.sleep(0.7)
            out = expect_ping(o.lan, C_INNER, count=1)
            times.append(float(re.search(r"time=([\d.]+)", out).group(1)))
        print(f"idle {100 * share:.1f} % of a core; first packet after idle {statistics.median(times):.2f} ms (median)")
        assert share < 0.10, f"{100 * share:.1f} % of a core when idle"
        assert statistics.median(times) < 5, f"first packets after idle took {times} ms"


def smoke_no_system_calls_on_the_path():
    """strace on a polling worker over null ports: no system call in 5 s"""
    with Lab() as lab:
        reserve_hugepages(lab)
        config = ports_config(en0="net_null0", en1="net_null1").replace('"adaptive"', '"poll"')
        c = Greyhound(lab, lab.netns("gw"), config).start()
        worker = c.show("workers")[0]
        threads = pinned_threads(c.proc.pid, worker["core"])
        assert len(threads) == 1, f"threads pinned to core {worker['core']}: {threads}"
        before = worker["packets"]
        report = shell(["timeout", "-s", "INT", "5", "strace", "-c", "-p", threads[0]], timeout=20).out
        after = c.show("workers")[0]["packets"]
        assert "attached" in report, report
        assert "total" not in report, f"system calls on a worker:\n{report}"
        print(f"{after - before} packets meanwhile")
        assert after > before, "the worker received nothing: null ports deliver all the time"
        c.stop()


def cpu_seconds(pid):
    """User and system time of a process so far."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def pinned_threads(pid, core):
    """Ids of the threads allowed on this one core and no other."""
    grep = shell(f"grep -lP '^Cpus_allowed_list:\\s+{core}$' /proc/{pid}/task/*/status").out
    return [line.split("/")[4] for line in grep.split()]
