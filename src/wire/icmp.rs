//! ICMP (RFC 792): the common header and echo. Errors are in [`error`].
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+---------------+-------------------------------+
//! |     Type      |     Code      |           Checksum            |
//! +---------------+---------------+-------------------------------+
//! | echo:      Identifier         |        Sequence Number        |
//! | frag. needed:    0            |         Next-Hop MTU          |
//! | parameter: pointer, 0         |              0                |
//! | other errors:                 0                               |
//! +---------------------------------------------------------------+
//! |  echo: data · errors: the offending datagram's first bytes    |
//! +---------------------------------------------------------------+
//! ```
//!
//! The checksum covers the whole message and no pseudo header.

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::ipv4::{self, IPV4_LEN, Ipv4Error, Ipv4Header, options};
use super::{EmitError, IPPROTO_ICMP, checksum, room};

pub mod error;

/// Bytes of the header common to all messages handled here.
pub const ICMP_LEN: usize = 8;
/// Offset of the checksum in the message.
pub const CHECKSUM_OFFSET: usize = 2;

/// Echo reply.
pub const ECHO_REPLY: u8 = 0;
/// Destination unreachable.
pub const DESTINATION_UNREACHABLE: u8 = 3;
/// Source quench (historic, RFC 6633).
pub const SOURCE_QUENCH: u8 = 4;
/// Redirect.
pub const REDIRECT: u8 = 5;
/// Echo request.
pub const ECHO_REQUEST: u8 = 8;
/// Time exceeded.
pub const TIME_EXCEEDED: u8 = 11;
/// Parameter problem.
pub const PARAMETER_PROBLEM: u8 = 12;

/// The first eight bytes of a message, in place.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct IcmpHeader {
    /// What kind of message.
    pub kind: u8,
    /// Which one of that kind.
    pub code: u8,
    /// Checksum over the message.
    pub checksum: U16,
    /// What it is depends on the type.
    pub rest: U32,
}

/// Why an ICMP message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum IcmpError {
    /// Fewer than eight bytes.
    #[error("shorter than an ICMP header")]
    TooShort,
    /// The checksum is wrong.
    #[error("bad ICMP checksum")]
    BadChecksum,
}

/// Checks a message, which must be the whole payload of its IP datagram,
/// without Ethernet padding.
#[inline]
pub fn validate(message: &[u8]) -> Result<&IcmpHeader, IcmpError> {
    let (header, _) = IcmpHeader::ref_from_prefix(message).map_err(|_| IcmpError::TooShort)?;
    if checksum::verify(message) { Ok(header) } else { Err(IcmpError::BadChecksum) }
}

impl IcmpHeader {
    /// Identifier and sequence number, if this is an echo request or reply.
    #[must_use]
    pub fn echo(&self) -> Option<Echo> {
        let reply = match self.kind {
            ECHO_REQUEST => false,
            ECHO_REPLY => true,
            _ => return None,
        };
        let rest = self.rest.get();
        Some(Echo { reply, ident: (rest >> 16) as u16, sequence: rest as u16 })
    }
}

/// An echo request or reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// False for a request.
    pub reply: bool,
    /// Tells one pinger from another.
    pub ident: u16,
    /// Tells one ping from another.
    pub sequence: u16,
}

impl Echo {
    /// Turns `message`, whose bytes behind the eighth are the data, into this
    /// echo; the checksum covers all of it. Returns the header's length.
    pub fn emit(&self, message: &mut [u8]) -> Result<usize, EmitError> {
        let header = IcmpHeader {
            kind: if self.reply { ECHO_REPLY } else { ECHO_REQUEST },
            code: 0,
            checksum: 0.into(),
            rest: (u32::from(self.ident) << 16 | u32::from(self.sequence)).into(),
        };
        room(message, ICMP_LEN)?.copy_from_slice(header.as_bytes());
        fill_checksum(message);
        Ok(ICMP_LEN)
    }
}

/// Sums a message whose checksum field is zero. At least 4 bytes.
pub(crate) fn fill_checksum(message: &mut [u8]) {
    let sum = checksum::checksum(message);
    message[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 2].copy_from_slice(&sum.to_be_bytes());
}

