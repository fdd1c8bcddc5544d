//! Files that are right, files that are wrong, and the round trip through text.
#![allow(clippy::unwrap_used)]

mod paths;
mod properties;
mod wrong;

use std::collections::BTreeSet;
use std::path::PathBuf;

use ipnet::{IpNet, Ipv6Net};

use super::raw::KEYS;
use super::*;
use crate::ids::{Family, Mac};
use crate::model::ip;
use crate::model::op::Op;
use crate::model::spec::*;

/// Two ports to build wrong files on.
const PORTS: &str = r#"
[[port]]
name = "en0"
device = "net_null0"
address = ["10.0.0.1/8"]
rx_queues = 2

[[port]]
name = "en1"
device = "net_null1"
address = ["203.0.113.1/24"]
"#;

#[test]
fn the_reference_is_machine_c() {
    let config = parse(REFERENCE).unwrap();
    let state = &config.state;
    assert_eq!(state.ports[0].address, ["10.0.0.1/8".parse::<IpNet>().unwrap()]);
    assert!(state.ports.iter().all(|port| port.device.starts_with("net_tap")));
    assert_eq!(state.tunnels[0].address, Some("10.0.0.1".parse().unwrap()));
    assert_eq!(state.published[0].address, "10.0.0.25".parse::<std::net::Ipv4Addr>().unwrap());
    assert_eq!(config.settings.metrics.as_deref(), Some("127.0.0.1:9464"));
    assert_eq!(config.settings.dpdk.idle, Idle::Adaptive);
}

/// Keys of a file by section, those in comments too.
fn keys_written(text: &str) -> BTreeSet<(String, String)> {
    let mut section = String::new();
    let mut keys = BTreeSet::new();
    for line in text.lines() {
        let line = line.trim_start_matches(['#', ' ']);
        if line.starts_with('[') {
            let head = line.split_once(']').map_or(line, |(head, _)| head);
            section = head.trim_matches('[').to_owned();
        } else if let Some((key, _)) = line.split_once(" = ")
            && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        {
            keys.insert((section.clone(), key.to_owned()));
            // What is in an inline table, if that is the value.
            let inner = line.split_once(" = { ").and_then(|(_, rest)| rest.split_once(" }"));
            for (name, _) in inner
                .iter()
                .flat_map(|(all, _)| all.split(", "))
                .filter_map(|pair| pair.split_once(" = "))
            {
                keys.insert((format!("{section}.{key}"), name.to_owned()));
            }
        }
    }
    keys
}

#[test]
fn the_reference_names_every_key_and_no_other() {
    let known: BTreeSet<(String, String)> = KEYS
        .iter()
        .flat_map(|(section, keys)| {
            keys.iter().map(move |key| (section.to_string(), key.to_string()))
        })
        // Written as a section of its own.
        .filter(|(section, key)| {
            ![("dpdk", "worker"), ("route", "paths"), ("tunnel", "udp")]
                .contains(&(section.as_str(), key.as_str()))
        })
        .collect();
    // Its keys are addresses.
    let mut written = keys_written(REFERENCE);
    written.retain(|(section, _)| section != "tunnel.nbma");
    assert_eq!(written, known);
}

