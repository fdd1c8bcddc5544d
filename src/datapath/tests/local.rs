//! Packets for us: echo, and what control gets to see.

use super::packets::{Datagram, frame, pattern, read};
use super::testbed::*;
use crate::datapath::drop::DropReason;
use crate::exchange::{Cause, PuntReason};

#[test]
fn echo_requests_are_answered_on_every_own_address() {
    let mut bed = Testbed::new();
    for own in ["10.0.0.1", "203.0.113.1", "10.9.0.1", "10.20.0.1"] {
        for (len, ttl) in [(0, 64), (1, 1), (56, 0), (1472, 255)] {
            let ping = Datagram::echo("10.0.0.163", own, len).ttl(ttl).tos(0x10);
            let (port, out) = bed.one(EN0, &ping.frame());
            let (link, reply) = read(&out);
            assert_eq!((port, link), (EN0, [&HOST_MAC[..], &EN0_MAC, &[8, 0]].concat()));
            let header = &reply.header;
            assert_eq!(header.source, super::packets::addr(own));
            assert_eq!(header.destination, [10, 0, 0, 163]);
            assert_eq!((header.time_to_live, header.dscp.value()), (64, 4));
            let (icmp, data) = etherparse::Icmpv4Header::from_slice(&reply.payload).unwrap();
            assert_eq!(icmp.icmp_type.calc_checksum(data), icmp.checksum);
            let echo = etherparse::IcmpEchoHeader { id: 7, seq: 9 };
            assert_eq!(icmp.icmp_type, etherparse::Icmpv4Type::EchoReply(echo));
            assert_eq!(data, pattern(len));
        }
    }
    assert_eq!(bed.told(), vec![]);
}

#[test]
fn echo_can_be_off_and_other_icmp_is_controls() {
    let mut bed = Testbed::new();
    let ping = Datagram::echo("10.0.0.163", "10.0.0.1", 9);
    let reply = Datagram::new("10.0.0.163", "10.0.0.1", 1, vec![0, 0, 0xff, 0xff, 0, 0, 0, 0]);
    let mut bad = ping.clone();
    bad.payload[2] ^= 1;
    bed.interfaces(|interfaces| interfaces.echo = false);
    bed.pass(EN0, &ping.frame());
    bed.interfaces(|interfaces| interfaces.echo = true);
    bed.pass(EN0, &reply.frame());
    bed.pass(EN0, &bad.frame());
    let told = bed.told();
    assert!(told.iter().all(|told| told.cause == Cause::Punt(PuntReason::LocalIcmp)));
    let bytes: Vec<_> = told.into_iter().map(|told| told.bytes).collect();
    assert_eq!(bytes, [ping.bytes(), reply.bytes(), bad.bytes()]);
    assert_eq!(bed.punts(PuntReason::LocalIcmp), 3);
}

#[test]
fn the_reply_to_a_host_not_resolved_yet_waits_at_control_as_made_here() {
    let mut bed = Testbed::new();
    let ping = Datagram::echo("10.0.0.77", "10.0.0.1", 9);
    assert_eq!(bed.pass(EN0, &ping.frame()), Sent::new());
    let told = bed.told();
    assert_eq!(told[0].cause, Cause::Punt(PuntReason::Resolve));
    assert!(told[0].originated);
    assert_eq!(told[0].bytes[20], 0, "it is the reply");
}

#[test]
fn a_datagram_with_a_wrong_checksum_draws_no_port_unreachable() {
    let mut bed = Testbed::new();
    let mut udp = Datagram::udp("10.0.0.163", "10.0.0.1", 40);
    bed.pass(EN0, &udp.frame());
    assert_eq!(bed.told().len(), 1);
    udp.payload[20] ^= 1;
    bed.pass(EN0, &udp.frame());
    udp.payload.truncate(5);
    udp.header.set_payload_len(5).unwrap();
    bed.pass(EN0, &udp.frame());
    assert_eq!(bed.told(), vec![]);
    assert_eq!(bed.drops(), [(DropReason::PortUnreachable, 3)]);
}

#[test]
fn a_link_broadcast_for_us_is_still_for_us() {
    let mut bed = Testbed::new();
    let ping = Datagram::echo("10.0.0.163", "203.0.113.1", 9).bytes();
    assert_eq!(bed.pass(EN0, &frame([0xff; 6], HOST_MAC, 0x0800, &ping)).len(), 1);
}
