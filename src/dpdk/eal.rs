//! The EAL: DPDK's memory, devices and threads, once per process.
//!
//! Memory comes from hugepages (`--in-memory`) or from ordinary pages
//! (`--no-huge`). The EAL is told to leave the calling thread on all control
//! CPUs and to start no threads for packets; see [`super::affinity`]. Devices
//! are attached one by one after the start, so that each failure has a name.

use std::ffi::{CString, c_char};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::affinity::{allowed_cpus, confine, control_cpus, worker_cores};
use super::device::Device;
use super::{Errno, c_text, log, wakes};
use crate::model::spec::{DpdkSettings, Hugepages};

/// How to start.
#[derive(Clone, Debug)]
pub struct EalConfig {
    /// Packet memory, MiB.
    pub memory_mib: u32,
    /// Where it comes from.
    pub hugepages: Hugepages,
    /// CPUs of the calling thread and of the EAL's own helper threads. Empty:
    /// those the calling thread is on.
    pub control_cpus: Vec<usize>,
    /// Device strings: virtual devices and PCI addresses.
    pub devices: Vec<String>,
    /// Start of the name of the EAL's run-time directory; the process id follows.
    pub file_prefix: String,
}

impl EalConfig {
    /// As `[dpdk]` says, with these devices; control keeps off the workers' cores.
    pub fn new(settings: &DpdkSettings, devices: Vec<String>) -> EalConfig {
        EalConfig {
            memory_mib: settings.memory_mib,
            hugepages: settings.hugepages,
            control_cpus: control_cpus(&worker_cores(&settings.workers)),
            devices,
            file_prefix: "greyhound".to_owned(),
        }
    }
}

/// Why the EAL did not start.
#[derive(Debug, thiserror::Error)]
pub enum EalError {
    /// It starts once per process, even if it failed or has been shut down.
    #[error("the EAL was started before in this process; it cannot start twice")]
    StartedBefore,
    /// `hugepages = "on"` and there are not enough.
    #[error(
        "hugepages = \"on\", memory = {wanted_mib} MiB, but {free}; reserve some (`echo {pages} > /proc/sys/vm/nr_hugepages`) or set hugepages = \"auto\" or \"off\""
    )]
    Hugepages {
        /// MiB asked for.
        wanted_mib: u32,
        /// What there is, in words.
        free: String,
        /// Pages of 2 MiB that would do.
        pages: u32,
    },
    /// No thread for the wake-ups of taps.
    #[error("cannot start the thread that takes real-time signals: {0}")]
    Wakes(std::io::Error),
    /// Control's CPUs are not there to use.
    #[error("cannot run control on CPUs {cpus:?}: {source}")]
    ControlCpus {
        /// CPUs asked for.
        cpus: Vec<usize>,
        /// What the system says.
        source: std::io::Error,
    },
    /// The EAL itself refused.
    #[error("the EAL did not start with `{arguments}`: {reason}{log}")]
    Init {
        /// Its command line.
        arguments: String,
        /// What it says.
        reason: Errno,
        /// What it logged.
        log: String,
    },
    /// A device did not come up.
    #[error("device `{device}`: {reason}{log}")]
    Device {
        /// The device string.
        device: String,
        /// Why, as far as can be known.
        reason: String,
        /// What its driver logged.
        log: String,
    },
}

/// Where packet memory came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Hugepages, without files.
    Hugepages,
    /// Ordinary pages: slower, for want of hugepages or by wish.
    Ordinary,
}

/// The running EAL. Clones share it; the last one to go shuts it down, so
/// pools, ports and workers each hold one.
#[derive(Clone, Debug)]
pub struct Eal(Arc<Running>);

#[derive(Debug)]
struct Running {
    memory: Memory,
    directory: PathBuf,
}

static STARTED: AtomicBool = AtomicBool::new(false);

