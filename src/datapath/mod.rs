//! The path: what happens to a burst between a port's rx and a port's tx.
//!
//! ```text
//!   rx burst ─▶ classify ─┐                                ┌──────────────────────────┐
//!   inbox ────▶ inject ───┴▶ ipv4::sort ─┬─▶ lookup ─▶ forward ─▶ rewrite │ encap │ cut│
//!                             ▲          │                │   (own address)             │
//!                             │          └─▶ local ◀──────┘                             │
//!                   next round│               │ tunnel protocols                        │
//!                             └── decap ◀─────┘                                         │
//!                                  verdicts ─▶ tx::dispatch ─▶ a burst per port ◀───────┘
//! ```
//!
//! IPv6 packets are a set of their own, with columns of their own (`headers6`):
//! `ipv6` sorts, looks up and forwards them, `local6` serves those for us. Taking
//! a tunnel header off may change a packet's family.
//!
//! [`Path::receive`] and [`Path::inject`] are the whole order of things. A
//! stage is a file; it works on the packets of a set, all of them, then the
//! next does. A packet taken out of a tunnel starts the next round, so nesting
//! is bounded by the number of rounds. Buffers stay where they are until every
//! packet has its verdict, then each moves once.
//!
//! Nothing here allocates, locks, makes a system call or formats
//! (the rules in this module's tests and `tests/path_alloc.rs` see to that). Tables are
//! read under the worker's guard; written are only the worker's own counters.
#![deny(clippy::disallowed_types)]

pub mod drop;

mod burst;
mod classify;
mod decap;
mod door;
mod ecn;
mod encap;
mod encap6;
mod ending;
mod filter;
mod forward;
mod fragment;
mod gre;
mod headers;
mod headers6;
mod inject;
mod ipv4;
mod ipv6;
mod keepalive;
mod laps;
mod learn;
mod local;
mod local6;
mod lookup;
mod minimal;
mod mss;
mod others;
mod punt;
mod reassemble;
mod rewrite;
mod tally;
mod tx;
mod udp;
mod verdict;

#[cfg(test)]
mod tests;

use crate::buf::{Burst, PacketBuf, PacketIo};
use crate::exchange::WorkerEnd;
use crate::ids::PortId;
use crate::meeting::MeetingEnd;
use crate::simd::{self, Isa};
use crate::stats::counters::{Stage, WorkerCounters};
use crate::tables::Tables;
use crate::tables::epoch::Guard;
use burst::{Packets, Set};
use forward::V4;
pub(crate) use headers::{GROUPS, Headers, LANES, Lanes, Row, WORDS};
pub(crate) use ipv4::judge_lanes;
pub(crate) use keepalive::PROBE_IDENT;
use laps::Laps;
use others::Others;
use punt::Punter;
use reassemble::Reassembly;
use tx::Outputs;
use verdict::Turn;

/// Most tunnel headers taken off one packet.
pub const MAX_NESTING: usize = 4;

/// One worker's path: its burst, its outputs, its end of the exchange.
pub(crate) struct Path<I: PacketIo> {
    packets: Box<Packets<I::Buf>>,
    opened: Box<decap::Opened>,
    outputs: Outputs<I::Buf>,
    own: Own,
    laps: Laps,
}

/// What a worker's turns go on with.
struct Own {
    punter: Punter,
    reassembly: Box<Reassembly>,
    others: Others,
    id: u16,
    isa: Isa,
}

/// The shared things a burst is handled against.
#[derive(Clone, Copy)]
pub(crate) struct Shared<'t> {
    pub tables: &'t Tables,
    pub counters: &'t WorkerCounters,
    pub guard: &'t Guard,
}

impl<I: PacketIo> Path<I> {
    pub(crate) fn new(io: &mut I, end: WorkerEnd, first_id: u16) -> Path<I> {
        let own = Own {
            reassembly: Box::new(Reassembly::new(room(io), io.ticks_per_second())),
            others: Others::NONE,
            punter: Punter::new(end, io.ticks_per_second(), io.ticks()),
            id: first_id,
            isa: Isa::detect(),
        };
        Path {
            packets: Box::new(Packets::new()),
            opened: Box::new(decap::Opened::new()),
            outputs: Outputs::new(),
            own,
            laps: Laps::default(),
        }
    }

