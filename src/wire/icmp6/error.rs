//! ICMPv6 errors: what to say, to whom not, and the message itself.
//!
//! ```text
//!  0        40       48        48 + n              at most 1280 bytes
//! +--------+--------+-----------------------------+
//! | IPv6   | ICMPv6 | first n bytes of the        |
//! | (ours) | 1 to 4 | offending datagram          |
//! +--------+--------+-----------------------------+
//! ```
//!
//! The quote is as long as fits in 1280 bytes (C6-01, RFC 4443 §2.4 (c)).
//! Rate limiting (C6-03) is the caller's.

use std::net::Ipv6Addr;

use arrayvec::ArrayVec;

use super::{
    DESTINATION_UNREACHABLE, Datagram, Ends, FIRST_INFORMATIONAL, IPV6_LEN, Ipv6Error,
    PACKET_TOO_BIG, PARAMETER_PROBLEM, REDIRECT, TIME_EXCEEDED, emit_header, emit_message,
};
use crate::wire::IPPROTO_ICMPV6;
use crate::wire::icmp::{ICMP_LEN, IcmpHeader};
use crate::wire::ipv6::IPV6_MIN_MTU;

/// The longest error, IPv6 header included: what every link takes.
pub const ERROR_MAX: usize = IPV6_MIN_MTU;
/// Most bytes of the offending datagram in an error.
pub const QUOTE_MAX: usize = ERROR_MAX - IPV6_LEN - ICMP_LEN;

/// A whole ICMPv6 error, from the first byte of its IPv6 header.
pub type ErrorPacket = ArrayVec<u8, ERROR_MAX>;

/// What went wrong with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Icmp6ErrorKind {
    /// No route (type 1 code 0).
    NoRoute,
    /// Forbidden by a filter (1/1).
    AdministrativelyProhibited,
    /// The source's scope ends before the destination (1/2).
    BeyondScope,
    /// The destination or next hop does not answer (1/3, ND-02).
    AddressUnreachable,
    /// Nobody listens on that port (1/4).
    PortUnreachable,
    /// The source address failed a policy (1/5).
    SourcePolicy,
    /// A route that refuses (1/6).
    RejectRoute,
    /// Too long for the next hop (2/0, C6-04).
    PacketTooBig {
        /// The largest datagram that would have gone through, bytes.
        mtu: u32,
    },
    /// The hop limit ran out on the way (3/0, C6-04).
    HopLimitExceeded,
    /// Not all fragments arrived in time (3/1).
    ReassemblyTimeExceeded,
    /// A bad header field (4/0), next header (4/1) or option (4/2).
    ParameterProblem {
        /// Which of the three.
        code: u8,
        /// Offset of the bad byte in the datagram.
        pointer: u32,
    },
}

impl Icmp6ErrorKind {
    /// ICMPv6 type and code.
    #[must_use]
    pub fn type_code(self) -> (u8, u8) {
        match self {
            Icmp6ErrorKind::NoRoute => (DESTINATION_UNREACHABLE, 0),
            Icmp6ErrorKind::AdministrativelyProhibited => (DESTINATION_UNREACHABLE, 1),
            Icmp6ErrorKind::BeyondScope => (DESTINATION_UNREACHABLE, 2),
            Icmp6ErrorKind::AddressUnreachable => (DESTINATION_UNREACHABLE, 3),
            Icmp6ErrorKind::PortUnreachable => (DESTINATION_UNREACHABLE, 4),
            Icmp6ErrorKind::SourcePolicy => (DESTINATION_UNREACHABLE, 5),
            Icmp6ErrorKind::RejectRoute => (DESTINATION_UNREACHABLE, 6),
            Icmp6ErrorKind::PacketTooBig { .. } => (PACKET_TOO_BIG, 0),
            Icmp6ErrorKind::HopLimitExceeded => (TIME_EXCEEDED, 0),
            Icmp6ErrorKind::ReassemblyTimeExceeded => (TIME_EXCEEDED, 1),
            Icmp6ErrorKind::ParameterProblem { code, .. } => (PARAMETER_PROBLEM, code),
        }
    }

