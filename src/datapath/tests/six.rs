//! IPv6: forwarded, into and out of tunnels of both families, for us, refused.

use etherparse::{Ipv4Header, Ipv6Header};

use super::packets::{Datagram, frame, pattern, read_ip, reassemble, routed, tagged};
use super::testbed::*;
use super::testbed6::*;
use crate::datapath::drop::DropReason::{self, *};
use crate::exchange::{Cause, InjectKind, PuntReason};
use crate::ids::{IfId, PortId};

/// The outer IPv6 header of a sent frame, and what is behind it.
fn outer6(sent: &(PortId, Vec<u8>)) -> (Ipv6Header, Vec<u8>) {
    assert_eq!(sent.0, EN1);
    assert_eq!(sent.1[..14], [&ROUTER_MAC[..], &EN1_MAC, &[0x86, 0xdd]].concat());
    let (header, rest) = Ipv6Header::from_slice(&sent.1[14..]).unwrap();
    assert_eq!(usize::from(header.payload_length), rest.len());
    (header, rest.to_vec())
}

/// The outer IPv4 datagram of a sent frame.
fn outer4(sent: &(PortId, Vec<u8>)) -> Datagram {
    assert_eq!(sent.1[..14], [&ROUTER_MAC[..], &EN1_MAC, &[8, 0]].concat());
    read_ip(&sent.1[14..])
}

fn drops_of(bed: &mut Testbed, frame: &[u8], reason: DropReason) {
    let before = bed.drops().iter().find(|(r, _)| *r == reason).map_or(0, |(_, n)| *n);
    assert_eq!(bed.pass(EN0, frame), Sent::new());
    let after = bed.drops().iter().find(|(r, _)| *r == reason).map_or(0, |(_, n)| *n);
    assert_eq!(after, before + 1, "{reason:?}; drops: {:?}", bed.drops());
}

#[test]
fn forwarded_with_one_hop_less_and_nothing_else() {
    let mut bed = Testbed::six();
    for len in (0..=1452).step_by(7) {
        let packet = udp6(HOST6, "2001:db8:1::9", len);
        let mut padded = from_host(&packet);
        padded.extend([0xee; 5]);
        let (port, out) = bed.one(EN0, &padded);
        let link = [&ROUTER_MAC[..], &EN1_MAC, &[0x86, 0xdd]].concat();
        assert_eq!((port, &out[..14], &out[14..]), (EN1, &link[..], &routed6(&packet)[..]));
    }
    // To and from a VLAN, options and fragments in between untouched.
    let strange = six(HOST6, "2001:db8:0:20::9", 0, &[44, 0, 5, 2, 0, 0, 0, 0, 1, 2, 3, 4]);
    let (_, out) = bed.one(EN0, &tagged(&from_host(&strange), 20));
    assert_eq!(out[12..18], [0x81, 0, 0, 20, 0x86, 0xdd]);
    assert_eq!(out[18..], routed6(&strange));
    assert_eq!(bed.interface(VLAN_IF)[..2], [1, 1]);
}

#[test]
fn a_burst_of_both_families_keeps_them_apart() {
    let mut bed = Testbed::six();
    let mut expected = Vec::new();
    for n in 0..64 {
        let four = Datagram::udp("10.0.0.163", "198.18.0.1", n);
        let packet = udp6(HOST6, &format!("2001:db8:1::{n}"), n);
        if n % 3 == 0 {
            bed.receive(EN0, &four.frame());
            expected.push(routed(&four));
        } else {
            bed.receive(EN0, &from_host(&packet));
            expected.push(routed6(&packet));
        }
    }
    let sent: Vec<_> = bed.turns().into_iter().map(|(_, frame)| frame[14..].to_vec()).collect();
    assert_eq!(sent, expected);
}

