//! A TOML table read field by field: what is wrong with one field is written
//! down with its place, and reading goes on, so that an operator sees all
//! mistakes at once. Keys nobody knows are refused.

use std::fmt::Display;
use std::ops::RangeInclusive;

use toml::{Table, Value};

use crate::model::op::Problem;

/// Every section and the keys it may have. The reader refuses all others; a test
/// looks each one up in the reference file.
pub const KEYS: &[(&str, &[&str])] = &[
    (
        "dpdk",
        &["workers", "memory", "hugepages", "idle", "spread", "buffers", "descriptors", "worker"],
    ),
    ("dpdk.worker", &["worker", "queues"]),
    ("port", &["name", "device", "address", "mtu", "mac", "rx_queues", "rpf", "advertise", "up"]),
    ("vlan", &["name", "address", "mtu", "rpf", "advertise", "up"]),
    ("port.advertise", &["interval", "lifetime", "valid", "preferred"]),
    (
        "tunnel",
        &[
            "name",
            "kind",
            "local",
            "remote",
            "learn",
            "resolve_interval",
            "address",
            "peer",
            "nbma",
            "inet6",
            "link0",
            "link1",
            "mtu",
            "ttl",
            "dscp",
            "ecn",
            "df",
            "mss",
            "pmtu",
            "reassemble",
            "checksum",
            "key",
            "key_in",
            "key_out",
            "sequence",
            "sequence_resync",
            "keepalive",
            "probe",
            "udp",
            "encaplimit",
            "allow",
            "rpf",
            "port",
            "up",
        ],
    ),
    ("tunnel.keepalive", &["interval", "retries", "up_after"]),
    ("tunnel.probe", &["interval", "retries", "up_after", "to", "size"]),
    ("tunnel.udp", &["port", "source", "checksum"]),
    ("route", &["to", "via", "interface", "blackhole", "reject", "paths"]),
    ("route.paths", &["via", "interface", "weight"]),
    ("routes_file", &["path"]),
    ("neighbour", &["address", "port", "mac"]),
    ("arp", &["address", "port", "mac", "publish"]),
    ("filter", &["name", "in", "from", "to", "protocol", "sport", "dport", "action", "log"]),
    ("icmp", &["error_rate", "error_burst", "echo", "time_exceeded"]),
    ("control", &["socket"]),
    ("metrics", &["enabled", "listen"]),
];

/// Keys a section may have.
fn keys(section: &str) -> &'static [&'static str] {
    KEYS.iter().find(|(name, _)| *name == section).map_or(&[], |(_, keys)| keys)
}

/// The tables of one configuration file, and what is wrong with it so far.
pub struct Document {
    table: Table,
    /// All mistakes found, in the order of the reading.
    pub problems: Vec<Problem>,
    /// Some object could not be made out at all.
    pub unread: bool,
}

impl Document {
    /// Reads TOML; a syntax error has line and column.
    pub fn parse(text: &str) -> Result<Document, Problem> {
        let table: Table = text.parse().map_err(|e: toml::de::Error| {
            let at = e.span().map_or(String::new(), |span| place(text, span.start));
            Problem::new(at, format!("not TOML: {}", e.message().trim_end_matches('.')))
        })?;
        let mut document = Document { table, problems: Vec::new(), unread: false };
        let sections = || KEYS.iter().map(|(name, _)| *name).filter(|name| !name.contains('.'));
        for key in document.table.keys().filter(|key| !sections().any(|s| s == key.as_str())) {
            let expected = sections().collect::<Vec<_>>().join(", ");
            let message = format!("unknown section, expected one of {expected}");
            document.problems.push(Problem::new(key, message));
            document.unread = true;
        }
        Ok(document)
    }

    /// Reads the one table `[name]`; absent is empty.
    pub fn one<T>(&mut self, name: &'static str, read: impl FnOnce(&mut Fields) -> T) -> T {
        let value = self.table.remove(name).unwrap_or(Value::Table(Table::new()));
        let table = match value {
            Value::Table(table) => table,
            other => {
                let message = format!("{} is not a table: expected `[{name}]`", shown(&other));
                self.problems.push(Problem::new(name, message));
                Table::new()
            }
        };
        Fields::read(name, name.to_owned(), table, &mut self.problems, read)
    }

