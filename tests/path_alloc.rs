//! The path neither allocates nor frees: a worker handles traffic of every
//! kind while control changes routes, adjacencies, tunnels and interfaces
//! under it, and a counting allocator watches the worker's thread.

#![allow(clippy::unwrap_used, missing_docs)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use greyhound::buf::heap::HeapIo;
use greyhound::exchange::{ControlEnd, ExchangeConfig, InjectKind, exchange};
use greyhound::ids::{IfId, Mac, NextHopId, PortId, TableId};
use greyhound::stats::counters::WorkerCounters;
use greyhound::tables::adjacency::{Adjacency, AdjacencyKind, Encapsulation, flags};
use greyhound::tables::interfaces::{Attachment, Interfaces, PortEntry};
use greyhound::tables::tunnel::{DecapKey, Received, Tunnel, mapped};
use greyhound::tables::{Tables, TablesConfig};
use greyhound::wire::ipv4::Ipv4Repr;
use greyhound::worker::{Worker, WorkerConfig};

/// Counts what each thread asks of the system's allocator.
struct Counting;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

fn note() {
    // No destructor and no lazy initialisation: nothing that could allocate.
    let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
}

// SAFETY:
// - every call is passed on to `System` with its arguments unchanged, and its
//   answer is returned unchanged; counting touches no memory it manages.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promises are the same as `System`'s.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        note();
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn calls() -> u64 {
    CALLS.with(Cell::get)
}

const EN0: PortId = PortId(0);
const EN1: PortId = PortId(1);
const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const OWN: u32 = 0xcb00_7101; // 203.0.113.1
const FAR: u32 = 0xc633_6402; // 198.51.100.2
const NET6: u128 = 0x2001_0db8 << 96;
const OWN6: u128 = NET6 | 1;
const FAR6: u128 = NET6 | 0xff << 64 | 2;
const HOST6: u128 = NET6 | 0xa3;

fn link() -> [u8; 14] {
    let mut link = [2, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 8, 0];
    link[6..12].copy_from_slice(&MAC.0);
    link
}

fn rewrite(mtu: u16) -> Adjacency {
    let mut adjacency = Adjacency::plain(AdjacencyKind::Rewrite, IfId(1));
    adjacency.port = EN1;
    adjacency.mtu = mtu;
    adjacency.underlay_mtu = mtu;
    adjacency.l2_len = 14;
    adjacency.rewrite_len = 14;
    adjacency.rewrite[..14].copy_from_slice(&link());
    adjacency
}

fn tunnel(id: u32) -> Adjacency {
    let mut adjacency = rewrite(1476);
    let ip = Ipv4Repr {
        src: OWN.into(),
        dst: FAR.into(),
        protocol: 47,
        ttl: 64,
        tos: 0,
        id: 0,
        df: true,
        payload_len: 0,
    };
    let mut outer = [0; 20];
    ip.emit(&mut outer).unwrap();
    outer[2..4].fill(0);
    outer[10..12].fill(0);
    adjacency.kind = AdjacencyKind::Tunnel;
    adjacency.encap = Encapsulation::Gre;
    adjacency.underlay_mtu = 1500;
    adjacency.out_if = IfId(id);
    adjacency.rewrite_len = 38;
    adjacency.partial_checksum = greyhound::wire::checksum::sum(&outer);
    adjacency.rewrite[14..34].copy_from_slice(&outer);
    adjacency.rewrite[34..38].copy_from_slice(&[0, 0, 8, 0]);
    adjacency
}

/// The same in UDP, source port by flow, with a checksum.
fn tunnel_in_udp(id: u32) -> Adjacency {
    let mut adjacency = tunnel(id);
    adjacency.encap = Encapsulation::GreInUdp;
    adjacency.rewrite[23] = 17;
    adjacency.partial_checksum -= 47 - 17;
    adjacency.rewrite[34..46].copy_from_slice(&[0, 0, 0x12, 0x92, 0, 0, 0, 1, 0, 0, 8, 0]);
    adjacency.rewrite_len = 46;
    adjacency
}

