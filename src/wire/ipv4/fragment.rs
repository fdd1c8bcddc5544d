//! Cutting a datagram into fragments (RFC 791 §2.3, §3.2; RFC 1812 §5.2.6).
//!
//! A plan is pure arithmetic: it says which piece of the payload goes where,
//! and [`FragmentPlan::emit_header`] writes a piece's header. It works on
//! datagrams and on what already is a fragment (RT-06): offsets continue from
//! the packet's own and the last piece keeps its MF flag. Pieces come in order
//! and are as few as can be: each but the last is filled to the MTU, rounded
//! down to 8 bytes.
//!
//! ```text
//!   packet   | header |  opts  |           payload             |
//!   piece 0  | header |  opts  | payload… |                       MF=1
//!   piece 1  | header | copied |          | payload… |            MF=1
//!   piece 2  | header | copied |                     | payload |  MF as in the packet
//! ```
//!
//! Reserved flag, identification, TOS, TTL and protocol are those of the
//! packet in every piece (RT-04).

use zerocopy::IntoBytes;

use super::options::{self, OptionBytes};
use super::{FLAG_MF, IPV4_LEN, IPV4_MAX_TOTAL, Ipv4Header, OFFSET_MASK, fill_checksum};
use crate::wire::{EmitError, room};

/// Why a packet cannot be fragmented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    /// The lengths in the header contradict the bytes given.
    #[error("not a whole IPv4 packet")]
    Malformed,
    /// DF is set (V4-01): the caller answers "fragmentation needed".
    #[error("fragmentation needed and DF set")]
    DontFragment,
    /// The MTU has no room for a header and 8 bytes of payload.
    #[error("MTU {mtu} is too small to fragment for: expected at least {needed}")]
    MtuTooSmall {
        /// The MTU asked for, in bytes.
        mtu: usize,
        /// The least that would do.
        needed: usize,
    },
    /// A fragment that reaches beyond the largest datagram; its pieces'
    /// offsets would wrap ("ping of death").
    #[error("fragment reaches beyond 65535 bytes")]
    BeyondDatagram,
}

/// One piece of the packet's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Where the piece starts in the packet's payload, in bytes.
    pub offset: usize,
    /// Bytes of the piece.
    pub len: usize,
    /// The MF flag of the piece.
    pub more: bool,
    /// Bytes of the piece's header, options included.
    pub header_len: usize,
}

/// How to cut one packet for one MTU. An iterator over the pieces.
#[derive(Clone, Debug)]
pub struct FragmentPlan {
    header: Ipv4Header,
    /// All options of the packet, for the first piece.
    first_options: OptionBytes,
    /// What pieces after the first carry of them.
    later_options: OptionBytes,
    payload_len: usize,
    mtu: usize,
    /// Where the next piece starts; beyond `payload_len` when done.
    next: usize,
    done: bool,
}

impl FragmentPlan {
    /// Plans for `packet`, a validated IPv4 packet (padding behind its total
    /// length is ignored), and a link that carries `mtu` bytes of IP. A packet
    /// that fits needs no cutting: its plan is the packet itself, DF or not.
    pub fn new(packet: &[u8], mtu: usize) -> Result<FragmentPlan, FragmentError> {
        let header = *Ipv4Header::ref_from(packet).ok_or(FragmentError::Malformed)?;
        let header_len = header.header_len();
        let option_bytes = packet.get(IPV4_LEN..header_len).ok_or(FragmentError::Malformed)?;
        if header.total_len() < header_len || packet.len() < header.total_len() {
            return Err(FragmentError::Malformed);
        }
        let payload_len = header.payload_len();
        let plan = FragmentPlan {
            header,
            first_options: option_bytes.iter().copied().collect(),
            later_options: options::copied_options(option_bytes),
            payload_len,
            mtu,
            next: 0,
            done: false,
        };
        if header.total_len() <= mtu {
            return Ok(plan);
        }
        if header.dont_fragment() {
            return Err(FragmentError::DontFragment);
        }
        let needed = header_len + 8;
        if mtu < needed {
            return Err(FragmentError::MtuTooSmall { mtu, needed });
        }
        if header.fragment_offset() + payload_len > IPV4_MAX_TOTAL {
            return Err(FragmentError::BeyondDatagram);
        }
        Ok(plan)
    }

    fn options_at(&self, offset: usize) -> &OptionBytes {
        if offset == 0 { &self.first_options } else { &self.later_options }
    }

