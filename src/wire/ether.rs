//! Ethernet II with at most one 802.1Q tag.
//!
//! ```text
//!  0        6        12       14                     untagged, 14 bytes
//! +--------+--------+--------+----
//! |  dst   |  src   |  type  | payload
//! +--------+--------+--------+----
//!  0        6        12       14       16       18   tagged, 18 bytes
//! +--------+--------+--------+--------+--------+----
//! |  dst   |  src   |  8100  |  TCI   |  type  | payload
//! +--------+--------+--------+--------+--------+----
//!                              TCI: PCP(3) DEI(1) VID(12)
//! ```
//!
//! A second tag is not looked into: the frame's EtherType is then that of the
//! inner tag, which nobody claims. A type below [`ETHERTYPE_MIN`] is an IEEE
//! 802.3 length (LLC frames: STP, LLDP's elders), likewise claimed by nobody.

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{ETHERTYPE_VLAN, EmitError, room};
use crate::ids::Mac;

/// Bytes of an untagged Ethernet header.
pub const ETHER_LEN: usize = 14;
/// Bytes an 802.1Q tag adds.
pub const VLAN_LEN: usize = 4;
/// Where the EtherType (or the tag's 0x8100) is.
pub const ETHERTYPE_OFFSET: usize = 12;
/// Shortest frame on the wire, without FCS; shorter ones are padded with zeros.
pub const MIN_FRAME: usize = 60;
/// Smaller "types" are 802.3 lengths.
pub const ETHERTYPE_MIN: u16 = 0x0600;
/// The VLAN id's bits in a TCI.
pub const VID_MASK: u16 = 0x0fff;

/// The fixed part, in place.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct EtherHeader {
    /// Destination address.
    pub destination: [u8; 6],
    /// Source address.
    pub source: [u8; 6],
    /// EtherType, or 0x8100 when an 802.1Q tag follows.
    pub ethertype: U16,
}

/// What follows the 0x8100 of a tagged frame, in place.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct VlanTag {
    /// Priority, drop-eligible bit and VLAN id.
    pub tci: U16,
    /// EtherType of the payload.
    pub ethertype: U16,
}

impl EtherHeader {
    /// The header at the start of `frame`, or `None` below 14 bytes.
    #[inline]
    #[must_use]
    pub fn ref_from(frame: &[u8]) -> Option<&EtherHeader> {
        EtherHeader::ref_from_prefix(frame).ok().map(|(header, _)| header)
    }

    /// Same, writable.
    #[inline]
    #[must_use]
    pub fn mut_from(frame: &mut [u8]) -> Option<&mut EtherHeader> {
        EtherHeader::mut_from_prefix(frame).ok().map(|(header, _)| header)
    }
}

/// Why a frame has no usable Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EtherError {
    /// Fewer than 14 bytes, or fewer than 18 with a tag.
    #[error("frame shorter than its Ethernet header")]
    TooShort,
}

/// The meaningful values of an Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EtherRepr {
    /// Destination address.
    pub destination: Mac,
    /// Source address.
    pub source: Mac,
    /// The TCI of the 802.1Q tag, if the frame has one.
    pub vlan: Option<u16>,
    /// EtherType of what follows (behind the tag).
    pub ethertype: u16,
}

impl EtherRepr {
    /// Reads the header at the start of `frame`; the payload begins at
    /// [`EtherRepr::len`].
    #[inline]
    pub fn parse(frame: &[u8]) -> Result<EtherRepr, EtherError> {
        let (header, rest) =
            EtherHeader::ref_from_prefix(frame).map_err(|_| EtherError::TooShort)?;
        let mut repr = EtherRepr {
            destination: Mac(header.destination),
            source: Mac(header.source),
            vlan: None,
            ethertype: header.ethertype.get(),
        };
        if repr.ethertype == ETHERTYPE_VLAN {
            let (tag, _) = VlanTag::ref_from_prefix(rest).map_err(|_| EtherError::TooShort)?;
            repr.vlan = Some(tag.tci.get());
            repr.ethertype = tag.ethertype.get();
        }
        Ok(repr)
    }

    /// The VLAN the frame belongs to. VID 0 ("priority tag") carries only a
    /// priority and means untagged (IEEE 802.1Q §6.9.1).
    #[inline]
    #[must_use]
    pub fn vid(&self) -> Option<u16> {
        self.vlan.map(|tci| tci & VID_MASK).filter(|&vid| vid != 0)
    }

