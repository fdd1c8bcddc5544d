//! All packet counters of a gateway as one flat list of names and numbers, so
//! that *everything* that moved in a case can be compared, not only what the
//! case is about.
//!
//! ```text
//!   origin.<port|control>.{received,received_bytes,fragments_created,sent,handed,taken,merged,held}
//!   origin.<port|control>.dropped.<reason>      origin.….punted.<reason>
//!   port.<port>.sent                            interface.<name>.{rx_packets,…}
//!   control.{punts_taken,originated,…}          control.dropped.<reason>
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use super::Bench;
use crate::datapath::drop::DropReason;
use crate::exchange::PuntReason;
use crate::ids::PortId;
use crate::stats::counters::Ledger;

/// Counter values by name. A counter of 0 is not listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sheet(BTreeMap<String, i64>);

impl Sheet {
    /// Reads all counters of a gateway.
    pub(super) fn take(bench: &Bench) -> Sheet {
        let mut sheet = Sheet::default();
        let counters = bench.worker_counters();
        for (name, id) in bench.ports().iter().zip(0u8..) {
            sheet.ledger(name, counters.ledger(PortId(id)));
            let sent = counters.port_tx[PortId(id).index()].get();
            sheet.set(&format!("port.{name}.sent"), sent);
        }
        sheet.ledger("control", counters.ledger(PortId::CONTROL));
        for interface in bench.interfaces() {
            let traffic = interface.traffic;
            for (what, value) in [
                ("rx_packets", traffic.rx_packets),
                ("rx_bytes", traffic.rx_bytes),
                ("tx_packets", traffic.tx_packets),
                ("tx_bytes", traffic.tx_bytes),
                ("rx_dropped", traffic.rx_dropped),
                ("tx_dropped", traffic.tx_dropped),
                ("fallback", traffic.fallback),
                ("ecn_anomalies", traffic.ecn_anomalies),
            ] {
                sheet.set(&format!("interface.{}.{what}", interface.name), value);
            }
        }
        sheet.control(bench);
        sheet
    }

    fn ledger(&mut self, origin: &str, ledger: &Ledger) {
        for (what, counter) in [
            ("received", &ledger.received),
            ("received_bytes", &ledger.received_bytes),
            ("fragments_created", &ledger.fragments_created),
            ("sent", &ledger.sent),
            ("handed", &ledger.handed),
            ("taken", &ledger.taken),
            ("merged", &ledger.merged),
            ("held", &ledger.held),
        ] {
            self.set(&format!("origin.{origin}.{what}"), counter.get());
        }
        for reason in DropReason::ALL {
            let name = format!("origin.{origin}.dropped.{}", reason.label());
            self.set(&name, ledger.dropped[reason.index()].get());
        }
        for reason in PuntReason::ALL {
            let name = format!("origin.{origin}.punted.{}", reason.label());
            self.set(&name, ledger.punted[reason.index()].get());
        }
    }

    fn control(&mut self, bench: &Bench) {
        let control = bench.control_counters();
        for (what, counter) in [
            ("punts_taken", &control.punts_taken),
            ("originated", &control.originated),
            ("fragments_created", &control.fragments_created),
            ("injected", &control.injected),
            ("consumed", &control.consumed),
        ] {
            self.set(&format!("control.{what}"), counter.get());
        }
        self.set("control.held", control.held.load(Relaxed));
        for (reason, packets) in bench.drops().control.dropped {
            self.set(&format!("control.dropped.{reason}"), packets);
        }
    }

    fn set(&mut self, name: &str, value: u64) {
        if value != 0 {
            self.0.insert(name.to_owned(), value as i64);
        }
    }

    /// What moved since `before`.
    pub fn since(&self, before: &Sheet) -> Sheet {
        let names = self.0.keys().chain(before.0.keys());
        let moved = names
            .map(|name| (name.clone(), self.get(name) - before.get(name)))
            .filter(|(_, difference)| *difference != 0);
        Sheet(moved.collect())
    }

    /// A counter's value.
    pub fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Counters that are not 0, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// Reads a `counters.toml`: tables become the parts of a name. The error
    /// names the entry that is not a number.
    pub fn parse(text: &str) -> Result<Sheet, String> {
        let table: toml::Table =
            text.parse().map_err(|error: toml::de::Error| error.to_string())?;
        let mut sheet = Sheet::default();
        sheet.flatten("", &table)?;
        Ok(sheet)
    }

    fn flatten(&mut self, prefix: &str, table: &toml::Table) -> Result<(), String> {
        for (key, value) in table {
            let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            match value {
                toml::Value::Table(inner) => self.flatten(&name, inner)?,
                toml::Value::Integer(0) => {}
                toml::Value::Integer(value) => {
                    self.0.insert(name, *value);
                }
                other => return Err(format!("`{name}` is {other}, expected a number")),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_become_names_and_differences_leave_zero_out() {
        let after = Sheet::parse("[a.\"en0.20\"]\nx = 3\ny = 0\nz = 5").expect("parses");
        let before = Sheet::parse("[a.\"en0.20\"]\nz = 5\n[control]\nheld = 2").expect("parses");
        let moved = after.since(&before);
        assert_eq!(moved.iter().collect::<Vec<_>>(), [("a.en0.20.x", 3), ("control.held", -2)]);
    }

    #[test]
    fn what_is_not_a_number_is_named() {
        let error = Sheet::parse("[a]\nx = \"3\"").expect_err("a string");
        assert!(error.contains("`a.x`"), "{error}");
    }
}
