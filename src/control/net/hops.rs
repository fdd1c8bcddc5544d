//! Next hops: which adjacency slot stands for what, and how many FIB entries
//! use it. A slot nobody uses rests in a limbo before it gets a new meaning.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::paths::SetId;
use crate::ids::{IfId, MAX_NEXT_HOPS, NextHopId};
use crate::tables::Tables;
use crate::tables::epoch::{Guard, Limbo};

/// What a FIB entry can lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Hop {
    /// Dropped silently.
    Blackhole,
    /// Dropped aloud: reject routes and routes that do not resolve.
    Unreachable,
    /// To us.
    Local,
    /// To us and all others on a subnet.
    Broadcast,
    /// Whoever is addressed, on this link.
    Link(IfId),
    /// This neighbour on this link.
    Neighbour(IfId, Ipv4Addr),
    /// Into this tunnel.
    Tunnel(IfId),
    /// One of several, by flow.
    Paths(SetId),
}

/// Hops that always have a slot: 1, 2, … in this order. Slot 0 is "no route".
pub(super) const FIXED: [Hop; 4] = [Hop::Blackhole, Hop::Unreachable, Hop::Local, Hop::Broadcast];

/// Slots in use.
pub(super) struct Hops {
    slots: BTreeMap<Hop, (NextHopId, u32)>,
    /// Slots of the adjacency table.
    plain: Numbers,
    /// Slots of the group table.
    groups: Numbers,
}

/// Numbers to give out; those given back rest in a limbo first.
struct Numbers {
    free: Vec<u32>,
    fresh: u32,
    capacity: u32,
    limbo: Limbo<u32>,
}

impl Numbers {
    fn new(first: u32, capacity: usize, tables: &Tables) -> Numbers {
        let capacity = u32::try_from(capacity).unwrap_or(u32::MAX);
        Numbers { free: Vec::new(), fresh: first, capacity, limbo: tables.limbo() }
    }

    fn take(&mut self) -> Option<u32> {
        if let Some(number) = self.free.pop() {
            return Some(number);
        }
        let number = self.fresh;
        (number < self.capacity).then(|| {
            self.fresh += 1;
            number
        })
    }

    fn reclaim(&mut self) {
        while let Some(number) = self.limbo.pop() {
            self.free.push(number);
        }
    }

    fn left(&self) -> usize {
        self.free.len() + self.capacity.saturating_sub(self.fresh) as usize
    }
}

impl Hops {
    /// Only the fixed hops.
    pub(super) fn new(tables: &Tables) -> Hops {
        let capacity = tables.adjacencies.capacity().min(MAX_NEXT_HOPS);
        let mut hops = Hops {
            slots: BTreeMap::new(),
            // Slot 0 is "no route".
            plain: Numbers::new(1, capacity, tables),
            groups: Numbers::new(0, tables.groups.capacity(), tables),
        };
        for hop in FIXED {
            // Held once by itself, so that it is never given back.
            let _ = hops.acquire(hop);
        }
        hops
    }

    /// One more user of a hop: its slot, and whether it is a new one that has
    /// to be filled. `None` when there is none left.
    pub(super) fn acquire(&mut self, hop: Hop) -> Option<(NextHopId, bool)> {
        if let Some((id, users)) = self.slots.get_mut(&hop) {
            *users += 1;
            return Some((*id, false));
        }
        let id = match hop {
            Hop::Paths(_) => NextHopId::group(self.groups.take()? as usize)?,
            _ => NextHopId(self.plain.take()?),
        };
        self.slots.insert(hop, (id, 1));
        Some((id, true))
    }

    /// One user less, after the FIB no longer says so.
    pub(super) fn release(&mut self, hop: Hop, guard: &Guard) {
        let Some((id, users)) = self.slots.get_mut(&hop) else { return };
        *users -= 1;
        if *users == 0 {
            let id = *id;
            self.slots.remove(&hop);
            match id.group_index() {
                Some(slot) => self.groups.limbo.retire(slot as u32, guard),
                None => self.plain.limbo.retire(id.0, guard),
            }
        }
    }

    /// The slot of a hop, if anybody uses it.
    pub(super) fn get(&self, hop: Hop) -> Option<NextHopId> {
        self.slots.get(&hop).map(|(id, _)| *id)
    }

    /// The neighbours in use on a link.
    pub(super) fn neighbours_on(&self, link: IfId) -> Vec<Hop> {
        let first = Hop::Neighbour(link, Ipv4Addr::UNSPECIFIED);
        let last = Hop::Neighbour(link, Ipv4Addr::BROADCAST);
        self.slots.range(first..=last).map(|(hop, _)| *hop).collect()
    }

    /// Begins the grace period of what was given back.
    pub(super) fn seal(&mut self, guard: &Guard) {
        self.plain.limbo.seal(guard);
        self.groups.limbo.seal(guard);
    }

    /// Takes slots whose grace period is over back into use.
    pub(super) fn reclaim(&mut self) {
        self.plain.reclaim();
        self.groups.reclaim();
    }

    /// Slots that can be given out now.
    pub(super) fn free(&self) -> usize {
        self.plain.left()
    }

    /// Groups that can be given out now.
    pub(super) fn free_groups(&self) -> usize {
        self.groups.left()
    }

    /// Slots in use, the fixed ones included.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
}
