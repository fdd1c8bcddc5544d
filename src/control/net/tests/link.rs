//! Ports and VLANs: classful addresses, tags, MTU, the snapshot.

use super::*;
use crate::control::topology::Topology;

#[test]
fn classful_masks_replace_and_alias() {
    let mut m = Machine::new();
    for (text, len) in [("10.1", 8), ("172.16.0.1", 16), ("192.168.1.1", 24)] {
        m.ok(address("en0", text));
        let addresses = m.view("en0").addresses;
        assert_eq!(addresses.len(), 1, "replaced");
        assert_eq!((addresses[0].address, addresses[0].prefix_len), (ip(text), len));
    }
    m.ok(alias("en0", "10.1"));
    assert_eq!(m.view("en0").addresses.len(), 2);
    m.ok(address("en0", "11.1"));
    let state = m.net.state().ports[0].address.clone();
    assert_eq!(state, [net("11.0.0.1/8"), net("10.0.0.1/8")]);
    assert_eq!(m.kind("192.168.1.9"), AdjacencyKind::NoRoute);
    // Two addresses in one subnet: it stays until the last one goes.
    m.all(&[alias("en0", "11.2"), unaddress("en0", "11.1")]);
    assert_eq!(m.kind("11.9"), AdjacencyKind::Resolve);
    m.ok(unaddress("en0", "11.2"));
    assert_eq!(m.kind("11.9"), AdjacencyKind::NoRoute);
}

#[test]
fn a_vlan_has_its_tag_and_follows_its_port() {
    let mut m = Machine::new();
    m.all(&[create("en0.20"), address("en0.20", "10.1"), create("gre0")]);
    m.all(&[pair("gre0", "12.1", "12.2"), endpoints("gre0", "10.1", "10.9"), link1("gre0")]);
    let vlan = m.id("en0.20");
    m.learn(vlan, "10.9", 9);
    let adjacency = m.meets("10.9");
    let mut header = mac(9).0.to_vec();
    header.extend([2, 0, 0, 0, 0, 0, 0x81, 0, 0, 20, 8, 0]);
    assert_eq!((adjacency.l2_len, adjacency.rewrite()), (18, &header[..]));
    let tunnel = m.meets("12.2");
    assert_eq!(
        (tunnel.kind, tunnel.rewrite_len, tunnel.port),
        (AdjacencyKind::Tunnel, 42, PortId(0))
    );
    let bytes = frame(&tunnel, &[0x45; 20]);
    let sliced = etherparse::SlicedPacket::from_ethernet(&bytes).unwrap();
    assert_eq!(sliced.vlan_ids().iter().map(|id| id.value()).collect::<Vec<_>>(), [20]);
    let attached = |m: &Machine| {
        let guard = m.tables.pin();
        let port = m.tables.interfaces.load(&guard).port(PortId(0)).unwrap().clone();
        (port.attachment(0).unwrap(), port.attachment(20))
    };
    assert_eq!(attached(&m).1.map(|at| (at.id, at.up)), Some((vlan, true)));
    m.ok(set("en0", |f| f.up = Some(false)));
    assert_eq!(attached(&m).1.map(|at| at.up), Some(false));
    assert!(!attached(&m).0.up);
    assert!(!m.running("gre0") && !m.net.link(vlan).unwrap().up);
    m.ok(set("en0", |f| f.up = Some(true)));
    assert!(m.running("gre0"));
    m.all(&[neighbour("10.8", 8), publish("10.7")]);
    let outcome = m.ok(destroy("en0.20"));
    assert_eq!(outcome.notes.iter().filter(|note| note.contains("gone too")).count(), 2);
    assert_eq!(attached(&m).1, None);
    assert_eq!(m.kind("10.9"), AdjacencyKind::NoRoute);
    assert!(m.net.state().neighbours.is_empty() && m.net.state().published.is_empty());
    assert!(!m.running("gre0"));
}