/// Why an echo request is not answered. The packet is untouched then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum EchoRefusal {
    /// The IPv4 header is not valid.
    #[error(transparent)]
    Ip(#[from] Ipv4Error),
    /// The ICMP message is not valid.
    #[error(transparent)]
    Icmp(#[from] IcmpError),
    /// A fragment: answer the reassembled datagram.
    #[error("echo request is a fragment")]
    Fragment,
    /// Another protocol or another ICMP type.
    #[error("not an ICMP echo request")]
    NotEchoRequest,
    /// Source-routed; a reply would have to reverse the route (RFC 1812
    /// §4.3.3.6), and source routes are discarded these days (RFC 7126 §4.3).
    #[error("source-routed echo request")]
    SourceRouted,
}

/// Turns the echo request in `packet` (an IPv4 packet to one of our unicast
/// addresses, as received) into its reply, in place: addresses swapped, type
/// and both checksums updated, `ttl` and `id` fresh. TOS, DF, options and data
/// stay as they are (RFC 1812 §4.3.2.5, §4.3.3.6).
///
/// `packet` must hold one datagram: bytes behind the total length stay as
/// they are.
pub fn answer_echo(packet: &mut [u8], ttl: u8, id: u16) -> Result<(), EchoRefusal> {
    let header_len = answerable_echo(packet)?;
    let (ip, message) = packet.split_at_mut(header_len);
    if let (Some(ip), Ok((icmp, _))) =
        (Ipv4Header::mut_from(ip), IcmpHeader::mut_from_prefix(message))
    {
        let sum = ip.checksum.get();
        let word = |ttl| u16::from_be_bytes([ttl, IPPROTO_ICMP]);
        let sum = checksum::update16(sum, word(ip.ttl), word(ttl));
        ip.checksum = checksum::update16(sum, ip.identification.get(), id).into();
        (ip.ttl, ip.identification) = (ttl, id.into());
        // Swapping addresses moves whole words: the sum does not notice.
        (ip.source, ip.destination) = (ip.destination, ip.source);

        let word = |kind| u16::from_be_bytes([kind, icmp.code]);
        let (old, new) = (word(ECHO_REQUEST), word(ECHO_REPLY));
        icmp.checksum = checksum::update16(icmp.checksum.get(), old, new).into();
        icmp.kind = ECHO_REPLY;
    }
    Ok(())
}

/// The IP header's length, if `packet` is an echo request to answer.
fn answerable_echo(packet: &[u8]) -> Result<usize, EchoRefusal> {
    let ip = ipv4::validate(packet, false)?;
    if ip.is_fragment() {
        return Err(EchoRefusal::Fragment);
    }
    if ip.protocol != IPPROTO_ICMP {
        return Err(EchoRefusal::NotEchoRequest);
    }
    let icmp = validate(&packet[ip.header_len()..ip.total_len()])?;
    if icmp.kind != ECHO_REQUEST {
        return Err(EchoRefusal::NotEchoRequest);
    }
    let mut options = options::Options::new(&packet[IPV4_LEN..ip.header_len()]);
    if options.any(|o| matches!(o.kind(), options::OPTION_LSRR | options::OPTION_SSRR)) {
        return Err(EchoRefusal::SourceRouted);
    }
    Ok(ip.header_len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ipv4::{FLAG_MF, Ipv4Repr};
    use crate::wire::testing::hex;
    use proptest::prelude::*;

    /// scapy: IP(12.0.0.1 → 12.0.0.2, id=0x1234)/ICMP(id=0x77, seq=3)/"greyhound"
    const REQUEST: &str = "4500002512340000400150a20c0000010c000002
        0800e8bb00770003 67726579686f756e64";
    /// scapy: IP(12.0.0.2 → 12.0.0.1, id=0x4321)/ICMP(type=0, id=0x77, seq=3)/"greyhound"
    const REPLY: &str = "450000254321000040011fb50c0000020c000001
        0000f0bb00770003 67726579686f756e64";

    #[test]
    fn scapy_request_becomes_scapy_reply() {
        let mut packet = hex(REQUEST);
        let echo = validate(&packet[20..]).expect("valid").echo();
        assert_eq!(echo, Some(Echo { reply: false, ident: 0x77, sequence: 3 }));
        assert_eq!(answer_echo(&mut packet, 64, 0x4321), Ok(()));
        assert_eq!(packet, hex(REPLY));
    }

    #[test]
    fn padding_survives_and_is_not_summed() {
        let mut packet = hex(REQUEST);
        packet.extend([0x5a; 9]);
        assert_eq!(answer_echo(&mut packet, 64, 0x4321), Ok(()));
        assert_eq!(packet[..37], hex(REPLY));
        assert_eq!(packet[37..], [0x5a; 9]);
    }

    #[test]
    fn what_is_not_answered_is_not_touched() {
        let fixed = |at: usize, value: u8| {
            let mut packet = hex(REQUEST);
            packet[at] = value;
            assert!(ipv4::fill_checksum(&mut packet));
            packet
        };
        let mut source_routed = hex("47000024 00010000 40010000 0c000001 0c000002
            83070409090909 00 0800f7ff00000000");
        assert!(ipv4::fill_checksum(&mut source_routed));
        let mut bad_sum = hex(REQUEST);
        bad_sum[11] ^= 1;
        for (mut packet, refusal) in [
            (fixed(6, (FLAG_MF >> 8) as u8), EchoRefusal::Fragment),
            (fixed(7, 1), EchoRefusal::Fragment),
            (fixed(9, 17), EchoRefusal::NotEchoRequest),
            (fixed(30, 7), EchoRefusal::Icmp(IcmpError::BadChecksum)),
            (fixed(3, 27), EchoRefusal::Icmp(IcmpError::TooShort)),
            (hex(REPLY), EchoRefusal::NotEchoRequest),
            (source_routed, EchoRefusal::SourceRouted),
            (bad_sum, EchoRefusal::Ip(Ipv4Error::BadChecksum)),
            (hex(REQUEST)[..36].to_vec(), EchoRefusal::Ip(Ipv4Error::Truncated)),
        ] {
            let before = packet.clone();
            assert_eq!(answer_echo(&mut packet, 64, 1), Err(refusal));
            assert_eq!(packet, before, "{refusal}");
        }
    }

    #[test]
    fn short_messages_are_refused() {
        let message = &hex(REQUEST)[20..];
        for len in 0..ICMP_LEN {
            assert_eq!(validate(&message[..len]), Err(IcmpError::TooShort));
        }
        let echo = Echo { reply: true, ident: 1, sequence: 2 };
        let needed = EmitError::NoRoom { needed: 8, available: 7 };
        assert_eq!(echo.emit(&mut [0; 7]), Err(needed));
    }

    proptest! {
        #[test]
        fn parse_of_emit_is_identity_and_etherparse_agrees(
            reply in any::<bool>(), ident in any::<u16>(), sequence in any::<u16>(),
            data in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let echo = Echo { reply, ident, sequence };
            let mut message = vec![0xaa; ICMP_LEN];
            message.extend_from_slice(&data);
            prop_assert_eq!(echo.emit(&mut message), Ok(ICMP_LEN));
            prop_assert_eq!(validate(&message).map(IcmpHeader::echo), Ok(Some(echo)));

            let header = etherparse::IcmpEchoHeader { id: ident, seq: sequence };
            let kind = if reply {
                etherparse::Icmpv4Type::EchoReply(header)
            } else {
                etherparse::Icmpv4Type::EchoRequest(header)
            };
            let theirs = etherparse::Icmpv4Header::with_checksum(kind, &data);
            prop_assert_eq!(&theirs.to_bytes()[..], &message[..ICMP_LEN]);
        }

        #[test]
        fn answers_to_etherparse_requests_are_what_etherparse_would_send(
            src in any::<[u8; 4]>(), dst in any::<[u8; 4]>(), ids in any::<(u16, u16)>(),
            data in proptest::collection::vec(any::<u8>(), 0..1473), ttl in any::<u8>(),
            id in any::<u16>(),
        ) {
            let mut packet = Vec::new();
            etherparse::PacketBuilder::ipv4(src, dst, 9)
                .icmpv4_echo_request(ids.0, ids.1)
                .write(&mut packet, &data)
                .expect("to memory");
            prop_assert_eq!(answer_echo(&mut packet, ttl, id), Ok(()));
            let ip = ipv4::validate(&packet, false).expect("valid reply");
            let got = Ipv4Repr::of(ip);
            prop_assert_eq!((got.src.octets(), got.dst.octets()), (dst, src));
            prop_assert_eq!((got.ttl, got.id), (ttl, id));
            let mut theirs = Vec::new();
            etherparse::PacketBuilder::ipv4(dst, src, ttl)
                .icmpv4_echo_reply(ids.0, ids.1)
                .write(&mut theirs, &data)
                .expect("to memory");
            prop_assert_eq!(&packet[20..], &theirs[20..]);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..99)) {
            let _ = validate(&bytes).map(IcmpHeader::echo);
            let mut bytes = bytes;
            let _ = answer_echo(&mut bytes, 64, 1);
        }
    }
}
