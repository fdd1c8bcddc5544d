//! What the protocol engines (neighbours, ARP, ICMP) may ask of the
//! resolved state, and what they may do. The engines are written against these
//! two traits only, so they test without tables, ports or a planner.

use std::net::IpAddr;

use super::advertise::Advertised;
use super::liveness::GreEnds;
use super::names::Sought;
use super::net::Soft;
use super::tunnel_errors::Sent;
use crate::exchange::InjectKind;
use crate::ids::{Family, IfId, Mac, NextHopId, PortId};
use crate::model::liveness::{ProbeSpec, Timing};
use crate::wire::destination;

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
        address: IpAddr,
    },
    /// Into a tunnel, whose underlay leaves by a link if it is resolved.
    Tunnel {
        /// The tunnel.
        tunnel: IfId,
        /// Underlay link and the neighbour on it that outer packets go to;
        /// `None`: the tunnel is not running, and its packets are unreachable.
        underlay: Option<(IfId, IpAddr)>,
    },
    /// Nowhere.
    Unreachable,
}

/// A tunnel as what is sent to its far end, and not by a route, meets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelWay {
    /// Its adjacency.
    pub next_hop: NextHopId,
    /// False if the neighbour below is known not to answer.
    pub answers: bool,
    /// Largest inner datagram.
    pub mtu: u16,
}

/// How a tunnel is to be watched: what is configured, and the addresses to do
/// it with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The tunnel's name.
    pub name: String,
    /// Its outer pair: with another one, all that was found out is void.
    pub outer: Option<(IpAddr, IpAddr)>,
    /// Keepalives.
    pub keepalive: Option<(Timing, GreEnds)>,
    /// Probes, from an address of ours to another.
    pub probe: Option<(ProbeSpec, IpAddr, IpAddr)>,
}

/// Read side of the resolved state.
pub trait Topology {
    /// A port or VLAN interface; `None` for tunnels and unknown numbers.
    fn link(&self, id: IfId) -> Option<Link>;

    /// All ports and VLAN interfaces.
    fn links(&self) -> Vec<Link>;

    /// True if the address is one of ours, on any interface.
    fn owns(&self, address: IpAddr) -> bool;

    /// Our address to use on an interface towards a destination: on a link the
    /// one whose subnet has `to`, else the first; on a tunnel its inner
    /// address; `None` if unnumbered.
    fn source(&self, interface: IfId, to: IpAddr) -> Option<IpAddr>;

    /// True if the address lies in a subnet connected to this link, or a route
    /// says that its host is there.
    fn on_link(&self, link: IfId, address: IpAddr) -> bool;

    /// True if it is multicast, 255.255.255.255, or the network or broadcast
    /// address of a connected IPv4 subnet.
    fn is_broadcast(&self, address: IpAddr) -> bool;

    /// Longest match for a destination, resolved.
    fn way(&self, to: IpAddr) -> Way;

    /// Where this very datagram would go now: of several paths, the one of its
    /// flow. `None` if it is too short for a header.
    fn way_of(&self, datagram: &[u8]) -> Option<Way> {
        Some(self.way(destination(datagram)?))
    }

    /// True if that match is the default route.
    fn only_by_default(&self, to: IpAddr) -> bool;

    /// How packets of a family get into a tunnel that is watched, whatever its
    /// routes; `None` if it is not, or does not run.
    fn tunnel_way(&self, tunnel: IfId, inner: Family) -> Option<TunnelWay>;

    /// The name of an interface.
    fn name(&self, id: IfId) -> Option<&str>;

    /// The tunnels that send such packets: one, unless the key is not known.
    fn sending(&self, sent: &Sent) -> Vec<IfId>;

    /// What a tunnel's outer packets meet; `None` if it is not running.
    fn path(&self, tunnel: IfId) -> Option<OuterPath>;

    /// Largest inner packet of a family that a tunnel takes where outer ones
    /// of `outer` bytes pass; `None` if it is not running.
    fn inner_mtu(&self, tunnel: IfId, inner: Family, outer: u16) -> Option<u16>;
}

/// What a tunnel's outer packets meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OuterPath {
    /// Largest of them that is sent, bytes.
    pub outer_mtu: u16,
    /// ICMP errors about them may change what is known of the tunnel.
    pub trusts: bool,
}

/// What an engine is given: both sides at once.
pub trait World: Topology + Actions {}

impl<T: Topology + Actions> World for T {}

/// A change of the resolved state that engines have to follow, told in the
/// order it happened, after it was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An own address is on a link now: announce it (gratuitous ARP; for IPv6
    /// also ask first whether somebody else has it).
    AddressAdded {
        /// The link.
        link: IfId,
        /// The address.
        address: IpAddr,
    },
    /// An own address left a link.
    AddressRemoved {
        /// The link.
        link: IfId,
        /// The address.
        address: IpAddr,
    },
    /// A link went away or down: forget its neighbours and what is held for
    /// them.
    LinkDown {
        /// The link.
        link: IfId,
    },
    /// A static neighbour is in place. Its adjacency is planned already.
    StaticAdded {
        /// The link.
        link: IfId,
        /// The neighbour.
        address: IpAddr,
        /// Its link address.
        mac: Mac,
    },
    /// A static neighbour went away.
    StaticRemoved {
        /// The link.
        link: IfId,
        /// The neighbour.
        address: IpAddr,
    },
    /// A published (proxy) entry is configured.
    Published {
        /// The link it is published on.
        link: IfId,
        /// The address answered for.
        address: IpAddr,
        /// Link address given out.
        mac: Mac,
    },
    /// A published entry went away.
    Unpublished {
        /// The link.
        link: IfId,
        /// The address.
        address: IpAddr,
    },
    /// `arp -d ADDRESS`: forget a learned entry too.
    Forget {
        /// The address.
        address: IpAddr,
    },
    /// `arp -d -a`, `ndp -c`: forget all learned entries.
    ForgetAll {
        /// Only those of this family.
        family: Option<Family>,
    },
    /// A tunnel's far end is to be found by a name, or by none any more.
    Sought {
        /// The tunnel.
        tunnel: IfId,
        /// What is sought.
        sought: Option<Sought>,
    },
    /// Routes, addresses or tunnels changed: published entries may have become
    /// active or silent.
    RoutesChanged,
    /// A tunnel is to be watched like this, or not any more.
    Watched {
        /// The tunnel.
        tunnel: IfId,
        /// How.
        watch: Option<Watch>,
    },
    /// Links changed: these are advertised from now on, and no others.
    Advertised(Vec<Advertised>),
    /// ICMP behaviour changed.
    Icmp(crate::model::spec::IcmpSpec),
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
    fn neighbour_resolved(&mut self, link: IfId, address: IpAddr, mac: Mac);

    /// A neighbour did not answer or its entry went away. `failed`: packets
    /// meet "unreachable" for now; otherwise they are held and asked for again.
    fn neighbour_lost(&mut self, link: IfId, address: IpAddr, failed: bool);

    /// The far end of a tunnel does not answer, or does again: its routes are
    /// withdrawn, or back, when this returns.
    fn set_dead(&mut self, tunnel: IfId, dead: bool);

    /// Changes what is known of a running tunnel; planned and published before
    /// this returns.
    fn set_soft(&mut self, tunnel: IfId, change: impl FnOnce(&mut Soft));
}
