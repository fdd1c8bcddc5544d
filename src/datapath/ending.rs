//! What is filled in last of a tunnel's packet: the sequence number and the
//! checksum of GRE, the header of UDP. Plain packets never come here.
//!
//! ```text
//!   forward    headers in front          numbered tunnels: an Ending is kept for the slot
//!   dispatch   in burst order: number, GRE checksum, UDP length, port, checksum
//! ```
//!
//! Numbers are for the far end to tell the order by (RFC 2890 §2.2), so they are
//! given as packets leave. Within a burst IPv4 goes before IPv6, and what comes out
//! of a tunnel goes last; datagrams are cut at dispatch. Given there and then,
//! numbers would not be in order. Sums cover the number, so they wait with it.

use super::burst::{Packets, Slot};
use super::forward::sender;
use super::verdict::Turn;
use super::{gre, udp};
use crate::buf::PacketBuf;
use crate::ids::IfId;
use crate::tables::adjacency::{Adjacency, AdjacencyKind, flags};
use crate::tables::sequence::Sequences;

/// Of an adjacency what the ending needs: control may replace the adjacency
/// before a packet leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    /// Of [`flags`], those of GRE.
    pub gre: u8,
    /// Bytes of link header.
    pub l2_len: u8,
    /// Bytes of outer IP header and its options behind that.
    pub outer_len: u8,
    /// Bytes in front of the datagram.
    pub rewrite_len: u8,
    /// The outer header is IPv6.
    pub six: bool,
    /// There is a UDP header.
    pub udp: bool,
    /// Whose numbers it takes.
    pub tunnel: IfId,
    /// Hash of the flow inside, for the UDP source port.
    pub flow: u32,
}

impl Ending {
    /// Of no packet.
    pub(crate) const NONE: Ending = Ending {
        gre: 0,
        l2_len: 0,
        outer_len: 0,
        rewrite_len: 0,
        six: false,
        udp: false,
        tunnel: IfId::NONE,
        flow: 0,
    };

    #[inline]
    pub(crate) fn of(adjacency: &Adjacency, flow: u32) -> Ending {
        Ending {
            gre: adjacency.flags & (flags::GRE_CHECKSUM | flags::GRE_SEQUENCE),
            l2_len: adjacency.l2_len,
            outer_len: adjacency.outer_len() as u8,
            rewrite_len: adjacency.rewrite_len,
            six: adjacency.kind == AdjacencyKind::Tunnel6,
            udp: adjacency.encap.in_udp(),
            tunnel: adjacency.out_if,
            flow,
        }
    }

    /// Fills in what is left, in a buffer that starts with the headers and ends with
    /// the datagram.
    pub(crate) fn fill<B: PacketBuf>(&self, buf: &mut B, sequences: &Sequences) {
        gre::finish(buf, self, sequences);
        udp::finish(buf, self);
    }
}

/// Something is filled in when the headers are in front.
#[inline(always)]
pub(crate) fn has_ending(adjacency: &Adjacency) -> bool {
    adjacency.flags & (flags::GRE_CHECKSUM | flags::GRE_SEQUENCE) != 0 || adjacency.encap.in_udp()
}

/// Finishes a packet with VLAN tags, options of GRE, or UDP: `headers` puts them
/// before the datagram that starts there, as far as that many bytes allow. False if
/// they do not, or if another worker is to do it.
#[inline(never)]
pub(crate) fn unusual<B: PacketBuf>(
    packets: &mut Packets<B>,
    turn: &mut Turn<'_>,
    slot: Slot,
    adjacency: &Adjacency,
    headers: impl FnOnce(&mut B, usize, usize, &mut Turn<'_>) -> Option<Ending>,
) -> bool {
    if sender(packets, turn, slot, adjacency).is_some() {
        return false;
    }
    let l3 = usize::from(packets.l3[slot.at()]);
    let most = usize::from(adjacency.underlay_mtu);
    let Some(buf) = packets.burst.get_mut(slot.at()) else { return false };
    let ending = headers(buf, l3, most, turn);
    ending.map(|ending| packets.end(slot, ending, &turn.tables.sequences)).is_some()
}

impl<B: PacketBuf> Packets<B> {
    /// Ends a packet now, or, if it gets a number, as it leaves.
    fn end(&mut self, slot: Slot, ending: Ending, sequences: &Sequences) {
        if ending.gre & flags::GRE_SEQUENCE != 0 {
            self.unended.insert(slot);
            self.endings[slot.at()] = ending;
        } else if let Some(buf) = self.burst.get_mut(slot.at()) {
            ending.fill(buf, sequences);
        }
    }

    /// Ends all that wait for it, in burst order.
    #[cold]
    pub(crate) fn end_all(&mut self, sequences: &Sequences) {
        for slot in self.unended.slots() {
            if let Some(buf) = self.burst.get_mut(slot.at()) {
                self.endings[slot.at()].fill(buf, sequences);
            }
        }
    }
}
