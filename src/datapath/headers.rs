//! The IPv4 headers of a burst: as they came, as columns of words, and what
//! validation found.
//!
//! ```text
//!   row of packet i      │ 20 bytes of header │ room │ - │      as gathered: two copies
//!         ▼  `simd::headers`, 16 rows at once: turned round, bytes swapped
//!   w0 w1 w2 src dst room │ a word of packet 0, 1, 2 … 63 │     host byte order
//!         ▼  validated, 16 lanes at once
//!   marks.odd, marks.own …  a bit per packet
//! ```
//!
//! What one packet needs of its own header is then one load; what all of them
//! are asked is a few operations on sets.

use super::burst::{Set, Slot};
use super::rewrite::stepped;
use crate::buf::BURST;
use crate::wire::ipv4::IPV4_LEN;

/// Headers validated at once; a burst is a whole number of these.
pub(crate) const LANES: usize = 16;
/// Groups of a burst.
pub(crate) const GROUPS: usize = BURST / LANES;
const _: () = assert!(BURST.is_multiple_of(LANES) && BURST.is_power_of_two());

/// A word of each header of a group.
pub(crate) type Lanes = [u32; LANES];

/// One header as gathered: 20 bytes, then how many bytes there are from the
/// header on (native byte order).
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
pub(crate) struct Row([u8; 32]);

/// Words of a row that are used: five of the header, and the room.
pub(crate) const WORDS: usize = 6;

impl Row {
    const ZERO: Row = Row([0; 32]);

    #[inline(always)]
    fn fill(&mut self, header: &[u8; IPV4_LEN], room: usize) {
        self.0[..IPV4_LEN].copy_from_slice(header);
        self.0[IPV4_LEN..IPV4_LEN + 4].copy_from_slice(&(room as u32).to_ne_bytes());
    }

    /// The words in host byte order.
    #[inline(always)]
    pub(crate) fn words(&self) -> [u32; WORDS] {
        let (words, _) = self.0.as_chunks();
        std::array::from_fn(|n| match n {
            0..5 => u32::from_be_bytes(words[n]),
            _ => u32::from_ne_bytes(words[n]),
        })
    }
}

/// The words of a header in host byte order.
#[inline(always)]
pub(crate) fn words(header: &[u8; IPV4_LEN]) -> [u32; IPV4_LEN / 4] {
    let (chunks, _) = header.as_chunks();
    std::array::from_fn(|n| u32::from_be_bytes(chunks[n]))
}

/// One 32-bit value per packet, laid out in groups of [`LANES`].
#[derive(Clone, Debug, PartialEq)]
#[repr(align(64))]
pub(crate) struct Column([Lanes; GROUPS]);

impl Column {
    const ZERO: Column = Column([[0; LANES]; GROUPS]);

    #[inline(always)]
    pub(crate) fn get(&self, slot: Slot) -> u32 {
        self.0.as_flattened()[slot.at()]
    }

    #[inline(always)]
    pub(crate) fn set(&mut self, slot: Slot, value: u32) {
        self.0.as_flattened_mut()[slot.at()] = value;
    }

    /// The values of the first `n` packets.
    #[inline(always)]
    pub(crate) fn first(&self, n: usize) -> &[u32] {
        &self.0.as_flattened()[..n.min(BURST)]
    }

    #[inline(always)]
    pub(crate) fn group_mut(&mut self, group: usize) -> &mut Lanes {
        &mut self.0[group % GROUPS]
    }
}

/// What the kernel says of each header of a group, as bits of one word.
pub(crate) mod flag {
    /// [`Marks::odd`](super::Marks).
    pub const ODD: u32 = 1 << 0;
    /// [`Marks::special`](super::Marks).
    pub const SPECIAL: u32 = 1 << 1;
    /// [`Marks::fragment`](super::Marks).
    pub const FRAGMENT: u32 = 1 << 2;
    /// [`Marks::ttl_low`](super::Marks).
    pub const TTL_LOW: u32 = 1 << 3;
    /// [`Marks::tunnel`](super::Marks).
    pub const TUNNEL: u32 = 1 << 4;
    /// [`Marks::ecn`](super::Marks).
    pub const ECN: u32 = 1 << 5;
}

/// Result of validation, as sets of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    /// Fails a check of RFC 1812 §5.2.2, or has options: to be looked at alone.
    pub odd: Set,
    /// Source or destination is in a block that is never routed.
    pub special: Set,
    /// The destination is in the list of own addresses.
    pub own: Set,
    /// The source is in the list of own addresses.
    pub own_source: Set,
    /// A fragment.
    pub fragment: Set,
    /// TTL 0 or 1: does not survive forwarding.
    pub ttl_low: Set,
    /// A tunnel protocol: GRE, IP-in-IP, IPv6-in-IP or minimal encapsulation.
    pub tunnel: Set,
    /// The ECN field is not zero (RFC 3168).
    pub ecn: Set,
}

impl Marks {
    /// Takes over one group's flags; `bits` gathers one flag of all its lanes.
    #[inline(always)]
    pub(crate) fn put(&mut self, group: usize, bits: impl Fn(u32) -> u64) {
        self.odd.set_group(group, LANES, bits(flag::ODD));
        self.special.set_group(group, LANES, bits(flag::SPECIAL));
        self.fragment.set_group(group, LANES, bits(flag::FRAGMENT));
        self.ttl_low.set_group(group, LANES, bits(flag::TTL_LOW));
        self.tunnel.set_group(group, LANES, bits(flag::TUNNEL));
        self.ecn.set_group(group, LANES, bits(flag::ECN));
    }
}

