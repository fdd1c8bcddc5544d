//! What the stages know of the packets of a burst: columns, one place per
//! packet, owned by the worker and used again for every burst.
//!
//! ```text
//!   packet number      0    1    2    …   63
//!   burst           │ buf │ buf │ buf │ … │        moved once, into a port's output
//!   headers           IPv4 words and what `ipv4::validate` found (`headers`)
//!   headers6          the same of IPv6 packets, which are the set `six`
//!   l3, in_if, hop, verdict, out_if
//!   Set               1     0     1     …          the packets a stage is to look at
//! ```
//!
//! A stage never moves a buffer: it gets the numbers of its packets as a
//! [`Set`] and ends each with a [`Verdict`], or passes its number on.

use std::net::IpAddr;
use std::ops::{BitAnd, BitOr, BitOrAssign, Not};

use super::ending::Ending;
use super::headers::Headers;
use super::headers6::Headers6;
use super::verdict::Verdict;
use crate::buf::{BURST, Burst};
use crate::ids::{IfId, NextHopId};
use crate::wire::ether::ETHER_LEN;

/// The number of a packet in its burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(u8);

impl Slot {
    #[inline(always)]
    pub(crate) fn new(index: usize) -> Slot {
        Slot((index % BURST) as u8)
    }

    /// As an index of columns. The mask is what lets array accesses do without
    /// a bounds check.
    #[inline(always)]
    pub(crate) fn at(self) -> usize {
        usize::from(self.0) % BURST
    }
}

/// Some packets of a burst, a bit each; visited in burst order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Set(u64);

const _: () = assert!(BURST == u64::BITS as usize);

impl Set {
    pub(crate) const EMPTY: Set = Set(0);
    pub(crate) const ALL: Set = Set(u64::MAX);

    /// The first `n` packets.
    #[inline(always)]
    pub(crate) fn first(n: usize) -> Set {
        if n < BURST { Set((1 << n) - 1) } else { Set::ALL }
    }

    #[inline(always)]
    pub(crate) fn insert(&mut self, slot: Slot) {
        self.insert_if(slot, true);
    }

    /// Says anew whether a packet is in the set.
    #[inline(always)]
    pub(crate) fn put(&mut self, slot: Slot, wanted: bool) {
        self.remove(slot);
        self.insert_if(slot, wanted);
    }

    /// Without a branch, which random traffic would make a mispredicted one.
    #[inline(always)]
    pub(crate) fn insert_if(&mut self, slot: Slot, wanted: bool) {
        self.0 |= u64::from(wanted) << slot.at();
    }

    #[inline(always)]
    pub(crate) fn remove(&mut self, slot: Slot) {
        self.0 &= !(1 << slot.at());
    }

    #[inline(always)]
    pub(crate) fn contains(self, slot: Slot) -> bool {
        self.0 >> slot.at() & 1 != 0
    }

    #[inline(always)]
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// One more than the number of the last packet; 0 if there is none.
    #[inline(always)]
    pub(crate) fn end(self) -> usize {
        (u64::BITS - self.0.leading_zeros()) as usize
    }

    /// The packets of one group of `lanes`.
    #[inline(always)]
    pub(crate) fn group(self, group: usize, lanes: usize) -> u64 {
        self.0 >> (group * lanes) & ((1 << lanes) - 1)
    }

    /// Says anew who of one group of `lanes` is in the set.
    #[inline(always)]
    pub(crate) fn set_group(&mut self, group: usize, lanes: usize, bits: u64) {
        let at = group * lanes;
        self.0 = self.0 & !(((1 << lanes) - 1) << at) | bits << at;
    }

    /// The packets, in burst order.
    #[inline(always)]
    pub(crate) fn slots(self) -> Slots {
        Slots(self.0)
    }
}

impl BitAnd for Set {
    type Output = Set;
    #[inline(always)]
    fn bitand(self, other: Set) -> Set {
        Set(self.0 & other.0)
    }
}

impl BitOr for Set {
    type Output = Set;
    #[inline(always)]
    fn bitor(self, other: Set) -> Set {
        Set(self.0 | other.0)
    }
}

impl BitOrAssign for Set {
    #[inline(always)]
    fn bitor_assign(&mut self, other: Set) {
        self.0 |= other.0;
    }
}

