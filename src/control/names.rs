//! Far ends that are found by a name: when which is looked up, and what an answer
//! means.
//!
//! Looking up waits for servers, so it happens elsewhere ([`super::resolver`]):
//! control takes [`Question`]s from here and brings [`Answer`]s. What
//! `getaddrinfo` tells has no time to live, so a name is looked up again after the
//! tunnel's `resolve_interval`, whatever its records say. A far end stays where it
//! is as long as its name has that address, among others; and when the name leads
//! nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::ids::{Family, IfId};
use crate::model::ip;
use crate::model::spec::HostName;

/// Questions under way at once: more tunnels wait for an answer.
const MOST: usize = 8;

/// What is asked for a tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The tunnel.
    pub tunnel: IfId,
    /// The name of its far end.
    pub name: HostName,
    /// The family of the address it needs.
    pub family: Family,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What was asked.
    pub question: Question,
    /// Addresses of the host, of any family; or why there are none.
    pub addresses: Result<Vec<IpAddr>, String>,
}

/// A tunnel whose far end has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sought {
    /// The name.
    pub name: HostName,
    /// The family of the tunnel's outer packets.
    pub family: Family,
    /// From one answer to the next question.
    pub interval: Duration,
    /// It has an address already.
    pub known: bool,
}

/// What an answer says of a tunnel's far end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is where it was, or nobody wants to know any more.
    Stays,
    /// It is here.
    At(IpAddr),
    /// The name leads nowhere; `news`: it did before.
    Nowhere { why: String, news: bool },
}

#[derive(Debug)]
struct Entry {
    sought: Sought,
    /// When it is asked for next; `None`: it is being asked for.
    due: Option<Duration>,
    failed: bool,
}

/// The engine.
#[derive(Debug, Default)]
pub(super) struct Names {
    all: BTreeMap<IfId, Entry>,
    due: BTreeSet<(Duration, IfId)>,
    under_way: usize,
}

impl Names {
    /// A tunnel's far end is to be found by this name from now on, or by none.
    pub(super) fn seek(&mut self, now: Duration, tunnel: IfId, sought: Option<Sought>) {
        let old = self.all.remove(&tunnel);
        if let Some(due) = old.as_ref().and_then(|entry| entry.due) {
            self.due.remove(&(due, tunnel));
        }
        let Some(sought) = sought else { return };
        let same =
            |old: &Entry| (&old.sought.name, old.sought.family) == (&sought.name, sought.family);
        let (due, failed) = match old.filter(same) {
            Some(Entry { due: None, failed, .. }) => (None, failed),
            Some(Entry { due, failed, .. }) if sought.known => {
                (due.map(|due| due.min(now + sought.interval)), failed)
            }
            _ => (Some(now), false),
        };
        self.due.extend(due.map(|due| (due, tunnel)));
        self.all.insert(tunnel, Entry { sought, due, failed });
    }

    /// What is to be asked now.
    pub(super) fn questions(&mut self, now: Duration) -> Vec<Question> {
        let mut questions = Vec::new();
        while self.under_way < MOST
            && let Some((at, tunnel)) = self.due.first().copied().filter(|(at, _)| *at <= now)
        {
            self.due.remove(&(at, tunnel));
            let Some(entry) = self.all.get_mut(&tunnel) else { continue };
            entry.due = None;
            self.under_way += 1;
            let Sought { name, family, .. } = entry.sought.clone();
            questions.push(Question { tunnel, name, family });
        }
        questions
    }

