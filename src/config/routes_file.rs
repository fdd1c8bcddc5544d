//! `[[routes_file]]`: static routes from a file of their own, a line each, for
//! tables that TOML would take seconds to read.
//!
//! ```text
//! # PREFIX GATEWAY | PREFIX dev INTERFACE | PREFIX blackhole | PREFIX reject
//! 192.0.2.0/24 10.0.1.2
//! 2001:db8:100::/48 2001:db8::2
//! 198.51.100.0/24 dev gre0
//! {"to":"203.0.113.0/24","target":{"via":"10.0.1.3"}}
//! ```
//!
//! A line of JSON is a route as the control socket has it. What is read are
//! static routes like those of `[[route]]`: `show config` prints them there.

use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::address::network;
use super::raw::Fields;
use super::sections::{default_for, gateway, is_routable};
use crate::model::op::Problem;
use crate::model::spec::{RouteSpec, RouteTarget};

/// Most problems told of one file: a file that is something else altogether has
/// one on each line.
const MOST: usize = 20;

/// A file's routes, each with its line, counted from 1.
#[derive(Debug)]
pub struct RoutesFile {
    /// The file, as it was opened.
    pub path: PathBuf,
    /// Its routes.
    pub routes: Vec<(usize, RouteSpec)>,
}

impl RoutesFile {
    /// The place of a line.
    pub fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }
}

/// `[[routes_file]]`, its file read: routes and what is wrong with the lines.
/// `folder` is where a relative path starts.
pub fn section(fields: &mut Fields, folder: Option<&Path>) -> Option<(RoutesFile, Vec<Problem>)> {
    let path = PathBuf::from(fields.required("path", "the name of a file with a route a line")?);
    let path = match folder {
        _ if path.is_absolute() => path,
        Some(folder) => folder.join(path),
        None => {
            let message = format!("`{}` is relative to nothing: expected /…", path.display());
            fields.problem("path", message);
            return None;
        }
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(read(path, &text)),
        Err(error) => {
            fields.problem("path", format!("cannot read {}: {error}", path.display()));
            None
        }
    }
}

/// Reads the lines of a file.
fn read(path: PathBuf, text: &str) -> (RoutesFile, Vec<Problem>) {
    let mut file = RoutesFile { path, routes: Vec::new() };
    let (mut problems, mut more) = (Vec::new(), 0);
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match route(line) {
            Ok(route) => file.routes.push((number + 1, route)),
            Err(message) if problems.len() < MOST => {
                problems.push(Problem::new(file.at(number + 1), message));
            }
            Err(_) => more += 1,
        }
    }
    if more > 0 {
        let at = file.path.display().to_string();
        problems.push(Problem::new(at, format!("and {more} more lines are not right")));
    }
    (file, problems)
}

/// Reads one line.
fn route(line: &str) -> Result<RouteSpec, String> {
    if line.starts_with('{') {
        let route: RouteSpec = serde_json::from_str(line)
            .map_err(|error| format!("`{line}` is not a route in JSON: {error}"))?;
        if route.to.trunc() != route.to {
            return Err(format!("`{}` has bits beyond its length: expected a network", route.to));
        }
        return routable(route.to, &route.to.to_string(), route.target);
    }
    let mut words = line.split_ascii_whitespace();
    let (Some(to), Some(first)) = (words.next(), words.next()) else {
        return Err(format!(
            "`{line}` leads nowhere: expected PREFIX and a gateway, `dev INTERFACE`, `blackhole` \
             or `reject`"
        ));
    };
    let target = match first {
        "dev" => {
            let name =
                words.next().ok_or(format!("`{line}`: expected an interface after `dev`"))?;
            RouteTarget::Interface(name.to_owned())
        }
        "blackhole" => RouteTarget::Blackhole,
        "reject" => RouteTarget::Reject,
        way => gateway(way)?,
    };
    if let Some(extra) = words.next() {
        return Err(format!("`{extra}` is too much: expected the end of the line"));
    }
    // The full form first: it is what large files have.
    let net = match to.parse::<IpNet>() {
        Ok(net) if net.trunc() == net => net,
        _ => network(to).map_err(|error| error.to_string())?,
    };
    routable(default_for(to, net, &target), to, target)
}

