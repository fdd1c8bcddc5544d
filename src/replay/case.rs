//! One pcap case: a folder with a configuration, what comes in, what has to
//! come out and what every counter has to say.
//!
//! ```text
//!   gateway.toml        the configuration
//!   in.<port>.pcap      frames that arrive; equal times form one burst
//!   out.<port>.pcap     frames that have to leave, in this order; no file: none
//!   counters.toml       all counters that move, and by how much
//!   case.toml           title, verbs along the way, how long to run on, what is free
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::bench::{Bench, Sent};
use super::compare::{self, FreeId, Report};
use super::sheet::Sheet;
use super::{ReplayError, file_error, malformed, pcap};
use crate::ids::PortId;
use crate::model::op::Located;

/// How long a gateway runs before the clock of a case starts: what it does of
/// its own accord at start (gratuitous ARP) is over then, and not part of the
/// case unless `from_start` says so.
pub const SETTLE: Duration = Duration::from_secs(5);

/// `case.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    /// A sentence that says what has to happen.
    title: String,
    /// Run on to this time, milliseconds, after the last frame and verb.
    #[serde(default)]
    until_ms: u64,
    /// What happens at start counts too, and time 0 is the start.
    #[serde(default)]
    from_start: bool,
    /// The times in `out.*.pcap` count, to the [`super::bench::TICK`].
    #[serde(default)]
    check_times: bool,
    /// The case has the same outcome with bursts cut to these sizes.
    #[serde(default)]
    bursts: Vec<usize>,
    /// Verbs along the way.
    #[serde(default)]
    verb: Vec<Verb>,
    /// IPv4 identifications that are Greyhound's to choose.
    #[serde(default)]
    free_id: Vec<FreeId>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Verb {
    /// When, milliseconds; before frames of the same time.
    at_ms: u64,
    /// One transaction.
    ops: Vec<Located>,
}

/// A case, read.
#[derive(Debug)]
pub struct Case {
    /// The folder's name.
    pub name: String,
    /// The sentence that says what has to happen.
    pub title: String,
    /// Burst sizes with which the outcome has to be the same.
    pub bursts: Vec<usize>,
    config: String,
    settings: CaseFile,
    inputs: BTreeMap<String, Vec<Sent>>,
    outputs: BTreeMap<String, Vec<Sent>>,
    counters: Sheet,
}

/// What happens at one moment.
#[derive(Default)]
struct Moment<'a> {
    verbs: Vec<&'a [Located]>,
    frames: Vec<(PortId, &'a [u8])>,
}

impl Case {
    /// Reads the case in a folder.
    pub fn load(folder: &Path) -> Result<Case, ReplayError> {
        // `.` has no name of its own.
        let folder = &folder.canonicalize().map_err(|error| file_error(folder, error))?;
        let settings_path = folder.join("case.toml");
        let settings: CaseFile = toml::from_str(&read_text(&settings_path)?)
            .map_err(|error| malformed(&settings_path, error))?;
        let counters_path = folder.join("counters.toml");
        let counters = Sheet::parse(&read_text(&counters_path)?)
            .map_err(|error| malformed(&counters_path, error))?;
        let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned();
        Ok(Case {
            name,
            title: settings.title.clone(),
            bursts: settings.bursts.clone(),
            config: read_text(&folder.join("gateway.toml"))?,
            inputs: captures(folder, "in")?,
            outputs: captures(folder, "out")?,
            settings,
            counters,
        })
    }

    /// The configuration file's text.
    pub fn config(&self) -> &str {
        &self.config
    }

    /// Frames that arrive, by port name.
    pub fn inputs(&self) -> impl Iterator<Item = (&str, &[Sent])> {
        self.inputs.iter().map(|(port, frames)| (port.as_str(), frames.as_slice()))
    }

    /// The whole counter difference the case expects.
    pub fn counters(&self) -> &Sheet {
        &self.counters
    }

