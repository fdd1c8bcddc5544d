//! Advertisements on virtual time.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::control::tally::fake::{EN0, EN0_MAC, EN1, Fake, assert_conserved};
use crate::wire::ether::ETHER_LEN;

const SOURCE: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 0xc0);
const NET: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0);

struct Bench {
    engine: Advertiser,
    world: Fake,
    counters: Arc<ControlCounters>,
}

fn advertised(world: &Fake, id: IfId, spec: AdvertiseSpec) -> Advertised {
    let link = *world.links.iter().find(|link| link.id == id).unwrap();
    let prefixes = [(NET, 64)].into_iter().collect();
    Advertised { link, source: SOURCE, spec, prefixes }
}

impl Bench {
    fn new() -> Bench {
        let counters = Arc::new(ControlCounters::default());
        let engine = Advertiser::new(Arc::clone(&counters));
        Bench { engine, world: Fake::default(), counters }
    }

    fn follow(&mut self, ms: u64, all: Vec<Advertised>) {
        self.engine.follow(&mut self.world, Duration::from_millis(ms), all);
    }

    /// Everything said from one moment to another: when, and what.
    fn run(&mut self, from: u64, to: u64) -> Vec<(u64, RouterAdvert)> {
        let mut said = Vec::new();
        for ms in from..to {
            self.engine.tick(&mut self.world, Duration::from_millis(ms));
            said.extend(self.said().into_iter().map(|advert| (ms, advert)));
        }
        assert_conserved(&self.counters);
        said
    }

    fn said(&mut self) -> Vec<RouterAdvert> {
        let read = |(kind, bytes): (InjectKind, Vec<u8>)| {
            assert!(matches!(kind, InjectKind::Frame { out_if: EN0, .. }), "{kind:?}");
            assert_eq!(bytes[..6], [0x33, 0x33, 0, 0, 0, 1]);
            let (ends, message) = NdRepr::parse(&bytes[ETHER_LEN..]).unwrap();
            assert_eq!((ends.source, ends.destination), (SOURCE, ALL_NODES));
            match message {
                NdRepr::RouterAdvert(advert) => advert,
                other => panic!("{other:?}"),
            }
        };
        self.world.injected.drain(..).map(read).collect()
    }

    fn solicit(&mut self, ms: u64) {
        let source = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);
        let ends = Ends { source, destination: crate::wire::icmp6::nd::ALL_ROUTERS };
        let bytes = NdRepr::RouterSolicit { source_mac: None }.datagram(ends);
        assert!(self.engine.is_asked(EN0, &bytes) && !self.engine.is_asked(EN1, &bytes));
        self.engine.on_solicit(Duration::from_millis(ms), EN0, &bytes);
    }
}

