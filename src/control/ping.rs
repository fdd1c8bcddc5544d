//! Pinging from here: echo requests made, replies and errors matched, times
//! taken (on control's clock, so a round trip includes both ways through the
//! exchange).
//!
//! A probe is known by identifier, sequence number and destination. Its data
//! is a pattern and carries nothing of ours. RFC 792, RFC 1122 §3.2.2.6, RFC 4443
//! §4.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use zerocopy::FromBytes;

use super::icmp::return_address;
use super::pieces::{cut4, cut6};
use super::tally::inject;
use super::topology::World;
use crate::exchange::InjectKind;
use crate::model::view::PingView;
use crate::stats::counters::ControlCounters;
use crate::wire::icmp::error::IcmpErrorKind;
use crate::wire::icmp::{Echo, ICMP_LEN, IcmpHeader};
use crate::wire::icmp6::error::Icmp6ErrorKind;
use crate::wire::icmp6::{self, Datagram, Ends, IPV6_LEN};
use crate::wire::ipv4::{IPV4_LEN, IPV4_MAX_TOTAL, Ipv4Header, Ipv4Repr};
use crate::wire::ipv6::IPV6_MIN_MTU;
use crate::wire::{IPPROTO_ICMP, IPPROTO_ICMPV6};

/// Most probes under way at once.
pub const MAX_PENDING: usize = 1024;

/// Most bytes of data in a probe.
pub const MAX_SIZE: usize = IPV4_MAX_TOTAL - IPV4_LEN - ICMP_LEN;

/// One probe to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PingRequest {
    /// Destination.
    pub to: IpAddr,
    /// Source; default: our address on the interface it leaves by.
    pub from: Option<IpAddr>,
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
    NoRoute(IpAddr),
    /// The source asked for is not ours.
    #[error("{0} is not an address of this gateway")]
    NotOurs(IpAddr),
    /// Source and destination of two families.
    #[error("{from} and {to} are not of the same family")]
    Families {
        /// Source.
        from: IpAddr,
        /// Destination.
        to: IpAddr,
    },
    /// A broadcast or multicast address.
    #[error("{0} is a broadcast or multicast address: only hosts can be pinged")]
    Broadcast(IpAddr),
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
        to: IpAddr,
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
type Key = (u16, u16, IpAddr);

#[derive(Debug)]
struct Pending {
    token: PingToken,
    from: IpAddr,
    sent: Duration,
    deadline: Duration,
}

