//! Groups of next hops: every flow keeps to one member, all members are used,
//! and the flow is the one that control would say.

use std::collections::BTreeMap;

use super::packets::Datagram;
use super::testbed::*;
use crate::datapath::drop::DropReason;
use crate::ids::{NextHopId, PortId};
use crate::tables::group::{BUCKETS, Buckets};

/// Sends 60/8 to a group of the host on en0, the router on en1 and gre0, a third
/// of the buckets each; gives the buckets.
fn grouped(bed: &Testbed) -> Buckets {
    let guard = bed.tables.pin();
    let hop = |to: &str| bed.tables.fib4.lookup(host(to), &guard);
    let members = ["10.0.0.163", "198.18.0.1", "20.0.0.1"].map(hop);
    let mut buckets = [NextHopId::NO_ROUTE; BUCKETS];
    for (at, bucket) in buckets.iter_mut().enumerate() {
        *bucket = members[at % 3];
    }
    let group = NextHopId::group(5).unwrap();
    bed.tables.groups.set(group, &buckets, &guard);
    bed.tables.fib4.insert(host("60.0.0.0"), 8, group).unwrap();
    buckets
}

fn udp(from: u8, ports: [u16; 2], len: usize) -> Datagram {
    let mut payload: Vec<u8> = ports.iter().flat_map(|port| port.to_be_bytes()).collect();
    payload.resize(8 + len, 7);
    Datagram::new(&format!("10.0.0.{from}"), "60.1.2.3", 17, payload)
}

#[test]
fn each_flow_has_its_member_and_each_member_flows() {
    let mut bed = Testbed::new();
    let buckets = grouped(&bed);
    let hash = bed.tables.flow;
    let mut used: BTreeMap<(PortId, bool), usize> = BTreeMap::new();
    for flow in 0..120u16 {
        let packet = udp(9, [1000 + flow, 80], 20);
        let mut went = Vec::new();
        for _ in 0..3 {
            let (port, frame) = bed.one(EN0, &packet.frame());
            // gre0 leaves by en1, too: told apart by the protocol.
            went.push((port, frame[14 + 9] == 47));
        }
        assert!(went.iter().all(|way| *way == went[0]), "flow {flow}: {went:?}");
        *used.entry(went[0]).or_default() += 1;
        // The hash of the very datagram says so, as control takes it.
        let bucket = hash.datagram(&packet.frame()[14..]) as usize % BUCKETS;
        let member = buckets[bucket];
        let guard = bed.tables.pin();
        let adjacency = bed.tables.adjacencies.get(member.index(), &guard);
        assert_eq!((adjacency.port, adjacency.out_if == GRE0), went[0]);
    }
    assert_eq!(used.len(), 3, "{used:?}");
    // 120 flows in three: forty, give or take four deviations.
    assert!(used.values().all(|n| (20..=61).contains(n)), "{used:?}");
    assert_eq!(bed.counters.imbalance(), 0);
}

#[test]
fn a_burst_of_groups_and_plain_routes_and_fragments() {
    let mut bed = Testbed::new();
    grouped(&bed);
    let mut frames = Vec::new();
    for n in 0..16u8 {
        frames.push(udp(10 + n, [5, 6], 8).frame());
        frames.push(Datagram::udp("10.0.0.163", "198.18.3.4", 8).frame());
        // Both fragments of a datagram, its ports in the first only.
        let mut first = udp(10 + n, [5, 6], 8);
        first.header.more_fragments = true;
        let mut last = udp(10 + n, [500, u16::from(n)], 8);
        last.header.fragment_offset = 2u16.try_into().unwrap();
        frames.extend([first.frame(), last.frame()]);
    }
    let mut alone = Vec::new();
    for frame in &frames {
        alone.push(bed.one(EN0, frame).0);
    }
    for quad in alone.chunks(4) {
        assert_eq!(quad[1], EN1);
        assert_eq!(quad[2], quad[3], "fragments of one datagram");
    }
    frames.iter().for_each(|frame| bed.receive(EN0, frame));
    let sent = bed.turns();
    assert_eq!(sent.len(), frames.len());
    for port in [EN0, EN1] {
        let count = |ports: Vec<PortId>| ports.into_iter().filter(|p| *p == port).count();
        assert_eq!(count(sent.iter().map(|s| s.0).collect()), count(alone.clone()));
    }
}

/// A packet to be cut keeps its next hop though others of its burst are looked
/// up once more.
#[test]
fn a_packet_is_cut_for_the_member_it_met() {
    let mut bed = Testbed::new();
    grouped(&bed);
    let echo = Datagram::echo("10.0.0.163", "10.0.0.1", 8).frame();
    let mut cut = 0;
    for flow in 0..30 {
        let large = udp(9, [1000 + flow, 80], 1464).frame();
        let alone = bed.pass(EN0, &large).len();
        cut += usize::from(alone == 2);
        bed.receive(EN0, &large);
        bed.receive(EN0, &echo);
        assert_eq!(bed.turns().len(), alone + 1, "flow {flow}");
    }
    assert!(cut > 0, "no flow went into the tunnel, which takes 1476 bytes");
    assert_eq!(bed.drops(), []);
}

#[test]
fn an_echo_to_a_group_and_a_group_never_written() {
    let mut bed = Testbed::new();
    grouped(&bed);
    let echo = Datagram::echo("10.0.0.163", "60.9.9.9", 8);
    let first = bed.one(EN0, &echo.frame()).0;
    assert_eq!(bed.one(EN0, &echo.frame()).0, first);
    let group = NextHopId::group(6).unwrap();
    bed.tables.fib4.insert(host("61.0.0.0"), 8, group).unwrap();
    let lost = Datagram::udp("10.0.0.163", "61.1.1.1", 8).frame();
    assert_eq!(bed.pass(EN0, &lost), []);
    assert_eq!(bed.drops(), [(DropReason::NoRoute, 1)]);
}
