//! Counting for an interface in registers for as long as packets keep meeting
//! the same one, which bursts mostly do.

use crate::ids::IfId;
use crate::stats::counters::{InterfaceCounters, WorkerCounters};

/// Which of an interface's counters a tally moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Received.
    Rx,
    /// Sent.
    Tx,
}

/// Packets and bytes not yet stored.
pub(crate) struct Tally<'t> {
    counters: &'t WorkerCounters,
    way: Way,
    interface: IfId,
    packets: u64,
    bytes: u64,
}

impl<'t> Tally<'t> {
    pub(crate) fn new(counters: &'t WorkerCounters, way: Way) -> Tally<'t> {
        Tally { counters, way, interface: IfId::NONE, packets: 0, bytes: 0 }
    }

    #[inline(always)]
    pub(crate) fn add(&mut self, interface: IfId, packets: u64, bytes: u64) {
        if interface != self.interface {
            self.store();
            self.interface = interface;
        }
        self.packets += packets;
        self.bytes += bytes;
    }

    #[inline]
    fn store(&mut self) {
        if let Some(interface) = self.counters.interface(self.interface) {
            let InterfaceCounters { rx_packets, rx_bytes, tx_packets, tx_bytes, .. } = interface;
            let (packets, bytes) = match self.way {
                Way::Rx => (rx_packets, rx_bytes),
                Way::Tx => (tx_packets, tx_bytes),
            };
            packets.add(self.packets);
            bytes.add(self.bytes);
        }
        self.packets = 0;
        self.bytes = 0;
    }
}

impl Drop for Tally<'_> {
    fn drop(&mut self) {
        self.store();
    }
}
