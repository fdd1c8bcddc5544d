//! From what changed in the desired state to what has to be planned anew:
//! the RIB, then whoever looked something up that can end differently now.
//! Nothing here can fail.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::desired::{Item, LinkConfig, Target};
use super::hops::{Hop, into_tunnel, to_far_end};
use super::key::Key;
use super::links::{self, LinkState, host};
use super::paths::SetId;
use super::resolve::{Reason, Resolver};
use super::rib::{Candidate, Change};
use super::touched::{RouteChange, Touched};
use super::tunnel_config::TunnelConfig;
use super::watch::{Dependent, Met};
use super::{Neighbour, Net, TunnelState, plan, reserve};
use crate::control::topology::Link;
use crate::ids::{Family, IfId, Mac};
use crate::model::ip;
use crate::tables::door::Door;
use crate::tables::tunnel::{Received, Tunnel};

/// What a change comes to.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// FIB entries to look at, some of them several times.
    pub(super) prefixes: Vec<IpNet>,
    /// Adjacencies to plan, where anybody uses them.
    pub(super) hops: BTreeSet<Hop>,
    /// To resolve anew, some of them several times.
    pub(super) dependents: Vec<Dependent>,
    /// Sets of paths whose groups are to be dealt anew.
    pub(super) sets: BTreeSet<SetId>,
    /// Gateways of static routes that changed.
    gateways: BTreeSet<IpAddr>,
    /// Sets that no route leads to any more.
    pub(super) sets_gone: BTreeSet<SetId>,
    /// Prefixes that say the same but lead elsewhere.
    forced: Vec<IpNet>,
    /// Tunnel slots to write.
    pub(super) slots: BTreeMap<IfId, Tunnel>,
    /// What tunnels let out, before their slots say that somebody has to look.
    pub(super) doors: BTreeMap<IfId, Door>,
    /// Tunnels whose sequence numbers begin anew.
    pub(super) renumbered: Vec<IfId>,
    /// Hops that are not held any more.
    pub(super) released: Vec<Hop>,
    /// Keys nobody has any more.
    pub(super) unkeyed: Vec<Received>,
    /// Interfaces that are gone.
    pub(super) gone: Vec<Key>,
    /// Ports, VLANs, filters or ICMP changed.
    pub(super) snapshot: bool,
    /// Filters, or the interfaces whose packets meet them.
    pub(super) filters: bool,
    /// What is told about it.
    pub(super) done: Done,
}

/// What a commit did, as far as somebody wants to know.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Tunnels looked at, and whether they were running before.
    pub(super) tunnels: BTreeMap<IfId, bool>,
    /// Links that are not up any more.
    pub(super) down: Vec<IfId>,
    /// Links that were down and are up.
    pub(super) up: Vec<IfId>,
    /// Numbers of interfaces that are gone.
    pub(super) numbers: BTreeMap<Key, IfId>,
    /// Routes, addresses or tunnels changed.
    pub(super) routes: bool,
}

impl Net {
    /// Brings the resolved state and the tables in line with the desired state,
    /// given what was there before of all that was touched. `hops` are planned
    /// in any case.
    pub(super) fn commit(&mut self, touched: &Touched, hops: BTreeSet<Hop>) -> Done {
        let mut work = Work { hops, ..Work::default() };
        let mut says: Vec<(IpNet, Candidate, bool)> = Vec::new();
        let mut seen = BTreeSet::new();
        for old in touched.others.values() {
            match old {
                Item::Link(key, _) => self.link_family(*key, &mut seen, &mut says, &mut work),
                Item::Tunnel(key, old) => {
                    // A rule for a multipoint tunnel is one for each of its parts.
                    work.filters |= key.whole().is_some();
                    self.tunnel_changed(*key, old.as_deref().cloned(), &mut says, &mut work)
                }
                Item::Neighbour(address, old) => {
                    self.fixed_changed(*address, *old, &mut work);
                }
                Item::Icmp(_) => work.snapshot = true,
                Item::Filters(_) => (work.snapshot, work.filters) = (true, true),
                Item::Published(..) | Item::Route(..) => {}
            }
        }
        for change in &touched.routes {
            self.route_changed(*change, &mut says, &mut work);
        }
        for gateway in std::mem::take(&mut work.gateways) {
            self.gateway_changed(gateway, &mut work);
        }
        // All out before anything comes in: one prefix has one of each kind.
        says.iter().filter(|s| !s.2).for_each(|(prefix, c, _)| self.rib.remove(*prefix, *c));
        says.iter().filter(|s| s.2).for_each(|(prefix, c, _)| self.rib.add(*prefix, *c));
        self.finish(work, true)
    }

