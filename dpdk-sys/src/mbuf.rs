//! Where the fields of an mbuf are, for plain loads and stores from Rust.
//!
//! The offsets are computed by the C compiler from DPDK's own header
//! (`enum gh_mbuf_layout` in `shim.h`), so a release with another layout
//! changes these numbers and nothing else. Each accessor is one load or store.

use core::marker::{PhantomData, PhantomPinned};
use core::ptr::NonNull;

use crate::bindings as b;

/// An mbuf, seen only through the functions of this module.
#[repr(C)]
pub struct RteMbuf {
    _opaque: [u8; 0],
    // Neither Send, Sync nor Unpin by itself: whoever wraps it decides.
    _marker: PhantomData<(*mut u8, PhantomPinned)>,
}

/// Bytes of one mbuf without its data room.
pub const SIZE: usize = b::GH_MBUF_SIZE as usize;

/// Bytes in front of a fresh packet.
pub const HEADROOM: usize = b::GH_HEADROOM as usize;

macro_rules! field {
    ($(#[$doc:meta])* $get:ident, $offset:ident, $type:ty) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// `mbuf` is a live mbuf that nobody writes to at the same time.
        #[inline(always)]
        #[must_use]
        pub unsafe fn $get(mbuf: NonNull<RteMbuf>) -> $type {
            // SAFETY: by the caller's promise the field is readable; the C
            // compiler gave its offset (so it is aligned) and checked its width.
            unsafe { mbuf.cast::<u8>().add(b::$offset as usize).cast::<$type>().read() }
        }
    };
    ($(#[$doc:meta])* $get:ident, $set:ident, $offset:ident, $type:ty) => {
        field!($(#[$doc])* $get, $offset, $type);

        $(#[$doc])*
        /// Set.
        ///
        /// # Safety
        /// `mbuf` is a live mbuf that nobody else uses at the same time, and
        /// `value` keeps the mbuf true to itself (lengths within the buffer).
        #[inline(always)]
        pub unsafe fn $set(mbuf: NonNull<RteMbuf>, value: $type) {
            // SAFETY: as for reading, and the caller is alone with the mbuf.
            unsafe { mbuf.cast::<u8>().add(b::$offset as usize).cast::<$type>().write(value) }
        }
    };
}

field!(
    /// Start of the buffer, headroom included.
    buf_addr, GH_MBUF_BUF_ADDR, *mut u8
);
field!(
    /// Bytes of the buffer, headroom included.
    buf_len, GH_MBUF_BUF_LEN, u16
);
field!(
    /// Bytes from the start of the buffer to the packet.
    data_off, set_data_off, GH_MBUF_DATA_OFF, u16
);
field!(
    /// Bytes of packet in this segment.
    data_len, set_data_len, GH_MBUF_DATA_LEN, u16
);
field!(
    /// Bytes of packet in all segments.
    pkt_len, set_pkt_len, GH_MBUF_PKT_LEN, u32
);
field!(
    /// Segments of the packet; 1 if it is linear.
    nb_segs, GH_MBUF_NB_SEGS, u16
);
field!(
    /// Offload flags, those of receive and those of transmit.
    ol_flags, set_ol_flags, GH_MBUF_OL_FLAGS, u64
);
field!(
    /// The VLAN tag taken out of the frame, if the flags say so.
    vlan_tci, GH_MBUF_VLAN_TCI, u16
);
field!(
    /// The ethdev port it was received on.
    port, GH_MBUF_PORT, u16
);
