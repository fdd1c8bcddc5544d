//! The note's commands: rows T1–T3, T8–T10 and T13–T17.

use super::*;
use crate::control::topology::{Topology, Way};
use crate::ids::TableId;
use crate::tables::tunnel::DecapKey;

const GRE: [u8; 4] = [0, 0, 8, 0];

fn pairs(name: &str, machine: &Machine) -> Option<(String, String)> {
    let address = machine.view(name).addresses.first().copied_pair()?;
    Some((address.0.to_string(), address.1.to_string()))
}

trait CopiedPair {
    fn copied_pair(self) -> Option<(IpAddr, IpAddr)>;
}

impl CopiedPair for Option<&crate::model::view::AddressView> {
    fn copied_pair(self) -> Option<(IpAddr, IpAddr)> {
        self.and_then(|view| Some((view.address, view.peer?)))
    }
}

/// The tunnel an outer header belongs to, if it is up.
fn received(machine: &Machine, from: &str, to: &str, protocol: u8) -> Option<IfId> {
    let guard = machine.tables.pin();
    let key = DecapKey::ipv4(TableId(0), ip4(from).into(), ip4(to).into(), protocol, None);
    let index = machine.tables.decap.get(key, &guard)?;
    let tunnel = machine.tables.tunnels.get(index as usize, &guard);
    assert_eq!(tunnel.remote, u32::from(ip4(from)));
    tunnel.up.then_some(tunnel.interface)
}

#[test]
fn t1_create_number_twice_destroy() {
    let mut m = Machine::new();
    assert_eq!(m.ok(create("gre0")).created, ["gre0"]);
    assert!(!m.view("gre0").flags.contains(&"UP".to_owned()));
    assert_eq!(m.ok(create("gre")).created, ["gre1"]);
    assert_eq!(m.ok(create("ipip")).created, ["ipip0"]);
    m.refused(create("gre0"), &["gre0", "exists already"]);
    m.ok(destroy("gre0"));
    assert_eq!(m.ok(create("gre")).created, ["gre0"], "the next free number is the smallest");
    m.all(&[
        address("en0", "10.25"),
        pair("gre0", "12.1", "12.2"),
        endpoints("gre0", "10.25", "10.163"),
    ]);
    m.all(&[add("13.0.0.0/8", "12.2"), through("14.0.0.0/8", "gre0")]);
    assert_eq!(m.meets("13.1.1.1").out_if, m.id("gre0"));
    let outcome = m.ok(destroy("gre0"));
    assert_eq!(outcome.notes.len(), 2, "{outcome:?}");
    for to in ["12.0.0.1", "12.0.0.2", "13.1.1.1", "14.1.1.1"] {
        assert_eq!(m.kind(to), AdjacencyKind::NoRoute, "{to}");
    }
    assert_eq!(received(&m, "10.163", "10.25", 47), None);
    assert_eq!(m.refused(destroy("gre0"), &["gre0"]), ErrorCode::NotFound);
    m.refused(destroy("en0"), &["en0", "port"]);
}

#[test]
fn t2_pair_host_route_link1() {
    let mut m = Machine::new();
    m.all(&[create("gre0"), pair("gre0", "12.1", "12.2"), link1("gre0")]);
    assert_eq!(pairs("gre0", &m), Some(("12.0.0.1".into(), "12.0.0.2".into())));
    let flags = m.view("gre0").flags;
    assert_eq!(flags, ["UP", "POINTOPOINT", "LINK0", "LINK1", "MULTICAST"]);
    let route = m.net.get_route(net("12.0.0.2/32")).unwrap();
    assert_eq!((route.interface.as_deref(), route.origin.as_str()), (Some("gre0"), "tunnel"));
    assert_eq!(m.kind("12.0.0.1"), AdjacencyKind::Local);
}

