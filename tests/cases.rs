//! The pcap cases of `tests/cases` through the real path, the rule that every
//! reason has one, and the tests of the tests: a missing increment, a wrong
//! byte and a wrong counter have to be noticed.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use greyhound::buf::heap::{HEADROOM, HeapIo, TestBuf};
use greyhound::buf::{Burst, PacketBuf, PacketIo};
use greyhound::datapath::drop::DropReason;
use greyhound::exchange::{ExchangeConfig, PuntReason, exchange};
use greyhound::flow::FlowHash;
use greyhound::ids::PortId;
use greyhound::replay::{Bench, BenchOptions, Case, ReplayError};
use greyhound::spread::mesh;
use greyhound::stats::counters::{Counter, Ledger, WorkerCounters};
use greyhound::worker::{Worker, WorkerConfig};

/// Reasons that no frame can provoke by itself, and the test of this file that
/// provokes them with a knob of the harness.
const BY_TEST: &[(DropReason, &str)] = &[
    (DropReason::SegmentedFrame, "a_frame_in_several_segments_is_refused"),
    (DropReason::NoHeadroom, "a_packet_without_headroom_does_not_enter_a_tunnel"),
    (DropReason::TxQueueFull, "what_a_port_does_not_take_is_dropped_and_freed"),
    (DropReason::SpreadQueueFull, "a_full_ring_between_workers_drops"),
    (DropReason::NoBuffer, "without_free_buffers_nothing_is_cut_and_nothing_lost"),
    (DropReason::PuntQueueFull, "a_full_exchange_drops_and_recovers"),
    (DropReason::PuntRateLimited, "a_flood_of_arp_is_cut_to_its_rate"),
    (DropReason::TooLarge, "a_datagram_larger_than_a_slot_does_not_go_to_control"),
];

const LAN: PortId = PortId(0);
const NET: PortId = PortId(1);

fn cases_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

fn cases() -> Vec<Case> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(cases_folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("case.toml").exists())
        .collect();
    folders.sort();
    folders.iter().map(|folder| Case::load(folder).unwrap()).collect()
}

fn case(name: &str) -> Case {
    Case::load(&cases_folder().join(name)).unwrap()
}

#[test]
fn every_case_comes_out_as_expected() {
    let cases = cases();
    assert!(cases.len() >= 100, "only {} cases found", cases.len());
    let next = AtomicUsize::new(0);
    let work = || {
        let mut failed = Vec::new();
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            failed.extend(failures(case));
        }
        failed
    };
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get());
    let failed: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(failed.is_empty(), "{} runs failed:\n{}", failed.len(), failed.join("\n"));
}

/// The runs of a case, in all its burst sizes, that do not pass.
fn failures(case: &Case) -> Vec<String> {
    let sizes = case.bursts.iter().copied().map(Some);
    std::iter::once(None)
        .chain(sizes)
        .filter_map(|burst| match case.run(burst) {
            Ok(report) if report.passed() => None,
            Ok(report) => Some(format!("burst {burst:?}: {report}")),
            Err(error) => Some(format!("{} (burst {burst:?}): {error}", case.name)),
        })
        .collect()
}

/// Bursts of 1, 7, 32 and 64 of the same traffic.
#[test]
fn some_cases_are_run_in_bursts_of_all_sizes() {
    let bursted = cases().iter().filter(|case| case.bursts == [1, 7, 32, 64]).count();
    assert!(bursted >= 3, "only {bursted} cases say bursts = [1, 7, 32, 64]");
}

#[test]
fn the_files_are_what_the_generator_writes() {
    let output = Command::new("/usr/bin/python3")
        .arg(cases_folder().join("generate.py"))
        .arg("--check")
        .output()
        .expect("/usr/bin/python3 runs (tests/lab/setup.sh installs it and python3-scapy)");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{text}", output.status);
}

