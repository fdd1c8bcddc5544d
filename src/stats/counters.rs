//! The counters of one worker.
//!
//! One writer (the worker), any number of readers (scrapes, verbs), no shared
//! write: an add is a relaxed load and a relaxed store, never a locked
//! instruction. The path sums in locals and stores once per burst.
//!
//! **Conservation.** Every packet has an *origin*: the port it was received on,
//! or control. Per origin, when traffic rests:
//!
//! ```text
//! received + taken + fragments_created
//!     = sent + Σ dropped[reason] + Σ punted[reason] + handed + merged + held
//! ```
//!
//! `handed` and `taken` are packets that one worker gave to another (`spread`,
//! `meeting`);
//! over all workers both are equal, when traffic rests.
//!
//! For the control pseudo-port, `received` counts injected packets taken by the
//! worker. Control keeps its own equation ([`ControlCounters`]).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::control::tally::ControlDrop;
use crate::datapath::drop::DropReason;
use crate::exchange::PuntReason;
use crate::ids::{IfId, MAX_INTERFACES, ORIGINS, PortId};
use crate::model::view::ControlView;
use crate::tables::filter::FILTER_NUMBERS;

/// A counter with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the owning thread may call this.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Takes `n` away: for what counts how many there are. Only the owning
    /// thread may call this.
    #[inline]
    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(n), Relaxed);
    }

    /// Makes it `n` if it is less. Only the owning thread may call this.
    #[inline]
    pub fn raise(&self, n: u64) {
        if n > self.0.load(Relaxed) {
            self.0.store(n, Relaxed);
        }
    }

    /// Current value.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Where the packets of one origin went.
#[derive(Debug)]
#[repr(align(64))]
pub struct Ledger {
    /// Packets that came in.
    pub received: Counter,
    /// Bytes that came in, link header included, FCS not.
    pub received_bytes: Counter,
    /// Packets that exist only because one was cut: n − 1 for n fragments.
    pub fragments_created: Counter,
    /// Packets a port took for transmission.
    pub sent: Counter,
    /// Packets dropped, by [`DropReason::index`].
    pub dropped: [Counter; DropReason::COUNT],
    /// Packets handed to control, by [`PuntReason::index`].
    pub punted: [Counter; PuntReason::COUNT],
    /// Packets given to other workers.
    pub handed: Counter,
    /// Packets taken from other workers, who had counted them as received.
    pub taken: Counter,
    /// Fragments that became part of a reassembled datagram: n − 1 for n.
    pub merged: Counter,
    /// Fragments that wait for others now.
    pub held: Counter,
}

impl Default for Ledger {
    fn default() -> Ledger {
        Ledger {
            received: Counter::default(),
            received_bytes: Counter::default(),
            fragments_created: Counter::default(),
            sent: Counter::default(),
            dropped: std::array::from_fn(|_| Counter::default()),
            punted: std::array::from_fn(|_| Counter::default()),
            handed: Counter::default(),
            taken: Counter::default(),
            merged: Counter::default(),
            held: Counter::default(),
        }
    }
}

impl Ledger {
    /// In minus out; 0 when every packet is accounted for and none is under way.
    pub fn imbalance(&self) -> i64 {
        let sum = |counters: &[Counter]| counters.iter().map(Counter::get).sum::<u64>();
        let come = self.received.get() + self.taken.get() + self.fragments_created.get();
        let here = self.merged.get() + self.held.get();
        let gone =
            self.sent.get() + sum(&self.dropped) + sum(&self.punted) + self.handed.get() + here;
        come.wrapping_sub(gone) as i64
    }
}

/// Traffic of one logical interface, as a worker saw it.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct InterfaceCounters {
    /// Packets received (for a tunnel: taken out of it).
    pub rx_packets: Counter,
    /// Bytes received: link header included on ports, inner IP on tunnels.
    pub rx_bytes: Counter,
    /// Packets sent (for a tunnel: put into it).
    pub tx_packets: Counter,
    /// Bytes sent, counted as on receive.
    pub tx_bytes: Counter,
    /// Packets that arrived here and were dropped.
    pub rx_dropped: Counter,
    /// Packets that were to leave here and were dropped.
    pub tx_dropped: Counter,
    /// Packets sent as IP in IP because minimal encapsulation has no place for
    /// fragments (RFC 2004 §3).
    pub fallback: Counter,
    /// Packets that came out with a combination of ECN fields that no sound
    /// tunnel makes (RFC 6040 §4.2).
    pub ecn_anomalies: Counter,
}

