//! The datagrams under way of one worker: a fixed number, made once.
//!
//! ```text
//!   bucket ─▶ datagram ─▶ datagram             by identity
//!   age      oldest ⇄ … ⇄ newest               of each family: the oldest is late first
//!   source   oldest ⇄ … ⇄ newest               of one source: its share
//!
//!   memory of one   |   headers ▶|◀ payload …      |
//!                   0         HEADERS         HEADERS + room
//! ```
//!
//! Payload is copied to its place as it comes, the first piece's headers right in
//! front of it: so the whole is there when the last piece is, and no buffer of
//! the pool is ever kept.

use arrayvec::ArrayVec;

use crate::datapath::drop::DropReason;
use crate::flow::FlowHash;
use crate::ids::{IfId, PortId};
use crate::stats::counters::WorkerCounters;
use crate::wire::ipv4::{IPV4_LEN, IPV4_MAX_TOTAL};
use crate::wire::ipv6::IPV6_LEN;
use crate::wire::reassembly::{
    Added, EcnSeen, Identity, MOST_PIECES, Parts, Piece, finish, without_fragment_header,
};

/// Most datagrams under way.
const DATAGRAMS: usize = 1024;
/// And the least, where a datagram may be very large.
const FEWEST: usize = 64;
/// Bytes that all of them may take.
const MEMORY: usize = 16 << 20;
/// Most datagrams under way from one source. Sources are told apart by
/// [`SOURCES`] places of a seeded hash: two at one place share it.
pub(super) const PER_SOURCE: usize = 128;
const SOURCES: usize = 1 << 12;
/// Places to look for a datagram at.
const BUCKETS: usize = 1 << 11;
/// Room for the headers of a first piece.
const HEADERS: usize = 256;

/// No datagram's number.
const NONE: u16 = u16::MAX;

/// The links of a datagram.
const AGE: usize = 0;
const SOURCE: usize = 1;

/// What belongs together: what comes out of a tunnel is never completed from
/// outside of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Key {
    pub in_if: IfId,
    pub of: Identity,
}

impl Key {
    /// The same for all fragments, wherever they arrive.
    pub fn hash(&self, hash: &FlowHash) -> u32 {
        let Identity { source, destination, id, protocol } = self.of;
        hash.ends6(source, destination, protocol as u8, id)
    }

    fn family(&self) -> usize {
        usize::from(self.of.is_six())
    }
}

/// How a fragment came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub now: u64,
    pub origin: PortId,
    /// In a link-layer broadcast or multicast.
    pub group: bool,
}

/// What became of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It waits for others.
    Held,
    /// It is dropped.
    Dropped(DropReason),
    /// It was the last one missing of this datagram.
    Complete(usize),
}

#[derive(Clone, Copy, Debug)]
struct Link {
    previous: u16,
    next: u16,
}

#[derive(Clone, Copy, Debug)]
struct List {
    first: u16,
    last: u16,
    len: u16,
}

const EMPTY: List = List { first: NONE, last: NONE, len: 0 };
const LOOSE: Link = Link { previous: NONE, next: NONE };

/// A datagram in the making.
#[derive(Debug)]
struct Datagram {
    key: Key,
    hash: u32,
    source: u16,
    /// The next one in its bucket, or among those that are free.
    chain: u16,
    links: [Link; 2],
    opened: u64,
    parts: Parts,
    /// Whose the pieces held are.
    origins: ArrayVec<PortId, MOST_PIECES>,
    ecn: EcnSeen,
    first: Option<First>,
    /// Why it is refused, if it is.
    refused: Option<DropReason>,
}

/// The first piece, whose bytes are in memory as received.
#[derive(Clone, Copy, Debug)]
pub(super) struct First {
    headers: usize,
    payload: usize,
    ecn: u8,
    pub group: bool,
}

impl Datagram {
    fn new(chain: u16) -> Datagram {
        Datagram {
            key: Key::default(),
            hash: 0,
            source: 0,
            chain,
            links: [LOOSE; 2],
            opened: 0,
            parts: Parts::default(),
            origins: ArrayVec::new(),
            ecn: EcnSeen::default(),
            first: None,
            refused: None,
        }
    }
}

/// All datagrams under way.
pub(super) struct Table {
    datagrams: Box<[Datagram]>,
    memory: Box<[u8]>,
    /// Largest datagram: what a buffer takes.
    room: usize,
    free: u16,
    buckets: Box<[u16]>,
    ages: [List; 2],
    sources: Box<[List]>,
    /// Clock ticks that a datagram of each family may take.
    timeouts: [u64; 2],
}

impl Table {
    /// An empty one, for datagrams of up to `room` bytes.
    pub fn new(room: usize, timeouts: [u64; 2]) -> Table {
        let number = (MEMORY / (HEADERS + room)).clamp(FEWEST, DATAGRAMS);
        let next = |n: usize| if n + 1 == number { NONE } else { n as u16 + 1 };
        Table {
            datagrams: (0..number).map(|n| Datagram::new(next(n))).collect(),
            memory: vec![0; number * (HEADERS + room)].into(),
            room,
            free: 0,
            buckets: vec![NONE; BUCKETS].into(),
            ages: [EMPTY; 2],
            sources: vec![EMPTY; SOURCES].into(),
            timeouts,
        }
    }