/// The 20 fixed bytes of each packet's IPv4 header, and what is known of them.
#[derive(Clone, Debug)]
pub(crate) struct Headers {
    rows: [Row; BURST],
    /// Version, IHL, TOS, total length.
    pub w0: Column,
    /// Identification, flags, fragment offset.
    pub w1: Column,
    /// TTL, protocol, checksum.
    pub w2: Column,
    /// Source address.
    pub src: Column,
    /// Destination address.
    pub dst: Column,
    /// Bytes there are from the header on.
    pub room: Column,
    /// The third word as it leaves: a step of forwarding on, or unchanged in
    /// what was made here.
    pub next: Column,
    /// What validation found.
    pub marks: Marks,
    /// Gathered since the last validation.
    pub fresh: Set,
    /// Arrived as a link-layer broadcast or multicast.
    pub group: Set,
    /// Made here: no TTL step, none of the checks on forwarding.
    pub originated: Set,
}

impl Headers {
    pub(crate) const ZERO: Headers = Headers {
        rows: [Row::ZERO; BURST],
        w0: Column::ZERO,
        w1: Column::ZERO,
        w2: Column::ZERO,
        src: Column::ZERO,
        dst: Column::ZERO,
        room: Column::ZERO,
        next: Column::ZERO,
        marks: Marks {
            odd: Set::EMPTY,
            special: Set::EMPTY,
            own: Set::EMPTY,
            own_source: Set::EMPTY,
            fragment: Set::EMPTY,
            ttl_low: Set::EMPTY,
            tunnel: Set::EMPTY,
            ecn: Set::EMPTY,
        },
        fresh: Set::EMPTY,
        group: Set::EMPTY,
        originated: Set::EMPTY,
    };

    /// Nothing is known of any packet.
    #[inline(always)]
    pub(crate) fn begin(&mut self) {
        self.fresh = Set::EMPTY;
        self.group = Set::EMPTY;
        self.originated = Set::EMPTY;
    }

    /// Takes a packet's header. Whoever calls puts it into `fresh`: mostly there
    /// is a whole burst of them.
    #[inline(always)]
    pub(crate) fn gather(&mut self, slot: Slot, header: &[u8; IPV4_LEN], room: usize) {
        self.rows[slot.at()].fill(header, room);
    }

    /// The rows of a group.
    #[inline(always)]
    pub(crate) fn rows(&self, group: usize) -> &[Row; LANES] {
        let rows = self.rows.as_chunks().0;
        &rows[group % GROUPS]
    }

    /// Takes over the words of a group.
    #[inline(always)]
    pub(crate) fn put(&mut self, group: usize, words: &[Lanes; WORDS]) {
        let [w0, w1, w2, src, dst, room] = words;
        *self.w0.group_mut(group) = *w0;
        *self.w1.group_mut(group) = *w1;
        *self.w2.group_mut(group) = *w2;
        *self.src.group_mut(group) = *src;
        *self.dst.group_mut(group) = *dst;
        *self.room.group_mut(group) = *room;
        let next = self.next.group_mut(group);
        for lane in 0..LANES {
            next[lane] = stepped(w2[lane]);
        }
    }

    /// Lets what was made here leave as it is; after validation.
    #[inline(always)]
    pub(crate) fn keep_originated(&mut self) {
        for slot in self.originated.slots() {
            self.next.set(slot, self.w2.get(slot));
        }
        self.fresh = Set::EMPTY;
    }

    /// Takes a header that was changed after validation, and is valid.
    #[cold]
    pub(crate) fn replace(&mut self, slot: Slot, header: &[u8; IPV4_LEN]) {
        let room = self.room.get(slot) as usize;
        self.rows[slot.at()].fill(header, room);
        let [w0, w1, w2, src, dst] = words(header);
        self.w0.set(slot, w0);
        self.w1.set(slot, w1);
        self.w2.set(slot, w2);
        self.src.set(slot, src);
        self.dst.set(slot, dst);
        self.next.set(slot, if self.originated.contains(slot) { w2 } else { stepped(w2) });
    }

    /// Total length in bytes.
    #[inline(always)]
    pub(crate) fn total(&self, slot: Slot) -> usize {
        (self.w0.get(slot) & 0xffff) as usize
    }

    /// Header length in bytes.
    #[inline(always)]
    pub(crate) fn header_len(&self, slot: Slot) -> usize {
        (self.w0.get(slot) >> 24 & 0xf) as usize * 4
    }

    #[inline(always)]
    pub(crate) fn tos(&self, slot: Slot) -> u8 {
        (self.w0.get(slot) >> 16) as u8
    }

    #[inline(always)]
    pub(crate) fn ttl(&self, slot: Slot) -> u8 {
        (self.w2.get(slot) >> 24) as u8
    }

    #[inline(always)]
    pub(crate) fn protocol(&self, slot: Slot) -> u8 {
        (self.w2.get(slot) >> 16) as u8
    }

    #[inline(always)]
    pub(crate) fn dont_fragment(&self, slot: Slot) -> bool {
        self.w1.get(slot) & 0x4000 != 0
    }
}
