//! Checksum, key and sequence number, checked by slow code of our own: the
//! header put together word by word, the sum over pairs of bytes.

use super::packets::{Datagram, frame, read, routed};
use super::testbed::*;
use crate::buf::heap::TestBuf;
use crate::ids::IfId;
use crate::meeting::meet;
use crate::tables::adjacency::flags::{GRE_CHECKSUM, GRE_SEQUENCE};
use crate::tables::adjacency::{Adjacency, Encapsulation};

const KEY: u32 = 0xdead_beef;

/// A GRE packet: header words as asked for, then the payload.
pub fn gre(checksum: bool, key: Option<u32>, sequence: Option<u32>, inner: &[u8]) -> Vec<u8> {
    let bits = [(checksum, 0x80), (key.is_some(), 0x20), (sequence.is_some(), 0x10)];
    let first: u8 = bits.iter().filter(|(set, _)| *set).map(|(_, bit)| bit).sum();
    let mut packet = vec![first, 0, 8, 0];
    if checksum {
        packet.extend([0; 4]);
    }
    for word in [key, sequence].into_iter().flatten() {
        packet.extend(word.to_be_bytes());
    }
    packet.extend(inner);
    if checksum {
        let sum = slow_checksum(&packet);
        packet[4..6].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

/// RFC 1071 as it is told: words added one by one, each carry brought round.
fn slow_checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u16;
    for pair in bytes.chunks(2) {
        let word = u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
        let (added, carry) = sum.overflowing_add(word);
        sum = added + u16::from(carry);
    }
    !sum
}

/// An adjacency with these options, its header from the code above.
fn adjacency(checksum: bool, key: Option<u32>, sequence: bool) -> Adjacency {
    let mut header = gre(checksum, key, sequence.then_some(0), &[]);
    if checksum {
        header[4..6].fill(0);
    }
    let options = u8::from(checksum) * GRE_CHECKSUM + u8::from(sequence) * GRE_SEQUENCE;
    let mut adjacency = tunnel(Encapsulation::Gre, GRE0, "198.51.100.2", GRE_MTU - 12, options);
    let len = 34 + header.len();
    adjacency.rewrite[34..len].copy_from_slice(&header);
    adjacency.rewrite_len = len as u8;
    adjacency
}

fn from_far(payload: Vec<u8>) -> Vec<u8> {
    let outer = Datagram::new("198.51.100.2", "203.0.113.1", 47, payload);
    frame(EN1_MAC, ROUTER_MAC, 0x0800, &outer.bytes())
}

#[test]
fn each_option_and_all_of_them_for_every_payload_size() {
    let options = [(true, false, false), (false, true, false), (false, false, true)];
    let options = options.into_iter().chain([(true, true, false), (true, true, true)]);
    for (checksum, keyed, sequence) in options {
        let mut bed = Testbed::new();
        let key = keyed.then_some(KEY);
        bed.route("25.0.0.0/8", adjacency(checksum, key, sequence));
        for len in 0..=1436 {
            let packet = Datagram::udp("10.0.0.163", "25.1.2.3", len);
            let (_, outer) = read(&bed.one(EN0, &packet.frame()).1);
            let number = sequence.then_some(len as u32);
            assert_eq!(outer.payload, gre(checksum, key, number, &routed(&packet)), "{len}");
        }
        assert_eq!(bed.interface(GRE0)[1], 1437);
    }
}

#[test]
fn options_are_taken_off_for_every_payload_size() {
    for (checksum, keyed, sequence) in
        [(true, false, false), (false, true, false), (false, false, true), (true, true, true)]
    {
        let mut bed = Testbed::new();
        let key = keyed.then_some(KEY);
        bed.keyed(IfId(20), "198.51.100.2", key);
        for len in 0..=1436 {
            let inner = Datagram::udp("10.9.0.2", "10.0.0.163", len);
            let number = sequence.then_some(len as u32);
            let packet = from_far(gre(checksum, key, number, &inner.bytes()));
            assert_eq!(bed.one(EN1, &packet).1[14..], routed(&inner), "payload of {len}");
        }
        assert_eq!(bed.interface(IfId(20))[0], 1437);
    }
}

#[test]
fn a_checksum_is_over_header_and_payload_and_not_over_padding() {
    let mut bed = Testbed::new();
    let inner = Datagram::udp("10.9.0.2", "10.0.0.163", 9).bytes();
    let good = gre(true, None, None, &inner);
    for at in 0..good.len() {
        if (0..4).contains(&at) {
            continue; // Flags and type: another header altogether.
        }
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            assert_eq!(bed.pass(EN1, &from_far(bad)), Sent::new(), "byte {at} bit {bit}");
        }
    }
    let bad = (good.len() - 4) as u64 * 8;
    assert_eq!(bed.drops(), [(crate::datapath::drop::DropReason::GreBadChecksum, bad)]);
    let mut padded = from_far(good);
    padded.extend([0x77; 9]);
    bed.one(EN1, &padded);
}

