//! IPv4 validation (RFC 1812 §5.2.2) over columns of header words, and the
//! first fork: to us, on its way through, or looked at alone.
//!
//! ```text
//!   columns ─▶ validate ─▶ flags ─▶ sort ─┬─▶ transit: lookup
//!             (16 lanes, no branch)       ├─▶ local: an own address
//!                                         └─▶ odd one out: named drop, or options
//! ```
//!
//! [`validate`] says only *that* a header is odd; which check it failed is
//! found out for the few that do, by the byte-wise `wire::ipv4`. Options are
//! odd too, and come back from there: they are forwarded unread (RT-04).

use super::burst::{Headers, LANES, List, Packets, Slot, flag};
use super::drop::DropReason;
use super::rewrite::stepped;
use super::verdict::Turn;
use crate::buf::PacketBuf;
use crate::simd;
use crate::wire::ipv4::martian::{
    is_limited_broadcast, is_martian_destination, is_martian_source, is_multicast,
};
use crate::wire::ipv4::{self, Ipv4Error};

/// Flags that keep a packet from the straight way.
const NOT_PLAIN: u32 = flag::ODD | flag::SPECIAL;

/// Fills in the flags of the burst's columns, with the instructions that this
/// machine has.
pub(crate) fn validate<B>(packets: &mut Packets<B>, turn: &Turn<'_>) {
    let n = packets.burst.len();
    simd::headers::validate(turn.isa, &mut packets.headers, n, &turn.interfaces.own);
}

/// Fills in the flags of the first `n` columns. `own`: addresses to tell.
///
/// All lanes of a group are computed, so columns that belong to no packet (or
/// to one already settled) get flags nobody reads. Inlined into a function per
/// instruction set (`crate::simd`).
#[inline(always)]
pub(crate) fn validate_lanes(headers: &mut Headers, n: usize, own: &[u32]) {
    for group in 0..n.div_ceil(LANES) {
        let flags = lanes(
            headers.w0.group(group),
            headers.w1.group(group),
            headers.w2.group(group),
            headers.src.group(group),
            headers.dst.group(group),
            headers.room.group(group),
            own,
        );
        let (w2, sticky) = (*headers.w2.group(group), *headers.sticky.group(group));
        let next = headers.next.group_mut(group);
        for lane in 0..LANES {
            next[lane] = stepped(w2[lane], sticky[lane]);
        }
        let out = headers.flags.group_mut(group);
        for lane in 0..LANES {
            out[lane] = flags[lane] | sticky[lane];
        }
    }
}

/// The kernel: sixteen headers at once, no branch, no memory but its
/// arguments. Values are compared as `i32`, which they all fit and which the
/// oldest vector instructions can compare.
#[inline(always)]
fn lanes(
    w0: &[u32; LANES],
    w1: &[u32; LANES],
    w2: &[u32; LANES],
    src: &[u32; LANES],
    dst: &[u32; LANES],
    room: &[u32; LANES],
    own: &[u32],
) -> [u32; LANES] {
    let mut flags = [0; LANES];
    for lane in 0..LANES {
        let (w0, w1, w2) = (w0[lane], w1[lane], w2[lane]);
        let (src, dst, room) = (src[lane], dst[lane], room[lane]);
        let total = (w0 & 0xffff) as i32;
        let odd = (w0 >> 24 != 0x45)
            | (total < 20)
            | (total > room as i32)
            | (header_sum([w0, w1, w2, src, dst]) != 0xffff);
        let special = is_special(src) | is_special(dst);
        flags[lane] = bit(odd, flag::ODD)
            | bit(special, flag::SPECIAL)
            | bit(w1 & 0x3fff != 0, flag::FRAGMENT)
            | bit(((w2 >> 24) as i32) < 2, flag::TTL_LOW);
    }
    for own in own {
        for lane in 0..LANES {
            flags[lane] |=
                bit(dst[lane] == *own, flag::OWN) | bit(src[lane] == *own, flag::OWN_SOURCE);
        }
    }
    flags
}

#[inline(always)]
fn bit(set: bool, flag: u32) -> u32 {
    if set { flag } else { 0 }
}

/// The blocks of `wire::ipv4::martian`, source's and destination's alike:
/// 0/8, 127/8, and 224.0.0.0 to the end.
#[inline(always)]
fn is_special(address: u32) -> bool {
    let net = (address >> 24) as i32;
    (net == 0) | (net == 127) | (net >= 224)
}

/// Ones' complement sum of the header's halves (RFC 1071); 0xffff if right.
#[inline(always)]
fn header_sum(words: [u32; 5]) -> i32 {
    let mut sum = 0;
    for word in words {
        sum += (word >> 16) + (word & 0xffff);
    }
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as i32
}

/// Sends validated packets on: to the lookup, or to the local stage. What is
/// in `pending` afterwards is of no more use.
pub(crate) fn sort<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    pending: &mut List,
    transit: &mut List,
    local: &mut List,
) {
    // Mostly they all go the same way, and the list just changes its name.
    let (mut any, mut all) = (0, flag::OWN);
    for &slot in pending.slots() {
        let flags = packets.headers.flags.get(slot);
        any |= flags;
        all &= flags;
    }
    if any & NOT_PLAIN == 0 && (any & flag::OWN == 0 || all != 0) {
        return std::mem::swap(pending, if all == 0 { transit } else { local });
    }
    fork(packets, turn, pending, transit, local);
}

