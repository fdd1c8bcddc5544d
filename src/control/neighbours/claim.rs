//! Whom to believe: what a message of either family says of its sender, and
//! what that does to the table.

use std::net::IpAddr;
use std::time::Duration;

use super::table::State;
use super::{MOVE_INTERVAL, Neighbours};
use crate::control::tally::ControlDrop;
use crate::control::topology::{Link, Topology, World};
use crate::ids::{IfId, Mac};

/// "I have this address, and am here."
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub address: IpAddr,
    pub mac: Mac,
}

/// The names under which messages of a family are dropped.
struct Reasons {
    bad_mac: ControlDrop,
    own_echo: ControlDrop,
    conflict: ControlDrop,
    foreign: ControlDrop,
    moved: ControlDrop,
    published: ControlDrop,
}

const ARP: Reasons = Reasons {
    bad_mac: ControlDrop::ArpBadSenderMac,
    own_echo: ControlDrop::ArpOwnEcho,
    conflict: ControlDrop::ArpConflict,
    foreign: ControlDrop::ArpForeignSender,
    moved: ControlDrop::ArpMovedTooOften,
    published: ControlDrop::ArpPublishedConflict,
};

const ND: Reasons = Reasons {
    bad_mac: ControlDrop::NdBadLinkAddress,
    own_echo: ControlDrop::NdOwnEcho,
    conflict: ControlDrop::NdConflict,
    foreign: ControlDrop::NdForeignSender,
    moved: ControlDrop::NdMovedTooOften,
    published: ControlDrop::NdPublishedConflict,
};

impl Claim {
    fn reasons(&self) -> &'static Reasons {
        if self.address.is_ipv4() { &ARP } else { &ND }
    }
}

/// True if a host of that link may have the address.
pub(super) fn belongs(world: &impl Topology, link: IfId, address: IpAddr) -> bool {
    world.on_link(link, address) && !world.is_broadcast(address)
}

/// True for addresses that mean something on one link only (RFC 4291 §2.5.6).
pub(super) fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

impl Neighbours {
    /// Refuses claims that must not be believed.
    pub(super) fn check_claim(
        &mut self,
        world: &mut impl World,
        now: Duration,
        link: &Link,
        claim: Claim,
    ) -> Result<(), ControlDrop> {
        let (Claim { address, mac }, reasons) = (claim, claim.reasons());
        if mac.is_multicast() || mac == Mac::default() {
            return Err(reasons.bad_mac); // AR-03
        }
        if mac == link.mac || self.published.get(&(link.id, address)).is_some_and(|p| p.mac == mac)
        {
            return Err(reasons.own_echo);
        }
        if address.is_unspecified() {
            return Ok(());
        }
        if world.owns(address) {
            // Two of our ports may hear each other.
            if world.links().iter().any(|other| other.mac == mac) {
                return Err(reasons.own_echo);
            }
            self.defend(world, now, link, claim);
            return Err(reasons.conflict);
        }
        if !belongs(world, link.id, address) {
            return Err(reasons.foreign);
        }
        let believed = self.check_published_claim(world, now, link, claim);
        if believed { Ok(()) } else { Err(reasons.published) }
    }

    /// Somebody else uses our address: say so, and claim it back (RFC 5227
    /// §2.4 (b)), both at most once in a while.
    fn defend(&mut self, world: &mut impl World, now: Duration, link: &Link, claim: Claim) {
        let Claim { address, mac } = claim;
        let key = (link.id, address);
        let lately = |last: &Duration| now.saturating_sub(*last) < self.config.defend;
        if self.defences.get(&key).is_some_and(lately) {
            return;
        }
        self.defences.insert(key, now);
        // Claimed while it was asked for: theirs it was before (RFC 4862 §5.4),
        // and it is never announced.
        let theirs = self.is_tentative(&key);
        tracing::warn!(
            %address, %mac, port = link.port.0, vlan = link.vlan,
            "{mac} claims our own address {address}"
        );
        if !theirs && world.on_link(link.id, address) {
            self.announce(world, link.id, address, None);
        }
    }

    /// "Merge": a neighbour that has an entry updates it. `confirmed`: what was
    /// heard also says that it hears us. False if it has no entry.
    pub(super) fn merge(
        &mut self,
        world: &mut impl World,
        now: Duration,
        link: IfId,
        claim: Claim,
        confirmed: bool,
    ) -> Result<bool, ControlDrop> {
        let key = (link, claim.address);
        let Some(entry) = self.table.get(&key) else { return Ok(false) };
        let moved = entry.moved;
        match entry.state {
            // What is static stays as it was configured.
            State::Permanent { .. } => {}
            State::Incomplete { .. } | State::Failed => {
                self.learn(world, now, key, claim.mac, confirmed);
            }
            State::Reachable { mac } | State::Delay { mac } | State::Probe { mac, .. } => {
                if mac == claim.mac {
                    if confirmed {
                        self.confirm(now, key, mac);
                    }
                } else {
                    self.may_move(now, claim, moved)?;
                    self.say_moved(now, claim, mac);
                    self.table.set_moved(&key, now);
                    self.learn(world, now, key, claim.mac, confirmed);
                }
            }
        }
        Ok(true)
    }

    fn say_moved(&mut self, now: Duration, Claim { address, mac }: Claim, old: Mac) {
        if self.said.take(now) {
            tracing::info!(%address, %old, %mac, "{address} moved from {old} to {mac}");
        }
    }

    /// Refuses a move too soon after the last one: each costs an adjacency for
    /// every tunnel over the neighbour, and two stations that fight for an
    /// address, or one that pretends to be two, could keep control busy.
    fn may_move(
        &mut self,
        now: Duration,
        claim: Claim,
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
            let Claim { address, mac } = claim;
            tracing::warn!(
                %address, %mac,
                "{address} moves between link addresses more than once a second: ignored"
            );
        }
        Err(claim.reasons().moved)
    }

    /// Whether we answer for a target on a link, in person or for somebody we
    /// publish. Only a `question` is answered for others.
    pub(super) fn answer_for(
        &mut self,
        world: &impl World,
        link: &Link,
        target: IpAddr,
        question: bool,
    ) -> Option<Answer> {
        if world.owns(target) {
            // Ours, but of another wire: nobody here has to ask for it.
            let here = match is_link_local(target) {
                true => world.source(link.id, target) == Some(target),
                false => world.on_link(link.id, target),
            };
            return here.then_some(Answer::Own);
        }
        if !question {
            return None;
        }
        self.published_answer(world, (link.id, target)).map(Answer::Published)
    }
}

/// Why we answer for a target.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    /// The address is ours.
    Own,
    /// We publish it, with this link address.
    Published(Mac),
}

impl Answer {
    /// The link address to give out.
    pub fn mac(self, link: &Link) -> Mac {
        match self {
            Answer::Own => link.mac,
            Answer::Published(mac) => mac,
        }
    }
}