    /// Reads each table of `[[name]]`. What it could make nothing of is left
    /// out; the others keep their numbers.
    pub fn each<T>(
        &mut self,
        name: &'static str,
        read: impl FnMut(&mut Fields) -> Option<T>,
    ) -> Vec<(usize, T)> {
        let Some(value) = self.table.remove(name) else { return Vec::new() };
        let written = value.as_array().map_or(1, Vec::len);
        let items = tables(name, name, value, &mut self.problems, read);
        self.unread |= items.len() < written;
        items
    }
}

/// Reads an array of tables; `section` names its keys, `at` its place.
fn tables<T>(
    section: &'static str,
    at: &str,
    value: Value,
    problems: &mut Vec<Problem>,
    mut read: impl FnMut(&mut Fields) -> Option<T>,
) -> Vec<(usize, T)> {
    let Value::Array(items) = value else {
        let message = format!("{} is not a list of tables: expected `[[{at}]]`", shown(&value));
        problems.push(Problem::new(at, message));
        return Vec::new();
    };
    let mut read_items = Vec::new();
    for (number, item) in items.into_iter().enumerate() {
        let at = format!("{at}[{number}]");
        let Value::Table(table) = item else {
            problems.push(Problem::new(at, format!("{} is not a table", shown(&item))));
            continue;
        };
        let item = Fields::read(section, at, table, problems, &mut read);
        read_items.extend(item.map(|item| (number, item)));
    }
    read_items
}

/// One table being read.
pub struct Fields<'a> {
    at: String,
    keys: &'static [&'static str],
    table: Table,
    problems: &'a mut Vec<Problem>,
}

