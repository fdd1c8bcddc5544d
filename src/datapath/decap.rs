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
//! No byte moves: only the offset of the IP header does. Anything but IPv4 in
//! IPv4 is opened and admitted one by one: outer and inner header may each be of
//! either family, and UDP may be in between.

use super::burst::{Packets, Set, Slot};
use super::classify::destination;
use super::drop::DropReason;
use super::tally::{Tally, Way};
use super::verdict::Turn;
use super::{door, ecn, gre, ipv4, keepalive, learn, minimal, mss, udp};
use crate::buf::{BURST, PacketBuf};
use crate::exchange::PuntReason;
use crate::ids::{Family, TableId};
use crate::tables::decap::Home;
use crate::tables::epoch::prefetch;
use crate::tables::tunnel::{DecapKey, Ends, Tunnel, mapped};
use crate::wire::gre::{
    FLAG_CHECKSUM, FLAG_KEY, FLAG_SEQUENCE, GRE_LEN, RESERVED_MASK, VERSION_MASK,
};
use crate::wire::ipv4::{IPV4_LEN, Ipv4Header};
use crate::wire::ipv6::{IPV6_LEN, Ipv6Header};
use crate::wire::udp::UDP_LEN;
use crate::wire::{
    ETHERTYPE_IPV4, IPPROTO_GRE, IPPROTO_IPIP, IPPROTO_IPV6, IPPROTO_MINIMAL, IPPROTO_UDP,
};

/// Bits that make a GRE header more than the base header of RFC 2784 (bits
/// 6–12 are not among them: ignored on receipt, GR-02).
const NOT_BASE: u16 = FLAG_CHECKSUM | FLAG_KEY | FLAG_SEQUENCE | RESERVED_MASK | VERSION_MASK;

/// Packets whose outer header is off, until they are admitted; by number.
pub(crate) struct Opened {
    slots: Set,
    pub(super) keys: [DecapKey; BURST],
    homes: [Home; BURST],
    /// IPv6 outside or inside, or in UDP.
    six: Set,
    /// IPv6 outside, or in UDP: looked up by a hash of these ends.
    pub(super) hashed: Set,
    pub(super) ends: [Ends; BURST],
    /// In UDP over IPv6 without a checksum, of those in UDP.
    unsummed: Set,
    /// The outer header has a congestion mark or might get one.
    marked: Set,
    outer_tos: [u8; BURST],
    /// The packet has a GRE sequence number, the last word before the inner
    /// header.
    numbered: Set,
}

/// What lies between an outer and an inner IP header.
pub(crate) struct Between {
    /// Bytes of it.
    pub len: usize,
    /// The GRE key.
    pub key: Option<u32>,
    /// Its last word is a sequence number.
    pub numbered: bool,
    /// What follows.
    pub inner: Family,
}

impl Opened {
    pub(crate) const fn new() -> Opened {
        Opened {
            slots: Set::EMPTY,
            keys: [DecapKey(0); BURST],
            homes: [Home::ZERO; BURST],
            six: Set::EMPTY,
            hashed: Set::EMPTY,
            ends: [Ends { source: 0, destination: 0, port: 0 }; BURST],
            unsummed: Set::EMPTY,
            marked: Set::EMPTY,
            outer_tos: [0; BURST],
            numbered: Set::EMPTY,
        }
    }
}

