//! The writer's half of the IPv6 FIB: where a prefix belongs, and how the trie
//! changes shape under readers.
//!
//! ```text
//!  two prefixes part below an entry:           one thing is left in a group:
//!
//!  ─▶ jump K          ─▶ jump ─▶ group         ─▶ jump ─▶ group       ─▶ jump K
//!                  to     (if      │ …─▶ K                  │ …─▶ K
//!                          far)    │ …─▶ P
//! ```
//!
//! Both replace one entry by another, complete when it comes into sight. The
//! first happens in [`Fib::insert`], the second when a transaction ends
//! ([`Fib::seal`]), so that a prefix replaced by its neighbour does not tear
//! down what is built again at once.

use std::sync::atomic::Ordering;

use super::{Entry, Fib, Fib6Stats, Jump, Shape, read, write};
use crate::ids::NextHopId;
use crate::tables::epoch::{Domain, Guard, Limbo, Quad};
use crate::tables::prefixes::Prefixes;
use crate::tables::sync::{AtomicU32, lock};

/// There is no group or jump left for a prefix longer than level 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the IPv6 FIB has {groups_free} groups and {jumps_free} jumps free, \
     and the change may need {groups_needed} and {jumps_needed}"
)]
pub struct Fib6Full {
    /// Groups the change may need.
    pub groups_needed: usize,
    /// Groups that are free.
    pub groups_free: usize,
    /// Jumps the change may need.
    pub jumps_needed: usize,
    /// Jumps that are free.
    pub jumps_free: usize,
}

/// Most jumps one prefix can need: to the new group where it parts from
/// another, and from there to each of the two.
const JUMPS: usize = 3;

/// Numbers given out and taken back.
struct Numbers {
    /// Given back; taken before fresh ones.
    free: Vec<u32>,
    /// From here on never used, so that their pages were never touched.
    fresh: u32,
    total: u32,
}

impl Numbers {
    fn new(total: usize) -> Numbers {
        Numbers { free: Vec::new(), fresh: 0, total: total as u32 }
    }

    fn available(&self) -> usize {
        self.free.len() + (self.total - self.fresh) as usize
    }

    fn take(&mut self) -> Option<u32> {
        if let Some(number) = self.free.pop() {
            return Some(number);
        }
        (self.fresh < self.total).then(|| {
            self.fresh += 1;
            self.fresh - 1
        })
    }
}

/// What the writer knows of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Contents {
    /// Prefixes at home here, and entries that point on.
    things: u16,
    /// What covers whatever none of them does.
    cover: u32,
}

/// What only control looks at.
pub(super) struct Writer {
    prefixes: Prefixes<u128>,
    groups: Numbers,
    jumps: Numbers,
    /// Of each group ever used.
    contents: Vec<Contents>,
    /// Addresses in whose group there was at most one thing left since the last
    /// [`Fib::seal`].
    shrunk: Vec<u128>,
    /// Pointers to what is out of sight.
    retired: Limbo<Entry>,
    retired_groups: usize,
    stores: u64,
}

impl Writer {
    pub(super) fn new(width: u8, domain: &Domain, groups: usize, jumps: usize) -> Writer {
        Writer {
            prefixes: Prefixes::new(width),
            groups: Numbers::new(groups),
            jumps: Numbers::new(jumps),
            contents: Vec::new(),
            shrunk: Vec::new(),
            retired: Limbo::new(domain),
            retired_groups: 0,
            stores: 0,
        }
    }

    fn retire(&mut self, entry: Entry, guard: &Guard) {
        self.retired_groups += usize::from(!entry.is_jump());
        self.retired.retire(entry, guard);
    }

    fn reclaim(&mut self) {
        while let Some(entry) = self.retired.pop() {
            let number = entry.number() as u32;
            if entry.is_jump() {
                self.jumps.free.push(number);
            } else {
                self.retired_groups -= 1;
                self.groups.free.push(number);
            }
        }
    }

    /// Adds to, or takes from, what there is in the group that holds an entry.
    fn count(&mut self, group: Option<Entry>, change: i32) -> u16 {
        let Some(group) = group else { return u16::MAX };
        let things = &mut self.contents[group.number()].things;
        *things = things.wrapping_add_signed(change as i16);
        *things
    }
}

