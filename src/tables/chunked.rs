//! A large array of plain entries of which any one changes at a cost that does
//! not depend on the size of the array: adjacencies and tunnels.
//!
//! ```text
//!  spine     ┌───┬───┬───┬───┬ ─ ─ ┐      get(i): spine[i / 32], then entry i % 32
//!            │ • │ • │nil│ • │     │      set(i): copy that one chunk (32 entries),
//!            └─┼─┴─┼─┴───┴─┼─┴ ─ ─ ┘              change the copy, swap the pointer;
//!              ▼   ▼       ▼                      the old chunk is reused after its
//!           [32]  [32]    [32]                    grace period
//! ```
//!
//! Readers see a whole entry or its whole predecessor, never a mix, without
//! spinning: what they hold is never written to.

use std::sync::atomic::Ordering;

use super::epoch::{self, Domain, Guard, Slots};
use super::sync::AtomicU64;

/// Entries per chunk: what one change copies.
pub const CHUNK: usize = 32;

type Chunk<T> = [T; CHUNK];

/// The array. Readers call [`Chunked::get`]; everything else is control's.
pub struct Chunked<T> {
    chunks: Slots<Chunk<T>>,
    capacity: usize,
    /// What a slot never written reads as.
    unwritten: T,
    copied: AtomicU64,
}

impl<T: Copy + Default + Send + Sync + 'static> Chunked<T> {
    /// Room for `capacity` entries. Only chunks that are written take memory.
    pub fn new(domain: &Domain, capacity: usize) -> Chunked<T> {
        Chunked {
            chunks: Slots::new(domain, capacity.div_ceil(CHUNK)),
            capacity,
            unwritten: T::default(),
            copied: AtomicU64::new(0),
        }
    }

    /// Entries there is room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// An entry; the default for one never written or out of range.
    ///
    /// # Panics
    /// If the guard belongs to another domain.
    #[inline]
    pub fn get<'g>(&'g self, index: usize, guard: &'g Guard) -> &'g T {
        self.view(guard).get(index)
    }

    /// The array as a guard lets it be read: for many reads, whose guard is so
    /// checked only once.
    ///
    /// # Panics
    /// If the guard belongs to another domain.
    #[inline]
    pub fn view<'g>(&'g self, guard: &'g Guard) -> View<'g, T> {
        View { chunks: self.chunks.view(guard), unwritten: &self.unwritten }
    }

    /// Replaces one entry (single writer: control).
    ///
    /// # Panics
    /// If `index` is not below the capacity, or the guard belongs to another
    /// domain.
    pub fn set(&self, index: usize, entry: T, guard: &Guard) {
        self.set_many([(index, entry)], guard);
    }

    /// Replaces several entries (single writer: control). Neighbouring entries
    /// in sequence share the copy of their chunk and appear together.
    ///
    /// # Panics
    /// As [`Chunked::set`].
    pub fn set_many(&self, entries: impl IntoIterator<Item = (usize, T)>, guard: &Guard) {
        let mut open: Option<(usize, Box<Chunk<T>>)> = None;
        for (index, entry) in entries {
            assert!(index < self.capacity, "entry {index} of a table of {}", self.capacity);
            let number = index / CHUNK;
            let mut chunk = match open.take() {
                Some((current, chunk)) if current == number => chunk,
                other => {
                    if let Some((done, chunk)) = other {
                        self.chunks.replace(done, chunk, guard);
                    }
                    self.copy(number, guard)
                }
            };
            chunk[index % CHUNK] = entry;
            open = Some((number, chunk));
        }
        if let Some((done, chunk)) = open {
            self.chunks.replace(done, chunk, guard);
        }
    }

    /// A copy of a chunk, in a spare one if there is any.
    fn copy(&self, number: usize, guard: &Guard) -> Box<Chunk<T>> {
        self.copied.fetch_add(size_of::<Chunk<T>>() as u64, Ordering::Relaxed);
        let current = self.chunks.load(number, guard);
        match (self.chunks.spare(), current) {
            (Some(mut spare), Some(current)) => {
                spare.copy_from_slice(current);
                spare
            }
            (Some(mut spare), None) => {
                spare.fill(self.unwritten);
                spare
            }
            (None, Some(current)) => Box::new(*current),
            (None, None) => Box::new([self.unwritten; CHUNK]),
        }
    }

    /// Lets the grace period of replaced chunks begin (control).
    pub fn seal(&self, guard: &Guard) {
        self.chunks.seal(guard);
    }

    /// Frees the chunks whose grace period is over, but for a few kept for the
    /// next changes (control).
    pub fn reclaim(&self) {
        const KEEP: usize = 64;
        while self.chunks.retired() > KEEP && self.chunks.spare().is_some() {}
    }

    /// Bytes copied by changes so far: the cost of a change, as a number that
    /// does not depend on the machine.
    pub fn bytes_copied(&self) -> u64 {
        self.copied.load(Ordering::Relaxed)
    }

    /// Memory in use, in bytes.
    pub fn bytes(&self, guard: &Guard) -> usize {
        let spine = self.chunks.len() * size_of::<usize>();
        let filled = (0..self.chunks.len()).filter(|i| self.chunks.load(*i, guard).is_some());
        spine + (filled.count() + self.chunks.retired()) * size_of::<Chunk<T>>()
    }
}

/// A [`Chunked`] under a guard, made by [`Chunked::view`].
pub struct View<'g, T> {
    chunks: epoch::View<'g, Chunk<T>>,
    unwritten: &'g T,
}

impl<'g, T: Send + Sync + 'static> View<'g, T> {
    /// An entry; the default for one never written or out of range.
    #[inline(always)]
    pub fn get(&self, index: usize) -> &'g T {
        match self.chunks.load(index / CHUNK) {
            Some(chunk) => &chunk[index % CHUNK],
            None => self.unwritten,
        }
    }
}

#[cfg(all(test, not(loom)))]
#[path = "chunked_tests.rs"]
mod tests;
