//! The ops on interfaces: addresses, flags and numbers. (Outer pairs: `edit_far_ends`.)

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv6Net};

use super::desired::LinkConfig;
use super::edit::{Done, Edit};
use super::edit_far_ends::{check_multipoint, check_outer, multipoint, new_hub};
use super::key::Key;
use super::refusal::{Fault, Refusal};
use super::tunnel_config::TunnelConfig;
use super::values::{self, LEAST_MTU, MAX_DATAGRAM};
use crate::ids::Family;
use crate::model::ip;
use crate::model::op::{InterfaceChange, Op};
use crate::model::spec::{
    AdvertiseSpec, Dscp, MAX_RESYNC, MOST_ALLOWED, MSS_RANGE, MssClamp, RESOLVE_RANGE, ReversePath,
    TunnelKind, TunnelSpec, UdpSpec, VlanSpec,
};

impl Edit<'_> {
    /// A tunnel's configuration; its kind is its key's.
    pub(super) fn tunnel_config(
        &self,
        name: &str,
    ) -> Result<(Key, TunnelKind, TunnelConfig), Refusal> {
        let key = self.existing(name)?;
        match (key.tunnel_kind(), self.desired.tunnels.get(&key)) {
            (Some(kind), Some(config)) => Ok((key, kind, config.clone())),
            _ => Err(Refusal::WrongKind {
                name: name.to_owned(),
                is: "a port or VLAN interface",
                expected: "a tunnel",
            }),
        }
    }

    fn link_config(&self, key: Key) -> LinkConfig {
        let config = self.desired.links.get(&key).cloned();
        config.unwrap_or_else(LinkConfig::created)
    }

    pub(super) fn put_tunnel_spec(&mut self, spec: &TunnelSpec) -> Done {
        let kind = spec.kind;
        let key = self.desired.names.key(&spec.name);
        let key = key.filter(|k| k.tunnel_kind() == Some(kind) && k.whole().is_none());
        let Some(key) = key else {
            let name = spec.name.clone();
            return Err(Refusal::KindName { name, kind: kind.prefix() }.on("name"));
        };
        let name = &spec.name;
        for (set, link) in [(!spec.link0, "link0"), (spec.link1, "link1")] {
            if kind == TunnelKind::Ipip && set {
                return Err(Refusal::IpipLink(name.clone(), link).on(link));
            }
        }
        let multipoint = multipoint(spec)?;
        let one = multipoint.is_none();
        let inner = ["inner addresses", "address", "peer"];
        let mut config = TunnelConfig {
            endpoints: None,
            remote: None,
            learn: spec.learn,
            resolve_interval: spec.resolve_interval,
            pair: both(name, inner, spec.address.filter(|_| one), spec.peer)?,
            multipoint,
            behind: Vec::new(),
            inet6: spec.inet6.clone(),
            link0: spec.link0,
            link1: spec.link1,
            mtu: spec.mtu,
            ttl: spec.ttl,
            dscp: spec.dscp,
            ecn: spec.ecn,
            df: spec.df,
            mss: spec.mss,
            pmtu: spec.pmtu,
            reassemble: spec.reassemble,
            gre: spec.gre,
            keepalive: spec.keepalive,
            probe: spec.probe,
            udp: spec.udp,
            encaplimit: spec.encaplimit,
            allow: spec.allow.clone(),
            rpf: spec.rpf,
            port: spec.port.as_deref().map(|port| self.arrival(port)).transpose()?,
            up: spec.up,
        };
        config.set_outer(spec.local.filter(|_| one), spec.remote.clone());
        if let Some(old) = self.desired.tunnels.get(&key) {
            config.keep_found(old);
        }
        check_outer(name, kind, &config)?;
        check_pair(name, config.pair)?;
        check_addresses(name, config.inet6.iter().copied().map(IpNet::V6), "inet6")?;
        check_numbers(name, kind, &config)?;
        check_options(name, kind, &config)?;
        check_liveness(name, kind, &config)?;
        check_allow(name, &config.allow)?;
        self.put_tunnel(key, Some(config));
        Ok(())
    }

    /// The link that a tunnel's `port` names; whether it exists is looked at when
    /// all is in.
    fn arrival(&self, port: &str) -> Result<Key, Fault> {
        let key = self.desired.names.key(port);
        let key = key.ok_or_else(|| Refusal::NoInterface(port.to_owned()).on("port"))?;
        if !key.is_link() {
            let (is, expected) = ("a tunnel", "a port or VLAN interface");
            return Err(Refusal::WrongKind { name: port.to_owned(), is, expected }.on("port"));
        }
        Ok(key)
    }

    /// Which packets an interface lets in.
    pub(super) fn set_door(
        &mut self,
        name: &str,
        rpf: Option<ReversePath>,
        allow: Option<&[IpNet]>,
        port: Option<&str>,
    ) -> Done {
        let key = self.existing(name).map_err(|r| r.on("name"))?;
        if key.is_link() {
            for (set, what) in [(allow.is_some(), "allow"), (port.is_some(), "port")] {
                if set {
                    return Err(Refusal::NotATunnel(name.to_owned(), what).on(what));
                }
            }
            let mut config = self.link_config(key);
            config.rpf = rpf.unwrap_or(config.rpf);
            self.put_link(key, Some(config));
            return Ok(());
        }
        let (key, _, mut config) = self.tunnel_config(name)?;
        config.rpf = rpf.unwrap_or(config.rpf);
        if let Some(allow) = allow {
            check_allow(name, allow)?;
            config.allow = allow.to_vec();
        }
        if let Some(port) = port {
            config.port = (!port.is_empty()).then(|| self.arrival(port)).transpose()?;
        }
        self.put_tunnel(key, Some(config));
        Ok(())
    }

    pub(super) fn set_advertise(&mut self, name: &str, advertise: Option<AdvertiseSpec>) -> Done {
        let key = self.existing(name).map_err(|r| r.on("name"))?;
        if !key.is_link() {
            let (name, is, expected) = (name.to_owned(), "a tunnel", "a port or VLAN interface");
            return Err(Refusal::WrongKind { name, is, expected }.on("advertise"));
        }
        check_advertise(name, advertise)?;
        let config = self.link_config(key);
        self.put_link(key, Some(LinkConfig { advertise, ..config }));
        Ok(())
    }

    pub(super) fn put_vlan_spec(&mut self, spec: &VlanSpec) -> Done {
        let key = self.desired.names.key(&spec.name).filter(|k| matches!(k, Key::Vlan(..)));
        let key = key.ok_or_else(|| Refusal::NotCreatable(spec.name.clone()).on("name"))?;
        check_addresses(&spec.name, spec.address.iter().copied(), "address")?;
        if let Some(mtu) = spec.mtu {
            self.check_link_mtu(key, &spec.name, mtu)?;
        }
        check_advertise(&spec.name, spec.advertise)?;
        let VlanSpec { address, mtu, rpf, advertise, up, .. } = spec.clone();
        self.put_link(key, Some(LinkConfig { address, mtu, rpf, advertise, up }));
        Ok(())
    }

    pub(super) fn set_address(
        &mut self,
        name: &str,
        address: IpAddr,
        prefix_len: Option<u8>,
        peer: Option<IpAddr>,
        alias: bool,
    ) -> Done {
        let key = self.existing(name).map_err(|r| r.on("name"))?;
        if key.is_link() {
            if let Some(peer) = peer {
                return Err(Refusal::NoPeerHere(name.to_owned(), peer).on("peer"));
            }
            return self.set_link_address(key, name, address, prefix_len, alias);
        }
        let (key, _, mut config) = self.tunnel_config(name)?;
        match address {
            IpAddr::V4(address) => match &mut config.multipoint {
                Some(all) => all.address = Some(new_hub(name, address, prefix_len, peer)?),
                None => config.pair = Some(new_pair(name, address, prefix_len, peer, alias)?),
            },
            IpAddr::V6(address) => {
                if let Some(peer) = peer {
                    return Err(Refusal::NoPeer6(name.to_owned(), peer).on("peer"));
                }
                let len = own_address(address.into(), prefix_len)?.prefix_len();
                put_beside(name, &mut config.inet6, Ipv6Net::new_assert(address, len), alias)?;
            }
        }
        config.up = true;
        self.put_tunnel(key, Some(config));
        Ok(())
    }

    fn set_link_address(
        &mut self,
        key: Key,
        name: &str,
        address: IpAddr,
        prefix_len: Option<u8>,
        alias: bool,
    ) -> Done {
        let net = own_address(address, prefix_len)?;
        let mut config = self.link_config(key);
        if address.is_ipv6() {
            put_beside(name, &mut config.address, net, alias)?;
            self.put_link(key, Some(config));
            return Ok(());
        }
        let primary = config.address.iter().position(|net| net.addr().is_ipv4());
        let replaced = primary.filter(|_| !alias);
        let mut others = config.address.iter().enumerate().filter(|(at, _)| Some(*at) != replaced);
        if others.any(|(_, other)| other.addr() == address) {
            return Err(Refusal::AddressTwice(name.to_owned(), address).on("address"));
        }
        match replaced {
            Some(at) => config.address[at] = net,
            None => config.address.push(net),
        }
        self.put_link(key, Some(config));
        Ok(())
    }

    pub(super) fn delete_address(&mut self, name: &str, address: IpAddr) -> Done {
        let key = self.existing(name).map_err(|r| r.on("name"))?;
        let none = || Refusal::NoAddress(name.to_owned(), address).on("address");
        if key.is_link() {
            let mut config = self.link_config(key);
            let at = config.address.iter().position(|net| net.addr() == address);
            config.address.remove(at.ok_or_else(none)?);
            self.put_link(key, Some(config));
            return Ok(());
        }
        let (key, _, mut config) = self.tunnel_config(name)?;
        match address {
            IpAddr::V4(address) => {
                let one = config.pair.take().map(|(own, _)| own);
                let hub = config.multipoint.as_mut().and_then(|all| all.address.take());
                one.or(hub).filter(|own| *own == address).ok_or_else(none)?;
            }
            IpAddr::V6(address) => {
                let at = config.inet6.iter().position(|net| net.addr() == address);
                config.inet6.remove(at.ok_or_else(none)?);
            }
        }
        self.put_tunnel(key, Some(config));
        Ok(())
    }

    pub(super) fn set_interface(&mut self, name: &str, change: &InterfaceChange) -> Done {
        let key = self.existing(name).map_err(|r| r.on("name"))?;
        if key.is_link() { self.set_link(key, name, change) } else { self.set_tunnel(name, change) }
    }

    fn set_link(&mut self, key: Key, name: &str, change: &InterfaceChange) -> Done {
        for (given, what) in [
            (change.link0.is_some(), "link0"),
            (change.link1.is_some(), "link1"),
            (change.ttl.is_some(), "ttl"),
            (change.dscp.is_some(), "dscp"),
            (change.ecn.is_some(), "ecn"),
            (change.df.is_some(), "df"),
            (change.mss.is_some(), "mss"),
            (change.encaplimit.is_some(), "encaplimit"),
            (change.pmtu.is_some(), "pmtu"),
            (change.learn.is_some(), "learn"),
            (change.resolve_interval.is_some(), "resolve_interval"),
            (change.reassemble.is_some(), "reassemble"),
        ] {
            if given {
                return Err(Refusal::NotATunnel(name.to_owned(), what).on(what));
            }
        }
        let mut config = self.link_config(key);
        config.up = change.up.unwrap_or(config.up);
        match change.mtu {
            None => {}
            Some(0) => config.mtu = self.default_mtu(key),
            Some(mtu) => {
                self.check_link_mtu(key, name, mtu)?;
                config.mtu = Some(mtu);
            }
        }
        self.put_link(key, Some(config));
        Ok(())
    }

    fn max_mtu(&self, key: Key) -> u16 {
        let port = key.port().and_then(|(port, _)| self.facts.get(port.index()));
        port.map_or(MAX_DATAGRAM, |facts| facts.max_mtu)
    }

    fn default_mtu(&self, key: Key) -> Option<u16> {
        matches!(key, Key::Port(_)).then(|| self.max_mtu(key).min(1500))
    }

    fn check_link_mtu(&self, key: Key, name: &str, got: u16) -> Done {
        check_mtu(name, got, self.max_mtu(key))
    }

    fn set_tunnel(&mut self, name: &str, change: &InterfaceChange) -> Done {
        let (key, kind, mut config) = self.tunnel_config(name)?;
        if kind == TunnelKind::Ipip {
            if change.link0.is_some() {
                return Err(Refusal::IpipLink(name.to_owned(), "link0").on("link0"));
            }
            // Clear is what it always is, so clearing it is no mistake.
            if change.link1 == Some(true) {
                return Err(Refusal::IpipLink(name.to_owned(), "link1").on("link1"));
            }
        }
        config.up = change.up.unwrap_or(config.up);
        config.link0 = change.link0.unwrap_or(config.link0);
        config.link1 = change.link1.unwrap_or(config.link1);
        if let Some(mtu) = change.mtu {
            config.mtu = Some(mtu).filter(|mtu| *mtu != 0);
        }
        config.ttl = change.ttl.unwrap_or(config.ttl);
        config.dscp = change.dscp.unwrap_or(config.dscp);
        config.ecn = change.ecn.unwrap_or(config.ecn);
        config.df = change.df.unwrap_or(config.df);
        config.mss = change.mss.unwrap_or(config.mss);
        config.encaplimit = change.encaplimit.unwrap_or(config.encaplimit);
        config.pmtu = change.pmtu.unwrap_or(config.pmtu);
        config.resolve_interval = change.resolve_interval.unwrap_or(config.resolve_interval);
        if let Some(learn) = change.learn.filter(|learn| *learn != config.learn) {
            config.learn = learn;
            // What was learned goes with it.
            config.set_outer(config.endpoints.map(|(local, _)| local), config.remote.clone());
            config.multipoint.iter_mut().for_each(|all| all.learned.clear());
        }
        config.reassemble = change.reassemble.unwrap_or(config.reassemble);
        if let Some(all) = &config.multipoint {
            check_multipoint(name, kind, config.link0, all)?;
        }
        check_options(name, kind, &config)?;
        check_liveness(name, kind, &config)?;
        check_numbers(name, kind, &config)?;
        self.put_tunnel(key, Some(config));
        Ok(())
    }

    pub(super) fn set_gre(&mut self, op: &Op) -> Done {
        let Op::SetGre { name, checksum, key: keys, sequence, sequence_resync } = op else {
            return Ok(());
        };
        let (key, kind, mut config) = self.tunnel_config(name).map_err(|r| r.on("name"))?;
        config.gre.checksum = checksum.unwrap_or(config.gre.checksum);
        config.gre.sequence = sequence.unwrap_or(config.gre.sequence);
        config.gre.sequence_resync = sequence_resync.unwrap_or(config.gre.sequence_resync);
        if let Some(keys) = keys {
            (config.gre.key_in, config.gre.key_out) = (keys.inward, keys.outward);
        }
        check_options(name, kind, &config)?;
        check_numbers(name, kind, &config)?;
        self.put_tunnel(key, Some(config));
        Ok(())
    }

    /// Keepalives or probes of a tunnel.
    pub(super) fn set_liveness(
        &mut self,
        name: &str,
        change: impl FnOnce(&mut TunnelConfig),
    ) -> Done {
        let (key, kind, mut config) = self.tunnel_config(name).map_err(|r| r.on("name"))?;
        change(&mut config);
        check_liveness(name, kind, &config)?;
        self.put_tunnel(key, Some(config));
        Ok(())
    }

    pub(super) fn set_udp(&mut self, name: &str, udp: Option<UdpSpec>) -> Done {
        let (key, kind, mut config) = self.tunnel_config(name).map_err(|r| r.on("name"))?;
        config.udp = udp;
        check_liveness(name, kind, &config)?;
        check_options(name, kind, &config)?;
        check_numbers(name, kind, &config)?;
        self.put_tunnel(key, Some(config));
        Ok(())
    }
}

