//! A real listener in front of the model of Mender's server, for tests of the real client and for users
//! (`thimble-sim serve`). Loopback only, HTTP or HTTPS, a thread per connection; the model itself stays free of all
//! three.
//!
//! Beside what the model checks, every request is checked byte by byte (`listen/http.rs`), and answers can be
//! damaged on the wire ([`Wire`]).

mod http;
mod signature;
mod wire;

pub use signature::verify;
pub use wire::Wire;

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::server::{Endpoint, Response, Server};

/// How often a connection that waits looks whether the listener has gone.
const LOOK: Duration = Duration::from_millis(100);

/// Connections at a time; one more is closed at once.
const CONNECTIONS: usize = 1024;

/// A connection without a whole request in this time is closed, and one that takes nothing of its answer.
const REQUEST: Duration = Duration::from_secs(600);

/// HTTP or HTTPS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Security {
    Plain,
    Tls,
}

/// A request that came, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `None`: no endpoint of the device API.
    pub endpoint: Option<Endpoint>,
    /// Method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Headers in their order.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
    /// Status of the answer; 0 when none was sent.
    pub status: u16,
    /// The fault of the wire this answer met.
    pub wire: Option<Wire>,
}

/// When an observer is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The request came and has had no effect yet.
    Before,
    /// It has had its effect; the answer has not been sent yet.
    After,
}

/// Called at each request; the answer waits for it.
pub type Observer = Box<dyn FnMut(When, &Entry) + Send>;

/// A running server. Ends when it is dropped.
pub struct Listener {
    address: SocketAddr,
    security: Security,
    certificate: String,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    observer: Mutex<Option<Observer>>,
    over: AtomicBool,
    connections: AtomicUsize,
    /// Requests that the server has heard and that have no answer yet.
    unanswered: AtomicUsize,
    host: String,
    tls: Option<Arc<ServerConfig>>,
}

struct State {
    server: Server,
    /// `None`: requests are only told to the observer.
    journal: Option<Vec<Entry>>,
    wires: Vec<(Endpoint, u32, u32, Wire)>,
}

impl Listener {
    /// Listens on this port of 127.0.0.1; 0 takes a free one. Links of artifacts lead here too.
    ///
    /// # Errors
    /// The port is taken, or no certificate could be made.
    pub fn start(port: u16, security: Security, server: Server) -> io::Result<Self> {
        Self::start_as(&Ipv4Addr::LOCALHOST.to_string(), port, security, server)
    }

