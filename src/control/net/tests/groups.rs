//! Multipath routes: which next hop each flow meets, read from the tables as a
//! worker does, before and after something happens to one of the paths.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::control::topology::{Topology, Way};
use crate::flow::FlowHash;
use crate::ids::NextHopId;
use crate::tables::group::BUCKETS;

/// A path as the verb has it.
fn path(word: &str) -> PathSpec {
    let (name, weight) = word.split_once(':').unwrap_or((word, "1"));
    let way = match name.as_bytes()[0].is_ascii_digit() {
        true => PathWay::Via(ip(name)),
        false => PathWay::Interface(name.into()),
    };
    PathSpec { way, weight: weight.parse().unwrap() }
}

fn ecmp(to: &str, paths: &[&str]) -> Op {
    let target = RouteTarget::Paths(paths.iter().map(|word| path(word)).collect());
    Op::PutRoute { route: RouteSpec { to: net(to), target } }
}

/// True if a group leads to an address.
pub(super) fn is_group(m: &Machine, to: &str) -> bool {
    let guard = m.tables.pin();
    m.hop(to, &guard).group_index().is_some()
}

/// Kind, and link address or interface.
type Bucket = (String, String);

/// What each bucket of the group that leads to an address does: kind, link
/// address or interface.
pub(super) fn buckets(m: &Machine, to: &str) -> Vec<Bucket> {
    let guard = m.tables.pin();
    let group = m.hop(to, &guard);
    assert!(group.group_index().is_some(), "{to} leads to no group: {group:?}");
    let view = m.tables.groups.view(&guard);
    let members = view.buckets(group).expect("a group that is written");
    let does = |hop: &NextHopId| {
        assert_eq!(hop.group_index(), None, "a group in a group");
        let adjacency = m.tables.adjacencies.get(hop.index(), &guard);
        let what = match adjacency.kind {
            AdjacencyKind::Rewrite => format!("{:x?}", &adjacency.rewrite()[..6]),
            _ => m.net.name(adjacency.out_if).unwrap_or("-").to_owned(),
        };
        (format!("{:?}", adjacency.kind), what)
    };
    members.iter().map(does).collect()
}

/// How many buckets do what.
fn counts(m: &Machine, to: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (kind, what) in buckets(m, to) {
        *counts.entry(format!("{kind} {what}")).or_default() += 1;
    }
    counts
}

/// Buckets that changed hands, by what they did before.
fn moved(before: &[Bucket], after: &[Bucket]) -> BTreeSet<Bucket> {
    let pairs = before.iter().zip(after).filter(|(was, is)| was != is);
    pairs.map(|(was, _)| was.clone()).collect()
}

/// en0 with gateways 10.0.0.2 to 10.0.0.5, all known; en1 with an uplink.
fn machine() -> Machine {
    let mut m = Machine::new();
    m.all(&[address("en0", "10.0.0.1/24"), address("en1", "203.0.113.1/24")]);
    for n in 2..=5 {
        m.learn(EN0, &format!("10.0.0.{n}"), n);
    }
    m
}

const FOUR: [&str; 4] = ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"];

fn rewrite(n: u8) -> Bucket {
    ("Rewrite".into(), format!("{:x?}", mac(n).0))
}

