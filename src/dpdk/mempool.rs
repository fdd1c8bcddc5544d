//! Pools of packet buffers, and how large they must be.
//!
//! A buffer is its mbuf, the headroom (128 bytes, where outer headers go) and
//! room for the largest frame of any port. Each registered thread has a cache
//! of buffers, so that workers seldom meet at the pool itself.

use std::ffi::CString;
use std::ptr::NonNull;
use std::sync::Arc;

use super::{Eal, Errno, Mbuf};
use crate::buf::BURST;
use crate::model::view::PoolView;

/// Default buffers in each worker's cache: at least twice a burst.
pub const CACHE: u32 = 256;

/// Ethernet header, two VLAN tags and a frame check sequence that some drivers keep.
const FRAME_OVERHEAD: usize = 14 + 2 * 4 + 4;

/// Drivers hand the room to the hardware in steps of this.
const ROOM_STEP: usize = 1024;

/// What a pool is made of.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// Its name; unique, at most 25 bytes.
    pub name: String,
    /// Buffers.
    pub buffers: u32,
    /// Buffers each registered thread keeps at hand. At least two bursts.
    pub cache: u32,
    /// Bytes of packet room in each buffer, headroom included; see [`data_room`].
    pub data_room: u16,
    /// NUMA socket of its memory; `None`: any.
    pub socket: Option<u16>,
}

/// Why a pool could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// A cache that a burst runs through.
    #[error(
        "pool `{name}`: a cache of {cache} buffers is too small or too large: expected {least} to {most}, and at most two thirds of the pool's {buffers} buffers"
    )]
    Cache {
        /// Pool.
        name: String,
        /// Asked for.
        cache: u32,
        /// Least.
        least: u32,
        /// Most.
        most: u32,
        /// Buffers of the pool.
        buffers: u32,
    },
    /// The EAL has not that much memory.
    #[error(
        "pool `{name}`: {buffers} buffers with {data_room} bytes of room need {needed_mib} MiB, but only {free_mib} MiB of packet memory are free; raise memory or lower buffers, descriptors or MTU"
    )]
    Memory {
        /// Pool.
        name: String,
        /// Buffers.
        buffers: u32,
        /// Room of each.
        data_room: u16,
        /// What that takes.
        needed_mib: u64,
        /// What there is.
        free_mib: u64,
    },
    /// An MTU no buffer can hold.
    #[error("an MTU of {mtu} bytes does not fit into one buffer: the largest is {most}")]
    Mtu {
        /// Asked for.
        mtu: u16,
        /// Largest.
        most: u16,
    },
    /// DPDK refused.
    #[error("pool `{name}`: {reason}")]
    Refused {
        /// Pool.
        name: String,
        /// What it says.
        reason: Errno,
    },
}

/// A pool of buffers. Ports and workers hold it by `Arc`.
#[derive(Debug)]
pub struct Pool {
    raw: NonNull<dpdk_sys::rte_mempool>,
    name: String,
    buffers: u32,
    data_room: u16,
    // Behind the pool in drop order: shuts down after it.
    eal: Option<Eal>,
}

// SAFETY: DPDK's pools are made for use from all threads at once; the fields
// of ours never change.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

impl Pool {
    /// Makes a pool.
    pub fn create(eal: &Eal, config: &PoolConfig) -> Result<Arc<Pool>, PoolError> {
        let name = config.name.clone();
        check_cache(config)?;
        let refused = |reason| PoolError::Refused { name: name.clone(), reason };
        let c_name = CString::new(name.as_str()).map_err(|_| refused(Errno(libc::EINVAL)))?;
        let socket = config.socket.map_or(-1, i32::from);
        let mut code = 0;
        // SAFETY: the EAL is up; a C string, and a place for the error.
        let raw = unsafe {
            dpdk_sys::gh_pool_create(
                c_name.as_ptr(),
                config.buffers,
                config.cache,
                config.data_room,
                socket,
                &mut code,
            )
        };
        match NonNull::new(raw) {
            Some(raw) => Ok(Arc::new(Pool {
                raw,
                name,
                buffers: config.buffers,
                data_room: config.data_room,
                eal: Some(eal.clone()),
            })),
            None if code == libc::ENOMEM || code == libc::ENOBUFS => Err(PoolError::Memory {
                name,
                buffers: config.buffers,
                data_room: config.data_room,
                needed_mib: memory_needed(config.buffers, config.data_room).div_ceil(1 << 20),
                free_mib: eal.free_memory() >> 20,
            }),
            None => Err(refused(Errno(code))),
        }
    }

    /// Buffers outside the pool and the caches of its threads.
    pub fn in_use(&self) -> u32 {
        // SAFETY: the pool is alive; counting only reads.
        unsafe { dpdk_sys::gh_pool_in_use(self.raw.as_ptr()) }
    }

    /// Buffers there are.
    pub fn size(&self) -> u32 {
        self.buffers
    }

    /// Bytes of packet room in each buffer, headroom included.
    pub fn data_room(&self) -> u16 {
        self.data_room
    }

    /// For `show` and the metrics.
    pub fn view(&self) -> PoolView {
        PoolView {
            name: self.name.clone(),
            size: u64::from(self.buffers),
            in_use: u64::from(self.in_use()),
            data_room: u64::from(self.data_room),
        }
    }

