use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::*;
use crate::control::tally::fake::*;
use crate::wire::ipv4::fragment::FragmentPlan;
use crate::wire::ipv4::{FLAG_DF, FLAG_MF, IPV4_LEN, Ipv4Header, fill_checksum};

struct Bench {
    engine: Reassembly,
    world: Fake,
    counters: Arc<ControlCounters>,
}

impl Bench {
    fn new() -> Bench {
        Bench::with(ReassemblyConfig::with_room(9000))
    }

    fn with(config: ReassemblyConfig) -> Bench {
        let counters = counters();
        let engine = Reassembly::new(config, counters.clone());
        Bench { engine, world: Fake::default(), counters }
    }

    /// Takes a fragment; returns the datagram that it completed.
    #[track_caller]
    fn takes_at(&mut self, ms: u64, in_if: IfId, fragment: &[u8]) -> Option<Vec<u8>> {
        self.engine.on_fragment(&mut self.world, at(ms), in_if, fragment);
        self.settled();
        let mut sent = self.world.sent();
        assert!(sent.len() <= 1);
        let (kind, bytes) = sent.pop()?;
        assert_eq!(kind, InjectKind::Receive { in_if });
        Some(bytes)
    }

    #[track_caller]
    fn takes(&mut self, fragment: &[u8]) -> Option<Vec<u8>> {
        self.takes_at(0, EN1, fragment)
    }

    #[track_caller]
    fn ticks(&mut self, ms: u64) -> Vec<Expired> {
        let expired = self.engine.tick(at(ms));
        self.settled();
        expired
    }

    /// Nothing is lost, and what is said to be held is held.
    #[track_caller]
    fn settled(&self) {
        assert_conserved(&self.counters);
        let holds = self.engine.datagrams.values().map(Datagram::held);
        let (packets, bytes) =
            holds.fold((0, 0), |sum, held| (sum.0 + held.packets, sum.1 + held.bytes));
        assert_eq!(self.counters.view().held, packets as u64);
        assert_eq!(self.engine.bytes, bytes);
        assert_eq!(self.engine.deadlines.len(), self.engine.datagrams.len());
        let of_sources: usize = self.engine.sources.values().map(BTreeSet::len).sum();
        assert_eq!(of_sources, self.engine.datagrams.len());
    }

    /// Fails unless `n` packets were dropped for this reason, and none for
    /// another.
    #[track_caller]
    fn dropped(&self, reason: ControlDrop, n: u64) {
        let all: u64 = self.counters.view().dropped.values().sum();
        assert_eq!((self.counters.dropped_for(reason), all), (n, n), "{reason:?}");
    }
}

/// One fragment, written by hand: `offset` in bytes.
fn piece(id: u16, offset: usize, more: bool, payload: &[u8]) -> Vec<u8> {
    let total = (IPV4_LEN + payload.len()) as u16;
    let flags = (offset / 8) as u16 | if more { FLAG_MF } else { 0 };
    let mut bytes = vec![0x45, 0];
    bytes.extend(total.to_be_bytes());
    bytes.extend(id.to_be_bytes());
    bytes.extend(flags.to_be_bytes());
    bytes.extend([61, 47, 0, 0]);
    bytes.extend(v4(FAR).octets());
    bytes.extend(Ipv4Addr::new(203, 0, 113, 1).octets());
    bytes.extend_from_slice(payload);
    assert!(fill_checksum(&mut bytes));
    bytes
}

/// A whole datagram of protocol 47 with this payload.
fn whole(id: u16, payload: &[u8]) -> Vec<u8> {
    piece(id, 0, false, payload)
}

fn with_tos(mut fragment: Vec<u8>, tos: u8) -> Vec<u8> {
    fragment[1] = tos;
    assert!(fill_checksum(&mut fragment));
    fragment
}

/// Fragments as the path's own cutter makes them.
fn cut_by_plan(packet: &[u8], mtu: usize) -> Vec<Vec<u8>> {
    let plan = FragmentPlan::new(packet, mtu).expect("can be cut");
    let header_len = Ipv4Header::ref_from(packet).expect("20 bytes").header_len();
    let payload = &packet[header_len..];
    let cut = plan.clone().map(|piece| {
        let mut out = vec![0; piece.header_len];
        plan.emit_header(&piece, &mut out).expect("room");
        out.extend_from_slice(&payload[piece.offset..piece.offset + piece.len]);
        out
    });
    cut.collect()
}

