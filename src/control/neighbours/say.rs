//! What is said on a link, in the words of its family: requests, answers and
//! announcements, as ARP (RFC 826) or neighbour discovery (RFC 4861).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::frame::Frame;
use super::table::Key;
use super::{Neighbours, frame};
use crate::control::tally::inject;
use crate::control::topology::{Link, World};
use crate::exchange::InjectKind;
use crate::ids::{IfId, Mac};
use crate::wire::arp::ArpRepr;
use crate::wire::icmp6::Ends;
use crate::wire::icmp6::nd::{ALL_NODES, NdPacket, NdRepr, group_mac, solicited_node};

impl Neighbours {
    /// Asks who has an address: everybody, or only `to`.
    pub(super) fn request(
        &mut self,
        world: &mut impl World,
        (link, address): Key,
        to: Option<Mac>,
    ) {
        let Some(link) = world.link(link).filter(|link| link.up) else { return };
        let source = world.source(link.id, address);
        match (address, source) {
            (IpAddr::V4(target), source) => {
                let source = match source {
                    Some(IpAddr::V4(source)) => source,
                    _ => Ipv4Addr::UNSPECIFIED,
                };
                let arp = ArpRepr::request(link.mac, source, target);
                self.send_arp(world, &link, to.unwrap_or(Mac::BROADCAST), &arp);
            }
            (IpAddr::V6(target), Some(IpAddr::V6(source))) => {
                let repr = NdRepr::Solicit { target, source_mac: Some(link.mac) };
                let destination = if to.is_some() { target } else { solicited_node(target) };
                let packet = repr.datagram(Ends { source, destination });
                self.send_nd(world, &link, to.unwrap_or(group_mac(destination)), &packet);
            }
            // From nobody it would say that the address is to be ours.
            (IpAddr::V6(_), _) => {}
        }
    }

    /// Asks whether anybody has an address that is to be ours (RFC 4862 §5.4.2).
    pub(super) fn probe_for(&mut self, world: &mut impl World, link: IfId, target: Ipv6Addr) {
        let Some(link) = world.link(link).filter(|link| link.up) else { return };
        let destination = solicited_node(target);
        let repr = NdRepr::Solicit { target, source_mac: None };
        let packet = repr.datagram(Ends { source: Ipv6Addr::UNSPECIFIED, destination });
        self.send_nd(world, &link, group_mac(destination), &packet);
    }

    /// Announces an own address, or a published one with its link address: a
    /// gratuitous ARP, an unsolicited advertisement.
    pub(super) fn announce(
        &mut self,
        world: &mut impl World,
        link: IfId,
        address: IpAddr,
        published: Option<Mac>,
    ) {
        let Some(link) = world.link(link).filter(|link| link.up) else { return };
        let mac = published.unwrap_or(link.mac);
        match address {
            IpAddr::V4(address) => {
                let arp = ArpRepr::announcement(mac, address);
                self.send_arp(world, &link, Mac::BROADCAST, &arp);
            }
            IpAddr::V6(target) => {
                let told = Told { target, mac, proxy: published.is_some(), asker: None };
                self.advertise(world, &link, told, Some(group_mac(ALL_NODES)));
            }
        }
    }

    /// Advertises an address, to a link address; where that is not known the
    /// path finds it.
    pub(super) fn advertise(
        &mut self,
        world: &mut impl World,
        link: &Link,
        told: Told,
        to: Option<Mac>,
    ) {
        let destination = told.asker.unwrap_or(ALL_NODES);
        // A proxy speaks in its own name.
        let source = match world.source(link.id, destination.into()) {
            Some(IpAddr::V6(source)) if told.proxy => source,
            _ => told.target,
        };
        let repr = NdRepr::Advert {
            target: told.target,
            target_mac: Some(told.mac),
            router: true,
            solicited: told.asker.is_some(),
            overrides: !told.proxy, // ND-04
        };
        let packet = repr.datagram(Ends { source, destination });
        match to {
            Some(to) => self.send_nd(world, link, to, &packet),
            None => self.say(world, InjectKind::Originate, &packet),
        }
    }

    /// Sends ARP on a link, counted as made here.
    pub(super) fn send_arp(&mut self, world: &mut impl World, link: &Link, to: Mac, arp: &ArpRepr) {
        self.send_frame(world, link, &frame::arp(link, to, arp));
    }

    fn send_nd(&mut self, world: &mut impl World, link: &Link, to: Mac, packet: &NdPacket) {
        self.send_frame(world, link, &frame::nd(link, to, packet));
    }

    fn send_frame(&mut self, world: &mut impl World, link: &Link, frame: &Frame) {
        self.say(world, InjectKind::Frame { port: link.port, out_if: link.id }, frame);
    }

    fn say(&mut self, world: &mut impl World, kind: InjectKind, bytes: &[u8]) {
        self.counters.originated.add(1);
        inject(world, &self.counters, kind, bytes);
    }
}

/// What an advertisement tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    /// The address.
    pub target: Ipv6Addr,
    /// Where it is.
    pub mac: Mac,
    /// For somebody else (ND-04).
    pub proxy: bool,
    /// Who asked; `None`: all nodes are told.
    pub asker: Option<Ipv6Addr>,
}
