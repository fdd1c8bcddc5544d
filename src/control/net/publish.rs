//! Into the tables, in the order that keeps readers right: what is referred to
//! before what refers to it, and out again the other way round.

use arrayvec::ArrayVec;
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::atomic::Ordering;

use super::commit::{Done, Work, each_once};
use super::hops::Hop;
use super::key::Key;
use super::links::host;
use super::refusal::Refusal;
use super::{Net, plan};
use crate::control::topology::Link;
use crate::ids::{Family, IfId, MAX_PORTS, NextHopId};
use crate::model::ip;
use crate::model::spec::ReversePath;
use crate::tables::Tables;
use crate::tables::adjacency::{Adjacency, AdjacencyKind};
use crate::tables::epoch::Guard;
use crate::tables::interfaces::{Attachment, Interfaces, OWN_FAST, PortEntry, UDP_PORTS};

impl Net {
    /// Publishes all of it. A transaction counts up the generation.
    pub(super) fn publish(&mut self, mut work: Work, transaction: bool) -> Done {
        let guard = self.tables.pin();
        let (puts, takes) = self.compare(&mut work);
        let mut unused = self.reserve_members(&mut work);
        self.plan(&work, &guard);
        self.fill_groups(&work, &guard);
        unused.extend(self.fill_fib(puts));
        for prefix in takes {
            fib_remove(&self.tables, &prefix);
            unused.extend(self.installed.remove(&prefix));
        }
        self.publish_snapshot(&work, &guard);
        for id in &work.renumbered {
            self.tables.sequences.get(id.index()).reset();
        }
        for received in &work.unkeyed {
            self.tables.decap.remove(self.tables.decap.key_of(received), &guard);
        }
        for (id, door) in &work.doors {
            self.tables.doors.replace(id.index(), Box::new(door.clone()), &guard);
        }
        let slots = work.slots.iter().map(|(id, slot)| (id.index(), *slot));
        self.tables.tunnels.set_many(slots, &guard);
        for hop in unused.iter().chain(&work.released) {
            self.hops.release(*hop, &guard);
        }
        self.release_groups(&unused, &work, &guard);
        for key in &work.gone {
            self.links.leave(*key, &guard);
        }
        self.hops.seal(&guard);
        self.links.seal(&guard);
        drop(guard);
        if transaction {
            self.tables.generation.fetch_add(1, Ordering::Release);
        }
        self.housekeeping();
        work.done
    }

    /// Where a prefix leads now.
    fn leads(&self, prefix: IpNet) -> Option<Hop> {
        let entry = self.rib.get(prefix);
        if let Some((_, hop)) = self.counting(prefix, &entry) {
            return Some(hop);
        }
        let link = ip::is_host(&prefix).then(|| self.active.get(&prefix.addr()))??;
        Some(Hop::Neighbour(*link, prefix.addr()))
    }

    /// What to write into the FIB, with slots taken, and what to take out.
    #[allow(clippy::type_complexity)]
    fn compare(&mut self, work: &mut Work) -> (Vec<(IpNet, Hop, NextHopId)>, Vec<IpNet>) {
        let (mut puts, mut takes) = (Vec::new(), Vec::new());
        for prefix in each_once(std::mem::take(&mut work.prefixes)) {
            let Some(mut hop) = self.leads(prefix) else {
                if self.installed.contains_key(&prefix) {
                    takes.push(prefix);
                }
                continue;
            };
            if self.installed.get(&prefix) == Some(&hop) {
                continue;
            }
            let slot = self.hops.acquire(hop).or_else(|| {
                tracing::error!(%prefix, slots = self.hops.len(), "no next hop slot is left");
                hop = Hop::Unreachable;
                self.hops.acquire(hop)
            });
            let Some((id, new)) = slot else { continue };
            match hop {
                Hop::Paths(set) if new => _ = work.sets.insert(set),
                _ if new => _ = work.hops.insert(hop),
                _ => {}
            }
            puts.push((prefix, hop, id));
        }
        (puts, takes)
    }