/// Keepalives are of GRE over IPv4 only; whoever is probed is one host.
pub(super) fn check_liveness(name: &str, kind: TunnelKind, config: &TunnelConfig) -> Done {
    let timings =
        [("keepalive", config.keepalive), ("probe", config.probe.map(|probe| probe.timing))];
    for (what, timing) in timings {
        if timing.is_some_and(|timing| timing.retries == 0 || timing.up_after == 0) {
            return Err(Refusal::Retries(name.to_owned(), what).on(what));
        }
    }
    let why_not = match kind {
        TunnelKind::Ipip => Some("is an ipip tunnel"),
        TunnelKind::Gre if !config.link0 => Some("has MOBILE encapsulation (link0 clear)"),
        TunnelKind::Gre if config.outer_family(kind) == Family::V6 => Some("runs over IPv6"),
        TunnelKind::Gre if config.udp.is_some() => Some("has UDP around its GRE"),
        TunnelKind::Gre => None,
    };
    if let (Some(_), Some(why)) = (config.keepalive, why_not) {
        return Err(Refusal::Keepalive(name.to_owned(), why).on("keepalive"));
    }
    match config.probe.and_then(|probe| probe.to) {
        Some(to) => values::unicast("address to probe", to).map_err(|r| r.on("probe")),
        None => Ok(()),
    }
}

