//! Routes: precedence, gateways by gateways, and how they are shown.

use super::*;
use crate::control::topology::{Topology, Way};

fn flags(m: &Machine, to: &str) -> String {
    m.net.get_route(net(to)).unwrap().flags
}

#[test]
fn local_before_connected_before_static_before_neighbour() {
    let mut m = Machine::new();
    m.all(&[address("en0", "10.0.0.1/24"), address("en1", "11.0.0.1/24")]);
    // Static under connected: waits, and counts when the subnet goes.
    let outcome = m.ok(add("10.0.0.0/24", "11.9"));
    assert!(outcome.notes[0].contains("connected to en0"), "{outcome:?}");
    assert_eq!(m.meets("10.9").out_if, EN0);
    m.ok(unaddress("en0", "10.1"));
    assert_eq!(m.meets("10.9").out_if, EN1);
    m.ok(address("en0", "10.0.0.1/24"));
    // A neighbour under a static host route.
    m.learn(EN0, "10.9", 9);
    assert_eq!(m.kind("10.9"), AdjacencyKind::Rewrite);
    assert_eq!(m.meets("10.9").rewrite()[..6], mac(9).0);
    m.ok(add("10.0.0.9/32", "11.9"));
    assert_eq!(m.meets("10.9").out_if, EN1);
    // A shorter static route takes the neighbours under it along.
    m.all(&[delete("10.0.0.9/32"), add("10.0.0.8/29", "11.9")]);
    assert_eq!(m.meets("10.9").out_if, EN1);
    m.ok(delete("10.0.0.8/29"));
    assert_eq!(m.kind("10.9"), AdjacencyKind::Rewrite);
    // An own address and a broadcast address before a static host route.
    m.all(&[add("10.0.0.1/32", "11.9"), add("10.0.0.255/32", "11.9")]);
    assert_eq!(
        (m.kind("10.1"), m.kind("10.0.0.255")),
        (AdjacencyKind::Local, AdjacencyKind::Broadcast)
    );
    assert_eq!(m.kind("10.0.0.0"), AdjacencyKind::Broadcast);
    // The far end of a tunnel before both, whatever the tunnel does (T10).
    m.all(&[create("gre0"), pair("gre0", "10.1", "10.9")]);
    assert_eq!(m.meets("10.9").out_if, m.id("gre0"));
}

#[test]
fn gateways_resolve_through_gateways_but_not_through_themselves_or_default() {
    let mut m = Machine::new();
    m.ok(address("en0", "10.0.0.1/24"));
    m.all(&[add("20.0.0.0/8", "10.2"), add("30.0.0.0/8", "20.9"), add("40.0.0.0/8", "30.9")]);
    assert_eq!(m.net.way(ip("40.1")), Way::Neighbour { link: EN0, address: ip("10.2") });
    m.learn(EN0, "10.2", 2);
    assert_eq!(m.meets("40.1").rewrite()[..6], mac(2).0);
    // A more specific route for a gateway moves all that lean on it.
    m.ok(add("20.0.0.9/32", "10.3"));
    assert_eq!(m.net.way(ip("40.1")), Way::Neighbour { link: EN0, address: ip("10.3") });
    assert_eq!(m.net.way(ip("20.1")), Way::Neighbour { link: EN0, address: ip("10.2") });
    // Through itself: the next shorter match.
    m.ok(add("10.0.0.64/26", "10.0.0.65"));
    assert_eq!(m.net.way(ip("10.0.0.99")), Way::Neighbour { link: EN0, address: ip("10.0.0.65") });
    // Rings end.
    let outcome = m.ok(add("50.0.0.0/8", "60.1"));
    assert!(outcome.notes[0].contains("gateway 60.0.0.1"), "{outcome:?}");
    m.ok(add("60.0.0.0/8", "50.1"));
    assert_eq!(m.kind("50.1"), AdjacencyKind::Unreachable);
    assert_eq!(flags(&m, "50.0.0.0/8"), "GS", "not up");
    // The default route makes no gateway reachable.
    m.all(&[add("0.0.0.0/0", "10.4"), add("70.0.0.0/8", "71.1")]);
    assert_eq!(m.kind("70.1"), AdjacencyKind::Unreachable);
    assert_eq!(m.net.way(ip("71.1")), Way::Neighbour { link: EN0, address: ip("10.4") });
    // A chain longer than the bound ends.
    for n in 0..12 {
        m.ok(add(&format!("{}.0.0.0/8", 100 + n), &format!("{}.0.0.1", 101 + n)));
    }
    assert_eq!(m.kind("100.1"), AdjacencyKind::Unreachable);
    m.ok(add("112.0.0.0/8", "10.5"));
    assert_eq!(m.kind("100.1"), AdjacencyKind::Unreachable, "13 gateways in a row");
    assert_eq!(m.net.way(ip("106.1")), Way::Neighbour { link: EN0, address: ip("10.5") });
}

