//! The poll loop of one worker: a thread, its queues, its path.
//!
//! ```text
//!   turn:  repin ─▶ inbox ─▶ (rx ─▶ stages) of each queue ─▶ what others hand on ─▶ tx
//!                                                            (flows, fragments)
//! ```
//!
//! The worker reads `Tables` under one epoch guard, repinned for every burst
//! and given up before it sleeps, and control's inbox with one acquire load per
//! turn. It writes only its own counters. With [`Idle::Poll`] nothing in here
//! makes a system call.
#![deny(clippy::disallowed_types)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::buf::PacketIo;
use crate::datapath::{Path, Shared};
use crate::exchange::WorkerEnd;
use crate::ids::PortId;
use crate::meeting::MeetingEnd;
use crate::model::spec::Idle;
use crate::spread::SpreadEnd;
use crate::stats::counters::WorkerCounters;
use crate::tables::Tables;
use crate::tables::epoch::{Guard, Reader};

/// What is fixed for a worker's life.
#[derive(Clone, Debug, Default)]
pub struct WorkerConfig {
    /// Receive queues to poll.
    pub queues: Vec<(PortId, u16)>,
    /// What to do when nothing arrives.
    pub idle: Idle,
    /// Where this worker's identifications start (V4-04): workers that send for
    /// one tunnel must not all count up from the same number.
    pub first_id: u16,
}

/// One worker. Made and used on its own thread.
pub struct Worker<I: PacketIo> {
    io: I,
    path: Path<I>,
    tables: Arc<Tables>,
    counters: Arc<WorkerCounters>,
    /// Dropped before `reader`, whose registration it is part of.
    guard: Option<Guard>,
    reader: Reader,
    config: WorkerConfig,
    spread: Option<SpreadEnd<I::Buf>>,
    /// When the last turn began, and whether it was busy.
    last: (u64, bool),
}

impl<I: PacketIo> Worker<I> {
    /// A worker over `io`; call on the worker's thread.
    pub fn new(
        mut io: I,
        tables: Arc<Tables>,
        counters: Arc<WorkerCounters>,
        end: WorkerEnd,
        config: WorkerConfig,
    ) -> Worker<I> {
        let path = Path::new(&mut io, end, config.first_id);
        let reader = tables.reader();
        let last = (io.ticks(), false);
        Worker { io, path, tables, counters, guard: None, reader, config, spread: None, last }
    }

    /// Shares its flows with other workers by this end of their mesh.
    #[must_use]
    pub fn with_spread(mut self, end: Option<SpreadEnd<I::Buf>>) -> Worker<I> {
        self.spread = end;
        self
    }

    /// Puts together with other workers what arrives in pieces at all of them.
    #[must_use]
    pub fn with_meeting(mut self, end: Option<MeetingEnd<I::Buf>>) -> Worker<I> {
        if let Some(end) = end {
            self.path.with_meeting(end);
        }
        self
    }

    /// The ports, for whoever drives the worker turn by turn.
    pub fn io(&mut self) -> &mut I {
        &mut self.io
    }

    /// One round: inbox, then rx and stages of each queue, then tx. Gives how
    /// many packets were handled.
    pub fn turn(&mut self) -> usize {
        self.clock();
        let mut guard = self.guard.take().unwrap_or_else(|| self.reader.pin());
        let (mut handled, mut bursts) = (0, 0);
        if self.path.has_injected() {
            guard.repin();
            handled += self.path.inject(&mut self.io, shared(&self.tables, &self.counters, &guard));
            bursts += 1;
        }
        for &(port, queue) in &self.config.queues {
            let received = self.io.rx(port, queue, self.path.burst());
            if received == 0 {
                continue;
            }
            guard.repin();
            if let Some(spread) = &mut self.spread {
                let ledger = self.counters.ledger(port);
                spread.divide(&mut self.io, self.path.burst(), port, ledger);
            }
            self.path.receive(&mut self.io, shared(&self.tables, &self.counters, &guard), port);
            handled += received;
            bursts += 1;
        }
        if let Some(spread) = &mut self.spread {
            for inlet in 0..spread.inlets() {
                let Some(port) = spread.take(inlet, self.path.burst()) else { continue };
                guard.repin();
                handled += self.path.burst().len();
                bursts += 1;
                let shared = shared(&self.tables, &self.counters, &guard);
                self.path.take_over(&mut self.io, shared, port);
            }
        }
        for inlet in 0..self.path.inlets() {
            let shared = shared(&self.tables, &self.counters, &guard);
            let met = self.path.meet(&mut self.io, shared, inlet);
            handled += met;
            bursts += u64::from(met > 0);
        }
        if self.path.is_due() {
            self.path.expire(shared(&self.tables, &self.counters, &guard));
        }
        self.path.flush(&mut self.io, &self.counters);
        if handled == 0 {
            // An idle worker must not hold back what control wants to reuse.
            guard.repin();
        }
        self.guard = Some(guard);
        self.count(handled, bursts);
        handled
    }

