//! `ping`: echo requests sent by the gateway itself, one call each, printed as
//! BSD's ping prints them (technote T5).

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::client::{Client, ClientError};
use super::words::{Usage, Words, address, number, of_family};
use super::{BsdArgs, Failure, Session};
use crate::ids::Family;
use crate::model::api::{Call, MAX_PING_MS};
use crate::model::view::PingView;

/// What `--help` ends with.
pub const EXAMPLES: &str = "\
Examples:
  ping 12.0.0.2                        until Ctrl-C
  ping -c 4 12.2                       four times; 12.2 is 12.0.0.2
  ping -c 2 -s 1448 -D 10.0.0.25       with DF: does the path take 1476 bytes?
  ping -c 1 -I 10.1 -T 3 -W 0.5 13.1   source, TTL, seconds to wait
  ping -c 4 2001:db8::25               IPv6; ping6 takes nothing else

Options:
  -c COUNT  -i SECONDS between probes (1)  -s PAYLOAD bytes (56)
  -t TTL or -T TTL (64)  -D set DF (IPv6: do not cut to 1280 bytes)  -I SOURCE address
  -W SECONDS to wait (2), at most 60

Exit code 0 when at least one reply came, 1 otherwise.";

/// ICMP header bytes, which BSD's ping counts in.
const ICMP_HEADER: usize = 8;

/// How often a waiting ping looks whether it was interrupted.
const TICK: Duration = Duration::from_millis(50);

/// What to send.
#[derive(Clone, Debug, PartialEq)]
struct Plan {
    to: IpAddr,
    from: Option<IpAddr>,
    /// Probes; `None`: until interrupted.
    count: Option<u32>,
    interval: Duration,
    wait: Duration,
    size: u16,
    ttl: u8,
    dont_fragment: bool,
}

/// Sends the probes and prints what comes back.
pub fn run(args: &BsdArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    ping(parse(&args.words, None)?, args.json, session)
}

/// The same as `ping6`, to IPv6 addresses only.
pub fn run6(args: &BsdArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    ping(parse(&args.words, Some(Family::V6))?, args.json, session)
}

fn ping(plan: Plan, json: bool, session: &mut Session<'_>) -> Result<(), Failure> {
    let mut client = session.connect()?;
    let stop = client.stop_flag();
    // Without it Ctrl-C still ends the command, only without a summary.
    let caught = signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&stop));
    if let Err(error) = caught {
        writeln!(session.err, "note: Ctrl-C will print no summary: {error}")?;
    }
    if !json {
        session.print(&format!("PING {}: {} data bytes\n", plan.to, plan.size))?;
    }
    let mut sums = Sums::default();
    let done = probes(&plan, json, &mut client, &stop, session, &mut sums);
    // Also after an error in the middle: what came before it counts.
    if !json && (done.is_ok() || sums.sent > 0) {
        session.print(&sums.render(plan.to))?;
    }
    done?;
    if sums.received > 0 { Ok(()) } else { Err(Failure::NoReply(plan.to)) }
}

fn probes(
    plan: &Plan,
    json: bool,
    client: &mut Client,
    stop: &AtomicBool,
    session: &mut Session<'_>,
    sums: &mut Sums,
) -> Result<(), Failure> {
    // Truncated on purpose: it only has to differ between runs.
    let ident = std::process::id() as u16;
    while plan.count.is_none_or(|count| sums.sent < count) {
        if sums.sent > 0 && !pause(plan.interval, sums.last_sent, stop) {
            break;
        }
        let sequence = sums.sent as u16;
        sums.last_sent = Some(Instant::now());
        sums.sent += 1;
        let answer = match client.call(plan.probe(ident, sequence)) {
            Ok(answer) => answer,
            Err(ClientError::Interrupted(_)) => break,
            Err(error) => {
                // Refused: it was not sent.
                sums.sent -= 1;
                return Err(error.into());
            }
        };
        sums.add(&answer);
        if json {
            let line = serde_json::to_string(&Probe { sequence, answer: &answer });
            writeln!(session.out, "{}", line.map_err(Failure::Json)?)?;
        } else {
            session.print(&render(&answer, sequence))?;
        }
        // A reader behind a pipe wants to see it now.
        session.out.flush()?;
    }
    Ok(())
}

/// Waits until `interval` after the last probe; false if interrupted.
fn pause(interval: Duration, last: Option<Instant>, stop: &AtomicBool) -> bool {
    let began = last.unwrap_or_else(Instant::now);
    loop {
        if stop.load(Ordering::Relaxed) {
            return false;
        }
        let left = interval.saturating_sub(began.elapsed());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(TICK));
    }
}

