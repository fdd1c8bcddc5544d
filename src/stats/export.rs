//! The Prometheus text of one moment.
//!
//! Workers keep plain counters ([`super::counters`]); the exporter adds them up
//! when asked. A scrape builds its metric families anew from a [`Snapshot`], so
//! that a destroyed tunnel's series end with it and nothing is kept in step by
//! hand. The number of series is bounded by what is configured: ports, tunnels,
//! workers, and the closed list of drop reasons.

use std::collections::BTreeMap;

use prometheus::core::{Atomic, Collector, GenericCounterVec, GenericGaugeVec};
use prometheus::{CounterVec, GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

use crate::datapath::drop::DropReason;
use crate::model::view::{
    CheckView, ControlView, DropsView, FilterView, InterfaceView, LivenessView, NeighbourView,
    OriginView, PathCounts, PoolView, PortView, RttView, TablesView, WorkerView,
};

/// Everything a scrape tells.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Ports as hardware.
    pub ports: Vec<PortView>,
    /// Ports, VLANs and tunnels as interfaces.
    pub interfaces: Vec<InterfaceView>,
    /// Workers.
    pub workers: Vec<WorkerView>,
    /// Where every packet went.
    pub drops: DropsView,
    /// Packet filters.
    pub filters: Vec<FilterView>,
    /// Neighbours and published entries.
    pub neighbours: Vec<NeighbourView>,
    /// FIB, adjacency and tunnel tables.
    pub tables: TablesView,
    /// Buffer pools.
    pub pools: Vec<PoolView>,
    /// Seconds since start.
    pub uptime_s: f64,
}

/// The exposition text of a snapshot.
///
/// # Errors
/// Only if two families were given one name: a mistake in this file, which its
/// test finds.
pub fn render(snapshot: &Snapshot) -> prometheus::Result<String> {
    let page = Page(Registry::new());
    process(&page, snapshot)?;
    ports(&page, &snapshot.ports)?;
    interfaces(&page, &snapshot.interfaces)?;
    tunnels(&page, &snapshot.interfaces)?;
    liveness(&page, &snapshot.interfaces)?;
    workers(&page, &snapshot.workers)?;
    drops(&page, &snapshot.drops)?;
    conservation(&page, &snapshot.drops.origins)?;
    control(&page, &snapshot.drops.control)?;
    filters(&page, &snapshot.filters)?;
    neighbours(&page, &snapshot.neighbours)?;
    tables(&page, &snapshot.tables)?;
    pools(&page, &snapshot.pools)?;
    TextEncoder::new().encode_to_string(&page.0.gather())
}

/// One page of metrics under construction.
struct Page(Registry);

impl Page {
    /// A family of `kind` (counter or gauge vector), all its samples at once.
    fn family<V: Collector + Clone + 'static>(
        &self,
        make: impl FnOnce(Opts, &[&str]) -> prometheus::Result<V>,
        (name, help): (&str, &str),
        labels: &[&str],
        fill: impl FnOnce(&V),
    ) -> prometheus::Result<()> {
        let vec = make(Opts::new(format!("greyhound_{name}"), help), labels)?;
        fill(&vec);
        self.0.register(Box::new(vec))
    }

    fn counters<'a>(
        &self,
        about: (&str, &str),
        labels: &[&str],
        samples: impl IntoIterator<Item = (Vec<&'a str>, u64)>,
    ) -> prometheus::Result<()> {
        self.family(IntCounterVec::new, about, labels, |vec| add(vec, samples))
    }

    fn seconds<'a>(
        &self,
        about: (&str, &str),
        labels: &[&str],
        samples: impl IntoIterator<Item = (Vec<&'a str>, f64)>,
    ) -> prometheus::Result<()> {
        self.family(CounterVec::new, about, labels, |vec| add(vec, samples))
    }

    fn gauges<'a>(
        &self,
        about: (&str, &str),
        labels: &[&str],
        samples: impl IntoIterator<Item = (Vec<&'a str>, i64)>,
    ) -> prometheus::Result<()> {
        self.family(IntGaugeVec::new, about, labels, |vec| set(vec, samples))
    }

    fn ratios<'a>(
        &self,
        about: (&str, &str),
        labels: &[&str],
        samples: impl IntoIterator<Item = (Vec<&'a str>, f64)>,
    ) -> prometheus::Result<()> {
        self.family(GaugeVec::new, about, labels, |vec| set(vec, samples))
    }
}

