//! `greyhound replay`: pcap cases through the real path, without ports.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use crate::replay::{Case, Report};

/// Run pcap cases through the real path and control, in virtual time.
///
/// Each CASE is a folder with gateway.toml, in.PORT.pcap, out.PORT.pcap,
/// counters.toml and case.toml. Exit status 0 only if every packet and every
/// counter of every case is as expected.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folders of cases
    #[arg(required = true, value_name = "CASE")]
    cases: Vec<PathBuf>,
    /// Print the reports as JSON, one object a line
    #[arg(long)]
    json: bool,
    /// Write what came out as DIR/CASE/out.PORT.pcap
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
    /// Hand frames over in bursts of at most N
    #[arg(long, value_name = "N")]
    burst: Option<usize>,
}

/// Runs the cases; failure if any differs.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    let mut all_passed = true;
    for folder in &args.cases {
        // `.` and `a/..` have no name of their own.
        let folder = folder.canonicalize().with_context(|| folder.display().to_string())?;
        let report = Case::load(&folder)?
            .run(args.burst)
            .with_context(|| format!("case {}", folder.display()))?;
        if let Some(target) = &args.write {
            report.write(&target.join(&report.name))?;
        }
        all_passed &= report.passed();
        print(&mut out, &report, args.json)?;
    }
    Ok(if all_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(out: &mut impl Write, report: &Report, json: bool) -> anyhow::Result<()> {
    if json {
        let mut line = serde_json::to_value(report)?;
        line["passed"] = report.passed().into();
        writeln!(out, "{line}")?;
    } else {
        write!(out, "{report}")?;
    }
    Ok(())
}