    /// The message's second word.
    #[must_use]
    pub fn rest_of_header(self) -> u32 {
        match self {
            Icmp6ErrorKind::PacketTooBig { mtu } => mtu,
            Icmp6ErrorKind::ParameterProblem { pointer, .. } => pointer,
            _ => 0,
        }
    }

    /// Reads a received error; `None` for other messages and codes.
    #[must_use]
    pub fn of(header: &IcmpHeader) -> Option<Icmp6ErrorKind> {
        let rest = header.rest.get();
        Some(match (header.kind, header.code) {
            (DESTINATION_UNREACHABLE, 0) => Icmp6ErrorKind::NoRoute,
            (DESTINATION_UNREACHABLE, 1) => Icmp6ErrorKind::AdministrativelyProhibited,
            (DESTINATION_UNREACHABLE, 2) => Icmp6ErrorKind::BeyondScope,
            (DESTINATION_UNREACHABLE, 3) => Icmp6ErrorKind::AddressUnreachable,
            (DESTINATION_UNREACHABLE, 4) => Icmp6ErrorKind::PortUnreachable,
            (DESTINATION_UNREACHABLE, 5) => Icmp6ErrorKind::SourcePolicy,
            (DESTINATION_UNREACHABLE, 6) => Icmp6ErrorKind::RejectRoute,
            // The code is to be ignored (RFC 4443 §3.2).
            (PACKET_TOO_BIG, _) => Icmp6ErrorKind::PacketTooBig { mtu: rest },
            (TIME_EXCEEDED, 0) => Icmp6ErrorKind::HopLimitExceeded,
            (TIME_EXCEEDED, 1) => Icmp6ErrorKind::ReassemblyTimeExceeded,
            (PARAMETER_PROBLEM, code @ 0..=2) => {
                Icmp6ErrorKind::ParameterProblem { code, pointer: rest }
            }
            _ => return None,
        })
    }

    /// Errors that may also be about multicast (RFC 4443 §2.4 (e.3)): path MTU
    /// discovery and options work for it too.
    fn also_about_groups(self) -> bool {
        matches!(
            self,
            Icmp6ErrorKind::PacketTooBig { .. } | Icmp6ErrorKind::ParameterProblem { code: 2, .. }
        )
    }
}

/// The error to send to the source of `offending`, an IPv6 datagram as received
/// or its first [`QUOTE_MAX`] bytes, from `address`, an address of ours.
///
/// Fails only if `offending` is no IPv6 datagram. Ask
/// [`may_answer_with_error`] first.
pub fn build_error(
    kind: Icmp6ErrorKind,
    address: Ipv6Addr,
    hop_limit: u8,
    offending: &[u8],
) -> Result<ErrorPacket, Ipv6Error> {
    build_error_from(kind, address, hop_limit, offending, QUOTE_MAX)
}

/// [`build_error`] where only the first `kept` bytes of `offending` need be
/// there: another error quoted it, and perhaps not much (RFC 2473 §8).
pub fn build_error_from(
    kind: Icmp6ErrorKind,
    address: Ipv6Addr,
    hop_limit: u8,
    offending: &[u8],
    kept: usize,
) -> Result<ErrorPacket, Ipv6Error> {
    let cause = Datagram::parse_first(offending, kept)?;
    let quote = &cause.bytes[..cause.bytes.len().min(QUOTE_MAX)];
    let ends = Ends { source: address, destination: cause.ends.source };
    let mut packet = ErrorPacket::from([0; ERROR_MAX]);
    packet.truncate(IPV6_LEN + ICMP_LEN + quote.len());
    let (icmp_type, code) = kind.type_code();
    let (header, message) = packet.split_at_mut(IPV6_LEN);
    message[ICMP_LEN..].copy_from_slice(quote);
    // At most 1280 bytes into room for as many: cannot fail.
    let done = emit_message(icmp_type, code, kind.rest_of_header(), ends, message);
    debug_assert_eq!(done, Ok(ICMP_LEN));
    let done = emit_header(ends, hop_limit, 0, message.len(), header);
    debug_assert_eq!(done, Ok(IPV6_LEN));
    Ok(packet)
}

