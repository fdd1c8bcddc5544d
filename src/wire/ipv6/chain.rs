//! The headers between an IPv6 header and what it carries (RFC 8200 §4), walked
//! in packets addressed to us.
//!
//! ```text
//!   IPv6 ─▶ hop-by-hop ─▶ destination options ─▶ routing ─▶ fragment ─▶ … ─▶ upper layer
//!            skipped        skipped               used up    found: ends here
//! ```
//!
//! Options whose type says so are refused when unknown (§4.2), and so are
//! routing headers with segments left: we are no stop on anybody's way (RFC
//! 5095). A fragment header of a packet that is whole is passed over (RFC 6946).

use super::{IPV6_LEN, NEXT_HEADER_OFFSET};
use crate::wire::{
    IPPROTO_DESTINATION_OPTIONS, IPPROTO_FRAGMENT, IPPROTO_HOP_BY_HOP, IPPROTO_ROUTING,
};

/// Most headers walked: one of each kind, and a second one for destination
/// options, is what RFC 8200 §4.1 foresees.
pub const MOST_HEADERS: usize = 8;

/// Bytes of a fragment header.
pub const FRAGMENT_LEN: usize = 8;

/// Where the walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper {
    /// The protocol there; [`IPPROTO_FRAGMENT`] in a fragment.
    pub protocol: u8,
    /// Bytes in front of it, from the IPv6 header on.
    pub at: usize,
}

/// A chain that cannot be followed: cut short, too long, or with something in it
/// that says "discard".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("extension headers that cannot be followed")]
pub struct BadChain;

/// Walks the headers of `datagram`, a valid IPv6 packet with nothing behind it.
pub fn upper(datagram: &[u8]) -> Result<Upper, BadChain> {
    let mut protocol = *datagram.get(NEXT_HEADER_OFFSET).ok_or(BadChain)?;
    let mut at = IPV6_LEN;
    for _ in 0..=MOST_HEADERS {
        let header = datagram.get(at..).unwrap_or_default();
        let len = match protocol {
            IPPROTO_HOP_BY_HOP | IPPROTO_DESTINATION_OPTIONS => options(header)?,
            IPPROTO_ROUTING => routing(header)?,
            IPPROTO_FRAGMENT if is_whole(header)? => FRAGMENT_LEN,
            _ => return Ok(Upper { protocol, at }),
        };
        protocol = header[0];
        at += len;
    }
    Err(BadChain)
}

/// Where the headers of a packet end that only passes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passing {
    /// The protocol there. In a later fragment: what the first one begins with
    /// behind its fragment header.
    pub protocol: u8,
    /// Bytes in front of it, from the IPv6 header on.
    pub at: usize,
    /// Where in its datagram it lies, in units of 8 bytes.
    pub offset: u16,
    /// More fragments follow.
    pub more: bool,
}

/// Walks the headers of `datagram`, which is for somebody else: what options and
/// routing headers say is not ours to judge. Refused is what does not end in this
/// packet, though it is its datagram's first one (RFC 7112 §5).
pub fn passing(datagram: &[u8]) -> Result<Passing, BadChain> {
    let protocol = *datagram.get(NEXT_HEADER_OFFSET).ok_or(BadChain)?;
    let mut end = Passing { protocol, at: IPV6_LEN, offset: 0, more: false };
    for _ in 0..=MOST_HEADERS {
        let header = datagram.get(end.at..).unwrap_or_default();
        let len = match end.protocol {
            IPPROTO_HOP_BY_HOP | IPPROTO_DESTINATION_OPTIONS | IPPROTO_ROUTING => {
                extension_len(header)?
            }
            IPPROTO_FRAGMENT => {
                let [_, _, a, b, _, _, _, _, ..] = header else { return Err(BadChain) };
                let word = u16::from_be_bytes([*a, *b]);
                (end.offset, end.more) = (word >> 3, word & 1 != 0);
                FRAGMENT_LEN
            }
            _ => return Ok(end),
        };
        (end.protocol, end.at) = (header[0], end.at + len);
        if end.offset > 0 {
            return Ok(end);
        }
    }
    Err(BadChain)
}

