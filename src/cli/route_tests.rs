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
fn a_link_local_gateway_has_its_link_behind_it() {
    let near = RouteTarget::Near { via: "fe80::1".parse().unwrap(), interface: "en0".into() };
    for text in ["add default fe80::1%en0", "add -inet6 default fe80::1%en0"] {
        let Command::Change { op: Op::AddRoute { route }, told } = parsed(text) else {
            panic!("{text}")
        };
        assert_eq!((route.to, &route.target), (ip::everything(Family::V6), &near), "{text}");
        assert_eq!(told, "add net default: gateway fe80::1%en0");
    }
    for bad in ["add default fe80::1%", "add default 2001:db8::1%en0", "add default %en0"] {
        let error = parse(&words(bad)).unwrap_err().to_string();
        assert!(error.contains("fe80::1%en0"), "{bad}: {error}");
    }
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
        (
            "add -inet6 default 2001:db8::fe",
            "::/0",
            via("2001:db8::fe"),
            "add net default: gateway 2001:db8::fe",
        ),
        (
            "add default 2001:db8::fe",
            "::/0",
            via("2001:db8::fe"),
            "add net default: gateway 2001:db8::fe",
        ),
        (
            "add 2001:db8:1::/48 2001:db8::2",
            "2001:db8:1::/48",
            via("2001:db8::2"),
            "add net 2001:db8:1::/48: gateway 2001:db8::2",
        ),
        (
            "add -inet6 2001:db8:: -prefixlen 32 2001:db8::2",
            "2001:db8::/32",
            via("2001:db8::2"),
            "add net 2001:db8::: gateway 2001:db8::2",
        ),
        ("add fd00::7 -interface gre0", "fd00::7/128", gre0(), "add host fd00::7: interface gre0"),
        ("add -inet6 default -interface gre0", "::/0", gre0(), "add net default: interface gre0"),
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
    assert_eq!(parsed("flush"), Command::Flush { family: None });
    assert_eq!(parsed("-n flush -inet"), Command::Flush { family: Some(Family::V4) });
    assert_eq!(parsed("flush -inet6"), Command::Flush { family: Some(Family::V6) });
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
        ("get 2001:db8::9", lookup("2001:db8::9"), "2001:db8::9"),
        ("get -inet6 2001:db8::/32", exact("2001:db8::/32"), "2001:db8::/32"),
        ("get 2001:db8:: -prefixlen 32", exact("2001:db8::/32"), "2001:db8::"),
        ("get -inet6 default", exact("::/0"), "default"),
    ] {
        assert_eq!(parsed(text), Command::Get { call, asked: asked.into() }, "{text}");
    }
    let show = |all, family| Command::Show { all, family };
    assert_eq!(parsed("show"), show(false, None));
    assert_eq!(parsed(""), show(false, None));
    assert_eq!(parsed("-n show -a"), show(true, None));
    assert_eq!(parsed("show -inet6"), show(false, Some(Family::V6)));
    assert_eq!(parsed("show -inet"), show(false, Some(Family::V4)));
    assert_eq!(parsed("show -inet -inet6"), show(false, None));
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
        ("add -inet6 default 10.1", "IPv6"),
        ("add -inet6 10.0.0.0/8 2001:db8::1", "IPv6"),
        ("add -inet default 2001:db8::1", "IPv4"),
        ("add -inet 2001:db8::/32 10.1", "IPv4"),
        ("add -inet6 default -ecmp 10.1 10.2", "IPv6"),
        ("add 2001:db8::1/32 2001:db8::2", "host bits"),
        ("add 2001:db8::1 -prefixlen 32 2001:db8::2", "host bits"),
        ("add 2001:db8::/32 -prefixlen 32 2001:db8::2", "twice"),
        ("add 2001:db8:: -netmask 255.0.0.0 2001:db8::2", "-prefixlen"),
        ("add -net 2001:db8:: 2001:db8::2", "-prefixlen"),
        ("add 2001:db8:: -prefixlen 129 2001:db8::2", "129"),
        ("add 10 -prefixlen 33 10.1", "33"),
        ("add -host 2001:db8::1 -prefixlen 64 2001:db8::2", "no mask"),
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
    let way = |word: &str| path(word, None).unwrap();
    let paths = vec![way("203.0.113.254:2"), way("10.6"), way("gre0:255")];
    assert_eq!(paths.iter().map(|p| p.weight).collect::<Vec<_>>(), [2, 1, 255]);
    assert_eq!(paths[1].way, PathWay::Via("10.0.0.6".parse().unwrap()));
    assert_eq!(paths[2].way, PathWay::Interface("gre0".into()));
    let route = RouteSpec { to: IpNet::default(), target: RouteTarget::Paths(paths) };
    let told = "add net default: ecmp 203.0.113.254:2 10.6 gre0:255".into();
    let op = Op::AddRoute { route };
    let text = "add default -ecmp 203.0.113.254:2 10.6 gre0:255";
    assert_eq!(parsed(text), Command::Change { op: op.clone(), told });
    let json = serde_json::to_string(&op).unwrap();
    assert!(json.contains(r#"{"paths":[{"via":"203.0.113.254","weight":2},{"via":"10.0.0.6"}"#));
    assert_eq!(serde_json::from_str::<Op>(&json).unwrap(), op);
    let six = [way("2001:db8::1"), way("[2001:db8::2]:3")];
    assert_eq!(six.each_ref().map(ToString::to_string), ["2001:db8::1", "[2001:db8::2]:3"]);
    assert_eq!(six[1].way, PathWay::Via("2001:db8::2".parse().unwrap()));
    let Command::Change { op: Op::AddRoute { route }, .. } =
        parsed("add default -ecmp 2001:db8::1 [2001:db8::2]:3 gre0")
    else {
        panic!()
    };
    assert_eq!(route.to, ip::everything(Family::V6));
    for (text, why) in [
        ("add default -ecmp 10.6:0 10.7", "10.6:0"),
        ("add default -ecmp 10.6:256 10.7", "10.6:256"),
        ("add default 10.5 -ecmp 10.6 10.7", "-ecmp"),
        ("add default -ecmp 10.6 -interface gre0", "-ecmp"),
        ("add default -ecmp [2001:db8::1]:0 2001:db8::2", "weight"),
    ] {
        let error = parse(&words(text)).unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
    assert_eq!(
        table([several()].iter()),
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
        table(routes.iter()),
        "Destination  Gateway        Flags  Interface   Mtu\n\
         default      203.0.113.254  UGS    en1        1500\n\
         10.0.0.0/8   -              UC     en0        1500\n\
         12.0.0.2     10.0.0.9       GHS    -             -\n"
    );
    assert_eq!(table([].iter()), "no routes\n");
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
