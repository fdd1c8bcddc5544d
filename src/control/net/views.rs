//! How it is shown: interfaces, routes, tables, and the running state as a
//! configuration.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv6Net};

use super::desired::Target;
use super::hops::Hop;
use super::key::Key;
use super::links::{LinkState, host};
use super::paths::{Path, SetId};
use super::plan::Station;
use super::rib::Candidate;
use super::tunnel_config::TunnelConfig;
use super::{Net, Reason, Soft, Underlay, plan};
use crate::control::advertise::Advertised;
use crate::ids::{Family, IfId};
use crate::model::ip;
use crate::model::spec::{
    HostName, NeighbourSpec, OuterDf, PathSpec, PathWay, PortSpec, PublishSpec, ReversePath,
    RouteSpec, RouteTarget, State, TunnelSpec, VlanSpec,
};
use crate::model::view::{
    AddressView, FarView, InterfaceView, OuterPathView, PathCounts, PathView, RouteView,
    TablesView, Traffic, TunnelView, UnderlayView,
};
use crate::wire::icmp6::nd::MOST_PREFIXES;

impl Net {
    /// The links whose hosts are told of us, as they are now.
    pub fn advertised(&self) -> Vec<Advertised> {
        let told = |(id, state): (&IfId, &LinkState)| {
            let config = self.desired.links.get(&self.links.record(*id)?.key)?;
            let (spec, source) = config.advertise.zip(state.link_local)?;
            let prefixes = config.prefixes().map(|net| (net.network(), net.prefix_len()));
            let prefixes = prefixes.take(MOST_PREFIXES).collect();
            Some(Advertised { link: state.link, source, spec, prefixes })
        };
        self.links.states.iter().filter_map(told).collect()
    }

    /// The running state as a configuration; reproduces itself.
    pub fn state(&self) -> State {
        let desired = &self.desired;
        let name = |key: &Key| desired.names.name(*key);
        let ports = self.facts.iter().map(|facts| {
            let config = desired.links.get(&Key::Port(facts.id));
            let address = config.map(|c| c.address.clone()).unwrap_or_default();
            let mtu = config.and_then(|c| c.mtu).unwrap_or(facts.spec.mtu);
            let up = config.map_or(facts.spec.up, |c| c.up);
            let rpf = config.map_or(ReversePath::Off, |c| c.rpf);
            let advertise = config.and_then(|c| c.advertise);
            PortSpec { address, mtu, rpf, advertise, up, ..facts.spec.clone() }
        });
        let vlans = desired.links.iter().filter(|(key, _)| matches!(key, Key::Vlan(..)));
        let vlans = vlans.map(|(key, config)| VlanSpec {
            name: name(key),
            address: config.address.clone(),
            mtu: config.mtu,
            rpf: config.rpf,
            advertise: config.advertise,
            up: config.up,
        });
        State {
            ports: ports.collect(),
            vlans: vlans.collect(),
            tunnels: desired.tunnels.keys().filter_map(|key| self.tunnel_spec(*key)).collect(),
            routes: desired.routes.iter().map(|(to, t)| self.route_spec(*to, *t)).collect(),
            neighbours: desired
                .neighbours
                .iter()
                .map(|(address, (link, mac))| NeighbourSpec {
                    address: *address,
                    port: Some(name(link)),
                    mac: *mac,
                })
                .collect(),
            published: desired
                .published
                .iter()
                .map(|(address, (link, mac))| PublishSpec {
                    address: *address,
                    port: Some(name(link)),
                    mac: *mac,
                })
                .collect(),
            filters: desired.filters.iter().map(|rule| rule.spec.clone()).collect(),
            icmp: desired.icmp.clone(),
        }
    }

    pub(super) fn tunnel_spec(&self, key: Key) -> Option<TunnelSpec> {
        let config = self.desired.tunnels.get(&key).filter(|_| key.whole().is_none())?;
        let multipoint = config.multipoint.as_ref();
        Some(TunnelSpec {
            name: self.desired.names.name(key),
            kind: key.tunnel_kind()?,
            local: config.endpoints.map(|(local, _)| local).or(multipoint.map(|all| all.local)),
            remote: config.remote.clone(),
            learn: config.learn,
            resolve_interval: config.resolve_interval,
            address: match multipoint {
                Some(all) => all.address,
                None => config.pair.map(|(address, _)| address),
            },
            peer: config.pair.map(|(_, peer)| peer),
            nbma: multipoint.map(|all| all.nbma.clone()).unwrap_or_default(),
            inet6: config.inet6.clone(),
            link0: config.link0,
            link1: config.link1,
            mtu: config.mtu,
            ttl: config.ttl,
            dscp: config.dscp,
            ecn: config.ecn,
            df: config.df,
            mss: config.mss,
            pmtu: config.pmtu,
            reassemble: config.reassemble,
            gre: config.gre,
            keepalive: config.keepalive,
            probe: config.probe,
            udp: config.udp,
            encaplimit: config.encaplimit,
            allow: config.allow.clone(),
            rpf: config.rpf,
            port: config.port.map(|port| self.desired.names.name(port)),
            up: config.up,
        })
    }

