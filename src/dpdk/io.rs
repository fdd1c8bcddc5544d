//! The path's hands on the ports: one value per worker, one call per burst.
//!
//! A [`DpdkIo`] claims its queues when it is made and gives them back when it
//! goes, so that no two workers can ever touch one queue (DPDK's queues are
//! not made for that). Buffers go straight between the driver and the burst's
//! own array.

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dpdk_sys::RteMbuf;

use super::{Mbuf, Pool, Port};
use crate::buf::{Burst, PacketIo};
use crate::ids::PortId;

/// Why a worker did not get its queues.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IoError {
    /// The port has no such queue.
    #[error("port `{port}` has no {direction} queue {queue}: there are {queues}")]
    NoQueue {
        /// Port.
        port: String,
        /// `receive` or `transmit`.
        direction: &'static str,
        /// Asked for.
        queue: u16,
        /// How many it has.
        queues: u16,
    },
    /// There is no such port.
    #[error("there is no port number {0}")]
    NoPort(u8),
    /// Another worker has the queue.
    #[error("{direction} queue {queue} of port `{port}` belongs to another worker")]
    Taken {
        /// Port.
        port: String,
        /// `receive` or `transmit`.
        direction: &'static str,
        /// Asked for.
        queue: u16,
    },
    /// A port puts its packets into another pool than the worker's.
    #[error("port `{port}` uses another buffer pool than the worker")]
    OtherPool {
        /// Port.
        port: String,
    },
}

/// One port as one worker sees it.
#[derive(Debug)]
struct Lane {
    ethdev: u16,
    tx_queue: u16,
    /// Receive queues that are ours, a bit each.
    rx_queues: u64,
    hands_buffers_on: bool,
    port: Arc<Port>,
}

/// Ports and buffers of one worker. Best made and used on the worker's own,
/// registered thread: only there the pool has a cache for it. It sends buffers
/// of its own pool only, since a port may take that for granted (fast free).
#[derive(Debug)]
pub struct DpdkIo {
    /// By [`PortId`].
    lanes: Vec<Lane>,
    pool: Arc<Pool>,
    ticks_per_second: u64,
}

impl DpdkIo {
    /// Claims the receive queues `rx` and, on every port, transmit queue
    /// `tx_queue` (the worker's number). `ports` are in the order of [`PortId`].
    pub fn new(
        ports: &[Arc<Port>],
        rx: &[(PortId, u16)],
        tx_queue: u16,
        pool: &Arc<Pool>,
    ) -> Result<DpdkIo, IoError> {
        // SAFETY: reads a number that the EAL measured; a port shows that it is up.
        let ticks_per_second = unsafe { dpdk_sys::gh_tsc_hz() };
        let mut io = DpdkIo {
            lanes: Vec::with_capacity(ports.len()),
            pool: Arc::clone(pool),
            ticks_per_second,
        };
        // What is claimed is in `io` at once, so a failure gives it back.
        for port in ports {
            if !Arc::ptr_eq(port.pool(), pool) {
                return Err(IoError::OtherPool { port: port.name().to_owned() });
            }
            claim(port, "transmit", &port.tx_claims, tx_queue, port.tx_queues())?;
            io.lanes.push(Lane {
                ethdev: port.id(),
                tx_queue,
                rx_queues: 0,
                hands_buffers_on: port.hands_buffers_on(),
                port: Arc::clone(port),
            });
        }
        for &(id, queue) in rx {
            let lane = io.lanes.get_mut(id.index()).ok_or(IoError::NoPort(id.0))?;
            let port = &lane.port;
            lane.rx_queues |= claim(port, "receive", &port.rx_claims, queue, port.rx_queues())?;
        }
        Ok(io)
    }
}

/// Sets a queue's bit, or says who has it.
fn claim(
    port: &Port,
    direction: &'static str,
    claims: &AtomicU64,
    queue: u16,
    queues: u16,
) -> Result<u64, IoError> {
    let name = || port.name().to_owned();
    if queue >= queues {
        return Err(IoError::NoQueue { port: name(), direction, queue, queues });
    }
    let bit = 1u64 << queue;
    if claims.fetch_or(bit, Ordering::AcqRel) & bit != 0 {
        return Err(IoError::Taken { port: name(), direction, queue });
    }
    Ok(bit)
}

