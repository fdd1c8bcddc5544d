//! Cycles per packet of the path alone: from rx returning a burst to tx having
//! taken it, frees included, over an in-process source (a buffer from a
//! recycling pool and one copy).
//!
//! ```text
//!   path [ROUNDS]            table of medians over interleaved windows
//!   path beside OTHER [ROUNDS]   the same, each window next to one of another
//!                            build of this program: what a change brings
//!   path one ID PACKETS      that many packets of one kind, for callgrind
//!   path stages [ROUNDS]     ticks per packet by stage, medians
//!   path serve               a window per ID read from stdin (`beside` uses it)
//!   path reassembly [ROUNDS] fragments a second of tunnel packets in two pieces
//! ```
//!
//! The work is W1–W8 of `shared/anchors.md`: 65,536 distinct frames looped,
//! random addresses, burst 64. No port, no EAL: compare with P1, not with Mpps.

#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use greyhound::buf::{Burst, PacketBuf, PacketIo, RxChecksum};
use greyhound::exchange::{ControlEnd, ExchangeConfig, exchange};
use greyhound::ids::{IfId, Mac, NextHopId, PortId, TableId};
use greyhound::stats::counters::{Stage, WorkerCounters};
use greyhound::tables::adjacency::{Adjacency, AdjacencyKind, Encapsulation};
use greyhound::tables::interfaces::{Attachment, Interfaces, PortEntry};
use greyhound::tables::tunnel::{DecapKey, Tunnel};
use greyhound::tables::{Tables, TablesConfig};
use greyhound::wire::ipv4::Ipv4Repr;
use greyhound::worker::{Worker, WorkerConfig};

#[path = "path/reassembly.rs"]
mod reassembly;

const FRAMES: usize = 65_536;
const WINDOW: usize = 40_000;
const HEADROOM: usize = 128;
const BLOCK: usize = 2048;

