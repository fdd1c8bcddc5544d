//! What `show`, `ifconfig`, `route`, `arp` and `netstat` print: resolved state
//! and counters at one moment, as JSON objects and as the rows of tables.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::liveness::Period;
use super::spec::{AdvertiseSpec, FilterSpec};
use crate::ids::Mac;

/// Traffic of an interface, all workers together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Packets in.
    pub rx_packets: u64,
    /// Bytes in.
    pub rx_bytes: u64,
    /// Packets out.
    pub tx_packets: u64,
    /// Bytes out.
    pub tx_bytes: u64,
    /// Arrived here and dropped.
    pub rx_dropped: u64,
    /// To leave here and dropped.
    pub tx_dropped: u64,
    /// Sent as IP in IP, fragments having no place in minimal encapsulation.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub fallback: u64,
    /// Came out with ECN fields that no sound tunnel combines.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ecn_anomalies: u64,
}

// serde hands it a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressView {
    /// Own address.
    pub address: IpAddr,
    /// Prefix length.
    pub prefix_len: u8,
    /// Far end of a point-to-point interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<IpAddr>,
    /// Broadcast address of an IPv4 subnet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broadcast: Option<Ipv4Addr>,
}

/// Where a tunnel's outer packets go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnderlayView {
    /// Route that leads there.
    pub route: IpNet,
    /// Interface they leave by.
    pub interface: String,
    /// Next hop on it.
    pub next_hop: IpAddr,
    /// Neighbour state of the next hop, as in [`NeighbourView::state`].
    pub state: String,
}

/// What ICMP errors told of the path between a tunnel's ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OuterPathView {
    /// Largest outer packet it takes, bytes; none: what the link takes.
    #[serde(default)]
    pub mtu: Option<u16>,
    /// The far end was not reached a moment ago.
    #[serde(default)]
    pub unreachable: bool,
    /// What came of the errors.
    #[serde(flatten)]
    pub counts: PathCounts,
}

/// What came of ICMP errors about a tunnel's packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PathCounts {
    /// Times a smaller path MTU was learned.
    pub learned: u64,
    /// Errors that were to change something and did not: not plausible, too
    /// many, or switched off.
    pub refused: u64,
    /// Errors relayed to the sender of the inner packet.
    pub relayed: u64,
}

const fn on() -> bool {
    true
}

fn normal() -> String {
    "normal".to_owned()
}

fn off() -> String {
    "off".to_owned()
}

/// The tunnel side of a tunnel interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelView {
    /// `gre` or `ipip`.
    pub kind: String,
    /// Outer source.
    pub local: Option<IpAddr>,
    /// Outer destination in use.
    pub remote: Option<IpAddr>,
    /// Where that comes from, if it may change by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub far: Option<FarView>,
    /// Outer TTL.
    pub ttl: u8,
    /// `copy`, `uniform` or a number.
    pub dscp: String,
    /// `normal` or `compatibility`.
    #[serde(default = "normal")]
    pub ecn: String,
    /// `copy` or `set`.
    pub df: String,
    /// Limit on TCP segments: `off`, `auto` or bytes.
    #[serde(default = "off")]
    pub mss: String,
    /// ICMP errors about its packets count.
    #[serde(default = "on")]
    pub pmtu: bool,
    /// Its packets may arrive in fragments.
    #[serde(default = "on")]
    pub reassemble: bool,
    /// What they told.
    #[serde(default)]
    pub path: OuterPathView,
    /// Checksum, key and sequence numbers, in `ifconfig`'s words; empty for a
    /// plain header.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub options: String,
    /// UDP around its packets, in `ifconfig`'s words; empty without.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub udp: String,
    /// Limit on nesting over IPv6: `off` or a number.
    #[serde(default = "off")]
    pub encaplimit: String,
    /// Inner sources that may come out of it; none: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<IpNet>,
    /// Port or VLAN its packets have to arrive on; none: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// Resolved underlay.
    pub underlay: Option<UnderlayView>,
    /// Why it is not running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether its far end is there, where it is watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness: Option<LivenessView>,
}

/// A far end that moves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FarView {
    /// The host name it is found by; none: it is learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `remote` was found, and is not just what is configured.
    pub found: bool,
    /// Times it moved.
    pub moves: u64,
    /// Packets that would have moved it and did not; times its name led nowhere.
    pub refused: u64,
}

/// What is known of a tunnel's far end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LivenessView {
    /// `up`, `down`, or `unknown` until the first answer; `down` if one of the
    /// checks says so.
    pub state: String,
    /// Seconds since it last went down or came back, or has been watched.
    pub seconds: u64,
    /// Times it went down or came back.
    pub transitions: u64,
    /// GRE keepalives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keepalive: Option<CheckView>,
    /// Probes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<ProbeView>,
}

