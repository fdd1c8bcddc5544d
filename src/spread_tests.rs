//! Whose a packet is, what a ring holds, and what is counted.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use etherparse::{IpNumber, Ipv4Header, PacketBuilder};

use super::*;
use crate::buf::heap::{HeapIo, TestBuf};

const PORT: PortId = PortId(1);

/// UDP from one of many hosts and ports.
fn inner(flow: u16) -> Vec<u8> {
    let [high, low] = flow.to_be_bytes();
    let mut bytes = Vec::new();
    PacketBuilder::ipv4([10, 1, high, low], [10, 2, 0, 9], 64)
        .udp(1000 + flow, 80)
        .write(&mut bytes, b"payload")
        .unwrap();
    bytes
}

fn frame(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

fn outer(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let (from, to) = ([198, 51, 100, 2], [203, 0, 113, 1]);
    let header = Ipv4Header::new(payload.len() as u16, 64, IpNumber(protocol), from, to).unwrap();
    let mut bytes = header.to_bytes().to_vec();
    bytes.extend(payload);
    bytes
}

fn gre(flags: u16, words: &[u32], payload: &[u8]) -> Vec<u8> {
    let mut bytes = flags.to_be_bytes().to_vec();
    bytes.extend([8, 0]);
    bytes.extend(words.iter().flat_map(|word| word.to_be_bytes()));
    bytes.extend(payload);
    outer(47, &bytes)
}

fn of(frame: &[u8]) -> Option<u32> {
    flow(&FlowHash::fixed(1), frame)
}

#[test]
fn the_flow_of_a_tunnels_packet_is_the_one_inside() {
    let inside = inner(7);
    let plain = of(&frame(0x0800, &inside));
    assert_eq!(plain, Some(FlowHash::fixed(1).datagram(&inside)));
    let tagged = [&[0, 20, 8, 0][..], &inside].concat();
    for same in [
        frame(0x0800, &gre(0, &[], &inside)),
        frame(0x0800, &gre(0x2000, &[42], &inside)),
        frame(0x0800, &gre(0xa000, &[0, 42], &inside)),
        frame(0x0800, &outer(4, &inside)),
        frame(0x8100, &tagged),
    ] {
        assert_eq!(of(&same), plain, "{same:02x?}");
    }
    // What has to stay together: a numbered tunnel, fragments, what is not IP
    // inside.
    let whole = of(&frame(0x0800, &outer(47, &[])));
    for flow in [7, 8] {
        let inside = inner(flow);
        let mut fragment = gre(0, &[], &inside);
        fragment[6] = 0x20;
        let mut bridged = gre(0, &[], &inside);
        bridged[22..24].copy_from_slice(&[0x65, 0x58]);
        for outside in [gre(0x1000, &[9], &inside), gre(0x4000, &[9], &inside), fragment, bridged] {
            assert_eq!(of(&frame(0x0800, &outside)), whole, "{outside:02x?}");
        }
    }
    assert_eq!(of(&frame(0x0806, &inside)), None, "ARP");
    // Cut short anywhere: some flow or none, no panic.
    let long = frame(0x0800, &gre(0xa000, &[0, 42], &inside));
    for len in 0..long.len() {
        of(&long[..len]);
    }
}

#[test]
fn the_flow_inside_is_found_through_ipv6() {
    let ipv6 = |next: u8, payload: &[u8]| {
        let [a, b] = (payload.len() as u16).to_be_bytes();
        let ends = [[9; 16], [8; 16]].concat();
        [&[0x60, 0, 0, 0, a, b, next, 64][..], &ends, payload].concat()
    };
    let four = inner(7);
    let six = ipv6(17, &[0, 1, 0, 2, 0, 8, 0, 0]);
    let limited = |next: u8, payload: &[u8]| [&[next, 0, 4, 1, 4, 1, 1, 0][..], payload].concat();
    let gre6 = |inside: &[u8]| [&[0, 0, 0x86, 0xdd][..], inside].concat();
    let flow = |datagram: &[u8]| Some(FlowHash::fixed(1).datagram(datagram));
    for (outside, inside) in [
        (ipv6(4, &four), &four),
        (ipv6(41, &six), &six),
        (ipv6(60, &limited(41, &six)), &six),
        (ipv6(60, &limited(47, &gre6(&six))), &six),
        (ipv6(47, &gre6(&six)), &six),
    ] {
        assert_eq!(of(&frame(0x86dd, &outside)), flow(inside), "{outside:02x?}");
        for len in 0..outside.len() {
            of(&frame(0x86dd, &outside[..len]));
        }
    }
    assert_eq!(of(&frame(0x0800, &outer(41, &six))), flow(&six));
    assert_eq!(of(&frame(0x86dd, &six)), flow(&six));
    let other = ipv6(17, &[0, 1, 0, 3, 0, 8, 0, 0]);
    assert_ne!(flow(&other), flow(&six), "ports count");
}

#[test]
fn a_giver_keeps_half_of_what_it_gives_each_other() {
    for workers in 2..=8usize {
        let deal = deal(workers - 1);
        let kept = deal.iter().filter(|to| **to == KEEP).count();
        for other in 0..workers - 1 {
            let share = deal.iter().filter(|to| usize::from(**to) == other).count();
            assert!(share.abs_diff(2 * kept) <= 3, "{workers} workers: {kept} kept, {share} given");
        }
    }
    assert_eq!(mesh::<TestBuf>(1, RING, FlowHash::fixed(1)).len(), 0);
    assert_eq!(mesh::<TestBuf>(65, RING, FlowHash::fixed(1)).len(), 0);
    assert!(mesh::<TestBuf>(64, 64, FlowHash::fixed(1)).iter().all(|end| end.inlets() == 63));
}

/// Receives frames, divides them; gives those that stay.
fn give(
    io: &mut HeapIo,
    end: &mut SpreadEnd<TestBuf>,
    ledger: &Ledger,
    frames: &[Vec<u8>],
) -> Burst<TestBuf> {
    frames.iter().for_each(|frame| assert!(io.receive(PORT, frame)));
    let mut burst = Burst::new();
    io.rx(PORT, 0, &mut burst);
    end.divide(io, &mut burst, PORT, ledger);
    burst
}

/// Everything that waits for a worker, in order of its rings.
fn take(end: &mut SpreadEnd<TestBuf>) -> Vec<(PortId, Vec<u8>)> {
    let mut all = Vec::new();
    for inlet in 0..end.inlets() {
        let mut burst = Burst::new();
        while let Some(port) = end.take(inlet, &mut burst) {
            all.extend(burst.drain(..).map(|buf| (port, buf.data().to_vec())));
        }
    }
    all
}

#[test]
fn each_flow_goes_one_way_in_order_and_nothing_is_lost() {
    let mut ends = mesh(3, 1024, FlowHash::fixed(1));
    let mut io = HeapIo::new(1024, 256);
    let ledger = Ledger::default();
    let mut went: BTreeMap<Vec<u8>, BTreeMap<usize, usize>> = BTreeMap::new();
    let mut total = 0;
    for _ in 0..10 {
        let frames: Vec<_> =
            (0..64).map(|flow| frame(0x0800, &gre(0, &[], &inner(flow)))).collect();
        let kept = give(&mut io, &mut ends[1], &ledger, &frames);
        let kept: Vec<_> = kept.iter().map(|buf| buf.data().to_vec()).collect();
        let taken = [0, 2].map(|worker| take(&mut ends[worker]));
        assert!(taken.iter().flatten().all(|(port, _)| *port == PORT));
        let taken = taken.map(|all| all.into_iter().map(|(_, data)| data).collect::<Vec<_>>());
        for (worker, got) in [(0, &taken[0]), (1, &kept), (2, &taken[1])] {
            // A part of what came, in its order.
            let mut rest = frames.iter();
            assert!(got.iter().all(|frame| rest.any(|other| other == frame)));
            total += got.len();
            for frame in got {
                *went.entry(frame.clone()).or_default().entry(worker).or_default() += 1;
            }
        }
    }
    assert_eq!(total, 640);
    assert!(went.values().all(|workers| workers.len() == 1), "a flow on two workers");
    let used: Vec<usize> = (0..3)
        .map(|worker| went.values().filter(|workers| workers.contains_key(&worker)).count())
        .collect();
    assert!(used.iter().all(|flows| *flows >= 5), "{used:?}");
    let handed = ((used[0] + used[2]) * 10) as u64;
    assert_eq!((ledger.received.get(), ledger.handed.get()), (handed, handed));
    let len = frame(0x0800, &gre(0, &[], &inner(0))).len() as u64;
    assert_eq!(ledger.received_bytes.get(), handed * len);
    assert_eq!(ledger.imbalance(), 0);
}

#[test]
fn a_full_ring_drops_and_frees_and_counts() {
    let mut ends = mesh(2, 64, FlowHash::fixed(1));
    let mut io = HeapIo::new(256, 256);
    let ledger = Ledger::default();
    let frames: Vec<_> = (0..64).map(|flow| frame(0x0800, &inner(flow))).collect();
    let mut kept = 0;
    for _ in 0..4 {
        let mut burst = give(&mut io, &mut ends[0], &ledger, &frames);
        kept += burst.len();
        io.free(&mut burst);
    }
    let dropped = ledger.dropped[DropReason::SpreadQueueFull.index()].get();
    assert_eq!((ledger.handed.get(), dropped), (64, 4 * 64 - 64 - kept as u64));
    assert_eq!(ledger.imbalance(), 0);
    // Those in the ring are the only ones not back in the pool.
    assert_eq!(io.available(), 256 - 64);
    assert_eq!(take(&mut ends[1]).len(), 64);
    // Room again.
    give(&mut io, &mut ends[0], &ledger, &frames);
    assert!(!take(&mut ends[1]).is_empty());
}

#[test]
fn a_run_of_one_port_is_taken_at_a_time() {
    let mut ends = mesh(2, 64, FlowHash::fixed(1));
    let mut io = HeapIo::new(256, 256);
    let ledger = Ledger::default();
    let given = (0..64).map(|flow| frame(0x0800, &inner(flow)));
    let given: Vec<_> =
        given.filter(|frame| ends[0].deal[of(frame).unwrap() as usize >> 24] != KEEP).collect();
    let mut seen = Vec::new();
    for port in [PortId(3), PortId(3), PortId(4), PortId(3)] {
        assert!(io.receive(port, &given[0]));
        let mut burst = Burst::new();
        io.rx(port, 0, &mut burst);
        ends[0].divide(&mut io, &mut burst, port, &ledger);
        assert!(burst.is_empty());
    }
    let mut burst = Burst::new();
    while let Some(port) = ends[1].take(0, &mut burst) {
        seen.push((port.0, burst.drain(..).count()));
    }
    assert_eq!(seen, [(3, 2), (4, 1), (3, 1)]);
}

#[test]
fn closed_and_empty_is_over() {
    let mut ends = mesh(3, 64, FlowHash::fixed(1));
    let mut io = HeapIo::new(64, 256);
    let ledger = Ledger::default();
    let frames: Vec<_> = (0..32).map(|flow| frame(0x0800, &inner(flow))).collect();
    give(&mut io, &mut ends[0], &ledger, &frames);
    assert!(!ends[1].is_over());
    ends[0].close();
    ends[2].close();
    assert!(!ends[1].is_over(), "something waits");
    assert!(!take(&mut ends[1]).is_empty());
    assert!(ends[1].is_over());
    assert!(!ends[0].is_over(), "worker 1 may still give");
    // One that closed keeps everything.
    let kept = give(&mut io, &mut ends[0], &ledger, &frames[..8]);
    assert_eq!(kept.len(), 8);
}