#[cfg(target_arch = "x86_64")]
fn tsc() -> u64 {
    // SAFETY:
    // - reading the time stamp counter has no precondition on x86_64 Linux.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
fn tsc() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// A buffer as an mbuf is one: a handle, lengths in front of the data.
struct BenchBuf(Box<Block>);

#[repr(C, align(64))]
struct Block {
    start: u16,
    len: u16,
    data: [u8; BLOCK],
}

impl BenchBuf {
    fn new() -> BenchBuf {
        BenchBuf(Box::new(Block { start: HEADROOM as u16, len: 0, data: [0; BLOCK] }))
    }

    fn span(&self) -> std::ops::Range<usize> {
        let start = usize::from(self.0.start);
        start..start + usize::from(self.0.len)
    }
}

impl PacketBuf for BenchBuf {
    fn data(&self) -> &[u8] {
        // SAFETY:
        // - start + len <= BLOCK: `fill`, `prepend` and `append` check it, the
        //   others only shrink the span.
        unsafe { self.0.data.get_unchecked(self.span()) }
    }
    fn data_mut(&mut self) -> &mut [u8] {
        let span = self.span();
        // SAFETY:
        // - as for `data`.
        unsafe { self.0.data.get_unchecked_mut(span) }
    }
    fn prefetch(&self) {
        let data = &self.0.data[usize::from(self.0.start) % BLOCK];
        greyhound::tables::epoch::prefetch(data);
    }
    fn headroom(&self) -> usize {
        self.0.start.into()
    }
    fn tailroom(&self) -> usize {
        BLOCK - self.span().end
    }
    fn prepend(&mut self, n: usize) -> bool {
        let fits = n <= self.headroom();
        if fits {
            self.0.start -= n as u16;
            self.0.len += n as u16;
        }
        fits
    }
    fn append(&mut self, n: usize) -> bool {
        let fits = n <= self.tailroom();
        if fits {
            self.0.len += n as u16;
        }
        fits
    }
    fn trim_front(&mut self, n: usize) {
        let n = (n as u16).min(self.0.len);
        self.0.start += n;
        self.0.len -= n;
    }
    fn truncate(&mut self, len: usize) {
        self.0.len = self.0.len.min(len as u16);
    }
    fn reframe(&mut self, skip: usize, ahead: usize, len: usize) -> Option<&mut [u8]> {
        let off = self.headroom();
        if skip + len > usize::from(self.0.len) || ahead > off + skip {
            return None;
        }
        self.0.start = (off + skip - ahead) as u16;
        self.0.len = (ahead + len) as u16;
        Some(self.data_mut())
    }
    fn is_linear(&self) -> bool {
        true
    }
    fn rx_vlan(&self) -> Option<u16> {
        None
    }
    fn rx_checksum(&self) -> RxChecksum {
        RxChecksum::Unknown
    }
}

/// Frames looped into rx; tx gives buffers straight back.
struct BenchIo {
    pool: Vec<BenchBuf>,
    frames: Arc<Vec<Vec<u8>>>,
    next: usize,
    received: u64,
    sent: u64,
    /// When rx last returned, and ticks from there to the end of tx.
    returned: u64,
    path_ticks: u64,
}

impl BenchIo {
    fn new(frames: Arc<Vec<Vec<u8>>>) -> BenchIo {
        let pool = (0..256).map(|_| BenchBuf::new()).collect();
        BenchIo { pool, frames, next: 0, received: 0, sent: 0, returned: 0, path_ticks: 0 }
    }
}

impl PacketIo for BenchIo {
    type Buf = BenchBuf;

    fn rx(&mut self, _port: PortId, _queue: u16, into: &mut Burst<BenchBuf>) -> usize {
        let mut n = 0;
        while !into.is_full() {
            let Some(mut buf) = self.pool.pop() else { break };
            let frame = &self.frames[self.next % FRAMES];
            self.next += 1;
            buf.0.start = HEADROOM as u16;
            buf.0.len = frame.len() as u16;
            buf.0.data[HEADROOM..HEADROOM + frame.len()].copy_from_slice(frame);
            into.push(buf);
            n += 1;
        }
        self.received += n as u64;
        self.returned = tsc();
        n
    }

    fn tx(&mut self, _port: PortId, burst: &mut Burst<BenchBuf>) -> usize {
        let n = burst.len();
        self.pool.extend(burst.drain(..));
        self.sent += n as u64;
        self.path_ticks += tsc() - self.returned;
        n
    }

    fn alloc(&mut self) -> Option<BenchBuf> {
        let mut buf = self.pool.pop()?;
        (buf.0.start, buf.0.len) = (HEADROOM as u16, 0);
        Some(buf)
    }

    fn free(&mut self, burst: &mut Burst<BenchBuf>) {
        self.pool.extend(burst.drain(..));
    }

    fn ticks(&self) -> u64 {
        tsc()
    }

    fn ticks_per_second(&self) -> u64 {
        2_596_000_000
    }
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }
}

const IN_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const OUT_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);
const OUT: PortId = PortId(1);
const SOURCE: u32 = 0x0a00_0101; // 10.0.1.1, the tunnels' source
const FAR: u32 = 0x0a02_0001; // 10.2.0.1 + i, their destinations

fn rewrite(hop: u8) -> Adjacency {
    let mut adjacency = Adjacency::plain(AdjacencyKind::Rewrite, IfId(1));
    adjacency.port = OUT;
    adjacency.mtu = 1500;
    adjacency.underlay_mtu = 1500;
    adjacency.l2_len = 14;
    adjacency.rewrite_len = 14;
    adjacency.rewrite[..6].copy_from_slice(&[2, 0, 0, 0, 1, hop]);
    adjacency.rewrite[6..12].copy_from_slice(&OUT_MAC.0);
    adjacency.rewrite[12..14].copy_from_slice(&[8, 0]);
    adjacency
}

