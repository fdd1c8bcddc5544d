//! Desired state, its transactions, and their resolution into tables.
//!
//! ```text
//!  ops ─▶ Edit ─▶ Desired ─── what changed ──▶ RIB ──▶ who is concerned (Watch)
//!          │ undo log │        (before, now)    │            │
//!          ▼          ▼                         ▼            ▼
//!        refused   checks, reserve      prefix → Hop     routes, underlays,
//!                                               │        neighbours anew
//!                                               ▼            │
//!        Tables ◀── adjacencies, FIB, tunnels, decap keys ◀──┘
//! ```
//!
//! A transaction is all or nothing: ops change only the desired state, under an
//! undo log; what holds between objects is checked when all are in; then room
//! is reserved in every table (interface numbers, FIB groups, decap keys), the
//! last thing that can fail. What follows cannot.
//!
//! Everything published is a function of the desired state and of what the
//! neighbour engine has learned, never of the order things came in: the tests
//! compare each state with a fresh `Net` built from [`Net::state`].
//!
//! A change costs what it changes: [`watch`] tells which lookups can end
//! differently, tunnels are found by their underlay neighbour, and nothing
//! walks all tunnels.
//!
//! Control is one thread and the only writer of [`Tables`]; `Net` does no I/O.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::control::topology::Event;
use crate::ids::{IfId, Mac, PortId};
use crate::model::api::ApiError;
use crate::model::op::{Located, Outcome};
use crate::model::spec::PortSpec;
use crate::tables::Tables;
use crate::tables::tunnel::Tunnel;

mod checks;
mod commit;
mod desired;
mod difference;
mod edit;
mod edit_far_ends;
mod edit_interfaces;
mod filters;
mod gateways;
mod groups;
mod hops;
mod key;
mod links;
mod paths;
mod plan;
mod publish;
mod refusal;
mod reserve;
mod resolve;
mod rib;
mod slots;
mod soft;
mod told;
mod topo;
mod touched;
mod tunnel_config;
mod values;
mod views;
mod watch;
mod withdraw;

#[cfg(test)]
mod tests;

use desired::{Desired, Item, LinkConfig, Object};
use edit::Edit;
use gateways::Gateways;
use groups::Groups;
use hops::{Hop, Hops};
use key::{Key, Names};
use links::Links;
use plan::Station;
use resolve::{Reason, Underlay};
use rib::Rib;
pub use soft::Soft;
use touched::Touched;
use watch::Watch;

/// A port as it was started.
#[derive(Clone, Debug)]
pub struct PortFacts {
    /// As configured; addresses are not taken from here but set by ops.
    pub spec: PortSpec,
    /// Its number, and its interface's.
    pub id: PortId,
    /// The link address in use.
    pub mac: Mac,
    /// Largest IP datagram the device can send, bytes.
    pub max_mtu: u16,
}

/// A tunnel as resolved.
#[derive(Debug)]
struct TunnelState {
    key: Key,
    underlay: Result<Underlay, Reason>,
    /// As decapsulation sees it.
    slot: Tunnel,
}

/// What is known of a neighbour.
#[derive(Clone, Copy, Debug, Default)]
struct Neighbour {
    /// Configured.
    fixed: Option<Mac>,
    /// Told by the neighbour engine; `Some(None)`: it did not answer.
    learned: Option<Option<Mac>>,
}

fn names(ports: &[PortFacts]) -> Names {
    Names::new(ports.iter().map(|port| port.spec.name.clone()).collect())
}

/// A port before anything is configured on it.
fn bare(facts: &PortFacts) -> Item {
    let (mtu, up) = (Some(facts.spec.mtu), facts.spec.up);
    Item::Link(Key::Port(facts.id), Some(LinkConfig { mtu, up, ..LinkConfig::created() }))
}

/// What a gateway with these ports would refuse of a configuration: the very
/// checks of [`Net::transact`], without tables or devices. So what a device can
/// do and whether the tables have room is not asked.
///
/// # Errors
/// All that is wrong, each with its place.
pub fn trial(ports: &[PortSpec], ops: &[Located]) -> Result<(), ApiError> {
    let facts = |(number, spec): (u8, &PortSpec)| PortFacts {
        spec: spec.clone(),
        id: PortId(number),
        mac: Mac::default(),
        max_mtu: values::MAX_DATAGRAM,
    };
    let facts: Vec<PortFacts> = (0..).zip(ports).map(facts).collect();
    let mut desired = Desired::new(names(&facts));
    for port in &facts {
        desired.put(bare(port));
    }
    let mut edit = Edit::new(&mut desired, &facts, &|_| false, ops);
    edit.apply_all();
    let touched = edit.touched();
    checks::check(&mut edit, &touched);
    edit.verdict()
}

/// Desired state, resolved state, and the writer of the tables.
pub struct Net {
    tables: Arc<Tables>,
    facts: Vec<PortFacts>,
    desired: Desired,
    links: Links,
    hops: Hops,
    rib: Rib,
    watch: Watch,
    /// Where the gateways of static routes lead.
    gateways: Gateways,
    tunnels: HashMap<IfId, TunnelState>,
    /// What is known of tunnels while they run: those of which something is.
    soft: HashMap<IfId, Soft>,
    /// Sets of paths of multipath routes, resolved.
    groups: Groups,
    /// Numbers of packet filters.
    filter_numbers: filters::Numbers,
    neighbours: BTreeMap<(IfId, IpAddr), Neighbour>,
    /// Neighbours that are reached on their link: those with a host route.
    active: HashMap<IpAddr, IfId>,
    /// Tunnels by underlay link and neighbour.
    stacked: BTreeSet<(IfId, IpAddr, IfId)>,
    /// The FIB as last written.
    installed: BTreeMap<IpNet, Hop>,
    /// Adjacencies planned so far: what changes cost, as a number that does not
    /// depend on the machine.
    planned: u64,
}

