//! Grace periods, and the only `unsafe` of the tables.
//!
//! A worker holds one [`Guard`] and calls [`Guard::repin`] once per burst; a
//! repin is a load, a compare and at most one store. What control takes out of
//! a table is kept in a [`Limbo`] until every guard that might still see it has
//! been repinned or dropped.
//!
//! # Nothing is freed on a worker
//!
//! crossbeam runs deferred functions on whichever thread collects: a
//! participant's first `pin()` and every 128th after it, never `repin()`. So
//! what we defer is not the drop. A limbo numbers its batches, and the deferred
//! function only stores "batch n has passed" (`fetch_max` on an atomic, captured
//! in place, no allocation). The items stay in a queue owned by control, which
//! looks at that number and reuses or drops them itself.
//!
//! ```text
//!  control: unlink ─▶ queue (n, item) ─▶ defer{passed = max(passed, n)} ─▶ … ─▶ pop if n ≤ passed
//!  anyone who collects:                        runs it: one atomic maximum
//!  worker:  pin … repin … repin … (burst after burst; no collection here)
//! ```
//!
//! What remains: crossbeam frees the nodes of its own garbage queue on the
//! thread that collects. A worker pins when it starts and when it wakes from a
//! sleep, so at most there, between bursts, and control's own
//! [`Domain::advance`] nearly always gets there first.
//!
//! One number per batch is enough although crossbeam keeps no order between
//! bags: everything in batches ≤ n was unlinked before n's function was
//! deferred, so a reader that may still see any of it was pinned before that
//! moment and holds back n's function too.
//!
//! # Why a repin is enough
//!
//! A batch sealed in epoch s passes in epoch s + 2, and a reader in epoch r holds
//! the global one at r + 1 or below. So no reader in an epoch r > s may still
//! load what was unlinked before s was read. Sealing is: unlink, full fence,
//! read s. `pin` is: announce r, full fence, load; the two fences are ordered
//! and that settles it. `repin` has no full fence: it reads the epoch r,
//! announces it, loads. Announcing late is harmless (it holds back more), but
//! loading *before r was read* is not: the load may then yield what was
//! unlinked in epoch r − 1. Hence the acquire fence in [`Guard::repin`]:
//! * r stored by control (nearly always): the fence makes control's store, and
//!   all it unlinked in earlier epochs, happen before the loads;
//! * r stored by a worker that collected as it woke: if a load behind the fence
//!   misses the unlink, r was visible to all before the unlink was (x86 and
//!   ARMv8 are multi-copy atomic and the fence keeps the two loads in order), so
//!   control read an s ≥ r.
//!
//! On x86 the fence is no instruction; it only binds the compiler.
//!
//! [`Guard`] is a type of our own so that a worker can do nothing else with it:
//! crossbeam's would also let it flush, and so collect and free.
#![allow(unsafe_code)]

use std::alloc::Layout;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicPtr, Ordering, fence};

use crossbeam_epoch::{Collector, LocalHandle};

use super::sync::{Arc, AtomicU32, AtomicU64, Mutex, lock};

thread_local! {
    /// Control's participant in the domain it last used, so that pinning for
    /// each change does not register anew.
    static WRITER: RefCell<Option<LocalHandle>> = const { RefCell::new(None) };
}

/// One set of tables and all who read them: a collector of its own, so that no
/// other user of crossbeam in the process can hold back or run our garbage.
#[derive(Clone, Debug, Default)]
pub struct Domain(Collector);

impl Domain {
    /// A domain nobody takes part in yet.
    pub fn new() -> Domain {
        Domain(Collector::new())
    }

    /// Registers a reader; call on the thread that will read.
    pub fn reader(&self) -> Reader {
        Reader(self.0.register())
    }

    /// Pins the calling thread as a writer (control, not workers: this may
    /// register, allocate and collect).
    pub fn pin(&self) -> Guard {
        WRITER.with_borrow_mut(|cached| match cached {
            Some(handle) if *handle.collector() == self.0 => Guard(handle.pin()),
            _ => Guard(cached.insert(self.0.register()).pin()),
        })
    }

