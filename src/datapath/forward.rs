//! What an adjacency does to a packet: the checks of forwarding (RFC 1812
//! §5.3) and then the rewrite, the tunnel, the cut or the named end.
//!
//! A packet that arrived is forwarded: TTL, link broadcast and the rules on
//! sources into tunnels apply. One made here only has to fit.

use super::burst::{Packets, Set, Slot};
use super::drop::DropReason;
use super::lookup::Adjacencies;
use super::tally::{Tally, Way};
use super::verdict::{Turn, Verdict};
use super::{encap, minimal, rewrite};
use crate::buf::PacketBuf;
use crate::exchange::PuntReason;
use crate::tables::adjacency::{Adjacency, AdjacencyKind, flags};
use crate::wire::ipv4::IPV4_LEN;

/// Sends the packets of `transit` their ways; those whose route says that they
/// are for us are then in `local`.
#[inline(always)]
pub(crate) fn forward<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    transit: Set,
    adjacencies: &Adjacencies<'_>,
    local: &mut Set,
) {
    let mut tally = Tally::new(turn.counters, Way::Tx);
    let headers = &packets.headers;
    let arrived = !headers.originated;
    let held_up = (headers.marks.ttl_low | headers.group) & arrived;
    // Sources that must not enter a tunnel, as far as sets can tell (II-05).
    let known = if turn.interfaces.own_complete { headers.marks.own_source } else { Set::ALL };
    let barred = known & arrived;
    for slot in transit.slots() {
        let adjacency = adjacencies[slot.at()];
        let total = packets.headers.total(slot);
        let plain = (total <= usize::from(adjacency.mtu)) & !held_up.contains(slot);
        match adjacency.kind {
            AdjacencyKind::Rewrite if plain => finish(packets, turn, slot, adjacency, &mut tally),
            AdjacencyKind::Tunnel | AdjacencyKind::Minimal
                if plain
                    & !barred.contains(slot)
                    & (packets.headers.src.get(slot) != far_end(adjacency)) =>
            {
                finish(packets, turn, slot, adjacency, &mut tally);
            }
            _ => odd(packets, turn, slot, adjacency, &mut tally, local),
        }
    }
}

/// Finishes a packet that its adjacency takes, and says so.
#[inline(always)]
fn finish<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    slot: Slot,
    adjacency: &Adjacency,
    tally: &mut Tally<'_>,
) {
    let done = match adjacency.kind {
        AdjacencyKind::Tunnel => {
            encap::apply(packets, slot, adjacency, turn.id, &turn.tables.sequences)
        }
        AdjacencyKind::Minimal => minimal::apply(packets, turn, slot, adjacency),
        _ => rewrite::apply(packets, slot, adjacency),
    };
    if done {
        if adjacency.kind.is_tunnel() {
            tally.add(adjacency.out_if, 1, packets.headers.total(slot) as u64);
        }
        packets.verdict[slot.at()] = Verdict::send(adjacency.port);
        packets.out_if[slot.at()] = adjacency.underlay_if;
    } else {
        packets.drop_out(turn, slot, DropReason::NoHeadroom, adjacency.out_if);
    }
}

/// The rule that keeps a forwarded packet out of a tunnel because of its
/// source (RFC 2003 §3.2): one of ours (II-05), or the tunnel's far end
/// (II-06).
#[inline(always)]
fn source_rule<B>(
    packets: &Packets<B>,
    turn: &Turn<'_>,
    slot: Slot,
    adjacency: &Adjacency,
) -> Option<DropReason> {
    let source = packets.headers.src.get(slot);
    if packets.headers.marks.own_source.contains(slot)
        || !turn.interfaces.own_complete && is_local(turn, source)
    {
        return Some(DropReason::OwnSourceIntoTunnel);
    }
    (source == far_end(adjacency)).then_some(DropReason::ExitSourceIntoTunnel)
}

