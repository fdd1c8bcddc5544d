//! Resolution: from a gateway or an outer destination down to a link and the
//! neighbour on it.
//!
//! * A gateway is looked up like any destination, but never through the route
//!   being resolved ("longest match that is not through it") and never through
//!   the default route: a gateway nobody leads to is not made reachable by
//!   sending everything unknown somewhere. Such a route stays, unresolved:
//!   packets for it are answered with host unreachable, as BSD does, and do
//!   not fall to a shorter prefix.
//! * A tunnel with link1 set looks up its real outer destination (T14). With
//!   link1 clear it looks up that address with its last bit toggled, which only
//!   selects the route (T13), for both families alike: own addresses, addresses
//!   that no host has, far ends of tunnels (host routes to the toggled address,
//!   which say nothing of the real one) and routes through this tunnel are
//!   passed by.
//! * What leads into a tunnel ends there: no tunnel runs inside a tunnel yet,
//!   so there is no chain and no loop, whatever is configured.

use std::net::IpAddr;

use arrayvec::ArrayVec;
use ipnet::IpNet;

use super::Net;
use super::desired::Target;
use super::groups::Groups;
use super::hops::Hop;
use super::key::Key;
use super::links::Links;
use super::paths::{self, SetId, Sets};
use super::rib::{Candidate, Rib};
use super::tunnel_config::TunnelConfig;
use super::watch::Met;
use crate::ids::{Family, IfId};
use crate::model::ip;
use crate::model::spec::TunnelKind;

/// Gateways in a row before a route counts as unresolved.
pub(super) const MAX_DEPTH: usize = 8;

/// A tunnel's underlay as resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Underlay {
    /// The route that leads there.
    pub(super) route: IpNet,
    /// The link outer packets leave by.
    pub(super) link: IfId,
    /// The neighbour on it.
    pub(super) next_hop: IpAddr,
}

/// Why a tunnel is not running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// It has no inner pair.
    NoPair,
    /// It has no outer pair.
    NoEndpoints,
    /// Its outer destination is not known yet.
    Unknown,
    /// It has several: its parts run or do not.
    Multipoint,
    /// It is administratively down.
    Down,
    /// The outer source is not ours (now).
    NotOwn(IpAddr),
    /// The outer destination is ours.
    Own(IpAddr),
    /// The outer destination is an address that no host has.
    Broadcast(IpAddr),
    /// Nothing leads to the outer destination.
    NoRoute(IpAddr),
    /// Its route leads nowhere on purpose.
    Discarded(IpAddr, IpNet),
    /// Its route does not resolve.
    Unresolved(IpAddr, IpNet),
    /// Its route leads through a tunnel: this one or another.
    Through(IpAddr, IfId),
    /// The underlay's MTU leaves no room.
    TooSmall(Underlay),
}

/// One resolution: collects the marks of all it looks up.
pub(super) struct Resolver<'a> {
    net: &'a Net,
    rib: &'a Rib,
    links: &'a Links,
    sets: &'a Sets,
    groups: &'a Groups,
    /// What it met.
    pub(super) met: Met,
    /// The set whose paths are being resolved, if it is that.
    set: Option<SetId>,
    /// Routes being resolved, outermost first.
    open: ArrayVec<IpNet, MAX_DEPTH>,
}

