//! Why a verb failed, how that reads on standard error, and the exit code.

use std::io::{self, Write};
use std::path::PathBuf;

use super::client::ClientError;
use super::words::Usage;
use crate::model::api::{ApiError, ErrorCode};
use crate::model::op::Problem;

/// Why a verb did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// clap's: usage, or the help that was asked for.
    #[error(transparent)]
    Clap(clap::Error),
    /// Words of a BSD verb that make no sense.
    #[error(transparent)]
    Usage(#[from] Usage),
    /// The gateway is not there or said no.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A configuration with problems, all of them.
    #[error("{}", lines(.file, .problems))]
    Config {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problems: Vec<Problem>,
    },
    /// The gateway said no to one line; `what` says which, as BSD does.
    #[error("{}", prefixed(.what, .source))]
    Refused {
        /// `add net 10: gateway 10.1`.
        what: String,
        /// Why.
        source: ApiError,
    },
    /// There is no such thing.
    #[error("{what}: {missing}")]
    Absent {
        /// What was asked for.
        what: String,
        /// `not in table`, `no entry`.
        missing: &'static str,
    },
    /// `ping` without an answer.
    #[error("no reply from {0}")]
    NoReply(std::net::IpAddr),
    /// `replay` with a case that came out otherwise.
    #[error("not every packet and counter is as expected")]
    Differs,
    /// A file or folder.
    #[error("cannot {action} {path}")]
    File {
        /// `read`, `create`.
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder that somebody else could change.
    #[error("{path} is not safe to put commands in: {why}; remove it and try again")]
    Unsafe {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A value that JSON cannot express.
    #[error("cannot print JSON")]
    Json(#[source] serde_json::Error),
    /// Standard output.
    #[error("cannot write to standard output")]
    Output(#[from] io::Error),
    /// The gateway itself could not run.
    #[error("{0:#}")]
    Gateway(anyhow::Error),
}

impl Failure {
    /// Says what went wrong, each line with the verb in front, and returns the
    /// exit code: 2 for what was not understood, 1 for what was refused or
    /// failed, 0 for what is no failure at all (help, or a reader that had
    /// enough and closed the pipe).
    pub fn report(&self, verb: &str, err: &mut dyn Write) -> io::Result<u8> {
        match self {
            Failure::Clap(error) => {
                // To standard output for help, to standard error otherwise.
                error.print()?;
                return Ok(error.exit_code() as u8);
            }
            Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(0),
            _ => {}
        }
        for line in self.text().lines() {
            writeln!(err, "{verb}: {line}")?;
        }
        if matches!(self, Failure::Usage(_)) {
            writeln!(err, "{verb}: `greyhound {verb} --help` shows examples")?;
            return Ok(2);
        }
        Ok(1)
    }

    /// The message and what lies beneath it.
    fn text(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        // Refused has its cause in the text already; what is transparent or
        // prints its chain passes over it too.
        while let Some(error) = cause.filter(|_| !matches!(self, Failure::Refused { .. })) {
            text += &format!(": {error}");
            cause = error.source();
        }
        text
    }

    /// True when the gateway has no such interface, route or entry.
    pub fn is_not_found(&self) -> bool {
        let Failure::Client(ClientError::Api(error)) = self else { return false };
        error.code == ErrorCode::NotFound
    }

    /// The same, with `what` in front of each of the gateway's problems.
    pub fn about(self, what: &str) -> Failure {
        match self {
            Failure::Client(ClientError::Api(source)) => {
                Failure::Refused { what: what.to_owned(), source }
            }
            other => other,
        }
    }
}

fn lines(file: &std::path::Path, problems: &[Problem]) -> String {
    let line = |p: &Problem| format!("{}: {p}", file.display());
    problems.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn prefixed(what: &str, source: &ApiError) -> String {
    source.to_string().lines().map(|l| format!("{what}: {l}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn reported(failure: &Failure) -> (u8, String) {
        let mut err = Vec::new();
        let code = failure.report("route", &mut err).unwrap();
        (code, String::from_utf8(err).unwrap())
    }

    #[test]
    fn one_problem_a_line() {
        let problems = vec![Problem::new("op[0]", "no"), Problem::new("", "never")];
        let source = ClientError::Api(ApiError { code: ErrorCode::Refused, problems });
        let failure = Failure::Client(source).about("add net 10: gateway 10.1");
        let (code, text) = reported(&failure);
        assert_eq!(code, 1);
        assert_eq!(
            text,
            "route: add net 10: gateway 10.1: op[0]: no\nroute: add net 10: gateway 10.1: never\n"
        );
    }

    #[test]
    fn causes_are_told_once() {
        let source = io::Error::from(io::ErrorKind::NotFound);
        let failure = Failure::File { action: "read", path: "/x".into(), source };
        assert_eq!(reported(&failure), (1, "route: cannot read /x: entity not found\n".to_owned()));
        let problems = vec![Problem::new("", "no")];
        let api = ClientError::Api(ApiError { code: ErrorCode::Refused, problems });
        assert_eq!(reported(&Failure::Client(api)), (1, "route: no\n".to_owned()));
    }

    #[test]
    fn what_is_not_understood_exits_2_and_a_closed_pipe_0() {
        let (code, text) = reported(&Failure::Usage(Usage::Conflict("no")));
        assert_eq!(code, 2);
        assert!(text.contains("greyhound route --help"), "{text}");
        let pipe = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(reported(&Failure::Output(pipe)), (0, String::new()));
    }
}
