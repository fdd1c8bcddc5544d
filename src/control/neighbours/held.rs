//! Packets that wait for a neighbour: bounded per neighbour, in number and in
//! bytes altogether.

use std::collections::VecDeque;

use super::NeighbourConfig;
use crate::control::tally::ControlDrop;
use crate::exchange::InjectKind;
use crate::ids::IfId;
use crate::stats::counters::ControlCounters;

/// A packet held, or given up because its neighbour did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The interface it arrived on.
    pub in_if: IfId,
    /// Made by control, not forwarded.
    pub originated: bool,
    /// The IPv4 datagram as received.
    pub bytes: Box<[u8]>,
}

impl Held {
    pub(super) fn inject_kind(&self) -> InjectKind {
        if self.originated {
            InjectKind::Originate
        } else {
            InjectKind::Forward { in_if: self.in_if }
        }
    }
}

/// How much is held altogether.
#[derive(Debug, Default)]
pub(super) struct Holding {
    packets: usize,
    bytes: usize,
}

impl Holding {
    /// Holds a packet at the end of `queue`. The newest displaces the oldest
    /// of its neighbour (RFC 1122 §2.3.2.2 wants at least the latest kept);
    /// with no room altogether it is dropped.
    pub fn push(
        &mut self,
        config: &NeighbourConfig,
        counters: &ControlCounters,
        queue: &mut VecDeque<Held>,
        packet: Held,
    ) {
        let len = packet.bytes.len();
        let crowded = |holding: &Holding, queue: &VecDeque<Held>| {
            queue.len() >= config.held_each
                || holding.packets >= config.held_packets
                || holding.bytes + len > config.held_bytes
        };
        while crowded(self, queue) {
            let Some(oldest) = queue.pop_front() else {
                return counters.drop_packet(ControlDrop::HoldFull);
            };
            self.forget(counters, &oldest);
            counters.drop_packet(ControlDrop::HeldDisplaced);
        }
        self.packets += 1;
        self.bytes += len;
        counters.hold();
        queue.push_back(packet);
    }

    /// Takes all that `queue` holds. The caller counts where it goes.
    pub fn take(
        &mut self,
        counters: &ControlCounters,
        queue: &mut VecDeque<Held>,
    ) -> VecDeque<Held> {
        let packets = std::mem::take(queue);
        for packet in &packets {
            self.forget(counters, packet);
        }
        packets
    }

    fn forget(&mut self, counters: &ControlCounters, packet: &Held) {
        self.packets -= 1;
        self.bytes -= packet.bytes.len();
        counters.release(1);
    }
}
