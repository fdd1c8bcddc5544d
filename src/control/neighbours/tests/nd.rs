//! IPv6 neighbour discovery (ND-01 to ND-04) and duplicate address detection.

use std::net::Ipv6Addr;

use super::*;
use crate::wire::icmp6::Ends;
use crate::wire::icmp6::nd::{ALL_NODES, NdRepr, group_mac, solicited_node};

const OTHER_MAC: Mac = Mac([2, 0, 0, 0, 0, 0xbb]);
const NOBODY: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
const FAR6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 9));

/// A frame the engine sent: Ethernet read by etherparse, the message by wire.
#[derive(Debug, PartialEq, Eq)]
struct Spoken {
    out_if: IfId,
    vlan: Option<u16>,
    to: Mac,
    from: IpAddr,
    at: IpAddr,
    message: NdRepr,
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V6(address) => address,
        IpAddr::V4(address) => panic!("{address} is no IPv6 address"),
    }
}

fn read((kind, frame): &(InjectKind, Vec<u8>)) -> Spoken {
    let InjectKind::Frame { out_if, .. } = *kind else { panic!("{kind:?} is not a frame") };
    let sliced = etherparse::SlicedPacket::from_ethernet(frame).expect("a frame");
    let Some(etherparse::LinkSlice::Ethernet2(ether)) = &sliced.link else { panic!("no Ethernet") };
    let vlan = sliced.vlan_ids().first().map(|id| id.value());
    let start = if vlan.is_some() { 18 } else { 14 };
    let (ends, message) = NdRepr::parse(&frame[start..]).expect("valid neighbour discovery");
    let (from, at) = (ends.source.into(), ends.destination.into());
    Spoken { out_if, vlan, to: Mac(ether.destination()), from, at, message }
}

fn solicit(from: IpAddr, mac: Option<Mac>, target: IpAddr, to: IpAddr) -> Vec<u8> {
    let ends = Ends { source: v6(from), destination: v6(to) };
    NdRepr::Solicit { target: v6(target), source_mac: mac }.datagram(ends).to_vec()
}

/// A question as hosts ask it: to the target's group.
fn who_has6(from: IpAddr, mac: Option<Mac>, target: IpAddr) -> Vec<u8> {
    solicit(from, mac, target, solicited_node(v6(target)).into())
}

fn advert(target: IpAddr, mac: Option<Mac>, solicited: bool, overrides: bool) -> Vec<u8> {
    let destination = if solicited { v6(OWN6) } else { ALL_NODES };
    let ends = Ends { source: v6(target), destination };
    let repr =
        NdRepr::Advert { target: v6(target), target_mac: mac, router: false, solicited, overrides };
    repr.datagram(ends).to_vec()
}

impl Bench {
    fn v6() -> Bench {
        let mut bench = Bench::new();
        bench.world = Fake::default().with_ipv6();
        bench
    }

    #[track_caller]
    fn hears6(&mut self, ms: u64, link: IfId, message: &[u8]) {
        self.engine.on_nd(&mut self.world, at(ms), link, message);
        self.settled();
    }

    fn spoken(&mut self) -> Vec<Spoken> {
        self.world.sent().iter().map(read).collect()
    }
}

#[test]
fn nd01_nd02_packets_wait_while_the_group_is_asked_once_a_second() {
    let mut b = Bench::v6();
    let packets = [udp(HOST6, HOST6, 9, b"one"), udp(OWN6, HOST6, 9, b"two")];
    for packet in &packets {
        assert_eq!(b.forwards(0, packet), None);
    }
    let group = solicited_node(v6(HOST6));
    let question = |message| Spoken {
        out_if: EN0,
        vlan: None,
        to: group_mac(group),
        from: OWN6,
        at: group.into(),
        message,
    };
    let asked = NdRepr::Solicit { target: v6(HOST6), source_mac: Some(EN0_MAC) };
    assert_eq!(b.spoken(), [question(asked.clone())]);
    b.until(999);
    assert_eq!(b.spoken(), []);
    b.until(1000);
    assert_eq!(b.spoken(), [question(asked)]);

    b.hears6(1300, EN0, &advert(HOST6, Some(HOST_MAC), true, true));
    assert_eq!(b.world.done(), [Did::Resolved(EN0, HOST6, HOST_MAC)]);
    let forward = InjectKind::Forward { in_if: EN0 };
    assert_eq!(b.world.sent(), packets.map(|packet| (forward, packet)));
    assert_eq!(b.engine.state_of(EN0, HOST6), Some("reachable"));
}

