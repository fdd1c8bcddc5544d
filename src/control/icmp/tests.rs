use std::net::Ipv4Addr;

use super::*;
use crate::control::ping::{Ping, PingRequest};
use crate::control::tally::fake::*;
use crate::exchange::{Bytes, PuntReason};
use crate::ids::NextHopId;
use crate::wire::icmp::error::ERROR_MAX;
use crate::wire::icmp::{DESTINATION_UNREACHABLE, Echo, TIME_EXCEEDED};
use crate::wire::ipv4::{FLAG_MF, IPV4_LEN, Ipv4Repr, fill_checksum};

const BEYOND: IpAddr = IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8));
const C_OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));

struct Bench {
    engine: Icmp,
    ping: Ping,
    tunnels: TunnelErrors,
    world: Fake,
    counters: Arc<ControlCounters>,
}

/// An error as etherparse reads it.
#[derive(Debug, PartialEq, Eq)]
struct Error {
    from: IpAddr,
    to: IpAddr,
    ttl: u8,
    kind: u8,
    code: u8,
    rest: u32,
    quote: Vec<u8>,
}

fn read((kind, bytes): &(InjectKind, Vec<u8>)) -> Error {
    assert_eq!(*kind, InjectKind::Originate);
    let ip = etherparse::Ipv4Slice::from_slice(bytes).expect("a datagram");
    assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
    let icmp = etherparse::Icmpv4Slice::from_slice(ip.payload().payload).expect("ICMP");
    let (header, data) = (icmp.header(), icmp.payload());
    assert_eq!(header.icmp_type.calc_checksum(data), icmp.checksum());
    Error {
        from: ip.header().source_addr().into(),
        to: ip.header().destination_addr().into(),
        ttl: ip.header().ttl(),
        kind: icmp.type_u8(),
        code: icmp.code_u8(),
        rest: u32::from_be_bytes(icmp.bytes5to8()),
        quote: data.to_vec(),
    }
}

fn slot(cause: Cause, bytes: &[u8]) -> PuntSlot {
    let mut room = Bytes::with_room(2048);
    assert!(room.fill(bytes));
    PuntSlot {
        cause,
        in_if: EN0,
        next_hop: NextHopId::NO_ROUTE,
        mtu: 1476,
        link_group: false,
        originated: false,
        bytes: room,
    }
}

impl Bench {
    fn new() -> Bench {
        Bench::with(IcmpSpec::default())
    }

    fn with(spec: IcmpSpec) -> Bench {
        let counters = counters();
        let ping = Ping::new(2048, counters.clone());
        let engine = Icmp::new(spec, counters.clone());
        let tunnels = TunnelErrors::default();
        Bench { engine, ping, tunnels, world: Fake::default(), counters }
    }

    fn notice(&mut self, ms: u64, slot: &PuntSlot) -> Vec<Error> {
        self.engine.on_notice(&mut self.world, at(ms), slot);
        assert_conserved(&self.counters);
        self.world.sent().iter().map(read).collect()
    }

    fn about(&mut self, reason: DropReason, bytes: &[u8]) -> Vec<Error> {
        self.notice(0, &slot(Cause::Notice(reason), bytes))
    }

    fn local(&mut self, bytes: &[u8]) {
        let Bench { engine, ping, tunnels, world, .. } = self;
        engine.on_local(world, at(5), bytes, ping, tunnels);
        assert_conserved(&self.counters);
    }

    fn dropped(&self, reason: ControlDrop) -> u64 {
        self.counters.dropped_for(reason)
    }
}

