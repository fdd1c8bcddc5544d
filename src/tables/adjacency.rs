//! Adjacencies: everything needed to send a packet, finished when planned.
//!
//! A FIB lookup yields a [`NextHopId`](crate::ids::NextHopId); the adjacency in
//! that slot is "stacked": for a tunnel its rewrite bytes are Ethernet + outer
//! IP + GRE already joined, with the underlay's next hop resolved and the
//! checksum summed but for the fields that change per packet. Encapsulation is
//! one copy and three patches; there is no second lookup.
//!
//! ```text
//! line 0 (64 bytes)                                        line 1
//! ┌──────────────────────────┬─────────────────────────┬──────────────────────┐
//! │ 24 bytes: kind, MTU, …   │ rewrite[0..40]          │ rewrite[40..104]     │
//! └──────────────────────────┴─────────────────────────┴──────────────────────┘
//!   Ethernet 14 + IPv4 20 + GRE 4 = 38 bytes: plain GRE over an untagged port
//!   stays within one cache line.
//! ```

use crate::ids::{IfId, PortId};
use crate::wire::IPPROTO_DESTINATION_OPTIONS;
use crate::wire::ipv4::IPV4_LEN;
use crate::wire::ipv6::{IPV6_LEN, IPV6_MIN_MTU, NEXT_HEADER_OFFSET};

/// Bytes an adjacency can put in front of a packet.
pub const REWRITE_ROOM: usize = 104;

/// Longest rewrite the planner accepts (the mbuf headroom is 128 bytes).
pub const MAX_REWRITE: usize = 96;

/// What happens to a packet that meets an adjacency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum AdjacencyKind {
    /// No route covers the destination: dropped, "network unreachable".
    #[default]
    NoRoute,
    /// A route that says no: dropped silently (`blackhole`).
    Blackhole,
    /// A route that says no aloud (`reject`), or a host that did not answer
    /// ARP, or a tunnel that is not running: dropped, "host unreachable".
    Unreachable,
    /// One of our own addresses.
    Local,
    /// The broadcast (or all-zeros) address of a connected subnet: for us, and
    /// never forwarded.
    Broadcast,
    /// A connected subnet, or a neighbour whose link address is being looked
    /// for: the packet goes to control, which holds it and asks.
    Resolve,
    /// Put the link header in front and send.
    Rewrite,
    /// Put link header and outer IPv4 (and GRE) in front and send.
    Tunnel,
    /// Put the link header in front, the minimal forwarding header (RFC 2004)
    /// behind the packet's own IPv4 header, and send. The finished bytes are
    /// those of IP in IP: the tunnel's addresses are read there, and fragments
    /// go like that.
    Minimal,
    /// Put link header and outer IPv6 (and a limit on nesting, and GRE) in front
    /// and send.
    Tunnel6,
}

/// The header a tunnel adjacency puts between link header and packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Encapsulation {
    /// Not a tunnel.
    #[default]
    None,
    /// Outer IP + GRE (RFC 2784, RFC 2890; RFC 7676 over IPv6).
    Gre,
    /// Outer IP alone (RFC 2003, RFC 4213, RFC 2473).
    Ipip,
    /// Minimal forwarding header (RFC 2004), 8 or 12 bytes.
    Minimal,
    /// Outer IP + UDP + GRE (RFC 8086). In the template a source port of 0 stands
    /// for the flow's, a checksum other than 0 for one to be filled in.
    GreInUdp,
    /// Outer IP + UDP, and the packet right behind it.
    IpipInUdp,
}

impl Encapsulation {
    /// Has a UDP header.
    #[inline(always)]
    pub const fn in_udp(self) -> bool {
        matches!(self, Encapsulation::GreInUdp | Encapsulation::IpipInUdp)
    }
}

/// How the outer header's changing fields are set.
pub mod flags {
    /// Copy the inner DF bit to the outer header (RFC 2003 §3.1). When clear,
    /// outer DF is always set (RFC 7588 §3.3.2.1).
    pub const COPY_DF: u8 = 1 << 0;
    /// Copy the inner DSCP (uniform model, RFC 2983); otherwise the outer DSCP
    /// is the template's.
    pub const COPY_DSCP: u8 = 1 << 1;
    /// Copy the inner TTL instead of the template's.
    pub const COPY_TTL: u8 = 1 << 2;
    /// The GRE header has a checksum to be filled in (RFC 2784 §2.5).
    pub const GRE_CHECKSUM: u8 = 1 << 3;
    /// The GRE header ends with a sequence number to be filled in (RFC 2890
    /// §2.2); taken from the sequence of the tunnel, `out_if`.
    pub const GRE_SEQUENCE: u8 = 1 << 4;
    /// What is too large for the underlay with its headers goes in whole, and
    /// the *outer* datagram is cut: outer DF clear, or a fragment header on an
    /// outer IPv6 (RFC 2473 §7). The adjacency's MTU may then be more than fits.
    pub const CUT_OUTER: u8 = 1 << 5;
    /// TCP segments are to be no larger than the adjacency's `mss`.
    pub const CLAMP_MSS: u8 = 1 << 6;
    /// The outer ECN field stays Not-ECT (RFC 6040 §4.1, compatibility mode).
    pub const NOT_ECT: u8 = 1 << 7;
}

