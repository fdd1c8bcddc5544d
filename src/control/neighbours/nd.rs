//! Neighbour discovery received (RFC 4861 §7.2): who asks for us or for
//! somebody we publish is learned and answered; an advertisement updates an
//! entry that is there, and makes none.
//!
//! A message says that its sender is there, but only a solicited advertisement
//! says that it hears us too. What is learned otherwise is in use at once and
//! asked soon after ("delay"): the path does not tell control when an entry is
//! used, so all of them count as used (STALE is left as it is entered).

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use super::claim::{Answer, Claim, belongs, is_link_local};
use super::say::Told;
use super::table::State;
use super::{Neighbours, Tentative};
use crate::control::tally::ControlDrop;
use crate::control::topology::{Link, World};
use crate::ids::{IfId, Mac};
use crate::wire::icmp6::nd::{ALL_NODES, NdRepr, group_mac};

/// A neighbour advertisement.
#[derive(Clone, Copy)]
struct Advert {
    target: Ipv6Addr,
    mac: Option<Mac>,
    solicited: bool,
    overrides: bool,
}

impl Neighbours {
    /// Takes a message (from its IPv6 header on) that arrived on a link.
    pub fn on_nd(&mut self, world: &mut impl World, now: Duration, in_if: IfId, bytes: &[u8]) {
        self.counters.punts_taken.add(1);
        let end = self.receive_nd(world, now, in_if, bytes);
        self.taken(end);
    }

    fn receive_nd(
        &mut self,
        world: &mut impl World,
        now: Duration,
        in_if: IfId,
        bytes: &[u8],
    ) -> Result<(), ControlDrop> {
        let link = world.link(in_if).filter(|link| link.up).ok_or(ControlDrop::LinkDown)?;
        let (ends, message) = NdRepr::parse(bytes).map_err(|_| ControlDrop::NdInvalid)?;
        match message {
            NdRepr::Solicit { target, source_mac } => {
                self.solicited(world, now, &link, ends.source, target, source_mac)
            }
            NdRepr::Advert { target, target_mac: mac, solicited, overrides, .. } => {
                self.advertised(world, now, &link, Advert { target, mac, solicited, overrides })
            }
            // A router's own routes are configured, and hosts learn theirs elsewhere.
            NdRepr::RouterSolicit { .. } | NdRepr::RouterAdvert(_) => Err(ControlDrop::NdRouter),
        }
    }

    /// Somebody asks for `target` (RFC 4861 §7.2.3, §7.2.4).
    fn solicited(
        &mut self,
        world: &mut impl World,
        now: Duration,
        link: &Link,
        source: Ipv6Addr,
        target: Ipv6Addr,
        source_mac: Option<Mac>,
    ) -> Result<(), ControlDrop> {
        let asker = (!source.is_unspecified()).then_some(source);
        let sender = IpAddr::V6(source);
        if asker.is_some() && !world.owns(sender) && !belongs(world, link.id, sender) {
            return Err(ControlDrop::NdForeignSender);
        }
        let claim = source_mac.map(|mac| Claim { address: sender, mac });
        if let Some(claim) = claim {
            self.check_claim(world, now, link, claim)?;
        }
        let answer =
            self.answer_for(world, link, target.into(), true).ok_or(ControlDrop::NdNotForUs)?;
        if let Some(claim) = claim {
            let known = self.merge(world, now, link.id, claim, false)?;
            // Link-local neighbours are kept where a route asked for them.
            if !known && !is_link_local(sender) {
                self.learn(world, now, (link.id, sender), claim.mac, false);
            }
        }
        let to = match asker {
            // It wants the address for itself: all shall know that it is taken.
            None => Some(group_mac(ALL_NODES)),
            Some(_) => source_mac.or_else(|| self.mac_of(link.id, sender)),
        };
        let proxy = matches!(answer, Answer::Published(_));
        let told = Told { target, mac: answer.mac(link), proxy, asker };
        self.advertise(world, link, told, to);
        Ok(())
    }

    /// A neighbour says where it is (RFC 4861 §7.2.5).
    fn advertised(
        &mut self,
        world: &mut impl World,
        now: Duration,
        link: &Link,
        advert: Advert,
    ) -> Result<(), ControlDrop> {
        let address = IpAddr::V6(advert.target);
        let known = self.mac_of(link.id, address);
        let Some(mac) = advert.mac.or(known) else { return Err(ControlDrop::NdNotForUs) };
        let claim = Claim { address, mac };
        self.check_claim(world, now, link, claim)?;
        let key = (link.id, address);
        let state = self.table.get(&key).map(|entry| entry.state);
        match (state, known) {
            (None, _) => Err(ControlDrop::NdNotForUs),
            // Another one answers too, and does not insist: who is known is
            // asked again.
            (Some(State::Reachable { .. }), Some(known)) if known != mac && !advert.overrides => {
                self.doubt(now, key, known);
                Ok(())
            }
            (Some(_), Some(known)) if known != mac && !advert.overrides => Ok(()),
            (Some(_), _) => self.merge(world, now, link.id, claim, advert.solicited).map(|_| ()),
        }
    }

    /// The link address in use for an entry.
    fn mac_of(&self, link: IfId, address: IpAddr) -> Option<Mac> {
        self.table.get(&(link, address))?.state.mac()
    }

    /// An address of ours came to a link: asked for once, announced when nobody
    /// has answered (RFC 4862 §5.4). It is in use meanwhile; whoever claims it
    /// then keeps it from being announced, later it is warned about as ever.
    pub(super) fn begin_detection(
        &mut self,
        world: &mut impl World,
        now: Duration,
        link: IfId,
        address: Ipv6Addr,
    ) {
        self.probe_for(world, link, address);
        self.tentative.insert((link, address), now + self.config.retry);
    }

    /// True if the address was asked for and somebody has it, or may have.
    pub(super) fn is_tentative(&mut self, (link, address): &(IfId, IpAddr)) -> bool {
        let IpAddr::V6(address) = address else { return false };
        let Some(until) = self.tentative.get_mut(&(*link, *address)) else { return false };
        // Nobody asks again: it stays so until it goes.
        *until = Duration::MAX;
        true
    }

    /// Announces addresses that nobody claimed in time.
    pub(super) fn end_detection(&mut self, world: &mut impl World, now: Duration) {
        let due = |(key, at): (&Tentative, &Duration)| (*at <= now).then_some(*key);
        let done: Vec<Tentative> = self.tentative.iter().filter_map(due).collect();
        for key in done {
            self.tentative.remove(&key);
            self.announce(world, key.0, key.1.into(), None);
        }
    }
}
