//! Section by section: TOML tables into the values of [`crate::model::spec`].
//! Here each value is checked by itself; [`super::validate`] checks them against
//! each other.

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::IpNet;
use toml::Value;

use super::address::{address, interface_address, network};
use super::raw::{Document, Fields, number, shown, text};
use crate::ids::{Family, Mac};
use crate::model::api::DEFAULT_SOCKET;
use crate::model::filter::{PORTS, PROTOCOL};
use crate::model::ip;
use crate::model::spec::{
    AdvertiseSpec, DpdkSettings, FilterAction, FilterSpec, Hugepages, IcmpSpec, Idle, MOST_PATHS,
    NeighbourSpec, PathSpec, PathWay, PortSpec, PublishSpec, QueueSettings, ReversePath, RouteSpec,
    RouteTarget, Settings, Spread, TunnelKind, VlanSpec,
};

/// Where metrics are served unless the file says otherwise.
pub const DEFAULT_METRICS: &str = "127.0.0.1:9464";
/// Packet memory unless the file says otherwise, MiB.
pub const DEFAULT_MEMORY_MIB: u32 = 512;
/// Descriptors per queue unless the file says otherwise.
pub const DEFAULT_DESCRIPTORS: u16 = 1024;
/// MTU of a port unless the file says otherwise.
pub const DEFAULT_MTU: u16 = 1500;
/// TTL of outer headers unless the file says otherwise.
pub const DEFAULT_TTL: u8 = 64;
/// MTUs an interface can have: IPv4's least (RFC 791) to its largest datagram.
/// What the device can do is known when it is opened.
pub const MTU_RANGE: std::ops::RangeInclusive<i64> = 68..=65535;

/// Most bytes of a Unix socket's path (`sun_path`, less its end mark).
const SOCKET_PATH_MAX: usize = 107;

/// `[dpdk]`, `[control]` and `[metrics]`.
pub fn settings(document: &mut Document) -> Settings {
    Settings {
        dpdk: document.one("dpdk", dpdk),
        socket: document.one("control", socket),
        metrics: document.one("metrics", metrics),
    }
}

fn dpdk(fields: &mut Fields) -> DpdkSettings {
    let hugepages = [("auto", Hugepages::Auto), ("on", Hugepages::On), ("off", Hugepages::Off)];
    let idle = [("poll", Idle::Poll), ("adaptive", Idle::Adaptive)];
    let spread = [("off", Spread::Off), ("inner", Spread::Inner)];
    DpdkSettings {
        workers: fields.list("workers", |core| number(core, &(0..=1023))),
        memory_mib: fields
            .parsed("memory", "a size such as \"512M\"", memory)
            .unwrap_or(DEFAULT_MEMORY_MIB),
        hugepages: fields.word("hugepages", &hugepages).unwrap_or_default(),
        idle: fields.word("idle", &idle).unwrap_or_default(),
        spread: fields.word("spread", &spread).unwrap_or_default(),
        buffers: fields.number("buffers", 1024..=1 << 26),
        descriptors: fields.number("descriptors", 32..=32768).unwrap_or(DEFAULT_DESCRIPTORS),
        queues: fields.each("worker", "dpdk.worker", queues),
    }
}

fn queues(fields: &mut Fields) -> Option<QueueSettings> {
    if !fields.has("worker") {
        fields.problem("worker", "missing, expected a place in `workers`, from 0");
    }
    let queues = fields.list("queues", |queue| {
        text(queue, "a queue such as \"en0/0\"", |text| match queue_name(text) {
            Some(_) => Ok(text.to_owned()),
            None => Err(format!("`{text}` is not a queue: expected PORT/NUMBER such as en0/0")),
        })
    });
    Some(QueueSettings { worker: fields.number("worker", 0..=1023)?, queues })
}

/// `en0/1`: port and receive queue.
pub fn queue_name(text: &str) -> Option<(&str, u16)> {
    let (port, queue) = text.split_once('/')?;
    let number = queue.parse().ok()?;
    (!port.is_empty() && queue.bytes().all(|b| b.is_ascii_digit())).then_some((port, number))
}