fn add<'a, P: Atomic>(
    vec: &GenericCounterVec<P>,
    samples: impl IntoIterator<Item = (Vec<&'a str>, P::T)>,
) {
    for (labels, value) in samples {
        vec.with_label_values(&labels).inc_by(value);
    }
}

fn set<'a, P: Atomic>(
    vec: &GenericGaugeVec<P>,
    samples: impl IntoIterator<Item = (Vec<&'a str>, P::T)>,
) {
    for (labels, value) in samples {
        vec.with_label_values(&labels).set(value);
    }
}

/// Gauges are signed; no level here comes near the limit.
fn level(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn process(page: &Page, snapshot: &Snapshot) -> prometheus::Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    page.gauges(
        ("build_info", "Always 1; the version is a label."),
        &["version"],
        [(vec![version], 1)],
    )?;
    page.ratios(
        ("uptime_seconds", "Time since the gateway started."),
        &[],
        [(vec![], snapshot.uptime_s)],
    )
}

fn ports(page: &Page, ports: &[PortView]) -> prometheus::Result<()> {
    type Field = fn(&PortView) -> u64;
    const COUNTERS: &[(&str, &str, Field)] = &[
        ("port_received_packets_total", "Packets the device received.", |p| p.rx_packets),
        ("port_received_bytes_total", "Bytes the device received.", |p| p.rx_bytes),
        ("port_sent_packets_total", "Packets the device sent.", |p| p.tx_packets),
        ("port_sent_bytes_total", "Bytes the device sent.", |p| p.tx_bytes),
        (
            "port_receive_missed_packets_total",
            "Packets the device lost for want of a free descriptor: the workers are too slow.",
            |p| p.rx_missed,
        ),
        ("port_receive_errors_total", "Bad frames the device saw.", |p| p.rx_errors),
        (
            "port_receive_no_buffer_total",
            "Packets the device lost for want of a buffer: the pool is too small.",
            |p| p.rx_no_buffer,
        ),
        ("port_send_errors_total", "Packets the device failed to send.", |p| p.tx_errors),
    ];
    for (name, help, field) in COUNTERS {
        let samples = ports.iter().map(|p| (vec![p.name.as_str()], field(p)));
        page.counters((name, help), &["port"], samples)?;
    }
    let up = ports.iter().map(|p| (vec![p.name.as_str()], i64::from(p.link_up)));
    page.gauges(("port_link_up", "1 when the link is up."), &["port"], up)?;
    let speed =
        ports.iter().map(|p| (vec![p.name.as_str()], level(u64::from(p.speed_mbps) * 125_000)));
    page.gauges(
        ("port_speed_bytes", "Link speed in bytes per second, 0 if unknown."),
        &["port"],
        speed,
    )
}

/// Received, sent and dropped of interfaces of one sort, under its own prefix.
fn traffic<'a>(
    page: &Page,
    sort: &str,
    interfaces: impl Iterator<Item = &'a InterfaceView> + Clone,
) -> prometheus::Result<()> {
    type Field = fn(&InterfaceView) -> u64;
    const COUNTERS: &[(&str, &str, Field)] = &[
        ("received_packets_total", "Packets received.", |i| i.traffic.rx_packets),
        ("received_bytes_total", "Bytes received.", |i| i.traffic.rx_bytes),
        ("sent_packets_total", "Packets sent.", |i| i.traffic.tx_packets),
        ("sent_bytes_total", "Bytes sent.", |i| i.traffic.tx_bytes),
        ("receive_dropped_packets_total", "Packets that arrived and were dropped.", |i| {
            i.traffic.rx_dropped
        }),
        ("send_dropped_packets_total", "Packets that were to leave and were dropped.", |i| {
            i.traffic.tx_dropped
        }),
    ];
    for (name, help, field) in COUNTERS {
        let samples = interfaces.clone().map(|i| (vec![i.name.as_str()], field(i)));
        page.counters((&format!("{sort}_{name}"), help), &[sort], samples)?;
    }
    let running = interfaces.clone().map(|i| {
        let running = i.flags.iter().any(|f| f == "RUNNING");
        (vec![i.name.as_str()], i64::from(running))
    });
    page.gauges((&format!("{sort}_running"), "1 when it can carry traffic."), &[sort], running)?;
    let mtu = interfaces.map(|i| (vec![i.name.as_str()], i64::from(i.mtu)));
    page.gauges((&format!("{sort}_mtu_bytes"), "Largest IP datagram."), &[sort], mtu)
}

