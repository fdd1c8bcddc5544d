//! Next hops: which adjacency slot stands for what, and how many FIB entries
//! use it. A slot nobody uses rests in a limbo before it gets a new meaning.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::paths::SetId;
use super::slots::Slots;
use crate::ids::{Family, IfId, MAX_NEXT_HOPS, NextHopId};
use crate::model::ip;
use crate::tables::Tables;
use crate::tables::epoch::Guard;

/// What a FIB entry can lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Hop {
    /// Dropped silently.
    Blackhole,
    /// Dropped aloud: reject routes and routes that do not resolve.
    Unreachable,
    /// To us.
    Local,
    /// To us and all others on an IPv4 subnet.
    Broadcast,
    /// Whoever is addressed, on this link.
    Link(IfId),
    /// This neighbour on this link.
    Neighbour(IfId, IpAddr),
    /// Into this tunnel, packets of this family: what is written in front says
    /// what is inside.
    Tunnel(IfId, Family),
    /// As [`Hop::Tunnel`], for what asks the far end whether it is there: it stays
    /// when that one says "unreachable" since nobody answered.
    Probe(IfId, Family),
    /// One of several, by flow.
    Paths(SetId),
}

/// The hops into a tunnel, one a family, and those of the packets that ask for
/// its far end.
pub(super) fn into_tunnel(id: IfId) -> [Hop; 4] {
    let [four, six] = to_far_end(id);
    [Hop::Tunnel(id, Family::V4), Hop::Tunnel(id, Family::V6), four, six]
}

/// The hops of what asks for a tunnel's far end.
pub(super) fn to_far_end(id: IfId) -> [Hop; 2] {
    [Hop::Probe(id, Family::V4), Hop::Probe(id, Family::V6)]
}

/// Hops that always have a slot: 1, 2, … in this order. Slot 0 is "no route".
pub(super) const FIXED: [Hop; 4] = [Hop::Blackhole, Hop::Unreachable, Hop::Local, Hop::Broadcast];

/// Slots in use.
pub(super) struct Hops {
    /// Slot and users of each.
    used: BTreeMap<Hop, (NextHopId, u32)>,
    /// Of the adjacency table.
    slots: Slots<NextHopId>,
    /// Of the group table.
    groups: Slots<NextHopId>,
}

impl Hops {
    /// Only the fixed hops.
    pub(super) fn new(tables: &Tables) -> Hops {
        let capacity = tables.adjacencies.capacity().min(MAX_NEXT_HOPS);
        // Slot 0 is "no route".
        let slots = Slots::new(NextHopId, 1, capacity, tables.limbo());
        let group = |slot| NextHopId(NextHopId::GROUP | slot);
        let groups = Slots::new(group, 0, tables.groups.capacity(), tables.limbo());
        let mut hops = Hops { used: BTreeMap::new(), slots, groups };
        for hop in FIXED {
            // Held once by itself, so that it is never given back.
            let _ = hops.acquire(hop);
        }
        hops
    }

    /// Where a hop's number comes from.
    fn slots_of(&mut self, hop: Hop) -> &mut Slots<NextHopId> {
        match hop {
            Hop::Paths(_) => &mut self.groups,
            _ => &mut self.slots,
        }
    }

    /// One more user of a hop: its slot, and whether it is a new one that has
    /// to be filled. `None` when there is none left.
    pub(super) fn acquire(&mut self, hop: Hop) -> Option<(NextHopId, bool)> {
        if let Some((id, users)) = self.used.get_mut(&hop) {
            *users += 1;
            return Some((*id, false));
        }
        let id = self.slots_of(hop).take()?;
        self.used.insert(hop, (id, 1));
        Some((id, true))
    }

    /// One user less, after the FIB no longer says so.
    pub(super) fn release(&mut self, hop: Hop, guard: &Guard) {
        let Some((id, users)) = self.used.get_mut(&hop) else { return };
        *users -= 1;
        if *users == 0 {
            let id = *id;
            self.used.remove(&hop);
            self.slots_of(hop).give_back(id, guard);
        }
    }

    /// The slot of a hop, if anybody uses it.
    pub(super) fn get(&self, hop: Hop) -> Option<NextHopId> {
        self.used.get(&hop).map(|(id, _)| *id)
    }

    /// The neighbours in use on a link.
    pub(super) fn neighbours_on(&self, link: IfId) -> Vec<Hop> {
        let first = Hop::Neighbour(link, ip::FIRST);
        let last = Hop::Neighbour(link, ip::LAST);
        self.used.range(first..=last).map(|(hop, _)| *hop).collect()
    }

    /// Begins the grace period of what was given back.
    pub(super) fn seal(&mut self, guard: &Guard) {
        self.slots.seal(guard);
        self.groups.seal(guard);
    }

    /// Takes slots whose grace period is over back into use.
    pub(super) fn reclaim(&mut self) {
        self.slots.reclaim();
        self.groups.reclaim();
    }

    /// Slots that can be given out now.
    pub(super) fn free(&self) -> usize {
        self.slots.free()
    }

    /// Groups that can be given out now.
    pub(super) fn free_groups(&self) -> usize {
        self.groups.free()
    }

    /// Slots in use, the fixed ones included.
    pub(super) fn len(&self) -> usize {
        self.used.len()
    }
}
