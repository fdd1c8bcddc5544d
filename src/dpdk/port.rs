//! Ports: finding, configuring, starting, watching and closing them.
//!
//! What a port can do is asked of its driver, and what we want beyond that is
//! done in software by the path: nothing here fails for want of an offload.
//! VLAN tags stay in the frame, or are in the mbuf where a driver took them out.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::capabilities::{Capabilities, capabilities, offload_names, worthwhile};
use super::device::Device;
use super::{Eal, Errno, Pool};
use crate::ids::Mac;
use crate::model::view::PortView;

/// Most queues of one kind: bits of a mask.
pub const MAX_QUEUES: u16 = 64;

/// How to start a port.
#[derive(Clone, Debug)]
pub struct PortConfig {
    /// Interface name.
    pub name: String,
    /// Its device, as given to [`super::EalConfig::devices`].
    pub device: String,
    /// Largest IP datagram, bytes.
    pub mtu: u16,
    /// Link address to use instead of the device's own.
    pub mac: Option<Mac>,
    /// Receive queues.
    pub rx_queues: u16,
    /// Transmit queues: one per worker.
    pub tx_queues: u16,
    /// Descriptors per queue; brought within what the driver takes.
    pub descriptors: u16,
    /// Where received packets are put.
    pub pool: Arc<Pool>,
}

/// Why a port did not start.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// No such device.
    #[error("port `{port}`: device `{device}` does not exist in DPDK")]
    NotFound {
        /// Port.
        port: String,
        /// Device string.
        device: String,
    },
    /// Two ports on one device.
    #[error("port `{port}`: device `{device}` is in use by another port")]
    InUse {
        /// Port.
        port: String,
        /// Device string.
        device: String,
    },
    /// The driver has fewer queues.
    #[error(
        "port `{port}`: {wanted} {direction} queues wanted, but driver {driver} offers {offered}{hint}"
    )]
    Queues {
        /// Port.
        port: String,
        /// `receive` or `transmit`.
        direction: &'static str,
        /// Asked for.
        wanted: u16,
        /// On offer.
        offered: u16,
        /// Driver.
        driver: String,
        /// How to get more.
        hint: &'static str,
    },
    /// The driver cannot do this MTU.
    #[error("port `{port}`: an MTU of {mtu} bytes: driver {driver} takes {least} to {most}")]
    Mtu {
        /// Port.
        port: String,
        /// Asked for.
        mtu: u16,
        /// Driver.
        driver: String,
        /// Smallest.
        least: u16,
        /// Largest.
        most: u16,
    },
    /// The pool's buffers are too small for the port's frames.
    #[error(
        "port `{port}`: an MTU of {mtu} bytes needs buffers with {needed} bytes of room, the pool's have {data_room}"
    )]
    Room {
        /// Port.
        port: String,
        /// Asked for.
        mtu: u16,
        /// Room needed.
        needed: u16,
        /// Room there is.
        data_room: u16,
    },
    /// A step of the start failed.
    #[error("port `{port}`: driver {driver} failed to {step}: {reason}")]
    Step {
        /// Port.
        port: String,
        /// Driver.
        driver: String,
        /// What was attempted.
        step: &'static str,
        /// What DPDK says.
        reason: Errno,
    },
}

/// A started port. It stops and closes when the last holder lets go.
#[derive(Debug)]
pub struct Port {
    id: u16,
    name: String,
    device: String,
    driver: String,
    mac: Mac,
    mtu: AtomicU16,
    rx_queues: u16,
    tx_queues: u16,
    offloads: Vec<String>,
    /// Sent buffers come out at a receiver as they are (net_ring).
    hands_buffers_on: bool,
    /// Queues that some `DpdkIo` polls or sends on, a bit each.
    pub(super) rx_claims: AtomicU64,
    /// See `rx_claims`.
    pub(super) tx_claims: AtomicU64,
    pool: Arc<Pool>,
    _opened: Opened,
    _eal: Eal,
}

/// Ports that a [`Port`] has: at most one for each.
static OPENED: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// The sole right to configure, start and close one ethdev port.
#[derive(Debug)]
struct Opened(u16);

