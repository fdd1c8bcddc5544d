//! The IPv4 header (RFC 791), its validation (RFC 1812 §5.2.2) and emission.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------+-------+-----------+---+-------------------------------+
//! |Version|  IHL  |    DSCP   |ECN|         Total Length          |
//! +-------+-------+-----------+---+-----+-------------------------+
//! |        Identification         |0|D|M|     Fragment Offset     |
//! +---------------+---------------+-----+-------------------------+
//! |      TTL      |   Protocol    |        Header Checksum        |
//! +---------------+---------------+-------------------------------+
//! |                         Source Address                        |
//! +---------------------------------------------------------------+
//! |                      Destination Address                      |
//! +---------------------------------------------------------------+
//! |                Options (IHL − 5 words), padded                |
//! +---------------------------------------------------------------+
//! ```
//!
//! The reserved flag (shown 0) and unknown options are neither checked nor
//! touched (RT-04). Options are in [`options`], fragmentation in [`fragment`],
//! address classes in [`martian`].

use std::net::Ipv4Addr;

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{EmitError, checksum, room};

pub mod fragment;
pub mod martian;
pub mod options;

/// Bytes of a header without options.
pub const IPV4_LEN: usize = 20;
/// Most bytes a header can have (IHL 15).
pub const IPV4_MAX_HEADER: usize = 60;
/// Largest total length.
pub const IPV4_MAX_TOTAL: usize = 0xffff;
/// Version 4, IHL 5: the first byte of a header without options.
pub const VERSION_IHL: u8 = 0x45;

/// Offset of the TOS byte.
pub const TOS_OFFSET: usize = 1;
/// Offset of the total length.
pub const TOTAL_LENGTH_OFFSET: usize = 2;
/// Offset of the identification.
pub const ID_OFFSET: usize = 4;
/// Offset of the TTL.
pub const TTL_OFFSET: usize = 8;
/// Offset of the header checksum.
pub const CHECKSUM_OFFSET: usize = 10;
/// Offset of source and destination.
pub const ADDRESSES_OFFSET: usize = 12;

/// "Don't fragment" in the flags word.
pub const FLAG_DF: u16 = 0x4000;
/// "More fragments" in the flags word.
pub const FLAG_MF: u16 = 0x2000;
/// The fragment offset (in units of 8 bytes) in the flags word.
pub const OFFSET_MASK: u16 = 0x1fff;

/// The fixed 20 bytes, in place.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Ipv4Header {
    /// Version (high nibble) and header length in words (low nibble).
    pub version_ihl: u8,
    /// DSCP (6 bits) and ECN (2 bits).
    pub tos: u8,
    /// Header and payload in bytes.
    pub total_length: U16,
    /// Identification, common to the fragments of a datagram.
    pub identification: U16,
    /// Reserved, DF and MF bits, then the fragment offset in 8-byte units.
    pub flags_fragment: U16,
    /// Time to live.
    pub ttl: u8,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Header checksum.
    pub checksum: U16,
    /// Source address.
    pub source: U32,
    /// Destination address.
    pub destination: U32,
}

/// Which check of RFC 1812 §5.2.2 a packet failed, in the order they are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Ipv4Error {
    /// The link delivered fewer than 20 bytes (check 1).
    #[error("shorter than an IPv4 header")]
    TooShort,
    /// The version is not 4 (check 3).
    #[error("IP version is not 4")]
    BadVersion,
    /// The header length is below 5 words (check 4).
    #[error("IPv4 header length below 20 bytes")]
    BadHeaderLength,
    /// The total length is smaller than the header length (check 5).
    #[error("IPv4 total length smaller than the header")]
    BadTotalLength,
    /// The link delivered fewer bytes than the total length (RT-02).
    #[error("packet shorter than its IPv4 total length")]
    Truncated,
    /// The header checksum is wrong (check 2).
    #[error("bad IPv4 header checksum")]
    BadChecksum,
}

/// Checks the IPv4 packet that starts at `l3[0]`; bytes behind its total
/// length (Ethernet padding) are allowed and ignored.
///
/// With `checksum_verified` (the port did it) the sum is not computed again.
/// On `Ok`, `l3` holds the whole header, options included, and all of
/// [`Ipv4Header::total_len`].
#[inline]
pub fn validate(l3: &[u8], checksum_verified: bool) -> Result<&Ipv4Header, Ipv4Error> {
    validate_first(l3, IPV4_MAX_TOTAL, checksum_verified)
}

