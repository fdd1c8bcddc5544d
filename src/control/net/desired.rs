//! Desired state: what is configured, indexed by everything a change has to
//! ask about. One door in, [`Desired::put`], which gives back what was there:
//! a transaction's undo log, and its list of what changed, are the same list.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Bound;

use arrayvec::ArrayVec;
use ipnet::{IpNet, Ipv6Net};
use prefix_trie::joint::JointPrefixMap;

use super::key::{Key, Names, Numbers};
use super::paths::{MOST_PATHS, Path, SetId, Sets};
use crate::ids::{Family, Mac, PortId, TableId};
use crate::model::ip;
use crate::model::spec::{
    AdvertiseSpec, DEFAULT_RESOLVE, Dscp, EcnMode, EncapLimit, FilterSpec, GreOptions, HostName,
    IcmpSpec, MssClamp, OuterDf, ProbeSpec, Remote, ReversePath, Timing, TunnelKind, UdpSpec,
};
use crate::tables::door::Door;
use crate::tables::tunnel::Received;
use crate::wire::{IPPROTO_IPIP, IPPROTO_MINIMAL};

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

/// What a multipoint tunnel has instead of one far end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Multipoint {
    /// Outer source, of all packets.
    pub(super) local: IpAddr,
    /// Inner IPv4 address of this end.
    pub(super) address: Option<Ipv4Addr>,
    /// Inner addresses of far ends, and the outer address of each.
    pub(super) nbma: BTreeMap<IpAddr, IpAddr>,
    /// Those that packets told of: others than these.
    pub(super) learned: BTreeMap<IpAddr, IpAddr>,
}

/// Most far ends that a tunnel learns.
pub(super) const MOST_LEARNED: usize = 256;

/// A tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TunnelConfig {
    /// Outer source and destination, of one family; on `ipip` only IPv6. The
    /// destination in use, wherever it was found; [`unspecified`] as long as it is
    /// not known.
    pub(super) endpoints: Option<(IpAddr, IpAddr)>,
    /// The destination as configured.
    pub(super) remote: Option<Remote>,
    /// Packets from elsewhere with its key move it there.
    pub(super) learn: bool,
    /// Seconds after which a name is looked up again.
    pub(super) resolve_interval: u16,
    /// Inner IPv4 address and peer.
    pub(super) pair: Option<(Ipv4Addr, Ipv4Addr)>,
    /// Several far ends: then it sends and receives nothing itself, but by its
    /// parts ([`TunnelConfig::parts`]).
    pub(super) multipoint: Option<Multipoint>,
    /// Of such a part: inner addresses at its far end.
    pub(super) behind: Vec<IpAddr>,
    /// Inner IPv6 addresses.
    pub(super) inet6: Vec<Ipv6Net>,
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
    /// Outer ECN field.
    pub(super) ecn: EcnMode,
    /// Outer DF.
    pub(super) df: OuterDf,
    /// Limit on TCP segments.
    pub(super) mss: MssClamp,
    /// ICMP errors about its packets count.
    pub(super) pmtu: bool,
    /// Its packets may arrive in fragments.
    pub(super) reassemble: bool,
    /// Checksum, key and sequence numbers; plain on `ipip`.
    pub(super) gre: GreOptions,
    /// GRE keepalives.
    pub(super) keepalive: Option<Timing>,
    /// Probes.
    pub(super) probe: Option<ProbeSpec>,
    /// UDP around it.
    pub(super) udp: Option<UdpSpec>,
    /// Limit on nesting, over IPv6.
    pub(super) encaplimit: EncapLimit,
    /// Inner sources it lets out; none: all.
    pub(super) allow: Vec<IpNet>,
    /// Whether inner sources have to be reached by it.
    pub(super) rpf: ReversePath,
    /// The link its packets have to arrive on.
    pub(super) port: Option<Key>,
    /// Administratively up.
    pub(super) up: bool,
}

impl TunnelConfig {
    /// As `ifconfig gre0 create` leaves it: down until it is addressed.
    pub(super) fn created() -> TunnelConfig {
        TunnelConfig {
            endpoints: None,
            remote: None,
            learn: false,
            resolve_interval: DEFAULT_RESOLVE,
            pair: None,
            multipoint: None,
            behind: Vec::new(),
            inet6: Vec::new(),
            link0: true,
            link1: false,
            mtu: None,
            ttl: 64,
            dscp: Dscp::default(),
            ecn: EcnMode::default(),
            df: OuterDf::default(),
            mss: MssClamp::default(),
            pmtu: true,
            reassemble: true,
            gre: GreOptions::default(),
            keepalive: None,
            probe: None,
            udp: None,
            encaplimit: EncapLimit::default(),
            allow: Vec::new(),
            rpf: ReversePath::Off,
            port: None,
            up: false,
        }
    }

