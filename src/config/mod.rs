//! Configuration files: TOML text to checked [`Settings`] and [`State`], and back.
//!
//! ```text
//! text ─ raw ──▶ tables, field by field; unknown keys refused
//!      ─ sections ▶ values of model::spec, each checked by itself
//!      ─ validate ▶ checked against each other ─▶ Config ─ ops ──▶ a transaction
//!                                                   └───── render ▶ text again
//! ```
//!
//! All mistakes of a file are reported at once, each with its place
//! (`tunnel[2].remote`, counted from 0), the value and what was expected.
//! `config/gateway.toml` is the commented reference.

pub mod address;
pub(crate) mod ops;
mod raw;
mod render;
mod routes_file;
mod sections;
#[cfg(test)]
mod tests;
mod tunnels;
mod validate;

use std::path::{Path, PathBuf};

pub use ops::ops;
pub use render::render;
pub(crate) use sections::gateway;

use crate::model::op::Problem;
use crate::model::spec::{Settings, State};

/// The commented reference, which is also the default when no file is given:
/// machine C of the operator's note on `net_tap` devices.
pub const REFERENCE: &str = include_str!("../../config/gateway.toml");

/// A configuration file, read and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What only a start can change.
    pub settings: Settings,
    /// What can change while running.
    pub state: State,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be read.
    #[error("cannot read the configuration file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file could be read and is not right.
    #[error("{path} is not a valid configuration:{}", lines(problems))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// All that is wrong, at least one.
        problems: Vec<Problem>,
    },
}

/// One problem a line, indented.
fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

/// Reads a configuration file.
pub fn load(path: impl AsRef<Path>) -> Result<Config, LoadError> {
    let path = path.as_ref().to_owned();
    match std::fs::read_to_string(&path) {
        Ok(text) => parse_in(&text, path.parent())
            .map_err(|problems| LoadError::Invalid { path: path.clone(), problems }),
        Err(source) => Err(LoadError::Read { path, source }),
    }
}

/// Reads a configuration from its text; all that is wrong with it, or the whole.
/// Files it names must be named from the root on.
pub fn parse(text: &str) -> Result<Config, Vec<Problem>> {
    parse_in(text, None)
}

/// [`parse`] for a text from a folder, where the relative names of files in it
/// begin.
pub fn parse_in(text: &str, folder: Option<&Path>) -> Result<Config, Vec<Problem>> {
    let mut document = raw::Document::parse(text).map_err(|problem| vec![problem])?;
    let settings = sections::settings(&mut document);
    let icmp = document.one("icmp", sections::icmp);
    let ports = document.each("port", sections::port);
    let vlans = document.each("vlan", sections::vlan);
    let tunnels = document.each("tunnel", tunnels::tunnel);
    // Nothing names what comes after these.
    let unread = document.unread;
    let files = document.each("routes_file", |fields| routes_file::section(fields, folder));
    let (files, lines): (Vec<_>, Vec<_>) = files.into_iter().map(|(_, read)| read).unzip();
    document.problems.extend(lines.into_iter().flatten());
    let draft = validate::Draft {
        dpdk: settings.dpdk.clone(),
        ports,
        vlans,
        tunnels,
        routes: document.each("route", sections::route),
        files,
        neighbours: document.each("neighbour", sections::neighbour),
        published: document.each("arp", sections::publish),
        filters: document.each("filter", sections::filter),
    };
    let mut problems = document.problems;
    // A field that could not be read looks as if it were missing: said once.
    let mut cross = validate::check(&draft, unread);
    cross.retain(|problem| !problems.iter().any(|said| said.at == problem.at));
    problems.extend(cross);
    if problems.is_empty() {
        Ok(Config { settings, state: state(draft, icmp) })
    } else {
        Err(problems)
    }
}

fn state(draft: validate::Draft, icmp: crate::model::spec::IcmpSpec) -> State {
    fn values<T>(items: validate::Items<T>) -> Vec<T> {
        items.into_iter().map(|(_, item)| item).collect()
    }
    // Static routes are static routes, wherever they were read.
    let mut routes = values(draft.routes);
    for file in draft.files {
        routes.extend(file.routes.into_iter().map(|(_, route)| route));
    }
    State {
        ports: values(draft.ports),
        vlans: values(draft.vlans),
        tunnels: values(draft.tunnels),
        routes,
        neighbours: values(draft.neighbours),
        published: values(draft.published),
        filters: values(draft.filters),
        icmp,
    }
}
