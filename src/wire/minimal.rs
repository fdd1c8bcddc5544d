//! The minimal forwarding header (RFC 2004): eight or twelve bytes between an
//! IPv4 header, which is changed, and its payload.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+-+-------------+-------------------------------+
//! |   Protocol    |S|  reserved   |        Header Checksum        |
//! +---------------+-+-------------+-------------------------------+
//! |                 Original Destination Address                  |
//! +---------------------------------------------------------------+
//! |            Original Source Address (only if S)                |
//! +---------------------------------------------------------------+
//! ```
//!
//! The IPv4 header in front has protocol 55, the tunnel's destination, the
//! tunnel's source if S is set, and a total length greater by this header; all
//! else in it is the datagram's own. The checksum is over this header alone. A
//! datagram that is a fragment already cannot be sent like this: there is no
//! place for a second fragment offset.

use super::checksum;

/// Bytes of a header without the original source.
pub const MINIMAL_LEN: usize = 8;
/// Bytes of a header with it.
pub const MINIMAL_MAX_LEN: usize = 12;

/// S: the original source is there.
const FLAG_SOURCE: u8 = 0x80;

/// Why a minimal forwarding header is refused, in the order of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum MinimalError {
    /// The bytes end within the header.
    #[error("minimal forwarding header truncated")]
    Truncated,
    /// The header's checksum is wrong.
    #[error("bad checksum of the minimal forwarding header")]
    BadChecksum,
}

/// A minimal forwarding header: what of the original IPv4 header is kept here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Minimal {
    /// Protocol of the payload.
    pub protocol: u8,
    /// Destination of the original datagram, host byte order.
    pub destination: u32,
    /// Its source, if it is not the tunnel's.
    pub source: Option<u32>,
}

impl Minimal {
    /// Bytes of the header: 8 or 12.
    #[inline]
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub const fn len(&self) -> usize {
        if self.source.is_some() { MINIMAL_MAX_LEN } else { MINIMAL_LEN }
    }

    /// Reads and verifies the header at the start of `bytes`. The reserved bits
    /// are ignored.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Minimal, MinimalError> {
        let base: &[u8; MINIMAL_LEN] = bytes.first_chunk().ok_or(MinimalError::Truncated)?;
        let [protocol, flags, _, _, a, b, c, d] = *base;
        let source = match flags & FLAG_SOURCE {
            0 => None,
            _ => Some(bytes.get(MINIMAL_LEN..MINIMAL_MAX_LEN).ok_or(MinimalError::Truncated)?),
        };
        let word = |bytes: &[u8]| bytes.first_chunk().map_or(0, |word| u32::from_be_bytes(*word));
        let header = Minimal {
            protocol,
            destination: u32::from_be_bytes([a, b, c, d]),
            source: source.map(word),
        };
        // The reserved bits and the checksum itself are in the sum, too.
        let [_, _, c0, c1, ..] = *base;
        let first = u32::from(u16::from_be_bytes([protocol, flags]));
        let sum = header.sum_of(first) + u32::from(u16::from_be_bytes([c0, c1]));
        if checksum::finish(sum) == 0 { Ok(header) } else { Err(MinimalError::BadChecksum) }
    }

    /// The sum of the header's words, not folded: `first` and both addresses.
    #[inline]
    fn sum_of(&self, first: u32) -> u32 {
        let halves = |word: u32| (word >> 16) + (word & 0xffff);
        first + halves(self.destination) + halves(self.source.unwrap_or(0))
    }

    /// The header's bytes, of which [`Minimal::len`] count.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> [u8; MINIMAL_MAX_LEN] {
        let flags = if self.source.is_some() { FLAG_SOURCE } else { 0 };
        let first = u16::from_be_bytes([self.protocol, flags]);
        let sum = checksum::finish(self.sum_of(first.into()));
        // Whole words: who reads narrow writes back at once waits for them.
        let base = u64::from(first) << 48 | u64::from(sum) << 32 | u64::from(self.destination);
        let mut bytes = [0; MINIMAL_MAX_LEN];
        bytes[..MINIMAL_LEN].copy_from_slice(&base.to_be_bytes());
        bytes[MINIMAL_LEN..].copy_from_slice(&self.source.unwrap_or(0).to_be_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::hex;
    use proptest::prelude::*;

    /// Put together by hand: 06 + S, 10.0.0.163 and 10.0.0.25.
    #[test]
    fn known_headers_are_read_and_written_alike() {
        for (text, source) in
            [("0600 ef5c 0a0000a3", None), ("0680 e4c3 0a0000a3 0a000019", Some(0x0a00_0019))]
        {
            let bytes = hex(text);
            let header = Minimal { protocol: 6, destination: 0x0a00_00a3, source };
            let sum: u32 =
                bytes.chunks(2).map(|half| u32::from(half[0]) << 8 | u32::from(half[1])).sum();
            assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "{text}: the test's own sum");
            assert_eq!(Minimal::parse(&bytes), Ok(header));
            assert_eq!(header.bytes()[..header.len()], bytes[..]);
        }
    }

    #[test]
    fn reserved_bits_are_ignored_but_summed() {
        let mut bytes = hex("0600 ef5c 0a0000a3");
        bytes[1] = 0x7f;
        assert_eq!(Minimal::parse(&bytes), Err(MinimalError::BadChecksum));
        bytes[2..4].copy_from_slice(&(0xef5c_u16 - 0x7f).to_be_bytes());
        let header = Minimal { protocol: 6, destination: 0x0a00_00a3, source: None };
        assert_eq!(Minimal::parse(&bytes), Ok(header));
    }

    proptest! {
        #[test]
        fn parse_of_bytes_is_identity_and_any_bit_matters(
            protocol: u8, destination: u32, source: Option<u32>, bit in 0usize..96,
        ) {
            let header = Minimal { protocol, destination, source };
            let mut bytes = header.bytes()[..header.len()].to_vec();
            prop_assert_eq!(Minimal::parse(&bytes), Ok(header));
            for short in 0..header.len() {
                prop_assert_eq!(Minimal::parse(&bytes[..short]), Err(MinimalError::Truncated));
            }
            let bit = bit % (bytes.len() * 8);
            bytes[bit / 8] ^= 0x80 >> (bit % 8);
            prop_assert!(Minimal::parse(&bytes).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..16)) {
            if let Ok(header) = Minimal::parse(&bytes) {
                prop_assert!(header.len() <= bytes.len());
            }
        }
    }
}
