//! Keepalives and probes: into their tunnel whatever routes say, and back to
//! control at a rate of their own.

use super::packets::{Datagram, frame};
use super::testbed::*;
use crate::datapath::PROBE_IDENT;
use crate::datapath::drop::DropReason;
use crate::datapath::punt::LIVENESS_RATE;
use crate::exchange::{Cause, InjectKind, PuntReason};
use crate::ids::{IfId, NextHopId};
use crate::tables::adjacency::{Adjacency, AdjacencyKind};

fn watch(bed: &Testbed, tunnel: IfId) {
    let guard = bed.tables.pin();
    let mut slot = *bed.tables.tunnels.get(tunnel.index(), &guard);
    (slot.keepalives, slot.probed) = (true, true);
    bed.tables.tunnels.set(tunnel.index(), slot, &guard);
}

/// GRE of no protocol type from the far end of gre0.
fn keepalive() -> Vec<u8> {
    Datagram::gre("198.51.100.2", "203.0.113.1", 0, 0, &[]).bytes()
}

fn arrive(bed: &mut Testbed, datagram: &[u8]) {
    let bytes = frame(EN1_MAC, ROUTER_MAC, 0x0800, datagram);
    assert_eq!(bed.pass(EN1, &bytes), Sent::new());
}

/// An echo reply to us of this identifier.
fn reply(ident: u16) -> Datagram {
    let [a, b] = ident.to_be_bytes();
    Datagram::new("10.9.0.2", "10.0.0.1", 1, vec![0, 0, 0, 0, a, b, 0, 1])
}

#[test]
fn a_keepalive_comes_back_to_control_with_its_tunnel() {
    let mut bed = Testbed::new();
    watch(&bed, GRE0);
    arrive(&mut bed, &keepalive());
    let told = bed.told();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].cause, Cause::Punt(PuntReason::Liveness));
    assert_eq!((told[0].in_if, &told[0].bytes), (GRE0, &keepalive()));
}

#[test]
fn a_flood_of_keepalives_is_cut_to_its_rate_and_keeps_nobody_else_out() {
    let mut bed = Testbed::new();
    watch(&bed, GRE0);
    let mut told = 0;
    for _ in 0..LIVENESS_RATE.burst + 7 {
        arrive(&mut bed, &keepalive());
        told += bed.told().len() as u64;
    }
    assert_eq!(told, LIVENESS_RATE.burst);
    assert_eq!(bed.drops(), [(DropReason::PuntRateLimited, 7)]);
    let ping = Datagram::new("10.0.0.163", "10.0.0.1", 1, vec![13, 0, 0, 0, 0, 0, 0, 0]);
    bed.pass(EN0, &ping.frame());
    assert_eq!(bed.told().len(), 1, "other ICMP has a rate of its own");
}

#[test]
fn answers_to_probes_are_those_with_our_identifier_out_of_a_probed_tunnel() {
    let mut bed = Testbed::new();
    let of = |bed: &mut Testbed, inner: &Datagram| {
        let outer = Datagram::gre("198.51.100.2", "203.0.113.1", 0, 0x0800, &inner.bytes());
        arrive(bed, &outer.bytes());
        let told = bed.told();
        assert_eq!(told.len(), 1);
        told[0].cause
    };
    let (probes, others) = (Cause::Punt(PuntReason::Liveness), Cause::Punt(PuntReason::LocalIcmp));
    assert_eq!(of(&mut bed, &reply(PROBE_IDENT)), others, "not probed");
    watch(&bed, GRE0);
    assert_eq!(of(&mut bed, &reply(PROBE_IDENT)), probes);
    assert_eq!(of(&mut bed, &reply(PROBE_IDENT ^ 1)), others);
    // From outside the tunnel.
    bed.pass(EN0, &reply(PROBE_IDENT).frame());
    assert_eq!(bed.told()[0].cause, others);
}

#[test]
fn what_is_for_a_tunnel_goes_into_it_by_no_route_and_into_no_other() {
    let mut bed = Testbed::new();
    let packet = Datagram::echo("10.0.0.1", "198.18.0.1", 8).bytes();
    // gre0's own adjacency: that of 20/8.
    let next_hop = {
        let guard = bed.tables.pin();
        bed.tables.fib4.lookup(20 << 24 | 1, &guard)
    };
    let into = |tunnel, next_hop| InjectKind::Into { tunnel, next_hop };
    assert!(bed.control.inject(into(GRE0, next_hop), &packet));
    let sent = bed.turns();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].1[14 + 24..], packet[..], "untouched, behind GRE");
    let dead = bed.adjacency(Adjacency::plain(AdjacencyKind::Unreachable, GRE0));
    for (tunnel, hop) in [
        (IPIP0, next_hop),
        (GRE0, dead),
        (GRE0, NextHopId::NO_ROUTE),
        (GRE0, NextHopId(NextHopId::GROUP)),
        (GRE0, NextHopId(u32::MAX)),
    ] {
        assert!(bed.control.inject(into(tunnel, hop), &packet));
        assert_eq!(bed.turns(), Sent::new(), "{hop:?}");
    }
    assert!(bed.control.inject(into(GRE0, next_hop), &[0x45; 3]));
    assert_eq!(bed.turns(), Sent::new(), "no datagram");
}