    /// Bytes this header takes: 14 or 18.
    #[inline]
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        if self.vlan.is_some() { ETHER_LEN + VLAN_LEN } else { ETHER_LEN }
    }

    /// Writes the header at the start of `buffer`; returns its length.
    pub fn emit(&self, buffer: &mut [u8]) -> Result<usize, EmitError> {
        let len = self.len();
        let out = room(buffer, len)?;
        let outer = if self.vlan.is_some() { ETHERTYPE_VLAN } else { self.ethertype };
        let header = EtherHeader {
            destination: self.destination.0,
            source: self.source.0,
            ethertype: outer.into(),
        };
        out[..ETHER_LEN].copy_from_slice(header.as_bytes());
        if let Some(tci) = self.vlan {
            let tag = VlanTag { tci: tci.into(), ethertype: self.ethertype.into() };
            out[ETHER_LEN..].copy_from_slice(tag.as_bytes());
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

    #[test]
    fn captured_untagged_and_tagged() {
        // scapy: Ether(dst=02::02, src=02::01)[/Dot1Q(vlan=20, prio=5)]/IP
        let plain = hex("020000000002 020000000001 0800 4500");
        let repr = EtherRepr::parse(&plain).expect("14 bytes");
        assert_eq!(repr.destination, Mac([2, 0, 0, 0, 0, 2]));
        assert_eq!(repr.source, Mac([2, 0, 0, 0, 0, 1]));
        assert_eq!((repr.vid(), repr.ethertype, repr.len()), (None, ETHERTYPE_IPV4, 14));

        let tagged = hex("020000000002 020000000001 8100 a014 0800 4500");
        let repr = EtherRepr::parse(&tagged).expect("18 bytes");
        assert_eq!(repr.vlan, Some(0xa014));
        assert_eq!((repr.vid(), repr.ethertype, repr.len()), (Some(20), ETHERTYPE_IPV4, 18));
    }

    #[test]
    fn priority_tag_is_untagged_and_second_tag_is_not_opened() {
        let priority = hex("020000000002 020000000001 8100 e000 0800");
        let repr = EtherRepr::parse(&priority).expect("whole");
        assert_eq!((repr.vid(), repr.len()), (None, 18));
        let double = hex("020000000002 020000000001 8100 0014 8100 0015 0800");
        let repr = EtherRepr::parse(&double).expect("whole");
        assert_eq!((repr.vid(), repr.ethertype), (Some(20), ETHERTYPE_VLAN));
    }

    #[test]
    fn short_frames_are_refused() {
        let tagged = hex("020000000002 020000000001 8100 a014 0800");
        for len in 0..tagged.len() {
            let got = EtherRepr::parse(&tagged[..len]);
            assert_eq!(got, Err(EtherError::TooShort), "{len} bytes");
        }
        assert!(EtherRepr::parse(&tagged).is_ok());
        let repr = EtherRepr::parse(&tagged).expect("whole");
        assert_eq!(repr.emit(&mut [0; 17]), Err(EmitError::NoRoom { needed: 18, available: 17 }));
    }

    #[test]
    fn etherparse_agrees() {
        let built = etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .single_vlan(etherparse::VlanId::try_new(77).expect("12 bits"))
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .udp(1, 2);
        let mut frame = Vec::new();
        built.write(&mut frame, &[]).expect("to memory");
        let repr = EtherRepr::parse(&frame).expect("whole");
        assert_eq!((repr.vid(), repr.ethertype), (Some(77), ETHERTYPE_IPV4));
        let mut again = [0; 18];
        assert_eq!(repr.emit(&mut again), Ok(18));
        assert_eq!(again, frame[..18]);
    }

    proptest! {
        #[test]
        fn parse_of_emit_is_identity(
            destination in any::<[u8; 6]>(), source in any::<[u8; 6]>(),
            vlan in any::<Option<u16>>(), ethertype in any::<u16>(),
        ) {
            // Untagged with type 0x8100 is what a tag looks like.
            prop_assume!(vlan.is_some() || ethertype != ETHERTYPE_VLAN);
            let repr =
                EtherRepr { destination: Mac(destination), source: Mac(source), vlan, ethertype };
            let mut buffer = [0xaa; 20];
            let len = repr.emit(&mut buffer).expect("room");
            prop_assert_eq!(EtherRepr::parse(&buffer[..len]), Ok(repr));
            prop_assert!(buffer[len..].iter().all(|&b| b == 0xaa));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(repr) = EtherRepr::parse(&bytes) {
                prop_assert!(repr.len() <= bytes.len());
            }
        }
    }
}
