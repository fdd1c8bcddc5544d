//! IPv4 validation (RFC 1812 §5.2.2) over columns of header words, and the
//! first fork: to us, on its way through, or looked at alone.
//!
//! ```text
//!   columns ─▶ validate ─▶ flags ─▶ sort ─┬─▶ transit: lookup
//!         (16 lanes, no branch)       ├─▶ local: an own address
//!                                     └─▶ odd one out: named drop, or options
//! ```
//!
//! [`validate`] says only *that* a header is odd; which check it failed is
//! found out for the few that do, by the byte-wise `wire::ipv4`. Options are
//! odd too, and come back from there: they are forwarded unread (RT-04).

use super::burst::{Packets, Set, Slot};
use super::drop::DropReason;
use super::headers::{LANES, Lanes, WORDS, flag};
use super::verdict::Turn;
use super::{door, ecn};
use crate::buf::PacketBuf;
use crate::simd;
use crate::wire::ipv4::martian::{
    is_limited_broadcast, is_martian_destination, is_martian_source, is_multicast,
};
use crate::wire::ipv4::{self, Ipv4Error};
use crate::wire::{IPPROTO_GRE, IPPROTO_IPIP, IPPROTO_IPV6, IPPROTO_MINIMAL};

/// Turns the fresh headers into columns and fills in their marks, with the
/// instructions that this machine has.
#[inline(always)]
pub(crate) fn validate<B>(packets: &mut Packets<B>, turn: &Turn<'_>) {
    simd::headers::validate(turn.isa, &mut packets.headers, &turn.interfaces.own);
}

