//! Words as the BSD verbs take them: no `--options`, but a sentence read from
//! left to right. clap hands the words over; each verb reads them with [`Words`].

use std::net::IpAddr;

use crate::config::address::{self, AddressError, netmask};
use crate::ids::Family;

/// A line that cannot be understood: exit code 2.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Usage {
    /// A word that wants another one behind it.
    #[error("`{word}` needs {expected} after it")]
    Missing {
        /// The word.
        word: String,
        /// What should follow.
        expected: &'static str,
    },
    /// A value that is not of its kind.
    #[error("`{value}` is not {expected}")]
    Bad {
        /// As typed.
        value: String,
        /// What it should have been.
        expected: &'static str,
    },
    /// A word the verb does not know.
    #[error("`{word}`: expected {expected}")]
    Unknown {
        /// As typed.
        word: String,
        /// What could stand there.
        expected: &'static str,
    },
    /// Words that do not go together.
    #[error("{0}")]
    Conflict(&'static str),
    /// A bad address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// An address of the other family than the one asked for.
    #[error("`{value}` is not an {expected} address")]
    Family {
        /// As typed.
        value: String,
        /// `IPv4` or `IPv6`.
        expected: &'static str,
    },
}

/// A line's words, read once from left to right.
pub struct Words<'a> {
    rest: std::slice::Iter<'a, String>,
}

impl<'a> Words<'a> {
    /// All of `words`.
    pub fn new(words: &'a [String]) -> Words<'a> {
        Words { rest: words.iter() }
    }

    /// The next word, or the reason why it should have been there.
    pub fn after(&mut self, word: &str, expected: &'static str) -> Result<&'a str, Usage> {
        self.next().ok_or_else(|| Usage::Missing { word: word.to_owned(), expected })
    }

    /// The next word, which stays.
    pub fn peek(&self) -> Option<&'a str> {
        self.rest.as_slice().first().map(String::as_str)
    }

    /// The next word as a number.
    pub fn number<T: std::str::FromStr>(
        &mut self,
        word: &str,
        expected: &'static str,
    ) -> Result<T, Usage> {
        number(self.after(word, expected)?, expected)
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.rest.next().map(String::as_str)
    }
}

/// A number such as `expected` says.
pub fn number<T: std::str::FromStr>(text: &str, expected: &'static str) -> Result<T, Usage> {
    text.parse().map_err(|_| Usage::Bad { value: text.to_owned(), expected })
}

/// An address, IPv4 in any of inet_aton's short forms.
pub fn address(text: &str) -> Result<IpAddr, Usage> {
    Ok(address::address(text)?)
}

/// Refuses what is not of the family asked for, if one is.
pub fn of_family(text: &str, family: Option<Family>) -> Result<(), Usage> {
    let (wanted, expected) = match family {
        None => return Ok(()),
        Some(Family::V4) => (false, "IPv4"),
        Some(Family::V6) => (true, "IPv6"),
    };
    let ok = text.contains(':') == wanted;
    ok.then_some(()).ok_or_else(|| Usage::Family { value: text.to_owned(), expected })
}

/// A netmask such as `255.0.0.0` or `0xff000000`, as a prefix length.
pub fn mask(text: &str) -> Result<u8, Usage> {
    let expected = "a netmask with contiguous ones, such as 255.255.255.0 or 0xffffff00";
    netmask(text).ok_or_else(|| Usage::Bad { value: text.to_owned(), expected })
}

/// Splits one-letter options: `-in` is `i` and `n`. None for other words.
pub fn letters(word: &str) -> Option<std::str::Chars<'_>> {
    let letters = word.strip_prefix('-')?;
    (!letters.is_empty() && letters.bytes().all(|b| b.is_ascii_alphabetic()))
        .then(|| letters.chars())
}

/// A line cut at blanks, for tests.
#[cfg(test)]
pub fn line(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_are_read_in_order_and_missing_ones_are_named() {
        let words = line("mtu 1400 ttl");
        let mut words = Words::new(&words);
        assert_eq!(words.next(), Some("mtu"));
        assert_eq!(words.number::<u16>("mtu", "a number"), Ok(1400));
        assert_eq!(words.next(), Some("ttl"));
        let error = words.number::<u8>("ttl", "a number from 1 to 255").unwrap_err();
        assert_eq!(error.to_string(), "`ttl` needs a number from 1 to 255 after it");
    }

    #[test]
    fn addresses_and_masks_in_their_short_forms() {
        assert_eq!(address("12.1").unwrap().to_string(), "12.0.0.1");
        assert_eq!(address("2001:DB8::1").unwrap().to_string(), "2001:db8::1");
        assert!(address("2001:db8::1::").is_err());
        assert!(address("nonsense").is_err());
        assert_eq!(mask("0xff000000"), Ok(8));
        assert!(mask("255.0.255.0").is_err());
    }

    #[test]
    fn letters_are_options_of_letters_only() {
        assert_eq!(letters("-in").unwrap().collect::<String>(), "in");
        for word in ["-", "en0", "--json", "-1"] {
            assert!(letters(word).is_none(), "{word}");
        }
    }
}
