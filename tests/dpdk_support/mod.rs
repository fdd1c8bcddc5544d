//! What the DPDK tests share.
//!
//! The EAL starts once per process, so every test runs in a process of its
//! own: [`isolated`] starts this test binary again for one test alone, in a
//! network namespace that goes when the process does.
#![allow(clippy::unwrap_used, dead_code)]

use std::process::{Command, Output};
use std::sync::Arc;

use greyhound::buf::{Burst, PacketBuf, PacketIo};
use greyhound::dpdk::mempool::{CACHE, data_room};
use greyhound::dpdk::{DpdkIo, Eal, EalConfig, Mbuf, Pool, PoolConfig, Port, PortConfig};
use greyhound::model::spec::Hugepages;

const CHILD: &str = "GREYHOUND_DPDK_TEST";
pub const PREFIX: &str = "greyhound-test";

/// Runs `body` in a process of its own, in which test `name` is the only one,
/// and checks that the EAL left nothing in its directory.
pub fn isolated(name: &str, body: fn()) {
    if std::env::var(CHILD).is_ok_and(|child| child == name) {
        return body();
    }
    let exe = std::env::current_exe().unwrap();
    let child = Command::new("unshare")
        .arg("--net")
        .arg(exe)
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(CHILD, name)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("unshare (util-linux) runs, which needs root");
    let pid = child.id();
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{name}: {status}\n{stdout}\n{stderr}");
    assert!(stdout.contains("1 passed"), "{name} did not run:\n{stdout}\n{stderr}");
    // DPDK prints to stdout by default; ours must stay clean.
    assert!(!stdout.contains("EAL:"), "DPDK wrote to stdout:\n{stdout}");
    let directory = format!("/var/run/dpdk/{PREFIX}-{pid}");
    assert!(!std::path::Path::new(&directory).exists(), "{directory} was left behind");
}

pub fn eal_config(devices: &[&str]) -> EalConfig {
    EalConfig {
        memory_mib: 128,
        hugepages: Hugepages::Off,
        control_cpus: Vec::new(),
        devices: devices.iter().map(|&device| device.to_owned()).collect(),
        file_prefix: PREFIX.to_owned(),
    }
}

pub fn eal(devices: &[&str]) -> Eal {
    Eal::init(&eal_config(devices)).unwrap_or_else(|error| panic!("{error}"))
}

pub fn pool(eal: &Eal, mtu: u16) -> Arc<Pool> {
    let config = PoolConfig {
        name: "packets".to_owned(),
        buffers: 8191,
        cache: CACHE,
        data_room: data_room(mtu).unwrap(),
        socket: None,
    };
    Pool::create(eal, &config).unwrap_or_else(|error| panic!("{error}"))
}

pub fn port_config(name: &str, device: &str, pool: &Arc<Pool>) -> PortConfig {
    PortConfig {
        name: name.to_owned(),
        device: device.to_owned(),
        mtu: 1500,
        mac: None,
        rx_queues: 1,
        tx_queues: 1,
        descriptors: 512,
        pool: Arc::clone(pool),
    }
}

pub fn port(eal: &Eal, name: &str, device: &str, pool: &Arc<Pool>) -> Arc<Port> {
    Port::start(eal, &port_config(name, device, pool)).unwrap_or_else(|error| panic!("{error}"))
}

/// A buffer holding `bytes`.
pub fn packet(io: &mut DpdkIo, bytes: &[u8]) -> Mbuf {
    let mut mbuf = io.alloc().expect("the pool has a buffer");
    assert!(mbuf.append(bytes.len()));
    mbuf.data_mut().copy_from_slice(bytes);
    mbuf
}

/// Receives until `wanted` packets have come or ten seconds have passed.
pub fn receive(
    io: &mut DpdkIo,
    port: greyhound::ids::PortId,
    wanted: usize,
    mut each: impl FnMut(&Mbuf),
) -> usize {
    let mut burst = Burst::new();
    let mut got = 0;
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while got < wanted && std::time::Instant::now() < end {
        got += io.rx(port, 0, &mut burst);
        burst.iter().for_each(&mut each);
        io.free(&mut burst);
    }
    got
}

pub fn sh(command: &str) {
    let status = Command::new("sh").args(["-ec", command]).status().unwrap();
    assert!(status.success(), "`{command}`: {status}");
}

/// `Cpus_allowed_list` of every thread of this process, by thread id.
pub fn affinities() -> Vec<(String, String)> {
    let mut threads: Vec<(String, String)> = std::fs::read_dir("/proc/self/task")
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let status = std::fs::read_to_string(path.join("status")).unwrap();
            let list = status.lines().find_map(|l| l.strip_prefix("Cpus_allowed_list:")).unwrap();
            (path.file_name().unwrap().to_string_lossy().into_owned(), list.trim().to_owned())
        })
        .collect();
    threads.sort();
    threads
}