#[test]
fn discarding_routes_and_routes_to_a_port() {
    let mut m = Machine::new();
    m.ok(address("en0", "10.0.0.1/24"));
    for (to, target) in
        [("20.0.0.0/8", RouteTarget::Blackhole), ("30.0.0.0/8", RouteTarget::Reject)]
    {
        m.ok(Op::PutRoute { route: RouteSpec { to: net(to), target } });
    }
    assert_eq!((m.kind("20.1"), flags(&m, "20.0.0.0/8")), (AdjacencyKind::Blackhole, "USB".into()));
    assert_eq!(
        (m.kind("30.1"), flags(&m, "30.0.0.0/8")),
        (AdjacencyKind::Unreachable, "USR".into())
    );
    m.ok(through("40.0.0.0/8", "en0"));
    assert_eq!((m.kind("40.1"), m.meets("40.1").out_if), (AdjacencyKind::Resolve, EN0));
    m.learn(EN0, "40.1", 4);
    assert_eq!(m.kind("40.1"), AdjacencyKind::Rewrite, "its hosts are neighbours");
    m.ok(set("en0", |f| f.up = Some(false)));
    assert_eq!(m.kind("40.1"), AdjacencyKind::Unreachable);
    m.ok(set("en0", |f| f.up = Some(true)));
    assert_eq!(m.kind("40.1"), AdjacencyKind::Resolve);
    assert_eq!(m.kind("99.1"), AdjacencyKind::NoRoute);
    m.ok(Op::FlushRoutes { family: None });
    assert_eq!(m.kind("20.1"), AdjacencyKind::NoRoute);
    assert_eq!(m.net.state().routes, []);
}

#[test]
fn how_routes_are_shown() {
    let mut m = Machine::new();
    m.all(&office());
    m.learn(EN1, "203.0.113.254", 7);
    let line = |r: &crate::model::view::RouteView| {
        let gateway = r.gateway.map(|g| g.to_string()).unwrap_or_default();
        let interface = r.interface.clone().unwrap_or_default();
        format!("{} {} {} {} {}", r.to, gateway, r.flags, interface, r.origin)
    };
    let shown: Vec<String> = m.net.routes(false).iter().map(line).collect();
    assert_eq!(
        shown,
        [
            "0.0.0.0/0 203.0.113.254 UGS en1 static",
            "10.0.0.0/8  UC en0 connected",
            "10.0.0.25/32  UH gre0 tunnel",
            "203.0.113.0/24  UC en1 connected",
        ]
    );
    let all: Vec<String> = m.net.routes(true).iter().map(line).collect();
    for line in [
        "10.0.0.1/32  UHl en0 local",
        "10.255.255.255/32  UHb en0 broadcast",
        "203.0.113.254/32  UH en1 neighbour",
    ] {
        assert!(all.contains(&line.to_owned()), "{line} not in {all:#?}");
    }
    assert_eq!(line(&m.net.lookup_route(ip("8.8.8.8")).unwrap()), shown[0]);
    assert!(m.net.get_route(net("10.0.0.0/9")).is_none());
}

