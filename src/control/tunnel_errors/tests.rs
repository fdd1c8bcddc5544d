use std::net::Ipv4Addr;

use super::*;
use crate::control::icmp::Icmp;
use crate::control::net::Soft;
use crate::control::ping::Ping;
use crate::control::tally::fake::*;
use crate::model::spec::IcmpSpec;

const C_OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
const BEHIND: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 25));
const IPIP6: IfId = IfId(10);

struct Bench {
    engine: TunnelErrors,
    world: Fake,
}

fn tunnel(id: IfId, source: IpAddr, destination: IpAddr, protocol: u8) -> FakeTunnel {
    let key = QuotedKey::Is(None);
    let sent = Sent { source, destination, protocol: Some(protocol), port: 0, key };
    let overhead = if protocol == 47 { 24 } else { 40 };
    FakeTunnel { id, sent, overhead, trusts: true, soft: Soft::default() }
}

/// A datagram behind an outer IPv4 header and GRE, as C sends it with DF.
fn gre(inner: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let mut header = etherparse::Ipv4Header::new(
        (4 + inner.len()) as u16,
        63,
        etherparse::IpNumber::GRE,
        v4(C_OUTSIDE).octets(),
        v4(FAR).octets(),
    )
    .expect("fits");
    header.dont_fragment = true;
    header.write(&mut packet).expect("to memory");
    packet.extend_from_slice(&[0, 0, 8, 0]);
    packet.extend_from_slice(inner);
    packet
}

/// A datagram behind an outer IPv6 header.
fn in_ipv6(inner: &[u8], next: u8) -> Vec<u8> {
    let (IpAddr::V6(from), IpAddr::V6(to)) = (OWN6, HOST6) else { panic!("IPv6 only") };
    let header = etherparse::Ipv6Header {
        payload_length: inner.len() as u16,
        next_header: etherparse::IpNumber(next),
        hop_limit: 60,
        source: from.octets(),
        destination: to.octets(),
        ..Default::default()
    };
    let mut packet = Vec::new();
    header.write(&mut packet).expect("to memory");
    packet.extend_from_slice(inner);
    packet
}

/// A UDP datagram of so many bytes in all from the LAN, with DF.
fn large(len: usize) -> Vec<u8> {
    let mut packet = udp(HOST, BEHIND, 63, &vec![7; len - 28]);
    packet[6] |= 0x40;
    assert!(crate::wire::ipv4::fill_checksum(&mut packet));
    packet
}

fn needed(mtu: u16) -> ErrorKind {
    ErrorKind::V4(IcmpErrorKind::FragmentationNeeded { mtu })
}

impl Bench {
    fn new() -> Bench {
        let tunnels = vec![tunnel(GRE0, C_OUTSIDE, FAR, 47), tunnel(IPIP6, OWN6, HOST6, 4)];
        let world = Fake { tunnels, ..Fake::default() };
        Bench { engine: TunnelErrors::default(), world }
    }

    fn hears(&mut self, ms: u64, kind: ErrorKind, quote: &[u8]) -> Option<Relay> {
        self.engine.on_error(&mut self.world, at(ms), kind, quote)
    }

    fn path(&self) -> Option<u16> {
        self.world.tunnels[0].soft.path_mtu
    }

    fn counts(&self) -> (u64, u64, u64) {
        let counts = self.engine.counts(GRE0);
        (counts.learned, counts.refused, counts.relayed)
    }
}

#[test]
fn pm06_the_path_mtu_goes_down_only_and_is_forgotten_ten_minutes_after_the_last_word() {
    let mut b = Bench::new();
    let quote = gre(&large(1476));
    b.hears(0, needed(1400), &quote[..28]);
    assert_eq!((b.path(), b.counts()), (Some(1400), (1, 0, 0)));
    for more in [1401, 1450, 1499] {
        b.hears(10, needed(more), &quote[..28]);
    }
    assert_eq!((b.path(), b.counts()), (Some(1400), (1, 3, 0)), "never up");
    b.hears(60_000, needed(1400), &quote[..28]);
    assert_eq!(b.counts(), (1, 3, 0), "once more what is known");
    b.engine.tick(&mut b.world, at(659_999));
    assert_eq!(b.path(), Some(1400), "believed since it was said last");
    b.engine.tick(&mut b.world, at(660_099));
    assert_eq!(b.path(), None, "tried again");
    b.hears(660_100, needed(1300), &quote[..28]);
    assert_eq!(b.path(), Some(1300));
}

#[test]
fn what_makes_no_sense_teaches_nothing() {
    let mut b = Bench::new();
    let quote = gre(&large(1400));
    for mtu in [1424, 1500, 65535] {
        b.hears(0, needed(mtu), &quote);
    }
    let mut may_be_cut = quote.clone();
    may_be_cut[6] = 0;
    b.hears(0, needed(1300), &may_be_cut);
    b.hears(0, needed(100), &gre(&large(300)));
    assert_eq!((b.path(), b.counts()), (None, (0, 5, 0)), "the last one is below the floor");
    let mut other = quote.clone();
    other[19] ^= 1;
    b.hears(0, needed(1300), &other);
    let mut other = quote;
    other[20] = 0x20;
    b.hears(0, needed(1300), &other);
    assert_eq!(b.counts(), (0, 5, 0), "another far end, another key: no tunnel's");
}