const _: () = assert!(size_of::<InterfaceCounters>() == 64);

/// How a worker spends its time. Clock ticks are the TSC's.
#[derive(Debug, Default)]
pub struct LoopCounters {
    /// Turns of the poll loop.
    pub rounds: Counter,
    /// Turns in which something arrived.
    pub busy_rounds: Counter,
    /// Bursts processed.
    pub bursts: Counter,
    /// Packets in those bursts.
    pub packets: Counter,
    /// Ticks spent in turns in which something arrived.
    pub busy_ticks: Counter,
    /// Ticks spent in the loop altogether.
    pub total_ticks: Counter,
    /// The longest turn, sleep after it included: for so long nobody polled.
    pub longest_ticks: Counter,
    /// Ticks asleep (adaptive idling).
    pub slept_ticks: Counter,
}

/// Stages of the path whose time is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Link layer, header gathered and validated.
    Classify,
    /// Longest prefix match.
    Lookup,
    /// Adjacency: checks of forwarding, rewrite or encapsulation.
    Forward,
    /// Packets for us: decapsulation, echo.
    Local,
    /// Buffers moved to the ports' outputs.
    Dispatch,
    /// The ports' transmit, and what it frees.
    Transmit,
}

impl Stage {
    /// All stages, in the order of the path.
    pub const ALL: [Stage; 6] = [
        Stage::Classify,
        Stage::Lookup,
        Stage::Forward,
        Stage::Local,
        Stage::Dispatch,
        Stage::Transmit,
    ];

    /// The name in metrics and tables.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Classify => "classify",
            Stage::Lookup => "lookup",
            Stage::Forward => "forward",
            Stage::Local => "local",
            Stage::Dispatch => "dispatch",
            Stage::Transmit => "transmit",
        }
    }
}

/// Clock ticks by stage, of a sample of the bursts.
#[derive(Debug, Default)]
pub struct StageCounters {
    /// By [`Stage`].
    pub ticks: [Counter; Stage::ALL.len()],
    /// Packets in the bursts timed.
    pub packets: Counter,
}

/// Packets that met a filter's rule.
#[derive(Debug, Default)]
pub struct FilterCounters {
    /// How many.
    pub packets: Counter,
    /// Bytes of their datagrams.
    pub bytes: Counter,
}

/// All counters of one worker.
#[derive(Debug)]
pub struct WorkerCounters {
    /// By origin: [`PortId::index`].
    pub ledgers: [Ledger; ORIGINS],
    /// Packets handed to each port, by egress port.
    pub port_tx: [Counter; ORIGINS],
    /// The poll loop.
    pub poll: LoopCounters,
    /// Where the time of a burst goes.
    pub stages: StageCounters,
    /// Keepalives of far ends answered.
    pub keepalives: Counter,
    /// What filters met, by a rule's number.
    pub filters: Box<[FilterCounters]>,
    interfaces: Box<[InterfaceCounters]>,
}

impl WorkerCounters {
    /// Counters for interfaces numbered below `interfaces` (at most
    /// [`MAX_INTERFACES`]).
    pub fn new(interfaces: usize) -> WorkerCounters {
        let interfaces = interfaces.min(MAX_INTERFACES);
        WorkerCounters {
            ledgers: std::array::from_fn(|_| Ledger::default()),
            port_tx: std::array::from_fn(|_| Counter::default()),
            poll: LoopCounters::default(),
            stages: StageCounters::default(),
            keepalives: Counter::default(),
            filters: (0..FILTER_NUMBERS).map(|_| FilterCounters::default()).collect(),
            interfaces: (0..interfaces).map(|_| InterfaceCounters::default()).collect(),
        }
    }

