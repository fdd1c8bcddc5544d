//! Beside the path: desired state, planning, protocols.

pub mod api;
pub mod icmp;
pub mod neighbours;
pub mod net;
pub mod ping;
pub mod reassembly;
pub mod tally;
pub mod topology;
pub mod views;