    pub(super) fn route_spec(&self, to: IpNet, target: Target) -> RouteSpec {
        let target = match target {
            Target::Via(gateway) => RouteTarget::Via(gateway),
            Target::Near(port, vlan, via) => {
                let interface = self.desired.names.name(Key::link(port, vlan));
                RouteTarget::Near { via, interface }
            }
            Target::Interface(key) => RouteTarget::Interface(self.desired.names.name(key)),
            Target::Blackhole => RouteTarget::Blackhole,
            Target::Reject => RouteTarget::Reject,
            Target::Paths(set) => {
                let spec = |path: &Path| {
                    let way = match path.target {
                        Target::Interface(key) => PathWay::Interface(self.desired.names.name(key)),
                        Target::Via(gateway) => PathWay::Via(gateway),
                        _ => return None,
                    };
                    Some(PathSpec { way, weight: path.weight })
                };
                let paths = self.desired.sets.paths(set);
                RouteTarget::Paths(paths.iter().filter_map(spec).collect())
            }
        };
        RouteSpec { to, target }
    }

    /// The name of an interface.
    pub fn name(&self, id: IfId) -> Option<&str> {
        self.links.record(id).map(|record| record.name.as_str())
    }

    /// The interface of a name.
    pub fn interface_named(&self, name: &str) -> Option<IfId> {
        self.links.id(self.desired.names.key(name)?)
    }

    /// All interfaces: ports, then VLANs, then tunnels. Traffic is zero.
    pub fn interfaces(&self) -> Vec<(IfId, InterfaceView)> {
        let sorted = self.links.sorted();
        sorted.into_iter().filter_map(|(key, id)| Some((id, self.view(key, id)?))).collect()
    }

    /// One interface by its name, without looking at the others. Traffic is zero.
    pub fn interface(&self, name: &str) -> Option<(IfId, InterfaceView)> {
        let key = self.desired.names.key(name)?;
        let id = self.links.id(key)?;
        Some((id, self.view(key, id)?))
    }