/// Fragments cut at the given 8-byte units, with no code of the product but
/// the checksum.
fn cut_at(packet: &[u8], units: &[usize]) -> Vec<Vec<u8>> {
    let payload = &packet[IPV4_LEN..];
    let mut cuts: Vec<usize> = units.iter().map(|u| u * 8).filter(|c| *c < payload.len()).collect();
    cuts.extend([0, payload.len()]);
    cuts.sort_unstable();
    cuts.dedup();
    let id = u16::from_be_bytes([packet[4], packet[5]]);
    let pairs = cuts.windows(2);
    pairs.map(|w| piece(id, w[0], w[1] != payload.len(), &payload[w[0]..w[1]])).collect()
}

const PAYLOAD: [u8; 40] = {
    let mut bytes = [0; 40];
    let mut i = 0;
    while i < 40 {
        bytes[i] = i as u8;
        i += 1;
    }
    bytes
};

#[test]
fn three_pieces_in_every_order() {
    let pieces = [
        piece(7, 0, true, &PAYLOAD[..16]),
        piece(7, 16, true, &PAYLOAD[16..32]),
        piece(7, 32, false, &PAYLOAD[32..]),
    ];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut b = Bench::new();
        assert_eq!(b.takes(&pieces[order[0]]), None);
        assert_eq!(b.takes(&pieces[order[1]]), None);
        assert_eq!(b.takes(&pieces[order[2]]), Some(whole(7, &PAYLOAD)), "{order:?}");
        assert_eq!((b.counters.merged.get(), b.counters.injected.get()), (2, 1));
        assert_eq!((b.engine.pending(), b.engine.next_deadline()), (0, None));
        b.dropped(ControlDrop::FragmentInvalid, 0);
    }
}

#[test]
fn padding_is_not_payload_and_df_and_options_stay() {
    // Four bytes of options (no-operation) in the first piece, DF in both.
    let marked = |mut fragment: Vec<u8>, options: bool| {
        if options {
            fragment.splice(IPV4_LEN..IPV4_LEN, [1; 4]);
            fragment[0] = 0x46;
            fragment[3] += 4;
        }
        fragment[6] |= (FLAG_DF >> 8) as u8;
        assert!(fill_checksum(&mut fragment));
        fragment.extend([0xee; 9]);
        fragment
    };
    let mut b = Bench::new();
    assert_eq!(b.takes(&marked(piece(7, 16, false, &PAYLOAD[16..]), false)), None);
    let first = marked(piece(7, 0, true, &PAYLOAD[..16]), true);
    let got = b.takes(&first).expect("complete");
    let header = crate::wire::ipv4::validate(&got, false).expect("valid");
    assert_eq!((header.header_len(), header.total_len(), got.len()), (24, 64, 64));
    assert_eq!(header.flags_fragment.get(), FLAG_DF);
    assert_eq!((&got[20..24], &got[24..]), (&[1; 4][..], &PAYLOAD[..]));
}

#[test]
fn datagrams_are_told_apart() {
    let first = piece(7, 0, true, &PAYLOAD[..16]);
    let last = piece(7, 16, false, &PAYLOAD[16..]);
    // identification, protocol, source, destination
    for byte in [5, 9, 15, 19] {
        let mut b = Bench::new();
        let mut other = last.clone();
        other[byte] ^= 1;
        assert!(fill_checksum(&mut other));
        assert_eq!(b.takes(&first), None);
        assert_eq!(b.takes(&other), None, "byte {byte}");
        assert_eq!(b.engine.pending(), 2);
        assert_eq!(b.takes_at(0, GRE0, &last), None, "came another way");
        assert_eq!(b.takes(&last), Some(whole(7, &PAYLOAD)));
    }
}

