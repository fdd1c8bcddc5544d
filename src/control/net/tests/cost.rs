//! What a change costs does not depend on how many tunnels there are. Counted,
//! not timed: FIB stores, bytes copied, decap probes, adjacencies planned.

use super::*;

#[derive(Debug)]
struct Cost {
    stores: u64,
    copied: u64,
    probes: u64,
    planned: u64,
}

fn spent(m: &Machine) -> Cost {
    Cost {
        stores: m.tables.fib4.stats().stores,
        copied: m.tables.adjacencies.bytes_copied() + m.tables.tunnels.bytes_copied(),
        probes: m.tables.decap.probes(),
        planned: m.net.planned,
    }
}

fn cost(m: &mut Machine, work: impl FnOnce(&mut Machine)) -> Cost {
    let before = spent(m);
    work(m);
    let after = spent(m);
    Cost {
        stores: after.stores - before.stores,
        copied: after.copied - before.copied,
        probes: after.probes - before.probes,
        planned: after.planned - before.planned,
    }
}

fn spec(n: u32) -> TunnelSpec {
    let at = |base: &str| Ipv4Addr::from(u32::from(ip4(base)) + n);
    TunnelSpec {
        local: Some(ip("203.0.113.1")),
        remote: Some(IpAddr::from(at("50.0.0.1")).into()),
        address: Some(ip4("10.1")),
        peer: Some(at("60.0.0.1")),
        ..bare(&format!("gre{n}"))
    }
}

fn put(n: u32) -> Op {
    Op::PutTunnel { tunnel: spec(n).into() }
}

/// A machine with `count` tunnels by one router, and one by another.
fn with_tunnels(count: u32) -> Machine {
    let mut m = Machine::with(Tables::default());
    m.all(&[address("en0", "10.1"), address("en1", "203.0.113.1/24")]);
    m.all(&[add("50.0.0.0/8", "203.0.113.254"), add("50.200.0.0/16", "203.0.113.253")]);
    let ops: Vec<Op> = (0..count).map(put).collect();
    m.try_all(&ops).unwrap();
    // The probed number is far from all others, its table chunks are there.
    m.all(&[put(200_000), destroy("gre200000"), create("gre200001")]);
    let mut other = spec(200_001);
    (other.remote, other.peer) = (Some(ip("50.200.0.1").into()), Some(ip4("61.1")));
    m.ok(Op::PutTunnel { tunnel: other.into() });
    m
}

#[test]
fn a_tunnel_or_an_arp_update_costs_the_same_among_many() {
    let measure = |count| {
        let mut m = with_tunnels(count);
        let create = cost(&mut m, |m| _ = m.ok(put(200_000)));
        let arp = cost(&mut m, |m| m.learn(EN1, "203.0.113.253", 9));
        assert_eq!(m.kind("61.1"), AdjacencyKind::Tunnel);
        let change = cost(&mut m, |m| m.learn(EN1, "203.0.113.253", 10));
        let host = cost(&mut m, |m| m.learn(EN0, "10.77", 11));
        let route = cost(&mut m, |m| _ = m.ok(add("77.0.0.0/24", "10.77")));
        let destroy = cost(&mut m, |m| _ = m.ok(destroy("gre200000")));
        [create, arp, change, host, route, destroy]
    };
    let (few, many) = (measure(1_000), measure(100_000));
    for (what, (few, many)) in ["create", "arp", "arp change", "host", "route", "destroy"]
        .iter()
        .zip(few.iter().zip(&many))
    {
        assert!(many.stores <= few.stores + 256, "{what}: {few:?} {many:?}");
        assert!(many.copied <= few.copied * 2, "{what}: {few:?} {many:?}");
        // Fuller tables probe a little further.
        assert!(many.probes <= few.probes + 16, "{what}: {few:?} {many:?}");
        assert_eq!(many.planned, few.planned, "{what}: {few:?} {many:?}");
        assert!(many.planned <= 3, "{what}: {many:?}");
    }
}

#[test]
fn a_route_change_replans_who_it_concerns() {
    let mut m = with_tunnels(1_000);
    // Ten of the thousand are in this /29 and what is next to it.
    let into = cost(&mut m, |m| _ = m.ok(add("50.0.0.8/29", "203.0.113.253")));
    assert!(into.planned <= 8 + 1, "{into:?}");
    let unrelated = cost(&mut m, |m| _ = m.ok(add("0.0.0.0/1", "203.0.113.253")));
    assert!(unrelated.planned <= 1, "{unrelated:?}");
    let all = cost(&mut m, |m| _ = m.ok(change("50.0.0.0/8", "203.0.113.253")));
    assert!((990..=1_001).contains(&all.planned), "{all:?}");
}

/// One gateway under all tunnels: its new MAC is in every adjacency, each is
/// planned once, and each chunk of the table copied once.
#[test]
fn a_shared_gateway_costs_one_plan_for_each_tunnel_over_it() {
    const COUNT: u32 = 20_000;
    let mut m = with_tunnels(COUNT);
    m.learn(EN1, "203.0.113.254", 9);
    let began = std::time::Instant::now();
    let change = cost(&mut m, |m| m.learn(EN1, "203.0.113.254", 10));
    let each = began.elapsed() / COUNT;
    assert_eq!(m.meets("60.0.0.1").rewrite()[..6], mac(10).0);
    assert_eq!(change.planned, u64::from(COUNT) + 1, "{change:?}");
    let table = u64::from(COUNT) * size_of::<Adjacency>() as u64;
    assert!(change.copied <= table * 11 / 10, "{change:?} of {table} bytes");
    assert_eq!((change.stores, change.probes), (0, 0), "{change:?}");
    println!("a new MAC under {COUNT} tunnels: {each:?} for each");
}

#[test]
fn numbers_are_given_back() {
    let mut m = Machine::new();
    m.all(&[address("en0", "10.1"), address("en1", "203.0.113.1/24")]);
    m.ok(add("50.0.0.0/8", "203.0.113.254"));
    let start = m.net.tables_view();
    // More than there are slots of either kind.
    for n in 0..3_000 {
        m.ok(put(n));
        m.ok(destroy(&format!("gre{n}")));
    }
    let end = m.net.tables_view();
    let of = |view: &crate::model::view::TablesView| {
        (view.fib4_prefixes, view.fib4_groups, view.next_hops, view.tunnels)
    };
    assert_eq!(of(&start), of(&end));
    assert!(m.id("en0") == EN0 && m.net.interfaces().len() == 2);
}