#[test]
fn nd02_only_a_neighbour_that_does_not_answer_is_unreachable() {
    let mut b = Bench::v6();
    let packet = udp(OWN6, HOST6, 9, b"");
    b.forwards(0, &packet);
    assert_eq!(b.until(2999), []);
    assert_eq!(b.spoken().len(), 3);
    let given_up = b.until(3000);
    assert_eq!(given_up.iter().map(|held| &held.bytes[..]).collect::<Vec<_>>(), [&packet[..]]);
    assert_eq!(b.world.done(), [Did::Lost(EN0, HOST6, true)]);
}

#[test]
fn a_question_for_us_is_answered_and_the_asker_probed_later() {
    let mut b = Bench::v6();
    b.hears6(0, EN0, &who_has6(HOST6, Some(HOST_MAC), OWN6));
    let answer = Spoken {
        out_if: EN0,
        vlan: None,
        to: HOST_MAC,
        from: OWN6,
        at: HOST6,
        message: NdRepr::Advert {
            target: v6(OWN6),
            target_mac: Some(EN0_MAC),
            router: true,
            solicited: true,
            overrides: true,
        },
    };
    assert_eq!(b.spoken(), [answer]);
    assert_eq!(b.world.done(), [Did::Resolved(EN0, HOST6, HOST_MAC)]);
    assert_eq!(b.engine.state_of(EN0, HOST6), Some("delay"), "it spoke; does it hear?");
    b.until(4999);
    assert_eq!(b.spoken(), []);
    b.until(5000);
    let probe = b.spoken();
    assert_eq!((probe[0].to, probe[0].at), (HOST_MAC, HOST6), "unicast");
    b.hears6(5100, EN0, &advert(HOST6, None, true, false));
    assert_eq!(b.engine.state_of(EN0, HOST6), Some("reachable"));
    assert_eq!(b.world.done(), [], "nothing new");
    b.until(65_100);
    assert_eq!(b.engine.state_of(EN0, HOST6), Some("probe"));
    b.until(68_100);
    assert_eq!(b.world.done(), [Did::Lost(EN0, HOST6, false)]);
}

#[test]
fn link_local_askers_are_answered_and_not_kept() {
    let mut b = Bench::v6();
    let host = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9));
    for target in [OWN6, LINK_LOCAL] {
        b.hears6(0, EN0, &who_has6(host, Some(HOST_MAC), target));
        let sent = b.spoken();
        assert_eq!((sent.len(), sent[0].to, sent[0].at, sent[0].from), (1, HOST_MAC, host, target));
    }
    assert_eq!(b.world.done(), []);
    // Without its link address the path has to find it.
    b.hears6(0, EN0, &solicit(host, None, OWN6, OWN6));
    assert_eq!(b.world.sent()[0].0, InjectKind::Originate);
    // The link-local address of another link is nothing here.
    b.world.addresses.push((EN1, IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 7)), 64));
    let other = b.world.addresses.last().expect("just pushed").1;
    b.hears6(0, EN0, &who_has6(host, Some(HOST_MAC), other));
    assert_eq!((b.spoken(), b.dropped(ControlDrop::NdNotForUs)), (vec![], 1));
}

#[test]
fn on_a_vlan_the_answer_is_tagged() {
    let mut b = Bench::v6();
    let (own, host) = (v6(OWN6), Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9));
    let own = IpAddr::V6(Ipv6Addr::from_bits(own.to_bits() & 0xffff | 0xfd00 << 112));
    b.world.addresses.push((EN0_20, own, 64));
    b.hears6(0, EN0_20, &who_has6(host.into(), Some(HOST_MAC), own));
    let sent = b.spoken();
    assert_eq!((sent[0].vlan, sent[0].out_if), (Some(20), EN0_20));
}

