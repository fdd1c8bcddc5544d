//! Changes. A transaction is a list of these: all of them happen or none.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::filter::FilterSpec;
use super::spec::{
    AdvertiseSpec, Dscp, EcnMode, EncapLimit, IcmpSpec, MssClamp, NeighbourSpec, OuterDf,
    ProbeSpec, PublishSpec, Remote, ReversePath, RouteSpec, Timing, TunnelSpec, UdpSpec, VlanSpec,
};
use crate::ids::Family;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Op {
    /// `ifconfig gre0 create`, `ifconfig gre create`, `ifconfig en0.20 create`.
    /// A bare kind picks the next free number; the name comes back in
    /// [`Outcome::created`].
    Create {
        /// `gre0`, `gre`, `ipip0`, `ipip` or `PORT.VLAN`.
        name: String,
    },
    /// `ifconfig gre0 destroy`: the interface and everything that pointed at it.
    Destroy {
        /// The interface.
        name: String,
    },
    /// Puts a whole tunnel in place (config file): created, or made equal.
    PutTunnel {
        /// The tunnel. Boxed: of a million ops most are routes.
        tunnel: Box<TunnelSpec>,
    },
    /// Puts a whole VLAN sub-interface in place (config file).
    PutVlan {
        /// The sub-interface.
        vlan: VlanSpec,
    },
    /// `ifconfig en0 10.1`, `ifconfig gre0 12.1 12.2`, `ifconfig gre0 inet6
    /// fd00:12::1/64`. On a tunnel an IPv4 address replaces the pair; on a port
    /// it replaces the first one unless `alias`. An IPv6 address always comes
    /// beside those that are there; there already, it gets the prefix length.
    SetAddress {
        /// The interface.
        name: String,
        /// Own address.
        address: IpAddr,
        /// Prefix length; default: classful on ports, 32 on tunnels, 64 for
        /// IPv6.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prefix_len: Option<u8>,
        /// Far end, on tunnels; none for an IPv6 address.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peer: Option<IpAddr>,
        /// Add instead of replace.
        #[serde(default)]
        alias: bool,
    },
    /// `ifconfig en0 10.1 -alias`, `ifconfig gre0 12.1 delete`.
    DeleteAddress {
        /// The interface.
        name: String,
        /// The address.
        address: IpAddr,
    },
    /// `ifconfig gre0 tunnel 10.25 10.163`: outer pair, both of one family.
    /// `tunnel 10.25 far.example.net`, `tunnel 10.25 any`.
    SetEndpoints {
        /// The tunnel.
        name: String,
        /// Outer source.
        local: IpAddr,
        /// Outer destination; absent: learned (`any`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        remote: Option<Remote>,
    },
    /// `ifconfig gre0 deletetunnel`.
    ClearEndpoints {
        /// The tunnel.
        name: String,
    },
    /// `nbma 12.2 192.0.2.7`, `-nbma 12.2`: one of several far ends. The first
    /// makes a multipoint tunnel of one with an outer source alone.
    SetNbma {
        /// The tunnel.
        name: String,
        /// Inner address of the far end.
        inner: IpAddr,
        /// Its outer address; absent: it is none any more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        outer: Option<IpAddr>,
    },
    /// Where a tunnel's far end was found, by its name or by a packet of its.
    /// Control's own, and no part of what is configured.
    #[serde(skip)]
    Found {
        /// The tunnel.
        name: String,
        /// Its far end's outer address.
        at: IpAddr,
        /// The inner source of the packet, if it was one.
        inner: Option<IpAddr>,
    },
    /// Nothing came from a far end for long that was found like this. Control's own.
    #[serde(skip)]
    Gone {
        /// The tunnel, which has several.
        name: String,
        /// The far end's inner address.
        inner: IpAddr,
    },
    /// Flags and numbers of an interface.
    SetInterface {
        /// The interface.
        name: String,
        /// Which of them.
        #[serde(flatten)]
        change: InterfaceChange,
    },
    /// The UDP header around a tunnel's packets, or none: all of it.
    SetUdp {
        /// The tunnel.
        name: String,
        /// `udp 4754 from 50000 nosum`; absent: `-udp`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        udp: Option<UdpSpec>,
    },
    /// Optional words of a tunnel's GRE headers; what is absent stays.
    SetGre {
        /// The tunnel.
        name: String,
        /// `checksum` / `-checksum`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        checksum: Option<bool>,
        /// `key 42`, `key 1 2`, `-key`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<GreKeys>,
        /// `sequence` / `-sequence`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sequence: Option<bool>,
        /// `resync 5`, seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sequence_resync: Option<u16>,
    },
    /// `keepalive 10 3`, `-keepalive`: GRE keepalives of a tunnel.
    SetKeepalive {
        /// The tunnel.
        name: String,
        /// How often, and what follows; absent: none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        keepalive: Option<Timing>,
    },
    /// `probe 10 3`, `-probe`: probes through a tunnel.
    SetProbe {
        /// The tunnel.
        name: String,
        /// How often, whom, and what follows; absent: none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        probe: Option<ProbeSpec>,
    },
    /// `advertise`, `-advertise`: router advertisements of a port or VLAN.
    SetAdvertise {
        /// The interface.
        name: String,
        /// What is said and how often; absent: nothing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        advertise: Option<AdvertiseSpec>,
    },
    /// Which packets an interface lets in; what is absent stays.
    SetDoor {
        /// The interface.
        name: String,
        /// `rpf strict` / `rpf loose` / `rpf off`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rpf: Option<ReversePath>,
        /// `allow 10.0.0.25/32 2001:db8::/64` / `-allow` (empty: any source),
        /// tunnels only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        allow: Option<Vec<IpNet>>,
        /// `port en1` / `-port` (empty: any port), tunnels only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<String>,
    },
    /// `route add`: an error if the destination has a static route already.
    AddRoute {
        /// The route.
        route: RouteSpec,
    },
    /// `route change`: an error if the destination has no static route.
    ChangeRoute {
        /// The route.
        route: RouteSpec,
    },
    /// Puts a static route in place whether or not there was one.
    PutRoute {
        /// The route.
        route: RouteSpec,
    },
    /// `route delete`.
    DeleteRoute {
        /// Its destination.
        to: IpNet,
    },
    /// `route flush`: all static routes.
    FlushRoutes {
        /// Only those of this family.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        family: Option<Family>,
    },
    /// `arp -s ADDRESS MAC`.
    PutNeighbour {
        /// The entry.
        neighbour: NeighbourSpec,
    },
    /// `arp -s ADDRESS MAC pub`.
    Publish {
        /// The entry.
        publish: PublishSpec,
    },
    /// `arp -d ADDRESS`: static, published and learned entries of that address.
    DeleteArp {
        /// The address.
        address: IpAddr,
    },
    /// `arp -d -a`.
    FlushArp {
        /// Only those of this family.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        family: Option<Family>,
    },
    /// `filter add`: a rule that no other has the name of.
    AddFilter {
        /// The rule. Boxed: of a million ops most are routes.
        filter: Box<FilterSpec>,
        /// The rule it comes in front of; default: behind all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<String>,
    },
    /// `filter delete`.
    DeleteFilter {
        /// The rule.
        name: String,
    },
    /// `filter flush`: all rules.
    FlushFilters,
    /// ICMP behaviour.
    SetIcmp {
        /// All of it.
        icmp: IcmpSpec,
    },
}

