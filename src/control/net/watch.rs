//! Who has to be resolved anew when a prefix changes.
//!
//! Resolving looks up addresses. Each lookup leaves a mark on every prefix it
//! met, the one it ended at and those it passed by, and on "none" if it found
//! nothing. A prefix that changes or goes concerns those who left a mark on it;
//! a new prefix concerns those who left one on the next shorter prefix for an
//! address that the new one covers. Nobody else's lookup can end differently,
//! so a change costs what it changes, however many tunnels there are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;

use super::desired::count;
use super::paths::SetId;
use crate::ids::IfId;

/// Something that is resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Dependent {
    /// A static route.
    Route(IpNet),
    /// A tunnel's underlay.
    Tunnel(IfId),
    /// Whether a neighbour's address is reached on its link.
    Neighbour(IfId, IpAddr),
    /// A set of paths.
    Paths(SetId),
    /// A gateway of static routes.
    Gateway(IpAddr),
}

/// A prefix met, and the address that was looked up.
pub(super) type Mark = (Option<IpNet>, IpAddr);

/// All that a resolution met.
#[derive(Debug, Default)]
pub(super) struct Met {
    /// Prefixes.
    pub(super) marks: Vec<Mark>,
    /// Sets of paths of which it took one.
    pub(super) sets: Vec<SetId>,
}

/// All marks.
#[derive(Debug, Default)]
pub(super) struct Watch {
    at: HashMap<Option<IpNet>, BTreeSet<(IpAddr, Dependent)>>,
    /// Addresses that were looked up, and how many marks each left.
    addresses: BTreeMap<IpAddr, usize>,
    leaning: BTreeSet<(SetId, Dependent)>,
    of: BTreeMap<Dependent, Met>,
}

impl Watch {
    /// Replaces what a dependent met; nothing: it is gone.
    pub(super) fn set(&mut self, who: Dependent, met: Met) {
        let old = self.of.remove(&who).unwrap_or_default();
        for set in old.sets {
            self.leaning.remove(&(set, who));
        }
        for (prefix, address) in old.marks {
            count(&mut self.addresses, address, false);
            if let Some(set) = self.at.get_mut(&prefix) {
                set.remove(&(address, who));
                if set.is_empty() {
                    self.at.remove(&prefix);
                }
            }
        }
        for (prefix, address) in &met.marks {
            count(&mut self.addresses, *address, true);
            self.at.entry(*prefix).or_default().insert((*address, who));
        }
        self.leaning.extend(met.sets.iter().map(|set| (*set, who)));
        if !met.marks.is_empty() || !met.sets.is_empty() {
            self.of.insert(who, met);
        }
    }

    /// Those that took one path of a set.
    pub(super) fn leaning(&self, set: SetId) -> impl Iterator<Item = Dependent> {
        // The least of all dependents, to begin a range with.
        let first = (set, Dependent::Route(IpNet::default()));
        self.leaning.range(first..).take_while(move |(s, _)| *s == set).map(|(_, who)| *who)
    }

    /// Those with a mark on a prefix.
    pub(super) fn at(&self, prefix: IpNet) -> impl Iterator<Item = Dependent> {
        self.at.get(&Some(prefix)).into_iter().flatten().map(|(_, who)| *who)
    }

    /// True if an address in `prefix` was looked up: without asking for the next
    /// shorter prefix, which is more work.
    pub(super) fn any_within(&self, prefix: IpNet) -> bool {
        self.addresses.range(prefix.network()..=prefix.broadcast()).next().is_some()
    }

    /// Those with a mark on `parent` (`None`: on nothing, of both families) for an address within `prefix`.
    pub(super) fn within(
        &self,
        parent: Option<IpNet>,
        prefix: IpNet,
    ) -> impl Iterator<Item = Dependent> {
        // The least of all dependents, to begin a range with.
        let first = (prefix.network(), Dependent::Route(IpNet::default()));
        let last = prefix.broadcast();
        let set = self.at.get(&parent).into_iter();
        let marks = set.flat_map(move |set| set.range(first..));
        marks.take_while(move |(address, _)| *address <= last).map(|(_, who)| *who)
    }
}
