//! A worker over heap ports and tables written by hand.
//!
//! ```text
//!  LAN host 10.0.0.163 ── en0 10.0.0.1 ┐            ┌ gre0  10.9.0.1 → 10.9.0.2
//!         VLAN 20 host 10.20.0.9 ── en0.20          │       203.0.113.1 → 198.51.100.2
//!                                      │ Greyhound  │ ipip0 … → 198.51.100.3
//!  router 203.0.113.254 ── en1 203.0.113.1 ┘        └ …
//! ```

use std::sync::Arc;

use etherparse::{IpNumber, Ipv4Header};

use super::packets::addr;
use crate::buf::PacketBuf;
use crate::buf::heap::{HeapIo, TestBuf};
use crate::datapath::drop::DropReason;
use crate::exchange::{Cause, ControlEnd, ExchangeConfig, PuntReason, exchange};
use crate::flow::FlowHash;
use crate::ids::{IfId, Mac, NextHopId, PortId, TableId, first_identification};
use crate::meeting::MeetingEnd;
use crate::stats::counters::WorkerCounters;
use crate::tables::adjacency::flags::{COPY_DF, COPY_DSCP};
use crate::tables::adjacency::{Adjacency, AdjacencyKind, Encapsulation, REWRITE_ROOM};
use crate::tables::interfaces::{Attachment, Interfaces, PortEntry};
use crate::tables::tunnel::{DecapKey, Tunnel};
use crate::tables::{Tables, TablesConfig};
use crate::worker::{Worker, WorkerConfig};

pub const EN0: PortId = PortId(0);
pub const EN1: PortId = PortId(1);
/// A port whose interface has no address.
pub const EN2: PortId = PortId(2);
/// A port whose interface is down.
pub const EN3: PortId = PortId(3);

pub const EN0_IF: IfId = IfId(0);
pub const EN1_IF: IfId = IfId(1);
pub const VLAN_IF: IfId = IfId(2);
pub const VLAN_DOWN_IF: IfId = IfId(3);
pub const GRE0: IfId = IfId(10);
pub const IPIP0: IfId = IfId(11);
pub const GRE_DOWN: IfId = IfId(12);
/// Copies DSCP, TTL and DF; outer datagrams are cut at 600 bytes.
pub const GRE_COPY: IfId = IfId(13);
/// Nested in gre0: far end 10.9.0.2.
pub const GRE_NESTED: IfId = IfId(14);

pub const EN0_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub const EN1_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub const EN2_MAC: [u8; 6] = [2, 0, 0, 0, 0, 3];
pub const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 1, 0xa3];
pub const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 2, 0xfe];

/// Buffers in the pool.
pub const POOL: usize = 512;
/// Bytes in a buffer behind its headroom.
pub const ROOM: usize = 2048;
/// Slots of the exchange.
pub const SLOTS: usize = 128;
/// MTU of the plain tunnels.
pub const GRE_MTU: u16 = 1476;

/// What was sent: port and frame.
pub type Sent = Vec<(PortId, Vec<u8>)>;

/// A copy of a punt slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub cause: Cause,
    pub in_if: IfId,
    pub mtu: u16,
    pub link_group: bool,
    pub originated: bool,
    pub bytes: Vec<u8>,
}

pub struct Testbed {
    pub worker: Worker<HeapIo>,
    pub control: ControlEnd,
    pub tables: Arc<Tables>,
    pub counters: Arc<WorkerCounters>,
    hops: u32,
}

impl Testbed {
    pub fn new() -> Testbed {
        Testbed::with_room(ROOM)
    }

    /// Buffers of another size.
    pub fn with_room(room: usize) -> Testbed {
        Testbed::with(room, 0, None)
    }

    /// One of several workers.
    pub fn of_several(number: usize, workers: usize) -> Testbed {
        Testbed::with(ROOM, first_identification(number, workers), None)
    }

    /// One that meets others.
    pub fn meeting(end: MeetingEnd<TestBuf>) -> Testbed {
        Testbed::with(ROOM, 0, Some(end))
    }