#[test]
fn mtu_follows_the_underlay() {
    let mut m = Machine::new();
    m.all(&office());
    m.learn(EN1, "203.0.113.254", 7);
    let mtu =
        |m: &Machine| (m.meets("10.25").mtu, m.meets("10.25").underlay_mtu, m.view("gre0").mtu);
    assert_eq!(mtu(&m), (1476, 1500, 1476));
    m.ok(set("en1", |f| f.mtu = Some(9000)));
    assert_eq!(mtu(&m), (8976, 9000, 8976));
    m.ok(set("gre0", |f| f.mtu = Some(1400)));
    assert_eq!(mtu(&m), (1400, 9000, 1400));
    m.ok(set("en1", |f| f.mtu = Some(1000)));
    assert_eq!(mtu(&m), (976, 1000, 976), "outer DF is set: no more than fits");
    m.ok(set("gre0", |f| f.df = Some(OuterDf::Copy)));
    assert_eq!(mtu(&m), (976, 1000, 976), "what has DF must fit all the same");
    assert_eq!(
        m.meets("10.25").flags,
        crate::tables::adjacency::flags::COPY_DF | crate::tables::adjacency::flags::COPY_DSCP
    );
    assert!(!outer(&m.meets("10.25")).dont_fragment);
    m.ok(set("en1", |f| f.mtu = Some(80)));
    assert!(m.reason("gre0").contains("leaves no room"), "{}", m.reason("gre0"));
    m.ok(set("en1", |f| f.mtu = Some(0)));
    m.ok(set("gre0", |f| (f.mtu, f.df) = (Some(0), Some(OuterDf::Set))));
    assert_eq!(mtu(&m), (1476, 1500, 1476));
    m.ok(set("gre0", |f| (f.ttl, f.dscp) = (Some(9), Some(Dscp::Fixed(46)))));
    let adjacency = m.meets("10.25");
    assert_eq!((outer(&adjacency).ttl, adjacency.flags), (9, 0));
    assert_eq!(adjacency.rewrite()[usize::from(adjacency.l2_len) + 1], 46 << 2);
}

#[test]
fn the_snapshot_has_outer_sources_first() {
    let mut m = Machine::new();
    m.all(&[address("en0", "10.1"), address("en1", "203.0.113.1/24"), create("gre0")]);
    let own = |m: &Machine| {
        let guard = m.tables.pin();
        let own = &m.tables.interfaces.load(&guard).own;
        own.iter().map(|a| Ipv4Addr::from(*a)).collect::<Vec<_>>()
    };
    assert_eq!(own(&m), [ip("10.1"), ip("203.0.113.1")]);
    m.ok(endpoints("gre0", "203.0.113.1", "198.51.100.2"));
    assert_eq!(own(&m), [ip("203.0.113.1"), ip("10.1")]);
    m.ok(endpoints("gre0", "9.9.9.9", "198.51.100.2"));
    assert_eq!(own(&m), [ip("10.1"), ip("203.0.113.1")], "what is not ours is not in it");
    m.ok(Op::SetIcmp { icmp: IcmpSpec { echo: false, ..IcmpSpec::default() } });
    let guard = m.tables.pin();
    assert!(!m.tables.interfaces.load(&guard).echo);
}

/// 1280 bytes of IPv6 pass every tunnel: what does not fit with its headers is
/// cut outside, and that follows the underlay both ways.
#[test]
fn g6_03_h6_02_1280_bytes_pass_whatever_the_underlay_takes() {
    use crate::tables::adjacency::flags::CUT_OUTER;
    let mut m = Machine::new();
    m.all(&[address("en1", "203.0.113.1/24"), add("0.0.0.0/0", "203.0.113.254"), create("gre0")]);
    m.ok(address("en1", "2001:db8:ff::1/64"));
    m.ok(Op::SetAddress {
        name: "gre0".into(),
        address: ip("fd00::1"),
        prefix_len: None,
        peer: None,
        alias: false,
    });
    m.all(&[link1("gre0"), endpoints("gre0", "203.0.113.1", "198.51.100.2")]);
    m.learn(EN1, "203.0.113.254", 7);
    m.learn(EN1, "2001:db8:ff::9", 9);
    let meets = |m: &Machine| (m.meets("fd00::9").mtu, m.meets("fd00::9").flags & CUT_OUTER != 0);
    for (local, remote, overhead) in
        [("203.0.113.1", "198.51.100.2", 24), ("2001:db8:ff::1", "2001:db8:ff::9", 44)]
    {
        m.ok(endpoints("gre0", local, remote));
        for mtu in [1500, 1280 + overhead, 1280 + overhead - 1, 1280, 1500] {
            m.ok(set("en1", |f| f.mtu = Some(mtu)));
            let fits = mtu - overhead;
            assert_eq!(meets(&m), (fits.max(1280), fits < 1280), "{remote} {mtu}");
            assert!(m.kind("fd00::9").is_tunnel(), "{remote} {mtu}");
        }
    }
    // A link of less is refused while it has IPv6, and a tunnel's own MTU does not
    // go below either.
    m.refused(set("en1", |f| f.mtu = Some(1279)), &["1279", "1280 at least"]);
    m.ok(set("gre0", |f| f.mtu = Some(1000)));
    assert_eq!(meets(&m).0, 1280);
}

