//! Liveness of tunnels: whether the far end is there, and what follows.
//!
//! ```text
//!   timer ─▶ keepalive │ probe │ size ──▶ inject Into(tunnel) ──▶ path ──▶ far end
//!   punt Liveness ◀─ path ◀───────────────────────────────────────────────┘
//!     └▶ heard / lost ─▶ up, down (hysteresis) ─▶ world.set_dead ─▶ routes go, come back
//! ```
//!
//! * A **keepalive** is Cisco's: a GRE packet to ourselves, inside the tunnel,
//!   which the far end takes out and sends like any packet. It tells of the
//!   underlay and of decapsulation there, and asks nothing else of the far end.
//! * A **probe** is an echo request to an address behind the tunnel. It works
//!   with every kind and family, and measures loss, times and the largest size.
//!
//! Both go into the tunnel's own adjacency, which is kept when its routes are
//! gone, so they meet all that traffic meets: encapsulation, options, MTU.
//! A tunnel that does not run for a reason of its own (no underlay, down) is not
//! asked about. Silence until the first answer counts like any other: after
//! `retries` losses a tunnel is down, until then its traffic passes.
//!
//! From the last answer to "down" it takes `interval × (retries + 1)` at most: the
//! last loss is known when its time is over.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::icmp::Message;
use super::tally::{ControlDrop, TokenBucket, inject};
use super::topology::{TunnelWay, Watch, World};
use crate::datapath::PROBE_IDENT;
use crate::exchange::InjectKind;
use crate::ids::{Family, IfId};
use crate::model::liveness::ProbeSpec;
use crate::model::view::{LivenessView, ProbeView};
use crate::stats::counters::ControlCounters;
use crate::wire::IPPROTO_GRE;

mod check;
mod packets;
mod size;

use check::{Check, State};
pub use packets::GreEnds;
use size::Search;

/// Packets sent in one tick: more tunnels wait for the next.
const SENT_PER_TICK: usize = 64;

/// When the worker took none: again after this.
const AGAIN: Duration = Duration::from_millis(100);

/// How long a packet of a size search may take.
const SIZE_TIMEOUT: Duration = Duration::from_secs(1);

/// From one size search to the next.
const SIZE_EVERY: Duration = Duration::from_secs(60);

/// Lines in the log about tunnels that go and come: a second, and at once.
const LOG: (u32, u32) = (10, 50);

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Keepalive,
    Probe,
    Size,
}

const ALL: [What; 3] = [What::Keepalive, What::Probe, What::Size];

/// A tunnel that is watched.
#[derive(Debug)]
struct Watched {
    watch: Watch,
    keepalive: Option<(Check, GreEnds)>,
    probe: Option<Probe>,
    dead: bool,
    /// Times it died or came back.
    transitions: u64,
    /// When its state was entered.
    since: Duration,
    due: [Option<Duration>; 3],
}

#[derive(Debug)]
struct Probe {
    check: Check,
    from: IpAddr,
    to: IpAddr,
    search: Search,
    sizes: bool,
}

impl Watched {
    fn new(watch: Watch, now: Duration) -> Watched {
        let keepalive = watch.keepalive.map(|(timing, ends)| (Check::new(timing), ends));
        let probe = watch.probe.map(|(spec, from, to)| {
            let ProbeSpec { timing, size, .. } = spec;
            Probe { check: Check::new(timing), from, to, search: Search::default(), sizes: size }
        });
        let due = [None; 3];
        Watched { watch, keepalive, probe, dead: false, transitions: 0, since: now, due }
    }

    fn checks(&self) -> impl Iterator<Item = &Check> {
        let keepalive = self.keepalive.iter().map(|(check, _)| check);
        keepalive.chain(self.probe.iter().map(|probe| &probe.check))
    }

    /// One check that says "down" is enough; one that says "up" is, otherwise.
    fn state(&self) -> State {
        let any = |state| self.checks().any(|check| check.state == state);
        match () {
            () if any(State::Down) => State::Down,
            () if any(State::Up) => State::Up,
            () => State::Unknown,
        }
    }
}

/// The engine.
#[derive(Debug)]
pub struct Liveness {
    watched: BTreeMap<IfId, Watched>,
    due: BTreeSet<(Duration, IfId, What)>,
    /// Of the last packet; over all tunnels.
    number: u16,
    log: TokenBucket,
    /// A tunnel died or came back since the last tick.
    changed: bool,
    counters: Arc<ControlCounters>,
}

impl Liveness {
    /// An engine that watches nothing yet.
    pub fn new(counters: Arc<ControlCounters>) -> Liveness {
        let log = TokenBucket::new(LOG.0, LOG.1);
        let (watched, due) = (BTreeMap::new(), BTreeSet::new());
        Liveness { watched, due, number: 0, log, changed: false, counters }
    }

