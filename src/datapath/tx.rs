//! Output: a burst per port, filled by the bursts of one turn, sent when full
//! and at the end of the turn.
//!
//! A port's output keeps *runs* beside the buffers: so many packets in a row
//! from the same origin through the same interface. So counting costs a few
//! stores per run and not per packet, and still tells whose packets the port
//! did not take.

use arrayvec::ArrayVec;

use super::burst::{Packets, Slot};
use super::drop::DropReason;
use super::fragment;
use super::verdict::{Turn, Verdict};
use crate::buf::{BURST, Burst, PacketBuf, PacketIo};
use crate::ids::{IfId, MAX_PORTS, PortId};
use crate::meeting::{MeetingEnd, Parcel};
use crate::stats::counters::WorkerCounters;

/// Packets in a row with the same origin and interface.
#[derive(Clone, Copy, Debug)]
struct Run {
    origin: PortId,
    out_if: IfId,
    packets: usize,
    bytes: u64,
}

/// What waits for one port.
struct Output<B> {
    burst: Burst<B>,
    runs: ArrayVec<Run, BURST>,
}

/// What waits for all ports.
pub(crate) struct Outputs<B> {
    ports: Box<[Output<B>; MAX_PORTS]>,
    /// Ports with something waiting, a bit each.
    waiting: u32,
    /// Buffers to be freed.
    dead: Burst<B>,
    /// Where packets go that another worker is to have.
    pub(crate) meeting: Option<MeetingEnd<B>>,
}

const _: () = assert!(MAX_PORTS <= u32::BITS as usize);

impl<B: PacketBuf> Outputs<B> {
    pub(crate) fn new() -> Outputs<B> {
        let output = |_| Output { burst: Burst::new(), runs: ArrayVec::new() };
        Outputs {
            ports: Box::new(std::array::from_fn(output)),
            waiting: 0,
            dead: Burst::new(),
            meeting: None,
        }
    }

    /// Acts on the verdicts: each buffer of the burst moves into a port's
    /// output, is cut into several that do, or is freed.
    #[inline(always)]
    pub(crate) fn dispatch<I: PacketIo<Buf = B>>(
        &mut self,
        io: &mut I,
        packets: &mut Packets<B>,
        turn: &mut Turn<'_>,
    ) {
        if self.take_whole(packets, turn) {
            return;
        }
        let mut burst = std::mem::take(&mut packets.burst);
        for (index, mut buf) in burst.drain(..).enumerate() {
            let slot = Slot::new(index);
            let verdict = packets.verdict[slot.at()];
            if let Some(port) = verdict.port() {
                if packets.unended.contains(slot) {
                    packets.endings[slot.at()].fill(&mut buf, &turn.tables.sequences);
                }
                let out_if = packets.out_if[slot.at()];
                self.push(io, turn.counters, port, buf, turn.origin, out_if);
            } else if verdict == Verdict::CUT {
                fragment::cut(self, io, packets, turn, slot, buf);
            } else if verdict == Verdict::PASSED {
                self.pass_on(io, packets, turn, slot, buf);
            } else {
                debug_assert_eq!(verdict, Verdict::GONE, "packet {index} was forgotten");
                self.discard(io, buf);
            }
        }
        io.free(&mut self.dead);
    }

    /// What mostly happens: all packets of the burst leave by one interface,
    /// whose port has nothing waiting. The burst is then the port's, as it is,
    /// in one run. False, and nothing done, if it is otherwise.
    #[inline(always)]
    fn take_whole(&mut self, packets: &mut Packets<B>, turn: &Turn<'_>) -> bool {
        let n = packets.burst.len().min(BURST);
        let (verdict, out_if) = (packets.verdict[0], packets.out_if[0]);
        let Some(port) = verdict.port() else { return false };
        let port = port % MAX_PORTS;
        let verdicts = packets.verdict[..n].iter().fold(true, |all, v| all & (*v == verdict));
        let interfaces = packets.out_if[..n].iter().fold(true, |all, i| all & (*i == out_if));
        let output = &mut self.ports[port];
        if n == 0 || !verdicts || !interfaces || !output.burst.is_empty() {
            return false;
        }
        if !packets.unended.is_empty() {
            packets.end_all(&turn.tables.sequences);
        }
        let bytes = packets.burst.iter().map(|buf| buf.data().len() as u64).sum();
        output.runs.push(Run { origin: turn.origin, out_if, packets: n, bytes });
        std::mem::swap(&mut output.burst, &mut packets.burst);
        self.waiting |= 1 << port;
        true
    }

