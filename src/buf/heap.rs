//! Ports and buffers on the heap: queues of byte vectors.
//!
//! Used by unit tests and by `greyhound replay`. Buffers are recycled, so the
//! path allocates as little over these as it does over DPDK, and the counting
//! allocator can prove it.

use std::collections::VecDeque;

use super::{Burst, PacketBuf, PacketIo, RxChecksum};
use crate::ids::{MAX_PORTS, PortId};

/// Bytes in front of a fresh packet, as `RTE_PKTMBUF_HEADROOM`.
pub const HEADROOM: usize = 128;

/// A packet in a fixed block of heap memory.
#[derive(Debug)]
pub struct TestBuf {
    block: Box<[u8]>,
    start: usize,
    len: usize,
    /// Reported by [`PacketBuf::is_linear`].
    pub linear: bool,
    /// Reported by [`PacketBuf::rx_vlan`].
    pub vlan: Option<u16>,
    /// Reported by [`PacketBuf::rx_checksum`].
    pub checksum: RxChecksum,
}

impl TestBuf {
    /// An empty buffer with room for `room` bytes behind the headroom.
    pub fn with_room(room: usize) -> TestBuf {
        TestBuf {
            block: vec![0; HEADROOM + room].into_boxed_slice(),
            start: HEADROOM,
            len: 0,
            linear: true,
            vlan: None,
            checksum: RxChecksum::Unknown,
        }
    }

    /// A buffer holding `bytes`, with some tailroom.
    pub fn from_bytes(bytes: &[u8]) -> TestBuf {
        let mut buf = TestBuf::with_room(bytes.len().max(2048));
        buf.fill(bytes);
        buf
    }

    /// Empties the buffer and copies `bytes` in. Panics if they do not fit:
    /// the harness sizes its buffers.
    pub fn fill(&mut self, bytes: &[u8]) {
        self.reset();
        self.block[HEADROOM..HEADROOM + bytes.len()].copy_from_slice(bytes);
        self.len = bytes.len();
    }

    fn reset(&mut self) {
        self.start = HEADROOM;
        self.len = 0;
        self.linear = true;
        self.vlan = None;
        self.checksum = RxChecksum::Unknown;
    }
}

impl PacketBuf for TestBuf {
    fn data(&self) -> &[u8] {
        &self.block[self.start..self.start + self.len]
    }
    fn data_mut(&mut self) -> &mut [u8] {
        &mut self.block[self.start..self.start + self.len]
    }
    fn headroom(&self) -> usize {
        self.start
    }
    fn tailroom(&self) -> usize {
        self.block.len() - self.start - self.len
    }
    fn prepend(&mut self, n: usize) -> bool {
        let fits = n <= self.start;
        if fits {
            self.start -= n;
            self.len += n;
        }
        fits
    }
    fn append(&mut self, n: usize) -> bool {
        let fits = n <= self.tailroom();
        if fits {
            self.len += n;
        }
        fits
    }
    fn trim_front(&mut self, n: usize) {
        let n = n.min(self.len);
        self.start += n;
        self.len -= n;
    }
    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
    fn is_linear(&self) -> bool {
        self.linear
    }
    fn rx_vlan(&self) -> Option<u16> {
        self.vlan
    }
    fn rx_checksum(&self) -> RxChecksum {
        self.checksum
    }
}

/// Heap ports: what a test puts into `rx` is received, what the path sends is
/// found in `tx`.
#[derive(Debug)]
pub struct HeapIo {
    rx: [VecDeque<TestBuf>; MAX_PORTS],
    tx: [VecDeque<TestBuf>; MAX_PORTS],
    pool: Vec<TestBuf>,
    capacity: usize,
    /// How many packets each further `tx` call takes at most (a full queue).
    pub tx_limit: usize,
    /// Virtual time in nanoseconds, moved by whoever drives the test.
    pub now_ns: u64,
}

impl HeapIo {
    /// A pool of `buffers` buffers, each with `room` bytes behind its headroom.
    pub fn new(buffers: usize, room: usize) -> HeapIo {
        let queue = || VecDeque::with_capacity(buffers);
        HeapIo {
            rx: std::array::from_fn(|_| queue()),
            tx: std::array::from_fn(|_| queue()),
            pool: (0..buffers).map(|_| TestBuf::with_room(room)).collect(),
            capacity: buffers,
            tx_limit: usize::MAX,
            now_ns: 0,
        }
    }

