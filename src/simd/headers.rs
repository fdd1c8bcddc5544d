//! Validation of IPv4 headers (`datapath::ipv4`), for each instruction set:
//! sixteen rows are turned into columns, looked at, and what was found is
//! gathered into sets of packets.
//!
//! Looking at them is plain Rust (`datapath::judge_lanes`), compiled anew for
//! each instruction set; turning and gathering are what no compiler finds a
//! good way for, so they are written out for AVX2 and AVX-512.

use super::{Isa, Level};
use crate::datapath::{GROUPS, Headers, LANES, Lanes, Row, WORDS, judge_lanes};

/// Fills in columns and marks of the fresh headers; see
/// `datapath::ipv4::validate`. `own`: addresses to tell.
///
/// All lanes of a group are done, so places that belong to no packet, or to one
/// already settled, get marks nobody reads.
#[inline]
pub(crate) fn validate(isa: Isa, headers: &mut Headers, own: &[u32]) {
    match isa.0 {
        Level::Portable => groups(headers, own, turn, matches),
        // SAFETY:
        // - `Isa::here` has made sure that this machine has the instructions.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2(headers, own) },
        // SAFETY:
        // - as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { avx512(headers, own) },
    }
}

/// The groups that have fresh headers, one after the other.
#[inline(always)]
fn groups(
    headers: &mut Headers,
    own: &[u32],
    turn: impl Fn(&[Row; LANES]) -> [Lanes; WORDS],
    matches: impl Fn(&Lanes, u32, u32) -> u64,
) {
    let any_of =
        |lanes: &Lanes| own.iter().fold(0, |any, address| any | matches(lanes, u32::MAX, *address));
    for group in 0..GROUPS {
        if headers.fresh.group(group, LANES) == 0 {
            continue;
        }
        let words = turn(headers.rows(group));
        headers.put(group, &words);
        let flags = judge_lanes(&words);
        headers.marks.put(group, |flag| matches(&flags, flag, flag));
        let [_, _, _, src, dst, _] = &words;
        headers.marks.own.set_group(group, LANES, any_of(dst));
        headers.marks.own_source.set_group(group, LANES, any_of(src));
    }
    headers.keep_originated();
}

/// Rows to columns.
#[inline(always)]
fn turn(rows: &[Row; LANES]) -> [Lanes; WORDS] {
    let mut columns = [[0; LANES]; WORDS];
    for (lane, row) in rows.iter().enumerate() {
        for (column, word) in columns.iter_mut().zip(row.words()) {
            column[lane] = word;
        }
    }
    columns
}

