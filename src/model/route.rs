//! Static routes as they are written: where they lead, by one way or several.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteTarget {
    /// A gateway, itself reached by the longest match that is not through it.
    Via(IpAddr),
    /// A gateway by its link-local address, which says nothing without the link.
    Near {
        /// The gateway.
        via: Ipv6Addr,
        /// The port or VLAN it is on.
        interface: String,
    },
    /// An interface: a tunnel, or a port whose hosts are all neighbours.
    Interface(String),
    /// Nowhere, silently.
    Blackhole,
    /// Nowhere, with ICMP host unreachable.
    Reject,
    /// Several ways at once, each flow by one of them (ECMP).
    Paths(Vec<PathSpec>),
}

/// Most paths of a route.
pub const MOST_PATHS: usize = 16;

/// One of several ways.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathSpec {
    /// Where it leads.
    #[serde(flatten)]
    pub way: PathWay,
    /// Share of the flows beside the other paths' weights, 1 to 255.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub weight: u8,
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PathWay {
    /// A gateway.
    Via(IpAddr),
    /// A tunnel.
    Interface(String),
}

impl std::fmt::Display for PathWay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PathWay::Via(gateway) => gateway.fmt(f),
            PathWay::Interface(name) => f.write_str(name),
        }
    }
}

impl std::fmt::Display for PathSpec {
    /// `203.0.113.254`, `gre0:3`, `[2001:db8::1]:2`: as the `route` verb has it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.way, self.weight) {
            (way, 1) => way.fmt(f),
            (PathWay::Via(IpAddr::V6(gateway)), weight) => write!(f, "[{gateway}]:{weight}"),
            (way, weight) => write!(f, "{way}:{weight}"),
        }
    }
}

fn one() -> u8 {
    1
}

fn is_one(weight: &u8) -> bool {
    *weight == 1
}

/// A static route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSpec {
    /// Destination; no host bits.
    pub to: IpNet,
    /// Where it leads.
    pub target: RouteTarget,
}
