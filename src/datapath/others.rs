//! The other workers, as one of them sees them: whose a packet is that only one
//! may handle. It goes there by a ring (`meeting`), once per round at most.
//!
//! ```text
//!   fragments of a datagram to us        one reassembles it: by a hash of what they share
//!   packets into a numbered tunnel       one numbers them: by the tunnel
//! ```

use super::burst::{Packets, Slot};
use super::verdict::Verdict;
use crate::buf::BURST;
use crate::ids::IfId;

/// Which of how many workers this is, and what of a burst is for others.
pub(crate) struct Others {
    number: usize,
    workers: usize,
    /// To whom the packets of this burst go that are another's.
    to: [u8; BURST],
}

impl Others {
    /// All is for this worker.
    pub(crate) const NONE: Others = Others { number: 0, workers: 1, to: [0; BURST] };

    /// From now on this is one of several.
    pub(crate) fn share(&mut self, number: usize, workers: usize) {
        (self.number, self.workers) = (number, workers.max(1));
    }

    /// The worker that a packet with [`Verdict::PASSED`] goes to.
    pub(crate) fn goes_to(&self, slot: Slot) -> usize {
        self.to[slot.at()].into()
    }

    /// Whose it is what has this hash. (Buckets are by its lower bits.)
    pub(crate) fn owner(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.workers as u64) >> 32) as usize
    }

    /// Whose it is to send into a tunnel that numbers its packets.
    pub(crate) fn sender(&self, tunnel: IfId) -> usize {
        tunnel.index() % self.workers
    }

    pub(crate) fn is_other(&self, worker: usize) -> bool {
        worker != self.number
    }

    /// The packet is for that worker.
    pub(crate) fn pass<B>(&mut self, packets: &mut Packets<B>, slot: Slot, worker: usize) {
        self.to[slot.at()] = worker as u8;
        packets.verdict[slot.at()] = Verdict::PASSED;
    }
}
