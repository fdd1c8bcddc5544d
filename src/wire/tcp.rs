//! As much of TCP (RFC 9293 §3.1) as a router may touch: the maximum segment size
//! that a connection's two ends tell each other.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------------------------------+-------------------------------+
//! |          Source Port          |       Destination Port        |
//! +-------------------------------+-------------------------------+
//! |                        Sequence Number                        |
//! +---------------------------------------------------------------+
//! |                     Acknowledgment Number                     |
//! +-------+-------+---------------+-------------------------------+
//! | Offset|       |C|E|U|A|P|R|S|F|            Window             |
//! +-------+-------+---------------+-------------------------------+
//! |           Checksum            |         Urgent Pointer        |
//! +-------------------------------+-------------------------------+
//! |  options … kind 2 │ length 4 │ maximum segment size │ …        |
//! +---------------------------------------------------------------+
//! ```

use super::checksum::update16;

/// Bytes of a header without options.
pub const TCP_LEN: usize = 20;

const OFFSET: usize = 12;
const FLAGS: usize = 13;
const CHECKSUM: usize = 16;
const SYN: u8 = 0x02;

const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;
const MAXIMUM_SEGMENT_SIZE: u8 = 2;

/// Lowers the maximum segment size that a connection's opening segment offers
/// to `limit`, and mends the checksum. True if it was above. A segment that
/// offers none, or whose options make no sense, stays as it is.
#[must_use]
pub fn clamp_mss(segment: &mut [u8], limit: u16) -> bool {
    let Some(at) = offered(segment) else { return false };
    let (old, new) = (u16::from_be_bytes([segment[at], segment[at + 1]]), limit);
    if old <= new {
        return false;
    }
    segment[at..at + 2].copy_from_slice(&new.to_be_bytes());
    // Behind an odd number of bytes its halves lie in two words of the sum.
    let (old, new) = if at % 2 == 0 { (old, new) } else { (old.swap_bytes(), new.swap_bytes()) };
    let sum = u16::from_be_bytes([segment[CHECKSUM], segment[CHECKSUM + 1]]);
    segment[CHECKSUM..CHECKSUM + 2].copy_from_slice(&update16(sum, old, new).to_be_bytes());
    true
}

/// Where an opening segment says its maximum segment size.
fn offered(segment: &[u8]) -> Option<usize> {
    if segment.get(FLAGS)? & SYN == 0 {
        return None;
    }
    let end = usize::from(segment[OFFSET] >> 4) * 4;
    let header = segment.get(..end)?;
    let mut at = TCP_LEN;
    loop {
        match *header.get(at)? {
            END_OF_OPTIONS => return None,
            NO_OPERATION => at += 1,
            kind => {
                let len = usize::from(*header.get(at + 1)?);
                if len < 2 || at + len > end {
                    return None;
                }
                if kind == MAXIMUM_SEGMENT_SIZE {
                    return (len == 4).then_some(at + 2);
                }
                at += len;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{PacketBuilder, TcpHeader, TcpHeaderSlice, TcpOptionElement};
    use proptest::prelude::*;

    const ENDS: ([u8; 4], [u8; 4]) = ([10, 0, 0, 163], [10, 0, 0, 25]);

    /// A segment by etherparse.
    fn segment(syn: bool, options: &[TcpOptionElement], payload: &[u8]) -> Vec<u8> {
        let mut tcp = TcpHeader::new(4000, 80, 7, 1024);
        tcp.syn = syn;
        tcp.set_options(options).expect("they fit");
        let mut packet = Vec::new();
        let builder = PacketBuilder::ipv4(ENDS.0, ENDS.1, 64).tcp_header(tcp);
        builder.write(&mut packet, payload).expect("room");
        packet[20..].to_vec()
    }

    fn checksum_is_right(segment: &[u8]) -> bool {
        let slice = TcpHeaderSlice::from_slice(segment).expect("a header");
        let payload = &segment[slice.slice().len()..];
        slice.to_header().calc_checksum_ipv4_raw(ENDS.0, ENDS.1, payload) == Ok(slice.checksum())
    }

    #[test]
    fn only_what_is_above_the_limit_of_an_opening_segment_changes() {
        let offer = [TcpOptionElement::MaximumSegmentSize(1460)];
        for (syn, options, limit, changes) in [
            (true, &offer[..], 1459, true),
            (true, &offer[..], 1460, false),
            (false, &offer[..], 536, false),
            (true, &[TcpOptionElement::SelectiveAcknowledgementPermitted][..], 536, false),
        ] {
            let before = segment(syn, options, b"x");
            let mut after = before.clone();
            assert_eq!(clamp_mss(&mut after, limit), changes);
            assert_eq!(after != before, changes);
            assert!(checksum_is_right(&after));
        }
    }

    #[test]
    fn options_that_make_no_sense_are_left_alone() {
        for options in [[2, 4, 5], [2, 3, 5], [2, 0, 5], [9, 1, 2], [9, 200, 2], [2, 2, 5]] {
            let mut bytes = segment(true, &[TcpOptionElement::MaximumSegmentSize(1460)], b"");
            bytes[20..23].copy_from_slice(&options);
            if options == [2, 4, 5] {
                bytes.truncate(22); // Cut short.
            }
            let before = bytes.clone();
            assert!(!clamp_mss(&mut bytes, 100), "{options:?}");
            assert_eq!(bytes, before);
        }
    }

    proptest! {
        #[test]
        fn the_checksum_stays_right_wherever_the_option_is(
            size: u16, limit: u16, ahead in 0usize..8, behind in 0usize..8,
            payload in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut options = vec![TcpOptionElement::Noop; ahead];
            options.push(TcpOptionElement::MaximumSegmentSize(size));
            options.extend(vec![TcpOptionElement::Noop; behind]);
            let mut bytes = segment(true, &options, &payload);
            prop_assert_eq!(clamp_mss(&mut bytes, limit), size > limit);
            options[ahead] = TcpOptionElement::MaximumSegmentSize(size.min(limit));
            let expected = segment(true, &options, &payload);
            // The two zeros of a sum are one (RFC 1071).
            prop_assert_eq!(&bytes[..16], &expected[..16]);
            prop_assert_eq!(&bytes[18..], &expected[18..]);
            prop_assert!(checksum_is_right(&bytes) || bytes[16..18] == [0xff, 0xff] || bytes[16..18] == [0, 0]);
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 0..64), limit: u16,
        ) {
            let _ = clamp_mss(&mut bytes, limit);
        }
    }
}
