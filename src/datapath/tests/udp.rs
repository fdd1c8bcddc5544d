//! Tunnels in UDP: header, ports and checksum by etherparse, every size, and what
//! damage does.

use etherparse::{Ipv4Header, Ipv6Header, UdpHeader};

use super::packets::{Datagram, pattern, read_ip, routed};
use super::testbed::*;
use super::testbed6::*;
use crate::datapath::drop::DropReason::*;
use crate::ids::{IfId, TableId};
use crate::tables::adjacency::{Adjacency, Encapsulation};
use crate::tables::tunnel::{Received, Tunnel, mapped};

/// GRE in UDP over IPv4, IP in UDP over IPv6; both take either.
pub const UDP4: IfId = IfId(15);
pub const UDP6: IfId = IfId(16);
pub const PORT: u16 = 4754;
const FAR4: &str = "198.51.100.8";
const OURS4: &str = "203.0.113.1";

/// Puts a UDP header into a template `at` bytes behind its link header.
fn with_udp(mut adjacency: Adjacency, at: usize, encap: Encapsulation) -> Adjacency {
    let (from, len) = (14 + at, usize::from(adjacency.rewrite_len));
    adjacency.rewrite.copy_within(from..len, from + 8);
    adjacency.rewrite[from..from + 8].copy_from_slice(&[0, 0, 0x12, 0x92, 0, 0, 0, 1]);
    adjacency.rewrite_len += 8;
    adjacency.mtu -= 8;
    adjacency.encap = encap;
    adjacency
}

/// With a tunnel in UDP over each family, led to by 40/8 and 41/8.
pub fn bed() -> Testbed {
    let mut bed = Testbed::six();
    bed.interfaces(|interfaces| interfaces.udp.push(PORT));
    let mut four = tunnel(Encapsulation::Gre, UDP4, FAR4, GRE_MTU, 0);
    four.rewrite[23] = 17;
    four.partial_checksum -= 47 - 17;
    bed.route("40.0.0.0/8", with_udp(four, 20, Encapsulation::GreInUdp));
    let mut six = tunnel6(4, 0, UDP6, false, 0);
    six.rewrite[20] = 17;
    bed.route("41.0.0.0/8", with_udp(six, 40, Encapsulation::IpipInUdp));
    let guard = bed.tables.pin();
    let (ours, far) = (host(OURS4), host(FAR4));
    let four = Tunnel { remote: far, local6: mapped(ours), remote6: mapped(far), ..Tunnel::NONE };
    let (local6, remote6) = (host6(EN1_6), host6(FAR6));
    for (id, tunnel) in [(UDP4, four), (UDP6, Tunnel { local6, remote6, ..Tunnel::NONE })] {
        let tunnel = Tunnel { interface: id, up: true, port: PORT, resync: 1, ..tunnel };
        bed.tables.tunnels.set(id.index(), tunnel, &guard);
        let (source, destination) = match id {
            UDP4 => (std::net::Ipv4Addr::from(far).into(), std::net::Ipv4Addr::from(ours).into()),
            _ => {
                (std::net::Ipv6Addr::from(remote6).into(), std::net::Ipv6Addr::from(local6).into())
            }
        };
        for protocol in [4, 41, 47] {
            let (table, key, port) = (TableId(0), None, PORT);
            let received = Received { table, source, destination, protocol, key, port };
            let key = bed.tables.decap.key_of(&received);
            bed.tables.decap.insert(key, id.0, &guard).unwrap();
        }
    }
    drop(guard);
    bed
}

/// A UDP packet from the IPv4 tunnel's far end.
pub fn from4(payload: &[u8], sum: bool) -> Vec<u8> {
    let outer = Datagram::new(FAR4, OURS4, 17, vec![]);
    let header = match sum {
        true => UdpHeader::with_ipv4_checksum(7, PORT, &outer.header, payload).unwrap(),
        false => UdpHeader::without_ipv4_checksum(7, PORT, payload.len()).unwrap(),
    };
    let bytes = [&header.to_bytes()[..], payload].concat();
    from_router(&Datagram::new(FAR4, OURS4, 17, bytes).bytes())
}

