//! Desired state: what is configured, indexed by everything a change has to
//! ask about. One door in, [`Desired::put`], which gives back what was there:
//! a transaction's undo log, and its list of what changed, are the same list.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::ops::Bound;

use arrayvec::ArrayVec;
use ipnet::{IpNet, Ipv6Net};
use prefix_trie::joint::JointPrefixMap;

use super::key::{Key, Names, Numbers};
use super::paths::{MOST_PATHS, Path, SetId, Sets};
use super::tunnel_config::TunnelConfig;
use crate::ids::{Family, Mac, PortId};
use crate::model::ip;
use crate::model::spec::{AdvertiseSpec, FilterSpec, IcmpSpec, ReversePath};
use crate::tables::tunnel::Received;

/// A port or VLAN sub-interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LinkConfig {
    /// Own addresses; the first of each family is the primary one.
    pub(super) address: Vec<IpNet>,
    /// Largest IP datagram; `None` on a VLAN: the port's.
    pub(super) mtu: Option<u16>,
    /// Whether sources have to be reached by it.
    pub(super) rpf: ReversePath,
    /// Router advertisements.
    pub(super) advertise: Option<AdvertiseSpec>,
    /// Administratively up.
    pub(super) up: bool,
}

impl LinkConfig {
    /// As `ifconfig en0.20 create` leaves it.
    pub(super) fn created() -> LinkConfig {
        LinkConfig {
            address: Vec::new(),
            mtu: None,
            rpf: ReversePath::Off,
            advertise: None,
            up: true,
        }
    }

    /// Its IPv6 networks, each once.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = Ipv6Net> {
        let nets = self.address.iter().filter_map(|net| match net {
            IpNet::V6(net) => Some(net.trunc()),
            IpNet::V4(_) => None,
        });
        nets.collect::<BTreeSet<Ipv6Net>>().into_iter()
    }

    /// The link-local address it has when it is up with this link address.
    pub(super) fn link_local(&self, mac: Mac) -> Option<Ipv6Addr> {
        self.address.iter().any(|net| net.addr().is_ipv6()).then(|| ip::link_local(mac))
    }
}

/// A rule of the packet filters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FilterConfig {
    /// As written.
    pub(super) spec: FilterSpec,
    /// The interface it names.
    pub(super) interface: Option<Key>,
}

/// Where a static route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Target {
    /// A gateway.
    Via(IpAddr),
    /// A gateway on this port, or this VLAN (not 0) of it, by its link-local
    /// address.
    Near(PortId, u16, Ipv6Addr),
    /// An interface.
    Interface(Key),
    /// Nowhere, silently.
    Blackhole,
    /// Nowhere, aloud.
    Reject,
    /// Several ways at once, by flow.
    Paths(SetId),
}

/// An object under its key, or that there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Link(Key, Option<LinkConfig>),
    /// Boxed: a transaction may have a million items, and most are routes.
    Tunnel(Key, Option<Box<TunnelConfig>>),
    Route(IpNet, Option<Target>),
    Neighbour(IpAddr, Option<(Key, Mac)>),
    Published(IpAddr, Option<(Key, Option<Mac>)>),
    /// All rules, in order.
    Filters(Vec<FilterConfig>),
    Icmp(IcmpSpec),
}

/// What an item is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Object {
    Tunnel(Key),
    Route(IpNet),
    Neighbour(IpAddr),
    Published(IpAddr),
    Link(Key),
    Filters,
    Icmp,
}

impl Item {
    /// What it is about.
    pub(super) fn object(&self) -> Object {
        match self {
            Item::Link(key, _) => Object::Link(*key),
            Item::Tunnel(key, _) => Object::Tunnel(*key),
            Item::Route(to, _) => Object::Route(*to),
            Item::Neighbour(address, _) => Object::Neighbour(*address),
            Item::Published(address, _) => Object::Published(*address),
            Item::Filters(_) => Object::Filters,
            Item::Icmp(_) => Object::Icmp,
        }
    }
}

