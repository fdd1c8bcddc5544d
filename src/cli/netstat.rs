//! `netstat`: interface counters in BSD's columns (technote T10), routes, drops.
//!
//! The technote cuts characters 27 to 43 out of en0's `<Link>` line and takes
//! them for en0's MAC. So the columns stand where BSD has them: 5 + 5 + 13
//! characters and a blank after each, then 17 of address. Sub-interfaces say
//! `<Vlan>` there, so that `grep en0 | grep Link` finds en0 and not also en0.20.

use std::fmt::Write as _;

use ipnet::IpNet;

use super::words::{Usage, Words, letters};
use super::{BsdArgs, Failure, Session, route, show};
use crate::ids::Family;
use crate::model::api::Call;
use crate::model::view::{AddressView, InterfaceView};

/// What `--help` ends with.
pub const EXAMPLES: &str = "\
Examples:
  netstat -in                          interfaces: MTU, addresses, packet counters
  netstat -in | grep en0 | grep Link | cut -c 27-43
                                       en0's MAC, and nothing else
  netstat -i -I gre0                   one interface
  netstat -rn                          the routing table, as `route show`
  netstat -rn -f inet6                 just that of IPv6; -f inet: of IPv4
  netstat -s                           dropped packets by reason, as `show drops`

Ierrs and Oerrs count the packets that arrived at, or were to leave by, the
interface and were dropped.";

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Command {
    Interfaces { name: Option<String> },
    Routes { all: bool, family: Option<Family> },
    Drops,
}

/// Runs a line.
pub fn run(args: &BsdArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    match parse(&args.words)? {
        Command::Routes { all, family } => route::show(all, family, args.json, session),
        Command::Drops => show::drops(args.json, session),
        Command::Interfaces { name } => {
            let views: Vec<InterfaceView> = session.call(Call::ShowInterfaces { name })?;
            if args.json {
                return session.print_json(&views);
            }
            session.print(&render(&views))
        }
    }
}

fn parse(words: &[String]) -> Result<Command, Usage> {
    let expected =
        "-i (interfaces), -r (routes) or -s (drops), with -n, -a, -f inet|inet6, -I INTERFACE";
    let mut words = Words::new(words);
    let mut seen = String::new();
    let (mut name, mut family) = (None, None);
    while let Some(word) = words.next() {
        let unknown = || Usage::Unknown { word: word.to_owned(), expected };
        if word == "-I" {
            name = Some(words.after(word, "an interface")?.to_owned());
            continue;
        }
        if word == "-f" {
            family = Some(address_family(words.after(word, FAMILIES)?)?);
            continue;
        }
        seen.extend(letters(word).ok_or_else(unknown)?);
        if seen.contains(|c| !"irsna".contains(c)) {
            return Err(unknown());
        }
    }
    let has = |letter| seen.contains(letter);
    if family.is_some() && !has('r') {
        return Err(Usage::Conflict("-f goes with -r"));
    }
    match (has('i') || name.is_some(), has('r'), has('s')) {
        (true, false, false) => Ok(Command::Interfaces { name }),
        (false, true, false) => Ok(Command::Routes { all: has('a'), family }),
        (false, false, true) => Ok(Command::Drops),
        (false, false, false) => Err(Usage::Missing { word: "netstat".to_owned(), expected }),
        _ => Err(Usage::Conflict("-i, -r and -s exclude each other")),
    }
}

const FAMILIES: &str = "`inet` or `inet6`";

fn address_family(text: &str) -> Result<Family, Usage> {
    match text {
        "inet" => Ok(Family::V4),
        "inet6" => Ok(Family::V6),
        _ => Err(Usage::Bad { value: text.to_owned(), expected: FAMILIES }),
    }
}

fn render(views: &[InterfaceView]) -> String {
    let mut out = String::new();
    row(
        &mut out,
        ["Name", "Mtu", "Network", "Address", "Ipkts", "Ierrs", "Opkts", "Oerrs", "Colls"],
    );
    for view in views {
        let (mtu, t) = (view.mtu.to_string(), &view.traffic);
        let network = match view.kind.as_str() {
            "vlan" => "<Vlan>".to_owned(),
            _ => format!("<Link#{}>", view.index),
        };
        let mac = view.mac.map(|m| m.to_string()).unwrap_or_default();
        let counters = [t.rx_packets, t.rx_dropped, t.tx_packets, t.tx_dropped, 0];
        let [ipkts, ierrs, opkts, oerrs, colls] = counters.map(|n| n.to_string());
        row(&mut out, [&view.name, &mtu, &network, &mac, &ipkts, &ierrs, &opkts, &oerrs, &colls]);
        for address in &view.addresses {
            let own = address.address.to_string();
            // Counted per interface only.
            row(&mut out, [&view.name, &mtu, &subnet(address), &own, "-", "-", "-", "-", "-"]);
        }
    }
    out
}

/// BSD's columns; the technote's `cut -c 27-43` depends on them. What is longer
/// than its column (IPv6 addresses) pushes the rest of its own line on.
fn row(out: &mut String, cells: [&str; 9]) {
    let [name, mtu, network, address, ipkts, ierrs, opkts, oerrs, colls] = cells;
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "{name:<5.5} {mtu:<5} {network:<13} {address:<17} {ipkts:>8} {ierrs:>5} {opkts:>8} {oerrs:>5} {colls:>5}"
    );
}

