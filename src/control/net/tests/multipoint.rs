//! Multipoint GRE: parts come and go with their whole, and each is a tunnel.

use super::*;
use crate::control::topology::Topology;
use crate::ids::TableId;
use crate::tables::tunnel::Received;

/// A multipoint tunnel from en1 with these far ends.
fn put(ends: &[(&str, &str)]) -> Op {
    let nbma = ends.iter().map(|(inner, outer)| (ip(inner), ip(outer))).collect();
    let tunnel = TunnelSpec {
        local: Some(ip("203.0.113.1")),
        address: Some(ip4("12.1")),
        inet6: vec!["fd00:12::1/64".parse().unwrap()],
        nbma,
        ..bare("gre0")
    };
    Op::PutTunnel { tunnel: Box::new(tunnel) }
}

fn machine(ends: &[(&str, &str)]) -> Machine {
    let mut m = Machine::new();
    m.all(&[address("en0", "10.1"), address("en1", "203.0.113.1/24")]);
    m.all(&[add("0.0.0.0/0", "203.0.113.254"), put(ends)]);
    m.learn(EN1, "203.0.113.254", 7);
    m
}

const ENDS: [(&str, &str); 3] =
    [("12.2", "192.0.2.7"), ("fd00:12::2", "192.0.2.7"), ("12.3", "192.0.2.8")];

fn found(m: &Machine, source: &str) -> Option<IfId> {
    let (source, destination) = (ip(source), ip("203.0.113.1"));
    let this =
        Received { table: TableId(0), source, destination, protocol: 47, key: None, port: 0 };
    m.tables.decap.get(m.tables.decap.key_of(&this), &m.tables.pin()).map(IfId)
}

#[test]
fn each_outer_address_is_a_tunnel_and_inner_ones_lead_to_it() {
    let mut m = machine(&ENDS);
    for (inner, outer) in ENDS {
        let part = m.id(&format!("gre0:{outer}"));
        let adjacency = m.meets(inner);
        assert_eq!((adjacency.kind, adjacency.out_if), (AdjacencyKind::Tunnel, part), "{inner}");
        assert_eq!(found(&m, outer), Some(part));
        assert_eq!(Ipv4Addr::from(outer_destination(&adjacency)), ip(outer));
        // Errors that leave by a part come from the whole's address.
        let own = if ip(inner).is_ipv4() { ip("12.1") } else { ip("fd00:12::1") };
        assert_eq!(m.net.source(part, ip(inner)), Some(own));
    }
    assert_eq!(m.kind("12.1"), AdjacencyKind::Local);
    assert_eq!(found(&m, "192.0.2.9"), None);
    // Routes by a far end go its way; those into the whole go nowhere.
    m.ok(add("50.0.0.0/8", "12.3"));
    assert_eq!(m.meets("50.1").out_if, m.id("gre0:192.0.2.8"));
    m.ok(through("51.0.0.0/8", "gre0"));
    assert_eq!(m.kind("51.1"), AdjacencyKind::Unreachable);
    assert_eq!(m.kind("fd00:12::9"), AdjacencyKind::Unreachable);
    assert!(m.view("gre0").flags.contains(&"RUNNING".to_owned()));
}

fn outer_destination(adjacency: &Adjacency) -> [u8; 4] {
    let at = usize::from(adjacency.l2_len) + 16;
    adjacency.rewrite()[at..at + 4].try_into().unwrap()
}

#[test]
fn far_ends_come_and_go_and_the_state_reproduces_itself() {
    let mut m = machine(&ENDS);
    m.ok(add("50.0.0.0/8", "12.3"));
    let before = m.net.state();
    let kept = m.id("gre0:192.0.2.7");
    m.ok(put(&[("12.2", "192.0.2.7"), ("12.4", "192.0.2.9")]));
    assert_eq!((m.id("gre0:192.0.2.7"), found(&m, "192.0.2.8")), (kept, None));
    assert_eq!(m.kind("50.1"), AdjacencyKind::Unreachable);
    assert_eq!(m.meets("12.4").out_if, m.id("gre0:192.0.2.9"));
    let ops = m.net.difference(&before).expect("nothing that only a start can change");
    m.net.transact(&ops, &|_| false).expect("goes through");
    assert_eq!(m.net.state(), before);
    assert_eq!(m.meets("50.1").out_if, m.id("gre0:192.0.2.8"));
    // With the whole, all that pointed at it.
    m.ok(destroy("gre0"));
    assert_eq!((found(&m, "192.0.2.7"), found(&m, "192.0.2.8")), (None, None));
    assert_eq!(m.net.state().routes.len(), 1);
    assert_eq!(m.kind("12.2"), AdjacencyKind::Rewrite, "by the default route");
}

