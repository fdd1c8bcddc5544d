//! Explicit congestion notification through tunnels (RFC 6040).
//!
//! ```text
//!  §4.2, what goes on         outer
//!  inner      Not-ECT   ECT(0)    ECT(1)    CE
//!  Not-ECT    Not-ECT   Not-ECT   Not-ECT   drop
//!  ECT(0)     ECT(0)    ECT(0)    ECT(1)    CE
//!  ECT(1)     ECT(1)    ECT(1)    ECT(1)    CE
//!  CE         CE        CE        CE        CE
//! ```
//!
//! Of these RFC 6040 calls five dangerous or unused, marked (!!!) or (!): inner
//! Not-ECT with any outer mark, ECT(1) with ECT(0), CE with ECT(1). They are
//! counted (EC-04); nobody is woken up.
//!
//! On the way in the field is copied to the outer header (§4.1, normal mode).

/// The field's bits in the TOS byte.
pub(crate) const MASK: u8 = 3;
/// Sender does not know ECN.
pub(crate) const NOT_ECT: u8 = 0;
/// ECN-capable, the more common code point is 2; this is the "stronger" one.
pub(crate) const ECT_1: u8 = 1;
/// The more common of both code points.
pub(crate) const ECT_0: u8 = 2;
/// Congestion experienced.
pub(crate) const CE: u8 = 3;

/// The ECN field of a TOS byte.
#[inline(always)]
pub(crate) fn field(tos: u8) -> u8 {
    tos & MASK
}

/// A combination that no sound tunnel makes: some box on the way changed the
/// field as it must not, or the far end's ingress did not copy it.
pub(crate) fn is_anomaly(inner: u8, outer: u8) -> bool {
    match inner {
        NOT_ECT => outer != NOT_ECT,
        ECT_1 => outer == ECT_0,
        CE => outer == ECT_1,
        _ => false,
    }
}

/// The inner field after decapsulation; `None`: drop the packet.
pub(crate) fn decapsulated(inner: u8, outer: u8) -> Option<u8> {
    match (inner, outer) {
        (NOT_ECT, CE) => None,
        (NOT_ECT, _) => Some(NOT_ECT),
        (_, CE) => Some(CE),
        (CE, _) => Some(CE),
        (_, ECT_1) => Some(ECT_1),
        (inner, _) => Some(inner),
    }
}
