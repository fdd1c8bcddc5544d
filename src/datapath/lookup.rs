//! Longest prefix match for the packets on their way through, then for those
//! that meet a group of next hops the one of their flow, then the adjacencies
//! they lead to, memory accesses overlapped.

use super::burst::{Packets, Set, Slot};
use super::verdict::Turn;
use crate::buf::{BURST, PacketBuf};
use crate::flow::{self, FlowHash};
use crate::ids::NextHopId;
use crate::tables::adjacency::Adjacency;
use crate::tables::epoch::prefetch;
use crate::wire::ipv6::IPV6_LEN;

/// The adjacencies of a burst's packets, by number. Valid until the worker's
/// guard is repinned, that is, for this burst.
pub(crate) type Adjacencies<'t> = [&'t Adjacency; BURST];

/// What packets not looked up lead to.
static NOWHERE: Adjacency = Adjacency::NOWHERE;

/// None looked up.
#[inline(always)]
pub(crate) fn none<'t>() -> Adjacencies<'t> {
    [&NOWHERE; BURST]
}

/// Looks up the destinations of the packets in `transit`; what they lead to is
/// then in `adjacencies`. Those in between are looked up, too, since a run of
/// columns is quicker than a choice; but they keep the next hop they met before:
/// a packet to be cut is cut for that one.
#[inline(always)]
pub(crate) fn lookup<'t, B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &Turn<'t>,
    transit: Set,
    adjacencies: &mut Adjacencies<'t>,
) {
    let n = transit.end().min(BURST);
    let others = Set::first(n) & !transit;
    let before = if others.is_empty() { None } else { Some(packets.hop) };
    let hops = &mut packets.hop[..n];
    turn.tables.fib4.lookup_fetched(packets.headers.dst.first(n), hops, turn.guard);
    // An OR over the column, a few instructions for a burst: all that those pay
    // who meet no group.
    let met = hops.iter().fold(0, |met, hop| met | hop.0);
    if met & NextHopId::GROUP != 0 {
        pick(packets, turn, transit);
    }
    if let Some(before) = before {
        for slot in others.slots() {
            packets.hop[slot.at()] = before[slot.at()];
        }
    }

    let hops = &packets.hop[..n];
    let table = turn.tables.adjacencies.view(turn.guard);
    for (adjacency, hop) in adjacencies.iter_mut().zip(hops) {
        *adjacency = table.get(hop.index());
        prefetch(*adjacency);
    }
}

/// [`lookup`] for IPv6 packets: only those in `transit`, side by side.
pub(crate) fn lookup6<'t, B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &Turn<'t>,
    transit: Set,
    adjacencies: &mut Adjacencies<'t>,
) {
    let (mut addresses, mut hops) = ([0; BURST], [NextHopId::NO_ROUTE; BURST]);
    let mut count = 0;
    for slot in transit.slots() {
        addresses[count % BURST] = packets.headers6.dst[slot.at()];
        count += 1;
    }
    let (addresses, found) = (&addresses[..count.min(BURST)], &mut hops[..count.min(BURST)]);
    turn.tables.fib6.lookup_bulk(addresses, found, turn.guard);
    let mut met = 0;
    for (slot, hop) in transit.slots().zip(&*found) {
        packets.hop[slot.at()] = *hop;
        met |= hop.0;
    }
    if met & NextHopId::GROUP != 0 {
        pick(packets, turn, transit);
    }
    let table = turn.tables.adjacencies.view(turn.guard);
    for slot in transit.slots() {
        let adjacency = table.get(packets.hop[slot.at()].index());
        adjacencies[slot.at()] = adjacency;
        prefetch(adjacency);
    }
}

/// Puts in place of each group the next hop that has the packet's flow.
#[inline(never)]
fn pick<B: PacketBuf>(packets: &mut Packets<B>, turn: &Turn<'_>, transit: Set) {
    let groups = turn.tables.groups.view(turn.guard);
    for slot in transit.slots() {
        let hop = packets.hop[slot.at()];
        if hop.group_index().is_some() {
            let flow = flow(packets, &turn.tables.flow, slot);
            packets.hop[slot.at()] = groups.pick(hop, flow);
        }
    }
}

/// The flow of a packet that passed validation.
#[inline(always)]
pub(crate) fn flow<B: PacketBuf>(packets: &Packets<B>, hash: &FlowHash, slot: Slot) -> u32 {
    if packets.six.contains(slot) {
        return flow6(packets, hash, slot);
    }
    let headers = &packets.headers;
    let data = packets.burst.get(slot.at()).map_or(&[][..], PacketBuf::data);
    let from = usize::from(packets.l3[slot.at()]);
    // Ports lie within the datagram, not in what pads its frame.
    let to = (from + headers.total(slot)).min(data.len());
    let behind = data.get(from + headers.header_len(slot)..to).unwrap_or_default();
    let protocol = headers.protocol(slot);
    let ports = flow::ports(headers.w1.get(slot), protocol, behind);
    hash.ends(headers.src.get(slot), headers.dst.get(slot), protocol, ports)
}

#[inline]
fn flow6<B: PacketBuf>(packets: &Packets<B>, hash: &FlowHash, slot: Slot) -> u32 {
    let headers = &packets.headers6;
    let protocol = headers.next_header(slot);
    let behind = packets.datagram(slot).get(IPV6_LEN..).unwrap_or_default();
    let ports = flow::ports(0, protocol, behind);
    hash.ends6(headers.src[slot.at()], headers.dst[slot.at()], protocol, ports)
}
