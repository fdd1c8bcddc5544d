//! What reviews found: each of these failed once.

use super::*;
use crate::control::net::desired::Item;
use crate::control::net::key::Key;
use crate::control::net::reserve;
use crate::control::net::touched::Touched;
use crate::control::topology::{Topology, Way};

fn arp_d(address: &str) -> Op {
    Op::DeleteArp { address: ip(address) }
}

fn on(address: &str, port: &str, n: u8) -> Op {
    let neighbour =
        NeighbourSpec { address: ip(address), port: Some(port.to_owned()), mac: mac(n) };
    Op::PutNeighbour { neighbour }
}

#[test]
fn what_was_learned_before_a_static_entry_does_not_come_back() {
    for learned in [None, Some(mac(7))] {
        let mut m = Machine::new();
        m.all(&[address("en0", "10.1")]);
        match learned {
            Some(mac) => m.net.neighbour_resolved(EN0, ip("10.9"), mac),
            None => m.net.neighbour_lost(EN0, ip("10.9"), true),
        }
        m.ok(neighbour("10.9", 8));
        assert_eq!(m.meets("10.9").rewrite()[..6], mac(8).0);
        m.ok(arp_d("10.9"));
        assert_eq!(m.kind("10.9"), AdjacencyKind::Resolve, "asked for anew, not {learned:?}");
        assert!(m.net.neighbours.is_empty());
        m.learn(EN0, "10.9", 9);
        assert_eq!(m.meets("10.9").rewrite()[..6], mac(9).0);
    }
}

#[test]
fn a_static_entry_that_moves_to_another_port_leaves_nothing_behind() {
    let mut m = Machine::new();
    m.all(&[address("en0", "10.1"), address("en1", "203.0.113.1/24")]);
    m.net.neighbour_lost(EN0, ip("10.9"), true);
    m.net.neighbour_lost(EN1, ip("10.9"), true);
    m.ok(on("10.9", "en0", 8));
    m.ok(on("10.9", "en1", 8));
    assert_eq!(m.kind("10.9"), AdjacencyKind::Resolve, "the subnet says en0");
    m.ok(arp_d("10.9"));
    assert_eq!(m.kind("10.9"), AdjacencyKind::Resolve);
    assert!(m.net.neighbours.is_empty());
}

#[test]
fn created_is_what_was_not_there_before() {
    let mut m = Machine::new();
    let put = Op::PutTunnel { tunnel: bare("gre7").into() };
    assert_eq!(m.ok(put.clone()).created, ["gre7"]);
    assert_eq!(m.ok(put.clone()).created, [""; 0], "it was there");
    let both = m.try_all(&[create("gre8"), destroy("gre8")]).unwrap().0;
    assert_eq!(both.created, [""; 0]);
    m.ok(destroy("gre7"));
    assert_eq!(m.try_all(&[put, create("en0.20")]).unwrap().0.created.len(), 2);
}

#[test]
fn many_problems_and_notes_are_cut_short() {
    let mut m = Machine::new();
    let ops: Vec<Op> = (0..250).map(|n| destroy(&format!("gre{n}"))).collect();
    let error = m.try_all(&ops).unwrap_err();
    assert_eq!((error.problems.len(), error.code), (101, ErrorCode::NotFound));
    assert_eq!(error.problems[100].message, "and 150 more problems");
    m.ok(create("gre0"));
    let routes: Vec<Op> = (0..50).map(|n| through(&format!("77.0.{n}.0/24"), "gre0")).collect();
    m.try_all(&routes).unwrap();
    let notes = m.ok(destroy("gre0")).notes;
    assert_eq!(notes.len(), 21);
    assert!(notes[20].starts_with("and 30 more"), "{notes:?}");
}

#[test]
fn a_tunnel_that_is_not_running_is_a_way_with_nothing_below() {
    let mut m = Machine::new();
    m.all(&[create("gre0"), pair("gre0", "10.1", "10.25")]);
    let tunnel = m.id("gre0");
    assert_eq!(m.net.way(ip("10.25")), Way::Tunnel { tunnel, underlay: None });
    assert_eq!(m.kind("10.25"), AdjacencyKind::Unreachable);
}

#[test]
fn room_is_reserved_for_what_a_port_brings_back() {
    let mut m = Machine::new();
    m.all(&[set("en0", |f| f.up = Some(false)), create("en0.20")]);
    m.all(&[address("en0.20", "192.168.20.1/24"), on("192.168.20.9", "en0.20", 3)]);
    let port = Item::Link(Key::Port(PortId(0)), None);
    let touched = Touched { others: [(port.object(), port)].into(), routes: Vec::new() };
    let prefixes = reserve::prefixes(&m.net.desired, &m.net.links, &touched);
    for prefix in ["192.168.20.0/24", "192.168.20.255/32", "192.168.20.9/32"] {
        assert!(prefixes.contains(&net(prefix)), "{prefix}: {prefixes:?}");
    }
}

#[test]
fn a_port_says_which_mtu_it_takes() {
    let m = Machine::new();
    let takes = |mtu| m.net.takes_mtu("en0", mtu);
    assert_eq!([67, 68, 9000, 9001].map(takes), [false, true, true, false]);
    assert!(!m.net.takes_mtu("gre0", 1400));
}