    /// Resolves and publishes.
    pub(super) fn finish(&mut self, mut work: Work, transaction: bool) -> Done {
        self.spread(&mut work);
        self.resolve(&mut work);
        self.publish(work, transaction)
    }

    /// A link and, for a port, the VLANs on it.
    fn link_family(
        &mut self,
        key: Key,
        seen: &mut BTreeSet<Key>,
        says: &mut Vec<(IpNet, Candidate, bool)>,
        work: &mut Work,
    ) {
        let mut family = vec![key];
        if let Key::Port(port) = key {
            family.extend(self.links.vlans_of(port));
        }
        for key in family {
            if seen.insert(key) {
                self.link_changed(key, says, work);
            }
        }
        work.snapshot = true;
    }

    fn link_changed(
        &mut self,
        key: Key,
        says: &mut Vec<(IpNet, Candidate, bool)>,
        work: &mut Work,
    ) {
        let Some(id) = self.links.id(key) else { return };
        let old = self.links.states.remove(&id);
        let new = self.link_state(key, id);
        let link = |state: &Option<LinkState>| state.as_ref().map(|state| state.link);
        let (was, is) = (link(&old), link(&new));
        let list = |state: &Option<LinkState>| {
            state.iter().flat_map(|state| state.says.clone()).collect::<BTreeSet<_>>()
        };
        let (said, say) = (list(&old), list(&new));
        says.extend(said.difference(&say).map(|(prefix, c)| (*prefix, *c, false)));
        says.extend(say.difference(&said).map(|(prefix, c)| (*prefix, *c, true)));
        if let Some(state) = new {
            self.links.states.insert(id, state);
        } else {
            work.gone.push(key);
            work.done.numbers.insert(key, id);
        }
        if was == is {
            return;
        }
        let (was_up, is_up) = (was.is_some_and(|l| l.up), is.is_some_and(|l| l.up));
        if was_up != is_up {
            if was_up {
                work.done.down.push(id)
            } else {
                work.done.up.push(id)
            }
            // Routes to the link itself lead somewhere else now.
            work.forced.extend(self.desired.index.routes_through(key));
        }
        if !is_up {
            self.forget_link(id, work);
        }
        work.hops.insert(Hop::Link(id));
        work.hops.extend(self.hops.neighbours_on(id));
        let over = (id, ip::FIRST, IfId(0))..=(id, ip::LAST, IfId::NONE);
        let tunnels = self.stacked.range(over).map(|(_, _, tunnel)| Dependent::Tunnel(*tunnel));
        work.dependents.extend(tunnels);
    }

    /// A link as it is now, the port below taken into account.
    fn link_state(&self, key: Key, id: IfId) -> Option<LinkState> {
        let config = self.desired.links.get(&key)?;
        let (port, vlan) = key.port()?;
        let below: &LinkConfig = self.desired.links.get(&Key::Port(port))?;
        let facts = self.facts.get(port.index())?;
        let most = below.mtu.unwrap_or(facts.max_mtu).min(facts.max_mtu);
        let up = config.up && below.up;
        let mtu = config.mtu.map_or(most, |mtu| mtu.min(most));
        let link = Link { id, port, vlan, mac: facts.mac, mtu, up };
        let says = links::says(id, config, up.then_some(link.mac));
        let link_local = if up { config.link_local(link.mac) } else { None };
        Some(LinkState { link, address: config.address.clone(), link_local, says })
    }

    /// A link went down: what was learned on it is not known any more.
    fn forget_link(&mut self, link: IfId, work: &mut Work) {
        let range = (link, ip::FIRST)..=(link, ip::LAST);
        let known: Vec<IpAddr> = self.neighbours.range(range).map(|((_, a), _)| *a).collect();
        for address in known {
            self.change_neighbour(link, address, |entry| entry.learned = None, work);
        }
    }

