//! The entries and their indices: by deadline, so that a tick costs what is due
//! and not what is there; by age, so that the entry to evict is at hand; and by
//! address, whatever the link.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::held::Held;
use crate::ids::{IfId, Mac};

/// The least and the greatest address: IPv4 comes before IPv6.
const FIRST: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const LAST: IpAddr = IpAddr::V6(Ipv6Addr::from_bits(u128::MAX));

/// An address on a link.
pub(super) type Key = (IfId, IpAddr);

/// What is known of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Asked for `tries` times, no answer yet.
    Incomplete { tries: u8 },
    /// Heard of lately.
    Reachable { mac: Mac },
    /// Where it is has been heard, not that it hears us: asked soon.
    Delay { mac: Mac },
    /// Not heard of lately, asked directly `tries` times. Still in use.
    Probe { mac: Mac, tries: u8 },
    /// Did not answer; packets meet "unreachable".
    Failed,
    /// Static.
    Permanent { mac: Mac },
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Incomplete { .. } => "incomplete",
            State::Reachable { .. } => "reachable",
            State::Delay { .. } => "delay",
            State::Probe { .. } => "probe",
            State::Failed => "failed",
            State::Permanent { .. } => "permanent",
        }
    }

    pub fn mac(self) -> Option<Mac> {
        match self {
            State::Reachable { mac }
            | State::Delay { mac }
            | State::Probe { mac, .. }
            | State::Permanent { mac } => Some(mac),
            State::Incomplete { .. } | State::Failed => None,
        }
    }

    /// Not static.
    pub fn is_learned(self) -> bool {
        !matches!(self, State::Permanent { .. })
    }

    /// The world was told something of it: a rewrite or "unreachable".
    pub fn is_planned(self) -> bool {
        !matches!(self, State::Incomplete { .. } | State::Permanent { .. })
    }

    /// Which entries are evicted first: those that lead nowhere, then the
    /// learned ones. Static ones never are.
    fn eviction_class(self) -> Option<u8> {
        match self {
            State::Incomplete { .. } | State::Failed => Some(0),
            State::Reachable { .. } | State::Delay { .. } | State::Probe { .. } => Some(1),
            State::Permanent { .. } => None,
        }
    }
}

/// One neighbour.
#[derive(Debug)]
pub(super) struct Entry {
    pub state: State,
    /// Since when it is there, or was last heard of.
    pub since: Duration,
    /// When something is to be done about it.
    pub deadline: Option<Duration>,
    /// When the world was last told its link address.
    pub told: Duration,
    /// When its link address last changed, if it ever did.
    pub moved: Option<Duration>,
    pub held: VecDeque<Held>,
}

impl Entry {
    fn eviction_rank(&self, key: Key) -> Option<(u8, Duration, Key)> {
        self.state.eviction_class().map(|class| (class, self.since, key))
    }
}

/// All neighbours.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: BTreeMap<Key, Entry>,
    timers: BTreeSet<(Duration, Key)>,
    ages: BTreeSet<(u8, Duration, Key)>,
    links: BTreeSet<(IpAddr, IfId)>,
}

impl Table {
    pub fn get(&self, key: &Key) -> Option<&Entry> {
        self.entries.get(key)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Entry)> {
        self.entries.iter()
    }

    pub fn on_link(&self, link: IfId) -> impl Iterator<Item = (&Key, &Entry)> {
        let all = (link, FIRST)..=(link, LAST);
        self.entries.range(all)
    }

    /// Entries of an address on any link.
    pub fn of_address(&self, address: IpAddr) -> impl Iterator<Item = (Key, &Entry)> {
        let all = (address, IfId(0))..=(address, IfId::NONE);
        let keys = self.links.range(all).map(|(address, link)| (*link, *address));
        keys.filter_map(|key| Some((key, self.entries.get(&key)?)))
    }

    /// Learned entries.
    pub fn learned(&self) -> usize {
        self.ages.len()
    }

    /// The learned entry that can best be missed.
    pub fn least_wanted(&self) -> Option<Key> {
        self.ages.first().map(|(_, _, key)| *key)
    }

    pub fn next_deadline(&self) -> Option<Duration> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The entry whose deadline passed first.
    pub fn due(&self, now: Duration) -> Option<Key> {
        self.timers.first().filter(|(at, _)| *at <= now).map(|(_, key)| *key)
    }

    /// Creates the entry or changes its state. What it holds stays.
    pub fn set(&mut self, key: Key, state: State, since: Duration, deadline: Option<Duration>) {
        let mut entry = self.remove(&key).unwrap_or(Entry {
            state,
            since,
            deadline,
            told: Duration::ZERO,
            moved: None,
            held: VecDeque::new(),
        });
        (entry.state, entry.since, entry.deadline) = (state, since, deadline);
        self.timers.extend(deadline.map(|at| (at, key)));
        self.ages.extend(entry.eviction_rank(key));
        self.links.insert((key.1, key.0));
        self.entries.insert(key, entry);
    }

    /// Notes that the world was told the link address.
    pub fn set_told(&mut self, key: &Key, now: Duration) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.told = now;
        }
    }

    /// Notes that the link address changed.
    pub fn set_moved(&mut self, key: &Key, now: Duration) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.moved = Some(now);
        }
    }

    /// The entry's held packets.
    pub fn held(&mut self, key: &Key) -> Option<&mut VecDeque<Held>> {
        self.entries.get_mut(key).map(|entry| &mut entry.held)
    }

    pub fn remove(&mut self, key: &Key) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.links.remove(&(key.1, key.0));
        if let Some(at) = entry.deadline {
            self.timers.remove(&(at, *key));
        }
        if let Some(rank) = entry.eviction_rank(*key) {
            self.ages.remove(&rank);
        }
        Some(entry)
    }

    #[cfg(test)]
    pub fn assert_indexed(&self) {
        let timers: BTreeSet<_> =
            self.entries.iter().filter_map(|(k, e)| e.deadline.map(|at| (at, *k))).collect();
        let ages: BTreeSet<_> =
            self.entries.iter().filter_map(|(k, e)| e.eviction_rank(*k)).collect();
        assert_eq!((timers, ages), (self.timers.clone(), self.ages.clone()));
        let links: BTreeSet<_> = self.entries.keys().map(|(link, at)| (*at, *link)).collect();
        assert_eq!(links, self.links);
    }
}
