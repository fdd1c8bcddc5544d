//! `route`: add, delete, change, look up and show routes, with BSD's words
//! (technote T8).

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::table::{Table, dash};
use super::words::{Usage, Words, address, mask};
use super::{BsdArgs, Failure, Session};
use crate::config::address::{AddressError, classful, network};
use crate::model::api::Call;
use crate::model::op::Op;
use crate::model::spec::{RouteSpec, RouteTarget};
use crate::model::view::RouteView;

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
  route change -net 12 10.6
  route delete -net 12
  route get 10.9.8.7                   which way a packet goes
  route get -net 12                    this very route
  route show                           all but Greyhound's own; `show -a`: all
  route flush                          all static routes away

A destination without -net or -host is a network if it is `default`, a single
number, has a /LEN, or its classful host part is 0; else a host.";

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Command {
    /// A change, and how BSD tells of it: `add net 10: gateway 10.1`.
    Change { op: Op, told: String },
    /// `flush`.
    Flush,
    /// `get`.
    Get { call: Call, asked: String },
    /// `show`.
    Show { all: bool },
}

/// Runs a line.
pub fn run(args: &BsdArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    match parse(&args.words)? {
        Command::Change { op, told } => change(op, &told, args.json, session),
        Command::Flush => {
            let outcome = session.transact(vec![Op::FlushRoutes {}])?;
            if args.json { session.print_json(&outcome) } else { Ok(()) }
        }
        Command::Get { call, asked } => get(call, asked, args.json, session),
        Command::Show { all } => show(all, args.json, session),
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

/// Prints the routing table; also `netstat -r`.
pub fn show(all: bool, json: bool, session: &mut Session<'_>) -> Result<(), Failure> {
    let routes: Vec<RouteView> = session.call(Call::ShowRoutes { all })?;
    if json {
        return session.print_json(&routes);
    }
    session.print(&format!("Routing tables\n\nInternet:\n{}", table(&routes)))
}

fn table(routes: &[RouteView]) -> String {
    let mut table = Table::new(&["Destination", "Gateway", "Flags", "Interface", ">Mtu"]);
    for route in routes {
        let interface = dash(route.interface.as_ref());
        let (gateway, mtu) = (dash(route.gateway), dash(route.mtu));
        table.row([destination(route.to), gateway, route.flags.clone(), interface, mtu]);
    }
    table.render("no routes")
}

/// A destination as BSD writes it: hosts without `/32`, and `default`.
fn destination(to: Ipv4Net) -> String {
    match to.prefix_len() {
        0 => "default".to_owned(),
        32 => to.addr().to_string(),
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
    if route.to.prefix_len() < 32 {
        line("mask", route.to.netmask().to_string());
    }
    if let Some(gateway) = route.gateway {
        line("gateway", gateway.to_string());
    }
    line("interface", route.interface.clone().unwrap_or_else(|| "none (not resolved)".to_owned()));
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
            None => return Ok(Command::Show { all: false }),
        }
    };
    match verb {
        "add" | "delete" | "change" | "get" => Line::read(verb, &mut words)?.command(verb),
        "flush" => options_only(words, &["-inet"]).map(|_| Command::Flush),
        "show" => {
            let given = options_only(words, &["-inet", "-n", "-a", "--all"])?;
            Ok(Command::Show { all: given.iter().any(|w| matches!(*w, "-a" | "--all")) })
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
        Some(&"-inet6") => Err(Usage::Ipv6("-inet6".to_owned())),
        Some(word) => {
            let expected = "nothing but options here";
            Err(Usage::Unknown { word: (*word).to_owned(), expected })
        }
        None => Ok(words),
    }
}

/// The words after `add`, `delete`, `change` or `get`, as typed.
#[derive(Default)]
struct Line<'a> {
    net: bool,
    host: bool,
    destination: Option<&'a str>,
    gateway: Option<&'a str>,
    mask: Option<&'a str>,
    interface: Option<&'a str>,
    nowhere: Option<RouteTarget>,
}

impl<'a> Line<'a> {
    fn read(verb: &str, words: &mut Words<'a>) -> Result<Line<'a>, Usage> {
        let mut line = Line::default();
        while let Some(word) = words.next() {
            match word {
                "-inet" | "-static" => {}
                "-inet6" => return Err(Usage::Ipv6(word.to_owned())),
                "-net" => line.net = true,
                "-host" => line.host = true,
                "-netmask" => line.mask = Some(words.after(word, "a mask")?),
                "-interface" | "-iface" => line.interface(words)?,
                "-blackhole" => line.nowhere = Some(RouteTarget::Blackhole),
                "-reject" => line.nowhere = Some(RouteTarget::Reject),
                option if option.starts_with('-') => {
                    let expected = "-net, -host, -netmask, -interface, -blackhole or -reject";
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

    /// Destination, gateway and mask, in this order.
    fn value(&mut self, value: &'a str) -> Result<(), Usage> {
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
            let explicit = self.net || self.mask.is_some() || asked.contains('/');
            let call = match explicit || asked == "default" {
                true => Call::GetRoute { to },
                false => Call::LookupRoute { to: address(asked)? },
            };
            return Ok(Command::Get { call, asked: asked.to_owned() });
        }
        let kind = if to.prefix_len() == 32 { "host" } else { "net" };
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
        match (&self.nowhere, self.interface, self.gateway) {
            (Some(RouteTarget::Reject), ..) => Some("reject".to_owned()),
            (Some(_), ..) => Some("blackhole".to_owned()),
            (None, Some(interface), _) => Some(format!("interface {interface}")),
            (None, None, gateway) => gateway.map(|g| format!("gateway {g}")),
        }
    }

    fn target(&self, verb: &str) -> Result<RouteTarget, Usage> {
        match (&self.nowhere, self.interface, self.gateway) {
            // BSD wants some gateway even for these, by custom its loopback.
            (Some(nowhere), None, None | Some("127.0.0.1" | "127.1")) => Ok(nowhere.clone()),
            (None, Some(interface), None) => Ok(RouteTarget::Interface(interface.to_owned())),
            (None, None, Some(gateway)) => Ok(RouteTarget::Via(address(gateway)?)),
            (None, None, None) => {
                let expected = "a destination and a gateway (or -interface, -blackhole, -reject)";
                Err(Usage::Missing { word: verb.to_owned(), expected })
            }
            _ => Err(Usage::Conflict(
                "a route leads one way: a gateway, -interface, -blackhole or -reject",
            )),
        }
    }

    fn to(&self) -> Result<Ipv4Net, Usage> {
        let text = self.destination.unwrap_or_default();
        if text.contains(':') {
            return Err(Usage::Ipv6(text.to_owned()));
        }
        if self.net && self.host {
            return Err(Usage::Conflict("-net and -host exclude each other"));
        }
        if self.host {
            if self.mask.is_some() {
                return Err(Usage::Conflict("a host has no mask"));
            }
            return Ok(Ipv4Net::from(address(text)?));
        }
        match self.mask {
            Some(_) if text.contains('/') => {
                Err(Usage::Conflict("the prefix length is given twice"))
            }
            Some(given) => masked(text, mask(given)?),
            None if self.net || is_network(text) => Ok(network(text)?),
            None => Ok(Ipv4Net::from(address(text)?)),
        }
    }
}

/// A network whose mask is given apart.
fn masked(text: &str, len: u8) -> Result<Ipv4Net, Usage> {
    let written = network(text)?.addr();
    let net = Ipv4Net::new_assert(written, len);
    if net.network() == written {
        return Ok(net);
    }
    let (text, host) = (text.to_owned(), written);
    Err(AddressError::HostBits { text, network: net.trunc(), host }.into())
}

/// True for a bare destination that means a network.
fn is_network(text: &str) -> bool {
    let host_part_is_zero = |address: Ipv4Addr| {
        Ipv4Net::new_assert(address, classful(address)).network() == address
            && classful(address) < 32
    };
    text == "default"
        || text.contains('/')
        || !text.contains('.')
        || address(text).is_ok_and(host_part_is_zero)
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
