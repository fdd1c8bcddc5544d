//! Flows spread over workers in software, for ports that cannot (S2).
//!
//! A tunnel is one pair of addresses to a device's RSS, and a virtual device
//! has no RSS at all: all its packets come to one worker. That worker looks at
//! what is inside, keeps some flows and hands the others on.
//!
//! ```text
//!   port ─ rx burst ─▶ divide ─┬─ own flows ──────────────────▶ path      giver
//!                              ├─ ring (one giver, one taker) ─▶ path      taker
//!                              └─ ring ───────────────────────▶ path      taker
//! ```
//!
//! **Where.** Right at receive, before anything is known of a packet: the giver
//! only reads its first cache line (for plain GRE the inner ports are its last
//! bytes), and the taker does all the work, validation and decapsulation
//! included. After decapsulation the giver would have done half of it, and
//! what it knows of a packet would have to travel with it.
//!
//! **Order.** A flow (`crate::flow`) always goes to the same worker by the same
//! ring, so it stays in order. Fragments go by addresses alone. What has no
//! flow (ARP, say) stays with the giver, and so does a tunnel with sequence
//! numbers as a whole: its packets are one flow, or they would overtake each
//! other (RFC 2890). That is on receipt: what several workers send *into* a
//! numbered tunnel may leave in another order than it was numbered (GR-11), as
//! ever; do not spread ports that lead into one. Tunnels in UDP are not looked
//! into: their source port follows the flow inside (RFC 8086 §3.2.1), or is the
//! same for all of a tunnel that must not be split.
//!
//! **Cost.** Arrays move, not packets: a burst is one store with release order
//! and one acquire load on either side, mbufs are not touched, and the pool is
//! one for all. A full ring drops (`spread_queue_full`); nobody waits.
//!
//! **Shares.** A giver has to receive for all, so it keeps half as many flows
//! for itself as it gives each other worker.
//!
//! **Counting.** The giver counts what the port delivered as received and what
//! it gave away as handed; the taker counts it as taken. At rest both are equal.
//!
//! **Stop.** A worker that ends drops its rings' giving ends, then takes until
//! all those who give to it have done the same: no packet is left behind.

use std::sync::atomic::{Ordering, fence};

use rtrb::{Consumer, Producer, RingBuffer};

use crate::buf::{BURST, Burst, PacketBuf, PacketIo};
use crate::datapath::drop::DropReason;
use crate::flow::FlowHash;
use crate::ids::PortId;
use crate::stats::counters::Ledger;
use crate::wire::gre::GRE_LEN;
use crate::wire::ipv6::{IPV6_LEN, NEXT_HEADER_OFFSET};
use crate::wire::{
    ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_VLAN, IPPROTO_DESTINATION_OPTIONS, IPPROTO_GRE,
    IPPROTO_IPIP, IPPROTO_IPV6,
};

/// Packets a ring holds: at ten million a second, what arrives while the taker
/// is away for 200 µs.
pub const RING: usize = 2048;

/// Most workers that can spread.
pub const MOST_WORKERS: usize = 64;

/// Entries that flows are dealt by: the upper eight bits of their hash. (ECMP
/// uses the lower ones, so that a worker's flows use all paths.)
const DEAL: usize = 256;

/// A packet on its way, and the port it came in by.
struct Parcel<B>(B, PortId);

/// One worker's end: where it gives to, and where it takes from.
pub struct SpreadEnd<B> {
    hash: FlowHash,
    /// Outlet by flow; [`KEEP`]: its own.
    deal: [u8; DEAL],
    outlets: Vec<Outlet<B>>,
    inlets: Vec<Consumer<Parcel<B>>>,
}

/// In [`SpreadEnd::deal`]: stays here.
const KEEP: u8 = u8::MAX;

struct Outlet<B> {
    ring: Producer<Parcel<B>>,
    /// This burst's packets for it.
    waiting: Burst<B>,
}

