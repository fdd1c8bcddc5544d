//! Two workers, each a thread, that hand packets to each other: flows of one tunnel
//! spread over both (order within flows), and fragments that meet. Conservation over
//! both, and nothing left behind when they stop.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use etherparse::{IpFragOffset, IpNumber, Ipv4Header, PacketBuilder};
use greyhound::buf::heap::HeapIo;
use greyhound::datapath::drop::DropReason;
use greyhound::exchange::{ExchangeConfig, exchange};
use greyhound::flow::FlowHash;
use greyhound::ids::PortId;
use greyhound::meeting::meet;
use greyhound::model::spec::Idle;
use greyhound::replay::Bench;
use greyhound::spread::mesh;
use greyhound::stats::counters::{Ledger, WorkerCounters};
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

/// Packet `number` of a flow.
fn inner(flow: u16, number: u32) -> Vec<u8> {
    let mut inner = Vec::new();
    PacketBuilder::ipv4([192, 0, 2, 7], [10, 0, 0, 163], 64)
        .udp(1000 + flow, 80)
        .write(&mut inner, &[&number.to_be_bytes()[..], &[0; 60]].concat())
        .unwrap();
    inner
}

/// A frame from the one far end, with an outer header around `part` of what GRE carries,
/// from `offset` bytes on.
fn outer(part: &[u8], identification: u16, offset: usize, more: bool) -> Vec<u8> {
    let (from, to) = ([198, 51, 100, 2], [203, 0, 113, 1]);
    let mut outer = Ipv4Header::new(part.len() as u16, 64, IpNumber(47), from, to).unwrap();
    outer.identification = identification;
    outer.fragment_offset = IpFragOffset::try_new(offset as u16 / 8).unwrap();
    outer.more_fragments = more;
    outer.header_checksum = outer.calc_header_checksum();
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0xbb, 0, 0, 2, 0x54, 8, 0];
    frame.extend(outer.to_bytes().iter());
    frame.extend(part);
    frame
}

fn gre(flow: u16, number: u32) -> Vec<u8> {
    [&[0, 0, 8, 0][..], &inner(flow, number)].concat()
}

