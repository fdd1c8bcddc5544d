//! Cutting datagrams that are larger than the next link (RFC 791 §2.3, RFC
//! 1812 §5.2.6).
//!
//! ```text
//!   Rewrite adjacency          the datagram, to the link's MTU
//!   tunnel, outer DF set       the inner datagram, each piece in a tunnel packet of its own
//!   tunnel that cuts outside   the tunnel packet (the outer datagram), to the underlay's MTU;
//!                              its outer IP may be IPv6, which only its source may cut
//! ```
//!
//! All pieces of a datagram go out, in order, or none does. The first piece
//! stays in the datagram's buffer; the others get fresh ones.

use super::burst::{Packets, Slot};
use super::drop::DropReason;
use super::encap::{self, Carried, Inner, Inner6};
use super::encap6;
use super::forward::cuts_outer;
use super::minimal;
use super::tx::Outputs;
use super::verdict::Turn;
use crate::buf::{Burst, PacketBuf, PacketIo};
use crate::tables::adjacency::{Adjacency, AdjacencyKind};
use crate::wire::EmitError;
use crate::wire::ipv4::fragment::{Fragment, FragmentPlan};
use crate::wire::ipv4::{IPV4_LEN, TTL_OFFSET};
use crate::wire::ipv6::chain::FRAGMENT_LEN;
use crate::wire::ipv6::fragment::FragmentPlan6;

/// Cuts the packet in `buf` for the adjacency it met and sends the pieces.
#[cold]
pub(crate) fn cut<I: PacketIo>(
    outputs: &mut Outputs<I::Buf>,
    io: &mut I,
    packets: &Packets<I::Buf>,
    turn: &mut Turn<'_>,
    slot: Slot,
    mut buf: I::Buf,
) {
    let adjacency = turn.tables.adjacencies.get(packets.hop[slot.at()].index(), turn.guard);
    let l3 = usize::from(packets.l3[slot.at()]);
    let nested = encap6::nested(buf.data().get(l3..).unwrap_or_default(), adjacency);
    let adjacency = nested.as_ref().unwrap_or(adjacency);
    let mut pieces = Burst::new();
    // Control may have replaced it since the packet met it.
    let sends = adjacency.kind == AdjacencyKind::Rewrite || adjacency.kind.is_tunnel();
    let done = if sends { Ok(()) } else { Err(DropReason::Unreachable) }
        .and_then(|()| prepare(packets, turn, slot, adjacency, &mut buf))
        .and_then(|()| split(io, turn, adjacency, &mut buf, &mut pieces))
        .and_then(|()| finish(&mut buf, &mut pieces, adjacency, turn));
    if let Err(reason) = done {
        io.free(&mut pieces);
        outputs.discard(io, buf);
        return turn.count_out(reason, adjacency.out_if);
    }
    turn.ledger.fragments_created.add(pieces.len() as u64);
    count(turn, adjacency, &buf, &pieces, packets.total(slot));
    let (port, out_if) = (usize::from(adjacency.port.0), adjacency.underlay_if);
    outputs.push(io, turn.counters, port, buf, turn.origin, out_if);
    for piece in pieces {
        outputs.push(io, turn.counters, port, piece, turn.origin, out_if);
    }
}

/// What is cut must fit this many bytes.
fn mtu(adjacency: &Adjacency) -> usize {
    usize::from(if cuts_outer(adjacency) { adjacency.underlay_mtu } else { adjacency.mtu })
}

/// Leaves in `buf` exactly the datagram to cut, its TTL as it goes out.
fn prepare<B: PacketBuf>(
    packets: &Packets<B>,
    turn: &mut Turn<'_>,
    slot: Slot,
    adjacency: &Adjacency,
    buf: &mut B,
) -> Result<(), DropReason> {
    let l3 = usize::from(packets.l3[slot.at()]);
    if cuts_outer(adjacency) {
        fall_back(turn, adjacency);
        let done = if packets.six.contains(slot) {
            wrap(buf, l3, Inner6::of(packets, slot), adjacency, turn)
        } else {
            wrap(buf, l3, Inner::of(&packets.headers, slot), adjacency, turn)
        };
        if !done {
            return Err(DropReason::NoHeadroom);
        }
        buf.trim_front(usize::from(adjacency.l2_len));
        return Ok(());
    }
    if packets.six.contains(slot) {
        // Control has put another adjacency there: IPv6 itself is never cut.
        return Err(DropReason::CannotFragment);
    }
    buf.truncate(l3 + packets.headers.total(slot));
    buf.trim_front(l3);
    let word = buf.data_mut().get_mut(TTL_OFFSET..TTL_OFFSET + 4);
    word.ok_or(DropReason::CannotFragment)?
        .copy_from_slice(&packets.headers.next.get(slot).to_be_bytes());
    Ok(())
}

/// How a family cuts its datagrams.
trait Plan: Iterator<Item = Fragment> + Clone {
    /// Bytes that a piece's headers are longer than the datagram's.
    const GROWS: usize;
    fn emit_header(&self, piece: &Fragment, buffer: &mut [u8]) -> Result<usize, EmitError>;
}

impl Plan for FragmentPlan {
    const GROWS: usize = 0;
    fn emit_header(&self, piece: &Fragment, buffer: &mut [u8]) -> Result<usize, EmitError> {
        self.emit_header(piece, buffer)
    }
}

impl Plan for FragmentPlan6 {
    const GROWS: usize = FRAGMENT_LEN;
    fn emit_header(&self, piece: &Fragment, buffer: &mut [u8]) -> Result<usize, EmitError> {
        self.emit_header(piece, buffer)
    }
}

