//! Why packets are dropped: one closed list for the whole path and for control.
//!
//! Each variant's doc line is also the text an operator reads (`show drops`)
//! and the help of its metric label, so nothing can be undocumented and no two
//! texts can disagree.

/// Builds the enum, the label, the operator's text and the list of all reasons
/// from one table.
macro_rules! reasons {
    ($(#[$outer:meta])* pub enum $name:ident { $($(#[doc = $text:literal])+ $variant:ident = $label:literal,)+ }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[doc = $text])+ $variant,)+ }

        impl $name {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];
            /// How many there are.
            pub const COUNT: usize = $name::ALL.len();

            /// Metric label and JSON name.
            pub const fn label(self) -> &'static str {
                match self { $($name::$variant => $label,)+ }
            }

            /// The sentence an operator reads.
            pub fn text(self) -> &'static str {
                match self { $($name::$variant => concat!($($text),+).trim_ascii(),)+ }
            }

            /// The reason with this label.
            pub fn from_label(label: &str) -> Option<$name> {
                $name::ALL.iter().copied().find(|r| r.label() == label)
            }

            /// This reason as an array index.
            pub const fn index(self) -> usize {
                self as usize
            }
        }
    };
}
pub(crate) use reasons;

reasons! {
    /// Why the path dropped a packet.
    pub enum DropReason {
        /// Frame shorter than its link header.
        FrameTooShort = "frame_too_short",
        /// Frame in several segments (larger than the pool's data room).
        SegmentedFrame = "segmented_frame",
        /// Unicast frame for another station's link address.
        NotOurMac = "not_our_mac",
        /// VLAN tag for which the port has no sub-interface.
        UnknownVlan = "unknown_vlan",
        /// Ethernet payload type that Greyhound does not carry.
        UnknownEthertype = "unknown_ethertype",
        /// Arrived on an interface that is administratively down.
        InterfaceDown = "interface_down",
        /// Fewer bytes than an IPv4 header (RFC 1812 5.2.2).
        Ipv4TooShort = "ipv4_too_short",
        /// IP version field is not 4 (RFC 1812 5.2.2).
        Ipv4BadVersion = "ipv4_bad_version",
        /// IPv4 header length below 20 bytes or beyond the packet (RFC 1812 5.2.2).
        Ipv4BadHeaderLength = "ipv4_bad_header_length",
        /// IPv4 total length shorter than the header (RFC 1812 5.2.2).
        Ipv4BadTotalLength = "ipv4_bad_total_length",
        /// IPv4 total length longer than what the link delivered (RFC 1812 5.2.2).
        Ipv4Truncated = "ipv4_truncated",
        /// IPv4 header checksum wrong (RFC 1812 4.2.2.5).
        Ipv4BadChecksum = "ipv4_bad_checksum",
        /// Fewer bytes than an IPv6 header (RFC 8200 3).
        Ipv6TooShort = "ipv6_too_short",
        /// IP version field is not 6 (RFC 8200 3).
        Ipv6BadVersion = "ipv6_bad_version",
        /// IPv6 payload length longer than what the link delivered (RFC 8200 3).
        Ipv6Truncated = "ipv6_truncated",
        /// IPv6 extension headers to us that say discard, or that do not end (RFC 8200 4).
        Ipv6BadExtension = "ipv6_bad_extension",
        /// Source address that no host can have (RFC 1812 5.3.7, RFC 4213 3.6).
        MartianSource = "martian_source",
        /// Destination address that no host can have (RFC 1812 5.3.7, RFC 4291 2.5).
        MartianDestination = "martian_destination",
        /// Link-layer broadcast or multicast frame with a unicast IP destination elsewhere (RFC 1812 5.3.4).
        LinkBroadcastTransit = "link_broadcast_transit",
        /// IPv6 link-local source or destination elsewhere: never forwarded (RFC 4291 2.5.6).
        LinkLocalTransit = "link_local_transit",
        /// Multicast destination: Greyhound routes no multicast.
        Multicast = "multicast",
        /// Broadcast destination that no local service takes (RFC 1812 5.3.5).
        Broadcast = "broadcast",
        /// No route covers the destination.
        NoRoute = "no_route",
        /// The route says blackhole.
        Blackhole = "blackhole",
        /// The next hop is unreachable: a reject route, a neighbour that did not answer, or a tunnel that is not running.
        Unreachable = "unreachable",
        /// TTL or hop limit ran out in forwarding (RFC 1812 5.3.1, RFC 8200 3).
        TtlExpired = "ttl_expired",
        /// Larger than the next link takes and not to be cut: marked DF, or IPv6.
        FragmentationNeeded = "fragmentation_needed",
        /// Could not be cut into fragments: options or MTU leave no room for payload.
        CannotFragment = "cannot_fragment",
        /// Not a fragment that can be: empty, or a length that only a last one has (RFC 791 3.2).
        FragmentInvalid = "fragment_invalid",
        /// The same fragment a second time.
        FragmentDuplicate = "fragment_duplicate",
        /// Fragments that overlap or contradict each other: the whole datagram is refused (RFC 5722 4).
        FragmentOverlap = "fragment_overlap",
        /// Fragments of a datagram larger than a packet buffer.
        FragmentTooLarge = "fragment_too_large",
        /// Fragments beyond the bounds on datagrams under way and their pieces.
        FragmentLimits = "fragment_limits",
        /// Fragments whose datagram was not complete in time (RFC 1812 4.2.2.8).
        FragmentTimeout = "fragment_timeout",
        /// Fragments some of which saw congestion while others do not know ECN (RFC 3168 5.3).
        FragmentEcn = "fragment_ecn",
        /// No tunnel has this outer source, destination, protocol and key.
        UnknownTunnel = "unknown_tunnel",
        /// Tunnel packet that arrived in fragments, which its tunnel does not take (RFC 7588 3.4).
        DeliveryFragment = "delivery_fragment",
        /// Arrived on another port or VLAN than the tunnel's packets have to.
        WrongArrival = "wrong_arrival",
        /// Inner source that is not in the tunnel's `allow` list (RFC 2827 3).
        SourceNotAllowed = "source_not_allowed",
        /// Source that is not reached by the interface it came in by (RFC 1812 5.3.8, RFC 3704 2).
        ReversePath = "reverse_path",
        /// A filter says so, silently (RFC 1812 5.3.9).
        Filtered = "filtered",
        /// A filter says so, and that the sender is told (RFC 1812 5.3.9).
        FilterRejected = "filter_rejected",
        /// Headers cut or piled up so that filters could not see what the packet carries (RFC 1858 3, RFC 7112 5).
        FilterEvasion = "filter_evasion",
        /// The tunnel is administratively down or not fully configured.
        TunnelDown = "tunnel_down",
        /// Minimal forwarding header cut short (RFC 2004 3.1).
        MinimalTruncated = "minimal_truncated",
        /// Checksum of the minimal forwarding header wrong (RFC 2004 3.1).
        MinimalBadChecksum = "minimal_bad_checksum",
        /// UDP header of a tunnel packet cut short, or its length contradicts the datagram's (RFC 768).
        UdpBadLength = "udp_bad_length",
        /// UDP checksum of a tunnel packet wrong (RFC 8086 5).
        UdpBadChecksum = "udp_bad_checksum",
        /// UDP over IPv6 without a checksum, in a tunnel that sends them (RFC 6935 5).
        UdpNoChecksum = "udp_no_checksum",
        /// GRE header cut short.
        GreTruncated = "gre_truncated",
        /// GRE version is not 0 (RFC 2784 2.3.1).
        GreBadVersion = "gre_bad_version",
        /// GRE routing or another reserved bit set (RFC 2784 2.3).
        GreReservedBits = "gre_reserved_bits",
        /// GRE checksum wrong (RFC 2784 2.5).
        GreBadChecksum = "gre_bad_checksum",
        /// GRE sequence number not above the last one received (RFC 2890 2.2).
        GreOutOfSequence = "gre_out_of_sequence",
        /// GRE payload type that Greyhound does not carry (RFC 2784 2.4).
        GreUnknownProtocol = "gre_unknown_protocol",
        /// The packet inside a tunnel packet is not a valid IP datagram.
        InnerInvalid = "inner_invalid",
        /// The packet inside a tunnel packet has TTL or hop limit 0 (RFC 2003 3.1).
        InnerTtlZero = "inner_ttl_zero",
        /// The packet inside is for the tunnel's other end and would loop (RFC 2784 3.1).
        DecapLoop = "decap_loop",
        /// Outer header says congestion experienced, inner sender does not know ECN (RFC 6040 4.2).
        EcnCongestionLost = "ecn_congestion_lost",
        /// Tunnel in tunnel in tunnel, deeper than the nesting bound.
        NestingTooDeep = "nesting_too_deep",
        /// Forwarded into a tunnel with one of our own addresses as source (RFC 2003 3.2).
        OwnSourceIntoTunnel = "own_source_into_tunnel",
        /// Forwarded into a tunnel with the tunnel's far end as source (RFC 2003 3.2).
        ExitSourceIntoTunnel = "exit_source_into_tunnel",
        /// Forwarded into a tunnel with the tunnel's own two ends as source and destination (RFC 2473 4.1.2).
        TunnelIntoItself = "tunnel_into_itself",
        /// The packet must not be put into one more tunnel: its tunnel encapsulation limit is 0 (RFC 2473 4.1.1).
        EncapsulationLimit = "encapsulation_limit",
        /// No room in front of the packet for the headers to add.
        NoHeadroom = "no_headroom",
        /// No service here listens on that UDP or TCP port.
        PortUnreachable = "port_unreachable",
        /// No service here speaks that IP protocol.
        ProtocolUnreachable = "protocol_unreachable",
        /// The port's transmit queue took no more.
        TxQueueFull = "tx_queue_full",
        /// The ring to the worker that has the flow, or puts the fragments together, is full.
        SpreadQueueFull = "spread_queue_full",
        /// No free buffer in the pool.
        NoBuffer = "no_buffer",
        /// The queue to control is full.
        PuntQueueFull = "punt_queue_full",
        /// More packets of this class for control than its rate allows.
        PuntRateLimited = "punt_rate_limited",
        /// Larger than one exchange slot or packet buffer.
        TooLarge = "too_large",
    }
}

impl DropReason {
    /// Kept out at the door: a notice of it is for the log, not for the sender.
    pub(crate) const fn keeps_out(self) -> bool {
        matches!(
            self,
            DropReason::WrongArrival
                | DropReason::SourceNotAllowed
                | DropReason::ReversePath
                | DropReason::Filtered
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_unique_metric_names_and_texts_are_sentences() {
        let mut labels: Vec<_> = DropReason::ALL.iter().map(|r| r.label()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), DropReason::COUNT);
        for reason in DropReason::ALL {
            assert!(
                reason
                    .label()
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit())
            );
            assert!(reason.text().ends_with('.'), "{reason:?}");
            assert_eq!(DropReason::from_label(reason.label()), Some(*reason));
        }
    }
}
