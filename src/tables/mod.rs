//! The tables that workers read lock-free and control writes.

pub mod adjacency;
pub mod interfaces;
pub mod tunnel;
