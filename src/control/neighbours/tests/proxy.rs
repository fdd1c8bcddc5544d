//! Published entries (AR-06, T10).

use std::sync::Mutex;

use super::*;

const RIVAL: Mac = Mac([2, 0xab, 0, 0, 0, 0xef]);

fn published() -> Event {
    Event::Published { link: EN0, address: MOBILE, mac: EN0_MAC }
}

fn asked() -> Vec<u8> {
    who_has((HOST_MAC, HOST), MOBILE)
}

#[test]
fn ar06_silent_until_the_route_leaves_elsewhere_then_announced_and_answered() {
    let mut b = Bench::new();
    b.told(published());
    b.hears(0, EN0, &asked());
    assert_eq!((b.arp_sent(), b.world.done()), (vec![], vec![]));
    let view = b.view(MOBILE);
    assert_eq!((view.state.as_str(), view.mac), ("published (silent)", Some(EN0_MAC)));
    assert_eq!(view.note.as_deref(), Some("its route leaves by the link it is published on"));

    b.world.tunnel_up();
    b.told(Event::RoutesChanged);
    b.told(Event::RoutesChanged);
    let announcement = Sent {
        port: PortId(0),
        out_if: EN0,
        vlan: None,
        to: Mac::BROADCAST,
        op: 1,
        sender: (EN0_MAC, MOBILE),
        target: (NEVER, MOBILE),
    };
    assert_eq!(b.arp_sent(), [announcement], "once, when it became active");
    assert_eq!((b.view(MOBILE).state.as_str(), b.view(MOBILE).note), ("published", None));

    b.hears(1, EN0, &asked());
    let sent = b.arp_sent();
    assert_eq!((sent[0].op, sent[0].to), (2, HOST_MAC));
    assert_eq!((sent[0].sender, sent[0].target), ((EN0_MAC, MOBILE), (HOST_MAC, HOST)));
    assert_eq!(b.world.done(), [Did::Resolved(EN0, HOST, HOST_MAC)], "the asker is learned");

    b.world.routes.pop();
    b.hears(2, EN0, &asked());
    assert_eq!(b.arp_sent(), [], "each request is decided anew");
    b.told(Event::RoutesChanged);
    b.world.tunnel_up();
    b.told(Event::RoutesChanged);
    assert_eq!(b.arp_sent().len(), 1, "announced again");
    b.told(Event::Unpublished { link: EN0, address: MOBILE });
    b.hears(3, EN0, &asked());
    assert_eq!(b.arp_sent(), []);
}

#[test]
fn ar06_a_route_by_another_link_will_do_and_a_dead_one_will_not() {
    let mut b = Bench::new();
    let host_route = ipnet::IpNet::from(MOBILE);
    for (way, answers) in [
        (Way::Neighbour { link: EN1, address: ROUTER }, true),
        (Way::Neighbour { link: EN0_20, address: MOBILE }, true),
        (Way::Neighbour { link: EN0, address: HOST }, false),
        (Way::Tunnel { tunnel: GRE0, underlay: None }, false),
        (Way::Unreachable, false),
    ] {
        b.world.routes = vec![(host_route, way)];
        b.told(published());
        b.world.sent();
        b.hears(0, EN0, &asked());
        assert_eq!(b.arp_sent().len(), usize::from(answers), "{way:?}");
        assert_eq!(b.view(MOBILE).note.is_none(), answers, "{way:?}");
    }
}

#[test]
fn ar06_the_default_route_does_not_count() {
    let elsewhere = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
    let default = ipnet::IpNet::default();
    let mut b = Bench::new();
    b.told(Event::Published { link: EN0, address: elsewhere, mac: EN0_MAC });
    let tunnel = Way::Tunnel { tunnel: GRE0, underlay: Some((EN1, ROUTER)) };
    for way in [Way::Neighbour { link: EN1, address: ROUTER }, tunnel] {
        b.world.routes = vec![(default, way)];
        b.told(Event::RoutesChanged);
        b.hears(0, EN0, &who_has((HOST_MAC, HOST), elsewhere));
        assert_eq!(b.arp_sent(), [], "{way:?}");
        let note = b.view(elsewhere).note;
        assert_eq!(note.as_deref(), Some("only the default route leads to it"), "{way:?}");
        // Any other that leaves there does, however short.
        b.world.routes.push(("128.0.0.0/1".parse().expect("a prefix"), way));
        b.told(Event::RoutesChanged);
        assert_eq!(b.arp_sent().len(), 1, "announced: {way:?}");
        b.hears(0, EN0, &who_has((HOST_MAC, HOST), elsewhere));
        assert_eq!(b.arp_sent().len(), 1, "{way:?}");
    }
}