    fn with(room: usize, first_id: u16, meeting: Option<MeetingEnd<TestBuf>>) -> Testbed {
        let config = TablesConfig {
            adjacencies: 1024,
            tunnels: 64,
            decap_keys: 64,
            fib_groups: 256,
            fib6_groups: 64,
        };
        let mut tables = Tables::new(config);
        tables.flow = FlowHash::fixed(1);
        let tables = Arc::new(tables);
        let counters = Arc::new(WorkerCounters::new(64));
        let (end, control) = exchange(ExchangeConfig { slots: SLOTS, room: ROOM });
        let queues = [EN0, EN1, EN2, EN3].map(|port| (port, 0)).to_vec();
        let worker = Worker::new(
            HeapIo::new(POOL, room),
            Arc::clone(&tables),
            Arc::clone(&counters),
            end,
            WorkerConfig { queues, first_id, ..WorkerConfig::default() },
        )
        .with_meeting(meeting);
        let mut bed = Testbed { worker, control, tables, counters, hops: 1 };
        bed.publish();
        bed
    }

    fn publish(&mut self) {
        let at = |id| Some(Attachment { id, up: true });
        let down = |id| Attachment { id, up: false };
        let mut interfaces = Interfaces { echo: true, ..Interfaces::default() };
        interfaces.ports.push(PortEntry {
            mac: Mac(EN0_MAC),
            untagged: at(EN0_IF),
            vlans: vec![(20, Attachment { id: VLAN_IF, up: true }), (30, down(VLAN_DOWN_IF))],
        });
        interfaces.ports.push(PortEntry {
            mac: Mac(EN1_MAC),
            untagged: at(EN1_IF),
            vlans: Vec::new(),
        });
        interfaces.ports.push(PortEntry { mac: Mac(EN2_MAC), ..PortEntry::default() });
        interfaces.ports.push(PortEntry {
            mac: Mac([2, 0, 0, 0, 0, 4]),
            untagged: Some(down(IfId(4))),
            vlans: Vec::new(),
        });
        // 10.0.0.1 is left out on purpose: the FIB knows it.
        interfaces.own.push(u32::from_be_bytes(addr("203.0.113.1")));
        self.tables.interfaces.replace(interfaces, &self.tables.pin());

        use AdjacencyKind::*;
        for own in ["10.0.0.1/32", "203.0.113.1/32", "10.9.0.1/32", "10.20.0.1/32"] {
            self.route(own, Adjacency::plain(Local, IfId::NONE));
        }
        for broadcast in ["10.0.0.255/32", "10.0.0.0/32"] {
            self.route(broadcast, Adjacency::plain(Broadcast, EN0_IF));
        }
        self.route("10.0.0.0/24", Adjacency::plain(Resolve, EN0_IF));
        self.route("10.0.0.163/32", rewrite(EN0, EN0_IF, EN0_MAC, HOST_MAC, None, 1500));
        self.route("10.20.0.9/32", rewrite(EN0, VLAN_IF, EN0_MAC, HOST_MAC, Some(20), 1500));
        self.route("198.18.0.0/15", rewrite(EN1, EN1_IF, EN1_MAC, ROUTER_MAC, None, 1500));
        self.route("198.51.100.0/24", rewrite(EN1, EN1_IF, EN1_MAC, ROUTER_MAC, None, 1500));
        self.route("100.64.0.0/16", rewrite(EN1, EN1_IF, EN1_MAC, ROUTER_MAC, None, 600));
        self.route("100.65.0.0/16", Adjacency::plain(Blackhole, IfId::NONE));
        self.route("100.66.0.0/16", Adjacency::plain(Unreachable, EN1_IF));
        self.tunnels();
    }

    fn tunnels(&mut self) {
        let gre = tunnel(Encapsulation::Gre, GRE0, "198.51.100.2", GRE_MTU, 0);
        self.route("10.9.0.2/32", gre);
        self.route("20.0.0.0/8", gre);
        let ipip = tunnel(Encapsulation::Ipip, IPIP0, "198.51.100.3", 1480, 0);
        self.route("21.0.0.0/8", ipip);
        use crate::tables::adjacency::flags::{COPY_DF, COPY_DSCP, COPY_TTL};
        let mut copy = tunnel(
            Encapsulation::Gre,
            GRE_COPY,
            "198.51.100.5",
            1476,
            COPY_DF | COPY_DSCP | COPY_TTL,
        );
        self.route("22.0.0.0/8", copy);
        copy.underlay_mtu = 600;
        copy.mtu = 576;
        self.route("23.0.0.0/8", copy);
        let mut small = tunnel(Encapsulation::Gre, GRE0, "198.51.100.2", 576, 0);
        small.underlay_mtu = 600;
        self.route("24.0.0.0/8", small);
        for (id, remote, up, protocol) in [
            (GRE0, "198.51.100.2", true, 47),
            (IPIP0, "198.51.100.3", true, 4),
            (GRE_DOWN, "198.51.100.4", false, 47),
            (GRE_COPY, "198.51.100.5", true, 47),
        ] {
            self.tunnel_in(id, "203.0.113.1", remote, up, protocol);
        }
        self.tunnel_in(GRE_NESTED, "10.9.0.1", "10.9.0.2", true, 47);
    }

