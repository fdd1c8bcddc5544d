//! GRE keepalives, answered: a packet to itself that the far end has put into the
//! tunnel, to see it come back.
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

use super::burst::{Packets, Slot};
use super::verdict::Turn;
use crate::buf::PacketBuf;
use crate::tables::tunnel::Tunnel;
use crate::wire::IPPROTO_GRE;
use crate::wire::gre::GreHeader;

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
