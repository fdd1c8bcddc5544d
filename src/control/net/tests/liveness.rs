//! Tunnels whose far end does not answer: what becomes of their routes, and that
//! all of it comes back.

use super::groups::{buckets, is_group};
use super::*;
use crate::control::topology::{Topology, Watch, Way};
use crate::ids::Family;

/// Machine C with two tunnels by the same router: gre0 to 10.25, gre1 to 10.26.
fn machine() -> Machine {
    let mut m = Machine::new();
    m.all(&office());
    m.all(&[
        create("gre1"),
        pair("gre1", "10.1", "10.26"),
        link1("gre1"),
        endpoints("gre1", "203.0.113.1", "198.51.100.3"),
    ]);
    m.learn(EN1, "203.0.113.254", 254);
    m
}

fn dead(m: &mut Machine, name: &str, dead: bool) {
    let id = m.id(name);
    m.net.set_soft(id, |soft| soft.dead = dead);
}

fn timing() -> Timing {
    Timing::default()
}

fn keepalive(name: &str) -> Op {
    Op::SetKeepalive { name: name.into(), keepalive: Some(timing()) }
}

fn probe(name: &str, to: Option<&str>) -> Op {
    let probe = ProbeSpec { timing: timing(), to: to.map(ip), size: true };
    Op::SetProbe { name: name.into(), probe: Some(probe) }
}

/// The interface that a packet to `to` leaves by, and what it meets.
fn leaves(m: &Machine, to: &str) -> (String, AdjacencyKind) {
    let adjacency = m.meets(to);
    (m.net.name(adjacency.out_if).unwrap_or("-").to_owned(), adjacency.kind)
}

fn at(name: &str, kind: AdjacencyKind) -> (String, AdjacencyKind) {
    (name.to_owned(), kind)
}

#[test]
fn a_less_specific_route_takes_over_and_gives_back() {
    let mut m = machine();
    m.all(&[through("11.1.0.0/16", "gre0"), through("11.0.0.0/8", "gre1")]);
    m.ok(add("12.0.0.0/8", "10.25"));
    let before = [leaves(&m, "11.1.2.3"), leaves(&m, "12.1.2.3"), leaves(&m, "10.25")];
    assert_eq!(before, [(); 3].map(|()| at("gre0", AdjacencyKind::Tunnel)));
    dead(&mut m, "gre0", true);
    assert_eq!(leaves(&m, "11.1.2.3"), at("gre1", AdjacencyKind::Tunnel), "the less specific one");
    assert_eq!(leaves(&m, "12.1.2.3"), at("en1", AdjacencyKind::Rewrite), "the default route");
    assert_eq!(leaves(&m, "10.25"), at("en0", AdjacencyKind::Resolve), "the connected subnet");
    assert_eq!(m.net.way(ip("11.1.2.3")), m.net.way(ip("11.2.2.3")));
    let Way::Neighbour { link, .. } = m.net.way(ip("10.25")) else { panic!("no neighbour") };
    assert_eq!(link, EN0);
    assert!(!m.running("gre0") && m.running("gre1"));
    assert_eq!(m.reason("gre0"), "its far end does not answer");
    let flags = |m: &Machine, to: &str| m.net.get_route(net(to)).unwrap().flags;
    assert_eq!((flags(&m, "11.1.0.0/16"), flags(&m, "12.0.0.0/8")), ("S".into(), "GS".into()));
    assert_eq!(m.net.lookup_route(ip("11.1.2.3")).unwrap().to, net("11.0.0.0/8"));
    dead(&mut m, "gre0", false);
    assert_eq!([leaves(&m, "11.1.2.3"), leaves(&m, "12.1.2.3"), leaves(&m, "10.25")], before);
    assert_eq!((flags(&m, "11.1.0.0/16"), flags(&m, "12.0.0.0/8")), ("US".into(), "UGS".into()));
    assert!(m.running("gre0"));
}

#[test]
fn with_nothing_less_specific_there_is_no_route() {
    let mut m = machine();
    m.all(&[
        delete("0.0.0.0/0"),
        add("198.51.100.0/24", "203.0.113.254"),
        through("11.0.0.0/8", "gre0"),
    ]);
    assert_eq!(m.kind("11.1.2.3"), AdjacencyKind::Tunnel);
    dead(&mut m, "gre0", true);
    assert_eq!(m.kind("11.1.2.3"), AdjacencyKind::NoRoute);
    // What is configured meanwhile is withdrawn, too.
    m.ok(through("13.0.0.0/8", "gre0"));
    assert_eq!(m.kind("13.1.2.3"), AdjacencyKind::NoRoute);
    dead(&mut m, "gre0", false);
    assert_eq!(
        (m.kind("11.1.2.3"), m.kind("13.1.2.3")),
        (AdjacencyKind::Tunnel, AdjacencyKind::Tunnel)
    );
}

