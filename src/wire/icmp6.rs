//! ICMPv6 (RFC 4443): the common header and echo. Errors are in [`error`],
//! neighbour discovery (RFC 4861) in [`nd`].
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+---------------+-------------------------------+
//! |     Type      |     Code      |           Checksum            |
//! +---------------+---------------+-------------------------------+
//! | echo:      Identifier         |        Sequence Number        |
//! | packet too big:              MTU                              |
//! | parameter problem:          Pointer                           |
//! | other errors:                 0                               |
//! +---------------------------------------------------------------+
//! |  echo: data · errors: the offending datagram's first bytes    |
//! +---------------------------------------------------------------+
//! ```
//!
//! As ICMP, but for the numbers, and for the checksum: it covers a pseudo
//! header too, so a message cannot be checked without its datagram.

use super::EmitError;
use super::icmp::{Echo, ICMP_LEN, IcmpError, IcmpHeader};
use zerocopy::{FromBytes, IntoBytes};

pub mod datagram;
pub mod error;
pub mod nd;

pub use self::datagram::{Datagram, Ends, emit_header};
pub use super::ipv6::{IPV6_LEN, Ipv6Error};

/// Destination unreachable.
pub const DESTINATION_UNREACHABLE: u8 = 1;
/// Packet too big.
pub const PACKET_TOO_BIG: u8 = 2;
/// Time exceeded.
pub const TIME_EXCEEDED: u8 = 3;
/// Parameter problem.
pub const PARAMETER_PROBLEM: u8 = 4;
/// Types below this one are errors.
pub const FIRST_INFORMATIONAL: u8 = 128;
/// Echo request.
pub const ECHO_REQUEST: u8 = 128;
/// Echo reply.
pub const ECHO_REPLY: u8 = 129;
/// Router solicitation (RFC 4861 §4.1).
pub const ROUTER_SOLICITATION: u8 = 133;
/// Router advertisement (RFC 4861 §4.2).
pub const ROUTER_ADVERTISEMENT: u8 = 134;
/// Neighbour solicitation (RFC 4861 §4.3).
pub const NEIGHBOUR_SOLICITATION: u8 = 135;
/// Neighbour advertisement (RFC 4861 §4.4).
pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// Redirect (RFC 4861 §4.5).
pub const REDIRECT: u8 = 137;

/// Checks a message, which must be the whole payload of its datagram.
pub fn validate(ends: Ends, message: &[u8]) -> Result<&IcmpHeader, IcmpError> {
    let (header, _) = IcmpHeader::ref_from_prefix(message).map_err(|_| IcmpError::TooShort)?;
    if ends.checksum(message) == 0 { Ok(header) } else { Err(IcmpError::BadChecksum) }
}

/// Identifier and sequence number, if this is an echo request or reply.
#[must_use]
pub fn echo(header: &IcmpHeader) -> Option<Echo> {
    let reply = match header.kind {
        ECHO_REQUEST => false,
        ECHO_REPLY => true,
        _ => return None,
    };
    let rest = header.rest.get();
    Some(Echo { reply, ident: (rest >> 16) as u16, sequence: rest as u16 })
}

/// Turns `message`, whose bytes behind the eighth are the data, into this
/// echo between `ends`. Returns the header's length.
pub fn emit_echo(echo: Echo, ends: Ends, message: &mut [u8]) -> Result<usize, EmitError> {
    let kind = if echo.reply { ECHO_REPLY } else { ECHO_REQUEST };
    let rest = u32::from(echo.ident) << 16 | u32::from(echo.sequence);
    emit_message(kind, 0, rest, ends, message)
}

