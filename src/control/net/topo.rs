//! What the protocol engines see of it.

use std::net::{IpAddr, Ipv4Addr};

use super::Net;
use super::hops::Hop;
use super::links::host;
use super::rib::Candidate;
use crate::control::topology::{Link, Topology, Way};
use crate::ids::IfId;
use crate::wire::destination;

impl Topology for Net {
    fn link(&self, id: IfId) -> Option<Link> {
        self.links.states.get(&id).map(|state| state.link)
    }

    fn links(&self) -> Vec<Link> {
        self.links.states.values().map(|state| state.link).collect()
    }

    fn owns(&self, address: IpAddr) -> bool {
        let IpAddr::V4(address) = address else { return false };
        self.desired.index.owners(address).next().is_some()
    }

    fn source(&self, interface: IfId, to: IpAddr) -> Option<IpAddr> {
        let IpAddr::V4(to) = to else { return None };
        if let Some(state) = self.links.states.get(&interface) {
            let near = state.address.iter().find(|net| net.contains(&to));
            return near.or(state.address.first()).map(|net| net.addr().into());
        }
        let key = self.tunnels.get(&interface)?.key;
        self.desired.tunnels.get(&key)?.pair.map(|(address, _)| address.into())
    }

    fn on_link(&self, link: IfId, address: IpAddr) -> bool {
        let IpAddr::V4(to) = address else { return false };
        let state = self.links.states.get(&link);
        let in_subnet =
            state.is_some_and(|state| state.address.iter().any(|net| net.contains(&to)));
        // Hosts that a route to the link says are there.
        in_subnet || self.way(address) == Way::Neighbour { link, address }
    }

    fn is_broadcast(&self, address: IpAddr) -> bool {
        let IpAddr::V4(address) = address else { return address.is_multicast() };
        address.is_broadcast()
            || address.is_multicast()
            || self.rib.get(host(address)).candidates().contains(&Candidate::Broadcast)
    }

    fn way(&self, to: IpAddr) -> Way {
        let IpAddr::V4(to) = to else { return Way::Unreachable };
        self.way_of_flow(to, self.tables.flow.ends(0, to.into(), 0, 0))
    }

    fn way_of(&self, datagram: &[u8]) -> Option<Way> {
        let IpAddr::V4(to) = destination(datagram)? else { return Some(Way::Unreachable) };
        Some(self.way_of_flow(to, self.tables.flow.datagram(datagram)))
    }

    fn only_by_default(&self, to: IpAddr) -> bool {
        let IpAddr::V4(to) = to else { return false };
        self.longest(to).is_some_and(|(prefix, _)| prefix.prefix_len() == 0)
    }
}

impl Net {
    /// Where a flow goes that is addressed to `to`.
    fn way_of_flow(&self, to: Ipv4Addr, flow: u32) -> Way {
        if to.is_broadcast() {
            return Way::Broadcast;
        }
        let hop = match self.longest(to) {
            Some((_, Hop::Paths(set))) => self.groups.get(set).and_then(|group| group.owner(flow)),
            Some((_, hop)) => Some(hop),
            None => None,
        };
        match hop {
            Some(Hop::Local) => Way::Local,
            Some(Hop::Broadcast) => Way::Broadcast,
            Some(Hop::Link(link)) => Way::Neighbour { link, address: to.into() },
            Some(Hop::Neighbour(link, address)) => Way::Neighbour { link, address: address.into() },
            Some(Hop::Tunnel(tunnel)) => {
                let below = self.tunnels.get(&tunnel).and_then(|state| state.underlay.ok());
                let underlay = below.map(|below| (below.link, below.next_hop.into()));
                Way::Tunnel { tunnel, underlay }
            }
            Some(Hop::Blackhole | Hop::Unreachable | Hop::Paths(_)) | None => Way::Unreachable,
        }
    }
}