    fn view(&self, key: Key, id: IfId) -> Option<InterfaceView> {
        let name = self.links.name(id).to_owned();
        let index = id.0 + 1;
        let Some(kind) = key.tunnel_kind() else {
            let state = self.links.states.get(&id)?;
            let mut flags = vec!["BROADCAST", "MULTICAST"];
            if self.desired.links.get(&key).is_some_and(|config| config.up) {
                flags.insert(0, "UP");
            }
            if state.link.up {
                flags.insert(2, "RUNNING");
            }
            let link_local = state.link_local.map(|address| Ipv6Net::new_assert(address, 64));
            let own = state.address.iter().copied().chain(link_local.map(IpNet::V6));
            return Some(InterfaceView {
                name,
                index,
                kind: if state.link.vlan == 0 { "port" } else { "vlan" }.to_owned(),
                flags: flags.into_iter().map(str::to_owned).collect(),
                mtu: state.link.mtu,
                mac: Some(state.link.mac),
                addresses: own
                    .map(|net| AddressView { broadcast: broadcast(&net), ..address_view(net) })
                    .collect(),
                advertise: self.desired.links.get(&key)?.advertise,
                rpf: self.desired.links.get(&key)?.rpf.to_string(),
                tunnel: None,
                traffic: Traffic::default(),
            });
        };
        let config = self.desired.tunnels.get(&key)?;
        let underlay = self.tunnels.get(&id).map(|state| state.underlay)?;
        let parts = config.parts(key).into_keys().filter_map(|part| self.links.id(part));
        let run = |id: IfId| {
            self.tunnels.get(&id).is_some_and(|state| state.underlay.is_ok()) && !self.is_dead(id)
        };
        let runs = run(id) || parts.into_iter().any(run);
        let flags = [
            (config.up, "UP"),
            (true, "POINTOPOINT"),
            (runs, "RUNNING"),
            (config.link0, "LINK0"),
            (config.link1, "LINK1"),
            (true, "MULTICAST"),
        ];
        let below = underlay.ok().map(|below| self.outer_mtu(id, below.link));
        Some(InterfaceView {
            name,
            index,
            kind: kind.prefix().to_owned(),
            flags: flags.iter().filter(|(on, _)| *on).map(|(_, f)| (*f).to_owned()).collect(),
            mtu: plan::tunnel_mtu(kind, config, main_family(config), below),
            mac: None,
            addresses: tunnel_addresses(self.desired.addressed(key)?),
            advertise: None,
            rpf: config.rpf.to_string(),
            tunnel: Some(TunnelView {
                kind: kind.prefix().to_owned(),
                local: config
                    .outer(kind)
                    .map(|(local, _)| local)
                    .or(config.multipoint.as_ref().map(|all| all.local)),
                remote: config
                    .outer(kind)
                    .map(|(_, remote)| remote)
                    .filter(|remote| !remote.is_unspecified()),
                far: config.may_move().then(|| FarView {
                    name: config.host_name().map(ToString::to_string),
                    found: config.is_found()
                        || config.multipoint.as_ref().is_some_and(|all| !all.learned.is_empty()),
                    ..FarView::default()
                }),
                ttl: config.ttl,
                dscp: config.dscp.to_string(),
                ecn: config.ecn.to_string(),
                df: if config.df == OuterDf::Copy { "copy" } else { "set" }.to_owned(),
                mss: config.mss.to_string(),
                pmtu: config.pmtu,
                reassemble: config.reassemble,
                path: self.outer_path_view(id),
                options: config.gre.to_string(),
                udp: config.udp.map_or(String::new(), |udp| udp.to_string()),
                encaplimit: config.encaplimit.to_string(),
                allow: config.allow.clone(),
                port: config.port.map(|port| self.desired.names.name(port)),
                underlay: underlay.ok().map(|below| self.underlay_view(below)),
                reason: match underlay {
                    Err(_) if runs => None,
                    Err(reason) => Some(self.reason(id, reason)),
                    Ok(_) => self.is_dead(id).then(|| "its far end does not answer".to_owned()),
                },
                liveness: None,
            }),
            traffic: Traffic::default(),
        })
    }

    fn name_of_far_end(&self, id: IfId) -> Option<&HostName> {
        let key = self.links.record(id)?.key;
        self.desired.tunnels.get(&key)?.host_name()
    }

    fn outer_path_view(&self, id: IfId) -> OuterPathView {
        let Soft { path_mtu, unreachable, .. } = self.heard(id);
        OuterPathView { mtu: path_mtu, unreachable, counts: PathCounts::default() }
    }

    fn underlay_view(&self, below: Underlay) -> UnderlayView {
        let fixed = self.neighbours.get(&(below.link, below.next_hop)).and_then(|n| n.fixed);
        let state = match self.station(below.link, below.next_hop) {
            Station::Known(_) if fixed.is_some() => "permanent",
            Station::Known(_) => "reachable",
            Station::Failed => "failed",
            Station::Unknown => "incomplete",
        };
        UnderlayView {
            route: below.route,
            interface: self.links.name(below.link).to_owned(),
            next_hop: below.next_hop,
            state: state.to_owned(),
        }
    }

    /// Why a tunnel is not running, as a sentence without its name.
    pub(super) fn reason(&self, id: IfId, reason: Reason) -> String {
        match reason {
            Reason::NoPair => "it has no inner addresses".to_owned(),
            Reason::NoEndpoints => "it has no tunnel addresses".to_owned(),
            Reason::Unknown => match self.name_of_far_end(id) {
                Some(name) => format!("the address of {name} is not known yet"),
                None => "nobody has sent it a packet with its key yet".to_owned(),
            },
            Reason::Multipoint => "none of its peers can be sent to".to_owned(),
            Reason::Down => "it is down".to_owned(),
            Reason::NotOwn(local) => {
                format!("its tunnel source {local} is not one of our addresses")
            }
            Reason::Own(remote) => format!("its far end was found at {remote}, which is ours"),
            Reason::Broadcast(remote) => format!("{remote} is an address that no host has"),
            Reason::NoRoute(remote) => format!("there is no route to {remote}"),
            Reason::Discarded(remote, route) => {
                format!("the route to {remote} ({route}) discards packets")
            }
            Reason::Unresolved(remote, route) => {
                format!(
                    "the route to {remote} ({route}) does not resolve: its gateway is not reachable"
                )
            }
            Reason::Through(remote, through) if through == id => {
                format!("the route to {remote} leads through {} itself", self.links.name(id))
            }
            Reason::Through(remote, through) => format!(
                "the route to {remote} leads through {}: tunnels in tunnels are not supported yet",
                self.links.name(through)
            ),
            Reason::TooSmall(below) => format!(
                "the MTU of {}, {}, leaves no room for {} bytes",
                self.links.name(below.link),
                self.links.mtu(below.link),
                super::values::LEAST_MTU
            ),
        }
    }

