//! Validation of IPv4 headers (`datapath::ipv4`), for each instruction set.

use super::{Isa, Level};
use crate::datapath::{Headers, validate_lanes};

/// Fills in the flags of the first `n` headers; see `datapath::ipv4::validate`.
#[inline]
pub(crate) fn validate(isa: Isa, headers: &mut Headers, n: usize, own: &[u32]) {
    match isa.0 {
        Level::Portable => validate_lanes(headers, n, own),
        // SAFETY:
        // - `Isa::here` has made sure that this machine has the instructions.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2(headers, n, own) },
        // SAFETY:
        // - as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { avx512(headers, n, own) },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(headers: &mut Headers, n: usize, own: &[u32]) {
    validate_lanes(headers, n, own);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn avx512(headers: &mut Headers, n: usize, own: &[u32]) {
    validate_lanes(headers, n, own);
}
