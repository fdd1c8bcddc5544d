//! Packet filters (RFC 1812 §5.3.9) as a packet meets them: for each interface
//! that has rules a compact list of them, in order, by family; the first that
//! fits decides.
//!
//! ```text
//!   interface ─▶ rules: [ from, to: address and mask │ protocol │ ports │ action, number ] ▶ …
//! ```
//!
//! A rule costs two masks and compares, and a few more compares where the
//! addresses fit. Part of the snapshot that workers read
//! ([`Interfaces`](super::interfaces::Interfaces)), so that all rules change at
//! once.

use std::ops::BitAnd;

use ipnet::IpNet;

use crate::ids::IfId;
use crate::model::filter::{FilterAction, FilterSpec, MOST_FILTERS, PortRange};

/// Numbers of rules, which are numbers of counters: twice as many as there can be
/// rules, so that all can be replaced while workers still count the old ones.
pub const FILTER_NUMBERS: usize = 2 * MOST_FILTERS;

/// What a packet says of its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// Source and destination.
    Are(u16, u16),
    /// They are in another fragment.
    Elsewhere,
    /// It has none.
    None,
}

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carries {
    /// Protocol number.
    pub protocol: u8,
    /// Its ports.
    pub ports: Ports,
}

/// What a rule says of a packet that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Met {
    /// The rule.
    pub number: u16,
    /// What becomes of the packet.
    pub action: FilterAction,
    /// Write a sample to the log.
    pub log: bool,
}

/// A rule; `A` is an address as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule<A> {
    from: (A, A),
    to: (A, A),
    protocol: Option<u8>,
    ports: Option<[PortRange; 2]>,
    met: Met,
}

impl<A: Copy + Eq + BitAnd<Output = A>> Rule<A> {
    fn fits(&self, from: A, to: A, carries: Carries) -> bool {
        from & self.from.1 == self.from.0
            && to & self.to.1 == self.to.0
            && self.protocol.is_none_or(|protocol| protocol == carries.protocol)
            && self.ports.is_none_or(|ports| self.fits_ports(ports, carries.ports))
    }

    /// A fragment that does not say its ports belongs to what may pass if
    /// anything of its kind may; to what may not, only its first one does: without
    /// that the rest is of no use (RFC 1858 §2).
    fn fits_ports(&self, [from, to]: [PortRange; 2], ports: Ports) -> bool {
        let within = |range: PortRange, port| (range.least..=range.most).contains(&port);
        match ports {
            Ports::Are(source, destination) => within(from, source) && within(to, destination),
            Ports::Elsewhere => self.met.action == FilterAction::Accept,
            Ports::None => false,
        }
    }
}

fn first<A: Copy + Eq + BitAnd<Output = A>>(
    rules: &[Rule<A>],
    from: A,
    to: A,
    carries: Carries,
) -> Option<Met> {
    rules.iter().find(|rule| rule.fits(from, to, carries)).map(|rule| rule.met)
}

/// The rules of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    four: Vec<Rule<u32>>,
    six: Vec<Rule<u128>>,
}

impl Rules {
    /// True if no packet meets any.
    pub fn is_empty(&self) -> bool {
        self.four.is_empty() && self.six.is_empty()
    }

    /// The first rule that an IPv4 packet with these ends fits.
    pub fn first4(&self, from: u32, to: u32, carries: Carries) -> Option<Met> {
        first(&self.four, from, to, carries)
    }

    /// The first rule that an IPv6 packet with these ends fits.
    pub fn first6(&self, from: u128, to: u128, carries: Carries) -> Option<Met> {
        first(&self.six, from, to, carries)
    }

    /// One more rule behind the others, for the families it can be about.
    fn push(&mut self, spec: &FilterSpec, number: u16) {
        let all = PortRange { least: 0, most: u16::MAX };
        let asked = spec.sport.is_some() || spec.dport.is_some();
        let ports = asked.then_some([spec.sport.unwrap_or(all), spec.dport.unwrap_or(all)]);
        let met = Met { number, action: spec.action, log: spec.log };
        let protocol = spec.protocol.map(|protocol| protocol.0);
        if let (Some(from), Some(to)) = (masked4(spec.from), masked4(spec.to)) {
            self.four.push(Rule { from, to, protocol, ports, met });
        }
        if let (Some(from), Some(to)) = (masked6(spec.from), masked6(spec.to)) {
            self.six.push(Rule { from, to, protocol, ports, met });
        }
    }
}

/// Network and mask; none for one of the other family.
fn masked4(net: Option<IpNet>) -> Option<(u32, u32)> {
    match net {
        None => Some((0, 0)),
        Some(IpNet::V4(net)) => Some((net.network().to_bits(), net.netmask().to_bits())),
        Some(IpNet::V6(_)) => None,
    }
}

fn masked6(net: Option<IpNet>) -> Option<(u128, u128)> {
    match net {
        None => Some((0, 0)),
        Some(IpNet::V6(net)) => Some((net.network().to_bits(), net.netmask().to_bits())),
        Some(IpNet::V4(_)) => None,
    }
}

/// The rules of all interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// Interfaces that some rule names, by number, each with all rules that
    /// concern it.
    own: Vec<(IfId, Rules)>,
    /// The rules of all others: those that name none.
    others: Rules,
}

impl Filters {
    /// From rules in order, each with its number and the interfaces it names;
    /// none: it is about all.
    pub fn new<'a>(rules: impl IntoIterator<Item = (&'a FilterSpec, u16, Vec<IfId>)>) -> Filters {
        let rules: Vec<_> = rules.into_iter().collect();
        let mut named: Vec<IfId> = rules.iter().flat_map(|(.., ids)| ids.clone()).collect();
        named.sort_unstable();
        named.dedup();
        let of = |interface: Option<IfId>| {
            let mut list = Rules::default();
            for (spec, number, ids) in &rules {
                let anywhere = spec.interface.is_none();
                if anywhere || interface.is_some_and(|id| ids.contains(&id)) {
                    list.push(spec, *number);
                }
            }
            list
        };
        Filters { own: named.into_iter().map(|id| (id, of(Some(id)))).collect(), others: of(None) }
    }

    /// The rules that a packet which arrived on this interface meets.
    pub fn of(&self, interface: IfId) -> &Rules {
        match self.own.binary_search_by_key(&interface, |(id, _)| *id) {
            Ok(at) => &self.own[at].1,
            Err(_) => &self.others,
        }
    }
}