/// [`validate`] for a packet of which only the first `kept` bytes need be there,
/// no fewer than its header has: a copy made to be quoted, or what was quoted.
#[inline]
pub fn validate_first(
    l3: &[u8],
    kept: usize,
    checksum_verified: bool,
) -> Result<&Ipv4Header, Ipv4Error> {
    let (header, _) = Ipv4Header::ref_from_prefix(l3).map_err(|_| Ipv4Error::TooShort)?;
    let header_len = header.header_len();
    let total_len = header.total_len();
    if header.version() != 4 {
        return Err(Ipv4Error::BadVersion);
    }
    debug_assert!(kept >= header_len, "{kept} bytes do not hold the header");
    if header_len < IPV4_LEN {
        return Err(Ipv4Error::BadHeaderLength);
    }
    if total_len < header_len {
        return Err(Ipv4Error::BadTotalLength);
    }
    if l3.len() < total_len.min(kept) {
        return Err(Ipv4Error::Truncated);
    }
    if !checksum_verified && header_sum(header, &l3[..header_len]) != 0xffff {
        return Err(Ipv4Error::BadChecksum);
    }
    Ok(header)
}

#[inline]
fn header_sum(header: &Ipv4Header, bytes: &[u8]) -> u32 {
    match bytes.first_chunk::<IPV4_LEN>() {
        Some(fixed) if header.version_ihl == VERSION_IHL => checksum::sum20(fixed),
        _ => checksum::sum(bytes),
    }
}

impl Ipv4Header {
    /// The header at the start of `bytes`, unchecked but for 20 bytes being
    /// there.
    #[inline]
    #[must_use]
    pub fn ref_from(bytes: &[u8]) -> Option<&Ipv4Header> {
        Ipv4Header::ref_from_prefix(bytes).ok().map(|(header, _)| header)
    }

    /// Same, writable.
    #[inline]
    #[must_use]
    pub fn mut_from(bytes: &mut [u8]) -> Option<&mut Ipv4Header> {
        Ipv4Header::mut_from_prefix(bytes).ok().map(|(header, _)| header)
    }

    /// IP version, 4 in a valid packet.
    #[inline]
    #[must_use]
    pub fn version(&self) -> u8 {
        self.version_ihl >> 4
    }

    /// Header length in bytes, options included: 20..=60 in a valid packet.
    #[inline]
    #[must_use]
    pub fn header_len(&self) -> usize {
        usize::from(self.version_ihl & 0x0f) * 4
    }

    /// Header and payload in bytes.
    #[inline]
    #[must_use]
    pub fn total_len(&self) -> usize {
        usize::from(self.total_length.get())
    }

