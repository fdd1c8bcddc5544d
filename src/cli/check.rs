//! `greyhound check FILE`: what is wrong with a configuration file, all of it
//! at once, without a running gateway.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Failure, Session};
use crate::model::op::Problem;

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Configuration file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// What `--help` ends with.
pub const EXAMPLES: &str = "\
Examples:
  greyhound check /etc/greyhound/gateway.toml

Prints each problem with its place in the file, such as `tunnel[2].remote`.";

/// Reads the file and reports its problems.
pub fn run(args: &CheckArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let text = std::fs::read_to_string(&args.file).map_err(|source| Failure::File {
        action: "read",
        path: args.file.clone(),
        source,
    })?;
    match problems(&text, args.file.parent()) {
        problems if problems.is_empty() => {
            session.print(&format!("{}: no problems\n", args.file.display()))
        }
        problems => Err(Failure::Config { file: args.file.clone(), problems }),
    }
}

fn problems(text: &str, folder: Option<&Path>) -> Vec<Problem> {
    crate::config::parse_in(text, folder).err().unwrap_or_default()
}