/// One slot of the adjacency table: one or two cache lines, see the module's
/// picture.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Adjacency {
    /// What to do.
    pub kind: AdjacencyKind,
    /// The tunnel header, for [`AdjacencyKind::Tunnel`] and its like.
    pub encap: Encapsulation,
    /// Port to send on.
    pub port: PortId,
    /// Bits of [`flags`].
    pub flags: u8,
    /// Largest IP datagram that may use this adjacency, header included: for a
    /// tunnel the largest *inner* datagram.
    pub mtu: u16,
    /// For a tunnel: largest *outer* datagram the underlay takes.
    pub underlay_mtu: u16,
    /// Bytes of link header at the start of `rewrite` (14, or 18 with a tag).
    pub l2_len: u8,
    /// Bytes of `rewrite` in use.
    pub rewrite_len: u8,
    /// Largest TCP segment that its ends may offer each other, with
    /// [`flags::CLAMP_MSS`].
    pub mss: u16,
    /// Ones'-complement sum (RFC 1071, not folded or inverted; 16-bit words in
    /// network order) of the outer IPv4 header in `rewrite`. Zero there, and
    /// added by the path: total length, id, checksum, ECN; DSCP and DF where
    /// they are copied.
    pub partial_checksum: u32,
    /// Interface the packet leaves by (the tunnel, for a tunnel): its transmit
    /// counters, and the source of ICMP errors.
    pub out_if: IfId,
    /// The port or VLAN interface below a tunnel; same as `out_if` otherwise.
    pub underlay_if: IfId,
    /// The finished bytes.
    pub rewrite: [u8; REWRITE_ROOM],
}

const _: () = assert!(std::mem::size_of::<Adjacency>() == 128);
const _: () = assert!(std::mem::offset_of!(Adjacency, rewrite) == 24);

impl AdjacencyKind {
    /// True if it leads into a tunnel that is ready to send.
    #[inline(always)]
    pub const fn is_tunnel(self) -> bool {
        matches!(self, AdjacencyKind::Tunnel | AdjacencyKind::Minimal | AdjacencyKind::Tunnel6)
    }
}

impl Adjacency {
    /// The content of every unused slot, and of slot 0: no route.
    pub const NOWHERE: Adjacency = Adjacency::plain(AdjacencyKind::NoRoute, IfId::NONE);

    /// An adjacency that only says what to do, with nothing to put in front.
    pub const fn plain(kind: AdjacencyKind, out_if: IfId) -> Adjacency {
        Adjacency {
            kind,
            encap: Encapsulation::None,
            port: PortId(0),
            flags: 0,
            mtu: 0,
            underlay_mtu: 0,
            l2_len: 0,
            rewrite_len: 0,
            mss: 0,
            partial_checksum: 0,
            out_if,
            underlay_if: out_if,
            rewrite: [0; REWRITE_ROOM],
        }
    }

    /// The finished bytes in use.
    pub fn rewrite(&self) -> &[u8] {
        &self.rewrite[..usize::from(self.rewrite_len).min(REWRITE_ROOM)]
    }
}

/// Bytes of the options header that limits nesting (RFC 2473 §4.1.1).
pub const LIMIT_LEN: usize = 8;

/// Where the limit is in that header.
const LIMIT_AT: usize = 4;

/// That header: `next` is behind it; the option, and one that fills up.
pub const fn limit_header(next: u8, limit: u8) -> [u8; LIMIT_LEN] {
    [next, 0, 4, 1, limit, 1, 1, 0]
}

impl Adjacency {
    /// Bytes between the link header and what the tunnel puts into its outer
    /// datagram (RFC 2473 §4.1.1: a limit on nesting may be among them).
    #[inline]
    pub fn outer_len(&self) -> usize {
        if self.kind != AdjacencyKind::Tunnel6 {
            return IPV4_LEN;
        }
        IPV6_LEN + if self.has_limit() { LIMIT_LEN } else { 0 }
    }

    fn has_limit(&self) -> bool {
        let next = self.rewrite.get(usize::from(self.l2_len) + NEXT_HEADER_OFFSET);
        next == Some(&IPPROTO_DESTINATION_OPTIONS)
    }

    /// The same tunnel over IPv6 for an IPv6 packet that is to be nested no more
    /// than `limit` times further, whatever the tunnel's own limit.
    #[cold]
    #[must_use]
    pub fn limited(&self, limit: u8) -> Adjacency {
        let mut other = *self;
        let (l2, len) = (usize::from(self.l2_len), usize::from(self.rewrite_len));
        let at = l2 + IPV6_LEN;
        if !self.has_limit() && at <= len && len + LIMIT_LEN <= REWRITE_ROOM {
            other.rewrite.copy_within(at..len, at + LIMIT_LEN);
            let next = &mut other.rewrite[l2 + NEXT_HEADER_OFFSET];
            let header = limit_header(*next, limit);
            *next = IPPROTO_DESTINATION_OPTIONS;
            other.rewrite[at..at + LIMIT_LEN].copy_from_slice(&header);
            other.rewrite_len += LIMIT_LEN as u8;
            // What is left of the underlay. Less than what any link takes whole is
            // made up for by cutting outside.
            let headers = u16::from(other.rewrite_len - other.l2_len);
            let fits = self.underlay_mtu.saturating_sub(headers);
            other.mtu = self.mtu.min(fits).max(IPV6_MIN_MTU as u16);
            other.flags |= flags::CUT_OUTER;
        }
        other.rewrite[at + LIMIT_AT] = limit;
        other
    }
}

impl Default for Adjacency {
    fn default() -> Adjacency {
        Adjacency::NOWHERE
    }
}
