//! `route`: add, delete, change, look up and show routes, with BSD's words
//! (technote T8).

use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;

use super::table::{Table, dash};
use super::words::{Usage, Words, address, mask, number, of_family};
use super::{BsdArgs, Failure, Session};
use crate::config::address::{network, without_host_bits};
use crate::ids::Family;
use crate::model::api::Call;
use crate::model::ip;
use crate::model::op::Op;
use crate::model::spec::{PathSpec, PathWay, RouteSpec, RouteTarget};
use crate::model::view::{PathView, RouteView};

/// What `--help` ends with.
pub const EXAMPLES: &str = "\
Examples:
  route add -net 10 10.1               network 10.0.0.0/8 through gateway 10.0.0.1
  route add default 203.0.113.254
  route add -host 13.0.0.1 10.3
  route add 14.1.0.0/16 10.4
  route add -net 15.1.2.0 -netmask 255.255.255.0 10.5
  route add -net 12 -interface gre0    into a tunnel; 12.2, its far end, is the same
  route add 192.0.2.0/24 -blackhole    nowhere, silently; -reject: with ICMP
  route add default -ecmp 203.0.113.254:2 203.0.113.253
                                       each flow by one of several: gateways or
                                       tunnels, NAME[:WEIGHT]; [V6ADDR]:WEIGHT
  route add -inet6 default 2001:db8::fe
  route add 2001:db8:100::/48 2001:db8::2   a colon makes it IPv6, -inet6 or not
  route add -inet6 fd00:12:: -prefixlen 64 -interface gre0
  route change -net 12 10.6
  route delete -net 12
  route get 10.9.8.7                   which way a packet goes
  route get -net 12                    this very route
  route show                           all but Greyhound's own; `show -a`: all
  route show -inet6                    just those of IPv6; -inet: of IPv4
  route flush                          all static routes away; -inet, -inet6

A destination without -net or -host is a network if it is `default`, a single
number, has a /LEN, or its classful host part is 0; else a host.";

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Command {
    /// A change, and how BSD tells of it: `add net 10: gateway 10.1`.
    Change { op: Op, told: String },
    /// `flush`, all or one family's.
    Flush { family: Option<Family> },
    /// `get`.
    Get { call: Call, asked: String },
    /// `show`.
    Show { all: bool, family: Option<Family> },
}

/// Runs a line.
pub fn run(args: &BsdArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    match parse(&args.words)? {
        Command::Change { op, told } => change(op, &told, args.json, session),
        Command::Flush { family } => {
            let outcome = session.transact(vec![Op::FlushRoutes { family }])?;
            if args.json { session.print_json(&outcome) } else { Ok(()) }
        }
        Command::Get { call, asked } => get(call, asked, args.json, session),
        Command::Show { all, family } => show(all, family, args.json, session),
    }
}

fn change(op: Op, told: &str, json: bool, session: &mut Session<'_>) -> Result<(), Failure> {
    let deletes = matches!(op, Op::DeleteRoute { .. });
    match session.transact(vec![op]) {
        Ok(outcome) if json => session.print_json(&outcome),
        Ok(_) => session.print(&format!("{told}\n")),
        // With the others it may be the interface that does not exist.
        Err(failure) if deletes && failure.is_not_found() => {
            Err(Failure::Absent { what: told.to_owned(), missing: "not in table" })
        }
        Err(failure) => Err(failure.about(told)),
    }
}

fn get(call: Call, asked: String, json: bool, session: &mut Session<'_>) -> Result<(), Failure> {
    let found: Option<RouteView> = session.call(call)?;
    match found {
        Some(route) if json => session.print_json(&route),
        Some(route) => session.print(&render_get(&asked, &route)),
        None => Err(Failure::Absent { what: asked, missing: "not in table" }),
    }
}

/// Prints the routing table, or one family's; also `netstat -r`.
pub fn show(
    all: bool,
    family: Option<Family>,
    json: bool,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let mut routes: Vec<RouteView> = session.call(Call::ShowRoutes { all })?;
    routes.retain(|route| family.is_none_or(|family| family == ip::family(&route.to)));
    if json {
        return session.print_json(&routes);
    }
    session.print(&sections(&routes, family))
}

