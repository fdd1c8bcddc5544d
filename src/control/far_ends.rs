//! Far ends of tunnels that move: found by a packet that carried the tunnel's key
//! from elsewhere (`learn`), or by their name ([`super::names`]).
//!
//! A key is no secret, and whoever knows it can take the tunnel over for as long
//! as the far end is silent: hence off by default, told in the log and counted.
//! Moves are few (one a second for each tunnel, and a bound for all together), so
//! that two who claim one tunnel cannot keep control busy.
//!
//! A move is a transaction like any other ([`Op::Found`](crate::model::op::Op)):
//! what holds between objects holds for a far end that was found, too.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use super::tally::{ControlDrop, TokenBucket};
use crate::ids::IfId;
use crate::model::api::ApiError;
use crate::stats::counters::ControlCounters;

/// Least time between two moves of one tunnel.
const LEAST: Duration = Duration::from_secs(1);

/// Moves of all tunnels together: a second, and at once.
const MOVES: (u32, u32) = (100, 200);

/// Lines in the log: a second, and at once.
const LOG: (u32, u32) = (5, 50);

/// Where the far ends of tunnels are now.
pub(super) trait InUse {
    /// The outer destination of a tunnel; `None` as long as it is not known.
    fn far_end(&self, tunnel: IfId) -> Option<IpAddr>;
}

/// What became of one tunnel's far end.
#[derive(Clone, Copy, Debug, Default)]
struct Far {
    /// When it moved last.
    moved: Option<Duration>,
    moves: u64,
    refused: u64,
}

/// The engine.
#[derive(Debug)]
pub(super) struct FarEnds {
    all: HashMap<IfId, Far>,
    bucket: TokenBucket,
    log: TokenBucket,
    counters: Arc<ControlCounters>,
}

impl FarEnds {
    pub(super) fn new(counters: Arc<ControlCounters>) -> FarEnds {
        let bucket = TokenBucket::new(MOVES.0, MOVES.1);
        let log = TokenBucket::new(LOG.0, LOG.1);
        FarEnds { all: HashMap::new(), bucket, log, counters }
    }

    /// A tunnel is new, whatever had its number before.
    pub(super) fn begin(&mut self, tunnel: IfId) {
        self.all.remove(&tunnel);
    }

    /// A packet with a tunnel's key came from elsewhere, as the path tells it
    /// ([`PuntSlot::bytes`](crate::exchange::PuntSlot)). Gives the outer address
    /// to move to, if it is to move.
    pub(super) fn seen(
        &mut self,
        tunnels: &impl InUse,
        now: Duration,
        tunnel: IfId,
        told: &[u8],
    ) -> Option<IpAddr> {
        self.counters.punts_taken.add(1);
        let outer = told.first_chunk::<16>().map(|bytes| Ipv6Addr::from(*bytes).to_canonical());
        let far = self.all.entry(tunnel).or_default();
        if outer.is_some() && tunnels.far_end(tunnel) == outer {
            // One that was under way when the tunnel moved.
            self.counters.consumed.add(1);
            return None;
        }
        let soon = far.moved.is_some_and(|moved| now.saturating_sub(moved) < LEAST);
        let Some(outer) = outer.filter(|_| !soon && self.bucket.take(now)) else {
            far.refused += 1;
            self.counters.drop_packet(ControlDrop::LearnRefused);
            return None;
        };
        // Whatever comes of it: trying it again and again is no better.
        far.moved = Some(now);
        self.counters.consumed.add(1);
        Some(outer)
    }

    /// A tunnel moved, or could not.
    pub(super) fn moved(
        &mut self,
        now: Duration,
        tunnel: IfId,
        name: &str,
        to: IpAddr,
        outcome: Result<(), ApiError>,
    ) {
        let far = self.all.entry(tunnel).or_default();
        match &outcome {
            Ok(()) => far.moves += 1,
            Err(_) => far.refused += 1,
        }
        if !self.log.take(now) {
            return;
        }
        match outcome {
            Ok(()) => tracing::info!(tunnel = %name, %to, "the far end moved"),
            Err(error) => {
                tracing::warn!(tunnel = %name, %to, %error, "the far end cannot be there");
            }
        }
    }