#[test]
fn duplicates_are_tolerated() {
    let mut b = Bench::new();
    let first = piece(7, 0, true, &PAYLOAD[..16]);
    let mut again = first.clone();
    again[8] -= 1; // came by a longer way
    assert!(fill_checksum(&mut again));
    for fragment in [&first, &first, &again] {
        assert_eq!(b.takes(fragment), None);
    }
    b.dropped(ControlDrop::FragmentDuplicate, 2);
    assert_eq!(b.takes(&piece(7, 16, false, &PAYLOAD[16..])), Some(whole(7, &PAYLOAD)));
}

#[test]
fn overlaps_and_contradictions_refuse_the_whole_datagram() {
    let changed = {
        let mut payload = PAYLOAD;
        payload[9] ^= 1;
        payload
    };
    let cases: &[(&str, [Vec<u8>; 2])] = &[
        (
            "same place, other bytes",
            [piece(7, 0, true, &PAYLOAD[..16]), piece(7, 0, true, &changed[..16])],
        ),
        (
            "same bytes, longer",
            [piece(7, 0, true, &PAYLOAD[..16]), piece(7, 0, true, &PAYLOAD[..24])],
        ),
        (
            "reaches in from the left",
            [piece(7, 16, true, &PAYLOAD[16..32]), piece(7, 8, true, &PAYLOAD[8..24])],
        ),
        (
            "reaches in from the right",
            [piece(7, 0, true, &PAYLOAD[..16]), piece(7, 8, true, &PAYLOAD[8..24])],
        ),
        ("lies inside", [piece(7, 0, true, &PAYLOAD[..32]), piece(7, 8, true, &PAYLOAD[8..16])]),
        ("covers", [piece(7, 8, true, &PAYLOAD[8..16]), piece(7, 0, true, &PAYLOAD[..32])]),
        (
            "same bytes, but the last",
            [piece(7, 16, true, &PAYLOAD[16..32]), piece(7, 16, false, &PAYLOAD[16..32])],
        ),
        (
            "behind the end",
            [piece(7, 16, false, &PAYLOAD[16..32]), piece(7, 32, true, &PAYLOAD[32..])],
        ),
        (
            "an end before what is there",
            [piece(7, 32, true, &PAYLOAD[32..]), piece(7, 16, false, &PAYLOAD[16..24])],
        ),
        (
            "a second end",
            [piece(7, 8, false, &PAYLOAD[8..16]), piece(7, 16, false, &PAYLOAD[16..24])],
        ),
    ];
    for (what, fragments) in cases {
        let mut b = Bench::new();
        assert_eq!(b.takes(&fragments[0]), None, "{what}");
        assert_eq!(b.takes(&fragments[1]), None, "{what}");
        b.dropped(ControlDrop::FragmentOverlap, 2);
        // What would have completed it comes too late.
        for fragment in cut_at(&whole(7, &PAYLOAD), &[1, 2, 3, 4]) {
            assert_eq!(b.takes(&fragment), None, "{what}");
        }
        b.dropped(ControlDrop::FragmentOverlap, 7);
        // Its time over, the identification is free again.
        assert_eq!(b.ticks(30_000), []);
        for fragment in cut_at(&whole(7, &PAYLOAD), &[1, 2, 3]) {
            b.takes_at(30_000, EN1, &fragment);
        }
        assert_eq!(b.counters.merged.get(), 3, "{what}");
    }
}

#[test]
fn what_is_no_fragment_is_refused() {
    let mut b = Bench::new();
    let mut bad_sum = piece(7, 0, true, &PAYLOAD[..16]);
    bad_sum[10] ^= 1;
    for bytes in [
        whole(7, &PAYLOAD),
        piece(7, 0, true, &[]),
        piece(7, 8, false, &[]),
        piece(7, 0, true, &PAYLOAD[..15]),
        bad_sum,
        vec![0x45; 19],
        Vec::new(),
    ] {
        assert_eq!(b.takes(&bytes), None);
    }
    b.dropped(ControlDrop::FragmentInvalid, 7);
    assert_eq!(b.engine.pending(), 0);
}