/// The same of the tunnel over IPv6.
pub fn from6(payload: &[u8], sum: bool) -> Vec<u8> {
    let ip = header6(FAR6, EN1_6, 17);
    let mut header = UdpHeader::with_ipv6_checksum(7, PORT, &ip, payload).unwrap();
    if !sum {
        header.checksum = 0;
    }
    from_router(&six(FAR6, EN1_6, 17, &[&header.to_bytes()[..], payload].concat()))
}

fn gre(inner: &[u8]) -> Vec<u8> {
    let kind = if inner[0] >> 4 == 6 { [0, 0, 0x86, 0xdd] } else { [0, 0, 8, 0] };
    [&kind[..], inner].concat()
}

#[test]
fn into_udp_with_length_ports_and_checksum_at_every_size() {
    let mut bed = bed();
    let mut ports = std::collections::BTreeSet::new();
    for len in 0..=1400 {
        let port = 1000 + (len % 200) as u16;
        let mut packet = Datagram::udp("10.0.0.163", "40.0.0.9", len);
        packet.payload[..2].copy_from_slice(&port.to_be_bytes());
        let outer = read_ip(&bed.one(EN0, &packet.frame()).1[14..]);
        assert_eq!(
            outer.header,
            Ipv4Header {
                total_len: outer.header.total_len,
                header_checksum: outer.header.header_checksum,
                ..outer_header(FAR4, 17)
            }
        );
        let (udp, payload) = UdpHeader::from_slice(&outer.payload).unwrap();
        assert_eq!(payload, gre(&routed(&packet)));
        assert_eq!(
            udp,
            UdpHeader::with_ipv4_checksum(udp.source_port, PORT, &outer.header, payload).unwrap()
        );
        assert!(udp.source_port >= 49152);
        ports.insert(udp.source_port);

        let packet = Datagram::udp("10.0.0.163", "41.0.0.9", len);
        let sent = bed.one(EN0, &packet.frame()).1;
        let (outer, rest) = Ipv6Header::from_slice(&sent[14..]).unwrap();
        assert_eq!((outer.payload_length as usize, outer.next_header.0), (rest.len(), 17));
        let (udp, payload) = UdpHeader::from_slice(rest).unwrap();
        assert_eq!(payload, routed(&packet));
        assert_eq!(
            udp,
            UdpHeader::with_ipv6_checksum(udp.source_port, PORT, &outer, payload).unwrap()
        );
        // Source port and flow label: the highest and the lowest bits of one hash.
        let flow = bed.tables.flow.datagram(&packet.bytes());
        let seen = (u32::from(udp.source_port & 0x3fff), outer.flow_label.value());
        assert_eq!(seen, (flow >> 18, flow & 0xf_ffff));
    }
    assert!(ports.len() > 180, "{} ports for 200 flows", ports.len());
    assert_eq!((bed.interface(UDP4)[1], bed.interface(UDP6)[1]), (1401, 1401));
}

#[test]
fn a_checksum_of_zero_is_sent_as_all_ones() {
    let mut bed = bed();
    // The last two bytes make the sum what it takes; one of all values does.
    let mut seen = false;
    for last in 0..=u16::MAX {
        let mut packet = Datagram::udp("10.0.0.163", "40.0.0.9", 2);
        packet.payload[8..].copy_from_slice(&last.to_be_bytes());
        let outer = read_ip(&bed.one(EN0, &packet.frame()).1[14..]);
        let (udp, _) = UdpHeader::from_slice(&outer.payload).unwrap();
        assert_ne!(udp.checksum, 0);
        seen |= udp.checksum == u16::MAX;
    }
    assert!(seen);
}

#[test]
fn out_of_udp_whatever_is_in_it_at_every_size() {
    let mut bed = bed();
    for len in 0..=1400 {
        let four = Datagram::udp("10.9.0.2", "10.0.0.163", len);
        let packet6 = udp6("2001:db8:20::9", HOST6, len);
        let (bare, six) = (four.bytes(), [routed6(&packet6), packet6]);
        for (packet, wanted) in [
            (from4(&gre(&bare), true), routed(&four)),
            (from4(&gre(&bare), false), routed(&four)),
            (from4(&bare, true), routed(&four)),
            (from6(&gre(&bare), true), routed(&four)),
            (from6(&bare, true), routed(&four)),
            (from4(&gre(&six[1]), true), six[0].clone()),
            (from4(&six[1], false), six[0].clone()),
            (from6(&gre(&six[1]), true), six[0].clone()),
            (from6(&six[1], true), six[0].clone()),
        ] {
            assert_eq!(bed.one(EN1, &packet).1[14..], wanted, "payload of {len}");
        }
    }
    assert_eq!((bed.interface(UDP4)[0], bed.interface(UDP6)[0]), (5 * 1401, 4 * 1401));
}

