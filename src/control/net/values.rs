//! Checks of single values: what an address, a route or a link address may be,
//! whatever else is configured.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::refusal::Refusal;
use crate::ids::Mac;
use crate::wire::ipv4::martian;

/// Largest IPv4 datagram.
pub(super) const MAX_DATAGRAM: u16 = 65_535;

/// Least MTU of anything (RFC 791).
pub(super) const LEAST_MTU: u16 = 68;

/// An address that one host can have (RT-14).
pub(super) fn unicast(what: &'static str, address: Ipv4Addr) -> Result<(), Refusal> {
    let bits = u32::from(address);
    let why = if martian::is_limited_broadcast(bits) {
        "the broadcast address"
    } else if martian::is_multicast(bits) {
        "a multicast address"
    } else if martian::is_martian_source(bits) {
        "in a reserved range"
    } else {
        return Ok(());
    };
    Err(Refusal::NotUnicast { what, address, why })
}

/// Prefix length of the class of an address (RFC 791 §3.2): what `ifconfig`
/// assumes when no mask is given.
pub(super) fn classful(address: Ipv4Addr) -> u8 {
    match address.octets()[0] {
        0..=127 => 8,
        128..=191 => 16,
        _ => 24,
    }
}

/// The address of a link: a host of its subnet.
pub(super) fn host_of(net: Ipv4Net) -> Result<(), Refusal> {
    let address = net.addr();
    unicast("address", address)?;
    if net.prefix_len() == 0 {
        return Err(Refusal::PrefixLen { address, got: 0, expected: "1 to 32" });
    }
    match nobody(&net, address) {
        Some(what) => Err(Refusal::NotHost { address, what, subnet: net.trunc() }),
        None => Ok(()),
    }
}

/// The addresses of a subnet that no host of it has: network and broadcast
/// address. /31 (RFC 3021) and /32 have none.
pub(super) fn nobodys(net: &Ipv4Net) -> impl Iterator<Item = Ipv4Addr> {
    let both = (net.prefix_len() < 31).then(|| [net.network(), net.broadcast()]);
    both.into_iter().flatten()
}

/// Which of them an address is.
pub(super) fn nobody(net: &Ipv4Net, address: Ipv4Addr) -> Option<&'static str> {
    let at = nobodys(net).position(|nobodys| nobodys == address)?;
    Some(["network", "broadcast"][at])
}

/// A destination a static route can have.
pub(super) fn routable(to: Ipv4Net) -> Result<(), Refusal> {
    if to.trunc() != to {
        return Err(Refusal::HostBits(to, to.trunc()));
    }
    match martian::unroutable(to.network().into(), to.prefix_len()) {
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
        for good in ["10.0.0.1/8", "203.0.113.1/24", "10.0.0.0/31", "10.0.0.1/31", "10.0.0.255/32"]
        {
            assert!(ok(good), "{good}");
        }
        for bad in [
            "10.0.0.0/8",
            "10.255.255.255/8",
            "0.0.0.1/8",
            "127.0.0.1/8",
            "224.0.0.1/4",
            "1.2.3.4/0",
        ] {
            assert!(!ok(bad), "{bad}");
        }
    }

    #[test]
    fn routes_to_hosts_nets_and_default() {
        for good in ["0.0.0.0/0", "0.0.0.0/1", "10.0.0.0/8", "1.2.3.4/32", "128.0.0.0/1"] {
            assert_eq!(routable(good.parse().unwrap()), Ok(()), "{good}");
        }
        for bad in
            ["10.0.0.1/8", "224.0.0.0/4", "127.0.0.0/8", "127.0.0.1/32", "255.255.255.255/32"]
        {
            assert!(routable(bad.parse().unwrap()).is_err(), "{bad}");
        }
    }
}
