//! The running state as a configuration file (`show config`): read again, it
//! gives the same state. What has its default value is left out.

use std::fmt::{Display, Write};
use std::net::IpAddr;

use toml::Value;

use super::Config;
use super::sections::{DEFAULT_DESCRIPTORS, DEFAULT_METRICS, DEFAULT_MTU, DEFAULT_TTL};
use crate::ids::Family;
use crate::model::ip;
use crate::model::spec::{
    AdvertiseSpec, DEFAULT_RESOLVE, DpdkSettings, Dscp, EcnMode, EncapLimit, FilterSpec,
    GreOptions, Hugepages, IcmpSpec, Idle, MssClamp, OuterDf, PathSpec, PathWay, PortSpec,
    ProbeSpec, ReversePath, RouteSpec, RouteTarget, Spread, State, Timing, TunnelSpec, UdpSpec,
};

/// A file that reproduces the configuration.
pub fn render(config: &Config) -> String {
    let mut page = Page::default();
    page.dpdk(&config.settings.dpdk);
    page.state(&config.state);
    page.head("[control]");
    page.text("socket", config.settings.socket.display());
    page.head("[metrics]");
    match &config.settings.metrics {
        Some(listen) if listen == DEFAULT_METRICS => {}
        Some(listen) => page.text("listen", listen),
        None => page.bare("enabled", false),
    }
    page.text
}