fn ecmp(to: &str, names: &[&str]) -> Op {
    let path = |name: &&str| PathSpec { way: PathWay::Interface((*name).into()), weight: 1 };
    let target = RouteTarget::Paths(names.iter().map(path).collect());
    Op::PutRoute { route: RouteSpec { to: net(to), target } }
}

#[test]
fn a_group_deals_to_the_other_and_goes_when_all_are_gone() {
    let mut m = machine();
    m.ok(ecmp("20.0.0.0/8", &["gre0", "gre1"]));
    let all = buckets(&m, "20.1.2.3");
    let of = |all: &[(String, String)], name: &str| all.iter().filter(|(_, to)| to == name).count();
    assert!(of(&all, "gre0") > 200 && of(&all, "gre1") > 200);
    dead(&mut m, "gre0", true);
    assert_eq!(of(&buckets(&m, "20.1.2.3"), "gre1"), 512);
    dead(&mut m, "gre1", true);
    assert!(!is_group(&m, "20.1.2.3"));
    assert_eq!(leaves(&m, "20.1.2.3"), at("en1", AdjacencyKind::Rewrite), "the default route");
    dead(&mut m, "gre0", false);
    assert_eq!(of(&buckets(&m, "20.1.2.3"), "gre0"), 512);
    dead(&mut m, "gre1", false);
    assert_eq!(buckets(&m, "20.1.2.3"), all, "as it was");
}

#[test]
fn chains_of_gateways_behind_a_tunnel_go_with_it() {
    let mut m = machine();
    m.all(&[through("30.0.0.0/8", "gre0"), add("31.0.0.0/8", "30.1"), add("32.0.0.0/8", "31.1")]);
    assert_eq!(leaves(&m, "32.1"), at("gre0", AdjacencyKind::Tunnel));
    dead(&mut m, "gre0", true);
    for to in ["30.1", "31.1", "32.1"] {
        assert_eq!(leaves(&m, to), at("en1", AdjacencyKind::Rewrite), "{to}");
    }
    dead(&mut m, "gre0", false);
    for to in ["30.1", "31.1", "32.1"] {
        assert_eq!(leaves(&m, to), at("gre0", AdjacencyKind::Tunnel), "{to}");
    }
}

#[test]
fn another_outer_pair_is_another_far_end() {
    let mut m = machine();
    m.ok(through("11.0.0.0/8", "gre0"));
    dead(&mut m, "gre0", true);
    m.ok(endpoints("gre0", "203.0.113.1", "198.51.100.77"));
    assert_eq!(leaves(&m, "11.1.2.3"), at("gre0", AdjacencyKind::Tunnel));
    assert!(m.running("gre0"));
    dead(&mut m, "gre0", true);
    m.ok(destroy("gre0"));
    m.all(&[create("gre0"), pair("gre0", "10.1", "10.25"), through("11.0.0.0/8", "gre0")]);
    assert!(!m.net.is_dead(m.id("gre0")));
}

#[test]
fn what_asks_for_the_far_end_gets_in_while_routes_do_not() {
    let mut m = machine();
    let gre0 = m.id("gre0");
    assert_eq!(m.net.tunnel_way(gre0, Family::V4), None, "nobody asked for it");
    m.ok(keepalive("gre0"));
    let used = m.net.tables_view().next_hops;
    let way = m.net.tunnel_way(gre0, Family::V4).unwrap();
    assert_eq!((way.answers, way.mtu), (true, 1476));
    dead(&mut m, "gre0", true);
    let meets = |m: &Machine, way: crate::control::topology::TunnelWay| {
        let guard = m.tables.pin();
        *m.tables.adjacencies.get(way.next_hop.index(), &guard)
    };
    assert_eq!(m.net.tunnel_way(gre0, Family::V4), Some(way));
    assert_eq!((meets(&m, way).kind, meets(&m, way).out_if), (AdjacencyKind::Tunnel, gre0));
    assert_eq!(outer(&meets(&m, way)).destination, ip("198.51.100.2"));
    assert_eq!(m.net.awaited_below(way.next_hop), Some((EN1, ip("203.0.113.254"))));
    assert_eq!(m.net.awaited_below(NextHopId(1)), None);
    m.net.neighbour_lost(EN1, ip("203.0.113.254"), true);
    assert!(!m.net.tunnel_way(gre0, Family::V4).unwrap().answers);
    m.learn(EN1, "203.0.113.254", 254);
    m.ok(set("gre0", |f| f.up = Some(false)));
    assert_eq!(m.net.tunnel_way(gre0, Family::V4), None, "down");
    m.ok(set("gre0", |f| f.up = Some(true)));
    dead(&mut m, "gre0", false);
    m.ok(Op::SetKeepalive { name: "gre0".into(), keepalive: None });
    assert_eq!(m.net.tunnel_way(gre0, Family::V4), None);
    assert_eq!(m.net.tables_view().next_hops, used - 2, "what it held is given back");
}

