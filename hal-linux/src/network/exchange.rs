//! Performs one request and reads its response, on connections of its own.
//!
//! ```text
//! Lookup -> Connect -> ProxyHandshake -> TunnelSend -> TunnelHead -> Handshake -> Send -> Head -> Body
//!   ^                  (TLS proxy)       (https through a proxy)     (https)               |
//!   +------------------------------ redirect of a download --------------------------------+
//! ```

use std::fmt;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::task::Poll;

use thimble_core::hal::Level;
use thimble_core::http::body::{Body, Framing, Next};
use thimble_core::http::fault::HeadFault;
use thimble_core::http::head::{Parsed, ResponseHead, parse};
use thimble_core::http::url::{Joined, Url};
use thimble_core::http::{Head, Request};
use thimble_core::time::{Duration, Instant};
use zeroize::Zeroizing;

use super::endpoint::Endpoint;
use super::error::{Activity, NetworkError, RedirectFault};
use super::outgoing::{Outgoing, connect_request};
use super::proxy::Proxy;
use super::resolve::{Lookup, Resolved, resolve};
use super::stream::Stream;
use super::tls::{Peer, fault_of};
use super::{Limits, Setup};
use crate::wait::PollSet;

/// Most bytes that are read at a time into the exchange's own buffer: heads, and what is between chunks.
const PIECE: usize = 4096;

#[derive(Debug)]
pub(super) struct Exchange {
    url: UrlText,
    server: Endpoint,
    is_https: bool,
    proxy: Option<Proxy>,
    outgoing: Outgoing,
    redirects: u8,
    part: Part,
    stream: Option<Stream>,
    /// When the time of this part is over. In the body it is set only while the exchange waits for bytes, so that the
    /// caller may take any time before it reads on.
    deadline: Option<Instant>,
    out: Zeroizing<Vec<u8>>,
    sent: usize,
    /// Received bytes; those before `used` were used already.
    received: Vec<u8>,
    used: usize,
    /// Total length of the heads of interim responses that came before.
    interim: usize,
    body: Body,
    head: Option<Head>,
    pub(super) etag: Option<String>,
}

/// The text of a URL, which was read once without a fault.
struct UrlText(String);

impl UrlText {
    fn parse(&self) -> Result<Url<'_>, NetworkError> {
        Url::parse(&self.0).map_err(NetworkError::Url)
    }
}

impl fmt::Debug for UrlText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
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
    Send,
    Head,
    Body,
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

impl Exchange {
    /// Begins the exchange: looks up the name or begins to connect.
    pub(super) fn start(
        setup: &Setup,
        now: Instant,
        text: &str,
        request: &Request<'_>,
    ) -> Result<Self, NetworkError> {
        let url = Url::parse(text).map_err(NetworkError::Url)?;
        let mut exchange = Self {
            proxy: setup.proxies.of(&url.authority, url.is_https).map_err(NetworkError::Proxy)?.cloned(),
            server: Endpoint::new(&url.authority),
            is_https: url.is_https,
            url: UrlText(text.to_owned()),
            outgoing: Outgoing::new(request, &url).map_err(NetworkError::Request)?,
            redirects: 0,
            part: Part::Head,
            stream: None,
            deadline: None,
            out: Zeroizing::default(),
            sent: 0,
            received: Vec::new(),
            used: 0,
            interim: 0,
            body: Body::new(Framing::Length(0)),
            head: None,
            etag: None,
        };
        let part = exchange.look_up(setup)?;
        exchange.enter(&setup.limits, now, part);
        Ok(exchange)
    }

