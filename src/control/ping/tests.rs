use std::net::Ipv4Addr;

use super::*;
use crate::control::tally::ControlDrop;
use crate::control::tally::fake::*;
use crate::control::topology::Way;
use crate::control::tunnel_errors::TunnelErrors;
use crate::wire::icmp::error::{ErrorSender, build_error};
use crate::wire::icmp::{answer_echo, validate as validate_icmp};
use crate::wire::ipv4;

struct Bench {
    engine: Ping,
    world: Fake,
    counters: Arc<ControlCounters>,
}

fn request(to: IpAddr) -> PingRequest {
    PingRequest {
        to,
        from: None,
        ident: 77,
        sequence: 3,
        size: 56,
        ttl: 64,
        dont_fragment: false,
        timeout: at(1000),
    }
}

impl Bench {
    fn new(room: usize) -> Bench {
        let counters = counters();
        Bench { engine: Ping::new(room, counters.clone()), world: Fake::default(), counters }
    }

    fn start(&mut self, request: PingRequest) -> Result<PingToken, PingError> {
        let started = self.engine.start(&mut self.world, at(0), &request);
        assert_conserved(&self.counters);
        started
    }

    /// The probe just sent, as one datagram.
    fn sent(&mut self) -> Vec<u8> {
        let sent = self.world.sent();
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].0, InjectKind::Originate);
        sent[0].1.clone()
    }

    fn reply(&mut self, ms: u64, packet: &[u8]) -> bool {
        let ip = ipv4::validate(packet, false).expect("valid");
        let message = &packet[ip.header_len()..];
        let header = header(message).expect("a header");
        let Some(echo) = header.echo().filter(|echo| echo.reply) else { return false };
        let (from, to) = (ip.src_addr().into(), ip.dst_addr().into());
        let size = message.len() - ICMP_LEN;
        self.engine.on_reply(at(ms), &Reply { from, to, ttl: ip.ttl, echo, size })
    }

    fn error(&mut self, kind: IcmpErrorKind, about: &[u8]) -> bool {
        let sender = ErrorSender { address: v4(ROUTER), ttl: 60, id: 1 };
        let error = build_error(kind, sender, about).expect("valid cause");
        let message = &error[IPV4_LEN..];
        let kind = IcmpErrorKind::of(validate_icmp(message).expect("valid")).expect("an error");
        self.engine.on_error(ROUTER, ErrorKind::V4(kind), &message[ICMP_LEN..])
    }
}

#[test]
fn the_probe_is_what_etherparse_would_send() {
    let mut b = Bench::new(2048);
    b.start(PingRequest { ttl: 9, dont_fragment: true, ..request(HOST) }).expect("sent");
    let packet = b.sent();
    let data: Vec<u8> = (28..84).collect();
    let mut theirs = Vec::new();
    etherparse::PacketBuilder::ipv4(v4(OWN).octets(), v4(HOST).octets(), 9)
        .icmpv4_echo_request(77, 3)
        .write(&mut theirs, &data)
        .expect("to memory");
    assert_eq!(packet[20..], theirs[20..]);
    let ip = Ipv4Repr::of(ipv4::validate(&packet, false).expect("valid"));
    assert_eq!((ip.src, ip.dst, ip.ttl, ip.df), (v4(OWN), v4(HOST), 9, true));
}

#[test]
fn a_reply_is_timed_and_told_once() {
    let mut b = Bench::new(2048);
    let token = b.start(request(HOST)).expect("sent");
    let mut packet = b.sent();
    answer_echo(&mut packet, 61, 1).expect("an echo request");
    assert!(b.reply(12, &packet));
    assert!(!b.reply(13, &packet), "a duplicate");
    let reply = PingView::Reply { from: HOST, bytes: 56, ttl: 61, rtt_ms: 12.0 };
    assert_eq!(b.engine.next_deadline(), Some(Duration::ZERO));
    assert_eq!(b.engine.take_done(at(20)), [(token, reply)]);
    assert_eq!(b.engine.take_done(at(5000)), []);
    assert_eq!(b.engine.next_deadline(), None);
}

