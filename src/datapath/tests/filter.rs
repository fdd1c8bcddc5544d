//! Packet filters against a model that knows nothing of masks or lists, and what
//! hides from them.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use proptest::prelude::*;

use super::packets::{Datagram, frame, pattern};
use super::testbed::*;
use super::testbed6::{HOST6, from_host, six, udp6};
use crate::buf::heap::TestBuf;
use crate::datapath::drop::DropReason::*;
use crate::exchange::Cause;
use crate::ids::IfId;
use crate::meeting::meet;
use crate::model::spec::{FilterAction, FilterSpec, PortRange, Protocol};
use crate::tables::adjacency::Encapsulation;
use crate::tables::adjacency::flags::GRE_SEQUENCE;
use crate::tables::filter::Filters;

/// A rule in the words of the model.
pub fn rule(words: &str, action: FilterAction) -> FilterSpec {
    let mut rule = FilterSpec::new(words, action);
    let mut words = words.split_whitespace();
    while let (Some(word), Some(value)) = (words.next(), words.next()) {
        match word {
            "in" => rule.interface = Some(value.to_owned()),
            "from" => rule.from = value.parse().ok(),
            "to" => rule.to = value.parse().ok(),
            "proto" => rule.protocol = value.parse().ok(),
            "sport" => rule.sport = value.parse().ok(),
            "dport" => rule.dport = value.parse().ok(),
            other => panic!("{other}"),
        }
    }
    rule
}

fn interface(name: &str) -> IfId {
    match name {
        "en0" => EN0_IF,
        "en1" => EN1_IF,
        _ => GRE0,
    }
}

/// The testbed's interfaces filter by these, numbered in order.
pub fn filter(bed: &Testbed, rules: &[FilterSpec]) {
    let numbered = rules.iter().zip(0..).map(|(rule, number)| {
        let named = rule.interface.as_deref().map(interface);
        (rule, number, named.into_iter().collect())
    });
    let filters = Arc::new(Filters::new(numbered));
    bed.interfaces(|interfaces| interfaces.filters = Some(filters));
}

/// Packets that met each of the first `count` rules.
fn hits(bed: &Testbed, count: usize) -> Vec<u64> {
    bed.counters.filters[..count].iter().map(|rule| rule.packets.get()).collect()
}

/// A packet of the model.
#[derive(Clone, Debug)]
struct Packet {
    arrived: &'static str,
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    ports: (u16, u16),
}

impl Packet {
    fn bytes(&self) -> Vec<u8> {
        let mut payload = self.ports.0.to_be_bytes().to_vec();
        payload.extend(self.ports.1.to_be_bytes());
        payload.extend(pattern(20));
        let (from, to) = (self.from.to_string(), self.to.to_string());
        match self.from {
            IpAddr::V4(_) => Datagram::new(&from, &to, self.protocol, payload).bytes(),
            IpAddr::V6(_) => six(&from, &to, self.protocol, &payload),
        }
    }

    /// Sends it; true if it was forwarded.
    fn passes(&self, bed: &mut Testbed) -> bool {
        let bytes = self.bytes();
        let kind = if self.from.is_ipv4() { 0x0800 } else { 0x86dd };
        let sent = match self.arrived {
            "en0" => bed.pass(EN0, &frame(EN0_MAC, HOST_MAC, kind, &bytes)),
            "en1" => bed.pass(EN1, &frame(EN1_MAC, ROUTER_MAC, kind, &bytes)),
            _ => {
                let outer = Datagram::gre("198.51.100.2", "203.0.113.1", 0, kind, &bytes);
                bed.pass(EN1, &frame(EN1_MAC, ROUTER_MAC, 0x0800, &outer.bytes()))
            }
        };
        !sent.is_empty()
    }
}

/// Whether a rule is about a packet, by text and by bit.
fn is_about(rule: &FilterSpec, packet: &Packet) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(a) => (32, a.octets().iter().flat_map(|b| bits_of(*b)).collect::<Vec<_>>()),
        IpAddr::V6(a) => (128, a.octets().iter().flat_map(|b| bits_of(*b)).collect()),
    };
    let within = |net: Option<IpNet>, address: IpAddr| {
        let Some(net) = net else { return true };
        let ((size, have), (wanted, want)) = (bits(address), bits(net.addr()));
        let len = usize::from(net.prefix_len());
        size == wanted && have[..len] == want[..len]
    };
    let port = |range: Option<PortRange>, port: u16| {
        range.is_none_or(|range| {
            (u32::from(range.least)..u32::from(range.most) + 1).contains(&u32::from(port))
        })
    };
    let asks = rule.sport.is_some() || rule.dport.is_some();
    rule.interface.as_deref().is_none_or(|name| name == packet.arrived)
        && within(rule.from, packet.from)
        && within(rule.to, packet.to)
        && rule.protocol.is_none_or(|protocol| protocol.0 == packet.protocol)
        && (!asks || [6, 17, 132].contains(&packet.protocol))
        && port(rule.sport, packet.ports.0)
        && port(rule.dport, packet.ports.1)
}