/// The lanes that have a value in the bits of a mask, a bit each.
#[inline(always)]
fn matches(lanes: &Lanes, mask: u32, value: u32) -> u64 {
    let bits = lanes.iter().enumerate().map(|(n, lane)| u64::from(lane & mask == value) << n);
    bits.fold(0, |all, bit| all | bit)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(headers: &mut Headers, own: &[u32]) {
    groups(
        headers,
        own,
        |rows| turn_avx2(rows),
        |lanes, mask, value| matches_avx2(lanes, mask, value),
    );
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline]
fn matches_avx2(lanes: &Lanes, mask: u32, value: u32) -> u64 {
    use std::arch::x86_64::*;
    let (mask, value) =
        (_mm256_set1_epi32(mask.cast_signed()), _mm256_set1_epi32(value.cast_signed()));
    let half = |from: usize| {
        // SAFETY:
        // - 32 of the 64 bytes of `lanes`, from a half on, are readable.
        let lanes = unsafe { _mm256_loadu_si256(lanes[from..from + 8].as_ptr().cast()) };
        let found = _mm256_cmpeq_epi32(_mm256_and_si256(lanes, mask), value);
        u64::from(_mm256_movemask_ps(_mm256_castsi256_ps(found)).cast_unsigned())
    };
    half(0) | half(8) << 8
}

/// Rows to columns, eight rows at a time: words of two rows side by side, then
/// of four; a column is half a register of rows 0 to 3 and half of rows 4 to 7.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline]
fn turn_avx2(rows: &[Row; LANES]) -> [Lanes; WORDS] {
    use std::arch::x86_64::*;

    /// Words 0 and 4, 1 and 5, 2 and 6, 3 and 7 of four rows.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn four(rows: &[Row]) -> [__m256i; 4] {
        let row = |n: usize| {
            // SAFETY:
            // - a row is 32 readable bytes.
            unsafe { _mm256_loadu_si256(std::ptr::from_ref(&rows[n]).cast()) }
        };
        let (a, b, c, d) = (row(0), row(1), row(2), row(3));
        let (ab_low, ab_high) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
        let (cd_low, cd_high) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
        [
            _mm256_unpacklo_epi64(ab_low, cd_low),
            _mm256_unpackhi_epi64(ab_low, cd_low),
            _mm256_unpacklo_epi64(ab_high, cd_high),
            _mm256_unpackhi_epi64(ab_high, cd_high),
        ]
    }

    let swap = _mm256_broadcastsi128_si256(_mm_set_epi8(
        12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3,
    ));
    let mut words = [[0; LANES]; WORDS];
    for half in [0, 8] {
        let (low, high) = (four(&rows[half..half + 4]), four(&rows[half + 4..half + 8]));
        let first = |n: usize| _mm256_permute2x128_si256::<0x20>(low[n], high[n]);
        let second = |n: usize| _mm256_permute2x128_si256::<0x31>(low[n], high[n]);
        let host = |column| _mm256_shuffle_epi8(column, swap);
        let columns = [
            host(first(0)),
            host(first(1)),
            host(first(2)),
            host(first(3)),
            host(second(0)),
            second(1),
        ];
        for (word, column) in words.iter_mut().zip(columns) {
            // SAFETY:
            // - 32 of the 64 bytes of `word`, from a half on, are writable.
            unsafe { _mm256_storeu_si256(word[half..half + 8].as_mut_ptr().cast(), column) };
        }
    }
    words
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn avx512(headers: &mut Headers, own: &[u32]) {
    groups(
        headers,
        own,
        |rows| turn_avx512(rows),
        |lanes, mask, value| matches_avx512(lanes, mask, value),
    );
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
fn matches_avx512(lanes: &Lanes, mask: u32, value: u32) -> u64 {
    use std::arch::x86_64::*;
    let (mask, value) =
        (_mm512_set1_epi32(mask.cast_signed()), _mm512_set1_epi32(value.cast_signed()));
    // SAFETY:
    // - the 64 bytes of `lanes` are readable.
    let lanes = unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) };
    _mm512_cmpeq_epi32_mask(_mm512_and_si512(lanes, mask), value).into()
}

/// Rows to columns: a 16 × 8 transposition of words.
///
/// ```text
///   load      register i = row i │ row i+4      128-bit lanes: words 0-3, 4-7 │ 0-3, 4-7
///             (and i+8 │ i+12)
///   unpack    words of rows i, i+1 side by side, then of four rows
///   shuffle   column c = lanes 0, 2 of both halves; column c+4 = lanes 1, 3
/// ```
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
fn turn_avx512(rows: &[Row; LANES]) -> [Lanes; WORDS] {
    use std::arch::x86_64::*;

    /// Words 0 to 3 and 4 to 7 of four rows and of the four after them.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    #[inline]
    fn four(rows: &[Row; LANES], first: usize) -> [__m512i; 4] {
        let pair = |row: usize| {
            let at = |row: usize| std::ptr::from_ref(&rows[row % LANES]).cast();
            // SAFETY:
            // - a row is 32 readable bytes.
            let (low, high) =
                unsafe { (_mm256_loadu_si256(at(row)), _mm256_loadu_si256(at(row + 4))) };
            _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
        };
        let (a, b, c, d) = (pair(first), pair(first + 1), pair(first + 2), pair(first + 3));
        let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        [
            _mm512_unpacklo_epi64(ab_low, cd_low),
            _mm512_unpackhi_epi64(ab_low, cd_low),
            _mm512_unpacklo_epi64(ab_high, cd_high),
            _mm512_unpackhi_epi64(ab_high, cd_high),
        ]
    }

    let (low, high) = (four(rows, 0), four(rows, 8));
    let swap =
        _mm512_broadcast_i32x4(_mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3));
    let even = |n: usize| _mm512_shuffle_i32x4::<0b10_00_10_00>(low[n], high[n]);
    let odd = |n: usize| _mm512_shuffle_i32x4::<0b11_01_11_01>(low[n], high[n]);
    let host = |column| _mm512_shuffle_epi8(column, swap);
    let columns =
        [host(even(0)), host(even(1)), host(even(2)), host(even(3)), host(odd(0)), odd(1)];
    let mut words = [[0; LANES]; WORDS];
    for (word, column) in words.iter_mut().zip(columns) {
        // SAFETY:
        // - the 64 bytes of `word` are writable.
        unsafe { _mm512_storeu_si512(word.as_mut_ptr().cast(), column) };
    }
    words
}