fn interfaces(page: &Page, all: &[InterfaceView]) -> prometheus::Result<()> {
    traffic(page, "interface", all.iter().filter(|i| i.tunnel.is_none()))
}

fn tunnels(page: &Page, all: &[InterfaceView]) -> prometheus::Result<()> {
    let tunnels = all.iter().filter(|i| i.tunnel.is_some());
    traffic(page, "tunnel", tunnels.clone())?;
    let what = "Packets sent as IP in IP: fragments have no place in minimal encapsulation.";
    let fallback = tunnels.clone().map(|i| (vec![i.name.as_str()], i.traffic.fallback));
    page.counters(("tunnel_fallback_packets_total", what), &["tunnel"], fallback)?;
    let what = "Packets that came out with ECN fields that no sound tunnel combines (RFC 6040).";
    let anomalies = tunnels.clone().map(|i| (vec![i.name.as_str()], i.traffic.ecn_anomalies));
    page.counters(("tunnel_ecn_anomalies_total", what), &["tunnel"], anomalies)?;
    far_ends(page, tunnels.clone())?;
    paths(page, tunnels)
}

/// How often far ends that move did.
fn far_ends<'a>(
    page: &Page,
    tunnels: impl Iterator<Item = &'a InterfaceView> + Clone,
) -> prometheus::Result<()> {
    let all =
        tunnels.filter_map(|i| Some((vec![i.name.as_str()], i.tunnel.as_ref()?.far.as_ref()?)));
    let what = "Times a far end that is learned, or found by its name, moved.";
    let moves = all.clone().map(|(tunnel, far)| (tunnel, far.moves));
    page.counters(("tunnel_far_end_moves_total", what), &["tunnel"], moves)?;
    let what = "Times it did not: too soon, where it cannot be, or its name led nowhere.";
    let refused = all.map(|(tunnel, far)| (tunnel, far.refused));
    page.counters(("tunnel_far_end_refused_total", what), &["tunnel"], refused)
}

/// What ICMP errors about tunnels' packets told and did.
fn paths<'a>(
    page: &Page,
    tunnels: impl Iterator<Item = &'a InterfaceView> + Clone,
) -> prometheus::Result<()> {
    type Field = fn(&PathCounts) -> u64;
    const COUNTERS: &[(&str, &str, Field)] = &[
        ("tunnel_path_mtu_learned_total", "Times ICMP told a smaller path MTU.", |c| c.learned),
        (
            "tunnel_path_errors_refused_total",
            "ICMP errors about its packets that were not believed: implausible, too many, or -pmtu.",
            |c| c.refused,
        ),
        (
            "tunnel_path_errors_relayed_total",
            "ICMP errors about its packets passed on to the sender of the packet inside.",
            |c| c.relayed,
        ),
    ];
    let paths = tunnels.filter_map(|i| Some((i.name.as_str(), i.tunnel.as_ref()?.path)));
    for (name, help, field) in COUNTERS {
        let samples = paths.clone().map(|(tunnel, path)| (vec![tunnel], field(&path.counts)));
        page.counters((name, help), &["tunnel"], samples)?;
    }
    let known = paths.filter_map(|(tunnel, path)| Some((vec![tunnel], i64::from(path.mtu?))));
    let what = "Largest outer packet its path takes, where ICMP told so.";
    page.gauges(("tunnel_path_mtu_bytes", what), &["tunnel"], known)
}

