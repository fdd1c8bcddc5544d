//! How fast the FIBs are: lookups beside DPDK's, changes beside a reader, a full
//! load. Rows F1 to F3.
//!
//! ```text
//! cargo bench --bench fib [-- lookup4 lookup6 changes4 changes6 load]
//! cargo bench --bench fib --no-default-features        (without DPDK's)
//! ```
//!
//! Prints a table and adds a line of JSON for each figure to
//! `target/bench/fib.json`. Figures are medians over windows taken in turns.
#![allow(clippy::unwrap_used, missing_docs)]

mod changes;
mod load;
mod lookup;
#[cfg(feature = "dpdk")]
mod peers;
mod report;
mod work;

/// Routes of the big tables.
const IPV4: usize = 1_000_000;
const IPV6: usize = 200_000;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let is_wanted = |part: &str| wanted.is_empty() || wanted.iter().any(|name| name == part);
    let parts: [(&str, fn()); 5] = [
        ("load", load::all),
        ("lookup4", || lookup::ipv4(IPV4)),
        ("lookup6", || lookup::ipv6(IPV6)),
        ("changes4", || changes::ipv4(IPV4)),
        ("changes6", || changes::ipv6(IPV6)),
    ];
    #[cfg(feature = "dpdk")]
    if ["lookup4", "lookup6"].into_iter().any(is_wanted) {
        assert!(peers::start(), "the EAL does not start");
    }
    for (_, run) in parts.into_iter().filter(|(name, _)| is_wanted(name)) {
        run();
    }
}
