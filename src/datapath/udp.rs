//! Tunnels in UDP: GRE (RFC 8086), and IPv4 or IPv6 with nothing in between, as
//! Linux's `fou` has all three.
//!
//! ```text
//!   out   │ outer IP │ UDP │ (GRE) │ inner …     source port: the flow inside
//!   in    │ outer IP │ UDP │ ?                   port in the list? length, checksum right?
//!                            4…, 6…: a packet     else: a GRE header
//! ```
//!
//! What is in a datagram shows in its first four bits: 4 and 6 are versions of
//! IP, and no GRE header begins with them (its second bit is never set, GR-02).
//! Datagrams to other ports never come here, nor does anything but UDP.

use super::burst::{Packets, Slot};
use super::drop::DropReason;
use super::ending::Ending;
use super::verdict::Turn;
use crate::buf::PacketBuf;
use crate::wire::ipv4::{ADDRESSES_OFFSET, IPV4_LEN};
use crate::wire::ipv6::{self, IPV6_LEN};
use crate::wire::udp::{self, UDP_LEN, UdpHeader};
use crate::wire::{IPPROTO_GRE, IPPROTO_IPIP, IPPROTO_IPV6};
use zerocopy::FromBytes;

/// True if the datagram to us with this UDP header is a tunnel packet.
pub(crate) fn is_tunnel<B: PacketBuf>(
    packets: &Packets<B>,
    turn: &Turn<'_>,
    slot: Slot,
    at: usize,
) -> bool {
    let header = packets.datagram(slot).get(at..).unwrap_or_default();
    let [_, _, a, b, ..] = header else { return false };
    turn.interfaces.udp.contains(&u16::from_be_bytes([*a, *b]))
}

/// What is in a tunnel's UDP datagram.
pub(crate) struct Carried {
    /// Protocol of it: GRE, or the IP that begins there.
    pub protocol: u8,
    /// Bytes of it.
    pub len: usize,
    /// Destination port.
    pub port: u16,
    /// Has a checksum, which is right.
    pub summed: bool,
}

/// Checks the UDP header `at` bytes behind the packet's outer IP header.
#[inline(never)]
pub(crate) fn open<B: PacketBuf>(
    packets: &Packets<B>,
    slot: Slot,
    at: usize,
) -> Result<Carried, DropReason> {
    let datagram = packets.datagram(slot);
    let payload = datagram.get(at..).unwrap_or_default();
    let (header, covered) = udp::parse(payload).map_err(|_| DropReason::UdpBadLength)?;
    let summed = header.checksum.get() != 0;
    let ends = datagram.get(ends(packets.six.contains(slot))).unwrap_or_default();
    if summed && udp::sum(ends, covered) != 0xffff {
        return Err(DropReason::UdpBadChecksum);
    }
    let protocol = match covered.get(UDP_LEN).map(|first| first >> 4) {
        Some(4) => IPPROTO_IPIP,
        Some(6) => IPPROTO_IPV6,
        _ => IPPROTO_GRE,
    };
    Ok(Carried { protocol, len: covered.len() - UDP_LEN, port: header.destination.get(), summed })
}

/// Where both addresses are in an IP header.
fn ends(six: bool) -> std::ops::Range<usize> {
    if six { ipv6::ADDRESSES_OFFSET..IPV6_LEN } else { ADDRESSES_OFFSET..IPV4_LEN }
}

/// Fills in the UDP header of what was put in front of a datagram, where the
/// tunnel has one; the last of all, since it sums what is behind. The buffer ends
/// with the datagram.
pub(crate) fn finish<B: PacketBuf>(buf: &mut B, ending: &Ending) {
    if !ending.udp {
        return;
    }
    let packet = buf.data_mut().get_mut(usize::from(ending.l2_len)..).unwrap_or_default();
    let (outer, datagram) =
        packet.split_at_mut_checked(usize::from(ending.outer_len)).unwrap_or_default();
    let length = datagram.len() as u16;
    let Ok((header, _)) = UdpHeader::mut_from_prefix(datagram) else { return };
    header.length.set(length);
    if header.source.get() == 0 {
        header.source.set(flow_port(ending.flow));
    }
    if header.checksum.get() != 0 {
        header.checksum.set(0);
        let ends = outer.get(ends(ending.six)).unwrap_or_default();
        let sum = !udp::sum(ends, datagram);
        // 0 would say that there is none (RFC 768).
        let sum = if sum == 0 { u16::MAX } else { sum };
        let Ok((header, _)) = UdpHeader::mut_from_prefix(datagram) else { return };
        header.checksum.set(sum);
    }
}

/// The source port of a flow: one of the 16 384 dynamic ports (RFC 8086 §3.2.1),
/// by bits of the hash that neither ECMP nor a flow label looks at.
fn flow_port(flow: u32) -> u16 {
    const FIRST: u16 = 0xc000;
    FIRST | (flow >> 18) as u16
}
