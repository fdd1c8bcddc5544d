//! The testbed's IPv6 half: addresses, routes and tunnels, all bytes from
//! etherparse.
//!
//! ```text
//!  LAN host 2001:db8::a3 ── en0 2001:db8::1      tunnels by what is outside and inside:
//!  router ────────────────── en1 2001:db8:ff::1   30, 31 /8: 4 over 6   :20…:29: 6 over both
//! ```

use etherparse::{IpNumber, Ipv6FlowLabel, Ipv6Header, PacketBuilder};

use super::packets::{frame, pattern};
use super::testbed::*;
use crate::ids::{IfId, NextHopId, TableId};
use crate::tables::adjacency::flags::{COPY_DSCP, COPY_TTL, CUT_OUTER};
use crate::tables::adjacency::{Adjacency, AdjacencyKind, Encapsulation, REWRITE_ROOM};
use crate::tables::tunnel::{Received, Tunnel};

/// Over IPv6: GRE, and IP alone.
pub const GRE6: IfId = IfId(20);
pub const IP6: IfId = IfId(21);
/// IPv6 over the testbed's IPv4 tunnels counts for GRE0 and this one.
pub const SIT0: IfId = IfId(22);
/// Over IPv6, with a limit on nesting.
pub const LIMITED: IfId = IfId(23);

pub const EN0_6: &str = "2001:db8::1";
pub const EN1_6: &str = "2001:db8:ff::1";
pub const HOST6: &str = "2001:db8::a3";
pub const FAR6: &str = "2001:db8:aa::2";
/// The host's address as long as it stays on its link.
pub const HOST_LINK: &str = "fe80::a3";
pub const EN0_LINK: &str = "fe80::1";

/// An address in host byte order.
pub fn host6(text: &str) -> u128 {
    text.parse::<std::net::Ipv6Addr>().unwrap().into()
}

/// UDP 1000 → 2000 with a payload of `len` bytes.
pub fn udp6(src: &str, dst: &str, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ipv6(host6(src).to_be_bytes(), host6(dst).to_be_bytes(), 64)
        .udp(1000, 2000)
        .write(&mut bytes, &pattern(len))
        .unwrap();
    bytes
}

/// A datagram with this next header.
pub fn six(src: &str, dst: &str, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = header6(src, dst, next);
    header.payload_length = payload.len() as u16;
    let mut bytes = header.to_bytes().to_vec();
    bytes.extend(payload);
    bytes
}

pub fn header6(src: &str, dst: &str, next: u8) -> Ipv6Header {
    Ipv6Header {
        traffic_class: 0,
        flow_label: Ipv6FlowLabel::ZERO,
        payload_length: 0,
        next_header: IpNumber(next),
        hop_limit: 64,
        source: host6(src).to_be_bytes(),
        destination: host6(dst).to_be_bytes(),
    }
}

/// The datagram with its hop limit one less.
pub fn routed6(datagram: &[u8]) -> Vec<u8> {
    let mut bytes = datagram.to_vec();
    bytes[7] -= 1;
    bytes
}

/// In a frame from the LAN host to en0.
pub fn from_host(datagram: &[u8]) -> Vec<u8> {
    let kind = if datagram[0] >> 4 == 6 { 0x86dd } else { 0x0800 };
    frame(EN0_MAC, HOST_MAC, kind, datagram)
}

/// In a frame from the router to en1.
pub fn from_router(datagram: &[u8]) -> Vec<u8> {
    let kind = if datagram[0] >> 4 == 6 { 0x86dd } else { 0x0800 };
    frame(EN1_MAC, ROUTER_MAC, kind, datagram)
}

/// What leads on, for IPv6 frames.
fn for_six(mut adjacency: Adjacency) -> Adjacency {
    let l2 = usize::from(adjacency.l2_len);
    if l2 > 0 {
        adjacency.rewrite[l2 - 2..l2].copy_from_slice(&[0x86, 0xdd]);
    }
    adjacency
}

/// The outer header of the testbed's tunnels over IPv6: hop limit 33, DSCP 5.
pub fn outer_header6(next: u8) -> Ipv6Header {
    Ipv6Header { hop_limit: 33, traffic_class: 5 << 2, ..header6(EN1_6, FAR6, next) }
}

/// An adjacency into a tunnel over IPv6: `next` is what it carries (47: GRE with
/// this protocol type).
pub fn tunnel6(next: u8, kind: u16, id: IfId, limited: bool, flags: u8) -> Adjacency {
    let mut adjacency = for_six(rewrite(EN1, id, EN1_MAC, ROUTER_MAC, None, 1400));
    let mut outer = outer_header6(if limited { 60 } else { next });
    if flags & COPY_DSCP != 0 {
        outer.traffic_class = 0;
    }
    let mut bytes = adjacency.rewrite[..14].to_vec();
    bytes.extend(outer.to_bytes());
    if limited {
        bytes.extend([next, 0, 4, 1, 4, 1, 1, 0]);
    }
    if next == 47 {
        bytes.extend([0, 0]);
        bytes.extend(kind.to_be_bytes());
    }
    adjacency.kind = AdjacencyKind::Tunnel6;
    adjacency.encap = if next == 47 { Encapsulation::Gre } else { Encapsulation::Ipip };
    adjacency.flags = flags;
    adjacency.mtu = 1500 - (bytes.len() - 14) as u16;
    if flags & CUT_OUTER != 0 {
        (adjacency.mtu, adjacency.underlay_mtu) = (1500, 1300);
    } else {
        adjacency.underlay_mtu = 1500;
    }
    adjacency.underlay_if = EN1_IF;
    adjacency.rewrite_len = bytes.len() as u8;
    adjacency.rewrite = [0; REWRITE_ROOM];
    adjacency.rewrite[..bytes.len()].copy_from_slice(&bytes);
    adjacency
}

