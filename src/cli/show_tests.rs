//! Tables, letter by letter.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::model::view::{DropView, OriginView, StageView, Traffic, UnderlayView};

fn gre0(underlay: Option<UnderlayView>, reason: Option<&str>) -> InterfaceView {
    let flags: &[&str] = if reason.is_none() { &["UP", "RUNNING"] } else { &["UP"] };
    InterfaceView {
        name: "gre0".into(),
        index: 3,
        kind: "gre".into(),
        flags: flags.iter().map(|f| (*f).to_owned()).collect(),
        mtu: 1476,
        mac: None,
        addresses: vec![AddressView {
            address: "12.0.0.1".parse().unwrap(),
            prefix_len: 32,
            peer: Some("12.0.0.2".parse().unwrap()),
            broadcast: None,
        }],
        advertise: None,
        rpf: "off".into(),
        tunnel: Some(TunnelView {
            options: String::new(),
            kind: "gre".into(),
            local: Some("10.0.0.25".parse().unwrap()),
            remote: Some("10.0.0.163".parse().unwrap()),
            far: None,
            ttl: 64,
            dscp: "copy".into(),
            ecn: "normal".into(),
            df: "set".into(),
            mss: "off".into(),
            udp: String::new(),
            encaplimit: "off".into(),
            pmtu: true,
            reassemble: true,
            path: Default::default(),
            allow: Vec::new(),
            port: None,
            underlay,
            reason: reason.map(str::to_owned),
            liveness: None,
        }),
        traffic: Traffic { rx_packets: 5, tx_packets: 6, ..Traffic::default() },
    }
}

#[test]
fn tunnels_show_outer_inner_and_underlay() {
    let underlay = UnderlayView {
        route: "10.0.0.0/8".parse().unwrap(),
        interface: "en0".into(),
        next_hop: "10.0.0.163".parse().unwrap(),
        state: "reachable".into(),
    };
    let expected = "\
NAME  KIND  STATE     MTU  OUTER                     INNER                  UNDERLAY                                           RX PACKETS  TX PACKETS
gre0  gre   running  1476  10.0.0.25 --> 10.0.0.163  12.0.0.1 --> 12.0.0.2  10.0.0.0/8 via 10.0.0.163 dev en0 (reachable)           5           6
";
    let shown = tunnels(&[gre0(Some(underlay), None)]);
    assert_eq!(
        shown.split_whitespace().collect::<Vec<_>>(),
        expected.split_whitespace().collect::<Vec<_>>()
    );
    let broken = tunnels(&[gre0(None, Some("no route to 10.0.0.163"))]);
    assert!(broken.contains(" up ") && broken.contains("none: no route to 10.0.0.163"), "{broken}");
    assert_eq!(tunnels(&[]), "no tunnels\n");
}

#[test]
fn interfaces_show_state_addresses_and_traffic() {
    let shown = interfaces(&[gre0(None, None)]);
    let mut lines = shown.lines();
    let (head, row) = (lines.next().unwrap(), lines.next().unwrap());
    assert!(row.starts_with("gre0  gre   running  1476  12.0.0.1 --> 12.0.0.2 "), "{row}");
    // A number ends where its title ends.
    let end = head.find("RX PACKETS").unwrap() + "RX PACKETS".len();
    assert_eq!(row[..end].chars().last(), Some('5'));
}

