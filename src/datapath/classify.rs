//! The link layer: Ethernet, one VLAN tag (in the frame or in the buffer's
//! metadata), whose frame it is, and what it carries.
//!
//! Untagged IPv4 to our own MAC is recognised by one comparison of eight bytes
//! and one of two, and its IPv4 header goes straight into the columns; untagged
//! IPv6 among what is left likewise.
//! Everything else is looked at alone.

use super::burst::{Packets, Set, Slot};
use super::drop::DropReason;
use super::ipv4;
use super::verdict::Turn;
use crate::buf::PacketBuf;
use crate::exchange::PuntReason;
use crate::ids::{IfId, Mac};
use crate::tables::interfaces::{Attachment, PortEntry};
use crate::wire::ether::{ETHER_LEN, EtherRepr, VID_MASK, VLAN_LEN};
use crate::wire::ipv4::IPV4_LEN;
use crate::wire::{ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_VLAN};

/// Bytes looked at: link header and IPv4 header.
const FRAME: usize = ETHER_LEN + IPV4_LEN;

/// Packets whose bytes are fetched ahead.
const AHEAD: usize = 4;

/// Reads the frames of a burst; the IP packets among them, their headers looked
/// at, are then in `pending`. Gives the bytes of all.
#[inline(always)]
pub(crate) fn classify<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    pending: &mut Set,
) -> u64 {
    let port = turn.interfaces.port(turn.origin);
    let untagged = port.and_then(|port| port.untagged).filter(|at| at.up);
    packets.begin(untagged.map_or(IfId::NONE, |at| at.id));

    let (plain, bytes) = straight(packets, turn, port, untagged.is_some());
    let all = Set::first(packets.burst.len());
    packets.headers.fresh = plain;
    let mut plain = plain;
    if all != plain && untagged.is_some() {
        plain |= straight6(packets, turn, port, all & !plain);
    }
    *pending = plain;
    let count = packets.burst.len() as u64;

    let mut others = (0, 0);
    for slot in (all & !plain).slots() {
        let len = packets.burst.get(slot.at()).map_or(0, |buf| buf.data().len()) as u64;
        others = (others.0 + 1, others.1 + len);
        match alone(packets, turn, port, slot, len) {
            Ok(true) => pending.insert(slot),
            Ok(false) => {}
            Err(reason) => packets.drop(turn, slot, reason),
        }
    }
    if let Some(interface) = untagged.and_then(|at| turn.counters.interface(at.id)) {
        interface.rx_packets.add(count - others.0);
        interface.rx_bytes.add(bytes - others.1);
    }
    ipv4::validate(packets, turn);
    bytes
}

/// The straight way, for as many as can take it: who they are, and the bytes
/// of all.
#[inline(always)]
fn straight<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &Turn<'_>,
    port: Option<&PortEntry>,
    open: bool,
) -> (Set, u64) {
    let ours = port.map_or(0, |port| mac_bits(port.mac));
    let (mut plain, mut bytes) = (Set::EMPTY, 0);
    packets.burst.iter().take(AHEAD).for_each(PacketBuf::prefetch);
    for (index, buf) in packets.burst.iter().enumerate() {
        if let Some(ahead) = packets.burst.get(index + AHEAD) {
            ahead.prefetch();
        }
        let slot = Slot::new(index);
        let data = buf.data();
        bytes += data.len() as u64;
        let frame = data.first_chunk::<FRAME>().unwrap_or(&MISSING);
        let whole = open & buf.is_linear() & buf.rx_vlan().is_none();
        // Of frames that are not plain, it is garbage that nobody looks at.
        if let (Some(ether), Some(header)) = (frame.first_chunk(), frame.last_chunk()) {
            plain.insert_if(slot, whole & is_plain(ether, ours, ETHERTYPE_IPV4));
            packets.headers.gather(slot, header, data.len().wrapping_sub(ETHER_LEN));
            turn.tables.fib4.prefetch(destination(header));
        }
    }
    (plain, bytes)
}

/// The straight way of IPv6, for those of `others` that can take it.
#[inline(never)]
fn straight6<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &Turn<'_>,
    port: Option<&PortEntry>,
    others: Set,
) -> Set {
    let ours = port.map_or(0, |port| mac_bits(port.mac));
    let mut plain = Set::EMPTY;
    for slot in others.slots() {
        let Some(buf) = packets.burst.get(slot.at()) else { continue };
        let Some((ether, rest)) = buf.data().split_first_chunk() else { continue };
        let Some(header) = rest.first_chunk() else { continue };
        if is_plain(ether, ours, ETHERTYPE_IPV6) & buf.is_linear() & buf.rx_vlan().is_none() {
            packets.headers6.gather(slot, header, rest.len(), &turn.interfaces.own6);
            plain.insert(slot);
        }
    }
    packets.six = plain;
    plain
}

/// What a frame too short for any header reads as: not ours, not IPv4.
static MISSING: [u8; FRAME] = [0; FRAME];

/// The destination address in a header.
#[inline(always)]
pub(crate) fn destination(header: &[u8; IPV4_LEN]) -> u32 {
    let [.., a, b, c, d] = *header;
    u32::from_be_bytes([a, b, c, d])
}

