//! One packet buffer of DPDK, owned.
//!
//! ```text
//!   buf_addr ─▶ ┌──────────┬───────────────────┬──────────┐
//!               │ headroom │ packet (data_len) │ tailroom │  buf_len bytes
//!               └──────────┴───────────────────┴──────────┘
//!               ◀ data_off ▶
//! ```
//!
//! One door in ([`Mbuf::from_raw`], unsafe) and one door out
//! ([`Mbuf::into_raw`]); dropping gives the buffer back to its pool. Lengths
//! and offsets are loads and stores through `dpdk_sys::mbuf`, no call leaves Rust.

use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use dpdk_sys::{RteMbuf, mbuf as raw};

use crate::buf::{PacketBuf, RxChecksum};

/// A packet buffer that belongs to whoever holds this value. Not `Clone`: the
/// reference count of a buffer here is always 1.
#[repr(transparent)]
pub struct Mbuf(NonNull<RteMbuf>);

// SAFETY: an mbuf is plain memory plus a pointer to its pool; the pool takes
// buffers back from any thread (multi-producer), and `Mbuf` is the only owner.
unsafe impl Send for Mbuf {}

impl Mbuf {
    /// Takes ownership of an mbuf.
    ///
    /// # Safety
    /// - `mbuf` came from a pool (alloc or rx burst), is initialised, and its
    ///   lengths are within its buffer;
    /// - nobody else owns or uses it;
    /// - its pool lives until this value is gone.
    #[inline(always)]
    pub unsafe fn from_raw(mbuf: NonNull<RteMbuf>) -> Mbuf {
        Mbuf(mbuf)
    }

    /// Gives ownership away: whoever takes the pointer frees it.
    #[inline(always)]
    #[must_use]
    pub fn into_raw(self) -> NonNull<RteMbuf> {
        ManuallyDrop::new(self).0
    }

    /// Bytes of the packet, all segments together.
    pub fn packet_len(&self) -> usize {
        // SAFETY: `self.0` is a live mbuf and only we use it.
        unsafe { raw::pkt_len(self.0) as usize }
    }

    /// Appends the packet in `tail` as a further segment. Tests make chains
    /// with it; the path only ever receives and refuses them. False, and `tail`
    /// freed, if there would be too many segments.
    pub fn chain(&mut self, tail: Mbuf) -> bool {
        let tail = ManuallyDrop::new(tail);
        // SAFETY: both are live, initialised mbufs that only we use; on
        // success `self` owns the tail.
        let code = unsafe { dpdk_sys::gh_mbuf_chain(self.0.as_ptr(), tail.0.as_ptr()) };
        if code != 0 {
            drop(ManuallyDrop::into_inner(tail));
        }
        code == 0
    }

    /// Forgets what the receiving port said of the packet (VLAN tag taken out,
    /// checksum verdict), for a port that hands the same buffer on to a receiver.
    #[inline(always)]
    pub(super) fn clear_rx_flags(&mut self) {
        // SAFETY: `self.0` is a live mbuf and only we use it; the flags kept
        // are those that say what kind of buffer it is.
        unsafe { raw::set_ol_flags(self.0, raw::ol_flags(self.0) & dpdk_sys::GH_TX_KEEP) }
    }

    #[inline(always)]
    fn start(&self) -> *mut u8 {
        // SAFETY: `self.0` is a live mbuf, and data_off is within its buffer.
        unsafe { raw::buf_addr(self.0).add(usize::from(raw::data_off(self.0))) }
    }

    #[inline(always)]
    fn len(&self) -> usize {
        // SAFETY: `self.0` is a live mbuf and only we use it.
        usize::from(unsafe { raw::data_len(self.0) })
    }

    /// Sets this segment's length and keeps the packet's length in step.
    ///
    /// # Safety
    /// `len` bytes from the packet's start are within the buffer.
    #[inline(always)]
    unsafe fn set_len(&mut self, len: u16) {
        // SAFETY: `self.0` is a live mbuf and only we use it; the caller
        // vouches for `len`.
        unsafe {
            let others = raw::pkt_len(self.0).wrapping_sub(u32::from(raw::data_len(self.0)));
            raw::set_data_len(self.0, len);
            raw::set_pkt_len(self.0, others.wrapping_add(u32::from(len)));
        }
    }
}

impl Drop for Mbuf {
    fn drop(&mut self) {
        // SAFETY: we own the mbuf, its pool is alive (`from_raw`), and it is
        // not used after this.
        unsafe { dpdk_sys::gh_mbuf_free(self.0.as_ptr()) }
    }
}

