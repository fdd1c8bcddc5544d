//! Says how much of the core's execution width is there right now: a loop of
//! independent vector operations, timed. Somebody on the sibling hardware
//! thread halves it, while load and steal time show nothing.
//!
//! Reads lines; answers each with operations per nanosecond. Built by
//! `benches/windows.py` with plain `rustc -O`.

use std::hint::black_box;
use std::io::{BufRead, Write, stdin, stdout};
use std::time::Instant;

const ROUNDS: u64 = 1_000_000;
const LANES: usize = 16;

fn burn() -> f64 {
    let mut lanes: [u64; LANES] = black_box(std::array::from_fn(|i| i as u64 + 1));
    let began = Instant::now();
    for round in 0..ROUNDS {
        for lane in &mut lanes {
            *lane = (*lane ^ round).wrapping_add(*lane << 1);
        }
    }
    black_box(lanes);
    (ROUNDS * LANES as u64 * 3) as f64 / began.elapsed().as_nanos() as f64
}

fn main() {
    for line in stdin().lock().lines() {
        if line.is_err() {
            return;
        }
        let mut out = stdout().lock();
        if writeln!(out, "{:.3}", burn()).and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}
