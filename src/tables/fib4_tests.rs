#![allow(clippy::unwrap_used)]
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::tables::tests::{LONG, SHORT, fib_ops, race};

stride!(
    /// Every prefix length, and groups that are cheap to fill.
    Middle, 32, 20
);
stride!(
    /// 64 addresses: all of them are compared after each change.
    Tiny, 6, 4
);

/// The oracle: a list of prefixes, searched from end to end.
#[derive(Clone, Debug, Default)]
struct Oracle {
    width: u32,
    routes: Vec<(u32, u8, NextHopId)>,
}

impl Oracle {
    fn new<S: Stride>() -> Oracle {
        Oracle { width: u32::from(S::WIDTH), routes: Vec::new() }
    }

    /// First and last address of a prefix.
    fn range(&self, address: u32, len: u8) -> (u32, u32) {
        let size = 1u64 << (self.width - u32::from(len));
        let first = u64::from(address) / size * size;
        (first as u32, (first + size - 1) as u32)
    }

    fn insert(&mut self, address: u32, len: u8, hop: NextHopId) {
        self.remove(address, len);
        self.routes.push((self.range(address, len).0, len, hop));
    }

    fn remove(&mut self, address: u32, len: u8) -> Option<NextHopId> {
        let first = self.range(address, len).0;
        let at = self.routes.iter().position(|(a, l, _)| (*a, *l) == (first, len))?;
        Some(self.routes.swap_remove(at).2)
    }

    fn lookup(&self, address: u32) -> NextHopId {
        let mut best = None;
        for (network, len, hop) in &self.routes {
            let (first, last) = self.range(*network, *len);
            if first <= address && address <= last && best.is_none_or(|(l, _)| l < *len) {
                best = Some((*len, *hop));
            }
        }
        best.map_or(NextHopId::NO_ROUTE, |(_, hop)| hop)
    }

    /// Where a wrong entry of this prefix would show: its ends and beyond.
    fn edges(&self, address: u32, len: u8) -> [u32; 6] {
        let (first, last) = self.range(address, len);
        let end = self.range(0, 0).1;
        let [before, after] = [first.wrapping_sub(1), last.wrapping_add(1)].map(|a| a & end);
        [
            before,
            first,
            first.saturating_add(1).min(last),
            last.saturating_sub(1).max(first),
            last,
            after,
        ]
    }

    fn all_edges(&self) -> Vec<u32> {
        self.routes.iter().flat_map(|(a, l, _)| self.edges(*a, *l)).collect()
    }

    /// Distinct level-1 entries that need a group.
    fn groups<S: Stride>(&self) -> usize {
        let deep = self.routes.iter().filter(|(_, len, _)| *len > S::TOP);
        deep.map(|(a, _, _)| a >> (S::WIDTH - S::TOP)).collect::<HashSet<_>>().len()
    }
}

type Op = fib_ops::Op<u32>;

/// A prefix near one of three places, so that all lengths nest and touch.
fn prefix(width: u8) -> impl Strategy<Value = (u32, u8)> {
    const PLACES: [u32; 3] = [0x0a01_02ff, 0x0a01_0300, 0xffff_ffff];
    let width32 = u32::from(width);
    (prop::sample::select(&PLACES[..]), 0..=width32, any::<u32>(), 0..=width).prop_map(
        move |(place, keep, noise, len)| {
            let noise = noise.checked_shr(keep).unwrap_or(0);
            ((place ^ noise) & (u32::MAX >> (32 - width32)), len)
        },
    )
}

fn ops(width: u8, most: usize) -> impl Strategy<Value = Vec<Op>> {
    fib_ops::ops(move || prefix(width), most)
}

/// A FIB beside its oracle.
struct Pair<S: Stride> {
    domain: Domain,
    fib: Fib<S>,
    oracle: Oracle,
}

impl<S: Stride> Pair<S> {
    fn new(groups: usize) -> Pair<S> {
        let domain = Domain::new();
        Pair { fib: Fib::new(&domain, groups), domain, oracle: Oracle::new::<S>() }
    }

