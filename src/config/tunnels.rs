//! `[[tunnel]]`, and the tables within.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv6Net};
use toml::Value;

use super::address::network;
use super::raw::{Fields, number, shown, text};
use super::sections::{DEFAULT_TTL, MTU_RANGE, host, host_address, rpf, unicast};
use crate::model::spec::{
    DEFAULT_RESOLVE, DEFAULT_RESYNC, Dscp, EcnMode, EncapLimit, GRE_IN_UDP, GreOptions, HostName,
    MAX_RESYNC, MOST_ALLOWED, MSS_RANGE, MssClamp, OuterDf, PERIOD, Period, ProbeSpec,
    RESOLVE_RANGE, Remote, Timing, TunnelKind, TunnelSpec, UdpSpec,
};

/// Seconds between two look-ups of a host name.
const RESOLVE: std::ops::RangeInclusive<i64> =
    *RESOLVE_RANGE.start() as i64..=*RESOLVE_RANGE.end() as i64;

/// `gre0`: the kind and the number.
pub fn tunnel_name(name: &str) -> Option<(TunnelKind, u32)> {
    [TunnelKind::Gre, TunnelKind::Ipip].into_iter().find_map(|kind| {
        let digits = name.strip_prefix(kind.prefix())?;
        let number: u32 = digits.parse().ok()?;
        (number.to_string() == digits).then_some((kind, number))
    })
}

/// `[[tunnel]]`.
pub fn tunnel(fields: &mut Fields) -> Option<TunnelSpec> {
    let name = fields.required_parsed("name", "a name such as \"gre0\"", |name| {
        let kind = tunnel_name(name).map(|(kind, _)| (name.to_owned(), kind));
        kind.ok_or(format!(
            "`{name}` is not a tunnel's name: expected gre or ipip and a number, such as gre0"
        ))
    });
    let written = fields.word("kind", &[("gre", TunnelKind::Gre), ("ipip", TunnelKind::Ipip)]);
    let ecn = [("normal", EcnMode::Normal), ("compatibility", EcnMode::Compatibility)];
    let df = [("copy", OuterDf::Copy), ("set", OuterDf::Set)];
    let mut spec = TunnelSpec {
        name: String::new(),
        kind: TunnelKind::Gre,
        local: host(fields, "local"),
        remote: remote(fields),
        learn: fields.flag("learn", false),
        resolve_interval: fields.number("resolve_interval", RESOLVE).unwrap_or(DEFAULT_RESOLVE),
        address: host4(fields, "address"),
        peer: host4(fields, "peer"),
        nbma: nbma(fields),
        inet6: inet6(fields),
        link0: fields.flag("link0", true),
        link1: fields.flag("link1", false),
        mtu: fields.number("mtu", MTU_RANGE),
        ttl: fields.number("ttl", 1..=255).unwrap_or(DEFAULT_TTL),
        dscp: dscp(fields),
        ecn: fields.word("ecn", &ecn).unwrap_or_default(),
        df: fields.word("df", &df).unwrap_or_default(),
        mss: mss(fields),
        pmtu: fields.flag("pmtu", true),
        reassemble: fields.flag("reassemble", true),
        gre: gre_options(fields),
        keepalive: fields.table("keepalive", "tunnel.keepalive", |fields| Some(timing(fields))),
        probe: fields.table("probe", "tunnel.probe", |fields| Some(probe(fields))),
        udp: None,
        encaplimit: encaplimit(fields),
        allow: allow(fields),
        rpf: rpf(fields),
        port: fields.text("port", "a port's or VLAN's name"),
        up: fields.flag("up", true),
    };
    (spec.name, spec.kind) = name?;
    spec.udp = fields.table("udp", "tunnel.udp", |fields| udp(fields, spec.kind));
    if let Some(written) = written.filter(|written| *written != spec.kind) {
        let message = format!(
            "`{}` does not go with the name `{}`: expected `{}`",
            written.prefix(),
            spec.name,
            spec.kind.prefix()
        );
        fields.problem("kind", message);
    }
    Some(spec)
}

