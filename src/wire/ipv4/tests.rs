//! Tests of the IPv4 header: captures, an independent codec, properties.

use super::*;
use crate::wire::testing::hex;
use crate::wire::{IPPROTO_GRE, IPPROTO_ICMP};
use proptest::prelude::*;

/// scapy: IP(src=10.0.0.25, dst=10.0.0.163, ttl=64, id=1, flags=DF)/GRE()/IP(...)
const OUTER: &str = "4500003d00014000402f25d60a0000190a0000a3 00000800
    4500002512340000400150a20c0000010c0000020800e8bb0077000367726579686f756e64";

#[test]
fn captured_outer_header() {
    let bytes = hex(OUTER);
    let header = validate(&bytes, false).expect("valid");
    assert_eq!((header.version(), header.header_len(), header.total_len()), (4, 20, 61));
    assert_eq!(header.src_addr(), Ipv4Addr::new(10, 0, 0, 25));
    assert_eq!(header.dst(), 0x0a00_00a3);
    assert_eq!((header.protocol, header.ttl), (IPPROTO_GRE, 64));
    assert!(header.dont_fragment() && !header.is_fragment() && !header.has_options());
    let mut again = [0; IPV4_LEN];
    Ipv4Repr::of(header).emit(&mut again).expect("room");
    assert_eq!(again, bytes[..IPV4_LEN]);
}

#[test]
fn captured_fragments() {
    // scapy: fragment(IP(id=7)/UDP/100 bytes, fragsize=56)
    let first = hex("4500004c000720000911768d0a0102030a040506");
    let second = hex("45000048000700070911968a0a0102030a040506");
    let first = Ipv4Header::ref_from(&first).expect("20 bytes");
    assert!(first.is_fragment() && first.more_fragments() && !first.is_later_fragment());
    let second = Ipv4Header::ref_from(&second).expect("20 bytes");
    assert!(second.is_fragment() && !second.more_fragments() && second.is_later_fragment());
    assert_eq!(second.fragment_offset(), 56);
}

#[test]
fn each_check_has_its_own_refusal() {
    let good = hex(OUTER);
    let patched = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        validate(&bytes, false).map(|_| ())
    };
    assert_eq!(validate(&good[..19], false), Err(Ipv4Error::TooShort));
    assert_eq!(patched(0, 0x65), Err(Ipv4Error::BadVersion));
    assert_eq!(patched(0, 0x44), Err(Ipv4Error::BadHeaderLength));
    assert_eq!(patched(3, 19), Err(Ipv4Error::BadTotalLength));
    assert_eq!(patched(3, 62), Err(Ipv4Error::Truncated));
    assert_eq!(patched(8, 63), Err(Ipv4Error::BadChecksum));
    assert_eq!(validate(&good[..60], false), Err(Ipv4Error::Truncated));
    // 0x4f claims 60 bytes of header, more than the total length.
    let mut short = good.clone();
    short[0] = 0x4f;
    short[3] = 59;
    assert_eq!(validate(&short, false), Err(Ipv4Error::BadTotalLength));
}

#[test]
fn padding_is_allowed_and_the_port_may_vouch_for_the_checksum() {
    let mut padded = hex(OUTER);
    padded.extend([0; 9]);
    assert_eq!(validate(&padded, false).map(Ipv4Header::total_len), Ok(61));
    padded[CHECKSUM_OFFSET] ^= 0xff;
    assert_eq!(validate(&padded, false), Err(Ipv4Error::BadChecksum));
    assert!(validate(&padded, true).is_ok());
}

