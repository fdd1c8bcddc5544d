//! F1: lookups in bursts of 64, random hits, ours and DPDK's in turns.

use std::hint::black_box;
use std::ops::Range;

use greyhound::ids::NextHopId;
use greyhound::tables::epoch::Domain;
use greyhound::tables::fib4::Fib4;
use greyhound::tables::fib6::Fib6;

use crate::changes::Table;
use crate::report::{Bar, Row, Sample, clocks, ratio};
use crate::work::{self, Random};

/// Addresses of a burst.
pub const BURST: usize = 64;
/// Different addresses looked up, in sequence.
pub const ADDRESSES: usize = 1 << 20;
/// Addresses of one window, a few milliseconds; as many before it are not
/// measured, so that each finds its own table in the caches.
const WINDOW: usize = 1 << 16;
/// Windows of each.
const WINDOWS: usize = 31;

/// Who looks up: a name, and how to look up a range of the addresses.
type Looker<'a> = (&'static str, Box<dyn FnMut(Range<usize>) + 'a>);

/// Clocks per lookup, window by window, of each.
fn race(lookers: &mut [Looker<'_>]) -> Vec<Vec<f64>> {
    let mut clk = vec![Vec::new(); lookers.len()];
    for window in 0..WINDOWS {
        let first = window * 2 * WINDOW % ADDRESSES;
        for (n, (_, look)) in lookers.iter_mut().enumerate() {
            look(first..first + WINDOW);
            let began = clocks();
            look(first + WINDOW..first + 2 * WINDOW);
            clk[n].push((clocks() - began) as f64 / WINDOW as f64);
        }
    }
    clk
}

/// Runs and tells; the first is ours.
fn compare(what: &str, mut lookers: Vec<Looker<'_>>) {
    let clk = race(&mut lookers);
    let ours = Sample::of(&clk[0]);
    let row = |what, peer, ratio, bar| {
        Row { id: "F1", what, unit: "clk per lookup", ours, peer, ratio, bar }.tell();
    };
    row(format!("{what}: ours"), None, None, Bar::None);
    for ((name, _), clk_of) in lookers.iter().zip(&clk).skip(1) {
        let peer = Some(Sample::of(clk_of));
        row(format!("{what}: / {name}"), peer, Some(ratio(&clk[0], clk_of)), Bar::Ratio(1.0));
    }
}

fn ours<'a, T: Table>(table: &'a T, domain: &Domain, addresses: &'a [T::Address]) -> Looker<'a> {
    let mut guard = domain.pin();
    let mut hops = [NextHopId::NO_ROUTE; BURST];
    let look = move |range: Range<usize>| {
        for burst in addresses[range].chunks_exact(BURST) {
            table.look(burst, &mut hops, &guard);
            black_box(&hops);
            guard.repin();
        }
    };
    ("ours", Box::new(look))
}

#[cfg(feature = "dpdk")]
mod beside {
    use super::*;
    use crate::peers::Peer;

    /// Lookers of a peer, with and without AVX-512.
    pub fn theirs<'a, P: Peer>(
        peer: &'a std::cell::RefCell<P>,
        names: [&'static str; 2],
        addresses: &'a [P::Address],
    ) -> Vec<Looker<'a>> {
        let looker = |name: &'static str, avx512| -> Option<Looker<'a>> {
            if !peer.borrow_mut().avx512(avx512) {
                println!("{name}: not on this CPU");
                return None;
            }
            let mut hops = [0; BURST];
            let look = move |range: Range<usize>| {
                peer.borrow_mut().avx512(avx512);
                let peer = peer.borrow();
                for burst in addresses[range].chunks_exact(BURST) {
                    peer.look(burst, &mut hops);
                    black_box(&hops);
                }
            };
            Some((name, Box::new(look)))
        };
        let [scalar, wide] = names;
        [looker(scalar, false), looker(wide, true)].into_iter().flatten().collect()
    }

    /// Fails unless both answer the same.
    pub fn same<T: Table, P: Peer>(
        table: &T,
        domain: &Domain,
        addresses: &[T::Address],
        peer: &P,
        theirs: &[P::Address],
    ) {
        let guard = domain.pin();
        let (mut hops, mut others) = ([NextHopId::NO_ROUTE; BURST], [0; BURST]);
        for (burst, other) in addresses.chunks_exact(BURST).zip(theirs.chunks_exact(BURST)) {
            table.look(burst, &mut hops, &guard);
            peer.look(other, &mut others);
            let same = hops.iter().zip(others).all(|(a, b)| u64::from(a.0) == b);
            assert!(same, "the peer's answers differ");
        }
    }
}

/// A million IPv4 routes.
pub fn ipv4(count: usize) {
    let mut random = Random::new();
    let prefixes = work::ipv4(count, &mut random);
    let addresses = work::ipv4_hits(&prefixes, ADDRESSES, &mut random);
    let domain = Domain::new();
    let fib = Fib4::new(&domain, 1 << 16);
    for (n, prefix) in prefixes.iter().enumerate() {
        fib.add(*prefix, NextHopId(work::hop(n)));
    }
    let what = format!("{count} IPv4 routes");
    let lookers = vec![ours(&fib, &domain, &addresses)];
    #[cfg(feature = "dpdk")]
    {
        let peer = std::cell::RefCell::new(crate::peers::ipv4(&prefixes));
        let mut lookers = lookers;
        let names = ["rte_fib scalar", "rte_fib AVX-512"];
        lookers.extend(beside::theirs(&peer, names, &addresses));
        compare(&what, lookers);
        beside::same(&fib, &domain, &addresses, &*peer.borrow(), &addresses);
    }
    #[cfg(not(feature = "dpdk"))]
    compare(&what, lookers);
}

/// Two hundred thousand IPv6 routes.
pub fn ipv6(count: usize) {
    let mut random = Random::new();
    let prefixes = work::ipv6(count, &mut random);
    let addresses = work::ipv6_hits(&prefixes, ADDRESSES, &mut random);
    let domain = Domain::new();
    let fib = Fib6::new(&domain, 1 << 20, 1 << 19);
    for (n, prefix) in prefixes.iter().enumerate() {
        fib.add(*prefix, NextHopId(work::hop(n)));
    }
    let what = format!("{count} IPv6 routes");
    let lookers = vec![ours(&fib, &domain, &addresses)];
    #[cfg(feature = "dpdk")]
    {
        let bytes: Vec<[u8; 16]> = addresses.iter().map(|a| a.to_be_bytes()).collect();
        let peer = std::cell::RefCell::new(crate::peers::ipv6(&prefixes));
        let mut lookers = lookers;
        let names = ["rte_fib6 scalar", "rte_fib6 AVX-512"];
        lookers.extend(beside::theirs(&peer, names, &bytes));
        compare(&what, lookers);
        beside::same(&fib, &domain, &addresses, &*peer.borrow(), &bytes);
    }
    #[cfg(not(feature = "dpdk"))]
    compare(&what, lookers);
}
