//! DSCP × ECN × DF × TTL through every encapsulation, in and out, as a product: all
//! values of the TOS byte, the edges of the TTL, and every setting of a tunnel that
//! touches them. What must come out is worked out here from the RFCs' tables, encoded and
//! decoded by etherparse; our own wire code has no say. Bursts of 63, so that every
//! remainder of the path's loops is met.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header};
use greyhound::ids::PortId;
use greyhound::replay::Bench;

const LAN: PortId = PortId(0);
const NET: PortId = PortId(1);
/// Packets that arrive together.
const BURST: usize = 63;
/// TTLs and hop limits at and beside their edges.
const TTLS: [u8; 6] = [0, 1, 2, 64, 254, 255];
const PAYLOAD: [u8; 12] = *b"not all zero";

const HOST4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 163);
const FAR4: Ipv4Addr = Ipv4Addr::new(40, 0, 0, 9);
const LOCAL4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const HOST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xa3);
const FAR6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x40, 0, 0, 0, 0, 9);
const LOCAL6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 1);
const REMOTE4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const REMOTE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xaa, 0, 0, 0, 0, 2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Four,
    Six,
}

use Family::{Four, Six};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Gre,
    Ip,
    Minimal,
}

/// One way of putting a packet into another.
#[derive(Clone, Copy, Debug)]
struct Encapsulation {
    kind: Kind,
    outer: Family,
    inner: Family,
}

const fn encapsulation(kind: Kind, outer: Family, inner: Family) -> Encapsulation {
    Encapsulation { kind, outer, inner }
}

/// GRE and IP in IP for each pair of families, and minimal encapsulation.
const ENCAPSULATIONS: [Encapsulation; 9] = [
    encapsulation(Kind::Gre, Four, Four),
    encapsulation(Kind::Gre, Four, Six),
    encapsulation(Kind::Gre, Six, Four),
    encapsulation(Kind::Gre, Six, Six),
    encapsulation(Kind::Ip, Four, Four),
    encapsulation(Kind::Ip, Four, Six),
    encapsulation(Kind::Ip, Six, Four),
    encapsulation(Kind::Ip, Six, Six),
    encapsulation(Kind::Minimal, Four, Four),
];

/// A tunnel's settings for its outer header.
#[derive(Clone, Copy, Debug)]
struct Settings {
    /// `None`: copied.
    dscp: Option<u8>,
    copies_df: bool,
    ttl: u8,
}

fn all_settings() -> impl Iterator<Item = Settings> {
    let dscps = [None, Some(0), Some(46), Some(63)];
    dscps.into_iter().flat_map(|dscp| {
        let rest = [(false, 1), (true, 64), (false, 255), (true, 2)];
        rest.into_iter().map(move |(copies_df, ttl)| Settings { dscp, copies_df, ttl })
    })
}

/// What is varied of an IP header. `df` is of IPv4 alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fields {
    tos: u8,
    df: bool,
    ttl: u8,
}

/// A datagram by etherparse.
fn ipv4(fields: Fields, addresses: (Ipv4Addr, Ipv4Addr), protocol: u8, payload: &[u8]) -> Vec<u8> {
    let (source, destination) = (addresses.0.octets(), addresses.1.octets());
    let (len, protocol) = (payload.len() as u16, IpNumber(protocol));
    let mut header = Ipv4Header::new(len, fields.ttl, protocol, source, destination).unwrap();
    header.dscp = (fields.tos >> 2).try_into().unwrap();
    header.ecn = (fields.tos & 3).try_into().unwrap();
    header.dont_fragment = fields.df;
    header.identification = 0x4321;
    header.header_checksum = header.calc_header_checksum();
    [&header.to_bytes()[..], payload].concat()
}

fn ipv6(fields: Fields, addresses: (Ipv6Addr, Ipv6Addr), next: u8, payload: &[u8]) -> Vec<u8> {
    let header = Ipv6Header {
        traffic_class: fields.tos,
        flow_label: Ipv6FlowLabel::ZERO,
        payload_length: payload.len() as u16,
        next_header: IpNumber(next),
        hop_limit: fields.ttl,
        source: addresses.0.octets(),
        destination: addresses.1.octets(),
    };
    [&header.to_bytes()[..], payload].concat()
}

/// The datagram inside, from the LAN host to behind the tunnel or back.
fn inner(family: Family, fields: Fields, outbound: bool) -> Vec<u8> {
    match family {
        Four if outbound => ipv4(fields, (HOST4, FAR4), 253, &PAYLOAD),
        Four => ipv4(fields, (FAR4, HOST4), 253, &PAYLOAD),
        Six if outbound => ipv6(fields, (HOST6, FAR6), 253, &PAYLOAD),
        Six => ipv6(fields, (FAR6, HOST6), 253, &PAYLOAD),
    }
}