/// What is known of far ends, of the tunnels that are watched.
fn liveness(page: &Page, all: &[InterfaceView]) -> prometheus::Result<()> {
    let watched: Vec<(&str, &LivenessView)> = all
        .iter()
        .filter_map(|i| Some((i.name.as_str(), i.tunnel.as_ref()?.liveness.as_ref()?)))
        .collect();
    let watched = || watched.iter().copied();
    let alive = watched().map(|(name, view)| (vec![name], i64::from(view.state != "down")));
    page.gauges(
        ("tunnel_alive", "0 while its far end does not answer and its routes are withdrawn."),
        &["tunnel"],
        alive,
    )?;
    let changes = watched().map(|(name, view)| (vec![name], view.transitions));
    page.counters(
        ("tunnel_liveness_transitions_total", "Times the far end went away or came back."),
        &["tunnel"],
        changes,
    )?;
    let checks: Vec<(&str, &str, &CheckView)> = watched()
        .flat_map(|(name, view)| {
            let keepalive = view.keepalive.iter().map(move |check| (name, "keepalive", check));
            keepalive.chain(view.probe.iter().map(move |probe| (name, "probe", &probe.check)))
        })
        .collect();
    type Field = fn(&CheckView) -> u64;
    const COUNTERS: &[(&str, &str, Field)] = &[
        ("sent", "Keepalives and probes sent.", |c| c.sent),
        ("received", "Keepalives and probes answered in time.", |c| c.received),
        ("lost", "Keepalives and probes not answered in time.", |c| c.lost),
    ];
    let labels = &["tunnel", "check"];
    for (name, help, field) in COUNTERS {
        let samples =
            checks.iter().map(|(tunnel, check, view)| (vec![*tunnel, *check], field(view)));
        page.counters((&format!("tunnel_liveness_{name}_packets_total"), help), labels, samples)?;
    }
    type Time = fn(&RttView) -> u64;
    const TIMES: &[(&str, &str, Time)] = &[
        ("tunnel_liveness_rtt_seconds", "Last round trip of a keepalive or probe.", |r| r.last_us),
        ("tunnel_liveness_rtt_mean_seconds", "Mean of all round trips.", |r| r.mean_us),
        ("tunnel_liveness_rtt_max_seconds", "Longest round trip.", |r| r.max_us),
        ("tunnel_liveness_jitter_seconds", "Smoothed change of round trips.", |r| r.jitter_us),
    ];
    for (name, help, field) in TIMES {
        let samples = checks.iter().filter_map(|(tunnel, check, view)| {
            Some((vec![*tunnel, *check], field(view.rtt.as_ref()?) as f64 / 1e6))
        });
        page.ratios((name, help), labels, samples)?;
    }
    let largest = watched()
        .filter_map(|(name, view)| Some((vec![name], i64::from(view.probe.as_ref()?.largest?))));
    page.gauges(
        ("tunnel_largest_packet_bytes", "Largest datagram seen to pass, there and back."),
        &["tunnel"],
        largest,
    )
}

fn filters(page: &Page, all: &[FilterView]) -> prometheus::Result<()> {
    let each = |field: fn(&FilterView) -> u64| {
        all.iter().map(move |view| (vec![view.rule.name.as_str()], field(view)))
    };
    let what = "Packets whose first rule it was.";
    page.counters(("filter_packets_total", what), &["filter"], each(|view| view.packets))?;
    let what = "Bytes of datagrams whose first rule it was.";
    page.counters(("filter_bytes_total", what), &["filter"], each(|view| view.bytes))
}

fn workers(page: &Page, workers: &[WorkerView]) -> prometheus::Result<()> {
    let names: Vec<String> = workers.iter().map(|w| w.worker.to_string()).collect();
    let each = || names.iter().map(String::as_str).zip(workers);
    let counter = |field: fn(&WorkerView) -> u64| {
        each().map(move |(name, w)| (vec![name], field(w))).collect::<Vec<_>>()
    };
    let labels = &["worker"];
    page.counters(
        ("worker_rounds_total", "Turns of the poll loop."),
        labels,
        counter(|w| w.rounds),
    )?;
    page.counters(("worker_packets_total", "Packets processed."), labels, counter(|w| w.packets))?;
    page.counters(("worker_bursts_total", "Bursts processed."), labels, counter(|w| w.bursts))?;
    let busy = each().map(|(name, w)| (vec![name], w.busy_seconds));
    page.seconds(
        (
            "worker_busy_seconds_total",
            "Time in turns that had packets; its rate is the busy share.",
        ),
        labels,
        busy,
    )?;
    let fill = each().map(|(name, w)| (vec![name], w.burst_fill));
    page.ratios(("worker_burst_fill", "Mean packets per burst since start."), labels, fill)?;
    let cost = each().map(|(name, w)| (vec![name], w.ticks_per_packet));
    page.ratios(
        ("worker_ticks_per_packet", "TSC ticks per packet in turns that had packets, since start."),
        labels,
        cost,
    )?;
    page.counters(
        ("worker_keepalives_answered_total", "GRE keepalives of tunnels' far ends answered."),
        labels,
        counter(|w| w.keepalives_answered),
    )?;
    let gap = each().map(|(name, w)| (vec![name], w.longest_gap_seconds));
    page.ratios(
        ("worker_longest_gap_seconds", "Longest time between two polls since start."),
        labels,
        gap,
    )?;
    stages(page, workers, &names)
}

