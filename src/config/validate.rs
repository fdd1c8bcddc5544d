//! The objects of one file against each other: duplicates, names that nothing
//! bears, subnets that overlap. What depends on resolved state (does a route lead
//! anywhere, does a tunnel run) is control's.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::net::IpAddr;

use ipnet::IpNet;

use super::routes_file::RoutesFile;
use super::sections::{queue_name, vlan_name};
use crate::ids::{MAX_INTERFACES, MAX_PORTS};
use crate::model::ip;
use crate::model::op::Problem;
use crate::model::spec::{
    DpdkSettings, FilterSpec, GreOptions, MOST_FILTERS, NeighbourSpec, PathSpec, PathWay, PortSpec,
    PublishSpec, Remote, RouteSpec, RouteTarget, TunnelKind, TunnelSpec, VlanSpec,
};

/// A section's objects with their numbers in the file: those that could not be
/// read are missing.
pub type Items<T> = Vec<(usize, T)>;

/// What a file asks for, before it is known to fit together.
pub struct Draft {
    pub dpdk: DpdkSettings,
    pub ports: Items<PortSpec>,
    pub vlans: Items<VlanSpec>,
    pub tunnels: Items<TunnelSpec>,
    pub routes: Items<RouteSpec>,
    pub files: Vec<RoutesFile>,
    pub neighbours: Items<NeighbourSpec>,
    pub published: Items<PublishSpec>,
    pub filters: Items<FilterSpec>,
}

impl Draft {
    /// Addresses of ports and VLANs: place, interface, address.
    fn link_addresses(&self) -> Vec<(String, &str, IpNet)> {
        let ports = self.ports.iter().map(|(n, p)| ("port", n, &p.name, &p.address));
        let vlans = self.vlans.iter().map(|(n, v)| ("vlan", n, &v.name, &v.address));
        let mut all = Vec::new();
        for (section, number, name, nets) in ports.chain(vlans) {
            for (place, net) in nets.iter().enumerate() {
                all.push((format!("{section}[{number}].address[{place}]"), name.as_str(), *net));
            }
        }
        all
    }

    /// Inner IPv6 addresses of tunnels: place, interface, address.
    fn tunnel_addresses(&self) -> Vec<(String, &str, IpNet)> {
        let tunnels = self.tunnels.iter().flat_map(|(number, tunnel)| {
            let at = move |place| format!("tunnel[{number}].inet6[{place}]");
            let nets = tunnel.inet6.iter().enumerate();
            nets.map(move |(place, net)| (at(place), tunnel.name.as_str(), IpNet::V6(*net)))
        });
        tunnels.collect()
    }

    /// All our own addresses, inner ones of tunnels too.
    fn own(&self) -> BTreeSet<IpAddr> {
        let links = self.link_addresses().into_iter().chain(self.tunnel_addresses());
        let pairs = self.tunnels.iter().filter_map(|(_, tunnel)| tunnel.address);
        links.map(|(.., net)| net.addr()).chain(pairs.map(IpAddr::V4)).collect()
    }

    fn port_names(&self) -> String {
        let names: Vec<&str> = self.ports.iter().map(|(_, port)| port.name.as_str()).collect();
        names.join(", ")
    }

    /// Routes of the text, then those of files.
    fn all_routes(&self) -> impl Iterator<Item = (RoutePlace<'_>, &RouteSpec)> {
        let section = self.routes.iter().map(|(n, route)| (RoutePlace::Section(*n), route));
        let lines = self.files.iter().flat_map(|file| {
            file.routes.iter().map(move |(line, route)| (RoutePlace::Line(file, *line), route))
        });
        section.chain(lines)
    }

    fn interface_names(&self) -> HashSet<&str> {
        let ports = self.ports.iter().map(|(_, port)| port.name.as_str());
        let vlans = self.vlans.iter().map(|(_, vlan)| vlan.name.as_str());
        let tunnels = self.tunnels.iter().map(|(_, tunnel)| tunnel.name.as_str());
        ports.chain(vlans).chain(tunnels).collect()
    }
}

