//! ICMPv6 echo requests to us, answered in place (RFC 4443 §4.2).

use super::{Ipv6Header, validate};
use crate::wire::{IPPROTO_ICMPV6, checksum};

/// Echo request.
const ECHO_REQUEST: u8 = 128;
/// Echo reply.
const ECHO_REPLY: u8 = 129;
/// Bytes of an echo message without data.
const ECHO_LEN: usize = 8;

/// Turns the echo request in `packet` (one IPv6 packet to one of our unicast
/// addresses, whose ICMPv6 message starts at `at`) into its reply, in place:
/// addresses swapped, type and checksum updated, hop limit fresh. False, and
/// nothing done, for anything else.
///
/// Extension headers stay; a reply carries no flow label of its asker's.
pub fn answer(packet: &mut [u8], at: usize, hop_limit: u8) -> bool {
    if !is_request(packet, at) {
        return false;
    }
    let (ip, message) = packet.split_at_mut(at);
    let Some(ip) = Ipv6Header::mut_from(ip) else { return false };
    (ip.source, ip.destination) = (ip.destination, ip.source);
    ip.hop_limit = hop_limit;
    ip.version_class_flow = (ip.version_class_flow.get() & 0xfff0_0000).into();
    // Addresses change places in the pseudo header too: only the type counts.
    let word = |kind| u16::from_be_bytes([kind, 0]);
    let sum = u16::from_be_bytes([message[2], message[3]]);
    let sum = checksum::update16(sum, word(ECHO_REQUEST), word(ECHO_REPLY));
    message[0] = ECHO_REPLY;
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    true
}

fn is_request(packet: &[u8], at: usize) -> bool {
    let Ok(ip) = validate(packet) else { return false };
    let Some(message) = packet.get(at..ip.total_len()) else { return false };
    let request = message.len() >= ECHO_LEN && message[..2] == [ECHO_REQUEST, 0];
    request && checksum6(ip, IPPROTO_ICMPV6, message) == 0xffff
}

/// The sum over pseudo header (RFC 8200 §8.1) and message, folded: 0xffff if the
/// checksum in it is right.
pub(crate) fn checksum6(ip: &Ipv6Header, protocol: u8, message: &[u8]) -> u16 {
    use zerocopy::IntoBytes;
    let ends = checksum::sum(ip.source.as_bytes()) + checksum::sum(ip.destination.as_bytes());
    let len = message.len() as u32;
    let pseudo = ends + (len >> 16) + (len & 0xffff) + u32::from(protocol);
    !checksum::finish(pseudo + checksum::sum(message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    fn echo(src: [u8; 16], dst: [u8; 16], hops: u8, reply: bool, data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let ip = PacketBuilder::ipv6(src, dst, hops);
        let built = if reply { ip.icmpv6_echo_reply(7, 9) } else { ip.icmpv6_echo_request(7, 9) };
        built.write(&mut bytes, data).expect("to memory");
        bytes
    }

    proptest! {
        #[test]
        fn answers_are_what_etherparse_would_send(
            src: [u8; 16], dst: [u8; 16], data in prop::collection::vec(any::<u8>(), 0..1400),
        ) {
            let mut packet = echo(src, dst, 1, false, &data);
            prop_assert!(answer(&mut packet, 40, 64));
            prop_assert_eq!(packet, echo(dst, src, 64, true, &data));
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 0..99), at in 0usize..120,
        ) {
            answer(&mut bytes, at, 64);
        }
    }

    #[test]
    fn nothing_else_is_answered_or_touched() {
        let good = echo([1; 16], [2; 16], 9, false, b"greyhound");
        let mut bad_sum = good.clone();
        bad_sum[56] ^= 1;
        let mut code = good.clone();
        code[41] = 1;
        let cut = good[..47].to_vec();
        for packet in [bad_sum, code, cut, echo([1; 16], [2; 16], 9, true, b"x")] {
            let mut same = packet.clone();
            assert!(!answer(&mut same, 40, 64));
            assert_eq!(same, packet);
        }
    }
}