impl Encapsulation {
    /// What stands between both headers, and the protocol number outside.
    fn header(self, inner: &[u8]) -> (u8, Vec<u8>) {
        match (self.kind, self.inner) {
            (Kind::Gre, Four) => (47, vec![0, 0, 0x08, 0x00]),
            (Kind::Gre, Six) => (47, vec![0, 0, 0x86, 0xdd]),
            (Kind::Ip, Four) => (4, Vec::new()),
            (Kind::Ip, Six) => (41, Vec::new()),
            (Kind::Minimal, _) => (55, minimal(inner)),
        }
    }

    /// The datagram outside.
    fn outer(self, fields: Fields, outbound: bool, inner: &[u8]) -> Vec<u8> {
        let (protocol, mut payload) = self.header(inner);
        payload.extend(if self.kind == Kind::Minimal { &inner[20..] } else { inner });
        match (self.outer, outbound) {
            (Four, true) => ipv4(fields, (LOCAL4, REMOTE4), protocol, &payload),
            (Four, false) => ipv4(fields, (REMOTE4, LOCAL4), protocol, &payload),
            (Six, true) => ipv6(fields, (LOCAL6, REMOTE6), protocol, &payload),
            (Six, false) => ipv6(fields, (REMOTE6, LOCAL6), protocol, &payload),
        }
    }

    /// The outer fields for an inner datagram that has these when it leaves.
    fn encapsulated(self, inner: Fields, settings: Settings) -> Fields {
        // RFC 2004 §3.1: the packet's own header, but for addresses, protocol and length.
        if self.kind == Kind::Minimal {
            return inner;
        }
        // RFC 2983 §3: pipe (a fixed value) or uniform; RFC 6040 §4.1, normal mode: ECN is
        // copied, CE as CE.
        let dscp = settings.dscp.unwrap_or(inner.tos >> 2);
        let df = match (self.outer, self.inner) {
            (Six, _) => false,
            // RFC 2003 §3.1: set inside, set outside. Set otherwise unless told to copy.
            (Four, Four) => inner.df || !settings.copies_df,
            // RFC 4213 §3.2.1: 6in4 clears it.
            (Four, Six) => self.kind == Kind::Gre && !settings.copies_df,
        };
        Fields { tos: dscp << 2 | inner.tos & 3, df, ttl: settings.ttl }
    }

    /// The inner fields when the packet is out of the tunnel; `None`: dropped.
    fn decapsulated(self, inner: Fields, outer: Fields) -> Option<Fields> {
        // RFC 2004 §3.2: what arrived is the header.
        if self.kind == Kind::Minimal {
            return Some(outer);
        }
        // RFC 6040 §4.2 figure 4, row by row: Not-ECT, ECT(0), ECT(1), CE.
        let ecn = match inner.tos & 3 {
            0b00 => [Some(0b00), Some(0b00), Some(0b00), None],
            0b10 => [Some(0b10), Some(0b10), Some(0b01), Some(0b11)],
            0b01 => [Some(0b01), Some(0b01), Some(0b01), Some(0b11)],
            _ => [Some(0b11), Some(0b11), Some(0b11), Some(0b11)],
        };
        let column = [0, 2, 1, 3][usize::from(outer.tos & 3)];
        // RFC 2983 §4.1: the inner DSCP is the packet's.
        Some(Fields { tos: inner.tos & !3 | ecn[column]?, ..inner })
    }
}

/// RFC 2004's header: protocol and S bit, checksum, destination, source.
fn minimal(inner: &[u8]) -> Vec<u8> {
    let mut header = [&[inner[9], 0x80, 0, 0][..], &inner[16..20], &inner[12..16]].concat();
    let halves = header.chunks(2).map(|half| u32::from(half[0]) << 8 | u32::from(half[1]));
    let sum: u32 = halves.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !((folded & 0xffff) + (folded >> 16)) as u16;
    header[2..4].copy_from_slice(&checksum.to_be_bytes());
    header
}

/// One hop on (RFC 1812 §5.3.1); `None`: its TTL ran out.
fn forwarded(fields: Fields) -> Option<Fields> {
    (fields.ttl > 1).then(|| Fields { ttl: fields.ttl - 1, ..fields })
}

