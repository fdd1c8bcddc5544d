//! ARP received (RFC 826, AR-01), in this order: hardware and protocol type;
//! may this sender be believed; merge a known sender's address; is the target
//! us; add an unknown sender if it is; only then the operation. Replies go to
//! the sender's hardware address on the arrival link.

use std::net::IpAddr;
use std::time::Duration;

use super::table::{Key, State};
use super::{MOVE_INTERVAL, Neighbours, frame};
use crate::control::tally::{ControlDrop, inject};
use crate::control::topology::{Link, World};
use crate::exchange::InjectKind;
use crate::ids::{IfId, Mac};
use crate::wire::ETHERTYPE_ARP;
use crate::wire::arp::{ARP_REQUEST, ArpRepr};
use crate::wire::ether::EtherRepr;

/// Why we answer for a target.
enum Answer {
    /// The address is ours.
    Own,
    /// We publish it, with this link address.
    Published(Mac),
}

impl Neighbours {
    /// Takes an ARP frame (from its Ethernet header on) that arrived on a link.
    pub fn on_arp(&mut self, world: &mut impl World, now: Duration, in_if: IfId, frame: &[u8]) {
        self.counters.punts_taken.add(1);
        match self.receive(world, now, in_if, frame) {
            Ok(()) => self.counters.consumed.add(1),
            Err(reason) => self.counters.drop_packet(reason),
        }
    }

    fn receive(
        &mut self,
        world: &mut impl World,
        now: Duration,
        in_if: IfId,
        frame: &[u8],
    ) -> Result<(), ControlDrop> {
        let link = world.link(in_if).filter(|link| link.up).ok_or(ControlDrop::LinkDown)?;
        let arp = parse(frame).ok_or(ControlDrop::ArpInvalid)?;
        // A probe for a free address has no sender address (RFC 5227 §2.1.1):
        // there is nothing to learn, but an answer to give.
        let probe = arp.sender_ip.is_unspecified();
        self.check_sender(world, now, &link, &arp)?;
        let known = !probe && self.merge(world, now, in_if, &arp)?;
        let Some(answer) = self.answer_for(world, &link, &arp) else {
            return if known { Ok(()) } else { Err(ControlDrop::ArpNotForUs) };
        };
        if !probe && !known {
            self.learn(world, now, (in_if, arp.sender_ip.into()), arp.sender_mac);
        }
        if arp.operation == ARP_REQUEST {
            let mac = match answer {
                Answer::Own => link.mac,
                Answer::Published(mac) => mac,
            };
            self.send(world, &link, arp.sender_mac, &arp.answer(mac));
        }
        Ok(())
    }

    /// Refuses senders that must not be believed.
    fn check_sender(
        &mut self,
        world: &mut impl World,
        now: Duration,
        link: &Link,
        arp: &ArpRepr,
    ) -> Result<(), ControlDrop> {
        let sender = arp.sender_ip.into();
        let key = (link.id, sender);
        if arp.sender_mac.is_multicast() || arp.sender_mac == Mac::default() {
            return Err(ControlDrop::ArpBadSenderMac); // AR-03
        }
        if arp.sender_mac == link.mac
            || self.published.get(&key).is_some_and(|p| p.mac == arp.sender_mac)
        {
            return Err(ControlDrop::ArpOwnEcho);
        }
        if arp.sender_ip.is_unspecified() {
            return Ok(());
        }
        if world.owns(sender) {
            // Two of our ports may hear each other.
            if world.links().iter().any(|other| other.mac == arp.sender_mac) {
                return Err(ControlDrop::ArpOwnEcho);
            }
            self.defend(world, now, link, arp);
            return Err(ControlDrop::ArpConflict);
        }
        if !world.on_link(link.id, sender) || world.is_broadcast(sender) {
            return Err(ControlDrop::ArpForeignSender);
        }
        self.check_published_claim(world, now, link, arp)
    }

