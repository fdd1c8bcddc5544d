//! IPv6 packets of a burst between their columns and the next stage: judged,
//! looked up, sent their ways. The shape of `ipv4::sort`, lookup and forward,
//! as one step, since most bursts have none of them.
//!
//! ```text
//!   sort ─┬─▶ transit: lookup6 ─▶ forward      (those met as ours join local)
//!         ├─▶ local: an own address
//!         └─▶ odd one out: neighbour discovery to control, or a named drop
//! ```

use super::burst::{Packets, Set, Slot};
use super::door;
use super::drop::DropReason;
use super::forward::{self, V6};
use super::lookup::{self, Adjacencies};
use super::verdict::Turn;
use crate::buf::PacketBuf;
use crate::exchange::PuntReason;
use crate::wire::IPPROTO_ICMPV6;
use crate::wire::ipv6::martian::{is_discovery_group, is_martian_source, is_multicast};
use crate::wire::ipv6::{IPV6_LEN, Ipv6Error, validate};

/// Handles the IPv6 packets of `pending`; gives those that are for us.
#[inline(never)]
pub(crate) fn route<'t, B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'t>,
    pending: Set,
    adjacencies: &mut Adjacencies<'t>,
) -> Set {
    let (transit, mut local) = sort(packets, turn, pending);
    if !transit.is_empty() {
        lookup::lookup6(packets, turn, transit, adjacencies);
        forward::forward::<V6, B>(packets, turn, transit, adjacencies, &mut local);
    }
    local
}

/// `(transit, local)`, to the lookup or to the local stage.
fn sort<B: PacketBuf>(packets: &mut Packets<B>, turn: &mut Turn<'_>, pending: Set) -> (Set, Set) {
    let headers = &packets.headers6;
    let odd = pending & (headers.bad | headers.special | headers.neighbourly);
    let mut good = pending & !odd;
    for slot in odd.slots() {
        match judge(packets, slot) {
            Ok(true) => packets.punt(turn, slot, PuntReason::Nd),
            Ok(false) => good.insert(slot),
            Err(reason) => packets.drop(turn, slot, reason),
        }
    }
    if !turn.interfaces.is_open() {
        good = door::outer(packets, turn, good);
    }
    (good & !packets.headers6.own, good & packets.headers6.own)
}

/// Looks at one packet alone: the reason to drop it, or whether it is neighbour
/// discovery, which control judges. (Nobody forwards what has hop limit 255 and
/// says so: a solicitation for an address that we only publish comes by here.)
fn judge<B: PacketBuf>(packets: &Packets<B>, slot: Slot) -> Result<bool, DropReason> {
    let headers = &packets.headers6;
    if headers.bad.contains(slot) {
        let data = packets.burst.get(slot.at()).map_or(&[][..], PacketBuf::data);
        let from = usize::from(packets.l3[slot.at()]);
        validate(data.get(from..).unwrap_or_default()).map_err(reason)?;
        // Behind a tunnel header: longer than what was in the tunnel.
        return Err(DropReason::Ipv6Truncated);
    }
    let (src, dst) = (headers.src[slot.at()], headers.dst[slot.at()]);
    let group = is_multicast(dst);
    if group & is_discovery_group(dst) | headers.neighbourly.contains(slot)
        && is_discovery(packets, slot)
    {
        return Ok(true);
    }
    if group {
        return Err(DropReason::Multicast);
    }
    if is_martian_source(src) {
        return Err(DropReason::MartianSource);
    }
    if headers.has_martian_destination(slot) {
        return Err(DropReason::MartianDestination);
    }
    Ok(false)
}

/// The drop reason of a failed check.
pub(crate) fn reason(error: Ipv6Error) -> DropReason {
    match error {
        Ipv6Error::TooShort => DropReason::Ipv6TooShort,
        Ipv6Error::BadVersion => DropReason::Ipv6BadVersion,
        Ipv6Error::Truncated => DropReason::Ipv6Truncated,
    }
}

/// Router and neighbour solicitations and advertisements, redirects (RFC 4861
/// §4), which never have extension headers in front.
fn is_discovery<B: PacketBuf>(packets: &Packets<B>, slot: Slot) -> bool {
    packets.headers6.next_header(slot) == IPPROTO_ICMPV6
        && is_discovery_type(packets.datagram(slot).get(IPV6_LEN))
}

/// Whether an ICMPv6 message of this type is one of neighbour discovery's.
pub(crate) fn is_discovery_type(kind: Option<&u8>) -> bool {
    kind.is_some_and(|kind| (133..=137).contains(kind))
}