#[test]
fn ic01_ic09_ic10_each_drop_has_its_error() {
    let mut b = Bench::new();
    let packet = udp(HOST, BEYOND, 1, b"probe");
    for (reason, kind, code, rest) in [
        (DropReason::TtlExpired, TIME_EXCEEDED, 0, 0),
        (DropReason::NoRoute, DESTINATION_UNREACHABLE, 0, 0),
        (DropReason::Unreachable, DESTINATION_UNREACHABLE, 1, 0),
        (DropReason::ProtocolUnreachable, DESTINATION_UNREACHABLE, 2, 0),
        (DropReason::PortUnreachable, DESTINATION_UNREACHABLE, 3, 0),
        (DropReason::FragmentationNeeded, DESTINATION_UNREACHABLE, 4, 1476),
        (DropReason::FragmentTimeout, TIME_EXCEEDED, 1, 0),
        (DropReason::FilterRejected, DESTINATION_UNREACHABLE, 13, 0),
    ] {
        let quote = packet.clone();
        let expected = Error { from: OWN, to: HOST, ttl: 64, kind, code, rest, quote };
        assert_eq!(b.about(reason, &packet), [expected], "{reason:?}");
    }
    assert_eq!((b.counters.originated.get(), b.counters.punts_taken.get()), (8, 0));
}

#[test]
fn other_drops_and_punts_are_none_of_its_business() {
    let mut b = Bench::new();
    let packet = udp(HOST, BEYOND, 1, b"");
    for reason in DropReason::ALL {
        let answered = matches!(
            reason,
            DropReason::TtlExpired
                | DropReason::NoRoute
                | DropReason::Unreachable
                | DropReason::ProtocolUnreachable
                | DropReason::PortUnreachable
                | DropReason::FragmentationNeeded
                | DropReason::EncapsulationLimit
                | DropReason::FragmentTimeout
                | DropReason::FilterRejected
        );
        assert_eq!(b.about(*reason, &packet).len(), usize::from(answered), "{reason:?}");
    }
    assert_eq!(b.notice(0, &slot(Cause::Punt(PuntReason::Resolve), &packet)), []);
}

#[test]
fn ic02_never_below_68() {
    let mut b = Bench::new();
    let packet = udp(HOST, BEYOND, 9, b"");
    let mut tiny = slot(Cause::Notice(DropReason::FragmentationNeeded), &packet);
    tiny.mtu = 20;
    assert_eq!(b.notice(0, &tiny)[0].rest, 68);
}

#[test]
fn ic03_no_error_where_none_may_be() {
    let mut b = Bench::new();
    let good = udp(HOST, BEYOND, 1, &[0; 16]);
    let changed = |changes: &[(usize, u8)]| {
        let mut packet = good.clone();
        for &(at, value) in changes {
            packet[at] = value;
        }
        assert!(fill_checksum(&mut packet));
        packet
    };
    let mut bad_sum = good.clone();
    bad_sum[10] ^= 1;
    let mut error = good.clone();
    (error[9], error[20]) = (1, 3);
    assert!(fill_checksum(&mut error));
    let subnet_broadcast = IpAddr::V4(Ipv4Addr::new(10, 255, 255, 255));
    for (what, packet) in [
        ("an ICMP error", error),
        ("a bad header", bad_sum),
        ("a later fragment", changed(&[(6, 0), (7, 1)])),
        ("to multicast", changed(&[(16, 224)])),
        ("to the limited broadcast", udp(HOST, IpAddr::V4(Ipv4Addr::BROADCAST), 1, b"")),
        ("to a subnet's broadcast", udp(HOST, subnet_broadcast, 1, b"")),
        ("from a subnet's broadcast", udp(subnet_broadcast, BEYOND, 1, b"")),
        ("from net 0", udp(IpAddr::V4(Ipv4Addr::new(0, 1, 2, 3)), BEYOND, 1, b"")),
        ("from loopback", udp(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1)), BEYOND, 1, b"")),
        ("from multicast", udp(IpAddr::V4(Ipv4Addr::new(230, 0, 0, 1)), BEYOND, 1, b"")),
    ] {
        assert_eq!(b.about(DropReason::TtlExpired, &packet), [], "{what}");
    }
    let mut group = slot(Cause::Notice(DropReason::TtlExpired), &good);
    group.link_group = true;
    assert_eq!(b.notice(0, &group), [], "a link broadcast");
    assert_eq!(b.counters.view(), ControlCounters::default().view(), "nothing was made");

    let first = changed(&[(6, (FLAG_MF >> 8) as u8)]);
    assert_eq!(b.about(DropReason::TtlExpired, &first).len(), 1, "a first fragment");
    assert_eq!(b.about(DropReason::TtlExpired, &good).len(), 1);
}

