//! Router advertisements (RFC 4861 §6.2), on the links that ask for them: at
//! random intervals, and when a host solicits one. By multicast only, so that
//! a flood of solicitations costs one every three seconds.
//!
//! ```text
//!   transaction ─▶ follow: which links, what is said ─▶ begins, begins anew, says farewell
//!   solicitation ─▶ sooner, but 3 s after the last one
//!   tick ─▶ due: said, and the next time drawn
//! ```
//!
//! Heard advertisements of other routers change nothing: routes are configured.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use arrayvec::ArrayVec;

use super::neighbours::frame;
use super::tally::{ControlDrop, inject};
use super::topology::{Link, World};
use crate::exchange::InjectKind;
use crate::flow::splitmix;
use crate::ids::IfId;
use crate::model::spec::AdvertiseSpec;
use crate::stats::counters::ControlCounters;
use crate::wire::IPPROTO_ICMPV6;
use crate::wire::icmp6::nd::{ALL_NODES, MOST_PREFIXES, NdRepr, Prefix, RouterAdvert, group_mac};
use crate::wire::icmp6::{Ends, ROUTER_SOLICITATION};
use crate::wire::ipv6::{IPV6_LEN, NEXT_HEADER_OFFSET};

/// The first so many come at most so far apart (MAX_INITIAL_RTR_ADVERTISEMENTS,
/// MAX_INITIAL_RTR_ADVERT_INTERVAL).
const INITIAL: u32 = 3;
const INITIAL_INTERVAL: Duration = Duration::from_secs(16);
/// Between any two (MIN_DELAY_BETWEEN_RAS).
const BETWEEN: Duration = Duration::from_secs(3);
/// An answer waits for so long at most (MAX_RA_DELAY_TIME).
const DELAY: Duration = Duration::from_millis(500);
/// Hop limit that hosts are to use.
const HOP_LIMIT: u8 = 64;

/// A link as it is advertised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// The link, which is up.
    pub link: Link,
    /// Our link-local address there.
    pub source: Ipv6Addr,
    /// How.
    pub spec: AdvertiseSpec,
    /// Network and length of its prefixes.
    pub prefixes: ArrayVec<(Ipv6Addr, u8), MOST_PREFIXES>,
}

impl Advertised {
    /// What is said; `lifetime` 0 says that this is no default router.
    fn message(&self, lifetime: u16) -> NdRepr {
        let AdvertiseSpec { valid, preferred, .. } = self.spec;
        let prefix = |(network, len): &(Ipv6Addr, u8)| Prefix {
            network: *network,
            len: *len,
            valid,
            preferred,
        };
        NdRepr::RouterAdvert(RouterAdvert {
            hop_limit: HOP_LIMIT,
            lifetime,
            source_mac: Some(self.link.mac),
            mtu: Some(self.link.mtu.into()),
            prefixes: self.prefixes.iter().map(prefix).collect(),
        })
    }
}

/// A link's next advertisement.
#[derive(Debug)]
struct Speaker {
    told: Advertised,
    next: Duration,
    last: Option<Duration>,
    sent: u32,
}

/// The engine.
#[derive(Debug)]
pub struct Advertiser {
    links: BTreeMap<IfId, Speaker>,
    /// Drawn from for every interval.
    random: u64,
    counters: Arc<ControlCounters>,
}

impl Advertiser {
    /// One that says nothing yet.
    pub fn new(counters: Arc<ControlCounters>) -> Advertiser {
        Advertiser { links: BTreeMap::new(), random: 0, counters }
    }

    /// These links are advertised from now on, and no others.
    pub fn follow(&mut self, world: &mut impl World, now: Duration, all: Vec<Advertised>) {
        let mut before = std::mem::take(&mut self.links);
        for told in all {
            let id = told.link.id;
            match before.remove(&id) {
                Some(speaker) if speaker.told == told => _ = self.links.insert(id, speaker),
                other => {
                    // Routers of one wire draw other numbers.
                    let mac =
                        told.link.mac.0.iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
                    self.random ^= splitmix(mac);
                    let last = other.and_then(|speaker| speaker.last);
                    let next = self.soon(now, last);
                    self.links.insert(id, Speaker { told, next, last, sent: 0 });
                }
            }
        }
        for speaker in before.into_values() {
            // Hosts are not to wait for a lifetime to end (§6.2.5).
            let up = world.link(speaker.told.link.id).is_some_and(|link| link.up);
            if up && speaker.sent > 0 {
                self.say(world, &speaker.told, 0);
            }
        }
    }

    /// Says what is due.
    pub fn tick(&mut self, world: &mut impl World, now: Duration) {
        let due = |(id, speaker): (&IfId, &Speaker)| (speaker.next <= now).then_some(*id);
        while let Some(id) = self.links.iter().find_map(due) {
            let Some(mut speaker) = self.links.remove(&id) else { return };
            self.say(world, &speaker.told, speaker.told.spec.lifetime);
            speaker.sent = speaker.sent.saturating_add(1);
            speaker.last = Some(now);
            speaker.next = now + self.interval(&speaker);
            self.links.insert(id, speaker);
        }
    }

    /// True for a router solicitation on a link that is advertised: it is this
    /// engine's.
    pub fn is_asked(&self, link: IfId, bytes: &[u8]) -> bool {
        self.links.contains_key(&link)
            && bytes.get(NEXT_HEADER_OFFSET) == Some(&IPPROTO_ICMPV6)
            && bytes.get(IPV6_LEN) == Some(&ROUTER_SOLICITATION)
    }

    /// Takes a router solicitation (§6.2.6).
    pub fn on_solicit(&mut self, now: Duration, link: IfId, bytes: &[u8]) {
        self.counters.punts_taken.add(1);
        let Ok((_, NdRepr::RouterSolicit { .. })) = NdRepr::parse(bytes) else {
            return self.counters.drop_packet(ControlDrop::NdInvalid);
        };
        self.counters.consumed.add(1);
        let Some(last) = self.links.get(&link).map(|speaker| speaker.last) else { return };
        let soon = self.soon(now, last);
        if let Some(speaker) = self.links.get_mut(&link) {
            speaker.next = speaker.next.min(soon);
        }
    }

    /// A moment as soon as one may be.
    fn soon(&mut self, now: Duration, last: Option<Duration>) -> Duration {
        let earliest = last.map_or(now, |last| now.max(last + BETWEEN));
        earliest + self.draw(Duration::ZERO, DELAY)
    }

    /// Until the next unsolicited one.
    fn interval(&mut self, speaker: &Speaker) -> Duration {
        let most = Duration::from_secs(speaker.told.spec.interval.into());
        let least = (most / 3).max(BETWEEN);
        let interval = self.draw(least, most);
        if speaker.sent < INITIAL { interval.min(INITIAL_INTERVAL) } else { interval }
    }

    fn draw(&mut self, least: Duration, most: Duration) -> Duration {
        self.random = splitmix(self.random);
        let span = most.saturating_sub(least).as_nanos();
        least + Duration::from_nanos(((span * u128::from(self.random)) >> 64) as u64)
    }

    fn say(&self, world: &mut impl World, told: &Advertised, lifetime: u16) {
        let ends = Ends { source: told.source, destination: ALL_NODES };
        let packet = told.message(lifetime).datagram(ends);
        let frame = frame::nd(&told.link, group_mac(ALL_NODES), &packet);
        self.counters.originated.add(1);
        let kind = InjectKind::Frame { port: told.link.port, out_if: told.link.id };
        inject(world, &self.counters, kind, &frame);
    }
}

#[cfg(test)]
mod tests;
