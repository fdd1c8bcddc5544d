//! Tunnels as a received packet meets them: which tunnel an outer header
//! belongs to ([`DecapKey`]), and what to check after taking it off.

use std::net::IpAddr;

use crate::flow::fold;
use crate::ids::{IfId, TableId};

/// What a tunnel's packets look like from outside: control's own, exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Received {
    /// Routing table of the outer header.
    pub table: TableId,
    /// Outer source; of the same family as `destination`.
    pub source: IpAddr,
    /// Outer destination.
    pub destination: IpAddr,
    /// Protocol (the last next header of IPv6).
    pub protocol: u8,
    /// GRE key: present and 0 is not absent.
    pub key: Option<u32>,
    /// UDP destination port of a tunnel in UDP, whose `protocol` is what is in
    /// it; 0: not in UDP.
    pub port: u16,
}

/// Outer ends that a hash stands for in a [`DecapKey`]; what the hash finds is
/// compared with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// Source, host byte order; of IPv4 the mapped address ([`mapped`]).
    pub source: u128,
    /// Destination.
    pub destination: u128,
    /// UDP destination port, 0 without UDP.
    pub port: u16,
}

/// An IPv4 address as an IPv6 one (RFC 4291 §2.5.5.2), which no packet has.
#[inline]
pub fn mapped(address: u32) -> u128 {
    0xffff << 32 | u128::from(address)
}

/// What selects the tunnel of a received packet: exact match.
///
/// ```text
///  bits 0..32    source (outer), host byte order   │ of IPv6: a seeded hash
///       32..64   destination (outer)               │ of both
///       64..96   GRE key, 0 when absent
///       96..104  IP protocol (47 GRE, 4 IPIP)
///       104      key present: "present and 0" is not "absent"
///       105      the hash: IPv6, or in UDP
///       112..128 routing table of the outer header
/// ```
///
/// Two pairs of IPv6 addresses may have one hash, if hardly ever; so what a
/// hash finds is compared with [`Tunnel::ends`]. In UDP, addresses of IPv4 and the
/// destination port are hashed too: there is no room for the port beside them.
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
        let ends = u64::from(source) | u64::from(destination) << 32;
        DecapKey(u128::from(ends) | DecapKey::rest(table, protocol, key))
    }

    /// The destination of an outer IPv4 header, host byte order.
    #[inline]
    pub fn destination4(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The same from anybody: the key under which a tunnel is found that learns
    /// its far end. No packet has such a source.
    #[inline]
    pub fn from_anybody(self) -> DecapKey {
        DecapKey(self.0 & !u128::from(u32::MAX))
    }

    /// All but the addresses.
    fn rest(table: TableId, protocol: u8, key: Option<u32>) -> u128 {
        u128::from(key.unwrap_or(0)) << 64
            | u128::from(protocol) << 96
            | u128::from(key.is_some()) << 104
            | u128::from(table.0) << 112
    }
}

/// The hash that stands for a pair of IPv6 addresses in a [`DecapKey`]. Seeded,
/// so that nobody can make up packets that all meet one tunnel's key.
#[derive(Clone, Copy, Debug)]
pub struct EndsHash {
    seed: [u64; 4],
}

impl EndsHash {
    /// One that nobody can guess.
    pub fn random() -> EndsHash {
        use std::hash::{BuildHasher, RandomState};
        EndsHash { seed: std::array::from_fn(|n| RandomState::new().hash_one(n)) }
    }

    /// A key for an outer IPv6 header, or one with UDP behind it.
    #[inline(always)]
    pub fn key(&self, table: TableId, ends: &Ends, protocol: u8, key: Option<u32>) -> DecapKey {
        const HASH: u128 = 1 << 105;
        DecapKey(u128::from(self.hash(ends)) | HASH | DecapKey::rest(table, protocol, key))
    }

    /// [`DecapKey::from_anybody`] of a key that was made of these ends.
    pub fn from_anybody(&self, key: DecapKey, ends: &Ends) -> DecapKey {
        let source = if ends.source >> 32 == 0xffff { mapped(0) } else { 0 };
        let hash = self.hash(&Ends { source, ..*ends });
        DecapKey(key.0 >> 64 << 64 | u128::from(hash))
    }

    #[inline(always)]
    fn hash(&self, ends: &Ends) -> u64 {
        let [a, b, c, d] = self.seed;
        let half = |address: u128, high: u64, low: u64| {
            fold((address >> 64) as u64 ^ high, address as u64 ^ low)
        };
        let mut hash = half(ends.source, a, b).rotate_left(32) ^ half(ends.destination, c, d);
        if ends.port != 0 {
            hash ^= fold(u64::from(ends.port) ^ a, c ^ d);
        }
        hash
    }
}