    /// The receiving half of a tunnel.
    pub fn tunnel_in(&self, id: IfId, local: &str, remote: &str, up: bool, protocol: u8) {
        let guard = self.tables.pin();
        let (local, remote) = (host(local), host(remote));
        let tunnel = Tunnel { interface: id, up, remote, resync: 1, ..Tunnel::NONE };
        self.tables.tunnels.set(id.index(), tunnel, &guard);
        let key = DecapKey::ipv4(TableId(0), remote, local, protocol, None);
        self.tables.decap.insert(key, id.0, &guard).unwrap();
    }

    /// The receiving half of a GRE tunnel with a key, or one that takes the
    /// place of the one without.
    pub fn keyed(&self, id: IfId, remote: &str, key: Option<u32>) {
        let guard = self.tables.pin();
        let (local, remote) = (host("203.0.113.1"), host(remote));
        let tunnel = Tunnel { interface: id, up: true, remote, resync: 1, ..Tunnel::NONE };
        self.tables.tunnels.set(id.index(), tunnel, &guard);
        let key = DecapKey::ipv4(TableId(0), remote, local, 47, key);
        self.tables.decap.insert(key, id.0, &guard).unwrap();
    }

    /// A prefix and the adjacency it leads to.
    pub fn route(&mut self, prefix: &str, adjacency: Adjacency) {
        let (network, len) = prefix.split_once('/').unwrap();
        let hop = self.adjacency(adjacency);
        self.tables.fib4.insert(host(network), len.parse().unwrap(), hop).unwrap();
    }

    /// The next slot of the adjacency table, filled.
    pub fn adjacency(&mut self, adjacency: Adjacency) -> NextHopId {
        let hop = NextHopId(self.hops);
        self.tables.adjacencies.set(hop.index(), adjacency, &self.tables.pin());
        self.hops += 1;
        hop
    }

    /// Changes the interface snapshot.
    pub fn interfaces(&self, change: impl FnOnce(&mut Interfaces)) {
        let guard = self.tables.pin();
        let mut interfaces = self.tables.interfaces.load(&guard).clone();
        change(&mut interfaces);
        self.tables.interfaces.replace(interfaces, &guard);
    }

    /// Lets frames arrive.
    pub fn receive(&mut self, port: PortId, frame: &[u8]) {
        assert!(self.worker.io().receive(port, frame), "the pool is empty");
    }

    /// Turns until nothing arrives any more; gives what was sent.
    pub fn turns(&mut self) -> Sent {
        while self.worker.turn() > 0 {}
        let mut sent = Sent::new();
        for port in [EN0, EN1, EN2, EN3] {
            while let Some(frame) = self.worker.io().sent(port) {
                sent.push((port, frame));
            }
        }
        sent
    }

    /// One frame through the path.
    pub fn pass(&mut self, port: PortId, frame: &[u8]) -> Sent {
        self.receive(port, frame);
        self.turns()
    }

    /// The one frame that comes out when this one goes in.
    pub fn one(&mut self, port: PortId, frame: &[u8]) -> (PortId, Vec<u8>) {
        let mut sent = self.pass(port, frame);
        assert_eq!(sent.len(), 1, "{sent:02x?}; drops: {:?}", self.drops());
        sent.remove(0)
    }

    /// What control was handed.
    pub fn told(&mut self) -> Vec<Told> {
        let mut all = Vec::new();
        while let Some(told) = self.control.take(|slot| Told {
            cause: slot.cause,
            in_if: slot.in_if,
            mtu: slot.mtu,
            link_group: slot.link_group,
            originated: slot.originated,
            bytes: slot.bytes.get().to_vec(),
        }) {
            all.push(told);
        }
        all
    }

    /// Drops by all origins, those that happened.
    pub fn drops(&self) -> Vec<(DropReason, u64)> {
        let count = |reason: &DropReason| {
            self.counters.ledgers.iter().map(|l| l.dropped[reason.index()].get()).sum()
        };
        DropReason::ALL.iter().map(|r| (*r, count(r))).filter(|(_, n)| *n > 0).collect()
    }