#[test]
fn ic04_rate_and_burst_are_configured() {
    let mut b = Bench::with(IcmpSpec { error_rate: 10, error_burst: 3, ..IcmpSpec::default() });
    let cause = slot(Cause::Notice(DropReason::NoRoute), &udp(HOST, BEYOND, 9, b""));
    let sent = |b: &mut Bench, ms| (0..9).map(|_| b.notice(ms, &cause).len()).sum::<usize>();
    assert_eq!(sent(&mut b, 0), 3);
    assert_eq!(sent(&mut b, 200), 2);
    assert_eq!(b.dropped(ControlDrop::IcmpRateLimited), 13);
    b.engine.configure(IcmpSpec { error_rate: 0, ..IcmpSpec::default() });
    assert_eq!(sent(&mut b, 60_000), 0);
}

#[test]
fn ic05_quotes_up_to_576_bytes_as_received() {
    let mut b = Bench::new();
    let packet = udp(HOST, BEYOND, 1, &(0..1400).map(|n| n as u8).collect::<Vec<_>>());
    let quote_len = ERROR_MAX - IPV4_LEN - ICMP_LEN;
    let whole = b.about(DropReason::TtlExpired, &packet);
    assert_eq!(whole[0].quote, packet[..quote_len]);
    // A notice may hold only the beginning.
    assert_eq!(b.about(DropReason::TtlExpired, &packet[..600]), whole);
    assert_eq!(b.about(DropReason::TtlExpired, &packet[..quote_len - 1]), []);
}

#[test]
fn ic06_t19_the_source_is_of_the_interface_it_leaves_by() {
    let mut b = Bench::new();
    b.world.addresses.push((GRE0, IpAddr::V4(Ipv4Addr::new(10, 9, 9, 1)), 32));
    let way = Way::Tunnel { tunnel: GRE0, underlay: Some((EN1, ROUTER)) };
    b.world.routes.push((MOBILE.into(), way));
    for (source, from) in [
        (HOST, OWN),
        (IpAddr::V4(Ipv4Addr::new(192, 168, 20, 5)), IpAddr::V4(Ipv4Addr::new(192, 168, 20, 1))),
        (BEYOND, C_OUTSIDE),
        (MOBILE, IpAddr::V4(Ipv4Addr::new(10, 9, 9, 1))),
    ] {
        let sent = b.about(
            DropReason::TtlExpired,
            &udp(source, IpAddr::V4(Ipv4Addr::new(9, 9, 9, 9)), 1, b""),
        );
        assert_eq!((sent[0].from, sent[0].to), (from, source));
    }
    // The note's own picture: C's inner address is en0's.
    b.world.addresses.last_mut().expect("gre0").1 = OWN;
    assert_eq!(b.about(DropReason::TtlExpired, &udp(MOBILE, HOST, 1, b""))[0].from, OWN);
}

#[test]
fn ic06_unnumbered_interfaces_borrow_the_router_id() {
    let mut b = Bench::new();
    let way = Way::Tunnel { tunnel: GRE0, underlay: Some((EN1, ROUTER)) };
    b.world.routes.push((MOBILE.into(), way));
    assert_eq!(b.about(DropReason::TtlExpired, &udp(MOBILE, BEYOND, 1, b""))[0].from, OWN);
    b.world.routes = vec![(ipnet::IpNet::default(), Way::Unreachable)];
    assert_eq!(b.about(DropReason::TtlExpired, &udp(FAR, HOST, 1, b"")), []);
    assert_eq!(b.dropped(ControlDrop::IcmpNoReturn), 1);
}

