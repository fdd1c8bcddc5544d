//! Packet filters (RFC 1812 §5.3.9) as they are written: an ordered list of
//! rules, each with what a packet has to be like and what becomes of it.

use std::fmt::{self, Display};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::wire::{
    IPPROTO_GRE, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_IPIP, IPPROTO_IPV6, IPPROTO_MINIMAL,
    IPPROTO_TCP, IPPROTO_UDP,
};

/// Most rules there can be: each packet of an interface may meet all of them.
pub const MOST_FILTERS: usize = 256;

/// Longest name of a rule.
const LONGEST_NAME: usize = 32;

/// Protocols that have a name here, and their numbers.
const PROTOCOLS: [(&str, u8); 11] = [
    ("icmp", IPPROTO_ICMP),
    ("ipip", IPPROTO_IPIP),
    ("tcp", IPPROTO_TCP),
    ("udp", IPPROTO_UDP),
    ("ipv6", IPPROTO_IPV6),
    ("gre", IPPROTO_GRE),
    ("esp", 50),
    ("ah", 51),
    ("minimal", IPPROTO_MINIMAL),
    ("icmpv6", IPPROTO_ICMPV6),
    ("sctp", IPPROTO_SCTP),
];

const IPPROTO_SCTP: u8 = 132;

/// An IP protocol, by name or number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Protocol(pub u8);

/// What a protocol can be written as.
pub const PROTOCOL: &str =
    "a protocol such as \"tcp\", \"udp\", \"icmp\", \"icmpv6\", \"gre\", or a number from 0 to 255";

impl Protocol {
    /// True if its first four bytes are two ports.
    pub fn has_ports(self) -> bool {
        matches!(self.0, IPPROTO_TCP | IPPROTO_UDP | IPPROTO_SCTP)
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Protocol, String> {
        let named = PROTOCOLS.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
        let number = named.or_else(|| text.parse().ok());
        number.map(Protocol).ok_or_else(|| format!("`{text}` is not {PROTOCOL}"))
    }
}

impl Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match PROTOCOLS.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => f.write_str(name),
            None => self.0.fmt(f),
        }
    }
}

/// TCP, UDP or SCTP ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortRange {
    /// The lowest.
    pub least: u16,
    /// The highest.
    pub most: u16,
}

/// What ports can be written as.
pub const PORTS: &str = "a port such as 22, or a range such as \"1024-65535\"";

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<PortRange, String> {
        let (least, most) = text.split_once('-').unwrap_or((text, text));
        let range = least.parse().ok().zip(most.parse().ok()).filter(|(least, most)| least <= most);
        range
            .map(|(least, most)| PortRange { least, most })
            .ok_or_else(|| format!("`{text}` is not {PORTS}"))
    }
}

impl Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.least == self.most {
            true => self.least.fmt(f),
            false => write!(f, "{}-{}", self.least, self.most),
        }
    }
}

/// Travels as text, which serde asks to be spelt out.
macro_rules! as_text {
    ($($name:ident),+) => {$(
        impl TryFrom<String> for $name {
            type Error = String;
            fn try_from(text: String) -> Result<$name, String> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.to_string()
            }
        }
    )+};
}
as_text!(Protocol, PortRange);

/// What becomes of a packet that a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FilterAction {
    /// It goes on.
    Accept,
    /// It is dropped silently.
    Drop,
    /// It is dropped, and its sender told: ICMP type 3 code 13, ICMPv6 type 1
    /// code 1.
    Reject,
}

impl FilterAction {
    /// All of them, as they are written.
    pub const WORDS: [(&'static str, FilterAction); 3] = [
        ("accept", FilterAction::Accept),
        ("drop", FilterAction::Drop),
        ("reject", FilterAction::Reject),
    ];
}

impl Display for FilterAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = FilterAction::WORDS.iter().find(|(_, action)| action == self);
        f.write_str(word.map_or("?", |(word, _)| word))
    }
}

/// A rule; what is absent is not asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilterSpec {
    /// What its counters are called: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// The port, VLAN or tunnel that packets arrive on; default: any.
    #[serde(default, rename = "in", skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Where they come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpNet>,
    /// Where they go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<IpNet>,
    /// What they carry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Source ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sport: Option<PortRange>,
    /// Destination ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dport: Option<PortRange>,
    /// What becomes of them.
    pub action: FilterAction,
    /// Samples of them are written to the log.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub log: bool,
}

