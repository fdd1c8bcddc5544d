#![allow(clippy::unwrap_used)]
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::tables::tests::{LONG, SHORT, fib_ops, race};

/// 256 addresses, all of them compared after each change: four levels.
struct Tiny;

impl Shape for Tiny {
    const WIDTH: u8 = 8;
    const TOP: u8 = 2;
    const STEP: u8 = 2;
}

/// The same with one bit at a time: as many levels as there can be.
struct Bitwise;

impl Shape for Bitwise {
    const WIDTH: u8 = 8;
    const TOP: u8 = 1;
    const STEP: u8 = 1;
}

/// Every length of real addresses, with a level 1 that is cheap to fill.
struct Middle;

impl Shape for Middle {
    const WIDTH: u8 = 128;
    const TOP: u8 = 8;
    const STEP: u8 = 6;
}

/// The oracle: a list of prefixes, searched from end to end.
#[derive(Clone, Debug, Default)]
struct Oracle {
    width: u32,
    routes: Vec<(u128, u8, NextHopId)>,
}

impl Oracle {
    /// First and last address of a prefix.
    fn range(&self, address: u128, len: u8) -> (u128, u128) {
        let host = self.width - u32::from(len);
        let low = u128::MAX.checked_shr(128 - host).unwrap_or(0);
        (address & !low, address | low)
    }

    fn insert(&mut self, address: u128, len: u8, hop: NextHopId) {
        self.remove(address, len);
        self.routes.push((self.range(address, len).0, len, hop));
    }

    fn remove(&mut self, address: u128, len: u8) -> Option<NextHopId> {
        let first = self.range(address, len).0;
        let at = self.routes.iter().position(|(a, l, _)| (*a, *l) == (first, len))?;
        Some(self.routes.swap_remove(at).2)
    }

    fn lookup(&self, address: u128) -> NextHopId {
        let covers = self.routes.iter().filter(|(network, len, _)| {
            let (first, last) = self.range(*network, *len);
            (first..=last).contains(&address)
        });
        covers.max_by_key(|(_, len, _)| *len).map_or(NextHopId::NO_ROUTE, |(.., hop)| *hop)
    }

    /// Where a wrong entry of this prefix would show: its ends and beyond.
    fn edges(&self, address: u128, len: u8) -> [u128; 5] {
        let (first, last) = self.range(address, len);
        let end = self.range(0, 0).1;
        let middle = first + (last - first) / 3;
        [first.wrapping_sub(1) & end, first, middle, last, last.wrapping_add(1) & end]
    }

    fn all_edges(&self) -> Vec<u128> {
        self.routes.iter().flat_map(|(a, l, _)| self.edges(*a, *l)).collect()
    }
}

type Op = fib_ops::Op<u128>;

/// A prefix near one of a few places, so that all lengths nest and touch.
fn prefix(width: u8) -> impl Strategy<Value = (u128, u8)> {
    const PLACES: [u128; 4] = [
        0x2001_0db8_0a01_02ff_0000_0000_0000_0001,
        0x2001_0db8_0a01_0300_8000_0000_0000_00ff,
        0x2001_0db8_0a01_02ff_0000_0000_0001_0000,
        u128::MAX,
    ];
    let wide = u32::from(width);
    (prop::sample::select(&PLACES[..]), 0..=wide, any::<u128>(), 0..=width).prop_map(
        move |(place, keep, noise, len)| {
            // The first `keep` bits are the place's.
            let noise = (noise >> (128 - wide)).checked_shr(keep).unwrap_or(0);
            // Tiny addresses take the low bits of a place.
            ((place ^ noise) & (u128::MAX >> (128 - wide)), len)
        },
    )
}

fn ops(width: u8, most: usize) -> impl Strategy<Value = Vec<Op>> {
    fib_ops::ops(move || prefix(width), most)
}

/// A FIB beside its oracle.
struct Pair<S: Shape> {
    domain: Domain,
    fib: Fib<S>,
    oracle: Oracle,
}

impl<S: Shape> Pair<S> {
    fn new(groups: usize, jumps: usize) -> Pair<S> {
        let domain = Domain::new();
        let oracle = Oracle { width: u32::from(S::WIDTH), routes: Vec::new() };
        Pair { fib: Fib::new(&domain, groups, jumps), domain, oracle }
    }

    fn collect(&self) {
        self.fib.seal(&self.domain.pin());
        self.domain.advance();
        self.fib.reclaim();
    }

