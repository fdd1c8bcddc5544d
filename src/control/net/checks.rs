//! What has to hold when all ops of a transaction are in, whatever their order:
//! no overlapping subnets, nobody else's role for an own address or for one that
//! no host has, no two tunnels alike. Only what was touched is looked at, from both sides.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::desired::{Desired, Item, Object, Target, TunnelConfig, with_address};
use super::edit::Edit;
use super::key::Key;
use super::refusal::{Fault, Refusal};
use super::values;
use crate::model::spec::TunnelKind;

/// Checks all that was touched and notes what is wrong.
pub(super) fn check(edit: &mut Edit<'_>, touched: &BTreeMap<Object, Item>) {
    // `Object`'s order has links last: a tunnel's own place is the better one.
    for object in touched.keys().copied() {
        let mut faults = Vec::new();
        let desired = &*edit.desired;
        match object {
            Object::Link(key) => link(desired, key, &mut faults),
            Object::Tunnel(key) => {
                if let Some(config) = desired.tunnels.get(&key) {
                    tunnel(desired, key, config, &mut faults);
                }
            }
            Object::Route(to) => {
                if let Some(Target::Via(gateway)) = desired.routes.get(&to) {
                    faults.extend(not_a_host(desired, *gateway, &Role::Gateway(to)));
                }
            }
            Object::Neighbour(address) if desired.neighbours.contains_key(&address) => {
                faults.extend(not_a_host(desired, address, &Role::Neighbour));
            }
            Object::Published(address) if desired.published.contains_key(&address) => {
                faults.extend(not_a_host(desired, address, &Role::Published));
            }
            Object::Neighbour(_) | Object::Published(_) | Object::Icmp => {}
        }
        for fault in faults {
            edit.problem_with(object, &fault);
        }
    }
}

/// What somebody else's address is used as.
enum Role {
    Remote(Key),
    Peer(Key),
    Gateway(Ipv4Net),
    Neighbour,
    Published,
}

impl Role {
    /// The field it is written in, and what it is.
    fn words(&self, desired: &Desired) -> (&'static str, String) {
        let name = |key: &Key| desired.names.name(*key);
        match self {
            Role::Remote(key) => ("remote", format!("the tunnel destination of {}", name(key))),
            Role::Peer(key) => ("peer", format!("the far end of {}", name(key))),
            Role::Gateway(to) => ("via", format!("the gateway of {to}")),
            Role::Neighbour => ("address", "a static neighbour".to_owned()),
            Role::Published => ("address", "published".to_owned()),
        }
    }
}

/// Refuses what no other host can have, in a role that only another host has.
fn not_a_host(desired: &Desired, address: Ipv4Addr, role: &Role) -> Option<Fault> {
    not_own(desired, address, role).or_else(|| not_of_subnet(desired, address, role))
}

/// Refuses an own address.
fn not_own(desired: &Desired, address: Ipv4Addr, role: &Role) -> Option<Fault> {
    let own = desired.names.name(desired.index.owners(address).next()?);
    let (field, what) = role.words(desired);
    let why = match role {
        Role::Remote(_) => "a tunnel cannot lead to itself",
        Role::Peer(_) => "expected somebody else's",
        Role::Gateway(_) => "expected another router's",
        Role::Neighbour => "expected a neighbour's",
        Role::Published => "we answer for it anyway, without being told",
    };
    Some(Refusal::OwnAddress { address, own, what, why }.on(field))
}

/// Refuses the broadcast and the network address of a connected subnet. A
/// published one is only silent (AR-06).
fn not_of_subnet(desired: &Desired, address: Ipv4Addr, role: &Role) -> Option<Fault> {
    let why = match role {
        Role::Published => return None,
        Role::Gateway(_) => "expected a router's",
        Role::Remote(_) | Role::Peer(_) | Role::Neighbour => "expected a host's",
    };
    let covers = desired.index.subnets.cover(&Ipv4Net::from(address));
    let (subnet, what, links) = covers
        .into_iter()
        .find_map(|(net, links)| Some((net, values::nobody(&net, address)?, links)))?;
    let link = desired.names.name(*links.first()?);
    let (field, used) = role.words(desired);
    Some(Refusal::NobodysAddress { address, what, subnet, link, used, why }.on(field))
}

/// An address that became ours, or a subnet's, must have no such role.
fn roles(desired: &Desired, address: Ipv4Addr, faults: &mut Vec<Fault>) {
    let index = &desired.index;
    let mut roles: Vec<Role> = Vec::new();
    // On ipip the far end is the peer too, and said of it once.
    let mut remotes =
        with_address(&index.remotes, address).filter(|k| k.tunnel_kind() == Some(TunnelKind::Gre));
    roles.extend(remotes.next().map(Role::Remote));
    roles.extend(with_address(&index.peers, address).next().map(Role::Peer));
    roles.extend(index.routes_via(address).next().map(Role::Gateway));
    roles.extend(desired.neighbours.contains_key(&address).then_some(Role::Neighbour));
    roles.extend(desired.published.contains_key(&address).then_some(Role::Published));
    for role in roles {
        // Said of the address, whatever field the other side has.
        faults.extend(not_a_host(desired, address, &role).map(|fault| fault.refusal.on("address")));
    }
}

fn link(desired: &Desired, key: Key, faults: &mut Vec<Fault>) {
    let Some(config) = desired.links.get(&key) else { return };
    for net in &config.address {
        let subnet = net.trunc();
        let covers = desired.index.subnets.cover(&subnet);
        let inside = desired.index.subnets.children(&subnet);
        let overlap = covers
            .chain(inside)
            .flat_map(|(other, links)| links.iter().map(move |link| (other, *link)))
            .find(|(_, link)| *link != key);
        if let Some((other_subnet, other)) = overlap {
            // The same words from both sides, so that they are said once.
            let mut sides = [(key, subnet), (other, other_subnet)];
            sides.sort();
            let [(first, subnet), (second, other_subnet)] = sides;
            let (name, other) = (desired.names.name(first), desired.names.name(second));
            faults.push(Refusal::Overlap { name, subnet, other, other_subnet }.on("address"));
        }
        for address in std::iter::once(net.addr()).chain(values::nobodys(&subnet)) {
            roles(desired, address, faults);
        }
    }
}

fn tunnel(desired: &Desired, key: Key, config: &TunnelConfig, faults: &mut Vec<Fault>) {
    let Some(kind) = key.tunnel_kind() else { return };
    if let Some((address, peer)) = config.pair {
        faults.extend(not_a_host(desired, peer, &Role::Peer(key)));
        roles(desired, address, faults);
        let mut both: Vec<Key> = with_address(&desired.index.peers, peer).take(2).collect();
        if both.len() > 1 {
            both.sort();
            let (name, other) = (desired.names.name(both[0]), desired.names.name(both[1]));
            faults.push(Refusal::DuplicatePeer { name, other, peer }.on("peer"));
        }
    }
    if let Some((local, remote)) = config.outer(kind) {
        // On ipip the far end was just looked at, under its other name.
        if config.endpoints.is_some() {
            faults.extend(not_a_host(desired, remote, &Role::Remote(key)));
        }
        for key in config.received_as(kind) {
            let both: Vec<Key> = desired.index.received_as(key).take(2).collect();
            let [one, two] = both[..] else { continue };
            let (name, other) = (desired.names.name(one), desired.names.name(two));
            let kind = kind.prefix();
            let key = config.gre.key_in.map_or(String::new(), |key| format!(" with key {key}"));
            let twice = Refusal::DuplicateTunnel { name, other, kind, local, remote, key };
            faults.push(twice.on("remote"));
        }
    }
}