    /// Hands over what this thread has deferred and tries to advance the epoch
    /// far enough for it to run (control only). Call with no guard held: a held
    /// one is not an error but keeps the epoch where it is.
    pub fn advance(&self) {
        // An item may run two epochs after it was handed over, and each flush
        // advances by at most one. It also runs at most 8 bags of what was handed
        // over: what piled up while a reader stood still takes several calls.
        for _ in 0..3 {
            self.pin().0.flush();
        }
    }

    /// True if the guard keeps this domain's garbage alive.
    #[inline]
    pub fn owns(&self, guard: &Guard) -> bool {
        guard.0.collector() == Some(&self.0)
    }

    /// Panics if it does not.
    #[inline]
    fn check(&self, guard: &Guard) {
        assert!(self.owns(guard), "guard of another epoch domain than the table's");
    }
}

/// A worker's participation. Not `Send`: make it on the worker's thread.
#[derive(Debug)]
pub struct Reader(LocalHandle);

impl Reader {
    /// Pins. On the path only [`Guard::repin`] is used; pin when starting and
    /// after sleeping.
    pub fn pin(&self) -> Guard {
        Guard(self.0.pin())
    }
}

/// A pin: nothing that its thread can load from a table is reused or dropped
/// until the guard is repinned or dropped.
#[derive(Debug)]
pub struct Guard(crossbeam_epoch::Guard);

impl Guard {
    /// Lets go of all that was loaded so far; between bursts. Does nothing while
    /// its thread holds a second guard of this domain.
    #[inline]
    pub fn repin(&mut self) {
        self.0.repin();
        // Keeps what is loaded from now on behind the load of the epoch that
        // repin announced; the module's text says what would happen otherwise.
        fence(Ordering::Acquire);
    }
}

/// Items taken out of a table that readers may still be looking at.
///
/// Owned by control; see the module's text for what happens where.
#[derive(Debug)]
pub struct Limbo<T> {
    domain: Domain,
    /// Highest batch whose grace period is over; stored by whoever collects.
    passed: Arc<AtomicU64>,
    /// Number of the batch being filled.
    open: u64,
    open_len: usize,
    queue: VecDeque<(u64, T)>,
}

/// Batches are closed when this full, so that a long transaction gets items
/// back before it ends, at one deferred function per this many items.
const BATCH: usize = 64;

impl<T> Limbo<T> {
    /// An empty limbo for a table of this domain.
    pub fn new(domain: &Domain) -> Limbo<T> {
        Limbo {
            domain: domain.clone(),
            passed: Arc::new(AtomicU64::new(0)),
            open: 1,
            open_len: 0,
            queue: VecDeque::new(),
        }
    }

    /// Takes an item that was unlinked before this call.
    ///
    /// # Panics
    /// If the guard belongs to another domain.
    pub fn retire(&mut self, item: T, guard: &Guard) {
        self.domain.check(guard);
        self.queue.push_back((self.open, item));
        self.open_len += 1;
        if self.open_len >= BATCH {
            self.seal(guard);
        }
    }

    /// Closes the open batch, so that its grace period begins.
    ///
    /// # Panics
    /// If the guard belongs to another domain.
    pub fn seal(&mut self, guard: &Guard) {
        self.domain.check(guard);
        if self.open_len == 0 {
            return;
        }
        let (passed, batch) = (Arc::clone(&self.passed), self.open);
        guard.0.defer(move || {
            passed.fetch_max(batch, Ordering::Release);
        });
        self.open += 1;
        self.open_len = 0;
    }

    /// The oldest item, once no reader can see it.
    pub fn pop(&mut self) -> Option<T> {
        let (batch, _) = self.queue.front()?;
        if *batch > self.passed.load(Ordering::Acquire) {
            return None;
        }
        self.queue.pop_front().map(|(_, item)| item)
    }

    /// Items still waiting or not yet popped.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// True if nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

/// A value no new reader can reach, that old readers may still be reading.
struct Unlinked<T>(*mut T);

// SAFETY:
// - it owns the value like a Box that may not be looked into yet, so it can
//   move to another thread when the value can.
unsafe impl<T: Send> Send for Unlinked<T> {}

/// An array of owned values, each replaced whole while readers read.
///
/// Spare boxes, those whose grace period is over, are kept for reuse.
pub struct Slots<T> {
    domain: Domain,
    slots: Box<[AtomicPtr<T>]>,
    limbo: Mutex<Limbo<Unlinked<T>>>,
    owns: PhantomData<T>,
}

impl<T: Send + Sync + 'static> Slots<T> {
    /// `count` empty slots.
    pub fn new(domain: &Domain, count: usize) -> Slots<T> {
        Slots {
            domain: domain.clone(),
            slots: (0..count).map(|_| AtomicPtr::default()).collect(),
            limbo: Mutex::new(Limbo::new(domain)),
            owns: PhantomData,
        }
    }