/// Where a route is written.
#[derive(Clone, Copy)]
enum RoutePlace<'a> {
    /// `[[route]]`, by number.
    Section(usize),
    /// A line of a file.
    Line(&'a RoutesFile, usize),
}

impl RoutePlace<'_> {
    /// The place of one of its fields; a line is short enough to have none.
    fn field(&self, field: &str) -> String {
        match self {
            RoutePlace::Section(_) => format!("{self}.{field}"),
            RoutePlace::Line(..) => self.to_string(),
        }
    }
}

impl std::fmt::Display for RoutePlace<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RoutePlace::Section(number) => write!(f, "route[{number}]"),
            RoutePlace::Line(file, line) => f.write_str(&file.at(*line)),
        }
    }
}

/// Everything that does not fit together. `unread`: the file has objects that
/// could not be read, so no name is called unknown, since one of them may bear it.
pub fn check(draft: &Draft, unread: bool) -> Vec<Problem> {
    let mut checker = Checker { draft, unread, problems: Vec::new() };
    checker.workers();
    checker.ports();
    checker.vlans();
    checker.subnets();
    checker.tunnels();
    checker.routes();
    checker.neighbours();
    checker.published();
    checker.filters();
    checker.problems
}

struct Checker<'a> {
    draft: &'a Draft,
    unread: bool,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn problem(&mut self, at: String, message: String) {
        self.problems.push(Problem::new(at, message));
    }

    fn workers(&mut self) {
        let dpdk = &self.draft.dpdk;
        let cores = dpdk.workers.iter().map(|core| (core, "dpdk.workers", ""));
        self.problems.extend(duplicates(cores, |core, first| {
            format!(
                "core {core} has a worker already, workers[{first}]: expected one worker a core"
            )
        }));
        let by_hand = dpdk.queues.iter().map(|w| (&w.worker, "dpdk.worker", ".worker"));
        self.problems.extend(duplicates(by_hand, |worker, first| {
            format!("worker {worker} has its queues already, dpdk.worker[{first}]")
        }));
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for (number, hand) in dpdk.queues.iter().enumerate() {
            let workers = dpdk.workers.len().max(1);
            if hand.worker >= workers {
                let message =
                    format!("{} is not a worker: expected 0 to {}", hand.worker, workers - 1);
                self.problem(format!("dpdk.worker[{number}].worker"), message);
            }
            for (place, queue) in hand.queues.iter().enumerate() {
                let at = format!("dpdk.worker[{number}].queues[{place}]");
                if let Some(message) = self.queue(queue) {
                    self.problem(at, message);
                } else if let Some(first) = seen.insert(queue, number) {
                    let message =
                        format!("`{queue}` is dealt out already, in dpdk.worker[{first}]");
                    self.problem(at, message);
                }
            }
        }
    }

    /// What is wrong with a queue named by hand.
    fn queue(&self, queue: &str) -> Option<String> {
        let (port, number) = queue_name(queue)?;
        match self.draft.ports.iter().find(|(_, p)| p.name == port) {
            Some((_, port)) => match port.rx_queues {
                Some(count) if number >= count => {
                    Some(format!("`{queue}`: {} has {count} queues, from 0", port.name))
                }
                _ => None,
            },
            None if self.unread => None,
            None => Some(format!(
                "`{queue}`: no port `{port}`, expected one of {}",
                self.draft.port_names()
            )),
        }
    }

    fn ports(&mut self) {
        let ports = &self.draft.ports;
        if ports.is_empty() && !self.unread {
            self.problem("port".into(), "no [[port]]: expected at least one".into());
        }
        if ports.len() > MAX_PORTS {
            let message = format!("{} ports, expected at most {MAX_PORTS}", ports.len());
            self.problem("port".into(), message);
        }
        self.unique(
            "port",
            "name",
            ports,
            |port| Some(port.name.clone()),
            |name| format!("`{name}` is taken"),
        );
        let device = |port: &PortSpec| {
            let device = device_identity(&port.device);
            (!device.is_empty()).then_some(device)
        };
        self.unique("port", "device", ports, device, |device| {
            format!("device `{device}` is taken")
        });
    }

    fn vlans(&mut self) {
        let vlans = &self.draft.vlans;
        self.unique(
            "vlan",
            "name",
            vlans,
            |vlan| Some(vlan.name.clone()),
            |name| format!("`{name}` is taken"),
        );
        for (number, vlan) in vlans {
            let Some((parent, _)) = vlan_name(&vlan.name) else { continue };
            let known = self.draft.ports.iter().any(|(_, port)| port.name == parent);
            if !known && !self.unread {
                let names = self.draft.port_names();
                let message =
                    format!("`{}`: no port `{parent}`, expected one of {names}", vlan.name);
                self.problem(format!("vlan[{number}].name"), message);
            }
        }
    }

    /// Each subnet is on one interface, each address configured once.
    fn subnets(&mut self) {
        let draft = self.draft;
        let mut addresses: Vec<(String, &str, IpNet)> = draft.link_addresses();
        addresses.extend(draft.tunnel_addresses());
        // An address of its own makes no subnet behind a tunnel.
        let makes_one = |net: &IpNet, name: &str| {
            !ip::is_host(net) || !draft.tunnels.iter().any(|(_, tunnel)| tunnel.name == name)
        };
        for (place, (at, name, net)) in addresses.iter().enumerate() {
            let earlier = addresses[..place].iter().find(|(_, other, earlier)| {
                let overlap = (net.contains(&earlier.network())
                    || earlier.contains(&net.network()))
                    && makes_one(net, name)
                    && makes_one(earlier, other);
                if other == name { earlier.addr() == net.addr() } else { overlap }
            });
            let Some((first, other, earlier)) = earlier else { continue };
            let message = if other == name {
                format!("`{net}`: the address is there already, {first}")
            } else {
                format!(
                    "`{net}` overlaps with `{earlier}` of {other} ({first}): expected another subnet"
                )
            };
            self.problem(at.clone(), message);
        }
    }

    fn tunnels(&mut self) {
        let tunnels = &self.draft.tunnels;
        let interfaces = self.draft.ports.len() + self.draft.vlans.len() + tunnels.len();
        if interfaces > MAX_INTERFACES {
            let message = format!("{interfaces} interfaces, expected at most {MAX_INTERFACES}");
            self.problem("tunnel".into(), message);
        }
        self.unique(
            "tunnel",
            "name",
            tunnels,
            |t| Some(t.name.clone()),
            |name| format!("`{name}` is taken"),
        );
        let outer = |t: &TunnelSpec| {
            let (kind, udp) = (t.kind.prefix(), t.udp.map(|udp| udp.port));
            Some((kind, t.link0, t.local?, t.remote.clone()?, t.gre.key_in, udp))
        };
        self.unique("tunnel", "remote", tunnels, outer, |(kind, _, local, remote, key, udp)| {
            let key = key.map_or(String::new(), |key| format!(" with key {key}"));
            let udp = udp.map_or(String::new(), |port| format!(" in UDP {port}"));
            format!("a tunnel of kind {kind} from {local} to {remote}{key}{udp} is there")
        });
        // A host route leads to each: it can have one interface only.
        let peer = |t: &TunnelSpec| t.peer;
        self.unique("tunnel", "peer", tunnels, peer, |peer| format!("a tunnel to {peer} is there"));
        let own = self.draft.own();
        for (number, tunnel) in tunnels {
            for (field, message) in tunnel_problems(tunnel, &own) {
                self.problem(format!("tunnel[{number}].{field}"), message);
            }
            if let Some(port) = &tunnel.port {
                self.known_link(&format!("tunnel[{number}]"), port);
            }
        }
    }

    fn filters(&mut self) {
        let draft = self.draft;
        let known = draft.interface_names();
        if draft.filters.len() > MOST_FILTERS {
            let message =
                format!("{} filters: expected {MOST_FILTERS} at most", draft.filters.len());
            self.problem("filter".into(), message);
        }
        let names = draft.filters.iter().map(|(_, filter)| (&filter.name, "filter", ".name"));
        self.problems.extend(duplicates(names, |name, first| {
            format!("`{name}` is the name of filter[{first}] already")
        }));
        for (number, filter) in &draft.filters {
            if let Err((field, message)) = filter.check() {
                self.problem(format!("filter[{number}].{field}"), message);
            }
            let name = filter.interface.as_deref().unwrap_or_default();
            if filter.interface.is_some() && !known.contains(name) && !self.unread {
                let message =
                    format!("no interface `{name}`: expected a port, VLAN or tunnel of this file");
                self.problem(format!("filter[{number}].in"), message);
            }
        }
    }

    fn routes(&mut self) {
        let draft = self.draft;
        let known = draft.interface_names();
        let own = draft.own();
        let mut all: Vec<_> = draft.all_routes().map(|(place, route)| (route.to, place)).collect();
        // Stable: those of one prefix as they are written. (A file is mostly in order
        // already.)
        all.sort_by_key(|(to, _)| *to);
        for pair in all.windows(2) {
            if let [(to, first), (next, place)] = pair
                && to == next
            {
                let message = format!("{to} has a route already, {first}");
                self.problem(place.field("to"), message);
            }
        }
        for (place, route) in draft.all_routes() {
            match &route.target {
                RouteTarget::Via(gateway) if own.contains(gateway) => {
                    self.not_own(&own, *gateway, place.field("via"), "another router's");
                }
                RouteTarget::Interface(name) if !known.contains(name.as_str()) && !self.unread => {
                    let message = format!(
                        "no interface `{name}`: expected a port, VLAN or tunnel of this file"
                    );
                    self.problem(place.field("interface"), message);
                }
                RouteTarget::Near { interface, .. }
                    if !known.contains(interface.as_str()) && !self.unread =>
                {
                    let message =
                        format!("no interface `{interface}`: expected a port or VLAN of this file");
                    self.problem(place.field("via"), message);
                }
                RouteTarget::Paths(paths) => {
                    for (at, path) in paths.iter().enumerate() {
                        self.path(&own, path, |field| place.field(&format!("paths[{at}].{field}")));
                    }
                }
                _ => {}
            }
        }
    }

    fn path(&mut self, own: &BTreeSet<IpAddr>, path: &PathSpec, at: impl Fn(&str) -> String) {
        match &path.way {
            PathWay::Via(gateway) => self.not_own(own, *gateway, at("via"), "another router's"),
            PathWay::Interface(name) => {
                let tunnel = self.draft.tunnels.iter().any(|(_, tunnel)| tunnel.name == *name);
                if !tunnel && !self.unread {
                    let message = format!("no tunnel `{name}`: expected a tunnel of this file");
                    self.problem(at("interface"), message);
                }
            }
        }
    }

    fn neighbours(&mut self) {
        let neighbours = &self.draft.neighbours;
        let address = |n: &NeighbourSpec| Some(n.address);
        self.unique("neighbour", "address", neighbours, address, |a| format!("{a} has an entry"));
        let own = self.draft.own();
        for (number, entry) in neighbours {
            self.link(&format!("neighbour[{number}]"), entry.port.as_deref(), entry.address);
            let at = format!("neighbour[{number}].address");
            self.not_own(&own, entry.address, at, "a neighbour's");
        }
    }

    fn published(&mut self) {
        let published = &self.draft.published;
        let address = |p: &PublishSpec| Some(p.address);
        self.unique("arp", "address", published, address, |a| format!("{a} is published"));
        let own = self.draft.own();
        for (number, entry) in published {
            self.link(&format!("arp[{number}]"), entry.port.as_deref(), entry.address);
            let at = format!("arp[{number}].address");
            self.not_own(&own, entry.address, at, "one we would not answer for anyway");
        }
    }

    /// An address that must be somebody else's.
    fn not_own(&mut self, own: &BTreeSet<IpAddr>, address: IpAddr, at: String, expected: &str) {
        if own.contains(&address) {
            self.problem(at, format!("`{address}` is our own address: expected {expected}"));
        }
    }

    /// The interface of an ARP entry: named, or the one whose subnet has the
    /// address.
    fn link(&mut self, at: &str, port: Option<&str>, address: IpAddr) {
        if self.unread {
            return;
        }
        if let Some(name) = port {
            self.known_link(at, name);
        } else if !self.draft.link_addresses().iter().any(|(.., net)| net.contains(&address)) {
            let message =
                format!("{address} is in no port's subnet: expected `port`, or another address");
            self.problem(format!("{at}.address"), message);
        }
    }

    /// A `port` that has to be a port's or VLAN's name.
    fn known_link(&mut self, at: &str, name: &str) {
        let draft = self.draft;
        let known = draft.ports.iter().any(|(_, p)| p.name == name)
            || draft.vlans.iter().any(|(_, v)| v.name == name);
        if !known && !self.unread {
            let message = format!("no port `{name}`, expected one of {}", self.draft.port_names());
            self.problem(format!("{at}.port"), message);
        }
    }

    /// Refuses the second of two objects with the same key.
    fn unique<T, K: Hash + Eq + Clone>(
        &mut self,
        section: &str,
        field: &str,
        items: &Items<T>,
        key: impl Fn(&T) -> Option<K>,
        said: impl Fn(&K) -> String,
    ) {
        let mut seen = HashMap::new();
        for (number, item) in items {
            let Some(key) = key(item) else { continue };
            if let Some(first) = seen.insert(key.clone(), *number) {
                let message = format!("{} already, {section}[{first}]", said(&key));
                self.problem(format!("{section}[{number}].{field}"), message);
            }
        }
    }
}

