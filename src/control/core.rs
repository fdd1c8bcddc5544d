//! Control itself: the desired state and the protocol engines, wired to the
//! workers' exchanges and to who asks.
//!
//! ```text
//!   ops ──▶ Net::transact ──events──▶ engines ──▶ inject ──▶ workers
//!   punts ─▶ neighbours / icmp / ping ───────┬──▶ inject
//!                                            └──▶ neighbour_resolved ─▶ Net ─▶ Tables
//! ```
//!
//! One thread owns it and calls [`Control::turn`] in a loop. It knows no
//! sockets, no ports and no clock of its own: `now` is the time since start,
//! so replay can run it on virtual time.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::advertise::Advertiser;
use super::door::DoorLog;
use super::far_ends::{FarEnds, Found, InUse};
use super::icmp::Icmp;
use super::liveness::Liveness;
use super::names::{Answer, Names, Question, Verdict};
use super::neighbours::{Held, NeighbourConfig, Neighbours};
use super::net::Soft;
use super::net::{Net, PortFacts};
use super::ping::{Ping, PingError, PingRequest, PingToken};
use super::topology::{Actions, Event, Link, OuterPath, Topology, TunnelWay, Way};
use super::tunnel_errors::{Sent, TunnelErrors};
use super::views::{Totals, WorkerPlan};
use crate::datapath::drop::DropReason;
use crate::exchange::{Cause, ControlEnd, InjectKind, PuntReason, PuntSlot};
use crate::ids::{Family, IfId, Mac, first_identification};
use crate::model::api::ApiError;
use crate::model::op::{Located, Op, Outcome};
use crate::model::spec::{IcmpSpec, State};
use crate::model::view::{
    DropsView, FilterView, InterfaceView, NeighbourView, PingView, RouteView, TablesView,
    WorkerView,
};
use crate::stats::counters::{ControlCounters, WorkerCounters};
use crate::tables::Tables;

/// Most punts taken from one worker before timers and requests get their turn.
const PUNTS_PER_TURN: usize = 256;

/// Adjacencies planned in a turn after which no more punts are taken in it: an
/// ARP packet that moves a gateway costs one for each tunnel over it.
const PLANNED_PER_TURN: u64 = 4096;

/// How often numbers and memory whose grace period is over are taken back.
const HOUSEKEEPING: Duration = Duration::from_millis(50);

/// What the path may add in front of and behind a datagram that control hands
/// over: the widest rewrite a planner accepts.
const ADDED_BY_PATH: usize = crate::tables::adjacency::MAX_REWRITE;

/// Desired state, engines, and the ends of the exchanges.
pub struct Control {
    net: Net,
    engines: Engines,
    ends: Vec<ControlEnd>,
    counters: Arc<ControlCounters>,
    totals: Totals,
    port_names: Vec<String>,
    housekept: Duration,
    /// When the last turn was.
    now: Duration,
    /// The worker whose punts are taken first: each in its turn.
    first: usize,
}

/// The protocol engines.
struct Engines {
    neighbours: Neighbours,
    icmp: Icmp,
    liveness: Liveness,
    ping: Ping,
    tunnels: TunnelErrors,
    far_ends: FarEnds,
    names: Names,
    door: DoorLog,
    advertiser: Advertiser,
}

/// What an engine is given: the resolved state, and hands to act with.
struct Hands<'a> {
    net: &'a mut Net,
    ends: &'a mut [ControlEnd],
}

