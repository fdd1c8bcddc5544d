//! ARP and neighbour discovery as finished Ethernet frames.

use arrayvec::ArrayVec;

use crate::control::topology::Link;
use crate::ids::Mac;
use crate::wire::arp::{ARP_LEN, ArpRepr};
use crate::wire::ether::{ETHER_LEN, EtherRepr, MIN_FRAME, VLAN_LEN};
use crate::wire::icmp6::nd::{NdPacket, PACKET_ROOM};
use crate::wire::{ETHERTYPE_ARP, ETHERTYPE_IPV6};

/// A frame with either.
pub(in crate::control) type Frame = ArrayVec<u8, { ETHER_LEN + VLAN_LEN + PACKET_ROOM }>;

/// The frame that carries `arp` from us to `to` on `link`.
pub(super) fn arp(link: &Link, to: Mac, arp: &ArpRepr) -> Frame {
    let mut packet = [0; ARP_LEN];
    let emitted = arp.emit(&mut packet);
    debug_assert_eq!(emitted, Ok(ARP_LEN));
    frame(link, to, ETHERTYPE_ARP, &packet)
}

/// The frame that carries a neighbour discovery datagram from us to `to`.
pub(in crate::control) fn nd(link: &Link, to: Mac, datagram: &NdPacket) -> Frame {
    frame(link, to, ETHERTYPE_IPV6, datagram)
}

/// VLAN tag if the link has one, padded with zeros to 60 bytes.
fn frame(link: &Link, to: Mac, ethertype: u16, packet: &[u8]) -> Frame {
    let ether = EtherRepr {
        destination: to,
        source: link.mac,
        vlan: (link.vlan != 0).then_some(link.vlan),
        ethertype,
    };
    let mut bytes = Frame::from([0; ETHER_LEN + VLAN_LEN + PACKET_ROOM]);
    let emitted = ether.emit(&mut bytes);
    debug_assert_eq!(emitted, Ok(ether.len()));
    let end = ether.len() + packet.len();
    bytes[ether.len()..end].copy_from_slice(packet);
    bytes.truncate(end.max(MIN_FRAME));
    bytes
}
