"""Machine C of the operator's note, its neighbours, and what is often sent.

```
  H 10.0.0.163 --- en0 10.0.0.1/8  C  203.0.113.1/24 en1 --- R 203.0.113.254 --- internet
                                   C ==== gre0 10.0.0.1 > 10.0.0.25 ==== A 198.51.100.2
```
"""

import scapy_quiet  # noqa: F401  (first: silences scapy)
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import ARP, GRE, Ether
from scapy.packet import Raw
from scapy.utils import checksum

from .kit import fresh, hop, raw, rebuilt

M0, M1 = "02:00:00:00:00:01", "02:00:00:00:00:02"
HM, RM = "02:aa:00:00:01:63", "02:bb:00:00:02:54"
H, C0, C1, R = "10.0.0.163", "10.0.0.1", "203.0.113.1", "203.0.113.254"
FAR = "192.0.2.7"
A, A_IN = "198.51.100.2", "10.0.0.25"

EN0 = """
[[port]]
name = "en0"
device = "net_null0"
address = ["10.0.0.1/8"]
"""
EN1 = """
[[port]]
name = "en1"
device = "net_null1"
address = ["203.0.113.1/24"]
"""
DEFAULT = """
[[route]]
to = "default"
via = "203.0.113.254"
"""
KNOWN = f"""
[[neighbour]]
address = "{H}"
mac = "{HM}"

[[neighbour]]
address = "{R}"
mac = "{RM}"
"""
GRE0 = f"""
[[tunnel]]
name = "gre0"
kind = "gre"
local = "{C1}"
remote = "{A}"
address = "{C0}"
peer = "{A_IN}"
link1 = true
"""
# Its peer's network is 172.16/12, so that nothing depends on proxy ARP.
IPIP0 = f"""
[[tunnel]]
name = "ipip0"
kind = "ipip"
address = "{C1}"
peer = "198.51.100.9"

[[route]]
to = "172.16.0.0/12"
interface = "ipip0"
"""
B = "198.51.100.9"

ROUTER = EN0 + EN1 + DEFAULT + KNOWN
GATEWAY = ROUTER + GRE0
IPIP_GATEWAY = ROUTER + IPIP0


def changed(config, old, new):
    """The configuration with one thing changed, which has to be in it."""
    assert config.count(old) == 1, (old, config)
    return config.replace(old, new)


def payload(n, seed=0):
    """`n` bytes that show where they are."""
    return bytes((seed + i * 7 + i // 256) & 0xFF for i in range(n))


def udp(src=H, dst=FAR, n=32, sport=4000, dport=5000, **ip):
    """A UDP datagram with `n` bytes of data."""
    ip.setdefault("id", 0x1234)
    return IP(raw(IP(src=src, dst=dst, **ip) / UDP(sport=sport, dport=dport) / Raw(payload(n))))


def echo(src=H, dst=FAR, n=56, seq=1, reply=False, **ip):
    """An ICMP echo request (or reply)."""
    ip.setdefault("id", 0x4321)
    message = ICMP(type=0 if reply else 8, id=0x77, seq=seq)
    return IP(raw(IP(src=src, dst=dst, **ip) / message / Raw(payload(n))))


def at_c0(packet, src=HM, dst=M0):
    """A frame as C's en0 receives it from the LAN."""
    return Ether(src=src, dst=dst, type=0x0800) / packet


def at_c1(packet, src=RM, dst=M1):
    """A frame as C's en1 receives it from the router."""
    return Ether(src=src, dst=dst, type=0x0800) / packet


def to_lan(packet, dst=HM):
    """A frame as C's en0 sends it to the LAN host."""
    return Ether(src=M0, dst=dst, type=0x0800) / packet


def to_net(packet, dst=RM):
    """A frame as C's en1 sends it to the router."""
    return Ether(src=M1, dst=dst, type=0x0800) / packet


def in_gre(inner, src=C1, dst=A, df=True, ttl=64, tos=None, id=0, gre=None):
    """The GRE packet that carries `inner`: outer DSCP and ECN are the inner
    packet's unless `tos` says otherwise."""
    inner = IP(raw(inner)) if isinstance(inner, IP) else Raw(raw(inner))
    if tos is None:
        tos = inner.tos
    outer = IP(src=src, dst=dst, proto=47, ttl=ttl, tos=tos, id=id, flags="DF" if df else 0)
    return IP(raw(outer / (gre or GRE(proto=0x0800)) / inner))


def in_ip(inner, src=C1, dst=B, df=True, ttl=64, tos=None, id=0):
    """The IP-in-IP packet that carries `inner`."""
    inner = IP(raw(inner)) if isinstance(inner, IP) else Raw(raw(inner))
    if tos is None:
        tos = inner.tos
    outer = IP(src=src, dst=dst, proto=4, ttl=ttl, tos=tos, id=id, flags="DF" if df else 0)
    return IP(raw(outer / inner))


def error(kind, code, about, src, mtu=0, ttl=64):
    """The ICMP error about a datagram (as received): quoted up to 576 bytes in
    all, precedence internetwork control, the rest of the TOS its own."""
    about = raw(about)
    cause = IP(about)
    quote = about[: min(cause.len, 576 - 28)]
    message = ICMP(type=kind, code=code)
    if (kind, code) == (3, 4):
        message = ICMP(type=3, code=4, reserved=0, length=0, nexthopmtu=mtu)
    tos = 0xC0 | (cause.tos & 0x1C)
    body = raw(message)[:8] + quote
    header = IP(src=src, dst=cause.src, tos=tos, ttl=ttl, id=fresh(), proto=1)
    return IP(raw(header / Raw(with_icmp_checksum(body))))


def with_icmp_checksum(message):
    """An ICMP message with its checksum, by scapy's own arithmetic."""
    zeroed = message[:2] + b"\0\0" + message[4:]
    return zeroed[:2] + checksum(zeroed).to_bytes(2, "big") + zeroed[4:]


def send_error(c, message, port, frame, at=0.0, tunnel=None, free_id=(0,)):
    """Control makes an ICMP error and the worker sends it by `port`."""
    c.inject(message)
    c.tx(port, frame, "control", at=at, tunnel=tunnel, free_id=free_id)


def arp(op, hwsrc, psrc, hwdst, pdst, src=None, dst=None):
    """An ARP packet; the link header follows from it unless said otherwise."""
    body = ARP(op=op, hwsrc=hwsrc, psrc=psrc, hwdst=hwdst, pdst=pdst)
    return Ether(src=src or hwsrc, dst=dst or hwdst, type=0x0806) / body


BROADCAST = "ff:ff:ff:ff:ff:ff"
ZERO_MAC = "00:00:00:00:00:00"

__all__ = [name for name in dir() if not name.startswith("_")]
assert hop and rebuilt