/// Where the ticks go: ticks over packets is the cost of a stage.
fn stages(page: &Page, workers: &[WorkerView], names: &[String]) -> prometheus::Result<()> {
    let each = || {
        let workers = names.iter().map(String::as_str).zip(workers);
        workers.flat_map(|(name, w)| w.stages.iter().map(move |stage| (name, stage)))
    };
    page.counters(
        ("worker_stage_ticks_total", "TSC ticks in a stage of the path, of one burst in 61."),
        &["worker", "stage"],
        each().map(|(name, at)| (vec![name, at.stage.as_str()], at.ticks)),
    )?;
    page.counters(
        ("worker_stage_packets_total", "Packets in the bursts whose stages were timed."),
        &["worker", "stage"],
        each().map(|(name, at)| (vec![name, at.stage.as_str()], at.packets)),
    )
}

fn drops(page: &Page, drops: &DropsView) -> prometheus::Result<()> {
    // Every origin has every reason from the start: a rate() over a series that
    // appears with its first drop would miss that drop.
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for origin in &drops.origins {
        for reason in DropReason::ALL {
            counts.insert((&origin.origin, reason.label()), 0);
        }
    }
    for drop in &drops.drops {
        *counts.entry((&drop.origin, &drop.reason)).or_default() += drop.packets;
    }
    let samples = counts.into_iter().map(|((origin, reason), n)| (vec![origin, reason], n));
    page.counters(
        ("dropped_packets_total", "Packets dropped, by where they came in and why; `greyhound show drops` explains the reasons."),
        &["origin", "reason"],
        samples,
    )
}

fn conservation(page: &Page, origins: &[OriginView]) -> prometheus::Result<()> {
    type Field = fn(&OriginView) -> u64;
    const COUNTERS: &[(&str, &str, Field)] = &[
        (
            "path_received_packets_total",
            "Packets that entered the path, by port, or by control.",
            |o| o.received,
        ),
        (
            "path_fragments_created_total",
            "Further packets made by cutting one: n - 1 for n fragments.",
            |o| o.fragments_created,
        ),
        ("path_sent_packets_total", "Packets that left by some port.", |o| o.sent),
        ("path_dropped_packets_total", "Packets dropped, all reasons.", |o| o.dropped),
        ("path_handed_packets_total", "Packets that one worker gave to another.", |o| o.handed),
        ("path_taken_packets_total", "Packets that one worker took from another.", |o| o.taken),
        (
            "path_merged_fragments_total",
            "Fragments that became part of a reassembled datagram: n - 1 for n.",
            |o| o.merged,
        ),
    ];
    for (name, help, field) in COUNTERS {
        let samples = origins.iter().map(|o| (vec![o.origin.as_str()], field(o)));
        page.counters((name, help), &["origin"], samples)?;
    }
    let punts = origins.iter().flat_map(|o| {
        o.punted.iter().map(|(reason, n)| (vec![o.origin.as_str(), reason.as_str()], *n))
    });
    page.counters(
        ("path_punted_packets_total", "Packets handed to control, by why."),
        &["origin", "reason"],
        punts,
    )?;
    let held = origins.iter().map(|o| (vec![o.origin.as_str()], level(o.held)));
    page.gauges(
        ("path_held_fragments", "Fragments that wait for others of their datagram."),
        &["origin"],
        held,
    )?;
    let rest = origins.iter().map(|o| (vec![o.origin.as_str()], o.imbalance));
    page.gauges(
        ("path_imbalance_packets", "received + taken + fragments created - sent - dropped - punted - handed - merged - held: 0 when traffic rests, the packets under way otherwise."),
        &["origin"],
        rest,
    )
}

