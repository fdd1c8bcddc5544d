//! IPv4 options (RFC 791 §3.1), walked without copying.
//!
//! ```text
//!  single byte        with length
//! +--------+         +--------+--------+----
//! |  kind  |         |  kind  | length | data (length − 2 bytes)
//! +--------+         +--------+--------+----
//!  kind: copied(1) class(2) number(5);  0 = end of list, 1 = no-op
//! ```
//!
//! `copied` says whether fragments after the first carry the option too.
//! Forwarding never looks in here (RT-04); fragmentation and the answering of
//! pings do.

use arrayvec::ArrayVec;

use super::{IPV4_LEN, IPV4_MAX_HEADER};

/// Most bytes of options a header can carry.
pub const MAX_OPTIONS: usize = IPV4_MAX_HEADER - IPV4_LEN;
/// End of option list.
pub const OPTION_END: u8 = 0;
/// No operation.
pub const OPTION_NOP: u8 = 1;
/// Loose source and record route.
pub const OPTION_LSRR: u8 = 0x83;
/// Strict source and record route.
pub const OPTION_SSRR: u8 = 0x89;
/// Set in the kind of options that every fragment carries.
pub const COPIED: u8 = 0x80;

/// One option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Option<'a> {
    /// All its bytes, kind and length included. Never empty.
    pub bytes: &'a [u8],
}

impl Ipv4Option<'_> {
    /// The option's kind byte.
    #[must_use]
    pub fn kind(&self) -> u8 {
        self.bytes.first().copied().unwrap_or(OPTION_END)
    }

    /// True if fragments after the first carry it.
    #[must_use]
    pub fn is_copied(&self) -> bool {
        self.kind() & COPIED != 0
    }
}

/// Walks the options of a header: `bytes` is what lies between the 20th byte
/// and the header length. Ends at an end-of-list, or before an option whose
/// length is nonsense (nothing behind it can be told apart).
#[derive(Clone, Debug)]
pub struct Options<'a> {
    rest: &'a [u8],
}

impl<'a> Options<'a> {
    /// Over the option bytes of a header.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Options<'a> {
        Options { rest: bytes }
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = Ipv4Option<'a>;

    fn next(&mut self) -> Option<Ipv4Option<'a>> {
        let len = match *self.rest {
            [] | [OPTION_END, ..] => return None,
            [OPTION_NOP, ..] => 1,
            [_, len, ..] if len >= 2 => usize::from(len),
            _ => return None,
        };
        let (bytes, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(Ipv4Option { bytes })
    }
}

/// Options in a header of their own, padded to whole words.
pub type OptionBytes = ArrayVec<u8, MAX_OPTIONS>;

/// The options that fragments after the first carry, padded with end-of-list
/// to a multiple of 4 bytes.
#[must_use]
pub fn copied_options(bytes: &[u8]) -> OptionBytes {
    let bytes = &bytes[..bytes.len().min(MAX_OPTIONS)];
    let mut copied = OptionBytes::new();
    for option in Options::new(bytes).filter(Ipv4Option::is_copied) {
        copied.extend(option.bytes.iter().copied());
    }
    while copied.len() % 4 != 0 {
        copied.push(OPTION_END);
    }
    copied
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::hex;
    use proptest::prelude::*;

    #[test]
    fn scapy_options_are_walked_and_only_the_source_route_is_copied() {
        // RR, NOP, LSRR, end
        let bytes = hex("07070400000000 01 83070409090909 00");
        let kinds: Vec<u8> = Options::new(&bytes).map(|o| o.kind()).collect();
        assert_eq!(kinds, [7, OPTION_NOP, OPTION_LSRR]);
        assert_eq!(copied_options(&bytes)[..], hex("83070409090909 00")[..]);
    }

    #[test]
    fn nonsense_lengths_end_the_walk() {
        for text in ["07", "0700", "0701", "070b0400", "00070704", ""] {
            assert_eq!(Options::new(&hex(text)).count(), 0, "`{text}`");
        }
        assert_eq!(Options::new(&hex("0101 0701")).count(), 2);
        assert!(copied_options(&hex("01070300")).is_empty());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let walked: usize = Options::new(&bytes).map(|o| o.bytes.len()).sum();
            prop_assert!(walked <= bytes.len());
            let copied = copied_options(&bytes);
            prop_assert!(copied.len() % 4 == 0 && copied.len() <= MAX_OPTIONS);
            prop_assert!(Options::new(&copied).all(|o| o.is_copied()));
        }
    }
}
