//! What is told after a transaction: notes for who asked, events for the
//! engines.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::commit::Done;
use super::desired::{Item, LinkConfig, Object, Target};
use super::hops::Hop;
use super::key::Key;
use super::rib::Candidate;
use super::touched::{RouteChange, Touched};
use super::{Net, Reason};
use crate::control::names::Sought;
use crate::control::topology::{Event, Topology, Way};
use crate::ids::{IfId, Mac};
use crate::model::ip;
use crate::model::op::Outcome;

/// Most notes of one kind; a transaction can touch a hundred thousand tunnels.
const MOST: usize = 20;

impl Net {
    /// Adds what deserves a word.
    pub(super) fn tell(&self, touched: &Touched, done: &Done, outcome: &mut Outcome) {
        let mut notes: Vec<String> = Vec::new();
        let tunnels = done.tunnels.iter().filter_map(|(id, ran)| self.tunnel_note(*id, *ran));
        some_of(&mut notes, "tunnels that are not running", tunnels);
        let others = &touched.others;
        let unasked = others.keys().filter_map(|object| self.probe_note(object));
        some_of(&mut notes, "tunnels that are not probed", unasked);
        let routes = touched.routes.iter().filter_map(|change| self.route_note(change));
        some_of(&mut notes, "routes that do not count", routes);
        let published = others.keys().filter_map(|object| self.published_note(object));
        some_of(&mut notes, "silent entries", published);
        outcome.notes.extend(notes);
    }

    /// A tunnel that has all it needs from its own configuration and does not
    /// run; or that ran and does not, unless it was told so.
    fn tunnel_note(&self, id: IfId, ran: bool) -> Option<String> {
        let state = self.tunnels.get(&id)?;
        let reason = state.underlay.err()?;
        if matches!(
            reason,
            Reason::NoPair | Reason::NoEndpoints | Reason::Multipoint | Reason::Down
        ) {
            return None;
        }
        let up = self.desired.tunnels.get(&state.key).is_some_and(|config| config.up);
        if !up {
            return None;
        }
        let name = self.links.name(id);
        let more = if ran { "any more" } else { "yet" };
        Some(format!("{name} is not running {more}: {}", self.reason(id, reason)))
    }

    /// A tunnel that is to be probed and has nobody to ask.
    fn probe_note(&self, object: &Object) -> Option<String> {
        let Object::Tunnel(key) = object else { return None };
        let config = self.desired.tunnels.get(key)?;
        let lacking = config.probe.is_some() && config.probe_ends().is_none();
        lacking.then(|| {
            let name = self.desired.names.name(*key);
            format!(
                "{name} is not probed yet: it lacks an inner far end, or an inner address of the \
                 family of the one to probe"
            )
        })
    }

    fn route_note(&self, change: &RouteChange) -> Option<String> {
        let (to, target) = (change.to, change.new?);
        let entry = self.rib.get(to);
        let first = *entry.candidates().first()?;
        let waits = |what: String| Some(format!("the static route to {to} waits: it is {what}"));
        match first {
            Candidate::Static(_) => {}
            Candidate::Local => return waits("our own address".to_owned()),
            Candidate::Broadcast => return waits("an address that no host has".to_owned()),
            Candidate::Connected(link) => {
                return waits(format!("connected to {}", self.links.name(link)));
            }
            Candidate::Tunnel(tunnel) if ip::is_host(&to) => {
                return waits(format!("the far end of {}", self.links.name(tunnel)));
            }
            Candidate::Tunnel(tunnel) => {
                return waits(format!("connected to {}", self.links.name(tunnel)));
            }
        }
        match entry.route()? {
            Hop::Unreachable => {}
            Hop::Paths(set) if self.groups.get(set)?.shares().iter().all(|n| *n == 0) => {}
            _ => return None,
        }
        match target {
            Target::Paths(_) => Some(format!(
                "none of the paths of {to} can be used now: until one can, packets are answered \
                 with host unreachable"
            )),
            Target::Via(gateway) => Some(format!(
                "the gateway {gateway} of {to} is not reachable now: until it is, packets are \
                 answered with host unreachable"
            )),
            Target::Near(port, vlan, _) => {
                let link = self.desired.names.name(Key::link(port, vlan));
                Some(format!("{link} is down: {to} is unreachable"))
            }
            Target::Interface(key) => {
                Some(format!("{} is down: {to} is unreachable", self.desired.names.name(key)))
            }
            Target::Blackhole | Target::Reject => None,
        }
    }

