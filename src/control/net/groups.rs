//! Multipath routes as resolved: where each path of a set leads, whether it can
//! be used, and the group of next hops that the FIB has for it.
//!
//! ```text
//!   set of paths ─ resolve ─▶ a hop each ─ adjacency ─▶ usable? ─▶ owners ─▶ buckets
//!        │                                                  │
//!        └── what needs *one* way (a tunnel's outer packets, a gateway) leans on it
//! ```
//!
//! A set is resolved once, however many routes lead to it. A path whose
//! adjacency is "unreachable" (its gateway does not answer ARP or has no route,
//! its tunnel is not running) leaves the group, and only its flows move; one
//! whose link address is not known yet stays, since packets are what makes
//! control ask. With no path left the group is unreachable.
//!
//! What leans on a set goes by one of its gateways, chosen by its own address,
//! and chooses anew when that one can be used no longer; by a tunnel only where
//! there is no gateway. A path's own gateway is never looked for through a
//! multipath route: no set depends on another.

use std::collections::{BTreeSet, HashMap};

use super::Net;
use super::commit::Work;
use super::hops::Hop;
use super::paths::{self, Path, SetId};
use super::plan::Station;
use super::resolve::Resolver;
use super::watch::{Dependent, Met};
use crate::ids::NextHopId;
use crate::tables::adjacency::AdjacencyKind;
use crate::tables::epoch::Guard;
use crate::tables::group::BUCKETS;

/// Sets as resolved.
#[derive(Debug, Default)]
pub(super) struct Groups {
    states: HashMap<SetId, GroupState>,
    /// Sets by what their paths lead to.
    by_hop: HashMap<Hop, BTreeSet<SetId>>,
}

/// One set.
#[derive(Debug, Default)]
pub(super) struct GroupState {
    /// Where each path leads.
    pub(super) hops: Vec<Hop>,
    /// Paths that something can lean on, as far as is known without tunnels.
    pub(super) sound: Vec<bool>,
    /// What the FIB has for it, if any route to it counts.
    published: Option<Published>,
}

/// A group in the tables.
#[derive(Debug)]
struct Published {
    /// Members whose slots are held.
    hops: Vec<Hop>,
    /// Path by bucket; `None` if no path can be used.
    owners: Option<Box<[u8; BUCKETS]>>,
}

impl Groups {
    /// A set as resolved.
    pub(super) fn get(&self, set: SetId) -> Option<&GroupState> {
        self.states.get(&set)
    }

    /// Sets with a path that leads there.
    pub(super) fn with(&self, hop: Hop) -> impl Iterator<Item = SetId> {
        self.by_hop.get(&hop).into_iter().flatten().copied()
    }

    /// True when there is no set: nobody has to be looked for.
    pub(super) fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// Where the paths of a set lead now; nowhere: it is gone.
    fn put(&mut self, set: SetId, hops: Vec<Hop>) {
        let old = self.states.get_mut(&set).map(|state| std::mem::take(&mut state.hops));
        for hop in old.unwrap_or_default() {
            if let Some(sets) = self.by_hop.get_mut(&hop) {
                sets.remove(&set);
                if sets.is_empty() {
                    self.by_hop.remove(&hop);
                }
            }
        }
        for hop in &hops {
            self.by_hop.entry(*hop).or_default().insert(set);
        }
        self.states.entry(set).or_default().hops = hops;
    }
}

impl GroupState {
    /// The path that owns a flow, if any can be used.
    pub(super) fn owner(&self, hash: u32) -> Option<Hop> {
        let owners = self.published.as_ref()?.owners.as_ref()?;
        self.hops.get(usize::from(owners[hash as usize % BUCKETS])).copied()
    }

    /// Buckets that each path owns.
    pub(super) fn shares(&self) -> Vec<u16> {
        let mut shares = vec![0; self.hops.len()];
        let owners = self.published.as_ref().and_then(|published| published.owners.as_ref());
        for owner in owners.iter().flat_map(|owners| owners.iter()) {
            if let Some(share) = shares.get_mut(usize::from(*owner)) {
                *share += 1;
            }
        }
        shares
    }
}

impl Net {
    /// A route no longer leads to a set, or does from now on.
    pub(super) fn paths_changed(&mut self, set: SetId, work: &mut Work) {
        if self.desired.sets.users(set) > 0 {
            if self.groups.get(set).is_none() {
                work.dependents.push(Dependent::Paths(set));
            }
        } else {
            work.sets_gone.insert(set);
            self.watch.set(Dependent::Paths(set), Met::default());
        }
    }

