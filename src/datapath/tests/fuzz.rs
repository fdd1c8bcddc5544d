//! Decapsulation under arbitrary bytes: noise, and tunnel packets of every encapsulation,
//! nested up to the bound and beyond, cut short, spoilt and mended.
//!
//! Nothing may panic, every packet must be accounted for, every buffer come back; and so
//! that the noise does not all die at the door, every reason of decapsulation has to be
//! met and packets have to come out of every tunnel.
//!
//! `GREYHOUND_FUZZ` is how many executions, `GREYHOUND_SEED` the seed (both have a
//! default). When a run fails, its last burst is kept in `tests/corpus/`, whose files
//! are where every run begins.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::garbage::Noise;
use super::gre::gre;
use super::packets::Datagram;
use super::testbed::*;
use super::testbed6::*;
use super::udp::{UDP4, UDP6, from4, from6};
use crate::buf::BURST;
use crate::datapath::drop::DropReason::{self, *};
use crate::ids::{IfId, PortId};
use crate::replay::bench::Sent as Frame;
use crate::replay::pcap;

/// Executions, if nobody says how many.
const EXECUTIONS: usize = 1_000_000;
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const KEY: u32 = 7;
const KEYED: IfId = IfId(30);
const MINIMAL: IfId = IfId(31);

/// Where a packet can end in decapsulation.
const ENDS: [DropReason; 18] = [
    UnknownTunnel,
    TunnelDown,
    MinimalTruncated,
    MinimalBadChecksum,
    GreTruncated,
    GreBadVersion,
    GreReservedBits,
    GreBadChecksum,
    GreOutOfSequence,
    GreUnknownProtocol,
    InnerInvalid,
    InnerTtlZero,
    DecapLoop,
    EcnCongestionLost,
    NestingTooDeep,
    UdpBadLength,
    UdpBadChecksum,
    UdpNoChecksum,
];

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

/// Frames of the files in the corpus.
fn kept() -> Vec<Vec<u8>> {
    let mut files: Vec<_> =
        std::fs::read_dir(corpus()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|kind| kind == "pcap"));
    files.sort();
    files.iter().flat_map(|file| pcap::read(file).unwrap()).map(|sent| sent.frame).collect()
}

