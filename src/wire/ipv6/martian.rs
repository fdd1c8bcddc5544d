//! Addresses that are never routed (RFC 4291 §2.5, RFC 4213 §3.6).
//!
//! | block | as source | as destination |
//! |---|---|---|
//! | :: unspecified | martian | martian |
//! | ::1 loopback | martian | martian |
//! | ::/96 IPv4-compatible | martian | martian |
//! | ::ffff:0:0/96 IPv4-mapped | martian | martian |
//! | ff00::/8 multicast | martian | [`is_multicast`] |
//! | fe80::/10 link-local | [`is_link_local`]: never leaves its link | the same |
//!
//! Addresses are `u128` in host order.

/// ff00::/8.
#[inline(always)]
#[must_use]
pub const fn is_multicast(address: u128) -> bool {
    address >> 120 == 0xff
}

/// fe80::/10.
#[inline(always)]
#[must_use]
pub const fn is_link_local(address: u128) -> bool {
    address >> 118 == 0x3fa
}

/// A destination no packet may have on a wire.
#[inline(always)]
#[must_use]
pub const fn is_martian_destination(address: u128) -> bool {
    let upper = address >> 32;
    (upper == 0) | (upper == 0xffff)
}

/// A source no routed packet may have; no ICMPv6 error goes there either.
#[inline(always)]
#[must_use]
pub const fn is_martian_source(address: u128) -> bool {
    is_multicast(address) | is_martian_destination(address)
}

/// The all-nodes and all-routers groups of a link, and solicited-node groups
/// (RFC 4291 §2.7.1): where neighbour discovery is sent to.
#[must_use]
pub const fn is_discovery_group(address: u128) -> bool {
    const LINK: u128 = 0xff02 << 112;
    address == LINK | 1 || address == LINK | 2 || address >> 24 == LINK >> 24 | 0x1ff
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    #[test]
    fn edges_of_every_block() {
        // address, martian source, martian destination, link-local, discovery
        for (text, source, destination, link_local, discovery) in [
            ("::", true, true, false, false),
            ("::1", true, true, false, false),
            ("::192.0.2.1", true, true, false, false),
            ("::1:0:0", false, false, false, false),
            ("::fffe:0:0", false, false, false, false),
            ("::ffff:10.0.0.1", true, true, false, false),
            ("::ffff:ffff:ffff", true, true, false, false),
            ("::1:0:0:0", false, false, false, false),
            ("2001:db8::1", false, false, false, false),
            ("fe7f::1", false, false, false, false),
            ("fe80::1", false, false, true, false),
            ("febf::1", false, false, true, false),
            ("fec0::1", false, false, false, false),
            ("fd00::1", false, false, false, false),
            ("feff:ffff::1", false, false, false, false),
            ("ff00::", true, false, false, false),
            ("ff02::1", true, false, false, true),
            ("ff02::2", true, false, false, true),
            ("ff02::3", true, false, false, false),
            ("ff02::1:ff00:0", true, false, false, true),
            ("ff02::1:ffff:ffff", true, false, false, true),
            ("ff02::1:fe00:0", true, false, false, false),
            ("ff05::1", true, false, false, false),
        ] {
            let ip: u128 = text.parse::<Ipv6Addr>().expect("an address").into();
            let found = (
                is_martian_source(ip),
                is_martian_destination(ip),
                is_link_local(ip),
                is_discovery_group(ip),
            );
            assert_eq!(found, (source, destination, link_local, discovery), "{text}");
        }
    }
}
