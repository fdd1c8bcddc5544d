//! Reload: from any state to any other, and only what differs.

use super::*;

/// Machine C, with one of everything.
fn rich() -> Machine {
    let mut m = Machine::new();
    m.all(&office());
    m.all(&[create("en1.7"), address("en1.7", "192.168.7.1"), alias("en0", "172.16.0.1/16")]);
    m.all(&[create("ipip0"), pair("ipip0", "11.1", "11.2"), add("13.0.0.0/8", "11.2")]);
    m.all(&[through("14.0.0.0/8", "gre0"), neighbour("10.8", 8), publish("10.25")]);
    m.all(&[neighbour("192.168.7.9", 9), publish("192.168.7.9"), publish("10.8")]);
    m.ok(set("gre0", |f| (f.mtu, f.ttl) = (Some(1400), Some(9))));
    m.ok(Op::SetIcmp { icmp: IcmpSpec { error_rate: 5, ..IcmpSpec::default() } });
    m
}

fn apply(m: &mut Machine, wanted: &State) -> Vec<Located> {
    let ops = m.net.difference(wanted).unwrap();
    m.net.transact(&ops, &|_| false).unwrap();
    assert_eq!(m.net.difference(wanted).unwrap(), [], "after {ops:?}");
    ops
}

#[test]
fn a_state_reproduces_itself() {
    let rich = rich();
    let state = rich.net.state();
    let mut fresh = Machine::new();
    apply(&mut fresh, &state);
    assert_eq!(fresh.net.state(), state);
    assert_eq!(fresh.net.routes(true), rich.net.routes(true));
}

#[test]
fn each_way_between_states_of_which_one_lacks_something() {
    let full = rich().net.state();
    let cuts: Vec<fn(&mut State)> = vec![
        |s| s.tunnels.clear(),
        |s| s.vlans.clear(),
        |s| s.routes.clear(),
        |s| s.neighbours.clear(),
        |s| s.published.clear(),
        |s| s.ports[0].address.truncate(1),
        |s| s.ports[0].address.reverse(),
        |s| s.ports[1].up = false,
        |s| s.ports[1].mtu = 4000,
        |s| s.icmp = IcmpSpec::default(),
        |s| s.tunnels.truncate(1),
        |s| s.tunnels[0].remote = Some(ip("198.51.100.3").into()),
    ];
    for (n, cut) in cuts.iter().enumerate() {
        let mut less = full.clone();
        cut(&mut less);
        // Routes and entries of what is gone have to go in the file, too.
        let names: Vec<String> = less.tunnels.iter().map(|t| t.name.clone()).collect();
        let gone = |name: &String| name.starts_with("gre") && !names.contains(name);
        less.routes.retain(|r| !matches!(&r.target, RouteTarget::Interface(n) if gone(n)));
        if less.vlans.is_empty() {
            less.neighbours.retain(|n| n.port.as_deref() != Some("en1.7"));
            less.published.retain(|p| p.port.as_deref() != Some("en1.7"));
        }
        let mut m = rich();
        apply(&mut m, &less);
        assert_eq!(m.net.state(), less, "cut {n}");
        apply(&mut m, &full);
        assert_eq!(m.net.state(), full, "back from cut {n}");
    }
}

#[test]
fn only_what_differs() {
    let mut m = rich();
    let mut wanted = m.net.state();
    wanted.tunnels[0].ttl = 3;
    // The port of an entry may be left out in a file.
    wanted.published.iter_mut().for_each(|publish| publish.port = None);
    wanted.neighbours.iter_mut().for_each(|neighbour| neighbour.port = None);
    let ops = apply(&mut m, &wanted);
    assert_eq!(ops.len(), 1, "{ops:?}");
    assert_eq!(ops[0].at, "tunnel[0]");
}

#[test]
fn what_a_start_fixes_is_refused() {
    let m = rich();
    let refused = |change: &dyn Fn(&mut State), place: &str| {
        let mut wanted = m.net.state();
        change(&mut wanted);
        let error = m.net.difference(&wanted).unwrap_err();
        assert_eq!(error.problems[0].at, place, "{error}");
        assert!(error.to_string().contains("restart"), "{error}");
    };
    refused(&|s| s.ports[1].device = "other".into(), "port[1].device");
    refused(&|s| s.ports[0].mac = Some(mac(1)), "port[0].mac");
    refused(&|s| s.ports[0].rx_queues = Some(2), "port[0].rx_queues");
    refused(&|s| s.ports.truncate(1), "port");
    refused(&|s| s.ports[0].name = "en7".into(), "port");
}
