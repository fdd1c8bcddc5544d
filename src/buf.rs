//! The packet buffer the path works on, and where buffers come from.
//!
//! The path is generic over [`PacketIo`]: in the appliance that is DPDK
//! (`crate::dpdk::port::DpdkIo`, buffers are mbufs), in tests and in `greyhound
//! replay` it is [`heap::HeapIo`]. So every stage runs, byte for byte the
//! same, without an EAL.
//!
//! Ownership: a buffer belongs to exactly one burst at a time. `rx` moves
//! buffers in, `tx` moves out those the port took; whatever stays is still the
//! caller's, who counts it and frees it.

use arrayvec::ArrayVec;

use crate::ids::PortId;
use crate::tables::epoch::prefetch;

/// Most packets handled in one go.
pub const BURST: usize = 64;

/// Packets under way through the stages.
pub type Burst<B> = ArrayVec<B, BURST>;

/// What the port says of a received packet's IPv4 header checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RxChecksum {
    /// Not looked at: verify in software.
    #[default]
    Unknown,
    /// The port verified it.
    Good,
    /// The port found it wrong.
    Bad,
}

/// One linear packet buffer with room in front.
///
/// Lengths and offsets are plain field arithmetic; no call leaves Rust.
pub trait PacketBuf {
    /// The packet's bytes.
    fn data(&self) -> &[u8];
    /// The packet's bytes, writable.
    fn data_mut(&mut self) -> &mut [u8];
    /// Starts loading the packet's first bytes.
    fn prefetch(&self) {
        if let Some(first) = self.data().first() {
            prefetch(first);
        }
    }
    /// Free bytes in front of the packet.
    fn headroom(&self) -> usize;
    /// Free bytes behind the packet.
    fn tailroom(&self) -> usize;
    /// Grows the packet by `n` bytes in front (contents unspecified). False,
    /// and nothing done, if the headroom is smaller.
    #[must_use]
    fn prepend(&mut self, n: usize) -> bool;
    /// Grows the packet by `n` bytes behind (contents unspecified). False,
    /// and nothing done, if the tailroom is smaller.
    #[must_use]
    fn append(&mut self, n: usize) -> bool;
    /// Removes up to `n` bytes in front.
    fn trim_front(&mut self, n: usize);
    /// Cuts the packet to at most `len` bytes.
    fn truncate(&mut self, len: usize);
    /// Puts `ahead` bytes (contents unspecified) in place of the first `skip`,
    /// and cuts the packet `len` bytes behind them; gives the new bytes. `None`,
    /// and nothing done, if there are not so many or the headroom is too small.
    #[inline]
    fn reframe(&mut self, skip: usize, ahead: usize, len: usize) -> Option<&mut [u8]> {
        if skip + len > self.data().len() || ahead > skip + self.headroom() {
            return None;
        }
        self.truncate(skip + len);
        if ahead > skip && !self.prepend(ahead - skip) {
            return None;
        }
        self.trim_front(skip.saturating_sub(ahead));
        Some(self.data_mut())
    }
    /// False for a chained (multi-segment) buffer, which the path refuses.
    fn is_linear(&self) -> bool;
    /// The VLAN tag (TCI) the port took out of the frame, if it did.
    fn rx_vlan(&self) -> Option<u16>;
    /// The port's verdict on the outermost IPv4 header checksum.
    fn rx_checksum(&self) -> RxChecksum;
}

/// Ports and buffers of one worker.
///
/// One value per worker, so nothing here is shared: queue numbers are the
/// worker's own.
pub trait PacketIo {
    /// The buffer type the ports speak.
    type Buf: PacketBuf;

    /// Appends what has arrived on `port`/`queue`, up to the free space of
    /// `into`; returns how many.
    fn rx(&mut self, port: PortId, queue: u16, into: &mut Burst<Self::Buf>) -> usize;

    /// Sends from the front of `burst` on this worker's queue of `port`. Sent
    /// buffers leave the burst (returned: how many); the rest keeps its order.
    fn tx(&mut self, port: PortId, burst: &mut Burst<Self::Buf>) -> usize;

    /// An empty buffer with full headroom, or `None` when the pool is dry.
    fn alloc(&mut self) -> Option<Self::Buf>;

    /// Gives all buffers of `burst` back to their pool, in bulk.
    fn free(&mut self, burst: &mut Burst<Self::Buf>);

    /// A monotonic clock in ticks, cheap enough to be read every round and
    /// free of system calls (the TSC; virtual time in tests).
    fn ticks(&self) -> u64;

    /// Ticks per second.
    fn ticks_per_second(&self) -> u64;
}

pub mod heap;
