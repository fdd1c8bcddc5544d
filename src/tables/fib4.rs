//! Longest prefix match over IPv4: DIR-24-8, changed in place.
//!
//! ```text
//!  address  ├────────── first 24 bits ──────────┤├─ last 8 ─┤
//!                         │                            │
//!  level 1  ┌─────────────▼──┐  16 Mi entries          │
//!           │ … │ entry │ …  │                         │
//!           └──────┬─────────┘                         │
//!       E = 0: done│ E = 1: one of the groups ┌────────▼───┐ 256 entries
//!                  ▼                          │ …│ entry │…│
//!              next hop                       └────────────┘
//!
//!  entry    31   30   29      24 23                              0
//!          ├ E ┤ 0 ┤   depth   ┤ next hop id, or group if E      ┤
//! ```
//!
//! An entry carries the length of the prefix that put it there (its depth), so
//! that a change rewrites exactly what no longer prefix owns: a store per
//! entry, old value straight to new value. An address covered before and after
//! a change is therefore covered for every reader at every moment between.
//!
//! A group exists while some prefix longer than 24 bits lies in it. When none
//! does at the end of a transaction ([`Fib::seal`]), its one remaining value
//! returns to level 1 and the group is used again after a grace period, so a
//! reader that still holds its number reads what was true when it looked. Not
//! before the end, so that a /32 replaced by another in the same /24 finds its
//! group again, however long readers stand still.
//!
//! **For control:** the same holds for next hops. A next hop taken out of the
//! FIB may still be returned to readers pinned before that, so its adjacency
//! slot may be given another meaning only after a grace period; keep freed ids
//! in a [`Limbo`].

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use super::epoch::{Domain, Guard, Limbo, prefetch, zeroed};
use super::prefixes::Prefixes;
use super::sync::{AtomicU32, Mutex, lock};
use crate::ids::{NEXT_HOP_END, NextHopId};

/// How many address bits each level looks at. [`Ipv4`] is what runs; models and
/// most tests use tiny ones, through the same code.
pub trait Stride: 'static {
    /// Bits of an address.
    const WIDTH: u8;
    /// Bits that index level 1; the rest index a group.
    const TOP: u8;
    /// Level 1, an array of 2^TOP: its length being part of the type is what
    /// lets lookups do without a bounds check.
    type Level1: AsRef<[AtomicU32]> + Send + Sync;
    /// An empty level 1.
    fn level1() -> Box<Self::Level1>;
}

/// Strides for a given width and level 1.
macro_rules! stride {
    ($(#[$doc:meta])* $name:ident, $width:expr, $top:expr) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name;
        impl Stride for $name {
            const WIDTH: u8 = $width;
            const TOP: u8 = $top;
            type Level1 = [AtomicU32; 1 << $top];
            fn level1() -> Box<Self::Level1> {
                match $crate::tables::epoch::zeroed(1 << $top).try_into() {
                    Ok(array) => array,
                    Err(_) => unreachable!("zeroed(n) has n elements"),
                }
            }
        }
    };
}
#[cfg(test)]
#[allow(unused_imports, reason = "for the tests of other modules")]
pub(crate) use stride;

stride!(
    /// 24 bits, then 8.
    Ipv4, 32, 24
);

/// One entry of either level; see the module's picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry(u32);

impl Entry {
    /// No route at all.
    const NONE: Entry = Entry(0);
    const EXTENDED: u32 = 1 << 31;
    const VALUE: u32 = (1 << 24) - 1;

    fn hop(hop: NextHopId, depth: u8) -> Entry {
        assert!(hop.index() < NEXT_HOP_END, "next hop {} is over {NEXT_HOP_END}", hop.0);
        Entry(u32::from(depth) << 24 | hop.0)
    }

    fn group(group: u32) -> Entry {
        Entry(Entry::EXTENDED | group)
    }

    #[inline]
    fn is_group(self) -> bool {
        self.0 & Entry::EXTENDED != 0
    }

    #[inline]
    fn value(self) -> u32 {
        self.0 & Entry::VALUE
    }

    fn depth(self) -> u8 {
        (self.0 >> 24) as u8 & 0x3f
    }
}

const _: () = assert!(NEXT_HOP_END <= 1 << 24);

#[inline]
fn read(cell: &AtomicU32) -> Entry {
    // Acquire: what control wrote before it published this entry (the group,
    // the adjacency) is visible to who reads the entry.
    Entry(cell.load(Ordering::Acquire))
}

fn write(cell: &AtomicU32, entry: Entry) {
    cell.store(entry.0, Ordering::Release);
}

/// There is no group left for a prefix longer than level 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the FIB has {free} of {total} groups for prefixes longer than /24 free, \
     and the change needs {needed}"
)]
pub struct FibFull {
    /// Groups the change needs.
    pub needed: usize,
    /// Groups that are free.
    pub free: usize,
    /// Groups there are.
    pub total: usize,
}

