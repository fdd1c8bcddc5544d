//! What the engines are told.

use super::*;

fn told(m: &mut Machine, ops: &[Op]) -> Vec<Event> {
    m.try_all(ops).unwrap().1
}

#[test]
fn addresses_links_and_routes() {
    let mut m = Machine::new();
    let (link, first, second) = (EN0, ip("10.1"), ip("11.1"));
    let added = |address| Event::AddressAdded { link, address };
    let removed = |address| Event::AddressRemoved { link, address };
    assert_eq!(told(&mut m, &[address("en0", "10.1")]), [added(first), Event::RoutesChanged]);
    assert_eq!(
        told(&mut m, &[address("en0", "11.1")]),
        [removed(first), added(second), Event::RoutesChanged]
    );
    let down = set("en0", |f| f.up = Some(false));
    assert_eq!(told(&mut m, &[down]), [Event::LinkDown { link }, Event::RoutesChanged]);
    let up = set("en0", |f| f.up = Some(true));
    assert_eq!(told(&mut m, &[up]), [added(second), Event::RoutesChanged]);
    assert_eq!(told(&mut m, &[set("en0", |f| f.mtu = Some(1400))]), []);
    // Back and forth in one transaction: nothing to tell.
    assert_eq!(told(&mut m, &[address("en0", "12.1"), address("en0", "11.1")]), []);
    assert_eq!(told(&mut m, &[add("20.0.0.0/8", "11.9")]), [Event::RoutesChanged]);
    let icmp = IcmpSpec { echo: false, ..IcmpSpec::default() };
    assert_eq!(told(&mut m, &[Op::SetIcmp { icmp: icmp.clone() }]), [Event::Icmp(icmp)]);
}

#[test]
fn arp_entries() {
    let mut m = Machine::new();
    m.ok(address("en0", "10.1"));
    let (link, address) = (EN0, ip("10.9"));
    let to = address;
    let fixed = |n| Event::StaticAdded { link, address: to, mac: mac(n) };
    assert_eq!(told(&mut m, &[neighbour("10.9", 1)]), [fixed(1)]);
    assert_eq!(m.kind("10.9"), AdjacencyKind::Rewrite, "planned at once");
    assert_eq!(told(&mut m, &[neighbour("10.9", 2)]), [fixed(2)]);
    assert_eq!(m.meets("10.9").rewrite()[..6], mac(2).0);
    // What is configured counts, whatever the engine hears.
    m.learn(EN0, "10.9", 7);
    assert_eq!(m.meets("10.9").rewrite()[..6], mac(2).0);
    m.net.neighbour_lost(EN0, address, false);
    let own = Mac([2, 0, 0, 0, 0, 0]);
    assert_eq!(
        told(&mut m, &[publish("10.9")]),
        [Event::Published { link, address: to, mac: own }]
    );
    let gone =
        [Event::StaticRemoved { link, address: to }, Event::Unpublished { link, address: to }];
    let mut expected = gone.to_vec();
    expected.push(Event::Forget { address: to });
    assert_eq!(told(&mut m, &[Op::DeleteArp { address }]), expected);
    assert_eq!(m.kind("10.9"), AdjacencyKind::Resolve);
    // A learned entry alone can be deleted too.
    let delete = [Op::DeleteArp { address }.into()];
    let (_, events) = m.net.transact(&delete, &|asked| asked == address).unwrap();
    assert_eq!(events, [Event::Forget { address: to }]);
    m.all(&[neighbour("10.9", 1), publish("10.9")]);
    let mut expected = gone.to_vec();
    expected.push(Event::ForgetAll { family: None });
    assert_eq!(told(&mut m, &[Op::FlushArp { family: None }]), expected);
    // A link that comes back tells its static neighbours again.
    m.all(&[neighbour("10.9", 1), set("en0", |f| f.up = Some(false))]);
    assert!(told(&mut m, &[set("en0", |f| f.up = Some(true))]).contains(&fixed(1)));
}
