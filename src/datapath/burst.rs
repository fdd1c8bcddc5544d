//! What the stages know of the packets of a burst: columns, one place per
//! packet, owned by the worker and used again for every burst.
//!
//! ```text
//!   packet number      0    1    2    …   63
//!   burst           │ buf │ buf │ buf │ … │        moved once, into a port's output
//!   headers.w0 … dst│     │     │     │ … │        IPv4 words, host byte order
//!   headers.flags   │     │     │     │ … │        what `ipv4::validate` found
//!   l3, in_if, hop, verdict, out_if
//!   List                 [0, 2, 5, …]              the packets a stage is to look at
//! ```
//!
//! A stage never moves a buffer: it gets the numbers of its packets in a
//! [`List`] and ends each with a [`Verdict`], or passes its number on.

use super::verdict::Verdict;
use crate::buf::{BURST, Burst};
use crate::ids::{IfId, NextHopId};
use crate::wire::ipv4::IPV4_LEN;

/// Headers validated at once; a burst is a whole number of these.
pub(crate) const LANES: usize = 16;
const _: () = assert!(BURST.is_multiple_of(LANES) && BURST.is_power_of_two());

/// The number of a packet in its burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(u8);

impl Slot {
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

/// The packets a stage is to look at, in burst order.
#[derive(Clone, Debug)]
pub(crate) struct List {
    slots: [Slot; BURST],
    len: usize,
}

impl List {
    pub(crate) const fn new() -> List {
        List { slots: [Slot(0); BURST], len: 0 }
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    #[inline(always)]
    pub(crate) fn push(&mut self, slot: Slot) {
        self.push_if(slot, true);
    }

    /// Without a branch, which random traffic would make a mispredicted one.
    /// A packet is in a list once at most, so 64 places are enough.
    #[inline(always)]
    pub(crate) fn push_if(&mut self, slot: Slot, wanted: bool) {
        self.slots[self.len % BURST] = slot;
        self.len += usize::from(wanted);
    }

    #[inline(always)]
    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots[..self.len.min(BURST)]
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// One 32-bit value per packet, laid out in groups of [`LANES`].
#[derive(Clone, Debug, PartialEq)]
#[repr(align(64))]
pub(crate) struct Column([[u32; LANES]; BURST / LANES]);

impl Column {
    const ZERO: Column = Column([[0; LANES]; BURST / LANES]);

    #[inline(always)]
    pub(crate) fn get(&self, slot: Slot) -> u32 {
        self.0.as_flattened()[slot.at()]
    }

    #[inline(always)]
    pub(crate) fn set(&mut self, slot: Slot, value: u32) {
        self.0.as_flattened_mut()[slot.at()] = value;
    }

    #[inline(always)]
    pub(crate) fn group(&self, group: usize) -> &[u32; LANES] {
        &self.0[group % (BURST / LANES)]
    }

    #[inline(always)]
    pub(crate) fn group_mut(&mut self, group: usize) -> &mut [u32; LANES] {
        &mut self.0[group % (BURST / LANES)]
    }

    pub(crate) fn clear(&mut self) {
        self.0 = Column::ZERO.0;
    }
}

/// Bits of [`Headers::flags`] and [`Headers::sticky`].
pub(crate) mod flag {
    /// Fails a check of RFC 1812 §5.2.2, or has options: to be looked at alone.
    pub const ODD: u32 = 1 << 0;
    /// Source or destination is in a block that is never routed.
    pub const SPECIAL: u32 = 1 << 1;
    /// The destination is in the list of own addresses.
    pub const OWN: u32 = 1 << 2;
    /// The source is in the list of own addresses.
    pub const OWN_SOURCE: u32 = 1 << 3;
    /// A fragment.
    pub const FRAGMENT: u32 = 1 << 4;
    /// TTL 0 or 1: does not survive forwarding.
    pub const TTL_LOW: u32 = 1 << 5;
    /// Arrived as a link-layer broadcast or multicast (sticky).
    pub const GROUP: u32 = 1 << 6;
    /// Made here: no TTL step, none of the checks on forwarding (sticky).
    pub const ORIGINATED: u32 = 1 << 7;
}

/// The 20 fixed bytes of each packet's IPv4 header as words in host byte
/// order, and what validation made of them.
#[derive(Clone, Debug)]
pub(crate) struct Headers {
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
    /// Flags that stay with the packet through decapsulation.
    pub sticky: Column,
    /// Result of validation, sticky flags included.
    pub flags: Column,
}

impl Headers {
    const ZERO: Headers = Headers {
        w0: Column::ZERO,
        w1: Column::ZERO,
        w2: Column::ZERO,
        src: Column::ZERO,
        dst: Column::ZERO,
        room: Column::ZERO,
        next: Column::ZERO,
        sticky: Column::ZERO,
        flags: Column::ZERO,
    };

    /// Takes a packet's header into the columns.
    #[inline(always)]
    pub(crate) fn gather(&mut self, slot: Slot, header: &[u8; IPV4_LEN], room: usize) {
        let word = |at: usize| {
            u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        self.w0.set(slot, word(0));
        self.w1.set(slot, word(4));
        self.w2.set(slot, word(8));
        self.src.set(slot, word(12));
        self.dst.set(slot, word(16));
        self.room.set(slot, room as u32);
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

    #[inline(always)]
    pub(crate) fn has(&self, slot: Slot, flags: u32) -> bool {
        self.flags.get(slot) & flags != 0
    }
}

/// A burst and all that is known of it.
pub(crate) struct Packets<B> {
    pub burst: Burst<B>,
    pub headers: Headers,
    /// Where the IPv4 header starts in the buffer.
    pub l3: [u8; BURST],
    /// The logical interface the packet arrived on.
    pub in_if: [IfId; BURST],
    /// The adjacency met, once looked up.
    pub hop: [NextHopId; BURST],
    /// What became of the packet.
    pub verdict: [Verdict; BURST],
    /// For packets to send: the port or VLAN interface they leave by.
    pub out_if: [IfId; BURST],
}

impl<B> Packets<B> {
    pub(crate) fn new() -> Packets<B> {
        Packets {
            burst: Burst::new(),
            headers: Headers::ZERO,
            l3: [0; BURST],
            in_if: [IfId::NONE; BURST],
            hop: [NextHopId::NO_ROUTE; BURST],
            verdict: [Verdict::UNDECIDED; BURST],
            out_if: [IfId::NONE; BURST],
        }
    }

    /// Forgets what was known of the burst before. `in_if` is where most of
    /// the packets arrived.
    pub(crate) fn begin(&mut self, in_if: IfId) {
        self.headers.sticky.clear();
        self.in_if = [in_if; BURST];
        self.hop = [NextHopId::NO_ROUTE; BURST];
        self.verdict = [Verdict::UNDECIDED; BURST];
    }
}

/// Starts loading the first bytes of a packet.
#[inline(always)]
pub(crate) fn prefetch_data<B: crate::buf::PacketBuf>(buf: Option<&B>) {
    if let Some(first) = buf.and_then(|buf| buf.data().first()) {
        crate::tables::epoch::prefetch(first);
    }
}