/// Flags and numbers of an interface; what is absent stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InterfaceChange {
    /// `up` / `down`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up: Option<bool>,
    /// `link0` / `-link0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link0: Option<bool>,
    /// `link1` / `-link1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link1: Option<bool>,
    /// `mtu 1400`; 0 means back to the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// `ttl 64`, tunnels only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u8>,
    /// `dscp copy` / `dscp uniform` / `dscp 46`, tunnels only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dscp: Option<Dscp>,
    /// `ecn normal` / `ecn compatibility`, tunnels only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ecn: Option<EcnMode>,
    /// `df copy` / `df set`, tunnels only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub df: Option<OuterDf>,
    /// `mss auto` / `mss 1360` / `mss off`, tunnels only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mss: Option<MssClamp>,
    /// `encaplimit 4` / `encaplimit off`, tunnels only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encaplimit: Option<EncapLimit>,
    /// `pmtu` / `-pmtu`, tunnels only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pmtu: Option<bool>,
    /// `learn` / `-learn`, tunnels only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learn: Option<bool>,
    /// `resolve 60`, seconds, tunnels only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolve_interval: Option<u16>,
    /// `reassemble` / `-reassemble`, tunnels only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reassemble: Option<bool>,
}

/// Both keys of a GRE tunnel; one that is absent is taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GreKeys {
    /// Of packets received.
    #[serde(default, rename = "in", skip_serializing_if = "Option::is_none")]
    pub inward: Option<u32>,
    /// Of packets sent.
    #[serde(default, rename = "out", skip_serializing_if = "Option::is_none")]
    pub outward: Option<u32>,
}

