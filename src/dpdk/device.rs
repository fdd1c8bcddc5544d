//! Device strings: a virtual device (`net_tap0,iface=lan0`) or a PCI address.

use std::fmt;
use std::path::Path;

/// A device as the configuration names it, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Name by which DPDK knows it: `net_tap0`, `0000:01:00.0`.
    pub name: String,
    /// What follows the first comma: `iface=lan0`.
    pub arguments: String,
    /// On the PCI bus, not virtual.
    pub is_pci: bool,
}

/// Bytes of a frame slot of net_af_packet where the device string says nothing.
///
/// The driver always joins a fanout group with `PACKET_FANOUT_FLAG_DEFRAG`, so
/// the kernel puts fragments together before we see them: what arrives on a
/// link of 1500 bytes can be a datagram of many times that, and with the
/// driver's 2048 bytes all fragmented traffic would be lost.
const AF_PACKET_FRAME: usize = 16 << 10;

impl Device {
    /// Takes a device string apart. A PCI address without a domain gets
    /// domain 0.
    pub fn parse(text: &str) -> Device {
        let (name, arguments) = text.trim().split_once(',').unwrap_or((text.trim(), ""));
        let is_pci = is_pci_address(name);
        let name = match name.matches(':').count() {
            1 if is_pci => format!("0000:{name}"),
            _ => name.to_owned(),
        };
        let name = if is_pci { name.to_lowercase() } else { name };
        Device { name, arguments: arguments.to_owned(), is_pci }
    }

    /// Its arguments as the driver is given them: what was written, and for
    /// net_af_packet the frame slots, unless those were written too.
    pub fn driver_arguments(&self) -> String {
        if !self.is_af_packet() || self.argument("framesz").is_some() {
            return self.arguments.clone();
        }
        let comma = if self.arguments.is_empty() { "" } else { "," };
        let sizes = format!("blocksz={AF_PACKET_FRAME},framesz={AF_PACKET_FRAME}");
        format!("{}{comma}{sizes}", self.arguments)
    }

    fn is_af_packet(&self) -> bool {
        self.name.starts_with("net_af_packet")
    }

    /// Bytes that the driver may put into a buffer whatever the MTU is.
    pub fn frame_room(&self) -> usize {
        if !self.is_af_packet() {
            return 0;
        }
        self.argument("framesz").and_then(|bytes| bytes.parse().ok()).unwrap_or(AF_PACKET_FRAME)
    }

    /// The value of one of its arguments.
    pub fn argument(&self, key: &str) -> Option<&str> {
        self.arguments
            .split(',')
            .find_map(|pair| pair.split_once('=').filter(|(k, _)| *k == key))
            .map(|(_, v)| v)
    }

    /// What stands in the way of probing it, as far as it can be seen from here.
    pub fn obstacle(&self) -> Option<String> {
        if self.is_pci {
            let known = Path::new("/sys/bus/pci/devices").join(&self.name).exists();
            return Some(if known {
                "the device is there but is not bound to a driver that DPDK can use (vfio-pci)"
                    .to_owned()
            } else {
                "there is no such PCI device".to_owned()
            });
        }
        let wants_interface =
            self.name.starts_with("net_af_packet") || self.name.starts_with("net_af_xdp");
        if wants_interface {
            match self.argument("iface") {
                None => {
                    return Some("it needs `iface=` and the name of a kernel interface".to_owned());
                }
                Some(name) if !interface_exists(name) => {
                    return Some(format!("there is no kernel interface `{name}`"));
                }
                Some(_) => {}
            }
        }
        let wants_root = wants_interface || self.name.starts_with("net_tap");
        // SAFETY: geteuid has no preconditions and cannot fail.
        let uid = unsafe { libc::geteuid() };
        (wants_root && uid != 0).then(|| {
            format!("this driver needs CAP_NET_ADMIN and CAP_NET_RAW, and user {uid} is not root")
        })
    }

    /// The argument by which this driver is given more queues, as a hint.
    pub fn queue_hint(&self) -> &'static str {
        if self.name.starts_with("net_af_packet") {
            "; net_af_packet takes `qpairs=N`"
        } else if self.name.starts_with("net_af_xdp") {
            "; net_af_xdp takes `queue_count=N`"
        } else {
            ""
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let comma = if self.arguments.is_empty() { "" } else { "," };
        write!(f, "{}{comma}{}", self.name, self.arguments)
    }
}

/// In this process's network namespace (which /sys need not show).
fn interface_exists(name: &str) -> bool {
    let Ok(name) = std::ffi::CString::new(name) else { return false };
    // SAFETY: a C string that lives during the call.
    unsafe { libc::if_nametoindex(name.as_ptr()) != 0 }
}

/// `[domain:]bus:device.function`, all hex.
fn is_pci_address(name: &str) -> bool {
    let Some((rest, function)) = name.rsplit_once('.') else { return false };
    let parts: Vec<&str> = rest.split(':').collect();
    let hex = |text: &str, most: usize| {
        (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
    };
    let (domain, bus, device) = match parts[..] {
        [bus, device] => ("0", bus, device),
        [domain, bus, device] => (domain, bus, device),
        _ => return false,
    };
    hex(domain, 8) && hex(bus, 2) && hex(device, 2) && hex(function, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtual_devices_and_pci_addresses_are_told_apart() {
        let tap = Device::parse("net_tap0,iface=lan0,mac=fixed");
        assert_eq!((tap.name.as_str(), tap.is_pci), ("net_tap0", false));
        assert_eq!((tap.argument("iface"), tap.argument("mac")), (Some("lan0"), Some("fixed")));
        assert_eq!(tap.argument("qpairs"), None);
        assert_eq!(tap.to_string(), "net_tap0,iface=lan0,mac=fixed");
        let pci = Device::parse("3B:00.1");
        assert_eq!((pci.name.as_str(), pci.is_pci), ("0000:3b:00.1", true));
        assert!(Device::parse("0000:3b:00.1,x=1").is_pci);
        for text in ["net_null0", "", "0000:3b:00", "3b:00.10", "a.b"] {
            assert!(!Device::parse(text).is_pci, "{text}");
        }
    }

    #[test]
    fn af_packet_gets_slots_for_what_the_kernel_reassembles() {
        let device = Device::parse("net_af_packet0,iface=en0");
        assert_eq!(device.frame_room(), 16384);
        assert_eq!(device.driver_arguments(), "iface=en0,blocksz=16384,framesz=16384");
        assert_eq!(device.to_string(), "net_af_packet0,iface=en0");
        let device = Device::parse("net_af_packet0,iface=en0,framesz=2048");
        assert_eq!(
            (device.frame_room(), device.driver_arguments()),
            (2048, device.arguments.clone())
        );
        assert_eq!(Device::parse("net_tap0,framesz=9").frame_room(), 0);
    }

    #[test]
    fn a_missing_kernel_interface_is_named() {
        let obstacle = Device::parse("net_af_packet0,iface=nosuch99").obstacle();
        assert_eq!(obstacle.as_deref(), Some("there is no kernel interface `nosuch99`"));
        let obstacle = Device::parse("net_af_xdp0").obstacle();
        assert!(obstacle.is_some_and(|o| o.contains("iface=")));
    }
}