impl Control {
    /// Over tables and ports that are there, and the exchanges and counters of
    /// all workers, in the same order.
    pub fn new(
        tables: Arc<Tables>,
        ports: Vec<PortFacts>,
        ends: Vec<ControlEnd>,
        counters: Arc<ControlCounters>,
        workers: Vec<Arc<WorkerCounters>>,
    ) -> Control {
        let room = ends.iter().map(ControlEnd::room).min().unwrap_or(0);
        let ids = first_identification(ends.len(), ends.len());
        // Control's share, half of it each.
        let pings = ids + (u16::MAX - ids) / 2;
        let engines = Engines {
            neighbours: Neighbours::new(NeighbourConfig::default(), Arc::clone(&counters)),
            icmp: Icmp::new(IcmpSpec::default(), Arc::clone(&counters)).counting_from(ids),
            liveness: Liveness::new(Arc::clone(&counters)),
            ping: Ping::new(room.saturating_sub(ADDED_BY_PATH), Arc::clone(&counters))
                .counting_from(pings),
            tunnels: TunnelErrors::default(),
            far_ends: FarEnds::new(Arc::clone(&counters)),
            names: Names::default(),
            door: DoorLog::new(),
            advertiser: Advertiser::new(Arc::clone(&counters)),
        };
        let port_names = ports.iter().map(|port| port.spec.name.clone()).collect();
        let net = Net::new(tables, ports);
        let totals = Totals::new(workers);
        let (housekept, now) = (Duration::ZERO, Duration::ZERO);
        Control { net, engines, ends, counters, totals, port_names, housekept, now, first: 0 }
    }

    /// Applies changes, all of them or none, and lets the engines follow.
    ///
    /// # Errors
    /// All that is wrong; nothing has changed.
    pub fn transact(&mut self, ops: &[Located], now: Duration) -> Result<Outcome, ApiError> {
        let neighbours = &self.engines.neighbours;
        let (outcome, events) = self.net.transact(ops, &|address| neighbours.knows(address))?;
        for name in &outcome.created {
            if let Some(id) = self.net.interface_named(name) {
                self.totals.begin(id);
                self.engines.tunnels.begin(id);
                self.engines.far_ends.begin(id);
            }
        }
        for number in self.net.fresh_filters() {
            self.totals.begin_filter(number);
        }
        let mut hands = Hands { net: &mut self.net, ends: &mut self.ends };
        for event in &events {
            if let Event::Icmp(spec) = event {
                self.engines.icmp.configure(spec.clone());
            }
            if let Event::Watched { tunnel, watch } = event {
                self.engines.liveness.watch(&mut hands, now, *tunnel, watch.clone());
            }
            if let Event::Sought { tunnel, sought } = event {
                self.engines.names.seek(now, *tunnel, sought.clone());
            }
            if let Event::Advertised(all) = event {
                self.engines.advertiser.follow(&mut hands, now, all.clone());
            }
            self.engines.neighbours.on_event(&mut hands, now, event);
        }
        self.net.housekeeping();
        Ok(outcome)
    }

    /// The changes that would make the running state `wanted`.
    ///
    /// # Errors
    /// What only a restart can change.
    pub fn difference(&self, wanted: &State) -> Result<Vec<Located>, ApiError> {
        self.net.difference(wanted)
    }

    /// One round: punts and notices of all workers, a bounded number and as
    /// long as what they changed is bounded too, then timers. Returns how many
    /// packets there were.
    pub fn turn(&mut self, now: Duration) -> usize {
        self.now = now;
        let most = self.net.planned() + PLANNED_PER_TURN;
        let workers = self.ends.len();
        let first = self.first;
        self.first = (first + 1) % workers.max(1);
        let mut taken = 0;
        for index in (first..workers).chain(0..first) {
            let mut quota = PUNTS_PER_TURN;
            while quota > 0 && self.net.planned() < most && self.take(index, now) {
                quota -= 1;
                taken += 1;
            }
        }
        self.timers(now);
        self.forget_silent(now);
        taken
    }

    /// Takes one punt or notice of a worker, if there is one.
    fn take(&mut self, worker: usize, now: Duration) -> bool {
        let Some(slot) = self.ends[worker].receive() else { return false };
        if slot.cause == Cause::Punt(PuntReason::Learn) {
            let tunnel = slot.in_if;
            let found = self.engines.far_ends.seen(&self.net, now, tunnel, slot.bytes.get());
            self.ends[worker].give_back(slot);
            if let Some(found) = found {
                self.move_far_end(tunnel, found, now);
            }
            return true;
        }
        let mut hands = Hands { net: &mut self.net, ends: &mut self.ends };
        self.engines.dispatch(&mut hands, now, &slot);
        self.ends[worker].give_back(slot);
        true
    }

