//! What loom finds out about publishing and reclaiming: every interleaving, and
//! every value a load may legally yield, of control changing a table and a
//! worker reading it.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom \
//!     cargo test --no-default-features --lib tables::model
//! ```
//!
//! The tables are the real ones with tiny strides; [`epoch`](super::epoch) is
//! the stand-in of `epoch_model.rs`. Models of chunks and snapshots would take
//! too long in full: they try the executions with few forced changes of thread.
//! Each model of a reuse has a twin without grace periods, which must fail: else
//! the model would prove nothing.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use loom::thread;

use super::chunked::{CHUNK, Chunked};
use super::decap::DecapMap;
use super::epoch::{Domain, Guard, Published};
use super::fib4::{Fib, Stride, stride};
use super::sync::{Arc, AtomicU32};
use super::tunnel::DecapKey;
use crate::ids::{NextHopId, TableId};

stride!(
    /// Four addresses: two level-1 entries, groups of two.
    Nano, 2, 1
);

const DEFAULT: NextHopId = NextHopId(1);

/// Every execution there is.
const ALL: Option<usize> = None;

/// Runs a model, in all executions or in those with at most `switches` forced
/// changes of thread.
fn check(switches: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = switches;
    builder.check(model);
}

/// A reader that looks twice, once before and once after a repin.
fn reader(domain: &Domain, look: impl Fn(&Guard) + 'static) -> thread::JoinHandle<()> {
    let domain = domain.clone();
    thread::spawn(move || {
        let reader = domain.reader();
        let mut guard = reader.pin();
        look(&guard);
        guard.repin();
        look(&guard);
    })
}

fn fib(domain: &Domain, groups: usize) -> Arc<Fib<Nano>> {
    let fib = Arc::new(Fib::new(domain, groups));
    fib.insert(0, 0, DEFAULT).unwrap();
    fib
}

/// A covered address never falls through, and a look never goes back in time.
#[test]
fn a_longer_prefix_comes_and_goes_over_a_covered_address() {
    check(ALL, || {
        let domain = Domain::new();
        let fib = fib(&domain, 1);
        let read = Arc::clone(&fib);
        let worker = reader(&domain, move |guard| {
            // 0 has a route of its own at times, 1 shares its group, 2 does not.
            assert!([1, 2].contains(&read.lookup(0, guard).0));
            assert_eq!(read.lookup(1, guard), DEFAULT);
            assert_eq!(read.lookup(2, guard), DEFAULT);
        });
        fib.insert(0, 2, NextHopId(2)).unwrap();
        fib.remove(0, 2).unwrap();
        fib.seal(&domain.pin());
        worker.join().unwrap();
    });
}

/// A shorter prefix changes under a longer one: level 1 and a group.
#[test]
fn a_shorter_prefix_comes_and_goes_under_a_longer_one() {
    check(ALL, || {
        let domain = Domain::new();
        let fib = fib(&domain, 1);
        fib.insert(0, 2, NextHopId(2)).unwrap();
        let read = Arc::clone(&fib);
        let worker = reader(&domain, move |guard| {
            let mut hops = [NextHopId::NO_ROUTE; 3];
            read.lookup_bulk(&[0, 1, 2], &mut hops, guard);
            assert_eq!((hops[0], hops[2]), (NextHopId(2), DEFAULT));
            assert!([1, 3].contains(&hops[1].0));
        });
        fib.insert(0, 1, NextHopId(3)).unwrap();
        fib.remove(0, 1).unwrap();
        worker.join().unwrap();
    });
}

/// One group, given from the one half of the addresses to the other: a reader
/// that still holds its number must not find the other half's next hop there.
fn group_reuse(domain: Domain) {
    let fib = fib(&domain, 1);
    fib.insert(0, 2, NextHopId(2)).unwrap();
    let read = Arc::clone(&fib);
    let worker = reader(&domain, move |guard| {
        let hop = read.lookup(0, guard).0;
        assert!([1, 2].contains(&hop), "address 0 got next hop {hop}");
    });
    fib.remove(0, 2).unwrap();
    fib.seal(&domain.pin());
    domain.advance();
    fib.reclaim();
    // Full while the reader holds the group back.
    let _ = fib.insert(2, 2, NextHopId(3));
    worker.join().unwrap();
}

#[test]
fn a_group_is_reused_behind_a_reader() {
    check(ALL, || group_reuse(Domain::new()));
}

#[test]
#[should_panic(expected = "address 0 got next hop 3")]
fn without_grace_a_reader_meets_a_reused_group() {
    check(ALL, || group_reuse(Domain::without_grace()));
}

/// What a FIB entry leads to is written before the entry is.
#[test]
fn a_next_hop_is_complete_when_it_is_found() {
    check(ALL, || {
        let domain = Domain::new();
        let fib = fib(&domain, 1);
        let adjacency = Arc::new(AtomicU32::new(0));
        let (read, content) = (Arc::clone(&fib), Arc::clone(&adjacency));
        let worker = reader(&domain, move |guard| {
            if read.lookup(0, guard) == NextHopId(2) {
                assert_eq!(content.load(Relaxed), 7);
            }
        });
        adjacency.store(7, Relaxed);
        fib.insert(0, 2, NextHopId(2)).unwrap();
        worker.join().unwrap();
    });
}

