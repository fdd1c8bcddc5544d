//! The control socket's server: lines in, lines out (`model::api`).
//!
//! ```text
//!   client ──line──▶ connection thread ──(Call, reply channel)──▶ control's thread
//!   client ◀─line── connection thread ◀────────answer────────────┘
//! ```
//!
//! A thread per connection does nothing but read, parse, wait and write, so a
//! slow or silent client costs a thread and never a moment of control's.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Sender, bounded};
use serde_json::Value;

use crate::model::api::{ApiError, Body, Call, ErrorCode, MAX_LINE, Request, Response, VERSION};
use crate::model::op::Problem;

/// Most connections at once; one more is answered with an error and closed.
const MAX_CONNECTIONS: usize = 64;

/// A connection that asks nothing for so long is closed: its place is needed.
const IDLE: Duration = Duration::from_secs(600);

/// A client that does not read its answer for so long has gone.
const WRITE: Duration = Duration::from_secs(10);

/// How often the server looks for connections and for the end.
const TICK: Duration = Duration::from_millis(50);

/// Why the control socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another gateway answers on it.
    #[error(
        "the control socket {} is in use: another greyhound answers there (choose another \
         `[control] socket` or stop it)",
        .0.display()
    )]
    InUse(PathBuf),
    /// Something else is at its path.
    #[error(
        "the control socket {} cannot be made: {what} is there (choose another `[control] \
         socket` or move it away)",
        path.display()
    )]
    Taken {
        /// The path.
        path: PathBuf,
        /// What is there.
        what: &'static str,
    },
    /// The folder or the socket cannot be made.
    #[error("cannot listen on the control socket {}", path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// What a connection hands to control.
#[derive(Debug)]
pub struct Asked {
    /// The question.
    pub call: Call,
    /// Where the answer goes. The asker may have gone: sending can fail.
    pub reply: Sender<Result<Value, ApiError>>,
}

/// A bound socket, not served yet: bound first of all at start, so that a
/// second gateway gives up before it touches a device.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode: the file at `path` may be another's by the end.
    identity: (u64, u64),
}

impl Socket {
    /// Binds `path`, mode 0660, making its folder; a socket left by a dead
    /// process is replaced.
    ///
    /// # Errors
    /// See [`SocketError`].
    pub fn bind(path: &Path) -> Result<Socket, SocketError> {
        let failed = |source| SocketError::Listen { path: path.to_owned(), source };
        if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            make_folder(folder).map_err(failed)?;
        }
        make_room(path)?;
        let listener = UnixListener::bind(path).map_err(failed)?;
        let mode = std::fs::Permissions::from_mode(0o660);
        std::fs::set_permissions(path, mode).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let identity = identity(path).map_err(failed)?;
        Ok(Socket { listener, path: path.to_owned(), identity })
    }

    /// Begins to answer; questions go to `asked`.
    ///
    /// # Errors
    /// [`SocketError::Listen`] if no thread can be started.
    pub fn serve(self, asked: Sender<Asked>) -> Result<Server, SocketError> {
        let stop = Arc::new(AtomicBool::new(false));
        let path = self.path.clone();
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("gh-api".into())
            .spawn(move || accept(&self, &asked, &stopped))
            .map_err(|source| SocketError::Listen { path: path.clone(), source })?;
        Ok(Server { stop, thread: Some(thread) })
    }
}

/// Makes a folder that is not there, mode 0755 whatever the umask; one that is
/// there stays as it is.
fn make_folder(folder: &Path) -> std::io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent().filter(|p| !p.as_os_str().is_empty()) {
        make_folder(parent)?;
    }
    match std::fs::DirBuilder::new().mode(0o755).create(folder) {
        Ok(()) => std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)),
        // Another process was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes a dead process's socket from `path`, and nothing else.