    /// Runs the case. With `burst`, frames of the same time are handed over in
    /// bursts of at most so many. The error says why it could not be run; a
    /// difference is in the report.
    pub fn run(&self, burst: Option<usize>) -> Result<Report, ReplayError> {
        let mut bench = Bench::from_config(&self.config)?;
        if !self.settings.from_start {
            bench.advance(SETTLE)?;
            bench.discard_sent();
        }
        let start = if self.settings.from_start { Duration::ZERO } else { bench.now() };
        let before = if self.settings.from_start { Sheet::default() } else { bench.sheet() };
        for (at, moment) in self.timeline(&bench)? {
            bench.advance((start + at).saturating_sub(bench.now()))?;
            play(&mut bench, &moment, burst.unwrap_or(usize::MAX))?;
        }
        let until = start + Duration::from_millis(self.settings.until_ms);
        bench.advance(until.saturating_sub(bench.now()))?;
        self.judge(&mut bench, start, &before)
    }

    /// Verbs and frames of all ports in the order of their times.
    fn timeline(&self, bench: &Bench) -> Result<BTreeMap<Duration, Moment<'_>>, ReplayError> {
        let mut timeline: BTreeMap<Duration, Moment<'_>> = BTreeMap::new();
        for verb in &self.settings.verb {
            let moment = timeline.entry(Duration::from_millis(verb.at_ms)).or_default();
            moment.verbs.push(&verb.ops);
        }
        for (name, frames) in &self.inputs {
            let port = self.port(bench, "in", name)?;
            for Sent { at, frame } in frames {
                timeline.entry(*at).or_default().frames.push((port, frame));
            }
        }
        Ok(timeline)
    }

    fn judge(
        &self,
        bench: &mut Bench,
        start: Duration,
        before: &Sheet,
    ) -> Result<Report, ReplayError> {
        for name in self.outputs.keys() {
            self.port(bench, "out", name)?;
        }
        let conservation = match bench.expect_conservation() {
            Err(ReplayError::NotConserved(broken)) => broken,
            other => other.map(|()| Vec::new())?,
        };
        let counters = compare::counters(&self.counters, &bench.sheet().since(before));
        let mut packets = Vec::new();
        let mut got_by_port = BTreeMap::new();
        for name in bench.ports().to_vec() {
            let Some(port) = bench.port(&name) else { continue };
            let mut got = bench.sent_with_times(port);
            got.iter_mut().for_each(|sent| sent.at = sent.at.saturating_sub(start));
            let expected = self.outputs.get(&name).map_or(&[][..], Vec::as_slice);
            let free: Vec<_> =
                self.settings.free_id.iter().filter(|free| free.port == name).collect();
            let times = self.settings.check_times;
            packets.extend(compare::packets(&name, expected, &got, &free, times));
            got_by_port.insert(name, got);
        }
        let title = self.title.clone();
        let name = self.name.clone();
        let passed = packets.is_empty() && counters.is_empty() && conservation.is_empty();
        Ok(Report { name, title, passed, packets, counters, conservation, got: got_by_port })
    }

    fn port(&self, bench: &Bench, kind: &str, name: &str) -> Result<PortId, ReplayError> {
        let path = PathBuf::from(&self.name).join(format!("{kind}.{name}.pcap"));
        bench
            .port(name)
            .ok_or_else(|| malformed(&path, format!("the gateway has no port `{name}`")))
    }
}

fn play(bench: &mut Bench, moment: &Moment<'_>, burst: usize) -> Result<(), ReplayError> {
    for ops in &moment.verbs {
        bench.transact(ops).map_err(|error| ReplayError::Refused {
            what: format!("the verb at {:?}", bench.now()),
            problems: error.problems,
        })?;
        bench.run_until_quiet()?;
    }
    for frames in moment.frames.chunks(burst.max(1)) {
        for (port, frame) in frames {
            bench.receive(*port, frame)?;
        }
        bench.run_until_quiet()?;
    }
    Ok(())
}

fn read_text(path: &Path) -> Result<String, ReplayError> {
    std::fs::read_to_string(path).map_err(|error| file_error(path, error))
}

/// All `<kind>.<port>.pcap` of a folder, by port.
fn captures(folder: &Path, kind: &str) -> Result<BTreeMap<String, Vec<Sent>>, ReplayError> {
    let mut found = BTreeMap::new();
    let entries = std::fs::read_dir(folder).map_err(|error| file_error(folder, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| file_error(folder, error))?;
        let file = entry.file_name().to_string_lossy().into_owned();
        let port = file.strip_prefix(kind).and_then(|rest| rest.strip_prefix('.'));
        if let Some(port) = port.and_then(|rest| rest.strip_suffix(".pcap")) {
            found.insert(port.to_owned(), pcap::read(&entry.path())?);
        }
    }
    Ok(found)
}
