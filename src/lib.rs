//! Greyhound: a GRE / IP-in-IP tunnel gateway on DPDK.
//!
//! ```text
//!                        one worker thread per core, run to completion
//!   port rx ─▶ classify ─┬────────────▶ lookup ─┬────────────▶ rewrite ─▶ port tx
//!             (L2, IP,   │   ▲                  │   ▲
//!              ours?)    └▶ decap               └▶ encap
//!       any stage ─▶ drop (one named reason, counted)      any stage ─▶ punt ─▶ control
//!   ─────────── reads Tables through crossbeam; writes only its own counters ────────────
//!   control thread(s):  config file ─┐
//!                       verbs / API ─┴▶ desired state ─▶ plan (resolve, stack) ─▶ publish
//!                       ARP · ICMP errors · held packets ·           ◀─ punt
//! ```
//!
//! Two kinds of code that never mix: **the path** ([`datapath`], [`worker`])
//! touches bursts and never allocates, locks, makes a system call, logs or
//! formats; what runs **beside the path** ([`control`], [`config`], [`stats`],
//! [`cli`]) builds tables and never touches a burst in flight. `docs/architecture.md`
//! tells the whole story.
#![deny(unsafe_code)]

pub mod buf;
pub mod cli;
pub mod config;
pub mod control;
#[cfg(feature = "dpdk")]
pub mod daemon;
pub mod datapath;
#[cfg(feature = "dpdk")]
pub mod dpdk;
pub mod exchange;
pub mod flow;
pub mod ids;
pub mod meeting;
pub mod model;
pub mod replay;
pub mod simd;
pub mod spread;
pub mod stats;
pub mod tables;
pub mod wire;
pub mod worker;