    /// A tunnel's far end was sought, and not found.
    pub(super) fn lost(&mut self, tunnel: IfId) {
        self.all.entry(tunnel).or_default().refused += 1;
    }

    /// How often a tunnel moved, and how often it did not where it could have.
    pub(super) fn counts(&self, tunnel: IfId) -> (u64, u64) {
        self.all.get(&tunnel).map_or((0, 0), |far| (far.moves, far.refused))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct At(Option<IpAddr>);

    impl InUse for At {
        fn far_end(&self, _: IfId) -> Option<IpAddr> {
            self.0
        }
    }

    fn told(text: &str) -> Vec<u8> {
        let address = match text.parse().expect("an address") {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        [address.octets(), [0; 16]].concat()
    }

    struct Bench {
        far_ends: FarEnds,
        counters: Arc<ControlCounters>,
        at: At,
    }

    impl Bench {
        fn new() -> Bench {
            let counters = Arc::new(ControlCounters::default());
            let far_ends = FarEnds::new(Arc::clone(&counters));
            Bench { far_ends, counters, at: At(None) }
        }

        fn seen(&mut self, ms: u64, tunnel: u32, from: &str) -> Option<String> {
            let now = Duration::from_millis(ms);
            let found = self.far_ends.seen(&self.at, now, IfId(tunnel), &told(from));
            self.at.0 = found.or(self.at.0);
            assert_eq!(self.counters.imbalance(), 0);
            found.map(|address| address.to_string())
        }
    }

    #[test]
    fn a_tunnel_moves_once_a_second_and_what_is_known_already_is_no_move() {
        let mut bench = Bench::new();
        assert_eq!(bench.seen(0, 9, "192.0.2.7").as_deref(), Some("192.0.2.7"));
        assert_eq!(bench.seen(1, 9, "192.0.2.7"), None);
        assert_eq!(bench.far_ends.counts(IfId(9)), (0, 0), "under way when it moved");
        assert_eq!(bench.seen(999, 9, "192.0.2.8"), None);
        assert_eq!(bench.far_ends.counts(IfId(9)).1, 1);
        assert_eq!(bench.seen(1000, 9, "2001:db8::8").as_deref(), Some("2001:db8::8"));
        assert_eq!(bench.seen(1001, 10, "192.0.2.9").as_deref(), Some("192.0.2.9"), "another");
        bench.far_ends.begin(IfId(9));
        assert_eq!(bench.far_ends.counts(IfId(9)), (0, 0));
    }

    #[test]
    fn all_tunnels_together_move_a_hundred_times_a_second() {
        let mut bench = Bench::new();
        let mut moves = |ms, tunnels: std::ops::Range<u32>| {
            tunnels
                .filter(|n| {
                    bench.seen(ms, *n, &format!("192.0.{}.{}", n / 250, 1 + n % 250)).is_some()
                })
                .count()
        };
        assert_eq!(moves(0, 0..1000), 200);
        assert_eq!(moves(1000, 1000..2000), 100);
    }

    #[test]
    fn what_came_of_a_move_is_counted() {
        let mut bench = Bench::new();
        let to = "192.0.2.7".parse().expect("an address");
        let refused = || ApiError { code: crate::model::api::ErrorCode::Refused, problems: vec![] };
        bench.far_ends.moved(Duration::ZERO, IfId(9), "gre0", to, Ok(()));
        bench.far_ends.moved(Duration::ZERO, IfId(9), "gre0", to, Err(refused()));
        assert_eq!(bench.far_ends.counts(IfId(9)), (1, 1));
    }
}
