//! Plain forwarding: link header, TTL, padding, VLANs, options, ARP.

use super::packets::{Datagram, frame, read, routed, tagged};
use super::testbed::*;
use crate::buf::heap::TestBuf;
use crate::exchange::{Cause, PuntReason};

const TO_ROUTER: [u8; 14] = [2, 0, 0, 0, 2, 0xfe, 2, 0, 0, 0, 0, 2, 8, 0];

#[test]
fn a_packet_gets_the_next_hops_link_header_and_a_ttl_one_less() {
    let mut bed = Testbed::new();
    for len in [0, 1, 17, 18, 100, 1472] {
        let packet = Datagram::udp("10.0.0.163", "198.18.3.4", len).tos(0xb9);
        let (port, out) = bed.one(EN0, &packet.frame());
        let (link, _) = read(&out);
        assert_eq!((port, &link[..]), (EN1, &TO_ROUTER[..]));
        assert_eq!(out[14..], routed(&packet), "payload of {len}");
    }
    let [rx, _, rx_bytes, ..] = bed.interface(EN0_IF);
    let [_, tx, _, tx_bytes, ..] = bed.interface(EN1_IF);
    assert_eq!((rx, tx), (6, 6));
    assert_eq!((rx_bytes, tx_bytes), (6 * 42 + 1608, 6 * 42 + 1608));
    assert_eq!(bed.counters.port_tx[EN1.index()].get(), 6);
}

#[test]
fn ethernet_padding_does_not_travel() {
    let mut bed = Testbed::new();
    let packet = Datagram::udp("10.0.0.163", "198.18.3.4", 2);
    let mut padded = packet.frame();
    padded.resize(60, 0xaa);
    assert_eq!(bed.one(EN0, &padded).1[14..], routed(&packet));
}

#[test]
fn every_ttl_above_one_is_forwarded() {
    let mut bed = Testbed::new();
    for ttl in 2..=255 {
        let packet = Datagram::udp("10.0.0.163", "198.18.3.4", 5).ttl(ttl);
        assert_eq!(bed.one(EN0, &packet.frame()).1[14..], routed(&packet), "TTL {ttl}");
    }
}

#[test]
fn vlan_tags_come_and_go_in_the_frame_and_in_metadata() {
    let mut bed = Testbed::new();
    let packet = Datagram::udp("10.20.0.9", "198.18.3.4", 50);
    // In the frame, priority bits set.
    let out = bed.one(EN0, &tagged(&packet.frame(), 0xe000 | 20)).1;
    assert_eq!((&out[..14], &out[14..]), (&TO_ROUTER[..], &routed(&packet)[..]));
    // Taken out by the port.
    let mut buf = TestBuf::from_bytes(&packet.frame());
    buf.vlan = Some(20);
    assert!(bed.worker.io().receive_buf(EN0, buf));
    assert_eq!(bed.turns()[0].1, out);
    // VLAN 0 is only a priority.
    assert_eq!(bed.one(EN0, &tagged(&packet.frame(), 0x2000)).1, out);
    assert_eq!(bed.interface(VLAN_IF)[0], 2);
    assert_eq!(bed.interface(EN0_IF)[0], 1);
    // And out of a VLAN interface.
    let back = Datagram::udp("198.18.3.4", "10.20.0.9", 50);
    let arrived = frame(EN1_MAC, ROUTER_MAC, 0x0800, &back.bytes());
    let (port, out) = bed.one(EN1, &arrived);
    assert_eq!(port, EN0);
    assert_eq!(out[..12], [&HOST_MAC[..], &EN0_MAC[..]].concat());
    assert_eq!(out[12..18], [0x81, 0, 0, 20, 8, 0]);
    assert_eq!(out[18..], routed(&back));
    assert_eq!(bed.interface(VLAN_IF)[1], 1);
    assert_eq!(bed.interface(VLAN_IF)[3], 18 + back.bytes().len() as u64);
}

#[test]
fn options_and_the_reserved_flag_are_forwarded_unread() {
    let mut bed = Testbed::new();
    for options in [&[1, 1, 1, 0][..], &[7, 7, 4, 0, 0, 0, 0, 0], &[0x99; 40], &[0x83, 3, 4, 0]] {
        let packet = Datagram::udp("10.0.0.163", "198.18.3.4", 40).options(options);
        assert_eq!(bed.one(EN0, &packet.frame()).1[14..], routed(&packet), "{options:02x?}");
    }
    // The reserved flag, which etherparse does not know.
    let mut bytes = Datagram::udp("10.0.0.163", "198.18.3.4", 9).with(|h| h.identification = 0);
    bytes.header.header_checksum = 0;
    let mut evil = bytes.bytes();
    evil[6] |= 0x80;
    let sum = u16::from_be_bytes([evil[10], evil[11]]);
    let (less, borrow) = sum.overflowing_sub(0x8000);
    evil[10..12].copy_from_slice(&(less - u16::from(borrow)).to_be_bytes());
    let out = bed.one(EN0, &frame(EN0_MAC, HOST_MAC, 0x0800, &evil)).1;
    assert_eq!(out[20] & 0x80, 0x80);
}

#[test]
fn transit_fragments_are_forwarded_as_they_are() {
    let mut bed = Testbed::new();
    for (offset, more) in [(0, true), (185, true), (370, false)] {
        let piece = Datagram::udp("10.0.0.163", "198.18.3.4", 96).fragment(offset, more);
        assert_eq!(bed.one(EN0, &piece.frame()).1[14..], routed(&piece));
    }
}

#[test]
fn arp_goes_to_control_without_its_tag() {
    let mut bed = Testbed::new();
    let arp = frame([0xff; 6], HOST_MAC, 0x0806, &[0x11; 28]);
    for (input, in_if) in [(arp.clone(), EN0_IF), (tagged(&arp, 20), VLAN_IF)] {
        assert_eq!(bed.pass(EN0, &input), Sent::new());
        let told = bed.told();
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].cause, Cause::Punt(PuntReason::Arp));
        assert_eq!((told[0].in_if, told[0].link_group), (in_if, true));
        assert_eq!(told[0].bytes, arp);
    }
    assert_eq!(bed.punts(PuntReason::Arp), 2);
}

#[test]
fn an_unresolved_neighbour_is_controls_business() {
    let mut bed = Testbed::new();
    let packet = Datagram::udp("198.18.3.4", "10.0.0.77", 5).ttl(2);
    let arrived = frame(EN1_MAC, ROUTER_MAC, 0x0800, &packet.bytes());
    assert_eq!(bed.pass(EN1, &arrived), Sent::new());
    let told = bed.told();
    assert_eq!(told[0].cause, Cause::Punt(PuntReason::Resolve));
    assert_eq!(told[0].bytes, packet.bytes(), "TTL untouched");
    assert_eq!((told[0].in_if, told[0].originated), (EN1_IF, false));
}

#[test]
fn order_is_kept_and_a_short_queue_drops_the_rest() {
    let mut bed = Testbed::new();
    bed.worker.io().tx_limit = 5;
    for id in 0..8 {
        let packet = Datagram::udp("10.0.0.163", "198.18.3.4", 5);
        bed.receive(EN0, &packet.with(|h| h.identification = id).frame());
    }
    let sent = bed.turns();
    let ids: Vec<u16> = sent.iter().map(|(_, f)| read(f).1.header.identification).collect();
    assert_eq!(ids, [0, 1, 2, 3, 4]);
    let [_, tx, _, bytes, _, dropped] = bed.interface(EN1_IF);
    assert_eq!((tx, bytes, dropped), (5, 5 * 47, 3));
}
