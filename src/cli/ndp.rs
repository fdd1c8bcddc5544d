//! `ndp`: the IPv6 half of the neighbours, with BSD's words. `arp` has the
//! other half; options and entries are the same.

use std::fmt::Write as _;

use super::arp::{Command, execute, parse};
use super::{BsdArgs, Failure, Session};
use crate::ids::Family;
use crate::model::view::NeighbourView;

/// What `--help` ends with.
pub const EXAMPLES: &str = "\
Examples:
  ndp -a                               all entries
  ndp 2001:db8::25                     those of one address
  ndp -s 2001:db8::77 02:00:00:00:00:77
                                       a static neighbour
  ndp -s 2001:db8::25 auto proxy -i en0
                                       answer for 2001:db8::25 with en0's own address
  ndp -d 2001:db8::25                  the entries of one address away
  ndp -c                               all of them

Flags: P published (proxy), S silent: no route to it leaves by another interface.";

/// Runs a line.
pub fn run(args: &BsdArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    // BSD's `-c` is arp's `-d -a`.
    let clears = |word: &String| word == "-c" || word == "-nc" || word == "-cn";
    let command = match args.words.as_slice() {
        [word] if clears(word) => Command::Flush,
        words => parse(words, Family::V6)?,
    };
    execute(command, Family::V6, args.json, session, render)
}

/// The entries as BSD prints them.
fn render(entries: &[NeighbourView]) -> String {
    let head = ["Neighbor", "Linklayer Address", "Netif", "Expire", "S", "Flags"];
    let mut out = line(&head);
    for entry in entries {
        let mac = entry.mac.map_or_else(|| "(incomplete)".to_owned(), |mac| mac.to_string());
        let address = entry.address.to_string();
        let expire = entry.expires_s.map_or_else(|| "permanent".to_owned(), |s| format!("{s}s"));
        let (state, flags) = letters(&entry.state);
        out += &line(&[&address, &mac, &entry.interface, &expire, state, flags]);
        if let Some(note) = &entry.note {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "  {note}");
        }
    }
    out
}

fn line([address, mac, interface, expire, state, flags]: &[&str; 6]) -> String {
    let text = format!("{address:<39} {mac:<17} {interface:>5} {expire:>9} {state:>1} {flags}");
    text.trim_end().to_owned() + "\n"
}

/// BSD's letter for a state, and flags.
fn letters(state: &str) -> (&'static str, &'static str) {
    match state {
        "incomplete" | "failed" => ("I", ""),
        "delay" => ("D", ""),
        "probe" => ("P", ""),
        "published" => ("R", "P"),
        "published (silent)" => ("R", "P S"),
        _ => ("R", ""),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cli::words::line as words;

    #[test]
    fn entries_print_as_in_bsd() {
        let entry = |state: &str, mac: Option<&str>, expires_s, note: Option<&str>| NeighbourView {
            address: "2001:db8::25".parse().unwrap(),
            mac: mac.map(|m| m.parse().unwrap()),
            interface: "en0".into(),
            state: state.into(),
            expires_s,
            held: 0,
            note: note.map(str::to_owned),
        };
        let mac = Some("02:00:00:00:00:01");
        let shown = render(&[
            entry("reachable", mac, Some(30), None),
            entry("incomplete", None, Some(1), None),
            entry("permanent", mac, None, None),
            entry("published (silent)", mac, None, Some("no route to it")),
        ]);
        let expected = [
            "Neighbor                                Linklayer Address Netif    Expire S Flags",
            "2001:db8::25                            02:00:00:00:00:01   en0       30s R",
            "2001:db8::25                            (incomplete)        en0        1s I",
            "2001:db8::25                            02:00:00:00:00:01   en0 permanent R",
            "2001:db8::25                            02:00:00:00:00:01   en0 permanent R P S",
            "  no route to it",
        ];
        assert_eq!(shown.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_other_family_is_refused() {
        for (text, family) in [("-d 10.1", Family::V6), ("2001:db8::1", Family::V4)] {
            let error = parse(&words(text), family).unwrap_err().to_string();
            assert!(error.contains("is not an IPv"), "{text}: {error}");
        }
        let set = parse(&words("-s 2001:db8::25 auto proxy -i en0"), Family::V6).unwrap();
        assert!(matches!(set, Command::Set(_)));
    }
}