/// A UDP header whose ports are some.
fn check_udp(name: &str, config: &TunnelConfig) -> Done {
    let Some(udp) = config.udp else { return Ok(()) };
    if udp.port == 0 || udp.source == Some(0) {
        return Err(Refusal::UdpPort(name.to_owned()).on("udp"));
    }
    if !config.link0 {
        return Err(Refusal::MobileUdp(name.to_owned()).on("udp"));
    }
    Ok(())
}

/// What only GRE headers have is set on tunnels with GRE headers only.
fn check_options(name: &str, kind: TunnelKind, config: &TunnelConfig) -> Done {
    let gre = &config.gre;
    if gre.sequence_resync > MAX_RESYNC {
        let refusal = Refusal::Resync(name.to_owned(), gre.sequence_resync);
        return Err(refusal.on("sequence_resync"));
    }
    check_udp(name, config)?;
    let set = [
        ("checksum", gre.checksum),
        ("key", gre.key_in.or(gre.key_out).is_some()),
        ("sequence", gre.sequence),
    ];
    match set.into_iter().find(|(_, set)| *set) {
        Some((what, _)) if kind == TunnelKind::Ipip => {
            Err(Refusal::IpipOption(name.to_owned(), what).on(what))
        }
        Some((what, _)) if !config.link0 => {
            Err(Refusal::MobileOption(name.to_owned(), what).on(what))
        }
        _ => Ok(()),
    }
}