    /// Resolves sets anew and finds those whose gateways can be used or not as
    /// they could not or could before; gives who leans on what changed.
    pub(super) fn resolve_sets(
        &mut self,
        sets: Vec<SetId>,
        work: &mut Work,
    ) -> BTreeSet<Dependent> {
        let mut concerned = BTreeSet::new();
        for set in sets {
            if self.desired.sets.users(set) == 0 {
                continue;
            }
            let paths = self.desired.sets.paths(set);
            let mut resolver = Resolver::of_set(self, set);
            let family = self.desired.sets.family(set);
            let hop = |path: &Path| resolver.path(family, path.target);
            let hops: Vec<Hop> = paths.iter().map(hop).collect();
            let met = resolver.met;
            self.watch.set(Dependent::Paths(set), met);
            if self.groups.get(set).map(|state| &state.hops) != Some(&hops) {
                self.groups.put(set, hops);
                work.sets.insert(set);
                self.set_moved(set, work);
                concerned.extend(self.watch.leaning(set));
                work.done.routes = true;
            }
        }
        if !self.groups.is_empty() {
            work.sets.extend(work.hops.iter().flat_map(|hop| self.groups.with(*hop)));
        }
        for set in work.sets.clone() {
            let Some(state) = self.groups.get(set) else { continue };
            let sound: Vec<bool> = state.hops.iter().map(|hop| self.sound(*hop)).collect();
            if state.sound != sound {
                concerned.extend(self.watch.leaning(set));
                if let Some(state) = self.groups.states.get_mut(&set) {
                    state.sound = sound;
                }
            }
        }
        concerned
    }

    /// False for a gateway that does not answer or is not reached.
    fn sound(&self, hop: Hop) -> bool {
        match hop {
            Hop::Neighbour(link, address) => {
                self.links.is_up(link) && self.station(link, address) != Station::Failed
            }
            Hop::Tunnel(..) => true,
            _ => false,
        }
    }

    /// Takes slots for the members of the groups that the FIB has or is about to
    /// have; gives the hops it is done with.
    pub(super) fn reserve_members(&mut self, work: &mut Work) -> Vec<Hop> {
        if !self.groups.is_empty() {
            // Tunnels that started or stopped since sets were resolved.
            work.sets.extend(work.hops.iter().flat_map(|hop| self.groups.with(*hop)));
        }
        let mut unused = Vec::new();
        for set in &work.sets {
            let Some(state) = self.groups.states.get_mut(set) else { continue };
            if self.hops.get(Hop::Paths(*set)).is_none() {
                continue;
            }
            let mut hops = Vec::new();
            for hop in &state.hops {
                match self.hops.acquire(*hop) {
                    Some((_, new)) => {
                        if new {
                            work.hops.insert(*hop);
                        }
                        hops.push(*hop);
                    }
                    None => tracing::error!(?hop, "no next hop slot is left for a path"),
                }
            }
            let owners = state.published.take().and_then(|published| {
                unused.extend(published.hops);
                published.owners
            });
            state.published = Some(Published { hops, owners });
        }
        unused
    }

    /// Deals the buckets of the groups concerned; after their members'
    /// adjacencies are in place, before the FIB leads to them.
    pub(super) fn fill_groups(&mut self, work: &Work, guard: &Guard) {
        for set in &work.sets {
            let Some(id) = self.hops.get(Hop::Paths(*set)) else { continue };
            let Some(state) = self.groups.get(*set) else { continue };
            let slots: Vec<Option<NextHopId>> =
                state.hops.iter().map(|hop| self.hops.get(*hop)).collect();
            let usable: Vec<bool> = slots
                .iter()
                .map(|slot| {
                    slot.is_some_and(|slot| {
                        let adjacency = self.tables.adjacencies.get(slot.index(), guard);
                        matches!(
                            adjacency.kind,
                            AdjacencyKind::Rewrite
                                | AdjacencyKind::Tunnel
                                | AdjacencyKind::Minimal
                                | AdjacencyKind::Tunnel6
                                | AdjacencyKind::Resolve
                        )
                    })
                })
                .collect();
            let owners = paths::owners(&self.desired.sets.paths(*set), &usable);
            let nobody = self.hops.get(Hop::Unreachable).unwrap_or(NextHopId::NO_ROUTE);
            let mut buckets = [nobody; BUCKETS];
            for (bucket, owner) in buckets.iter_mut().zip(owners.iter().flat_map(|o| o.iter())) {
                *bucket = slots.get(usize::from(*owner)).copied().flatten().unwrap_or(nobody);
            }
            if self.tables.groups.view(guard).buckets(id) != Some(&buckets) {
                self.tables.groups.set(id, &buckets, guard);
            }
            if let Some(published) =
                self.groups.states.get_mut(set).and_then(|state| state.published.as_mut())
            {
                published.owners = owners;
            }
        }
    }

    /// A group that the FIB no longer leads to lets go of its members, and a set
    /// that no route leads to is forgotten.
    pub(super) fn release_groups(&mut self, unused: &[Hop], work: &Work, guard: &Guard) {
        let released = unused.iter().filter_map(|hop| match hop {
            Hop::Paths(set) if self.hops.get(*hop).is_none() => Some(*set),
            _ => None,
        });
        for set in released.collect::<BTreeSet<_>>() {
            let state = self.groups.states.get_mut(&set);
            let published = state.and_then(|state| state.published.take());
            for hop in published.into_iter().flat_map(|published| published.hops) {
                self.hops.release(hop, guard);
            }
        }
        for set in &work.sets_gone {
            if self.desired.sets.users(*set) == 0 {
                self.groups.put(*set, Vec::new());
                self.groups.states.remove(set);
            }
        }
    }
}
