//! A gateway in a box: the real path and real control over heap ports and
//! virtual time, and the pcap cases that are replayed through it.
//!
//! ```text
//!   in.en0.pcap ─▶ HeapIo ─▶ Worker ⇄ Control ─▶ HeapIo ─▶ got ─┬─ compare ─▶ Report
//!                    gateway.toml ──────┘   out.en1.pcap ───────┤
//!                    case.toml (verbs, times)  counters.toml ───┘
//! ```
//!
//! Nothing of the product is replaced but the ports and the clock: [`Bench`]
//! owns one worker and one control and runs them in turn on the caller's
//! thread, so a case has the same outcome each time it runs. What is expected
//! comes from files that an independent encoder wrote (`tests/cases/generate.py`,
//! scapy), never from our own output. [`case`] reads a case, [`compare`] says
//! what differs.

use std::path::Path;
use std::time::Duration;

pub mod bench;
pub mod case;
pub mod compare;
mod describe;
pub(crate) mod pcap;
pub mod sheet;

pub use bench::{Bench, BenchOptions, Sent};
pub use case::Case;
pub use compare::Report;

use crate::model::op::Problem;

/// Why a case or a configuration could not be run (which is not the same as a
/// case that ran and differed).
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}: {message}")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong with it.
        message: String,
    },
    /// The configuration or a verb of the case was refused.
    #[error("{what} was refused:\n{}", lines(problems))]
    Refused {
        /// Which.
        what: String,
        /// All that is wrong with it.
        problems: Vec<Problem>,
    },
    /// A frame found no free buffer: the burst is larger than the pool.
    #[error("no free buffer for a frame on port {port}: the pool has {buffers} buffers")]
    PoolEmpty {
        /// The port's number.
        port: u8,
        /// Buffers in the pool.
        buffers: usize,
    },
    /// The gateway went on and on with nothing coming in.
    #[error("not at rest after {rounds} rounds at {now:?}: worker or control always has work left")]
    NeverQuiet {
        /// Rounds tried.
        rounds: usize,
        /// Virtual time.
        now: Duration,
    },
    /// Packets are unaccounted for.
    #[error("conservation is broken:\n{}", .0.join("\n"))]
    NotConserved(Vec<String>),
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|p| format!("  {p}")).collect::<Vec<_>>().join("\n")
}

fn file_error(path: &Path, source: std::io::Error) -> ReplayError {
    ReplayError::File { path: path.display().to_string(), source }
}

fn malformed(path: &Path, message: impl std::fmt::Display) -> ReplayError {
    ReplayError::Malformed { path: path.display().to_string(), message: message.to_string() }
}
