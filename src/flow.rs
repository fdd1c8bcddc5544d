//! The flow a datagram belongs to, as a number: what ECMP and the spread over
//! workers choose by.
//!
//! ```text
//!   (source, port) ─┐ lower  ─ ^ seed[0] ─┐
//!                   ├─                    × ─ fold ─ ^ protocol ─ × seed[2] ─ fold ─▶ 32 bits
//!   (dest., port) ──┘ higher ─ ^ seed[1] ─┘
//! ```
//!
//! **Symmetric**: the two ends are put in order first, so both directions of a
//! connection are one flow. Sorting loses nothing; the cheaper sum or exclusive
//! or of both ends would make one flow of every `a.i ↔ b.j` with the same `i + j`.
//! **Seeded**, anew at each start, so that nobody can send flows that all meet,
//! and two gateways in a row do not choose alike. **Cheap**: two multiplications
//! of 64 × 64 to 128 bits, folded (high half ^ low half): about ten cycles of
//! latency, two or three a packet where a burst overlaps them. The seeds are
//! secret and the second factor odd, so no input makes a factor 0 but by chance.
//!
//! Ports count for TCP and UDP, not for fragments: only the first has them, and
//! all fragments of a datagram have to go one way.

use crate::wire::ipv4::IPV4_LEN;
use crate::wire::ipv6::{IPV6_LEN, Ipv6Header};

/// More fragments, or an offset, in the second word of an IPv4 header.
const FRAGMENT: u32 = 0x3fff;

/// A hash function: one of 2^192.
#[derive(Clone, Copy, Debug)]
pub struct FlowHash {
    seed: [u64; 3],
}

impl FlowHash {
    /// One that nobody can guess.
    pub fn random() -> FlowHash {
        use std::hash::{BuildHasher, RandomState};
        FlowHash::from_words(std::array::from_fn(|n| RandomState::new().hash_one(n)))
    }

    /// Always the same one for the same number: tests and replay.
    pub fn fixed(seed: u64) -> FlowHash {
        let word = |n: u64| splitmix(seed.wrapping_add(n));
        FlowHash::from_words([word(1), word(2), word(3)])
    }

    fn from_words([low, high, last]: [u64; 3]) -> FlowHash {
        FlowHash { seed: [low, high, last | 1] }
    }

    /// The flow between two ends; `ports` is the first word behind the IPv4
    /// header as [`ports`] gives it, the source port in its upper half.
    #[inline(always)]
    pub fn ends(&self, source: u32, destination: u32, protocol: u8, ports: u32) -> u32 {
        let one = u64::from(source) << 16 | u64::from(ports >> 16);
        let other = u64::from(destination) << 16 | u64::from(ports & 0xffff);
        let (low, high) = (one.min(other), one.max(other));
        let mixed = fold(low ^ self.seed[0], high ^ self.seed[1]);
        (fold(mixed ^ u64::from(protocol), self.seed[2]) >> 16) as u32
    }

    /// [`FlowHash::ends`] for IPv6. Ports count where TCP or UDP follows the header
    /// itself: a fragment header, or any other, stands in between for all
    /// fragments alike.
    #[inline]
    pub fn ends6(&self, source: u128, destination: u128, protocol: u8, ports: u32) -> u32 {
        let one = (source, u64::from(ports >> 16));
        let other = (destination, u64::from(ports & 0xffff));
        let ((low, near), (high, far)) = (one.min(other), one.max(other));
        let mix =
            |address: u128, a: u64, b: u64| fold((address >> 64) as u64 ^ a, address as u64 ^ b);
        let [a, b, c] = self.seed;
        let (low, high) = (mix(low, a, b), mix(high, b.rotate_left(32), a.rotate_left(32)));
        let mixed = fold(low ^ near ^ a, high ^ far ^ b);
        (fold(mixed ^ u64::from(protocol), c) >> 16) as u32
    }

