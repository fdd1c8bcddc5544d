//! Tests of `net` from the outside: ops in, tables out. What a packet would
//! meet is read from the tables as a worker does, and the bytes of an adjacency
//! are taken apart by `etherparse`, which shares no code with us.
#![allow(clippy::unwrap_used)]

mod atomic;
mod cost;
mod difference;
mod doors;
mod events;
mod far_ends;
mod filters;
mod groups;
mod link;
mod liveness;
mod mended;
mod multipoint;
mod note;
mod options;
mod refusals;
mod routes;
mod soft;
mod udp;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use etherparse::{Ipv4HeaderSlice, SlicedPacket};

use super::{Net, PortFacts, Soft};
use crate::control::topology::Event;
use crate::ids::{IfId, Mac, NextHopId, PortId};
use crate::model::api::{ApiError, ErrorCode};
use crate::model::op::{GreKeys, InterfaceChange, Located, Op, Outcome};
use crate::model::spec::*;
use crate::model::view::InterfaceView;
use crate::tables::adjacency::{Adjacency, AdjacencyKind};
use crate::tables::epoch::Guard;
use crate::tables::{Tables, TablesConfig};

pub(super) const EN0: IfId = IfId(0);
pub(super) const EN1: IfId = IfId(1);

/// The MAC of a neighbour with this last byte.
pub(super) fn mac(n: u8) -> Mac {
    Mac([2, 0, 0, 0, 1, n])
}

/// An address, in the short forms of the note too: `12.1`.
pub(super) fn ip(text: &str) -> IpAddr {
    if text.contains(':') {
        return text.parse().unwrap();
    }
    ip4(text).into()
}

pub(super) fn ip4(text: &str) -> Ipv4Addr {
    let parts: Vec<u32> = text.split('.').map(|part| part.parse().unwrap()).collect();
    let (last, first) = parts.split_last().unwrap();
    let high = first.iter().zip([24, 16, 8]).map(|(part, shift)| part << shift).sum::<u32>();
    Ipv4Addr::from(high | last)
}

pub(super) fn net(text: &str) -> ipnet::IpNet {
    text.parse().unwrap()
}

pub(super) fn port(n: u8) -> PortFacts {
    let spec = PortSpec {
        name: format!("en{n}"),
        device: format!("net_null{n}"),
        address: Vec::new(),
        mtu: 1500,
        mac: None,
        rx_queues: None,
        rpf: ReversePath::Off,
        advertise: None,
        up: true,
    };
    PortFacts { spec, id: PortId(n), mac: Mac([2, 0, 0, 0, 0, n]), max_mtu: 9000 }
}

pub(super) fn small() -> Tables {
    let config = TablesConfig {
        adjacencies: 4096,
        tunnels: 1024,
        decap_keys: 512,
        fib_groups: 512,
        fib6_groups: 64,
    };
    let mut tables = Tables::new(config);
    tables.flow = crate::flow::FlowHash::fixed(1);
    tables
}

/// A machine with the ports en0 and en1.
pub(super) struct Machine {
    pub(super) tables: Arc<Tables>,
    pub(super) net: Net,
}

impl Machine {
    pub(super) fn new() -> Machine {
        Machine::with(small())
    }

    pub(super) fn with(tables: Tables) -> Machine {
        let tables = Arc::new(tables);
        let net = Net::new(Arc::clone(&tables), vec![port(0), port(1)]);
        Machine { tables, net }
    }

    /// A machine built from a state, with what was learned.
    pub(super) fn from_state(state: &State, learned: &[(IfId, IpAddr, Option<Mac>)]) -> Machine {
        let mut machine = Machine::new();
        let ops = machine.net.difference(state).unwrap();
        machine.net.transact(&ops, &|_| false).unwrap();
        for (link, address, mac) in learned {
            match mac {
                Some(mac) => machine.net.neighbour_resolved(*link, *address, *mac),
                None => machine.net.neighbour_lost(*link, *address, true),
            }
        }
        machine
    }

    pub(super) fn try_all(&mut self, ops: &[Op]) -> Result<(Outcome, Vec<Event>), ApiError> {
        let ops: Vec<Located> = ops.iter().cloned().map(Located::from).collect();
        self.net.transact(&ops, &|_| false)
    }

    /// One op that must be accepted.
    pub(super) fn ok(&mut self, op: Op) -> Outcome {
        self.try_all(&[op]).unwrap().0
    }

    /// Ops, a transaction each.
    pub(super) fn all(&mut self, ops: &[Op]) {
        ops.iter().for_each(|op| _ = self.ok(op.clone()));
    }

    /// One op that must be refused, with these words in its text.
    pub(super) fn refused(&mut self, op: Op, words: &[&str]) -> ErrorCode {
        let shown = format!("{op:?}");
        let error = match self.try_all(&[op]) {
            Ok(_) => panic!("accepted: {shown}"),
            Err(error) => error,
        };
        let text = error.to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{shown}: {text} lacks {words:?}");
        error.code
    }