fn memory(text: &str) -> Result<u32, String> {
    let size = |digits: &str, unit: u32| digits.parse::<u32>().ok()?.checked_mul(unit);
    let mib = match (text.strip_suffix('M'), text.strip_suffix('G')) {
        (Some(digits), _) => size(digits, 1),
        (_, Some(digits)) => size(digits, 1024),
        _ => None,
    };
    match mib {
        Some(mib @ 32..=1_048_576) => Ok(mib),
        _ => Err(format!("`{text}` is not a size from 32M to 1024G such as 512M or 1G")),
    }
}

fn socket(fields: &mut Fields) -> PathBuf {
    let path = fields.text("socket", "a path").unwrap_or_else(|| DEFAULT_SOCKET.to_owned());
    if path.is_empty() || path.len() > SOCKET_PATH_MAX {
        let message =
            format!("`{path}` is not a socket path: expected 1 to {SOCKET_PATH_MAX} bytes");
        fields.problem("socket", message);
    }
    PathBuf::from(path)
}

fn metrics(fields: &mut Fields) -> Option<String> {
    let enabled = fields.flag("enabled", true);
    let listen = fields.parsed("listen", "an address such as \"127.0.0.1:9464\"", |text| {
        let split = text.rsplit_once(':');
        match split.map(|(host, port)| (host, port.parse::<u16>())) {
            Some((host, Ok(_))) if !host.is_empty() => Ok(text.to_owned()),
            _ => Err(format!("`{text}` is not HOST:PORT such as 127.0.0.1:9464")),
        }
    });
    enabled.then(|| listen.unwrap_or_else(|| DEFAULT_METRICS.to_owned()))
}

/// `[[port]]`.
pub fn port(fields: &mut Fields) -> Option<PortSpec> {
    let name = fields.required_parsed("name", "a name such as \"en0\"", port_name);
    let device = fields.required_parsed(
        "device",
        "a virtual device such as \"net_tap0,iface=lan0\" or a PCI address",
        device,
    );
    Some(PortSpec {
        address: addresses(fields),
        mtu: fields.number("mtu", MTU_RANGE).unwrap_or(DEFAULT_MTU),
        mac: mac(fields),
        rx_queues: fields.number("rx_queues", 1..=256),
        rpf: rpf(fields),
        advertise: advertise(fields),
        up: fields.flag("up", true),
        name: name?,
        // Empty: missing or wrong, and said so already.
        device: device.unwrap_or_default(),
    })
}

/// A port's name: it must not read as a tunnel or as a VLAN.
fn port_name(name: &str) -> Result<String, String> {
    let shape = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric())
        && name.len() <= 15;
    if !shape {
        return Err(format!(
            "`{name}` is not a port name: expected a letter, then letters and digits, 15 at most"
        ));
    }
    let letters = name.trim_end_matches(|c: char| c.is_ascii_digit());
    if [TunnelKind::Gre, TunnelKind::Ipip].iter().any(|kind| kind.prefix() == letters) {
        return Err(format!(
            "`{name}` is a tunnel's name: expected another one for a port, such as en0"
        ));
    }
    Ok(name.to_owned())
}

fn device(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(char::is_whitespace) || text.starts_with([',', '-']) {
        return Err(format!(
            "`{text}` is not a device: expected a virtual device such as net_tap0,iface=lan0 or a PCI address such as 0000:01:00.0"
        ));
    }
    Ok(text.to_owned())
}

/// `address = ["10.0.0.1/8", "2001:db8::1/64"]`.
fn addresses(fields: &mut Fields) -> Vec<IpNet> {
    let expected = "an address such as \"10.0.0.1/8\"";
    fields.list("address", |value| text(value, expected, host_address))
}

