//! All tables at once, as control and the workers use them.

use std::sync::Arc;

use super::*;
use crate::ids::{IfId, NextHopId, TableId};
use adjacency::AdjacencyKind;
use tunnel::DecapKey;

fn small() -> Arc<Tables> {
    let config = TablesConfig {
        adjacencies: 256,
        tunnels: 64,
        decap_keys: 64,
        fib_groups: 4,
        fib6_groups: 64,
    };
    Arc::new(Tables::new(config))
}

#[test]
fn empty_tables_say_no() {
    let tables = small();
    let reader = tables.reader();
    let guard = reader.pin();
    let hop = tables.fib4.lookup(0x0a00_0001, &guard);
    assert_eq!(hop, NextHopId::NO_ROUTE);
    assert_eq!(tables.adjacencies.get(hop.index(), &guard).kind, AdjacencyKind::NoRoute);
    let key = DecapKey::ipv4(TableId(0), 1, 2, 47, None);
    assert_eq!(tables.decap.get(key, &guard), None);
    assert!(!tables.tunnels.get(3, &guard).up);
    assert!(tables.interfaces.load(&guard).ports.is_empty());
}

#[test]
fn default_tables_have_room_for_every_number() {
    let tables = Tables::default();
    assert_eq!(tables.adjacencies.capacity(), MAX_NEXT_HOPS);
    assert_eq!(tables.tunnels.capacity(), MAX_INTERFACES);
    assert_eq!(tables.fib4.stats().groups_total, 1 << 17);
    // Level 1, the groups and their counts, the map, three spines, and a pair of
    // sequence numbers for each tunnel.
    let map = (2 * MAX_INTERFACES) * 2 * 33;
    let spines = ((MAX_NEXT_HOPS + MAX_INTERFACES) / chunked::CHUNK + MAX_GROUPS) * 8;
    let sequences = MAX_INTERFACES * 16;
    // Of IPv6: level 1 and all jumps, but no group yet.
    let fib6 = (4 << 20) + (1 << 20) * 32;
    let fib4 = (64 << 20) + (128 << 20) + (2 << 17);
    assert_eq!(tables.bytes(), fib4 + fib6 + map + spines + sequences);
}

/// Control makes and unmakes tunnels, each with its adjacency, a host route
/// through it and a decapsulation key, and gives numbers away again as soon as
/// their limbo lets it. A worker must never follow a number to somebody else's
/// entry.
fn reference_race(time: Duration) {
    let tables = small();
    let address = |n: u32| 0x0a00_0000 | n << 8 | 1;
    let key = |n: u32| DecapKey::ipv4(TableId(0), n, 2, 47, None);
    {
        let guard = tables.pin();
        let drop_all = Adjacency::plain(AdjacencyKind::Blackhole, IfId(7));
        tables.adjacencies.set(1, drop_all, &guard);
        tables.fib4.insert(0x0a00_0000, 8, NextHopId(1)).unwrap();
    }
    let mut limbo = tables.limbo();
    let mut free: Vec<u32> = (2..8).collect();
    let mut live: Vec<(u32, u32)> = Vec::new();
    let write = |turn: u64| {
        {
            let guard = tables.pin();
            if let Some(number) = free.pop() {
                // One of three names at a time, so that routes need few groups.
                let name = (0..3).find(|n| live.iter().all(|(used, _)| used != n)).unwrap();
                let entry = Adjacency::plain(AdjacencyKind::Tunnel, IfId(name));
                tables.adjacencies.set(number as usize, entry, &guard);
                let tunnel = Tunnel { interface: IfId(name), up: true, ..Tunnel::default() };
                tables.tunnels.set(number as usize, tunnel, &guard);
                if tables.fib4.insert(address(name), 32, NextHopId(number)).is_ok() {
                    tables.decap.insert(key(name), number, &guard).unwrap();
                    live.push((name, number));
                } else {
                    free.push(number);
                }
            }
            if live.len() > 2 || turn.is_multiple_of(3) && !live.is_empty() {
                let (name, number) = live.remove(0);
                assert_eq!(tables.decap.remove(key(name), &guard), Some(number));
                assert_eq!(tables.fib4.remove(address(name), 32), Some(NextHopId(number)));
                limbo.retire(number, &guard);
                limbo.seal(&guard);
            }
            tables.generation.fetch_add(1, Ordering::Release);
        }
        tables.collect();
        free.extend(std::iter::from_fn(|| limbo.pop()));
    };
    let read = |_: u64, guard: &Guard| {
        for name in 0..3 {
            let hop = tables.fib4.lookup(address(name), guard);
            let adjacency = tables.adjacencies.get(hop.index(), guard);
            let expected = if hop == NextHopId(1) {
                (AdjacencyKind::Blackhole, IfId(7))
            } else {
                (AdjacencyKind::Tunnel, IfId(name))
            };
            assert_eq!((adjacency.kind, adjacency.out_if), expected, "{hop:?}");
            if let Some(tunnel) = tables.decap.get(key(name), guard) {
                let tunnel = tables.tunnels.get(tunnel as usize, guard);
                assert_eq!((tunnel.interface, tunnel.up), (IfId(name), true));
            }
        }
    };
    race(&tables.domain, time, write, read);
}

#[test]
fn numbers_lead_to_what_they_meant_when_looked_up() {
    reference_race(SHORT);
}

#[test]
fn slow_numbers_lead_to_what_they_meant_when_looked_up() {
    reference_race(LONG);
}
