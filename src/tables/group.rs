//! Groups of next hops (ECMP): a flow's hash picks one of a fixed number of
//! buckets, and a bucket holds the next hop that owns it.
//!
//! ```text
//!   FIB ─▶ NextHopId::group(g) ─▶ slots[g] ─▶ [a b a c a b c c …]   512 buckets, 2 KiB
//!                                              └── hash & 511 ─▶ next hop ─▶ adjacency
//! ```
//!
//! The path tells a group from a plain next hop by one bit of the number it
//! has just loaded, before it asks for any adjacency: a burst without groups
//! pays one OR a packet and one branch, one with them two loads more. Which member owns
//! which bucket is control's business; a change replaces a group's buckets
//! whole, so a packet sees the old owners or the new ones.

use super::epoch::{self, Domain, Guard, Slots};
use crate::ids::NextHopId;

/// Buckets of a group. Sixteen members get 32 each, more or less.
pub const BUCKETS: usize = 512;

/// The owners of a group's buckets: plain next hops.
pub type Buckets = [NextHopId; BUCKETS];

/// All groups. Readers use [`Groups::view`]; everything else is control's.
pub struct Groups {
    slots: Slots<Buckets>,
}

impl Groups {
    /// Room for `capacity` groups. Only those that are written take memory.
    pub fn new(domain: &Domain, capacity: usize) -> Groups {
        Groups { slots: Slots::new(domain, capacity) }
    }

    /// Groups there is room for.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// The groups as a guard lets them be read.
    ///
    /// # Panics
    /// If the guard belongs to another domain.
    #[inline]
    pub fn view<'g>(&'g self, guard: &'g Guard) -> View<'g> {
        View { slots: self.slots.view(guard) }
    }

    /// Replaces the buckets of a group (single writer: control).
    ///
    /// # Panics
    /// If `id` is no group or over the capacity, or the guard belongs to
    /// another domain.
    pub fn set(&self, id: NextHopId, buckets: &Buckets, guard: &Guard) {
        let slot = id.group_index().expect("a group's number");
        let boxed = match self.slots.spare() {
            Some(mut spare) => {
                spare.copy_from_slice(buckets);
                spare
            }
            None => Box::new(*buckets),
        };
        self.slots.replace(slot, boxed, guard);
    }

    /// Lets the grace period of replaced buckets begin (control).
    pub fn seal(&self, guard: &Guard) {
        self.slots.seal(guard);
    }

    /// Frees what was replaced and whose grace period is over, but for a few
    /// kept for the next changes (control).
    pub fn reclaim(&self) {
        const KEEP: usize = 16;
        while self.slots.retired() > KEEP && self.slots.spare().is_some() {}
    }

    /// Memory in use, in bytes.
    pub fn bytes(&self, guard: &Guard) -> usize {
        let filled = (0..self.slots.len()).filter(|at| self.slots.load(*at, guard).is_some());
        self.slots.len() * size_of::<usize>()
            + (filled.count() + self.slots.retired()) * size_of::<Buckets>()
    }
}

/// [`Groups`] under a guard, made by [`Groups::view`].
pub struct View<'g> {
    slots: epoch::View<'g, Buckets>,
}

impl<'g> View<'g> {
    /// The member of a group that a flow belongs to; a next hop that is no
    /// group is its own only member. A group never written has no route.
    #[inline(always)]
    pub fn pick(&self, id: NextHopId, hash: u32) -> NextHopId {
        let Some(slot) = id.group_index() else { return id };
        match self.slots.load(slot) {
            Some(buckets) => buckets[hash as usize % BUCKETS],
            None => NextHopId::NO_ROUTE,
        }
    }

    /// All buckets of a group, if it was ever written.
    pub fn buckets(&self, id: NextHopId) -> Option<&'g Buckets> {
        self.slots.load(id.group_index()?)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_flow_keeps_its_bucket_and_plain_next_hops_pass() {
        let domain = Domain::new();
        let groups = Groups::new(&domain, 4);
        let guard = domain.pin();
        let group = NextHopId::group(2).unwrap();
        assert_eq!(groups.view(&guard).pick(group, 7), NextHopId::NO_ROUTE);
        let mut buckets = [NextHopId(5); BUCKETS];
        buckets[7] = NextHopId(6);
        groups.set(group, &buckets, &guard);
        let view = groups.view(&guard);
        assert_eq!(view.pick(group, 7), NextHopId(6));
        assert_eq!(view.pick(group, 7 + 3 * BUCKETS as u32), NextHopId(6));
        assert_eq!(view.pick(group, 8), NextHopId(5));
        assert_eq!(view.pick(NextHopId(9), 7), NextHopId(9));
        assert_eq!(view.pick(NextHopId::group(3).unwrap(), 7), NextHopId::NO_ROUTE);
    }

    #[test]
    fn replaced_buckets_are_used_again_after_their_grace_period() {
        let domain = Domain::new();
        let groups = Groups::new(&domain, 1);
        let group = NextHopId::group(0).unwrap();
        for n in 0..200 {
            let guard = domain.pin();
            groups.set(group, &[NextHopId(n); BUCKETS], &guard);
            groups.seal(&guard);
            drop(guard);
            domain.advance();
            groups.reclaim();
            assert!(groups.slots.retired() <= 17, "{} after {n} changes", groups.slots.retired());
        }
        let guard = domain.pin();
        assert_eq!(groups.view(&guard).pick(group, 3), NextHopId(199));
    }
}
