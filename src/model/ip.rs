//! Addresses of both IP versions: one code path for both, and here the places
//! where they differ.
//!
//! | | IPv4 | IPv6 |
//! |---|---|---|
//! | addresses of a subnet that no host has | network and broadcast address | the subnet-router anycast address, which is ours (RFC 4291 §2.6.1) |
//! | subnets without such | /31, /32 | /127 (RFC 6164), /128 |
//! | own addresses nobody configured | none | a link-local one for each link with IPv6 |

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arrayvec::ArrayVec;
use ipnet::IpNet;

use crate::ids::{Family, Mac};
use crate::wire::ipv4::martian;

/// The least of all addresses, in the order of [`IpAddr`]: IPv4 first.
pub const FIRST: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
/// The greatest of all addresses.
pub const LAST: IpAddr = IpAddr::V6(Ipv6Addr::from_bits(u128::MAX));

/// All addresses of a family.
pub const fn range(family: Family) -> std::ops::RangeInclusive<IpAddr> {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED)..=IpAddr::V4(Ipv4Addr::BROADCAST),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED)..=LAST,
    }
}

/// Least MTU of a link that carries IPv6 (RFC 8200 §5).
pub const LEAST_MTU_V6: u16 = 1280;

/// The IP version of a prefix.
pub const fn family(net: &IpNet) -> Family {
    match net {
        IpNet::V4(_) => Family::V4,
        IpNet::V6(_) => Family::V6,
    }
}

/// An address as a number, the first byte highest.
pub const fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits() as u128,
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The prefix that covers every address of a family.
pub fn everything(family: Family) -> IpNet {
    match family {
        Family::V4 => IpNet::V4(ipnet::Ipv4Net::default()),
        Family::V6 => IpNet::V6(ipnet::Ipv6Net::default()),
    }
}

/// The address that selects a tunnel's implicit route: the outer destination
/// with its last bit toggled (technote T13).
pub fn toggled(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() ^ 1).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() ^ 1).into(),
    }
}

/// True for a prefix of one address.
pub fn is_host(net: &IpNet) -> bool {
    net.prefix_len() == net.max_prefix_len()
}

/// What keeps an address from being that of one host, if anything does: as an
/// own address, a gateway, a tunnel's end or a neighbour (RFC 1812 §5.3.7, RFC
/// 4291 §2).
///
/// An IPv6 link-local address is none either: it says nothing without its link,
/// and our own are made by themselves.
pub fn not_unicast(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => {
            let bits = address.to_bits();
            if martian::is_limited_broadcast(bits) {
                Some("the broadcast address")
            } else if martian::is_multicast(bits) {
                Some("a multicast address")
            } else if martian::is_martian_source(bits) {
                Some("in a reserved range")
            } else {
                None
            }
        }
        IpAddr::V6(address) if address.is_multicast() => Some("a multicast address"),
        IpAddr::V6(address) if address.is_unicast_link_local() => {
            Some("a link-local address, which is never routed")
        }
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => {
            Some("an IPv4-mapped address, which no packet has")
        }
        // Unspecified, loopback and IPv4-compatible addresses.
        IpAddr::V6(address) if address.to_bits() >> 32 == 0 => Some("in a reserved range"),
        IpAddr::V6(_) => None,
    }
}

/// What keeps a route from leading to a prefix, if anything does.
pub fn unroutable(to: IpNet) -> Option<&'static str> {
    let inside = |first: [u16; 8], len| {
        let net = ipnet::Ipv6Net::new_assert(first.into(), len);
        matches!(to, IpNet::V6(to) if net.contains(&to))
    };
    match to {
        IpNet::V4(to) => martian::unroutable(to.network().into(), to.prefix_len()),
        IpNet::V6(_) if inside([0xff00, 0, 0, 0, 0, 0, 0, 0], 8) => Some("multicast"),
        IpNet::V6(_) if inside([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10) => Some("link-local"),
        IpNet::V6(_) if inside([0, 0, 0, 0, 0, 0xffff, 0, 0], 96) => Some("IPv4-mapped"),
        IpNet::V6(_) if inside([0; 8], 96) => Some("a reserved range"),
        IpNet::V6(_) => None,
    }
}

