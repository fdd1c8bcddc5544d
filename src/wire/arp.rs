//! ARP for IPv4 over Ethernet (RFC 826).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------------------------------+-------------------------------+
//! |     Hardware Type (1)         |     Protocol Type (0x0800)    |
//! +---------------+---------------+-------------------------------+
//! |   HLEN (6)    |   PLEN (4)    |           Operation           |
//! +---------------+---------------+-------------------------------+
//! |               Sender Hardware Address (6 bytes)               |
//! +                               +-------------------------------+
//! |                               |  Sender Protocol Address      |
//! +-------------------------------+-------------------------------+
//! |        ... (4 bytes)          |  Target Hardware Address      |
//! +-------------------------------+                               +
//! |                                          (6 bytes)            |
//! +---------------------------------------------------------------+
//! |               Target Protocol Address (4 bytes)               |
//! +---------------------------------------------------------------+
//! ```
//!
//! The operation is kept as a number: RFC 826 merges the sender's address
//! *before* looking at it (AR-01). Whom to believe and whom to answer is
//! control's business; here are only the bytes.

use std::net::Ipv4Addr;

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{ETHERTYPE_IPV4, EmitError, room};
use crate::ids::Mac;

/// Bytes of an ARP packet for IPv4 over Ethernet.
pub const ARP_LEN: usize = 28;
/// "Who has …?"
pub const ARP_REQUEST: u16 = 1;
/// "… is at …"
pub const ARP_REPLY: u16 = 2;
/// Hardware type of Ethernet.
pub const HARDWARE_ETHERNET: u16 = 1;

/// The packet, in place.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct ArpPacket {
    /// Hardware type, 1 for Ethernet.
    pub hardware_type: U16,
    /// EtherType of the protocol whose addresses are asked for.
    pub protocol_type: U16,
    /// Bytes of a hardware address.
    pub hardware_len: u8,
    /// Bytes of a protocol address.
    pub protocol_len: u8,
    /// Request, reply or something else.
    pub operation: U16,
    /// The sender's hardware address.
    pub sender_mac: [u8; 6],
    /// The sender's protocol address.
    pub sender_ip: U32,
    /// The target's hardware address; meaningless in a request.
    pub target_mac: [u8; 6],
    /// The target's protocol address.
    pub target_ip: U32,
}

/// Why an ARP packet is not for us to understand, in the order of RFC 826's
/// "do I have the hardware type", "do I speak the protocol".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArpError {
    /// Fewer than 28 bytes.
    #[error("ARP packet shorter than 28 bytes")]
    TooShort,
    /// Not Ethernet, or not six bytes of address.
    #[error("ARP for other hardware than Ethernet")]
    NotEthernet,
    /// Not IPv4, or not four bytes of address.
    #[error("ARP for another protocol than IPv4")]
    NotIpv4,
}

/// The meaningful values of an ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArpRepr {
    /// [`ARP_REQUEST`], [`ARP_REPLY`], or an operation to ignore.
    pub operation: u16,
    /// The sender's hardware address.
    pub sender_mac: Mac,
    /// The sender's protocol address.
    pub sender_ip: Ipv4Addr,
    /// The target's hardware address; meaningless in a request.
    pub target_mac: Mac,
    /// The target's protocol address.
    pub target_ip: Ipv4Addr,
}

impl ArpRepr {
    /// Reads an ARP packet; `bytes` begins behind the Ethernet header and may
    /// carry padding.
    pub fn parse(bytes: &[u8]) -> Result<ArpRepr, ArpError> {
        let (packet, _) = ArpPacket::ref_from_prefix(bytes).map_err(|_| ArpError::TooShort)?;
        if packet.hardware_type.get() != HARDWARE_ETHERNET || packet.hardware_len != 6 {
            return Err(ArpError::NotEthernet);
        }
        if packet.protocol_type.get() != ETHERTYPE_IPV4 || packet.protocol_len != 4 {
            return Err(ArpError::NotIpv4);
        }
        Ok(ArpRepr {
            operation: packet.operation.get(),
            sender_mac: Mac(packet.sender_mac),
            sender_ip: packet.sender_ip.get().into(),
            target_mac: Mac(packet.target_mac),
            target_ip: packet.target_ip.get().into(),
        })
    }

    /// A question for the address of `target_ip`.
    #[must_use]
    pub fn request(sender_mac: Mac, sender_ip: Ipv4Addr, target_ip: Ipv4Addr) -> ArpRepr {
        ArpRepr {
            operation: ARP_REQUEST,
            sender_mac,
            sender_ip,
            target_mac: Mac::default(),
            target_ip,
        }
    }

    /// An announcement of one's own address (gratuitous ARP, RFC 5227 §3: a
    /// request whose sender and target address are the same).
    #[must_use]
    pub fn announcement(mac: Mac, ip: Ipv4Addr) -> ArpRepr {
        ArpRepr::request(mac, ip, ip)
    }