/// One way of asking a far end, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckView {
    /// From one packet to the next.
    pub interval: Period,
    /// Losses in a row until "down".
    pub retries: u8,
    /// Answers in a row until "up" again.
    pub up_after: u8,
    /// `up`, `down` or `unknown`.
    pub state: String,
    /// Packets sent.
    pub sent: u64,
    /// Those that were answered in time.
    pub received: u64,
    /// Those that were not, and those not sent since the next hop does not
    /// answer.
    pub lost: u64,
    /// Times from sent to answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt: Option<RttView>,
}

/// Round trips, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RttView {
    /// The last one.
    pub last_us: u64,
    /// The shortest.
    pub min_us: u64,
    /// The mean of all.
    pub mean_us: u64,
    /// The longest.
    pub max_us: u64,
    /// From one to the next, smoothed (RFC 3550 §6.4.1).
    pub jitter_us: u64,
}

/// Probes through a tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeView {
    /// Who is asked.
    pub to: IpAddr,
    /// What came of it.
    #[serde(flatten)]
    pub check: CheckView,
    /// Largest datagram seen to pass, there and back, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest: Option<u16>,
}

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceView {
    /// Name.
    pub name: String,
    /// Number (`<Link#n>`, 1 up).
    pub index: u32,
    /// `port`, `vlan`, `gre` or `ipip`.
    pub kind: String,
    /// In the order `ifconfig` prints them: UP, BROADCAST, POINTOPOINT,
    /// RUNNING, LINK0, LINK1, MULTICAST.
    pub flags: Vec<String>,
    /// Largest IP datagram.
    pub mtu: u16,
    /// Link address of ports and VLANs.
    pub mac: Option<Mac>,
    /// Addresses.
    pub addresses: Vec<AddressView>,
    /// Router advertisements, if it sends any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertise: Option<AdvertiseSpec>,
    /// Reverse-path check: `off`, `loose` or `strict`.
    #[serde(default = "off")]
    pub rpf: String,
    /// For tunnels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<TunnelView>,
    /// Counters.
    pub traffic: Traffic,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteView {
    /// Destination.
    pub to: IpNet,
    /// Gateway, if through one.
    pub gateway: Option<IpAddr>,
    /// Interface it resolves to; `None` when it does not resolve now.
    pub interface: Option<String>,
    /// BSD letters: U up, G gateway, H host, S static, B blackhole, R reject,
    /// C connected, l local, b broadcast, P several paths.
    pub flags: String,
    /// `static`, `connected`, `local`, `broadcast`, `tunnel` or `neighbour`.
    pub origin: String,
    /// Largest datagram it takes, when resolved; of several paths the least.
    pub mtu: Option<u16>,
    /// The paths of a multipath route, which has neither gateway nor interface
    /// of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathView>,
}

/// One path of a multipath route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathView {
    /// Gateway, if through one.
    pub gateway: Option<IpAddr>,
    /// Interface it resolves to; `None` when it does not resolve now.
    pub interface: Option<String>,
    /// BSD letters, as of a route.
    pub flags: String,
    /// Share of the flows that it was given.
    pub weight: u8,
    /// Buckets it owns now, of 512; 0 when it cannot be used.
    pub buckets: u16,
    /// Largest datagram it takes, when resolved.
    pub mtu: Option<u16>,
}

/// One neighbour or published entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighbourView {
    /// Address.
    pub address: IpAddr,
    /// Link address, once known.
    pub mac: Option<Mac>,
    /// Interface.
    pub interface: String,
    /// `incomplete`, `reachable`, `probe`, `failed`, `permanent`,
    /// `published` or `published (silent)`.
    pub state: String,
    /// Seconds until the entry ages out; none for permanent ones.
    pub expires_s: Option<u64>,
    /// Packets held.
    pub held: u32,
    /// Why a published entry is silent, or who else claims the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// One port as hardware.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortView {
    /// Interface name.
    pub name: String,
    /// DPDK device string.
    pub device: String,
    /// DPDK driver.
    pub driver: String,
    /// Link address in use.
    pub mac: Mac,
    /// Link is up.
    pub link_up: bool,
    /// Mbit/s, 0 if unknown.
    pub speed_mbps: u32,
    /// Largest IP datagram.
    pub mtu: u16,
    /// Receive and transmit queues.
    pub rx_queues: u16,
    /// Transmit queues.
    pub tx_queues: u16,
    /// Offloads in use.
    pub offloads: Vec<String>,
    /// Packets the device counted in.
    pub rx_packets: u64,
    /// Bytes the device counted in.
    pub rx_bytes: u64,
    /// Packets the device counted out.
    pub tx_packets: u64,
    /// Bytes the device counted out.
    pub tx_bytes: u64,
    /// Packets the device lost for want of a descriptor.
    pub rx_missed: u64,
    /// Bad frames the device saw.
    pub rx_errors: u64,
    /// Packets the device lost for want of a buffer.
    pub rx_no_buffer: u64,
    /// Packets the device failed to send.
    pub tx_errors: u64,
}

