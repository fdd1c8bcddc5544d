//! Desired state, one value per object, as configured and before anything is
//! resolved.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv6Net};
use serde::{Deserialize, Serialize};

pub use super::advertise::AdvertiseSpec;
pub use super::filter::{FilterAction, FilterSpec, MOST_FILTERS, PortRange, Protocol};
pub use super::liveness::{PERIOD, Period, ProbeSpec, Timing};
pub use super::remote::{HostName, Remote};
pub use super::route::{MOST_PATHS, PathSpec, PathWay, RouteSpec, RouteTarget};
use crate::ids::{Family, Mac};

/// A DPDK port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortSpec {
    /// Interface name, such as `en0`: a letter, then letters and digits.
    pub name: String,
    /// DPDK device: a virtual device such as `net_tap0,iface=lan0`, or a PCI
    /// address.
    pub device: String,
    /// Addresses with prefix lengths; host bits are the address.
    #[serde(default)]
    pub address: Vec<IpNet>,
    /// Largest IP datagram, bytes.
    #[serde(default = "default_mtu")]
    pub mtu: u16,
    /// Link address to use instead of the device's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// Receive queues; default: one per worker where the driver has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rx_queues: Option<u16>,
    /// Whether sources have to be reached by this port.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rpf: ReversePath,
    /// Router advertisements, if it sends any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertise: Option<AdvertiseSpec>,
    /// Administratively up.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub up: bool,
}

/// An 802.1Q sub-interface, named `PORT.VLAN`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VlanSpec {
    /// `en0.20`: VLAN 20 of port `en0`. 1 to 4094.
    pub name: String,
    /// Addresses with prefix lengths.
    #[serde(default)]
    pub address: Vec<IpNet>,
    /// Largest IP datagram; default: the port's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// Whether sources have to be reached by this interface.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rpf: ReversePath,
    /// Router advertisements, if it sends any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertise: Option<AdvertiseSpec>,
    /// Administratively up.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub up: bool,
}

/// What a tunnel wraps datagrams in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TunnelKind {
    /// GRE (RFC 2784, RFC 7676), protocol 47.
    Gre,
    /// IP in IP (RFC 2003, RFC 4213, RFC 2473), protocol 4 or 41 by what is
    /// inside.
    Ipip,
}

impl TunnelKind {
    /// IP protocol number of the outer header, by the family inside.
    pub const fn protocol(self, inner: Family) -> u8 {
        match (self, inner) {
            (TunnelKind::Gre, _) => 47,
            (TunnelKind::Ipip, Family::V4) => 4,
            (TunnelKind::Ipip, Family::V6) => 41,
        }
    }

    /// Bytes it adds in front of a datagram, by the family outside.
    pub const fn overhead(self, outer: Family) -> u16 {
        let header = match outer {
            Family::V4 => 20,
            Family::V6 => 40,
        };
        match self {
            TunnelKind::Gre => header + 4,
            TunnelKind::Ipip => header,
        }
    }

    /// Interface names are this prefix and a number.
    pub const fn prefix(self) -> &'static str {
        match self {
            TunnelKind::Gre => "gre",
            TunnelKind::Ipip => "ipip",
        }
    }
}

/// Optional words of a tunnel's GRE headers (RFC 2784 §2.5, RFC 2890 §2).
///
/// They say what is sent, but for the key received with: a checksum is verified
/// and a sequence number looked at wherever there is one, whatever is set here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GreOptions {
    /// Send a checksum over header and payload.
    pub checksum: bool,
    /// Key of the packets this tunnel takes; none: those without a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_in: Option<u32>,
    /// Key of the packets it sends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_out: Option<u32>,
    /// Number the packets it sends.
    pub sequence: bool,
    /// Seconds for which packets keep arriving out of sequence, and none in
    /// sequence, until the next is taken all the same: the far end has begun
    /// anew. 0: never.
    pub sequence_resync: u16,
}

/// [`GreOptions::sequence_resync`] unless set.
pub const DEFAULT_RESYNC: u16 = 1;
/// Largest [`GreOptions::sequence_resync`]: an hour.
pub const MAX_RESYNC: u16 = 3600;

impl Default for GreOptions {
    fn default() -> GreOptions {
        GreOptions {
            checksum: false,
            key_in: None,
            key_out: None,
            sequence: false,
            sequence_resync: DEFAULT_RESYNC,
        }
    }
}

impl GreOptions {
    /// Bytes they add to the header of a packet sent: 4 each.
    pub const fn overhead(&self) -> u16 {
        4 * (self.checksum as u16 + self.key_out.is_some() as u16 + self.sequence as u16)
    }
}

