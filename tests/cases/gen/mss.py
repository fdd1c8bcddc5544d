"""What TCP connections through a tunnel offer each other (`mss`)."""

from scapy.layers.inet import IP, TCP, IPOption
from scapy.packet import Raw

from .kit import case, hop, raw
from .net import *  # noqa: F403
from .tunnels import decap


def with_mss(value):
    return changed(GATEWAY, "link1 = true\n", f"link1 = true\nmss = {value}\n")


def syn(src=H, dst=A_IN, mss=1460, flags="S", before=(), after=(("SAckOK", b""), ("WScale", 7)), n=0, **ip):
    """An opening segment of TCP that offers `mss`."""
    options = [*before, ("MSS", mss), *after]
    ip.setdefault("id", 0x2222)
    return IP(raw(IP(src=src, dst=dst, **ip) / TCP(sport=4000, dport=80, seq=7, flags=flags, options=options)
                  / Raw(payload(n))))


def lowered(packet, to):
    """What becomes of an opening segment that offered too much."""
    less = IP(raw(packet))
    less[TCP].options = [(name, to if name == "MSS" else value) for name, value in less[TCP].options]
    del less[TCP].chksum
    return IP(raw(less))


def into(c, packet, out=None):
    """A LAN host's segment goes into gre0, as `out` or as it is."""
    inner = hop(out or packet)
    c.rx("en0", at_c0(packet))
    c.tx("en1", to_net(in_gre(inner)), "en0", tunnel=("gre0", len(raw(inner))), free_id=(0,))


def out_of(c, inner, out=None):
    """A segment from A comes out of gre0, as `out` or as it is."""
    decap(c, inner, out=hop(out or inner))


@case("mss = \"auto\": opening segments offer what fits the tunnel, both ways; checksums stay right")
def mss_auto(c):
    c.config = with_mss('"auto"')
    for mss in (1437, 1460, 8960, 65535):
        into(c, syn(mss=mss), lowered(syn(mss=mss), 1436))
        answer = syn(A_IN, H, mss=mss, flags="SA")
        out_of(c, answer, lowered(answer, 1436))
    for mss in (0, 536, 1436):
        into(c, syn(mss=mss))
        out_of(c, syn(A_IN, H, mss=mss, flags="SA"))


@case("mss = N, wherever the option is, with data, with IP options")
def mss_fixed(c):
    c.config = with_mss(1200)
    for before in ((), (("NOP", None),), (("NOP", None),) * 2, (("SAckOK", b""), ("NOP", None))):
        packet = syn(before=before, after=(), n=33)
        into(c, packet, lowered(packet, 1200))
    packet = syn(options=[IPOption(b"\x94\x04\0\0")])
    into(c, packet, lowered(packet, 1200))


@case("All but opening segments stay as they are: no SYN, no option, options without sense, UDP, later fragments")
def mss_untouched(c):
    c.config = with_mss(1200)
    into(c, syn(flags="A"))
    bare = IP(raw(IP(src=H, dst=A_IN, id=3) / TCP(flags="S")))
    into(c, bare)
    short = raw(syn(after=()))
    into(c, IP(raw(IP(short[:-4] + b"\x02\x03\x05\xb4"))))
    into(c, udp(dst=A_IN))
    whole = syn(n=64)
    body = raw(whole)[20:]
    into(c, IP(raw(IP(src=H, dst=A_IN, id=5, proto=6, frag=8) / Raw(body))))


@case("Without mss nothing is touched")
def mss_off(c):
    c.config = GATEWAY
    into(c, syn(mss=8960))
    out_of(c, syn(A_IN, H, mss=8960, flags="SA"))