fn bits_of(byte: u8) -> impl Iterator<Item = bool> {
    (0..8).rev().map(move |bit| byte >> bit & 1 == 1)
}

fn any_action() -> impl Strategy<Value = FilterAction> {
    use FilterAction::*;
    prop_oneof![Just(Accept), Just(Drop), Just(Reject)]
}

/// An address of a few, so that rules and packets meet.
fn any_address(six: bool) -> impl Strategy<Value = IpAddr> {
    (0u8..3, 0u8..4).prop_map(move |(net, host)| match six {
        true => IpAddr::from([
            0x2001,
            0xdb8,
            0x100 + u16::from(net),
            0,
            0,
            0,
            0,
            0x10 + u16::from(host),
        ]),
        false => IpAddr::from([60, net, 0, 9 + host]),
    })
}

fn any_net() -> impl Strategy<Value = Option<IpNet>> {
    (any::<bool>(), 0u8..=32, any::<bool>(), 0u8..3).prop_flat_map(|(six, len, host, some)| {
        any_address(six).prop_map(move |address| {
            let most = if six { 128 } else { 32 };
            let len = if host {
                most
            } else if six {
                4 * len
            } else {
                len
            };
            (some > 0).then(|| IpNet::new(address, len).unwrap().trunc())
        })
    })
}

fn any_ports() -> impl Strategy<Value = Option<PortRange>> {
    (0u8..2, 0u16..6, 0u16..6)
        .prop_map(|(some, a, b)| (some > 0).then(|| PortRange { least: a.min(b), most: a.max(b) }))
}

fn any_protocol() -> impl Strategy<Value = u8> {
    prop_oneof![Just(6u8), Just(17), Just(132), Just(89)]
}

fn any_place() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("en0"), Just("en1"), Just("gre0")]
}

prop_compose! {
    fn any_rule()(
        place in prop::option::of(any_place()), from in any_net(), to in any_net(),
        protocol in prop::option::of(any_protocol()), sport in any_ports(), dport in any_ports(),
        action in any_action(),
    ) -> FilterSpec {
        // Ports need a protocol that has them.
        let has = protocol.is_some_and(|protocol| protocol != 89);
        FilterSpec {
            interface: place.map(str::to_owned), from, to,
            protocol: protocol.map(Protocol), sport: sport.filter(|_| has),
            dport: dport.filter(|_| has), ..rule("", action)
        }
    }
}

prop_compose! {
    fn any_packet()(six in any::<bool>())(
        arrived in any_place(), from in any_address(six), to in any_address(six),
        protocol in any_protocol(), sport in 0u16..7, dport in 0u16..7,
    ) -> Packet {
        Packet { arrived, from, to, protocol, ports: (sport, dport) }
    }
}

/// A testbed that leads all addresses of the model somewhere.
fn bed() -> Testbed {
    let mut bed = Testbed::six();
    let four = rewrite(EN0, EN0_IF, EN0_MAC, HOST_MAC, None, 1500);
    bed.route("60.0.0.0/8", four);
    let hop = bed.adjacency(four);
    bed.tables.fib6.insert(0x2001_0db8_0100 << 80, 40, hop).unwrap();
    bed
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Both families, on ports and out of a tunnel: each packet's first rule
    /// decides, each is counted once, and nobody else's.
    #[test]
    fn rt_16_the_first_rule_that_fits_decides(
        rules in prop::collection::vec(any_rule(), 0..12),
        packets in prop::collection::vec(any_packet(), 1..24),
    ) {
        let mut bed = bed();
        filter(&bed, &rules);
        let mut expected = vec![0; rules.len()];
        let (mut dropped, mut rejected) = (0, 0);
        for packet in &packets {
            // Its outer packet is looked at where it arrives.
            let outer = Packet {
                arrived: "en1", from: "198.51.100.2".parse().unwrap(),
                to: "203.0.113.1".parse().unwrap(), protocol: 47, ports: (0, 0),
            };
            let steps = if packet.arrived == "gre0" { vec![&outer, packet] } else { vec![packet] };
            let mut passes = true;
            for step in steps.into_iter() {
                let met = rules.iter().position(|rule| is_about(rule, step)).filter(|_| passes);
                let Some(at) = met else { continue };
                expected[at] += 1;
                passes = rules[at].action == FilterAction::Accept;
                dropped += u64::from(rules[at].action == FilterAction::Drop);
                rejected += u64::from(rules[at].action == FilterAction::Reject);
            }
            prop_assert_eq!(packet.passes(&mut bed), passes, "{:?} {:#?}", packet, rules);
        }
        prop_assert_eq!(hits(&bed, rules.len()), expected);
        let mut drops = vec![(Filtered, dropped), (FilterRejected, rejected)];
        drops.retain(|(_, count)| *count > 0);
        prop_assert_eq!(bed.drops(), drops);
        let told = bed.told();
        prop_assert!(told.iter().all(|told| told.cause == Cause::Notice(FilterRejected)));
        prop_assert_eq!(told.len() as u64, rejected);
    }
}

