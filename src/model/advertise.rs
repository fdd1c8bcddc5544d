//! Router advertisements of a port or VLAN (RFC 4861 §6.2.1): what is said, and
//! how often.

use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};

/// Longest time between two advertisements that can be asked for, seconds.
pub const INTERVALS: std::ops::RangeInclusive<u16> = 4..=1800;
/// Longest that hosts can be told to use this router without hearing of it,
/// seconds.
pub const MOST_LIFETIME: u16 = 9000;

/// How a link is advertised. Prefixes are those of its own IPv6 addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdvertiseSpec {
    /// Longest time between two unsolicited advertisements, seconds; the shortest
    /// is a third of it (MaxRtrAdvInterval).
    pub interval: u16,
    /// How long this is a default router of hosts that hear no more of it,
    /// seconds; 0: it is none (AdvDefaultLifetime).
    pub lifetime: u16,
    /// How long prefixes are on the link, seconds (AdvValidLifetime).
    pub valid: u32,
    /// How long hosts prefer addresses made from them, seconds
    /// (AdvPreferredLifetime).
    pub preferred: u32,
}

impl Default for AdvertiseSpec {
    /// RFC 4861's defaults.
    fn default() -> AdvertiseSpec {
        AdvertiseSpec { interval: 600, lifetime: 1800, valid: 2_592_000, preferred: 604_800 }
    }
}

impl AdvertiseSpec {
    /// What is wrong with it: field and sentence.
    ///
    /// # Errors
    /// The first thing found.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let AdvertiseSpec { interval, lifetime, valid, preferred } = *self;
        let (least, most) = (INTERVALS.start(), INTERVALS.end());
        if !INTERVALS.contains(&interval) {
            let message = format!("an interval of {interval} seconds: expected {least} to {most}");
            return Err(("interval", message));
        }
        if lifetime != 0 && !(interval..=MOST_LIFETIME).contains(&lifetime) {
            let message = format!(
                "a lifetime of {lifetime} seconds: expected 0, or the interval, {interval}, to {MOST_LIFETIME}"
            );
            return Err(("lifetime", message));
        }
        if preferred > valid {
            let message = format!(
                "preferred for {preferred} seconds: expected {valid} at most, as long as it is valid"
            );
            return Err(("preferred", message));
        }
        Ok(())
    }
}

/// In `ifconfig`'s words.
impl Display for AdvertiseSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AdvertiseSpec { interval, lifetime, valid, preferred } = self;
        write!(f, "interval {interval} lifetime {lifetime} valid {valid} preferred {preferred}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_to_go_together() {
        let usual = AdvertiseSpec::default();
        let of = |spec: AdvertiseSpec| spec.check().map_err(|(field, _)| field);
        assert_eq!(of(usual), Ok(()));
        assert_eq!(of(AdvertiseSpec { lifetime: 0, ..usual }), Ok(()));
        assert_eq!(of(AdvertiseSpec { interval: 3, ..usual }), Err("interval"));
        assert_eq!(of(AdvertiseSpec { interval: 1801, ..usual }), Err("interval"));
        assert_eq!(of(AdvertiseSpec { lifetime: 599, ..usual }), Err("lifetime"));
        assert_eq!(of(AdvertiseSpec { lifetime: 9001, ..usual }), Err("lifetime"));
        assert_eq!(of(AdvertiseSpec { preferred: 9, valid: 8, ..usual }), Err("preferred"));
    }
}
