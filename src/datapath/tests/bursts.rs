//! Bursts of every shape: all kinds of packets mixed, so that each stage's
//! lists are partly filled and every packet must find its own way.

use super::packets::{Datagram, frame, read};
use super::testbed::*;

/// Packet `n` of a mix, and whether it is to be sent.
fn mixed(n: usize) -> (Vec<u8>, bool) {
    let n16 = n as u16;
    let mark = move |d: Datagram| d.with(|h| h.identification = n16);
    let inner = |dst| mark(Datagram::udp("10.9.0.2", dst, n)).bytes();
    let gre = |inner: &[u8]| Datagram::gre("198.51.100.2", "203.0.113.1", 0, 0x0800, inner);
    let (datagram, sent) = match n % 11 {
        0 => (mark(Datagram::udp("10.0.0.163", "198.18.0.1", n)), true),
        1 => (mark(Datagram::udp("10.0.0.163", "20.0.0.1", n)), true),
        2 => (gre(&inner("198.18.0.2")), true),
        3 => (mark(Datagram::udp("10.0.0.163", "9.9.9.9", n)), false),
        4 => (mark(Datagram::udp("10.0.0.163", "21.0.0.1", n)), true),
        5 => (gre(&gre(&inner("198.18.0.2")).bytes()), true),
        6 => (mark(Datagram::udp("10.0.0.163", "198.18.0.1", n)).ttl(1), false),
        7 => (Datagram::new("198.51.100.3", "203.0.113.1", 4, inner("198.18.0.3")), true),
        8 => (mark(Datagram::udp("10.0.0.163", "198.18.0.1", n).options(&[1; 4])), true),
        9 => (mark(Datagram::udp("10.0.0.163", "10.0.0.1", n)), false),
        _ => (mark(Datagram::udp("10.0.0.163", "22.0.0.1", n)), true),
    };
    (frame(EN0_MAC, HOST_MAC, 0x0800, &datagram.bytes()), sent)
}

/// The identification of the innermost datagram.
fn mark_of(sent: &[u8]) -> u16 {
    let (_, mut datagram) = read(sent);
    loop {
        let inner = match datagram.header.protocol.0 {
            47 => &datagram.payload[4..],
            4 => &datagram.payload[..],
            _ => return datagram.header.identification,
        };
        datagram = super::packets::read_ip(inner);
    }
}

#[test]
fn bursts_that_leave_whole_keep_every_packet_and_its_order() {
    for size in [1, 2, 63, 64, 65, 130] {
        let mut bed = Testbed::new();
        for n in 0..size {
            let (frame, _) = mixed(n * 11);
            bed.receive(EN0, &frame);
        }
        let marks: Vec<u16> = bed.turns().iter().map(|(_, frame)| mark_of(frame)).collect();
        let expected: Vec<u16> = (0..size).map(|n| n as u16 * 11).collect();
        assert_eq!(marks, expected, "{size} packets");
        assert_eq!(bed.counters.imbalance(), 0);
        let sent = bed.counters.ledger(EN0).sent.get();
        assert_eq!(sent, size as u64);
    }
}

#[test]
fn bursts_of_all_sizes_keep_every_packet_and_its_order() {
    for size in [1, 2, 7, 15, 16, 17, 31, 32, 33, 63, 64, 65, 130] {
        for start in 0..11 {
            let mut bed = Testbed::new();
            let mut expected = Vec::new();
            for n in start..start + size {
                let (frame, sent) = mixed(n);
                bed.receive(EN0, &frame);
                if sent {
                    expected.push(n as u16);
                }
            }
            assert_eq!(bed.worker.turn(), size.min(64));
            let marks: Vec<u16> = bed.turns().iter().map(|(_, frame)| mark_of(frame)).collect();
            assert_eq!(marks, expected, "{size} packets from {start}");
        }
    }
}

#[test]
fn nothing_of_a_burst_before_shows_in_the_next() {
    let mut bed = Testbed::new();
    for n in 0..64 {
        // All GROUP, tagged, or addressed to us.
        let (frame, _) = mixed(n);
        let mut group = frame.clone();
        group[..6].fill(0xff);
        bed.receive(EN0, &super::packets::tagged(&group, 20));
    }
    bed.turns();
    bed.told();
    for n in 0..64 {
        bed.receive(EN0, &mixed(11 * n).0);
    }
    assert_eq!(bed.turns().len(), 64);
}
