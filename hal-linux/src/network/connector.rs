//! Opens connections to servers: name, socket, a proxy's tunnel, TLS.
//!
//! ```text
//! Lookup -> Connect -> ProxyHandshake -> TunnelSend -> TunnelHead -> Handshake -> Open
//!                      (TLS proxy)       (https through a proxy)     (https)
//! ```

use std::fmt;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;

use thimble_core::hal::Level;
use thimble_core::http::fault::{Fault, HeadFault};
use thimble_core::http::head::{Parsed, parse};
use thimble_core::http::url::Authority;
use thimble_core::http::write::{self, Relay};
use thimble_core::network::Connect;
use thimble_core::time::{Duration, Instant};
use zeroize::Zeroizing;

use super::endpoint::Endpoint;
use super::error::{Activity, NetworkError};
use super::limits::Limits;
use super::proxy::{Proxies, Proxy};
use super::resolve::{Lookup, Resolved, Resolver, resolve};
use super::stream::Stream;
use super::tls::{Peer, TlsSetup, lost};
use crate::SharedLog;
use crate::wait::PollSet;

/// Longest request for a tunnel: a host's name twice, a user name and a password.
const TUNNEL: usize = 8 * 1024;

/// Most bytes of a proxy's answer that are read at a time.
const PIECE: usize = 4096;

/// What does not change from connection to connection.
pub(super) struct Setup {
    pub(super) limits: Limits,
    pub(super) proxies: Proxies,
    pub(super) tls: TlsSetup,
    pub(super) resolver: Resolver,
    pub(super) log: SharedLog,
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("proxies", &self.proxies)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// Opens connections as [`Setup`] says.
#[derive(Debug)]
pub(crate) struct Connector {
    pub(super) setup: Rc<Setup>,
    connection: Option<Box<Connection>>,
}

/// A connection that is being opened, or is open.
struct Connection {
    server: Endpoint,
    is_https: bool,
    proxy: Option<Proxy>,
    part: Part,
    stream: Option<Stream>,
    /// When the time of this part is over.
    deadline: Option<Instant>,
    /// The request for a tunnel, and how much of it was sent.
    out: Zeroizing<Vec<u8>>,
    sent: usize,
    /// The proxy's answer so far, and the total length of its interim answers before.
    received: Vec<u8>,
    interim: usize,
}

/// Without what is sent to a proxy: a password may be in it.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, proxy, part, .. } = self;
        f.debug_struct("Connection")
            .field("server", server)
            .field("proxy", proxy)
            .field("part", part)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum Part {
    Lookup(Lookup),
    Connect(Connecting),
    ProxyHandshake,
    TunnelSend,
    TunnelHead,
    Handshake,
    Open,
}

#[derive(Debug)]
struct Connecting {
    /// The addresses not yet tried, the next one last.
    left: Vec<SocketAddr>,
    /// The share of the time limit that each address gets.
    share: Duration,
}

/// The next part; `None`: this part has to wait.
type Advance = Result<Option<Part>, NetworkError>;

impl Connector {
    pub(super) const fn new(setup: Rc<Setup>) -> Self {
        Self { setup, connection: None }
    }

    /// Adds what the connection waits for.
    pub(crate) fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        let Some(connection) = &self.connection else { return };
        match (&connection.part, &connection.stream) {
            (Part::Lookup(lookup), _) => set.read(lookup.descriptor()),
            (_, Some(stream)) => stream.wants(set),
            (_, None) => {}
        }
    }

    /// What the connection is at; `None` when it is open, or there is none.
    #[cfg(test)]
    pub(super) fn activity(&self) -> Option<Activity> {
        self.connection.as_ref().and_then(|connection| connection.activity())
    }
}

impl Connect for Connector {
    type Stream = Stream;
    type Error = NetworkError;