fn routable(to: IpNet, text: &str, target: RouteTarget) -> Result<RouteSpec, String> {
    if is_routable(to) {
        Ok(RouteSpec { to, target })
    } else {
        Err(format!("`{text}` is multicast or reserved: expected a unicast network"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn lines(text: &str) -> (Vec<(usize, RouteSpec)>, Vec<String>) {
        let (file, problems) = read(PathBuf::from("r.txt"), text);
        (file.routes, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn each_form_of_a_line_is_read_with_its_number() {
        let text = "# all\n\n192.0.2.0/24 10.0.1.2\ndefault 10.1\n198.51.100.0/24  dev gre0\n\
                    10.66.0.0/16 blackhole\n10.67.0.0/16 reject\n\
                    {\"to\":\"203.0.113.0/24\",\"target\":{\"via\":\"10.0.1.3\"}}\n\
                    2001:db8:100::/48 2001:db8::2\ndefault 2001:db8::3\n";
        let (routes, problems) = lines(text);
        assert_eq!(problems, [""; 0]);
        let via = |text: &str| RouteTarget::Via(text.parse().unwrap());
        let expected = [
            (3, "192.0.2.0/24", via("10.0.1.2")),
            (4, "0.0.0.0/0", via("10.0.0.1")),
            (5, "198.51.100.0/24", RouteTarget::Interface("gre0".into())),
            (6, "10.66.0.0/16", RouteTarget::Blackhole),
            (7, "10.67.0.0/16", RouteTarget::Reject),
            (8, "203.0.113.0/24", via("10.0.1.3")),
            (9, "2001:db8:100::/48", via("2001:db8::2")),
            (10, "::/0", via("2001:db8::3")),
        ];
        let expected = expected
            .map(|(line, to, target)| (line, RouteSpec { to: to.parse().unwrap(), target }));
        assert_eq!(routes, expected);
    }

    #[test]
    fn each_bad_line_is_told_with_file_line_and_value() {
        for (line, words) in [
            ("192.0.2.0/24", "leads nowhere"),
            ("192.0.2.1/24 10.0.1.2", "192.0.2.1/24"),
            ("224.0.0.0/8 10.0.1.2", "224.0.0.0/8"),
            ("192.0.2.0/24 10.0.1.2.3", "10.0.1.2.3"),
            ("2001:db8::1/64 2001:db8::2", "2001:db8::1/64"),
            ("ff00::/8 2001:db8::2", "ff00::/8"),
            ("2001:db8:1::/64 fe80::1", "fe80::1"),
            ("192.0.2.0/24 255.255.255.255", "255.255.255.255"),
            ("192.0.2.0/24 dev", "after `dev`"),
            ("192.0.2.0/24 10.0.1.2 metric", "metric"),
            ("{\"to\":\"192.0.2.0/24\"}", "target"),
            ("{\"to\":\"192.0.2.1/24\",\"target\":\"reject\"}", "192.0.2.1/24"),
        ] {
            let (routes, problems) = lines(&format!("10.0.0.0/8 reject\n{line}\n"));
            assert_eq!((routes.len(), problems.len()), (1, 1), "{line}");
            assert!(problems[0].starts_with("r.txt:2: "), "{}", problems[0]);
            assert!(problems[0].contains(words), "{}", problems[0]);
        }
    }

    #[test]
    fn a_file_that_is_something_else_is_told_in_a_few_lines() {
        let (_, problems) = lines(&"nonsense\n".repeat(1000));
        assert_eq!(problems.len(), MOST + 1);
        assert!(problems[MOST].contains("980 more"), "{}", problems[MOST]);
    }
}
