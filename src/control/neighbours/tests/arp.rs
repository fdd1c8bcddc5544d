//! Reception: RFC 826's order, whom to believe, our own addresses.

use super::*;

const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3));
const OTHER_MAC: Mac = Mac([2, 0, 0, 0, 0, 0xbb]);

#[test]
fn ar01_a_request_for_us_is_learned_from_and_answered() {
    let mut b = Bench::new();
    b.hears(0, EN0, &who_has((HOST_MAC, HOST), OWN));
    assert_eq!(b.world.done(), [Did::Resolved(EN0, HOST, HOST_MAC)]);
    let reply = Sent {
        port: PortId(0),
        out_if: EN0,
        vlan: None,
        to: HOST_MAC,
        op: 2,
        sender: (EN0_MAC, OWN),
        target: (HOST_MAC, HOST),
    };
    assert_eq!(b.arp_sent(), [reply]);
    assert_eq!(b.engine.state_of(EN0, HOST), Some("reachable"));
    assert!(b.engine.knows(HOST) && !b.engine.knows(OTHER));
}

#[test]
fn ar01_on_a_vlan_the_answer_is_tagged() {
    let mut b = Bench::new();
    let host = IpAddr::V4(Ipv4Addr::new(192, 168, 20, 7));
    b.hears(0, EN0_20, &who_has((HOST_MAC, host), IpAddr::V4(Ipv4Addr::new(192, 168, 20, 1))));
    let sent = b.arp_sent();
    assert_eq!((sent[0].vlan, sent[0].out_if, sent[0].port), (Some(20), EN0_20, PortId(0)));
}

#[test]
fn ar01_merge_comes_before_the_target_and_the_operation() {
    let mut b = Bench::new();
    b.hears(0, EN0, &who_has((HOST_MAC, HOST), OWN));
    b.world.done();
    b.world.sent();
    // The known host moves to another card and asks for somebody else; then
    // with an operation nobody knows. Both merge, neither is answered.
    b.hears(1, EN0, &who_has((OTHER_MAC, HOST), OTHER));
    assert_eq!(b.world.done(), [Did::Resolved(EN0, HOST, OTHER_MAC)]);
    b.hears(1001, EN0, &arp(9, (HOST_MAC, HOST), (NEVER, OTHER), EN0_MAC));
    assert_eq!(b.world.done(), [Did::Resolved(EN0, HOST, HOST_MAC)]);
    assert_eq!(b.arp_sent(), []);
    // Hearing the same again is no news.
    b.hears(1002, EN0, &who_has((HOST_MAC, HOST), OTHER));
    assert_eq!(b.world.done(), []);
    assert_eq!(b.counters.consumed.get(), 4);
}

#[test]
fn a_neighbour_moves_once_a_second_at_most() {
    let mut b = Bench::new();
    b.hears(0, EN0, &who_has((HOST_MAC, HOST), OWN));
    b.world.done();
    for n in 1..100 {
        let mac = if n % 2 == 0 { HOST_MAC } else { OTHER_MAC };
        b.hears(n * 10, EN0, &who_has((mac, HOST), OTHER));
    }
    assert_eq!(b.world.done(), [Did::Resolved(EN0, HOST, OTHER_MAC)], "the first one only");
    assert_eq!(b.dropped(ControlDrop::ArpMovedTooOften), 49);
    b.hears(1010, EN0, &who_has((HOST_MAC, HOST), OTHER));
    assert_eq!(b.world.done(), [Did::Resolved(EN0, HOST, HOST_MAC)], "a second later");
    // Another neighbour has a second of its own.
    b.hears(1011, EN0, &who_has((HOST_MAC, OTHER), OWN));
    b.hears(1012, EN0, &who_has((OTHER_MAC, OTHER), OWN));
    let moved = Did::Resolved(EN0, OTHER, OTHER_MAC);
    assert_eq!(b.world.done(), [Did::Resolved(EN0, OTHER, HOST_MAC), moved]);
}

#[test]
fn moves_of_many_neighbours_are_logged_at_a_bounded_rate() {
    let neighbour = |n: u32| IpAddr::V4(Ipv4Addr::from(0x0a03_0000 + n + 1));
    let mut b = Bench::new();
    for n in 0..100 {
        b.hears(0, EN0, &who_has((HOST_MAC, neighbour(n)), OWN));
    }
    b.world.done();
    // Each moves once: none too often for itself.
    let all_move = |b: &mut Bench, ms: u64, mac: Mac| {
        let said = super::proxy::logged(|| {
            for n in 0..100 {
                b.hears(ms, EN0, &who_has((mac, neighbour(n)), OTHER));
            }
        });
        assert_eq!(b.world.done().len(), 100, "all are followed");
        said.matches(" moved from ").count()
    };
    assert_eq!(all_move(&mut b, 1_000, OTHER_MAC), MOVES_SAID_AT_ONCE as usize);
    assert_eq!(all_move(&mut b, 4_000, HOST_MAC), 3 * MOVES_SAID_PER_SECOND as usize);
}

