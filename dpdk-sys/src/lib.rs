//! Raw bindings to the part of DPDK that Greyhound uses.
//!
//! ```text
//!   src/dpdk (safe) ──▶ dpdk-sys: gh_* functions ──▶ shim.c ──▶ libdpdk
//!                          └ mbuf: field offsets, from the C compiler
//! ```
//!
//! Everything is declared in `shim.h` in plain C types, so that neither
//! DPDK's static inlines nor its anonymous unions nor the differences between
//! its releases reach Rust. [`mbuf`] is the one place that knows where the
//! fields of an mbuf are.

pub mod fib;
pub mod mbuf;

pub use mbuf::RteMbuf;

/// What bindgen made of `shim.h`.
#[allow(
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    non_snake_case,
    dead_code,
    clippy::all,
    clippy::pedantic,
    clippy::undocumented_unsafe_blocks
)]
mod bindings {
    use crate::mbuf::RteMbuf as rte_mbuf;

    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

pub use bindings::*;