impl FilterSpec {
    /// A rule about every packet.
    pub fn new(name: &str, action: FilterAction) -> FilterSpec {
        FilterSpec {
            name: name.to_owned(),
            interface: None,
            from: None,
            to: None,
            protocol: None,
            sport: None,
            dport: None,
            action,
            log: false,
        }
    }

    /// What is wrong with it by itself: field and sentence.
    ///
    /// # Errors
    /// The first thing found.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let name = &self.name;
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(fits) {
            let message = format!(
                "`{name}` is not a rule's name: expected 1 to {LONGEST_NAME} letters, digits, `-`, `_` or `.`"
            );
            return Err(("name", message));
        }
        for (field, net) in [("from", self.from), ("to", self.to)] {
            if let Some(net) = net.filter(|net| net.trunc() != *net) {
                let message =
                    format!("{net} has bits beyond its prefix length: expected {}", net.trunc());
                return Err((field, message));
            }
        }
        if let (Some(from), Some(to)) = (self.from, self.to)
            && from.addr().is_ipv4() != to.addr().is_ipv4()
        {
            return Err(("to", format!("{to} is not of the family of `from`, {from}")));
        }
        for (field, ports) in [("sport", self.sport), ("dport", self.dport)] {
            if ports.is_some() && !self.protocol.is_some_and(Protocol::has_ports) {
                let message = "ports without a protocol that has any: expected `protocol` \"tcp\", \"udp\" or \"sctp\"";
                return Err((field, message.to_owned()));
            }
        }
        Ok(())
    }
}

/// As the `filter` verb takes it.
impl Display for FilterSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        let words: [(&str, Option<&dyn Display>); 6] = [
            ("in", self.interface.as_ref().map(|value| value as &dyn Display)),
            ("from", self.from.as_ref().map(|value| value as &dyn Display)),
            ("to", self.to.as_ref().map(|value| value as &dyn Display)),
            ("proto", self.protocol.as_ref().map(|value| value as &dyn Display)),
            ("sport", self.sport.as_ref().map(|value| value as &dyn Display)),
            ("dport", self.dport.as_ref().map(|value| value as &dyn Display)),
        ];
        for (word, value) in words {
            if let Some(value) = value {
                write!(f, " {word} {value}")?;
            }
        }
        write!(f, " {}", self.action)?;
        f.write_str(if self.log { " log" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn protocols_and_ports_are_read_as_they_are_printed() {
        for text in ["tcp", "icmpv6", "sctp", "89", "0"] {
            assert_eq!(text.parse::<Protocol>().unwrap().to_string(), text);
        }
        assert_eq!("6".parse::<Protocol>().unwrap().to_string(), "tcp");
        for text in ["22", "0", "1024-65535"] {
            assert_eq!(text.parse::<PortRange>().unwrap().to_string(), text);
        }
        assert!("tpc".parse::<Protocol>().is_err() && "256".parse::<Protocol>().is_err());
        for text in ["", "-", "9-8", "1-65536", "a"] {
            assert!(text.parse::<PortRange>().is_err(), "{text}");
        }
    }

    #[test]
    fn rules_travel_as_json_and_print_as_words() {
        let json = r#"{"name":"ssh","in":"en1","from":"10.0.0.0/8","protocol":"tcp","dport":"22","action":"reject","log":true}"#;
        let rule: FilterSpec = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&rule).unwrap(), json);
        assert_eq!(rule.to_string(), "ssh in en1 from 10.0.0.0/8 proto tcp dport 22 reject log");
        assert_eq!(rule.check(), Ok(()));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_field() {
        let rule = |json: &str| {
            let text = format!(r#"{{"name":"a","action":"drop",{json}}}"#);
            serde_json::from_str::<FilterSpec>(&text).unwrap().check().map_err(|(field, _)| field)
        };
        assert_eq!(rule(r#""from":"10.0.0.1/8""#), Err("from"));
        assert_eq!(rule(r#""from":"10.0.0.0/8","to":"2001:db8::/32""#), Err("to"));
        assert_eq!(rule(r#""dport":"22""#), Err("dport"));
        assert_eq!(rule(r#""sport":"22","protocol":"gre""#), Err("sport"));
        assert_eq!(rule(r#""sport":"22","protocol":"udp""#), Ok(()));
        let named = |name: &str| FilterSpec {
            name: name.into(),
            ..serde_json::from_str(r#"{"name":"a","action":"drop"}"#).unwrap()
        };
        for name in ["", "a b", "ä", &"x".repeat(33)] {
            assert_eq!(named(name).check().map_err(|(field, _)| field), Err("name"), "{name}");
        }
    }
}
