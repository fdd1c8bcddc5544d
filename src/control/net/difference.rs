//! From the running state to a wanted one: the ops of a reload.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use prefix_trie::joint::JointPrefixMap;

use super::Net;
use super::desired::{Object, Target};
use super::edit::pointing_at;
use super::key::Key;
use super::refusal::{Refusal, place};
use crate::config::ops::{add_filter, advertise, door};
use crate::model::api::{ApiError, ErrorCode};
use crate::model::op::{InterfaceChange, Located, Op, Problem};
use crate::model::spec::{NeighbourSpec, PortSpec, PublishSpec, State};

impl Net {
    /// The ops that turn the running state into `wanted`: what is not in it is
    /// destroyed, what differs is put in place, the rest is left alone.
    ///
    /// # Errors
    /// When something differs that only a start can change: which ports there
    /// are, their devices, link addresses or queues.
    pub fn difference(&self, wanted: &State) -> Result<Vec<Located>, ApiError> {
        let running = self.state();
        fixed_at_start(&running.ports, &wanted.ports)?;
        let wanted = &with_ports(wanted);
        let mut ops = Ops::default();
        // What a destroyed interface takes with it has to be put back if it is
        // wanted, and is not there to be deleted if it is not.
        let (taken, shrunk) = self.destroy(wanted, &mut ops);
        let stays = |object: Object| !taken.contains(&object);
        let routes = running.routes.iter().filter(|r| stays(Object::Route(r.to)));
        let routes: BTreeMap<IpNet, _> = routes.map(|r| (r.to, r)).collect();
        let wanted_routes: BTreeSet<IpNet> = wanted.routes.iter().map(|r| r.to).collect();
        for to in routes.keys().filter(|to| !wanted_routes.contains(to)) {
            ops.add("", Op::DeleteRoute { to: *to });
        }
        self.arp_deletions(&running, wanted, &stays, &mut ops);
        for (at, (have, want)) in running.ports.iter().zip(&wanted.ports).enumerate() {
            port(have, want, &format!("port[{at}]"), &mut ops);
        }
        let vlans: BTreeMap<_, _> = running.vlans.iter().map(|v| (&v.name, v)).collect();
        for (at, vlan) in wanted.vlans.iter().enumerate() {
            if vlans.get(&vlan.name) != Some(&vlan) {
                ops.add(&format!("vlan[{at}]"), Op::PutVlan { vlan: vlan.clone() });
            }
        }
        let tunnels: BTreeMap<_, _> = running.tunnels.iter().map(|t| (&t.name, t)).collect();
        for (at, tunnel) in wanted.tunnels.iter().enumerate() {
            if tunnels.get(&tunnel.name) != Some(&tunnel) {
                ops.add(&format!("tunnel[{at}]"), Op::PutTunnel { tunnel: tunnel.clone().into() });
            }
        }
        for (at, route) in wanted.routes.iter().enumerate() {
            if shrunk.contains(&route.to) || routes.get(&route.to) != Some(&route) {
                ops.add(&format!("route[{at}]"), Op::PutRoute { route: route.clone() });
            }
        }
        let neighbours = running.neighbours.iter().filter(|n| stays(Object::Neighbour(n.address)));
        let neighbours: BTreeMap<_, _> = neighbours.map(|n| (n.address, n)).collect();
        for (at, neighbour) in wanted.neighbours.iter().enumerate() {
            if neighbours.get(&neighbour.address) != Some(&neighbour) {
                let neighbour = neighbour.clone();
                ops.add(&format!("neighbour[{at}]"), Op::PutNeighbour { neighbour });
            }
        }
        let published = running.published.iter().filter(|p| stays(Object::Published(p.address)));
        let published: BTreeMap<_, _> = published.map(|p| (p.address, p)).collect();
        for (at, publish) in wanted.published.iter().enumerate() {
            if published.get(&publish.address) != Some(&publish) {
                ops.add(&format!("arp[{at}]"), Op::Publish { publish: publish.clone() });
            }
        }
        if running.filters != wanted.filters {
            ops.add("", Op::FlushFilters);
            for (at, filter) in wanted.filters.iter().enumerate() {
                ops.add(&format!("filter[{at}]"), add_filter(filter));
            }
        }
        if running.icmp != wanted.icmp {
            ops.add("icmp", Op::SetIcmp { icmp: wanted.icmp.clone() });
        }
        Ok(ops.0)
    }