impl Eal {
    /// Starts the EAL and attaches the devices.
    pub fn init(config: &EalConfig) -> Result<Eal, EalError> {
        let memory = choose_memory(config, &free_hugepages(Path::new(HUGEPAGES)))?;
        if STARTED.swap(true, Ordering::SeqCst) {
            return Err(EalError::StartedBefore);
        }
        if !config.control_cpus.is_empty() {
            // Before the start: the EAL puts its helper threads on what the
            // calling thread has and the packet threads do not need.
            confine(&config.control_cpus).map_err(|source| EalError::ControlCpus {
                cpus: config.control_cpus.clone(),
                source,
            })?;
        }
        wakes::one_thread().map_err(EalError::Wakes)?;
        let devices: Vec<Device> = config.devices.iter().map(|text| Device::parse(text)).collect();
        let arguments = arguments(config, memory, &devices);
        let messages = start(&arguments)?;
        // SAFETY: the EAL is up; the text is in static memory.
        let directory = PathBuf::from(unsafe { c_text(dpdk_sys::gh_runtime_dir()) });
        sweep(&directory, &config.file_prefix);
        let eal = Eal(Arc::new(Running { memory, directory }));
        devices.iter().try_for_each(|device| attach(device, &messages))?;
        Ok(eal)
    }

    /// Where packet memory came from.
    pub fn memory(&self) -> Memory {
        self.0.memory
    }

    /// Where the EAL keeps its files while it runs.
    pub fn directory(&self) -> &Path {
        &self.0.directory
    }

    /// DPDK's version, as it names itself.
    pub fn version() -> String {
        // SAFETY: a constant string; needs no running EAL.
        unsafe { c_text(dpdk_sys::gh_version()) }
    }

    /// Keeps the EAL up until the process ends, because something still uses
    /// its memory. Its files go now, since there will be no shutdown.
    pub(super) fn abandon(self) {
        remove_directory(&self.0.directory);
        std::mem::forget(self);
    }

    /// Ticks per second of the clock that workers read.
    pub fn ticks_per_second(&self) -> u64 {
        // SAFETY: reads a number that the EAL measured when it started.
        unsafe { dpdk_sys::gh_tsc_hz() }
    }