    /// Names to be looked up now, for [`Control::answered`].
    pub fn questions(&mut self, now: Duration) -> Vec<Question> {
        self.engines.names.questions(now)
    }

    /// Takes what a name was found to lead to.
    pub fn answered(&mut self, answer: Answer, now: Duration) {
        let Question { tunnel, name, .. } = answer.question.clone();
        let current = self.net.far_end(tunnel);
        match self.engines.names.answered(now, answer, current) {
            Verdict::Stays => {}
            Verdict::At(at) => self.move_far_end(tunnel, Found { at, inner: None }, now),
            Verdict::Nowhere { why, news } => {
                self.engines.far_ends.lost(tunnel);
                if news {
                    let tunnel = self.net.name(tunnel).unwrap_or("?");
                    tracing::warn!(tunnel, %name, why, "the far end's name leads nowhere");
                }
            }
        }
    }

    /// A tunnel's far end was found somewhere else.
    fn move_far_end(&mut self, tunnel: IfId, found: Found, now: Duration) {
        let Some(name) = self.net.name(tunnel).map(str::to_owned) else { return };
        let Found { at, inner } = found;
        let moved = self.transact(&[Op::Found { name: name.clone(), at, inner }.into()], now);
        self.engines.far_ends.moved(now, tunnel, &name, found, moved.map(|_| ()));
    }

    /// Far ends that were learned beside others and are silent are forgotten.
    fn forget_silent(&mut self, now: Duration) {
        let received = |part| self.totals.traffic(part).rx_packets;
        for (tunnel, inner) in self.engines.far_ends.silent(&self.net, now, received) {
            let Some(name) = self.net.name(tunnel).map(str::to_owned) else { continue };
            tracing::info!(tunnel = %name, %inner, "a far end that was learned is silent: forgotten");
            // It may be gone already.
            let _ = self.transact(&[Op::Gone { name, inner }.into()], now);
        }
    }

    fn timers(&mut self, now: Duration) {
        let mut hands = Hands { net: &mut self.net, ends: &mut self.ends };
        let Engines { neighbours, icmp, liveness, tunnels, advertiser, .. } = &mut self.engines;
        advertiser.tick(&mut hands, now);
        if liveness.tick(&mut hands, now) {
            neighbours.on_event(&mut hands, now, &Event::RoutesChanged);
        }
        tunnels.tick(&mut hands, now);
        for packet in neighbours.tick(&mut hands, now) {
            icmp.unreachable(&mut hands, now, &packet);
        }
        if now.saturating_sub(self.housekept) >= HOUSEKEEPING {
            self.housekept = now;
            self.net.housekeeping();
        }
    }

    /// Sends an echo request; its end comes with [`Control::finished_pings`].
    ///
    /// # Errors
    /// Why it was not sent.
    pub fn ping(&mut self, request: PingRequest, now: Duration) -> Result<PingToken, PingError> {
        let mut hands = Hands { net: &mut self.net, ends: &mut self.ends };
        self.engines.ping.start(&mut hands, now, &request)
    }

    /// Pings that ended since the last call.
    pub fn finished_pings(&mut self, now: Duration) -> Vec<(PingToken, PingView)> {
        self.engines.ping.take_done(now)
    }

    /// The running state, as `show config` prints it.
    pub fn state(&self) -> State {
        self.net.state()
    }

    /// Interfaces with their traffic and, for tunnels, the state of the
    /// underlay's next hop.
    pub fn interfaces(&self) -> Vec<InterfaceView> {
        self.net.interfaces().into_iter().map(|found| self.complete(found)).collect()
    }

