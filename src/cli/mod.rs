//! The command line: a file per verb, each with its arguments, `run`, output
//! and tests.
//!
//! `run`, `check`, `replay` and `env` work by themselves; all other verbs are
//! clients of a running Greyhound's control socket ([`client`]). `ifconfig`,
//! `route`, `arp`, `netstat` and `ping` take the BSDs' words, and also run under
//! those names: a link to the executable called `ifconfig` is that verb, which
//! is how the technote's lines run as typed (`greyhound env`).

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, Parser, Subcommand};
use serde::Serialize;

use crate::model::api::{Call, DEFAULT_SOCKET};
use crate::model::op::{Located, Op, Outcome};

pub mod apply;
pub mod arp;
pub mod check;
pub mod client;
pub mod env;
pub mod failure;
pub mod filter;
pub mod ifconfig;
pub mod ndp;
pub mod netstat;
pub mod ping;
pub mod replay;
pub mod route;
pub mod run;
pub mod shell;
pub mod show;
pub mod table;
pub mod words;

pub use failure::Failure;

use client::Client;

/// The verbs that also run under their own names.
pub const SHIMS: [&str; 7] = ["ifconfig", "route", "arp", "ndp", "netstat", "ping", "ping6"];

/// A GRE / IP-in-IP tunnel gateway on DPDK.
#[derive(Debug, Parser)]
#[command(name = "greyhound", version, arg_required_else_help = true, after_help = OVERVIEW)]
pub struct Cli {
    /// Control socket of the running gateway
    #[arg(long, global = true, env = "GREYHOUND_SOCKET", value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

const OVERVIEW: &str = "\
The usual start:
  greyhound check /etc/greyhound/gateway.toml     is the file right?
  greyhound run -c /etc/greyhound/gateway.toml    the gateway, in the foreground
  greyhound show interfaces                       what it does, from another terminal
  eval \"$(greyhound env)\"                         then ifconfig, route, arp, netstat
                                                  and ping speak to it, as in BSD

Exit codes: 0 done, 1 refused or failed, 2 not understood.";

/// A verb.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the gateway in the foreground
    #[command(after_help = run::EXAMPLES)]
    Run(run::RunArgs),
    /// Read a configuration file and say what is wrong with it
    #[command(after_help = check::EXAMPLES)]
    Check(check::CheckArgs),
    /// Make the running gateway equal to a configuration file
    #[command(after_help = apply::EXAMPLES)]
    Apply(apply::ApplyArgs),
    /// Show the state of the running gateway
    #[command(after_help = show::EXAMPLES)]
    Show(show::ShowArgs),
    /// Create, set up and show interfaces and tunnels, as BSD's ifconfig
    #[command(after_help = ifconfig::EXAMPLES)]
    Ifconfig(BsdArgs),
    /// Add, delete and look up routes, as BSD's route
    #[command(after_help = route::EXAMPLES)]
    Route(BsdArgs),
    /// Show, set and publish link addresses, as BSD's arp
    #[command(after_help = arp::EXAMPLES)]
    Arp(BsdArgs),
    /// Show, set and publish link addresses of IPv6 neighbours, as BSD's ndp
    #[command(after_help = ndp::EXAMPLES)]
    Ndp(BsdArgs),
    /// Add, delete and show packet filters
    #[command(after_help = filter::EXAMPLES)]
    Filter(BsdArgs),
    /// Show interface counters and routes, as BSD's netstat
    #[command(after_help = netstat::EXAMPLES)]
    Netstat(BsdArgs),
    /// Send echo requests from the gateway, as BSD's ping
    #[command(after_help = ping::EXAMPLES)]
    Ping(BsdArgs),
    /// The same for IPv6 addresses, as BSD's ping6
    #[command(after_help = ping::EXAMPLES)]
    Ping6(BsdArgs),
    /// Run pcap cases through the real path and compare packets and counters
    #[command(after_help = replay::EXAMPLES)]
    Replay(replay::ReplayArgs),
    /// Print the shell commands that put the BSD verbs first on PATH
    #[command(after_help = env::EXAMPLES)]
    Env,
    /// Open a shell in which the BSD verbs speak to the gateway
    #[command(after_help = shell::EXAMPLES)]
    Shell(shell::ShellArgs),
}

