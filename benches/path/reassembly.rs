//! Tunnel packets in two pieces: how many fragments a second one worker puts
//! together, over the source of the bench around it.

use std::sync::Arc;

use greyhound::ids::{IfId, NextHopId, TableId};
use greyhound::tables::adjacency::Encapsulation;
use greyhound::tables::tunnel::{Received, Tunnel};
use greyhound::tables::{Tables, TablesConfig};

use super::{
    Bench, FAR, FRAMES, Random, SOURCE, base, decap_tables, frame, header, in_20, sized, source,
    spread, warm_window,
};

/// Ends of the tunnels over IPv6: far ones are counted up from `FAR6`.
const SOURCE6: u128 = 0x2001_0db8_0001_0000_0000_0000_0000_0001;
const FAR6: u128 = 0x2001_0db8_0002_0000_0000_0000_0000_0001;

fn decap6_tables(tables: &Tables, tunnels: u32) {
    let guard = tables.pin();
    let mut interfaces = tables.interfaces.load(&guard).clone();
    interfaces.own6.push(SOURCE6);
    tables.interfaces.replace(interfaces, &guard);
    tables.fib6.insert(SOURCE6, 128, NextHopId(9)).unwrap();
    for n in 0..tunnels {
        let id = 16 + n;
        let (local6, remote6) = (SOURCE6, FAR6 + u128::from(n));
        let tunnel =
            Tunnel { interface: IfId(id), up: true, local6, remote6, resync: 1, ..Tunnel::NONE };
        tables.tunnels.set(id as usize, tunnel.finished(), &guard);
        let (source, destination) =
            (std::net::Ipv6Addr::from(remote6), std::net::Ipv6Addr::from(local6));
        let key = tables.decap.key_of(&Received {
            table: TableId(0),
            source: source.into(),
            destination: destination.into(),
            protocol: 47,
            key: None,
            port: 0,
        });
        tables.decap.insert(key, id, &guard).unwrap();
    }
}

const TUNNELS: u32 = 1024;
/// Datagrams that are under way at the same time.
const UNDER_WAY: usize = 16;

/// One piece of the payload of a tunnel packet, from `offset` on.
fn piece(far: u32, id: u32, part: &[u8], offset: usize, more: bool, six: bool) -> Vec<u8> {
    if six {
        let mut packet = vec![0x60, 0, 0, 0, 0, 0, 44, 64];
        packet[4..6].copy_from_slice(&(part.len() as u16 + 8).to_be_bytes());
        packet.extend((FAR6 + u128::from(far)).to_be_bytes());
        packet.extend(SOURCE6.to_be_bytes());
        packet.extend([47, 0]);
        packet.extend((offset as u16 | u16::from(more)).to_be_bytes());
        packet.extend(id.to_be_bytes());
        return frame(&[&packet, part].concat());
    }
    let mut packet = vec![0; 20];
    header(FAR + far, SOURCE, 47, part.len(), false).emit(&mut packet).unwrap();
    packet[4..6].copy_from_slice(&(id as u16).to_be_bytes());
    packet[6..8].copy_from_slice(&((offset as u16 / 8) | (u16::from(more) << 13)).to_be_bytes());
    assert!(greyhound::wire::ipv4::fill_checksum(&mut packet));
    frame(&[&packet, part].concat())
}

/// GRE packets around datagrams of 1500 bytes, each in two pieces: as large as fits an
/// MTU of 1500, and the rest.
fn fragments(six: bool) -> Bench {
    let tables = Arc::new(Tables::new(TablesConfig {
        adjacencies: 64,
        tunnels: 2048,
        decap_keys: 2048,
        fib_groups: 64,
        fib6_groups: 64,
    }));
    base(&tables);
    match six {
        true => decap6_tables(&tables, TUNNELS),
        false => decap_tables(&tables, Encapsulation::Gre, TUNNELS),
    }
    let cut = if six { 1448 } else { 1480 };
    let mut random = Random(0x1234_5678_9abc_def1);
    let mut frames = Vec::new();
    for batch in 0..FRAMES / 2 / UNDER_WAY {
        let (mut heads, mut tails) = (Vec::new(), Vec::new());
        for n in 0..UNDER_WAY {
            let (far, id) = (random.next() % TUNNELS, (batch * UNDER_WAY + n) as u32);
            let inner = sized(source(&mut random), in_20(&mut random), 1500);
            let payload = [&[0, 0, 8, 0][..], &inner].concat();
            heads.push(piece(far, id, &payload[..cut], 0, true, six));
            tails.push(piece(far, id, &payload[cut..], cut, false, six));
        }
        frames.append(&mut heads);
        frames.extend(tails.into_iter().rev());
    }
    Bench::new(tables, frames)
}

/// How many fragments a second one worker puts together; everything counts, the
/// source's copy, too.
pub fn run(rounds: usize) {
    let mut benches = [("R4", 4, false), ("R6", 6, true)]
        .map(|(id, family, six)| (id, family, fragments(six), Vec::new()));
    for _ in 0..rounds {
        for (.., bench, rates) in &mut benches {
            rates.push(1e9 / warm_window(bench).1);
        }
    }
    for (id, family, bench, rates) in &mut benches {
        let io = bench.worker.io();
        assert_eq!(io.received, 2 * io.sent, "{id}: each two pieces are a packet");
        assert_eq!(bench.counters.imbalance(), 0, "{id}");
        let (middle, min, max) = spread(std::mem::take(rates));
        println!("{id} IPv{family} {middle:.0} [{min:.0}-{max:.0}]");
    }
}
