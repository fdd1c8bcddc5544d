//! Fragments addressed to us, put together on the worker, and on the right one.

use proptest::prelude::*;

use super::packets::{Datagram, frame, pattern, read_ip, routed};
use super::testbed::*;
use super::testbed6::*;
use crate::buf::heap::TestBuf;
use crate::datapath::drop::DropReason::{self, *};
use crate::exchange::{Cause, PuntReason};
use crate::ids::{IfId, PortId};
use crate::meeting::meet;

/// From gre0's far end, with `len` bytes for the LAN host inside.
fn gre(len: usize, id: u16) -> (Datagram, Datagram) {
    let inner = Datagram::udp("10.9.0.2", "10.0.0.163", len);
    let outer = Datagram::gre("198.51.100.2", "203.0.113.1", 0, 0x0800, &inner.bytes());
    (outer.with(|header| header.identification = id), inner)
}

/// The pieces of a datagram between these places, in units of 8 bytes.
fn cut(whole: &Datagram, cuts: &[usize]) -> Vec<Datagram> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut * 8).collect();
    at.retain(|at| *at < whole.payload.len());
    at.extend([0, whole.payload.len()]);
    at.sort_unstable();
    at.dedup();
    let one = |ends: &[usize]| {
        let payload = whole.payload[ends[0]..ends[1]].to_vec();
        let mut piece = Datagram { header: whole.header.clone(), payload };
        piece.header.set_payload_len(piece.payload.len()).unwrap();
        piece.fragment((ends[0] / 8) as u16, ends[1] != whole.payload.len())
    };
    at.windows(2).map(one).collect()
}

fn arrive(piece: &Datagram) -> Vec<u8> {
    frame(EN1_MAC, ROUTER_MAC, 0x0800, &piece.bytes())
}

/// The pieces of an IPv6 packet's payload, each behind a fragment header.
fn cut6(packet: &[u8], cuts: &[usize], id: u32) -> Vec<Vec<u8>> {
    let payload = &packet[40..];
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut * 8).collect();
    at.retain(|at| *at < payload.len());
    at.extend([0, payload.len()]);
    at.sort_unstable();
    at.dedup();
    let one = |ends: &[usize]| {
        let more = u16::from(ends[1] != payload.len());
        let mut bytes = packet[..40].to_vec();
        bytes[4..6].copy_from_slice(&((ends[1] - ends[0] + 8) as u16).to_be_bytes());
        bytes[6] = 44;
        bytes.extend([packet[6], 0]);
        bytes.extend((ends[0] as u16 | more).to_be_bytes());
        bytes.extend(id.to_be_bytes());
        bytes.extend(&payload[ends[0]..ends[1]]);
        bytes
    };
    at.windows(2).map(one).collect()
}

fn gre6(len: usize) -> (Vec<u8>, Datagram) {
    let inner = Datagram::udp("30.0.0.9", "10.0.0.163", len);
    (six(FAR6, EN1_6, 47, &[&[0, 0, 8, 0][..], &inner.bytes()].concat()), inner)
}

fn held(bed: &Testbed) -> u64 {
    bed.counters.ledgers.iter().map(|ledger| ledger.held.get()).sum()
}

fn merged(bed: &Testbed) -> u64 {
    bed.counters.ledgers.iter().map(|ledger| ledger.merged.get()).sum()
}

#[test]
fn pieces_in_any_order_come_out_of_the_tunnel_as_one() {
    let mut bed = Testbed::new();
    for (id, order) in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]].into_iter().enumerate() {
        let (outer, inner) = gre(1400, id as u16);
        let pieces = cut(&outer, &[50, 100]);
        assert_eq!(pieces.len(), 3);
        let mut sent = Sent::new();
        for number in order {
            assert_eq!(sent, Sent::new());
            sent = bed.pass(EN1, &arrive(&pieces[number]));
        }
        assert_eq!(sent.len(), 1, "{:?}", bed.drops());
        assert_eq!((sent[0].0, &sent[0].1[14..]), (EN0, &routed(&inner)[..]));
        assert_eq!(held(&bed), 0);
    }
    assert_eq!((merged(&bed), bed.told()), (8, vec![]));
    assert_eq!(bed.interface(GRE0)[0], 4);
    assert_eq!(bed.drops(), []);
}

