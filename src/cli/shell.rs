//! `greyhound shell`: a shell in which the BSD verbs speak to the gateway.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use super::{Failure, Session, env};

/// Arguments of `shell`.
#[derive(Debug, Args)]
pub struct ShellArgs {
    /// Run this line and end, instead of asking for lines
    #[arg(short, long, value_name = "LINE")]
    pub command: Option<String>,
}

/// What `--help` ends with.
pub const EXAMPLES: &str = "\
Examples:
  greyhound shell                      $SHELL; `exit` leaves it
  greyhound shell -c 'ifconfig gre0 create; ifconfig gre0'";

/// Becomes the shell; comes back only when it could not be started.
pub fn run(args: &ShellArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let shims = env::shims()?;
    let socket = std::path::absolute(session.socket).unwrap_or_else(|_| session.socket.to_owned());
    let shell = std::env::var_os("SHELL").filter(|s| !s.is_empty());
    let shell = PathBuf::from(shell.unwrap_or_else(|| "/bin/sh".into()));
    let mut command = Command::new(&shell);
    command
        .env("PATH", path(&shims, std::env::var_os("PATH")))
        .env("GREYHOUND_SOCKET", &socket)
        // Shells that read no file of their own show it; bash is told below.
        .env("PS1", "(greyhound) $ ");
    match &args.command {
        Some(line) => {
            command.arg("-c").arg(line);
        }
        None => {
            if shell.file_name().is_some_and(|name| name == "bash") {
                command.arg("--rcfile").arg(bash_start(&shims)?);
            }
            let socket = socket.display();
            writeln!(
                session.err,
                "ifconfig, route, arp, netstat and ping speak to greyhound on {socket}; `exit` leaves"
            )?;
        }
    }
    session.out.flush()?;
    let source = command.exec();
    Err(Failure::File { action: "run", path: shell, source })
}

/// PATH with the shims in front.
fn path(shims: &Path, old: Option<OsString>) -> OsString {
    let mut path = shims.as_os_str().to_owned();
    if let Some(old) = old.filter(|old| !old.is_empty()) {
        path.push(":");
        path.push(old);
    }
    path
}

/// What bash reads at its start: the user's own file, which may set PATH and
/// the prompt, and then ours.
fn bash_start(shims: &Path) -> Result<PathBuf, Failure> {
    let file = shims.join("bashrc");
    let text = "[ -r ~/.bashrc ] && . ~/.bashrc\n\
                PATH=${BASH_SOURCE%/*}:$PATH\n\
                PS1=\"(greyhound) $PS1\"\n";
    match std::fs::write(&file, text) {
        Ok(()) => Ok(file),
        Err(source) => Err(Failure::File { action: "write", path: file, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shims_come_first_on_path() {
        assert_eq!(path(Path::new("/s"), Some("/bin:/usr/bin".into())), "/s:/bin:/usr/bin");
        assert_eq!(path(Path::new("/s"), None), "/s");
    }
}
