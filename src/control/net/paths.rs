//! Sets of paths, that is what a multipath route (ECMP) leads to: each set kept
//! once, and which of its paths owns which bucket.
//!
//! **Who owns what** is decided by rendezvous: each path has a score for each
//! bucket, from its own identity and weight alone, and the best score of those
//! that can be used owns it. So a path that goes moves only its own flows, one
//! that comes takes only what becomes its own, and nothing depends on the order
//! things happened in. A path's scores are a permutation of evenly spaced
//! numbers, not random ones, which halves the variance of the shares: of 512
//! buckets, two equal paths get 256 ± 7, sixteen 32 ± 4.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use super::desired::Target;
use super::key::Key;
use crate::flow::splitmix;
use crate::ids::Family;
pub(super) use crate::model::spec::MOST_PATHS;
use crate::tables::group::BUCKETS;

/// One way of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Path {
    /// A gateway or a tunnel.
    pub(super) target: Target,
    /// Share of the flows, beside the other paths' weights.
    pub(super) weight: u8,
}

/// The number of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SetId(u32);

/// One set.
#[derive(Debug)]
struct Entry {
    family: Family,
    paths: Arc<[Path]>,
    /// Routes that lead to it.
    users: u32,
}

/// All sets that static routes lead to, each once however many they are.
#[derive(Debug, Default)]
pub(super) struct Sets {
    sets: Vec<Entry>,
    /// By family: a tunnel's next hop is another one for each.
    numbers: [HashMap<Arc<[Path]>, SetId>; 2],
    free: Vec<SetId>,
    /// Sets that may have no user left.
    idle: Vec<SetId>,
    /// Sets with a user.
    used: usize,
}

impl Sets {
    /// The number of a set; a new one has no user yet.
    pub(super) fn number(&mut self, family: Family, paths: &[Path]) -> SetId {
        if let Some(id) = self.numbers[family as usize].get(paths) {
            return *id;
        }
        let paths: Arc<[Path]> = paths.into();
        let entry = Entry { family, paths: Arc::clone(&paths), users: 0 };
        let id = match self.free.pop() {
            Some(id) => {
                self.sets[id.0 as usize] = entry;
                id
            }
            None => {
                self.sets.push(entry);
                SetId(self.sets.len() as u32 - 1)
            }
        };
        self.numbers[family as usize].insert(paths, id);
        self.idle.push(id);
        id
    }

    /// The paths of a set.
    pub(super) fn paths(&self, id: SetId) -> Arc<[Path]> {
        self.sets.get(id.0 as usize).map(|set| Arc::clone(&set.paths)).unwrap_or_default()
    }

    /// Whose routes lead to it.
    pub(super) fn family(&self, id: SetId) -> Family {
        self.sets.get(id.0 as usize).map_or(Family::V4, |set| set.family)
    }

    /// Routes that lead to it.
    pub(super) fn users(&self, id: SetId) -> u32 {
        self.sets.get(id.0 as usize).map_or(0, |set| set.users)
    }

    /// One route more, or less.
    pub(super) fn count(&mut self, id: SetId, more: bool) {
        let Some(Entry { users, .. }) = self.sets.get_mut(id.0 as usize) else { return };
        if more {
            self.used += usize::from(*users == 0);
            *users += 1;
        } else {
            *users -= 1;
            if *users == 0 {
                self.used -= 1;
                self.idle.push(id);
            }
        }
    }

    /// Sets in use.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Forgets the sets nobody uses; when a transaction is over, one way or the
    /// other, since until then it may be taken back.
    pub(super) fn sweep(&mut self) {
        let mut idle = std::mem::take(&mut self.idle);
        idle.sort_unstable();
        idle.dedup();
        for id in idle {
            let Some(set) = self.sets.get_mut(id.0 as usize) else { continue };
            if set.users > 0 {
                continue;
            }
            let paths = std::mem::take(&mut set.paths);
            self.numbers[set.family as usize].remove(&paths);
            self.free.push(id);
        }
    }
}

/// −ln of evenly spaced numbers between 0 and 1: exponentially distributed, so
/// that the least of several divided by weights is each one's in proportion to
/// its weight.
static EXPONENTIAL: LazyLock<[f64; BUCKETS]> =
    LazyLock::new(|| std::array::from_fn(|rank| -((rank as f64 + 0.5) / BUCKETS as f64).ln()));

