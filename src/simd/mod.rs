//! Code for vector instructions that not every machine has, chosen at run time.
//!
//! The program is built for plain x86-64. What gains from more is compiled
//! again for AVX2 and AVX-512 here, from the same source: the kernel is plain
//! Rust without a branch, `#[inline(always)]`, and each instruction set has a
//! wrapper into which the compiler puts a copy of its own. The portable copy is
//! what runs elsewhere, and what the others are tested against.
//!
//! An [`Isa`] can only be had from the machine it runs on, which is what makes
//! the calls sound.
#![allow(unsafe_code)]

pub(crate) mod headers;

/// A set of vector instructions that this machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Level);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Isa {
    /// Whatever the machine: the instructions the program was built for.
    pub const PORTABLE: Isa = Isa(Level::Portable);

    /// The best this machine has.
    pub fn detect() -> Isa {
        Isa::here().last().unwrap_or(Isa::PORTABLE)
    }

    /// All that this machine has, the best last.
    pub fn here() -> impl Iterator<Item = Isa> {
        #[cfg(target_arch = "x86_64")]
        let wide = [
            is_x86_feature_detected!("avx2").then_some(Isa(Level::Avx2)),
            (is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl"))
            .then_some(Isa(Level::Avx512)),
        ];
        #[cfg(not(target_arch = "x86_64"))]
        let wide: [Option<Isa>; 0] = [];
        std::iter::once(Isa::PORTABLE).chain(wide.into_iter().flatten())
    }
}
