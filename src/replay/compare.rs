//! What came out against what had to come out, and a report people can read.
//!
//! Bytes are compared as they are, except for IPv4 identifications that a case
//! declares free (headers Greyhound makes): those are renumbered on both sides
//! before comparing. A datagram that can be a fragment or become one gets the
//! rank of its identification among those of its source, destination and
//! protocol, in order of first appearance; so the comparison still sees a
//! repeated number, and fragments that do not share one (V4-04). Where DF
//! is set and the datagram is whole, the number means nothing (RFC 6864) and
//! becomes 0.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bench::{Sent, TICK};
use super::sheet::Sheet;
use super::{ReplayError, describe, file_error, pcap};
use crate::wire::checksum;

/// Identifications of one port's output that are Greyhound's to choose.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FreeId {
    /// The port.
    pub port: String,
    /// Which IPv4 header of the packet, 0 for the outermost.
    pub header: usize,
    /// Numbers of the packets, from 0.
    pub packets: Vec<usize>,
}

/// A packet that is not as it had to be.
#[derive(Clone, Debug, Serialize)]
pub struct PacketDifference {
    /// The port.
    pub port: String,
    /// Its place in the port's output, from 0.
    pub packet: usize,
    /// What had to come, in hex; absent: nothing.
    pub expected: Option<String>,
    /// What came, in hex; absent: nothing.
    pub got: Option<String>,
    /// The difference for people.
    #[serde(skip)]
    pub text: String,
}

/// A counter that moved differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CounterDifference {
    /// Its name, see [`Sheet`].
    pub counter: String,
    /// By how much it had to move.
    pub expected: i64,
    /// By how much it moved.
    pub got: i64,
}

/// The outcome of a case.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The case.
    pub name: String,
    /// What it says.
    pub title: String,
    /// Nothing differs.
    pub passed: bool,
    /// Packets that differ.
    pub packets: Vec<PacketDifference>,
    /// Counters that differ.
    pub counters: Vec<CounterDifference>,
    /// Sums that do not add up.
    pub conservation: Vec<String>,
    /// All that came out, by port.
    #[serde(skip)]
    pub got: BTreeMap<String, Vec<Sent>>,
}

impl Report {
    /// True if nothing differs.
    pub fn passed(&self) -> bool {
        self.passed
    }

    /// Writes what came out as `out.<port>.pcap` into a folder, made if need
    /// be.
    pub fn write(&self, folder: &Path) -> Result<(), ReplayError> {
        std::fs::create_dir_all(folder).map_err(|error| file_error(folder, error))?;
        for (port, frames) in &self.got {
            pcap::write(&folder.join(format!("out.{port}.pcap")), frames)?;
        }
        Ok(())
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verdict = if self.passed() { "ok" } else { "FAILED" };
        writeln!(f, "{verdict:<6} {}: {}", self.name, self.title)?;
        for packet in &self.packets {
            f.write_str(&packet.text)?;
        }
        for CounterDifference { counter, expected, got } in &self.counters {
            writeln!(f, "  counter {counter}: expected {expected}, got {got}")?;
        }
        for line in &self.conservation {
            writeln!(f, "  conservation: {}", line.trim_start())?;
        }
        Ok(())
    }
}

/// Counters that differ.
pub(super) fn counters(expected: &Sheet, got: &Sheet) -> Vec<CounterDifference> {
    got.since(expected)
        .iter()
        .map(|(name, _)| CounterDifference {
            counter: name.to_owned(),
            expected: expected.get(name),
            got: got.get(name),
        })
        .collect()
}

/// Packets of one port that differ.
pub(super) fn packets(
    port: &str,
    expected: &[Sent],
    got: &[Sent],
    free: &[&FreeId],
    times: bool,
) -> Vec<PacketDifference> {
    let expected = renumbered(expected, free);
    let got = renumbered(got, free);
    let mut differences = Vec::new();
    for packet in 0..expected.len().max(got.len()) {
        let (want, have) = (expected.get(packet), got.get(packet));
        if let (Some(want), Some(have)) = (want, have)
            && want.frame == have.frame
            && (!times || on_time(want.at, have.at))
        {
            continue;
        }
        differences.push(PacketDifference {
            port: port.to_owned(),
            packet,
            expected: want.map(|sent| describe::hex(&sent.frame)),
            got: have.map(|sent| describe::hex(&sent.frame)),
            text: difference_text(port, packet, want, have),
        });
    }
    differences
}

/// Timers fire up to one tick late and never early.
fn on_time(expected: Duration, got: Duration) -> bool {
    expected <= got && got <= expected + TICK
}

fn difference_text(port: &str, packet: usize, want: Option<&Sent>, have: Option<&Sent>) -> String {
    let mut text = format!("  {port} packet {packet}:\n");
    for (what, sent, other) in [("expected", want, have), ("got", have, want)] {
        let summary = sent.map_or("nothing".to_owned(), |sent| {
            format!("at {:?}: {}", sent.at, describe::summary(&sent.frame))
        });
        // Writing to a string cannot fail.
        let _ = writeln!(text, "    {what:<8} {summary}");
        if let Some(sent) = sent {
            text.push_str(&describe::dump(&sent.frame, other.map(|other| other.frame.as_slice())));
        }
    }
    text
}

/// The frames with free identifications replaced by ranks.
fn renumbered(frames: &[Sent], free: &[&FreeId]) -> Vec<Sent> {
    let mut frames = frames.to_vec();
    for free in free {
        let mut ranks = Ranks::default();
        for &packet in &free.packets {
            if let Some(sent) = frames.get_mut(packet)
                && let Some(at) = describe::ipv4_header(&sent.frame, free.header)
            {
                ranks.apply(&mut sent.frame[at..]);
            }
        }
    }
    frames
}

/// Identifications seen so far, by source, destination and protocol.
#[derive(Default)]
struct Ranks(HashMap<([u8; 8], u8), Vec<[u8; 2]>>);

impl Ranks {
    /// Renumbers the header at the start of `packet`, which has at least 20
    /// bytes, and mends its checksum. A header whose checksum was wrong keeps a
    /// wrong one.
    fn apply(&mut self, packet: &mut [u8]) {
        let length = usize::from(packet[0] & 0xf) * 4;
        let whole = packet[6] & 0x20 == 0 && packet[6] & 0x1f == 0 && packet[7] == 0;
        let atomic = whole && packet[6] & 0x40 != 0;
        let id = [packet[4], packet[5]];
        let rank = if atomic { 0 } else { self.rank(packet, id) };
        let Some(header) = packet.get_mut(..length) else { return };
        let good = checksum::verify(header);
        header[4..6].copy_from_slice(&rank.to_be_bytes());
        if good {
            header[10..12].fill(0);
            let sum = checksum::checksum(header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
        }
    }

    fn rank(&mut self, packet: &[u8], id: [u8; 2]) -> u16 {
        let mut addresses = [0; 8];
        addresses.copy_from_slice(&packet[12..20]);
        let seen = self.0.entry((addresses, packet[9])).or_default();
        let at = seen.iter().position(|other| *other == id).unwrap_or_else(|| {
            seen.push(id);
            seen.len() - 1
        });
        at as u16 + 1
    }
}