/// Copies all pieces but the first into buffers of their own, then cuts `buf`
/// down to the first.
fn split<I: PacketIo>(
    io: &mut I,
    turn: &mut Turn<'_>,
    adjacency: &Adjacency,
    buf: &mut I::Buf,
    pieces: &mut Burst<I::Buf>,
) -> Result<(), DropReason> {
    let mtu = mtu(adjacency);
    if adjacency.kind == AdjacencyKind::Tunnel6 && cuts_outer(adjacency) {
        let plan = FragmentPlan6::new(buf.data(), mtu, turn.next_id6());
        return split_by(plan.map_err(|_| DropReason::CannotFragment)?, io, buf, pieces);
    }
    let plan = FragmentPlan::new(buf.data(), mtu).map_err(|_| DropReason::CannotFragment)?;
    split_by(plan, io, buf, pieces)
}

fn split_by<P: Plan, I: PacketIo>(
    plan: P,
    io: &mut I,
    buf: &mut I::Buf,
    pieces: &mut Burst<I::Buf>,
) -> Result<(), DropReason> {
    let datagram = buf.data();
    let mut cuts = plan.clone();
    let first = cuts.next().ok_or(DropReason::CannotFragment)?;
    let payload = &datagram[first.header_len - P::GROWS..];
    for cut in cuts {
        if pieces.is_full() {
            // More pieces than a burst holds: nothing sane asks for that.
            return Err(DropReason::CannotFragment);
        }
        let mut piece = io.alloc().ok_or(DropReason::NoBuffer)?;
        let fits = piece.append(cut.header_len + cut.len);
        let (header, body) = match piece.data_mut().split_at_mut_checked(cut.header_len) {
            Some(parts) if fits => parts,
            _ => {
                pieces.push(piece);
                return Err(DropReason::TooLarge);
            }
        };
        body.copy_from_slice(&payload[cut.offset..cut.offset + cut.len]);
        let written = plan.emit_header(&cut, header);
        pieces.push(piece);
        written.map_err(|_| DropReason::CannotFragment)?;
    }
    buf.truncate(first.header_len - P::GROWS + first.len);
    if !buf.prepend(P::GROWS) {
        return Err(DropReason::NoHeadroom);
    }
    plan.emit_header(&first, buf.data_mut()).map_err(|_| DropReason::CannotFragment)?;
    Ok(())
}

/// Makes frames of the pieces.
fn finish<B: PacketBuf>(
    first: &mut B,
    pieces: &mut Burst<B>,
    adjacency: &Adjacency,
    turn: &mut Turn<'_>,
) -> Result<(), DropReason> {
    for piece in std::iter::once(first).chain(pieces.iter_mut()) {
        let tunnel = adjacency.kind.is_tunnel() && !cuts_outer(adjacency);
        let done =
            if tunnel { encapsulate(piece, adjacency, turn) } else { frame(piece, adjacency) };
        if !done {
            return Err(DropReason::NoHeadroom);
        }
    }
    Ok(())
}

/// A piece of an inner datagram into the tunnel.
fn encapsulate<B: PacketBuf>(piece: &mut B, adjacency: &Adjacency, turn: &mut Turn<'_>) -> bool {
    let Some(header) = piece.data().first_chunk() else { return false };
    fall_back(turn, adjacency);
    let inner = Inner::read(header);
    wrap(piece, 0, inner, adjacency, turn)
}

/// The tunnel's headers in front of the datagram at `l3`, whatever its size.
fn wrap<C: Carried, B: PacketBuf>(
    buf: &mut B,
    l3: usize,
    inner: C,
    adjacency: &Adjacency,
    turn: &mut Turn<'_>,
) -> bool {
    let tables = turn.tables;
    if adjacency.kind == AdjacencyKind::Tunnel6 {
        let flow = tables.flow.datagram(buf.data().get(l3..).unwrap_or_default());
        return encap6::put(buf, l3, inner, flow, adjacency, tables);
    }
    encap::put(buf, l3, inner, adjacency, turn.id, tables)
}

/// What is cut goes as IP in IP into a tunnel of minimal encapsulation.
fn fall_back(turn: &Turn<'_>, adjacency: &Adjacency) {
    if adjacency.kind == AdjacencyKind::Minimal {
        minimal::count_fallback(turn, adjacency);
    }
}

/// The link header in front of a piece.
fn frame<B: PacketBuf>(piece: &mut B, adjacency: &Adjacency) -> bool {
    let l2 = usize::from(adjacency.l2_len);
    if !piece.prepend(l2) {
        return false;
    }
    match (piece.data_mut().get_mut(..l2), adjacency.rewrite.get(..l2)) {
        (Some(front), Some(link)) => {
            front.copy_from_slice(link);
            true
        }
        _ => false,
    }
}

/// Counts what went into a tunnel: its pieces, or the one datagram whose
/// outer packet was cut.
fn count<B: PacketBuf>(
    turn: &Turn<'_>,
    adjacency: &Adjacency,
    first: &B,
    pieces: &Burst<B>,
    inner_total: usize,
) {
    if !adjacency.kind.is_tunnel() {
        return;
    }
    let Some(interface) = turn.counters.interface(adjacency.out_if) else { return };
    let (packets, bytes) = if cuts_outer(adjacency) {
        (1, inner_total)
    } else {
        let ahead = usize::from(adjacency.rewrite_len);
        let frames = std::iter::once(first).chain(pieces);
        (1 + pieces.len(), frames.map(|piece| piece.data().len() - ahead).sum())
    };
    interface.tx_packets.add(packets as u64);
    interface.tx_bytes.add(bytes as u64);
}

const _: () = assert!(TTL_OFFSET + 4 <= IPV4_LEN);
