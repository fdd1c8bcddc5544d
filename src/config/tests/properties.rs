//! Whatever a configuration holds, it reads back as it was printed; whatever a text is,
//! it is read or refused.

use proptest::prelude::*;

use super::*;

prop_compose! {
    fn any_port(number: u8)(
        prefix_len in 16u8..=30, aliases in 0u32..3, aliases6 in 0u32..3, mtu in 68u16.., mac in any::<[u8; 5]>(),
        has_mac: bool, rx_queues in proptest::option::of(1u16..=16), rpf in any_rpf(), up: bool, args in "[ -~]{0,12}",
        advertise in prop::option::of((4u16..=1800, 0u16..=7200, any::<u32>(), any::<u32>())),
    ) -> PortSpec {
        let advertise = advertise.map(|(interval, more, a, b)| AdvertiseSpec {
            interval, lifetime: if more == 0 { 0 } else { interval + more }, valid: a.max(b), preferred: a.min(b),
        });
        let args = args.replace(' ', "_");
        let address = (0..aliases).map(|alias| {
            let host = std::net::Ipv4Addr::from(((u32::from(number) + 1) << 24) | (alias + 1));
            IpNet::new(host.into(), prefix_len).unwrap()
        });
        let host6 = |alias: u128| std::net::Ipv6Addr::from(0xfd00 << 112 | u128::from(number) << 64 | alias);
        let address6 = (1..=aliases6).map(|alias| IpNet::new(host6(alias.into()).into(), 64).unwrap());
        PortSpec {
            name: format!("en{number}"),
            advertise,
            device: format!("net_null{number},{args}"),
            address: address.chain(address6).collect(),
            mtu,
            mac: has_mac.then_some(Mac([2, mac[0], mac[1], mac[2], mac[3], mac[4]])),
            rx_queues,
            rpf,
            up,
        }
    }
}

prop_compose! {
    fn any_options()(
        checksum: bool, key_in: Option<u32>, key_out: Option<u32>, both: bool, sequence: bool,
        sequence_resync in 0..=3600u16,
    ) -> GreOptions {
        let key_out = if both { key_in } else { key_out };
        GreOptions { checksum, key_in, key_out, sequence, sequence_resync }
    }
}

prop_compose! {
    fn any_tunnel(number: u8)(
        ipip: bool, pair: bool, outer: bool, link1: bool, mtu in proptest::option::of(68u16..), ttl in 1u8..,
        dscp in any_dscp(), compatible: bool, copy_df: bool, up: bool, gre in any_options(), mss in any_mss(),
        over_v6: bool, inet6 in 0u16..3, allow in 0usize..=2, rpf in any_rpf(), on_port: bool, keepalive in proptest::option::of(any_timing()),
        probe in proptest::option::of(any_probe()), udp in proptest::option::of(any_udp()), limit: Option<u8>, pmtu: bool, reassemble: bool,
        named: bool, resolve_interval in 5u16..=3600,
    ) -> TunnelSpec {
        let kind = if ipip { TunnelKind::Ipip } else { TunnelKind::Gre };
        let host = |net: u8, last: u8| std::net::Ipv4Addr::new(net, 0, number, last);
        let ends = outer && (over_v6 || !ipip);
        let end = |last: u8| match over_v6 {
            true => [0x2001, 0xdb8, number.into(), 0, 0, 0, 0, last.into()].into(),
            false => std::net::IpAddr::V4(host(100, last)),
        };
        TunnelSpec {
            name: format!("{}{number}", kind.prefix()),
            kind,
            local: ends.then(|| end(1)),
            remote: ends.then(|| match named { true => "far.example.net".to_owned().try_into().unwrap(), false => end(2).into() }),
            learn: ends && !ipip && !named && gre.key_in.is_some() && up,
            resolve_interval,
            address: pair.then(|| host(101, 1)),
            peer: pair.then(|| host(101, 2)),
            nbma: Default::default(),
            inet6: (1..=inet6).map(|last| Ipv6Net::new_assert([0xfd01, number.into(), 0, 0, 0, 0, 0, last].into(), 64)).collect(),
            link0: true,
            link1: link1 && !ipip,
            mtu,
            ttl,
            dscp,
            ecn: if compatible { EcnMode::Compatibility } else { EcnMode::Normal },
            df: if copy_df { OuterDf::Copy } else { OuterDf::Set },
            mss,
            pmtu,
            reassemble,
            gre: if ipip { GreOptions::default() } else { gre },
            keepalive: keepalive.filter(|_| !ipip && !over_v6 && udp.is_none()),
            probe,
            udp,
            encaplimit: limit.map_or(EncapLimit::Off, EncapLimit::Fixed),
            allow: ["10.0.0.25/32", "2001:db8::/64"][..allow].iter().map(|net| net.parse().unwrap()).collect(),
            rpf,
            port: on_port.then(|| "en0".to_owned()),
            up,
        }
    }
}

