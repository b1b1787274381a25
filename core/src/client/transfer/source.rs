//! What comes from the network or a file: requests for the artifact, their answers, fresh links, and what broke.

use core::fmt;

use crate::client::reason::{Noted, note};
use crate::client::{Client, Source};
use crate::hal::{Kind, Level, Log, Network, Platform};
use crate::http::{Head, Method, Request, RetryAfter, Target};
use crate::limits;
use crate::state::Outcome;
use crate::text::Text;
use crate::time::Instant;
use crate::transfer::{Action, Etag, Event, Failure, Link};

impl<P: Platform> Client<'_, P> {
    pub(super) fn send_request(&mut self, now: Instant, offset: u64, again: bool) {
        if again {
            self.hal.log.log(Level::Info, format_args!("going on with the download at byte {offset}"));
        }
        let location = self.location.as_str();
        let target = match self.source {
            Source::File => Target::File(location),
            Source::Url => Target::Url(location),
            Source::Unknown => {
                let why = &self.requests.offered.bad_link;
                let reason = format_args!("the server's link to the artifact cannot be used: {why}");
                let Noted { .. } = note(&mut self.reason, &mut self.hal.log, reason);
                return self.tell_transfer(now, Event::Failed);
            }
        };
        let etag = self.transfer.etag.as_str();
        let request = Request {
            method: Method::Get,
            target,
            token: None,
            signature: None,
            body: None,
            offset,
            etag: (offset > 0 && !etag.is_empty()).then_some(etag),
        };
        match self.hal.network.start(now, &request) {
            Ok(()) => self.tell_transfer(now, Event::Done),
            Err(error) => {
                self.broken(now, true, format_args!("the artifact could not be opened: {error}"));
            }
        }
    }

    /// The head of an answer came.
    pub(super) fn head(&mut self, now: Instant, head: Head) {
        let is_whole = self.transfer.machine.received() == 0;
        let etag: Text<{ limits::ETAG }> =
            self.hal.network.etag().and_then(|etag| Text::copy(etag).ok()).unwrap_or_default();
        let relation = match (etag.is_empty(), self.transfer.etag.is_empty()) {
            (true, true) => Etag::Same,
            (false, false) if etag == self.transfer.etag => Etag::Same,
            (false, false) => Etag::Other,
            (true, false) | (false, true) => Etag::Unknown,
        };
        self.tell_transfer(now, Event::Head(head, relation));
        if is_whole && self.transfer.action == Action::Receive {
            self.offer_stored &= relation == Etag::Same;
            self.transfer.etag = etag;
        }
        let what = if is_whole { "the artifact" } else { "the rest of the artifact" };
        self.say_broken(format_args!("the server answered {} to the request for {what}", head.status));
    }

    /// The source has ended: the artifact must be complete now.
    pub(super) fn source_ended(&mut self, now: Instant) {
        self.hal.network.cancel();
        let event = match self.parser.finish() {
            Ok(()) => Event::Complete,
            Err(error) => {
                self.fail(format_args!("the artifact is not acceptable: {error}"));
                Event::Failed
            }
        };
        self.tell_transfer(now, event);
    }

    pub(super) fn send_link_request(&mut self, now: Instant) {
        self.hal.network.cancel();
        self.hal
            .log
            .log(Level::Info, format_args!("the link to the artifact has expired: asking for another"));
        self.ask_for_link(now);
        self.tell_transfer(now, Event::Done);
    }

    pub(super) fn link_answered(&mut self, now: Instant, outcome: Outcome) {
        let link = match outcome {
            Outcome::Success | Outcome::Automatic => Link::Fresh,
            Outcome::Later(seconds) => Link::NotNow(seconds.map(|seconds| RetryAfter { seconds })),
            Outcome::Failure => Link::NotNow(None),
            Outcome::Nothing | Outcome::Aborted | Outcome::Refused => Link::NotOffered,
        };
        self.tell_transfer(now, Event::Link(link));
        self.say_broken(format_args!("the link to the artifact has expired, and the server gave no other"));
    }

    /// The source broke.
    pub(super) fn broken(&mut self, now: Instant, again: bool, reason: fmt::Arguments<'_>) {
        self.tell_transfer(now, Event::Broken { again });
        self.say_broken(reason);
    }

    /// Says what broke, if the machine takes what it was told last as a break, and what follows.
    fn say_broken(&mut self, reason: fmt::Arguments<'_>) {
        if let Action::Pause(wait) = self.transfer.action {
            self.hal.network.cancel();
            self.summary.link_broke();
            let seconds = wait.as_secs();
            self.hal.log.log(Level::Warning, format_args!("{reason}; next attempt in {seconds} s"));
        } else if let Action::GiveUp { why: Failure::NoAttempts, .. } = self.transfer.action {
            self.summary.link_broke();
            self.fail(format_args!("{reason}; {}", Failure::NoAttempts));
        } else if let Action::GiveUp { why: Failure::Broken, .. } = self.transfer.action {
            self.fail(reason);
        }
    }
}

/// Whether asking again may help.
pub(super) const fn may_help(kind: Kind) -> bool {
    matches!(kind, Kind::Connection | Kind::TimedOut)
}
