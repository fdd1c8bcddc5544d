//! The vocabulary of everything beside the path: what can be wished for
//! ([`spec`]), how it is changed ([`op`]), how it is shown ([`view`]) and how it
//! travels over the control socket ([`api`]).
//!
//! Config file, verbs and API all speak these types, so one validation and one
//! transaction serve them all.

pub mod advertise;
pub mod api;
pub mod filter;
pub mod ip;
pub mod liveness;
pub mod op;
pub mod remote;
pub mod route;
pub mod spec;
pub mod view;
