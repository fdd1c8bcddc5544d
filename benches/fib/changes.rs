//! F2: how many changes a second beside a reader, and what the reader loses.
//!
//! The reader looks up all the time. The writer does one of three things for a
//! window each, in turns: sleep, change the table the reader reads, change
//! another table just like it. The last tells what a reader loses to a neighbour
//! who is merely busy on the next CPU.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use greyhound::ids::NextHopId;
use greyhound::tables::epoch::{Domain, Guard};
use greyhound::tables::fib4::Fib4;
use greyhound::tables::fib6::Fib6;

use crate::lookup::{ADDRESSES, BURST};
use crate::report::{Bar, Row, Sample};
use crate::work::{self, Random};

/// How long each thing is done at a time.
const WINDOW: Duration = Duration::from_millis(60);
/// Windows of each.
const WINDOWS: usize = 31;
/// Changes of a transaction.
const TRANSACTION: usize = 64;

/// A FIB of either family.
pub trait Table: Sync {
    type Address: Copy + Sync;
    fn add(&self, prefix: (Self::Address, u8), hop: NextHopId);
    fn delete(&self, prefix: (Self::Address, u8));
    fn collect(&self, domain: &Domain);
    fn look(&self, addresses: &[Self::Address], hops: &mut [NextHopId], guard: &Guard);
}

macro_rules! table {
    ($fib:ty, $address:ty) => {
        impl Table for $fib {
            type Address = $address;
            fn add(&self, (address, len): ($address, u8), hop: NextHopId) {
                self.insert(address, len, hop).unwrap();
            }
            fn delete(&self, (address, len): ($address, u8)) {
                self.remove(address, len).unwrap();
            }
            fn collect(&self, domain: &Domain) {
                self.seal(&domain.pin());
                domain.advance();
                self.reclaim();
            }
            fn look(&self, addresses: &[$address], hops: &mut [NextHopId], guard: &Guard) {
                self.lookup_bulk(addresses, hops, guard);
            }
        }
    };
}
table!(Fib4, u32);
table!(Fib6, u128);

/// A million IPv4 routes, then others come and go.
pub fn ipv4(count: usize) {
    let mut random = Random::new();
    let mut prefixes = work::ipv4(count + count / 10, &mut random);
    let coming = prefixes.split_off(count);
    let addresses = work::ipv4_hits(&prefixes, ADDRESSES, &mut random);
    let make = |domain: &Domain| Fib4::new(domain, 1 << 16);
    measure(&format!("{count} IPv4 routes"), 1.0, make, &prefixes, &coming, &addresses);
}

/// The same with IPv6.
pub fn ipv6(count: usize) {
    let mut random = Random::new();
    let mut prefixes = work::ipv6(count + count / 10, &mut random);
    let coming = prefixes.split_off(count);
    let addresses = work::ipv6_hits(&prefixes, ADDRESSES, &mut random);
    let make = |domain: &Domain| Fib6::new(domain, 1 << 20, 1 << 20);
    measure(&format!("{count} IPv6 routes"), 0.5, make, &prefixes, &coming, &addresses);
}

/// A table, and the changes that go round and round on it.
struct Churn<'a, T: Table> {
    domain: Domain,
    table: T,
    coming: &'a [(T::Address, u8)],
}

impl<'a, T: Table> Churn<'a, T> {
    fn new(
        make: &impl Fn(&Domain) -> T,
        prefixes: &[(T::Address, u8)],
        coming: &'a [(T::Address, u8)],
    ) -> Churn<'a, T> {
        let domain = Domain::new();
        let table = make(&domain);
        for (n, prefix) in prefixes.iter().enumerate() {
            table.add(*prefix, NextHopId(work::hop(n)));
        }
        Churn { domain, table, coming }
    }

    /// Changes for a while: all that is coming comes, then all goes. Changes
    /// per second, in millions.
    fn churn(&self, next: &mut usize, time: Duration) -> f64 {
        let (began, mut changes) = (Instant::now(), 0);
        while began.elapsed() < time {
            for _ in 0..TRANSACTION {
                let at = *next % (2 * self.coming.len());
                match self.coming.get(at) {
                    Some(prefix) => self.table.add(*prefix, NextHopId(work::hop(at))),
                    None => self.table.delete(self.coming[at - self.coming.len()]),
                }
                *next += 1;
            }
            changes += TRANSACTION;
            self.table.collect(&self.domain);
        }
        changes as f64 / began.elapsed().as_secs_f64() / 1e6
    }
}

fn measure<T: Table>(
    what: &str,
    bar: f64,
    make: impl Fn(&Domain) -> T,
    prefixes: &[(T::Address, u8)],
    coming: &[(T::Address, u8)],
    addresses: &[T::Address],
) {
    let read = Churn::new(&make, prefixes, coming);
    let other = Churn::new(&make, prefixes, coming);
    let (stop, looked_up) = (AtomicBool::new(false), AtomicU64::new(0));
    let (mut rates, mut seen) = (Vec::new(), [const { Vec::new() }; 3]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let reader = read.domain.reader();
            let mut guard = reader.pin();
            let mut hops = [NextHopId::NO_ROUTE; BURST];
            for burst in addresses.chunks_exact(BURST).cycle() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                read.table.look(burst, &mut hops, &guard);
                black_box(&hops);
                guard.repin();
                let done = looked_up.load(Ordering::Relaxed);
                looked_up.store(done + BURST as u64, Ordering::Relaxed);
            }
        });
        let mut next = [0; 2];
        for _ in 0..WINDOWS {
            for (kind, seen) in seen.iter_mut().enumerate() {
                let (before, began) = (looked_up.load(Ordering::Relaxed), Instant::now());
                match kind {
                    0 => std::thread::sleep(WINDOW),
                    1 => rates.push(read.churn(&mut next[0], WINDOW)),
                    _ => _ = other.churn(&mut next[1], WINDOW),
                }
                let done = looked_up.load(Ordering::Relaxed) - before;
                seen.push(done as f64 / began.elapsed().as_secs_f64() / 1e6);
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let plain = |what: String, unit, values: &[f64], bar| {
        let ours = Sample::of(values);
        Row { id: "F2", what, unit, ours, peer: None, ratio: None, bar }.tell();
    };
    plain(format!("{what}: changes beside a reader"), "M/s", &rates, Bar::AtLeast(bar));
    let loss = |quiet: &[f64]| -> Vec<f64> {
        seen[1].iter().zip(quiet).map(|(busy, quiet)| 100.0 * (1.0 - busy / quiet)).collect()
    };
    let (idle, busy) = (loss(&seen[0]), loss(&seen[2]));
    plain(format!("{what}: lookups without changes"), "M/s", &seen[0], Bar::None);
    plain(format!("{what}: a reader's loss, writer idle before"), "%", &idle, Bar::AtMost(5.0));
    plain(format!("{what}: loss, writer busy elsewhere before"), "%", &busy, Bar::None);
}