/// What a path's scores come from: what it is, not where it stands in its set.
fn identity(target: Target) -> u64 {
    let (kind, number) = match target {
        Target::Via(IpAddr::V4(gateway)) => (0, gateway.to_bits()),
        Target::Via(IpAddr::V6(gateway)) => return mixed(gateway.to_bits()),
        Target::Interface(Key::Gre(number)) => (1, number),
        Target::Interface(Key::Ipip(number)) => (2, number),
        // Not what a path can be.
        Target::Interface(Key::Port(_) | Key::Vlan(..) | Key::Peer(..)) => (3, 0),
        Target::Near(..) | Target::Blackhole | Target::Reject | Target::Paths(_) => (4, 0),
    };
    splitmix(kind << 32 | u64::from(number))
}

/// An IPv6 address as a number of 64 bits.
fn mixed(address: u128) -> u64 {
    splitmix(splitmix((address >> 64) as u64) ^ address as u64)
}

/// What an address adds to the choice of a path for it.
fn salt(to: IpAddr) -> u64 {
    match to {
        IpAddr::V4(to) => u64::from(to.to_bits()),
        IpAddr::V6(to) => mixed(to.to_bits()),
    }
}

/// Which path owns each bucket; `None` if none of them can be used.
pub(super) fn owners(paths: &[Path], usable: &[bool]) -> Option<Box<[u8; BUCKETS]>> {
    let mut owners = Box::new([0u8; BUCKETS]);
    let mut least = [f64::INFINITY; BUCKETS];
    let mut any = false;
    for (at, (path, usable)) in paths.iter().zip(usable).enumerate() {
        if !usable {
            continue;
        }
        any = true;
        let ranks = permutation(identity(path.target));
        for (bucket, rank) in ranks.into_iter().enumerate() {
            let score = EXPONENTIAL[usize::from(rank)] / f64::from(path.weight);
            // Equal scores: the path that is less, wherever it stands.
            let tie =
                score == least[bucket] && path.target < paths[usize::from(owners[bucket])].target;
            if score < least[bucket] || tie {
                (least[bucket], owners[bucket]) = (score, at as u8);
            }
        }
    }
    any.then_some(owners)
}

/// The path for one address: what leads to it has to go one way.
pub(super) fn best(paths: &[Path], usable: &[bool], to: IpAddr) -> Option<usize> {
    let score = |path: &Path| {
        let rank = splitmix(identity(path.target) ^ salt(to)) as usize % BUCKETS;
        EXPONENTIAL[rank] / f64::from(path.weight)
    };
    let usable = paths.iter().zip(usable).enumerate().filter(|(_, (_, usable))| **usable);
    let scored = usable.map(|(at, (path, _))| (score(path), path.target, at));
    let least = scored.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    least.map(|(_, _, at)| at)
}