    fn open(&mut self, now: Instant, server: &Authority<'_>, is_https: bool) -> Result<(), NetworkError> {
        self.connection = None;
        let proxy = self.setup.proxies.of(server, is_https).map_err(NetworkError::Proxy)?.cloned();
        let mut out = Zeroizing::default();
        if let Some(proxy) = proxy.as_ref().filter(|_| is_https) {
            out = Zeroizing::new(vec![0; TUNNEL]);
            let length = write::tunnel(server, proxy.authorization(), &mut out)
                .map_err(|fault| NetworkError::Http(None, Fault::Request(fault)))?;
            out.truncate(length);
        }
        let mut connection = Connection {
            server: Endpoint::new(server),
            is_https,
            proxy,
            part: Part::Open,
            stream: None,
            deadline: None,
            out,
            sent: 0,
            received: Vec::new(),
            interim: 0,
        };
        let part = match resolve(connection.first_hop(), self.setup.resolver)? {
            Resolved::Now(addresses) => connecting(&self.setup.limits, addresses),
            Resolved::Later(lookup) => Part::Lookup(lookup),
        };
        connection.enter(&self.setup.limits, now, part);
        self.connection = Some(Box::new(connection));
        Ok(())
    }

    fn poll(&mut self, now: Instant) -> Poll<Result<(), NetworkError>> {
        let Self { setup, connection: Some(connection) } = self else { return Poll::Pending };
        let opened = connection.poll(setup, now);
        if matches!(opened, Poll::Ready(Err(_))) {
            self.connection = None;
        }
        opened
    }

    fn stream(&mut self) -> Option<&mut Stream> {
        let connection = self.connection.as_mut().filter(|connection| matches!(connection.part, Part::Open));
        connection?.stream.as_mut()
    }

    fn close(&mut self) {
        self.connection = None;
    }

    /// The end of this part's time, or at once.
    fn deadline(&self) -> Option<Instant> {
        let connection = self.connection.as_ref()?;
        let at_once = connection.stream.as_ref().is_some_and(Stream::goes_on_at_once);
        if at_once { Some(Instant::ZERO) } else { connection.deadline }
    }

