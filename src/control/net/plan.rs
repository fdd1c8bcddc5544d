//! Adjacencies: the finished bytes.
//!
//! ```text
//!  ├─ Ethernet 14 or 18 ─┼──────── outer IPv4 20 ────────┼─ GRE 4 to 16 (gre) ┤
//!    next hop, ours,       total length 0   id 0            flags 08 00
//!    tag, 0800             TOS  DSCP of the tunnel, 0 if    checksum 0, key,
//!                               copied; ECN 0               sequence number 0
//!                          DF   set, or clear if copied
//!                          TTL  the tunnel's
//!                          checksum 0
//! ```
//!
//! `partial_checksum` is the sum of exactly these 20 bytes: the path adds total
//! length, id, and what it changes in TOS and DF.

use super::desired::TunnelConfig;
use crate::control::topology::Link;
use crate::ids::{IfId, Mac};
use crate::model::spec::{Dscp, GreOptions, MssClamp, OuterDf, TunnelKind};
use crate::tables::adjacency::{Adjacency, AdjacencyKind, Encapsulation, MAX_REWRITE, flags};
use crate::wire::ether::EtherRepr;
use crate::wire::gre::{GRE_LEN, GRE_MAX_LEN, GreRepr};
use crate::wire::ipv4::Ipv4Repr;
use crate::wire::{ETHERTYPE_IPV4, checksum};

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
pub(super) fn neighbour(link: &Link, station: Station) -> Adjacency {
    let mut adjacency = connected(link);
    match station {
        _ if !link.up => adjacency.kind = AdjacencyKind::Unreachable,
        Station::Unknown => {}
        Station::Failed => adjacency.kind = AdjacencyKind::Unreachable,
        Station::Known(mac) => {
            adjacency.kind = AdjacencyKind::Rewrite;
            put_link_header(&mut adjacency, link, mac);
        }
    }
    adjacency
}

/// A tunnel: over a neighbour on a link, or not running.
pub(super) fn tunnel(
    id: IfId,
    kind: TunnelKind,
    config: &TunnelConfig,
    below: Option<(&Link, Station)>,
) -> Adjacency {
    let mut adjacency = Adjacency::plain(AdjacencyKind::Unreachable, id);
    adjacency.mtu = tunnel_mtu(kind, config, below.map(|(link, _)| link.mtu));
    let Some((link, station)) = below else { return adjacency };
    adjacency.port = link.port;
    adjacency.underlay_if = link.id;
    adjacency.underlay_mtu = link.mtu;
    match station {
        Station::Failed => {}
        Station::Unknown => adjacency.kind = AdjacencyKind::Resolve,
        Station::Known(mac) => {
            adjacency.kind =
                if config.link0 { AdjacencyKind::Tunnel } else { AdjacencyKind::Minimal };
            put_link_header(&mut adjacency, link, mac);
            put_tunnel_header(&mut adjacency, kind, config);
        }
    }
    adjacency
}

/// Largest inner datagram: as configured, but no more than fits the underlay; by
/// default what fits. A larger one without DF is cut, inside or (`df = "copy"`)
/// outside; one with DF has its sender told this very number.
pub(super) fn tunnel_mtu(kind: TunnelKind, config: &TunnelConfig, underlay: Option<u16>) -> u16 {
    /// What an Ethernet most likely takes, while there is no underlay.
    const USUAL: u16 = 1500;
    let fits = underlay.unwrap_or(USUAL).saturating_sub(config.overhead(kind));
    match (config.mtu, underlay) {
        (None, _) => fits,
        (Some(mtu), Some(_)) => mtu.min(fits),
        (Some(mtu), None) => mtu,
    }
}

/// IPv4 and TCP headers without options, bytes.
const HEADERS4: u16 = 40;
/// IPv6 and TCP headers without options, bytes.
const HEADERS6: u16 = 60;

/// Largest TCP segments through a tunnel of this MTU, over IPv4 and over IPv6;
/// 0: any.
pub(super) fn segments(config: &TunnelConfig, mtu: u16) -> [u16; 2] {
    [HEADERS4, HEADERS6].map(|headers| mss(config, mtu, headers))
}

fn mss(config: &TunnelConfig, mtu: u16, headers: u16) -> u16 {
    match config.mss {
        MssClamp::Off => 0,
        MssClamp::Auto => mtu.saturating_sub(headers).max(1),
        MssClamp::Fixed(bytes) => bytes,
    }
}

fn put_link_header(adjacency: &mut Adjacency, link: &Link, mac: Mac) {
    let header = EtherRepr {
        destination: mac,
        source: link.mac,
        vlan: (link.vlan != 0).then_some(link.vlan),
        ethertype: ETHERTYPE_IPV4,
    };
    let len = header.emit(&mut adjacency.rewrite).map_or(0, |len| len as u8);
    adjacency.l2_len = len;
    adjacency.rewrite_len = len;
}

/// Joins outer IPv4 (and GRE) to the link header that is there.
fn put_tunnel_header(adjacency: &mut Adjacency, kind: TunnelKind, config: &TunnelConfig) {
    let Some((local, remote)) = config.outer(kind) else { return };
    let (tos, copy_dscp) = match config.dscp {
        Dscp::Copy => (0, flags::COPY_DSCP),
        Dscp::Fixed(dscp) => (dscp << 2, 0),
    };
    let copy_df = if config.df == OuterDf::Copy { flags::COPY_DF } else { 0 };
    let outer = Ipv4Repr {
        src: local,
        dst: remote,
        // In the template of minimal encapsulation it is that of fragments.
        protocol: config.protocols(kind).last().copied().unwrap_or(kind.protocol()),
        ttl: config.ttl,
        tos,
        id: 0,
        df: copy_df == 0,
        payload_len: 0,
    };
    let at = usize::from(adjacency.l2_len);
    let rest = &mut adjacency.rewrite[at..];
    let Ok(mut len) = outer.emit(rest) else { return };
    for blank in BLANK {
        rest[blank] = 0;
    }
    adjacency.partial_checksum = checksum::sum(&rest[..len]);
    adjacency.encap = match kind {
        _ if !config.link0 => Encapsulation::Minimal,
        TunnelKind::Gre => Encapsulation::Gre,
        TunnelKind::Ipip => Encapsulation::Ipip,
    };
    if adjacency.encap == Encapsulation::Gre {
        len += put_gre_header(&mut rest[len..], &config.gre);
    }
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let options = flag(config.gre.checksum, flags::GRE_CHECKSUM)
        | flag(config.gre.sequence, flags::GRE_SEQUENCE);
    let limit = mss(config, adjacency.mtu, HEADERS4);
    adjacency.mss = limit;
    adjacency.flags = copy_dscp | copy_df | options | flag(limit != 0, flags::CLAMP_MSS);
    adjacency.rewrite_len = (at + len) as u8;
}

/// The GRE header, checksum and sequence number zero; gives its length.
fn put_gre_header(rest: &mut [u8], options: &GreOptions) -> usize {
    let header = GreRepr {
        protocol: ETHERTYPE_IPV4,
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

// The longest we make: VLAN tag, outer IPv4, GRE with all its words.
const _: () = assert!(18 + 20 + GRE_MAX_LEN <= MAX_REWRITE);
