//! ICMP errors: what to say, to whom not, and the message itself.
//!
//! ```text
//!  0        20       28        28 + n                at most 576 bytes
//! +--------+--------+-----------------------------+
//! | IPv4   | ICMP   | first n bytes of the        |
//! | (ours) | 3/11/12| offending datagram          |
//! +--------+--------+-----------------------------+
//! ```
//!
//! The quote is as long as fits in 576 bytes (IC-05, RFC 1812 §4.3.2.3: eight
//! bytes of payload would not show what went through a tunnel) and must be the
//! datagram *as received*, so it is taken before the TTL is decremented.
//! Rate limiting (IC-04) is the caller's.

use std::net::Ipv4Addr;

use arrayvec::ArrayVec;
use zerocopy::IntoBytes;

use super::{
    DESTINATION_UNREACHABLE, ECHO_REPLY, ECHO_REQUEST, ICMP_LEN, IcmpHeader, PARAMETER_PROBLEM,
    TIME_EXCEEDED, fill_checksum,
};
use crate::wire::IPPROTO_ICMP;
use crate::wire::ipv4::martian::{is_limited_broadcast, is_martian_source, is_multicast};
use crate::wire::ipv4::{self, IPV4_LEN, Ipv4Error, Ipv4Repr};

/// Longest ICMP error, IP header included (RFC 1812 §4.3.2.3).
pub const ERROR_MAX: usize = 576;
/// Most bytes of the offending datagram in an error.
pub const QUOTE_MAX: usize = ERROR_MAX - IPV4_LEN - ICMP_LEN;
/// The least MTU an IPv4 link can have, and so the least to advertise (IC-02).
pub const MIN_MTU: u16 = 68;
/// Precedence "internetwork control", which errors are sent with (RFC 1812
/// §4.3.2.5).
pub const TOS_INTERNETWORK_CONTROL: u8 = 0xc0;
/// The TOS bits an error takes over from its cause: neither its precedence
/// nor its ECN field (errors are not ECN-capable).
const TOS_KEPT: u8 = 0x1c;

/// A whole ICMP error, from the first byte of its IP header.
pub type ErrorPacket = ArrayVec<u8, ERROR_MAX>;

/// What went wrong with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IcmpErrorKind {
    /// No route (type 3 code 0, IC-09).
    NetUnreachable,
    /// The destination or next hop does not answer ARP (3/1, IC-09).
    HostUnreachable,
    /// Nobody here speaks that protocol (3/2).
    ProtocolUnreachable,
    /// Nobody listens on that port (3/3).
    PortUnreachable,
    /// Too long for the next hop and DF set (3/4, IC-01).
    FragmentationNeeded {
        /// The largest datagram that would have gone through, in bytes
        /// (RFC 1191); sent as at least [`MIN_MTU`].
        mtu: u16,
    },
    /// Forbidden by a filter (3/13, RT-16).
    AdministrativelyProhibited,
    /// The TTL ran out on the way (11/0, IC-10).
    TtlExceeded,
    /// Not all fragments arrived in time (11/1).
    ReassemblyTimeExceeded,
    /// A bad header field or option (12/0).
    ParameterProblem {
        /// Offset of the bad byte in the datagram.
        pointer: u8,
    },
}

impl IcmpErrorKind {
    /// ICMP type and code.
    #[must_use]
    pub fn type_code(self) -> (u8, u8) {
        match self {
            IcmpErrorKind::NetUnreachable => (DESTINATION_UNREACHABLE, 0),
            IcmpErrorKind::HostUnreachable => (DESTINATION_UNREACHABLE, 1),
            IcmpErrorKind::ProtocolUnreachable => (DESTINATION_UNREACHABLE, 2),
            IcmpErrorKind::PortUnreachable => (DESTINATION_UNREACHABLE, 3),
            IcmpErrorKind::FragmentationNeeded { .. } => (DESTINATION_UNREACHABLE, 4),
            IcmpErrorKind::AdministrativelyProhibited => (DESTINATION_UNREACHABLE, 13),
            IcmpErrorKind::TtlExceeded => (TIME_EXCEEDED, 0),
            IcmpErrorKind::ReassemblyTimeExceeded => (TIME_EXCEEDED, 1),
            IcmpErrorKind::ParameterProblem { .. } => (PARAMETER_PROBLEM, 0),
        }
    }

