//! Longest prefix match for the packets on their way through, then the
//! adjacencies they lead to, their memory accesses overlapped.

use super::burst::{Packets, Set};
use super::verdict::Turn;
use crate::buf::BURST;
use crate::tables::adjacency::Adjacency;
use crate::tables::epoch::prefetch;

/// The adjacencies of a burst's packets, by number. Valid until the worker's
/// guard is repinned, that is, for this burst.
pub(crate) type Adjacencies<'t> = [&'t Adjacency; BURST];

/// What packets not looked up lead to.
static NOWHERE: Adjacency = Adjacency::NOWHERE;

/// None looked up.
pub(crate) fn none<'t>() -> Adjacencies<'t> {
    [&NOWHERE; BURST]
}

/// Looks up the destinations of the packets in `transit`; what they lead to is
/// then in `adjacencies`. Those in between are looked up, too: a run of columns
/// is quicker than a choice, and nobody asks for theirs.
pub(crate) fn lookup<'t, B>(
    packets: &mut Packets<B>,
    turn: &Turn<'t>,
    transit: Set,
    adjacencies: &mut Adjacencies<'t>,
) {
    let n = transit.end().min(BURST);
    let hops = &mut packets.hop[..n];
    turn.tables.fib4.lookup_fetched(packets.headers.dst.first(n), hops, turn.guard);

    let table = turn.tables.adjacencies.view(turn.guard);
    for (adjacency, hop) in adjacencies.iter_mut().zip(hops) {
        *adjacency = table.get(hop.index());
        prefetch(*adjacency);
    }
}
