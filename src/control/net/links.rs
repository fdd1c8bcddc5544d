//! Interfaces as resolved: their numbers, and ports and VLANs with what they
//! inherit from each other.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use super::desired::LinkConfig;
use super::key::Key;
use super::rib::Candidate;
use super::slots::Slots;
use crate::control::topology::Link;
use crate::ids::{IfId, Mac, PortId};
use crate::model::ip;
use crate::tables::Tables;
use crate::tables::epoch::Guard;

/// An interface that has a number.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) key: Key,
    pub(super) name: String,
}

/// A port or VLAN.
#[derive(Debug)]
pub(super) struct LinkState {
    /// As engines see it; `mtu` and `up` take the port below into account.
    pub(super) link: Link,
    /// Own addresses with prefix lengths.
    pub(super) address: Vec<IpNet>,
    /// The one that nobody configured, while the link is up and has IPv6.
    pub(super) link_local: Option<Ipv6Addr>,
    /// What it says in the RIB.
    pub(super) says: Vec<(IpNet, Candidate)>,
}

/// Numbers of all interfaces, and all links.
pub(super) struct Links {
    ids: HashMap<Key, IfId>,
    records: HashMap<IfId, Record>,
    pub(super) states: BTreeMap<IfId, LinkState>,
    numbers: Slots<IfId>,
}

impl Links {
    /// No interface; as many as the tables have room for can be.
    pub(super) fn new(tables: &Tables) -> Links {
        let capacity = tables.tunnels.capacity().min(crate::ids::MAX_INTERFACES);
        Links {
            ids: HashMap::new(),
            records: HashMap::new(),
            states: BTreeMap::new(),
            numbers: Slots::new(IfId, 0, capacity, tables.limbo()),
        }
    }

    /// The number of an interface.
    pub(super) fn id(&self, key: Key) -> Option<IfId> {
        self.ids.get(&key).copied()
    }

    /// The interface of a number.
    pub(super) fn record(&self, id: IfId) -> Option<&Record> {
        self.records.get(&id)
    }

    /// The name of an interface, for messages.
    pub(super) fn name(&self, id: IfId) -> &str {
        self.record(id).map_or("?", |record| &record.name)
    }

    /// Gives a number to an interface that has none: ports their own (they come
    /// first), others a free one. `None` when there are as many as can be.
    pub(super) fn enter(&mut self, key: Key, name: String) -> Option<IfId> {
        if let Some(id) = self.id(key) {
            return Some(id);
        }
        let id = self.numbers.take()?;
        self.ids.insert(key, id);
        self.records.insert(id, Record { key, name });
        Some(id)
    }

    /// Takes the number of an interface away; it is used again after a grace
    /// period.
    pub(super) fn leave(&mut self, key: Key, guard: &Guard) {
        if let Some(id) = self.ids.remove(&key) {
            self.records.remove(&id);
            self.states.remove(&id);
            self.numbers.give_back(id, guard);
        }
    }

    /// Begins the grace period of what was given back.
    pub(super) fn seal(&mut self, guard: &Guard) {
        self.numbers.seal(guard);
    }

    /// Takes numbers whose grace period is over back into use.
    pub(super) fn reclaim(&mut self) {
        self.numbers.reclaim();
    }

    /// Numbers that can be given out now.
    pub(super) fn free(&self) -> usize {
        self.numbers.free()
    }

    /// Interfaces there are.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// All interfaces in the order they are shown.
    pub(super) fn sorted(&self) -> Vec<(Key, IfId)> {
        let mut all: Vec<(Key, IfId)> = self.ids.iter().map(|(key, id)| (*key, *id)).collect();
        all.sort_unstable();
        all
    }

    /// True if a link is up (its port too).
    pub(super) fn is_up(&self, id: IfId) -> bool {
        self.states.get(&id).is_some_and(|state| state.link.up)
    }

    /// Largest IP datagram of a link.
    pub(super) fn mtu(&self, id: IfId) -> u16 {
        self.states.get(&id).map_or(0, |state| state.link.mtu)
    }

    /// VLANs of a port, by their keys.
    pub(super) fn vlans_of(&self, port: PortId) -> Vec<Key> {
        let on_port = |record: &&Record| matches!(record.key, Key::Vlan(p, _) if p == port);
        let links = self.states.keys().filter_map(|id| self.record(*id));
        links.filter(on_port).map(|record| record.key).collect()
    }
}

/// What a link with these addresses says in the RIB: own addresses always; its
/// subnets, with the addresses in them that no host has, and its link-local
/// address while it is up. fe80::/64 itself is never routed.
pub(super) fn says(id: IfId, config: &LinkConfig, up: Option<Mac>) -> Vec<(IpNet, Candidate)> {
    let mut says = Vec::new();
    for net in &config.address {
        says.push((host(net.addr()), Candidate::Local));
        if up.is_some() {
            says.extend(says_of_subnet(*net, Candidate::Connected(id)));
        }
    }
    let link_local = up.and_then(|mac| config.link_local(mac));
    says.extend(link_local.map(|address| (host(address.into()), Candidate::Local)));
    // Aliases in one subnet say the same of it.
    says.sort_unstable();
    says.dedup();
    says
}

/// What is said of the subnet of an own address, wherever it is: where it leads,
/// and which of its addresses are not hosts'.
pub(super) fn says_of_subnet(net: IpNet, leads: Candidate) -> Vec<(IpNet, Candidate)> {
    let nobodys = ip::nobodys(&net).into_iter();
    let nobodys = nobodys.map(|(address, _)| (host(address), Candidate::Broadcast));
    std::iter::once((net.trunc(), leads)).chain(nobodys).collect()
}

/// The prefix of one address.
pub(super) fn host(address: IpAddr) -> IpNet {
    IpNet::from(address)
}
