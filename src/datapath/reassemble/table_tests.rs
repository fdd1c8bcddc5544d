//! What is under way, and what has to give way.
#![allow(clippy::unwrap_used)]

use super::*;

const EN0: PortId = PortId(0);
const EN0_IF: IfId = IfId(0);
const ROOM: usize = 2048;

struct Bench {
    table: Table,
    counters: WorkerCounters,
    hash: FlowHash,
    now: u64,
}

impl Bench {
    fn new() -> Bench {
        Bench {
            table: Table::new(ROOM, [30, 60]),
            counters: WorkerCounters::new(4),
            hash: FlowHash::fixed(3),
            now: 0,
        }
    }

    /// One piece of a datagram of `source`, counted as the stage does.
    fn piece(&mut self, source: u128, id: u32, start: usize, more: bool, len: usize) -> Outcome {
        let protocol = if source >> 64 == 0 { 47 } else { crate::wire::reassembly::NO_PROTOCOL };
        let of = Identity { source, destination: 1, id, protocol };
        let (bytes, key) = ([0x45; IPV6_LEN + 8], Key { in_if: EN0_IF, of });
        let headers = &bytes[..if of.is_six() { IPV6_LEN + 8 } else { IPV4_LEN }];
        let payload = vec![7; len];
        let piece = Piece { of, headers, payload: &payload, start, more, ecn: 0 };
        let ledger = self.counters.ledger(EN0);
        ledger.received.add(1);
        let arrival = Arrival { now: self.now, origin: EN0, group: false };
        let outcome = self.table.add(&self.counters, &self.hash, key, &piece, arrival);
        match outcome {
            Outcome::Held => ledger.held.add(1),
            Outcome::Dropped(reason) => ledger.dropped[reason.index()].add(1),
            Outcome::Complete(at) => {
                ledger.sent.add(1);
                self.table.merged(&self.counters, at);
            }
        }
        assert_eq!(ledger.imbalance(), 0);
        outcome
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.counters.ledger(EN0).dropped[reason.index()].get()
    }

    /// Every list and chain has as many as there are.
    fn settled(&self) {
        let table = &self.table;
        let mut free = 0;
        let mut at = usize::from(table.free);
        while let Some(datagram) = table.datagrams.get(at) {
            free += 1;
            at = datagram.chain.into();
        }
        assert_eq!(free + table.len(), table.datagrams.len());
        let of_sources: usize = table.sources.iter().map(|list| usize::from(list.len)).sum();
        assert_eq!(of_sources, table.len());
        let mut chained = 0;
        for bucket in &table.buckets {
            let mut at = usize::from(*bucket);
            while let Some(datagram) = table.datagrams.get(at) {
                chained += 1;
                at = datagram.chain.into();
            }
        }
        assert_eq!(chained, table.len());
        let held: usize = table.datagrams.iter().map(|datagram| datagram.origins.len()).sum();
        assert_eq!(self.counters.ledger(EN0).held.get(), held as u64);
    }
}

#[test]
fn one_source_has_its_share_and_its_oldest_gives_way() {
    let mut b = Bench::new();
    assert_eq!(b.piece(9, 0, 0, true, 8), Outcome::Held, "another's");
    for id in 0..PER_SOURCE as u32 + 3 {
        assert_eq!(b.piece(5, id, 0, true, 8), Outcome::Held);
    }
    assert_eq!((b.table.len(), b.dropped(DropReason::FragmentLimits)), (PER_SOURCE + 1, 3));
    // The oldest three are gone, the fourth is not; nor is the other source's.
    assert_eq!(b.piece(5, 2, 8, false, 8), Outcome::Held);
    assert!(matches!(b.piece(5, 4, 8, false, 8), Outcome::Complete(_)));
    assert!(matches!(b.piece(9, 0, 8, false, 8), Outcome::Complete(_)));
    b.settled();
}

#[test]
fn a_flood_from_everywhere_takes_what_there_is_and_no_more() {
    let mut b = Bench::new();
    for n in 0..100_000u32 {
        b.now = u64::from(n);
        b.piece(u128::from(n) << (n % 2 * 64), n, 8, n % 3 == 0, 16);
        b.now = 0;
    }
    assert_eq!(b.table.len(), DATAGRAMS);
    assert_eq!(b.table.memory.len(), DATAGRAMS * (HEADERS + ROOM));
    assert_eq!(b.counters.ledger(EN0).held.get(), DATAGRAMS as u64);
    assert_eq!(b.dropped(DropReason::FragmentLimits), 100_000 - DATAGRAMS as u64);
    b.settled();
    // And whoever comes now still gets through.
    assert_eq!(b.piece(1, 1, 8, false, 8), Outcome::Held);
    assert!(matches!(b.piece(1, 1, 0, true, 8), Outcome::Complete(_)));
    b.settled();
}

#[test]
fn each_family_has_its_time() {
    let mut b = Bench::new();
    b.piece(1 << 64, 1, 0, true, 8);
    b.now = 1;
    b.piece(1, 1, 0, true, 8);
    assert_eq!(b.table.late(30), None);
    let four = b.table.late(31).unwrap();
    assert!(!b.table.datagrams[four].key.of.is_six());
    b.table.close(&b.counters, four, DropReason::FragmentTimeout);
    assert_eq!(b.table.late(59), None);
    let six = b.table.late(60).unwrap();
    assert!(b.table.datagrams[six].key.of.is_six());
    b.table.close(&b.counters, six, DropReason::FragmentTimeout);
    assert_eq!((b.table.late(u64::MAX), b.table.len()), (None, 0));
    b.settled();
}

#[test]
fn what_is_refused_stays_refused_until_its_time_is_over() {
    let mut b = Bench::new();
    b.piece(1, 1, 0, true, 16);
    let overlap = Outcome::Dropped(DropReason::FragmentOverlap);
    assert_eq!(b.piece(1, 1, 8, true, 16), overlap);
    assert_eq!(b.dropped(DropReason::FragmentOverlap), 2, "with what was there");
    assert_eq!(b.piece(1, 1, 0, true, 16), overlap);
    assert_eq!(b.piece(1, 1, 16, false, 16), overlap);
    assert_eq!(b.table.len(), 1);
    let at = b.table.late(30).unwrap();
    assert!(b.table.first(at).is_none(), "nobody is told");
    b.table.close(&b.counters, at, DropReason::FragmentTimeout);
    assert_eq!(b.dropped(DropReason::FragmentTimeout), 0);
    assert_eq!(b.piece(1, 1, 0, true, 16), Outcome::Held, "a new one");
    b.settled();
}

#[test]
fn large_rooms_have_fewer_places_and_bounded_memory() {
    let table = Table::new(9216, [30, 60]);
    assert_eq!(table.datagrams.len(), DATAGRAMS);
    let table = Table::new(65_000, [30, 60]);
    assert!((FEWEST..DATAGRAMS).contains(&table.datagrams.len()));
    assert!(table.memory.len() <= MEMORY);
}
