//! A packet that a tunnel of ours sent, as an ICMP error quotes it.
//!
//! ```text
//!  ├──── outer IPv4 or IPv6 ────┼─ GRE / nothing / minimal ─┼─ inner header ─┼─ 8 bytes ─ …
//!   source, destination,          the key, if it is there     enough: an error about it
//!   protocol: which tunnel                                     can be made (RFC 792)
//! ```
//!
//! Old routers quote eight bytes behind the outer header and no more: enough to
//! tell the tunnel, not enough to tell the sender. Routers on the way may have
//! changed TTL and checksum of the outer header, so its checksum is not looked
//! at; that of the inner one must be right.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::ids::Family;
use crate::wire::gre::{FLAG_KEY, GreError, GreHeader};
use crate::wire::icmp6::Datagram;
use crate::wire::ipv4::{self, IPV4_LEN, Ipv4Header};
use crate::wire::ipv6::IPV6_LEN;
use crate::wire::minimal::Minimal;
use crate::wire::{
    ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPPROTO_GRE, IPPROTO_IPIP, IPPROTO_IPV6, IPPROTO_MINIMAL,
    IPPROTO_UDP,
};

/// Bytes of a UDP header (RFC 768).
const UDP_LEN: usize = 8;

/// Bytes behind a header that an error about it has to quote (RFC 792).
const BEHIND: usize = 8;

/// A GRE key, as far as it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotedKey {
    /// The quote ends before it: may be any.
    Unknown,
    /// It is this, or there is none.
    Is(Option<u32>),
}

/// What tells the tunnel that sent a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Outer source: ours.
    pub source: IpAddr,
    /// Outer destination: the far end.
    pub destination: IpAddr,
    /// Protocol of the outer header (the last next header of IPv6), or of what
    /// is in UDP; `None`: in UDP, and the quote ends before it.
    pub protocol: Option<u8>,
    /// UDP destination port; 0: not in UDP.
    pub port: u16,
    /// The key it was sent with.
    pub key: QuotedKey,
}

/// An outer packet as quoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Quoted<'a> {
    pub(super) sent: Sent,
    /// Bytes of it, outer header included.
    pub(super) total_len: usize,
    /// No router may cut it: DF, or IPv6.
    pub(super) dont_fragment: bool,
    /// The beginning of what it carries, if enough is there.
    pub(super) inner: Option<Inner<'a>>,
}

/// The beginning of an inner datagram: its header, sound, and eight bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Inner<'a> {
    pub(super) bytes: Cow<'a, [u8]>,
    pub(super) family: Family,
    pub(super) total_len: usize,
    /// No router may cut it: DF, or IPv6.
    pub(super) dont_fragment: bool,
}

