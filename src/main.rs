//! The `greyhound` binary: maps what a verb returns to an exit code.

use std::io::{self, BufWriter};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut out = BufWriter::new(io::stdout());
    ExitCode::from(greyhound::cli::main(std::env::args_os(), &mut out, &mut io::stderr()))
}
