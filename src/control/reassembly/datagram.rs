//! One datagram in the making: its pieces by offset, and what is wrong with
//! them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Key, ReassemblyConfig};
use crate::control::tally::ControlDrop;
use crate::ids::IfId;
use crate::wire::icmp6::datagram::Piece as Piece6;
use crate::wire::icmp6::{self, IPV6_LEN};
use crate::wire::ipv4::{self, FLAG_MF, IPV4_MAX_TOTAL, Ipv4Header, OFFSET_MASK, fill_checksum};

/// ECN: congestion experienced, and not ECN-capable (RFC 3168 §5).
const ECN_CE: u8 = 3;
const ECN_NOT_ECT: u8 = 0;

/// A fragment as received, measured.
#[derive(Debug)]
pub(super) struct Fragment<'a> {
    /// Headers and payload, without padding.
    bytes: &'a [u8],
    /// Headers, the fragment header of IPv6 included.
    header_len: usize,
    /// The least that the whole's headers take.
    least_header: usize,
    /// Where its payload begins in the datagram's, and ends.
    start: usize,
    end: usize,
    more: bool,
    ecn: u8,
}

impl<'a> Fragment<'a> {
    /// Reads a fragment and whose it is. `None` if it cannot be one: empty,
    /// without fragment header, or not the last and no multiple of 8 bytes long.
    pub fn read(bytes: &'a [u8], in_if: IfId) -> Option<(Fragment<'a>, Key)> {
        let (fragment, key) = match bytes.first()? >> 4 {
            6 => Fragment::read6(bytes, in_if)?,
            _ => Fragment::read4(bytes, in_if)?,
        };
        let len = fragment.end - fragment.start;
        let odd = fragment.more && !len.is_multiple_of(8);
        (len != 0 && !odd).then_some((fragment, key))
    }

    fn read4(bytes: &'a [u8], in_if: IfId) -> Option<(Fragment<'a>, Key)> {
        let ip = ipv4::validate(bytes, false).ok().filter(|ip| ip.is_fragment())?;
        let key = Key {
            in_if,
            source: ip.src_addr().into(),
            destination: ip.dst_addr().into(),
            id: ip.identification.get().into(),
            protocol: ip.protocol,
        };
        let fragment = Fragment {
            bytes: &bytes[..ip.total_len()],
            header_len: ip.header_len(),
            // The first piece's header may be longer.
            least_header: ipv4::IPV4_LEN,
            start: ip.fragment_offset(),
            end: ip.fragment_offset() + ip.payload_len(),
            more: ip.more_fragments(),
            ecn: ip.ecn(),
        };
        Some((fragment, key))
    }

    fn read6(bytes: &'a [u8], in_if: IfId) -> Option<(Fragment<'a>, Key)> {
        let datagram = icmp6::Datagram::parse(bytes).ok()?;
        let piece = datagram.upper()?.fragment?;
        let key = Key {
            in_if,
            source: datagram.ends.source.into(),
            destination: datagram.ends.destination.into(),
            id: piece.identification,
            protocol: 0,
        };
        let header_len = piece.at + Piece6::LEN;
        let fragment = Fragment {
            bytes: datagram.bytes,
            header_len,
            least_header: IPV6_LEN,
            start: piece.start,
            end: piece.start + datagram.bytes.len() - header_len,
            more: piece.more,
            ecn: datagram.traffic_class & 3,
        };
        Some((fragment, key))
    }

    /// All of the datagram: an atomic fragment of IPv6.
    pub fn is_whole(&self) -> bool {
        self.start == 0 && !self.more
    }

    /// Bytes that keeping it takes, roughly: tiny fragments are not free.
    pub fn cost(&self) -> usize {
        self.bytes.len() + size_of::<Piece>()
    }
}

/// A fragment kept.
#[derive(Debug)]
struct Piece {
    bytes: Box<[u8]>,
    header_len: usize,
    end: usize,
    more: bool,
    ecn: u8,
}

/// What became of a fragment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// It is kept; `complete` if nothing is missing any more.
    Kept { complete: bool },
    /// It alone is dropped.
    Dropped(ControlDrop),
    /// It is dropped and the datagram with it.
    Refused(ControlDrop),
}

/// What a datagram holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Holds {
    pub packets: usize,
    pub bytes: usize,
}

/// A datagram in the making.
#[derive(Debug)]
pub(super) struct Datagram {
    deadline: Duration,
    pieces: BTreeMap<usize, Piece>,
    holds: Holds,
    /// Payload bytes received.
    have: usize,
    /// Payload bytes of the whole, once the last piece is there.
    total: Option<usize>,
    /// Why it is refused, if it is.
    refused: Option<ControlDrop>,
}

impl Datagram {
    pub fn new(deadline: Duration) -> Datagram {
        Datagram {
            deadline,
            pieces: BTreeMap::new(),
            holds: Holds::default(),
            have: 0,
            total: None,
            refused: None,
        }
    }

    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    pub fn held(&self) -> Holds {
        self.holds
    }

    /// Lets go of all pieces and takes no more.
    pub fn refuse(&mut self, reason: ControlDrop) -> Holds {
        self.refused = Some(reason);
        self.pieces.clear();
        std::mem::take(&mut self.holds)
    }

