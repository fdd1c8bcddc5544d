//! Desired state: what is configured, indexed by everything a change has to
//! ask about. One door in, [`Desired::put`], which gives back what was there:
//! a transaction's undo log, and its list of what changed, are the same list.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use arrayvec::ArrayVec;
use ipnet::Ipv4Net;
use prefix_trie::PrefixMap;

use super::key::{Key, Names, Numbers};
use super::paths::{MOST_PATHS, Path, SetId, Sets};
use crate::ids::{Mac, PortId, TableId};
use crate::model::spec::{Dscp, GreOptions, IcmpSpec, MssClamp, OuterDf, TunnelKind};
use crate::tables::tunnel::DecapKey;
use crate::wire::{IPPROTO_IPIP, IPPROTO_MINIMAL};

/// A port or VLAN sub-interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LinkConfig {
    /// Own addresses; the first is the primary one.
    pub(super) address: Vec<Ipv4Net>,
    /// Largest IP datagram; `None` on a VLAN: the port's.
    pub(super) mtu: Option<u16>,
    /// Administratively up.
    pub(super) up: bool,
}

/// A tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TunnelConfig {
    /// Outer source and destination; never set on `ipip`.
    pub(super) endpoints: Option<(Ipv4Addr, Ipv4Addr)>,
    /// Inner address and peer.
    pub(super) pair: Option<(Ipv4Addr, Ipv4Addr)>,
    /// GRE (set) or minimal encapsulation (clear); always set on `ipip`.
    pub(super) link0: bool,
    /// Look up the real outer destination.
    pub(super) link1: bool,
    /// Largest inner datagram, if set.
    pub(super) mtu: Option<u16>,
    /// Outer TTL.
    pub(super) ttl: u8,
    /// Outer DSCP.
    pub(super) dscp: Dscp,
    /// Outer DF.
    pub(super) df: OuterDf,
    /// Limit on TCP segments.
    pub(super) mss: MssClamp,
    /// Checksum, key and sequence numbers; plain on `ipip`.
    pub(super) gre: GreOptions,
    /// Administratively up.
    pub(super) up: bool,
}

impl TunnelConfig {
    /// As `ifconfig gre0 create` leaves it: down until it is addressed.
    pub(super) fn created() -> TunnelConfig {
        TunnelConfig {
            endpoints: None,
            pair: None,
            link0: true,
            link1: false,
            mtu: None,
            ttl: 64,
            dscp: Dscp::default(),
            df: OuterDf::default(),
            mss: MssClamp::default(),
            gre: GreOptions::default(),
            up: false,
        }
    }

    /// Outer source and destination: on `ipip` the one pair there is (T16).
    pub(super) fn outer(&self, kind: TunnelKind) -> Option<(Ipv4Addr, Ipv4Addr)> {
        match kind {
            TunnelKind::Gre => self.endpoints,
            TunnelKind::Ipip => self.pair,
        }
    }

    /// Bytes it adds to a datagram: with minimal encapsulation (8 or 12) as
    /// many as with IP in IP, since any datagram may have to go like that.
    pub(super) fn overhead(&self, kind: TunnelKind) -> u16 {
        if self.link0 { kind.overhead() + self.gre.overhead() } else { TunnelKind::Ipip.overhead() }
    }

    /// Protocols of what it sends: the second where the first cannot be.
    pub(super) fn protocols(&self, kind: TunnelKind) -> ArrayVec<u8, 2> {
        match self.link0 {
            true => [kind.protocol()].into_iter().collect(),
            false => [IPPROTO_MINIMAL, IPPROTO_IPIP].into(),
        }
    }

    /// What its packets are received as: from the remote, to us, with the key.
    pub(super) fn received_as(&self, kind: TunnelKind) -> ArrayVec<DecapKey, 2> {
        let mut keys = ArrayVec::new();
        if let Some((local, remote)) = self.outer(kind) {
            let (from, to) = (u32::from(remote), u32::from(local));
            let key = |protocol| DecapKey::ipv4(TableId(0), from, to, protocol, self.gre.key_in);
            keys.extend(self.protocols(kind).into_iter().map(key));
        }
        keys
    }
}

/// Where a static route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Target {
    /// A gateway.
    Via(Ipv4Addr),
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
    Tunnel(Key, Option<TunnelConfig>),
    Route(Ipv4Net, Option<Target>),
    Neighbour(Ipv4Addr, Option<(Key, Mac)>),
    Published(Ipv4Addr, Option<(Key, Option<Mac>)>),
    Icmp(IcmpSpec),
}