    /// Takes an answer; `current` is the address in use.
    pub(super) fn answered(
        &mut self,
        now: Duration,
        answer: Answer,
        current: Option<IpAddr>,
    ) -> Verdict {
        self.under_way = self.under_way.saturating_sub(1);
        let Question { tunnel, name, family } = answer.question;
        let asked = |entry: &&mut Entry| {
            (&entry.sought.name, entry.sought.family) == (&name, family) && entry.due.is_none()
        };
        let Some(entry) = self.all.get_mut(&tunnel).filter(asked) else { return Verdict::Stays };
        let due = now + entry.sought.interval;
        entry.due = Some(due);
        self.due.insert((due, tunnel));
        let usable = |to: &IpAddr| Family::of(*to) == family && ip::not_unicast(*to).is_none();
        let addresses = answer.addresses.map(|all| all.into_iter().filter(usable).collect());
        let (why, addresses): (_, Vec<IpAddr>) = match addresses {
            Ok(addresses) => ("it has no address of the tunnel's family".to_owned(), addresses),
            Err(why) => (why, Vec::new()),
        };
        let stays = current.is_some_and(|current| addresses.contains(&current));
        match addresses.first() {
            None => Verdict::Nowhere { why, news: !std::mem::replace(&mut entry.failed, true) },
            Some(first) => {
                entry.failed = false;
                if stays { Verdict::Stays } else { Verdict::At(*first) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn sought(name: &str, known: bool) -> Sought {
        let name = name.parse().expect("a name");
        Sought { name, family: Family::V4, interval: MINUTE, known }
    }

    fn at(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// Asks, and answers with these addresses; none: an error.
    fn ask(names: &mut Names, seconds: u64, answer: &[&str], current: Option<&str>) -> Verdict {
        let now = Duration::from_secs(seconds);
        let question = names.questions(now).pop().expect("a question");
        let addresses: Vec<IpAddr> = answer.iter().map(|text| at(text)).collect();
        let addresses =
            if addresses.is_empty() { Err("no server".to_owned()) } else { Ok(addresses) };
        names.answered(now, Answer { question, addresses }, current.map(at))
    }

    #[test]
    fn a_name_is_asked_for_again_and_again_and_followed() {
        let mut names = Names::default();
        names.seek(Duration::ZERO, IfId(9), Some(sought("far.example", false)));
        let here = Verdict::At(at("192.0.2.7"));
        // Of the other family, or what no host has: not for this tunnel.
        let answer = ["2001:db8::7", "127.0.0.1", "192.0.2.7", "192.0.2.8"];
        assert_eq!(ask(&mut names, 0, &answer, None), here);
        assert_eq!(names.questions(MINUTE - Duration::from_millis(1)), []);
        let turned = ["192.0.2.8", "192.0.2.7"];
        assert_eq!(ask(&mut names, 60, &turned, Some("192.0.2.7")), Verdict::Stays);
        let moved = ask(&mut names, 120, &["192.0.2.8"], Some("192.0.2.7"));
        assert_eq!(moved, Verdict::At(at("192.0.2.8")));
        names.seek(MINUTE * 3, IfId(9), None);
        assert_eq!(names.questions(MINUTE * 9), []);
    }

    #[test]
    fn what_leads_nowhere_is_news_once() {
        let mut names = Names::default();
        names.seek(Duration::ZERO, IfId(9), Some(sought("far.example", false)));
        let nowhere = |why: &str, news| Verdict::Nowhere { why: why.to_owned(), news };
        assert_eq!(ask(&mut names, 0, &[], None), nowhere("no server", true));
        assert_eq!(ask(&mut names, 60, &[], None), nowhere("no server", false));
        let other = "it has no address of the tunnel's family";
        assert_eq!(ask(&mut names, 120, &["2001:db8::7"], None), nowhere(other, false));
        assert_eq!(ask(&mut names, 180, &["192.0.2.7"], None), Verdict::At(at("192.0.2.7")));
        assert_eq!(ask(&mut names, 240, &[], Some("192.0.2.7")), nowhere("no server", true));
    }

    #[test]
    fn another_name_is_asked_for_at_once_and_the_old_answer_is_nobodys() {
        let mut names = Names::default();
        names.seek(Duration::ZERO, IfId(9), Some(sought("old.example", false)));
        let question = names.questions(Duration::ZERO).pop().expect("a question");
        names.seek(Duration::ZERO, IfId(9), Some(sought("new.example", false)));
        let answer = Answer { question, addresses: Ok(vec![at("192.0.2.7")]) };
        let new = names.questions(Duration::ZERO);
        assert_eq!(new[0].name.as_str(), "new.example");
        assert_eq!(names.answered(Duration::ZERO, answer, None), Verdict::Stays);
        assert_eq!(names.under_way, 1);
        // The same name: its question is under way. Once known, it has its time.
        names.seek(Duration::ZERO, IfId(9), Some(sought("new.example", false)));
        assert_eq!(names.questions(Duration::ZERO), []);
        let answer = Answer { question: new[0].clone(), addresses: Ok(vec![at("192.0.2.7")]) };
        assert_eq!(names.answered(Duration::ZERO, answer, None), Verdict::At(at("192.0.2.7")));
        names.seek(MINUTE / 2, IfId(9), Some(sought("new.example", true)));
        assert_eq!(names.questions(MINUTE / 2), []);
        names.seek(MINUTE / 2, IfId(9), Some(sought("new.example", false)));
        assert_eq!(names.questions(MINUTE / 2).len(), 1, "its address was forgotten");
    }

    #[test]
    fn few_are_asked_for_at_once_and_all_in_the_end() {
        let mut names = Names::default();
        for n in 0..20 {
            names.seek(Duration::ZERO, IfId(n), Some(sought("far.example", false)));
        }
        let mut asked = 0;
        loop {
            let questions = names.questions(Duration::ZERO);
            assert!(questions.len() <= MOST);
            asked += questions.len();
            if questions.is_empty() {
                break;
            }
            for question in questions {
                let answer = Answer { question, addresses: Ok(vec![at("192.0.2.7")]) };
                names.answered(Duration::ZERO, answer, None);
            }
        }
        assert_eq!(asked, 20);
    }
}