#[test]
fn ar06_only_on_its_link_for_senders_of_that_wire_and_never_for_broadcast() {
    let mut b = Bench::new();
    b.world.tunnel_up();
    b.told(published());
    b.world.sent();
    b.hears(0, EN0_20, &who_has((HOST_MAC, IpAddr::V4(Ipv4Addr::new(192, 168, 20, 9))), MOBILE));
    b.hears(0, EN0, &who_has((HOST_MAC, ROUTER), MOBILE));
    assert_eq!(b.arp_sent(), []);
    assert_eq!(b.dropped(ControlDrop::ArpForeignSender), 1);

    let broadcast = IpAddr::V4(Ipv4Addr::new(10, 255, 255, 255));
    b.told(Event::Published { link: EN0, address: broadcast, mac: EN0_MAC });
    b.hears(0, EN0, &who_has((HOST_MAC, HOST), broadcast));
    assert_eq!(b.arp_sent(), []);
    assert_eq!(b.view(broadcast).note.as_deref(), Some("is a broadcast address"));

    b.hears(0, EN0, &who_has((HOST_MAC, IpAddr::V4(Ipv4Addr::UNSPECIFIED)), MOBILE));
    assert_eq!(b.arp_sent().len(), 1, "a probe is answered: the address is taken");
    b.hears(0, EN0, &is_at((HOST_MAC, HOST), (EN0_MAC, MOBILE)));
    assert_eq!(b.arp_sent(), [], "replies are not");
}

#[test]
fn a_published_link_address_of_its_own_is_given_out() {
    let mut b = Bench::new();
    b.world.tunnel_up();
    let given = Mac([2, 0, 0, 0, 0, 0x77]);
    b.told(Event::Published { link: EN0, address: MOBILE, mac: given });
    b.world.sent();
    b.hears(0, EN0, &asked());
    let (_, frame) = &b.world.sent()[0];
    assert_eq!(frame[6..12], EN0_MAC.0, "the frame is from our port");
    assert_eq!(frame[22..28], given.0, "what it says is what was published");
}

#[test]
fn becoming_active_ends_the_neighbour_that_was_at_home() {
    let mut b = Bench::new();
    b.told(published());
    b.hears(0, EN0, &who_has((RIVAL, MOBILE), OWN));
    assert_eq!(b.world.done(), [Did::Resolved(EN0, MOBILE, RIVAL)], "at home, while silent");
    b.world.sent();
    b.world.tunnel_up();
    b.told(Event::RoutesChanged);
    assert_eq!(b.world.done(), [Did::Lost(EN0, MOBILE, false)]);
    assert_eq!(b.arp_sent().len(), 1);
}

#[test]
fn many_published_entries_are_reviewed_in_bounded_steps() {
    let mut b = Bench::new();
    for n in 0..600u32 {
        let address = IpAddr::V4(Ipv4Addr::from(0x0a02_0000 + n + 1));
        b.told(Event::Published { link: EN0, address, mac: EN0_MAC });
    }
    let way = Way::Tunnel { tunnel: GRE0, underlay: Some((EN1, ROUTER)) };
    b.world.routes.push(("10.2.0.0/16".parse().expect("a prefix"), way));
    b.told(Event::RoutesChanged);
    assert_eq!(b.world.sent().len(), PER_TICK);
    let _ = b.until(0);
    assert_eq!(b.world.sent().len(), 600 - PER_TICK);
    assert_eq!(b.engine.next_deadline(), None);
}

/// What was logged while `f` ran.
pub(super) fn logged(f: impl FnOnce()) -> String {
    // Its own for each call: tests run at the same time.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, f);
    let bytes = std::mem::take(&mut *log.0.lock().expect("not poisoned"));
    String::from_utf8(bytes).expect("text")
}

#[test]
fn a_rival_is_named_counted_and_not_believed() {
    let mut b = Bench::new();
    b.world.tunnel_up();
    b.told(published());
    b.world.sent();
    let text = logged(|| {
        for ms in [0, 10, 20] {
            b.hears(ms, EN0, &who_has((RIVAL, MOBILE), HOST));
        }
    });
    assert_eq!(text.matches("WARN").count(), 1, "{text}");
    assert!(text.contains("02:ab:00:00:00:ef claims 10.0.0.25"), "{text}");
    assert_eq!(b.dropped(ControlDrop::ArpPublishedConflict), 3);
    assert_eq!(b.view(MOBILE).note.as_deref(), Some("claimed by 02:ab:00:00:00:ef (3 times)"));
    assert_eq!((b.world.done(), b.engine.knows(MOBILE)), (vec![], false));

    let text = logged(|| b.hears(11_000, EN0, &who_has((RIVAL, OWN), HOST)));
    assert!(text.contains("02:ab:00:00:00:ef claims our own address 10.0.0.1"), "{text}");
}

#[test]
fn steady_changes_of_routes_do_not_keep_the_last_entries_from_being_announced() {
    let mut b = Bench::new();
    let address = |n: u16| IpAddr::V4(Ipv4Addr::from(0x0a05_0000 + u32::from(n)));
    for n in 0..600 {
        b.told(Event::Published { link: EN0, address: address(n), mac: EN0_MAC });
    }
    assert_eq!(b.arp_sent(), []);
    let way = Way::Tunnel { tunnel: GRE0, underlay: Some((EN1, ROUTER)) };
    b.world.routes.push(("10.5.0.0/16".parse().expect("a prefix"), way));
    for _ in 0..3 {
        b.told(Event::RoutesChanged);
    }
    assert_eq!(b.arp_sent().len(), 600);
    // What changed meanwhile is looked at in another round.
    b.world.routes.pop();
    b.until(0);
    assert_eq!(b.view(address(599)).state, "published (silent)");
}