/// How full a FIB is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FibStats {
    /// Prefixes.
    pub prefixes: usize,
    /// Groups in use, counting those emptied since the last [`Fib::seal`].
    pub groups_used: usize,
    /// Groups waiting for their grace period.
    pub groups_retired: usize,
    /// Groups there are.
    pub groups_total: usize,
    /// Memory reserved for readers and writer, in bytes. Level 1 and groups
    /// take physical memory only where they were written.
    pub bytes: usize,
    /// Entries written since the start: what changes cost, as a number that
    /// does not depend on the machine.
    pub stores: u64,
}

/// The IPv4 FIB.
pub type Fib4 = Fib<Ipv4>;

/// A two-level table for any [`Stride`].
pub struct Fib<S: Stride> {
    level1: Box<S::Level1>,
    groups: Box<[AtomicU32]>,
    domain: Domain,
    writer: Mutex<Writer>,
}

/// What only control looks at.
struct Writer {
    prefixes: Prefixes,
    /// Groups given back; taken before fresh ones.
    free: Vec<u32>,
    /// Groups from here on were never used, so their pages were never touched.
    fresh: u32,
    /// Prefixes longer than level 1, per group.
    deep: Box<[u16]>,
    /// Addresses in whose group the last such prefix was removed since the last
    /// [`Fib::seal`].
    emptied: Vec<u32>,
    retired: Limbo<u32>,
    stores: u64,
}

impl<S: Stride> Fib<S> {
    /// Address bits below level 1.
    const LOW: u32 = (S::WIDTH - S::TOP) as u32;
    /// Entries of a group.
    const GROUP: usize = 1 << Self::LOW;

    /// An empty FIB with room for `groups` groups.
    pub fn new(domain: &Domain, groups: usize) -> Fib<S> {
        assert!(groups <= Entry::VALUE as usize, "{groups} groups do not fit an entry");
        Fib {
            level1: S::level1(),
            groups: zeroed(groups * Self::GROUP),
            domain: domain.clone(),
            writer: Mutex::new(Writer {
                prefixes: Prefixes::new(S::WIDTH),
                free: Vec::new(),
                fresh: 0,
                deep: vec![0; groups].into(),
                emptied: Vec::new(),
                retired: Limbo::new(domain),
                stores: 0,
            }),
        }
    }

    #[inline]
    fn top(&self, address: u32) -> &AtomicU32 {
        &(*self.level1).as_ref()[(address >> Self::LOW) as usize]
    }

    /// The entry of a group that an address selects. `None` cannot happen; an
    /// `Option` costs the path less than a panic would.
    #[inline]
    fn low(&self, group: Entry, address: u32) -> Option<&AtomicU32> {
        let index = (group.value() as usize) << Self::LOW | address as usize & (Self::GROUP - 1);
        self.groups.get(index)
    }

    /// The next hop of the longest prefix that covers an address (host byte
    /// order); [`NextHopId::NO_ROUTE`] if none does.
    #[inline]
    pub fn lookup(&self, address: u32, guard: &Guard) -> NextHopId {
        debug_assert!(self.domain.owns(guard), "guard of another epoch domain than the FIB's");
        let entry = read(self.top(address));
        NextHopId(self.resolve(entry, address).value())
    }

    #[inline]
    fn resolve(&self, entry: Entry, address: u32) -> Entry {
        if entry.is_group() {
            return self.low(entry, address).map_or(Entry::NONE, read);
        }
        entry
    }

    /// Starts loading what a lookup of this address reads first.
    #[inline(always)]
    pub fn prefetch(&self, address: u32) {
        prefetch(self.top(address));
    }

    /// [`Fib::lookup`] for many addresses, their memory accesses overlapped.
    /// Looks up as many as the shorter of the slices holds.
    #[inline]
    pub fn lookup_bulk(&self, addresses: &[u32], hops: &mut [NextHopId], guard: &Guard) {
        /// Loads in flight at once; as many as a burst has packets.
        const AHEAD: usize = 64;
        for (addresses, hops) in addresses.chunks(AHEAD).zip(hops.chunks_mut(AHEAD)) {
            addresses.iter().for_each(|address| self.prefetch(*address));
            self.lookup_fetched(addresses, hops, guard);
        }
    }