    /// A tunnel is to be watched like this from now on, or not at all. Counts
    /// and verdict begin anew, unless nothing changed.
    pub fn watch(
        &mut self,
        world: &mut impl World,
        now: Duration,
        tunnel: IfId,
        watch: Option<Watch>,
    ) {
        if self.watched.get(&tunnel).map(|watched| &watched.watch) == watch.as_ref() {
            return;
        }
        for what in ALL {
            self.schedule(tunnel, what, None);
        }
        if self.watched.remove(&tunnel).is_some_and(|old| old.dead) {
            world.set_dead(tunnel, false);
            self.changed = true;
        }
        let Some(watch) = watch else { return };
        let watched = Watched::new(watch, now);
        let first = [watched.keepalive.is_some(), watched.probe.is_some(), false];
        self.watched.insert(tunnel, watched);
        for (what, asked) in ALL.into_iter().zip(first) {
            self.schedule(tunnel, what, asked.then_some(now));
        }
    }

    /// Does what is due. True if routes changed by it, or since the last call.
    #[must_use]
    pub fn tick(&mut self, world: &mut impl World, now: Duration) -> bool {
        for _ in 0..SENT_PER_TICK {
            match self.due.first().copied() {
                Some((at, tunnel, what)) if at <= now => self.run(world, now, tunnel, what),
                _ => break,
            }
        }
        std::mem::take(&mut self.changed)
    }

    /// A packet that may be one of ours, come back by a tunnel. False, and not
    /// counted, if it is an echo reply that somebody else may wait for.
    pub fn on_returned(
        &mut self,
        world: &mut impl World,
        now: Duration,
        tunnel: IfId,
        bytes: &[u8],
    ) -> bool {
        let keepalive = bytes.first().is_some_and(|first| first >> 4 == 4)
            && bytes.get(9) == Some(&IPPROTO_GRE);
        let heard = match keepalive {
            true => self.keepalive_heard(now, tunnel, bytes),
            false => self.probe_heard(now, tunnel, bytes),
        };
        if !heard && !keepalive {
            return false;
        }
        self.counters.punts_taken.add(1);
        if heard {
            self.counters.consumed.add(1);
            self.settle(world, now, tunnel);
        } else {
            self.counters.drop_packet(ControlDrop::KeepaliveUnexpected);
        }
        true
    }

    fn keepalive_heard(&mut self, now: Duration, tunnel: IfId, bytes: &[u8]) -> bool {
        let Some(number) = packets::returned_keepalive(bytes) else { return false };
        let check = self.watched.get_mut(&tunnel).and_then(|w| w.keepalive.as_mut());
        check.is_some_and(|(check, _)| check.heard(number, now))
    }

    fn probe_heard(&mut self, now: Duration, tunnel: IfId, bytes: &[u8]) -> bool {
        let Ok(Message::Echo(reply)) = Message::read(bytes) else { return false };
        let Some(probe) = self.watched.get_mut(&tunnel).and_then(|w| w.probe.as_mut()) else {
            return false;
        };
        let ours = reply.echo.reply
            && reply.echo.ident == PROBE_IDENT
            && (reply.from, reply.to) == (probe.to, probe.from);
        let number = reply.echo.sequence;
        if ours && probe.check.awaits(number) && probe.check.heard(number, now) {
            let begin = probe.sizes && probe.check.state == State::Up;
            if begin && self.due_at(tunnel, What::Size).is_none() {
                self.schedule(tunnel, What::Size, Some(now));
            }
            return true;
        }
        let sized = ours && probe.search.heard(number);
        if sized {
            self.schedule(tunnel, What::Size, Some(now));
        }
        sized
    }

    /// How a tunnel is, for who asks; `None` if it is not watched.
    pub fn view(&self, tunnel: IfId, now: Duration) -> Option<LivenessView> {
        let watched = self.watched.get(&tunnel)?;
        Some(LivenessView {
            state: watched.state().name().to_owned(),
            seconds: now.saturating_sub(watched.since).as_secs(),
            transitions: watched.transitions,
            keepalive: watched.keepalive.as_ref().map(|(check, _)| check.view()),
            probe: watched.probe.as_ref().map(|probe| ProbeView {
                to: probe.to,
                check: probe.check.view(),
                largest: probe.search.largest,
            }),
        })
    }

    fn due_at(&self, tunnel: IfId, what: What) -> Option<Duration> {
        self.watched.get(&tunnel)?.due[what as usize]
    }

