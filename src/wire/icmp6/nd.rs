//! Neighbour discovery (RFC 4861 §4): solicitations and advertisements of
//! neighbours and routers. Redirects are neither sent nor believed.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+---------------+-------------------------------+
//! |   Type (135)  |    Code (0)   |           Checksum            |
//! +---------------+---------------+-------------------------------+
//! |R|S|O (136)                 Reserved                           |
//! +---------------------------------------------------------------+
//! |                    Target Address (16 bytes)                  |
//! +---------------+---------------+-------------------------------+
//! |  Option type  | Length in 8s  |  1, 2: link address (6 bytes) |
//! +---------------+---------------+-------------------------------+
//! ```
//!
//! What is read here has passed every check of RFC 4861 §6.1 and §7.1 (ND-03).
//! Whom to believe and whom to answer is control's business.

use std::net::Ipv6Addr;

use arrayvec::ArrayVec;

use super::{
    Datagram, Ends, IPV6_LEN, Ipv6Error, NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_SOLICITATION,
    ROUTER_ADVERTISEMENT, ROUTER_SOLICITATION, emit_header, emit_message, validate,
};
use crate::ids::Mac;
use crate::wire::icmp::{ICMP_LEN, IcmpError};

/// The hop limit that only a neighbour's packet can arrive with.
pub const HOP_LIMIT: u8 = 255;
/// All nodes of a link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// All routers of a link.
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

const SOURCE_LINK_ADDRESS: u8 = 1;
const TARGET_LINK_ADDRESS: u8 = 2;
const PREFIX_INFORMATION: u8 = 3;
const MTU: u8 = 5;

const FLAG_ROUTER: u32 = 1 << 31;
const FLAG_SOLICITED: u32 = 1 << 30;
const FLAG_OVERRIDE: u32 = 1 << 29;

/// Most prefixes in an advertisement of ours.
pub const MOST_PREFIXES: usize = 4;
/// Header and the largest of our messages: a router advertisement.
pub const PACKET_ROOM: usize = IPV6_LEN + 16 + 8 + 8 + 32 * MOST_PREFIXES;
/// A datagram with a message, from the first byte of its IPv6 header.
pub type NdPacket = ArrayVec<u8, PACKET_ROOM>;

/// The group that whoever has `address` listens to (RFC 4291 §2.7.1).
#[must_use]
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    const PREFIX: u128 = 0xff02_0000_0000_0000_0000_0001_ff00_0000;
    Ipv6Addr::from_bits(PREFIX | (address.to_bits() & 0xff_ffff))
}

/// The Ethernet address of an IPv6 group (RFC 2464 §7).
#[must_use]
pub fn group_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    Mac([0x33, 0x33, a, b, c, d])
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NdRepr {
    /// "Is there a router?"
    RouterSolicit {
        /// The asker's link address, if told.
        source_mac: Option<Mac>,
    },
    /// "Here is a router."
    RouterAdvert(RouterAdvert),
    /// "Who has `target`?"
    Solicit {
        /// The address asked for.
        target: Ipv6Addr,
        /// The asker's link address, if told.
        source_mac: Option<Mac>,
    },
    /// "`target` is at …"
    Advert {
        /// The address it is about.
        target: Ipv6Addr,
        /// Its link address, if told.
        target_mac: Option<Mac>,
        /// Sent by a router.
        router: bool,
        /// An answer, not an announcement.
        solicited: bool,
        /// To replace what is known.
        overrides: bool,
    },
}

/// What a router says of itself and of its link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterAdvert {
    /// Hop limit for hosts to use; 0: not said.
    pub hop_limit: u8,
    /// Seconds to be a default router; 0: none.
    pub lifetime: u16,
    /// Its link address, if told.
    pub source_mac: Option<Mac>,
    /// The link's MTU, if told.
    pub mtu: Option<u32>,
    /// Prefixes of the link.
    pub prefixes: ArrayVec<Prefix, MOST_PREFIXES>,
}

/// A prefix of a link: on it, and to make addresses from if it is a /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// Its first address.
    pub network: Ipv6Addr,
    /// Its length in bits.
    pub len: u8,
    /// Seconds that it is valid.
    pub valid: u32,
    /// Seconds that addresses made from it are preferred.
    pub preferred: u32,
}

