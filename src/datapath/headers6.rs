//! The IPv6 headers of a burst, in columns of their own beside those of IPv4.
//!
//! They are read one by one: there is no checksum, so little is left that
//! sixteen at once would do better. Which packets these columns speak for is
//! [`Packets::six`](super::burst::Packets).

use super::burst::{Set, Slot};
use crate::buf::BURST;
use crate::wire::IPPROTO_ICMPV6;
use crate::wire::ipv6::IPV6_LEN;
use crate::wire::ipv6::chain::Upper;
use crate::wire::ipv6::martian::{is_link_local, is_martian_destination, is_martian_source};

/// The 40 bytes of each packet's IPv6 header, and what is known of them.
#[derive(Clone, Debug)]
pub(crate) struct Headers6 {
    /// Version, traffic class, flow label.
    w0: [u32; BURST],
    /// Payload length, next header, hop limit.
    w1: [u32; BURST],
    /// Source address.
    pub src: [u128; BURST],
    /// Destination address.
    pub dst: [u128; BURST],
    /// What is behind all extension headers; of packets to us only.
    pub upper: [Upper; BURST],
    /// Not version 6, or not all there.
    pub bad: Set,
    /// Source or destination is in a block that is never routed.
    pub special: Set,
    /// Source or destination stays on its link.
    pub link_local: Set,
    /// The destination is in the list of own addresses.
    pub own: Set,
    /// The source is in the list of own addresses.
    pub own_source: Set,
    /// Hop limit 0 or 1: does not survive forwarding.
    pub hop_low: Set,
    /// ICMPv6 from this very link (hop limit 255): neighbour discovery, maybe.
    pub neighbourly: Set,
}

impl Headers6 {
    pub(crate) const ZERO: Headers6 = Headers6 {
        w0: [0; BURST],
        w1: [0; BURST],
        src: [0; BURST],
        dst: [0; BURST],
        upper: [Upper { protocol: 0, at: 0 }; BURST],
        bad: Set::EMPTY,
        special: Set::EMPTY,
        link_local: Set::EMPTY,
        own: Set::EMPTY,
        own_source: Set::EMPTY,
        hop_low: Set::EMPTY,
        neighbourly: Set::EMPTY,
    };

    /// Takes a packet's header, behind which (itself included) there are `room`
    /// bytes, and looks at it. `own`: addresses to tell.
    #[inline]
    pub(crate) fn gather(
        &mut self,
        slot: Slot,
        header: &[u8; IPV6_LEN],
        room: usize,
        own: &[u128],
    ) {
        let (words, _) = header.as_chunks::<4>();
        let (w0, w1) = (u32::from_be_bytes(words[0]), u32::from_be_bytes(words[1]));
        let (_, ends) = header.as_rchunks::<16>();
        let (src, dst) = (u128::from_be_bytes(ends[0]), u128::from_be_bytes(ends[1]));
        let at = slot.at();
        (self.w0[at], self.w1[at], self.src[at], self.dst[at]) = (w0, w1, src, dst);
        let bad = (w0 >> 28 != 6) | (self.total(slot) > room);
        let special = is_martian_source(src) | is_martian_source(dst);
        self.bad.put(slot, bad);
        self.special.put(slot, special);
        self.link_local.put(slot, is_link_local(src) | is_link_local(dst));
        self.own.put(slot, own.iter().fold(false, |any, one| any | (*one == dst)));
        self.own_source.put(slot, own.iter().fold(false, |any, one| any | (*one == src)));
        self.hop_low.put(slot, w1 & 0xff < 2);
        self.neighbourly.put(slot, w1 & 0xffff == u32::from(IPPROTO_ICMPV6) << 8 | 0xff);
    }

    /// Header and payload in bytes.
    #[inline(always)]
    pub(crate) fn total(&self, slot: Slot) -> usize {
        IPV6_LEN + (self.w1[slot.at()] >> 16) as usize
    }

    /// Traffic class: DSCP and ECN.
    #[inline(always)]
    pub(crate) fn class(&self, slot: Slot) -> u8 {
        (self.w0[slot.at()] >> 20) as u8
    }

    /// Replaces the traffic class.
    pub(crate) fn set_class(&mut self, slot: Slot, class: u8) {
        let w0 = &mut self.w0[slot.at()];
        *w0 = *w0 & !(0xff << 20) | u32::from(class) << 20;
    }

    #[inline(always)]
    pub(crate) fn next_header(&self, slot: Slot) -> u8 {
        (self.w1[slot.at()] >> 8) as u8
    }

    #[inline(always)]
    pub(crate) fn hop_limit(&self, slot: Slot) -> u8 {
        self.w1[slot.at()] as u8
    }

    /// True if the destination can be nobody's, or is a group's.
    pub(crate) fn has_martian_destination(&self, slot: Slot) -> bool {
        is_martian_destination(self.dst[slot.at()])
    }
}