#[test]
fn pieces_over_ipv6_too() {
    let mut bed = Testbed::six();
    let (outer, inner) = gre6(1400);
    for piece in cut6(&outer, &[60, 120], 7).iter().rev() {
        bed.receive(EN1, &from_router(piece));
    }
    let sent = bed.turns();
    assert_eq!(sent.len(), 1, "{:?}", bed.drops());
    assert_eq!(sent[0].1[14..], routed(&inner));
    assert_eq!((held(&bed), merged(&bed)), (0, 2));
    // Behind options, which are in every piece.
    let limited = six(FAR6, EN1_6, 60, &[&[47, 0, 4, 1, 4, 1, 1, 0][..], &outer[40..]].concat());
    let behind: Vec<Vec<u8>> = cut6(&outer, &[60], 8)
        .into_iter()
        .map(|mut piece| {
            piece[6] = 60;
            piece.splice(40..40, [44, 0, 4, 1, 4, 1, 1, 0]);
            let len = (piece.len() - 40) as u16;
            piece[4..6].copy_from_slice(&len.to_be_bytes());
            piece
        })
        .collect();
    let whole = bed.pass(EN1, &from_router(&limited));
    bed.pass(EN1, &from_router(&behind[0]));
    assert_eq!(bed.pass(EN1, &from_router(&behind[1])), whole, "{:?}", bed.drops());
}

/// S4-05: at least what the largest link takes, 1500 bytes.
#[test]
fn a_6in4_packet_in_pieces_is_unwrapped() {
    let mut bed = Testbed::six();
    let inner = udp6("2001:db8:21::9", HOST6, 1432);
    let outer = Datagram::new("198.51.100.3", "203.0.113.1", 41, inner.clone());
    assert_eq!(outer.bytes().len(), 1500);
    let pieces = cut(&outer, &[90]);
    bed.pass(EN1, &arrive(&pieces[1]));
    let sent = bed.pass(EN1, &arrive(&pieces[0]));
    assert_eq!(sent.len(), 1, "{:?}", bed.drops());
    assert_eq!(sent[0].1[14..], routed6(&inner));
}

#[test]
fn a_ping_in_pieces_is_answered_on_the_spot() {
    let mut bed = Testbed::new();
    let ping = Datagram::echo("10.0.0.163", "10.0.0.1", 1800);
    let pieces = cut(&ping, &[180]);
    assert_eq!(bed.pass(EN0, &pieces[0].frame()), Sent::new());
    let sent = bed.pass(EN0, &pieces[1].frame());
    let replies: Vec<_> = sent.iter().map(|(_, frame)| read_ip(&frame[14..])).collect();
    let reply = super::packets::reassemble(&replies);
    assert_eq!((reply.payload[0], &reply.payload[4..]), (0, &ping.payload[4..]));
    assert_eq!(bed.told(), vec![]);
    // What no worker may be able to send back whole is control's.
    let mut bed = Testbed::six();
    let mut echo = vec![128, 0, 0, 0, 0, 7, 0, 9];
    echo.extend(pattern(1600));
    let ping = six(HOST6, EN0_6, 58, &echo);
    for piece in cut6(&ping, &[100], 9) {
        assert_eq!(bed.pass(EN0, &from_host(&piece)), Sent::new());
    }
    let told = bed.told();
    assert_eq!((told[0].cause, &told[0].bytes), (Cause::Punt(PuntReason::LocalIcmp), &ping));
}