#[test]
fn sources_and_broadcasts() {
    let mut m = Machine::new();
    m.all(&office());
    m.ok(alias("en0", "172.16.0.1/16"));
    assert_eq!(m.net.source(EN0, ip("172.16.3.3")), Some(ip("172.16.0.1")));
    assert_eq!(m.net.source(EN0, ip("8.8.8.8")), Some(ip("10.1")));
    assert_eq!(m.net.source(m.id("gre0"), ip("8.8.8.8")), Some(ip("10.1")));
    assert_eq!(m.net.source(IfId(99), ip("8.8.8.8")), None);
    for broadcast in
        ["10.255.255.255", "10.0.0.0", "172.16.255.255", "255.255.255.255", "224.0.0.5"]
    {
        assert!(m.net.is_broadcast(ip(broadcast)), "{broadcast}");
    }
    assert!(!m.net.is_broadcast(ip("10.9")));
    assert!(m.net.owns(ip("172.16.0.1")) && !m.net.owns(ip("172.16.0.2")));
    assert!(m.net.on_link(EN0, ip("172.16.9.9")) && !m.net.on_link(EN1, ip("172.16.9.9")));
}

fn near(to: &str, via: &str, interface: &str) -> RouteSpec {
    let RouteTarget::Via(IpAddr::V6(via)) = via_of(via) else { panic!("{via}") };
    let interface = interface.into();
    RouteSpec { to: net(to), target: RouteTarget::Near { via, interface } }
}

fn via_of(gateway: &str) -> RouteTarget {
    RouteTarget::Via(ip(gateway))
}

#[test]
fn a_link_local_gateway_is_a_neighbour_on_its_link_and_on_no_other() {
    let mut m = Machine::new();
    m.all(&[address("en0", "2001:db8::1/64"), address("en1", "2001:db8:ff::1/64")]);
    let default = near("::/0", "fe80::1", "en1");
    m.ok(Op::AddRoute { route: default.clone() });
    m.ok(Op::AddRoute { route: near("2001:db8:9::/48", "fe80::1", "en0") });
    assert_eq!(m.kind("2001:db8:7::1"), AdjacencyKind::Resolve);
    m.learn(EN1, "fe80::1", 7);
    let found = m.meets("2001:db8:7::1");
    assert_eq!((found.kind, found.out_if), (AdjacencyKind::Rewrite, EN1));
    assert_eq!(found.rewrite[..6], mac(7).0);
    assert_eq!(m.kind("2001:db8:9::1"), AdjacencyKind::Resolve, "the other link's is another");
    let view = m.net.lookup_route(ip("2001:db8:7::1")).unwrap();
    assert_eq!((view.gateway, view.interface.as_deref()), (Some(ip("fe80::1")), Some("en1")));
    // With the link, and as configured, it comes and goes.
    m.ok(set("en1", |f| f.up = Some(false)));
    assert_eq!(m.kind("2001:db8:7::1"), AdjacencyKind::Unreachable);
    m.ok(set("en1", |f| f.up = Some(true)));
    assert_eq!(m.kind("2001:db8:7::1"), AdjacencyKind::Resolve, "forgotten with the link");
    let state = m.net.state();
    assert_eq!(state.routes[0], default);
    assert_eq!(Machine::from_state(&state, &[]).net.state(), state);
    m.ok(create("en0.20"));
    m.ok(Op::PutRoute { route: near("2001:db8:9::/48", "fe80::1", "en0.20") });
    let gone = m.ok(destroy("en0.20"));
    assert!(gone.notes.iter().any(|note| note.contains("2001:db8:9::/48")), "{gone:?}");
    assert_eq!(m.net.state().routes, [default]);
}

#[test]
fn a_link_local_gateway_needs_a_link_and_a_link_local_address() {
    let mut m = Machine::new();
    m.all(&office());
    for (to, via, interface, words) in [
        ("::/0", "fe80::1", "en9", "no interface `en9`"),
        ("::/0", "fe80::1", "gre0", "gre0 is a tunnel"),
        ("::/0", "2001:db8::1", "en0", "not link-local"),
        ("0.0.0.0/0", "fe80::1", "en0", "another family"),
    ] {
        m.refused(Op::PutRoute { route: near(to, via, interface) }, &[words]);
    }
    let alone = RouteSpec { to: net("::/0"), target: via_of("fe80::1") };
    m.refused(Op::PutRoute { route: alone }, &["fe80::1"]);
}