/// Into a tunnel over IPv6 that cuts its outer datagrams, IPv6 inside.
fn tunnel6(id: u32) -> Adjacency {
    let mut adjacency = rewrite(1500);
    adjacency.kind = AdjacencyKind::Tunnel6;
    adjacency.encap = Encapsulation::Ipip;
    adjacency.flags = flags::CUT_OUTER;
    adjacency.out_if = IfId(id);
    adjacency.rewrite[12..14].copy_from_slice(&[0x86, 0xdd]);
    adjacency.rewrite[14..54].copy_from_slice(&datagram6(OWN6, FAR6, 41, 64, &[])[..40]);
    adjacency.rewrite[18..20].fill(0);
    adjacency.rewrite_len = 54;
    adjacency
}

fn datagram6(src: u128, dst: u128, next: u8, hops: u8, payload: &[u8]) -> Vec<u8> {
    let [a, b] = (payload.len() as u16).to_be_bytes();
    let start = [0x60, 0, 0, 0, a, b, next, hops];
    [&start[..], &src.to_be_bytes(), &dst.to_be_bytes(), payload].concat()
}

/// One packet of every kind of IPv6, more or less.
fn packets6() -> Vec<Vec<u8>> {
    let to = |net: u128| NET6 | net << 64 | 9;
    let inner = datagram6(NET6 | 3 << 64, to(1), 17, 9, &[0; 30]);
    let mut ping = [0; 48];
    let built = etherparse::PacketBuilder::ipv6(HOST6.to_be_bytes(), OWN6.to_be_bytes(), 9);
    built.icmpv6_echo_request(1, 2).write(&mut &mut ping[..], &[]).unwrap();
    vec![
        datagram6(HOST6, to(1), 17, 9, &[1; 30]),   // forwarded
        datagram6(HOST6, to(2), 17, 9, &[2; 30]),   // into the tunnel
        datagram6(HOST6, to(2), 17, 9, &[2; 1450]), // outer cut
        datagram6(HOST6, to(1), 17, 9, &[3; 1470]), // too big
        datagram6(FAR6, OWN6, 41, 9, &inner),       // out of the tunnel
        datagram6(FAR6, OWN6, 60, 9, &[&[41, 0, 4, 1, 4, 1, 1, 0][..], &inner].concat()),
        datagram6(FAR6, OWN6, 4, 9, &inner), // unknown tunnel
        ping.to_vec(),                       // echo
        datagram6(FAR6, OWN6, 44, 9, &[&[41, 0, 0, 1, 0, 0, 0, 1][..], &inner[..40]].concat()),
        datagram6(FAR6, OWN6, 44, 9, &[&[41, 0, 0, 40, 0, 0, 0, 1][..], &inner[40..]].concat()),
        datagram6(HOST6, OWN6, 60, 9, &[17, 9]), // bad extension headers
        datagram6(HOST6, OWN6, 6, 9, &[0; 20]),  // port unreachable
        datagram6(HOST6, to(1), 17, 1, &[4; 30]), // hop limit
        datagram6(HOST6, to(77), 17, 9, &[5; 30]), // no route
        datagram6(HOST6, 0xff02 << 112 | 1, 58, 255, &[136; 30]), // discovery
        datagram6(HOST6, 0xfe80 << 112 | 1, 17, 9, &[7; 30]), // link-local
    ]
}

fn interfaces(generation: u64) -> Interfaces {
    let mut interfaces = Interfaces { echo: true, ..Interfaces::default() };
    for id in [0, 1] {
        let at = Attachment { id: IfId(id), up: true };
        let vlans = vec![(20 + (generation % 2) as u16, at)];
        interfaces.ports.push(PortEntry { mac: MAC, untagged: Some(at), vlans });
    }
    interfaces.own.push(OWN);
    interfaces.own6.push(OWN6);
    interfaces.udp.push(4754);
    interfaces
}

