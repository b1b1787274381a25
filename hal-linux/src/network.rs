//! HTTP/1.1 and TLS over non-blocking sockets, and files read as if they were responses: SERVER-70
//! to SERVER-84, and the rules of the network in `docs/rules/hardening.md`.
//!
//! One request at a time. Each has connections of its own, which are closed when it ends, so that no byte of one
//! response can reach the next (N4, N5, N28). Memory is bounded whatever the peer sends: a head has 16 KiB at most, and
//! a body goes straight into the caller's buffer. No call blocks; name lookups, which would, run in a thread.

mod authority;
mod endpoint;
mod error;
mod exchange;
mod outgoing;
mod proxy;
mod resolve;
mod stream;
#[cfg(test)]
mod tests;
mod tls;

use std::fmt;
use std::path::{Path, PathBuf};
use std::task::Poll;

use thimble_core::hal::{self, ErrorType};
pub use thimble_core::http::fault::{BodyFault, HeadFault, UrlFault};
use thimble_core::http::url::Url;
use thimble_core::http::{ContentRange, Head, Method, Request, Target};
use thimble_core::time::{Duration, Instant};

pub use self::error::{Activity, NetworkError, RedirectFault, SetupError, TlsFault};
pub use self::proxy::{Proxies, ProxyFault};

use self::exchange::Exchange;
use self::resolve::Resolver;
use self::tls::TlsSetup;
use crate::SharedLog;
use crate::file_source::FileSource;
use crate::wait::PollSet;

/// The settings from `mender.conf` and the environment. By default the system's root certificates are trusted and no
/// proxy is used.
#[derive(Clone, Debug, Default)]
pub struct NetworkConfig {
    /// `ServerCertificate`: certificates trusted in addition to the system's root certificates; those that are not of
    /// authorities for themselves alone.
    pub server_certificate: Option<PathBuf>,
    /// `SkipVerify`: no server has to prove who it is. A warning at each connection says so.
    pub skip_verify: bool,
    /// `HttpsClient.Certificate`; set together with the key.
    pub client_certificate: Option<PathBuf>,
    /// `HttpsClient.Key`.
    pub client_key: Option<PathBuf>,
    /// The proxies from the environment.
    pub proxies: Proxies,
}

/// How long, and how much, at most (SERVER-70 to SERVER-73).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Time to look up a name.
    pub lookup: Duration,
    /// Time to connect, for all addresses of a name together.
    pub connect: Duration,
    /// Time for a TLS handshake.
    pub handshake: Duration,
    /// Time between two bytes that the peer takes of a request.
    pub write: Duration,
    /// Time from the end of the request to the end of the response's head, however slowly its bytes come.
    pub head: Duration,
    /// Time between two bytes of a body.
    pub body_idle: Duration,
    /// Longest head of a response in bytes, the heads of interim responses included.
    pub head_bytes: usize,
    /// Most redirects of one download.
    pub redirects: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            lookup: Duration::from_secs(30),
            connect: Duration::from_secs(30),
            handshake: Duration::from_secs(30),
            write: Duration::from_secs(60),
            head: Duration::from_secs(60),
            body_idle: Duration::from_secs(300),
            head_bytes: 16 * 1024,
            redirects: 3,
        }
    }
}

/// The network of a Linux machine.
#[derive(Debug)]
pub struct HttpNetwork {
    setup: Setup,
    state: State,
    etag: Option<String>,
}

/// What does not change from request to request.
struct Setup {
    limits: Limits,
    proxies: Proxies,
    tls: TlsSetup,
    resolver: Resolver,
    log: SharedLog,
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("proxies", &self.proxies)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum State {
    Idle,
    /// A local file, and the offset that it is read from.
    File(FileSource, u64),
    Http(Box<Exchange>),
}

impl HttpNetwork {
    /// Reads the configured certificates once: one that is missing, empty, garbage or without its key is an error
    /// now, not at the first request (N22).
    pub fn new(config: NetworkConfig, log: SharedLog) -> Result<Self, SetupError> {
        Self::with_limits(config, log, Limits::default())
    }