    fn published_note(&self, object: &Object) -> Option<String> {
        let Object::Published(address) = object else { return None };
        let (key, _) = self.desired.published.get(address)?;
        let link = self.links.id(*key)?;
        let elsewhere = match self.way(*address) {
            Way::Neighbour { link: leaves, .. } => leaves != link,
            Way::Tunnel { underlay, .. } => underlay.is_some(),
            Way::Local | Way::Broadcast | Way::Unreachable => false,
        };
        let name = self.links.name(link);
        (!elsewhere).then(|| {
            format!(
                "{address} is published on {name} but silent until a route to it leaves by \
                 another interface that is running"
            )
        })
    }

    /// What engines have to follow, in order: what went, then what came.
    pub(super) fn events(
        &self,
        before: &BTreeMap<Object, Item>,
        done: Done,
        forget: Vec<Event>,
    ) -> Vec<Event> {
        let id = |key: Key| self.links.id(key).or_else(|| done.numbers.get(&key).copied());
        let down = done.down.iter().map(|link| Event::LinkDown { link: *link });
        let mut events: Vec<Event> = down.collect();
        let mut came = Vec::new();
        for old in before.values() {
            match old {
                Item::Link(key, old) => {
                    if let Some(link) = id(*key) {
                        self.address_events(*key, link, old.as_ref(), &done, &mut events);
                    }
                }
                Item::Neighbour(address, old) => {
                    let new = self.desired.neighbours.get(address).copied();
                    let numbered = |entry: Option<(Key, Mac)>| {
                        entry.and_then(|(key, mac)| Some((id(key)?, mac)))
                    };
                    static_events(*address, numbered(old.to_owned()), numbered(new), &mut events);
                }
                Item::Published(address, old) => {
                    let new = self.desired.published.get(address).copied();
                    if *old == new {
                        continue;
                    }
                    if let Some(link) = old.and_then(|(key, _)| id(key)) {
                        events.push(Event::Unpublished { link, address: *address });
                    }
                    came.extend(new.and_then(|entry| self.published_event(*address, entry)));
                }
                Item::Icmp(_) => came.push(Event::Icmp(self.desired.icmp.clone())),
                Item::Tunnel(key, old) => {
                    let watch = self.watch_of(*key);
                    let was = old.as_ref().is_some_and(|config| config.is_watched());
                    if let Some(tunnel) = id(*key).filter(|_| was || watch.is_some()) {
                        events.push(Event::Watched { tunnel, watch });
                    }
                    let sought = self.sought(*key);
                    let was = old.as_ref().is_some_and(|config| config.host_name().is_some());
                    if let Some(tunnel) = id(*key).filter(|_| was || sought.is_some()) {
                        events.push(Event::Sought { tunnel, sought });
                    }
                }
                Item::Route(..) | Item::Filters(_) => {}
            }
        }
        events.extend(forget);
        self.up_events(&done, &mut came);
        // Whatever went is told before whatever came, whoever it is about.
        let (gone, here): (Vec<Event>, Vec<Event>) = events.into_iter().partition(|event| {
            !matches!(event, Event::AddressAdded { .. } | Event::StaticAdded { .. })
        });
        let mut events = gone;
        events.extend(here);
        events.extend(came);
        if done.routes {
            events.push(Event::RoutesChanged);
        }
        if self.readvertises(before) {
            events.push(Event::Advertised(self.advertised()));
        }
        events
    }

