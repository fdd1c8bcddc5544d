//! How the path and control hand packets to each other: bounded rings with one
//! producer and one consumer each, of slots allocated once.
//!
//! ```text
//!   worker ── full punt slots ──▶ control        worker ◀── full inject slots ── control
//!   worker ◀── empty punt slots ── control       worker ── empty inject slots ──▶ control
//! ```
//!
//! Neither side ever waits for the other: no empty slot means the packet is
//! dropped and counted. Control never sees an mbuf: the worker copies the bytes
//! into a slot and frees the mbuf itself, and allocates one for what control
//! injects, because mempools and rings are not preemptible.
//!
//! A slot is either a **punt** (the packet itself moves to control) or a
//! **notice** (the packet was dropped and counted on the worker; control gets a
//! copy so that it can send the ICMP error the drop calls for).

use crate::datapath::drop::{DropReason, reasons};
use crate::ids::{IfId, NextHopId, PortId};

reasons! {
    /// Why a packet went to control.
    pub enum PuntReason {
        /// ARP (RFC 826).
        Arp = "arp",
        /// ICMP addressed to us.
        LocalIcmp = "local_icmp",
        /// The next hop's link address is not known yet: control holds the packet and asks.
        Resolve = "resolve",
        /// IPv6 neighbour discovery (RFC 4861).
        Nd = "nd",
        /// A keepalive or probe of ours that came back.
        Liveness = "liveness",
        /// A packet with the key of a tunnel that learns its far end, from elsewhere.
        Learn = "learn",
    }
}

/// What a punt slot carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The packet itself.
    Punt(PuntReason),
    /// A copy of a packet dropped for this reason.
    Notice(DropReason),
}

/// A packet (or a copy) on its way to control.
#[derive(Debug)]
pub struct PuntSlot {
    /// Why.
    pub cause: Cause,
    /// The logical interface it arrived on ([`IfId::NONE`]: made by control).
    /// After decapsulation, the tunnel.
    pub in_if: IfId,
    /// The adjacency met, if the lookup was reached.
    pub next_hop: NextHopId,
    /// For [`DropReason::FragmentationNeeded`]: the largest datagram that
    /// would have gone through (RFC 1191, RFC 8201).
    pub mtu: u16,
    /// Arrived as a link-layer broadcast or multicast (no ICMP error then).
    pub link_group: bool,
    /// Made by control, not forwarded: to be injected again as
    /// [`InjectKind::Originate`] after resolution.
    pub originated: bool,
    /// [`PuntReason::Arp`]: the frame from its Ethernet header on, VLAN tag
    /// removed. [`PuntReason::Learn`]: the outer and the inner source, 16 bytes
    /// each, of IPv4 the mapped address. Everything else: the datagram as received, TTL untouched, of the
    /// family its first four bits say.
    pub bytes: Bytes,
}

/// What the worker does with an injected packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectKind {
    /// A finished frame (link header, VLAN tag included) for this port.
    Frame {
        /// The port to send on.
        port: PortId,
        /// The interface whose transmit counters move.
        out_if: IfId,
    },
    /// A datagram of either family made here: looked up, TTL untouched.
    Originate,
    /// A datagram made here for a tunnel, whatever routes say of it: straight
    /// to the tunnel's adjacency, TTL untouched.
    Into {
        /// The tunnel; should the adjacency be another's by now, the packet
        /// is dropped.
        tunnel: IfId,
        /// Its adjacency.
        next_hop: NextHopId,
    },
    /// A held datagram on its way through: looked up, TTL decremented.
    Forward {
        /// Where it had arrived.
        in_if: IfId,
    },
}

/// A packet on its way from control to a worker.
#[derive(Debug)]
pub struct InjectSlot {
    /// What to do with it.
    pub kind: InjectKind,
    /// The bytes, as `kind` says.
    pub bytes: Bytes,
}

/// A fixed block with a length: the storage of a slot.
#[derive(Debug)]
pub struct Bytes {
    block: Box<[u8]>,
    len: usize,
}

impl Bytes {
    /// An empty block of `room` bytes.
    pub fn with_room(room: usize) -> Bytes {
        Bytes { block: vec![0; room].into_boxed_slice(), len: 0 }
    }

    /// Copies `bytes` in; false, and nothing done, if they do not fit.
    #[must_use]
    pub fn fill(&mut self, bytes: &[u8]) -> bool {
        let Some(target) = self.block.get_mut(..bytes.len()) else { return false };
        target.copy_from_slice(bytes);
        self.len = bytes.len();
        true
    }

    /// The bytes.
    pub fn get(&self) -> &[u8] {
        &self.block[..self.len]
    }
}

/// Slots of an exchange of the appliance, in each direction.
pub const SLOTS: usize = 2048;

/// Sizes of an exchange.
#[derive(Clone, Copy, Debug)]
pub struct ExchangeConfig {
    /// Slots in each direction.
    pub slots: usize,
    /// Bytes per slot: at least the largest frame.
    pub room: usize,
}

/// The worker's end.
#[derive(Debug)]
pub struct WorkerEnd {
    empty: rtrb::Consumer<Box<PuntSlot>>,
    full: rtrb::Producer<Box<PuntSlot>>,
    inbox: rtrb::Consumer<Box<InjectSlot>>,
    returns: rtrb::Producer<Box<InjectSlot>>,
    /// An empty slot whose packet was refused: used next.
    spare: Option<Box<PuntSlot>>,
}

