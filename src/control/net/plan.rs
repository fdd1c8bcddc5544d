//! Adjacencies: the finished bytes.
//!
//! ```text
//!  ├─ Ethernet 14 or 18 ─┼──────── outer IPv4 20 ────────┼─ GRE 4 to 16 (gre) ┤
//!    next hop, ours,       total length 0   id 0            flags, 0800 or 86dd
//!    tag, 0800 or 86dd     TOS  DSCP of the tunnel, 0 if    checksum 0, key,
//!                               copied; ECN 0               sequence number 0
//!                          DF   set, or clear: see below
//!                          TTL  the tunnel's
//!                          checksum 0
//!                        ┼──────── outer IPv6 40 ────────┼
//!                          traffic class as TOS, flow label and length 0
//! ```
//!
//! Between outer header and GRE: over IPv6 a limit on nesting (8), then UDP (8:
//! source port 0 if it follows the flow, length 0, checksum 1 if there is one).
//!
//! `partial_checksum` is the sum of exactly the 20 bytes of an outer IPv4: the
//! path adds total length, id, and what it changes in TOS and DF.
//!
//! **Too large for the underlay.** `fits` is the underlay's MTU less the headers:
//!
//! | outer | kind | inside | MTU | a larger packet | outer DF |
//! |---|---|---|---|---|---|
//! | IPv4 | both | IPv4 | fits | DF: code 4; else the inner is cut (`df = "copy"`: the outer) | set (`"copy"`: the inner's) |
//! | IPv4 | gre | IPv6 | fits, 1280 at least | Packet Too Big | set (`"copy"`: clear) |
//! | IPv4 | ipip | IPv6 | fits up to 1480, 1280 at least | Packet Too Big | clear (RFC 4213 §3.2.1) |
//! | IPv6 | gre | IPv4 | fits | as over IPv4 | |
//! | IPv6 | ipip | IPv4 | fits | DF: code 4; else the outer is cut (RFC 2473 §7.2) | |
//! | IPv6 | both | IPv6 | fits, 1280 at least | Packet Too Big (RFC 2473 §7.1, RFC 7676 §3.3) | |
//!
//! Where less than 1280 fits, IPv6 packets up to 1280 go in whole and the outer
//! datagram is cut. A configured MTU counts as far as it fits, and for IPv6 from
//! 1280 up (RFC 8200 §5).

use std::net::{IpAddr, Ipv6Addr};

use super::tunnel_config::TunnelConfig;
use crate::control::topology::Link;
use crate::flow::splitmix;
use crate::ids::{Family, IfId, Mac};
use crate::model::ip::{LEAST_MTU_V6, bits};
use crate::model::spec::{Dscp, EcnMode, GreOptions, MssClamp, OuterDf, TunnelKind, UdpSpec};
use crate::tables::adjacency::{
    Adjacency, AdjacencyKind, Encapsulation, LIMIT_LEN, MAX_REWRITE, flags, limit_header,
};
use crate::wire::ether::EtherRepr;
use crate::wire::gre::{GRE_LEN, GRE_MAX_LEN, GreRepr};
use crate::wire::ipv4::Ipv4Repr;
use crate::wire::udp::UDP_LEN;
use crate::wire::{
    ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPPROTO_DESTINATION_OPTIONS, IPPROTO_IPIP, IPPROTO_UDP,
    checksum,
};

/// What is known of a neighbour's link address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Station {
    /// Nothing: ask.
    Unknown,
    /// It did not answer.
    Failed,
    /// It is this.
    Known(Mac),
}

/// Total length, id and checksum: bytes of the outer header that are zero in
/// the template, whatever `Ipv4Repr` puts there.
const BLANK: [usize; 6] = [2, 3, 4, 5, 10, 11];