#[test]
fn ar01_unknown_senders_are_added_only_if_the_target_is_us() {
    let mut b = Bench::new();
    b.hears(0, EN0, &who_has((HOST_MAC, HOST), OTHER));
    b.hears(0, EN0, &arp(1, (HOST_MAC, HOST), (NEVER, HOST), Mac::BROADCAST));
    assert_eq!((b.world.done(), b.arp_sent()), (vec![], vec![]));
    assert_eq!(b.dropped(ControlDrop::ArpNotForUs), 2);
    // Operation last: one that nobody knows still adds the sender.
    b.hears(0, EN0, &arp(9, (HOST_MAC, HOST), (NEVER, OWN), EN0_MAC));
    assert_eq!(b.world.done(), [Did::Resolved(EN0, HOST, HOST_MAC)]);
    assert_eq!(b.arp_sent(), []);
}

#[test]
fn ar03_group_and_zero_link_addresses_are_refused() {
    let mut b = Bench::new();
    for bad in [Mac::BROADCAST, Mac([1, 0, 0x5e, 0, 0, 1]), NEVER] {
        b.hears(0, EN0, &is_at((bad, HOST), (EN0_MAC, OWN)));
        b.hears(0, EN0, &who_has((bad, HOST), OWN));
    }
    assert_eq!(b.dropped(ControlDrop::ArpBadSenderMac), 6);
    assert_eq!((b.world.done(), b.arp_sent()), (vec![], vec![]));
    assert_eq!(b.engine.state_of(EN0, HOST), None);
}

#[test]
fn senders_that_do_not_belong_on_the_wire_are_not_learned() {
    let mut b = Bench::new();
    let foreign = [
        ROUTER,
        FAR,
        IpAddr::V4(Ipv4Addr::new(10, 255, 255, 255)),
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)),
    ];
    for address in foreign {
        b.hears(0, EN0, &who_has((HOST_MAC, address), OWN));
    }
    assert_eq!(b.dropped(ControlDrop::ArpForeignSender), 4);
    assert_eq!((b.world.done(), b.arp_sent()), (vec![], vec![]));
}

#[test]
fn own_address_of_another_wire_is_not_answered_for() {
    let mut b = Bench::new();
    b.hears(0, EN0, &who_has((HOST_MAC, HOST), IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1))));
    assert_eq!(b.arp_sent(), []);
    assert_eq!(b.dropped(ControlDrop::ArpNotForUs), 1);
}

#[test]
fn garbage_down_links_and_our_own_voice_are_dropped_by_name() {
    let mut b = Bench::new();
    let good = who_has((HOST_MAC, HOST), OWN);
    for len in [0, 13, 14, 41] {
        b.hears(0, EN0, &good[..len]);
    }
    let mut ipv6 = good.clone();
    ipv6[16..18].copy_from_slice(&[0x86, 0xdd]);
    b.hears(0, EN0, &ipv6);
    assert_eq!(b.dropped(ControlDrop::ArpInvalid), 5);

    b.hears(0, EN0, &who_has((EN0_MAC, OWN), OWN));
    b.hears(0, EN0, &who_has((EN1_MAC, OWN), HOST));
    b.hears(0, EN0, &who_has((EN0_MAC, HOST), OWN));
    assert_eq!(b.dropped(ControlDrop::ArpOwnEcho), 3);

    b.hears(0, GRE0, &good);
    b.world.links[0].up = false;
    b.hears(0, EN0, &good);
    assert_eq!(b.dropped(ControlDrop::LinkDown), 2);
    assert_eq!((b.world.done(), b.arp_sent()), (vec![], vec![]));
}

