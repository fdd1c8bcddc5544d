//! Packets that wait, requests, failure, ageing.

use super::*;
use crate::exchange::InjectKind::{Forward, Originate};

const BEYOND: IpAddr = IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8));
const ROUTER_MAC: Mac = Mac([2, 0, 0, 0, 0, 0xfe]);
const C_OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));

fn router_answers() -> Vec<u8> {
    is_at((ROUTER_MAC, ROUTER), (EN1_MAC, C_OUTSIDE))
}

#[test]
fn ar02_packets_wait_for_the_gateway_and_go_on_in_order() {
    let mut b = Bench::new();
    let packets = [udp(HOST, BEYOND, 9, b"one"), udp(HOST, BEYOND, 9, b"two")];
    for packet in &packets {
        assert_eq!(b.forwards(0, packet), None);
    }
    assert_eq!(b.engine.on_unresolved(&mut b.world, at(0), IfId::NONE, true, &packets[0]), None);
    let request = Sent {
        port: PortId(1),
        out_if: EN1,
        vlan: None,
        to: Mac::BROADCAST,
        op: 1,
        sender: (EN1_MAC, C_OUTSIDE),
        target: (NEVER, ROUTER),
    };
    assert_eq!(b.arp_sent(), [request], "asked once, for the gateway, from that wire's address");
    assert_eq!((b.view(ROUTER).held, b.view(ROUTER).state.as_str()), (3, "incomplete"));

    b.hears(300, EN1, &router_answers());
    assert_eq!(b.world.done(), [Did::Resolved(EN1, ROUTER, ROUTER_MAC)]);
    let forward = Forward { in_if: EN0 };
    let expected = [
        (forward, packets[0].clone()),
        (forward, packets[1].clone()),
        (Originate, packets[0].clone()),
    ];
    assert_eq!(b.world.sent(), expected);
    assert_eq!(b.view(ROUTER).held, 0);
}

#[test]
fn a_tunnel_packet_waits_for_the_underlay() {
    let mut b = Bench::new();
    b.world.tunnel_up();
    b.forwards(0, &udp(HOST, MOBILE, 9, b""));
    assert_eq!(b.arp_sent()[0].target.1, ROUTER);
    b.hears(1, EN1, &router_answers());
    assert_eq!(b.world.sent().len(), 1);
}

#[test]
fn ar04_requests_go_out_once_a_second_and_three_times() {
    let mut b = Bench::new();
    for ms in 0..50 {
        b.forwards(ms * 10, &udp(HOST, BEYOND, 9, b""));
    }
    let mut asked = vec![(0, b.arp_sent().len())];
    for ms in [999, 1000, 1999, 2000, 2999] {
        assert_eq!(b.until(ms), []);
        asked.push((ms, b.arp_sent().len()));
    }
    assert_eq!(asked, [(0, 1), (999, 0), (1000, 1), (1999, 0), (2000, 1), (2999, 0)]);
    assert_eq!(b.world.done(), []);
}

#[test]
fn ar02_ic09_only_a_neighbour_that_does_not_answer_is_unreachable() {
    let mut b = Bench::new();
    let packets = [udp(HOST, BEYOND, 9, b"one"), udp(HOST, BEYOND, 9, b"two")];
    b.forwards(0, &packets[0]);
    b.forwards(500, &packets[1]);
    assert_eq!(b.until(2999), []);
    let given_up = b.until(3000);
    let bytes: Vec<&[u8]> = given_up.iter().map(|held| &held.bytes[..]).collect();
    assert_eq!(bytes, packets.each_ref().map(Vec::as_slice));
    assert_eq!(b.world.done(), [Did::Lost(EN1, ROUTER, true)]);
    assert_eq!(b.dropped(ControlDrop::NeighbourFailed), 2);

    // One more that was on its way here is answered at once, not held.
    let late = b.forwards(3001, &packets[0]).expect("given up");
    assert_eq!((&late.bytes[..], late.in_if), (&packets[0][..], EN0));
    assert_eq!(b.engine.state_of(EN1, ROUTER), Some("failed"));

    // After a while it may be tried again.
    b.world.sent();
    b.until(8000);
    assert_eq!(b.world.done(), [Did::Lost(EN1, ROUTER, false)]);
    assert_eq!(b.forwards(8001, &packets[0]), None);
    assert_eq!(b.arp_sent().len(), 1);
}