    /// [`Fib::lookup_bulk`] for at most a burst of addresses that
    /// [`Fib::prefetch`] was called for some time ago.
    #[inline]
    pub fn lookup_fetched(&self, addresses: &[u32], hops: &mut [NextHopId], guard: &Guard) {
        debug_assert!(self.domain.owns(guard), "guard of another epoch domain than the FIB's");
        let mut deep = 0;
        for (address, hop) in addresses.iter().zip(hops.iter_mut()) {
            // Not a next hop yet where it names a group.
            let entry = read(self.top(*address));
            *hop = NextHopId(entry.0);
            deep |= entry.0;
        }
        if Entry(deep).is_group() {
            self.lookup_deep(addresses, hops);
        }
        for (hop, _) in hops.iter_mut().zip(addresses) {
            hop.0 &= Entry::VALUE;
        }
    }

    /// Goes on from level 1 where it names groups.
    fn lookup_deep(&self, addresses: &[u32], hops: &mut [NextHopId]) {
        for (address, hop) in addresses.iter().zip(hops.iter()) {
            let entry = Entry(hop.0);
            if let (true, Some(cell)) = (entry.is_group(), self.low(entry, *address)) {
                prefetch(cell);
            }
        }
        for (address, hop) in addresses.iter().zip(hops.iter_mut()) {
            *hop = NextHopId(self.resolve(Entry(hop.0), *address).0);
        }
    }

    /// Adds a prefix or changes its next hop (single writer: control). Bits of
    /// `address` beyond `len` are ignored.
    ///
    /// # Errors
    /// [`FibFull`] if it needs a group and none is free; nothing has changed.
    ///
    /// # Panics
    /// If `len` is longer than an address, or the next hop over
    /// [`NEXT_HOP_END`].
    pub fn insert(&self, address: u32, len: u8, hop: NextHopId) -> Result<(), FibFull> {
        assert!(len <= S::WIDTH, "a prefix length of {len}, at most {} is possible", S::WIDTH);
        let entry = Entry::hop(hop, len);
        let writer = &mut *lock(&self.writer);
        let network = writer.prefixes.network(address, len);
        if len <= S::TOP {
            writer.prefixes.insert(network, len, hop);
            self.cover(writer, network, len, |old| (old.depth() <= len).then_some(entry));
            return Ok(());
        }
        let top = self.top(network);
        let current = read(top);
        let group = if current.is_group() { current } else { self.allocate(writer, current)? };
        if writer.prefixes.insert(network, len, hop).is_none() {
            writer.deep[group.value() as usize] += 1;
        }
        let cells = self.group_range(group, network, len);
        writer.stores += fill(cells, |old| (old.depth() <= len).then_some(entry));
        if group != current {
            // Only now, complete, does the group come into readers' sight.
            write(top, group);
        }
        Ok(())
    }

    /// Takes a prefix out; what it covered falls to the next shorter prefix
    /// (single writer: control). Gives the next hop it had, `None` if there was
    /// no such prefix.
    ///
    /// # Panics
    /// If `len` is longer than an address.
    pub fn remove(&self, address: u32, len: u8) -> Option<NextHopId> {
        assert!(len <= S::WIDTH, "a prefix length of {len}, at most {} is possible", S::WIDTH);
        let writer = &mut *lock(&self.writer);
        let network = writer.prefixes.network(address, len);
        let hop = writer.prefixes.remove(network, len)?;
        let parent = writer.prefixes.parent(network, len);
        let entry = parent.map_or(Entry::NONE, |(depth, hop)| Entry::hop(hop, depth));
        let heir = |old: Entry| (old.depth() == len).then_some(entry);
        if len <= S::TOP {
            self.cover(writer, network, len, heir);
            return Some(hop);
        }
        let top = self.top(network);
        let group = read(top);
        writer.stores += fill(self.group_range(group, network, len), heir);
        let deep = &mut writer.deep[group.value() as usize];
        *deep -= 1;
        if *deep == 0 {
            writer.emptied.push(network);
        }
        Some(hop)
    }

    /// Applies a change to all that a prefix no longer than level 1 covers.
    fn cover(
        &self,
        writer: &mut Writer,
        network: u32,
        len: u8,
        change: impl Fn(Entry) -> Option<Entry>,
    ) {
        let first = (network >> Self::LOW) as usize;
        let tops = &(*self.level1).as_ref()[first..first + (1 << (S::TOP - len))];
        for cell in tops {
            let old = read(cell);
            if old.is_group() {
                writer.stores += fill(self.group_cells(old), &change);
            } else if let Some(new) = change(old) {
                write(cell, new);
                writer.stores += 1;
            }
        }
    }

    fn group_cells(&self, group: Entry) -> &[AtomicU32] {
        let first = (group.value() as usize) << Self::LOW;
        &self.groups[first..first + Self::GROUP]
    }

    /// The part of a group that a prefix longer than level 1 covers.
    fn group_range(&self, group: Entry, network: u32, len: u8) -> &[AtomicU32] {
        let first = network as usize & (Self::GROUP - 1);
        &self.group_cells(group)[first..first + (1 << (S::WIDTH - len))]
    }

