//! ICMP errors from inside a tunnel: about packets that we sent, to us as their
//! outer source (RFC 2003 §4, RFC 2473 §8, RFC 4213 §3.2).
//!
//! ```text
//!                                   ┌─▶ path MTU: learned, aged (RFC 1191, RFC 8201) ─┐
//!   error to us ─▶ quote ─▶ tunnel ─┤                                                 ├─▶ Net::set_soft
//!                    │              └─▶ quote too short: unreachable for a moment ────┘
//!                    └── enough of the inner packet ─▶ error to its sender (icmp.rs)
//! ```
//!
//! | from inside | the inner sender is told | soft state |
//! |---|---|---|
//! | fragmentation needed, packet too big | the same, with what the tunnel takes now, if its packet may not be cut | path MTU |
//! | net, protocol unreachable | net unreachable; IPv6: address unreachable | if the quote is too short to tell: unreachable for [`HOLD`] |
//! | host unreachable, prohibited; IPv6: any but port | host or address unreachable | the same |
//! | time exceeded | host or address unreachable | the same, but for reassembly |
//! | parameter problem about a next header or a limit on nesting (IPv6) | address unreachable | the same |
//! | port unreachable, other parameter problems, all else | nothing | none |
//!
//! **Who may say so.** Anybody on the way, hence anybody who can send us a
//! packet. What is asked: the quote is a packet that this tunnel sends (both
//! ends, protocol, key if it is quoted), larger than the MTU it is said not to
//! fit, and not to be cut. The path MTU goes down only, never below
//! [`FLOOR_V4`] or 1280, and a tunnel learns a few times a second at most. That
//! keeps out who does not know the tunnel, not who does: `pmtu = false` makes
//! it deaf (the errors are still relayed, since senders check them too).

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use super::icmp::Fault;
use super::ping::ErrorKind;
use super::tally::TokenBucket;
use super::topology::World;
use crate::ids::{Family, IfId};
use crate::model::ip::LEAST_MTU_V6;
use crate::model::view::PathCounts;
use crate::wire::icmp::error::IcmpErrorKind;
use crate::wire::icmp6::error::Icmp6ErrorKind;

pub(super) mod quote;

use quote::{Inner, Quoted};
pub use quote::{QuotedKey, Sent};

/// How long a path MTU is believed after it was last confirmed: then the path
/// is tried with what the link takes (RFC 1191 §6.3: 10 minutes; 5 at least).
pub const AGE: Duration = Duration::from_secs(600);

/// How long a tunnel is unreachable after an error that quotes too little to
/// tell the sender: its next packets are answered instead (RFC 2003 §5). Short,
/// since the error is no proof (RFC 1122 §3.2.2.1).
pub const HOLD: Duration = Duration::from_secs(1);

/// Least path MTU believed of an IPv4 path, bytes: what every host must take,
/// and far above the 68 of RFC 1191 §3, which nobody has but who means harm.
pub const FLOOR_V4: u16 = 576;

/// A tunnel's path MTUs a second, and at once: as many narrow links as a path
/// may have in a row.
const LEARN_RATE: (u32, u32) = (1, 8);

/// Log lines a second, and at once, of all tunnels together.
const LOG_RATE: (u32, u32) = (1, 20);

/// Least time between two looks for what has aged.
const LOOK: Duration = Duration::from_millis(100);

/// MTUs of links, for routers that do not tell theirs (RFC 1191 §7.1).
const PLATEAUS: [u16; 11] = [65535, 32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68];

/// What to tell the sender of the inner packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Relay {
    pub(super) fault: Fault,
    /// The beginning of the inner packet.
    pub(super) about: Vec<u8>,
}

/// What an error says of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Report {
    /// Too large, and what would have fit; 0: not told.
    TooBig { mtu: u16 },
    /// The far end is not reached. `net`: what an IPv4 sender is told of it.
    Unreachable { net: bool },
    /// Pieces of the outer packet were lost: about this packet only.
    Lost,
}

impl Report {
    fn of(kind: ErrorKind, quote: &[u8]) -> Option<Report> {
        match kind {
            ErrorKind::V4(kind) => Report::of4(kind),
            ErrorKind::V6(kind) => Report::of6(kind, quote),
        }
    }