#[test]
fn floors_and_plateaus() {
    for (mtu, len, learned) in
        [(68, 1500, 576), (0, 1500, 1492), (0, 1492, 1006), (0, 1006, 576), (577, 1500, 577)]
    {
        let mut b = Bench::new();
        b.hears(0, needed(mtu), &gre(&large(len - 24)));
        assert_eq!(b.path(), Some(learned), "{mtu} told about {len}");
    }
    let mut b = Bench::new();
    let kind = ErrorKind::V6(Icmp6ErrorKind::PacketTooBig { mtu: 600 });
    b.hears(0, kind, &in_ipv6(&large(1400), 4));
    assert_eq!(b.world.tunnels[1].soft.path_mtu, Some(1280), "RFC 8201 §4");
}

#[test]
fn a_tunnel_learns_a_few_times_a_second_at_most() {
    let mut b = Bench::new();
    let quote = gre(&large(1476));
    for n in 0..100 {
        b.hears(0, needed(1400 - n), &quote[..28]);
    }
    assert_eq!((b.path(), b.counts()), (Some(1393), (8, 92, 0)));
    b.hears(1000, needed(1300), &quote[..28]);
    assert_eq!(b.path(), Some(1300));
}

#[test]
fn ii07_too_big_is_relayed_with_what_the_tunnel_takes_if_the_packet_may_not_be_cut() {
    let mut b = Bench::new();
    let inner = large(1476);
    let relay = b.hears(0, needed(1400), &gre(&inner)[..200]).expect("relayed");
    assert_eq!(relay.fault, Fault::TooBig { mtu: 1376 });
    assert_eq!(relay.about, inner[..200 - 24]);
    let again = b.hears(0, needed(1400), &gre(&large(1400))).expect("one that was under way");
    assert_eq!(again.fault, Fault::TooBig { mtu: 1376 });
    let mut may_be_cut = large(1476);
    may_be_cut[6] = 0;
    assert!(crate::wire::ipv4::fill_checksum(&mut may_be_cut));
    assert_eq!(b.hears(0, needed(1400), &gre(&may_be_cut)), None, "the next one is cut");
    assert_eq!(b.hears(0, needed(1400), &gre(&large(1370))), None, "it did fit");
    b.world.tunnels[0].trusts = false;
    b.world.tunnels[0].soft = Soft::default();
    let relay = b.hears(0, needed(1300), &gre(&inner)).expect("relayed all the same");
    assert_eq!((relay.fault, b.path()), (Fault::TooBig { mtu: 1276 }, None));
}

#[test]
fn v6_08_too_big_inside_ipv6() {
    let mut b = Bench::new();
    let kind = |mtu| ErrorKind::V6(Icmp6ErrorKind::PacketTooBig { mtu });
    let relay = b.hears(0, kind(1400), &in_ipv6(&large(1460), 4)).expect("relayed");
    assert_eq!(relay.fault, Fault::TooBig { mtu: 1360 });
    b.world.tunnels[1].sent.protocol = Some(41);
    let six = |len: usize| udp(OWN6, HOST6, 63, &vec![7; len - 48]);
    let relay = b.hears(0, kind(1290), &in_ipv6(&six(1350), 41)).expect("relayed");
    assert_eq!(relay.fault, Fault::TooBig { mtu: 1280 }, "1250, but never less than 1280");
    assert_eq!(b.hears(0, kind(1290), &in_ipv6(&six(1280), 41)), None, "1280 are cut outside");
}

#[test]
fn ii08_ii09_what_becomes_of_other_errors() {
    use IcmpErrorKind::*;
    let (unreachable, net) = (Some(Fault::Unreachable), Some(Fault::NoRoute));
    for (kind, told) in [
        (NetUnreachable, net),
        (HostUnreachable, unreachable),
        (ProtocolUnreachable, net),
        (AdministrativelyProhibited, unreachable),
        (TtlExceeded, unreachable),
        (ReassemblyTimeExceeded, unreachable),
        (PortUnreachable, None),
        (ParameterProblem { pointer: 20 }, None),
    ] {
        let mut b = Bench::new();
        let quote = gre(&udp(HOST, BEHIND, 63, b"some data"));
        let relay = b.hears(0, ErrorKind::V4(kind), &quote);
        assert_eq!(relay.map(|relay| relay.fault), told, "{kind:?}");
        assert_eq!(b.world.tunnels[0].soft, Soft::default(), "the sender was told");
        // Too short to tell the sender: its next packets are answered instead.
        b.hears(0, ErrorKind::V4(kind), &quote[..28]);
        let held = told.is_some() && kind != ReassemblyTimeExceeded;
        assert_eq!(b.world.tunnels[0].soft.unreachable, held, "{kind:?}");
        b.engine.tick(&mut b.world, at(999));
        assert_eq!(b.world.tunnels[0].soft.unreachable, held, "{kind:?}");
        b.engine.tick(&mut b.world, at(1000));
        assert_eq!(b.world.tunnels[0].soft, Soft::default(), "{kind:?}");
    }
}