    /// One of them by its name, at the cost of one.
    pub fn interface(&self, name: &str) -> Option<InterfaceView> {
        Some(self.complete(self.net.interface(name)?))
    }

    fn complete(&self, (id, mut view): (IfId, InterfaceView)) -> InterfaceView {
        view.traffic = self.totals.traffic(id);
        if let Some(tunnel) = &mut view.tunnel {
            tunnel.liveness = self.engines.liveness.view(id, self.now);
            tunnel.path.counts = self.engines.tunnels.counts(id);
            if let Some(far) = &mut tunnel.far {
                (far.moves, far.refused) = self.engines.far_ends.counts(id);
            }
        }
        if let Some(underlay) = view.tunnel.as_mut().and_then(|t| t.underlay.as_mut()) {
            let state = self
                .net
                .interface_named(&underlay.interface)
                .and_then(|link| self.engines.neighbours.state_of(link, underlay.next_hop));
            if let Some(state) = state {
                state.clone_into(&mut underlay.state);
            }
        }
        view
    }

    /// Largest datagram of a port or VLAN interface; `None` if there is none.
    pub fn link_mtu(&self, name: &str) -> Option<u16> {
        Some(self.net.link(self.net.interface_named(name)?)?.mtu)
    }

    /// True if a port or VLAN interface can have this MTU.
    pub fn takes_mtu(&self, name: &str, mtu: u16) -> bool {
        self.net.takes_mtu(name, mtu)
    }

    /// Routes; with `all` also those made here.
    pub fn routes(&self, all: bool) -> Vec<RouteView> {
        self.net.routes(all)
    }

    /// The longest match for a destination.
    pub fn lookup_route(&self, to: IpAddr) -> Option<RouteView> {
        self.net.lookup_route(to)
    }

    /// The route of this very prefix.
    pub fn get_route(&self, to: IpNet) -> Option<RouteView> {
        self.net.get_route(to)
    }

    /// Neighbours and published entries.
    pub fn neighbours(&self, now: Duration) -> Vec<NeighbourView> {
        let name = |id| self.net.name(id).unwrap_or("?").to_owned();
        self.engines.neighbours.views(&name, now)
    }

    /// Where every packet went.
    pub fn drops(&self) -> DropsView {
        let (drops, origins) = self.totals.conservation(&self.port_names);
        DropsView { drops, origins, control: self.counters.view() }
    }

    /// Packet filters in order, and what met them.
    pub fn filters(&self) -> Vec<FilterView> {
        self.net.filters().map(|(number, rule)| self.totals.filter(number, rule)).collect()
    }

    /// The workers; `ticks_per_second` is their clock's.
    pub fn workers(&self, plans: &[WorkerPlan], ticks_per_second: u64) -> Vec<WorkerView> {
        self.totals.workers(plans, ticks_per_second)
    }

    /// Fill levels of the tables.
    pub fn tables(&self) -> TablesView {
        self.net.tables_view()
    }
}

