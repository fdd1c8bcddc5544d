//! Longest prefix match over IPv6: a multibit trie with its chains cut short,
//! changed in place.
//!
//! ```text
//!  address ├── TOP bits ──┤├STEP┤├STEP┤├STEP┤ …
//!                 │            │
//!  level 1 ┌──────▼──────┐  ┌──▼───────────┐ group: 2^STEP entries
//!          │ … │entry│ … ├─▶│ …│entry│…    │
//!          └─────────────┘  └─────┬────────┘
//!                                 ▼
//!                          ┌ jump: key, length ┐ first `length` bits alike?
//!                          │ then …  │ else …  │─▶ one of two entries
//!                          └───────────────────┘
//!
//!  entry  31 30 29    22 21                       0
//!        ├ 00 ┤ depth ┤ next hop                   ┤ leaf: done
//!        ├ 10 ┤ level (6) ┤ number (24)            ┤ group
//!        ├ 11 ┤ 0         ┤ number (24)            ┤ jump
//! ```
//!
//! A prefix of length L has its home in the group that looks at bit L − 1, if
//! there is one on its way; otherwise it is alone below some entry, and a jump
//! leads straight to it. A group exists only where prefixes part or one lies in
//! another, so there are never more groups than prefixes, and a host route in
//! the middle of nowhere costs 32 bytes and one look. A jump compares all bits
//! from the first on, so that it can hang anywhere above what it leads to.
//!
//! A leaf carries the length of the prefix that put it there (its depth), so
//! that a change rewrites exactly what no longer prefix owns. What changes
//! shape (a jump becomes a group, a group with one thing left in it a jump) is
//! built out of sight, comes into sight with one store, and what it replaces is
//! used again after a grace period: see [`super::fib4`], whose rules for
//! control hold here too.
//!
//! The writer's half is in `fib6_writer.rs`.

use std::sync::atomic::Ordering;

use super::epoch::{Domain, Guard, Quad, prefetch, zeroed};
use super::sync::{AtomicU32, AtomicU64, Mutex};
use crate::ids::{NEXT_HOP_END, NextHopId};

#[path = "fib6_writer.rs"]
mod writer;

pub use writer::Fib6Full;
use writer::Writer;

/// How many bits of an address are looked at in one go. [`Ipv6`] is what runs;
/// models and most tests use tiny ones, through the same code.
pub trait Shape: 'static {
    /// Bits of an address, the low ones of a `u128`.
    const WIDTH: u8;
    /// Bits that index level 1.
    const TOP: u8;
    /// Bits that index a group; divides what is left of the width.
    const STEP: u8;
}

/// 20 bits, then four at a time: a group is one cache line, and level 1 of all
/// global unicast addresses (2000::/3) stays in a core's own cache.
#[derive(Debug)]
pub struct Ipv6;

impl Shape for Ipv6 {
    const WIDTH: u8 = 128;
    const TOP: u8 = 20;
    const STEP: u8 = 4;
}

/// One entry, at whatever level; see the module's picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry(u32);

/// Groups, and jumps, that numbers can name.
const MOST: usize = 1 << 24;

const _: () = assert!(NEXT_HOP_END <= 1 << 22);

impl Entry {
    /// No route at all.
    const NONE: Entry = Entry(0);
    const POINTER: u32 = 1 << 31;
    const JUMP: u32 = 1 << 30;
    const HOP: u32 = (1 << 22) - 1;

    fn hop(hop: NextHopId, depth: u8) -> Entry {
        assert!(hop.index() < NEXT_HOP_END, "next hop {} is over {NEXT_HOP_END}", hop.0);
        Entry(u32::from(depth) << 22 | hop.0)
    }

    fn group(number: u32, level: u8) -> Entry {
        Entry(Entry::POINTER | u32::from(level) << 24 | number)
    }

    fn jump(number: u32) -> Entry {
        Entry(Entry::POINTER | Entry::JUMP | number)
    }

    #[inline]
    fn is_pointer(self) -> bool {
        self.0 & Entry::POINTER != 0
    }

    /// Of a pointer: whether it is one to a jump.
    #[inline]
    fn is_jump(self) -> bool {
        self.0 & Entry::JUMP != 0
    }

    /// Of a pointer to a group.
    #[inline]
    fn level(self) -> u8 {
        (self.0 >> 24) as u8 & 0x3f
    }

    /// Of a pointer.
    #[inline]
    fn number(self) -> usize {
        self.0 as usize & (MOST - 1)
    }

    /// Of a leaf.
    fn depth(self) -> u8 {
        (self.0 >> 22) as u8
    }

    #[inline]
    fn next_hop(self) -> NextHopId {
        NextHopId(self.0 & Entry::HOP)
    }
}