#[test]
fn t3_tunnel_deletetunnel_again() {
    let mut m = Machine::new();
    m.all(&[address("en0", "10.25"), create("gre0"), pair("gre0", "12.1", "12.2")]);
    m.ok(endpoints("gre0", "10.25", "10.163"));
    m.learn(EN0, "10.163", 3);
    m.learn(EN0, "10.164", 4);
    let gre0 = m.id("gre0");
    assert_eq!(outer(&m.meets("12.2")).destination, ip("10.163"));
    assert_eq!(received(&m, "10.163", "10.25", 47), Some(gre0));
    m.ok(endpoints("gre0", "10.25", "10.164"));
    assert_eq!(outer(&m.meets("12.2")).destination, ip("10.164"));
    assert_eq!(outer(&m.meets("12.2")).to, mac(4).0);
    assert_eq!(received(&m, "10.163", "10.25", 47), None);
    assert_eq!(received(&m, "10.164", "10.25", 47), Some(gre0));
    m.ok(Op::ClearEndpoints { name: "gre0".into() });
    assert_eq!(m.kind("12.2"), AdjacencyKind::Unreachable);
    assert_eq!(received(&m, "10.164", "10.25", 47), None);
    assert!(!m.running("gre0"));
    assert_eq!(m.reason("gre0"), "it has no tunnel addresses");
}

#[test]
fn t5_what_is_on_the_wire() {
    let mut m = Machine::new();
    m.all(&[address("en0", "10.25"), create("gre0"), pair("gre0", "12.1", "12.2"), link1("gre0")]);
    m.ok(endpoints("gre0", "10.25", "10.163"));
    assert!(m.running("gre0"), "running before the neighbour is resolved");
    assert_eq!(m.kind("12.2"), AdjacencyKind::Resolve);
    assert_eq!(
        m.net.way(ip("12.2")),
        Way::Tunnel { tunnel: m.id("gre0"), underlay: Some((EN0, ip("10.163"))) }
    );
    m.learn(EN0, "10.163", 9);
    let adjacency = m.meets("12.2");
    assert_eq!((adjacency.mtu, adjacency.underlay_mtu, adjacency.underlay_if), (1476, 1500, EN0));
    let expected = Outer {
        to: mac(9).0,
        from: [2, 0, 0, 0, 0, 0],
        source: ip("10.25"),
        destination: ip("10.163"),
        protocol: 47,
        ttl: 64,
        dont_fragment: true,
        shim: GRE.to_vec(),
    };
    assert_eq!(outer(&adjacency), expected);
    m.net.neighbour_lost(EN0, ip("10.163"), true);
    assert_eq!(m.kind("12.2"), AdjacencyKind::Unreachable);
    assert_eq!(m.kind("10.163"), AdjacencyKind::Unreachable);
    m.net.neighbour_lost(EN0, ip("10.163"), false);
    assert_eq!(m.kind("12.2"), AdjacencyKind::Resolve);
    assert_eq!(m.kind("10.163"), AdjacencyKind::Resolve);
}

#[test]
fn t8_all_of_network_10_through_the_tunnel() {
    let mut m = Machine::new();
    m.all(&[
        address("en0", "198.51.100.2/24"),
        add("0.0.0.0/0", "198.51.100.254"),
        create("gre0"),
        pair("gre0", "10.25", "10.1"),
        link1("gre0"),
        endpoints("gre0", "198.51.100.2", "203.0.113.1"),
        add("10.0.0.0/8", "10.1"),
    ]);
    m.learn(EN0, "198.51.100.254", 7);
    for to in ["10.9.8.7", "10.1", "10.0.0.163"] {
        let outer = outer(&m.meets(to));
        assert_eq!((outer.source, outer.destination), (ip("198.51.100.2"), ip("203.0.113.1")));
        assert_eq!(outer.to, mac(7).0, "by the router");
    }
    assert_eq!(m.kind("10.25"), AdjacencyKind::Local);
    let route = m.net.lookup_route(ip("10.9.8.7")).unwrap();
    assert_eq!(route.interface.as_deref(), Some("gre0"));
    assert_eq!((route.gateway, route.flags.as_str()), (Some(ip("10.1")), "UGS"));
}

