//! What an adjacency does to a packet: the checks of forwarding (RFC 1812
//! §5.3) and then the rewrite, the tunnel, the cut or the named end.
//!
//! A packet that arrived is forwarded: TTL, link broadcast and the rules on
//! sources into tunnels apply. One made here only has to fit.

use super::burst::{Packets, Set, Slot};
use super::drop::DropReason;
use super::encap::{Carried, Inner, Inner6};
use super::lookup::Adjacencies;
use super::tally::{Tally, Way};
use super::verdict::{Turn, Verdict};
use super::{encap, encap6, minimal, mss, rewrite};
use crate::buf::PacketBuf;
use crate::exchange::PuntReason;
use crate::tables::adjacency::{Adjacency, AdjacencyKind, flags};
use crate::wire::ipv4::IPV4_LEN;
use crate::wire::ipv6::{IPV6_LEN, chain};

/// What forwarding asks of a packet's header, by family. The columns differ,
/// the way does not.
pub(crate) trait Family {
    /// The header as a tunnel's outer one sees it.
    type Carried: Carried;
    fn carried<B>(packets: &Packets<B>, slot: Slot) -> Self::Carried;
    /// Header and payload in bytes.
    fn total<B>(packets: &Packets<B>, slot: Slot) -> usize;
    /// Those that do not survive forwarding, if forwarded.
    fn held_up<B>(packets: &Packets<B>) -> Set;
    /// Those whose source may be one of ours, as far as sets can tell.
    fn own_source<B>(packets: &Packets<B>, turn: &Turn<'_>) -> Set;
    /// Not to enter a tunnel over IPv4 unlooked at: its source is the far end, or
    /// (IPv6) it came out of that very tunnel.
    fn held_back<B>(packets: &Packets<B>, slot: Slot, adjacency: &Adjacency) -> bool;
    /// As [`Family::held_back`], of a tunnel over IPv6.
    fn held_back6<B>(packets: &Packets<B>, slot: Slot, adjacency: &Adjacency) -> bool;
    /// It may carry a limit on nesting.
    fn may_have_limit<B>(packets: &Packets<B>, slot: Slot) -> bool;
    /// Minimal encapsulation, which is of IPv4 only.
    fn minimal<B: PacketBuf>(
        packets: &mut Packets<B>,
        turn: &mut Turn<'_>,
        slot: Slot,
        adjacency: &Adjacency,
    ) -> bool;
    /// The link header in front.
    fn rewrite<B: PacketBuf>(packets: &mut Packets<B>, slot: Slot, adjacency: &Adjacency) -> bool;
}

/// IPv4 packets.
pub(crate) struct V4;

impl Family for V4 {
    type Carried = Inner;

    #[inline(always)]
    fn carried<B>(packets: &Packets<B>, slot: Slot) -> Inner {
        Inner::of(&packets.headers, slot)
    }

    #[inline(always)]
    fn total<B>(packets: &Packets<B>, slot: Slot) -> usize {
        packets.headers.total(slot)
    }

    #[inline(always)]
    fn held_up<B>(packets: &Packets<B>) -> Set {
        packets.headers.marks.ttl_low | packets.headers.group
    }

    #[inline(always)]
    fn own_source<B>(packets: &Packets<B>, turn: &Turn<'_>) -> Set {
        if turn.interfaces.own_complete { packets.headers.marks.own_source } else { Set::ALL }
    }

    #[inline(always)]
    fn held_back<B>(packets: &Packets<B>, slot: Slot, adjacency: &Adjacency) -> bool {
        packets.headers.src.get(slot) == far_end(adjacency)
    }

    #[inline(always)]
    fn held_back6<B>(_: &Packets<B>, _: Slot, _: &Adjacency) -> bool {
        false
    }

    #[inline(always)]
    fn may_have_limit<B>(_: &Packets<B>, _: Slot) -> bool {
        false
    }

    #[inline(always)]
    fn minimal<B: PacketBuf>(
        packets: &mut Packets<B>,
        turn: &mut Turn<'_>,
        slot: Slot,
        adjacency: &Adjacency,
    ) -> bool {
        minimal::apply(packets, turn, slot, adjacency)
    }

    #[inline(always)]
    fn rewrite<B: PacketBuf>(packets: &mut Packets<B>, slot: Slot, adjacency: &Adjacency) -> bool {
        rewrite::apply(packets, slot, adjacency)
    }
}

/// IPv6 packets.
pub(crate) struct V6;

impl Family for V6 {
    type Carried = Inner6;

    #[inline(always)]
    fn carried<B>(packets: &Packets<B>, slot: Slot) -> Inner6 {
        Inner6::of(packets, slot)
    }

