use core::fmt;
use core::task::Poll;

use embedded_io::{Error as _, ErrorKind, ErrorType as StreamErrorType, Read as _, ReadReady as _};
use embedded_io::{Write as _, WriteReady as _};

use super::connect::Connect;
use super::error::Error;
use crate::hal::{self, Network};
use crate::http::exchange::{Came, Exchange, Limits, Read, Stage};
use crate::http::fault::{Activity, Fault, UrlFault};
use crate::http::url::{Authority, Url};
use crate::http::{Head, Request, Target};
use crate::time::{Instant, earliest};

/// Why a request over `C` failed.
type ErrorOf<C> = Error<<C as Connect>::Error, <<C as Connect>::Stream as StreamErrorType>::Error>;

/// HTTP/1.1 over the connections that `C` opens, one for each request (N4, N5). `M` is the memory that it needs: see
/// [`Exchange`].
///
/// No call waits, and nothing grows: bytes of a body go from the caller's buffer to the stream and back, and whatever a
/// server sends, a head is at most as long as [`Limits`] and the memory allow.
pub struct Http<C, M> {
    connect: C,
    exchange: Exchange<M>,
}

/// What sending came to.
enum Sent {
    /// So many bytes of the caller's were taken.
    Body(usize),
    /// The next stage has begun.
    On,
    /// Nothing before the platform wakes.
    Waits,
}

impl<C: Connect, M: AsRef<[u8]> + AsMut<[u8]>> Http<C, M> {
    /// Without a request.
    pub const fn new(connect: C, memory: M, limits: Limits) -> Self {
        Self { connect, exchange: Exchange::new(memory, limits) }
    }

    /// What opens the connections.
    pub const fn connector(&self) -> &C {
        &self.connect
    }

    /// As [`Self::connector`], to change it. The connection of a request that is under way must stay as it is.
    pub const fn connector_mut(&mut self) -> &mut C {
        &mut self.connect
    }

    /// The request that is under way.
    pub const fn exchange(&self) -> &Exchange<M> {
        &self.exchange
    }

