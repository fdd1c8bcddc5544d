//! ICMP at control: errors about packets that the path dropped or that never
//! left, and what is done with ICMP addressed to us.
//!
//! ```text
//!   notice (a copy) ─┐
//!   held, given up ──┼─▶ forbidden? (IC-03, C6-02) ─▶ rate (IC-04, C6-03) ─▶ source (IC-06) ─▶ inject
//!   fragments late ──┘
//!   ICMP to us ──▶ echo reply or error: to the ping engine · the rest: dropped, by reason
//!        └─ error about a tunnel's packet ─▶ tunnel_errors.rs ─▶ about the inner one ─▶ forbidden? …
//! ```
//!
//! Echo requests are answered on the worker; here come only those it does not
//! answer. Both families share the rates and the order of things; what is said
//! and what is forbidden is each one's own. RFC 792, RFC 1812 §4.3, RFC 1191,
//! RFC 4443.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::neighbours::Held;
use super::pieces::cut6;
use super::ping::{ErrorKind, Ping, Reply};
use super::tally::{ControlDrop, TokenBucket, inject};
use super::topology::{Way, World};
use super::tunnel_errors::{TunnelErrors, quote::least};
use crate::datapath::drop::DropReason;
use crate::exchange::{Cause, InjectKind, PuntSlot};
use crate::model::spec::IcmpSpec;
use crate::stats::counters::ControlCounters;
use crate::wire::IPPROTO_ICMP;
use crate::wire::icmp::error::{ErrorSender, IcmpErrorKind, QUOTE_MAX};
use crate::wire::icmp::{self, ICMP_LEN};
use crate::wire::icmp6::error::Icmp6ErrorKind;
use crate::wire::icmp6::{self, Datagram};
use crate::wire::ipv4::{self, Ipv4Header};
use crate::wire::ipv6::martian::is_link_local;
use crate::wire::ipv6::{IPV6_MIN_MTU, Ipv6Header, chain, echo};

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
    /// The same of the fragments of an IPv6 echo reply.
    next_id6: u32,
    counters: Arc<ControlCounters>,
}

impl Icmp {
    /// An engine with a full bucket.
    pub fn new(spec: IcmpSpec, counters: Arc<ControlCounters>) -> Icmp {
        let bucket = TokenBucket::new(spec.error_rate, spec.error_burst);
        let (next_id, next_id6) = (0, 1 << 31);
        Icmp { spec, too_big: bucket.clone(), bucket, next_id, next_id6, counters }
    }

    /// The same, whose identifications count up from behind this one: so that
    /// those of pings and of workers' echo replies are others (V4-04).
    pub fn counting_from(self, next_id: u16) -> Icmp {
        Icmp { next_id, ..self }
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
        let fault = match reason {
            DropReason::TtlExpired => Fault::TtlExceeded,
            DropReason::NoRoute => Fault::NoRoute,
            DropReason::Unreachable => Fault::Unreachable,
            DropReason::FragmentationNeeded => Fault::TooBig { mtu: slot.mtu },
            DropReason::PortUnreachable => Fault::Port,
            DropReason::ProtocolUnreachable => Fault::Protocol,
            DropReason::EncapsulationLimit => Fault::NestsNoMore,
            DropReason::FilterRejected => Fault::Filtered,
            // Only of those whose first fragment is there (RFC 792, RFC 8200 §4.5).
            DropReason::FragmentTimeout => Fault::ReassemblyTime,
            _ => return,
        };
        let about = Offending { link_group: slot.link_group, ..Offending::whole(slot.bytes.get()) };
        self.error(world, now, fault, about);
    }

    /// Host unreachable for a packet whose neighbour did not answer (AR-02,
    /// IC-09, ND-02).
    pub fn unreachable(&mut self, world: &mut impl World, now: Duration, packet: &Held) {
        self.error(world, now, Fault::Unreachable, Offending::whole(&packet.bytes));
    }