    /// Writes the header of `piece`, checksum and options included, at the
    /// start of `buffer`; its payload, `piece.len` bytes from `piece.offset`
    /// of the packet's payload, goes behind. Returns the header's length.
    pub fn emit_header(&self, piece: &Fragment, buffer: &mut [u8]) -> Result<usize, EmitError> {
        let options = self.options_at(piece.offset);
        let out = room(buffer, IPV4_LEN + options.len())?;
        let total = out.len() + piece.len;
        let offset = (self.header.fragment_offset() + piece.offset) / 8;
        let too_long = EmitError::TooLong { length: total, most: IPV4_MAX_TOTAL };
        let kept = self.header.flags_fragment.get() & !(FLAG_MF | OFFSET_MASK);
        let offset =
            u16::try_from(offset).ok().filter(|o| o & !OFFSET_MASK == 0).ok_or(too_long)?;
        let header = Ipv4Header {
            version_ihl: 0x40 | (out.len() / 4) as u8,
            total_length: u16::try_from(total).map_err(|_| too_long)?.into(),
            flags_fragment: (kept | offset | if piece.more { FLAG_MF } else { 0 }).into(),
            ..self.header
        };
        out[..IPV4_LEN].copy_from_slice(header.as_bytes());
        out[IPV4_LEN..].copy_from_slice(options);
        let filled = fill_checksum(out);
        debug_assert!(filled, "the header was just written whole");
        Ok(out.len())
    }
}

impl Iterator for FragmentPlan {
    type Item = Fragment;