impl Net {
    /// The ports, without addresses, up as configured; nothing else.
    pub fn new(tables: Arc<Tables>, ports: Vec<PortFacts>) -> Net {
        let mut net = Net {
            desired: Desired::new(names(&ports)),
            links: Links::new(&tables),
            hops: Hops::new(&tables),
            rib: Rib::default(),
            watch: Watch::default(),
            gateways: Gateways::default(),
            tunnels: HashMap::new(),
            soft: HashMap::new(),
            groups: Groups::default(),
            filter_numbers: filters::Numbers::new(&tables),
            neighbours: BTreeMap::new(),
            active: HashMap::new(),
            stacked: BTreeSet::new(),
            installed: BTreeMap::new(),
            planned: 0,
            facts: ports,
            tables,
        };
        net.start();
        net
    }

    /// Enters the ports and fills the fixed adjacencies.
    fn start(&mut self) {
        let mut touched = Touched::default();
        for facts in &self.facts {
            let _ = self.links.enter(Key::Port(facts.id), facts.spec.name.clone());
            let old = self.desired.put(bare(facts));
            touched.others.insert(old.object(), old);
        }
        self.commit(&touched, hops::FIXED.into_iter().collect());
    }

    /// Applies changes: all of them or none. `learned` says whether the
    /// neighbour engine has a learned entry for an address (for `arp -d`).
    ///
    /// # Errors
    /// All that is wrong, each with its place; then nothing has changed.
    pub fn transact(
        &mut self,
        ops: &[Located],
        learned: &dyn Fn(IpAddr) -> bool,
    ) -> Result<(Outcome, Vec<Event>), ApiError> {
        let mut edit = Edit::new(&mut self.desired, &self.facts, learned, ops);
        edit.apply_all();
        let touched = edit.touched();
        checks::check(&mut edit, &touched);
        let verdict = edit.verdict().and_then(|()| {
            // The first takes nothing.
            let filters = touched.others.contains_key(&Object::Filters);
            let reserved = match filters {
                true => self.filter_numbers.reserve(edit.desired, &self.tables),
                false => Ok(()),
            };
            let reserved = reserved.and_then(|()| {
                reserve::reserve(
                    edit.desired,
                    &touched,
                    &mut self.links,
                    &mut self.hops,
                    &self.installed,
                    &self.tables,
                )
            });
            reserved.or_else(|refusal| {
                edit.problem(String::new(), &refusal);
                edit.verdict()
            })
        });
        if let Err(error) = verdict {
            edit.undo();
            self.desired.sets.sweep();
            return Err(error);
        }
        let (mut outcome, forget) = edit.end();
        let created =
            touched.others.values().filter_map(|old| reserve::created(&self.desired, old));
        outcome.created = created.map(|key| self.desired.names.name(key)).collect();
        let done = self.commit(&touched, BTreeSet::new());
        self.desired.sets.sweep();
        self.tell(&touched, &done, &mut outcome);
        Ok((outcome, self.events(&touched.others, done, forget)))
    }

    /// A neighbour's link address is known now, or changed: adjacencies that
    /// depend on it are published before this returns.
    pub fn neighbour_resolved(&mut self, link: IfId, address: IpAddr, mac: Mac) {
        self.learn(link, address, Some(Some(mac)));
    }

    /// A neighbour did not answer (`failed`: packets meet "unreachable") or its
    /// entry went away (they are held and asked for again).
    pub fn neighbour_lost(&mut self, link: IfId, address: IpAddr, failed: bool) {
        self.learn(link, address, failed.then_some(None));
    }

    /// Adjacencies planned since start: what changes cost, as a number that
    /// does not depend on the machine.
    pub(super) fn planned(&self) -> u64 {
        self.planned
    }

    /// True if the port or VLAN interface of this name can have this MTU.
    pub(super) fn takes_mtu(&self, name: &str, mtu: u16) -> bool {
        let port = self.desired.names.key(name).and_then(Key::port);
        let facts = port.and_then(|(port, _)| self.facts.get(port.index()));
        facts.is_some_and(|facts| (values::LEAST_MTU..=facts.max_mtu).contains(&mtu))
    }

    /// Gives memory and numbers back whose grace period is over; call now and
    /// then when idle.
    pub fn housekeeping(&mut self) {
        self.tables.collect();
        self.links.reclaim();
        self.hops.reclaim();
        self.filter_numbers.reclaim();
    }

    /// What is known of a neighbour's link address; configured before learned.
    fn station(&self, link: IfId, address: IpAddr) -> Station {
        match self.neighbours.get(&(link, address)) {
            Some(Neighbour { fixed: Some(mac), .. }) => Station::Known(*mac),
            Some(Neighbour { learned: Some(Some(mac)), .. }) => Station::Known(*mac),
            Some(Neighbour { learned: Some(None), .. }) => Station::Failed,
            _ => Station::Unknown,
        }
    }

    /// Tunnels whose outer packets go to this neighbour.
    fn tunnels_over(&self, link: IfId, address: IpAddr) -> impl Iterator<Item = IfId> {
        let range = (link, address, IfId(0))..=(link, address, IfId::NONE);
        self.stacked.range(range).map(|(_, _, tunnel)| *tunnel)
    }
}
