//! Neighbours: the cache of ARP and of IPv6 neighbour discovery, packets held
//! while it asks, and published (proxy) entries. One engine: what differs by
//! family is what is said (`say`) and what is heard (`reception`, `nd`).
//!
//! ```text
//!                    on_unresolved            reply            60 s
//!   (no entry) ──────▶ incomplete ──────────▶ reachable ─────▶ probe ──▶ forgotten
//!        ▲                 │ 3 requests, 1/s     ▲  └─ any valid ARP ─┘   (3 unicast
//!        └──── 5 s ──── failed ──────────────────┘                          requests)
//!
//!   IPv6: what was heard but does not hear us yet is in "delay" for 5 s, then probed
//! ```
//!
//! A plain struct: it is told what came ([`Neighbours::on_arp`],
//! [`Neighbours::on_unresolved`]), what changed ([`Neighbours::on_event`]) and
//! that time passed ([`Neighbours::tick`]), and acts on a [`World`]. Control
//! owns it; the path never sees it, only the adjacencies that the world plans
//! from what is told here.
//!
//! RFC 826 (AR-01), RFC 1122 §2.3.2 (AR-02, AR-04), RFC 1812 §3.3.2 (AR-03),
//! RFC 1027 (AR-06), RFC 5227 (probes, conflicts, announcements), RFC 4861
//! (ND-01 to ND-04), RFC 4862 §5.4 (duplicates).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use self::held::Holding;
use self::published::Published;
use self::table::{Entry, Key, State, Table};
use super::tally::{ControlDrop, TokenBucket};
use super::topology::{Event, World};
use crate::ids::{Family, IfId};
use crate::model::view::NeighbourView;
use crate::stats::counters::ControlCounters;

mod claim;
pub(super) mod frame;
mod held;
mod nd;
mod published;
mod reception;
mod resolve;
mod say;
mod table;

pub use self::held::Held;

/// Times and bounds.
#[derive(Clone, Copy, Debug)]
pub struct NeighbourConfig {
    /// Between two requests for one address; not below a second (AR-04).
    pub retry: Duration,
    /// Requests before a neighbour counts as failed or gone.
    pub tries: u8,
    /// How long an entry is good without hearing from the neighbour. About a
    /// minute where proxy ARP is in use (RFC 1122 §2.3.2.1).
    pub reachable: Duration,
    /// How long an IPv6 neighbour is used before it is asked whether it hears
    /// us (DELAY_FIRST_PROBE_TIME, RFC 4861 §10).
    pub delay: Duration,
    /// How long packets for a failed neighbour meet "unreachable" before it is
    /// asked for again.
    pub failed: Duration,
    /// Least time between two defences of, or warnings about, one address
    /// (DEFEND_INTERVAL, RFC 5227 §1.1).
    pub defend: Duration,
    /// Most learned entries.
    pub entries: usize,
    /// Most packets held for one neighbour.
    pub held_each: usize,
    /// Most packets held altogether.
    pub held_packets: usize,
    /// Most bytes held altogether.
    pub held_bytes: usize,
}

impl Default for NeighbourConfig {
    fn default() -> NeighbourConfig {
        NeighbourConfig {
            retry: Duration::from_secs(1),
            tries: 3,
            reachable: Duration::from_secs(60),
            delay: Duration::from_secs(5),
            failed: Duration::from_secs(5),
            defend: Duration::from_secs(10),
            entries: 32_768,
            held_each: 16,
            held_packets: 4096,
            held_bytes: 8 << 20,
        }
    }
}

/// Most timers that fire, and most published entries looked at again, in one
/// [`Neighbours::tick`].
const PER_TICK: usize = 256;

/// Least time between two changes of a neighbour's link address.
const MOVE_INTERVAL: Duration = Duration::from_secs(1);

/// Moves of neighbours that are logged: so many a second, so many at once.
const MOVES_SAID_PER_SECOND: u32 = 1;
const MOVES_SAID_AT_ONCE: u32 = 10;

/// How many packets of resolved neighbours are handed back to workers: a few
/// after each resolution, since they were on their way here.
const ROUNDS_PER_SECOND: u32 = 2000;
const ROUNDS_AT_ONCE: u32 = 300;

/// An own IPv6 address on a link that nobody has claimed yet.
type Tentative = (IfId, Ipv6Addr);

