//! Packets that control hands over: ARP and ICMP it made, datagrams it held
//! while their next hop was resolved. And fragments that other workers hand over.
//!
//! Each is copied into a buffer from the worker's own pool. They count as
//! received from [`PortId::CONTROL`], and from there on they are packets like
//! all others.

use super::burst::{Packets, Set, Slot};
use super::classify::{gather_at, gather6_at};
use super::drop::DropReason;
use super::forward::{V4, V6, forward};
use super::ipv4;
use super::lookup::Adjacencies;
use super::tx::Outputs;
use super::verdict::{Turn, Verdict};
use crate::buf::{PacketBuf, PacketIo};
use crate::exchange::{InjectKind, InjectSlot};
use crate::ids::{IfId, MAX_PORTS};

/// Datagrams taken from the inbox.
pub(crate) struct Waiting {
    /// To be looked up, or served.
    pub pending: Set,
    /// To go into the tunnels they are for.
    pub directed: Set,
}

impl Waiting {
    pub(crate) const NONE: Waiting = Waiting { pending: Set::EMPTY, directed: Set::EMPTY };
}

/// Takes what waits in the inbox, a burst at most. Datagrams are then
/// `waiting`, validated; finished frames have their verdict. Gives how many
/// packets were taken.
pub(crate) fn take<I: PacketIo>(
    io: &mut I,
    outputs: &mut Outputs<I::Buf>,
    packets: &mut Packets<I::Buf>,
    turn: &mut Turn<'_>,
    waiting: &mut Waiting,
) -> usize {
    packets.begin(IfId::NONE);
    let mut taken = 0;
    while taken < packets.burst.capacity() {
        let copied = turn.punter.end.take(|slot| {
            let bytes = slot.bytes.get().len() as u64;
            (slot.kind, bytes, copy(io, slot))
        });
        let Some((kind, bytes, copied)) = copied else { break };
        taken += 1;
        turn.ledger.received.add(1);
        turn.ledger.received_bytes.add(bytes);
        match copied {
            Ok(buf) => place(packets, turn, kind, buf, waiting),
            Err((reason, buf)) => {
                refuse(turn, kind, reason);
                if let Some(buf) = buf {
                    outputs.discard(io, buf);
                }
            }
        }
    }
    ipv4::validate(packets, turn);
    taken
}

/// Takes what another worker gave, a burst at most and all of the turn's origin,
/// and lets it in as what it was found to be there.
pub(crate) fn take_parcels<B: PacketBuf>(
    outputs: &mut Outputs<B>,
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    inlet: usize,
    pending: &mut Set,
) -> usize {
    packets.begin(IfId::NONE);
    let Some(meeting) = &mut outputs.meeting else { return 0 };
    while !packets.burst.is_full()
        && let Some(parcel) = meeting.take(inlet, turn.origin)
    {
        let slot = Slot::new(packets.burst.len());
        let l3 = usize::from(parcel.l3);
        packets.burst.push(parcel.buf);
        packets.in_if[slot.at()] = parcel.in_if;
        packets.headers.group.insert_if(slot, parcel.group);
        let gathered = match parcel.six {
            true => gather6_at(packets, turn, slot, l3),
            false => gather_at(packets, slot, l3),
        };
        match gathered {
            Ok(()) => pending.insert(slot),
            Err(reason) => packets.drop(turn, slot, reason),
        }
        packets.admitted.insert(slot);
    }
    let taken = packets.burst.len();
    turn.ledger.taken.add(taken as u64);
    ipv4::validate(packets, turn);
    taken
}

/// The packet in a buffer of ours; or why not, and the buffer to be freed.
fn copy<I: PacketIo>(
    io: &mut I,
    slot: &InjectSlot,
) -> Result<I::Buf, (DropReason, Option<I::Buf>)> {
    let bytes = slot.bytes.get();
    let Some(mut buf) = io.alloc() else { return Err((DropReason::NoBuffer, None)) };
    if !buf.append(bytes.len()) {
        return Err((DropReason::TooLarge, Some(buf)));
    }
    buf.data_mut().copy_from_slice(bytes);
    Ok(buf)
}

/// Puts a packet into the burst.
fn place<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    kind: InjectKind,
    buf: B,
    waiting: &mut Waiting,
) {
    let slot = Slot::new(packets.burst.len());
    packets.burst.push(buf);
    let (in_if, originated) = match kind {
        InjectKind::Frame { port, out_if } => {
            packets.out_if[slot.at()] = out_if;
            if port.index() < MAX_PORTS {
                packets.verdict[slot.at()] = Verdict::send(port);
            } else {
                packets.drop_out(turn, slot, DropReason::InterfaceDown, out_if);
            }
            return;
        }
        InjectKind::Originate => (IfId::NONE, true),
        InjectKind::Into { next_hop, .. } => {
            packets.hop[slot.at()] = next_hop;
            (IfId::NONE, true)
        }
        InjectKind::Forward { in_if } => (in_if, false),
    };
    packets.in_if[slot.at()] = in_if;
    packets.headers.originated.insert_if(slot, originated);
    let first = packets.burst.get(slot.at()).and_then(|buf| buf.data().first());
    let gathered = match first.map(|first| first >> 4) {
        Some(6) => gather6_at(packets, turn, slot, 0),
        _ => gather_at(packets, slot, 0),
    };
    match (gathered, kind) {
        (Ok(()), InjectKind::Into { tunnel, .. }) => {
            match leads_into(packets, turn, slot, tunnel) {
                true => waiting.directed.insert(slot),
                false => packets.drop_out(turn, slot, DropReason::Unreachable, tunnel),
            }
        }
        (Ok(()), _) => waiting.pending.insert(slot),
        (Err(reason), _) => packets.drop(turn, slot, reason),
    }
}

/// True if the adjacency that control named is that tunnel's still: numbers are
/// given anew.
fn leads_into<B>(packets: &Packets<B>, turn: &Turn<'_>, slot: Slot, tunnel: IfId) -> bool {
    let hop = packets.hop[slot.at()];
    hop.group_index().is_none()
        && turn.tables.adjacencies.get(hop.index(), turn.guard).out_if == tunnel
}

/// Sends packets into the tunnels they are for. None of them is looked up, so
/// what routes say of a tunnel, or liveness, keeps none out.
#[inline(never)]
pub(crate) fn direct<'t, B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'t>,
    directed: Set,
    adjacencies: &mut Adjacencies<'t>,
) {
    let table = turn.tables.adjacencies.view(turn.guard);
    for slot in directed.slots() {
        adjacencies[slot.at()] = table.get(packets.hop[slot.at()].index());
    }
    // A tunnel's adjacency never says that a packet is for us.
    let mut local = Set::EMPTY;
    let six = directed & packets.six;
    forward::<V4, B>(packets, turn, directed & !six, adjacencies, &mut local);
    forward::<V6, B>(packets, turn, six, adjacencies, &mut local);
}

/// Counts a packet that got no buffer.
fn refuse(turn: &mut Turn<'_>, kind: InjectKind, reason: DropReason) {
    match kind {
        InjectKind::Frame { out_if, .. } => turn.count_out(reason, out_if),
        InjectKind::Originate | InjectKind::Into { .. } => turn.count_in(reason, IfId::NONE),
        InjectKind::Forward { in_if } => turn.count_in(reason, in_if),
    }
}