    fn next(&mut self) -> Option<Fragment> {
        if self.done {
            return None;
        }
        let offset = self.next;
        let header_len = IPV4_LEN + self.options_at(offset).len();
        let left = self.payload_len - offset;
        let last = header_len + left <= self.mtu;
        let len = if last { left } else { (self.mtu - header_len) & !7 };
        self.next += len;
        self.done = last;
        let more = !last || self.header.more_fragments();
        Some(Fragment { offset, len, more, header_len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ipv4::{FLAG_DF, Ipv4Repr, VERSION_IHL, validate};
    use crate::wire::testing::hex;
    use proptest::prelude::*;

    /// The pieces as whole packets.
    fn cut(packet: &[u8], mtu: usize) -> Result<Vec<Vec<u8>>, FragmentError> {
        let plan = FragmentPlan::new(packet, mtu)?;
        let payload = &packet[plan.header.header_len()..];
        let pieces = plan.clone().map(|piece| {
            let mut out = vec![0u8; piece.header_len];
            assert_eq!(plan.emit_header(&piece, &mut out), Ok(piece.header_len));
            out.extend_from_slice(&payload[piece.offset..piece.offset + piece.len]);
            out
        });
        Ok(pieces.collect())
    }

    fn packet(options: &[u8], flags_fragment: u16, payload: &[u8]) -> Vec<u8> {
        let repr = Ipv4Repr {
            src: [10, 1, 2, 3].into(),
            dst: [10, 4, 5, 6].into(),
            protocol: 17,
            ttl: 9,
            tos: 0xb8,
            id: 7,
            df: false,
            payload_len: options.len() + payload.len(),
        };
        let mut header = repr.header().expect("fits");
        header.version_ihl = VERSION_IHL + (options.len() / 4) as u8;
        header.flags_fragment = flags_fragment.into();
        let mut bytes = [header.as_bytes(), options, payload].concat();
        assert!(fill_checksum(&mut bytes));
        bytes
    }

    #[test]
    fn same_fragments_as_scapy() {
        // scapy: fragment(IP(id=7, ttl=9)/UDP(1000, 2000)/bytes(range(100)), fragsize=56)
        let big = hex("4500008000070000091196590a0102030a04050603e807d0006c3c83
            000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
            202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f
            404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f60616263");
        let first = hex("4500004c000720000911768d0a0102030a04050603e807d0006c3c83
            000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
            202122232425262728292a2b2c2d2e2f");
        let second = hex("45000048000700070911968a0a0102030a040506
            303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f
            505152535455565758595a5b5c5d5e5f60616263");
        // Room for 56 to 63 bytes cuts at 56.
        for mtu in 76..=83 {
            assert_eq!(cut(&big, mtu), Ok(vec![first.clone(), second.clone()]), "MTU {mtu}");
        }
        assert_eq!(cut(&big, 128), Ok(vec![big.clone()]));
        assert_eq!(cut(&big, 127).map(|p| p.len()), Ok(2));
    }

    #[test]
    fn first_piece_keeps_all_options_later_ones_the_copied() {
        let options = hex("07070400000000 01 83070409090909 00");
        let pieces = cut(&packet(&options, 0x8000, &[5; 200]), 100).expect("cuttable");
        assert_eq!(pieces[0][..36][20..], options);
        for piece in &pieces[1..] {
            assert_eq!(piece[20..28], hex("83070409090909 00"));
            assert_eq!(piece[0], 0x47);
        }
        assert!(pieces.iter().all(|p| p[6] & 0x80 != 0), "reserved flag is copied");
        // 64 bytes behind 36 of header, then 72 behind 28, then the last 64.
        assert_eq!(pieces.iter().map(Vec::len).collect::<Vec<_>>(), [100, 100, 92]);
    }

    #[test]
    fn refusals() {
        let with = |flags: u16| packet(&[], flags, &[1; 100]);
        assert_eq!(cut(&with(FLAG_DF), 100).err(), Some(FragmentError::DontFragment));
        assert_eq!(cut(&with(FLAG_DF), 120).map(|p| p.len()), Ok(1));
        let small = FragmentError::MtuTooSmall { mtu: 27, needed: 28 };
        assert_eq!(cut(&with(0), 27).err(), Some(small));
        assert_eq!(cut(&with(0), 28).map(|p| p.len()), Ok(13));
        assert_eq!(cut(&with(0x1fff), 100).err(), Some(FragmentError::BeyondDatagram));
        assert_eq!(cut(&with(0)[..119], 100).err(), Some(FragmentError::Malformed));
        assert_eq!(cut(&[0x45; 19], 100).err(), Some(FragmentError::Malformed));
        assert_eq!(cut(&[0x41; 40], 100).err(), Some(FragmentError::Malformed));
    }

    #[test]
    fn short_buffer_is_refused_untouched() {
        let plan = FragmentPlan::new(&packet(&[], 0, &[1; 100]), 60).expect("cuttable");
        let piece = plan.clone().next().expect("one piece at least");
        let mut out = [0xaa; 19];
        let needed = EmitError::NoRoom { needed: 20, available: 19 };
        assert_eq!(plan.emit_header(&piece, &mut out), Err(needed));
        assert_eq!(out, [0xaa; 19]);
    }

    proptest! {
        #[test]
        fn pieces_put_together_are_the_packet(
            payload in proptest::collection::vec(any::<u8>(), 0..3000),
            mtu in 68usize..1600, base in 0u16..4000, more in any::<bool>(),
            options in prop_oneof![
                Just(String::new()), Just("07070400000000 01 83070409090909 00".to_owned()),
                Just("88040001".to_owned()),
            ],
        ) {
            let flags = base | if more { FLAG_MF } else { 0 };
            let whole = packet(&hex(&options), flags, &payload);
            let pieces = cut(&whole, mtu).expect("cuttable");
            let mut at = usize::from(base) * 8;
            let mut joined = Vec::new();
            let mut most = 0;
            for (i, piece) in pieces.iter().enumerate() {
                let header = validate(piece, false).expect("valid");
                prop_assert_eq!(header.total_len(), piece.len());
                prop_assert!(piece.len() <= mtu);
                prop_assert_eq!(header.fragment_offset(), at, "in order, without gaps");
                let last = i + 1 == pieces.len();
                prop_assert_eq!(header.more_fragments(), more || !last);
                prop_assert!(last || header.payload_len().is_multiple_of(8));
                prop_assert_eq!((header.identification.get(), header.ttl, header.tos), (7, 9, 0xb8));
                joined.extend_from_slice(&piece[header.header_len()..]);
                at += header.payload_len();
                // No cut can put more than this into the pieces so far.
                most += if last { 0 } else { (mtu - header.header_len()) & !7 };
            }
            prop_assert_eq!(joined, payload.clone());
            prop_assert!(pieces.len() == 1 || most < payload.len(), "fewest pieces");
        }

        /// Somebody else's reassembly, the pieces arriving out of order.
        #[test]
        fn etherparse_puts_our_pieces_together(
            payload in proptest::collection::vec(any::<u8>(), 200..3000),
            mtu in 68usize..200, first in any::<proptest::sample::Index>(), swap in any::<bool>(),
            options in prop_oneof![Just(""), Just("07070400000000 01 83070409090909 00")],
        ) {
            let mut pieces = cut(&packet(&hex(options), 0, &payload), mtu).expect("cuttable");
            let first = first.index(pieces.len());
            pieces.rotate_left(first);
            if swap {
                pieces.reverse();
            }
            let mut pool = etherparse::defrag::IpDefragPool::<(), ()>::new();
            let last = pieces.len() - 1;
            for (n, piece) in pieces.iter().enumerate() {
                let sliced = etherparse::SlicedPacket::from_ip(piece).expect("their parse");
                let whole = pool.process_sliced_packet(&sliced, (), ()).expect("they fit");
                prop_assert_eq!(whole.is_some(), n == last, "whole with the last piece");
                if let Some(whole) = whole {
                    prop_assert_eq!((whole.ip_number.0, whole.payload), (17, payload.clone()));
                }
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200), mtu in 0usize..200,
        ) {
            let _ = cut(&bytes, mtu);
        }

        /// Cutting for a narrow link after a wide one loses nothing.
        #[test]
        fn fragments_of_fragments(
            len in 0usize..3000, wide in 600usize..1500, narrow in 68usize..600,
        ) {
            let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let whole = packet(&[], 0, &payload);
            let mut joined = Vec::new();
            for outer in cut(&whole, wide).expect("cuttable") {
                for inner in cut(&outer, narrow).expect("cuttable again") {
                    let header = validate(&inner, false).expect("valid");
                    prop_assert_eq!(header.fragment_offset(), joined.len());
                    joined.extend_from_slice(&inner[header.header_len()..]);
                    prop_assert_eq!(header.more_fragments(), joined.len() < len);
                }
            }
            prop_assert_eq!(joined, payload);
        }
    }
}