    pub fn add(&mut self, config: &ReassemblyConfig, fragment: Fragment<'_>) -> Added {
        if let Some(reason) = self.refused {
            return Added::Dropped(reason);
        }
        let most = config.room.min(IPV4_MAX_TOTAL);
        if fragment.least_header + fragment.end > most {
            return Added::Refused(ControlDrop::FragmentTooLarge);
        }
        if self.is_duplicate(&fragment) {
            return Added::Dropped(ControlDrop::FragmentDuplicate);
        }
        if self.overlaps(&fragment) || self.contradicts(&fragment) {
            return Added::Refused(ControlDrop::FragmentOverlap);
        }
        if self.pieces.len() >= config.pieces {
            return Added::Refused(ControlDrop::FragmentLimits);
        }
        self.keep(&fragment);
        Added::Kept { complete: self.total == Some(self.have) }
    }

    fn keep(&mut self, fragment: &Fragment<'_>) {
        if !fragment.more {
            self.total = Some(fragment.end);
        }
        self.have += fragment.end - fragment.start;
        self.holds.packets += 1;
        self.holds.bytes += fragment.cost();
        let piece = Piece {
            bytes: fragment.bytes.into(),
            header_len: fragment.header_len,
            end: fragment.end,
            more: fragment.more,
            ecn: fragment.ecn,
        };
        self.pieces.insert(fragment.start, piece);
    }

    /// The same piece of payload once more; headers may differ (TTL).
    fn is_duplicate(&self, fragment: &Fragment<'_>) -> bool {
        self.pieces.get(&fragment.start).is_some_and(|piece| {
            piece.more == fragment.more
                && piece.bytes[piece.header_len..] == fragment.bytes[fragment.header_len..]
        })
    }

    fn overlaps(&self, fragment: &Fragment<'_>) -> bool {
        // Pieces do not overlap each other, so the last one that begins before
        // this one's end also ends last.
        self.pieces
            .range(..fragment.end)
            .next_back()
            .is_some_and(|(_, piece)| piece.end > fragment.start)
    }

    /// A second, different end, or something behind the end.
    fn contradicts(&self, fragment: &Fragment<'_>) -> bool {
        let beyond_end = self.total.is_some_and(|total| fragment.end > total || !fragment.more);
        let last = self.pieces.values().next_back();
        let before_others = !fragment.more && last.is_some_and(|p| p.end > fragment.end);
        beyond_end || before_others
    }

    /// The first fragment as received, if it is there.
    pub fn into_first(mut self) -> Option<Box<[u8]>> {
        self.pieces.remove(&0).map(|piece| piece.bytes)
    }

    /// The whole datagram, with the first piece's headers: lengths, flags, ECN
    /// and checksum made good.
    pub fn assemble(&self, room: usize) -> Result<Vec<u8>, ControlDrop> {
        let first = self.pieces.get(&0).ok_or(ControlDrop::FragmentInvalid)?;
        let headers = first.whole_headers().ok_or(ControlDrop::FragmentInvalid)?;
        let total = headers.len() + self.have;
        if total > room.min(IPV4_MAX_TOTAL) {
            return Err(ControlDrop::FragmentTooLarge);
        }
        let ecn = self.ecn(first.ecn)?;
        let mut bytes = headers;
        bytes.reserve_exact(self.have);
        for piece in self.pieces.values() {
            bytes.extend_from_slice(&piece.bytes[piece.header_len..]);
        }
        let done = match bytes[0] >> 4 {
            6 => finish6(&mut bytes, ecn),
            _ => finish4(&mut bytes, ecn),
        };
        done.then_some(bytes).ok_or(ControlDrop::FragmentInvalid)
    }

    /// Congestion seen by one piece was seen by the datagram; where another
    /// says that its sender does not know ECN, they cannot both be right and
    /// the mark must not be lost (RFC 3168 §5.3).
    fn ecn(&self, first: u8) -> Result<u8, ControlDrop> {
        let any = |ecn| self.pieces.values().any(|piece| piece.ecn == ecn);
        match (any(ECN_CE), any(ECN_NOT_ECT)) {
            (true, true) => Err(ControlDrop::FragmentEcn),
            (true, false) => Ok(ECN_CE),
            (false, _) => Ok(first),
        }
    }
}

impl Piece {
    /// The headers of the whole: in IPv6 without the fragment header, whose
    /// place what follows it takes.
    fn whole_headers(&self) -> Option<Vec<u8>> {
        if self.bytes[0] >> 4 != 6 {
            return Some(self.bytes[..self.header_len].to_vec());
        }
        let piece = icmp6::Datagram::parse(&self.bytes).ok()?.upper()?.fragment?;
        let mut headers = self.bytes[..piece.at].to_vec();
        headers[piece.named_at] = piece.next_header;
        Some(headers)
    }
}

/// Makes length, flags, ECN and checksum of the whole good.
fn finish4(bytes: &mut [u8], ecn: u8) -> bool {
    let Ok(total) = u16::try_from(bytes.len()) else { return false };
    let Some(header) = Ipv4Header::mut_from(bytes) else { return false };
    header.tos = (header.tos & !3) | ecn;
    header.total_length = total.into();
    let flags = header.flags_fragment.get() & !(FLAG_MF | OFFSET_MASK);
    header.flags_fragment = flags.into();
    fill_checksum(bytes)
}

/// Makes payload length and ECN of the whole good.
fn finish6(bytes: &mut [u8], ecn: u8) -> bool {
    let Ok(payload) = u16::try_from(bytes.len() - IPV6_LEN) else { return false };
    bytes[4..6].copy_from_slice(&payload.to_be_bytes());
    // The lowest two bits of the traffic class are in the second byte.
    bytes[1] = (bytes[1] & !0x30) | ecn << 4;
    true
}
