//! The IPv6 header (RFC 8200 §3), its validation, and the headers behind it.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------+-----------+---+---------------------------------------+
//! |Version|    DSCP   |ECN|              Flow Label               |
//! +-------+-----------+---+-------+---------------+---------------+
//! |        Payload Length         |  Next Header  |   Hop Limit   |
//! +-------------------------------+---------------+---------------+
//! |                  Source Address (128 bits)                    |
//! +---------------------------------------------------------------+
//! |                Destination Address (128 bits)                 |
//! +---------------------------------------------------------------+
//! ```
//!
//! There is no checksum, and a router never cuts a packet. Extension headers
//! are walked only in what is for us ([`chain`]); cutting what we send is in
//! [`fragment`], address classes in [`martian`], echo in [`echo`].

use zerocopy::byteorder::network_endian::{U16, U32, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub mod chain;
pub mod echo;
pub mod fragment;
pub mod martian;

/// Bytes of the header.
pub const IPV6_LEN: usize = 40;
/// Offset of the payload length.
pub const PAYLOAD_LENGTH_OFFSET: usize = 4;
/// Offset of the next header.
pub const NEXT_HEADER_OFFSET: usize = 6;
/// Offset of the hop limit.
pub const HOP_LIMIT_OFFSET: usize = 7;
/// Offset of source and destination.
pub const ADDRESSES_OFFSET: usize = 8;
/// Largest payload length (jumbograms, RFC 2675, are not carried).
pub const IPV6_MAX_PAYLOAD: usize = 0xffff;
/// The smallest MTU a link may have (RFC 8200 §5).
pub const IPV6_MIN_MTU: usize = 1280;

/// The 40 bytes, in place.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Ipv6Header {
    /// Version (4 bits), traffic class (8), flow label (20).
    pub version_class_flow: U32,
    /// Bytes behind the header.
    pub payload_length: U16,
    /// What is behind the header.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source address.
    pub source: U128,
    /// Destination address.
    pub destination: U128,
}

/// Which check a packet failed, in the order they are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Ipv6Error {
    /// The link delivered fewer than 40 bytes.
    #[error("shorter than an IPv6 header")]
    TooShort,
    /// The version is not 6.
    #[error("IP version is not 6")]
    BadVersion,
    /// The link delivered fewer bytes than the payload length says.
    #[error("packet shorter than its IPv6 payload length")]
    Truncated,
}

/// Checks the IPv6 packet that starts at `l3[0]`; bytes behind its payload
/// (Ethernet padding) are allowed and ignored.
pub fn validate(l3: &[u8]) -> Result<&Ipv6Header, Ipv6Error> {
    let (header, _) = Ipv6Header::ref_from_prefix(l3).map_err(|_| Ipv6Error::TooShort)?;
    if header.version() != 6 {
        return Err(Ipv6Error::BadVersion);
    }
    if l3.len() < header.total_len() {
        return Err(Ipv6Error::Truncated);
    }
    Ok(header)
}

impl Ipv6Header {
    /// The header at the start of `bytes`, unchecked but for 40 bytes being
    /// there.
    #[inline]
    #[must_use]
    pub fn ref_from(bytes: &[u8]) -> Option<&Ipv6Header> {
        Ipv6Header::ref_from_prefix(bytes).ok().map(|(header, _)| header)
    }

    /// Same, writable.
    #[inline]
    #[must_use]
    pub fn mut_from(bytes: &mut [u8]) -> Option<&mut Ipv6Header> {
        Ipv6Header::mut_from_prefix(bytes).ok().map(|(header, _)| header)
    }

    /// IP version, 6 in a valid packet.
    #[inline]
    #[must_use]
    pub fn version(&self) -> u8 {
        (self.version_class_flow.get() >> 28) as u8
    }

    /// Traffic class: DSCP and ECN, like the TOS byte of IPv4.
    #[inline]
    #[must_use]
    pub fn traffic_class(&self) -> u8 {
        (self.version_class_flow.get() >> 20) as u8
    }

    /// Replaces the traffic class.
    #[inline]
    pub fn set_traffic_class(&mut self, class: u8) {
        let rest = self.version_class_flow.get() & !(0xff << 20);
        self.version_class_flow = (rest | u32::from(class) << 20).into();
    }

    /// Header and payload in bytes.
    #[inline]
    #[must_use]
    pub fn total_len(&self) -> usize {
        IPV6_LEN + usize::from(self.payload_length.get())
    }

    /// Source address, host order.
    #[inline]
    #[must_use]
    pub fn src(&self) -> u128 {
        self.source.get()
    }

    /// Destination address, host order.
    #[inline]
    #[must_use]
    pub fn dst(&self) -> u128 {
        self.destination.get()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A packet by etherparse: UDP with a payload of `len` bytes.
    pub(crate) fn udp(src: u128, dst: u128, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        etherparse::PacketBuilder::ipv6(src.to_be_bytes(), dst.to_be_bytes(), 64)
            .udp(1000, 2000)
            .write(&mut bytes, &vec![7; len])
            .expect("to memory");
        bytes
    }

    #[test]
    fn each_check_has_its_error() {
        let good = udp(1 << 125, 2 << 125 | 5, 20);
        assert_eq!(validate(&good).map(Ipv6Header::total_len), Ok(68));
        let padded = [&good[..], &[0; 9]].concat();
        assert!(validate(&padded).is_ok());
        for len in 0..IPV6_LEN {
            assert_eq!(validate(&good[..len]), Err(Ipv6Error::TooShort));
        }
        assert_eq!(validate(&good[..67]), Err(Ipv6Error::Truncated));
        let mut other = good;
        other[0] = 0x45;
        assert_eq!(validate(&other), Err(Ipv6Error::BadVersion));
    }

    proptest! {
        #[test]
        fn etherparse_reads_the_same(
            src: u128, dst: u128, len in 0usize..200, class: u8, hops: u8, label in 0u32..1 << 20,
        ) {
            let mut bytes = udp(src, dst, len);
            let header = Ipv6Header::mut_from(&mut bytes).expect("40 bytes");
            header.version_class_flow = (6 << 28 | label).into();
            header.set_traffic_class(class);
            header.hop_limit = hops;
            let ours = *validate(&bytes).expect("valid");
            let (theirs, _) = etherparse::Ipv6Header::from_slice(&bytes).expect("valid");
            prop_assert_eq!(ours.traffic_class(), theirs.traffic_class);
            prop_assert_eq!(ours.version_class_flow.get() & 0xf_ffff, theirs.flow_label.value());
            prop_assert_eq!(ours.src().to_be_bytes(), theirs.source);
            prop_assert_eq!(ours.dst().to_be_bytes(), theirs.destination);
            prop_assert_eq!((ours.hop_limit, ours.next_header), (theirs.hop_limit, 17));
        }
    }
}