#[test]
fn reserved_flag_and_options_are_accepted() {
    // scapy: options = RR, NOP, LSRR; header of 36 bytes.
    let mut bytes = hex("49000054000700000911ee630a0102030a040506
        07070400000000 01 83070409090909 00");
    bytes.resize(0x54, b'x');
    let header = validate(&bytes, false).expect("valid");
    assert_eq!((header.header_len(), header.payload_len()), (36, 48));
    assert!(header.has_options());
    bytes[6] |= 0x80;
    assert!(fill_checksum(&mut bytes));
    assert!(validate(&bytes, false).is_ok());
}

#[test]
fn emission_refuses_what_does_not_fit() {
    let repr = Ipv4Repr::of(Ipv4Header::ref_from(&hex(OUTER)).expect("20 bytes"));
    let huge = Ipv4Repr { payload_len: 65_516, ..repr };
    assert_eq!(huge.header(), Err(EmitError::TooLong { length: 65_516, most: 65_515 }));
    let most = Ipv4Repr { payload_len: 65_515, ..repr };
    assert_eq!(most.header().map(|h| h.total_len()), Ok(65_535));
    assert_eq!(repr.emit(&mut [0; 19]), Err(EmitError::NoRoom { needed: 20, available: 19 }));
    assert!(!fill_checksum(&mut hex("4500003d")));
    assert!(!fill_checksum(&mut hex("4600003d00014000402f25d60a0000190a0000a3")));
    assert!(!fill_checksum(&mut hex("4400003d00014000402f25d60a0000190a0000a3")));
}

fn any_repr() -> impl Strategy<Value = Ipv4Repr> {
    let fields = (any::<u32>(), any::<u32>(), any::<u8>(), any::<u8>(), any::<u8>());
    (fields, any::<u16>(), any::<bool>(), 0usize..=65_515).prop_map(
        |((src, dst, protocol, ttl, tos), id, df, payload_len)| Ipv4Repr {
            src: src.into(),
            dst: dst.into(),
            protocol,
            ttl,
            tos,
            id,
            df,
            payload_len,
        },
    )
}

proptest! {
    #[test]
    fn parse_of_emit_is_identity(repr in any_repr()) {
        let mut packet = vec![0u8; IPV4_LEN + repr.payload_len];
        repr.emit(&mut packet).expect("room");
        prop_assert_eq!(validate(&packet, false).map(Ipv4Repr::of), Ok(repr));
    }

    #[test]
    fn etherparse_reads_what_we_write_and_writes_the_same(repr in any_repr()) {
        let mut bytes = [0; IPV4_LEN];
        repr.emit(&mut bytes).expect("room");
        let (theirs, _) = etherparse::Ipv4Header::from_slice(&bytes).expect("their parse");
        prop_assert_eq!(theirs.source, repr.src.octets());
        prop_assert_eq!(theirs.destination, repr.dst.octets());
        prop_assert_eq!((theirs.protocol.0, theirs.time_to_live), (repr.protocol, repr.ttl));
        prop_assert_eq!((theirs.identification, theirs.dont_fragment), (repr.id, repr.df));
        prop_assert_eq!(theirs.dscp.value() << 2 | theirs.ecn.value(), repr.tos);
        prop_assert_eq!(usize::from(theirs.total_len), IPV4_LEN + repr.payload_len);
        prop_assert_eq!(&theirs.to_bytes()[..], &bytes[..]);
        prop_assert_eq!(theirs.calc_header_checksum(), theirs.header_checksum);
    }

    #[test]
    fn getters_agree_with_etherparse(
        mut bytes in any::<[u8; 60]>(), words in 5u8..=15, total in 60u16..,
    ) {
        bytes[0] = 0x40 | words;
        bytes[2..4].copy_from_slice(&total.to_be_bytes());
        let ours = Ipv4Header::ref_from(&bytes).expect("20 bytes");
        let (theirs, _) = etherparse::Ipv4Header::from_slice(&bytes).expect("their parse");
        prop_assert_eq!((ours.dscp(), ours.ecn()), (theirs.dscp.value(), theirs.ecn.value()));
        prop_assert_eq!(ours.dont_fragment(), theirs.dont_fragment);
        prop_assert_eq!(ours.more_fragments(), theirs.more_fragments);
        prop_assert_eq!(ours.fragment_offset(), usize::from(theirs.fragment_offset.value()) * 8);
        prop_assert_eq!(ours.is_fragment(), theirs.is_fragmenting_payload());
        prop_assert_eq!(ours.header_len(), theirs.header_len());
        prop_assert_eq!(ours.src_addr().octets(), theirs.source);
        prop_assert_eq!(ours.dst_addr().octets(), theirs.destination);
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..80), vouched in any::<bool>(),
    ) {
        if let Ok(header) = validate(&bytes, vouched) {
            prop_assert!(header.header_len() <= header.total_len());
            prop_assert!(header.total_len() <= bytes.len());
        }
    }

    #[test]
    fn every_single_bit_error_in_the_header_is_found(repr in any_repr(), bit in 0usize..160) {
        let mut packet = vec![0u8; IPV4_LEN + repr.payload_len];
        repr.emit(&mut packet).expect("room");
        packet[bit / 8] ^= 0x80 >> (bit % 8);
        prop_assert!(validate(&packet, false).is_err());
    }

    #[test]
    fn short_buffers_fail_with_the_right_error(repr in any_repr(), keep in 0usize..65_535) {
        let mut packet = vec![0u8; IPV4_LEN + repr.payload_len];
        repr.emit(&mut packet).expect("room");
        let keep = keep % packet.len();
        let expected = if keep < IPV4_LEN { Ipv4Error::TooShort } else { Ipv4Error::Truncated };
        prop_assert_eq!(validate(&packet[..keep], false), Err(expected));
    }

    #[test]
    fn updates_in_place_keep_the_checksum_right(repr in any_repr(), tos in any::<u8>()) {
        prop_assume!(repr.ttl > 0);
        let mut header = repr.header().expect("fits");
        header.decrement_ttl();
        header.set_tos(tos);
        let expected = Ipv4Repr { ttl: repr.ttl - 1, tos, ..repr }.header();
        prop_assert_eq!(Ok(header), expected);
    }
}

#[test]
fn protocol_numbers_match_etherparse() {
    assert_eq!(etherparse::ip_number::ICMP.0, IPPROTO_ICMP);
    assert_eq!(etherparse::ip_number::GRE.0, IPPROTO_GRE);
    assert_eq!(etherparse::ip_number::IPV4.0, crate::wire::IPPROTO_IPIP);
    assert_eq!(etherparse::ip_number::IPV6.0, crate::wire::IPPROTO_IPV6);
    assert_eq!(etherparse::ip_number::UDP.0, crate::wire::IPPROTO_UDP);
    assert_eq!(etherparse::ip_number::TCP.0, crate::wire::IPPROTO_TCP);
    assert_eq!(etherparse::ip_number::MOBILE.0, crate::wire::IPPROTO_MINIMAL);
}
