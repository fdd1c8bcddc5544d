//! Out of tunnels: what comes out is the inner packet, one hop on.

use super::packets::{Datagram, frame, read, routed};
use super::testbed::*;

fn arrive(outer: &Datagram) -> Vec<u8> {
    frame(EN1_MAC, ROUTER_MAC, 0x0800, &outer.bytes())
}

fn gre(inner: &[u8]) -> Datagram {
    Datagram::gre("198.51.100.2", "203.0.113.1", 0, 0x0800, inner)
}

#[test]
fn gre_and_ipip_for_every_payload_size() {
    let mut bed = Testbed::new();
    let mut bytes = 0;
    for len in 0..=1448 {
        let inner = Datagram::udp("10.9.0.2", "10.0.0.163", len).tos(0x28);
        let (port, out) = bed.one(EN1, &arrive(&gre(&inner.bytes())));
        assert_eq!((port, read(&out).0), (EN0, [&HOST_MAC[..], &EN0_MAC, &[8, 0]].concat()));
        assert_eq!(out[14..], routed(&inner), "payload of {len}");
        let ipip = Datagram::new("198.51.100.3", "203.0.113.1", 4, inner.bytes());
        assert_eq!(bed.one(EN1, &arrive(&ipip)).1, out);
        bytes += inner.bytes().len() as u64;
    }
    for id in [GRE0, IPIP0] {
        let [rx, _, rx_bytes, ..] = bed.interface(id);
        assert_eq!((rx, rx_bytes), (1449, bytes));
    }
    assert_eq!(bed.interface(EN1_IF)[0], 2 * 1449);
}

#[test]
fn ecn_follows_the_table_of_rfc_6040() {
    // Rows: inner; columns: outer Not-ECT, ECT(1), ECT(0), CE. Written out from
    // RFC 6040 §4.2 figure 4; None: drop.
    let table: [(u8, [Option<u8>; 4]); 4] = [
        (0, [Some(0), Some(0), Some(0), None]),
        (2, [Some(2), Some(1), Some(2), Some(3)]),
        (1, [Some(1), Some(1), Some(1), Some(3)]),
        (3, [Some(3), Some(3), Some(3), Some(3)]),
    ];
    for dscp in [0, 0x15, 0x3f] {
        for (inner_ecn, row) in table {
            for (outer_ecn, expected) in row.into_iter().enumerate() {
                let mut bed = Testbed::new();
                let inner = Datagram::udp("10.9.0.2", "10.0.0.163", 9).tos(dscp << 2 | inner_ecn);
                let outer = gre(&inner.bytes()).tos(0x90 | outer_ecn as u8);
                let sent = bed.pass(EN1, &arrive(&outer));
                let tos = sent.first().map(|(_, frame)| {
                    let header = read(frame).1.header;
                    assert_eq!(header.dscp.value(), dscp, "pipe model: inner DSCP stays");
                    header.ecn.value()
                });
                assert_eq!(tos, expected, "inner {inner_ecn} outer {outer_ecn}");
            }
        }
    }
}

#[test]
fn bits_6_to_12_are_ignored() {
    let mut bed = Testbed::new();
    let inner = Datagram::udp("10.9.0.2", "10.0.0.163", 9);
    for bit in 3..10 {
        let outer = Datagram::gre("198.51.100.2", "203.0.113.1", 1 << bit, 0x0800, &inner.bytes());
        assert_eq!(bed.one(EN1, &arrive(&outer)).1[14..], routed(&inner), "bit {bit}");
    }
}

#[test]
fn the_inner_length_comes_from_the_inner_header() {
    let mut bed = Testbed::new();
    let inner = Datagram::udp("10.9.0.2", "10.0.0.163", 9);
    let mut padded = inner.bytes();
    padded.extend([0x77; 13]);
    assert_eq!(bed.one(EN1, &arrive(&gre(&padded))).1[14..], routed(&inner));
    let mut framed = arrive(&gre(&padded));
    framed.extend([0x66; 5]);
    assert_eq!(bed.one(EN1, &framed).1[14..], routed(&inner));
}

#[test]
fn outer_options_vlan_ttl_and_dscp_do_not_matter() {
    let mut bed = Testbed::new();
    let inner = Datagram::udp("10.9.0.2", "10.0.0.163", 9).options(&[1, 1, 1, 1]);
    let outer = gre(&inner.bytes()).options(&[7, 7, 4, 0, 0, 0, 0, 0]).tos(0xfc).ttl(0);
    assert_eq!(bed.one(EN1, &arrive(&outer)).1[14..], routed(&inner));
    let tagged = super::packets::tagged(&frame(EN0_MAC, HOST_MAC, 0x0800, &outer.bytes()), 20);
    assert_eq!(bed.one(EN0, &tagged).1[14..], routed(&inner));
}

#[test]
fn nested_tunnels_are_taken_apart_up_to_the_bound() {
    for depth in 0..crate::datapath::MAX_NESTING {
        let mut bed = Testbed::new();
        let inner = Datagram::udp("10.9.0.2", "10.0.0.163", 9);
        let packed = (0..depth).fold(inner.clone(), |packet, _| {
            Datagram::gre("10.9.0.2", "10.9.0.1", 0, 0x0800, &packet.bytes())
        });
        let out = bed.one(EN1, &arrive(&gre(&packed.bytes()))).1;
        assert_eq!(out[14..], routed(&inner), "{depth} tunnels within one");
        assert_eq!(bed.interface(GRE_NESTED)[0], depth as u64);
    }
}

#[test]
fn a_ping_to_the_tunnels_own_address_is_answered_into_the_tunnel() {
    let mut bed = Testbed::new();
    let ping = Datagram::echo("10.9.0.2", "10.9.0.1", 40).ttl(1);
    let (port, out) = bed.one(EN1, &arrive(&gre(&ping.bytes())));
    let (_, outer) = read(&out);
    assert_eq!(port, EN1);
    assert_eq!(outer.header.destination, super::packets::addr("198.51.100.2"));
    let reply = super::packets::read_ip(&outer.payload[4..]);
    assert_eq!(reply.payload[0], 0, "echo reply");
    assert_eq!(reply.payload[4..], ping.payload[4..]);
    assert_eq!((reply.header.source, reply.header.destination), ([10, 9, 0, 1], [10, 9, 0, 2]));
    assert_eq!(reply.header.time_to_live, 64);
}