/// Sends a datagram from the LAN; true if it went on.
fn goes_on(bed: &mut Testbed, bytes: &[u8]) -> bool {
    !bed.pass(EN0, &from_host(bytes)).is_empty()
}

fn tcp(offset: u16, more: bool, len: usize) -> Vec<u8> {
    // Ports 0x0007 and 0x0e15.
    Datagram::new("10.0.0.163", "198.18.0.1", 6, pattern(len)).fragment(offset, more).bytes()
}

/// A fragment of TCP over IPv6, behind these headers.
fn tcp6(offset: u16, more: bool, payload: &[u8], next: u8) -> Vec<u8> {
    let word = offset << 3 | u16::from(more);
    let mut bytes = vec![next, 0];
    bytes.extend(word.to_be_bytes());
    bytes.extend([0, 0, 0, 7]);
    bytes.extend(payload);
    six(HOST6, "2001:db8:1::1", 44, &bytes)
}

#[test]
fn fragments_without_ports_go_with_what_may_pass() {
    use FilterAction::*;
    for (accepted, others, first, later) in [
        // What is accepted passes in pieces, by rules with ports or without.
        ("proto tcp dport 3605", Drop, true, true),
        ("proto tcp dport 1", Drop, false, true),
        ("proto udp", Drop, false, false),
    ] {
        let mut bed = Testbed::six();
        filter(&bed, &[rule(accepted, Accept), rule("", others)]);
        let got = [tcp(0, true, 64), tcp(8, false, 64)].map(|bytes| goes_on(&mut bed, &bytes));
        assert_eq!(got, [first, later], "{accepted}");
        let got = [tcp6(0, true, &pattern(64), 6), tcp6(8, false, &pattern(64), 6)]
            .map(|bytes| goes_on(&mut bed, &bytes));
        assert_eq!(got, [first, later], "{accepted}, IPv6");
    }
    // Of what is refused by its ports, the piece that has them.
    let mut bed = Testbed::six();
    filter(&bed, &[rule("proto tcp dport 3605", Drop)]);
    let got = [tcp(0, true, 64), tcp(8, false, 64)].map(|bytes| goes_on(&mut bed, &bytes));
    assert_eq!(got, [false, true]);
}

#[test]
fn headers_that_hide_what_a_packet_carries_are_refused_where_rules_are() {
    // TCP cut within its header (RFC 1858), and IPv6 headers that do not end in the
    // first fragment or in the packet (RFC 7112).
    let options = |n: usize| [6, 0, 1, 4, 0, 0, 0, 0].repeat(n);
    let mut chain = options(10);
    (0..9).for_each(|at| chain[8 * at] = 60);
    let hiding = [
        tcp(0, true, 8),
        tcp(1, false, 32),
        tcp6(0, true, &pattern(8), 6),
        tcp6(1, false, &pattern(32), 6),
        tcp6(0, true, &options(1)[..4], 60),
        six(HOST6, "2001:db8:1::1", 60, &[6, 9, 0, 0, 0, 0, 0, 0]),
        six(HOST6, "2001:db8:1::1", 60, &chain),
    ];
    let sound = [
        tcp(0, true, 16),
        tcp(2, false, 8),
        tcp6(0, true, &pattern(16), 6),
        tcp6(2, false, &pattern(8), 6),
        // Options that say "discard" are for the destination to refuse.
        six(HOST6, "2001:db8:1::1", 60, &[[6, 0, 0xc2, 4, 0, 0, 0, 0], [7; 8]].concat()),
    ];
    let mut bed = Testbed::six();
    for bytes in hiding.iter().chain(&sound) {
        assert!(goes_on(&mut bed, bytes), "no rule, nothing to hide from: {bytes:02x?}");
    }
    filter(&bed, &[rule("in en1", FilterAction::Drop)]);
    for bytes in &hiding {
        assert!(goes_on(&mut bed, bytes), "rules of another interface: {bytes:02x?}");
    }
    filter(&bed, &[rule("in en0", FilterAction::Accept)]);
    for bytes in &hiding {
        assert!(!goes_on(&mut bed, bytes), "{bytes:02x?}");
    }
    for bytes in &sound {
        assert!(goes_on(&mut bed, bytes), "{bytes:02x?}");
    }
    assert_eq!(bed.drops(), vec![(FilterEvasion, hiding.len() as u64)]);
}