    /// Lets `frame` arrive on `port`; false when the pool is empty.
    pub fn receive(&mut self, port: PortId, frame: &[u8]) -> bool {
        let Some(mut buf) = self.pool.pop() else { return false };
        buf.fill(frame);
        self.rx[port.index()].push_back(buf);
        true
    }

    /// Lets a prepared buffer arrive (one with a VLAN tag in its metadata, say).
    /// It replaces a pool buffer, so that the pool's level stays meaningful.
    pub fn receive_buf(&mut self, port: PortId, buf: TestBuf) -> bool {
        if self.pool.pop().is_none() {
            return false;
        }
        self.rx[port.index()].push_back(buf);
        true
    }

    /// Takes the oldest frame sent on `port` and recycles its buffer.
    pub fn sent(&mut self, port: PortId) -> Option<Vec<u8>> {
        let buf = self.tx[port.index()].pop_front()?;
        let bytes = buf.data().to_vec();
        self.recycle(buf);
        Some(bytes)
    }

    /// Recycles all sent frames without looking at them; returns how many.
    pub fn discard_sent(&mut self) -> usize {
        let mut n = 0;
        for port in 0..MAX_PORTS {
            while let Some(buf) = self.tx[port].pop_front() {
                self.recycle(buf);
                n += 1;
            }
        }
        n
    }

    /// Buffers neither in the pool nor waiting in `rx` or `tx`: 0 at rest.
    pub fn in_use(&self) -> usize {
        let queued: usize = self.rx.iter().chain(&self.tx).map(VecDeque::len).sum();
        self.capacity - self.pool.len() - queued
    }

    /// Buffers in the pool.
    pub fn available(&self) -> usize {
        self.pool.len()
    }

    fn recycle(&mut self, mut buf: TestBuf) {
        buf.reset();
        self.pool.push(buf);
    }
}

impl PacketIo for HeapIo {
    type Buf = TestBuf;

    fn rx(&mut self, port: PortId, _queue: u16, into: &mut Burst<TestBuf>) -> usize {
        let queue = &mut self.rx[port.index()];
        let n = queue.len().min(into.remaining_capacity());
        into.extend(queue.drain(..n));
        n
    }

    fn tx(&mut self, port: PortId, burst: &mut Burst<TestBuf>) -> usize {
        let n = burst.len().min(self.tx_limit);
        self.tx[port.index()].extend(burst.drain(..n));
        n
    }

    fn alloc(&mut self) -> Option<TestBuf> {
        self.pool.pop()
    }

    fn free(&mut self, burst: &mut Burst<TestBuf>) {
        for buf in burst.drain(..) {
            self.recycle(buf);
        }
    }

    fn ticks(&self) -> u64 {
        self.now_ns
    }

    fn ticks_per_second(&self) -> u64 {
        1_000_000_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prepend_and_trim_are_inverse_and_bounded() {
        let mut buf = TestBuf::from_bytes(b"payload");
        assert!(buf.prepend(HEADROOM));
        assert!(!buf.prepend(1), "headroom is used up");
        buf.trim_front(HEADROOM);
        assert_eq!(buf.data(), b"payload");
        buf.trim_front(100);
        assert_eq!(buf.data(), b"");
    }

    #[test]
    fn what_the_port_does_not_take_stays_in_the_burst() {
        let mut io = HeapIo::new(8, 64);
        io.tx_limit = 2;
        for i in 0..3u8 {
            assert!(io.receive(PortId(0), &[i]));
        }
        let mut burst = Burst::new();
        assert_eq!(io.rx(PortId(0), 0, &mut burst), 3);
        assert_eq!(io.tx(PortId(1), &mut burst), 2);
        assert_eq!(burst[0].data(), &[2]);
        io.free(&mut burst);
        assert_eq!(io.sent(PortId(1)), Some(vec![0]));
        assert_eq!(io.discard_sent(), 1);
        assert_eq!((io.in_use(), io.available()), (0, 8));
    }
}