/// The ping engine.
#[derive(Debug)]
pub struct Ping {
    /// Largest datagram that can be handed to a worker whole, bytes.
    room: usize,
    next_token: u64,
    /// Identification of the next datagram, or of its fragments.
    next_id: u32,
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
            next_id: 0,
            pending: BTreeMap::new(),
            done: Vec::new(),
            counters,
        }
    }

    /// The same, whose identifications count up from behind this one, apart from
    /// errors' and workers' (V4-04).
    pub fn counting_from(self, next_id: u16) -> Ping {
        Ping { next_id: next_id.into(), ..self }
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
        self.next_id = self.next_id.wrapping_add(1);
        let datagram = self.datagram(request, from)?;
        self.send(world, request, &datagram)?;
        let token = PingToken(self.next_token);
        self.next_token += 1;
        let deadline = now + request.timeout;
        let pending = Pending { token, from, sent: now, deadline };
        self.pending.insert((ident, sequence, to), pending);
        Ok(token)
    }

    /// The source to use, if there is nothing wrong with the request.
    fn check(&self, world: &impl World, request: &PingRequest) -> Result<IpAddr, PingError> {
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

    fn datagram(&self, request: &PingRequest, from: IpAddr) -> Result<Vec<u8>, PingError> {
        let echo = Echo { reply: false, ident: request.ident, sequence: request.sequence };
        let payload_len = ICMP_LEN + usize::from(request.size);
        // The pattern behind the header is the data; `emit` sums it.
        let pattern =
            |header: usize| -> Vec<u8> { (0..header + payload_len).map(|i| i as u8).collect() };
        let refuse = |_| too_long(request, MAX_SIZE);
        match (from, request.to) {
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let ends = Ends { source, destination };
                let mut bytes = pattern(IPV6_LEN);
                icmp6::emit_header(ends, request.ttl, 0, payload_len, &mut bytes)
                    .map_err(refuse)?;
                icmp6::emit_echo(echo, ends, &mut bytes[IPV6_LEN..]).map_err(refuse)?;
                Ok(bytes)
            }
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let ip = Ipv4Repr {
                    src,
                    dst,
                    protocol: IPPROTO_ICMP,
                    ttl: request.ttl,
                    tos: 0,
                    id: self.next_id as u16,
                    df: request.dont_fragment,
                    payload_len,
                };
                let mut bytes = pattern(IPV4_LEN);
                ip.emit(&mut bytes).map_err(refuse)?;
                echo.emit(&mut bytes[IPV4_LEN..]).map_err(refuse)?;
                Ok(bytes)
            }
            (from, to) => Err(PingError::Families { from, to }),
        }
    }

    /// Injects the datagram, cut where it has to be.
    fn send(
        &mut self,
        world: &mut impl World,
        request: &PingRequest,
        datagram: &[u8],
    ) -> Result<(), PingError> {
        let pieces = match request.to {
            IpAddr::V4(_) => self.pieces4(request, datagram)?,
            IpAddr::V6(_) => self.pieces6(request, datagram)?,
        };
        let mut all_taken = true;
        for (i, piece) in pieces.iter().enumerate() {
            let made =
                if i == 0 { &self.counters.originated } else { &self.counters.fragments_created };
            made.add(1);
            all_taken &= inject(world, &self.counters, InjectKind::Originate, piece);
        }
        all_taken.then_some(()).ok_or(PingError::QueueFull)
    }

    /// IPv4 is cut where it does not fit a slot; the path does the rest.
    fn pieces4(&self, request: &PingRequest, datagram: &[u8]) -> Result<Vec<Vec<u8>>, PingError> {
        let most = self.room.saturating_sub(IPV4_LEN + ICMP_LEN);
        cut4(datagram, self.room).map_err(|_| too_long(request, most))
    }

    /// No router cuts IPv6: unless told not to, we do, to what every link takes
    /// (as BSD's ping6).
    fn pieces6(&self, request: &PingRequest, datagram: &[u8]) -> Result<Vec<Vec<u8>>, PingError> {
        let most = self.room.saturating_sub(IPV6_LEN + ICMP_LEN);
        if request.dont_fragment || datagram.len() <= IPV6_MIN_MTU {
            let fits = datagram.len() <= self.room;
            return fits.then(|| vec![datagram.to_vec()]).ok_or(too_long(request, most));
        }
        cut6(datagram, self.next_id).map_err(|_| too_long(request, most))
    }

    /// An echo reply to us. False if nobody waits for it.
    pub fn on_reply(&mut self, now: Duration, reply: &Reply) -> bool {
        let key = (reply.echo.ident, reply.echo.sequence, reply.from);
        let ours = |p: &Pending| p.from == reply.to && now < p.deadline;
        let Some(pending) = self.take(key, ours) else { return false };
        let view = PingView::Reply {
            from: reply.from,
            bytes: reply.size,
            ttl: reply.ttl,
            rtt_ms: now.saturating_sub(pending.sent).as_secs_f64() * 1e3,
        };
        self.done.push((pending.token, view));
        true
    }

    /// An ICMP error to us. False if it is not about a probe of ours.
    pub fn on_error(&mut self, from: IpAddr, kind: ErrorKind, quote: &[u8]) -> bool {
        let Some((key, source)) = quoted_probe(quote) else { return false };
        let Some(pending) = self.take(key, |p| p.from == source) else { return false };
        self.done.push((pending.token, PingView::Error { from, message: kind.text() }));
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
fn quoted_probe(quote: &[u8]) -> Option<(Key, IpAddr)> {
    let (echo, from, to) = match quote.first()? >> 4 {
        4 => quoted4(quote)?,
        6 => quoted6(quote)?,
        _ => return None,
    };
    (!echo.reply).then_some(((echo.ident, echo.sequence, to), from))
}

fn quoted4(quote: &[u8]) -> Option<(Echo, IpAddr, IpAddr)> {
    let ip = Ipv4Header::ref_from(quote)?;
    if ip.protocol != IPPROTO_ICMP || ip.is_later_fragment() {
        return None;
    }
    let echo = header(quote.get(ip.header_len()..)?)?.echo()?;
    Some((echo, ip.src_addr().into(), ip.dst_addr().into()))
}

fn quoted6(quote: &[u8]) -> Option<(Echo, IpAddr, IpAddr)> {
    let datagram = Datagram::parse_first(quote, IPV6_LEN).ok()?;
    let upper = datagram.upper().filter(|u| u.protocol == IPPROTO_ICMPV6 && !u.is_later())?;
    let echo = icmp6::echo(header(datagram.bytes.get(upper.offset..)?)?)?;
    Some((echo, datagram.ends.source.into(), datagram.ends.destination.into()))
}

/// The ICMP header at the start of `message`.
fn header(message: &[u8]) -> Option<&IcmpHeader> {
    IcmpHeader::ref_from_prefix(message).ok().map(|(header, _)| header)
}

/// An echo message to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Who sent it.
    pub from: IpAddr,
    /// Which of our addresses it is for.
    pub to: IpAddr,
    /// TTL or hop limit as received.
    pub ttl: u8,
    /// Identifier and sequence number.
    pub echo: Echo,
    /// Bytes of data behind the ICMP header.
    pub size: usize,
}

/// An ICMP error, of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// RFC 792.
    V4(IcmpErrorKind),
    /// RFC 4443.
    V6(Icmp6ErrorKind),
}

impl ErrorKind {
    /// What `ping` prints of it.
    fn text(self) -> String {
        match self {
            ErrorKind::V4(kind) => text4(kind),
            ErrorKind::V6(kind) => text6(kind),
        }
    }
}

fn text4(kind: IcmpErrorKind) -> String {
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

fn text6(kind: Icmp6ErrorKind) -> String {
    match kind {
        Icmp6ErrorKind::NoRoute => "No Route to Destination".into(),
        Icmp6ErrorKind::AdministrativelyProhibited => {
            "Destination Administratively Unreachable".into()
        }
        Icmp6ErrorKind::BeyondScope => "Destination Unreachable Beyond Scope".into(),
        Icmp6ErrorKind::AddressUnreachable => "Destination Host Unreachable".into(),
        Icmp6ErrorKind::PortUnreachable => "Destination Port Unreachable".into(),
        Icmp6ErrorKind::SourcePolicy => "Source Address Failed Policy".into(),
        Icmp6ErrorKind::RejectRoute => "Reject Route to Destination".into(),
        Icmp6ErrorKind::PacketTooBig { mtu } => format!("Packet too big mtu = {mtu}"),
        Icmp6ErrorKind::HopLimitExceeded => "Time to live exceeded".into(),
        Icmp6ErrorKind::ReassemblyTimeExceeded => "Frag reassembly time exceeded".into(),
        Icmp6ErrorKind::ParameterProblem { pointer, .. } => {
            format!("Parameter problem: pointer = {pointer}")
        }
    }
}

#[cfg(test)]
mod tests;