    /// The flow of an IP datagram that begins here. What is too short for a
    /// header is all one flow.
    #[inline]
    pub fn datagram(&self, datagram: &[u8]) -> u32 {
        if datagram.first().is_some_and(|first| first >> 4 == 6) {
            return self.datagram6(datagram);
        }
        let Some(header) = datagram.first_chunk::<IPV4_LEN>() else { return 0 };
        let word = |at: usize| {
            u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let behind = datagram.get(usize::from(header[0] & 0xf) * 4..).unwrap_or_default();
        self.ends(word(12), word(16), header[9], ports(word(4), header[9], behind))
    }

    #[inline(never)]
    fn datagram6(&self, datagram: &[u8]) -> u32 {
        let Some(header) = Ipv6Header::ref_from(datagram) else { return 0 };
        let protocol = header.next_header;
        let ports = ports(0, protocol, datagram.get(IPV6_LEN..).unwrap_or_default());
        self.ends6(header.src(), header.dst(), protocol, ports)
    }
}

/// Source and destination port of a datagram, where it has any that all its
/// packets have; else 0. `word` is the second one of the IPv4 header, `behind`
/// what follows the header.
#[inline(always)]
pub fn ports(word: u32, protocol: u8, behind: &[u8]) -> u32 {
    const TCP: u8 = 6;
    const UDP: u8 = 17;
    match behind.first_chunk::<4>() {
        Some(ports) if (protocol == TCP || protocol == UDP) && word & FRAGMENT == 0 => {
            u32::from_be_bytes(*ports)
        }
        _ => 0,
    }
}

/// Both halves of the product, one over the other.
#[inline(always)]
pub(crate) fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// A step of splitmix64: a number that looks nothing like its neighbours'.
pub(crate) fn splitmix(n: u64) -> u64 {
    let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    /// A datagram with this second word and these bytes behind the header.
    fn datagram(source: u32, destination: u32, protocol: u8, word: u32, behind: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x45, 0, 0, 0];
        bytes.extend(word.to_be_bytes());
        bytes.extend([64, protocol, 0, 0]);
        bytes.extend(source.to_be_bytes());
        bytes.extend(destination.to_be_bytes());
        bytes.extend(behind);
        bytes
    }

    proptest! {
        #[test]
        fn both_directions_are_one_flow(
            seed: u64, a: u32, b: u32, protocol: u8, from: u16, to: u16
        ) {
            let hash = FlowHash::fixed(seed);
            let (there, back) = (u32::from(from) << 16 | u32::from(to), u32::from(to) << 16 | u32::from(from));
            prop_assert_eq!(hash.ends(a, b, protocol, there), hash.ends(b, a, protocol, back));
        }

        #[test]
        fn fragments_of_a_datagram_are_one_flow(
            a: u32, b: u32, id: u16, offset in 1u32..0x2000, first: [u8; 8], later: [u8; 8]
        ) {
            let hash = FlowHash::fixed(7);
            let id = u32::from(id) << 16;
            for protocol in [6, 17, 1] {
                let first = hash.datagram(&datagram(a, b, protocol, id | 0x2000, &first));
                let middle = hash.datagram(&datagram(a, b, protocol, id | 0x2000 | offset, &later));
                let last = hash.datagram(&datagram(a, b, protocol, id | offset, &later));
                prop_assert_eq!((first, first), (middle, last));
            }
        }

        #[test]
        fn anything_has_a_flow(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            FlowHash::fixed(1).datagram(&bytes);
        }
    }

    #[test]
    fn ports_tell_flows_of_tcp_and_udp_apart_and_of_nothing_else() {
        let hash = FlowHash::fixed(3);
        let of = |protocol, ports: [u8; 4]| {
            hash.datagram(&datagram(0x0a00_0001, 0x0b00_0002, protocol, 0x4000, &ports))
        };
        for protocol in [6, 17] {
            assert_ne!(of(protocol, [0, 1, 0, 80]), of(protocol, [0, 2, 0, 80]));
        }
        assert_eq!(of(1, [8, 0, 1, 2]), of(1, [8, 0, 3, 4]), "an ICMP checksum is no port");
        assert_ne!(of(6, [0, 1, 0, 80]), of(17, [0, 1, 0, 80]));
        // Options in between, and a datagram that ends before its ports.
        let mut long = datagram(0x0a00_0001, 0x0b00_0002, 17, 0, &[1, 1, 1, 0, 0, 1, 0, 80]);
        long[0] = 0x46;
        assert_eq!(hash.datagram(&long), of(17, [0, 1, 0, 80]));
        let cut = datagram(0x0a00_0001, 0x0b00_0002, 17, 0, &[0, 1, 0]);
        assert_eq!(hash.datagram(&cut), of(17, [0, 0, 0, 0]));
    }

