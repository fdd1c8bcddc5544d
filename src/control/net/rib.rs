//! The routing information base: for each prefix what every origin says about
//! it. The FIB holds the answer; this holds the reasons.
//!
//! Where several origins have the same prefix, the first of these counts:
//!
//! | | origin | why here |
//! |---|---|---|
//! | 1 | local | what is for us is for us |
//! | 2 | broadcast | never a host, never forwarded |
//! | 3 | connected, tunnel (far end, IPv6 subnet) | made from an interface's own addresses |
//! | 4 | static | what the operator says, where no interface says it already |
//! | 5 | neighbour | not in here: an optimisation of "connected", see below |
//!
//! Neighbour routes (/32 or /128, one per resolved neighbour) never change where
//! anything leads, only whether a packet has to be held. So lookups made here
//! do not know them, and learning one re-plans nothing else.

use std::net::IpAddr;

use arrayvec::ArrayVec;
use ipnet::IpNet;
use prefix_trie::joint::JointPrefixMap;

use super::desired::Target;
use super::hops::Hop;
use crate::ids::IfId;

/// What one origin says about a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Candidate {
    /// An own address.
    Local,
    /// An address of a connected subnet that no host has: broadcast and network
    /// address, or (for us like an own one) the anycast address of IPv6.
    Broadcast,
    /// A subnet connected to a link that is up.
    Connected(IfId),
    /// The far end of a tunnel, or an IPv6 subnet behind it.
    Tunnel(IfId),
    /// A static route.
    Static(Target),
}

/// All that is said about a prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// Interfaces that have it as own address.
    local: u32,
    /// Subnets that have it as broadcast, network or anycast address.
    broadcast: u32,
    connected: Option<IfId>,
    tunnel: Option<IfId>,
    fixed: Option<Static>,
}

/// A static route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Static {
    target: Target,
    /// Where that leads, whether it counts or not; `None` until it is resolved.
    hop: Option<Hop>,
}

impl Entry {
    /// What is said, what counts first.
    pub(super) fn candidates(&self) -> ArrayVec<Candidate, 5> {
        let all = [
            (self.local > 0).then_some(Candidate::Local),
            (self.broadcast > 0).then_some(Candidate::Broadcast),
            self.connected.map(Candidate::Connected),
            self.tunnel.map(Candidate::Tunnel),
            self.fixed.map(|route| Candidate::Static(route.target)),
        ];
        all.into_iter().flatten().collect()
    }

    /// Where the static route leads.
    pub(super) fn route(&self) -> Option<Hop> {
        self.fixed?.hop
    }

    fn is_empty(&self) -> bool {
        *self == Entry::default()
    }

    /// Puts a candidate in, or takes it out.
    fn change(&mut self, candidate: Candidate, add: bool) {
        let count = |n: &mut u32| *n = if add { *n + 1 } else { n.saturating_sub(1) };
        match candidate {
            Candidate::Local => count(&mut self.local),
            Candidate::Broadcast => count(&mut self.broadcast),
            Candidate::Connected(link) => self.connected = add.then_some(link),
            Candidate::Tunnel(tunnel) => self.tunnel = add.then_some(tunnel),
            Candidate::Static(target) => {
                self.fixed = add.then_some(Static { target, hop: None });
            }
        }
    }
}

/// A prefix about which something else is said than before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    /// Which.
    pub(super) prefix: IpNet,
    /// It is new: who looked up an address in it found a shorter one.
    pub(super) new: bool,
}

/// The base.
#[derive(Debug, Default)]
pub(super) struct Rib {
    map: JointPrefixMap<IpNet, Entry>,
    /// What prefixes were before each change, in order.
    before: Vec<Before>,
}

/// What a prefix was before a change.
#[derive(Clone, Copy, Debug)]
struct Before {
    prefix: IpNet,
    old: Entry,
    /// Something else is said of it since.
    differs: bool,
}

impl Rib {
    /// Puts in what an origin says.
    pub(super) fn add(&mut self, prefix: IpNet, candidate: Candidate) {
        self.change(prefix, candidate, true);
    }

    /// Takes out what an origin said.
    pub(super) fn remove(&mut self, prefix: IpNet, candidate: Candidate) {
        self.change(prefix, candidate, false);
    }

    fn change(&mut self, prefix: IpNet, candidate: Candidate, add: bool) {
        let entry = self.map.entry(prefix).or_default();
        let old = *entry;
        entry.change(candidate, add);
        let differs = old.candidates() != entry.candidates();
        if entry.is_empty() {
            self.map.remove(&prefix);
        }
        self.before.push(Before { prefix, old, differs });
    }

    /// Prefixes about which something else is said than at the last call.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        let mut before = std::mem::take(&mut self.before);
        // Stable: of several with one prefix the first comes first.
        before.sort_by_key(|change| change.prefix);
        let same = before.chunk_by(|a, b| a.prefix == b.prefix);
        let changed = same.filter_map(|changes| {
            let Before { prefix, old, differs } = *changes.first()?;
            let differs = match changes {
                [_] => differs,
                _ => old.candidates() != self.get(prefix).candidates(),
            };
            differs.then_some(Change { prefix, new: old.is_empty() })
        });
        changed.collect()
    }

    /// All that is said about a prefix.
    pub(super) fn get(&self, prefix: IpNet) -> Entry {
        self.map.get(&prefix).copied().unwrap_or_default()
    }

    /// Where the static route to a prefix leads now: what `lead` says of its target,
    /// if anything. True if that is something else than before; `None` if it says
    /// nothing, or there is no such route.
    pub(super) fn resolve(
        &mut self,
        prefix: IpNet,
        lead: impl FnOnce(Target) -> Option<Hop>,
    ) -> Option<bool> {
        let route = self.map.get_mut(&prefix)?.fixed.as_mut()?;
        let hop = lead(route.target)?;
        Some(route.hop.replace(hop) != Some(hop))
    }

    /// The prefixes that cover an address, longest first.
    pub(super) fn covers(&self, address: IpAddr) -> Vec<(IpNet, Entry)> {
        let host = IpNet::from(address);
        let mut covers: Vec<_> =
            self.map.cover(&host).map(|(prefix, entry)| (prefix, *entry)).collect();
        covers.reverse();
        covers
    }

    /// The longest match.
    pub(super) fn longest(&self, address: IpAddr) -> Option<(IpNet, Entry)> {
        let (prefix, entry) = self.map.get_lpm(&IpNet::from(address))?;
        Some((prefix, *entry))
    }

    /// The longest prefix that is shorter than this one and covers it.
    pub(super) fn parent(&self, prefix: IpNet) -> Option<IpNet> {
        let shorter = |cover: &IpNet| cover.prefix_len() < prefix.prefix_len();
        self.map.cover_keys(&prefix).filter(shorter).last()
    }

    /// All prefixes, in order: IPv4 first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (IpNet, &Entry)> {
        self.map.iter()
    }
}
