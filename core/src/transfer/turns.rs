//! What each event leads to. Which one has a meaning in which state is said by the table in [`Transfer::step`].

use super::attempts::{Attempts, NextLink};
use super::payload::Payload;
use super::source::{Answer, Source};
use super::{
    Accepted, Action, Begin, End, Etag, Failure, Found, Half, Link, Place, Span, State, Stream, Then,
    Transfer,
};
use crate::http::{Head, RetryAfter};
use crate::time::Instant;

impl Transfer {
    pub(super) fn begin(&mut self, begin: Begin) -> Action {
        let Begin { downloader, attempts, earlier } = begin;
        *self = Self {
            attempts: Attempts::new(downloader, attempts, earlier),
            half: Half::Header { again: earlier },
            ..Self::new()
        };
        self.request(true)
    }

    pub(super) fn stream(&mut self, rest: Span, kept: bool, stream: Stream) -> Action {
        self.half = Half::Payload(Payload::new(stream, kept));
        self.parse(rest)
    }

    pub(super) fn request(&mut self, first: bool) -> Action {
        self.to(State::Asking { first }, Action::Request { offset: self.source.offset, again: !first })
    }

    /// The head of an answer came.
    pub(super) fn answered(&mut self, now: Instant, head: &Head, etag: Etag) -> Action {
        let old = self.attempts.link_may_be_old(self.source.offset);
        match self.source.judge(head, etag, old, self.attempts.repeats(true)) {
            Answer::Whole(length) => {
                self.source.length = length;
                if let Half::Header { again } = &mut self.half {
                    *again &= etag == Etag::Same;
                }
                self.receive(0)
            }
            Answer::Rest { surplus, length } => {
                self.source.length = length;
                self.receive(surplus)
            }
            Answer::Later(retry_after) => self.pause(now, Then::Request, retry_after),
            Answer::Expired => match self.attempts.next_link(self.source.offset) {
                NextLink::Ask => self.ask_for_link(),
                NextLink::NothingCame => self.give_up(Failure::LinkRefused),
                NextLink::NoAttempts => self.give_up(Failure::LinkExpired),
            },
            Answer::Never(why) => self.give_up(why),
        }
    }

    fn receive(&mut self, surplus: u64) -> Action {
        self.to(State::Body { surplus }, Action::Receive)
    }

    /// Bytes came, of which the surplus is here already.
    pub(super) fn came(&mut self, surplus: u64, bytes: usize) -> Action {
        let here = usize::try_from(surplus).unwrap_or(usize::MAX).min(bytes);
        let new = Span { from: here, to: bytes };
        self.source.came(new.length());
        if new.is_empty() { self.receive(surplus.saturating_sub(here as u64)) } else { self.parse(new) }
    }

    /// The source has ended, and the artifact with it.
    pub(super) fn complete(&mut self) -> Action {
        match self.half {
            Half::Header { .. } => self.give_up(Failure::PayloadMissing),
            Half::Empty => self.end(End::NoPayload),
            Half::Payload(_) => self.to(State::Finish, Action::Finish),
        }
    }

    pub(super) fn broken(&mut self, now: Instant, again: bool) -> Action {
        if again { self.pause(now, Then::Request, None) } else { self.give_up(Failure::Broken) }
    }

    /// Uses up an attempt.
    pub(super) fn pause(&mut self, now: Instant, then: Then, retry_after: Option<RetryAfter>) -> Action {
        match self.attempts.next(self.source.offset, retry_after) {
            Some(wait) => self.to(State::Pause { until: now + wait, then }, Action::Pause(wait)),
            None => self.give_up(Failure::NoAttempts),
        }
    }

    pub(super) fn pause_ends(&mut self, then: Then) -> Action {
        match then {
            Then::Request => self.request(false),
            Then::AskForLink => self.ask_for_link(),
        }
    }

    fn ask_for_link(&mut self) -> Action {
        self.to(State::AskingForLink, Action::AskForLink)
    }