#[test]
fn what_is_not_forwarded_and_who_is_told() {
    let mut bed = Testbed::six();
    let low = |hops: u8, dst| {
        let mut packet = udp6(HOST6, dst, 9);
        packet[7] = hops;
        packet
    };
    let fits = udp6(HOST6, "2001:db8:2::1", 1280 - 48);
    assert_eq!(bed.pass(EN0, &from_host(&fits)).len(), 1);
    for (packet, reason, mtu) in [
        (low(0, "2001:db8:1::1"), TtlExpired, 0),
        (low(1, "2001:db8:1::1"), TtlExpired, 0),
        (udp6(HOST6, "2001:db8:2::1", 1280 - 47), FragmentationNeeded, 1280),
        (udp6(HOST6, "2001:db9::1", 9), NoRoute, 0),
        (udp6(HOST6, "2001:db8:4::1", 9), Unreachable, 0),
        (udp6(HOST6, "2001:db8:22::1", 1456 - 47), FragmentationNeeded, 1456),
        (udp6(HOST6, "2001:db8:20::1", 1476 - 47), FragmentationNeeded, 1476),
        (udp6(HOST6, "2001:db8:26::1", 1500 - 47), FragmentationNeeded, 1500),
    ] {
        drops_of(&mut bed, &from_host(&packet), reason);
        let told = bed.told();
        assert_eq!(told.len(), 1, "{reason:?}");
        assert_eq!((told[0].cause, told[0].mtu), (Cause::Notice(reason), mtu));
        assert_eq!((&told[0].bytes, told[0].in_if), (&packet, EN0_IF), "as received");
    }
    drops_of(&mut bed, &from_host(&udp6(HOST6, "2001:db8:3::1", 9)), Blackhole);
    assert_eq!(bed.told(), vec![]);
    let waits = udp6(HOST6, "2001:db8::77", 9);
    assert_eq!(bed.pass(EN0, &from_host(&waits)), Sent::new());
    let told = bed.told();
    assert_eq!((told[0].cause, &told[0].bytes), (Cause::Punt(PuntReason::Resolve), &waits));
}

#[test]
fn what_is_refused() {
    let mut bed = Testbed::six();
    let good = udp6(HOST6, "2001:db8:1::1", 30);
    drops_of(&mut bed, &from_host(&good[..39]), Ipv6TooShort);
    drops_of(&mut bed, &from_host(&good[..77]), Ipv6Truncated);
    let mut version = good.clone();
    version[0] = 0x40;
    drops_of(&mut bed, &frame(EN0_MAC, HOST_MAC, 0x86dd, &version), Ipv6BadVersion);
    for (src, dst, reason) in [
        ("::", "2001:db8:1::1", MartianSource),
        ("::1", "2001:db8:1::1", MartianSource),
        ("ff02::9", "2001:db8:1::1", MartianSource),
        ("::ffff:10.0.0.1", "2001:db8:1::1", MartianSource),
        ("::10.0.0.1", "2001:db8:1::1", MartianSource),
        (HOST6, "::", MartianDestination),
        (HOST6, "::1", MartianDestination),
        (HOST6, "::ffff:10.0.0.1", MartianDestination),
        (HOST6, "ff02::1", Multicast),
        (HOST6, "ff0e::1", Multicast),
        (HOST_LINK, "2001:db8:1::1", LinkLocalTransit),
        (HOST6, "fe80::77", LinkLocalTransit),
        (HOST_LINK, "2001:db9::1", LinkLocalTransit),
    ] {
        drops_of(&mut bed, &from_host(&udp6(src, dst, 9)), reason);
    }
    let broadcast = frame([0x33, 0x33, 0, 0, 0, 1], HOST_MAC, 0x86dd, &good);
    drops_of(&mut bed, &broadcast, LinkBroadcastTransit);
    for bad in [[17, 0, 0x42, 1, 0, 0, 0, 0], [60, 9, 1, 4, 0, 0, 0, 0]] {
        drops_of(&mut bed, &from_host(&six(HOST6, EN0_6, 60, &bad)), Ipv6BadExtension);
    }
    drops_of(&mut bed, &from_host(&six(HOST6, EN0_6, 59, &[])), ProtocolUnreachable);
    assert_eq!(bed.told(), vec![], "nobody is told of any of these");
    for (next, reason) in [(6, PortUnreachable), (99, ProtocolUnreachable)] {
        drops_of(&mut bed, &from_host(&six(HOST6, EN0_6, next, &[0; 20])), reason);
        assert_eq!(bed.told()[0].cause, Cause::Notice(reason));
    }
    drops_of(&mut bed, &from_host(&udp6(HOST6, EN1_6, 20)), PortUnreachable);
    assert_eq!(bed.told().len(), 1, "a sound datagram");
    let mut unsound = udp6(HOST6, EN1_6, 20);
    unsound[50] ^= 1;
    drops_of(&mut bed, &from_host(&unsound), PortUnreachable);
    assert_eq!(bed.told(), vec![]);
}

