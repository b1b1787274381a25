//! What comes from the network or a file: requests for the artifact, their answers, and what broke.

use crate::artifact::{self, Foreign};
use crate::client::Client;
use crate::client::messages::{DownloadText, say};
use crate::client::reason::{Noted, note};
use crate::flow::{self, Step, Task};
use crate::hal::{Cause, Kind, Level, Network, Platform};
use crate::http::{Head, Method, Request};
use crate::limits;
use crate::message::Coded;
use crate::text::{Text, TextExt};
use crate::time::Instant;
use crate::transfer::{Action, Etag, Event, Failure};

impl<P: Platform> Client<'_, P> {
    #[inline(never)]
    pub(super) fn send_request(&mut self, now: Instant, offset: u64, again: bool) {
        if again {
            say(&mut self.hal.log, Level::Info, &DownloadText::GoesOn { at: offset });
        }
        let target = match self.download.source.target() {
            Ok(target) => target,
            Err(why) => {
                let reason = why.map_or(DownloadText::NoLink, |why| DownloadText::BadLink { why });
                let Noted { .. } = note(&mut self.story, &mut self.hal.log, &reason);
                return self.tell_transfer(now, Event::Failed);
            }
        };
        let etag = self.download.etag.as_str();
        let request = Request {
            method: Method::Get,
            target,
            authorization: None,
            signature: None,
            body: None,
            offset,
            etag: (offset > 0 && !etag.is_empty()).then_some(etag),
        };
        self.flight.downloads(offset);
        match self.hal.network.start(now, &request) {
            Ok(()) => self.tell_transfer(now, Event::Done),
            Err(error) => {
                self.broken(now, true, &DownloadText::NotOpened { error: Cause::of(&error) });
            }
        }
    }

    /// The head of an answer came.
    #[inline(never)]
    pub(super) fn head(&mut self, now: Instant, head: Head) {
        let etag = self.etag();
        let relation = match (etag.is_empty(), self.download.etag.is_empty()) {
            (true, true) => Etag::Same,
            (false, false) if etag == self.download.etag.as_str() => Etag::Same,
            (false, false) => Etag::Other,
            (true, false) | (false, true) => Etag::Unknown,
        };
        let is_whole = self.flow.transfer().received() == 0;
        let step = self.step(now, flow::Event::Transfer(Event::Head(head, relation)));
        if step.task == Task::ReceiveFirst {
            self.download.etag = Text::copy(self.etag()).unwrap_or_default();
        }
        let status = head.status;
        let reason =
            if is_whole { DownloadText::Refused { status } } else { DownloadText::RestRefused { status } };
        self.say_broken(&step, &reason);
        self.follow(now, step);
    }

    /// The entity tag of the answer; empty where it has none, or a longer one than is kept.
    fn etag(&self) -> &str {
        self.hal.network.etag().filter(|etag| etag.len() <= limits::ETAG).unwrap_or_default()
    }

    /// The source has ended: the artifact must be complete now. Where the answer did not say how long it is, the connection
    /// may have broken.
    #[inline(never)]
    pub(super) fn source_ended(&mut self, now: Instant) {
        self.hal.network.cancel();
        let transfer = self.flow.transfer();
        let at = transfer.received();
        let may_be_cut =
            self.download.source.link().is_some() && transfer.length().is_none_or(|length| at < length);
        let event = match self.parser.finish() {
            Ok(()) => Event::Complete,
            Err(error @ (artifact::Error::UnexpectedEof | artifact::Error::Foreign(Foreign::Empty)))
                if may_be_cut =>
            {
                return self.broken(now, true, &DownloadText::BrokeOff { at, error: &error });
            }
            Err(error) => {
                self.fail(&DownloadText::NotAcceptable { error: &error });
                Event::Failed
            }
        };
        self.tell_transfer(now, event);
    }

    /// Whether asking again may help, after an error of this kind. What came out of a pipe does not come again.
    pub(super) fn may_help(&self, kind: Kind) -> bool {
        let is_pipe = self.download.source.link().is_none() && self.flow.transfer().length().is_none();
        matches!(kind, Kind::Connection | Kind::TimedOut) && !is_pipe
    }

    /// The source broke.
    pub(super) fn broken(&mut self, now: Instant, again: bool, reason: &dyn Coded) {
        let step = self.step(now, flow::Event::Transfer(Event::Broken { again }));
        self.say_broken(&step, reason);
        self.follow(now, step);
    }

    /// Says what broke and what follows, if what the flow was told last is taken as a break.
    #[inline(never)]
    pub(in crate::client) fn say_broken(&mut self, step: &Step, reason: &dyn Coded) {
        let Task::Transfer(action) = step.task else { return };
        if let Action::Pause(wait) = action {
            self.story.summary.link_broke();
            say(&mut self.hal.log, Level::Warning, &DownloadText::NextAttempt { reason, wait });
        } else if let Action::GiveUp { why: Failure::NoAttempts, .. } = action {
            self.story.summary.link_broke();
            self.fail(&DownloadText::GivenUp { reason, why: Failure::NoAttempts });
        } else if let Action::GiveUp { why: Failure::Broken, .. } = action {
            self.fail(reason);
        }
    }
}
