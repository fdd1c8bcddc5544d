//! `arp`: show, set, publish and delete link addresses of IPv4 neighbours, with
//! BSD's words (technote T10). `ndp` does the same for IPv6.

use std::net::IpAddr;

use super::words::{self, Usage, Words, letters, of_family};
use super::{BsdArgs, Failure, Session};
use crate::ids::{Family, Mac};
use crate::model::api::Call;
use crate::model::op::Op;
use crate::model::spec::{NeighbourSpec, PublishSpec};
use crate::model::view::NeighbourView;

/// What `--help` ends with.
pub const EXAMPLES: &str = "\
Examples:
  arp -a                               all entries
  arp 10.0.0.25                        those of one address
  arp -s 10.0.0.77 02:00:00:00:00:77   a static neighbour
  arp -s 10.0.0.25 $(netstat -in | grep en0 | grep Link | cut -c 27-43) pub
                                       answer for 10.0.0.25 with en0's own address
  arp -s 10.0.0.25 auto pub -i en0     the same
  arp -d 10.0.0.25                     the entries of one address away
  arp -d -a                            all of them

A published entry is no neighbour: it is silent until a route to the address
leaves by another interface, and says so.";

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// `-a`, or an address.
    Show { address: Option<IpAddr> },
    /// `-s`.
    Set(Op),
    /// `-d`.
    Delete(IpAddr),
    /// `-d -a`.
    Flush,
}

/// Runs a line.
pub fn run(args: &BsdArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let render = |entries: &[NeighbourView]| entries.iter().map(render).collect();
    execute(parse(&args.words, Family::V4)?, Family::V4, args.json, session, render)
}

/// Does what a line of either verb asks for; `render` prints entries.
pub(super) fn execute(
    command: Command,
    family: Family,
    json: bool,
    session: &mut Session<'_>,
    render: impl Fn(&[NeighbourView]) -> String,
) -> Result<(), Failure> {
    let (op, told) = match command {
        Command::Show { address } => {
            let entries = entries(address, family, session)?;
            return match json {
                true => session.print_json(&entries),
                false => session.print(&render(&entries)),
            };
        }
        Command::Set(op) => (op, String::new()),
        Command::Delete(address) => {
            (Op::DeleteArp { address }, format!("{address} ({address}) deleted\n"))
        }
        Command::Flush => (Op::FlushArp { family: Some(family) }, String::new()),
    };
    let outcome = session.transact(vec![op])?;
    if json { session.print_json(&outcome) } else { session.print(&told) }
}

/// The entries of a family, or of one address.
fn entries(
    only: Option<IpAddr>,
    family: Family,
    session: &mut Session<'_>,
) -> Result<Vec<NeighbourView>, Failure> {
    let mut entries: Vec<NeighbourView> = session.call(Call::ShowNeighbours)?;
    entries.retain(|e| Family::of(e.address) == family);
    if let Some(address) = only {
        entries.retain(|e| e.address == address);
        if entries.is_empty() {
            let what = format!("{address} ({address})");
            return Err(Failure::Absent { what, missing: "no entry" });
        }
    }
    Ok(entries)
}

/// An entry as BSD prints it: `? (10.0.0.25) at 02:… on en0 permanent published`.
fn render(entry: &NeighbourView) -> String {
    let mac = entry.mac.map_or_else(|| "(incomplete)".to_owned(), |mac| mac.to_string());
    let mut line = format!("? ({}) at {mac} on {}", entry.address, entry.interface);
    match entry.state.as_str() {
        "permanent" => line += " permanent",
        published if published.starts_with("published") => {
            line += &format!(" permanent {published}");
        }
        // Said already.
        "incomplete" => {}
        state => line += &format!(" {state}"),
    }
    if let Some(seconds) = entry.expires_s {
        line += &format!(" expires in {seconds} s");
    }
    if entry.held > 0 {
        line += &format!(" holding {}", entry.held);
    }
    if let Some(note) = &entry.note {
        line += &format!(": {note}");
    }
    line + "\n"
}

/// What the options add up to.
#[derive(Default)]
struct Line<'a> {
    all: bool,
    set: bool,
    delete: bool,
    publish: bool,
    port: Option<String>,
    values: Vec<&'a str>,
}

pub(super) fn parse(words: &[String], family: Family) -> Result<Command, Usage> {
    let address = |text: &str| {
        of_family(text, Some(family))?;
        words::address(text)
    };
    let line = Line::read(Words::new(words))?;
    match (line.set, line.delete, line.all, line.values.as_slice()) {
        (true, false, false, [of, mac]) => line.set(address(of)?, mac),
        (true, false, false, _) => {
            let expected = "an address and a link address";
            Err(Usage::Missing { word: "-s".to_owned(), expected })
        }
        _ if line.publish || line.port.is_some() => {
            Err(Usage::Conflict("`pub` and -i belong to -s ADDRESS MAC"))
        }
        (false, true, true, []) => Ok(Command::Flush),
        (false, true, false, [one]) => Ok(Command::Delete(address(one)?)),
        (false, true, false, []) => {
            let expected = "an address, or -a for all";
            Err(Usage::Missing { word: "-d".to_owned(), expected })
        }
        (false, false, true, []) => Ok(Command::Show { address: None }),
        (false, false, false, [one]) => Ok(Command::Show { address: Some(address(one)?) }),
        (false, false, false, []) => {
            Err(Usage::Conflict("nothing asked: -a shows all entries, an address those of one"))
        }
        _ => Err(Usage::Conflict("these options and words do not go together")),
    }
}

