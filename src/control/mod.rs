//! Beside the path: desired state, planning, protocols.

pub mod topology;
