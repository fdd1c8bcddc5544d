//! [`Bench`]: one gateway with heap ports, driven step by step.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::ReplayError;
use super::sheet::Sheet;
use crate::buf::heap::HeapIo;
use crate::config;
use crate::control::Control;
use crate::control::net::PortFacts;
use crate::exchange::{ExchangeConfig, exchange};
use crate::flow::FlowHash;
use crate::ids::{Mac, PortId};
use crate::model::api::ApiError;
use crate::model::op::{Located, Outcome};
use crate::model::spec::Idle;
use crate::model::view::{DropsView, InterfaceView, NeighbourView};
use crate::stats::counters::{ControlCounters, Counter, Ledger, WorkerCounters};
use crate::tables::{Tables, TablesConfig};
use crate::worker::{Worker, WorkerConfig};

/// Longest step of virtual time in [`Bench::advance`]: how late a timer of
/// control may fire.
pub const TICK: Duration = Duration::from_millis(50);

/// Rounds of worker and control after which a gateway that still finds work is
/// taken to be in a loop.
const MAX_ROUNDS: usize = 10_000;

/// Sizes of a [`Bench`].
#[derive(Clone, Copy, Debug)]
pub struct BenchOptions {
    /// Buffers in the pool.
    pub buffers: usize,
    /// Bytes in each buffer, behind the headroom. At least the largest frame.
    pub room: usize,
    /// Slots of the exchange between worker and control, each way.
    pub slots: usize,
    /// Bytes per slot.
    pub slot_room: usize,
    /// Table sizes.
    pub tables: TablesConfig,
    /// Most interfaces.
    pub interfaces: usize,
}

impl Default for BenchOptions {
    /// Enough for any case: bursts of 500 frames, datagrams of 9000.
    fn default() -> BenchOptions {
        BenchOptions {
            buffers: 512,
            room: 9216,
            slots: 1024,
            slot_room: 9216,
            tables: TablesConfig {
                adjacencies: 1 << 14,
                tunnels: 1 << 12,
                decap_keys: 1 << 12,
                fib_groups: 1 << 10,
                fib6_groups: 1 << 10,
            },
            interfaces: 1 << 12,
        }
    }
}

/// A frame that left by a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Virtual time.
    pub at: Duration,
    /// The frame from its Ethernet header on.
    pub frame: Vec<u8>,
}

/// A gateway in a box.
pub struct Bench {
    worker: Worker<HeapIo>,
    control: Control,
    tables: Arc<Tables>,
    worker_counters: Arc<WorkerCounters>,
    control_counters: Arc<ControlCounters>,
    ports: Vec<String>,
    sent: Vec<VecDeque<Sent>>,
    now: Duration,
}

impl Bench {
    /// A gateway with this configuration file's text, up and at rest. What it
    /// sends to begin with (gratuitous ARP) waits in [`Bench::sent`].
    pub fn from_config(text: &str) -> Result<Bench, ReplayError> {
        Bench::with_options(text, BenchOptions::default())
    }