    /// Takes ICMP addressed to us that the worker did not answer.
    pub fn on_local(
        &mut self,
        world: &mut impl World,
        now: Duration,
        bytes: &[u8],
        ping: &mut Ping,
        tunnels: &mut TunnelErrors,
    ) {
        self.counters.punts_taken.add(1);
        if let Some(pieces) = self.large_echo(bytes) {
            self.counters.consumed.add(1);
            self.counters.originated.add(1);
            self.counters.fragments_created.add(pieces.len() as u64 - 1);
            for piece in pieces {
                inject(world, &self.counters, InjectKind::Originate, &piece);
            }
            return;
        }
        match self.local(world, now, bytes, ping, tunnels) {
            Ok(()) => self.counters.consumed.add(1),
            Err(reason) => self.counters.drop_packet(reason),
        }
    }

    /// The reply to an IPv6 echo request that some link on the way back may not
    /// take whole: cut here, since the path cuts no IPv6 but tunnels' own.
    fn large_echo(&mut self, request: &[u8]) -> Option<Vec<Vec<u8>>> {
        if !self.spec.echo || request.len() <= IPV6_MIN_MTU || request[0] >> 4 != 6 {
            return None;
        }
        let header = Ipv6Header::ref_from(request)?;
        // No route leads back to the link that such addresses are of.
        if is_link_local(header.src()) || is_link_local(header.dst()) {
            return None;
        }
        let mut reply = request.to_vec();
        let at = chain::upper(request).ok()?.at;
        if !echo::answer(&mut reply, at, TTL) {
            return None;
        }
        self.next_id6 = self.next_id6.wrapping_add(1);
        cut6(&reply, self.next_id6).ok()
    }

    fn local(
        &mut self,
        world: &mut impl World,
        now: Duration,
        bytes: &[u8],
        ping: &mut Ping,
        tunnels: &mut TunnelErrors,
    ) -> Result<(), ControlDrop> {
        match Message::read(bytes)? {
            Message::Echo(reply) if reply.echo.reply => {
                ping.on_reply(now, &reply).then_some(()).ok_or(ControlDrop::IcmpUnexpected)
            }
            Message::Echo(_) if self.spec.echo => Err(ControlDrop::EchoRefused),
            Message::Echo(_) => Err(ControlDrop::EchoOff),
            Message::Error { from, kind, quote } => {
                // About a ping of ours, a tunnel's packet, or nothing we know:
                // read in any case.
                if !ping.on_error(from, kind, quote)
                    && let Some(relay) = tunnels.on_error(world, now, kind, quote)
                {
                    self.error(world, now, relay.fault, Offending::quoted(&relay.about));
                }
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
        fault: Fault,
        offending: Offending<'_>,
    ) {
        if fault == Fault::TtlExceeded && !self.spec.time_exceeded {
            return; // IC-10: may be switched off, is on by default
        }
        let Offending { bytes, kept, .. } = offending;
        let Some(source) = answerable(world, fault, offending) else { return };
        self.counters.originated.add(1);
        let bucket = match fault {
            Fault::TooBig { .. } => &mut self.too_big,
            _ => &mut self.bucket,
        };
        if !bucket.take(now) {
            return self.counters.drop_packet(ControlDrop::IcmpRateLimited); // IC-04, C6-03
        }
        let Some(address) = return_address(world, source) else {
            return self.counters.drop_packet(ControlDrop::IcmpNoReturn);
        };
        let sent = match address {
            IpAddr::V4(address) => {
                self.next_id = self.next_id.wrapping_add(1);
                let sender = ErrorSender { address, ttl: TTL, id: self.next_id };
                icmp::error::build_error_from(fault.v4(), sender, bytes, kept)
                    .is_ok_and(|packet| self.send(world, &packet))
            }
            IpAddr::V6(address) => {
                icmp6::error::build_error_from(fault.v6(bytes), address, TTL, bytes, kept)
                    .is_ok_and(|packet| self.send(world, &packet))
            }
        };
        if !sent {
            self.counters.drop_packet(ControlDrop::DatagramInvalid);
        }
    }

    /// Hands over an error; what the exchange does not take is counted there.
    fn send(&self, world: &mut impl World, packet: &[u8]) -> bool {
        inject(world, &self.counters, InjectKind::Originate, packet);
        true
    }
}

/// What is there of a datagram that an error is about.
#[derive(Clone, Copy, Debug)]
struct Offending<'a> {
    bytes: &'a [u8],
    /// So many of its bytes are there at least.
    kept: usize,
    /// It came to a link's broadcast or multicast address.
    link_group: bool,
}

impl<'a> Offending<'a> {
    /// All of it that is ever quoted.
    fn whole(bytes: &'a [u8]) -> Offending<'a> {
        let kept = if is_v4(bytes) { QUOTE_MAX } else { icmp6::error::QUOTE_MAX };
        Offending { bytes, kept, link_group: false }
    }

    /// What another error quoted of it.
    fn quoted(bytes: &'a [u8]) -> Offending<'a> {
        Offending { bytes, kept: least(bytes), link_group: false }
    }
}

fn is_v4(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| first >> 4 == 4)
}

/// What is to be told, whatever the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    NoRoute,
    Unreachable,
    Protocol,
    Port,
    TooBig {
        mtu: u16,
    },
    TtlExceeded,
    ReassemblyTime,
    /// A filter forbids it (RT-16).
    Filtered,
    /// Only of IPv6.
    NestsNoMore,
}

impl Fault {
    fn v4(self) -> IcmpErrorKind {
        match self {
            Fault::NoRoute => IcmpErrorKind::NetUnreachable,
            Fault::Unreachable | Fault::NestsNoMore => IcmpErrorKind::HostUnreachable,
            Fault::Protocol => IcmpErrorKind::ProtocolUnreachable,
            Fault::Port => IcmpErrorKind::PortUnreachable,
            Fault::TooBig { mtu } => IcmpErrorKind::FragmentationNeeded { mtu },
            Fault::TtlExceeded => IcmpErrorKind::TtlExceeded,
            Fault::ReassemblyTime => IcmpErrorKind::ReassemblyTimeExceeded,
            Fault::Filtered => IcmpErrorKind::AdministrativelyProhibited,
        }
    }