/// False where an ICMPv6 error is forbidden (C6-02, RFC 4443 §2.4 (e)): about
/// an ICMPv6 error or a redirect; about an IP or link-layer multicast or
/// broadcast, with two exceptions; to a source that is not one node.
///
/// `packet` is the offending datagram, or its first [`QUOTE_MAX`] bytes. A
/// later fragment of an ICMPv6 message, whose type cannot be told, counts as
/// an error.
#[must_use]
pub fn may_answer_with_error(kind: Icmp6ErrorKind, packet: &[u8], link_group: bool) -> bool {
    may_answer_from(kind, packet, link_group, QUOTE_MAX)
}

/// [`may_answer_with_error`] where only the first `kept` bytes of the datagram
/// need be there.
#[must_use]
pub fn may_answer_from(kind: Icmp6ErrorKind, packet: &[u8], link_group: bool, kept: usize) -> bool {
    let Ok(datagram) = Datagram::parse_first(packet, kept) else { return false };
    let Ends { source, destination } = datagram.ends;
    if !is_one_node(source) {
        return false;
    }
    if (link_group || destination.is_multicast()) && !kind.also_about_groups() {
        return false;
    }
    let Some(upper) = datagram.upper() else {
        // A chain cut off or endless: nobody can say what it is about.
        return false;
    };
    if upper.protocol != IPPROTO_ICMPV6 {
        return true;
    }
    let icmp_type = datagram.bytes.get(upper.offset).copied();
    !upper.is_later() && icmp_type.is_some_and(|t| t >= FIRST_INFORMATIONAL && t != REDIRECT)
}