    /// The one timer of this sort that a tunnel has.
    fn schedule(&mut self, tunnel: IfId, what: What, at: Option<Duration>) {
        let Some(watched) = self.watched.get_mut(&tunnel) else { return };
        let slot = &mut watched.due[what as usize];
        if let Some(old) = std::mem::replace(slot, at) {
            self.due.remove(&(old, tunnel, what));
        }
        self.due.extend(at.map(|at| (at, tunnel, what)));
    }

    fn run(&mut self, world: &mut impl World, now: Duration, tunnel: IfId, what: What) {
        let next = match what {
            What::Keepalive => self.send_keepalive(world, now, tunnel),
            What::Probe => self.send_probe(world, now, tunnel),
            What::Size => self.send_size(world, tunnel),
        };
        self.schedule(tunnel, what, next.map(|wait| now + wait));
        self.settle(world, now, tunnel);
    }

    fn send_keepalive(
        &mut self,
        world: &mut impl World,
        now: Duration,
        tunnel: IfId,
    ) -> Option<Duration> {
        let number = self.next_number();
        let (check, ends) = self.watched.get_mut(&tunnel)?.keepalive.as_mut()?;
        let way = world.tunnel_way(tunnel, Family::V4);
        let packet = packets::keepalive(*ends, number);
        Some(ask(world, &self.counters, now, tunnel, way, check, number, &packet))
    }

    fn send_probe(
        &mut self,
        world: &mut impl World,
        now: Duration,
        tunnel: IfId,
    ) -> Option<Duration> {
        let number = self.next_number();
        let Probe { check, from, to, .. } = self.watched.get_mut(&tunnel)?.probe.as_mut()?;
        let way = world.tunnel_way(tunnel, Family::of(*to));
        let packet = packets::probe(*from, *to, number, packets::probe_len(*to))?;
        Some(ask(world, &self.counters, now, tunnel, way, check, number, &packet))
    }

    fn send_size(&mut self, world: &mut impl World, tunnel: IfId) -> Option<Duration> {
        let number = self.next_number();
        let Probe { check, from, to, search, .. } =
            self.watched.get_mut(&tunnel)?.probe.as_mut()?;
        let way = world.tunnel_way(tunnel, Family::of(*to)).filter(|way| way.answers);
        let Some(way) = way.filter(|_| check.state == State::Up) else {
            // Begun anew when the far end is heard again.
            search.stop();
            return None;
        };
        search.judge();
        let Some(size) = search.next(packets::probe_len(*to), way.mtu) else {
            return Some(SIZE_EVERY);
        };
        let packet = packets::probe(*from, *to, number, size)?;
        // One that no worker takes is lost like any other.
        send(world, &self.counters, tunnel, way, &packet);
        search.sent(number, size);
        Some(SIZE_TIMEOUT)
    }

    fn next_number(&mut self) -> u16 {
        self.number = self.number.wrapping_add(1);
        self.number
    }

    /// What a tunnel's checks come to, told to the world where it is news.
    fn settle(&mut self, world: &mut impl World, now: Duration, tunnel: IfId) {
        let Some(watched) = self.watched.get_mut(&tunnel) else { return };
        let dead = watched.state() == State::Down;
        if dead == watched.dead {
            return;
        }
        watched.dead = dead;
        watched.transitions += 1;
        watched.since = now;
        world.set_dead(tunnel, dead);
        self.changed = true;
        if !self.log.take(now) {
            return;
        }
        let name = &watched.watch.name;
        if dead {
            tracing::warn!(tunnel = %name, "the far end of {name} does not answer: its routes are withdrawn");
        } else {
            tracing::info!(tunnel = %name, "the far end of {name} answers again: its routes are back");
        }
    }
}

/// Hands a packet to a worker; false, and counted, if none takes it.
fn send(
    world: &mut impl World,
    counters: &ControlCounters,
    tunnel: IfId,
    way: TunnelWay,
    packet: &[u8],
) -> bool {
    counters.originated.add(1);
    inject(world, counters, InjectKind::Into { tunnel, next_hop: way.next_hop }, packet)
}

/// Ends one round of a check and begins the next; gives how long that takes.
#[allow(clippy::too_many_arguments)] // the engine, taken apart so that a check of it can be lent
fn ask(
    world: &mut impl World,
    counters: &ControlCounters,
    now: Duration,
    tunnel: IfId,
    way: Option<TunnelWay>,
    check: &mut Check,
    number: u16,
    packet: &[u8],
) -> Duration {
    let interval = check.timing.interval.duration();
    let Some(way) = way else {
        check.rest();
        return interval;
    };
    check.judge();
    if !way.answers {
        check.missed();
    } else if send(world, counters, tunnel, way, packet) {
        check.sent(number, now);
    } else {
        return interval.min(AGAIN);
    }
    interval
}

#[cfg(test)]
mod tests;
