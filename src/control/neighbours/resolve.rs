//! Finding link addresses: packets wait, requests go out at most once a second
//! for each address (AR-04), and only a neighbour that does not answer is
//! unreachable (AR-02).

use std::time::Duration;

use super::Neighbours;
use super::held::Held;
use super::table::{Key, State};
use crate::control::tally::{ControlDrop, inject};
use crate::control::topology::{Way, World};
use crate::ids::{IfId, Mac};

/// The world is not told a known link address again more often than this.
const TELL_AGAIN: Duration = Duration::from_secs(1);

impl Neighbours {
    /// Takes a packet whose next hop was unresolved when the worker met it.
    /// Returns it if its neighbour is known not to answer: counted as dropped,
    /// it is owed an ICMP host unreachable.
    #[must_use]
    pub fn on_unresolved(
        &mut self,
        world: &mut impl World,
        now: Duration,
        in_if: IfId,
        originated: bool,
        bytes: &[u8],
    ) -> Option<Held> {
        self.counters.punts_taken.add(1);
        let key = match next_hop(world, bytes) {
            Ok(key) => key,
            Err(reason) => {
                self.counters.drop_packet(reason);
                return None;
            }
        };
        let packet = Held { in_if, originated, bytes: bytes.into() };
        match self.table.get(&key).map(|entry| (entry.state, entry.told)) {
            None => {
                self.make_room(world);
                self.table.set(key, State::Incomplete { tries: 0 }, now, Some(now));
                self.hold(key, packet);
                self.ask(world, now, key, 0);
            }
            Some((State::Incomplete { .. }, _)) => self.hold(key, packet),
            Some((State::Failed, _)) => {
                self.counters.drop_packet(ControlDrop::NeighbourFailed);
                return Some(packet);
            }
            Some((State::Permanent { .. }, _)) => self.send_round(world, now, &packet),
            Some((
                State::Reachable { mac } | State::Delay { mac } | State::Probe { mac, .. },
                told,
            )) => {
                // It was resolved while the packet was on its way here. Should
                // the world have lost it, packets would come round for ever:
                // tell it again.
                if now.saturating_sub(told) >= TELL_AGAIN {
                    self.tell(world, now, key, mac);
                }
                self.send_round(world, now, &packet);
            }
        }
        None
    }

    /// Takes a packet that is asked again anyway, a keepalive or a probe, and only
    /// asks for the neighbour it waits for.
    pub fn wanted(&mut self, world: &mut impl World, now: Duration, key: Key) {
        self.counters.punts_taken.add(1);
        self.counters.drop_packet(ControlDrop::ProbeUnresolved);
        let up = world.link(key.0).is_some_and(|link| link.up);
        match self.table.get(&key).map(|entry| (entry.state, entry.told)) {
            None if up => {
                self.make_room(world);
                self.table.set(key, State::Incomplete { tries: 0 }, now, Some(now));
                self.ask(world, now, key, 0);
            }
            Some((
                State::Reachable { mac } | State::Delay { mac } | State::Probe { mac, .. },
                told,
            )) if now.saturating_sub(told) >= TELL_AGAIN => self.tell(world, now, key, mac),
            _ => {}
        }
    }

    /// Hands back a packet whose neighbour is known here. Should the worker not
    /// know it, the packet comes again, its TTL untouched: so only so many a
    /// second go round.
    fn send_round(&mut self, world: &mut impl World, now: Duration, packet: &Held) {
        if self.rounds.take(now) {
            inject(world, &self.counters, packet.inject_kind(), &packet.bytes);
        } else {
            self.counters.drop_packet(ControlDrop::NoNextHop);
        }
    }

    fn hold(&mut self, key: Key, packet: Held) {
        if let Some(queue) = self.table.held(&key) {
            self.holding.push(&self.config, &self.counters, queue, packet);
        } else {
            self.counters.drop_packet(ControlDrop::NeighbourForgotten);
        }
    }

    /// Evicts until one more entry fits.
    fn make_room(&mut self, world: &mut impl World) {
        while self.table.learned() >= self.config.entries.max(1) {
            let Some(key) = self.table.least_wanted() else { break };
            self.remove(world, key);
        }
    }

