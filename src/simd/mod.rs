//! Code for instructions that not every machine has, chosen at run time.
//!
//! The program is built for plain x86-64. What gains from more is compiled
//! again, from the same source, for two levels of instructions: a wrapper per
//! level, into which the compiler puts a copy of its own of what is
//! `#[inline(always)]`. The portable copy is what runs elsewhere, and what the
//! others are tested against.
//!
//! * the whole path of a burst ([`Isa::run`]): BMI and MOVBE make it shorter,
//!   wider registers make its copies;
//! * the validation of headers ([`headers`]), written for vectors.
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

/// Work that is compiled for each level of instructions.
pub(crate) trait Job {
    /// What it gives.
    type Output;
    /// Does it. To be marked `#[inline(always)]`.
    fn run(self) -> Self::Output;
}

impl Isa {
    /// Does a job with the instructions of this level.
    #[inline]
    pub(crate) fn run<J: Job>(self, job: J) -> J::Output {
        match self.0 {
            Level::Portable => job.run(),
            // SAFETY:
            // - `Isa::here` has made sure that this machine has the instructions.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { run_avx2(job) },
            // SAFETY:
            // - as above.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => unsafe { run_avx512(job) },
        }
    }

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
            has_avx2().then_some(Isa(Level::Avx2)),
            (has_avx2()
                && is_x86_feature_detected!("avx512f")
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

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,movbe,popcnt")]
fn run_avx2<J: Job>(job: J) -> J::Output {
    job.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,movbe,popcnt")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn run_avx512<J: Job>(job: J) -> J::Output {
    job.run()
}

/// AVX2, and what every processor with AVX2 has had.
#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("movbe")
        && is_x86_feature_detected!("popcnt")
}
