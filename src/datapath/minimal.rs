//! Minimal encapsulation (RFC 2004, MOBILE): the packet keeps its own IPv4
//! header, in which the tunnel's addresses take the place of its own, and those
//! go into a small header behind it.
//!
//! ```text
//!   before   │ link │                  IPv4 (options) │ payload …
//!   after    │ link │ IPv4, protocol 55 │ 8 or 12 bytes │ payload …
//!             ◀──── moved to the front
//! ```
//!
//! TTL, DSCP, ECN, identification and DF are the packet's, on both ways; so the
//! tunnel's settings for them do not count, but for fragments, which have to go
//! as IP in IP: those are counted (`fallback`).

use super::burst::{Packets, Slot};
use super::drop::DropReason;
use super::encap;
use super::forward::V4;
use super::headers::words;
use super::verdict::Turn;
use crate::buf::PacketBuf;
use crate::tables::adjacency::Adjacency;
use crate::wire::IPPROTO_MINIMAL;
use crate::wire::checksum::{update16, update32};
use crate::wire::ether::ETHER_LEN;
use crate::wire::ipv4::{IPV4_LEN, IPV4_MAX_TOTAL, Ipv4Header};
use crate::wire::minimal::{MINIMAL_LEN, Minimal, MinimalError};

/// Finishes a packet for a [`Minimal`](crate::tables::adjacency::AdjacencyKind)
/// adjacency. False if there is no room for the headers.
#[inline(never)]
pub(crate) fn apply<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    slot: Slot,
    adjacency: &Adjacency,
) -> bool {
    if packets.headers.marks.fragment.contains(slot) {
        count_fallback(turn, adjacency);
        return encap::apply::<V4, B>(packets, turn, slot, adjacency);
    }
    put(packets, slot, adjacency).is_some()
}

/// Counts a packet that goes into a tunnel as IP in IP instead.
pub(crate) fn count_fallback(turn: &Turn<'_>, adjacency: &Adjacency) {
    if let Some(interface) = turn.counters.interface(adjacency.out_if) {
        interface.fallback.add(1);
    }
}

fn put<B: PacketBuf>(packets: &mut Packets<B>, slot: Slot, adjacency: &Adjacency) -> Option<()> {
    let headers = &packets.headers;
    let (source, destination) = (headers.src.get(slot), headers.dst.get(slot));
    let (total, header_len) = (headers.total(slot), headers.header_len(slot));
    let step = headers.next.get(slot);
    let l2 = usize::from(adjacency.l2_len);
    let outer = Ipv4Header::ref_from(adjacency.rewrite().get(l2..)?)?;
    let (local, remote) = (outer.source.get(), outer.destination.get());
    let minimal = Minimal {
        protocol: headers.protocol(slot),
        destination,
        source: (source != local).then_some(source),
    };
    let new_total = total + minimal.len();
    if new_total > IPV4_MAX_TOTAL {
        return None;
    }
    let [ttl, protocol, ..] = step.to_be_bytes();
    let word = |protocol| u16::from_be_bytes([ttl, protocol]);
    let sum = update16(step as u16, total as u16, new_total as u16);
    let sum = update16(sum, word(protocol), word(IPPROTO_MINIMAL));
    let sum = update32(sum, source, local);
    let sum = update32(sum, destination, remote);

    let l3 = usize::from(packets.l3[slot.at()]);
    let ahead = l2 + minimal.len();
    let frame = packets.burst.get_mut(slot.at())?.reframe(l3, ahead, total)?;
    // Lengths that are constants are copied in registers.
    match [l2, header_len] {
        [ETHER_LEN, IPV4_LEN] => front(frame, ETHER_LEN, IPV4_LEN, ahead, adjacency),
        _ => front(frame, l2, header_len, ahead, adjacency),
    }
    let header = Ipv4Header::mut_from(&mut frame[l2..])?;
    header.total_length.set(new_total as u16);
    header.ttl = ttl;
    header.protocol = IPPROTO_MINIMAL;
    header.checksum.set(sum);
    header.source.set(local);
    header.destination.set(remote);
    let (behind, bytes) = (frame.get_mut(l2 + header_len..)?, minimal.bytes());
    match minimal.source {
        Some(_) => behind.first_chunk_mut().map(|behind| *behind = bytes),
        None => {
            behind.first_chunk_mut::<MINIMAL_LEN>().zip(bytes.first_chunk()).map(|(b, a)| *b = *a)
        }
    }
}

/// The link header, and the IP header from `ahead` right behind it.
#[inline(always)]
fn front(frame: &mut [u8], l2: usize, header_len: usize, ahead: usize, adjacency: &Adjacency) {
    frame.copy_within(ahead..ahead + header_len, l2);
    frame[..l2].copy_from_slice(&adjacency.rewrite[..l2]);
}

/// Puts the header of the datagram inside a packet together, in place: it ends
/// where the payload begins. Gives the bytes by which it is further behind.
#[inline(never)]
pub(crate) fn open<B: PacketBuf>(
    packets: &mut Packets<B>,
    slot: Slot,
) -> Result<usize, DropReason> {
    let headers = &packets.headers;
    let (total, header_len) = (headers.total(slot), headers.header_len(slot));
    let l3 = usize::from(packets.l3[slot.at()]);
    let data = packets.burst.get_mut(slot.at()).map(PacketBuf::data_mut).unwrap_or_default();
    let datagram = data.get_mut(l3..l3 + total).ok_or(DropReason::MinimalTruncated)?;
    let minimal = Minimal::parse(&datagram[header_len..]).map_err(|error| match error {
        MinimalError::Truncated => DropReason::MinimalTruncated,
        MinimalError::BadChecksum => DropReason::MinimalBadChecksum,
    })?;
    let truncated = DropReason::MinimalTruncated;
    let front: [u8; IPV4_LEN] = *datagram.first_chunk().ok_or(truncated)?;
    if header_len > IPV4_LEN {
        datagram.copy_within(IPV4_LEN..header_len, IPV4_LEN + minimal.len());
    }
    let behind = datagram.get_mut(minimal.len()..).unwrap_or_default();
    let header: &mut [u8; IPV4_LEN] = behind.first_chunk_mut().ok_or(truncated)?;
    restore(header, &front, &minimal, total - minimal.len());
    Ok(minimal.len())
}

/// The header as it was before encapsulation: `front` with what `minimal` keeps of
/// it. Written in two pieces, since it is read back at once.
fn restore(header: &mut [u8; IPV4_LEN], front: &[u8; IPV4_LEN], minimal: &Minimal, total: usize) {
    let [w0, w1, w2, local, remote] = words(front);
    let source = minimal.source.unwrap_or(local);
    let [ttl, protocol, sum @ ..] = w2.to_be_bytes();
    let word = |protocol| u16::from_be_bytes([ttl, protocol]);
    let sum = update16(u16::from_be_bytes(sum), w0 as u16, total as u16);
    let sum = update16(sum, word(protocol), word(minimal.protocol));
    let sum = update32(update32(sum, local, source), remote, minimal.destination);
    let w0 = w0 & !0xffff | total as u32;
    let w2 = u32::from(word(minimal.protocol)) << 16 | u32::from(sum);
    let first = [w0, w1, w2, source].iter().fold(0, |all, word| all << 32 | u128::from(*word));
    header[..16].copy_from_slice(&first.to_be_bytes());
    header[16..].copy_from_slice(&minimal.destination.to_be_bytes());
}

const _: () = assert!(crate::wire::minimal::MINIMAL_MAX_LEN < IPV4_LEN);
