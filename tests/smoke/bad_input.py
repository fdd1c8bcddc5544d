"""Bad input: one clear error each, the running state untouched, traffic goes on."""

import json
import os
import socket

from greyhound import Greyhound, af_packet, ports_config
from lab import Timeout, wait_for
from support import office
from topology import A_INNER, B_HOST
from transfer import expect_ping


def converse(path, data, replies=1):
    """Writes bytes to the control socket; the lines it answers until it closes."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(10)
        link.connect(path)
        try:
            link.sendall(data)
        except BrokenPipeError:
            pass
        lines = b""
        try:
            while lines.count(b"\n") < replies:
                chunk = link.recv(65536)
                if not chunk:
                    break
                lines += chunk
        except ConnectionResetError:
            pass
    return [json.loads(line) for line in lines.splitlines() if line]


def smoke_bad_input_on_the_socket():
    """malformed JSON, unknown method, wrong version, lines of 10 and 33 MiB: an error each, traffic goes on"""
    with office() as o:
        before = {what: o.c.show(what) for what in ("config", "routes", "neighbours")}
        for data in (b"{nonsense\n", b"\xff\xfe\n", b"[]\n", b'{"version":1,"method":"fly"}\n',
                     b'{"version":9,"method":"show-ports"}\n',
                     b'{"version":1,"method":"transaction","params":{"ops":[{"op":"create","name":"gre0"}]}}\n'):
            answers = converse(o.c.socket, data)
            assert answers and "error" in answers[0], f"{data[:60]} was answered {answers}"
        # Within a line's limit and no JSON; beyond the limit.
        for size in (10 << 20, 33 << 20):
            answers = converse(o.c.socket, b"x" * size + b"\n")
            assert not answers or "error" in answers[0], answers
        after = {what: o.c.show(what) for what in before}
        assert after["config"] == before["config"] and after["routes"] == before["routes"]
        expect_ping(o.a, B_HOST)


def smoke_bad_verbs():
    """refused changes leave everything as it was"""
    with office(boot_a=False) as o:
        before = o.c.show("config")
        for line in ("ifconfig gre0 create", "ifconfig en9 10.1", "ifconfig gre9 12.1 12.2", "ifconfig en0 10.1/40",
                     "ifconfig gre0 tunnel 203.0.113.1 203.0.113.1", "route add -net 10.0.0.0/33 10.2",
                     "arp -s 10.0.0.9 01:00:5e:00:00:01", "arp -s 10.0.0.9 nonsense", "ifconfig gre0 mtu 10"):
            done = o.c.note_result(line)
            assert done.code != 0 and done.out.strip(), f"`{line}` exited {done.code}: {done.out}"
            assert "panic" not in done.out, done.out
        assert o.c.show("config") == before


def smoke_bad_frames():
    """truncated, oversized and garbage frames on the LAN are counted; traffic goes on"""
    with office() as o:
        mac = bytes.fromhex(o.gw.mac("en0").replace(":", ""))
        frames = [mac + os.urandom(size) for size in (8, 20, 60, 400, 1400) for _ in range(200)]
        frames += [mac + b"\2\0\0\0\0\1\x08\0" + os.urandom(size) for size in (1, 19, 20, 60, 1400) for _ in range(200)]
        sender = o.lab.path("garbage.py")
        with open(sender, "w") as file:
            # Paced: a burst larger than the ring of net_af_packet is lost in the
            # kernel when the worker's core is busy, and nobody here can count it.
            file.write("import socket, sys, time\n"
                       "link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\nlink.bind(('eth0', 0))\n"
                       "for number, line in enumerate(sys.stdin):\n    link.send(bytes.fromhex(line))\n"
                       "    if number % 32 == 31:\n        time.sleep(0.02)\n")
        garbage = o.lab.path("garbage.hex")
        with open(garbage, "w") as file:
            file.writelines(frame.ljust(14, b"\0").hex() + "\n" for frame in frames)
        o.lan.sh(f"/usr/bin/python3 {sender} <{garbage}")
        expect_ping(o.a, B_HOST)
        expect_ping(o.lan, A_INNER)
        total = sum(d["packets"] for d in o.c.show("drops")["drops"])
        assert total >= len(frames) * 0.9, f"{total} drops counted of {len(frames)} bad frames"


def smoke_refuses_to_start():
    """unknown key, missing device, socket in use: one clear error, exit code not 0"""
    with office(boot_a=False) as o:
        good = ports_config(en0=af_packet("nosuch"))
        cases = {"[dpdk]\nfrobnicate = 1\n": ["frobnicate"], good: ["nosuch"],
                 ports_config(en0="net_null7").replace('"en0"', '"0en"'): ["0en"]}
        for config, words in cases.items():
            failed = Greyhound(o.lab, o.gw, config, "bad")
            refuses(failed, words)
        busy = Greyhound(o.lab, o.gw, ports_config(en0="net_null7"), "c")
        refuses(busy, [busy.socket])
        assert o.c.answers(), "the gateway that owned the socket no longer answers"


def refuses(gateway, words):
    """`greyhound run` must end by itself with an error that has each word."""
    proc = gateway.space.start([gateway.binary, "run", "-c", gateway.config], "refused", env=gateway.env)
    try:
        wait_for("it to give up", lambda: not proc.alive(), 15)
    except Timeout:
        raise AssertionError(f"still runs on a bad configuration:\n{proc.text()}") from None
    assert proc.popen.returncode != 0, proc.text()
    for word in words:
        assert word in proc.text(), f"no {word!r} in\n{proc.text()}"
    assert "panicked" not in proc.text(), proc.text()