fn tunnel(number: u32, encap: Encapsulation) -> Adjacency {
    let mut adjacency = rewrite(3);
    let protocol = if encap == Encapsulation::Gre { 47 } else { 4 };
    let ip = header(SOURCE, FAR + number, protocol, 0, true);
    let mut outer = [0; 20];
    ip.emit(&mut outer).unwrap();
    outer[2..4].fill(0);
    outer[10..12].fill(0);
    adjacency.kind = AdjacencyKind::Tunnel;
    adjacency.encap = encap;
    adjacency.mtu = 1476;
    adjacency.out_if = IfId(16 + number);
    adjacency.underlay_if = IfId(1);
    adjacency.partial_checksum = greyhound::wire::checksum::sum(&outer);
    adjacency.rewrite[14..34].copy_from_slice(&outer);
    adjacency.rewrite_len = 34;
    if encap == Encapsulation::Gre {
        adjacency.rewrite[34..38].copy_from_slice(&[0, 0, 8, 0]);
        adjacency.rewrite_len = 38;
    }
    adjacency
}

fn header(src: u32, dst: u32, protocol: u8, payload_len: usize, df: bool) -> Ipv4Repr {
    Ipv4Repr { src: src.into(), dst: dst.into(), protocol, ttl: 64, tos: 0, id: 0, df, payload_len }
}

/// A UDP datagram of 50 bytes.
fn datagram(src: u32, dst: u32) -> Vec<u8> {
    sized(src, dst, 50)
}

fn sized(src: u32, dst: u32, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    header(src, dst, 17, len - 20, false).emit(&mut bytes).unwrap();
    bytes[20..24].copy_from_slice(&[0x10, 0, 0x20, 0]);
    bytes[24..26].copy_from_slice(&(len as u16 - 20).to_be_bytes());
    bytes
}

fn frame(packet: &[u8]) -> Vec<u8> {
    let kind = if packet[0] >> 4 == 6 { [0x86, 0xdd] } else { [8, 0] };
    [&IN_MAC.0[..], &[2, 0, 0, 0, 9, 9], &kind, packet].concat()
}

#[derive(Clone, Copy, PartialEq)]
enum Work {
    Forward,
    Encap(Encapsulation, u32),
    Decap(Encapsulation, u32),
    ForwardRoutes(u32),
    EncapRoutes(u32, u32),
}

const WORKS: [(&str, &str, Work); 10] = [
    ("W1", "forward, one route", Work::Forward),
    ("W2", "GRE encap, 1 tunnel", Work::Encap(Encapsulation::Gre, 1)),
    ("W3", "GRE encap, 1024 tunnels", Work::Encap(Encapsulation::Gre, 1024)),
    ("W4", "GRE decap, 1 tunnel", Work::Decap(Encapsulation::Gre, 1)),
    ("W5", "GRE decap, 1024 tunnels", Work::Decap(Encapsulation::Gre, 1024)),
    ("W6e", "IPIP encap, 1024 tunnels", Work::Encap(Encapsulation::Ipip, 1024)),
    ("W6d", "IPIP decap, 1024 tunnels", Work::Decap(Encapsulation::Ipip, 1024)),
    ("W7", "forward, 100k routes", Work::ForwardRoutes(100_000)),
    ("W8", "100k routes, 1024 tunnels", Work::EncapRoutes(100_000, 1024)),
    ("W8M", "1M routes, 1024 tunnels", Work::EncapRoutes(1_000_000, 1024)),
];

/// First next hop of tunnels; plain ones are 1..=8.
const TUNNEL_HOPS: u32 = 64;

fn set_up(work: Work) -> Bench {
    let tables = Arc::new(Tables::new(TablesConfig {
        adjacencies: 8192,
        tunnels: 8192,
        decap_keys: 8192,
        fib_groups: 1024,
        fib6_groups: 1024,
    }));
    let mut random = Random(0x1234_5678_9abc_def1);
    base(&tables);
    let frames: Vec<Vec<u8>> = match work {
        Work::Forward => {
            (0..FRAMES).map(|_| frame(&datagram(source(&mut random), in_20(&mut random)))).collect()
        }
        Work::Encap(encap, tunnels) => {
            encap_tables(&tables, encap, tunnels);
            let dst = |random: &mut Random| match tunnels {
                1 => 0x1e00_0000 | random.next() >> 8,
                n => 0x1e00_0000 | (random.next() % n) << 8 | random.next() & 0xff,
            };
            (0..FRAMES).map(|_| frame(&datagram(source(&mut random), dst(&mut random)))).collect()
        }
        Work::Decap(encap, tunnels) => {
            decap_tables(&tables, encap, tunnels);
            (0..FRAMES).map(|_| tunnel_frame(&mut random, encap, tunnels)).collect()
        }
        Work::ForwardRoutes(routes) => big_fib(&tables, &mut random, routes, 1, 8),
        Work::EncapRoutes(routes, tunnels) => {
            encap_tables(&tables, Encapsulation::Gre, tunnels);
            big_fib(&tables, &mut random, routes, TUNNEL_HOPS, tunnels)
        }
    };
    Bench::new(tables, frames)
}

