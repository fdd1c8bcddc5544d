//! What is known of a tunnel while it runs: where it counts, and when it ends.

use super::*;
use crate::tables::adjacency::flags::{CLAMP_MSS, CUT_OUTER};

fn joined() -> Machine {
    let mut m = Machine::new();
    m.all(&office());
    m.learn(EN1, "203.0.113.254", 9);
    m
}

fn path_mtu(m: &mut Machine, name: &str, mtu: Option<u16>) {
    let id = m.id(name);
    m.net.set_soft(id, |soft| soft.path_mtu = mtu);
}

fn limits(m: &Machine, to: &str) -> (u16, u16) {
    let adjacency = m.meets(to);
    (adjacency.mtu, adjacency.underlay_mtu)
}

#[test]
fn a_path_takes_less_than_its_link_until_it_is_forgotten() {
    let mut m = joined();
    m.all(&[set("gre0", |f| f.mss = Some(MssClamp::Auto)), through("12.0.0.0/8", "gre0")]);
    assert_eq!(limits(&m, "10.0.0.25"), (1476, 1500));
    path_mtu(&mut m, "gre0", Some(1400));
    for to in ["10.0.0.25", "12.0.0.1"] {
        assert_eq!(limits(&m, to), (1376, 1400), "{to}");
        let adjacency = m.meets(to);
        assert!(adjacency.flags & CLAMP_MSS != 0);
        assert_eq!(adjacency.mss, 1336);
    }
    assert_eq!(m.view("gre0").mtu, 1376);
    assert_eq!(m.net.get_route(net("12.0.0.0/8")).unwrap().mtu, Some(1376));
    {
        let guard = m.tables.pin();
        assert_eq!(m.tables.tunnels.get(m.id("gre0").index(), &guard).mss[0], 1336);
    }
    m.ok(set("gre0", |f| f.mtu = Some(1300)));
    assert_eq!(limits(&m, "10.0.0.25"), (1300, 1400), "a fixed MTU still counts");
    m.ok(set("gre0", |f| f.mtu = Some(1450)));
    assert_eq!(limits(&m, "10.0.0.25"), (1376, 1400), "as far as it fits");
    path_mtu(&mut m, "gre0", None);
    assert_eq!(limits(&m, "10.0.0.25"), (1450, 1500));
}

#[test]
fn a_path_never_takes_more_than_its_link() {
    let mut m = joined();
    path_mtu(&mut m, "gre0", Some(9000));
    assert_eq!(limits(&m, "10.0.0.25"), (1476, 1500));
    path_mtu(&mut m, "gre0", Some(1400));
    m.ok(set("en1", |f| f.mtu = Some(1350)));
    assert_eq!(limits(&m, "10.0.0.25"), (1326, 1350));
    m.ok(set("en1", |f| f.mtu = Some(1500)));
    assert_eq!(limits(&m, "10.0.0.25"), (1376, 1400), "and it is still known");
}

#[test]
fn ipv6_inside_keeps_its_1280_bytes_over_a_narrow_path() {
    let mut m = joined();
    m.all(&[alias("gre0", "2001:db8:7::1/64")]);
    let (mtu, whole) = (limits(&m, "2001:db8:7::2"), m.meets("2001:db8:7::2").flags & CUT_OUTER);
    assert_eq!((mtu, whole), ((1476, 1500), 0));
    path_mtu(&mut m, "gre0", Some(1000));
    let adjacency = m.meets("2001:db8:7::2");
    assert_eq!((adjacency.mtu, adjacency.underlay_mtu), (1280, 1000));
    assert!(adjacency.flags & CUT_OUTER != 0, "the outer datagram is cut");
}

#[test]
fn one_tunnel_is_planned_anew_and_only_if_something_changed() {
    let mut m = joined();
    let more = (1..50).flat_map(|n| {
        let name = format!("gre{n}");
        let (own, peer) = (format!("12.0.{n}.1"), format!("12.0.{n}.2"));
        let remote = format!("198.51.100.{}", n + 100);
        [create(&name), pair(&name, &own, &peer), endpoints(&name, "203.0.113.1", &remote)]
    });
    m.all(&more.collect::<Vec<_>>());
    let before = m.net.planned();
    path_mtu(&mut m, "gre0", Some(1400));
    assert!(m.net.planned() - before <= 2, "one for each family inside");
    let before = m.net.planned();
    path_mtu(&mut m, "gre0", Some(1400));
    m.net.set_soft(IfId(999), |soft| soft.path_mtu = Some(600));
    m.net.set_soft(EN1, |soft| soft.path_mtu = Some(600));
    assert_eq!(m.net.planned(), before);
    assert_eq!(m.net.soft(IfId(999)), Soft::default());
    assert_eq!(m.net.soft(EN1), Soft::default(), "a link has none");
    assert_eq!(limits(&m, "12.0.1.2"), (1476, 1500));
}

#[test]
fn another_outer_pair_begins_with_nothing_known() {
    let mut m = joined();
    path_mtu(&mut m, "gre0", Some(1400));
    m.all(&[set("gre0", |f| f.ttl = Some(9)), set("gre0", |f| f.up = Some(false))]);
    m.ok(set("gre0", |f| f.up = Some(true)));
    assert_eq!(limits(&m, "10.0.0.25"), (1376, 1400), "the same pair: still known");
    m.ok(endpoints("gre0", "203.0.113.1", "198.51.100.3"));
    assert_eq!(limits(&m, "10.0.0.25"), (1476, 1500));
    path_mtu(&mut m, "gre0", Some(1400));
    m.all(&[destroy("gre0")]);
    m.all(&office()[3..]);
    assert_eq!(limits(&m, "10.0.0.25"), (1476, 1500), "another tunnel of the same name");
    assert_eq!(m.net.state(), joined_again(&m).net.state());
}

/// The same from the state alone: what is known is no part of it.
fn joined_again(m: &Machine) -> Machine {
    Machine::from_state(&m.net.state(), &[(EN1, ip("203.0.113.254"), Some(mac(9)))])
}
