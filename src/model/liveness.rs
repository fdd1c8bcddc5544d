//! How a tunnel finds out whether its far end is there: what is configured.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A time between two packets, in milliseconds. Written `10s` or `500ms`; a
/// bare number is seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Period(u32);

/// What a [`Period`] is, for messages.
pub const PERIOD: &str = "100ms to 32767s, such as 10 (seconds), 10s or 500ms";

impl Period {
    /// Least and most, in milliseconds. The most is Cisco's.
    const RANGE: std::ops::RangeInclusive<u32> = 100..=32_767_000;

    /// So many seconds; `None` out of range.
    pub fn seconds(seconds: u32) -> Option<Period> {
        Period::milliseconds(seconds.checked_mul(1000)?)
    }

    fn milliseconds(ms: u32) -> Option<Period> {
        Period::RANGE.contains(&ms).then_some(Period(ms))
    }

    /// As a duration.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0 as u64)
    }
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Period, String> {
        let (digits, unit) =
            text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let number = digits.parse().ok();
        let period = match unit {
            "" | "s" => number.and_then(Period::seconds),
            "ms" => number.and_then(Period::milliseconds),
            _ => None,
        };
        period.ok_or_else(|| format!("`{text}` is not an interval: expected {PERIOD}"))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 % 1000 {
            0 => write!(f, "{}s", self.0 / 1000),
            _ => write!(f, "{}ms", self.0),
        }
    }
}

impl From<Period> for String {
    fn from(period: Period) -> String {
        period.to_string()
    }
}

impl TryFrom<String> for Period {
    type Error = String;

    fn try_from(text: String) -> Result<Period, String> {
        text.parse()
    }
}

/// When a far end counts as gone, and as back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timing {
    /// From one packet to the next; also how long an answer may take.
    pub interval: Period,
    /// Packets lost in a row after which it is gone; 1 up.
    pub retries: u8,
    /// Answers in a row after which it is back; 1 up.
    pub up_after: u8,
}

impl Default for Timing {
    /// Cisco's, and two answers to come back.
    fn default() -> Timing {
        Timing { interval: Period(10_000), retries: 3, up_after: 2 }
    }
}

impl fmt::Display for Timing {
    /// In the words of `ifconfig`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.interval, self.retries, self.up_after)
    }
}

/// An echo request through the tunnel now and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeSpec {
    /// How often, and what follows.
    #[serde(default)]
    pub timing: Timing,
    /// Who is asked; default: the far end of the inner pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<IpAddr>,
    /// Also look, each minute, for the largest packet that passes.
    #[serde(default = "yes")]
    pub size: bool,
}

fn yes() -> bool {
    true
}

impl Default for ProbeSpec {
    fn default() -> ProbeSpec {
        ProbeSpec { timing: Timing::default(), to: None, size: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_read_as_they_are_shown() {
        for (text, shown) in [("10", "10s"), ("10s", "10s"), ("500ms", "500ms"), ("2000ms", "2s")] {
            assert_eq!(text.parse::<Period>().map(|p| p.to_string()), Ok(shown.to_owned()));
        }
        for bad in ["", "s", "0", "99ms", "32768", "-1", "10m", "1.5", "10 s", "99999999999"] {
            assert!(bad.parse::<Period>().is_err(), "{bad}");
        }
    }
}
