//! TCP connections through a tunnel: their opening segments are made to offer no
//! more than fits it, on the way in and on the way out (`mss`). That keeps them
//! going where the messages of path MTU discovery get lost (RFC 4459 §3.2).

use super::burst::{Packets, Slot};
use crate::buf::PacketBuf;
use crate::tables::adjacency::{Adjacency, flags};
use crate::tables::tunnel::Tunnel;
use crate::wire::IPPROTO_TCP;
use crate::wire::ipv4::Ipv4Header;
use crate::wire::ipv6::chain::upper;
use crate::wire::tcp::clamp_mss;

/// For a packet on its way into a tunnel.
#[inline(always)]
pub(crate) fn inwards<B: PacketBuf>(packets: &mut Packets<B>, slot: Slot, adjacency: &Adjacency) {
    if adjacency.flags & flags::CLAMP_MSS != 0 {
        clamp(packets, slot, adjacency.mss);
    }
}

/// For a packet that came out of a tunnel.
pub(crate) fn outwards<B: PacketBuf>(packets: &mut Packets<B>, slot: Slot, tunnel: &Tunnel) {
    let limit = tunnel.mss[usize::from(packets.six.contains(slot))];
    if limit != 0 {
        clamp(packets, slot, limit);
    }
}

#[inline(never)]
fn clamp<B: PacketBuf>(packets: &mut Packets<B>, slot: Slot, limit: u16) {
    let from = usize::from(packets.l3[slot.at()]);
    let to = from + packets.total(slot);
    let six = packets.six.contains(slot);
    let data = packets.burst.get_mut(slot.at()).map(PacketBuf::data_mut).unwrap_or_default();
    let Some(datagram) = data.get_mut(from..to) else { return };
    let at = if six { behind_ipv6(datagram) } else { behind_ipv4(datagram) };
    if let Some(segment) = at.and_then(|at| datagram.get_mut(at..)) {
        let _ = clamp_mss(segment, limit);
    }
}

/// Where a TCP header is: in whole datagrams and first fragments.
fn behind_ipv4(datagram: &[u8]) -> Option<usize> {
    let header = Ipv4Header::ref_from(datagram)?;
    let tcp = header.protocol == IPPROTO_TCP && !header.is_later_fragment();
    tcp.then(|| header.header_len())
}

fn behind_ipv6(datagram: &[u8]) -> Option<usize> {
    let upper = upper(datagram).ok()?;
    (upper.protocol == IPPROTO_TCP).then_some(upper.at)
}