/// The engine.
#[derive(Debug)]
pub struct Neighbours {
    config: NeighbourConfig,
    counters: Arc<ControlCounters>,
    table: Table,
    holding: Holding,
    published: BTreeMap<Key, Published>,
    /// Where looking again at published entries goes on, if it has to.
    review: Option<Key>,
    /// Routes changed since this round began: another one follows.
    review_again: bool,
    /// Packets handed back because their neighbour is known: see `send_round`.
    rounds: TokenBucket,
    /// Moves that may be logged.
    said: TokenBucket,
    /// When moves that come too often were last warned about.
    warned_of_moves: Option<Duration>,
    /// When an own address that somebody else claims was last defended.
    defences: BTreeMap<Key, Duration>,
    /// Own IPv6 addresses asked for, and when they are announced.
    tentative: BTreeMap<Tentative, Duration>,
}

impl Neighbours {
    /// An empty cache.
    pub fn new(config: NeighbourConfig, counters: Arc<ControlCounters>) -> Neighbours {
        Neighbours {
            config,
            counters,
            table: Table::default(),
            holding: Holding::default(),
            published: BTreeMap::new(),
            review: None,
            review_again: false,
            rounds: TokenBucket::new(ROUNDS_PER_SECOND, ROUNDS_AT_ONCE),
            said: TokenBucket::new(MOVES_SAID_PER_SECOND, MOVES_SAID_AT_ONCE),
            warned_of_moves: None,
            defences: BTreeMap::new(),
            tentative: BTreeMap::new(),
        }
    }

    /// Follows a change of the resolved state.
    pub fn on_event(&mut self, world: &mut impl World, now: Duration, event: &Event) {
        match *event {
            Event::AddressAdded { link, address } => self.address_added(world, now, link, address),
            Event::AddressRemoved { link, address } => self.address_removed(world, link, address),
            Event::LinkDown { link } => self.link_down(world, link),
            Event::StaticAdded { link, address, mac } => {
                self.table.set((link, address), State::Permanent { mac }, now, None);
                self.release_held(world, (link, address));
            }
            Event::StaticRemoved { link, address } => self.static_removed((link, address)),
            Event::Published { link, address, mac } => {
                self.publish(world, (link, address), mac);
            }
            Event::Unpublished { link, address } => {
                self.published.remove(&(link, address));
            }
            Event::Forget { address } => {
                self.forget(world, address);
            }
            Event::ForgetAll { family } => self.forget_all(world, family),
            Event::RoutesChanged => {
                // A round that is under way is finished first: begun anew at
                // each change it would never come to the last entries.
                if self.review.is_some() {
                    self.review_again = true;
                } else {
                    self.review = self.published.keys().next().copied();
                }
                self.review_published(world);
            }
            Event::Icmp(_)
            | Event::Watched { .. }
            | Event::Sought { .. }
            | Event::Advertised(_) => {}
        }
    }

    /// Does what is due, a bounded amount; call it again at
    /// [`Neighbours::next_deadline`]. Returns packets whose neighbour did not
    /// answer: counted as dropped already, each is owed an ICMP host
    /// unreachable (AR-02).
    #[must_use]
    pub fn tick(&mut self, world: &mut impl World, now: Duration) -> Vec<Held> {
        let mut given_up = Vec::new();
        for _ in 0..PER_TICK {
            let Some(key) = self.table.due(now) else { break };
            self.expired(world, now, key, &mut given_up);
        }
        self.end_detection(world, now);
        self.review_published(world);
        given_up
    }

