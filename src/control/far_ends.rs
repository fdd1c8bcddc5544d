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

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use super::tally::{ControlDrop, TokenBucket};
use crate::ids::IfId;
use crate::model::api::ApiError;
use crate::stats::counters::ControlCounters;

/// Moves of one tunnel: a second, and at once.
const ONE: (u32, u32) = (1, 1);
/// The same of one that has several far ends, all together.
const SEVERAL: (u32, u32) = (10, 50);

/// A far end that was learned beside others and sends nothing for so long is
/// forgotten.
const AGE: Duration = Duration::from_secs(600);
/// From one look for such to the next.
const LOOK: Duration = Duration::from_secs(10);

/// Moves of all tunnels together: a second, and at once.
const MOVES: (u32, u32) = (100, 200);

/// Lines in the log: a second, and at once.
const LOG: (u32, u32) = (5, 50);

/// Where the far ends of tunnels are now.
pub(super) trait InUse {
    /// The outer destination of a tunnel; `None` as long as it is not known.
    fn far_end(&self, tunnel: IfId) -> Option<IpAddr>;
    /// True if the tunnel has several.
    fn several(&self, tunnel: IfId) -> bool;
    /// Of several, that with an inner address: its outer one, and the part to it.
    fn part(&self, tunnel: IfId, inner: IpAddr) -> Option<(IpAddr, IfId)>;
}

/// Where a far end is to be from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Its outer address.
    pub at: IpAddr,
    /// The inner source of the packet that told it.
    pub inner: Option<IpAddr>,
}

/// What came from a far end that was learned beside others.
#[derive(Clone, Copy, Debug)]
struct Use {
    packets: u64,
    since: Duration,
}

/// What became of one tunnel's far end.
#[derive(Clone, Debug)]
struct Far {
    bucket: TokenBucket,
    moves: u64,
    refused: u64,
}

impl Far {
    fn new((rate, burst): (u32, u32)) -> Far {
        Far { bucket: TokenBucket::new(rate, burst), moves: 0, refused: 0 }
    }
}

/// The engine.
#[derive(Debug)]
pub(super) struct FarEnds {
    all: HashMap<IfId, Far>,
    /// Far ends learned beside others, by tunnel and inner address.
    used: BTreeMap<(IfId, IpAddr), Use>,
    looked: Duration,
    bucket: TokenBucket,
    log: TokenBucket,
    counters: Arc<ControlCounters>,
}

impl FarEnds {
    pub(super) fn new(counters: Arc<ControlCounters>) -> FarEnds {
        let bucket = TokenBucket::new(MOVES.0, MOVES.1);
        let log = TokenBucket::new(LOG.0, LOG.1);
        let (used, looked) = (BTreeMap::new(), Duration::ZERO);
        FarEnds { all: HashMap::new(), used, looked, bucket, log, counters }
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
    ) -> Option<Found> {
        self.counters.punts_taken.add(1);
        let address = |at: usize| {
            let bytes = told.get(at..)?.first_chunk::<16>()?;
            Some(Ipv6Addr::from(*bytes).to_canonical())
        };
        let (outer, inner) = (address(0), address(16));
        let several = tunnels.several(tunnel);
        let current = match inner.filter(|_| several) {
            Some(inner) => tunnels.part(tunnel, inner).map(|(outer, _)| outer),
            None => tunnels.far_end(tunnel),
        };
        if outer.is_some() && current == outer {
            // One that was under way when the tunnel moved.
            self.counters.consumed.add(1);
            return None;
        }
        let far = self.of(tunnel, several);
        // Taken whatever comes of it: trying it again and again is no better.
        let in_time = far.bucket.take(now);
        let Some(at) = outer.filter(|_| in_time && self.bucket.take(now)) else {
            self.of(tunnel, several).refused += 1;
            self.counters.drop_packet(ControlDrop::LearnRefused);
            return None;
        };
        self.counters.consumed.add(1);
        Some(Found { at, inner })
    }

    fn of(&mut self, tunnel: IfId, several: bool) -> &mut Far {
        let rate = if several { SEVERAL } else { ONE };
        self.all.entry(tunnel).or_insert_with(|| Far::new(rate))
    }