    /// Turns until `stop`, idling as configured; then handles what is left.
    pub fn run(&mut self, stop: &AtomicBool) {
        let mut empty = 0u32;
        while !stop.load(Ordering::Relaxed) {
            let handled = self.turn();
            empty = if handled > 0 { 0 } else { empty.saturating_add(1) };
            if empty > 0 && self.config.idle == Idle::Adaptive {
                self.rest(empty);
            }
        }
        let last_turns = std::iter::repeat_with(|| self.turn()).take(DRAIN_TURNS);
        let _ = last_turns.take_while(|handled| *handled > 0).count();
        self.take_the_last();
        self.end();
    }

    /// Gives nothing on any more and takes what others still give, until they
    /// have all come to this point.
    fn take_the_last(&mut self) {
        self.spread.iter_mut().for_each(SpreadEnd::close);
        self.path.close();
        // What was received is handled; what comes now is for the next start.
        self.config.queues.clear();
        let began = Instant::now();
        while !self.is_over() {
            // One that never started closes nothing: it gave nothing either.
            if self.turn() == 0 && began.elapsed() > LAST_WAIT {
                return;
            }
        }
    }

    fn is_over(&self) -> bool {
        self.spread.as_ref().is_none_or(SpreadEnd::is_over) && self.path.is_over()
    }

    /// Drops what waits for more, which will not come, and reads no table again.
    pub fn end(&mut self) {
        let guard = self.guard.take().unwrap_or_else(|| self.reader.pin());
        self.path.end(shared(&self.tables, &self.counters, &guard));
    }

    /// What an adaptive worker does after so many empty turns in a row.
    fn rest(&mut self, empty: u32) {
        match empty.checked_sub(SPIN_TURNS) {
            None => std::hint::spin_loop(),
            Some(turns) if turns < PAUSE_TURNS => (0..PAUSES).for_each(|_| std::hint::spin_loop()),
            Some(turns) => {
                let doublings = (turns - PAUSE_TURNS).min(16);
                self.sleep((SLEEP_LEAST * (1 << doublings)).min(SLEEP_MOST));
            }
        }
    }

    fn sleep(&mut self, time: Duration) {
        self.guard = None;
        let before = self.io.ticks();
        std::thread::sleep(time);
        self.counters.poll.slept_ticks.add(self.io.ticks().saturating_sub(before));
    }

    /// Reads the clock, once per turn: what has passed since the last reading
    /// was the last turn's.
    fn clock(&mut self) {
        let now = self.io.ticks();
        let (last, busy) = self.last;
        let passed = now.saturating_sub(last);
        self.counters.poll.total_ticks.add(passed);
        self.counters.poll.longest_ticks.raise(passed);
        if busy {
            self.counters.poll.busy_ticks.add(passed);
        }
        self.last = (now, false);
        self.path.set_now(now);
    }

    fn count(&mut self, handled: usize, bursts: u64) {
        let poll = &self.counters.poll;
        poll.rounds.add(1);
        if handled > 0 {
            poll.busy_rounds.add(1);
            poll.bursts.add(bursts);
            poll.packets.add(handled as u64);
            self.last.1 = true;
        }
    }
}

/// Empty turns before an adaptive worker pauses between turns.
const SPIN_TURNS: u32 = 256;
/// Turns with pauses before it sleeps.
const PAUSE_TURNS: u32 = 256;
/// Pauses between such turns.
const PAUSES: usize = 32;
/// First and longest sleep.
const SLEEP_LEAST: Duration = Duration::from_micros(20);
const SLEEP_MOST: Duration = Duration::from_micros(500);
/// How long it waits at its end for other workers to end.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// Turns at most after "stop", so that a flood cannot keep the worker alive.
const DRAIN_TURNS: usize = 64;