/// A tunnel encapsulation limit (RFC 2473 §4.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// How many more tunnels the packet may be put into.
    pub value: u8,
    /// Where that is, from the IPv6 header on.
    pub at: usize,
}

/// The limit that a packet on its way into a tunnel carries, if it carries one:
/// in destination options, which whoever sent it may have put behind hop-by-hop
/// options and a routing header. What cannot be read is for its destination to
/// refuse.
#[cold]
pub fn encapsulation_limit(datagram: &[u8]) -> Option<Limit> {
    let mut protocol = *datagram.get(NEXT_HEADER_OFFSET)?;
    let mut at = IPV6_LEN;
    for _ in 0..MOST_HEADERS {
        let header = datagram.get(at..)?;
        match protocol {
            IPPROTO_HOP_BY_HOP | IPPROTO_ROUTING => {}
            IPPROTO_DESTINATION_OPTIONS => {
                if let Some((value, within)) = limit_option(header) {
                    return Some(Limit { value, at: at + within });
                }
            }
            _ => return None,
        }
        protocol = *header.first()?;
        at += extension_len(header).ok()?;
    }
    None
}

/// The limit among a header's options, and where it is.
fn limit_option(header: &[u8]) -> Option<(u8, usize)> {
    const LIMIT: u8 = 4;
    let options = header.get(..extension_len(header).ok()?)?;
    let mut at = 2;
    loop {
        match *options.get(at..)? {
            [0, ..] => at += 1,
            [LIMIT, 1, value, ..] => return Some((value, at + 2)),
            [_, len, ..] => at += 2 + usize::from(len),
            _ => return None,
        }
    }
}

/// Whether a packet with this next header may carry a limit: those that do not
/// are not looked into.
#[inline(always)]
pub const fn may_have_limit(next_header: u8) -> bool {
    matches!(next_header, IPPROTO_HOP_BY_HOP | IPPROTO_ROUTING | IPPROTO_DESTINATION_OPTIONS)
}

/// The length of an options header all of whose options may be passed over.
fn options(header: &[u8]) -> Result<usize, BadChain> {
    let len = extension_len(header)?;
    let mut rest = &header[2..len];
    while let [kind, behind @ ..] = rest {
        if *kind == 0 {
            rest = behind;
            continue;
        }
        let [option_len, data @ ..] = behind else { return Err(BadChain) };
        rest = data.get(usize::from(*option_len)..).ok_or(BadChain)?;
        // The upper two bits: what to do with one that is not known.
        if kind >> 6 != 0 {
            return Err(BadChain);
        }
    }
    Ok(len)
}

fn routing(header: &[u8]) -> Result<usize, BadChain> {
    let len = extension_len(header)?;
    if header[3] == 0 { Ok(len) } else { Err(BadChain) }
}

/// Whether a fragment header is that of a whole packet.
fn is_whole(header: &[u8]) -> Result<bool, BadChain> {
    let [_, _, a, b, _, _, _, _, ..] = header else { return Err(BadChain) };
    /// All but the two reserved bits: offset and "more".
    const CUT: u16 = 0xfff9;
    Ok(u16::from_be_bytes([*a, *b]) & CUT == 0)
}

/// The length of an extension header, all of which is there.
fn extension_len(header: &[u8]) -> Result<usize, BadChain> {
    let len = 8 + usize::from(*header.get(1).ok_or(BadChain)?) * 8;
    if header.len() < len { Err(BadChain) } else { Ok(len) }
}

#[cfg(test)]
mod tests {
    use super::super::tests::udp;
    use super::*;
    use proptest::prelude::*;

    /// A packet with these headers in front of its UDP.
    fn chained(first: u8, headers: &[u8]) -> Vec<u8> {
        let mut bytes = udp(1, 2, 5);
        bytes.splice(40..40, headers.iter().copied());
        bytes[6] = first;
        let payload = (bytes.len() - 40) as u16;
        bytes[4..6].copy_from_slice(&payload.to_be_bytes());
        bytes
    }