#[test]
fn ports_are_found_behind_options_and_extension_headers() {
    let mut bed = Testbed::six();
    filter(&bed, &[rule("proto udp sport 1000 dport 2000", FilterAction::Drop)]);
    let optional = Datagram::udp("10.0.0.163", "198.18.0.1", 9).options(&[1; 8]);
    assert!(!goes_on(&mut bed, &optional.bytes()));
    let plain = udp6(HOST6, "2001:db8:1::1", 9);
    let mut behind = vec![17, 0, 1, 4, 0, 0, 0, 0];
    behind.extend(&plain[40..]);
    // Options, a routing header on its way, a fragment header of a whole packet.
    for next in [60, 43, 44] {
        let mut headers = behind.clone();
        if next != 60 {
            headers[2..8].fill(0);
            headers[3] = if next == 43 { 1 } else { 0 };
        }
        assert!(!goes_on(&mut bed, &six(HOST6, "2001:db8:1::1", next, &headers)), "{next}");
    }
    assert_eq!(bed.drops(), vec![(Filtered, 4)]);
}

#[test]
fn packets_for_us_are_filtered_and_those_we_make_are_not() {
    let mut bed = Testbed::new();
    filter(&bed, &[rule("in en0 proto icmp", FilterAction::Drop)]);
    let echo = Datagram::echo("10.0.0.163", "10.0.0.1", 9);
    assert!(!goes_on(&mut bed, &echo.bytes()));
    // A reply is nothing that arrived.
    filter(&bed, &[rule("from 10.0.0.1/32", FilterAction::Drop)]);
    assert!(goes_on(&mut bed, &echo.bytes()));
    assert_eq!(bed.drops(), vec![(Filtered, 1)]);
}

#[test]
fn what_is_logged_is_told_with_its_rule_at_a_rate_of_its_own() {
    let mut bed = Testbed::new();
    let logged = |words, action| FilterSpec { log: true, ..rule(words, action) };
    filter(
        &bed,
        &[
            rule("proto icmp", FilterAction::Accept),
            logged("proto tcp", FilterAction::Accept),
            logged("proto udp", FilterAction::Reject),
        ],
    );
    assert!(goes_on(&mut bed, &tcp(0, false, 40)));
    let udp = Datagram::udp("10.0.0.163", "198.18.0.1", 9);
    assert!(!goes_on(&mut bed, &udp.bytes()));
    let told: Vec<_> = bed.told().into_iter().map(|told| (told.cause, told.mtu)).collect();
    let log = |number| (Cause::Notice(Filtered), number);
    assert_eq!(told, vec![log(1), log(2), (Cause::Notice(FilterRejected), 0)]);
    for _ in 0..50 {
        goes_on(&mut bed, &tcp(0, false, 40));
    }
    let samples = super::super::punt::REFUSED_RATE.burst - 2;
    assert_eq!(bed.told().len() as u64, samples);
    assert_eq!(hits(&bed, 3), [0, 51, 1]);
}

/// Rules count a packet once, whichever workers it passes.
#[test]
fn what_another_worker_gave_was_looked_at_there() {
    let mut ends = meet::<TestBuf>(2, 256).into_iter();
    let mut beds = [0, 1].map(|_| Testbed::meeting(ends.next().unwrap()));
    let rules = [rule("in en0", FilterAction::Accept)];
    for bed in &mut beds {
        let far = "198.51.100.2";
        let mut into = tunnel(Encapsulation::Gre, GRE0, far, GRE_MTU, GRE_SEQUENCE);
        into.rewrite_len += 4;
        bed.route("25.0.0.0/8", into);
        filter(bed, &rules);
    }
    // Tunnel 10 is worker 0's.
    for n in 0..40 {
        beds[1].receive(EN0, &Datagram::udp("10.0.0.163", "25.1.2.3", n).frame());
    }
    assert_eq!(beds[1].turns().len() + beds[0].turns().len(), 40);
    assert_eq!((hits(&beds[0], 1), hits(&beds[1], 1)), (vec![0], vec![40]));
    beds.into_iter().for_each(std::mem::forget);
}
