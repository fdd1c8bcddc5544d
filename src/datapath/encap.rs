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
//! field is copied unless they say not to (RFC 6040 §4.1). Checksum and sequence
//! number of a GRE header and a UDP header are filled in later ([`Ending`]).

use super::burst::{Packets, Slot};
use super::ecn;
use super::ending::{Ending, has_ending, unusual};
use super::forward::Family;
use super::headers::{Headers, words};
use super::rewrite::TAGGED_LEN;
use super::verdict::Turn;
use crate::buf::PacketBuf;
use crate::tables::Tables;
use crate::tables::adjacency::{Adjacency, REWRITE_ROOM, flags};
use crate::wire::checksum::finish;
use crate::wire::ether::ETHER_LEN;
use crate::wire::gre::GRE_LEN;
use crate::wire::ipv4::{FLAG_DF, IPV4_LEN, IPV4_MAX_TOTAL, TTL_OFFSET};
use crate::wire::ipv6::{HOP_LIMIT_OFFSET, IPV6_LEN};

/// What the outer header takes from the packet inside: words of its header in
/// host byte order, as it goes in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inner {
    /// Version, IHL, TOS, total length.
    pub w0: u32,
    /// Identification, flags, fragment offset.
    pub w1: u32,
    /// TTL, protocol, checksum, after the step of forwarding.
    pub w2: u32,
}

/// A packet as the outer header sees it, of either family.
pub(crate) trait Carried: Copy {
    /// Header and payload in bytes.
    fn total(self) -> usize;
    /// TOS or traffic class.
    fn tos(self) -> u8;
    /// TTL or hop limit, as it goes in.
    fn ttl(self) -> u8;
    /// Not to be cut on its way.
    fn dont_fragment(self) -> bool;
    /// Writes the step of forwarding into the datagram.
    fn step(self, datagram: &mut [u8]) -> Option<()>;
}

/// An IPv6 packet as the outer header sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inner6 {
    /// Header and payload in bytes.
    pub total: usize,
    /// Traffic class.
    pub class: u8,
    /// Hop limit after the step of forwarding.
    pub hops: u8,
}

impl Inner6 {
    /// The header of a packet of the burst.
    #[inline(always)]
    pub(crate) fn of<B>(packets: &Packets<B>, slot: Slot) -> Inner6 {
        let headers = &packets.headers6;
        let step = u8::from(!packets.headers.originated.contains(slot));
        let hops = headers.hop_limit(slot).wrapping_sub(step);
        Inner6 { total: headers.total(slot), class: headers.class(slot), hops }
    }
}

impl Carried for Inner6 {
    #[inline(always)]
    fn total(self) -> usize {
        self.total
    }

    #[inline(always)]
    fn tos(self) -> u8 {
        self.class
    }

    #[inline(always)]
    fn ttl(self) -> u8 {
        self.hops
    }

    fn dont_fragment(self) -> bool {
        true
    }

    #[inline(always)]
    fn step(self, datagram: &mut [u8]) -> Option<()> {
        datagram.first_chunk_mut::<IPV6_LEN>()?[HOP_LIMIT_OFFSET] = self.hops;
        Some(())
    }
}

impl Carried for Inner {
    #[inline(always)]
    fn total(self) -> usize {
        (self.w0 & 0xffff) as usize
    }

    #[inline(always)]
    fn tos(self) -> u8 {
        (self.w0 >> 16) as u8
    }

    #[inline(always)]
    fn ttl(self) -> u8 {
        (self.w2 >> 24) as u8
    }

    fn dont_fragment(self) -> bool {
        self.w1 & u32::from(FLAG_DF) != 0
    }

    #[inline(always)]
    fn step(self, datagram: &mut [u8]) -> Option<()> {
        let header = datagram.first_chunk_mut::<IPV4_LEN>()?;
        header[TTL_OFFSET..TTL_OFFSET + 4].copy_from_slice(&self.w2.to_be_bytes());
        Some(())
    }
}

