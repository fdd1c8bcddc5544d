//! What must not be in the path's source: locks, blocking, printing,
//! allocation. Clippy's `disallowed_types` is crate-wide and other modules may
//! lock; a word in a file is as plain and holds for every line of the path.
//! (That nothing *reached* from here allocates is shown by
//! `tests/path_alloc.rs`.)

use std::fs;
use std::path::{Path, PathBuf};

/// Words no line of the path may have.
const FORBIDDEN: &[&str] = &[
    "Mutex",
    "RwLock",
    "Condvar",
    "Barrier",
    "OnceLock",
    "LazyLock",
    "mpsc",
    "thread_local",
    "println!",
    "eprintln!",
    "print!",
    "format!",
    "write!",
    "tracing",
    "log::",
    "String",
    "Vec::",
    "vec!",
    "Vec<",
    "to_vec",
    "to_owned",
    "to_string",
    "collect()",
    "collect::<",
    "Box::",
    "Rc::",
    "Arc::new",
    "HashMap",
    "BTreeMap",
    "fetch_add",
    "compare_exchange",
    "SeqCst",
    "unwrap()",
    "expect(",
    "panic!",
    "unsafe",
];

/// Where one of them is needed and harmless: file, word, why.
const ALLOWED: &[(&str, &str, &str)] = &[
    ("worker.rs", "Vec<", "WorkerConfig, handed over when the worker is made"),
    ("mod.rs", "Box::", "the columns, when the worker is made"),
    ("meeting.rs", "Vec<", "rings, made before the workers"),
    ("meeting.rs", "Vec::", "the same"),
    ("meeting.rs", "collect()", "the same"),
    ("table.rs", "vec!", "the datagrams under way, when the worker is made"),
    ("table.rs", "collect()", "the same"),
    ("tx.rs", "Box::", "the outputs, when the worker is made"),
    ("spread.rs", "Vec<", "rings, made before the workers"),
    ("spread.rs", "Vec::", "the same"),
    ("spread.rs", "collect()", "the same"),
];

fn sources() -> Vec<PathBuf> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![src.join("worker.rs"), src.join("spread.rs"), src.join("meeting.rs")];
    let folders = ["datapath", "datapath/reassemble"].map(|folder| fs::read_dir(src.join(folder)));
    for entry in folders.into_iter().flat_map(Result::unwrap) {
        let path = entry.unwrap().path();
        let tests = path.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("_tests"));
        if !tests && path.extension().is_some_and(|ext| ext == "rs") {
            files.push(path);
        }
    }
    assert!(files.len() > 10, "{files:?}");
    files
}

/// The word, and not the end of a longer one (`ArrayVec<`).
fn has_word(line: &str, word: &str) -> bool {
    let inside = |at: usize| line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| !inside(at))
}

/// The words found, with file and line. Tests and comments may say anything.
fn offences(name: &str, text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let line = line.split("//").next().unwrap_or_default();
        for word in FORBIDDEN {
            let allowed = ALLOWED.iter().any(|(file, w, _)| *file == name && w == word);
            if has_word(line, word) && !allowed {
                found.push(format!("{name}:{}: `{word}`", number + 1));
            }
        }
    }
    found
}

#[test]
fn the_path_has_no_lock_no_print_and_no_allocation() {
    let mut found = Vec::new();
    for file in sources() {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        found.extend(offences(&name, &fs::read_to_string(&file).unwrap()));
    }
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn the_rule_finds_what_it_is_to_find() {
    assert_eq!(offences("x.rs", "use std::sync::Mutex;\n").len(), 1);
    assert_eq!(offences("x.rs", "fn f() {}\nlet v = vec![1];\n"), ["x.rs:2: `vec!`"]);
    assert_eq!(offences("x.rs", "let v: ArrayVec<u8, 4> = ArrayVec::new();\n").len(), 0);
    assert_eq!(offences("x.rs", "// a Mutex\n#[cfg(test)]\nuse Mutex;\n").len(), 0);
}