/// IPv6 inside one of the testbed's tunnels over IPv4.
fn six_in_four(mut adjacency: Adjacency, id: IfId) -> Adjacency {
    adjacency.out_if = id;
    if adjacency.encap == Encapsulation::Gre {
        adjacency.rewrite[36..38].copy_from_slice(&[0x86, 0xdd]);
    } else {
        adjacency.rewrite[23] = 41;
        adjacency.partial_checksum += 41 - 4;
    }
    adjacency
}

impl Testbed {
    /// With IPv6.
    pub fn six() -> Testbed {
        let mut bed = Testbed::new();
        bed.publish6();
        bed
    }

    fn publish6(&mut self) {
        // en0's address is left out on purpose: the FIB knows it.
        self.interfaces(|interfaces| interfaces.own6.push(host6(EN1_6)));
        use AdjacencyKind::*;
        for own in [EN0_6, EN1_6, "fd09::1", EN0_LINK] {
            self.route6(&format!("{own}/128"), Adjacency::plain(Local, IfId::NONE));
        }
        self.route6("2001:db8::/64", Adjacency::plain(Resolve, EN0_IF));
        self.route6(&format!("{HOST6}/128"), rewrite(EN0, EN0_IF, EN0_MAC, HOST_MAC, None, 1500));
        let vlan = rewrite(EN0, VLAN_IF, EN0_MAC, HOST_MAC, Some(20), 1500);
        self.route6("2001:db8:0:20::/64", vlan);
        let north = |mtu| rewrite(EN1, EN1_IF, EN1_MAC, ROUTER_MAC, None, mtu);
        self.route6("2001:db8:1::/48", north(1500));
        self.route6("2001:db8:2::/48", north(1280));
        self.route6("2001:db8:3::/48", Adjacency::plain(Blackhole, IfId::NONE));
        self.route6("2001:db8:4::/48", Adjacency::plain(Unreachable, EN1_IF));
        self.tunnels6();
    }

    fn tunnels6(&mut self) {
        let gre = |flags| tunnel(Encapsulation::Gre, GRE0, "198.51.100.2", GRE_MTU, flags);
        self.route6("2001:db8:20::/48", six_in_four(gre(0), GRE0));
        let ipip = tunnel(Encapsulation::Ipip, IPIP0, "198.51.100.3", 1480, 0);
        self.route6("2001:db8:21::/48", six_in_four(ipip, SIT0));
        self.route6("2001:db8:22::/48", tunnel6(47, 0x86dd, GRE6, false, 0));
        self.route6("2001:db8:23::/48", tunnel6(41, 0, IP6, false, 0));
        self.route6("2001:db8:24::/48", tunnel6(47, 0x86dd, LIMITED, true, 0));
        let copy = COPY_DSCP | COPY_TTL;
        self.route6("2001:db8:25::/48", tunnel6(41, 0, IP6, true, copy));
        self.route6("2001:db8:26::/48", tunnel6(47, 0x86dd, GRE6, false, CUT_OUTER));
        let mut cut = tunnel(Encapsulation::Gre, GRE0, "198.51.100.2", 1500, CUT_OUTER | COPY_DSCP);
        cut.underlay_mtu = 1300;
        // DF is clear where outer datagrams are cut.
        cut.rewrite[20] = 0;
        cut.partial_checksum -= 0x4000;
        self.route6("2001:db8:27::/48", six_in_four(cut, GRE0));
        self.route("30.0.0.0/8", tunnel6(47, 0x0800, GRE6, false, 0));
        self.route("31.0.0.0/8", tunnel6(4, 0, IP6, false, 0));
        self.route("32.0.0.0/8", tunnel6(47, 0x0800, GRE6, true, CUT_OUTER | copy));
        for (id, protocols) in [(GRE6, &[47][..]), (IP6, &[4, 41])] {
            for protocol in protocols {
                self.received6(id, EN1_6, FAR6, *protocol, true);
            }
        }
        self.tunnel_in(SIT0, "203.0.113.1", "198.51.100.3", true, 41);
    }

    /// The receiving half of a tunnel over IPv6.
    pub fn received6(&self, id: IfId, local: &str, remote: &str, protocol: u8, up: bool) {
        let guard = self.tables.pin();
        let (local6, remote6) = (host6(local), host6(remote));
        let tunnel = Tunnel { interface: id, up, local6, remote6, resync: 1, ..Tunnel::NONE };
        self.tables.tunnels.set(id.index(), tunnel, &guard);
        let received = Received {
            table: TableId(0),
            source: std::net::Ipv6Addr::from(remote6).into(),
            destination: std::net::Ipv6Addr::from(local6).into(),
            protocol,
            key: None,
            port: 0,
        };
        let key = self.tables.decap.key_of(&received);
        self.tables.decap.insert(key, id.0, &guard).unwrap();
    }

    /// A prefix and the adjacency it leads to.
    pub fn route6(&mut self, prefix: &str, adjacency: Adjacency) {
        let (network, len) = prefix.split_once('/').unwrap();
        let adjacency =
            if adjacency.kind == AdjacencyKind::Rewrite { for_six(adjacency) } else { adjacency };
        let hop: NextHopId = self.adjacency(adjacency);
        self.tables.fib6.insert(host6(network), len.parse().unwrap(), hop).unwrap();
    }
}
