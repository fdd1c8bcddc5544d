//! Frames from and to classic pcap files with Ethernet frames.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;

use pcap_file::pcap::{PcapHeader, PcapPacket, PcapReader, PcapWriter};
use pcap_file::{DataLink, TsResolution};

use super::bench::Sent;
use super::{ReplayError, file_error, malformed};

/// Reads all frames of a file with their times. A frame that was cut short when
/// captured is refused: it is not what was on the wire.
pub(crate) fn read(path: &Path) -> Result<Vec<Sent>, ReplayError> {
    let file = File::open(path).map_err(|error| file_error(path, error))?;
    let mut reader =
        PcapReader::new(BufReader::new(file)).map_err(|error| malformed(path, error))?;
    if reader.header().datalink != DataLink::ETHERNET {
        return Err(malformed(path, "the frames are not Ethernet"));
    }
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet() {
        let packet = packet.map_err(|error| malformed(path, error))?;
        if packet.orig_len as usize != packet.data.len() {
            let number = frames.len();
            return Err(malformed(path, format!("frame {number} was cut short when captured")));
        }
        frames.push(Sent { at: packet.timestamp, frame: packet.data.into_owned() });
    }
    Ok(frames)
}

/// Writes frames with their times, in nanoseconds.
pub(crate) fn write(path: &Path, frames: &[Sent]) -> Result<(), ReplayError> {
    let file = File::create(path).map_err(|error| file_error(path, error))?;
    let header = PcapHeader {
        datalink: DataLink::ETHERNET,
        ts_resolution: TsResolution::NanoSecond,
        ..PcapHeader::default()
    };
    let mut writer = PcapWriter::with_header(BufWriter::new(file), header)
        .map_err(|error| malformed(path, error))?;
    for Sent { at, frame } in frames {
        let packet = PcapPacket::new(*at, frame.len() as u32, frame);
        writer.write_packet(&packet).map_err(|error| malformed(path, error))?;
    }
    Ok(())
}
