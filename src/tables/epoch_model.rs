//! Stands in for `epoch.rs` when loom checks the tables: the same interface and
//! the same rules, made of loom's atomics, and nothing `unsafe`.
//!
//! Grace periods are those of crossbeam, cut down to what the tables use: a
//! global epoch that only control advances, an announced epoch per reader, and
//! the very orders and fences of `pin`, `repin`, sealing and advancing. So a
//! table that leans on more than crossbeam gives fails here, too.
//!
//! Nothing is freed. Instead each value in [`Slots`] counts the guards that
//! loaded it and were not repinned since, and knows whether it was reclaimed: a
//! reclaim that overlaps a use and a use after reclaim panic. (These marks are
//! std's atomics, so that they order nothing in loom's eyes.) A domain made with
//! [`Domain::without_grace`] gives everything back at once: every model of a
//! reuse must fail with it.
use std::any::Any;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicUsize as Count};

use loom::sync::atomic::{AtomicUsize, fence};

use super::sync::{Arc, AtomicU32, AtomicU64, Mutex, lock};

/// Most readers of a model.
const READERS: usize = 2;
/// What a reader announces when it is not pinned.
const UNPINNED: u64 = 0;

#[derive(Debug)]
struct Global {
    epoch: AtomicU64,
    announced: [AtomicU64; READERS],
    registered: AtomicUsize,
    grace: bool,
}

/// See `epoch.rs`.
#[derive(Clone, Debug)]
pub struct Domain(Arc<Global>);

impl Domain {
    /// A domain nobody takes part in yet.
    pub fn new() -> Domain {
        Domain::with_grace(true)
    }

    /// A broken domain, whose limbos give back at once what they take.
    pub fn without_grace() -> Domain {
        Domain::with_grace(false)
    }

    fn with_grace(grace: bool) -> Domain {
        Domain(Arc::new(Global {
            epoch: AtomicU64::new(1),
            announced: [UNPINNED; READERS].map(AtomicU64::new),
            registered: AtomicUsize::new(0),
            grace,
        }))
    }

    /// Registers a reader.
    pub fn reader(&self) -> Reader {
        Reader { domain: self.clone(), number: self.0.registered.fetch_add(1, Relaxed) }
    }

    /// A guard for control, the only one to reclaim: it need not be announced.
    pub fn pin(&self) -> Guard {
        Guard { domain: self.clone(), reader: None, held: RefCell::default() }
    }

    /// As far as readers let it, at most three epochs on (control only).
    pub fn advance(&self) {
        for _ in 0..3 {
            let epoch = self.0.epoch.load(Relaxed);
            fence(SeqCst);
            for announced in &self.0.announced {
                let announced = announced.load(Relaxed);
                if announced != UNPINNED && announced != epoch {
                    return;
                }
            }
            fence(Acquire);
            self.0.epoch.store(epoch + 1, Release);
        }
    }

    /// True if the guard keeps this domain's garbage alive.
    pub fn owns(&self, guard: &Guard) -> bool {
        Arc::ptr_eq(&self.0, &guard.domain.0)
    }

    fn check(&self, guard: &Guard) {
        assert!(self.owns(guard), "guard of another epoch domain than the table's");
    }
}

/// See `epoch.rs`.
#[derive(Debug)]
pub struct Reader {
    domain: Domain,
    number: usize,
}

impl Reader {
    /// Pins.
    pub fn pin(&self) -> Guard {
        let global = &self.domain.0;
        global.announced[self.number].store(global.epoch.load(Relaxed), Relaxed);
        fence(SeqCst);
        let domain = self.domain.clone();
        Guard { domain, reader: Some(self.number), held: RefCell::default() }
    }
}

/// See `epoch.rs`. At most one per reader in a model.
pub struct Guard {
    domain: Domain,
    reader: Option<usize>,
    /// Users of what was loaded since the last repin.
    held: RefCell<Vec<&'static Count>>,
}

impl Guard {
    fn let_go(&self) {
        for users in self.held.borrow_mut().drain(..) {
            users.fetch_sub(1, Relaxed);
        }
    }

    /// Lets go of all that was loaded so far.
    pub fn repin(&mut self) {
        self.let_go();
        let Some(number) = self.reader else { return };
        let global = &self.domain.0;
        let (old, new) = (global.announced[number].load(Relaxed), global.epoch.load(Relaxed));
        if old != new {
            global.announced[number].store(new, Release);
        }
        fence(Acquire);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.let_go();
        if let Some(number) = self.reader {
            self.domain.0.announced[number].store(UNPINNED, Release);
        }
    }
}

/// See `epoch.rs`.
#[derive(Debug)]
pub struct Limbo<T> {
    domain: Domain,
    /// Items not sealed yet, then those sealed in an epoch.
    open: Vec<T>,
    sealed: VecDeque<(u64, T)>,
}

impl<T> Limbo<T> {
    /// An empty limbo for a table of this domain.
    pub fn new(domain: &Domain) -> Limbo<T> {
        Limbo { domain: domain.clone(), open: Vec::new(), sealed: VecDeque::new() }
    }

    /// Takes an item that was unlinked before this call.
    pub fn retire(&mut self, item: T, guard: &Guard) {
        self.domain.check(guard);
        self.open.push(item);
    }

    /// Lets the grace period of what was taken begin.
    pub fn seal(&mut self, guard: &Guard) {
        self.domain.check(guard);
        fence(SeqCst);
        let epoch = self.domain.0.epoch.load(Relaxed);
        self.sealed.extend(self.open.drain(..).map(|item| (epoch, item)));
    }

