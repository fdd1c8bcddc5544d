//! The HTTP side of monitoring: `/metrics`, `/healthz`, `/readyz`.
//!
//! One thread. It asks for a snapshot through a closure and knows nothing of
//! where it comes from; a scrape never touches what workers write.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tiny_http::{Header, Method, Request, Response, Server};

use super::export::{self, Snapshot};

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
pub trait Source: Send + 'static {
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
        let server = Server::http(wanted)
            .map_err(|e| HttpError::Listen { address: wanted, reason: e.to_string() })?;
        let address = server.server_addr().to_ip().unwrap_or(wanted);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("gh-metrics".into())
            .spawn(move || serve(&server, &source, &stopped))
            .map_err(HttpError::Thread)?;
        Ok(MetricsServer { stop, thread: Some(thread), address })
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // It wakes several times a second; a panic there has been reported
            // by its own hook.
            let _ = thread.join();
        }
    }
}

fn serve(server: &Server, source: &impl Source, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        match server.recv_timeout(Duration::from_millis(100)) {
            Ok(Some(request)) => answer(request, source),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "the metrics server cannot accept connections");
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

fn answer(request: Request, source: &impl Source) {
    let (status, body) = match (request.method(), request.url()) {
        (Method::Get | Method::Head, "/metrics") => metrics(source),
        (Method::Get | Method::Head, "/healthz") => (200, "ok\n".to_owned()),
        (Method::Get | Method::Head, "/readyz") if source.ready() => (200, "ready\n".to_owned()),
        (Method::Get | Method::Head, "/readyz") => (503, "not ready\n".to_owned()),
        (Method::Get | Method::Head, "/") => {
            (200, "Greyhound: see /metrics, /healthz and /readyz\n".to_owned())
        }
        (Method::Get | Method::Head, _) => (404, "not found\n".to_owned()),
        _ => (405, "only GET here\n".to_owned()),
    };
    let mut response = Response::from_string(body).with_status_code(status);
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    if let Ok(header) = Header::from_bytes("Content-Type", kind) {
        response.add_header(header);
    }
    // The client has gone: nothing to tell anybody.
    let _ = request.respond(response);
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
    use std::io::{Read, Write};

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
        assert!(get(server.address, "/healthz").starts_with("HTTP/1.0 200"));
        assert!(get(server.address, "/readyz").starts_with("HTTP/1.0 503"));
        assert!(get(server.address, "/nothing").starts_with("HTTP/1.0 404"));
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
