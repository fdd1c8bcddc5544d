//! Doors: sources against a model of what routing says, and lists of prefixes.

use std::net::IpAddr;

use proptest::prelude::*;

use super::packets::{Datagram, frame};
use super::testbed::*;
use super::testbed6::udp6;
use crate::datapath::drop::DropReason::{self, *};
use crate::ids::{IfId, NextHopId};
use crate::model::spec::ReversePath as Check;
use crate::tables::adjacency::{Adjacency, AdjacencyKind as Kind, Encapsulation};
use crate::tables::door::Door;
use crate::tables::group::BUCKETS;

/// gre0 asks something of the sources that come out of it.
fn guard(bed: &Testbed, door: &Door) {
    let guard = bed.tables.pin();
    bed.tables.doors.replace(GRE0.index(), Box::new(door.clone()), &guard);
    let mut tunnel = *bed.tables.tunnels.get(GRE0.index(), &guard);
    tunnel.guarded = true;
    bed.tables.tunnels.set(GRE0.index(), tunnel.finished(), &guard);
}

/// Where sources lead, and so by which interfaces they are reached.
const WAYS: [(&str, &[IfId]); 11] = [
    ("connected", &[EN0_IF]),
    ("neighbour", &[EN0_IF]),
    ("router", &[EN1_IF]),
    ("tunnel", &[GRE0]),
    ("failed neighbour", &[EN0_IF]),
    ("tunnel down", &[GRE0]),
    ("reject", &[]),
    ("blackhole", &[]),
    ("ours", &[]),
    ("en0 or en1", &[EN0_IF, EN1_IF]),
    ("en1 or gre0", &[EN1_IF, GRE0]),
];

/// A next hop of each way.
fn hops(bed: &mut Testbed) -> [NextHopId; WAYS.len()] {
    let plain = Adjacency::plain;
    let gre = tunnel(Encapsulation::Gre, GRE0, "198.51.100.2", GRE_MTU, 0);
    let en0 = bed.adjacency(rewrite(EN0, EN0_IF, EN0_MAC, HOST_MAC, None, 1500));
    let en1 = bed.adjacency(rewrite(EN1, EN1_IF, EN1_MAC, ROUTER_MAC, None, 1500));
    let gre0 = bed.adjacency(gre);
    let group = |slot: usize, one: NextHopId, other: NextHopId| {
        let mut buckets = [one; BUCKETS];
        // The second has one bucket, the last: it counts like any.
        buckets[BUCKETS - 1] = other;
        let id = NextHopId::group(slot).unwrap();
        bed.tables.groups.set(id, &buckets, &bed.tables.pin());
        id
    };
    let groups = [group(1, en0, en1), group(2, en1, gre0)];
    [
        bed.adjacency(plain(Kind::Resolve, EN0_IF)),
        en0,
        en1,
        gre0,
        bed.adjacency(plain(Kind::Unreachable, EN0_IF)),
        bed.adjacency(plain(Kind::Unreachable, GRE0)),
        bed.adjacency(plain(Kind::Unreachable, IfId::NONE)),
        bed.adjacency(plain(Kind::Blackhole, IfId::NONE)),
        bed.adjacency(plain(Kind::Local, IfId::NONE)),
        groups[0],
        groups[1],
    ]
}

/// Routes to sources: the bits below 60/8 (or 60::/8), a length, a way.
type Routes = Vec<(u16, u8, usize)>;

/// What the longest match of an address says; none: no route.
fn longest(routes: &Routes, source: u16) -> Option<usize> {
    let covers = |(bits, len, _): &&(u16, u8, usize)| {
        (bits ^ source).checked_shr(u32::from(16 - len)).unwrap_or(0) == 0
    };
    routes.iter().filter(covers).max_by_key(|(_, len, _)| *len).map(|(.., way)| *way)
}

fn expected(way: Option<usize>, check: Check, arrived: IfId) -> bool {
    let by = way.map_or(&[][..], |way| WAYS[way].1);
    match check {
        Check::Off => true,
        Check::Loose => !by.is_empty(),
        Check::Strict => by.contains(&arrived),
    }
}