/// The ends of all workers, each connected to each other; none for a single
/// one. `ring` is how many packets each ring holds.
pub fn mesh<B>(workers: usize, ring: usize, hash: FlowHash) -> Vec<SpreadEnd<B>> {
    if !(2..=MOST_WORKERS).contains(&workers) {
        return Vec::new();
    }
    let end = |_| SpreadEnd {
        hash,
        deal: deal(workers - 1),
        outlets: Vec::with_capacity(workers - 1),
        inlets: Vec::with_capacity(workers - 1),
    };
    let mut ends: Vec<SpreadEnd<B>> = (0..workers).map(end).collect();
    for giver in 0..workers {
        for taker in (0..workers).filter(|taker| *taker != giver) {
            let (give, take) = RingBuffer::new(ring.max(BURST));
            ends[giver].outlets.push(Outlet { ring: give, waiting: Burst::new() });
            ends[taker].inlets.push(take);
        }
    }
    ends
}

/// Deals flows: two parts to each other worker, one stays.
fn deal(others: usize) -> [u8; DEAL] {
    let parts = 2 * others + 1;
    std::array::from_fn(|entry| match entry * parts / DEAL {
        0 => KEEP,
        part => ((part - 1) / 2) as u8,
    })
}

impl<B: PacketBuf> SpreadEnd<B> {
    /// Takes the packets of other workers' flows out of a burst just received
    /// on `port` and hands them on; what stays keeps its order.
    pub fn divide<I: PacketIo<Buf = B>>(
        &mut self,
        io: &mut I,
        burst: &mut Burst<B>,
        port: PortId,
        ledger: &Ledger,
    ) {
        const AHEAD: usize = 8;
        burst.iter().take(AHEAD).for_each(PacketBuf::prefetch);
        let (mut given, mut bytes) = (0, 0);
        let mut whose = [KEEP; BURST];
        for (at, buf) in burst.iter().enumerate() {
            burst.get(at + AHEAD).into_iter().for_each(PacketBuf::prefetch);
            let data = buf.data();
            let flow = flow(&self.hash, data);
            let to = flow.map_or(KEEP, |flow| self.deal[flow as usize >> 24]);
            whose[at % BURST] = to;
            if to != KEEP {
                given += 1;
                bytes += data.len() as u64;
            }
        }
        if given == 0 {
            return;
        }
        for (buf, to) in std::mem::take(burst).into_iter().zip(whose) {
            match self.outlets.get_mut(usize::from(to)) {
                Some(outlet) => outlet.waiting.push(buf),
                None => burst.push(buf),
            }
        }
        let mut handed = 0;
        for outlet in self.outlets.iter_mut().filter(|outlet| !outlet.waiting.is_empty()) {
            handed += outlet.send(port);
            // What found no room.
            io.free(&mut outlet.waiting);
        }
        ledger.received.add(given);
        ledger.received_bytes.add(bytes);
        ledger.handed.add(handed);
        if handed < given {
            ledger.dropped[DropReason::SpreadQueueFull.index()].add(given - handed);
        }
    }

    /// Rings to [`SpreadEnd::take`] from.
    pub fn inlets(&self) -> usize {
        self.inlets.len()
    }

    /// Takes up to a burst of what waits in a ring, all of one port, which it
    /// gives; `None` if nothing waits. `burst` must be empty.
    pub fn take(&mut self, inlet: usize, burst: &mut Burst<B>) -> Option<PortId> {
        let ring = self.inlets.get_mut(inlet)?;
        let waiting = ring.slots().min(BURST);
        let seen = ring.read_chunk(waiting).ok()?;
        let (first, second) = seen.as_slices();
        let port = first.first()?.1;
        let same = |parcel: &&Parcel<B>| parcel.1 == port;
        let run = first.iter().chain(second).take_while(same).count();
        let taken = ring.read_chunk(run).ok()?;
        burst.extend(taken.into_iter().map(|Parcel(buf, _)| buf));
        // They are in the giver's cache.
        burst.iter().for_each(PacketBuf::prefetch);
        Some(port)
    }

    /// Gives nothing any more: those who take from here see that it is over.
    pub fn close(&mut self) {
        self.outlets.clear();
        self.deal = [KEEP; DEAL];
    }

    /// True when nothing will come any more: every giver has closed, and its
    /// ring is empty.
    pub fn is_over(&self) -> bool {
        self.inlets.iter().all(|ring| {
            let abandoned = ring.is_abandoned();
            // What was put in before it closed is then seen: rtrb asks for it.
            fence(Ordering::Acquire);
            abandoned && ring.is_empty()
        })
    }
}