/// An address an interface can have, with its prefix length.
pub(super) fn host_address(text: &str) -> Result<IpNet, String> {
    let net = interface_address(text).map_err(|e| e.to_string())?;
    if let Some(why) = ip::not_unicast(net.addr()) {
        return Err(format!("`{text}` ({net}) is not an address a host can have: it is {why}"));
    }
    if net.prefix_len() == 0 {
        return Err(format!("`{text}` ({net}) is not an address a host can have: /0 is no subnet"));
    }
    match ip::nobodys(&net).iter().find(|(nobodys, _)| *nobodys == net.addr()) {
        Some((_, what)) => {
            Err(format!("`{text}` ({net}) is its subnet's {what} address: expected a host's"))
        }
        None => Ok(net),
    }
}

/// True for what a route can lead to: single addresses, and networks that are
/// not altogether multicast or reserved.
pub(super) fn is_routable(to: IpNet) -> bool {
    ip::unroutable(to).is_none()
}

/// The destination of a route: `default` is its gateways' family's.
pub(super) fn default_for(text: &str, to: IpNet, target: &RouteTarget) -> IpNet {
    let way = |way: &PathWay| match way {
        PathWay::Via(gateway) => Some(*gateway),
        PathWay::Interface(_) => None,
    };
    let gateway = match target {
        RouteTarget::Via(gateway) => Some(*gateway),
        RouteTarget::Near { via, .. } => Some((*via).into()),
        RouteTarget::Paths(paths) => paths.iter().find_map(|path| way(&path.way)),
        _ => None,
    };
    match gateway {
        Some(gateway) if text == "default" => ip::everything(Family::of(gateway)),
        _ => to,
    }
}

/// A gateway: an address, or of a link-local one the link too, `fe80::1%en0`.
pub(crate) fn gateway(text: &str) -> Result<RouteTarget, String> {
    let (via, interface) = text.split_once('%').unwrap_or((text, ""));
    let via = via.parse().ok().filter(Ipv6Addr::is_unicast_link_local);
    match via.filter(|_| !interface.is_empty()) {
        None if via.is_none() && !text.contains('%') => unicast(text).map(RouteTarget::Via),
        Some(via) => Ok(RouteTarget::Near { via, interface: interface.to_owned() }),
        None => Err(format!(
            "`{text}` is not a gateway on a link: expected a link-local address and an interface, such as \"fe80::1%en0\""
        )),
    }
}

pub(super) fn unicast(text: &str) -> Result<IpAddr, String> {
    let address = address(text).map_err(|e| e.to_string())?;
    match ip::not_unicast(address) {
        None => Ok(address),
        Some(why) => Err(format!("`{text}` ({address}) is not a unicast address: it is {why}")),
    }
}

pub(super) fn host(fields: &mut Fields, key: &'static str) -> Option<IpAddr> {
    fields.parsed(key, "an address such as \"10.0.0.25\"", unicast)
}

fn mac(fields: &mut Fields) -> Option<Mac> {
    fields.parsed("mac", MAC_EXPECTED, unicast_mac)
}

const MAC_EXPECTED: &str = "an Ethernet address such as \"02:00:00:00:00:01\"";

fn unicast_mac(text: &str) -> Result<Mac, String> {
    let mac: Mac = text.parse().map_err(|e: crate::ids::MacError| e.to_string())?;
    if mac.is_multicast() || mac == Mac::default() {
        return Err(format!("`{text}` is not one station's address: expected a unicast one"));
    }
    Ok(mac)
}

/// `[[vlan]]`.
pub fn vlan(fields: &mut Fields) -> Option<VlanSpec> {
    let name =
        fields.required_parsed("name", "a name such as \"en0.20\"", |name| match vlan_name(name) {
            Some(_) => Ok(name.to_owned()),
            None => Err(format!(
                "`{name}` is not a VLAN name: expected PORT.ID, ID from 1 to 4094, such as en0.20"
            )),
        });
    Some(VlanSpec {
        address: addresses(fields),
        mtu: fields.number("mtu", MTU_RANGE),
        rpf: rpf(fields),
        advertise: advertise(fields),
        up: fields.flag("up", true),
        name: name?,
    })
}

/// `en0.20`: the port and the VLAN id, which is 1 to 4094 (IEEE 802.1Q §9.6).
pub fn vlan_name(name: &str) -> Option<(&str, u16)> {
    let (port, id) = name.split_once('.')?;
    let number @ 1..=4094 = id.parse().ok()? else { return None };
    // One way of writing it: no sign, no leading zero.
    (number.to_string() == id && port_name(port).is_ok()).then_some((port, number))
}