    fn tunnel_changed(
        &mut self,
        key: Key,
        old: Option<TunnelConfig>,
        says: &mut Vec<(IpNet, Candidate, bool)>,
        work: &mut Work,
    ) {
        let Some(id) = self.links.id(key) else { return };
        let new = self.desired.tunnels.get(&key).cloned();
        let door = |config: &Option<TunnelConfig>| config.as_ref().map(TunnelConfig::door);
        let (had, has) = (door(&old).unwrap_or_default(), door(&new).unwrap_or_default());
        if had != has {
            work.doors.insert(id, has);
        }
        for (config, add) in [(&old, false), (&new, true)] {
            let said = config.iter().flat_map(|config| says_of(id, config));
            says.extend(said.map(|(prefix, candidate)| (prefix, candidate, add)));
        }
        if let Some(kind) = key.tunnel_kind() {
            let received = |config: &Option<TunnelConfig>| {
                config.as_ref().map(|config| config.received_as(kind)).unwrap_or_default()
            };
            // Another tunnel may have taken it over.
            let index = &self.desired.index;
            let unkeyed = received(&old).into_iter();
            work.unkeyed.extend(unkeyed.filter(|this| index.received_as(*this).next().is_none()));
            // Another flow, or numbers after none: from 0 again (RFC 2890 §2.2).
            let flow = |config: &Option<TunnelConfig>| {
                let sent = config.as_ref().map(|c| (c.gre.key_out, c.gre.sequence));
                (received(config), sent)
            };
            if flow(&old) != flow(&new) {
                work.renumbered.push(id);
            }
            let outer = |config: &Option<TunnelConfig>| config.as_ref().and_then(|c| c.outer(kind));
            if outer(&old) != outer(&new) {
                self.forget_soft(id, work);
            }
        }
        let watched =
            |config: &Option<TunnelConfig>| config.as_ref().is_some_and(TunnelConfig::is_watched);
        match (watched(&old), watched(&new)) {
            (false, true) => self.hold_to_far_end(id, work),
            (true, false) => work.released.extend(to_far_end(id)),
            _ => {}
        }
        work.done.routes = true;
        if new.is_some() {
            work.dependents.push(Dependent::Tunnel(id));
            return;
        }
        work.gone.push(key);
        work.done.numbers.insert(key, id);
        self.unstack(id);
        self.tunnels.remove(&id);
        self.watch.set(Dependent::Tunnel(id), Met::default());
        work.slots.insert(id, Tunnel::default());
    }

    fn route_changed(
        &mut self,
        RouteChange { to, old, new }: RouteChange,
        says: &mut Vec<(IpNet, Candidate, bool)>,
        work: &mut Work,
    ) {
        says.extend(old.map(|target| (to, Candidate::Static(target), false)));
        says.extend(new.map(|target| (to, Candidate::Static(target), true)));
        if new.is_some() {
            work.dependents.push(Dependent::Route(to));
        } else {
            self.watch.set(Dependent::Route(to), Met::default());
        }
        for target in [old, new] {
            match target {
                Some(Target::Paths(set)) => self.paths_changed(set, work),
                Some(Target::Via(gateway)) => _ = work.gateways.insert(gateway),
                _ => {}
            }
        }
        work.done.routes = true;
    }

    /// Some route no longer has this gateway, or does from now on.
    fn gateway_changed(&mut self, gateway: IpAddr, work: &mut Work) {
        if self.desired.index.routes_via(gateway).next().is_none() {
            self.gateways.forget(gateway);
            self.watch.set(Dependent::Gateway(gateway), Met::default());
        } else if !self.gateways.knows(gateway) {
            work.dependents.push(Dependent::Gateway(gateway));
        }
    }

    fn fixed_changed(&mut self, address: IpAddr, old: Option<(Key, Mac)>, work: &mut Work) {
        let new = self.desired.neighbours.get(&address).copied();
        for (entry, put) in [(old, false), (new, true)] {
            let Some((key, mac)) = entry else { continue };
            if let Some(link) = self.links.id(key) {
                let fixed = put.then_some(mac);
                // The engine forgets what it had learned when a static entry
                // takes its place, and tells nothing when that one goes: what
                // was learned must not come back then.
                let entry = Neighbour { fixed, learned: None };
                self.change_neighbour(link, address, |known| *known = entry, work);
            }
        }
    }

