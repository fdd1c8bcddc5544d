//! IPv6 packets addressed to us: what is behind their extension headers decides.
//! The twin of `local`, and like there no hop limit is looked at.

use super::burst::{Packets, Set, Slot};
use super::classify::gather6_at;
use super::drop::DropReason;
use super::ipv6::is_discovery_type;
use super::keepalive;
use super::local::unreachable;
use super::reassemble;
use super::udp;
use super::verdict::{Turn, Verdict};
use crate::buf::PacketBuf;
use crate::exchange::PuntReason;
use crate::ids::PortId;
use crate::wire::ether::{ETHER_LEN, VLAN_LEN};
use crate::wire::ipv6::chain::{self, BadChain, Upper};
use crate::wire::ipv6::martian::is_link_local;
use crate::wire::ipv6::{IPV6_LEN, Ipv6Header, echo};
use crate::wire::{
    IPPROTO_FRAGMENT, IPPROTO_GRE, IPPROTO_ICMPV6, IPPROTO_IPIP, IPPROTO_IPV6, IPPROTO_NONE,
    IPPROTO_TCP, IPPROTO_UDP,
};

/// Hop limit of echo replies.
const ECHO_HOPS: u8 = 64;

/// Serves the packets of `local`; gives those that are tunnel packets. Echo
/// replies and datagrams put together, to be looked up, are then in `replies`.
#[inline(never)]
pub(crate) fn serve<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    local: Set,
    replies: &mut Set,
) -> Set {
    let mut tunnelled = Set::EMPTY;
    for slot in local.slots() {
        match upper(packets, slot) {
            Ok(upper) => {
                packets.headers6.upper[slot.at()] = upper;
                if is_tunnel(upper.protocol) || is_in_udp(packets, turn, slot, upper) {
                    tunnelled.insert(slot);
                } else {
                    other(packets, turn, slot, upper, replies);
                }
            }
            Err(BadChain) => packets.drop(turn, slot, DropReason::Ipv6BadExtension),
        }
    }
    tunnelled
}

fn is_tunnel(protocol: u8) -> bool {
    matches!(protocol, IPPROTO_GRE | IPPROTO_IPIP | IPPROTO_IPV6)
}

fn is_in_udp<B: PacketBuf>(
    packets: &Packets<B>,
    turn: &Turn<'_>,
    slot: Slot,
    upper: Upper,
) -> bool {
    upper.protocol == IPPROTO_UDP && udp::is_tunnel(packets, turn, slot, upper.at)
}

/// What is behind the extension headers, which most packets have none of.
#[inline]
fn upper<B: PacketBuf>(packets: &Packets<B>, slot: Slot) -> Result<Upper, BadChain> {
    let protocol = packets.headers6.next_header(slot);
    if is_tunnel(protocol) {
        return Ok(Upper { protocol, at: IPV6_LEN });
    }
    chain::upper(packets.datagram(slot))
}

#[cold]
fn other<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    slot: Slot,
    upper: Upper,
    replies: &mut Set,
) {
    match upper.protocol {
        // The whole datagram comes round once more.
        IPPROTO_FRAGMENT => reassemble::take(packets, turn, slot, replies),
        IPPROTO_ICMPV6 if turn.interfaces.echo && answer(packets, turn, slot, upper.at) => {
            if packets.verdict[slot.at()] == Verdict::UNDECIDED {
                replies.insert(slot);
            }
        }
        IPPROTO_ICMPV6 if is_discovery_type(packets.datagram(slot).get(upper.at)) => {
            packets.punt(turn, slot, PuntReason::Nd);
        }
        IPPROTO_ICMPV6 => packets.punt(turn, slot, keepalive::icmp_class(packets, turn, slot)),
        IPPROTO_TCP => unreachable(packets, turn, slot, DropReason::PortUnreachable),
        // As over IPv4: no answer to what may be for another port than it says.
        IPPROTO_UDP if !is_sound_udp(packets, slot, upper.at) => {
            packets.drop(turn, slot, DropReason::PortUnreachable);
        }
        IPPROTO_UDP => unreachable(packets, turn, slot, DropReason::PortUnreachable),
        IPPROTO_NONE => packets.drop(turn, slot, DropReason::ProtocolUnreachable),
        _ => unreachable(packets, turn, slot, DropReason::ProtocolUnreachable),
    }
}