    pub(super) fn poll_head(&mut self, setup: &Setup, now: Instant) -> Poll<Result<Head, NetworkError>> {
        loop {
            if let (Part::Body, Some(head)) = (&self.part, self.head) {
                return Poll::Ready(Ok(head));
            }
            self.rest();
            match self.step(setup, now) {
                Ok(Some(part)) => {
                    self.rest();
                    self.enter(&setup.limits, now, part);
                }
                Ok(None) if self.deadline.is_some_and(|deadline| now >= deadline) => {
                    return Poll::Ready(Err(NetworkError::TimedOut(
                        self.peer().to_string(),
                        self.activity(),
                    )));
                }
                Ok(None) => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    pub(super) fn collect(&mut self, bytes: &[u8]) -> usize {
        self.outgoing.collect(bytes)
    }

    pub(super) fn poll_read(
        &mut self,
        limits: &Limits,
        now: Instant,
        buf: &mut [u8],
    ) -> Poll<Result<usize, NetworkError>> {
        if !matches!(self.part, Part::Body) {
            return Poll::Ready(Err(NetworkError::Idle));
        }
        self.rest();
        match self.read_body(buf) {
            Ok(Some(read)) => {
                self.rest();
                self.deadline = None;
                Poll::Ready(Ok(read))
            }
            Ok(None) if now >= *self.deadline.get_or_insert(now + limits.body_idle) => {
                Poll::Ready(Err(NetworkError::TimedOut(self.peer().to_string(), Activity::Body)))
            }
            Ok(None) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    pub(super) fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        match (&self.part, &self.stream) {
            (Part::Lookup(lookup), _) => set.read(lookup.descriptor()),
            (_, Some(stream)) => stream.wants(set),
            (_, None) => {}
        }
    }

    /// When to go on, even if no descriptor is ready: the end of this part's time, or at once.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let at_once = self.stream.as_ref().is_some_and(Stream::goes_on_at_once);
        if at_once { Some(Instant::ZERO) } else { self.deadline }
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
            Part::TunnelSend | Part::Send => self.send(setup, now),
            Part::TunnelHead | Part::Head => self.receive_head(setup),
            Part::Body => Ok(None),
        }
    }

    fn enter(&mut self, limits: &Limits, now: Instant, part: Part) {
        let limit = match &part {
            Part::Lookup(_) => Some(limits.lookup),
            Part::Connect(connecting) => Some(connecting.share),
            Part::ProxyHandshake | Part::Handshake => Some(limits.handshake),
            Part::TunnelSend | Part::Send => Some(limits.write),
            Part::TunnelHead | Part::Head => Some(limits.head),
            Part::Body => None,
        };
        self.deadline = limit.map(|limit| now + limit);
        self.part = part;
    }

    fn look_up(&self, setup: &Setup) -> Result<Part, NetworkError> {
        let peer = self.proxy.as_ref().map_or(&self.server, |proxy| &proxy.endpoint);
        Ok(match resolve(peer, setup.resolver)? {
            Resolved::Now(addresses) => connecting(&setup.limits, addresses),
            Resolved::Later(lookup) => Part::Lookup(lookup),
        })
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
        match &self.proxy {
            Some(proxy) if self.is_https => {
                let request = connect_request(&self.url.parse()?.authority, proxy);
                self.say(request.map_err(NetworkError::Request)?);
                Ok(Some(Part::TunnelSend))
            }
            Some(_) | None => self.reached_server(setup),
        }
    }

    /// The connection now leads to the server, or to a proxy that passes requests on to it.
    fn reached_server(&mut self, setup: &Setup) -> Advance {
        if self.is_https {
            let host = self.server.host.clone();
            self.secure(setup, &host, Peer::Server)?;
            return Ok(Some(Part::Handshake));
        }
        let request = self.outgoing.to(&self.url.parse()?, self.proxy.as_ref());
        self.say(request.map_err(NetworkError::Request)?);
        Ok(Some(Part::Send))
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

    fn say(&mut self, bytes: Zeroizing<Vec<u8>>) {
        (self.out, self.sent) = (bytes, 0);
        self.received.clear();
        (self.used, self.interim) = (0, 0);
    }

    fn handshake(&mut self, setup: &Setup) -> Advance {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        match stream.handshake() {
            Ok(()) if matches!(self.part, Part::ProxyHandshake) => self.reached_first_hop(setup),
            Ok(()) => {
                let request = self.outgoing.to(&self.url.parse()?, None);
                self.say(request.map_err(NetworkError::Request)?);
                Ok(Some(Part::Send))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(self.lost(error)),
        }
    }

    fn send(&mut self, setup: &Setup, now: Instant) -> Advance {
        loop {
            let Some(stream) = &mut self.stream else { return Ok(None) };
            let rest = self.out.get(self.sent..).unwrap_or_default();
            let done = if rest.is_empty() { stream.flush().map(|()| 0) } else { stream.write(rest) };
            match done {
                Ok(0) if rest.is_empty() => {
                    self.out = Zeroizing::default();
                    let is_tunnel = matches!(self.part, Part::TunnelSend);
                    return Ok(Some(if is_tunnel { Part::TunnelHead } else { Part::Head }));
                }
                Ok(0) => return Err(self.lost(io::ErrorKind::WriteZero.into())),
                Ok(written) => {
                    self.sent += written;
                    self.deadline = Some(now + setup.limits.write);
                }
                // A server may answer and stop reading before it has the whole body. Then its answer is used.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.receive_head(setup),
                Err(error) => {
                    return match self.receive_head(setup) {
                        Ok(Some(part)) => Ok(Some(part)),
                        Ok(None) | Err(_) => Err(self.lost(error)),
                    };
                }
            }
        }
    }

    fn receive_head(&mut self, setup: &Setup) -> Advance {
        let mut received = std::mem::take(&mut self.received);
        loop {
            match parse(&received, Some((setup.tls.clock)())) {
                Ok(Parsed::Partial) => {}
                Ok(Parsed::Interim(len)) => {
                    received.drain(..len);
                    self.interim += len;
                    continue;
                }
                Ok(Parsed::Complete(len, head)) => {
                    let advance = self.answered(setup, len < received.len(), &head)?;
                    if matches!(advance, Some(Part::Body)) {
                        self.used = len;
                        self.received = received;
                    }
                    return Ok(advance);
                }
                Err(fault) => return Err(NetworkError::Head(self.peer().to_string(), fault)),
            }
            let room = setup.limits.head_bytes.saturating_sub(self.interim + received.len()).min(PIECE);
            if room == 0 {
                let fault = HeadFault::TooLarge(setup.limits.head_bytes);
                return Err(NetworkError::Head(self.peer().to_string(), fault));
            }
            self.received = received;
            let more = self.receive(room)?;
            if more.is_none() {
                return Ok(None);
            }
            received = std::mem::take(&mut self.received);
        }
    }

    /// The head of a response is complete; `surplus`: more came with it.
    fn answered(&mut self, setup: &Setup, surplus: bool, response: &ResponseHead<'_>) -> Advance {
        let status = response.head.status;
        let is_tunnel = matches!(self.part, Part::TunnelSend | Part::TunnelHead);
        // A 407 that comes through a tunnel is from the server, not from the proxy.
        if let Some(proxy) = self.proxy.as_ref().filter(|_| status == 407 && is_tunnel == self.is_https) {
            let variable = if self.is_https { "https_proxy" } else { "http_proxy" };
            return Err(NetworkError::ProxyUser(proxy.endpoint.to_string(), variable));
        }
        if is_tunnel {
            if status != 200 {
                return Err(NetworkError::ProxyStatus(self.peer().to_string(), status));
            }
            if surplus {
                return Err(NetworkError::Head(self.peer().to_string(), HeadFault::ProxySurplus));
            }
            return self.reached_server(setup);
        }
        if let Some(location) = response.location.filter(|_| self.outgoing.is_download && is_redirect(status))
        {
            return self.redirect(setup, location);
        }
        self.out = Zeroizing::default();
        self.body = Body::new(response.framing);
        self.head = Some(response.head);
        self.etag = response.etag.map(str::to_owned);
        Ok(Some(Part::Body))
    }

    fn redirect(&mut self, setup: &Setup, location: &str) -> Advance {
        let refused = |fault| NetworkError::Redirect(self.server.to_string(), fault);
        if self.redirects >= setup.limits.redirects {
            return Err(refused(RedirectFault::TooMany));
        }
        let joined = self.url.parse()?.join(location).map_err(|fault| refused(RedirectFault::Url(fault)))?;
        let Joined { kept, between, rest } = joined;
        let text = format!("{}{between}{rest}", &self.url.0[..kept]);
        let url = Url::parse(&text).map_err(|fault| refused(RedirectFault::Url(fault)))?;
        if self.is_https && !url.is_https {
            return Err(refused(RedirectFault::Downgrade));
        }
        self.redirects += 1;
        self.stream = None;
        self.say(Zeroizing::default());
        self.proxy = setup.proxies.of(&url.authority, url.is_https).map_err(NetworkError::Proxy)?.cloned();
        (self.server, self.is_https) = (Endpoint::new(&url.authority), url.is_https);
        self.url = UrlText(text);
        self.look_up(setup).map(Some)
    }

    /// Reads bytes of the body; `None` when none are there yet.
    fn read_body(&mut self, buf: &mut [u8]) -> Result<Option<usize>, NetworkError> {
        loop {
            let buffered = self.received.get(self.used..).unwrap_or_default();
            match self.body.next() {
                Next::End => {
                    self.stream = None;
                    self.received = Vec::new();
                    return Ok(Some(0));
                }
                Next::Mark => match buffered.first() {
                    Some(&byte) => {
                        self.used += 1;
                        self.body
                            .mark(byte)
                            .map_err(|fault| NetworkError::Body(self.server.to_string(), fault))?;
                    }
                    None => {
                        self.received.clear();
                        self.used = 0;
                        if self.receive(PIECE)?.is_none() {
                            return Ok(None);
                        }
                        self.deadline = None;
                    }
                },
                Next::Data(most) => {
                    let most = usize::try_from(most).unwrap_or(usize::MAX).min(buf.len());
                    if !buffered.is_empty() {
                        let len = most.min(buffered.len());
                        buf[..len].copy_from_slice(&buffered[..len]);
                        self.used += len;
                        self.body.advance(len);
                        return Ok(Some(len));
                    }
                    let Some(stream) = &mut self.stream else { return Err(NetworkError::Idle) };
                    match stream.read(&mut buf[..most]) {
                        Ok(0) if most > 0 && self.body.may_close() => {
                            self.body = Body::new(Framing::Length(0))
                        }
                        Ok(0) if most > 0 => return Err(self.lost(io::ErrorKind::UnexpectedEof.into())),
                        // TLS was not ended properly. An artifact says itself whether it is complete (R-35).
                        Err(error)
                            if error.kind() == io::ErrorKind::UnexpectedEof
                                && self.body.may_close()
                                && self.outgoing.is_download =>
                        {
                            self.body = Body::new(Framing::Length(0));
                        }
                        Ok(len) => {
                            self.body.advance(len);
                            return Ok(Some(len));
                        }
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                        Err(error) => return Err(self.lost(error)),
                    }
                }
            }
        }
    }

    /// Reads at most `most` more bytes into `received`; `None` when none are there yet.
    fn receive(&mut self, most: usize) -> Result<Option<usize>, NetworkError> {
        let Some(stream) = &mut self.stream else { return Err(NetworkError::Idle) };
        let mut piece = [0; PIECE];
        let piece = &mut piece[..most.min(PIECE)];
        match stream.read(piece) {
            Ok(0) => Err(self.lost(io::ErrorKind::UnexpectedEof.into())),
            Ok(len) => {
                self.received.extend_from_slice(&piece[..len]);
                Ok(Some(len))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(self.lost(error)),
        }
    }

    #[cfg(test)]
    pub(super) const fn received(&self) -> usize {
        self.received.len()
    }

    fn rest(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.rest();
        }
    }

    fn lost(&self, error: io::Error) -> NetworkError {
        let (peer, activity) = (self.peer().to_string(), self.activity());
        match fault_of(&error) {
            Some(fault) => NetworkError::Tls(peer, fault),
            None if error.kind() == io::ErrorKind::UnexpectedEof => NetworkError::Closed(peer, activity),
            None => NetworkError::Lost(peer, activity, error),
        }
    }

    /// The peer at the other end of the current connection.
    fn peer(&self) -> &Endpoint {
        match (&self.part, &self.proxy) {
            (Part::Handshake | Part::Send | Part::Head | Part::Body, _) | (_, None) => &self.server,
            (
                Part::Lookup(_)
                | Part::Connect(_)
                | Part::ProxyHandshake
                | Part::TunnelSend
                | Part::TunnelHead,
                Some(proxy),
            ) => &proxy.endpoint,
        }
    }

    pub(super) const fn activity(&self) -> Activity {
        match self.part {
            Part::Lookup(_) => Activity::Lookup,
            Part::Connect(_) => Activity::Connect,
            Part::ProxyHandshake | Part::Handshake => Activity::Handshake,
            Part::TunnelSend | Part::TunnelHead => Activity::Proxy,
            Part::Send => Activity::Send,
            Part::Head => Activity::Head,
            Part::Body => Activity::Body,
        }
    }
}

fn connecting(limits: &Limits, mut left: Vec<SocketAddr>) -> Part {
    let count = u64::try_from(left.len()).unwrap_or(u64::MAX).max(1);
    left.reverse();
    Part::Connect(Connecting { left, share: Duration::from_millis(limits.connect.as_millis() / count) })
}

const fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}