    /// All routes in order of prefix, what counts first. Without `all`, those
    /// that somebody configured, and those to tunnels and connected subnets.
    pub fn routes(&self, all: bool) -> Vec<RouteView> {
        let mut views = Vec::new();
        for (prefix, entry) in self.rib.iter() {
            let counting = self.counting(prefix, entry).map(|(candidate, _)| candidate);
            for candidate in entry.candidates() {
                let shown = !matches!(candidate, Candidate::Local | Candidate::Broadcast);
                if all || shown {
                    views.push(self.route_view(prefix, candidate, counting == Some(candidate)));
                }
            }
        }
        if all {
            let neighbours = self.active.iter();
            views.extend(neighbours.map(|(address, link)| self.neighbour_view(*address, *link)));
            // Stable: what counts stays first.
            views.sort_by_key(|view| view.to);
        }
        views
    }

    /// The longest match for a destination.
    pub fn lookup_route(&self, to: IpAddr) -> Option<RouteView> {
        self.get_route(self.longest(to)?.0)
    }

    /// The route of this very prefix.
    pub fn get_route(&self, to: IpNet) -> Option<RouteView> {
        let entry = self.rib.get(to);
        if let Some((candidate, _)) = self.counting(to, &entry) {
            return Some(self.route_view(to, candidate, true));
        }
        if let Some(link) = self.active.get(&to.addr()).filter(|_| ip::is_host(&to)) {
            return Some(self.neighbour_view(to.addr(), *link));
        }
        // Withdrawn, but there.
        Some(self.route_view(to, *entry.candidates().first()?, false))
    }

    fn neighbour_view(&self, address: IpAddr, link: IfId) -> RouteView {
        RouteView {
            to: host(address),
            gateway: None,
            interface: Some(self.links.name(link).to_owned()),
            flags: "UH".to_owned(),
            origin: "neighbour".to_owned(),
            mtu: Some(self.links.mtu(link)),
            paths: Vec::new(),
        }
    }

    fn route_view(&self, to: IpNet, candidate: Candidate, counts: bool) -> RouteView {
        let family = ip::family(&to);
        let (hop, origin, mut letters) = match candidate {
            Candidate::Local => (Hop::Local, "local", "l"),
            Candidate::Broadcast if family == Family::V6 => (Hop::Local, "local", "l"),
            Candidate::Broadcast => (Hop::Broadcast, "broadcast", "b"),
            Candidate::Connected(link) => (Hop::Link(link), "connected", "C"),
            Candidate::Tunnel(tunnel) => (Hop::Tunnel(tunnel, family), "tunnel", ""),
            Candidate::Static(_) => {
                (self.rib.get(to).route().unwrap_or(Hop::Unreachable), "static", "S")
            }
        };
        let mut gateway = None;
        let paths = match hop {
            Hop::Paths(set) => self.path_views(set, ip::is_host(&to)),
            _ => Vec::new(),
        };
        let mut resolved = counts && hop != Hop::Unreachable;
        if let Hop::Paths(_) = hop {
            resolved = counts && paths.iter().any(|path| path.buckets > 0);
        }
        if let Candidate::Static(target) = candidate {
            match target {
                Target::Via(address) => gateway = Some(address),
                Target::Near(_, _, address) => gateway = Some(address.into()),
                Target::Blackhole => letters = "SB",
                Target::Reject => (letters, resolved) = ("SR", counts),
                Target::Interface(_) => {}
                Target::Paths(_) => letters = "SP",
            }
        }
        let flags =
            [(resolved, "U"), (gateway.is_some(), "G"), (ip::is_host(&to), "H"), (true, letters)];
        let (interface, mtu) = match hop {
            Hop::Link(_) | Hop::Neighbour(..) | Hop::Tunnel(..) | Hop::Probe(..) => {
                self.leaves_by(hop)
            }
            Hop::Paths(_) => (None, paths.iter().filter_map(|path| path.mtu).min()),
            Hop::Local => (self.owner(to.addr()), None),
            Hop::Broadcast => {
                (self.desired.index.link_of(to.addr()).and_then(|k| self.links.id(k)), None)
            }
            Hop::Blackhole | Hop::Unreachable => (None, None),
        };
        RouteView {
            to,
            gateway,
            interface: interface.map(|id| self.links.name(id).to_owned()),
            flags: flags.iter().filter(|(on, _)| *on).map(|(_, f)| *f).collect(),
            origin: origin.to_owned(),
            mtu,
            paths,
        }
    }