    /// Its far end is asked now and then whether it is there.
    pub(super) fn is_watched(&self) -> bool {
        self.keepalive.is_some() || self.probe.is_some()
    }

    /// Ends of a probe: our inner address and the one asked; `None` as long as
    /// one of them is missing.
    pub(super) fn probe_ends(&self) -> Option<(IpAddr, IpAddr)> {
        let to = self.probe?.to.or(self.pair.map(|(_, peer)| peer.into()))?;
        let from = match to {
            IpAddr::V4(_) => self.pair.map(|(address, _)| address.into()),
            IpAddr::V6(to) => {
                let near = self.inet6.iter().find(|net| net.contains(&to));
                near.or(self.inet6.first()).map(|net| net.addr().into())
            }
        };
        Some((from?, to))
    }

    /// Outer source and destination: on `ipip` over IPv4 the one pair there is
    /// (T16).
    pub(super) fn outer(&self, kind: TunnelKind) -> Option<(IpAddr, IpAddr)> {
        let pair = self.pair.map(|(address, peer)| (address.into(), peer.into()));
        match kind {
            TunnelKind::Gre => self.endpoints,
            TunnelKind::Ipip => self.endpoints.or(pair),
        }
    }

    /// Its far end by a name.
    pub(super) fn host_name(&self) -> Option<&HostName> {
        self.remote.as_ref()?.name()
    }

    /// Its far end is looked for, or was found, or is one of several like that.
    pub(super) fn may_move(&self) -> bool {
        self.learn || self.host_name().is_some() || self.is_found()
    }

    /// Its outer destination was found, and is not what is configured.
    pub(super) fn is_found(&self) -> bool {
        let configured = self.remote.as_ref().and_then(Remote::address);
        self.endpoints
            .is_some_and(|(local, remote)| remote != configured.unwrap_or(unspecified(local)))
    }

    /// The outer pair as configured: a destination to be found is not known yet.
    pub(super) fn set_outer(&mut self, local: Option<IpAddr>, remote: Option<Remote>) {
        let known = remote.as_ref().and_then(Remote::address);
        self.endpoints = local.map(|local| (local, known.unwrap_or(unspecified(local))));
        self.remote = remote;
    }

    /// What of a far end found earlier still holds: it is looked for as before.
    pub(super) fn keep_found(&mut self, old: &TunnelConfig) {
        let sought = |config: &TunnelConfig| {
            let hub = config.multipoint.as_ref().map(|all| all.local);
            let local = config.endpoints.map(|(local, _)| local).or(hub);
            (local, config.remote.clone(), config.learn, config.gre.key_in, config.port())
        };
        if sought(self) != sought(old) {
            return;
        }
        if old.is_found() {
            self.endpoints = old.endpoints;
        }
        if let (Some(all), Some(old)) = (&mut self.multipoint, &old.multipoint) {
            all.learned.clone_from(&old.learned);
            all.learned.retain(|inner, _| !all.nbma.contains_key(inner));
        }
    }

    /// The family of the outer header; IPv4 as long as it is not known.
    pub(super) fn outer_family(&self, kind: TunnelKind) -> Family {
        self.outer(kind).map_or(Family::V4, |(local, _)| Family::of(local))
    }

    /// Bytes it adds to a datagram: with minimal encapsulation (8 or 12) as
    /// many as with IP in IP, since any datagram may have to go like that.
    pub(super) fn overhead(&self, kind: TunnelKind) -> u16 {
        let outer = self.outer_family(kind);
        let udp = self.udp.map_or(0, |_| UdpSpec::OVERHEAD);
        let limit = self.limit(outer).map_or(0, |_| EncapLimit::OVERHEAD);
        match self.link0 {
            true => kind.overhead(outer) + limit + udp + self.gre.overhead(),
            false => TunnelKind::Ipip.overhead(outer),
        }
    }

    /// The limit on nesting it sends, by the family outside.
    pub(super) fn limit(&self, outer: Family) -> Option<u8> {
        match (outer, self.encaplimit) {
            (Family::V6, EncapLimit::Fixed(limit)) => Some(limit),
            _ => None,
        }
    }

