#![allow(clippy::unwrap_used)]
use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::ids::TableId;
use crate::tables::tests::{LONG, SHORT, race};

fn key(n: u32) -> DecapKey {
    DecapKey::ipv4(TableId(0), 0x0a00_0000 + n, 0xc0a8_0001, 47, None)
}

fn collect(map: &DecapMap, domain: &Domain) {
    map.seal(&domain.pin());
    domain.advance();
    map.reclaim();
}

/// `count` keys whose probes begin at `home` or right behind it.
fn colliding(map: &DecapMap, home: usize, count: usize) -> Vec<DecapKey> {
    let near = |k: &DecapKey| map.home(*k).wrapping_sub(home) % map.slots.len() < 2;
    (0..).map(key).filter(near).take(count).collect()
}

/// Lookups as the path does them: all begun, then all ended.
fn bulk(map: &DecapMap, keys: &[DecapKey], found: &mut [Option<TunnelIndex>], guard: &Guard) {
    let homes: Vec<Home> = keys.iter().map(|key| map.prefetch(*key)).collect();
    for ((key, home), found) in keys.iter().zip(homes).zip(found) {
        *found = map.get_fetched(*key, home, guard);
    }
}

#[test]
fn keys_come_and_go() {
    let domain = Domain::new();
    let map = DecapMap::with_capacity(&domain, 100);
    let guard = domain.pin();
    for n in 0..100 {
        map.insert(key(n), n, &guard).unwrap();
    }
    assert_eq!(map.insert(key(100), 100, &guard), Err(DecapFull { capacity: 100 }));
    assert_eq!(map.insert(key(99), 7, &guard), Ok(()), "a change needs no room");
    assert_eq!((map.get(key(99), &guard), map.len()), (Some(7), 100));
    assert!((0..99).all(|n| map.get(key(n), &guard) == Some(n)));
    assert_eq!(map.remove(key(5), &guard), Some(5));
    assert_eq!(map.remove(key(5), &guard), None);
    assert_eq!(map.get(key(5), &guard), None);
    assert!((0..99).filter(|n| *n != 5).all(|n| map.get(key(n), &guard) == Some(n)));
}

#[test]
fn keys_that_differ_in_one_field_are_different() {
    let domain = Domain::new();
    let map = DecapMap::with_capacity(&domain, 16);
    let guard = domain.pin();
    let ipv4 = DecapKey::ipv4;
    let keys = [
        ipv4(TableId(0), 1, 2, 47, None),
        ipv4(TableId(0), 2, 1, 47, None),
        ipv4(TableId(0), 1, 2, 4, None),
        ipv4(TableId(0), 1, 2, 47, Some(0)),
        ipv4(TableId(0), 1, 2, 47, Some(1)),
        ipv4(TableId(1), 1, 2, 47, None),
    ];
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(map.get(*key, &guard), None);
        map.insert(*key, n as TunnelIndex, &guard).unwrap();
    }
    let mut found = [None; 6];
    bulk(&map, &keys, &mut found, &guard);
    assert_eq!(found, [0, 1, 2, 3, 4, 5].map(Some));
}

#[test]
fn the_same_key_many_times_in_a_row_and_more_than_a_burst() {
    let domain = Domain::new();
    let map = DecapMap::with_capacity(&domain, 8);
    let guard = domain.pin();
    for n in 0..3 {
        map.insert(key(n), n, &guard).unwrap();
    }
    map.insert(DecapKey(0), 7, &guard).unwrap();
    let numbers = (0..200).map(|n| [0, 0, 1, 1, 1, 9, 9, 2][n % 8]);
    let mut keys: Vec<DecapKey> = numbers.map(key).collect();
    keys[0] = DecapKey(0);
    let mut found = vec![None; keys.len()];
    bulk(&map, &keys, &mut found, &guard);
    for (key, found) in keys.iter().zip(found) {
        assert_eq!(found, map.get(*key, &guard), "{key:?}");
    }
}

/// What is done to a map; keys by number.
#[derive(Clone, Debug)]
enum Op {
    Insert(usize, TunnelIndex),
    Remove(usize),
    Collect,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        3 => (0usize..24, any::<TunnelIndex>()).prop_map(|(k, t)| Op::Insert(k, t)),
        3 => (0usize..24).prop_map(Op::Remove),
        1 => Just(Op::Collect),
    ];
    prop::collection::vec(op, 0..150)
}

proptest! {
    /// All keys begin their probes at the same two slots, the last of the table,
    /// so that every probe is long and wraps around.
    #[test]
    fn colliding_keys_agree_with_a_hash_map(ops in ops(), still in any::<bool>()) {
        let domain = Domain::new();
        let map = DecapMap::with_capacity(&domain, 12);
        let keys = colliding(&map, map.slots.len() - 1, 24);
        let mut oracle = HashMap::new();
        let reader = domain.reader();
        // A reader that stands still keeps emptied slots from coming back.
        let guard = still.then(|| reader.pin());
        for op in ops {
            match op {
                Op::Insert(k, tunnel) => {
                    let new = !oracle.contains_key(&keys[k]);
                    let room = map.has_room(0, usize::from(new));
                    let inserted = map.insert(keys[k], tunnel, &domain.pin());
                    if new {
                        prop_assert_eq!(inserted, room);
                        prop_assert!(inserted.is_ok() || still || oracle.len() == 12);
                    } else {
                        prop_assert_eq!(inserted, Ok(()));
                    }
                    if inserted.is_ok() {
                        oracle.insert(keys[k], tunnel);
                    }
                }
                Op::Remove(k) => {
                    let removed = map.remove(keys[k], &domain.pin());
                    prop_assert_eq!(removed, oracle.remove(&keys[k]));
                }
                Op::Collect => collect(&map, &domain),
            }
            let mut found = [None; 24];
            let pinned = domain.pin();
            bulk(&map, &keys, &mut found, &pinned);
            for (key, found) in keys.iter().zip(found) {
                prop_assert_eq!(found, oracle.get(key).copied());
                prop_assert_eq!(map.get(*key, &pinned), found);
            }
            prop_assert_eq!(map.len(), oracle.len());
        }
        drop(guard);
        for key in oracle.into_keys() {
            map.remove(key, &domain.pin());
        }
        // One collection runs only so many of the functions that piled up.
        for _ in 0..20 {
            collect(&map, &domain);
        }
        let writer = lock(&map.writer);
        prop_assert_eq!((writer.len, writer.retired.len()), (0, 0));
        prop_assert!(!writer.waiting.contains(&true), "all slots come back");
        let clean = |slot: &Quad| [TUNNEL, OVERFLOW].map(|w| slot.0[w].load(Ordering::Relaxed));
        prop_assert!(map.slots.iter().all(|slot| clean(slot) == [0, 0]), "and all counts are 0");
    }
}