/// `advertise = true`, or `advertise = { interval = 600 }`.
fn advertise(fields: &mut Fields) -> Option<AdvertiseSpec> {
    match fields.peek("advertise") {
        Some(Value::Boolean(_)) => fields.flag("advertise", false).then(AdvertiseSpec::default),
        _ => fields.table("advertise", "port.advertise", |fields| {
            let usual = AdvertiseSpec::default();
            let seconds = 0..=i64::from(u32::MAX);
            let spec = AdvertiseSpec {
                interval: fields.number("interval", 0..=65535).unwrap_or(usual.interval),
                lifetime: fields.number("lifetime", 0..=65535).unwrap_or(usual.lifetime),
                valid: fields.number("valid", seconds.clone()).unwrap_or(usual.valid),
                preferred: fields.number("preferred", seconds).unwrap_or(usual.preferred),
            };
            spec.check().map_err(|(field, message)| fields.problem(field, message)).ok()?;
            Some(spec)
        }),
    }
}

/// `rpf = "strict"`.
pub(super) fn rpf(fields: &mut Fields) -> ReversePath {
    let words =
        [("off", ReversePath::Off), ("loose", ReversePath::Loose), ("strict", ReversePath::Strict)];
    fields.word("rpf", &words).unwrap_or_default()
}

/// `[[route]]`.
pub fn route(fields: &mut Fields) -> Option<RouteSpec> {
    let to =
        fields.required_parsed("to", "a network such as \"10.0.0.0/8\", or \"default\"", |text| {
            let net = network(text).map_err(|e| e.to_string())?;
            if is_routable(net) {
                Ok((text.to_owned(), net))
            } else {
                Err(format!("`{text}` is multicast or reserved: expected a unicast network"))
            }
        });
    let chosen = ["via", "interface", "blackhole", "reject", "paths"];
    let chosen = chosen.into_iter().filter(|key| fields.has(key));
    let chosen: Vec<&str> = chosen.collect();
    let target = match chosen[..] {
        ["via"] => fields.parsed("via", "an address such as \"10.0.0.25\"", gateway),
        ["interface"] => {
            fields.text("interface", "an interface's name").map(RouteTarget::Interface)
        }
        ["blackhole"] => only_true(fields, "blackhole").then_some(RouteTarget::Blackhole),
        ["reject"] => only_true(fields, "reject").then_some(RouteTarget::Reject),
        ["paths"] => paths(fields),
        [] => {
            fields.problem_here(
                "leads nowhere: expected one of via, interface, blackhole, reject, paths",
            );
            None
        }
        _ => {
            let message = format!("has {}: expected just one of them", chosen.join(" and "));
            fields.problem_here(message);
            None
        }
    };
    let ((text, to), target) = (to?, target?);
    Some(RouteSpec { to: default_for(&text, to, &target), target })
}

/// Several ways; a single one is what a route without `paths` has.
fn paths(fields: &mut Fields) -> Option<RouteTarget> {
    let mut complete = true;
    let mut paths = fields.each("paths", "route.paths", |fields| {
        let path = path(fields);
        complete &= path.is_some();
        path
    });
    let twice = (1..paths.len()).find(|at| paths[..*at].iter().any(|p| p.way == paths[*at].way));
    if let Some(at) = twice {
        let message = format!("{} is there already: expected each path once", paths[at].way);
        fields.problem(&format!("paths[{at}]"), message);
        return None;
    }
    match paths.len() {
        _ if !complete => None,
        0 => {
            fields.problem("paths", format!("no path: expected 1 to {MOST_PATHS}"));
            None
        }
        1 => Some(match paths.swap_remove(0).way {
            PathWay::Via(gateway) => RouteTarget::Via(gateway),
            PathWay::Interface(name) => RouteTarget::Interface(name),
        }),
        many if many > MOST_PATHS => {
            fields.problem("paths", format!("{many} paths: expected {MOST_PATHS} at most"));
            None
        }
        _ => Some(RouteTarget::Paths(paths)),
    }
}

