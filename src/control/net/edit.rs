//! A transaction in the making: ops become changes of the desired state, each
//! logged so that all of them can be taken back. What one op can be told to be
//! wrong alone is told here; what depends on the rest, when all are in
//! ([`super::checks`]).

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use super::desired::{Desired, FilterConfig, Item, LinkConfig, Object, Target, with_address};
use super::key::{Key, Named};
use super::paths::{MOST_PATHS, Path};
use super::refusal::{Fault, Refusal, place};
use super::touched::Touched;
use super::tunnel_config::TunnelConfig;
use super::{PortFacts, values};
use crate::control::topology::Event;
use crate::ids::Family;
use crate::model::api::{ApiError, ErrorCode};
use crate::model::ip;
use crate::model::op::{Located, Op, Outcome, Problem};
use crate::model::spec::{
    FilterSpec, MOST_FILTERS, NeighbourSpec, PathSpec, PathWay, PublishSpec, RouteSpec, RouteTarget,
};

pub(super) type Done = Result<(), Fault>;

/// Most problems told: a file can have a hundred thousand.
const MOST_PROBLEMS: usize = 100;

/// Most notes of what went with interfaces that are gone.
const MOST_NOTES: usize = 20;

/// The transaction.
pub(super) struct Edit<'a> {
    pub(super) desired: &'a mut Desired,
    pub(super) facts: &'a [PortFacts],
    pub(super) learned: &'a dyn Fn(IpAddr) -> bool,
    /// What was there before each change, in order, and which op changed it.
    log: Vec<(Item, usize)>,
    /// Where each op was written.
    ops: &'a [Located],
    /// Where objects were last written; filled when first asked for.
    places: Option<BTreeMap<Object, usize>>,
    /// The op being applied.
    now: usize,
    /// Interfaces whose ops failed: what refers to them is not told again.
    broken: BTreeSet<String>,
    problems: Vec<(ErrorCode, Problem)>,
    /// Texts of problems seen when all ops were in.
    messages: HashSet<String>,
    outcome: Outcome,
    /// Notes that are too many.
    more_notes: usize,
    /// Told as they are: what leaves no trace in the desired state.
    events: Vec<Event>,
}

