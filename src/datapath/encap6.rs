//! Into a tunnel over IPv6 (RFC 2473, RFC 7676): like `encap`, with an outer
//! header that has no checksum but a flow label.
//!
//! ```text
//!   adjacency.rewrite  │ link header │ outer IPv6 │ (limit on nesting) │ (UDP) │ (GRE) │
//!   patched                            ^^ traffic class, flow label, length, hop limit
//!   behind it                                                                            │ inner …
//! ```
//!
//! The flow label is the hash of the packet inside (RFC 6438), so that routers
//! between can spread flows without looking into them.

use super::burst::{Packets, Slot};
use super::encap::{Carried, front_of};
use super::ending::{Ending, has_ending, unusual};
use super::forward::Family;
use super::rewrite::TAGGED_LEN;
use super::verdict::Turn;
use super::{ecn, lookup};
use crate::buf::PacketBuf;
use crate::tables::Tables;
use crate::tables::adjacency::{Adjacency, AdjacencyKind, REWRITE_ROOM, flags};
use crate::wire::ether::ETHER_LEN;
use crate::wire::gre::GRE_LEN;
use crate::wire::ipv6::{
    HOP_LIMIT_OFFSET, IPV6_LEN, IPV6_MAX_PAYLOAD, PAYLOAD_LENGTH_OFFSET, chain,
};

/// Finishes a packet for an adjacency with an outer IPv6, all but its [`Ending`] if
/// it has one. False if there is no room for the headers, the underlay does not take
/// that much, or another worker is to do it.
#[inline(always)]
pub(crate) fn apply<F: Family, B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    slot: Slot,
    adjacency: &Adjacency,
) -> bool {
    const IP: usize = ETHER_LEN + IPV6_LEN;
    const LIMITED: usize = IP + 8;
    let inner = F::carried(packets, slot);
    let flow = lookup::flow(packets, &turn.tables.flow, slot);
    let l3 = usize::from(packets.l3[slot.at()]);
    let most = usize::from(adjacency.underlay_mtu);
    let Some(buf) = packets.burst.get_mut(slot.at()) else { return false };
    let fill = |buf: &mut B, ahead, l2| fill(buf, l3, ahead, l2, inner, flow, adjacency, most);
    // The lengths of the usual stacks are constants, and so is the copy.
    match usize::from(adjacency.rewrite_len) {
        _ if usize::from(adjacency.l2_len) != ETHER_LEN || has_ending(adjacency) => {
            unusual(packets, turn, slot, adjacency, |buf, l3, most, _| {
                headers(buf, l3, inner, flow, adjacency, most)
            })
        }
        IP => fill(buf, IP, ETHER_LEN),
        LIMITED => fill(buf, LIMITED, ETHER_LEN),
        ahead if ahead == IP + GRE_LEN => fill(buf, IP + GRE_LEN, ETHER_LEN),
        ahead if ahead == LIMITED + GRE_LEN => fill(buf, LIMITED + GRE_LEN, ETHER_LEN),
        ahead => fill(buf, ahead.min(REWRITE_ROOM), ETHER_LEN),
    }
}

/// Puts the tunnel's headers before the datagram that starts at `l3`, whatever its
/// size. False if there is no room.
pub(crate) fn put<C: Carried, B: PacketBuf>(
    buf: &mut B,
    l3: usize,
    inner: C,
    flow: u32,
    adjacency: &Adjacency,
    tables: &Tables,
) -> bool {
    let ending = headers(buf, l3, inner, flow, adjacency, usize::MAX);
    ending.map(|ending| ending.fill(buf, &tables.sequences)).is_some()
}