/// Why a message is silently discarded (ND-03), by the check that it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NdError {
    /// No whole IPv6 datagram.
    #[error(transparent)]
    Ip(#[from] Ipv6Error),
    /// Not an ICMPv6 message, or in fragments (RFC 6980).
    #[error("not a whole ICMPv6 message")]
    NotIcmp,
    /// It came from beyond the link.
    #[error("hop limit is not 255")]
    HopLimit,
    /// Too short or a bad checksum.
    #[error(transparent)]
    Icmp(#[from] IcmpError),
    /// Another message than these.
    #[error("not a message of neighbour discovery that is understood here")]
    Unknown,
    /// The code is not 0.
    #[error("ICMPv6 code is not 0")]
    Code,
    /// Shorter than its kind.
    #[error("message too short")]
    TooShort,
    /// An option of length 0, or one that ends beyond the message.
    #[error("option of length zero or beyond the end")]
    Option,
    /// The target is a group.
    #[error("target is a multicast address")]
    MulticastTarget,
    /// From nobody, but not to the target's group, or with a link address.
    #[error("solicitation from the unspecified address that is none")]
    Unspecified,
    /// Solicited, and yet to a group.
    #[error("solicited advertisement to a group")]
    SolicitedGroup,
    /// A router that is not on the link.
    #[error("router advertisement from an address that is not link-local")]
    Router,
}

impl NdRepr {
    /// Reads the message in a datagram and between whom it is.
    pub fn parse(bytes: &[u8]) -> Result<(Ends, NdRepr), NdError> {
        let datagram = Datagram::parse(bytes)?;
        let message = datagram.icmp6().ok_or(NdError::NotIcmp)?;
        if datagram.hop_limit != HOP_LIMIT {
            return Err(NdError::HopLimit);
        }
        let header = validate(datagram.ends, message)?;
        let (kind, code, rest) = (header.kind, header.code, header.rest.get());
        if !(ROUTER_SOLICITATION..=NEIGHBOUR_ADVERTISEMENT).contains(&kind) {
            return Err(NdError::Unknown);
        }
        if code != 0 {
            return Err(NdError::Code);
        }
        let body = &message[ICMP_LEN..];
        let repr = match kind {
            ROUTER_SOLICITATION => {
                let source_mac = Options::read(body)?.source_mac;
                NdRepr::RouterSolicit { source_mac }
            }
            ROUTER_ADVERTISEMENT => NdRepr::RouterAdvert(RouterAdvert::read(rest, body)?),
            _ => neighbour(kind, rest, body)?,
        };
        repr.check(datagram.ends)?;
        Ok((datagram.ends, repr))
    }

    /// What RFC 4861 says about addresses.
    fn check(&self, ends: Ends) -> Result<(), NdError> {
        let from_nobody = ends.source.is_unspecified();
        match self {
            NdRepr::Solicit { target, .. } | NdRepr::Advert { target, .. }
                if target.is_multicast() =>
            {
                Err(NdError::MulticastTarget)
            }
            NdRepr::Solicit { target, source_mac } if from_nobody => {
                let to_group = ends.destination == solicited_node(*target);
                (to_group && source_mac.is_none()).then_some(()).ok_or(NdError::Unspecified)
            }
            NdRepr::RouterSolicit { source_mac: Some(_) } if from_nobody => {
                Err(NdError::Unspecified)
            }
            NdRepr::Advert { solicited: true, .. } if ends.destination.is_multicast() => {
                Err(NdError::SolicitedGroup)
            }
            NdRepr::RouterAdvert(_) if !ends.source.is_unicast_link_local() => Err(NdError::Router),
            _ => Ok(()),
        }
    }

    /// The datagram that carries it.
    #[must_use]
    pub fn datagram(&self, ends: Ends) -> NdPacket {
        let mut packet = NdPacket::from([0; PACKET_ROOM]);
        let mut writer = Writer { packet: &mut packet, len: IPV6_LEN + ICMP_LEN };
        let (kind, rest) = self.write(&mut writer);
        let len = writer.len;
        packet.truncate(len);
        // Room for all of them is what the packet was made with.
        let done = emit_header(ends, HOP_LIMIT, 0, len - IPV6_LEN, &mut packet)
            .and_then(|at| emit_message(kind, 0, rest, ends, &mut packet[at..]));
        debug_assert_eq!(done, Ok(ICMP_LEN));
        packet
    }

    /// Writes what follows the first eight bytes; returns type and second word.
    fn write(&self, out: &mut Writer<'_>) -> (u8, u32) {
        match self {
            NdRepr::RouterSolicit { source_mac } => {
                out.link_address(SOURCE_LINK_ADDRESS, *source_mac);
                (ROUTER_SOLICITATION, 0)
            }
            NdRepr::RouterAdvert(advert) => {
                advert.write(out);
                let rest = u32::from(advert.hop_limit) << 24 | u32::from(advert.lifetime);
                (ROUTER_ADVERTISEMENT, rest)
            }
            NdRepr::Solicit { target, source_mac } => {
                out.put(&target.octets());
                out.link_address(SOURCE_LINK_ADDRESS, *source_mac);
                (NEIGHBOUR_SOLICITATION, 0)
            }
            NdRepr::Advert { target, target_mac, router, solicited, overrides } => {
                out.put(&target.octets());
                out.link_address(TARGET_LINK_ADDRESS, *target_mac);
                let flag = |set: &bool, bit| if *set { bit } else { 0 };
                let rest = flag(router, FLAG_ROUTER)
                    | flag(solicited, FLAG_SOLICITED)
                    | flag(overrides, FLAG_OVERRIDE);
                (NEIGHBOUR_ADVERTISEMENT, rest)
            }
        }
    }
}

/// A neighbour solicitation or advertisement, behind its first eight bytes.
fn neighbour(kind: u8, rest: u32, body: &[u8]) -> Result<NdRepr, NdError> {
    let (target, options) = body.split_first_chunk::<16>().ok_or(NdError::TooShort)?;
    let (target, options) = (Ipv6Addr::from(*target), Options::read(options)?);
    Ok(match kind {
        NEIGHBOUR_SOLICITATION => NdRepr::Solicit { target, source_mac: options.source_mac },
        _ => NdRepr::Advert {
            target,
            target_mac: options.target_mac,
            router: rest & FLAG_ROUTER != 0,
            solicited: rest & FLAG_SOLICITED != 0,
            overrides: rest & FLAG_OVERRIDE != 0,
        },
    })
}

impl RouterAdvert {
    fn read(rest: u32, body: &[u8]) -> Result<RouterAdvert, NdError> {
        // Reachable time and retransmission timer are not used.
        let (_, options) = body.split_first_chunk::<8>().ok_or(NdError::TooShort)?;
        let Options { source_mac, mtu, prefixes, .. } = Options::read(options)?;
        let (hop_limit, lifetime) = ((rest >> 24) as u8, rest as u16);
        Ok(RouterAdvert { hop_limit, lifetime, source_mac, mtu, prefixes })
    }

    fn write(&self, out: &mut Writer<'_>) {
        out.put(&[0; 8]);
        out.link_address(SOURCE_LINK_ADDRESS, self.source_mac);
        if let Some(mtu) = self.mtu {
            out.put(&[MTU, 1, 0, 0]);
            out.put(&mtu.to_be_bytes());
        }
        for prefix in &self.prefixes {
            // On the link; a /64 is also good for addresses (RFC 4862 §5.5.3).
            let flags = if prefix.len == 64 { 0xc0 } else { 0x80 };
            out.put(&[PREFIX_INFORMATION, 4, prefix.len, flags]);
            out.put(&prefix.valid.to_be_bytes());
            out.put(&prefix.preferred.to_be_bytes());
            out.put(&[0; 4]);
            out.put(&prefix.network.octets());
        }
    }
}

/// Fills a packet from behind the ICMPv6 header on.
struct Writer<'a> {
    packet: &'a mut [u8],
    len: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.packet[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn link_address(&mut self, option: u8, mac: Option<Mac>) {
        if let Some(mac) = mac {
            self.put(&[option, 1]);
            self.put(&mac.0);
        }
    }
}

/// The options that are understood; others are skipped.
#[derive(Default)]
struct Options {
    source_mac: Option<Mac>,
    target_mac: Option<Mac>,
    mtu: Option<u32>,
    prefixes: ArrayVec<Prefix, MOST_PREFIXES>,
}

impl Options {
    fn read(mut bytes: &[u8]) -> Result<Options, NdError> {
        let mut options = Options::default();
        while let Some(head) = bytes.first_chunk::<2>() {
            let len = usize::from(head[1]) * 8;
            if len == 0 {
                return Err(NdError::Option);
            }
            let (option, rest) = bytes.split_at_checked(len).ok_or(NdError::Option)?;
            options.take(head[0], option);
            bytes = rest;
        }
        bytes.is_empty().then_some(options).ok_or(NdError::Option)
    }

    /// One option, its two first bytes included: at least eight.
    fn take(&mut self, kind: u8, option: &[u8]) {
        let mac = || option[2..].first_chunk().map(|mac| Mac(*mac)).filter(|_| option.len() == 8);
        match kind {
            SOURCE_LINK_ADDRESS => self.source_mac = mac(),
            TARGET_LINK_ADDRESS => self.target_mac = mac(),
            MTU => self.mtu = option[4..].first_chunk().map(|mtu| u32::from_be_bytes(*mtu)),
            PREFIX_INFORMATION => {
                // More than there is room for is not of interest here.
                let _ = Prefix::read(option).map(|prefix| self.prefixes.try_push(prefix));
            }
            _ => {}
        }
    }
}

impl Prefix {
    fn read(option: &[u8]) -> Option<Prefix> {
        let word = |at: usize| Some(u32::from_be_bytes(*option.get(at..)?.first_chunk()?));
        let network: &[u8; 16] = option.get(16..)?.first_chunk()?;
        Some(Prefix {
            network: (*network).into(),
            len: option[2],
            valid: word(4)?,
            preferred: word(8)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::hex;
    use proptest::prelude::*;

    const A: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const B: Mac = Mac([2, 0, 0, 0, 0, 2]);

    fn ip(text: &str) -> Ipv6Addr {
        text.parse().expect("an address")
    }

    fn ends(source: &str, destination: &str) -> Ends {
        Ends { source: ip(source), destination: ip(destination) }
    }

    /// scapy: IPv6(2001:db8::1 → ff02::1:ff00:2, hlim=255)/ICMPv6ND_NS(tgt=2001:db8::2)
    /// /ICMPv6NDOptSrcLLAddr(lladdr=A)
    const SOLICIT: &str =
        "6000000000203aff20010db8000000000000000000000001ff0200000000000000000001ff000002
        87001c270000000020010db80000000000000000000000020101020000000001";
    /// scapy: IPv6(2001:db8::2 → 2001:db8::1, hlim=255)/ICMPv6ND_NA(tgt=2001:db8::2, R=1,
    /// S=1, O=1)/ICMPv6NDOptDstLLAddr(lladdr=B)
    const ADVERT: &str =
        "6000000000203aff20010db800000000000000000000000220010db8000000000000000000000001
        88000a71e000000020010db80000000000000000000000020201020000000002";
    /// scapy: IPv6(fe80::1 → ff02::1, hlim=255)/ICMPv6ND_RA(chlim=64, prf=0, routerlifetime=1800)
    /// /ICMPv6NDOptSrcLLAddr(lladdr=A)/ICMPv6NDOptMTU(mtu=1500)
    /// /ICMPv6NDOptPrefixInfo(prefix=2001:db8::, prefixlen=64, validlifetime=86400,
    /// preferredlifetime=14400)
    const ROUTER: &str =
        "6000000000403afffe800000000000000000000000000001ff020000000000000000000000000001
        86002bd9400007080000000000000000010102000000000105010000000005dc030440c000015180
        000038400000000020010db8000000000000000000000000";

    fn solicit() -> NdRepr {
        NdRepr::Solicit { target: ip("2001:db8::2"), source_mac: Some(A) }
    }

    fn advert() -> NdRepr {
        NdRepr::Advert {
            target: ip("2001:db8::2"),
            target_mac: Some(B),
            router: true,
            solicited: true,
            overrides: true,
        }
    }

    #[test]
    fn same_messages_as_scapy() {
        let prefix =
            Prefix { network: ip("2001:db8::"), len: 64, valid: 86_400, preferred: 14_400 };
        let router = NdRepr::RouterAdvert(RouterAdvert {
            hop_limit: 64,
            lifetime: 1800,
            source_mac: Some(A),
            mtu: Some(1500),
            prefixes: [prefix].into_iter().collect(),
        });
        for (text, ends, repr) in [
            (SOLICIT, ends("2001:db8::1", "ff02::1:ff00:2"), solicit()),
            (ADVERT, ends("2001:db8::2", "2001:db8::1"), advert()),
            (ROUTER, ends("fe80::1", "ff02::1"), router),
        ] {
            assert_eq!(repr.datagram(ends)[..], hex(text));
            assert_eq!(NdRepr::parse(&hex(text)), Ok((ends, repr)));
        }
    }

    #[test]
    fn groups_and_their_link_addresses() {
        let group = solicited_node(ip("2001:db8::12:3456:789a"));
        assert_eq!(group, ip("ff02::1:ff56:789a"));
        assert_eq!(group_mac(group), Mac([0x33, 0x33, 0xff, 0x56, 0x78, 0x9a]));
        assert_eq!(group_mac(ALL_NODES), Mac([0x33, 0x33, 0, 0, 0, 1]));
    }

    /// A message changed in one byte, its checksum made good.
    fn changed(datagram: &[u8], at: usize, value: u8) -> Vec<u8> {
        let mut bytes = datagram.to_vec();
        bytes[at] = value;
        let ends = Datagram::parse(&bytes).expect("valid").ends;
        bytes[42..44].fill(0);
        let sum = ends.checksum(&bytes[40..]);
        bytes[42..44].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    #[test]
    fn nd_03_what_is_not_valid_is_refused_by_name() {
        let (ns, na) = (hex(SOLICIT), hex(ADVERT));
        for (bytes, error) in [
            (changed(&ns, 7, 254), NdError::HopLimit),
            (changed(&ns, 41, 1), NdError::Code),
            (changed(&ns, 48, 0xff), NdError::MulticastTarget),
            (changed(&na, 48, 0xff), NdError::MulticastTarget),
            (changed(&ns, 65, 0), NdError::Option),
            (changed(&ns, 65, 2), NdError::Option),
            (changed(&na, 24, 0xff), NdError::SolicitedGroup),
            (changed(&ns, 40, 137), NdError::Unknown),
            (changed(&hex(ROUTER), 8, 0x20), NdError::Router),
            (changed(&ns, 6, 17), NdError::NotIcmp),
        ] {
            assert_eq!(NdRepr::parse(&bytes), Err(error));
        }
        let mut bad_sum = ns.clone();
        bad_sum[50] ^= 1;
        assert_eq!(NdRepr::parse(&bad_sum), Err(NdError::Icmp(IcmpError::BadChecksum)));
        // Shorter ones, their lengths and sums made good.
        for len in 40..ns.len() {
            let mut cut = ns[..len].to_vec();
            cut[5] = (len - 40) as u8;
            let cut = if len >= 44 { changed(&cut, 7, 255) } else { cut };
            let error = match len {
                0..48 => NdError::Icmp(IcmpError::TooShort),
                48..64 => NdError::TooShort,
                64 => continue,
                _ => NdError::Option,
            };
            assert_eq!(NdRepr::parse(&cut), Err(error), "{len}");
        }
    }

    #[test]
    fn nd_03_from_nobody_only_to_the_group_and_without_an_address() {
        let probe = NdRepr::Solicit { target: ip("2001:db8::2"), source_mac: None };
        let good = ends("::", "ff02::1:ff00:2");
        assert_eq!(NdRepr::parse(&probe.datagram(good)), Ok((good, probe.clone())));
        let bad = Err(NdError::Unspecified);
        assert_eq!(NdRepr::parse(&solicit().datagram(good)), bad);
        assert_eq!(NdRepr::parse(&probe.datagram(ends("::", "2001:db8::2"))), bad);
        let router = NdRepr::RouterSolicit { source_mac: Some(A) };
        assert_eq!(NdRepr::parse(&router.datagram(ends("::", "ff02::2"))), bad);
    }

    proptest! {
        #[test]
        fn parse_of_emit_is_identity_and_etherparse_agrees(
            addresses in any::<[u128; 3]>(), mac in any::<Option<[u8; 6]>>(),
            flags in any::<[bool; 3]>(), advert in any::<bool>(),
        ) {
            let unicast = |bits: u128| Ipv6Addr::from_bits(bits >> 3 | 1 << 125);
            let [source, destination, target] = addresses.map(unicast);
            let (ends, mac) = (Ends { source, destination }, mac.map(Mac));
            let [router, solicited, overrides] = flags;
            let repr = match advert {
                true => NdRepr::Advert { target, target_mac: mac, router, solicited, overrides },
                false => NdRepr::Solicit { target, source_mac: mac },
            };
            let bytes = repr.datagram(ends);
            prop_assert_eq!(NdRepr::parse(&bytes), Ok((ends, repr)));
            let theirs = etherparse::SlicedPacket::from_ip(&bytes).expect("their parse");
            let Some(etherparse::TransportSlice::Icmpv6(icmp)) = theirs.transport else {
                return Err(TestCaseError::fail("etherparse sees no ICMPv6"));
            };
            prop_assert!(icmp.is_checksum_valid(source.octets(), destination.octets()));
            prop_assert_eq!(icmp.type_u8(), if advert { 136 } else { 135 });
        }

        #[test]
        fn arbitrary_options_never_panic(
            kind in 133u8..137, body in proptest::collection::vec(any::<u8>(), 0..120),
        ) {
            let ends = ends("fe80::1", "fe80::2");
            let mut bytes = vec![0; IPV6_LEN + ICMP_LEN];
            bytes.extend(&body);
            emit_header(ends, HOP_LIMIT, 0, ICMP_LEN + body.len(), &mut bytes).expect("room");
            emit_message(kind, 0, 0, ends, &mut bytes[IPV6_LEN..]).expect("room");
            let _ = NdRepr::parse(&bytes);
        }
    }
}