    /// As [`Self::start`], for clients that know this host by another name, as the guest of a virtual machine does:
    /// URLs and the certificate have it, and requests must.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_as(name: &str, port: u16, security: Security, server: Server) -> io::Result<Self> {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let address = socket.local_addr()?;
        let (tls, certificate) = match security {
            Security::Plain => (None, String::new()),
            Security::Tls => {
                let (config, certificate) = tls(name).map_err(io::Error::other)?;
                (Some(config), certificate)
            }
        };
        let state = State { server, journal: Some(Vec::new()), wires: Vec::new() };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            observer: Mutex::new(None),
            over: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            unanswered: AtomicUsize::new(0),
            host: format!("{name}:{}", address.port()),
            tls,
        });
        let listener = Self { address, security, certificate, shared: shared.clone() };
        let url = listener.url();
        listener.with(|server| server.links = url);
        thread::spawn(move || accept(&socket, &shared));
        Ok(listener)
    }

    /// Scheme, host and port, as `ServerURL` has them.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = match self.security {
            Security::Plain => "http",
            Security::Tls => "https",
        };
        format!("{scheme}://{}", self.shared.host)
    }

    /// The certificate to trust, PEM; empty without TLS.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Looks at the model or changes it.
    pub fn with<T>(&self, f: impl FnOnce(&mut Server) -> T) -> T {
        let result = f(&mut self.shared.state().server);
        self.shared.changed.notify_all();
        result
    }

    /// The answers to `endpoint` after the next `skip`, `times` of them, meet `wire`.
    pub fn disturb(&self, endpoint: Endpoint, skip: u32, times: u32, wire: Wire) {
        self.shared.state().wires.push((endpoint, skip, times, wire));
    }

    /// Nothing is disturbed any more, by the model or on the wire.
    pub fn calm(&self) {
        let mut state = self.shared.state();
        state.server.calm();
        state.wires.clear();
    }

    /// All requests so far; none after [`Self::forget_journal`].
    #[must_use]
    pub fn journal(&self) -> Vec<Entry> {
        self.shared.state().journal.clone().unwrap_or_default()
    }

    /// Keeps no request any more, so that a server that runs for long does not grow: they are told to the observer only.
    pub fn forget_journal(&self) {
        self.shared.state().journal = None;
    }

    /// Calls `observer` at each request from now on.
    pub fn observe(&self, observer: Option<Observer>) {
        *self.shared.observer.lock().unwrap_or_else(PoisonError::into_inner) = observer;
    }

    /// Whether all that the server has heard is answered. What has its end in a request, such as the report of an update, is
    /// over for the client with the answer only.
    #[must_use]
    pub fn has_answered(&self) -> bool {
        self.shared.unanswered.load(Ordering::SeqCst) == 0
    }

    /// Waits until `condition` holds; false when it does not within `limit`.
    pub fn wait_until(&self, limit: Duration, mut condition: impl FnMut(&Server, &[Entry]) -> bool) -> bool {
        let end = Instant::now() + limit;
        let mut state = self.shared.state();
        loop {
            if condition(&state.server, state.journal.as_deref().unwrap_or_default()) {
                return true;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn observed(&self, when: When, entry: &Entry) {
        if let Some(observer) = &mut *self.observer.lock().unwrap_or_else(PoisonError::into_inner) {
            observer(when, entry);
        }
    }

    /// The answer to a request, and what happens to it on its way.
    fn answer(&self, request: http::Request) -> (Response, Option<Wire>) {
        let mut entry = Entry {
            endpoint: Server::endpoint(&request.target),
            method: request.method,
            target: request.target,
            headers: request.headers,
            body: request.body,
            status: 0,
            wire: None,
        };
        self.observed(When::Before, &entry);
        let headers: Vec<(&str, &str)> =
            entry.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut state = self.state();
        for violation in request.violations {
            state.server.violation(violation);
        }
        let response = state.server.request_verified(
            &crate::server::Request {
                method: &entry.method,
                target: &entry.target,
                headers: &headers,
                body: &entry.body,
            },
            &verify,
        );
        entry.status = response.status;
        entry.wire = entry.endpoint.and_then(|endpoint| state.next_wire(endpoint));
        let wire = entry.wire.clone();
        if let Some(journal) = &mut state.journal {
            journal.push(entry.clone());
        }
        drop(state);
        self.changed.notify_all();
        self.observed(When::After, &entry);
        (response, wire)
    }
}

impl State {
    fn next_wire(&mut self, endpoint: Endpoint) -> Option<Wire> {
        let at = self.wires.iter().position(|(planned, ..)| *planned == endpoint)?;
        let (_, skip, times, wire) = &mut self.wires[at];
        if *skip > 0 {
            *skip -= 1;
            return None;
        }
        let wire = wire.clone();
        *times = times.saturating_sub(1);
        if *times == 0 {
            self.wires.remove(at);
        }
        Some(wire)
    }
}

/// Bytes in both directions, with or without TLS.
trait Stream: Read + Write {
    fn tcp(&self) -> &TcpStream;
}

impl Stream for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Stream for StreamOwned<ServerConnection, TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref()
    }
}

/// One of the connections that are possible at a time.
struct Place(Arc<Shared>);

impl Place {
    /// `None`: all are taken.
    fn take(shared: &Arc<Shared>) -> Option<Self> {
        let place = Self(shared.clone());
        (shared.connections.fetch_add(1, Ordering::Relaxed) < CONNECTIONS).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

fn accept(socket: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let accepted = socket.accept();
        if shared.is_over() {
            return;
        }
        let Ok((tcp, _)) = accepted else {
            // Too many open files, for one; they become fewer.
            thread::sleep(LOOK);
            continue;
        };
        let Some(place) = Place::take(shared) else { continue };
        let shared = shared.clone();
        thread::spawn(move || {
            let _place = place;
            // What the peer does to its connection is its own affair; the journal has what came.
            let limits = tcp.set_read_timeout(Some(LOOK)).and_then(|()| tcp.set_write_timeout(Some(REQUEST)));
            let _ = limits.and_then(|()| tcp.set_nodelay(true));
            let _ = match &shared.tls {
                None => serve(tcp, &shared),
                Some(config) => match ServerConnection::new(config.clone()) {
                    Ok(connection) => serve(StreamOwned::new(connection, tcp), &shared),
                    Err(error) => Err(io::Error::other(error)),
                },
            };
        });
    }
}

/// One connection, request by request.
fn serve(mut stream: impl Stream, shared: &Shared) -> io::Result<()> {
    loop {
        let began = Instant::now();
        let is_over = || shared.is_over() || began.elapsed() > REQUEST;
        let Some(request) = http::read(&mut stream, &shared.host, &is_over)? else { return Ok(()) };
        shared.unanswered.fetch_add(1, Ordering::SeqCst);
        let (response, wire) = shared.answer(request);
        let sent = wire::send(&mut stream, &response, wire.as_ref(), &|| shared.is_over());
        shared.unanswered.fetch_sub(1, Ordering::SeqCst);
        if !sent? {
            return Ok(());
        }
    }
}

/// A certificate made for this run.
fn tls(name: &str) -> Result<(Arc<ServerConfig>, String), Box<dyn std::error::Error + Send + Sync>> {
    let mut names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    if !names.iter().any(|known| known == name) {
        names.push(name.to_owned());
    }
    let made = rcgen::generate_simple_self_signed(names)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    Ok((Arc::new(config), made.cert.pem()))
}

#[cfg(test)]
mod tests;