    /// The message's second word.
    #[must_use]
    pub fn rest_of_header(self) -> u32 {
        match self {
            IcmpErrorKind::FragmentationNeeded { mtu } => u32::from(mtu.max(MIN_MTU)),
            IcmpErrorKind::ParameterProblem { pointer } => u32::from(pointer) << 24,
            _ => 0,
        }
    }

    /// Reads a received error; `None` for other messages and codes. The quote
    /// is what follows the header. A next-hop MTU of 0 comes from a router
    /// older than RFC 1191.
    #[must_use]
    pub fn of(header: &IcmpHeader) -> Option<IcmpErrorKind> {
        let rest = header.rest.get();
        Some(match (header.kind, header.code) {
            (DESTINATION_UNREACHABLE, 0) => IcmpErrorKind::NetUnreachable,
            (DESTINATION_UNREACHABLE, 1) => IcmpErrorKind::HostUnreachable,
            (DESTINATION_UNREACHABLE, 2) => IcmpErrorKind::ProtocolUnreachable,
            (DESTINATION_UNREACHABLE, 3) => IcmpErrorKind::PortUnreachable,
            (DESTINATION_UNREACHABLE, 4) => IcmpErrorKind::FragmentationNeeded { mtu: rest as u16 },
            (DESTINATION_UNREACHABLE, 13) => IcmpErrorKind::AdministrativelyProhibited,
            (TIME_EXCEEDED, 0) => IcmpErrorKind::TtlExceeded,
            (TIME_EXCEEDED, 1) => IcmpErrorKind::ReassemblyTimeExceeded,
            (PARAMETER_PROBLEM, 0) => {
                IcmpErrorKind::ParameterProblem { pointer: (rest >> 24) as u8 }
            }
            _ => return None,
        })
    }
}

/// The IP side of an error: who says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorSender {
    /// An address of the interface the error leaves by (IC-06).
    pub address: Ipv4Addr,
    /// A fresh TTL, not the offending datagram's (IC-06).
    pub ttl: u8,
    /// A fresh identification: errors are sent with DF clear (V4-04).
    pub id: u16,
}

/// The error to send to the source of `offending`, an IPv4 packet as received
/// (padding behind its total length is not quoted), or its first [`QUOTE_MAX`]
/// bytes.
///
/// Fails only if `offending` is not a valid IPv4 packet. Ask
/// [`may_answer_with_error`] first.
pub fn build_error(
    kind: IcmpErrorKind,
    sender: ErrorSender,
    offending: &[u8],
) -> Result<ErrorPacket, Ipv4Error> {
    build_error_from(kind, sender, offending, QUOTE_MAX)
}

/// [`build_error`] where only the first `kept` bytes of `offending` need be
/// there: another error quoted it, and perhaps not much (RFC 2003 §4).
pub fn build_error_from(
    kind: IcmpErrorKind,
    sender: ErrorSender,
    offending: &[u8],
    kept: usize,
) -> Result<ErrorPacket, Ipv4Error> {
    let cause = ipv4::validate_first(offending, kept, true)?;
    let quote = &offending[..cause.total_len().min(QUOTE_MAX).min(offending.len())];
    let (icmp_type, code) = kind.type_code();
    let icmp = IcmpHeader {
        kind: icmp_type,
        code,
        checksum: 0.into(),
        rest: kind.rest_of_header().into(),
    };
    let ip = Ipv4Repr {
        src: sender.address,
        dst: cause.src_addr(),
        protocol: IPPROTO_ICMP,
        ttl: sender.ttl,
        tos: TOS_INTERNETWORK_CONTROL | (cause.tos & TOS_KEPT),
        id: sender.id,
        df: false,
        payload_len: ICMP_LEN + quote.len(),
    };
    let mut packet = ErrorPacket::from([0; ERROR_MAX]);
    packet.truncate(IPV4_LEN + ip.payload_len);
    // At most 576 bytes into room for as many: cannot fail.
    let written = ip.emit(&mut packet);
    debug_assert_eq!(written, Ok(IPV4_LEN));
    let message = &mut packet[IPV4_LEN..];
    message[..ICMP_LEN].copy_from_slice(icmp.as_bytes());
    message[ICMP_LEN..].copy_from_slice(quote);
    fill_checksum(message);
    Ok(packet)
}