fn shared<'t>(tables: &'t Tables, counters: &'t WorkerCounters, guard: &'t Guard) -> Shared<'t> {
    Shared { tables, counters, guard }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buf::heap::HeapIo;
    use crate::exchange::{ControlEnd, ExchangeConfig, InjectKind, exchange};
    use crate::tables::TablesConfig;
    use crate::tables::adjacency::Adjacency;

    /// A worker on a thread of its own, and control's side of it.
    struct Running {
        tables: Arc<Tables>,
        counters: Arc<WorkerCounters>,
        control: ControlEnd,
        stop: Arc<AtomicBool>,
        thread: std::thread::JoinHandle<usize>,
    }

    fn start(idle: Idle) -> Running {
        let config = TablesConfig {
            adjacencies: 64,
            tunnels: 64,
            decap_keys: 16,
            fib_groups: 4,
            fib6_groups: 64,
        };
        let tables = Arc::new(Tables::new(config));
        let counters = Arc::new(WorkerCounters::new(4));
        let (end, control) = exchange(ExchangeConfig { slots: 16, room: 256 });
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (tables, counters, stop) =
                (Arc::clone(&tables), Arc::clone(&counters), Arc::clone(&stop));
            std::thread::spawn(move || {
                let config =
                    WorkerConfig { queues: vec![(PortId(0), 0)], idle, ..WorkerConfig::default() };
                let mut worker = Worker::new(HeapIo::new(32, 256), tables, counters, end, config);
                worker.run(&stop);
                worker.io().discard_sent();
                worker.io().in_use()
            })
        };
        Running { tables, counters, control, stop, thread }
    }

    impl Running {
        fn received(&self) -> u64 {
            self.counters.ledger(PortId::CONTROL).received.get()
        }

        fn stop(self) -> (Arc<WorkerCounters>, usize) {
            self.stop.store(true, Ordering::Relaxed);
            let in_use = self.thread.join().expect("the worker ends");
            (self.counters, in_use)
        }
    }

    #[test]
    fn what_was_injected_before_stop_is_handled() {
        for idle in [Idle::Poll, Idle::Adaptive] {
            let mut running = start(idle);
            for _ in 0..16 {
                assert!(running.control.inject(InjectKind::Originate, &[0; 20]));
            }
            let (counters, in_use) = running.stop();
            assert_eq!(counters.ledger(PortId::CONTROL).received.get(), 16);
            assert_eq!((counters.imbalance(), in_use), (0, 0));
            assert!(counters.poll.busy_rounds.get() >= 1);
            assert_eq!(counters.poll.packets.get(), 16);
        }
    }

    #[test]
    fn an_adaptive_worker_sleeps_and_wakes_in_time() {
        let mut running = start(Idle::Adaptive);
        std::thread::sleep(Duration::from_millis(50));
        let before = running.counters.poll.rounds.get();
        let began = Instant::now();
        std::thread::sleep(Duration::from_millis(200));
        let rounds = running.counters.poll.rounds.get() - before;
        // 200 ms are 400 of the longest sleeps; a poller makes millions. That
        // it turns at all, the answers below show: on a machine busy with other
        // things it may not get its turn in just this while.
        let most = began.elapsed().as_millis() as u64 * 9 / 4;
        assert!(rounds <= most, "{rounds} turns in {:?}", began.elapsed());
        // The quickest of some, as this machine may be busy with other things.
        let quickest = (0..20).map(|n| {
            std::thread::sleep(Duration::from_millis(5));
            let start = Instant::now();
            assert!(running.control.inject(InjectKind::Originate, &[0; 20]));
            while running.received() <= n {
                std::hint::spin_loop();
            }
            start.elapsed()
        });
        let quickest = quickest.min().unwrap_or_default();
        assert!(quickest < Duration::from_millis(5), "first packet after {quickest:?}");
        running.stop();
    }

    #[test]
    fn an_idle_worker_holds_nothing_back() {
        for idle in [Idle::Poll, Idle::Adaptive] {
            let running = start(idle);
            let mut freed = false;
            let mut limbo = running.tables.limbo();
            let deadline = Instant::now() + Duration::from_secs(20);
            while !freed && Instant::now() < deadline {
                let guard = running.tables.pin();
                running.tables.adjacencies.set(1, Adjacency::default(), &guard);
                limbo.retire((), &guard);
                limbo.seal(&guard);
                drop(guard);
                running.tables.collect();
                freed = limbo.pop().is_some();
            }
            assert!(freed, "{idle:?}: nothing came back");
            running.stop();
        }
    }
}
