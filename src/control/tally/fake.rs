//! A world for the engines' tests: machine C of the note, made by hand.
//!
//! ```text
//!   LAN 10/8 ── en0 (10.0.0.1) ── C ── en1 (203.0.113.1) ── 203.0.113.254 ── Internet
//!               en0.20 (192.168.20.1/24)   └─ gre0 (inner 10.0.0.1, when it is up)
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};

use crate::control::net::Soft;
use crate::control::topology::{Actions, Link, OuterPath, Topology, TunnelWay, Way};
use crate::control::tunnel_errors::{QuotedKey, Sent};
use crate::exchange::InjectKind;
use crate::ids::{Family, IfId, Mac, PortId};
use crate::stats::counters::ControlCounters;

pub(crate) const EN0: IfId = IfId(1);
pub(crate) const EN1: IfId = IfId(2);
pub(crate) const EN0_20: IfId = IfId(3);
pub(crate) const GRE0: IfId = IfId(9);
pub(crate) const EN0_MAC: Mac = Mac([2, 0, 0, 0, 0, 0xc0]);
pub(crate) const EN1_MAC: Mac = Mac([2, 0, 0, 0, 0, 0xc1]);
pub(crate) const HOST_MAC: Mac = Mac([2, 0, 0, 0, 0, 0xaa]);
pub(crate) const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 163));
pub(crate) const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
pub(crate) const ROUTER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 254));
pub(crate) const MOBILE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 25));
pub(crate) const FAR: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 2));

const fn v6(bits: u128) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from_bits(bits))
}

pub(crate) const OWN6: IpAddr = v6(0x2001_0db8 << 96 | 1);
pub(crate) const HOST6: IpAddr = v6(0x2001_0db8 << 96 | 0xa3_0163);
pub(crate) const MOBILE6: IpAddr = v6(0x2001_0db8 << 96 | 0xa3_0025);
pub(crate) const LINK_LOCAL: IpAddr = v6(0xfe80 << 112 | 0x00ff_fe00_00c0);

/// What an engine did to the neighbours' adjacencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Did {
    Resolved(IfId, IpAddr, Mac),
    Lost(IfId, IpAddr, bool),
    Dead(IfId, bool),
}

/// The world.
#[derive(Debug)]
pub(crate) struct Fake {
    pub links: Vec<Link>,
    /// Own addresses with their interface and subnet.
    pub addresses: Vec<(IfId, IpAddr, u8)>,
    /// Longest match wins; connected subnets need no line here.
    pub routes: Vec<(IpNet, Way)>,
    pub injected: Vec<(InjectKind, Vec<u8>)>,
    pub did: Vec<Did>,
    /// Tunnels that run and are watched.
    pub ways: Vec<(IfId, TunnelWay)>,
    /// Packets the exchange still takes.
    pub room: usize,
    /// Tunnels that run over links of 1500 bytes.
    pub tunnels: Vec<FakeTunnel>,
}

/// A tunnel, and what was set of it.
#[derive(Debug)]
pub(crate) struct FakeTunnel {
    pub id: IfId,
    pub sent: Sent,
    /// Bytes of its headers.
    pub overhead: u16,
    pub trusts: bool,
    pub soft: Soft,
}

impl FakeTunnel {
    fn outer_mtu(&self) -> u16 {
        self.soft.path_mtu.unwrap_or(1500).min(1500)
    }
}

impl Default for Fake {
    fn default() -> Fake {
        let link =
            |id, port, vlan, mac| Link { id, port: PortId(port), vlan, mac, mtu: 1500, up: true };
        let default = Way::Neighbour { link: EN1, address: ROUTER };
        Fake {
            links: vec![
                link(EN0, 0, 0, EN0_MAC),
                link(EN1, 1, 0, EN1_MAC),
                link(EN0_20, 0, 20, EN0_MAC),
            ],
            addresses: vec![
                (EN0, OWN, 8),
                (EN1, IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)), 24),
                (EN0_20, IpAddr::V4(Ipv4Addr::new(192, 168, 20, 1)), 24),
            ],
            routes: vec![(Ipv4Net::default().into(), default)],
            injected: Vec::new(),
            did: Vec::new(),
            ways: Vec::new(),
            room: usize::MAX,
            tunnels: Vec::new(),
        }
    }
}

impl Fake {
    /// Brings gre0 up: C's inner address is en0's own, the far end is 10.0.0.25.
    pub fn tunnel_up(&mut self) {
        self.addresses.push((GRE0, OWN, 32));
        let way = Way::Tunnel { tunnel: GRE0, underlay: Some((EN1, ROUTER)) };
        self.routes.push((IpNet::from(MOBILE), way));
    }

    /// Gives en0 IPv6 addresses: 2001:db8::1/64 and a link-local one.
    pub fn with_ipv6(mut self) -> Fake {
        self.addresses.extend([(EN0, OWN6, 64), (EN0, LINK_LOCAL, 64)]);
        self
    }

    /// What was injected since the last call.
    pub fn sent(&mut self) -> Vec<(InjectKind, Vec<u8>)> {
        std::mem::take(&mut self.injected)
    }

    /// What was done to neighbours since the last call.
    pub fn done(&mut self) -> Vec<Did> {
        std::mem::take(&mut self.did)
    }

    /// The longest match among subnets and routes.
    fn longest(&self, to: IpAddr) -> Option<(IpNet, Way)> {
        let connected = self.links.iter().filter(|l| l.up).flat_map(|l| {
            let way = Way::Neighbour { link: l.id, address: to };
            self.subnets(l.id).map(move |net| (net, way))
        });
        let all = connected.chain(self.routes.iter().copied());
        all.filter(|(net, _)| net.contains(&to)).max_by_key(|(net, _)| net.prefix_len())
    }