    /// An empty buffer with full headroom; `None` when the pool is dry.
    #[inline]
    pub fn alloc(&self) -> Option<Mbuf> {
        // SAFETY: the pool is alive.
        let mbuf = NonNull::new(unsafe { dpdk_sys::gh_mbuf_alloc(self.raw.as_ptr()) })?;
        // SAFETY: fresh from the pool, ours alone; the pool does not go away
        // while a buffer is out (`drop`).
        Some(unsafe { Mbuf::from_raw(mbuf) })
    }

    pub(super) fn raw(&self) -> NonNull<dpdk_sys::rte_mempool> {
        self.raw
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let in_use = self.in_use();
        if in_use > 0 {
            // Freeing it would pull the memory from under whoever holds them.
            // 22.11's net_af_xdp never gives back what it put into its rings.
            tracing::warn!(
                "pool `{}` stays until the process ends: {in_use} of its buffers are still out",
                self.name
            );
            if let Some(eal) = self.eal.take() {
                eal.abandon();
            }
            return;
        }
        // SAFETY: ports and workers hold the pool, so none is left, and no
        // buffer is out.
        unsafe { dpdk_sys::gh_pool_free(self.raw.as_ptr()) }
    }
}

fn check_cache(config: &PoolConfig) -> Result<(), PoolError> {
    let least = 2 * BURST as u32;
    // SAFETY: a constant of the library's.
    let most = unsafe { dpdk_sys::gh_pool_cache_max() };
    let small_part = u64::from(config.cache) * 3 <= u64::from(config.buffers) * 2;
    if (least..=most).contains(&config.cache) && small_part {
        return Ok(());
    }
    Err(PoolError::Cache {
        name: config.name.clone(),
        cache: config.cache,
        least,
        most,
        buffers: config.buffers,
    })
}

/// Room a buffer needs for datagrams of `mtu` bytes: headroom and the largest
/// frame, in the steps that hardware knows. At least 2 KiB of frame.
pub fn data_room(mtu: u16) -> Result<u16, PoolError> {
    let frame = (usize::from(mtu) + FRAME_OVERHEAD).next_multiple_of(ROOM_STEP).max(2 * ROOM_STEP);
    let most = (usize::from(u16::MAX) - dpdk_sys::mbuf::HEADROOM) / ROOM_STEP * ROOM_STEP;
    u16::try_from(frame + dpdk_sys::mbuf::HEADROOM)
        .map_err(|_| PoolError::Mtu { mtu, most: (most - FRAME_OVERHEAD) as u16 })
}

/// Everything that can hold buffers at one time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Holders {
    /// Descriptors of all receive queues of all ports.
    pub rx_descriptors: u32,
    /// Descriptors of all transmit queues of all ports.
    pub tx_descriptors: u32,
    /// Workers.
    pub workers: u32,
    /// Buffers in a worker's cache.
    pub cache: u32,
    /// Packets that all rings between workers can hold.
    pub rings: u32,
}

impl Holders {
    /// Buffers that are enough for all of them at once: full rings, full
    /// caches (which overflow at one and a half), a few bursts in each
    /// worker's hands, and an eighth more.
    pub fn buffers(&self) -> u32 {
        let queues = self.rx_descriptors.saturating_add(self.tx_descriptors);
        let rings = queues.saturating_add(self.rings);
        let per_worker = self.cache.saturating_mul(3) / 2 + 4 * BURST as u32;
        let sum = rings.saturating_add(self.workers.saturating_mul(per_worker));
        sum.saturating_add(sum / 8).max(2048)
    }
}

/// Bytes of packet memory that a pool takes.
pub fn memory_needed(buffers: u32, data_room: u16) -> u64 {
    // SAFETY: arithmetic on constants of the library's.
    let each = unsafe { dpdk_sys::gh_pool_bytes_per_buffer(data_room) };
    // The pool's ring: one pointer for each buffer, rounded up to a power of two.
    let ring = u64::from(buffers).next_power_of_two() * 8;
    u64::from(buffers) * u64::from(each) + ring
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn room_follows_the_mtu() {
        assert_eq!(data_room(68).unwrap(), 2048 + 128);
        assert_eq!(data_room(1500).unwrap(), 2048 + 128);
        assert_eq!(data_room(9000).unwrap(), 9216 + 128);
        let PoolError::Mtu { most, .. } = data_room(u16::MAX).unwrap_err() else { panic!() };
        assert!(data_room(most).is_ok() && data_room(most + 1).is_err());
    }

    #[test]
    fn buffers_cover_every_holder() {
        let holders = Holders {
            rx_descriptors: 2048,
            tx_descriptors: 2048,
            workers: 2,
            cache: CACHE,
            rings: 0,
        };
        let rings = Holders { rings: 1024, ..holders };
        assert!(rings.buffers() >= holders.buffers() + 1024);
        assert!(holders.buffers() >= 4096 + 2 * (384 + 256));
        assert!(memory_needed(holders.buffers(), 2176) > u64::from(holders.buffers()) * 2176);
    }

    #[test]
    fn a_cache_below_two_bursts_is_refused() {
        let config = PoolConfig {
            name: "p".to_owned(),
            buffers: 4096,
            cache: 64,
            data_room: 2176,
            socket: None,
        };
        let error = check_cache(&config).unwrap_err().to_string();
        assert!(error.contains("a cache of 64 buffers") && error.contains("128 to 512"), "{error}");
        assert!(check_cache(&PoolConfig { cache: 256, ..config.clone() }).is_ok());
        assert!(check_cache(&PoolConfig { cache: 256, buffers: 300, ..config }).is_err());
    }
}