    /// The paths of a set, as rows of its routes.
    fn path_views(&self, set: SetId, host: bool) -> Vec<PathView> {
        let Some(state) = self.groups.get(set) else { return Vec::new() };
        let paths = self.desired.sets.paths(set);
        let rows = paths.iter().zip(&state.hops).zip(state.shares());
        let view = |((path, hop), buckets): ((&Path, &Hop), u16)| {
            let gateway = match path.target {
                Target::Via(gateway) => Some(gateway),
                _ => None,
            };
            let flags = [(buckets > 0, "U"), (gateway.is_some(), "G"), (host, "H"), (true, "SP")];
            let (interface, mtu) = self.leaves_by(*hop);
            PathView {
                gateway,
                interface: interface.map(|id| self.links.name(id).to_owned()),
                flags: flags.iter().filter(|(on, _)| *on).map(|(_, f)| *f).collect(),
                weight: path.weight,
                buckets,
                mtu,
            }
        };
        rows.map(view).collect()
    }

    /// The interface that a hop leaves by, and what it takes.
    fn leaves_by(&self, hop: Hop) -> (Option<IfId>, Option<u16>) {
        match hop {
            Hop::Link(id) | Hop::Neighbour(id, _) => (Some(id), Some(self.links.mtu(id))),
            Hop::Tunnel(id, family) => (Some(id), self.tunnel_mtu(id, family)),
            _ => (None, None),
        }
    }

    fn owner(&self, address: IpAddr) -> Option<IfId> {
        self.links.id(self.desired.index.owners(address).next()?)
    }

    pub(super) fn tunnel_mtu(&self, id: IfId, inner: Family) -> Option<u16> {
        let state = self.tunnels.get(&id)?;
        let below = state.underlay.ok()?;
        let config = self.desired.tunnels.get(&state.key)?;
        let below = Some(self.outer_mtu(id, below.link));
        Some(plan::tunnel_mtu(state.key.tunnel_kind()?, config, inner, below))
    }

    /// How full the tables are.
    pub fn tables_view(&self) -> TablesView {
        let (fib, fib6) = (self.tables.fib4.stats(), self.tables.fib6.stats());
        TablesView {
            fib4_prefixes: fib.prefixes as u64,
            fib4_groups: fib.groups_used as u64,
            fib4_groups_max: fib.groups_total as u64,
            fib6_prefixes: fib6.prefixes as u64,
            fib6_groups: fib6.groups_used as u64,
            fib6_groups_max: fib6.groups_total as u64,
            next_hops: self.hops.len() as u64,
            tunnels: self.desired.index.remotes.len() as u64,
            bytes: self.tables.bytes() as u64,
            generation: self.tables.generation.load(std::sync::atomic::Ordering::Acquire),
        }
    }
}

fn address_view(net: IpNet) -> AddressView {
    let (address, prefix_len) = (net.addr(), net.prefix_len());
    AddressView { address, prefix_len, peer: None, broadcast: None }
}

fn broadcast(net: &IpNet) -> Option<Ipv4Addr> {
    match net {
        IpNet::V4(net) => (net.prefix_len() < 31).then(|| net.broadcast()),
        IpNet::V6(_) => None,
    }
}

/// The family that the MTU shown is of: IPv4's, unless there is only the other.
fn main_family(config: &TunnelConfig) -> Family {
    if config.pair.is_none() && !config.inet6.is_empty() { Family::V6 } else { Family::V4 }
}

fn tunnel_addresses(config: &TunnelConfig) -> Vec<AddressView> {
    let pair = config.pair.map(|(address, peer)| AddressView {
        peer: Some(peer.into()),
        ..address_view(IpNet::from(IpAddr::V4(address)))
    });
    let alone = config.multipoint.as_ref().and_then(|all| all.address);
    let alone = alone.map(|address| address_view(IpNet::from(IpAddr::V4(address))));
    let inet6 = config.inet6.iter().map(|net| address_view(IpNet::V6(*net)));
    pair.into_iter().chain(alone).chain(inet6).collect()
}
