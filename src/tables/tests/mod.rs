//! What the tests of several tables share, and tests of all tables together.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::*;

pub(super) mod fib_ops;
mod together;

/// Lets `writer` change a table for `time` while two readers read it. Each
/// reader calls `read` over and over with a guard repinned between calls;
/// `writer` is called over and over on the calling thread. Both get the number
/// of the call.
///
/// Fails if either side hardly ran: then nothing was tested.
pub(super) fn race(
    domain: &Domain,
    time: Duration,
    mut writer: impl FnMut(u64),
    read: impl Fn(u64, &Guard) + Sync,
) {
    let stop = AtomicBool::new(false);
    let (reads, mut writes) = (AtomicU64::new(0), 0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let reader = domain.reader();
                let mut guard = reader.pin();
                let mut turn = 0;
                while !stop.load(Ordering::Relaxed) {
                    read(turn, &guard);
                    guard.repin();
                    turn += 1;
                }
                reads.fetch_add(turn, Ordering::Relaxed);
            });
        }
        // Stops the readers however the writer ends, a panic included.
        let _stop = Stop(&stop);
        let end = Instant::now() + time;
        while Instant::now() < end {
            writer(writes);
            writes += 1;
        }
    });
    let reads = reads.into_inner();
    assert!(reads > 10 && writes > 10, "only {reads} reads beside {writes} writes");
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How long a race lasts in every run, memcheck included, and in the `slow` one.
pub(super) const SHORT: Duration = Duration::from_millis(150);
pub(super) const LONG: Duration = Duration::from_secs(2);