    /// Flows as networks have them: neighbouring addresses on both sides, or
    /// one pair of hosts and neighbouring ports.
    fn flows() -> [Vec<(u32, u32, u32)>; 3] {
        let pairs = (0..64).flat_map(|i| (0..64).map(move |j| (i, j)));
        [
            pairs.clone().map(|(i, j)| (0x0a00_0000 + i, 0xc0a8_0000 + j, 0)).collect(),
            pairs
                .clone()
                .map(|(i, j)| (0x0a00_0000 + (i << 8), 0x0a80_0000 + (j << 8), 80))
                .collect(),
            pairs
                .map(|(i, j)| (0x0a00_0001, 0x0a00_0002, (32768 + i * 64 + j) << 16 | 443))
                .collect(),
        ]
    }

    #[test]
    fn flows_spread_evenly_whichever_bits_are_looked_at() {
        for seed in 0..8 {
            let hash = FlowHash::fixed(seed);
            for flows in flows() {
                for buckets in 2..=16u32 {
                    let (mut low, mut high) = (vec![0u32; 16], vec![0u32; 16]);
                    for (a, b, ports) in &flows {
                        let hash = hash.ends(*a, *b, 6, *ports);
                        low[(hash % buckets) as usize] += 1;
                        high[((u64::from(hash) * u64::from(buckets)) >> 32) as usize] += 1;
                    }
                    for counts in [&low[..buckets as usize], &high[..buckets as usize]] {
                        let mean = flows.len() as f64 / f64::from(buckets);
                        let square = |n: &u32| (f64::from(*n) - mean).powi(2) / mean;
                        let chi: f64 = counts.iter().map(square).sum();
                        // Mean n - 1, deviation sqrt(2 (n - 1)): 6 of those above.
                        let free = f64::from(buckets - 1);
                        let most = free + 6.0 * (2.0 * free).sqrt();
                        assert!(chi < most, "{buckets} buckets, chi² {chi:.1} over {most:.1}");
                    }
                }
            }
        }
    }

    #[test]
    fn each_bit_of_the_input_moves_each_of_the_output_half_the_time() {
        const ROUNDS: u64 = 4000;
        let hash = FlowHash::fixed(11);
        let mut flips = vec![[0u64; 32]; 96];
        for round in 0..ROUNDS {
            let (x, y) = (splitmix(2 * round), splitmix(2 * round + 1));
            let (a, b, ports) = (x as u32, (x >> 32) as u32, y as u32);
            let base = hash.ends(a, b, 6, ports);
            for (bit, flips) in flips.iter_mut().enumerate() {
                let flip = |word: usize| if bit / 32 == word { 1u32 << (bit % 32) } else { 0 };
                let moved = base ^ hash.ends(a ^ flip(0), b ^ flip(1), 6, ports ^ flip(2));
                for (at, count) in flips.iter_mut().enumerate() {
                    *count += u64::from(moved >> at & 1);
                }
            }
        }
        for (bit, counts) in flips.iter().enumerate() {
            for (at, count) in counts.iter().enumerate() {
                let share = *count as f64 / ROUNDS as f64;
                // Six deviations of 4000 tosses of a coin.
                assert!((share - 0.5).abs() < 0.048, "input {bit}, output {at}: {share:.3}");
            }
        }
    }

    #[test]
    fn seeds_make_different_functions() {
        let ends = |hash: FlowHash| hash.ends(1, 2, 6, 3);
        assert_ne!(ends(FlowHash::fixed(1)), ends(FlowHash::fixed(2)));
        assert_eq!(ends(FlowHash::fixed(1)), ends(FlowHash::fixed(1)));
        let many: std::collections::HashSet<u32> =
            (0..16).map(|_| ends(FlowHash::random())).collect();
        assert!(many.len() > 14, "{} of 16 differ", many.len());
    }
}
