//! One request and its answer as data: what is to be sent, where received bytes go and what they mean, and until when.
//! Nothing here sends, receives or looks at a clock; [`crate::network::Http`] does, and so may any other loop.
//!
//! ```text
//!           opened           head and body are out           the answer's head
//!   Open ------------> Send -----------------------> Head ---------------------> Body
//!    ^                   |                             |      (or while sending)
//!    +-------------------+---- redirect of a download -+
//! ```
//!
//! The lent memory:
//!
//! ```text
//!   | URL | head of the request                     |      while it is sent
//!   | URL | head of the answer, and what came with it |    from then on; in the end only what is between chunks
//! ```

use core::fmt;

use super::body::{Body, Framing, Next};
use super::fault::{Activity, Fault, HeadFault, RedirectFault, RequestFault, UrlFault};
use super::head::{Parsed, ResponseHead, parse};
use super::url::Url;
use super::write::{self, Relay};
use super::{Head, Method, Request, Target};
use crate::limits;
use crate::text::{Text, TextExt};
use crate::time::{Duration, Instant};

/// How long, and how much, at most (SERVER-70 to SERVER-73).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Time to open a connection, with everything that belongs to it. Whoever opens it has shorter limits for its steps.
    pub open: Duration,
    /// Time between two bytes that the peer takes of a request.
    pub write: Duration,
    /// Time from the end of the request to the end of the response's head, however slowly its bytes come (N27).
    pub head: Duration,
    /// Time between two bytes of a body.
    pub body_idle: Duration,
    /// Longest head of a response in bytes, the heads of interim responses included. It is shorter where less memory is
    /// lent.
    pub head_bytes: usize,
    /// Most redirects of one download.
    pub redirects: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            open: Duration::from_secs(300),
            write: Duration::from_secs(60),
            head: Duration::from_secs(60),
            body_idle: Duration::from_secs(300),
            head_bytes: 16 * 1024,
            redirects: 3,
        }
    }
}

/// How far the request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// There is none.
    Idle,
    /// A connection to the host of [`Exchange::url`] is to be opened; then [`Exchange::opened`].
    Open,
    /// [`Exchange::to_send`] and the request's body are to be sent; then [`Exchange::all_sent`].
    Send,
    /// The head of the answer is to be received.
    Head,
    /// The head is here, and the body is to be read.
    Body,
}

/// What came of received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// The head is not complete.
    Part,
    /// The head is complete: [`Exchange::answer`].
    Head,
    /// The answer leads elsewhere. The connection is to be closed, and [`Exchange::follow`] is next.
    Redirect,
}

/// What is to be done to read the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// So many bytes of it are in the caller's buffer.
    Taken(usize),
    /// Receive at most so many bytes into the caller's buffer; then [`Exchange::took`].
    Data(usize),
    /// Receive into [`Exchange::room`] what is between chunks; then [`Exchange::filled`].
    Marks,
    /// The body is complete.
    End,
}

/// A request that is under way, and its answer. `memory` holds its URL and the heads: 32 KiB are enough for the longest
/// that the limits allow; with less, what does not fit is an error that names the limit.
pub struct Exchange<M> {
    memory: M,
    limits: Limits,
    stage: Stage,
    /// When the time of this stage is over. In the body it is set only while bytes are waited for, so that the caller may
    /// take any time before it reads on.
    deadline: Option<Instant>,
    /// Length of the URL, in the front of the memory.
    url: usize,
    /// Length of the request's head behind it, and how much of that is sent.
    head: usize,
    sent: usize,
    /// Bytes of the request's body that are still to be sent.
    body_left: usize,
    /// Received bytes behind the URL; the first `used` of them were used already.
    received: usize,
    used: usize,
    /// Total length of the heads of interim responses that came before.
    interim: usize,
    redirects: u8,
    is_download: bool,
    is_relayed: bool,
    offset: u64,
    /// The one to send with a range; later that of the answer.
    etag: Text<{ limits::ETAG }>,
    body: Body,
    answer: Option<Head>,
}

impl<M: AsRef<[u8]> + AsMut<[u8]>> Exchange<M> {
    /// Without a request.
    pub const fn new(memory: M, limits: Limits) -> Self {
        Self {
            memory,
            limits,
            stage: Stage::Idle,
            deadline: None,
            url: 0,
            head: 0,
            sent: 0,
            body_left: 0,
            received: 0,
            used: 0,
            interim: 0,
            redirects: 0,
            is_download: false,
            is_relayed: false,
            offset: 0,
            etag: Text::new(),
            body: Body::new(Framing::Length(0)),
            answer: None,
        }
    }

