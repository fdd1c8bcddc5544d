//! The largest packet that really passes, there and back: tried, since neither
//! configuration nor ICMP tells it for sure (RFC 4821's idea, RFC 8899).
//!
//! ```text
//!   the tunnel's MTU passes ─▶ that is it (one packet)
//!   else: halve between what passed and what did not, each size twice,
//!         one packet under way at a time
//! ```

/// Times a size is tried before it counts as too large.
const TRIES: u8 = 2;

/// The packet under way.
#[derive(Clone, Copy, Debug)]
struct Trial {
    number: u16,
    size: u16,
    /// Times this size has been sent before.
    tries: u8,
}

/// One search after the other.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// What the last one found.
    pub(super) largest: Option<u16>,
    /// Largest size known to pass, and least known not to; none: at rest.
    between: Option<(u16, u16)>,
    trial: Option<Trial>,
}

impl Search {
    /// What to send next: a number of bytes. `least` surely passes, `most` is
    /// what the tunnel takes now; `None`: the search is over.
    pub(super) fn next(&mut self, least: u16, most: u16) -> Option<u16> {
        let begun = self.between.is_some();
        // Above what the tunnel takes the path lets nothing through.
        let above = most.saturating_add(1);
        let (passed, mut failed) = self.between.unwrap_or((least, above));
        failed = failed.min(above);
        if passed.saturating_add(1) >= failed {
            self.largest = Some(passed);
            (self.between, self.trial) = (None, None);
            return None;
        }
        self.between = Some((passed, failed));
        let again = self.trial.filter(|trial| trial.size < failed);
        let size = match again {
            Some(trial) => trial.size,
            None if !begun => most,
            None => passed + (failed - passed) / 2,
        };
        Some(size)
    }

    /// A packet of this size left.
    pub(super) fn sent(&mut self, number: u16, size: u16) {
        let tries = self.trial.map_or(0, |trial| trial.tries);
        self.trial = Some(Trial { number, size, tries });
    }

    /// Time is up: what is under way is lost.
    pub(super) fn judge(&mut self) {
        let Some(trial) = &mut self.trial else { return };
        trial.tries += 1;
        if trial.tries < TRIES {
            return;
        }
        if let Some((_, failed)) = &mut self.between {
            *failed = trial.size.min(*failed);
        }
        self.trial = None;
    }

    /// The packet of this number came back. False if none is awaited.
    pub(super) fn heard(&mut self, number: u16) -> bool {
        let Some(trial) = self.trial.filter(|trial| trial.number == number) else { return false };
        if let Some((passed, _)) = &mut self.between {
            *passed = trial.size.max(*passed);
        }
        self.trial = None;
        true
    }

    /// Gives up this search; what the last one found is not known to be true.
    pub(super) fn stop(&mut self) {
        *self = Search::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches on a way that takes `takes`; gives what was sent.
    fn search(search: &mut Search, least: u16, most: u16, takes: u16) -> Vec<u16> {
        let mut sent = Vec::new();
        while let Some(size) = search.next(least, most) {
            let number = sent.len() as u16;
            search.sent(number, size);
            sent.push(size);
            if size <= takes {
                assert!(search.heard(number));
            } else {
                search.judge();
            }
        }
        sent
    }

    #[test]
    fn what_the_tunnel_takes_is_one_packet() {
        let mut at = Search::default();
        assert_eq!(search(&mut at, 84, 1476, 9000), [1476]);
        assert_eq!(at.largest, Some(1476));
        assert_eq!(search(&mut at, 84, 1400, 9000), [1400], "and once more");
        assert_eq!(at.largest, Some(1400));
    }

    #[test]
    fn any_size_is_found_to_the_byte_with_few_packets() {
        for takes in 84..=1476 {
            let mut at = Search::default();
            let sent = search(&mut at, 84, 1476, takes);
            assert_eq!(at.largest, Some(takes));
            assert!(sent.len() <= 24, "{takes}: {sent:?}");
        }
    }

    #[test]
    fn a_lost_packet_is_sent_again_before_its_size_is_given_up() {
        let mut at = Search::default();
        at.next(84, 1476);
        at.sent(0, 1476);
        at.judge();
        assert_eq!(at.next(84, 1476), Some(1476));
        at.sent(1, 1476);
        assert!(!at.heard(0), "that is lost by now");
        assert!(at.heard(1));
        assert_eq!((at.next(84, 1476), at.largest), (None, Some(1476)));
    }

    #[test]
    fn a_tunnel_that_takes_less_meanwhile_ends_the_search_below() {
        let mut at = Search::default();
        assert_eq!(at.next(84, 1476), Some(1476));
        at.sent(0, 1476);
        at.judge();
        // ICMP told: 1376 and no more.
        let sent = search(&mut at, 84, 1376, 1376);
        assert_eq!(at.largest, Some(1376));
        assert!(sent.iter().all(|size| *size <= 1376), "{sent:?}");
        assert_eq!(at.next(84, 40), None, "less than the least");
        assert_eq!(at.largest, Some(84));
    }
}