#[test]
fn a_part_is_nobodys_to_change_and_what_cannot_be_is_refused() {
    let mut m = machine(&ENDS);
    let state = m.net.state();
    m.refused(destroy("gre0:192.0.2.7"), &["a part of gre0"]);
    m.refused(create("gre1:192.0.2.7"), &["cannot be created"]);
    m.refused(set("gre0:192.0.2.7", |f| f.ttl = Some(3)), &["a part of gre0"]);
    m.refused(through("51.0.0.0/8", "gre0:192.0.2.7"), &["a part of gre0"]);
    m.refused(pair("gre0", "12.1", "12.9"), &["gre0 has several far ends"]);
    m.refused(endpoints("gre0", "203.0.113.1", "192.0.2.9"), &["gre0 has several far ends"]);
    let other = |change: &dyn Fn(&mut TunnelSpec)| {
        let mut tunnel = m.net.state().tunnels[0].clone();
        change(&mut tunnel);
        Op::PutTunnel { tunnel: Box::new(tunnel) }
    };
    let cases: Vec<(Op, &[&str])> = vec![
        (other(&|t| t.remote = Some(ip("192.0.2.9").into())), &["no `remote`"]),
        (other(&|t| t.peer = Some(ip4("12.9"))), &["no `peer`"]),
        (other(&|t| t.local = None), &["expected `local`"]),
        (other(&|t| t.link0 = false), &["GRE headers"]),
        (other(&|t| _ = t.nbma.insert(ip("12.9"), ip("fd00::9"))), &["two families"]),
        (other(&|t| _ = t.nbma.insert(ip("12.9"), ip("203.0.113.1"))), &["itself"]),
        (other(&|t| _ = t.nbma.insert(ip("12.1"), ip("192.0.2.9"))), &["12.0.0.1", "own address"]),
        (
            other(&|t| (t.name, t.address) = ("gre1".into(), Some(ip4("12.5")))),
            &["gre0:192.0.2.7 and gre1:192.0.2.7", "duplicate tunnel"],
        ),
    ];
    for (op, words) in cases {
        m.refused(op, words);
    }
    assert_eq!(m.net.state(), state);
}

fn nbma(inner: &str, outer: Option<&str>) -> Op {
    Op::SetNbma { name: "gre0".into(), inner: ip(inner), outer: outer.map(ip) }
}

#[test]
fn far_ends_one_by_one_make_what_a_file_makes() {
    let mut m = Machine::new();
    m.all(&[address("en0", "10.1"), address("en1", "203.0.113.1/24")]);
    m.ok(add("0.0.0.0/0", "203.0.113.254"));
    m.learn(EN1, "203.0.113.254", 7);
    let any = |local| Op::SetEndpoints { name: "gre0".into(), local: ip(local), remote: None };
    let own = address("gre0", "12.1");
    m.ok(create("gre0"));
    m.refused(any("203.0.113.1"), &["one without the other"]);
    let begin = [any("203.0.113.1"), nbma("12.2", Some("192.0.2.7")), own.clone()];
    m.try_all(&begin).unwrap();
    m.all(&[alias("gre0", "fd00:12::1/64"), set("gre0", |f| f.link1 = Some(true))]);
    m.all(&[nbma("12.3", Some("192.0.2.9")), nbma("fd00:12::2", Some("192.0.2.7"))]);
    m.ok(nbma("12.3", Some("192.0.2.8")));
    assert_eq!(m.net.state().tunnels, machine(&ENDS).net.state().tunnels);
    assert_eq!((found(&m, "192.0.2.9"), m.meets("12.3").out_if), (None, m.id("gre0:192.0.2.8")));
    m.all(&[any("203.0.113.1"), nbma("12.3", None), nbma("12.2", None)]);
    assert_eq!(found(&m, "192.0.2.8"), None);
    m.refused(nbma("fd00:12::2", None), &["gre0", "the last"]);
    let missing = m.refused(nbma("12.9", None), &["gre0 has no far end 12.0.0.9"]);
    assert_eq!(missing, ErrorCode::NotFound);
    m.refused(nbma("12.4", Some("fd00::4")), &["two families"]);
    m.refused(nbma("224.0.0.5", Some("192.0.2.4")), &["224.0.0.5", "multicast"]);
    m.refused(pair("gre0", "12.1", "12.2"), &["several far ends"]);
    m.refused(set("gre0", |f| f.link0 = Some(false)), &["GRE headers"]);
    m.ok(unaddress("gre0", "12.1"));
    m.all(&[own, create("gre1"), pair("gre1", "13.1", "13.2")]);
    let of_pair =
        Op::SetNbma { name: "gre1".into(), inner: ip("13.3"), outer: Some(ip("192.0.2.3")) };
    m.refused(of_pair, &["gre1", "no `peer`"]);
}

#[test]
fn errors_about_a_parts_packets_are_the_parts() {
    use crate::control::tunnel_errors::{QuotedKey, Sent};
    let m = machine(&ENDS);
    let sent = Sent {
        source: ip("203.0.113.1"),
        destination: ip("192.0.2.8"),
        protocol: Some(47),
        key: QuotedKey::Is(None),
        port: 0,
    };
    let part = m.id("gre0:192.0.2.8");
    assert_eq!(m.net.sending(&sent), [part]);
    assert!(m.net.path(part).is_some_and(|path| path.trusts && path.outer_mtu == 1500));
}