    /// An unknown protocol is a next header that nobody recognises: the
    /// message points at the field of `offending` that names it.
    fn v6(self, offending: &[u8]) -> Icmp6ErrorKind {
        match self {
            Fault::NoRoute => Icmp6ErrorKind::NoRoute,
            Fault::Unreachable => Icmp6ErrorKind::AddressUnreachable,
            Fault::Protocol => {
                let datagram = Datagram::parse_first(offending, icmp6::error::QUOTE_MAX);
                let upper = datagram.ok().and_then(|datagram| datagram.upper());
                let pointer = upper.map_or(0, |upper| upper.named_at as u32);
                Icmp6ErrorKind::ParameterProblem { code: 1, pointer }
            }
            Fault::NestsNoMore => {
                let limit = chain::encapsulation_limit(offending);
                let pointer = limit.map_or(0, |limit| limit.at as u32);
                Icmp6ErrorKind::ParameterProblem { code: 0, pointer }
            }
            Fault::Port => Icmp6ErrorKind::PortUnreachable,
            Fault::TooBig { mtu } => Icmp6ErrorKind::PacketTooBig { mtu: mtu.into() },
            Fault::TtlExceeded => Icmp6ErrorKind::HopLimitExceeded,
            Fault::ReassemblyTime => Icmp6ErrorKind::ReassemblyTimeExceeded,
            Fault::Filtered => Icmp6ErrorKind::AdministrativelyProhibited,
        }
    }
}

/// The source of `offending`, if an error about it may be sent there (IC-03,
/// C6-02).
fn answerable(world: &impl World, fault: Fault, offending: Offending<'_>) -> Option<IpAddr> {
    let Offending { bytes, kept, link_group } = offending;
    if let Some(ip) = Ipv4Header::ref_from(bytes).filter(|ip| ip.version() == 4) {
        let (source, destination) = (ip.src_addr().into(), ip.dst_addr().into());
        let may = icmp::error::may_answer_from(bytes, link_group, kept)
            && !world.is_broadcast(source)
            && !world.is_broadcast(destination);
        return may.then_some(source);
    }
    let datagram = Datagram::parse_first(bytes, kept).ok()?;
    let may = icmp6::error::may_answer_from(fault.v6(bytes), bytes, link_group, kept);
    may.then_some(datagram.ends.source.into())
}

/// An ICMP message to us, of either family, checked.
pub(super) enum Message<'a> {
    Echo(Reply),
    Error { from: IpAddr, kind: ErrorKind, quote: &'a [u8] },
}

impl<'a> Message<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Message<'a>, ControlDrop> {
        match bytes.first().map(|first| first >> 4) {
            Some(6) => Message::read6(bytes),
            _ => Message::read4(bytes),
        }
    }