    /// The server of the request that is under way, or was the last; `None` before the first.
    #[must_use]
    pub fn peer(&self) -> Option<Authority<'_>> {
        self.exchange.url().ok().map(|url| url.authority)
    }

    fn begin(&mut self, now: Instant, request: &Request<'_>) -> Result<(), ErrorOf<C>> {
        // Files are nothing for a network.
        let Target::Url(text) = request.target else { return Err(Fault::Url(UrlFault::Scheme).into()) };
        let url = Url::parse(text).map_err(Fault::Url)?;
        let relay = if url.is_https { None } else { self.connect.relay(&url.authority) };
        self.exchange.start(now, request, &url, relay)?;
        self.connect.open(now, &url.authority, url.is_https).map_err(Error::Open)
    }

    /// Opens the connection that a redirect leads to.
    fn follow(&mut self, now: Instant) -> Result<(), ErrorOf<C>> {
        self.connect.close();
        let url = self.exchange.url()?;
        let relay = if url.is_https { None } else { self.connect.relay(&url.authority) };
        self.exchange.follow(now, relay)?;
        let url = self.exchange.url()?;
        self.connect.open(now, &url.authority, url.is_https).map_err(Error::Open)
    }

    /// Goes on until bytes of `body` were taken, which is how many, or the head of the answer is here, which is 0.
    fn go_on(&mut self, now: Instant, body: &[u8]) -> Poll<Result<usize, ErrorOf<C>>> {
        loop {
            let has_moved = match self.exchange.stage() {
                Stage::Idle => return Poll::Ready(Err(Fault::Idle.into())),
                Stage::Open => match self.connect.poll(now) {
                    Poll::Pending => false,
                    Poll::Ready(opened) => {
                        opened.map_err(Error::Open)?;
                        self.exchange.opened(now);
                        true
                    }
                },
                Stage::Send => match self.send(now, body)? {
                    Sent::Body(taken) => return Poll::Ready(Ok(taken)),
                    Sent::On => true,
                    Sent::Waits => false,
                },
                Stage::Head => self.receive(now)?,
                Stage::Body => return Poll::Ready(Ok(0)),
            };
            if !has_moved {
                self.exchange.overdue(now)?;
                return Poll::Pending;
            }
        }
    }

    fn send(&mut self, now: Instant, body: &[u8]) -> Result<Sent, ErrorOf<C>> {
        let mut taken = 0_usize;
        loop {
            let Self { connect, exchange } = self;
            let Some(stream) = connect.stream() else { return Err(Fault::Closed(Activity::Send).into()) };
            match stream.write_ready() {
                Ok(true) => {}
                Ok(false) if taken > 0 => return Ok(Sent::Body(taken)),
                // A server may answer and stop reading before it has the whole body. Then its answer is used (N12).
                Ok(false) if exchange.to_send().is_empty() && self.receive(now)? => return Ok(Sent::On),
                Ok(false) => return Ok(Sent::Waits),
                Err(error) => return self.answered_early(now, error),
            }
            let head = exchange.to_send();
            let body = body.get(taken..).unwrap_or_default();
            let body = body.get(..exchange.body_left()).unwrap_or(body);
            let piece = if head.is_empty() { body } else { head };
            if piece.is_empty() {
                if taken > 0 {
                    return Ok(Sent::Body(taken));
                }
                if exchange.body_left() > 0 {
                    return Ok(Sent::Waits);
                }
                stream.flush().map_err(|error| Error::Lost(Activity::Send, error))?;
                exchange.all_sent(now);
                return Ok(Sent::On);
            }
            match stream.write(piece) {
                Ok(0) => return Err(Fault::Closed(Activity::Send).into()),
                Ok(sent) if head.is_empty() => {
                    taken = taken.saturating_add(sent);
                    exchange.body_sent(now, sent);
                }
                Ok(sent) => exchange.head_sent(now, sent),
                Err(error) => return self.answered_early(now, error),
            }
        }
    }

    /// The connection takes no more. Good if the answer is here already.
    fn answered_early(
        &mut self,
        now: Instant,
        error: <C::Stream as StreamErrorType>::Error,
    ) -> Result<Sent, ErrorOf<C>> {
        self.exchange.give_up_sending();
        match self.receive(now) {
            Ok(true) => Ok(Sent::On),
            Ok(false) | Err(_) => Err(Error::Lost(Activity::Send, error)),
        }
    }

    /// Receives the head of the answer. True: it is here, or leads elsewhere.
    fn receive(&mut self, now: Instant) -> Result<bool, ErrorOf<C>> {
        let unix_now = self.connect.unix_now();
        let Self { connect, exchange } = self;
        let activity = exchange.activity();
        let Some(stream) = connect.stream() else { return Err(Fault::Closed(activity).into()) };
        let lost = |error| Error::Lost(activity, error);
        loop {
            if !stream.read_ready().map_err(lost)? {
                return Ok(false);
            }
            match stream.read(exchange.room()?).map_err(lost)? {
                0 => return Err(Fault::Closed(activity).into()),
                received => match exchange.came(received, unix_now)? {
                    Came::Part => {}
                    Came::Head => return Ok(true),
                    Came::Redirect => return self.follow(now).map(|()| true),
                },
            }
        }
    }

    fn read(&mut self, now: Instant, buf: &mut [u8]) -> Poll<Result<usize, ErrorOf<C>>> {
        let Self { connect, exchange } = self;
        if exchange.stage() != Stage::Body {
            return Poll::Ready(Err(Fault::Idle.into()));
        }
        loop {
            let wanted = exchange.read(buf)?;
            let room = match wanted {
                Read::Taken(length) => return Poll::Ready(Ok(length)),
                Read::End => {
                    connect.close();
                    return Poll::Ready(Ok(0));
                }
                Read::Data(most) => buf.get_mut(..most).unwrap_or_default(),
                Read::Marks => exchange.room()?,
            };
            let Some(stream) = connect.stream() else { return Poll::Ready(Err(Fault::Idle.into())) };
            let read = match stream.read_ready() {
                Ok(true) => stream.read(room),
                Ok(false) => {
                    exchange.waits(now)?;
                    return Poll::Pending;
                }
                Err(error) => Err(error),
            };
            match (read, wanted) {
                (Ok(0), _) => exchange.closed(true)?,
                (Ok(read), Read::Data(_)) => {
                    exchange.took(read);
                    return Poll::Ready(Ok(read));
                }
                (Ok(read), Read::Marks | Read::Taken(_) | Read::End) => exchange.filled(read),
                (Err(error), _) => {
                    let is_cut = error.kind() == ErrorKind::ConnectionAborted;
                    if !is_cut || exchange.closed(false).is_err() {
                        return Poll::Ready(Err(Error::Lost(Activity::Body, error)));
                    }
                }
            }
        }
    }

    /// Ends the request when it has failed: nothing more can come of it.
    fn end_on_error<T>(&mut self, poll: Poll<Result<T, ErrorOf<C>>>) -> Poll<Result<T, ErrorOf<C>>> {
        if matches!(poll, Poll::Ready(Err(_))) {
            self.cancel();
        }
        poll
    }
}

impl<C: Connect, M> hal::ErrorType for Http<C, M> {
    type Error = ErrorOf<C>;
}

impl<C: Connect, M: AsRef<[u8]> + AsMut<[u8]>> Network for Http<C, M> {
    fn start(&mut self, now: Instant, request: &Request<'_>) -> Result<(), ErrorOf<C>> {
        self.cancel();
        self.begin(now, request).inspect_err(|_| self.cancel())
    }

    fn poll_send(&mut self, now: Instant, rest: &[u8]) -> Poll<Result<usize, ErrorOf<C>>> {
        let poll = self.go_on(now, rest);
        self.end_on_error(poll)
    }

    fn poll_head(&mut self, now: Instant) -> Poll<Result<Head, ErrorOf<C>>> {
        let poll = self
            .go_on(now, &[])
            .map(|moved| moved.and_then(|_| self.exchange.answer().ok_or_else(|| Fault::Idle.into())));
        self.end_on_error(poll)
    }

    fn poll_read(&mut self, now: Instant, buf: &mut [u8]) -> Poll<Result<usize, ErrorOf<C>>> {
        let poll = self.read(now, buf);
        self.end_on_error(poll)
    }

    fn etag(&self) -> Option<&str> {
        self.exchange.etag()
    }

    fn cancel(&mut self) {
        self.connect.close();
        self.exchange.end();
    }

    fn deadline(&self) -> Option<Instant> {
        earliest(self.exchange.deadline(), self.connect.deadline())
    }
}

impl<C: fmt::Debug, M> fmt::Debug for Http<C, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("connect", &self.connect).field("exchange", &self.exchange).finish()
    }
}
