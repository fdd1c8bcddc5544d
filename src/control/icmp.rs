//! ICMP at control: errors about packets that the path dropped or that never
//! left, and what is done with ICMP addressed to us.
//!
//! ```text
//!   notice (a copy) ─┐
//!   held, given up ──┼─▶ forbidden? (IC-03) ─▶ rate (IC-04) ─▶ source (IC-06) ─▶ inject
//!   reassembly late ─┘
//!   ICMP to us ──▶ echo reply or error: to the ping engine · the rest: dropped, by reason
//! ```
//!
//! Echo requests are answered on the worker; here come only those it does not
//! answer. RFC 792, RFC 1812 §4.3, RFC 1191.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use super::neighbours::Held;
use super::ping::Ping;
use super::reassembly::Expired;
use super::tally::{ControlDrop, TokenBucket, inject};
use super::topology::{Way, World};
use crate::datapath::drop::DropReason;
use crate::exchange::{Cause, InjectKind, PuntSlot};
use crate::model::spec::IcmpSpec;
use crate::stats::counters::ControlCounters;
use crate::wire::IPPROTO_ICMP;
use crate::wire::icmp::error::{
    ErrorSender, IcmpErrorKind, QUOTE_MAX, build_error, may_answer_with_error,
};
use crate::wire::icmp::{ECHO_REPLY, ECHO_REQUEST, validate};
use crate::wire::ipv4::{self, Ipv4Header};

/// TTL of what is made here (RFC 1812 §4.3.2.2: fresh, not the cause's).
pub(super) const TTL: u8 = 64;

/// The ICMP engine.
#[derive(Debug)]
pub struct Icmp {
    spec: IcmpSpec,
    bucket: TokenBucket,
    /// "Fragmentation needed" has a bucket of its own, of the same size: other
    /// errors must not make a black hole of a path (RFC 1191).
    too_big: TokenBucket,
    /// Identification of the next error (V4-04).
    next_id: u16,
    counters: Arc<ControlCounters>,
}

impl Icmp {
    /// An engine with a full bucket.
    pub fn new(spec: IcmpSpec, counters: Arc<ControlCounters>) -> Icmp {
        let bucket = TokenBucket::new(spec.error_rate, spec.error_burst);
        // Workers' echo replies count up from 0, pings from 0x8000, so that
        // identifications of all three repeat late (V4-04).
        Icmp { spec, too_big: bucket.clone(), bucket, next_id: 0x4000, counters }
    }

    /// Follows `Event::Icmp`.
    pub fn configure(&mut self, spec: IcmpSpec) {
        for bucket in [&mut self.bucket, &mut self.too_big] {
            bucket.configure(spec.error_rate, spec.error_burst);
        }
        self.spec = spec;
    }

    /// Sends the error that a drop on the path calls for, if it calls for one.
    /// The copy itself is not counted; it ended on the worker.
    pub fn on_notice(&mut self, world: &mut impl World, now: Duration, slot: &PuntSlot) {
        let Cause::Notice(reason) = slot.cause else { return };
        let kind = match reason {
            DropReason::TtlExpired => IcmpErrorKind::TtlExceeded,
            DropReason::NoRoute => IcmpErrorKind::NetUnreachable,
            DropReason::Unreachable => IcmpErrorKind::HostUnreachable,
            DropReason::FragmentationNeeded => IcmpErrorKind::FragmentationNeeded { mtu: slot.mtu },
            DropReason::PortUnreachable => IcmpErrorKind::PortUnreachable,
            DropReason::ProtocolUnreachable => IcmpErrorKind::ProtocolUnreachable,
            _ => return,
        };
        self.error(world, now, kind, slot.bytes.get(), slot.link_group);
    }

    /// Host unreachable for a packet whose neighbour did not answer (AR-02,
    /// IC-09).
    pub fn unreachable(&mut self, world: &mut impl World, now: Duration, packet: &Held) {
        self.error(world, now, IcmpErrorKind::HostUnreachable, &packet.bytes, false);
    }

    /// Time exceeded for a datagram that was not complete in time (RFC 792;
    /// only its first fragment is answered).
    pub fn reassembly_expired(&mut self, world: &mut impl World, now: Duration, late: &Expired) {
        self.error(world, now, IcmpErrorKind::ReassemblyTimeExceeded, &late.first, false);
    }

