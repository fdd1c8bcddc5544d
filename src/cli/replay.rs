//! `greyhound replay`: pcap cases through the real path, without ports and
//! without a running gateway.

use std::path::PathBuf;

use clap::Args;

use super::{Failure, Session};
use crate::replay::{Case, Report};

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Folders of cases
    #[arg(required = true, value_name = "CASE")]
    pub cases: Vec<PathBuf>,
    /// Print the reports as JSON, one object a line
    #[arg(long)]
    pub json: bool,
    /// Write what came out as DIR/CASE/out.PORT.pcap
    #[arg(long, value_name = "DIR")]
    pub write: Option<PathBuf>,
    /// Hand frames over in bursts of at most N
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub burst: Option<u16>,
}

/// What `--help` ends with.
pub const EXAMPLES: &str = "\
Examples:
  greyhound replay tests/cases/gre_encap
  greyhound replay --write /tmp/got tests/cases/arp_*

A case is a folder with gateway.toml, in.PORT.pcap, out.PORT.pcap, counters.toml
and case.toml. Exit code 0 only if every packet and every counter of every case
is as expected.";

/// Runs the cases, all of them; fails if any differs.
pub fn run(args: &ReplayArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let mut differ = 0;
    for folder in &args.cases {
        let report = one(args, folder).map_err(|error| Failure::Gateway(error.into()))?;
        differ += usize::from(!report.passed());
        print(&report, args.json, session)?;
    }
    match differ {
        0 => Ok(()),
        _ => Err(Failure::Gateway(anyhow::anyhow!(
            "{differ} of {} cases came out differently",
            args.cases.len()
        ))),
    }
}

fn one(args: &ReplayArgs, folder: &std::path::Path) -> Result<Report, crate::replay::ReplayError> {
    let report = Case::load(folder)?.run(args.burst.map(usize::from))?;
    if let Some(target) = &args.write {
        report.write(&target.join(&report.name))?;
    }
    Ok(report)
}

fn print(report: &Report, json: bool, session: &mut Session<'_>) -> Result<(), Failure> {
    if json {
        let text = serde_json::to_string(report).map_err(Failure::Json)?;
        return session.print(&format!("{text}\n"));
    }
    session.print(&report.to_string())
}