    #[test]
    fn headers_are_passed_over_up_to_the_upper_layer() {
        let at = |protocol, at| Ok(Upper { protocol, at });
        assert_eq!(upper(&udp(1, 2, 5)), at(17, 40));
        // Hop-by-hop with PadN, destination options with an encapsulation limit.
        let both = [60, 0, 1, 4, 0, 0, 0, 0, 17, 0, 4, 1, 4, 1, 1, 0];
        assert_eq!(upper(&chained(0, &both)), at(17, 56));
        let padded = [17, 1, 0, 0, 1, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(upper(&chained(60, &padded)), at(17, 56));
        let used_up = [17, 0, 4, 0, 0, 0, 0, 0];
        assert_eq!(upper(&chained(43, &used_up)), at(17, 48));
        let atomic = [17, 0, 0, 0, 1, 2, 3, 4];
        assert_eq!(upper(&chained(44, &atomic)), at(17, 48), "a whole packet");
        for cut in [1, 8, 0xfff8] {
            let [a, b] = u16::to_be_bytes(cut);
            assert_eq!(upper(&chained(44, &[17, 0, a, b, 1, 2, 3, 4])), at(44, 40));
        }
    }

    #[test]
    fn chains_that_say_discard_or_do_not_end() {
        let unknown = [17, 0, 0x42, 1, 0, 0, 0, 0];
        let beyond = [17, 0, 5, 5, 0, 0, 0, 0];
        let no_length = [17, 0, 1, 3, 0, 0, 0, 5];
        for bad in [unknown, beyond, no_length] {
            assert_eq!(upper(&chained(60, &bad)), Err(BadChain), "{bad:?}");
        }
        assert_eq!(upper(&chained(43, &[17, 0, 4, 1, 0, 0, 0, 0])), Err(BadChain), "a stop");
        assert_eq!(upper(&chained(60, &[17, 9, 1, 4, 0, 0, 0, 0])), Err(BadChain), "cut short");
        let long: Vec<u8> = [60, 0, 1, 4, 0, 0, 0, 0].repeat(MOST_HEADERS + 1);
        assert_eq!(upper(&chained(60, &long)), Err(BadChain));
    }

    #[test]
    fn the_limit_on_nesting_is_found_in_destination_options_only() {
        let found = |value, at| Some(Limit { value, at });
        assert_eq!(encapsulation_limit(&udp(1, 2, 5)), None);
        let limit = [17, 0, 4, 1, 3, 1, 1, 0];
        assert_eq!(encapsulation_limit(&chained(60, &limit)), found(3, 44));
        assert_eq!(encapsulation_limit(&chained(0, &limit)), None, "hop-by-hop");
        let second = [17, 0, 0, 1, 0, 4, 1, 0];
        assert_eq!(encapsulation_limit(&chained(60, &second)), found(0, 47));
        let behind = [[60, 0, 5, 2, 0, 0, 1, 0], limit].concat();
        assert_eq!(encapsulation_limit(&chained(0, &behind)), found(3, 52));
        let routed = [[60, 0, 4, 1, 0, 0, 0, 0], limit].concat();
        assert_eq!(encapsulation_limit(&chained(43, &routed)), found(3, 52));
        let after_fragment = [[60, 0, 0, 0, 0, 0, 0, 0], limit].concat();
        assert_eq!(encapsulation_limit(&chained(44, &after_fragment)), None);
        for broken in
            [[17, 0, 4, 0, 3, 1, 1, 0], [17, 9, 4, 1, 3, 1, 1, 0], [17, 0, 1, 4, 4, 1, 0, 4]]
        {
            assert_eq!(encapsulation_limit(&chained(60, &broken)), None, "{broken:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_the_end_lies_within(
            mut bytes in prop::collection::vec(any::<u8>(), 0..200), first in 0usize..6,
        ) {
            if let Some(next) = bytes.get_mut(6) {
                *next = [0, 43, 44, 60, 47, 4][first];
            }
            if let Some(limit) = encapsulation_limit(&bytes) {
                prop_assert_eq!(bytes.get(limit.at), Some(&limit.value));
            }
            if let Ok(upper) = upper(&bytes) {
                prop_assert!(upper.at <= bytes.len().max(40));
            }
        }
    }
}