/// [`sort`] for a burst whose packets go different ways.
fn fork<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    pending: &List,
    transit: &mut List,
    local: &mut List,
) {
    let mut odd = List::new();
    for &slot in pending.slots() {
        let flags = packets.headers.flags.get(slot);
        let way = flags & (NOT_PLAIN | flag::OWN);
        transit.push_if(slot, way == 0);
        local.push_if(slot, way == flag::OWN);
        odd.push_if(slot, flags & NOT_PLAIN != 0);
    }
    for &slot in odd.slots() {
        if let Err(reason) = judge(packets, slot) {
            packets.drop(turn, slot, reason);
        } else if packets.headers.has(slot, flag::OWN) {
            local.push(slot);
        } else {
            transit.push(slot);
        }
    }
}

/// Looks at one packet byte by byte: the reason to drop it, or `Ok` and its
/// flags put right.
#[cold]
fn judge<B: PacketBuf>(packets: &mut Packets<B>, slot: Slot) -> Result<(), DropReason> {
    if packets.headers.has(slot, flag::ODD) {
        recheck(packets, slot).map_err(reason)?;
    }
    refuse_special(packets.headers.src.get(slot), packets.headers.dst.get(slot))
}

/// The whole validation of one header, options included. On `Ok` the packet
/// is not odd any more.
#[cold]
pub(crate) fn recheck<B: PacketBuf>(packets: &mut Packets<B>, slot: Slot) -> Result<(), Ipv4Error> {
    let data = packets.burst.get(slot.at()).map_or(&[][..], PacketBuf::data);
    let from = usize::from(packets.l3[slot.at()]).min(data.len());
    let to = (from + packets.headers.room.get(slot) as usize).min(data.len());
    ipv4::validate(&data[from..to], false)?;
    let flags = packets.headers.flags.get(slot) & !flag::ODD;
    packets.headers.flags.set(slot, flags);
    Ok(())
}

/// The drop reason of a failed check.
pub(crate) fn reason(error: Ipv4Error) -> DropReason {
    match error {
        Ipv4Error::TooShort => DropReason::Ipv4TooShort,
        Ipv4Error::BadVersion => DropReason::Ipv4BadVersion,
        Ipv4Error::BadHeaderLength => DropReason::Ipv4BadHeaderLength,
        Ipv4Error::BadTotalLength => DropReason::Ipv4BadTotalLength,
        Ipv4Error::Truncated => DropReason::Ipv4Truncated,
        Ipv4Error::BadChecksum => DropReason::Ipv4BadChecksum,
    }
}

/// Addresses never routed. The destination first, so that a DHCP client's
/// 0.0.0.0 → 255.255.255.255 counts as the broadcast it is.
fn refuse_special(src: u32, dst: u32) -> Result<(), DropReason> {
    if is_multicast(dst) {
        return Err(DropReason::Multicast);
    }
    if is_limited_broadcast(dst) {
        return Err(DropReason::Broadcast);
    }
    if is_martian_source(src) {
        return Err(DropReason::MartianSource);
    }
    if is_martian_destination(dst) {
        return Err(DropReason::MartianDestination);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ipv4::IPV4_LEN;
    use proptest::prelude::*;

    fn flags_of(header: &[u8; IPV4_LEN], room: usize, own: &[u32]) -> u32 {
        let mut packets = Packets::<crate::buf::heap::TestBuf>::new();
        let slot = Slot::new(37);
        packets.headers.gather(slot, header, room);
        validate_lanes(&mut packets.headers, 38, own);
        let flags = packets.headers.flags.clone();
        for isa in simd::Isa::here() {
            packets.headers.flags.clear();
            simd::headers::validate(isa, &mut packets.headers, 38, own);
            assert_eq!(packets.headers.flags, flags, "{isa:?}");
        }
        flags.get(slot)
    }

    /// A header that is valid but for what the test does to it.
    fn valid(mut header: [u8; IPV4_LEN], room: usize) -> [u8; IPV4_LEN] {
        header[0] = 0x45;
        header[2..4].copy_from_slice(&(room as u16).to_be_bytes());
        assert!(ipv4::fill_checksum(&mut header));
        header
    }

    proptest! {
        /// The kernel says "odd" exactly when the byte-wise validation refuses
        /// or when there are options.
        #[test]
        fn kernel_agrees_with_the_byte_wise_validation(
            bytes in any::<[u8; 20]>(), room in 20usize..100, fix in any::<bool>(),
        ) {
            let header = if fix { valid(bytes, room) } else { bytes };
            let mut packet = header.to_vec();
            packet.resize(room, 0);
            let refused = ipv4::validate(&packet, false).is_err();
            let flags = flags_of(&header, room, &[]);
            prop_assert_eq!(flags & flag::ODD != 0, refused || header[0] != 0x45);
        }

        #[test]
        fn kernel_flags_what_the_header_says(bytes in any::<[u8; 20]>(), own in any::<u32>()) {
            let header = valid(bytes, 60);
            let read = |at: usize| u32::from_be_bytes([
                header[at], header[at + 1], header[at + 2], header[at + 3],
            ]);
            let (src, dst) = (read(12), read(16));
            let flags = flags_of(&header, 60, &[own, src, dst]);
            let special = refuse_special(src, dst).is_err();
            prop_assert_eq!(flags & flag::SPECIAL != 0, special);
            prop_assert_eq!(flags & flag::TTL_LOW != 0, header[8] < 2);
            let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
            prop_assert_eq!(flags & flag::FRAGMENT != 0, fragment);
            prop_assert!(flags & flag::OWN != 0 && flags & flag::OWN_SOURCE != 0);
            prop_assert_eq!(flags_of(&header, 60, &[!dst]) & flag::OWN, 0);
        }
    }
}