impl Not for Set {
    type Output = Set;
    #[inline(always)]
    fn not(self) -> Set {
        Set(!self.0)
    }
}

/// The packets of a [`Set`], the lowest number first.
pub(crate) struct Slots(u64);

impl Iterator for Slots {
    type Item = Slot;

    #[inline(always)]
    fn next(&mut self) -> Option<Slot> {
        if self.0 == 0 {
            return None;
        }
        let slot = Slot(self.0.trailing_zeros() as u8);
        self.0 &= self.0 - 1;
        Some(slot)
    }
}

/// A burst and all that is known of it.
pub(crate) struct Packets<B> {
    pub burst: Burst<B>,
    pub headers: Headers,
    /// The IPv6 packets: theirs are the columns of `headers6`.
    pub six: Set,
    pub headers6: Headers6,
    /// Put together from fragments, as long as their header is the outermost.
    pub merged: Set,
    /// Where the IP header starts in the buffer.
    pub l3: [u8; BURST],
    /// The logical interface the packet arrived on.
    pub in_if: [IfId; BURST],
    /// The adjacency met, once looked up.
    pub hop: [NextHopId; BURST],
    /// What became of the packet.
    pub verdict: [Verdict; BURST],
    /// For packets to send: the port or VLAN interface they leave by.
    pub out_if: [IfId; BURST],
    /// Packets of other workers, which have looked at them on arrival.
    pub admitted: Set,
    /// Packets whose headers are filled in when they leave, as `endings` say.
    pub unended: Set,
    pub endings: [Ending; BURST],
}

impl<B> Packets<B> {
    pub(crate) fn new() -> Packets<B> {
        Packets {
            burst: Burst::new(),
            headers: Headers::ZERO,
            six: Set::EMPTY,
            headers6: Headers6::ZERO,
            merged: Set::EMPTY,
            l3: [0; BURST],
            in_if: [IfId::NONE; BURST],
            hop: [NextHopId::NO_ROUTE; BURST],
            verdict: [Verdict::UNDECIDED; BURST],
            out_if: [IfId::NONE; BURST],
            admitted: Set::EMPTY,
            unended: Set::EMPTY,
            endings: [Ending::NONE; BURST],
        }
    }

    /// Forgets what was known of the burst before. `in_if` is where most of
    /// the packets arrived; most have an untagged Ethernet header.
    #[inline(always)]
    pub(crate) fn begin(&mut self, in_if: IfId) {
        self.headers.begin();
        self.six = Set::EMPTY;
        self.merged = Set::EMPTY;
        self.l3 = [ETHER_LEN as u8; BURST];
        self.in_if = [in_if; BURST];
        self.hop = [NextHopId::NO_ROUTE; BURST];
        self.verdict = [Verdict::UNDECIDED; BURST];
        self.admitted = Set::EMPTY;
        self.unended = Set::EMPTY;
    }
}

/// What both families say of a packet.
impl<B> Packets<B> {
    /// The datagram in bytes, header included.
    #[inline]
    pub(crate) fn total(&self, slot: Slot) -> usize {
        if self.six.contains(slot) { self.headers6.total(slot) } else { self.headers.total(slot) }
    }

    /// Where it says that it comes from.
    pub(crate) fn source(&self, slot: Slot) -> IpAddr {
        match self.six.contains(slot) {
            true => IpAddr::V6(self.headers6.src[slot.at()].into()),
            false => IpAddr::V4(self.headers.src.get(slot).into()),
        }
    }

    /// TTL or hop limit.
    pub(crate) fn ttl(&self, slot: Slot) -> u8 {
        if self.six.contains(slot) { self.headers6.hop_limit(slot) } else { self.headers.ttl(slot) }
    }

    /// TOS or traffic class.
    pub(crate) fn tos(&self, slot: Slot) -> u8 {
        if self.six.contains(slot) { self.headers6.class(slot) } else { self.headers.tos(slot) }
    }

    /// TTL or hop limit does not survive forwarding.
    pub(crate) fn ttl_low(&self, slot: Slot) -> bool {
        let six = self.six & self.headers6.hop_low;
        (six | !self.six & self.headers.marks.ttl_low).contains(slot)
    }

    /// A router must not cut it: DF, or IPv6.
    pub(crate) fn whole(&self, slot: Slot) -> bool {
        self.six.contains(slot) || self.headers.dont_fragment(slot)
    }
}