impl WorkerEnd {
    /// Hands a packet to control: `write` fills an empty slot and says whether
    /// it could. False when no slot is empty or `write` said no; the caller
    /// then drops the packet.
    #[must_use]
    pub fn punt(&mut self, write: impl FnOnce(&mut PuntSlot) -> bool) -> bool {
        let Some(mut slot) = self.spare.take().or_else(|| self.empty.pop().ok()) else {
            return false;
        };
        if !write(&mut slot) {
            self.spare = Some(slot);
            return false;
        }
        // Both rings have room for every slot there is, so this cannot fail.
        self.full.push(slot).is_ok()
    }

    /// True when something waits in the inbox: one acquire load.
    pub fn has_injected(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// Takes the next injected packet; `read` sees it, then the slot goes back.
    pub fn take<R>(&mut self, read: impl FnOnce(&InjectSlot) -> R) -> Option<R> {
        let slot = self.inbox.pop().ok()?;
        let result = read(&slot);
        // Room for every slot there is: cannot fail.
        let _ = self.returns.push(slot);
        Some(result)
    }
}

/// Control's end of one worker's exchange.
#[derive(Debug)]
pub struct ControlEnd {
    empty: rtrb::Producer<Box<PuntSlot>>,
    full: rtrb::Consumer<Box<PuntSlot>>,
    inbox: rtrb::Producer<Box<InjectSlot>>,
    returns: rtrb::Consumer<Box<InjectSlot>>,
    /// An empty slot whose packet was refused: used next.
    spare: Option<Box<InjectSlot>>,
    room: usize,
}

impl ControlEnd {
    /// Bytes that fit one slot.
    pub fn room(&self) -> usize {
        self.room
    }

    /// Takes the next punt or notice; [`ControlEnd::give_back`] its slot.
    pub fn receive(&mut self) -> Option<Box<PuntSlot>> {
        self.full.pop().ok()
    }

    /// Gives a slot back for the worker to fill again.
    pub fn give_back(&mut self, slot: Box<PuntSlot>) {
        // Room for every slot there is: cannot fail.
        let _ = self.empty.push(slot);
    }

    /// As `receive` and `give_back` in one, for who needs nothing else of `self`.
    pub fn take<R>(&mut self, read: impl FnOnce(&PuntSlot) -> R) -> Option<R> {
        let slot = self.receive()?;
        let result = read(&slot);
        self.give_back(slot);
        Some(result)
    }

    /// Hands a packet to the worker; false when no slot is empty or the bytes
    /// do not fit one.
    #[must_use]
    pub fn inject(&mut self, kind: InjectKind, bytes: &[u8]) -> bool {
        let Some(mut slot) = self.spare.take().or_else(|| self.returns.pop().ok()) else {
            return false;
        };
        if !slot.bytes.fill(bytes) {
            self.spare = Some(slot);
            return false;
        }
        slot.kind = kind;
        self.inbox.push(slot).is_ok()
    }
}

/// Makes the two ends of one worker's exchange.
pub fn exchange(config: ExchangeConfig) -> (WorkerEnd, ControlEnd) {
    let (mut empty_tx, empty_rx) = rtrb::RingBuffer::new(config.slots);
    let (full_tx, full_rx) = rtrb::RingBuffer::new(config.slots);
    let (inbox_tx, inbox_rx) = rtrb::RingBuffer::new(config.slots);
    let (mut returns_tx, returns_rx) = rtrb::RingBuffer::new(config.slots);
    for _ in 0..config.slots {
        let punt = PuntSlot {
            cause: Cause::Punt(PuntReason::Arp),
            in_if: IfId::NONE,
            next_hop: NextHopId::NO_ROUTE,
            mtu: 0,
            link_group: false,
            originated: false,
            bytes: Bytes::with_room(config.room),
        };
        let inject =
            InjectSlot { kind: InjectKind::Originate, bytes: Bytes::with_room(config.room) };
        // The rings were made with exactly this many places.
        let _ = empty_tx.push(Box::new(punt));
        let _ = returns_tx.push(Box::new(inject));
    }
    let worker = WorkerEnd {
        empty: empty_rx,
        full: full_tx,
        inbox: inbox_rx,
        returns: returns_tx,
        spare: None,
    };
    let control = ControlEnd {
        empty: empty_tx,
        full: full_rx,
        inbox: inbox_tx,
        returns: returns_rx,
        spare: None,
        room: config.room,
    };
    (worker, control)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: ExchangeConfig = ExchangeConfig { slots: 2, room: 8 };

    #[test]
    fn a_full_exchange_refuses_and_recovers() {
        let (mut worker, mut control) = exchange(CONFIG);
        let punt = |w: &mut WorkerEnd| w.punt(|slot| slot.bytes.fill(b"abc"));
        assert!(punt(&mut worker) && punt(&mut worker));
        assert!(!punt(&mut worker), "both slots are with control");
        assert_eq!(control.take(|slot| slot.bytes.get().to_vec()), Some(b"abc".to_vec()));
        assert!(punt(&mut worker), "the slot came back");
    }

    #[test]
    fn bytes_that_do_not_fit_cost_no_slot() {
        let (mut worker, mut control) = exchange(CONFIG);
        for _ in 0..10 {
            assert!(!control.inject(InjectKind::Originate, &[0; 9]));
            assert!(!worker.punt(|slot| slot.bytes.fill(&[0; 9])));
        }
        assert!(control.inject(InjectKind::Originate, &[1; 8]));
        assert!(worker.has_injected());
        assert_eq!(worker.take(|slot| slot.bytes.get().len()), Some(8));
        assert!(!worker.has_injected());
    }
}
