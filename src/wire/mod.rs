//! Bytes ↔ headers: no DPDK, no `unsafe`, no allocation.
//!
//! ```text
//!   frame:  ether (+802.1Q) ─┬─ arp
//!                            └─ ipv4 ─┬─ gre ── (inner) ipv4
//!                                     ├─ ipip ─ (inner) ipv4
//!                                     ├─ minimal ─ the rest of the datagram
//!                                     ├─ icmp ── quoted ipv4
//!                                     ├─ tcp (maximum segment size)
//!                                     └─ udp (ports only)
//! ```
//!
//! **Contract.** Reading is checked once: `parse`, `validate` or `ref_from`
//! look at the length, and what they return never panics, whatever the bytes.
//! Lengths a header *claims* (IHL, total length, GRE's optional words) are
//! compared with the bytes at hand before anything beyond them is touched.
//! Writing takes a slice and says how many bytes it filled, or returns
//! [`EmitError`] with nothing written. Refusals are small `Copy` enums with one
//! variant per check, so that the path can turn each into its own drop reason.
//!
//! Every file keeps the same order: RFC picture, struct, checked parse,
//! getters, emit, tests (captured bytes, round trip, arbitrary bytes, short
//! buffers). Layouts that never vary are `zerocopy` structs with big-endian
//! fields, read in place; what varies (GRE words, IP options) is read by hand.
//! Addresses are `u32` in host order where they are compared or looked up and
//! [`std::net::Ipv4Addr`] where people read them.

use std::net::IpAddr;

pub mod arp;
pub mod checksum;
pub mod ether;
pub mod gre;
pub mod icmp;
pub mod icmp6;
pub mod ipv4;
pub mod ipv6;
pub mod minimal;
pub mod reassembly;
pub mod tcp;
pub mod udp;

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of ARP (RFC 826).
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// EtherType of an 802.1Q tag.
pub const ETHERTYPE_VLAN: u16 = 0x8100;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;

/// IP protocol number of ICMP (RFC 792).
pub const IPPROTO_ICMP: u8 = 1;
/// IP protocol number of IPv4 in IP (RFC 2003).
pub const IPPROTO_IPIP: u8 = 4;
/// IP protocol number of TCP.
pub const IPPROTO_TCP: u8 = 6;
/// IP protocol number of UDP.
pub const IPPROTO_UDP: u8 = 17;
/// IP protocol number of IPv6 in IP (RFC 4213).
pub const IPPROTO_IPV6: u8 = 41;
/// IP protocol number of GRE (RFC 2784).
pub const IPPROTO_GRE: u8 = 47;
/// Next header: hop-by-hop options (RFC 8200 §4.3).
pub const IPPROTO_HOP_BY_HOP: u8 = 0;
/// Next header: routing (RFC 8200 §4.4).
pub const IPPROTO_ROUTING: u8 = 43;
/// Next header: fragment (RFC 8200 §4.5).
pub const IPPROTO_FRAGMENT: u8 = 44;
/// IP protocol number of ICMPv6 (RFC 4443).
pub const IPPROTO_ICMPV6: u8 = 58;
/// Next header: nothing follows (RFC 8200 §4.7).
pub const IPPROTO_NONE: u8 = 59;
/// Next header: destination options (RFC 8200 §4.6).
pub const IPPROTO_DESTINATION_OPTIONS: u8 = 60;
/// IP protocol number of minimal encapsulation (RFC 2004).
pub const IPPROTO_MINIMAL: u8 = 55;

/// Destination of a datagram of either family; `None` if it is too short for a
/// header or has another version.
#[must_use]
pub fn destination(datagram: &[u8]) -> Option<IpAddr> {
    match datagram.first()? >> 4 {
        4 => Some(ipv4::Ipv4Header::ref_from(datagram)?.dst_addr().into()),
        6 => {
            let header = datagram.first_chunk::<40>()?;
            Some(IpAddr::from(*header.last_chunk::<16>()?))
        }
        _ => None,
    }
}

/// Why a header was not written. Nothing has been written then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmitError {
    /// The slice is shorter than the header (and payload) to write.
    #[error("no room: {needed} bytes to write, the buffer has {available}")]
    NoRoom {
        /// Bytes that would be written.
        needed: usize,
        /// Bytes the caller gave.
        available: usize,
    },
    /// A length does not fit the field that carries it.
    #[error("too long: {length} bytes, the format carries at most {most}")]
    TooLong {
        /// The length asked for.
        length: usize,
        /// The largest the format can express.
        most: usize,
    },
}

/// The first `needed` bytes of `buffer`, or [`EmitError::NoRoom`].
fn room(buffer: &mut [u8], needed: usize) -> Result<&mut [u8], EmitError> {
    let available = buffer.len();
    buffer.get_mut(..needed).ok_or(EmitError::NoRoom { needed, available })
}

#[cfg(test)]
pub(crate) mod testing {
    //! Helpers shared by the tests of the header files.

    /// Bytes of a hex dump; blanks and line ends are ignored.
    pub fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text
            .chars()
            .filter(|c| !c.is_whitespace())
            .map(|c| c.to_digit(16).expect("hex digit") as u8)
            .collect();
        assert_eq!(digits.len() % 2, 0, "odd number of hex digits");
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }
}
