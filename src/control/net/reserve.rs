//! The last step of a transaction that can fail: room for all of it. What is
//! taken here is given back if any of it is not to be had.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::commit::{each_once, says_of};
use super::desired::{Desired, Item, Object, Target};
use super::hops::{Hop, Hops};
use super::key::Key;
use super::links::{self, Links};
use super::refusal::Refusal;
use super::touched::{RouteChange, Touched};
use super::tunnel_config::TunnelConfig;
use crate::ids::{Family, IfId, Mac, TableId};
use crate::model::ip;
use crate::model::spec::Dscp;
use crate::tables::Tables;
use crate::tables::tunnel::{DecapKey, Tunnel, mapped};

/// Enters new interfaces and publishes new decapsulation keys, after making
/// sure that the FIB and the adjacency table have room.
pub(super) fn reserve(
    desired: &Desired,
    touched: &Touched,
    links: &mut Links,
    hops: &mut Hops,
    installed: &BTreeMap<IpNet, Hop>,
    tables: &Tables,
) -> Result<(), Refusal> {
    let before = &touched.others;
    let fresh: Vec<Key> = before.values().filter_map(|old| created(desired, old)).collect();
    let (needed, groups) = next_hops(desired, links, touched);
    if links.free() < fresh.len() || hops.free() < needed || hops.free_groups() < groups {
        tables.collect();
        links.reclaim();
        hops.reclaim();
    }
    if links.free() < fresh.len() {
        return Err(Refusal::TooManyInterfaces(links.len()));
    }
    let mut prefixes = prefixes(desired, links, touched);
    prefixes.retain(|prefix| !installed.contains_key(prefix));
    if hops.free() < needed {
        return Err(Refusal::TooManyNextHops(hops.len()));
    }
    if desired.sets.used() > tables.groups.capacity() || hops.free_groups() < groups {
        return Err(Refusal::TooManyGroups(desired.sets.used()));
    }
    tables.fib4.can_insert(prefixes.iter().filter_map(|net| match net {
        IpNet::V4(net) => Some((net.network().to_bits(), net.prefix_len())),
        IpNet::V6(_) => None,
    }))?;
    tables.fib6.can_insert(prefixes.iter().filter_map(|net| match net {
        IpNet::V6(net) => Some((net.network().to_bits(), net.prefix_len())),
        IpNet::V4(_) => None,
    }))?;
    for key in &fresh {
        // Counted above.
        let _ = links.enter(*key, desired.names.name(*key));
    }
    let keyed = decap_keys(desired, before, links, tables);
    if keyed.is_err() {
        let guard = tables.pin();
        fresh.iter().for_each(|key| links.leave(*key, &guard));
        links.seal(&guard);
    }
    keyed
}

/// Next hops and groups that what was touched can need at most. Static routes
/// share them: however many there are, they lead where their different targets
/// lead.
fn next_hops(desired: &Desired, links: &Links, touched: &Touched) -> (usize, usize) {
    // A tunnel is a next hop for each family.
    let target = |change: &RouteChange| Some((ip::family(&change.to), change.new?));
    let mut targets = BTreeSet::<(Family, Target)>::new();
    // One by one: collecting would sort a million to find a few.
    touched.routes.iter().filter_map(target).for_each(|target| _ = targets.insert(target));
    let mut others = 0;
    for object in touched.others.keys() {
        match object {
            // Into it, for each family; own addresses share a hop.
            // And once more each, where it is watched.
            Object::Tunnel(key) => {
                let watched = desired.tunnels.get(key).is_some_and(TunnelConfig::is_watched);
                others += if watched { 4 } else { 2 };
            }
            Object::Neighbour(_) => others += 1,
            _ => {}
        }
    }
    let family = family(links, &touched.others);
    for config in family.iter().filter_map(|key| desired.links.get(key)) {
        others += 4 * config.address.len();
    }
    let groups = targets.iter().filter(|(_, target)| matches!(target, Target::Paths(_))).count();
    let ways = targets.iter().flat_map(|(family, target)| {
        desired.ways(*target).into_iter().map(move |way| (*family, way))
    });
    let ways: BTreeSet<(Family, Target)> = ways.collect();
    (ways.len() + others + fixed_on(desired, &family).count(), groups)
}

/// Links that were touched, and the VLANs that a port brings back when it comes
/// up.
fn family(links: &Links, before: &BTreeMap<Object, Item>) -> BTreeSet<Key> {
    let mut family = BTreeSet::new();
    for object in before.keys() {
        let Object::Link(key) = object else { continue };
        family.insert(*key);
        if let Key::Port(port) = key {
            family.extend(links.vlans_of(*port));
        }
    }
    family
}

/// Static neighbours on any of these links.
fn fixed_on(desired: &Desired, family: &BTreeSet<Key>) -> impl Iterator<Item = IpAddr> {
    // Most transactions touch no link: then nobody has to be looked at.
    let all = if family.is_empty() { None } else { Some(&desired.neighbours) };
    let all = all.into_iter().flatten();
    all.filter(|(_, (link, _))| family.contains(link)).map(|(address, _)| *address)
}

/// The interface that an item of before did not have yet.
pub(super) fn created(desired: &Desired, old: &Item) -> Option<Key> {
    match old {
        Item::Link(key, None) | Item::Tunnel(key, None) => {
            Some(*key).filter(|key| desired.exists(*key))
        }
        _ => None,
    }
}

