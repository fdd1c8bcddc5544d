//! Checks of single values: what an address, a route or a link address may be,
//! whatever else is configured.

use std::net::IpAddr;

use ipnet::IpNet;

use super::refusal::Refusal;
use crate::ids::Mac;
use crate::model::ip;

/// Largest datagram an interface takes: IPv4's, and IPv6's without jumbograms
/// less its header.
pub(super) const MAX_DATAGRAM: u16 = 65_535;

/// Least MTU of anything (RFC 791).
pub(super) const LEAST_MTU: u16 = 68;

/// An address that one host can have (RT-14).
pub(super) fn unicast(what: &'static str, address: IpAddr) -> Result<(), Refusal> {
    match ip::not_unicast(address) {
        Some(why) => Err(Refusal::NotUnicast { what, address, why }),
        None => Ok(()),
    }
}

/// The address of an interface: a host of its subnet.
pub(super) fn host_of(net: IpNet) -> Result<(), Refusal> {
    let address = net.addr();
    unicast("address", address)?;
    if net.prefix_len() == 0 {
        return Err(prefix_len(address, 0));
    }
    match nobody(&net, address) {
        Some(what) => Err(Refusal::NotHost { address, what, subnet: net.trunc() }),
        None => Ok(()),
    }
}

/// An address with a prefix length that it can have.
pub(super) fn with_len(address: IpAddr, len: u8) -> Result<IpNet, Refusal> {
    IpNet::new(address, len).map_err(|_| prefix_len(address, len))
}

fn prefix_len(address: IpAddr, got: u8) -> Refusal {
    let expected = if address.is_ipv4() { "1 to 32" } else { "1 to 128" };
    Refusal::PrefixLen { address, got, expected }
}

/// Which of the addresses that no host of a subnet has an address is.
pub(super) fn nobody(net: &IpNet, address: IpAddr) -> Option<&'static str> {
    let all = ip::nobodys(net);
    all.iter().find(|(nobodys, _)| *nobodys == address).map(|(_, what)| *what)
}

/// A destination a static route can have.
pub(super) fn routable(to: IpNet) -> Result<(), Refusal> {
    if to.trunc() != to {
        return Err(Refusal::HostBits(to, to.trunc()));
    }
    match ip::unroutable(to) {
        Some(what) => Err(Refusal::Unroutable(to, what)),
        None => Ok(()),
    }
}

/// A link address that one station can have.
pub(super) fn station(mac: Mac) -> Result<(), Refusal> {
    if mac.is_multicast() {
        return Err(Refusal::BadMac(mac, "a group address"));
    }
    if mac == Mac::default() {
        return Err(Refusal::BadMac(mac, "all zero"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ok(net: &str) -> bool {
        host_of(net.parse().unwrap()).is_ok()
    }

    #[test]
    fn hosts_of_subnets() {
        for good in [
            "10.0.0.1/8",
            "203.0.113.1/24",
            "10.0.0.0/31",
            "10.0.0.1/31",
            "10.0.0.255/32",
            "2001:db8::1/64",
            "2001:db8::/127",
            "fd00::ffff/112",
        ] {
            assert!(ok(good), "{good}");
        }
        for bad in [
            "10.0.0.0/8",
            "10.255.255.255/8",
            "0.0.0.1/8",
            "127.0.0.1/8",
            "224.0.0.1/4",
            "1.2.3.4/0",
            "2001:db8::/64",
            "2001:db8::1/0",
            "fe80::1/64",
            "ff02::1/64",
            "::ffff:10.0.0.1/128",
            "::1/128",
        ] {
            assert!(!ok(bad), "{bad}");
        }
    }

    #[test]
    fn routes_to_hosts_nets_and_default() {
        for good in [
            "0.0.0.0/0",
            "0.0.0.0/1",
            "10.0.0.0/8",
            "1.2.3.4/32",
            "128.0.0.0/1",
            "::/0",
            "fd00::/8",
        ] {
            assert_eq!(routable(good.parse().unwrap()), Ok(()), "{good}");
        }
        for bad in [
            "10.0.0.1/8",
            "224.0.0.0/4",
            "127.0.0.0/8",
            "127.0.0.1/32",
            "255.255.255.255/32",
            "fd00::1/8",
            "ff00::/8",
            "fe80::/64",
        ] {
            assert!(routable(bad.parse().unwrap()).is_err(), "{bad}");
        }
    }
}