#[test]
fn what_comes_out_of_a_tunnel_in_pieces_is_put_together_too() {
    let mut bed = Testbed::new();
    let ping = Datagram::echo("10.9.0.2", "10.9.0.1", 600);
    let mut sent = Sent::new();
    for piece in cut(&ping, &[40]) {
        let outer = Datagram::gre("198.51.100.2", "203.0.113.1", 0, 0x0800, &piece.bytes());
        sent = bed.pass(EN1, &arrive(&outer));
    }
    let outer = read_ip(&sent[0].1[14..]);
    assert_eq!(read_ip(&outer.payload[4..]).payload[4..], ping.payload[4..]);
    assert_eq!((held(&bed), merged(&bed)), (0, 1));
    // But not from outside of it.
    let pieces = cut(&ping, &[30]);
    let outer = Datagram::gre("198.51.100.2", "203.0.113.1", 0, 0x0800, &pieces[0].bytes());
    bed.pass(EN1, &arrive(&outer));
    assert_eq!(bed.pass(EN1, &arrive(&pieces[1])), Sent::new());
    assert_eq!(held(&bed), 2);
}

/// Both pieces are gone, and whatever comes of this datagram after them.
fn refuses(bed: &mut Testbed, port: PortId, frames: [&[u8]; 3], reason: DropReason, at: IfId) {
    for bytes in frames {
        assert_eq!(bed.pass(port, bytes), Sent::new());
    }
    assert_eq!((bed.drops(), held(bed)), (vec![(reason, 3)], 0));
    assert_eq!(bed.interface(at)[4], 3);
}

#[test]
fn h6_03_overlaps_refuse_the_whole_datagram() {
    let (outer, _) = gre(1000, 1);
    let pieces = cut(&outer, &[60]);
    let across = cut(&outer, &[50, 70])[1].clone();
    let frames = [&pieces[0], &across, &pieces[1]].map(arrive);
    let frames = frames.each_ref().map(Vec::as_slice);
    refuses(&mut Testbed::new(), EN1, frames, FragmentOverlap, EN1_IF);
    let (outer, _) = gre6(1000);
    let pieces = cut6(&outer, &[60], 1);
    let across = cut6(&outer, &[50, 70], 1)[1].clone();
    let frames = [&pieces[0], &across, &pieces[1]].map(|piece| from_router(piece));
    let frames = frames.each_ref().map(Vec::as_slice);
    refuses(&mut Testbed::six(), EN1, frames, FragmentOverlap, EN1_IF);
}

#[test]
fn congestion_is_kept_or_the_datagram_refused() {
    let mut bed = Testbed::new();
    let (outer, _) = gre(1000, 1);
    let pieces = cut(&outer, &[60]);
    bed.pass(EN1, &arrive(&pieces[0].clone().tos(3)));
    bed.pass(EN1, &arrive(&pieces[1]));
    assert_eq!((bed.drops(), held(&bed)), (vec![(FragmentEcn, 2)], 0));
}

#[test]
fn duplicates_are_dropped_and_do_no_harm() {
    let mut bed = Testbed::new();
    let (outer, inner) = gre(1000, 1);
    let pieces = cut(&outer, &[40, 80]);
    for number in [0, 0, 2, 0, 2] {
        assert_eq!(bed.pass(EN1, &arrive(&pieces[number])), Sent::new());
    }
    let sent = bed.pass(EN1, &arrive(&pieces[1]));
    assert_eq!(sent[0].1[14..], routed(&inner));
    assert_eq!(bed.drops(), [(FragmentDuplicate, 3)]);
}