#[test]
fn echo_is_answered_and_neighbour_discovery_is_controls() {
    let mut bed = Testbed::six();
    let echo = |src, dst, reply: bool, hops| {
        let mut bytes = Vec::new();
        let ip = etherparse::PacketBuilder::ipv6(
            host6(src).to_be_bytes(),
            host6(dst).to_be_bytes(),
            hops,
        );
        let built = if reply { ip.icmpv6_echo_reply(7, 9) } else { ip.icmpv6_echo_request(7, 9) };
        built.write(&mut bytes, &pattern(60)).unwrap();
        bytes
    };
    for (src, dst) in [(HOST6, EN0_6), (HOST6, EN1_6), (HOST6, "fd09::1"), (HOST_LINK, EN0_LINK)] {
        for hops in [0, 1, 255] {
            let (port, out) = bed.one(EN0, &from_host(&echo(src, dst, false, hops)));
            assert_eq!(port, EN0);
            assert_eq!(out[..14], [&HOST_MAC[..], &EN0_MAC, &[0x86, 0xdd]].concat());
            assert_eq!(out[14..], echo(dst, src, true, 64));
        }
    }
    let (_, out) = bed.one(EN0, &tagged(&from_host(&echo(HOST_LINK, EN0_LINK, false, 9)), 20));
    assert_eq!(out[12..16], [0x81, 0, 0, 20], "back where it came from");
    assert_eq!(bed.told(), vec![]);
    // Not from or to a group of stations, and never off the link.
    let request = echo(HOST_LINK, EN0_LINK, false, 9);
    for (to, from) in [([0x33; 6], HOST_MAC), ([0xff; 6], HOST_MAC), (EN0_MAC, [0x33; 6])] {
        assert_eq!(bed.pass(EN0, &frame(to, from, 0x86dd, &request)), Sent::new());
        assert_eq!(bed.told()[0].cause, Cause::Punt(PuntReason::LocalIcmp));
    }
    let (port, out) = bed.one(EN0, &from_host(&echo(HOST6, EN0_LINK, false, 9)));
    assert_eq!((port, &out[..6]), (EN0, &HOST_MAC[..]));
    // Replies, and requests while echo is off.
    bed.interfaces(|interfaces| interfaces.echo = false);
    for packet in [echo(HOST6, EN0_6, false, 9), echo(HOST6, EN0_6, true, 9)] {
        bed.pass(EN0, &from_host(&packet));
        assert_eq!(bed.told()[0].cause, Cause::Punt(PuntReason::LocalIcmp));
    }
    for (dst, hops) in [
        ("ff02::1", 255),
        ("ff02::2", 255),
        ("ff02::1:ff00:1", 255),
        ("ff02::1:ff00:1", 64),
        (EN0_6, 255),
        (EN0_6, 64),
        ("2001:db8:1::1", 255),
    ] {
        for kind in 133..=137 {
            let mut packet = six("fe80::a3", dst, 58, &[kind, 0, 0, 0, 0, 0, 0, 0]);
            packet[7] = hops;
            assert_eq!(bed.pass(EN0, &from_host(&packet)), Sent::new());
            let told = bed.told();
            assert_eq!(told.len(), 1, "{dst} {hops} {kind}");
            assert_eq!((told[0].cause, &told[0].bytes), (Cause::Punt(PuntReason::Nd), &packet));
        }
    }
}