#[test]
fn others_replies_are_not_ours() {
    let mut b = Bench::new(2048);
    b.start(request(HOST)).expect("sent");
    let mut packet = b.sent();
    assert!(!b.reply(1, &packet), "the request itself");
    answer_echo(&mut packet, 61, 1).expect("an echo request");
    // identifier, sequence number, who answers, whom
    for at in [25, 27, 15, 19] {
        let mut other = packet.clone();
        other[at] ^= 1;
        assert!(ipv4::fill_checksum(&mut other));
        assert!(!b.reply(1, &other), "byte {at}");
    }
    assert!(!b.reply(1000, &packet), "too late");
    assert_eq!(b.engine.take_done(at(1000)).len(), 1);
}

#[test]
fn errors_are_matched_by_what_they_quote_and_read_well() {
    for (kind, text) in [
        (IcmpErrorKind::TtlExceeded, "Time to live exceeded"),
        (IcmpErrorKind::HostUnreachable, "Destination Host Unreachable"),
        (IcmpErrorKind::NetUnreachable, "Destination Net Unreachable"),
        (IcmpErrorKind::FragmentationNeeded { mtu: 1400 }, "Frag needed and DF set (mtu = 1400)"),
    ] {
        let mut b = Bench::new(2048);
        let token = b.start(request(FAR)).expect("sent");
        let mut packet = b.sent();
        // On the way the TTL went down, and the checksum with it.
        packet[8] = 1;
        assert!(b.error(kind, &packet));
        let view = PingView::Error { from: ROUTER, message: text.into() };
        assert_eq!(b.engine.take_done(at(1)), [(token, view)]);
    }
}

#[test]
fn errors_about_other_things_are_not_ours() {
    let mut b = Bench::new(2048);
    b.start(request(FAR)).expect("sent");
    let packet = b.sent();
    for at in [12, 16, 25, 27] {
        let mut other = packet.clone();
        other[at] ^= 1;
        assert!(!b.error(IcmpErrorKind::TtlExceeded, &other), "byte {at}");
    }
    let mut reply = packet.clone();
    reply[20] = 0;
    assert!(!b.error(IcmpErrorKind::TtlExceeded, &reply));
    assert!(!b.error(IcmpErrorKind::TtlExceeded, &udp(OWN, FAR, 9, b"")));
    for len in 0..28 {
        let quote = &packet[..len];
        assert!(
            !b.engine.on_error(ROUTER, ErrorKind::V4(IcmpErrorKind::TtlExceeded), quote),
            "{len}"
        );
    }
    assert!(b.error(IcmpErrorKind::TtlExceeded, &packet));
}

#[test]
fn silence_is_a_timeout() {
    let mut b = Bench::new(2048);
    let token = b.start(request(HOST)).expect("sent");
    assert_eq!(b.engine.next_deadline(), Some(at(1000)));
    assert_eq!(b.engine.take_done(at(999)), []);
    assert_eq!(b.engine.take_done(at(1000)), [(token, PingView::Timeout)]);
    let token = b.start(request(HOST)).expect("the same again");
    b.engine.cancel(token);
    assert_eq!(b.engine.take_done(at(5000)), []);
}

#[test]
fn an_own_address_can_be_pinged_and_so_can_the_tunnel() {
    let mut b = Bench::new(2048);
    b.start(request(OWN)).expect("sent");
    let mut packet = b.sent();
    assert_eq!(packet[12..16], packet[16..20]);
    answer_echo(&mut packet, 64, 1).expect("the worker answers");
    assert!(b.reply(1, &packet));
    let inner = Ipv4Addr::new(10, 9, 9, 1);
    b.world.addresses.push((GRE0, inner.into(), 32));
    let way = Way::Tunnel { tunnel: GRE0, underlay: Some((EN1, ROUTER)) };
    b.world.routes.push((MOBILE.into(), way));
    b.start(request(MOBILE)).expect("sent");
    assert_eq!(b.sent()[12..16], inner.octets());
    b.start(PingRequest { from: Some(OWN), sequence: 4, ..request(MOBILE) }).expect("sent");
    assert_eq!(b.sent()[12..16], v4(OWN).octets());
}