/// A good datagram in each encapsulation, in a frame to en1.
fn seeds() -> Vec<Vec<u8>> {
    let four = Datagram::udp("10.9.0.2", "10.0.0.163", 60).tos(2).bytes();
    let six_ = udp6("2001:db8:20::9", HOST6, 60);
    let over4 = |remote: &str, protocol, payload: Vec<u8>| {
        Datagram::new(remote, "203.0.113.1", protocol, payload).tos(1).bytes()
    };
    let carries6 = |mut packet: Vec<u8>| {
        packet[2..4].copy_from_slice(&[0x86, 0xdd]);
        packet
    };
    let mut packets = Vec::new();
    for (checksum, sequence) in
        [(false, None), (true, None), (false, Some(1 << 20)), (true, Some(9))]
    {
        for (remote, key) in [("198.51.100.2", None), ("198.51.100.7", Some(KEY))] {
            packets.push(over4(remote, 47, gre(checksum, key, sequence, &four)));
            packets.push(over4(remote, 47, carries6(gre(false, key, sequence, &six_))));
            packets.push(six(FAR6, EN1_6, 47, &gre(checksum, None, sequence, &four)));
        }
    }
    packets.push(over4("198.51.100.3", 4, four.clone()));
    packets.push(over4("198.51.100.3", 41, six_.clone()));
    packets.push(over4("198.51.100.4", 47, gre(false, None, None, &four)));
    packets.push(six(FAR6, EN1_6, 4, &four));
    packets.push(six(FAR6, EN1_6, 41, &six_));
    // A limit on nesting, and a fragment header in front of all of it.
    packets.push(six(FAR6, EN1_6, 60, &[&[41, 0, 4, 1, 4, 1, 1, 0][..], &six_].concat()));
    packets.push(six(FAR6, EN1_6, 44, &[&[41, 0, 0, 0, 0, 0, 0, 9][..], &six_].concat()));
    // Minimal encapsulation, with and without the source.
    for header in [&[17, 0x80, 0, 0, 10, 0, 0, 163, 10, 9, 0, 2][..], &[17, 0, 0, 0, 10, 0, 0, 163]]
    {
        let mut payload = header.to_vec();
        let sum = crate::wire::checksum::checksum(&payload).to_be_bytes();
        payload[2..4].copy_from_slice(&sum);
        payload.extend(&four[20..]);
        packets.push(over4("198.51.100.8", 55, payload));
    }
    // For the far end itself, and tunnels in tunnels, to the bound and beyond.
    let back = Datagram::udp("10.9.0.9", "198.51.100.2", 9).bytes();
    packets.push(over4("198.51.100.2", 47, gre(false, None, None, &back)));
    // In UDP: GRE with and without options, either family, either checksum.
    let keyless = [gre(false, None, None, &four), gre(true, None, Some(1 << 20), &four)];
    let within =
        [&keyless[..], &[carries6(gre(false, None, None, &six_)), four.clone(), six_.clone()]];
    let in_udp: Vec<Vec<u8>> = within
        .concat()
        .iter()
        .flat_map(|payload| [true, false].map(|sum| [from4(payload, sum), from6(payload, sum)]))
        .flatten()
        .collect();
    let mut deep = four;
    for _ in 0..=crate::datapath::MAX_NESTING {
        packets.push(over4("198.51.100.2", 47, gre(false, None, None, &deep)));
        deep = Datagram::gre("10.9.0.2", "10.9.0.1", 0, 0x0800, &deep).bytes();
    }
    let mut deep6 = six_;
    for _ in 0..=crate::datapath::MAX_NESTING {
        deep6 = six(FAR6, EN1_6, 41, &deep6);
        packets.push(deep6.clone());
    }
    packets.iter().map(|packet| from_router(packet)).chain(in_udp).collect()
}

/// Makes `frame` one of them, spoilt.
fn spoil(noise: &mut Noise, seeds: &[Vec<u8>], frame: &mut Vec<u8>) {
    frame.clear();
    frame.extend(&seeds[noise.below(seeds.len())]);
    match noise.below(16) {
        // Arbitrary bytes behind an outer header, or a header behind arbitrary bytes.
        0 => {
            let from = 14 + noise.below(frame.len().saturating_sub(14).max(1));
            noise.fill(frame.get_mut(from..).unwrap_or_default());
        }
        1 => {
            let all = frame.len();
            frame.resize(14 + noise.below(all), 0);
            noise.fill(frame.get_mut(34..).unwrap_or_default());
        }
        2 => frame.truncate(noise.below(frame.len())),
        3 => {
            let other = &seeds[noise.below(seeds.len())];
            let (at, from) = (noise.below(frame.len()), noise.below(other.len()));
            frame.truncate(at);
            frame.extend(&other[from..]);
        }
        4 => {
            let at = noise.below(frame.len());
            let by = noise.below(4).min(frame.len() - at);
            frame[at..].rotate_left(by);
        }
        _ => {}
    }
    for _ in 0..noise.below(4) {
        let at = 14 + noise.below(96);
        let (bit, byte) = (noise.below(8), noise.next() as u8);
        match frame.get_mut(at) {
            Some(there) if byte & 3 == 0 => *there = byte,
            Some(there) => *there ^= 1 << bit,
            None => {}
        }
    }
    if noise.below(2) == 0 {
        mend(frame);
    }
}

/// Puts lengths and checksums of the outer headers right, so that the noise gets in.
fn mend(frame: &mut [u8]) {
    let Some(packet) = frame.get_mut(14..) else { return };
    let room = packet.len();
    match packet.first().map(|first| first >> 4) {
        Some(4) if room >= 20 => {
            packet[2..4].copy_from_slice(&(room as u16).to_be_bytes());
            let _ = crate::wire::ipv4::fill_checksum(packet);
            if packet[9] == 17 {
                mend_udp(packet, 20);
            }
        }
        Some(6) if room >= 40 => {
            packet[4..6].copy_from_slice(&((room - 40) as u16).to_be_bytes());
            if packet[6] == 17 {
                mend_udp(packet, 40);
            }
        }
        _ => {}
    }
}

