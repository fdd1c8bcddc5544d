//! Counters (written by workers, one writer each) and what reads them.

pub mod counters;
pub mod export;
pub mod http;