    /// The ledger of packets that came from `origin`.
    pub fn ledger(&self, origin: PortId) -> &Ledger {
        &self.ledgers[origin.index().min(ORIGINS - 1)]
    }

    /// The counters of an interface; `None` for [`IfId::NONE`] and numbers out
    /// of range.
    pub fn interface(&self, id: IfId) -> Option<&InterfaceCounters> {
        self.interfaces.get(id.index())
    }

    /// Sum of the imbalances of all origins.
    pub fn imbalance(&self) -> i64 {
        self.ledgers.iter().map(Ledger::imbalance).sum()
    }
}

/// Control's side of conservation. It holds after every call of an engine:
///
/// ```text
/// punts_taken + originated + fragments_created
///     = injected + consumed + Σ dropped[reason] + held
/// ```
///
/// Engines count every packet they take or make, `punts_taken` included; only
/// the control thread writes.
#[derive(Debug)]
pub struct ControlCounters {
    /// Packets taken from workers (notices, which are copies, not counted).
    pub punts_taken: Counter,
    /// Packets control made (ARP, ICMP, fragments' first pieces excluded).
    pub originated: Counter,
    /// Further packets made by cutting an originated one.
    pub fragments_created: Counter,
    /// Packets handed to workers.
    pub injected: Counter,
    /// Packets that ended here as they should (an ARP reply read, an echo
    /// reply that was waited for).
    pub consumed: Counter,
    /// Packets dropped here, by [`ControlDrop::index`].
    pub dropped: [Counter; ControlDrop::COUNT],
    /// Packets waiting now for their next hop. A gauge,
    /// moved by [`ControlCounters::hold`] and [`ControlCounters::release`].
    pub held: AtomicU64,
}

impl Default for ControlCounters {
    fn default() -> ControlCounters {
        ControlCounters {
            punts_taken: Counter::default(),
            originated: Counter::default(),
            fragments_created: Counter::default(),
            injected: Counter::default(),
            consumed: Counter::default(),
            dropped: std::array::from_fn(|_| Counter::default()),
            held: AtomicU64::new(0),
        }
    }
}

impl ControlCounters {
    /// In minus out; 0 when every packet is accounted for.
    pub fn imbalance(&self) -> i64 {
        let come = self.punts_taken.get() + self.originated.get() + self.fragments_created.get();
        let gone = self.injected.get()
            + self.consumed.get()
            + self.dropped.iter().map(Counter::get).sum::<u64>()
            + self.held.load(Relaxed);
        come.wrapping_sub(gone) as i64
    }

    /// Counts a dropped packet.
    pub fn drop_packet(&self, reason: ControlDrop) {
        self.dropped[reason.index()].add(1);
    }

    /// Packets dropped for this reason.
    pub fn dropped_for(&self, reason: ControlDrop) -> u64 {
        self.dropped[reason.index()].get()
    }

    /// Counts a packet that waits from now on.
    pub fn hold(&self) {
        self.held.store(self.held.load(Relaxed) + 1, Relaxed);
    }

    /// Counts packets that no longer wait; where they went is counted apart.
    pub fn release(&self, n: usize) {
        self.held.store(self.held.load(Relaxed).saturating_sub(n as u64), Relaxed);
    }

    /// What `show drops` and the metrics page print. Every reason is there, so
    /// that a series exists before its first packet.
    pub fn view(&self) -> ControlView {
        let dropped = ControlDrop::ALL.iter().map(|reason| {
            let label = reason.label().to_owned();
            (label, self.dropped_for(*reason))
        });
        ControlView {
            punts_taken: self.punts_taken.get(),
            originated: self.originated.get(),
            fragments_created: self.fragments_created.get(),
            injected: self.injected.get(),
            consumed: self.consumed.get(),
            dropped: dropped.collect(),
            held: self.held.load(Relaxed),
            imbalance: self.imbalance(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raising_keeps_the_largest() {
        let counter = Counter::default();
        let seen = [3, 7, 5].map(|n| {
            counter.raise(n);
            counter.get()
        });
        assert_eq!(seen, [3, 7, 7]);
    }
}