fn source(random: &mut Random) -> u32 {
    0x0b00_0000 | random.next() >> 8
}

fn in_20(random: &mut Random) -> u32 {
    0x1400_0000 | random.next() >> 8
}

fn base(tables: &Tables) {
    let guard = tables.pin();
    let mut interfaces = Interfaces { echo: true, own_complete: true, ..Interfaces::default() };
    for (id, mac) in [(0, IN_MAC), (1, OUT_MAC)] {
        let untagged = Some(Attachment { id: IfId(id), up: true });
        interfaces.ports.push(PortEntry { mac, untagged, vlans: Vec::new() });
    }
    interfaces.own.extend([SOURCE, 0x0a00_0001]);
    tables.interfaces.replace(interfaces, &guard);
    for hop in 1..=8 {
        tables.adjacencies.set(hop as usize, rewrite(hop), &guard);
    }
    tables.fib4.insert(0x1400_0000, 8, NextHopId(1)).unwrap();
    tables.fib4.insert(0x0a02_0000, 16, NextHopId(2)).unwrap();
    tables.adjacencies.set(9, Adjacency::plain(AdjacencyKind::Local, IfId::NONE), &guard);
    tables.fib4.insert(SOURCE, 32, NextHopId(9)).unwrap();
}

fn encap_tables(tables: &Tables, encap: Encapsulation, tunnels: u32) {
    let guard = tables.pin();
    let entries = (0..tunnels).map(|n| ((TUNNEL_HOPS + n) as usize, tunnel(n, encap)));
    tables.adjacencies.set_many(entries, &guard);
    if tunnels == 1 {
        tables.fib4.insert(0x1e00_0000, 8, NextHopId(TUNNEL_HOPS)).unwrap();
        return;
    }
    for n in 0..tunnels {
        tables.fib4.insert(0x1e00_0000 | n << 8, 24, NextHopId(TUNNEL_HOPS + n)).unwrap();
    }
}

fn decap_tables(tables: &Tables, encap: Encapsulation, tunnels: u32) {
    let guard = tables.pin();
    let protocol = if encap == Encapsulation::Gre { 47 } else { 4 };
    for n in 0..tunnels {
        let id = 16 + n;
        let entry =
            Tunnel { interface: IfId(id), up: true, remote: FAR + n, resync: 1, ..Tunnel::NONE }
                .finished();
        tables.tunnels.set(id as usize, entry, &guard);
        let key = DecapKey::ipv4(TableId(0), FAR + n, SOURCE, protocol, None);
        tables.decap.insert(key, id, &guard).unwrap();
    }
}

fn tunnel_frame(random: &mut Random, encap: Encapsulation, tunnels: u32) -> Vec<u8> {
    let inner = datagram(source(random), in_20(random));
    let (protocol, gre) = match encap {
        Encapsulation::Gre => (47, &[0, 0, 8, 0][..]),
        _ => (4, &[][..]),
    };
    let payload = [gre, &inner].concat();
    let far = FAR + random.next() % tunnels;
    let mut packet = vec![0; 20];
    header(far, SOURCE, protocol, payload.len(), true).emit(&mut packet).unwrap();
    packet.extend(payload);
    frame(&packet)
}

