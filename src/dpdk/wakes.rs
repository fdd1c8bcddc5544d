//! One thread for the wake-ups of `net_tap`.
//!
//! That driver learns of frames by real-time signals, whose handler counts up a
//! word that is no atomic one: run by two threads at once it can lose a count, and
//! the frames then wait in the kernel until the next one comes. So every thread of
//! the process has these signals blocked but one, which does nothing else.

use std::io;
use std::thread;

/// Blocks real-time signals in the calling thread, and so in those it starts from
/// now on, but for the one started here that takes them.
///
/// # Errors
/// The system has no thread left.
pub(super) fn one_thread() -> io::Result<()> {
    mask(libc::SIG_BLOCK)?;
    let take = || {
        // It cannot fail: the words are ours and the way is a known one.
        let _ = mask(libc::SIG_UNBLOCK);
        loop {
            thread::park();
        }
    };
    thread::Builder::new().name("gh-wakes".into()).spawn(take).map(drop)
}

/// Blocks real-time signals in the calling thread, or lets them through.
fn mask(how: libc::c_int) -> io::Result<()> {
    // SAFETY: a signal set is plain bits, which sigemptyset sets anyway.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is a signal set of ours.
    unsafe { libc::sigemptyset(&mut set) };
    for signal in libc::SIGRTMIN()..=libc::SIGRTMAX() {
        // SAFETY: as above, and the signal is one there is.
        unsafe { libc::sigaddset(&mut set, signal) };
    }
    // SAFETY: `set` outlives the call, and nobody asks for the old mask.
    match unsafe { libc::pthread_sigmask(how, &set, std::ptr::null_mut()) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}