impl Drop for DpdkIo {
    fn drop(&mut self) {
        for lane in &self.lanes {
            lane.port.rx_claims.fetch_and(!lane.rx_queues, Ordering::AcqRel);
            lane.port.tx_claims.fetch_and(!(1 << lane.tx_queue), Ordering::AcqRel);
        }
    }
}

/// The burst's array as the C side sees it: `Mbuf` is one pointer.
#[inline(always)]
fn as_c(burst: &mut Burst<Mbuf>) -> *mut *mut RteMbuf {
    burst.as_mut_ptr().cast()
}

impl PacketIo for DpdkIo {
    type Buf = Mbuf;

    #[inline]
    fn rx(&mut self, port: PortId, queue: u16, into: &mut Burst<Mbuf>) -> usize {
        let Some(lane) = self.lanes.get(port.index()) else { return 0 };
        let ours = queue < 64 && lane.rx_queues >> queue & 1 != 0;
        debug_assert!(ours, "queue {queue} of port {port:?} is not this worker's");
        let (len, room) = (into.len(), into.remaining_capacity());
        if !ours || room == 0 {
            return 0;
        }
        // SAFETY:
        // - the port is started (`Port`), the queue exists and is ours alone (`claim`);
        // - behind `len` the array has `room` free slots, which the driver may fill;
        // - room is at most `BURST`, so it fits u16.
        let n =
            unsafe { dpdk_sys::gh_rx_burst(lane.ethdev, queue, as_c(into).add(len), room as u16) };
        let n = usize::from(n);
        // SAFETY: the driver filled exactly `n <= room` slots with mbufs that
        // are now ours, from a pool that outlives them (`Pool::drop`).
        unsafe { into.set_len(len + n) };
        n
    }

    #[inline]
    fn tx(&mut self, port: PortId, burst: &mut Burst<Mbuf>) -> usize {
        let Some(lane) = self.lanes.get(port.index()) else { return 0 };
        let len = burst.len();
        if len == 0 {
            return 0;
        }
        if lane.hands_buffers_on {
            // Or the receiver would take our port's findings for its own.
            burst.iter_mut().for_each(Mbuf::clear_rx_flags);
        }
        // SAFETY:
        // - the port is started, the queue exists and is ours alone (`claim`);
        // - the first `len` slots hold mbufs that we own; the driver takes over
        //   the first `n` of them and leaves the others as they are.
        let n =
            unsafe { dpdk_sys::gh_tx_burst(lane.ethdev, lane.tx_queue, as_c(burst), len as u16) };
        let n = usize::from(n).min(len);
        // SAFETY: slots 0..n are no longer ours, so they are overwritten, not
        // dropped; the rest moves down within the array, and none is left twice.
        unsafe {
            let slots = burst.as_mut_ptr();
            burst.set_len(0);
            if n < len {
                std::ptr::copy(slots.add(n), slots, len - n);
            }
            burst.set_len(len - n);
        }
        n
    }

    #[inline]
    fn alloc(&mut self) -> Option<Mbuf> {
        self.pool.alloc()
    }

    #[inline]
    fn free(&mut self, burst: &mut Burst<Mbuf>) {
        let len = burst.len();
        if len == 0 {
            return;
        }
        // SAFETY: the slots hold `len` mbufs that we own; they are taken out
        // of the burst without being dropped, since the pool has them back.
        unsafe {
            dpdk_sys::gh_mbuf_free_bulk(as_c(burst), len as u32);
            burst.set_len(0);
        }
    }

    #[inline(always)]
    fn ticks(&self) -> u64 {
        ticks()
    }

    #[inline(always)]
    fn ticks_per_second(&self) -> u64 {
        self.ticks_per_second
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn ticks() -> u64 {
    // SAFETY: every x86-64 processor that DPDK runs on has RDTSC.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn ticks() -> u64 {
    // SAFETY: reads a counter; no preconditions.
    unsafe { dpdk_sys::gh_rdtsc() }
}

/// A slot of a burst is a pointer, as the C side takes it for.
const _: () = assert!(size_of::<Mbuf>() == size_of::<NonNull<RteMbuf>>());
