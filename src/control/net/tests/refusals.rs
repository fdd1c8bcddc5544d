//! Bad input: one clear text each, the state untouched.

use super::*;

fn office_machine() -> Machine {
    let mut m = Machine::new();
    m.all(&office());
    m.ok(create("ipip0"));
    m
}

#[test]
fn each_refusal_says_what_was_expected() {
    let mut m = office_machine();
    let state = m.net.state();
    let spec = |to: &str, target| Op::AddRoute { route: RouteSpec { to: net(to), target } };
    let tunnel = |fill: &dyn Fn(&mut TunnelSpec)| {
        let mut tunnel = m.net.state().tunnels[0].clone();
        (tunnel.name, tunnel.peer, tunnel.remote) =
            ("gre5".into(), Some(ip4("44.2")), Some(ip("44.4").into()));
        fill(&mut tunnel);
        Op::PutTunnel { tunnel: tunnel.into() }
    };
    let cases: Vec<(Op, &[&str])> = vec![
        (create("gre0"), &["gre0", "exists already"]),
        (create("en0"), &["en0 exists already"]),
        (create("tun0"), &["tun0", "expected gre"]),
        (create("en9.20"), &["en9.20"]),
        (create("en0.4095"), &["4094"]),
        (destroy("en0"), &["en0", "port"]),
        (address("en9", "10.1"), &["no interface `en9`"]),
        (address("en0", "10.1/33"), &["33", "1 to 32"]),
        (address("en0", "10.1/0"), &["0", "1 to 32"]),
        (address("en0", "224.0.0.1"), &["multicast"]),
        (address("en0", "255.255.255.255"), &["broadcast"]),
        (address("en0", "127.0.0.1"), &["reserved"]),
        (address("en0", "11.0.0.0/8"), &["network address of 11.0.0.0/8"]),
        (address("en0", "11.255.255.255/8"), &["broadcast address"]),
        (alias("en0", "10.1/16"), &["en0 has the address 10.0.0.1 already"]),
        (address("en1", "10.7/16"), &["overlap", "10.0.0.0/8 of en0", "10.0.0.0/16 of en1"]),
        (pair("en0", "10.1", "10.2"), &["en0 is not point to point"]),
        (address("gre0", "12.1"), &["gre0", "far end"]),
        (pair("gre0", "12.1", "12.1"), &["itself"]),
        (pair("gre0", "12.1", "224.0.0.1"), &["far end 224.0.0.1", "multicast"]),
        (pair("gre0", "12.1", "203.0.113.1"), &["203.0.113.1 is our own address on en1"]),
        (endpoints("gre0", "203.0.113.1", "203.0.113.1"), &["itself"]),
        (endpoints("gre0", "203.0.113.1", "10.1"), &["10.0.0.1 is our own address", "itself"]),
        (endpoints("en0", "10.1", "10.2"), &["en0", "expected a tunnel"]),
        (address("en0", "198.51.100.2"), &["tunnel destination of gre0"]),
        (address("en1", "203.0.113.254/24"), &["gateway of 0.0.0.0/0"]),
        (door("gre0", &["10.0.0.1/8"], None), &["10.0.0.1/8", "10.0.0.0/8"]),
        (door("gre0", &["10.0.0.0/8"; 17], None), &["gre0", "17 allowed networks", "16 at most"]),
        (door("gre0", &[], Some("en9")), &["no interface `en9`"]),
        (door("gre0", &[], Some("en0.20")), &["no interface `en0.20`"]),
        (door("gre0", &[], Some("ipip0")), &["ipip0 is a tunnel", "port or VLAN"]),
        (door("en0", &["10.0.0.0/8"], None), &["en0 is not a tunnel", "allow"]),
        (door("en0", &[], Some("en1")), &["en0 is not a tunnel", "port"]),
        (set("ipip0", |f| f.link0 = Some(false)), &["ipip0 takes no link0"]),
        (gre("ipip0", |g| g.key_in = Some(1)), &["ipip0 is an ipip tunnel", "key"]),
        (gre("ipip0", |g| g.checksum = true), &["ipip0 is an ipip tunnel", "checksum"]),
        (gre("ipip0", |g| g.sequence = true), &["ipip0 is an ipip tunnel", "sequence"]),
        (gre("gre0", |g| g.sequence_resync = 3601), &["gre0", "3601", "0 to 3600"]),
        (gre("en0", |g| g.checksum = true), &["en0", "expected a tunnel"]),
        (set("gre0", |f| f.mtu = Some(10)), &["gre0", "10", "68 to 65511"]),
        (set("gre0", |f| f.ttl = Some(0)), &["TTL", "1 to 255"]),
        (set("gre0", |f| f.dscp = Some(Dscp::Fixed(64))), &["64", "0 to 63"]),
        (set("en0", |f| f.mtu = Some(9001)), &["9001", "68 to 9000"]),
        (set("en0", |f| f.link1 = Some(true)), &["en0 is not a tunnel"]),
        (unaddress("en0", "10.2"), &["en0 has no address 10.0.0.2"]),
        (add("0.0.0.0/0", "10.2"), &["already"]),
        (change("99.0.0.0/8", "10.2"), &["no static route to 99.0.0.0/8"]),
        (delete("99.0.0.0/8"), &["no static route to 99.0.0.0/8"]),
        (add("99.0.0.1/8", "10.2"), &["99.0.0.0/8"]),
        (add("224.0.0.0/4", "10.2"), &["multicast"]),
        (add("99.0.0.0/8", "10.1"), &["10.0.0.1 is our own address", "gateway"]),
        (spec("99.0.0.0/8", RouteTarget::Interface("gre9".into())), &["no interface `gre9`"]),
        (neighbour("10.1", 1), &["own address"]),
        (neighbour("99.1", 1), &["99.0.0.1", "name the port"]),
        (publish("10.1"), &["own address"]),
        (Op::DeleteArp { address: ip("10.99") }, &["no ARP entry for 10.0.0.99"]),
        (tunnel(&|t| t.kind = TunnelKind::Ipip), &["gre5", "ipip0"]),
        (
            tunnel(&|t| {
                t.link0 = false;
                t.gre.key_in = Some(7);
            }),
            &["gre5", "MOBILE", "key"],
        ),
        (tunnel(&|t| t.peer = None), &["address and peer", "both"]),
        (
            tunnel(&|t| t.remote = Some(ip("198.51.100.2").into())),
            &["gre0", "gre5", "duplicate tunnel"],
        ),
        (tunnel(&|t| t.peer = Some(ip4("10.25"))), &["gre0 and gre5", "10.0.0.25"]),
    ];
    for (op, words) in cases {
        m.refused(op, words);
    }
    for bad in [Mac([1, 0, 0x5e, 0, 0, 1]), Mac::BROADCAST, Mac::default()] {
        let neighbour = NeighbourSpec { address: ip("10.9"), port: None, mac: bad };
        m.refused(Op::PutNeighbour { neighbour }, &["expected a unicast address"]);
        let publish = PublishSpec { address: ip("10.9"), port: None, mac: Some(bad) };
        m.refused(Op::Publish { publish }, &["expected a unicast address"]);
    }
    assert_eq!(m.net.state(), state);
}

