//! ARP received (RFC 826, AR-01), in this order: hardware and protocol type;
//! may this sender be believed; merge a known sender's address; is the target
//! us; add an unknown sender if it is; only then the operation. Replies go to
//! the sender's hardware address on the arrival link.

use std::time::Duration;

use super::Neighbours;
use super::claim::Claim;
use crate::control::tally::ControlDrop;
use crate::control::topology::World;
use crate::ids::IfId;
use crate::wire::ETHERTYPE_ARP;
use crate::wire::arp::{ARP_REQUEST, ArpRepr};
use crate::wire::ether::EtherRepr;

impl Neighbours {
    /// Takes an ARP frame (from its Ethernet header on) that arrived on a link.
    pub fn on_arp(&mut self, world: &mut impl World, now: Duration, in_if: IfId, frame: &[u8]) {
        self.counters.punts_taken.add(1);
        let end = self.receive_arp(world, now, in_if, frame);
        self.taken(end);
    }

    /// Counts how a message ended.
    pub(super) fn taken(&self, end: Result<(), ControlDrop>) {
        match end {
            Ok(()) => self.counters.consumed.add(1),
            Err(reason) => self.counters.drop_packet(reason),
        }
    }

    fn receive_arp(
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
        let claim = Claim { address: arp.sender_ip.into(), mac: arp.sender_mac };
        self.check_claim(world, now, &link, claim)?;
        let known = !probe && self.merge(world, now, in_if, claim, true)?;
        let question = arp.operation == ARP_REQUEST && !arp.is_announcement();
        let Some(answer) = self.answer_for(world, &link, arp.target_ip.into(), question) else {
            return if known { Ok(()) } else { Err(ControlDrop::ArpNotForUs) };
        };
        if !probe && !known {
            self.learn(world, now, (in_if, claim.address), claim.mac, true);
        }
        if arp.operation == ARP_REQUEST {
            self.send_arp(world, &link, arp.sender_mac, &arp.answer(answer.mac(&link)));
        }
        Ok(())
    }
}

/// ARP for IPv4 over Ethernet, or nothing.
fn parse(frame: &[u8]) -> Option<ArpRepr> {
    let ether = EtherRepr::parse(frame).ok().filter(|e| e.ethertype == ETHERTYPE_ARP)?;
    ArpRepr::parse(&frame[ether.len()..]).ok()
}
