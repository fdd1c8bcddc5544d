//! Tunnels as a received packet meets them: which tunnel an outer header
//! belongs to ([`DecapKey`]), and what to check after taking it off.

use crate::ids::{IfId, TableId};

/// What selects the tunnel of a received packet: exact match.
///
/// ```text
///  bits 0..32    source (outer), host byte order
///       32..64   destination (outer)
///       64..96   GRE key, 0 when absent
///       96..104  IP protocol (47 GRE, 4 IPIP)
///       104      key present: "present and 0" is not "absent"
///       112..128 routing table of the outer header
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DecapKey(pub u128);

impl DecapKey {
    /// A key for an outer IPv4 header; addresses in host byte order.
    pub fn ipv4(
        table: TableId,
        source: u32,
        destination: u32,
        protocol: u8,
        key: Option<u32>,
    ) -> DecapKey {
        DecapKey(
            u128::from(source)
                | u128::from(destination) << 32
                | u128::from(key.unwrap_or(0)) << 64
                | u128::from(protocol) << 96
                | u128::from(key.is_some()) << 104
                | u128::from(table.0) << 112,
        )
    }
}

/// Index of a [`Tunnel`] in the tunnel table; equal to its interface number.
pub type TunnelIndex = u32;

/// One slot of the tunnel table: what decapsulation needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// The tunnel interface: its counters.
    pub interface: IfId,
    /// Administratively up, with inner and outer addresses.
    pub up: bool,
    /// Routing table for the inner packet.
    pub table: TableId,
    /// Outer address of the far end: an inner destination equal to it would
    /// loop (RFC 2784 §3.1).
    pub remote: u32,
    /// Seconds of nothing but out-of-sequence packets after which the next is
    /// taken; 0: never.
    pub resync: u16,
}

impl Tunnel {
    /// An unused slot: down, and nobody's counters.
    pub const NONE: Tunnel =
        Tunnel { interface: IfId::NONE, up: false, table: TableId(0), remote: 0, resync: 0 };
}

impl Default for Tunnel {
    fn default() -> Tunnel {
        Tunnel::NONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_zero_is_not_no_key() {
        let key = |k| DecapKey::ipv4(TableId(0), 1, 2, 47, k);
        assert_ne!(key(None), key(Some(0)));
        assert_ne!(DecapKey::ipv4(TableId(1), 1, 2, 47, None), key(None));
    }
}