    /// Tells the time, once per turn.
    pub(crate) fn set_now(&mut self, ticks: u64) {
        self.own.punter.now = ticks;
    }

    /// True when control has handed something over: one acquire load.
    pub(crate) fn has_injected(&self) -> bool {
        self.own.punter.end.has_injected()
    }

    /// The burst to receive into: empty.
    pub(crate) fn burst(&mut self) -> &mut Burst<I::Buf> {
        &mut self.packets.burst
    }

    /// Handles the frames in the burst, received on `port`.
    pub(crate) fn receive(&mut self, io: &mut I, shared: Shared<'_>, port: PortId) {
        let count = self.packets.burst.len() as u64;
        let bytes = self.own.isa.run(Receive { path: self, io, shared, port });
        let ledger = shared.counters.ledger(port);
        ledger.received.add(count);
        ledger.received_bytes.add(bytes);
    }

    /// Handles the frames in the burst, received on `port` by another worker,
    /// which counted them.
    pub(crate) fn take_over(&mut self, io: &mut I, shared: Shared<'_>, port: PortId) {
        shared.counters.ledger(port).taken.add(self.packets.burst.len() as u64);
        self.own.isa.run(Receive { path: self, io, shared, port });
    }

    /// Handles a burst of what control handed over; gives how many packets.
    pub(crate) fn inject(&mut self, io: &mut I, shared: Shared<'_>) -> usize {
        let Path { packets, opened, outputs, own, laps } = self;
        // These are not what a burst's time is asked for.
        laps.stop();
        let mut turn = turn(shared, PortId::CONTROL, own);
        let mut waiting = inject::Waiting::NONE;
        let taken = inject::take(io, outputs, packets, &mut turn, &mut waiting);
        let inject::Waiting { pending, directed } = waiting;
        if !directed.is_empty() {
            inject::direct(packets, &mut turn, directed, &mut lookup::none());
        }
        rounds(packets, opened, &mut turn, pending, laps, &|| io.ticks());
        outputs.dispatch(io, packets, &mut turn);
        taken
    }

    /// Meets other workers: fragments of a datagram that is put together here
    /// come from the workers they arrived at.
    pub(crate) fn with_meeting(&mut self, end: MeetingEnd<I::Buf>) {
        let (number, workers) = end.place();
        self.own.others.share(number, workers);
        self.outputs.meeting = Some(end);
    }

    /// Rings to [`Path::meet`] at.
    pub(crate) fn inlets(&self) -> usize {
        self.outputs.meeting.as_ref().map_or(0, MeetingEnd::inlets)
    }

    /// Handles what another worker gave of one port's; gives how many packets.
    pub(crate) fn meet(&mut self, io: &mut I, shared: Shared<'_>, inlet: usize) -> usize {
        let Path { packets, opened, outputs, own, laps } = self;
        let waiting = outputs.meeting.as_ref().and_then(|meeting| meeting.waiting(inlet));
        let Some(origin) = waiting else { return 0 };
        laps.stop();
        let mut turn = turn(shared, origin, own);
        let mut pending = Set::EMPTY;
        let taken = inject::take_parcels(outputs, packets, &mut turn, inlet, &mut pending);
        rounds(packets, opened, &mut turn, pending, laps, &|| io.ticks());
        outputs.dispatch(io, packets, &mut turn);
        taken
    }

    /// True when fragments have waited too long for others.
    pub(crate) fn is_due(&self) -> bool {
        self.own.reassembly.is_due(self.own.punter.now)
    }

    /// Gives those up.
    pub(crate) fn expire(&mut self, shared: Shared<'_>) {
        reassemble::expire(&mut turn(shared, PortId::CONTROL, &mut self.own));
    }

    /// Gives no other worker anything any more.
    pub(crate) fn close(&mut self) {
        self.own.others.share(0, 1);
        self.outputs.meeting.iter_mut().for_each(MeetingEnd::close);
    }

    /// True when no other worker will give anything any more.
    pub(crate) fn is_over(&self) -> bool {
        self.outputs.meeting.as_ref().is_none_or(MeetingEnd::is_over)
    }