/// What an item is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Object {
    Tunnel(Key),
    Route(Ipv4Net),
    Neighbour(Ipv4Addr),
    Published(Ipv4Addr),
    Link(Key),
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
            Item::Icmp(_) => Object::Icmp,
        }
    }
}

/// Who uses an address or interface how. Sets of pairs, so that "who" is a
/// range and a change costs a logarithm.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Own addresses and the interfaces that have them.
    pub(super) own: BTreeSet<(Ipv4Addr, Key)>,
    /// Connected subnets; several links only within a transaction.
    pub(super) subnets: PrefixMap<Ipv4Net, Vec<Key>>,
    /// Outer destinations.
    pub(super) remotes: BTreeSet<(Ipv4Addr, Key)>,
    /// Inner far ends.
    pub(super) peers: BTreeSet<(Ipv4Addr, Key)>,
    /// What tunnels are received as; several tunnels only within a transaction.
    pub(super) received: BTreeSet<(DecapKey, Key)>,
    /// Outer sources and how many tunnels have each.
    pub(super) locals: BTreeMap<Ipv4Addr, usize>,
    /// Gateways of static routes.
    pub(super) gateways: BTreeSet<(Ipv4Addr, Ipv4Net)>,
    /// Static routes to an interface.
    pub(super) through: BTreeSet<(Key, Ipv4Net)>,
    /// Numbers of gre interfaces.
    pub(super) gre: Numbers,
    /// Numbers of ipip interfaces.
    pub(super) ipip: Numbers,
}

impl Index {
    /// Interfaces that have an address as their own.
    pub(super) fn owners(&self, address: Ipv4Addr) -> impl Iterator<Item = Key> {
        with_address(&self.own, address)
    }

    /// Own addresses, each once, however many interfaces have it.
    pub(super) fn own_addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        let from = |least: Ipv4Addr| {
            let first = (least, Key::Port(PortId(0)));
            self.own.range(first..).next().map(|(address, _)| *address)
        };
        std::iter::successors(from(Ipv4Addr::UNSPECIFIED), move |address| {
            from(Ipv4Addr::from(u32::from(*address).checked_add(1)?))
        })
    }

    /// The link whose subnet has an address.
    pub(super) fn link_of(&self, address: Ipv4Addr) -> Option<Key> {
        let (_, links) = self.subnets.get_lpm(&Ipv4Net::from(address))?;
        links.first().copied()
    }

    /// Tunnels that are received as this.
    pub(super) fn received_as(&self, key: DecapKey) -> impl Iterator<Item = Key> {
        let first = (key, Key::Port(PortId(0)));
        self.received.range(first..).take_while(move |(k, _)| *k == key).map(|(_, who)| *who)
    }

    /// Static routes to an interface.
    pub(super) fn routes_through(&self, key: Key) -> impl Iterator<Item = Ipv4Net> {
        let first = (key, Ipv4Net::default());
        self.through.range(first..).take_while(move |(k, _)| *k == key).map(|(_, to)| *to)
    }

    /// Static routes via a gateway.
    pub(super) fn routes_via(&self, gateway: Ipv4Addr) -> impl Iterator<Item = Ipv4Net> {
        let first = (gateway, Ipv4Net::default());
        self.gateways.range(first..).take_while(move |(g, _)| *g == gateway).map(|(_, to)| *to)
    }

    fn numbers(&mut self, key: Key) -> Option<(&mut Numbers, u32)> {
        match key {
            Key::Gre(number) => Some((&mut self.gre, number)),
            Key::Ipip(number) => Some((&mut self.ipip, number)),
            Key::Port(_) | Key::Vlan(..) => None,
        }
    }
}