    /// The answer to this request, by the owner (or proxy) with `mac`: sender
    /// and target swapped (RFC 826), claiming the address that was asked for.
    #[must_use]
    pub fn answer(&self, mac: Mac) -> ArpRepr {
        ArpRepr {
            operation: ARP_REPLY,
            sender_mac: mac,
            sender_ip: self.target_ip,
            target_mac: self.sender_mac,
            target_ip: self.sender_ip,
        }
    }

    /// True if the sender announces an address rather than asking for one.
    #[must_use]
    pub fn is_announcement(&self) -> bool {
        self.sender_ip == self.target_ip
    }

    /// Writes the 28 bytes at the start of `buffer`; returns their number.
    pub fn emit(&self, buffer: &mut [u8]) -> Result<usize, EmitError> {
        let packet = ArpPacket {
            hardware_type: HARDWARE_ETHERNET.into(),
            protocol_type: ETHERTYPE_IPV4.into(),
            hardware_len: 6,
            protocol_len: 4,
            operation: self.operation.into(),
            sender_mac: self.sender_mac.0,
            sender_ip: u32::from(self.sender_ip).into(),
            target_mac: self.target_mac.0,
            target_ip: u32::from(self.target_ip).into(),
        };
        room(buffer, ARP_LEN)?.copy_from_slice(packet.as_bytes());
        Ok(ARP_LEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::hex;
    use proptest::prelude::*;

    const A: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const B: Mac = Mac([2, 0, 0, 0, 0, 2]);
    /// scapy: ARP(op=1, hwsrc=A, psrc="10.0.0.25", pdst="10.0.0.163")
    const REQUEST: &str = "0001 0800 06 04 0001 020000000001 0a000019 000000000000 0a0000a3";
    /// scapy: ARP(op=2, hwsrc=B, psrc="10.0.0.163", hwdst=A, pdst="10.0.0.25")
    const REPLY: &str = "0001 0800 06 04 0002 020000000002 0a0000a3 020000000001 0a000019";

    fn emitted(repr: &ArpRepr) -> Vec<u8> {
        let mut bytes = vec![0xaa; ARP_LEN];
        assert_eq!(repr.emit(&mut bytes), Ok(ARP_LEN));
        bytes
    }

    #[test]
    fn scapy_question_and_answer() {
        let request = ArpRepr::request(A, [10, 0, 0, 25].into(), [10, 0, 0, 163].into());
        assert_eq!(emitted(&request), hex(REQUEST));
        assert_eq!(ArpRepr::parse(&hex(REQUEST)), Ok(request));
        assert_eq!(emitted(&request.answer(B)), hex(REPLY));
        assert!(!request.is_announcement());
        assert!(ArpRepr::announcement(A, [10, 0, 0, 25].into()).is_announcement());
    }

    #[test]
    fn padding_is_ignored_and_other_worlds_are_refused() {
        let mut bytes = hex(REPLY);
        bytes.extend([0; 18]);
        assert_eq!(ArpRepr::parse(&bytes).map(|r| r.operation), Ok(ARP_REPLY));
        for (at, value, error) in [
            (1, 6, ArpError::NotEthernet),
            (4, 8, ArpError::NotEthernet),
            (3, 6, ArpError::NotIpv4),
            (5, 16, ArpError::NotIpv4),
        ] {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            assert_eq!(ArpRepr::parse(&bytes), Err(error), "byte {at}");
        }
        for len in 0..ARP_LEN {
            assert_eq!(ArpRepr::parse(&bytes[..len]), Err(ArpError::TooShort));
        }
        let repr = ArpRepr::parse(&bytes).expect("valid");
        let needed = EmitError::NoRoom { needed: 28, available: 27 };
        assert_eq!(repr.emit(&mut [0; 27]), Err(needed));
    }

    proptest! {
        #[test]
        fn parse_of_emit_is_identity_and_etherparse_agrees(
            operation in any::<u16>(), macs in any::<[[u8; 6]; 2]>(), ips in any::<[u32; 2]>(),
        ) {
            let repr = ArpRepr {
                operation,
                sender_mac: Mac(macs[0]),
                sender_ip: ips[0].into(),
                target_mac: Mac(macs[1]),
                target_ip: ips[1].into(),
            };
            let bytes = emitted(&repr);
            prop_assert_eq!(ArpRepr::parse(&bytes), Ok(repr));
            let theirs = etherparse::ArpPacketSlice::from_slice(&bytes).expect("their parse");
            prop_assert_eq!(theirs.operation().0, operation);
            prop_assert_eq!(theirs.sender_hw_addr(), &macs[0][..]);
            prop_assert_eq!(theirs.sender_protocol_addr(), &ips[0].to_be_bytes()[..]);
            prop_assert_eq!(theirs.target_hw_addr(), &macs[1][..]);
            prop_assert_eq!(theirs.target_protocol_addr(), &ips[1].to_be_bytes()[..]);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = ArpRepr::parse(&bytes);
        }
    }
}