#[test]
fn t9_the_inner_address_is_en0s_own() {
    let mut m = Machine::new();
    m.all(&office());
    assert!(m.running("gre0"), "{}", m.reason("gre0"));
    assert_eq!(m.kind("10.1"), AdjacencyKind::Local);
    m.learn(EN1, "203.0.113.254", 7);
    let outer = outer(&m.meets("10.25"));
    assert_eq!((outer.source, outer.destination), (ip("203.0.113.1"), ip("198.51.100.2")));
    assert_eq!(m.kind("10.0.0.163"), AdjacencyKind::Resolve, "the rest of the LAN stays");
    // Either of the two can go; the address stays ours as long as one has it.
    m.ok(unaddress("gre0", "10.1"));
    assert_eq!(m.kind("10.1"), AdjacencyKind::Local);
    m.ok(pair("gre0", "10.1", "10.25"));
    m.ok(unaddress("en0", "10.1"));
    assert_eq!(m.kind("10.1"), AdjacencyKind::Local);
    m.all(&[destroy("gre0"), delete("0.0.0.0/0")]);
    assert_eq!(m.kind("10.1"), AdjacencyKind::NoRoute);
}

#[test]
fn t10_published_before_the_tunnel_is_there() {
    let mut m = Machine::new();
    m.all(&office()[..3]);
    let (outcome, events) = m.try_all(&[publish("10.25")]).unwrap();
    assert!(outcome.notes[0].contains("silent"), "{outcome:?}");
    let mac = Mac([2, 0, 0, 0, 0, 0]);
    assert_eq!(events[0], Event::Published { link: EN0, address: ip("10.25"), mac });
    assert_eq!(m.net.way(ip("10.25")), Way::Neighbour { link: EN0, address: ip("10.25") });
    m.all(&office()[3..]);
    assert!(matches!(m.net.way(ip("10.25")), Way::Tunnel { underlay: Some(_), .. }));
    // The far end never leaks to the LAN, whatever the tunnel is doing.
    m.ok(delete("0.0.0.0/0"));
    let tunnel = m.id("gre0");
    assert_eq!(m.net.way(ip("10.25")), Way::Tunnel { tunnel, underlay: None });
    assert_eq!(m.kind("10.25"), AdjacencyKind::Unreachable);
    let outcome = m.ok(Op::DeleteArp { address: ip("10.25") });
    assert_eq!(outcome.notes, [""; 0]);
    assert_eq!(
        m.refused(Op::DeleteArp { address: ip("10.25") }, &["10.0.0.25"]),
        ErrorCode::NotFound
    );
}

#[test]
fn t13_the_toggled_address_only_selects_the_route() {
    // The adjacent pair: .25's toggled address is our own .24.
    let mut m = Machine::new();
    m.all(&[address("en0", "10.0.0.24/8"), create("gre0"), pair("gre0", "12.1", "12.2")]);
    m.ok(endpoints("gre0", "10.24", "10.25"));
    assert_eq!(m.below("gre0"), Some(("en0".into(), "10.0.0.25".into())));
    // A /31, and a toggled address that is the subnet's broadcast address.
    let mut m = Machine::new();
    m.all(&[address("en0", "10.0.0.24/31"), create("gre0"), pair("gre0", "12.1", "12.2")]);
    m.ok(endpoints("gre0", "10.24", "10.25"));
    assert_eq!(m.below("gre0"), Some(("en0".into(), "10.0.0.25".into())));
    let mut m = Machine::new();
    m.all(&[address("en0", "10.0.0.1/24"), create("gre0"), pair("gre0", "12.1", "12.2")]);
    m.ok(endpoints("gre0", "10.1", "10.0.0.254"));
    assert_eq!(m.below("gre0"), Some(("en0".into(), "10.0.0.254".into())));
    // A host route for the toggled address is how BSD is told another way.
    m.ok(add("10.0.0.255/32", "10.9"));
    assert!(m.running("gre0"));
    // Two tunnels to neighbouring hosts do not lead through each other.
    let mut m = Machine::new();
    m.all(&[address("en0", "10.1"), add("0.0.0.0/0", "10.3")]);
    m.all(&[create("ipip0"), create("ipip1")]);
    m.all(&[pair("ipip0", "11.1", "11.6"), pair("ipip1", "11.1", "11.7")]);
    for name in ["ipip0", "ipip1"] {
        assert_eq!(m.below(name), Some(("en0".into(), "10.0.0.3".into())), "{name}");
    }
}

