//! What is sent to see whether it comes back, and what came back.
//!
//! ```text
//!   keepalive  (tunnel's headers │) IPv4 A → us, TTL 255, CS6 │ GRE, protocol type 0 (, key)
//!   probe      (tunnel's headers │) IP us → asked, DF │ echo request, our identifier │ 00 01 02 …
//! ```
//!
//! The tunnel's headers are put in front on the path, as of any packet.

use std::net::{IpAddr, Ipv4Addr};

use crate::datapath::PROBE_IDENT;
use crate::wire::gre::{GreHeader, GreRepr};
use crate::wire::icmp::{Echo, ICMP_LEN};
use crate::wire::icmp6::{self, Ends, IPV6_LEN};
use crate::wire::ipv4::{self, IPV4_LEN, Ipv4Repr};
use crate::wire::{IPPROTO_GRE, IPPROTO_ICMP};

/// DSCP CS6, network control, as Cisco marks them.
const NETWORK_CONTROL: u8 = 0xc0;
/// TTL of what goes round by the far end.
const KEEPALIVE_TTL: u8 = 255;
/// TTL of probes.
const PROBE_TTL: u8 = 64;
/// Bytes of data in a probe that does not look for a size, as `ping`'s.
const DATA: u16 = 56;

/// The ends of a GRE tunnel over IPv4, and the key that comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GreEnds {
    /// Our outer address.
    pub local: Ipv4Addr,
    /// The far end's.
    pub remote: Ipv4Addr,
    /// Key of the packets the tunnel takes.
    pub key: Option<u32>,
}

/// A packet from the far end to us, for the far end to send: what Cisco calls a
/// keepalive. `number` is its identification, which comes back unless
/// somebody on the way changes it.
pub(super) fn keepalive(ends: GreEnds, number: u16) -> Vec<u8> {
    let gre = GreRepr { protocol: 0, checksum: false, key: ends.key, sequence: None };
    let ip = Ipv4Repr {
        src: ends.remote,
        dst: ends.local,
        protocol: IPPROTO_GRE,
        ttl: KEEPALIVE_TTL,
        tos: NETWORK_CONTROL,
        id: number,
        df: false,
        payload_len: gre.len(),
    };
    let mut bytes = vec![0; IPV4_LEN + gre.len()];
    // As long as they are by construction.
    let _ = gre.emit(&mut bytes[IPV4_LEN..]);
    let _ = ip.emit(&mut bytes);
    bytes
}

/// Bytes of the ordinary probe.
pub(super) const fn probe_len(to: IpAddr) -> u16 {
    let header = if to.is_ipv4() { IPV4_LEN } else { IPV6_LEN };
    (header + ICMP_LEN) as u16 + DATA
}

/// An echo request of `len` bytes, which no router may cut. `None` if the ends
/// are not of one family, or it is too short for its headers.
pub(super) fn probe(from: IpAddr, to: IpAddr, number: u16, len: u16) -> Option<Vec<u8>> {
    let echo = Echo { reply: false, ident: PROBE_IDENT, sequence: number };
    // The pattern behind the headers is the data.
    let mut bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
    match (from, to) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let payload_len = bytes.len().checked_sub(IPV4_LEN)?;
            let (protocol, ttl) = (IPPROTO_ICMP, PROBE_TTL);
            let ip =
                Ipv4Repr { src, dst, protocol, ttl, tos: 0, id: number, df: true, payload_len };
            ip.emit(&mut bytes).ok()?;
            echo.emit(&mut bytes[IPV4_LEN..]).ok()?;
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let ends = Ends { source, destination };
            let payload_len = bytes.len().checked_sub(IPV6_LEN)?;
            icmp6::emit_header(ends, PROBE_TTL, 0, payload_len, &mut bytes).ok()?;
            icmp6::emit_echo(echo, ends, &mut bytes[IPV6_LEN..]).ok()?;
        }
        _ => return None,
    }
    Some(bytes)
}

/// The number of a keepalive that came back: source, destination and protocol
/// type as sent. Its key is the path's affair, and with it the tunnel.
pub(super) fn returned_keepalive(bytes: &[u8]) -> Option<u16> {
    let ip = ipv4::validate(bytes, false).ok().filter(|ip| ip.protocol == IPPROTO_GRE)?;
    let gre = GreHeader::parse(bytes.get(ip.header_len()..ip.total_len())?).ok()?;
    (gre.protocol == 0).then(|| ip.identification.get())
}