/// Asks the FIB whether an address is ours.
#[cold]
fn is_local(turn: &Turn<'_>, address: u32) -> bool {
    let hop = turn.tables.fib4.lookup(address, turn.guard);
    turn.tables.adjacencies.get(hop.index(), turn.guard).kind == AdjacencyKind::Local
}

/// The outer destination in a tunnel adjacency's finished bytes.
#[inline(always)]
fn far_end(adjacency: &Adjacency) -> u32 {
    let at = usize::from(adjacency.l2_len) + IPV4_LEN - 4;
    match adjacency.rewrite.get(at..at + 4) {
        Some(&[a, b, c, d]) => u32::from_be_bytes([a, b, c, d]),
        _ => 0,
    }
}

/// Everything but a plain packet that fits.
#[cold]
fn odd<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    slot: Slot,
    adjacency: &Adjacency,
    tally: &mut Tally<'_>,
    local: &mut Set,
) {
    let kind = adjacency.kind;
    match kind {
        AdjacencyKind::Local => return local.insert(slot),
        AdjacencyKind::Broadcast => return packets.drop(turn, slot, DropReason::Broadcast),
        AdjacencyKind::Blackhole => return packets.drop(turn, slot, DropReason::Blackhole),
        _ => {}
    }
    if let Some(reason) = refusal(packets, turn, slot, adjacency) {
        let mtu = if reason == DropReason::FragmentationNeeded { adjacency.mtu } else { 0 };
        if has_notice(reason) {
            packets.notify(turn, slot, reason, mtu);
        }
        return match reason {
            DropReason::LinkBroadcastTransit | DropReason::TtlExpired | DropReason::NoRoute => {
                packets.drop(turn, slot, reason);
            }
            _ => packets.drop_out(turn, slot, reason, adjacency.out_if),
        };
    }
    if kind == AdjacencyKind::Resolve {
        return packets.punt(turn, slot, PuntReason::Resolve);
    }
    if packets.headers.total(slot) > usize::from(adjacency.mtu) {
        packets.verdict[slot.at()] = Verdict::CUT;
        return;
    }
    finish(packets, turn, slot, adjacency, tally);
}

/// The drops that control is told of, so that it can send an ICMP error.
fn has_notice(reason: DropReason) -> bool {
    matches!(
        reason,
        DropReason::NoRoute
            | DropReason::Unreachable
            | DropReason::TtlExpired
            | DropReason::FragmentationNeeded
    )
}

/// Why a packet does not get past its adjacency, if it does not.
fn refusal<B>(
    packets: &Packets<B>,
    turn: &Turn<'_>,
    slot: Slot,
    adjacency: &Adjacency,
) -> Option<DropReason> {
    let made_here = packets.headers.originated.contains(slot);
    if !made_here && packets.headers.group.contains(slot) {
        return Some(DropReason::LinkBroadcastTransit);
    }
    match adjacency.kind {
        AdjacencyKind::NoRoute => return Some(DropReason::NoRoute),
        AdjacencyKind::Unreachable => return Some(DropReason::Unreachable),
        _ => {}
    }
    if !made_here && packets.headers.marks.ttl_low.contains(slot) {
        return Some(DropReason::TtlExpired);
    }
    let tunnel = adjacency.kind.is_tunnel();
    if tunnel
        && !made_here
        && let Some(reason) = source_rule(packets, turn, slot, adjacency)
    {
        return Some(reason);
    }
    let sends = tunnel || adjacency.kind == AdjacencyKind::Rewrite;
    let fits = packets.headers.total(slot) <= usize::from(adjacency.mtu);
    if sends && !fits && packets.headers.dont_fragment(slot) {
        return Some(DropReason::FragmentationNeeded);
    }
    None
}

/// True if a tunnel cuts outer datagrams instead of inner ones: its outer DF
/// follows the inner, which is clear for every packet that may be cut.
pub(crate) fn cuts_outer(adjacency: &Adjacency) -> bool {
    adjacency.kind.is_tunnel() && adjacency.flags & flags::COPY_DF != 0
}