#[test]
fn more_than_a_slot_goes_in_pieces() {
    let mut b = Bench::new(1500);
    b.start(PingRequest { size: 4000, ..request(HOST) }).expect("sent");
    assert_eq!((b.counters.originated.get(), b.counters.fragments_created.get()), (1, 2));
    let sent = b.world.sent();
    let mut message = Vec::new();
    for (_, piece) in &sent {
        assert!(piece.len() <= 1500);
        let offset = usize::from(u16::from_be_bytes([piece[6], piece[7]]) & 0x1fff) * 8;
        assert_eq!((offset, piece[6] & 0x20 != 0), (message.len(), message.len() + 1480 < 4008));
        message.extend_from_slice(&piece[IPV4_LEN..]);
    }
    assert_eq!(message.len(), 4008);
    assert!(validate_icmp(&message).is_ok());

    let df = PingRequest { size: 1473, dont_fragment: true, sequence: 5, ..request(HOST) };
    let error = b.start(df).expect_err("does not fit");
    assert_eq!(error, PingError::TooLong { size: 1473, most: 1472 });
    b.start(PingRequest { size: 1472, ..df }).expect("fits");
}

#[test]
fn what_cannot_be_sent_is_refused_with_a_reason() {
    let mut b = Bench::new(2048);
    b.world.routes.clear();
    let ours = request(HOST);
    b.start(ours).expect("sent");
    for (request, text) in [
        (request(FAR), "no route to 198.51.100.2"),
        (
            PingRequest { from: Some(FAR), sequence: 9, ..ours },
            "198.51.100.2 is not an address of this gateway",
        ),
        (
            request(Ipv4Addr::new(10, 255, 255, 255).into()),
            "10.255.255.255 is a broadcast or multicast address: only hosts can be pinged",
        ),
        (
            PingRequest { size: 65_508, sequence: 9, ..ours },
            "65508 bytes of data are too many: at most 65507 can be sent",
        ),
        (PingRequest { ttl: 0, ..ours }, "a TTL of 0 cannot be sent: expected 1 to 255"),
        (ours, "a ping of 10.0.0.163 with identifier 77 and sequence 3 is under way already"),
    ] {
        let error = b.start(request).expect_err(text);
        assert_eq!(error.to_string(), text);
    }
    b.world.room = 0;
    let next = PingRequest { sequence: 4, ..ours };
    assert_eq!(b.start(next), Err(PingError::QueueFull));
    assert_eq!(b.counters.dropped_for(ControlDrop::InjectQueueFull), 1);
    b.world.room = usize::MAX;
    for sequence in 0..MAX_PENDING as u16 - 1 {
        b.start(PingRequest { ident: 1, sequence, ..ours }).expect("sent");
    }
    assert_eq!(b.start(next), Err(PingError::TooMany));
    assert_eq!(b.engine.take_done(at(1000)).len(), MAX_PENDING);
}

/// An ICMPv6 message of these bytes from `from` to us.
fn answer6(from: IpAddr, kind: etherparse::Icmpv6Type, payload: &[u8]) -> Vec<u8> {
    let (IpAddr::V6(from), IpAddr::V6(to)) = (from, OWN6) else { panic!("IPv6 only") };
    let mut packet = Vec::new();
    etherparse::PacketBuilder::ipv6(from.octets(), to.octets(), 61)
        .icmpv6(kind)
        .write(&mut packet, payload)
        .expect("to memory");
    packet
}

