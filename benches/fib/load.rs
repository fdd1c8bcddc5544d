//! F3: a full table from a file, as a start loads it: read, checked, one
//! transaction of a million routes into an empty gateway.

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use greyhound::config;
use greyhound::control::net::{Net, PortFacts};
use greyhound::ids::{Mac, NextHopId, PortId};
use greyhound::model::spec::{PortSpec, ReversePath};
use greyhound::tables::Tables;
use greyhound::tables::epoch::Domain;
use greyhound::tables::fib4::Fib4;
use greyhound::tables::fib6::Fib6;

use crate::report::{Bar, Row, Sample, resident};
use crate::work::{self, Random};

/// A gateway with one port and nothing else.
fn gateway() -> (Arc<Tables>, Net) {
    let tables = Arc::new(Tables::default());
    let spec = PortSpec {
        name: "en0".into(),
        device: "net_null0".into(),
        address: Vec::new(),
        mtu: 1500,
        mac: None,
        rx_queues: None,
        rpf: ReversePath::Off,
        advertise: None,
        up: true,
    };
    let port = PortFacts { spec, id: PortId(0), mac: Mac([2, 0, 0, 0, 0, 1]), max_mtu: 1500 };
    let net = Net::new(Arc::clone(&tables), vec![port]);
    (tables, net)
}

/// A configuration with a file of routes over eight gateways beside it.
fn write_files(folder: &Path, count: usize) -> PathBuf {
    let prefixes = work::ipv4(count, &mut Random::new());
    let mut lines = String::new();
    for (n, (address, len)) in prefixes.iter().enumerate() {
        let _ = writeln!(lines, "{}/{len} 10.0.1.{}", Ipv4Addr::from(*address), 2 + n % 8);
    }
    std::fs::write(folder.join("routes.txt"), lines).unwrap();
    let config = folder.join("gateway.toml");
    let text = "[[port]]\nname = \"en0\"\ndevice = \"net_null0\"\naddress = [\"10.0.1.1/24\"]\n\
                [[routes_file]]\npath = \"routes.txt\"\n";
    std::fs::write(&config, text).unwrap();
    config
}

/// What a start does with a configuration: seconds to read it, and seconds from
/// there to the last entry in the table.
fn start(config: &Path) -> (f64, f64, Net, Arc<Tables>) {
    let began = Instant::now();
    let config = config::load(config).unwrap();
    let ops = config::ops(&config.state);
    drop(config);
    let read = began.elapsed();
    let (tables, mut net) = gateway();
    let began = Instant::now();
    net.transact(&ops, &|_| false).unwrap();
    (read.as_secs_f64(), began.elapsed().as_secs_f64(), net, tables)
}

/// Loads in a row.
const LOADS: usize = 7;

/// Full tables, as a start loads them and without all that is around.
pub fn all() {
    let folder = std::env::temp_dir().join(format!("greyhound-fib-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let config = write_files(&folder, crate::IPV4);
    let (mut reads, mut transactions, mut sums, mut memory) = (vec![], vec![], vec![], 0.0);
    for _ in 0..LOADS {
        let before = resident();
        let (read, transaction, net, tables) = start(&config);
        memory = f64::max(memory, resident() - before);
        assert!(tables.fib4.stats().prefixes >= crate::IPV4);
        drop(net);
        reads.push(read);
        transactions.push(transaction);
        sums.push(read + transaction);
    }
    std::fs::remove_dir_all(&folder).unwrap();
    let routes = crate::IPV4;
    tell(format!("{routes} IPv4 routes: reading routes_file"), "s", &reads, Bar::None);
    tell(format!("{routes} IPv4 routes: one transaction"), "s", &transactions, Bar::None);
    tell(format!("{routes} IPv4 routes: file to forwarding"), "s", &sums, Bar::AtMost(2.0));
    tell("memory of it, control included, at most".into(), "MiB", &[memory], Bar::None);
    tables();
}

fn tell(what: String, unit: &'static str, values: &[f64], bar: Bar) {
    let ours = Sample::of(values);
    Row { id: "F3", what, unit, ours, peer: None, ratio: None, bar }.tell();
}

/// The tables alone, both families.
fn tables() {
    let mut random = Random::new();
    let (v4, v6) = (work::ipv4(crate::IPV4, &mut random), work::ipv6(crate::IPV6, &mut random));
    let (mut took4, mut took6, mut memory) = (Vec::new(), Vec::new(), 0.0);
    for _ in 0..LOADS {
        let domain = Domain::new();
        let began = Instant::now();
        let fib4 = Fib4::new(&domain, 1 << 16);
        for (n, (address, len)) in v4.iter().enumerate() {
            fib4.insert(*address, *len, NextHopId(work::hop(n))).unwrap();
        }
        took4.push(began.elapsed().as_secs_f64());
        let began = Instant::now();
        let fib6 = Fib6::new(&domain, 1 << 20, 1 << 19);
        for (n, (address, len)) in v6.iter().enumerate() {
            fib6.insert(*address, *len, NextHopId(work::hop(n))).unwrap();
        }
        took6.push(began.elapsed().as_secs_f64());
        // What they reserve, touched or not: what the process grew by is less, and
        // nothing at all where the loads before left room.
        memory = (fib4.stats().bytes + fib6.stats().bytes) as f64 / (1 << 20) as f64;
    }
    tell(format!("{} IPv4 routes, the table alone", crate::IPV4), "s", &took4, Bar::None);
    tell(format!("{} IPv6 routes, the table alone", crate::IPV6), "s", &took6, Bar::None);
    tell("memory that both tables reserve".into(), "MiB", &[memory], Bar::AtMost(256.0));
}
