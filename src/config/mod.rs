//! (in the making)

pub mod address;
