//! One datagram in the making: its pieces by offset, and what is wrong with
//! them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Key, ReassemblyConfig};
use crate::control::tally::ControlDrop;
use crate::ids::IfId;
use crate::wire::ipv4::{self, FLAG_MF, IPV4_MAX_TOTAL, Ipv4Header, OFFSET_MASK, fill_checksum};

/// ECN: congestion experienced, and not ECN-capable (RFC 3168 §5).
const ECN_CE: u8 = 3;
const ECN_NOT_ECT: u8 = 0;

/// A fragment as received, measured.
#[derive(Debug)]
pub(super) struct Fragment<'a> {
    /// Header and payload, without padding.
    bytes: &'a [u8],
    header_len: usize,
    /// Where its payload begins in the datagram's, and ends.
    start: usize,
    end: usize,
    more: bool,
    ecn: u8,
}

impl<'a> Fragment<'a> {
    /// Reads a fragment and whose it is. `None` if it cannot be one: empty,
    /// whole, or not the last and no multiple of 8 bytes long.
    pub fn read(bytes: &'a [u8], in_if: IfId) -> Option<(Fragment<'a>, Key)> {
        let ip = ipv4::validate(bytes, false).ok()?;
        let (start, len, more) = (ip.fragment_offset(), ip.payload_len(), ip.more_fragments());
        if !ip.is_fragment() || len == 0 || (more && len % 8 != 0) {
            return None;
        }
        let key = Key {
            in_if,
            source: ip.src(),
            destination: ip.dst(),
            id: ip.identification.get(),
            protocol: ip.protocol,
        };
        let fragment = Fragment {
            bytes: &bytes[..ip.total_len()],
            header_len: ip.header_len(),
            start,
            end: start + len,
            more,
            ecn: ip.ecn(),
        };
        Some((fragment, key))
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
        // A datagram has at least this header; the first piece's may be longer.
        let most = config.room.min(IPV4_MAX_TOTAL);
        if ipv4::IPV4_LEN + fragment.end > most {
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

    /// The whole datagram, with the first piece's header: lengths, flags, ECN
    /// and checksum made good.
    pub fn assemble(&self, room: usize) -> Result<Vec<u8>, ControlDrop> {
        let first = self.pieces.get(&0).ok_or(ControlDrop::FragmentInvalid)?;
        let total = first.header_len + self.have;
        let total_length = u16::try_from(total).map_err(|_| ControlDrop::FragmentTooLarge)?;
        if total > room {
            return Err(ControlDrop::FragmentTooLarge);
        }
        let mut bytes = Vec::with_capacity(total);
        bytes.extend_from_slice(&first.bytes[..first.header_len]);
        for piece in self.pieces.values() {
            bytes.extend_from_slice(&piece.bytes[piece.header_len..]);
        }
        let ecn = self.ecn(first.ecn)?;
        let header = Ipv4Header::mut_from(&mut bytes).ok_or(ControlDrop::FragmentInvalid)?;
        header.tos = (header.tos & !3) | ecn;
        header.total_length = total_length.into();
        let flags = header.flags_fragment.get() & !(FLAG_MF | OFFSET_MASK);
        header.flags_fragment = flags.into();
        if !fill_checksum(&mut bytes) {
            return Err(ControlDrop::FragmentInvalid);
        }
        Ok(bytes)
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
