//! What the path knows of ports: an immutable snapshot of some tens of entries,
//! swapped whole by one atomic pointer when anything in it changes.

use std::sync::Arc;

use arrayvec::ArrayVec;

use super::filter::Filters;
use crate::ids::{IfId, MAX_PORTS, Mac, PortId};
use crate::model::spec::ReversePath;

/// A logical interface as a received frame meets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The interface.
    pub id: IfId,
    /// Administratively up; frames on a down interface are dropped.
    pub up: bool,
}

/// A port as a received frame meets it.
#[derive(Clone, Debug, Default)]
pub struct PortEntry {
    /// Our link address.
    pub mac: Mac,
    /// Where untagged frames (and priority-tagged ones, VLAN 0) belong.
    pub untagged: Option<Attachment>,
    /// 802.1Q sub-interfaces, sorted by VLAN id.
    pub vlans: Vec<(u16, Attachment)>,
}

impl PortEntry {
    /// The interface that frames with this VLAN id (0: untagged) belong to.
    pub fn attachment(&self, vlan: u16) -> Option<Attachment> {
        if vlan == 0 {
            return self.untagged;
        }
        let at = self.vlans.binary_search_by_key(&vlan, |(id, _)| *id).ok()?;
        Some(self.vlans[at].1)
    }
}

/// Most own addresses that [`Interfaces::own`] holds.
pub const OWN_FAST: usize = 16;

/// Most different UDP ports that tunnels can have.
pub const UDP_PORTS: usize = 16;

/// The snapshot.
#[derive(Clone, Debug, Default)]
pub struct Interfaces {
    /// Ports by [`PortId`].
    pub ports: ArrayVec<PortEntry, MAX_PORTS>,
    /// Own addresses most likely to be the outer destination of tunnel packets
    /// (host byte order), compared before any FIB lookup. The FIB knows all of
    /// them, so leaving one out costs time and not correctness.
    pub own: ArrayVec<u32, OWN_FAST>,
    /// [`Interfaces::own`] holds *every* own address, so that an address not in
    /// it need not be looked up to know that it is not ours. When false (the
    /// default, always right) each packet into a tunnel costs a second lookup.
    pub own_complete: bool,
    /// [`Interfaces::own`] for IPv6.
    pub own6: ArrayVec<u128, OWN_FAST>,
    /// [`Interfaces::own_complete`] for [`Interfaces::own6`].
    pub own6_complete: bool,
    /// Destination ports of tunnels in UDP: datagrams to us with one of these are
    /// tunnel packets.
    pub udp: ArrayVec<u16, UDP_PORTS>,
    /// Ports and VLANs on which the source of a packet is looked at, mostly
    /// none, by number.
    pub reverse_path: Vec<(IfId, ReversePath)>,
    /// Packet filters, if there are any.
    pub filters: Option<Arc<Filters>>,
    /// Answer ICMP echo requests.
    pub echo: bool,
}

impl Interfaces {
    /// The entry of a port; `None` for a port that is not configured.
    pub fn port(&self, port: PortId) -> Option<&PortEntry> {
        self.ports.get(port.index())
    }

    /// Nobody is looked at on arrival: no reverse-path check, no filter.
    #[inline(always)]
    pub fn is_open(&self) -> bool {
        self.reverse_path.is_empty() & self.filters.is_none()
    }

    /// The reverse-path check of a port or VLAN.
    pub fn reverse_path(&self, interface: IfId) -> ReversePath {
        let found = self.reverse_path.iter().find(|(id, _)| *id == interface);
        found.map_or(ReversePath::Off, |(_, check)| *check)
    }

    /// True if `address` is one of the listed own addresses.
    pub fn is_own(&self, address: u32) -> bool {
        self.own.contains(&address)
    }
}
