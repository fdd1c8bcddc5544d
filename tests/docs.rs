//! The documents say what the code says: every drop reason is explained, every
//! file, test and pcap case they name exists, and the table of requirements
//! adds up.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use greyhound::control::tally::ControlDrop;
use greyhound::datapath::drop::DropReason;
use greyhound::exchange::PuntReason;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

/// What stands under a heading, up to the next.
fn section<'t>(text: &'t str, heading: &str) -> &'t str {
    let rest = text.split_once(&format!("\n## {heading}\n")).expect(heading).1;
    rest.split("\n## ").next().unwrap()
}

/// First column of all table rows that start with a word in backquotes, sorted.
fn first_cells(text: &str) -> Vec<&str> {
    let cells = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    sorted(cells)
}

fn sorted<'t>(words: impl Iterator<Item = &'t str>) -> Vec<&'t str> {
    let mut words: Vec<_> = words.collect();
    words.sort_unstable();
    words
}

#[test]
fn counters_md_explains_every_reason_and_no_other() {
    let text = read("docs/counters.md");
    let explained = |heading| first_cells(section(&text, heading));
    let drops = sorted(DropReason::ALL.iter().map(|reason| reason.label()));
    assert_eq!(explained("Drops on the path"), drops);
    let punts = sorted(PuntReason::ALL.iter().map(|reason| reason.label()));
    assert_eq!(explained("Punted, not dropped"), punts);
    let control = sorted(ControlDrop::ALL.iter().map(|reason| reason.label()));
    assert_eq!(explained("Drops at control"), control);
}

/// Paths written in backquotes: `src/…`, `tests/…` and the like.
fn paths(text: &str) -> Vec<&str> {
    let folders = ["src/", "tests/", "config/", "docker/", "docs/", "benches/", "dpdk-sys/"];
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .filter(|word| {
            folders.iter().any(|f| word.starts_with(f)) && !word.contains([' ', '…', '<', '*'])
        })
        .collect()
}

#[test]
fn files_that_documents_name_exist() {
    let mut missing = Vec::new();
    for name in
        ["README.md", "docs/architecture.md", "docs/api.md", "docs/counters.md", "docs/rfcs.md"]
    {
        let text = read(name).replace("```", "");
        for path in paths(&text) {
            if !root().join(path).exists() {
                missing.push(format!("{name}: {path}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// A row of the table of requirements.
struct Row {
    id: String,
    state: String,
    place: String,
    tests: String,
}

fn rows() -> Vec<Row> {
    let text = read("docs/rfcs.md");
    let cells = |line: &str| line.split('|').map(|c| c.trim().to_owned()).collect::<Vec<_>>();
    let rows = text.lines().map(cells).filter_map(|cells| match cells.as_slice() {
        [_, id, _, _, state, place, tests, _] if id.contains('-') && !id.contains("--") => {
            let (id, state) = (id.clone(), state.clone());
            Some(Row { id, state, place: place.clone(), tests: tests.clone() })
        }
        _ => None,
    });
    rows.collect()
}

impl Row {
    /// `met`, `partly` or `open`.
    fn kind(&self) -> &str {
        self.state.split([':', ';']).next().unwrap()
    }
}

#[test]
fn rfcs_md_says_what_is_met_by_which_test_and_adds_up() {
    let mut wrong = Vec::new();
    let mut sums: BTreeMap<&str, usize> = BTreeMap::new();
    let rows = rows();
    for row in &rows {
        *sums.entry(row.kind()).or_default() += 1;
        // What is required of benchmarks is met by them.
        let placed = row.place.contains("`src/")
            || row.id.starts_with("BM-") && row.place.contains("`benches/");
        let tested = placed && row.tests.contains('`');
        let right = match row.kind() {
            "met" => tested,
            "partly" => tested && row.state.len() > "partly: ".len(),
            "open" => row.state.len() > "open: ".len() && row.tests.is_empty(),
            _ => false,
        };
        if !right {
            wrong.push(&row.id);
        }
    }
    assert!(wrong.is_empty(), "no state, or none that the row supports: {wrong:?}");
    let sum = |kind| sums.get(kind).copied().unwrap_or(0);
    let line = format!("\n{} met, {} partly, {} open.\n", sum("met"), sum("partly"), sum("open"));
    assert!(read("docs/rfcs.md").contains(&line), "the line of sums should be{line}");
}

/// Names after `kind: ` in the column of tests.
fn named(kind: &str) -> Vec<String> {
    let marker = format!("{kind}: `");
    let names = |row: &Row| {
        let after = row.tests.split(marker.as_str()).skip(1);
        after.filter_map(|rest| rest.split('`').next().map(str::to_owned)).collect::<Vec<_>>()
    };
    rows().iter().flat_map(names).collect()
}

/// All text of the files with an extension in a folder and its folders.
fn all_text(folder: &Path, extension: &str, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all_text(&path, extension, text);
        } else if path.extension().is_some_and(|e| e == extension) {
            text.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn cases_and_tests_that_rfcs_md_names_exist() {
    let cases = root().join("tests/cases");
    let cases: Vec<PathBuf> = named("case").iter().map(|case| cases.join(case)).collect();
    assert!(cases.len() > 50, "only {} cases found", cases.len());
    let missing: Vec<_> = cases.iter().filter(|case| !case.join("case.toml").exists()).collect();
    assert!(missing.is_empty(), "{missing:#?}");

    let (mut rust, mut python) = (String::new(), String::new());
    all_text(&root().join("src"), "rs", &mut rust);
    all_text(&root().join("tests"), "rs", &mut rust);
    all_text(&root().join("tests/smoke"), "py", &mut python);
    let tests = named("test").into_iter().map(|name| (format!("fn {name}("), &rust));
    let smoke = named("smoke").into_iter().map(|name| (format!("def {name}("), &python));
    let missing: Vec<_> =
        tests.chain(smoke).filter(|(head, text)| !text.contains(head)).map(|(h, _)| h).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}