/// A connected subnet: control asks for whoever is addressed.
pub(super) fn connected(link: &Link) -> Adjacency {
    let mut adjacency = Adjacency::plain(AdjacencyKind::Resolve, link.id);
    adjacency.port = link.port;
    adjacency.mtu = link.mtu;
    adjacency.underlay_mtu = link.mtu;
    adjacency
}

/// A neighbour on a link.
pub(super) fn neighbour(link: &Link, family: Family, station: Station) -> Adjacency {
    let mut adjacency = connected(link);
    match station {
        _ if !link.up => adjacency.kind = AdjacencyKind::Unreachable,
        Station::Unknown => {}
        Station::Failed => adjacency.kind = AdjacencyKind::Unreachable,
        Station::Known(mac) => {
            adjacency.kind = AdjacencyKind::Rewrite;
            put_link_header(&mut adjacency, link, mac, family);
        }
    }
    adjacency
}

/// A tunnel, for packets of one family: over a neighbour on a link, whose MTU is
/// what the path takes, or not running.
pub(super) fn tunnel(
    id: IfId,
    kind: TunnelKind,
    config: &TunnelConfig,
    inner: Family,
    below: Option<(Link, Station)>,
) -> Adjacency {
    let mut adjacency = Adjacency::plain(AdjacencyKind::Unreachable, id);
    adjacency.mtu = tunnel_mtu(kind, config, inner, below.map(|(link, _)| link.mtu));
    let Some((link, station)) = below else { return adjacency };
    adjacency.port = link.port;
    adjacency.underlay_if = link.id;
    adjacency.underlay_mtu = link.mtu;
    match station {
        Station::Failed => {}
        // Minimal encapsulation shares the one IPv4 header.
        _ if !config.link0 && inner == Family::V6 => {}
        Station::Unknown => adjacency.kind = AdjacencyKind::Resolve,
        Station::Known(mac) => {
            let outer = config.outer_family(kind);
            adjacency.kind = match outer {
                _ if !config.link0 => AdjacencyKind::Minimal,
                Family::V4 => AdjacencyKind::Tunnel,
                Family::V6 => AdjacencyKind::Tunnel6,
            };
            put_link_header(&mut adjacency, &link, mac, outer);
            put_tunnel_header(&mut adjacency, kind, config, inner);
        }
    }
    adjacency
}

/// Largest inner datagram of a family: see the module's table. One with DF, or
/// an IPv6 one, that is larger has its sender told this very number.
pub(super) fn tunnel_mtu(
    kind: TunnelKind,
    config: &TunnelConfig,
    inner: Family,
    underlay: Option<u16>,
) -> u16 {
    /// What an Ethernet most likely takes, while there is no underlay.
    const USUAL: u16 = 1500;
    /// Most that 6in4 takes by itself (RFC 4213 §3.2.1).
    const SIX_IN_FOUR: u16 = 1480;
    let fits = underlay.unwrap_or(USUAL).saturating_sub(config.overhead(kind));
    let mtu = match (config.mtu, underlay) {
        (None, _) if six_in_four(kind, config, inner) => fits.min(SIX_IN_FOUR),
        (None, _) => fits,
        (Some(mtu), Some(_)) => mtu.min(fits),
        (Some(mtu), None) => mtu,
    };
    match inner {
        Family::V4 => mtu,
        Family::V6 => mtu.max(LEAST_MTU_V6),
    }
}

/// IPv4 and TCP headers without options, bytes.
const HEADERS4: u16 = 40;
/// IPv6 and TCP headers without options, bytes.
const HEADERS6: u16 = 60;

/// Largest TCP segment of a family through a tunnel that takes `mtu` bytes of
/// it; 0: any.
pub(super) fn segment(config: &TunnelConfig, mtu: u16, inner: Family) -> u16 {
    let headers = match inner {
        Family::V4 => HEADERS4,
        Family::V6 => HEADERS6,
    };
    match config.mss {
        MssClamp::Off => 0,
        MssClamp::Auto => mtu.saturating_sub(headers).max(1),
        MssClamp::Fixed(bytes) => bytes,
    }
}

