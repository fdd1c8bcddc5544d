//! The bookkeeping of reassembly (RFC 791 §3.2; RFC 8200 §4.5): what a fragment
//! is a part of, and which parts of its datagram are there.
//!
//! Overlaps and contradictions make the whole datagram suspect (RFC 1858, RFC
//! 5722 §4); an exact duplicate does not. Nothing here allocates, and nothing
//! holds bytes: whoever does asks [`Parts`] where they fit.

use arrayvec::ArrayVec;

use super::ipv4::{self, IPV4_MAX_TOTAL};
use super::ipv6::chain::FRAGMENT_LEN;
use super::ipv6::{self, IPV6_LEN, NEXT_HEADER_OFFSET};

/// Most pieces of one datagram. What is sent in more is no datagram of use.
pub const MOST_PIECES: usize = 64;

/// What the fragments of one datagram have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Source address; one of IPv4 is mapped.
    pub source: u128,
    /// Destination address, likewise.
    pub destination: u128,
    /// Identification.
    pub id: u32,
    /// Protocol; [`NO_PROTOCOL`] in IPv6, whose fragments are told apart without.
    pub protocol: u16,
}

/// [`Identity::protocol`] of IPv6.
pub const NO_PROTOCOL: u16 = 1 << 8;

impl Identity {
    /// True if the datagram is IPv6.
    pub fn is_six(&self) -> bool {
        self.protocol == NO_PROTOCOL
    }
}

/// A fragment, measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// What it is a part of.
    pub of: Identity,
    /// As received, the fragment header of IPv6 included.
    pub headers: &'a [u8],
    /// Its part of the datagram's payload: never empty.
    pub payload: &'a [u8],
    /// Where that begins, bytes.
    pub start: usize,
    /// More pieces follow.
    pub more: bool,
    /// The ECN field.
    pub ecn: u8,
}

impl<'a> Piece<'a> {
    /// Reads an IPv4 fragment with nothing behind it. `None` if it cannot be one:
    /// empty, or not the last and no multiple of 8 bytes long.
    pub fn read4(datagram: &'a [u8]) -> Option<Piece<'a>> {
        // The checksum is the path's business.
        let ip = ipv4::validate(datagram, true).ok().filter(|ip| ip.is_fragment())?;
        let mapped = |address: std::net::Ipv4Addr| address.to_ipv6_mapped().to_bits();
        let of = Identity {
            source: mapped(ip.src_addr()),
            destination: mapped(ip.dst_addr()),
            id: ip.identification.get().into(),
            protocol: ip.protocol.into(),
        };
        let (headers, payload) = datagram[..ip.total_len()].split_at(ip.header_len());
        let (start, more) = (ip.fragment_offset(), ip.more_fragments());
        Piece { of, headers, payload, start, more, ecn: ip.ecn() }.sound()
    }

    /// The same for IPv6, with its fragment header at `at`.
    pub fn read6(datagram: &'a [u8], at: usize) -> Option<Piece<'a>> {
        let ip = ipv6::validate(datagram).ok()?;
        let header: [u8; FRAGMENT_LEN] = *datagram.get(at..)?.first_chunk()?;
        let [_, _, a, b, id @ ..] = header;
        let offset = u16::from_be_bytes([a, b]);
        let of = Identity {
            source: ip.src(),
            destination: ip.dst(),
            id: u32::from_be_bytes(id),
            protocol: NO_PROTOCOL,
        };
        let whole = datagram.get(..ip.total_len())?;
        let (headers, payload) = whole.split_at_checked(at + FRAGMENT_LEN)?;
        let (start, more) = (usize::from(offset & !7), offset & 1 != 0);
        Piece { of, headers, payload, start, more, ecn: ip.traffic_class() & 3 }.sound()
    }

    fn sound(self) -> Option<Piece<'a>> {
        let odd = self.more && !self.payload.len().is_multiple_of(8);
        (!self.payload.is_empty() && !odd).then_some(self)
    }

    /// Where its payload ends in the datagram's.
    pub fn end(&self) -> usize {
        self.start + self.payload.len()
    }
}

/// Makes the headers of an IPv6 datagram of those of its first fragment, the
/// fragment header in `headers` last: gives where they begin now, that one
/// being gone. `None` if they are not a fragment's.
pub fn without_fragment_header(headers: &mut [u8]) -> Option<usize> {
    let at = headers.len().checked_sub(FRAGMENT_LEN).filter(|at| *at >= IPV6_LEN)?;
    let next = headers[at];
    // All headers in front of it say their length alike (RFC 8200 §4.5).
    let (mut named, mut header) = (NEXT_HEADER_OFFSET, IPV6_LEN);
    while header < at {
        named = header;
        header += 8 + 8 * usize::from(headers[header + 1]);
    }
    headers[named] = next;
    headers.copy_within(..at, FRAGMENT_LEN);
    (header == at).then_some(FRAGMENT_LEN)
}

/// A piece that is there: from, and up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    start: usize,
    end: usize,
}