    /// As [`HttpNetwork::new`], with other limits than those of the specification.
    pub fn with_limits(config: NetworkConfig, log: SharedLog, limits: Limits) -> Result<Self, SetupError> {
        let tls = TlsSetup::new(&config)?;
        let setup = Setup { limits, proxies: config.proxies, tls, resolver: resolve::system, log };
        Ok(Self { setup, state: State::Idle, etag: None })
    }

    /// Adds the descriptor that the current request waits for. Adds nothing while received bytes are waiting for the
    /// caller to read them.
    pub fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        match &self.state {
            State::Idle => {}
            State::File(file, _) => file.wants(set),
            State::Http(exchange) => exchange.wants(set),
        }
    }

    /// Ends the request when it has failed: nothing more can come of it.
    fn end_on_error<T>(&mut self, poll: Poll<Result<T, NetworkError>>) -> Poll<Result<T, NetworkError>> {
        if matches!(poll, Poll::Ready(Err(_))) {
            self.state = State::Idle;
        }
        poll
    }
}

impl ErrorType for HttpNetwork {
    type Error = NetworkError;
}

impl hal::Network for HttpNetwork {
    fn start(&mut self, now: Instant, request: &Request<'_>) -> Result<(), NetworkError> {
        self.cancel();
        self.etag = None;
        self.state = match request.target {
            Target::File(_) if request.method != Method::Get => return Err(NetworkError::FileMethod),
            Target::File(path) => {
                let file = FileSource::open(Path::new(path), request.offset).map_err(NetworkError::File)?;
                State::File(file, request.offset)
            }
            Target::Url(url) => State::Http(Box::new(Exchange::start(&self.setup, now, url, request)?)),
        };
        Ok(())
    }

    fn poll_send(&mut self, _: Instant, rest: &[u8]) -> Poll<Result<usize, NetworkError>> {
        Poll::Ready(match &mut self.state {
            State::Idle | State::File(..) => Err(NetworkError::Idle),
            State::Http(exchange) => Ok(exchange.collect(rest)),
        })
    }

    fn poll_head(&mut self, now: Instant) -> Poll<Result<Head, NetworkError>> {
        let poll = match &mut self.state {
            State::Idle => Poll::Ready(Err(NetworkError::Idle)),
            State::File(file, offset) => Poll::Ready(Ok(file_head(file, *offset))),
            State::Http(exchange) => exchange.poll_head(&self.setup, now),
        };
        if let (Poll::Ready(Ok(_)), State::Http(exchange)) = (&poll, &mut self.state) {
            self.etag = exchange.etag.take().or(self.etag.take());
        }
        self.end_on_error(poll)
    }

    fn poll_read(&mut self, now: Instant, buf: &mut [u8]) -> Poll<Result<usize, NetworkError>> {
        let limits = &self.setup.limits;
        let poll = match &mut self.state {
            State::Idle => Poll::Ready(Err(NetworkError::Idle)),
            State::File(file, _) => file.poll_read(limits.body_idle, now, buf).map_err(NetworkError::File),
            State::Http(exchange) => exchange.poll_read(limits, now, buf),
        };
        self.end_on_error(poll)
    }

    fn etag(&self) -> Option<&str> {
        self.etag.as_deref()
    }

    fn cancel(&mut self) {
        self.state = State::Idle;
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Idle => None,
            State::File(file, _) => file.deadline(),
            State::Http(exchange) => exchange.deadline(),
        }
    }
}

/// Checks whether requests can be sent to this URL. Checks its form only and looks up no name.
pub fn check_url(text: &str) -> Result<(), UrlFault> {
    Url::parse(text).map(drop)
}

/// Makes a local file look like a server's answer: status 206 and the range when it is read from an offset.
fn file_head(file: &FileSource, offset: u64) -> Head {
    let content_length = file.length();
    let content_range = content_length.filter(|&length| offset > 0 && length > 0).map(|length| {
        let size = offset.saturating_add(length);
        ContentRange { first: offset, last: size.saturating_sub(1), size: Some(size) }
    });
    let status = if content_range.is_some() { 206 } else { 200 };
    Head { status, content_length, content_range, retry_after: None }
}