prop_compose! {
    fn any_timing()(ms in 100u32..=32_767_000, retries in 1u8.., up_after in 1u8..) -> Timing {
        Timing { interval: format!("{ms}ms").parse().unwrap(), retries, up_after }
    }
}

prop_compose! {
    fn any_probe()(
        timing in any_timing(), to in proptest::option::of((101u8..110, any::<bool>())), size: bool,
    ) -> ProbeSpec {
        let host = |(net, six): (u8, bool)| match six {
            true => [0xfd01, net.into(), 0, 0, 0, 0, 0, 9].into(),
            false => std::net::IpAddr::from([net, 0, 0, 9]),
        };
        ProbeSpec { timing, to: to.map(host), size }
    }
}

prop_compose! {
    fn any_udp()(port in 1u16.., source in proptest::option::of(1u16..), checksum: bool) -> UdpSpec {
        UdpSpec { port, source, checksum }
    }
}

prop_compose! {
    fn any_filter()(
        placed: bool, from in prop::option::of((any::<[u8; 4]>(), 0u8..=32)), to in prop::option::of((any::<[u16; 8]>(), 0u8..=128)),
        protocol in prop::option::of(any::<u8>()), sport in prop::option::of((any::<u16>(), any::<u16>())),
        action in 0usize..3, log: bool,
    ) -> FilterSpec {
        let protocol = protocol.map(Protocol);
        let ports = sport.filter(|_| protocol.is_some_and(Protocol::has_ports));
        let from = from.map(|(address, len)| IpNet::new_assert(address.into(), len).trunc());
        let to = to.map(|(address, len)| IpNet::new_assert(address.into(), len).trunc());
        FilterSpec {
            name: String::new(),
            interface: placed.then(|| "en0".to_owned()),
            // One family.
            to: to.filter(|_| from.is_none()),
            from,
            protocol,
            sport: ports.map(|(a, b)| PortRange { least: a.min(b), most: a.max(b) }),
            dport: ports.map(|(a, _)| PortRange { least: a, most: a }),
            action: FilterAction::WORDS[action].1,
            log,
        }
    }
}

fn any_dscp() -> impl Strategy<Value = Dscp> {
    prop_oneof![Just(Dscp::Copy), Just(Dscp::Uniform), (0u8..64).prop_map(Dscp::Fixed)]
}

fn any_rpf() -> impl Strategy<Value = ReversePath> {
    prop_oneof![Just(ReversePath::Off), Just(ReversePath::Loose), Just(ReversePath::Strict)]
}

fn any_mss() -> impl Strategy<Value = MssClamp> {
    prop_oneof![Just(MssClamp::Off), Just(MssClamp::Auto), MSS_RANGE.prop_map(MssClamp::Fixed)]
}

fn any_route(number: u8) -> impl Strategy<Value = RouteSpec> {
    // Both families by turns, the default of each among them.
    let ipv6 = number % 2 == 1;
    let gateway = move |net: u8, last: u8| match ipv6 {
        true => [0x2001, 0xdb8, 0xff, net.into(), 0, 0, 0, last.into()].into(),
        false => std::net::IpAddr::from([net, 0, 0, last]),
    };
    let target = prop_oneof![
        (1u8..=223)
            .prop_filter("loopback", |net| *net != 127)
            .prop_map(move |net| RouteTarget::Via(gateway(net, 9))),
        Just(RouteTarget::Interface("en0".to_owned())),
        Just(RouteTarget::Blackhole),
        Just(RouteTarget::Reject),
        (1u8..100, 2usize..=16).prop_map(move |(net, count)| {
            let path = |n: usize| PathSpec {
                way: PathWay::Via(gateway(net, n as u8 + 10)),
                weight: (n * 15) as u8,
            };
            RouteTarget::Paths((1..=count).map(path).collect())
        }),
    ];
    let to = match number {
        0 => ip::everything(Family::V4),
        1 => ip::everything(Family::V6),
        _ if ipv6 => IpNet::new_assert([0x2001, number.into(), 0, 0, 0, 0, 0, 0].into(), 32),
        _ => IpNet::new_assert([number, 0, 0, 0].into(), 8),
    };
    target.prop_map(move |target| RouteSpec { to, target })
}

