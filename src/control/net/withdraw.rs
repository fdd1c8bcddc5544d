//! Tunnels whose far end does not answer (`src/control/liveness.rs`), and what
//! leads into them.
//!
//! A dead tunnel has an adjacency that says "unreachable", so it leaves the
//! groups of multipath routes; and what leads into it does not count: the FIB has
//! what else is said of the prefix, or nothing, and then a less specific prefix
//! has its packets. The RIB still says it, and gateways behind the tunnel stay
//! behind it: a route is over a dead tunnel, not over whatever covers its gateway.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::Net;
use super::commit::{Work, says_of};
use super::desired::Target;
use super::hops::{Hop, into_tunnel};
use super::key::Key;
use super::paths::SetId;
use super::plan::Station;
use super::rib::{Candidate, Entry};
use super::watch::Dependent;
use crate::control::liveness::GreEnds;
use crate::control::topology::{TunnelWay, Watch};
use crate::ids::{Family, IfId, NextHopId};
use crate::model::ip;

impl Net {
    /// A tunnel died, or is back: all that leads into it is looked at anew.
    pub(super) fn withdraw(&self, tunnel: IfId, work: &mut Work) {
        for prefix in self.leading_into(tunnel) {
            // Who looked something up and met it may end elsewhere.
            work.dependents.extend(self.watch.at(prefix));
            work.prefixes.push(prefix);
        }
        work.hops.extend(into_tunnel(tunnel));
        work.done.routes = true;
    }

    /// True if liveness says that the far end does not answer.
    pub(super) fn is_dead(&self, tunnel: IfId) -> bool {
        self.soft(tunnel).dead
    }

    /// True if what leads there does not count: into a dead tunnel, or by paths
    /// that all are.
    fn is_withdrawn(&self, hop: Hop) -> bool {
        if self.soft.is_empty() {
            return false;
        }
        let into_dead = |hop: &Hop| matches!(hop, Hop::Tunnel(id, _) if self.is_dead(*id));
        match hop {
            Hop::Paths(set) => self
                .groups
                .get(set)
                .is_some_and(|state| !state.hops.is_empty() && state.hops.iter().all(into_dead)),
            hop => into_dead(&hop),
        }
    }

    /// What counts of all that is said about a prefix, and where that leads.
    pub(super) fn counting(&self, prefix: IpNet, entry: &Entry) -> Option<(Candidate, Hop)> {
        let hops = entry.candidates().into_iter().map(|who| (who, self.hop(prefix, entry, who)));
        { hops }.find(|(_, hop)| !self.is_withdrawn(*hop))
    }

    /// Prefixes that lead into a tunnel: those it says itself, static routes to
    /// it, by paths one of which is it, and via gateways behind it.
    fn leading_into(&self, tunnel: IfId) -> BTreeSet<IpNet> {
        let mut found = BTreeSet::new();
        let Some(state) = self.tunnels.get(&tunnel) else { return found };
        let config = self.desired.tunnels.get(&state.key);
        let says = config.into_iter().flat_map(|config| says_of(tunnel, config));
        let says = says.filter(|(_, who)| matches!(who, Candidate::Tunnel(_)));
        let mut next: Vec<IpNet> = says.map(|(prefix, _)| prefix).collect();
        next.extend(self.desired.index.routes_through(state.key));
        for hop in into_tunnel(tunnel) {
            next.extend(self.groups.with(hop).flat_map(|set| self.routes_by(set)));
        }
        while let Some(prefix) = next.pop() {
            if found.insert(prefix) {
                next.extend(self.via(prefix, tunnel));
            }
        }
        found
    }

    /// Static routes into a tunnel whose gateway was found by a prefix.
    fn via(&self, prefix: IpNet, tunnel: IfId) -> Vec<IpNet> {
        let mut routes = Vec::new();
        for who in self.watch.at(prefix) {
            match who {
                Dependent::Route(to) => routes.push(to),
                Dependent::Gateway(gateway) => {
                    routes.extend(self.desired.index.routes_via(gateway));
                }
                _ => {}
            }
        }
        let into = |to: &IpNet| matches!(self.rib.get(*to).route(), Some(Hop::Tunnel(id, _)) if id == tunnel);
        routes.retain(into);
        routes
    }