#[test]
fn what_is_not_there_is_not_found() {
    let mut m = office_machine();
    let not_found = [
        destroy("gre9"),
        unaddress("en0", "10.9"),
        delete("9.0.0.0/8"),
        change("9.0.0.0/8", "10.2"),
    ];
    for op in not_found {
        assert_eq!(m.refused(op, &[]), ErrorCode::NotFound);
    }
    assert_eq!(m.refused(create("gre0"), &[]), ErrorCode::Refused);
}

#[test]
fn a_configuration_hears_all_of_it_with_places() {
    let mut m = Machine::new();
    let at = |at: &str, op| Located { at: at.into(), op };
    let bad = TunnelSpec {
        local: Some(ip("10.1")),
        remote: Some(ip("10.1").into()),
        link1: false,
        ..bare("gre2")
    };
    let to_self =
        TunnelSpec { name: "gre3".into(), remote: Some(ip("10.1").into()), ..bad.clone() };
    let to_self = TunnelSpec { local: Some(ip("10.9")), ..to_self };
    let ops = [
        at("port[0]", address("en0", "10.1/8")),
        at("port[1]", address("en1", "10.2/16")),
        at("tunnel[0]", Op::PutTunnel { tunnel: bad.into() }),
        at("tunnel[1]", Op::PutTunnel { tunnel: to_self.into() }),
        // Not told again: its interface failed.
        at("route[0]", through("11.0.0.0/8", "gre2")),
        at("route[1]", add("11.0.0.1/8", "10.3")),
    ];
    let error = m.net.transact(&ops, &|_| false).unwrap_err();
    let places: Vec<&str> = error.problems.iter().map(|problem| problem.at.as_str()).collect();
    assert_eq!(
        places,
        ["tunnel[0].remote", "route[1].to", "tunnel[1].remote", "port[0].address"],
        "{error}"
    );
    assert_eq!(m.net.state(), Machine::new().net.state());
}
