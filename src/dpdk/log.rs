//! DPDK's log, led into `tracing` (target `dpdk`).
//!
//! DPDK would write to stdout and syslog. Here each message becomes an event
//! of our own log, and while a device is being probed the messages are kept
//! too, because a driver says only there why it refused.

use std::sync::{Mutex, PoisonError};

use super::Errno;

/// `RTE_LOG_ERR` and `RTE_LOG_WARNING`: smaller is worse.
const ERROR: u32 = 4;
const WARNING: u32 = 5;

static KEPT: Mutex<Option<Vec<String>>> = Mutex::new(None);

/// Takes DPDK's log over, for good.
pub(super) fn install() -> Result<(), Errno> {
    // SAFETY: the callback lives as long as the program and may run on any thread.
    Errno::check(unsafe { dpdk_sys::gh_log_to(Some(message)) })
}

/// Runs `f` and returns with its result what DPDK logged meanwhile.
pub(super) fn watch<T>(f: impl FnOnce() -> T) -> (T, Vec<String>) {
    *KEPT.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
    let result = f();
    let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner).take();
    (result, kept.unwrap_or_default())
}

/// What the EAL adds to every failed probe, saying nothing.
const NOISE: [&str; 2] = ["EAL: Driver cannot attach", "EAL: Failed to attach"];

/// Kept messages as the tail of an error text: nothing, or ` (DPDK: a; b)`.
pub(super) fn tail(messages: &[String]) -> String {
    let telling: Vec<&str> = messages
        .iter()
        .map(String::as_str)
        .filter(|message| !NOISE.iter().any(|noise| message.starts_with(noise)))
        .collect();
    if telling.is_empty() { String::new() } else { format!(" (DPDK: {})", telling.join("; ")) }
}

extern "C" fn message(level: u32, text: *const std::ffi::c_char, len: usize) {
    if text.is_null() {
        return;
    }
    // SAFETY: the C library hands over `len` readable bytes for the time of
    // the call; bytes need no alignment and nobody writes to them meanwhile.
    let bytes = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), len) };
    let text = String::from_utf8_lossy(bytes);
    for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        match level {
            ..=ERROR => tracing::error!(target: "dpdk", "{line}"),
            WARNING => tracing::warn!(target: "dpdk", "{line}"),
            _ => tracing::debug!(target: "dpdk", "{line}"),
        }
        if let Some(kept) = KEPT.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            kept.push(line.to_owned());
        }
    }
}