#[test]
fn ic06_each_error_has_a_fresh_identification() {
    let mut b = Bench::new();
    let cause = slot(Cause::Notice(DropReason::NoRoute), &udp(HOST, BEYOND, 9, b""));
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..50 {
        b.engine.on_notice(&mut b.world, at(0), &cause);
    }
    ids.extend(b.world.sent().iter().map(|(_, bytes)| [bytes[4], bytes[5]]));
    assert_eq!(ids.len(), 50);
}

#[test]
fn ic10_time_exceeded_is_on_unless_switched_off() {
    assert!(IcmpSpec::default().time_exceeded);
    let mut b = Bench::with(IcmpSpec { time_exceeded: false, ..IcmpSpec::default() });
    let packet = udp(HOST, BEYOND, 1, b"");
    assert_eq!(b.about(DropReason::TtlExpired, &packet), []);
    assert_eq!(b.about(DropReason::NoRoute, &packet).len(), 1, "others stay on");
}

#[test]
fn ar02_held_packets_that_failed_are_answered() {
    let mut b = Bench::new();
    let packet = udp(HOST, BEYOND, 9, b"held");
    let held = Held { in_if: EN0, originated: false, bytes: packet.clone().into() };
    b.engine.unreachable(&mut b.world, at(0), &held);
    assert_conserved(&b.counters);
    let sent: Vec<_> = b.world.sent().iter().map(read).collect();
    assert_eq!((sent[0].kind, sent[0].code, &sent[0].quote), (3, 1, &packet));
}

fn icmp(from: IpAddr, to: IpAddr, message: &[u8]) -> Vec<u8> {
    let ip = Ipv4Repr {
        src: v4(from),
        dst: v4(to),
        protocol: 1,
        ttl: 60,
        tos: 0,
        id: 1,
        df: false,
        payload_len: message.len(),
    };
    let mut packet = vec![0; IPV4_LEN];
    ip.emit(&mut packet).expect("room");
    packet.extend_from_slice(message);
    packet
}

fn echo(reply: bool) -> Vec<u8> {
    let mut message = vec![0; ICMP_LEN + 4];
    Echo { reply, ident: 7, sequence: 1 }.emit(&mut message).expect("room");
    message
}

