//! Where a burst's time goes: the clock read between stages, for one burst in
//! [`EVERY`] only, since reading it costs as much as half a packet. With several
//! queues in a turn, "transmit" is that of all of them.

use crate::stats::counters::{Stage, StageCounters};

/// One burst in so many is timed: a prime, so that each queue has its turn.
const EVERY: u32 = 61;

/// A stop watch over the stages.
#[derive(Debug, Default)]
pub(crate) struct Laps {
    bursts: u32,
    on: bool,
    last: u64,
}

impl Laps {
    /// A burst begins.
    #[inline(always)]
    pub(crate) fn begin(&mut self, clock: impl FnOnce() -> u64) {
        self.bursts = self.bursts.wrapping_add(1);
        self.on = self.bursts.is_multiple_of(EVERY);
        if self.on {
            self.last = clock();
        }
    }

    /// A stage has ended.
    #[inline(always)]
    pub(crate) fn lap(
        &mut self,
        stage: Stage,
        counters: &StageCounters,
        clock: impl FnOnce() -> u64,
    ) {
        if self.on {
            let now = clock();
            counters.ticks[stage as usize].add(now.saturating_sub(self.last));
            self.last = now;
        }
    }

    /// The burst has ended; so many packets were in it.
    #[inline(always)]
    pub(crate) fn end(&mut self, packets: usize, counters: &StageCounters) {
        if self.on {
            counters.packets.add(packets as u64);
        }
    }

    /// Nothing more of this burst is timed.
    pub(crate) fn stop(&mut self) {
        self.on = false;
    }
}