/// Destinations behind tunnels: outer family, what the outer header says is
/// inside, bytes in between, interface.
const WAYS: &[(&str, u8, u8, &[u8], IfId)] = &[
    ("2001:db8:20::9", 4, 47, &[0, 0, 0x86, 0xdd], GRE0),
    ("2001:db8:21::9", 4, 41, &[], SIT0),
    ("2001:db8:22::9", 6, 47, &[0, 0, 0x86, 0xdd], GRE6),
    ("2001:db8:23::9", 6, 41, &[], IP6),
    ("2001:db8:24::9", 6, 60, &[47, 0, 4, 1, 4, 1, 1, 0, 0, 0, 0x86, 0xdd], LIMITED),
    ("30.1.2.3", 6, 47, &[0, 0, 8, 0], GRE6),
    ("31.1.2.3", 6, 4, &[], IP6),
];

/// A packet from the LAN host, and how it looks when forwarded.
fn inner(dst: &str, len: usize) -> (Vec<u8>, Vec<u8>) {
    if dst.contains(':') {
        let packet = udp6(HOST6, dst, len);
        return (packet.clone(), routed6(&packet));
    }
    let packet = Datagram::udp("10.0.0.163", dst, len);
    (packet.bytes(), routed(&packet))
}

#[test]
fn into_tunnels_of_both_families_at_every_size() {
    for (dst, version, next, between, id) in WAYS {
        let mut bed = Testbed::six();
        let mut bytes = 0;
        let mut count = 0;
        for len in (0..=1380).step_by(3) {
            let (packet, expected) = inner(dst, len);
            let sent = bed.one(EN0, &from_host(&packet));
            let payload = if *version == 6 {
                let (outer, payload) = outer6(&sent);
                let expected = Ipv6Header {
                    payload_length: payload.len() as u16,
                    flow_label: outer.flow_label,
                    ..outer_header6(*next)
                };
                assert_eq!(outer, expected, "{dst}");
                payload
            } else {
                let outer = outer4(&sent);
                assert_eq!(outer.header.protocol.0, *next);
                assert_eq!((outer.header.time_to_live, outer.header.dscp.value()), (33, 5));
                assert!(outer.header.dont_fragment);
                outer.payload
            };
            assert_eq!(payload[..between.len()], **between, "{dst}");
            assert_eq!(payload[between.len()..], expected, "{dst}, {len} bytes");
            bytes += expected.len() as u64;
            count += 1;
        }
        assert_eq!(bed.interface(*id)[1], count);
        assert_eq!(bed.interface(*id)[3], bytes);
    }
}

#[test]
fn a_flow_has_a_label_and_another_flow_another() {
    let mut bed = Testbed::six();
    let mut label = |packet: &[u8]| outer6(&bed.one(EN0, &from_host(packet))).0.flow_label.value();
    let mut labels = std::collections::HashSet::new();
    for n in 0..64u8 {
        let mut packet = udp6(HOST6, "2001:db8:22::9", 5);
        // The source port.
        packet[41] ^= n;
        assert_eq!(label(&packet), label(&packet));
        labels.insert(label(&packet));
        let mut four = Datagram::udp("10.0.0.163", "30.0.0.1", 5);
        four.payload[1] ^= n;
        labels.insert(label(&four.bytes()));
    }
    assert!(labels.len() > 120, "{} of 128 differ", labels.len());
}

#[test]
fn class_and_hop_limit_of_the_outer_header() {
    let mut bed = Testbed::six();
    for class in 0..=255u8 {
        for hops in [2, 64, 255] {
            let with = |dst| {
                let mut packet = udp6(HOST6, dst, 20);
                packet[0] = 0x60 | class >> 4;
                packet[1] = class << 4;
                packet[7] = hops;
                packet
            };
            let (fixed, _) = outer6(&bed.one(EN0, &from_host(&with("2001:db8:22::9"))));
            assert_eq!((fixed.traffic_class, fixed.hop_limit), (5 << 2 | class & 3, 33));
            let (copied, _) = outer6(&bed.one(EN0, &from_host(&with("2001:db8:25::9"))));
            assert_eq!((copied.traffic_class, copied.hop_limit), (class, hops - 1));
            let over4 = outer4(&bed.one(EN0, &from_host(&with("2001:db8:27::9"))));
            let tos = over4.header.dscp.value() << 2 | over4.header.ecn.value();
            assert_eq!((tos, over4.header.time_to_live), (class, 33));
        }
    }
}

