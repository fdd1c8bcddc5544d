//! `greyhound check FILE`: what is wrong with a configuration file, all of it
//! at once, without a running gateway.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Failure, Session};
use crate::control::net;
use crate::model::op::Problem;

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Configuration file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// What `--help` ends with.
pub const EXAMPLES: &str = "\
Examples:
  greyhound check /etc/greyhound/gateway.toml

Prints each problem with its place in the file, such as `tunnel[2].remote`.";

/// Reads the file and reports its problems.
pub fn run(args: &CheckArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let text = std::fs::read_to_string(&args.file).map_err(|source| Failure::File {
        action: "read",
        path: args.file.clone(),
        source,
    })?;
    match problems(&text, args.file.parent()) {
        problems if problems.is_empty() => {
            session.print(&format!("{}: no problems\n", args.file.display()))
        }
        problems => Err(Failure::Config { file: args.file.clone(), problems }),
    }
}

/// What is wrong with the file; if nothing, what a gateway would refuse of it.
fn problems(text: &str, folder: Option<&Path>) -> Vec<Problem> {
    let state = match crate::config::parse_in(text, folder) {
        Ok(config) => config.state,
        Err(problems) => return problems,
    };
    let refused = net::trial(&state.ports, &crate::config::ops(&state));
    refused.err().map(|error| error.problems).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use super::*;
    use crate::config;
    use crate::control::net::{Net, PortFacts};
    use crate::ids::{Mac, PortId};
    use crate::tables::{Tables, TablesConfig};

    const BASE: &str = r#"
[[port]]
name = "en0"
device = "net_null0"
address = ["10.0.0.1/8"]

[[port]]
name = "en1"
device = "net_null1"
address = ["203.0.113.1/24", "198.51.100.0/31"]
"#;

    /// What a gateway that starts with the file says of it.
    fn start(text: &str) -> Vec<Problem> {
        let state = config::parse(text).unwrap().state;
        let port = |(id, spec): (u8, &crate::model::spec::PortSpec)| PortFacts {
            spec: spec.clone(),
            id: PortId(id),
            mac: Mac([2, 0, 0, 0, 0, id]),
            max_mtu: 9000,
        };
        let ports = (0..).zip(&state.ports).map(port).collect();
        let room = TablesConfig {
            adjacencies: 4096,
            tunnels: 1024,
            decap_keys: 512,
            fib_groups: 512,
            fib6_groups: 64,
        };
        let mut net = Net::new(Arc::new(Tables::new(room)), ports);
        net.transact(&config::ops(&state), &|_| false).err().map_or(Vec::new(), |e| e.problems)
    }

    /// `check` and a start say the same of this file: its one problem.
    fn refused(more: &str, at: &str, words: &[&str]) {
        let text = format!("{BASE}{more}");
        let said = problems(&text, None);
        assert_eq!(said.len(), 1, "{more}: {said:?}");
        assert_eq!(said[0].at, at, "{more}");
        for word in words {
            assert!(said[0].message.contains(word), "{word}: {}", said[0]);
        }
        assert_eq!(start(&text), said, "{more}");
    }

    fn tunnel(name: &str, fields: &str) -> String {
        format!("[[tunnel]]\nname = \"{name}\"\n{fields}\n")
    }

    #[test]
    fn an_mtu_that_leaves_no_room_for_the_header_is_refused() {
        let gre = tunnel("gre0", "mtu = 65530");
        refused(&gre, "tunnel[0].mtu", &["gre0", "65530", "68 to 65511"]);
        let keyed = tunnel("gre0", "mtu = 65508\nkey = 7");
        refused(&keyed, "tunnel[0].mtu", &["65508", "68 to 65507"]);
        let ipip = tunnel("ipip0", "mtu = 65516");
        refused(&ipip, "tunnel[0].mtu", &["65516", "68 to 65515"]);
        assert_eq!(problems(&format!("{BASE}{}", tunnel("gre0", "mtu = 65511")), None), []);
    }

    #[test]
    fn addresses_that_no_host_has_are_no_far_ends() {
        let remote = tunnel("gre0", "local = \"10.0.0.1\"\nremote = \"10.255.255.255\"");
        let words = ["10.255.255.255", "broadcast address of 10.0.0.0/8 on en0", "of gre0"];
        refused(&remote, "tunnel[0].remote", &[&words[..], &["expected a host's"]].concat());
        let peer = tunnel("gre0", "address = \"12.0.0.1\"\npeer = \"203.0.113.0\"");
        let words = ["203.0.113.0", "network address of 203.0.113.0/24 on en1", "far end of gre0"];
        refused(&peer, "tunnel[0].peer", &words);
        let ipip = tunnel("ipip0", "address = \"203.0.113.1\"\npeer = \"203.0.113.255\"");
        refused(&ipip, "tunnel[0].peer", &["203.0.113.255", "far end of ipip0"]);
        // Both of a /31 are hosts (RFC 3021).
        let far = tunnel("gre0", "local = \"198.51.100.0\"\nremote = \"198.51.100.1\"");
        assert_eq!(problems(&format!("{BASE}{far}"), None), []);
    }

    #[test]
    fn addresses_that_no_host_has_are_no_gateways_and_no_neighbours() {
        let route = "[[route]]\nto = \"192.0.2.0/24\"\nvia = \"203.0.113.255\"\n";
        let words = ["203.0.113.255", "the gateway of 192.0.2.0/24", "expected a router's"];
        refused(route, "route[0].via", &words);
        let neighbour =
            "[[neighbour]]\naddress = \"10.255.255.255\"\nmac = \"02:00:00:00:00:09\"\n";
        refused(neighbour, "neighbour[0].address", &["10.255.255.255", "a static neighbour"]);
    }

    #[test]
    fn limited_broadcast_and_multicast_are_refused_where_they_are_read() {
        for address in ["255.255.255.255", "224.0.0.5"] {
            for (more, at) in [
                (
                    format!("[[route]]\nto = \"192.0.2.0/24\"\nvia = \"{address}\"\n"),
                    "route[0].via",
                ),
                (
                    tunnel("gre0", &format!("local = \"10.0.0.1\"\nremote = \"{address}\"")),
                    "tunnel[0].remote",
                ),
                (
                    tunnel("gre0", &format!("address = \"12.0.0.1\"\npeer = \"{address}\"")),
                    "tunnel[0].peer",
                ),
            ] {
                let said = problems(&format!("{BASE}{more}"), None);
                assert!(said.iter().any(|p| p.at == at && p.message.contains(address)), "{said:?}");
            }
        }
    }
}