impl Inner {
    /// The header of a packet of the burst.
    #[inline(always)]
    pub(crate) fn of(headers: &Headers, slot: Slot) -> Inner {
        let (w0, w1) = (headers.w0.get(slot), headers.w1.get(slot));
        Inner { w0, w1, w2: headers.next.get(slot) }
    }

    /// The header of a datagram as it is.
    pub(crate) fn read(header: &[u8; IPV4_LEN]) -> Inner {
        let [w0, w1, w2, ..] = words(header);
        Inner { w0, w1, w2 }
    }
}

/// Finishes a packet for a tunnel adjacency, all but its [`Ending`] if it has one.
/// False if there is no room for the headers, the underlay does not take that
/// much, or another worker is to do it.
#[inline(always)]
pub(crate) fn apply<F: Family, B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    slot: Slot,
    adjacency: &Adjacency,
) -> bool {
    let inner = F::carried(packets, slot);
    let l3 = usize::from(packets.l3[slot.at()]);
    let most = usize::from(adjacency.underlay_mtu);
    let Some(buf) = packets.burst.get_mut(slot.at()) else { return false };
    // The lengths of the usual stacks are constants, and so is the copy.
    match [adjacency.l2_len, adjacency.rewrite_len] {
        [ETHER, GRE] => fill(buf, l3, GRE.into(), ETHER_LEN, inner, adjacency, most, turn.id),
        [ETHER, IPIP] => fill(buf, l3, IPIP.into(), ETHER_LEN, inner, adjacency, most, turn.id),
        [ETHER, KEYED] if !has_ending(adjacency) => {
            fill(buf, l3, KEYED.into(), ETHER_LEN, inner, adjacency, most, turn.id)
        }
        _ => unusual(packets, turn, slot, adjacency, |buf, l3, most, turn| {
            headers(buf, l3, inner, adjacency, most, turn.id, turn.tables)
        }),
    }
}

/// Puts the tunnel's headers before the datagram that starts at `l3`, whatever its
/// size. False if there is no room.
pub(crate) fn put<C: Carried, B: PacketBuf>(
    buf: &mut B,
    l3: usize,
    inner: C,
    adjacency: &Adjacency,
    id: &mut u16,
    tables: &Tables,
) -> bool {
    let ending = headers(buf, l3, inner, adjacency, IPV4_MAX_TOTAL, id, tables);
    ending.map(|ending| ending.fill(buf, &tables.sequences)).is_some()
}

/// Lengths of the usual stacks.
const ETHER: u8 = ETHER_LEN as u8;
const IPIP: u8 = (ETHER_LEN + IPV4_LEN) as u8;
const GRE: u8 = (ETHER_LEN + IPV4_LEN + GRE_LEN) as u8;
const KEYED: u8 = GRE + 4;

/// The headers of any stack, and what is left to fill in.
fn headers<C: Carried, B: PacketBuf>(
    buf: &mut B,
    l3: usize,
    inner: C,
    adjacency: &Adjacency,
    most: usize,
    id: &mut u16,
    tables: &Tables,
) -> Option<Ending> {
    let (ahead, l2) = (usize::from(adjacency.rewrite_len), usize::from(adjacency.l2_len));
    let flow = match adjacency.encap.in_udp() {
        true => tables.flow.datagram(buf.data().get(l3..l3 + inner.total()).unwrap_or_default()),
        false => 0,
    };
    fill(buf, l3, ahead.min(REWRITE_ROOM), l2.min(TAGGED_LEN), inner, adjacency, most, id)
        .then(|| Ending::of(adjacency, flow))
}