#[test]
fn t14_through_itself_is_not_running() {
    let mut m = Machine::new();
    m.all(&office());
    m.learn(EN1, "203.0.113.254", 7);
    let outcome = m.ok(add("198.51.100.2/32", "10.0.0.25"));
    assert!(
        outcome.notes.iter().any(|note| note.contains("leads through gre0 itself")),
        "{outcome:?}"
    );
    assert!(!m.running("gre0"));
    assert_eq!(m.reason("gre0"), "the route to 198.51.100.2 leads through gre0 itself");
    assert_eq!(m.kind("10.25"), AdjacencyKind::Unreachable);
    assert_eq!(m.kind("198.51.100.2"), AdjacencyKind::Unreachable);
    m.ok(delete("198.51.100.2/32"));
    assert!(m.running("gre0"));
    assert_eq!(m.kind("10.25"), AdjacencyKind::Tunnel);
    // By interface, and by a chain of gateways.
    m.ok(through("198.51.100.0/24", "gre0"));
    assert!(m.reason("gre0").contains("itself"));
    m.ok(delete("198.51.100.0/24"));
    m.all(&[add("44.0.0.0/8", "10.25"), add("198.51.100.0/24", "44.1.1.1")]);
    assert!(m.reason("gre0").contains("itself"), "{}", m.reason("gre0"));
    m.ok(delete("44.0.0.0/8"));
    assert!(m.reason("gre0").contains("does not resolve"), "{}", m.reason("gre0"));
    // With link1 clear the tunnel's own routes are passed by.
    m.all(&[add("44.0.0.0/8", "10.25"), set("gre0", |f| f.link1 = Some(false))]);
    assert_eq!(m.below("gre0"), Some(("en1".into(), "203.0.113.254".into())));
}

#[test]
fn t14_another_tunnel_below_is_not_supported_yet() {
    let mut m = Machine::new();
    m.all(&office());
    m.all(&[
        create("gre1"),
        pair("gre1", "12.1", "12.2"),
        endpoints("gre1", "10.1", "77.7"),
        link1("gre1"),
    ]);
    m.ok(through("77.0.0.0/8", "gre0"));
    assert!(m.reason("gre1").contains("tunnels in tunnels are not supported yet"));
    // And in a ring: neither loops.
    m.ok(through("198.51.100.0/24", "gre1"));
    assert!(m.reason("gre0").contains("gre1"), "{}", m.reason("gre0"));
    assert!(m.reason("gre1").contains("gre0"));
}