/// An entry below which a prefix lies.
#[derive(Clone, Copy)]
struct Slot<'a> {
    cell: &'a AtomicU32,
    /// The first bit not looked at on the way here.
    end: u8,
    /// The group it is in; `None`: level 1.
    group: Option<Entry>,
}

/// Where a prefix belongs.
enum Place<'a> {
    /// In this group, which looks at its last bit.
    Home(Entry),
    /// Below this entry, with no group of its own.
    Below(Slot<'a>),
}

/// The prefix being put in.
#[derive(Clone, Copy)]
struct New {
    network: u128,
    len: u8,
    leaf: Entry,
}

impl<S: Shape> Fib<S> {
    /// Adds a prefix or changes its next hop (single writer: control). Bits of
    /// `address` beyond `len` are ignored.
    ///
    /// # Errors
    /// [`Fib6Full`] if it could need a group or jumps and there are none;
    /// nothing has changed.
    ///
    /// # Panics
    /// If `len` is longer than an address, or the next hop over
    /// [`crate::ids::NEXT_HOP_END`].
    pub fn insert(&self, address: u128, len: u8, hop: NextHopId) -> Result<(), Fib6Full> {
        assert!(len <= S::WIDTH, "a prefix length of {len}, at most {} is possible", S::WIDTH);
        let leaf = Entry::hop(hop, len);
        let writer = &mut *lock(&self.writer);
        let network = writer.prefixes.network(address, len);
        let new = New { network, len, leaf };
        if len <= S::TOP {
            writer.prefixes.insert(network, len, hop);
            self.cover(writer, self.level1_range(network, len), covered_by(new));
            return Ok(());
        }
        if let Place::Below(slot) = self.place(network, len) {
            let (groups, jumps) = self.need(slot, new);
            self.make_room(writer, groups, jumps)?;
        }
        let is_new = writer.prefixes.insert(network, len, hop).is_none();
        // Asked again: making room can change the shape.
        match self.place(network, len) {
            Place::Home(group) => {
                writer.count(Some(group), i32::from(is_new));
                self.cover(writer, self.range(group, network, len), covered_by(new));
            }
            Place::Below(slot) => self.put_below(writer, slot, new),
        }
        Ok(())
    }

    /// Takes a prefix out; what it covered falls to the next shorter prefix
    /// (single writer: control). Gives the next hop it had, `None` if there was
    /// no such prefix.
    ///
    /// # Panics
    /// If `len` is longer than an address.
    pub fn remove(&self, address: u128, len: u8) -> Option<NextHopId> {
        assert!(len <= S::WIDTH, "a prefix length of {len}, at most {} is possible", S::WIDTH);
        let writer = &mut *lock(&self.writer);
        let network = writer.prefixes.network(address, len);
        let hop = writer.prefixes.remove(network, len)?;
        let leaf = |(depth, hop)| Entry::hop(hop, depth);
        if len <= S::TOP {
            let heir = writer.prefixes.parent(network, len).map_or(Entry::NONE, leaf);
            self.cover(writer, self.level1_range(network, len), inherited(len, heir));
            return Some(hop);
        }
        let left = match self.place(network, len) {
            Place::Home(group) => {
                let within =
                    writer.prefixes.parent_from(network, Self::start(group.level()) + 1, len);
                let heir = within.map_or(Entry(writer.contents[group.number()].cover), leaf);
                self.cover(writer, self.range(group, network, len), inherited(len, heir));
                writer.count(Some(group), -1)
            }
            Place::Below(slot) => {
                let entry = read(slot.cell);
                let jump = self.jump_at(entry);
                debug_assert!((jump.key, jump.len) == (network, len) && entry.is_jump());
                self.set(writer, slot.cell, jump.other);
                writer.retire(entry, &self.domain.pin());
                writer.count(slot.group, -1)
            }
        };
        if left <= 1 {
            writer.shrunk.push(network);
        }
        Some(hop)
    }

