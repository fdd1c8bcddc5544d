//! Pinging from here: echo requests made, replies and errors matched, times
//! taken (on control's clock, so a round trip includes both ways through the
//! exchange).
//!
//! A probe is known by identifier, sequence number and destination. Its data
//! is a pattern and carries nothing of ours. RFC 792, RFC 1122 §3.2.2.6.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use zerocopy::FromBytes;

use super::icmp::return_address;
use super::tally::inject;
use super::topology::World;
use crate::exchange::InjectKind;
use crate::model::view::PingView;
use crate::stats::counters::ControlCounters;
use crate::wire::icmp::error::IcmpErrorKind;
use crate::wire::icmp::{ECHO_REQUEST, Echo, ICMP_LEN, IcmpHeader};
use crate::wire::ipv4::fragment::{FragmentError, FragmentPlan};
use crate::wire::ipv4::{IPV4_LEN, IPV4_MAX_TOTAL, Ipv4Header, Ipv4Repr};
use crate::wire::{EmitError, IPPROTO_ICMP};

/// Most probes under way at once.
pub const MAX_PENDING: usize = 1024;

/// Most bytes of data in a probe.
pub const MAX_SIZE: usize = IPV4_MAX_TOTAL - IPV4_LEN - ICMP_LEN;

/// One probe to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PingRequest {
    /// Destination.
    pub to: Ipv4Addr,
    /// Source; default: our address on the interface it leaves by.
    pub from: Option<Ipv4Addr>,
    /// ICMP identifier: one per `ping` run.
    pub ident: u16,
    /// ICMP sequence number.
    pub sequence: u16,
    /// Bytes of data behind the ICMP header.
    pub size: u16,
    /// TTL of the request.
    pub ttl: u8,
    /// Set DF.
    pub dont_fragment: bool,
    /// How long to wait.
    pub timeout: Duration,
}

/// A probe under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PingToken(u64);

/// Why a probe was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PingError {
    /// Nowhere to send it, or no address to send it from.
    #[error("no route to {0}")]
    NoRoute(Ipv4Addr),
    /// The source asked for is not ours.
    #[error("{0} is not an address of this gateway")]
    NotOurs(Ipv4Addr),
    /// A broadcast or multicast address.
    #[error("{0} is a broadcast or multicast address: only hosts can be pinged")]
    Broadcast(Ipv4Addr),
    /// More data than a datagram, or with DF set a packet buffer, can carry.
    #[error("{size} bytes of data are too many: at most {most} can be sent")]
    TooLong {
        /// Bytes asked for.
        size: usize,
        /// The most that would do.
        most: usize,
    },
    /// TTL 0 never leaves.
    #[error("a TTL of 0 cannot be sent: expected 1 to 255")]
    ZeroTtl,
    /// Same identifier, sequence number and destination as one under way.
    #[error("a ping of {to} with identifier {ident} and sequence {sequence} is under way already")]
    UnderWay {
        /// Destination.
        to: Ipv4Addr,
        /// Identifier.
        ident: u16,
        /// Sequence number.
        sequence: u16,
    },
    /// Too many under way.
    #[error("{MAX_PENDING} pings are under way already")]
    TooMany,
    /// The queue to the worker is full.
    #[error("the queue to the worker is full")]
    QueueFull,
}

/// Identifier, sequence number, destination.
type Key = (u16, u16, Ipv4Addr);

#[derive(Debug)]
struct Pending {
    token: PingToken,
    from: Ipv4Addr,
    sent: Duration,
    deadline: Duration,
}

/// The ping engine.
#[derive(Debug)]
pub struct Ping {
    /// Largest datagram that can be handed to a worker whole, bytes.
    room: usize,
    next_token: u64,
    next_id: u16,
    pending: BTreeMap<Key, Pending>,
    done: Vec<(PingToken, PingView)>,
    counters: Arc<ControlCounters>,
}

impl Ping {
    /// An engine that hands datagrams of up to `room` bytes to workers; longer
    /// ones are cut. Use the room of an exchange slot, less what the path adds.
    pub fn new(room: usize, counters: Arc<ControlCounters>) -> Ping {
        Ping {
            room,
            next_token: 0,
            // Errors count up from 0x4000, so that ids of both repeat late (V4-04).
            next_id: 0x8000,
            pending: BTreeMap::new(),
            done: Vec::new(),
            counters,
        }
    }