    /// What the FIB says of an address.
    pub(super) fn hop(&self, to: &str, guard: &Guard) -> NextHopId {
        match ip(to) {
            IpAddr::V4(to) => self.tables.fib4.lookup(to.into(), guard),
            IpAddr::V6(to) => self.tables.fib6.lookup(to.into(), guard),
        }
    }

    /// What a packet to `to` meets.
    pub(super) fn meets(&self, to: &str) -> Adjacency {
        let guard = self.tables.pin();
        let hop = self.hop(to, &guard);
        *self.tables.adjacencies.get(hop.index(), &guard)
    }

    pub(super) fn kind(&self, to: &str) -> AdjacencyKind {
        self.meets(to).kind
    }

    pub(super) fn id(&self, name: &str) -> IfId {
        self.net.interface_named(name).unwrap()
    }

    pub(super) fn view(&self, name: &str) -> InterfaceView {
        let all = self.net.interfaces();
        all.into_iter().find(|(_, view)| view.name == name).unwrap().1
    }

    pub(super) fn running(&self, name: &str) -> bool {
        self.view(name).flags.iter().any(|flag| flag == "RUNNING")
    }

    pub(super) fn reason(&self, name: &str) -> String {
        self.view(name).tunnel.unwrap().reason.unwrap_or_default()
    }

    /// Link, next hop of a tunnel's underlay.
    pub(super) fn below(&self, name: &str) -> Option<(String, String)> {
        let below = self.view(name).tunnel.unwrap().underlay?;
        Some((below.interface, below.next_hop.to_string()))
    }

    /// All neighbours a wire would have answer.
    pub(super) fn learn(&mut self, link: IfId, address: &str, n: u8) {
        self.net.neighbour_resolved(link, ip(address), mac(n));
    }
}

/// A GRE tunnel with nothing set but what always is.
pub(super) fn bare(name: &str) -> TunnelSpec {
    TunnelSpec {
        name: name.into(),
        kind: TunnelKind::Gre,
        local: None,
        remote: None,
        learn: false,
        resolve_interval: 60,
        address: None,
        peer: None,
        nbma: Default::default(),
        inet6: Vec::new(),
        link0: true,
        link1: true,
        mtu: None,
        ttl: 64,
        dscp: Dscp::Copy,
        ecn: EcnMode::Normal,
        df: OuterDf::Set,
        mss: MssClamp::Off,
        pmtu: true,
        reassemble: true,
        gre: GreOptions::default(),
        keepalive: None,
        probe: None,
        udp: None,
        encaplimit: EncapLimit::Off,
        allow: Vec::new(),
        rpf: ReversePath::Off,
        port: None,
        up: true,
    }
}

/// The frame an adjacency makes of an inner datagram, its changing fields
/// patched as the path does: checked by `etherparse`.
pub(super) fn frame(adjacency: &Adjacency, inner: &[u8]) -> Vec<u8> {
    let mut frame = adjacency.rewrite().to_vec();
    let l2 = usize::from(adjacency.l2_len);
    frame.extend_from_slice(inner);
    if adjacency.kind == AdjacencyKind::Tunnel {
        let total = u16::try_from(frame.len() - l2).unwrap();
        assert_eq!(frame[l2 + 2..l2 + 6], [0; 4], "total length and id are blank");
        assert_eq!(frame[l2 + 10..l2 + 12], [0; 2], "the checksum is blank");
        frame[l2 + 2..l2 + 4].copy_from_slice(&total.to_be_bytes());
        let mut sum = u64::from(adjacency.partial_checksum) + u64::from(total);
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        frame[l2 + 10..l2 + 12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    }
    frame
}

/// What is on the wire in front of the inner datagram.
#[derive(Debug, PartialEq)]
pub(super) struct Outer {
    pub(super) to: [u8; 6],
    pub(super) from: [u8; 6],
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) protocol: u8,
    pub(super) ttl: u8,
    pub(super) dont_fragment: bool,
    /// Bytes between outer header and inner datagram.
    pub(super) shim: Vec<u8>,
}

pub(super) fn outer(adjacency: &Adjacency) -> Outer {
    assert_eq!(adjacency.kind, AdjacencyKind::Tunnel, "{adjacency:?}");
    let inner = [0x45; 30];
    let bytes = frame(adjacency, &inner);
    let sliced = SlicedPacket::from_ethernet(&bytes).unwrap();
    let Some(etherparse::LinkSlice::Ethernet2(link)) = sliced.link else { panic!("{sliced:?}") };
    let l2 = usize::from(adjacency.l2_len);
    let header = Ipv4HeaderSlice::from_slice(&bytes[l2..]).unwrap();
    assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum(), "checksum");
    assert_eq!(usize::from(header.total_len()), bytes.len() - l2);
    assert_eq!(link.ether_type(), etherparse::EtherType::IPV4);
    Outer {
        to: link.destination(),
        from: link.source(),
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        protocol: header.protocol().0,
        ttl: header.ttl(),
        dont_fragment: header.dont_fragment(),
        shim: bytes[l2 + 20..bytes.len() - inner.len()].to_vec(),
    }
}