impl Opened {
    fn claim(id: u16) -> Option<Opened> {
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        // Lazily: dropping an `Opened` gives the claim up.
        opened.insert(id).then(|| Opened(id))
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        OPENED.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

impl Port {
    /// What `device` offers, before it is started: how many queues to ask for.
    pub fn capabilities(_eal: &Eal, name: &str, device: &str) -> Result<Capabilities, PortError> {
        let id = find(name, device)?;
        capabilities(id).map_err(|reason| PortError::Step {
            port: name.to_owned(),
            driver: "unknown".to_owned(),
            step: "describe itself",
            reason,
        })
    }

    /// Configures and starts a port. What can be refused at once leaves the
    /// device as it was; after a later failure it is closed for good.
    pub fn start(eal: &Eal, config: &PortConfig) -> Result<Arc<Port>, PortError> {
        let id = find(&config.name, &config.device)?;
        let opened = Opened::claim(id).ok_or_else(|| PortError::InUse {
            port: config.name.clone(),
            device: config.device.clone(),
        })?;
        let offered = Port::capabilities(eal, &config.name, &config.device)?;
        check(config, &offered)?;
        let offloads = worthwhile(&offered, config.rx_queues);
        let starting = Starting { id, config, offered: &offered, offloads };
        let (mac, in_software) = starting.bring_up().inspect_err(|_| {
            // Or the driver would keep buffers of a pool that may go away.
            close(id, &config.name);
        })?;
        let port = Port {
            id,
            name: config.name.clone(),
            device: config.device.clone(),
            hands_buffers_on: offered.driver == "net_ring",
            offloads: offload_names(offloads, in_software),
            driver: offered.driver,
            mac,
            mtu: AtomicU16::new(config.mtu),
            rx_queues: config.rx_queues,
            tx_queues: config.tx_queues,
            rx_claims: AtomicU64::new(0),
            tx_claims: AtomicU64::new(0),
            pool: Arc::clone(&config.pool),
            _opened: opened,
            _eal: eal.clone(),
        };
        Ok(Arc::new(port))
    }

    /// Interface name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Link address in use.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// Largest IP datagram, bytes.
    pub fn mtu(&self) -> u16 {
        self.mtu.load(Ordering::Relaxed)
    }

    /// Tells the running device another MTU. One that has no say in it (most
    /// virtual devices) takes any.
    ///
    /// # Errors
    /// If the device refuses it.
    pub fn set_mtu(&self, mtu: u16) -> Result<(), PortError> {
        // SAFETY: the port is started, and stays so while `self` lives.
        let code = unsafe { dpdk_sys::gh_port_set_mtu(self.id, mtu) };
        if code != 0 && code != libc::ENOTSUP {
            return Err(PortError::Step {
                port: self.name.clone(),
                driver: self.driver.clone(),
                step: "set its MTU",
                reason: Errno(code),
            });
        }
        self.mtu.store(mtu, Ordering::Relaxed);
        Ok(())
    }

    /// Receive queues.
    pub fn rx_queues(&self) -> u16 {
        self.rx_queues
    }

    /// Transmit queues.
    pub fn tx_queues(&self) -> u16 {
        self.tx_queues
    }

    /// Where its packets are put.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// True while the device says that its link is up.
    pub fn link_up(&self) -> bool {
        self.link().up != 0
    }

    /// The port, its link and its counters now. Asks the driver: not for the path.
    pub fn view(&self) -> PortView {
        let (link, stats) = (self.link(), self.stats());
        PortView {
            name: self.name.clone(),
            device: self.device.clone(),
            driver: self.driver.clone(),
            mac: self.mac,
            link_up: link.up != 0,
            speed_mbps: link.speed_mbps,
            mtu: self.mtu(),
            rx_queues: self.rx_queues,
            tx_queues: self.tx_queues,
            offloads: self.offloads.clone(),
            rx_packets: stats.rx_packets,
            rx_bytes: stats.rx_bytes,
            tx_packets: stats.tx_packets,
            tx_bytes: stats.tx_bytes,
            rx_missed: stats.rx_missed,
            rx_errors: stats.rx_errors,
            rx_no_buffer: stats.rx_no_buffer,
            tx_errors: stats.tx_errors,
        }
    }

    pub(super) fn id(&self) -> u16 {
        self.id
    }

    pub(super) fn hands_buffers_on(&self) -> bool {
        self.hands_buffers_on
    }

    fn link(&self) -> dpdk_sys::gh_link {
        let mut link = dpdk_sys::gh_link::default();
        // SAFETY: the port is open; a place for the answer. If the driver
        // fails to answer, the link counts as down.
        unsafe { dpdk_sys::gh_port_link(self.id, &mut link) };
        link
    }

    fn stats(&self) -> dpdk_sys::gh_port_stats {
        let mut stats = dpdk_sys::gh_port_stats::default();
        // SAFETY: the port is open; a place for the answer. A driver without
        // counters leaves zeros.
        unsafe { dpdk_sys::gh_port_stats(self.id, &mut stats) };
        stats
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        close(self.id, &self.name);
    }
}

fn close(id: u16, name: &str) {
    // SAFETY: the port is open and nobody polls it: whoever could holds the
    // `Port`, which is gone or was never made.
    let codes = unsafe { [dpdk_sys::gh_port_stop(id), dpdk_sys::gh_port_close(id)] };
    for code in codes {
        if let Err(reason) = Errno::check(code) {
            tracing::warn!("port `{name}` did not close cleanly: {reason}");
        }
    }
}

/// A port on its way up, with what its steps need in common.
struct Starting<'a> {
    id: u16,
    config: &'a PortConfig,
    offered: &'a Capabilities,
    offloads: u32,
}

impl Starting<'_> {
    fn step(&self, step: &'static str, f: impl FnOnce() -> i32) -> Result<(), PortError> {
        Errno::check(f()).map_err(|reason| PortError::Step {
            port: self.config.name.clone(),
            driver: self.offered.driver.clone(),
            step,
            reason,
        })
    }

