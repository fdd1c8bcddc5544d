//! What the protocol engines see of it.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::Net;
use super::desired::with_address;
use super::hops::Hop;
use super::key::Key;
use super::links::host;
use super::plan;
use super::rib::Candidate;
use crate::control::far_ends::InUse;
use crate::control::topology::{Link, OuterPath, Topology, TunnelWay, Way};
use crate::control::tunnel_errors::{QuotedKey, Sent};
use crate::ids::{Family, IfId, TableId};
use crate::model::ip;
use crate::tables::tunnel::Received;
use crate::wire::destination;

impl Topology for Net {
    fn link(&self, id: IfId) -> Option<Link> {
        self.links.states.get(&id).map(|state| state.link)
    }

    fn links(&self) -> Vec<Link> {
        self.links.states.values().map(|state| state.link).collect()
    }

    fn owns(&self, address: IpAddr) -> bool {
        let link_local = || {
            let said = self.rib.get(host(address)).candidates();
            is_link_local(address) && said.contains(&Candidate::Local)
        };
        self.desired.index.owners(address).next().is_some() || link_local()
    }

    fn source(&self, interface: IfId, to: IpAddr) -> Option<IpAddr> {
        if let Some(state) = self.links.states.get(&interface) {
            if is_link_local(to) {
                return state.link_local.map(IpAddr::V6);
            }
            let near = state.address.iter().find(|net| net.contains(&to));
            let of_family = |net: &&IpNet| net.addr().is_ipv4() == to.is_ipv4();
            return near.or(state.address.iter().find(of_family)).map(IpNet::addr);
        }
        let key = self.tunnels.get(&interface)?.key;
        let config = self.desired.addressed(key)?;
        match to {
            IpAddr::V4(_) => config.own().find(IpAddr::is_ipv4),
            IpAddr::V6(to) => {
                let near = config.inet6.iter().find(|net| net.contains(&to));
                near.or(config.inet6.first()).map(|net| net.addr().into())
            }
        }
    }

    fn on_link(&self, link: IfId, address: IpAddr) -> bool {
        let state = self.links.states.get(&link);
        let in_subnet =
            state.is_some_and(|state| state.address.iter().any(|net| net.contains(&address)));
        // Each link has link-local addresses; and hosts that a route to the link
        // says are there.
        in_subnet
            || is_link_local(address) && state.is_some_and(|state| state.link_local.is_some())
            || self.way(address) == Way::Neighbour { link, address }
    }

    fn is_broadcast(&self, address: IpAddr) -> bool {
        let limited = IpAddr::V4(Ipv4Addr::BROADCAST);
        address == limited
            || address.is_multicast()
            || address.is_ipv4()
                && self.rib.get(host(address)).candidates().contains(&Candidate::Broadcast)
    }

    fn way(&self, to: IpAddr) -> Way {
        // Whatever else the flow is: it is one of those with this end.
        let bits = ip::bits(to);
        let end = (bits ^ bits >> 32 ^ bits >> 64 ^ bits >> 96) as u32;
        self.way_of_flow(to, self.tables.flow.ends(0, end, 0, 0))
    }

    fn way_of(&self, datagram: &[u8]) -> Option<Way> {
        let to = destination(datagram)?;
        Some(self.way_of_flow(to, self.tables.flow.datagram(datagram)))
    }

    fn only_by_default(&self, to: IpAddr) -> bool {
        self.longest(to).is_some_and(|(prefix, _)| prefix.prefix_len() == 0)
    }

    fn tunnel_way(&self, tunnel: IfId, inner: Family) -> Option<TunnelWay> {
        self.way_into(tunnel, inner)
    }

    fn name(&self, id: IfId) -> Option<&str> {
        Net::name(self, id)
    }