/// IPv4 addresses of tunnels are single ones.
pub(super) fn host_only(address: Ipv4Addr, prefix_len: Option<u8>) -> Done {
    match prefix_len.filter(|len| *len != 32) {
        Some(got) => {
            let (address, expected) = (address.into(), "32 on a tunnel");
            Err(Refusal::PrefixLen { address, got, expected }.on("prefix_len"))
        }
        None => Ok(()),
    }
}

/// A list of sources that the path can hold, each a network.
fn check_allow(name: &str, allow: &[IpNet]) -> Done {
    if allow.len() > MOST_ALLOWED {
        return Err(Refusal::TooManyAllowed(name.to_owned(), allow.len()).on("allow"));
    }
    match allow.iter().find(|net| **net != net.trunc()) {
        Some(net) => Err(Refusal::HostBits(*net, net.trunc()).on("allow")),
        None => Ok(()),
    }
}

/// An own address of an interface; without a prefix length it gets the usual one.
fn own_address(address: IpAddr, prefix_len: Option<u8>) -> Result<IpNet, Fault> {
    let len = prefix_len.unwrap_or_else(|| ip::default_len(address));
    let net = values::with_len(address, len).map_err(|r| r.on("prefix_len"))?;
    values::host_of(net).map_err(|r| r.on("address"))?;
    Ok(net)
}