impl<'a> Resolver<'a> {
    /// A resolution in the state of now.
    pub(super) fn new(net: &'a Net) -> Resolver<'a> {
        Resolver {
            net,
            rib: &net.rib,
            links: &net.links,
            sets: &net.desired.sets,
            groups: &net.groups,
            met: Met::default(),
            set: None,
            open: ArrayVec::new(),
        }
    }

    /// One of the paths of a set.
    pub(super) fn of_set(net: &'a Net, set: SetId) -> Resolver<'a> {
        Resolver { set: Some(set), ..Resolver::new(net) }
    }

    /// Where one path of a set leads, or a route that is not met on the way.
    pub(super) fn path(&mut self, family: Family, target: Target) -> Hop {
        // No gateway is looked for through a default route: that this one is
        // being resolved keeps none out.
        self.route(ip::everything(family), target)
    }

    /// Where a static route leads.
    pub(super) fn route(&mut self, prefix: IpNet, target: Target) -> Hop {
        match target {
            Target::Interface(key) => match self.links.id(key) {
                Some(id) if !key.is_link() => Hop::Tunnel(id, ip::family(&prefix)),
                Some(id) if self.links.is_up(id) => Hop::Link(id),
                _ => Hop::Unreachable,
            },
            Target::Paths(set) => Hop::Paths(set),
            _ => self.follow(prefix, target, prefix.addr()),
        }
    }

    /// Where a static route leads for one address.
    fn follow(&mut self, prefix: IpNet, target: Target, to: IpAddr) -> Hop {
        match target {
            Target::Blackhole => Hop::Blackhole,
            Target::Reject => Hop::Unreachable,
            Target::Interface(_) => match self.route(prefix, target) {
                Hop::Link(link) => Hop::Neighbour(link, to),
                hop => hop,
            },
            Target::Near(port, vlan, via) => match self.links.id(Key::link(port, vlan)) {
                Some(id) if self.links.is_up(id) => Hop::Neighbour(id, via.into()),
                _ => Hop::Unreachable,
            },
            Target::Paths(set) => self.lean(set, to),
            Target::Via(gateway) => {
                if self.open.try_push(prefix).is_err() {
                    return Hop::Unreachable;
                }
                let hop = self.gateway(gateway);
                self.open.pop();
                hop
            }
        }
    }

    /// The one path of a set by which an address is reached: of its gateways,
    /// or where there is none, of its tunnels.
    fn lean(&mut self, set: SetId, to: IpAddr) -> Hop {
        if self.set.is_some() {
            return Hop::Unreachable;
        }
        self.met.sets.push(set);
        let Some(state) = self.groups.get(set) else { return Hop::Unreachable };
        let paths = self.sets.paths(set);
        let of = |gateways: bool| {
            let wanted = |hop: &Hop| matches!(hop, Hop::Neighbour(..)) == gateways;
            let sound = state.hops.iter().zip(&state.sound);
            sound.map(|(hop, sound)| *sound && wanted(hop)).collect::<Vec<_>>()
        };
        let best = paths::best(&paths, &of(true), to);
        let best = best.or_else(|| paths::best(&paths, &of(false), to));
        best.and_then(|at| state.hops.get(at).copied()).unwrap_or(Hop::Unreachable)
    }

    fn gateway(&mut self, gateway: IpAddr) -> Hop {
        for (prefix, entry) in self.rib.covers(gateway) {
            self.met.marks.push((Some(prefix), gateway));
            if prefix.prefix_len() == 0 {
                break;
            }
            for candidate in entry.candidates() {
                match candidate {
                    Candidate::Local | Candidate::Broadcast => return Hop::Unreachable,
                    Candidate::Connected(link) => return Hop::Neighbour(link, gateway),
                    Candidate::Tunnel(tunnel) => {
                        return Hop::Tunnel(tunnel, Family::of(gateway));
                    }
                    Candidate::Static(_) if self.open.contains(&prefix) => {}
                    Candidate::Static(Target::Paths(set)) if self.set == Some(set) => {}
                    Candidate::Static(target) => return self.follow(prefix, target, gateway),
                }
            }
        }
        self.met.marks.push((None, gateway));
        Hop::Unreachable
    }

    /// The link on which an address is reached as a neighbour, if it is.
    pub(super) fn on_link(&mut self, address: IpAddr) -> Option<IfId> {
        let (prefix, candidate) = self.best(address)?;
        match candidate {
            Candidate::Connected(link) => Some(link),
            Candidate::Static(target @ Target::Interface(_)) => match self.route(prefix, target) {
                Hop::Link(link) => Some(link),
                _ => None,
            },
            _ => None,
        }
    }

    /// The longest match, marked.
    fn first(&mut self, address: IpAddr) -> Option<(IpNet, super::rib::Entry)> {
        let found = self.rib.longest(address);
        self.met.marks.push((found.map(|(prefix, _)| prefix), address));
        found
    }

    /// What counts for an address: the longest match, or where that is withdrawn
    /// since it leads into a dead tunnel, the next.
    fn best(&mut self, address: IpAddr) -> Option<(IpNet, Candidate)> {
        for (prefix, entry) in self.rib.covers(address) {
            self.met.marks.push((Some(prefix), address));
            if let Some((candidate, _)) = self.net.counting(prefix, &entry) {
                return Some((prefix, candidate));
            }
        }
        self.met.marks.push((None, address));
        None
    }

    /// What is said first of an address itself, if anything is.
    fn itself(&mut self, address: IpAddr) -> Option<Candidate> {
        let (prefix, entry) = self.first(address)?;
        if ip::is_host(&prefix) { entry.candidates().first().copied() } else { None }
    }

    /// Where a tunnel's outer packets go.
    pub(super) fn underlay(
        &mut self,
        tunnel: IfId,
        kind: TunnelKind,
        config: &TunnelConfig,
    ) -> Result<Underlay, Reason> {
        if config.multipoint.is_some() {
            return Err(Reason::Multipoint);
        }
        let outer = config.outer(kind);
        // An ipip interface over IPv4 has one pair: without it, it lacks that.
        let pair_is_all = kind == TunnelKind::Ipip && config.endpoints.is_none();
        if !config.is_addressed() && (pair_is_all || outer.is_some()) {
            return Err(Reason::NoPair);
        }
        let Some((local, remote)) = outer else { return Err(Reason::NoEndpoints) };
        if self.itself(local) != Some(Candidate::Local) {
            return Err(Reason::NotOwn(local));
        }
        if remote.is_unspecified() {
            return Err(Reason::Unknown);
        }
        match self.itself(remote) {
            Some(Candidate::Broadcast) => return Err(Reason::Broadcast(remote)),
            // Refused where it is configured; one that was found may become ours.
            Some(Candidate::Local) => return Err(Reason::Own(remote)),
            _ => {}
        }
        let underlay =
            if config.link1 { self.explicit(remote) } else { self.implicit(tunnel, remote) }?;
        let mtu = self.links.mtu(underlay.link);
        if mtu < config.overhead(kind) + super::values::LEAST_MTU {
            return Err(Reason::TooSmall(underlay));
        }
        if config.up { Ok(underlay) } else { Err(Reason::Down) }
    }

    /// link1 set: the real outer destination is looked up.
    fn explicit(&mut self, remote: IpAddr) -> Result<Underlay, Reason> {
        match self.best(remote) {
            Some((route, candidate)) => self.lower(route, candidate, remote),
            None => Err(Reason::NoRoute(remote)),
        }
    }

    /// link1 clear: the toggled address selects the route.
    fn implicit(&mut self, tunnel: IfId, remote: IpAddr) -> Result<Underlay, Reason> {
        let toggled = ip::toggled(remote);
        for (route, entry) in self.rib.covers(toggled) {
            self.met.marks.push((Some(route), toggled));
            for candidate in entry.candidates() {
                match candidate {
                    Candidate::Local | Candidate::Broadcast => continue,
                    Candidate::Tunnel(_) if ip::is_host(&route) => continue,
                    _ => {}
                }
                match self.lower(route, candidate, remote) {
                    Err(Reason::Through(_, through)) if through == tunnel => {}
                    found => return found,
                }
            }
        }
        self.met.marks.push((None, toggled));
        Err(Reason::NoRoute(remote))
    }

    /// The underlay by one route.
    fn lower(
        &mut self,
        route: IpNet,
        candidate: Candidate,
        remote: IpAddr,
    ) -> Result<Underlay, Reason> {
        let hop = match candidate {
            Candidate::Connected(link) => Hop::Neighbour(link, remote),
            Candidate::Tunnel(tunnel) => Hop::Tunnel(tunnel, Family::of(remote)),
            Candidate::Static(target) => self.follow(route, target, remote),
            // A destination of our own is refused, a broadcast was looked at.
            Candidate::Local | Candidate::Broadcast => Hop::Unreachable,
        };
        match hop {
            Hop::Neighbour(link, next_hop) => Ok(Underlay { route, link, next_hop }),
            Hop::Tunnel(through, _) => Err(Reason::Through(remote, through)),
            Hop::Blackhole => Err(Reason::Discarded(remote, route)),
            _ if candidate == Candidate::Static(Target::Reject) => {
                Err(Reason::Discarded(remote, route))
            }
            _ => Err(Reason::Unresolved(remote, route)),
        }
    }
}