/// Reads what lies behind the outer headers of the packets in `tunnelled`.
/// Afterwards their rows hold the inner headers, not yet validated.
#[inline(always)]
pub(crate) fn open<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    tunnelled: Set,
    opened: &mut Opened,
) {
    let outer6 = tunnelled & packets.six;
    let mut odd = outer6;
    let mut last = (DecapKey(0), Home::ZERO);
    for slot in (tunnelled & !outer6).slots() {
        let headers = &mut packets.headers;
        let from = usize::from(packets.l3[slot.at()]) + headers.header_len(slot);
        let payload = headers.total(slot).wrapping_sub(headers.header_len(slot));
        let data = packets.burst.get(slot.at()).map_or(&[][..], PacketBuf::data);
        let protocol = headers.protocol(slot);
        let Some((len, inner)) = plain(protocol, data, from, payload) else {
            odd.insert(slot);
            continue;
        };
        let (src, dst) = (headers.src.get(slot), headers.dst.get(slot));
        let key = DecapKey::ipv4(TableId(0), src, dst, protocol, None);
        if key != last.0 {
            // Bursts from one tunnel are hashed once.
            last = (key, turn.tables.decap.prefetch(key));
        }
        (opened.keys[slot.at()], opened.homes[slot.at()]) = last;
        opened.outer_tos[slot.at()] = headers.tos(slot);
        headers.gather(slot, inner, payload - len);
        turn.tables.fib4.prefetch(destination(inner));
        packets.l3[slot.at()] = (from + len) as u8;
    }
    opened.slots = tunnelled & !odd;
    opened.marked = packets.headers.marks.ecn & !outer6;
    opened.numbered = Set::EMPTY;
    (opened.six, opened.hashed) = (outer6, outer6);
    if !odd.is_empty() {
        open_all_odd(packets, turn, opened, odd);
    }
    packets.headers.fresh |= opened.slots & !packets.six;
}

/// What mostly is behind an outer header: IPv4, or a GRE base header and IPv4.
/// The bytes in between, and the inner header; `None` if it is anything else,
/// is not all there or is too far behind.
#[inline(always)]
fn plain(
    protocol: u8,
    data: &[u8],
    from: usize,
    payload: usize,
) -> Option<(usize, &[u8; IPV4_LEN])> {
    /// What must be zero in a GRE header, and the protocol type.
    const LOOK: u32 = (NOT_BASE as u32) << 16 | 0xffff;
    if from + GRE_LEN > usize::from(u8::MAX) {
        return None;
    }
    if protocol == IPPROTO_IPIP {
        return Some((0, data.get(from..from + IPV4_LEN)?.first_chunk()?));
    }
    if protocol != IPPROTO_GRE {
        return None;
    }
    let [a, b, c, d, inner @ ..]: &[u8; GRE_LEN + IPV4_LEN] =
        data.get(from..from + GRE_LEN + IPV4_LEN)?.first_chunk()?;
    let word = u32::from_be_bytes([*a, *b, *c, *d]);
    let base = (word & LOOK == u32::from(ETHERTYPE_IPV4)) & (payload >= GRE_LEN);
    base.then_some((GRE_LEN, inner))
}

/// An outer header, of either family.
struct Outer {
    protocol: u8,
    tos: u8,
    /// Bytes in front of what it carries, and of that.
    ahead: usize,
    len: usize,
    /// UDP destination port, if in UDP.
    port: u16,
}

impl Outer {
    fn of<B>(packets: &Packets<B>, slot: Slot) -> Outer {
        let (protocol, ahead) = if packets.six.contains(slot) {
            let upper = packets.headers6.upper[slot.at()];
            (upper.protocol, upper.at)
        } else {
            (packets.headers.protocol(slot), packets.headers.header_len(slot))
        };
        let len = packets.total(slot).saturating_sub(ahead);
        Outer { protocol, tos: packets.tos(slot), ahead, len, port: 0 }
    }

    /// Goes on behind the UDP header that follows.
    fn pass_udp<B: PacketBuf>(
        &mut self,
        packets: &Packets<B>,
        opened: &mut Opened,
        slot: Slot,
    ) -> Result<(), DropReason> {
        let carried = udp::open(packets, slot, self.ahead)?;
        self.ahead += UDP_LEN;
        (self.protocol, self.len, self.port) = (carried.protocol, carried.len, carried.port);
        opened.unsummed.put(slot, packets.six.contains(slot) && !carried.summed);
        opened.hashed.insert(slot);
        opened.six.insert(slot);
        Ok(())
    }
}

/// [`open`] for those that are not plain, one by one.
#[inline(never)]
fn open_all_odd<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    opened: &mut Opened,
    odd: Set,
) {
    for slot in odd.slots() {
        match open_odd(packets, turn, opened, slot) {
            Ok(()) => opened.slots.insert(slot),
            Err(DropReason::GreUnknownProtocol) if keepalive::came_back(packets, turn, slot) => {
                packets.punt(turn, slot, PuntReason::Liveness);
            }
            Err(reason) => packets.drop(turn, slot, reason),
        }
    }
}