// The note's commands, as ops.

pub(super) fn create(name: &str) -> Op {
    Op::Create { name: name.into() }
}

pub(super) fn destroy(name: &str) -> Op {
    Op::Destroy { name: name.into() }
}

pub(super) fn address(name: &str, address: &str) -> Op {
    let (text, len) = address.split_once('/').map_or((address, None), |(a, l)| (a, Some(l)));
    let prefix_len = len.map(|len| len.parse().unwrap());
    Op::SetAddress { name: name.into(), address: ip(text), prefix_len, peer: None, alias: false }
}

pub(super) fn alias(name: &str, text: &str) -> Op {
    match address(name, text) {
        Op::SetAddress { name, address, prefix_len, peer, .. } => {
            Op::SetAddress { name, address, prefix_len, peer, alias: true }
        }
        op => op,
    }
}

pub(super) fn pair(name: &str, own: &str, peer: &str) -> Op {
    let (address, peer) = (ip(own), Some(ip(peer)));
    Op::SetAddress { name: name.into(), address, prefix_len: None, peer, alias: false }
}

pub(super) fn unaddress(name: &str, own: &str) -> Op {
    Op::DeleteAddress { name: name.into(), address: ip(own) }
}

pub(super) fn endpoints(name: &str, local: &str, remote: &str) -> Op {
    Op::SetEndpoints { name: name.into(), local: ip(local), remote: Some(ip(remote).into()) }
}

/// `set("gre0", |f| f.link1 = Some(true))`.
pub(super) fn set(name: &str, fill: impl FnOnce(&mut InterfaceChange)) -> Op {
    let mut change = InterfaceChange::default();
    fill(&mut change);
    Op::SetInterface { name: name.into(), change }
}

/// `gre("gre0", |g| g.key_in = Some(1))`: all options, those not filled off.
pub(super) fn gre(name: &str, fill: impl FnOnce(&mut GreOptions)) -> Op {
    let mut options = GreOptions::default();
    fill(&mut options);
    let GreOptions { checksum, key_in, key_out, sequence, sequence_resync } = options;
    Op::SetGre {
        name: name.into(),
        checksum: Some(checksum),
        key: Some(GreKeys { inward: key_in, outward: key_out }),
        sequence: Some(sequence),
        sequence_resync: Some(sequence_resync),
    }
}

/// What is not given stays.
pub(super) fn door(name: &str, allow: &[&str], port: Option<&str>) -> Op {
    let allow = (!allow.is_empty()).then(|| allow.iter().map(|text| net(text)).collect());
    Op::SetDoor { name: name.into(), rpf: None, allow, port: port.map(str::to_owned) }
}

pub(super) fn rpf(name: &str, check: ReversePath) -> Op {
    Op::SetDoor { name: name.into(), rpf: Some(check), allow: None, port: None }
}

pub(super) fn link1(name: &str) -> Op {
    set(name, |f| f.link1 = Some(true))
}

pub(super) fn via(to: &str, gateway: &str) -> RouteSpec {
    RouteSpec { to: net(to), target: RouteTarget::Via(ip(gateway)) }
}

pub(super) fn add(to: &str, gateway: &str) -> Op {
    Op::AddRoute { route: via(to, gateway) }
}

pub(super) fn change(to: &str, gateway: &str) -> Op {
    Op::ChangeRoute { route: via(to, gateway) }
}

pub(super) fn delete(to: &str) -> Op {
    Op::DeleteRoute { to: net(to) }
}

pub(super) fn through(to: &str, name: &str) -> Op {
    Op::PutRoute { route: RouteSpec { to: net(to), target: RouteTarget::Interface(name.into()) } }
}

pub(super) fn publish(address: &str) -> Op {
    Op::Publish { publish: PublishSpec { address: ip(address), port: None, mac: None } }
}

pub(super) fn neighbour(address: &str, n: u8) -> Op {
    let neighbour = NeighbourSpec { address: ip(address), port: None, mac: mac(n) };
    Op::PutNeighbour { neighbour }
}

/// Machine C of the note, but for what `rest` leaves out.
pub(super) fn office() -> Vec<Op> {
    vec![
        address("en0", "10.1"),
        address("en1", "203.0.113.1/24"),
        add("0.0.0.0/0", "203.0.113.254"),
        create("gre0"),
        pair("gre0", "10.1", "10.25"),
        link1("gre0"),
        endpoints("gre0", "203.0.113.1", "198.51.100.2"),
    ]
}