    fn of4(kind: IcmpErrorKind) -> Option<Report> {
        use IcmpErrorKind::*;
        match kind {
            FragmentationNeeded { mtu } => Some(Report::TooBig { mtu }),
            // The far end does not know the tunnel: nobody out there asked for
            // the outer protocol (RFC 2003 §4.1).
            NetUnreachable | ProtocolUnreachable => Some(Report::Unreachable { net: true }),
            HostUnreachable | AdministrativelyProhibited | TtlExceeded => {
                Some(Report::Unreachable { net: false })
            }
            ReassemblyTimeExceeded => Some(Report::Lost),
            PortUnreachable | ParameterProblem { .. } => None,
        }
    }

    fn of6(kind: Icmp6ErrorKind, quote: &[u8]) -> Option<Report> {
        use Icmp6ErrorKind::*;
        match kind {
            PacketTooBig { mtu } => {
                Some(Report::TooBig { mtu: u16::try_from(mtu).unwrap_or(u16::MAX) })
            }
            NoRoute
            | AdministrativelyProhibited
            | BeyondScope
            | AddressUnreachable
            | SourcePolicy
            | RejectRoute
            | HopLimitExceeded => Some(Report::Unreachable { net: false }),
            ParameterProblem { code: 1, .. } => Some(Report::Unreachable { net: false }),
            ParameterProblem { code: 0, pointer } => {
                nesting_limit(quote, pointer).then_some(Report::Unreachable { net: false })
            }
            PortUnreachable | ReassemblyTimeExceeded | ParameterProblem { .. } => None,
        }
    }
}

/// True if a parameter problem points at a tunnel encapsulation limit (RFC 2473
/// §8.2 (c)): option 4, of one byte.
fn nesting_limit(quote: &[u8], pointer: u32) -> bool {
    let at = usize::try_from(pointer).unwrap_or(usize::MAX);
    at >= 2 && quote.get(at - 2..at) == Some(&[4, 1])
}

/// What was told of a tunnel.
#[derive(Debug)]
struct Told {
    /// When the path MTU is forgotten.
    path_until: Option<Duration>,
    /// When the tunnel is tried again.
    unreachable_until: Option<Duration>,
    bucket: TokenBucket,
    counts: PathCounts,
}

impl Default for Told {
    fn default() -> Told {
        let (rate, burst) = LEARN_RATE;
        Told {
            path_until: None,
            unreachable_until: None,
            bucket: TokenBucket::new(rate, burst),
            counts: PathCounts::default(),
        }
    }
}

impl Told {
    fn earliest(&self) -> Option<Duration> {
        self.path_until.into_iter().chain(self.unreachable_until).min()
    }
}

/// The engine.
#[derive(Debug)]
pub struct TunnelErrors {
    told: HashMap<IfId, Told>,
    /// When something ages next, at the earliest.
    due: Duration,
    log: TokenBucket,
}

impl Default for TunnelErrors {
    fn default() -> TunnelErrors {
        let (rate, burst) = LOG_RATE;
        TunnelErrors {
            told: HashMap::new(),
            due: Duration::MAX,
            log: TokenBucket::new(rate, burst),
        }
    }
}

impl TunnelErrors {
    /// Takes an error to us that is not about a ping. Gives what the sender of
    /// the inner packet is to be told.
    pub(super) fn on_error(
        &mut self,
        world: &mut impl World,
        now: Duration,
        kind: ErrorKind,
        quote: &[u8],
    ) -> Option<Relay> {
        let report = Report::of(kind, quote)?;
        let quoted = Quoted::read(quote)?;
        let tunnels = world.sending(&quoted.sent);
        // More than one only where the key is not told: one path all the same.
        let first = *tunnels.first()?;
        for tunnel in tunnels {
            match report {
                Report::TooBig { mtu } => self.too_big(world, now, tunnel, mtu, &quoted),
                Report::Unreachable { .. } if quoted.inner.is_none() => {
                    self.unreachable(world, now, tunnel);
                }
                Report::Unreachable { .. } | Report::Lost => {}
            }
        }
        let inner = quoted.inner.as_ref()?;
        let fault = match report {
            Report::TooBig { mtu } => too_big_inside(world, first, mtu, &quoted, inner)?,
            Report::Unreachable { net: true } if inner.family == Family::V4 => Fault::NoRoute,
            Report::Unreachable { .. } | Report::Lost => Fault::Unreachable,
        };
        self.told.entry(first).or_default().counts.relayed += 1;
        Some(Relay { fault, about: inner.bytes.to_vec() })
    }

