//! The primitives the tables synchronise with: std's, or loom's when a model
//! is being checked (see `model.rs`).

#[cfg(not(all(loom, test)))]
pub(crate) use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicU32, AtomicU64},
};

#[cfg(all(loom, test))]
pub(crate) use loom::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicU32, AtomicU64},
};

/// Locks the writer's half of a table.
///
/// A panic on control while it held the lock leaves the table as far as it
/// got; readers never depend on the writer's half, so going on is better than
/// poisoning every later change.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
