//! All or nothing, and the tables a function of the state: whatever random
//! transactions are accepted or refused, the tables answer like those of a
//! fresh `Net` built from [`Net::state`], and a refused one changes nothing.

use super::*;
use crate::ids::Family;
use proptest::prelude::*;

/// Addresses of a small world, so that random ops meet each other.
const HOSTS: [&str; 20] = [
    "10.0.0.1",
    "10.0.0.2",
    "10.0.0.3",
    "10.0.1.1",
    "10.0.1.2",
    "10.0.1.6",
    "10.0.1.7",
    "10.0.2.1",
    "10.0.2.2",
    "10.0.2.3",
    "10.0.3.1",
    "10.0.3.9",
    "fd00::1",
    "fd00::2",
    "fd00::3",
    "fd00::7",
    "fd00:0:0:1::6",
    "fd00:0:0:1::7",
    "fd00:0:0:3::1",
    "fd00:0:0:3::9",
];

const NETS: [&str; 8] = [
    "10.0.0.0/16",
    "10.0.0.0/24",
    "10.0.1.0/24",
    "10.0.2.0/24",
    "10.0.2.0/30",
    "10.0.3.0/24",
    "10.0.1.6/32",
    "10.0.2.2/32",
];

const NETS6: [&str; 6] = [
    "fd00::/48",
    "fd00::/64",
    "fd00:0:0:1::/64",
    "fd00:0:0:3::/64",
    "fd00:0:0:1::6/128",
    "fd00::7/128",
];

const NAMES: [&str; 7] = ["en0", "en1", "en0.20", "gre0", "gre1", "ipip0", "ipip1"];

/// Any address of a family.
fn host(family: Family) -> impl Strategy<Value = &'static str> {
    let of = |text: &&&str| Family::of(ip(text)) == family;
    prop::sample::select(HOSTS.iter().filter(of).copied().collect::<Vec<_>>())
}

/// Addresses that are mostly ours.
fn own(family: Family) -> impl Strategy<Value = &'static str> {
    let ours: &[&str] = match family {
        Family::V4 => &["10.0.0.1", "10.0.0.2", "10.0.3.1", "10.0.1.1"],
        Family::V6 => &["fd00::1", "fd00::2", "fd00:0:0:3::1"],
    };
    prop_oneof![9 => prop::sample::select(ours), 1 => host(family)]
}

/// Addresses that are mostly somebody else's.
fn far(family: Family) -> impl Strategy<Value = &'static str> {
    let theirs: &[&str] = match family {
        Family::V4 => &[
            "10.0.0.3", "10.0.1.2", "10.0.1.6", "10.0.1.7", "10.0.2.1", "10.0.2.2", "10.0.2.3",
            "10.0.3.9",
        ],
        Family::V6 => &["fd00::3", "fd00::7", "fd00:0:0:1::6", "fd00:0:0:1::7", "fd00:0:0:3::9"],
    };
    prop_oneof![9 => prop::sample::select(theirs), 1 => host(family)]
}

fn family() -> impl Strategy<Value = Family> {
    prop::sample::select(&[Family::V4, Family::V4, Family::V6][..])
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&NAMES[..])
}

fn tunnel() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&NAMES[3..])
}

/// Few enough to meet.
fn some_key() -> impl Strategy<Value = Option<u32>> {
    prop::sample::select(&[None, None, Some(0), Some(7)][..])
}

fn target(family: Family) -> impl Strategy<Value = RouteTarget> {
    prop_oneof![
        5 => far(family).prop_map(|h| RouteTarget::Via(ip(h))),
        2 => name().prop_map(|n| RouteTarget::Interface(n.into())),
        1 => Just(RouteTarget::Blackhole),
        1 => Just(RouteTarget::Reject),
        4 => prop::collection::vec((way(family), 1u8..4), 1..5).prop_map(|paths| {
            let path = |(way, weight)| PathSpec { way, weight };
            RouteTarget::Paths(paths.into_iter().map(path).collect())
        }),
    ]
}