/// The headers of any stack, and what is left to fill in.
fn headers<C: Carried, B: PacketBuf>(
    buf: &mut B,
    l3: usize,
    inner: C,
    flow: u32,
    adjacency: &Adjacency,
    most: usize,
) -> Option<Ending> {
    let (ahead, l2) = (usize::from(adjacency.rewrite_len), usize::from(adjacency.l2_len));
    fill(buf, l3, ahead.min(REWRITE_ROOM), l2.min(TAGGED_LEN), inner, flow, adjacency, most)
        .then(|| Ending::of(adjacency, flow))
}

/// The adjacency that a packet with a limit on nesting meets instead of its
/// tunnel's: its outer header has that limit less one, whatever the tunnel's is
/// (RFC 2473 §4.1.1(c)). `None` for all other packets, and for a limit of 0.
#[cold]
pub(crate) fn nested(datagram: &[u8], adjacency: &Adjacency) -> Option<Adjacency> {
    let six = datagram.first().is_some_and(|first| first >> 4 == 6);
    if !six || adjacency.kind != AdjacencyKind::Tunnel6 {
        return None;
    }
    let limit = chain::encapsulation_limit(datagram)?;
    Some(adjacency.limited(limit.value.checked_sub(1)?))
}

/// True if a packet must not enter a tunnel over IPv6: its limit is 0.
#[cold]
pub(crate) fn nests_no_more<B: PacketBuf>(packets: &Packets<B>, slot: Slot) -> bool {
    packets.six.contains(slot)
        && chain::may_have_limit(packets.headers6.next_header(slot))
        && chain::encapsulation_limit(packets.datagram(slot)).is_some_and(|limit| limit.value == 0)
}

#[allow(clippy::too_many_arguments)] // two of them constants where it matters
#[inline(always)]
fn fill<C: Carried, B: PacketBuf>(
    buf: &mut B,
    l3: usize,
    ahead: usize,
    l2: usize,
    inner: C,
    flow: u32,
    adjacency: &Adjacency,
    most: usize,
) -> bool {
    let outer_total = inner.total() + ahead - l2;
    let length = outer_total.wrapping_sub(IPV6_LEN);
    if outer_total > most || length > IPV6_MAX_PAYLOAD {
        return false;
    }
    let Some(front) = front_of(buf, l3, ahead, inner, adjacency) else { return false };
    let outer = front.get_mut(l2..).and_then(|outer| outer.first_chunk_mut());
    let template = adjacency.rewrite[l2..].first_chunk();
    let (Some(outer), Some(template)) = (outer, template) else { return false };
    patch(outer, template, length as u16, inner, flow, adjacency.flags);
    true
}

/// Sets the fields of the outer header that change.
#[inline(always)]
fn patch<C: Carried>(
    outer: &mut [u8; IPV6_LEN],
    template: &[u8; IPV6_LEN],
    length: u16,
    inner: C,
    flow: u32,
    copied: u8,
) {
    const LABEL: u32 = 0xf_ffff;
    let class = if copied & flags::COPY_DSCP != 0 { u8::MAX } else { ecn::MASK };
    let [a, b, c, d, ..] = *template;
    let word = u32::from_be_bytes([a, b, c, d]) | u32::from(inner.tos() & class) << 20;
    outer[..4].copy_from_slice(&(word | flow & LABEL).to_be_bytes());
    outer[PAYLOAD_LENGTH_OFFSET..PAYLOAD_LENGTH_OFFSET + 2].copy_from_slice(&length.to_be_bytes());
    if copied & (flags::COPY_TTL | flags::NOT_ECT) != 0 {
        patch_rare(outer, inner, copied);
    }
}

/// What only some tunnels ask for.
#[cold]
fn patch_rare<C: Carried>(outer: &mut [u8; IPV6_LEN], inner: C, copied: u8) {
    if copied & flags::COPY_TTL != 0 {
        outer[HOP_LIMIT_OFFSET] = inner.ttl();
    }
    if copied & flags::NOT_ECT != 0 {
        // The traffic class ends in the upper half of the second byte.
        outer[1] &= !(ecn::MASK << 4);
    }
}
