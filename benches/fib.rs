//! How fast the IPv4 FIB is: lookups, changes beside readers, a full load.
//!
//! ```text
//! cargo bench --no-default-features --bench fib
//! ```
//!
//! Routes are as in the anchors: random prefixes /16 to /24, 60 % of them /24,
//! over 1024 next hops; addresses are drawn from the prefixes, in random order.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use greyhound::ids::NextHopId;
use greyhound::tables::epoch::{Domain, Guard};
use greyhound::tables::fib4::Fib4;

/// Addresses of a burst.
const BURST: usize = 64;
/// Different addresses looked up: 4 MiB, read in sequence.
const ADDRESSES: usize = 1 << 20;
/// How long each rate is measured.
const TIME: Duration = Duration::from_secs(2);

fn main() {
    println!(
        "{:>9}  {:>8}  {:>9}  {:>17}  {:>17}",
        "routes", "load", "memory", "bulk 64", "single"
    );
    for count in [1_000, 100_000, 1_000_000] {
        table_of(count);
    }
}

/// xorshift64*: quick, and the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }
}

/// Different prefixes within 1.0.0.0 to 223.255.255.255.
fn prefixes(count: usize, random: &mut Random) -> Vec<(u32, u8)> {
    let mut seen = HashSet::new();
    while seen.len() < count {
        let len = if random.next() % 10 < 6 { 24 } else { 16 + random.next() % 8 };
        let address = random.next() & (u32::MAX << (32 - len));
        if (1..224).contains(&(address >> 24)) {
            seen.insert((address, len as u8));
        }
    }
    seen.into_iter().collect()
}

/// Physical memory of this process, in MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

fn table_of(count: usize) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let prefixes = prefixes(count, &mut random);
    let addresses: Vec<u32> = (0..ADDRESSES)
        .map(|_| {
            let (address, len) = prefixes[random.next() as usize % count];
            address | random.next() & !(u32::MAX << (32 - u32::from(len)))
        })
        .collect();
    let before = resident();
    let began = Instant::now();
    let domain = Domain::new();
    let fib = Fib4::new(&domain, 1 << 17);
    for (n, (address, len)) in prefixes.iter().enumerate() {
        fib.insert(*address, *len, NextHopId(1 + n as u32 % 1024)).unwrap();
    }
    let load = began.elapsed();
    let memory = resident() - before;
    let bulk = lookups(
        &addresses,
        |addresses, hops, guard| {
            fib.lookup_bulk(addresses, hops, guard);
        },
        &domain,
    );
    let single = lookups(
        &addresses,
        |addresses, hops, guard| {
            for (address, hop) in addresses.iter().zip(hops) {
                *hop = fib.lookup(*address, guard);
            }
        },
        &domain,
    );
    let rate =
        |per_second: f64| format!("{:5.0} M/s {:4.1} ns", per_second / 1e6, 1e9 / per_second);
    println!(
        "{count:>9}  {:>6.2} s  {memory:>5} MiB  {:>17}  {:>17}",
        load.as_secs_f64(),
        rate(bulk),
        rate(single)
    );
    changes(&fib, &domain, &addresses, &mut random);
}

/// Lookups per second on this thread, the best of five windows.
fn lookups(
    addresses: &[u32],
    look: impl Fn(&[u32], &mut [NextHopId], &Guard),
    domain: &Domain,
) -> f64 {
    let reader = domain.reader();
    let mut guard = reader.pin();
    let mut hops = [NextHopId::NO_ROUTE; BURST];
    let mut best = 0f64;
    for _ in 0..5 {
        let (began, mut done) = (Instant::now(), 0);
        while began.elapsed() < TIME / 5 {
            for burst in addresses.chunks_exact(BURST) {
                look(burst, &mut hops, &guard);
                black_box(&hops);
                guard.repin();
            }
            done += addresses.len();
        }
        best = best.max(done as f64 / began.elapsed().as_secs_f64());
    }
    assert!(!hops.contains(&NextHopId::NO_ROUTE), "an address of a prefix is covered");
    best
}

/// Adds and deletes routes while one thread looks up.
fn changes(fib: &Fib4, domain: &Domain, addresses: &[u32], random: &mut Random) {
    for (name, len) in [("/24", 24), ("/32", 32), ("/16", 16)] {
        let (stop, looked_up) = (AtomicBool::new(false), AtomicU64::new(0));
        let (mut changes, mut stalls, mut took) = (0u64, 0u64, Duration::ZERO);
        let before = fib.stats().stores;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let reader = domain.reader();
                let mut guard = reader.pin();
                let mut hops = [NextHopId::NO_ROUTE; BURST];
                for burst in addresses.chunks_exact(BURST).cycle() {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    fib.lookup_bulk(burst, &mut hops, &guard);
                    black_box(&hops);
                    guard.repin();
                    looked_up.fetch_add(BURST as u64, Ordering::Relaxed);
                }
            });
            let began = Instant::now();
            while began.elapsed() < TIME / 2 {
                for _ in 0..64 {
                    // 240/8: beside all routes there are.
                    let address = 0xf000_0000 | random.next() >> 8;
                    if fib.insert(address, len, NextHopId(1)).is_err() {
                        stalls += 1;
                        continue;
                    }
                    fib.remove(address, len).unwrap();
                    changes += 2;
                }
                fib.seal(&domain.pin());
                domain.advance();
                fib.reclaim();
            }
            took = began.elapsed();
            stop.store(true, Ordering::Relaxed);
        });
        let seconds = took.as_secs_f64();
        println!(
            "           {name} in and out: {:.2} M changes/s, {:.0} stores each, {stalls} times no \
             group; beside them {:.0} M lookups/s",
            changes as f64 / seconds / 1e6,
            (fib.stats().stores - before) as f64 / changes as f64,
            looked_up.into_inner() as f64 / seconds / 1e6,
        );
    }
}