    /// Drops what waits here.
    pub(crate) fn end(&mut self, shared: Shared<'_>) {
        self.own.reassembly.end(shared);
    }

    /// Sends all that waits in the outputs.
    pub(crate) fn flush(&mut self, io: &mut I, counters: &WorkerCounters) {
        self.outputs.flush(io, counters);
        self.laps.lap(Stage::Transmit, &counters.stages, || io.ticks());
        self.laps.stop();
    }
}

/// A burst from rx to the ports' outputs, for whichever instructions there are;
/// gives the bytes of all frames.
struct Receive<'a, 't, I: PacketIo> {
    path: &'a mut Path<I>,
    io: &'a mut I,
    shared: Shared<'t>,
    port: PortId,
}

impl<I: PacketIo> simd::Job for Receive<'_, '_, I> {
    type Output = u64;

    #[inline(always)]
    fn run(self) -> u64 {
        let Receive { path, io, shared, port } = self;
        let Path { packets, opened, outputs, own, laps } = path;
        let stages = &shared.counters.stages;
        let count = packets.burst.len();
        laps.begin(|| io.ticks());
        let mut turn = turn(shared, port, own);
        let mut pending = Set::EMPTY;
        let bytes = classify::classify(packets, &mut turn, &mut pending);
        laps.lap(Stage::Classify, stages, || io.ticks());
        rounds(packets, opened, &mut turn, pending, laps, &|| io.ticks());
        outputs.dispatch(io, packets, &mut turn);
        laps.lap(Stage::Dispatch, stages, || io.ticks());
        laps.end(count, stages);
        bytes
    }
}

#[inline(always)]
fn turn<'t>(shared: Shared<'t>, origin: PortId, own: &'t mut Own) -> Turn<'t> {
    let Shared { tables, counters, guard } = shared;
    let Own { punter, reassembly, others, id, isa } = own;
    let interfaces = tables.interfaces.load(guard);
    let ledger = counters.ledger(origin);
    let isa = *isa;
    Turn {
        tables,
        guard,
        interfaces,
        counters,
        origin,
        ledger,
        punter,
        reassembly,
        others,
        id,
        isa,
    }
}

/// The largest datagram that a buffer takes; what a usual one takes if there is
/// none to look at.
fn room<I: PacketIo>(io: &mut I) -> usize {
    const USUAL: usize = 2048;
    let Some(buf) = io.alloc() else { return USUAL };
    let room = buf.tailroom();
    let mut back = Burst::new();
    back.push(buf);
    io.free(&mut back);
    room
}

/// Lookup and decapsulation in turn, until every packet has its verdict.
///
/// A round takes one tunnel header off at most; the last lets none through. An
/// echo request answered here comes round once more, as a reply.
#[inline(always)]
fn rounds<'t, B: crate::buf::PacketBuf>(
    packets: &mut Packets<B>,
    opened: &mut decap::Opened,
    turn: &mut Turn<'t>,
    mut pending: Set,
    laps: &mut Laps,
    clock: &impl Fn() -> u64,
) {
    let stages = &turn.counters.stages;
    let mut adjacencies = lookup::none();
    for round in 0.. {
        let six = pending & packets.six;
        let (transit, mut local) = ipv4::sort(packets, turn, pending & !six);
        if !transit.is_empty() {
            lookup::lookup(packets, turn, transit, &mut adjacencies);
            laps.lap(Stage::Lookup, stages, clock);
            forward::forward::<V4, B>(packets, turn, transit, &adjacencies, &mut local);
            laps.lap(Stage::Forward, stages, clock);
        }
        if !six.is_empty() {
            local |= ipv6::route(packets, turn, six, &mut adjacencies);
        }
        if local.is_empty() {
            return;
        }
        pending = Set::EMPTY;
        let local6 = local & packets.six;
        let mut tunnelled = local::serve(packets, turn, local & !local6, &mut pending);
        if !local6.is_empty() {
            tunnelled |= local6::serve(packets, turn, local6, &mut pending);
        }
        decap::open(packets, turn, tunnelled, opened);
        ipv4::validate(packets, turn);
        decap::admit(packets, turn, opened, round >= MAX_NESTING, &mut pending);
        packets.merged = packets.merged & !tunnelled;
        laps.lap(Stage::Local, stages, clock);
    }
}
