//! Into tunnels: what the outer header says, for every way it can be set.

use super::packets::{Datagram, frame, read, read_ip, routed};
use super::testbed::*;
use crate::exchange::InjectKind;

/// The outer datagram and the inner bytes of a sent frame.
fn outer_of(sent: &(crate::ids::PortId, Vec<u8>)) -> (Datagram, Vec<u8>) {
    let (link, outer) = read(&sent.1);
    assert_eq!(sent.0, EN1);
    assert_eq!(link, [&ROUTER_MAC[..], &EN1_MAC[..], &[8, 0]].concat());
    let inner = match outer.header.protocol.0 {
        47 => {
            assert_eq!(outer.payload[..4], [0, 0, 8, 0]);
            outer.payload[4..].to_vec()
        }
        _ => outer.payload.clone(),
    };
    (outer, inner)
}

#[test]
fn gre_and_ipip_for_every_payload_size() {
    let mut bed = Testbed::new();
    for (dst, remote, protocol, id) in
        [("20.1.2.3", "198.51.100.2", 47, GRE0), ("21.1.2.3", "198.51.100.3", 4, IPIP0)]
    {
        let mut bytes = 0;
        for len in 0..=1448 {
            let packet = Datagram::udp("10.0.0.163", dst, len);
            let (outer, inner) = outer_of(&bed.one(EN0, &packet.frame()));
            assert_eq!(inner, routed(&packet), "payload of {len}");
            let mut expected = outer_header(remote, protocol);
            expected.total_len = outer.header.total_len;
            expected.header_checksum = expected.calc_header_checksum();
            assert_eq!(outer.header, expected);
            bytes += inner.len() as u64;
        }
        assert_eq!(bed.interface(id)[1], 1449);
        assert_eq!(bed.interface(id)[3], bytes);
    }
    assert_eq!(bed.interface(EN1_IF)[1], 2 * 1449);
}

#[test]
fn dscp_ecn_df_and_ttl_of_the_outer_header() {
    let mut bed = Testbed::new();
    let mut ids = std::collections::HashSet::new();
    for tos in 0..=255u8 {
        for df in [false, true] {
            for ttl in [2, 64, 255] {
                let mut packet = Datagram::udp("10.0.0.163", "20.1.2.3", 20).tos(tos).ttl(ttl);
                packet.header.dont_fragment = df;
                // Pipe model, outer TTL and DF of the tunnel.
                let (outer, inner) = outer_of(&bed.one(EN0, &packet.frame()));
                assert_eq!(inner, routed(&packet));
                assert_eq!(outer.header.dscp.value(), 5);
                assert_eq!(outer.header.ecn.value(), tos & 3, "ECN copied (RFC 6040 4.1)");
                assert_eq!((outer.header.time_to_live, outer.header.dont_fragment), (33, true));
                // Everything copied.
                packet.header.destination = [22, 1, 2, 3];
                let (outer, inner) = outer_of(&bed.one(EN0, &packet.frame()));
                assert_eq!(inner, routed(&packet));
                assert_eq!(outer.header.dscp.value(), tos >> 2);
                assert_eq!(outer.header.ecn.value(), tos & 3);
                assert_eq!(outer.header.time_to_live, ttl - 1);
                assert_eq!(outer.header.dont_fragment, df);
                if !df {
                    assert!(ids.insert(outer.header.identification), "id used twice (V4-04)");
                }
            }
        }
    }
}

#[test]
fn a_tagged_underlay_and_a_padded_arrival() {
    let mut bed = Testbed::new();
    let mut over_vlan =
        tunnel(crate::tables::adjacency::Encapsulation::Gre, GRE0, "198.51.100.2", GRE_MTU, 0);
    let finished = over_vlan.rewrite().to_vec();
    let tagged = super::packets::tagged(&finished, 77);
    over_vlan.rewrite[..tagged.len()].copy_from_slice(&tagged);
    over_vlan.l2_len = 18;
    over_vlan.rewrite_len = tagged.len() as u8;
    bed.route("25.0.0.0/8", over_vlan);
    let packet = Datagram::udp("10.0.0.163", "25.0.0.1", 1);
    let mut arrived = packet.frame();
    arrived.resize(60, 0x5a);
    let (_, out) = bed.one(EN0, &arrived);
    let (link, outer) = read(&out);
    assert_eq!(link[12..], [0x81, 0, 0, 77, 8, 0]);
    assert_eq!(outer.payload[4..], routed(&packet));
}

#[test]
fn packets_made_here_keep_their_ttl_and_may_have_our_source() {
    let mut bed = Testbed::new();
    let packet = Datagram::echo("10.9.0.1", "10.9.0.2", 8).ttl(1);
    assert!(bed.control.inject(InjectKind::Originate, &packet.bytes()));
    let (outer, inner) = outer_of(&bed.turns()[0]);
    assert_eq!(inner, packet.bytes());
    assert_eq!(outer.header.time_to_live, 33);
}

#[test]
fn options_inside_travel_too() {
    let mut bed = Testbed::new();
    let packet = Datagram::udp("10.0.0.163", "20.0.0.1", 7).options(&[7, 7, 4, 0, 0, 0, 0, 0]);
    assert_eq!(outer_of(&bed.one(EN0, &packet.frame())).1, routed(&packet));
}

#[test]
fn with_all_own_addresses_listed_the_fib_is_not_asked() {
    let mut bed = Testbed::new();
    bed.interfaces(|interfaces| interfaces.own_complete = true);
    // 10.0.0.1 is in the FIB only: with the list said to be complete it passes.
    let packet = Datagram::udp("10.0.0.1", "20.0.0.1", 7);
    assert_eq!(bed.pass(EN0, &packet.frame()).len(), 1);
    bed.interfaces(|interfaces| interfaces.own.push(host("10.0.0.1")));
    assert_eq!(bed.pass(EN0, &packet.frame()).len(), 0);
    // The rules are about tunnels; plain forwarding has none of them.
    let plain = Datagram::udp("10.0.0.1", "198.18.0.1", 7);
    assert_eq!(bed.pass(EN0, &plain.frame()).len(), 1);
}

#[test]
fn tunnel_to_tunnel() {
    let mut bed = Testbed::new();
    let packet = Datagram::udp("10.9.0.2", "21.0.0.1", 100).ttl(9);
    let outer = Datagram::gre("198.51.100.2", "203.0.113.1", 0, 0x0800, &packet.bytes());
    let sent = bed.one(EN1, &frame(EN1_MAC, ROUTER_MAC, 0x0800, &outer.bytes()));
    let (outer, inner) = outer_of(&sent);
    assert_eq!(outer.header.protocol.0, 4);
    assert_eq!(read_ip(&inner).header.time_to_live, 8);
    assert_eq!(bed.interface(GRE0)[..3], [1, 0, packet.bytes().len() as u64]);
    assert_eq!(bed.interface(IPIP0)[1], 1);
}