#[inline]
fn read(cell: &AtomicU32) -> Entry {
    // Acquire: what control wrote before it published this entry (the group or
    // jump, the adjacency) is visible to who reads the entry.
    Entry(cell.load(Ordering::Acquire))
}

fn write(cell: &AtomicU32, entry: Entry) {
    cell.store(entry.0, Ordering::Release);
}

/// A jump, as written before it comes into sight. Only its two entries are
/// changed after that, and each change is one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Jump {
    key: u128,
    len: u8,
    /// Where addresses that begin like the key go: a leaf, or a group at
    /// exactly `len`.
    then: Entry,
    /// Where all others go: a leaf.
    other: Entry,
}

/// Words of a jump in memory: key (high, low), entries (other, then), length.
const KEY: [usize; 2] = [0, 1];
const ENTRIES: usize = 2;
const LEN: usize = 3;

impl Jump {
    fn load(quad: &Quad) -> Jump {
        let word = |at: &AtomicU64| at.load(Ordering::Relaxed);
        let [high, low] = KEY.map(|at| u128::from(word(&quad.0[at])));
        // Acquire, for the group that `then` may have come to name.
        let entries = quad.0[ENTRIES].load(Ordering::Acquire);
        Jump {
            key: high << 64 | low,
            len: word(&quad.0[LEN]) as u8,
            then: Entry(entries as u32),
            other: Entry((entries >> 32) as u32),
        }
    }

    fn store(self, quad: &Quad) {
        quad.0[KEY[0]].store((self.key >> 64) as u64, Ordering::Relaxed);
        quad.0[KEY[1]].store(self.key as u64, Ordering::Relaxed);
        quad.0[LEN].store(u64::from(self.len), Ordering::Relaxed);
        self.store_entries(quad);
    }

    fn store_entries(self, quad: &Quad) {
        let entries = u64::from(self.other.0) << 32 | u64::from(self.then.0);
        quad.0[ENTRIES].store(entries, Ordering::Release);
    }
}

/// How full a FIB is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fib6Stats {
    /// Prefixes.
    pub prefixes: usize,
    /// Groups in use.
    pub groups_used: usize,
    /// Groups there are.
    pub groups_total: usize,
    /// Jumps in use.
    pub jumps_used: usize,
    /// Jumps there are.
    pub jumps_total: usize,
    /// Groups and jumps waiting for their grace period.
    pub retired: usize,
    /// Memory that has been written to, or about to be: level 1, the groups and
    /// jumps ever used, and the writer's own, in bytes.
    pub bytes: usize,
    /// Entries written since the start: what changes cost, as a number that
    /// does not depend on the machine.
    pub stores: u64,
}

/// The IPv6 FIB.
pub type Fib6 = Fib<Ipv6>;

/// A compressed trie for any [`Shape`].
pub struct Fib<S: Shape> {
    level1: Box<[AtomicU32]>,
    groups: Box<[AtomicU32]>,
    jumps: Box<[Quad]>,
    domain: Domain,
    writer: Mutex<Writer>,
    shape: std::marker::PhantomData<S>,
}

impl<S: Shape> Fib<S> {
    /// Entries of a group.
    const GROUP: usize = 1 << S::STEP;
    const SHAPE: () = assert!(
        S::WIDTH <= 128 && S::TOP > 0 && S::TOP < S::WIDTH && (S::WIDTH - S::TOP) % S::STEP == 0
    );

    /// An empty FIB with room for so many groups and jumps.
    pub fn new(domain: &Domain, groups: usize, jumps: usize) -> Fib<S> {
        let () = Self::SHAPE;
        assert!(groups <= MOST, "{groups} groups do not fit an entry");
        assert!(jumps <= MOST, "{jumps} jumps do not fit an entry");
        Fib {
            level1: zeroed(1 << S::TOP),
            groups: zeroed(groups * Self::GROUP),
            jumps: zeroed(jumps),
            domain: domain.clone(),
            writer: Mutex::new(Writer::new(S::WIDTH, domain, groups, jumps)),
            shape: std::marker::PhantomData,
        }
    }

    /// Bits `from..from + count` of an address.
    #[inline]
    fn bits(address: u128, from: u8, count: u8) -> usize {
        (address >> (S::WIDTH - from - count)) as usize & ((1 << count) - 1)
    }

    /// The first bit a level's groups look at.
    #[inline]
    fn start(level: u8) -> u8 {
        S::TOP + level * S::STEP
    }

    #[inline]
    fn top(&self, address: u128) -> &AtomicU32 {
        &self.level1[Self::bits(address, 0, S::TOP)]
    }

    /// The entry of a group that an address selects. `None` cannot happen; an
    /// `Option` costs the path less than a panic would.
    #[inline]
    fn cell(&self, group: Entry, address: u128) -> Option<&AtomicU32> {
        let low = Self::bits(address, Self::start(group.level()), S::STEP);
        self.groups.get(group.number() << S::STEP | low)
    }

