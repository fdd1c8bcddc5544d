//! The prefixes a FIB was given, as its writer keeps them: which next hop each
//! has, and what covers a prefix once it is gone.

use std::collections::HashMap;

use crate::ids::NextHopId;

/// Longest prefix of any width we use.
const MAX_LEN: usize = 32;

/// Prefixes by length, each a network number with the host bits zero.
#[derive(Debug)]
pub(crate) struct Prefixes {
    by_len: Vec<HashMap<u32, NextHopId>>,
    /// Bit n set: some prefix of length n exists. Real tables use few lengths.
    lengths: u64,
    width: u8,
}

impl Prefixes {
    /// No prefixes, for addresses of `width` bits.
    pub(crate) fn new(width: u8) -> Prefixes {
        debug_assert!(usize::from(width) <= MAX_LEN);
        Prefixes { by_len: vec![HashMap::new(); usize::from(width) + 1], lengths: 0, width }
    }

    /// The address with everything below the first `len` bits cleared.
    pub(crate) fn network(&self, address: u32, len: u8) -> u32 {
        let host_bits = u32::from(self.width - len);
        u32::MAX.checked_shl(host_bits).map_or(0, |mask| address & mask)
    }

    /// Adds or changes a prefix; gives the next hop it had.
    pub(crate) fn insert(&mut self, network: u32, len: u8, hop: NextHopId) -> Option<NextHopId> {
        self.lengths |= 1 << len;
        self.by_len[usize::from(len)].insert(network, hop)
    }

    /// Takes a prefix out; gives the next hop it had.
    pub(crate) fn remove(&mut self, network: u32, len: u8) -> Option<NextHopId> {
        let map = &mut self.by_len[usize::from(len)];
        let hop = map.remove(&network)?;
        if map.is_empty() {
            self.lengths &= !(1 << len);
        }
        Some(hop)
    }

    /// The next hop of exactly this prefix.
    pub(crate) fn get(&self, network: u32, len: u8) -> Option<NextHopId> {
        self.by_len[usize::from(len)].get(&network).copied()
    }

    /// The longest prefix that is shorter than `len` and covers `network`.
    pub(crate) fn parent(&self, network: u32, len: u8) -> Option<(u8, NextHopId)> {
        let mut shorter = self.lengths & ((1 << len) - 1);
        while shorter != 0 {
            let len = 63 - shorter.leading_zeros() as u8;
            if let Some(hop) = self.get(self.network(network, len), len) {
                return Some((len, hop));
            }
            shorter &= !(1 << len);
        }
        None
    }

    /// Number of prefixes.
    pub(crate) fn len(&self) -> usize {
        self.by_len.iter().map(HashMap::len).sum()
    }

    /// Memory in use, in bytes (what the hash maps have reserved).
    pub(crate) fn bytes(&self) -> usize {
        // hashbrown: one control byte per bucket, 8 buckets for 7 entries.
        let buckets = |map: &HashMap<u32, NextHopId>| map.capacity() / 7 * 8;
        self.by_len.iter().map(|map| buckets(map) * (size_of::<(u32, NextHopId)>() + 1)).sum()
    }
}