/// A gateway with one tunnel.
fn bench(encapsulation: Encapsulation, settings: Settings) -> Bench {
    let mut text = String::from(
        r#"
        [[port]]
        name = "en0"
        device = "net_null0"
        address = ["10.0.0.1/24", "2001:db8::1/64"]
        [[port]]
        name = "en1"
        device = "net_null1"
        address = ["203.0.113.1/24", "2001:db8:ff::1/64"]
        [[route]]
        to = "default"
        via = "203.0.113.254"
        [[route]]
        to = "::/0"
        via = "2001:db8:ff::fe"
        "#,
    );
    for (address, mac) in [
        ("10.0.0.163", "02:aa:00:00:01:63"),
        ("2001:db8::a3", "02:aa:00:00:01:63"),
        ("203.0.113.254", "02:bb:00:00:02:54"),
        ("2001:db8:ff::fe", "02:bb:00:00:02:54"),
    ] {
        writeln!(text, "[[neighbour]]\naddress = \"{address}\"\nmac = \"{mac}\"").unwrap();
    }
    let kind = if encapsulation.kind == Kind::Ip { "ipip" } else { "gre" };
    writeln!(text, "[[tunnel]]\nname = \"{kind}0\"\nttl = {}", settings.ttl).unwrap();
    let dscp = settings.dscp.map_or("\"copy\"".to_owned(), |dscp| dscp.to_string());
    let df = if settings.copies_df { "copy" } else { "set" };
    writeln!(text, "dscp = {dscp}\ndf = \"{df}\"").unwrap();
    let (local, remote) = match encapsulation.outer {
        Four => (LOCAL4.to_string(), REMOTE4.to_string()),
        Six => (LOCAL6.to_string(), REMOTE6.to_string()),
    };
    if (encapsulation.kind, encapsulation.outer) == (Kind::Ip, Four) {
        writeln!(text, "address = \"{local}\"\npeer = \"{remote}\"").unwrap();
    } else {
        writeln!(text, "local = \"{local}\"\nremote = \"{remote}\"").unwrap();
        writeln!(text, "address = \"172.31.0.1\"\npeer = \"172.31.0.2\"").unwrap();
    }
    if encapsulation.kind != Kind::Ip {
        let link0 = encapsulation.kind == Kind::Gre;
        writeln!(text, "link1 = true\nlink0 = {link0}").unwrap();
    }
    for to in ["40.0.0.0/8", "2001:db8:40::/48"] {
        if encapsulation.kind != Kind::Minimal || to.starts_with('4') {
            writeln!(text, "[[route]]\nto = \"{to}\"\ninterface = \"{kind}0\"").unwrap();
        }
    }
    let mut bench = Bench::from_config(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    bench.discard_sent();
    bench
}

/// `datagram` in a frame to one of our ports.
fn frame(port: PortId, datagram: &[u8]) -> Vec<u8> {
    let kind = if datagram[0] >> 4 == 6 { [0x86, 0xdd] } else { [0x08, 0x00] };
    let peer = if port == LAN { [2, 0xaa, 0, 0, 1, 0x63] } else { [2, 0xbb, 0, 0, 2, 0x54] };
    [&[2, 0, 0, 0, 0, port.0 + 1][..], &peer, &kind, datagram].concat()
}

/// A sent datagram without what nobody can foretell: the identification of an outer
/// IPv4 header and the flow label of an outer IPv6 one. etherparse has read it.
fn normal(frame: &[u8], fresh_header: bool) -> Vec<u8> {
    let datagram = &frame[14..];
    if frame[12..14] == [0x86, 0xdd] {
        let (mut header, rest) = Ipv6Header::from_slice(datagram).unwrap();
        assert_eq!(usize::from(header.payload_length), rest.len());
        if fresh_header {
            header.flow_label = Ipv6FlowLabel::ZERO;
        }
        return [&header.to_bytes()[..], rest].concat();
    }
    let (mut header, rest) = Ipv4Header::from_slice(datagram).unwrap();
    assert_eq!(header.header_checksum, header.calc_header_checksum(), "{header:?}");
    assert_eq!(usize::from(header.total_len), datagram.len());
    if fresh_header {
        header.identification = 0x4321;
        header.header_checksum = header.calc_header_checksum();
    }
    [&header.to_bytes()[..], rest].concat()
}

/// Lets packets arrive in bursts and compares what leaves by `to`, in order.
struct Run {
    bench: Bench,
    from: PortId,
    waiting: Vec<(String, Option<Vec<u8>>)>,
    seen: usize,
    sent: usize,
}

impl Run {
    fn new(bench: Bench, from: PortId) -> Run {
        Run { bench, from, waiting: Vec::new(), seen: 0, sent: 0 }
    }

    fn pass(&mut self, datagram: &[u8], expected: Option<Vec<u8>>, what: String) {
        self.bench.receive(self.from, &frame(self.from, datagram)).unwrap();
        self.waiting.push((what, expected));
        if self.waiting.len() == BURST {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.bench.run_until_quiet().unwrap();
        let outbound = self.from == LAN;
        let sent = self.bench.sent(if outbound { NET } else { LAN });
        // Errors about those that expired: to the LAN host, or back into the tunnel.
        let mut sent =
            sent.iter().map(|frame| normal(frame, outbound)).filter(|got| !is_error(got));
        self.seen += self.waiting.len();
        for (what, expected) in self.waiting.drain(..) {
            let Some(expected) = expected else { continue };
            let got = sent.next().unwrap_or_else(|| panic!("nothing came out: {what}"));
            assert_eq!(got, expected, "{what}\n     got {got:02x?}\nexpected {expected:02x?}");
            self.sent += 1;
        }
        assert_eq!(sent.next(), None, "something came out that had to be dropped");
        self.bench.discard_sent();
    }

    /// (packets in, of these out)
    fn end(mut self) -> (usize, usize) {
        self.flush();
        self.bench.expect_conservation().unwrap();
        (self.seen, self.sent)
    }
}

/// Our own ICMP, which is not what these tests are about.
fn is_error(datagram: &[u8]) -> bool {
    if datagram[0] >> 4 == 6 { datagram[6] == 58 } else { datagram[9] == 1 }
}

fn fields(tos: impl Iterator<Item = u8> + Clone) -> impl Iterator<Item = Fields> + Clone {
    tos.flat_map(|tos| {
        let ttls = TTLS.into_iter();
        ttls.flat_map(move |ttl| [false, true].map(|df| Fields { tos, df, ttl }))
    })
}

/// Runs `one` for every encapsulation, two at a time.
fn for_each(one: impl Fn(Encapsulation) + Sync) {
    let halves = ENCAPSULATIONS.split_at(ENCAPSULATIONS.len() / 2);
    std::thread::scope(|scope| {
        for half in [halves.0, halves.1] {
            scope.spawn(|| half.iter().copied().for_each(&one));
        }
    });
}

#[test]
fn into_every_tunnel() {
    for_each(|encapsulation| {
        for settings in all_settings() {
            let mut run = Run::new(bench(encapsulation, settings), LAN);
            for fields in fields(0..=255) {
                let packet = inner(encapsulation.inner, fields, true);
                let expected = forwarded(fields).map(|onward| {
                    let outer = encapsulation.encapsulated(onward, settings);
                    encapsulation.outer(outer, true, &inner(encapsulation.inner, onward, true))
                });
                run.pass(&packet, expected, format!("{encapsulation:?} {settings:?} {fields:?}"));
            }
            let all = 256 * TTLS.len() * 2;
            // TTL 0 and 1 go no further.
            assert_eq!(run.end(), (all, all / TTLS.len() * (TTLS.len() - 2)));
        }
    });
}

#[test]
fn out_of_every_tunnel() {
    let outside = [0x00, 0x28, 0xfc].into_iter().flat_map(|dscp| (0..4).map(move |ecn| dscp | ecn));
    for_each(|encapsulation| {
        let settings = Settings { dscp: None, copies_df: false, ttl: 64 };
        let mut run = Run::new(bench(encapsulation, settings), NET);
        for outer_tos in outside.clone() {
            for inside in fields(0..=255) {
                // The outer TTL, even 0, and DF are the outer packet's alone.
                let outer = match encapsulation.kind {
                    Kind::Minimal => inside,
                    _ => Fields { tos: outer_tos, df: !inside.df, ttl: inside.ttl ^ 64 },
                };
                let packet =
                    encapsulation.outer(outer, false, &inner(encapsulation.inner, inside, false));
                let expected = encapsulation
                    .decapsulated(inside, outer)
                    .and_then(forwarded)
                    .map(|fields| inner(encapsulation.inner, fields, false));
                run.pass(
                    &packet,
                    expected,
                    format!("{encapsulation:?} {outer:?} around {inside:?}"),
                );
            }
        }
        let (seen, sent) = run.end();
        assert_eq!(seen, 12 * 256 * TTLS.len() * 2);
        // Two TTLs of six expire; CE around Not-ECT, one of sixteen pairs, is dropped.
        let live = seen / TTLS.len() * (TTLS.len() - 2);
        assert_eq!(sent, if encapsulation.kind == Kind::Minimal { live } else { live / 16 * 15 });
    });
}

/// The comparison notices a single bit.
#[test]
#[should_panic(expected = "one bit")]
fn a_wrong_bit_is_noticed() {
    let encapsulation = ENCAPSULATIONS[0];
    let settings = Settings { dscp: None, copies_df: false, ttl: 64 };
    let mut run = Run::new(bench(encapsulation, settings), LAN);
    let fields = Fields { tos: 0x2a, df: false, ttl: 9 };
    let onward = forwarded(fields).unwrap();
    let wrong = Fields { tos: 0x29, df: true, ttl: 64 };
    let expected = encapsulation.outer(wrong, true, &inner(Four, onward, true));
    run.pass(&inner(Four, fields, true), Some(expected), "one bit".to_owned());
    run.flush();
}
