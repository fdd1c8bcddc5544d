//! `greyhound apply FILE`: make the running gateway equal to a file, in one
//! transaction.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Failure, Session};
use crate::model::api::Call;
use crate::model::op::Outcome;

/// Arguments of `apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// Configuration file; `-` reads standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Print the outcome as JSON
    #[arg(long)]
    pub json: bool,
}

/// What `--help` ends with.
pub const EXAMPLES: &str = "\
Examples:
  greyhound apply /etc/greyhound/gateway.toml
  greyhound show config | sed 's/mtu = 1400/mtu = 1476/' | greyhound apply -

All of the file takes effect or none of it. What only a start can set ([dpdk],
devices, sockets) must be as it is.";

/// Sends the file's text to the gateway.
pub fn run(args: &ApplyArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let config = read(args)?;
    let outcome: Outcome = session.call(Call::Apply { config, folder: folder(&args.file) })?;
    session.note(&outcome)?;
    if args.json { session.print_json(&outcome) } else { Ok(()) }
}

/// Where the file is, from the root on: the gateway runs somewhere else. For
/// standard input it is where we are.
fn folder(file: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(file).ok()?;
    absolute.parent().map(Path::to_owned)
}

fn read(args: &ApplyArgs) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if args.file.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(&args.file)
    };
    read.map_err(|source| Failure::File { action: "read", path: args.file.clone(), source })
}