#[test]
fn nd03_what_is_not_valid_changes_nothing() {
    let mut b = Bench::v6();
    let good = who_has6(HOST6, Some(HOST_MAC), OWN6);
    let changed = |at: usize, value: u8| {
        let mut bad = good.clone();
        bad[at] = value;
        bad
    };
    for bad in [changed(7, 254), changed(43, 0), changed(41, 1), good[..60].to_vec(), vec![]] {
        b.hears6(0, EN0, &bad);
    }
    assert_eq!(b.dropped(ControlDrop::NdInvalid), 5);
    for mac in [Mac::BROADCAST, NEVER, Mac([0x33, 0x33, 0, 0, 0, 1])] {
        b.hears6(0, EN0, &who_has6(HOST6, Some(mac), OWN6));
    }
    assert_eq!(b.dropped(ControlDrop::NdBadLinkAddress), 3);
    b.hears6(0, EN0, &who_has6(FAR6, Some(HOST_MAC), OWN6));
    b.hears6(0, EN0, &who_has6(FAR6, None, OWN6));
    assert_eq!(b.dropped(ControlDrop::NdForeignSender), 2);
    b.hears6(0, EN0, &who_has6(HOST6, Some(HOST_MAC), MOBILE6));
    b.hears6(0, EN0, &advert(HOST6, Some(HOST_MAC), true, true));
    assert_eq!(b.dropped(ControlDrop::NdNotForUs), 2, "for others; asked for by nobody");
    b.hears6(0, EN0, &who_has6(OWN6, Some(EN0_MAC), OWN6));
    assert_eq!(b.dropped(ControlDrop::NdOwnEcho), 1);
    b.world.links[0].up = false;
    b.hears6(0, EN0, &good);
    assert_eq!(b.dropped(ControlDrop::LinkDown), 1);
    assert_eq!((b.world.done(), b.world.sent()), (vec![], vec![]));
}

#[test]
fn advertisements_update_as_rfc_4861_says() {
    // solicited, override, another link address: state and link address after.
    for (state, solicited, overrides, moved, then, mac) in [
        ("reachable", true, true, true, "reachable", OTHER_MAC),
        ("reachable", false, true, true, "delay", OTHER_MAC),
        ("reachable", true, false, true, "delay", HOST_MAC),
        ("reachable", false, false, true, "delay", HOST_MAC),
        ("reachable", false, true, false, "reachable", HOST_MAC),
        ("delay", true, false, false, "reachable", HOST_MAC),
        ("delay", true, false, true, "delay", HOST_MAC),
        ("delay", false, true, false, "delay", HOST_MAC),
        ("delay", false, true, true, "delay", OTHER_MAC),
    ] {
        let mut b = Bench::v6();
        b.hears6(0, EN0, &who_has6(HOST6, Some(HOST_MAC), OWN6));
        if state == "reachable" {
            b.hears6(0, EN0, &advert(HOST6, Some(HOST_MAC), true, true));
        }
        assert_eq!(b.engine.state_of(EN0, HOST6), Some(state));
        b.world.done();
        let told = if moved { OTHER_MAC } else { HOST_MAC };
        b.hears6(10, EN0, &advert(HOST6, Some(told), solicited, overrides));
        let view = b.view(HOST6);
        let case = (state, solicited, overrides, moved);
        assert_eq!((view.state.as_str(), view.mac), (then, Some(mac)), "{case:?}");
        assert_eq!(b.world.done().len(), usize::from(mac == OTHER_MAC), "{case:?}");
    }
}

#[test]
fn a_neighbour_moves_once_a_second_at_most_in_ipv6_too() {
    let mut b = Bench::v6();
    b.hears6(0, EN0, &who_has6(HOST6, Some(HOST_MAC), OWN6));
    b.world.done();
    b.hears6(10, EN0, &advert(HOST6, Some(OTHER_MAC), true, true));
    b.hears6(20, EN0, &advert(HOST6, Some(HOST_MAC), true, true));
    assert_eq!(b.world.done(), [Did::Resolved(EN0, HOST6, OTHER_MAC)]);
    assert_eq!(b.dropped(ControlDrop::NdMovedTooOften), 1);
}

#[test]
fn an_added_address_is_asked_for_then_announced() {
    let mut b = Bench::v6();
    b.told(Event::AddressAdded { link: EN0, address: OWN6 });
    let group = solicited_node(v6(OWN6));
    let probe = Spoken {
        out_if: EN0,
        vlan: None,
        to: group_mac(group),
        from: NOBODY,
        at: group.into(),
        message: NdRepr::Solicit { target: v6(OWN6), source_mac: None },
    };
    assert_eq!(b.spoken(), [probe]);
    assert_eq!(b.engine.next_deadline(), Some(at(1000)));
    b.until(999);
    assert_eq!(b.spoken(), []);
    b.until(1000);
    let announcement = Spoken {
        out_if: EN0,
        vlan: None,
        to: group_mac(ALL_NODES),
        from: OWN6,
        at: ALL_NODES.into(),
        message: NdRepr::Advert {
            target: v6(OWN6),
            target_mac: Some(EN0_MAC),
            router: true,
            solicited: false,
            overrides: true,
        },
    };
    assert_eq!(b.spoken(), [announcement]);
    assert_eq!(b.engine.next_deadline(), None);
    // One that goes at once is not announced.
    b.told(Event::AddressAdded { link: EN0, address: OWN6 });
    b.told(Event::AddressRemoved { link: EN0, address: OWN6 });
    b.world.sent();
    b.until(5000);
    assert_eq!(b.spoken(), []);
}