prop_compose! {
    fn any_state()(
        filters in prop::collection::vec(any_filter(), 0..4),
        ports in (1u8..5).prop_flat_map(|n| (0..n).map(any_port).collect::<Vec<_>>()),
        tunnels in (0u8..5).prop_flat_map(|n| (0..n).map(any_tunnel).collect::<Vec<_>>()),
        routes in (0u8..5).prop_flat_map(|n| (0..n).map(any_route).collect::<Vec<_>>()),
        vlans in 0u16..3, vlan_mtu: bool, entries in 0u8..3, named: bool, icmp: (u32, u32, bool, bool),
    ) -> State {
        let mac = |last| Mac([2, 0, 0, 0, 0, last]);
        let port = (named || ports[0].address.is_empty()).then(|| "en0".to_owned());
        let address = |last: u8| std::net::IpAddr::from([1, 0, 0, 100 + last]);
        // A subnet that holds .100 to .102.
        let near = port.is_some() || ports[0].address[0].addr().is_ipv4() && ports[0].address[0].prefix_len() <= 24;
        let entries = if near { entries } else { 0 };
        State {
            vlans: (1..=vlans).map(|id| VlanSpec {
                name: format!("en0.{id}"),
                address: vec![IpNet::new_assert([192, 168, id as u8, 1].into(), 24)],
                mtu: vlan_mtu.then_some(ports[0].mtu),
                rpf: if id % 2 == 0 { ReversePath::Strict } else { ReversePath::Off },
                advertise: (id % 2 == 0).then(AdvertiseSpec::default),
                up: id % 2 == 0,
            }).collect(),
            neighbours: (0..entries).map(|last| NeighbourSpec { address: address(last), port: port.clone(), mac: mac(last) }).collect(),
            published: (0..entries).map(|last| PublishSpec { address: address(last), port: port.clone(), mac: named.then(|| mac(last)) }).collect(),
            filters: filters.into_iter().enumerate().map(|(n, filter)| FilterSpec { name: format!("rule-{n}"), ..filter }).collect(),
            icmp: IcmpSpec { error_rate: icmp.0, error_burst: icmp.1, echo: icmp.2, time_exceeded: icmp.3 },
            ports, tunnels, routes,
        }
    }
}

prop_compose! {
    fn any_settings()(
        workers in proptest::collection::btree_set(0usize..128, 0..4), memory_mib in 32u32..=1_048_576, modes in (0u8..3, any::<[bool; 2]>()),
        buffers in proptest::option::of(1024u32..1 << 20), descriptors in 32u16..=32768, by_hand: bool,
        socket in "/[a-z \"\\\\é]{1,20}", metrics in proptest::option::of(1u16..),
    ) -> Settings {
        let queues = by_hand.then(|| QueueSettings { worker: 0, queues: vec!["en0/0".to_owned()] });
        Settings {
            dpdk: DpdkSettings {
                workers: workers.into_iter().collect(),
                memory_mib,
                hugepages: [Hugepages::Auto, Hugepages::On, Hugepages::Off][usize::from(modes.0)],
                idle: if modes.1[0] { Idle::Adaptive } else { Idle::Poll },
                spread: if modes.1[1] { Spread::Inner } else { Spread::Off },
                buffers,
                descriptors,
                queues: queues.into_iter().collect(),
            },
            socket: PathBuf::from(socket),
            metrics: metrics.map(|port| format!("127.0.0.1:{port}")),
        }
    }
}

proptest! {
    #[test]
    fn what_is_rendered_reads_back_the_same(settings in any_settings(), state in any_state()) {
        let config = Config { settings, state };
        let text = render(&config);
        prop_assert_eq!(parse(&text).map_err(|problems| format!("{problems:#?}\n{text}")), Ok(config));
    }

    #[test]
    fn any_text_is_read_or_refused(cut in 0usize..REFERENCE.len(), junk in "[\\[\\]\"=.#\n a-z0-9]{0,20}") {
        let cut = (0..=cut).rev().find(|at| REFERENCE.is_char_boundary(*at)).unwrap();
        let _ = parse(&format!("{}{junk}{}", &REFERENCE[..cut], &REFERENCE[cut..]));
    }
}