    #[inline(always)]
    fn total<B>(packets: &Packets<B>, slot: Slot) -> usize {
        packets.headers6.total(slot)
    }

    #[inline(always)]
    fn held_up<B>(packets: &Packets<B>) -> Set {
        packets.headers6.hop_low | packets.headers6.link_local | packets.headers.group
    }

    #[inline(always)]
    fn own_source<B>(packets: &Packets<B>, turn: &Turn<'_>) -> Set {
        if turn.interfaces.own6_complete { packets.headers6.own_source } else { Set::ALL }
    }

    #[inline(always)]
    fn held_back<B>(packets: &Packets<B>, slot: Slot, adjacency: &Adjacency) -> bool {
        came_out(packets, slot, adjacency)
    }

    #[inline(always)]
    fn held_back6<B>(packets: &Packets<B>, slot: Slot, adjacency: &Adjacency) -> bool {
        (packets.headers6.src[slot.at()] == far_end6(adjacency))
            | came_out(packets, slot, adjacency)
            | is_into_itself(packets, slot, adjacency)
    }

    #[inline(always)]
    fn may_have_limit<B>(packets: &Packets<B>, slot: Slot) -> bool {
        chain::may_have_limit(packets.headers6.next_header(slot))
    }

    fn minimal<B: PacketBuf>(_: &mut Packets<B>, _: &mut Turn<'_>, _: Slot, _: &Adjacency) -> bool {
        false
    }

    #[inline(always)]
    fn rewrite<B: PacketBuf>(packets: &mut Packets<B>, slot: Slot, adjacency: &Adjacency) -> bool {
        rewrite::apply6(packets, slot, adjacency)
    }
}

/// Sends the packets of `transit` their ways; those whose route says that they
/// are for us are then in `local`.
#[inline(always)]
pub(crate) fn forward<F: Family, B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    transit: Set,
    adjacencies: &Adjacencies<'_>,
    local: &mut Set,
) {
    let mut tally = Tally::new(turn.counters, Way::Tx);
    let arrived = !packets.headers.originated;
    let held_up = F::held_up(packets) & arrived;
    // Sources that must not enter a tunnel, as far as sets can tell (II-05).
    let barred = F::own_source(packets, turn) & arrived;
    for slot in transit.slots() {
        let adjacency = adjacencies[slot.at()];
        let total = F::total(packets, slot);
        let plain = (total <= usize::from(adjacency.mtu)) & !held_up.contains(slot);
        match adjacency.kind {
            AdjacencyKind::Rewrite if plain => {
                finish::<F, B>(packets, turn, slot, adjacency, &mut tally);
            }
            AdjacencyKind::Tunnel
                if plain & !barred.contains(slot) & !F::held_back(packets, slot, adjacency) =>
            {
                finish::<F, B>(packets, turn, slot, adjacency, &mut tally);
            }
            _ => other::<F, B>(packets, turn, slot, adjacency, &mut tally, local),
        }
    }
}

/// Into a tunnel over IPv6 or of minimal encapsulation, or something odd: apart,
/// so that a loop which meets none pays nothing for them.
#[inline(never)]
fn other<F: Family, B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    slot: Slot,
    adjacency: &Adjacency,
    tally: &mut Tally<'_>,
    local: &mut Set,
) {
    let made_here = packets.headers.originated.contains(slot);
    let held_up = F::held_up(packets).contains(slot) & !made_here;
    let barred = F::own_source(packets, turn).contains(slot) & !made_here;
    let fits = F::total(packets, slot) <= usize::from(adjacency.mtu);
    let plain = fits & !held_up & !barred & adjacency.kind.is_tunnel();
    let exit = match adjacency.kind {
        AdjacencyKind::Tunnel6 => F::held_back6(packets, slot, adjacency),
        _ => F::held_back(packets, slot, adjacency),
    };
    if adjacency.kind == AdjacencyKind::Tunnel6 && F::may_have_limit(packets, slot) {
        let nested = encap6::nested(packets.datagram(slot), adjacency);
        let adjacency = nested.as_ref().unwrap_or(adjacency);
        odd::<F, B>(packets, turn, slot, adjacency, tally, local);
    } else if plain & !exit {
        finish::<F, B>(packets, turn, slot, adjacency, tally);
    } else {
        odd::<F, B>(packets, turn, slot, adjacency, tally, local);
    }
}