    fn subnets(&self, link: IfId) -> impl Iterator<Item = IpNet> {
        self.addresses
            .iter()
            .filter(move |(id, ..)| *id == link)
            .filter_map(|&(_, address, len)| IpNet::new(address, len).ok())
            .filter(|net| net.prefix_len() < net.max_prefix_len())
    }
}

impl Topology for Fake {
    fn link(&self, id: IfId) -> Option<Link> {
        self.links.iter().copied().find(|l| l.id == id)
    }

    fn links(&self) -> Vec<Link> {
        self.links.clone()
    }

    fn owns(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|a| a.1 == address)
    }

    fn source(&self, interface: IfId, to: IpAddr) -> Option<IpAddr> {
        let link_local = |address| matches!(address, IpAddr::V6(address) if Ipv6Addr::is_unicast_link_local(&address));
        let mine = || {
            self.addresses.iter().filter(|a| {
                a.0 == interface
                    && a.1.is_ipv4() == to.is_ipv4()
                    && link_local(a.1) == link_local(to)
            })
        };
        let fits =
            |a: &&(IfId, IpAddr, u8)| IpNet::new(a.1, a.2).is_ok_and(|net| net.contains(&to));
        mine().find(fits).or_else(|| mine().next()).map(|a| a.1)
    }

    fn on_link(&self, link: IfId, address: IpAddr) -> bool {
        self.subnets(link).any(|net| net.contains(&address))
    }

    fn is_broadcast(&self, address: IpAddr) -> bool {
        let edge = |net: IpNet| {
            address.is_ipv4() && (address == net.network() || address == net.broadcast())
        };
        address == IpAddr::V4(Ipv4Addr::BROADCAST)
            || address.is_multicast()
            || self.links.iter().any(|l| self.subnets(l.id).any(edge))
    }

    fn way(&self, to: IpAddr) -> Way {
        if self.owns(to) {
            return Way::Local;
        }
        if self.is_broadcast(to) {
            return Way::Broadcast;
        }
        self.longest(to).map_or(Way::Unreachable, |(_, way)| way)
    }

    fn only_by_default(&self, to: IpAddr) -> bool {
        self.longest(to).is_some_and(|(net, _)| net.prefix_len() == 0)
    }

    fn tunnel_way(&self, tunnel: IfId, _: Family) -> Option<TunnelWay> {
        self.ways.iter().find(|(id, _)| *id == tunnel).map(|(_, way)| *way)
    }

    fn name(&self, _: IfId) -> Option<&str> {
        None
    }

    fn sending(&self, sent: &Sent) -> Vec<IfId> {
        let fits = |tunnel: &&FakeTunnel| {
            let key = if sent.key == QuotedKey::Unknown { tunnel.sent.key } else { sent.key };
            Sent { key, ..*sent } == tunnel.sent
        };
        self.tunnels.iter().filter(fits).map(|tunnel| tunnel.id).collect()
    }

    fn path(&self, tunnel: IfId) -> Option<OuterPath> {
        let tunnel = self.tunnels.iter().find(|t| t.id == tunnel)?;
        Some(OuterPath { outer_mtu: tunnel.outer_mtu(), trusts: tunnel.trusts })
    }

    fn inner_mtu(&self, tunnel: IfId, inner: Family, outer: u16) -> Option<u16> {
        let tunnel = self.tunnels.iter().find(|t| t.id == tunnel)?;
        let mtu = outer.min(tunnel.outer_mtu()) - tunnel.overhead;
        Some(if inner == Family::V6 { mtu.max(1280) } else { mtu })
    }
}

impl Actions for Fake {
    fn inject(&mut self, kind: InjectKind, bytes: &[u8]) -> bool {
        if self.room == 0 {
            return false;
        }
        self.room -= 1;
        self.injected.push((kind, bytes.to_vec()));
        true
    }

    fn neighbour_resolved(&mut self, link: IfId, address: IpAddr, mac: Mac) {
        self.did.push(Did::Resolved(link, address, mac));
    }

    fn neighbour_lost(&mut self, link: IfId, address: IpAddr, failed: bool) {
        self.did.push(Did::Lost(link, address, failed));
    }

    fn set_dead(&mut self, tunnel: IfId, dead: bool) {
        self.did.push(Did::Dead(tunnel, dead));
    }

    fn set_soft(&mut self, tunnel: IfId, change: impl FnOnce(&mut Soft)) {
        let found = self.tunnels.iter_mut().find(|t| t.id == tunnel);
        change(&mut found.expect("a tunnel there is").soft);
    }
}

/// Fails unless every packet is accounted for.
#[track_caller]
pub(crate) fn assert_conserved(counters: &ControlCounters) {
    assert_eq!(counters.imbalance(), 0, "not conserved: {:?}", counters.view());
}

pub(crate) fn counters() -> Arc<ControlCounters> {
    Arc::new(ControlCounters::default())
}

pub(crate) const fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A UDP datagram of either family, by etherparse.
pub(crate) fn udp(from: IpAddr, to: IpAddr, ttl: u8, payload: &[u8]) -> Vec<u8> {
    use etherparse::PacketBuilder;
    let builder = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), ttl),
        (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), ttl),
        _ => panic!("{from} and {to} are of two families"),
    };
    let mut packet = Vec::new();
    builder.udp(1000, 33434).write(&mut packet, payload).expect("to memory");
    packet
}

/// The IPv4 address, where a test needs one as such.
#[track_caller]
pub(crate) fn v4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => panic!("{address} is no IPv4 address"),
    }
}