fn control(page: &Page, control: &ControlView) -> prometheus::Result<()> {
    type Field = fn(&ControlView) -> u64;
    const COUNTERS: &[(&str, &str, Field)] = &[
        ("control_punts_taken_total", "Packets taken from workers.", |c| c.punts_taken),
        ("control_originated_packets_total", "Packets control made.", |c| c.originated),
        (
            "control_fragments_created_total",
            "Further packets made by cutting an originated one.",
            |c| c.fragments_created,
        ),
        ("control_injected_packets_total", "Packets handed to workers.", |c| c.injected),
        ("control_consumed_packets_total", "Packets that ended at control as they should.", |c| {
            c.consumed
        }),
    ];
    for (name, help, field) in COUNTERS {
        page.counters((name, help), &[], [(vec![], field(control))])?;
    }
    let dropped = control.dropped.iter().map(|(reason, n)| (vec![reason.as_str()], *n));
    page.counters(
        ("control_dropped_packets_total", "Packets dropped at control, by why."),
        &["reason"],
        dropped,
    )?;
    let held = ("control_held_packets", "Packets waiting for ARP or neighbour discovery.");
    page.gauges(held, &[], [(vec![], level(control.held))])?;
    let rest =
        ("control_imbalance_packets", "Control's own conservation sum: 0 when traffic rests.");
    page.gauges(rest, &[], [(vec![], control.imbalance)])
}

fn neighbours(page: &Page, neighbours: &[NeighbourView]) -> prometheus::Result<()> {
    let mut counts: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for neighbour in neighbours {
        *counts.entry((&neighbour.interface, &neighbour.state)).or_default() += 1;
    }
    let samples = counts.into_iter().map(|((interface, state), n)| (vec![interface, state], n));
    page.gauges(
        ("neighbours", "Neighbour and published entries, by interface and state."),
        &["interface", "state"],
        samples,
    )
}

fn tables(page: &Page, tables: &TablesView) -> prometheus::Result<()> {
    let levels = [
        ("fib_prefixes", "Prefixes in the FIB.", tables.fib4_prefixes),
        ("fib_groups_used", "Second-level FIB groups in use.", tables.fib4_groups),
        ("fib_groups_limit", "Second-level FIB groups there are.", tables.fib4_groups_max),
        ("next_hops", "Next-hop slots in use.", tables.next_hops),
        ("decap_tunnels", "Tunnels in the decapsulation table.", tables.tunnels),
        ("tables_bytes", "Memory of all forwarding tables.", tables.bytes),
    ];
    for (name, help, value) in levels {
        page.gauges((name, help), &[], [(vec![], level(value))])?;
    }
    let generation = ("tables_changes_total", "Changes published to the workers.");
    page.counters(generation, &[], [(vec![], tables.generation)])
}