/// The broken order: the group comes into sight and is filled then.
#[test]
#[should_panic(expected = "a covered address without a route")]
fn publishing_a_group_before_it_is_filled_is_found() {
    check(ALL, || {
        let top = Arc::new(AtomicU32::new(1));
        let cell = Arc::new(AtomicU32::new(0));
        let (read_top, read_cell) = (Arc::clone(&top), Arc::clone(&cell));
        let worker = thread::spawn(move || {
            let entry = read_top.load(Acquire);
            let hop = if entry == 1 << 31 { read_cell.load(Acquire) } else { entry };
            assert_ne!(hop, 0, "a covered address without a route");
        });
        top.store(1 << 31, Release);
        cell.store(1, Release);
        worker.join().unwrap();
    });
}

fn key(n: u32) -> DecapKey {
    DecapKey::ipv4(TableId(0), n, 1, 47, None)
}

/// Keys of a map of four slots that want the same one.
fn colliding(map: &DecapMap) -> [DecapKey; 3] {
    let wanted = map.home(key(0));
    let mut keys = (0..).map(key).filter(|k| map.home(*k) == wanted);
    std::array::from_fn(|_| keys.next().unwrap())
}

/// The key in front goes and another comes while a worker looks for the one
/// behind it.
#[test]
fn a_key_that_stays_is_found_while_one_in_front_of_it_goes() {
    check(ALL, || {
        let domain = Domain::new();
        let map = Arc::new(DecapMap::with_capacity(&domain, 2));
        let [front, behind, new] = colliding(&map);
        map.insert(front, 10, &domain.pin()).unwrap();
        map.insert(behind, 11, &domain.pin()).unwrap();
        let read = Arc::clone(&map);
        let worker = reader(&domain, move |guard| {
            assert_eq!(read.get(behind, guard), Some(11));
            assert!([None, Some(10)].contains(&read.get(front, guard)));
        });
        map.remove(front, &domain.pin()).unwrap();
        map.insert(new, 12, &domain.pin()).unwrap();
        worker.join().unwrap();
    });
}

/// A slot is given from one key to another: a worker that read the tunnel of
/// the first must compare with the first.
fn slot_reuse(domain: Domain) {
    let map = Arc::new(DecapMap::with_capacity(&domain, 2));
    let [old, new, _] = colliding(&map);
    map.insert(old, 10, &domain.pin()).unwrap();
    let read = Arc::clone(&map);
    let worker = reader(&domain, move |guard| {
        let found = read.get(new, guard);
        assert!([None, Some(11)].contains(&found), "the new key got tunnel {found:?}");
        let found = read.get(old, guard);
        assert!([None, Some(10)].contains(&found), "the old key got tunnel {found:?}");
    });
    map.remove(old, &domain.pin()).unwrap();
    map.seal(&domain.pin());
    domain.advance();
    map.reclaim();
    map.insert(new, 11, &domain.pin()).unwrap();
    worker.join().unwrap();
}

#[test]
fn a_slot_is_reused_behind_a_reader() {
    check(ALL, || slot_reuse(Domain::new()));
}

#[test]
#[should_panic(expected = "the new key got tunnel Some(10)")]
fn without_grace_a_reader_meets_a_reused_slot() {
    check(Some(3), || slot_reuse(Domain::without_grace()));
}

/// Two entries of a chunk changed in sequence: a reader sees the first changed
/// if it sees the second changed, and what it holds is not reclaimed.
fn chunk_reuse(domain: Domain) {
    let array = Arc::new(Chunked::<[u32; 2]>::new(&domain, CHUNK));
    array.set(0, [1, 1], &domain.pin());
    let read = Arc::clone(&array);
    let worker = reader(&domain, move |guard| {
        let second = read.get(1, guard);
        let first = read.get(0, guard);
        assert!(first[0] == first[1] && [1, 2].contains(&first[0]));
        assert!(second[0] == 0 || first[0] == 2, "changes seen in the wrong order");
    });
    array.set(0, [2, 2], &domain.pin());
    array.set(1, [3, 3], &domain.pin());
    array.seal(&domain.pin());
    domain.advance();
    // Takes a spare chunk, if one has passed.
    array.set(1, [4, 4], &domain.pin());
    array.set(1, [5, 5], &domain.pin());
    worker.join().unwrap();
}

#[test]
fn a_chunk_is_reused_behind_a_reader() {
    check(Some(3), || chunk_reuse(Domain::new()));
}

#[test]
#[should_panic(expected = "reclaimed")]
fn without_grace_a_reader_meets_a_reused_chunk() {
    check(Some(3), || chunk_reuse(Domain::without_grace()));
}

/// Snapshots, with one reader that sleeps (unpins) and one that does not.
#[test]
fn a_snapshot_is_dropped_behind_the_last_of_two_readers() {
    check(Some(2), || {
        let domain = Domain::new();
        let published = Arc::new(Published::new(&domain, 1));
        let read = Arc::clone(&published);
        let first = reader(&domain, move |guard| assert!([1, 2].contains(read.load(guard))));
        let (sleeper, read) = (domain.clone(), Arc::clone(&published));
        let second = thread::spawn(move || {
            let reader = sleeper.reader();
            for _ in 0..2 {
                assert!([1, 2].contains(read.load(&reader.pin())));
            }
        });
        published.replace(2, &domain.pin());
        published.seal(&domain.pin());
        domain.advance();
        published.reclaim();
        first.join().unwrap();
        second.join().unwrap();
    });
}