/// Index of a [`Tunnel`] in the tunnel table; equal to its interface number.
pub type TunnelIndex = u32;

/// One slot of the tunnel table: what decapsulation needs, in one cache line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(align(64))]
pub struct Tunnel {
    /// The tunnel interface: its counters.
    pub interface: IfId,
    /// Administratively up, with inner and outer addresses.
    pub up: bool,
    /// Up, and nothing of what follows is asked of its packets: no limit on TCP
    /// segments, no door, no DSCP to carry, no arrival, no fragments refused. False is always right; see
    /// [`Tunnel::finished`].
    pub plain: bool,
    /// Inner sources are looked at: it has a [`Door`](super::door::Door).
    pub guarded: bool,
    /// The outer DSCP is carried inwards (RFC 2983 §3.1).
    pub uniform: bool,
    /// The one interface its packets may arrive on; [`IfId::NONE`]: any.
    pub arrival: IfId,
    /// Largest TCP segment that may be offered from inside, over IPv4 and over
    /// IPv6; 0: any.
    pub mss: [u16; 2],
    /// Routing table for the inner packet.
    pub table: TableId,
    /// Outer address of the far end: an inner destination equal to it would
    /// loop (RFC 2784 §3.1). 0 for an outer IPv6.
    pub remote: u32,
    /// Our outer IPv6 address, host byte order; of IPv4 in UDP the mapped one;
    /// else 0.
    pub local6: u128,
    /// The far end's, likewise.
    pub remote6: u128,
    /// UDP destination port of its packets, 0: not in UDP.
    pub port: u16,
    /// Takes UDP over IPv6 without a checksum (RFC 6935 §5).
    pub unsummed: bool,
    /// Seconds of nothing but out-of-sequence packets after which the next is
    /// taken; 0: never.
    pub resync: u16,
    /// We send keepalives, and they come back as GRE packets of no type.
    pub keepalives: bool,
    /// We send probes, and their answers come out of it.
    pub probed: bool,
    /// Takes no packets that arrived in fragments (RFC 7588 §3.4).
    pub whole: bool,
}

const _: () = assert!(size_of::<Tunnel>() == 64);

impl Tunnel {
    /// Limits what TCP connections offer.
    #[inline(always)]
    pub fn clamps(&self) -> bool {
        self.mss != [0; 2]
    }

    /// The ends of its packets, where a hash stands for them.
    #[inline]
    pub fn ends(&self) -> Ends {
        Ends { source: self.remote6, destination: self.local6, port: self.port }
    }

    /// This tunnel with `plain` as the rest has it.
    pub fn finished(self) -> Tunnel {
        let asks = self.clamps()
            || self.guarded
            || self.uniform
            || self.whole
            || self.arrival != IfId::NONE;
        Tunnel { plain: self.up && !asks, ..self }
    }

    /// An unused slot: down, and nobody's counters.
    pub const NONE: Tunnel = Tunnel {
        interface: IfId::NONE,
        up: false,
        plain: false,
        guarded: false,
        uniform: false,
        arrival: IfId::NONE,
        mss: [0; 2],
        table: TableId(0),
        remote: 0,
        local6: 0,
        remote6: 0,
        port: 0,
        unsummed: false,
        resync: 0,
        keepalives: false,
        probed: false,
        whole: false,
    };
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

    #[test]
    fn whatever_differs_in_hashed_ends_makes_another_key() {
        let hash = EndsHash::random();
        let ends = |source, destination, port| Ends { source, destination, port };
        let key = |ends: Ends| hash.key(TableId(0), &ends, 47, None);
        let (one, udp) = (ends(1, 2, 0), ends(mapped(1), mapped(2), 4754));
        assert_eq!(key(one), key(one));
        let mut all = vec![
            key(one),
            key(udp),
            hash.key(TableId(1), &one, 47, None),
            key(ends(2, 1, 0)),
            hash.key(TableId(0), &one, 4, None),
            hash.key(TableId(0), &udp, 4, None),
            hash.key(TableId(0), &one, 47, Some(0)),
            hash.key(TableId(0), &one, 47, Some(1)),
            DecapKey::ipv4(TableId(0), 1, 2, 47, None),
        ];
        for bit in 0..128 {
            all.push(key(ends(1 ^ 1 << bit, 2, 0)));
            all.push(key(ends(1, 2 ^ 1 << bit, 0)));
        }
        for bit in 0..16 {
            all.push(key(ends(1, 2, 1 << bit)));
            all.push(key(ends(mapped(1), mapped(2), 1 << bit)));
        }
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
