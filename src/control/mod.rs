//! Beside the path: desired state, planning, protocols, and who asks.

pub mod advertise;
pub mod api;
pub mod core;
mod door;
mod far_ends;
pub mod icmp;
pub mod liveness;
pub mod names;
pub mod neighbours;
pub mod net;
pub mod pieces;
pub mod ping;
mod resolver;
pub mod service;
pub mod tally;
pub mod topology;
pub mod tunnel_errors;
pub mod views;

pub use self::core::Control;
