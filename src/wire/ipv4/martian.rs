//! Addresses that are never routed (RFC 1812 §5.3.7, RT-14).
//!
//! | block | as source | as destination |
//! |---|---|---|
//! | 0.0.0.0/8 "this network" | martian | martian |
//! | 127.0.0.0/8 loopback | martian | martian |
//! | 224.0.0.0/4 multicast (class D) | martian | [`is_multicast`] |
//! | 240.0.0.0/4 reserved (class E) | martian | martian |
//! | 255.255.255.255 | martian | [`is_limited_broadcast`] |
//!
//! Multicast and limited broadcast destinations are legal, only never
//! forwarded here; they have outcomes of their own. Broadcasts of a subnet
//! look like any address: only the FIB knows them. Addresses are `u32` in host
//! order.

/// A source no forwarded packet may have (RT-14); no ICMP error goes there
/// either (IC-03).
#[inline]
#[must_use]
pub const fn is_martian_source(address: u32) -> bool {
    let net = address >> 24;
    net == 0 || net == 127 || net >= 224
}

/// A destination no packet may have on a wire (RT-14). 255.255.255.255 is not
/// one: see [`is_limited_broadcast`].
#[inline]
#[must_use]
pub const fn is_martian_destination(address: u32) -> bool {
    let net = address >> 24;
    net == 0 || net == 127 || (net >= 240 && address != u32::MAX)
}

/// 224.0.0.0/4.
#[inline]
#[must_use]
pub const fn is_multicast(address: u32) -> bool {
    address >> 28 == 0xe
}

/// 255.255.255.255, never forwarded (RFC 1812 §5.3.5.1).
#[inline]
#[must_use]
pub const fn is_limited_broadcast(address: u32) -> bool {
    address == u32::MAX
}

/// What keeps a route from leading to a network (its first address, its length):
/// all of it is multicast or reserved.
#[must_use]
pub const fn unroutable(network: u32, len: u8) -> Option<&'static str> {
    if len >= 4 && network >= 0xe000_0000 {
        Some("multicast or reserved")
    } else if len >= 8 && is_martian_destination(network) {
        Some("a reserved range")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn ip(text: &str) -> u32 {
        text.parse::<Ipv4Addr>().expect("an address").into()
    }

    #[test]
    fn edges_of_every_block() {
        // address, martian source, martian destination
        for (text, source, destination) in [
            ("0.0.0.0", true, true),
            ("0.255.255.255", true, true),
            ("1.0.0.0", false, false),
            ("126.255.255.255", false, false),
            ("127.0.0.1", true, true),
            ("127.255.255.255", true, true),
            ("128.0.0.0", false, false),
            ("223.255.255.255", false, false),
            ("224.0.0.0", true, false),
            ("239.255.255.255", true, false),
            ("240.0.0.0", true, true),
            ("255.255.255.254", true, true),
            ("255.255.255.255", true, false),
        ] {
            assert_eq!(is_martian_source(ip(text)), source, "{text} as source");
            assert_eq!(is_martian_destination(ip(text)), destination, "{text} as destination");
            let std = ip(text).into();
            assert_eq!(is_multicast(ip(text)), Ipv4Addr::is_multicast(&std), "{text}");
            assert_eq!(is_limited_broadcast(ip(text)), Ipv4Addr::is_broadcast(&std), "{text}");
        }
    }
}