    /// Whether all these prefixes (address, length) can be added in one
    /// transaction, whatever it removes and in whatever order, up to the next
    /// [`Fib::seal`] (control). It counts with the worst case, a group and three
    /// jumps for each prefix longer than level 1. Best called without a guard
    /// held: what was just retired comes back only then.
    ///
    /// # Errors
    /// [`Fib6Full`] with what they may need.
    pub fn can_insert(
        &self,
        prefixes: impl IntoIterator<Item = (u128, u8)>,
    ) -> Result<(), Fib6Full> {
        let deep = prefixes.into_iter().filter(|(_, len)| *len > S::TOP).count();
        self.make_room(&mut lock(&self.writer), deep, JUMPS * deep)
    }

    /// Ends a transaction: groups nobody needs any more go out of use, and the
    /// grace period of what went begins (control).
    pub fn seal(&self, guard: &Guard) {
        let writer = &mut *lock(&self.writer);
        self.tidy_all(writer, guard);
        writer.retired.seal(guard);
    }

    /// Takes back into use what went and whose grace period is over (control).
    pub fn reclaim(&self) {
        lock(&self.writer).reclaim();
    }

    /// How full the FIB is (control).
    pub fn stats(&self) -> Fib6Stats {
        let writer = lock(&self.writer);
        let (groups, jumps) = (writer.groups.fresh as usize, writer.jumps.fresh as usize);
        let retired_jumps = writer.retired.len() - writer.retired_groups;
        let cells = self.level1.len() + groups * Self::GROUP;
        Fib6Stats {
            prefixes: writer.prefixes.len(),
            groups_used: groups - writer.groups.free.len() - writer.retired_groups,
            groups_total: writer.groups.total as usize,
            jumps_used: jumps - writer.jumps.free.len() - retired_jumps,
            jumps_total: writer.jumps.total as usize,
            retired: writer.retired.len(),
            bytes: cells * size_of::<AtomicU32>()
                + size_of_val(&*self.jumps)
                + writer.contents.capacity() * size_of::<Contents>()
                + writer.prefixes.bytes(),
            stores: writer.stores,
        }
    }

