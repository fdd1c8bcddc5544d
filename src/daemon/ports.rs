//! The pool and the ports of a start.

use std::sync::Arc;

use anyhow::{Context, bail};

use super::plan::Plan;
use crate::buf::BURST;
use crate::control::net::PortFacts;
use crate::dpdk::device::Device;
use crate::dpdk::mempool::{Holders, data_room, memory_needed};
use crate::dpdk::{Eal, Pool, PoolConfig, Port, PortConfig};
use crate::ids::PortId;
use crate::meeting;
use crate::model::spec::{DpdkSettings, PortSpec, Spread};
use crate::spread::RING;

/// Buffers each worker keeps at hand: several bursts, since with fewer than two
/// every burst goes to the shared ring.
const CACHE: u32 = 8 * BURST as u32;

/// Creates the pool and starts every port with a transmit queue per worker.
///
/// # Errors
/// What a device or the memory does not give.
pub fn start(
    eal: &Eal,
    dpdk: &DpdkSettings,
    specs: &[PortSpec],
    plan: &Plan,
) -> anyhow::Result<(Arc<Pool>, Vec<Arc<Port>>)> {
    let pool = pool(eal, dpdk, specs, plan)?;
    let mut ports = Vec::new();
    for (spec, rx_queues) in specs.iter().zip(&plan.rx_queues) {
        ports.push(Port::start(
            eal,
            &PortConfig {
                name: spec.name.clone(),
                device: spec.device.clone(),
                mtu: spec.mtu,
                mac: spec.mac,
                rx_queues: *rx_queues,
                tx_queues: plan.workers.len() as u16,
                descriptors: dpdk.descriptors,
                pool: Arc::clone(&pool),
            },
        )?);
    }
    Ok((pool, ports))
}

/// One pool for all: its data room follows the largest MTU, and what a driver
/// delivers regardless of it.
fn pool(
    eal: &Eal,
    dpdk: &DpdkSettings,
    specs: &[PortSpec],
    plan: &Plan,
) -> anyhow::Result<Arc<Pool>> {
    let mtu = specs.iter().map(|port| port.mtu).max().unwrap_or(1500);
    let frame = specs.iter().map(|port| Device::parse(&port.device).frame_room()).max();
    let frame = frame.unwrap_or(0) + dpdk_sys::mbuf::HEADROOM;
    let frame = u16::try_from(frame)
        .with_context(|| format!("framesz: {frame} bytes are more than a buffer can have"))?;
    let room = data_room(mtu)?.max(frame);
    let queues: u32 = plan.rx_queues.iter().map(|n| u32::from(*n)).sum();
    let workers = plan.workers.len() as u32;
    let holders = Holders {
        rx_descriptors: queues * u32::from(dpdk.descriptors),
        tx_descriptors: specs.len() as u32 * workers * u32::from(dpdk.descriptors),
        workers,
        cache: CACHE,
        rings: workers
            * (workers - 1)
            * match dpdk.spread {
                Spread::Off => meeting::RING as u32,
                Spread::Inner => (RING + meeting::RING) as u32,
            },
    };
    let buffers = dpdk.buffers.unwrap_or_else(|| holders.buffers());
    let (needed, free) = (memory_needed(buffers, room), eal.free_memory());
    if needed > free {
        bail!(
            "{buffers} buffers of {room} bytes need {} MiB of packet memory, but {} MiB of \
             `memory` are free: raise `[dpdk] memory` or lower `buffers` or `descriptors`",
            needed.div_ceil(1 << 20),
            free >> 20
        );
    }
    let config = PoolConfig {
        name: "packets".to_owned(),
        buffers,
        cache: CACHE,
        data_room: room,
        socket: None,
    };
    let pool = Pool::create(eal, &config)?;
    tracing::info!(buffers, data_room = room, mib = needed.div_ceil(1 << 20), "buffer pool");
    Ok(pool)
}

/// Bytes of the largest frame a buffer takes: what an exchange slot must hold.
pub fn frame_room(pool: &Pool) -> usize {
    usize::from(pool.data_room()) - dpdk_sys::mbuf::HEADROOM
}

/// What control has to know of the started ports.
///
/// # Errors
/// If a device no longer answers.
pub fn facts(specs: &[PortSpec], ports: &[Arc<Port>], eal: &Eal) -> anyhow::Result<Vec<PortFacts>> {
    let each = (0u8..).zip(specs).zip(ports).map(|((id, spec), port)| {
        let offered = Port::capabilities(eal, &spec.name, &spec.device)
            .with_context(|| format!("port {}", spec.name))?;
        // Buffers were sized once and for all.
        let room = frame_room(port.pool()).saturating_sub(FRAME_OVERHEAD);
        let max_mtu = offered.max_mtu.min(room as u16);
        Ok(PortFacts { spec: spec.clone(), id: PortId(id), mac: port.mac(), max_mtu })
    });
    each.collect()
}

/// Ethernet header, two tags, and FCS.
const FRAME_OVERHEAD: usize = 14 + 4 + 4 + 4;
