//! ARP by hand-made frames (etherparse builds and reads them), on the world of
//! [`crate::control::tally::fake`].

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::control::tally::fake::*;
use crate::control::topology::Way;
use crate::exchange::InjectKind;
use crate::ids::{Mac, PortId};

mod arp;
mod nd;
mod proxy;
mod waiting;

const NEVER: Mac = Mac([0; 6]);

/// An engine, its world and its counters.
pub(super) struct Bench {
    pub engine: Neighbours,
    pub world: Fake,
    pub counters: Arc<ControlCounters>,
}

/// An ARP frame the engine sent, as etherparse reads it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub port: PortId,
    pub out_if: IfId,
    pub vlan: Option<u16>,
    pub to: Mac,
    pub op: u16,
    pub sender: (Mac, IpAddr),
    pub target: (Mac, IpAddr),
}

fn mac(bytes: &[u8]) -> Mac {
    Mac(bytes.try_into().expect("six bytes"))
}

fn ip(bytes: &[u8]) -> IpAddr {
    let bytes: [u8; 4] = bytes.try_into().expect("four bytes");
    bytes.into()
}

fn read((kind, frame): &(InjectKind, Vec<u8>)) -> Sent {
    let InjectKind::Frame { port, out_if } = *kind else { panic!("{kind:?} is not a frame") };
    assert_eq!(frame.len(), 60, "padded to the least frame");
    let sliced = etherparse::SlicedPacket::from_ethernet(frame).expect("a frame");
    let Some(etherparse::LinkSlice::Ethernet2(ether)) = &sliced.link else { panic!("no Ethernet") };
    let Some(etherparse::NetSlice::Arp(arp)) = &sliced.net else { panic!("no ARP") };
    assert_eq!(ether.source()[..], *arp.sender_hw_addr(), "frames come from whom they say");
    Sent {
        port,
        out_if,
        vlan: sliced.vlan_ids().first().map(|id| id.value()),
        to: Mac(ether.destination()),
        op: arp.operation().0,
        sender: (mac(arp.sender_hw_addr()), ip(arp.sender_protocol_addr())),
        target: (mac(arp.target_hw_addr()), ip(arp.target_protocol_addr())),
    }
}

/// An ARP frame as a host would send it.
pub(super) fn arp(op: u16, sender: (Mac, IpAddr), target: (Mac, IpAddr), to: Mac) -> Vec<u8> {
    let packet = etherparse::ArpPacket::new(
        etherparse::ArpHardwareId::ETHERNET,
        etherparse::EtherType::IPV4,
        etherparse::ArpOperation(op),
        &sender.0.0,
        &v4(sender.1).octets(),
        &target.0.0,
        &v4(target.1).octets(),
    )
    .expect("addresses of the right length");
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2(sender.0.0, to.0)
        .arp(packet)
        .write(&mut frame)
        .expect("to memory");
    frame.resize(60, 0);
    frame
}

pub(super) fn who_has(sender: (Mac, IpAddr), target: IpAddr) -> Vec<u8> {
    arp(1, sender, (NEVER, target), Mac::BROADCAST)
}

pub(super) fn is_at(sender: (Mac, IpAddr), target: (Mac, IpAddr)) -> Vec<u8> {
    arp(2, sender, target, target.0)
}

impl Bench {
    pub fn new() -> Bench {
        Bench::with(NeighbourConfig::default())
    }

    pub fn with(config: NeighbourConfig) -> Bench {
        let counters = counters();
        let engine = Neighbours::new(config, counters.clone());
        Bench { engine, world: Fake::default(), counters }
    }

    /// Every call ends here: nothing may be lost, indices agree.
    #[track_caller]
    fn settled(&self) {
        assert_conserved(&self.counters);
        self.engine.table.assert_indexed();
        let held: usize = self.engine.table.iter().map(|(_, entry)| entry.held.len()).sum();
        assert_eq!(self.counters.view().held, held as u64);
    }

    #[track_caller]
    pub fn hears(&mut self, ms: u64, link: IfId, frame: &[u8]) {
        self.engine.on_arp(&mut self.world, at(ms), link, frame);
        self.settled();
    }

    #[track_caller]
    pub fn forwards(&mut self, ms: u64, packet: &[u8]) -> Option<Held> {
        let back = self.engine.on_unresolved(&mut self.world, at(ms), EN0, false, packet);
        self.settled();
        back
    }

    #[track_caller]
    pub fn told(&mut self, event: Event) {
        self.engine.on_event(&mut self.world, at(0), &event);
        self.settled();
    }

    /// Lets every timer up to `ms` fire at its time.
    #[track_caller]
    pub fn until(&mut self, ms: u64) -> Vec<Held> {
        let mut given_up = Vec::new();
        while let Some(deadline) = self.engine.next_deadline().filter(|d| *d <= at(ms)) {
            given_up.extend(self.engine.tick(&mut self.world, deadline));
            self.settled();
        }
        given_up.extend(self.engine.tick(&mut self.world, at(ms)));
        self.settled();
        given_up
    }

    pub fn arp_sent(&mut self) -> Vec<Sent> {
        self.world.sent().iter().map(read).collect()
    }

    pub fn dropped(&self, reason: ControlDrop) -> u64 {
        self.counters.dropped_for(reason)
    }

    pub fn view(&self, address: IpAddr) -> NeighbourView {
        let views = self.engine.views(&|id| format!("if{}", id.0), Duration::ZERO);
        views.into_iter().find(|v| v.address == address).expect("an entry")
    }
}