    /// Does it to both and compares what they say; gives the prefix changed.
    fn apply(&mut self, op: &Op) -> Result<(u128, u8), TestCaseError> {
        match *op {
            Op::Insert(address, len, hop) => {
                let hop = NextHopId(hop);
                let promised = self.fib.can_insert([(address, len)]);
                let before = self.fib.stats().prefixes;
                let inserted = self.fib.insert(address, len, hop);
                prop_assert!(inserted.is_ok() || promised.is_err(), "a promise was broken");
                if inserted.is_ok() {
                    self.oracle.insert(address, len, hop);
                } else {
                    // Looking for room may have tidied up, and nothing else.
                    prop_assert_eq!(self.fib.stats().prefixes, before);
                }
                Ok((address, len))
            }
            Op::Remove(ref index) => {
                if self.oracle.routes.is_empty() {
                    return Ok((0, 0));
                }
                let (address, len, _) = *index.get(&self.oracle.routes);
                prop_assert_eq!(self.fib.remove(address, len), self.oracle.remove(address, len));
                Ok((address, len))
            }
            Op::RemoveAny(address, len) => {
                prop_assert_eq!(self.fib.remove(address, len), self.oracle.remove(address, len));
                Ok((address, len))
            }
            Op::Collect => {
                self.collect();
                let stats = self.fib.stats();
                prop_assert_eq!(stats.prefixes, self.oracle.routes.len());
                // Without jumps to spare some groups stay for a while.
                if stats.jumps_total < 200 {
                    return Ok((0, 0));
                }
                let deep = self.oracle.routes.iter().filter(|(_, len, _)| *len > S::TOP).count();
                prop_assert!(stats.groups_used < deep.max(1), "{:?} for {}", stats, deep);
                prop_assert!(stats.jumps_used <= 2 * deep, "{:?} for {}", stats, deep);
                Ok((0, 0))
            }
        }
    }

    fn compare(&self, addresses: &[u128]) -> Result<(), TestCaseError> {
        let guard = self.domain.pin();
        let mut bulk = vec![NextHopId(77); addresses.len()];
        self.fib.lookup_bulk(addresses, &mut bulk, &guard);
        for (address, bulk) in addresses.iter().zip(bulk) {
            let expected = self.oracle.lookup(*address);
            prop_assert_eq!(self.fib.lookup(*address, &guard), expected, "{:#x}", address);
            prop_assert_eq!(bulk, expected, "{:#x} in bulk", address);
        }
        Ok(())
    }

    /// When all is removed, everything comes back and level 1 is empty.
    fn empty(mut self) -> Result<(), TestCaseError> {
        let edges = self.oracle.all_edges();
        for (address, len, hop) in std::mem::take(&mut self.oracle.routes) {
            prop_assert_eq!(self.fib.remove(address, len), Some(hop));
        }
        self.compare(&edges)?;
        // Where jumps were scarce, groups may have waited for some.
        (0..8).for_each(|_| self.collect());
        let stats = self.fib.stats();
        prop_assert_eq!((stats.prefixes, stats.groups_used, stats.jumps_used), (0, 0, 0));
        prop_assert_eq!(stats.retired, 0);
        prop_assert!(self.fib.level1.iter().all(|cell| read(cell) == Entry::NONE));
        Ok(())
    }
}

fn agree<S: Shape>(ops: &[Op], groups: usize, jumps: usize) -> Result<(), TestCaseError> {
    let mut pair = Pair::<S>::new(groups, jumps);
    for op in ops {
        let (address, len) = pair.apply(op)?;
        pair.compare(&pair.oracle.edges(address, len))?;
    }
    pair.compare(&pair.oracle.all_edges())?;
    pair.empty()
}

fn agree_everywhere<S: Shape>(
    ops: &[Op],
    groups: usize,
    jumps: usize,
) -> Result<(), TestCaseError> {
    let mut pair = Pair::<S>::new(groups, jumps);
    let all: Vec<u128> = (0..1 << S::WIDTH).collect();
    for op in ops {
        pair.apply(op)?;
        pair.compare(&all)?;
    }
    pair.empty()
}