    fn read4(bytes: &'a [u8]) -> Result<Message<'a>, ControlDrop> {
        let ip = ipv4::validate(bytes, false).map_err(|_| ControlDrop::DatagramInvalid)?;
        if ip.protocol != IPPROTO_ICMP || ip.is_fragment() {
            return Err(ControlDrop::DatagramInvalid);
        }
        let message = &bytes[ip.header_len()..ip.total_len()];
        let header = icmp::validate(message).map_err(|_| ControlDrop::IcmpInvalid)?;
        let (from, to) = (ip.src_addr().into(), ip.dst_addr().into());
        if let Some(echo) = header.echo() {
            let size = message.len() - ICMP_LEN;
            return Ok(Message::Echo(Reply { from, to, ttl: ip.ttl, echo, size }));
        }
        let kind = IcmpErrorKind::of(header).ok_or(ControlDrop::IcmpUnsupported)?;
        let told = usize::from((header.rest.get() >> 16) as u8) * 4;
        Ok(Message::Error { from, kind: ErrorKind::V4(kind), quote: quote(message, told) })
    }

    fn read6(bytes: &'a [u8]) -> Result<Message<'a>, ControlDrop> {
        let datagram = Datagram::parse(bytes).map_err(|_| ControlDrop::DatagramInvalid)?;
        let message = datagram.icmp6().ok_or(ControlDrop::DatagramInvalid)?;
        let header =
            icmp6::validate(datagram.ends, message).map_err(|_| ControlDrop::IcmpInvalid)?;
        let (from, to) = (datagram.ends.source.into(), datagram.ends.destination.into());
        if let Some(echo) = icmp6::echo(header) {
            let size = message.len() - ICMP_LEN;
            return Ok(Message::Echo(Reply { from, to, ttl: datagram.hop_limit, echo, size }));
        }
        let kind = Icmp6ErrorKind::of(header).ok_or(ControlDrop::IcmpUnsupported)?;
        let told = (header.rest.get() >> 24) as usize * 8;
        Ok(Message::Error { from, kind: ErrorKind::V6(kind), quote: quote(message, told) })
    }
}

/// The quote of an error: what is behind its header, without the extensions that
/// may follow if a length of the quote is told (RFC 4884 §3: 128 bytes at least).
fn quote(message: &[u8], told: usize) -> &[u8] {
    const LEAST: usize = 128;
    let behind = &message[ICMP_LEN..];
    if told < LEAST { behind } else { &behind[..behind.len().min(told)] }
}

/// Our address on the interface by which a packet to `to` leaves (IC-06); of a
/// tunnel its inner one. If that has none, any address of ours: the router-id.
pub(super) fn return_address(world: &impl World, to: IpAddr) -> Option<IpAddr> {
    // Which link it is on is not known any more, and no route says so.
    let near = |address| matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
    if near(to) {
        return None;
    }
    let here = match world.way(to) {
        // What has come over a router's link-local address goes beyond the link.
        Way::Neighbour { link, address } if near(address) => world.source(link, to),
        Way::Neighbour { link, address } => world.source(link, address),
        Way::Tunnel { tunnel, underlay: Some(_) } => world.source(tunnel, to),
        Way::Local => return Some(to),
        Way::Tunnel { underlay: None, .. } | Way::Broadcast | Way::Unreachable => return None,
    };
    here.or_else(|| world.links().iter().find_map(|link| world.source(link.id, to)))
}

#[cfg(test)]
mod tests;