    /// Number of slots.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// True if there is no slot at all.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The value in a slot; `None` for a slot never filled or out of range.
    ///
    /// # Panics
    /// If the guard belongs to another domain.
    #[inline]
    pub fn load<'g>(&'g self, index: usize, guard: &'g Guard) -> Option<&'g T> {
        self.view(guard).load(index)
    }

    /// The slots as a guard lets them be read: for many loads, whose guard is
    /// so checked only once.
    ///
    /// # Panics
    /// If the guard belongs to another domain.
    #[inline]
    pub fn view<'g>(&'g self, guard: &'g Guard) -> View<'g, T> {
        self.domain.check(guard);
        View { slots: &self.slots, guard: PhantomData }
    }

    /// Puts a value into a slot and retires the old one (control).
    ///
    /// # Panics
    /// If the slot is out of range, or the guard belongs to another domain.
    pub fn replace(&self, index: usize, value: Box<T>, guard: &Guard) {
        self.domain.check(guard);
        let old = self.slots[index].swap(Box::into_raw(value), Ordering::AcqRel);
        if !old.is_null() {
            lock(&self.limbo).retire(Unlinked(old), guard);
        }
    }

    /// A value whose grace period is over, to be overwritten and used again.
    pub fn spare(&self) -> Option<Box<T>> {
        let unlinked = lock(&self.limbo).pop()?;
        // SAFETY:
        // - came from Box::into_raw in `replace`, and the swap there handed it
        //   to exactly one limbo entry, popped exactly once;
        // - the limbo gives it back only after every guard that could have
        //   loaded it is gone, so this is the only reference.
        Some(unsafe { Box::from_raw(unlinked.0) })
    }

    /// Lets the grace period of what was replaced so far begin.
    pub fn seal(&self, guard: &Guard) {
        lock(&self.limbo).seal(guard);
    }

    /// Replaced values not yet reused or dropped.
    pub fn retired(&self) -> usize {
        lock(&self.limbo).len()
    }
}

/// [`Slots`] under a guard, made by [`Slots::view`].
#[derive(Debug)]
pub struct View<'g, T> {
    slots: &'g [AtomicPtr<T>],
    guard: PhantomData<&'g Guard>,
}

impl<T> Clone for View<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for View<'_, T> {}

impl<'g, T> View<'g, T> {
    /// The value in a slot; `None` for a slot never filled or out of range.
    #[inline(always)]
    pub fn load(&self, index: usize) -> Option<&'g T> {
        let value = self.slots.get(index)?.load(Ordering::Acquire);
        // SAFETY:
        // - null or from Box::into_raw in `replace`, whose Release the Acquire
        //   above pairs with, so it is aligned and initialised;
        // - never written to while published: only shared references exist;
        // - alive for 'g: `replace` unlinks before it retires, the retired value
        //   is dropped only when the guard (checked by `view` to be of this
        //   domain) has been repinned or dropped, both of which end 'g; and Drop
        //   of the slots needs &mut, while 'g borrows them.
        unsafe { value.as_ref() }
    }
}

impl<T> Drop for Slots<T> {
    fn drop(&mut self) {
        let published = self.slots.iter_mut().map(|slot| *slot.get_mut());
        let retired = lock(&self.limbo).queue.drain(..).map(|(_, old)| old.0).collect::<Vec<_>>();
        for value in published.chain(retired).filter(|value| !value.is_null()) {
            // SAFETY:
            // - each came from Box::into_raw and is in one slot or one limbo
            //   entry, never in both;
            // - &mut self: no reference handed out by `load` is left, since
            //   those borrow self.
            drop(unsafe { Box::from_raw(value) });
        }
    }
}

/// One value, replaced whole while readers read: the small snapshots.
pub struct Published<T>(Slots<T>);