/// A section for each family, as BSD has it; IPv6's only when there is anything
/// in it or it was asked for.
fn sections(routes: &[RouteView], family: Option<Family>) -> String {
    let of = |family| routes.iter().filter(move |route| ip::family(&route.to) == family);
    let mut out = "Routing tables\n".to_owned();
    if family != Some(Family::V6) {
        out += &format!("\nInternet:\n{}", table(of(Family::V4)));
    }
    let any = family.is_none() && of(Family::V6).next().is_some();
    if any || family == Some(Family::V6) {
        out += &format!("\nInternet6:\n{}", table(of(Family::V6)));
    }
    out
}

fn table<'a>(routes: impl Iterator<Item = &'a RouteView>) -> String {
    let mut table = Table::new(&["Destination", "Gateway", "Flags", "Interface", ">Mtu"]);
    for route in routes {
        let to = destination(route.to);
        let interface = dash(route.interface.as_ref());
        let (gateway, mtu) = (dash(gateway(route)), dash(route.mtu));
        if route.paths.is_empty() {
            table.row([to.clone(), gateway, route.flags.clone(), interface, mtu]);
        }
        // A row for each path, as BSD has it.
        for path in &route.paths {
            let (gateway, interface) = path_words(path);
            table.row([to.clone(), gateway, path.flags.clone(), interface, dash(path.mtu)]);
        }
    }
    table.render("no routes")
}

/// The gateway of a route, a link-local one with its link.
fn gateway(route: &RouteView) -> Option<String> {
    match (route.gateway?, &route.interface) {
        (IpAddr::V6(gateway), Some(link)) if gateway.is_unicast_link_local() => {
            Some(format!("{gateway}%{link}"))
        }
        (gateway, _) => Some(gateway.to_string()),
    }
}

/// Gateway and interface of a path; the weight, if it has one, behind what it
/// was given to.
pub fn path_words(path: &PathView) -> (String, String) {
    let weighted = |name: String| match path.weight {
        1 => name,
        weight if name.contains(':') => format!("[{name}]:{weight}"),
        weight => format!("{name}:{weight}"),
    };
    let (gateway, interface) = (dash(path.gateway), dash(path.interface.as_ref()));
    match path.gateway {
        Some(_) => (weighted(gateway), interface),
        None => (gateway, weighted(interface)),
    }
}

/// A destination as BSD writes it: hosts without a length, and `default`.
fn destination(to: IpNet) -> String {
    match to.prefix_len() {
        0 => "default".to_owned(),
        _ if ip::is_host(&to) => to.addr().to_string(),
        _ => to.to_string(),
    }
}

fn render_get(asked: &str, route: &RouteView) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{name:>11}: {value}");
    };
    line("route to", asked.to_owned());
    match route.to.prefix_len() {
        0 => line("destination", "default".to_owned()),
        _ => line("destination", route.to.addr().to_string()),
    }
    if !ip::is_host(&route.to) {
        line("mask", route.to.netmask().to_string());
    }
    if let Some(gateway) = gateway(route) {
        line("gateway", gateway);
    }
    let unresolved = || "none (not resolved)".to_owned();
    if route.paths.is_empty() {
        line("interface", route.interface.clone().unwrap_or_else(unresolved));
    }
    for path in &route.paths {
        let way = match path.gateway {
            Some(gateway) => format!("gateway {gateway} "),
            None => String::new(),
        };
        let interface = path.interface.clone().unwrap_or_else(unresolved);
        let share = format!("weight {}, {} of 512 buckets", path.weight, path.buckets);
        line("path", format!("{way}interface {interface}, {share}"));
    }
    line("flags", format!("<{}>", flag_words(&route.flags)));
    line("origin", route.origin.clone());
    if let Some(mtu) = route.mtu {
        line("mtu", mtu.to_string());
    }
    out
}

