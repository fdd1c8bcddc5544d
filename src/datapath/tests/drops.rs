//! One case per drop reason the path can give; the list is complete or the
//! last test fails.

use super::filter::{filter, rule};
use super::packets::{Datagram, addr, frame, pattern, tagged};
use super::testbed::*;
use super::testbed6::{EN0_6, EN1_6, FAR6, HOST6, six, tunnel6, udp6};
use super::udp;
use crate::buf::heap::TestBuf;
use crate::datapath::drop::DropReason::{self, *};
use crate::exchange::{Cause, InjectKind};
use crate::ids::IfId;
use crate::model::spec::{FilterAction, FilterSpec, ReversePath as Check};
use crate::tables::adjacency::{Adjacency, AdjacencyKind};
use crate::tables::door::Door;
use crate::tables::tunnel::Tunnel;

/// What brings a reason about, once.
struct Case {
    reason: DropReason,
    /// Where the drop is counted: rx of this interface, or tx.
    at: At,
    cause: fn(&mut Testbed),
}

#[derive(Clone, Copy, PartialEq)]
enum At {
    Rx(IfId),
    Tx(IfId),
    Nowhere,
}

const fn case(reason: DropReason, at: At, cause: fn(&mut Testbed)) -> Case {
    Case { reason, at, cause }
}

fn host_to(dst: &str) -> Datagram {
    Datagram::udp("10.0.0.163", dst, 30)
}

fn pass(bed: &mut Testbed, datagram: Datagram) {
    assert_eq!(bed.pass(EN0, &datagram.frame()), Sent::new());
}

/// A datagram after a change to its bytes that its checksum does not follow.
fn broken(bed: &mut Testbed, change: fn(&mut Vec<u8>)) {
    let mut bytes = host_to("198.18.0.1").bytes();
    change(&mut bytes);
    pass_raw(bed, &bytes);
}

fn pass_raw(bed: &mut Testbed, ip: &[u8]) {
    assert_eq!(bed.pass(EN0, &frame(EN0_MAC, HOST_MAC, 0x0800, ip)), Sent::new());
}

fn pass6(bed: &mut Testbed, ip: &[u8]) {
    assert_eq!(bed.pass(EN0, &frame(EN0_MAC, HOST_MAC, 0x86dd, ip)), Sent::new());
}