    /// Datagrams under way.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.ages.iter().map(|list| usize::from(list.len)).sum()
    }

    /// Takes a fragment. Those of other datagrams that have to give way, and
    /// those of its own if that is refused, are counted here as dropped.
    pub fn add(
        &mut self,
        counters: &WorkerCounters,
        hash: &FlowHash,
        key: Key,
        piece: &Piece<'_>,
        arrival: Arrival,
    ) -> Outcome {
        let number = key.hash(hash);
        let at = match self.find(&key, number) {
            Some(at) => at,
            None => self.open(counters, hash, key, number, arrival.now),
        };
        if let Some(reason) = self.datagrams[at].refused {
            return Outcome::Dropped(reason);
        }
        match self.keep(at, piece, arrival) {
            Ok(true) => Outcome::Complete(at),
            Ok(false) => Outcome::Held,
            Err(DropReason::FragmentDuplicate) => Outcome::Dropped(DropReason::FragmentDuplicate),
            Err(reason) => {
                self.let_go(counters, at, reason);
                let datagram = &mut self.datagrams[at];
                datagram.refused = Some(reason);
                datagram.first = None;
                Outcome::Dropped(reason)
            }
        }
    }

    /// Puts a piece where it belongs; true if nothing is missing any more, and
    /// then it is not among those held.
    fn keep(&mut self, at: usize, piece: &Piece<'_>, arrival: Arrival) -> Result<bool, DropReason> {
        let least = if piece.of.is_six() { IPV6_LEN } else { IPV4_LEN };
        if least + piece.end() > self.room.min(IPV4_MAX_TOTAL) {
            return Err(DropReason::FragmentTooLarge);
        }
        let begins = piece.start == 0;
        if begins && piece.headers.len() > HEADERS {
            return Err(DropReason::FragmentLimits);
        }
        let from = at * (HEADERS + self.room) + HEADERS;
        let place = from + piece.start..from + piece.end();
        let datagram = &mut self.datagrams[at];
        let same = || self.memory[place.clone()] == *piece.payload;
        let complete = match datagram.parts.add(piece.start, piece.end(), piece.more, same) {
            Added::New { complete } => complete,
            Added::Duplicate => return Err(DropReason::FragmentDuplicate),
            Added::Overlap => return Err(DropReason::FragmentOverlap),
            Added::TooMany => return Err(DropReason::FragmentLimits),
        };
        self.memory[place].copy_from_slice(piece.payload);
        datagram.ecn.add(piece.ecn);
        if begins {
            let headers = piece.headers.len();
            self.memory[from - headers..from].copy_from_slice(piece.headers);
            let (payload, ecn, group) = (piece.payload.len(), piece.ecn, arrival.group);
            datagram.first = Some(First { headers, payload, ecn, group });
        }
        if !complete {
            // As many places as there are for parts.
            let _ = datagram.origins.try_push(arrival.origin);
        }
        Ok(complete)
    }

    /// The whole of a datagram that is complete.
    pub fn assemble(&mut self, at: usize) -> Result<&[u8], DropReason> {
        let datagram = &self.datagrams[at];
        let first = datagram.first.ok_or(DropReason::FragmentInvalid)?;
        let ecn = datagram.ecn.whole(first.ecn).ok_or(DropReason::FragmentEcn)?;
        let payload = at * (HEADERS + self.room) + HEADERS;
        let (mut from, to) = (payload - first.headers, payload + datagram.parts.have());
        if datagram.key.of.is_six() {
            let gone = without_fragment_header(&mut self.memory[from..payload]);
            from += gone.ok_or(DropReason::FragmentInvalid)?;
        }
        let whole = &mut self.memory[from..to];
        if whole.len() > self.room || !finish(whole, ecn) {
            return Err(DropReason::FragmentTooLarge);
        }
        Ok(whole)
    }

    /// Forgets a datagram whose whole goes on as one packet, the one that
    /// completed it.
    pub fn merged(&mut self, counters: &WorkerCounters, at: usize) {
        for origin in self.datagrams[at].origins.drain(..) {
            let ledger = counters.ledger(origin);
            ledger.held.sub(1);
            ledger.merged.add(1);
        }
        self.forget(at);
    }

    /// Drops a datagram and all its pieces.
    pub fn close(&mut self, counters: &WorkerCounters, at: usize, reason: DropReason) {
        self.let_go(counters, at, reason);
        self.forget(at);
    }

    /// A datagram whose time is over, if there is one.
    pub fn late(&self, now: u64) -> Option<usize> {
        let late = |(list, timeout): (&List, &u64)| {
            let oldest = self.datagrams.get(usize::from(list.first))?;
            let over = now.saturating_sub(oldest.opened) >= *timeout;
            over.then_some(usize::from(list.first))
        };
        self.ages.iter().zip(&self.timeouts).find_map(late)
    }

    /// The oldest datagram.
    pub fn oldest(&self) -> Option<usize> {
        let first = self.ages.iter().map(|list| usize::from(list.first));
        let there = first.filter(|at| *at < self.datagrams.len());
        there.min_by_key(|at| self.datagrams[*at].opened)
    }

    /// The first fragment as received, if it is here, and where it arrived.
    pub fn first(&self, at: usize) -> Option<(IfId, First, &[u8])> {
        let datagram = &self.datagrams[at];
        let first = datagram.first?;
        let payload = at * (HEADERS + self.room) + HEADERS;
        let bytes = &self.memory[payload - first.headers..payload + first.payload];
        Some((datagram.key.in_if, first, bytes))
    }

    fn find(&self, key: &Key, hash: u32) -> Option<usize> {
        let mut at = usize::from(self.buckets[hash as usize % BUCKETS]);
        while let Some(datagram) = self.datagrams.get(at) {
            if datagram.hash == hash && datagram.key == *key {
                return Some(at);
            }
            at = usize::from(datagram.chain);
        }
        None
    }

    /// Begins a datagram. Where there are too many, of its source or altogether,
    /// the newest displaces the oldest: incomplete ones are left over whenever
    /// fragments are lost, and must not keep others out.
    fn open(
        &mut self,
        counters: &WorkerCounters,
        hash: &FlowHash,
        key: Key,
        number: u32,
        now: u64,
    ) -> usize {
        let source = hash.ends6(key.of.source, 0, 0, 0) as usize % SOURCES;
        let of_source = self.sources[source];
        if usize::from(of_source.len) >= PER_SOURCE {
            self.close(counters, of_source.first.into(), DropReason::FragmentLimits);
        }
        if self.free == NONE
            && let Some(oldest) = self.oldest()
        {
            self.close(counters, oldest, DropReason::FragmentLimits);
        }
        let at = usize::from(self.free);
        let bucket = &mut self.buckets[number as usize % BUCKETS];
        let datagram = &mut self.datagrams[at];
        self.free = datagram.chain;
        datagram.chain = std::mem::replace(bucket, at as u16);
        (datagram.key, datagram.hash, datagram.source) = (key, number, source as u16);
        datagram.opened = now;
        append(&mut self.ages[key.family()], &mut self.datagrams, AGE, at);
        append(&mut self.sources[source], &mut self.datagrams, SOURCE, at);
        at
    }

    /// Counts the pieces held as dropped.
    fn let_go(&mut self, counters: &WorkerCounters, at: usize, reason: DropReason) {
        let datagram = &mut self.datagrams[at];
        let interface = counters.interface(datagram.key.in_if);
        for origin in datagram.origins.drain(..) {
            let ledger = counters.ledger(origin);
            ledger.held.sub(1);
            ledger.dropped[reason.index()].add(1);
            interface.into_iter().for_each(|interface| interface.rx_dropped.add(1));
        }
    }

    /// Makes a datagram's place free.
    fn forget(&mut self, at: usize) {
        let Datagram { key, hash, source, .. } = self.datagrams[at];
        unlink(&mut self.ages[key.family()], &mut self.datagrams, AGE, at);
        unlink(&mut self.sources[usize::from(source)], &mut self.datagrams, SOURCE, at);
        let next = self.datagrams[at].chain;
        let bucket = &mut self.buckets[hash as usize % BUCKETS];
        let mut before = usize::from(*bucket);
        if before == at {
            *bucket = next;
        } else {
            while usize::from(self.datagrams[before].chain) != at {
                before = self.datagrams[before].chain.into();
            }
            self.datagrams[before].chain = next;
        }
        let datagram = &mut self.datagrams[at];
        datagram.parts.clear();
        datagram.origins.clear();
        datagram.ecn = EcnSeen::default();
        (datagram.first, datagram.refused) = (None, None);
        datagram.chain = std::mem::replace(&mut self.free, at as u16);
    }
}

/// Puts a datagram at the end of a list.
fn append(list: &mut List, datagrams: &mut [Datagram], which: usize, at: usize) {
    let number = at as u16;
    datagrams[at].links[which] = Link { previous: list.last, next: NONE };
    match datagrams.get_mut(usize::from(list.last)) {
        Some(last) => last.links[which].next = number,
        None => list.first = number,
    }
    list.last = number;
    list.len += 1;
}

/// Takes a datagram out of a list.
fn unlink(list: &mut List, datagrams: &mut [Datagram], which: usize, at: usize) {
    let Link { previous, next } = std::mem::replace(&mut datagrams[at].links[which], LOOSE);
    match datagrams.get_mut(usize::from(previous)) {
        Some(before) => before.links[which].next = next,
        None => list.first = next,
    }
    match datagrams.get_mut(usize::from(next)) {
        Some(behind) => behind.links[which].previous = previous,
        None => list.last = previous,
    }
    list.len -= 1;
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