/// The far end of a point-to-point interface, else the subnet without the
/// zeroes behind it, as BSD writes it: `10/8`, `203.0.113/24`.
fn subnet(view: &AddressView) -> String {
    if let Some(peer) = view.peer {
        return peer.to_string();
    }
    let net = match IpNet::new(view.address, view.prefix_len) {
        Ok(IpNet::V4(net)) => net,
        Ok(net) => return net.trunc().to_string(),
        Err(_) => return "-".to_owned(),
    };
    let octets = net.network().octets();
    let shown = octets.iter().rposition(|&o| o != 0).map_or(1, |last| last + 1);
    let shown = shown.max(usize::from(view.prefix_len / 8));
    let octets: Vec<String> = octets[..shown.min(4)].iter().map(u8::to_string).collect();
    format!("{}/{}", octets.join("."), view.prefix_len)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cli::words::line as words;
    use crate::model::view::Traffic;

    fn interface(name: &str, kind: &str, mac: Option<&str>) -> InterfaceView {
        InterfaceView {
            name: name.into(),
            index: 1,
            kind: kind.into(),
            flags: vec![],
            mtu: 1500,
            mac: mac.map(|m| m.parse().unwrap()),
            addresses: vec![AddressView {
                address: "10.0.0.1".parse().unwrap(),
                prefix_len: 8,
                peer: None,
                broadcast: None,
            }],
            advertise: None,
            rpf: "off".into(),
            tunnel: None,
            traffic: Traffic {
                rx_packets: 1234,
                tx_packets: 99,
                rx_dropped: 7,
                ..Traffic::default()
            },
        }
    }

    #[test]
    fn the_columns_are_bsds() {
        let mut gre0 = interface("gre0", "gre", None);
        gre0.addresses[0].peer = Some("10.0.0.25".parse().unwrap());
        let mut en0 = interface("en0", "port", Some("02:00:00:00:00:01"));
        en0.addresses.push(AddressView {
            address: "2001:db8:0:1::1".parse().unwrap(),
            prefix_len: 64,
            peer: None,
            broadcast: None,
        });
        let views = [en0, gre0];
        assert_eq!(
            render(&views),
            "Name  Mtu   Network       Address              Ipkts Ierrs    Opkts Oerrs Colls\n\
             en0   1500  <Link#1>      02:00:00:00:00:01     1234     7       99     0     0\n\
             en0   1500  10/8          10.0.0.1                 -     -        -     -     -\n\
             en0   1500  2001:db8:0:1::/64 2001:db8:0:1::1          -     -        -     -     -\n\
             gre0  1500  <Link#1>                            1234     7       99     0     0\n\
             gre0  1500  10.0.0.25     10.0.0.1                 -     -        -     -     -\n"
        );
    }

    /// `grep en0 | grep Link | cut -c 27-43`.
    #[test]
    fn the_technotes_cut_yields_the_mac_alone() {
        let views = [
            interface("en0", "port", Some("02:00:00:00:00:01")),
            interface("en1", "port", Some("02:00:00:00:00:02")),
            interface("en0.20", "vlan", Some("02:00:00:00:00:01")),
            interface("gre0", "gre", None),
        ];
        let out = render(&views);
        let cut: Vec<&str> = out
            .lines()
            .filter(|l| l.contains("en0") && l.contains("Link"))
            .map(|l| &l[26..43])
            .collect();
        assert_eq!(cut, ["02:00:00:00:00:01"]);
    }

    #[test]
    fn subnets_are_written_short() {
        for (address, prefix_len, expected) in [
            ("10.0.0.1", 8, "10/8"),
            ("10.0.0.1", 16, "10.0/16"),
            ("203.0.113.1", 24, "203.0.113/24"),
            ("192.168.1.130", 25, "192.168.1.128/25"),
            ("192.168.1.1", 32, "192.168.1.1/32"),
            ("10.0.0.1", 0, "0/0"),
            ("2001:db8::1", 64, "2001:db8::/64"),
        ] {
            let address = address.parse().unwrap();
            let view = AddressView { address, prefix_len, peer: None, broadcast: None };
            assert_eq!(subnet(&view), expected);
        }
    }

    #[test]
    fn lines_and_what_they_mean() {
        let interfaces = |name: Option<&str>| Command::Interfaces { name: name.map(str::to_owned) };
        for (text, expected) in [
            ("-in", interfaces(None)),
            ("-i -n", interfaces(None)),
            ("-I gre0 -n", interfaces(Some("gre0"))),
            ("-rn", Command::Routes { all: false, family: None }),
            ("-ran", Command::Routes { all: true, family: None }),
            ("-rn -f inet6", Command::Routes { all: false, family: Some(Family::V6) }),
            ("-f inet -r", Command::Routes { all: false, family: Some(Family::V4) }),
            ("-s", Command::Drops),
        ] {
            assert_eq!(parse(&words(text)).unwrap(), expected, "{text}");
        }
        for (text, why) in [
            ("", "-i"),
            ("-n", "-i"),
            ("-ir", "exclude"),
            ("-x", "-x"),
            ("en0", "en0"),
            ("-I", "interface"),
            ("-rn -f", "inet6"),
            ("-rn -f ip", "inet6"),
            ("-in -f inet6", "-r"),
        ] {
            let error = parse(&words(text)).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
