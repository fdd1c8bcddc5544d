//! The documents say what the code says: every drop reason is explained, and
//! every file and pcap case they name exists.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use greyhound::datapath::drop::DropReason;
use greyhound::exchange::PuntReason;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

/// First column of all table rows that start with a word in backquotes.
fn first_cells(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect()
}

#[test]
fn counters_md_explains_every_reason_and_no_other() {
    let text = read("docs/counters.md");
    let drops = text.split("## Drops on the path").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut explained = first_cells(drops);
    let mut reasons: Vec<&str> = DropReason::ALL.iter().map(|reason| reason.label()).collect();
    explained.sort_unstable();
    reasons.sort_unstable();
    assert_eq!(explained, reasons);

    let punts = text.split("## Punted").nth(1).unwrap().split("\n## ").next().unwrap();
    let reasons: Vec<&str> = PuntReason::ALL.iter().map(|reason| reason.label()).collect();
    assert_eq!(first_cells(punts), reasons);
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
        // Written when first measured; built by nobody yet.
        let expected = |path: &&str| !["docs/performance.md", "src/simd/"].contains(path);
        let named = paths(&text);
        for path in named.into_iter().filter(expected) {
            if !root().join(path).exists() {
                missing.push(format!("{name}: {path}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn cases_that_rfcs_md_names_exist() {
    let text = read("docs/rfcs.md");
    let named = text
        .split("case:")
        .skip(1)
        .filter_map(|rest| rest.trim_start().strip_prefix('`')?.split('`').next());
    let missing: Vec<PathBuf> = named
        .map(|case| root().join("tests/cases").join(case))
        .filter(|path| !path.is_dir())
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}