    #[inline]
    fn quad(&self, jump: Entry) -> Option<&Quad> {
        self.jumps.get(jump.number())
    }

    /// Where a group leads an address.
    #[inline]
    fn through_group(&self, group: Entry, address: u128) -> Entry {
        self.cell(group, address).map_or(Entry::NONE, read)
    }

    /// Where a jump leads an address.
    #[inline]
    fn through_jump(&self, jump: Entry, address: u128) -> Entry {
        let Some(quad) = self.quad(jump) else { return Entry::NONE };
        let jump = Jump::load(quad);
        // A length is 1 at least, so the shift is one bit short of all.
        let differs = (jump.key ^ address) >> ((S::WIDTH - jump.len) & 127) != 0;
        if differs { jump.other } else { jump.then }
    }

    /// The next hop of the longest prefix that covers an address (host byte
    /// order); [`NextHopId::NO_ROUTE`] if none does.
    #[inline]
    pub fn lookup(&self, address: u128, guard: &Guard) -> NextHopId {
        debug_assert!(self.domain.owns(guard), "guard of another epoch domain than the FIB's");
        let mut entry = read(self.top(address));
        while entry.is_pointer() {
            entry = if entry.is_jump() {
                self.through_jump(entry, address)
            } else {
                self.through_group(entry, address)
            };
        }
        entry.next_hop()
    }

    /// [`Fib::lookup`] for many addresses, their memory accesses overlapped.
    /// Looks up as many as the shorter of the slices holds.
    #[inline]
    pub fn lookup_bulk(&self, addresses: &[u128], hops: &mut [NextHopId], guard: &Guard) {
        debug_assert!(self.domain.owns(guard), "guard of another epoch domain than the FIB's");
        for (addresses, hops) in addresses.chunks(AHEAD).zip(hops.chunks_mut(AHEAD)) {
            self.lookup_burst(addresses, hops);
        }
    }

    /// At most [`AHEAD`] addresses.
    fn lookup_burst(&self, addresses: &[u128], hops: &mut [NextHopId]) {
        let count = addresses.len().min(hops.len());
        let (addresses, hops) = (&addresses[..count], &mut hops[..count]);
        for address in addresses {
            prefetch(self.top(*address));
        }
        // Not next hops yet, but entries on the way there.
        let mut now = Underway::default();
        for (n, (address, hop)) in addresses.iter().zip(hops.iter_mut()).enumerate() {
            let entry = read(self.top(*address));
            hop.0 = entry.0;
            now.sort_in(n, entry);
        }
        while !now.is_empty() {
            for n in now.groups() {
                self.cell(Entry(hops[n].0), addresses[n]).map(prefetch);
            }
            for n in now.jumps() {
                self.quad(Entry(hops[n].0)).map(prefetch);
            }
            let mut next = Underway::default();
            for n in now.groups() {
                let entry = self.through_group(Entry(hops[n].0), addresses[n]);
                hops[n].0 = entry.0;
                next.sort_in(n, entry);
            }
            for n in now.jumps() {
                let entry = self.through_jump(Entry(hops[n].0), addresses[n]);
                hops[n].0 = entry.0;
                next.sort_in(n, entry);
            }
            now = next;
        }
        for hop in hops {
            *hop = Entry(hop.0).next_hop();
        }
    }
}

/// Loads in flight at once; as many as a burst has packets.
const AHEAD: usize = 64;

/// Who of a burst is still on the way, by what comes next, as bit sets.
#[derive(Clone, Copy, Default)]
struct Underway {
    groups: u64,
    jumps: u64,
}

impl Underway {
    #[inline]
    fn sort_in(&mut self, n: usize, entry: Entry) {
        // Bits instead of branches: which comes next cannot be predicted.
        let pointer = u64::from(entry.0 >> 31);
        let jump = u64::from(entry.0 >> 30 & 1);
        self.groups |= (pointer & !jump) << (n % AHEAD);
        self.jumps |= (pointer & jump) << (n % AHEAD);
    }

    #[inline]
    fn is_empty(self) -> bool {
        self.groups | self.jumps == 0
    }

    #[inline]
    fn groups(self) -> Ones {
        Ones(self.groups)
    }

    #[inline]
    fn jumps(self) -> Ones {
        Ones(self.jumps)
    }
}

/// The places of the ones in a word.
struct Ones(u64);

impl Iterator for Ones {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let n = self.0.trailing_zeros();
        if n == 64 {
            return None;
        }
        self.0 &= self.0 - 1;
        Some(n as usize)
    }
}

#[cfg(all(test, not(loom)))]
#[path = "fib6_tests.rs"]
mod tests;
