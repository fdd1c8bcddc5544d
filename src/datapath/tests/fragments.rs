//! Cutting: transit, inner and outer datagrams, put together again by a
//! reassembler of the tests' own.

use super::packets::{Datagram, frame, pattern, read, read_ip, reassemble, routed};
use super::testbed::*;
use crate::exchange::InjectKind;

fn datagrams(sent: &Sent) -> Vec<Datagram> {
    sent.iter().map(|(_, frame)| read(frame).1).collect()
}

#[test]
fn transit_datagrams_are_cut_to_the_links_mtu() {
    let mut bed = Testbed::new();
    let mut pieces_made = 0;
    for len in (573..1473).step_by(7) {
        let packet = Datagram::udp("10.0.0.163", "100.64.0.1", len).tos(0x2a);
        let sent = bed.pass(EN0, &packet.frame());
        let pieces = datagrams(&sent);
        assert!(sent.iter().all(|(port, frame)| *port == EN1 && frame.len() <= 614));
        // 576 bytes of payload in each but the last, which can hold 580.
        let fewest = 1 + (len + 8 - 580).div_ceil(576);
        assert_eq!(pieces.len(), fewest, "as few as can be");
        assert_eq!(reassemble(&pieces).bytes(), routed(&packet), "payload of {len}");
        pieces_made += pieces.len() as u64;
    }
    let ledger = bed.counters.ledger(EN0);
    assert_eq!(ledger.fragments_created.get(), pieces_made - 129);
    assert_eq!(ledger.sent.get(), pieces_made);
}

#[test]
fn options_are_in_the_first_piece_and_the_copied_ones_in_all() {
    let mut bed = Testbed::new();
    // Record route is not copied, router alert (0x94) is.
    let options = [7, 7, 4, 0, 0, 0, 0, 0x94, 4, 0, 0, 0];
    let packet = Datagram::udp("10.0.0.163", "100.64.0.1", 1400).options(&options);
    let pieces = datagrams(&bed.pass(EN0, &packet.frame()));
    assert_eq!(pieces[0].header.options.as_slice(), options);
    for piece in &pieces[1..] {
        assert_eq!(piece.header.options.as_slice(), [0x94, 4, 0, 0]);
    }
    assert_eq!(reassemble(&pieces).payload, packet.payload);
}

#[test]
fn a_fragment_is_cut_further() {
    let mut bed = Testbed::new();
    for (offset, more) in [(0, true), (100, true), (300, false)] {
        let packet = Datagram::new("10.0.0.163", "100.64.0.1", 17, pattern(1200));
        let packet = packet.fragment(offset, more);
        let mut pieces = datagrams(&bed.pass(EN0, &packet.frame()));
        assert_eq!(pieces.last().unwrap().header.more_fragments, more);
        let start = pieces[0].header.fragment_offset.value();
        assert_eq!(start, offset);
        // Shifted to the start, and the end made one, they are the packet.
        let count = pieces.len();
        for (i, piece) in pieces.iter_mut().enumerate() {
            let at = piece.header.fragment_offset.value() - start;
            piece.header.fragment_offset = etherparse::IpFragOffset::try_new(at).unwrap();
            piece.header.more_fragments = i + 1 < count;
        }
        assert_eq!(reassemble(&pieces).payload, packet.payload);
    }
}

#[test]
fn inner_datagrams_are_cut_when_the_outer_must_not_be() {
    let mut bed = Testbed::new();
    for len in (549..1473).step_by(13) {
        let packet = Datagram::udp("10.0.0.163", "24.0.0.1", len);
        let outers = datagrams(&bed.pass(EN0, &packet.frame()));
        assert!(outers.len() > 1);
        for outer in &outers {
            assert!(outer.header.total_len <= 600 && outer.header.dont_fragment);
            assert!(!outer.header.more_fragments);
            assert_eq!(outer.payload[..4], [0, 0, 8, 0]);
        }
        let inners: Vec<_> = outers.iter().map(|outer| read_ip(&outer.payload[4..])).collect();
        assert_eq!(reassemble(&inners).bytes(), routed(&packet));
    }
    let [_, packets, _, bytes, ..] = bed.interface(GRE0);
    assert_eq!(packets, bed.interface(EN1_IF)[1], "each piece went into the tunnel");
    assert_eq!(bytes, bed.interface(EN1_IF)[3] - packets * 38);
}