    /// Begins a request to `url`, through a `relay` if there is one; what was under way before is over. What cannot be sent
    /// is known now.
    pub fn start(
        &mut self,
        now: Instant,
        request: &Request<'_>,
        url: &Url<'_>,
        relay: Option<Relay<'_>>,
    ) -> Result<(), Fault> {
        self.end();
        self.etag = Text::new();
        let memory = self.memory.as_mut();
        let text = url.as_str().as_bytes();
        let lent = memory.len();
        let (front, area) =
            memory.split_at_mut_checked(text.len()).ok_or(Fault::Url(UrlFault::TooLong(lent)))?;
        front.copy_from_slice(text);
        self.url = text.len();
        self.head = match write::request(request, url, relay, &mut *area) {
            Ok(length) => length,
            Err(fault) => {
                // It may have come as far as the token.
                area.fill(0);
                return Err(Fault::Request(fault));
            }
        };
        if let Some(etag) = request.etag.filter(|_| request.offset > 0) {
            self.etag.push_str(etag).map_err(|_| Fault::Request(RequestFault::Header("ETag")))?;
        }
        self.offset = request.offset;
        self.body_left = request.body.unwrap_or_default();
        self.is_download = write::is_download(request);
        self.is_relayed = relay.is_some();
        self.redirects = 0;
        self.stage = Stage::Open;
        self.deadline = Some(now + self.limits.open);
        Ok(())
    }

    /// Ends what is under way. The URL stays, for those who say what went wrong where.
    pub fn end(&mut self) {
        self.forget_head();
        self.stage = Stage::Idle;
        self.deadline = None;
        (self.received, self.used, self.interim) = (0, 0, 0);
        self.body_left = 0;
        self.answer = None;
    }

    /// How far the request is.
    #[must_use]
    pub const fn stage(&self) -> Stage {
        self.stage
    }

    /// As [`Self::stage`], for people.
    #[must_use]
    pub const fn activity(&self) -> Activity {
        match self.stage {
            Stage::Idle | Stage::Open => Activity::Open,
            Stage::Send => Activity::Send,
            Stage::Head => Activity::Head,
            Stage::Body => Activity::Body,
        }
    }

