//! What the property tests do to a FIB of either family. Their oracles and what
//! they compare stay apart: tables that are built differently fail differently.

use proptest::prelude::*;
use proptest::sample::Index;

/// One step, on addresses of type `A`.
#[derive(Clone, Debug)]
pub(crate) enum Op<A> {
    /// A prefix to a next hop.
    Insert(A, u8, u32),
    /// A prefix that is there, if any is.
    Remove(Index),
    /// A prefix that may be there.
    RemoveAny(A, u8),
    /// The end of a transaction, and of the grace periods before it.
    Collect,
}

/// Less than `most` steps with prefixes from `prefix`.
pub(crate) fn ops<A: Clone + std::fmt::Debug, P: Strategy<Value = (A, u8)>>(
    prefix: impl Fn() -> P,
    most: usize,
) -> impl Strategy<Value = Vec<Op<A>>> {
    let op = prop_oneof![
        6 => (prefix(), 1u32..40).prop_map(|((a, l), hop)| Op::Insert(a, l, hop)),
        4 => any::<Index>().prop_map(Op::Remove),
        1 => prefix().prop_map(|(a, l)| Op::RemoveAny(a, l)),
        1 => Just(Op::Collect),
    ];
    prop::collection::vec(op, 1..most)
}

/// The prefixes that steps insert.
pub(crate) fn inserts<A: Copy>(ops: &[Op<A>]) -> impl Iterator<Item = (A, u8)> {
    ops.iter().filter_map(|op| match op {
        Op::Insert(address, len, _) => Some((*address, *len)),
        _ => None,
    })
}
