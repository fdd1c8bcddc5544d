//! What one turn of control may cost, whatever workers hand over.
#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;

use super::*;
use crate::exchange::{ExchangeConfig, WorkerEnd, exchange};
use crate::ids::PortId;
use crate::model::op::Op;
use crate::model::spec::PortSpec;
use crate::tables::TablesConfig;
use crate::wire::ETHERTYPE_ARP;
use crate::wire::arp::{ARP_LEN, ArpRepr};
use crate::wire::ipv4::Ipv4Repr;

const EN0: IfId = IfId(0);
const OWN: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

/// Control with one port, 203.0.113.1/24, and the workers' ends.
fn control(workers: usize) -> (Control, Vec<WorkerEnd>) {
    let spec: PortSpec =
        serde_json::from_value(serde_json::json!({"name": "en0", "device": "net_null0"})).unwrap();
    let port = PortFacts { spec, id: PortId(0), mac: Mac([2, 0, 0, 0, 0, 1]), max_mtu: 9000 };
    let room = TablesConfig {
        adjacencies: 1 << 14,
        tunnels: 1 << 13,
        decap_keys: 1 << 13,
        fib_groups: 64,
        fib6_groups: 64,
    };
    let exchanges = (0..workers).map(|_| exchange(ExchangeConfig { slots: 1024, room: 128 }));
    let (theirs, ours): (Vec<_>, Vec<_>) = exchanges.unzip();
    let counters = (0..workers).map(|_| Arc::new(WorkerCounters::new(64))).collect();
    let own = Arc::new(ControlCounters::default());
    let mut control = Control::new(Arc::new(Tables::new(room)), vec![port], ours, own, counters);
    let address = serde_json::json!({"op": "set-address", "name": "en0", "address": OWN,
        "prefix_len": 24});
    control.transact(&[serde_json::from_value(address).unwrap()], Duration::ZERO).unwrap();
    (control, theirs)
}

/// A worker punts an ARP frame.
fn punt(worker: &mut WorkerEnd, frame: &[u8]) {
    assert!(worker.punt(|slot| {
        slot.cause = Cause::Punt(PuntReason::Arp);
        slot.in_if = EN0;
        slot.bytes.fill(frame)
    }));
}

/// A router asks for our address, as routers do before they send.
fn asks(router: Ipv4Addr) -> Vec<u8> {
    let mac = Mac([2, 0, 0, 0, 1, router.octets()[3]]);
    let arp = ArpRepr::request(mac, router, OWN);
    let mut frame = [Mac::BROADCAST.0, mac.0].concat();
    frame.extend(ETHERTYPE_ARP.to_be_bytes());
    let mut body = [0; ARP_LEN];
    arp.emit(&mut body).unwrap();
    frame.extend(body);
    frame
}

#[test]
fn a_flood_of_one_workers_punts_leaves_the_others_their_turn() {
    let (mut control, mut workers) = control(3);
    // Not ARP: refused, at the cost of one punt each.
    (0..600).for_each(|_| punt(&mut workers[0], &[0; 14]));
    for quiet in &mut workers[1..] {
        (0..2).for_each(|_| punt(quiet, &[0; 14]));
    }
    assert_eq!(
        control.turn(Duration::ZERO),
        PUNTS_PER_TURN + 4,
        "a share of it, and all of theirs"
    );
    assert_eq!(control.turn(Duration::ZERO), PUNTS_PER_TURN);
    assert_eq!(control.turn(Duration::ZERO), 600 - 2 * PUNTS_PER_TURN);
    assert_eq!(control.turn(Duration::ZERO), 0);
    assert_eq!((control.counters.punts_taken.get(), control.counters.imbalance()), (604, 0));
}

/// Each of these ARP packets plans an adjacency for each tunnel by its router:
/// a turn ends when that was enough, however few packets it took.
#[test]
fn a_turn_ends_when_its_punts_have_changed_enough() {
    const TUNNELS: u32 = 1400;
    const ROUTERS: u8 = 4;
    let (mut control, mut workers) = control(1);
    let mut ops: Vec<Located> = Vec::new();
    for n in 0..ROUTERS {
        let router = Ipv4Addr::new(203, 0, 113, 10 + n);
        let route = serde_json::json!({"op": "add-route",
            "route": {"to": format!("100.{n}.0.0/16"), "target": {"via": router}}});
        ops.push(serde_json::from_value(route).unwrap());
        for k in 0..TUNNELS {
            let number = u32::from(n) * TUNNELS + k;
            let remote = Ipv4Addr::from(u32::from(Ipv4Addr::new(100, n, 0, 1)) + k);
            // Its inner far end gives it a route, and so an adjacency.
            let peer = Ipv4Addr::from(u32::from(Ipv4Addr::new(12, 0, 0, 2)) + number);
            let tunnel = serde_json::json!({"name": format!("gre{number}"), "kind": "gre",
                "local": OWN, "remote": remote, "address": "12.0.0.1", "peer": peer,
                "link1": true});
            let tunnel = serde_json::from_value(tunnel).unwrap();
            ops.push(Op::PutTunnel { tunnel }.into());
        }
    }
    control.transact(&ops, Duration::ZERO).unwrap();
    for n in 0..ROUTERS {
        punt(&mut workers[0], &asks(Ipv4Addr::new(203, 0, 113, 10 + n)));
    }
    let before = control.net.planned();
    assert_eq!(control.turn(Duration::ZERO), 3, "three routers' tunnels are over the limit");
    let planned = control.net.planned() - before;
    assert!((PLANNED_PER_TURN..PLANNED_PER_TURN + 2 * u64::from(TUNNELS)).contains(&planned));
    assert_eq!(control.turn(Duration::ZERO), 1, "the rest comes next");
    assert_eq!(control.turn(Duration::ZERO), 0);
}

/// Identifications of the IPv4 datagrams that control has handed to a worker.
fn sent_ids(worker: &mut WorkerEnd) -> Vec<u16> {
    let mut ids = Vec::new();
    while let Some(id) = worker.take(|slot| match (slot.kind, slot.bytes.get()) {
        (InjectKind::Originate, [0x45, _, _, _, a, b, ..]) => Some(u16::from_be_bytes([*a, *b])),
        _ => None,
    }) {
        ids.extend(id);
    }
    ids
}

#[test]
fn v4_04_errors_and_pings_count_through_controls_own_share() {
    let (mut control, mut workers) = control(3);
    let host = Ipv4Addr::new(203, 0, 113, 9);
    let lost = Ipv4Repr {
        src: host,
        dst: Ipv4Addr::new(198, 51, 100, 1),
        protocol: 17,
        ttl: 1,
        tos: 0,
        id: 7,
        df: false,
        payload_len: 8,
    };
    let mut bytes = [0; 28];
    lost.emit(&mut bytes).unwrap();
    for _ in 0..2 {
        assert!(workers[1].punt(|slot| {
            slot.cause = Cause::Notice(DropReason::TtlExpired);
            slot.in_if = EN0;
            slot.bytes.fill(&bytes)
        }));
    }
    control.turn(Duration::from_secs(1));
    let request = PingRequest {
        to: host.into(),
        from: None,
        ident: 1,
        sequence: 1,
        size: 0,
        ttl: 64,
        dont_fragment: false,
        timeout: Duration::from_secs(1),
    };
    control.ping(request, Duration::from_secs(1)).unwrap();
    // The fourth of four shares, and its second half.
    assert_eq!(sent_ids(&mut workers[0]), [49_153, 49_154, 57_344]);
    let last = first_identification(2, 3);
    assert!(last < 49_152 - 16_000, "the workers' shares end before: {last}");
}