proptest! {
    #[test]
    fn all_lengths_agree_with_a_linear_search(ops in ops(128, 80)) {
        agree::<Middle>(&ops, 100, 300)?;
    }

    #[test]
    fn little_room_agrees_with_a_linear_search_and_full_changes_nothing(
        ops in ops(128, 80), groups in 0usize..12, jumps in 0usize..24,
    ) {
        agree::<Middle>(&ops, groups, jumps)?;
    }

    /// Exhaustive in the addresses.
    #[test]
    fn tiny_agrees_at_every_address_after_every_change(
        ops in ops(8, 100), groups in 0usize..40, jumps in 0usize..80,
    ) {
        agree_everywhere::<Tiny>(&ops, groups, jumps)?;
    }

    #[test]
    fn bit_by_bit_agrees_at_every_address_after_every_change(
        ops in ops(8, 100), groups in 0usize..80, jumps in 0usize..160,
    ) {
        agree_everywhere::<Bitwise>(&ops, groups, jumps)?;
    }

    /// What `can_insert` promised holds, in any order of a transaction's changes
    /// and while a reader stands still.
    #[test]
    fn a_promised_transaction_never_meets_a_full_fib(
        before in ops(8, 60), change in ops(8, 30), groups in 1usize..40, jumps in 1usize..120,
    ) {
        let mut pair = Pair::<Tiny>::new(groups, jumps);
        for op in &before {
            pair.apply(op)?;
        }
        let reader = pair.domain.reader();
        let _still = reader.pin();
        prop_assume!(pair.fib.can_insert(fib_ops::inserts(&change)).is_ok());
        for op in &change {
            match *op {
                Op::Insert(address, len, hop) => {
                    let hop = NextHopId(hop);
                    prop_assert_eq!(pair.fib.insert(address, len, hop), Ok(()));
                    pair.oracle.insert(address, len, hop);
                }
                // A transaction ends where it is sealed.
                Op::Collect => {}
                _ => drop(pair.apply(op)?),
            }
        }
        pair.compare(&(0..256).collect::<Vec<_>>())?;
    }

    /// As many as the shorter slice holds, and not one more.
    #[test]
    fn bulk_stops_with_the_shorter_slice(addresses in 0usize..200, hops in 0usize..200) {
        let domain = Domain::new();
        let fib = Fib::<Tiny>::new(&domain, 1, 4);
        fib.insert(0, 0, NextHopId(5)).unwrap();
        fib.insert(1, 8, NextHopId(6)).unwrap();
        let mut out = vec![NextHopId(u32::MAX); hops];
        fib.lookup_bulk(&vec![1; addresses], &mut out, &domain.pin());
        let (done, rest) = out.split_at(addresses.min(hops));
        prop_assert!(done.iter().all(|hop| *hop == NextHopId(6)));
        prop_assert!(rest.iter().all(|hop| *hop == NextHopId(u32::MAX)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The table as it runs. Slow: a short prefix covers a million entries.
    #[test]
    fn slow_the_real_shape_agrees_with_a_linear_search(ops in ops(128, 120)) {
        agree::<Ipv6>(&ops, 200, 600)?;
    }
}

const SITE: u128 = 0x2001_0db8_0010_0000_0000_0000_0000_0000;

#[test]
fn longest_prefix_wins_and_falls_back() {
    let domain = Domain::new();
    let fib = Fib6::new(&domain, 16, 64);
    let guard = domain.pin();
    let hop = NextHopId;
    fib.insert(0, 0, hop(9)).unwrap();
    fib.insert(SITE, 32, hop(1)).unwrap();
    fib.insert(SITE, 48, hop(2)).unwrap();
    fib.insert(SITE | 1, 128, hop(3)).unwrap();
    let look = |a| fib.lookup(a, &guard).0;
    let all = [SITE | 1, SITE | 2, SITE | 1 << 80, 1];
    assert_eq!(all.map(look), [3, 2, 1, 9]);
    assert_eq!(fib.remove(SITE, 48), Some(hop(2)));
    assert_eq!(all.map(look), [3, 1, 1, 9]);
    assert_eq!(fib.remove(SITE | 1, 128), Some(hop(3)));
    assert_eq!(fib.remove(0, 0), Some(hop(9)));
    assert_eq!(all.map(look), [1, 1, 1, 0]);
}

/// What the compression is for: a host route costs one jump, wherever it is.
#[test]
fn a_prefix_alone_costs_a_jump_and_two_that_part_a_group() {
    let domain = Domain::new();
    let fib = Fib6::new(&domain, 16, 64);
    fib.insert(SITE | 1, 128, NextHopId(1)).unwrap();
    let used = || (fib.stats().groups_used, fib.stats().jumps_used);
    assert_eq!(used(), (0, 1));
    // Parts in the last bits: a jump to the group, which has both as leaves.
    fib.insert(SITE | 2, 128, NextHopId(2)).unwrap();
    fib.seal(&domain.pin());
    domain.advance();
    fib.reclaim();
    assert_eq!(used(), (1, 1));
    // And back.
    fib.remove(SITE | 1, 128).unwrap();
    assert_eq!(used(), (1, 1), "as it was until the transaction ends");
    fib.seal(&domain.pin());
    domain.advance();
    fib.reclaim();
    assert_eq!(used(), (0, 1));
    assert_eq!(fib.lookup(SITE | 2, &domain.pin()), NextHopId(2));
}

#[test]
fn a_full_fib_still_changes_the_next_hop_of_what_is_in_it() {
    let domain = Domain::new();
    let fib = Fib6::new(&domain, 0, 1);
    fib.insert(SITE, 48, NextHopId(1)).unwrap();
    let full = Fib6Full { groups_needed: 1, groups_free: 0, jumps_needed: 3, jumps_free: 0 };
    assert_eq!(fib.insert(SITE, 49, NextHopId(2)), Err(full));
    assert_eq!(fib.insert(SITE, 48, NextHopId(3)), Ok(()));
    assert_eq!(fib.lookup(SITE, &domain.pin()), NextHopId(3));
}

/// Stores of the same changes beside `count` other routes.
fn stores_of_changes(count: u128) -> u64 {
    let domain = Domain::new();
    let fib = Fib6::new(&domain, 1 << 17, 1 << 17);
    for n in 0..count {
        let other = 0x2a00_u128 << 112 | n << 80;
        fib.insert(other, 48, NextHopId(1 + n as u32 % 100)).unwrap();
    }
    let before = fib.stats().stores;
    for len in 20..=128 {
        fib.insert(SITE, len, NextHopId(u32::from(len))).unwrap();
    }
    for len in 20..=128 {
        assert!(fib.remove(SITE, len).is_some());
    }
    fib.seal(&domain.pin());
    fib.stats().stores - before
}

#[test]
fn a_change_costs_the_same_beside_100_k_routes_slow() {
    let few = stores_of_changes(1_000);
    assert_eq!(few, stores_of_changes(100_000));
    assert!(few < 10_000, "{few} stores");
}

/// Addresses that a /16 covers, while longer prefixes over them come and go and
/// the groups and jumps change hands. A look must find one of the next hops that
/// its address ever has, never "no route" and never another address's.
fn covered_address_race(time: Duration) {
    const OTHER: u128 = SITE | 1 << 80;
    let domain = Domain::new();
    let fib = Fib6::new(&domain, 6, 24);
    fib.insert(SITE, 16, NextHopId(1)).unwrap();
    // (address, length, next hop); those of OTHER are odd.
    let routes: [(u128, u8, u32); 8] = [
        (SITE, 48, 2),
        (OTHER, 48, 3),
        (SITE, 64, 4),
        (OTHER, 50, 5),
        (SITE, 128, 6),
        (OTHER | 1, 128, 7),
        (SITE | 1 << 60, 68, 8),
        (OTHER | 1 << 70, 60, 9),
    ];
    let write = |turn: u64| {
        // Not always in the same order: 5 and 8 have no common factor.
        let (address, len, hop) = routes[(turn * 5 + turn / 64) as usize % routes.len()];
        if fib.remove(address, len).is_none() {
            // Full while readers stand still.
            let _ = fib.insert(address, len, NextHopId(hop));
        }
        if turn.is_multiple_of(3) {
            fib.seal(&domain.pin());
            domain.advance();
            fib.reclaim();
        }
    };
    let read = |turn: u64, guard: &Guard| {
        let mut hops = [NextHopId::NO_ROUTE; 4];
        let addresses = [SITE, OTHER | 1, SITE | 1 << 60, OTHER | 1 << 70];
        if turn.is_multiple_of(2) {
            fib.lookup_bulk(&addresses, &mut hops, guard);
        } else {
            hops = addresses.map(|address| fib.lookup(address, guard));
        }
        let possible: [&[u32]; 4] = [&[1, 2, 4, 6], &[1, 3, 5, 7], &[1, 2, 4, 8], &[1, 3, 5, 9]];
        for (at, hop) in hops.iter().enumerate() {
            assert!(possible[at].contains(&hop.0), "address {at} got next hop {}", hop.0);
        }
    };
    race(&domain, time, write, read);
}

#[test]
fn a_covered_address_stays_covered_for_readers() {
    covered_address_race(SHORT);
}

#[test]
fn slow_a_covered_address_stays_covered_for_readers() {
    covered_address_race(LONG);
}
