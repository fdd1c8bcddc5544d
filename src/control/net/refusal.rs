//! Why a change is refused: every text that a refusal can have, in one place.
//! Each names the thing, the value and what was expected.

use std::net::IpAddr;

use ipnet::IpNet;

use super::paths::MOST_PATHS;
use crate::ids::Mac;
use crate::model::api::ErrorCode;
use crate::model::spec::{HostName, MOST_ALLOWED, MOST_FILTERS};
use crate::tables::decap::DecapFull;
use crate::tables::fib4::FibFull;
use crate::tables::fib6::Fib6Full;
use crate::tables::interfaces::UDP_PORTS;
use crate::wire::icmp6::nd::MOST_PREFIXES;

/// One reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("there is no interface `{0}`")]
    NoInterface(String),
    #[error("{0} has no address {1}")]
    NoAddress(String, IpAddr),
    #[error("there is no static route to {0}")]
    NoRoute(IpNet),
    #[error("there is no ARP entry for {0}")]
    NoEntry(IpAddr),
    #[error("{0} exists already")]
    Exists(String),
    #[error(
        "`{0}` cannot be created: expected gre, greN, ipip, ipipN, or PORT.VLAN with a configured \
         port and a VLAN from 1 to 4094"
    )]
    NotCreatable(String),
    #[error("{0} is a port and stays as long as Greyhound runs: take it out of the configuration")]
    PortStays(String),
    #[error("{name} is {is}: expected {expected}")]
    WrongKind { name: String, is: &'static str, expected: &'static str },
    #[error("the {what} {address} is {why}: expected a unicast address of a host")]
    NotUnicast { what: &'static str, address: IpAddr, why: &'static str },
    #[error("{address} is the {what} address of {subnet}: expected the address of a host in it")]
    NotHost { address: IpAddr, what: &'static str, subnet: IpNet },
    #[error("a prefix length of {got} for {address}: expected {expected}")]
    PrefixLen { address: IpAddr, got: u8, expected: &'static str },
    #[error("{0} has the address {1} already")]
    AddressTwice(String, IpAddr),
    #[error("{subnet} of {name} overlaps {other_subnet} of {other}: overlapping addresses")]
    Overlap { name: String, subnet: IpNet, other: String, other_subnet: IpNet },
    #[error("{0} is a tunnel and needs the address of its far end: expected `{0} ADDRESS PEER`")]
    NeedsPeer(String),
    #[error("{0} takes no far end with IPv6: got {1}, expected `{0} inet6 ADDRESS/LENGTH`")]
    NoPeer6(String, IpAddr),
    #[error("{name}: {one} and {other} are of two families: expected both IPv4 or both IPv6")]
    TwoFamilies { name: String, one: IpAddr, other: IpAddr },
    #[error("the gateway {gateway} of {to} is of another family: expected an {expected} one")]
    OtherFamily { to: IpNet, gateway: IpAddr, expected: &'static str },
    #[error("{name}: an MTU of {mtu} with the IPv6 address {address}: expected 1280 at least")]
    SmallForIpv6 { name: String, mtu: u16, address: IpAddr },
    #[error("{0} is not point to point and takes no far end: got {1}")]
    NoPeerHere(String, IpAddr),
    #[error("{0} is a tunnel and has one pair of addresses: an alias is not possible")]
    NoAlias(String),
    #[error("{name}: {what} {first} and {second} are set one without the other: expected both")]
    HalfPair { name: String, what: &'static str, first: &'static str, second: &'static str },
    #[error("{name}: both ends are {address}: a tunnel cannot lead to itself")]
    SameEnds { name: String, address: IpAddr },
    #[error(
        "{0} takes no tunnel addresses: over IPv4 its address and peer are inner and outer pair at \
         once"
    )]
    IpipEndpoints(String),
    #[error("{0} takes no {1}: an ipip interface always finds its route with link1 clear")]
    IpipLink(String, &'static str),
    #[error("{address} is our own address on {own} and {what}: {why}")]
    OwnAddress { address: IpAddr, own: String, what: String, why: &'static str },
    #[error("{address} is the {what} address of {subnet} on {link} and {used}: {why}")]
    NobodysAddress {
        address: IpAddr,
        /// `broadcast` or `network`.
        what: &'static str,
        subnet: IpNet,
        link: String,
        used: String,
        why: &'static str,
    },
    #[error(
        "{name} and {other} are both {kind} tunnels from {local} to {remote}{key}: duplicate \
         tunnel"
    )]
    DuplicateTunnel {
        name: String,
        other: String,
        kind: &'static str,
        local: IpAddr,
        remote: IpAddr,
        /// ` with key N`, ` in UDP N`, both or nothing.
        key: String,
    },
    #[error("{name} and {other} both have the far end {peer}: expected one tunnel to each")]
    DuplicatePeer { name: String, other: String, peer: IpAddr },
    #[error("{name}: an MTU of {got}: expected {least} to {most}")]
    Mtu { name: String, got: u16, least: u16, most: u16 },
    #[error("{0} learns its far end by its key and has none: expected a key, for received packets")]
    LearnKey(String),
    #[error(
        "{0} is an ipip tunnel and learns nothing: only GRE packets have a key to know them by"
    )]
    LearnIpip(String),
    #[error(
        "{name} and {other} would both learn from packets to {local} with their key: expected \
         another key"
    )]
    TwoLearners { name: String, other: String, local: IpAddr },
    #[error("{name} finds its far end by the name {host}: expected that or `learn`, not both")]
    LearnNamed { name: String, host: HostName },
    #[error("{0} does not look for its far end")]
    NotSought(String),
    #[error("{0}: a name looked up every {1} seconds: expected 5 to 3600")]
    Resolve(String, u16),
    #[error("{0}: a TTL of 0: expected 1 to 255")]
    Ttl(String),
    #[error("{0}: TCP segments of {1} bytes: expected 64 to 65495, auto, or off")]
    Mss(String, u16),
    #[error("{0}: a DSCP of {1}: expected 0 to 63, or copy")]
    Dscp(String, u8),
    #[error("{0} is an ipip tunnel: only GRE headers have a {1}")]
    IpipOption(String, &'static str),
    #[error(
        "{0} has MOBILE encapsulation (link0 clear, RFC 2004): only GRE headers have a {1}: \
         expected one or the other"
    )]
    MobileOption(String, &'static str),
    #[error("{0} has MOBILE encapsulation (link0 clear, RFC 2004), which is IPv4 in IPv4 only")]
    MobileIpv6(String),
    #[error(
        "{0} {1}: keepalives are packets of GRE over IPv4; `probe` asks the far end of any tunnel"
    )]
    Keepalive(String, &'static str),
    #[error("{0}: a {1} with 0 retries, or up after 0 answers: expected 1 to 255 of each")]
    Retries(String, &'static str),
    #[error("{0} has MOBILE encapsulation (link0 clear, RFC 2004), which takes no UDP")]
    MobileUdp(String),
    #[error("{0}: a UDP port of 0: expected 1 to 65535")]
    UdpPort(String),
    #[error("{0} would have one UDP port more than the {UDP_PORTS} there can be: use one again")]
    TooManyUdpPorts(String),
    #[error("{0}: a resync time of {1} seconds: expected 0 to 3600")]
    Resync(String, u16),
    #[error("{0}: {1} allowed networks: expected {MOST_ALLOWED} at most")]
    TooManyAllowed(String, usize),
    #[error("{link} cannot go: packets of {tunnel} have to arrive on it (`port`)")]
    IsArrival { link: String, tunnel: String },
    #[error("{0}: router advertisements with {1}")]
    Advertise(String, String),
    #[error("{0} has {1} IPv6 networks: expected {MOST_PREFIXES} at most where it advertises them")]
    TooManyPrefixes(String, usize),
    #[error("filter {0}: {1}")]
    Filter(String, String),
    #[error("there is a filter `{0}` already: expected another name")]
    FilterExists(String),
    #[error("there is no filter `{0}`")]
    NoFilter(String),
    #[error("there are {MOST_FILTERS} filters, as many as there can be")]
    TooManyFilters,
    #[error("filters change too quickly: workers still use those before, try again")]
    FiltersInUse,
    #[error("{interface} cannot go: the filter {filter} is about it")]
    IsFiltered { interface: String, filter: String },
    #[error("{0} is a part of {1}: expected {1}, whose `nbma` it is made from")]
    IsPart(String, String),
    #[error("{0} has no far end {1}")]
    NoFarEnd(String, IpAddr),
    #[error("{0} has several far ends (nbma): {1}")]
    Multipoint(String, &'static str),
    #[error("{0} is not a tunnel: {1} cannot be set")]
    NotATunnel(String, &'static str),
    #[error("`{name}` is a {kind} tunnel: expected a name like {kind}0")]
    KindName { name: String, kind: &'static str },
    #[error("{0} has bits beyond its prefix length: expected {1}")]
    HostBits(IpNet, IpNet),
    #[error("{0} cannot be routed: it is {1}")]
    Unroutable(IpNet, &'static str),
    #[error("{0} has a static route already: change or delete it")]
    RouteExists(IpNet),
    #[error("the route to {0} has no path: expected 1 to {MOST_PATHS}")]
    NoPath(IpNet),
    #[error("the route to {0} has {1} paths: expected {MOST_PATHS} at most")]
    TooManyPaths(IpNet, usize),
    #[error("the route to {to} has the path {path} twice: expected each once, with a weight")]
    PathTwice { to: IpNet, path: String },
    #[error("the path {path} of {to} has a weight of 0: expected 1 to 255")]
    PathWeight { to: IpNet, path: String },
    #[error("there are {0} sets of paths, as many as there can be")]
    TooManyGroups(usize),
    #[error("the link address {0} is {1}: expected a unicast address")]
    BadMac(Mac, &'static str),
    #[error("{0} is in the subnet of no port or VLAN: name the port")]
    NoLinkFor(IpAddr),
    #[error("{what} cannot change from `{was}` to `{wanted}` while Greyhound runs: restart it")]
    Fixed { what: String, was: String, wanted: String },
    #[error("there are {0} interfaces, as many as there can be")]
    TooManyInterfaces(usize),
    #[error("there are {0} next hops, as many as there can be")]
    TooManyNextHops(usize),
    #[error(transparent)]
    Fib(#[from] FibFull),
    #[error(transparent)]
    Fib6(#[from] Fib6Full),
    #[error(transparent)]
    Decap(#[from] DecapFull),
}

impl Refusal {
    /// How the API calls it.
    pub(super) fn code(&self) -> ErrorCode {
        match self {
            Refusal::NoInterface(_)
            | Refusal::NoAddress(..)
            | Refusal::NoFarEnd(..)
            | Refusal::NoRoute(_)
            | Refusal::NoFilter(_)
            | Refusal::NoEntry(_) => ErrorCode::NotFound,
            _ => ErrorCode::Refused,
        }
    }

    /// This refusal about a field of what was asked for.
    pub(super) fn on(self, field: &'static str) -> Fault {
        Fault { field, refusal: Box::new(self) }
    }
}

/// A refusal and the field it is about, empty for the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Field of the op's object.
    pub(super) field: &'static str,
    /// Why.
    pub(super) refusal: Box<Refusal>,
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Fault {
        refusal.on("")
    }
}

/// Where in a file: `tunnel[2]` and `remote` make `tunnel[2].remote`; a verb
/// has just one place.
pub(super) fn place(at: &str, field: &str) -> String {
    if at.is_empty() || field.is_empty() { at.to_owned() } else { format!("{at}.{field}") }
}
