//! Published entries: proxy ARP (RFC 1027, AR-06), and proxy neighbour discovery
//! (RFC 4861 §7.2.8, ND-04) under the same conditions.
//!
//! A published entry answers only while the gateway has a route to the address,
//! other than the default route (RFC 1027 §2.2), that leaves by another
//! interface than the link it is published on; else it is silent, and the gateway never attracts packets it would send back or to
//! itself. Whether it answers is decided anew for each request; the state kept
//! here is what was last seen, so that becoming active can be announced.

use std::time::Duration;

use super::claim::Claim;
use super::table::Key;
use super::{Neighbours, PER_TICK};
use crate::control::topology::{Link, Topology, Way, World};
use crate::ids::Mac;

/// One published entry.
#[derive(Debug)]
pub(super) struct Published {
    /// Link address given out.
    pub mac: Mac,
    /// Why it does not answer, if it does not.
    pub silent: Option<&'static str>,
    /// Who else claimed the address, last.
    rival: Option<Rival>,
}

#[derive(Clone, Copy, Debug)]
struct Rival {
    mac: Mac,
    times: u64,
    warned: Duration,
}

impl Published {
    /// What `arp -a` adds to the line.
    pub fn note(&self) -> Option<String> {
        let rival = self.rival.map(|rival| {
            let times = if rival.times == 1 { "time" } else { "times" };
            format!("claimed by {} ({} {times})", rival.mac, rival.times)
        });
        match (self.silent, rival) {
            (Some(why), Some(rival)) => Some(format!("{why}; {rival}")),
            (Some(why), None) => Some(why.to_owned()),
            (None, rival) => rival,
        }
    }
}

/// `None` if the entry may answer, else why not.
fn silence(world: &impl Topology, (link, address): Key) -> Option<&'static str> {
    if world.owns(address) {
        return Some("is one of our own addresses");
    }
    if world.is_broadcast(address) {
        return Some("is a broadcast address");
    }
    match world.way(address) {
        Way::Neighbour { link: out, .. } if out == link => {
            Some("its route leaves by the link it is published on")
        }
        Way::Neighbour { .. } | Way::Tunnel { .. } if world.only_by_default(address) => {
            Some("only the default route leads to it")
        }
        Way::Neighbour { .. } | Way::Tunnel { underlay: Some(_), .. } => None,
        Way::Tunnel { underlay: None, .. } => Some("the tunnel it is routed into is not running"),
        Way::Local | Way::Broadcast | Way::Unreachable => Some("no route to it"),
    }
}

impl Neighbours {
    /// Puts a published entry in place, announced if it is active.
    pub(super) fn publish(&mut self, world: &mut impl World, key: Key, mac: Mac) {
        let fresh = Published { mac, silent: Some("not looked at yet"), rival: None };
        self.published.insert(key, fresh);
        self.review_one(world, key);
    }

    /// The link address to answer with for a published address, if it is
    /// active now.
    pub(super) fn published_answer(&mut self, world: &impl World, key: Key) -> Option<Mac> {
        let entry = self.published.get(&key)?;
        silence(world, key).is_none().then_some(entry.mac)
    }

    /// Looks again at published entries, a bounded number, going on where the
    /// last call stopped.
    pub(super) fn review_published(&mut self, world: &mut impl World) {
        let Some(from) = self.review.take() else { return };
        let mut rest = self.published.range(from..).map(|(key, _)| *key);
        let batch: Vec<Key> = rest.by_ref().take(PER_TICK).collect();
        self.review = rest.next();
        if self.review.is_none() && std::mem::take(&mut self.review_again) {
            self.review = self.published.keys().next().copied();
        }
        for key in batch {
            self.review_one(world, key);
        }
    }

    /// Announces an entry that became active (gratuitous ARP, unsolicited advertisement), so
    /// that hosts
    /// replace what they knew before.
    fn review_one(&mut self, world: &mut impl World, key: Key) {
        let silent = silence(world, key);
        let Some(entry) = self.published.get_mut(&key) else { return };
        let was_silent = entry.silent.is_some();
        entry.silent = silent;
        let mac = entry.mac;
        if was_silent && silent.is_none() {
            // Whoever had the address on this link is elsewhere now.
            if self.table.get(&key).is_some_and(|e| e.state.is_learned()) {
                self.remove(world, key);
            }
            self.announce(world, key.0, key.1, Some(mac));
        }
    }

    /// Somebody else claims an address that we publish: warned about once in a
    /// while, counted, and not believed (false) as long as the entry is active.
    /// While it is silent the host may well be at home.
    pub(super) fn check_published_claim(
        &mut self,
        world: &impl World,
        now: Duration,
        link: &Link,
        Claim { address, mac }: Claim,
    ) -> bool {
        let Some(entry) = self.published.get_mut(&(link.id, address)) else { return true };
        let lately = |rival: &Rival| now.saturating_sub(rival.warned) < self.config.defend;
        let warned = entry.rival.filter(lately);
        if warned.is_none() {
            tracing::warn!(
                %address, %mac, port = link.port.0, vlan = link.vlan,
                "{mac} claims {address}, which is published here"
            );
        }
        entry.rival = Some(Rival {
            mac,
            times: entry.rival.map_or(0, |rival| rival.times) + 1,
            warned: warned.map_or(now, |rival| rival.warned),
        });
        silence(world, (link.id, address)).is_some()
    }
}