#[test]
fn out_of_tunnels_of_both_families() {
    let to_host6 = udp6("2001:db8:20::9", HOST6, 33);
    let to_host4 = Datagram::udp("30.0.0.9", "10.0.0.163", 33);
    let gre = |kind: u16, inner: &[u8]| [&[0, 0][..], &kind.to_be_bytes(), inner].concat();
    let limited = |next: u8, payload: &[u8]| [&[next, 0, 4, 1, 4, 1, 1, 0][..], payload].concat();
    let over4 =
        |remote, protocol, payload| Datagram::new(remote, "203.0.113.1", protocol, payload).bytes();
    let over6 = |next, payload: &[u8]| six(FAR6, EN1_6, next, payload);
    let four = &to_host4.bytes()[..];
    for (outer, expected, id) in [
        (over4("198.51.100.2", 47, gre(0x86dd, &to_host6)), routed6(&to_host6), GRE0),
        (over4("198.51.100.3", 41, to_host6.clone()), routed6(&to_host6), SIT0),
        (over6(47, &gre(0x86dd, &to_host6)), routed6(&to_host6), GRE6),
        (over6(41, &to_host6), routed6(&to_host6), IP6),
        (over6(60, &limited(47, &gre(0x86dd, &to_host6))), routed6(&to_host6), GRE6),
        (over6(60, &limited(41, &to_host6)), routed6(&to_host6), IP6),
        (over6(47, &gre(0x0800, four)), routed(&to_host4), GRE6),
        (over6(4, four), routed(&to_host4), IP6),
        (over6(60, &limited(4, four)), routed(&to_host4), IP6),
    ] {
        let mut bed = Testbed::six();
        for n in 0..3 {
            let (port, out) = bed.one(EN1, &from_router(&outer));
            assert_eq!((port, &out[14..]), (EN0, &expected[..]));
            assert_eq!(bed.interface(id)[0], n + 1);
        }
        assert_eq!(bed.interface(id)[2], 3 * expected.len() as u64);
    }
}

#[test]
fn a_tunnel_over_ipv6_is_found_by_its_very_ends() {
    let mut bed = Testbed::six();
    let inner = udp6("2001:db8:20::9", HOST6, 33);
    let refused = |bed: &mut Testbed, packet: &[u8], reason| {
        let before = bed.drops();
        assert_eq!(bed.pass(EN1, &from_router(packet)), Sent::new());
        assert_ne!(bed.drops(), before);
        assert!(bed.drops().iter().any(|(r, _)| *r == reason), "{:?}", bed.drops());
    };
    refused(&mut bed, &six("2001:db8:aa::3", EN1_6, 41, &inner), UnknownTunnel);
    refused(&mut bed, &six(FAR6, EN0_6, 41, &inner), UnknownTunnel);
    // The hash leads here, but the tunnel is another's: as if two pairs had one.
    let key = crate::tables::tunnel::Received {
        table: crate::ids::TableId(0),
        source: std::net::Ipv6Addr::from(host6("2001:db8:aa::4")).into(),
        destination: std::net::Ipv6Addr::from(host6(EN1_6)).into(),
        protocol: 41,
        key: None,
        port: 0,
    };
    let key = bed.tables.decap.key_of(&key);
    bed.tables.decap.insert(key, IP6.0, &bed.tables.pin()).unwrap();
    refused(&mut bed, &six("2001:db8:aa::4", EN1_6, 41, &inner), UnknownTunnel);
    assert_eq!(bed.interface(IP6)[..], [0; 6]);
    // What is inside.
    refused(&mut bed, &six(FAR6, EN1_6, 41, &inner[..70]), InnerInvalid);
    refused(&mut bed, &six(FAR6, EN1_6, 41, &[]), InnerInvalid);
    refused(&mut bed, &six(FAR6, EN1_6, 4, &inner), InnerInvalid);
    refused(&mut bed, &six(FAR6, EN1_6, 41, &udp6(HOST6, FAR6, 5)), DecapLoop);
    let mut zero = inner.clone();
    zero[7] = 0;
    refused(&mut bed, &six(FAR6, EN1_6, 41, &zero), InnerTtlZero);
    for src in ["::1", "::ffff:1.2.3.4", "::1.2.3.4", "ff0e::1"] {
        refused(&mut bed, &six(FAR6, EN1_6, 41, &udp6(src, HOST6, 5)), MartianSource);
    }
    refused(&mut bed, &six(FAR6, EN1_6, 47, &[0, 0, 0x65, 0x58]), GreUnknownProtocol);
    bed.received6(IP6, EN1_6, FAR6, 41, false);
    refused(&mut bed, &six(FAR6, EN1_6, 41, &inner), TunnelDown);
}