    /// Plans the adjacencies of hops in use.
    fn plan(&mut self, work: &Work, guard: &Guard) {
        let used = work.hops.iter().filter_map(|hop| Some((self.hops.get(*hop)?, *hop)));
        let mut used: Vec<(NextHopId, Hop)> = used.collect();
        // By slot, so that a chunk of the table is copied once.
        used.sort_unstable_by_key(|(id, _)| id.index());
        self.planned += used.len() as u64;
        let planned = used.into_iter().map(|(id, hop)| (id.index(), self.adjacency(hop)));
        self.tables.adjacencies.set_many(planned, guard);
    }

    /// What is in a hop's slot.
    fn adjacency(&self, hop: Hop) -> Adjacency {
        let plain = |kind| Adjacency::plain(kind, IfId::NONE);
        let link = |id: IfId| self.links.states.get(&id).map(|state| &state.link);
        match hop {
            Hop::Blackhole => plain(AdjacencyKind::Blackhole),
            Hop::Unreachable => plain(AdjacencyKind::Unreachable),
            Hop::Local => plain(AdjacencyKind::Local),
            Hop::Broadcast => plain(AdjacencyKind::Broadcast),
            Hop::Link(id) => link(id).map_or(plain(AdjacencyKind::Unreachable), plan::connected),
            Hop::Neighbour(id, address) => match link(id) {
                Some(link) => plan::neighbour(link, Family::of(address), self.station(id, address)),
                None => plain(AdjacencyKind::Unreachable),
            },
            Hop::Tunnel(id, _) if self.is_dead(id) => {
                Adjacency::plain(AdjacencyKind::Unreachable, id)
            }
            Hop::Tunnel(id, inner) | Hop::Probe(id, inner) => self.tunnel_adjacency(id, inner),
            // Not in this table: its members are.
            Hop::Paths(_) => plain(AdjacencyKind::Unreachable),
        }
    }

    fn tunnel_adjacency(&self, id: IfId, inner: Family) -> Adjacency {
        let off = Adjacency::plain(AdjacencyKind::Unreachable, id);
        let Some(state) = self.tunnels.get(&id) else { return off };
        let kind = state.key.tunnel_kind();
        let (Some(kind), Some(config)) = (kind, self.desired.tunnels.get(&state.key)) else {
            return off;
        };
        if self.heard(id).unreachable {
            return off;
        }
        let below = state.underlay.ok().and_then(|below| {
            let link = self.links.states.get(&below.link)?.link;
            let link = Link { mtu: self.outer_mtu(id, below.link), ..link };
            Some((link, self.station(below.link, below.next_hop)))
        });
        plan::tunnel(id, kind, config, inner, below)
    }

    /// Writes FIB entries; gives the hops they had.
    fn fill_fib(&mut self, puts: Vec<(IpNet, Hop, NextHopId)>) -> Vec<Hop> {
        let mut unused = Vec::new();
        for (prefix, hop, id) in puts {
            match fib_insert(&self.tables, &prefix, id) {
                Ok(()) => unused.extend(self.installed.insert(prefix, hop)),
                Err(full) => {
                    // Room for all but learned neighbours was made sure of;
                    // without its host route a neighbour's packets go round by
                    // control, as many a second as it lets through.
                    tracing::warn!(%prefix, %full, "a neighbour gets no host route");
                    unused.push(hop);
                }
            }
        }
        unused
    }

    /// Publishes ports and own addresses anew if anything in them changed.
    fn publish_snapshot(&mut self, work: &Work, guard: &Guard) {
        let changed = work.snapshot;
        let compiled = work.filters.then(|| self.filters_now());
        let (own, own_complete) = self.own_fast(Family::V4, |address| match address {
            IpAddr::V4(address) => Some(address.to_bits()),
            IpAddr::V6(_) => None,
        });
        let (own6, own6_complete) = self.own_fast(Family::V6, |address| match address {
            IpAddr::V6(address) => Some(address.to_bits()),
            IpAddr::V4(_) => None,
        });
        let current = self.tables.interfaces.load(guard);
        let filters = compiled.unwrap_or_else(|| current.filters.clone());
        let same = own == current.own && own_complete == current.own_complete;
        let same6 = own6 == current.own6 && own6_complete == current.own6_complete;
        let ports = self.desired.index.udp.keys().copied();
        let udp: ArrayVec<u16, UDP_PORTS> = ports.take(UDP_PORTS).collect();
        if !changed && same && same6 && udp == current.udp && filters == current.filters {
            return;
        }
        let reverse_path =
            if changed { self.reverse_paths() } else { current.reverse_path.clone() };
        let ports = if changed { self.port_entries() } else { current.ports.clone() };
        let echo = self.desired.icmp.echo;
        let snapshot = Interfaces {
            ports,
            own,
            own_complete,
            own6,
            own6_complete,
            reverse_path,
            udp,
            filters,
            echo,
        };
        self.tables.interfaces.replace(snapshot, guard);
        self.forget_filters(guard);
    }