fn flag_words(flags: &str) -> String {
    let word = |letter| match letter {
        'U' => "UP",
        'G' => "GATEWAY",
        'H' => "HOST",
        'S' => "STATIC",
        'B' => "BLACKHOLE",
        'R' => "REJECT",
        'C' => "CONNECTED",
        'l' => "LOCAL",
        'b' => "BROADCAST",
        'P' => "MULTIPATH",
        _ => "OTHER",
    };
    flags.chars().map(word).collect::<Vec<_>>().join(",")
}

fn parse(words: &[String]) -> Result<Command, Usage> {
    let mut words = Words::new(words);
    let verb = loop {
        match words.next() {
            // Addresses are numbers here anyway, and nothing chatters.
            Some("-n" | "-q" | "-nq" | "-qn") => {}
            Some(verb) => break verb,
            None => return Ok(Command::Show { all: false, family: None }),
        }
    };
    match verb {
        "add" | "delete" | "change" | "get" => Line::read(verb, &mut words)?.command(verb),
        "flush" => {
            let given = options_only(words, &["-inet", "-inet6"])?;
            Ok(Command::Flush { family: family_of(&given) })
        }
        "show" => {
            let given = options_only(words, &["-inet", "-inet6", "-n", "-a", "--all"])?;
            let all = given.iter().any(|w| matches!(*w, "-a" | "--all"));
            Ok(Command::Show { all, family: family_of(&given) })
        }
        other => {
            let expected = "add, delete, change, get, show or flush";
            Err(Usage::Unknown { word: other.to_owned(), expected })
        }
    }
}

fn options_only<'a>(words: Words<'a>, known: &[&str]) -> Result<Vec<&'a str>, Usage> {
    let words: Vec<&str> = words.collect();
    match words.iter().find(|w| !known.contains(w)) {
        Some(word) => {
            let expected = "nothing but options here";
            Err(Usage::Unknown { word: (*word).to_owned(), expected })
        }
        None => Ok(words),
    }
}

/// The family that options name; both are all.
fn family_of(given: &[&str]) -> Option<Family> {
    match (given.contains(&"-inet"), given.contains(&"-inet6")) {
        (true, false) => Some(Family::V4),
        (false, true) => Some(Family::V6),
        _ => None,
    }
}

/// The words after `add`, `delete`, `change` or `get`, as typed.
#[derive(Default)]
struct Line<'a> {
    family: Option<Family>,
    net: bool,
    host: bool,
    destination: Option<&'a str>,
    gateway: Option<&'a str>,
    mask: Option<&'a str>,
    prefix_len: Option<u8>,
    interface: Option<&'a str>,
    nowhere: Option<RouteTarget>,
    paths: Option<Vec<&'a str>>,
}