#[test]
fn a_failed_neighbour_that_speaks_is_back() {
    let mut b = Bench::new();
    b.forwards(0, &udp(HOST, BEYOND, 9, b""));
    b.until(3000);
    b.world.done();
    b.hears(3500, EN1, &who_has((ROUTER_MAC, ROUTER), C_OUTSIDE));
    assert_eq!(b.world.done(), [Did::Resolved(EN1, ROUTER, ROUTER_MAC)]);
}

#[test]
fn ar02_the_newest_displaces_the_oldest() {
    let mut b = Bench::with(NeighbourConfig { held_each: 2, ..NeighbourConfig::default() });
    let packet = |n: u8| udp(HOST, BEYOND, 9, &[n]);
    for n in 0..5 {
        b.forwards(0, &packet(n));
    }
    assert_eq!(b.dropped(ControlDrop::HeldDisplaced), 3);
    b.world.sent();
    b.hears(1, EN1, &router_answers());
    let sent: Vec<_> = b.world.sent().into_iter().map(|(_, bytes)| bytes).collect();
    assert_eq!(sent, [packet(3), packet(4)]);
}

#[test]
fn what_is_held_altogether_is_bounded_in_packets_and_bytes() {
    let host = |n: u8| IpAddr::V4(Ipv4Addr::new(10, 0, 1, n));
    let small = udp(HOST, host(1), 9, b"").len();
    let bounds = [
        NeighbourConfig { held_packets: 2, ..NeighbourConfig::default() },
        NeighbourConfig { held_bytes: 2 * small, ..NeighbourConfig::default() },
    ];
    for config in bounds {
        let mut b = Bench::with(config);
        for n in [1, 2, 3] {
            b.forwards(0, &udp(HOST, host(n), 9, b""));
        }
        assert_eq!(b.dropped(ControlDrop::HoldFull), 1, "nothing of its own to displace");
        b.forwards(0, &udp(HOST, host(2), 9, b""));
        assert_eq!(b.dropped(ControlDrop::HeldDisplaced), 1);
        b.until(8000);
        assert_eq!(b.counters.view().held, 0);
        b.forwards(8001, &udp(HOST, host(3), 9, b""));
        assert_eq!(b.counters.view().held, 1, "room again");
    }
}

#[test]
fn a_packet_that_comes_late_is_sent_on_at_once() {
    let mut b = Bench::new();
    let packet = udp(HOST, BEYOND, 9, b"");
    b.forwards(0, &packet);
    b.hears(10, EN1, &router_answers());
    b.world.done();
    b.world.sent();
    assert_eq!(b.forwards(11, &packet), None);
    assert_eq!(b.world.sent(), [(Forward { in_if: EN0 }, packet.clone())]);
    assert_eq!(b.world.done(), []);
    // If they keep coming, the world is told again.
    b.forwards(1100, &packet);
    b.forwards(1101, &packet);
    assert_eq!(b.world.done(), [Did::Resolved(EN1, ROUTER, ROUTER_MAC)]);

    b.told(Event::StaticAdded { link: EN1, address: ROUTER, mac: ROUTER_MAC });
    b.world.sent();
    b.forwards(1200, &packet);
    assert_eq!(b.world.sent().len(), 1);
}

#[test]
fn a_static_entry_releases_what_waits() {
    let mut b = Bench::new();
    b.forwards(0, &udp(HOST, BEYOND, 9, b""));
    b.world.sent();
    b.told(Event::StaticAdded { link: EN1, address: ROUTER, mac: ROUTER_MAC });
    assert_eq!(b.world.sent().len(), 1);
    assert_eq!(b.until(10_000), []);
}

#[test]
fn what_no_neighbour_leads_to_is_dropped_by_name() {
    let mut b = Bench::new();
    for to in [OWN, IpAddr::V4(Ipv4Addr::BROADCAST)] {
        b.forwards(0, &udp(HOST, to, 9, b""));
    }
    b.world.routes.clear();
    b.forwards(0, &udp(HOST, BEYOND, 9, b""));
    let way = Way::Tunnel { tunnel: GRE0, underlay: None };
    b.world.routes.push((ipnet::IpNet::default(), way));
    b.forwards(0, &udp(HOST, BEYOND, 9, b""));
    assert_eq!(b.dropped(ControlDrop::NoNextHop), 4);
    b.forwards(0, &[0x45; 19]);
    assert_eq!(b.dropped(ControlDrop::DatagramInvalid), 1);
    b.world.links[1].up = false;
    b.world.routes[0].1 = Way::Neighbour { link: EN1, address: ROUTER };
    b.forwards(0, &udp(HOST, BEYOND, 9, b""));
    assert_eq!(b.dropped(ControlDrop::LinkDown), 1);
    assert_eq!(b.world.sent(), []);
}

