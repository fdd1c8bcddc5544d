//! Doors: what reaches the tables, and what goes with an interface.

use super::*;
use crate::tables::door::Door;
use crate::tables::tunnel::Tunnel;

/// Machine C of the note.
fn machine() -> Machine {
    let mut m = Machine::new();
    for op in office() {
        m.ok(op);
    }
    m
}

fn tunnel(m: &Machine, name: &str) -> Tunnel {
    *m.tables.tunnels.get(m.id(name).index(), &m.tables.pin())
}

fn allows(m: &Machine, name: &str, source: &str) -> bool {
    let guard = m.tables.pin();
    let door = m.tables.doors.load(m.id(name).index(), &guard);
    door.is_none_or(|door| door.allows(ip(source)))
}

fn checks(m: &Machine) -> Vec<(IfId, ReversePath)> {
    m.tables.interfaces.load(&m.tables.pin()).reverse_path.clone()
}

#[test]
fn a_tunnel_without_a_door_is_plain_and_one_with_it_is_not() {
    let mut m = machine();
    assert!(tunnel(&m, "gre0").plain && !tunnel(&m, "gre0").guarded);
    m.ok(door("gre0", &["10.0.0.25/32", "2001:db8::/64"], Some("en1")));
    let slot = tunnel(&m, "gre0");
    assert_eq!((slot.plain, slot.guarded, slot.arrival), (false, true, m.id("en1")));
    assert!(allows(&m, "gre0", "10.0.0.25") && !allows(&m, "gre0", "10.0.0.26"));
    assert!(allows(&m, "gre0", "2001:db8::9") && !allows(&m, "gre0", "2001:db9::9"));
    let spec = m.net.state().tunnels[0].clone();
    assert_eq!((spec.allow.len(), spec.port.as_deref()), (2, Some("en1")));
    let op = Op::SetDoor {
        name: "gre0".into(),
        rpf: None,
        allow: Some(Vec::new()),
        port: Some(String::new()),
    };
    m.ok(op);
    assert!(tunnel(&m, "gre0").plain && allows(&m, "gre0", "10.0.0.26"));
    m.ok(rpf("gre0", ReversePath::Loose));
    assert!(tunnel(&m, "gre0").guarded);
    assert_eq!(m.view("gre0").rpf, "loose");
}

#[test]
fn the_number_of_a_tunnel_that_is_gone_carries_no_door_over() {
    let mut m = machine();
    let number = m.id("gre0");
    m.ok(door("gre0", &["10.0.0.25/32"], None));
    m.ok(destroy("gre0"));
    let guard = m.tables.pin();
    assert!(m.tables.doors.load(number.index(), &guard).is_none_or(Door::is_open));
}

#[test]
fn links_with_a_check_are_in_the_snapshot_and_only_they() {
    let mut m = machine();
    assert_eq!(checks(&m), []);
    m.ok(rpf("en0", ReversePath::Strict));
    m.ok(create("en0.20"));
    m.ok(rpf("en0.20", ReversePath::Loose));
    let all = [(m.id("en0"), ReversePath::Strict), (m.id("en0.20"), ReversePath::Loose)];
    assert_eq!(checks(&m), all);
    assert_eq!(m.net.state().ports[0].rpf, ReversePath::Strict);
    m.ok(rpf("en0", ReversePath::Off));
    m.ok(destroy("en0.20"));
    assert_eq!(checks(&m), []);
}

#[test]
fn a_vlan_stays_while_a_tunnels_packets_have_to_arrive_on_it() {
    let mut m = machine();
    m.ok(create("en0.20"));
    m.ok(door("gre0", &[], Some("en0.20")));
    assert_eq!(tunnel(&m, "gre0").arrival, m.id("en0.20"));
    m.refused(destroy("en0.20"), &["en0.20 cannot go", "gre0"]);
    m.ok(door("gre0", &[], Some("en0")));
    m.ok(destroy("en0.20"));
}

#[test]
fn a_reload_brings_doors_in_line() {
    let mut m = machine();
    let plain = m.net.state();
    m.ok(rpf("en1", ReversePath::Strict));
    m.ok(rpf("gre0", ReversePath::Strict));
    m.ok(door("gre0", &["10.0.0.25/32"], Some("en1")));
    let wanted = m.net.state();
    for state in [plain, wanted] {
        let ops = m.net.difference(&state).expect("nothing that only a start can change");
        assert_eq!(ops.len(), 2, "{ops:?}");
        m.net.transact(&ops, &|_| false).expect("goes through");
        assert_eq!(m.net.state(), state);
    }
}
