//! What has to hold when all ops of a transaction are in, whatever their order:
//! no overlapping subnets, nobody else's role for an own address or for one that
//! no host has, no two tunnels alike. Only what was touched is looked at, from both sides.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::desired::{Desired, Object, Target, with_address};
use super::edit::Edit;
use super::edit_far_ends::half_outer;
use super::key::Key;
use super::refusal::{Fault, Refusal};
use super::touched::{RouteChange, Touched};
use super::tunnel_config::TunnelConfig;
use super::values;
use crate::ids::Family;
use crate::model::ip;
use crate::model::spec::{ReversePath, TunnelKind};
use crate::tables::interfaces::UDP_PORTS;
use crate::wire::icmp6::nd::MOST_PREFIXES;

/// Checks all that was touched and notes what is wrong.
pub(super) fn check(edit: &mut Edit<'_>, touched: &Touched) {
    // Links last: a tunnel's or a route's own place is the better one.
    let is_tunnel = |object: &Object| matches!(object, Object::Tunnel(_));
    let (tunnels, rest): (Vec<Object>, Vec<Object>) =
        touched.others.keys().partition(|object| is_tunnel(object));
    objects(edit, &tunnels);
    routes(edit, &touched.routes);
    objects(edit, &rest);
}

/// Gateways have to be other hosts.
fn routes(edit: &mut Edit<'_>, changes: &[RouteChange]) {
    // Of a million routes most have one of a few gateways.
    let mut hosts = BTreeSet::new();
    for RouteChange { to, new, .. } in changes {
        for way in new.map(|target| edit.desired.ways(target)).into_iter().flatten() {
            let Target::Via(gateway) = way else { continue };
            if hosts.contains(&gateway) {
                continue;
            }
            match not_a_host(edit.desired, gateway, &Role::Gateway(*to)) {
                Some(fault) => {
                    let field = if *new == Some(way) { "via" } else { "paths" };
                    edit.problem_with(Object::Route(*to), &fault.refusal.on(field));
                }
                None => _ = hosts.insert(gateway),
            }
        }
    }
}

fn objects(edit: &mut Edit<'_>, objects: &[Object]) {
    for object in objects.iter().copied() {
        let mut faults = Vec::new();
        let desired = &*edit.desired;
        match object {
            Object::Link(key) => link(desired, key, &mut faults),
            Object::Tunnel(key) => {
                if let Some(config) = desired.tunnels.get(&key) {
                    tunnel(desired, key, config, &mut faults);
                }
            }
            Object::Neighbour(address) if desired.neighbours.contains_key(&address) => {
                faults.extend(not_a_host(desired, address, &Role::Neighbour));
            }
            Object::Published(address) if desired.published.contains_key(&address) => {
                faults.extend(not_a_host(desired, address, &Role::Published));
            }
            _ => {}
        }
        if let Object::Link(key) | Object::Tunnel(key) = object {
            faults.extend(is_filtered(desired, key));
        }
        for fault in faults {
            edit.problem_with(object, &fault);
        }
    }
}

/// An interface does not go while a filter names it: that would let through what
/// comes by the next of its name.
fn is_filtered(desired: &Desired, key: Key) -> Option<Fault> {
    let rule = desired.filters.iter().find(|rule| rule.interface == Some(key))?;
    let (interface, filter) = (desired.names.name(key), rule.spec.name.clone());
    (!desired.exists(key)).then(|| Refusal::IsFiltered { interface, filter }.on(""))
}