    /// Learns a path MTU, or refuses to.
    fn too_big(
        &mut self,
        world: &mut impl World,
        now: Duration,
        tunnel: IfId,
        mtu: u16,
        quoted: &Quoted<'_>,
    ) {
        let Some(path) = world.path(tunnel) else { return };
        let told = self.told.entry(tunnel).or_default();
        let takes = outer_takes(mtu, quoted);
        let known = takes == Some(path.outer_mtu) && told.path_until.is_some();
        if path.trusts && known {
            // What was under way when the first one came.
            told.path_until = Some(now + AGE);
            return;
        }
        let less = takes.filter(|takes| path.trusts && *takes < path.outer_mtu);
        let Some(takes) = less.filter(|_| told.bucket.take(now)) else {
            told.counts.refused += 1;
            return;
        };
        told.counts.learned += 1;
        told.path_until = Some(now + AGE);
        self.due = self.due.min(now + AGE);
        world.set_soft(tunnel, |soft| soft.path_mtu = Some(takes));
        self.log(world, now, tunnel, &format!("its path takes {takes} bytes"));
    }

    /// Its next packets are answered with "unreachable".
    fn unreachable(&mut self, world: &mut impl World, now: Duration, tunnel: IfId) {
        let trusts = world.path(tunnel).is_some_and(|path| path.trusts);
        let told = self.told.entry(tunnel).or_default();
        if !trusts {
            told.counts.refused += 1;
            return;
        }
        told.unreachable_until = Some(now + HOLD);
        self.due = self.due.min(now + HOLD);
        world.set_soft(tunnel, |soft| soft.unreachable = true);
        self.log(world, now, tunnel, "its far end is not reached");
    }

    fn log(&mut self, world: &impl World, now: Duration, tunnel: IfId, what: &str) {
        if self.log.take(now) {
            let name = world.name(tunnel).unwrap_or_default();
            tracing::info!(tunnel = %name, "ICMP from inside the tunnel: {what}");
        }
    }

    /// Forgets what is too old.
    pub(super) fn tick(&mut self, world: &mut impl World, now: Duration) {
        if now < self.due {
            return;
        }
        let mut next = Duration::MAX;
        for (tunnel, told) in &mut self.told {
            if told.path_until.take_if(|until| *until <= now).is_some() {
                world.set_soft(*tunnel, |soft| soft.path_mtu = None);
            }
            if told.unreachable_until.take_if(|until| *until <= now).is_some() {
                world.set_soft(*tunnel, |soft| soft.unreachable = false);
            }
            next = told.earliest().map_or(next, |earliest| next.min(earliest));
        }
        self.due = next.max(now + LOOK);
    }

    /// A tunnel is new, whatever had its number before.
    pub(super) fn begin(&mut self, tunnel: IfId) {
        self.told.remove(&tunnel);
    }

    /// What came of the errors about a tunnel's packets.
    pub(super) fn counts(&self, tunnel: IfId) -> PathCounts {
        self.told.get(&tunnel).map(|told| told.counts).unwrap_or_default()
    }
}

/// Largest outer packet that the path takes by what is told of one that it did
/// not take; `None` if that makes no sense.
fn outer_takes(mtu: u16, quoted: &Quoted<'_>) -> Option<u16> {
    let floor = match quoted.sent.source {
        IpAddr::V4(_) => FLOOR_V4,
        IpAddr::V6(_) => LEAST_MTU_V6,
    };
    let below = |plateau: &&u16| usize::from(**plateau) < quoted.total_len;
    let told = if mtu == 0 { *PLATEAUS.iter().find(below)? } else { mtu };
    let takes = told.max(floor);
    (quoted.dont_fragment && usize::from(takes) < quoted.total_len).then_some(takes)
}

/// What the sender of an inner packet is told that was too large inside, if it
/// has to be told.
fn too_big_inside(
    world: &impl World,
    tunnel: IfId,
    mtu: u16,
    quoted: &Quoted<'_>,
    inner: &Inner<'_>,
) -> Option<Fault> {
    let outer = outer_takes(mtu, quoted)?;
    let mtu = world.inner_mtu(tunnel, inner.family, outer)?;
    (inner.dont_fragment && usize::from(mtu) < inner.total_len).then_some(Fault::TooBig { mtu })
}

#[cfg(test)]
mod tests;