    /// All steps in order; returns the address to use and whether only we know it.
    fn bring_up(&self) -> Result<(Mac, bool), PortError> {
        self.configure()?;
        self.queues()?;
        self.set_mtu()?;
        let (mac, in_software) = self.set_mac()?;
        // SAFETY: the port is configured and its queues are set up.
        self.step("start", || unsafe { dpdk_sys::gh_port_start(self.id) })?;
        self.hear_groups();
        if in_software {
            self.hear_everything();
        }
        Ok((mac, in_software))
    }

    fn configure(&self) -> Result<(), PortError> {
        let conf = dpdk_sys::gh_port_conf {
            offloads: self.offloads,
            rx_queues: self.config.rx_queues,
            tx_queues: self.config.tx_queues,
            mtu: self.config.mtu,
        };
        // SAFETY: the port exists and is not started; the struct lives during the call.
        self.step("configure its queues", || unsafe { dpdk_sys::gh_port_configure(self.id, &conf) })
    }

    fn queues(&self) -> Result<(), PortError> {
        let (mut rx, mut tx) = (self.config.descriptors, self.config.descriptors);
        // SAFETY: the port is configured; two places for the counts.
        self.step("choose a number of descriptors", || unsafe {
            dpdk_sys::gh_port_adjust_descriptors(self.id, &mut rx, &mut tx)
        })?;
        let pool = self.config.pool.raw().as_ptr();
        for queue in 0..self.config.rx_queues {
            // SAFETY: the port is configured with this queue; `Port` keeps the
            // pool alive for as long as the port is open.
            self.step("set up a receive queue", || unsafe {
                dpdk_sys::gh_rx_queue_setup(self.id, queue, rx, pool)
            })?;
        }
        for queue in 0..self.config.tx_queues {
            // SAFETY: the port is configured with this queue.
            self.step("set up a transmit queue", || unsafe {
                dpdk_sys::gh_tx_queue_setup(self.id, queue, tx)
            })?;
        }
        Ok(())
    }

    /// Tells the device its MTU, where it wants to know, and reads it back.
    fn set_mtu(&self) -> Result<(), PortError> {
        let wanted = self.config.mtu;
        // SAFETY: the port is configured and not started.
        let code = unsafe { dpdk_sys::gh_port_set_mtu(self.id, wanted) };
        if code != 0 && code != libc::ENOTSUP {
            return self.step("set its MTU", || code);
        }
        let mut now = 0;
        // SAFETY: the port is configured; a place for the answer.
        self.step("tell its MTU", || unsafe { dpdk_sys::gh_port_mtu(self.id, &mut now) })?;
        if now < wanted {
            return Err(self.config.bad_mtu(self.offered, now));
        }
        Ok(())
    }