    /// Packets handed to control for this reason.
    pub fn punts(&self, reason: PuntReason) -> u64 {
        self.counters.ledgers.iter().map(|l| l.punted[reason.index()].get()).sum()
    }

    /// rx, tx packets, rx, tx bytes, rx, tx dropped of an interface.
    pub fn interface(&self, id: IfId) -> [u64; 6] {
        let c = self.counters.interface(id).unwrap();
        [&c.rx_packets, &c.tx_packets, &c.rx_bytes, &c.tx_bytes, &c.rx_dropped, &c.tx_dropped]
            .map(|counter| counter.get())
    }

    /// Panics unless every packet is accounted for and every buffer is back.
    pub fn check_conservation(&mut self) {
        for (origin, ledger) in self.counters.ledgers.iter().enumerate() {
            assert_eq!(ledger.imbalance(), 0, "origin {origin}: {ledger:?}");
        }
        self.worker.io().discard_sent();
        let available = self.worker.io().available();
        assert_eq!(self.worker.io().in_use(), 0, "{available} buffers are in the pool");
    }
}

/// Conservation holds after every test, without its asking.
impl Drop for Testbed {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check_conservation();
        }
    }
}

/// An address in host byte order.
pub fn host(text: &str) -> u32 {
    u32::from_be_bytes(addr(text))
}

/// An adjacency that puts this link header in front.
pub fn rewrite(
    port: PortId,
    out_if: IfId,
    from: [u8; 6],
    to: [u8; 6],
    vlan: Option<u16>,
    mtu: u16,
) -> Adjacency {
    let mut link = super::packets::frame(to, from, 0x0800, &[]);
    if let Some(vlan) = vlan {
        link = super::packets::tagged(&link, vlan);
    }
    let mut adjacency = Adjacency::plain(AdjacencyKind::Rewrite, out_if);
    adjacency.port = port;
    adjacency.mtu = mtu;
    adjacency.underlay_mtu = mtu;
    adjacency.l2_len = link.len() as u8;
    adjacency.rewrite_len = link.len() as u8;
    adjacency.rewrite[..link.len()].copy_from_slice(&link);
    adjacency
}

/// The outer header of the testbed's tunnels, TTL 33 and DSCP 5.
pub fn outer_header(remote: &str, protocol: u8) -> Ipv4Header {
    let (local, remote) = (addr("203.0.113.1"), addr(remote));
    let mut header = Ipv4Header::new(0, 33, IpNumber(protocol), local, remote).unwrap();
    header.dont_fragment = true;
    header.dscp = 5.try_into().unwrap();
    header
}

/// A tunnel adjacency over en1, its bytes from etherparse.
pub fn tunnel(encap: Encapsulation, id: IfId, remote: &str, mtu: u16, flags: u8) -> Adjacency {
    let mut adjacency = rewrite(EN1, id, EN1_MAC, ROUTER_MAC, None, mtu);
    let (protocol, gre) = match encap {
        Encapsulation::Gre => (47, &[0, 0, 8, 0][..]),
        _ => (4, &[][..]),
    };
    let mut bytes = adjacency.rewrite[..14].to_vec();
    let mut outer = outer_header(remote, protocol);
    // What the path fills in is blank.
    outer.total_len = 0;
    if flags & COPY_DSCP != 0 {
        outer.dscp = 0.try_into().unwrap();
    }
    outer.dont_fragment = flags & COPY_DF == 0;
    bytes.extend(outer.to_bytes());
    bytes[24..26].fill(0);
    let halves = bytes[14..34].chunks(2).map(|half| u32::from(half[0]) << 8 | u32::from(half[1]));
    adjacency.partial_checksum = halves.sum();
    bytes.extend(gre);
    adjacency.kind = AdjacencyKind::Tunnel;
    adjacency.encap = encap;
    adjacency.flags = flags;
    adjacency.underlay_mtu = 1500;
    adjacency.underlay_if = EN1_IF;
    adjacency.rewrite_len = bytes.len() as u8;
    adjacency.rewrite = [0; REWRITE_ROOM];
    adjacency.rewrite[..bytes.len()].copy_from_slice(&bytes);
    adjacency
}

/// A received buffer with no room in front of the frame.
pub fn without_headroom(frame: &[u8]) -> TestBuf {
    let mut buf = TestBuf::from_bytes(frame);
    let room = buf.headroom();
    assert!(buf.prepend(room));
    buf.truncate(frame.len());
    buf.data_mut().copy_from_slice(frame);
    buf
}
