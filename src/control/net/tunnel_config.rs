//! A tunnel as desired, and what follows from that alone: its addresses, its parts,
//! what its packets are received as.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arrayvec::ArrayVec;
use ipnet::{IpNet, Ipv6Net};

use super::key::Key;
use crate::ids::{Family, TableId};
use crate::model::spec::{
    DEFAULT_RESOLVE, Dscp, EcnMode, EncapLimit, GreOptions, HostName, MssClamp, OuterDf, ProbeSpec,
    Remote, ReversePath, Timing, TunnelKind, UdpSpec,
};
use crate::tables::door::Door;
use crate::tables::tunnel::Received;
use crate::wire::{IPPROTO_IPIP, IPPROTO_MINIMAL};

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

/// In place of an address of the family of `like` that is not known.
pub(super) fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}