    /// The address to use, and whether only we know of it: then the device
    /// must be asked for all frames.
    fn set_mac(&self) -> Result<(Mac, bool), PortError> {
        let mut own = [0; 6];
        // SAFETY: the port is configured; six bytes for the answer.
        self.step("tell its MAC address", || unsafe {
            dpdk_sys::gh_port_mac(self.id, own.as_mut_ptr())
        })?;
        let wanted = self
            .config
            .mac
            .or_else(|| (own == [0; 6] || own[0] & 1 != 0).then(|| made_up_mac(&self.config.name)));
        let Some(mac) = wanted.filter(|mac| mac.0 != own) else {
            return Ok((Mac(own), false));
        };
        if self.config.mac.is_none() {
            tracing::info!(
                "port `{}`: driver {} has no MAC address ({}); {mac} is made up of its name",
                self.config.name,
                self.offered.driver,
                Mac(own)
            );
        }
        // net_tap would give the kernel's end of the cable the same address.
        if self.offered.driver == "net_tap" {
            return Ok((mac, true));
        }
        // SAFETY: the port is configured; six bytes.
        let code = unsafe { dpdk_sys::gh_port_set_mac(self.id, mac.0.as_ptr()) };
        if let Err(reason) = Errno::check(code) {
            tracing::info!(
                "port `{}`: driver {} does not change its MAC address {} ({reason}); {mac} is used in software",
                self.config.name,
                self.offered.driver,
                Mac(own)
            );
        }
        Ok((mac, code != 0))
    }

    /// Lets frames to groups in: neighbour discovery of IPv6 is sent to them.
    fn hear_groups(&self) {
        // SAFETY: the port is started.
        let code = unsafe { dpdk_sys::gh_port_allmulticast(self.id) };
        if let Err(reason) = Errno::check(code) {
            // Software devices that cannot be asked hear groups anyway.
            tracing::debug!(
                "port `{}`: driver {} cannot be told to accept multicast ({reason})",
                self.config.name,
                self.offered.driver
            );
        }
    }

    fn hear_everything(&self) {
        // SAFETY: the port is started.
        let code = unsafe { dpdk_sys::gh_port_promiscuous(self.id) };
        if let Err(reason) = Errno::check(code) {
            // Most drivers that cannot do it do not filter either.
            tracing::warn!(
                "port `{}`: driver {} has no promiscuous mode ({reason}): frames to its MAC address may not arrive",
                self.config.name,
                self.offered.driver
            );
        }
    }
}

/// A link address for a port whose device has none (net_ring): locally
/// administered, for one station, and the same at every start. FNV-1a of the
/// port's name.
fn made_up_mac(name: &str) -> Mac {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mut mac = [0; 6];
    mac.copy_from_slice(&hash.to_be_bytes()[2..]);
    mac[0] = mac[0] & 0xfc | 0x02;
    Mac(mac)
}

impl PortConfig {
    fn bad_mtu(&self, offered: &Capabilities, most: u16) -> PortError {
        PortError::Mtu {
            port: self.name.clone(),
            mtu: self.mtu,
            driver: offered.driver.clone(),
            least: offered.min_mtu,
            most,
        }
    }
}

/// Everything that can be refused before the device is touched.
fn check(config: &PortConfig, offered: &Capabilities) -> Result<(), PortError> {
    for (direction, wanted, most) in [
        ("receive", config.rx_queues, offered.rx_queues),
        ("transmit", config.tx_queues, offered.tx_queues),
    ] {
        if wanted == 0 || wanted > most.min(MAX_QUEUES) {
            return Err(PortError::Queues {
                port: config.name.clone(),
                direction,
                wanted,
                offered: most.min(MAX_QUEUES),
                driver: offered.driver.clone(),
                hint: Device::parse(&config.device).queue_hint(),
            });
        }
    }
    if config.mtu < offered.min_mtu || config.mtu > offered.max_mtu {
        return Err(config.bad_mtu(offered, offered.max_mtu));
    }
    let (needed, data_room) =
        (super::mempool::data_room(config.mtu).unwrap_or(u16::MAX), config.pool.data_room());
    if needed > data_room {
        let port = config.name.clone();
        return Err(PortError::Room { port, mtu: config.mtu, needed, data_room });
    }
    Ok(())
}

fn find(port: &str, device: &str) -> Result<u16, PortError> {
    let not_found = || PortError::NotFound { port: port.to_owned(), device: device.to_owned() };
    let name = CString::new(Device::parse(device).name).map_err(|_| not_found())?;
    let mut id = 0;
    // SAFETY: a C string and a place for the number.
    let code = unsafe { dpdk_sys::gh_port_find(name.as_ptr(), &mut id) };
    Errno::check(code).map(|()| id).map_err(|_| not_found())
}

#[cfg(test)]
mod tests {
    use super::made_up_mac;

    #[test]
    fn a_made_up_address_is_one_stations_own_and_stable() {
        let (one, other) = (made_up_mac("en0"), made_up_mac("en1"));
        assert_eq!(one, made_up_mac("en0"));
        assert_ne!(one, other);
        for mac in [one, other] {
            assert_eq!(mac.0[0] & 3, 2, "{mac}: local, not a group");
        }
    }
}