impl<B> Outlet<B> {
    /// Hands on as many as there is room for; gives how many. The rest waits.
    fn send(&mut self, port: PortId) -> u64 {
        let room = self.ring.slots().min(self.waiting.len());
        let Ok(chunk) = self.ring.write_chunk_uninit(room) else { return 0 };
        chunk.fill_from_iter(self.waiting.drain(..room).map(|buf| Parcel(buf, port))) as u64
    }
}

/// The flow of a frame: of the datagram inside if it is a tunnel's. `None` if it
/// is not IP. Nothing here is trusted: a frame that lies goes to some worker,
/// and that one finds out.
#[inline(always)]
fn flow(hash: &FlowHash, frame: &[u8]) -> Option<u32> {
    const VLAN: [u8; 2] = ETHERTYPE_VLAN.to_be_bytes();
    const IPV4: [u8; 2] = ETHERTYPE_IPV4.to_be_bytes();
    const IPV6: [u8; 2] = ETHERTYPE_IPV6.to_be_bytes();
    let (ethertype, datagram) = match frame {
        [_, _, _, _, _, _, _, _, _, _, _, _, a, b, _, _, c, d, rest @ ..] if [*a, *b] == VLAN => {
            ([*c, *d], rest)
        }
        [_, _, _, _, _, _, _, _, _, _, _, _, a, b, rest @ ..] => ([*a, *b], rest),
        _ => return None,
    };
    (ethertype == IPV4 || ethertype == IPV6)
        .then(|| hash.datagram(inside(datagram).unwrap_or(datagram)))
}

/// The datagram inside a tunnel's packet, if it is one and whole.
#[inline(always)]
fn inside(datagram: &[u8]) -> Option<&[u8]> {
    const MORE_OR_OFFSET: u16 = 0x3fff;
    if datagram.first()? >> 4 == 6 {
        return inside6(datagram);
    }
    let [start, _, _, _, _, _, a, b, _, protocol, ..] = datagram else { return None };
    if u16::from_be_bytes([*a, *b]) & MORE_OR_OFFSET != 0 {
        return None;
    }
    carried(*protocol, datagram.get(usize::from(start & 0xf) * 4..)?)
}

/// [`inside`] for IPv6, behind the options header that tunnels mostly add (RFC
/// 2473 §4.1.1). All fragments of a packet have another one there.
#[inline(never)]
fn inside6(datagram: &[u8]) -> Option<&[u8]> {
    let rest = datagram.get(IPV6_LEN..)?;
    match datagram[NEXT_HEADER_OFFSET] {
        IPPROTO_DESTINATION_OPTIONS => {
            let [next, len, ..] = rest else { return None };
            carried(*next, rest.get(8 + 8 * usize::from(*len)..)?)
        }
        next => carried(next, rest),
    }
}

#[inline(always)]
fn carried(protocol: u8, payload: &[u8]) -> Option<&[u8]> {
    match protocol {
        IPPROTO_IPIP | IPPROTO_IPV6 => Some(payload),
        IPPROTO_GRE => behind_gre(payload),
        _ => None,
    }
}

/// What is behind a GRE header (RFC 2784, RFC 2890): not with a sequence
/// number, and nothing but IP.
#[inline(always)]
fn behind_gre(gre: &[u8]) -> Option<&[u8]> {
    const CHECKSUM: u8 = 0x80;
    const KEY: u8 = 0x20;
    // Routing, sequence number.
    const OTHER: u8 = 0x50;
    let [flags, _, a, b, ..] = gre else { return None };
    let ip = matches!(u16::from_be_bytes([*a, *b]), ETHERTYPE_IPV4 | ETHERTYPE_IPV6);
    if flags & OTHER != 0 || !ip {
        return None;
    }
    let words = usize::from(flags & CHECKSUM != 0) + usize::from(flags & KEY != 0);
    gre.get(GRE_LEN + 4 * words..)
}

#[cfg(test)]
#[path = "spread_tests.rs"]
mod tests;