/// A UDP datagram has to have a checksum here (RFC 8200 §8.1), and a right one.
fn is_sound_udp<B: PacketBuf>(packets: &Packets<B>, slot: Slot, at: usize) -> bool {
    let datagram = packets.datagram(slot);
    let (Some(ip), Some(udp)) = (Ipv6Header::ref_from(datagram), datagram.get(at..)) else {
        return false;
    };
    let [_, _, _, _, a, b, c, d, ..] = udp else { return false };
    let len = usize::from(u16::from_be_bytes([*a, *b]));
    let Some(udp) = udp.get(..len).filter(|udp| udp.len() >= 8) else { return false };
    [*c, *d] != [0, 0] && echo::checksum6(ip, IPPROTO_UDP, udp) == 0xffff
}

/// Turns an echo request into its reply, which from then on is a packet made
/// here. False for all other ICMPv6.
fn answer<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    slot: Slot,
    at: usize,
) -> bool {
    let l3 = usize::from(packets.l3[slot.at()]);
    let end = l3 + packets.headers6.total(slot);
    let headers = &packets.headers6;
    let to_link = is_link_local(headers.src[slot.at()]) || is_link_local(headers.dst[slot.at()]);
    let back = if to_link { way_back(packets, turn, slot, l3) } else { None };
    if to_link && back.is_none() {
        return false;
    }
    let Some(buf) = packets.burst.get_mut(slot.at()) else { return false };
    let Some(datagram) = buf.data_mut().get_mut(l3..end) else { return false };
    if !echo::answer(datagram, at, ECHO_HOPS) {
        return false;
    }
    buf.truncate(end);
    if let Some(port) = back {
        reflect(packets, slot, port);
        return true;
    }
    packets.headers.originated.insert(slot);
    packets.headers.group.remove(slot);
    gather6_at(packets, turn, slot, l3).is_ok()
}

/// The port to answer a station on whose address means nothing beyond its link:
/// where the frame came from, if it is a frame still (no tunnel's, no tag taken
/// out by the port) that came from one station to us alone.
fn way_back<B: PacketBuf>(
    packets: &Packets<B>,
    turn: &Turn<'_>,
    slot: Slot,
    l3: usize,
) -> Option<PortId> {
    let frame = l3 == ETHER_LEN || l3 == ETHER_LEN + VLAN_LEN;
    let untouched = packets.burst.get(slot.at()).is_some_and(|buf| buf.rx_vlan().is_none());
    let port = turn.interfaces.port(turn.origin)?;
    let attached = port.untagged.iter().chain(port.vlans.iter().map(|(_, at)| at));
    let here = attached.into_iter().any(|at| at.id == packets.in_if[slot.at()]);
    let data = packets.burst.get(slot.at()).map_or(&[][..], PacketBuf::data);
    let from_one = data.get(6).is_some_and(|first| first & 1 == 0);
    let to_us = !packets.headers.group.contains(slot);
    (frame && untouched && here && from_one && to_us).then_some(turn.origin)
}

/// Sends a frame back to the station it came from.
fn reflect<B: PacketBuf>(packets: &mut Packets<B>, slot: Slot, port: PortId) {
    let data = packets.burst.get_mut(slot.at()).map(PacketBuf::data_mut).unwrap_or_default();
    if let Some(addresses) = data.first_chunk_mut::<12>() {
        let (to, from) = addresses.split_at_mut(6);
        to.swap_with_slice(from);
    }
    packets.out_if[slot.at()] = packets.in_if[slot.at()];
    packets.verdict[slot.at()] = Verdict::send(port);
}