#[test]
fn numbers_count_only_for_packets_that_are_good_otherwise() {
    let mut bed = Testbed::new();
    let good = Datagram::udp("10.9.0.2", "10.0.0.163", 9);
    let numbered = |n, inner: &Datagram| from_far(gre(false, None, Some(n), &inner.bytes()));
    bed.one(EN1, &numbered(5, &good));
    assert_eq!(bed.pass(EN1, &numbered(5, &good)), Sent::new(), "twice");
    assert_eq!(bed.pass(EN1, &numbered(100, &good.clone().ttl(0))), Sent::new());
    bed.one(EN1, &numbered(6, &good));
    // A packet without a number is none of the sequence's business.
    bed.one(EN1, &from_far(gre(false, None, None, &good.bytes())));
    bed.one(EN1, &numbered(7, &good));
    use crate::datapath::drop::DropReason::{GreOutOfSequence, InnerTtlZero};
    let mut drops = bed.drops();
    drops.sort();
    let mut expected = [(InnerTtlZero, 1), (GreOutOfSequence, 1)];
    expected.sort();
    assert_eq!(drops, expected);
}

/// Found by the soak: those with IPv6 inside were judged after all others of their
/// burst, and so were late.
#[test]
fn both_families_of_a_burst_share_a_tunnels_numbers() {
    use super::testbed6::{HOST6, udp6};
    let mut bed = Testbed::six();
    for number in 0..63 {
        let four = Datagram::udp("10.9.0.2", "10.0.0.163", number as usize).bytes();
        let mut packet = gre(number % 2 == 0, None, Some(number), &four);
        if number % 3 == 0 {
            packet = gre(false, None, Some(number), &udp6("2001:db8:20::9", HOST6, 9));
            packet[2..4].copy_from_slice(&[0x86, 0xdd]);
        }
        bed.receive(EN1, &from_far(packet));
    }
    assert_eq!((bed.turns().len(), bed.drops()), (63, vec![]));
}

#[test]
fn pieces_of_a_datagram_have_a_number_each() {
    let mut bed = Testbed::new();
    let mut small = adjacency(true, Some(7), true);
    (small.mtu, small.underlay_mtu) = (576, 612);
    bed.route("25.0.0.0/8", small);
    let packet = Datagram::udp("10.0.0.163", "25.1.2.3", 1400);
    let sent = bed.pass(EN0, &packet.frame());
    let mut pieces = Vec::new();
    for (number, (_, frame)) in sent.iter().enumerate() {
        let (_, outer) = read(frame);
        assert!(outer.bytes().len() <= 612);
        let inner = outer.payload[16..].to_vec();
        assert_eq!(outer.payload, gre(true, Some(7), Some(number as u32), &inner));
        pieces.push(super::packets::read_ip(&inner));
    }
    assert_eq!(super::packets::reassemble(&pieces).bytes(), routed(&packet));
}

/// Two workers that both receive what goes into a numbered tunnel.
#[test]
fn one_worker_numbers_what_all_send_into_a_tunnel() {
    let mut ends = meet::<TestBuf>(2, 256).into_iter();
    let mut beds = [0, 1].map(|_| Testbed::meeting(ends.next().unwrap()));
    for bed in &mut beds {
        bed.route("25.0.0.0/8", adjacency(true, None, true));
    }
    let mut numbers = Vec::new();
    for round in 0..20 {
        for n in 0..10 {
            // Some have to be cut.
            let packet = Datagram::udp("10.0.0.163", "25.1.2.3", if n % 5 == 4 { 1470 } else { n });
            beds[(round + n) % 2].receive(EN0, &packet.frame());
        }
        assert_eq!(beds[1].turns(), Sent::new(), "tunnel 10 is worker 0's");
        for (_, frame) in beds[0].turns() {
            let (_, outer) = read(&frame);
            let number = u32::from_be_bytes(*outer.payload[8..].first_chunk().unwrap());
            let inner = outer.payload[12..].to_vec();
            assert_eq!(outer.payload, gre(true, None, Some(number), &inner));
            numbers.push(number);
        }
    }
    assert_eq!(numbers, (0..20 * 12).collect::<Vec<u32>>());
    assert_eq!((beds[0].interface(GRE0)[1], beds[1].interface(GRE0)[1]), (240, 0));
    for bed in &beds {
        assert_eq!((bed.counters.imbalance(), bed.drops()), (0, vec![]));
        assert_eq!(bed.interface(EN0_IF)[0], 100);
    }
    let (handed, taken) =
        (&beds[1].counters.ledger(EN0).handed, &beds[0].counters.ledger(EN0).taken);
    assert_eq!((handed.get(), taken.get()), (100, 100));
    beds.into_iter().for_each(std::mem::forget);
}