#[test]
fn drops_show_reasons_and_both_equations() {
    let view = DropsView {
        drops: vec![DropView {
            origin: "en0".into(),
            reason: "no_route".into(),
            text: "No route covers the destination.".into(),
            packets: 12,
        }],
        origins: vec![OriginView {
            origin: "en0".into(),
            received: 100,
            fragments_created: 0,
            sent: 80,
            dropped: 12,
            punted: [("arp".to_owned(), 7), ("resolve".to_owned(), 1)].into(),
            handed: 0,
            taken: 0,
            merged: 0,
            held: 0,
            imbalance: 0,
        }],
        control: ControlView {
            punts_taken: 8,
            originated: 3,
            injected: 5,
            consumed: 5,
            dropped: [("held_full".to_owned(), 1)].into(),
            ..ControlView::default()
        },
    };
    assert_eq!(
        render_drops(&view),
        "\
ORIGIN  REASON    PACKETS  WHY
en0     no_route       12  No route covers the destination.

Where packets went: received + fragments created = sent + dropped + punted + merged + held
ORIGIN  RECEIVED  FRAGMENTS CREATED  SENT  DROPPED  PUNTED  MERGED  HELD  IMBALANCE
en0          100                  0    80       12       8       0     0          0

Control: 8 punts taken + 3 originated + 0 fragments created
       = 5 injected + 5 consumed + 1 dropped + 0 held   (imbalance 0)
  dropped for held_full: 1
"
    );
    assert!(render_drops(&DropsView::default()).starts_with("no packet was dropped\n"));
}

#[test]
fn ports_show_link_and_device_counters() {
    let up = PortView {
        name: "en0".into(),
        device: "net_tap0,iface=lan0".into(),
        driver: "net_tap".into(),
        link_up: true,
        speed_mbps: 10_000,
        mtu: 1500,
        rx_queues: 1,
        tx_queues: 2,
        rx_missed: 9,
        ..PortView::default()
    };
    let down = PortView { name: "en1".into(), ..PortView::default() };
    let shown = ports(&[up, down]);
    assert!(
        shown.contains("up 10000 Mbit/s  1500  1 rx 2 tx  net_tap  net_tap0,iface=lan0  none"),
        "{shown}"
    );
    assert!(shown.lines().nth(2).unwrap().contains(" down "), "{shown}");
    assert_eq!(shown.lines().count(), 7, "two tables: {shown}");
    assert_eq!(ports(&[]), "no ports\n");
}

#[test]
fn workers_routes_and_neighbours() {
    let worker = WorkerView {
        core: Some(1),
        idle: "poll".into(),
        queues: vec!["en0/0".into(), "en1/0".into()],
        packets: 640,
        bursts: 20,
        burst_fill: 32.0,
        busy: 0.254,
        ticks_per_packet: 99.6,
        stages: vec![StageView {
            stage: "lookup".into(),
            ticks: 820,
            packets: 100,
            ticks_per_packet: 8.2,
        }],
        ..WorkerView::default()
    };
    let shown = workers(&[worker]);
    let row: Vec<_> = shown.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(
        row,
        ["0", "1", "poll", "en0/0", "en1/0", "640", "20", "32.0", "25.4", "%", "100", "0"]
    );
    let row: Vec<_> = shown.lines().nth(4).unwrap().split_whitespace().collect();
    assert_eq!(row, ["0", "lookup", "8.2", "100"]);
    let route = RouteView {
        to: "0.0.0.0/0".parse().unwrap(),
        gateway: Some("203.0.113.254".parse().unwrap()),
        interface: None,
        flags: "GS".into(),
        origin: "static".into(),
        mtu: None,
        paths: Vec::new(),
    };
    assert_eq!(
        routes(&[route]),
        "DESTINATION  GATEWAY        INTERFACE  FLAGS  ORIGIN  MTU\n\
         0.0.0.0/0    203.0.113.254  -          GS     static    -\n"
    );
    let neighbour = NeighbourView {
        address: "10.0.0.163".parse().unwrap(),
        mac: Some("02:00:00:00:00:63".parse().unwrap()),
        interface: "en0".into(),
        state: "reachable".into(),
        expires_s: Some(30),
        held: 0,
        note: None,
    };
    assert_eq!(
        neighbours(&[neighbour]),
        "ADDRESS     MAC                INTERFACE  STATE      EXPIRES  HELD  NOTE\n\
         10.0.0.163  02:00:00:00:00:63  en0        reachable     30 s     0\n"
    );
}