#[test]
fn a_gateway_that_fails_moves_its_own_flows_and_gets_them_back() {
    let mut m = machine();
    m.ok(ecmp("20.0.0.0/8", &FOUR));
    let all = buckets(&m, "20.1");
    for n in 2..=5 {
        let share = all.iter().filter(|b| **b == rewrite(n)).count();
        assert!((85..=171).contains(&share), "{share} of {BUCKETS} for one of four");
    }
    m.net.neighbour_lost(EN0, ip("10.0.0.3"), true);
    let three = buckets(&m, "20.1");
    assert_eq!(moved(&all, &three), BTreeSet::from([rewrite(3)]));
    assert!(!three.contains(&rewrite(3)));
    for n in [2, 4, 5] {
        let gained = three.iter().filter(|b| **b == rewrite(n)).count();
        assert!(gained > all.iter().filter(|b| **b == rewrite(n)).count(), "all share in it");
    }
    // Unknown again: packets ask for it, in its own buckets.
    m.net.neighbour_lost(EN0, ip("10.0.0.3"), false);
    let asking = buckets(&m, "20.1");
    assert_eq!(moved(&all, &asking), BTreeSet::from([rewrite(3)]));
    let wait = asking.iter().filter(|b| b.0 == "Resolve").count();
    assert_eq!(wait, all.iter().filter(|b| **b == rewrite(3)).count());
    m.learn(EN0, "10.0.0.3", 3);
    assert_eq!(buckets(&m, "20.1"), all);
    // All of them gone: unreachable, aloud.
    for n in 2..=5 {
        m.net.neighbour_lost(EN0, ip(&format!("10.0.0.{n}")), true);
    }
    assert!(buckets(&m, "20.1").iter().all(|b| b.0 == "Unreachable"));
    assert_eq!(m.net.way(ip("20.1")), Way::Unreachable);
    assert_eq!(m.net.get_route(net("20.0.0.0/8")).unwrap().flags, "SP", "not up");
}

#[test]
fn a_path_taken_out_of_the_route_moves_its_own_flows() {
    let mut m = machine();
    m.ok(ecmp("20.0.0.0/8", &FOUR));
    let all = buckets(&m, "20.1");
    m.ok(ecmp("20.0.0.0/8", &["10.0.0.2", "10.0.0.4", "10.0.0.5"]));
    assert_eq!(moved(&all, &buckets(&m, "20.1")), BTreeSet::from([rewrite(3)]));
    // Another order is no change; a weight moves flows to that path only.
    m.ok(ecmp("20.0.0.0/8", &["10.0.0.5", "10.0.0.3", "10.0.0.2", "10.0.0.4"]));
    assert_eq!(buckets(&m, "20.1"), all);
    m.ok(ecmp("20.0.0.0/8", &["10.0.0.5:3", "10.0.0.3", "10.0.0.2", "10.0.0.4"]));
    let heavy = buckets(&m, "20.1");
    assert!(all.iter().zip(&heavy).all(|(was, is)| was == is || *is == rewrite(5)));
    let share = heavy.iter().filter(|b| **b == rewrite(5)).count();
    assert!((215..=297).contains(&share), "{share} of 512 with 3 of 6");
}

#[test]
fn one_set_serves_all_its_routes_and_goes_with_the_last() {
    let mut m = machine();
    let used = |m: &Machine| m.net.tables_view().next_hops;
    let before = used(&m);
    m.all(&[ecmp("20.0.0.0/8", &FOUR), ecmp("21.0.0.0/8", &FOUR)]);
    let guard = m.tables.pin();
    let hop = |to: &str| m.tables.fib4.lookup(ip4(to).into(), &guard);
    assert_eq!(hop("20.1"), hop("21.1"));
    drop(guard);
    assert_eq!(used(&m), before + 1, "its gateways had their slots already");
    m.ok(delete("21.0.0.0/8"));
    // More sets, one after the other, than there can be at once.
    for round in 0..5000 {
        let (gateway, other) = (2 + round % 4, 2 + (round + 1) % 4);
        let paths = [format!("10.0.0.{gateway}:{}", 1 + round % 200), format!("10.0.0.{other}")];
        m.ok(ecmp("20.0.0.0/8", &[&paths[0], &paths[1]]));
        assert_eq!(used(&m), before + 1);
    }
    m.ok(delete("20.0.0.0/8"));
    assert_eq!(used(&m), before);
    assert_eq!(m.net.desired.sets.used(), 0);
}