#[test]
fn a_link_is_advertised_with_its_prefixes_and_mtu() {
    let mut b = Bench::new();
    b.follow(0, vec![advertised(&b.world, EN0, AdvertiseSpec::default())]);
    let said = b.run(0, 501);
    let prefix = Prefix { network: NET, len: 64, valid: 2_592_000, preferred: 604_800 };
    let expected = RouterAdvert {
        hop_limit: 64,
        lifetime: 1800,
        source_mac: Some(EN0_MAC),
        mtu: Some(1500),
        prefixes: [prefix].into_iter().collect(),
    };
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].1, expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// RFC 4861 §6.2.4: between a third of the interval and all of it, the first
    /// three 16 s at most.
    #[test]
    fn unsolicited_ones_come_at_random_intervals(seconds in 4u16..60, seed: u8) {
        let mut b = Bench::new();
        let spec = AdvertiseSpec { interval: seconds, ..AdvertiseSpec::default() };
        let mut told = advertised(&b.world, EN0, spec);
        told.link.mac.0[5] = seed;
        b.follow(0, vec![told]);
        let said = b.run(0, u64::from(seconds) * 8_000);
        let gaps: Vec<u64> = said.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        let most = u64::from(seconds) * 1000;
        let least = (most / 3).max(3000);
        for (at, gap) in gaps.iter().enumerate() {
            let (least, most) = if at < 2 { (least.min(16_000), most.min(16_000)) } else { (least, most) };
            prop_assert!((least..=most + 1).contains(gap), "{at}: {gap} of {gaps:?}");
        }
        let mut different = gaps.clone();
        different.sort_unstable();
        different.dedup();
        prop_assert!(different.len() > 2, "drawn, not fixed: {:?}", gaps);
    }

    /// RFC 4861 §6.2.6: however many ask, one in three seconds; and whoever asks is
    /// answered within that and half a second.
    #[test]
    fn solicitations_are_answered_soon_and_not_too_often(asks in prop::collection::vec(0u64..60_000, 1..60)) {
        let mut b = Bench::new();
        b.follow(0, vec![advertised(&b.world, EN0, AdvertiseSpec::default())]);
        let mut asks = asks;
        asks.sort_unstable();
        let (mut said, mut from) = (Vec::new(), 0);
        for ask in &asks {
            said.extend(b.run(from, *ask));
            b.solicit(*ask);
            from = *ask;
        }
        said.extend(b.run(from, 70_000));
        let times: Vec<u64> = said.iter().map(|(at, _)| *at).collect();
        prop_assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 3000), "{:?}", times);
        for ask in asks {
            let answer = times.iter().find(|at| **at >= ask);
            prop_assert!(answer.is_some_and(|at| *at - ask <= 3501), "{ask}: {times:?}");
        }
    }
}

#[test]
fn what_is_not_a_solicitation_is_refused() {
    let mut b = Bench::new();
    b.follow(0, vec![advertised(&b.world, EN0, AdvertiseSpec::default())]);
    b.run(0, 1000);
    let ends = Ends { source: Ipv6Addr::UNSPECIFIED, destination: ALL_NODES };
    // From nobody, and yet with a link address (RFC 4861 §6.1.1).
    let bytes = NdRepr::RouterSolicit { source_mac: Some(EN0_MAC) }.datagram(ends);
    assert!(b.engine.is_asked(EN0, &bytes));
    b.engine.on_solicit(Duration::from_secs(1), EN0, &bytes);
    assert_eq!(b.counters.dropped_for(ControlDrop::NdInvalid), 1);
    assert_eq!(b.run(1000, 4600), [], "no answer");
}

#[test]
fn a_change_is_told_and_so_is_the_end() {
    let mut b = Bench::new();
    let usual = AdvertiseSpec::default();
    let told = advertised(&b.world, EN0, usual);
    b.follow(0, vec![told.clone()]);
    assert_eq!(b.run(0, 501).len(), 1);
    b.follow(10_000, vec![told]);
    assert_eq!(b.run(10_000, 10_501), [], "nothing is new");
    let short = AdvertiseSpec { lifetime: 0, ..usual };
    b.follow(10_501, vec![advertised(&b.world, EN0, short)]);
    let said = b.run(10_501, 11_002);
    assert_eq!((said.len(), said[0].1.lifetime), (1, 0));
    b.follow(20_000, vec![advertised(&b.world, EN0, usual)]);
    assert_eq!(b.run(20_000, 20_501).len(), 1);
    b.follow(21_000, Vec::new());
    assert_eq!(b.said().iter().map(|advert| advert.lifetime).collect::<Vec<_>>(), [0]);
    assert_eq!(b.run(21_000, 700_000), [], "no more");
}

#[test]
fn a_link_that_is_down_says_no_farewell() {
    let mut b = Bench::new();
    b.follow(0, vec![advertised(&b.world, EN0, AdvertiseSpec::default())]);
    b.run(0, 501);
    b.world.links.iter_mut().for_each(|link| link.up = false);
    b.follow(1000, Vec::new());
    assert_eq!(b.said(), []);
}