impl std::fmt::Display for GreOptions {
    /// In the words of `ifconfig`; empty for a plain header.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut words: Vec<String> = Vec::new();
        match (self.key_in, self.key_out) {
            (None, None) => {}
            (Some(key), Some(out)) if key == out => words.push(format!("key {key}")),
            (key, out) => {
                let side = |key: Option<u32>| key.map_or("none".to_owned(), |key| key.to_string());
                words.push(format!("key in {} out {}", side(key), side(out)));
            }
        }
        words.extend(self.checksum.then(|| "checksum".to_owned()));
        words.extend(self.sequence.then(|| "sequence".to_owned()));
        f.write_str(&words.join(" "))
    }
}

/// UDP around a tunnel's packets (RFC 8086; IP straight in UDP for `ipip`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UdpSpec {
    /// Destination port, of packets sent and received.
    pub port: u16,
    /// Source port of packets sent; none: by the flow inside, 49152 to 65535 (of
    /// numbered packets, which are one flow, always the same). What is received
    /// may have any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<u16>,
    /// Send a checksum. Without, over IPv6, packets without one are taken too
    /// (RFC 6935 §5); over IPv4 they are in any case.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub checksum: bool,
}

/// [`UdpSpec::port`] of GRE in UDP, by IANA's registry.
pub const GRE_IN_UDP: u16 = 4754;

impl UdpSpec {
    /// Bytes of the header.
    pub const OVERHEAD: u16 = 8;
}

impl std::fmt::Display for UdpSpec {
    /// In the words of `ifconfig`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.port)?;
        if let Some(source) = self.source {
            write!(f, " from {source}")?;
        }
        f.write_str(if self.checksum { "" } else { " nosum" })
    }
}

/// Limit on nesting that a tunnel over IPv6 sends with its packets (RFC 2473
/// §4.1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EncapLimit {
    /// None, and 8 bytes less of header. A limit in the packet inside is still
    /// counted down, and 0 refused.
    #[default]
    Off,
    /// So many more tunnels.
    Fixed(u8),
}

impl EncapLimit {
    /// Bytes of the header that carries it.
    pub const OVERHEAD: u16 = 8;
}

impl std::fmt::Display for EncapLimit {
    /// In the words of `ifconfig`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            EncapLimit::Off => f.write_str("off"),
            EncapLimit::Fixed(limit) => limit.fmt(f),
        }
    }
}

/// A tunnel interface (`gre0`, `ipip0`).
///
/// An `ipip` interface over IPv4 has one pair of addresses: `local`/`remote` stay
/// unset and `address`/`peer` are inner and outer pair at once (technote T16).
/// Over IPv6 it has `local`/`remote` like any other.
///
/// A tunnel runs with an inner IPv4 pair, with inner IPv6 addresses, or with
/// both; either way it takes packets of both families.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TunnelSpec {
    /// Interface name: kind and number.
    pub name: String,
    /// What it wraps in.
    pub kind: TunnelKind,
    /// Outer source: one of our own addresses, of the same family as `remote`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<IpAddr>,
    /// Outer destination, or the name of a host that has it. None beside `local`,
    /// only with `learn`: the first packet tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<Remote>,
    /// A packet with this tunnel's key that comes from elsewhere moves its far end
    /// there.
    #[serde(default, skip_serializing_if = "is_default")]
    pub learn: bool,
    /// Seconds after which a host name is looked up again.
    #[serde(default = "default_resolve", skip_serializing_if = "is_default_resolve")]
    pub resolve_interval: u16,
    /// Inner IPv4 address of this end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// Inner IPv4 address of the far end; a host route leads to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<Ipv4Addr>,
    /// Several far ends instead of `remote` and `peer` (multipoint GRE): their
    /// inner addresses, and the outer address of each.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub nbma: BTreeMap<IpAddr, IpAddr>,
    /// Inner IPv6 addresses of this end; their subnets lie behind the tunnel.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inet6: Vec<Ipv6Net>,
    /// GRE (set) or MOBILE (clear) encapsulation, for `gre`.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub link0: bool,
    /// Underlay route by the real outer destination (set) or by the address
    /// with its last bit toggled (clear): technote T13, T14.
    #[serde(default)]
    pub link1: bool,
    /// Largest inner datagram; default: underlay MTU minus overhead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// TTL of the outer header (1 to 255).
    #[serde(default = "default_ttl", skip_serializing_if = "is_default_ttl")]
    pub ttl: u8,
    /// DSCP of the outer header.
    #[serde(default, skip_serializing_if = "is_default")]
    pub dscp: Dscp,
    /// ECN field of the outer header.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ecn: EcnMode,
    /// DF of the outer header.
    #[serde(default, skip_serializing_if = "is_default")]
    pub df: OuterDf,
    /// Largest TCP segments of connections through it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mss: MssClamp,
    /// ICMP errors about its packets teach it its path's MTU, and whether its
    /// far end is reached (RFC 7588 §3.2: may be switched off).
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub pmtu: bool,
    /// Its packets may arrive in fragments (RFC 7588 §3.4).
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub reassemble: bool,
    /// Checksum, key and sequence numbers, for `gre`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub gre: GreOptions,
    /// Cisco's keepalives, for `gre` over IPv4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keepalive: Option<Timing>,
    /// Probes through it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<ProbeSpec>,
    /// A UDP header around all it sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp: Option<UdpSpec>,
    /// How many more tunnels its packets may be put into, over IPv6.
    #[serde(default, skip_serializing_if = "is_default")]
    pub encaplimit: EncapLimit,
    /// Inner sources that may come out of it; none: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<IpNet>,
    /// Whether inner sources have to be reached by this tunnel.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rpf: ReversePath,
    /// Port or VLAN its packets have to arrive on; none: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// Administratively up.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub up: bool,
}