#[test]
fn too_large_is_refused_as_soon_as_it_shows() {
    // Beyond what IPv4 can say ("ping of death").
    let mut b = Bench::with(ReassemblyConfig::with_room(usize::MAX));
    b.takes(&piece(7, 0, true, &PAYLOAD[..16]));
    b.takes(&piece(7, 65_528, false, &PAYLOAD));
    b.dropped(ControlDrop::FragmentTooLarge, 2);
    // Beyond what a buffer takes.
    let mut b = Bench::with(ReassemblyConfig::with_room(576));
    b.takes(&piece(7, 0, true, &PAYLOAD[..16]));
    b.takes(&piece(7, 560, false, &PAYLOAD[..8]));
    b.dropped(ControlDrop::FragmentTooLarge, 2);
    // Exactly as much (V4-03: at least 576).
    let mut b = Bench::with(ReassemblyConfig::with_room(576));
    let packet = whole(8, &[9; 556]);
    let mut done = None;
    for fragment in cut_by_plan(&packet, 68) {
        done = b.takes(&fragment);
    }
    assert_eq!(done, Some(packet));
    // Options in the first piece's header can make it too large at the end.
    let mut b = Bench::with(ReassemblyConfig::with_room(60));
    let mut first = piece(9, 0, true, &PAYLOAD[..20]);
    first[0] = 0x46;
    first[20..24].fill(1);
    assert!(fill_checksum(&mut first));
    b.takes(&piece(9, 16, false, &PAYLOAD[..24]));
    b.takes(&first);
    b.dropped(ControlDrop::FragmentTooLarge, 2);
}

#[test]
fn late_ones_are_given_up_and_answered_if_the_first_is_there() {
    let mut b = Bench::new();
    let first = piece(1, 0, true, &PAYLOAD[..16]);
    b.takes_at(0, EN1, &first);
    b.takes_at(10, EN1, &piece(2, 16, false, &PAYLOAD[16..]));
    // A further piece does not give it more time.
    b.takes_at(29_000, EN1, &piece(1, 16, true, &PAYLOAD[16..32]));
    assert_eq!(b.engine.next_deadline(), Some(at(30_000)));
    assert_eq!(b.ticks(29_999), []);
    assert_eq!(b.ticks(30_000), [Expired { in_if: EN1, first: first.into() }]);
    b.dropped(ControlDrop::FragmentTimeout, 2);
    assert_eq!(b.ticks(30_010), []);
    b.dropped(ControlDrop::FragmentTimeout, 3);
    assert_eq!(b.engine.pending(), 0);
}

#[test]
fn datagrams_sources_pieces_and_bytes_are_bounded() {
    let usual = ReassemblyConfig::with_room(9000);
    // Datagrams: the oldest goes.
    let mut b = Bench::with(ReassemblyConfig { datagrams: 2, ..usual });
    for id in 1..=3 {
        b.takes_at(id.into(), EN1, &piece(id, 0, true, &PAYLOAD[..16]));
    }
    b.dropped(ControlDrop::FragmentLimits, 1);
    assert_eq!(b.takes(&piece(3, 16, false, &PAYLOAD[16..])), Some(whole(3, &PAYLOAD)));

    // One source's share: its own oldest goes, nobody else's.
    let mut b = Bench::with(ReassemblyConfig { per_source: 1, ..usual });
    let mut others = piece(9, 0, true, &PAYLOAD[..16]);
    others[15] ^= 1;
    assert!(fill_checksum(&mut others));
    b.takes_at(0, EN1, &others);
    b.takes_at(1, EN1, &piece(1, 0, true, &PAYLOAD[..16]));
    b.takes_at(2, EN1, &piece(2, 0, true, &PAYLOAD[..16]));
    b.dropped(ControlDrop::FragmentLimits, 1);
    assert_eq!(b.takes(&piece(2, 16, false, &PAYLOAD[16..])), Some(whole(2, &PAYLOAD)));
    assert_eq!(b.engine.pending(), 1);

    // Pieces of one datagram.
    let mut b = Bench::with(ReassemblyConfig { pieces: 2, ..usual });
    for n in 0..3 {
        b.takes(&piece(1, n * 8, true, &PAYLOAD[..8]));
    }
    b.dropped(ControlDrop::FragmentLimits, 3);

    // Bytes: the oldest goes, but never the one that grows.
    let (fragment, _) = Fragment::read(&piece(1, 0, true, &PAYLOAD[..16]), EN1)
        .map(|(f, key)| (f.cost(), key))
        .expect("a fragment");
    let mut b = Bench::with(ReassemblyConfig { bytes: 2 * fragment, ..usual });
    b.takes_at(0, EN1, &piece(1, 0, true, &PAYLOAD[..16]));
    b.takes_at(1, EN1, &piece(2, 0, true, &PAYLOAD[..16]));
    b.takes_at(2, EN1, &piece(1, 16, true, &PAYLOAD[16..32]));
    b.dropped(ControlDrop::FragmentLimits, 1);
    b.takes_at(3, EN1, &piece(1, 32, true, &PAYLOAD[..16]));
    b.dropped(ControlDrop::FragmentLimits, 2);
    assert_eq!(b.counters.view().held, 2);
}

