//! The HTTP side of monitoring: `/metrics`, `/healthz`, `/readyz`.
//!
//! ```text
//!   accept thread ──▶ at most MAX_IN_FLIGHT answering threads, one request each
//!        └──────────▶ 503 when they are all busy
//! ```
//!
//! It asks for a snapshot through a closure and knows nothing of where it comes
//! from; a scrape never touches what workers write. It is our own few lines and
//! not a library's, since tiny_http, which was here first, can bound neither its
//! writes nor its threads: one client that did not read stopped monitoring and
//! the end of the process. Every connection has one
//! request and a deadline, so a client that does not read costs a thread for
//! seconds, and the end of the process waits for none of them.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::export::{self, Snapshot};

/// Most requests answered at the same time; one more gets 503.
pub const MAX_IN_FLIGHT: usize = 8;

/// How long a client may take to send its request, and to read the answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// Most bytes of a request's head.
const MAX_HEAD: usize = 8 << 10;

/// How often the accept thread looks for connections and for the end.
const TICK: Duration = Duration::from_millis(50);

/// Why the metrics server did not start.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Not an address.
    #[error("metrics.listen = \"{0}\" is not an address and port such as 127.0.0.1:9464")]
    Address(String),
    /// The address cannot be listened on.
    #[error("cannot listen for metrics on {address}: {reason}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        reason: String,
    },
    /// No thread.
    #[error("cannot start the metrics thread")]
    Thread(#[source] std::io::Error),
}

/// Where the server gets its answers.
pub trait Source: Send + Sync + 'static {
    /// The state now; `None` when control is stopping.
    fn snapshot(&self) -> Option<Snapshot>;
    /// True once ports are started and traffic can pass.
    fn ready(&self) -> bool;
}

/// The running server; dropping it stops it.
#[derive(Debug)]
pub struct MetricsServer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Where it listens (the port that was picked, if 0 was asked).
    pub address: SocketAddr,
}

impl MetricsServer {
    /// Listens on `address` (`host:port`) and answers from `source`.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub fn start(address: &str, source: impl Source) -> Result<MetricsServer, HttpError> {
        let wanted = address
            .to_socket_addrs()
            .ok()
            .and_then(|mut found| found.next())
            .ok_or_else(|| HttpError::Address(address.to_owned()))?;
        let failed =
            |e: std::io::Error| HttpError::Listen { address: wanted, reason: e.to_string() };
        let listener = TcpListener::bind(wanted).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("gh-metrics".into())
            .spawn(move || accept(&listener, &Arc::new(source), &stopped))
            .map_err(HttpError::Thread)?;
        Ok(MetricsServer { stop, thread: Some(thread), address })
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // It wakes every TICK and writes nothing that could block; those that
            // answer are not waited for. A panic there has been reported by its
            // own hook.
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, source: &Arc<impl Source>, stop: &AtomicBool) {
    let busy = Arc::new(AtomicUsize::new(0));
    while !stop.load(Ordering::Acquire) {
        match listener.accept() {
            Ok((stream, _)) => hand_over(stream, source, &busy),
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(TICK),
            Err(error) => {
                tracing::warn!(%error, "the metrics server cannot accept connections");
                std::thread::sleep(TICK);
            }
        }
    }
}

/// Starts a thread for the connection, or says that there are enough.
fn hand_over(stream: TcpStream, source: &Arc<impl Source>, busy: &Arc<AtomicUsize>) {
    if busy.load(Ordering::Relaxed) >= MAX_IN_FLIGHT {
        return refuse(stream);
    }
    busy.fetch_add(1, Ordering::Relaxed);
    let (source, done) = (Arc::clone(source), Arc::clone(busy));
    let started = std::thread::Builder::new().name("gh-scrape".into()).spawn(move || {
        if let Err(error) = converse(stream, source.as_ref()) {
            tracing::debug!(%error, "a metrics client went away");
        }
        done.fetch_sub(1, Ordering::Relaxed);
    });
    if let Err(error) = started {
        busy.fetch_sub(1, Ordering::Relaxed);
        tracing::warn!(%error, "no thread for a metrics request");
    }
}

/// Says 503 without waiting: a new connection has room for these few bytes.
fn refuse(mut stream: TcpStream) {
    let text = format!("{MAX_IN_FLIGHT} requests are being answered: try again later\n");
    // The client may have gone, and what it sent is of no interest: unread, it
    // would only turn the close into a reset.
    let _ = stream
        .set_nonblocking(true)
        .and_then(|()| stream.write_all(&response(503, &text, true)))
        .and_then(|()| stream.shutdown(std::net::Shutdown::Write))
        .and_then(|()| stream.read(&mut [0; MAX_HEAD]).map(drop));
}