#[test]
fn every_line_in_comments_is_valid_too() {
    // Uncomment each key line where its table is open; other sections that are
    // all in comments come with their head.
    let mut text = String::new();
    for line in REFERENCE.lines() {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        let key = bare.split_once(" = ").is_some_and(|(key, _)| {
            key.bytes().all(|b| b.is_ascii_lowercase() || b"_06".contains(&b))
        });
        let head =
            bare.starts_with("[[") && bare.ends_with("]]") || bare.starts_with("[tunnel.udp]");
        text += if key || head { bare } else { line };
        text += "\n";
    }
    let (folder, _) = with_routes_file("192.0.2.0/24 203.0.113.254\n");
    let config = parse_in(&text, Some(folder.path()))
        .unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"));
    assert_eq!(config.state.vlans.len(), 1);
    assert_eq!(config.state.routes.len(), 7);
    assert_eq!(config.settings.dpdk.queues.len(), 1);
    // What the comments call a default is one.
    let standard = parse(REFERENCE).unwrap();
    assert_eq!(config.state.icmp, standard.state.icmp);
    assert_eq!(config.settings.socket, standard.settings.socket);
    assert_eq!(config.settings.dpdk.descriptors, standard.settings.dpdk.descriptors);
    let udp = UdpSpec { port: GRE_IN_UDP, source: None, checksum: true };
    assert_eq!(config.state.tunnels[1].udp, Some(udp));
    let gre = GreOptions { key_in: None, key_out: None, ..config.state.tunnels[0].gre };
    let tunnel = config.state.tunnels[0].clone();
    assert_eq!(tunnel.keepalive, Some(Timing::default()));
    assert_eq!(
        tunnel.probe.map(|probe| (probe.timing, probe.size)),
        Some((Timing::default(), true))
    );
    let (inet6, keepalive, probe) = (Vec::new(), None, None);
    assert_eq!(
        TunnelSpec {
            mtu: None,
            gre,
            inet6,
            keepalive,
            probe,
            nbma: Default::default(),
            allow: Vec::new(),
            port: None,
            ..tunnel
        },
        standard.state.tunnels[0]
    );
}

#[test]
fn what_is_wrong_in_an_inline_table_has_its_place() {
    let text = format!(
        "{PORTS}[[tunnel]]\nname = \"gre0\"\nkeepalive = {{ interval = \"10m\", retries = 0, every = 1 }}\n\
         probe = 5\n[[tunnel]]\nname = \"ipip0\"\nprobe = {{ interval = 0, to = \"nowhere\" }}\n"
    );
    let problems = parse(&text).unwrap_err();
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    for words in [
        ["tunnel[0].keepalive.every", "interval, retries, up_after"],
        ["tunnel[0].keepalive.interval", "\"10m\"` is not an interval: expected 100ms to 32767s"],
        ["tunnel[0].keepalive.retries", "1 to 255"],
        ["tunnel[0].probe", "`5` is not a table"],
        ["tunnel[1].probe.interval", "`0` is not an interval"],
        ["tunnel[1].probe.to", "nowhere"],
    ] {
        let found = told.iter().any(|line| words.iter().all(|word| line.contains(word)));
        assert!(found, "{words:?} in {told:#?}");
    }
}

#[test]
fn examples_are_valid() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config/examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        load(entry.unwrap().path()).unwrap_or_else(|error| panic!("{error}"));
        seen += 1;
    }
    assert!(seen >= 4, "{seen} examples");
    load(concat!(env!("CARGO_MANIFEST_DIR"), "/docker/gateway.toml")).unwrap();
}

#[test]
fn short_forms_are_read() {
    let text = format!(
        "{PORTS}\n[[tunnel]]\nname = \"gre0\"\naddress = \"12.1\"\npeer = \"12.2\"\nlocal = \"10.1\"\nremote = \"10.163\"\n\
         [[route]]\nto = \"10.1\"\nvia = \"12.2\"\n[[route]]\nto = \"default\"\nreject = true\n"
    );
    let state = parse(&text).unwrap().state;
    assert_eq!(state.tunnels[0].peer, Some("12.0.0.2".parse().unwrap()));
    assert_eq!(state.tunnels[0].remote, Some("10.0.0.163".to_owned().try_into().unwrap()));
    assert_eq!(state.routes[0].to, "10.1.0.0/16".parse::<IpNet>().unwrap());
    assert_eq!(state.routes[1], RouteSpec { to: IpNet::default(), target: RouteTarget::Reject });
}

#[test]
fn all_mistakes_come_at_once() {
    let text = "[dpdk]\nworkers = [0, -4]\nidle = \"fast\"\nmemory = 512\n[[port]]\nname = \"en0\"\ndevice = \"net_null0\"\n\
                [[tunnel]]\nname = \"gre0\"\nttl = 0\nlocal = \"300.1\"\nremote = \"9.9.9.9\"\nfoo = 1\n\
                [[arp]]\naddress = \"9.9.9.9\"\npublish = true\n";
    let problems = parse(text).unwrap_err();
    let places: BTreeSet<&str> = problems.iter().map(|p| p.at.as_str()).collect();
    for at in [
        "dpdk.workers[1]",
        "dpdk.idle",
        "dpdk.memory",
        "tunnel[0].ttl",
        "tunnel[0].local",
        "tunnel[0].foo",
        "arp[0].address",
    ] {
        assert!(places.contains(at), "{at} in {problems:#?}");
    }
}