/// A permutation of the buckets' numbers.
fn permutation(seed: u64) -> [u16; BUCKETS] {
    let mut ranks: [u16; BUCKETS] = std::array::from_fn(|rank| rank as u16);
    let mut random = seed;
    for last in (1..BUCKETS).rev() {
        random = splitmix(random);
        ranks.swap(last, (random % (last as u64 + 1)) as usize);
    }
    ranks
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn path(n: u32, weight: u8) -> Path {
        let gateway = std::net::Ipv4Addr::from(0x0a00_0000 + n);
        Path { target: Target::Via(gateway.into()), weight }
    }

    /// [`path`] with an IPv6 gateway.
    fn path6(n: u32, weight: u8) -> Path {
        let gateway = std::net::Ipv6Addr::from(0x2001_0db8 << 96 | u128::from(n));
        Path { target: Target::Via(gateway.into()), weight }
    }

    fn shares(owners: &[u8; BUCKETS], paths: usize) -> Vec<usize> {
        (0..paths).map(|at| owners.iter().filter(|o| usize::from(**o) == at).count()).collect()
    }

    #[test]
    fn equal_paths_get_about_as_much() {
        let mut worst = 0.0f64;
        for count in 2..=MOST_PATHS {
            for first in 0..50 {
                let path = if first % 2 == 0 { path } else { path6 };
                let paths: Vec<Path> =
                    (0..count).map(|n| path(first * 100 + n as u32, 1)).collect();
                let owners = owners(&paths, &vec![true; count]).unwrap();
                let fair = BUCKETS as f64 / count as f64;
                for share in shares(&owners, count) {
                    let off = (share as f64 - fair) / fair.sqrt();
                    worst = worst.max(off.abs());
                    // Random owners have a deviation of about sqrt(fair).
                    assert!(off.abs() < 3.2, "{share} of {fair:.0} with {count}");
                }
            }
        }
        assert!(worst > 0.3, "{worst}: too even to be true");
    }

    #[test]
    fn weights_are_shares() {
        let (mut heavy, rounds) = (0, 40);
        for first in 0..rounds {
            let paths = [path(first * 9, 3), path(first * 9 + 1, 1)];
            heavy += shares(&owners(&paths, &[true; 2]).unwrap(), 2)[0];
        }
        let share = heavy as f64 / f64::from(rounds) / BUCKETS as f64;
        assert!((share - 0.75).abs() < 0.01, "{share:.3} of the buckets with 3 of 4");
    }

    proptest! {
        #[test]
        fn a_path_that_goes_moves_only_its_own(
            numbers in prop::collection::btree_set(0u32..1000, 2..=16usize),
            weights in prop::collection::vec(1u8..=255, 16),
            gone: prop::sample::Index,
        ) {
            let paths: Vec<Path> =
                numbers.iter().zip(&weights).map(|(n, weight)| path(*n, *weight)).collect();
            let gone = gone.index(paths.len());
            let all = owners(&paths, &vec![true; paths.len()]).unwrap();
            // Not usable, and not there at all.
            let usable: Vec<bool> = (0..paths.len()).map(|at| at != gone).collect();
            let down = owners(&paths, &usable).unwrap();
            let mut fewer = paths.clone();
            fewer.remove(gone);
            let without = owners(&fewer, &vec![true; fewer.len()]).unwrap();
            for bucket in 0..BUCKETS {
                let (was, is) = (usize::from(all[bucket]), usize::from(down[bucket]));
                prop_assert!(is != gone);
                prop_assert!(was == gone || was == is);
                prop_assert_eq!(paths[is], fewer[usize::from(without[bucket])]);
            }
        }

        #[test]
        fn order_means_nothing(
            numbers in prop::collection::btree_set(0u32..1000, 2..=16usize), turn in 0usize..16
        ) {
            let paths: Vec<Path> = numbers.iter().map(|n| path(*n, 2)).collect();
            let mut turned = paths.clone();
            turned.rotate_left(turn % paths.len());
            let usable = vec![true; paths.len()];
            let (one, other) = (owners(&paths, &usable).unwrap(), owners(&turned, &usable).unwrap());
            for (a, b) in one.iter().zip(other.iter()) {
                prop_assert_eq!(paths[usize::from(*a)], turned[usize::from(*b)]);
            }
        }

        #[test]
        fn one_address_goes_one_way_and_moves_only_when_that_goes(to: u32, gone in 0usize..5) {
            let paths: Vec<Path> = (0..5).map(|n| path(n, 1 + n as u8)).collect();
            let to = IpAddr::from(std::net::Ipv4Addr::from(to));
            let first = best(&paths, &[true; 5], to).unwrap();
            let usable: Vec<bool> = (0..5).map(|at| at != gone).collect();
            let second = best(&paths, &usable, to).unwrap();
            prop_assert!(second != gone && (first == gone || first == second));
            prop_assert_eq!(best(&paths, &[false; 5], to), None);
        }
    }

    #[test]
    fn what_is_taken_back_is_as_before() {
        let mut sets = Sets::default();
        let id = sets.number(Family::V4, &[path(1, 1), path(2, 1)]);
        for more in [true, false, true, false, true] {
            sets.count(id, more);
            assert_eq!(sets.used(), usize::from(more));
        }
        sets.sweep();
        assert_eq!((sets.used(), sets.paths(id).len()), (1, 2));
    }

    #[test]
    fn sets_are_kept_once_and_forgotten_when_unused() {
        let mut sets = Sets::default();
        let one = sets.number(Family::V4, &[path(1, 1), path(2, 1)]);
        assert_eq!(sets.number(Family::V4, &[path(1, 1), path(2, 1)]), one);
        let other = sets.number(Family::V4, &[path(1, 1), path(2, 2)]);
        assert_ne!(one, other);
        sets.count(one, true);
        sets.sweep();
        assert_eq!((sets.used(), sets.paths(one).len(), sets.paths(other).len()), (1, 2, 0));
        assert_eq!(
            sets.number(Family::V4, &[path(3, 1), path(4, 1)]),
            other,
            "its number is used again"
        );
        sets.count(one, false);
        sets.sweep();
        assert_eq!((sets.used(), sets.paths(one).len()), (0, 0));
        // A tunnel is two next hops.
        let tunnel = [Path { target: Target::Interface(Key::Gre(0)), weight: 1 }];
        let (v4, v6) = (sets.number(Family::V4, &tunnel), sets.number(Family::V6, &tunnel));
        assert_ne!(v4, v6);
        assert_eq!((sets.family(v4), sets.family(v6)), (Family::V4, Family::V6));
    }
}