#[test]
fn whoever_wants_our_address_is_told_and_whoever_has_it_is_warned_about() {
    let mut b = Bench::v6();
    b.hears6(0, EN0, &who_has6(NOBODY, None, OWN6));
    let sent = b.spoken();
    assert_eq!((sent[0].to, sent[0].at), (group_mac(ALL_NODES), ALL_NODES.into()));
    let text = super::proxy::logged(|| {
        for ms in [0, 5000, 9999] {
            b.hears6(ms, EN0, &advert(OWN6, Some(HOST_MAC), false, true));
        }
    });
    assert_eq!(text.matches("claims our own address 2001:db8::1").count(), 1, "{text}");
    assert_eq!(b.dropped(ControlDrop::NdConflict), 3);
    assert_eq!(b.spoken().len(), 1, "defended once in a while");
    assert!(!b.engine.knows(OWN6));
}

#[test]
fn nd04_a_published_address_is_advertised_without_override_while_its_route_leaves_elsewhere() {
    let mut b = Bench::v6();
    b.told(Event::Published { link: EN0, address: MOBILE6, mac: EN0_MAC });
    b.hears6(0, EN0, &who_has6(HOST6, Some(HOST_MAC), MOBILE6));
    assert_eq!(b.spoken(), [], "silent: it is at home on this link");
    let way = Way::Tunnel { tunnel: GRE0, underlay: Some((EN1, ROUTER)) };
    b.world.routes.push((ipnet::IpNet::from(MOBILE6), way));
    b.told(Event::RoutesChanged);
    let proxied = |solicited| NdRepr::Advert {
        target: v6(MOBILE6),
        target_mac: Some(EN0_MAC),
        router: true,
        solicited,
        overrides: false,
    };
    let sent = b.spoken();
    assert_eq!((sent.len(), sent[0].to, sent[0].from), (1, group_mac(ALL_NODES), OWN6));
    assert_eq!(sent[0].message, proxied(false), "announced when it became active");
    b.hears6(1, EN0, &who_has6(HOST6, Some(HOST_MAC), MOBILE6));
    let sent = b.spoken();
    assert_eq!((sent[0].to, sent[0].from, sent[0].at), (HOST_MAC, OWN6, HOST6));
    assert_eq!(sent[0].message, proxied(true));
    // Somebody else who claims it is named and not believed.
    b.hears6(2, EN0, &advert(MOBILE6, Some(OTHER_MAC), false, true));
    assert_eq!(b.dropped(ControlDrop::NdPublishedConflict), 1);
    assert_eq!(b.view(MOBILE6).state, "published");
}

#[test]
fn routers_are_neither_followed_nor_answered() {
    let mut b = Bench::v6();
    let ends = Ends { source: v6(HOST6), destination: ALL_NODES };
    let solicit = NdRepr::RouterSolicit { source_mac: Some(HOST_MAC) };
    b.hears6(0, EN0, &solicit.datagram(ends));
    assert_eq!(b.dropped(ControlDrop::NdRouter), 1);
    assert_eq!((b.world.done(), b.world.sent()), (vec![], vec![]));
}

proptest::proptest! {
    /// Whatever comes in whatever order: nothing is lost, indices agree.
    #[test]
    fn anything_in_any_order_is_conserved(
        steps in proptest::collection::vec((0u8..7, 0u8..6, 0u64..4000), 1..100),
    ) {
        let mut b = Bench::with(NeighbourConfig { entries: 4, ..NeighbourConfig::default() });
        b.world = Fake::default().with_ipv6();
        let mut ms = 0;
        for (what, n, wait) in steps {
            ms += wait;
            let host = IpAddr::V6(Ipv6Addr::from_bits(v6(OWN6).to_bits() + 7 + u128::from(n)));
            match what {
                0 | 1 => { let _ = b.forwards(ms, &udp(OWN6, host, 9, &[n])); }
                2 => b.hears6(ms, EN0, &who_has6(host, Some(HOST_MAC), OWN6)),
                3 => b.hears6(ms, EN0, &advert(host, Some(OTHER_MAC), n % 2 == 0, n % 3 == 0)),
                4 => b.told(Event::LinkDown { link: EN0 }),
                5 => b.told(Event::AddressAdded { link: EN0, address: OWN6 }),
                _ => { let _ = b.until(ms); }
            }
            proptest::prop_assert!(b.engine.table.learned() <= 4);
        }
    }
}
