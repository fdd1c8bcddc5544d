//! Taking tunnel packets apart (RFC 2784, RFC 2003): the outer header off, the
//! inner packet on as if received on the tunnel.
//!
//! ```text
//!   A open    GRE header read, key gathered; the inner header takes over the columns
//!   (ipv4::validate over the columns)
//!   B admit   all keys looked up at once; then, one by one: tunnel up? inner
//!             header valid? TTL, loop, ECN; counted, and on to the next round
//! ```
//!
//! No byte moves: only the offset of the IPv4 header does.

use super::burst::{Packets, Set, Slot};
use super::classify::destination;
use super::drop::DropReason;
use super::tally::{Tally, Way};
use super::verdict::Turn;
use super::{ecn, gre, ipv4};
use crate::buf::{BURST, PacketBuf};
use crate::ids::TableId;
use crate::tables::epoch::prefetch;
use crate::tables::tunnel::{DecapKey, Tunnel, TunnelIndex};
use crate::wire::gre::{
    FLAG_CHECKSUM, FLAG_KEY, FLAG_SEQUENCE, GRE_LEN, RESERVED_MASK, VERSION_MASK,
};
use crate::wire::ipv4::{IPV4_LEN, Ipv4Header};
use crate::wire::{ETHERTYPE_IPV4, IPPROTO_GRE};

/// Bits that make a GRE header more than the base header of RFC 2784 (bits
/// 6–12 are not among them: ignored on receipt, GR-02).
const NOT_BASE: u16 = FLAG_CHECKSUM | FLAG_KEY | FLAG_SEQUENCE | RESERVED_MASK | VERSION_MASK;

/// Packets whose outer header is off, until they are admitted.
pub(crate) struct Opened {
    slots: Set,
    /// Of the packets in `slots`, in burst order; so are the others.
    keys: [DecapKey; BURST],
    outer_tos: [u8; BURST],
    /// A bit per place in `keys`: the packet has a GRE sequence number, the
    /// last word before the inner header.
    numbered: u64,
}

/// What lies between an outer and an inner IPv4 header.
pub(crate) struct Between<'a> {
    /// Bytes of it.
    pub len: usize,
    /// The inner header, not yet validated.
    pub inner: &'a [u8; IPV4_LEN],
    /// The GRE key.
    pub key: Option<u32>,
    /// Its last word is a sequence number.
    pub numbered: bool,
}

impl Between<'_> {
    /// No key and no number.
    #[inline(always)]
    fn plain(len: usize, inner: &[u8]) -> Between<'_> {
        let inner = inner.first_chunk().unwrap_or(&MISSING);
        Between { len, inner, key: None, numbered: false }
    }
}

impl Opened {
    pub(crate) const fn new() -> Opened {
        Opened { slots: Set::EMPTY, keys: [DecapKey(0); BURST], outer_tos: [0; BURST], numbered: 0 }
    }
}

/// Reads what lies behind the outer headers of the packets in `tunnelled`.
/// Afterwards their columns hold the inner headers, not yet validated.
#[inline]
pub(crate) fn open<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    tunnelled: Set,
    opened: &mut Opened,
) {
    opened.slots = Set::EMPTY;
    opened.numbered = 0;
    let mut place = 0;
    for slot in tunnelled.slots() {
        let headers = &mut packets.headers;
        let outer_len = headers.header_len(slot);
        let outer_payload = headers.total(slot).saturating_sub(outer_len);
        let from = usize::from(packets.l3[slot.at()]) + outer_len;
        let data = packets.burst.get(slot.at()).map_or(&[][..], PacketBuf::data);
        let payload = data.get(from..).unwrap_or_default();
        let protocol = headers.protocol(slot);
        let between = match split(protocol, payload, outer_payload) {
            Ok(between) => between,
            Err(reason) => {
                packets.drop(turn, slot, reason);
                continue;
            }
        };
        let Ok(l3) = u8::try_from(from + between.len) else {
            // Tunnels in tunnels whose outer headers carry options.
            packets.drop(turn, slot, DropReason::NestingTooDeep);
            continue;
        };
        let (src, dst) = (headers.src.get(slot), headers.dst.get(slot));
        opened.keys[place] = DecapKey::ipv4(TableId(0), src, dst, protocol, between.key);
        opened.numbered |= u64::from(between.numbered) << place;
        opened.outer_tos[place] = headers.tos(slot);
        opened.slots.insert(slot);
        place = (place + 1) % BURST;
        headers.gather(slot, between.inner, outer_payload - between.len);
        turn.tables.fib4.prefetch(destination(between.inner));
        packets.l3[slot.at()] = l3;
    }
    packets.headers.fresh |= opened.slots;
}

