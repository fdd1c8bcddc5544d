//! Ports, pools and buffers on virtual devices: bytes, order, bounds, levels.
#![cfg(feature = "dpdk")]
#![allow(clippy::unwrap_used)]

mod dpdk_support;

use std::sync::Arc;

use dpdk_support::{eal, isolated, packet, pool, port, port_config, receive, sh};
use greyhound::buf::{BURST, Burst, PacketBuf, PacketIo, RxChecksum};
use greyhound::dpdk::{DpdkIo, IoError, PoolError, Port, PortError, start_worker};
use greyhound::ids::{Mac, PortId};

const EN0: PortId = PortId(0);
const EN1: PortId = PortId(1);

#[test]
fn a_ring_gives_back_the_same_bytes_in_the_same_order() {
    isolated("a_ring_gives_back_the_same_bytes_in_the_same_order", || {
        let eal = eal(&["net_ring0"]);
        let pool = pool(&eal, 1500);
        let en0 = port(&eal, "en0", "net_ring0", &pool);
        let mut io = DpdkIo::new(std::slice::from_ref(&en0), &[(EN0, 0)], 0, &pool).unwrap();
        let frames: Vec<Vec<u8>> = (0..40u8).map(|i| vec![i; 60 + usize::from(i) * 37]).collect();
        let mut burst = Burst::new();
        for frame in &frames {
            burst.push(packet(&mut io, frame));
        }
        assert_eq!(pool.in_use(), 40);
        assert_eq!((io.tx(EN0, &mut burst), burst.len()), (40, 0));
        // Appended behind what the burst already has.
        burst.push(packet(&mut io, b"first"));
        assert_eq!(io.rx(EN0, 0, &mut burst), 40);
        assert_eq!(burst[0].data(), b"first");
        for (mbuf, frame) in burst[1..].iter().zip(&frames) {
            assert_eq!(mbuf.data(), frame);
            assert_eq!(mbuf.packet_len(), frame.len());
            assert!(mbuf.is_linear() && mbuf.rx_vlan().is_none());
            assert_eq!(mbuf.rx_checksum(), RxChecksum::Unknown);
        }
        io.free(&mut burst);
        assert_eq!((burst.len(), pool.in_use()), (0, 0));
        let view = en0.view();
        assert_eq!((view.tx_packets, view.rx_packets, view.link_up), (40, 40, true), "{view:?}");
        assert_eq!((view.name.as_str(), view.driver.as_str()), ("en0", "net_ring"));
        assert_eq!(view.mtu, 1500);
    });
}

#[test]
fn what_a_full_ring_does_not_take_stays_in_order_and_ours() {
    isolated("what_a_full_ring_does_not_take_stays_in_order_and_ours", || {
        let eal = eal(&["net_ring0"]);
        let pool = pool(&eal, 1500);
        let en0 = port(&eal, "en0", "net_ring0", &pool);
        let mut io = DpdkIo::new(&[en0], &[(EN0, 0)], 0, &pool).unwrap();
        let mut burst = Burst::new();
        let mut next = 0u32;
        let mut sent = 0u32;
        while burst.is_empty() {
            for _ in 0..50 {
                burst.push(packet(&mut io, &next.to_be_bytes()));
                next += 1;
            }
            let taken = io.tx(EN0, &mut burst);
            sent += u32::try_from(taken).unwrap();
            assert!(next < 5000, "the ring never fills");
        }
        assert!(burst.len() < 50, "the ring filled within a burst, so that some were taken");
        assert_eq!(io.tx(EN0, &mut burst), 0, "the ring is full");
        for (at, mbuf) in burst.iter().enumerate() {
            assert_eq!(mbuf.data(), (sent + u32::try_from(at).unwrap()).to_be_bytes());
        }
        let mut expected = 0u32;
        let all = usize::try_from(sent).unwrap();
        let got = receive(&mut io, EN0, all, |mbuf| {
            assert_eq!(mbuf.data(), expected.to_be_bytes());
            expected += 1;
        });
        assert_eq!((got, pool.in_use()), (all, u32::try_from(burst.len()).unwrap()));
        // Dropping a burst frees it, as `free` does.
        drop(burst);
        assert_eq!(pool.in_use(), 0);
    });
}