    /// Own addresses of one family, as numbers: outer sources of tunnels first,
    /// then all others as far as they fit, and whether that is all of them.
    fn own_fast<T: PartialEq>(
        &self,
        family: Family,
        number: impl Fn(IpAddr) -> Option<T>,
    ) -> (ArrayVec<T, OWN_FAST>, bool) {
        /// Outer sources looked at: enough to find those that are ours, however
        /// many are configured that are not.
        const LOOK: usize = 4 * OWN_FAST;
        let index = &self.desired.index;
        let ours = |address: &&IpAddr| index.owners(**address).next().is_some();
        let sources = index.locals.range(ip::range(family)).map(|(address, _)| address);
        let outer = sources.take(LOOK).filter(ours).copied();
        let link_local = self.links.states.values().filter_map(|state| state.link_local);
        let others = index.own_addresses(family).chain(link_local.map(IpAddr::V6));
        let mut own = ArrayVec::new();
        for address in outer.chain(others).filter_map(number) {
            if own.contains(&address) {
                continue;
            }
            if own.try_push(address).is_err() {
                return (own, false);
            }
        }
        (own, true)
    }

    /// Links with a reverse-path check.
    fn reverse_paths(&self) -> Vec<(IfId, ReversePath)> {
        let check = |id: &IfId| {
            let config = self.desired.links.get(&self.links.record(*id)?.key)?;
            (config.rpf != ReversePath::Off).then_some((*id, config.rpf))
        };
        self.links.states.keys().filter_map(check).collect()
    }

    fn port_entries(&self) -> ArrayVec<PortEntry, MAX_PORTS> {
        let mut ports: ArrayVec<PortEntry, MAX_PORTS> = ArrayVec::new();
        for facts in self.facts.iter().take(MAX_PORTS) {
            ports.push(PortEntry { mac: facts.mac, untagged: None, vlans: Vec::new() });
        }
        for (id, state) in &self.links.states {
            let attachment = Attachment { id: *id, up: state.link.up };
            let Some(port) = ports.get_mut(state.link.port.index()) else { continue };
            match self.links.record(*id).map(|record| record.key) {
                Some(Key::Vlan(_, vlan)) => port.vlans.push((vlan, attachment)),
                _ => port.untagged = Some(attachment),
            }
        }
        for port in &mut ports {
            port.vlans.sort_unstable_by_key(|(vlan, _)| *vlan);
        }
        ports
    }

    /// Where a destination leads, with the prefix that says so.
    pub(super) fn longest(&self, to: IpAddr) -> Option<(IpNet, Hop)> {
        let itself = host(to);
        if let Some(hop) = self.leads(itself) {
            return Some((itself, hop));
        }
        let (prefix, _) = self.rib.longest(to)?;
        if let Some(hop) = self.leads(prefix) {
            return Some((prefix, hop));
        }
        // That one is withdrawn.
        let covers = self.rib.covers(to).into_iter();
        { covers }.find_map(|(prefix, _)| Some((prefix, self.leads(prefix)?)))
    }
}

fn fib_insert(tables: &Tables, prefix: &IpNet, hop: NextHopId) -> Result<(), Refusal> {
    match prefix {
        IpNet::V4(net) => tables.fib4.insert(net.network().to_bits(), net.prefix_len(), hop)?,
        IpNet::V6(net) => tables.fib6.insert(net.network().to_bits(), net.prefix_len(), hop)?,
    }
    Ok(())
}

fn fib_remove(tables: &Tables, prefix: &IpNet) {
    match prefix {
        IpNet::V4(net) => _ = tables.fib4.remove(net.network().to_bits(), net.prefix_len()),
        IpNet::V6(net) => _ = tables.fib6.remove(net.network().to_bits(), net.prefix_len()),
    }
}
