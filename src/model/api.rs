//! The control socket's protocol: one JSON object a line each way, over a Unix
//! stream socket.
//!
//! ```text
//! → {"version":1,"id":7,"method":"transaction","params":{"ops":[{"op":"create","name":"gre0"}]}}
//! ← {"version":1,"id":7,"result":{"created":["gre0"],"notes":[]}}
//! ← {"version":1,"id":7,"error":{"code":"refused","problems":[{"message":"…"}]}}
//! ```
//!
//! `id` is the caller's and comes back unchanged. Requests on one connection
//! are answered in order. A line over [`MAX_LINE`] bytes is answered with an
//! error and the connection is closed, since its end cannot be trusted.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::op::{Located, Problem};

/// Protocol version; a request with another one is refused.
pub const VERSION: u32 = 1;

/// Longest line either side accepts, bytes: room for a configuration with a
/// hundred thousand tunnels, not for a mistake.
pub const MAX_LINE: usize = 32 << 20;

/// Longest that a `ping` may wait, milliseconds: it holds a connection.
pub const MAX_PING_MS: u32 = 60_000;

/// Default place of the socket.
pub const DEFAULT_SOCKET: &str = "/run/greyhound/control.sock";

/// A request line. What it has beyond this, or any object in it beyond its own
/// fields, is an error: a misspelt field must not pass for one left out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Line")]
pub struct Request {
    /// [`VERSION`].
    pub version: u32,
    /// The caller's number for this request.
    pub id: u64,
    /// What is asked.
    #[serde(flatten)]
    pub call: Call,
}

/// A request as it is read: `deny_unknown_fields` does not go with `flatten`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    version: u32,
    #[serde(default)]
    id: u64,
    method: String,
    params: Option<Value>,
}

impl TryFrom<Line> for Request {
    type Error = serde_json::Error;

    fn try_from(line: Line) -> Result<Request, serde_json::Error> {
        let mut call = serde_json::Map::new();
        call.insert("method".to_owned(), Value::String(line.method));
        call.extend(line.params.map(|params| ("params".to_owned(), params)));
        let call = Call::deserialize(Value::Object(call))?;
        Ok(Request { version: line.version, id: line.id, call })
    }
}

/// What can be asked. The result's type stands with each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "method", content = "params", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Call {
    /// Apply changes, all or none: [`super::op::Outcome`].
    Transaction {
        /// In order.
        ops: Vec<Located>,
    },
    /// Make the running state equal to a configuration file's: `Outcome`.
    Apply {
        /// The file's text.
        config: String,
        /// Where relative names of files in it begin (`[[routes_file]]`); they
        /// are read by the gateway. Without it they must be absolute.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        folder: Option<std::path::PathBuf>,
    },
    /// `Vec<PortView>`.
    ShowPorts,
    /// `Vec<InterfaceView>`, ports first, then VLANs, then tunnels.
    ShowInterfaces {
        /// Just this one; an unknown name is an error.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// `Vec<InterfaceView>`, tunnels only.
    ShowTunnels,
    /// `Vec<RouteView>`.
    ShowRoutes {
        /// Routes made by Greyhound itself (local, broadcast, neighbour) too.
        #[serde(default)]
        all: bool,
    },
    /// `route get`: `Option<RouteView>`, the longest match.
    LookupRoute {
        /// The destination.
        to: IpAddr,
    },
    /// `route get -net`: `Option<RouteView>`, this very prefix.
    GetRoute {
        /// The prefix.
        to: IpNet,
    },
    /// `Vec<NeighbourView>`.
    ShowNeighbours,
    /// `Vec<WorkerView>`.
    ShowWorkers,
    /// [`super::view::DropsView`].
    ShowDrops,
    /// `Vec<FilterView>`, in the order in which packets meet them.
    ShowFilters,
    /// The running state as a configuration file: a string.
    ShowConfig,
    /// Send one echo request and wait for what comes: [`super::view::PingView`].
    Ping {
        /// Destination.
        to: IpAddr,
        /// Source; default: the address of the interface it leaves by.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<IpAddr>,
        /// ICMP identifier: one per `ping` run.
        ident: u16,
        /// ICMP sequence number.
        sequence: u16,
        /// ICMP payload bytes.
        size: u16,
        /// TTL of the request.
        ttl: u8,
        /// Milliseconds to wait, at most [`MAX_PING_MS`].
        timeout_ms: u32,
        /// Set DF.
        #[serde(default)]
        dont_fragment: bool,
    },
}

/// A response line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Response {
    /// [`VERSION`].
    pub version: u32,
    /// The request's.
    pub id: u64,
    /// Answer or error.
    #[serde(flatten)]
    pub body: Body,
}

/// Answer or error.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Body {
    /// The answer; its type depends on the call.
    Result(Value),
    /// What went wrong.
    Error(ApiError),
}

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// Kind of failure.
    pub code: ErrorCode,
    /// All that is wrong, at least one.
    pub problems: Vec<Problem>,
}

/// Kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// Not a request: malformed JSON, unknown method, wrong version, line too long.
    BadRequest,
    /// Understood and refused; nothing was changed.
    Refused,
    /// No such interface, route or entry; nothing was changed.
    NotFound,
    /// Greyhound is stopping.
    Stopping,
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ApiError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_look_as_documented() {
        let line = r#"{"version":1,"id":7,"method":"transaction","params":{"ops":[{"op":"create","name":"gre0"}]}}"#;
        let request: Request = serde_json::from_str(line).expect("parses");
        assert_eq!(serde_json::to_string(&request).expect("prints"), line);
        let bare: Request =
            serde_json::from_str(r#"{"version":1,"method":"show-ports"}"#).expect("parses");
        assert_eq!(bare.call, Call::ShowPorts);
    }

    #[test]
    fn errors_look_as_documented() {
        let error = ApiError { code: ErrorCode::Refused, problems: vec![Problem::new("", "no")] };
        let response = Response { version: VERSION, id: 7, body: Body::Error(error) };
        assert_eq!(
            serde_json::to_string(&response).expect("prints"),
            r#"{"version":1,"id":7,"error":{"code":"refused","problems":[{"message":"no"}]}}"#
        );
    }
}