/// Random prefixes /16–/24, 60 % of them /24, and destinations drawn from them.
fn big_fib(tables: &Tables, random: &mut Random, routes: u32, hop: u32, hops: u32) -> Vec<Vec<u8>> {
    let mut prefixes = Vec::new();
    while prefixes.len() < routes as usize {
        let len = if random.next() % 10 < 6 { 24 } else { 16 + random.next() % 8 };
        let net = (random.next() % 200 + 11) << 24 | random.next() & 0xff_ffff;
        let net = net >> (32 - len) << (32 - len);
        // No 20/8 nor 127/8: one is used, the other martian.
        if net >> 24 == 127 {
            continue;
        }
        prefixes.push((net, len));
        let hop = NextHopId(hop + random.next() % hops);
        tables.fib4.insert(net, len as u8, hop).unwrap();
    }
    let draw = |random: &mut Random| {
        let (net, len) = prefixes[random.next() as usize % prefixes.len()];
        net | random.next() >> len
    };
    (0..FRAMES).map(|_| frame(&datagram(source(random), draw(random)))).collect()
}

struct Bench {
    worker: Worker<BenchIo>,
    counters: Arc<WorkerCounters>,
    _control: ControlEnd,
}

impl Bench {
    fn new(tables: Arc<Tables>, frames: Vec<Vec<u8>>) -> Bench {
        let counters = Arc::new(WorkerCounters::new(2048));
        let (end, control) = exchange(ExchangeConfig { slots: 64, room: 2048 });
        let config = WorkerConfig { queues: vec![(PortId(0), 0)], ..WorkerConfig::default() };
        let io = BenchIo::new(Arc::new(frames));
        let worker = Worker::new(io, tables, Arc::clone(&counters), end, config);
        Bench { worker, counters, _control: control }
    }

    /// Runs `packets`; gives path ticks and nanoseconds of everything per packet.
    fn window(&mut self, packets: usize) -> (f64, f64) {
        let (received, ticks) = (self.worker.io().received, self.worker.io().path_ticks);
        let start = Instant::now();
        let mut handled = 0;
        while handled < packets {
            handled += self.worker.turn();
        }
        let ns = start.elapsed().as_nanos() as f64;
        let io = self.worker.io();
        let n = (io.received - received) as f64;
        ((io.path_ticks - ticks) as f64 / n, ns / n)
    }

    /// Panics if a packet was not sent: then the figure means nothing.
    fn check(&mut self, id: &str) {
        let io = self.worker.io();
        assert_eq!(io.received, io.sent, "{id}: packets were lost");
        assert_eq!(self.counters.imbalance(), 0, "{id}");
    }
}

/// Adds that depend on nothing: how many fit in a tick tells what the sibling
/// hardware thread leaves us.
fn calibrate() -> f64 {
    let start = tsc();
    let mut lanes = [1u64, 2, 3, 4, 5, 6];
    for i in 0..20_000u64 {
        for lane in &mut lanes {
            *lane = std::hint::black_box(lane.wrapping_add(i));
        }
    }
    std::hint::black_box(lanes);
    120_000.0 / (tsc() - start) as f64
}

/// Median, least and most.
fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[0], values[values.len() - 1])
}

/// What the windows of one kind of work took.
#[derive(Default)]
struct Taken {
    ticks: Vec<f64>,
    ns: Vec<f64>,
    /// Path ticks of the other build, window by window.
    other: Vec<f64>,
}

/// All kinds of work, set up and warm.
fn benches() -> Vec<Bench> {
    let mut benches: Vec<Bench> = WORKS.iter().map(|(_, _, work)| set_up(*work)).collect();
    for bench in &mut benches {
        bench.window(WINDOW);
    }
    benches
}

/// One window, what it needs in the caches first.
fn warm_window(bench: &mut Bench) -> (f64, f64) {
    bench.window(FRAMES / 16);
    bench.window(WINDOW)
}