/// Who uses an address or interface how. Sets of pairs, so that "who" is a
/// range and a change costs a logarithm.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Own addresses and the interfaces that have them.
    pub(super) own: BTreeSet<(IpAddr, Key)>,
    /// Connected subnets, and IPv6 subnets behind tunnels; several interfaces
    /// only within a transaction.
    pub(super) subnets: JointPrefixMap<IpNet, Vec<Key>>,
    /// Outer destinations.
    pub(super) remotes: BTreeSet<(IpAddr, Key)>,
    /// Inner far ends.
    pub(super) peers: BTreeSet<(IpAddr, Key)>,
    /// What tunnels are received as; several tunnels only within a transaction.
    pub(super) received: BTreeSet<(Received, Key)>,
    /// Outer sources and how many tunnels have each.
    pub(super) locals: BTreeMap<IpAddr, usize>,
    /// UDP ports and how many tunnels have each.
    pub(super) udp: BTreeMap<u16, usize>,
    /// Gateways of static routes.
    pub(super) gateways: BTreeSet<(IpAddr, IpNet)>,
    /// Static routes to an interface.
    pub(super) through: BTreeSet<(Key, IpNet)>,
    /// Numbers of gre interfaces.
    pub(super) gre: Numbers,
    /// Numbers of ipip interfaces.
    pub(super) ipip: Numbers,
}

impl Index {
    /// Interfaces that have an address as their own.
    pub(super) fn owners(&self, address: IpAddr) -> impl Iterator<Item = Key> {
        with_address(&self.own, address)
    }

    /// Own addresses, each once, however many interfaces have it.
    pub(super) fn own_addresses(&self, family: Family) -> impl Iterator<Item = IpAddr> {
        let (least, most) = ip::range(family).into_inner();
        let from = move |bound| {
            let next = self.own.range((bound, Bound::Unbounded)).next();
            next.map(|(address, _)| *address).filter(|address| *address <= most)
        };
        let first = from(Bound::Included((least, Key::Port(PortId(0)))));
        std::iter::successors(first, move |address| from(Bound::Excluded((*address, Key::LAST))))
    }

    /// The link whose subnet has an address.
    pub(super) fn link_of(&self, address: IpAddr) -> Option<Key> {
        let (_, keys) = self.subnets.get_lpm(&IpNet::from(address))?;
        keys.first().copied().filter(|key| key.is_link())
    }

    /// An interface has a subnet, or has it no longer.
    fn subnet(&mut self, subnet: IpNet, key: Key, add: bool) {
        if add {
            return self.subnets.entry(subnet).or_default().push(key);
        }
        let Some(keys) = self.subnets.get_mut(&subnet) else { return };
        if let Some(at) = keys.iter().position(|other| *other == key) {
            keys.remove(at);
        }
        if keys.is_empty() {
            self.subnets.remove(&subnet);
        }
    }

    /// Tunnels that are received as this.
    pub(super) fn received_as(&self, this: Received) -> impl Iterator<Item = Key> {
        let first = (this, Key::Port(PortId(0)));
        self.received.range(first..).take_while(move |(r, _)| *r == this).map(|(_, who)| *who)
    }

    /// Static routes to an interface.
    pub(super) fn routes_through(&self, key: Key) -> impl Iterator<Item = IpNet> {
        let first = (key, IpNet::default());
        self.through.range(first..).take_while(move |(k, _)| *k == key).map(|(_, to)| *to)
    }

    /// Static routes via a gateway.
    pub(super) fn routes_via(&self, gateway: IpAddr) -> impl Iterator<Item = IpNet> {
        let first = (gateway, IpNet::default());
        self.gateways.range(first..).take_while(move |(g, _)| *g == gateway).map(|(_, to)| *to)
    }

