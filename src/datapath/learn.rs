//! Packets whose outer header is no tunnel's: those with the key of one that
//! learns its far end move it, if control agrees (`src/control/far_ends.rs`).
//!
//! Here ends a packet that would have been dropped anyway, so the way of the
//! others costs nothing. It has to be one that the tunnel would let in: its
//! checksum was verified when it was opened, and doors are asked. The packet
//! itself ends with control; the next one finds its tunnel.

use std::net::IpAddr;

use super::burst::{Packets, Set, Slot};
use super::decap::{self, Opened};
use super::door;
use super::drop::DropReason;
use super::verdict::Turn;
use crate::buf::PacketBuf;
use crate::exchange::PuntReason;
use crate::tables::tunnel::{Ends, Tunnel, mapped};

/// Ends all packets that no tunnel was found for.
#[cold]
#[inline(never)]
pub(crate) fn all<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    opened: &Opened,
    unknown: Set,
) {
    for slot in unknown.slots() {
        match teach(packets, turn, opened, slot) {
            Ok(source) => {
                let told = [source, inner_source(packets, slot)].map(u128::to_be_bytes);
                let notice = packets.notice(slot, 0);
                let outcome = turn.punter.punt(PuntReason::Learn, notice, told.as_flattened());
                packets.punted(turn, slot, PuntReason::Learn, outcome);
            }
            Err(reason) => packets.drop(turn, slot, reason),
        }
    }
}

/// The outer source of a packet that is good enough to move a tunnel there. From
/// here on it is one that arrived on the tunnel.
fn teach<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    opened: &Opened,
    slot: Slot,
) -> Result<u128, DropReason> {
    let (decap, key) = (&turn.tables.decap, opened.keys[slot.at()]);
    let hashed = opened.hashed.contains(slot);
    let ends = opened.ends[slot.at()];
    let (anybody, source) = match hashed {
        true => (decap.ends().from_anybody(key, &ends), ends.source),
        false => (key.from_anybody(), mapped(key.0 as u32)),
    };
    let index = decap.get(anybody, turn.guard).ok_or(DropReason::UnknownTunnel)?;
    let tunnel = *turn.tables.tunnels.get(index as usize, turn.guard);
    if hashed && !fits(&ends, &tunnel) {
        return Err(DropReason::UnknownTunnel);
    }
    decap::summed(packets, slot, &tunnel, opened)?;
    decap::sound(packets, turn, slot, &tunnel)?;
    door::inner(packets, turn, slot, &tunnel)?;
    Ok(source)
}

/// What a hash stands for, but for the source, is the tunnel's.
fn fits(ends: &Ends, tunnel: &Tunnel) -> bool {
    let own = tunnel.ends();
    (ends.destination, ends.port) == (own.destination, own.port)
}

/// The source of the packet inside; of IPv4 the mapped address.
fn inner_source<B>(packets: &Packets<B>, slot: Slot) -> u128 {
    match packets.source(slot) {
        IpAddr::V4(source) => mapped(source.to_bits()),
        IpAddr::V6(source) => source.to_bits(),
    }
}
