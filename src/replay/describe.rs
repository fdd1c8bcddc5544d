//! Frames for people: one line per frame and a hex dump that marks what
//! differs. Reads leniently: a broken frame is what one wants to see described.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// Bytes per line of a dump.
const LINE: usize = 16;

/// A frame's bytes in hex.
pub(super) fn hex(frame: &[u8]) -> String {
    let mut text = String::with_capacity(frame.len() * 2);
    for byte in frame {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The frame, outer headers first, in one line.
pub(super) fn summary(frame: &[u8]) -> String {
    let mut text = format!("{} bytes", frame.len());
    let Some((ethertype, mut at)) = link(frame) else { return text };
    let _ = write!(text, " {} > {}", hex(&frame[6..12]), hex(&frame[..6]));
    if let Some(vlan) = (at == 18).then(|| u16(frame, 14)).flatten() {
        let _ = write!(text, " vlan {}", vlan & 0xfff);
    }
    if ethertype != 0x0800 {
        let _ = write!(text, " / type {ethertype:04x}");
        return text;
    }
    while let Some(next) = ipv4(frame, at, &mut text) {
        at = next;
    }
    text
}

/// Describes the IPv4 header at `at`; returns where one inside it begins.
fn ipv4(frame: &[u8], at: usize, text: &mut String) -> Option<usize> {
    let header = frame.get(at..at + 20)?;
    let word = |i: usize| u16::from_be_bytes([header[i], header[i + 1]]);
    let address = |i: usize| Ipv4Addr::new(header[i], header[i + 1], header[i + 2], header[i + 3]);
    let (source, destination) = (address(12), address(16));
    let (protocol, ttl, tos) = (header[9], header[8], header[1]);
    let (length, id, fragment) = (word(2), word(4), word(6));
    let _ =
        write!(text, " / IPv4 {source} > {destination} proto {protocol} ttl {ttl} tos {tos:02x}");
    let _ = write!(text, " id {id:04x} len {length}");
    if fragment & 0x4000 != 0 {
        text.push_str(" DF");
    }
    if fragment & 0x3fff != 0 {
        let more = if fragment & 0x2000 != 0 { "+" } else { "" };
        let _ = write!(text, " fragment {}{more}", (fragment & 0x1fff) * 8);
    }
    let payload = at + usize::from(header[0] & 0xf) * 4;
    if fragment & 0x1fff != 0 {
        return None;
    }
    match protocol {
        1 => {
            let (kind, code) = (frame.get(payload)?, frame.get(payload + 1)?);
            let _ = write!(text, " / ICMP {kind}/{code} rest {:04x}", u16(frame, payload + 6)?);
            None
        }
        4 => Some(payload),
        47 => {
            let (flags, inner) = (u16(frame, payload)?, u16(frame, payload + 2)?);
            let _ = write!(text, " / GRE flags {flags:04x} type {inner:04x}");
            (inner == 0x0800).then_some(payload + 4)
        }
        6 | 17 => {
            let _ = write!(text, " ports {} > {}", u16(frame, payload)?, u16(frame, payload + 2)?);
            None
        }
        _ => None,
    }
}

/// Where the `n`-th IPv4 header of a frame begins: 0 is the outermost, then
/// through GRE without options and IP in IP. At least 20 bytes are there.
pub(super) fn ipv4_header(frame: &[u8], n: usize) -> Option<usize> {
    let (ethertype, mut at) = link(frame)?;
    if ethertype != 0x0800 {
        return None;
    }
    for _ in 0..n {
        let header = frame.get(at..at + 20)?;
        let payload = at + usize::from(header[0] & 0xf) * 4;
        at = match header[9] {
            4 => payload,
            47 => payload + 4,
            _ => return None,
        };
    }
    frame.get(at..at + 20).map(|_| at)
}

/// EtherType behind any VLAN tag, and where the payload begins.
fn link(frame: &[u8]) -> Option<(u16, usize)> {
    match u16(frame, 12)? {
        0x8100 => Some((u16(frame, 16)?, 18)),
        ethertype => Some((ethertype, 14)),
    }
}

fn u16(frame: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]))
}

/// A hex dump; lines that differ from `other` are marked with `*`. Of long runs
/// of equal lines only the first three are shown.
pub(super) fn dump(frame: &[u8], other: Option<&[u8]>) -> String {
    let mut text = String::new();
    let mut equal = 0;
    for (number, line) in frame.chunks(LINE).enumerate() {
        let at = number * LINE;
        let same = other.is_none_or(|other| other.chunks(LINE).nth(number) == Some(line));
        equal = if same { equal + 1 } else { 0 };
        if equal > 3 {
            continue;
        }
        let mark = if same { ' ' } else { '*' };
        let bytes: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let _ = writeln!(text, "      {mark} {at:04x}  {}", bytes.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gre_frame() -> Vec<u8> {
        let mut frame = vec![2; 12];
        frame.extend([0x81, 0, 0, 20, 8, 0]);
        frame.extend([0x45, 0, 0, 44, 0, 7, 0x40, 0, 64, 47, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0, 0, 8, 0]);
        frame.extend([0x45, 0, 0, 20, 0, 9, 0x20, 1, 63, 17, 0, 0, 12, 0, 0, 1, 12, 0, 0, 2]);
        frame
    }

    #[test]
    fn headers_are_found_and_described() {
        let frame = gre_frame();
        assert_eq!(ipv4_header(&frame, 0), Some(18));
        assert_eq!(ipv4_header(&frame, 1), Some(42));
        assert_eq!(ipv4_header(&frame, 2), None);
        let text = summary(&frame);
        for part in
            ["vlan 20", "10.0.0.1 > 10.0.0.2 proto 47", "DF", "GRE", "id 0009", "fragment 8+"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn cut_frames_are_described_too() {
        let frame = gre_frame();
        for length in 0..frame.len() {
            assert!(summary(&frame[..length]).starts_with(&format!("{length} bytes")));
            let _ = (ipv4_header(&frame[..length], 1), dump(&frame[..length], Some(&frame)));
        }
    }

    #[test]
    fn a_dump_marks_the_lines_that_differ() {
        let frame = [0u8; 100];
        let mut other = frame;
        other[20] = 1;
        let dumped = dump(&frame, Some(&other));
        assert_eq!(dumped.lines().filter(|line| line.contains('*')).count(), 1, "{dumped}");
        assert!(dumped.lines().count() < 100 / LINE, "equal lines are left out: {dumped}");
    }
}
