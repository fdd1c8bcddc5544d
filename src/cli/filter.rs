//! `filter`: packet filters, in the words of the other verbs. BSD has none that
//! these would be those of.

use super::words::{Usage, Words, address};
use super::{BsdArgs, Failure, Session, show};
use crate::config::address::network;
use crate::model::api::Call;
use crate::model::filter::{PORTS, PROTOCOL};
use crate::model::op::Op;
use crate::model::spec::{FilterAction, FilterSpec};
use crate::model::view::FilterView;

/// What `--help` ends with.
pub const EXAMPLES: &str = "\
Examples:
  greyhound filter                               rules in order, and how many packets met each
  greyhound filter add no-ssh in en1 proto tcp dport 22 reject log
  greyhound filter add web in en1 to 10.0.0.80/32 proto tcp dport 80-443 accept before no-ssh
  greyhound filter add spoofed in en1 from 10.0.0.0/8 drop
  greyhound filter delete no-ssh
  greyhound filter flush                         all of them

A packet meets the rules of where it arrived (port, VLAN or tunnel), in order; the
first that fits decides, and without one it goes on. `log` writes samples to the log.";

/// A line, understood.
#[derive(Debug, PartialEq, Eq)]
enum Command {
    Show,
    Change(Op),
}

/// Runs a line.
pub fn run(args: &BsdArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    match parse(&args.words)? {
        Command::Change(op) => session.transact(vec![op]).map(|_| ()),
        Command::Show => {
            let views: Vec<FilterView> = session.call(Call::ShowFilters)?;
            if args.json {
                return session.print_json(&views);
            }
            session.print(&show::filters(&views))
        }
    }
}

fn parse(words: &[String]) -> Result<Command, Usage> {
    let mut words = Words::new(words);
    let command = match words.next() {
        None | Some("show") => Command::Show,
        Some("add") => Command::Change(add(&mut words)?),
        Some(word @ ("delete" | "del")) => {
            let name = words.after(word, "the name of a rule")?.to_owned();
            Command::Change(Op::DeleteFilter { name })
        }
        Some("flush") => Command::Change(Op::FlushFilters),
        Some(word) => return Err(unknown(word, "show, add, delete or flush")),
    };
    match words.next() {
        Some(word) => Err(unknown(word, "the end of the line")),
        None => Ok(command),
    }
}

fn unknown(word: &str, expected: &'static str) -> Usage {
    Usage::Unknown { word: word.to_owned(), expected }
}

/// `NAME [in IF] [from NET] … accept|drop|reject [log] [before NAME]`.
fn add(words: &mut Words<'_>) -> Result<Op, Usage> {
    let name = words.after("add", "a name for the rule")?;
    let mut filter = FilterSpec::new(name, FilterAction::Accept);
    let (mut action, mut before) = (None, None);
    while let Some(word) = words.next() {
        match word {
            "in" => filter.interface = Some(words.after(word, "an interface")?.to_owned()),
            "from" => filter.from = Some(net(words.after(word, "a network")?)?),
            "to" => filter.to = Some(net(words.after(word, "a network")?)?),
            "proto" => filter.protocol = Some(words.number(word, PROTOCOL)?),
            "sport" => filter.sport = Some(words.number(word, PORTS)?),
            "dport" => filter.dport = Some(words.number(word, PORTS)?),
            "log" => filter.log = true,
            "before" => before = Some(words.after(word, "the name of a rule")?.to_owned()),
            word => match FilterAction::WORDS.iter().find(|(name, _)| *name == word) {
                Some((_, found)) if action.is_none() => action = Some(*found),
                Some(_) => return Err(Usage::Conflict("a rule has one action")),
                None => {
                    let expected =
                        "in, from, to, proto, sport, dport, accept, drop, reject, log or before";
                    return Err(unknown(word, expected));
                }
            },
        }
    }
    filter.action = action.ok_or(Usage::Conflict("a rule needs accept, drop or reject"))?;
    Ok(Op::AddFilter { filter: Box::new(filter), before })
}

/// A network, or the address of one host.
fn net(text: &str) -> Result<ipnet::IpNet, Usage> {
    match text.contains('/') {
        true => Ok(network(text)?),
        false => Ok(address(text)?.into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cli::words::line;

    #[test]
    fn rules_are_read_as_they_are_printed() {
        for text in [
            "a drop",
            "no-ssh in en1 from 10.0.0.0/8 to 0.0.0.0/0 proto tcp sport 1024-65535 dport 22 reject log",
            "b in gre0 from 2001:db8::/32 proto 89 accept",
        ] {
            let Command::Change(Op::AddFilter { filter, before: None }) =
                parse(&line(&format!("add {text}"))).unwrap()
            else {
                panic!("{text}")
            };
            assert_eq!(filter.to_string(), text);
        }
        let text = "add one from 10.1 drop before two";
        let Command::Change(Op::AddFilter { filter, before }) = parse(&line(text)).unwrap() else {
            panic!("{text}")
        };
        assert_eq!(
            (filter.from, before),
            (Some("10.0.0.1/32".parse().unwrap()), Some("two".into()))
        );
        assert_eq!(parse(&line("show")), Ok(Command::Show));
        assert_eq!(parse(&[]), Ok(Command::Show));
        assert_eq!(parse(&line("flush")), Ok(Command::Change(Op::FlushFilters)));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (text, word) in [
            ("add", "a name"),
            ("add a", "accept, drop or reject"),
            ("add a drop reject", "one action"),
            ("add a drop proto tpc", "tpc"),
            ("add a drop dport 9-8", "9-8"),
            ("add a drop from 10.0.0.1/8", "10.0.0.1/8"),
            ("add a drop bogus", "bogus"),
            ("delete", "the name"),
            ("delete a b", "`b`"),
            ("bogus", "bogus"),
        ] {
            let error = parse(&line(text)).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