    /// What the neighbour engine told; published before this returns.
    pub(super) fn learn(&mut self, link: IfId, address: IpAddr, learned: Option<Option<Mac>>) {
        let known = self.neighbours.get(&(link, address)).and_then(|entry| entry.learned);
        if known == learned || (learned.is_some() && !self.links.is_up(link)) {
            return;
        }
        let mut work = Work::default();
        self.change_neighbour(link, address, |entry| entry.learned = learned, &mut work);
        self.finish(work, false);
    }

    fn change_neighbour(
        &mut self,
        link: IfId,
        address: IpAddr,
        change: impl FnOnce(&mut Neighbour),
        work: &mut Work,
    ) {
        let entry = self.neighbours.entry((link, address)).or_default();
        change(entry);
        if entry.fixed.is_none() && entry.learned.is_none() {
            self.neighbours.remove(&(link, address));
        }
        work.dependents.push(Dependent::Neighbour(link, address));
        work.hops.insert(Hop::Neighbour(link, address));
        work.hops.extend(self.tunnels_over(link, address).flat_map(into_tunnel));
    }

    /// Finds who is concerned by what changed in the RIB.
    fn spread(&mut self, work: &mut Work) {
        let mut changes = self.rib.take_changes();
        let forced = std::mem::take(&mut work.forced);
        work.dependents.extend(forced.iter().copied().map(Dependent::Route));
        changes.extend(forced.into_iter().map(|prefix| Change { prefix, new: false }));
        work.done.routes |= !changes.is_empty();
        for Change { prefix, new } in changes {
            // What is said of it is another thing; where its static route leads
            // is not: that one is told of by whoever changed it, or by a mark.
            work.prefixes.push(prefix);
            if new {
                if self.watch.any_within(prefix) {
                    let parent = self.rib.parent(prefix);
                    work.dependents.extend(self.watch.within(parent, prefix));
                }
            } else {
                work.dependents.extend(self.watch.at(prefix));
            }
        }
    }

    fn resolve(&mut self, work: &mut Work) {
        let all = each_once(std::mem::take(&mut work.dependents));
        let set = |who: &Dependent| match who {
            Dependent::Paths(set) => Some(*set),
            _ => None,
        };
        // Sets first: others may take one of their paths.
        let mut others: Vec<_> = all.iter().filter(|who| set(who).is_none()).copied().collect();
        others.extend(self.resolve_sets(all.iter().filter_map(set).collect(), work));
        let concerned = self.resolve_gateways(&others);
        others.extend(concerned);
        for who in each_once(others) {
            match who {
                Dependent::Paths(_) | Dependent::Gateway(_) => {}
                Dependent::Route(to) => self.resolve_route(to, work),
                Dependent::Tunnel(id) => self.resolve_tunnel(id, work),
                Dependent::Neighbour(link, address) => {
                    self.resolve_neighbour(link, address, work);
                }
            }
        }
    }

    fn resolve_route(&mut self, to: IpNet, work: &mut Work) {
        let shared = self.rib.resolve(to, |target| match target {
            Target::Via(gateway) => self.gateways.hop(gateway, to),
            _ => None,
        });
        let (elsewhere, met) = match shared {
            Some(elsewhere) => (elsewhere, Met::default()),
            None => {
                let Some(target) = self.desired.routes.get(&to).copied() else { return };
                let mut resolver = Resolver::new(self);
                let (hop, met) = (resolver.route(to, target), resolver.met);
                (self.rib.resolve(to, |_| Some(hop)) == Some(true), met)
            }
        };
        self.watch.set(Dependent::Route(to), met);
        if elsewhere {
            work.prefixes.push(to);
        }
    }