#[test]
fn congestion_seen_by_a_piece_is_seen_by_the_whole() {
    let pieces = |tos: [u8; 2]| {
        [
            with_tos(piece(7, 0, true, &PAYLOAD[..16]), tos[0]),
            with_tos(piece(7, 16, false, &PAYLOAD[16..]), tos[1]),
        ]
    };
    for (tos, expected) in [
        ([0xb8, 0xb8], Some(0xb8)),
        ([0xba, 0xbb], Some(0xbb)),
        ([0xbb, 0xba], Some(0xbb)),
        ([0xba, 0xb9], Some(0xba)),
        ([0xb8, 0xbb], None),
        ([0xbb, 0xb8], None),
    ] {
        let mut b = Bench::new();
        let [first, last] = pieces(tos);
        b.takes(&last);
        assert_eq!(b.takes(&first).map(|bytes| bytes[1]), expected, "{tos:02x?}");
        b.dropped(ControlDrop::FragmentEcn, if expected.is_none() { 2 } else { 0 });
    }
}

#[test]
fn a_full_exchange_loses_the_whole_by_name() {
    let mut b = Bench::new();
    b.takes(&piece(7, 0, true, &PAYLOAD[..16]));
    b.world.room = 0;
    assert_eq!(b.takes(&piece(7, 16, false, &PAYLOAD[16..])), None);
    b.dropped(ControlDrop::InjectQueueFull, 1);
    assert_eq!(b.counters.merged.get(), 1);
}

/// Any order of so many things.
fn shuffled<T: Clone + std::fmt::Debug + 'static>(items: Vec<T>) -> impl Strategy<Value = Vec<T>> {
    Just(items).prop_shuffle()
}

fn datagram() -> impl Strategy<Value = Vec<u8>> {
    (any::<u16>(), prop::collection::vec(any::<u8>(), 2..3000))
        .prop_map(|(id, payload)| whole(id, &payload))
}

fn reassembles(packet: &[u8], pieces: &[Vec<u8>], twice: bool) -> Result<(), TestCaseError> {
    let mut b = Bench::new();
    for (n, fragment) in pieces.iter().enumerate() {
        let done = b.takes(fragment);
        prop_assert_eq!(done.as_deref(), (n + 1 == pieces.len()).then_some(packet));
        if twice && done.is_none() {
            prop_assert_eq!(b.takes(fragment), None);
        }
    }
    prop_assert_eq!(b.counters.merged.get(), pieces.len() as u64 - 1);
    Ok(())
}