/// Answers one request and closes.
fn converse(mut stream: TcpStream, source: &impl Source) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    let Some(head) = head(&mut stream)? else { return Ok(()) };
    let (status, body, with_body) = answer(&head, source);
    let response = response(status, &body, with_body);
    let until = Instant::now() + DEADLINE;
    let mut rest = response.as_slice();
    while !rest.is_empty() {
        stream.set_write_timeout(Some(left(until)?))?;
        match stream.write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads up to the empty line; `None` if the client closed before it.
fn head(stream: &mut TcpStream) -> std::io::Result<Option<Vec<u8>>> {
    let until = Instant::now() + DEADLINE;
    let (mut head, mut chunk) = (Vec::new(), [0; 1024]);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < MAX_HEAD {
        stream.set_read_timeout(Some(left(until)?))?;
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(None),
            Ok(read) => head.extend_from_slice(&chunk[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(head))
}

fn left(until: Instant) -> std::io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Status, body, and whether the body is sent (HEAD has none).
fn answer(head: &[u8], source: &impl Source) -> (u16, String, bool) {
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let words: Vec<&str> = line.split(' ').collect();
    let [method, target, version] = words[..] else {
        return (400, "not an HTTP request\n".to_owned(), true);
    };
    if !version.starts_with("HTTP/1.") {
        return (400, "not an HTTP/1 request\n".to_owned(), true);
    }
    if method != "GET" && method != "HEAD" {
        return (405, "only GET here\n".to_owned(), true);
    }
    let (status, body) = match target.split('?').next().unwrap_or_default() {
        "/metrics" => metrics(source),
        "/healthz" => (200, "ok\n".to_owned()),
        "/readyz" if source.ready() => (200, "ready\n".to_owned()),
        "/readyz" => (503, "not ready\n".to_owned()),
        "/" => (200, "Greyhound: see /metrics, /healthz and /readyz\n".to_owned()),
        _ => (404, "not found\n".to_owned()),
    };
    (status, body, method == "GET")
}

fn response(status: u16, body: &str, with_body: bool) -> Vec<u8> {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    };
    let allow = if status == 405 { "Allow: GET, HEAD\r\n" } else { "" };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         Content-Length: {length}\r\n{allow}Connection: close\r\n\r\n"
    );
    (head + if with_body { body } else { "" }).into_bytes()
}

fn metrics(source: &impl Source) -> (u16, String) {
    let Some(snapshot) = source.snapshot() else { return (503, "stopping\n".to_owned()) };
    match export::render(&snapshot) {
        Ok(text) => (200, text),
        Err(error) => {
            tracing::error!(%error, "cannot render metrics");
            (500, format!("{error}\n"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::view::PortView;

    struct Fixed(bool);

    impl Source for Fixed {
        fn snapshot(&self) -> Option<Snapshot> {
            Some(Snapshot { uptime_s: 1.5, ..Snapshot::default() })
        }
        fn ready(&self) -> bool {
            self.0
        }
    }

    fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = std::net::TcpStream::connect(address).expect("connects");
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").expect("writes");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("reads");
        text
    }

    #[test]
    fn the_three_pages_answer() {
        let server = MetricsServer::start("127.0.0.1:0", Fixed(false)).expect("starts");
        assert!(get(server.address, "/metrics").contains("greyhound_uptime_seconds 1.5"));
        assert!(get(server.address, "/healthz").starts_with("HTTP/1.1 200"));
        assert!(get(server.address, "/readyz").starts_with("HTTP/1.1 503"));
        assert!(get(server.address, "/nothing").starts_with("HTTP/1.1 404"));
    }

    /// A page too long for any socket's buffers.
    struct Long;

    impl Source for Long {
        fn snapshot(&self) -> Option<Snapshot> {
            let port = |n| PortView { name: format!("en{n}"), ..PortView::default() };
            Some(Snapshot { ports: (0..20_000).map(port).collect(), ..Snapshot::default() })
        }
        fn ready(&self) -> bool {
            true
        }
    }

    #[test]
    fn a_client_that_never_reads_stops_neither_the_others_nor_the_end() {
        let server = MetricsServer::start("127.0.0.1:0", Long).expect("starts");
        let pipelined = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2000);
        let mut slow = TcpStream::connect(server.address).expect("connects");
        slow.set_nonblocking(true).expect("sets");
        // As much as the server takes of it.
        let _ = slow.write(&pipelined);
        std::thread::sleep(Duration::from_millis(200));
        assert!(get(server.address, "/readyz").starts_with("HTTP/1.1 200"));
        let began = Instant::now();
        drop(server);
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }

    #[test]
    fn more_than_the_limit_are_told_so_at_once() {
        let server = MetricsServer::start("127.0.0.1:0", Fixed(true)).expect("starts");
        let silent: Vec<_> = (0..MAX_IN_FLIGHT)
            .map(|_| TcpStream::connect(server.address).expect("connects"))
            .collect();
        assert!(get(server.address, "/readyz").starts_with("HTTP/1.1 503"));
        drop(silent);
        let until = Instant::now() + Duration::from_secs(5);
        while !get(server.address, "/readyz").starts_with("HTTP/1.1 200") {
            assert!(Instant::now() < until, "the places are free again");
        }
    }

    #[test]
    fn requests_are_looked_at() {
        for (head, status) in [
            ("GET /readyz?a=b HTTP/1.0", 200),
            ("POST /metrics HTTP/1.1", 405),
            ("nonsense", 400),
            ("GET / SPDY/3", 400),
        ] {
            assert_eq!(answer(head.as_bytes(), &Fixed(true)).0, status, "{head}");
        }
        let (status, body, with_body) = answer(b"HEAD /healthz HTTP/1.1\r\n", &Fixed(true));
        assert_eq!(status, 200);
        assert!(response(status, &body, with_body).ends_with(b"\r\n\r\n"));
    }

    #[test]
    fn a_taken_or_bad_address_is_named() {
        let server = MetricsServer::start("127.0.0.1:0", Fixed(true)).expect("starts");
        let taken = server.address.to_string();
        let error = MetricsServer::start(&taken, Fixed(true)).expect_err("taken").to_string();
        assert!(error.contains(&taken), "{error}");
        let error = MetricsServer::start("nonsense", Fixed(true)).expect_err("bad").to_string();
        assert!(error.contains("nonsense"), "{error}");
    }
}
