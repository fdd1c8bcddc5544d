//! The last hand on a packet that goes out as it is: TTL, and the link header
//! of the next hop in place of the old one.

use super::burst::{Packets, Slot};
use super::encap::{Inner6, front_of};
use crate::buf::PacketBuf;
use crate::tables::adjacency::Adjacency;
use crate::wire::checksum;
use crate::wire::ether::{ETHER_LEN, VLAN_LEN};
use crate::wire::ipv4::{IPV4_LEN, TTL_OFFSET};

/// Bytes of a tagged link header.
pub(crate) const TAGGED_LEN: usize = ETHER_LEN + VLAN_LEN;

/// The header's third word after a step of forwarding: TTL one less and the
/// checksum to match (RT-09).
#[inline(always)]
pub(crate) fn stepped(w2: u32) -> u32 {
    (w2 & 0xffff_0000).wrapping_sub(1 << 24) | u32::from(checksum::decrement_ttl(w2 as u16))
}

/// Finishes a packet for a [`Rewrite`](crate::tables::adjacency::AdjacencyKind)
/// adjacency. False if there is no room for the header.
#[inline(always)]
pub(crate) fn apply<B: PacketBuf>(
    packets: &mut Packets<B>,
    slot: Slot,
    adjacency: &Adjacency,
) -> bool {
    let total = packets.headers.total(slot);
    let w2 = packets.headers.next.get(slot);
    let l3 = usize::from(packets.l3[slot.at()]);
    let Some(buf) = packets.burst.get_mut(slot.at()) else { return false };
    match adjacency.l2_len {
        14 => put::<ETHER_LEN, B>(buf, l3, total, adjacency, w2),
        18 => put::<TAGGED_LEN, B>(buf, l3, total, adjacency, w2),
        _ => false,
    }
}

#[inline(always)]
fn put<const L2: usize, B: PacketBuf>(
    buf: &mut B,
    l3: usize,
    total: usize,
    adjacency: &Adjacency,
    w2: u32,
) -> bool {
    let Some(frame) = buf.reframe(l3, L2, total) else { return false };
    let Some(frame) = frame.get_mut(..L2 + IPV4_LEN) else { return false };
    frame[..L2].copy_from_slice(&adjacency.rewrite[..L2]);
    frame[L2 + TTL_OFFSET..L2 + TTL_OFFSET + 4].copy_from_slice(&w2.to_be_bytes());
    true
}

/// [`apply`] for an IPv6 packet.
#[inline(always)]
pub(crate) fn apply6<B: PacketBuf>(
    packets: &mut Packets<B>,
    slot: Slot,
    adjacency: &Adjacency,
) -> bool {
    let inner = Inner6::of(packets, slot);
    let l3 = usize::from(packets.l3[slot.at()]);
    let Some(buf) = packets.burst.get_mut(slot.at()) else { return false };
    let front = match adjacency.l2_len {
        14 => front_of(buf, l3, ETHER_LEN, inner, adjacency),
        18 => front_of(buf, l3, TAGGED_LEN, inner, adjacency),
        _ => None,
    };
    front.is_some()
}
