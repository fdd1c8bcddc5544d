//! UDP around tunnels and limits on nesting: templates, MTU, keys, what is
//! refused.

use super::*;
use crate::ids::TableId;
use crate::tables::tunnel::{Ends, Received, mapped};

fn joined() -> Machine {
    let mut m = Machine::new();
    m.all(&office());
    m.learn(IfId(1), "203.0.113.254", 9);
    m
}

fn udp(name: &str, port: u16, source: Option<u16>, checksum: bool) -> Op {
    Op::SetUdp { name: name.into(), udp: Some(UdpSpec { port, source, checksum }) }
}

fn without(name: &str) -> Op {
    Op::SetUdp { name: name.into(), udp: None }
}

/// Whose packets with these outer ends are.
fn received(m: &Machine, protocol: u8, port: u16) -> Option<String> {
    let guard = m.tables.pin();
    let (source, destination) = (ip("198.51.100.2"), ip("203.0.113.1"));
    let (table, key) = (TableId(0), None);
    let received = Received { table, source, destination, protocol, key, port };
    let index = m.tables.decap.get(m.tables.decap.key_of(&received), &guard)?;
    Some(m.net.name(IfId(index)).unwrap().to_owned())
}

fn ports(m: &Machine) -> Vec<u16> {
    m.tables.interfaces.load(&m.tables.pin()).udp.to_vec()
}

#[test]
fn udp_is_put_around_a_tunnel_and_taken_away() {
    let mut m = joined();
    let plain = m.meets("10.0.0.25").rewrite().to_vec();
    m.ok(udp("gre0", 4754, None, true));
    let adjacency = m.meets("10.0.0.25");
    let header = outer(&adjacency);
    assert_eq!((header.protocol, header.dont_fragment), (17, true));
    assert_eq!(header.shim, [0, 0, 0x12, 0x92, 0, 0, 0, 1, 0, 0, 8, 0]);
    assert_eq!((m.view("gre0").mtu, adjacency.mtu), (1468, 1468));
    assert_eq!((received(&m, 47, 0), received(&m, 47, 4754)), (None, Some("gre0".into())));
    assert_eq!(ports(&m), [4754]);
    assert_eq!(m.view("gre0").tunnel.unwrap().udp, "4754");
    let slot = *m.tables.tunnels.get(m.id("gre0").index(), &m.tables.pin());
    let (source, destination) = (mapped(0xc633_6402), mapped(0xcb00_7101));
    assert_eq!(slot.ends(), Ends { source, destination, port: 4754 });
    assert!(!slot.unsummed);
    // By hand, without a checksum, and of one port where packets are numbered.
    m.ok(udp("gre0", 99, Some(50_001), false));
    assert_eq!(outer(&m.meets("10.0.0.25")).shim[..8], [0xc3, 0x51, 0, 99, 0, 0, 0, 0]);
    assert_eq!((ports(&m), received(&m, 47, 4754)), (vec![99], None));
    assert_eq!(m.view("gre0").tunnel.unwrap().udp, "99 from 50001 nosum");
    m.all(&[udp("gre0", 99, None, true), gre("gre0", |g| g.sequence = true)]);
    let source = outer(&m.meets("10.0.0.25")).shim[..2].to_vec();
    assert!(source[0] >= 0xc0, "{source:?}");
    let again = Machine::from_state(&m.net.state(), &[]);
    assert_eq!(again.net.state(), m.net.state());
    m.all(&[gre("gre0", |_| {}), without("gre0")]);
    assert_eq!(m.meets("10.0.0.25").rewrite(), plain);
    assert_eq!((ports(&m), received(&m, 47, 0)), (vec![], Some("gre0".into())));
    m.all(&[udp("gre0", 99, None, true), destroy("gre0")]);
    assert_eq!((ports(&m), received(&m, 47, 99)), (vec![], None));
}

#[test]
fn the_port_tells_tunnels_of_one_outer_pair_apart() {
    let mut m = joined();
    m.all(&[create("gre1"), pair("gre1", "12.1", "12.2"), udp("gre1", 4754, None, true)]);
    m.ok(endpoints("gre1", "203.0.113.1", "198.51.100.2"));
    assert_eq!(received(&m, 47, 0).unwrap(), "gre0");
    assert_eq!(received(&m, 47, 4754).unwrap(), "gre1");
    m.refused(without("gre1"), &["gre0 and gre1", "duplicate tunnel"]);
    m.refused(udp("gre0", 4754, None, false), &["gre0 and gre1", " in UDP 4754", "duplicate"]);
    m.ok(udp("gre0", 4755, None, false));
    assert_eq!(ports(&m), [4754, 4755]);
}

