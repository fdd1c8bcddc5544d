//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//!
//! The checksum of some bytes is the ones' complement of the ones' complement
//! sum of their 16-bit words; a last odd byte counts as the high half of a
//! word (it is padded with a zero *behind* it).
//!
//! **Bytes, not numbers.** Ones' complement addition carries out of the top
//! bit back into the bottom one, so the sum treats both byte positions alike:
//! adding words with their bytes swapped gives the same sum with its bytes
//! swapped (RFC 1071 §2.B). So [`sum`] adds in whatever order this machine
//! loads fastest, and wider than 16 bits at that (a 32-bit word is just two
//! 16-bit words weighted 2^16 ≡ 1 modulo 0xffff), and swaps once at the end.
//! What it returns is a number in the ordinary sense: the big-endian words'
//! sum. Header fields can be added to it as plain `u16` values.
//!
//! **Two zeros.** Ones' complement has 0x0000 and 0xffff for zero. A sum is
//! 0x0000 only if every byte is; any other sum that is congruent to zero
//! folds to 0xffff. An IPv4 header is never all zero, so its checksum is never
//! 0xffff: a sum of zero is stored as 0x0000. Updating a checksum `HC` for a
//! word changing from `m` to `m'` as RFC 1141 does, `HC + m + ~m'`, can give
//! 0xffff where recomputing gives 0x0000. RFC 1624 §3 (eqn. 3) does not:
//! `HC' = ~(~HC + ~m + m')`. All updates here use eqn. 3, so an updated
//! checksum equals the recomputed one bit for bit. (A receiver that *verifies*
//! by summing everything to 0xffff accepts both zeros; one that compares with
//! a recomputed value does not.) UDP reserves a stored 0x0000 for "no
//! checksum" (RFC 768) and is not updated here.

/// Ones' complement sum of the big-endian 16-bit words of `bytes`, folded to
/// 0..=0xffff.
///
/// Sums of pieces may be added up (65 536 of them before a `u32` overflows)
/// and then [`fold`]ed, if every piece but the last has an even length.
#[inline]
#[must_use]
pub fn sum(bytes: &[u8]) -> u32 {
    // 32-bit words into 64-bit lanes: no carry to track (2^32 words would be
    // needed to overflow), which is the form compilers vectorise.
    let mut words = bytes.chunks_exact(4);
    let mut total: u64 = 0;
    for word in &mut words {
        total += u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
    }
    let mut last = [0u8; 4];
    let rest = words.remainder();
    last[..rest.len()].copy_from_slice(rest);
    total += u64::from(u32::from_ne_bytes(last));
    u32::from(u16::from_be(fold64(total)))
}

/// [`sum`] of an IPv4 header without options, unrolled.
#[inline]
#[must_use]
pub fn sum20(bytes: &[u8; 20]) -> u32 {
    let mut total: u64 = 0;
    for i in 0..5 {
        let at = i * 4;
        total +=
            u64::from(u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]));
    }
    u32::from(u16::from_be(fold64(total)))
}

#[inline]
fn fold64(total: u64) -> u16 {
    // 64 → 33 bits; another fold leaves 32 bits, as 2^33 − 2 splits in two
    // halves whose sum is below 2^32.
    let total = (total & 0xffff_ffff) + (total >> 32);
    let total = (total & 0xffff_ffff) + (total >> 32);
    fold(total as u32)
}

/// Folds carries back in until 16 bits are left. Not complemented.
#[inline]
#[must_use]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// What to store for a sum of header fields and [`sum`]s: folded, complemented.
#[inline]
#[must_use]
pub const fn finish(sum: u32) -> u16 {
    !fold(sum)
}

/// The Internet checksum of `bytes`, to be stored big-endian in a checksum
/// field that was zero while summing.
#[inline]
#[must_use]
pub fn checksum(bytes: &[u8]) -> u16 {
    finish(sum(bytes))
}

/// True if `bytes`, checksum field included, sum up to "minus zero".
#[inline]
#[must_use]
pub fn verify(bytes: &[u8]) -> bool {
    sum(bytes) == 0xffff
}

/// The checksum after one 16-bit word changed from `old` to `new` (RFC 1624
/// eqn. 3). For a byte, pass the whole word it lies in.
#[inline]
#[must_use]
pub const fn update16(checksum: u16, old: u16, new: u16) -> u16 {
    finish(!checksum as u32 + !old as u32 + new as u32)
}

/// The checksum after a 32-bit field at an even offset (an address) changed.
#[inline]
#[must_use]
pub const fn update32(checksum: u16, old: u32, new: u32) -> u16 {
    let old = (!old & 0xffff) + (!old >> 16);
    let new = (new & 0xffff) + (new >> 16);
    finish(!checksum as u32 + old + new)
}