    /// As [`Bench::from_config`], with sizes.
    pub fn with_options(text: &str, options: BenchOptions) -> Result<Bench, ReplayError> {
        let refused =
            |problems| ReplayError::Refused { what: "the configuration".into(), problems };
        let config = config::parse(text).map_err(refused)?;
        let specs = &config.state.ports;
        let facts: Vec<PortFacts> = specs
            .iter()
            .zip(0u8..)
            .map(|(spec, id)| PortFacts {
                spec: spec.clone(),
                id: PortId(id),
                mac: spec.mac.unwrap_or(port_mac(id)),
                max_mtu: options.room.saturating_sub(18).min(9000) as u16,
            })
            .collect();
        let mut tables = Tables::new(options.tables);
        // The same flows go the same way in every run.
        tables.flow = FlowHash::fixed(0);
        let tables = Arc::new(tables);
        let worker_counters = Arc::new(WorkerCounters::new(options.interfaces));
        let control_counters = Arc::new(ControlCounters::default());
        let (worker_end, control_end) =
            exchange(ExchangeConfig { slots: options.slots, room: options.slot_room });
        let control = Control::new(
            Arc::clone(&tables),
            facts.clone(),
            vec![control_end],
            Arc::clone(&control_counters),
            vec![Arc::clone(&worker_counters)],
        );
        let worker = Worker::new(
            HeapIo::new(options.buffers, options.room),
            Arc::clone(&tables),
            Arc::clone(&worker_counters),
            worker_end,
            WorkerConfig {
                queues: facts.iter().map(|port| (port.id, 0)).collect(),
                idle: Idle::Poll,
                first_id: 0,
            },
        );
        let mut bench = Bench {
            worker,
            control,
            tables,
            worker_counters,
            control_counters,
            ports: specs.iter().map(|spec| spec.name.clone()).collect(),
            sent: specs.iter().map(|_| VecDeque::new()).collect(),
            now: Duration::ZERO,
        };
        bench.transact(&config::ops(&config.state)).map_err(|error| ReplayError::Refused {
            what: "the configuration".into(),
            problems: error.problems,
        })?;
        bench.run_until_quiet()?;
        Ok(bench)
    }

    /// Lets a frame arrive; it is processed by the next
    /// [`Bench::run_until_quiet`].
    pub fn receive(&mut self, port: PortId, frame: &[u8]) -> Result<(), ReplayError> {
        let io = self.worker.io();
        if io.receive(port, frame) {
            return Ok(());
        }
        Err(ReplayError::PoolEmpty { port: port.0, buffers: io.available() })
    }

    /// Runs worker and control in turn until neither finds anything to do.
    pub fn run_until_quiet(&mut self) -> Result<(), ReplayError> {
        for _ in 0..MAX_ROUNDS {
            let mut done = 0;
            loop {
                let packets = self.worker.turn();
                done += packets;
                if packets == 0 {
                    break;
                }
            }
            self.collect();
            let injected = self.control_counters.injected.get();
            done += self.control.turn(self.now);
            // What timers sent is work for the worker, though nothing came in.
            done += (self.control_counters.injected.get() - injected) as usize;
            if done == 0 {
                return Ok(());
            }
        }
        Err(ReplayError::NeverQuiet { rounds: MAX_ROUNDS, now: self.now })
    }

    /// Lets virtual time pass, in steps of at most [`TICK`], and runs what
    /// falls due.
    pub fn advance(&mut self, by: Duration) -> Result<(), ReplayError> {
        let until = self.now + by;
        while self.now < until {
            self.now = (self.now + TICK).min(until);
            self.worker.io().now_ns = self.now.as_nanos() as u64;
            self.run_until_quiet()?;
        }
        Ok(())
    }

    /// Applies a transaction, as a verb would.
    pub fn transact(&mut self, ops: &[Located]) -> Result<Outcome, ApiError> {
        self.control.transact(ops, self.now)
    }

    /// What left by a port since the last call, oldest first.
    pub fn sent(&mut self, port: PortId) -> Vec<Vec<u8>> {
        self.sent_with_times(port).into_iter().map(|sent| sent.frame).collect()
    }

    /// As [`Bench::sent`], with the virtual time of each.
    pub fn sent_with_times(&mut self, port: PortId) -> Vec<Sent> {
        self.sent.get_mut(port.index()).map(std::mem::take).unwrap_or_default().into()
    }

    /// Forgets what was sent, on all ports; returns how many frames.
    pub fn discard_sent(&mut self) -> usize {
        self.sent.iter_mut().map(|queue| std::mem::take(queue).len()).sum()
    }

    /// Names of the ports; a name's place is its [`PortId`].
    pub fn ports(&self) -> &[String] {
        &self.ports
    }

    /// The port of this name.
    pub fn port(&self, name: &str) -> Option<PortId> {
        let at = self.ports.iter().position(|port| port == name)?;
        u8::try_from(at).ok().map(PortId)
    }