/// Both families alike.
#[test]
fn v6_04_no_tunnel_leads_to_itself() {
    let mut m = Machine::new();
    m.all(&[address("en0", "2001:db8::1/64"), address("en1", "2001:db8:ff::1/64"), create("gre0")]);
    let same = endpoints("gre0", "2001:db8:ff::1", "2001:db8:ff::1");
    m.refused(same, &["both ends are 2001:db8:ff::1"]);
    let other = endpoints("gre0", "2001:db8:ff::1", "2001:db8::1");
    m.refused(other, &["2001:db8::1 is our own address", "itself"]);
    m.ok(endpoints("gre0", "2001:db8:ff::1", "2001:db8:aa::2"));
    m.refused(address("en0", "2001:db8:aa::2/64"), &["tunnel destination of gre0"]);
}

#[test]
fn hosts_are_told_of_the_prefixes_of_links_that_are_up_and_ask_for_it() {
    let mut m = Machine::new();
    let advertise = |name: &str, advertise| Op::SetAdvertise { name: name.into(), advertise };
    let usual = AdvertiseSpec::default();
    m.ok(advertise("en0", Some(usual)));
    assert_eq!(m.net.advertised(), [], "no IPv6, nothing to tell");
    m.all(&[address("en0", "2001:db8::1/64"), alias("en0", "2001:db8::2/64")]);
    m.ok(alias("en0", "2001:db8:1::1/80"));
    let all = m.net.advertised();
    assert_eq!((all.len(), all[0].link.id, all[0].spec), (1, EN0, usual));
    assert_eq!(IpAddr::V6(all[0].source), m.net.source(EN0, ip("fe80::9")).unwrap());
    let told: Vec<String> =
        all[0].prefixes.iter().map(|(net, len)| format!("{net}/{len}")).collect();
    assert_eq!(told, ["2001:db8::/64", "2001:db8:1::/80"]);
    assert_eq!(m.net.state().ports[0].advertise, Some(usual));
    assert_eq!(m.view("en0").advertise, Some(usual));
    m.ok(set("en0", |f| f.up = Some(false)));
    assert_eq!(m.net.advertised(), []);
    let state = m.net.state();
    assert_eq!(Machine::from_state(&state, &[]).net.state(), state);
    m.all(&[create("gre0"), create("en0.20")]);
    m.refused(advertise("gre0", Some(usual)), &["gre0 is a tunnel"]);
    let short = AdvertiseSpec { interval: 3, ..usual };
    m.refused(advertise("en0.20", Some(short)), &["en0.20", "3 seconds"]);
    m.ok(advertise("en0.20", Some(usual)));
    m.ok(advertise("en0", None));
    assert_eq!(m.net.state().ports[0].advertise, None);
    for n in 2..4 {
        m.ok(alias("en0.20", &format!("2001:db8:{n}::1/64")));
    }
    m.ok(alias("en0.20", "2001:db8:4::1/64"));
    m.ok(alias("en0.20", "2001:db8:5::1/64"));
    m.refused(alias("en0.20", "2001:db8:6::1/64"), &["en0.20 has 5 IPv6 networks"]);
}