/// Which parts of a datagram's payload are there.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// In order, no two overlapping.
    spans: ArrayVec<Span, MOST_PIECES>,
    /// Bytes of all of them.
    have: usize,
    /// Bytes of the whole, once the last piece is there.
    total: Option<usize>,
}

/// What became of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is new; `complete` if nothing is missing any more.
    New {
        /// All pieces are there.
        complete: bool,
    },
    /// The same piece was there.
    Duplicate,
    /// It overlaps another, or the end that was said is another: none of the
    /// datagram's pieces is to be trusted.
    Overlap,
    /// More pieces than are kept.
    TooMany,
}

impl Parts {
    /// None is there.
    pub fn clear(&mut self) {
        self.spans.clear();
        (self.have, self.total) = (0, None);
    }

    /// Bytes that are there.
    pub fn have(&self) -> usize {
        self.have
    }

    /// Takes note of a piece. `same` says whether its bytes are those that are
    /// there already.
    pub fn add(
        &mut self,
        start: usize,
        end: usize,
        more: bool,
        same: impl FnOnce() -> bool,
    ) -> Added {
        let at = self.spans.partition_point(|span| span.start < start);
        let found = self.spans.get(at) == Some(&Span { start, end });
        if found && more != (self.total == Some(end)) && same() {
            return Added::Duplicate;
        }
        if self.overlaps(at, start, end) || self.contradicts(end, more) {
            return Added::Overlap;
        }
        if self.spans.is_full() {
            return Added::TooMany;
        }
        self.spans.insert(at, Span { start, end });
        self.have += end - start;
        if !more {
            self.total = Some(end);
        }
        Added::New { complete: self.total == Some(self.have) }
    }

    /// Whether what comes to be the span numbered `at` overlaps a neighbour.
    fn overlaps(&self, at: usize, start: usize, end: usize) -> bool {
        let before = at.checked_sub(1).and_then(|before| self.spans.get(before));
        before.is_some_and(|span| span.end > start)
            || self.spans.get(at).is_some_and(|span| span.start < end)
    }

    /// A second, different end, or something behind the end.
    fn contradicts(&self, end: usize, more: bool) -> bool {
        let beyond = self.total.is_some_and(|total| end > total || !more);
        let last = self.spans.last().map_or(0, |span| span.end);
        beyond || (!more && last > end)
    }
}

/// ECN: congestion experienced, and not ECN-capable (RFC 3168 §5).
const ECN_CE: u8 = 3;
const ECN_NOT_ECT: u8 = 0;

/// The ECN fields of all pieces, a bit each.
#[derive(Clone, Copy, Debug, Default)]
pub struct EcnSeen(u8);

impl EcnSeen {
    /// One more piece's.
    pub fn add(&mut self, ecn: u8) {
        self.0 |= 1 << (ecn & 3);
    }

    /// The whole's, if the first piece has `first`. Congestion that one piece saw
    /// was seen by the datagram; `None` where another says that its sender does
    /// not know ECN: they cannot both be right and the mark must not be lost
    /// (RFC 3168 §5.3).
    pub fn whole(self, first: u8) -> Option<u8> {
        let saw = |ecn: u8| self.0 >> ecn & 1 != 0;
        match (saw(ECN_CE), saw(ECN_NOT_ECT)) {
            (true, true) => None,
            (true, false) => Some(ECN_CE),
            (false, _) => Some(first & 3),
        }
    }
}

/// Makes length, flags, ECN and checksum of a reassembled datagram good, of
/// either family. False if it is too long for its length field.
pub fn finish(datagram: &mut [u8], ecn: u8) -> bool {
    match datagram.first() {
        Some(first) if first >> 4 == 6 => finish6(datagram, ecn),
        _ => finish4(datagram, ecn),
    }
}

