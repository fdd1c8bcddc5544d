//! GRE keepalives, answered: a packet to itself that the far end has put into the
//! tunnel, to see it come back. And those of ours that come back, and the answers
//! to our probes, told from all other packets.
//!
//! ```text
//!   A sends  │ IPv4 A → us │ GRE, 0800 │ IPv4 us → A │ GRE, protocol type 0 │
//!   and gets                            │ IPv4 us → A │ GRE, protocol type 0 │  TTL less one
//! ```
//!
//! What is inside is for the tunnel's far end, which RFC 2784 §3.1 forbids to
//! send on (GR-08), lest it go round for ever. This cannot: what comes back to A
//! is no packet for us. So it goes on as if it had come from outside, so many a
//! second and no more.
//!
//! Ours come back as what A got above: GRE of no protocol type, from A, not in
//! the tunnel any more. Tunnels without keepalives know no such packets.

use super::burst::{Packets, Slot};
use super::verdict::Turn;
use crate::buf::PacketBuf;
use crate::exchange::PuntReason;
use crate::ids::{IfId, TableId};
use crate::tables::tunnel::{DecapKey, Tunnel};
use crate::wire::gre::GreHeader;
use crate::wire::icmp::{self, ICMP_LEN};
use crate::wire::ipv6::IPV6_LEN;
use crate::wire::{IPPROTO_GRE, IPPROTO_ICMP, IPPROTO_ICMPV6, icmp6};

/// True if the packet inside is a keepalive of this tunnel's far end whose outer
/// destination was `local`, and there have not been too many.
#[cold]
pub(crate) fn answer<B: PacketBuf>(
    packets: &Packets<B>,
    turn: &mut Turn<'_>,
    slot: Slot,
    tunnel: &Tunnel,
    local: u32,
) -> bool {
    let headers = &packets.headers;
    let ends = [headers.src.get(slot), headers.dst.get(slot)] == [local, tunnel.remote];
    let plain = !packets.six.contains(slot) && !headers.marks.fragment.contains(slot);
    if !(ends && plain && headers.protocol(slot) == IPPROTO_GRE) {
        return false;
    }
    let behind = packets.datagram(slot).get(headers.header_len(slot)..).unwrap_or_default();
    // A key is as good as none: some send the tunnel's.
    let known = GreHeader::parse(behind).is_ok_and(|gre| gre.protocol == 0);
    let answered = known && turn.punter.answer_keepalive();
    if answered {
        turn.counters.keepalives.add(1);
    }
    answered
}

/// Identifier of our probes (`greyhound ping` has others).
pub(crate) const PROBE_IDENT: u16 = 0x6c76;

/// True for a keepalive that came back: of no protocol type, from a tunnel's far
/// end, with its key, and the tunnel sends keepalives. It is then on that
/// tunnel. The outer header is the packet's own still.
#[cold]
pub(crate) fn came_back<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &Turn<'_>,
    slot: Slot,
) -> bool {
    if packets.six.contains(slot) {
        return false;
    }
    let headers = &packets.headers;
    let behind = packets.datagram(slot).get(headers.header_len(slot)..).unwrap_or_default();
    let Ok(gre) = GreHeader::parse(behind) else { return false };
    if gre.protocol != 0 {
        return false;
    }
    let (src, dst) = (headers.src.get(slot), headers.dst.get(slot));
    let key = DecapKey::ipv4(TableId(0), src, dst, IPPROTO_GRE, gre.key);
    let decap = &turn.tables.decap;
    let Some(index) = decap.get_fetched(key, decap.prefetch(key), turn.guard) else { return false };
    let tunnel = turn.tables.tunnels.get(index as usize, turn.guard);
    let arrived = [IfId::NONE, packets.in_if[slot.at()]].contains(&tunnel.arrival);
    let ours = tunnel.up && tunnel.keepalives && arrived;
    if ours {
        packets.in_if[slot.at()] = tunnel.interface;
    }
    ours
}

/// How an ICMP message to us goes to control: an answer to a probe, out of a
/// tunnel that is probed, by its own way, so that no flood of others keeps it
/// out.
#[cold]
pub(crate) fn icmp_class<B: PacketBuf>(
    packets: &Packets<B>,
    turn: &Turn<'_>,
    slot: Slot,
) -> PuntReason {
    let answer = is_probe_answer(packets, slot)
        && turn.tables.tunnels.get(packets.in_if[slot.at()].index(), turn.guard).probed;
    if answer { PuntReason::Liveness } else { PuntReason::LocalIcmp }
}

/// An echo reply with our identifier, right behind its IP header.
pub(crate) fn is_probe_answer<B: PacketBuf>(packets: &Packets<B>, slot: Slot) -> bool {
    let (protocol, at, reply) = if packets.six.contains(slot) {
        (packets.headers6.next_header(slot), IPV6_LEN, icmp6::ECHO_REPLY)
    } else {
        let headers = &packets.headers;
        (headers.protocol(slot), headers.header_len(slot), icmp::ECHO_REPLY)
    };
    let message = packets.datagram(slot).get(at..).and_then(|rest| rest.first_chunk::<ICMP_LEN>());
    let [high, low] = PROBE_IDENT.to_be_bytes();
    matches!(protocol, IPPROTO_ICMP | IPPROTO_ICMPV6)
        && matches!(message, Some(&[kind, 0, _, _, a, b, _, _]) if kind == reply && [a, b] == [high, low])
}