#[test]
fn udp_that_cannot_be() {
    let mut m = joined();
    m.refused(udp("gre0", 0, None, true), &["UDP port of 0", "1 to 65535"]);
    m.refused(udp("gre0", 1, Some(0), true), &["UDP port of 0"]);
    m.refused(udp("en0", 4754, None, true), &["en0 is a port", "a tunnel"]);
    m.ok(set("gre0", |f| f.link0 = Some(false)));
    m.refused(udp("gre0", 4754, None, true), &["MOBILE", "no UDP"]);
    m.all(&[set("gre0", |f| f.link0 = Some(true)), udp("gre0", 4754, None, true)]);
    m.refused(set("gre0", |f| f.link0 = Some(false)), &["MOBILE", "no UDP"]);
    m.refused(set("gre0", |f| f.mtu = Some(65_504)), &["65503"]);
    // As many ports as the path can tell, and each again.
    for n in 1..=16u16 {
        let name = format!("gre{n}");
        m.all(&[create(&name), udp(&name, 5000 + n, None, true)]);
        let end = endpoints(&name, "203.0.113.1", "198.51.100.9");
        match n {
            16 => _ = m.refused(end, &["gre16", "16 there can be"]),
            _ => _ = m.ok(end),
        }
    }
    m.all(&[udp("gre16", 5001, None, true), endpoints("gre16", "203.0.113.1", "198.51.100.10")]);
    assert_eq!(ports(&m).len(), 16);
}

#[test]
fn a_limit_on_nesting_is_eight_bytes_over_ipv6_and_nothing_over_ipv4() {
    let mut m = joined();
    let limit = |n| set("gre0", |f| f.encaplimit = Some(EncapLimit::Fixed(n)));
    m.ok(limit(4));
    assert_eq!((m.view("gre0").mtu, m.meets("10.0.0.25").mtu), (1476, 1476));
    m.all(&[alias("en1", "2001:db8:ff::1/64"), add("2001:db8:aa::/48", "2001:db8:ff::fe")]);
    m.learn(IfId(1), "2001:db8:ff::fe", 9);
    m.ok(endpoints("gre0", "2001:db8:ff::1", "2001:db8:aa::2"));
    let adjacency = m.meets("10.0.0.25");
    assert_eq!((m.view("gre0").mtu, adjacency.mtu), (1448, 1448));
    let bytes = adjacency.rewrite();
    assert_eq!((bytes.len(), bytes[20]), (14 + 40 + 8 + 4, 60));
    assert_eq!(bytes[54..], [47, 0, 4, 1, 4, 1, 1, 0, 0, 0, 8, 0]);
    assert_eq!(m.view("gre0").tunnel.unwrap().encaplimit, "4");
    m.ok(udp("gre0", 4754, None, true));
    let adjacency = m.meets("10.0.0.25");
    assert_eq!(adjacency.rewrite()[54..64], [17, 0, 4, 1, 4, 1, 1, 0, 0, 0]);
    assert_eq!((adjacency.mtu, adjacency.outer_len()), (1440, 48));
    // An inner limit takes the place of ours, or finds one.
    let other = adjacency.limited(9);
    assert_eq!((other.rewrite_len, other.rewrite()[58]), (adjacency.rewrite_len, 9));
    m.all(&[set("gre0", |f| f.encaplimit = Some(EncapLimit::Off))]);
    assert_eq!(m.meets("10.0.0.25").limited(4).rewrite(), adjacency.rewrite());
    m.refused(set("en0", |f| f.encaplimit = Some(EncapLimit::Off)), &["en0 is not a tunnel"]);
}

#[test]
fn a_tunnel_over_ipv6_to_an_own_address_is_refused() {
    let mut m = joined();
    m.all(&[alias("en0", "2001:db8::1/64"), alias("en1", "2001:db8:ff::1/64")]);
    let own = endpoints("gre0", "2001:db8:ff::1", "2001:db8::1");
    m.refused(own, &["2001:db8::1 is our own address", "itself"]);
    let same = endpoints("gre0", "2001:db8:ff::1", "2001:db8:ff::1");
    m.refused(same, &["both ends are 2001:db8:ff::1", "itself"]);
    // The address comes after the tunnel.
    m.ok(endpoints("gre0", "2001:db8:ff::1", "2001:db8::9"));
    m.refused(alias("en0", "2001:db8::9/64"), &["2001:db8::9 is our own address", "itself"]);
}