/// [`TunnelSpec::resolve_interval`] unless set. What `getaddrinfo` tells has no
/// time to live.
pub const DEFAULT_RESOLVE: u16 = 60;
/// Least and largest [`TunnelSpec::resolve_interval`].
pub const RESOLVE_RANGE: std::ops::RangeInclusive<u16> = 5..=3600;

/// Most prefixes in a tunnel's [`TunnelSpec::allow`].
pub const MOST_ALLOWED: usize = 16;

/// Check that the source of a packet is reached by the interface on which it
/// arrived (RFC 1812 §5.3.8, RFC 3704 §2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReversePath {
    /// None (RFC 1812: MUST be the default).
    #[default]
    Off,
    /// The source is reached by any interface, the default route's too (RFC 3704
    /// §2.4).
    Loose,
    /// The source is reached by this interface; of a route with several paths
    /// any of them counts (RFC 3704 §2.2, §2.3).
    Strict,
}

impl std::fmt::Display for ReversePath {
    /// In the words of `ifconfig`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ReversePath::Off => "off",
            ReversePath::Loose => "loose",
            ReversePath::Strict => "strict",
        })
    }
}

/// DSCP of the outer header (RFC 2983).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dscp {
    /// Copy the inner packet's on the way in; on the way out the inner one stays.
    #[default]
    Copy,
    /// Copy the inner packet's on the way in, and the outer one back on the way
    /// out (uniform model).
    Uniform,
    /// This value, 0 to 63; on the way out the inner one stays (pipe model).
    Fixed(u8),
}

impl std::fmt::Display for Dscp {
    /// In the words of `ifconfig`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Dscp::Copy => f.write_str("copy"),
            Dscp::Uniform => f.write_str("uniform"),
            Dscp::Fixed(dscp) => dscp.fmt(f),
        }
    }
}

/// ECN field of the outer header (RFC 6040 §4.1). What comes out of a tunnel
/// follows §4.2 in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EcnMode {
    /// The inner packet's: the far end has to carry marks inwards (RFC 6040, RFC
    /// 4301, RFC 3168 full functionality).
    #[default]
    Normal,
    /// Not-ECT, so that routers between drop instead of marking: for a far end
    /// that is known to lose marks, as long as it does.
    Compatibility,
}

impl std::fmt::Display for EcnMode {
    /// In the words of `ifconfig`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            EcnMode::Normal => "normal",
            EcnMode::Compatibility => "compatibility",
        })
    }
}

/// DF of the outer header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OuterDf {
    /// As the inner packet has it: the outer datagram of one without DF may be
    /// fragmented on its way (RFC 2003 §3.1, RFC 7588 §3.3.2.1 option).
    Copy,
    /// Always set (RFC 7588 §3.3.2.1 default).
    #[default]
    Set,
}

/// Limit on the segment size that the ends of a TCP connection through a tunnel
/// tell each other, so that their segments fit it whatever becomes of ICMP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MssClamp {
    /// None: what the ends say goes through as it is.
    #[default]
    Off,
    /// What fits the tunnel's MTU.
    Auto,
    /// This, in bytes.
    Fixed(u16),
}

/// Least and largest [`MssClamp::Fixed`].
pub const MSS_RANGE: std::ops::RangeInclusive<u16> = 64..=65_495;

impl std::fmt::Display for MssClamp {
    /// In the words of `ifconfig`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            MssClamp::Off => f.write_str("off"),
            MssClamp::Auto => f.write_str("auto"),
            MssClamp::Fixed(bytes) => bytes.fmt(f),
        }
    }
}