impl Plan {
    fn probe(&self, ident: u16, sequence: u16) -> Call {
        Call::Ping {
            to: self.to,
            from: self.from,
            ident,
            sequence,
            size: self.size,
            ttl: self.ttl,
            timeout_ms: u32::try_from(self.wait.as_millis()).unwrap_or(u32::MAX),
            dont_fragment: self.dont_fragment,
        }
    }
}

/// A line of `--json`.
#[derive(Serialize)]
struct Probe<'a> {
    sequence: u16,
    #[serde(flatten)]
    answer: &'a PingView,
}

fn render(answer: &PingView, sequence: u16) -> String {
    match answer {
        PingView::Reply { from, bytes, ttl, rtt_ms } => {
            let bytes = bytes + ICMP_HEADER;
            format!(
                "{bytes} bytes from {from}: icmp_seq={sequence} ttl={ttl} time={rtt_ms:.3} ms\n"
            )
        }
        PingView::Error { from, message } => {
            format!("From {from}: icmp_seq={sequence} {message}\n")
        }
        PingView::Timeout => format!("Request timeout for icmp_seq={sequence}\n"),
    }
}

/// What the summary tells.
#[derive(Default)]
struct Sums {
    sent: u32,
    received: u32,
    last_sent: Option<Instant>,
    min_ms: f64,
    max_ms: f64,
    sum_ms: f64,
}

impl Sums {
    fn add(&mut self, answer: &PingView) {
        if let PingView::Reply { rtt_ms, .. } = answer {
            let first = self.received == 0;
            self.min_ms = if first { *rtt_ms } else { self.min_ms.min(*rtt_ms) };
            self.max_ms = self.max_ms.max(*rtt_ms);
            self.sum_ms += rtt_ms;
            self.received += 1;
        }
    }

    fn render(&self, to: IpAddr) -> String {
        let (sent, received) = (self.sent, self.received);
        let lost = sent.saturating_sub(received);
        let percent = 100.0 * f64::from(lost) / f64::from(sent.max(1));
        let mut out = format!(
            "\n--- {to} ping statistics ---\n\
             {sent} packets transmitted, {received} packets received, {percent:.1}% packet loss\n"
        );
        if received > 0 {
            let (min, max) = (self.min_ms, self.max_ms);
            let avg = self.sum_ms / f64::from(received);
            // Writing to a String cannot fail.
            let _ = writeln!(out, "round-trip min/avg/max = {min:.3}/{avg:.3}/{max:.3} ms");
        }
        out
    }
}

const COUNT: &str = "a number of probes, at least 1";
const SIZE: &str = "a number of payload bytes, at most 65507";
const TTL: &str = "a TTL from 1 to 255";
const WAIT: &str = "a number of seconds to wait, at most 60";
const SECONDS: &str = "a number of seconds, such as 0.2";

fn parse(words: &[String], family: Option<Family>) -> Result<Plan, Usage> {
    let address = |text: &str| {
        of_family(text, family)?;
        address(text)
    };
    let mut plan = Plan {
        to: Ipv4Addr::UNSPECIFIED.into(),
        from: None,
        count: None,
        interval: Duration::from_secs(1),
        wait: Duration::from_secs(2),
        size: 56,
        ttl: 64,
        dont_fragment: false,
    };
    let mut to = None;
    let mut words = Words::new(words);
    while let Some(word) = words.next() {
        // `-c4` is `-c 4`.
        let (option, joined) = match word.char_indices().nth(2) {
            Some((at, _)) if word.starts_with('-') => (&word[..at], Some(&word[at..])),
            _ => (word, None),
        };
        let mut value = |expected| match joined {
            Some(value) => Ok(value),
            None => words.after(option, expected),
        };
        match option {
            "-c" => plan.count = Some(within(value(COUNT)?, COUNT, |n| n > 0)?),
            "-s" => plan.size = within(value(SIZE)?, SIZE, |n| n <= 65_507)?,
            "-t" | "-T" => plan.ttl = within(value(TTL)?, TTL, |n| n > 0)?,
            "-i" => plan.interval = seconds(value(SECONDS)?)?,
            "-W" => plan.wait = wait(value(WAIT)?)?,
            "-I" => plan.from = Some(address(value("a source address")?)?),
            "-D" if joined.is_none() => plan.dont_fragment = true,
            "-n" if joined.is_none() => {}
            _ if word.starts_with('-') => {
                let expected = "-c, -i, -s, -t, -T, -D, -I or -W";
                return Err(Usage::Unknown { word: word.to_owned(), expected });
            }
            _ if to.is_none() => to = Some(address(word)?),
            _ => {
                let expected = "one destination";
                return Err(Usage::Unknown { word: word.to_owned(), expected });
            }
        }
    }
    plan.to = to.ok_or_else(|| Usage::Missing {
        word: "ping".to_owned(),
        expected: "the address to ping",
    })?;
    Ok(plan)
}