fn make_room(path: &Path) -> Result<(), SocketError> {
    let failed = |source| SocketError::Listen { path: path.to_owned(), source };
    let there = match std::fs::symlink_metadata(path) {
        Ok(there) => there.file_type(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !there.is_socket() {
        let what = match there {
            t if t.is_dir() => "a folder",
            t if t.is_symlink() => "a symbolic link",
            t if t.is_file() => "a regular file",
            _ => "something that is no socket",
        };
        return Err(SocketError::Taken { path: path.to_owned(), what });
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(SocketError::InUse(path.to_owned())),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

fn identity(path: &Path) -> std::io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino()))
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Another process's by now: not ours to remove.
        if identity(&self.path).is_ok_and(|there| there == self.identity) {
            // Gone already, or the folder is: nothing left to tidy.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The running server; dropping it stops it and removes the socket.
#[derive(Debug)]
pub struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // It looks every TICK and never waits for a client.
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by its own hook.
            let _ = thread.join();
        }
    }
}

fn accept(socket: &Socket, asked: &Sender<Asked>, stop: &AtomicBool) {
    let connections = Arc::new(AtomicUsize::new(0));
    while !stop.load(Ordering::Acquire) {
        let mut stream = match socket.listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => {
                if error.kind() != ErrorKind::WouldBlock {
                    tracing::warn!(%error, "the control socket cannot accept a connection");
                }
                std::thread::sleep(TICK);
                continue;
            }
        };
        if connections.load(Ordering::Relaxed) >= MAX_CONNECTIONS {
            let text = format!("{MAX_CONNECTIONS} clients are connected already: try again later");
            // The client may have gone; a new connection has room for one line.
            let _ = stream.set_nonblocking(true);
            let _ = say(&mut stream, 0, Err(bad(text)));
            continue;
        }
        connections.fetch_add(1, Ordering::Relaxed);
        let (asked, open) = (asked.clone(), Arc::clone(&connections));
        let started = std::thread::Builder::new().name("gh-client".into()).spawn(move || {
            if let Err(error) = converse(stream, &asked) {
                tracing::debug!(%error, "a control connection ended");
            }
            open.fetch_sub(1, Ordering::Relaxed);
        });
        if let Err(error) = started {
            connections.fetch_sub(1, Ordering::Relaxed);
            tracing::warn!(%error, "no thread for a control connection");
        }
    }
}

/// Answers one connection's requests in order, until it closes or sends a line
/// whose end cannot be trusted.
fn converse(stream: UnixStream, asked: &Sender<Asked>) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_write_timeout(Some(WRITE))?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        if line.len() > MAX_LINE {
            let text = format!("a request line is at most {MAX_LINE} bytes; this one is longer");
            say(&mut writer, 0, Err(bad(text)))?;
            return drain(reader);
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match parse(&line) {
            Ok(request) => {
                let id = request.id;
                say(&mut writer, id, ask(request.call, asked))?;
            }
            Err((id, error)) => say(&mut writer, id, Err(error))?,
        }
    }
}

/// Reads a bounded rest of an oversized line, so that closing does not reset
/// the connection before the client has read the error.
fn drain(mut reader: impl Read) -> std::io::Result<()> {
    const MOST: u64 = 64 << 20;
    std::io::copy(&mut reader.by_ref().take(MOST), &mut std::io::sink()).map(|_| ())
}

