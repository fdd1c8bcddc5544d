//! Which tunnel a received packet belongs to: exact match on [`DecapKey`].
//!
//! A flat hash table with linear probing, two slots to a cache line:
//!
//! ```text
//!  slot   ├ key, low 64 ┼ key, high 64 ┼ tunnel + 1, 0 = empty ┼ overflow ┤
//! ```
//!
//! `overflow` counts the keys that were put further on because this slot was
//! taken. A lookup ends at the first slot nothing went past, so there are no
//! tombstones and never a rebuild: each change costs the same for ever, and no
//! key ever moves.
//!
//! Readers neither spin nor see a torn key:
//! * **insert** raises the overflow of the slots it passes, writes the key, and
//!   last the tunnel (Release). Who sees the tunnel (Acquire) sees the key.
//! * **remove** clears the tunnel, then lowers the overflows. The key stays as
//!   it is, and the slot is not used again before a grace period is over: a
//!   reader that saw the tunnel still compares with the key it belonged to.
//! * a key that is present throughout a lookup is found: every slot on its way
//!   counts it.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use super::epoch::{Domain, Guard, Limbo, Quad, prefetch, zeroed};
use super::sync::{AtomicU64, Mutex, lock};
use super::tunnel::{DecapKey, Ends, EndsHash, Received, TunnelIndex, mapped};

/// Words of a slot.
const LOW: usize = 0;
const HIGH: usize = 1;
const TUNNEL: usize = 2;
const OVERFLOW: usize = 3;

/// Where the probe for a key begins.
#[derive(Clone, Copy, Debug, Default)]
pub struct Home(usize);

impl Home {
    /// Of no key.
    pub const ZERO: Home = Home(0);
}

/// The map holds as many keys as it was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the decapsulation table is full: it has room for {capacity} keys")]
pub struct DecapFull {
    /// Keys there is room for.
    pub capacity: usize,
}

/// The map. Readers call [`DecapMap::get`]; everything else is control's.
pub struct DecapMap {
    slots: Box<[Quad]>,
    capacity: usize,
    ends: EndsHash,
    domain: Domain,
    writer: Mutex<Writer>,
}

struct Writer {
    len: usize,
    /// Slots emptied but not to be written yet.
    waiting: Box<[bool]>,
    retired: Limbo<usize>,
    /// Slots looked at by changes so far.
    probes: u64,
}

impl DecapMap {
    /// Room for `capacity` keys; slots for twice as many (32 bytes each, a power
    /// of two), so that probes stay short.
    pub fn with_capacity(domain: &Domain, capacity: usize) -> DecapMap {
        let slots = (capacity * 2).next_power_of_two().max(4);
        DecapMap {
            slots: zeroed(slots),
            capacity,
            ends: EndsHash::random(),
            domain: domain.clone(),
            writer: Mutex::new(Writer {
                len: 0,
                waiting: vec![false; slots].into(),
                retired: Limbo::new(domain),
                probes: 0,
            }),
        }
    }