    /// Static routes that lead to a set of paths.
    pub(super) fn routes_by(&self, set: SetId) -> Vec<IpNet> {
        let index = &self.desired.index;
        let by = |to: &IpNet| self.desired.routes.get(to) == Some(&Target::Paths(set));
        match self.desired.sets.paths(set).first().map(|path| path.target) {
            Some(Target::Interface(key)) => index.routes_through(key).filter(by).collect(),
            Some(Target::Via(gateway)) => index.routes_via(gateway).filter(by).collect(),
            _ => Vec::new(),
        }
    }

    /// A path of a set leads elsewhere: whether its routes count may be another
    /// matter now.
    pub(super) fn set_moved(&self, set: SetId, work: &mut Work) {
        if !self.soft.is_empty() {
            work.prefixes.extend(self.routes_by(set));
        }
    }

    /// How what is sent to a tunnel's far end gets in, if the tunnel is watched
    /// and runs.
    pub(super) fn way_into(&self, tunnel: IfId, inner: Family) -> Option<TunnelWay> {
        let below = self.tunnels.get(&tunnel)?.underlay.ok()?;
        Some(TunnelWay {
            next_hop: self.hops.get(Hop::Probe(tunnel, inner))?,
            answers: self.station(below.link, below.next_hop) != Station::Failed,
            mtu: self.tunnel_mtu(tunnel, inner)?,
        })
    }

    /// The neighbour that packets wait for which met this next hop, if it is one
    /// for keepalives and probes.
    pub fn awaited_below(&self, next_hop: NextHopId) -> Option<(IfId, IpAddr)> {
        next_hop.group_index().is_none().then_some(())?;
        let guard = self.tables.pin();
        let tunnel = self.tables.adjacencies.get(next_hop.index(), &guard).out_if;
        let probed = |inner| self.hops.get(Hop::Probe(tunnel, inner)) == Some(next_hop);
        let below = self.tunnels.get(&tunnel)?.underlay.ok()?;
        let ours = [Family::V4, Family::V6].into_iter().any(probed);
        ours.then_some((below.link, below.next_hop))
    }

    /// How a tunnel is to be watched, if it is.
    pub(super) fn watch_of(&self, key: Key) -> Option<Watch> {
        let config = self.desired.tunnels.get(&key).filter(|config| config.is_watched())?;
        let kind = key.tunnel_kind()?;
        let outer = config.outer(kind);
        let ends = match outer {
            Some((IpAddr::V4(local), IpAddr::V4(remote))) => {
                Some(GreEnds { local, remote, key: config.gre.key_in })
            }
            _ => None,
        };
        let probe = config.probe.zip(config.probe_ends());
        Some(Watch {
            name: self.desired.names.name(key),
            outer,
            keepalive: config.keepalive.zip(ends),
            probe: probe.map(|(spec, (from, to))| (spec, from, to)),
        })
    }

    /// Where something that is said about a prefix leads.
    fn hop(&self, prefix: IpNet, entry: &Entry, who: Candidate) -> Hop {
        match who {
            Candidate::Local => Hop::Local,
            // Nobody else's either: the subnet-router anycast address is any
            // router's on the subnet (RFC 4291 §2.6.1), and IPv6 has no broadcast.
            Candidate::Broadcast => match ip::family(&prefix) {
                Family::V4 => Hop::Broadcast,
                Family::V6 => Hop::Local,
            },
            Candidate::Connected(link) => Hop::Link(link),
            Candidate::Tunnel(tunnel) => Hop::Tunnel(tunnel, ip::family(&prefix)),
            // A host route to a link hides the host route that its neighbour
            // gets when it is resolved: it has to be that route itself.
            Candidate::Static(_) => match entry.route().unwrap_or(Hop::Unreachable) {
                Hop::Link(link) if ip::is_host(&prefix) => Hop::Neighbour(link, prefix.addr()),
                hop => hop,
            },
        }
    }
}