/// An address that one node has: not multicast, unspecified or loopback, and
/// not an IPv4 address in disguise.
fn is_one_node(address: Ipv6Addr) -> bool {
    !(address.is_multicast()
        || address.is_unspecified()
        || address.is_loopback()
        || address.to_ipv4_mapped().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::icmp6::validate;
    use proptest::prelude::*;

    const HOST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9);
    const OURS: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    const BEYOND: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 1);

    fn udp(from: Ipv6Addr, to: Ipv6Addr, len: usize) -> Vec<u8> {
        let mut packet = Vec::new();
        let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
        etherparse::PacketBuilder::ipv6(from.octets(), to.octets(), 1)
            .udp(1000, 33434)
            .write(&mut packet, &payload)
            .expect("to memory");
        packet
    }

    fn icmp(kind: u8) -> Vec<u8> {
        let mut packet = Vec::new();
        etherparse::PacketBuilder::ipv6(HOST.octets(), BEYOND.octets(), 1)
            .icmpv6_raw(kind, 0, [0; 4])
            .write(&mut packet, b"data")
            .expect("to memory");
        packet
    }

    #[test]
    fn c6_01_the_quote_fills_1280_bytes_and_leaves_padding_out() {
        for (len, expected) in [(0, 96), (1183, 1279), (1184, 1280), (1185, 1280), (8000, 1280)] {
            let mut packet = udp(HOST, BEYOND, len);
            let total = packet.len();
            packet.extend([0x77; 30]);
            let kind = Icmp6ErrorKind::HopLimitExceeded;
            let built = build_error(kind, OURS, 64, &packet).expect("valid");
            assert_eq!(built.len(), expected, "{len}");
            assert_eq!(built[48..], packet[..total.min(QUOTE_MAX)], "as received");
            let cut = build_error(kind, OURS, 64, &packet[..total.min(QUOTE_MAX)]);
            assert_eq!(cut, Ok(built));
        }
    }

    #[test]
    fn c6_02_errors_are_forbidden_where_rfc_4443_says() {
        let unreachable = Icmp6ErrorKind::NoRoute;
        let too_big = Icmp6ErrorKind::PacketTooBig { mtu: 1400 };
        let option = Icmp6ErrorKind::ParameterProblem { code: 2, pointer: 42 };
        let good = udp(HOST, BEYOND, 9);
        let group = Ipv6Addr::new(0xff0e, 0, 0, 0, 0, 0, 0, 5);
        assert!(may_answer_with_error(unreachable, &good, false));
        for (kind, groups) in [(unreachable, false), (too_big, true), (option, true)] {
            assert_eq!(may_answer_with_error(kind, &good, true), groups, "{kind:?}");
            let multicast = udp(HOST, group, 9);
            assert_eq!(may_answer_with_error(kind, &multicast, false), groups, "{kind:?}");
            for source in [group, Ipv6Addr::UNSPECIFIED, Ipv6Addr::LOCALHOST] {
                assert!(!may_answer_with_error(kind, &udp(source, BEYOND, 9), false), "{source}");
            }
            assert!(!may_answer_with_error(kind, &good[..47], false), "truncated");
        }
        let answered: Vec<u8> =
            (0..=255).filter(|t| may_answer_with_error(unreachable, &icmp(*t), false)).collect();
        let expected: Vec<u8> = (128..=255).filter(|t| *t != REDIRECT).collect();
        assert_eq!(answered, expected);
        let built = build_error(unreachable, OURS, 64, &good).expect("valid");
        assert!(!may_answer_with_error(unreachable, &built, false), "about an error");
    }

    #[test]
    fn later_fragments_of_icmp_are_not_answered_and_others_are() {
        for (next, offset, answered) in [(58, 0, true), (58, 8, false), (17, 8, true)] {
            let mut packet = icmp(128);
            packet.splice(40..40, [next, 0, 0, offset, 0, 0, 0, 7]);
            packet[6] = 44;
            let len = (packet.len() - 40) as u16;
            packet[4..6].copy_from_slice(&len.to_be_bytes());
            let may = may_answer_with_error(Icmp6ErrorKind::NoRoute, &packet, false);
            assert_eq!(may, answered, "{next} at {offset}");
        }
    }

    fn any_kind() -> impl Strategy<Value = Icmp6ErrorKind> {
        prop_oneof![
            Just(Icmp6ErrorKind::NoRoute),
            Just(Icmp6ErrorKind::AdministrativelyProhibited),
            Just(Icmp6ErrorKind::BeyondScope),
            Just(Icmp6ErrorKind::AddressUnreachable),
            Just(Icmp6ErrorKind::PortUnreachable),
            Just(Icmp6ErrorKind::SourcePolicy),
            Just(Icmp6ErrorKind::RejectRoute),
            any::<u32>().prop_map(|mtu| Icmp6ErrorKind::PacketTooBig { mtu }),
            Just(Icmp6ErrorKind::HopLimitExceeded),
            Just(Icmp6ErrorKind::ReassemblyTimeExceeded),
            (0u8..3, any::<u32>())
                .prop_map(|(code, pointer)| Icmp6ErrorKind::ParameterProblem { code, pointer }),
        ]
    }

    proptest! {
        #[test]
        fn parse_of_build_is_identity_and_etherparse_agrees(
            kind in any_kind(), len in 0usize..3000,
        ) {
            let cause = udp(HOST, BEYOND, len);
            let built = build_error(kind, OURS, 64, &cause).expect("valid cause");
            let datagram = Datagram::parse(&built).expect("a datagram");
            prop_assert_eq!(datagram.ends, Ends { source: OURS, destination: HOST });
            let message = datagram.icmp6().expect("ICMPv6");
            let read = validate(datagram.ends, message).map(Icmp6ErrorKind::of);
            prop_assert_eq!(read, Ok(Some(kind)));

            let theirs = etherparse::SlicedPacket::from_ip(&built).expect("their parse");
            let Some(etherparse::TransportSlice::Icmpv6(icmp)) = theirs.transport else {
                return Err(TestCaseError::fail("etherparse sees no ICMPv6"));
            };
            prop_assert_eq!((icmp.type_u8(), icmp.code_u8()), kind.type_code());
            prop_assert!(icmp.is_checksum_valid(OURS.octets(), HOST.octets()));
            prop_assert_eq!(icmp.payload(), &cause[..cause.len().min(QUOTE_MAX)]);
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..99), kind in any_kind(),
        ) {
            let _ = build_error(kind, OURS, 64, &bytes);
            let _ = may_answer_with_error(kind, &bytes, false);
        }
    }
}