/// Problems of values that come twice: `(value, list, field)` in order.
fn duplicates<'a, T: Hash + Eq + 'a>(
    values: impl Iterator<Item = (&'a T, &'a str, &'a str)>,
    said: impl Fn(&T, usize) -> String,
) -> Vec<Problem> {
    let mut seen = HashMap::new();
    let mut problems = Vec::new();
    for (number, (value, list, field)) in values.enumerate() {
        if let Some(first) = seen.insert(value, number) {
            problems.push(Problem::new(format!("{list}[{number}]{field}"), said(value, first)));
        }
    }
    problems
}

/// What is wrong with one tunnel: field and message.
fn tunnel_problems(tunnel: &TunnelSpec, own: &BTreeSet<IpAddr>) -> Vec<(&'static str, String)> {
    let mut problems = Vec::new();
    let ipip = tunnel.kind == TunnelKind::Ipip;
    let remote = tunnel.remote.as_ref().and_then(Remote::address);
    for (field, address) in [("local", tunnel.local), ("remote", remote)] {
        if ipip && address.is_some_and(|address| address.is_ipv4()) && problems.is_empty() {
            let message = "an ipip tunnel over IPv4 has one pair for inside and outside: expected just `address` and `peer`";
            problems.push((field, message.into()));
        }
    }
    let several = !tunnel.nbma.is_empty();
    if several && (ipip || !tunnel.link0) {
        problems.push(("nbma", "only a gre tunnel with GRE headers has several far ends".into()));
    }
    if several && tunnel.local.is_none() {
        problems.push(("local", "missing, expected the outer source beside `nbma`".into()));
    }
    for (field, set) in [("remote", tunnel.remote.is_some()), ("peer", tunnel.peer.is_some())] {
        if several && set {
            problems.push((field, "given beside `nbma`: expected one or the other".into()));
        }
    }
    if let (Some(local), Some(remote)) = (tunnel.local, remote)
        && local.is_ipv4() != remote.is_ipv4()
    {
        let message = format!("`{remote}` is not of the family of `local`, {local}");
        problems.push(("remote", message));
    }
    if tunnel.learn && (ipip || tunnel.gre.key_in.is_none()) {
        let message = "the far end is learned by the key of its packets: expected a gre tunnel \
                       with `key` or `key_in`";
        problems.push(("learn", message.into()));
    }
    if tunnel.learn && tunnel.remote.as_ref().is_some_and(|remote| remote.name().is_some()) {
        let message = "the far end is found by its name: expected that or `learn`, not both";
        problems.push(("learn", message.into()));
    }
    for (field, set) in [("link0", !tunnel.link0), ("link1", tunnel.link1)] {
        if ipip && set {
            problems.push((field, format!("an ipip tunnel has no {field}: expected it left out")));
        }
    }
    for (field, set) in gre_fields(&tunnel.gre) {
        if ipip && set {
            problems.push((field, format!("an ipip tunnel has no {field}: expected it left out")));
        }
        if !ipip && !tunnel.link0 && set {
            let message = format!(
                "MOBILE encapsulation (link0 = false) has no {field}: expected it left out"
            );
            problems.push((field, message));
        }
    }
    if !tunnel.link0 && tunnel.udp.is_some() {
        let message = "MOBILE encapsulation (link0 = false) takes no UDP: expected it left out";
        problems.push(("udp", message.into()));
    }
    let pairs = [
        ("local", tunnel.local, "remote", remote),
        ("address", tunnel.address.map(IpAddr::V4), "peer", tunnel.peer.map(IpAddr::V4)),
    ];
    for (here, ours, there, theirs) in pairs {
        match (ours, theirs) {
            (Some(ours), Some(theirs)) if ours == theirs => {
                let message = format!(
                    "`{theirs}` is `{here}` too: a tunnel to itself, expected the far end's address"
                );
                problems.push((there, message));
            }
            (Some(_), None) if several => {}
            // A name, or one that is to be learned.
            (Some(_), None) if there == "remote" && (tunnel.remote.is_some() || tunnel.learn) => {}
            (None, None) if there == "remote" && tunnel.remote.is_some() => {
                problems.push((here, format!("missing, expected beside `{there}`")));
            }
            (None, Some(_)) => problems.push((here, format!("missing, expected beside `{there}`"))),
            (Some(_), None) => problems.push((there, format!("missing, expected beside `{here}`"))),
            _ => {}
        }
    }
    for (field, far) in [("remote", remote), ("peer", tunnel.peer.map(IpAddr::V4))] {
        let said = problems.iter().any(|(place, _)| *place == field);
        if let Some(far) = far.filter(|far| own.contains(far) && !said) {
            let message =
                format!("`{far}` is our own address: a tunnel to itself, expected the far end's");
            problems.push((field, message));
        }
    }
    problems
}

/// The fields that only GRE headers have, and which of them are set.
fn gre_fields(gre: &GreOptions) -> [(&'static str, bool); 5] {
    let (key_in, key_out) = (gre.key_in.is_some(), gre.key_out.is_some());
    let both = key_in && gre.key_in == gre.key_out;
    [
        ("checksum", gre.checksum),
        ("key", both),
        ("key_in", key_in && !both),
        ("key_out", key_out && !both),
        ("sequence", gre.sequence),
    ]
}

/// What makes two device texts the same device: the name without arguments, a
/// PCI address with its domain.
fn device_identity(device: &str) -> String {
    let name = device.split(',').next().unwrap_or(device);
    let name = name.strip_prefix("pci:").unwrap_or(name).to_ascii_lowercase();
    let short_pci = name.len() == 7 && name.as_bytes()[2] == b':' && name.as_bytes()[5] == b'.';
    if short_pci { format!("0000:{name}") } else { name }
}