    /// Payload in bytes (0 if the lengths contradict each other).
    #[inline]
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.total_len().saturating_sub(self.header_len())
    }

    /// Differentiated services code point (RFC 2474), 0..=63.
    #[inline]
    #[must_use]
    pub fn dscp(&self) -> u8 {
        self.tos >> 2
    }

    /// ECN field (RFC 3168): 0 Not-ECT, 1 ECT(1), 2 ECT(0), 3 CE.
    #[inline]
    #[must_use]
    pub fn ecn(&self) -> u8 {
        self.tos & 3
    }

    /// "Don't fragment".
    #[inline]
    #[must_use]
    pub fn dont_fragment(&self) -> bool {
        self.flags_fragment.get() & FLAG_DF != 0
    }

    /// "More fragments".
    #[inline]
    #[must_use]
    pub fn more_fragments(&self) -> bool {
        self.flags_fragment.get() & FLAG_MF != 0
    }

    /// Offset of this payload in the unfragmented payload, in bytes.
    #[inline]
    #[must_use]
    pub fn fragment_offset(&self) -> usize {
        usize::from(self.flags_fragment.get() & OFFSET_MASK) * 8
    }

    /// True for every fragment, first and last included.
    #[inline]
    #[must_use]
    pub fn is_fragment(&self) -> bool {
        self.flags_fragment.get() & (FLAG_MF | OFFSET_MASK) != 0
    }

    /// True for a fragment that does not carry the transport header.
    #[inline]
    #[must_use]
    pub fn is_later_fragment(&self) -> bool {
        self.flags_fragment.get() & OFFSET_MASK != 0
    }

    /// True if there are options (or padding) behind the 20 bytes.
    #[inline]
    #[must_use]
    pub fn has_options(&self) -> bool {
        self.header_len() > IPV4_LEN
    }

    /// Source address, host order.
    #[inline]
    #[must_use]
    pub fn src(&self) -> u32 {
        self.source.get()
    }

    /// Destination address, host order.
    #[inline]
    #[must_use]
    pub fn dst(&self) -> u32 {
        self.destination.get()
    }

    /// Source address.
    #[inline]
    #[must_use]
    pub fn src_addr(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.src())
    }

    /// Destination address.
    #[inline]
    #[must_use]
    pub fn dst_addr(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.dst())
    }

    /// Takes one from the TTL and updates the checksum (RT-09). The caller has
    /// checked that the TTL is not 0.
    #[inline]
    pub fn decrement_ttl(&mut self) {
        debug_assert!(self.ttl > 0, "TTL 0 is never forwarded");
        self.ttl = self.ttl.wrapping_sub(1);
        self.checksum = checksum::decrement_ttl(self.checksum.get()).into();
    }

    /// Replaces the TOS byte and updates the checksum.
    #[inline]
    pub fn set_tos(&mut self, tos: u8) {
        let word = |tos| u16::from_be_bytes([self.version_ihl, tos]);
        self.checksum = checksum::update16(self.checksum.get(), word(self.tos), word(tos)).into();
        self.tos = tos;
    }
}

/// Writes the checksum of the header at the start of `packet`, whose IHL says
/// how long it is. False, and nothing done, if it is not all there.
#[must_use]
pub fn fill_checksum(packet: &mut [u8]) -> bool {
    let Some(header_len) = Ipv4Header::ref_from(packet).map(Ipv4Header::header_len) else {
        return false;
    };
    if header_len < IPV4_LEN || packet.len() < header_len {
        return false;
    }
    packet[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 2].fill(0);
    let sum = checksum::checksum(&packet[..header_len]);
    packet[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 2].copy_from_slice(&sum.to_be_bytes());
    true
}

/// What a datagram made here has to say: no options, not a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Repr {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Time to live.
    pub ttl: u8,
    /// DSCP and ECN.
    pub tos: u8,
    /// Identification; must not repeat while DF is clear (V4-04).
    pub id: u16,
    /// "Don't fragment".
    pub df: bool,
    /// Bytes behind the header, at most 65 515.
    pub payload_len: usize,
}

impl Ipv4Repr {
    /// The meaningful values of a validated header.
    #[must_use]
    pub fn of(header: &Ipv4Header) -> Ipv4Repr {
        Ipv4Repr {
            src: header.src_addr(),
            dst: header.dst_addr(),
            protocol: header.protocol,
            ttl: header.ttl,
            tos: header.tos,
            id: header.identification.get(),
            df: header.dont_fragment(),
            payload_len: header.payload_len(),
        }
    }

    /// The header, checksum filled in.
    pub fn header(&self) -> Result<Ipv4Header, EmitError> {
        let most = IPV4_MAX_TOTAL - IPV4_LEN;
        let total = u16::try_from(self.payload_len.saturating_add(IPV4_LEN))
            .map_err(|_| EmitError::TooLong { length: self.payload_len, most })?;
        let mut header = Ipv4Header {
            version_ihl: VERSION_IHL,
            tos: self.tos,
            total_length: total.into(),
            identification: self.id.into(),
            flags_fragment: (if self.df { FLAG_DF } else { 0 }).into(),
            ttl: self.ttl,
            protocol: self.protocol,
            checksum: 0.into(),
            source: u32::from(self.src).into(),
            destination: u32::from(self.dst).into(),
        };
        header.checksum = checksum::checksum(header.as_bytes()).into();
        Ok(header)
    }

    /// Writes the 20 bytes at the start of `buffer`; the payload is the
    /// caller's. Returns the header's length.
    pub fn emit(&self, buffer: &mut [u8]) -> Result<usize, EmitError> {
        let header = self.header()?;
        room(buffer, IPV4_LEN)?.copy_from_slice(header.as_bytes());
        Ok(IPV4_LEN)
    }
}

#[cfg(test)]
mod tests;
