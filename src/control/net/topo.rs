//! What the protocol engines see of it.

use std::net::Ipv4Addr;

use super::Net;
use super::hops::Hop;
use super::links::host;
use super::rib::Candidate;
use crate::control::topology::{Link, Topology, Way};
use crate::ids::IfId;

impl Topology for Net {
    fn link(&self, id: IfId) -> Option<Link> {
        self.links.states.get(&id).map(|state| state.link)
    }

    fn links(&self) -> Vec<Link> {
        self.links.states.values().map(|state| state.link).collect()
    }

    fn owns(&self, address: Ipv4Addr) -> bool {
        self.desired.index.owners(address).next().is_some()
    }

    fn source(&self, interface: IfId, to: Ipv4Addr) -> Option<Ipv4Addr> {
        if let Some(state) = self.links.states.get(&interface) {
            let near = state.address.iter().find(|net| net.contains(&to));
            return near.or(state.address.first()).map(ipnet::Ipv4Net::addr);
        }
        let key = self.tunnels.get(&interface)?.key;
        self.desired.tunnels.get(&key)?.pair.map(|(address, _)| address)
    }

    fn on_link(&self, link: IfId, address: Ipv4Addr) -> bool {
        let state = self.links.states.get(&link);
        let in_subnet =
            state.is_some_and(|state| state.address.iter().any(|net| net.contains(&address)));
        // Hosts that a route to the link says are there.
        in_subnet || self.way(address) == Way::Neighbour { link, address }
    }

    fn is_broadcast(&self, address: Ipv4Addr) -> bool {
        address.is_broadcast()
            || address.is_multicast()
            || self.rib.get(host(address)).candidates().contains(&Candidate::Broadcast)
    }

    fn way(&self, to: Ipv4Addr) -> Way {
        if to.is_broadcast() {
            return Way::Broadcast;
        }
        match self.longest(to) {
            Some((_, Hop::Local)) => Way::Local,
            Some((_, Hop::Broadcast)) => Way::Broadcast,
            Some((_, Hop::Link(link))) => Way::Neighbour { link, address: to },
            Some((_, Hop::Neighbour(link, address))) => Way::Neighbour { link, address },
            Some((_, Hop::Tunnel(tunnel))) => {
                let below = self.tunnels.get(&tunnel).and_then(|state| state.underlay.ok());
                let underlay = below.map(|below| (below.link, below.next_hop));
                Way::Tunnel { tunnel, underlay }
            }
            Some((_, Hop::Blackhole | Hop::Unreachable)) | None => Way::Unreachable,
        }
    }

    fn only_by_default(&self, to: Ipv4Addr) -> bool {
        self.longest(to).is_some_and(|(prefix, _)| prefix.prefix_len() == 0)
    }
}