proptest! {
    #[test]
    fn what_the_path_cuts_comes_back(
        (packet, pieces) in (datagram(), 68usize..1500).prop_flat_map(|(packet, mtu)| {
            let pieces = cut_by_plan(&packet, mtu.min(packet.len() - 1).max(28));
            (Just(packet), shuffled(pieces))
        }),
        twice in any::<bool>(),
    ) {
        prop_assume!(pieces.len() > 1);
        reassembles(&packet, &pieces, twice)?;
    }

    #[test]
    fn what_others_cut_comes_back(
        (packet, pieces) in (datagram(), prop::collection::vec(1usize..375, 1..40))
            .prop_flat_map(|(packet, units)| {
                let pieces = cut_at(&packet, &units);
                (Just(packet), shuffled(pieces))
            }),
        twice in any::<bool>(),
    ) {
        prop_assume!(pieces.len() > 1);
        reassembles(&packet, &pieces, twice)?;
    }

    /// Random pieces of few datagrams, against a model that remembers every
    /// byte: whatever comes out consists of bytes that came in.
    #[test]
    fn garbage_is_conserved_and_never_panics(
        pieces in prop::collection::vec(
            (0u16..3, 0usize..12, any::<bool>(), 1usize..40, 0u64..9000), 1..80),
    ) {
        let limits = ReassemblyConfig {
            datagrams: 2, pieces: 5, bytes: 900, ..ReassemblyConfig::with_room(100)
        };
        let mut b = Bench::with(limits);
        let mut ms = 0;
        for (id, unit, more, len, wait) in pieces {
            ms += wait;
            // A byte's value is its place in the datagram.
            let payload: Vec<u8> = (unit * 8..unit * 8 + len).map(|n| n as u8).collect();
            if let Some(got) = b.takes_at(ms, EN1, &piece(id, unit * 8, more, &payload)) {
                let places: Vec<u8> = (0..got.len() - IPV4_LEN).map(|n| n as u8).collect();
                prop_assert_eq!(&got[IPV4_LEN..], &places[..]);
                prop_assert!(got.len() <= 100);
            }
            b.ticks(ms);
            prop_assert!(b.engine.bytes <= 900 && b.engine.pending() <= 2);
        }
        b.ticks(ms + 30_000);
        prop_assert_eq!((b.engine.pending(), b.counters.view().held), (0, 0));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut b = Bench::new();
        b.takes(&bytes);
    }
}