/// What somebody else's address is used as.
enum Role {
    Remote(Key),
    Peer(Key),
    Gateway(IpNet),
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
fn not_a_host(desired: &Desired, address: IpAddr, role: &Role) -> Option<Fault> {
    not_own(desired, address, role).or_else(|| not_of_subnet(desired, address, role))
}

/// Refuses an own address.
fn not_own(desired: &Desired, address: IpAddr, role: &Role) -> Option<Fault> {
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
fn not_of_subnet(desired: &Desired, address: IpAddr, role: &Role) -> Option<Fault> {
    let why = match role {
        Role::Published => return None,
        Role::Gateway(_) => "expected a router's",
        Role::Remote(_) | Role::Peer(_) | Role::Neighbour => "expected a host's",
    };
    let host = IpNet::from(address);
    let covers = desired.index.subnets.cover(&host);
    let (subnet, what, links) = covers
        .into_iter()
        .find_map(|(net, links)| Some((net, values::nobody(&net, address)?, links)))?;
    let link = desired.names.name(*links.first()?);
    let (field, used) = role.words(desired);
    Some(Refusal::NobodysAddress { address, what, subnet, link, used, why }.on(field))
}

/// An address that became ours, or a subnet's, must have no such role.
fn roles(desired: &Desired, address: IpAddr, faults: &mut Vec<Fault>) {
    let index = &desired.index;
    let mut roles: Vec<Role> = Vec::new();
    // On ipip over IPv4 the far end is the peer too, and said of it once.
    let gre = |key: &Key| key.tunnel_kind() == Some(TunnelKind::Gre) || address.is_ipv6();
    // A far end that was found somewhere forbids nothing: it is no more to be found.
    let told = |key: &Key| desired.tunnels.get(key).is_some_and(|tunnel| !tunnel.is_found());
    let remotes = with_address(&index.remotes, address).filter(gre);
    roles.extend({ remotes }.find(told).map(Role::Remote));
    roles.extend(with_address(&index.peers, address).find(told).map(Role::Peer));
    roles.extend(index.routes_via(address).next().map(Role::Gateway));
    roles.extend(desired.neighbours.contains_key(&address).then_some(Role::Neighbour));
    roles.extend(desired.published.contains_key(&address).then_some(Role::Published));
    for role in roles {
        // Said of the address, whatever field the other side has.
        faults.extend(not_a_host(desired, address, &role).map(|fault| fault.refusal.on("address")));
    }
}

fn link(desired: &Desired, key: Key, faults: &mut Vec<Fault>) {
    let Some(config) = desired.links.get(&key) else {
        let arrival = desired.tunnels.iter().find(|(_, tunnel)| tunnel.port == Some(key));
        if let Some((tunnel, _)) = arrival {
            let (link, tunnel) = (desired.names.name(key), desired.names.name(*tunnel));
            faults.push(Refusal::IsArrival { link, tunnel }.on(""));
        }
        return;
    };
    for net in &config.address {
        roles(desired, net.addr(), faults);
        subnet(desired, key, net.trunc(), "address", faults);
    }
    room_for_ipv6(desired, key, faults);
    let prefixes = config.prefixes().count();
    if config.advertise.is_some() && prefixes > MOST_PREFIXES {
        let name = desired.names.name(key);
        faults.push(Refusal::TooManyPrefixes(name, prefixes).on("advertise"));
    }
    if let Key::Port(port) = key {
        let vlans = desired.links.range(Key::Vlan(port, 0)..=Key::Vlan(port, u16::MAX));
        vlans.for_each(|(vlan, _)| room_for_ipv6(desired, *vlan, faults));
    }
}

/// Refuses a subnet that is somebody else's too, and roles of those of its
/// addresses that no host has.
fn subnet(
    desired: &Desired,
    key: Key,
    subnet: IpNet,
    field: &'static str,
    faults: &mut Vec<Fault>,
) {
    let covers = desired.index.subnets.cover(&subnet);
    let inside = desired.index.subnets.children(&subnet);
    let overlap = covers
        .chain(inside)
        .flat_map(|(other, keys)| keys.iter().map(move |key| (other, *key)))
        .find(|(_, other)| *other != key);
    if let Some((other_subnet, other)) = overlap {
        // The same words from both sides, so that they are said once.
        let mut sides = [(key, subnet), (other, other_subnet)];
        sides.sort();
        let [(first, subnet), (second, other_subnet)] = sides;
        let (name, other) = (desired.names.name(first), desired.names.name(second));
        faults.push(Refusal::Overlap { name, subnet, other, other_subnet }.on(field));
    }
    for (address, _) in ip::nobodys(&subnet) {
        roles(desired, address, faults);
    }
}

/// Refuses IPv6 on a link that is too small for it (RFC 8200 §5), by its own MTU
/// or its port's.
fn room_for_ipv6(desired: &Desired, key: Key, faults: &mut Vec<Fault>) {
    let Some(config) = desired.links.get(&key) else { return };
    let below = key.port().and_then(|(port, _)| desired.links.get(&Key::Port(port))?.mtu);
    let mtu = config.mtu.into_iter().chain(below).min();
    let address = config.address.iter().map(IpNet::addr).find(IpAddr::is_ipv6);
    if let (Some(mtu), Some(address)) = (mtu.filter(|mtu| *mtu < ip::LEAST_MTU_V6), address) {
        let name = desired.names.name(key);
        faults.push(Refusal::SmallForIpv6 { name, mtu, address }.on("mtu"));
    }
}

/// How a far end is found that is not told, or moves.
fn far_end(name: impl Fn() -> String, kind: TunnelKind, config: &TunnelConfig) -> Option<Fault> {
    let named = config.host_name();
    if !config.learn {
        let unknown = config.endpoints.is_some() && config.remote.is_none();
        return unknown.then(|| half_outer(&name()).on("remote"));
    }
    let refusal = match (kind, config.gre.key_in, named) {
        (TunnelKind::Ipip, ..) => Refusal::LearnIpip(name()),
        (_, None, _) => Refusal::LearnKey(name()),
        (.., Some(host)) => Refusal::LearnNamed { name: name(), host: host.clone() },
        // What is learned becomes a route: not for any address.
        _ if config.multipoint.is_some() && config.allow.is_empty() => {
            Refusal::Multipoint(name(), "to learn more, it has to `allow` inner addresses")
        }
        // Before one is learned nothing leads to it.
        _ if config.multipoint.is_some() && config.rpf == ReversePath::Strict => {
            Refusal::Multipoint(name(), "to learn more, its rpf cannot be strict")
        }
        _ => return None,
    };
    Some(refusal.on("learn"))
}

fn tunnel(desired: &Desired, key: Key, config: &TunnelConfig, faults: &mut Vec<Fault>) {
    let Some(kind) = key.tunnel_kind() else { return };
    if key.whole().is_none() {
        faults.extend(far_end(|| desired.names.name(key), kind, config));
    }
    let ipv6 = !config.inet6.is_empty() || config.outer_family(kind) == Family::V6;
    if !config.link0 && ipv6 {
        faults.push(Refusal::MobileIpv6(desired.names.name(key)).on("link0"));
    }
    let port = config.port.filter(|port| !desired.exists(*port) && key.whole().is_none());
    if let Some(port) = port {
        faults.push(Refusal::NoInterface(desired.names.name(port)).on("port"));
    }
    config.own().for_each(|address| roles(desired, address, faults));
    for net in config.subnets() {
        subnet(desired, key, net, "inet6", faults);
    }
    for peer in config.peers() {
        faults.extend(not_a_host(desired, peer, &Role::Peer(key)));
        let mut both: Vec<Key> = with_address(&desired.index.peers, peer).take(2).collect();
        if both.len() > 1 {
            both.sort();
            let (name, other) = (desired.names.name(both[0]), desired.names.name(both[1]));
            faults.push(Refusal::DuplicatePeer { name, other, peer }.on("peer"));
        }
    }
    if config.udp.is_some() && desired.index.udp.len() > UDP_PORTS {
        faults.push(Refusal::TooManyUdpPorts(desired.names.name(key)).on("udp"));
    }
    if let Some((local, remote)) = config.outer(kind) {
        // On ipip over IPv4 the far end was just looked at, under its other name.
        if config.endpoints.is_some() && !remote.is_unspecified() {
            faults.extend(not_a_host(desired, remote, &Role::Remote(key)));
        }
        for received in config.received_as(kind) {
            let both: Vec<Key> = desired.index.received_as(received).take(2).collect();
            let [one, two] = both[..] else { continue };
            let (name, other) = (desired.names.name(one), desired.names.name(two));
            if received.source.is_unspecified() {
                faults.push(Refusal::TwoLearners { name, other, local }.on("learn"));
                continue;
            }
            let kind = kind.prefix();
            let mut key = config.gre.key_in.map_or(String::new(), |key| format!(" with key {key}"));
            if let Some(udp) = config.udp {
                key += &format!(" in UDP {}", udp.port);
            }
            let twice = Refusal::DuplicateTunnel { name, other, kind, local, remote, key };
            faults.push(twice.on("remote"));
        }
    }
}