impl<'a> Edit<'a> {
    /// Nothing changed yet.
    pub(super) fn new(
        desired: &'a mut Desired,
        facts: &'a [PortFacts],
        learned: &'a dyn Fn(IpAddr) -> bool,
        ops: &'a [Located],
    ) -> Edit<'a> {
        Edit {
            desired,
            facts,
            learned,
            log: Vec::new(),
            ops,
            places: None,
            now: 0,
            broken: BTreeSet::new(),
            problems: Vec::new(),
            messages: HashSet::new(),
            more_notes: 0,
            outcome: Outcome::default(),
            events: Vec::new(),
        }
    }

    /// Applies all ops to the desired state.
    pub(super) fn apply_all(&mut self) {
        let ops = self.ops;
        for (now, op) in ops.iter().enumerate() {
            self.now = now;
            self.apply(op);
        }
    }

    fn apply(&mut self, located: &Located) {
        let refers = subject(&located.op);
        if refers.iter().any(|name| self.broken.contains(*name)) {
            return;
        }
        if let Err(fault) = self.op(&located.op) {
            self.broken.extend(refers.first().map(|name| (*name).to_owned()));
            let at = place(&located.at, fault.field);
            self.problem(at, &fault.refusal);
        }
    }

    /// Notes something wrong.
    pub(super) fn problem(&mut self, at: String, refusal: &Refusal) {
        self.problems.push((refusal.code(), Problem::new(at, refusal.to_string())));
    }

    /// Notes something wrong with an object, where it was written.
    pub(super) fn problem_with(&mut self, object: Object, fault: &Fault) {
        let log = &self.log;
        let places = self
            .places
            .get_or_insert_with(|| log.iter().map(|(item, op)| (item.object(), *op)).collect());
        let op = places.get(&object).and_then(|op| self.ops.get(*op));
        let at = place(op.map_or("", |op| &op.at), fault.field);
        let message = fault.refusal.to_string();
        // Seen from the other object too: once is enough.
        if self.messages.insert(message.clone()) {
            self.problems.push((fault.refusal.code(), Problem::new(at, message)));
        }
    }

    /// What was touched.
    pub(super) fn touched(&self) -> Touched {
        Touched::new(self.log.iter().map(|(item, _)| item), self.desired)
    }

    /// All that is wrong, if anything is.
    pub(super) fn verdict(&mut self) -> Result<(), ApiError> {
        if self.problems.is_empty() {
            return Ok(());
        }
        let problems = std::mem::take(&mut self.problems);
        let missing = problems.iter().all(|(code, _)| *code == ErrorCode::NotFound);
        let code = if missing { ErrorCode::NotFound } else { ErrorCode::Refused };
        let more = problems.len().saturating_sub(MOST_PROBLEMS);
        let told = problems.into_iter().take(MOST_PROBLEMS).map(|(_, problem)| problem);
        let mut problems: Vec<Problem> = told.collect();
        if more > 0 {
            problems.push(Problem::new("", format!("and {more} more problems")));
        }
        Err(ApiError { code, problems })
    }

    /// What is told of it when all is well, and events that leave no trace in
    /// the desired state.
    pub(super) fn end(mut self) -> (Outcome, Vec<Event>) {
        if self.more_notes > 0 {
            let more = self.more_notes;
            self.outcome.notes.push(format!("and {more} more that went with what is gone"));
        }
        (self.outcome, self.events)
    }

    /// Takes everything back.
    pub(super) fn undo(&mut self) {
        while let Some((item, _)) = self.log.pop() {
            self.desired.put(item);
        }
    }

    fn put(&mut self, item: Item) {
        let old = self.desired.put(item.clone());
        if old != item {
            self.log.push((old, self.now));
        }
    }

    pub(super) fn put_link(&mut self, key: Key, config: Option<LinkConfig>) {
        self.put(Item::Link(key, config));
    }

    /// A tunnel, and what it consists of.
    pub(super) fn put_tunnel(&mut self, key: Key, config: Option<TunnelConfig>) {
        let has = config.as_ref().map(|config| config.parts(key)).unwrap_or_default();
        if let Some(config) = &config {
            self.make_way(key, config);
            has.iter().for_each(|(part, config)| self.make_way_outside(*part, config));
        }
        let had = self.desired.tunnels.get(&key).map(|config| config.parts(key));
        for part in had.unwrap_or_default().into_keys().filter(|part| !has.contains_key(part)) {
            self.put(Item::Tunnel(part, None));
        }
        self.put(Item::Tunnel(key, config.map(Box::new)));
        for (part, config) in has {
            self.put(Item::Tunnel(part, Some(Box::new(config))));
        }
    }

    /// What is configured comes before what was found: a tunnel whose far end was
    /// found where another is configured to have its own gives it up.
    fn make_way(&mut self, key: Key, config: &TunnelConfig) {
        for peer in config.all_peers() {
            let others = with_address(&self.desired.index.peers, peer);
            let others = others.filter_map(Key::whole).filter(|whole| *whole != key);
            for whole in others.collect::<Vec<_>>() {
                self.forget_learned(whole, |inner, _| *inner == peer);
            }
        }
        self.make_way_outside(key, config);
    }

    /// The same of outer addresses, for one tunnel or part of one.
    fn make_way_outside(&mut self, key: Key, config: &TunnelConfig) {
        let Some(kind) = key.tunnel_kind().filter(|_| !config.is_found()) else { return };
        for received in config.received_as(kind) {
            let others = self.desired.index.received_as(received);
            for other in others.filter(|other| *other != key).collect::<Vec<_>>() {
                self.forget_found(other);
            }
        }
    }

    /// A far end that was found is not where it was found.
    fn forget_found(&mut self, key: Key) {
        let found = self.desired.tunnels.get(&key).filter(|config| config.is_found());
        let Some(mut config) = found.cloned() else { return };
        match key {
            Key::Peer(_, at) => {
                self.forget_learned(key.whole().unwrap_or(key), |_, outer| *outer == at);
            }
            _ => {
                let local = config.endpoints.map(|(local, _)| local);
                config.set_outer(local, config.remote.clone());
                self.put(Item::Tunnel(key, Some(Box::new(config))));
            }
        }
    }

    /// Far ends that a tunnel learned are none of its any more.
    fn forget_learned(&mut self, whole: Key, which: impl Fn(&IpAddr, &IpAddr) -> bool) {
        let Some(mut config) = self.desired.tunnels.get(&whole).cloned() else { return };
        let Some(all) = &mut config.multipoint else { return };
        let before = all.learned.len();
        all.learned.retain(|inner, outer| !which(inner, outer));
        if all.learned.len() < before {
            self.put_tunnel(whole, Some(config));
        }
    }

    pub(super) fn name(&self, key: Key) -> String {
        self.desired.names.name(key)
    }

    /// The interface of a name, which must exist.
    pub(super) fn existing(&self, name: &str) -> Result<Key, Refusal> {
        let key = self.desired.names.key(name).filter(|key| self.desired.exists(*key));
        match key.map(|key| (key, key.whole())) {
            Some((key, None)) => Ok(key),
            Some((_, Some(whole))) => Err(Refusal::IsPart(name.to_owned(), self.name(whole))),
            None => Err(Refusal::NoInterface(name.to_owned())),
        }
    }

    fn op(&mut self, op: &Op) -> Done {
        match op {
            Op::Create { name } => self.create(name),
            Op::Destroy { name } => self.destroy(name),
            Op::PutTunnel { tunnel } => self.put_tunnel_spec(tunnel),
            Op::PutVlan { vlan } => self.put_vlan_spec(vlan),
            Op::SetAddress { name, address, prefix_len, peer, alias } => {
                self.set_address(name, *address, *prefix_len, *peer, *alias)
            }
            Op::DeleteAddress { name, address } => self.delete_address(name, *address),
            Op::SetEndpoints { name, local, remote } => {
                self.set_endpoints(name, Some(*local), remote.clone())
            }
            Op::ClearEndpoints { name } => self.set_endpoints(name, None, None),
            Op::SetNbma { name, inner, outer } => self.set_nbma(name, *inner, *outer),
            Op::Found { name, at, inner } => self.found(name, *at, *inner),
            Op::Gone { name, inner } => self.gone(name, *inner),
            Op::SetInterface { name, change } => self.set_interface(name, change),
            Op::SetGre { .. } => self.set_gre(op),
            Op::SetKeepalive { name, keepalive } => {
                self.set_liveness(name, |config| config.keepalive = *keepalive)
            }
            Op::SetProbe { name, probe } => self.set_liveness(name, |config| config.probe = *probe),
            Op::SetUdp { name, udp } => self.set_udp(name, *udp),
            Op::SetAdvertise { name, advertise } => self.set_advertise(name, *advertise),
            Op::SetDoor { name, rpf, allow, port } => {
                self.set_door(name, *rpf, allow.as_deref(), port.as_deref())
            }
            Op::AddRoute { route } => self.route(route, Some(false)),
            Op::ChangeRoute { route } => self.route(route, Some(true)),
            Op::PutRoute { route } => self.route(route, None),
            Op::DeleteRoute { to } => self.delete_route(*to),
            Op::FlushRoutes { family } => {
                let wanted = |to: &&IpNet| family.is_none_or(|family| ip::family(to) == family);
                let all: Vec<IpNet> = self.desired.routes.keys().filter(wanted).copied().collect();
                all.into_iter().for_each(|to| self.put(Item::Route(to, None)));
                Ok(())
            }
            Op::PutNeighbour { neighbour } => self.neighbour(neighbour),
            Op::Publish { publish } => self.publish(publish),
            Op::DeleteArp { address } => self.delete_arp(*address),
            Op::FlushArp { family } => {
                self.flush_arp(*family);
                Ok(())
            }
            Op::AddFilter { filter, before } => self.add_filter(filter, before.as_deref()),
            Op::DeleteFilter { name } => self.delete_filter(name),
            Op::FlushFilters => {
                self.put(Item::Filters(Vec::new()));
                Ok(())
            }
            Op::SetIcmp { icmp } => {
                self.put(Item::Icmp(icmp.clone()));
                Ok(())
            }
        }
    }

    fn create(&mut self, name: &str) -> Done {
        let key = match self.desired.names.parse(name) {
            Some(Named::Key(key)) if key.whole().is_none() => key,
            Some(Named::Kind(kind)) => {
                let numbers = match kind {
                    crate::model::spec::TunnelKind::Gre => &self.desired.index.gre,
                    crate::model::spec::TunnelKind::Ipip => &self.desired.index.ipip,
                };
                Key::tunnel(kind, numbers.next_free())
            }
            _ => return Err(Refusal::NotCreatable(name.to_owned()).on("name")),
        };
        let name = self.name(key);
        if self.desired.exists(key) {
            return Err(Refusal::Exists(name).on("name"));
        }
        if key.is_link() {
            self.put_link(key, Some(LinkConfig::created()));
        } else {
            self.put_tunnel(key, Some(TunnelConfig::created()));
        }
        Ok(())
    }

    fn destroy(&mut self, name: &str) -> Done {
        let key = self.existing(name).map_err(|r| r.on("name"))?;
        if matches!(key, Key::Port(_)) {
            return Err(Refusal::PortStays(name.to_owned()).on("name"));
        }
        for object in pointing_at(self.desired, key) {
            match object {
                Object::Route(to) => {
                    let stays = self.desired.paths_without(to, key);
                    let target = self.target_of(to, &stays);
                    let what = if target.is_some() { "one path less" } else { "is gone too" };
                    let has = if target.is_some() { "has" } else { "and" };
                    self.note(|| format!("the route to {to} pointed at {name} {has} {what}"));
                    self.put(Item::Route(to, target));
                }
                Object::Neighbour(address) => {
                    self.note(|| format!("the static neighbour {address} on {name} is gone too"));
                    self.put(Item::Neighbour(address, None));
                }
                Object::Published(address) => {
                    self.note(|| format!("the published entry {address} on {name} is gone too"));
                    self.put(Item::Published(address, None));
                }
                Object::Link(_) | Object::Tunnel(_) | Object::Filters | Object::Icmp => {}
            }
        }
        if key.is_link() {
            self.put_link(key, None)
        } else {
            self.put_tunnel(key, None)
        }
        Ok(())
    }

    /// Notes something that went with an interface.
    fn note(&mut self, text: impl FnOnce() -> String) {
        if self.outcome.notes.len() < MOST_NOTES {
            self.outcome.notes.push(text());
        } else {
            self.more_notes += 1;
        }
    }

    /// `wanted`: whether there has to be one already; `None`: either way.
    fn route(&mut self, route: &RouteSpec, wanted: Option<bool>) -> Done {
        let to = route.to;
        values::routable(to).map_err(|r| r.on("to"))?;
        match wanted.map(|wanted| (wanted, self.desired.routes.contains_key(&to))) {
            Some((false, true)) => return Err(Refusal::RouteExists(to).on("to")),
            Some((true, false)) => return Err(Refusal::NoRoute(to).on("to")),
            _ => {}
        }
        let target = match &route.target {
            RouteTarget::Via(gateway) => self.via(to, *gateway).map_err(|r| r.on("via"))?,
            RouteTarget::Near { via, interface } => {
                self.near(to, *via, interface).map_err(|r| r.on("via"))?
            }
            RouteTarget::Interface(name) => {
                Target::Interface(self.existing(name).map_err(|r| r.on("interface"))?)
            }
            RouteTarget::Blackhole => Target::Blackhole,
            RouteTarget::Reject => Target::Reject,
            RouteTarget::Paths(paths) => self.paths(to, paths).map_err(|r| r.on("paths"))?,
        };
        self.put(Item::Route(to, Some(target)));
        Ok(())
    }

    fn via(&self, to: IpNet, gateway: IpAddr) -> Result<Target, Refusal> {
        values::unicast("gateway", gateway)?;
        if ip::family(&to) != Family::of(gateway) {
            let expected = match ip::family(&to) {
                Family::V4 => "IPv4",
                Family::V6 => "IPv6",
            };
            return Err(Refusal::OtherFamily { to, gateway, expected });
        }
        Ok(Target::Via(gateway))
    }

    /// A gateway by its link-local address.
    fn near(&self, to: IpNet, via: Ipv6Addr, interface: &str) -> Result<Target, Refusal> {
        if ip::family(&to) != Family::V6 {
            let expected = "IPv4";
            return Err(Refusal::OtherFamily { to, gateway: via.into(), expected });
        }
        if !via.is_unicast_link_local() {
            let (address, why) = (via.into(), "not link-local, and needs no interface");
            return Err(Refusal::NotUnicast { what: "gateway", address, why });
        }
        match self.existing(interface)?.port() {
            Some((port, vlan)) => Ok(Target::Near(port, vlan, via)),
            None => {
                let (is, expected) = ("a tunnel", "a port or VLAN interface");
                Err(Refusal::WrongKind { name: interface.to_owned(), is, expected })
            }
        }
    }

    /// Several ways: each once, and each a gateway or a tunnel.
    fn paths(&mut self, to: IpNet, specs: &[PathSpec]) -> Result<Target, Refusal> {
        if specs.len() > MOST_PATHS {
            return Err(Refusal::TooManyPaths(to, specs.len()));
        }
        let mut paths: Vec<Path> = Vec::with_capacity(specs.len());
        for spec in specs {
            let target = match &spec.way {
                PathWay::Via(gateway) => self.via(to, *gateway)?,
                PathWay::Interface(name) => {
                    let key = self.existing(name)?;
                    if key.is_link() {
                        let (name, is, expected) =
                            (name.clone(), "a port or VLAN interface", "a gateway or a tunnel");
                        return Err(Refusal::WrongKind { name, is, expected });
                    }
                    Target::Interface(key)
                }
            };
            let path = spec.way.to_string();
            if spec.weight == 0 {
                return Err(Refusal::PathWeight { to, path });
            }
            if paths.iter().any(|path| path.target == target) {
                return Err(Refusal::PathTwice { to, path });
            }
            paths.push(Path { target, weight: spec.weight });
        }
        self.target_of(to, &paths).ok_or(Refusal::NoPath(to))
    }

    /// What leads by these paths: a single one needs no set.
    fn target_of(&mut self, to: IpNet, paths: &[Path]) -> Option<Target> {
        match paths {
            [] => None,
            [only] => Some(only.target),
            several => Some(Target::Paths(self.desired.sets.number(ip::family(&to), several))),
        }
    }

    fn delete_route(&mut self, to: IpNet) -> Done {
        if !self.desired.routes.contains_key(&to) {
            return Err(Refusal::NoRoute(to).on("to"));
        }
        self.put(Item::Route(to, None));
        Ok(())
    }

    /// The link an ARP entry belongs to: the named one, or the one whose
    /// subnet has the address. It is kept by name from here on.
    fn arp_link(&self, address: IpAddr, port: Option<&String>) -> Result<Key, Fault> {
        values::unicast("address", address).map_err(|r| r.on("address"))?;
        let Some(name) = port else {
            let link = self.desired.index.link_of(address);
            return link.ok_or_else(|| Refusal::NoLinkFor(address).on("address"));
        };
        let key = self.existing(name).map_err(|r| r.on("port"))?;
        if !key.is_link() {
            let (name, is, expected) = (name.clone(), "a tunnel", "a port or VLAN interface");
            return Err(Refusal::WrongKind { name, is, expected }.on("port"));
        }
        Ok(key)
    }

    fn neighbour(&mut self, spec: &NeighbourSpec) -> Done {
        values::station(spec.mac).map_err(|r| r.on("mac"))?;
        let link = self.arp_link(spec.address, spec.port.as_ref())?;
        self.put(Item::Neighbour(spec.address, Some((link, spec.mac))));
        Ok(())
    }

    fn add_filter(&mut self, spec: &FilterSpec, before: Option<&str>) -> Done {
        let wrong = |(field, message)| Refusal::Filter(spec.name.clone(), message).on(field);
        spec.check().map_err(wrong)?;
        let named = spec.interface.as_deref().map(|name| self.existing(name)).transpose();
        let interface = named.map_err(|refusal| refusal.on("in"))?;
        let mut rules = self.desired.filters.clone();
        if rules.iter().any(|rule| rule.spec.name == spec.name) {
            return Err(Refusal::FilterExists(spec.name.clone()).on("name"));
        }
        if rules.len() >= MOST_FILTERS {
            return Err(Refusal::TooManyFilters.into());
        }
        let at = before.map_or(Ok(rules.len()), |before| self.filter_at(before));
        let at = at.map_err(|refusal| refusal.on("before"))?;
        rules.insert(at, FilterConfig { spec: spec.clone(), interface });
        self.put(Item::Filters(rules));
        Ok(())
    }

    fn delete_filter(&mut self, name: &str) -> Done {
        let at = self.filter_at(name).map_err(|refusal| refusal.on("name"))?;
        let mut rules = self.desired.filters.clone();
        rules.remove(at);
        self.put(Item::Filters(rules));
        Ok(())
    }

    /// The place of a rule.
    fn filter_at(&self, name: &str) -> Result<usize, Refusal> {
        let at = self.desired.filters.iter().position(|rule| rule.spec.name == name);
        at.ok_or_else(|| Refusal::NoFilter(name.to_owned()))
    }

    fn publish(&mut self, spec: &PublishSpec) -> Done {
        if let Some(mac) = spec.mac {
            values::station(mac).map_err(|r| r.on("mac"))?;
        }
        let link = self.arp_link(spec.address, spec.port.as_ref())?;
        self.put(Item::Published(spec.address, Some((link, spec.mac))));
        Ok(())
    }

    fn delete_arp(&mut self, address: IpAddr) -> Done {
        let fixed = self.desired.neighbours.contains_key(&address);
        let published = self.desired.published.contains_key(&address);
        if !fixed && !published && !(self.learned)(address) {
            return Err(Refusal::NoEntry(address).on("address"));
        }
        self.put(Item::Neighbour(address, None));
        self.put(Item::Published(address, None));
        self.events.push(Event::Forget { address });
        Ok(())
    }

    /// All entries, as `arp -d -a` always did: static and published ones too.
    fn flush_arp(&mut self, family: Option<Family>) {
        let wanted = |address: &&IpAddr| family.is_none_or(|f| Family::of(**address) == f);
        let fixed: Vec<IpAddr> = self.desired.neighbours.keys().filter(wanted).copied().collect();
        fixed.into_iter().for_each(|address| self.put(Item::Neighbour(address, None)));
        let published: Vec<IpAddr> =
            self.desired.published.keys().filter(wanted).copied().collect();
        published.into_iter().for_each(|address| self.put(Item::Published(address, None)));
        self.events.push(Event::ForgetAll { family });
    }
}