    /// Everything a tunnel has, in or out.
    fn tunnel(&mut self, key: Key, config: &TunnelConfig, add: bool) {
        let Some(kind) = key.tunnel_kind() else { return };
        for address in config.own() {
            change(&mut self.own, (address, key), add);
        }
        for peer in config.peers() {
            change(&mut self.peers, (peer, key), add);
        }
        for subnet in config.subnets() {
            self.subnet(subnet, key, add);
        }
        for received in config.received_as(kind) {
            change(&mut self.received, (received, key), add);
        }
        let Some((local, remote)) = config.outer(kind) else { return };
        if !remote.is_unspecified() {
            change(&mut self.remotes, (remote, key), add);
        }
        count(&mut self.locals, local, add);
        if let Some(udp) = config.udp {
            count(&mut self.udp, udp.port, add);
        }
    }

    fn numbers(&mut self, key: Key) -> Option<(&mut Numbers, u32)> {
        match key {
            Key::Gre(number) => Some((&mut self.gre, number)),
            Key::Ipip(number) => Some((&mut self.ipip, number)),
            Key::Port(_) | Key::Vlan(..) | Key::Peer(..) => None,
        }
    }
}

/// Interfaces in a set under one address.
pub(super) fn with_address(
    set: &BTreeSet<(IpAddr, Key)>,
    address: IpAddr,
) -> impl Iterator<Item = Key> {
    let first = (address, Key::Port(crate::ids::PortId(0)));
    set.range(first..).take_while(move |(a, _)| *a == address).map(|(_, key)| *key)
}

/// Everything configured.
#[derive(Debug)]
pub(super) struct Desired {
    pub(super) names: Names,
    pub(super) links: BTreeMap<Key, LinkConfig>,
    pub(super) tunnels: BTreeMap<Key, TunnelConfig>,
    pub(super) routes: BTreeMap<IpNet, Target>,
    /// Where multipath routes lead.
    pub(super) sets: Sets,
    pub(super) neighbours: BTreeMap<IpAddr, (Key, Mac)>,
    pub(super) published: BTreeMap<IpAddr, (Key, Option<Mac>)>,
    pub(super) filters: Vec<FilterConfig>,
    pub(super) icmp: IcmpSpec,
    pub(super) index: Index,
}

impl Desired {
    /// Nothing but the names of the ports.
    pub(super) fn new(names: Names) -> Desired {
        Desired {
            names,
            links: BTreeMap::new(),
            tunnels: BTreeMap::new(),
            routes: BTreeMap::new(),
            sets: Sets::default(),
            neighbours: BTreeMap::new(),
            published: BTreeMap::new(),
            filters: Vec::new(),
            icmp: IcmpSpec::default(),
            index: Index::default(),
        }
    }

    /// The configuration of a tunnel that has its addresses: of a part, the
    /// whole's.
    pub(super) fn addressed(&self, key: Key) -> Option<&TunnelConfig> {
        self.tunnels.get(&key.whole().unwrap_or(key))
    }

    /// True if the interface exists.
    pub(super) fn exists(&self, key: Key) -> bool {
        if key.is_link() { self.links.contains_key(&key) } else { self.tunnels.contains_key(&key) }
    }

    /// Puts an object in place, or takes it out; gives what was there.
    pub(super) fn put(&mut self, item: Item) -> Item {
        match item {
            Item::Link(key, config) => Item::Link(key, self.put_link(key, config)),
            Item::Tunnel(key, config) => {
                let old = self.put_tunnel(key, config.map(|config| *config));
                Item::Tunnel(key, old.map(Box::new))
            }
            Item::Route(to, target) => Item::Route(to, self.put_route(to, target)),
            Item::Neighbour(address, entry) => {
                Item::Neighbour(address, set(&mut self.neighbours, address, entry))
            }
            Item::Published(address, entry) => {
                Item::Published(address, set(&mut self.published, address, entry))
            }
            Item::Filters(rules) => Item::Filters(std::mem::replace(&mut self.filters, rules)),
            Item::Icmp(icmp) => Item::Icmp(std::mem::replace(&mut self.icmp, icmp)),
        }
    }

