//! `greyhound run`: the gateway, in the foreground.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;
use tracing_subscriber::EnvFilter;

use super::Failure;
use super::words::Usage;

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Configuration file; without one, the built-in example
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to log: a level, or levels by module
    #[arg(long, value_name = "FILTER", env = "GREYHOUND_LOG", default_value = "info")]
    pub log: String,
}

/// What `--help` ends with.
pub const EXAMPLES: &str = "\
Examples:
  greyhound run -c /etc/greyhound/gateway.toml
  greyhound run -c gateway.toml --log greyhound::control=debug,info

It logs to standard error, answers on the control socket, and ends on SIGTERM or
Ctrl-C (exit code 0) after the packets under way are sent. SIGHUP reads the file
again.";

/// Runs the gateway until it is told to stop.
pub fn run(args: &RunArgs) -> Result<(), Failure> {
    let expected = "a log filter such as info or greyhound::control=debug,info";
    let filter = EnvFilter::builder()
        .parse(&args.log)
        .map_err(|_| Usage::Bad { value: args.log.clone(), expected })?;
    let stderr = std::io::stderr;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        .init();
    gateway(args).map_err(Failure::Gateway)
}

#[cfg(feature = "dpdk")]
fn gateway(args: &RunArgs) -> anyhow::Result<()> {
    crate::daemon::run(args)
}

#[cfg(not(feature = "dpdk"))]
fn gateway(_args: &RunArgs) -> anyhow::Result<()> {
    anyhow::bail!("this binary was built without the `dpdk` feature and has no ports")
}