/// Finishes a packet that its adjacency takes, and says so.
#[inline(always)]
fn finish<F: Family, B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    slot: Slot,
    adjacency: &Adjacency,
    tally: &mut Tally<'_>,
) {
    let done = match adjacency.kind {
        AdjacencyKind::Tunnel => {
            mss::inwards(packets, slot, adjacency);
            encap::apply::<F, B>(packets, turn, slot, adjacency)
        }
        AdjacencyKind::Tunnel6 => {
            mss::inwards(packets, slot, adjacency);
            encap6::apply::<F, B>(packets, turn, slot, adjacency)
        }
        AdjacencyKind::Minimal => {
            mss::inwards(packets, slot, adjacency);
            F::minimal(packets, turn, slot, adjacency)
        }
        _ => F::rewrite(packets, slot, adjacency),
    };
    if done {
        if adjacency.kind.is_tunnel() {
            tally.add(adjacency.out_if, 1, F::total(packets, slot) as u64);
        }
        packets.verdict[slot.at()] = Verdict::send(adjacency.port);
        packets.out_if[slot.at()] = adjacency.underlay_if;
    } else {
        not_done(packets, turn, slot, adjacency);
    }
}

/// A packet that did not get its headers: another worker numbers what enters this
/// tunnel; with them it is more than the underlay takes, and the tunnel cuts
/// outside; or there is no room.
#[cold]
fn not_done<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    slot: Slot,
    adjacency: &Adjacency,
) {
    if let Some(sender) = sender(packets, turn, slot, adjacency) {
        return turn.others.pass(packets, slot, sender);
    }
    let headers = usize::from(adjacency.rewrite_len.saturating_sub(adjacency.l2_len));
    let outer = packets.total(slot) + headers;
    if cuts_outer(adjacency) && outer > usize::from(adjacency.underlay_mtu) {
        packets.verdict[slot.at()] = Verdict::CUT;
    } else {
        packets.drop_out(turn, slot, DropReason::NoHeadroom, adjacency.out_if);
    }
}

/// The other worker that sends what enters a numbered tunnel: with one for each,
/// numbers are in order (RFC 2890 §2.2). What was made here goes from here: it may
/// have no route to be looked up by there.
pub(crate) fn sender<B>(
    packets: &Packets<B>,
    turn: &Turn<'_>,
    slot: Slot,
    adjacency: &Adjacency,
) -> Option<usize> {
    let numbered = adjacency.flags & flags::GRE_SEQUENCE != 0 && adjacency.kind.is_tunnel();
    let sender = turn.others.sender(adjacency.out_if);
    let other = numbered && turn.others.is_other(sender);
    (other && !packets.headers.originated.contains(slot)).then_some(sender)
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
    if packets.six.contains(slot) {
        return source_rule6(packets, turn, slot, adjacency);
    }
    let source = packets.headers.src.get(slot);
    if packets.headers.marks.own_source.contains(slot)
        || !turn.interfaces.own_complete && is_local(turn, source)
    {
        return Some(DropReason::OwnSourceIntoTunnel);
    }
    let exit = adjacency.kind != AdjacencyKind::Tunnel6 && source == far_end(adjacency);
    exit.then_some(DropReason::ExitSourceIntoTunnel)
}

fn source_rule6<B>(
    packets: &Packets<B>,
    turn: &Turn<'_>,
    slot: Slot,
    adjacency: &Adjacency,
) -> Option<DropReason> {
    let source = packets.headers6.src[slot.at()];
    if packets.headers6.own_source.contains(slot)
        || !turn.interfaces.own6_complete && is_local6(turn, source)
    {
        return Some(DropReason::OwnSourceIntoTunnel);
    }
    let exit = adjacency.kind == AdjacencyKind::Tunnel6 && source == far_end6(adjacency);
    exit.then_some(DropReason::ExitSourceIntoTunnel)
}

/// Asks the FIB whether an address is ours.
#[cold]
fn is_local(turn: &Turn<'_>, address: u32) -> bool {
    let hop = turn.tables.fib4.lookup(address, turn.guard);
    turn.tables.adjacencies.get(hop.index(), turn.guard).kind == AdjacencyKind::Local
}

/// Asks the IPv6 FIB whether an address is ours.
#[cold]
fn is_local6(turn: &Turn<'_>, address: u128) -> bool {
    let hop = turn.tables.fib6.lookup(address, turn.guard);
    // A group is of next hops, and never ours.
    hop.group_index().is_none()
        && turn.tables.adjacencies.get(hop.index(), turn.guard).kind == AdjacencyKind::Local
}

/// The outer IPv6 destination in a tunnel adjacency's finished bytes.
#[inline(always)]
fn far_end6(adjacency: &Adjacency) -> u128 {
    let at = usize::from(adjacency.l2_len) + IPV6_LEN - 16;
    let bytes = adjacency.rewrite.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u128::from_be_bytes(*bytes))
}

