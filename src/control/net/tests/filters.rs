//! Packet filters: rules in order, their numbers, and what workers read.

use super::*;
use crate::datapath::drop::DropReason;
use crate::tables::filter::{Carries, FILTER_NUMBERS, Ports};

/// Machine C of the note.
fn machine() -> Machine {
    let mut m = Machine::new();
    for op in office() {
        m.ok(op);
    }
    m
}

fn rule(name: &str, interface: Option<&str>, action: FilterAction) -> FilterSpec {
    FilterSpec { interface: interface.map(str::to_owned), ..FilterSpec::new(name, action) }
}

fn add_rule(filter: FilterSpec, before: Option<&str>) -> Op {
    Op::AddFilter { filter: Box::new(filter), before: before.map(str::to_owned) }
}

fn drop_all(name: &str, interface: Option<&str>) -> Op {
    add_rule(rule(name, interface, FilterAction::Drop), None)
}

/// The rule that any IPv4 packet meets which arrives there.
fn met(m: &Machine, id: IfId) -> Option<String> {
    let guard = m.tables.pin();
    let filters = m.tables.interfaces.load(&guard).filters.clone()?;
    let carries = Carries { protocol: 17, ports: Ports::None };
    let number = filters.of(id).first4(1, 2, carries)?.number;
    m.net.filter(number).map(|(name, _)| name.to_owned())
}

fn names(m: &Machine) -> Vec<String> {
    m.net.state().filters.iter().map(|rule| rule.name.clone()).collect()
}

#[test]
fn rules_are_met_in_order_where_they_are_for() {
    let mut m = machine();
    assert!(m.tables.interfaces.load(&m.tables.pin()).is_open());
    m.ok(drop_all("last", None));
    m.ok(add_rule(rule("tunnel", Some("gre0"), FilterAction::Accept), Some("last")));
    m.ok(add_rule(rule("lan", Some("en0"), FilterAction::Reject), Some("tunnel")));
    assert_eq!(names(&m), ["lan", "tunnel", "last"]);
    let places = ["en0", "en1", "gre0"].map(|name| met(&m, m.id(name)).unwrap());
    assert_eq!(places, ["lan", "last", "tunnel"]);
    m.ok(Op::DeleteFilter { name: "tunnel".into() });
    assert_eq!(met(&m, m.id("gre0")).as_deref(), Some("last"));
    m.ok(Op::FlushFilters);
    assert!(m.tables.interfaces.load(&m.tables.pin()).is_open(), "nobody is looked at any more");
}

#[test]
fn a_rule_of_a_multipoint_tunnel_is_met_by_all_its_parts() {
    let mut m = machine();
    let put = |ends: &[(&str, &str)]| TunnelSpec {
        local: Some(ip("203.0.113.1")),
        nbma: ends.iter().map(|(inner, outer)| (ip(inner), ip(outer))).collect(),
        address: Some(ip4("12.1")),
        ..bare("gre1")
    };
    let put = |ends: &[(&str, &str)]| Op::PutTunnel { tunnel: Box::new(put(ends)) };
    m.ok(put(&[("12.2", "192.0.2.7")]));
    m.ok(drop_all("all", Some("gre1")));
    m.ok(put(&[("12.2", "192.0.2.7"), ("12.3", "192.0.2.8")]));
    for name in ["gre1:192.0.2.7", "gre1:192.0.2.8"] {
        assert_eq!(met(&m, m.id(name)).as_deref(), Some("all"), "{name}");
    }
    assert_eq!(met(&m, m.id("gre0")), None);
}

#[test]
fn what_makes_no_sense_is_refused_and_nothing_changes() {
    let mut m = machine();
    m.ok(drop_all("one", Some("gre0")));
    let before = m.net.state();
    m.refused(drop_all("one", None), &["a filter `one` already"]);
    m.refused(drop_all("two", Some("gre9")), &["no interface `gre9`"]);
    m.refused(add_rule(rule("two", None, FilterAction::Drop), Some("none")), &["no filter `none`"]);
    let mut wrong = rule("two", None, FilterAction::Drop);
    wrong.dport = "22".parse().ok();
    m.refused(add_rule(wrong, None), &["filter two", "protocol"]);
    let code = m.refused(Op::DeleteFilter { name: "two".into() }, &["no filter `two`"]);
    assert_eq!(code, ErrorCode::NotFound);
    m.refused(destroy("gre0"), &["gre0 cannot go", "the filter one"]);
    assert_eq!(m.net.state(), before);
    let ops = [destroy("gre0"), Op::DeleteFilter { name: "one".into() }];
    m.try_all(&ops).expect("both at once");
}

#[test]
fn there_is_an_end_to_rules_and_none_to_replacing_them() {
    let mut m = machine();
    let many = |tag: &str| {
        let names = (0..MOST_FILTERS).map(|n| format!("{tag}{n}"));
        names.map(|name| drop_all(&name, None)).collect::<Vec<_>>()
    };
    m.try_all(&many("a")).expect("as many as there can be");
    m.refused(drop_all("more", None), &["256 filters"]);
    // Each time under other names, so that each needs a number.
    for round in 0..5 {
        let mut ops = vec![Op::FlushFilters];
        ops.extend(many(&format!("r{round}-")));
        m.try_all(&ops).expect("numbers of the last but one are free");
        let numbers: Vec<u16> = m.net.filters().map(|(number, _)| number).collect();
        let mut each = numbers.clone();
        each.sort_unstable();
        each.dedup();
        assert_eq!((each.len(), numbers.len()), (MOST_FILTERS, MOST_FILTERS));
        assert!(numbers.iter().all(|number| usize::from(*number) < FILTER_NUMBERS));
        assert_eq!(m.net.fresh_filters().len(), MOST_FILTERS * if round == 0 { 2 } else { 1 });
    }
}

#[test]
fn a_rule_keeps_its_number_with_its_name_whatever_changes_around_it() {
    let mut m = machine();
    m.all(&[drop_all("one", None), drop_all("two", None)]);
    let number = |m: &Machine, name: &str| {
        m.net.filters().find(|(_, rule)| rule.name == name).map(|(number, _)| number)
    };
    let two = number(&m, "two");
    let ops = [Op::FlushFilters, drop_all("two", Some("en0")), drop_all("three", None)];
    m.try_all(&ops).expect("replaced");
    assert_eq!(number(&m, "two"), two);
    assert_ne!(number(&m, "three"), two);
}

#[test]
fn a_reload_replaces_all_rules_at_once() {
    let mut m = machine();
    let plain = m.net.state();
    m.all(&[drop_all("one", Some("gre0")), drop_all("two", None)]);
    let wanted = m.net.state();
    for state in [plain, wanted] {
        let ops = m.net.difference(&state).expect("nothing that only a start can change");
        m.net.transact(&ops, &|_| false).expect("goes through");
        assert_eq!(m.net.state(), state);
    }
    let ops = m.net.difference(&m.net.state()).expect("nothing that only a start can change");
    assert_eq!(ops, [], "the same rules are left alone");
    assert!(DropReason::Filtered.keeps_out() && !DropReason::FilterRejected.keeps_out());
}