/// [`open`] for a packet that is not plain: IPv6 outside or inside, options of
/// either header.
fn open_odd<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &Turn<'_>,
    opened: &mut Opened,
    slot: Slot,
) -> Result<(), DropReason> {
    let mut outer = Outer::of(packets, slot);
    if outer.protocol == IPPROTO_MINIMAL {
        // What the inner header is put together from lies in front of it.
        outer.ahead = minimal::open(packets, slot)?;
        outer.len = packets.total(slot).saturating_sub(outer.ahead);
    }
    if outer.protocol == IPPROTO_UDP {
        outer.pass_udp(packets, opened, slot)?;
    }
    let from = usize::from(packets.l3[slot.at()]) + outer.ahead;
    let data = packets.burst.get(slot.at()).map_or(&[][..], PacketBuf::data);
    let payload = data.get(from..).unwrap_or_default();
    let bare = |inner| Between { len: 0, key: None, numbered: false, inner };
    let between = match outer.protocol {
        IPPROTO_GRE => gre::open(&payload[..outer.len.min(payload.len())])?,
        IPPROTO_IPV6 => bare(Family::V6),
        _ => bare(Family::V4),
    };
    // Too far: tunnels in tunnels whose outer headers carry options.
    let l3 = u8::try_from(from + between.len).map_err(|_| DropReason::NestingTooDeep)?;
    let (key, home) = key_of(packets, turn, opened, slot, &outer, between.key);
    (opened.keys[slot.at()], opened.homes[slot.at()]) = (key, home);
    opened.outer_tos[slot.at()] = outer.tos;
    opened.marked.put(slot, ecn::field(outer.tos) != ecn::NOT_ECT);
    opened.numbered.insert_if(slot, between.numbered);
    let data = packets.burst.get(slot.at()).map_or(&[][..], PacketBuf::data);
    let inner = data.get(usize::from(l3)..).unwrap_or_default();
    let room = outer.len.saturating_sub(between.len);
    match between.inner {
        Family::V4 => {
            let header = inner.first_chunk().unwrap_or(&MISSING);
            packets.headers.gather(slot, header, room);
            turn.tables.fib4.prefetch(destination(header));
            packets.six.remove(slot);
        }
        Family::V6 => {
            let header = inner.first_chunk().unwrap_or(&MISSING6);
            packets.headers6.gather(slot, header, room, &turn.interfaces.own6);
            packets.six.insert(slot);
            opened.six.insert(slot);
        }
    }
    packets.l3[slot.at()] = l3;
    Ok(())
}

/// The key of an outer header, and where its lookup begins.
fn key_of<B>(
    packets: &Packets<B>,
    turn: &Turn<'_>,
    opened: &mut Opened,
    slot: Slot,
    outer: &Outer,
    key: Option<u32>,
) -> (DecapKey, Home) {
    let (decap, table) = (&turn.tables.decap, TableId(0));
    let (protocol, port) = (outer.protocol, outer.port);
    let (src, dst) = (packets.headers.src.get(slot), packets.headers.dst.get(slot));
    let ends = match packets.six.contains(slot) {
        true => (packets.headers6.src[slot.at()], packets.headers6.dst[slot.at()]),
        false => (mapped(src), mapped(dst)),
    };
    let key = if opened.hashed.contains(slot) {
        let ends = Ends { source: ends.0, destination: ends.1, port };
        opened.ends[slot.at()] = ends;
        decap.ends().key(table, &ends, protocol, key)
    } else {
        DecapKey::ipv4(table, src, dst, protocol, key)
    };
    (key, decap.prefetch(key))
}

/// What is not there is no valid header either.
const MISSING: [u8; IPV4_LEN] = [0; IPV4_LEN];
const MISSING6: [u8; IPV6_LEN] = [0; IPV6_LEN];