#[test]
fn a_slot_is_not_written_while_a_reader_may_be_comparing_its_key() {
    let domain = Domain::new();
    let map = DecapMap::with_capacity(&domain, 2);
    let reader = domain.reader();
    let mut guard = reader.pin();
    // Four slots, of which three may be taken.
    for n in 0..3 {
        assert_eq!(map.insert(key(n), n, &domain.pin()), Ok(()));
        assert_eq!(map.remove(key(n), &domain.pin()), Some(n));
    }
    assert_eq!(map.has_room(0, 1), Err(DecapFull { capacity: 2 }));
    assert_eq!(map.insert(key(3), 3, &domain.pin()), Err(DecapFull { capacity: 2 }));
    guard.repin();
    collect(&map, &domain);
    guard.repin();
    assert_eq!(map.has_room(0, 2), Ok(()));
    assert_eq!(map.has_room(0, 3), Err(DecapFull { capacity: 2 }));
    assert_eq!(map.has_room(1, 2), Ok(()));
    assert_eq!(map.insert(key(3), 3, &domain.pin()), Ok(()));
}

/// Slots looked at per change, in a map filled with `count` keys.
fn probes_per_change(count: u32, changes: u32) -> f64 {
    let domain = Domain::new();
    let map = DecapMap::with_capacity(&domain, count as usize);
    let guard = domain.pin();
    for n in 0..count {
        map.insert(key(n), n, &guard).unwrap();
    }
    drop(guard);
    let before = map.probes();
    for n in 0..changes {
        let (old, new) = (n, count + n);
        assert_eq!(map.remove(key(old), &domain.pin()), Some(old));
        map.insert(key(new), new, &domain.pin()).unwrap();
        if n % 100 == 0 {
            collect(&map, &domain);
        }
    }
    (map.probes() - before) as f64 / f64::from(2 * changes)
}

#[test]
fn a_change_looks_at_a_few_slots_among_1_k_keys_and_among_100_k_slow() {
    for count in [1_000, 10_000, 100_000] {
        let probes = probes_per_change(count, 1_000);
        assert!(probes < 4.0, "{probes} slots per change among {count} keys");
    }
}

#[test]
fn a_map_does_not_wear_out_slow() {
    let (early, late) = (probes_per_change(1_000, 1_000), probes_per_change(1_000, 200_000));
    assert!(late < early + 1.0, "{late} slots per change after long use, {early} early");
}

/// Keys that stay are always found; those that come and go are found with
/// their own tunnel or not at all.
fn changing_key_race(time: Duration) {
    let domain = Domain::new();
    let map = DecapMap::with_capacity(&domain, 24);
    let keys = colliding(&map, 61, 60);
    let tunnel = |n: usize| n as TunnelIndex * 3 + 1;
    // Every other of the first 16 is removed, so that slots to fill lie on the
    // way to those that stay.
    for (n, key) in keys.iter().enumerate().take(16) {
        map.insert(*key, tunnel(n), &domain.pin()).unwrap();
    }
    for n in (0..16).step_by(2) {
        map.remove(keys[n], &domain.pin()).unwrap();
    }
    let write = |turn: u64| {
        let n = 16 + turn as usize % 44;
        if map.insert(keys[n], tunnel(n), &domain.pin()).is_ok() && !turn.is_multiple_of(3) {
            map.remove(keys[n], &domain.pin()).unwrap();
        }
        let n = 16 + (turn as usize + 22) % 44;
        map.remove(keys[n], &domain.pin());
        if turn.is_multiple_of(8) {
            collect(&map, &domain);
        }
    };
    let read = |turn: u64, guard: &Guard| {
        let mut found = [None; 60];
        if turn.is_multiple_of(2) {
            bulk(&map, &keys, &mut found, guard);
        } else {
            for (key, found) in keys.iter().zip(&mut found) {
                *found = map.get(*key, guard);
            }
        }
        for (n, found) in found.into_iter().enumerate() {
            match n {
                0..16 => assert_eq!(found, (n % 2 == 1).then(|| tunnel(n)), "key {n}"),
                _ => assert!(found.is_none_or(|found| found == tunnel(n)), "key {n}: {found:?}"),
            }
        }
    };
    race(&domain, time, write, read);
}

#[test]
fn readers_find_what_stays_and_nothing_of_others() {
    changing_key_race(SHORT);
}

#[test]
fn slow_readers_find_what_stays_and_nothing_of_others() {
    changing_key_race(LONG);
}