#[test]
fn tunnels_leave_the_group_while_they_do_not_run() {
    let mut m = machine();
    m.learn(EN1, "203.0.113.9", 9);
    for n in 0..3 {
        let name = format!("gre{n}");
        m.all(&[
            create(&name),
            pair(&name, "10.1", &format!("12.0.0.{n}")),
            link1(&name),
            endpoints(&name, "203.0.113.1", &format!("198.51.100.{n}")),
        ]);
    }
    m.ok(ecmp("20.0.0.0/8", &["gre0", "gre1", "gre2:2"]));
    assert_eq!(counts(&m, "20.1"), BTreeMap::from([("Unreachable -".into(), BUCKETS)]));
    m.ok(add("198.51.100.0/24", "203.0.113.9"));
    let all = buckets(&m, "20.1");
    let (tunnel, names) = ("Tunnel".to_owned(), ["gre0", "gre1", "gre2"]);
    assert!(names.iter().all(|n| all.contains(&(tunnel.clone(), (*n).to_owned()))), "{all:?}");
    assert!(all.iter().all(|bucket| bucket.0 == tunnel));
    m.ok(set("gre1", |f| f.up = Some(false)));
    let two = buckets(&m, "20.1");
    assert_eq!(moved(&all, &two), BTreeSet::from([(tunnel, "gre1".to_owned())]));
    m.ok(set("gre1", |f| f.up = Some(true)));
    assert_eq!(buckets(&m, "20.1"), all);
    // Destroyed: the route has one path less, then is plain, then gone.
    let outcome = m.ok(destroy("gre1"));
    assert!(outcome.notes[0].contains("one path less"), "{outcome:?}");
    assert_eq!(buckets(&m, "20.1"), two);
    m.ok(destroy("gre0"));
    assert_eq!(m.meets("20.1").out_if, m.id("gre2"));
    assert_eq!(
        m.net.state().routes.last(),
        Some(&RouteSpec {
            to: net("198.51.100.0/24"),
            target: RouteTarget::Via(ip("203.0.113.9")),
        })
    );
    m.ok(destroy("gre2"));
    assert!(m.net.get_route(net("20.0.0.0/8")).is_none());
}

#[test]
fn a_tunnel_goes_by_one_gateway_of_a_multipath_underlay_and_moves_when_it_fails() {
    let mut m = machine();
    m.ok(ecmp("0.0.0.0/0", &FOUR));
    let count = 12;
    for n in 0..count {
        let name = format!("gre{n}");
        m.all(&[
            create(&name),
            pair(&name, "10.1", &format!("12.0.0.{n}")),
            link1(&name),
            endpoints(&name, "203.0.113.1", &format!("198.51.{n}.2")),
        ]);
    }
    let hops = |m: &Machine| -> Vec<String> {
        (0..count).map(|n| m.below(&format!("gre{n}")).unwrap().1).collect()
    };
    let before = hops(&m);
    assert!(before.iter().collect::<BTreeSet<_>>().len() > 2, "they share: {before:?}");
    m.net.neighbour_lost(EN0, ip("10.0.0.4"), true);
    let after = hops(&m);
    assert!(!after.contains(&"10.0.0.4".to_owned()));
    for (was, is) in before.iter().zip(&after) {
        assert!(was == is || was == "10.0.0.4", "{was} to {is}");
    }
    assert_eq!(outer(&m.meets("12.0.0.1")).source, ip("203.0.113.1"));
    m.learn(EN0, "10.0.0.4", 4);
    assert_eq!(hops(&m), before);
    m.ok(ecmp("0.0.0.0/0", &["10.0.0.2", "10.0.0.3", "10.0.0.5"]));
    assert_eq!(hops(&m), after);
    m.ok(delete("0.0.0.0/0"));
    assert!(!m.running("gre0"));
}

#[test]
fn gateways_and_multipath_routes_across_each_other() {
    let mut m = machine();
    // A gateway beyond a multipath route: by one of its gateways.
    m.all(&[ecmp("20.0.0.0/8", &FOUR[..2]), add("30.0.0.0/8", "20.0.0.9")]);
    let Way::Neighbour { address, .. } = m.net.way(ip("30.1")) else { panic!() };
    assert!([ip("10.0.0.2"), ip("10.0.0.3")].contains(&address));
    m.net.neighbour_lost(EN0, address, true);
    let Way::Neighbour { address: other, .. } = m.net.way(ip("30.1")) else { panic!() };
    assert_ne!(address, other);
    // A path's gateway beyond a multipath route is not looked for.
    m.ok(ecmp("40.0.0.0/8", &["20.0.0.9", "10.0.0.5"]));
    assert_eq!(counts(&m, "40.1").len(), 1);
    assert_eq!(buckets(&m, "40.1")[0], rewrite(5));
    // Through itself: the next shorter match, as for one gateway.
    m.ok(ecmp("10.0.0.64/26", &["10.0.0.65", "10.0.0.66"]));
    assert!(buckets(&m, "10.0.0.99").iter().all(|b| b.0 == "Resolve"));
    // Its subnet goes: no path left; and comes back.
    m.ok(set("en0", |f| f.up = Some(false)));
    assert!(buckets(&m, "20.1").iter().all(|b| b.0 == "Unreachable"));
    m.ok(set("en0", |f| f.up = Some(true)));
    assert!(buckets(&m, "20.1").iter().all(|b| b.0 == "Resolve"));
}

