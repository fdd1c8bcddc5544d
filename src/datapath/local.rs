//! Packets addressed to us: tunnel packets go on to decapsulation, echo
//! requests are answered in place, the rest ends here or at control.
//!
//! No TTL is looked at: packets for us are taken with any (RT-10).

use super::burst::{Packets, Set, Slot};
use super::classify::gather_at;
use super::drop::DropReason;
use super::reassemble;
use super::verdict::Turn;
use super::{keepalive, udp};
use crate::buf::PacketBuf;
use crate::wire::icmp::answer_echo;
use crate::wire::udp::validate;
use crate::wire::{IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP};

/// TTL of echo replies: fresh, not the request's (RFC 1812 §4.3.2.2).
const ECHO_TTL: u8 = 64;

/// Serves the packets of `local`; gives those that are tunnel packets. Echo
/// replies and datagrams put together, to be validated and looked up, are then in
/// `replies`.
#[inline(always)]
pub(crate) fn serve<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    local: Set,
    replies: &mut Set,
) -> Set {
    // Whole datagrams only: fragments are put together first.
    let marks = packets.headers.marks;
    let tunnelled = local & marks.tunnel & !marks.fragment;
    let mut in_udp = Set::EMPTY;
    for slot in (local & !tunnelled).slots() {
        other(packets, turn, slot, replies, &mut in_udp);
    }
    tunnelled | in_udp
}

#[cold]
fn other<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    slot: Slot,
    replies: &mut Set,
    in_udp: &mut Set,
) {
    if packets.headers.marks.fragment.contains(slot) {
        // The whole datagram comes round once more (RT-07).
        return reassemble::take(packets, turn, slot, replies);
    }
    match packets.headers.protocol(slot) {
        IPPROTO_ICMP if turn.interfaces.echo && answer(packets, turn, slot) => replies.insert(slot),
        IPPROTO_ICMP => packets.punt(turn, slot, keepalive::icmp_class(packets, turn, slot)),
        IPPROTO_TCP => unreachable(packets, turn, slot, DropReason::PortUnreachable),
        IPPROTO_UDP if udp::is_tunnel(packets, turn, slot, packets.headers.header_len(slot)) => {
            in_udp.insert(slot);
        }
        // A datagram whose lengths or checksum are wrong may be for another
        // port, or from somebody else, than it says: no answer.
        IPPROTO_UDP if !is_sound_udp(packets, slot) => {
            packets.drop(turn, slot, DropReason::PortUnreachable);
        }
        IPPROTO_UDP => unreachable(packets, turn, slot, DropReason::PortUnreachable),
        _ => unreachable(packets, turn, slot, DropReason::ProtocolUnreachable),
    }
}

/// Drops and tells control, which sends the ICMP error if one may be sent.
pub(crate) fn unreachable<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    slot: Slot,
    reason: DropReason,
) {
    packets.notify(turn, slot, reason, 0);
    packets.drop(turn, slot, reason);
}

fn is_sound_udp<B: PacketBuf>(packets: &Packets<B>, slot: Slot) -> bool {
    let datagram = packets.datagram(slot);
    let payload = datagram.get(packets.headers.header_len(slot)..).unwrap_or_default();
    let (src, dst) = (packets.headers.src.get(slot), packets.headers.dst.get(slot));
    validate(payload, src, dst).is_ok()
}

/// Turns an echo request into its reply, which from then on is a packet made
/// here. False for all other ICMP.
fn answer<B: PacketBuf>(packets: &mut Packets<B>, turn: &mut Turn<'_>, slot: Slot) -> bool {
    let l3 = usize::from(packets.l3[slot.at()]);
    let end = l3 + packets.headers.total(slot);
    let Some(buf) = packets.burst.get_mut(slot.at()) else { return false };
    let Some(datagram) = buf.data_mut().get_mut(l3..end) else { return false };
    if answer_echo(datagram, ECHO_TTL, turn.next_id()).is_err() {
        return false;
    }
    buf.truncate(end);
    packets.headers.originated.insert(slot);
    packets.headers.group.remove(slot);
    gather_at(packets, slot, l3).is_ok()
}