/// A change and where it was written, for errors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located {
    /// Place in a file, such as `tunnel[2]`; empty for a verb.
    /// (Short ones need no memory of their own: there can be a million.)
    #[serde(default, skip_serializing_if = "SmolStr::is_empty")]
    pub at: SmolStr,
    /// The change.
    #[serde(flatten)]
    pub op: Op,
}

impl From<Op> for Located {
    fn from(op: Op) -> Located {
        Located { at: SmolStr::default(), op }
    }
}

/// What a transaction did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Names of interfaces created, in order.
    #[serde(default)]
    pub created: Vec<String>,
    /// What was changed but deserves a word (a tunnel that is not running yet
    /// because its underlay has no route, an ARP entry silent until a route
    /// leaves elsewhere).
    #[serde(default)]
    pub notes: Vec<String>,
}

/// One thing wrong with a configuration or a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Where: `tunnel[2].remote`; empty when there is just one place.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub at: String,
    /// What: the value and what was expected, a sentence without full stop.
    pub message: String,
}

impl Problem {
    /// A problem at a place.
    pub fn new(at: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem { at: at.into(), message: message.into() }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.at.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.at, self.message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ops_travel_as_flat_json() {
        let json = r#"{"op":"set-address","name":"gre0","address":"12.0.0.1","peer":"12.0.0.2"}"#;
        let located: Located = serde_json::from_str(json).expect("parses");
        let Op::SetAddress { peer, alias, .. } = &located.op else { panic!("{located:?}") };
        assert_eq!((*peer, *alias), (Some(IpAddr::from([12, 0, 0, 2])), false));
        let back = serde_json::to_string(&located).expect("prints");
        assert_eq!(serde_json::from_str::<Located>(&back).expect("parses"), located);
    }

    #[test]
    fn flags_and_numbers_are_flat_too_and_each_has_to_be_known() {
        let json = r#"{"at":"port[0]","op":"set-interface","name":"gre0","up":true,"mtu":1400,"mss":"auto"}"#;
        let located: Located = serde_json::from_str(json).expect("parses");
        let Op::SetInterface { change, .. } = &located.op else { panic!("{located:?}") };
        let expected = InterfaceChange {
            up: Some(true),
            mtu: Some(1400),
            mss: Some(MssClamp::Auto),
            ..InterfaceChange::default()
        };
        assert_eq!(*change, expected);
        assert_eq!(serde_json::to_string(&located).expect("prints"), json);
        for bad in [json.replace("up", "bogus"), json.replace("1400", "-1")] {
            assert!(serde_json::from_str::<Located>(&bad).is_err(), "{bad}");
        }
    }
}
