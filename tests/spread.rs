//! Flows of one tunnel spread over two workers, each a thread: order within
//! flows, conservation over both, and nothing left behind when they stop.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use etherparse::{IpNumber, Ipv4Header, PacketBuilder};
use greyhound::buf::heap::{HeapIo, TestBuf};
use greyhound::datapath::drop::DropReason;
use greyhound::exchange::{ExchangeConfig, exchange};
use greyhound::flow::FlowHash;
use greyhound::ids::PortId;
use greyhound::model::spec::Idle;
use greyhound::replay::Bench;
use greyhound::spread::{SpreadEnd, mesh};
use greyhound::stats::counters::WorkerCounters;
use greyhound::worker::{Worker, WorkerConfig};

const LAN: PortId = PortId(0);
const NET: PortId = PortId(1);

/// Machine C with one tunnel; what comes out of it goes to a host on the LAN.
const GATEWAY: &str = r#"
[[port]]
name = "en0"
device = "net_null0"
mac = "02:00:00:00:00:01"
address = ["10.0.0.1/8"]

[[port]]
name = "en1"
device = "net_null1"
mac = "02:00:00:00:00:02"
address = ["203.0.113.1/24"]

[[tunnel]]
name = "gre0"
local = "203.0.113.1"
remote = "198.51.100.2"
address = "10.0.0.1"
peer = "10.0.0.25"
link1 = true

[[route]]
to = "default"
via = "203.0.113.254"

[[neighbour]]
address = "203.0.113.254"
mac = "02:bb:00:00:02:54"

[[neighbour]]
address = "10.0.0.163"
mac = "02:aa:00:00:01:63"
"#;

/// Packet `number` of a flow, in GRE from the one far end.
fn frame(flow: u16, number: u32) -> Vec<u8> {
    let mut inner = Vec::new();
    PacketBuilder::ipv4([192, 0, 2, 7], [10, 0, 0, 163], 64)
        .udp(1000 + flow, 80)
        .write(&mut inner, &number.to_be_bytes())
        .unwrap();
    let len = inner.len() as u16 + 4;
    let (from, to) = ([198, 51, 100, 2], [203, 0, 113, 1]);
    let mut outer = Ipv4Header::new(len, 64, IpNumber(47), from, to).unwrap();
    outer.header_checksum = outer.calc_header_checksum();
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0xbb, 0, 0, 2, 0x54, 8, 0];
    frame.extend(outer.to_bytes().iter());
    frame.extend([0, 0, 8, 0]);
    frame.extend(inner);
    frame
}

/// Flow and number of a frame that was sent to the LAN.
fn read(frame: &[u8]) -> (u16, u32) {
    let udp = &frame[14 + 20..];
    let number = u32::from_be_bytes(udp[8..12].try_into().unwrap());
    (u16::from_be_bytes([udp[0], udp[1]]) - 1000, number)
}

struct Done {
    counters: Arc<WorkerCounters>,
    /// Flow and number of what it sent, in order.
    sent: Vec<(u16, u32)>,
    /// Buffers in its pool at the end.
    available: usize,
    /// Frames that it had not received yet.
    left: usize,
}

/// What decides when to stop, given both workers' counters.
type When = fn(&[Arc<WorkerCounters>]) -> bool;

/// Two workers, the first of which receives everything; both are stopped when
/// `when` says so.
fn run(frames: &[Vec<u8>], ring: usize, idle: Idle, when: When) -> [Done; 2] {
    let mut bench = Bench::from_config(GATEWAY).unwrap();
    bench.discard_sent();
    let tables = Arc::clone(bench.tables());
    let counters: Vec<_> = (0..2).map(|_| Arc::new(WorkerCounters::new(8))).collect();
    let (stop, barrier) = (AtomicBool::new(false), Barrier::new(3));
    let ends: Vec<SpreadEnd<TestBuf>> = mesh(2, ring, FlowHash::fixed(5));
    thread::scope(|scope| {
        let mut workers = Vec::new();
        for (number, end) in ends.into_iter().enumerate() {
            let (tables, counters) = (Arc::clone(&tables), Arc::clone(&counters[number]));
            let (stop, barrier) = (&stop, &barrier);
            workers.push(scope.spawn(move || {
                let mut io = HeapIo::new(BUFFERS, 256);
                let queues = if number == 0 { vec![(NET, 0), (LAN, 0)] } else { Vec::new() };
                if number == 0 {
                    frames.iter().for_each(|frame| assert!(io.receive(NET, frame)));
                }
                // Control's end stays here: nothing is punted.
                let (worker_end, _control) = exchange(ExchangeConfig { slots: 16, room: 256 });
                let config = WorkerConfig { queues, idle, ..WorkerConfig::default() };
                let mut worker = Worker::new(io, tables, Arc::clone(&counters), worker_end, config)
                    .with_spread(Some(end));
                barrier.wait();
                worker.run(stop);
                let io = worker.io();
                let sent: Vec<_> = std::iter::from_fn(|| io.sent(LAN)).collect();
                let mut left = greyhound::buf::Burst::new();
                let mut remaining = 0;
                while greyhound::buf::PacketIo::rx(io, NET, 0, &mut left) > 0 {
                    remaining += left.len();
                    greyhound::buf::PacketIo::free(io, &mut left);
                }
                let sent = sent.iter().map(|frame| read(frame)).collect();
                Done { counters, sent, available: io.available(), left: remaining }
            }));
        }
        barrier.wait();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !when(&counters) && Instant::now() < deadline {
            thread::yield_now();
        }
        stop.store(true, Ordering::Release);
        let done: Vec<Done> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
        done.try_into().map_err(|_| "two workers").unwrap()
    })
}