/// Finds the tunnels of opened packets and checks what was inside. The good
/// ones are then in `pending`, as received on their tunnel. With `deepest`
/// none is let through: they are nested too deep.
#[inline(always)]
pub(crate) fn admit<'t, B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'t>,
    opened: &Opened,
    deepest: bool,
    pending: &mut Set,
) {
    let mut tunnels: [&'t Tunnel; BURST] = [&Tunnel::NONE; BURST];
    let mut known = Set::EMPTY;
    let table = turn.tables.tunnels.view(turn.guard);
    for slot in opened.slots.slots() {
        let (key, home) = (opened.keys[slot.at()], opened.homes[slot.at()]);
        if let Some(index) = turn.tables.decap.get_fetched(key, home, turn.guard) {
            let tunnel = table.get(index as usize);
            prefetch(tunnel);
            tunnels[slot.at()] = tunnel;
            known.insert(slot);
        }
    }
    let unknown = opened.slots & !known;
    if !unknown.is_empty() {
        learn::all(packets, turn, opened, unknown);
    }
    let mut tally = Tally::new(turn.counters, Way::Rx);
    let marks = packets.headers.marks;
    // One question for all that mostly is not so.
    let mut doubtful = marks.odd | marks.ttl_low | opened.marked;
    if deepest {
        doubtful = Set::ALL;
    }
    // Both families of a tunnel share its sequence numbers: judged in order.
    let apart = opened.six | opened.numbered;
    let mut good = Set::EMPTY;
    for slot in (known & !apart).slots() {
        let tunnel = tunnels[slot.at()];
        let loops = packets.headers.dst.get(slot) == tunnel.remote;
        if doubtful.contains(slot) | !tunnel.plain | loops {
            let checked = check(packets, turn, slot, tunnel, opened, deepest);
            if let Err(reason) = checked {
                packets.drop(turn, slot, reason);
                continue;
            }
        }
        packets.in_if[slot.at()] = tunnel.interface;
        tally.add(tunnel.interface, 1, packets.headers.total(slot) as u64);
        good.insert(slot);
    }
    let apart = known & apart;
    if !apart.is_empty() {
        good |= admit_apart(packets, turn, opened, (apart, &tunnels), deepest);
    }
    *pending |= good;
}

/// [`admit`] for those with IPv6 outside or inside, in UDP or with sequence numbers, whose
/// tunnels are known; gives the good ones.
#[inline(never)]
fn admit_apart<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    opened: &Opened,
    (apart, tunnels): (Set, &[&Tunnel; BURST]),
    deepest: bool,
) -> Set {
    // Of its own: one that is lent out does not stay in registers.
    let mut tally = Tally::new(turn.counters, Way::Rx);
    let mut good = Set::EMPTY;
    for slot in apart.slots() {
        let tunnel = tunnels[slot.at()];
        match check_apart(packets, turn, slot, tunnel, opened, deepest) {
            Ok(()) => {
                tally.add(tunnel.interface, 1, packets.total(slot) as u64);
                good.insert(slot);
            }
            Err(reason) => packets.drop(turn, slot, reason),
        }
    }
    good
}

/// All checks on such a packet. What was found by a hash is compared first.
fn check_apart<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    slot: Slot,
    tunnel: &Tunnel,
    opened: &Opened,
    deepest: bool,
) -> Result<(), DropReason> {
    let hashed = opened.hashed.contains(slot);
    if hashed && opened.ends[slot.at()] != tunnel.ends() {
        return Err(DropReason::UnknownTunnel);
    }
    summed(packets, slot, tunnel, opened)?;
    check(packets, turn, slot, tunnel, opened, deepest)
}

/// Refuses UDP over IPv6 without a checksum where the tunnel does not take it.
pub(super) fn summed<B>(
    packets: &mut Packets<B>,
    slot: Slot,
    tunnel: &Tunnel,
    opened: &Opened,
) -> Result<(), DropReason> {
    let hashed = opened.hashed.contains(slot);
    if hashed && tunnel.port != 0 && !tunnel.unsummed && opened.unsummed.contains(slot) {
        packets.in_if[slot.at()] = tunnel.interface;
        return Err(DropReason::UdpNoChecksum);
    }
    Ok(())
}

/// The packet inside is for the tunnel's other end.
fn loops<B>(packets: &Packets<B>, slot: Slot, tunnel: &Tunnel) -> bool {
    if packets.six.contains(slot) {
        return tunnel.remote6 != 0 && packets.headers6.dst[slot.at()] == tunnel.remote6;
    }
    tunnel.remote != 0 && packets.headers.dst.get(slot) == tunnel.remote
}

