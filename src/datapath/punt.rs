//! Handing packets to control: copied into a slot, each class at its own rate.
//!
//! A flood of one class (ARP, say) can neither fill the exchange for the others
//! nor keep control busy: what is over the rate is dropped and counted
//! (`punt_rate_limited`). Notices, copies of packets already dropped, have a
//! class of their own and are simply left out when over it.

use super::drop::DropReason;
use crate::exchange::{Cause, PuntReason, SLOTS, WorkerEnd};
use crate::ids::{IfId, NextHopId};

/// How much of a class one worker hands to control.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// Packets per second.
    pub per_second: u64,
    /// Packets at once.
    pub burst: u64,
}

/// ARP frames.
pub(crate) const ARP_RATE: Rate = Rate { per_second: 10_000, burst: 400 };
/// ICMP addressed to us, but for echo requests, which the path answers.
pub(crate) const LOCAL_ICMP_RATE: Rate = Rate { per_second: 10_000, burst: 150 };
/// Packets waiting for a neighbour's link address.
pub(crate) const RESOLVE_RATE: Rate = Rate { per_second: 10_000, burst: 198 };
/// Neighbour discovery, ARP's twin.
pub(crate) const ND_RATE: Rate = Rate { per_second: 10_000, burst: 200 };
/// Keepalives and probes of ours that came back: 20 tunnels asked each tenth of a
/// second, or 10,000 asked every two seconds, and as many again.
pub(crate) const LIVENESS_RATE: Rate = Rate { per_second: 10_000, burst: 100 };
/// Packets that may move a tunnel's far end; control moves fewer.
pub(crate) const LEARN_RATE: Rate = Rate { per_second: 1_000, burst: 50 };
/// Notices; control's own limit on ICMP errors is below it.
pub(crate) const NOTICE_RATE: Rate = Rate { per_second: 5_000, burst: 390 };
/// Notices of packets that were too big, apart from the others: a scan that
/// uses up those must not make a black hole of a tunnel (RFC 1191).
pub(crate) const TOO_BIG_RATE: Rate = Rate { per_second: 2_000, burst: 100 };

/// Samples, for the log, of packets that a door kept out.
pub(crate) const REFUSED_RATE: Rate = Rate { per_second: 10, burst: 10 };

/// Keepalives of far ends that are answered; not handed to control, but as
/// little traffic as what is.
pub(crate) const KEEPALIVE_RATE: Rate = Rate { per_second: 20_000, burst: 1_000 };

// All bursts at once fit the exchange, so none can fill it for the others.
const _: () = assert!(
    ARP_RATE.burst
        + LOCAL_ICMP_RATE.burst
        + RESOLVE_RATE.burst
        + ND_RATE.burst
        + LIVENESS_RATE.burst
        + LEARN_RATE.burst
        + NOTICE_RATE.burst
        + TOO_BIG_RATE.burst
        + REFUSED_RATE.burst
        <= SLOTS as u64
);

/// The rate of a class.
const fn rate(reason: PuntReason) -> Rate {
    match reason {
        PuntReason::Arp => ARP_RATE,
        PuntReason::LocalIcmp => LOCAL_ICMP_RATE,
        PuntReason::Resolve => RESOLVE_RATE,
        PuntReason::Nd => ND_RATE,
        PuntReason::Liveness => LIVENESS_RATE,
        PuntReason::Learn => LEARN_RATE,
    }
}

/// A token bucket counted in clock ticks: a packet costs `cost` ticks, and time
/// earns them one by one. No division and no fraction on the path.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    cost: u64,
    most: u64,
    credit: u64,
    last: u64,
}

impl Bucket {
    fn new(rate: Rate, ticks_per_second: u64, now: u64) -> Bucket {
        let cost = (ticks_per_second / rate.per_second).max(1);
        let most = cost * rate.burst;
        Bucket { cost, most, credit: most, last: now }
    }

    fn take(&mut self, now: u64) -> bool {
        // A clock that steps back earns nothing.
        let earned = now.saturating_sub(self.last);
        self.last = now;
        self.credit = self.credit.saturating_add(earned).min(self.most);
        let enough = self.credit >= self.cost;
        if enough {
            self.credit -= self.cost;
        }
        enough
    }
}

