//! Where packets that control took or made end: the closed list of its drop
//! reasons, the one door through which engines hand packets to workers, and
//! the token bucket that bounds what they say.
//!
//! The counters themselves are [`ControlCounters`]; their equation holds after
//! every call of an engine, and every engine's tests assert it.

use std::time::Duration;

use super::topology::World;
use crate::datapath::drop::reasons;
use crate::exchange::InjectKind;
use crate::stats::counters::ControlCounters;

reasons! {
    /// Why control dropped a packet.
    pub enum ControlDrop {
        /// Held for a neighbour and displaced by a newer packet (RFC 1122 2.3.2.2).
        HeldDisplaced = "held_displaced",
        /// No room to hold another packet for unresolved neighbours.
        HoldFull = "hold_full",
        /// The neighbour did not answer ARP or neighbour discovery (RFC 1812 3.3.2).
        NeighbourFailed = "neighbour_failed",
        /// The neighbour's entry went away while packets were held for it.
        NeighbourForgotten = "neighbour_forgotten",
        /// Punted for resolution, but no neighbour leads to the destination any more.
        NoNextHop = "no_next_hop",
        /// The link is down or gone.
        LinkDown = "link_down",
        /// The queue to the worker is full, or the packet is larger than its slots.
        InjectQueueFull = "inject_queue_full",
        /// Not an ARP packet for IPv4 over Ethernet (RFC 826).
        ArpInvalid = "arp_invalid",
        /// ARP sender claims a broadcast, multicast or zero link address (RFC 1812 3.3.2).
        ArpBadSenderMac = "arp_bad_sender_mac",
        /// ARP sender address does not belong on that link.
        ArpForeignSender = "arp_foreign_sender",
        /// ARP between others: neither from a known neighbour nor for us (RFC 826).
        ArpNotForUs = "arp_not_for_us",
        /// Our own ARP, heard back.
        ArpOwnEcho = "arp_own_echo",
        /// ARP from a station that claims one of our own addresses (RFC 5227 2.4).
        ArpConflict = "arp_conflict",
        /// ARP that moves a neighbour to another link address within a second of its last move.
        ArpMovedTooOften = "arp_moved_too_often",
        /// ARP from a station that claims an address we publish.
        ArpPublishedConflict = "arp_published_conflict",
        /// Neighbour discovery that fails a check (RFC 4861 6.1, 7.1).
        NdInvalid = "nd_invalid",
        /// Neighbour discovery with a broadcast, multicast or zero link address.
        NdBadLinkAddress = "nd_bad_link_address",
        /// Neighbour solicitation from an address that does not belong on that link.
        NdForeignSender = "nd_foreign_sender",
        /// Neighbour discovery between others, or an advertisement that nobody asked for.
        NdNotForUs = "nd_not_for_us",
        /// Our own neighbour discovery, heard back.
        NdOwnEcho = "nd_own_echo",
        /// Neighbour discovery from a station that claims one of our own addresses (RFC 4862 5.4).
        NdConflict = "nd_conflict",
        /// Neighbour discovery that moves a neighbour again within a second of its last move.
        NdMovedTooOften = "nd_moved_too_often",
        /// Neighbour discovery from a station that claims an address we publish.
        NdPublishedConflict = "nd_published_conflict",
        /// Router solicitation or advertisement: hosts do not learn their router here, nor we ours.
        NdRouter = "nd_router",
        /// Not a valid IPv4 or IPv6 datagram.
        DatagramInvalid = "datagram_invalid",
        /// ICMP message too short or with a bad checksum (RFC 792).
        IcmpInvalid = "icmp_invalid",
        /// ICMP message of a kind that Greyhound neither sends nor answers.
        IcmpUnsupported = "icmp_unsupported",
        /// Echo reply that nobody here waits for.
        IcmpUnexpected = "icmp_unexpected",
        /// A GRE keepalive that came back and answers none of ours, or too late.
        KeepaliveUnexpected = "keepalive_unexpected",
        /// A keepalive or probe whose tunnel's next hop has no link address yet: it is asked for.
        ProbeUnresolved = "probe_unresolved",
        /// A packet from elsewhere that did not move its tunnel's far end: too soon after the last
        /// move, or to where it cannot be.
        LearnRefused = "learn_refused",
        /// Echo request while answering is switched off.
        EchoOff = "echo_off",
        /// Echo request that is not answered (source-routed, RFC 7126 4.3).
        EchoRefused = "echo_refused",
        /// ICMP error over the configured rate (RFC 1812 4.3.2.8).
        IcmpRateLimited = "icmp_rate_limited",
        /// ICMP error that has no way back or no address to come from.
        IcmpNoReturn = "icmp_no_return",
    }
}

/// Hands a packet to a worker and counts what became of it. The packet must
/// have been counted in already (taken, originated or released).
pub fn inject(
    world: &mut impl World,
    counters: &ControlCounters,
    kind: InjectKind,
    bytes: &[u8],
) -> bool {
    let taken = world.inject(kind, bytes);
    if taken {
        counters.injected.add(1);
    } else {
        counters.drop_packet(ControlDrop::InjectQueueFull);
    }
    taken
}

/// A token bucket in virtual time: `rate` tokens a second, at most `burst` at
/// once. A rate of 0 gives none.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    rate: u32,
    burst: u32,
    /// Nanoseconds' worth of tokens: one token is 10⁹ of these, so that
    /// refilling is exact.
    level: u128,
    filled: Duration,
}

/// One token in units of [`TokenBucket::level`].
const TOKEN: u128 = 1_000_000_000;

impl TokenBucket {
    /// A full bucket.
    pub fn new(rate: u32, burst: u32) -> TokenBucket {
        let level = u128::from(burst) * TOKEN;
        TokenBucket { rate, burst, level, filled: Duration::ZERO }
    }

    /// Changes the rate and the burst; what is in the bucket stays, up to the
    /// new burst.
    pub fn configure(&mut self, rate: u32, burst: u32) {
        (self.rate, self.burst) = (rate, burst);
        self.level = self.level.min(u128::from(burst) * TOKEN);
    }

    /// Takes a token, if there is one.
    #[must_use]
    pub fn take(&mut self, now: Duration) -> bool {
        let passed = now.saturating_sub(self.filled).as_nanos();
        self.filled = self.filled.max(now);
        let most = u128::from(self.burst) * TOKEN;
        self.level = most.min(self.level + passed * u128::from(self.rate));
        if self.rate == 0 || self.level < TOKEN {
            return false;
        }
        self.level -= TOKEN;
        true
    }
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