#[test]
fn v6_08_what_becomes_of_other_errors_over_ipv6() {
    use Icmp6ErrorKind::*;
    let inner = udp(HOST, BEHIND, 63, b"some data");
    let limit = [&[4, 0, 4, 1, 0, 1, 1, 0][..], &inner].concat();
    for (kind, told) in [
        (NoRoute, true),
        (AdministrativelyProhibited, true),
        (AddressUnreachable, true),
        (HopLimitExceeded, true),
        (PortUnreachable, false),
        (ReassemblyTimeExceeded, false),
        (ParameterProblem { code: 1, pointer: 6 }, true),
        (ParameterProblem { code: 0, pointer: 44 }, true),
        (ParameterProblem { code: 0, pointer: 43 }, false),
        (ParameterProblem { code: 0, pointer: u32::MAX }, false),
        (ParameterProblem { code: 2, pointer: 42 }, false),
    ] {
        let mut b = Bench::new();
        let relay = b.hears(0, ErrorKind::V6(kind), &in_ipv6(&limit, 60));
        let fault = told.then_some(Fault::Unreachable);
        assert_eq!(relay.map(|relay| relay.fault), fault, "{kind:?}");
    }
}

#[test]
fn who_does_not_listen_is_not_made_unreachable() {
    let mut b = Bench::new();
    b.world.tunnels[0].trusts = false;
    let quote = gre(&large(1476));
    b.hears(0, ErrorKind::V4(IcmpErrorKind::HostUnreachable), &quote[..28]);
    b.hears(0, needed(1400), &quote[..28]);
    assert_eq!((b.world.tunnels[0].soft, b.counts()), (Soft::default(), (0, 2, 0)));
}

#[test]
fn the_error_to_the_inner_sender_quotes_what_is_known_and_obeys_the_rules() {
    let mut b = Bench::new();
    b.world.tunnel_up();
    let counters = counters();
    let mut icmp = Icmp::new(IcmpSpec::default(), counters.clone());
    let mut ping = Ping::new(2048, counters.clone());
    let mut say = |b: &mut Bench, kind: u8, code: u8, rest: u32, quote: &[u8]| {
        let mut message = vec![kind, code, 0, 0];
        message.extend(rest.to_be_bytes());
        message.extend_from_slice(quote);
        assert!(message.len() < 1400);
        crate::wire::icmp::fill_checksum(&mut message);
        let mut error = Vec::new();
        let to = v4(C_OUTSIDE).octets();
        etherparse::Ipv4Header::new(
            message.len() as u16,
            9,
            etherparse::IpNumber::ICMP,
            [192, 0, 2, 1],
            to,
        )
        .expect("fits")
        .write(&mut error)
        .expect("to memory");
        error.extend_from_slice(&message);
        icmp.on_local(&mut b.world, at(0), &error, &mut ping, &mut b.engine);
        assert_conserved(&counters);
        b.world.sent().into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>()
    };
    let inner = large(1476);
    let told = say(&mut b, 3, 4, 1400, &gre(&inner)[..100]);
    let [told] = &told[..] else { panic!("{} errors", told.len()) };
    let ip = etherparse::Ipv4Slice::from_slice(told).expect("a datagram");
    assert_eq!(IpAddr::from(ip.header().source_addr()), OWN, "IC-06");
    assert_eq!(IpAddr::from(ip.header().destination_addr()), HOST);
    let message = etherparse::Icmpv4Slice::from_slice(ip.payload().payload).expect("ICMP");
    assert_eq!((message.type_u8(), message.code_u8()), (3, 4));
    assert_eq!(u32::from_be_bytes(message.bytes5to8()), 1376);
    assert_eq!(message.payload(), &inner[..76], "IC-05: as much as is known, as it was sent");
    // An extension behind 128 bytes of quote is no part of it (RFC 4884).
    let mut extended = gre(&inner)[..128].to_vec();
    extended.extend_from_slice(&[0x20; 12]);
    let told = say(&mut b, 3, 1, 32 << 16, &extended);
    assert_eq!(told[0][28..], inner[..104]);
    // IC-03 holds for the inner packet: no error about an error.
    let mut about_error = udp(HOST, BEHIND, 63, b"some data");
    about_error[9] = 1;
    about_error[20] = 3;
    assert!(crate::wire::ipv4::fill_checksum(&mut about_error));
    assert!(say(&mut b, 3, 1, 0, &gre(&about_error)).is_empty());
    assert_eq!((counters.originated.get(), counters.consumed.get()), (2, 3));
}