#[test]
fn what_is_late_is_given_up_and_its_sender_told() {
    let mut bed = Testbed::six();
    let (four, _) = gre(1000, 1);
    let (without_first, _) = gre(1000, 2);
    let (outer6, _) = gre6(1000);
    let first = cut(&four, &[60])[0].clone();
    let first6 = cut6(&outer6, &[60], 1)[0].clone();
    bed.pass(EN1, &arrive(&first));
    bed.pass(EN1, &arrive(&cut(&without_first, &[60])[1]));
    bed.pass(EN1, &from_router(&first6));
    bed.worker.io().now_ns += 29_999_999_999;
    bed.turns();
    assert_eq!((held(&bed), bed.told()), (3, vec![]));
    bed.worker.io().now_ns += 1;
    bed.turns();
    let told = bed.told();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].cause, &told[0].bytes), (Cause::Notice(FragmentTimeout), &first.bytes()));
    assert_eq!((told[0].in_if, held(&bed)), (EN1_IF, 1));
    bed.worker.io().now_ns += 30_000_000_000;
    bed.turns();
    let told = bed.told();
    assert_eq!((told[0].cause, &told[0].bytes), (Cause::Notice(FragmentTimeout), &first6));
    assert_eq!((bed.drops(), held(&bed)), (vec![(FragmentTimeout, 3)], 0));
    assert_eq!(bed.interface(EN1_IF)[4], 3);
}

#[test]
fn at_the_end_what_is_held_is_dropped_by_name() {
    let mut bed = Testbed::new();
    let (outer, _) = gre(1000, 1);
    bed.pass(EN1, &arrive(&cut(&outer, &[60])[0]));
    bed.worker.end();
    assert_eq!((bed.drops(), held(&bed), bed.told()), (vec![(FragmentTimeout, 1)], 0, vec![]));
}

#[test]
fn a_datagram_larger_than_a_buffer_is_refused() {
    let mut bed = Testbed::new();
    let whole = Datagram::new("10.0.0.163", "10.0.0.1", 17, pattern(ROOM - 20));
    for piece in cut(&whole, &[100]) {
        bed.pass(EN0, &piece.frame());
    }
    assert_eq!(bed.drops(), [(PortUnreachable, 1)], "the largest that fits");
    let whole = Datagram::new("10.0.0.163", "10.0.0.1", 17, pattern(ROOM - 19));
    for piece in cut(&whole, &[100]) {
        bed.pass(EN0, &piece.frame());
    }
    assert_eq!(bed.drops(), [(FragmentTooLarge, 2), (PortUnreachable, 1)]);
}

#[test]
fn bursts_of_nothing_but_fragments() {
    let mut bed = Testbed::six();
    let mut expected = Vec::new();
    for id in 0..63 {
        let (outer, inner) = gre(900 + usize::from(id), id);
        let mut pieces = cut(&outer, &[30 + usize::from(id)]);
        if id % 2 == 0 {
            pieces.reverse();
        }
        pieces.iter().for_each(|piece| bed.receive(EN1, &arrive(piece)));
        expected.push(routed(&inner));
        let (outer, inner) = gre6(700 + usize::from(id));
        let pieces = cut6(&outer, &[50], id.into());
        pieces.iter().for_each(|piece| bed.receive(EN1, &from_router(piece)));
        expected.push(routed(&inner));
    }
    let sent = bed.turns();
    let mut got: Vec<_> = sent.iter().map(|(_, frame)| frame[14..].to_vec()).collect();
    got.sort_unstable();
    expected.sort_unstable();
    assert_eq!(got, expected);
    assert_eq!((merged(&bed), held(&bed), bed.drops()), (126, 0, vec![]));
}

/// Two workers that meet: what is sent by either when each has had its turns.
fn turns(beds: &mut [Testbed; 2]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for _ in 0..4 {
        for bed in beds.iter_mut() {
            all.extend(bed.turns().into_iter().map(|(_, frame)| frame[14..].to_vec()));
        }
    }
    all
}

