//! Addresses and networks as operators type them. A colon makes it IPv6, which
//! has no short forms but its own (RFC 4291 §2.2). IPv4 has those of inet_aton(3)
//! for addresses, those of BSD route(8) for networks, and the classful masks that
//! apply when none is given.
//!
//! The same digits mean different things: as an *address* `10.1` is 10.0.0.1
//! (the last number fills what is left), as a *network* `10.1` is 10.1.0.0/16
//! (numbers fill from the left; their count is the mask). Config file and verbs
//! both read addresses here and nowhere else.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use crate::model::ip;

/// A text that is not the kind of address it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not one to four numbers.
    #[error("`{0}` is not an IPv4 address: expected 1 to 4 numbers such as 10.0.0.1 or 10.1")]
    Syntax(String),
    /// With a colon, and no IPv6 address.
    #[error("`{0}` is not an IPv6 address: expected one such as 2001:db8::1, without a zone")]
    Syntax6(String),
    /// `010`: octal for inet_aton, decimal for most people.
    #[error("`{0}` has a number with a leading zero, which may mean octal: write it without")]
    LeadingZero(String),
    /// A number that does not fit its place.
    #[error("`{text}`: {number} is too big, expected at most {max}")]
    TooBig {
        /// The whole text.
        text: String,
        /// The number that does not fit.
        number: u64,
        /// The largest one that does.
        max: u32,
    },
    /// A prefix length that is none.
    #[error("`{text}`: `/{prefix}` is not a prefix length, expected 0 to {max}")]
    Prefix {
        /// The whole text.
        text: String,
        /// What follows the slash.
        prefix: String,
        /// The longest there is.
        max: u8,
    },
    /// A network with bits set beyond its prefix length.
    #[error("`{text}` has host bits set: expected the network {network}, or {host} for the host")]
    HostBits {
        /// The whole text.
        text: String,
        /// What it would be without them.
        network: IpNet,
        /// The address written.
        host: IpNet,
    },
}

/// An address, short forms as inet_aton(3): `a` (32 bits), `a.b` (8 + 24),
/// `a.b.c` (8 + 8 + 16), `a.b.c.d`. Decimal only: leading zeros are refused.
pub fn inet_aton(text: &str) -> Result<Ipv4Addr, AddressError> {
    let numbers = numbers(text, text)?;
    let mut value: u32 = 0;
    for (place, &number) in numbers.iter().enumerate() {
        // The last number fills all that is left.
        let bits = if place + 1 == numbers.len() { 32 - 8 * place } else { 8 };
        let number = fitting(text, number, u32::MAX >> (32 - bits))?;
        value |= number << (32 - 8 * place - bits);
    }
    Ok(Ipv4Addr::from(value))
}

/// An address of either family; IPv4 in the short forms of [`inet_aton`].
pub fn address(text: &str) -> Result<IpAddr, AddressError> {
    // The full form first: it is what large files have.
    match text.parse() {
        Ok(address) => Ok(address),
        Err(_) if text.contains(':') => Err(AddressError::Syntax6(text.to_owned())),
        Err(_) => inet_aton(text).map(IpAddr::V4),
    }
}

/// An interface's address: `ADDRESS/LEN`, or an address alone, which gets its
/// classful mask or 64. The address keeps its host bits: `10.1` is 10.0.0.1/8.
pub fn interface_address(text: &str) -> Result<IpNet, AddressError> {
    let (written, prefix) = split(text)?;
    let address = address(written).map_err(|e| e.within(text))?;
    let len = prefix.unwrap_or_else(|| ip::default_len(address));
    Ok(IpNet::new_assert(address, len))
}

/// A destination network as BSD `route add -net` reads it: numbers fill from the
/// left.
///
/// - `default` and `0` are 0.0.0.0/0;
/// - one to three numbers are as long as they are written: `10` is 10.0.0.0/8,
///   `10.1` is 10.1.0.0/16, `192.168.1` is 192.168.1.0/24 (route(8): "`-net
///   128.32` is interpreted as `-net 128.32.0.0`");
/// - of four numbers, trailing zero octets are not part of the network:
///   10.0.0.0 is /8, 192.168.0.0 is /16, and 10.0.0.3 is the host /32;
/// - `/LEN` decides by itself, and no bit beyond it may be set.
///
/// One deviation: the BSDs read a single number above 127 as two octets
/// (`128` → 0.128.0.0/16), a slip of their packing; here it is 128.0.0.0/8.
///
/// An IPv6 network has its length behind it, or is a host; the default is `::/0`.
pub fn network(text: &str) -> Result<IpNet, AddressError> {
    if text == "default" {
        return Ok(IpNet::V4(Ipv4Net::default()));
    }
    let (written, prefix) = split(text)?;
    if text.contains(':') {
        let address = address(written).map_err(|e| e.within(text))?;
        return without_host_bits(text, IpNet::new_assert(address, prefix.unwrap_or(128)));
    }
    let numbers = numbers(written, text)?;
    let mut octets = [0u8; 4];
    for (octet, &number) in octets.iter_mut().zip(&numbers) {
        *octet = fitting(text, number, 255)? as u8;
    }
    let address = Ipv4Addr::from(octets);
    let len = prefix.unwrap_or_else(|| implied_len(octets, numbers.len()));
    without_host_bits(text, IpNet::V4(Ipv4Net::new_assert(address, len)))
}