#[test]
fn every_drop_and_punt_reason_has_a_case() {
    let mut counted: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for case in cases() {
        for (counter, _) in case.counters().iter() {
            let parts: Vec<&str> = counter.split('.').collect();
            if let ["origin", _, kind, reason] = parts[..] {
                counted.entry(format!("{kind}.{reason}")).or_default().push(case.name.clone());
            }
        }
    }
    let mut problems = Vec::new();
    for reason in DropReason::ALL {
        let name = format!("dropped.{}", reason.label());
        let by_case = counted.get(&name);
        let by_test = BY_TEST.iter().find(|(other, _)| other == reason);
        match (by_case, by_test) {
            (None, None) => problems.push(format!("no case counts a drop {}", reason.label())),
            (Some(cases), Some(_)) => {
                problems.push(format!("{} is in BY_TEST, but {cases:?} count it", reason.label()));
            }
            _ => {}
        }
    }
    for reason in PuntReason::ALL {
        let name = format!("punted.{}", reason.label());
        if !counted.contains_key(&name) {
            problems.push(format!("no case counts a punt {}", reason.label()));
        }
    }
    let source = include_str!("cases.rs");
    for (reason, test) in BY_TEST {
        if !source.contains(&format!("#[test]\nfn {test}()")) {
            problems.push(format!("{}: there is no test `{test}`", reason.label()));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

// -- tests of the tests ------------------------------------------------------

/// A bench that has forwarded, dropped, punted, held, answered and made packets.
fn busy_bench() -> Bench {
    let mut bench = Bench::from_config(case("plain_forward").config()).unwrap();
    for name in
        ["plain_forward", "ttl_expired", "arp_own", "arp_resolution", "fragments_in_transit"]
    {
        let case = case(name);
        for (port, frames) in case.inputs() {
            let port = bench.port(port).unwrap();
            for sent in frames {
                bench.receive(port, &sent.frame).unwrap();
                bench.run_until_quiet().unwrap();
            }
        }
    }
    bench
}

fn is_broken(bench: &mut Bench) -> bool {
    match bench.expect_conservation() {
        Ok(()) => false,
        Err(ReplayError::NotConserved(_)) => true,
        Err(other) => panic!("{other}"),
    }
}

/// One increment taken back: what a path that forgot to count would leave.
fn take_back(counter: &Counter) {
    counter.add(u64::MAX);
}

#[test]
fn a_missing_increment_breaks_conservation() {
    let mut bench = busy_bench();
    assert!(!is_broken(&mut bench), "{:?}", bench.expect_conservation());
    type Pick = fn(&Bench) -> &Counter;
    let picks: [(&str, Pick); 10] = [
        ("received", |b| &b.worker_counters().ledger(LAN).received),
        ("sent", |b| &b.worker_counters().ledger(LAN).sent),
        ("dropped", |b| &b.worker_counters().ledger(LAN).dropped[DropReason::TtlExpired.index()]),
        ("punted", |b| &b.worker_counters().ledger(LAN).punted[PuntReason::Arp.index()]),
        ("sent of control", |b| &b.worker_counters().ledger(PortId::CONTROL).sent),
        ("port_tx", |b| &b.worker_counters().port_tx[NET.index()]),
        ("punts taken", |b| &b.control_counters().punts_taken),
        ("originated", |b| &b.control_counters().originated),
        ("injected", |b| &b.control_counters().injected),
        ("consumed", |b| &b.control_counters().consumed),
    ];
    for (what, pick) in picks {
        assert!(pick(&bench).get() > 0, "{what}: the bench has counted none of these");
        take_back(pick(&bench));
        assert!(is_broken(&mut bench), "{what}: one increment less went unnoticed");
        pick(&bench).add(1);
        assert!(!is_broken(&mut bench), "{what}: put back");
    }
}

/// A copy of a case with one file changed.
fn tampered(name: &str, file: &str, change: impl Fn(Vec<u8>) -> Vec<u8>) -> Case {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(cases_folder().join(name)).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let path = folder.path().join(file);
    let changed = change(std::fs::read(&path).unwrap());
    std::fs::write(&path, changed).unwrap();
    Case::load(folder.path()).unwrap()
}

#[test]
fn a_wrong_expected_byte_fails_the_case() {
    for back in [1, 40] {
        let report = tampered("gre_encap", "out.en1.pcap", |mut bytes| {
            let at = bytes.len() - back;
            bytes[at] ^= 1;
            bytes
        })
        .run(None)
        .unwrap();
        assert!(!report.passed());
        assert_eq!((report.packets.len(), report.counters.len()), (1, 0), "{report}");
        let text = report.to_string();
        assert!(text.contains("en1 packet 2") && text.contains("proto 47"), "{text}");
    }
}

#[test]
fn a_missing_expected_packet_fails_the_case() {
    let report = tampered("plain_forward", "out.en1.pcap", |bytes| bytes[..24].to_vec());
    let report = report.run(None).unwrap();
    assert_eq!(report.packets.len(), 1, "{report}");
    assert_eq!(report.packets[0].expected, None);
}

#[test]
fn a_wrong_or_missing_expected_counter_fails_the_case() {
    for (from, to) in [("sent = 1", "sent = 2"), ("rx_packets = 1", "rx_dropped = 1")] {
        let report = tampered("plain_forward", "counters.toml", |bytes| {
            String::from_utf8(bytes).unwrap().replacen(from, to, 1).into_bytes()
        })
        .run(None)
        .unwrap();
        assert!(report.packets.is_empty() && !report.counters.is_empty(), "{report}");
    }
}

#[test]
fn a_repeated_identification_fails_the_case() {
    // The expected file says that the first two outer datagrams share one.
    let report = tampered("outer_df_copy", "case.toml", |bytes| bytes).run(None).unwrap();
    assert!(report.passed(), "{report}");
    let report = tampered("outer_df_copy", "out.en1.pcap", |mut bytes| {
        let frame = 24 + 16;
        let length = u32::from_le_bytes(bytes[24 + 8..24 + 12].try_into().unwrap()) as usize;
        let (first, second) = (frame + 14, frame + length + 16 + 14);
        bytes.copy_within(first + 4..first + 6, second + 4);
        let mut header: [u8; 20] = bytes[second..second + 20].try_into().unwrap();
        assert!(greyhound::wire::ipv4::fill_checksum(&mut header));
        bytes[second..second + 20].copy_from_slice(&header);
        bytes
    })
    .run(None)
    .unwrap();
    assert!(!report.packets.is_empty(), "identifications 1, 1 passed for 1, 2");
}

// -- reasons that need a knob ------------------------------------------------

/// The first input frame of a case on a port.
fn frame(case_name: &str, port: &str) -> Vec<u8> {
    let case = case(case_name);
    let frames = case.inputs().find(|(name, _)| *name == port).unwrap().1;
    frames[0].frame.clone()
}

fn bench(case_name: &str, options: BenchOptions) -> Bench {
    let mut bench = Bench::with_options(case(case_name).config(), options).unwrap();
    bench.advance(Duration::from_secs(5)).unwrap();
    bench.discard_sent();
    bench
}

fn dropped(bench: &Bench, origin: PortId, reason: DropReason) -> u64 {
    bench.worker_counters().ledger(origin).dropped[reason.index()].get()
}

#[test]
fn a_frame_in_several_segments_is_refused() {
    let mut bench = bench("plain_forward", BenchOptions::default());
    let mut buf = TestBuf::from_bytes(&frame("plain_forward", "en0"));
    buf.linear = false;
    assert!(bench.io().receive_buf(LAN, buf));
    bench.run_until_quiet().unwrap();
    assert_eq!(dropped(&bench, LAN, DropReason::SegmentedFrame), 1);
    bench.expect_conservation().unwrap();
}

#[test]
fn a_tag_in_the_buffers_metadata_is_as_good_as_one_in_the_frame() {
    let mut bench = bench("vlan", BenchOptions::default());
    let tagged = frame("vlan", "en0");
    bench.receive(LAN, &tagged).unwrap();
    bench.run_until_quiet().unwrap();
    let expected = bench.sent(NET);
    let mut buf = TestBuf::from_bytes(&[&tagged[..12], &tagged[16..]].concat());
    buf.vlan = Some(u16::from_be_bytes([tagged[14], tagged[15]]));
    assert!(bench.io().receive_buf(LAN, buf));
    bench.run_until_quiet().unwrap();
    assert_eq!((bench.sent(NET), expected.len()), (expected, 1));
    bench.expect_conservation().unwrap();
}

#[test]
fn a_packet_without_headroom_does_not_enter_a_tunnel() {
    let mut bench = bench("gre_encap", BenchOptions::default());
    let bytes = frame("gre_encap", "en0");
    let mut buf = TestBuf::with_room(2048);
    assert!(buf.prepend(HEADROOM) && buf.append(bytes.len()));
    buf.data_mut()[..bytes.len()].copy_from_slice(&bytes);
    buf.truncate(bytes.len());
    assert_eq!(buf.headroom(), 0);
    assert!(bench.io().receive_buf(LAN, buf));
    bench.run_until_quiet().unwrap();
    assert_eq!(dropped(&bench, LAN, DropReason::NoHeadroom), 1);
    bench.expect_conservation().unwrap();
}

#[test]
fn what_a_port_does_not_take_is_dropped_and_freed() {
    let mut bench = bench("plain_forward", BenchOptions::default());
    bench.io().tx_limit = 3;
    let bytes = frame("plain_forward", "en0");
    for _ in 0..10 {
        bench.receive(LAN, &bytes).unwrap();
    }
    bench.run_until_quiet().unwrap();
    assert_eq!(bench.sent(NET).len(), 3);
    assert_eq!(dropped(&bench, LAN, DropReason::TxQueueFull), 7);
    bench.expect_conservation().unwrap();
}

/// Two workers of which the second never has its turn (`tests/spread.rs` has
/// both run).
#[test]
fn a_full_ring_between_workers_drops() {
    let bench = bench("plain_forward", BenchOptions::default());
    let bytes = frame("plain_forward", "en0");
    let counters = Arc::new(WorkerCounters::new(8));
    let (end, _control) = exchange(ExchangeConfig { slots: 8, room: 256 });
    let config = WorkerConfig { queues: vec![(LAN, 0)], ..WorkerConfig::default() };
    // With one of two seeds or the other, this flow is the second worker's.
    let given = (0..20).find_map(|seed| {
        let mut ends = mesh(2, 64, FlowHash::fixed(seed));
        let mut io = HeapIo::new(4, 256);
        assert!(io.receive(LAN, &bytes));
        let mut burst = Burst::new();
        io.rx(LAN, 0, &mut burst);
        ends[0].divide(&mut io, &mut burst, LAN, &Ledger::default());
        burst.is_empty().then(|| mesh(2, 64, FlowHash::fixed(seed)))
    });
    let mut ends = given.expect("a seed that gives this flow away");
    let io = HeapIo::new(128, 256);
    let mut worker =
        Worker::new(io, Arc::clone(bench.tables()), Arc::clone(&counters), end, config)
            .with_spread(Some(ends.remove(0)));
    for _ in 0..100 {
        assert!(worker.io().receive(LAN, &bytes));
    }
    while worker.turn() > 0 {}
    let ledger = counters.ledger(LAN);
    assert_eq!(ledger.dropped[DropReason::SpreadQueueFull.index()].get(), 36);
    assert_eq!((ledger.received.get(), ledger.handed.get(), ledger.imbalance()), (100, 64, 0));
}

#[test]
fn without_free_buffers_nothing_is_cut_and_nothing_lost() {
    let options = BenchOptions { buffers: 2, ..BenchOptions::default() };
    let mut bench = bench("fragment_transit", options);
    let whole = frame("fragment_transit", "en0");
    bench.receive(LAN, &whole).unwrap();
    bench.run_until_quiet().unwrap();
    assert_eq!(bench.sent(NET).len(), 2, "two buffers are enough for two pieces");
    bench.receive(LAN, &whole).unwrap();
    bench.receive(LAN, &whole).unwrap();
    bench.run_until_quiet().unwrap();
    assert!(dropped(&bench, LAN, DropReason::NoBuffer) >= 1);
    assert_eq!(bench.io().available(), 2);
    bench.expect_conservation().unwrap();
}

#[test]
fn a_full_exchange_drops_and_recovers() {
    let options = BenchOptions { slots: 8, ..BenchOptions::default() };
    let mut bench = bench("arp_own", options);
    let request = frame("arp_own", "en0");
    for _ in 0..20 {
        bench.receive(LAN, &request).unwrap();
    }
    bench.run_until_quiet().unwrap();
    assert_eq!(dropped(&bench, LAN, DropReason::PuntQueueFull), 12);
    assert_eq!(bench.sent(LAN).len(), 8);
    bench.receive(LAN, &request).unwrap();
    bench.run_until_quiet().unwrap();
    assert_eq!(bench.sent(LAN).len(), 1, "answered again");
    bench.expect_conservation().unwrap();
}

#[test]
fn a_flood_of_arp_is_cut_to_its_rate() {
    let options = BenchOptions { slots: 4096, buffers: 4096, ..BenchOptions::default() };
    let mut bench = bench("arp_own", options);
    let request = frame("arp_own", "en0");
    for _ in 0..2000 {
        bench.receive(LAN, &request).unwrap();
    }
    bench.run_until_quiet().unwrap();
    let answered = bench.sent(LAN).len() as u64;
    let limited = dropped(&bench, LAN, DropReason::PuntRateLimited);
    assert!(answered > 0 && limited > 0 && answered + limited == 2000, "{answered} + {limited}");
    bench.advance(Duration::from_secs(1)).unwrap();
    bench.receive(LAN, &request).unwrap();
    bench.run_until_quiet().unwrap();
    assert_eq!(bench.sent(LAN).len(), 1, "answered again");
    bench.expect_conservation().unwrap();
}

#[test]
fn a_datagram_larger_than_a_slot_does_not_go_to_control() {
    let options = BenchOptions { slot_room: 256, ..BenchOptions::default() };
    let case = case("plain_forward");
    let config = case.config().split("[[neighbour]]").next().unwrap();
    let mut bench = Bench::with_options(config, options).unwrap();
    // Its next hop is not known: control would have to hold it.
    let mut large = frame("plain_forward", "en0");
    large.resize(14 + 400, 0);
    large[16..18].copy_from_slice(&400u16.to_be_bytes());
    assert!(greyhound::wire::ipv4::fill_checksum(&mut large[14..]));
    bench.receive(LAN, &large).unwrap();
    bench.run_until_quiet().unwrap();
    assert_eq!(dropped(&bench, LAN, DropReason::TooLarge), 1);
    bench.expect_conservation().unwrap();
}

/// What a timer sends with nothing coming in is worked off too.
#[test]
fn what_timers_send_is_sent_before_all_is_quiet() {
    let case = case("plain_forward");
    let config = case.config().split("[[neighbour]]").next().unwrap();
    let mut bench = Bench::from_config(config).unwrap();
    bench.discard_sent();
    let (port, frames) = case.inputs().next().unwrap();
    let port = bench.port(port).unwrap();
    bench.receive(port, &frames[0].frame).unwrap();
    bench.run_until_quiet().unwrap();
    assert_eq!(bench.discard_sent(), 1, "a first ARP request");
    bench.advance(Duration::from_secs(1)).unwrap();
    bench.expect_conservation().unwrap();
    assert_eq!(bench.discard_sent(), 1, "a second one, by a timer");
}