    /// Bytes of packet memory that nothing uses yet.
    pub fn free_memory(&self) -> u64 {
        // SAFETY: the EAL is up.
        unsafe { dpdk_sys::gh_heap_free() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // SAFETY: pools, ports and workers hold an `Eal`, so none is left.
        if let Err(reason) = Errno::check(unsafe { dpdk_sys::gh_eal_cleanup() }) {
            tracing::warn!("the EAL did not shut down cleanly: {reason}");
        }
        remove_directory(&self.directory);
    }
}

/// The EAL's command line.
fn arguments(config: &EalConfig, memory: Memory, devices: &[Device]) -> Vec<String> {
    let cpus =
        if config.control_cpus.is_empty() { allowed_cpus() } else { config.control_cpus.clone() };
    let cpus: Vec<String> = cpus.iter().map(usize::to_string).collect();
    let mut arguments = vec![
        "greyhound".to_owned(),
        format!("--lcores=0@({})", cpus.join(",")),
        format!("--file-prefix={}-{}", config.file_prefix, std::process::id()),
        "--no-telemetry".to_owned(),
        "--log-level=warning".to_owned(),
        format!("-m{}", config.memory_mib),
    ];
    let mut add = |argument: &str| arguments.push(argument.to_owned());
    match memory {
        // The EAL refuses --in-memory and --no-huge together.
        Memory::Hugepages => add("--in-memory"),
        Memory::Ordinary => {
            add("--no-huge");
            add("--no-shconf");
        }
    }
    let pci: Vec<&Device> = devices.iter().filter(|device| device.is_pci).collect();
    if pci.is_empty() {
        add("--no-pci");
        // Virtual devices copy; nothing needs physical addresses.
        add("--iova-mode=va");
    }
    for device in pci {
        add("-a");
        add(&device.to_string());
    }
    arguments
}

/// Starts the EAL and returns what it logged.
fn start(arguments: &[String]) -> Result<Vec<String>, EalError> {
    let refused = |reason, log: &[String]| EalError::Init {
        arguments: arguments.join(" "),
        reason,
        log: log::tail(log),
    };
    log::install().map_err(|reason| refused(reason, &[]))?;
    // Leaked on purpose: drivers keep pointers into the arguments.
    let owned: Vec<CString> =
        arguments.iter().filter_map(|text| CString::new(text.as_str()).ok()).collect();
    let mut argv: Vec<*mut c_char> = owned.into_iter().map(CString::into_raw).collect();
    argv.push(std::ptr::null_mut());
    let argv: &'static mut [*mut c_char] = argv.leak();
    let count = i32::try_from(argv.len() - 1).unwrap_or(0);
    // SAFETY: `STARTED` makes this the only start; argv is an array of `count`
    // writable C strings and a null, and lives for ever.
    let (code, messages) =
        log::watch(|| unsafe { dpdk_sys::gh_eal_init(count, argv.as_mut_ptr()) });
    match Errno::check(code) {
        Ok(()) => Ok(messages),
        Err(reason) => Err(refused(reason, &messages)),
    }
}

/// Probes a virtual device; looks whether a PCI device was probed at the start,
/// when DPDK logged `at_start`.
fn attach(device: &Device, at_start: &[String]) -> Result<(), EalError> {
    let failed = |reason: String, messages: &[String]| EalError::Device {
        device: device.to_string(),
        reason: device.obstacle().unwrap_or(reason),
        log: log::tail(messages),
    };
    let text = |text: &str| {
        CString::new(text).map_err(|_| failed("the device string has a zero byte".to_owned(), &[]))
    };
    let (name, options) = (text(&device.name)?, text(&device.driver_arguments())?);
    if device.is_pci {
        let mut port = 0;
        // SAFETY: the EAL is up; a C string and a place for the number.
        let code = unsafe { dpdk_sys::gh_port_find(name.as_ptr(), &mut port) };
        return Errno::check(code).map_err(|reason| failed(reason.to_string(), at_start));
    }
    // SAFETY: the EAL is up; three C strings that live during the call.
    let (code, messages) = log::watch(|| unsafe {
        dpdk_sys::gh_device_attach(c"vdev".as_ptr(), name.as_ptr(), options.as_ptr())
    });
    Errno::check(code).map_err(|reason| failed(explain(reason, &messages), &messages))
}

fn explain(reason: Errno, messages: &[String]) -> String {
    if messages.iter().any(|message| message.contains("failed to parse device")) {
        return "DPDK has no driver for a device of this name".to_owned();
    }
    match reason.0 {
        libc::EEXIST => "a device of this name exists already".to_owned(),
        _ => format!("its driver refused it: {reason}"),
    }
}

const HUGEPAGES: &str = "/sys/kernel/mm/hugepages";

/// Free hugepages by size, kB.
fn free_hugepages(directory: &Path) -> Vec<(u64, u64)> {
    let Ok(sizes) = std::fs::read_dir(directory) else { return Vec::new() };
    let read = |entry: std::fs::DirEntry| {
        let size = entry
            .file_name()
            .to_str()?
            .strip_prefix("hugepages-")?
            .strip_suffix("kB")?
            .parse()
            .ok()?;
        let free = std::fs::read_to_string(entry.path().join("free_hugepages")).ok()?;
        Some((size, free.trim().parse().ok()?))
    };
    let mut sizes: Vec<(u64, u64)> = sizes.flatten().filter_map(read).collect();
    sizes.sort_unstable();
    sizes
}

fn choose_memory(config: &EalConfig, free: &[(u64, u64)]) -> Result<Memory, EalError> {
    let wanted_mib = config.memory_mib;
    let free_mib = free.iter().map(|(size, count)| size * count).sum::<u64>() / 1024;
    let enough = free_mib >= u64::from(wanted_mib);
    let in_words = || {
        let sizes: Vec<String> =
            free.iter().map(|(size, count)| format!("{count} of {size} kB")).collect();
        match sizes.as_slice() {
            [] => "this kernel has no hugepages".to_owned(),
            sizes => format!("the free hugepages are {} ({free_mib} MiB)", sizes.join(" and ")),
        }
    };
    let pages = wanted_mib.div_ceil(2);
    match config.hugepages {
        Hugepages::Off => Ok(Memory::Ordinary),
        Hugepages::On | Hugepages::Auto if enough => Ok(Memory::Hugepages),
        Hugepages::On => Err(EalError::Hugepages { wanted_mib, free: in_words(), pages }),
        Hugepages::Auto => {
            tracing::warn!(
                "packet memory of {wanted_mib} MiB comes from ordinary pages, which costs 20 to 50 % \
                 of the speed: {}; `echo {pages} > /proc/sys/vm/nr_hugepages` would do",
                in_words()
            );
            Ok(Memory::Ordinary)
        }
    }
}

/// Removes directories of processes with our prefix that have died.
fn sweep(own: &Path, prefix: &str) {
    let Some(Ok(entries)) = own.parent().map(std::fs::read_dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name
            .to_str()
            .and_then(|name| name.strip_prefix(prefix)?.strip_prefix('-')?.parse::<u32>().ok());
        if let Some(pid) = pid
            && !Path::new("/proc").join(pid.to_string()).exists()
        {
            tracing::info!("removing {}: its process is gone", entry.path().display());
            remove_directory(&entry.path());
        }
    }
}

fn remove_directory(directory: &Path) {
    if directory.as_os_str().is_empty() {
        return;
    }
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!("cannot remove {}: {error}", directory.display());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn config(hugepages: Hugepages) -> EalConfig {
        EalConfig {
            memory_mib: 64,
            hugepages,
            control_cpus: vec![0, 3],
            devices: Vec::new(),
            file_prefix: "greyhound-test".to_owned(),
        }
    }

    #[test]
    fn memory_falls_back_only_where_it_may() {
        let (plenty, few) = ([(2048, 32)], [(2048, 31)]);
        for (wish, free, expected) in [
            (Hugepages::Auto, &plenty, Some(Memory::Hugepages)),
            (Hugepages::Auto, &few, Some(Memory::Ordinary)),
            (Hugepages::On, &plenty, Some(Memory::Hugepages)),
            (Hugepages::On, &few, None),
            (Hugepages::Off, &plenty, Some(Memory::Ordinary)),
        ] {
            assert_eq!(choose_memory(&config(wish), free).ok(), expected, "{wish:?} {free:?}");
        }
        let error = choose_memory(&config(Hugepages::On), &few).unwrap_err().to_string();
        assert!(error.contains("31 of 2048 kB (62 MiB)"), "{error}");
        assert!(error.contains("echo 32 >"), "{error}");
    }

    #[test]
    fn free_pages_are_read_by_size() {
        let dir = tempfile::tempdir().unwrap();
        for (size, free) in [("hugepages-1048576kB", "1\n"), ("hugepages-2048kB", "7\n")] {
            std::fs::create_dir(dir.path().join(size)).unwrap();
            std::fs::write(dir.path().join(size).join("free_hugepages"), free).unwrap();
        }
        assert_eq!(free_hugepages(dir.path()), [(2048, 7), (1_048_576, 1)]);
        assert_eq!(free_hugepages(&dir.path().join("none")), []);
    }

    #[test]
    fn the_two_memory_modes_never_mix() {
        let huge = arguments(&config(Hugepages::On), Memory::Hugepages, &[]);
        let ordinary = arguments(&config(Hugepages::Off), Memory::Ordinary, &[]);
        let has = |line: &[String], argument: &str| line.iter().any(|a| a == argument);
        assert!(
            has(&huge, "--in-memory") && !has(&huge, "--no-huge") && !has(&huge, "--no-shconf")
        );
        assert!(!has(&ordinary, "--in-memory") && has(&ordinary, "--no-huge"));
        assert!(has(&ordinary, "--no-shconf") && has(&ordinary, "--no-pci"));
        assert!(has(&huge, "--lcores=0@(0,3)") && has(&huge, "--no-telemetry"));
        let pci = arguments(&config(Hugepages::On), Memory::Hugepages, &[Device::parse("3b:00.0")]);
        assert!(has(&pci, "0000:3b:00.0") && !has(&pci, "--no-pci"));
    }

    #[test]
    fn directories_of_dead_processes_are_swept_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let own = format!("greyhound-{}", std::process::id());
        // No process has this id: it is above the kernel's limit of 2^22.
        for name in [own.as_str(), "greyhound-4194999", "rte-4194999", "greyhound-x"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        sweep(&dir.path().join(&own), "greyhound");
        let left = |name: &str| dir.path().join(name).exists();
        assert!(left(&own) && left("rte-4194999") && left("greyhound-x"));
        assert!(!left("greyhound-4194999"));
    }
}