#[test]
fn nesting_ends_somewhere() {
    let deep = |depth: usize| {
        (0..depth).fold(udp6("2001:db8:20::9", HOST6, 9), |inner, _| six(FAR6, EN1_6, 41, &inner))
    };
    let mut bed = Testbed::six();
    assert_eq!(bed.pass(EN1, &from_router(&deep(crate::datapath::MAX_NESTING))).len(), 1);
    assert_eq!(bed.pass(EN1, &from_router(&deep(crate::datapath::MAX_NESTING + 1))), Sent::new());
    assert_eq!(bed.drops(), vec![(NestingTooDeep, 1)]);
}

/// RFC 6040 §4.2, row by row of the RFC, as `ecn` has it: `None` is a drop.
fn goes_on(inner: u8, outer: u8) -> Option<u8> {
    const NOT: [Option<u8>; 4] = [Some(0), Some(0), Some(0), None];
    const ECT1: [Option<u8>; 4] = [Some(1), Some(1), Some(1), Some(3)];
    const ECT0: [Option<u8>; 4] = [Some(2), Some(1), Some(2), Some(3)];
    const CE: [Option<u8>; 4] = [Some(3); 4];
    [NOT, ECT1, ECT0, CE][usize::from(inner)][usize::from(outer)]
}

#[test]
fn congestion_is_carried_inwards_through_all_families() {
    for inner_ecn in 0..4u8 {
        for outer_ecn in 0..4u8 {
            let mut six_in = udp6("2001:db8:20::9", HOST6, 33);
            six_in[1] |= inner_ecn << 4;
            let four_in = Datagram::udp("30.0.0.9", "10.0.0.163", 33).tos(inner_ecn).bytes();
            let over6 = |next, inner: &[u8]| {
                let mut outer = six(FAR6, EN1_6, next, inner);
                outer[1] |= outer_ecn << 4;
                outer
            };
            let over4 = Datagram::new("198.51.100.3", "203.0.113.1", 41, six_in.clone());
            for outer in [over6(41, &six_in), over6(4, &four_in), over4.tos(outer_ecn).bytes()] {
                let mut bed = Testbed::six();
                let sent = bed.pass(EN1, &from_router(&outer));
                let ecn = sent.first().map(|(_, frame)| match frame[14] >> 4 {
                    6 => frame[15] >> 4 & 3,
                    _ => Ipv4Header::from_slice(&frame[14..]).unwrap().0.ecn.value(),
                });
                assert_eq!(ecn, goes_on(inner_ecn, outer_ecn), "{inner_ecn} in {outer_ecn}");
                if let Some((_, frame)) = sent.first()
                    && frame[14] >> 4 == 4
                {
                    read_ip(&frame[14..]);
                }
            }
        }
    }
}

