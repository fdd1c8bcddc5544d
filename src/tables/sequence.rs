//! Sequence numbers of GRE tunnels (RFC 2890 §2.2).
//!
//! Numbers belong to a tunnel and not to a worker, so this is the one table
//! that workers write, and a line two workers of one tunnel share: a locked
//! instruction per packet. Only packets with a sequence number come here; a
//! tunnel without them pays nothing. The packets of one outer pair reach one
//! worker by RSS, so that the line rarely moves on receive.
//!
//! ```text
//!   sent      the next number to send: taken and counted up in one step
//!   received  ├─ next number in sequence ─┼─ since when only late ones came ─┤
//!             both in one word: a packet is judged and noted in one step
//! ```

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// The numbers of one tunnel. All zero is the beginning: 0 is sent next, and
/// the last number received was 2³² − 1.
///
/// Relaxed throughout: each word stands for itself and orders nothing else.
#[derive(Debug, Default)]
pub struct Sequence {
    received: AtomicU64,
    sent: AtomicU32,
}

impl Sequence {
    /// The number of the next packet sent: from 0, modulo 2³².
    #[inline]
    pub fn next(&self) -> u32 {
        self.sent.fetch_add(1, Relaxed)
    }

    /// Whether a packet received with this number is in sequence, which it is
    /// unless the number is among the last 2³¹ up to and including the last one
    /// seen (GR-12).
    ///
    /// A far end that began anew is out of sequence for up to 2³¹ packets. So
    /// when nothing but late packets has come for `resync` milliseconds, the
    /// next is taken as it is; 0 means never. `now` is any clock in
    /// milliseconds that wraps; it is asked about late packets only.
    #[inline]
    pub fn accept(&self, number: u32, resync: u32, now: impl Fn() -> u32) -> bool {
        let mut seen = self.received.load(Relaxed);
        loop {
            let next = (seen >> 32) as u32;
            let ahead = number.wrapping_sub(next) as i32 >= 0;
            let (accepted, then) =
                if ahead { (true, after(number)) } else { late(seen, number, resync, now()) };
            if then == seen {
                return accepted;
            }
            match self.received.compare_exchange_weak(seen, then, Relaxed, Relaxed) {
                Ok(_) => return accepted,
                Err(newer) => seen = newer,
            }
        }
    }

    /// Begins anew (control: another flow, another tunnel).
    pub fn reset(&self) {
        self.received.store(0, Relaxed);
        self.sent.store(0, Relaxed);
    }
}

/// The received word after a packet that was taken.
#[inline]
fn after(number: u32) -> u64 {
    u64::from(number.wrapping_add(1)) << 32
}

/// A late packet: whether it is taken, and the received word after it.
#[cold]
fn late(seen: u64, number: u32, resync: u32, now: u32) -> (bool, u64) {
    // Zero stands for "none late since the last in sequence".
    let now = now.max(1);
    match seen as u32 {
        0 => (false, seen | u64::from(now)),
        since if resync != 0 && now.wrapping_sub(since) >= resync => (true, after(number)),
        _ => (false, seen),
    }
}

/// The sequences of all tunnels, by tunnel number.
#[derive(Debug)]
pub struct Sequences {
    all: Box<[Sequence]>,
    /// Of a tunnel out of range, which there is not.
    none: Sequence,
}

impl Sequences {
    /// For tunnels numbered below `tunnels`.
    pub fn new(tunnels: usize) -> Sequences {
        let all = (0..tunnels).map(|_| Sequence::default()).collect();
        Sequences { all, none: Sequence::default() }
    }

    /// Those of one tunnel.
    #[inline]
    pub fn get(&self, tunnel: usize) -> &Sequence {
        self.all.get(tunnel).unwrap_or(&self.none)
    }

    /// Memory in bytes.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NEVER: fn() -> u32 = || panic!("no clock is needed in sequence");

    #[test]
    fn numbers_are_sent_from_zero_and_wrap() {
        let sequence = Sequence::default();
        assert_eq!((sequence.next(), sequence.next(), sequence.next()), (0, 1, 2));
        sequence.sent.store(u32::MAX, Relaxed);
        assert_eq!((sequence.next(), sequence.next()), (u32::MAX, 0));
        sequence.reset();
        assert_eq!(sequence.next(), 0);
    }

    #[test]
    fn the_last_number_before_the_first_packet_is_the_largest() {
        for (number, taken) in [
            (0, true),
            (1, true),
            (0x7fff_ffff, true),
            (0x8000_0000, false),
            (0xffff_fffe, false),
            (0xffff_ffff, false),
        ] {
            assert_eq!(Sequence::default().accept(number, 0, || 7), taken, "{number:#x}");
        }
    }

    #[test]
    fn late_and_repeated_packets_are_refused_and_gaps_are_not() {
        let sequence = Sequence::default();
        for (number, taken) in [
            (0, true),
            (0, false),
            (1, true),
            (5, true),
            (3, false),
            (5, false),
            (6, true),
            (0x8000_0006, true),
            (7, false),
            (0xffff_ffff, true),
            (0, true),
            (0xffff_ffff, false),
        ] {
            assert_eq!(sequence.accept(number, 0, || 7), taken, "{number:#x}");
        }
    }

    #[test]
    fn a_far_end_that_began_anew_is_followed_after_the_resync_time() {
        let sequence = Sequence::default();
        assert!(sequence.accept(1000, 500, NEVER));
        for ms in [u32::MAX - 99, u32::MAX, 0, 300, 399] {
            assert!(!sequence.accept(0, 500, || ms), "{ms}");
        }
        assert!(sequence.accept(0, 500, || 401), "the clock may wrap");
        assert!(sequence.accept(1, 500, NEVER));
        // A packet in sequence starts the time anew; 0 is never.
        assert!(!sequence.accept(0, 500, || 1000));
        assert!(sequence.accept(2, 500, NEVER));
        assert!(!sequence.accept(0, 500, || 1600));
        assert!(!sequence.accept(0, 0, || 999_999));
    }

    #[test]
    fn workers_send_each_number_once_and_take_each_number_once() {
        let sequence = Sequence::default();
        let (each, workers) = (20_000, 3);
        let taken: u64 = std::thread::scope(|scope| {
            let work = || (0..each).filter(|_| sequence.accept(sequence.next(), 0, || 1)).count();
            let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            workers.into_iter().map(|w| w.join().expect("no panic") as u64).sum()
        });
        assert_eq!(sequence.next(), each * workers);
        assert!(taken >= u64::from(each), "what one worker sends is in order to itself: {taken}");
        assert!(taken <= u64::from(each * workers));
    }

    proptest! {
        /// Against the sentence of the RFC, done with sets of numbers.
        #[test]
        fn rule_of_rfc_2890(last: u32, number: u32, near in -3i64..=3) {
            for number in [number, last.wrapping_add(near as u32)] {
                let sequence = Sequence::default();
                sequence.received.store(after(last), Relaxed);
                let first = i128::from(last) - (1 << 31) + 1;
                let turn = 1i128 << 32;
                let among = |n: i128| (first..=i128::from(last)).contains(&n);
                let out = [-turn, 0, turn].iter().any(|t| among(i128::from(number) + t));
                prop_assert_eq!(sequence.accept(number, 0, || 1), !out);
            }
        }
    }
}