/// The text so far.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn head(&mut self, head: &str) {
        let gap = if self.text.is_empty() { "" } else { "\n" };
        let _ = writeln!(self.text, "{gap}{head}");
    }

    /// A key with a number or a flag.
    fn bare(&mut self, key: &str, value: impl Display) {
        let _ = writeln!(self.text, "{key} = {value}");
    }

    fn text(&mut self, key: &str, value: impl Display) {
        self.bare(key, Value::String(value.to_string()));
    }

    fn text_if(&mut self, key: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    fn bare_if(&mut self, key: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.bare(key, value);
        }
    }

    /// A key with a list of strings, left out when there are none.
    fn texts<T: Display>(&mut self, key: &str, values: &[T]) {
        if !values.is_empty() {
            let list: Vec<String> =
                values.iter().map(|v| Value::String(v.to_string()).to_string()).collect();
            self.bare(key, format!("[{}]", list.join(", ")));
        }
    }

    fn dpdk(&mut self, dpdk: &DpdkSettings) {
        self.head("[dpdk]");
        if !dpdk.workers.is_empty() {
            self.bare("workers", format!("{:?}", dpdk.workers));
        }
        self.text("memory", format!("{}M", dpdk.memory_mib));
        match dpdk.hugepages {
            Hugepages::Auto => {}
            Hugepages::On => self.text("hugepages", "on"),
            Hugepages::Off => self.text("hugepages", "off"),
        }
        match dpdk.idle {
            Idle::Poll => {}
            Idle::Adaptive => self.text("idle", "adaptive"),
        }
        match dpdk.spread {
            Spread::Off => {}
            Spread::Inner => self.text("spread", "inner"),
        }
        self.bare_if("buffers", dpdk.buffers);
        self.bare_if("descriptors", unless(dpdk.descriptors, DEFAULT_DESCRIPTORS));
        for hand in &dpdk.queues {
            self.head("[[dpdk.worker]]");
            self.bare("worker", hand.worker);
            self.texts("queues", &hand.queues);
        }
    }

    fn state(&mut self, state: &State) {
        for port in &state.ports {
            self.port(port);
        }
        for vlan in &state.vlans {
            self.head("[[vlan]]");
            self.text("name", &vlan.name);
            self.texts("address", &vlan.address);
            self.bare_if("mtu", vlan.mtu);
            self.text_if("rpf", unless(vlan.rpf, ReversePath::Off));
            self.advertise(vlan.advertise);
            self.bare_if("up", unless(vlan.up, true));
        }
        for tunnel in &state.tunnels {
            self.tunnel(tunnel);
        }
        for route in &state.routes {
            self.route(route);
        }
        for neighbour in &state.neighbours {
            self.head("[[neighbour]]");
            self.text("address", neighbour.address);
            self.text_if("port", neighbour.port.as_ref());
            self.text("mac", neighbour.mac);
        }
        for publish in &state.published {
            self.head("[[arp]]");
            self.text("address", publish.address);
            self.text_if("port", publish.port.as_ref());
            self.text_if("mac", publish.mac);
            self.bare("publish", true);
        }
        for filter in &state.filters {
            self.filter(filter);
        }
        self.icmp(&state.icmp);
    }

    fn advertise(&mut self, spec: Option<AdvertiseSpec>) {
        let usual = AdvertiseSpec::default();
        let Some(spec) = spec else { return };
        if spec == usual {
            return self.bare("advertise", true);
        }
        let key = |name: &str, value: u32| format!("{name} = {value}");
        let keys = [
            unless(spec.interval, usual.interval).map(|n| key("interval", n.into())),
            unless(spec.lifetime, usual.lifetime).map(|n| key("lifetime", n.into())),
            unless(spec.valid, usual.valid).map(|n| key("valid", n)),
            unless(spec.preferred, usual.preferred).map(|n| key("preferred", n)),
        ];
        let keys: Vec<String> = keys.into_iter().flatten().collect();
        self.bare("advertise", inline(&keys));
    }

    fn filter(&mut self, filter: &FilterSpec) {
        self.head("[[filter]]");
        self.text("name", &filter.name);
        self.text_if("in", filter.interface.as_ref());
        self.text_if("from", filter.from);
        self.text_if("to", filter.to);
        self.text_if("protocol", filter.protocol);
        self.text_if("sport", filter.sport);
        self.text_if("dport", filter.dport);
        self.text("action", filter.action);
        self.bare_if("log", unless(filter.log, false));
    }

    fn port(&mut self, port: &PortSpec) {
        self.head("[[port]]");
        self.text("name", &port.name);
        self.text("device", &port.device);
        self.texts("address", &port.address);
        self.bare_if("mtu", unless(port.mtu, DEFAULT_MTU));
        self.text_if("mac", port.mac);
        self.bare_if("rx_queues", port.rx_queues);
        self.text_if("rpf", unless(port.rpf, ReversePath::Off));
        self.advertise(port.advertise);
        self.bare_if("up", unless(port.up, true));
    }

    fn tunnel(&mut self, tunnel: &TunnelSpec) {
        self.head("[[tunnel]]");
        self.text("name", &tunnel.name);
        self.text("kind", tunnel.kind.prefix());
        self.text_if("local", tunnel.local);
        self.text_if("remote", tunnel.remote.as_ref());
        self.bare_if("learn", unless(tunnel.learn, false));
        self.bare_if("resolve_interval", unless(tunnel.resolve_interval, DEFAULT_RESOLVE));
        self.text_if("address", tunnel.address);
        self.text_if("peer", tunnel.peer);
        if !tunnel.nbma.is_empty() {
            let end = |(inner, outer): (&IpAddr, &IpAddr)| format!("\"{inner}\" = \"{outer}\"");
            let ends: Vec<String> = tunnel.nbma.iter().map(end).collect();
            self.bare("nbma", format!("{{ {} }}", ends.join(", ")));
        }
        self.texts("inet6", &tunnel.inet6);
        self.bare_if("link0", unless(tunnel.link0, true));
        self.bare_if("link1", unless(tunnel.link1, false));
        self.bare_if("mtu", tunnel.mtu);
        self.bare_if("ttl", unless(tunnel.ttl, DEFAULT_TTL));
        match tunnel.dscp {
            Dscp::Copy => {}
            Dscp::Uniform => self.text("dscp", "uniform"),
            Dscp::Fixed(value) => self.bare("dscp", value),
        }
        self.text_if("ecn", unless(tunnel.ecn, EcnMode::Normal));
        match tunnel.df {
            OuterDf::Set => {}
            OuterDf::Copy => self.text("df", "copy"),
        }
        match tunnel.mss {
            MssClamp::Off => {}
            MssClamp::Auto => self.text("mss", "auto"),
            MssClamp::Fixed(bytes) => self.bare("mss", bytes),
        }
        match tunnel.encaplimit {
            EncapLimit::Off => {}
            EncapLimit::Fixed(limit) => self.bare("encaplimit", limit),
        }
        self.bare_if("pmtu", unless(tunnel.pmtu, true));
        self.bare_if("reassemble", unless(tunnel.reassemble, true));
        self.gre_options(&tunnel.gre);
        self.bare_if("keepalive", tunnel.keepalive.map(|timing| inline(&timing_keys(timing))));
        self.bare_if("probe", tunnel.probe.map(probe));
        self.bare_if("udp", tunnel.udp.map(udp));
        self.texts("allow", &tunnel.allow);
        self.text_if("rpf", unless(tunnel.rpf, ReversePath::Off));
        self.text_if("port", tunnel.port.as_ref());
        self.bare_if("up", unless(tunnel.up, true));
    }

    fn gre_options(&mut self, gre: &GreOptions) {
        let standard = GreOptions::default();
        self.bare_if("checksum", unless(gre.checksum, false));
        if gre.key_in == gre.key_out {
            self.bare_if("key", gre.key_in);
        } else {
            self.bare_if("key_in", gre.key_in);
            self.bare_if("key_out", gre.key_out);
        }
        self.bare_if("sequence", unless(gre.sequence, false));
        self.bare_if("sequence_resync", unless(gre.sequence_resync, standard.sequence_resync));
    }

    fn route(&mut self, route: &RouteSpec) {
        self.head("[[route]]");
        if route.to == ip::everything(Family::V4) {
            self.text("to", "default");
        } else {
            self.text("to", route.to);
        }
        match &route.target {
            RouteTarget::Via(gateway) => self.text("via", gateway),
            RouteTarget::Near { via, interface } => self.text("via", format!("{via}%{interface}")),
            RouteTarget::Interface(name) => self.text("interface", name),
            RouteTarget::Blackhole => self.bare("blackhole", true),
            RouteTarget::Reject => self.bare("reject", true),
            RouteTarget::Paths(paths) => {
                let paths: Vec<String> = paths.iter().map(path).collect();
                self.bare("paths", format!("[{}]", paths.join(", ")));
            }
        }
    }

    fn icmp(&mut self, icmp: &IcmpSpec) {
        let standard = IcmpSpec::default();
        if *icmp == standard {
            return;
        }
        self.head("[icmp]");
        self.bare_if("error_rate", unless(icmp.error_rate, standard.error_rate));
        self.bare_if("error_burst", unless(icmp.error_burst, standard.error_burst));
        self.bare_if("echo", unless(icmp.echo, standard.echo));
        self.bare_if("time_exceeded", unless(icmp.time_exceeded, standard.time_exceeded));
    }
}

