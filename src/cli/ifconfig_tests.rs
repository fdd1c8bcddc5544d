//! Lines and what they mean; views and how they print.
#![allow(clippy::unwrap_used)]

use super::print::*;
use super::*;
use crate::cli::words::line as words;
use crate::model::view::*;

fn ops(text: &str) -> Vec<Op> {
    match parse(&words(text)).unwrap_or_else(|e| panic!("{text}: {e}")) {
        Command::Change { ops, .. } => ops,
        other => panic!("{text}: {other:?}"),
    }
}

fn address_op(name: &str, address: &str, len: Option<u8>, peer: Option<&str>, alias: bool) -> Op {
    Op::SetAddress {
        name: name.into(),
        address: address.parse().unwrap(),
        prefix_len: len,
        peer: peer.map(|p| p.parse().unwrap()),
        alias,
    }
}

fn interface_op(name: &str) -> Op {
    Op::SetInterface { name: name.into(), change: InterfaceChange::default() }
}

fn gre_op(
    name: &str,
    key: Option<(Option<u32>, Option<u32>)>,
    checksum: Option<bool>,
    sequence: Option<bool>,
    sequence_resync: Option<u16>,
) -> Op {
    let key = key.map(|(inward, outward)| GreKeys { inward, outward });
    Op::SetGre { name: name.into(), checksum, key, sequence, sequence_resync }
}

fn udp_op(port: u16, source: Option<u16>, checksum: bool) -> Op {
    Op::SetUdp { name: "gre0".into(), udp: Some(UdpSpec { port, source, checksum }) }
}

/// `interface_op` with some of its fields set.
macro_rules! set {
    ($name:literal, $($field:ident: $value:expr),+) => {{
        let mut op = interface_op($name);
        if let Op::SetInterface { change, .. } = &mut op { $(change.$field = Some($value);)+ }
        op
    }};
}

#[test]
fn router_advertisements_take_what_follows_of_their_numbers() {
    let set = |advertise| Op::SetAdvertise { name: "en0".into(), advertise };
    let usual = AdvertiseSpec::default();
    assert_eq!(ops("en0 advertise"), [set(Some(usual))]);
    let all = AdvertiseSpec { interval: 30, lifetime: 0, valid: 600, preferred: 300 };
    assert_eq!(ops(&format!("en0 advertise {all}")), [set(Some(all))], "as printed");
    assert_eq!(ops("en0 -advertise"), [set(None)]);
    let both = ops("en0 advertise lifetime 0 up");
    assert_eq!(both[0], set(Some(AdvertiseSpec { lifetime: 0, ..usual })));
    assert_eq!(both.len(), 2);
    assert!(parse(&words("en0 advertise interval")).is_err());
}

#[test]
fn doors_are_one_op_and_networks_are_all_that_follow() {
    let door = |rpf, allow: Option<&[&str]>, port: Option<&str>| Op::SetDoor {
        name: "gre0".into(),
        rpf,
        allow: allow.map(|nets| nets.iter().map(|net| net.parse().unwrap()).collect()),
        port: port.map(str::to_owned),
    };
    let strict = Some(ReversePath::Strict);
    let nets: Option<&[&str]> = Some(&["10.0.0.25/32", "2001:db8::/64"]);
    let all = "gre0 port en1 rpf strict allow 10.0.0.25/32 2001:db8::/64";
    assert_eq!(ops(all), [door(strict, nets, Some("en1"))]);
    let off = Some(ReversePath::Off);
    assert_eq!(ops("gre0 -port -allow rpf off"), [door(off, Some(&[]), Some(""))]);
    assert_eq!(ops("gre0 rpf loose"), [door(Some(ReversePath::Loose), None, None)]);
    for bad in ["gre0 rpf maybe", "gre0 allow", "gre0 allow up", "gre0 port"] {
        assert!(parse(&words(bad)).is_err(), "{bad}");
    }
}

fn endpoints(name: &str, local: &str, remote: &str) -> Op {
    let (local, remote) = (local.parse().unwrap(), remote.to_owned().try_into().ok());
    Op::SetEndpoints { name: name.into(), local, remote }
}

fn nbma(inner: &str, outer: Option<&str>) -> Op {
    let (inner, outer) = (inner.parse().unwrap(), outer.map(|outer| outer.parse().unwrap()));
    Op::SetNbma { name: "gre0".into(), inner, outer }
}