#[test]
fn each_damaged_bit_is_seen() {
    let mut bed = bed();
    let inner = Datagram::udp("10.9.0.2", "10.0.0.163", 9).bytes();
    for (good, header) in [(from4(&gre(&inner), true), 34), (from6(&inner, true), 54)] {
        for at in header..good.len() {
            // Another port, no checksum: another packet altogether.
            if (header + 2..header + 4).contains(&at) {
                continue;
            }
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                assert_eq!(bed.pass(EN1, &bad), Sent::new(), "byte {at} bit {bit}");
            }
        }
        bed.one(EN1, &good);
    }
    let reasons: Vec<_> = bed.drops().iter().map(|(reason, _)| *reason).collect();
    assert_eq!(reasons, [UdpBadLength, UdpBadChecksum]);
}

#[test]
fn a_far_end_in_udp_is_answered_its_keepalive() {
    let mut bed = bed();
    let alive = Datagram::gre(OURS4, FAR4, 0, 0, &[]);
    let (_, sent) = bed.one(EN1, &from4(&gre(&alive.bytes()), true));
    assert_eq!(sent[14..], routed(&alive));
}

#[test]
fn the_limit_inside_is_sent_one_less_and_cuts_outside_where_8_more_do_not_fit() {
    let mut bed = bed();
    let options = |limit| [17, 0, 4, 1, limit, 1, 1, 0];
    let packet = |net: &str, limit, len| {
        let udp = &udp6(HOST6, net, len)[40..];
        six(HOST6, net, 60, &[&options(limit)[..], udp].concat())
    };
    // A template without, one with a limit of 4.
    for (net, next) in [("2001:db8:23::9", 41), ("2001:db8:24::9", 47)] {
        for limit in [1, 7, 255] {
            let inner = packet(net, limit, 50);
            let sent = bed.one(EN0, &from_host(&inner)).1;
            assert_eq!(sent[20], 60, "{net}");
            assert_eq!(sent[54..62], [next, 0, 4, 1, limit - 1, 1, 1, 0]);
            assert_eq!(sent[sent.len() - inner.len()..], routed6(&inner));
        }
        assert_eq!(bed.pass(EN0, &from_host(&packet(net, 0, 50))), Sent::new());
    }
    assert_eq!(bed.drops(), [(EncapsulationLimit, 2)]);
    // An underlay that takes 1280 bytes with the tunnel's header, but not 8 more.
    let mut narrow = tunnel6(41, 0, IP6, false, 0);
    (narrow.mtu, narrow.underlay_mtu) = (1280, 1320);
    bed.route6("2001:db8:50::/48", narrow);
    let inner = packet("2001:db8:50::9", 2, 1280 - 56);
    let sent = bed.pass(EN0, &from_host(&inner));
    assert_eq!(sent.len(), 2, "two fragments");
    assert!(sent.iter().all(|(_, frame)| frame.len() <= 14 + 1320 && frame[20] == 44));
}

/// The packets of this file as they were before they are spoiled.
pub fn seeds() -> Vec<Vec<u8>> {
    let inner = Datagram::udp("10.9.0.2", "10.0.0.163", 60).bytes();
    let inner6 = udp6("2001:db8:20::9", HOST6, 60);
    let limited =
        six(HOST6, "2001:db8:23::9", 60, &[&[59, 0, 4, 1, 2, 1, 1, 0][..], &pattern(9)].concat());
    vec![
        from4(&gre(&inner), false),
        from4(&inner, false),
        from4(&inner6, true),
        from6(&gre(&inner6), true),
        from6(&inner, true),
        from_host(&limited),
        Datagram::udp("10.0.0.163", "40.0.0.9", 1300).frame(),
        Datagram::udp("10.0.0.163", "41.0.0.9", 1300).frame(),
    ]
}
