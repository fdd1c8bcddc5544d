//! How a packet's way ends, and the bookkeeping of each end.
//!
//! Every packet of a burst gets exactly one verdict. Only the last stage acts
//! on it (a buffer is moved once), so a packet can neither be sent twice nor
//! forgotten; and the counter that belongs to an end moves where the verdict is
//! given, so that [`Ledger::imbalance`](crate::stats::counters::Ledger) shows
//! any packet that was given two or none.

use crate::tables::epoch::Guard;

use super::burst::{Packets, Slot};
use super::drop::DropReason;
use super::others::Others;
use super::punt::{Notice, Punter};
use super::reassemble::Reassembly;
use crate::buf::PacketBuf;
use crate::exchange::PuntReason;
use crate::ids::{IfId, MAX_PORTS, PortId};
use crate::simd::Isa;
use crate::stats::counters::{Ledger, WorkerCounters};
use crate::tables::Tables;
use crate::tables::interfaces::Interfaces;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict(u8);

impl Verdict {
    /// None yet.
    pub(crate) const UNDECIDED: Verdict = Verdict(u8::MAX);
    /// Counted as dropped or punted; only the buffer is left to be freed.
    pub(crate) const GONE: Verdict = Verdict(u8::MAX - 1);
    /// To be cut into fragments, which are then sent.
    pub(crate) const CUT: Verdict = Verdict(u8::MAX - 2);
    /// To be given to another worker, whose it is (`others`).
    pub(crate) const PASSED: Verdict = Verdict(u8::MAX - 3);

    /// Finished; to be sent on this port.
    #[inline(always)]
    pub(crate) fn send(port: PortId) -> Verdict {
        Verdict(port.0)
    }

    /// The port to send on, if that is the verdict.
    #[inline(always)]
    pub(crate) fn port(self) -> Option<usize> {
        let port = usize::from(self.0);
        (port < MAX_PORTS).then_some(port)
    }
}

/// What the stages share while a burst is handled: the tables as they are now,
/// and where to count.
pub(crate) struct Turn<'t> {
    pub tables: &'t Tables,
    pub guard: &'t Guard,
    pub interfaces: &'t Interfaces,
    pub counters: &'t WorkerCounters,
    /// Where the burst came from.
    pub origin: PortId,
    pub ledger: &'t Ledger,
    pub punter: &'t mut Punter,
    pub reassembly: &'t mut Reassembly,
    pub others: &'t mut Others,
    /// Last identification given to a datagram made here (V4-04).
    pub id: &'t mut u16,
    /// The vector instructions to use.
    pub isa: Isa,
}

impl Turn<'_> {
    /// A fresh identification.
    #[inline(always)]
    pub(crate) fn next_id(&mut self) -> u16 {
        *self.id = self.id.wrapping_add(1);
        *self.id
    }

    /// A fresh identification for the pieces of an IPv6 packet (RFC 8200 §4.5):
    /// the time above, a count below, so that it does not repeat for hours.
    pub(crate) fn next_id6(&mut self) -> u32 {
        let quarter_seconds = self.punter.milliseconds() >> 8;
        quarter_seconds << 16 | u32::from(self.next_id())
    }

    /// Counts a drop of a packet that was to leave by `out_if`.
    pub(crate) fn count_out(&self, reason: DropReason, out_if: IfId) {
        self.ledger.dropped[reason.index()].add(1);
        if let Some(interface) = self.counters.interface(out_if) {
            interface.tx_dropped.add(1);
        }
    }

    /// Counts a drop of a packet that arrived on `in_if`.
    pub(crate) fn count_in(&self, reason: DropReason, in_if: IfId) {
        self.ledger.dropped[reason.index()].add(1);
        if let Some(interface) = self.counters.interface(in_if) {
            interface.rx_dropped.add(1);
        }
    }
}

impl<B: PacketBuf> Packets<B> {
    /// Drops a packet on account of where it came from.
    #[cold]
    pub(crate) fn drop(&mut self, turn: &mut Turn<'_>, slot: Slot, reason: DropReason) {
        self.verdict[slot.at()] = Verdict::GONE;
        turn.count_in(reason, self.in_if[slot.at()]);
    }

    /// Drops a packet on account of where it was to go; where that is nowhere
    /// (a reject route), it counts where it came in.
    #[cold]
    pub(crate) fn drop_out(
        &mut self,
        turn: &mut Turn<'_>,
        slot: Slot,
        reason: DropReason,
        out_if: IfId,
    ) {
        if out_if == IfId::NONE {
            return self.drop(turn, slot, reason);
        }
        self.verdict[slot.at()] = Verdict::GONE;
        turn.count_out(reason, out_if);
    }

    /// Sends control a copy of a packet about to be dropped, for the ICMP error
    /// that the drop calls for. `mtu` is what would have gone through.
    #[cold]
    pub(crate) fn notify(&mut self, turn: &mut Turn<'_>, slot: Slot, reason: DropReason, mtu: u16) {
        let notice = self.notice(slot, mtu);
        turn.punter.notify(reason, notice, self.datagram(slot));
    }

    /// Hands a datagram to control.
    #[cold]
    pub(crate) fn punt(&mut self, turn: &mut Turn<'_>, slot: Slot, reason: PuntReason) {
        let notice = self.notice(slot, 0);
        let outcome = turn.punter.punt(reason, notice, self.datagram(slot));
        self.punted(turn, slot, reason, outcome);
    }

    /// Counts a punt, or the drop it became.
    pub(crate) fn punted(
        &mut self,
        turn: &mut Turn<'_>,
        slot: Slot,
        reason: PuntReason,
        outcome: Result<(), DropReason>,
    ) {
        match outcome {
            Ok(()) => {
                turn.ledger.punted[reason.index()].add(1);
                self.verdict[slot.at()] = Verdict::GONE;
            }
            Err(refused) => self.drop(turn, slot, refused),
        }
    }

    /// What control is told beside the bytes.
    pub(crate) fn notice(&self, slot: Slot, mtu: u16) -> Notice {
        Notice {
            in_if: self.in_if[slot.at()],
            next_hop: self.hop[slot.at()],
            mtu,
            link_group: self.headers.group.contains(slot),
            originated: self.headers.originated.contains(slot),
        }
    }

    /// The datagram of a packet that passed validation, without what lies behind
    /// its end.
    pub(crate) fn datagram(&self, slot: Slot) -> &[u8] {
        let data = self.burst.get(slot.at()).map_or(&[][..], PacketBuf::data);
        let from = usize::from(self.l3[slot.at()]).min(data.len());
        let to = (from + self.total(slot)).min(data.len());
        &data[from..to]
    }
}