#[test]
fn who_is_to_be_watched_is_told_with_the_addresses_to_do_it() {
    let mut m = machine();
    let told = |m: &mut Machine, op: Op| -> Option<Option<Watch>> {
        let (_, events) = m.try_all(&[op]).unwrap();
        events.into_iter().find_map(|event| match event {
            Event::Watched { watch, .. } => Some(watch),
            _ => None,
        })
    };
    assert_eq!(told(&mut m, set("gre0", |f| f.ttl = Some(9))), None);
    let watch = told(&mut m, keepalive("gre0")).flatten().unwrap();
    let ends = watch.keepalive.unwrap().1;
    assert_eq!(
        (IpAddr::from(ends.local), IpAddr::from(ends.remote)),
        (ip("203.0.113.1"), ip("198.51.100.2"))
    );
    assert_eq!((ends.key, watch.probe), (None, None));
    let watch = told(&mut m, gre("gre0", |g| g.key_in = Some(7))).flatten().unwrap();
    assert_eq!(watch.keepalive.unwrap().1.key, Some(7));
    let ends = |watch: Watch| watch.probe.map(|(_, from, to)| (from, to));
    let watch = told(&mut m, probe("gre0", None)).flatten().unwrap();
    assert_eq!(ends(watch), Some((ip("10.1"), ip("10.25"))));
    let watch = told(&mut m, probe("gre0", Some("11.9"))).flatten().unwrap();
    assert_eq!(ends(watch), Some((ip("10.1"), ip("11.9"))));
    // Without an address of that family there is nobody to ask, and a note.
    let (outcome, _) = m.try_all(&[probe("gre0", Some("fd00::2"))]).unwrap();
    assert!(
        outcome.notes.iter().any(|note| note.contains("gre0 is not probed yet")),
        "{outcome:?}"
    );
    let watch = told(&mut m, address("gre0", "fd00::1/64")).flatten().unwrap();
    assert_eq!(ends(watch), Some((ip("fd00::1"), ip("fd00::2"))));
    assert_eq!(told(&mut m, destroy("gre0")), Some(None));
}

#[test]
fn what_cannot_be_kept_alive_is_refused_and_told_of_probes() {
    let mut m = machine();
    m.all(&[create("ipip0"), pair("ipip0", "203.0.113.1", "198.51.100.9")]);
    m.refused(keepalive("ipip0"), &["ipip0", "ipip tunnel", "probe"]);
    m.refused(keepalive("en0"), &["en0", "tunnel"]);
    m.ok(probe("ipip0", None));
    m.ok(keepalive("gre0"));
    m.refused(set("gre0", |f| f.link0 = Some(false)), &["MOBILE", "probe"]);
    let udp = UdpSpec { port: GRE_IN_UDP, source: None, checksum: true };
    m.refused(Op::SetUdp { name: "gre0".into(), udp: Some(udp) }, &["gre0 has UDP", "probe"]);
    m.ok(address("en1", "2001:db8::1/64"));
    m.refused(endpoints("gre0", "2001:db8::1", "2001:db8::2"), &["IPv6", "probe"]);
    let none = Timing { retries: 0, ..timing() };
    m.refused(Op::SetKeepalive { name: "gre0".into(), keepalive: Some(none) }, &["0 retries"]);
    m.refused(probe("gre0", Some("224.0.0.1")), &["224.0.0.1", "multicast"]);
    // As it is, it is written down and read back.
    let state = m.net.state();
    let again = Machine::from_state(&state, &[]);
    assert_eq!(again.net.state(), state);
    assert_eq!(state.tunnels.iter().filter(|t| t.keepalive.is_some()).count(), 1);
}