#[test]
fn outer_datagrams_are_cut_when_df_is_copied() {
    let mut bed = Testbed::new();
    let mut ids = std::collections::HashSet::new();
    for len in (549..1473).step_by(13) {
        let packet = Datagram::udp("10.0.0.163", "23.0.0.1", len).tos(0x89).ttl(44);
        let pieces = datagrams(&bed.pass(EN0, &packet.frame()));
        assert!(pieces.len() > 1 && pieces.iter().all(|piece| piece.header.total_len <= 600));
        let outer = reassemble(&pieces);
        assert_eq!(outer.payload[..4], [0, 0, 8, 0]);
        assert_eq!(outer.payload[4..], routed(&packet));
        assert_eq!((outer.header.time_to_live, outer.header.dscp.value()), (43, 0x22));
        assert!(ids.insert(outer.header.identification), "a new id each (V4-04)");
    }
    let [_, packets, _, bytes, ..] = bed.interface(GRE_COPY);
    assert_eq!(packets, ids.len() as u64, "one datagram each went into the tunnel");
    assert_eq!(bytes, (549..1473).step_by(13).map(|len| len + 28).sum::<u64>());
    // With DF inside, the sender is told what fits instead.
    assert_eq!(bed.pass(EN0, &Datagram::udp("10.0.0.163", "23.0.0.1", 549).df().frame()).len(), 0);
    assert_eq!(bed.told()[0].mtu, 576);
}

#[test]
fn what_is_made_here_is_cut_too() {
    let mut bed = Testbed::new();
    let packet = Datagram::udp("203.0.113.1", "100.64.0.1", 1000).ttl(1);
    assert!(bed.control.inject(InjectKind::Originate, &packet.bytes()));
    let pieces = datagrams(&bed.turns());
    assert_eq!(reassemble(&pieces).bytes(), packet.bytes());
}

#[test]
fn pieces_keep_their_place_among_other_packets() {
    let mut bed = Testbed::new();
    let small = |id| Datagram::udp("10.0.0.163", "100.64.0.1", 8).with(|h| h.identification = id);
    bed.receive(EN0, &small(1).frame());
    bed.receive(EN0, &Datagram::udp("10.0.0.163", "100.64.0.1", 1472).frame());
    bed.receive(EN0, &small(2).frame());
    let ids: Vec<u16> = datagrams(&bed.turns()).iter().map(|d| d.header.identification).collect();
    assert_eq!(ids, [1, 0x1234, 0x1234, 0x1234, 2]);
}

#[test]
fn all_pieces_or_none() {
    let mut bed = Testbed::new();
    let packet = Datagram::udp("10.0.0.163", "100.64.0.1", 1472).frame();
    // Three pieces need two buffers more; one is left.
    while bed.worker.io().available() > 2 {
        assert!(bed.worker.io().receive(EN2, &[0; 14]));
    }
    bed.receive(EN0, &packet);
    bed.worker.turn();
    assert_eq!(bed.counters.ledger(EN0).sent.get(), 0);
    assert_eq!(bed.counters.ledger(EN0).fragments_created.get(), 0);
    bed.turns();
    assert_eq!(bed.pass(EN0, &packet).len(), 3, "the pool is whole again");
}

#[test]
fn more_pieces_than_a_burst_are_refused() {
    let mut bed = Testbed::new();
    bed.route("100.67.0.0/16", rewrite(EN1, EN1_IF, EN1_MAC, ROUTER_MAC, None, 28));
    // 8 bytes per piece: 64 × 8 is what a burst takes beside the first piece.
    let fits = Datagram::new("10.0.0.163", "100.67.0.1", 17, pattern(65 * 8));
    let pieces = datagrams(&bed.pass(EN0, &fits.frame()));
    assert_eq!(reassemble(&pieces).bytes(), routed(&fits));
    let over = Datagram::new("10.0.0.163", "100.67.0.1", 17, pattern(65 * 8 + 1));
    assert_eq!(bed.pass(EN0, &over.frame()).len(), 0);
    assert_eq!(bed.drops()[0].0, crate::datapath::drop::DropReason::CannotFragment);
}

#[test]
fn frames_of_a_tagged_arrival_are_cut_alike() {
    let mut bed = Testbed::new();
    let packet = Datagram::udp("10.20.0.9", "100.64.0.1", 1472);
    let arrived = super::packets::tagged(&packet.frame(), 20);
    assert_eq!(reassemble(&datagrams(&bed.pass(EN0, &arrived))).bytes(), routed(&packet));
    let untagged = frame(EN0_MAC, HOST_MAC, 0x0800, &packet.bytes());
    assert_eq!(reassemble(&datagrams(&bed.pass(EN0, &untagged))).bytes(), routed(&packet));
}