fn any_check() -> impl Strategy<Value = Check> {
    prop_oneof![Just(Check::Off), Just(Check::Loose), Just(Check::Strict)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Both families, on a port and out of a tunnel.
    #[test]
    fn rt_15_a_source_passes_if_a_naive_router_says_so(
        routes in prop::collection::btree_map((0u16..4, 1u8..=16), 0..WAYS.len(), 0..12),
        sources in prop::collection::vec(0u16..0x300, 1..12),
        check in any_check(), out_of_tunnel: bool, ipv6: bool,
    ) {
        let mut bed = if ipv6 { Testbed::six() } else { Testbed::new() };
        let ways = hops(&mut bed);
        // Few bits, of which longer prefixes keep more.
        let routes: std::collections::BTreeMap<_, _> = routes.into_iter().map(|((bits, len), way)| {
            let mask = !(u16::MAX.checked_shr(len.into()).unwrap_or(0));
            (((bits << 8) & mask, len), way)
        }).collect();
        for ((bits, len), way) in &routes {
            if ipv6 {
                let net = 0x3c << 120 | u128::from(*bits) << 104;
                bed.tables.fib6.insert(net, 8 + len, ways[*way]).unwrap();
            } else {
                let net = 60 << 24 | u32::from(*bits) << 8;
                bed.tables.fib4.insert(net, 8 + len, ways[*way]).unwrap();
            }
        }
        let routes: Routes = routes.into_iter().map(|((bits, len), way)| (bits, len, way)).collect();
        let arrived = if out_of_tunnel { GRE0 } else { EN0_IF };
        if out_of_tunnel {
            guard(&bed, &Door::new(check, &[]));
        } else if check != Check::Off {
            bed.interfaces(|interfaces| interfaces.reverse_path = vec![(EN0_IF, check)]);
        }
        for source in sources {
            let before = bed.drops();
            let inner = if ipv6 {
                udp6(&format!("3c{:02x}:{:02x}00::9", source >> 8, source & 0xff), "2001:db8:1::1", 9)
            } else {
                let source = format!("60.{}.{}.9", source >> 8, source & 0xff);
                Datagram::udp(&source, "198.18.0.1", 9).bytes()
            };
            let ethertype = if ipv6 { 0x86dd } else { 0x0800 };
            let sent = if out_of_tunnel {
                let outer = Datagram::gre("198.51.100.2", "203.0.113.1", 0, ethertype, &inner);
                bed.pass(EN1, &frame(EN1_MAC, ROUTER_MAC, 0x0800, &outer.bytes()))
            } else {
                bed.pass(EN0, &frame(EN0_MAC, HOST_MAC, ethertype, &inner))
            };
            let passes = expected(longest(&routes, source), check, arrived);
            prop_assert_eq!(sent.len(), usize::from(passes), "{:x} {:?}", source, routes);
            let drops = bed.drops();
            let new = drops != before;
            prop_assert_eq!(new, !passes);
            prop_assert!(drops.iter().all(|(reason, _)| *reason == ReversePath));
        }
        bed.told();
    }
}

/// The drops since the last call.
fn fresh(bed: &Testbed, seen: &mut Vec<(DropReason, u64)>) -> bool {
    let drops = bed.drops();
    std::mem::replace(seen, drops.clone()) != drops
}

#[test]
fn if_01_a_list_lets_its_prefixes_out_of_both_families_and_nobody_else() {
    let mut bed = Testbed::six();
    let nets = ["10.9.0.2/32", "20.0.0.0/8", "2001:db8:20::/48"].map(|net| net.parse().unwrap());
    guard(&bed, &Door::new(Check::Off, &nets));
    let mut seen = Vec::new();
    let cases = [
        ("10.9.0.2", true),
        ("10.9.0.3", false),
        ("20.255.255.255", true),
        ("21.0.0.0", false),
        ("2001:db8:20:ffff::1", true),
        ("2001:db8:21::1", false),
    ];
    for (source, passes) in cases {
        let ipv6 = source.parse::<IpAddr>().unwrap().is_ipv6();
        let (inner, ethertype) = match ipv6 {
            true => (udp6(source, "2001:db8:1::1", 9), 0x86dd),
            false => (Datagram::udp(source, "198.18.0.1", 9).bytes(), 0x0800),
        };
        let outer = Datagram::gre("198.51.100.2", "203.0.113.1", 0, ethertype, &inner);
        let sent = bed.pass(EN1, &frame(EN1_MAC, ROUTER_MAC, 0x0800, &outer.bytes()));
        assert_eq!(
            (sent.len(), fresh(&bed, &mut seen)),
            (usize::from(passes), !passes),
            "{source}"
        );
    }
    assert_eq!(bed.drops(), vec![(SourceNotAllowed, 3)]);
    // Each is a sample for the log, with its own bytes and the tunnel.
    let told = bed.told();
    assert_eq!(told.len(), 3);
    assert!(told.iter().all(|told| told.in_if == GRE0));
}

#[test]
fn samples_for_the_log_have_a_rate_of_their_own() {
    let mut bed = Testbed::new();
    guard(&bed, &Door::new(Check::Off, &["10.9.0.3/32".parse().unwrap()]));
    let spoofed = Datagram::udp("10.9.0.2", "198.18.0.1", 9).bytes();
    let outer = Datagram::gre("198.51.100.2", "203.0.113.1", 0, 0x0800, &spoofed).bytes();
    for _ in 0..100 {
        bed.pass(EN1, &frame(EN1_MAC, ROUTER_MAC, 0x0800, &outer));
    }
    assert_eq!(bed.told().len() as u64, super::super::punt::REFUSED_RATE.burst);
    // Notices that become ICMP errors are not touched by it.
    bed.pass(EN0, &Datagram::udp("10.0.0.163", "9.9.9.9", 9).frame());
    assert_eq!(bed.told().len(), 1);
}