/// The inner pair of a tunnel.
fn new_pair(
    name: &str,
    address: Ipv4Addr,
    prefix_len: Option<u8>,
    peer: Option<IpAddr>,
    alias: bool,
) -> Result<(Ipv4Addr, Ipv4Addr), Fault> {
    let peer = match peer {
        Some(IpAddr::V4(peer)) => peer,
        Some(other) => return Err(two_families(name, address.into(), other).on("peer")),
        None => return Err(Refusal::NeedsPeer(name.to_owned()).on("peer")),
    };
    if alias {
        return Err(Refusal::NoAlias(name.to_owned()).on("alias"));
    }
    host_only(address, prefix_len)?;
    check_pair(name, Some((address, peer)))?;
    Ok((address, peer))
}

/// Puts an IPv6 address among others: one that is there already gets its prefix
/// length anew, unless one more is asked for.
fn put_beside<N: Copy + Into<IpNet>>(
    name: &str,
    nets: &mut Vec<N>,
    net: N,
    alias: bool,
) -> Result<(), Fault> {
    let address = |net: N| Into::<IpNet>::into(net).addr();
    match nets.iter_mut().find(|other| address(**other) == address(net)) {
        Some(_) if alias => Err(Refusal::AddressTwice(name.to_owned(), address(net)).on("address")),
        Some(there) => {
            *there = net;
            Ok(())
        }
        None => {
            nets.push(net);
            Ok(())
        }
    }
}

