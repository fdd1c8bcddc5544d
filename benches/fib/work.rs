//! Prefixes and addresses, the same in every run.

use std::collections::HashSet;

/// xorshift64*: quick, and the same in every run.
pub struct Random(u64);

impl Random {
    /// From a fixed seed.
    pub fn new() -> Random {
        Random(0x9e37_79b9_7f4a_7c15)
    }

    /// 32 random bits.
    pub fn next(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.next() as usize % n
    }

    fn wide(&mut self) -> u128 {
        (0..4).fold(0, |all, _| all << 32 | u128::from(self.next()))
    }
}

/// Different IPv4 prefixes as in the anchors: random, /16 to /24, 60 % of them
/// /24, within 1.0.0.0 to 223.255.255.255.
pub fn ipv4(count: usize, random: &mut Random) -> Vec<(u32, u8)> {
    let (mut seen, mut list) = (HashSet::new(), Vec::new());
    while list.len() < count {
        let len = if random.next() % 10 < 6 { 24 } else { 16 + random.next() % 8 };
        let address = random.next() & (u32::MAX << (32 - len));
        let usable = (1..224).contains(&(address >> 24)) && address >> 24 != 127;
        if usable && seen.insert((address, len)) {
            list.push((address, len as u8));
        }
    }
    list
}

/// Random addresses of random prefixes.
pub fn ipv4_hits(prefixes: &[(u32, u8)], count: usize, random: &mut Random) -> Vec<u32> {
    let mut hit = || {
        let (address, len) = prefixes[random.below(prefixes.len())];
        address | random.next() & !(u32::MAX << (32 - u32::from(len)))
    };
    (0..count).map(|_| hit()).collect()
}

/// Where registries give addresses out: (block, length).
const BLOCKS: [(u128, u32); 6] = [
    (0x2001 << 112, 16),
    (0x2400 << 112, 12),
    (0x2600 << 112, 12),
    (0x2800 << 112, 12),
    (0x2a00 << 112, 12),
    (0x2c00 << 112, 12),
];

/// Lengths of announced prefixes in per cent, roughly those of the routing
/// table of 2024; what is longer than /32 lies in somebody's /32.
const LENGTHS: [(u8, u32); 10] =
    [(29, 3), (30, 1), (32, 13), (33, 2), (34, 2), (36, 7), (40, 11), (42, 2), (44, 13), (48, 46)];

/// Different IPv6 prefixes, clustered as real ones are: in the registries'
/// blocks, three quarters of them within the /32 of somebody, who are fewer than
/// the prefixes by a factor of seven.
pub fn ipv6(count: usize, random: &mut Random) -> Vec<(u128, u8)> {
    let owner = |random: &mut Random| {
        let (block, len) = BLOCKS[random.below(BLOCKS.len())];
        block | (random.wide() >> len) & (u128::MAX << 96)
    };
    let owners: Vec<u128> = (0..count / 7 + 1).map(|_| owner(random)).collect();
    let (mut seen, mut list) = (HashSet::new(), Vec::new());
    while list.len() < count {
        let mut roll = random.next() % 100;
        let chosen = LENGTHS.iter().find(|(_, share)| {
            let found = roll < *share;
            roll = roll.wrapping_sub(*share);
            found
        });
        let len = chosen.map_or(48, |(len, _)| *len);
        // The square: some have many, most have few.
        let at = (random.below(owners.len()) as u64 * random.below(owners.len()) as u64) as usize;
        let address =
            if len <= 32 { owner(random) } else { owners[at / owners.len()] | random.wide() >> 32 };
        let network = address & (u128::MAX << (128 - len));
        if seen.insert((network, len)) {
            list.push((network, len));
        }
    }
    list
}

/// Random addresses of random prefixes.
pub fn ipv6_hits(prefixes: &[(u128, u8)], count: usize, random: &mut Random) -> Vec<u128> {
    let mut hit = || {
        let (address, len) = prefixes[random.below(prefixes.len())];
        address | random.wide() >> len
    };
    (0..count).map(|_| hit()).collect()
}

/// The next hop of the n-th prefix: 1 to 1024.
pub fn hop(n: usize) -> u32 {
    1 + n as u32 % 1024
}