impl<'a> Line<'a> {
    fn read(verb: &str, words: &mut Words<'a>) -> Result<Line<'a>, Usage> {
        let mut line = Line::default();
        while let Some(word) = words.next() {
            match word {
                "-static" => {}
                "-inet" => line.family = Some(Family::V4),
                "-inet6" => line.family = Some(Family::V6),
                "-prefixlen" => line.prefix_len = Some(prefix_len(words)?),
                "-net" => line.net = true,
                "-host" => line.host = true,
                "-netmask" => line.mask = Some(words.after(word, "a mask")?),
                "-interface" | "-iface" => line.interface(words)?,
                "-ecmp" => _ = line.paths.get_or_insert_default(),
                "-blackhole" => line.nowhere = Some(RouteTarget::Blackhole),
                "-reject" => line.nowhere = Some(RouteTarget::Reject),
                option if option.starts_with('-') => {
                    let expected = "-inet, -inet6, -net, -host, -netmask, -prefixlen, -interface, -ecmp, -blackhole or -reject";
                    return Err(Usage::Unknown { word: option.to_owned(), expected });
                }
                value => line.value(value)?,
            }
        }
        if line.destination.is_none() {
            return Err(Usage::Missing { word: verb.to_owned(), expected: "a destination" });
        }
        Ok(line)
    }

    /// Destination, gateway and mask, in this order; behind `-ecmp`, paths.
    fn value(&mut self, value: &'a str) -> Result<(), Usage> {
        if let (Some(paths), Some(_)) = (&mut self.paths, self.destination) {
            paths.push(value);
            return Ok(());
        }
        for place in [&mut self.destination, &mut self.gateway, &mut self.mask] {
            if place.is_none() {
                *place = Some(value);
                return Ok(());
            }
        }
        let expected = "a destination, a gateway and a mask at most";
        Err(Usage::Unknown { word: value.to_owned(), expected })
    }

    /// `-interface gre0`, or BSD's `gre0 -interface`.
    fn interface(&mut self, words: &mut Words<'a>) -> Result<(), Usage> {
        self.interface = words.next().or_else(|| self.gateway.take());
        match self.interface {
            Some(_) => Ok(()),
            None => {
                let expected = "the name of an interface";
                Err(Usage::Missing { word: "-interface".to_owned(), expected })
            }
        }
    }

    fn command(self, verb: &str) -> Result<Command, Usage> {
        let to = self.to()?;
        let asked = self.destination.unwrap_or_default();
        if verb == "get" {
            let length = self.mask.is_some() || self.prefix_len.is_some();
            let explicit = self.net || length || asked.contains('/');
            let call = match explicit || asked == "default" {
                true => Call::GetRoute { to },
                false => Call::LookupRoute { to: address(asked)? },
            };
            return Ok(Command::Get { call, asked: asked.to_owned() });
        }
        let kind = if ip::is_host(&to) { "host" } else { "net" };
        let mut told = format!("{verb} {kind} {asked}");
        if let Some(way) = self.way() {
            told += &format!(": {way}");
        }
        let op = match verb {
            // The gateway does not select what is deleted: one route a destination.
            "delete" => Op::DeleteRoute { to },
            _ => {
                let route = RouteSpec { to, target: self.target(verb)? };
                if verb == "add" { Op::AddRoute { route } } else { Op::ChangeRoute { route } }
            }
        };
        Ok(Command::Change { op, told })
    }

    /// Where to, in the words used.
    fn way(&self) -> Option<String> {
        if let Some(paths) = &self.paths {
            return Some(format!("ecmp {}", paths.join(" ")));
        }
        match (&self.nowhere, self.interface, self.gateway) {
            (Some(RouteTarget::Reject), ..) => Some("reject".to_owned()),
            (Some(_), ..) => Some("blackhole".to_owned()),
            (None, Some(interface), _) => Some(format!("interface {interface}")),
            (None, None, gateway) => gateway.map(|g| format!("gateway {g}")),
        }
    }

    fn target(&self, verb: &str) -> Result<RouteTarget, Usage> {
        if let Some(paths) = &self.paths {
            if self.nowhere.is_some() || self.interface.is_some() || self.gateway.is_some() {
                return Err(Usage::Conflict(
                    "-ecmp is followed by all paths: gateways or tunnels, NAME[:WEIGHT]",
                ));
            }
            return paths
                .iter()
                .map(|word| path(word, self.family))
                .collect::<Result<_, _>>()
                .map(RouteTarget::Paths);
        }
        match (&self.nowhere, self.interface, self.gateway) {
            // BSD wants some gateway even for these, by custom its loopback.
            (Some(nowhere), None, None | Some("127.0.0.1" | "127.1" | "::1")) => {
                Ok(nowhere.clone())
            }
            (None, Some(interface), None) => Ok(RouteTarget::Interface(interface.to_owned())),
            (None, None, Some(gateway)) => {
                of_family(gateway, self.family)?;
                if gateway.contains('%') {
                    let expected = "a link-local address and its link, such as fe80::1%en0";
                    let near = crate::config::gateway(gateway);
                    return near.map_err(|_| Usage::Bad { value: gateway.to_owned(), expected });
                }
                Ok(RouteTarget::Via(address(gateway)?))
            }
            (None, None, None) => {
                let expected =
                    "a destination and a gateway (or -interface, -ecmp, -blackhole, -reject)";
                Err(Usage::Missing { word: verb.to_owned(), expected })
            }
            _ => Err(Usage::Conflict(
                "a route leads one way: a gateway, -interface, -blackhole or -reject",
            )),
        }
    }

    fn to(&self) -> Result<IpNet, Usage> {
        let text = self.destination.unwrap_or_default();
        if self.net && self.host {
            return Err(Usage::Conflict("-net and -host exclude each other"));
        }
        if text == "default" && self.mask.is_none() && self.prefix_len.is_none() {
            let bare = |way: &'a str| way.split_once('%').map_or(way, |(address, _)| address);
            let ipv6 = self.ways().map(bare).any(|way| way.contains(':') && address(way).is_ok());
            let implied = if ipv6 { Family::V6 } else { Family::V4 };
            return Ok(ip::everything(self.family.unwrap_or(implied)));
        }
        of_family(text, self.family)?;
        if self.host {
            if self.mask.is_some() || self.prefix_len.is_some() {
                return Err(Usage::Conflict("a host has no mask"));
            }
            return Ok(IpNet::from(address(text)?));
        }
        let ipv6 = text.contains(':');
        match (self.mask, self.prefix_len) {
            (Some(_), Some(_)) => Err(Usage::Conflict("the prefix length is given twice")),
            (Some(_), _) | (_, Some(_)) if text.contains('/') => {
                Err(Usage::Conflict("the prefix length is given twice"))
            }
            (Some(_), None) if ipv6 => {
                Err(Usage::Conflict("an IPv6 destination has a /LEN or -prefixlen, not a mask"))
            }
            (Some(given), None) => masked(text, mask(given)?),
            (None, Some(len)) => masked(text, len),
            (None, None) if ipv6 && self.net && !text.contains('/') => {
                Err(Usage::Conflict("an IPv6 network needs a /LEN or -prefixlen"))
            }
            (None, None) if self.net || is_network(text) => Ok(network(text)?),
            (None, None) => Ok(IpNet::from(address(text)?)),
        }
    }

    /// The gateway, or all paths.
    fn ways(&self) -> impl Iterator<Item = &'a str> {
        self.gateway.into_iter().chain(self.paths.iter().flatten().copied())
    }
}