#[test]
fn numbers_of_places_count_what_could_not_be_read() {
    let text = format!(
        "{PORTS}\n[[tunnel]]\nname = \"x\"\n[[tunnel]]\nname = \"gre0\"\npeer = \"12.2\"\n"
    );
    let problems = parse(&text).unwrap_err();
    let places: Vec<&str> = problems.iter().map(|p| p.at.as_str()).collect();
    assert_eq!(places, ["tunnel[0].name", "tunnel[1].address"]);
}

#[test]
fn names_are_not_called_unknown_when_an_object_could_not_be_read() {
    let text = format!(
        "{PORTS}\n[[port]]\nname = \"9\"\ndevice = \"x\"\n[[route]]\nto = \"11\"\ninterface = \"en2\"\n"
    );
    let problems = parse(&text).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:#?}");
}

#[test]
fn a_file_without_ports_is_refused() {
    let problems = parse("[dpdk]\n").unwrap_err();
    assert_eq!(problems[0].at, "port");
}

#[test]
fn syntax_errors_have_line_and_column() {
    let problems = parse("[dpdk]\nworkers = [1\n[[port]\n").unwrap_err();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].at.starts_with("line 3, column "), "{}", problems[0]);
    let problems = parse("[dpdk]\nmemory = \"1G\"\nmemory = \"2G\"\n").unwrap_err();
    assert!(problems[0].at.starts_with("line 3, column 1"), "{}", problems[0]);
}

#[test]
fn file_errors_name_the_file() {
    let missing = load("/nonexistent/greyhound.toml").unwrap_err();
    assert!(missing.to_string().contains("/nonexistent/greyhound.toml"), "{missing}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.toml");
    std::fs::write(&path, "[dpdk]\nx = 1\n").unwrap();
    let text = load(&path).unwrap_err().to_string();
    assert!(
        text.contains("bad.toml is not a valid configuration:\n  dpdk.x: unknown key"),
        "{text}"
    );
}

#[test]
fn ops_lead_from_bare_ports_to_the_state() {
    let state = parse(REFERENCE).unwrap().state;
    let ops = ops(&state);
    let places: Vec<&str> = ops.iter().map(|op| op.at.as_str()).collect();
    assert_eq!(
        places,
        [
            "port[0]",
            "port[0].address[0]",
            "port[1]",
            "port[1].address[0]",
            "tunnel[0]",
            "route[0]",
            "arp[0]",
            "icmp",
        ]
    );
    let Op::SetAddress { name, address, prefix_len, alias, .. } = &ops[1].op else {
        panic!("{ops:?}")
    };
    assert_eq!(
        (name.as_str(), address.to_string().as_str(), *prefix_len, *alias),
        ("en0", "10.0.0.1", Some(8), true)
    );
}

#[test]
fn metrics_can_be_off_and_stay_off() {
    let config = parse(&format!("{PORTS}\n[metrics]\nenabled = false\n")).unwrap();
    assert_eq!(config.settings.metrics, None);
    assert_eq!(parse(&render(&config)).unwrap(), config);
}

#[test]
fn router_advertisements_are_a_word_or_a_table() {
    let file = |advertise: &str| {
        format!("[[port]]\nname = \"en0\"\ndevice = \"net_null0\"\n{advertise}\n")
    };
    let of = |advertise: &str| parse(&file(advertise)).unwrap().state.ports[0].advertise;
    let usual = AdvertiseSpec::default();
    assert_eq!(of(""), None);
    assert_eq!(of("advertise = false"), None);
    assert_eq!(of("advertise = true"), Some(usual));
    assert_eq!(of("advertise = { lifetime = 0 }"), Some(AdvertiseSpec { lifetime: 0, ..usual }));
    for (bad, at) in [
        ("advertise = \"yes\"", "port[0].advertise"),
        ("advertise = { interval = 3 }", "port[0].advertise.interval"),
        ("advertise = { lifetime = 9 }", "port[0].advertise.lifetime"),
        ("advertise = { valid = 9 }", "port[0].advertise.preferred"),
        ("advertise = { prefix = 9 }", "port[0].advertise.prefix"),
    ] {
        let problems = parse(&file(bad)).unwrap_err();
        assert_eq!((problems.len(), problems[0].at.as_str()), (1, at), "{problems:?}");
    }
}