#[test]
fn icmp_to_us_is_sorted_by_kind() {
    let mut b = Bench::new();
    let mut timestamp = vec![13, 0, 0, 0, 0, 0, 0, 0];
    let sum = crate::wire::checksum::checksum(&timestamp);
    timestamp[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut bad = echo(true);
    bad[9] ^= 1;
    for (packet, reason) in [
        (icmp(HOST, OWN, &echo(true)), ControlDrop::IcmpUnexpected),
        (icmp(HOST, OWN, &echo(false)), ControlDrop::EchoRefused),
        (icmp(HOST, OWN, &timestamp), ControlDrop::IcmpUnsupported),
        (icmp(HOST, OWN, &bad), ControlDrop::IcmpInvalid),
        (icmp(HOST, OWN, &echo(true)[..7]), ControlDrop::IcmpInvalid),
    ] {
        b.local(&packet);
        assert_eq!(b.dropped(reason), 1, "{reason:?}");
        assert_eq!(b.counters.view().dropped.values().filter(|n| **n > 0).count(), 1);
        b = Bench::new();
    }
    b.local(&[0x45; 19]);
    b.local(&udp(HOST, OWN, 9, b""));
    assert_eq!(b.dropped(ControlDrop::DatagramInvalid), 2);
    b.engine.configure(IcmpSpec { echo: false, ..IcmpSpec::default() });
    b.local(&icmp(HOST, OWN, &echo(false)));
    assert_eq!(b.dropped(ControlDrop::EchoOff), 1);
    assert_eq!(b.world.sent(), []);
}

/// An ICMPv6 error as etherparse reads it: who says it to whom, type, code,
/// second word and quote.
fn read6((kind, bytes): &(InjectKind, Vec<u8>)) -> ([IpAddr; 2], u8, u8, u32, Vec<u8>) {
    assert_eq!(*kind, InjectKind::Originate);
    let sliced = etherparse::SlicedPacket::from_ip(bytes).expect("a datagram");
    let Some(etherparse::NetSlice::Ipv6(ip)) = &sliced.net else { panic!("no IPv6") };
    let Some(etherparse::TransportSlice::Icmpv6(icmp)) = &sliced.transport else {
        panic!("no ICMPv6")
    };
    let (from, to) = (ip.header().source(), ip.header().destination());
    assert!(icmp.is_checksum_valid(from, to));
    let rest = u32::from_be_bytes(icmp.bytes5to8());
    let quote = icmp.payload().to_vec();
    ([from.into(), to.into()], icmp.type_u8(), icmp.code_u8(), rest, quote)
}

#[test]
fn c6_each_drop_has_its_error() {
    let beyond: IpAddr = "2001:db8:9::9".parse().expect("an address");
    let packet = udp(HOST6, beyond, 1, b"probe");
    let mut b = Bench::new();
    b.world = Fake::default().with_ipv6();
    for (reason, kind, code, rest) in [
        (DropReason::TtlExpired, 3, 0, 0),
        (DropReason::NoRoute, 1, 0, 0),
        (DropReason::Unreachable, 1, 3, 0),
        (DropReason::ProtocolUnreachable, 4, 1, 6),
        (DropReason::PortUnreachable, 1, 4, 0),
        (DropReason::FragmentationNeeded, 2, 0, 1476),
        (DropReason::FragmentTimeout, 3, 1, 0),
    ] {
        b.engine.on_notice(&mut b.world, at(0), &slot(Cause::Notice(reason), &packet));
        assert_conserved(&b.counters);
        let sent: Vec<_> = b.world.sent().iter().map(read6).collect();
        assert_eq!(sent, [([OWN6, HOST6], kind, code, rest, packet.clone())], "{reason:?}");
    }
    // Where the limit is (RFC 2473 §4.1.1): behind the header, type and length.
    let mut limited = packet.clone();
    let next = std::mem::replace(&mut limited[6], 60);
    limited.splice(40..40, [next, 0, 4, 1, 0, 1, 1, 0]);
    limited[5] += 8;
    let notice = slot(Cause::Notice(DropReason::EncapsulationLimit), &limited);
    b.engine.on_notice(&mut b.world, at(0), &notice);
    let sent: Vec<_> = b.world.sent().iter().map(read6).collect();
    assert_eq!(sent, [([OWN6, HOST6], 4, 0, 44, limited)]);
    // Held for a neighbour that did not answer.
    let held = Held { in_if: EN0, originated: false, bytes: packet.clone().into() };
    b.engine.unreachable(&mut b.world, at(0), &held);
    let sent: Vec<_> = b.world.sent().iter().map(read6).collect();
    assert_eq!((sent[0].1, sent[0].2), (1, 3));
    // Nobody to answer, and no way back.
    for (from, dropped) in [("ff02::1", 0), ("::", 0), ("2001:db8:77::1", 1)] {
        let about = udp(from.parse().expect("an address"), beyond, 1, b"");
        let notice = slot(Cause::Notice(DropReason::NoRoute), &about);
        b.engine.on_notice(&mut b.world, at(0), &notice);
        assert_conserved(&b.counters);
        assert_eq!(b.world.sent(), [], "{from}");
        assert_eq!(b.dropped(ControlDrop::IcmpNoReturn), dropped, "{from}");
    }
}

#[test]
fn c6_03_both_families_share_the_rate() {
    let mut b = Bench::with(IcmpSpec { error_rate: 10, error_burst: 3, ..IcmpSpec::default() });
    b.world = Fake::default().with_ipv6();
    let causes = [udp(HOST, BEYOND, 9, b""), udp(HOST6, HOST6, 9, b"")];
    for n in 0..9 {
        let notice = slot(Cause::Notice(DropReason::NoRoute), &causes[n % 2]);
        b.engine.on_notice(&mut b.world, at(0), &notice);
    }
    assert_eq!(b.world.sent().len(), 3);
    assert_eq!(b.dropped(ControlDrop::IcmpRateLimited), 6);
}

#[test]
fn replies_and_errors_reach_the_ping_engine() {
    let mut b = Bench::new();
    let request = PingRequest {
        to: HOST,
        from: None,
        ident: 7,
        sequence: 1,
        size: 4,
        ttl: 64,
        dont_fragment: false,
        timeout: at(1000),
    };
    let token = b.ping.start(&mut b.world, at(0), &request).expect("sent");
    b.local(&icmp(HOST, OWN, &echo(true)));
    let done = b.ping.take_done(at(6));
    assert_eq!(done.len(), 1);
    assert_eq!(done[0].0, token);
    assert_eq!(b.counters.consumed.get(), 1);
    // An error about something else is read and was nothing to us.
    b.engine.on_notice(
        &mut b.world,
        at(6),
        &slot(Cause::Notice(DropReason::NoRoute), &udp(OWN, BEYOND, 9, b"")),
    );
    let (_, error) = b.world.sent().pop().expect("sent to ourselves");
    b.local(&error);
    assert_eq!(b.counters.consumed.get(), 2);
    assert_eq!(b.ping.take_done(at(7)), []);
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_are_counted_and_never_panic(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..120),
        fixed in proptest::prelude::any::<bool>(),
    ) {
        let mut bytes = bytes;
        if fixed && bytes.len() >= 28 {
            bytes[0] = 0x45;
            bytes[2..4].copy_from_slice(&[0, 28]);
            (bytes[6], bytes[7], bytes[9]) = (0, 0, 1);
            let _ = fill_checksum(&mut bytes);
        }
        let mut b = Bench::new();
        b.local(&bytes);
        b.about(DropReason::NoRoute, &bytes);
    }
}