impl<'a> Line<'a> {
    fn read(mut words: Words<'a>) -> Result<Line<'a>, Usage> {
        let mut line = Line::default();
        while let Some(word) = words.next() {
            match word {
                "-i" => line.port = Some(words.after(word, "an interface")?.to_owned()),
                // BSD's `proxy` publishes without being a neighbour: all of ours do.
                "pub" | "only" | "proxy" if line.set => line.publish = true,
                "temp" => {
                    return Err(Usage::Conflict("`temp` is not supported: set entries stay"));
                }
                _ => match letters(word) {
                    Some(options) => line.options(word, options)?,
                    None => line.values.push(word),
                },
            }
        }
        Ok(line)
    }

    fn options(&mut self, word: &str, options: std::str::Chars<'_>) -> Result<(), Usage> {
        for option in options {
            match option {
                'a' => self.all = true,
                's' => self.set = true,
                'd' => self.delete = true,
                // Names are never looked up.
                'n' => {}
                _ => {
                    let expected = "-a, -s, -d, -n or -i";
                    return Err(Usage::Unknown { word: word.to_owned(), expected });
                }
            }
        }
        Ok(())
    }

    fn set(&self, address: IpAddr, mac: &str) -> Result<Command, Usage> {
        let port = self.port.clone();
        let own = mac == "auto" && self.publish;
        let mac = match own {
            true => None,
            false => Some(mac.parse::<Mac>().map_err(|_| Usage::Bad {
                value: mac.to_owned(),
                expected: "an Ethernet address: six hex bytes like 02:00:00:00:00:01",
            })?),
        };
        Ok(Command::Set(match mac {
            _ if self.publish => Op::Publish { publish: PublishSpec { address, port, mac } },
            Some(mac) => Op::PutNeighbour { neighbour: NeighbourSpec { address, port, mac } },
            None => return Err(Usage::Conflict("`auto` is for published entries")),
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cli::words::line as words;

    fn publish(port: Option<&str>, mac: Option<&str>) -> Command {
        Command::Set(Op::Publish {
            publish: PublishSpec {
                address: "10.0.0.25".parse().unwrap(),
                port: port.map(str::to_owned),
                mac: mac.map(|m| m.parse().unwrap()),
            },
        })
    }

    #[test]
    fn lines_and_what_they_mean() {
        let mac = "02:00:00:00:00:01";
        let neighbour = |port: Option<&str>| {
            Command::Set(Op::PutNeighbour {
                neighbour: NeighbourSpec {
                    address: "10.0.0.77".parse().unwrap(),
                    port: port.map(str::to_owned),
                    mac: mac.parse().unwrap(),
                },
            })
        };
        let address = "10.0.0.25".parse().unwrap();
        for (text, expected) in [
            ("-a", Command::Show { address: None }),
            ("-an", Command::Show { address: None }),
            ("10.25", Command::Show { address: Some(address) }),
            ("-n 10.25", Command::Show { address: Some(address) }),
            ("-s 10.0.0.25 02:00:00:00:00:01 pub", publish(None, Some(mac))),
            ("-s 10.25 2:0:0:0:0:1 pub only", publish(None, Some(mac))),
            ("-s 10.25 auto pub -i en0", publish(Some("en0"), None)),
            ("-s 10.77 02:00:00:00:00:01", neighbour(None)),
            ("-i en1 -s 10.77 02:00:00:00:00:01", neighbour(Some("en1"))),
            ("-d 10.25", Command::Delete(address)),
            ("-d -a", Command::Flush),
            ("-a -d", Command::Flush),
            ("-da", Command::Flush),
        ] {
            assert_eq!(parse(&words(text), Family::V4).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn lines_that_make_no_sense_say_why() {
        for (text, why) in [
            ("", "-a"),
            ("-d", "an address"),
            ("-s 10.0.0.9", "link address"),
            // What the note's line becomes when `grep` found nothing.
            ("-s 10.0.0.25 pub", "link address"),
            ("-s 10.0.0.9 nonsense", "nonsense"),
            ("-s 10.0.0.9 auto", "auto"),
            ("-s 10.0.0.9 02:00:00:00:00:01 temp", "temp"),
            ("-s fe80::1 02:00:00:00:00:01", "IPv4"),
            ("-x", "-x"),
            ("-a -i en0", "-i belong"),
            ("-a 10.1", "together"),
            ("-s -d 10.1 02:00:00:00:00:01", "together"),
        ] {
            let error = parse(&words(text), Family::V4).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn entries_print_as_in_bsd() {
        let entry = |mac: Option<&str>, state: &str, expires_s, note: Option<&str>| NeighbourView {
            address: "10.0.0.25".parse().unwrap(),
            mac: mac.map(|m| m.parse().unwrap()),
            interface: "en0".into(),
            state: state.into(),
            expires_s,
            held: 0,
            note: note.map(str::to_owned),
        };
        let mac = Some("02:00:00:00:00:01");
        for (view, expected) in [
            (entry(mac, "published", None, None), "02:00:00:00:00:01 on en0 permanent published"),
            (
                entry(mac, "published (silent)", None, Some("no route to it leaves elsewhere")),
                "02:00:00:00:00:01 on en0 permanent published (silent): no route to it leaves elsewhere",
            ),
            (entry(mac, "permanent", None, None), "02:00:00:00:00:01 on en0 permanent"),
            (
                entry(mac, "reachable", Some(30), None),
                "02:00:00:00:00:01 on en0 reachable expires in 30 s",
            ),
            (
                NeighbourView { held: 2, ..entry(None, "incomplete", None, None) },
                "(incomplete) on en0 holding 2",
            ),
            (entry(None, "failed", None, None), "(incomplete) on en0 failed"),
        ] {
            assert_eq!(render(&view), format!("? (10.0.0.25) at {expected}\n"));
        }
    }
}