#[test]
fn control_asks_for_the_path_that_the_worker_met() {
    let mut m = machine();
    m.ok(ecmp("20.0.0.0/8", &["10.0.0.20", "10.0.0.21", "10.0.0.22"]));
    let mut seen = BTreeSet::new();
    for port in 0..64u16 {
        let mut datagram = vec![0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17, 0, 0];
        datagram.extend(ip4("10.0.0.77").octets());
        datagram.extend(ip4("20.1.1.1").octets());
        datagram.extend(port.to_be_bytes());
        datagram.extend([0, 80, 0, 8, 0, 0]);
        let Some(Way::Neighbour { link, address }) = m.net.way_of(&datagram) else { panic!() };
        let guard = m.tables.pin();
        let group = m.tables.fib4.lookup(ip4("20.1.1.1").into(), &guard);
        let hash = m.tables.flow.ends(
            ip4("10.0.0.77").into(),
            ip4("20.1.1.1").into(),
            17,
            u32::from(port) << 16 | 80,
        );
        let member = m.tables.groups.view(&guard).pick(group, hash);
        let met = m.tables.adjacencies.get(member.index(), &guard);
        assert_eq!((met.kind, met.out_if), (AdjacencyKind::Resolve, link));
        drop(guard);
        // Known now: what the worker meets has its link address.
        m.learn(link, &address.to_string(), 77);
        let guard = m.tables.pin();
        let met = m.tables.adjacencies.get(member.index(), &guard);
        assert_eq!(met.rewrite()[..6], mac(77).0);
        drop(guard);
        m.net.neighbour_lost(link, address, false);
        seen.insert(address);
    }
    assert_eq!(seen.len(), 3);
}

#[test]
fn shown_and_printed_back() {
    let mut m = machine();
    m.ok(ecmp("20.0.0.0/8", &["10.0.0.2", "10.0.0.3:3"]));
    let view = m.net.lookup_route(ip("20.1")).unwrap();
    assert_eq!((view.flags.as_str(), view.gateway, view.mtu), ("USP", None, Some(1500)));
    let [one, other] = &view.paths[..] else { panic!("{view:?}") };
    assert_eq!((one.gateway, other.weight), (Some(ip("10.0.0.2")), 3));
    assert_eq!(one.buckets + other.buckets, 512);
    assert!(other.buckets > 2 * one.buckets);
    assert_eq!((one.flags.as_str(), one.interface.as_deref()), ("UGSP", Some("en0")));
    m.net.neighbour_lost(EN0, ip("10.0.0.2"), true);
    let view = m.net.lookup_route(ip("20.1")).unwrap();
    assert_eq!((view.paths[0].flags.as_str(), view.paths[0].buckets), ("GSP", 0));
    let state = m.net.state();
    assert_eq!(m.net.difference(&state).unwrap(), []);
    let again = Machine::from_state(&state, &[]);
    assert_eq!(again.net.state(), state);
}

