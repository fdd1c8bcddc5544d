//! Reassembly of datagrams addressed to us (RFC 791 §3.2, RFC 815; RFC 8200
//! §4.5): pings in pieces, and tunnel packets whose outer datagram was cut on the way.
//!
//! ```text
//!   fragments ──▶ pieces by offset, no two overlapping ──▶ no hole left? ──▶ inject (Receive)
//!                   │ 30 s                │ overlap, contradiction, too large
//!                   ▼                     ▼
//!             time exceeded (11/1)   refused: nothing of this datagram is taken
//!                                    until its time is over
//! ```
//!
//! Fragments belong together by source, destination, identification and, in
//! IPv4, protocol, and by the interface they arrived on: what comes out of a
//! tunnel is never completed from outside of it. Memory, datagrams and pieces
//! are bounded, and one source cannot have more than its share of datagrams.
//! Overlaps make the whole datagram suspect (RFC 1858, RFC 5722); an exact
//! duplicate does not. An IPv6 datagram in one piece ("atomic") is none of the
//! others' business (RFC 6946).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use self::datagram::{Added, Datagram, Fragment};
use super::icmp::TTL;
use super::pieces::cut6;
use super::tally::{ControlDrop, inject};
use super::topology::World;
use crate::exchange::InjectKind;
use crate::ids::IfId;
use crate::model::spec::IcmpSpec;
use crate::stats::counters::ControlCounters;
use crate::wire::ipv6::martian::is_link_local;
use crate::wire::ipv6::{IPV6_MIN_MTU, Ipv6Header, chain, echo};

mod datagram;

/// Times and bounds.
#[derive(Clone, Copy, Debug)]
pub struct ReassemblyConfig {
    /// How long the first piece waits for the last.
    pub timeout: Duration,
    /// Most datagrams under way.
    pub datagrams: usize,
    /// Most datagrams under way from one source address.
    pub per_source: usize,
    /// Most pieces of one datagram.
    pub pieces: usize,
    /// Most bytes held, what it takes to hold them included.
    pub bytes: usize,
    /// Largest datagram, header included: what a worker's buffer takes. At
    /// least 576 (V4-03).
    pub room: usize,
}

impl ReassemblyConfig {
    /// The usual bounds, for datagrams of up to `room` bytes.
    #[must_use]
    pub fn with_room(room: usize) -> ReassemblyConfig {
        ReassemblyConfig {
            timeout: Duration::from_secs(30),
            datagrams: 1024,
            per_source: 128,
            pieces: 256,
            bytes: 8 << 20,
            room,
        }
    }
}

/// A datagram that was not complete in time and whose first fragment is here:
/// its sender is owed an ICMP time exceeded, code 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    /// Where the fragments arrived.
    pub in_if: IfId,
    /// The first fragment as received.
    pub first: Box<[u8]>,
}

/// What fragments of one datagram have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    in_if: IfId,
    source: IpAddr,
    destination: IpAddr,
    id: u32,
    /// 0 in IPv6.
    protocol: u8,
}

/// Most datagrams that expire in one [`Reassembly::tick`].
const PER_TICK: usize = 256;

/// The reassembly engine.
#[derive(Debug)]
pub struct Reassembly {
    config: ReassemblyConfig,
    counters: Arc<ControlCounters>,
    datagrams: HashMap<Key, Datagram>,
    /// By deadline, which is also by age.
    deadlines: BTreeSet<(Duration, Key)>,
    /// The same, of each source.
    sources: BTreeMap<IpAddr, BTreeSet<(Duration, Key)>>,
    bytes: usize,
    /// Echo requests are answered.
    echo: bool,
    /// Identification of the fragments of the next reply.
    next_id: u32,
}

impl Reassembly {
    /// An empty one.
    pub fn new(config: ReassemblyConfig, counters: Arc<ControlCounters>) -> Reassembly {
        Reassembly {
            config,
            counters,
            datagrams: HashMap::new(),
            deadlines: BTreeSet::new(),
            sources: BTreeMap::new(),
            bytes: 0,
            echo: true,
            // Pings count up from 0x8000.
            next_id: 1 << 31,
        }
    }

    /// Follows `Event::Icmp`.
    pub fn configure(&mut self, spec: &IcmpSpec) {
        self.echo = spec.echo;
    }

    /// Takes a fragment addressed to us. The one that completes its datagram
    /// sends it back to the worker.
    pub fn on_fragment(
        &mut self,
        world: &mut impl World,
        now: Duration,
        in_if: IfId,
        bytes: &[u8],
    ) {
        self.counters.punts_taken.add(1);
        let Some((fragment, key)) = Fragment::read(bytes, in_if) else {
            return self.counters.drop_packet(ControlDrop::FragmentInvalid);
        };
        if fragment.is_whole() {
            return self.pass(world, in_if, fragment);
        }
        if !self.datagrams.contains_key(&key) {
            self.open(now, key);
        }
        let cost = fragment.cost();
        self.make_room(key, cost);
        let fits = self.bytes + cost <= self.config.bytes;
        let Some(datagram) = self.datagrams.get_mut(&key).filter(|_| fits) else {
            return self.counters.drop_packet(ControlDrop::FragmentLimits);
        };
        match datagram.add(&self.config, fragment) {
            Added::Dropped(reason) => self.counters.drop_packet(reason),
            Added::Refused(reason) => {
                let freed = datagram.refuse(reason);
                self.counters.drop_packet(reason);
                self.let_go(freed, reason);
            }
            Added::Kept { complete } => {
                self.bytes += cost;
                self.counters.hold();
                if complete {
                    self.complete(world, key);
                }
            }
        }
    }