#[test]
fn probes_for_our_addresses_are_answered_and_teach_nothing() {
    let mut b = Bench::new();
    b.hears(0, EN0, &who_has((HOST_MAC, IpAddr::V4(Ipv4Addr::UNSPECIFIED)), OWN));
    let sent = b.arp_sent();
    assert_eq!((sent[0].to, sent[0].sender), (HOST_MAC, (EN0_MAC, OWN)));
    assert_eq!(sent[0].target, (HOST_MAC, IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
    assert_eq!(b.world.done(), []);
    assert_eq!(b.engine.views(&|_| String::new(), at(0)), []);
}

#[test]
fn a_claim_on_our_address_is_defended_at_most_once_in_a_while() {
    let mut b = Bench::new();
    for ms in [0, 1, 5000, 9999] {
        b.hears(ms, EN0, &who_has((HOST_MAC, OWN), OTHER));
    }
    let announcement = Sent {
        port: PortId(0),
        out_if: EN0,
        vlan: None,
        to: Mac::BROADCAST,
        op: 1,
        sender: (EN0_MAC, OWN),
        target: (NEVER, OWN),
    };
    assert_eq!(b.arp_sent(), [announcement]);
    b.hears(10_000, EN0, &is_at((HOST_MAC, OWN), (OTHER_MAC, OTHER)));
    assert_eq!(b.arp_sent().len(), 1);
    assert_eq!(b.dropped(ControlDrop::ArpConflict), 5);
    assert_eq!((b.world.done(), b.engine.knows(OWN)), (vec![], false));
}

#[test]
fn an_added_address_is_announced_and_no_longer_a_neighbour() {
    let mut b = Bench::new();
    b.hears(0, EN0, &who_has((HOST_MAC, HOST), OWN));
    b.world.done();
    b.world.sent();
    b.world.addresses.push((EN0, HOST, 8));
    b.told(Event::AddressAdded { link: EN0, address: HOST });
    assert_eq!(b.world.done(), [Did::Lost(EN0, HOST, false)]);
    let sent = b.arp_sent();
    assert_eq!((sent[0].to, sent[0].sender), (Mac::BROADCAST, (EN0_MAC, HOST)));
    assert_eq!(sent[0].target.1, HOST);
}

#[test]
fn static_neighbours_do_not_move() {
    let mut b = Bench::new();
    b.told(Event::StaticAdded { link: EN0, address: HOST, mac: OTHER_MAC });
    b.hears(0, EN0, &who_has((HOST_MAC, HOST), OWN));
    assert_eq!(b.world.done(), []);
    assert_eq!(b.arp_sent()[0].to, HOST_MAC, "answered nevertheless");
    let view = b.view(HOST);
    assert_eq!((view.state.as_str(), view.mac), ("permanent", Some(OTHER_MAC)));
    assert_eq!(view.expires_s, None);
    assert!(!b.engine.knows(HOST), "not a learned entry");
    b.told(Event::ForgetAll { family: None });
    b.told(Event::LinkDown { link: EN0 });
    assert_eq!(b.engine.state_of(EN0, HOST), Some("permanent"));
    b.told(Event::StaticRemoved { link: EN0, address: HOST });
    assert_eq!(b.engine.state_of(EN0, HOST), None);
    assert_eq!(b.world.done(), []);
}

#[test]
fn entries_leave_with_their_link_their_subnet_or_on_request() {
    let mut b = Bench::new();
    let learn = |b: &mut Bench| {
        b.hears(0, EN0, &who_has((HOST_MAC, HOST), OWN));
        b.hears(0, EN0, &who_has((OTHER_MAC, OTHER), OWN));
        b.world.done();
    };
    learn(&mut b);
    b.told(Event::Forget { address: HOST });
    assert_eq!(b.world.done(), [Did::Lost(EN0, HOST, false)]);
    assert!(b.engine.knows(OTHER));

    learn(&mut b);
    b.world.addresses[0].2 = 16;
    b.told(Event::AddressRemoved { link: EN0, address: OWN });
    assert_eq!(b.world.done(), [Did::Lost(EN0, OTHER, false)], "10.1.2.3 is not in 10.0/16");

    b.world.addresses[0].2 = 8;
    learn(&mut b);
    b.told(Event::LinkDown { link: EN0 });
    assert_eq!(b.world.done(), [Did::Lost(EN0, HOST, false), Did::Lost(EN0, OTHER, false)]);
    assert_eq!(b.engine.next_deadline(), None);
}

#[test]
fn the_table_is_bounded_and_the_oldest_goes_first() {
    let mut b = Bench::with(NeighbourConfig { entries: 3, ..NeighbourConfig::default() });
    let host = |n: u8| IpAddr::V4(Ipv4Addr::new(10, 0, 1, n));
    for n in 1..=4 {
        b.hears(u64::from(n), EN0, &who_has((HOST_MAC, host(n)), OWN));
    }
    assert_eq!(b.world.done().last(), Some(&Did::Resolved(EN0, host(4), HOST_MAC)));
    assert!(!b.engine.knows(host(1)) && b.engine.knows(host(2)));
    // One that leads nowhere goes before any that does.
    b.forwards(10, &udp(HOST, host(9), 9, b""));
    assert!(!b.engine.knows(host(2)));
    b.forwards(11, &udp(HOST, host(10), 9, b""));
    assert!(b.engine.knows(host(3)) && b.engine.knows(host(4)) && !b.engine.knows(host(9)));
    assert_eq!(b.dropped(ControlDrop::NeighbourForgotten), 1);
}

#[test]
fn an_engine_that_forgets_to_count_is_noticed() {
    let mut b = Bench::new();
    b.hears(0, EN0, &who_has((HOST_MAC, HOST), OWN));
    b.counters.consumed.add(1);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| b.settled()));
    assert!(result.is_err());
}
