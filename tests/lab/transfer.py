"""Traffic between two machines, each a Linux guest or a namespace.

Both have `name`, `sh`, `run`, `spawn` and a `scratch` directory.
"""

import json
import re

from lab import wait_for


def listening(machine, port, proto="t"):
    """Waits until something on `machine` listens on `port`."""
    wait_for(f"port {port} on {machine.name}",
             lambda: f":{port} " in machine.sh(f"ss -ln{proto} 'sport = :{port}' 2>/dev/null"), 10, every=0.1)


def ping(machine, address, count=5, size=56, extra=""):
    """Pings; returns the loss in percent and ping's own output."""
    done = machine.run(f"ping -n -c {count} -i 0.2 -W 2 -s {size} {extra} {address}")
    loss = re.search(r"([\d.]+)% packet loss", done.out)
    return (float(loss.group(1)) if loss else 100.0), done.out


def expect_ping(machine, address, **options):
    """Pings and fails unless every packet came back."""
    loss, out = ping(machine, address, **options)
    assert loss == 0, f"{machine.name} -> {address}: {loss:g} % of the pings were lost\n{out}"
    return out


def send_file(sender, receiver, address, megabytes=8, port=5001):
    """Sends random bytes over TCP, the sender connecting to `address` of the
    receiver; returns both sha256 sums, which the caller compares."""
    out, got = f"{sender.scratch}/file-{port}.sent", f"{receiver.scratch}/file-{port}.got"
    sender.sh(f"dd if=/dev/urandom of={out} bs=1M count={megabytes} 2>/dev/null")
    tcp = "TCP6" if ":" in address else "TCP4"
    receiver.spawn(f"socat -u {tcp}-LISTEN:{port} OPEN:{got},creat,trunc")
    listening(receiver, port)
    sender.sh(f"socat -u OPEN:{out} {tcp}:{address}:{port},connect-timeout=10", timeout=90)
    sums = []
    wait_for(f"{megabytes} MB at {receiver.name}",
             lambda: int(receiver.sh(f"stat -c %s {got}")) == megabytes << 20, 20, every=0.2)
    for machine, file in ((sender, out), (receiver, got)):
        sums.append(machine.sh(f"sha256sum {file}").split()[0])
        machine.sh(f"rm -f {file}")
    return sums


def expect_file(sender, receiver, address, **options):
    """Sends a file and fails unless what arrived is what was sent."""
    sent, got = send_file(sender, receiver, address, **options)
    assert sent == got, f"{sender.name} -> {receiver.name}: sent sha256 {sent}, arrived {got}"
    return sent


def iperf(client, server, address, seconds=3, udp_mbit=None, reverse=False, port=5201):
    """iperf3's end-of-run summary as parsed JSON (`end`)."""
    server.spawn(f"iperf3 -s -1 -p {port}")
    listening(server, port)
    mode = f"-u -b {udp_mbit}M -l 1200" if udp_mbit else ""
    out = client.sh(f"iperf3 -J -c {address} -p {port} -t {seconds} {mode} {'-R' if reverse else ''}",
                    timeout=seconds + 40)
    report = json.loads(out[out.index("{"):])
    assert "error" not in report, report
    return report["end"]