/// The addresses of a subnet that no host of it has, and what they are.
pub fn nobodys(net: &IpNet) -> ArrayVec<(IpAddr, &'static str), 2> {
    let mut all = ArrayVec::new();
    if net.prefix_len() >= net.max_prefix_len() - 1 {
        return all;
    }
    match net {
        IpNet::V4(_) => {
            all.push((net.network(), "network"));
            all.push((net.broadcast(), "broadcast"));
        }
        IpNet::V6(_) => all.push((net.network(), "subnet-router anycast")),
    }
    all
}

/// Prefix length of an interface's address that is given without one: the class
/// of an IPv4 address (RFC 791 §3.2), /64 as KAME has it.
pub fn default_len(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(address) => match address.octets()[0] {
            0..=127 => 8,
            128..=191 => 16,
            192..=223 => 24,
            _ => 32,
        },
        IpAddr::V6(_) => 64,
    }
}

/// The link-local address of a link address: fe80::/64 and the modified EUI-64
/// (RFC 4291 §2.5.6, appendix A).
pub fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn addresses_that_a_host_can_have() {
        for good in ["10.0.0.1", "203.0.113.1", "2001:db8::1", "fd00::1", "64:ff9b::1", "::1:0:0"] {
            assert_eq!(not_unicast(good.parse().unwrap()), None, "{good}");
        }
        for bad in [
            "0.0.0.0",
            "127.0.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::10.0.0.1",
            "::ffff:10.0.0.1",
            "ff02::1",
            "fe80::1",
            "febf::1",
        ] {
            assert!(not_unicast(bad.parse().unwrap()).is_some(), "{bad}");
        }
    }

    #[test]
    fn prefixes_that_a_route_can_have() {
        for good in ["0.0.0.0/0", "10.0.0.0/8", "::/0", "2000::/3", "fd00::/8", "::/3", "fe00::/7"]
        {
            assert_eq!(unroutable(good.parse().unwrap()), None, "{good}");
        }
        for bad in [
            "224.0.0.0/4",
            "127.0.0.0/8",
            "ff00::/8",
            "ff02::1/128",
            "fe80::/10",
            "fe80::/64",
            "::ffff:0:0/96",
            "::/96",
            "::1/128",
        ] {
            assert!(unroutable(bad.parse().unwrap()).is_some(), "{bad}");
        }
    }

    #[test]
    fn each_family_has_its_own_nobodys() {
        let shown = |net: &str| {
            let net: IpNet = net.parse().unwrap();
            nobodys(&net).iter().map(|(a, what)| format!("{a} {what}")).collect::<Vec<_>>()
        };
        assert_eq!(shown("10.0.0.1/8"), ["10.0.0.0 network", "10.255.255.255 broadcast"]);
        assert_eq!(shown("2001:db8::1/64"), ["2001:db8:: subnet-router anycast"]);
        for none in ["10.0.0.1/31", "10.0.0.1/32", "2001:db8::1/127", "2001:db8::1/128"] {
            assert!(shown(none).is_empty(), "{none}");
        }
    }

    #[test]
    fn a_link_local_address_is_the_modified_eui_64() {
        let mac = Mac([0x02, 0x00, 0x5e, 0x10, 0x00, 0x01]);
        assert_eq!(link_local(mac).to_string(), "fe80::5eff:fe10:1");
        assert_eq!(link_local(Mac([0; 6])).to_string(), "fe80::200:ff:fe00:0");
    }

    #[test]
    fn toggling_twice_is_nothing() {
        for text in ["10.0.0.24", "2001:db8::f"] {
            let address: IpAddr = text.parse().unwrap();
            assert_ne!(toggled(address), address);
            assert_eq!(toggled(toggled(address)), address);
        }
        assert_eq!(toggled("2001:db8::f".parse().unwrap()).to_string(), "2001:db8::e");
    }

    #[test]
    fn every_address_is_between_the_first_and_the_last() {
        for text in ["0.0.0.0", "255.255.255.255", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]
        {
            let address: IpAddr = text.parse().unwrap();
            assert!((FIRST..=LAST).contains(&address), "{text}");
        }
    }
}