#[test]
fn a_large_ipv6_echo_request_is_answered_in_pieces_that_fit_everywhere() {
    let (IpAddr::V6(host), IpAddr::V6(own)) = (HOST6, OWN6) else { panic!("IPv6 only") };
    let echo = |from: std::net::Ipv6Addr, to: std::net::Ipv6Addr, reply: bool| {
        let ip = etherparse::PacketBuilder::ipv6(from.octets(), to.octets(), 64);
        let built = if reply { ip.icmpv6_echo_reply(7, 9) } else { ip.icmpv6_echo_request(7, 9) };
        let mut packet = Vec::new();
        built.write(&mut packet, &[0x5a; 4000]).expect("to memory");
        packet
    };
    let mut b = Bench::new();
    b.local(&echo(host, own, false));
    let sent = b.world.sent();
    assert_eq!(sent.len(), 4);
    let mut payload = Vec::new();
    for (number, (kind, piece)) in sent.iter().enumerate() {
        assert_eq!(*kind, InjectKind::Originate);
        assert!(piece.len() <= 1280);
        let fragment = etherparse::Ipv6FragmentHeaderSlice::from_slice(&piece[40..]).expect("one");
        assert_eq!(usize::from(fragment.fragment_offset().value()) * 8, payload.len());
        assert_eq!(fragment.more_fragments(), number < 3);
        payload.extend_from_slice(&piece[48..]);
    }
    assert_eq!(payload, echo(own, host, true)[40..]);
    // Switched off, it is refused by name.
    let mut b = Bench::with(IcmpSpec { echo: false, ..IcmpSpec::default() });
    b.local(&echo(host, own, false));
    assert_eq!((b.world.sent(), b.dropped(ControlDrop::EchoOff)), (Vec::new(), 1));
}
