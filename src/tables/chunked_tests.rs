#![allow(clippy::unwrap_used)]
use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::tables::tests::{LONG, SHORT, race};

/// An entry whose words must agree.
type Entry = [u64; 12];

fn entry(value: u64) -> Entry {
    [value; 12]
}

/// What is done to an array.
#[derive(Clone, Debug)]
enum Op {
    Set(usize, u64),
    SetMany(Vec<(usize, u64)>),
    Collect,
}

fn ops(capacity: usize) -> impl Strategy<Value = Vec<Op>> {
    let one = (0..capacity, any::<u64>());
    let op = prop_oneof![
        3 => one.clone().prop_map(|(index, value)| Op::Set(index, value)),
        2 => prop::collection::vec(one, 0..20).prop_map(Op::SetMany),
        1 => Just(Op::Collect),
    ];
    prop::collection::vec(op, 0..60)
}

proptest! {
    #[test]
    fn entries_are_what_was_set_last(ops in ops(100)) {
        let domain = Domain::new();
        let array = Chunked::<Entry>::new(&domain, 100);
        let mut oracle = HashMap::new();
        for op in ops {
            match op {
                Op::Set(index, value) => {
                    array.set(index, entry(value), &domain.pin());
                    oracle.insert(index, value);
                }
                Op::SetMany(entries) => {
                    let many = entries.iter().map(|(index, value)| (*index, entry(*value)));
                    array.set_many(many, &domain.pin());
                    oracle.extend(entries);
                }
                Op::Collect => {
                    array.seal(&domain.pin());
                    domain.advance();
                    array.reclaim();
                }
            }
            let guard = domain.pin();
            for index in 0..140 {
                let expected = entry(oracle.get(&index).copied().unwrap_or(0));
                prop_assert_eq!(*array.get(index, &guard), expected, "entry {}", index);
            }
        }
    }
}

/// What 100 changes of one entry each copy, in an array filled to `count`.
fn bytes_of_100_changes(count: usize) -> u64 {
    let domain = Domain::new();
    let array = Chunked::<[u64; 16]>::new(&domain, count);
    array.set_many((0..count).map(|index| (index, [1; 16])), &domain.pin());
    let filled = array.bytes_copied();
    assert_eq!(filled, (count.div_ceil(CHUNK) * CHUNK * 128) as u64, "neighbours share a copy");
    for n in 0..100 {
        array.set(n * 7 % count, [2; 16], &domain.pin());
    }
    array.bytes_copied() - filled
}

#[test]
fn a_change_copies_the_same_in_an_array_of_1_k_and_of_100_k() {
    let expected = 100 * (CHUNK * 128) as u64;
    assert_eq!([1_000, 100_000].map(bytes_of_100_changes), [expected; 2]);
}

#[test]
fn memory_does_not_grow_with_changes() {
    let domain = Domain::new();
    let array = Chunked::<Entry>::new(&domain, 1_000);
    array.set(0, entry(1), &domain.pin());
    let once = array.bytes(&domain.pin());
    for n in 0..10_000 {
        array.set(n % CHUNK, entry(2), &domain.pin());
        array.seal(&domain.pin());
        domain.advance();
        array.reclaim();
    }
    let kept = 64 * size_of::<Chunk<Entry>>();
    assert!(array.bytes(&domain.pin()) <= once + kept);
}

#[test]
fn a_reader_keeps_what_it_read_until_it_repins() {
    let domain = Domain::new();
    let array = Chunked::<Entry>::new(&domain, 10);
    array.set(3, entry(0), &domain.pin());
    let reader = domain.reader();
    let guard = reader.pin();
    let seen = array.get(3, &guard);
    for value in 1..200 {
        array.set(3, entry(value), &domain.pin());
        array.seal(&domain.pin());
        domain.advance();
        array.reclaim();
    }
    assert_eq!((*seen, *array.get(3, &guard)), (entry(0), entry(199)));
}

#[test]
#[should_panic(expected = "entry 10 of a table of 10")]
fn an_index_beyond_the_capacity_is_refused() {
    let domain = Domain::new();
    Chunked::<Entry>::new(&domain, 10).set(10, entry(1), &domain.pin());
}

/// Entry n always holds a multiple of `ENTRIES` plus n, twelve times, and never
/// goes back.
fn torn_entry_race(time: Duration) {
    const ENTRIES: usize = 70;
    let domain = Domain::new();
    let array = Chunked::<Entry>::new(&domain, ENTRIES);
    let value = |round: u64, index: usize| entry(round * ENTRIES as u64 + index as u64);
    array.set_many((0..ENTRIES).map(|index| (index, value(0, index))), &domain.pin());
    let write = |turn: u64| {
        for index in 0..ENTRIES {
            array.set(index, value(turn + 1, index), &domain.pin());
        }
        array.seal(&domain.pin());
        domain.advance();
        if turn.is_multiple_of(16) {
            array.reclaim();
        }
    };
    let read = |_: u64, guard: &Guard| {
        let mut held = Vec::with_capacity(ENTRIES);
        for index in 0..ENTRIES {
            held.push((array.get(index, guard), *array.get(index, guard)));
        }
        for (index, (seen, then)) in held.into_iter().enumerate() {
            assert!(seen.iter().all(|word| *word == seen[0]), "torn: {seen:?}");
            assert_eq!(seen[0] % ENTRIES as u64, index as u64, "another entry's content");
            // A word that changed while the guard was held would be a reuse.
            assert!(then[0] >= seen[0], "{} after {}", then[0], seen[0]);
        }
    };
    race(&domain, time, write, read);
}

#[test]
fn entries_are_never_torn_for_readers() {
    torn_entry_race(SHORT);
}

#[test]
fn slow_entries_are_never_torn_for_readers() {
    torn_entry_race(LONG);
}