/// The engines as control wires them: what comes is read by ICMP.
fn hears(b: &mut Bench, ms: u64, packet: &[u8]) {
    let spec = crate::model::spec::IcmpSpec::default();
    let mut icmp = crate::control::icmp::Icmp::new(spec, b.counters.clone());
    let mut tunnels = TunnelErrors::default();
    icmp.on_local(&mut b.world, at(ms), packet, &mut b.engine, &mut tunnels);
    assert_conserved(&b.counters);
}

#[test]
fn ipv6_probes_their_replies_and_errors() {
    let mut b = Bench::new(2048);
    b.world = Fake::default().with_ipv6();
    let token = b.start(PingRequest { ttl: 9, ..request(HOST6) }).expect("sent");
    let probe = b.sent();
    let echo = etherparse::IcmpEchoHeader { id: 77, seq: 3 };
    let data: Vec<u8> = (48..104).collect();
    let (IpAddr::V6(own), IpAddr::V6(host)) = (OWN6, HOST6) else { panic!("IPv6 only") };
    let mut theirs = Vec::new();
    etherparse::PacketBuilder::ipv6(own.octets(), host.octets(), 9)
        .icmpv6_echo_request(77, 3)
        .write(&mut theirs, &data)
        .expect("to memory");
    assert_eq!(probe, theirs);

    hears(&mut b, 12, &answer6(HOST6, etherparse::Icmpv6Type::EchoReply(echo), &data));
    let reply = PingView::Reply { from: HOST6, bytes: 56, ttl: 61, rtt_ms: 12.0 };
    assert_eq!(b.engine.take_done(at(20)), [(token, reply)]);

    let kind = etherparse::Icmpv6Type::PacketTooBig { mtu: 1400 };
    let token = b.start(request(HOST6)).expect("sent");
    hears(&mut b, 30, &answer6(MOBILE6, kind, &probe[..IPV6_LEN + 8]));
    let error = PingView::Error { from: MOBILE6, message: "Packet too big mtu = 1400".into() };
    assert_eq!(b.engine.take_done(at(31)), [(token, error)]);

    let mixed = PingRequest { from: Some(OWN), ..request(HOST6) };
    let refused = b.start(mixed).expect_err("two families");
    assert_eq!(refused.to_string(), format!("{OWN} and {HOST6} are not of the same family"));
}

#[test]
fn ipv6_is_cut_to_1280_unless_told_not_to() {
    let mut b = Bench::new(2048);
    b.world = Fake::default().with_ipv6();
    b.start(PingRequest { size: 4000, ..request(HOST6) }).expect("sent");
    let sent = b.world.sent();
    assert_eq!(sent.len(), 4);
    let mut message = Vec::new();
    for (n, (_, piece)) in sent.iter().enumerate() {
        let sliced = etherparse::SlicedPacket::from_ip(piece).expect("a datagram");
        let Some(etherparse::NetSlice::Ipv6(ip)) = sliced.net else { panic!("no IPv6") };
        assert!(piece.len() <= 1280 && ip.payload().fragmented);
        let fragment = etherparse::Ipv6FragmentHeaderSlice::from_slice(&piece[40..]).expect("one");
        assert_eq!(usize::from(fragment.fragment_offset().byte_offset()), message.len());
        assert_eq!(fragment.more_fragments(), n < 3);
        message.extend_from_slice(ip.payload().payload);
    }
    assert_eq!(message.len(), 4008);
    assert_eq!((b.counters.originated.get(), b.counters.fragments_created.get()), (1, 3));
    let whole = PingRequest { dont_fragment: true, sequence: 9, size: 1400, ..request(HOST6) };
    b.start(whole).expect("sent");
    assert_eq!(b.sent().len(), 1448);
    let error = b.start(PingRequest { size: 2001, sequence: 8, ..whole }).expect_err("too long");
    assert_eq!(error, PingError::TooLong { size: 2001, most: 2000 });
}