    /// Sends the request after `tries` others; `Incomplete` asks everybody.
    fn ask(&mut self, world: &mut impl World, now: Duration, key: Key, tries: u8) {
        self.request(world, key, None);
        let state = State::Incomplete { tries: tries + 1 };
        let since = self.table.get(&key).map_or(now, |entry| entry.since);
        self.table.set(key, state, since, Some(now + self.config.retry));
    }

    /// Asks a known neighbour whether it is still there.
    fn probe(&mut self, world: &mut impl World, now: Duration, key: Key, mac: Mac, tries: u8) {
        self.request(world, key, Some(mac));
        let since = self.table.get(&key).map_or(now, |entry| entry.since);
        let state = State::Probe { mac, tries: tries + 1 };
        self.table.set(key, state, since, Some(now + self.config.retry));
    }

    /// A deadline passed.
    pub(super) fn expired(
        &mut self,
        world: &mut impl World,
        now: Duration,
        key: Key,
        given_up: &mut Vec<Held>,
    ) {
        let Some(state) = self.table.get(&key).map(|entry| entry.state) else { return };
        match state {
            State::Incomplete { tries } if tries < self.config.tries => {
                self.ask(world, now, key, tries);
            }
            State::Incomplete { .. } => self.fail(world, now, key, given_up),
            State::Reachable { mac } | State::Delay { mac } => self.probe(world, now, key, mac, 0),
            State::Probe { mac, tries } if tries < self.config.tries => {
                self.probe(world, now, key, mac, tries);
            }
            // Gone, or given another chance.
            State::Probe { .. } | State::Failed => self.remove(world, key),
            State::Permanent { .. } => {}
        }
    }

    fn fail(&mut self, world: &mut impl World, now: Duration, key: Key, given_up: &mut Vec<Held>) {
        self.table.set(key, State::Failed, now, Some(now + self.config.failed));
        world.neighbour_lost(key.0, key.1, true);
        let Some(queue) = self.table.held(&key) else { return };
        for packet in self.holding.take(&self.counters, queue) {
            self.counters.drop_packet(ControlDrop::NeighbourFailed);
            given_up.push(packet);
        }
    }

    /// A neighbour's link address is known now, or changed. `confirmed`: it is
    /// known to hear us too.
    pub(super) fn learn(
        &mut self,
        world: &mut impl World,
        now: Duration,
        key: Key,
        mac: Mac,
        confirmed: bool,
    ) {
        if self.table.get(&key).is_none() {
            self.make_room(world);
        }
        if confirmed {
            self.confirm(now, key, mac);
        } else {
            self.doubt(now, key, mac);
        }
        self.tell(world, now, key, mac);
        self.release_held(world, key);
    }

    /// A neighbour was heard of: good for another while.
    pub(super) fn confirm(&mut self, now: Duration, key: Key, mac: Mac) {
        self.table.set(key, State::Reachable { mac }, now, Some(now + self.config.reachable));
    }

    /// Where a neighbour is has been heard, not whether it hears us: asked soon.
    pub(super) fn doubt(&mut self, now: Duration, key: Key, mac: Mac) {
        self.table.set(key, State::Delay { mac }, now, Some(now + self.config.delay));
    }

    fn tell(&mut self, world: &mut impl World, now: Duration, key: Key, mac: Mac) {
        self.table.set_told(&key, now);
        world.neighbour_resolved(key.0, key.1, mac);
    }

    /// Sends on what was held; the adjacency is in place.
    pub(super) fn release_held(&mut self, world: &mut impl World, key: Key) {
        let Some(queue) = self.table.held(&key) else { return };
        for packet in self.holding.take(&self.counters, queue) {
            inject(world, &self.counters, packet.inject_kind(), &packet.bytes);
        }
    }
}

/// The neighbour that a datagram waits for: a tunnel's packet for the next hop
/// of the underlay.
fn next_hop(world: &impl World, bytes: &[u8]) -> Result<Key, ControlDrop> {
    let key = match world.way_of(bytes).ok_or(ControlDrop::DatagramInvalid)? {
        Way::Neighbour { link, address } => (link, address),
        Way::Tunnel { underlay: Some(key), .. } => key,
        // The route changed while the packet was on its way here.
        Way::Tunnel { underlay: None, .. } | Way::Local | Way::Broadcast | Way::Unreachable => {
            return Err(ControlDrop::NoNextHop);
        }
    };
    let up = world.link(key.0).is_some_and(|link| link.up);
    up.then_some(key).ok_or(ControlDrop::LinkDown)
}