impl Fields<'_> {
    fn read<T>(
        section: &'static str,
        at: String,
        table: Table,
        problems: &mut Vec<Problem>,
        read: impl FnOnce(&mut Fields) -> T,
    ) -> T {
        let mut fields = Fields { at, keys: keys(section), table, problems };
        let unknown: Vec<String> =
            fields.table.keys().filter(|k| !fields.keys.contains(&k.as_str())).cloned().collect();
        for key in unknown {
            let expected = fields.keys.join(", ");
            fields.problem(&key, format!("unknown key, expected one of {expected}"));
        }
        read(&mut fields)
    }

    /// Writes down what is wrong with a field.
    pub fn problem(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push(Problem::new(format!("{}.{key}", self.at), message));
    }

    /// Writes down what is wrong with the table as a whole.
    pub fn problem_here(&mut self, message: impl Into<String>) {
        self.problems.push(Problem::new(self.at.clone(), message));
    }

    /// True if the key is there (and was not read yet).
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        debug_assert!(self.keys.contains(&key), "{key} is missing in KEYS");
        self.table.remove(key)
    }

    /// A string that must be there.
    pub fn required(&mut self, key: &'static str, expected: &str) -> Option<String> {
        if !self.has(key) {
            self.problem(key, format!("missing, expected {expected}"));
        }
        self.text(key, expected)
    }

    /// A string.
    pub fn text(&mut self, key: &'static str, expected: &str) -> Option<String> {
        match self.take(key)? {
            Value::String(text) => Some(text),
            other => {
                self.problem(
                    key,
                    format!("{} is not a string: expected {expected}", shown(&other)),
                );
                None
            }
        }
    }

    /// A string that means something.
    pub fn parsed<T, E: Display>(
        &mut self,
        key: &'static str,
        expected: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(key, expected)?;
        parse(&text).map_err(|e| self.problem(key, e.to_string())).ok()
    }

    /// A string that must be there and means something.
    pub fn required_parsed<T, E: Display>(
        &mut self,
        key: &'static str,
        expected: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.required(key, expected)?;
        parse(&text).map_err(|e| self.problem(key, e.to_string())).ok()
    }

    /// One of a few words.
    pub fn word<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let expected =
            words.iter().map(|(w, _)| format!("\"{w}\"")).collect::<Vec<_>>().join(" or ");
        self.parsed(key, &expected, |text| {
            let found = words.iter().find(|(word, _)| *word == text);
            found.map(|(_, value)| *value).ok_or(format!("`{text}` is not {expected}"))
        })
    }

    /// A whole number within a range.
    pub fn number<T: TryFrom<i64>>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<i64>,
    ) -> Option<T> {
        let value = self.take(key)?;
        let read = number(&value, &range);
        read.map_err(|message| self.problem(key, message)).ok()
    }

    /// True or false; absent or wrong is `default`.
    pub fn flag(&mut self, key: &'static str, default: bool) -> bool {
        match self.take(key) {
            None => default,
            Some(Value::Boolean(flag)) => flag,
            Some(other) => {
                self.problem(key, format!("{} is not true or false", shown(&other)));
                default
            }
        }
    }

    /// A list; what is wrong with an item is written down and the item left out.
    pub fn list<T>(
        &mut self,
        key: &'static str,
        item: impl Fn(&Value) -> Result<T, String>,
    ) -> Vec<T> {
        let items = match self.take(key) {
            None => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.problem(key, format!("{} is not a list: write it in [ ]", shown(&other)));
                return Vec::new();
            }
        };
        let mut list = Vec::with_capacity(items.len());
        for (number, value) in items.iter().enumerate() {
            match item(value) {
                Ok(read) => list.push(read),
                Err(message) => self.problem(&format!("{key}[{number}]"), message),
            }
        }
        list
    }

    /// A field, which stays.
    pub fn peek(&self, key: &str) -> Option<&Value> {
        self.table.get(key)
    }

    /// A field that is a string or something else: the caller looks.
    pub fn any(&mut self, key: &'static str) -> Option<Value> {
        self.take(key)
    }

    /// The table of `key` below this one, if it is there.
    pub fn table<T>(
        &mut self,
        key: &'static str,
        section: &'static str,
        read: impl FnOnce(&mut Fields) -> Option<T>,
    ) -> Option<T> {
        match self.take(key)? {
            Value::Table(table) => {
                let at = format!("{}.{key}", self.at);
                Fields::read(section, at, table, self.problems, read)
            }
            other => {
                let keys = keys(section).join(", ");
                let message =
                    format!("{} is not a table: expected {{ }} with {keys}", shown(&other));
                self.problem(key, message);
                None
            }
        }
    }

    /// The tables of `[[section.key]]` below this one.
    pub fn each<T>(
        &mut self,
        key: &'static str,
        section: &'static str,
        read: impl FnMut(&mut Fields) -> Option<T>,
    ) -> Vec<T> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let at = format!("{}.{key}", self.at);
        tables(section, &at, value, self.problems, read).into_iter().map(|(_, item)| item).collect()
    }
}

/// A whole number within a range, from a value.
pub fn number<T: TryFrom<i64>>(value: &Value, range: &RangeInclusive<i64>) -> Result<T, String> {
    let expected = || format!("expected a number from {} to {}", range.start(), range.end());
    match value {
        Value::Integer(number) if range.contains(number) => {
            T::try_from(*number).map_err(|_| format!("{number} is too big: {}", expected()))
        }
        other => Err(format!("{} is out of place: {}", shown(other), expected())),
    }
}

/// A string that means something, from a value.
pub fn text<T, E: Display>(
    value: &Value,
    expected: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, String> {
    match value {
        Value::String(text) => parse(text).map_err(|e| e.to_string()),
        other => Err(format!("{} is not a string: expected {expected}", shown(other))),
    }
}

/// A value as an error shows it: short, and on one line.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Table(_) => "a table".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        other => {
            let text = other.to_string().replace('\n', " ");
            let cut: String = text.chars().take(60).collect();
            if cut.len() < text.len() { format!("`{cut}…`") } else { format!("`{cut}`") }
        }
    }
}

/// `line 3, column 7` of a byte offset; columns count characters.
fn place(text: &str, offset: usize) -> String {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    format!("line {line}, column {}", before[line_start..].chars().count() + 1)
}