    /// The key of what a tunnel receives. Ends of two families are nobody's: a
    /// key that no packet has.
    pub fn key_of(&self, received: &Received) -> DecapKey {
        let Received { table, source, destination, protocol, key, port } = *received;
        let (source, destination) = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) if port == 0 => {
                return DecapKey::ipv4(table, source.into(), destination.into(), protocol, key);
            }
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                (mapped(source.into()), mapped(destination.into()))
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => (source.into(), destination.into()),
            _ => return DecapKey(u128::MAX),
        };
        self.ends.key(table, &Ends { source, destination, port }, protocol, key)
    }

    /// The hash that keys of IPv6 and of tunnels in UDP are made with.
    #[inline(always)]
    pub(crate) fn ends(&self) -> &EndsHash {
        &self.ends
    }

    /// Where the probe for a key begins.
    #[inline]
    pub(crate) fn home(&self, key: DecapKey) -> usize {
        let (low, high) = halves(key);
        hash(low, high) as usize & (self.slots.len() - 1)
    }

    /// The slots a probe visits, each once.
    #[inline]
    fn probe(&self, home: usize) -> impl Iterator<Item = (usize, &[AtomicU64; 4])> {
        let (before, from) = self.slots.split_at(home.min(self.slots.len()));
        let numbered = (home..).zip(from).chain(before.iter().enumerate());
        numbered.map(|(index, slot)| (index, &slot.0))
    }

    /// The tunnel of a key.
    #[inline]
    pub fn get(&self, key: DecapKey, guard: &Guard) -> Option<TunnelIndex> {
        debug_assert!(self.domain.owns(guard), "guard of another epoch domain than the map's");
        let (low, high) = halves(key);
        for (_, slot) in self.probe(self.home(key)) {
            let tunnel = slot[TUNNEL].load(Ordering::Acquire);
            if tunnel != 0
                && slot[LOW].load(Ordering::Relaxed) == low
                && slot[HIGH].load(Ordering::Relaxed) == high
            {
                return Some((tunnel - 1) as TunnelIndex);
            }
            if slot[OVERFLOW].load(Ordering::Acquire) == 0 {
                return None;
            }
        }
        None
    }

    /// Begins a lookup: starts loading what it reads first, and says where that
    /// is.
    #[inline(always)]
    pub fn prefetch(&self, key: DecapKey) -> Home {
        let home = self.home(key);
        if let Some(slot) = self.slots.get(home) {
            prefetch(slot);
        }
        Home(home)
    }

    /// [`DecapMap::get`] for a key that [`DecapMap::prefetch`] was called for
    /// some time ago.
    #[inline(always)]
    pub fn get_fetched(&self, key: DecapKey, home: Home, guard: &Guard) -> Option<TunnelIndex> {
        match self.at_home(key, home.0) {
            None => self.get(key, guard),
            found => found,
        }
    }

    /// The tunnel of a key that sits where its probe begins, as most do.
    #[inline(always)]
    fn at_home(&self, key: DecapKey, home: usize) -> Option<TunnelIndex> {
        let (low, high) = halves(key);
        let slot = &self.slots.get(home)?.0;
        let tunnel = slot[TUNNEL].load(Ordering::Acquire);
        let other =
            (slot[LOW].load(Ordering::Relaxed) ^ low) | (slot[HIGH].load(Ordering::Relaxed) ^ high);
        ((tunnel != 0) & (other == 0)).then(|| (tunnel - 1) as TunnelIndex)
    }

    /// Adds a key or changes its tunnel (single writer: control).
    ///
    /// # Errors
    /// [`DecapFull`] if there is no room; nothing has changed. Keys removed
    /// take room until their grace period is over, so half as many again as the
    /// capacity can be removed while readers stand still.
    pub fn insert(
        &self,
        key: DecapKey,
        tunnel: TunnelIndex,
        _guard: &Guard,
    ) -> Result<(), DecapFull> {
        let (low, high) = halves(key);
        let value = u64::from(tunnel) + 1;
        let writer = &mut *lock(&self.writer);
        if let Some(slot) = self.find(writer, key) {
            self.slots[slot].0[TUNNEL].store(value, Ordering::Release);
            return Ok(());
        }
        self.make_room(writer)?;
        for (index, slot) in self.probe(self.home(key)) {
            writer.probes += 1;
            if slot[TUNNEL].load(Ordering::Relaxed) != 0 || writer.waiting[index] {
                slot[OVERFLOW].fetch_add(1, Ordering::Release);
                continue;
            }
            slot[LOW].store(low, Ordering::Relaxed);
            slot[HIGH].store(high, Ordering::Relaxed);
            slot[TUNNEL].store(value, Ordering::Release);
            writer.len += 1;
            return Ok(());
        }
        unreachable!("make_room saw a quarter of the slots free")
    }

    /// Whether a transaction that first takes out `removed` keys and then adds
    /// `added` new ones will find room for all of them, even if readers stand
    /// still (control). Best called without a guard held: slots just emptied
    /// come back only then.
    ///
    /// # Errors
    /// [`DecapFull`] if not.
    pub fn has_room(&self, removed: usize, added: usize) -> Result<(), DecapFull> {
        let writer = &mut *lock(&self.writer);
        if writer.taken() + added > self.most() {
            self.recover(writer);
        }
        let fits = writer.len.saturating_sub(removed) + added <= self.capacity;
        if fits && writer.taken() + added <= self.most() {
            return Ok(());
        }
        Err(DecapFull { capacity: self.capacity })
    }

    /// Most slots to be taken, so that every probe ends.
    fn most(&self) -> usize {
        self.slots.len() / 4 * 3
    }

    /// Makes sure that a slot can be taken.
    fn make_room(&self, writer: &mut Writer) -> Result<(), DecapFull> {
        if writer.taken() >= self.most() {
            self.recover(writer);
        }
        if writer.len < self.capacity && writer.taken() < self.most() {
            return Ok(());
        }
        Err(DecapFull { capacity: self.capacity })
    }

    /// Tries to get emptied slots back now.
    fn recover(&self, writer: &mut Writer) {
        writer.retired.seal(&self.domain.pin());
        self.domain.advance();
        writer.reclaim();
    }

    /// Takes a key out; gives the tunnel it had (single writer: control).
    ///
    /// # Panics
    /// If the guard belongs to another domain.
    pub fn remove(&self, key: DecapKey, guard: &Guard) -> Option<TunnelIndex> {
        let writer = &mut *lock(&self.writer);
        let found = self.find(writer, key)?;
        let tunnel = self.slots[found].0[TUNNEL].swap(0, Ordering::AcqRel);
        for (index, slot) in self.probe(self.home(key)) {
            if index == found {
                break;
            }
            slot[OVERFLOW].fetch_sub(1, Ordering::Release);
        }
        writer.len -= 1;
        writer.waiting[found] = true;
        writer.retired.retire(found, guard);
        Some((tunnel - 1) as TunnelIndex)
    }

    /// The slot a key is in.
    fn find(&self, writer: &mut Writer, key: DecapKey) -> Option<usize> {
        let (low, high) = halves(key);
        for (index, slot) in self.probe(self.home(key)) {
            writer.probes += 1;
            if slot[TUNNEL].load(Ordering::Relaxed) != 0
                && slot[LOW].load(Ordering::Relaxed) == low
                && slot[HIGH].load(Ordering::Relaxed) == high
            {
                return Some(index);
            }
            if slot[OVERFLOW].load(Ordering::Relaxed) == 0 {
                return None;
            }
        }
        None
    }

    /// Lets the grace period of removed keys' slots begin (control).
    pub fn seal(&self, guard: &Guard) {
        lock(&self.writer).retired.seal(guard);
    }

    /// Takes slots whose grace period is over back into use (control).
    pub fn reclaim(&self) {
        lock(&self.writer).reclaim();
    }

    /// Number of keys (control).
    pub fn len(&self) -> usize {
        lock(&self.writer).len
    }

    /// True if there is no key (control).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Slots looked at by changes so far: what changes cost, as a number that
    /// does not depend on the machine.
    pub fn probes(&self) -> u64 {
        lock(&self.writer).probes
    }

    /// Memory reserved, in bytes.
    pub fn bytes(&self) -> usize {
        self.slots.len() * (size_of::<Quad>() + size_of::<bool>())
    }
}

impl Writer {
    /// Slots in use or not to be used yet.
    fn taken(&self) -> usize {
        self.len + self.retired.len()
    }

    fn reclaim(&mut self) {
        while let Some(slot) = self.retired.pop() {
            self.waiting[slot] = false;
        }
    }
}

fn halves(key: DecapKey) -> (u64, u64) {
    (key.0 as u64, (key.0 >> 64) as u64)
}

/// Mixes both halves into an index. Multiplication carries entropy upwards
/// only, so each product's high half is folded back onto its low half.
#[inline]
fn hash(low: u64, high: u64) -> u64 {
    let fold = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        product as u64 ^ (product >> 64) as u64
    };
    fold(low ^ 0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9 ^ high.rotate_left(32))
        .wrapping_mul(0x94d0_49bb_1331_11eb)
        .rotate_left(29)
}

#[cfg(all(test, not(loom)))]
#[path = "decap_tests.rs"]
mod tests;