    /// True if links were touched, and there are or were any that are advertised.
    fn readvertises(&self, before: &BTreeMap<Object, Item>) -> bool {
        let is = |config: &LinkConfig| config.advertise.is_some();
        let mut touched = before.values().filter_map(|old| match old {
            Item::Link(_, old) => Some(old.as_ref().is_some_and(is)),
            _ => None,
        });
        match touched.next() {
            Some(was) => was || self.desired.links.values().any(is) || touched.any(|was| was),
            None => false,
        }
    }

    /// How a tunnel's far end is sought, if it has a name.
    fn sought(&self, key: Key) -> Option<Sought> {
        let config = self.desired.tunnels.get(&key)?;
        let name = config.host_name()?.clone();
        let family = config.outer_family(key.tunnel_kind()?);
        let interval = Duration::from_secs(config.resolve_interval.into());
        Some(Sought { name, family, interval, known: config.is_found() })
    }

    fn published_event(&self, address: IpAddr, (key, mac): (Key, Option<Mac>)) -> Option<Event> {
        let link = self.links.id(key)?;
        let mac = mac.or_else(|| Some(self.links.states.get(&link)?.link.mac))?;
        Some(Event::Published { link, address, mac })
    }

    /// Addresses that came to a link or left it.
    fn address_events(
        &self,
        key: Key,
        link: IfId,
        old: Option<&LinkConfig>,
        done: &Done,
        events: &mut Vec<Event>,
    ) {
        let port = key.port().and_then(|(port, _)| self.facts.get(port.index()));
        let mac = port.map(|facts| facts.mac).unwrap_or_default();
        let list = |config: Option<&LinkConfig>| -> Vec<IpAddr> {
            let own = config.iter().flat_map(|c| c.address.iter().map(IpNet::addr));
            own.chain(config.and_then(|c| c.link_local(mac)).map(IpAddr::V6)).collect()
        };
        let (had, has) = (list(old), list(self.desired.links.get(&key)));
        let left = had.iter().filter(|address| !has.contains(address));
        events.extend(left.map(|address| Event::AddressRemoved { link, address: *address }));
        // A link that came up announces all of them, below.
        if !done.up.contains(&link) {
            let came = has.iter().filter(|address| !had.contains(address));
            events.extend(came.map(|address| Event::AddressAdded { link, address: *address }));
        }
    }

    /// A link that came up announces its addresses, and its static neighbours
    /// are told again, since `LinkDown` said to forget all of them.
    fn up_events(&self, done: &Done, came: &mut Vec<Event>) {
        for link in done.up.iter().copied() {
            let Some(state) = self.links.states.get(&link) else { continue };
            let addresses = state.address.iter().map(IpNet::addr);
            let addresses = addresses.chain(state.link_local.map(IpAddr::V6));
            came.extend(addresses.map(|address| Event::AddressAdded { link, address }));
            let range = (link, ip::FIRST)..=(link, ip::LAST);
            for ((_, address), entry) in self.neighbours.range(range) {
                let address = *address;
                came.extend(entry.fixed.map(|mac| Event::StaticAdded { link, address, mac }));
            }
        }
        // Said once, even if it was put in place in the same transaction.
        let mut seen = BTreeSet::new();
        came.retain(|event| match event {
            Event::StaticAdded { link, address, .. } => seen.insert((*link, *address)),
            _ => true,
        });
    }
}

fn static_events(
    address: IpAddr,
    old: Option<(IfId, Mac)>,
    new: Option<(IfId, Mac)>,
    events: &mut Vec<Event>,
) {
    if old == new {
        return;
    }
    let moved = old.map(|(link, _)| link) != new.map(|(link, _)| link);
    if let (Some((link, _)), true) = (old, moved) {
        events.push(Event::StaticRemoved { link, address });
    }
    events.extend(new.map(|(link, mac)| Event::StaticAdded { link, address, mac }));
}

/// Adds the first few and says how many more there are.
fn some_of(notes: &mut Vec<String>, what: &str, all: impl Iterator<Item = String>) {
    let mut more = 0;
    for (n, note) in all.enumerate() {
        if n < MOST {
            notes.push(note);
        } else {
            more += 1;
        }
    }
    if more > 0 {
        notes.push(format!("and {more} more {what}"));
    }
}