/// IPv6 straight in IPv4 (RFC 4213).
fn six_in_four(kind: TunnelKind, config: &TunnelConfig, inner: Family) -> bool {
    config.udp.is_none()
        && kind == TunnelKind::Ipip
        && inner == Family::V6
        && config.outer_family(kind) == Family::V4
}

/// Which datagram is cut, and so what becomes of the outer DF: see the module's
/// table.
fn cut(kind: TunnelKind, config: &TunnelConfig, inner: Family, underlay: u16) -> u8 {
    let copy = config.df == OuterDf::Copy;
    let over_v6 = config.outer_family(kind) == Family::V6;
    let fits = underlay.saturating_sub(config.overhead(kind));
    match inner {
        Family::V4 if copy || over_v6 && kind == TunnelKind::Ipip => flags::COPY_DF,
        Family::V4 => 0,
        Family::V6 if fits < LEAST_MTU_V6 => flags::CUT_OUTER,
        Family::V6 if !over_v6 && (copy || kind == TunnelKind::Ipip) => flags::CUT_OUTER,
        Family::V6 => 0,
    }
}

const fn ethertype(family: Family) -> u16 {
    match family {
        Family::V4 => ETHERTYPE_IPV4,
        Family::V6 => ETHERTYPE_IPV6,
    }
}

fn put_link_header(adjacency: &mut Adjacency, link: &Link, mac: Mac, family: Family) {
    let header = EtherRepr {
        destination: mac,
        source: link.mac,
        vlan: (link.vlan != 0).then_some(link.vlan),
        ethertype: ethertype(family),
    };
    let len = header.emit(&mut adjacency.rewrite).map_or(0, |len| len as u8);
    adjacency.l2_len = len;
    adjacency.rewrite_len = len;
}

/// Joins the outer header (and GRE) to the link header that is there.
fn put_tunnel_header(
    adjacency: &mut Adjacency,
    kind: TunnelKind,
    config: &TunnelConfig,
    inner: Family,
) {
    let (tos, copy_dscp) = match config.dscp {
        Dscp::Copy | Dscp::Uniform => (0, flags::COPY_DSCP),
        Dscp::Fixed(dscp) => (dscp << 2, 0),
    };
    let cut = cut(kind, config, inner, adjacency.underlay_mtu);
    let protocol = match config.udp {
        Some(_) => IPPROTO_UDP,
        // In the template of minimal encapsulation it is that of fragments.
        None if config.link0 => kind.protocol(inner),
        None => IPPROTO_IPIP,
    };
    let at = usize::from(adjacency.l2_len);
    let rest = &mut adjacency.rewrite[at..];
    let mut len = match config.outer(kind) {
        Some((IpAddr::V4(src), IpAddr::V4(dst))) => {
            let (ttl, df) = (config.ttl, cut == 0);
            let outer = Ipv4Repr { src, dst, protocol, ttl, tos, id: 0, df, payload_len: 0 };
            let Ok(len) = outer.emit(rest) else { return };
            for blank in BLANK {
                rest[blank] = 0;
            }
            adjacency.partial_checksum = checksum::sum(&rest[..len]);
            len
        }
        Some((IpAddr::V6(src), IpAddr::V6(dst))) => {
            let limit = config.limit(Family::V6);
            let next = limit.map_or(protocol, |_| IPPROTO_DESTINATION_OPTIONS);
            let len = put_ipv6_header(rest, (src, dst), next, config.ttl, tos);
            let options = limit.map(|limit| limit_header(protocol, limit));
            len + options.map_or(0, |options| put(&mut rest[len..], &options))
        }
        _ => return,
    };
    adjacency.encap = match (kind, config.udp) {
        _ if !config.link0 => Encapsulation::Minimal,
        (TunnelKind::Gre, None) => Encapsulation::Gre,
        (TunnelKind::Gre, Some(_)) => Encapsulation::GreInUdp,
        (TunnelKind::Ipip, None) => Encapsulation::Ipip,
        (TunnelKind::Ipip, Some(_)) => Encapsulation::IpipInUdp,
    };
    if let (Some(udp), Some(ends)) = (&config.udp, config.outer(kind)) {
        len += put_udp_header(&mut rest[len..], udp, config.gre.sequence, ends);
    }
    if kind == TunnelKind::Gre && config.link0 {
        len += put_gre_header(&mut rest[len..], &config.gre, inner);
    }
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let options = flag(config.gre.checksum, flags::GRE_CHECKSUM)
        | flag(config.gre.sequence, flags::GRE_SEQUENCE);
    let limit = segment(config, adjacency.mtu, inner);
    adjacency.mss = limit;
    let no_ecn = flag(config.ecn == EcnMode::Compatibility, flags::NOT_ECT);
    adjacency.flags = copy_dscp | no_ecn | cut | options | flag(limit != 0, flags::CLAMP_MSS);
    adjacency.rewrite_len = (at + len) as u8;
}