impl std::fmt::Debug for Mbuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mbuf")
            .field("len", &self.len())
            .field("headroom", &self.headroom())
            .finish()
    }
}

impl PacketBuf for Mbuf {
    #[inline(always)]
    fn data(&self) -> &[u8] {
        // SAFETY: the mbuf's invariant: data_len bytes from its start are in
        // the buffer, which the pool initialised; we are the only user.
        unsafe { std::slice::from_raw_parts(self.start(), self.len()) }
    }

    #[inline(always)]
    fn data_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `data`, and `&mut self` makes the borrow exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start(), self.len()) }
    }

    #[inline(always)]
    fn prefetch(&self) {
        crate::tables::epoch::prefetch_at(self.start());
    }

    #[inline(always)]
    fn headroom(&self) -> usize {
        // SAFETY: `self.0` is a live mbuf and only we use it.
        usize::from(unsafe { raw::data_off(self.0) })
    }

    #[inline(always)]
    fn tailroom(&self) -> usize {
        // SAFETY: `self.0` is a live mbuf and only we use it.
        let size = usize::from(unsafe { raw::buf_len(self.0) });
        size.saturating_sub(self.headroom() + self.len())
    }

    #[inline(always)]
    fn prepend(&mut self, n: usize) -> bool {
        let (off, len) = (self.headroom(), self.len());
        // Both fit u16: off and off + len are at most buf_len.
        let fits = n <= off;
        if fits {
            // SAFETY: the packet grows into free room in front, so it stays
            // within the buffer; we are the only user.
            unsafe {
                raw::set_data_off(self.0, (off - n) as u16);
                self.set_len((len + n) as u16);
            }
        }
        fits
    }

    #[inline(always)]
    fn append(&mut self, n: usize) -> bool {
        // Behind a first segment comes the next one, not free room.
        let fits = n <= self.tailroom() && self.is_linear();
        if fits {
            let len = self.len() + n;
            // SAFETY: the packet grows into free room behind.
            unsafe { self.set_len(len as u16) };
        }
        fits
    }

    #[inline(always)]
    fn reframe(&mut self, skip: usize, ahead: usize, len: usize) -> Option<&mut [u8]> {
        let (off, before) = (self.headroom(), self.len());
        if skip + len > before || ahead > off + skip {
            return None;
        }
        let (off, after) = (off + skip - ahead, ahead + len);
        // SAFETY:
        // - the packet begins where there was headroom or packet, and ends where
        //   or before it ended, so it stays within the buffer;
        // - we are the only user, and `&mut self` makes the borrow exclusive.
        unsafe {
            raw::set_data_off(self.0, off as u16);
            self.set_len(after as u16);
            Some(std::slice::from_raw_parts_mut(raw::buf_addr(self.0).add(off), after))
        }
    }

    #[inline(always)]
    fn trim_front(&mut self, n: usize) {
        let (off, len) = (self.headroom(), self.len());
        let n = n.min(len);
        // SAFETY: the packet shrinks within its buffer; we are the only user.
        unsafe {
            raw::set_data_off(self.0, (off + n) as u16);
            self.set_len((len - n) as u16);
        }
    }

    #[inline(always)]
    fn truncate(&mut self, len: usize) {
        if len < self.len() {
            // SAFETY: the packet shrinks within its buffer.
            unsafe { self.set_len(len as u16) };
        }
    }

    #[inline(always)]
    fn is_linear(&self) -> bool {
        // SAFETY: `self.0` is a live mbuf and only we use it.
        unsafe { raw::nb_segs(self.0) == 1 }
    }

    #[inline(always)]
    fn rx_vlan(&self) -> Option<u16> {
        // SAFETY: `self.0` is a live mbuf and only we use it.
        unsafe {
            let stripped = raw::ol_flags(self.0) & dpdk_sys::GH_RX_VLAN_STRIPPED != 0;
            stripped.then(|| raw::vlan_tci(self.0))
        }
    }

    #[inline(always)]
    fn rx_checksum(&self) -> RxChecksum {
        // SAFETY: `self.0` is a live mbuf and only we use it.
        let flags = unsafe { raw::ol_flags(self.0) } & dpdk_sys::GH_RX_IP_CKSUM_MASK;
        match flags {
            dpdk_sys::GH_RX_IP_CKSUM_GOOD => RxChecksum::Good,
            dpdk_sys::GH_RX_IP_CKSUM_BAD => RxChecksum::Bad,
            _ => RxChecksum::Unknown,
        }
    }
}