#[test]
fn lines_and_their_changes() {
    let create = |name: &str| Op::Create { name: name.into() };
    let pair = |name| address_op(name, "12.0.0.1", None, Some("12.0.0.2"), false);
    let delete = Op::DeleteAddress { name: "en0".into(), address: "10.0.0.1".parse().unwrap() };
    let cases = [
        ("gre0 create", vec![create("gre0")]),
        ("gre create", vec![create("gre")]),
        ("en0.20 create", vec![create("en0.20")]),
        ("gre0 destroy", vec![Op::Destroy { name: "gre0".into() }]),
        ("gre0 12.1 12.2 link1", vec![pair("gre0"), set!("gre0", link1: true)]),
        ("gre0 inet 12.1 12.2", vec![pair("gre0")]),
        ("ipip0 12.1 12.2", vec![pair("ipip0")]),
        ("gre0 tunnel 10.25 10.163", vec![endpoints("gre0", "10.0.0.25", "10.0.0.163")]),
        (
            "gre0 tunnel 10.25 far.example.net resolve 30",
            vec![
                endpoints("gre0", "10.0.0.25", "far.example.net"),
                set!("gre0", resolve_interval: 30),
            ],
        ),
        (
            "gre0 12.1 tunnel 10.25 any nbma 12.2 10.163 -nbma 12.3",
            vec![
                Op::SetEndpoints {
                    name: "gre0".into(),
                    local: "10.0.0.25".parse().unwrap(),
                    remote: None,
                },
                nbma("12.0.0.2", Some("10.0.0.163")),
                nbma("12.0.0.3", None),
                address_op("gre0", "12.0.0.1", None, None, false),
            ],
        ),
        ("gre0 -learn", vec![set!("gre0", learn: false)]),
        ("gre0 deletetunnel", vec![Op::ClearEndpoints { name: "gre0".into() }]),
        (
            "gre0 10.1 10.25 link1 -link0",
            vec![
                address_op("gre0", "10.0.0.1", None, Some("10.0.0.25"), false),
                set!("gre0", link0: false, link1: true),
            ],
        ),
        (
            "gre0 create link1 tunnel 10.25 10.163 12.1 12.2 mtu 1400",
            vec![
                create("gre0"),
                pair("gre0"),
                endpoints("gre0", "10.0.0.25", "10.0.0.163"),
                set!("gre0", link1: true, mtu: 1400),
            ],
        ),
        ("en0 10.1", vec![address_op("en0", "10.0.0.1", None, None, false)]),
        ("en0 10.1/24", vec![address_op("en0", "10.0.0.1", Some(24), None, false)]),
        (
            "en1 203.0.113.1 netmask 255.255.255.0",
            vec![address_op("en1", "203.0.113.1", Some(24), None, false)],
        ),
        ("en0 10.1 netmask 0xffff0000", vec![address_op("en0", "10.0.0.1", Some(16), None, false)]),
        ("en0 10.1 prefixlen 30 alias", vec![address_op("en0", "10.0.0.1", Some(30), None, true)]),
        ("en0 alias 10.1", vec![address_op("en0", "10.0.0.1", None, None, true)]),
        ("en0 10.1 -alias", vec![delete.clone()]),
        ("en0 10.1 delete", vec![delete]),
        ("en0 up", vec![set!("en0", up: true)]),
        ("gre0 12.1 12.2 down", vec![pair("gre0"), set!("gre0", up: false)]),
        ("gre0 mtu 0", vec![set!("gre0", mtu: 0)]),
        ("gre0 link0 -link1", vec![set!("gre0", link0: true, link1: false)]),
        (
            "gre0 ttl 32 dscp 46 df copy",
            vec![set!("gre0", ttl: 32, dscp: Dscp::Fixed(46), df: OuterDf::Copy)],
        ),
        ("gre0 key 42", vec![gre_op("gre0", Some((Some(42), Some(42))), None, None, None)]),
        ("gre0 key 0x1 2", vec![gre_op("gre0", Some((Some(1), Some(2))), None, None, None)]),
        (
            "gre0 key 7 12.1 12.2 checksum",
            vec![pair("gre0"), gre_op("gre0", Some((Some(7), Some(7))), Some(true), None, None)],
        ),
        (
            "gre0 -key -checksum -sequence resync 0",
            vec![gre_op("gre0", Some((None, None)), Some(false), Some(false), Some(0))],
        ),
        (
            "gre0 sequence mtu 1400",
            vec![gre_op("gre0", None, None, Some(true), None), set!("gre0", mtu: 1400)],
        ),
        ("gre0 udp 4754", vec![udp_op(4754, None, true)]),
        ("gre0 udp 4754 from flow sum", vec![udp_op(4754, None, true)]),
        ("gre0 udp 9 nosum from 50001", vec![udp_op(9, Some(50_001), false)]),
        (
            "gre0 -udp encaplimit 4",
            vec![
                Op::SetUdp { name: "gre0".into(), udp: None },
                set!("gre0", encaplimit: EncapLimit::Fixed(4)),
            ],
        ),
        ("gre0 encaplimit off", vec![set!("gre0", encaplimit: EncapLimit::Off)]),
        ("gre0 -pmtu", vec![set!("gre0", pmtu: false)]),
        ("gre0 -reassemble", vec![set!("gre0", reassemble: false)]),
        ("gre0 reassemble", vec![set!("gre0", reassemble: true)]),
        ("gre0 dscp copy df set", vec![set!("gre0", dscp: Dscp::Copy, df: OuterDf::Set)]),
    ];
    for (text, expected) in cases {
        assert_eq!(ops(text), expected, "{text}");
    }
}

