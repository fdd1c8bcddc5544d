//! Cutting a datagram that we send (RFC 8200 §4.5): the outer packet of a tunnel.
//! What passes through is never cut.
//!
//! ```text
//!   packet   | IPv6 |           all behind it (fragmentable part)       |
//!   piece 0  | IPv6 | fragment header, M=1 | part… |
//!   piece 1  | IPv6 | fragment header, M=0 |       | part |
//! ```

use zerocopy::IntoBytes;

use super::chain::FRAGMENT_LEN;
use super::{IPV6_LEN, IPV6_MAX_PAYLOAD, Ipv6Header, validate};
use crate::wire::ipv4::fragment::{Fragment, FragmentError};
use crate::wire::{EmitError, IPPROTO_FRAGMENT, room};

/// Bytes of the headers of a piece.
const HEADERS: usize = IPV6_LEN + FRAGMENT_LEN;

/// How to cut one packet for one MTU. An iterator over the pieces.
#[derive(Clone, Debug)]
pub struct FragmentPlan6 {
    header: Ipv6Header,
    identification: u32,
    payload_len: usize,
    mtu: usize,
    /// Where the next piece starts.
    next: usize,
    done: bool,
}

impl FragmentPlan6 {
    /// Plans for `packet`, made here and with nothing behind it, and a link that
    /// carries `mtu` bytes of IP.
    pub fn new(
        packet: &[u8],
        mtu: usize,
        identification: u32,
    ) -> Result<FragmentPlan6, FragmentError> {
        let header = *validate(packet).map_err(|_| FragmentError::Malformed)?;
        let needed = HEADERS + 8;
        if mtu < needed {
            return Err(FragmentError::MtuTooSmall { mtu, needed });
        }
        let payload_len = header.total_len() - IPV6_LEN;
        Ok(FragmentPlan6 { header, identification, payload_len, mtu, next: 0, done: false })
    }

    /// Writes the headers of `piece` at the start of `buffer`; its payload,
    /// `piece.len` bytes from `piece.offset` of the packet's payload, goes
    /// behind. Returns their length.
    pub fn emit_header(&self, piece: &Fragment, buffer: &mut [u8]) -> Result<usize, EmitError> {
        let out = room(buffer, HEADERS)?;
        let length = FRAGMENT_LEN + piece.len;
        let too_long = EmitError::TooLong { length, most: IPV6_MAX_PAYLOAD };
        let header = Ipv6Header {
            payload_length: u16::try_from(length).map_err(|_| too_long)?.into(),
            next_header: IPPROTO_FRAGMENT,
            ..self.header
        };
        let offset = u16::try_from(piece.offset).map_err(|_| too_long)? | u16::from(piece.more);
        out[..IPV6_LEN].copy_from_slice(header.as_bytes());
        out[IPV6_LEN] = self.header.next_header;
        out[IPV6_LEN + 1] = 0;
        out[IPV6_LEN + 2..IPV6_LEN + 4].copy_from_slice(&offset.to_be_bytes());
        out[IPV6_LEN + 4..].copy_from_slice(&self.identification.to_be_bytes());
        Ok(HEADERS)
    }
}

impl Iterator for FragmentPlan6 {
    type Item = Fragment;

    fn next(&mut self) -> Option<Fragment> {
        if self.done {
            return None;
        }
        let offset = self.next;
        let left = self.payload_len - offset;
        let last = HEADERS + left <= self.mtu;
        let len = if last { left } else { (self.mtu - HEADERS) & !7 };
        self.next += len;
        self.done = last;
        Some(Fragment { offset, len, more: !last, header_len: HEADERS })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::udp;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Read back by etherparse: every piece fits, says the same, and all
        /// together are the packet.
        #[test]
        fn pieces_are_the_packet(len in 0usize..4000, mtu in 56usize..1600, id: u32) {
            let packet = udp(1 << 100, 2 << 100, len);
            let plan = FragmentPlan6::new(&packet, mtu, id).expect("room");
            let (whole, _) = etherparse::Ipv6Header::from_slice(&packet).expect("valid");
            let mut payload: Vec<u8> = Vec::new();
            for piece in plan.clone() {
                let mut out = vec![0; piece.header_len];
                prop_assert_eq!(plan.emit_header(&piece, &mut out), Ok(48));
                out.extend(&packet[40 + piece.offset..40 + piece.offset + piece.len]);
                prop_assert!(out.len() <= mtu);
                let (ip, rest) = etherparse::Ipv6Header::from_slice(&out).expect("valid");
                let (fragment, rest) = etherparse::Ipv6FragmentHeader::from_slice(rest).expect("whole");
                prop_assert_eq!(usize::from(ip.payload_length), 8 + piece.len);
                prop_assert_eq!((ip.source, ip.destination), (whole.source, whole.destination));
                prop_assert_eq!((ip.next_header.0, fragment.next_header.0), (44, 17));
                prop_assert_eq!(fragment.identification, id);
                prop_assert_eq!(usize::from(fragment.fragment_offset.value()) * 8, payload.len());
                prop_assert_eq!(rest.len(), piece.len);
                payload.extend(rest);
                prop_assert_eq!(fragment.more_fragments, payload.len() < packet.len() - 40);
                prop_assert!(!fragment.more_fragments || piece.len % 8 == 0);
            }
            prop_assert_eq!(&payload, &packet[40..]);
        }
    }

    #[test]
    fn what_cannot_be_cut() {
        let packet = udp(1, 2, 500);
        let small = FragmentError::MtuTooSmall { mtu: 55, needed: 56 };
        assert_eq!(FragmentPlan6::new(&packet, 55, 0).err(), Some(small));
        assert_eq!(FragmentPlan6::new(&packet[..99], 500, 0).err(), Some(FragmentError::Malformed));
    }
}
