//! The far end of a tunnel as somebody writes it: an address, or the name of a
//! host.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Outer destination of a tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Remote {
    /// This address.
    Address(IpAddr),
    /// Whatever address the host has now.
    Name(HostName),
}

impl Remote {
    /// The address, if it is one.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Remote::Address(address) => Some(*address),
            Remote::Name(_) => None,
        }
    }

    /// The name, if it is one.
    pub fn name(&self) -> Option<&HostName> {
        match self {
            Remote::Address(_) => None,
            Remote::Name(name) => Some(name),
        }
    }
}

impl From<IpAddr> for Remote {
    fn from(address: IpAddr) -> Remote {
        Remote::Address(address)
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remote::Address(address) => address.fmt(f),
            Remote::Name(name) => name.fmt(f),
        }
    }
}

impl From<Remote> for String {
    fn from(remote: Remote) -> String {
        remote.to_string()
    }
}

impl TryFrom<String> for Remote {
    type Error = NotAHostName;

    fn try_from(text: String) -> Result<Remote, NotAHostName> {
        match text.parse() {
            Ok(address) => Ok(Remote::Address(address)),
            Err(_) => text.parse().map(Remote::Name),
        }
    }
}

/// The name of a host (RFC 1123 §2.1), as written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(String);

/// What is no name of a host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither an address nor the name of a host")]
pub struct NotAHostName(String);

impl HostName {
    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for HostName {
    type Err = NotAHostName;

    /// Labels of letters, digits and hyphens; the last has a letter, or it would
    /// be a short form of an address.
    fn from_str(text: &str) -> Result<HostName, NotAHostName> {
        let labels = text.strip_suffix('.').unwrap_or(text);
        let of_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(of_name)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let last = labels.rsplit('.').next().unwrap_or(labels);
        let good = labels.len() <= 253
            && labels.split('.').all(is_label)
            && last.bytes().any(|byte| byte.is_ascii_alphabetic());
        if good { Ok(HostName(text.to_owned())) } else { Err(NotAHostName(text.to_owned())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_told_apart() {
        let long = format!("{}.example", "a".repeat(63));
        for name in ["far.example.net", "a", "3com.com", "any.", "x-1.y", &long] {
            let remote = Remote::try_from(name.to_owned()).expect(name);
            assert_eq!((remote.address(), remote.to_string().as_str()), (None, name));
        }
        let too_long = format!("{}.example", "a".repeat(64));
        for bad in ["", ".", "10.25", "1", "a..b", "-a", "a-", "a b", "a_b", "1.2.3.256", &too_long]
        {
            assert!(Remote::try_from(bad.to_owned()).is_err(), "{bad}");
        }
        for address in ["192.0.2.7", "2001:db8::7"] {
            let remote = Remote::try_from(address.to_owned()).expect(address);
            assert_eq!(remote.address().map(|a| a.to_string()).as_deref(), Some(address));
            assert_eq!(String::from(remote), address);
        }
    }
}