    /// The oldest item, once no reader can see it.
    pub fn pop(&mut self) -> Option<T> {
        let (sealed, _) = self.sealed.front()?;
        if self.domain.0.grace && self.domain.0.epoch.load(Relaxed) < sealed + 2 {
            return None;
        }
        self.sealed.pop_front().map(|(_, item)| item)
    }

    /// Items still waiting or not yet popped.
    pub fn len(&self) -> usize {
        self.open.len() + self.sealed.len()
    }

    /// True if nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A value of a slot.
struct Node<T> {
    value: T,
    /// Guards that may be looking at it.
    users: Count,
    reclaimed: AtomicBool,
}

/// See `epoch.rs`. The slots hold places in a list of all values there ever
/// were, plus 1; the values themselves (`Node<T>`) are leaked.
pub struct Slots<T> {
    domain: Domain,
    slots: Box<[AtomicUsize]>,
    nodes: std::sync::Mutex<Vec<&'static (dyn Any + Send + Sync)>>,
    limbo: Mutex<Limbo<usize>>,
    owns: PhantomData<T>,
}

impl<T: Send + Sync + 'static> Slots<T> {
    /// `count` empty slots.
    pub fn new(domain: &Domain, count: usize) -> Slots<T> {
        Slots {
            domain: domain.clone(),
            slots: (0..count).map(|_| AtomicUsize::new(0)).collect(),
            nodes: std::sync::Mutex::default(),
            limbo: Mutex::new(Limbo::new(domain)),
            owns: PhantomData,
        }
    }

    /// Number of slots.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    fn node(&self, place: usize) -> Option<&'static Node<T>> {
        let nodes = self.nodes.lock().expect("no panic while it was held");
        nodes.get(place.checked_sub(1)?)?.downcast_ref()
    }

    /// The value in a slot.
    pub fn load<'g>(&'g self, index: usize, guard: &'g Guard) -> Option<&'g T> {
        self.domain.check(guard);
        let node = self.node(self.slots.get(index)?.load(Acquire))?;
        assert!(!node.reclaimed.load(Relaxed), "loaded after it was reclaimed");
        if guard.reader.is_some() {
            node.users.fetch_add(1, Relaxed);
            guard.held.borrow_mut().push(&node.users);
        }
        Some(&node.value)
    }

    /// The slots under a guard.
    pub fn view<'g>(&'g self, guard: &'g Guard) -> View<'g, T> {
        View { slots: self, guard }
    }

    /// Puts a value into a slot and retires the old one.
    pub fn replace(&self, index: usize, value: Box<T>, guard: &Guard) {
        let (users, reclaimed) = (Count::new(0), AtomicBool::new(false));
        let node = Box::leak(Box::new(Node { value: *value, users, reclaimed }));
        let place = {
            let mut nodes = self.nodes.lock().expect("no panic while it was held");
            nodes.push(node);
            nodes.len()
        };
        let old = self.slots[index].swap(place, std::sync::atomic::Ordering::AcqRel);
        if old != 0 {
            lock(&self.limbo).retire(old, guard);
        }
    }

    /// Reclaims a value whose grace period is over, but gives none to be used
    /// again.
    pub fn spare(&self) -> Option<Box<T>> {
        let place = lock(&self.limbo).pop()?;
        let node = self.node(place)?;
        assert_eq!(node.users.load(Relaxed), 0, "reclaimed while a reader holds it");
        node.reclaimed.store(true, Relaxed);
        None
    }

    /// Lets the grace period of what was replaced so far begin.
    pub fn seal(&self, guard: &Guard) {
        lock(&self.limbo).seal(guard);
    }

    /// Replaced values not yet reclaimed.
    pub fn retired(&self) -> usize {
        lock(&self.limbo).len()
    }
}

/// See `epoch.rs`.
pub struct View<'g, T> {
    slots: &'g Slots<T>,
    guard: &'g Guard,
}

impl<'g, T: Send + Sync + 'static> View<'g, T> {
    /// The value in a slot.
    pub fn load(&self, index: usize) -> Option<&'g T> {
        self.slots.load(index, self.guard)
    }
}

/// See `epoch.rs`.
pub struct Published<T>(Slots<T>);

impl<T: Send + Sync + 'static> Published<T> {
    /// Publishes a first value.
    pub fn new(domain: &Domain, value: T) -> Published<T> {
        let slots = Slots::new(domain, 1);
        slots.replace(0, Box::new(value), &domain.pin());
        Published(slots)
    }

    /// The current value.
    pub fn load<'g>(&'g self, guard: &'g Guard) -> &'g T {
        self.0.load(0, guard).expect("filled when made")
    }

    /// Replaces the value.
    pub fn replace(&self, value: T, guard: &Guard) {
        self.0.replace(0, Box::new(value), guard);
    }

    /// Lets the grace period of replaced values begin.
    pub fn seal(&self, guard: &Guard) {
        self.0.seal(guard);
    }

    /// Reclaims the values whose grace period is over.
    pub fn reclaim(&self) {
        let mut waiting = self.0.retired() + 1;
        while self.0.retired() < waiting {
            waiting = self.0.retired();
            self.0.spare();
        }
    }
}

/// Four words.
#[derive(Debug)]
pub struct Quad(pub [AtomicU64; 4]);

/// What [`zeroed`] makes.
pub trait Zeroed {
    /// A zero.
    fn zero() -> Self;
}

impl Zeroed for AtomicU32 {
    fn zero() -> AtomicU32 {
        AtomicU32::new(0)
    }
}

impl Zeroed for Quad {
    fn zero() -> Quad {
        Quad([0; 4].map(AtomicU64::new))
    }
}

/// `count` zeros.
pub fn zeroed<T: Zeroed>(count: usize) -> Box<[T]> {
    (0..count).map(|_| T::zero()).collect()
}

/// Loads nothing.
pub fn prefetch<T>(_value: &T) {}