/// Another build of this program, run window by window.
struct Other {
    child: Child,
    ask: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Other {
    fn start(program: &str) -> Other {
        let mut command = Command::new(program);
        command.arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the other build starts");
        let ask = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        Other { child, ask, answers }
    }

    fn window(&mut self, id: &str) -> f64 {
        writeln!(self.ask, "{id}").expect("the other build listens");
        self.answers.next().unwrap().unwrap().parse().expect("a number of ticks")
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.child.kill().expect("the other build can be ended");
        self.child.wait().expect("and has ended");
    }
}

fn serve() {
    let mut benches = benches();
    for id in std::io::stdin().lines().map_while(Result::ok) {
        let number = WORKS.iter().position(|w| w.0 == id).expect("a known id");
        println!("{}", warm_window(&mut benches[number]).0);
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse().expect("a number");
    match args[..] {
        ["one", id, packets] => {
            let work = WORKS.iter().find(|w| w.0 == id).expect("a known id").2;
            println!("{:?}", set_up(work).window(number(packets)));
        }
        ["serve"] => serve(),
        ["reassembly"] => reassembly::run(21),
        ["reassembly", rounds] => reassembly::run(number(rounds)),
        ["stages"] => stages(21),
        ["stages", rounds] => stages(number(rounds)),
        ["beside", other] => table(21, Some(Other::start(other))),
        ["beside", other, rounds] => table(number(rounds), Some(Other::start(other))),
        [rounds] => table(number(rounds), None),
        _ => table(21, None),
    }
}

/// Ticks per packet by stage: of one burst in 61, as `show workers` has them.
fn stages(rounds: usize) {
    let mut benches = benches();
    let mut taken = vec![[const { Vec::new() }; Stage::ALL.len()]; WORKS.len()];
    for _ in 0..rounds {
        for (bench, taken) in benches.iter_mut().zip(&mut taken) {
            let counters = Arc::clone(&bench.counters);
            let read = || Stage::ALL.map(|stage| counters.stages.ticks[stage as usize].get());
            let packets = counters.stages.packets.get();
            let before = read();
            warm_window(bench);
            let packets = (counters.stages.packets.get() - packets) as f64;
            for ((taken, before), after) in taken.iter_mut().zip(before).zip(read()) {
                taken.push((after - before) as f64 / packets);
            }
        }
    }
    print!("{:<5}", "id");
    Stage::ALL.iter().for_each(|stage| print!("{:>10}", stage.name()));
    println!();
    for ((id, ..), taken) in WORKS.iter().zip(taken) {
        print!("{id:<5}");
        taken.into_iter().for_each(|values| print!("{:>10.1}", spread(values).0));
        println!();
    }
}

fn table(rounds: usize, mut other: Option<Other>) {
    let mut benches = benches();
    let mut results: Vec<Taken> = WORKS.iter().map(|_| Taken::default()).collect();
    let mut calibration = Vec::new();
    for _ in 0..rounds {
        calibration.push(calibrate());
        for ((bench, (id, ..)), taken) in benches.iter_mut().zip(&WORKS).zip(&mut results) {
            if let Some(other) = &mut other {
                taken.other.push(other.window(id));
            }
            let (ticks, ns) = warm_window(bench);
            taken.ticks.push(ticks);
            taken.ns.push(ns);
        }
    }
    println!(
        "{rounds} interleaved windows of {WINDOW} packets, {FRAMES} distinct frames, burst 64"
    );
    let (middle, min, max) = spread(calibration);
    println!("independent adds per tick: median {middle:.2} [{min:.2}-{max:.2}]");
    println!("{:<4} {:<28} path clk, median [range]   ns all", "id", "work");
    for (((id, what, _), bench), taken) in WORKS.iter().zip(&mut benches).zip(results) {
        bench.check(id);
        let ratios = taken.ticks.iter().zip(&taken.other).map(|(ours, other)| ours / other);
        let ratios: Vec<f64> = ratios.collect();
        let (middle, min, max) = spread(taken.ticks);
        print!("{id:<4} {what:<28} {middle:>6.1} [{min:>5.1}-{max:>6.1}]   ");
        print!("{:>6.1}", spread(taken.ns).0);
        if other.is_some() {
            let (before, ratio) = (spread(taken.other), spread(ratios));
            print!("   other {:>6.1} [{:>5.1}-{:>6.1}]", before.0, before.1, before.2);
            print!("   ratio {:.3} [{:.3}-{:.3}]", ratio.0, ratio.1, ratio.2);
        }
        println!();
    }
}