/// A network, unless it is one with an address of a host in it.
pub fn without_host_bits(text: &str, net: IpNet) -> Result<IpNet, AddressError> {
    if net.network() == net.addr() {
        return Ok(net);
    }
    let (network, host) = (net.trunc(), IpNet::from(net.addr()));
    Err(AddressError::HostBits { text: text.to_owned(), network, host })
}

/// Mask length of a network written without one.
fn implied_len(octets: [u8; 4], written: usize) -> u8 {
    match (octets, written) {
        ([0, 0, 0, 0], _) => 0,
        (_, 1) | ([_, 0, 0, 0], 4) => 8,
        (_, 2) | ([_, _, 0, 0], 4) => 16,
        (_, 3) | ([_, _, _, 0], 4) => 24,
        _ => 32,
    }
}

/// A netmask such as `255.255.0.0` or `0xffff0000`, as a prefix length. None
/// when its ones are not contiguous.
pub fn netmask(text: &str) -> Option<u8> {
    let bits = match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
        None => u32::from(text.parse::<Ipv4Addr>().ok()?),
    };
    let len = bits.leading_ones();
    (bits.count_ones() == len).then_some(len as u8)
}

/// What precedes the slash, and the prefix length that follows it.
fn split(text: &str) -> Result<(&str, Option<u8>), AddressError> {
    let Some((address, prefix)) = text.split_once('/') else { return Ok((text, None)) };
    let max = if address.contains(':') { 128 } else { 32 };
    let digits = prefix.bytes().all(|b| b.is_ascii_digit());
    match prefix.parse() {
        Ok(len) if digits && len <= max => Ok((address, Some(len))),
        _ => Err(AddressError::Prefix { text: text.to_owned(), prefix: prefix.to_owned(), max }),
    }
}

/// The one to four decimal numbers between dots; `whole` names them in errors.
fn numbers(text: &str, whole: &str) -> Result<Vec<u64>, AddressError> {
    let syntax = || AddressError::Syntax(whole.to_owned());
    let parts: Vec<&str> = text.split('.').collect();
    if parts.len() > 4 {
        return Err(syntax());
    }
    let number = |part: &&str| {
        if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
            return Err(syntax());
        }
        if part.len() > 1 && part.starts_with('0') {
            return Err(AddressError::LeadingZero(whole.to_owned()));
        }
        part.parse().map_err(|_| syntax())
    };
    parts.iter().map(number).collect()
}

fn fitting(text: &str, number: u64, max: u32) -> Result<u32, AddressError> {
    match u32::try_from(number) {
        Ok(fits) if fits <= max => Ok(fits),
        _ => Err(AddressError::TooBig { text: text.to_owned(), number, max }),
    }
}