    /// Resolves the gateways among `all`; gives the routes that this concerns.
    fn resolve_gateways(&mut self, all: &[Dependent]) -> Vec<Dependent> {
        let mut concerned = Vec::new();
        for who in all {
            let Dependent::Gateway(gateway) = *who else { continue };
            let routes = self.desired.index.routes_via(gateway);
            let mut resolver = Resolver::new(self);
            let hop = resolver.path(Family::of(gateway), Target::Via(gateway));
            let met = resolver.met;
            if self.gateways.put(gateway, hop, &met) {
                concerned.extend(routes.map(Dependent::Route));
            }
            self.watch.set(Dependent::Gateway(gateway), met);
        }
        concerned
    }

    fn resolve_tunnel(&mut self, id: IfId, work: &mut Work) {
        let Some(key) = self.links.record(id).map(|record| record.key) else { return };
        let (Some(kind), Some(config)) = (key.tunnel_kind(), self.desired.tunnels.get(&key)) else {
            return;
        };
        let mut resolver = Resolver::new(self);
        let underlay = resolver.underlay(id, kind, config);
        let met = resolver.met;
        self.watch.set(Dependent::Tunnel(id), met);
        let mut slot = reserve::slot(&self.desired, &self.links, key, id);
        let mtu = underlay.ok().map(|below| self.outer_mtu(id, below.link));
        slot.mss = [Family::V4, Family::V6]
            .map(|inner| plan::segment(config, plan::tunnel_mtu(kind, config, inner, mtu), inner));
        let slot = slot.finished();
        self.unstack(id);
        if let Ok(below) | Err(Reason::TooSmall(below)) = underlay {
            self.stacked.insert((below.link, below.next_hop, id));
        }
        let old = self.tunnels.insert(id, TunnelState { key, underlay, slot });
        if old.as_ref().map(|state| state.slot) != Some(slot) {
            work.slots.insert(id, slot);
        }
        let ran = old.is_some_and(|state| state.underlay.is_ok());
        work.done.routes |= ran != underlay.is_ok();
        work.done.tunnels.insert(id, ran);
        work.hops.extend(into_tunnel(id));
    }

    /// Keeps slots for what is sent to a tunnel's far end, and not by a route.
    fn hold_to_far_end(&mut self, id: IfId, work: &mut Work) {
        for hop in to_far_end(id) {
            match self.hops.acquire(hop) {
                Some(_) => _ = work.hops.insert(hop),
                None => tracing::error!(?hop, "no next hop slot is left for liveness"),
            }
        }
    }

    fn unstack(&mut self, id: IfId) {
        let below = self.tunnels.get(&id).map(|state| state.underlay);
        if let Some(Ok(below) | Err(Reason::TooSmall(below))) = below {
            self.stacked.remove(&(below.link, below.next_hop, id));
        }
    }

    fn resolve_neighbour(&mut self, link: IfId, address: IpAddr, work: &mut Work) {
        let who = Dependent::Neighbour(link, address);
        let on_link = if self.neighbours.contains_key(&(link, address)) {
            let mut resolver = Resolver::new(self);
            let on_link = resolver.on_link(address) == Some(link);
            let met = resolver.met;
            self.watch.set(who, met);
            on_link
        } else {
            self.watch.set(who, Met::default());
            false
        };
        let was = self.active.get(&address) == Some(&link);
        if on_link {
            self.active.insert(address, link);
        } else if was {
            self.active.remove(&address);
        }
        if on_link != was {
            work.prefixes.push(host(address));
        }
    }
}

/// What a tunnel says in the RIB: its own addresses, the host route to its far
/// end, and the IPv6 subnets behind it.
pub(super) fn says_of(id: IfId, config: &TunnelConfig) -> Vec<(IpNet, Candidate)> {
    let own = config.own().map(|address| (host(address), Candidate::Local));
    let peer = config.peers().map(|peer| (host(peer), Candidate::Tunnel(id)));
    let subnets = config.subnets();
    let subnets = subnets.flat_map(|net| links::says_of_subnet(net, Candidate::Tunnel(id)));
    let mut says: Vec<_> = own.chain(peer).chain(subnets).collect();
    // Several addresses in one subnet say the same of it.
    says.sort_unstable();
    says.dedup();
    says
}

/// In order, without repetitions. Cheaper than a set for a million.
pub(super) fn each_once<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    // Stable: what is joined here is in order mostly, and that sort uses it.
    items.sort();
    items.dedup();
    items
}