fn frame(flow: u16, number: u32) -> Vec<u8> {
    outer(&gre(flow, number), 0, 0, false)
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

/// Makes a worker one of several.
type Join = Box<dyn FnOnce(Worker<HeapIo>) -> Worker<HeapIo> + Send>;

/// Two workers, the first of which receives everything; both are stopped when
/// `when` says so.
fn run(frames: &[Vec<u8>], ring: usize, idle: Idle, when: When) -> [Done; 2] {
    let ends = mesh(2, ring, FlowHash::fixed(5)).into_iter();
    let joins = ends.map(|end| Box::new(|worker: Worker<_>| worker.with_spread(Some(end))) as Join);
    run_both([frames, &[]], usize::MAX, joins.collect(), idle, when)
}

/// Two workers with queues of their own where they receive something: `at_once` frames at a
/// time, neither far ahead of the other.
fn run_both(
    frames: [&[Vec<u8>]; 2],
    at_once: usize,
    joins: Vec<Join>,
    idle: Idle,
    when: When,
) -> [Done; 2] {
    let mut bench = Bench::from_config(GATEWAY).unwrap();
    bench.discard_sent();
    let tables = Arc::clone(bench.tables());
    let counters: Vec<_> = (0..2).map(|_| Arc::new(WorkerCounters::new(8))).collect();
    let (stop, barrier) = (AtomicBool::new(false), Barrier::new(3));
    thread::scope(|scope| {
        let mut workers = Vec::new();
        for (number, join) in joins.into_iter().enumerate() {
            let (frames, others) = (frames[number], frames[1 - number].len() as u64);
            let (tables, other) = (Arc::clone(&tables), Arc::clone(&counters[1 - number]));
            let counters = Arc::clone(&counters[number]);
            let (stop, barrier) = (&stop, &barrier);
            workers.push(scope.spawn(move || {
                let io = HeapIo::new(BUFFERS, 256);
                let queues = if frames.is_empty() { Vec::new() } else { vec![(NET, 0), (LAN, 0)] };
                // Control's end stays here: nothing is punted.
                let (worker_end, _control) = exchange(ExchangeConfig { slots: 16, room: 256 });
                let config = WorkerConfig { queues, idle, ..WorkerConfig::default() };
                let mut worker =
                    join(Worker::new(io, tables, Arc::clone(&counters), worker_end, config));
                barrier.wait();
                let mut remaining = frames.len();
                for part in frames.chunks(at_once) {
                    let received = |counters: &WorkerCounters| counters.ledger(NET).received.get();
                    let ahead = || received(&counters).saturating_sub(received(&other));
                    while ahead() > at_once as u64
                        && received(&other) < others
                        && !stop.load(Ordering::Acquire)
                    {
                        worker.turn();
                    }
                    if stop.load(Ordering::Acquire) {
                        break;
                    }
                    part.iter().for_each(|frame| assert!(worker.io().receive(NET, frame)));
                    remaining -= part.len();
                    if remaining > 0 {
                        worker.turn();
                    }
                }
                worker.run(stop);
                let io = worker.io();
                let sent: Vec<_> = std::iter::from_fn(|| io.sent(LAN)).collect();
                let mut left = greyhound::buf::Burst::new();
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

/// Datagrams in two or three pieces, dealt so that no two neighbours of a datagram come to
/// the same worker; each worker gets its own in another order.
fn pieces(datagrams: u32) -> [Vec<Vec<u8>>; 2] {
    let mut dealt = [Vec::new(), Vec::new()];
    for number in 0..datagrams {
        let whole = gre(number as u16 % FLOWS, number);
        let cuts =
            if number % 3 == 0 { vec![0, 24, 64, whole.len()] } else { vec![0, 48, whole.len()] };
        for (piece, ends) in cuts.windows(2).enumerate() {
            let more = ends[1] < whole.len();
            let part = outer(&whole[ends[0]..ends[1]], number as u16, ends[0], more);
            dealt[(piece + number as usize) % 2].push(part);
        }
    }
    // Within what is on its way at the same time.
    dealt[1].chunks_mut(16).for_each(<[_]>::reverse);
    dealt
}

/// Every equation there is over two workers whose fragments meet; gives how many datagrams
/// came out, each as it was sent.
fn check_meeting(done: &[Done; 2], frames: usize) -> usize {
    let sum = |of: fn(&Ledger) -> u64| -> u64 {
        done.iter().map(|done| of(done.counters.ledger(NET))).sum()
    };
    for done in done {
        assert_eq!(done.counters.imbalance(), 0, "{:?}", done.counters.ledger(NET));
    }
    assert_eq!(sum(|l| l.received.get()) as usize + done[0].left + done[1].left, frames);
    assert_eq!(sum(|l| l.handed.get()), sum(|l| l.taken.get()));
    assert_eq!(sum(|l| l.held.get()), 0, "nothing is held by who has ended");
    let numbers: BTreeSet<_> = done.iter().flat_map(|done| &done.sent).collect();
    let sent = done.iter().map(|done| done.sent.len()).sum::<usize>();
    assert_eq!(numbers.len(), sent, "none twice");
    assert!(numbers.iter().all(|(flow, number)| u32::from(*flow) == number % u32::from(FLOWS)));
    // Buffers went from one worker's pool to the other's; none is lost.
    assert_eq!(done[0].available + done[1].available, 2 * BUFFERS);
    sent
}

fn meeting(frames: &[Vec<Vec<u8>>; 2], ring: usize, idle: Idle, when: When) -> [Done; 2] {
    let joins = meet(2, ring)
        .into_iter()
        .map(|end| Box::new(|worker: Worker<HeapIo>| worker.with_meeting(Some(end))) as Join);
    run_both([&frames[0], &frames[1]], 32, joins.collect(), idle, when)
}

const DATAGRAMS: u32 = 6000;

#[test]
fn fragments_that_arrive_at_both_workers_meet_and_none_is_lost() {
    let frames = pieces(DATAGRAMS);
    let count = frames[0].len() + frames[1].len();
    for idle in [Idle::Poll, Idle::Adaptive] {
        // Rings for all there is: a full one is the next test's.
        let done = meeting(&frames, count, idle, |counters| {
            let sent = |c: &Arc<WorkerCounters>| c.ledger(NET).sent.get();
            counters.iter().map(sent).sum::<u64>() == u64::from(DATAGRAMS)
        });
        assert_eq!(check_meeting(&done, count), DATAGRAMS as usize);
        for done in &done {
            let ledger = done.counters.ledger(NET);
            let drops: u64 = ledger.dropped.iter().map(|n| n.get()).sum();
            assert_eq!(drops, 0, "{ledger:?}");
            let share = done.sent.len() as f64 / f64::from(DATAGRAMS);
            assert!((0.4..0.6).contains(&share), "{share:.2} of the datagrams on one of them");
            assert!(ledger.handed.get() > 0 && ledger.taken.get() > 0, "{ledger:?}");
        }
    }
}

/// What is on its way or half there when the workers stop is dropped by name.
#[test]
fn fragments_that_meet_are_accounted_for_whatever_happens() {
    let frames = pieces(DATAGRAMS);
    let count = frames[0].len() + frames[1].len();
    for ring in [4, 64, 4096] {
        let done = meeting(&frames, ring, Idle::Poll, |counters| received(counters) > 2000);
        check_meeting(&done, count);
        let kinds = [FULL, DropReason::FragmentTimeout.label(), DropReason::FragmentLimits.label()];
        for ledger in done.iter().map(|done| done.counters.ledger(NET)) {
            let other = DropReason::ALL.iter().filter(|r| !kinds.contains(&r.label()));
            assert_eq!(other.map(|r| ledger.dropped[r.index()].get()).sum::<u64>(), 0);
        }
    }
}