/// The IPv4 header checksum after the TTL went down by one.
///
/// The TTL is the high byte of its word, so `~m + m'` of eqn. 3 is always
/// `0xffff − 0x0100`. The caller has made sure that the TTL was not zero.
#[inline]
#[must_use]
pub const fn decrement_ttl(checksum: u16) -> u16 {
    finish(!checksum as u32 + 0xfeff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 read literally: pair the bytes, add, wrap the carry each time.
    fn slow_sum(bytes: &[u8]) -> u16 {
        let mut total: u16 = 0;
        for pair in bytes.chunks(2) {
            let word = u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]);
            let (next, carry) = total.overflowing_add(word);
            total = next + u16::from(carry);
        }
        total
    }

    #[test]
    fn rfc1071_example() {
        // §3: 00 01 f2 03 f4 f5 f6 f7 sums to ddf2.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(sum(&bytes), 0xddf2);
        assert_eq!(checksum(&bytes), 0x220d);
    }

    #[test]
    fn rfc1624_example() {
        // §4: HC 0xdd2f, m 0x5555, m' 0x3285; eqn. 2 yields 0xffff, right is 0.
        assert_eq!(update16(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn zeros_and_extremes() {
        assert_eq!(sum(&[]), 0);
        assert_eq!(sum(&[0; 64]), 0);
        assert_eq!(checksum(&[0; 64]), 0xffff);
        assert_eq!(sum(&[0xff; 65_535]), u32::from(slow_sum(&[0xff; 65_535])));
        assert_eq!(sum(&[0x12]), 0x1200);
        assert_eq!(fold(u32::MAX), 0xffff);
        assert_eq!(fold64(u64::MAX), 0xffff);
    }

    #[test]
    fn ttl_step_equals_recomputing_for_every_ttl_and_checksum() {
        for ttl in 1..=255u16 {
            for rest in (0..=0xffffu32).step_by(13).chain([0xfeff, 0xffff, 0xff00]) {
                let word = ttl << 8 | 6;
                let full = |word: u16| finish(0x4500 + rest + u32::from(word));
                assert_eq!(decrement_ttl(full(word)), full(word - 0x100), "ttl {ttl} rest {rest}");
            }
        }
    }

    proptest! {
        #[test]
        fn fast_equals_slow(bytes in proptest::collection::vec(any::<u8>(), 0..2100)) {
            prop_assert_eq!(sum(&bytes), u32::from(slow_sum(&bytes)));
        }

        #[test]
        fn etherparse_agrees(bytes in proptest::collection::vec(any::<u8>(), 0..2100)) {
            let theirs = etherparse::checksum::Sum16BitWords::new().add_slice(&bytes);
            prop_assert_eq!(checksum(&bytes), theirs.ones_complement().to_be());
        }

        #[test]
        fn unrolled_equals_slow(bytes in any::<[u8; 20]>()) {
            prop_assert_eq!(sum20(&bytes), u32::from(slow_sum(&bytes)));
        }

        #[test]
        fn pieces_add_up(bytes in proptest::collection::vec(any::<u8>(), 0..600), at in 0usize..300) {
            let at = (at * 2).min(bytes.len() & !1);
            let (head, tail) = bytes.split_at(at);
            prop_assert_eq!(u32::from(fold(sum(head) + sum(tail))), sum(&bytes));
        }

        #[test]
        fn update16_equals_recomputing(
            mut header in any::<[u8; 20]>(), word in 0usize..10, new in any::<u16>(),
        ) {
            header[0] = 0x45;
            prop_assume!(word != 0);
            let before = checksum(&header);
            let at = word * 2;
            let old = u16::from_be_bytes([header[at], header[at + 1]]);
            header[at..at + 2].copy_from_slice(&new.to_be_bytes());
            prop_assert_eq!(update16(before, old, new), checksum(&header));
        }

        #[test]
        fn update32_equals_recomputing(
            mut header in any::<[u8; 20]>(), destination in any::<bool>(), new in any::<u32>(),
        ) {
            header[0] = 0x45;
            let before = checksum(&header);
            let at = if destination { 16 } else { 12 };
            let old = u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
            header[at..at + 4].copy_from_slice(&new.to_be_bytes());
            prop_assert_eq!(update32(before, old, new), checksum(&header));
        }

        #[test]
        fn stored_checksum_verifies(mut header in any::<[u8; 20]>()) {
            header[0] = 0x45;
            header[10..12].fill(0);
            let stored = checksum(&header);
            header[10..12].copy_from_slice(&stored.to_be_bytes());
            prop_assert!(verify(&header));
            header[19] ^= 1;
            prop_assert!(!verify(&header));
        }
    }
}