fn pools(page: &Page, pools: &[PoolView]) -> prometheus::Result<()> {
    let size = pools.iter().map(|p| (vec![p.name.as_str()], level(p.size)));
    page.gauges(("pool_buffers", "Buffers of a pool."), &["pool"], size)?;
    let used = pools.iter().map(|p| (vec![p.name.as_str()], level(p.in_use)));
    page.gauges(("pool_buffers_in_use", "Buffers out of a pool."), &["pool"], used)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::view::DropView;

    fn interface(name: &str, tunnel: bool) -> InterfaceView {
        let value = serde_json::json!({
            "name": name, "index": 1, "kind": "port", "flags": ["UP", "RUNNING"], "mtu": 1500,
            "mac": null, "addresses": [],
            "tunnel": tunnel.then(|| serde_json::json!({
                "kind": "gre", "local": null, "remote": null, "ttl": 64, "dscp": "copy",
                "df": "set", "underlay": null, "far": {"moves": 2, "refused": 1}, "path": {"mtu": 1400, "learned": 2}
            })),
            "traffic": {"rx_packets": 3, "rx_bytes": 4, "tx_packets": 5, "tx_bytes": 6,
                        "rx_dropped": 7, "tx_dropped": 8}
        });
        serde_json::from_value(value).expect("an interface")
    }

    fn snapshot() -> Snapshot {
        let origin = OriginView { origin: "en0".into(), received: 9, ..OriginView::default() };
        let drop = DropView {
            origin: "en0".into(),
            reason: "no_route".into(),
            text: String::new(),
            packets: 2,
        };
        Snapshot {
            interfaces: vec![interface("en0", false), interface("gre0", true)],
            ports: vec![PortView { name: "en0".into(), rx_packets: 9, ..PortView::default() }],
            workers: vec![WorkerView::default()],
            filters: vec![FilterView {
                rule: serde_json::from_str(r#"{"name":"no-ssh","action":"drop"}"#).expect("a rule"),
                packets: 6,
                bytes: 7,
            }],
            drops: DropsView {
                origins: vec![origin],
                drops: vec![drop],
                control: ControlView::default(),
            },
            ..Snapshot::default()
        }
    }

    #[test]
    fn tunnels_and_ports_have_their_own_series() {
        let text = render(&snapshot()).expect("renders");
        for line in [
            r#"greyhound_tunnel_received_packets_total{tunnel="gre0"} 3"#,
            r#"greyhound_tunnel_path_mtu_bytes{tunnel="gre0"} 1400"#,
            r#"greyhound_tunnel_far_end_moves_total{tunnel="gre0"} 2"#,
            r#"greyhound_tunnel_far_end_refused_total{tunnel="gre0"} 1"#,
            r#"greyhound_tunnel_path_mtu_learned_total{tunnel="gre0"} 2"#,
            r#"greyhound_tunnel_path_errors_refused_total{tunnel="gre0"} 0"#,
            r#"greyhound_interface_sent_bytes_total{interface="en0"} 6"#,
            r#"greyhound_port_received_packets_total{port="en0"} 9"#,
            r#"greyhound_filter_packets_total{filter="no-ssh"} 6"#,
            r#"greyhound_filter_bytes_total{filter="no-ssh"} 7"#,
            r#"greyhound_dropped_packets_total{origin="en0",reason="no_route"} 2"#,
            r#"greyhound_dropped_packets_total{origin="en0",reason="martian_source"} 0"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains(r#"interface="gre0""#));
    }

    #[test]
    fn far_ends_have_their_series_where_they_are_watched() {
        let mut snapshot = snapshot();
        let check = serde_json::json!({
            "interval": "10s", "retries": 3, "up_after": 2, "state": "down", "sent": 9,
            "received": 5, "lost": 4, "to": "12.0.0.2", "largest": 1400,
            "rtt": {"last_us": 1500, "min_us": 1, "mean_us": 2, "max_us": 3, "jitter_us": 4}
        });
        let view = serde_json::json!({
            "state": "down", "seconds": 1, "transitions": 3, "keepalive": null, "probe": check
        });
        let tunnel = snapshot.interfaces[1].tunnel.as_mut().expect("a tunnel");
        tunnel.liveness = Some(serde_json::from_value(view).expect("a view"));
        let text = render(&snapshot).expect("renders");
        for line in [
            r#"greyhound_tunnel_alive{tunnel="gre0"} 0"#,
            r#"greyhound_tunnel_liveness_transitions_total{tunnel="gre0"} 3"#,
            r#"greyhound_tunnel_liveness_lost_packets_total{check="probe",tunnel="gre0"} 4"#,
            r#"greyhound_tunnel_liveness_rtt_seconds{check="probe",tunnel="gre0"} 0.0015"#,
            r#"greyhound_tunnel_largest_packet_bytes{tunnel="gre0"} 1400"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn every_family_has_help_that_ends_in_a_full_stop() {
        let text = render(&snapshot()).expect("renders");
        let help: Vec<_> = text.lines().filter(|l| l.starts_with("# HELP")).collect();
        assert!(help.len() > 30);
        assert!(help.iter().all(|l| l.contains("greyhound_") && l.ends_with('.')), "{help:#?}");
    }
}
