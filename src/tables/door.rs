//! What a tunnel lets out of it, by inner source: a list of prefixes, a
//! reverse-path check, or both. Met only by packets of tunnels that have one
//! ([`Tunnel::guarded`](super::tunnel::Tunnel)).

use std::net::IpAddr;

use arrayvec::ArrayVec;
use ipnet::IpNet;

use crate::model::spec::{MOST_ALLOWED, ReversePath};

/// What a tunnel lets out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Door {
    /// Whether sources have to be reached by the tunnel.
    pub reverse_path: ReversePath,
    /// Sources that are let out; none: all.
    allowed: ArrayVec<IpNet, MOST_ALLOWED>,
}

impl Door {
    /// One that lets these sources out, 16 prefixes at most; what is beyond them
    /// is left out.
    pub fn new(reverse_path: ReversePath, allowed: &[IpNet]) -> Door {
        Door { reverse_path, allowed: allowed.iter().take(MOST_ALLOWED).copied().collect() }
    }

    /// True if it lets everything out.
    pub fn is_open(&self) -> bool {
        *self == Door::default()
    }

    /// True if the list has this source, or there is no list.
    pub fn allows(&self, source: IpAddr) -> bool {
        self.allowed.is_empty() || self.allowed.iter().any(|net| net.contains(&source))
    }
}
