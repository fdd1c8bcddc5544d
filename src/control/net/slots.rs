//! Numbers of table slots: given out, given back, and given out again when no
//! worker can still hold the old meaning.

use crate::tables::epoch::{Guard, Limbo};

/// Numbers from `first` to a table's capacity.
pub(super) struct Slots<N> {
    number: fn(u32) -> N,
    free: Vec<N>,
    fresh: u32,
    capacity: u32,
    limbo: Limbo<N>,
}

impl<N> Slots<N> {
    /// All of them free.
    pub(super) fn new(
        number: fn(u32) -> N,
        first: u32,
        capacity: usize,
        limbo: Limbo<N>,
    ) -> Slots<N> {
        let capacity = u32::try_from(capacity).unwrap_or(u32::MAX);
        Slots { number, free: Vec::new(), fresh: first, capacity, limbo }
    }

    /// A free one; `None` when all are in use or in their grace period.
    pub(super) fn take(&mut self) -> Option<N> {
        self.free.pop().or_else(|| {
            let number = (self.fresh < self.capacity).then_some(self.fresh)?;
            self.fresh += 1;
            Some((self.number)(number))
        })
    }

    /// Gives one back; its grace period begins with [`Slots::seal`].
    pub(super) fn give_back(&mut self, number: N, guard: &Guard) {
        self.limbo.retire(number, guard);
    }

    /// Begins the grace period of what was given back.
    pub(super) fn seal(&mut self, guard: &Guard) {
        self.limbo.seal(guard);
    }

    /// Takes those whose grace period is over back into use.
    pub(super) fn reclaim(&mut self) {
        while let Some(number) = self.limbo.pop() {
            self.free.push(number);
        }
    }

    /// How many can be given out now.
    pub(super) fn free(&self) -> usize {
        self.free.len() + self.capacity.saturating_sub(self.fresh) as usize
    }
}