/// Prefixes that what was touched has now.
pub(super) fn prefixes(desired: &Desired, links: &Links, touched: &Touched) -> Vec<IpNet> {
    let routes = touched.routes.iter().filter(|change| change.new.is_some());
    let mut prefixes: Vec<IpNet> = routes.map(|change| change.to).collect();
    for object in touched.others.keys() {
        match object {
            Object::Tunnel(key) => {
                let says = desired.tunnels.get(key).map(|tunnel| says_of(IfId::NONE, tunnel));
                prefixes.extend(says.into_iter().flatten().map(|(prefix, _)| prefix));
            }
            Object::Neighbour(address) if desired.neighbours.contains_key(address) => {
                prefixes.push(links::host(*address));
            }
            _ => {}
        }
    }
    let family = family(links, &touched.others);
    for config in family.iter().filter_map(|key| desired.links.get(key)) {
        // Whatever its link-local address is: it is one prefix.
        let says = links::says(IfId::NONE, config, Some(Mac::default()));
        prefixes.extend(says.into_iter().map(|(prefix, _)| prefix));
    }
    prefixes.extend(fixed_on(desired, &family).map(links::host));
    each_once(prefixes)
}

/// A tunnel as decapsulation sees it: up when it is administratively up, has
/// addresses inside and outside, and its outer source is ours.
pub(super) fn slot(desired: &Desired, links: &Links, key: Key, id: IfId) -> Tunnel {
    let config = desired.tunnels.get(&key);
    let outer = key.tunnel_kind().and_then(|kind| config?.receives(kind));
    let (Some(config), Some((local, remote))) = (config, outer) else {
        return Tunnel { interface: id, ..Tunnel::default() };
    };
    let own = desired.index.owners(local).next().is_some();
    let arrival = config.port.map_or(Some(IfId::NONE), |port| links.id(port));
    let mut slot = Tunnel {
        interface: id,
        // Without the link it was told, it takes nothing.
        up: config.up
            && (config.is_addressed() || config.multipoint.is_some())
            && own
            && arrival.is_some(),
        guarded: !config.door().is_open(),
        uniform: config.dscp == Dscp::Uniform,
        arrival: arrival.unwrap_or(IfId::NONE),
        table: TableId(0),
        resync: config.gre.sequence_resync,
        keepalives: config.keepalive.is_some(),
        probed: config.probe.is_some(),
        whole: !config.reassemble,
        port: config.port(),
        unsummed: config.udp.is_some_and(|udp| !udp.checksum),
        ..Tunnel::default()
    };
    match (local, remote) {
        (IpAddr::V6(local), IpAddr::V6(remote)) => {
            (slot.local6, slot.remote6) = (local.to_bits(), remote.to_bits());
        }
        (IpAddr::V4(local), IpAddr::V4(remote)) => {
            slot.remote = remote.to_bits();
            if config.udp.is_some() {
                let (local, remote) = (mapped(local.to_bits()), mapped(remote.to_bits()));
                (slot.local6, slot.remote6) = (local, remote);
            }
        }
        // Of one family: checked when they were set.
        _ => slot.up = false,
    }
    slot
}

/// Publishes tunnels that have a new outer pair, then their keys.
fn decap_keys(
    desired: &Desired,
    before: &BTreeMap<Object, Item>,
    links: &Links,
    tables: &Tables,
) -> Result<(), Refusal> {
    let mut wanted: Vec<(Key, IfId, DecapKey)> = Vec::new();
    for old in before.values() {
        let Item::Tunnel(key, old) = old else { continue };
        let (Some(kind), Some(id)) = (key.tunnel_kind(), links.id(*key)) else { continue };
        let Some(now) = desired.tunnels.get(key) else { continue };
        let had = old.as_ref().map(|old| old.received_as(kind)).unwrap_or_default();
        let fresh = now.received_as(kind).into_iter().filter(|has| !had.contains(has));
        wanted.extend(fresh.map(|has| (*key, id, tables.decap.key_of(&has))));
    }
    wanted.sort_unstable_by_key(|(_, id, _)| *id);
    let guard = tables.pin();
    let slots = wanted.iter().filter(|(_, id, _)| {
        // One that is in use already gets its new slot with the rest.
        tables.tunnels.get(id.index(), &guard).interface != *id
    });
    // Its door is not there yet: until then it takes nothing.
    let closed = |slot: Tunnel| Tunnel { up: slot.up && !slot.guarded, ..slot };
    let slots = slots.map(|(key, id, _)| (id.index(), closed(slot(desired, links, *key, *id))));
    let slots: Vec<_> = slots.collect();
    let written: Vec<usize> = slots.iter().map(|(index, _)| *index).collect();
    tables.tunnels.set_many(slots, &guard);
    let mut done = Vec::new();
    for (_, id, key) in wanted {
        let old = tables.decap.get(key, &guard);
        if let Err(full) = tables.decap.insert(key, id.0, &guard) {
            for (key, old) in done {
                // A key that is there is changed in place, which cannot fail.
                let restored = match old {
                    Some(old) => tables.decap.insert(key, old, &guard).is_ok(),
                    None => tables.decap.remove(key, &guard).is_some(),
                };
                debug_assert!(restored);
            }
            let blank = written.into_iter().map(|index| (index, Tunnel::default()));
            tables.tunnels.set_many(blank, &guard);
            return Err(full.into());
        }
        done.push((key, old));
    }
    Ok(())
}
