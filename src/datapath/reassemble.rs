//! Reassembly of datagrams addressed to us (RFC 791 §3.2, RFC 1812 §4.2.2.8; RFC
//! 8200 §4.5): tunnel packets whose outer datagram was cut on the way, and pings
//! in pieces.
//!
//! ```text
//!   fragment ─▶ whose? ─┬─ another worker's ─▶ its ring (`meeting`)
//!                       └─ ours ─▶ table: copied to its place ─┬─ held
//!                                    │ 30 s, 60 s IPv6         └─ the last one missing:
//!                                    ▼                            its buffer takes the whole,
//!                            dropped; a notice if the first       which goes the next round
//!                            is there (time exceeded, code 1)
//! ```
//!
//! A device spreads fragments over workers as it likes: the first has ports, the
//! others have none. So each datagram has one worker, by a hash of what its
//! fragments have in common. Only frames as received travel; what came out of a
//! tunnel stays where it is, where all fragments of it come (they have one flow).
//!
//! Memory, datagrams and pieces are bounded (`table`), and no buffer is kept.
//! Overlaps refuse the whole datagram (RFC 5722), until its time is over.

use super::Shared;
use super::burst::{Packets, Set, Slot};
use super::classify::{gather_at, gather6_at};
use super::drop::DropReason;
use super::punt::Notice;
use super::verdict::{Turn, Verdict};
use crate::buf::PacketBuf;
use crate::exchange::PuntReason;
use crate::ids::{NextHopId, PortId};
use crate::wire::IPPROTO_ICMPV6;
use crate::wire::ether::{ETHER_LEN, VLAN_LEN};
use crate::wire::ipv6::IPV6_MIN_MTU;
use crate::wire::reassembly::Piece;
use table::{Arrival, Key, Outcome, Table};

mod table;

/// How long the first piece to come waits for the last, seconds: IPv4 (RFC 791
/// says 15 at least), and IPv6 (RFC 8200 §4.5).
const TIMEOUTS: [u64; 2] = [30, 60];

/// Most datagrams given up in one turn.
const PER_TURN: usize = 32;

/// One worker's reassembly.
pub(crate) struct Reassembly {
    table: Table,
}

impl Reassembly {
    /// For datagrams of up to `room` bytes; all of them are this worker's.
    pub(crate) fn new(room: usize, ticks_per_second: u64) -> Reassembly {
        let timeouts = TIMEOUTS.map(|seconds| seconds * ticks_per_second);
        Reassembly { table: Table::new(room, timeouts) }
    }

    /// True if some datagram's time is over.
    pub(crate) fn is_due(&self, now: u64) -> bool {
        self.table.late(now).is_some()
    }

    /// Gives up everything: the worker ends.
    pub(crate) fn end(&mut self, shared: Shared<'_>) {
        while let Some(at) = self.table.oldest() {
            self.table.close(shared.counters, at, DropReason::FragmentTimeout);
        }
    }
}

/// Takes a fragment to us. The datagram it completes is then in `whole`.
#[cold]
pub(crate) fn take<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    slot: Slot,
    whole: &mut Set,
) {
    let datagram = packets.datagram(slot);
    let read = match packets.six.contains(slot) {
        true => Piece::read6(datagram, packets.headers6.upper[slot.at()].at),
        false => Piece::read4(datagram),
    };
    let Some(piece) = read else {
        return packets.drop(turn, slot, DropReason::FragmentInvalid);
    };
    let key = Key { in_if: packets.in_if[slot.at()], of: piece.of };
    let hash = &turn.tables.flow;
    let owner = turn.others.owner(key.hash(hash));
    if turn.others.is_other(owner) && is_frame(packets, turn, slot) {
        return turn.others.pass(packets, slot, owner);
    }
    let group = packets.headers.group.contains(slot);
    let arrival = Arrival { now: turn.punter.now, origin: turn.origin, group };
    match turn.reassembly.table.add(turn.counters, hash, key, &piece, arrival) {
        Outcome::Held => {
            turn.ledger.held.add(1);
            packets.verdict[slot.at()] = Verdict::GONE;
        }
        Outcome::Dropped(reason) => packets.drop(turn, slot, reason),
        Outcome::Complete(at) => complete(packets, turn, slot, at, whole),
    }
}

/// True for what is as it was received: no tunnel header has been taken off.
fn is_frame<B: PacketBuf>(packets: &Packets<B>, turn: &Turn<'_>, slot: Slot) -> bool {
    const LINK: [usize; 2] = [ETHER_LEN, ETHER_LEN + VLAN_LEN];
    turn.origin != PortId::CONTROL && LINK.contains(&usize::from(packets.l3[slot.at()]))
}

/// Puts the whole datagram into the buffer of the piece that completed it.
fn complete<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    slot: Slot,
    at: usize,
    whole: &mut Set,
) {
    let table = &mut turn.reassembly.table;
    let done = table.assemble(at).and_then(|datagram| {
        let filled = packets.burst.get_mut(slot.at()).is_some_and(|buf| fill(buf, datagram));
        if filled { Ok(()) } else { Err(DropReason::FragmentTooLarge) }
    });
    if let Err(reason) = done {
        table.close(turn.counters, at, reason);
        return packets.drop(turn, slot, reason);
    }
    table.merged(turn.counters, at);
    packets.merged.insert(slot);
    let six = packets.six.contains(slot);
    let gathered =
        if six { gather6_at(packets, turn, slot, 0) } else { gather_at(packets, slot, 0) };
    match gathered {
        Ok(()) if six && is_large_icmp(packets, slot) => {
            // Control answers what the path, which cuts no IPv6, may not be
            // able to send back.
            packets.punt(turn, slot, PuntReason::LocalIcmp);
        }
        Ok(()) => whole.insert(slot),
        Err(reason) => packets.drop(turn, slot, reason),
    }
}

/// Replaces what is in a buffer. False if it does not fit.
fn fill<B: PacketBuf>(buf: &mut B, datagram: &[u8]) -> bool {
    buf.truncate(0);
    let fits = buf.append(datagram.len());
    if fits {
        buf.data_mut().copy_from_slice(datagram);
    }
    fits
}

fn is_large_icmp<B: PacketBuf>(packets: &Packets<B>, slot: Slot) -> bool {
    let headers = &packets.headers6;
    headers.next_header(slot) == IPPROTO_ICMPV6 && headers.total(slot) > IPV6_MIN_MTU
}

/// Gives up what is late, a bounded amount. Control is told of those whose first
/// piece is there: their sender is owed a time exceeded, code 1.
#[cold]
pub(crate) fn expire(turn: &mut Turn<'_>) {
    let Turn { reassembly, punter, counters, .. } = turn;
    let table = &mut reassembly.table;
    for _ in 0..PER_TURN {
        let Some(at) = table.late(punter.now) else { return };
        if let Some((in_if, first, bytes)) = table.first(at) {
            let notice = Notice {
                in_if,
                next_hop: NextHopId::NO_ROUTE,
                mtu: 0,
                link_group: first.group,
                originated: false,
            };
            punter.notify(DropReason::FragmentTimeout, notice, bytes);
        }
        table.close(counters, at, DropReason::FragmentTimeout);
    }
}
