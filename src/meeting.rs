//! Where packets meet that one worker has to have together: rings between all
//! workers for fragments that belong to another's reassembly, and for what enters a
//! tunnel that another numbers (`datapath::others`).
//!
//! A worker that ends drops its rings' giving ends, then takes until all others
//! have: as in `spread`, nothing is lost. A full ring drops
//! (`spread_queue_full`); nobody waits.
#![deny(clippy::disallowed_types)]

use std::sync::atomic::{Ordering, fence};

use rtrb::{Consumer, Producer, RingBuffer};

use crate::ids::{IfId, PortId};

/// Frames a ring holds: what arrives in half a millisecond, at half a million
/// fragments a second.
pub const RING: usize = 256;

/// Most workers that meet.
pub const MOST_WORKERS: usize = 64;

/// A frame on its way, and what the giver knows of it.
pub struct Parcel<B> {
    /// As received, or as it came out of a tunnel.
    pub buf: B,
    /// The port it came in by.
    pub origin: PortId,
    /// The interface it counted for.
    pub in_if: IfId,
    /// Where its IP header starts.
    pub l3: u8,
    /// Arrived as a link-layer broadcast or multicast.
    pub group: bool,
    /// It is IPv6.
    pub six: bool,
}

/// One worker's end.
pub struct MeetingEnd<B> {
    number: usize,
    workers: usize,
    /// By worker; none to itself.
    outlets: Vec<Option<Producer<Parcel<B>>>>,
    inlets: Vec<Consumer<Parcel<B>>>,
}

/// The ends of all workers, each connected to each other; none for a single one.
/// `ring` is how many frames each ring holds.
pub fn meet<B>(workers: usize, ring: usize) -> Vec<MeetingEnd<B>> {
    if !(2..=MOST_WORKERS).contains(&workers) {
        return Vec::new();
    }
    let end = |number| MeetingEnd {
        number,
        workers,
        outlets: (0..workers).map(|_| None).collect(),
        inlets: Vec::with_capacity(workers - 1),
    };
    let mut ends: Vec<MeetingEnd<B>> = (0..workers).map(end).collect();
    for giver in 0..workers {
        for taker in (0..workers).filter(|taker| *taker != giver) {
            let (give, take) = RingBuffer::new(ring);
            ends[giver].outlets[taker] = Some(give);
            ends[taker].inlets.push(take);
        }
    }
    ends
}

impl<B> MeetingEnd<B> {
    /// Which worker this is, and of how many.
    pub fn place(&self) -> (usize, usize) {
        (self.number, self.workers)
    }

    /// Gives a frame to a worker; gives it back if there is no room.
    pub fn give(&mut self, worker: usize, parcel: Parcel<B>) -> Result<(), B> {
        match self.outlets.get_mut(worker) {
            Some(Some(ring)) => {
                ring.push(parcel).map_err(|rtrb::PushError::Full(parcel)| parcel.buf)
            }
            _ => Err(parcel.buf),
        }
    }

    /// Rings to take from.
    pub fn inlets(&self) -> usize {
        self.inlets.len()
    }

    /// The port of what waits first in a ring, if anything does.
    pub fn waiting(&self, inlet: usize) -> Option<PortId> {
        Some(self.inlets.get(inlet)?.peek().ok()?.origin)
    }

    /// Takes what waits first in a ring, if it came in by `origin`.
    pub fn take(&mut self, inlet: usize, origin: PortId) -> Option<Parcel<B>> {
        let ring = self.inlets.get_mut(inlet)?;
        ring.peek().ok().filter(|parcel| parcel.origin == origin)?;
        ring.pop().ok()
    }

    /// Gives nothing any more.
    pub fn close(&mut self) {
        self.outlets.iter_mut().for_each(|outlet| *outlet = None);
    }

    /// True when nothing will come any more: every giver has closed, and its
    /// ring is empty.
    pub fn is_over(&self) -> bool {
        self.inlets.iter().all(|ring| {
            let abandoned = ring.is_abandoned();
            // What was put in before it closed is then seen: rtrb asks for it.
            fence(Ordering::Acquire);
            abandoned && ring.is_empty()
        })
    }
}
