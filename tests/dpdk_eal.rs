//! The EAL: memory modes, CPU affinity of every thread, files, devices.
#![cfg(feature = "dpdk")]
#![allow(clippy::unwrap_used)]

mod dpdk_support;

use std::io::Write;
use std::sync::{Arc, Mutex, mpsc};

use dpdk_support::{affinities, eal, eal_config, isolated, pool, sh};
use greyhound::buf::{Burst, PacketBuf, PacketIo};
use greyhound::dpdk::affinity::{allowed_cpus, eal_thread};
use greyhound::dpdk::eal::Memory;
use greyhound::dpdk::{DpdkIo, Eal, EalError, Mbuf, start_worker};
use greyhound::ids::PortId;
use greyhound::model::spec::Hugepages;

/// Held by tests that count or reserve hugepages, which are the whole machine's.
static HUGEPAGES: Mutex<()> = Mutex::new(());

#[test]
fn threads_stay_where_they_were_and_a_worker_has_one_core() {
    isolated("threads_stay_where_they_were_and_a_worker_has_one_core", || {
        let before = affinities();
        let usual = before[0].1.clone();
        let eal = eal(&[]);
        let after = affinities();
        assert!(after.len() > before.len(), "the EAL has helper threads: {after:?}");
        assert!(after.iter().all(|(_, cpus)| *cpus == usual), "expected all on {usual}: {after:?}");

        let core = *allowed_cpus().last().unwrap();
        let (report, reported) = mpsc::channel();
        let (go, gone) = mpsc::channel::<()>();
        let worker = start_worker(&eal, core, "worker-0", move || {
            report.send((allowed_cpus(), eal_thread())).unwrap();
            gone.recv().unwrap();
        })
        .unwrap();
        let (cpus, number) = reported.recv().unwrap();
        assert_eq!(cpus, [core]);
        assert!(number.is_some(), "the worker is not registered with the EAL");
        let pinned: Vec<_> =
            affinities().into_iter().filter(|thread| !after.contains(thread)).collect();
        assert_eq!(pinned.len(), 1, "{pinned:?}");
        assert_eq!(pinned[0].1, core.to_string());
        go.send(()).unwrap();
        worker.join().unwrap();
        assert_eq!(affinities(), after);
    });
}

#[test]
fn control_can_be_kept_off_the_workers_core() {
    isolated("control_can_be_kept_off_the_workers_core", || {
        let cpus = allowed_cpus();
        assert!(cpus.len() > 1, "this test needs two CPUs");
        let before = affinities().len();
        let mut config = eal_config(&[]);
        config.control_cpus = vec![cpus[0]];
        let eal = Eal::init(&config).unwrap();
        assert_eq!(allowed_cpus(), [cpus[0]]);
        // All that the EAL added; the test harness's main thread was there before.
        let on_first = affinities().iter().filter(|(_, list)| *list == cpus[0].to_string()).count();
        assert_eq!(on_first, affinities().len() - before + 1, "{:?}", affinities());
        // A worker gets its core all the same.
        let worker = start_worker(&eal, cpus[1], "worker-0", || {}).unwrap();
        worker.join().unwrap();
        let error = start_worker(&eal, 4000, "worker-1", || {}).unwrap_err().to_string();
        assert!(error.contains("worker-1") && error.contains("core 4000"), "{error}");
    });
}

#[test]
fn ordinary_pages_hold_a_pool_and_the_eal_starts_once() {
    isolated("ordinary_pages_hold_a_pool_and_the_eal_starts_once", || {
        // What a killed process of ours left behind; its id is above the kernel's limit.
        let stale = "/var/run/dpdk/greyhound-test-4194998";
        std::fs::create_dir_all(stale).unwrap();
        let eal = eal(&[]);
        assert!(!std::path::Path::new(stale).exists(), "the stale directory was not swept");
        assert_eq!(eal.memory(), Memory::Ordinary);
        assert!(Eal::version().contains("DPDK"), "{}", Eal::version());
        let pool = pool(&eal, 1500);
        let one = pool.alloc().unwrap();
        assert_eq!((pool.in_use(), pool.view().in_use, pool.view().size), (1, 1, 8191));
        drop(one);
        assert_eq!(pool.in_use(), 0);
        let again = Eal::init(&eal_config(&[])).unwrap_err();
        assert!(matches!(again, EalError::StartedBefore), "{again}");
    });
}

#[test]
fn hugepages_are_used_when_there_are_enough() {
    let _alone = HUGEPAGES.lock();
    isolated("hugepages_are_used_when_there_are_enough", || {
        let _pages = Reserved::at_least(160);
        let mut config = eal_config(&["net_ring0"]);
        config.hugepages = Hugepages::On;
        let eal = Eal::init(&config).unwrap();
        assert_eq!(eal.memory(), Memory::Hugepages);
        let pool = pool(&eal, 1500);
        // The whole chain once in this mode: a port, a registered worker, its cache.
        let en0 = dpdk_support::port(&eal, "en0", "net_ring0", &pool);
        let (end, workers_pool) = (PortId(0), Arc::clone(&pool));
        let core = *allowed_cpus().last().unwrap();
        let worker = start_worker(&eal, core, "worker-0", move || {
            let mut io = DpdkIo::new(&[en0], &[(end, 0)], 0, &workers_pool).unwrap();
            let mut burst = Burst::new();
            burst.push(dpdk_support::packet(&mut io, b"through hugepages"));
            assert_eq!(io.tx(end, &mut burst), 1);
            let bytes = |mbuf: &Mbuf| assert_eq!(mbuf.data(), b"through hugepages");
            assert_eq!(dpdk_support::receive(&mut io, end, 1, bytes), 1);
        })
        .unwrap();
        worker.join().unwrap();
        assert_eq!(pool.in_use(), 0);
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let huge = status.lines().find_map(|line| line.strip_prefix("HugetlbPages:")).unwrap();
        let kib: u64 = huge.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(kib >= 64 * 1024, "only {kib} kB in hugepages");
    });
}