    /// Where a prefix longer than level 1 is or would go.
    fn place(&self, network: u128, len: u8) -> Place<'_> {
        let mut slot = Slot { cell: self.top(network), end: S::TOP, group: None };
        while let Some(group) = self.group_below(slot, network, len) {
            let end = Self::start(group.level()) + S::STEP;
            if len <= end {
                return Place::Home(group);
            }
            let Some(cell) = self.cell(group, network) else { break };
            slot = Slot { cell, end, group: Some(group) };
        }
        Place::Below(slot)
    }

    /// The group on the way to a prefix below an entry.
    fn group_below(&self, slot: Slot<'_>, network: u128, len: u8) -> Option<Entry> {
        let entry = read(slot.cell);
        if !entry.is_pointer() {
            return None;
        }
        if !entry.is_jump() {
            return Some(entry);
        }
        let jump = self.jump_at(entry);
        let on_way = jump.then.is_pointer() && len > jump.len;
        (on_way && Self::common(network, jump.key) >= jump.len).then_some(jump.then)
    }

    /// How many bits are alike from the first on.
    fn common(a: u128, b: u128) -> u8 {
        ((a ^ b).leading_zeros() as u8) - (128 - S::WIDTH)
    }

    /// Puts in a prefix below an entry, with no group of its own there.
    fn put_below(&self, writer: &mut Writer, slot: Slot<'_>, new: New) {
        let entry = read(slot.cell);
        if !entry.is_pointer() {
            let jump = Jump { key: new.network, len: new.len, then: new.leaf, other: entry };
            let pointer = self.new_jump(writer, jump);
            self.set(writer, slot.cell, pointer);
            writer.count(slot.group, 1);
            return;
        }
        let jump = self.jump_at(entry);
        if self.need(slot, new) == (0, 0) {
            self.change_jump(writer, entry, Jump { then: new.leaf, ..jump });
            return;
        }
        let branch = self.branch(writer, slot, jump, new);
        self.set(writer, slot.cell, branch);
        writer.retire(entry, &self.domain.pin());
    }

    /// What takes the place of a jump from which a new prefix parts: a group
    /// with both, and a jump to it unless it begins right here.
    fn branch(&self, writer: &mut Writer, slot: Slot<'_>, old: Jump, new: New) -> Entry {
        let common = Self::common(new.network, old.key).min(new.len).min(old.len);
        // Where the shorter of the two ends if the other goes on, else where
        // they part.
        let bit = if common == new.len || common == old.len { common - 1 } else { common };
        let level = (bit - S::TOP) / S::STEP;
        let (start, end) = (Self::start(level), Self::start(level) + S::STEP);
        let group = self.new_group(writer, level, old.other);
        if old.len < end || (old.len == end && !old.then.is_pointer()) {
            let cells = self.range(group, old.key, old.len);
            cells.iter().for_each(|cell| write(cell, old.then));
        } else if let Some(cell) = self.cell(group, old.key) {
            let rest = if old.len == end { old.then } else { self.new_jump(writer, old) };
            write(cell, rest);
        }
        if new.len <= end {
            self.cover(writer, self.range(group, new.network, new.len), covered_by(new));
        } else if let Some(cell) = self.cell(group, new.network) {
            let rest = Jump { key: new.network, len: new.len, then: new.leaf, other: read(cell) };
            let pointer = self.new_jump(writer, rest);
            write(cell, pointer);
        }
        writer.count(Some(group), 2);
        if start == slot.end {
            return group;
        }
        let key = writer.prefixes.network(new.network, start);
        self.new_jump(writer, Jump { key, len: start, then: group, other: old.other })
    }

    /// Applies a change to all that a prefix covers.
    fn cover(
        &self,
        writer: &mut Writer,
        cells: &[AtomicU32],
        change: impl Fn(Entry) -> Option<Entry> + Copy,
    ) {
        for cell in cells {
            let old = read(cell);
            if !old.is_pointer() {
                if let Some(new) = change(old) {
                    self.set(writer, cell, new);
                }
                continue;
            }
            let mut group = old;
            if old.is_jump() {
                let jump = self.jump_at(old);
                if let Some(other) = change(jump.other) {
                    self.change_jump(writer, old, Jump { other, ..jump });
                }
                // A leaf there is of a longer prefix than the one that changes.
                group = jump.then;
            }
            if group.is_pointer() {
                let contents = &mut writer.contents[group.number()];
                contents.cover = change(Entry(contents.cover)).map_or(contents.cover, |e| e.0);
                self.cover(writer, self.group_cells(group), change);
            }
        }
    }

    /// Replaces groups with one thing left in them, or none.
    fn tidy_all(&self, writer: &mut Writer, guard: &Guard) {
        for address in std::mem::take(&mut writer.shrunk) {
            let mut way = Vec::new();
            let mut slot = Slot { cell: self.top(address), end: S::TOP, group: None };
            while let Some(group) = self.group_below(slot, address, S::WIDTH) {
                way.push((slot, group));
                let Some(cell) = self.cell(group, address) else { break };
                slot = Slot { cell, end: Self::start(group.level()) + S::STEP, group: Some(group) };
            }
            for (slot, group) in way.into_iter().rev() {
                if writer.contents[group.number()].things <= 1 {
                    self.tidy(writer, slot, group, address, guard);
                }
            }
        }
    }

    /// Replaces one group, if there is a jump left to do it with.
    fn tidy(
        &self,
        writer: &mut Writer,
        slot: Slot<'_>,
        group: Entry,
        address: u128,
        guard: &Guard,
    ) {
        let cover = Entry(writer.contents[group.number()].cover);
        let cells = self.group_cells(group);
        let left = cells.iter().map(read).enumerate().find(|(_, entry)| *entry != cover);
        let end = Self::start(group.level()) + S::STEP;
        let replacement = match left {
            None => cover,
            Some((_, pointer)) if pointer.is_pointer() && pointer.is_jump() => pointer,
            Some((n, rest)) => {
                if writer.jumps.available() == 0 {
                    // Next time: a group too many is slow and not wrong.
                    writer.shrunk.push(address);
                    return;
                }
                let path = writer.prefixes.network(address, Self::start(group.level()));
                let path = path | (n as u128) << (S::WIDTH - end);
                let len = if rest.is_pointer() { end } else { rest.depth() };
                let key = writer.prefixes.network(path, len);
                self.new_jump(writer, Jump { key, len, then: rest, other: cover })
            }
        };
        let old = read(slot.cell);
        self.set(writer, slot.cell, replacement);
        if old.is_jump() {
            writer.retire(old, guard);
        }
        writer.retire(group, guard);
        if !replacement.is_pointer() {
            writer.count(slot.group, -1);
        }
    }

    /// Groups and jumps it takes to put a prefix in below an entry, at most.
    fn need(&self, slot: Slot<'_>, new: New) -> (usize, usize) {
        let entry = read(slot.cell);
        if !entry.is_pointer() {
            return (0, 1);
        }
        let jump = self.jump_at(entry);
        // There already: it gets another next hop.
        let same = !jump.then.is_pointer() && (jump.key, jump.len) == (new.network, new.len);
        if same { (0, 0) } else { (1, JUMPS) }
    }

    /// Makes sure that there are so many groups and jumps.
    fn make_room(&self, writer: &mut Writer, groups: usize, jumps: usize) -> Result<(), Fib6Full> {
        let enough = |writer: &Writer| {
            writer.groups.available() >= groups && writer.jumps.available() >= jumps
        };
        let idle = writer.retired.is_empty() && writer.shrunk.is_empty();
        if !enough(writer) && !idle {
            let guard = self.domain.pin();
            self.tidy_all(writer, &guard);
            writer.retired.seal(&guard);
            drop(guard);
            self.domain.advance();
            writer.reclaim();
        }
        if enough(writer) {
            return Ok(());
        }
        Err(Fib6Full {
            groups_needed: groups,
            groups_free: writer.groups.available(),
            jumps_needed: jumps,
            jumps_free: writer.jumps.available(),
        })
    }

    fn level1_range(&self, network: u128, len: u8) -> &[AtomicU32] {
        let first = Self::bits(network, 0, S::TOP);
        &self.level1[first..first + (1 << (S::TOP - len))]
    }

    fn group_cells(&self, group: Entry) -> &[AtomicU32] {
        let first = group.number() << S::STEP;
        &self.groups[first..first + Self::GROUP]
    }

    /// The part of a group that a prefix at home in it covers.
    fn range(&self, group: Entry, network: u128, len: u8) -> &[AtomicU32] {
        let start = Self::start(group.level());
        let first = Self::bits(network, start, S::STEP);
        &self.group_cells(group)[first..first + (1 << (start + S::STEP - len))]
    }

    fn jump_at(&self, pointer: Entry) -> Jump {
        Jump::load(&self.jumps[pointer.number()])
    }

    fn set(&self, writer: &mut Writer, cell: &AtomicU32, entry: Entry) {
        write(cell, entry);
        writer.stores += 1;
    }

    fn change_jump(&self, writer: &mut Writer, pointer: Entry, jump: Jump) {
        jump.store_entries(&self.jumps[pointer.number()]);
        writer.stores += 1;
    }

    /// A jump out of readers' sight.
    fn new_jump(&self, writer: &mut Writer, jump: Jump) -> Entry {
        let number = writer.jumps.take().expect("make_room counted with it");
        let quad: &Quad = &self.jumps[number as usize];
        jump.store(quad);
        writer.stores += 1;
        Entry::jump(number)
    }

    /// A group out of readers' sight, all of it covered by one entry.
    fn new_group(&self, writer: &mut Writer, level: u8, cover: Entry) -> Entry {
        let number = writer.groups.take().expect("make_room counted with it");
        let group = Entry::group(number, level);
        for cell in self.group_cells(group) {
            cell.store(cover.0, Ordering::Release);
        }
        if writer.contents.len() <= group.number() {
            writer.contents.resize(group.number() + 1, Contents::default());
        }
        writer.contents[group.number()] = Contents { things: 0, cover: cover.0 };
        writer.stores += Self::GROUP as u64;
        group
    }
}

/// What a new prefix takes over: what is of shorter ones, or its own.
fn covered_by(new: New) -> impl Fn(Entry) -> Option<Entry> + Copy {
    move |old| (old.depth() <= new.len).then_some(new.leaf)
}

/// What a prefix that is gone leaves behind.
fn inherited(len: u8, heir: Entry) -> impl Fn(Entry) -> Option<Entry> + Copy {
    move |old| (old.depth() == len).then_some(heir)
}