    fn collect(&self) {
        self.fib.seal(&self.domain.pin());
        self.domain.advance();
        self.fib.reclaim();
    }

    /// Does it to both and compares what they say; gives the prefix changed.
    fn apply(&mut self, op: &Op) -> Result<(u32, u8), TestCaseError> {
        match *op {
            Op::Insert(address, len, hop) => {
                let hop = NextHopId(hop);
                let possible = self.fib.can_insert([(address, len)]);
                let before = self.fib.stats();
                let inserted = self.fib.insert(address, len, hop);
                prop_assert_eq!(inserted, possible);
                if inserted.is_ok() {
                    self.oracle.insert(address, len, hop);
                } else {
                    prop_assert_eq!(self.fib.stats(), before, "full, and something changed");
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
                prop_assert_eq!(stats.groups_used, self.oracle.groups::<S>());
                Ok((0, 0))
            }
        }
    }

    fn compare(&self, addresses: &[u32]) -> Result<(), TestCaseError> {
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

    /// When all is removed, all groups come back and level 1 is empty.
    fn empty(mut self, groups: usize) -> Result<(), TestCaseError> {
        let edges = self.oracle.all_edges();
        for (address, len, hop) in std::mem::take(&mut self.oracle.routes) {
            prop_assert_eq!(self.fib.remove(address, len), Some(hop));
        }
        self.compare(&edges)?;
        self.collect();
        let stats = self.fib.stats();
        prop_assert_eq!((stats.prefixes, stats.groups_used, stats.groups_retired), (0, 0, 0));
        let writer = lock(&self.fib.writer);
        prop_assert_eq!(writer.groups_free(), groups);
        let level1 = (*self.fib.level1).as_ref();
        prop_assert!(level1.iter().all(|cell| read(cell) == Entry::NONE));
        Ok(())
    }
}

fn agree<S: Stride>(ops: &[Op], groups: usize) -> Result<(), TestCaseError> {
    let mut pair = Pair::<S>::new(groups);
    for op in ops {
        let (address, len) = pair.apply(op)?;
        pair.compare(&pair.oracle.edges(address, len))?;
    }
    pair.compare(&pair.oracle.all_edges())?;
    pair.empty(groups)
}

proptest! {
    #[test]
    fn all_lengths_agree_with_a_linear_search(ops in ops(32, 80)) {
        agree::<Middle>(&ops, 64)?;
    }

    #[test]
    fn few_groups_agree_with_a_linear_search_and_full_changes_nothing(ops in ops(32, 80)) {
        agree::<Middle>(&ops, 3)?;
    }

    /// Exhaustive in the addresses.
    #[test]
    fn tiny_agrees_at_every_address_after_every_change(
        ops in ops(6, 120), groups in 0usize..=16,
    ) {
        let mut pair = Pair::<Tiny>::new(groups);
        let all: Vec<u32> = (0..64).collect();
        for op in &ops {
            pair.apply(op)?;
            pair.compare(&all)?;
        }
        pair.empty(groups)?;
    }

    /// What `can_insert` promised holds, in any order of a transaction's changes
    /// and while a reader stands still.
    #[test]
    fn a_promised_transaction_never_meets_a_full_fib(
        before in ops(6, 60), change in ops(6, 60), groups in 1usize..6,
    ) {
        let mut pair = Pair::<Tiny>::new(groups);
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
        pair.compare(&(0..64).collect::<Vec<_>>())?;
    }

    /// As many as the shorter slice holds, and not a byte more.
    #[test]
    fn bulk_stops_with_the_shorter_slice(addresses in 0usize..200, hops in 0usize..200) {
        let domain = Domain::new();
        let fib = Fib::<Tiny>::new(&domain, 1);
        fib.insert(0, 0, NextHopId(5)).unwrap();
        fib.insert(1, 6, NextHopId(6)).unwrap();
        let mut out = vec![NextHopId(u32::MAX); hops];
        fib.lookup_bulk(&vec![1; addresses], &mut out, &domain.pin());
        let (done, rest) = out.split_at(addresses.min(hops));
        prop_assert!(done.iter().all(|hop| *hop == NextHopId(6)));
        prop_assert!(rest.iter().all(|hop| *hop == NextHopId(u32::MAX)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The table as it runs. Slow: a short prefix covers millions of entries.
    #[test]
    fn slow_dir_24_8_agrees_with_a_linear_search(ops in ops(32, 60)) {
        agree::<Ipv4>(&ops, 40)?;
    }
}

#[test]
fn longest_prefix_wins_and_falls_back() {
    let domain = Domain::new();
    let fib = Fib4::new(&domain, 4);
    let guard = domain.pin();
    let hop = NextHopId;
    fib.insert(0x0a00_0000, 8, hop(1)).unwrap();
    fib.insert(0x0a00_0000, 24, hop(2)).unwrap();
    fib.insert(0x0a00_0001, 32, hop(3)).unwrap();
    let look = |a| fib.lookup(a, &guard).0;
    assert_eq!([look(0x0a01_0000), look(0x0a00_0002), look(0x0a00_0001), look(1)], [1, 2, 3, 0]);
    assert_eq!(fib.remove(0x0a00_0000, 24), Some(hop(2)));
    assert_eq!([look(0x0a00_0002), look(0x0a00_0001)], [1, 3]);
    assert_eq!(fib.remove(0x0a00_0001, 32), Some(hop(3)));
    fib.seal(&domain.pin());
    assert_eq!(fib.stats().groups_retired, 1);
    assert_eq!(look(0x0a00_0001), 1);
}

#[test]
fn the_last_group_serves_a_host_route_that_replaces_another() {
    let domain = Domain::new();
    let fib = Fib4::new(&domain, 1);
    let reader = domain.reader();
    let _still = reader.pin();
    fib.insert(0x0a00_0001, 32, NextHopId(1)).unwrap();
    for n in 2..100 {
        assert_eq!(fib.can_insert([(0x0a00_0000 + n, 32)]), Ok(()));
        assert!(fib.remove(0x0a00_0000 + n - 1, 32).is_some());
        assert_eq!(fib.insert(0x0a00_0000 + n, 32, NextHopId(n)), Ok(()));
        fib.seal(&domain.pin());
    }
    let full = FibFull { needed: 1, free: 0, total: 1 };
    assert_eq!(fib.can_insert([(0x0b00_0000, 25), (0x0b00_0080, 25), (1, 24)]), Err(full));
    assert_eq!(fib.insert(0x0b00_0000, 25, NextHopId(1)), Err(full));
}

#[test]
fn a_group_comes_back_when_the_last_reader_has_moved_on() {
    let domain = Domain::new();
    let fib = Fib::<Tiny>::new(&domain, 1);
    let reader = domain.reader();
    let mut guard = reader.pin();
    fib.insert(5, 6, NextHopId(1)).unwrap();
    assert_eq!(fib.remove(5, 6), Some(NextHopId(1)));
    assert!(fib.insert(60, 6, NextHopId(2)).is_err(), "a reader may still be in the group");
    guard.repin();
    domain.advance();
    guard.repin();
    assert_eq!(fib.insert(60, 6, NextHopId(2)), Ok(()));
}

/// Stores of one and the same change, beside `count` other routes.
fn stores_of_a_change(count: u32) -> u64 {
    let domain = Domain::new();
    let fib = Fib4::new(&domain, 16);
    for n in 0..count {
        fib.insert(0x2000_0000 + (n << 8), 24, NextHopId(1 + n % 100)).unwrap();
    }
    let before = fib.stats().stores;
    for len in 16..=32 {
        fib.insert(0x0a01_0203, len, NextHopId(u32::from(len))).unwrap();
    }
    for len in 16..=32 {
        assert!(fib.remove(0x0a01_0203, len).is_some());
    }
    fib.seal(&domain.pin());
    fib.stats().stores - before
}

#[test]
fn a_change_costs_the_same_beside_100_k_routes_slow() {
    let few = stores_of_a_change(1_000);
    assert_eq!(few, stores_of_a_change(100_000));
    assert!(few < 2_000, "{few} stores");
}

/// An address that a /8 covers, while a /24, a /25 and a /32 over it come and
/// go, and groups change hands with another /24. True if a host route was seen.
fn covered_address_race(time: Duration) -> bool {
    const ADDRESS: u32 = 0x0a01_0203;
    const OTHER: u32 = 0x0a01_0307;
    const LIVES: usize = 1 << 8;
    const GROUPS: usize = 4;
    let domain = Domain::new();
    let fib = Fib4::new(&domain, GROUPS);
    fib.insert(0x0a00_0000, 8, NextHopId(1)).unwrap();
    // A host route's next hop lives from before its insertion until a grace
    // period after its removal; those of OTHER are odd.
    let dead: Vec<AtomicBool> = (0..LIVES).map(|_| AtomicBool::new(true)).collect();
    let mut limbo = Limbo::new(&domain);
    let mut free = [0, 1].map(|kind| (8..LIVES / 2).map(|n| n * 2 + kind).collect::<Vec<_>>());
    let mut live = [None; 2];
    let mut toggle = |address: u32, kind: usize| {
        // While a reader stands still, a route stays rather than staying away.
        let scarce = free[kind].len() < 8 || fib.stats().groups_retired > GROUPS - 2;
        if let Some(hop) = live[kind] {
            if !scarce {
                assert_eq!(fib.remove(address, 32), Some(NextHopId(hop as u32)));
                limbo.retire(hop, &domain.pin());
                live[kind] = None;
            }
        } else if let Some(hop) = free[kind].pop() {
            dead[hop].store(false, Ordering::Relaxed);
            // Fails when the readers stand still and hold all groups.
            if fib.insert(address, 32, NextHopId(hop as u32)).is_ok() {
                live[kind] = Some(hop);
            } else {
                free[kind].push(hop);
            }
        }
        limbo.seal(&domain.pin());
        fib.seal(&domain.pin());
        domain.advance();
        fib.reclaim();
        while let Some(hop) = limbo.pop() {
            dead[hop].store(true, Ordering::Relaxed);
            free[hop % 2].push(hop);
        }
    };
    let seen = AtomicU32::new(0);
    let write = |turn: u64| {
        let short = NextHopId(2 + turn as u32 % 2);
        match turn % 7 {
            0 => fib.insert(ADDRESS, 24, short).unwrap(),
            1 | 4 => toggle(ADDRESS, 0),
            2 => drop(fib.insert(ADDRESS, 25, short)),
            5 => drop(fib.remove(ADDRESS, 24)),
            6 => drop(fib.remove(ADDRESS, 25)),
            _ => toggle(OTHER, 1),
        }
    };
    let read = |turn: u64, guard: &Guard| {
        let mut hops = [NextHopId::NO_ROUTE; 9];
        if turn.is_multiple_of(2) {
            fib.lookup_bulk(&[ADDRESS, OTHER, ADDRESS], &mut hops[..3], guard);
            hops.swap(1, 8);
        } else {
            hops[0] = fib.lookup(ADDRESS, guard);
            hops[2] = fib.lookup(ADDRESS, guard);
            hops[8] = fib.lookup(OTHER, guard);
        }
        for (at, hop) in [(0, hops[0]), (0, hops[2]), (1, hops[8])] {
            let covers = matches!((at, hop.0), (_, 1) | (0, 2..=3)) || hop.0 >= 16;
            assert!(covers, "address {at} got next hop {}", hop.0);
            if hop.0 >= 16 {
                assert_eq!(hop.0 % 2, at, "the next hop {} of the other address", hop.0);
                assert!(!dead[hop.index()].load(Ordering::Relaxed), "retired hop {}", hop.0);
                seen.store(1, Ordering::Relaxed);
            }
        }
    };
    race(&domain, time, write, read);
    seen.into_inner() != 0
}

#[test]
fn a_covered_address_stays_covered_for_readers() {
    covered_address_race(SHORT);
}

#[test]
fn slow_a_covered_address_stays_covered_for_readers() {
    assert!(covered_address_race(LONG), "no reader ever saw a host route");
}