impl<'a> Quoted<'a> {
    /// Reads a quote; `None` if it is not even an outer header.
    pub(super) fn read(quote: &'a [u8]) -> Option<Quoted<'a>> {
        match quote.first()? >> 4 {
            4 => Quoted::read4(quote),
            6 => Quoted::read6(quote),
            _ => None,
        }
    }

    fn read4(quote: &'a [u8]) -> Option<Quoted<'a>> {
        let ip = Ipv4Header::ref_from(quote)?;
        let (len, total_len) = (ip.header_len(), ip.total_len());
        if len < IPV4_LEN || total_len < len || quote.len() < len {
            return None;
        }
        let (header, behind) = quote[..quote.len().min(total_len)].split_at(len);
        let carried = match ip.protocol {
            protocol if ip.is_later_fragment() => Carried::unknown(Some(protocol)),
            IPPROTO_MINIMAL => Carried::minimal(header, total_len, behind),
            protocol => Carried::behind(protocol, behind),
        };
        let ends = (ip.src_addr().into(), ip.dst_addr().into());
        Some(carried.sent(ends, total_len, ip.dont_fragment()))
    }

    fn read6(quote: &'a [u8]) -> Option<Quoted<'a>> {
        let datagram = Datagram::parse_first(quote, IPV6_LEN).ok()?;
        let upper = datagram.upper()?;
        let behind = datagram.bytes.get(upper.offset..).unwrap_or_default();
        let carried = match upper.protocol {
            protocol if upper.is_later() => Carried::unknown(Some(protocol)),
            protocol => Carried::behind(protocol, behind),
        };
        let ends = (datagram.ends.source.into(), datagram.ends.destination.into());
        Some(carried.sent(ends, datagram.total_len, true))
    }
}

/// What is behind an outer header.
struct Carried<'a> {
    protocol: Option<u8>,
    port: u16,
    key: QuotedKey,
    inner: Option<Inner<'a>>,
}

impl<'a> Carried<'a> {
    /// A later fragment's payload, or one cut off too early.
    fn unknown(protocol: Option<u8>) -> Carried<'static> {
        Carried { protocol, port: 0, key: QuotedKey::Unknown, inner: None }
    }

    /// A header without a key, or with one that says all there is.
    fn of(protocol: u8, key: QuotedKey, inner: Option<Inner<'a>>) -> Carried<'a> {
        Carried { protocol: Some(protocol), port: 0, key, inner }
    }

    fn behind(protocol: u8, behind: &'a [u8]) -> Carried<'a> {
        let plain = |family| {
            let inner = Inner::read(Cow::Borrowed(behind), family);
            Carried::of(protocol, QuotedKey::Is(None), inner)
        };
        match protocol {
            IPPROTO_GRE => Carried::gre(behind),
            IPPROTO_IPIP => plain(Family::V4),
            IPPROTO_IPV6 => plain(Family::V6),
            IPPROTO_UDP => Carried::udp(behind),
            _ => Carried::of(protocol, QuotedKey::Is(None), None),
        }
    }

    /// In UDP: GRE, or IP as it is, which begins with a version that no GRE
    /// header of ours begins with (bit 1 is RFC 1701's).
    fn udp(behind: &'a [u8]) -> Carried<'a> {
        let Some([_, _, a, b]) = behind.first_chunk().copied() else {
            return Carried::of(IPPROTO_UDP, QuotedKey::Is(None), None);
        };
        let rest = behind.get(UDP_LEN..).unwrap_or_default();
        let within = match rest.first().map(|first| first >> 4) {
            Some(4) => Carried::behind(IPPROTO_IPIP, rest),
            Some(6) => Carried::behind(IPPROTO_IPV6, rest),
            Some(_) => Carried::gre(rest),
            None => Carried::unknown(None),
        };
        Carried { port: u16::from_be_bytes([a, b]), ..within }
    }

    fn gre(behind: &'a [u8]) -> Carried<'a> {
        let of = |key, inner| Carried::of(IPPROTO_GRE, key, inner);
        let header = match GreHeader::parse(behind) {
            Ok(header) => header,
            Err(GreError::Truncated) => return of(cut_key(behind), None),
            // No tunnel of ours sends such a header: it has no key that would fit.
            Err(_) => return of(QuotedKey::Is(None), None),
        };
        let family = match header.protocol {
            ETHERTYPE_IPV4 => Some(Family::V4),
            ETHERTYPE_IPV6 => Some(Family::V6),
            _ => None,
        };
        let rest = Cow::Borrowed(&behind[header.len..]);
        let inner = family.and_then(|family| Inner::read(rest, family));
        of(QuotedKey::Is(header.key), inner)
    }

    /// Behind a minimal forwarding header (RFC 2004): the datagram has its own
    /// header back.
    fn minimal(header: &[u8], total_len: usize, behind: &[u8]) -> Carried<'static> {
        let restored = || {
            let minimal = Minimal::parse(behind).ok()?;
            let mut inner = header.to_vec();
            let total = u16::try_from(total_len.checked_sub(minimal.len())?).ok()?;
            inner[2..4].copy_from_slice(&total.to_be_bytes());
            inner[9] = minimal.protocol;
            if let Some(source) = minimal.source {
                inner[12..16].copy_from_slice(&source.to_be_bytes());
            }
            inner[16..20].copy_from_slice(&minimal.destination.to_be_bytes());
            inner.extend_from_slice(&behind[minimal.len()..]);
            ipv4::fill_checksum(&mut inner).then_some(inner)
        };
        let inner = restored().and_then(|inner| Inner::read(Cow::Owned(inner), Family::V4));
        Carried::of(IPPROTO_MINIMAL, QuotedKey::Is(None), inner)
    }

    fn sent(
        self,
        (source, destination): (IpAddr, IpAddr),
        total_len: usize,
        dont_fragment: bool,
    ) -> Quoted<'a> {
        let Carried { protocol, port, key, .. } = self;
        let sent = Sent { source, destination, protocol, port, key };
        Quoted { sent, total_len, dont_fragment, inner: self.inner }
    }
}

/// The key of a GRE header that ends too early: it may still be there, or its
/// absence may be.
fn cut_key(behind: &[u8]) -> QuotedKey {
    match behind {
        [a, b, ..] if u16::from_be_bytes([*a, *b]) & FLAG_KEY == 0 => QuotedKey::Is(None),
        // The checksum before it, if there is one, is four bytes.
        [a, _, _, _, rest @ ..] => {
            let at = if a & 0x80 != 0 { 4 } else { 0 };
            let key = rest.get(at..).and_then(|rest| rest.first_chunk());
            key.map_or(QuotedKey::Unknown, |key| QuotedKey::Is(Some(u32::from_be_bytes(*key))))
        }
        _ => QuotedKey::Unknown,
    }
}

impl<'a> Inner<'a> {
    fn read(bytes: Cow<'a, [u8]>, family: Family) -> Option<Inner<'a>> {
        let (total_len, dont_fragment) = match family {
            Family::V4 => {
                let ip = ipv4::validate_first(&bytes, least(&bytes), false).ok()?;
                (ip.total_len(), ip.dont_fragment())
            }
            Family::V6 => (Datagram::parse_first(&bytes, least(&bytes)).ok()?.total_len, true),
        };
        Some(Inner { bytes, family, total_len, dont_fragment })
    }
}

/// Bytes of a datagram that have to be there, if it is that long, for an error
/// about it: its header and eight bytes.
pub(in crate::control) fn least(datagram: &[u8]) -> usize {
    let header = match Ipv4Header::ref_from(datagram) {
        Some(ip) if ip.version() == 4 => ip.header_len(),
        _ => IPV6_LEN,
    };
    header + BEHIND
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::hex;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    /// IPv4 203.0.113.1 → 198.51.100.2 of this protocol, with this behind it.
    fn outer(protocol: u8, behind: &[u8]) -> Vec<u8> {
        let mut packet = hex("4500 0000 0001 4000 40 00 0000 cb007101 c6336402");
        packet.extend_from_slice(behind);
        let total = u16::try_from(packet.len()).expect("short");
        packet[2..4].copy_from_slice(&total.to_be_bytes());
        packet[9] = protocol;
        packet
    }

    /// scapy: IP(10.1.2.3 → 10.4.5.6, id=7, ttl=9)/UDP(1000, 33434)/"abcdefgh"
    const INNER: &str = "4500002400070000091196b50a0102030a04050603e8829a0010cca86162636465666768";

    fn gre(header: &str) -> Vec<u8> {
        outer(47, &[hex(header), hex(INNER)].concat())
    }

    fn key(quote: &[u8]) -> QuotedKey {
        Quoted::read(quote).expect("an outer header").sent.key
    }

    #[test]
    fn the_tunnel_and_the_inner_datagram_are_told() {
        let quote = gre("20000800 0000002a");
        let quoted = Quoted::read(&quote).expect("sound");
        let [source, destination] =
            [[203, 0, 113, 1], [198, 51, 100, 2]].map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
        let key = QuotedKey::Is(Some(42));
        let sent = Sent { source, destination, protocol: Some(47), port: 0, key };
        assert_eq!(quoted.sent, sent);
        assert_eq!((quoted.total_len, quoted.dont_fragment), (64, true));
        let inner = quoted.inner.expect("all of it");
        assert_eq!(inner.bytes[..], hex(INNER));
        assert_eq!((inner.family, inner.total_len, inner.dont_fragment), (Family::V4, 36, false));
    }

    #[test]
    fn the_inner_datagram_is_told_from_eight_bytes_behind_its_header_on() {
        let quote = gre("00000800");
        for len in 20..quote.len() {
            let quoted = Quoted::read(&quote[..len]).expect("an outer header");
            assert_eq!(quoted.inner.is_some(), len >= 20 + 4 + 28, "{len} bytes");
        }
        assert_eq!(Quoted::read(&quote[..19]), None);
        let mut bad = quote.clone();
        bad[24 + 8] ^= 1;
        assert_eq!(Quoted::read(&bad).expect("an outer header").inner, None, "its checksum");
    }

    #[test]
    fn eight_bytes_of_gre_tell_the_key_unless_a_checksum_comes_first() {
        for (header, expected) in [
            ("00000800", QuotedKey::Is(None)),
            ("20000800 00000007", QuotedKey::Is(Some(7))),
            ("30000800 00000007 00000000", QuotedKey::Is(Some(7))),
            ("a0000800 12340000 00000007", QuotedKey::Unknown),
            ("80000800 12340000", QuotedKey::Is(None)),
        ] {
            assert_eq!(key(&gre(header)[..28]), expected, "{header}");
        }
        assert_eq!(key(&gre("a0000800 12340000 00000007")[..32]), QuotedKey::Is(Some(7)));
        assert_eq!(key(&gre("20000800 00000007")[..22]), QuotedKey::Unknown);
        assert_eq!(key(&gre("00000800")[..20]), QuotedKey::Unknown);
        let mut later = gre("00000800");
        later[6..8].copy_from_slice(&[0, 9]);
        let later = Quoted::read(&later).expect("an outer header");
        assert_eq!((later.sent.key, later.inner), (QuotedKey::Unknown, None));
    }

    #[test]
    fn a_minimal_header_gives_the_datagram_its_own_back() {
        let minimal = Minimal { protocol: 17, destination: 0x0a04_0506, source: Some(0x0a01_0203) };
        let mut behind = minimal.bytes()[..minimal.len()].to_vec();
        behind.extend_from_slice(&hex(INNER)[20..]);
        let mut packet = outer(55, &behind);
        packet[4..9].copy_from_slice(&hex(INNER)[4..9]);
        let quoted = Quoted::read(&packet).expect("sound");
        assert_eq!(quoted.inner.expect("all of it").bytes[..], hex(INNER));
        assert_eq!(Quoted::read(&packet[..39]).expect("an outer header").inner, None);
    }

    #[test]
    fn ipv6_outside_is_read_behind_its_extension_headers() {
        // Destination options with an encapsulation limit of 4, then 4 in 6.
        let behind = [hex("0400 0401 0401 0100"), hex(INNER)].concat();
        let mut packet = hex("60000000 002c 3c 40");
        packet.extend(
            [hex("20010db8000000000000000000000001"), hex("20010db8000000000000000000000002")]
                .concat(),
        );
        packet.extend_from_slice(&behind);
        let quoted = Quoted::read(&packet).expect("sound");
        assert_eq!((quoted.sent.protocol, quoted.total_len), (Some(4), 84));
        assert_eq!(quoted.inner.expect("all of it").bytes[..], hex(INNER));
        assert!(Quoted::read(&packet[..48]).is_some_and(|quoted| quoted.inner.is_none()));
    }

    #[test]
    fn what_is_in_udp_is_told_by_how_it_begins() {
        let udp = |within: &str| outer(17, &hex(&("c0001292 0000 0000".to_owned() + within)));
        for (within, protocol, key) in [
            ("20000800 0000002a".to_owned() + INNER, 47, QuotedKey::Is(Some(42))),
            (INNER.to_owned(), 4, QuotedKey::Is(None)),
        ] {
            let packet = udp(&within);
            let Quoted { sent, inner, .. } = Quoted::read(&packet).expect("sound");
            assert_eq!((sent.protocol, sent.port, sent.key), (Some(protocol), 4754, key));
            assert_eq!(inner.expect("all of it").bytes[..], hex(INNER));
            let sent = Quoted::read(&packet[..28]).expect("an outer header").sent;
            assert_eq!((sent.protocol, sent.port, sent.key), (None, 4754, QuotedKey::Unknown));
        }
        let sent = Quoted::read(&udp("")[..22]).expect("an outer header").sent;
        assert_eq!((sent.protocol, sent.port), (Some(17), 0), "nobody's");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_what_is_read_lies_within(
            mut bytes in prop::collection::vec(any::<u8>(), 0..120),
            version in prop_oneof![Just(0x45), Just(0x46), Just(0x60), any::<u8>()],
            protocol in prop_oneof![Just(47), Just(4), Just(41), Just(55), Just(17), Just(60), any::<u8>()],
            cut in 0usize..120,
        ) {
            if let Some(first) = bytes.first_mut() {
                *first = version;
            }
            let at = if version >> 4 == 6 { 6 } else { 9 };
            if let Some(field) = bytes.get_mut(at) {
                *field = protocol;
            }
            if let Some(quoted) = Quoted::read(&bytes)
                && let Some(inner) = quoted.inner
            {
                prop_assert!(inner.bytes.len() < bytes.len());
                prop_assert!(inner.bytes.len() >= least(&inner.bytes).min(inner.total_len));
            }
            // The same of a packet that is one, cut anywhere.
            let whole = gre("a0000800 12340000 00000007");
            let _ = Quoted::read(&whole[..cut.min(whole.len())]);
        }
    }
}