/// What control is told beside a packet's bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notice {
    pub in_if: IfId,
    pub next_hop: NextHopId,
    pub mtu: u16,
    pub link_group: bool,
    pub originated: bool,
}

/// The worker's end of the exchange, with its rates.
#[derive(Debug)]
pub(crate) struct Punter {
    pub end: WorkerEnd,
    classes: [Bucket; PuntReason::COUNT],
    notices: Bucket,
    too_big: Bucket,
    refused: Bucket,
    keepalives: Bucket,
    /// The clock, read once per turn.
    pub now: u64,
    ticks_per_second: u64,
}

impl Punter {
    pub(crate) fn new(end: WorkerEnd, ticks_per_second: u64, now: u64) -> Punter {
        let bucket = |rate| Bucket::new(rate, ticks_per_second, now);
        Punter {
            end,
            classes: std::array::from_fn(|class| bucket(rate(PuntReason::ALL[class]))),
            notices: bucket(NOTICE_RATE),
            too_big: bucket(TOO_BIG_RATE),
            refused: bucket(REFUSED_RATE),
            keepalives: bucket(KEEPALIVE_RATE),
            now,
            ticks_per_second,
        }
    }

    /// The clock in milliseconds, which wraps.
    pub(crate) fn milliseconds(&self) -> u32 {
        let ticks = u128::from(self.now) * 1000;
        (ticks / u128::from(self.ticks_per_second.max(1))) as u32
    }

    /// True if one more keepalive may be answered now.
    pub(crate) fn answer_keepalive(&mut self) -> bool {
        self.keepalives.take(self.now)
    }

    /// Hands over a packet; an error is the reason to drop it for.
    pub(crate) fn punt(
        &mut self,
        reason: PuntReason,
        notice: Notice,
        bytes: &[u8],
    ) -> Result<(), DropReason> {
        if !self.classes[reason.index()].take(self.now) {
            return Err(DropReason::PuntRateLimited);
        }
        self.hand(Cause::Punt(reason), notice, bytes)
    }

    /// Hands over a copy of a packet that is dropped for `reason`, if the rate
    /// and the exchange allow.
    pub(crate) fn notify(&mut self, reason: DropReason, notice: Notice, bytes: &[u8]) {
        let class = match reason {
            DropReason::FragmentationNeeded => &mut self.too_big,
            reason if reason.keeps_out() => &mut self.refused,
            _ => &mut self.notices,
        };
        if class.take(self.now) {
            // The packet itself is accounted for; a lost copy needs no counter.
            let _ = self.hand(Cause::Notice(reason), notice, bytes);
        }
    }

    fn hand(&mut self, cause: Cause, notice: Notice, bytes: &[u8]) -> Result<(), DropReason> {
        let mut refusal = DropReason::PuntQueueFull;
        let done = self.end.punt(|slot| {
            if !slot.bytes.fill(bytes) {
                refusal = DropReason::TooLarge;
                return false;
            }
            slot.cause = cause;
            slot.in_if = notice.in_if;
            slot.next_hop = notice.next_hop;
            slot.mtu = notice.mtu;
            slot.link_group = notice.link_group;
            slot.originated = notice.originated;
            true
        });
        if done { Ok(()) } else { Err(refusal) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let mut bucket = Bucket::new(Rate { per_second: 1_000, burst: 3 }, 1_000_000, 0);
        assert_eq!((0..10).filter(|_| bucket.take(0)).count(), 3);
        assert!(!bucket.take(999));
        assert!(bucket.take(1_000), "a thousandth of a second earns one");
        assert_eq!((1_001..101_001).filter(|now| bucket.take(*now)).count(), 100);
        assert_eq!((0..10).filter(|_| bucket.take(1 << 40)).count(), 3, "never more than burst");
        bucket.take(5);
        assert!(!bucket.take(5), "a clock that steps back earns nothing");
    }

    #[test]
    fn a_clock_slower_than_the_rate_still_works() {
        let mut bucket = Bucket::new(Rate { per_second: 1_000, burst: 2 }, 10, 0);
        assert!(bucket.take(0) && bucket.take(0) && !bucket.take(0));
        assert!(bucket.take(1));
    }
}
