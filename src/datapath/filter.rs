//! Packet filters (RFC 1812 §5.3.9): every datagram that arrived, by a port or
//! out of a tunnel, in transit or for us, against the rules of where it arrived.
//!
//! Called by [`door`](super::door), apart from the way that packets go where no
//! rule is. What a packet carries is found out once, for all rules. Headers that
//! hide it are refused wherever there are rules: TCP cut within its header (RFC
//! 1858 §3, §4; RFC 3128), and IPv6 headers that do not end in the first fragment
//! (RFC 7112 §5).

use super::burst::{Packets, Set, Slot};
use super::door;
use super::drop::DropReason;
use super::verdict::Turn;
use crate::buf::PacketBuf;
use crate::ids::IfId;
use crate::model::filter::{FilterAction, Protocol};
use crate::tables::filter::{Carries, Filters, Met, Ports, Rules};
use crate::wire::ipv6::chain;
use crate::wire::{IPPROTO_TCP, IPPROTO_UDP};

/// Passes the packets of `all` through `filters`; gives those that go on.
#[cold]
#[inline(never)]
pub(crate) fn apply<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    filters: &Filters,
    all: Set,
) -> Set {
    // Most of a burst arrived by one interface.
    let (mut by, mut rules) = (IfId::NONE, filters.of(IfId::NONE));
    door::let_in(packets, turn, all, |packets, turn, slot| {
        let arrived = packets.in_if[slot.at()];
        if arrived != by {
            (by, rules) = (arrived, filters.of(arrived));
        }
        if rules.is_empty() { Ok(()) } else { judge(packets, turn, slot, rules) }
    })
}

fn judge<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    slot: Slot,
    rules: &Rules,
) -> Result<(), DropReason> {
    let carries = carries(packets, slot).ok_or(DropReason::FilterEvasion)?;
    let met = match packets.six.contains(slot) {
        true => {
            let headers = &packets.headers6;
            rules.first6(headers.src[slot.at()], headers.dst[slot.at()], carries)
        }
        false => {
            let headers = &packets.headers;
            rules.first4(headers.src.get(slot), headers.dst.get(slot), carries)
        }
    };
    let Some(met) = met else { return Ok(()) };
    count(packets, turn, slot, met);
    match met.action {
        FilterAction::Accept => Ok(()),
        FilterAction::Drop => Err(DropReason::Filtered),
        FilterAction::Reject => {
            packets.notify(turn, slot, DropReason::FilterRejected, 0);
            Err(DropReason::FilterRejected)
        }
    }
}

/// Counts a packet that met a rule, and a sample of it goes to the log.
fn count<B: PacketBuf>(packets: &mut Packets<B>, turn: &mut Turn<'_>, slot: Slot, met: Met) {
    if let Some(counters) = turn.counters.filters.get(usize::from(met.number)) {
        counters.packets.add(1);
        counters.bytes.add(packets.total(slot) as u64);
    }
    if met.log {
        // The rule travels where errors have an MTU.
        packets.notify(turn, slot, DropReason::Filtered, met.number);
    }
}

/// What a packet carries; none if its headers hide that.
fn carries<B: PacketBuf>(packets: &Packets<B>, slot: Slot) -> Option<Carries> {
    let datagram = packets.datagram(slot);
    if packets.six.contains(slot) {
        let end = chain::passing(datagram).ok()?;
        let behind = datagram.get(end.at..).unwrap_or_default();
        return transport(end.protocol, end.offset, end.more, behind);
    }
    let headers = &packets.headers;
    let word = headers.w1.get(slot);
    let (offset, more) = ((word & 0x1fff) as u16, word & 0x2000 != 0);
    let behind = datagram.get(headers.header_len(slot)..).unwrap_or_default();
    transport(headers.protocol(slot), offset, more, behind)
}

/// What is behind all IP headers, `offset` units of 8 bytes into its datagram.
fn transport(protocol: u8, offset: u16, more: bool, behind: &[u8]) -> Option<Carries> {
    if offset == 1 && protocol == IPPROTO_TCP || offset == 0 && more && is_tiny(protocol, behind) {
        return None;
    }
    let ports = match behind.first_chunk::<4>() {
        _ if !Protocol(protocol).has_ports() => Ports::None,
        _ if offset > 0 => Ports::Elsewhere,
        Some([a, b, c, d]) => {
            Ports::Are(u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]))
        }
        None => Ports::None,
    };
    Some(Carries { protocol, ports })
}

/// A first fragment without all of its transport header that somebody may want
/// to look at: of TCP up to its flags (RFC 1858 §3.2.1: TMIN).
fn is_tiny(protocol: u8, behind: &[u8]) -> bool {
    let least = match protocol {
        IPPROTO_TCP => 16,
        IPPROTO_UDP => 8,
        _ => 0,
    };
    behind.len() < least
}