/// Bytes between outer and inner IPv4 header, and the inner header.
#[inline(always)]
fn split(protocol: u8, payload: &[u8], len: usize) -> Result<Between<'_>, DropReason> {
    if protocol != IPPROTO_GRE {
        return Ok(Between::plain(0, payload));
    }
    match payload.split_first_chunk() {
        Some((&[a, b, c, d], inner))
            if u16::from_be_bytes([a, b]) & NOT_BASE == 0
                && u16::from_be_bytes([c, d]) == ETHERTYPE_IPV4
                && len >= GRE_LEN =>
        {
            Ok(Between::plain(GRE_LEN, inner))
        }
        _ => gre::open(&payload[..len.min(payload.len())]),
    }
}

/// What is not there is no valid header either.
pub(crate) const MISSING: [u8; IPV4_LEN] = [0; IPV4_LEN];

/// Finds the tunnels of opened packets and checks what was inside. The good
/// ones are then in `pending`, as received on their tunnel. With `deepest`
/// none is let through: they are nested too deep.
#[inline]
pub(crate) fn admit<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    opened: &Opened,
    deepest: bool,
    pending: &mut Set,
) {
    let count = opened.slots.len();
    let mut found: [Option<TunnelIndex>; BURST] = [None; BURST];
    turn.tables.decap.get_bulk(&opened.keys[..count], &mut found, turn.guard);
    let tunnels = turn.tables.tunnels.view(turn.guard);
    let mut tally = Tally::new(turn.counters, Way::Rx);
    for index in found[..count].iter().flatten() {
        prefetch(tunnels.get(*index as usize));
    }
    for (place, (slot, found)) in opened.slots.slots().zip(found).enumerate() {
        let Some(index) = found else {
            packets.drop(turn, slot, DropReason::UnknownTunnel);
            continue;
        };
        let tunnel = tunnels.get(index as usize);
        packets.in_if[slot.at()] = tunnel.interface;
        let mut checked = check(packets, slot, tunnel, opened.outer_tos[place % BURST], deepest);
        if opened.numbered != 0 && opened.numbered >> (place % BURST) & 1 != 0 {
            // Last, so that only packets that are good otherwise count up.
            checked = checked.and_then(|()| gre::in_sequence(packets, turn, slot, index, tunnel));
        }
        if let Err(reason) = checked {
            packets.drop(turn, slot, reason);
            continue;
        }
        tally.add(tunnel.interface, 1, packets.headers.total(slot) as u64);
        pending.insert(slot);
    }
}

#[inline(always)]
fn check<B: PacketBuf>(
    packets: &mut Packets<B>,
    slot: Slot,
    tunnel: &Tunnel,
    outer_tos: u8,
    deepest: bool,
) -> Result<(), DropReason> {
    let headers = &packets.headers;
    // One branch for all that mostly is not so.
    let odd = !tunnel.up
        | (headers.marks.odd | headers.marks.ttl_low).contains(slot)
        | (headers.dst.get(slot) == tunnel.remote)
        | deepest
        | (ecn::field(outer_tos) != 0);
    if odd { check_odd(packets, slot, tunnel, outer_tos, deepest) } else { Ok(()) }
}

/// [`check`], one question after the other.
#[cold]
fn check_odd<B: PacketBuf>(
    packets: &mut Packets<B>,
    slot: Slot,
    tunnel: &Tunnel,
    outer_tos: u8,
    deepest: bool,
) -> Result<(), DropReason> {
    if !tunnel.up {
        return Err(DropReason::TunnelDown);
    }
    if packets.headers.marks.odd.contains(slot) {
        ipv4::recheck(packets, slot).map_err(|_| DropReason::InnerInvalid)?;
    }
    if packets.headers.ttl(slot) == 0 {
        return Err(DropReason::InnerTtlZero);
    }
    if packets.headers.dst.get(slot) == tunnel.remote {
        return Err(DropReason::DecapLoop);
    }
    if deepest {
        return Err(DropReason::NestingTooDeep);
    }
    if ecn::field(outer_tos) != 0 {
        propagate_ecn(packets, slot, outer_tos)?;
    }
    Ok(())
}

/// Carries the outer header's congestion mark inwards (RFC 6040 §4.2).
#[cold]
fn propagate_ecn<B: PacketBuf>(
    packets: &mut Packets<B>,
    slot: Slot,
    outer_tos: u8,
) -> Result<(), DropReason> {
    let tos = packets.headers.tos(slot);
    let ecn = ecn::decapsulated(ecn::field(tos), ecn::field(outer_tos));
    let ecn = ecn.ok_or(DropReason::EcnCongestionLost)?;
    let marked = tos & !ecn::MASK | ecn;
    if marked == tos {
        return Ok(());
    }
    let l3 = usize::from(packets.l3[slot.at()]);
    let data = packets.burst.get_mut(slot.at()).map(PacketBuf::data_mut).unwrap_or_default();
    let header = data.get_mut(l3..).and_then(Ipv4Header::mut_from);
    let header = header.ok_or(DropReason::InnerInvalid)?;
    header.set_tos(marked);
    if let Some(header) = data.get(l3..).and_then(|rest| rest.first_chunk()) {
        packets.headers.replace(slot, header);
    }
    Ok(())
}