/// A link address as the lower 48 bits of a word, as a load finds it.
fn mac_bits(mac: Mac) -> u64 {
    let [a, b, c, d, e, f] = mac.0;
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

#[inline(always)]
fn is_plain(ether: &[u8; ETHER_LEN], ours: u64, kind: u16) -> bool {
    let [a, b, c, d, e, f, g, h, .., y, z] = *ether;
    let address = (u64::from_le_bytes([a, b, c, d, e, f, g, h]) ^ ours) << 16;
    let ethertype = u16::from_le_bytes([y, z]) ^ kind.swap_bytes();
    address | u64::from(ethertype) == 0
}

/// One frame off the straight way. `Ok(true)`: IP, its header gathered;
/// `Ok(false)`: it has met its end already (punted).
#[cold]
fn alone<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    port: Option<&PortEntry>,
    slot: Slot,
    len: u64,
) -> Result<bool, DropReason> {
    // Until the frame is known to belong to an interface it counts for none.
    packets.in_if[slot.at()] = IfId::NONE;
    let Some(buf) = packets.burst.get_mut(slot.at()) else { return Ok(false) };
    let frame = EtherRepr::parse(buf.data()).map_err(|_| DropReason::FrameTooShort)?;
    if !buf.is_linear() {
        return Err(DropReason::SegmentedFrame);
    }
    let port = port.ok_or(DropReason::InterfaceDown)?;
    let group = frame.destination.is_multicast();
    if !group && frame.destination != port.mac {
        return Err(DropReason::NotOurMac);
    }
    let (vlan, header_len, ethertype) = match (buf.rx_vlan(), frame.vlan) {
        (Some(tci), None) => (tci & VID_MASK, ETHER_LEN, frame.ethertype),
        // A tag behind the one the port took out: not looked into.
        (Some(tci), Some(_)) => (tci & VID_MASK, ETHER_LEN, ETHERTYPE_VLAN),
        (None, _) => (frame.vid().unwrap_or(0), frame.len(), frame.ethertype),
    };
    let interface = attachment(port, vlan)?;
    packets.in_if[slot.at()] = interface.id;
    if let Some(counters) = turn.counters.interface(interface.id) {
        counters.rx_packets.add(1);
        counters.rx_bytes.add(len);
    }
    if !interface.up {
        return Err(DropReason::InterfaceDown);
    }
    packets.headers.group.insert_if(slot, group);
    match ethertype {
        ETHERTYPE_IPV4 => {
            gather_at(packets, slot, header_len)?;
            Ok(true)
        }
        ETHERTYPE_IPV6 => {
            gather6_at(packets, turn, slot, header_len)?;
            Ok(true)
        }
        ETHERTYPE_ARP => {
            punt_arp(packets, turn, slot, header_len);
            Ok(false)
        }
        _ => Err(DropReason::UnknownEthertype),
    }
}

fn attachment(port: &PortEntry, vlan: u16) -> Result<Attachment, DropReason> {
    let missing = if vlan == 0 { DropReason::InterfaceDown } else { DropReason::UnknownVlan };
    port.attachment(vlan).ok_or(missing)
}

/// Takes the IPv4 header at `l3` into the columns.
#[cold]
pub(crate) fn gather_at<B: PacketBuf>(
    packets: &mut Packets<B>,
    slot: Slot,
    l3: usize,
) -> Result<(), DropReason> {
    let data = packets.burst.get(slot.at()).map_or(&[][..], PacketBuf::data);
    let header = data.get(l3..).and_then(|rest| rest.first_chunk());
    let header = header.ok_or(DropReason::Ipv4TooShort)?;
    packets.headers.gather(slot, header, data.len() - l3);
    packets.headers.fresh.insert(slot);
    packets.l3[slot.at()] = l3 as u8;
    Ok(())
}

/// Takes the IPv6 header at `l3` into the columns of IPv6.
#[cold]
pub(crate) fn gather6_at<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &Turn<'_>,
    slot: Slot,
    l3: usize,
) -> Result<(), DropReason> {
    let data = packets.burst.get(slot.at()).map_or(&[][..], PacketBuf::data);
    let rest = data.get(l3..).unwrap_or_default();
    let header = rest.first_chunk().ok_or(DropReason::Ipv6TooShort)?;
    packets.headers6.gather(slot, header, rest.len(), &turn.interfaces.own6);
    packets.six.insert(slot);
    packets.l3[slot.at()] = l3 as u8;
    Ok(())
}

/// Hands an ARP frame to control, its tag taken out.
fn punt_arp<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    slot: Slot,
    header_len: usize,
) {
    let notice = packets.notice(slot, 0);
    let Some(buf) = packets.burst.get_mut(slot.at()) else { return };
    if header_len > ETHER_LEN {
        const ADDRESSES: usize = 12;
        buf.data_mut().copy_within(..ADDRESSES, VLAN_LEN);
        buf.trim_front(VLAN_LEN);
    }
    let outcome = turn.punter.punt(PuntReason::Arp, notice, buf.data());
    packets.punted(turn, slot, PuntReason::Arp, outcome);
}