#[test]
fn lines_that_ask() {
    let show = |name: Option<&str>| Command::Show { name: name.map(str::to_owned) };
    for (text, expected) in [
        ("", show(None)),
        ("-a", show(None)),
        ("-l", Command::List),
        ("gre0", show(Some("gre0"))),
        ("gre0 inet", show(Some("gre0"))),
    ] {
        assert_eq!(parse(&words(text)).unwrap(), expected, "{text}");
    }
}

#[test]
fn lines_that_make_no_sense_say_why() {
    for (text, why) in [
        ("gre0 tunnel 10.25", "outer destination"),
        ("gre0 tunnel", "`tunnel` needs"),
        ("gre0 frobnicate", "frobnicate"),
        ("gre0 12.1 12.2 12.3", "12.3"),
        ("gre0 inet6 fe80::1%en0", "IPv6"),
        ("gre0 inet6 12.1", "IPv6"),
        ("gre0 inet 2001:db8::1", "IPv4"),
        ("gre0 2001:db8::1/129", "129"),
        ("en0 inet6 2001:db8::1/64 prefixlen 64", "twice"),
        ("en0 inet6 2001:db8::1 netmask 255.0.0.0", "prefixlen"),
        ("en0 inet6 2001:db8::1 prefixlen 129", "0 to 32"),
        ("en0 10.1/40", "10.1/40"),
        ("en0 10.1/8 netmask 255.0.0.0", "twice"),
        ("en0 10.1 netmask 255.0.255.0", "contiguous"),
        ("en0 10.1 prefixlen 33", "32 at most"),
        ("en0 netmask 255.0.0.0", "needs an address"),
        ("en0 10.1 alias -alias", "exclude"),
        ("gre0 tunnel 10.1 10.2 deletetunnel", "exclude"),
        ("gre0 mtu big", "big"),
        ("gre0 mtu 70000", "70000"),
        ("gre0 ttl 300", "300"),
        ("gre0 key", "`key` needs"),
        ("gre0 key 12.1", "12.1"),
        ("gre0 key 4294967296", "32 bits"),
        ("gre0 key 0x+1", "0x+1"),
        ("gre0 resync soon", "seconds"),
        ("gre0 udp", "`udp` needs"),
        ("gre0 udp 65536", "1 to 65535"),
        ("gre0 udp 4754 from", "`from` needs"),
        ("gre0 udp 4754 from here", "1 to 65535"),
        ("gre0 encaplimit 256", "0 to 255"),
        ("gre0 df maybe", "copy"),
        ("gre0 destroy up", "alone"),
        ("gre create 12.1 12.2", "second command"),
        ("-x", "-x"),
        ("-a gre0", "gre0"),
    ] {
        let error = parse(&words(text)).unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn a_tunnel_prints_as_in_netbsd() {
    let view: InterfaceView = serde_json::from_value(serde_json::json!({
        "name": "gre0", "index": 3, "kind": "gre", "mtu": 1476, "mac": null,
        "flags": ["UP", "POINTOPOINT", "RUNNING", "LINK0", "LINK1", "MULTICAST"],
        "addresses": [{"address": "12.0.0.1", "prefix_len": 8, "peer": "12.0.0.2"}],
        "tunnel": {
            "kind": "gre", "local": "10.0.0.25", "remote": "10.0.0.163",
            "ttl": 64, "dscp": "copy", "df": "set",
            "underlay": {"route": "10.0.0.0/8", "interface": "en0",
                         "next_hop": "10.0.0.163", "state": "reachable"}
        },
        "traffic": {"rx_packets": 0, "rx_bytes": 0, "tx_packets": 0, "tx_bytes": 0,
                    "rx_dropped": 0, "tx_dropped": 0}
    }))
    .unwrap();
    assert_eq!(
        render(&view),
        "gre0: flags=0xb051<UP,POINTOPOINT,RUNNING,LINK0,LINK1,MULTICAST> mtu 1476\n\
         \ttunnel inet 10.0.0.25 --> 10.0.0.163\n\
         \touter ttl 64 dscp copy df set\n\
         \tunderlay 10.0.0.0/8 via 10.0.0.163 dev en0 (reachable)\n\
         \tinet 12.0.0.1 --> 12.0.0.2 netmask 0xff000000\n"
    );
}

#[test]
fn a_far_end_that_moves_says_how_and_is_any_until_it_is_known() {
    let any = ops("gre0 tunnel 10.25 any key 7 learn");
    let expected =
        Op::SetEndpoints { name: "gre0".into(), local: "10.0.0.25".parse().unwrap(), remote: None };
    assert_eq!((&any[0], any.len()), (&expected, 3));
    assert!(parse(&words("gre0 tunnel 10.25 a_b")).is_err());
    let lines = |far: FarView| {
        let mut out = String::new();
        render_far(&mut out, &far);
        out
    };
    let learned = FarView { found: true, moves: 2, refused: 1, ..FarView::default() };
    assert_eq!(lines(learned), "\tfar end learned (moves 2 refused 1)\n");
    let named = FarView { name: Some("far.example".into()), ..FarView::default() };
    assert_eq!(lines(named), "\tfar end address of far.example, not known (moves 0 refused 0)\n");
}

#[test]
fn a_tunnel_that_does_not_run_says_why() {
    let counts = PathCounts { learned: 1, refused: 2, relayed: 3 };
    let tunnel = TunnelView {
        kind: "gre".into(),
        local: None,
        remote: None,
        far: None,
        ttl: 64,
        dscp: "46".into(),
        ecn: "normal".into(),
        df: "copy".into(),
        mss: "off".into(),
        udp: "4754 nosum".into(),
        encaplimit: "4".into(),
        pmtu: false,
        reassemble: false,
        path: OuterPathView { mtu: Some(1400), unreachable: true, counts },
        options: "key in 1 out 2 checksum sequence".into(),
        allow: Vec::new(),
        port: None,
        underlay: None,
        reason: Some("no outer addresses".into()),
        liveness: None,
    };
    let mut out = String::new();
    render_tunnel(&mut out, &tunnel);
    assert_eq!(
        out,
        "\touter ttl 64 dscp 46 df copy\n\tgre key in 1 out 2 checksum sequence\n\
         \tudp 4754 nosum\n\tencaplimit 4\n\
         \t-pmtu\n\
         \t-reassemble\n\
         \tpath mtu 1400, not reached (ICMP: learned 1 refused 2 relayed 3)\n\
         \tnot running: no outer addresses\n"
    );
}

#[test]
fn a_port_prints_as_in_netbsd() {
    let view = InterfaceView {
        name: "en0".into(),
        index: 1,
        kind: "port".into(),
        flags: ["UP", "BROADCAST", "RUNNING", "MULTICAST"].map(String::from).into(),
        mtu: 1500,
        mac: Some("02:00:00:00:00:01".parse().unwrap()),
        addresses: vec![AddressView {
            address: "10.0.0.1".parse().unwrap(),
            prefix_len: 8,
            peer: None,
            broadcast: Some("10.255.255.255".parse().unwrap()),
        }],
        advertise: None,
        rpf: "off".into(),
        tunnel: None,
        traffic: Default::default(),
    };
    assert_eq!(
        render(&view),
        "en0: flags=0x8043<UP,BROADCAST,RUNNING,MULTICAST> mtu 1500\n\
         \taddress: 02:00:00:00:00:01\n\
         \tinet 10.0.0.1 netmask 0xff000000 broadcast 10.255.255.255\n"
    );
}

#[test]
fn ipv6_addresses_are_lines_of_their_own() {
    for (address, len, text) in [
        ("2001:db8::1", 64, "inet6 2001:db8::1 prefixlen 64"),
        ("fe80::1", 64, "inet6 fe80::1%en0 prefixlen 64"),
    ] {
        let address = address.parse().unwrap();
        let view = AddressView { address, prefix_len: len, peer: None, broadcast: None };
        assert_eq!(inet("en0", &view), text);
    }
}

#[test]
fn masks_of_every_length() {
    for (len, mask) in
        [(0, "0x00000000"), (1, "0x80000000"), (24, "0xffffff00"), (32, "0xffffffff")]
    {
        let address = "10.0.0.1".parse().unwrap();
        let view = AddressView { address, prefix_len: len, peer: None, broadcast: None };
        assert!(inet("en0", &view).ends_with(mask), "{len}");
    }
}

#[test]
fn far_ends_are_watched_in_these_words() {
    let ops = |text: &str| ops(&format!("gre0 {text}"));
    let timing = |interval: &str, retries, up_after| Timing {
        interval: interval.parse().unwrap(),
        retries,
        up_after,
    };
    let keepalive = |keepalive| vec![Op::SetKeepalive { name: "gre0".into(), keepalive }];
    assert_eq!(ops("keepalive"), keepalive(Some(timing("10s", 3, 2))));
    assert_eq!(ops("keepalive 5 4"), keepalive(Some(timing("5s", 4, 2))));
    assert_eq!(ops("keepalive 500ms 4 1"), keepalive(Some(timing("500ms", 4, 1))));
    assert_eq!(ops("-keepalive"), keepalive(None));
    let probe = |timing, to: Option<&str>, size| {
        let to = to.map(|to| to.parse().unwrap());
        vec![Op::SetProbe { name: "gre0".into(), probe: Some(ProbeSpec { timing, to, size }) }]
    };
    assert_eq!(ops("probe"), probe(Timing::default(), None, true));
    assert_eq!(ops("probe to 12.2 1 5 nosize"), probe(timing("1s", 5, 2), Some("12.0.0.2"), false));
    assert_eq!(ops("probe to fd00::2"), probe(Timing::default(), Some("fd00::2"), true));
    assert_eq!(ops("-probe"), vec![Op::SetProbe { name: "gre0".into(), probe: None }]);
    // An address after it is an address.
    let both = ops("keepalive 12.1 12.2");
    assert!(matches!(both[..], [Op::SetAddress { .. }, Op::SetKeepalive { .. }]), "{both:?}");
    for bad in
        ["keepalive 0", "keepalive 10x", "keepalive 10 256", "probe to", "probe to x", "nosize"]
    {
        assert!(parse(&words(&format!("gre0 {bad}"))).is_err(), "{bad}");
    }
}

#[test]
fn what_is_known_of_a_far_end_is_shown() {
    let check = |rtt| CheckView {
        interval: "500ms".parse().unwrap(),
        retries: 3,
        up_after: 2,
        state: "up".into(),
        sent: 9,
        received: 7,
        lost: 1,
        rtt,
    };
    let rtt = RttView { last_us: 1500, min_us: 900, mean_us: 1200, max_us: 2000, jitter_us: 50 };
    let view = LivenessView {
        state: "up".into(),
        seconds: 61,
        transitions: 2,
        keepalive: Some(check(None)),
        probe: Some(crate::model::view::ProbeView {
            to: "12.0.0.2".parse().unwrap(),
            check: check(Some(rtt)),
            largest: Some(1400),
        }),
    };
    let mut out = String::new();
    render_liveness(&mut out, &view);
    assert_eq!(
        out,
        "\tfar end up for 61s, 2 changes\n\
         \tkeepalive 500ms 3 2: up, sent 9 received 7 lost 1\n\
         \tprobe to 12.0.0.2 500ms 3 2: up, sent 9 received 7 lost 1\n\
         \t  rtt 1.500 ms, min/avg/max/jitter 0.900/1.200/2.000/0.050 ms\n\
         \t  largest packet that passes 1400\n"
    );
    // As JSON it comes back the same: what the socket carries.
    let json = serde_json::to_string(&view).unwrap();
    assert_eq!(serde_json::from_str::<LivenessView>(&json).unwrap(), view);
}