fn path(fields: &mut Fields) -> Option<PathSpec> {
    let weight = if fields.has("weight") { fields.number("weight", 1..=255) } else { Some(1) };
    let way = match (fields.has("via"), fields.has("interface")) {
        (true, false) => host(fields, "via").map(PathWay::Via),
        (false, true) => fields.text("interface", "a tunnel's name").map(PathWay::Interface),
        (both, _) => {
            let message = if both { "has via and interface" } else { "leads nowhere" };
            fields.problem_here(format!("{message}: expected one of via, interface"));
            None
        }
    };
    Some(PathSpec { way: way?, weight: weight? })
}

/// A key that says nothing when it is false.
fn only_true(fields: &mut Fields, key: &'static str) -> bool {
    let flag = fields.flag(key, true);
    if !flag {
        fields.problem(key, "`false` says nothing: expected `true`, or another target");
    }
    flag
}

/// `[[neighbour]]`.
pub fn neighbour(fields: &mut Fields) -> Option<NeighbourSpec> {
    let address = fields.required_parsed("address", "the neighbour's address", unicast);
    let port = fields.text("port", "an interface's name");
    let mac = fields.required_parsed("mac", MAC_EXPECTED, unicast_mac);
    Some(NeighbourSpec { address: address?, port, mac: mac? })
}

/// `[[arp]]`.
pub fn publish(fields: &mut Fields) -> Option<PublishSpec> {
    let address = fields.required_parsed("address", "the address to answer for", unicast);
    let port = fields.text("port", "an interface's name");
    let mac = mac(fields);
    if !fields.flag("publish", false) {
        fields.problem(
            "publish",
            "expected `true`: `[[arp]]` answers for another host; a static entry is a `[[neighbour]]`",
        );
    }
    Some(PublishSpec { address: address?, port, mac })
}

/// `[[filter]]`.
pub fn filter(fields: &mut Fields) -> Option<FilterSpec> {
    let net = |fields: &mut Fields, key| {
        let expected = "a network such as \"10.0.0.0/8\" or \"2001:db8::/32\"";
        fields.parsed(key, expected, |text| network(text).map_err(|e| e.to_string()))
    };
    let name = fields.required("name", "a name such as \"no-telnet\"");
    let actions = FilterAction::WORDS;
    if !fields.has("action") {
        fields.problem("action", "missing, expected \"accept\", \"drop\" or \"reject\"");
    }
    let action = fields.word("action", &actions);
    let rest = FilterSpec {
        interface: fields.text("in", "an interface's name"),
        from: net(fields, "from"),
        to: net(fields, "to"),
        protocol: word_or_number(fields, "protocol", PROTOCOL),
        sport: word_or_number(fields, "sport", PORTS),
        dport: word_or_number(fields, "dport", PORTS),
        log: fields.flag("log", false),
        ..FilterSpec::new("", FilterAction::Accept)
    };
    Some(FilterSpec { name: name?, action: action?, ..rest })
}

/// A value that is written as a string, or as a number where it is just one.
fn word_or_number<T: FromStr<Err = String>>(
    fields: &mut Fields,
    key: &'static str,
    expected: &str,
) -> Option<T> {
    let read = match fields.any(key)? {
        Value::Integer(number) => number.to_string().parse(),
        Value::String(text) => text.parse(),
        other => Err(format!("{} is not {expected}", shown(&other))),
    };
    read.map_err(|message| fields.problem(key, message)).ok()
}

/// `[icmp]`.
pub fn icmp(fields: &mut Fields) -> IcmpSpec {
    let standard = IcmpSpec::default();
    let count = 0..=i64::from(u32::MAX);
    IcmpSpec {
        error_rate: fields.number("error_rate", count.clone()).unwrap_or(standard.error_rate),
        error_burst: fields.number("error_burst", count).unwrap_or(standard.error_burst),
        echo: fields.flag("echo", standard.echo),
        time_exceeded: fields.flag("time_exceeded", standard.time_exceeded),
    }
}