/// Interfaces an op is about, the one it changes first.
fn subject(op: &Op) -> Vec<&str> {
    match op {
        Op::Create { name }
        | Op::Destroy { name }
        | Op::SetAddress { name, .. }
        | Op::DeleteAddress { name, .. }
        | Op::SetEndpoints { name, .. }
        | Op::ClearEndpoints { name }
        | Op::Found { name, .. }
        | Op::Gone { name, .. }
        | Op::SetNbma { name, .. }
        | Op::SetInterface { name, .. }
        | Op::SetGre { name, .. }
        | Op::SetKeepalive { name, .. }
        | Op::SetProbe { name, .. }
        | Op::SetAdvertise { name, .. }
        | Op::SetUdp { name, .. } => vec![name],
        Op::SetDoor { name, port, .. } => {
            std::iter::once(name).chain(port).map(String::as_str).collect()
        }
        Op::PutTunnel { tunnel } => vec![&tunnel.name],
        Op::PutVlan { vlan } => vec![&vlan.name],
        Op::AddRoute { route } | Op::ChangeRoute { route } | Op::PutRoute { route } => {
            match &route.target {
                RouteTarget::Interface(name) | RouteTarget::Near { interface: name, .. } => {
                    vec!["", name]
                }
                RouteTarget::Paths(paths) => {
                    let named = paths.iter().filter_map(|path| match &path.way {
                        PathWay::Interface(name) => Some(name.as_str()),
                        PathWay::Via(_) => None,
                    });
                    std::iter::once("").chain(named).collect()
                }
                _ => Vec::new(),
            }
        }
        Op::PutNeighbour { neighbour } => neighbour.port.iter().flat_map(|n| ["", n]).collect(),
        Op::Publish { publish } => publish.port.iter().flat_map(|n| ["", n]).collect(),
        Op::AddFilter { filter, .. } => filter.interface.iter().flat_map(|n| ["", n]).collect(),
        _ => Vec::new(),
    }
}

/// What goes with an interface when it is destroyed: static routes to it or
/// via its far end, and ARP entries on it.
pub(super) fn pointing_at(desired: &Desired, key: Key) -> Vec<Object> {
    let mut objects: Vec<Object> = desired.index.routes_through(key).map(Object::Route).collect();
    if let Some(tunnel) = desired.tunnels.get(&key) {
        let peers = tunnel.all_peers();
        objects.extend(peers.flat_map(|peer| desired.index.routes_via(peer)).map(Object::Route));
    }
    if key.is_link() {
        let fixed = desired.neighbours.iter().filter(|(_, (link, _))| *link == key);
        objects.extend(fixed.map(|(address, _)| Object::Neighbour(*address)));
        let published = desired.published.iter().filter(|(_, (link, _))| *link == key);
        objects.extend(published.map(|(address, _)| Object::Published(*address)));
    }
    objects
}