    /// Destroys what is not wanted; gives what goes with it, and the multipath
    /// routes that lose some of their paths.
    fn destroy(&self, wanted: &State, ops: &mut Ops) -> (BTreeSet<Object>, BTreeSet<IpNet>) {
        let names: BTreeSet<&String> = wanted
            .vlans
            .iter()
            .map(|vlan| &vlan.name)
            .chain(wanted.tunnels.iter().map(|tunnel| &tunnel.name))
            .collect();
        let mut taken = BTreeSet::new();
        // How many paths each destroyed interface takes from a multipath route.
        let mut fewer: BTreeMap<IpNet, usize> = BTreeMap::new();
        let vlans = self.desired.links.keys().filter(|key| matches!(key, Key::Vlan(..)));
        let tunnels = self.desired.tunnels.keys().filter(|key| key.whole().is_none());
        for key in vlans.chain(tunnels) {
            let name = self.desired.names.name(*key);
            if !names.contains(&name) {
                for object in pointing_at(&self.desired, *key) {
                    match object {
                        Object::Route(to) if self.several(to) > 0 => {
                            let stays = self.desired.paths_without(to, *key).len();
                            *fewer.entry(to).or_default() += self.several(to) - stays;
                        }
                        object => _ = taken.insert(object),
                    }
                }
                ops.add("", Op::Destroy { name });
            }
        }
        let (gone, shrunk): (Vec<_>, Vec<_>) =
            fewer.into_iter().partition(|(to, fewer)| *fewer >= self.several(*to));
        taken.extend(gone.into_iter().map(|(to, _)| Object::Route(to)));
        (taken, shrunk.into_iter().map(|(to, _)| to).collect())
    }

    /// Paths of a multipath route; 0 for any other.
    fn several(&self, to: IpNet) -> usize {
        match self.desired.routes.get(&to) {
            Some(Target::Paths(set)) => self.desired.sets.paths(*set).len(),
            _ => 0,
        }
    }

    /// Deletes ARP entries that are not wanted. An op deletes all of an
    /// address, so what is wanted of it is put back after it.
    fn arp_deletions(
        &self,
        running: &State,
        wanted: &State,
        stays: &dyn Fn(Object) -> bool,
        ops: &mut Ops,
    ) {
        let fixed: BTreeSet<IpAddr> = wanted.neighbours.iter().map(|n| n.address).collect();
        let published: BTreeSet<IpAddr> = wanted.published.iter().map(|p| p.address).collect();
        let have_fixed = running.neighbours.iter().map(|n| n.address);
        let have_fixed: BTreeSet<IpAddr> =
            have_fixed.filter(|a| stays(Object::Neighbour(*a))).collect();
        let have_published = running.published.iter().map(|p| p.address);
        let have_published: BTreeSet<IpAddr> =
            have_published.filter(|a| stays(Object::Published(*a))).collect();
        let unwanted = have_fixed.difference(&fixed).chain(have_published.difference(&published));
        for address in unwanted.collect::<BTreeSet<_>>() {
            ops.add("", Op::DeleteArp { address: *address });
            // The other entry of the address went with it.
            let neighbour = running.neighbours.iter().find(|n| n.address == *address);
            if let Some(neighbour) = neighbour.filter(|n| fixed.contains(&n.address)) {
                ops.add("", Op::PutNeighbour { neighbour: neighbour.clone() });
            }
            let publish = running.published.iter().find(|p| p.address == *address);
            if let Some(publish) = publish.filter(|p| published.contains(&p.address)) {
                ops.add("", Op::Publish { publish: publish.clone() });
            }
        }
    }
}

