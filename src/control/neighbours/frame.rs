//! ARP as finished Ethernet frames.

use arrayvec::ArrayVec;

use crate::control::topology::Link;
use crate::ids::Mac;
use crate::wire::ETHERTYPE_ARP;
use crate::wire::arp::{ARP_LEN, ArpRepr};
use crate::wire::ether::{EtherRepr, MIN_FRAME};

/// A frame with an ARP packet: always as short as frames can be.
pub(super) type ArpFrame = ArrayVec<u8, MIN_FRAME>;

/// The frame that carries `arp` from us to `to` on `link`: VLAN tag if the
/// link has one, padded with zeros to 60 bytes.
pub(super) fn frame(link: &Link, to: Mac, arp: &ArpRepr) -> ArpFrame {
    let ether = EtherRepr {
        destination: to,
        source: link.mac,
        vlan: (link.vlan != 0).then_some(link.vlan),
        ethertype: ETHERTYPE_ARP,
    };
    let mut bytes = ArpFrame::from([0; MIN_FRAME]);
    let emitted = ether.emit(&mut bytes).and_then(|at| arp.emit(&mut bytes[at..]));
    debug_assert_eq!(emitted, Ok(ARP_LEN), "18 + 28 bytes fit into 60");
    bytes
}