/// An IPv6 header (RFC 8200 §3) without flow label and length; gives its length.
fn put_ipv6_header(
    rest: &mut [u8],
    (source, destination): (Ipv6Addr, Ipv6Addr),
    next_header: u8,
    hop_limit: u8,
    traffic_class: u8,
) -> usize {
    const LEN: usize = 40;
    let Some(header) = rest.first_chunk_mut::<LEN>() else { return 0 };
    header[..4].copy_from_slice(&(6 << 28 | u32::from(traffic_class) << 20).to_be_bytes());
    header[4..8].copy_from_slice(&[0, 0, next_header, hop_limit]);
    header[8..24].copy_from_slice(&source.octets());
    header[24..].copy_from_slice(&destination.octets());
    LEN
}

/// The UDP header without length; gives its length. A source port of 0 is for the
/// path to choose, a checksum other than 0 for it to fill in. Numbered packets
/// are one flow, or they would overtake each other.
fn put_udp_header(
    rest: &mut [u8],
    udp: &UdpSpec,
    numbered: bool,
    (local, remote): (IpAddr, IpAddr),
) -> usize {
    const FIRST_DYNAMIC: u16 = 0xc000;
    // Of the configuration, not of the interface's number: the same after a restart.
    let ends = bits(local) ^ bits(remote);
    let of_tunnel = FIRST_DYNAMIC | splitmix((ends >> 64) as u64 ^ ends as u64) as u16;
    let source = udp.source.unwrap_or(if numbered { of_tunnel } else { 0 });
    let [a, b] = source.to_be_bytes();
    let [c, d] = udp.port.to_be_bytes();
    put(rest, &[a, b, c, d, 0, 0, 0, u8::from(udp.checksum)])
}

/// Puts bytes at the start of `rest`; gives how many.
fn put(rest: &mut [u8], bytes: &[u8]) -> usize {
    let Some(room) = rest.get_mut(..bytes.len()) else { return 0 };
    room.copy_from_slice(bytes);
    bytes.len()
}

/// The GRE header, checksum and sequence number zero; gives its length.
fn put_gre_header(rest: &mut [u8], options: &GreOptions, inner: Family) -> usize {
    let header = GreRepr {
        protocol: ethertype(inner),
        checksum: options.checksum,
        key: options.key_out,
        sequence: options.sequence.then_some(0),
    };
    let len = header.emit(rest).unwrap_or(0);
    if options.checksum {
        // The path sums header and payload with a field of zero.
        rest[GRE_LEN..GRE_LEN + 2].fill(0);
    }
    len
}

// The longest we make: VLAN tag, outer IPv6, limit on nesting, UDP, GRE with all
// its words.
const _: () = assert!(18 + 40 + LIMIT_LEN + UDP_LEN + GRE_MAX_LEN <= MAX_REWRITE);
