//! What control hands over.

use super::packets::{Datagram, frame, read, routed, tagged};
use super::testbed::*;
use crate::datapath::drop::DropReason;
use crate::exchange::{Cause, InjectKind, PuntReason};
use crate::ids::PortId;

#[test]
fn a_frame_goes_out_as_it_is() {
    let mut bed = Testbed::new();
    let arp = tagged(&frame([0xff; 6], EN0_MAC, 0x0806, &[3; 28]), 20);
    assert!(bed.control.inject(InjectKind::Frame { port: EN0, out_if: VLAN_IF }, &arp));
    assert_eq!(bed.turns(), vec![(EN0, arp.clone())]);
    assert_eq!(bed.interface(VLAN_IF)[1], 1);
    assert_eq!(bed.interface(VLAN_IF)[3], arp.len() as u64);
    let ledger = bed.counters.ledger(PortId::CONTROL);
    assert_eq!((ledger.received.get(), ledger.sent.get()), (1, 1));
    assert_eq!(ledger.received_bytes.get(), arp.len() as u64);
}

#[test]
fn a_frame_for_no_port_is_dropped() {
    let mut bed = Testbed::new();
    let kind = InjectKind::Frame { port: PortId::CONTROL, out_if: EN0_IF };
    assert!(bed.control.inject(kind, &[0; 60]));
    assert_eq!(bed.turns(), Sent::new());
    assert_eq!(bed.drops(), [(DropReason::InterfaceDown, 1)]);
}

#[test]
fn a_datagram_made_here_is_looked_up_and_a_held_one_forwarded() {
    let mut bed = Testbed::new();
    let made = Datagram::udp("203.0.113.1", "198.18.0.1", 9).ttl(1);
    let held = Datagram::udp("10.0.0.163", "198.18.0.1", 9).ttl(2);
    let expired = Datagram::udp("10.0.0.163", "198.18.0.1", 9).ttl(1);
    assert!(bed.control.inject(InjectKind::Originate, &made.bytes()));
    let forward = InjectKind::Forward { in_if: EN0_IF };
    assert!(bed.control.inject(forward, &held.bytes()));
    assert!(bed.control.inject(forward, &expired.bytes()));
    let sent = bed.turns();
    assert_eq!(sent.len(), 2);
    assert_eq!(read(&sent[0].1).1.bytes(), made.bytes());
    assert_eq!(sent[1].1[14..], routed(&held));
    assert_eq!(bed.drops(), [(DropReason::TtlExpired, 1)]);
    assert_eq!(bed.interface(EN0_IF)[4], 1, "dropped where it had arrived");
    assert_eq!(bed.told()[0].in_if, EN0_IF);
}

#[test]
fn a_ping_of_ourselves_comes_back_as_a_reply() {
    let mut bed = Testbed::new();
    let ping = Datagram::echo("10.0.0.1", "10.0.0.1", 9);
    assert!(bed.control.inject(InjectKind::Originate, &ping.bytes()));
    assert_eq!(bed.turns(), Sent::new());
    let told = bed.told();
    assert_eq!(told[0].cause, Cause::Punt(PuntReason::LocalIcmp));
    assert_eq!(told[0].bytes[20], 0);
}

#[test]
fn made_here_and_unresolved_says_so() {
    let mut bed = Testbed::new();
    let ping = Datagram::echo("10.0.0.1", "10.0.0.77", 9).ttl(1);
    assert!(bed.control.inject(InjectKind::Originate, &ping.bytes()));
    bed.turns();
    let told = bed.told();
    assert_eq!(told[0].cause, Cause::Punt(PuntReason::Resolve));
    assert!(told[0].originated);
    assert_eq!(told[0].bytes, ping.bytes());
}

#[test]
fn garbage_from_control_is_dropped_by_name() {
    let mut bed = Testbed::new();
    assert!(bed.control.inject(InjectKind::Originate, &[]));
    assert!(bed.control.inject(InjectKind::Originate, &[0x55; 40]));
    assert!(bed.control.inject(InjectKind::Originate, &[0x65; 39]));
    assert!(bed.control.inject(InjectKind::Originate, &[0x65; 40]));
    assert_eq!(bed.turns(), Sent::new());
    use DropReason::{Ipv4BadVersion, Ipv4TooShort, Ipv6TooShort, Ipv6Truncated};
    let each = [Ipv4TooShort, Ipv4BadVersion, Ipv6TooShort, Ipv6Truncated];
    assert_eq!(bed.drops(), each.map(|reason| (reason, 1)));
}

#[test]
fn more_than_a_burst_waits_for_the_next_turn() {
    let mut bed = Testbed::new();
    let made = Datagram::udp("203.0.113.1", "198.18.0.1", 9).bytes();
    for _ in 0..100 {
        assert!(bed.control.inject(InjectKind::Originate, &made));
    }
    assert_eq!(bed.worker.turn(), 64);
    assert_eq!(bed.worker.turn(), 36);
    assert_eq!(bed.turns().len(), 100);
}