#[derive(Default)]
struct Ops(Vec<Located>);

impl Ops {
    fn add(&mut self, at: &str, op: Op) {
        self.0.push(Located { at: at.into(), op });
    }
}

/// Refuses what only a start can change.
fn fixed_at_start(have: &[PortSpec], want: &[PortSpec]) -> Result<(), ApiError> {
    let mut problems = Vec::new();
    let mut refuse = |at: &str, field: &str, what: String, was: String, wanted: String| {
        let refusal = Refusal::Fixed { what, was, wanted };
        problems.push(Problem::new(place(at, field), refusal.to_string()));
    };
    let names = |ports: &[PortSpec]| {
        ports.iter().map(|port| port.name.clone()).collect::<Vec<_>>().join(" ")
    };
    if names(have) != names(want) {
        refuse("port", "", "the list of ports".to_owned(), names(have), names(want));
    } else {
        for (at, (have, want)) in have.iter().zip(want).enumerate() {
            let at = format!("port[{at}]");
            let name = &have.name;
            let text = |value: Option<String>| value.unwrap_or_else(|| "default".to_owned());
            let fields = [
                ("device", have.device.clone(), want.device.clone()),
                (
                    "mac",
                    text(have.mac.map(|m| m.to_string())),
                    text(want.mac.map(|m| m.to_string())),
                ),
                (
                    "rx_queues",
                    text(have.rx_queues.map(|n| n.to_string())),
                    text(want.rx_queues.map(|n| n.to_string())),
                ),
            ];
            for (field, was, wanted) in fields {
                if was != wanted {
                    refuse(&at, field, format!("the {field} of {name}"), was, wanted);
                }
            }
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(ApiError { code: ErrorCode::Refused, problems })
}

/// Addresses, MTU and up of a port.
fn port(have: &PortSpec, want: &PortSpec, at: &str, ops: &mut Ops) {
    let name = &want.name;
    let same = have.address.iter().zip(&want.address).take_while(|(a, b)| a == b).count();
    // Addresses have an order, and the first is special: from the first that
    // differs on they go and come anew.
    for net in &have.address[same..] {
        ops.add(at, Op::DeleteAddress { name: name.clone(), address: net.addr() });
    }
    for net in &want.address[same..] {
        ops.add(
            at,
            Op::SetAddress {
                name: name.clone(),
                address: net.addr(),
                prefix_len: Some(net.prefix_len()),
                peer: None,
                alias: true,
            },
        );
    }
    if have.rpf != want.rpf {
        ops.add(at, door(name, want.rpf));
    }
    if have.advertise != want.advertise {
        ops.add(at, advertise(name, want.advertise));
    }
    let change = InterfaceChange {
        up: (have.up != want.up).then_some(want.up),
        mtu: (have.mtu != want.mtu).then_some(want.mtu),
        ..InterfaceChange::default()
    };
    if change != InterfaceChange::default() {
        ops.add(at, Op::SetInterface { name: name.clone(), change });
    }
}

/// Neighbours and published entries with the port they have by default written
/// out, as the running state has it.
fn with_ports(wanted: &State) -> State {
    let mut state = wanted.clone();
    let mut subnets: JointPrefixMap<IpNet, String> = JointPrefixMap::new();
    let ports = wanted.ports.iter().map(|port| (&port.name, &port.address));
    let vlans = wanted.vlans.iter().map(|vlan| (&vlan.name, &vlan.address));
    for (name, addresses) in ports.chain(vlans) {
        for net in addresses {
            subnets.insert(net.trunc(), name.clone());
        }
    }
    let link =
        |address: IpAddr| subnets.get_lpm(&IpNet::from(address)).map(|(_, name)| name.clone());
    for NeighbourSpec { address, port, .. } in &mut state.neighbours {
        *port = port.take().or_else(|| link(*address));
    }
    for PublishSpec { address, port, .. } in &mut state.published {
        *port = port.take().or_else(|| link(*address));
    }
    state
}
