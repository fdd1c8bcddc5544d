//! Small index types shared by the path and by what runs beside it.
//!
//! They are plain indices, chosen so that the path can use them to index flat
//! arrays (counters, chunks) without hashing.

use serde::{Deserialize, Serialize};

/// Index of a DPDK port, in the order the configuration names the ports.
///
/// [`PortId::CONTROL`] is the pseudo-port that stands for packets made by
/// control (ARP, ICMP errors, released held packets).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PortId(pub u8);

/// Most real ports one gateway can have.
pub const MAX_PORTS: usize = 32;

impl PortId {
    /// Where packets injected by control "come from".
    pub const CONTROL: PortId = PortId(MAX_PORTS as u8);

    /// This port as an array index; [`PortId::CONTROL`] is the last one.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Number of packet origins: the real ports and the control pseudo-port.
pub const ORIGINS: usize = MAX_PORTS + 1;

/// Where the identifications of one of `workers` workers start, or as number
/// `workers` control's: each has an equal share of the 65,536 before it comes to
/// another's (V4-04).
pub fn first_identification(number: usize, workers: usize) -> u16 {
    (number * (1 << 16) / (workers + 1)) as u16
}

/// A logical interface: a port, a VLAN sub-interface or a tunnel.
///
/// Also the index of its counters. Numbers are reused after an interface is
/// destroyed, once every worker has forgotten it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct IfId(pub u32);

impl IfId {
    /// "No interface": packets made by control before they are routed.
    pub const NONE: IfId = IfId(u32::MAX);

    /// This interface as an array index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Most logical interfaces (ports + VLANs + tunnels) one gateway can have.
pub const MAX_INTERFACES: usize = 1 << 17;

/// What a FIB lookup yields: the slot of an adjacency, or of a group of next
/// hops (ECMP), which has [`NextHopId::GROUP`] set.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct NextHopId(pub u32);

impl NextHopId {
    /// Slot 0 always holds the "no route" adjacency.
    pub const NO_ROUTE: NextHopId = NextHopId(0);

    /// The bit that groups have and plain next hops have not: OR the numbers of
    /// a burst to see whether it meets any group.
    pub const GROUP: u32 = MAX_NEXT_HOPS as u32;

    /// The group in this slot of the group table; `None` at [`MAX_GROUPS`] and
    /// above.
    pub fn group(slot: usize) -> Option<NextHopId> {
        (slot < MAX_GROUPS).then_some(NextHopId(NextHopId::GROUP | slot as u32))
    }

    /// The slot of a group; `None` for a plain next hop.
    #[inline(always)]
    pub fn group_index(self) -> Option<usize> {
        (self.0 & NextHopId::GROUP != 0).then_some((self.0 ^ NextHopId::GROUP) as usize)
    }

    /// This next hop as an array index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Most next hops (neighbours + gateways + tunnels + local addresses).
pub const MAX_NEXT_HOPS: usize = 1 << 19;

/// Most groups of next hops.
pub const MAX_GROUPS: usize = 1 << 12;

/// Every number a FIB entry may hold is below this one.
pub const NEXT_HOP_END: usize = MAX_NEXT_HOPS + MAX_GROUPS;

const _: () = assert!(MAX_NEXT_HOPS.is_power_of_two() && MAX_GROUPS <= MAX_NEXT_HOPS);

/// A version of the Internet Protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: std::net::IpAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

/// A routing table number. 0 today; VRFs get their own later. It is part of
/// every lookup and of every decapsulation key from the start.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct TableId(pub u16);

/// An Ethernet address.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// `ff:ff:ff:ff:ff:ff`.
    pub const BROADCAST: Mac = Mac([0xff; 6]);

    /// True for group addresses, broadcast included (I/G bit, IEEE 802).
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl std::fmt::Display for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let m = &self.0;
        write!(f, "{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", m[0], m[1], m[2], m[3], m[4], m[5])
    }
}

impl std::fmt::Debug for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// A string that is not an Ethernet address.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not an Ethernet address: expected six hex bytes like 02:00:00:00:00:01")]
pub struct MacError(String);

impl std::str::FromStr for Mac {
    type Err = MacError;

    /// Six bytes in hex, one or two digits each, as `arp -s` takes them.
    fn from_str(text: &str) -> Result<Mac, MacError> {
        let bad = || MacError(text.to_owned());
        let mut mac = [0u8; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut mac {
            let part = parts.next().ok_or_else(bad)?;
            if part.is_empty() || part.len() > 2 {
                return Err(bad());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        if parts.next().is_some() { Err(bad()) } else { Ok(Mac(mac)) }
    }
}

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Mac, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_text_round_trips_and_short_bytes_are_accepted() {
        let mac: Mac = "2:0:0:0:0:a".parse().expect("valid");
        assert_eq!(mac, Mac([2, 0, 0, 0, 0, 10]));
        assert_eq!(mac.to_string().parse(), Ok(mac));
    }

    #[test]
    fn bad_macs_are_refused() {
        for text in
            ["", "02:00:00:00:00", "02:00:00:00:00:00:00", "02:00:00:00:00:zz", "020:0:0:0:0:0"]
        {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }
}
