//! What doors kept out and what met a filter that logs, as lines of the log: which
//! interface, which source, which reason or rule (RFC 2827 §3, RFC 1812 §5.3.8,
//! §5.3.9), a few a second and a count of the rest.
//! The drops themselves are counted on the workers.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use super::tally::TokenBucket;
use crate::datapath::drop::DropReason;
use crate::model::spec::FilterAction;
use crate::wire::destination;
use crate::wire::ipv4::Ipv4Header;
use crate::wire::ipv6::Ipv6Header;

/// Lines a second, and at once.
const RATE: u32 = 1;
const BURST: u32 = 5;

/// What is written, and how much is not.
#[derive(Debug)]
pub(super) struct DoorLog {
    bucket: TokenBucket,
    /// Samples since the last line that got none.
    unwritten: u64,
}

impl DoorLog {
    pub(super) fn new() -> DoorLog {
        DoorLog { bucket: TokenBucket::new(RATE, BURST), unwritten: 0 }
    }

    /// Takes a copy of a packet that was kept out; true if it got a line.
    pub(super) fn on_notice(
        &mut self,
        now: Duration,
        interface: &str,
        reason: DropReason,
        datagram: &[u8],
    ) -> bool {
        let Some(source) = source(datagram) else { return false };
        let Some(unwritten) = self.line(now) else { return false };
        let reason = reason.label();
        tracing::warn!(interface, %source, reason, unwritten, "a packet was kept out");
        true
    }

    /// Takes a copy of a packet that met a filter with `log`; true if it got a
    /// line.
    pub(super) fn on_filtered(
        &mut self,
        now: Duration,
        interface: &str,
        filter: &str,
        action: FilterAction,
        datagram: &[u8],
    ) -> bool {
        let ends = source(datagram).zip(destination(datagram));
        let Some((source, destination)) = ends else { return false };
        let Some(unwritten) = self.line(now) else { return false };
        tracing::info!(interface, %source, %destination, filter, %action, unwritten, "a packet met a filter");
        true
    }

    /// One more line, if the rate allows: how many got none before it.
    fn line(&mut self, now: Duration) -> Option<u64> {
        if !self.bucket.take(now) {
            self.unwritten += 1;
            return None;
        }
        Some(std::mem::take(&mut self.unwritten))
    }
}

fn source(datagram: &[u8]) -> Option<IpAddr> {
    match datagram.first()? >> 4 {
        4 => Some(Ipv4Header::ref_from(datagram)?.src_addr().into()),
        _ => Some(Ipv6Addr::from(Ipv6Header::ref_from(datagram)?.src()).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_gets_a_few_lines_a_second() {
        let mut log = DoorLog::new();
        let mut packet = [0; 40];
        packet[0] = 0x60;
        let mut lines = |at: u64, count: usize| {
            let now = Duration::from_secs(at);
            (0..count)
                .filter(|_| log.on_notice(now, "gre0", DropReason::SourceNotAllowed, &packet))
                .count()
        };
        assert_eq!((lines(0, 100), lines(1, 100), lines(60, 100)), (5, 1, 5));
        assert_eq!(log.unwritten, 95, "each line says how many got none before it");
        let later = Duration::from_secs(120);
        let filtered = log.on_filtered(later, "gre0", "no-ssh", FilterAction::Drop, &packet);
        assert!(filtered && log.unwritten == 0, "both kinds share the lines");
        assert!(!log.on_notice(Duration::from_secs(99), "gre0", DropReason::ReversePath, &[0x45]));
    }
}