impl AddressError {
    /// The same error about a longer text of which this one read a part.
    fn within(self, whole: &str) -> AddressError {
        let text = whole.to_owned();
        match self {
            AddressError::Syntax(_) => AddressError::Syntax(text),
            AddressError::Syntax6(_) => AddressError::Syntax6(text),
            AddressError::LeadingZero(_) => AddressError::LeadingZero(text),
            AddressError::TooBig { number, max, .. } => AddressError::TooBig { text, number, max },
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::Ipv6Addr;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_addresses_fill_with_their_last_number() {
        for (text, expected) in [
            ("10.1", "10.0.0.1"),
            ("12.1", "12.0.0.1"),
            ("10.25", "10.0.0.25"),
            ("10.163", "10.0.0.163"),
            ("10.1.2", "10.1.0.2"),
            ("10.256", "10.0.1.0"),
            ("10.1.65535", "10.1.255.255"),
            ("10", "0.0.0.10"),
            ("4294967295", "255.255.255.255"),
            ("203.0.113.1", "203.0.113.1"),
        ] {
            assert_eq!(inet_aton(text).unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn bad_addresses_are_refused() {
        for text in [
            "",
            ".",
            "10.",
            ".1",
            "1.2.3.4.5",
            "256.1",
            "10.0.0.256",
            "10.16777216",
            "4294967296",
            "10.0.0.1/8",
            "1.-1",
            "+1",
            "0x0a.1",
            "010.1",
            "a",
            "10.0.0.1 ",
            "10..1",
            "99999999999999999999999",
        ] {
            assert!(inet_aton(text).is_err(), "{text}");
        }
        assert_eq!(
            inet_aton("10.0.0.256").unwrap_err().to_string(),
            "`10.0.0.256`: 256 is too big, expected at most 255"
        );
    }

    #[test]
    fn addresses_imply_their_class() {
        for (text, len) in [
            ("10.0.0.1", 8),
            ("127.255.255.255", 8),
            ("128.0.0.1", 16),
            ("191.255.0.1", 16),
            ("192.0.0.1", 24),
            ("223.1.1.1", 24),
            ("224.0.0.1", 32),
        ] {
            assert_eq!(ip::default_len(text.parse().unwrap()), len, "{text}");
        }
        assert_eq!(interface_address("10.1").unwrap().to_string(), "10.0.0.1/8");
        assert_eq!(interface_address("10.1/24").unwrap().to_string(), "10.0.0.1/24");
        assert_eq!(interface_address("192.168.1.9").unwrap().to_string(), "192.168.1.9/24");
        assert_eq!(interface_address("2001:db8::1").unwrap().to_string(), "2001:db8::1/64");
        assert_eq!(interface_address("fd00::1/112").unwrap().to_string(), "fd00::1/112");
        let error = interface_address("10.0.0.999/8").unwrap_err().to_string();
        assert!(error.contains("`10.0.0.999/8`"), "{error}");
    }

    #[test]
    fn networks_fill_from_the_left() {
        for (text, expected) in [
            ("10", "10.0.0.0/8"),
            ("11", "11.0.0.0/8"),
            ("128", "128.0.0.0/8"),
            ("10.1", "10.1.0.0/16"),
            ("128.32", "128.32.0.0/16"),
            ("192.168.1", "192.168.1.0/24"),
            ("10.0.0.0", "10.0.0.0/8"),
            ("192.168.0.0", "192.168.0.0/16"),
            ("192.168.1.0", "192.168.1.0/24"),
            ("10.0.0.3", "10.0.0.3/32"),
            ("10/8", "10.0.0.0/8"),
            ("12.1/16", "12.1.0.0/16"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.0.0.1/32", "10.0.0.1/32"),
            ("default", "0.0.0.0/0"),
            ("0", "0.0.0.0/0"),
            ("0.0.0.0", "0.0.0.0/0"),
            ("0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("2001:db8::1", "2001:db8::1/128"),
        ] {
            assert_eq!(network(text).unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn bad_networks_are_refused() {
        for text in [
            "",
            "10.1/8",
            "10/33",
            "10/",
            "10/x",
            "10/+8",
            "256",
            "1.2.3.4.5/8",
            "Default",
            "2001:db8::/129",
            "2001:db8::1/64",
            "2001:db8:::/64",
            "fe80::1%en0",
            "::1::/64",
        ] {
            assert!(network(text).is_err(), "{text}");
        }
        assert_eq!(
            network("10.1.2.3/8").unwrap_err().to_string(),
            "`10.1.2.3/8` has host bits set: expected the network 10.0.0.0/8, or 10.1.2.3/32 for the host"
        );
    }

    #[test]
    fn netmasks_are_contiguous() {
        assert_eq!(netmask("255.255.0.0"), Some(16));
        assert_eq!(netmask("0xff000000"), Some(8));
        assert_eq!(netmask("0.0.0.0"), Some(0));
        assert_eq!(netmask("255.255.255.255"), Some(32));
        assert_eq!(netmask("255.0.255.0"), None);
        assert_eq!(netmask("8"), None);
    }

    proptest! {
        #[test]
        fn full_forms_agree_with_the_standard_parser(bits: u32, len in 0u8..=32) {
            let address = Ipv4Addr::from(bits);
            prop_assert_eq!(inet_aton(&address.to_string()), Ok(address));
            let net = Ipv4Net::new_assert(address, len);
            let net = IpNet::V4(net);
            prop_assert_eq!(interface_address(&net.to_string()), Ok(net));
            prop_assert_eq!(network(&net.trunc().to_string()), Ok(net.trunc()));
        }

        #[test]
        fn ipv6_is_read_as_the_standard_parser_does(bits: u128, len in 0u8..=128) {
            let written = Ipv6Addr::from(bits);
            prop_assert_eq!(address(&written.to_string()), Ok(IpAddr::V6(written)));
            let net = IpNet::new_assert(written.into(), len);
            prop_assert_eq!(interface_address(&net.to_string()), Ok(net));
            prop_assert_eq!(network(&net.trunc().to_string()), Ok(net.trunc()));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9./ax+:%f-]{0,24}") {
            let _ = (address(&text), network(&text), interface_address(&text), netmask(&text));
        }
    }
}