/// Addresses that an interface can have, each once.
fn check_addresses(
    name: &str,
    nets: impl Iterator<Item = IpNet>,
    field: &'static str,
) -> Result<(), Fault> {
    let mut seen = BTreeSet::new();
    for net in nets {
        values::host_of(net).map_err(|r| r.on(field))?;
        if !seen.insert(net.addr()) {
            return Err(Refusal::AddressTwice(name.to_owned(), net.addr()).on(field));
        }
    }
    Ok(())
}

pub(super) fn two_families(name: &str, one: IpAddr, other: IpAddr) -> Refusal {
    Refusal::TwoFamilies { name: name.to_owned(), one, other }
}

/// Two addresses of which either both are set or none.
fn both<T>(
    name: &str,
    [what, first, second]: [&'static str; 3],
    one: Option<T>,
    other: Option<T>,
) -> Result<Option<(T, T)>, Fault> {
    match (one, other) {
        (Some(one), Some(other)) => Ok(Some((one, other))),
        (None, None) => Ok(None),
        (one, _) => {
            let missing = if one.is_some() { second } else { first };
            Err(Refusal::HalfPair { name: name.to_owned(), what, first, second }.on(missing))
        }
    }
}

fn check_pair(name: &str, pair: Option<(Ipv4Addr, Ipv4Addr)>) -> Done {
    let Some((address, peer)) = pair else { return Ok(()) };
    let (address, peer) = (IpAddr::V4(address), IpAddr::V4(peer));
    values::unicast("address", address).map_err(|r| r.on("address"))?;
    values::unicast("far end", peer).map_err(|r| r.on("peer"))?;
    if address == peer {
        return Err(Refusal::SameEnds { name: name.to_owned(), address }.on("peer"));
    }
    Ok(())
}

pub(super) fn check_numbers(name: &str, kind: TunnelKind, config: &TunnelConfig) -> Done {
    if let Some(mtu) = config.mtu {
        check_mtu(name, mtu, MAX_DATAGRAM - config.overhead(kind))?;
    }
    let seconds = config.resolve_interval;
    if !RESOLVE_RANGE.contains(&seconds) {
        return Err(Refusal::Resolve(name.to_owned(), seconds).on("resolve_interval"));
    }
    if config.ttl == 0 {
        return Err(Refusal::Ttl(name.to_owned()).on("ttl"));
    }
    if let MssClamp::Fixed(bytes) = config.mss
        && !MSS_RANGE.contains(&bytes)
    {
        return Err(Refusal::Mss(name.to_owned(), bytes).on("mss"));
    }
    match config.dscp {
        Dscp::Fixed(dscp) if dscp > 63 => Err(Refusal::Dscp(name.to_owned(), dscp).on("dscp")),
        _ => Ok(()),
    }
}

fn check_mtu(name: &str, got: u16, most: u16) -> Done {
    if (LEAST_MTU..=most).contains(&got) {
        return Ok(());
    }
    Err(Refusal::Mtu { name: name.to_owned(), got, least: LEAST_MTU, most }.on("mtu"))
}

fn check_advertise(name: &str, advertise: Option<AdvertiseSpec>) -> Done {
    let checked = advertise.map_or(Ok(()), |spec| spec.check());
    checked.map_err(|(_, why)| Refusal::Advertise(name.to_owned(), why).on("advertise"))
}
