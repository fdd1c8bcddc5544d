//! Longest prefix match for all packets on their way through, then the
//! adjacencies they lead to, their memory accesses overlapped.

use arrayvec::ArrayVec;

use super::burst::{List, Packets};
use super::verdict::Turn;
use crate::buf::BURST;
use crate::ids::NextHopId;
use crate::tables::adjacency::Adjacency;
use crate::tables::epoch::prefetch;

/// The adjacencies of the packets of a list, in its order. Valid until the
/// worker's guard is repinned, that is, for this burst.
pub(crate) type Adjacencies<'t> = ArrayVec<&'t Adjacency, BURST>;

/// Looks up the destinations of the packets in `transit`; what they lead to is
/// then in `adjacencies`.
pub(crate) fn lookup<'t, B>(
    packets: &mut Packets<B>,
    turn: &Turn<'t>,
    transit: &List,
    adjacencies: &mut Adjacencies<'t>,
) {
    let slots = transit.slots();
    let mut hops = [NextHopId::NO_ROUTE; BURST];
    let hops = &mut hops[..slots.len()];
    let mut gathered = [0; BURST];
    for (key, slot) in gathered.iter_mut().zip(slots) {
        *key = packets.headers.dst.get(*slot);
    }
    turn.tables.fib4.lookup_fetched(&gathered[..slots.len()], hops, turn.guard);

    let table = turn.tables.adjacencies.view(turn.guard);
    adjacencies.clear();
    for (slot, hop) in slots.iter().zip(hops) {
        packets.hop[slot.at()] = *hop;
        let adjacency = table.get(hop.index());
        prefetch(adjacency);
        adjacencies.push(adjacency);
    }
}