    fn sending(&self, sent: &Sent) -> Vec<IfId> {
        /// Tunnels to one far end looked at, beside the likeliest.
        const LOOK: usize = 64;
        let key = match sent.key {
            QuotedKey::Is(key) => key,
            QuotedKey::Unknown => None,
        };
        let back = |protocol| Received {
            table: TableId(0),
            source: sent.destination,
            destination: sent.source,
            protocol,
            key,
            port: sent.port,
        };
        // Most tunnels have one key for both directions, and far ends one tunnel.
        let index = &self.desired.index;
        let all = with_address(&index.remotes, sent.destination).take(LOOK);
        let likely =
            sent.protocol.into_iter().flat_map(|protocol| index.received_as(back(protocol)));
        let sending = likely.chain(all).filter(|key| self.sends(*key, sent));
        let mut found: Vec<IfId> = sending.filter_map(|key| self.links.id(key)).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    fn path(&self, tunnel: IfId) -> Option<OuterPath> {
        let state = self.tunnels.get(&tunnel)?;
        let outer_mtu = self.outer_mtu(tunnel, state.underlay.ok()?.link);
        let trusts = self.desired.tunnels.get(&state.key)?.pmtu;
        Some(OuterPath { outer_mtu, trusts })
    }

    fn inner_mtu(&self, tunnel: IfId, inner: Family, outer: u16) -> Option<u16> {
        let state = self.tunnels.get(&tunnel)?;
        let config = self.desired.tunnels.get(&state.key)?;
        let outer = outer.min(self.outer_mtu(tunnel, state.underlay.ok()?.link));
        Some(plan::tunnel_mtu(state.key.tunnel_kind()?, config, inner, Some(outer)))
    }
}

impl InUse for Net {
    fn far_end(&self, tunnel: IfId) -> Option<IpAddr> {
        let key = self.links.record(tunnel)?.key;
        let (_, remote) = self.desired.tunnels.get(&key)?.endpoints?;
        Some(remote).filter(|remote| !remote.is_unspecified())
    }

    fn several(&self, tunnel: IfId) -> bool {
        let key = self.links.record(tunnel).map(|record| record.key);
        let config = key.and_then(|key| self.desired.tunnels.get(&key));
        config.is_some_and(|config| config.multipoint.is_some())
    }

    fn part(&self, tunnel: IfId, inner: IpAddr) -> Option<(IpAddr, IfId)> {
        let key = self.links.record(tunnel)?.key;
        let Key::Gre(number) = key else { return None };
        let all = self.desired.tunnels.get(&key)?.multipoint.as_ref()?;
        let outer = *all.nbma.get(&inner).or_else(|| all.learned.get(&inner))?;
        Some((outer, self.links.id(Key::Peer(number, outer))?))
    }
}

impl Net {
    /// True if a tunnel sends such packets.
    fn sends(&self, key: Key, sent: &Sent) -> bool {
        let (Some(kind), Some(config)) = (key.tunnel_kind(), self.desired.tunnels.get(&key)) else {
            return false;
        };
        let out = config.gre.key_out;
        config.outer(kind) == Some((sent.source, sent.destination))
            && config.port() == sent.port
            && sent.protocol.is_none_or(|protocol| config.protocols(kind).contains(&protocol))
            && (sent.key == QuotedKey::Unknown || sent.key == QuotedKey::Is(out))
    }

    /// Where a flow goes that is addressed to `to`.
    fn way_of_flow(&self, to: IpAddr, flow: u32) -> Way {
        if to == IpAddr::V4(Ipv4Addr::BROADCAST) {
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
            Some(Hop::Link(link)) => Way::Neighbour { link, address: to },
            Some(Hop::Neighbour(link, address)) => Way::Neighbour { link, address },
            Some(Hop::Tunnel(tunnel, _) | Hop::Probe(tunnel, _)) => {
                let below = self.tunnels.get(&tunnel).and_then(|state| state.underlay.ok());
                let underlay = below.map(|below| (below.link, below.next_hop));
                Way::Tunnel { tunnel, underlay }
            }
            Some(Hop::Blackhole | Hop::Unreachable | Hop::Paths(_)) | None => Way::Unreachable,
        }
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}