/// An outer destination: an address, or the name of a host.
fn remote(fields: &mut Fields) -> Option<Remote> {
    let expected = "an address such as \"10.0.0.25\", or the name of a host";
    fields.parsed("remote", expected, |text| match text.parse::<HostName>() {
        Ok(name) => Ok(Remote::Name(name)),
        Err(no_name)
            if text.starts_with(|first: char| first.is_ascii_alphabetic())
                && !text.contains(':') =>
        {
            Err(no_name.to_string())
        }
        Err(_) => unicast(text).map(Remote::Address),
    })
}

/// An inner address of a tunnel.
fn host4(fields: &mut Fields, key: &'static str) -> Option<Ipv4Addr> {
    fields.parsed(key, "an address such as \"10.0.0.25\"", |text| match unicast(text)? {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(_) => Err(format!(
            "`{text}` is an IPv6 address: expected an IPv4 one; those of IPv6 are `inet6`"
        )),
    })
}

/// `inet6 = ["fd00:12::1/64"]` of a tunnel.
fn inet6(fields: &mut Fields) -> Vec<Ipv6Net> {
    let expected = "an IPv6 address such as \"fd00:12::1/64\"";
    let read = |text: &str| match host_address(text)? {
        IpNet::V6(net) => Ok(net),
        IpNet::V4(_) => Err(format!(
            "`{text}` is an IPv4 address: expected {expected}; IPv4 ones are `address` and `peer`"
        )),
    };
    fields.list("inet6", |value| text(value, expected, read))
}

/// `nbma = { "12.0.0.2" = "192.0.2.7" }`.
fn nbma(fields: &mut Fields) -> BTreeMap<IpAddr, IpAddr> {
    let table = match fields.any("nbma") {
        None => return BTreeMap::new(),
        Some(Value::Table(table)) => table,
        Some(other) => {
            let expected = "expected { \"INNER\" = \"OUTER\", … }";
            fields.problem("nbma", format!("{} is not a table: {expected}", shown(&other)));
            return BTreeMap::new();
        }
    };
    if table.is_empty() {
        fields.problem("nbma", "no far end: expected one at least, or no `nbma`");
    }
    let mut nbma = BTreeMap::new();
    for (inner, outer) in &table {
        let outer = text(outer, "an outer address such as \"192.0.2.7\"", unicast);
        match (unicast(inner), outer) {
            (Ok(inner), Ok(outer)) => _ = nbma.insert(inner, outer),
            (Err(message), _) | (_, Err(message)) => fields.problem("nbma", message),
        }
    }
    nbma
}

/// `allow = ["10.0.0.25/32", "2001:db8::/64"]` of a tunnel. An empty list would
/// say "nobody" and mean "anybody".
fn allow(fields: &mut Fields) -> Vec<IpNet> {
    let expected = "a network such as \"10.0.0.25/32\"";
    let written = fields.has("allow");
    let list = fields.list("allow", |value| {
        text(value, expected, |text| network(text).map_err(|e| e.to_string()))
    });
    if written && list.is_empty() {
        fields.problem("allow", format!("no network: expected 1 to {MOST_ALLOWED}, or no `allow`"));
    }
    if list.len() > MOST_ALLOWED {
        let message = format!("{} networks: expected {MOST_ALLOWED} at most", list.len());
        fields.problem("allow", message);
    }
    list
}

/// Checksum, key and sequence numbers of a `[[tunnel]]`. `key` is both keys.
fn gre_options(fields: &mut Fields) -> GreOptions {
    let mut key = |name| fields.number(name, 0..=i64::from(u32::MAX));
    let (both, key_in, key_out) = (key("key"), key("key_in"), key("key_out"));
    if both.is_some() && key_in.or(key_out).is_some() {
        let message = "given beside `key_in` or `key_out`: expected either `key` for both or these";
        fields.problem("key", message.to_owned());
    }
    let resync = fields.number("sequence_resync", 0..=i64::from(MAX_RESYNC));
    GreOptions {
        checksum: fields.flag("checksum", false),
        key_in: key_in.or(both),
        key_out: key_out.or(both),
        sequence: fields.flag("sequence", false),
        sequence_resync: resync.unwrap_or(DEFAULT_RESYNC),
    }
}