const FULL: &str = DropReason::SpreadQueueFull.label();
const BUFFERS: usize = 16_384;
const FLOWS: u16 = 250;

/// Packets of all flows in turn.
fn traffic(rounds: u32) -> Vec<Vec<u8>> {
    (0..rounds).flat_map(|number| (0..FLOWS).map(move |flow| frame(flow, number))).collect()
}

/// Every equation there is, and order; gives packets dropped for a full ring.
fn check(done: &[Done; 2], frames: usize) -> u64 {
    let [giver, taker] = done;
    let (gave, took) = (giver.counters.ledger(NET), taker.counters.ledger(NET));
    for done in done {
        assert_eq!(done.counters.imbalance(), 0, "{:?}", done.counters.ledger(NET));
    }
    assert_eq!(gave.handed.get(), took.taken.get());
    assert_eq!((gave.taken.get(), took.handed.get(), took.received.get()), (0, 0, 0));
    assert_eq!(gave.received.get() as usize + giver.left, frames);
    for ledger in [gave, took] {
        let drops = DropReason::ALL.iter().map(|r| (r.label(), ledger.dropped[r.index()].get()));
        let drops: Vec<_> = drops.filter(|(reason, n)| *n > 0 && *reason != FULL).collect();
        assert_eq!(drops, [], "{} sent", ledger.sent.get());
    }
    let full = gave.dropped[DropReason::SpreadQueueFull.index()].get();
    let sent = giver.sent.len() + taker.sent.len();
    assert_eq!(sent as u64 + full, gave.received.get());
    // No buffer is anywhere but in a pool, the taken ones in the taker's.
    assert_eq!(giver.available + taker.available, 2 * BUFFERS);
    // Each flow on one worker, its packets in order.
    let mut owner: BTreeMap<u16, BTreeSet<usize>> = BTreeMap::new();
    for (worker, done) in done.iter().enumerate() {
        let mut last: BTreeMap<u16, u32> = BTreeMap::new();
        for (flow, number) in &done.sent {
            owner.entry(*flow).or_default().insert(worker);
            let before = last.insert(*flow, *number);
            assert!(before.is_none_or(|before| before < *number), "flow {flow}: {number} late");
        }
    }
    assert!(owner.values().all(|workers| workers.len() == 1), "a flow on two workers");
    full
}

fn received(counters: &[Arc<WorkerCounters>]) -> u64 {
    counters[0].ledger(NET).received.get()
}

#[test]
fn a_tunnels_flows_are_shared_in_order_and_without_loss() {
    let frames = traffic(60);
    for idle in [Idle::Poll, Idle::Adaptive] {
        let done = run(&frames, frames.len(), idle, |counters| {
            let sent = |c: &Arc<WorkerCounters>| c.ledger(NET).sent.get();
            counters.iter().map(sent).sum::<u64>() == 60 * u64::from(FLOWS)
        });
        assert_eq!(check(&done, frames.len()), 0);
        let numbers = done.iter().flat_map(|done| &done.sent).collect::<BTreeSet<_>>();
        assert_eq!(numbers.len(), frames.len(), "every packet, each once");
        // A third stays with the giver.
        let kept = done[0].sent.len() as f64 / frames.len() as f64;
        assert!((0.22..0.45).contains(&kept), "{kept:.2} of the packets stayed");
    }
}

/// Stopped in the middle of it: what was received is handled, by whoever has it.
#[test]
fn a_stop_leaves_nothing_in_the_rings() {
    let frames = traffic(60);
    for _ in 0..20 {
        let done = run(&frames, 4096, Idle::Poll, |counters| received(counters) > 0);
        check(&done, frames.len());
    }
}

#[test]
fn full_rings_drop_by_name_and_keep_order() {
    let frames = traffic(60);
    let done =
        run(&frames, 64, Idle::Adaptive, |counters| received(counters) == 60 * u64::from(FLOWS));
    check(&done, frames.len());
}