/// Interfaces in a set under one address.
pub(super) fn with_address(
    set: &BTreeSet<(Ipv4Addr, Key)>,
    address: Ipv4Addr,
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
    pub(super) routes: BTreeMap<Ipv4Net, Target>,
    /// Where multipath routes lead.
    pub(super) sets: Sets,
    pub(super) neighbours: BTreeMap<Ipv4Addr, (Key, Mac)>,
    pub(super) published: BTreeMap<Ipv4Addr, (Key, Option<Mac>)>,
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
            icmp: IcmpSpec::default(),
            index: Index::default(),
        }
    }

    /// True if the interface exists.
    pub(super) fn exists(&self, key: Key) -> bool {
        if key.is_link() { self.links.contains_key(&key) } else { self.tunnels.contains_key(&key) }
    }

    /// Puts an object in place, or takes it out; gives what was there.
    pub(super) fn put(&mut self, item: Item) -> Item {
        match item {
            Item::Link(key, config) => Item::Link(key, self.put_link(key, config)),
            Item::Tunnel(key, config) => Item::Tunnel(key, self.put_tunnel(key, config)),
            Item::Route(to, target) => Item::Route(to, self.put_route(to, target)),
            Item::Neighbour(address, entry) => {
                Item::Neighbour(address, set(&mut self.neighbours, address, entry))
            }
            Item::Published(address, entry) => {
                Item::Published(address, set(&mut self.published, address, entry))
            }
            Item::Icmp(icmp) => Item::Icmp(std::mem::replace(&mut self.icmp, icmp)),
        }
    }

    /// What is there now.
    pub(super) fn get(&self, object: Object) -> Item {
        match object {
            Object::Link(key) => Item::Link(key, self.links.get(&key).cloned()),
            Object::Tunnel(key) => Item::Tunnel(key, self.tunnels.get(&key).copied()),
            Object::Route(to) => Item::Route(to, self.routes.get(&to).copied()),
            Object::Neighbour(address) => {
                Item::Neighbour(address, self.neighbours.get(&address).copied())
            }
            Object::Published(address) => {
                Item::Published(address, self.published.get(&address).copied())
            }
            Object::Icmp => Item::Icmp(self.icmp.clone()),
        }
    }

    fn put_link(&mut self, key: Key, config: Option<LinkConfig>) -> Option<LinkConfig> {
        let old = set(&mut self.links, key, config);
        for net in old.iter().flat_map(|link| &link.address) {
            self.index.own.remove(&(net.addr(), key));
            if let Some(links) = self.index.subnets.get_mut(&net.trunc()) {
                if let Some(at) = links.iter().position(|link| *link == key) {
                    links.remove(at);
                }
                if links.is_empty() {
                    self.index.subnets.remove(&net.trunc());
                }
            }
        }
        for net in self.links.get(&key).iter().flat_map(|link| &link.address) {
            self.index.own.insert((net.addr(), key));
            self.index.subnets.entry(net.trunc()).or_default().push(key);
        }
        old
    }

    fn put_tunnel(&mut self, key: Key, config: Option<TunnelConfig>) -> Option<TunnelConfig> {
        let old = set(&mut self.tunnels, key, config);
        if old.is_some() != config.is_some()
            && let Some((numbers, number)) = self.index.numbers(key)
        {
            if config.is_some() { numbers.take(number) } else { numbers.give_back(number) }
        }
        let Some(kind) = key.tunnel_kind() else { return old };
        let index = &mut self.index;
        if let Some((address, peer)) = old.and_then(|tunnel| tunnel.pair) {
            index.own.remove(&(address, key));
            index.peers.remove(&(peer, key));
        }
        if let Some((local, remote)) = old.and_then(|tunnel| tunnel.outer(kind)) {
            index.remotes.remove(&(remote, key));
            if let Some(count) = index.locals.get_mut(&local) {
                *count -= 1;
                if *count == 0 {
                    index.locals.remove(&local);
                }
            }
        }
        for received in old.iter().flat_map(|tunnel| tunnel.received_as(kind)) {
            index.received.remove(&(received, key));
        }
        for received in config.iter().flat_map(|tunnel| tunnel.received_as(kind)) {
            index.received.insert((received, key));
        }
        if let Some((address, peer)) = config.and_then(|tunnel| tunnel.pair) {
            index.own.insert((address, key));
            index.peers.insert((peer, key));
        }
        if let Some((local, remote)) = config.and_then(|tunnel| tunnel.outer(kind)) {
            index.remotes.insert((remote, key));
            *index.locals.entry(local).or_default() += 1;
        }
        old
    }

    fn put_route(&mut self, to: Ipv4Net, target: Option<Target>) -> Option<Target> {
        let old = set(&mut self.routes, to, target);
        for (target, add) in [(old, false), (target, true)] {
            let ways = target.map(|target| self.ways(target)).unwrap_or_default();
            for way in ways {
                match way {
                    Target::Via(gateway) => change(&mut self.index.gateways, (gateway, to), add),
                    Target::Interface(key) => change(&mut self.index.through, (key, to), add),
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
    pub(super) fn paths_without(&self, to: Ipv4Net, key: Key) -> Vec<Path> {
        let Some(Target::Paths(set)) = self.routes.get(&to) else { return Vec::new() };
        let peer = self.tunnels.get(&key).and_then(|tunnel| tunnel.pair).map(|(_, peer)| peer);
        let stays = |path: &&Path| match path.target {
            Target::Interface(interface) => interface != key,
            Target::Via(gateway) => Some(gateway) != peer,
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