    /// UDP destination port of its packets, 0 without UDP.
    pub(super) fn port(&self) -> u16 {
        self.udp.map_or(0, |udp| udp.port)
    }

    /// Protocols of what it sends: one for each family inside, or with minimal
    /// encapsulation the second where the first cannot be.
    pub(super) fn protocols(&self, kind: TunnelKind) -> ArrayVec<u8, 2> {
        let mut all: ArrayVec<u8, 2> = match self.link0 {
            true => [kind.protocol(Family::V4), kind.protocol(Family::V6)].into(),
            false => [IPPROTO_MINIMAL, IPPROTO_IPIP].into(),
        };
        if all[0] == all[1] {
            all.pop();
        }
        all
    }

    /// What its packets are received as: from the remote, to us, with the key. One
    /// that learns is found by those of anybody else too, for they may move it.
    pub(super) fn received_as(&self, kind: TunnelKind) -> ArrayVec<Received, 2> {
        let mut all = ArrayVec::new();
        let Some((destination, remote)) = self.receives(kind) else { return all };
        let (table, key) = (TableId(0), self.gre.key_in);
        let port = self.port();
        let received =
            |source| move |protocol| Received { table, source, destination, protocol, key, port };
        if !remote.is_unspecified() {
            all.extend(self.protocols(kind).into_iter().map(received(remote)));
        }
        if self.learn {
            // GRE, and so one protocol: there is room.
            let anybody = self.protocols(kind).into_iter().map(received(unspecified(remote)));
            all.extend(anybody.take(all.remaining_capacity()));
        }
        all
    }

    /// The outer pair of what it receives; of one that has several far ends, and
    /// learns more, that of anybody's packets.
    pub(super) fn receives(&self, kind: TunnelKind) -> Option<(IpAddr, IpAddr)> {
        let hub = self.multipoint.as_ref().filter(|_| self.learn);
        self.outer(kind).or(hub.map(|all| (all.local, unspecified(all.local))))
    }

    /// Own addresses inside.
    pub(super) fn own(&self) -> impl Iterator<Item = IpAddr> {
        let pair = self.pair.map(|(address, _)| address);
        let address = pair.or(self.multipoint.as_ref().and_then(|all| all.address));
        address
            .into_iter()
            .map(IpAddr::V4)
            .chain(self.inet6.iter().map(|net| IpAddr::V6(net.addr())))
    }

    /// Inner addresses at the far end.
    pub(super) fn peers(&self) -> impl Iterator<Item = IpAddr> {
        let pair = self.pair.map(|(_, peer)| peer.into());
        pair.into_iter().chain(self.behind.iter().copied())
    }

    /// Inner addresses at any of its far ends.
    pub(super) fn all_peers(&self) -> impl Iterator<Item = IpAddr> {
        let all = self.multipoint.iter();
        let told = all.flat_map(|all| all.nbma.keys().chain(all.learned.keys()).copied());
        self.peers().chain(told)
    }

    /// What a multipoint tunnel consists of: a tunnel to each outer address, like
    /// this one in everything else.
    pub(super) fn parts(&self, key: Key) -> BTreeMap<Key, TunnelConfig> {
        let mut parts = BTreeMap::new();
        let (Key::Gre(number), Some(all)) = (key, &self.multipoint) else { return parts };
        let told = all.nbma.iter().map(|ends| (ends, true));
        for ((inner, outer), told) in told.chain(all.learned.iter().map(|ends| (ends, false))) {
            let part = parts.entry(Key::Peer(number, *outer)).or_insert_with(|| TunnelConfig {
                endpoints: Some((all.local, *outer)),
                remote: told.then(|| (*outer).into()),
                learn: false,
                inet6: Vec::new(),
                multipoint: None,
                ..self.clone()
            });
            part.behind.push(*inner);
        }
        parts
    }

    /// The IPv6 subnets behind it: those of one address have none.
    pub(super) fn subnets(&self) -> impl Iterator<Item = IpNet> {
        let several = self.inet6.iter().filter(|net| net.prefix_len() < 128);
        several.map(|net| IpNet::V6(net.trunc()))
    }

    /// Which inner sources it lets out.
    pub(super) fn door(&self) -> Door {
        Door::new(self.rpf, &self.allow)
    }

    /// True if it has addresses inside.
    pub(super) fn is_addressed(&self) -> bool {
        self.pair.is_some() || !self.inet6.is_empty() || !self.behind.is_empty()
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

/// In place of an address of the family of `like` that is not known.
pub(super) fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
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
