//! What a device offers, and which of its offloads are worth using.

use super::{Errno, c_text};

/// What a device offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// DPDK driver.
    pub driver: String,
    /// Receive queues.
    pub rx_queues: u16,
    /// Transmit queues.
    pub tx_queues: u16,
    /// Smallest MTU.
    pub min_mtu: u16,
    /// Largest MTU.
    pub max_mtu: u16,
    /// NUMA socket, if it is on one.
    pub socket: Option<u16>,
    /// Offloads on offer, `GH_OFFLOAD_` bits.
    pub(super) offloads: u32,
}

/// Asks the driver of port `id`.
pub(super) fn capabilities(id: u16) -> Result<Capabilities, Errno> {
    // SAFETY: all bit patterns of this plain struct are valid, zeros included.
    let mut info: dpdk_sys::gh_port_info = unsafe { std::mem::zeroed() };
    // SAFETY: the port exists; a place for the answer.
    Errno::check(unsafe { dpdk_sys::gh_port_info(id, &mut info) })?;
    Ok(Capabilities {
        // SAFETY: the driver's name is a constant in the loaded driver.
        driver: unsafe { c_text(info.driver) },
        rx_queues: info.max_rx_queues,
        tx_queues: info.max_tx_queues,
        min_mtu: info.min_mtu,
        max_mtu: max_mtu(&info),
        socket: u16::try_from(info.socket).ok(),
        offloads: info.offloads,
    })
}

/// The largest MTU that DPDK will let through. A driver that says only how
/// long a frame may be is held to it, with 18 bytes for Ethernet.
fn max_mtu(info: &dpdk_sys::gh_port_info) -> u16 {
    match info.max_mtu {
        0 | u16::MAX => u16::try_from(info.max_frame.saturating_sub(18)).unwrap_or(u16::MAX),
        mtu => mtu,
    }
}

/// Which of the offloads on offer are worth using.
pub(super) fn worthwhile(offered: &Capabilities, rx_queues: u16) -> u32 {
    let mut offloads = offered.offloads;
    // net_tap "offloads" to the same core, and adds up TCP and UDP as well.
    if offered.driver == "net_tap" {
        offloads &= !dpdk_sys::GH_OFFLOAD_RX_IPV4_CKSUM;
    }
    if rx_queues == 1 {
        offloads &= !dpdk_sys::GH_OFFLOAD_RSS_IP;
    }
    // The path reads tags from frames. But the kernel has taken them out
    // before net_af_packet sees them, and putting them back costs a move.
    if offered.driver != "net_af_packet" {
        offloads &= !dpdk_sys::GH_OFFLOAD_RX_VLAN_STRIP;
    }
    offloads
}

/// The offloads in use, for people.
pub(super) fn offload_names(offloads: u32, in_software: bool) -> Vec<String> {
    let names = [
        (dpdk_sys::GH_OFFLOAD_RX_IPV4_CKSUM, "rx-ipv4-checksum"),
        (dpdk_sys::GH_OFFLOAD_RSS_IP, "rss-ip"),
        (dpdk_sys::GH_OFFLOAD_RX_VLAN_STRIP, "rx-vlan-strip"),
        (dpdk_sys::GH_OFFLOAD_TX_FAST_FREE, "tx-fast-free"),
    ];
    let in_use = names.iter().filter(|(bit, _)| offloads & bit != 0).map(|(_, name)| *name);
    in_use.chain(in_software.then_some("mac-in-software")).map(str::to_owned).collect()
}