    /// When [`Neighbours::tick`] next has something to do; may be past.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        if self.review.is_some() {
            return Some(Duration::ZERO);
        }
        let announcements = self.tentative.values().min().copied().filter(|at| *at < Duration::MAX);
        [self.table.next_deadline(), announcements].into_iter().flatten().min()
    }

    /// True if a learned entry for the address exists (`arp -d` asks).
    #[must_use]
    pub fn knows(&self, address: IpAddr) -> bool {
        self.table.of_address(address).any(|(_, entry)| entry.state.is_learned())
    }

    /// State of one entry, in the words of [`NeighbourView::state`].
    #[must_use]
    pub fn state_of(&self, link: IfId, address: IpAddr) -> Option<&'static str> {
        self.table.get(&(link, address)).map(|entry| entry.state.name())
    }

    /// Number of entries in each state that has any, published ones apart.
    #[must_use]
    pub fn states(&self) -> BTreeMap<&'static str, usize> {
        let mut states = BTreeMap::new();
        for (_, entry) in self.table.iter() {
            *states.entry(entry.state.name()).or_default() += 1;
        }
        states
    }

    /// What `arp -a` prints: neighbours, then published entries, by link and
    /// address. `names` gives the name of a link.
    #[must_use]
    pub fn views(&self, names: &impl Fn(IfId) -> String, now: Duration) -> Vec<NeighbourView> {
        let left = |entry: &Entry| entry.deadline.map(|at| at.saturating_sub(now).as_secs());
        let neighbours = self.table.iter().map(|(&(link, address), entry)| NeighbourView {
            address,
            mac: entry.state.mac(),
            interface: names(link),
            state: entry.state.name().to_owned(),
            expires_s: left(entry),
            held: entry.held.len() as u32,
            note: None,
        });
        let published = self.published.iter().map(|(&(link, address), entry)| NeighbourView {
            address,
            mac: Some(entry.mac),
            interface: names(link),
            state: if entry.silent.is_none() { "published" } else { "published (silent)" }.into(),
            expires_s: None,
            held: 0,
            note: entry.note(),
        });
        neighbours.chain(published).collect()
    }

    /// Forgets learned entries for the address on every link; true if there
    /// was one.
    pub fn forget(&mut self, world: &mut impl World, address: IpAddr) -> bool {
        let learned = self.table.of_address(address).filter(|(_, e)| e.state.is_learned());
        let keys: Vec<Key> = learned.map(|(key, _)| key).collect();
        keys.iter().for_each(|key| self.remove(world, *key));
        !keys.is_empty()
    }

    fn forget_all(&mut self, world: &mut impl World, family: Option<Family>) {
        let wanted = |address| family.is_none_or(|family| Family::of(address) == family);
        let learned = self.table.iter().filter(|(key, e)| e.state.is_learned() && wanted(key.1));
        let keys: Vec<Key> = learned.map(|(key, _)| *key).collect();
        for key in keys {
            self.remove(world, key);
        }
    }

    /// Removes one learned entry: its adjacency asks again, what was held for
    /// it is dropped.
    fn remove(&mut self, world: &mut impl World, key: Key) {
        let Some(mut entry) = self.table.remove(&key) else { return };
        for _ in self.holding.take(&self.counters, &mut entry.held) {
            self.counters.drop_packet(ControlDrop::NeighbourForgotten);
        }
        if entry.state.is_planned() {
            world.neighbour_lost(key.0, key.1, false);
        }
    }

    fn address_added(
        &mut self,
        world: &mut impl World,
        now: Duration,
        link: IfId,
        address: IpAddr,
    ) {
        // What is ours is nobody's neighbour.
        if self.table.get(&(link, address)).is_some_and(|e| e.state.is_learned()) {
            self.remove(world, (link, address));
        }
        match address {
            IpAddr::V4(_) => self.announce(world, link, address, None),
            IpAddr::V6(address) => self.begin_detection(world, now, link, address),
        }
    }

    fn address_removed(&mut self, world: &mut impl World, link: IfId, address: IpAddr) {
        self.defences.remove(&(link, address));
        if let IpAddr::V6(address) = address {
            self.tentative.remove(&(link, address));
        }
        // Neighbours of the subnet that went with it. Ask the world first:
        // another address may still cover them.
        let gone: Vec<Key> = self
            .table
            .on_link(link)
            .filter(|(key, entry)| entry.state.is_learned() && !world.on_link(link, key.1))
            .map(|(key, _)| *key)
            .collect();
        for key in gone {
            self.remove(world, key);
        }
    }

    fn link_down(&mut self, world: &mut impl World, link: IfId) {
        // Static and published entries outlive a link that is down, not one
        // that is gone: its number will be another link's.
        let gone = world.link(link).is_none();
        self.tentative.retain(|key, _| key.0 != link);
        let keys: Vec<Key> = self.table.on_link(link).map(|(key, _)| *key).collect();
        for key in keys {
            if self.table.get(&key).is_some_and(|e| e.state.is_learned()) {
                self.remove(world, key);
            } else if gone {
                self.static_removed(key);
            }
        }
        if gone {
            self.published.retain(|key, _| key.0 != link);
            self.defences.retain(|key, _| key.0 != link);
        }
    }

    fn static_removed(&mut self, key: Key) {
        if self.table.get(&key).is_some_and(|e| !e.state.is_learned()) {
            self.table.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests;
