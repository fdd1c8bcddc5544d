//! Datagrams made here that do not fit: the pieces to send.

use crate::wire::EmitError;
use crate::wire::ipv4::IPV4_LEN;
use crate::wire::ipv4::fragment::{Fragment, FragmentError, FragmentPlan};
use crate::wire::ipv6::fragment::FragmentPlan6;
use crate::wire::ipv6::{IPV6_LEN, IPV6_MIN_MTU};

/// Why a datagram is not cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CutError {
    /// It must not or cannot be.
    #[error(transparent)]
    Plan(#[from] FragmentError),
    /// A piece does not fit its length field.
    #[error(transparent)]
    Emit(#[from] EmitError),
}

/// The pieces of an IPv4 datagram, none longer than `mtu`.
pub fn cut4(datagram: &[u8], mtu: usize) -> Result<Vec<Vec<u8>>, CutError> {
    let plan = FragmentPlan::new(datagram, mtu)?;
    let emit = |piece: &Fragment, out: &mut [u8]| plan.emit_header(piece, out);
    Ok(cut(plan.clone(), emit, &datagram[IPV4_LEN..])?)
}

/// The pieces of an IPv6 datagram, none longer than every link takes: no router
/// cuts it later.
pub fn cut6(datagram: &[u8], identification: u32) -> Result<Vec<Vec<u8>>, CutError> {
    let plan = FragmentPlan6::new(datagram, IPV6_MIN_MTU, identification)?;
    let emit = |piece: &Fragment, out: &mut [u8]| plan.emit_header(piece, out);
    Ok(cut(plan.clone(), emit, &datagram[IPV6_LEN..])?)
}

/// The pieces of a datagram with this payload; `emit` writes their headers.
fn cut(
    plan: impl Iterator<Item = Fragment>,
    emit: impl Fn(&Fragment, &mut [u8]) -> Result<usize, EmitError>,
    payload: &[u8],
) -> Result<Vec<Vec<u8>>, EmitError> {
    let one = |piece: Fragment| {
        let mut bytes = vec![0; piece.header_len];
        emit(&piece, &mut bytes)?;
        bytes.extend_from_slice(&payload[piece.offset..piece.offset + piece.len]);
        Ok(bytes)
    };
    plan.map(one).collect()
}
