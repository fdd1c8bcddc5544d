//! Which CPUs threads run on, and worker threads.
//!
//! Workers are plain Rust threads, pinned and then registered with the EAL, so
//! that mempools give them a cache of their own. The EAL starts no workers.

use std::sync::mpsc;
use std::thread::{Builder, JoinHandle};

use core_affinity::CoreId;

use super::{Eal, Errno};

/// A worker thread that could not start.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The operating system gave no thread.
    #[error("worker `{name}`: no thread: {source}")]
    Spawn {
        /// Name of the worker.
        name: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The core does not exist or is not ours to use.
    #[error(
        "worker `{name}`: cannot be pinned to core {core}: it does not exist or is outside this process's CPU set"
    )]
    Pin {
        /// Name of the worker.
        name: String,
        /// The core asked for.
        core: usize,
    },
    /// The EAL refused the thread.
    #[error("worker `{name}`: the EAL did not register the thread: {reason}")]
    Register {
        /// Name of the worker.
        name: String,
        /// What it says.
        reason: Errno,
    },
    /// The thread ended before it could say anything.
    #[error("worker `{name}`: the thread died while it started")]
    Died {
        /// Name of the worker.
        name: String,
    },
}

/// Starts a thread that is pinned to `core`, registered with the EAL, and runs
/// `f`. Returns once it is pinned and registered, or says why it could not be.
/// The EAL stays up at least until the thread has ended.
pub fn start_worker(
    eal: &Eal,
    core: usize,
    name: &str,
    f: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, WorkerError> {
    let (ready, started) = mpsc::sync_channel(1);
    let (eal, thread_name) = (eal.clone(), name.to_owned());
    let body = move || {
        let registration =
            pin(core, &thread_name).and_then(|()| Registration::new(&eal, &thread_name));
        match registration {
            Ok(_registered_until_the_end) => {
                // The other end waits for exactly this.
                let _ = ready.send(Ok(()));
                f();
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        }
    };
    let thread = Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map_err(|source| WorkerError::Spawn { name: name.to_owned(), source })?;
    let failure = match started.recv() {
        Ok(Ok(())) => return Ok(thread),
        Ok(Err(error)) => error,
        Err(_) => WorkerError::Died { name: name.to_owned() },
    };
    // Its hold on the EAL goes with it, or the EAL could outlive its last user.
    let _ = thread.join();
    Err(failure)
}

fn pin(core: usize, name: &str) -> Result<(), WorkerError> {
    // core_affinity panics beyond the size of the system's CPU set.
    let exists = core < libc::CPU_SETSIZE as usize;
    if exists && core_affinity::set_for_current(CoreId { id: core }) && allowed_cpus() == [core] {
        Ok(())
    } else {
        Err(WorkerError::Pin { name: name.to_owned(), core })
    }
}

/// The calling thread's place among the EAL's threads, given up on drop.
struct Registration<'e> {
    _eal: &'e Eal,
    // Belongs to the thread that made it.
    _not_send: std::marker::PhantomData<*const ()>,
}

impl<'e> Registration<'e> {
    fn new(eal: &'e Eal, name: &str) -> Result<Registration<'e>, WorkerError> {
        // SAFETY: the EAL is up (`eal`), and this thread is not registered yet.
        Errno::check(unsafe { dpdk_sys::gh_thread_register() })
            .map_err(|reason| WorkerError::Register { name: name.to_owned(), reason })?;
        Ok(Registration { _eal: eal, _not_send: std::marker::PhantomData })
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        // SAFETY: this thread is registered (`new`), the type is not Send, and
        // the EAL is still up (`_eal`).
        unsafe { dpdk_sys::gh_thread_unregister() }
    }
}

/// The calling thread's number among the EAL's threads; none if it is not
/// registered.
pub fn eal_thread() -> Option<u32> {
    // SAFETY: reads a thread-local of the EAL's; no preconditions.
    let id = unsafe { dpdk_sys::gh_lcore_id() };
    (id != u32::MAX).then_some(id)
}

/// CPUs the calling thread may run on, in rising order.
pub fn allowed_cpus() -> Vec<usize> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let mut cpus: Vec<usize> = cores.into_iter().map(|core| core.id).collect();
    cpus.sort_unstable();
    cpus
}

/// Cores of the workers: as configured, or the last one that the calling
/// thread may use. Ask before [`Eal::init`], which confines that thread.
pub fn worker_cores(configured: &[usize]) -> Vec<usize> {
    if configured.is_empty() {
        allowed_cpus().last().copied().into_iter().collect()
    } else {
        configured.to_vec()
    }
}

/// CPUs for everything but the workers: those the calling thread may use
/// without the workers' cores, or all of them if nothing would be left.
pub fn control_cpus(workers: &[usize]) -> Vec<usize> {
    let allowed = allowed_cpus();
    let rest: Vec<usize> = allowed.iter().copied().filter(|cpu| !workers.contains(cpu)).collect();
    if rest.is_empty() { allowed } else { rest }
}

/// Confines the calling thread to `cpus`; threads it starts inherit that.
pub(super) fn confine(cpus: &[usize]) -> std::io::Result<()> {
    // SAFETY: an all-zero cpu_set_t is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for &cpu in cpus {
        if cpu >= libc::CPU_SETSIZE as usize {
            return Err(std::io::Error::from_raw_os_error(libc::EINVAL));
        }
        // SAFETY: `cpu` is within the set.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: thread 0 is the calling one; the set and its size are right.
    let code = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) };
    if code == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_keeps_off_the_workers_cores_while_there_are_others() {
        let allowed = allowed_cpus();
        assert!(!allowed.is_empty());
        assert_eq!(control_cpus(&[]), allowed);
        assert_eq!(worker_cores(&[]), allowed[allowed.len() - 1..]);
        assert_eq!(worker_cores(&[5, 3]), [5, 3]);
        assert_eq!(control_cpus(&allowed), allowed);
        if let [_, rest @ ..] = allowed.as_slice()
            && !rest.is_empty()
        {
            assert_eq!(control_cpus(&allowed[..1]), rest);
        }
    }
}
