//! One question asked again and again: what was lost, what came back and how
//! long it took, and what follows from it for the far end.

use std::time::Duration;

use crate::model::liveness::Timing;
use crate::model::view::{CheckView, RttView};

/// What is known of the far end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing yet: neither answers nor too many losses. Traffic passes.
    Unknown,
    /// It answers.
    Up,
    /// It does not.
    Down,
}

impl State {
    pub(super) const fn name(self) -> &'static str {
        match self {
            State::Unknown => "unknown",
            State::Up => "up",
            State::Down => "down",
        }
    }
}

/// The question, its count and its verdict.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) timing: Timing,
    pub(super) state: State,
    /// Number of the packet under way, and when it was sent.
    under_way: Option<(u16, Duration)>,
    lost_in_a_row: u8,
    heard_in_a_row: u8,
    sent: u64,
    received: u64,
    lost: u64,
    times: Times,
}

impl Check {
    pub(super) fn new(timing: Timing) -> Check {
        Check {
            timing,
            state: State::Unknown,
            under_way: None,
            lost_in_a_row: 0,
            heard_in_a_row: 0,
            sent: 0,
            received: 0,
            lost: 0,
            times: Times::default(),
        }
    }

    /// A packet of this number left.
    pub(super) fn sent(&mut self, number: u16, now: Duration) {
        self.sent += 1;
        self.under_way = Some((number, now));
    }

    /// The interval is over: what is still under way is lost.
    pub(super) fn judge(&mut self) {
        if self.under_way.take().is_some() {
            self.missed();
        }
    }

    /// No answer, or not even sent since the next hop is known not to answer.
    pub(super) fn missed(&mut self) {
        self.lost += 1;
        self.heard_in_a_row = 0;
        self.lost_in_a_row = self.lost_in_a_row.saturating_add(1);
        if self.lost_in_a_row >= self.timing.retries {
            self.state = State::Down;
        }
    }

    /// The tunnel does not run: that says nothing of its far end.
    pub(super) fn rest(&mut self) {
        self.under_way = None;
        self.lost_in_a_row = 0;
    }

    /// True if the packet of this number is under way.
    pub(super) fn awaits(&self, number: u16) -> bool {
        self.under_way.is_some_and(|(sent, _)| sent == number)
    }

    /// An answer. `number` is that of the packet it answers; with another one,
    /// or after a change on the way, it counts but takes no time. False if none
    /// is awaited.
    pub(super) fn heard(&mut self, number: u16, now: Duration) -> bool {
        let Some((sent, at)) = self.under_way.take() else { return false };
        if sent == number {
            self.times.add(now.saturating_sub(at));
        }
        self.received += 1;
        self.lost_in_a_row = 0;
        self.heard_in_a_row = self.heard_in_a_row.saturating_add(1);
        if self.state == State::Unknown || self.heard_in_a_row >= self.timing.up_after {
            self.state = State::Up;
        }
        true
    }

    pub(super) fn view(&self) -> CheckView {
        CheckView {
            interval: self.timing.interval,
            retries: self.timing.retries,
            up_after: self.timing.up_after,
            state: self.state.name().to_owned(),
            sent: self.sent,
            received: self.received,
            lost: self.lost,
            rtt: self.times.view(),
        }
    }
}

/// Round trips, in microseconds.
#[derive(Debug, Default)]
struct Times {
    count: u64,
    sum: u64,
    last: u64,
    min: u64,
    max: u64,
    /// Sixteenths, smoothed as RFC 3550 §6.4.1 does.
    jitter: u64,
}

impl Times {
    fn add(&mut self, time: Duration) {
        let time = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        if self.count == 0 {
            self.min = time;
        } else {
            // J += (|D| - J) / 16, in sixteenths and rounded.
            let step = time.abs_diff(self.last);
            self.jitter = (self.jitter + step).saturating_sub((self.jitter + 8) / 16);
        }
        self.count += 1;
        self.sum = self.sum.saturating_add(time);
        self.last = time;
        self.min = self.min.min(time);
        self.max = self.max.max(time);
    }

    fn view(&self) -> Option<RttView> {
        Some(RttView {
            mean_us: self.sum.checked_div(self.count)?,
            last_us: self.last,
            min_us: self.min,
            max_us: self.max,
            jitter_us: self.jitter / 16,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(retries: u8, up_after: u8) -> Check {
        Check::new(Timing { retries, up_after, ..Timing::default() })
    }

    /// A packet that is answered (`+`) or lost (`-`) for each letter; the states
    /// after each.
    fn states(check: &mut Check, fates: &str) -> String {
        let fate = |(number, fate): (usize, char)| {
            check.sent(number as u16, Duration::ZERO);
            if fate == '+' {
                assert!(check.heard(number as u16, Duration::from_millis(3)));
            }
            check.judge();
            match check.state {
                State::Unknown => '?',
                State::Up => 'u',
                State::Down => 'd',
            }
        };
        fates.chars().enumerate().map(fate).collect()
    }

    #[test]
    fn down_after_as_many_losses_in_a_row_and_up_by_hysteresis() {
        assert_eq!(states(&mut check(3, 2), "++--+---+-+-++-"), "uuuuuuudddddduu");
    }

    #[test]
    fn unknown_until_something_is_known() {
        assert_eq!(states(&mut check(3, 2), "--+"), "??u");
        assert_eq!(states(&mut check(3, 2), "----++"), "??dddu");
        assert_eq!(states(&mut check(1, 1), "-+-+"), "dudu");
    }

    #[test]
    fn flapping_faster_than_the_hysteresis_stays_down() {
        assert_eq!(states(&mut check(2, 3), "--++-++-++-+++"), "?ddddddddddddu");
    }

    #[test]
    fn late_and_unasked_answers_count_for_nothing() {
        let mut check = check(3, 2);
        check.sent(7, Duration::ZERO);
        check.judge();
        assert!(!check.heard(7, Duration::from_secs(20)));
        check.sent(8, Duration::from_secs(20));
        assert!(check.awaits(8) && !check.awaits(7));
        assert!(check.heard(8, Duration::from_secs(21)));
        assert!(!check.heard(8, Duration::from_secs(21)), "a second copy");
        let view = check.view();
        assert_eq!((view.sent, view.received, view.lost), (2, 1, 1));
    }

    #[test]
    fn at_rest_nothing_is_lost() {
        let mut check = check(2, 2);
        for number in 0..10 {
            check.sent(number, Duration::ZERO);
            check.rest();
            check.judge();
        }
        assert_eq!((check.state, check.view().lost), (State::Unknown, 0));
    }

    #[test]
    fn times_are_what_they_were() {
        let mut check = check(3, 2);
        for (number, ms) in [(0, 10), (1, 30), (2, 20)] {
            check.sent(number, Duration::ZERO);
            check.heard(number, Duration::from_millis(ms));
        }
        let rtt = check.view().rtt.expect("three times");
        assert_eq!(
            (rtt.min_us, rtt.mean_us, rtt.max_us, rtt.last_us),
            (10_000, 20_000, 30_000, 20_000)
        );
        // 0, then 20 ms / 16, then that and (10 - 1.25) / 16 ms more.
        assert_eq!(rtt.jitter_us, 1_796);
    }
}
