//! The IPv6 side of an ICMPv6 message: the fixed header, where the message
//! begins behind extension headers, and the pseudo header its checksum covers
//! (RFC 8200 §3, §4, §8.1).

use std::net::Ipv6Addr;

use zerocopy::IntoBytes;

use crate::wire::ipv6::{IPV6_LEN, Ipv6Error, Ipv6Header, NEXT_HEADER_OFFSET};
use crate::wire::{
    EmitError, IPPROTO_DESTINATION_OPTIONS, IPPROTO_FRAGMENT, IPPROTO_HOP_BY_HOP, IPPROTO_ICMPV6,
    IPPROTO_ROUTING, checksum, room,
};

/// Next headers that are walked over, beside the numbers of RFC 8200.
const AUTHENTICATION: u8 = 51;
const MOBILITY: u8 = 135;
/// Most extension headers that are walked.
const MOST: usize = 8;

/// The addresses that the pseudo header is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Who says it.
    pub source: Ipv6Addr,
    /// To whom.
    pub destination: Ipv6Addr,
}

impl Ends {
    /// The checksum of an ICMPv6 message between these two, its own field as
    /// it stands: 0 to compute one; 0 comes out if it is right.
    #[must_use]
    pub fn checksum(&self, message: &[u8]) -> u16 {
        let addresses =
            checksum::sum(&self.source.octets()) + checksum::sum(&self.destination.octets());
        let length = checksum::sum(&(message.len() as u32).to_be_bytes());
        checksum::finish(addresses + length + u32::from(IPPROTO_ICMPV6) + checksum::sum(message))
    }
}

/// A datagram, or the beginning of one, measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Source and destination.
    pub ends: Ends,
    /// As received.
    pub hop_limit: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// The fixed header's next header.
    pub next_header: u8,
    /// Bytes the header claims, itself included.
    pub total_len: usize,
    /// What of them is there, without link padding.
    pub bytes: &'a [u8],
}

/// What the chain of headers leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper {
    /// Protocol number of the payload.
    pub protocol: u8,
    /// Where it begins in the datagram.
    pub offset: usize,
    /// Where the next header field that names it is.
    pub named_at: usize,
    /// The fragment header on the way there, if there is one.
    pub fragment: Option<Piece>,
}

/// A fragment header (RFC 8200 §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins in the datagram: what is before it is in every piece.
    pub at: usize,
    /// Where the next header field that names it is.
    pub named_at: usize,
    /// What the pieces together begin with.
    pub next_header: u8,
    /// Where this piece begins in what was cut, bytes.
    pub start: usize,
    /// More pieces follow.
    pub more: bool,
    /// Common to the pieces of a datagram.
    pub identification: u32,
}

impl Piece {
    /// Bytes of the header.
    pub const LEN: usize = 8;

    fn read(upper: &Upper, header: [u8; 8]) -> Piece {
        let [next_header, _, offset @ .., _, _, _, _] = header;
        let offset = u16::from_be_bytes(offset);
        let [_, _, _, _, id @ ..] = header;
        Piece {
            at: upper.offset,
            named_at: upper.named_at,
            next_header,
            start: usize::from(offset & !7),
            more: offset & 1 != 0,
            identification: u32::from_be_bytes(id),
        }
    }
}

impl Upper {
    /// True behind a fragment header other than the first piece's: the payload
    /// is not its beginning.
    #[must_use]
    pub fn is_later(&self) -> bool {
        self.fragment.is_some_and(|piece| piece.start != 0)
    }
}

impl<'a> Datagram<'a> {
    /// Checks a whole datagram; bytes behind its end are padding.
    pub fn parse(bytes: &'a [u8]) -> Result<Datagram<'a>, Ipv6Error> {
        Datagram::parse_first(bytes, usize::MAX)
    }

    /// The same for one of which only the first `kept` bytes need be there: a
    /// copy made to be quoted.
    pub fn parse_first(bytes: &'a [u8], kept: usize) -> Result<Datagram<'a>, Ipv6Error> {
        let header = Ipv6Header::ref_from(bytes).ok_or(Ipv6Error::TooShort)?;
        if header.version() != 6 {
            return Err(Ipv6Error::BadVersion);
        }
        let total_len = header.total_len();
        if bytes.len() < total_len.min(kept) {
            return Err(Ipv6Error::Truncated);
        }
        Ok(Datagram {
            ends: Ends { source: header.src().into(), destination: header.dst().into() },
            hop_limit: header.hop_limit,
            traffic_class: header.traffic_class(),
            next_header: header.next_header,
            total_len,
            bytes: &bytes[..total_len.min(bytes.len())],
        })
    }

    /// Follows the chain of extension headers. `None` if it ends before the
    /// bytes do, or is longer than anybody needs.
    #[must_use]
    pub fn upper(&self) -> Option<Upper> {
        let mut upper = Upper {
            protocol: self.next_header,
            offset: IPV6_LEN,
            named_at: NEXT_HEADER_OFFSET,
            fragment: None,
        };
        for _ in 0..MOST {
            if upper.is_later() {
                return Some(upper);
            }
            let at = self.bytes.get(upper.offset..);
            let word = |header: Option<&[u8]>| header?.first_chunk::<8>().copied();
            let len = |word: [u8; 8]| match upper.protocol {
                IPPROTO_FRAGMENT => Piece::LEN,
                AUTHENTICATION => (usize::from(word[1]) + 2) * 4,
                _ => (usize::from(word[1]) + 1) * 8,
            };
            match upper.protocol {
                IPPROTO_HOP_BY_HOP
                | IPPROTO_ROUTING
                | IPPROTO_FRAGMENT
                | AUTHENTICATION
                | IPPROTO_DESTINATION_OPTIONS
                | MOBILITY => {
                    let header = word(at)?;
                    let next = upper.offset + len(header);
                    if upper.protocol == IPPROTO_FRAGMENT {
                        upper.fragment = Some(Piece::read(&upper, header));
                    }
                    upper.named_at = upper.offset;
                    (upper.protocol, upper.offset) = (header[0], next);
                }
                _ => return Some(upper),
            }
        }
        None
    }

    /// The ICMPv6 message in it, if there is one and it is whole.
    #[must_use]
    pub fn icmp6(&self) -> Option<&'a [u8]> {
        let upper = self.upper()?;
        if upper.protocol != IPPROTO_ICMPV6
            || upper.fragment.is_some()
            || self.bytes.len() < self.total_len
        {
            return None;
        }
        self.bytes.get(upper.offset..)
    }
}

/// Writes the fixed header of a datagram with an ICMPv6 message of
/// `payload_len` bytes at the start of `buffer`. Returns its length.
pub fn emit_header(
    ends: Ends,
    hop_limit: u8,
    traffic_class: u8,
    payload_len: usize,
    buffer: &mut [u8],
) -> Result<usize, EmitError> {
    let most = usize::from(u16::MAX);
    let payload_length =
        u16::try_from(payload_len).map_err(|_| EmitError::TooLong { length: payload_len, most })?;
    let header = Ipv6Header {
        version_class_flow: (6 << 28 | u32::from(traffic_class) << 20).into(),
        payload_length: payload_length.into(),
        next_header: IPPROTO_ICMPV6,
        hop_limit,
        source: ends.source.to_bits().into(),
        destination: ends.destination.to_bits().into(),
    };
    room(buffer, IPV6_LEN)?.copy_from_slice(header.as_bytes());
    Ok(IPV6_LEN)
}