fn datagram(src: u32, dst: u32, protocol: u8, ttl: u8, payload: &[u8]) -> Vec<u8> {
    let ip = Ipv4Repr {
        src: src.into(),
        dst: dst.into(),
        protocol,
        ttl,
        tos: 0,
        id: 7,
        df: false,
        payload_len: payload.len(),
    };
    let mut bytes = vec![0; 20];
    ip.emit(&mut bytes).unwrap();
    bytes.extend(payload);
    bytes
}

/// One frame of every kind the path tells apart, more or less.
fn frames() -> Vec<Vec<u8>> {
    let host = 0x0a00_00a3;
    let mut ping = [8, 0, 0, 0, 0, 1, 0, 1];
    let sum = greyhound::wire::checksum::checksum(&ping);
    ping[2..4].copy_from_slice(&sum.to_be_bytes());
    let inner = datagram(0x0a09_0002, 0x1600_0001, 17, 9, &[0; 30]);
    let gre = [&[0, 0, 8, 0][..], &inner].concat();
    let in_udp = [&[9, 9, 0x12, 0x92, 0, 8 + gre.len() as u8, 0, 0][..], &gre].concat();
    let piece = |word: u16, payload: &[u8]| {
        let mut bytes = datagram(FAR, OWN, 47, 9, payload);
        bytes[6..8].copy_from_slice(&word.to_be_bytes());
        assert!(greyhound::wire::ipv4::fill_checksum(&mut bytes));
        bytes
    };
    let packets = [
        datagram(FAR, OWN, 17, 9, &in_udp), // out of a tunnel in UDP
        datagram(host, 0x1900_0001, 17, 9, &[1; 30]), // into it
        piece(0x2000, &gre[..24]),          // out of the tunnel, put together
        piece(3, &gre[24..]),
        piece(0x2001, &gre[8..24]), // overlaps, or begins one that is late
        datagram(host, 0x1600_0001, 17, 9, &[1; 30]), // forwarded
        datagram(host, 0x1400_0001, 17, 9, &[2; 30]), // into the tunnel
        datagram(host, 0x1400_0001, 17, 9, &[2; 1470]), // inner cut
        datagram(host, 0x1700_0001, 17, 9, &[3; 1400]), // transit cut
        datagram(FAR, OWN, 47, 9, &gre), // out of the tunnel
        datagram(FAR, OWN, 4, 9, &inner), // unknown tunnel
        datagram(host, OWN, 1, 9, &ping), // echo
        datagram(host, OWN, 17, 9, &[0, 1, 0, 2, 0, 8, 0, 0]), // port unreachable
        datagram(host, 0x1600_0001, 17, 1, &[4; 30]), // TTL
        datagram(host, 0x0909_0909, 17, 9, &[5; 30]), // no route
        datagram(host, 0x1800_0001, 17, 9, &[6; 30]), // unresolved
        datagram(host, 0xe000_0001, 17, 9, &[7; 30]), // multicast
    ];
    let mut frames: Vec<Vec<u8>> = packets
        .iter()
        .map(|packet| [&MAC.0[..], &[2, 0, 0, 0, 0, 9, 8, 0], packet].concat())
        .collect();
    let six = packets6();
    frames.extend(
        six.iter().map(|packet| [&MAC.0[..], &[2, 0, 0, 0, 0, 9, 0x86, 0xdd], packet].concat()),
    );
    frames.push([&[0xff; 6][..], &[2, 0, 0, 0, 0, 9, 8, 6], &[0; 46]].concat());
    frames.push(vec![1, 2, 3]);
    frames
}