/// Words of a BSD verb. Options of ours may stand anywhere among them.
#[derive(Debug, Args)]
pub struct BsdArgs {
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
    /// Words as in BSD
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORD")]
    pub words: Vec<String>,
}

impl BsdArgs {
    /// Takes `--json` and `--help` out of the words; true if help is wanted.
    fn take_options(&mut self) -> bool {
        let before = self.words.len();
        self.words.retain(|w| w != "--json");
        self.json |= self.words.len() < before;
        self.words.iter().any(|w| w == "--help")
    }
}

/// What a verb works with: where the gateway is, where output goes.
pub struct Session<'a> {
    /// The control socket.
    pub socket: &'a Path,
    /// Standard output.
    pub out: &'a mut dyn Write,
    /// Standard error.
    pub err: &'a mut dyn Write,
}

impl Session<'_> {
    /// Connects to the gateway.
    pub fn connect(&self) -> Result<Client, Failure> {
        Ok(Client::connect(self.socket)?)
    }

    /// Asks one thing over a connection of its own.
    pub fn call<T: serde::de::DeserializeOwned>(&self, call: Call) -> Result<T, Failure> {
        Ok(self.connect()?.call(call)?)
    }

    /// Applies changes, all or none, and passes on what is to note about them.
    pub fn transact(&mut self, ops: Vec<Op>) -> Result<Outcome, Failure> {
        let ops = ops.into_iter().map(Located::from).collect();
        let outcome: Outcome = self.call(Call::Transaction { ops })?;
        self.note(&outcome)?;
        Ok(outcome)
    }

    /// Prints the notes of an outcome.
    pub fn note(&mut self, outcome: &Outcome) -> Result<(), Failure> {
        for note in &outcome.notes {
            writeln!(self.err, "note: {note}")?;
        }
        Ok(())
    }

    /// Prints text as it is.
    pub fn print(&mut self, text: &str) -> Result<(), Failure> {
        Ok(self.out.write_all(text.as_bytes())?)
    }

    /// Prints a value as JSON.
    pub fn print_json<T: Serialize>(&mut self, value: &T) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(Failure::Json)?;
        Ok(writeln!(self.out, "{text}")?)
    }
}

/// Runs the verb that `args` (with the executable's name first) ask for, prints
/// its failure if it fails, and returns the exit code.
pub fn main(
    args: impl IntoIterator<Item = OsString>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    let mut args: Vec<OsString> = args.into_iter().collect();
    let shim = shim(&args);
    if let Some(verb) = shim {
        args.splice(..1, ["greyhound".into(), verb.into()]);
    }
    let (name, done) = match Cli::try_parse_from(&args) {
        Ok(cli) => (cli.verb.name(), dispatch(cli, out, err)),
        Err(error) => ("greyhound", Err(Failure::Clap(error))),
    };
    let done = done.and_then(|()| Ok(out.flush()?));
    match done {
        Ok(()) => 0,
        // A standard error that is closed leaves nothing to be done.
        Err(failure) => failure.report(name, err).unwrap_or(1),
    }
}

/// The verb that the executable's own name is, if it is one.
fn shim(args: &[OsString]) -> Option<&'static str> {
    let name = Path::new(args.first()?).file_name()?;
    SHIMS.into_iter().find(|verb| name == *verb)
}