    /// Sends back a datagram that came in one piece, without its fragment header.
    fn pass(&mut self, world: &mut impl World, in_if: IfId, fragment: Fragment<'_>) {
        let mut alone = Datagram::new(Duration::ZERO);
        let assembled = match alone.add(&self.config, fragment) {
            Added::Kept { .. } => alone.assemble(self.config.room),
            Added::Dropped(reason) | Added::Refused(reason) => Err(reason),
        };
        match assembled {
            Ok(bytes) => self.deliver(world, in_if, &bytes),
            Err(reason) => self.counters.drop_packet(reason),
        }
    }

    /// Sends back what is whole, to meet decap or ICMP; or answers it.
    fn deliver(&mut self, world: &mut impl World, in_if: IfId, bytes: &[u8]) {
        let Some(pieces) = self.large_echo(bytes) else {
            inject(world, &self.counters, InjectKind::Receive { in_if }, bytes);
            return;
        };
        self.counters.consumed.add(1);
        self.counters.originated.add(1);
        self.counters.fragments_created.add(pieces.len() as u64 - 1);
        for piece in pieces {
            inject(world, &self.counters, InjectKind::Originate, &piece);
        }
    }

    /// The reply to an IPv6 echo request that some link on the way back may not
    /// take whole: cut here, since the path cuts no IPv6 but tunnels' own.
    fn large_echo(&mut self, request: &[u8]) -> Option<Vec<Vec<u8>>> {
        if !self.echo || request.len() <= IPV6_MIN_MTU || request[0] >> 4 != 6 {
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
        self.next_id = self.next_id.wrapping_add(1);
        cut6(&reply, self.next_id).ok()
    }

    /// Gives up what is late, a bounded amount. Each datagram returned is owed
    /// an ICMP error.
    #[must_use]
    pub fn tick(&mut self, now: Duration) -> Vec<Expired> {
        let mut expired = Vec::new();
        for _ in 0..PER_TICK {
            let due = self.deadlines.first().filter(|(at, _)| *at <= now);
            let Some(key) = due.map(|(_, key)| *key) else { break };
            if let Some(first) = self.close(key, ControlDrop::FragmentTimeout) {
                expired.push(Expired { in_if: key.in_if, first });
            }
        }
        expired
    }

    /// When [`Reassembly::tick`] next has something to do; may be past.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Datagrams under way.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.datagrams.len()
    }

    /// Begins a datagram. Where there are too many, of its source or
    /// altogether, the newest displaces the oldest: incomplete ones are left
    /// over whenever fragments are lost, and must not keep others out.
    fn open(&mut self, now: Duration, key: Key) {
        let full = |set: &BTreeSet<(Duration, Key)>, most: usize| {
            set.first().filter(|_| set.len() >= most.max(1)).map(|(_, oldest)| *oldest)
        };
        let of_source = self.sources.get(&key.source);
        if let Some(oldest) = of_source.and_then(|set| full(set, self.config.per_source)) {
            self.close(oldest, ControlDrop::FragmentLimits);
        }
        if let Some(oldest) = full(&self.deadlines, self.config.datagrams) {
            self.close(oldest, ControlDrop::FragmentLimits);
        }
        let deadline = now + self.config.timeout;
        self.datagrams.insert(key, Datagram::new(deadline));
        self.deadlines.insert((deadline, key));
        self.sources.entry(key.source).or_default().insert((deadline, key));
    }

    /// Gives up the oldest datagrams, but not `keep`, until `cost` bytes fit.
    fn make_room(&mut self, keep: Key, cost: usize) {
        while self.bytes + cost > self.config.bytes {
            let mut others = self.deadlines.iter().map(|(_, key)| *key);
            let Some(oldest) = others.find(|key| *key != keep) else { break };
            self.close(oldest, ControlDrop::FragmentLimits);
        }
    }

    fn complete(&mut self, world: &mut impl World, key: Key) {
        let Some(datagram) = self.remove(key) else { return };
        let held = datagram.held();
        let assembled = datagram.assemble(self.config.room);
        match assembled {
            Ok(bytes) => {
                self.bytes -= held.bytes;
                self.counters.release(held.packets);
                self.counters.merged.add(held.packets as u64 - 1);
                self.deliver(world, key.in_if, &bytes);
            }
            Err(reason) => self.let_go(held, reason),
        }
    }

    /// Drops a datagram and all its pieces; returns the first, if it is there.
    fn close(&mut self, key: Key, reason: ControlDrop) -> Option<Box<[u8]>> {
        let datagram = self.remove(key)?;
        self.let_go(datagram.held(), reason);
        datagram.into_first()
    }

    fn remove(&mut self, key: Key) -> Option<Datagram> {
        let datagram = self.datagrams.remove(&key)?;
        let timed = (datagram.deadline(), key);
        self.deadlines.remove(&timed);
        if let Some(of_source) = self.sources.get_mut(&key.source) {
            of_source.remove(&timed);
            if of_source.is_empty() {
                self.sources.remove(&key.source);
            }
        }
        Some(datagram)
    }

    /// Counts pieces that were held as dropped.
    fn let_go(&mut self, pieces: datagram::Holds, reason: ControlDrop) {
        self.bytes -= pieces.bytes;
        self.counters.release(pieces.packets);
        for _ in 0..pieces.packets {
            self.counters.drop_packet(reason);
        }
    }
}

#[cfg(test)]
mod tests;
