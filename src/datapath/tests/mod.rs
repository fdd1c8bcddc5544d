//! Tests of the path: whole frames in, whole frames out, every counter looked
//! at. Frames are made and read by `etherparse`, never by our own encoder.
#![allow(clippy::unwrap_used)]

mod bursts;
mod conservation;
mod decap;
mod door;
mod drops;
mod encap;
mod filter;
mod forward;
mod fragments;
mod fuzz;
mod garbage;
mod gre;
mod groups;
mod ids;
mod inject;
mod liveness;
mod local;
mod notices;
mod packets;
mod reassembly;
mod rules;
mod six;
mod testbed;
mod testbed6;
mod udp;