fn fill(tables: &Tables) {
    let guard = tables.pin();
    tables.interfaces.replace(interfaces(0), &guard);
    let resolve = Adjacency::plain(AdjacencyKind::Resolve, IfId(0));
    let entries =
        [rewrite(1500), tunnel(10), rewrite(600), resolve, tunnel6(12), tunnel_in_udp(14)];
    for (i, adjacency) in entries.into_iter().enumerate() {
        tables.adjacencies.set(i + 1, adjacency, &guard);
    }
    for (net, hop) in [(0x16, 1), (0x14, 2), (0x17, 3), (0x18, 4), (0x19, 6)] {
        tables.fib4.insert(net << 24, 8, NextHopId(hop)).unwrap();
    }
    for (net, hop) in [(1, 1), (2, 5)] {
        tables.fib6.insert(NET6 | net << 64, 64, NextHopId(hop)).unwrap();
    }
    let over6 =
        Tunnel { interface: IfId(12), up: true, local6: OWN6, remote6: FAR6, ..Tunnel::NONE };
    tables.tunnels.set(12, over6, &guard);
    let received = Received {
        table: TableId(0),
        source: std::net::Ipv6Addr::from(FAR6).into(),
        destination: std::net::Ipv6Addr::from(OWN6).into(),
        protocol: 41,
        key: None,
        port: 0,
    };
    tables.decap.insert(tables.decap.key_of(&received), 12, &guard).unwrap();
    let (local6, remote6) = (mapped(OWN), mapped(FAR));
    let in_udp =
        Tunnel { interface: IfId(14), up: true, local6, remote6, port: 4754, ..Tunnel::NONE };
    tables.tunnels.set(14, in_udp, &guard);
    let received = Received {
        source: std::net::Ipv4Addr::from(FAR).into(),
        destination: std::net::Ipv4Addr::from(OWN).into(),
        protocol: 47,
        port: 4754,
        ..received
    };
    tables.decap.insert(tables.decap.key_of(&received), 14, &guard).unwrap();
    let entry = Tunnel { interface: IfId(10), up: true, remote: FAR, resync: 1, ..Tunnel::NONE };
    tables.tunnels.set(10, entry, &guard);
    let key = DecapKey::ipv4(TableId(0), FAR, OWN, 47, None);
    tables.decap.insert(key, 10, &guard).unwrap();
}

/// Changes a bit of everything, as control does, as fast as it can.
fn churn(tables: &Tables, control: &mut ControlEnd, stop: &AtomicBool) -> u64 {
    let made = datagram(OWN, 0x1600_0009, 17, 64, &[9; 20]);
    let mut round = 0u64;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        let some = round as u32;
        {
            let guard = tables.pin();
            tables.adjacencies.set(1, rewrite(1500 - (some % 2) as u16), &guard);
            tables.adjacencies.set(2, tunnel(10 + some % 2), &guard);
            tables.adjacencies.set(100 + (some % 900) as usize, rewrite(1500), &guard);
            let hop = NextHopId(100 + some % 900);
            tables
                .fib4
                .insert(0x1600_0000 | (some << 8) & 0xffff00, 24 + (some % 9) as u8, hop)
                .unwrap();
            tables.fib4.remove(
                0x1600_0000 | (some.wrapping_sub(7) << 8) & 0xffff00,
                24 + (some.wrapping_sub(7) % 9) as u8,
            );
            let deep = |n: u32| NET6 | 1 << 64 | u128::from(n % 61) << 20;
            tables.adjacencies.set(5, tunnel6(12 + some % 2), &guard);
            tables.fib6.insert(deep(some), 100 + (some % 9) as u8, hop).ok();
            tables.fib6.remove(deep(some + 30), 100 + ((some + 30) % 9) as u8);
            let entry = Tunnel {
                interface: IfId(10),
                up: !some.is_multiple_of(5),
                table: TableId(0),
                remote: FAR,
                resync: 1,
                ..Tunnel::NONE
            };
            tables.tunnels.set(10, entry, &guard);
            let key = DecapKey::ipv4(TableId(0), FAR, OWN, 4, Some(some % 16));
            tables.decap.insert(key, 10, &guard).ok();
            tables
                .decap
                .remove(DecapKey::ipv4(TableId(0), FAR, OWN, 4, Some((some + 8) % 16)), &guard);
            let key = DecapKey::ipv4(TableId(0), FAR, OWN, 47, None);
            tables.decap.insert(key, 10 + some % 2, &guard).unwrap();
            tables.interfaces.replace(interfaces(round), &guard);
        }
        tables.collect();
        while control.take(|_| ()).is_some() {}
        let _ = control.inject(InjectKind::Originate, &made);
        let _ = control.inject(InjectKind::Frame { port: EN1, out_if: IfId(1) }, &[0; 60]);
    }
    round
}