const LEARNED: Option<u32> = Some(9);

/// A hub that learns far ends with inner addresses in 12/8.
fn hub() -> Machine {
    let mut m = machine(&ENDS);
    let keys = GreKeys { inward: LEARNED, outward: LEARNED };
    let key = Op::SetGre {
        name: "gre0".into(),
        checksum: None,
        key: Some(keys),
        sequence: None,
        sequence_resync: None,
    };
    let learn = set("gre0", |f| f.learn = Some(true));
    m.refused(learn.clone(), &["gre0", "expected a key"]);
    m.ok(key);
    m.refused(learn.clone(), &["gre0", "`allow`"]);
    m.try_all(&[learn, allow(&["12.0.0.0/8"])]).unwrap();
    m
}

fn allow(nets: &[&str]) -> Op {
    let allow = Some(nets.iter().map(|text| net(text)).collect());
    Op::SetDoor { name: "gre0".into(), rpf: None, allow, port: None }
}

fn told(inner: &str, at: &str) -> Op {
    Op::Found { name: "gre0".into(), at: ip(at), inner: Some(ip(inner)) }
}

fn keyed(m: &Machine, source: &str) -> Option<IfId> {
    let (table, source, destination) = (TableId(0), ip(source), ip("203.0.113.1"));
    let this = Received { table, source, destination, protocol: 47, key: LEARNED, port: 0 };
    m.tables.decap.get(m.tables.decap.key_of(&this), &m.tables.pin()).map(IfId)
}

#[test]
fn a_hub_learns_far_ends_and_what_is_configured_of_one_wins() {
    let mut m = hub();
    let whole = m.id("gre0");
    assert_eq!((keyed(&m, "0.0.0.0"), keyed(&m, "192.0.2.50")), (Some(whole), None));
    assert!(m.tables.tunnels.get(whole.index(), &m.tables.pin()).up, "or it would learn nothing");
    let before = m.net.state();
    for outer in ["192.0.2.50", "192.0.2.51"] {
        m.ok(told("12.9", outer));
        let part = m.id(&format!("gre0:{outer}"));
        assert_eq!((keyed(&m, outer), m.meets("12.9").out_if), (Some(part), part));
    }
    assert_eq!(keyed(&m, "192.0.2.50"), None, "it moved");
    m.ok(add("50.0.0.0/8", "12.9"));
    assert_eq!(m.meets("50.1").out_if, m.id("gre0:192.0.2.51"));
    assert_eq!(m.net.state().tunnels, before.tunnels, "what is learned is not configured");
    m.refused(told("12.2", "192.0.2.50"), &["gre0", "configured"]);
    m.refused(told("12.1", "192.0.2.50"), &["our own address"]);
    m.refused(told("12.10", "203.0.113.1"), &["itself"]);
    // Another tunnel is configured to be what was learned.
    m.all(&[create("gre1"), pair("gre1", "13.1", "12.9")]);
    assert_eq!((keyed(&m, "192.0.2.51"), m.meets("12.9").out_if), (None, m.id("gre1")));
    m.refused(told("12.9", "192.0.2.51"), &["12.0.0.9"]);
    m.ok(told("12.11", "192.0.2.52"));
    m.ok(nbma("12.11", Some("192.0.2.53")));
    assert_eq!(m.meets("12.11").out_if, m.id("gre0:192.0.2.53"));
    assert_eq!(keyed(&m, "192.0.2.52"), None);
}

#[test]
fn what_a_hub_learned_ends_with_silence_and_with_another_configuration() {
    let mut m = hub();
    m.all(&[told("12.9", "192.0.2.50"), told("12.10", "192.0.2.50")]);
    m.ok(Op::Gone { name: "gre0".into(), inner: ip("12.9") });
    assert_eq!(m.kind("12.9"), AdjacencyKind::Rewrite, "by the default route");
    assert_eq!(m.meets("12.10").out_if, m.id("gre0:192.0.2.50"));
    m.refused(Op::Gone { name: "gre0".into(), inner: ip("12.9") }, &["no far end 12.0.0.9"]);
    // A file that changes something else keeps it.
    let mut spec = m.net.state().tunnels[0].clone();
    spec.ttl = 9;
    m.ok(Op::PutTunnel { tunnel: spec.into() });
    assert_eq!(m.meets("12.10").out_if, m.id("gre0:192.0.2.50"));
    m.refused(allow(&[]), &["gre0", "`allow`"]);
    m.ok(set("gre0", |f| f.learn = Some(false)));
    assert_eq!((keyed(&m, "0.0.0.0"), keyed(&m, "192.0.2.50")), (None, None));
    let full = |m: &mut Machine| {
        (0..300)
            .filter(|n| {
                m.try_all(&[told(
                    &format!("12.1.{}.{}", n / 250, 1 + n % 250),
                    &format!("192.0.{}.{}", 10 + n / 250, 1 + n % 250),
                )])
                .is_ok()
            })
            .count()
    };
    m.ok(set("gre0", |f| f.learn = Some(true)));
    assert_eq!(full(&mut m), 256);
}