/// The same of a UDP header behind `at` bytes: its checksum is left out over IPv4, and
/// summed with the pseudo header over IPv6 (RFC 8200 §8.1).
fn mend_udp(packet: &mut [u8], at: usize) {
    let len = packet.len() - at;
    if len < 8 {
        return;
    }
    packet[at + 4..at + 6].copy_from_slice(&(len as u16).to_be_bytes());
    packet[at + 6..at + 8].fill(0);
    if at == 40 {
        let pseudo = [&packet[8..40], &(len as u32).to_be_bytes(), &[0, 0, 0, 17], &packet[at..]];
        let sum = crate::wire::checksum::checksum(&pseudo.concat()).max(1);
        packet[at + 6..at + 8].copy_from_slice(&sum.to_be_bytes());
    }
}

/// The burst under way, which is kept if the run fails.
struct Burst {
    frames: Vec<Vec<u8>>,
    count: usize,
    seed: u64,
}

impl Drop for Burst {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let file = corpus().join(format!("crash-{}.pcap", self.seed));
        let frames: Vec<_> = self.frames[..self.count]
            .iter()
            .map(|frame| Frame { at: Duration::ZERO, frame: frame.clone() })
            .collect();
        match pcap::write(&file, &frames) {
            Ok(()) => eprintln!("GREYHOUND_SEED={}; the last burst is in {file:?}", self.seed),
            Err(error) => eprintln!("GREYHOUND_SEED={}; {file:?}: {error}", self.seed),
        }
    }
}

fn bed() -> Testbed {
    let bed = super::udp::bed();
    bed.keyed(KEYED, "198.51.100.7", Some(KEY));
    bed.tunnel_in(MINIMAL, "203.0.113.1", "198.51.100.8", true, 55);
    bed
}

#[test]
fn fuzz() {
    let executions = from_environment("GREYHOUND_FUZZ", EXECUTIONS as u64) as usize;
    let seed = from_environment("GREYHOUND_SEED", SEED);
    println!("fuzz: {executions} executions with GREYHOUND_SEED={seed}");
    let began = std::time::Instant::now();
    let (mut noise, mut bed) = (Noise(seed | 1), bed());
    let mut seeds = seeds();
    seeds.extend(kept());
    let mut burst = Burst { frames: vec![Vec::new(); BURST], count: 0, seed };
    let mut done = 0;
    while done < executions {
        burst.count = 1 + noise.below(BURST);
        for frame in &mut burst.frames[..burst.count] {
            spoil(&mut noise, &seeds, frame);
            bed.receive(PortId(1), frame);
        }
        done += burst.count;
        bed.worker.io().now_ns += 50_000;
        while bed.worker.turn() > 0 {
            bed.worker.io().discard_sent();
        }
        while bed.control.take(|_| ()).is_some() {}
    }
    let rate = done as f64 / began.elapsed().as_secs_f64();
    println!("fuzz: {rate:.0} a second");
    burst.count = 0;
    bed.check_conservation();
    let met: Vec<_> = bed.drops().into_iter().map(|(reason, _)| reason).collect();
    let missed: Vec<_> = ENDS.iter().filter(|reason| !met.contains(reason)).collect();
    assert!(missed.is_empty(), "never met: {missed:?}");
    for id in [GRE0, IPIP0, SIT0, KEYED, MINIMAL, GRE6, IP6, GRE_NESTED, UDP4, UDP6] {
        let out = bed.interface(id)[0];
        assert!(out > done as u64 / 1000, "{out} packets came out of {id:?}");
    }
}

/// What the corpus holds, and every seed, byte by byte shorter.
#[test]
fn truncations_of_every_encapsulation() {
    let mut bed = bed();
    for mut frame in seeds().into_iter().chain(kept()) {
        while frame.pop().is_some() {
            for mended in [false, true] {
                if mended {
                    mend(&mut frame);
                }
                bed.pass(PortId(1), &frame);
            }
            bed.told();
        }
    }
}