/// A static neighbour of either family (`arp -s` without `pub`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NeighbourSpec {
    /// Its address.
    pub address: IpAddr,
    /// Port or VLAN interface; default: the one whose subnet has the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// Its link address: unicast.
    pub mac: Mac,
}

/// A published (proxy) entry: not a neighbour, but an answer we give for somebody
/// else, by ARP (RFC 1027) or, for an IPv6 address, by neighbour discovery (RFC
/// 4861 §7.2.8).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishSpec {
    /// The address answered for.
    pub address: IpAddr,
    /// Port or VLAN interface it is published on; default: the one whose
    /// subnet has the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// Link address given out; default: the port's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
}

/// ICMP and ICMPv6 behaviour (RFC 1812 §4.3, RFC 4443 §2.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IcmpSpec {
    /// Error messages per second, all kinds together.
    pub error_rate: u32,
    /// Error messages in one burst.
    pub error_burst: u32,
    /// Answer echo requests.
    pub echo: bool,
    /// Send time exceeded.
    pub time_exceeded: bool,
}

impl Default for IcmpSpec {
    fn default() -> IcmpSpec {
        IcmpSpec { error_rate: 1000, error_burst: 200, echo: true, time_exceeded: true }
    }
}

/// Everything configured that can change while running: what `show config`
/// prints, what a configuration file asks for, what a transaction changes.
///
/// Of a port, `device`, `mac` and `rx_queues` are fixed from start to end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// `[[port]]`, in order: a port's place is its [`crate::ids::PortId`].
    pub ports: Vec<PortSpec>,
    /// `[[vlan]]`.
    pub vlans: Vec<VlanSpec>,
    /// `[[tunnel]]`.
    pub tunnels: Vec<TunnelSpec>,
    /// `[[route]]`.
    pub routes: Vec<RouteSpec>,
    /// `[[neighbour]]`.
    pub neighbours: Vec<NeighbourSpec>,
    /// `[[arp]]`.
    pub published: Vec<PublishSpec>,
    /// `[[filter]]`, in the order in which packets meet them.
    pub filters: Vec<FilterSpec>,
    /// `[icmp]`.
    pub icmp: IcmpSpec,
}

/// Whether packet memory comes from hugepages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hugepages {
    /// If there are enough, else ordinary pages and a warning in the log.
    #[default]
    Auto,
    /// Or refuse to start.
    On,
    /// Ordinary pages.
    Off,
}

/// What a worker does when nothing arrives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Idle {
    /// Polls on: bare metal.
    #[default]
    Poll,
    /// Pauses, then sleeps ever longer, up to half a millisecond: virtual devices.
    Adaptive,
}

/// Whether workers share the flows they receive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Spread {
    /// Each handles what its queues bring.
    #[default]
    Off,
    /// By flow, that of the datagram inside for tunnels.
    Inner,
}

/// `[dpdk]`: fixed from start to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DpdkSettings {
    /// Cores of the workers, one each. Empty: one worker on the last core.
    pub workers: Vec<usize>,
    /// Packet memory, MiB.
    pub memory_mib: u32,
    /// Where it comes from.
    pub hugepages: Hugepages,
    /// What workers do when idle.
    pub idle: Idle,
    /// Whether workers share the flows they receive.
    pub spread: Spread,
    /// Buffers in the pool; default: from ports, queues, workers and memory.
    pub buffers: Option<u32>,
    /// Receive and transmit descriptors per queue.
    pub descriptors: u16,
    /// Queues by hand, `worker -> ["en0/0", "en1/0"]`; empty: dealt out.
    pub queues: Vec<QueueSettings>,
}

/// Queues of one worker, by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueSettings {
    /// Worker number: place in [`DpdkSettings::workers`].
    pub worker: usize,
    /// `en0/0`: port and receive queue.
    pub queues: Vec<String>,
}

/// What only a start can change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `[dpdk]`.
    pub dpdk: DpdkSettings,
    /// `[control] socket`.
    pub socket: std::path::PathBuf,
    /// `[metrics] listen`, `host:port`; none: no metrics server.
    pub metrics: Option<String>,
}

fn default_mtu() -> u16 {
    1500
}

fn default_ttl() -> u8 {
    64
}

fn default_resolve() -> u16 {
    DEFAULT_RESOLVE
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_default_resolve(seconds: &u16) -> bool {
    *seconds == DEFAULT_RESOLVE
}

// serde hands these a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_default_ttl(ttl: &u8) -> bool {
    *ttl == default_ttl()
}

fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_true(value: &bool) -> bool {
    *value
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
