//! GRE: RFC 2784, with RFC 2890's key and sequence number.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-----+---------+-----+-------------------------------+
//! |C|R|K|S|s|Recur|  Flags  | Ver |         Protocol Type         |
//! +-+-+-+-+-+-----+---------+-----+-------------------------------+
//! |      Checksum (if C)          |      Reserved1 (if C)         |
//! +-------------------------------+-------------------------------+
//! |                         Key (if K)                            |
//! +---------------------------------------------------------------+
//! |                   Sequence Number (if S)                      |
//! +---------------------------------------------------------------+
//! ```
//!
//! R (routing), s (strict source route) and the upper bit of Recur are bits 1,
//! 4 and 5: RFC 1701 is not implemented, so a packet with one of them set is
//! discarded (RFC 2784 §2.3, GR-02; K and S, bits 2 and 3, came back with RFC
//! 2890). Bits 6–12 are sent as zero and ignored on receipt. Version 1 is PPTP,
//! another protocol (GR-04).
//!
//! Parsing reports *what is there*; whether a tunnel wants a checksum, a key or
//! a sequence number is its own matter: ask [`GreHeader::has_checksum`] and its
//! like.

use super::{EmitError, checksum, room};

/// Bytes of a header without optional words.
pub const GRE_LEN: usize = 4;
/// Most bytes a header can have (C, K and S).
pub const GRE_MAX_LEN: usize = 16;

/// C: checksum present.
pub const FLAG_CHECKSUM: u16 = 0x8000;
/// R: routing present (RFC 1701 only).
pub const FLAG_ROUTING: u16 = 0x4000;
/// K: key present.
pub const FLAG_KEY: u16 = 0x2000;
/// S: sequence number present.
pub const FLAG_SEQUENCE: u16 = 0x1000;
/// Bits whose presence makes a packet one of RFC 1701: 1, 4 and 5.
pub const RESERVED_MASK: u16 = 0x4c00;
/// The version's bits, 13–15.
pub const VERSION_MASK: u16 = 0x0007;

/// Why a GRE header is refused, in the order the checks are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum GreError {
    /// The bytes end within the header or within a word its flags announce.
    #[error("GRE header truncated")]
    Truncated,
    /// The version is not 0 (GR-04).
    #[error("GRE version is not 0")]
    BadVersion,
    /// A bit of RFC 1701 is set (GR-02).
    #[error("GRE reserved bit set")]
    ReservedBits,
}

/// A GRE header as received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GreHeader {
    /// The first 16 bits.
    pub flags: u16,
    /// EtherType of the payload.
    pub protocol: u16,
    /// Bytes of the whole header: 4, 8, 12 or 16.
    pub len: usize,
    /// The checksum field, if C is set. Not verified: see [`verify_checksum`].
    pub checksum: Option<u16>,
    /// The key, if K is set. Key 0 is not the same as no key.
    pub key: Option<u32>,
    /// The sequence number, if S is set.
    pub sequence: Option<u32>,
}

impl GreHeader {
    /// Reads the header at the start of `bytes`.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<GreHeader, GreError> {
        let base = word(bytes, 0)?;
        let flags = (base >> 16) as u16;
        if flags & VERSION_MASK != 0 {
            return Err(GreError::BadVersion);
        }
        if flags & RESERVED_MASK != 0 {
            return Err(GreError::ReservedBits);
        }
        let mut header = GreHeader {
            flags,
            protocol: base as u16,
            len: GRE_LEN,
            checksum: None,
            key: None,
            sequence: None,
        };
        // RFC 2890 §2: checksum, key, sequence, in this order.
        if flags & (FLAG_CHECKSUM | FLAG_KEY | FLAG_SEQUENCE) != 0 {
            if header.has_checksum() {
                header.checksum = Some((word(bytes, header.len)? >> 16) as u16);
                header.len += 4;
            }
            if header.has_key() {
                header.key = Some(word(bytes, header.len)?);
                header.len += 4;
            }
            if header.has_sequence() {
                header.sequence = Some(word(bytes, header.len)?);
                header.len += 4;
            }
        }
        Ok(header)
    }

    /// C: the sender wants its checksum verified (GR-01).
    #[inline]
    #[must_use]
    pub fn has_checksum(&self) -> bool {
        self.flags & FLAG_CHECKSUM != 0
    }

    /// K: the packet belongs to a keyed tunnel.
    #[inline]
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.flags & FLAG_KEY != 0
    }

    /// S: the packets of the tunnel are numbered.
    #[inline]
    #[must_use]
    pub fn has_sequence(&self) -> bool {
        self.flags & FLAG_SEQUENCE != 0
    }
}