fn dispatch(cli: Cli, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), Failure> {
    let session = &mut Session { socket: &cli.socket, out, err };
    let name = cli.verb.name();
    match cli.verb {
        Verb::Run(args) => run::run(&args),
        Verb::Check(args) => check::run(&args, session),
        Verb::Apply(args) => apply::run(&args, session),
        Verb::Show(args) => show::run(&args, session),
        Verb::Ifconfig(args) => bsd(ifconfig::run, name, args, session),
        Verb::Route(args) => bsd(route::run, name, args, session),
        Verb::Arp(args) => bsd(arp::run, name, args, session),
        Verb::Ndp(args) => bsd(ndp::run, name, args, session),
        Verb::Filter(args) => bsd(filter::run, name, args, session),
        Verb::Netstat(args) => bsd(netstat::run, name, args, session),
        Verb::Ping(args) => bsd(ping::run, name, args, session),
        Verb::Ping6(args) => bsd(ping::run6, name, args, session),
        Verb::Replay(args) => replay::run(&args, session),
        Verb::Env => env::run(session),
        Verb::Shell(args) => shell::run(&args, session),
    }
}

fn bsd(
    run: fn(&BsdArgs, &mut Session<'_>) -> Result<(), Failure>,
    name: &str,
    mut args: BsdArgs,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    if args.take_options() {
        return session.print(&help(name));
    }
    run(&args, session)
}

/// The help text of a verb.
fn help(name: &str) -> String {
    let mut command = Cli::command();
    command.build();
    command.find_subcommand_mut(name).map_or_else(String::new, |c| c.render_long_help().to_string())
}

impl Verb {
    /// Name as typed.
    pub fn name(&self) -> &'static str {
        match self {
            Verb::Run(_) => "run",
            Verb::Check(_) => "check",
            Verb::Apply(_) => "apply",
            Verb::Show(_) => "show",
            Verb::Ifconfig(_) => "ifconfig",
            Verb::Route(_) => "route",
            Verb::Arp(_) => "arp",
            Verb::Ndp(_) => "ndp",
            Verb::Filter(_) => "filter",
            Verb::Netstat(_) => "netstat",
            Verb::Ping(_) => "ping",
            Verb::Ping6(_) => "ping6",
            Verb::Replay(_) => "replay",
            Verb::Env => "env",
            Verb::Shell(_) => "shell",
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn words_of(line: &str) -> BsdArgs {
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        match cli.verb {
            Verb::Ifconfig(mut args) | Verb::Arp(mut args) | Verb::Route(mut args) => {
                assert!(!args.take_options());
                args
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn clap_finds_no_fault_with_the_verbs() {
        Cli::command().debug_assert();
    }

    #[test]
    fn bsd_words_pass_through_clap_untouched() {
        for line in [
            "ifconfig gre0 12.1 12.2 link1 -link0",
            "ifconfig -a",
            "route -n add -net 10 10.1",
            "arp -s 10.0.0.25 02:00:00:00:00:01 pub",
            "arp -d -a",
        ] {
            let args = words_of(&format!("greyhound {line}"));
            let typed: Vec<&str> = line.split(' ').skip(1).collect();
            assert_eq!(args.words, typed, "{line}");
            assert!(!args.json);
        }
    }

    #[test]
    fn json_may_stand_anywhere() {
        for line in ["ifconfig --json gre0", "ifconfig gre0 --json", "arp -a --json"] {
            let args = words_of(&format!("greyhound {line}"));
            assert!(args.json && args.words.len() == 1, "{line}: {args:?}");
        }
    }

    #[test]
    fn the_executables_name_is_a_verb() {
        for (name, verb) in
            [("/run/x/ifconfig", Some("ifconfig")), ("arp", Some("arp")), ("greyhound", None)]
        {
            assert_eq!(shim(&[name.into()]), verb);
        }
    }

    #[test]
    fn each_verb_teaches_by_example() {
        let mut command = Cli::command();
        command.build();
        for verb in command.get_subcommands_mut() {
            if verb.get_name() != "help" {
                assert!(
                    verb.render_help().to_string().contains("Examples:"),
                    "{}",
                    verb.get_name()
                );
            }
        }
    }
}
