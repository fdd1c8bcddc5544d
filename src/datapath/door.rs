//! Who may come in: the inner sources of a tunnel (`allow`, `rpf`), the port its
//! packets have to arrive on (`port`), and the reverse-path check of ports and
//! VLANs (`rpf`; RFC 1812 §5.3.8, RFC 2827, RFC 3704). Packet filters stand behind
//! the last of these ([`filter`]).
//!
//! Everything here is apart from the way that packets mostly go: a tunnel that
//! asks nothing is [`Tunnel::plain`], and without a check on any port nobody is
//! looked at. What is kept out is dropped silently, counted, and now and then a
//! copy goes to control, which writes it to the log.

use std::net::IpAddr;

use super::burst::{Packets, Set, Slot};
use super::drop::DropReason;
use super::filter;
use super::keepalive;
use super::verdict::Turn;
use crate::buf::PacketBuf;
use crate::ids::{IfId, NextHopId};
use crate::model::spec::ReversePath;
use crate::tables::adjacency::AdjacencyKind;
use crate::tables::tunnel::Tunnel;

/// Refuses a tunnel's packet that arrived on another interface than it has to.
#[cold]
pub(crate) fn arrival<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    slot: Slot,
    tunnel: &Tunnel,
    arrived: IfId,
) -> Result<(), DropReason> {
    if tunnel.arrival == IfId::NONE || tunnel.arrival == arrived {
        return Ok(());
    }
    refuse(packets, turn, slot, DropReason::WrongArrival)
}

/// Refuses a packet out of a guarded tunnel for its source.
#[cold]
pub(crate) fn inner<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    slot: Slot,
    tunnel: &Tunnel,
) -> Result<(), DropReason> {
    let door = turn.tables.doors.load(tunnel.interface.index(), turn.guard);
    let Some(door) = door.filter(|_| tunnel.guarded) else { return Ok(()) };
    if !door.allows(packets.source(slot)) {
        return refuse(packets, turn, slot, DropReason::SourceNotAllowed);
    }
    // The routes of a tunnel that is taken for dead are withdrawn: what shows that
    // it is not has none.
    let proof = tunnel.probed && keepalive::is_probe_answer(packets, slot);
    if !proof && !is_reached(packets, turn, slot, door.reverse_path) {
        return refuse(packets, turn, slot, DropReason::ReversePath);
    }
    Ok(())
}

/// Looks at what arrived: the reverse path of ports and VLANs that ask for it,
/// then the filters of all interfaces; gives those that may go on.
#[cold]
#[inline(never)]
pub(crate) fn outer<B: PacketBuf>(packets: &mut Packets<B>, turn: &mut Turn<'_>, all: Set) -> Set {
    // What comes out of them will be new.
    let admitted = all & packets.admitted;
    packets.admitted = packets.admitted & !all;
    let mut good = all & !admitted;
    if !turn.interfaces.reverse_path.is_empty() {
        good = reached(packets, turn, good);
    }
    if let Some(filters) = &turn.interfaces.filters {
        good = filter::apply(packets, turn, filters, good);
    }
    good | admitted
}

/// Those whose sources are where they came from.
fn reached<B: PacketBuf>(packets: &mut Packets<B>, turn: &mut Turn<'_>, all: Set) -> Set {
    let_in(packets, turn, all, |packets, turn, slot| {
        let check = turn.interfaces.reverse_path(packets.in_if[slot.at()]);
        match is_reached(packets, turn, slot, check) {
            true => Ok(()),
            false => refuse(packets, turn, slot, DropReason::ReversePath),
        }
    })
}

/// Asks `judge` of each packet that arrived, and drops those that it refuses; gives
/// the others.
pub(super) fn let_in<'t, B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'t>,
    all: Set,
    mut judge: impl FnMut(&mut Packets<B>, &mut Turn<'t>, Slot) -> Result<(), DropReason>,
) -> Set {
    let mut good = all;
    for slot in (all & !packets.headers.originated).slots() {
        if let Err(reason) = judge(packets, turn, slot) {
            good.remove(slot);
            packets.drop(turn, slot, reason);
        }
    }
    good
}

/// A sample for the log, and the reason.
fn refuse<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    slot: Slot,
    reason: DropReason,
) -> Result<(), DropReason> {
    packets.notify(turn, slot, reason, 0);
    Err(reason)
}

/// True if a packet's source is where it came from, as far as is asked.
/// Link-local sources belong to every link, and forwarding refuses them.
fn is_reached<B>(packets: &Packets<B>, turn: &Turn<'_>, slot: Slot, check: ReversePath) -> bool {
    let source = packets.source(slot);
    let by = match check {
        ReversePath::Off => return true,
        _ if matches!(source, IpAddr::V6(source) if source.is_unicast_link_local()) => return true,
        ReversePath::Loose => None,
        ReversePath::Strict => Some(packets.in_if[slot.at()]),
    };
    let tables = turn.tables;
    let hop = match source {
        IpAddr::V4(source) => tables.fib4.lookup(source.to_bits(), turn.guard),
        IpAddr::V6(source) => tables.fib6.lookup(source.to_bits(), turn.guard),
    };
    if hop.group_index().is_none() {
        return leads(turn, hop, by);
    }
    let groups = tables.groups.view(turn.guard);
    let mut last = NextHopId::NO_ROUTE;
    groups.buckets(hop).is_some_and(|buckets| {
        buckets
            .iter()
            .any(|hop| std::mem::replace(&mut last, *hop) != *hop && leads(turn, *hop, by))
    })
}

/// True if a next hop leads out of the box: by this interface, or by any. One
/// that cannot be used now counts: the way back is the same.
fn leads(turn: &Turn<'_>, hop: NextHopId, by: Option<IfId>) -> bool {
    let adjacency = turn.tables.adjacencies.get(hop.index(), turn.guard);
    match adjacency.kind {
        AdjacencyKind::NoRoute
        | AdjacencyKind::Blackhole
        | AdjacencyKind::Local
        | AdjacencyKind::Broadcast => false,
        // Of a reject route and of one that does not resolve.
        _ if adjacency.out_if == IfId::NONE => false,
        _ => by.is_none_or(|by| by == adjacency.out_if),
    }
}
