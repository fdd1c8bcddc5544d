//! UDP (RFC 768), as far as a gateway looks into it: ports and length, and
//! the checksum for datagrams control makes or checks.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------------------------------+-------------------------------+
//! |          Source Port          |       Destination Port        |
//! +-------------------------------+-------------------------------+
//! |            Length             |   Checksum (0 = not used)     |
//! +-------------------------------+-------------------------------+
//! ```

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{IPPROTO_UDP, checksum};

/// Bytes of the header.
pub const UDP_LEN: usize = 8;

/// The header, in place.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct UdpHeader {
    /// Source port.
    pub source: U16,
    /// Destination port.
    pub destination: U16,
    /// Header and payload in bytes.
    pub length: U16,
    /// Checksum over pseudo header, header and payload; 0 if not used.
    pub checksum: U16,
}

/// Why a UDP datagram is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UdpError {
    /// Fewer than 8 bytes.
    #[error("shorter than a UDP header")]
    TooShort,
    /// The length field is below 8 or exceeds the IP payload.
    #[error("UDP length contradicts the IP payload")]
    BadLength,
    /// The checksum is wrong.
    #[error("bad UDP checksum")]
    BadChecksum,
}

/// Checks a UDP datagram that is the whole payload of an IPv4 packet between
/// `src` and `dst` (host order). Only such a datagram is worth a "port
/// unreachable".
pub fn validate(datagram: &[u8], src: u32, dst: u32) -> Result<&UdpHeader, UdpError> {
    let (header, covered) = parse(datagram)?;
    if header.checksum.get() != 0
        && checksum::fold(pseudo_sum(src, dst, header.length.get()) + checksum::sum(covered))
            != 0xffff
    {
        return Err(UdpError::BadChecksum);
    }
    Ok(header)
}

/// The header of a datagram and all that its length covers, the header
/// included; whatever the checksum.
pub fn parse(datagram: &[u8]) -> Result<(&UdpHeader, &[u8]), UdpError> {
    let (header, _) = UdpHeader::ref_from_prefix(datagram).map_err(|_| UdpError::TooShort)?;
    let length = usize::from(header.length.get());
    let covered = datagram.get(..length).filter(|d| d.len() >= UDP_LEN);
    Ok((header, covered.ok_or(UdpError::BadLength)?))
}

/// Sum of the pseudo header of either family (RFC 768, RFC 8200 §8.1) and of
/// `covered`, folded: 0xffff if the checksum there is right. `ends` are both
/// addresses as they are in the IP header.
pub fn sum(ends: &[u8], covered: &[u8]) -> u16 {
    let pseudo = checksum::sum(ends) + u32::from(IPPROTO_UDP) + covered.len() as u32;
    checksum::fold(pseudo + checksum::sum(covered))
}

/// Sum of the IPv4 pseudo header (RFC 768), to be added to that of the datagram.
fn pseudo_sum(src: u32, dst: u32, length: u16) -> u32 {
    let halves = |a: u32| (a >> 16) + (a & 0xffff);
    halves(src) + halves(dst) + u32::from(IPPROTO_UDP) + u32::from(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::hex;
    use proptest::prelude::*;

    const SRC: u32 = 0x0a01_0203;
    const DST: u32 = 0x0a04_0506;
    /// scapy: IP(10.1.2.3 → 10.4.5.6)/UDP(1000, 33434)/"abcdefgh"
    const DATAGRAM: &str = "03e8829a0010cca8 6162636465666768";

    #[test]
    fn captured_traceroute_probe() {
        let bytes = hex(DATAGRAM);
        let header = validate(&bytes, SRC, DST).expect("valid");
        assert_eq!((header.source.get(), header.destination.get()), (1000, 33_434));
        assert_eq!(validate(&bytes, SRC, DST + 1), Err(UdpError::BadChecksum));
    }

    #[test]
    fn lengths_and_absent_checksums() {
        let mut bytes = hex(DATAGRAM);
        assert_eq!(validate(&bytes[..7], SRC, DST), Err(UdpError::TooShort));
        assert_eq!(validate(&bytes[..15], SRC, DST), Err(UdpError::BadLength));
        bytes[6..8].fill(0);
        assert!(validate(&bytes, SRC, DST + 1).is_ok());
        bytes[5] = 7;
        assert_eq!(validate(&bytes, SRC, DST), Err(UdpError::BadLength));
    }

    proptest! {
        #[test]
        fn etherparse_datagrams_are_valid(
            src in any::<u32>(), dst in any::<u32>(), ports in any::<(u16, u16)>(),
            payload in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut packet = Vec::new();
            etherparse::PacketBuilder::ipv4(src.to_be_bytes(), dst.to_be_bytes(), 64)
                .udp(ports.0, ports.1)
                .write(&mut packet, &payload)
                .expect("to memory");
            let header = validate(&packet[20..], src, dst).expect("valid");
            prop_assert_eq!((header.source.get(), header.destination.get()), ports);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = validate(&bytes, SRC, DST);
        }
    }
}