    /// Far ends that were learned beside others and have sent nothing for long;
    /// `received` says how many packets came by a part.
    pub(super) fn silent(
        &mut self,
        tunnels: &impl InUse,
        now: Duration,
        received: impl Fn(IfId) -> u64,
    ) -> Vec<(IfId, IpAddr)> {
        if now.saturating_sub(self.looked) < LOOK {
            return Vec::new();
        }
        self.looked = now;
        let mut silent = Vec::new();
        self.used.retain(|(tunnel, inner), used| {
            let Some((_, part)) = tunnels.part(*tunnel, *inner) else { return false };
            let packets = received(part);
            if packets != used.packets {
                *used = Use { packets, since: now };
            }
            let old = now.saturating_sub(used.since) >= AGE;
            if old {
                silent.push((*tunnel, *inner));
            }
            !old
        });
        silent
    }

    /// A tunnel moved, or could not.
    pub(super) fn moved(
        &mut self,
        now: Duration,
        tunnel: IfId,
        name: &str,
        to: Found,
        outcome: Result<(), ApiError>,
    ) {
        let far = self.of(tunnel, false);
        match &outcome {
            Ok(()) => far.moves += 1,
            Err(_) => far.refused += 1,
        }
        if let (Ok(()), Some(inner)) = (&outcome, to.inner) {
            // Of a tunnel with one far end it is nobody's part, and soon gone.
            self.used.insert((tunnel, inner), Use { packets: 0, since: now });
        }
        if !self.log.take(now) {
            return;
        }
        let inner = to.inner.map(tracing::field::display);
        match outcome {
            Ok(()) => tracing::info!(tunnel = %name, to = %to.at, inner, "the far end moved"),
            Err(error) => {
                tracing::warn!(tunnel = %name, to = %to.at, inner, %error, "the far end cannot be there");
            }
        }
    }

    /// A tunnel's far end was sought, and not found.
    pub(super) fn lost(&mut self, tunnel: IfId) {
        self.of(tunnel, false).refused += 1;
    }

    /// How often a tunnel moved, and how often it did not where it could have.
    pub(super) fn counts(&self, tunnel: IfId) -> (u64, u64) {
        self.all.get(&tunnel).map_or((0, 0), |far| (far.moves, far.refused))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One far end; tunnels from 100 up have several, and the part 200.
    struct At(Option<IpAddr>);

    impl InUse for At {
        fn far_end(&self, _: IfId) -> Option<IpAddr> {
            self.0
        }
        fn several(&self, tunnel: IfId) -> bool {
            tunnel.0 >= 100
        }
        fn part(&self, tunnel: IfId, _: IpAddr) -> Option<(IpAddr, IfId)> {
            Some((self.0?, IfId(200))).filter(|_| self.several(tunnel))
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
            let found = found.map(|found| found.at);
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
        let to = Found { at: "192.0.2.7".parse().expect("an address"), inner: None };
        let refused = || ApiError { code: crate::model::api::ErrorCode::Refused, problems: vec![] };
        bench.far_ends.moved(Duration::ZERO, IfId(9), "gre0", to, Ok(()));
        bench.far_ends.moved(Duration::ZERO, IfId(9), "gre0", to, Err(refused()));
        assert_eq!(bench.far_ends.counts(IfId(9)), (1, 1));
    }

    #[test]
    fn one_of_several_is_forgotten_when_it_is_silent_for_ten_minutes() {
        let mut bench = Bench::new();
        bench.at.0 = Some("192.0.2.7".parse().expect("an address"));
        let (hub, inner) = (IfId(100), "12.0.0.3".parse().expect("an address"));
        let found = Found { at: bench.at.0.expect("set"), inner: Some(inner) };
        let at = Duration::from_secs;
        bench.far_ends.moved(at(0), hub, "gre0", found, Ok(()));
        let mut silent =
            |seconds, packets| bench.far_ends.silent(&bench.at, at(seconds), |_| packets);
        assert_eq!(silent(590, 7), [], "it spoke");
        assert_eq!(silent(1180, 7), []);
        assert_eq!(silent(1185, 7), [], "not looked at all the time");
        assert_eq!(silent(1190, 7), [(hub, inner)]);
        assert_eq!(silent(9999, 7), [], "told once");
    }
}