#[allow(clippy::too_many_arguments)] // three of them constants where it matters
#[inline(always)]
fn fill<C: Carried, B: PacketBuf>(
    buf: &mut B,
    l3: usize,
    ahead: usize,
    l2: usize,
    inner: C,
    adjacency: &Adjacency,
    most: usize,
    id: &mut u16,
) -> bool {
    let outer_total = inner.total() + ahead - l2;
    if outer_total > most {
        return false;
    }
    let Some(front) = front_of(buf, l3, ahead, inner, adjacency) else { return false };
    let outer = front.get_mut(l2..).and_then(|outer| outer.first_chunk_mut());
    let template = adjacency.rewrite[l2..].first_chunk();
    let (Some(outer), Some(template)) = (outer, template) else { return false };
    patch(outer, template, outer_total, inner, adjacency, id);
    true
}

/// The finished bytes, put in front of the datagram that starts at `l3`, whose
/// step of forwarding is done.
#[inline(always)]
pub(crate) fn front_of<'b, C: Carried, B: PacketBuf>(
    buf: &'b mut B,
    l3: usize,
    ahead: usize,
    inner: C,
    adjacency: &Adjacency,
) -> Option<&'b mut [u8]> {
    let frame = buf.reframe(l3, ahead, inner.total())?;
    let (front, datagram) = frame.split_at_mut_checked(ahead)?;
    front.copy_from_slice(&adjacency.rewrite[..ahead]);
    inner.step(datagram)?;
    Some(front)
}

/// Sets the fields of the outer header that change, and its checksum: the sum
/// of the template, in which they are zero, and of what they become. What was
/// there is read from the template, never from the copy, which is still on its
/// way to the cache.
#[inline(always)]
fn patch<C: Carried>(
    outer: &mut [u8; IPV4_LEN],
    template: &[u8; IPV4_LEN],
    total: usize,
    inner: C,
    adjacency: &Adjacency,
    id: &mut u16,
) {
    // The template's DSCP is zero where it is copied.
    let copied = if adjacency.flags & flags::COPY_DSCP != 0 { u8::MAX } else { ecn::MASK };
    let tos = inner.tos() & copied;
    let mut sum = adjacency.partial_checksum + u32::from(tos) + total as u32;
    outer[1] = template[1] | tos;
    outer[2..4].copy_from_slice(&(total as u16).to_be_bytes());
    const RARE: u8 = flags::COPY_DF | flags::COPY_TTL | flags::CUT_OUTER | flags::NOT_ECT;
    if adjacency.flags & RARE != 0 {
        sum += patch_copied(outer, template, inner, adjacency.flags, id);
    }
    outer[10..12].copy_from_slice(&finish(sum).to_be_bytes());
}

/// The fields that only some tunnels copy; gives what that adds to the sum.
#[cold]
fn patch_copied<C: Carried>(
    outer: &mut [u8; IPV4_LEN],
    template: &[u8; IPV4_LEN],
    inner: C,
    copied: u8,
    id: &mut u16,
) -> u32 {
    let mut sum = 0;
    // Where DF is copied it is clear in the template.
    let set = template[6] & (FLAG_DF >> 8) as u8 != 0;
    if !set {
        let word = if copied & flags::COPY_DF != 0 && inner.dont_fragment() {
            u32::from(FLAG_DF)
        } else {
            // It may be cut on its way: the id must not repeat (V4-04).
            *id = id.wrapping_add(1);
            u32::from(*id) << 16
        };
        outer[4..8].copy_from_slice(&word.to_be_bytes());
        sum += (word >> 16) + (word & 0xffff);
    }
    if copied & flags::COPY_TTL != 0 {
        let word = |ttl: u8| u32::from(ttl) << 8;
        let ttl = inner.ttl();
        sum += delta(word(template[TTL_OFFSET]), word(ttl));
        outer[TTL_OFFSET] = ttl;
    }
    if copied & flags::NOT_ECT != 0 {
        let tos = outer[1];
        outer[1] = tos & !ecn::MASK;
        sum += delta(u32::from(tos), u32::from(outer[1]));
    }
    sum
}

/// What replacing one 16-bit word by another adds to a ones' complement sum:
/// RFC 1624 eqn. 3, not folded.
fn delta(old: u32, new: u32) -> u32 {
    (!old & 0xffff) + new
}
