//! A million frames of nonsense, from pure noise to nearly right ones, through
//! the whole path.

use super::packets::Datagram;
use super::testbed::*;
use super::testbed6::*;
use crate::exchange::InjectKind;
use crate::ids::PortId;

/// xorshift64*: reproducible, and good enough to be garbage.
pub struct Noise(pub u64);

impl Noise {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// Good frames to spoil.
fn seeds() -> Vec<Vec<u8>> {
    let gre = |inner: &[u8]| Datagram::gre("198.51.100.2", "203.0.113.1", 0, 0x0800, inner);
    let inner = Datagram::udp("10.9.0.2", "10.0.0.163", 60);
    let deep = Datagram::gre("10.9.0.2", "10.9.0.1", 0, 0x0800, &inner.bytes());
    let datagrams = [
        Datagram::udp("10.0.0.163", "198.18.0.1", 20),
        Datagram::udp("10.0.0.163", "20.0.0.1", 400),
        Datagram::udp("10.0.0.163", "100.64.0.1", 1300),
        Datagram::udp("10.0.0.163", "23.0.0.1", 1300),
        Datagram::udp("10.0.0.163", "24.0.0.1", 1300).options(&[0x94, 4, 0, 0]),
        Datagram::echo("10.0.0.163", "10.0.0.1", 30),
        gre(&inner.bytes()),
        gre(&deep.bytes()),
        Datagram::new("198.51.100.3", "203.0.113.1", 4, inner.bytes()),
        gre(&Datagram::echo("10.9.0.2", "10.9.0.1", 8).bytes()),
    ];
    let mut frames: Vec<_> = datagrams.iter().map(Datagram::frame).collect();
    frames.push(super::packets::tagged(&datagrams[1].frame(), 20));
    frames.extend(seeds6());
    frames.extend(super::udp::seeds());
    frames
}

/// Good frames of IPv6.
fn seeds6() -> Vec<Vec<u8>> {
    let inner = udp6("2001:db8:20::9", HOST6, 60);
    let limited = [&[41, 0, 4, 1, 4, 1, 1, 0][..], &inner].concat();
    let four = Datagram::udp("30.0.0.9", "10.0.0.163", 60).bytes();
    let over4 = Datagram::new("198.51.100.3", "203.0.113.1", 41, inner.clone());
    let mut packets = vec![
        six(FAR6, EN1_6, 41, &six(FAR6, EN1_6, 41, &inner)),
        six(FAR6, EN1_6, 60, &limited),
        six(FAR6, EN1_6, 4, &four),
        six(FAR6, EN1_6, 47, &[&[0, 0, 0x86, 0xdd][..], &inner].concat()),
        six(HOST6, EN0_6, 44, &[58, 0, 0, 1, 1, 2, 3, 4, 9, 9, 9, 9, 9, 9, 9, 9]),
        six(HOST6, EN0_6, 58, &[135, 0, 0, 0, 0, 0, 0, 0]),
        over4.bytes(),
    ];
    for net in ["1", "2", "20", "21", "22", "24", "25", "26", "27", "99"] {
        packets.push(udp6(HOST6, &format!("2001:db8:{net}::9"), 1400));
    }
    packets.iter().map(|packet| from_host(packet)).collect()
}

/// Puts the header's checksum right, so that the noise gets further in.
fn mend(frame: &mut [u8]) {
    if let Some(ip) = frame.get_mut(14..) {
        let _ = crate::wire::ipv4::fill_checksum(ip);
    }
}

fn spoil(noise: &mut Noise, seeds: &[Vec<u8>], frame: &mut Vec<u8>) {
    frame.clear();
    if noise.below(4) == 0 {
        frame.resize(noise.below(200), 0);
        noise.fill(frame);
        if noise.below(2) == 0 && frame.len() >= 14 {
            frame[..6].copy_from_slice(&EN0_MAC);
            frame[12..14].copy_from_slice(&[8, 0]);
        }
        return;
    }
    frame.extend(&seeds[noise.below(seeds.len())]);
    for _ in 0..noise.below(4) {
        let at = 12 + noise.below(64);
        let bit = noise.below(8);
        if let Some(byte) = frame.get_mut(at) {
            *byte ^= 1 << bit;
        }
    }
    if noise.below(8) == 0 {
        frame.truncate(noise.below(frame.len()));
    }
    if noise.below(2) == 0 {
        mend(frame);
    }
}

#[test]
fn a_million_frames_of_garbage() {
    const FRAMES: usize = 1_000_000;
    let mut bed = super::udp::bed();
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let seeds = seeds();
    let mut frame = Vec::new();
    let (mut done, mut kinds) = (0, 0);
    while done < FRAMES {
        for _ in 0..1 + noise.below(64) {
            spoil(&mut noise, &seeds, &mut frame);
            let port = PortId(noise.below(4) as u8 % 2);
            bed.receive(port, &frame);
            done += 1;
            if noise.below(64) == 0 {
                kinds += 1;
                let kind = [
                    InjectKind::Originate,
                    InjectKind::Forward { in_if: EN0_IF },
                    InjectKind::Frame { port: EN1, out_if: EN1_IF },
                ][kinds % 3];
                let _ = bed.control.inject(kind, frame.get(14..).unwrap_or_default());
            }
        }
        bed.worker.io().tx_limit = if noise.below(16) == 0 { noise.below(8) } else { usize::MAX };
        bed.worker.io().now_ns += 50_000;
        while bed.worker.turn() > 0 {
            bed.worker.io().discard_sent();
        }
        while bed.control.take(|_| ()).is_some() {}
    }
    bed.worker.io().discard_sent();
    assert_eq!(bed.worker.io().available(), POOL, "the pool is as full as before");
    let sent: u64 = bed.counters.ledgers.iter().map(|l| l.sent.get()).sum();
    assert!(sent > FRAMES as u64 / 20, "{sent} sent: the noise should not all die at the door");
    assert!(bed.drops().len() > 20, "{:?}", bed.drops());
}