#[test]
fn the_worker_allocates_and_frees_nothing_while_tables_churn() {
    let config = TablesConfig {
        adjacencies: 4096,
        tunnels: 64,
        decap_keys: 4096,
        fib_groups: 70_000,
        fib6_groups: 4096,
    };
    let tables = Arc::new(Tables::new(config));
    fill(&tables);
    let counters = Arc::new(WorkerCounters::new(64));
    let (end, mut control) = exchange(ExchangeConfig { slots: 64, room: 2048 });
    let stop = Arc::new(AtomicBool::new(false));
    let turns = Arc::new(AtomicU64::new(0));

    let worker = {
        let (tables, counters, stop, turns) =
            (Arc::clone(&tables), Arc::clone(&counters), Arc::clone(&stop), Arc::clone(&turns));
        std::thread::spawn(move || {
            let frames = frames();
            let queues = vec![(EN0, 0), (EN1, 0)];
            let config = WorkerConfig { queues, ..WorkerConfig::default() };
            let mut worker = Worker::new(HeapIo::new(1024, 2048), tables, counters, end, config);
            // Registering and the first pin are not the path.
            worker.turn();
            let before = calls();
            let mut next = 0;
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..64 {
                    worker.io().receive(
                        if next % 3 == 0 { EN1 } else { EN0 },
                        &frames[next % frames.len()],
                    );
                    next += 1;
                }
                worker.io().now_ns += 1_000_000;
                worker.turn();
                worker.io().discard_sent();
                turns.fetch_add(1, Ordering::Relaxed);
            }
            let after = calls();
            worker.io().tx_limit = 0;
            while worker.turn() > 0 {}
            worker.end();
            worker.io().discard_sent();
            (after - before, worker.io().in_use())
        })
    };

    let deadline = Instant::now() + Duration::from_secs(3);
    let timer = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || {
            while Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
            }
            stop.store(true, Ordering::Relaxed);
        })
    };
    let changes = churn(&tables, &mut control, &stop);
    timer.join().unwrap();
    let (calls, in_use) = worker.join().unwrap();

    let turns = turns.load(Ordering::Relaxed);
    let kinds = counters.ledgers.iter().flat_map(|l| &l.dropped).filter(|c| c.get() > 0).count();
    let sent: u64 = counters.ledgers.iter().map(|l| l.sent.get()).sum();
    assert!(turns > 500 && changes > 500, "{turns} turns beside {changes} rounds of changes");
    assert!(sent > turns && kinds >= 10, "{sent} sent, {kinds} kinds of drops");
    let udp = counters.interface(IfId(14)).unwrap();
    assert!(udp.rx_packets.get() > 0 && udp.tx_packets.get() > 0, "the tunnel in UDP is idle");
    assert_eq!(calls, 0, "calls of the allocator in {turns} turns");
    assert_eq!((in_use, counters.imbalance()), (0, 0));
}

#[test]
fn the_counting_allocator_counts() {
    let before = calls();
    drop(std::hint::black_box(Box::new(1)));
    assert_eq!(calls() - before, 2);
}