/// Writes the first eight bytes of `message` and sums all of it. Returns their
/// number.
fn emit_message(
    kind: u8,
    code: u8,
    rest: u32,
    ends: Ends,
    message: &mut [u8],
) -> Result<usize, EmitError> {
    let mut header = IcmpHeader { kind, code, checksum: 0.into(), rest: rest.into() };
    super::room(message, ICMP_LEN)?.copy_from_slice(header.as_bytes());
    header.checksum = ends.checksum(message).into();
    message[..ICMP_LEN].copy_from_slice(header.as_bytes());
    Ok(ICMP_LEN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv6Addr;

    proptest! {
        #[test]
        fn echoes_are_what_etherparse_would_send(
            reply in any::<bool>(), ident in any::<u16>(), sequence in any::<u16>(),
            ends in any::<[[u8; 16]; 2]>(), hop_limit in any::<u8>(),
            data in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let [source, destination] = ends.map(Ipv6Addr::from);
            let ends = Ends { source, destination };
            let mut ours = vec![0xaa; IPV6_LEN + ICMP_LEN];
            ours.extend_from_slice(&data);
            let len = ours.len() - IPV6_LEN;
            prop_assert_eq!(emit_header(ends, hop_limit, 0, len, &mut ours), Ok(IPV6_LEN));
            let echo_out = Echo { reply, ident, sequence };
            prop_assert_eq!(emit_echo(echo_out, ends, &mut ours[IPV6_LEN..]), Ok(ICMP_LEN));

            let builder = etherparse::PacketBuilder::ipv6(
                source.octets(), destination.octets(), hop_limit,
            );
            let builder = match reply {
                true => builder.icmpv6_echo_reply(ident, sequence),
                false => builder.icmpv6_echo_request(ident, sequence),
            };
            let mut theirs = Vec::new();
            builder.write(&mut theirs, &data).expect("to memory");
            prop_assert_eq!(&ours, &theirs);

            theirs.extend([0; 7]);
            let datagram = Datagram::parse(&theirs).expect("valid");
            prop_assert_eq!(datagram.ends, ends);
            let message = datagram.icmp6().expect("ICMPv6");
            prop_assert_eq!(validate(ends, message).map(echo), Ok(Some(echo_out)));
            for bit in [0usize, 9, 17, 33] {
                let mut bad = message.to_vec();
                bad[bit / 8] ^= 1 << (bit % 8);
                prop_assert_eq!(validate(ends, &bad), Err(IcmpError::BadChecksum));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..160)) {
            if let Some(first) = bytes.first_mut() {
                *first = 0x60;
            }
            if let Ok(datagram) = Datagram::parse_first(&bytes, 40) {
                let _ = datagram.upper();
                if let Some(message) = datagram.icmp6() {
                    let _ = validate(datagram.ends, message);
                }
            }
        }
    }

    #[test]
    fn extension_headers_are_walked_to_the_message() {
        let chain = |headers: &[(u8, &[u8])], last: u8| {
            let mut bytes = vec![0u8; IPV6_LEN];
            bytes[0] = 0x60;
            bytes[6] = headers.first().map_or(last, |(kind, _)| *kind);
            for (n, (_, body)) in headers.iter().enumerate() {
                let at = bytes.len();
                bytes.extend_from_slice(body);
                bytes[at] = headers.get(n + 1).map_or(last, |(kind, _)| *kind);
            }
            bytes.extend([128, 0, 0, 0, 0, 1, 0, 2]);
            let len = (bytes.len() - IPV6_LEN) as u16;
            bytes[4..6].copy_from_slice(&len.to_be_bytes());
            bytes
        };
        let (options, long) = ([0u8; 8], [0u8, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let (first, later) = ([0u8, 0, 0, 1, 0, 0, 0, 9], [0u8, 0, 0, 8, 0, 0, 0, 9]);
        for (headers, offset, whole) in [
            (&[][..], 40, true),
            (&[(0, &options[..]), (60, &long[..])][..], 64, true),
            (&[(0, &options[..]), (44, &first[..])][..], 56, false),
            (&[(44, &later[..])][..], 48, false),
        ] {
            let bytes = chain(headers, 58);
            let datagram = Datagram::parse(&bytes).expect("valid");
            let upper = datagram.upper().expect("a chain");
            assert_eq!((upper.protocol, upper.offset), (58, offset));
            assert_eq!(datagram.icmp6().is_some(), whole, "{headers:?}");
        }
        let endless: Vec<(u8, &[u8])> = vec![(60, &options[..]); 20];
        assert_eq!(Datagram::parse(&chain(&endless, 58)).expect("valid").upper(), None);
        let cut = chain(&[(60, &long[..])], 58);
        let mut cut = cut[..44].to_vec();
        cut[4..6].copy_from_slice(&4u16.to_be_bytes());
        assert_eq!(Datagram::parse(&cut).expect("valid").upper(), None);
        assert_eq!(Datagram::parse(&cut[..39]), Err(Ipv6Error::TooShort));
        assert_eq!(Datagram::parse(&cut[..43]), Err(Ipv6Error::Truncated));
        cut[0] = 0x45;
        assert_eq!(Datagram::parse(&cut), Err(Ipv6Error::BadVersion));
    }
}
