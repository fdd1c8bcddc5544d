//! Far ends that move: learned by the key of a packet, or found by a name.

use super::*;
use crate::control::far_ends::InUse;
use crate::control::topology::Topology;
use crate::control::tunnel_errors::{QuotedKey, Sent};
use crate::ids::TableId;
use crate::tables::tunnel::{Received, Tunnel};

const KEY: u32 = 7;

fn key(name: &str, key: Option<u32>) -> Op {
    Op::SetGre {
        name: name.into(),
        checksum: None,
        key: Some(GreKeys { inward: key, outward: key }),
        sequence: None,
        sequence_resync: None,
    }
}

fn outer(name: &str, remote: Option<&str>) -> Op {
    let remote = remote.map(|remote| remote.to_owned().try_into().unwrap());
    Op::SetEndpoints { name: name.into(), local: ip("203.0.113.1"), remote }
}

fn learn(name: &str, learn: bool) -> Op {
    set(name, |change| change.learn = Some(learn))
}

fn found(name: &str, at: &str) -> Op {
    Op::Found { name: name.into(), at: ip(at), inner: None }
}

/// The tunnel that packets from here with the key belong to; from 0.0.0.0: one
/// that anybody may move.
fn of(m: &Machine, source: &str) -> Option<IfId> {
    let (source, destination) = (ip(source), ip("203.0.113.1"));
    let (table, protocol, key, port) = (TableId(0), 47, Some(KEY), 0);
    let this = Received { table, source, destination, protocol, key, port };
    m.tables.decap.get(m.tables.decap.key_of(&this), &m.tables.pin()).map(IfId)
}

/// gre0 with a key, that learns.
fn machine(remote: Option<&str>) -> Machine {
    let mut m = Machine::new();
    m.all(&[address("en0", "10.1"), address("en1", "203.0.113.1/24")]);
    m.all(&[add("0.0.0.0/0", "203.0.113.254"), create("gre0"), pair("gre0", "12.1", "12.2")]);
    m.learn(EN1, "203.0.113.254", 7);
    let learns = [outer("gre0", remote), key("gre0", Some(KEY)), learn("gre0", true)];
    m.try_all(&learns).unwrap();
    m
}

fn destination(m: &Machine) -> IpAddr {
    super::outer(&m.meets("12.2")).destination
}

fn slot(m: &Machine) -> Tunnel {
    *m.tables.tunnels.get(m.id("gre0").index(), &m.tables.pin())
}

fn far(m: &Machine) -> (Option<IpAddr>, bool) {
    let view = m.view("gre0").tunnel.unwrap();
    (view.remote, view.far.unwrap().found)
}

#[test]
fn a_tunnel_that_learns_runs_when_it_knows_and_follows() {
    let mut m = machine(None);
    let id = m.id("gre0");
    assert_eq!((of(&m, "0.0.0.0"), m.net.far_end(id)), (Some(id), None));
    assert_eq!(m.kind("12.2"), AdjacencyKind::Unreachable);
    let reason = m.view("gre0").tunnel.unwrap().reason.unwrap();
    assert!(reason.contains("nobody has sent it a packet"), "{reason}");
    assert!(slot(&m).up, "or it would take no packet to learn from");
    for at in ["192.0.2.7", "192.0.2.8"] {
        m.ok(found("gre0", at));
        assert_eq!((destination(&m), far(&m)), (ip(at), (Some(ip(at)), true)));
        assert_eq!((of(&m, at), of(&m, "0.0.0.0")), (Some(id), Some(id)));
        assert_eq!(slot(&m).remote, u32::from(ip4(at)));
    }
    assert_eq!(of(&m, "192.0.2.7"), None, "what left is not the tunnel's any more");
    let told = Sent {
        source: ip("203.0.113.1"),
        destination: ip("192.0.2.8"),
        protocol: Some(47),
        key: QuotedKey::Is(Some(KEY)),
        port: 0,
    };
    assert_eq!(m.net.sending(&told), [id], "ICMP errors from there are about it");
    assert_eq!(m.net.state().tunnels[0].remote, None, "what is found is not configured");
}

#[test]
fn another_configuration_of_the_outer_pair_forgets_what_was_learned() {
    let mut m = machine(Some("192.0.2.1"));
    let id = m.id("gre0");
    let moved = |m: &mut Machine| {
        m.ok(found("gre0", "192.0.2.7"));
        m.net.set_soft(id, |soft| soft.path_mtu = Some(1400));
        assert_eq!((destination(m), far(m).1), (ip("192.0.2.7"), true));
    };
    moved(&mut m);
    m.ok(found("gre0", "192.0.2.8"));
    assert_eq!(m.net.soft(id), Soft::default(), "another path");
    m.ok(set("gre0", |change| change.ttl = Some(9)));
    assert_eq!(far(&m), (Some(ip("192.0.2.8")), true), "not of the outer pair");
    // A file that says something else of the tunnel, and one that says the same.
    let mut spec = m.net.state().tunnels[0].clone();
    assert_eq!((spec.remote.clone(), spec.learn), (Some(ip("192.0.2.1").into()), true));
    spec.ttl = 8;
    m.ok(Op::PutTunnel { tunnel: spec.clone().into() });
    assert_eq!(far(&m), (Some(ip("192.0.2.8")), true));
    spec.remote = Some(ip("192.0.2.2").into());
    m.ok(Op::PutTunnel { tunnel: spec.into() });
    assert_eq!((destination(&m), far(&m)), (ip("192.0.2.2"), (Some(ip("192.0.2.2")), false)));
    moved(&mut m);
    m.ok(outer("gre0", Some("192.0.2.1")));
    assert_eq!(far(&m), (Some(ip("192.0.2.1")), false));
    moved(&mut m);
    m.ok(learn("gre0", false));
    assert_eq!((destination(&m), of(&m, "0.0.0.0")), (ip("192.0.2.1"), None));
    m.refused(found("gre0", "192.0.2.7"), &["does not look for its far end"]);
}

