//! A million frames of random bytes, and of valid frames with something changed,
//! through the real path and control: nothing crashes, every packet is
//! accounted for, every buffer comes back.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use greyhound::ids::PortId;
use greyhound::replay::sheet::Sheet;
use greyhound::replay::{Bench, Case};
use greyhound::wire::ipv4;

/// Frames in each of the two tests.
const FRAMES: usize = 1_000_000;
/// Frames handed over at once, at most.
const BATCH: usize = 64;
/// Longest frame.
const MOST: usize = 1518;

/// xorshift64*: the same frames for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 32) as usize % n.max(1)
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// Says which seed it was if the test panics.
struct Seed(u64);

impl Seed {
    /// `GREYHOUND_SEED`, or one that is always the same.
    fn new() -> Seed {
        let text = std::env::var("GREYHOUND_SEED").ok();
        Seed(text.map_or(0x9e37_79b9_7f4a_7c15, |text| text.parse().unwrap()))
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("again with GREYHOUND_SEED={}", self.0);
        }
    }
}

fn case(name: &str) -> Case {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(name);
    Case::load(&folder).unwrap()
}

fn all_cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut folders: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|folder| folder.join("case.toml").exists());
    folders.sort();
    folders.iter().map(|folder| Case::load(folder).unwrap()).collect()
}

/// Machine C with a GRE and an IPIP tunnel, one in UDP, and a VLAN.
fn machine_c() -> Bench {
    let vlan = "\n[[vlan]]\nname = \"en0.20\"\naddress = [\"172.20.0.1/16\"]\n";
    let udp = "\n[[tunnel]]\nname = \"gre4\"\nlocal = \"203.0.113.1\"\nremote = \"198.51.100.2\"\n\
               inet6 = [\"fd00:42::1/64\"]\nudp = { port = 4754 }\nlink1 = true\n";
    Bench::from_config(&format!("{}{vlan}{udp}", case("tunnel_to_tunnel").config())).unwrap()
}

/// Lets `FRAMES` frames made by `make` arrive and judges the outcome. A storm
/// that ends at the first check everywhere would prove nothing: `depth` is how
/// many ends (drops by reason, punts by reason) it has to reach at least.
fn storm(depth: usize, mut make: impl FnMut(&mut Random, &mut Vec<u8>) -> PortId) -> Sheet {
    let seed = Seed::new();
    let mut random = Random(seed.0);
    let mut bench = machine_c();
    let before = bench.io().available();
    let mut frame = Vec::with_capacity(MOST);
    let mut left = FRAMES;
    while left > 0 {
        let batch = (1 + random.below(BATCH)).min(left);
        for _ in 0..batch {
            let port = make(&mut random, &mut frame);
            bench.receive(port, &frame).unwrap();
        }
        left -= batch;
        // Rates refill and timers fire in between.
        if random.one_in(4) {
            bench.advance(Duration::from_micros(random.below(5000) as u64)).unwrap();
        } else {
            bench.run_until_quiet().unwrap();
        }
        bench.discard_sent();
    }
    bench.expect_conservation().unwrap();
    // What is held (for ARP, for other fragments) is given up in time.
    bench.advance(Duration::from_secs(120)).unwrap();
    bench.discard_sent();
    bench.expect_conservation().unwrap();
    let received: u64 = bench.worker_counters().ledgers[..2].iter().map(|l| l.received.get()).sum();
    assert_eq!(received, FRAMES as u64);
    let sheet = bench.sheet();
    let ends: Vec<&str> = sheet
        .iter()
        .map(|(counter, _)| counter)
        .filter(|counter| {
            counter.starts_with("origin.en1.dropped.") || counter.contains(".punted.")
        })
        .collect();
    assert!(ends.len() >= depth, "only {} ends: {ends:#?}", ends.len());
    assert!(sheet.get("origin.en0.sent") > 0, "nothing came through");
    assert_eq!(sheet.get("control.held"), 0, "nothing is held for ever");
    assert_eq!(bench.io().available(), before, "every buffer is back in the pool");
    sheet
}

#[test]
fn random_bytes() {
    storm(15, |random, frame| {
        let port = PortId(random.below(2) as u8);
        frame.resize(random.below(MOST + 1).min(random.below(MOST + 1)), 0);
        random.fill(frame);
        // Most random frames end at the first check; let half of them pass it,
        // and half of those the second.
        if frame.len() >= 34 && random.one_in(2) {
            frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, port.0 + 1]);
            let kind = [[8, 0], [8, 0], [8, 6], [0x86, 0xdd]][random.below(4)];
            frame[12..14].copy_from_slice(&kind);
            if kind == [0x86, 0xdd] {
                mend6(frame, 14);
            } else if random.one_in(2) {
                frame[14] = 0x45;
                let total = (frame.len() - 14) as u16;
                frame[16..18].copy_from_slice(&total.to_be_bytes());
                let _ = ipv4::fill_checksum(&mut frame[14..]);
            }
        }
        port
    });
}

#[test]
fn mutated_frames() {
    let mut valid: Vec<(PortId, Vec<u8>)> = Vec::new();
    for case in all_cases() {
        for (port, frames) in case.inputs() {
            let port = PortId(u8::from(port == "en1"));
            valid.extend(frames.iter().map(|sent| (port, sent.frame.clone())));
        }
    }
    assert!(valid.len() > 200, "{} frames to start from", valid.len());
    let sheet = storm(30, move |random, frame| {
        let (port, from) = &valid[random.below(valid.len())];
        frame.clear();
        frame.extend_from_slice(from);
        for _ in 0..random.below(4) {
            mutate(random, frame);
        }
        // Half of what was changed has good checksums again, outside and in.
        if random.one_in(2) {
            mend(frame, 14);
            for at in [34, 38, 54, 58] {
                mend(frame, at);
                mend6(frame, at);
            }
            mend6(frame, 14);
        }
        *port
    });
    for tunnel in ["gre0", "gre4"] {
        let out = sheet.get(&format!("interface.{tunnel}.rx_packets"));
        assert!(out > 0, "nothing came out of {tunnel}");
    }
}

fn mutate(random: &mut Random, frame: &mut Vec<u8>) {
    let len = frame.len();
    // Headers are where it matters.
    let at = if random.one_in(4) { random.below(len) } else { random.below(len.min(80)) };
    match random.below(6) {
        0 | 1 if len > 0 => frame[at] ^= 1 << random.below(8),
        2 if len > 0 => frame[at] = random.next() as u8,
        3 => frame.truncate(at),
        4 => frame.resize((len + random.below(200)).min(MOST), random.next() as u8),
        _ if len > 0 => {
            frame[at..].rotate_left(1);
        }
        _ => {}
    }
}

/// Puts an IPv4 header's checksum right, if that is what is there.
fn mend(frame: &mut [u8], at: usize) {
    if let Some(packet) = frame.get_mut(at..)
        && packet.first().is_some_and(|first| first >> 4 == 4)
    {
        let _ = ipv4::fill_checksum(packet);
    }
}

/// Puts an IPv6 header's length right, if that is what is there or, in a frame
/// that says so, what could be.
fn mend6(frame: &mut [u8], at: usize) {
    let says_so = at == 14 && frame.get(12..14) == Some(&[0x86, 0xdd]);
    if let Some(packet) = frame.get_mut(at..)
        && packet.len() >= 40
        && (says_so || packet[0] >> 4 == 6)
    {
        let payload = (packet.len() - 40) as u16;
        packet[0] = 0x60 | packet[0] & 0xf;
        packet[4..6].copy_from_slice(&payload.to_be_bytes());
    }
}