    /// Adds a finished frame to a port's output.
    #[inline(always)]
    pub(crate) fn push<I: PacketIo<Buf = B>>(
        &mut self,
        io: &mut I,
        counters: &WorkerCounters,
        port: usize,
        buf: B,
        origin: PortId,
        out_if: IfId,
    ) {
        let port = port % MAX_PORTS;
        let bytes = buf.data().len() as u64;
        if self.ports[port].burst.is_full() {
            self.send(io, counters, port);
        }
        self.waiting |= 1 << port;
        let output = &mut self.ports[port];
        match output.runs.last_mut() {
            Some(run) if run.origin == origin && run.out_if == out_if => {
                run.packets += 1;
                run.bytes += bytes;
            }
            _ => output.runs.push(Run { origin, out_if, packets: 1, bytes }),
        }
        output.burst.push(buf);
    }

    /// Gives a packet to the worker whose it is.
    #[cold]
    fn pass_on<I: PacketIo<Buf = B>>(
        &mut self,
        io: &mut I,
        packets: &Packets<B>,
        turn: &Turn<'_>,
        slot: Slot,
        buf: B,
    ) {
        let in_if = packets.in_if[slot.at()];
        let parcel = Parcel {
            buf,
            origin: turn.origin,
            in_if,
            l3: packets.l3[slot.at()],
            group: packets.headers.group.contains(slot),
            six: packets.six.contains(slot),
        };
        let refused = match &mut self.meeting {
            Some(meeting) => meeting.give(turn.others.goes_to(slot), parcel).err(),
            None => Some(parcel.buf),
        };
        match refused {
            None => turn.ledger.handed.add(1),
            Some(buf) => {
                turn.count_in(DropReason::SpreadQueueFull, in_if);
                self.discard(io, buf);
            }
        }
    }

    /// Puts a buffer among those to be freed.
    pub(crate) fn discard<I: PacketIo<Buf = B>>(&mut self, io: &mut I, buf: B) {
        if self.dead.is_full() {
            io.free(&mut self.dead);
        }
        self.dead.push(buf);
    }

    /// Sends all that waits.
    pub(crate) fn flush<I: PacketIo<Buf = B>>(&mut self, io: &mut I, counters: &WorkerCounters) {
        while self.waiting != 0 {
            let port = self.waiting.trailing_zeros() as usize;
            self.send(io, counters, port);
        }
    }

    /// Sends what waits for one port; what the port does not take is dropped.
    fn send<I: PacketIo<Buf = B>>(&mut self, io: &mut I, counters: &WorkerCounters, port: usize) {
        self.waiting &= !(1 << port);
        let output = &mut self.ports[port];
        let mut sent = io.tx(PortId(port as u8), &mut output.burst);
        counters.port_tx[port].add(sent as u64);
        let mut refused = output.burst.iter();
        for run in output.runs.drain(..) {
            let gone = run.packets.min(sent);
            sent -= gone;
            let lost = run.packets - gone;
            let lost_bytes: usize = refused.by_ref().take(lost).map(|buf| buf.data().len()).sum();
            count(counters, &run, gone as u64, lost as u64, run.bytes - lost_bytes as u64);
        }
        if !output.burst.is_empty() {
            io.free(&mut output.burst);
        }
    }
}

/// Counts the packets of a run that were sent, and those that were not.
fn count(counters: &WorkerCounters, run: &Run, sent: u64, lost: u64, bytes: u64) {
    let ledger = counters.ledger(run.origin);
    ledger.sent.add(sent);
    let interface = counters.interface(run.out_if);
    if let Some(interface) = interface {
        interface.tx_packets.add(sent);
        interface.tx_bytes.add(bytes);
    }
    if lost > 0 {
        ledger.dropped[DropReason::TxQueueFull.index()].add(lost);
        if let Some(interface) = interface {
            interface.tx_dropped.add(lost);
        }
    }
}
