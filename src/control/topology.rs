//! What the protocol engines (neighbours, ARP, ICMP, reassembly) may ask of the
//! resolved state, and what they may do. The engines are written against these
//! two traits only, so they test without tables, ports or a planner.

use std::net::Ipv4Addr;

use crate::exchange::InjectKind;
use crate::ids::{IfId, Mac, PortId};

/// An interface that has link addresses: a port or a VLAN sub-interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The interface.
    pub id: IfId,
    /// The port below.
    pub port: PortId,
    /// VLAN id, 0 for untagged.
    pub vlan: u16,
    /// Our link address there.
    pub mac: Mac,
    /// Largest IP datagram.
    pub mtu: u16,
    /// Administratively up.
    pub up: bool,
}

/// Where a datagram would go now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To us.
    Local,
    /// To a subnet's broadcast address.
    Broadcast,
    /// Out of a link, to this neighbour.
    Neighbour {
        /// The port or VLAN.
        link: IfId,
        /// The neighbour: the destination itself, or a gateway.
        address: Ipv4Addr,
    },
    /// Into a tunnel, whose underlay leaves by a link if it is resolved.
    Tunnel {
        /// The tunnel.
        tunnel: IfId,
        /// Underlay link and the neighbour on it that outer packets go to.
        underlay: Option<(IfId, Ipv4Addr)>,
    },
    /// Nowhere.
    Unreachable,
}

/// Read side of the resolved state.
pub trait Topology {
    /// A port or VLAN interface; `None` for tunnels and unknown numbers.
    fn link(&self, id: IfId) -> Option<Link>;

    /// All ports and VLAN interfaces.
    fn links(&self) -> Vec<Link>;

    /// True if the address is one of ours, on any interface.
    fn owns(&self, address: Ipv4Addr) -> bool;

    /// Our address to use on an interface towards a destination: on a link the
    /// one whose subnet has `to`, else the first; on a tunnel its inner
    /// address; `None` if unnumbered.
    fn source(&self, interface: IfId, to: Ipv4Addr) -> Option<Ipv4Addr>;

    /// True if the address lies in a subnet connected to this link.
    fn on_link(&self, link: IfId, address: Ipv4Addr) -> bool;

    /// True if it is the network or broadcast address of a connected subnet,
    /// 255.255.255.255, or multicast.
    fn is_broadcast(&self, address: Ipv4Addr) -> bool;

    /// Longest match for a destination, resolved.
    fn way(&self, to: Ipv4Addr) -> Way;
}

/// What engines do to the outside.
pub trait Actions {
    /// Hands a packet to a worker. False (and counted by the caller) when the
    /// exchange is full.
    #[must_use]
    fn inject(&mut self, kind: InjectKind, bytes: &[u8]) -> bool;

    /// A neighbour's link address is known now, or changed: adjacencies that
    /// depend on it are planned and published before this returns, so that
    /// packets injected next meet them.
    fn neighbour_resolved(&mut self, link: IfId, address: Ipv4Addr, mac: Mac);

    /// A neighbour did not answer or its entry went away. `failed`: packets
    /// meet "unreachable" for now; otherwise they are held and asked for again.
    fn neighbour_lost(&mut self, link: IfId, address: Ipv4Addr, failed: bool);
}