/// False where an ICMP error is forbidden (IC-03, RFC 1812 §4.3.2.7): about an
/// ICMP error, a packet whose header fails validation, an IP or link-layer
/// broadcast or multicast, an invalid or net-0 source, or a fragment other
/// than the first.
///
/// `packet` is the offending IPv4 packet, or its first [`QUOTE_MAX`] bytes.
/// Broadcasts of a *subnet*, as source
/// or destination, cannot be told by their looks: whoever knows the subnets
/// asks for those. ICMP types nobody has assigned count as errors.
#[must_use]
pub fn may_answer_with_error(packet: &[u8], link_broadcast_or_multicast: bool) -> bool {
    may_answer_from(packet, link_broadcast_or_multicast, QUOTE_MAX)
}

/// [`may_answer_with_error`] where only the first `kept` bytes of the packet
/// need be there.
#[must_use]
pub fn may_answer_from(packet: &[u8], link_broadcast_or_multicast: bool, kept: usize) -> bool {
    let Ok(ip) = ipv4::validate_first(packet, kept, false) else {
        return false;
    };
    let destination = ip.dst();
    if link_broadcast_or_multicast
        || is_multicast(destination)
        || is_limited_broadcast(destination)
        || is_martian_source(ip.src())
        || ip.is_later_fragment()
    {
        return false;
    }
    let payload = &packet[ip.header_len()..ip.total_len().min(packet.len())];
    ip.protocol != IPPROTO_ICMP || payload.first().is_some_and(|&kind| is_query(kind))
}