#[test]
fn a_link_local_gateway_is_read_with_its_link() {
    let file = |via: &str| format!("{PORTS}\n[[route]]\nto = \"default\"\nvia = \"{via}\"\n");
    let config = parse(&file("fe80::1%en1")).unwrap();
    let via = "fe80::1".parse().unwrap();
    let target = RouteTarget::Near { via, interface: "en1".into() };
    assert_eq!(config.state.routes, [RouteSpec { to: ip::everything(Family::V6), target }]);
    assert_eq!(parse(&render(&config)).unwrap().state, config.state);
    for (bad, said) in [
        ("fe80::1", "fe80::1"),
        ("fe80::1%en9", "`en9`"),
        ("2001:db8::1%en0", "link-local"),
        ("fe80::1%", "link-local"),
    ] {
        let problems = parse(&file(bad)).unwrap_err();
        assert_eq!((problems.len(), problems[0].at.as_str()), (1, "route[0].via"), "{bad}");
        assert!(problems[0].message.contains(said), "{}", problems[0]);
    }
}

#[test]
fn far_ends_of_a_multipoint_tunnel_are_read_and_printed() {
    let file = |tunnel: &str| {
        format!(
            "[[port]]\nname = \"en0\"\ndevice = \"net_null0\"\n\n[[tunnel]]\nname = \"gre0\"\n{tunnel}"
        )
    };
    let text = file(
        "local = \"10.1\"\nnbma = { \"12.2\" = \"192.0.2.7\", \"fd00::2\" = \"192.0.2.7\" }\n",
    );
    let config = parse(&text).unwrap();
    let nbma = &config.state.tunnels[0].nbma;
    assert_eq!(nbma.len(), 2);
    assert_eq!(nbma[&"12.0.0.2".parse::<std::net::IpAddr>().unwrap()].to_string(), "192.0.2.7");
    assert_eq!(parse(&render(&config)).unwrap().state, config.state);
    for (bad, field) in [
        ("nbma = { \"12.2\" = \"192.0.2.7\" }", "local"),
        ("local = \"10.1\"\nnbma = {}", "nbma"),
        ("local = \"10.1\"\nnbma = 3", "nbma"),
        ("local = \"10.1\"\nnbma = { \"12.2\" = \"224.0.0.1\" }", "nbma"),
        ("local = \"10.1\"\nremote = \"10.2\"\nnbma = { \"12.2\" = \"192.0.2.7\" }", "remote"),
    ] {
        let problems = parse(&file(bad)).unwrap_err();
        assert!(problems.iter().any(|p| p.at == format!("tunnel[0].{field}")), "{problems:?}");
    }
}

#[test]
fn filters_are_read_in_order_and_mistakes_are_named() {
    let head = "[[filter]]\nname = \"a\"\naction = \"drop\"\n";
    let text = format!(
        "{PORTS}\n{head}in = \"en1\"\nfrom = \"10/8\"\nprotocol = \"tcp\"\ndport = 22\nsport = \"1024-65535\"\n\
         [[filter]]\nname = \"b\"\nprotocol = 89\naction = \"accept\"\nlog = true\n"
    );
    let state = parse(&text).unwrap().state;
    let words: Vec<String> = state.filters.iter().map(ToString::to_string).collect();
    let first = "a in en1 from 10.0.0.0/8 proto tcp sport 1024-65535 dport 22 drop";
    assert_eq!(words, [first, "b proto 89 accept log"]);
    let added = ops::ops(&state).into_iter().filter(|op| matches!(op.op, Op::AddFilter { .. }));
    let places: Vec<String> = added.map(|op| op.at.to_string()).collect();
    assert_eq!(places, ["filter[0]", "filter[1]"]);
    for (wrong, at, said) in [
        ("[[filter]]\nname = \"a\"".to_owned(), "filter[0].action", "missing"),
        ("[[filter]]\naction = \"drop\"".to_owned(), "filter[0].name", "missing"),
        (head.replace("drop", "deny"), "filter[0].action", "`deny`"),
        (head.replace("\"a\"", "\"a b\""), "filter[0].name", "`a b`"),
        (format!("{head}in = \"en9\""), "filter[0].in", "`en9`"),
        (format!("{head}from = \"10.0.0.1/8\""), "filter[0].from", "10.0.0.1/8"),
        (format!("{head}protocol = 256"), "filter[0].protocol", "256"),
        (format!("{head}protocol = \"tcp\"\ndport = \"9-8\""), "filter[0].dport", "9-8"),
        (format!("{head}dport = 22"), "filter[0].dport", "protocol"),
        (format!("{head}port = 22"), "filter[0].port", "unknown key"),
        (format!("{head}{head}"), "filter[1].name", "filter[0]"),
    ] {
        let problems = parse(&format!("{PORTS}\n{wrong}\n")).expect_err(&wrong);
        assert_eq!(problems.len(), 1, "{wrong}: {problems:#?}");
        assert_eq!(problems[0].at, at, "{wrong}");
        assert!(problems[0].message.contains(said), "{wrong}: {}", problems[0]);
    }
    let many: String = (0..257).map(|n| head.replace("\"a\"", &format!("\"a{n}\""))).collect();
    let problems = parse(&format!("{PORTS}\n{many}")).unwrap_err();
    assert!(problems[0].message.contains("257 filters"), "{problems:?}");
}

