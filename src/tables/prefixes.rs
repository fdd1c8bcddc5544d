//! The prefixes a FIB was given, as its writer keeps them: which next hop each
//! has, and what covers a prefix once it is gone.

use std::collections::HashMap;
use std::hash::Hash;

use crate::ids::NextHopId;

/// An address as a number: `u32` for IPv4, `u128` for IPv6.
pub(crate) trait Bits: Copy + Eq + Hash {
    /// The first `len` of `width` bits; the others are cleared.
    fn first(self, len: u8, width: u8) -> Self;
}

impl Bits for u32 {
    fn first(self, len: u8, width: u8) -> u32 {
        u32::MAX.checked_shl(u32::from(width - len)).map_or(0, |mask| self & mask)
    }
}

impl Bits for u128 {
    fn first(self, len: u8, width: u8) -> u128 {
        u128::MAX.checked_shl(u32::from(width - len)).map_or(0, |mask| self & mask)
    }
}

/// Prefixes by length, each a network number with the host bits zero.
#[derive(Debug)]
pub(crate) struct Prefixes<A = u32> {
    /// Real tables use few lengths; an empty map is not asked.
    by_len: Vec<HashMap<A, NextHopId>>,
    width: u8,
}

impl<A: Bits> Prefixes<A> {
    /// No prefixes, for addresses of `width` bits.
    pub(crate) fn new(width: u8) -> Prefixes<A> {
        debug_assert!(usize::from(width) <= 8 * size_of::<A>());
        Prefixes { by_len: vec![HashMap::new(); usize::from(width) + 1], width }
    }

    /// The address with everything below the first `len` bits cleared.
    pub(crate) fn network(&self, address: A, len: u8) -> A {
        address.first(len, self.width)
    }

    /// Adds or changes a prefix; gives the next hop it had.
    pub(crate) fn insert(&mut self, network: A, len: u8, hop: NextHopId) -> Option<NextHopId> {
        self.by_len[usize::from(len)].insert(network, hop)
    }

    /// Takes a prefix out; gives the next hop it had.
    pub(crate) fn remove(&mut self, network: A, len: u8) -> Option<NextHopId> {
        self.by_len[usize::from(len)].remove(&network)
    }

    /// The longest prefix that is shorter than `len` and covers `network`.
    pub(crate) fn parent(&self, network: A, len: u8) -> Option<(u8, NextHopId)> {
        self.parent_from(network, 0, len)
    }

    /// The longest prefix of a length in `from..len` that covers `network`.
    pub(crate) fn parent_from(&self, network: A, from: u8, len: u8) -> Option<(u8, NextHopId)> {
        let lens = usize::from(from)..usize::from(len);
        let maps = lens.clone().zip(&self.by_len[lens]).rev().filter(|(_, map)| !map.is_empty());
        maps.into_iter().find_map(|(len, map)| {
            let len = len as u8;
            map.get(&self.network(network, len)).map(|hop| (len, *hop))
        })
    }

    /// Number of prefixes.
    pub(crate) fn len(&self) -> usize {
        self.by_len.iter().map(HashMap::len).sum()
    }

    /// Memory in use, in bytes (what the hash maps have reserved).
    pub(crate) fn bytes(&self) -> usize {
        // hashbrown: one control byte per bucket, 8 buckets for 7 entries.
        let buckets = |map: &HashMap<A, NextHopId>| map.capacity() / 7 * 8;
        self.by_len.iter().map(|map| buckets(map) * (size_of::<(A, NextHopId)>() + 1)).sum()
    }
}