fn prefix_len(words: &mut Words<'_>) -> Result<u8, Usage> {
    let expected = "a prefix length";
    number(words.after("-prefixlen", expected)?, expected)
}

/// `203.0.113.254`, `gre0:3`, `2001:db8::1`, `[2001:db8::1]:2`.
fn path(word: &str, family: Option<Family>) -> Result<PathSpec, Usage> {
    let bracketed = word.strip_prefix('[').and_then(|rest| rest.split_once("]:"));
    let (name, weight) = match bracketed {
        Some((name, weight)) => (name, Some(weight)),
        // Several colons are an address's own.
        None if word.matches(':').count() > 1 => (word, None),
        None => word.split_once(':').map_or((word, None), |(n, w)| (n, Some(w))),
    };
    let bad =
        || Usage::Bad { value: word.to_owned(), expected: "a path with a weight from 1 to 255" };
    let weight = match weight {
        None => 1,
        Some(weight) => weight.parse().ok().filter(|w| *w > 0).ok_or_else(bad)?,
    };
    // What begins with a digit or has a colon is an address; no interface does.
    let way = match name.starts_with(|c: char| c.is_ascii_digit()) || name.contains(':') {
        true => {
            of_family(name, family)?;
            PathWay::Via(address(name)?)
        }
        false => PathWay::Interface(name.to_owned()),
    };
    Ok(PathSpec { way, weight })
}

/// A network whose length is given apart.
fn masked(text: &str, len: u8) -> Result<IpNet, Usage> {
    let written = network(text)?.addr();
    let Ok(net) = IpNet::new(written, len) else {
        let expected = "a prefix length of its destination's family";
        return Err(Usage::Bad { value: len.to_string(), expected });
    };
    Ok(without_host_bits(text, net)?)
}

/// True for a bare destination that means a network.
fn is_network(text: &str) -> bool {
    let host_part_is_zero = |address: std::net::IpAddr| {
        let len = ip::default_len(address);
        address.is_ipv4() && len < 32 && IpNet::new_assert(address, len).network() == address
    };
    let ipv6 = text.contains(':');
    text == "default"
        || text.contains('/')
        || !ipv6 && !text.contains('.')
        || address(text).is_ok_and(host_part_is_zero)
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
