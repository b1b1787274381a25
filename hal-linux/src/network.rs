//! Core's HTTP/1.1 over TLS and non-blocking sockets, and files read as if they were responses: SERVER-70 to SERVER-84,
//! and the rules of the network in `docs/rules/hardening.md`.
//!
//! One request at a time. Each has connections of its own, which are closed when it ends, so that no byte of one
//! response can reach the next (N4, N5, N28). Memory is bounded whatever the peer sends: a head has 16 KiB at most, and
//! a body goes straight into the caller's buffer. No call blocks; name lookups, which would, run in a thread.

mod authority;
mod connector;
mod endpoint;
mod error;
mod limits;
mod proxy;
mod resolve;
mod stream;
#[cfg(test)]
pub(crate) mod tests;
mod tls;
mod validity;

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::task::Poll;

use thimble_core::hal::{ErrorType, Network};
use thimble_core::http::exchange;
use thimble_core::http::fault::Fault;
pub use thimble_core::http::fault::UrlFault;
use thimble_core::http::url::Url;
use thimble_core::http::{ContentRange, Head, Method, Request, Target};
use thimble_core::network::{self, Http};
use thimble_core::time::Instant;

pub use self::error::{Activity, NetworkError, SetupError, TlsFault};
pub use self::limits::Limits;
pub use self::proxy::{Proxies, ProxyFault, credentials};
pub use self::validity::{Validity, validity};

pub(crate) use self::connector::Connector;
pub(crate) use self::stream::{Stream, keep_alive};

use self::connector::Setup;
use self::endpoint::Endpoint;
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

/// Longest head of a request: a URL, the longest token and signature, and what stands around them. The head of an answer
/// has 16 KiB at most.
const HEAD: usize = 24 * 1024;

/// The network of a Linux machine.
#[derive(Debug)]
pub struct HttpNetwork {
    http: Http<Connector, Box<[u8]>>,
    /// The local file that is read, and the offset that it is read from.
    file: Option<(FileSource, u64)>,
}

impl HttpNetwork {
    /// Reads the configured certificates once: one that is missing, empty, garbage or without its key is an error
    /// now, not at the first request (N22).
    pub fn new(config: NetworkConfig, log: SharedLog) -> Result<Self, SetupError> {
        let tls = TlsSetup::new(&config)?;
        let limits = Limits::default();
        let setup = Rc::new(Setup { limits, proxies: config.proxies, tls, resolver: resolve::system, log });
        let memory = vec![0; thimble_core::limits::URL + HEAD].into_boxed_slice();
        Ok(Self { http: Http::new(Connector::new(setup), memory, limits.http), file: None })
    }

    /// For connections beside this network's own requests, with the same certificates, proxies and limits.
    #[must_use]
    pub fn connections(&self) -> Connections {
        Connections(Rc::clone(&self.http.connector().setup))
    }

    /// Adds the descriptor that the current request waits for. Adds nothing while received bytes are waiting for the
    /// caller to read them.
    pub fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        match &self.file {
            Some((file, _)) => file.wants(set),
            None => self.http.connector().wants(set),
        }
    }

    /// The same with the name of the server, for people.
    fn explained(&self, error: <Http<Connector, Box<[u8]>> as ErrorType>::Error) -> NetworkError {
        let peer = || self.http.peer().map(|peer| Endpoint::new(&peer).to_string()).unwrap_or_default();
        match error {
            network::Error::Open(error) => error,
            network::Error::Lost(activity, error) => tls::lost(peer(), activity.into(), error.0),
            network::Error::Fault(Fault::TimedOut(activity)) => {
                NetworkError::TimedOut(peer(), activity.into())
            }
            network::Error::Fault(Fault::Closed(activity)) => NetworkError::Closed(peer(), activity.into()),
            network::Error::Fault(Fault::ProxyUser) => {
                let proxies = &self.http.connector().setup.proxies;
                let proxy = self.http.peer().and_then(|peer| proxies.of(&peer, false).ok().flatten());
                let proxy = proxy.map(|proxy| proxy.endpoint.to_string()).unwrap_or_default();
                NetworkError::ProxyUser(proxy, "http_proxy")
            }
            network::Error::Fault(fault @ (Fault::Head(_) | Fault::Body(_) | Fault::Redirect(_))) => {
                NetworkError::Http(Some(peer()), fault)
            }
            network::Error::Fault(fault @ (Fault::Url(_) | Fault::Request(_) | Fault::Idle)) => {
                NetworkError::Http(None, fault)
            }
        }
    }
}

/// Opens connections as [`HttpNetwork`] does, any number at a time. Takes no memory by itself.
#[derive(Clone, Debug)]
pub struct Connections(Rc<Setup>);

impl Connections {
    /// A connection that is not opened yet.
    pub(crate) fn connector(&self) -> Connector {
        Connector::new(Rc::clone(&self.0))
    }

    /// How long everything may take.
    pub(crate) fn limits(&self) -> exchange::Limits {
        self.0.limits.http
    }
}

impl ErrorType for HttpNetwork {
    type Error = NetworkError;
}

impl Network for HttpNetwork {
    fn start(&mut self, now: Instant, request: &Request<'_>) -> Result<(), NetworkError> {
        self.cancel();
        match request.target {
            Target::File(_) if request.method != Method::Get => Err(NetworkError::FileMethod),
            Target::File(path) => {
                let file = FileSource::open(Path::new(path), request.offset).map_err(NetworkError::File)?;
                self.file = Some((file, request.offset));
                Ok(())
            }
            Target::Url(_) => self.http.start(now, request).map_err(|error| self.explained(error)),
        }
    }

    fn poll_send(&mut self, now: Instant, rest: &[u8]) -> Poll<Result<usize, NetworkError>> {
        self.http.poll_send(now, rest).map_err(|error| self.explained(error))
    }

    fn poll_head(&mut self, now: Instant) -> Poll<Result<Head, NetworkError>> {
        match &self.file {
            Some((file, offset)) => Poll::Ready(Ok(file_head(file, *offset))),
            None => self.http.poll_head(now).map_err(|error| self.explained(error)),
        }
    }

    fn poll_read(&mut self, now: Instant, buf: &mut [u8]) -> Poll<Result<usize, NetworkError>> {
        let Some((file, _)) = &mut self.file else {
            return self.http.poll_read(now, buf).map_err(|error| self.explained(error));
        };
        let patience = self.http.connector().setup.limits.http.body_idle;
        let poll = file.poll_read(patience, now, buf).map_err(NetworkError::File);
        if matches!(poll, Poll::Ready(Err(_))) {
            self.file = None;
        }
        poll
    }

    fn etag(&self) -> Option<&str> {
        self.http.etag()
    }

    fn cancel(&mut self) {
        self.file = None;
        self.http.cancel();
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.file {
            Some((file, _)) => file.deadline(),
            None => self.http.deadline(),
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