#[test]
fn fragments_that_arrive_at_different_workers_meet() {
    let mut ends = meet::<TestBuf>(2, 256).into_iter();
    let mut beds = [0, 1].map(|_| Testbed::meeting(ends.next().unwrap()));
    let mut expected = Vec::new();
    for id in 0..100u16 {
        let (outer, inner) = gre(900, id);
        let pieces = cut(&outer, &[40]);
        // The first one here, the other there, or the other way round.
        let first = usize::from(id % 2);
        beds[first].receive(EN1, &arrive(&pieces[0]));
        beds[1 - first].receive(EN1, &arrive(&pieces[1]));
        expected.push(routed(&inner));
        if id % 20 == 19 {
            let sent = turns(&mut beds);
            assert_eq!(sent, expected, "all of them, however dealt");
            expected.clear();
        }
    }
    let sum = |of: fn(&crate::stats::counters::Ledger) -> u64| {
        let ledgers = beds.iter().flat_map(|bed| &bed.counters.ledgers);
        ledgers.map(of).sum::<u64>()
    };
    assert_eq!(sum(|ledger| ledger.merged.get()), 100);
    let (handed, taken) = (sum(|ledger| ledger.handed.get()), sum(|ledger| ledger.taken.get()));
    assert_eq!(handed, taken);
    assert!((60..140).contains(&handed), "{handed}: about half of them travel");
    assert_eq!(sum(|ledger| ledger.received.get()), 200);
    // Each fragment counted where it arrived, and nowhere else.
    let received: u64 = beds.iter().map(|bed| bed.interface(EN1_IF)[0]).sum();
    assert_eq!(received, 200);
    for bed in &beds {
        assert_eq!((bed.counters.imbalance(), bed.drops(), held(bed)), (0, vec![], 0));
        let merged = merged(bed);
        assert!(merged > 20, "{merged}: both have their share");
    }
    // Buffers went from one worker's pool to the other's; none is lost.
    let free: usize = beds.iter_mut().map(|bed| bed.worker.io().available()).sum();
    assert_eq!(free, 2 * POOL);
    beds.into_iter().for_each(std::mem::forget);
}

#[test]
fn a_full_ring_to_the_other_worker_drops() {
    let mut ends = meet::<TestBuf>(2, 4).into_iter();
    let mut beds = [0, 1].map(|_| Testbed::meeting(ends.next().unwrap()));
    for id in 0..60 {
        let (outer, _) = gre(100, id);
        beds[0].pass(EN1, &arrive(&cut(&outer, &[4])[0]));
    }
    let (handed, kept) = (beds[0].counters.ledger(EN1).handed.get(), held(&beds[0]));
    assert_eq!(handed, 4);
    assert_eq!(beds[0].drops(), [(SpreadQueueFull, 60 - kept - 4)]);
    assert_eq!(beds[0].counters.imbalance(), 0);
    beds.into_iter().for_each(std::mem::forget);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However it is cut and in whatever order it comes, some of it twice: the
    /// datagram that was sent comes out, once.
    #[test]
    fn the_datagram_that_was_sent_comes_out_once(
        len in 100usize..1400,
        cuts in prop::collection::vec(1usize..220, 0..12),
        order in any::<[u64; 4]>(),
        again in prop::collection::vec(0usize..12, 0..6),
        over6 in any::<bool>(),
    ) {
        let mut bed = Testbed::six();
        let (frames, inner): (Vec<Vec<u8>>, Datagram) = if over6 {
            let (outer, inner) = gre6(len);
            (cut6(&outer, &cuts, 5).iter().map(|piece| from_router(piece)).collect(), inner)
        } else {
            let (outer, inner) = gre(len, 5);
            (cut(&outer, &cuts).iter().map(arrive).collect(), inner)
        };
        prop_assume!(frames.len() > 1);
        let mut numbers: Vec<usize> = (0..frames.len()).collect();
        numbers.extend(again.iter().filter(|n| **n < frames.len()));
        numbers.sort_by_key(|n| order[n % 4].rotate_left(*n as u32 * 7));
        for number in numbers {
            bed.receive(EN1, &frames[number]);
        }
        let sent = bed.turns();
        prop_assert!(!sent.is_empty(), "{:?}", bed.drops());
        // A whole set may come twice, late duplicates may begin another one.
        for (_, frame) in &sent {
            if frame[12..14] == [8, 0] {
                prop_assert_eq!(&frame[14..], &routed(&inner)[..]);
            }
        }
        let harmless = [FragmentDuplicate, FragmentationNeeded];
        let all = bed.drops().iter().all(|(reason, _)| harmless.contains(reason));
        prop_assert!(all, "{:?}", bed.drops());
    }
}