    /// Virtual time since start.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// The worker's ports and buffers, for tests that turn their knobs.
    pub fn io(&mut self) -> &mut HeapIo {
        self.worker.io()
    }

    /// The worker, for tests that watch single turns.
    pub fn worker(&mut self) -> &mut Worker<HeapIo> {
        &mut self.worker
    }

    /// Control, for tests that ask it directly.
    pub fn control(&mut self) -> &mut Control {
        &mut self.control
    }

    /// The tables both share.
    pub fn tables(&self) -> &Arc<Tables> {
        &self.tables
    }

    /// The worker's counters.
    pub fn worker_counters(&self) -> &WorkerCounters {
        &self.worker_counters
    }

    /// Control's counters.
    pub fn control_counters(&self) -> &ControlCounters {
        &self.control_counters
    }

    /// What `show drops` would print.
    pub fn drops(&self) -> DropsView {
        self.control.drops()
    }

    /// What `show interfaces` would print.
    pub fn interfaces(&self) -> Vec<InterfaceView> {
        self.control.interfaces()
    }

    /// What `show neighbours` would print.
    pub fn neighbours(&self) -> Vec<NeighbourView> {
        self.control.neighbours(self.now)
    }

    /// All packet counters at this moment.
    pub fn sheet(&self) -> Sheet {
        Sheet::take(self)
    }

    /// At rest, every packet is accounted for: per origin on the worker, in
    /// control, between the two, between origins and ports, and every buffer is
    /// back in the pool. The error lists all that does not add up.
    pub fn expect_conservation(&mut self) -> Result<(), ReplayError> {
        let mut broken = Vec::new();
        let mut equal = |what: &str, left: i128, right: i128| {
            if left != right {
                broken.push(format!("  {what}: {left} against {right}"));
            }
        };
        let counters = &self.worker_counters;
        let total = |of: fn(&Ledger) -> u64| counters.ledgers.iter().map(of).map(i128::from).sum();
        for (index, ledger) in counters.ledgers.iter().enumerate() {
            let origin = self.ports.get(index).map_or("control", String::as_str);
            let what = format!("packets of origin {origin}, in minus out and 0");
            equal(&what, ledger.imbalance().into(), 0);
        }
        let control = &self.control_counters;
        equal("packets of control, in minus out and 0", control.imbalance().into(), 0);
        let punted: i128 = total(|ledger| ledger.punted.iter().map(Counter::get).sum());
        equal(
            "punted by the worker and taken by control",
            punted,
            control.punts_taken.get().into(),
        );
        let taken = counters.ledger(PortId::CONTROL).received.get();
        equal(
            "injected by control and taken by the worker",
            control.injected.get().into(),
            taken.into(),
        );
        let port_tx: i128 = counters.port_tx.iter().map(|port| i128::from(port.get())).sum();
        equal("sent by origin and by port", total(|ledger| ledger.sent.get()), port_tx);
        let view = self.control.drops();
        let shown: i128 = view.origins.iter().map(|origin| i128::from(origin.dropped)).sum();
        let dropped = total(|ledger| ledger.dropped.iter().map(Counter::get).sum());
        equal("dropped by the worker and shown", dropped, shown);
        let held = control.held.load(Relaxed);
        equal("held by control and shown", held.into(), view.control.held.into());
        equal("buffers neither free nor queued and 0", self.worker.io().in_use() as i128, 0);
        if broken.is_empty() { Ok(()) } else { Err(ReplayError::NotConserved(broken)) }
    }

    /// Moves what the worker sent out of its port queues, so that the buffers
    /// go back to the pool.
    fn collect(&mut self) {
        let at = self.now;
        for (queue, id) in self.sent.iter_mut().zip(0u8..) {
            while let Some(frame) = self.worker.io().sent(PortId(id)) {
                queue.push_back(Sent { at, frame });
            }
        }
    }
}

/// The link address of a port that has none in its configuration:
/// 02:00:00:00:00:01 for the first.
fn port_mac(id: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, id + 1])
}