/// The packet's ends are those of the tunnel over IPv6 that it is to enter (RFC
/// 2473 §4.1.2).
#[inline(always)]
fn is_into_itself<B>(packets: &Packets<B>, slot: Slot, adjacency: &Adjacency) -> bool {
    let near = usize::from(adjacency.l2_len) + IPV6_LEN - 32;
    let near = adjacency.rewrite.get(near..).and_then(|rest| rest.first_chunk());
    let source = packets.headers6.src[slot.at()];
    packets.headers6.dst[slot.at()] == far_end6(adjacency)
        && near.is_some_and(|near| u128::from_be_bytes(*near) == source)
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
fn odd<F: Family, B: PacketBuf>(
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
            DropReason::LinkBroadcastTransit
            | DropReason::LinkLocalTransit
            | DropReason::TtlExpired
            | DropReason::NoRoute => packets.drop(turn, slot, reason),
            _ => packets.drop_out(turn, slot, reason, adjacency.out_if),
        };
    }
    if kind == AdjacencyKind::Resolve {
        return packets.punt(turn, slot, PuntReason::Resolve);
    }
    if packets.total(slot) > usize::from(adjacency.mtu) {
        match sender(packets, turn, slot, adjacency) {
            Some(sender) => turn.others.pass(packets, slot, sender),
            None => packets.verdict[slot.at()] = Verdict::CUT,
        }
        return;
    }
    finish::<F, B>(packets, turn, slot, adjacency, tally);
}

/// The drops that control is told of, so that it can send an ICMP error.
fn has_notice(reason: DropReason) -> bool {
    matches!(
        reason,
        DropReason::NoRoute
            | DropReason::Unreachable
            | DropReason::TtlExpired
            | DropReason::FragmentationNeeded
            | DropReason::EncapsulationLimit
    )
}

/// It came out of this very tunnel: an IPv6 packet is not sent back into it, or
/// one for an address that neither end has would go to and fro (RFC 4443 §3.1).
#[inline(always)]
fn came_out<B>(packets: &Packets<B>, slot: Slot, adjacency: &Adjacency) -> bool {
    packets.in_if[slot.at()] == adjacency.out_if
}

/// Why a packet does not get past its adjacency, if it does not.
fn refusal<B: PacketBuf>(
    packets: &Packets<B>,
    turn: &Turn<'_>,
    slot: Slot,
    adjacency: &Adjacency,
) -> Option<DropReason> {
    let made_here = packets.headers.originated.contains(slot);
    if !made_here && packets.headers.group.contains(slot) {
        return Some(DropReason::LinkBroadcastTransit);
    }
    if !made_here && (packets.six & packets.headers6.link_local).contains(slot) {
        return Some(DropReason::LinkLocalTransit);
    }
    match adjacency.kind {
        AdjacencyKind::NoRoute => return Some(DropReason::NoRoute),
        AdjacencyKind::Unreachable => return Some(DropReason::Unreachable),
        _ => {}
    }
    if !made_here && packets.ttl_low(slot) {
        return Some(DropReason::TtlExpired);
    }
    let tunnel = adjacency.kind.is_tunnel();
    if tunnel
        && !made_here
        && let Some(reason) = source_rule(packets, turn, slot, adjacency)
    {
        return Some(reason);
    }
    if tunnel && !made_here && packets.six.contains(slot) && came_out(packets, slot, adjacency) {
        return Some(DropReason::Unreachable);
    }
    if adjacency.kind == AdjacencyKind::Tunnel6 && packets.six.contains(slot) {
        if is_into_itself(packets, slot, adjacency) {
            return Some(DropReason::TunnelIntoItself);
        }
        if encap6::nests_no_more(packets, slot) {
            return Some(DropReason::EncapsulationLimit);
        }
    }
    let sends = tunnel || adjacency.kind == AdjacencyKind::Rewrite;
    let fits = packets.total(slot) <= usize::from(adjacency.mtu);
    if sends && !fits && packets.whole(slot) {
        return Some(DropReason::FragmentationNeeded);
    }
    None
}

/// True if a tunnel cuts outer datagrams instead of inner ones: it says so, or
/// its outer DF follows the inner, which is clear for every packet that may be
/// cut.
pub(crate) fn cuts_outer(adjacency: &Adjacency) -> bool {
    adjacency.kind.is_tunnel() && adjacency.flags & (flags::COPY_DF | flags::CUT_OUTER) != 0
}