/// An inline table.
fn inline(keys: &[String]) -> String {
    format!("{{ {} }}", keys.join(", "))
}

fn timing_keys(timing: Timing) -> Vec<String> {
    let interval = Value::String(timing.interval.to_string());
    vec![
        format!("interval = {interval}"),
        format!("retries = {}", timing.retries),
        format!("up_after = {}", timing.up_after),
    ]
}

fn probe(probe: ProbeSpec) -> String {
    let mut keys = timing_keys(probe.timing);
    keys.extend(probe.to.map(|to| format!("to = {}", Value::String(to.to_string()))));
    keys.extend(unless(probe.size, true).map(|size| format!("size = {size}")));
    inline(&keys)
}

/// The UDP header as an inline table.
fn udp(udp: UdpSpec) -> String {
    let mut text = format!("{{ port = {}", udp.port);
    if let Some(source) = udp.source {
        text += &format!(", source = {source}");
    }
    if !udp.checksum {
        text += ", checksum = false";
    }
    text + " }"
}

/// A path as an inline table.
fn path(path: &PathSpec) -> String {
    let (key, value) = match &path.way {
        PathWay::Via(gateway) => ("via", gateway.to_string()),
        PathWay::Interface(name) => ("interface", name.clone()),
    };
    let weight = match path.weight {
        1 => String::new(),
        weight => format!(", weight = {weight}"),
    };
    format!("{{ {key} = {}{weight} }}", Value::String(value))
}

/// The value, unless it is the default.
fn unless<T: PartialEq>(value: T, default: T) -> Option<T> {
    (value != default).then_some(value)
}
