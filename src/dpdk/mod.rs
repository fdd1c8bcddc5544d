//! DPDK behind safe types; with `simd` and `tables::epoch` the only place
//! where `unsafe` lives.
//!
//! ```text
//!   Eal ◀── Pool ◀── Port ◀── DpdkIo        (◀── holds: so the last one out
//!    ▲                          │ worker          closes, in this order)
//!    └── start_worker: pinned, registered thread ─┘
//! ```
//!
//! The daemon calls, in this order: [`Eal::init`] once per process,
//! [`Pool::create`], [`Port::start`] for each port, and for each worker
//! [`DpdkIo::new`] and [`start_worker`]. Ownership is by `Arc`: a port cannot
//! close under a worker that polls it, nor a pool vanish under a port.
#![allow(unsafe_code)]

pub mod affinity;
pub mod capabilities;
pub mod device;
pub mod eal;
pub mod io;
mod log;
pub mod mbuf;
pub mod mempool;
pub mod port;
mod wakes;

pub use affinity::{WorkerError, start_worker};
pub use eal::{Eal, EalConfig, EalError};
pub use io::{DpdkIo, IoError};
pub use mbuf::Mbuf;
pub use mempool::{Pool, PoolConfig, PoolError};
pub use port::{Port, PortConfig, PortError};

/// What went wrong in a DPDK call, as its errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// Turns what a shim function returned into a result.
    fn check(code: i32) -> Result<(), Errno> {
        if code == 0 { Ok(()) } else { Err(Errno(code)) }
    }
}

impl std::fmt::Display for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // DPDK has errno values of its own above the system's.
        if self.0 < 1000 {
            std::io::Error::from_raw_os_error(self.0).fmt(f)
        } else {
            write!(f, "DPDK error {}", self.0)
        }
    }
}

impl std::error::Error for Errno {}

/// A C string that DPDK owns and never changes, as Rust text.
///
/// # Safety
/// `text` is null or a string that lives and stays as it is during the call.
unsafe fn c_text(text: *const std::ffi::c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: not null, and the caller vouches for the rest.
    unsafe { std::ffi::CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
