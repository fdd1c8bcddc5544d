//! Frames by an independent encoder, and their reading back.

use etherparse::{IpFragOffset, IpNumber, Ipv4Header, Ipv4Options, PacketBuilder};

use super::testbed::{EN0_MAC, HOST_MAC};

/// A datagram to be encoded by etherparse.
#[derive(Clone, Debug)]
pub struct Datagram {
    pub header: Ipv4Header,
    pub payload: Vec<u8>,
}

/// `a.b.c.d` as bytes.
pub fn addr(text: &str) -> [u8; 4] {
    text.parse::<std::net::Ipv4Addr>().unwrap().octets()
}

/// A payload that differs from byte to byte.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

impl Datagram {
    pub fn new(src: &str, dst: &str, protocol: u8, payload: Vec<u8>) -> Datagram {
        let len = payload.len() as u16;
        let mut header =
            Ipv4Header::new(len, 64, IpNumber(protocol), addr(src), addr(dst)).unwrap();
        header.identification = 0x1234;
        header.dont_fragment = false;
        Datagram { header, payload }
    }

    /// UDP 1000 → 2000 with a payload of `len` bytes.
    pub fn udp(src: &str, dst: &str, len: usize) -> Datagram {
        let mut bytes = Vec::new();
        PacketBuilder::ipv4(addr(src), addr(dst), 64)
            .udp(1000, 2000)
            .write(&mut bytes, &pattern(len))
            .unwrap();
        Datagram::new(src, dst, 17, bytes[20..].to_vec())
    }

    /// An ICMP echo request with `len` bytes of data.
    pub fn echo(src: &str, dst: &str, len: usize) -> Datagram {
        let mut bytes = Vec::new();
        PacketBuilder::ipv4(addr(src), addr(dst), 64)
            .icmpv4_echo_request(7, 9)
            .write(&mut bytes, &pattern(len))
            .unwrap();
        Datagram::new(src, dst, 1, bytes[20..].to_vec())
    }

    /// `inner` in GRE, with these flags and protocol type.
    pub fn gre(src: &str, dst: &str, flags: u16, ethertype: u16, inner: &[u8]) -> Datagram {
        let mut payload = flags.to_be_bytes().to_vec();
        payload.extend(ethertype.to_be_bytes());
        payload.extend(inner);
        Datagram::new(src, dst, 47, payload)
    }

    pub fn with(mut self, change: impl FnOnce(&mut Ipv4Header)) -> Datagram {
        change(&mut self.header);
        self
    }

    pub fn ttl(self, ttl: u8) -> Datagram {
        self.with(|h| h.time_to_live = ttl)
    }

    pub fn df(self) -> Datagram {
        self.with(|h| h.dont_fragment = true)
    }

    pub fn tos(self, tos: u8) -> Datagram {
        self.with(|h| {
            h.dscp = (tos >> 2).try_into().unwrap();
            h.ecn = (tos & 3).try_into().unwrap();
        })
    }

    pub fn options(self, options: &[u8]) -> Datagram {
        self.with(|h| {
            h.options = Ipv4Options::try_from(options).unwrap();
            h.total_len += options.len() as u16;
        })
    }

    pub fn fragment(self, offset: u16, more: bool) -> Datagram {
        self.with(|h| {
            h.fragment_offset = IpFragOffset::try_new(offset).unwrap();
            h.more_fragments = more;
        })
    }

    /// The datagram as bytes, checksum right.
    pub fn bytes(&self) -> Vec<u8> {
        let mut header = self.header.clone();
        header.header_checksum = header.calc_header_checksum();
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend(&self.payload);
        bytes
    }

    /// In a frame to en0 from a LAN host.
    pub fn frame(&self) -> Vec<u8> {
        frame(EN0_MAC, HOST_MAC, 0x0800, &self.bytes())
    }
}

/// An Ethernet frame.
pub fn frame(to: [u8; 6], from: [u8; 6], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = to.to_vec();
    frame.extend(from);
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The frame with a VLAN tag put in.
pub fn tagged(frame: &[u8], tci: u16) -> Vec<u8> {
    let mut tagged = frame[..12].to_vec();
    tagged.extend([0x81, 0x00]);
    tagged.extend(tci.to_be_bytes());
    tagged.extend(&frame[12..]);
    tagged
}

/// Link header and the datagram behind it, whose header etherparse has found
/// whole, with the right checksum and length.
pub fn read(frame: &[u8]) -> (Vec<u8>, Datagram) {
    let link = if frame[12..14] == [0x81, 0x00] { 18 } else { 14 };
    assert_eq!(frame[link - 2..link], [0x08, 0x00], "not IPv4: {frame:02x?}");
    (frame[..link].to_vec(), read_ip(&frame[link..]))
}

/// The datagram in `bytes`, which it must fill.
pub fn read_ip(bytes: &[u8]) -> Datagram {
    let (header, payload) = Ipv4Header::from_slice(bytes).expect("a whole header");
    assert_eq!(header.header_checksum, header.calc_header_checksum(), "{header:?}");
    assert_eq!(usize::from(header.total_len), bytes.len(), "{header:?}");
    Datagram { header, payload: payload.to_vec() }
}

/// What a router makes of a datagram: TTL one less, nothing else.
pub fn routed(datagram: &Datagram) -> Vec<u8> {
    datagram.clone().with(|h| h.time_to_live -= 1).bytes()
}

/// Puts the pieces of a datagram together again, by a method of its own: a map
/// of bytes. Panics on holes, overlaps and contradictions.
pub fn reassemble(pieces: &[Datagram]) -> Datagram {
    let mut bytes = vec![None; 65536];
    let mut end = None;
    for piece in pieces {
        let at = usize::from(piece.header.fragment_offset.value()) * 8;
        for (i, byte) in piece.payload.iter().enumerate() {
            assert_eq!(bytes[at + i].replace(*byte), None, "overlap at {}", at + i);
        }
        if piece.header.more_fragments {
            assert_eq!(piece.payload.len() % 8, 0, "a middle piece is whole 8-byte units");
        } else {
            assert_eq!(end.replace(at + piece.payload.len()), None, "two ends");
        }
        assert_eq!(piece.header.identification, pieces[0].header.identification);
    }
    let end = end.expect("an end");
    let payload: Vec<u8> = bytes[..end].iter().map(|b| b.expect("no hole")).collect();
    assert!(bytes[end..].iter().all(Option::is_none), "bytes behind the end");
    let mut header = pieces[0].header.clone();
    assert_eq!(header.fragment_offset.value(), 0, "in order");
    header.more_fragments = false;
    header.set_payload_len(payload.len()).unwrap();
    Datagram { header, payload }
}