    /// A group out of readers' sight, filled with what level 1 says now.
    fn allocate(&self, writer: &mut Writer, current: Entry) -> Result<Entry, FibFull> {
        if writer.groups_free() == 0 {
            self.recover(writer);
        }
        let Some(group) = writer.take_group() else {
            return Err(FibFull { needed: 1, free: 0, total: writer.deep.len() });
        };
        let group = Entry::group(group);
        for cell in self.group_cells(group) {
            write(cell, current);
        }
        writer.stores += Self::GROUP as u64;
        Ok(group)
    }

    /// Puts the one value left in each group without a prefix of its own back
    /// into level 1 and retires the group.
    fn collapse(&self, writer: &mut Writer, guard: &Guard) {
        for address in std::mem::take(&mut writer.emptied) {
            let top = self.top(address);
            let group = read(top);
            // Listed twice, or in use again.
            if !group.is_group() || writer.deep[group.value() as usize] != 0 {
                continue;
            }
            let cells = self.group_cells(group);
            let entry = read(&cells[0]);
            debug_assert!(cells.iter().all(|cell| read(cell) == entry && entry.depth() <= S::TOP));
            write(top, entry);
            writer.stores += 1;
            writer.retired.retire(group.value(), guard);
        }
    }

    /// Tries to get groups nobody needs back now.
    fn recover(&self, writer: &mut Writer) {
        if writer.retired.is_empty() && writer.emptied.is_empty() {
            return;
        }
        let guard = self.domain.pin();
        self.collapse(writer, &guard);
        writer.retired.seal(&guard);
        drop(guard);
        self.domain.advance();
        writer.reclaim();
    }

    /// Whether all these prefixes (address, length) can be added in one
    /// transaction, whatever it removes and in whatever order, up to the next
    /// [`Fib::seal`] (control). Best called without a guard held: groups just
    /// retired come back only then.
    ///
    /// # Errors
    /// [`FibFull`] with what they need.
    pub fn can_insert(&self, prefixes: impl IntoIterator<Item = (u32, u8)>) -> Result<(), FibFull> {
        let deep = prefixes.into_iter().filter(|(_, len)| *len > S::TOP);
        let tops: HashSet<u32> = deep.map(|(address, _)| address >> Self::LOW).collect();
        let is_flat = |top: &&u32| !read(self.top(**top << Self::LOW)).is_group();
        let needed = || tops.iter().filter(is_flat).count();
        let writer = &mut *lock(&self.writer);
        if writer.groups_free() < needed() {
            self.recover(writer);
        }
        let (needed, free) = (needed(), writer.groups_free());
        if free >= needed {
            return Ok(());
        }
        Err(FibFull { needed, free, total: writer.deep.len() })
    }

    /// Ends a transaction: groups nobody needs any more go out of use, and their
    /// grace period begins (control).
    pub fn seal(&self, guard: &Guard) {
        let writer = &mut *lock(&self.writer);
        self.collapse(writer, guard);
        writer.retired.seal(guard);
    }

    /// Takes groups whose grace period is over back into use (control).
    pub fn reclaim(&self) {
        lock(&self.writer).reclaim();
    }

    /// How full the FIB is (control).
    pub fn stats(&self) -> FibStats {
        let writer = lock(&self.writer);
        let cells = (*self.level1).as_ref().len() + self.groups.len();
        let bytes =
            cells * size_of::<AtomicU32>() + size_of_val(&*writer.deep) + writer.prefixes.bytes();
        FibStats {
            prefixes: writer.prefixes.len(),
            groups_used: writer.fresh as usize - writer.free.len() - writer.retired.len(),
            groups_retired: writer.retired.len(),
            groups_total: writer.deep.len(),
            bytes,
            stores: writer.stores,
        }
    }
}

impl Writer {
    fn groups_free(&self) -> usize {
        self.free.len() + self.deep.len() - self.fresh as usize
    }

    fn take_group(&mut self) -> Option<u32> {
        if let Some(group) = self.free.pop() {
            return Some(group);
        }
        let group = self.fresh;
        ((group as usize) < self.deep.len()).then(|| {
            self.fresh += 1;
            group
        })
    }

    fn reclaim(&mut self) {
        while let Some(group) = self.retired.pop() {
            self.free.push(group);
        }
    }
}

/// Applies a change to entries; gives how many it wrote.
fn fill(cells: &[AtomicU32], change: impl Fn(Entry) -> Option<Entry>) -> u64 {
    let mut stores = 0;
    for cell in cells {
        if let Some(new) = change(read(cell)) {
            write(cell, new);
            stores += 1;
        }
    }
    stores
}

#[cfg(all(test, not(loom)))]
#[path = "fib4_tests.rs"]
mod tests;