/// How often a far end is asked, and what follows.
fn timing(fields: &mut Fields) -> Timing {
    let usual = Timing::default();
    let interval = fields.any("interval").and_then(|value| {
        let read = match &value {
            Value::Integer(seconds) => u32::try_from(*seconds).ok().and_then(Period::seconds),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        if read.is_none() {
            let message = format!("{} is not an interval: expected {PERIOD}", shown(&value));
            fields.problem("interval", message);
        }
        read
    });
    Timing {
        interval: interval.unwrap_or(usual.interval),
        retries: fields.number("retries", 1..=255).unwrap_or(usual.retries),
        up_after: fields.number("up_after", 1..=255).unwrap_or(usual.up_after),
    }
}

fn probe(fields: &mut Fields) -> ProbeSpec {
    ProbeSpec { timing: timing(fields), to: host(fields, "to"), size: fields.flag("size", true) }
}

/// `udp = { port = 4754 }` of a `[[tunnel]]`. Of GRE the port has a default.
fn udp(fields: &mut Fields, kind: TunnelKind) -> Option<UdpSpec> {
    const PORT: std::ops::RangeInclusive<i64> = 1..=65535;
    let checksum = fields.flag("checksum", true);
    let source = match fields.any("source") {
        None => None,
        Some(Value::String(word)) if word == "flow" => None,
        Some(value) => match number(&value, &PORT) {
            Ok(port) => Some(port),
            Err(message) => {
                fields.problem("source", format!("{message}, or \"flow\""));
                None
            }
        },
    };
    let given = fields.has("port");
    if !given && kind == TunnelKind::Ipip {
        fields.problem("port", "missing, expected a number: IP in UDP has no usual port");
    }
    let usual = (!given && kind == TunnelKind::Gre).then_some(GRE_IN_UDP);
    let port = fields.number("port", PORT).or(usual)?;
    Some(UdpSpec { port, source, checksum })
}

fn encaplimit(fields: &mut Fields) -> EncapLimit {
    let read = match fields.any("encaplimit") {
        None => return EncapLimit::Off,
        Some(Value::String(word)) if word == "off" => return EncapLimit::Off,
        Some(Value::Integer(value)) => u8::try_from(value).map_err(|_| value.to_string()),
        Some(other) => Err(shown(&other)),
    };
    read.map(EncapLimit::Fixed).unwrap_or_else(|value| {
        let expected = "expected \"off\" or a number from 0 to 255";
        fields.problem("encaplimit", format!("{value} is not a limit on nesting: {expected}"));
        EncapLimit::Off
    })
}

fn dscp(fields: &mut Fields) -> Dscp {
    let read = match fields.any("dscp") {
        None => return Dscp::Copy,
        Some(Value::String(word)) if word == "copy" => return Dscp::Copy,
        Some(Value::String(word)) if word == "uniform" => return Dscp::Uniform,
        Some(Value::Integer(value)) => {
            u8::try_from(value).ok().filter(|v| *v < 64).ok_or(value.to_string())
        }
        Some(other) => Err(shown(&other)),
    };
    read.map(Dscp::Fixed).unwrap_or_else(|value| {
        fields.problem(
            "dscp",
            format!(
                "{value} is not a DSCP: expected \"copy\", \"uniform\" or a number from 0 to 63"
            ),
        );
        Dscp::Copy
    })
}

fn mss(fields: &mut Fields) -> MssClamp {
    let read = match fields.any("mss") {
        None => return MssClamp::Off,
        Some(Value::String(word)) if word == "auto" => return MssClamp::Auto,
        Some(Value::String(word)) if word == "off" => return MssClamp::Off,
        Some(Value::Integer(value)) => {
            u16::try_from(value).ok().filter(|v| MSS_RANGE.contains(v)).ok_or(value.to_string())
        }
        Some(other) => Err(shown(&other)),
    };
    read.map(MssClamp::Fixed).unwrap_or_else(|value| {
        let (least, most) = (MSS_RANGE.start(), MSS_RANGE.end());
        let expected = format!("expected \"auto\", \"off\" or a number from {least} to {most}");
        fields.problem("mss", format!("{value} is not a segment size: {expected}"));
        MssClamp::Off
    })
}