    /// Sends a probe. What comes of it is told by [`Ping::take_done`].
    pub fn start(
        &mut self,
        world: &mut impl World,
        now: Duration,
        request: &PingRequest,
    ) -> Result<PingToken, PingError> {
        let PingRequest { to, ident, sequence, .. } = *request;
        let from = self.check(world, request)?;
        let datagram = self.datagram(request, from).map_err(|_| too_long(request, MAX_SIZE))?;
        self.send(world, request, &datagram)?;
        let token = PingToken(self.next_token);
        self.next_token += 1;
        let deadline = now + request.timeout;
        let pending = Pending { token, from, sent: now, deadline };
        self.pending.insert((ident, sequence, to), pending);
        Ok(token)
    }

    /// The source to use, if there is nothing wrong with the request.
    fn check(&self, world: &impl World, request: &PingRequest) -> Result<Ipv4Addr, PingError> {
        let PingRequest { to, ident, sequence, .. } = *request;
        if world.is_broadcast(to) {
            return Err(PingError::Broadcast(to));
        }
        if request.ttl == 0 {
            return Err(PingError::ZeroTtl);
        }
        if self.pending.contains_key(&(ident, sequence, to)) {
            return Err(PingError::UnderWay { to, ident, sequence });
        }
        if self.pending.len() >= MAX_PENDING {
            return Err(PingError::TooMany);
        }
        let way_out = return_address(world, to).ok_or(PingError::NoRoute(to))?;
        match request.from {
            Some(from) if !world.owns(from) => Err(PingError::NotOurs(from)),
            from => Ok(from.unwrap_or(way_out)),
        }
    }

    fn datagram(&mut self, request: &PingRequest, from: Ipv4Addr) -> Result<Vec<u8>, EmitError> {
        self.next_id = self.next_id.wrapping_add(1);
        let payload_len = ICMP_LEN + usize::from(request.size);
        let ip = Ipv4Repr {
            src: from,
            dst: request.to,
            protocol: IPPROTO_ICMP,
            ttl: request.ttl,
            tos: 0,
            id: self.next_id,
            df: request.dont_fragment,
            payload_len,
        };
        let mut bytes: Vec<u8> = (0..IPV4_LEN + payload_len).map(|i| i as u8).collect();
        ip.emit(&mut bytes)?;
        let echo = Echo { reply: false, ident: request.ident, sequence: request.sequence };
        // The pattern behind the header is the data; `emit` sums it.
        echo.emit(&mut bytes[IPV4_LEN..])?;
        Ok(bytes)
    }

    /// Injects the datagram, cut where it does not fit a slot.
    fn send(
        &mut self,
        world: &mut impl World,
        request: &PingRequest,
        datagram: &[u8],
    ) -> Result<(), PingError> {
        let most = self.room.saturating_sub(IPV4_LEN + ICMP_LEN);
        let plan = FragmentPlan::new(datagram, self.room).map_err(|error| match error {
            FragmentError::DontFragment
            | FragmentError::MtuTooSmall { .. }
            | FragmentError::Malformed
            | FragmentError::BeyondDatagram => too_long(request, most),
        })?;
        let mut all_taken = true;
        let mut piece_bytes = Vec::with_capacity(self.room.min(datagram.len()));
        for (i, piece) in plan.clone().enumerate() {
            piece_bytes.clear();
            piece_bytes.resize(piece.header_len, 0);
            plan.emit_header(&piece, &mut piece_bytes).map_err(|_| too_long(request, most))?;
            let start = IPV4_LEN + piece.offset;
            piece_bytes.extend_from_slice(&datagram[start..start + piece.len]);
            let made =
                if i == 0 { &self.counters.originated } else { &self.counters.fragments_created };
            made.add(1);
            all_taken &= inject(world, &self.counters, InjectKind::Originate, &piece_bytes);
        }
        all_taken.then_some(()).ok_or(PingError::QueueFull)
    }