#[test]
fn a_buffer_keeps_within_its_bounds() {
    isolated("a_buffer_keeps_within_its_bounds", || {
        let eal = eal(&[]);
        let pool = pool(&eal, 1500);
        let mut mbuf = pool.alloc().unwrap();
        let room = usize::from(pool.data_room());
        assert_eq!((mbuf.headroom(), mbuf.tailroom(), mbuf.data().len()), (128, room - 128, 0));
        assert!(mbuf.append(1000));
        mbuf.data_mut().fill(7);
        assert!(!mbuf.append(room - 128 - 1000 + 1), "behind is less room");
        assert!(mbuf.prepend(128));
        assert!(!mbuf.prepend(1), "the headroom is used up");
        assert_eq!((mbuf.headroom(), mbuf.packet_len()), (0, 1128));
        mbuf.data_mut()[..128].fill(9);
        mbuf.trim_front(127);
        assert_eq!(mbuf.data()[..2], [9, 7]);
        assert!(mbuf.append(mbuf.tailroom()));
        assert_eq!((mbuf.tailroom(), mbuf.packet_len()), (0, room - 127));
        mbuf.truncate(5000);
        assert_eq!(mbuf.data().len(), room - 127, "truncate never grows");
        mbuf.truncate(3);
        assert_eq!((mbuf.data(), mbuf.packet_len()), ([9, 7, 7].as_slice(), 3));
        mbuf.trim_front(100);
        assert_eq!((mbuf.data().len(), mbuf.packet_len(), mbuf.tailroom()), (0, 0, room - 130));

        let mut tail = pool.alloc().unwrap();
        assert!(tail.append(10) && mbuf.append(20) && mbuf.is_linear());
        assert!(mbuf.chain(tail));
        assert_eq!((mbuf.is_linear(), mbuf.data().len(), mbuf.packet_len()), (false, 20, 30));
        assert!(!mbuf.append(1), "behind the first segment comes the second");
        mbuf.trim_front(5);
        assert_eq!((mbuf.data().len(), mbuf.packet_len()), (15, 25));
        assert_eq!(pool.in_use(), 2);
        drop(mbuf);
        assert_eq!(pool.in_use(), 0, "both segments went back");
    });
}

#[test]
fn a_dry_pool_gives_nothing_and_recovers() {
    isolated("a_dry_pool_gives_nothing_and_recovers", || {
        let eal = eal(&["net_null0"]);
        let pool = pool(&eal, 1500);
        let en0 = port(&eal, "en0", "net_null0", &pool);
        let mut io = DpdkIo::new(&[en0], &[(EN0, 0)], 0, &pool).unwrap();
        let mut all: Vec<Burst<_>> = Vec::new();
        let mut taken = 0;
        'dry: loop {
            let mut burst = Burst::new();
            for _ in 0..BURST {
                match io.alloc() {
                    Some(mbuf) => burst.push(mbuf),
                    None => {
                        all.push(burst);
                        break 'dry;
                    }
                }
                taken += 1;
            }
            all.push(burst);
        }
        assert_eq!((taken, pool.in_use()), (pool.size(), pool.size()));
        let mut burst = Burst::new();
        assert_eq!(io.rx(EN0, 0, &mut burst), 0, "net_null has no buffers to fill");
        all.iter_mut().for_each(|burst| io.free(burst));
        assert_eq!(pool.in_use(), 0);
        assert_eq!(io.rx(EN0, 0, &mut burst), BURST, "and now it has");
        io.free(&mut burst);
    });
}

#[test]
fn a_queue_belongs_to_one_worker() {
    isolated("a_queue_belongs_to_one_worker", || {
        let eal = eal(&["net_null0"]);
        let pool = pool(&eal, 1500);
        let mut config = port_config("en0", "net_null0", &pool);
        config.tx_queues = 2;
        // net_null makes as many queues as it is asked for.
        let offered = Port::capabilities(&eal, "en0", "net_null0").unwrap();
        assert!(offered.tx_queues >= 2, "{offered:?}");
        let ports = [Port::start(&eal, &config).unwrap()];
        let first = DpdkIo::new(&ports, &[(EN0, 0)], 0, &pool).unwrap();
        let error = DpdkIo::new(&ports, &[], 0, &pool).unwrap_err();
        assert_eq!(error.to_string(), "transmit queue 0 of port `en0` belongs to another worker");
        let error = DpdkIo::new(&ports, &[(EN0, 0)], 1, &pool).unwrap_err();
        assert_eq!(error.to_string(), "receive queue 0 of port `en0` belongs to another worker");
        // The failed attempt gave its transmit queue back.
        let second = DpdkIo::new(&ports, &[], 1, &pool).unwrap();
        drop((first, second));
        assert!(DpdkIo::new(&ports, &[(EN0, 0)], 0, &pool).is_ok());
        let error = DpdkIo::new(&ports, &[(EN0, 1)], 0, &pool).unwrap_err();
        assert!(matches!(error, IoError::NoQueue { queue: 1, queues: 1, .. }), "{error}");
        assert_eq!(DpdkIo::new(&ports, &[(EN1, 0)], 0, &pool).unwrap_err(), IoError::NoPort(1));
    });
}