    fn relay(&self, server: &Authority<'_>) -> Option<Relay<'_>> {
        // A variable that is no good is an error when the connection is opened.
        let proxy = self.setup.proxies.of(server, false).ok()??;
        Some(Relay { authorization: proxy.authorization() })
    }

    fn unix_now(&self) -> Option<u64> {
        Some((self.setup.tls.clock)())
    }
}

impl Connection {
    fn poll(&mut self, setup: &Setup, now: Instant) -> Poll<Result<(), NetworkError>> {
        loop {
            if matches!(self.part, Part::Open) {
                return Poll::Ready(Ok(()));
            }
            self.rest();
            match self.step(setup, now) {
                Ok(Some(part)) => {
                    self.rest();
                    self.enter(&setup.limits, now, part);
                }
                Ok(None) if self.deadline.is_some_and(|deadline| now >= deadline) => {
                    let activity = self.activity().unwrap_or(Activity::Connect);
                    return Poll::Ready(Err(NetworkError::TimedOut(self.peer().to_string(), activity)));
                }
                Ok(None) => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Goes on with the current part as far as possible without waiting.
    fn step(&mut self, setup: &Setup, now: Instant) -> Advance {
        match &mut self.part {
            Part::Lookup(lookup) => {
                let peer = self.proxy.as_ref().map_or(&self.server, |proxy| &proxy.endpoint);
                let Some(addresses) = lookup.poll(peer) else { return Ok(None) };
                Ok(Some(connecting(&setup.limits, addresses?)))
            }
            Part::Connect(_) => self.connect(setup, now),
            Part::ProxyHandshake | Part::Handshake => self.handshake(setup),
            Part::TunnelSend => self.send(setup, now),
            Part::TunnelHead => self.receive(setup),
            Part::Open => Ok(None),
        }
    }

    fn enter(&mut self, limits: &Limits, now: Instant, part: Part) {
        let limit = match &part {
            Part::Lookup(_) => Some(limits.lookup),
            Part::Connect(connecting) => Some(connecting.share),
            Part::ProxyHandshake | Part::Handshake => Some(limits.handshake),
            Part::TunnelSend => Some(limits.http.write),
            Part::TunnelHead => Some(limits.http.head),
            Part::Open => None,
        };
        self.deadline = limit.map(|limit| now + limit);
        self.part = part;
    }

    /// Tries to connect to one address after the other; each gets its share of the time.
    fn connect(&mut self, setup: &Setup, now: Instant) -> Advance {
        let Part::Connect(Connecting { left, share }) = &mut self.part else { return Ok(None) };
        let mut last_error = None;
        loop {
            let connected = match &mut self.stream {
                Some(stream) => stream.poll_connected(),
                None => Ok(false),
            };
            match connected {
                Ok(true) => return self.connected(setup),
                Ok(false)
                    if self.stream.is_some() && self.deadline.is_some_and(|deadline| now < deadline) =>
                {
                    return Ok(None);
                }
                Ok(false) => {}
                Err(error) => last_error = Some(error),
            }
            let timed_out = self.stream.take().is_some() && last_error.is_none();
            let Some(address) = left.pop() else {
                let peer = self.peer().to_string();
                return Err(match last_error {
                    Some(error) => NetworkError::Connect(peer, error),
                    None => NetworkError::TimedOut(peer, Activity::Connect),
                });
            };
            if timed_out || last_error.is_some() {
                self.deadline = Some(now + *share);
            }
            match Stream::connect(address) {
                Ok(stream) => (self.stream, last_error) = (Some(stream), None),
                Err(error) => last_error = Some(error),
            }
        }
    }

    fn connected(&mut self, setup: &Setup) -> Advance {
        match &self.proxy {
            Some(proxy) if proxy.is_https => {
                let host = proxy.endpoint.host.clone();
                self.secure(setup, &host, Peer::Proxy)?;
                Ok(Some(Part::ProxyHandshake))
            }
            Some(_) | None => self.reached_first_hop(setup),
        }
    }

    /// The connection to the proxy, or without a proxy to the server, is ready for requests.
    fn reached_first_hop(&mut self, setup: &Setup) -> Advance {
        if self.proxy.is_some() && self.is_https {
            return Ok(Some(Part::TunnelSend));
        }
        self.reached_server(setup)
    }

    /// The connection now leads to the server, or to a proxy that passes requests on to it.
    fn reached_server(&mut self, setup: &Setup) -> Advance {
        if self.is_https {
            let host = self.server.host.clone();
            self.secure(setup, &host, Peer::Server)?;
            return Ok(Some(Part::Handshake));
        }
        Ok(Some(Part::Open))
    }

    fn secure(&mut self, setup: &Setup, host: &str, peer: Peer) -> Result<(), NetworkError> {
        if setup.tls.skips_verification() {
            let text = format_args!("SkipVerify is set: the certificate of {host} is not verified");
            setup.log.borrow_mut().log(Level::Warning, text);
        }
        let connection =
            setup.tls.connect(host, peer).map_err(|fault| NetworkError::Tls(host.to_owned(), fault))?;
        self.stream = self.stream.take().map(|stream| stream.secured(connection));
        Ok(())
    }

    fn handshake(&mut self, setup: &Setup) -> Advance {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        match stream.handshake() {
            Ok(()) if matches!(self.part, Part::ProxyHandshake) => self.reached_first_hop(setup),
            Ok(()) => Ok(Some(Part::Open)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(self.lost(error)),
        }
    }

    /// Sends the request for a tunnel.
    fn send(&mut self, setup: &Setup, now: Instant) -> Advance {
        loop {
            let Some(stream) = &mut self.stream else { return Ok(None) };
            let rest = self.out.get(self.sent..).unwrap_or_default();
            let done = if rest.is_empty() { stream.flush().map(|()| 0) } else { stream.write(rest) };
            match done {
                Ok(0) if rest.is_empty() => {
                    self.out = Zeroizing::default();
                    return Ok(Some(Part::TunnelHead));
                }
                Ok(0) => return Err(self.lost(io::ErrorKind::WriteZero.into())),
                Ok(written) => {
                    self.sent += written;
                    self.deadline = Some(now + setup.limits.http.write);
                }
                // A proxy may answer and stop reading before it has the whole request. Then its answer is used.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.receive(setup),
                Err(error) => {
                    return match self.receive(setup) {
                        Ok(Some(part)) => Ok(Some(part)),
                        Ok(None) | Err(_) => Err(self.lost(error)),
                    };
                }
            }
        }
    }

    /// Receives the proxy's answer.
    fn receive(&mut self, setup: &Setup) -> Advance {
        let bad = |peer: &Endpoint, fault| NetworkError::Http(Some(peer.to_string()), Fault::Head(fault));
        loop {
            match parse(&self.received, None).map_err(|fault| bad(self.peer(), fault))? {
                Parsed::Partial => {}
                Parsed::Interim(length) => {
                    self.received.drain(..length);
                    self.interim += length;
                    continue;
                }
                Parsed::Complete(length, response) => {
                    let peer = self.peer();
                    match response.head.status {
                        200 if length < self.received.len() => {
                            return Err(bad(peer, HeadFault::ProxySurplus));
                        }
                        200 => return self.reached_server(setup),
                        407 => return Err(NetworkError::ProxyUser(peer.to_string(), "https_proxy")),
                        status => return Err(NetworkError::ProxyStatus(peer.to_string(), status)),
                    }
                }
            }
            let limit = setup.limits.http.head_bytes;
            let room = limit.saturating_sub(self.interim + self.received.len()).min(PIECE);
            if room == 0 {
                return Err(bad(self.peer(), HeadFault::TooLarge(limit)));
            }
            let Some(stream) = &mut self.stream else { return Ok(None) };
            let mut piece = [0; PIECE];
            match stream.read(&mut piece[..room]) {
                Ok(0) => return Err(self.lost(io::ErrorKind::UnexpectedEof.into())),
                Ok(length) => self.received.extend_from_slice(&piece[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(self.lost(error)),
            }
        }
    }

    fn rest(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.rest();
        }
    }

    fn lost(&self, error: io::Error) -> NetworkError {
        lost(self.peer().to_string(), self.activity().unwrap_or(Activity::Connect), error)
    }

    /// Who is connected to.
    fn first_hop(&self) -> &Endpoint {
        self.proxy.as_ref().map_or(&self.server, |proxy| &proxy.endpoint)
    }

    /// The peer at the other end of the current connection.
    fn peer(&self) -> &Endpoint {
        match self.part {
            Part::Handshake | Part::Open => &self.server,
            Part::Lookup(_)
            | Part::Connect(_)
            | Part::ProxyHandshake
            | Part::TunnelSend
            | Part::TunnelHead => self.first_hop(),
        }
    }

    const fn activity(&self) -> Option<Activity> {
        match self.part {
            Part::Lookup(_) => Some(Activity::Lookup),
            Part::Connect(_) => Some(Activity::Connect),
            Part::ProxyHandshake | Part::Handshake => Some(Activity::Handshake),
            Part::TunnelSend | Part::TunnelHead => Some(Activity::Proxy),
            Part::Open => None,
        }
    }
}

fn connecting(limits: &Limits, mut left: Vec<SocketAddr>) -> Part {
    let count = u64::try_from(left.len()).unwrap_or(u64::MAX).max(1);
    left.reverse();
    Part::Connect(Connecting { left, share: Duration::from_millis(limits.connect.as_millis() / count) })
}
