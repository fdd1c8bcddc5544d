//! A client of the control socket: one request line, one answer line.
//!
//! Its errors are for operators: they name the socket and say what to do.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use crate::model::api::{ApiError, Body, Call, MAX_LINE, MAX_PING_MS, Request, Response, VERSION};

/// How long an answer may take before Greyhound counts as hung. A transaction
/// with a hundred thousand tunnels takes seconds, a ping as long as it is told.
const PATIENCE: Duration = Duration::from_secs(MAX_PING_MS as u64 / 1000 + 30);

/// How often a waiting client looks whether it was interrupted.
const TICK: Duration = Duration::from_millis(50);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no socket.
    #[error(
        "greyhound is not running: there is no socket {0}; start it with `greyhound run -c FILE`, \
         or name its socket with --socket or GREYHOUND_SOCKET"
    )]
    NoSocket(PathBuf),
    /// There is a socket and nobody behind it.
    #[error(
        "greyhound is not running: nobody listens on {0}; start it with `greyhound run -c FILE`"
    )]
    NotListening(PathBuf),
    /// The socket is not for this user.
    #[error("no permission to use {0}: be root, or in the group the socket belongs to")]
    NoPermission(PathBuf),
    /// Another failure to connect, read or write.
    #[error("cannot use the control socket {path}")]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No answer came.
    #[error("{0} closed the connection without an answer: greyhound has stopped or is stopping")]
    Gone(PathBuf),
    /// No answer came in time.
    #[error("no answer on {0} within {secs} seconds: greyhound hangs or is overloaded", secs = PATIENCE.as_secs())]
    Silent(PathBuf),
    /// The user stopped waiting.
    #[error("interrupted while waiting for an answer on {0}")]
    Interrupted(PathBuf),
    /// The other side speaks another version.
    #[error(
        "greyhound on {path} speaks protocol version {theirs}, this command speaks {VERSION}: \
         use the command that belongs to the running gateway"
    )]
    Version {
        /// The socket.
        path: PathBuf,
        /// Its version.
        theirs: u32,
    },
    /// What came is not an answer.
    #[error("what answers on {path} does not speak greyhound's protocol")]
    Garbage {
        /// The socket.
        path: PathBuf,
        /// What was wrong with it.
        source: serde_json::Error,
    },
    /// An answer to another question.
    #[error("{path} answered request {theirs}, not {ours}")]
    OutOfStep {
        /// The socket.
        path: PathBuf,
        /// Number asked with.
        ours: u64,
        /// Number answered with.
        theirs: u64,
    },
    /// A request beyond [`MAX_LINE`].
    #[error(
        "the request takes {0} bytes, more than the {MAX_LINE} that fit a line of the protocol"
    )]
    TooLong(usize),
    /// Greyhound's answer is no; one problem a line.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// A connection to a running Greyhound.
pub struct Client {
    path: PathBuf,
    stream: UnixStream,
    unread: Vec<u8>,
    last_id: u64,
    stop: Arc<AtomicBool>,
}

impl Client {
    /// Connects to the socket at `path`.
    pub fn connect(path: &Path) -> Result<Client, ClientError> {
        let owned = || path.to_owned();
        let stream = UnixStream::connect(path).map_err(|source| match source.kind() {
            ErrorKind::NotFound => ClientError::NoSocket(owned()),
            ErrorKind::ConnectionRefused => ClientError::NotListening(owned()),
            ErrorKind::PermissionDenied => ClientError::NoPermission(owned()),
            _ => ClientError::Socket { path: owned(), source },
        })?;
        stream
            .set_read_timeout(Some(TICK))
            .map_err(|source| ClientError::Socket { path: owned(), source })?;
        let stop = Arc::new(AtomicBool::new(false));
        Ok(Client { path: owned(), stream, unread: Vec::new(), last_id: 0, stop })
    }

    /// A flag which makes [`Client::call`] give up with `Interrupted`.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Asks, waits for the answer and reads it as a `T`.
    pub fn call<T: DeserializeOwned>(&mut self, call: Call) -> Result<T, ClientError> {
        self.last_id += 1;
        let request = Request { version: VERSION, id: self.last_id, call };
        let mut line = serde_json::to_vec(&request).map_err(|e| self.garbage(e))?;
        line.push(b'\n');
        if line.len() > MAX_LINE {
            return Err(ClientError::TooLong(line.len()));
        }
        let answer = match self.stream.write_all(&line) {
            Ok(()) => self.line()?,
            // Refused and closed: why may stand there already.
            Err(error) if gone(&error) => self.line().map_err(|_| self.failed(error))?,
            Err(error) => return Err(self.failed(error)),
        };
        self.read(&answer)
    }

    fn read<T: DeserializeOwned>(&self, line: &[u8]) -> Result<T, ClientError> {
        let raw: serde_json::Value = serde_json::from_slice(line).map_err(|e| self.garbage(e))?;
        // Looked at first: another version may shape everything else otherwise.
        let theirs = raw.get("version").and_then(serde_json::Value::as_u64);
        if let Some(theirs) = theirs.filter(|&v| v != u64::from(VERSION)) {
            let theirs = u32::try_from(theirs).unwrap_or(u32::MAX);
            return Err(ClientError::Version { path: self.path.clone(), theirs });
        }
        let response: Response = serde_json::from_value(raw).map_err(|e| self.garbage(e))?;
        match response.body {
            // Before the number: what could not be read has none.
            Body::Error(error) => Err(ClientError::Api(error)),
            Body::Result(_) if response.id != self.last_id => Err(ClientError::OutOfStep {
                path: self.path.clone(),
                ours: self.last_id,
                theirs: response.id,
            }),
            Body::Result(value) => serde_json::from_value(value).map_err(|e| self.garbage(e)),
        }
    }

    /// The next line, without its newline.
    fn line(&mut self) -> Result<Vec<u8>, ClientError> {
        let start = Instant::now();
        let mut chunk = [0; 64 << 10];
        let mut searched = 0;
        loop {
            if let Some(end) = self.unread[searched..].iter().position(|&b| b == b'\n') {
                let end = searched + end;
                let line = self.unread[..end].to_vec();
                self.unread.drain(..=end);
                return Ok(line);
            }
            searched = self.unread.len();
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ClientError::Gone(self.path.clone())),
                Ok(n) => self.unread.extend_from_slice(&chunk[..n]),
                Err(e) if idle(&e) => self.keep_waiting(start)?,
                Err(e) => return Err(self.failed(e)),
            }
        }
    }

    fn keep_waiting(&self, since: Instant) -> Result<(), ClientError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(ClientError::Interrupted(self.path.clone()));
        }
        if since.elapsed() > PATIENCE {
            return Err(ClientError::Silent(self.path.clone()));
        }
        Ok(())
    }

    fn failed(&self, source: io::Error) -> ClientError {
        if gone(&source) {
            return ClientError::Gone(self.path.clone());
        }
        ClientError::Socket { path: self.path.clone(), source }
    }

    fn garbage(&self, source: serde_json::Error) -> ClientError {
        ClientError::Garbage { path: self.path.clone(), source }
    }
}

fn gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

/// True for a read that merely found nothing yet.
fn idle(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