/// ICMP types that ask or answer: echo, router discovery (RFC 1256),
/// timestamp, information, address mask, extended echo (RFC 8335).
fn is_query(kind: u8) -> bool {
    matches!(kind, ECHO_REPLY | ECHO_REQUEST | 9 | 10 | 13..=18 | 42 | 43)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::icmp::validate;
    use crate::wire::testing::hex;
    use proptest::prelude::*;

    /// scapy: IP(10.1.2.3 → 10.4.5.6, id=7, ttl=9)/UDP(1000, 33434)/"abcdefgh"
    const PROBE: &str = "4500002400070000091196b50a0102030a040506
        03e8829a0010cca86162636465666768";
    const SENDER: ErrorSender =
        ErrorSender { address: Ipv4Addr::new(10, 4, 5, 6), ttl: 64, id: 0x55 };

    /// A valid packet with one byte changed.
    fn probe_with(changes: &[(usize, u8)]) -> Vec<u8> {
        let mut packet = hex(PROBE);
        for &(at, value) in changes {
            packet[at] = value;
        }
        assert!(ipv4::fill_checksum(&mut packet));
        packet
    }

    #[test]
    fn same_errors_as_scapy() {
        // scapy: IP(10.4.5.6 → 10.1.2.3, tos=0xc0, id=0x55, ttl=64)/ICMP(…)/PROBE
        let ip = "45c000400055000040015e9b0a0405060a010203";
        for (kind, icmp) in [
            (IcmpErrorKind::PortUnreachable, "0303182c00000000"),
            (IcmpErrorKind::FragmentationNeeded { mtu: 1476 }, "03041267000005c4"),
            (IcmpErrorKind::TtlExceeded, "0b00102f00000000"),
        ] {
            let built = build_error(kind, SENDER, &hex(PROBE)).expect("valid cause");
            assert_eq!(built[..], hex(&[ip, icmp, PROBE].concat()), "{kind:?}");
        }
    }

    #[test]
    fn quote_fills_576_bytes_and_leaves_padding_out() {
        let cause = |payload_len: usize| {
            let ip = Ipv4Repr {
                src: [10, 1, 2, 3].into(),
                dst: [10, 4, 5, 6].into(),
                protocol: 17,
                ttl: 1,
                tos: 0xbb,
                id: 1,
                df: true,
                payload_len,
            };
            let mut packet = vec![0x77; IPV4_LEN + payload_len + 30];
            ip.emit(&mut packet).expect("room");
            packet
        };
        for (payload, expected) in [(0, 48), (527, 575), (528, 576), (529, 576), (1480, 576)] {
            let packet = cause(payload);
            let built = build_error(IcmpErrorKind::TtlExceeded, SENDER, &packet).expect("valid");
            assert_eq!(built.len(), expected, "payload {payload}");
            assert_eq!(built[28..], packet[..expected - 28], "quoted as received");
            assert_eq!(built[1], 0xc0 | 0x18, "TOS of the cause, precedence 6, no ECN");
            assert!(validate(&built[20..]).is_ok());
        }
        let short = build_error(IcmpErrorKind::TtlExceeded, SENDER, &cause(9)[..28]);
        assert_eq!(short, Err(Ipv4Error::Truncated));
    }

    /// Control gets a copy of a jumbo frame that is cut where a quote ends.
    #[test]
    fn what_a_quote_holds_is_enough_to_answer() {
        let ip = Ipv4Repr {
            src: [10, 1, 2, 3].into(),
            dst: [10, 4, 5, 6].into(),
            protocol: 17,
            ttl: 9,
            tos: 0,
            id: 1,
            df: true,
            payload_len: 8_980,
        };
        let mut packet = vec![0x77; 9_000];
        ip.emit(&mut packet).expect("room");
        let kind = IcmpErrorKind::FragmentationNeeded { mtu: 1476 };
        let whole = build_error(kind, SENDER, &packet);
        let cut = &packet[..QUOTE_MAX];
        assert!(may_answer_with_error(cut, false));
        assert_eq!(build_error(kind, SENDER, cut), whole);
        let shorter = &packet[..QUOTE_MAX - 1];
        assert!(!may_answer_with_error(shorter, false));
        assert_eq!(build_error(kind, SENDER, shorter), Err(Ipv4Error::Truncated));
    }

    #[test]
    fn advertised_mtu_is_never_below_68() {
        let least = IcmpErrorKind::FragmentationNeeded { mtu: 40 };
        assert_eq!(least.rest_of_header(), 68);
    }

    #[test]
    fn errors_are_forbidden_where_ic_03_says() {
        assert!(may_answer_with_error(&hex(PROBE), false));
        assert!(!may_answer_with_error(&hex(PROBE), true), "link broadcast or multicast");
        assert!(!may_answer_with_error(&hex(PROBE)[..35], false), "truncated");
        let mut bad_sum = hex(PROBE);
        bad_sum[10] ^= 1;
        assert!(!may_answer_with_error(&bad_sum, false), "header validation");
        for (what, allowed, changes) in [
            ("multicast destination", false, &[(16, 224)][..]),
            ("limited broadcast", false, &[(16, 255), (17, 255), (18, 255), (19, 255)]),
            ("net 0 source", false, &[(12, 0)]),
            ("loopback source", false, &[(12, 127)]),
            ("multicast source", false, &[(12, 239)]),
            ("class E source", false, &[(12, 240)]),
            ("broadcast source", false, &[(12, 255), (13, 255), (14, 255), (15, 255)]),
            ("first fragment", true, &[(6, 0x20)]),
            ("middle fragment", false, &[(6, 0x20), (7, 1)]),
            ("last fragment", false, &[(7, 1)]),
            ("TTL 0", true, &[(8, 0)]),
            ("GRE", true, &[(9, 47)]),
            ("empty ICMP", false, &[(9, 1), (3, 20)]),
        ] {
            let packet = probe_with(changes);
            assert_eq!(may_answer_with_error(&packet, false), allowed, "{what}");
        }
    }

    #[test]
    fn every_icmp_type_is_an_error_or_a_query() {
        let answered: Vec<u8> = (0..=255)
            .filter(|&kind| may_answer_with_error(&probe_with(&[(9, 1), (20, kind)]), false))
            .collect();
        assert_eq!(answered, [0, 8, 9, 10, 13, 14, 15, 16, 17, 18, 42, 43]);
    }

    #[test]
    fn no_error_about_an_error_of_ours() {
        let built = build_error(IcmpErrorKind::TtlExceeded, SENDER, &hex(PROBE)).expect("valid");
        assert!(!may_answer_with_error(&built, false));
    }

    fn any_kind() -> impl Strategy<Value = IcmpErrorKind> {
        prop_oneof![
            Just(IcmpErrorKind::NetUnreachable),
            Just(IcmpErrorKind::HostUnreachable),
            Just(IcmpErrorKind::ProtocolUnreachable),
            Just(IcmpErrorKind::PortUnreachable),
            (MIN_MTU..).prop_map(|mtu| IcmpErrorKind::FragmentationNeeded { mtu }),
            Just(IcmpErrorKind::AdministrativelyProhibited),
            Just(IcmpErrorKind::TtlExceeded),
            Just(IcmpErrorKind::ReassemblyTimeExceeded),
            any::<u8>().prop_map(|pointer| IcmpErrorKind::ParameterProblem { pointer }),
        ]
    }

    proptest! {
        #[test]
        fn parse_of_build_is_identity_and_etherparse_agrees(
            kind in any_kind(), len in 0usize..1500, tos in any::<u8>(),
        ) {
            let ip = Ipv4Repr {
                src: [10, 1, 2, 3].into(),
                dst: [10, 4, 5, 6].into(),
                protocol: 17,
                ttl: 1,
                tos,
                id: 1,
                df: false,
                payload_len: len,
            };
            let mut cause: Vec<u8> = (0..IPV4_LEN + len).map(|i| i as u8).collect();
            ip.emit(&mut cause).expect("room");
            let built = build_error(kind, SENDER, &cause).expect("valid cause");
            prop_assert_eq!(validate(&built[20..]).map(IcmpErrorKind::of), Ok(Some(kind)));

            let theirs = etherparse::SlicedPacket::from_ip(&built).expect("their parse");
            let Some(etherparse::TransportSlice::Icmpv4(icmp)) = theirs.transport else {
                return Err(TestCaseError::fail("etherparse sees no ICMP"));
            };
            prop_assert_eq!((icmp.type_u8(), icmp.code_u8()), kind.type_code());
            prop_assert_eq!(icmp.payload(), &cause[..cause.len().min(QUOTE_MAX)]);
            let their_header = icmp.header();
            let sum = their_header.icmp_type.calc_checksum(icmp.payload());
            prop_assert_eq!(sum, icmp.checksum());
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..99), kind in any_kind(),
        ) {
            let _ = build_error(kind, SENDER, &bytes);
            let _ = may_answer_with_error(&bytes, false);
        }

        /// Random bytes made to look like IP: whatever may be answered can be.
        #[test]
        fn what_may_be_answered_can_be_built(
            mut bytes in proptest::collection::vec(any::<u8>(), 20..99), words in 5u8..=6,
        ) {
            bytes[0] = 0x40 | words;
            let total = bytes.len() as u16;
            bytes[2..4].copy_from_slice(&total.to_be_bytes());
            prop_assume!(ipv4::fill_checksum(&mut bytes));
            if may_answer_with_error(&bytes, false) {
                prop_assert!(build_error(IcmpErrorKind::TtlExceeded, SENDER, &bytes).is_ok());
            }
        }
    }
}