#[test]
fn what_is_configured_comes_before_what_was_found() {
    let mut m = machine(None);
    m.ok(found("gre0", "192.0.2.7"));
    m.all(&[create("gre1"), pair("gre1", "13.1", "13.2"), key("gre1", Some(KEY))]);
    m.ok(outer("gre1", Some("192.0.2.7")));
    let (gre0, gre1) = (m.id("gre0"), m.id("gre1"));
    assert_eq!((of(&m, "192.0.2.7"), of(&m, "0.0.0.0")), (Some(gre1), Some(gre0)));
    assert_eq!(far(&m), (None, false));
    m.refused(found("gre0", "192.0.2.7"), &["duplicate tunnel"]);
    assert_eq!(of(&m, "192.0.2.7"), Some(gre1));
    // An address that becomes ours is no matter of where somebody was found.
    m.ok(found("gre0", "192.0.2.9"));
    m.ok(alias("en1", "192.0.2.9/32"));
    assert_eq!(m.kind("12.2"), AdjacencyKind::Unreachable);
    for own in ["203.0.113.1", "10.1", "203.0.113.255", "224.0.0.5", "fd00::1"] {
        m.refused(found("gre0", own), &[&own.replace("10.1", "10.0.0.1")]);
    }
}

#[test]
fn liveness_follows_the_far_end() {
    let mut m = machine(None);
    let watch = |events: &[Event]| {
        events.iter().find_map(|event| match event {
            Event::Watched { watch, .. } => Some(watch.clone()?.keepalive?.1.remote.to_string()),
            _ => None,
        })
    };
    m.ok(Op::SetKeepalive { name: "gre0".into(), keepalive: Some(Timing::default()) });
    let (_, events) = m.net.transact(&[found("gre0", "192.0.2.7").into()], &|_| false).unwrap();
    assert_eq!(watch(&events).as_deref(), Some("192.0.2.7"));
}

#[test]
fn learning_takes_a_key_and_has_one_tunnel_for_each() {
    let mut m = machine(None);
    m.refused(key("gre0", None), &["gre0", "expected a key"]);
    m.refused(outer("gre0", Some("far.example.net")), &["far.example.net", "not both"]);
    m.refused(set("en0", |change| change.learn = Some(true)), &["en0", "learn"]);
    m.refused(set("gre0", |change| change.resolve_interval = Some(1)), &["5 to 3600"]);
    m.all(&[create("ipip0"), pair("ipip0", "203.0.113.1", "198.51.100.9")]);
    m.refused(learn("ipip0", true), &["ipip0", "only GRE packets have a key"]);
    m.all(&[create("gre1"), pair("gre1", "13.1", "13.2"), outer("gre1", Some("192.0.2.3"))]);
    m.refused(outer("gre1", None), &["remote", "one without the other"]);
    m.ok(key("gre1", Some(KEY)));
    m.refused(learn("gre1", true), &["gre0 and gre1", "203.0.113.1", "another key"]);
    m.all(&[key("gre1", Some(8)), learn("gre1", true)]);
    let op = |json: &str| serde_json::from_str::<crate::model::op::Op>(json);
    assert!(op(r#"{"op":"found","name":"gre0","at":"192.0.2.7"}"#).is_err(), "control's own");
}

#[test]
fn a_name_is_configured_and_an_address_in_use() {
    let mut m = machine(Some("192.0.2.1"));
    m.try_all(&[learn("gre0", false), outer("gre0", Some("far.example.net"))]).unwrap();
    let reason = m.view("gre0").tunnel.unwrap().reason.unwrap();
    assert!(reason.contains("far.example.net is not known yet"), "{reason}");
    assert_eq!((of(&m, "192.0.2.1"), of(&m, "0.0.0.0")), (None, None));
    m.ok(found("gre0", "192.0.2.7"));
    assert_eq!((destination(&m), far(&m)), (ip("192.0.2.7"), (Some(ip("192.0.2.7")), true)));
    m.refused(found("gre0", "fd00::7"), &["two families"]);
    let state = m.net.state();
    assert_eq!(state.tunnels[0].remote.as_ref().unwrap().to_string(), "far.example.net");
    let again = Machine::from_state(&state, &[(EN1, ip("203.0.113.254"), Some(mac(7)))]);
    assert_eq!(again.kind("12.2"), AdjacencyKind::Unreachable);
}