    /// An echo reply to us, its message validated. False if nobody waits for
    /// it.
    pub fn on_reply(&mut self, now: Duration, ip: &Ipv4Header, message: &[u8]) -> bool {
        let Some(echo) = header(message).and_then(IcmpHeader::echo) else {
            return false;
        };
        let key = (echo.ident, echo.sequence, ip.src_addr());
        let ours = |p: &Pending| p.from == ip.dst_addr() && now < p.deadline;
        let Some(pending) = self.take(key, ours) else { return false };
        let view = PingView::Reply {
            from: ip.src_addr(),
            bytes: message.len() - ICMP_LEN,
            ttl: ip.ttl,
            rtt_ms: now.saturating_sub(pending.sent).as_secs_f64() * 1e3,
        };
        self.done.push((pending.token, view));
        true
    }

    /// An ICMP error to us, its message validated. False if it is not about a
    /// probe of ours.
    pub fn on_error(&mut self, from: Ipv4Addr, kind: IcmpErrorKind, message: &[u8]) -> bool {
        let Some((key, source)) = message.get(ICMP_LEN..).and_then(quoted_probe) else {
            return false;
        };
        let Some(pending) = self.take(key, |p| p.from == source) else { return false };
        self.done.push((pending.token, PingView::Error { from, message: text(kind) }));
        true
    }

    /// Takes the probe off the list, if it is there and `ours` says so.
    fn take(&mut self, key: Key, ours: impl Fn(&Pending) -> bool) -> Option<Pending> {
        self.pending.get(&key).filter(|pending| ours(pending))?;
        self.pending.remove(&key)
    }

    /// Forgets a probe whose caller went away.
    pub fn cancel(&mut self, token: PingToken) {
        self.pending.retain(|_, pending| pending.token != token);
        self.done.retain(|(done, _)| *done != token);
    }

    /// What came of the probes, each told once.
    #[must_use]
    pub fn take_done(&mut self, now: Duration) -> Vec<(PingToken, PingView)> {
        let done = &mut self.done;
        self.pending.retain(|_, pending| {
            let waits = now < pending.deadline;
            if !waits {
                done.push((pending.token, PingView::Timeout));
            }
            waits
        });
        std::mem::take(done)
    }

    /// When [`Ping::take_done`] next has something to tell; may be past.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        if !self.done.is_empty() {
            return Some(Duration::ZERO);
        }
        self.pending.values().map(|pending| pending.deadline).min()
    }
}

fn too_long(request: &PingRequest, most: usize) -> PingError {
    PingError::TooLong { size: request.size.into(), most }
}

/// The probe that an error quotes, and its source. The quote may end behind
/// the eighth byte of the echo request, and routers on the way changed its TTL
/// and checksum: neither is looked at.
fn quoted_probe(quote: &[u8]) -> Option<(Key, Ipv4Addr)> {
    let ip = Ipv4Header::ref_from(quote)?;
    if ip.version() != 4 || ip.protocol != IPPROTO_ICMP || ip.is_later_fragment() {
        return None;
    }
    let icmp = header(quote.get(ip.header_len()..)?)?;
    let echo = icmp.echo().filter(|_| icmp.kind == ECHO_REQUEST)?;
    Some(((echo.ident, echo.sequence, ip.dst_addr()), ip.src_addr()))
}

/// The ICMP header at the start of `message`.
fn header(message: &[u8]) -> Option<&IcmpHeader> {
    IcmpHeader::ref_from_prefix(message).ok().map(|(header, _)| header)
}

/// What `ping` prints of an error.
fn text(kind: IcmpErrorKind) -> String {
    match kind {
        IcmpErrorKind::NetUnreachable => "Destination Net Unreachable".into(),
        IcmpErrorKind::HostUnreachable => "Destination Host Unreachable".into(),
        IcmpErrorKind::ProtocolUnreachable => "Destination Protocol Unreachable".into(),
        IcmpErrorKind::PortUnreachable => "Destination Port Unreachable".into(),
        IcmpErrorKind::FragmentationNeeded { mtu } => {
            format!("Frag needed and DF set (mtu = {mtu})")
        }
        IcmpErrorKind::AdministrativelyProhibited => "Packet filtered".into(),
        IcmpErrorKind::TtlExceeded => "Time to live exceeded".into(),
        IcmpErrorKind::ReassemblyTimeExceeded => "Frag reassembly time exceeded".into(),
        IcmpErrorKind::ParameterProblem { pointer } => {
            format!("Parameter problem: pointer = {pointer}")
        }
    }
}

#[cfg(test)]
mod tests;
