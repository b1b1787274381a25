//! Where the artifact comes from: the request, its answers, what broke and is asked for again (`spec/server-api.md` 6).

use core::task::Poll;

use super::{Pending, Stage, refused};
use crate::client::records::Refused;
use crate::client::{Client, Source};
use crate::hal::{Error as _, Kind, Level, Log, Network, Platform};
use crate::http::{Head, Method, Request, RetryAfter, Target};
use crate::machine::Run;
use crate::state::Outcome;
use crate::text::Text;
use crate::time::{Duration, Instant};

impl<P: Platform> Client<'_, P> {
    pub(super) fn request_artifact(&mut self, now: Instant) -> Result<(), Refused> {
        let location = self.location.as_str();
        let target = match self.source {
            Source::File => Target::File(location),
            Source::Url => Target::Url(location),
            Source::Unknown => {
                return Err(refused!(
                    "the server's link to the artifact cannot be used: {}",
                    self.requests.offered.bad_link
                ));
            }
        };
        let etag = self.transfer.etag.as_str();
        let request = Request {
            method: Method::Get,
            target,
            token: None,
            signature: None,
            body: None,
            offset: self.transfer.offset,
            etag: (!etag.is_empty()).then_some(etag),
        };
        self.transfer.stage = Stage::Head;
        self.hal
            .network
            .start(now, &request)
            .map_err(|error| refused!("the artifact cannot be opened: {error}"))
    }

    /// Gets more of the artifact.
    pub(super) fn receive(&mut self, now: Instant) -> Result<Poll<Option<Outcome>>, Refused> {
        match self.transfer.stage {
            Stage::None => Err(refused!("no transfer is under way")),
            Stage::Complete => Ok(Poll::Ready(None)),
            Stage::Resume(at) if now < at => Ok(Poll::Pending),
            Stage::Resume(_) if self.transfer.link_expired => self.fresh_link(now),
            Stage::Resume(_) => self.ask_again(now),
            Stage::Link => match self.poll_link(now) {
                Poll::Pending => Ok(Poll::Pending),
                Poll::Ready(None) => Ok(Poll::Ready(None)),
                Poll::Ready(Some(outcome)) => self.link_answered(now, outcome),
            },
            Stage::Head => match self.hal.network.poll_head(now) {
                Poll::Pending => Ok(Poll::Pending),
                Poll::Ready(Ok(head)) => self.head(now, head),
                Poll::Ready(Err(error)) => {
                    let reason = refused!("the artifact cannot be had: {error}");
                    // A first request of the command line is never repeated.
                    let first = self.transfer.offset == 0 && self.transfer.length.is_none();
                    let again = matches!(error.kind(), Kind::Connection | Kind::TimedOut)
                        && !(first && self.machine.run() != Run::Daemon);
                    if again { self.broken(now, reason, None) } else { Err(reason) }
                }
            },
            Stage::Body => match self.hal.network.poll_read(now, self.chunk) {
                Poll::Pending => Ok(Poll::Pending),
                Poll::Ready(Ok(0)) => self.source_ended(),
                Poll::Ready(Ok(read)) => {
                    self.summary.received(read);
                    let here = usize::try_from(self.transfer.surplus).unwrap_or(usize::MAX).min(read);
                    self.transfer.surplus = self.transfer.surplus.saturating_sub(here as u64);
                    self.transfer.chunk = (here, read);
                    let new = read.saturating_sub(here) as u64;
                    self.transfer.offset = self.transfer.offset.saturating_add(new);
                    self.transfer.behind_stored &= new == 0;
                    Ok(Poll::Ready(None))
                }
                Poll::Ready(Err(error)) => {
                    let reason = refused!("the download broke off at byte {}: {error}", self.transfer.offset);
                    let again = matches!(error.kind(), Kind::Connection | Kind::TimedOut);
                    if again && self.transfer.length.is_some() {
                        self.broken(now, reason, None)
                    } else {
                        Err(reason)
                    }
                }
            },
        }
    }

    /// Asks for the artifact from the first byte that is not here.
    pub(super) fn ask_again(&mut self, now: Instant) -> Result<Poll<Option<Outcome>>, Refused> {
        let offset = self.transfer.offset;
        self.hal.log.log(Level::Info, format_args!("going on with the download at byte {offset}"));
        match self.request_artifact(now) {
            Ok(()) => Ok(Poll::Ready(None)),
            Err(reason) => self.broken(now, reason, None),
        }
    }

    /// The server answered 403 to an old link. A fresh one uses up an attempt, as a broken connection does, and must
    /// bring something before the next.
    fn link_refused(&mut self, now: Instant) -> Result<Poll<Option<Outcome>>, Refused> {
        let offset = self.transfer.offset;
        let brought_nothing = self.transfer.link_asked_at.replace(offset) == Some(offset);
        let attempt =
            self.transfer.resume.as_mut().and_then(|resume| resume.next(&self.config, offset, None));
        if brought_nothing || attempt.is_none() {
            return Err(refused!("the server answered 403 to a fresh link to the artifact"));
        }
        self.transfer.link_expired = true;
        self.hal
            .log
            .log(Level::Info, format_args!("the link to the artifact has expired: asking for another"));
        self.fresh_link(now)
    }

    fn fresh_link(&mut self, now: Instant) -> Result<Poll<Option<Outcome>>, Refused> {
        self.hal.network.cancel();
        self.transfer.stage = Stage::Link;
        match self.ask_for_link(now) {
            Ok(()) => Ok(Poll::Ready(None)),
            Err(reason) => self.broken(now, reason, None),
        }
    }

    fn link_answered(&mut self, now: Instant, outcome: Outcome) -> Result<Poll<Option<Outcome>>, Refused> {
        let no_link = || refused!("the link to the artifact has expired, and the server gave no other");
        match outcome {
            Outcome::Success | Outcome::Automatic => {
                self.transfer.link_expired = false;
                self.transfer.link_is_old = false;
                self.ask_again(now)
            }
            Outcome::Later(seconds) => {
                self.broken(now, no_link(), seconds.map(|seconds| RetryAfter { seconds }))
            }
            Outcome::Failure => self.broken(now, no_link(), None),
            Outcome::Nothing | Outcome::Aborted | Outcome::Refused => Err(refused!(
                "the link to the artifact has expired, and the deployment is not offered any more"
            )),
        }
    }

    /// The head of an answer came.
    fn head(&mut self, now: Instant, head: Head) -> Result<Poll<Option<Outcome>>, Refused> {
        let transfer = &mut self.transfer;
        transfer.surplus = 0;
        let is_old = transfer.link_is_old || transfer.offset > 0;
        if head.status == 403 && is_old && self.machine.run() == Run::Daemon {
            return self.link_refused(now);
        }
        if transfer.offset == 0 {
            if head.status != 200 {
                return Err(refused!("the server answered {} to the request for the artifact", head.status));
            }
            if transfer.length.is_some() && transfer.length != head.content_length {
                return Err(refused!("the artifact has changed on the server while it was downloaded"));
            }
            transfer.length = head.content_length;
            transfer.etag =
                self.hal.network.etag().and_then(|etag| Text::copy(etag).ok()).unwrap_or_default();
            let known = self.earlier.as_ref().map_or("", Text::as_str);
            self.offer_stored &= transfer.etag == *known;
        } else {
            match head.status {
                206 => {
                    let last = transfer.length.map(|length| length.saturating_sub(1));
                    let fits = head.content_range.is_some_and(|range| {
                        range.first == transfer.offset
                            && Some(range.last) == last
                            && (range.size.is_none() || range.size == transfer.length)
                    });
                    // A server that ignores If-Range still says by its ETag that the file is another one.
                    let etag = self.hal.network.etag().unwrap_or_default();
                    if !etag.is_empty() && !transfer.etag.is_empty() && etag != transfer.etag.as_str() {
                        return Err(refused!(
                            "the artifact has changed on the server while it was downloaded"
                        ));
                    }
                    if !fits {
                        return Err(refused!(
                            "the server's Content-Range does not go on at byte {}",
                            transfer.offset
                        ));
                    }
                }
                // The stored bytes are right all the same; the network is paid twice.
                200 if transfer.behind_stored
                    && head.content_length == transfer.length
                    && self.hal.network.etag().unwrap_or_default() == transfer.etag.as_str() =>
                {
                    transfer.surplus = transfer.offset;
                }
                200 => {
                    return Err(refused!(
                        "the artifact has changed on the server, or the server cannot resume"
                    ));
                }
                408 | 425 | 429 | 500..=599 => {
                    let reason = refused!("the server answered {} to the rest of the artifact", head.status);
                    return self.broken(now, reason, head.retry_after);
                }
                status => return Err(refused!("the server answered {status} to the rest of the artifact")),
            }
        }
        self.transfer.stage = Stage::Body;
        Ok(Poll::Ready(None))
    }

    /// The transfer broke: the next attempt, or the end.
    fn broken(
        &mut self,
        now: Instant,
        reason: Refused,
        retry_after: Option<RetryAfter>,
    ) -> Result<Poll<Option<Outcome>>, Refused> {
        self.hal.network.cancel();
        self.summary.link_broke();
        let offset = self.transfer.offset;
        let next =
            self.transfer.resume.as_mut().and_then(|resume| resume.next(&self.config, offset, retry_after));
        let Some(wait) = next else {
            return Err(refused!("{reason}; no attempts are left"));
        };
        self.hal.log.log(
            Level::Warning,
            format_args!("{reason}; next attempt in {} s", wait.max(Duration::ZERO).as_secs()),
        );
        self.transfer.stage = Stage::Resume(now + wait);
        Ok(Poll::Pending)
    }

    /// The source has ended: the artifact must be complete now.
    fn source_ended(&mut self) -> Result<Poll<Option<Outcome>>, Refused> {
        self.parser.finish().map_err(|error| refused!("the artifact is not acceptable: {error}"))?;
        self.hal.network.cancel();
        self.transfer.stage = Stage::Complete;
        if self.transfer.empty {
            return Ok(Poll::Ready(Some(Outcome::Nothing)));
        }
        if !self.transfer.streaming {
            return Err(refused!("the artifact ended before its payload"));
        }
        self.transfer.pending = Pending::Finish;
        Ok(Poll::Ready(None))
    }
}