/// A folder with a routes file, and the text of a configuration that names it.
fn with_routes_file(lines: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("routes.txt"), lines).unwrap();
    let text = "[[port]]\nname = \"en0\"\ndevice = \"net_null0\"\naddress = [\"10.0.1.1/24\"]\n\
                [[route]]\nto = \"default\"\nvia = \"10.0.1.254\"\n\
                [[routes_file]]\npath = \"routes.txt\"\n";
    (folder, text.to_owned())
}

#[test]
fn routes_of_a_file_are_static_routes_and_are_printed_as_such() {
    let (folder, text) = with_routes_file("192.0.2.0/24 10.0.1.2\n198.51.100.0/24 dev en0\n");
    let config = parse_in(&text, Some(folder.path())).unwrap();
    let to: Vec<String> = config.state.routes.iter().map(|r| r.to.to_string()).collect();
    assert_eq!(to, ["0.0.0.0/0", "192.0.2.0/24", "198.51.100.0/24"]);
    let printed = render(&config);
    assert!(!printed.contains("routes_file"), "{printed}");
    // Needs no file any more.
    assert_eq!(parse(&printed).unwrap(), config);
}

#[test]
fn what_is_wrong_with_a_routes_file_is_told_with_file_and_line() {
    let lines = "192.0.2.0/24 10.0.1.2\n\n192.0.2.0/24 10.0.1.3\ndefault reject\n\
                 10.9.0.0/16 10.0.1.1\n10.8.0.0/16 dev en9\n";
    let (folder, text) = with_routes_file(lines);
    let problems = parse_in(&text, Some(folder.path())).unwrap_err();
    let file = folder.path().join("routes.txt").display().to_string();
    let said = |line: usize, words: &str| {
        let start = format!("{file}:{line}: ");
        let found = problems.iter().map(ToString::to_string).find(|p| p.starts_with(&start));
        let found = found.unwrap_or_else(|| panic!("nothing of line {line} in {problems:?}"));
        assert!(found.contains(words), "{found}");
    };
    said(3, &format!("192.0.2.0/24 has a route already, {file}:1"));
    said(4, "0.0.0.0/0 has a route already, route[0]");
    said(5, "`10.0.1.1` is our own address");
    said(6, "no interface `en9`");
    assert_eq!(problems.len(), 4);
}

#[test]
fn a_routes_file_that_is_not_there_or_relative_to_nothing_is_refused() {
    let (folder, text) = with_routes_file("");
    let problems = parse(&text).unwrap_err();
    assert_eq!(problems[0].at, "routes_file[0].path");
    assert!(problems[0].message.contains("`routes.txt` is relative"), "{problems:?}");
    std::fs::remove_file(folder.path().join("routes.txt")).unwrap();
    let problems = parse_in(&text, Some(folder.path())).unwrap_err();
    assert!(problems[0].message.contains("cannot read"), "{problems:?}");
}