/// IPv6: one fragment, its headers written by hand. `offset` in bytes.
fn piece6(id: u32, offset: usize, more: bool, payload: &[u8]) -> Vec<u8> {
    let (IpAddr::V6(from), IpAddr::V6(to)) = (HOST6, OWN6) else { panic!("IPv6 only") };
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend((16 + payload.len() as u16).to_be_bytes());
    bytes.extend([60, 61]); // destination options first: in every piece
    bytes.extend(from.octets());
    bytes.extend(to.octets());
    bytes.extend([44, 0, 1, 4, 0, 0, 0, 0]);
    bytes.extend([47, 0]);
    bytes.extend((offset as u16 | u16::from(more)).to_be_bytes());
    bytes.extend(id.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// The whole of such fragments, as etherparse reads it: what follows the
/// headers, whose protocol is 47.
#[track_caller]
fn payload6(whole: &[u8]) -> Vec<u8> {
    let sliced = etherparse::SlicedPacket::from_ip(whole).expect("a datagram");
    let Some(etherparse::NetSlice::Ipv6(ip)) = sliced.net else { panic!("no IPv6") };
    assert!(!ip.payload().fragmented);
    assert_eq!(ip.payload().ip_number.0, 47);
    ip.payload().payload.to_vec()
}

#[test]
fn ipv6_pieces_in_every_order_and_without_the_fragment_header() {
    let pieces = [
        piece6(7, 0, true, &PAYLOAD[..16]),
        piece6(7, 16, true, &PAYLOAD[16..24]),
        piece6(7, 24, false, &PAYLOAD[24..37]),
    ];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut b = Bench::new();
        assert_eq!(b.takes(&pieces[order[0]]), None);
        assert_eq!(b.takes(&pieces[order[1]]), None);
        let whole = b.takes(&pieces[order[2]]).expect("complete");
        assert_eq!(payload6(&whole), PAYLOAD[..37]);
        assert_eq!(whole.len(), 40 + 8 + 37);
        assert_eq!((whole[6], whole[40]), (60, 47), "as if it had never been cut");
    }
    // The pieces a source of ours makes fit together too.
    let packet = udp(HOST6, OWN6, 9, &[7; 4000]);
    let cut = cut6(&packet, 99).expect("can be cut");
    let mut b = Bench::new();
    let whole = cut.iter().rev().filter_map(|piece| b.takes(piece)).next();
    assert_eq!(whole.as_deref(), Some(&packet[..]));
}

#[test]
fn h6_03_overlapping_ipv6_fragments_refuse_the_whole_datagram() {
    let mut b = Bench::new();
    b.takes(&piece6(7, 0, true, &PAYLOAD[..16]));
    b.takes(&piece6(7, 8, true, &PAYLOAD[8..24]));
    b.dropped(ControlDrop::FragmentOverlap, 2);
    assert_eq!(b.takes(&piece6(7, 0, true, &PAYLOAD[..16])), None);
    assert_eq!(b.takes(&piece6(7, 16, false, &PAYLOAD[16..24])), None, "nor those to come");
    b.dropped(ControlDrop::FragmentOverlap, 4);
    // Another identification, another datagram.
    b.takes(&piece6(8, 0, true, &PAYLOAD[..16]));
    assert!(b.takes(&piece6(8, 16, false, &PAYLOAD[16..24])).is_some());
}

#[test]
fn an_atomic_fragment_is_passed_on_whoever_else_is_under_way() {
    let mut b = Bench::new();
    b.takes(&piece6(7, 0, true, &PAYLOAD[..16]));
    let whole = b.takes(&piece6(7, 0, false, &PAYLOAD[..5])).expect("whole");
    assert_eq!(payload6(&whole), PAYLOAD[..5]);
    let whole = b.takes(&piece6(7, 16, false, &PAYLOAD[16..20])).expect("the other one");
    assert_eq!(payload6(&whole), PAYLOAD[..20]);
}

#[test]
fn what_is_no_ipv6_fragment_is_refused_and_late_ones_are_answered() {
    let mut b = Bench::new();
    let good = piece6(7, 0, true, &PAYLOAD[..16]);
    let mut empty = piece6(7, 0, true, &[]);
    empty[5] = 16;
    for bad in [piece6(7, 0, true, &PAYLOAD[..15]), udp(HOST6, OWN6, 9, b""), empty] {
        b.takes(&bad);
    }
    b.takes(&good[..50]);
    b.dropped(ControlDrop::FragmentInvalid, 4);
    b.takes(&good);
    assert_eq!(b.ticks(29_999), []);
    assert_eq!(b.ticks(30_000), [Expired { in_if: EN1, first: good.into() }]);
    b = Bench::with(ReassemblyConfig::with_room(1500));
    b.takes(&piece6(7, 1472, true, &PAYLOAD[..16]));
    b.dropped(ControlDrop::FragmentTooLarge, 1);
}

#[test]
fn a_large_ipv6_echo_request_is_answered_in_pieces_that_fit_everywhere() {
    let (IpAddr::V6(host), IpAddr::V6(own)) = (HOST6, OWN6) else { panic!("IPv6 only") };
    let echo = |from: std::net::Ipv6Addr, to: std::net::Ipv6Addr, reply: bool, size: usize| {
        let ip = etherparse::PacketBuilder::ipv6(from.octets(), to.octets(), 64);
        let built = if reply { ip.icmpv6_echo_reply(7, 9) } else { ip.icmpv6_echo_request(7, 9) };
        let mut packet = Vec::new();
        built.write(&mut packet, &vec![0x5a; size]).expect("to memory");
        packet
    };
    let large = cut6(&echo(host, own, false, 4000), 99).expect("can be cut");
    let feed = |b: &mut Bench| {
        for piece in &large {
            b.engine.on_fragment(&mut b.world, at(0), EN1, piece);
            b.settled();
        }
        b.world.sent()
    };
    let mut b = Bench::new();
    let sent = feed(&mut b);
    assert_eq!(sent.len(), 4);
    let mut other_end = Bench::new();
    let mut whole = None;
    for (kind, piece) in sent {
        assert_eq!(kind, InjectKind::Originate);
        assert!(piece.len() <= 1280);
        whole = other_end.takes(&piece).or(whole);
    }
    assert_eq!(whole, Some(echo(own, host, true, 4000)));
    // Switched off, the worker meets it and refuses it by name.
    let mut b = Bench::new();
    b.engine.configure(&crate::model::spec::IcmpSpec { echo: false, ..Default::default() });
    assert_eq!(feed(&mut b), [(InjectKind::Receive { in_if: EN1 }, echo(host, own, false, 4000))]);
    // What fits everywhere is the worker's too.
    let mut b = Bench::new();
    let mut small = echo(host, own, false, 100);
    small.splice(40..40, [58, 0, 0, 0, 0, 0, 0, 1]);
    (small[5], small[6]) = (small[5] + 8, 44);
    assert_eq!(b.takes(&small), Some(echo(host, own, false, 100)));
}