    /// Where the request goes now, or went last.
    pub fn url(&self) -> Result<Url<'_>, Fault> {
        let text = self.memory.as_ref().get(..self.url).unwrap_or_default();
        Url::parse(str::from_utf8(text).unwrap_or_default()).map_err(Fault::Url)
    }

    /// Until when something has to happen; then [`Self::overdue`] is an error.
    #[must_use]
    pub const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// An error when the time of this stage is over. To be asked when nothing else can be done.
    pub fn overdue(&self, now: Instant) -> Result<(), Fault> {
        match self.deadline {
            Some(deadline) if now >= deadline => Err(Fault::TimedOut(self.activity())),
            Some(_) | None => Ok(()),
        }
    }

    /// The connection is there.
    pub fn opened(&mut self, now: Instant) {
        self.stage = Stage::Send;
        self.deadline = Some(now + self.limits.write);
    }

    /// What is still to be sent of the request's head. The body follows: the caller has it.
    #[must_use]
    pub fn to_send(&self) -> &[u8] {
        let area = self.memory.as_ref().get(self.url..).unwrap_or_default();
        area.get(self.sent..self.head).unwrap_or_default()
    }

    /// Bytes of the request's body that are still to be sent.
    #[must_use]
    pub const fn body_left(&self) -> usize {
        self.body_left
    }

    /// So many bytes of [`Self::to_send`] were sent.
    pub fn head_sent(&mut self, now: Instant, bytes: usize) {
        self.sent = self.sent.saturating_add(bytes);
        self.deadline = Some(now + self.limits.write);
        if self.sent >= self.head {
            self.forget_head();
        }
    }

    /// So many bytes of the body were sent.
    pub fn body_sent(&mut self, now: Instant, bytes: usize) {
        self.body_left = self.body_left.saturating_sub(bytes);
        self.deadline = Some(now + self.limits.write);
    }

    /// Everything was sent, and left the stream's own buffers.
    pub fn all_sent(&mut self, now: Instant) {
        self.stage = Stage::Head;
        self.deadline = Some(now + self.limits.head);
    }

    /// The connection takes no more: what was not sent is given up. An answer may still be there.
    pub fn give_up_sending(&mut self) {
        self.forget_head();
        self.body_left = 0;
    }

    /// Where the next received bytes go: never empty. An error when the head is longer than it may be. To be asked for only
    /// when [`Self::to_send`] is empty, or after [`Self::give_up_sending`]: both heads have the same place.
    pub fn room(&mut self) -> Result<&mut [u8], Fault> {
        let area = self.memory.as_mut().get_mut(self.url..).unwrap_or_default();
        let longest = self.limits.head_bytes.min(area.len());
        let end = match self.stage {
            Stage::Idle | Stage::Open | Stage::Send | Stage::Head => longest.saturating_sub(self.interim),
            Stage::Body => area.len(),
        };
        match area.get_mut(self.received..end) {
            Some(room) if !room.is_empty() => Ok(room),
            Some(_) | None => Err(Fault::Head(HeadFault::TooLarge(longest))),
        }
    }

    /// So many bytes of the answer's head came into [`Self::room`]. `unix_now` as for [`parse`].
    pub fn came(&mut self, bytes: usize, unix_now: Option<u64>) -> Result<Came, Fault> {
        self.received = self.received.saturating_add(bytes);
        loop {
            let area = self.memory.as_mut().get_mut(self.url..).unwrap_or_default();
            let received = area.get(..self.received).unwrap_or_default();
            let (length, response) = match parse(received, unix_now).map_err(Fault::Head)? {
                Parsed::Partial => return Ok(Came::Part),
                Parsed::Interim(length) => {
                    to_front(area, length, self.received);
                    self.received = self.received.saturating_sub(length);
                    self.interim = self.interim.saturating_add(length);
                    continue;
                }
                Parsed::Complete(length, response) => (length, response),
            };
            let ResponseHead { head, framing, etag, location } = response;
            if head.status == 407 && self.is_relayed {
                return Err(Fault::ProxyUser);
            }
            if let Some(location) = location.filter(|_| self.is_download && is_redirect(head.status)) {
                let from = received.len().min(place_in(received, location));
                let length = location.len();
                self.redirect(from, length).map_err(Fault::Redirect)?;
                return Ok(Came::Redirect);
            }
            // At most as long as there is room for.
            self.etag = etag.and_then(|etag| Text::copy(etag).ok()).unwrap_or_default();
            self.body = Body::new(framing);
            self.answer = Some(head);
            self.used = length;
            self.stage = Stage::Body;
            self.deadline = None;
            self.give_up_sending();
            return Ok(Came::Head);
        }
    }

    /// The head of the answer, once it is here.
    #[must_use]
    pub const fn answer(&self) -> Option<Head> {
        self.answer
    }

    /// The strong entity tag of the answer, if it has one.
    #[must_use]
    pub fn etag(&self) -> Option<&str> {
        self.answer.and(Some(self.etag.as_str())).filter(|etag| !etag.is_empty())
    }

    /// Received bytes of a head that is not complete.
    #[must_use]
    pub const fn received(&self) -> usize {
        self.received
    }

    /// Begins to follow a redirect, through a `relay` if there is one on the way to the new URL.
    pub fn follow(&mut self, now: Instant, relay: Option<Relay<'_>>) -> Result<(), Fault> {
        let request = Request {
            method: Method::Get,
            target: Target::Url(""),
            authorization: None,
            signature: None,
            body: None,
            offset: self.offset,
            etag: Some(self.etag.as_str()).filter(|etag| !etag.is_empty()),
        };
        let (front, area) = self.memory.as_mut().split_at_mut_checked(self.url).unwrap_or_default();
        let url = Url::parse(str::from_utf8(front).unwrap_or_default()).map_err(Fault::Url)?;
        let head = write::request(&request, &url, relay, area).map_err(Fault::Request)?;
        (self.head, self.sent) = (head, 0);
        (self.received, self.used, self.interim) = (0, 0, 0);
        self.is_relayed = relay.is_some();
        self.stage = Stage::Open;
        self.deadline = Some(now + self.limits.open);
        Ok(())
    }

    /// What is to be done to put bytes of the body into `buf`.
    pub fn read(&mut self, buf: &mut [u8]) -> Result<Read, Fault> {
        loop {
            let area = self.memory.as_ref().get(self.url..).unwrap_or_default();
            let buffered = area.get(self.used..self.received).unwrap_or_default();
            match (self.body.next(), buffered) {
                (Next::End, _) => {
                    self.deadline = None;
                    return Ok(Read::End);
                }
                (Next::Mark, [mark, ..]) => {
                    self.body.mark(*mark).map_err(Fault::Body)?;
                    self.used = self.used.saturating_add(1);
                }
                (Next::Mark, []) => {
                    (self.received, self.used) = (0, 0);
                    return Ok(Read::Marks);
                }
                (Next::Data(most), buffered) => {
                    let most = usize::try_from(most).unwrap_or(usize::MAX).min(buf.len());
                    if buffered.is_empty() && most > 0 {
                        return Ok(Read::Data(most));
                    }
                    let length = most.min(buffered.len());
                    for (to, from) in buf.iter_mut().zip(buffered.iter().take(length)) {
                        *to = *from;
                    }
                    self.used = self.used.saturating_add(length);
                    self.took(length);
                    return Ok(Read::Taken(length));
                }
            }
        }
    }

    /// So many bytes came into the caller's buffer.
    pub fn took(&mut self, bytes: usize) {
        self.body.advance(bytes);
        self.deadline = None;
    }

    /// So many bytes came into [`Self::room`].
    pub fn filled(&mut self, bytes: usize) {
        self.received = self.received.saturating_add(bytes);
        self.deadline = None;
    }

    /// Nothing of the body is here yet: the time for the next byte runs.
    pub fn waits(&mut self, now: Instant) -> Result<(), Fault> {
        self.deadline.get_or_insert(now + self.limits.body_idle);
        self.overdue(now)
    }

    /// The connection ended in the body. An error unless the body ends with the connection: properly, or in a download,
    /// where the artifact itself says whether it is complete (R-35).
    pub fn closed(&mut self, is_clean: bool) -> Result<(), Fault> {
        if self.body.may_close() && (is_clean || self.is_download) {
            self.body = Body::new(Framing::Length(0));
            return Ok(());
        }
        Err(Fault::Closed(self.activity()))
    }

    /// Overwrites the head of the request, which may hold a token.
    fn forget_head(&mut self) {
        let area = self.memory.as_mut().get_mut(self.url..).unwrap_or_default();
        area.get_mut(..self.head).unwrap_or_default().fill(0);
        (self.head, self.sent) = (0, 0);
    }

    /// Puts the URL that a redirect leads to in the place of the old one. The location stands behind the URL at `from`; the
    /// old URL stays where this is an error.
    fn redirect(&mut self, from: usize, length: usize) -> Result<(), RedirectFault> {
        if self.redirects >= self.limits.redirects {
            return Err(RedirectFault::TooMany(self.redirects));
        }
        let memory = self.memory.as_mut();
        let (front, area) = memory.split_at_mut_checked(self.url).unwrap_or_default();
        if area.len() < from.saturating_add(length) {
            return Err(RedirectFault::Url(UrlFault::TooLong(area.len())));
        }
        to_front(area, from, from.saturating_add(length));
        let (location, scratch) = area.split_at_mut_checked(length).unwrap_or_default();
        let location = str::from_utf8(location).unwrap_or_default();
        let old = Url::parse(str::from_utf8(front).unwrap_or_default()).map_err(RedirectFault::Url)?;
        let joined = old.join(location).map_err(RedirectFault::Url)?;
        let kept = front.get(..joined.kept).unwrap_or_default();
        let pieces = [kept, joined.between.as_bytes(), joined.rest.as_bytes()];
        let (mut end, room) = (0_usize, scratch.len());
        for piece in pieces {
            let start = end;
            end = end.saturating_add(piece.len());
            let place = scratch.get_mut(start..end).ok_or(RedirectFault::Url(UrlFault::TooLong(room)))?;
            place.copy_from_slice(piece);
        }
        let text = scratch.get(..end).unwrap_or_default();
        let new = Url::parse(str::from_utf8(text).unwrap_or_default()).map_err(RedirectFault::Url)?;
        if old.is_https && !new.is_https {
            return Err(RedirectFault::Downgrade);
        }
        let start = self.url.saturating_add(length);
        to_front(memory, start, start.saturating_add(end));
        self.url = end;
        self.redirects = self.redirects.saturating_add(1);
        Ok(())
    }
}

impl<M> fmt::Debug for Exchange<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("stage", &self.stage).finish_non_exhaustive()
    }
}

/// Copies these bytes to the front. `copy_within` needs `memmove`, which is one and a half kilobytes.
fn to_front(area: &mut [u8], from: usize, to: usize) {
    let length = to.saturating_sub(from);
    let mut moved: usize = 0;
    while from > 0 && moved < length {
        let (front, rest) = area.split_at_mut_checked(from.saturating_add(moved)).unwrap_or_default();
        let piece = from.min(length.saturating_sub(moved)).min(rest.len());
        let end = moved.saturating_add(piece);
        let (Some(place), Some(bytes)) = (front.get_mut(moved..end), rest.get(..piece)) else { return };
        if bytes.is_empty() {
            return;
        }
        place.copy_from_slice(bytes);
        moved = end;
    }
}

/// Where a part of a text begins in it.
fn place_in(whole: &[u8], part: &str) -> usize {
    part.as_ptr().addr().saturating_sub(whole.as_ptr().addr())
}

const fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}