#[test]
fn too_few_hugepages_are_refused_or_announced() {
    let _alone = HUGEPAGES.lock();
    isolated("too_few_hugepages_are_refused_or_announced", || {
        let free: u64 = read_number("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
        let mut config = eal_config(&[]);
        config.memory_mib = u32::try_from(free * 2 + 2048).unwrap();
        config.hugepages = Hugepages::On;
        let error = Eal::init(&config).unwrap_err().to_string();
        assert!(error.contains("hugepages = \"on\"") && error.contains("nr_hugepages"), "{error}");

        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        config.hugepages = Hugepages::Auto;
        let eal = tracing::subscriber::with_default(subscriber, || Eal::init(&config)).unwrap();
        assert_eq!(eal.memory(), Memory::Ordinary);
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains("WARN") && text.contains("ordinary pages"), "{text}");
        assert!(text.contains(&format!("{free} of 2048 kB")), "{text}");
    });
}

#[test]
fn every_driver_we_promise_can_be_attached() {
    isolated("every_driver_we_promise_can_be_attached", || {
        sh("ip link add ghd0 type veth peer name ghd1; ip link set ghd0 up; ip link set ghd1 up");
        let dir = tempfile::tempdir().unwrap();
        let capture = dir.path().join("out.pcap");
        let socket = dir.path().join("memif.sock");
        let devices = [
            "net_null0".to_owned(),
            "net_ring0".to_owned(),
            format!("net_pcap0,rx_iface_in=ghd1,tx_pcap={}", capture.display()),
            "net_tap0,iface=ghdtap0".to_owned(),
            "net_af_packet0,iface=ghd0,framesz=2048".to_owned(),
            "net_af_xdp0,iface=ghd1".to_owned(),
            format!("net_memif0,role=server,socket-abstract=no,socket={}", socket.display()),
        ];
        let devices: Vec<&str> = devices.iter().map(String::as_str).collect();
        let eal = eal(&devices);
        let pool = pool(&eal, 1500);
        let mut kept = 0;
        for device in devices {
            let port = dpdk_support::port(&eal, "en0", device, &pool);
            let view = port.view();
            let driver = device.split('0').next().unwrap();
            assert_eq!(view.driver, driver, "{view:?}");
            drop(port);
            // 22.11's net_af_xdp keeps what it put into its rings; the rest does not.
            if driver != "net_af_xdp" {
                assert_eq!(pool.in_use() - kept, 0, "{device} kept buffers");
            }
            kept = pool.in_use();
        }
    });
}

#[test]
fn a_missing_kernel_interface_is_named() {
    isolated("a_missing_kernel_interface_is_named", || {
        let error = Eal::init(&eal_config(&["net_af_packet0,iface=nosuch0"])).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("`net_af_packet0,iface=nosuch0`"), "{text}");
        assert!(text.contains("no kernel interface `nosuch0`"), "{text}");
    });
}

#[test]
fn an_unknown_driver_is_named() {
    isolated("an_unknown_driver_is_named", || {
        let error = Eal::init(&eal_config(&["net_nosuch0,a=b"])).unwrap_err().to_string();
        let expected = "device `net_nosuch0,a=b`: DPDK has no driver for a device of this name";
        assert!(error.starts_with(expected), "{error}");
    });
}

#[test]
fn what_a_driver_says_is_passed_on() {
    isolated("what_a_driver_says_is_passed_on", || {
        let error = Eal::init(&eal_config(&["net_pcap0,rx_pcap=/nonexistent.pcap"])).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("its driver refused it"), "{text}");
        assert!(text.contains("Couldn't open /nonexistent.pcap"), "{text}");
    });
}

#[test]
fn a_missing_pci_device_is_named() {
    isolated("a_missing_pci_device_is_named", || {
        let error = Eal::init(&eal_config(&["ff:1f.7"])).unwrap_err().to_string();
        assert!(error.contains("device `0000:ff:1f.7`: there is no such PCI device"), "{error}");
    });
}

/// Hugepages for one test, given back after it.
struct Reserved(Option<u64>);

const NR_HUGEPAGES: &str = "/proc/sys/vm/nr_hugepages";

impl Reserved {
    fn at_least(pages: u64) -> Reserved {
        let free = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";
        let (have, total) = (read_number(free), read_number(NR_HUGEPAGES));
        if have >= pages {
            return Reserved(None);
        }
        std::fs::write(NR_HUGEPAGES, (total + pages - have).to_string()).unwrap();
        assert!(read_number(free) >= pages, "the kernel gives no {pages} hugepages");
        Reserved(Some(total))
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if let Some(total) = self.0 {
            std::fs::write(NR_HUGEPAGES, total.to_string()).unwrap();
        }
    }
}

fn read_number(path: &str) -> u64 {
    std::fs::read_to_string(path).unwrap().trim().parse().unwrap()
}

/// A log that a test can read.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