    /// Somebody else uses our address: say so, and claim it back (RFC 5227
    /// §2.4 (b)), both at most once in a while.
    fn defend(&mut self, world: &mut impl World, now: Duration, link: &Link, arp: &ArpRepr) {
        let (address, mac) = (IpAddr::from(arp.sender_ip), arp.sender_mac);
        let key = (link.id, address);
        let lately = |last: &Duration| now.saturating_sub(*last) < self.config.defend;
        if self.defences.get(&key).is_some_and(lately) {
            return;
        }
        self.defences.insert(key, now);
        tracing::warn!(
            %address, %mac, port = link.port.0, vlan = link.vlan,
            "{mac} claims our own address {address}"
        );
        if world.on_link(link.id, address) {
            self.announce(world, link.id, address, None);
        }
    }

    /// "Merge": a sender that has an entry updates it. False if it has none.
    fn merge(
        &mut self,
        world: &mut impl World,
        now: Duration,
        in_if: IfId,
        arp: &ArpRepr,
    ) -> Result<bool, ControlDrop> {
        let key = (in_if, IpAddr::from(arp.sender_ip));
        let Some(entry) = self.table.get(&key) else { return Ok(false) };
        let moved = entry.moved;
        match entry.state {
            // What is static stays as it was configured.
            State::Permanent { .. } => {}
            State::Reachable { mac } | State::Probe { mac, .. } if mac == arp.sender_mac => {
                self.confirm(now, key, mac);
            }
            State::Reachable { mac: old } | State::Probe { mac: old, .. } => {
                self.may_move(now, key, arp.sender_mac, moved)?;
                let (address, mac) = (arp.sender_ip, arp.sender_mac);
                if self.said.take(now) {
                    tracing::info!(%address, %old, %mac, "{address} moved from {old} to {mac}");
                }
                self.table.set_moved(&key, now);
                self.learn(world, now, key, mac);
            }
            State::Incomplete { .. } | State::Failed => {
                self.learn(world, now, key, arp.sender_mac);
            }
        }
        Ok(true)
    }

    /// Refuses a move too soon after the last one: each costs an adjacency for
    /// every tunnel over the neighbour, and two stations that fight for an
    /// address, or one that pretends to be two, could keep control busy.
    fn may_move(
        &mut self,
        now: Duration,
        (_, address): Key,
        mac: Mac,
        moved: Option<Duration>,
    ) -> Result<(), ControlDrop> {
        let within = |last: Option<Duration>, time: Duration| {
            last.is_some_and(|last| now.saturating_sub(last) < time)
        };
        if !within(moved, MOVE_INTERVAL) {
            return Ok(());
        }
        if !within(self.warned_of_moves, self.config.defend) {
            self.warned_of_moves = Some(now);
            tracing::warn!(
                %address, %mac,
                "{address} moves between link addresses more than once a second: ignored"
            );
        }
        Err(ControlDrop::ArpMovedTooOften)
    }

    /// Whether we are the target, in person or for somebody we publish.
    fn answer_for(&mut self, world: &impl World, link: &Link, arp: &ArpRepr) -> Option<Answer> {
        let target = arp.target_ip.into();
        if world.owns(target) {
            // Ours, but of another wire: nobody here has to ask for it.
            return world.on_link(link.id, target).then_some(Answer::Own);
        }
        if arp.operation != ARP_REQUEST || arp.is_announcement() {
            return None;
        }
        self.published_answer(world, (link.id, target)).map(Answer::Published)
    }

    /// Announces an own address, or a published one with its link address.
    pub(super) fn announce(
        &mut self,
        world: &mut impl World,
        link: IfId,
        address: IpAddr,
        published: Option<Mac>,
    ) {
        let Some(link) = world.link(link).filter(|link| link.up) else { return };
        let IpAddr::V4(address) = address else { return };
        let arp = ArpRepr::announcement(published.unwrap_or(link.mac), address);
        self.send(world, &link, Mac::BROADCAST, &arp);
    }

    /// Sends ARP on a link, counted as made here.
    pub(super) fn send(&mut self, world: &mut impl World, link: &Link, to: Mac, arp: &ArpRepr) {
        self.counters.originated.add(1);
        let kind = InjectKind::Frame { port: link.port, out_if: link.id };
        inject(world, &self.counters, kind, &frame::frame(link, to, arp));
    }
}

/// ARP for IPv4 over Ethernet, or nothing.
fn parse(frame: &[u8]) -> Option<ArpRepr> {
    let ether = EtherRepr::parse(frame).ok().filter(|e| e.ethertype == ETHERTYPE_ARP)?;
    ArpRepr::parse(&frame[ether.len()..]).ok()
}