impl<T: Send + Sync + 'static> Published<T> {
    /// Publishes a first value.
    pub fn new(domain: &Domain, value: T) -> Published<T> {
        let slots = Slots::new(domain, 1);
        slots.replace(0, Box::new(value), &domain.pin());
        Published(slots)
    }

    /// The current value.
    ///
    /// # Panics
    /// If the guard belongs to another domain.
    #[inline]
    pub fn load<'g>(&'g self, guard: &'g Guard) -> &'g T {
        self.0.load(0, guard).expect("filled when made, and only ever replaced")
    }

    /// Replaces the value (control). The old one is dropped by a later
    /// [`Published::reclaim`].
    ///
    /// # Panics
    /// If the guard belongs to another domain.
    pub fn replace(&self, value: T, guard: &Guard) {
        self.0.replace(0, Box::new(value), guard);
    }

    /// Lets the grace period of replaced values begin (control).
    pub fn seal(&self, guard: &Guard) {
        self.0.seal(guard);
    }

    /// Drops the values whose grace period is over (control).
    pub fn reclaim(&self) {
        while self.0.spare().is_some() {}
    }

    /// Replaced values not yet dropped.
    pub fn retired(&self) -> usize {
        self.0.retired()
    }
}

/// Four words that never straddle a cache line.
#[derive(Debug, Default)]
#[repr(C, align(32))]
pub struct Quad(pub [AtomicU64; 4]);

mod sealed {
    /// # Safety
    /// All bytes zero is a valid value.
    pub unsafe trait Zeroed {}
    // SAFETY:
    // - same representation as u32, for which zero is valid.
    unsafe impl Zeroed for super::AtomicU32 {}
    // SAFETY:
    // - four times the representation of u64, for which zero is valid; the
    //   array fills the struct, so there is no padding that matters.
    unsafe impl Zeroed for super::Quad {}
}

/// `count` zeros, on large pages where the block spans any. Up to an alignment
/// of 16 bytes their pages cost nothing until written: a large block comes from
/// the system already zero. Beyond that (a [`Quad`]) they are cleared here, and
/// are there from the start.
pub fn zeroed<T: sealed::Zeroed>(count: usize) -> Box<[T]> {
    let layout = Layout::array::<T>(count).expect("a table smaller than the address space");
    if layout.size() == 0 {
        return Box::default();
    }
    let clean = layout.align() <= 16;
    // SAFETY:
    // - the layout's size is not zero.
    let block =
        unsafe { if clean { std::alloc::alloc_zeroed(layout) } else { std::alloc::alloc(layout) } };
    if block.is_null() {
        std::alloc::handle_alloc_error(layout);
    }
    want_large_pages(block, layout.size());
    if !clean {
        // SAFETY:
        // - allocated just above with this size.
        unsafe { block.write_bytes(0, layout.size()) };
    }
    // SAFETY:
    // - allocated just above by the global allocator with exactly the layout of
    //   [T; count], and owned by nobody else;
    // - every byte is zero, which `Zeroed` promises to be a valid T.
    unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(block.cast::<T>(), count)) }
}

/// Asks the system to back a block, not touched yet, by large pages: a table
/// read at random in 4 KiB pages costs a walk of the page table per lookup.
fn want_large_pages(block: *mut u8, bytes: usize) {
    const LARGE: usize = 2 << 20;
    let address = block.addr();
    let skip = address.next_multiple_of(LARGE) - address;
    let whole = bytes.saturating_sub(skip) / LARGE * LARGE;
    if whole > 0 && cfg!(not(miri)) {
        // SAFETY:
        // - the range is inside the block, which is ours;
        // - the advice changes no content. Where it is not taken, all still
        //   works, only slower.
        unsafe { libc::madvise(block.add(skip).cast(), whole, libc::MADV_HUGEPAGE) };
    }
}

/// Starts loading the cache line of a value that will be read soon.
#[inline(always)]
pub fn prefetch<T>(value: &T) {
    prefetch_at(std::ptr::from_ref(value).cast());
}

/// Starts loading the cache line at an address, whatever is there.
#[inline(always)]
pub fn prefetch_at(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY:
        // - SSE is part of x86_64;
        // - a prefetch reads nothing into the program and cannot fault.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

#[cfg(all(test, not(loom)))]
#[path = "epoch_tests.rs"]
mod tests;