    /// Takes ICMP addressed to us that the worker did not answer.
    pub fn on_local(&mut self, now: Duration, bytes: &[u8], ping: &mut Ping) {
        self.counters.punts_taken.add(1);
        match self.local(now, bytes, ping) {
            Ok(()) => self.counters.consumed.add(1),
            Err(reason) => self.counters.drop_packet(reason),
        }
    }

    fn local(&self, now: Duration, bytes: &[u8], ping: &mut Ping) -> Result<(), ControlDrop> {
        let ip = ipv4::validate(bytes, false).map_err(|_| ControlDrop::DatagramInvalid)?;
        if ip.protocol != IPPROTO_ICMP || ip.is_fragment() {
            return Err(ControlDrop::DatagramInvalid);
        }
        let message = &bytes[ip.header_len()..ip.total_len()];
        let icmp = validate(message).map_err(|_| ControlDrop::IcmpInvalid)?;
        match icmp.kind {
            ECHO_REPLY if ping.on_reply(now, ip, message) => Ok(()),
            ECHO_REPLY => Err(ControlDrop::IcmpUnexpected),
            ECHO_REQUEST if self.spec.echo => Err(ControlDrop::EchoRefused),
            ECHO_REQUEST => Err(ControlDrop::EchoOff),
            _ => {
                let kind = IcmpErrorKind::of(icmp).ok_or(ControlDrop::IcmpUnsupported)?;
                // About a ping of ours or about a tunnel's packet: read either way.
                ping.on_error(ip.src_addr(), kind, message);
                Ok(())
            }
        }
    }

    /// Makes and sends an error about `offending`, where it may be sent. One
    /// that is made but not sent is counted as originated and dropped; one
    /// that is forbidden is not made.
    fn error(
        &mut self,
        world: &mut impl World,
        now: Duration,
        kind: IcmpErrorKind,
        offending: &[u8],
        link_group: bool,
    ) {
        if kind == IcmpErrorKind::TtlExceeded && !self.spec.time_exceeded {
            return; // IC-10: may be switched off, is on by default
        }
        let offending = &untruncated(offending)[..];
        let Some(ip) = Ipv4Header::ref_from(offending) else { return };
        let (source, destination) = (ip.src_addr(), ip.dst_addr());
        if !may_answer_with_error(offending, link_group)
            || world.is_broadcast(source)
            || world.is_broadcast(destination)
        {
            return; // IC-03
        }
        self.counters.originated.add(1);
        let bucket = match kind {
            IcmpErrorKind::FragmentationNeeded { .. } => &mut self.too_big,
            _ => &mut self.bucket,
        };
        if !bucket.take(now) {
            return self.counters.drop_packet(ControlDrop::IcmpRateLimited); // IC-04
        }
        let Some(address) = return_address(world, source) else {
            return self.counters.drop_packet(ControlDrop::IcmpNoReturn);
        };
        self.next_id = self.next_id.wrapping_add(1);
        let sender = ErrorSender { address, ttl: TTL, id: self.next_id };
        match build_error(kind, sender, offending) {
            Ok(packet) => {
                inject(world, &self.counters, InjectKind::Originate, &packet);
            }
            Err(_) => self.counters.drop_packet(ControlDrop::DatagramInvalid),
        }
    }
}

/// The datagram, or, where a notice holds only its beginning but all that is
/// quoted, the same with zeros for the rest, so that its lengths agree.
fn untruncated(datagram: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    let total = Ipv4Header::ref_from(datagram).map_or(0, Ipv4Header::total_len);
    if (QUOTE_MAX..total).contains(&datagram.len()) {
        let mut whole = datagram.to_vec();
        whole.resize(total, 0);
        return whole.into();
    }
    datagram.into()
}

/// Our address on the interface by which a packet to `to` leaves (IC-06); of a
/// tunnel its inner one. If that has none, any address of ours: the router-id.
pub(super) fn return_address(world: &impl World, to: Ipv4Addr) -> Option<Ipv4Addr> {
    let here = match world.way(to) {
        Way::Neighbour { link, address } => world.source(link, address),
        Way::Tunnel { tunnel, underlay: Some(_) } => world.source(tunnel, to),
        Way::Local => return Some(to),
        Way::Tunnel { underlay: None, .. } | Way::Broadcast | Way::Unreachable => return None,
    };
    here.or_else(|| world.links().iter().find_map(|link| world.source(link.id, to)))
}

#[cfg(test)]
mod tests;