#[inline]
fn word(bytes: &[u8], at: usize) -> Result<u32, GreError> {
    match bytes.get(at..at + 4) {
        Some(&[a, b, c, d]) => Ok(u32::from_be_bytes([a, b, c, d])),
        _ => Err(GreError::Truncated),
    }
}

/// True if the checksum over GRE header and payload is right (GR-06).
/// `gre` is everything from the GRE header to the end of the outer IP payload,
/// without Ethernet padding. Only for headers with C set.
#[inline]
#[must_use]
pub fn verify_checksum(gre: &[u8]) -> bool {
    checksum::verify(gre)
}

/// A GRE header to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GreRepr {
    /// EtherType of the payload.
    pub protocol: u16,
    /// Whether to send a checksum.
    pub checksum: bool,
    /// The tunnel's key.
    pub key: Option<u32>,
    /// This packet's sequence number.
    pub sequence: Option<u32>,
}

impl GreRepr {
    /// The base header of RFC 2784, four bytes.
    #[must_use]
    pub const fn base(protocol: u16) -> GreRepr {
        GreRepr { protocol, checksum: false, key: None, sequence: None }
    }

    /// Bytes this header takes: 4, 8, 12 or 16.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub const fn len(&self) -> usize {
        let words = self.checksum as usize + self.key.is_some() as usize;
        GRE_LEN + 4 * (words + self.sequence.is_some() as usize)
    }

    /// Writes the header at the start of `packet`; returns its length. The
    /// rest of `packet` must already hold the payload when a checksum is
    /// asked for: it is summed over all of `packet`.
    pub fn emit(&self, packet: &mut [u8]) -> Result<usize, EmitError> {
        let len = self.len();
        let header = room(packet, len)?;
        let mut flags = 0;
        let mut at = GRE_LEN;
        let mut put = |header: &mut [u8], flag: u16, value: u32| {
            flags |= flag;
            header[at..at + 4].copy_from_slice(&value.to_be_bytes());
            at += 4;
        };
        if self.checksum {
            put(header, FLAG_CHECKSUM, 0);
        }
        if let Some(key) = self.key {
            put(header, FLAG_KEY, key);
        }
        if let Some(sequence) = self.sequence {
            put(header, FLAG_SEQUENCE, sequence);
        }
        header[0..2].copy_from_slice(&flags.to_be_bytes());
        header[2..4].copy_from_slice(&self.protocol.to_be_bytes());
        if self.checksum {
            let sum = checksum::checksum(packet);
            packet[GRE_LEN..GRE_LEN + 2].copy_from_slice(&sum.to_be_bytes());
        }
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ETHERTYPE_IPV4;
    use crate::wire::testing::hex;
    use proptest::prelude::*;

    /// What scapy put behind each of the headers below.
    const PAYLOAD: &str =
        "4500002512340000400150a20c0000010c0000020800e8bb0077000367726579686f756e64";

    fn scapy(header: &str) -> Vec<u8> {
        hex(&(header.to_owned() + PAYLOAD))
    }

    #[test]
    fn scapy_headers_are_read_and_written_alike() {
        let base = GreRepr::base(ETHERTYPE_IPV4);
        for (header, repr) in [
            ("00000800", base),
            ("80000800 77ff0000", GreRepr { checksum: true, ..base }),
            ("20000800 deadbeef", GreRepr { key: Some(0xdead_beef), ..base }),
            (
                "b0000800 47ef0000 00000007 00000009",
                GreRepr { checksum: true, key: Some(7), sequence: Some(9), ..base },
            ),
        ] {
            let packet = scapy(header);
            let parsed = GreHeader::parse(&packet).expect("valid");
            assert_eq!(parsed.len, repr.len());
            assert_eq!((parsed.key, parsed.sequence), (repr.key, repr.sequence));
            assert_eq!(parsed.has_checksum(), repr.checksum);
            assert_eq!(parsed.checksum.is_some(), repr.checksum);
            if repr.checksum {
                assert!(verify_checksum(&packet), "{header}");
            }
            let mut again = packet.clone();
            again[..repr.len()].fill(0xaa);
            assert_eq!(repr.emit(&mut again), Ok(repr.len()));
            assert_eq!(again, packet, "{header}");
        }
    }

    #[test]
    fn each_of_the_first_sixteen_bits() {
        for bit in 0..16 {
            let flags: u16 = 0x8000 >> bit;
            let mut bytes = [0u8; GRE_MAX_LEN];
            bytes[..2].copy_from_slice(&flags.to_be_bytes());
            let got = GreHeader::parse(&bytes).map(|h| h.len);
            let expected = match bit {
                0 | 2 | 3 => Ok(8),
                1 | 4 | 5 => Err(GreError::ReservedBits),
                6..=12 => Ok(4),
                _ => Err(GreError::BadVersion),
            };
            assert_eq!(got, expected, "bit {bit}");
        }
    }

    #[test]
    fn key_zero_is_a_key() {
        let header = GreHeader::parse(&hex("20000800 00000000")).expect("valid");
        assert_eq!(header.key, Some(0));
    }

    #[test]
    fn short_headers_are_truncated() {
        for flags in [0, FLAG_CHECKSUM, FLAG_KEY, FLAG_SEQUENCE, 0xa000, 0x9000, 0x3000, 0xb000] {
            let mut bytes = vec![0u8; GRE_MAX_LEN];
            bytes[..2].copy_from_slice(&flags.to_be_bytes());
            let len = GreHeader::parse(&bytes).expect("whole").len;
            for short in 0..len {
                let got = GreHeader::parse(&bytes[..short]);
                assert_eq!(got, Err(GreError::Truncated), "{flags:#06x}, {short} bytes");
            }
            assert!(GreHeader::parse(&bytes[..len]).is_ok());
        }
        let needed = EmitError::NoRoom { needed: 4, available: 3 };
        assert_eq!(GreRepr::base(ETHERTYPE_IPV4).emit(&mut [0; 3]), Err(needed));
    }

    proptest! {
        #[test]
        fn parse_of_emit_is_identity(
            protocol in any::<u16>(), checksum in any::<bool>(), key in any::<Option<u32>>(),
            sequence in any::<Option<u32>>(), payload in proptest::collection::vec(any::<u8>(), 0..99),
        ) {
            let repr = GreRepr { protocol, checksum, key, sequence };
            let mut packet = vec![0xaa; repr.len()];
            packet.extend_from_slice(&payload);
            prop_assert_eq!(repr.emit(&mut packet), Ok(repr.len()));
            let parsed = GreHeader::parse(&packet).expect("valid");
            let back = GreRepr {
                protocol: parsed.protocol,
                checksum: parsed.has_checksum(),
                key: parsed.key,
                sequence: parsed.sequence,
            };
            prop_assert_eq!(back, repr);
            prop_assert_eq!(&packet[parsed.len..], &payload[..]);
            if checksum {
                prop_assert!(verify_checksum(&packet));
                let at = packet.len() - 1;
                packet[at] ^= 0x10;
                prop_assert!(!verify_checksum(&packet));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
            if let Ok(header) = GreHeader::parse(&bytes) {
                prop_assert!(header.len <= bytes.len());
            }
        }

        #[test]
        fn ignored_bits_change_nothing(noise in any::<u16>(), key in any::<u32>()) {
            let flags = FLAG_KEY | (noise & 0x03f8);
            let bytes = (u64::from(flags) << 48 | 0x0800 << 32 | u64::from(key)).to_be_bytes();
            let header = GreHeader::parse(&bytes).expect("bits 6 to 12 are ignored");
            prop_assert_eq!((header.len, header.protocol, header.key), (8, 0x0800, Some(key)));
        }
    }
}
