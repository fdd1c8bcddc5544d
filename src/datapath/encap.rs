//! Putting a packet into a tunnel: one copy of the finished bytes in front of
//! it, then the fields of the outer header that change per packet.
//!
//! ```text
//!   adjacency.rewrite  │ link header │ outer IPv4 (sum in partial_checksum) │ GRE │
//!   patched                            ^^ TOS, length, id + DF, TTL, checksum
//!   behind it                                                                     │ inner …
//! ```
//!
//! TTL, DSCP and DF are the template's unless [`flags`] say "copy"; the ECN
//! field is always copied (RFC 6040 §4.1, normal mode). Checksum and sequence
//! number of a GRE header are `gre`'s.

use super::burst::{Packets, Slot};
use super::drop::DropReason;
use super::rewrite::{TAGGED_LEN, reframe};
use super::{ecn, gre};
use crate::buf::PacketBuf;
use crate::tables::adjacency::{Adjacency, REWRITE_ROOM, flags};
use crate::tables::sequence::Sequences;
use crate::wire::checksum::finish;
use crate::wire::ether::ETHER_LEN;
use crate::wire::gre::GRE_LEN;
use crate::wire::ipv4::{FLAG_DF, IPV4_LEN, IPV4_MAX_TOTAL, TTL_OFFSET};

/// What the outer header takes from the packet inside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inner {
    /// Total length in bytes.
    pub total: usize,
    /// DSCP and ECN.
    pub tos: u8,
    /// TTL, after the step of forwarding.
    pub ttl: u8,
    /// "Don't fragment".
    pub df: bool,
}

/// Finishes a packet for a tunnel adjacency. `id` counts identifications.
#[inline(always)]
pub(crate) fn apply<B: PacketBuf>(
    packets: &mut Packets<B>,
    slot: Slot,
    adjacency: &Adjacency,
    id: &mut u16,
    sequences: &Sequences,
) -> Result<(), DropReason> {
    let headers = &packets.headers;
    let w2 = headers.next.get(slot);
    let inner = Inner {
        total: headers.total(slot),
        tos: headers.tos(slot),
        ttl: (w2 >> 24) as u8,
        df: headers.dont_fragment(slot),
    };
    let l3 = usize::from(packets.l3[slot.at()]);
    let Some(buf) = packets.burst.get_mut(slot.at()) else { return Err(DropReason::NoHeadroom) };
    if put(buf, l3, w2, inner, adjacency, id, sequences) {
        Ok(())
    } else {
        Err(DropReason::NoHeadroom)
    }
}

/// Puts the tunnel's headers before the datagram that starts at `l3`, whose
/// third word becomes `w2`. False if there is no room.
#[inline(always)]
pub(crate) fn put<B: PacketBuf>(
    buf: &mut B,
    l3: usize,
    w2: u32,
    inner: Inner,
    adjacency: &Adjacency,
    id: &mut u16,
    sequences: &Sequences,
) -> bool {
    /// Whole length of the usual stacks.
    const GRE: usize = ETHER_LEN + IPV4_LEN + GRE_LEN;
    const IPIP: usize = ETHER_LEN + IPV4_LEN;
    let ahead = usize::from(adjacency.rewrite_len);
    if !reframe(buf, l3, ahead, inner.total) {
        return false;
    }
    match ahead {
        // The length is a constant in each arm, and so is the copy.
        GRE => fill(buf, GRE, w2, inner, adjacency, id),
        IPIP => fill(buf, IPIP, w2, inner, adjacency, id),
        _ => {
            fill(buf, ahead.min(REWRITE_ROOM), w2, inner, adjacency, id)
                && gre::finish(buf, adjacency, sequences)
        }
    }
}

#[inline(always)]
fn fill<B: PacketBuf>(
    buf: &mut B,
    ahead: usize,
    w2: u32,
    inner: Inner,
    adjacency: &Adjacency,
    id: &mut u16,
) -> bool {
    let Some(front) = buf.data_mut().get_mut(..ahead + IPV4_LEN) else { return false };
    let (front, datagram) = front.split_at_mut(ahead);
    front.copy_from_slice(&adjacency.rewrite[..ahead]);
    datagram[TTL_OFFSET..TTL_OFFSET + 4].copy_from_slice(&w2.to_be_bytes());
    let l2 = if adjacency.l2_len == ETHER_LEN as u8 { ETHER_LEN } else { TAGGED_LEN };
    let outer_total = ahead + inner.total - l2;
    let Some(outer) = front.get_mut(l2..).and_then(|outer| outer.first_chunk_mut()) else {
        return false;
    };
    if outer_total > IPV4_MAX_TOTAL {
        return false;
    }
    patch(outer, outer_total, inner, adjacency, id);
    true
}

/// Sets the fields of the outer header that change, and its checksum.
#[inline(always)]
fn patch(
    outer: &mut [u8; IPV4_LEN],
    total: usize,
    inner: Inner,
    adjacency: &Adjacency,
    id: &mut u16,
) {
    let [a, b, c, d, ..] = *outer;
    let old = u32::from_be_bytes([a, b, c, d]);
    let tos = if adjacency.flags & flags::COPY_DSCP != 0 {
        inner.tos
    } else {
        b & !ecn::MASK | ecn::field(inner.tos)
    };
    let new = u32::from(a) << 24 | u32::from(tos) << 16 | total as u32;
    let mut sum = adjacency.partial_checksum + delta(old, new);
    outer[..4].copy_from_slice(&new.to_be_bytes());
    if adjacency.flags & (flags::COPY_DF | flags::COPY_TTL) != 0 {
        sum += patch_copied(outer, inner, adjacency.flags, id);
    }
    outer[10..12].copy_from_slice(&finish(sum).to_be_bytes());
}

/// The fields that only some tunnels copy; gives what that adds to the sum.
#[inline]
fn patch_copied(outer: &mut [u8; IPV4_LEN], inner: Inner, copied: u8, id: &mut u16) -> u32 {
    let mut sum = 0;
    if copied & flags::COPY_DF != 0 {
        let [_, _, _, _, a, b, c, d, ..] = *outer;
        let old = u32::from_be_bytes([a, b, c, d]);
        let df = u32::from(FLAG_DF);
        let new = if inner.df {
            old | df
        } else {
            // It may be cut on its way: the id must not repeat (V4-04).
            *id = id.wrapping_add(1);
            u32::from(*id) << 16 | old & 0xffff & !df
        };
        outer[4..8].copy_from_slice(&new.to_be_bytes());
        sum += delta(old, new);
    }
    if copied & flags::COPY_TTL != 0 {
        let word = |ttl: u8| u32::from(ttl) << 8;
        sum += delta(word(outer[TTL_OFFSET]), word(inner.ttl));
        outer[TTL_OFFSET] = inner.ttl;
    }
    sum
}

/// What replacing one word by another adds to a ones' complement sum: RFC 1624
/// eqn. 3 for both halves, not folded.
#[inline(always)]
fn delta(old: u32, new: u32) -> u32 {
    (!old >> 16) + (!old & 0xffff) + (new >> 16) + (new & 0xffff)
}