fn within<T: std::str::FromStr + Copy>(
    text: &str,
    expected: &'static str,
    fits: fn(T) -> bool,
) -> Result<T, Usage> {
    let value = number(text, expected)?;
    if fits(value) { Ok(value) } else { Err(Usage::Bad { value: text.to_owned(), expected }) }
}

fn seconds(text: &str) -> Result<Duration, Usage> {
    Duration::try_from_secs_f64(number(text, SECONDS)?)
        .map_err(|_| Usage::Bad { value: text.to_owned(), expected: SECONDS })
}

fn wait(text: &str) -> Result<Duration, Usage> {
    let most = Duration::from_millis(u64::from(MAX_PING_MS));
    let wait = seconds(text)?;
    if wait > most {
        return Err(Usage::Bad { value: text.to_owned(), expected: WAIT });
    }
    Ok(wait)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cli::words::line as words;

    fn plain() -> Plan {
        parse(&words("12.2"), None).unwrap()
    }

    #[test]
    fn lines_and_what_they_mean() {
        assert_eq!(plain().to, IpAddr::from([12, 0, 0, 2]));
        let four = Plan { count: Some(4), ..plain() };
        let all = Plan {
            count: Some(2),
            interval: Duration::from_millis(200),
            wait: Duration::from_millis(500),
            size: 1448,
            ttl: 3,
            dont_fragment: true,
            from: Some(IpAddr::from([10, 0, 0, 1])),
            ..plain()
        };
        for (text, expected) in [
            ("-c 4 12.0.0.2", &four),
            ("-c4 12.0.0.2", &four),
            ("12.0.0.2 -c 4", &four),
            ("-n -c 2 -i 0.2 -W .5 -s 1448 -T 3 -D -I 10.1 12.2", &all),
            ("-c2 -i0.2 -W0.5 -s1448 -t3 -D -I10.1 12.2", &all),
        ] {
            assert_eq!(&parse(&words(text), None).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn lines_that_make_no_sense_say_why() {
        for (text, why) in [
            ("", "address"),
            ("-c 0 12.2", "at least 1"),
            ("-c", "number of probes"),
            ("-s 65508 12.2", "65507"),
            ("-t 0 12.2", "1 to 255"),
            ("-i -1 12.2", "seconds"),
            ("-W nan 12.2", "seconds"),
            ("-W 60.5 12.2", "at most 60"),
            ("-x 12.2", "-x"),
            ("-Dx 12.2", "-Dx"),
            ("12.2 12.3", "12.3"),
            ("fe80::1%en0", "IPv6"),
        ] {
            let error = parse(&words(text), None).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn answers_and_summary_print_as_in_bsd() {
        let from = IpAddr::from([12, 0, 0, 2]);
        let mut sums = Sums { sent: 4, ..Sums::default() };
        for rtt_ms in [0.3, 0.1] {
            sums.add(&PingView::Reply { from, bytes: 56, ttl: 64, rtt_ms });
        }
        sums.add(&PingView::Timeout);
        let error = PingView::Error { from, message: "Destination Host Unreachable".into() };
        sums.add(&error);
        assert_eq!(
            render(&PingView::Reply { from, bytes: 56, ttl: 64, rtt_ms: 0.123_4 }, 0),
            "64 bytes from 12.0.0.2: icmp_seq=0 ttl=64 time=0.123 ms\n"
        );
        assert_eq!(render(&error, 7), "From 12.0.0.2: icmp_seq=7 Destination Host Unreachable\n");
        assert_eq!(
            sums.render(from),
            "\n--- 12.0.0.2 ping statistics ---\n\
             4 packets transmitted, 2 packets received, 50.0% packet loss\n\
             round-trip min/avg/max = 0.100/0.200/0.300 ms\n"
        );
    }

    #[test]
    fn nothing_received_is_all_lost() {
        let sums = Sums { sent: 2, ..Sums::default() };
        let text = sums.render(IpAddr::from([12, 0, 0, 2]));
        assert!(text.ends_with("0 packets received, 100.0% packet loss\n"), "{text}");
    }

    #[test]
    fn an_interrupted_pause_ends_at_once() {
        let stop = AtomicBool::new(true);
        assert!(!pause(Duration::from_secs(60), Some(Instant::now()), &stop));
        // Far beyond what a clock can tell.
        assert!(!pause(
            Duration::from_secs(10_000_000_000_000_000_000),
            Some(Instant::now()),
            &stop
        ));
        assert!(pause(Duration::ZERO, None, &AtomicBool::new(false)));
    }
}