#[test]
fn a_link_that_goes_down_takes_what_waits_with_it() {
    let mut b = Bench::new();
    b.forwards(0, &udp(HOST, BEYOND, 9, b""));
    b.told(Event::LinkDown { link: EN1 });
    assert_eq!(b.dropped(ControlDrop::NeighbourForgotten), 1);
    assert_eq!((b.counters.view().held, b.world.done()), (0, vec![]));
}

#[test]
fn a_full_exchange_loses_packets_by_name_and_nothing_else() {
    let mut b = Bench::new();
    b.world.room = 0;
    b.forwards(0, &udp(HOST, BEYOND, 9, b""));
    b.hears(1, EN1, &router_answers());
    assert_eq!(b.dropped(ControlDrop::InjectQueueFull), 2, "the request, then the packet");
    assert_eq!(b.world.done(), [Did::Resolved(EN1, ROUTER, ROUTER_MAC)]);
}

#[test]
fn ar04_a_silent_neighbour_is_probed_and_forgotten() {
    let mut b = Bench::new();
    b.hears(0, EN0, &who_has((HOST_MAC, HOST), OWN));
    b.world.done();
    b.world.sent();
    assert_eq!(b.view(HOST).expires_s, Some(60));
    b.until(59_999);
    assert_eq!(b.arp_sent(), []);
    for ms in [60_000, 61_000, 62_000] {
        b.until(ms);
        let sent = b.arp_sent();
        assert_eq!((sent.len(), sent[0].to, sent[0].target.1), (1, HOST_MAC, HOST), "unicast");
        assert_eq!(b.engine.state_of(EN0, HOST), Some("probe"));
    }
    assert_eq!(b.world.done(), [], "in use until then");
    b.until(63_000);
    assert_eq!(b.world.done(), [Did::Lost(EN0, HOST, false)]);
    assert_eq!(b.engine.state_of(EN0, HOST), None);
}

#[test]
fn ar04_a_neighbour_that_answers_goes_on() {
    let mut b = Bench::new();
    b.hears(0, EN0, &who_has((HOST_MAC, HOST), OWN));
    b.world.done();
    b.until(61_000);
    b.hears(61_200, EN0, &is_at((HOST_MAC, HOST), (EN0_MAC, OWN)));
    assert_eq!(b.engine.state_of(EN0, HOST), Some("reachable"));
    b.until(121_199);
    assert_eq!((b.world.done(), b.engine.state_of(EN0, HOST)), (vec![], Some("reachable")));
}

#[test]
fn a_tick_does_a_bounded_amount() {
    let mut b = Bench::new();
    for n in 0..600u32 {
        let host = IpAddr::V4(Ipv4Addr::from(0x0a01_0000 + n + 1));
        b.hears(0, EN0, &who_has((HOST_MAC, host), OWN));
    }
    b.world.sent();
    let _ = b.engine.tick(&mut b.world, at(60_000));
    assert_eq!(b.world.sent().len(), PER_TICK);
    assert_eq!(b.engine.next_deadline(), Some(at(60_000)), "more to do at once");
}

proptest::proptest! {
    /// Whatever comes in whatever order: nothing is lost, indices agree, held
    /// is bounded (all asserted by the bench after each call).
    #[test]
    fn anything_in_any_order_is_conserved(
        steps in proptest::collection::vec((0u8..8, 0u8..6, 0u64..4000), 1..120),
    ) {
        let config = NeighbourConfig {
            entries: 4, held_each: 2, held_packets: 5, ..NeighbourConfig::default()
        };
        let mut b = Bench::with(config);
        let mut ms = 0;
        for (what, n, wait) in steps {
            ms += wait;
            let host = IpAddr::V4(Ipv4Addr::new(10, 0, 2, n));
            match what {
                0..=2 => { let _ = b.forwards(ms, &udp(HOST, host, 9, &[n])); }
                3 => b.hears(ms, EN0, &is_at((HOST_MAC, host), (EN0_MAC, OWN))),
                4 => b.told(Event::Forget { address: host }),
                5 => b.world.room = usize::from(n) * 3,
                6 => b.told(Event::LinkDown { link: EN0 }),
                _ => { let _ = b.until(ms); }
            }
            proptest::prop_assert!(b.counters.view().held <= 5);
            proptest::prop_assert!(b.engine.table.learned() <= 4);
        }
        b.told(Event::ForgetAll { family: None });
        proptest::prop_assert_eq!(b.counters.view().held, 0);
    }
}