/// The kernel: what there is to say of sixteen headers at once, no branch, no
/// memory but its arguments; inlined into a function per instruction set
/// (`crate::simd`). Values are compared as `i32`, which they all fit and which
/// the oldest vector instructions can compare.
#[inline(always)]
pub(crate) fn judge_lanes(words: &[Lanes; WORDS]) -> Lanes {
    let [w0, w1, w2, src, dst, room] = words;
    let mut flags = [0; LANES];
    for lane in 0..LANES {
        let (w0, w1, w2) = (w0[lane], w1[lane], w2[lane]);
        let (src, dst, room) = (src[lane], dst[lane], room[lane]);
        let total = (w0 & 0xffff) as i32;
        let protocol = (w2 >> 16 & 0xff) as i32;
        let odd = (w0 >> 24 != 0x45)
            | (total < 20)
            | (total > room as i32)
            | (header_sum([w0, w1, w2, src, dst]) != 0xffff);
        let special = is_special(src) | is_special(dst);
        let tunnel = (protocol == i32::from(IPPROTO_GRE))
            | (protocol == i32::from(IPPROTO_IPIP))
            | (protocol == i32::from(IPPROTO_IPV6))
            | (protocol == i32::from(IPPROTO_MINIMAL));
        flags[lane] = bit(odd, flag::ODD)
            | bit(special, flag::SPECIAL)
            | bit(w1 & 0x3fff != 0, flag::FRAGMENT)
            | bit(((w2 >> 24) as i32) < 2, flag::TTL_LOW)
            | bit(tunnel, flag::TUNNEL)
            | bit(w0 >> 16 & u32::from(ecn::MASK) != 0, flag::ECN);
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

/// Sends validated packets on: `(transit, local)`, to the lookup or to the local
/// stage.
#[inline(always)]
pub(crate) fn sort<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    pending: Set,
) -> (Set, Set) {
    let marks = packets.headers.marks;
    let mut good = pending & !(marks.odd | marks.special);
    for slot in (pending & !good).slots() {
        match judge(packets, slot) {
            Ok(()) => good.insert(slot),
            Err(reason) => packets.drop(turn, slot, reason),
        }
    }
    if !turn.interfaces.is_open() {
        good = door::outer(packets, turn, good);
    }
    (good & !marks.own, good & marks.own)
}

/// Looks at one packet byte by byte: the reason to drop it, or `Ok` and its
/// flags put right.
#[cold]
fn judge<B: PacketBuf>(packets: &mut Packets<B>, slot: Slot) -> Result<(), DropReason> {
    if packets.headers.marks.odd.contains(slot) {
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
    packets.headers.marks.odd.remove(slot);
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
    use super::super::headers::{Headers, Marks};
    use super::*;
    use crate::wire::ipv4::IPV4_LEN;
    use proptest::prelude::*;

    fn marks_of(header: &[u8; IPV4_LEN], room: usize, own: &[u32]) -> Marks {
        let slot = Slot::new(37);
        let mut found = None;
        for isa in simd::Isa::here() {
            let mut headers = Headers::ZERO;
            headers.gather(slot, header, room);
            headers.fresh.insert(slot);
            simd::headers::validate(isa, &mut headers, own);
            assert_eq!(headers.dst.get(slot).to_be_bytes(), header[16..], "{isa:?}");
            let one = Set::first(38) & !Set::first(37);
            let of = |set: Set| !(set & one).is_empty();
            let Marks { odd, special, own, own_source, fragment, ttl_low, tunnel, ecn } =
                headers.marks;
            let marks = [odd, special, own, own_source, fragment, ttl_low, tunnel, ecn].map(of);
            assert_eq!(*found.get_or_insert(marks), marks, "{isa:?}");
        }
        let set = |yes| if yes { Set::ALL } else { Set::EMPTY };
        let [odd, special, own, own_source, fragment, ttl_low, tunnel, ecn] =
            found.map(|found| found.map(set)).expect("one instruction set at least");
        Marks { odd, special, own, own_source, fragment, ttl_low, tunnel, ecn }
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
            let marks = marks_of(&header, room, &[]);
            prop_assert_eq!(!marks.odd.is_empty(), refused || header[0] != 0x45);
        }

        #[test]
        fn kernel_flags_what_the_header_says(bytes in any::<[u8; 20]>(), own in any::<u32>()) {
            let header = valid(bytes, 60);
            let read = |at: usize| u32::from_be_bytes([
                header[at], header[at + 1], header[at + 2], header[at + 3],
            ]);
            let (src, dst) = (read(12), read(16));
            let marks = marks_of(&header, 60, &[own, src, dst]);
            let special = refuse_special(src, dst).is_err();
            prop_assert_eq!(!marks.special.is_empty(), special);
            prop_assert_eq!(!marks.ttl_low.is_empty(), header[8] < 2);
            prop_assert_eq!(!marks.ecn.is_empty(), header[1] & 3 != 0);
            prop_assert_eq!(!marks.tunnel.is_empty(), [47, 4, 41, 55].contains(&header[9]));
            let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
            prop_assert_eq!(!marks.fragment.is_empty(), fragment);
            prop_assert!(!marks.own.is_empty() && !marks.own_source.is_empty());
            prop_assert!(marks_of(&header, 60, &[!dst]).own.is_empty());
        }

        /// Every header of a burst is told apart from its neighbours, whatever
        /// the instructions.
        #[test]
        fn columns_are_the_rows_turned(rows in prop::collection::vec(any::<[u8; 20]>(), 64)) {
            let words = |row: &[u8; 20], n: usize| {
                u32::from_be_bytes([row[4 * n], row[4 * n + 1], row[4 * n + 2], row[4 * n + 3]])
            };
            for isa in simd::Isa::here() {
                let mut headers = Headers::ZERO;
                headers.fresh = Set::ALL;
                for (n, row) in rows.iter().enumerate() {
                    headers.gather(Slot::new(n), row, n + 20);
                }
                simd::headers::validate(isa, &mut headers, &[]);
                for (n, row) in rows.iter().enumerate() {
                    let slot = Slot::new(n);
                    let columns = [&headers.w0, &headers.w1, &headers.w2, &headers.src, &headers.dst];
                    for (word, column) in columns.into_iter().enumerate() {
                        prop_assert_eq!(column.get(slot), words(row, word), "{:?}", isa);
                    }
                    prop_assert_eq!(headers.room.get(slot) as usize, n + 20);
                    prop_assert_eq!(headers.next.get(slot) >> 24, (words(row, 2) >> 24).wrapping_sub(1) & 0xff);
                }
            }
        }
    }
}
