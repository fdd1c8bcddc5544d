//! Lines and what they mean; routes and how they print.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::cli::words::line as words;

fn parsed(text: &str) -> Command {
    parse(&words(text)).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn via(gateway: &str) -> RouteTarget {
    RouteTarget::Via(gateway.parse().unwrap())
}

#[test]
fn routes_to_add() {
    let gre0 = || RouteTarget::Interface("gre0".into());
    for (text, to, target, told) in [
        ("add -net 10 10.1", "10.0.0.0/8", via("10.0.0.1"), "add net 10: gateway 10.1"),
        ("-n add -net 10 10.1", "10.0.0.0/8", via("10.0.0.1"), "add net 10: gateway 10.1"),
        ("add default 10.3", "0.0.0.0/0", via("10.0.0.3"), "add net default: gateway 10.3"),
        ("add -net 12 10.2", "12.0.0.0/8", via("10.0.0.2"), "add net 12: gateway 10.2"),
        ("add 12 10.2", "12.0.0.0/8", via("10.0.0.2"), "add net 12: gateway 10.2"),
        (
            "add -host 13.0.0.1 10.3",
            "13.0.0.1/32",
            via("10.0.0.3"),
            "add host 13.0.0.1: gateway 10.3",
        ),
        ("add 13.1 10.3", "13.0.0.1/32", via("10.0.0.3"), "add host 13.1: gateway 10.3"),
        ("add 14.0.0.0 10.3", "14.0.0.0/8", via("10.0.0.3"), "add net 14.0.0.0: gateway 10.3"),
        (
            "add -inet 14.1.0.0/16 10.4",
            "14.1.0.0/16",
            via("10.0.0.4"),
            "add net 14.1.0.0/16: gateway 10.4",
        ),
        (
            "add -net 15.1.2.0 -netmask 255.255.255.0 10.5",
            "15.1.2.0/24",
            via("10.0.0.5"),
            "add net 15.1.2.0: gateway 10.5",
        ),
        ("add -net 15 10.5 255.0.0.0", "15.0.0.0/8", via("10.0.0.5"), "add net 15: gateway 10.5"),
        ("add -net 16 -interface gre0", "16.0.0.0/8", gre0(), "add net 16: interface gre0"),
        ("add -net 16 gre0 -interface", "16.0.0.0/8", gre0(), "add net 16: interface gre0"),
        (
            "add 192.0.2.0/24 -blackhole",
            "192.0.2.0/24",
            RouteTarget::Blackhole,
            "add net 192.0.2.0/24: blackhole",
        ),
        (
            "add 192.0.2.0/24 127.0.0.1 -reject",
            "192.0.2.0/24",
            RouteTarget::Reject,
            "add net 192.0.2.0/24: reject",
        ),
    ] {
        let route = RouteSpec { to: to.parse().unwrap(), target };
        let expected = Command::Change { op: Op::AddRoute { route }, told: told.into() };
        assert_eq!(parsed(text), expected, "{text}");
    }
}

#[test]
fn changes_deletes_and_flushes() {
    let route = RouteSpec { to: "12.0.0.0/8".parse().unwrap(), target: via("10.0.0.6") };
    let told = "change net 12: gateway 10.6".into();
    assert_eq!(
        parsed("change -net 12 10.6"),
        Command::Change { op: Op::ChangeRoute { route }, told }
    );
    for (text, to, told) in [
        ("delete -net 99", "99.0.0.0/8", "delete net 99"),
        ("delete -host 13.0.0.1", "13.0.0.1/32", "delete host 13.0.0.1"),
        ("delete default", "0.0.0.0/0", "delete net default"),
        ("delete -net 10 10.1", "10.0.0.0/8", "delete net 10: gateway 10.1"),
    ] {
        let op = Op::DeleteRoute { to: to.parse().unwrap() };
        assert_eq!(parsed(text), Command::Change { op, told: told.into() }, "{text}");
    }
    assert_eq!(parsed("flush"), Command::Flush);
    assert_eq!(parsed("-n flush -inet"), Command::Flush);
}

#[test]
fn questions() {
    let lookup = |to: &str| Call::LookupRoute { to: to.parse().unwrap() };
    let exact = |to: &str| Call::GetRoute { to: to.parse().unwrap() };
    for (text, call, asked) in [
        ("get 10.9.8.7", lookup("10.9.8.7"), "10.9.8.7"),
        ("get 10.25", lookup("10.0.0.25"), "10.25"),
        ("get 10.0.0.0", lookup("10.0.0.0"), "10.0.0.0"),
        ("get -net 12", exact("12.0.0.0/8"), "12"),
        ("get default", exact("0.0.0.0/0"), "default"),
        ("get 14.1.0.0/16", exact("14.1.0.0/16"), "14.1.0.0/16"),
    ] {
        assert_eq!(parsed(text), Command::Get { call, asked: asked.into() }, "{text}");
    }
    assert_eq!(parsed("show"), Command::Show { all: false });
    assert_eq!(parsed(""), Command::Show { all: false });
    assert_eq!(parsed("-n show -a"), Command::Show { all: true });
}

#[test]
fn lines_that_make_no_sense_say_why() {
    for (text, why) in [
        ("add -net 10", "gateway"),
        ("add", "destination"),
        ("add -net 10.0.0.0/33 10.2", "33"),
        ("add -net 10.1.2.3/8 10.2", "host bits"),
        ("add -net 10.1.2.3 -netmask 255.0.0.0 10.2", "host bits"),
        ("add -net 10.0.0.0/8 -netmask 255.0.0.0 10.2", "twice"),
        ("add -net -host 10 10.2", "exclude"),
        ("add -host 10.1 -netmask 255.0.0.0 10.2", "no mask"),
        ("add -inet6 default fe80::1", "IPv6"),
        ("add 2001:db8::/32 10.1", "IPv6"),
        ("add -net 10 fe80::1", "IPv6"),
        ("show -inet6", "IPv6"),
        ("add -net 10 10.1 -interface gre0", "one way"),
        ("add -net 10 10.1 -blackhole", "one way"),
        ("add -net 10 10.1 255.0.0.0 more", "more"),
        ("add -net 10 -interface", "name of an interface"),
        ("add -net 10 -ifp en0", "-ifp"),
        ("get nonsense", "nonsense"),
        ("frobnicate", "frobnicate"),
        ("flush everything", "everything"),
    ] {
        let error = parse(&words(text)).unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
}

fn route(to: &str, gateway: Option<&str>, interface: Option<&str>, flags: &str) -> RouteView {
    RouteView {
        to: to.parse().unwrap(),
        gateway: gateway.map(|g| g.parse().unwrap()),
        interface: interface.map(str::to_owned),
        flags: flags.into(),
        origin: "static".into(),
        mtu: interface.map(|_| 1500),
        paths: Vec::new(),
    }
}

fn several() -> RouteView {
    let path = |gateway: Option<&str>, interface: &str, weight, buckets| PathView {
        gateway: gateway.map(|g| g.parse().unwrap()),
        interface: Some(interface.into()),
        flags: if buckets > 0 { "UGSP" } else { "GSP" }.into(),
        weight,
        buckets,
        mtu: Some(1500),
    };
    let paths = vec![
        path(Some("203.0.113.254"), "en1", 2, 512),
        path(Some("203.0.113.253"), "en1", 1, 0),
        path(None, "gre0", 3, 0),
    ];
    RouteView { paths, ..route("0.0.0.0/0", None, None, "USP") }
}

#[test]
fn several_paths() {
    let way = |word: &str| path(word).unwrap();
    let paths = vec![way("203.0.113.254:2"), way("10.6"), way("gre0:255")];
    assert_eq!(paths.iter().map(|p| p.weight).collect::<Vec<_>>(), [2, 1, 255]);
    assert_eq!(paths[1].way, PathWay::Via("10.0.0.6".parse().unwrap()));
    assert_eq!(paths[2].way, PathWay::Interface("gre0".into()));
    let route = RouteSpec { to: Ipv4Net::default(), target: RouteTarget::Paths(paths) };
    let told = "add net default: ecmp 203.0.113.254:2 10.6 gre0:255".into();
    let op = Op::AddRoute { route };
    let text = "add default -ecmp 203.0.113.254:2 10.6 gre0:255";
    assert_eq!(parsed(text), Command::Change { op: op.clone(), told });
    let json = serde_json::to_string(&op).unwrap();
    assert!(json.contains(r#"{"paths":[{"via":"203.0.113.254","weight":2},{"via":"10.0.0.6"}"#));
    assert_eq!(serde_json::from_str::<Op>(&json).unwrap(), op);
    for (text, why) in [
        ("add default -ecmp 10.6:0 10.7", "10.6:0"),
        ("add default -ecmp 10.6:256 10.7", "10.6:256"),
        ("add default 10.5 -ecmp 10.6 10.7", "-ecmp"),
        ("add default -ecmp 10.6 -interface gre0", "-ecmp"),
        ("add default -ecmp ::1 10.7", "IPv6"),
    ] {
        let error = parse(&words(text)).unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
    assert_eq!(
        table(&[several()]),
        "Destination  Gateway          Flags  Interface   Mtu\n\
         default      203.0.113.254:2  UGSP   en1        1500\n\
         default      203.0.113.253    GSP    en1        1500\n\
         default      -                GSP    gre0:3     1500\n"
    );
    let got = render_get("9.9.9.9", &several());
    assert!(
        got.contains("path: gateway 203.0.113.254 interface en1, weight 2, 512 of 512"),
        "{got}"
    );
    assert!(got.contains("path: interface gre0, weight 3, 0 of 512 buckets"), "{got}");
    assert!(got.contains("flags: <UP,STATIC,MULTIPATH>"), "{got}");
}

#[test]
fn the_table() {
    let routes = [
        route("0.0.0.0/0", Some("203.0.113.254"), Some("en1"), "UGS"),
        route("10.0.0.0/8", None, Some("en0"), "UC"),
        route("12.0.0.2/32", Some("10.0.0.9"), None, "GHS"),
    ];
    assert_eq!(
        table(&routes),
        "Destination  Gateway        Flags  Interface   Mtu\n\
         default      203.0.113.254  UGS    en1        1500\n\
         10.0.0.0/8   -              UC     en0        1500\n\
         12.0.0.2     10.0.0.9       GHS    -             -\n"
    );
    assert_eq!(table(&[]), "no routes\n");
}

#[test]
fn an_answer_to_get() {
    assert_eq!(
        render_get("10.9.8.7", &route("10.0.0.0/8", Some("10.0.0.1"), Some("gre0"), "UGS")),
        "   route to: 10.9.8.7\n\
         destination: 10.0.0.0\n       \
         mask: 255.0.0.0\n    \
         gateway: 10.0.0.1\n  \
         interface: gre0\n      \
         flags: <UP,GATEWAY,STATIC>\n     \
         origin: static\n        \
         mtu: 1500\n"
    );
}