#[test]
fn outer_datagrams_are_cut_where_the_tunnel_says_so() {
    let mut bed = Testbed::six();
    for len in [1208, 1209, 1300, 1452] {
        // Over IPv6: a fragment header each, all of one packet.
        let (packet, expected) = inner("2001:db8:26::9", len);
        let sent = bed.pass(EN0, &from_host(&packet));
        let mut whole = Vec::new();
        assert_eq!(sent.len(), if packet.len() + 44 > 1300 { 2 } else { 1 });
        let mut ids = std::collections::HashSet::new();
        for piece in &sent {
            let (outer, payload) = outer6(piece);
            assert!(payload.len() + 40 <= 1300);
            assert_eq!((outer.hop_limit, outer.traffic_class), (33, 5 << 2));
            if sent.len() == 1 {
                whole = payload;
                continue;
            }
            assert_eq!(outer.next_header.0, 44);
            let (header, rest) = etherparse::Ipv6FragmentHeader::from_slice(&payload).unwrap();
            assert_eq!(usize::from(header.fragment_offset.value()) * 8, whole.len());
            assert_eq!(header.next_header.0, 47);
            ids.insert(header.identification);
            whole.extend(rest);
        }
        assert!(ids.len() <= 1);
        assert_eq!(whole, [&[0, 0, 0x86, 0xdd][..], &expected].concat());
        // Over IPv4.
        let (packet, expected) = inner("2001:db8:27::9", len);
        let sent = bed.pass(EN0, &from_host(&packet));
        let pieces: Vec<_> = sent.iter().map(outer4).collect();
        assert!(pieces.iter().all(|piece| piece.payload.len() + 20 <= 1300));
        assert_eq!(reassemble(&pieces).payload, [&[0, 0, 0x86, 0xdd][..], &expected].concat());
    }
    let before = bed.interface(GRE6)[1];
    // IPv4 inside: whole, whatever its size, unless it says DF.
    let big = Datagram::udp("10.0.0.163", "32.0.0.1", 1450);
    assert_eq!(bed.pass(EN0, &big.frame()).len(), 2);
    assert_eq!(bed.interface(GRE6)[1], before + 1, "one packet went into the tunnel");
    // A tunnel that does not cut outside cuts what is inside, each piece whole.
    let sent = bed.pass(EN0, &Datagram::udp("10.0.0.163", "30.0.0.1", 1450).frame());
    let pieces: Vec<_> = sent.iter().map(|piece| read_ip(&outer6(piece).1[4..])).collect();
    assert_eq!(pieces.len(), 2);
    reassemble(&pieces);
}

#[test]
fn sources_that_must_not_enter_a_tunnel() {
    let mut bed = Testbed::six();
    for src in [EN0_6, EN1_6, "fd09::1"] {
        let before = bed.drops();
        assert_eq!(bed.pass(EN0, &from_host(&udp6(src, "2001:db8:22::9", 9))), Sent::new());
        assert_ne!(bed.drops(), before);
    }
    assert_eq!(bed.drops(), vec![(OwnSourceIntoTunnel, 3)]);
    drops_of(&mut bed, &from_host(&udp6(FAR6, "2001:db8:22::9", 9)), ExitSourceIntoTunnel);
    assert_eq!(bed.pass(EN0, &from_host(&udp6(FAR6, "2001:db8:20::9", 9))).len(), 1);
}

#[test]
fn what_control_hands_over() {
    let mut bed = Testbed::six();
    let made = udp6(EN1_6, "2001:db8:22::9", 9);
    let held = udp6(HOST6, "2001:db8:1::1", 9);
    for (kind, packet) in
        [(InjectKind::Originate, &made), (InjectKind::Forward { in_if: EN0_IF }, &held)]
    {
        assert!(bed.control.inject(kind, packet));
    }
    let sent = bed.turns();
    assert_eq!(sent.len(), 2, "{:?}", bed.drops());
    let by = |port| sent.iter().filter(move |(at, _)| *at == port).map(|(_, frame)| frame);
    let into: Vec<_> = by(EN1).filter(|frame| frame[20] == 47).collect();
    assert_eq!(into[0][58..], made, "hop limit untouched");
    assert!(by(EN1).any(|frame| frame[14..] == routed6(&held)));
}