#[test]
fn a_reload_takes_a_tunnel_and_its_path_away_or_puts_the_route_back() {
    let mut m = machine();
    m.all(&[create("gre0"), create("gre1"), pair("gre0", "10.1", "12.2")]);
    m.all(&[ecmp("20.0.0.0/8", &["gre0", "gre1", "10.0.0.2"])]);
    m.all(&[ecmp("21.0.0.0/8", &["gre0", "12.2"]), ecmp("22.0.0.0/8", &["12.2", "10.0.0.2"])]);
    let state = m.net.state();
    let apply = |m: &mut Machine, wanted: &State| {
        let ops = m.net.difference(wanted).unwrap();
        m.net.transact(&ops, &|_| false).unwrap();
        assert_eq!(m.net.state(), *wanted);
    };
    let mut wanted = state.clone();
    wanted.tunnels.retain(|t| t.name != "gre0");
    wanted.routes.retain(|r| r.to != net("21.0.0.0/8"));
    let paths = RouteTarget::Paths(vec![path("gre1"), path("10.0.0.2")]);
    wanted.routes[0].target = paths;
    // 22/8 keeps its path by what was the far end of gre0.
    apply(&mut m, &wanted);
    apply(&mut m, &state);
    // Unwanted routes that lose paths are deleted all the same.
    wanted.routes.clear();
    wanted.tunnels.clear();
    apply(&mut m, &wanted);
}

#[test]
fn refusals_name_the_path() {
    let mut m = machine();
    let before = m.net.state();
    m.refused(ecmp("20.0.0.0/8", &[]), &["20.0.0.0/8", "no path"]);
    m.refused(ecmp("20.0.0.0/8", &["10.0.0.2", "10.0.0.3", "10.0.0.2:4"]), &["10.0.0.2", "twice"]);
    m.refused(ecmp("20.0.0.0/8", &["10.0.0.2", "10.0.0.3:0"]), &["10.0.0.3", "weight of 0"]);
    m.refused(ecmp("20.0.0.0/8", &["10.0.0.2", "en0"]), &["en0", "a gateway or a tunnel"]);
    m.refused(ecmp("20.0.0.0/8", &["10.0.0.2", "gre7"]), &["gre7"]);
    m.refused(ecmp("20.0.0.0/8", &["10.0.0.2", "10.0.0.1"]), &["10.0.0.1", "another router's"]);
    m.refused(ecmp("20.0.0.0/8", &["224.0.0.1", "10.0.0.2"]), &["224.0.0.1"]);
    let many: Vec<String> = (2..19).map(|n| format!("10.0.0.{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    m.refused(ecmp("20.0.0.0/8", &many), &["17 paths", "16"]);
    assert_eq!(m.net.state(), before);
    assert_eq!(m.net.desired.sets.used(), 0, "nothing is left of what was refused");
    m.ok(ecmp("20.0.0.0/8", &many[..16]));
    // Two routes of one destination never become several paths by themselves.
    m.refused(add("20.0.0.0/8", "10.0.0.2"), &["20.0.0.0/8", "already"]);
    // A single path is a plain route.
    m.ok(ecmp("21.0.0.0/8", &["10.0.0.2:9"]));
    assert_eq!(m.net.state().routes[1].target, RouteTarget::Via(ip("10.0.0.2")));
}

#[test]
fn too_many_groups_are_refused_and_change_nothing() {
    let mut m = machine();
    let most = crate::ids::MAX_GROUPS;
    let op = |n: usize| {
        let (gateway, weight) = (2 + n / 200, 1 + n % 200);
        let to = format!("20.{}.{}.0/24", n / 256, n % 256);
        ecmp(&to, &[&format!("10.0.0.{gateway}:{weight}"), "10.0.0.250"])
    };
    let ops: Vec<Op> = (0..most).map(op).collect();
    m.try_all(&ops).unwrap();
    m.refused(op(most), &["4097 sets of paths"]);
    m.ok(delete("20.0.0.0/24"));
    m.ok(op(most));
    assert_eq!(m.net.desired.sets.used(), most);
}

const TINY: TablesConfig =
    TablesConfig { adjacencies: 8, tunnels: 8, decap_keys: 8, fib_groups: 1, fib6_groups: 64 };

#[test]
fn the_hash_of_a_machine_is_its_own() {
    let (one, other) = (Tables::new(TINY), Tables::new(TINY));
    let flow = |hash: &FlowHash| (0..8).map(|n| hash.ends(n, 1, 6, 0)).collect::<Vec<_>>();
    assert_ne!(flow(&one.flow), flow(&other.flow));
}