/// A datagram with header bytes changed and the checksum made right again.
fn resummed(bed: &mut Testbed, change: fn(&mut Vec<u8>)) {
    let mut bytes = host_to("198.18.0.1").bytes();
    change(&mut bytes);
    bytes[10..12].fill(0);
    let len = usize::from(bytes[0] & 15) * 4;
    let sum = bytes[..len].chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum::<u32>();
    let sum = (sum & 0xffff) + (sum >> 16);
    bytes[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    pass_raw(bed, &bytes);
}

fn from_tunnel(bed: &mut Testbed, remote: &str, inner: &Datagram) {
    let outer = Datagram::gre(remote, "203.0.113.1", 0, 0x0800, &inner.bytes());
    outer_in(bed, &outer);
}

fn outer_in(bed: &mut Testbed, outer: &Datagram) {
    let bytes = frame(EN1_MAC, ROUTER_MAC, 0x0800, &outer.bytes());
    assert_eq!(bed.pass(EN1, &bytes), Sent::new());
}

/// A packet of minimal encapsulation that ends with these bytes.
fn minimal(bed: &mut Testbed, header: &[u8]) {
    outer_in(bed, &Datagram::new("198.51.100.2", "203.0.113.1", 55, header.to_vec()));
}

fn gre_flags(bed: &mut Testbed, flags: u16) {
    let mut inner = vec![0; 12];
    inner.extend(host_to("10.0.0.163").bytes());
    outer_in(bed, &Datagram::gre("198.51.100.2", "203.0.113.1", flags, 0x0800, &inner));
}

/// A good packet but for one word in its GRE header.
fn gre_word(bed: &mut Testbed, flags: u16, word: u32) {
    let payload = [&word.to_be_bytes()[..], &inner().bytes()].concat();
    outer_in(bed, &Datagram::gre("198.51.100.2", "203.0.113.1", flags, 0x0800, &payload));
}

/// A piece of a datagram to us.
fn piece(offset: u16, more: bool, len: usize) -> Datagram {
    Datagram::new("10.0.0.163", "10.0.0.1", 17, pattern(len)).fragment(offset, more)
}

fn inner() -> Datagram {
    Datagram::udp("10.9.0.2", "10.0.0.163", 10)
}

/// The far end packs a packet to us into `depth` more tunnel packets.
fn nested(depth: usize) -> Datagram {
    (0..depth).fold(Datagram::udp("10.9.0.2", "10.0.0.163", 9), |inner, _| {
        Datagram::gre("10.9.0.2", "10.9.0.1", 0, 0x0800, &inner.bytes())
    })
}

/// gre0 asks more of its packets.
fn ask(bed: &Testbed, change: impl FnOnce(&mut Tunnel)) {
    let guard = bed.tables.pin();
    let mut tunnel = *bed.tables.tunnels.get(GRE0.index(), &guard);
    change(&mut tunnel);
    bed.tables.tunnels.set(GRE0.index(), tunnel.finished(), &guard);
}

/// gre0 gets a door.
fn guard(bed: &Testbed, door: &Door) {
    bed.tables.doors.replace(GRE0.index(), Box::new(door.clone()), &bed.tables.pin());
    ask(bed, |tunnel| tunnel.guarded = true);
}

fn cases() -> Vec<Case> {
    use At::{Nowhere, Rx, Tx};
    vec![
        case(FrameTooShort, Nowhere, |b| {
            drop(b.pass(EN0, &[2, 0, 0, 0, 0, 1, 9, 9, 9, 9, 9, 9, 8]))
        }),
        case(FrameTooShort, Nowhere, |b| {
            let tag = tagged(&frame(EN0_MAC, HOST_MAC, 0x0800, &[]), 20);
            drop(b.pass(EN0, &tag[..17]));
        }),
        case(SegmentedFrame, Nowhere, |b| {
            let mut buf = TestBuf::from_bytes(&host_to("198.18.0.1").frame());
            buf.linear = false;
            assert!(b.worker.io().receive_buf(EN0, buf));
            assert_eq!(b.turns(), Sent::new());
        }),
        case(NotOurMac, Nowhere, |b| {
            let bytes = host_to("198.18.0.1").bytes();
            drop(b.pass(EN0, &frame(EN1_MAC, HOST_MAC, 0x0800, &bytes)));
        }),
        case(UnknownVlan, Nowhere, |b| {
            drop(b.pass(EN0, &tagged(&host_to("198.18.0.1").frame(), 21)));
        }),
        case(UnknownVlan, Nowhere, |b| {
            let mut buf = TestBuf::from_bytes(&host_to("198.18.0.1").frame());
            buf.vlan = Some(0x6000 | 22);
            assert!(b.worker.io().receive_buf(EN0, buf));
            b.turns();
        }),
        case(UnknownEthertype, Rx(EN0_IF), |b| {
            drop(b.pass(EN0, &frame(EN0_MAC, HOST_MAC, 0x8847, &[0x60; 60])));
        }),
        case(UnknownEthertype, Rx(VLAN_IF), |b| {
            let twice = tagged(&tagged(&host_to("198.18.0.1").frame(), 5), 20);
            drop(b.pass(EN0, &twice));
        }),
        case(InterfaceDown, Nowhere, |b| {
            let bytes = host_to("198.18.0.1").bytes();
            drop(b.pass(EN2, &frame(EN2_MAC, HOST_MAC, 0x0800, &bytes)));
        }),
        case(InterfaceDown, Nowhere, |b| {
            b.interfaces(|interfaces| interfaces.ports.clear());
            drop(b.pass(EN0, &host_to("198.18.0.1").frame()));
        }),
        case(InterfaceDown, Rx(IfId(4)), |b| {
            let bytes = host_to("198.18.0.1").bytes();
            drop(b.pass(EN3, &frame([2, 0, 0, 0, 0, 4], HOST_MAC, 0x0800, &bytes)));
        }),
        case(InterfaceDown, Rx(VLAN_DOWN_IF), |b| {
            drop(b.pass(EN0, &tagged(&host_to("198.18.0.1").frame(), 30)));
        }),
        case(Ipv4TooShort, Rx(EN0_IF), |b| pass_raw(b, &host_to("198.18.0.1").bytes()[..19])),
        case(Ipv4BadVersion, Rx(EN0_IF), |b| broken(b, |ip| ip[0] = 0x65)),
        case(Ipv4BadHeaderLength, Rx(EN0_IF), |b| resummed(b, |ip| ip[0] = 0x44)),
        case(Ipv4BadTotalLength, Rx(EN0_IF), |b| {
            resummed(b, |ip| ip[2..4].copy_from_slice(&[0, 19]))
        }),
        case(Ipv4BadTotalLength, Rx(EN0_IF), |b| {
            resummed(b, |ip| {
                ip[0] = 0x46;
                ip[2..4].copy_from_slice(&[0, 23]);
            });
        }),
        case(Ipv4Truncated, Rx(EN0_IF), |b| resummed(b, |ip| ip.truncate(ip.len() - 1))),
        case(Ipv4BadChecksum, Rx(EN0_IF), |b| broken(b, |ip| ip[10] ^= 0x10)),
        case(MartianSource, Rx(EN0_IF), |b| pass(b, Datagram::udp("127.0.0.1", "198.18.0.1", 9))),
        case(MartianSource, Rx(EN0_IF), |b| pass(b, Datagram::udp("0.1.2.3", "198.18.0.1", 9))),
        case(MartianSource, Rx(EN0_IF), |b| pass(b, Datagram::udp("224.0.0.1", "198.18.0.1", 9))),
        case(MartianSource, Rx(EN0_IF), |b| {
            pass(b, Datagram::udp("255.255.255.255", "10.0.0.1", 9))
        }),
        case(MartianSource, Rx(GRE0), |b| {
            from_tunnel(b, "198.51.100.2", &Datagram::udp("127.0.0.1", "10.0.0.163", 9));
        }),
        case(MartianDestination, Rx(EN0_IF), |b| pass(b, host_to("127.0.0.1"))),
        case(MartianDestination, Rx(EN0_IF), |b| pass(b, host_to("0.0.0.0"))),
        case(MartianDestination, Rx(EN0_IF), |b| pass(b, host_to("240.0.0.1"))),
        case(LinkBroadcastTransit, Rx(EN0_IF), |b| {
            let bytes = host_to("198.18.0.1").bytes();
            drop(b.pass(EN0, &frame([0xff; 6], HOST_MAC, 0x0800, &bytes)));
        }),
        case(LinkBroadcastTransit, Rx(EN0_IF), |b| {
            let bytes = host_to("20.0.0.1").bytes();
            drop(b.pass(EN0, &frame([1, 0, 0x5e, 0, 0, 1], HOST_MAC, 0x0800, &bytes)));
        }),
        case(Multicast, Rx(EN0_IF), |b| {
            let bytes = host_to("224.0.0.251").bytes();
            drop(b.pass(EN0, &frame([1, 0, 0x5e, 0, 0, 0xfb], HOST_MAC, 0x0800, &bytes)));
        }),
        case(Multicast, Rx(GRE0), |b| {
            from_tunnel(b, "198.51.100.2", &Datagram::udp("10.9.0.2", "224.0.0.5", 9).ttl(1));
        }),
        case(Broadcast, Rx(EN0_IF), |b| {
            let dhcp = Datagram::udp("0.0.0.0", "255.255.255.255", 200).bytes();
            drop(b.pass(EN0, &frame([0xff; 6], HOST_MAC, 0x0800, &dhcp)));
        }),
        case(Broadcast, Rx(EN0_IF), |b| pass(b, Datagram::echo("10.0.0.163", "10.0.0.255", 9))),
        case(Broadcast, Rx(GRE0), |b| {
            from_tunnel(b, "198.51.100.2", &Datagram::udp("10.9.0.2", "10.0.0.255", 9));
        }),
        case(NoRoute, Rx(EN0_IF), |b| pass(b, host_to("9.9.9.9"))),
        case(Blackhole, Rx(EN0_IF), |b| pass(b, host_to("100.65.0.1"))),
        case(Unreachable, Tx(EN1_IF), |b| pass(b, host_to("100.66.0.1"))),
        case(TtlExpired, Rx(EN0_IF), |b| pass(b, host_to("198.18.0.1").ttl(1))),
        case(TtlExpired, Rx(EN0_IF), |b| pass(b, host_to("20.0.0.1").ttl(0))),
        case(TtlExpired, Rx(EN0_IF), |b| pass(b, host_to("10.0.0.77").ttl(1))),
        case(TtlExpired, Rx(GRE0), |b| from_tunnel(b, "198.51.100.2", &inner().ttl(1))),
        case(FragmentationNeeded, Tx(EN1_IF), |b| {
            pass(b, Datagram::udp("10.0.0.163", "100.64.0.1", 600).df());
        }),
        case(FragmentationNeeded, Tx(GRE0), |b| {
            pass(b, Datagram::udp("10.0.0.163", "20.0.0.1", 1449).df());
        }),
        case(CannotFragment, Tx(EN1_IF), |b| {
            let last = Datagram::new("10.0.0.163", "100.64.0.1", 17, pattern(1000));
            pass(b, last.fragment(8180, false));
        }),
        case(UnknownTunnel, Rx(EN1_IF), |b| from_tunnel(b, "198.51.100.9", &inner())),
        case(UnknownTunnel, Rx(EN1_IF), |b| {
            outer_in(b, &Datagram::new("198.51.100.2", "203.0.113.1", 4, inner().bytes()));
        }),
        case(WrongArrival, Rx(GRE0), |b| {
            ask(b, |tunnel| tunnel.arrival = EN0_IF);
            from_tunnel(b, "198.51.100.2", &inner());
        }),
        case(DeliveryFragment, Rx(GRE0), |b| {
            ask(b, |tunnel| tunnel.whole = true);
            let bytes = Datagram::gre("198.51.100.2", "203.0.113.1", 0, 0x0800, &inner().bytes());
            for (part, offset) in bytes.payload.chunks(24).zip([0, 3]) {
                let piece = Datagram::new("198.51.100.2", "203.0.113.1", 47, part.to_vec());
                outer_in(b, &piece.fragment(offset, offset == 0));
            }
        }),
        case(SourceNotAllowed, Rx(GRE0), |b| {
            guard(b, &Door::new(Check::Off, &["10.9.0.3/32".parse().unwrap()]));
            from_tunnel(b, "198.51.100.2", &inner());
        }),
        case(ReversePath, Rx(GRE0), |b| {
            guard(b, &Door::new(Check::Strict, &[]));
            from_tunnel(b, "198.51.100.2", &Datagram::udp("198.18.0.1", "10.0.0.163", 10));
        }),
        case(ReversePath, Rx(EN0_IF), |b| {
            b.interfaces(|interfaces| interfaces.reverse_path = vec![(EN0_IF, Check::Loose)]);
            pass(b, Datagram::udp("9.9.9.9", "198.18.0.1", 10));
        }),
        case(ReversePath, Rx(EN0_IF), |b| {
            b.interfaces(|interfaces| interfaces.reverse_path = vec![(EN0_IF, Check::Strict)]);
            pass6(b, &udp6("2001:db8:1::9", "2001:db8:1::8", 10));
        }),
        case(Filtered, Rx(EN0_IF), |b| {
            let logged = FilterSpec { log: true, ..rule("in en0 proto udp", FilterAction::Drop) };
            filter(b, &[logged]);
            pass(b, host_to("198.18.0.1"));
        }),
        case(Filtered, Rx(GRE0), |b| {
            let logged = FilterSpec { log: true, ..rule("in gre0", FilterAction::Drop) };
            filter(b, &[logged]);
            from_tunnel(b, "198.51.100.2", &inner());
        }),
        case(FilterRejected, Rx(EN0_IF), |b| {
            filter(b, &[rule("to 2001:db8::/32", FilterAction::Reject)]);
            pass6(b, &udp6(HOST6, "2001:db8:1::8", 10));
        }),
        case(FilterEvasion, Rx(EN0_IF), |b| {
            filter(b, &[rule("in en0", FilterAction::Accept)]);
            pass(b, Datagram::new("10.0.0.163", "198.18.0.1", 6, pattern(40)).fragment(1, false));
        }),
        case(TunnelDown, Rx(GRE_DOWN), |b| from_tunnel(b, "198.51.100.4", &inner())),
        case(GreTruncated, Rx(EN1_IF), |b| {
            outer_in(b, &Datagram::new("198.51.100.2", "203.0.113.1", 47, vec![0, 0, 8]));
        }),
        case(GreTruncated, Rx(EN1_IF), |b| {
            // Ethernet padding is no GRE header.
            let outer = Datagram::new("198.51.100.2", "203.0.113.1", 47, vec![]).bytes();
            let mut padded = frame(EN1_MAC, ROUTER_MAC, 0x0800, &outer);
            padded.extend([0, 0, 8, 0]);
            padded.extend(inner().bytes());
            assert_eq!(b.pass(EN1, &padded), Sent::new());
        }),
        case(MinimalTruncated, Rx(EN1_IF), |b| minimal(b, &[17, 0, 0xee, 0xff, 10, 0, 0])),
        case(MinimalTruncated, Rx(EN1_IF), |b| minimal(b, &[17, 0x80, 0, 0, 10, 0, 0, 1])),
        case(MinimalBadChecksum, Rx(EN1_IF), |b| minimal(b, &[17, 0, 0, 0, 10, 0, 0, 1])),
        case(GreBadVersion, Rx(EN1_IF), |b| gre_flags(b, 1)),
        case(GreReservedBits, Rx(EN1_IF), |b| gre_flags(b, 0x4000)),
        case(GreReservedBits, Rx(EN1_IF), |b| gre_flags(b, 0x0800)),
        case(GreReservedBits, Rx(EN1_IF), |b| gre_flags(b, 0x0400)),
        case(GreBadChecksum, Rx(EN1_IF), |b| gre_flags(b, 0x8000)),
        case(GreTruncated, Rx(EN1_IF), |b| {
            outer_in(b, &Datagram::gre("198.51.100.2", "203.0.113.1", 0x2000, 0x0800, &[0; 3]));
        }),
        case(UnknownTunnel, Rx(EN1_IF), |b| gre_word(b, 0x2000, 0)),
        case(GreOutOfSequence, Rx(GRE0), |b| gre_word(b, 0x1000, u32::MAX)),
        case(GreUnknownProtocol, Rx(EN1_IF), |b| {
            outer_in(b, &Datagram::gre("198.51.100.2", "203.0.113.1", 0, 0x6558, &[0x60; 48]));
        }),
        case(Ipv6TooShort, Rx(EN0_IF), |b| pass6(b, &[0x60; 39])),
        case(Ipv6BadVersion, Rx(EN0_IF), |b| pass6(b, &[0x40; 60])),
        case(Ipv6Truncated, Rx(EN0_IF), |b| {
            let bytes = udp6(HOST6, "2001:db8:1::1", 9);
            pass6(b, &bytes[..bytes.len() - 1]);
        }),
        case(Ipv6BadExtension, Rx(EN0_IF), |b| {
            b.route6("2001:db8::1/128", Adjacency::plain(AdjacencyKind::Local, IfId::NONE));
            pass6(b, &six(HOST6, EN0_6, 60, &[17, 0, 0x42, 1, 0, 0, 0, 0]));
        }),
        case(UdpBadLength, Rx(EN1_IF), |b| {
            *b = udp::bed();
            let mut bad = udp::from4(&inner().bytes(), false);
            bad[39] += 1;
            assert_eq!(b.pass(EN1, &bad), Sent::new());
        }),
        case(UdpBadLength, Rx(EN1_IF), |b| {
            *b = udp::bed();
            let header = [0, 7, 0x12, 0x92, 0, 8, 0];
            outer_in(b, &Datagram::new("198.51.100.8", "203.0.113.1", 17, header.to_vec()));
        }),
        case(UdpBadChecksum, Rx(EN1_IF), |b| {
            *b = udp::bed();
            let mut bad = udp::from6(&inner().bytes(), true);
            bad[70] ^= 1;
            assert_eq!(b.pass(EN1, &bad), Sent::new());
        }),
        case(UdpNoChecksum, Rx(udp::UDP6), |b| {
            *b = udp::bed();
            assert_eq!(b.pass(EN1, &udp::from6(&inner().bytes(), false)), Sent::new());
        }),
        case(TunnelIntoItself, Tx(udp::UDP6), |b| {
            *b = Testbed::six();
            b.route6(&format!("{FAR6}/128"), tunnel6(41, 0, udp::UDP6, false, 0));
            assert!(b.control.inject(InjectKind::Originate, &udp6(EN1_6, FAR6, 9)));
            assert_eq!(b.turns(), Sent::new());
        }),
        case(EncapsulationLimit, Tx(udp::UDP6), |b| {
            *b = Testbed::six();
            b.route6("2001:db8:50::/48", tunnel6(41, 0, udp::UDP6, false, 0));
            pass6(b, &six(HOST6, "2001:db8:50::9", 60, &[59, 0, 4, 1, 0, 1, 1, 0]));
        }),
        case(LinkLocalTransit, Rx(EN0_IF), |b| pass6(b, &udp6("fe80::9", "2001:db8:1::1", 9))),
        case(InnerInvalid, Rx(GRE0), |b| {
            outer_in(b, &Datagram::gre("198.51.100.2", "203.0.113.1", 0, 0x0800, &[]));
        }),
        case(InnerInvalid, Rx(GRE0), |b| {
            let mut bytes = inner().bytes();
            bytes.pop();
            outer_in(b, &Datagram::gre("198.51.100.2", "203.0.113.1", 0, 0x0800, &bytes));
        }),
        case(InnerInvalid, Rx(IPIP0), |b| {
            let mut bytes = inner().bytes();
            bytes[10] ^= 1;
            outer_in(b, &Datagram::new("198.51.100.3", "203.0.113.1", 4, bytes));
        }),
        case(InnerInvalid, Rx(GRE0), |b| {
            let mut bytes = inner().bytes();
            bytes[0] = 0x65;
            outer_in(b, &Datagram::gre("198.51.100.2", "203.0.113.1", 0, 0x0800, &bytes));
        }),
        case(InnerTtlZero, Rx(GRE0), |b| from_tunnel(b, "198.51.100.2", &inner().ttl(0))),
        case(InnerTtlZero, Rx(GRE0), |b| {
            from_tunnel(b, "198.51.100.2", &Datagram::echo("10.9.0.2", "10.9.0.1", 9).ttl(0));
        }),
        case(DecapLoop, Rx(GRE0), |b| {
            from_tunnel(b, "198.51.100.2", &Datagram::udp("10.9.0.2", "198.51.100.2", 9));
        }),
        case(EcnCongestionLost, Rx(GRE0), |b| {
            let outer = Datagram::gre("198.51.100.2", "203.0.113.1", 0, 0x0800, &inner().bytes());
            outer_in(b, &outer.tos(3));
        }),
        case(NestingTooDeep, Rx(GRE_NESTED), |b| from_tunnel(b, "198.51.100.2", &nested(4))),
        case(OwnSourceIntoTunnel, Tx(GRE0), |b| {
            pass(b, Datagram::udp("203.0.113.1", "20.0.0.1", 9))
        }),
        case(OwnSourceIntoTunnel, Tx(GRE0), |b| pass(b, Datagram::udp("10.0.0.1", "20.0.0.1", 9))),
        case(ExitSourceIntoTunnel, Tx(GRE0), |b| {
            pass(b, Datagram::udp("198.51.100.2", "20.0.0.1", 9));
        }),
        case(NoHeadroom, Tx(GRE0), |b| {
            let buf = without_headroom(&host_to("20.0.0.1").frame());
            assert!(b.worker.io().receive_buf(EN0, buf));
            assert_eq!(b.turns(), Sent::new());
        }),
        case(PortUnreachable, Rx(EN0_IF), |b| pass(b, host_to("10.0.0.1"))),
        case(PortUnreachable, Rx(EN0_IF), |b| {
            pass(b, Datagram::new("10.0.0.163", "203.0.113.1", 6, vec![0; 20]));
        }),
        case(ProtocolUnreachable, Rx(EN0_IF), |b| {
            pass(b, Datagram::new("10.0.0.163", "10.0.0.1", 132, vec![0; 20]));
        }),
        case(FragmentInvalid, Rx(EN0_IF), |b| pass(b, piece(0, true, 13))),
        case(FragmentDuplicate, Rx(EN0_IF), |b| {
            pass(b, piece(0, true, 16));
            pass(b, piece(0, true, 16));
        }),
        case(FragmentTooLarge, Rx(EN0_IF), |b| pass(b, piece(8191, false, 16))),
        case(FragmentLimits, Rx(EN0_IF), |b| {
            for id in 0..129 {
                pass(b, piece(1, true, 16).with(|header| header.identification = id));
            }
        }),
        case(FragmentTimeout, Rx(EN0_IF), |b| {
            pass(b, piece(1, false, 16));
            b.worker.io().now_ns += 30_000_000_000;
            assert_eq!(b.turns(), Sent::new());
        }),
        case(TxQueueFull, Tx(EN1_IF), |b| {
            b.worker.io().tx_limit = 0;
            pass(b, host_to("198.18.0.1"));
        }),
        case(NoBuffer, Tx(EN1_IF), |b| {
            let big = Datagram::udp("10.0.0.163", "100.64.0.1", 1000).frame();
            while b.worker.io().available() > 1 {
                assert!(b.worker.io().receive(EN2, &[]));
            }
            b.receive(EN0, &big);
            b.worker.turn();
            b.turns();
        }),
        case(NoBuffer, Rx(EN0_IF), |b| {
            while b.worker.io().available() > 0 {
                assert!(b.worker.io().receive(EN2, &[]));
            }
            let kind = InjectKind::Forward { in_if: EN0_IF };
            assert!(b.control.inject(kind, &host_to("198.18.0.1").bytes()));
            b.worker.turn();
            b.turns();
        }),
        case(TooLarge, Nowhere, |b| {
            let huge = Datagram::udp("10.0.0.1", "198.18.0.1", ROOM - 28 + 1).bytes();
            // A slot takes it, a buffer without its headroom does not.
            let mut other = Testbed::with_room(ROOM - 64);
            std::mem::swap(b, &mut other);
            assert!(b.control.inject(InjectKind::Originate, &huge[..ROOM]));
            assert_eq!(b.turns(), Sent::new());
        }),
        case(PuntQueueFull, Rx(EN0_IF), |b| {
            let ping = Datagram::new("10.0.0.163", "10.0.0.1", 1, vec![13, 0, 0, 0, 0, 0, 0, 0]);
            for _ in 0..SLOTS + 1 {
                pass(b, ping.clone());
            }
        }),
        case(PuntRateLimited, Rx(EN0_IF), |b| {
            let ping = Datagram::new("10.0.0.163", "10.0.0.1", 1, vec![13, 0, 0, 0, 0, 0, 0, 0]);
            for _ in 0..super::super::punt::LOCAL_ICMP_RATE.burst + 1 {
                pass(b, ping.clone());
                b.told();
            }
        }),
    ]
}

/// Reasons that come in company when the pool or a queue is run dry.
fn bystander(case: &Case, reason: DropReason) -> bool {
    case.reason == NoBuffer && reason == FrameTooShort
}

#[test]
fn every_drop_reason_has_its_cause_and_is_counted_once_and_in_place() {
    for (number, case) in cases().iter().enumerate() {
        let mut bed = Testbed::new();
        (case.cause)(&mut bed);
        let drops = bed.drops();
        let what = format!("case {number} {:?}: {drops:?}", case.reason);
        let count = |(reason, n): &(DropReason, u64)| (*reason == case.reason).then_some(*n);
        assert_eq!(drops.iter().find_map(count), Some(1), "{what}");
        assert!(drops.iter().all(|(r, _)| *r == case.reason || bystander(case, *r)), "{what}");
        for id in (0..20).map(IfId) {
            let [.., rx_dropped, tx_dropped] = bed.interface(id);
            let expected = (u64::from(case.at == At::Rx(id)), u64::from(case.at == At::Tx(id)));
            assert_eq!((rx_dropped, tx_dropped), expected, "{what} at {id:?}");
        }
    }
}

#[test]
fn the_list_of_reasons_is_complete() {
    let cases = cases();
    // A worker alone has nobody to hand anything to: `src/spread_tests.rs`. And
    // these drop several packets at once: `reassembly`.
    let elsewhere = [SpreadQueueFull, FragmentOverlap, FragmentEcn];
    let here = DropReason::ALL.iter().filter(|r| !elsewhere.contains(r));
    let missing: Vec<_> = here.filter(|r| cases.iter().all(|c| c.reason != **r)).collect();
    assert_eq!(missing, Vec::<&DropReason>::new());
}

#[test]
fn control_is_told_of_the_drops_that_call_for_an_icmp_error_and_of_no_others() {
    for case in cases() {
        let mut bed = Testbed::new();
        (case.cause)(&mut bed);
        let notices: Vec<_> =
            bed.told().into_iter().filter(|told| matches!(told.cause, Cause::Notice(_))).collect();
        let expected = matches!(
            case.reason,
            NoRoute
                | Unreachable
                | TtlExpired
                | FragmentationNeeded
                | PortUnreachable
                | ProtocolUnreachable
                | EncapsulationLimit
                | FilterRejected
        );
        // Of what is kept out, the log gets samples.
        let expected = expected || case.reason.keeps_out();
        assert_eq!(notices.len(), usize::from(expected), "{:?}: {notices:?}", case.reason);
        for notice in notices {
            assert_eq!(notice.cause, Cause::Notice(case.reason));
            assert!(!notice.link_group && !notice.originated);
            let ttl = match notice.bytes[0] >> 4 {
                6 => notice.bytes[7],
                _ => super::packets::read_ip(&notice.bytes).header.time_to_live,
            };
            assert!(ttl <= 64, "as received");
        }
    }
}

#[test]
fn notices_carry_the_datagram_as_received_and_the_mtu() {
    let mut bed = Testbed::new();
    let big = Datagram::udp("10.0.0.163", "20.0.0.1", 1449).df().ttl(9);
    let mut padded = big.frame();
    padded.extend([0xee; 7]);
    bed.pass(EN0, &padded);
    let told = bed.told();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].bytes, big.bytes(), "padding cut, TTL untouched");
    assert_eq!((told[0].mtu, told[0].in_if), (GRE_MTU, EN0_IF));
    // From a tunnel: the inner datagram, arrived on the tunnel.
    let lost = Datagram::udp("10.9.0.2", "9.9.9.9", 5);
    let outer = Datagram::gre("198.51.100.2", "203.0.113.1", 0, 0x0800, &lost.bytes());
    bed.pass(EN1, &frame(EN1_MAC, ROUTER_MAC, 0x0800, &outer.bytes()));
    let told = bed.told();
    assert_eq!((told[0].bytes.clone(), told[0].in_if), (lost.bytes(), GRE0));
}

#[test]
fn notices_have_a_rate_and_the_packets_are_counted_beyond_it() {
    let mut bed = Testbed::new();
    let lost = host_to("9.9.9.9").frame();
    let burst = super::super::punt::NOTICE_RATE.burst;
    let mut told = 0;
    for _ in 0..burst + 50 {
        bed.pass(EN0, &lost);
        told += bed.told().len() as u64;
    }
    assert_eq!(told, burst);
    assert_eq!(bed.drops(), vec![(NoRoute, burst + 50)]);
}

#[test]
fn link_broadcasts_to_us_are_told_as_such() {
    let mut bed = Testbed::new();
    let bytes = host_to("10.0.0.1").bytes();
    bed.pass(EN0, &frame([0xff; 6], HOST_MAC, 0x0800, &bytes));
    assert!(bed.told()[0].link_group);
    assert_eq!(addr("10.0.0.1"), bytes[16..20]);
}