/// One worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerView {
    /// Number, 0 up.
    pub worker: usize,
    /// Core it is pinned to.
    pub core: Option<usize>,
    /// `poll` or `adaptive`.
    pub idle: String,
    /// Queues it polls: `en0/0`.
    pub queues: Vec<String>,
    /// Turns of the loop.
    pub rounds: u64,
    /// Packets processed.
    pub packets: u64,
    /// Bursts processed.
    pub bursts: u64,
    /// Mean packets per burst.
    pub burst_fill: f64,
    /// Share of time in turns that had packets, since start.
    pub busy: f64,
    /// Seconds in turns that had packets, since start.
    pub busy_seconds: f64,
    /// Ticks per packet in such turns.
    pub ticks_per_packet: f64,
    /// The longest time between two polls since start, in seconds.
    pub longest_gap_seconds: f64,
    /// Keepalives of tunnels' far ends answered.
    #[serde(default)]
    pub keepalives_answered: u64,
    /// Where they go, in the order of the path: of one burst in 61.
    #[serde(default)]
    pub stages: Vec<StageView>,
}

/// One stage of the path on one worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageView {
    /// `classify`, `lookup`, `forward`, `local`, `dispatch` or `transmit`.
    pub stage: String,
    /// Ticks in it, in the bursts that were timed.
    pub ticks: u64,
    /// Packets in those bursts.
    pub packets: u64,
    /// Ticks per packet.
    pub ticks_per_packet: f64,
}

/// One line of `show drops`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropView {
    /// Port name the packets came in on, or `control`.
    pub origin: String,
    /// Label of the reason.
    pub reason: String,
    /// The reason as a sentence.
    pub text: String,
    /// How many.
    pub packets: u64,
}

/// Where the packets of one origin went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginView {
    /// Port name, or `control`.
    pub origin: String,
    /// Came in.
    pub received: u64,
    /// Made by cutting.
    pub fragments_created: u64,
    /// Sent.
    pub sent: u64,
    /// Dropped, all reasons.
    pub dropped: u64,
    /// Handed to control, by reason.
    pub punted: std::collections::BTreeMap<String, u64>,
    /// Given by one worker to another.
    #[serde(default)]
    pub handed: u64,
    /// Taken by one worker from another: as many as `handed`, at rest.
    #[serde(default)]
    pub taken: u64,
    /// Fragments that became part of a reassembled datagram.
    #[serde(default)]
    pub merged: u64,
    /// Fragments that wait for others now.
    #[serde(default)]
    pub held: u64,
    /// In minus out: 0 at rest.
    pub imbalance: i64,
}

/// Control's own sums.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlView {
    /// Packets taken from workers.
    pub punts_taken: u64,
    /// Packets made here.
    pub originated: u64,
    /// Made by cutting an originated one.
    pub fragments_created: u64,
    /// Handed to workers.
    pub injected: u64,
    /// Ended here as they should.
    pub consumed: u64,
    /// Dropped here, by reason.
    pub dropped: std::collections::BTreeMap<String, u64>,
    /// Waiting now.
    pub held: u64,
    /// In minus out: 0 at rest.
    pub imbalance: i64,
}

/// `show drops`: every packet accounted for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropsView {
    /// Reasons with a count above 0.
    pub drops: Vec<DropView>,
    /// By origin.
    pub origins: Vec<OriginView>,
    /// Control.
    pub control: ControlView,
}

/// A rule of the packet filters, and what met it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterView {
    /// The rule.
    pub rule: FilterSpec,
    /// Packets whose first rule it was.
    pub packets: u64,
    /// Bytes of their datagrams.
    pub bytes: u64,
}

/// Answer to one `ping` probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum PingView {
    /// An echo reply.
    Reply {
        /// Who answered.
        from: IpAddr,
        /// ICMP payload bytes.
        bytes: usize,
        /// TTL of the reply.
        ttl: u8,
        /// Round trip, milliseconds.
        rtt_ms: f64,
    },
    /// An ICMP error about the probe.
    Error {
        /// Who sent it.
        from: IpAddr,
        /// What it says.
        message: String,
    },
    /// Nothing in time.
    Timeout,
}

/// Fill levels of the tables that workers read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TablesView {
    /// Prefixes in the IPv4 FIB.
    pub fib4_prefixes: u64,
    /// Second-level groups in use.
    pub fib4_groups: u64,
    /// Second-level groups there are.
    pub fib4_groups_max: u64,
    /// Prefixes in the IPv6 FIB.
    #[serde(default)]
    pub fib6_prefixes: u64,
    /// Its groups in use.
    #[serde(default)]
    pub fib6_groups: u64,
    /// Its groups there are.
    #[serde(default)]
    pub fib6_groups_max: u64,
    /// Next-hop slots in use.
    pub next_hops: u64,
    /// Tunnels with an outer pair: those in the decapsulation table.
    pub tunnels: u64,
    /// Bytes all tables take.
    pub bytes: u64,
    /// Counts published changes.
    pub generation: u64,
}

/// A buffer pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolView {
    /// Its name.
    pub name: String,
    /// Buffers in it and out of it.
    pub size: u64,
    /// Buffers out of it.
    pub in_use: u64,
    /// Bytes of packet room in each buffer, headroom included.
    pub data_room: u64,
}