    fn put_link(&mut self, key: Key, config: Option<LinkConfig>) -> Option<LinkConfig> {
        let old = set(&mut self.links, key, config);
        for net in old.iter().flat_map(|link| &link.address) {
            self.index.own.remove(&(net.addr(), key));
            self.index.subnet(net.trunc(), key, false);
        }
        for net in self.links.get(&key).iter().flat_map(|link| &link.address) {
            self.index.own.insert((net.addr(), key));
            self.index.subnet(net.trunc(), key, true);
        }
        old
    }

    fn put_tunnel(&mut self, key: Key, config: Option<TunnelConfig>) -> Option<TunnelConfig> {
        let old = set(&mut self.tunnels, key, config);
        let new = self.tunnels.get(&key);
        if old.is_some() != new.is_some()
            && let Some((numbers, number)) = self.index.numbers(key)
        {
            if new.is_some() { numbers.take(number) } else { numbers.give_back(number) }
        }
        if let Some(old) = &old {
            self.index.tunnel(key, old, false);
        }
        if let Some(new) = new {
            self.index.tunnel(key, new, true);
        }
        old
    }

    fn put_route(&mut self, to: IpNet, target: Option<Target>) -> Option<Target> {
        let old = set(&mut self.routes, to, target);
        for (target, add) in [(old, false), (target, true)] {
            let ways = target.map(|target| self.ways(target)).unwrap_or_default();
            for way in ways {
                match way {
                    Target::Via(gateway) => change(&mut self.index.gateways, (gateway, to), add),
                    Target::Interface(key) => change(&mut self.index.through, (key, to), add),
                    Target::Near(port, vlan, _) => {
                        change(&mut self.index.through, (Key::link(port, vlan), to), add);
                    }
                    _ => {}
                }
            }
        }
        if let Some(Target::Paths(set)) = old {
            self.sets.count(set, false);
        }
        if let Some(Target::Paths(set)) = target {
            self.sets.count(set, true);
        }
        old
    }

    /// The paths of a multipath route that do not point at an interface or at
    /// its far end; none of any other route.
    pub(super) fn paths_without(&self, to: IpNet, key: Key) -> Vec<Path> {
        let Some(Target::Paths(set)) = self.routes.get(&to) else { return Vec::new() };
        let tunnel = self.tunnels.get(&key);
        let is_peer = |gateway| tunnel.is_some_and(|t| t.all_peers().any(|peer| peer == gateway));
        let stays = |path: &&Path| match path.target {
            Target::Interface(interface) => interface != key,
            Target::Via(gateway) => !is_peer(gateway),
            _ => true,
        };
        self.sets.paths(*set).iter().filter(stays).copied().collect()
    }

    /// Every way a target leads: its paths', or the one there is.
    pub(super) fn ways(&self, target: Target) -> ArrayVec<Target, MOST_PATHS> {
        match target {
            Target::Paths(set) => self.sets.paths(set).iter().map(|path| path.target).collect(),
            target => std::iter::once(target).collect(),
        }
    }
}

/// One more of these, or one less.
pub(super) fn count<T: Ord + Copy>(counts: &mut BTreeMap<T, usize>, what: T, add: bool) {
    let count = counts.entry(what).or_default();
    *count = if add { *count + 1 } else { *count - 1 };
    if *count == 0 {
        counts.remove(&what);
    }
}

/// Puts an entry into a set or takes it out.
fn change<T: Ord>(set: &mut BTreeSet<T>, entry: T, add: bool) {
    if add {
        set.insert(entry);
    } else {
        set.remove(&entry);
    }
}

fn set<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) -> Option<V> {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    }
}