#[test]
fn t15_follows_routes_neighbours_and_links() {
    let mut m = Machine::new();
    m.all(&office());
    m.learn(EN1, "203.0.113.254", 7);
    m.learn(EN1, "203.0.113.253", 8);
    m.ok(change("0.0.0.0/0", "203.0.113.253"));
    assert_eq!(outer(&m.meets("10.25")).to, mac(8).0);
    let outcome = m.ok(delete("0.0.0.0/0"));
    assert!(
        outcome.notes[0].contains("gre0 is not running any more: there is no route"),
        "{outcome:?}"
    );
    assert_eq!(m.kind("10.25"), AdjacencyKind::Unreachable);
    m.ok(add("0.0.0.0/0", "203.0.113.254"));
    assert_eq!(outer(&m.meets("10.25")).to, mac(7).0);
    m.learn(EN1, "203.0.113.254", 17);
    assert_eq!(outer(&m.meets("10.25")).to, mac(17).0, "a router with a new MAC");
    m.ok(add("198.51.100.0/24", "10.9"));
    assert_eq!(m.below("gre0"), Some(("en0".into(), "10.0.0.9".into())));
    m.ok(delete("198.51.100.0/24"));
    m.ok(set("en1", |f| f.up = Some(false)));
    assert!(!m.running("gre0"));
    m.ok(set("en1", |f| f.up = Some(true)));
    assert!(m.running("gre0"));
    assert_eq!(
        m.kind("10.25"),
        AdjacencyKind::Resolve,
        "neighbours of a link that was down are forgotten"
    );
    m.ok(unaddress("en1", "203.0.113.1"));
    assert!(m.reason("gre0").contains("203.0.113.1 is not one of our addresses"));
}

#[test]
fn t16_t17_ipip_has_one_pair() {
    let mut m = Machine::new();
    m.all(&[address("en0", "10.1"), add("0.0.0.0/0", "10.3"), create("ipip0")]);
    m.ok(pair("ipip0", "11.1", "11.2"));
    m.refused(endpoints("ipip0", "10.1", "10.2"), &["ipip0 takes no tunnel addresses"]);
    m.refused(link1("ipip0"), &["ipip0", "link1"]);
    m.learn(EN0, "10.3", 3);
    m.learn(EN0, "10.2", 2);
    let on_wire = |m: &Machine| outer(&m.meets("11.2"));
    let packet = on_wire(&m);
    assert_eq!((packet.source, packet.destination), (ip("11.1"), ip("11.2")));
    assert_eq!((packet.protocol, packet.to), (4, mac(3).0));
    assert_eq!(packet.shim, [0; 0], "no GRE header");
    assert_eq!(m.meets("11.2").mtu, 1480);
    assert_eq!(received(&m, "11.2", "11.1", 4), Some(m.id("ipip0")));
    // T17, changed live.
    m.ok(add("11.0.0.0/8", "10.2"));
    assert_eq!(on_wire(&m).to, mac(2).0);
    m.ok(delete("11.0.0.0/8"));
    assert_eq!(on_wire(&m).to, mac(3).0);
}

#[test]
fn the_order_of_the_notes_commands_does_not_matter() {
    let ops = [
        address("en0", "10.1"),
        address("en1", "203.0.113.1/24"),
        // Not the default route: writing that 720 times takes minutes.
        add("198.51.100.0/24", "203.0.113.254"),
        pair("gre0", "10.1", "10.25"),
        endpoints("gre0", "203.0.113.1", "198.51.100.2"),
        link1("gre0"),
    ];
    let mut first = None;
    for order in permutations(ops.len()) {
        let mut m = Machine::new();
        m.ok(create("gre0"));
        order.iter().for_each(|at| _ = m.ok(ops[*at].clone()));
        assert!(m.running("gre0"), "{order:?}: {}", m.reason("gre0"));
        m.learn(EN1, "203.0.113.254", 7);
        let seen = (m.net.state(), m.net.routes(true), outer(&m.meets("10.25")));
        match &first {
            None => first = Some(seen),
            Some(first) => assert_eq!(*first, seen, "{order:?}"),
        }
    }
}

fn permutations(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let shorter = permutations(n - 1);
    let put = |order: &Vec<usize>, at: usize| {
        let mut order = order.clone();
        order.insert(at, n - 1);
        order
    };
    shorter.iter().flat_map(|order| (0..n).map(move |at| put(order, at))).collect()
}
