//! The optional words of GRE headers: checksum, key and sequence number (RFC
//! 2784 §2.5, RFC 2890 §2). Plain headers never come here.
//!
//! ```text
//!   in    a header that is not the plain one: parsed, checksum verified over
//!         all of the outer payload, key handed to the lookup; the number is
//!         judged when all else about the packet is good
//!   out   the template is in front: number taken, then everything summed (`ending`)
//! ```

use super::burst::{Packets, Slot};
use super::decap::Between;
use super::drop::DropReason;
use super::ending::Ending;
use super::verdict::Turn;
use crate::buf::PacketBuf;
use crate::ids::Family;
use crate::tables::adjacency::flags;
use crate::tables::sequence::Sequences;
use crate::tables::tunnel::Tunnel;
use crate::wire::checksum::checksum;
use crate::wire::gre::{GRE_LEN, GreError, GreHeader, verify_checksum};
use crate::wire::udp::UDP_LEN;
use crate::wire::{ETHERTYPE_IPV4, ETHERTYPE_IPV6};

/// Opens a GRE packet whatever its header. `payload` is all of the outer
/// datagram's payload and nothing behind it.
#[inline(never)]
pub(crate) fn open(payload: &[u8]) -> Result<Between, DropReason> {
    let header = GreHeader::parse(payload).map_err(|error| match error {
        GreError::Truncated => DropReason::GreTruncated,
        GreError::BadVersion => DropReason::GreBadVersion,
        GreError::ReservedBits => DropReason::GreReservedBits,
    })?;
    if header.has_checksum() && !verify_checksum(payload) {
        return Err(DropReason::GreBadChecksum);
    }
    let inner = match header.protocol {
        ETHERTYPE_IPV4 => Family::V4,
        ETHERTYPE_IPV6 => Family::V6,
        _ => return Err(DropReason::GreUnknownProtocol),
    };
    Ok(Between { len: header.len, key: header.key, numbered: header.has_sequence(), inner })
}

/// Judges the sequence number of an opened packet: the last word before the
/// inner header.
#[inline(never)]
pub(crate) fn in_sequence<B: PacketBuf>(
    packets: &Packets<B>,
    turn: &Turn<'_>,
    slot: Slot,
    tunnel: &Tunnel,
) -> Result<(), DropReason> {
    let end = usize::from(packets.l3[slot.at()]);
    let data = packets.burst.get(slot.at()).map_or(&[][..], PacketBuf::data);
    let word = data.get(..end).and_then(|ahead| ahead.last_chunk());
    let number = word.map_or(0, |word| u32::from_be_bytes(*word));
    let resync = u32::from(tunnel.resync) * 1000;
    let sequence = turn.tables.sequences.get(tunnel.interface.index());
    match sequence.accept(number, resync, || turn.punter.milliseconds()) {
        true => Ok(()),
        false => Err(DropReason::GreOutOfSequence),
    }
}

/// Fills in number and checksum of the header that was put in front of a
/// datagram, where the tunnel has them. The buffer ends with the datagram.
pub(crate) fn finish<B: PacketBuf>(buf: &mut B, ending: &Ending, sequences: &Sequences) {
    if ending.gre == 0 {
        return;
    }
    let udp = if ending.udp { UDP_LEN } else { 0 };
    let from = usize::from(ending.l2_len) + usize::from(ending.outer_len) + udp;
    let header = usize::from(ending.rewrite_len).saturating_sub(from);
    let packet = buf.data_mut().get_mut(from..).unwrap_or_default();
    if ending.gre & flags::GRE_SEQUENCE != 0
        && let Some(word) = packet.get_mut(..header).and_then(|header| header.last_chunk_mut())
    {
        *word = sequences.get(ending.tunnel.index()).next().to_be_bytes();
    }
    if ending.gre & flags::GRE_CHECKSUM != 0 {
        let sum = checksum(packet).to_be_bytes();
        if let Some(field) = packet.get_mut(GRE_LEN..GRE_LEN + 2) {
            field.copy_from_slice(&sum);
        }
    }
}