/// A request line's request, or what is wrong with it and its id as far as
/// that could be read.
fn parse(line: &[u8]) -> Result<Request, (u64, ApiError)> {
    let value: Value = serde_json::from_slice(line)
        .map_err(|e| (0, bad(format!("not a JSON object on one line: {e}"))))?;
    let id = value.get("id").and_then(Value::as_u64).unwrap_or(0);
    if !value.is_object() {
        return Err((id, bad(format!("a request is a JSON object, not {}", kind(&value)))));
    }
    match value.get("version").and_then(Value::as_u64) {
        Some(version) if version == u64::from(VERSION) => {}
        Some(version) => {
            let text =
                format!("protocol version {version} is not spoken here, version {VERSION} is");
            return Err((id, bad(text)));
        }
        None => return Err((id, bad(format!("`version` is missing: expected {VERSION}")))),
    }
    serde_json::from_value(value).map_err(|e| (id, bad(format!("not a request: {e}"))))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn ask(call: Call, asked: &Sender<Asked>) -> Result<Value, ApiError> {
    let (reply, answer) = bounded(1);
    let stopping = |_| ApiError {
        code: ErrorCode::Stopping,
        problems: vec![Problem::new("", "greyhound is stopping")],
    };
    asked.send(Asked { call, reply }).map_err(|_| stopping(()))?;
    answer.recv().map_err(|_| stopping(()))?
}

fn bad(text: String) -> ApiError {
    ApiError { code: ErrorCode::BadRequest, problems: vec![Problem::new("", text)] }
}

fn say(stream: &mut UnixStream, id: u64, body: Result<Value, ApiError>) -> std::io::Result<()> {
    let body = body.map_or_else(Body::Error, Body::Result);
    let mut line = serde_json::to_vec(&Response { version: VERSION, id, body })?;
    line.push(b'\n');
    stream.write_all(&line)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crossbeam::channel::unbounded;

    /// A server whose control answers every question with its Debug text.
    fn server(folder: &Path) -> (Server, PathBuf) {
        let path = folder.join("sub/control.sock");
        let (tx, rx) = unbounded::<Asked>();
        std::thread::spawn(move || {
            for asked in rx {
                let _ = asked.reply.send(Ok(Value::String(format!("{:?}", asked.call))));
            }
        });
        (Socket::bind(&path).unwrap().serve(tx).unwrap(), path)
    }

    fn exchange(path: &Path, bytes: &[u8], answers: usize) -> Vec<Value> {
        let mut stream = UnixStream::connect(path).unwrap();
        // A server that closes early ends the write: what it said counts.
        let _ = stream.write_all(bytes);
        let lines = BufReader::new(stream).lines().take(answers);
        lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
    }

    #[test]
    fn requests_are_answered_in_order_with_their_ids() {
        let folder = tempfile::tempdir().unwrap();
        let (_server, path) = server(folder.path());
        let two = b"{\"version\":1,\"id\":3,\"method\":\"show-ports\"}\n\n\
                    {\"version\":1,\"id\":4,\"method\":\"show-drops\"}\n";
        let answers = exchange(&path, two, 2);
        assert_eq!(answers[0]["id"], 3);
        assert_eq!(answers[0]["result"], "ShowPorts");
        assert_eq!((&answers[1]["id"], &answers[1]["result"]), (&4.into(), &"ShowDrops".into()));
    }

    #[test]
    fn what_is_no_request_gets_one_error_and_the_connection_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let (_server, path) = server(folder.path());
        let lines = b"{nonsense\n[]\n{\"id\":9,\"method\":\"show-ports\"}\n\
                      {\"version\":2,\"method\":\"show-ports\"}\n{\"version\":1,\"method\":\"fly\"}\n\
                      \xff\xfe\n{\"version\":1,\"method\":\"show-ports\"}\n";
        let answers = exchange(&path, lines, 7);
        for answer in &answers[..6] {
            assert_eq!(answer["error"]["code"], "bad-request", "{answer}");
        }
        assert_eq!(answers[2]["id"], 9, "the id comes back where it could be read");
        assert_eq!(answers[6]["result"], "ShowPorts");
    }

    #[test]
    fn a_field_that_is_not_known_is_named_wherever_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (_server, path) = server(folder.path());
        let op = |op: &str| format!(r#""method":"transaction","params":{{"ops":[{{{op}}}]}}"#);
        let cases = [
            // Beside the call, and beside the one parameter.
            r#""bogus":1,"method":"show-ports""#.to_owned(),
            r#""method":"show-routes","params":{"all":true,"bogus":1}"#.to_owned(),
            r#""method":"apply","params":{"config":"","bogus":"/"}"#.to_owned(),
            r#""method":"transaction","params":{"ops":[],"bogus":true}"#.to_owned(),
            // In an op: with fields, without any, and in what it is about.
            op(r#""op":"create","name":"gre0","bogus":1"#),
            op(r#""op":"flush-routes","bogus":1"#),
            op(r#""op":"flush-arp","bogus":1"#),
            op(r#""op":"put-route","route":{"to":"10.0.0.0/8","target":"reject","bogus":1}"#),
            op(r#""op":"put-tunnel","tunnel":{"name":"gre0","kind":"gre","bogus":1}"#),
            op(r#""op":"put-tunnel","tunnel":{"name":"gre0","kind":"gre","gre":{"bogus":1}}"#),
            op(r#""op":"put-vlan","vlan":{"name":"en0.2","bogus":1}"#),
            op(r#""op":"set-gre","name":"gre0","key":{"bogus":1}"#),
            op(r#""op":"set-icmp","icmp":{"bogus":1}"#),
            op(r#""op":"publish","publish":{"address":"10.0.0.9","bogus":1}"#),
            op(
                r#""op":"put-neighbour","neighbour":{"address":"10.0.0.9","mac":"02:00:00:00:00:01","bogus":1}"#,
            ),
        ];
        for case in &cases {
            let line = format!("{{\"version\":1,\"id\":5,{case}}}\n");
            let answer = &exchange(&path, line.as_bytes(), 1)[0];
            assert_eq!(
                (&answer["error"]["code"], &answer["id"]),
                (&"bad-request".into(), &5.into())
            );
            let said = answer["error"]["problems"][0]["message"].as_str().unwrap();
            assert!(said.contains("unknown field `bogus`"), "{case}: {said}");
            // The same without it is taken: nothing else was wrong.
            let fields = [
                r#","bogus":1"#,
                r#","bogus":true"#,
                r#","bogus":"/""#,
                r#""bogus":1,"#,
                r#""bogus":1"#,
            ];
            let field = fields.iter().find(|field| line.contains(**field)).unwrap();
            let answer = &exchange(&path, line.replace(field, "").as_bytes(), 1)[0];
            assert!(answer["result"].is_string(), "{case}: {answer}");
        }
        // A call that takes no parameters takes none.
        let line = b"{\"version\":1,\"method\":\"show-ports\",\"params\":{\"bogus\":1}}\n";
        assert_eq!(exchange(&path, line, 1)[0]["error"]["code"], "bad-request");
    }

    #[test]
    fn a_line_too_long_is_refused_and_the_connection_closed() {
        let folder = tempfile::tempdir().unwrap();
        let (_server, path) = server(folder.path());
        let answers = exchange(&path, &[vec![b'x'; MAX_LINE + 1], b"\n".to_vec()].concat(), 1);
        assert_eq!(answers[0]["error"]["code"], "bad-request");
        assert_eq!(exchange(&path, b"{\"version\":1,\"method\":\"show-ports\"}\n", 1).len(), 1);
    }

    #[test]
    fn a_live_socket_is_kept_a_dead_one_replaced_and_removed_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let (server, path) = server(folder.path());
        let error = Socket::bind(&path).unwrap_err().to_string();
        assert!(error.contains("in use") && error.contains("control.sock"), "{error}");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        drop(server);
        assert!(!path.exists());
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "left by a dead process");
        Socket::bind(&path).unwrap();
    }

    #[test]
    fn what_is_no_socket_is_left_alone_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious");
        std::fs::write(&path, "data").unwrap();
        let error = Socket::bind(&path).unwrap_err().to_string();
        assert!(error.contains("precious") && error.contains("a regular file"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"data");
        let error = Socket::bind(folder.path()).unwrap_err().to_string();
        assert!(error.contains("a folder"), "{error}");
    }

    #[test]
    fn a_path_that_is_anothers_by_the_end_neither_hangs_it_nor_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (server, path) = server(folder.path());
        std::fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        let began = std::time::Instant::now();
        drop(server);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        assert!(path.exists(), "the other's socket stays");
    }

    #[test]
    fn a_folder_it_makes_can_be_entered_and_one_that_is_there_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let closed = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(folder.path(), closed).unwrap();
        let (_server, path) = server(folder.path());
        assert_eq!(mode(path.parent().unwrap()), 0o755);
        assert_eq!(mode(folder.path()), 0o700, "not made by us");
    }

    #[test]
    fn one_client_too_many_is_told_so() {
        let folder = tempfile::tempdir().unwrap();
        let (_server, path) = server(folder.path());
        let line = b"{\"version\":1,\"method\":\"show-ports\"}\n";
        let held: Vec<_> = (0..MAX_CONNECTIONS)
            .map(|_| {
                let mut stream = UnixStream::connect(&path).unwrap();
                stream.write_all(line).unwrap();
                BufReader::new(&stream).read_line(&mut String::new()).unwrap();
                stream
            })
            .collect();
        let answer = &exchange(&path, b"", 1)[0];
        assert!(answer["error"]["problems"][0]["message"].as_str().unwrap().contains("64"));
        drop(held);
    }
}
