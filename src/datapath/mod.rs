//! The path: what happens to a burst between a port's rx and a port's tx.

pub mod drop;