fn finish4(bytes: &mut [u8], ecn: u8) -> bool {
    use ipv4::{FLAG_MF, Ipv4Header, OFFSET_MASK};
    if bytes.len() > IPV4_MAX_TOTAL {
        return false;
    }
    let total = bytes.len() as u16;
    let Some(header) = Ipv4Header::mut_from(bytes) else { return false };
    header.tos = (header.tos & !3) | ecn;
    header.total_length = total.into();
    let flags = header.flags_fragment.get() & !(FLAG_MF | OFFSET_MASK);
    header.flags_fragment = flags.into();
    ipv4::fill_checksum(bytes)
}

fn finish6(bytes: &mut [u8], ecn: u8) -> bool {
    let payload = bytes.len().checked_sub(IPV6_LEN).and_then(|len| u16::try_from(len).ok());
    let Some(payload) = payload else { return false };
    bytes[4..6].copy_from_slice(&payload.to_be_bytes());
    // The lowest two bits of the traffic class are in the second byte.
    bytes[1] = (bytes[1] & !0x30) | ecn << 4;
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The rule once more, byte by byte: whose each byte of the payload is.
    #[derive(Default)]
    struct Naive {
        pieces: Vec<(usize, usize, bool)>,
    }

    impl Naive {
        fn add(&mut self, start: usize, end: usize, more: bool) -> Added {
            if self.pieces.contains(&(start, end, more)) {
                return Added::Duplicate;
            }
            let covered = |byte: usize| self.pieces.iter().any(|p| (p.0..p.1).contains(&byte));
            let end_said = self.pieces.iter().find(|piece| !piece.2).map(|piece| piece.1);
            let behind = self.pieces.iter().any(|piece| piece.1 > end);
            let lies = match end_said {
                Some(said) => !more || end > said,
                None => !more && behind,
            };
            if (start..end).any(covered) || lies {
                return Added::Overlap;
            }
            self.pieces.push((start, end, more));
            let end_said = self.pieces.iter().find(|piece| !piece.2).map(|piece| piece.1);
            let covered = |byte: usize| self.pieces.iter().any(|p| (p.0..p.1).contains(&byte));
            Added::New { complete: end_said.is_some_and(|said| (0..said).all(covered)) }
        }
    }

    proptest! {
        #[test]
        fn parts_are_what_a_naive_model_says(
            pieces in prop::collection::vec((0usize..12, 1usize..6, 0usize..8, any::<bool>()), 1..30),
        ) {
            let (mut parts, mut naive) = (Parts::default(), Naive::default());
            for (start, units, less, more) in pieces {
                let start = start * 8;
                let end = start + units * 8 - if more { 0 } else { less };
                let added = parts.add(start, end, more, || true);
                prop_assert_eq!(added, naive.add(start, end, more));
                let have: usize = naive.pieces.iter().map(|p| p.1 - p.0).sum();
                prop_assert_eq!(parts.have(), have);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..120), at in 0usize..130) {
            let four = Piece::read4(&bytes);
            prop_assert!(four.is_none_or(|piece| !piece.payload.is_empty()));
            Piece::read6(&bytes, at);
            without_fragment_header(&mut bytes.clone());
            finish(&mut bytes, 3);
        }
    }

    #[test]
    fn the_same_place_with_other_bytes_is_an_overlap() {
        let mut parts = Parts::default();
        assert_eq!(parts.add(0, 16, true, || unreachable!()), Added::New { complete: false });
        assert_eq!(parts.add(0, 16, true, || true), Added::Duplicate);
        assert_eq!(parts.add(0, 16, true, || false), Added::Overlap);
        assert_eq!(parts.add(0, 16, false, || true), Added::Overlap, "the end, suddenly");
    }

    #[test]
    fn more_pieces_than_are_kept() {
        let mut parts = Parts::default();
        for n in 0..MOST_PIECES {
            assert_eq!(parts.add(n * 8, n * 8 + 8, true, || true), Added::New { complete: false });
        }
        assert_eq!(parts.add(8000, 8001, false, || true), Added::TooMany);
    }

    #[test]
    fn the_fragment_header_goes_and_what_named_it_names_the_next() {
        let mut alone = [0; 48];
        (alone[0], alone[6], alone[40]) = (0x60, 44, 17);
        assert_eq!(without_fragment_header(&mut alone), Some(8));
        assert_eq!((alone[8], alone[14]), (0x60, 17));
        let mut behind_options = [0; 64];
        (behind_options[0], behind_options[6], behind_options[40]) = (0x60, 60, 44);
        (behind_options[41], behind_options[56]) = (1, 47);
        assert_eq!(without_fragment_header(&mut behind_options), Some(8));
        assert_eq!((behind_options[14], behind_options[48]), (60, 47));
    }
}