    pub(super) fn link_answered(&mut self, now: Instant, link: Link) -> Action {
        match link {
            Link::Fresh => {
                self.attempts.link_is_fresh();
                self.request(false)
            }
            Link::NotNow(retry_after) => self.pause(now, Then::AskForLink, retry_after),
            Link::NotOffered => self.give_up(Failure::NotOffered),
        }
    }

    /// Parses what is left of the network's bytes, or receives more.
    pub(super) fn parse(&mut self, bytes: Span) -> Action {
        if bytes.is_empty() {
            return self.receive(0);
        }
        let to = match &self.half {
            Half::Header { .. } | Half::Empty => bytes.to,
            Half::Payload(payload) => {
                bytes.from.saturating_add(payload.up_to_mark(bytes.to.saturating_sub(bytes.from)))
            }
        };
        self.to(State::Parse(bytes), Action::Parse { from: bytes.from, to })
    }

    /// Bytes of the network were parsed.
    pub(super) fn parsed(&mut self, bytes: Span, taken: usize, found: Found) -> Action {
        let rest = bytes.behind(taken);
        match (found, &mut self.half) {
            (Found::Nothing, Half::Header { .. } | Half::Empty | Half::Payload(_)) => self.parse(rest),
            (Found::Header, &mut Half::Header { again }) => {
                self.to(State::Accept(rest), Action::Accept { again })
            }
            (Found::File { size, plain }, Half::Payload(payload)) => {
                payload.file_begins(size, plain);
                self.to(State::BeginFile(rest), Action::BeginFile(size))
            }
            (Found::Bytes { length, place }, Half::Payload(payload)) => {
                payload.came(length as u64);
                self.write(rest, place, rest.bytes(place, length))
            }
            (Found::FileEnd, Half::Payload(payload)) => {
                payload.file_ends();
                self.to(State::EndFile(rest), Action::EndFile)
            }
            (Found::Header, Half::Empty | Half::Payload(_))
            | (
                Found::File { .. } | Found::Bytes { .. } | Found::FileEnd,
                Half::Header { .. } | Half::Empty,
            ) => self.give_up(Failure::OutOfOrder),
        }
    }

    pub(super) fn accepted(&mut self, rest: Span, accepted: Accepted) -> Action {
        match accepted {
            Accepted::NoPayload => {
                self.half = Half::Empty;
                self.parse(rest)
            }
            Accepted::Payload { kept } => self.to(State::Between { rest, kept }, Action::End(End::Accepted)),
        }
    }

    fn write(&mut self, rest: Span, place: Place, bytes: Span) -> Action {
        let Span { from, to } = bytes;
        self.to(State::Write { rest, place, bytes }, Action::Write { place, from, to })
    }

    /// The sink took bytes; `left` are still to go.
    pub(super) fn took(&mut self, rest: Span, place: Place, left: Span) -> Action {
        if !left.is_empty() {
            return self.write(rest, place, left);
        }
        match &self.half {
            Half::Payload(payload) if payload.mark_is_due() => self.to(State::Mark(rest), Action::Mark),
            Half::Payload(_) | Half::Header { .. } | Half::Empty => self.parse(rest),
        }
    }

    pub(super) fn give_up(&mut self, why: Failure) -> Action {
        let module = match self.half {
            Half::Payload(_) => true,
            Half::Header { .. } | Half::Empty => false,
        };
        self.forget_all();
        self.to(State::GivingUp { module }, Action::GiveUp { why, module })
    }

    pub(super) fn end(&mut self, end: End) -> Action {
        self.forget_all();
        self.to(State::Rest, Action::End(end))
    }

    /// Nothing of the transfer matters any more, but for those who ask how much was received.
    fn forget_all(&mut self) {
        let source = Source { behind_stored: false, ..self.source };
        *self = Self { source, ..Self::new() };
    }

    pub(super) const fn to(&mut self, state: State, action: Action) -> Action {
        self.state = state;
        action
    }
}