#[test]
fn two_workers_talk_over_a_memif_pair() {
    isolated("two_workers_talk_over_a_memif_pair", || {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("memif.sock");
        let device = |n: u8, role: &str| {
            format!("net_memif{n},role={role},id=0,socket-abstract=no,socket={}", socket.display())
        };
        let (server, client) = (device(0, "server"), device(1, "client"));
        let eal = eal(&[&server, &client]);
        let pool = pool(&eal, 1500);
        let ends = [port(&eal, "en0", &server, &pool), port(&eal, "en1", &client, &pool)];
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !ends.iter().all(|end| end.link_up()) {
            assert!(std::time::Instant::now() < end, "the memif ends do not connect");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        const PACKETS: u32 = 20_000;
        let cores = greyhound::dpdk::affinity::allowed_cpus();
        let workers = ends.map(|end| {
            let (pool, number) = (Arc::clone(&pool), u8::from(end.name() == "en1"));
            let core = cores[usize::from(number) % cores.len()];
            start_worker(&eal, core, &format!("worker-{number}"), move || {
                let mut io = DpdkIo::new(&[end], &[(EN0, 0)], 0, &pool).unwrap();
                exchange(&mut io, number, PACKETS);
            })
            .unwrap()
        });
        for worker in workers {
            worker.join().expect("both ends sent and received everything");
        }
        assert_eq!(pool.in_use(), 0);
    });
}

/// Sends numbered packets and receives as many from the other end, in order.
fn exchange(io: &mut DpdkIo, number: u8, packets: u32) {
    let (mut sent, mut got) = (0u32, 0u32);
    let (mut out, mut back) = (Burst::new(), Burst::new());
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while sent < packets || got < packets {
        assert!(std::time::Instant::now() < end, "worker {number}: sent {sent}, got {got}");
        // Not further ahead than the ring holds, since memif drops on overflow.
        if out.is_empty() && sent < packets && sent < got + 256 {
            for i in 0..32.min(packets - sent) {
                let mut bytes = [number; 64];
                bytes[..4].copy_from_slice(&(sent + i).to_be_bytes());
                out.push(packet(io, &bytes));
            }
        }
        sent += io.tx(EN0, &mut out) as u32;
        io.rx(EN0, 0, &mut back);
        for mbuf in &back {
            assert_eq!(mbuf.data()[..4], got.to_be_bytes(), "worker {number}");
            assert_eq!(mbuf.data()[4..], [1 - number; 60]);
            got += 1;
        }
        io.free(&mut back);
    }
}

#[test]
fn a_tag_taken_out_by_the_driver_is_seen_and_not_passed_on() {
    isolated("a_tag_taken_out_by_the_driver_is_seen_and_not_passed_on", || {
        sh("ip link add ghd0 type veth peer name ghd1; ip link set ghd0 up; ip link set ghd1 up");
        let devices = [
            "net_af_packet0,iface=ghd0,framesz=2048",
            "net_af_packet1,iface=ghd1,framesz=2048",
            "net_ring0",
        ];
        let eal = eal(&devices);
        let pool = pool(&eal, 1500);
        let ports: Vec<_> = devices
            .iter()
            .zip(["en0", "en1", "en2"])
            .map(|(d, n)| port(&eal, n, d, &pool))
            .collect();
        let mut io = DpdkIo::new(&ports, &[(EN0, 0), (EN1, 0), (PortId(2), 0)], 0, &pool).unwrap();
        // Destination, source, tag 20, a made-up EtherType.
        let mut frame = vec![0xff; 6];
        frame.extend([2, 0, 0, 0, 0, 9, 0x81, 0x00, 0, 20, 0x88, 0xb5]);
        frame.resize(100, 0xaa);
        let mut burst = Burst::new();
        burst.push(packet(&mut io, &frame));
        assert_eq!(io.tx(EN0, &mut burst), 1);
        let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while burst.is_empty() {
            assert!(std::time::Instant::now() < end, "the frame did not arrive");
            io.rx(EN1, 0, &mut burst);
            burst.retain(|mbuf| mbuf.data()[6..12] == [2, 0, 0, 0, 0, 9]);
        }
        assert_eq!(burst[0].rx_vlan(), Some(20), "the kernel moved the tag to metadata");
        assert_eq!(burst[0].data()[12..14], [0x88, 0xb5]);
        // net_ring hands this very buffer on; the tag is not in this frame.
        assert_eq!(io.tx(PortId(2), &mut burst), 1);
        assert_eq!(io.rx(PortId(2), 0, &mut burst), 1);
        assert_eq!(burst[0].rx_vlan(), None);
        io.free(&mut burst);
    });
}

#[test]
fn a_tap_carries_frames_to_and_from_the_kernel() {
    isolated("a_tap_carries_frames_to_and_from_the_kernel", || {
        let eal = eal(&["net_tap0,iface=ghdtap0"]);
        let pool = pool(&eal, 1500);
        let en0 = port(&eal, "en0", "net_tap0", &pool);
        let mac = en0.mac();
        let at_start = pool.in_use();
        sh("ip addr add 10.99.0.2/24 dev ghdtap0; ip link set ghdtap0 up");
        let mut io = DpdkIo::new(std::slice::from_ref(&en0), &[(EN0, 0)], 0, &pool).unwrap();
        // A ping makes the kernel ask who has 10.99.0.1.
        let mut ping = std::process::Command::new("ping")
            .args(["-c1", "-W3", "10.99.0.1"])
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let mut request = Vec::new();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while request.is_empty() {
            assert!(std::time::Instant::now() < end, "no ARP request came out of the kernel");
            receive_arp(&mut io, &mut request);
        }
        assert_eq!(request[38..42], [10, 99, 0, 1]);
        // Answer: we have it. Then the kernel's neighbour table knows our address.
        let (sender, target) = (request[22..32].to_vec(), request[38..42].to_vec());
        let mut answer = [&sender[..6], &mac.0, &request[12..20], &[0, 2], &mac.0].concat();
        answer.extend([target.as_slice(), &sender].concat());
        let mut burst = Burst::new();
        burst.push(packet(&mut io, &answer));
        assert_eq!(io.tx(EN0, &mut burst), 1);
        sh(&format!(
            "for i in $(seq 50); do ip neigh show 10.99.0.1 | grep -q {mac} && exit 0; sleep 0.1; done; exit 1"
        ));
        ping.kill().unwrap();
        ping.wait().unwrap();
        let mut rest = Burst::new();
        while io.rx(EN0, 0, &mut rest) > 0 {
            io.free(&mut rest);
        }
        assert_eq!(pool.in_use(), at_start);
        drop((io, en0));
        assert_eq!(pool.in_use(), 0, "the tap gave its buffers back");
    });
}

/// Copies an ARP request out of what has arrived, if there is one.
fn receive_arp(io: &mut DpdkIo, request: &mut Vec<u8>) {
    let mut burst = Burst::new();
    io.rx(EN0, 0, &mut burst);
    for mbuf in &burst {
        if mbuf.data()[12..14] == [8, 6] {
            *request = mbuf.data().to_vec();
        }
    }
    io.free(&mut burst);
}

#[test]
fn impossible_wishes_name_port_driver_and_limits() {
    isolated("impossible_wishes_name_port_driver_and_limits", || {
        sh("ip link add ghd0 type veth peer name ghd1; ip link set ghd0 up; ip link set ghd1 up");
        let device = "net_af_packet0,iface=ghd0,framesz=2048";
        let eal = eal(&[device, "net_af_packet1,iface=ghd1,qpairs=2,framesz=2048", "net_ring0"]);
        let pool = pool(&eal, 1500);
        let config = port_config("en0", device, &pool);
        let refusal = |change: fn(&mut greyhound::dpdk::PortConfig)| {
            let mut config = config.clone();
            change(&mut config);
            Port::start(&eal, &config).unwrap_err()
        };
        let error = refusal(|config| config.rx_queues = 2).to_string();
        let wanted = "port `en0`: 2 receive queues wanted, but driver net_af_packet offers 1";
        assert!(error.starts_with(wanted) && error.contains("qpairs=N"), "{error}");
        assert!(matches!(refusal(|c| c.tx_queues = 2), PortError::Queues { .. }));
        assert!(matches!(
            refusal(|c| c.mtu = 9000),
            PortError::Mtu { .. } | PortError::Room { .. }
        ));
        assert!(matches!(
            refusal(|c| c.device = "net_null7".to_owned()),
            PortError::NotFound { .. }
        ));
        assert!(Port::start(&eal, &config).is_ok(), "after all that it starts");
        let mut config = port_config("en2", "net_af_packet1", &pool);
        (config.rx_queues, config.tx_queues) = (2, 2);
        let two = Port::start(&eal, &config).unwrap();
        let error = Port::start(&eal, &config).unwrap_err();
        assert!(matches!(error, PortError::InUse { .. }), "{error}");
        assert!(two.link_up(), "the attempt did not touch the running port");
        assert_eq!((two.rx_queues(), two.tx_queues()), (2, 2));
        let mut config = port_config("en1", "net_ring0", &pool);
        config.mtu = 9000;
        let error = Port::start(&eal, &config).unwrap_err().to_string();
        assert!(error.contains("9344 bytes of room, the pool's have 2176"), "{error}");

        let config = greyhound::dpdk::PoolConfig {
            name: "huge".to_owned(),
            buffers: 1 << 20,
            cache: 256,
            data_room: 2176,
            socket: None,
        };
        let error = greyhound::dpdk::Pool::create(&eal, &config).unwrap_err();
        assert!(matches!(error, PoolError::Memory { .. }), "{error}");
        assert!(error.to_string().contains("1048576 buffers"), "{error}");
    });
}

#[test]
fn a_mac_address_is_set_in_the_device_or_used_in_software() {
    isolated("a_mac_address_is_set_in_the_device_or_used_in_software", || {
        sh("ip link add ghd0 type veth peer name ghd1; ip link set ghd0 up; ip link set ghd1 up");
        let devices =
            ["net_af_packet0,iface=ghd0,framesz=2048", "net_tap0,iface=ghdtap0", "net_ring0"];
        let eal = eal(&devices);
        let pool = pool(&eal, 1500);
        let mac = Mac([2, 0, 0, 0, 0xab, 1]);
        let start = |device: &str| {
            let mut config = port_config("en0", device, &pool);
            config.mac = Some(mac);
            Port::start(&eal, &config).unwrap()
        };
        let packet_port = start(devices[0]);
        assert_eq!((packet_port.mac(), packet_port.view().mac), (mac, mac));
        sh("ip link show ghd0 | grep -q 02:00:00:00:ab:01");
        let tap = start(devices[1]);
        assert_eq!(tap.mac(), mac);
        assert!(tap.view().offloads.contains(&"mac-in-software".to_owned()), "{:?}", tap.view());
        sh("! ip link show ghdtap0 | grep -q 02:00:00:00:ab:01");
        assert_eq!(start(devices[2]).mac(), mac);
    });
}

#[test]
fn jumbo_frames_pass_where_device_and_pool_have_room() {
    isolated("jumbo_frames_pass_where_device_and_pool_have_room", || {
        let eal = eal(&["net_ring0", "net_tap0,iface=ghdtap0"]);
        let pool = pool(&eal, 9000);
        let mut config = port_config("en0", "net_ring0", &pool);
        config.mtu = 9000;
        let en0 = Port::start(&eal, &config).unwrap();
        assert_eq!((en0.mtu(), en0.view().mtu), (9000, 9000));
        let mut config = port_config("en1", "net_tap0", &pool);
        config.mtu = 9000;
        let error = Port::start(&eal, &config).unwrap_err().to_string();
        assert!(error.contains("`en1`: an MTU of 9000 bytes: driver net_tap takes"), "{error}");
        config.mtu = 1400;
        let en1 = Port::start(&eal, &config).unwrap();
        sh("ip link show ghdtap0 | grep -q 'mtu 1400'");
        let mut io = DpdkIo::new(&[en0, en1], &[(EN0, 0), (EN1, 0)], 0, &pool).unwrap();
        let mut burst = Burst::new();
        burst.push(packet(&mut io, &[5; 9014]));
        assert_eq!(io.tx(EN0, &mut burst), 1);
        assert_eq!(receive(&mut io, EN0, 1, |mbuf| assert_eq!(mbuf.data(), [5; 9014])), 1);
    });
}

#[test]
fn the_clock_runs_at_the_rate_it_claims() {
    isolated("the_clock_runs_at_the_rate_it_claims", || {
        let eal = eal(&["net_null0"]);
        let pool = pool(&eal, 1500);
        let en0 = port(&eal, "en0", "net_null0", &pool);
        let io = DpdkIo::new(&[en0], &[], 0, &pool).unwrap();
        let (began, ticks) = (std::time::Instant::now(), io.ticks());
        std::thread::sleep(std::time::Duration::from_millis(200));
        let (seconds, ticks) = (began.elapsed().as_secs_f64(), io.ticks() - ticks);
        let ratio = ticks as f64 / io.ticks_per_second() as f64 / seconds;
        assert!((0.98..1.02).contains(&ratio), "{ratio}");
    });
}