fn way(family: Family) -> impl Strategy<Value = PathWay> {
    prop_oneof![
        3 => far(family).prop_map(|h| PathWay::Via(ip(h))),
        2 => tunnel().prop_map(|n| PathWay::Interface(n.into())),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    family().prop_flat_map(op_of)
}

/// An op with addresses of a family, if it has any.
fn op_of(family: Family) -> impl Strategy<Value = Op> {
    let len = prop::sample::select(&[16u8, 24, 24, 24, 25, 30, 31, 32][..]);
    // As many bits of IPv6 as make subnets of the same sizes: /64 to /128.
    let len = len.prop_map(move |len| if family == Family::V4 { len } else { 64 + (len - 16) * 4 });
    let link = prop::sample::select(&NAMES[..3]);
    let nets = if family == Family::V4 { &NETS[..] } else { &NETS6[..] };
    let routed = (prop::sample::select(nets), target(family));
    let inner =
        (tunnel(), own(family), far(family), len.clone()).prop_map(move |(n, a, b, len)| {
            match family {
                Family::V4 => pair(n, a, b),
                Family::V6 => alias(n, &format!("{a}/{len}")),
            }
        });
    prop_oneof![
        1 => name().prop_map(create),
        1 => name().prop_map(destroy),
        5 => (link, own(family), len, any::<bool>()).prop_map(|(n, h, len, alias)| Op::SetAddress {
            name: n.into(),
            address: ip(h),
            prefix_len: Some(len),
            peer: None,
            alias,
        }),
        5 => inner,
        5 => (tunnel(), own(family), far(family)).prop_map(|(n, a, b)| endpoints(n, a, b)),
        1 => tunnel().prop_map(|n| Op::ClearEndpoints { name: n.into() }),
        1 => (name(), own(family)).prop_map(|(n, h)| unaddress(n, h)),
        2 => (name(), prop::bool::weighted(0.7)).prop_map(|(n, up)| set(n, |f| f.up = Some(up))),
        1 => (tunnel(), any::<bool>()).prop_map(|(n, on)| set(n, |f| f.link1 = Some(on))),
        1 => (name(), 60u16..1600).prop_map(|(n, mtu)| set(n, |f| f.mtu = Some(mtu))),
        1 => (tunnel(), 0u8..3).prop_map(|(n, ttl)| set(n, |f| f.ttl = Some(ttl))),
        3 => (tunnel(), some_key(), some_key(), any::<[bool; 2]>()).prop_map(|(n, i, o, [c, s])| {
            gre(n, |g| (g.key_in, g.key_out, g.checksum, g.sequence) = (i, o, c, s))
        }),
        2 => (tunnel(), prop::option::of(Just(4754)), any::<bool>()).prop_map(|(n, port, checksum)| {
            let udp = port.map(|port| UdpSpec { port, source: None, checksum });
            Op::SetUdp { name: n.into(), udp }
        }),
        1 => (tunnel(), prop::option::of(0u8..5)).prop_map(|(n, limit)| {
            set(n, |f| f.encaplimit = Some(limit.map_or(EncapLimit::Off, EncapLimit::Fixed)))
        }),
        5 => routed.prop_map(|(to, target)| Op::PutRoute { route: RouteSpec { to: net(to), target } }),
        1 => prop::sample::select(nets).prop_map(delete),
        2 => (far(family), 1u8..5).prop_map(|(h, n)| neighbour(h, n)),
        2 => far(family).prop_map(publish),
        1 => far(family).prop_map(|h| Op::DeleteArp { address: ip(h) }),
        1 => Just(Op::FlushRoutes { family: Some(family) }),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Ops(Vec<Op>),
    Resolved(u8, &'static str, u8),
    Lost(u8, &'static str, bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(op(), 1..3).prop_map(Step::Ops),
        2 => (0u8..2, family().prop_flat_map(far), 1u8..9)
            .prop_map(|(l, h, n)| Step::Resolved(l, h, n)),
        1 => (0u8..2, family().prop_flat_map(far), any::<bool>())
            .prop_map(|(l, h, f)| Step::Lost(l, h, f)),
    ]
}

/// An adjacency with interfaces by name, since numbers differ.
fn described(m: &Machine, adjacency: &Adjacency) -> String {
    let name = |id: IfId| m.net.name(id).unwrap_or("-").to_owned();
    let a = adjacency;
    // What a "no" is about is nobody's business but the counters'.
    let (out, below) = (name(a.out_if), name(a.underlay_if));
    format!(
        "{:?} {:?} {:?} {} {} {} {out} {below} {:x} {:?}",
        a.kind,
        a.encap,
        a.port,
        a.flags,
        a.mtu,
        a.underlay_mtu,
        a.partial_checksum,
        a.rewrite()
    )
}

/// All that can be seen of a machine.
fn seen(m: &Machine) -> Vec<String> {
    let mut seen = Vec::new();
    let nets = NETS.iter().chain(&NETS6);
    let edges = nets.flat_map(|n| [net(n).network(), net(n).broadcast()]);
    let addresses = HOSTS.iter().map(|h| ip(h)).chain(edges);
    for address in addresses.chain([
        ip("10.0.2.77"),
        ip("10.0.9.9"),
        ip("11.1"),
        ip("fd00::77"),
        ip("fd01::1"),
    ]) {
        let text = address.to_string();
        let way = format!("{:?}", crate::control::topology::Topology::way(&m.net, address));
        // Ways have numbers, so only their kind is compared.
        let way = way.split([' ', '{']).next().unwrap_or_default().to_owned();
        seen.push(format!("{text}: {} {way}", described(m, &m.meets(&text))));
        if groups::is_group(m, &text) {
            seen.push(format!("{text}: {:?}", groups::buckets(m, &text)));
        }
    }
    seen.extend(m.net.routes(true).iter().map(|route| format!("{route:?}")));
    for (id, view) in m.net.interfaces() {
        let view = InterfaceView { index: 0, ..view };
        seen.push(format!("{view:?}"));
        let guard = m.tables.pin();
        if view.tunnel.is_some() {
            let slot = m.tables.tunnels.get(id.index(), &guard);
            assert_eq!(slot.interface, id);
            let (local, remote) = (slot.local6, slot.remote6);
            seen.push(format!("{} {:?} {}", view.name, slot.table, slot.remote).to_owned());
            seen.push(format!("{} {local:x} {remote:x}", view.name));
            seen.push(format!("{} up {}", view.name, slot.up));
        }
    }
    seen.extend(keys(m));
    let guard = m.tables.pin();
    let interfaces = m.tables.interfaces.load(&guard);
    for port in &interfaces.ports {
        let vlans = port.vlans.iter().map(|(vlan, at)| (vlan, at.up)).collect::<Vec<_>>();
        seen.push(format!("{} {:?} {vlans:?}", port.mac, port.untagged));
    }
    let mut own = interfaces.own.to_vec();
    own.sort_unstable();
    seen.push(format!("{own:?} {}", interfaces.own_complete));
    let mut own6 = interfaces.own6.to_vec();
    own6.sort_unstable();
    seen.push(format!("{own6:x?} {} {:?}", interfaces.own6_complete, interfaces.udp));
    let fib = m.net.tables_view();
    let prefixes = [fib.fib4_prefixes, fib.fib6_prefixes];
    seen.push(format!("{prefixes:?} {} {}", fib.next_hops, fib.tunnels));
    seen.push(format!("{} keys", m.tables.decap.len()));
    seen
}

/// All decapsulation keys of this world.
fn keys(m: &Machine) -> Vec<String> {
    use crate::tables::tunnel::Received;
    let guard = m.tables.pin();
    let mut keys = Vec::new();
    for (from, to) in HOSTS.iter().flat_map(|s| HOSTS.iter().map(move |d| (s, d))) {
        let all = [(4, None), (41, None), (47, None), (47, Some(0)), (47, Some(7))];
        for ((protocol, key), port) in all.iter().flat_map(|one| [0, 4754].map(|p| (*one, p))) {
            let (table, source, destination) = (crate::ids::TableId(0), ip(from), ip(to));
            let received = Received { table, source, destination, protocol, key, port };
            if let Some(index) = m.tables.decap.get(m.tables.decap.key_of(&received), &guard) {
                let name = m.net.name(IfId(index)).unwrap();
                keys.push(format!("{from} > {to} {protocol} {key:?} {port}: {name}"));
            }
        }
    }
    keys
}

/// Transactions accepted, refused, and tunnels seen running.
type Tally = [usize; 3];

fn check(steps: &[Step]) -> Tally {
    let mut m = Machine::new();
    m.all(&[address("en0", "10.0.0.1/24"), address("en1", "10.0.3.1/24"), create("en0.20")]);
    m.all(&[create("gre0"), create("gre1"), create("ipip0"), add("10.0.0.0/16", "10.0.3.9")]);
    m.all(&[address("en0", "fd00::1/64"), address("en1", "fd00:0:0:3::1/64")]);
    m.ok(add("fd00::/48", "fd00:0:0:3::9"));
    let mut learned: Vec<(IfId, IpAddr, Option<Mac>)> = Vec::new();
    let mut tally = [0; 3];
    for step in steps {
        let before = (m.net.state(), seen(&m), m.net.tables_view().generation);
        match step {
            Step::Resolved(link, h, n) => {
                m.net.neighbour_resolved(IfId((*link).into()), ip(h), mac(*n));
                let up = m.net.links.is_up(IfId((*link).into()));
                learned.retain(|(l, a, _)| !(up && l.0 == u32::from(*link) && *a == ip(h)));
                if up {
                    learned.push((IfId((*link).into()), ip(h), Some(mac(*n))));
                }
            }
            Step::Lost(link, h, failed) => {
                m.net.neighbour_lost(IfId((*link).into()), ip(h), *failed);
                let up = m.net.links.is_up(IfId((*link).into()));
                let this = |l: &IfId, a: &IpAddr| l.0 == u32::from(*link) && *a == ip(h);
                learned.retain(|(l, a, _)| !((up || !failed) && this(l, a)));
                if up && *failed {
                    learned.push((IfId((*link).into()), ip(h), None));
                }
            }
            Step::Ops(ops) => match m.try_all(ops) {
                Ok((_, events)) => {
                    tally[0] += 1;
                    assert_eq!(m.net.tables_view().generation, before.2 + 1);
                    for event in events {
                        match event {
                            Event::LinkDown { link } => learned.retain(|(l, ..)| *l != link),
                            // What was learned of an address does not come back
                            // when what is configured for it goes.
                            Event::StaticAdded { link, address, .. }
                            | Event::StaticRemoved { link, address } => {
                                learned.retain(|(l, a, _)| (*l, *a) != (link, address));
                            }
                            _ => {}
                        }
                    }
                }
                Err(error) => {
                    tally[1] += 1;
                    assert!(!error.problems.is_empty());
                    let after = (m.net.state(), seen(&m), m.net.tables_view().generation);
                    assert_eq!(before, after, "refused and yet changed: {ops:?}");
                    continue;
                }
            },
        }
        let fresh = Machine::from_state(&m.net.state(), &learned);
        assert_eq!(m.net.state(), fresh.net.state());
        assert_eq!(seen(&m), seen(&fresh), "after {step:?}");
        assert_eq!(m.net.difference(&m.net.state()).unwrap(), []);
        tally[2] += m.net.tunnels.values().filter(|state| state.underlay.is_ok()).count();
    }
    tally
}

#[test]
fn tables_are_a_function_of_the_state() {
    let cases = std::env::var("PROPTEST_CASES").map_or(150, |n| n.parse().unwrap());
    let config = ProptestConfig { cases, max_shrink_iters: 2_000, ..ProptestConfig::default() };
    let tally = std::cell::Cell::new([0; 3]);
    let mut runner = proptest::test_runner::TestRunner::new(config);
    // So many that tunnels run, which takes several steps that go together.
    let steps = prop::collection::vec(step(), 1..50);
    runner
        .run(&steps, |steps| {
            let (sum, new) = (tally.get(), check(&steps));
            tally.set(std::array::from_fn(|at| sum[at] + new[at]));
            Ok(())
        })
        .unwrap();
    // The ops have to be worth something.
    let tally = tally.get();
    assert!(tally.iter().all(|count| *count > cases as usize / 2), "{tally:?}");
}

#[test]
fn a_bad_last_op_leaves_nothing_behind() {
    let mut m = Machine::new();
    m.all(&office());
    let bad = [
        create("nonsense"),
        destroy("gre9"),
        pair("gre0", "10.1", "10.1"),
        add("0.0.0.0/0", "10.9"),
        alias("en1", "10.7/16"),
        endpoints("gre0", "203.0.113.1", "10.1"),
    ];
    let good = [
        create("gre7"),
        pair("gre7", "44.1", "44.2"),
        endpoints("gre7", "203.0.113.1", "44.9"),
        create("en1.5"),
        alias("en1.5", "45.1/8"),
        add("46.0.0.0/8", "10.9"),
        publish("10.77"),
        neighbour("10.78", 4),
        delete("0.0.0.0/0"),
        destroy("gre0"),
        Op::SetIcmp { icmp: IcmpSpec { echo: false, ..IcmpSpec::default() } },
        Op::FlushArp { family: None },
    ];
    for last in bad {
        let before = (m.net.state(), seen(&m), m.net.routes(true), m.net.tables_view());
        // The last op is bad with what precedes it, too: gre0 is put back.
        let mut ops = good.to_vec();
        ops.extend(office().split_off(3));
        ops.push(add("0.0.0.0/0", "203.0.113.254"));
        ops.push(last.clone());
        assert!(m.try_all(&ops).is_err(), "{last:?}");
        let after = (m.net.state(), seen(&m), m.net.routes(true), m.net.tables_view());
        assert_eq!(before, after, "{last:?}");
    }
}

#[test]
fn a_full_table_refuses_and_leaves_nothing_behind() {
    let config =
        TablesConfig { adjacencies: 40, tunnels: 8, decap_keys: 2, fib_groups: 2, fib6_groups: 64 };
    let mut m = Machine::with(Tables::new(config));
    m.all(&[address("en0", "10.0.0.1/30"), create("gre0"), create("gre1"), create("gre2")]);
    m.all(&[endpoints("gre0", "10.1", "77.1"), endpoints("gre1", "10.1", "77.2")]);
    let before = (m.net.state(), seen(&m));
    let both = [endpoints("gre1", "10.1", "77.4"), endpoints("gre2", "10.1", "77.3")];
    let error = m.try_all(&both).unwrap_err();
    assert!(error.to_string().contains("decapsulation table is full"), "{error}");
    assert_eq!(before, (m.net.state(), seen(&m)));
    m.refused(pair("gre2", "78.1", "79.1"), &["groups"]);
    let many = (0..9).map(|n| create(&format!("gre1{n}"))).collect::<Vec<_>>();
    let error = m.try_all(&many).unwrap_err();
    assert!(error.to_string().contains("as many as there can be"), "{error}");
    let routes = (0..9).map(|n| add(&format!("8{n}.0.0.1/32"), "10.2")).collect::<Vec<_>>();
    let error = m.try_all(&routes).unwrap_err();
    assert!(error.to_string().contains("groups"), "{error}");
    assert_eq!(before, (m.net.state(), seen(&m)));
    // What was given back can be taken.
    m.ok(Op::ClearEndpoints { name: "gre0".into() });
    m.ok(endpoints("gre2", "10.1", "77.3"));
    m.ok(destroy("gre0"));
    m.ok(create("gre9"));
}

#[test]
fn tunnels_can_swap_their_outer_pairs() {
    let mut m = Machine::new();
    m.all(&[address("en0", "10.0.0.1/24"), create("gre0"), create("gre1")]);
    m.all(&[endpoints("gre0", "10.1", "10.6"), endpoints("gre1", "10.1", "10.7")]);
    let swap = [endpoints("gre0", "10.1", "10.7"), endpoints("gre1", "10.1", "10.6")];
    m.try_all(&swap).unwrap();
    let state = m.net.state();
    assert_eq!(seen(&m), seen(&Machine::from_state(&state, &[])));
    assert_eq!(m.net.tables_view().tunnels, 2);
}