/// All checks on a packet out of a tunnel, one after the other.
#[cold]
fn check<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    slot: Slot,
    tunnel: &Tunnel,
    opened: &Opened,
    deepest: bool,
) -> Result<(), DropReason> {
    sound(packets, turn, slot, tunnel)?;
    let to_far_end = loops(packets, slot, tunnel);
    if to_far_end {
        let local = match opened.hashed.contains(slot) {
            true => opened.ends[slot.at()].destination as u32,
            false => opened.keys[slot.at()].destination4(),
        };
        if !keepalive::answer(packets, turn, slot, tunnel, local) {
            return Err(DropReason::DecapLoop);
        }
    }
    if deepest {
        return Err(DropReason::NestingTooDeep);
    }
    // A keepalive, which has our own source, is let out as such.
    if tunnel.guarded && !to_far_end {
        door::inner(packets, turn, slot, tunnel)?;
    }
    if opened.marked.contains(slot) | tunnel.uniform {
        carry_tos(packets, turn, slot, tunnel, opened.outer_tos[slot.at()])?;
    }
    if opened.numbered.contains(slot) {
        // Last, so that only packets that are good otherwise count up.
        gre::in_sequence(packets, turn, slot, tunnel)?;
    }
    mss::outwards(packets, slot, tunnel);
    Ok(())
}

/// What is asked of any packet that is a tunnel's: the tunnel is up, the packet
/// arrived where it has to, and has a sound packet inside. From here on it is one
/// that arrived on the tunnel.
pub(super) fn sound<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    slot: Slot,
    tunnel: &Tunnel,
) -> Result<(), DropReason> {
    let arrived = std::mem::replace(&mut packets.in_if[slot.at()], tunnel.interface);
    if !tunnel.up {
        return Err(DropReason::TunnelDown);
    }
    if tunnel.whole && packets.merged.contains(slot) {
        return Err(DropReason::DeliveryFragment);
    }
    door::arrival(packets, turn, slot, tunnel, arrived)?;
    if packets.six.contains(slot) {
        if packets.headers6.bad.contains(slot) {
            return Err(DropReason::InnerInvalid);
        }
    } else if packets.headers.marks.odd.contains(slot) {
        ipv4::recheck(packets, slot).map_err(|_| DropReason::InnerInvalid)?;
    }
    match packets.ttl(slot) {
        0 => Err(DropReason::InnerTtlZero),
        _ => Ok(()),
    }
}

/// Carries the outer header's congestion mark inwards (RFC 6040 §4.2), and its
/// DSCP where the tunnel says so (RFC 2983 §3.1).
#[cold]
fn carry_tos<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &Turn<'_>,
    slot: Slot,
    tunnel: &Tunnel,
    outer_tos: u8,
) -> Result<(), DropReason> {
    let tos = packets.tos(slot);
    let (inner, outer) = (ecn::field(tos), ecn::field(outer_tos));
    if ecn::is_anomaly(inner, outer)
        && let Some(interface) = turn.counters.interface(packets.in_if[slot.at()])
    {
        interface.ecn_anomalies.add(1);
    }
    let ecn = ecn::decapsulated(inner, outer);
    let ecn = ecn.ok_or(DropReason::EcnCongestionLost)?;
    let dscp = if tunnel.uniform { outer_tos } else { tos };
    let marked = dscp & !ecn::MASK | ecn;
    if marked == tos {
        return Ok(());
    }
    let l3 = usize::from(packets.l3[slot.at()]);
    let data = packets.burst.get_mut(slot.at()).map(PacketBuf::data_mut).unwrap_or_default();
    if packets.six.contains(slot) {
        let header = data.get_mut(l3..).and_then(Ipv6Header::mut_from);
        header.ok_or(DropReason::InnerInvalid)?.set_traffic_class(marked);
        packets.headers6.set_class(slot, marked);
        return Ok(());
    }
    let header = data.get_mut(l3..).and_then(Ipv4Header::mut_from);
    let header = header.ok_or(DropReason::InnerInvalid)?;
    header.set_tos(marked);
    if let Some(header) = data.get(l3..).and_then(|rest| rest.first_chunk()) {
        packets.headers.replace(slot, header);
    }
    Ok(())
}