impl Engines {
    /// Gives a punt or notice to whom it concerns.
    fn dispatch(&mut self, hands: &mut Hands<'_>, now: Duration, slot: &PuntSlot) {
        let bytes = slot.bytes.get();
        match slot.cause {
            Cause::Punt(PuntReason::Arp) => self.neighbours.on_arp(hands, now, slot.in_if, bytes),
            Cause::Punt(PuntReason::Nd) if self.advertiser.is_asked(slot.in_if, bytes) => {
                self.advertiser.on_solicit(now, slot.in_if, bytes);
            }
            Cause::Punt(PuntReason::Nd) => self.neighbours.on_nd(hands, now, slot.in_if, bytes),
            Cause::Punt(PuntReason::LocalIcmp) => {
                self.icmp.on_local(hands, now, bytes, &mut self.ping, &mut self.tunnels);
            }
            Cause::Punt(PuntReason::Liveness) => {
                if !self.liveness.on_returned(hands, now, slot.in_if, bytes) {
                    self.icmp.on_local(hands, now, bytes, &mut self.ping, &mut self.tunnels);
                }
            }
            // Control's own: it takes a transaction.
            Cause::Punt(PuntReason::Learn) => {}
            Cause::Punt(PuntReason::Resolve)
                if let Some((link, below)) = hands.net.awaited_below(slot.next_hop) =>
            {
                self.neighbours.wanted(hands, now, (link, below));
            }
            Cause::Punt(PuntReason::Resolve) => {
                let given_up: Option<Held> =
                    self.neighbours.on_unresolved(hands, now, slot.in_if, slot.originated, bytes);
                if let Some(packet) = given_up {
                    self.icmp.unreachable(hands, now, &packet);
                }
            }
            Cause::Notice(DropReason::Filtered) => {
                let interface = hands.net.name(slot.in_if).unwrap_or("?");
                if let Some((filter, action)) = hands.net.filter(slot.mtu) {
                    self.door.on_filtered(now, interface, filter, action, bytes);
                }
            }
            Cause::Notice(reason) if reason.keeps_out() => {
                let interface = hands.net.name(slot.in_if).unwrap_or("?");
                self.door.on_notice(now, interface, reason, bytes);
            }
            Cause::Notice(_) => self.icmp.on_notice(hands, now, slot),
        }
    }
}

impl Topology for Hands<'_> {
    fn link(&self, id: IfId) -> Option<Link> {
        self.net.link(id)
    }
    fn links(&self) -> Vec<Link> {
        self.net.links()
    }
    fn owns(&self, address: IpAddr) -> bool {
        self.net.owns(address)
    }
    fn source(&self, interface: IfId, to: IpAddr) -> Option<IpAddr> {
        self.net.source(interface, to)
    }
    fn on_link(&self, link: IfId, address: IpAddr) -> bool {
        self.net.on_link(link, address)
    }
    fn is_broadcast(&self, address: IpAddr) -> bool {
        self.net.is_broadcast(address)
    }
    fn way(&self, to: IpAddr) -> Way {
        self.net.way(to)
    }
    fn way_of(&self, datagram: &[u8]) -> Option<Way> {
        self.net.way_of(datagram)
    }
    fn only_by_default(&self, to: IpAddr) -> bool {
        self.net.only_by_default(to)
    }
    fn tunnel_way(&self, tunnel: IfId, inner: Family) -> Option<TunnelWay> {
        self.net.tunnel_way(tunnel, inner)
    }
    fn name(&self, id: IfId) -> Option<&str> {
        self.net.name(id)
    }
    fn sending(&self, sent: &Sent) -> Vec<IfId> {
        self.net.sending(sent)
    }
    fn path(&self, tunnel: IfId) -> Option<OuterPath> {
        self.net.path(tunnel)
    }
    fn inner_mtu(&self, tunnel: IfId, inner: Family, outer: u16) -> Option<u16> {
        self.net.inner_mtu(tunnel, inner, outer)
    }
}

impl Actions for Hands<'_> {
    /// The first worker with room takes it: any worker can send on any port.
    fn inject(&mut self, kind: InjectKind, bytes: &[u8]) -> bool {
        self.ends.iter_mut().any(|end| end.inject(kind, bytes))
    }
    fn neighbour_resolved(&mut self, link: IfId, address: IpAddr, mac: Mac) {
        self.net.neighbour_resolved(link, address, mac);
    }
    fn neighbour_lost(&mut self, link: IfId, address: IpAddr, failed: bool) {
        self.net.neighbour_lost(link, address, failed);
    }
    fn set_dead(&mut self, tunnel: IfId, dead: bool) {
        self.net.set_soft(tunnel, |soft| soft.dead = dead);
    }
    fn set_soft(&mut self, tunnel: IfId, change: impl FnOnce(&mut Soft)) {
        self.net.set_soft(tunnel, change);
    }
}

#[cfg(test)]
mod tests;
