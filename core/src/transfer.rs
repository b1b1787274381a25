//! The transfer machine: where the bytes of an artifact come from, from which byte on, when again, and what is kept.
//!
//! [`Transfer::step`] takes one [`Event`] and returns one [`Action`]; the driver does it and tells how it ended. The
//! machine sees lengths and places in buffers, never a byte, a link or a clock.
//!
//! A transfer has two halves with one stream of bytes: up to the verified header ([`Event::Begin`]), then the payload
//! ([`Event::Stream`]). Between them the module is asked whether it wants file sizes; nothing is read meanwhile.
//!
//! ```text
//!       Begin                                        complete
//!  Rest -----> Asking -----> Head -----> Body --------------------> Finish -----> Rest
//!              ^ ^ ^          |          |  ^
//!              | | |      403 |    bytes |  | all of them parsed
//!              | | |          v          v  |    header                    Stream
//!              | | |   AskingForLink    Parse ---------> Accept ---> Between -----> Parse
//!              | | |          |          |  ^
//!              | | |          v          v  |
//!              | | +-------- Link       BeginFile, Write, Mark, EndFile
//!              | |   fresh               |
//!              | |                       | BeginFile, when an earlier process stored a part of the file
//!              | |                       v
//!              | |                      ReadBack <---> ParseStored ---> Compare
//!              | |                       | cannot be read               |     |
//!              | |                       v                   damaged    |     | right
//!              | |                      Forget <------------------------+     |
//!              | |                       |                                    |
//!              | +-----------------------+------------------------------------+
//!              |
//!             Pause <--- Asking, Head, Body, AskingForLink, Link: the source broke, or is to be asked later.
//!                        It leads to AskingForLink while the link is known to have expired.
//!
//!  Every state: when something fails or the transfer is stopped, GivingUp, then ModuleEnds, then Rest.
//! ```
//!
//! A download that goes on after a restart begins like any other, so nothing that an earlier process verified is
//! trusted. Only where a file of the payload begins of which that process stored a part are its bytes read back, through
//! the same digests, in place of the network's:
//!
//! ```text
//! network |version manifest header|payload archive: file ...                                 |
//!                                                       ^ request ends       ^ Range, If-Range
//! sink                                                  |stored --> digest --|network --> ...
//! ```

mod attempts;
mod payload;
mod source;
#[cfg(test)]
mod tests;
mod words;

pub use attempts::Downloader;
pub use words::{Accepted, Action, Begin, End, Etag, Event, Failure, Found, Link, Place, Stream};

use crate::http::{Head, RetryAfter};
use crate::time::Instant;
use attempts::Attempts;
use payload::Payload;
use source::{Answer, Source};

/// The machine of one transfer after another. See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Transfer {
    state: State,
    source: Source,
    attempts: Attempts,
    half: Half,
}

/// What is waited for: each state but [`State::Rest`] and [`State::Between`] has one action outstanding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    /// No transfer.
    Rest,
    /// The request is being sent.
    Asking { first: bool },
    /// The head of the answer has not come.
    Head { first: bool },
    /// The source broke; it is asked again then.
    Pause { until: Instant, then: Then },
    /// The server is being asked for a fresh link.
    AskingForLink,
    /// Its answer has not come.
    Link,
    /// The body comes; of it, so many bytes are here already.
    Body { surplus: u64 },
    /// Bytes of the network are parsed.
    Parse(Span),
    /// The header is being accepted. This and the states below keep what is still to be parsed of the chunk.
    Accept(Span),
    /// The first half is over, the second has not begun.
    Between { rest: Span, kept: bool },
    /// A file begins at the sink.
    BeginFile(Span),
    /// The sink takes bytes of the file.
    Write { rest: Span, place: Place, bytes: Span },
    /// The file's bytes so far are made durable.
    Mark(Span),
    /// The file ends at the sink.
    EndFile(Span),
    /// The payload ends at the sink.
    Finish,
    /// What an earlier process stored of the file is read back.
    ReadBack(Stored),
    /// It is parsed.
    ParseStored(Span, Stored),
    /// It is compared with its digest.
    Compare(Stored),
    /// It is forgotten.
    Forget(Stored),
    /// The transfer failed.
    GivingUp { module: bool },
    /// The module of the failed transfer has not ended.
    ModuleEnds,
}

/// What a pause is followed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Then {
    Request,
    AskForLink,
}

/// Which half it is, and what it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Half {
    /// Up to the verified header. `again`: all answers had the `ETag` that an earlier process saw.
    Header { again: bool },
    /// The artifact has no payload. It is read to its end before it counts.
    Empty,
    /// The payload goes to the module.
    Payload(Payload),
}

/// A part of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Span {
    from: usize,
    to: usize,
}

/// What an earlier process stored of the file at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Stored {
    /// So many bytes.
    length: u64,
    /// Of them, so many were read back and parsed.
    done: u64,
    /// Where in the artifact the file begins.
    begins: u64,
}

impl Default for Transfer {
    fn default() -> Self {
        Self::new()
    }
}

impl Transfer {
    /// No transfer, until [`Event::Begin`].
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: State::Rest,
            source: Source { offset: 0, length: None, behind_stored: false },
            attempts: Attempts::new(Downloader::Daemon, 0, false),
            half: Half::Header { again: false },
        }
    }

    /// What happened leads to what is to be done next. An event that has no meaning at this point changes nothing.
    pub fn step(&mut self, now: Instant, event: Event) -> Action {
        let action = self.turn(now, event);
        let waits = self.waits_for_network();
        if let Half::Payload(payload) = &mut self.half {
            payload.wait_for_network(now, waits);
        }
        action
    }

    /// When [`Event::Tick`] is due: the end of a pause, or of the module's time.
    #[must_use]
    pub const fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Pause { until, .. } => Some(until),
            State::BeginFile(_) | State::Write { .. } | State::EndFile(_) | State::Finish => {
                self.module_time_ends()
            }
            State::Rest
            | State::Asking { .. }
            | State::Head { .. }
            | State::AskingForLink
            | State::Link
            | State::Body { .. }
            | State::Parse(_)
            | State::Accept(_)
            | State::Between { .. }
            | State::Mark(_)
            | State::ReadBack(_)
            | State::ParseStored(..)
            | State::Compare(_)
            | State::Forget(_)
            | State::GivingUp { .. }
            | State::ModuleEnds => None,
        }
    }

    /// Bytes of the artifact that were received so far, those of an earlier process included.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.source.offset
    }

    /// The artifact's length, where the source says it.
    #[must_use]
    pub const fn length(&self) -> Option<u64> {
        self.source.length
    }

    /// Moves every time that is kept by as much as `to` is from `from`, so that the machine at `to` is what it was at
    /// `from`. A time that had passed becomes `to`.
    pub fn rebase(&mut self, from: Instant, to: Instant) {
        if let State::Pause { until, .. } = &mut self.state {
            *until = to + until.since(from);
        }
        if let Half::Payload(payload) = &mut self.half {
            payload.rebase(from, to);
        }
    }

    /// Every state with every event that has a meaning in it.
    #[rustfmt::skip]
    fn turn(&mut self, now: Instant, event: Event) -> Action {
        use State::{
            Accept, Asking, AskingForLink, BeginFile, Between, Body, Compare, EndFile, Finish, Forget, GivingUp, Head,
            Link, Mark, ModuleEnds, Parse, ParseStored, Pause, ReadBack, Rest, Write,
        };
        match (self.state, event) {
            (Rest | Between { .. },          Event::Begin(begin))           => self.begin(begin),
            (Between { rest, kept },         Event::Stream(stream))         => self.stream(rest, kept, stream),

            (Asking { first },               Event::Done)                   => self.to(Head { first }, Action::AwaitHead),
            (Asking { first: true },         Event::Broken { .. })          => self.give_up(Failure::Broken),
            (Asking { first: false },        Event::Broken { .. })          => self.pause(now, Then::Request, None),
            (Head { .. },                    Event::Head(head, etag))       => self.answered(now, &head, etag),
            (Head { first },                 Event::Broken { again })       => self.broken(now, again && self.attempts.repeats(first)),
            (Body { surplus },               Event::Came(bytes))            => self.came(surplus, bytes),
            (Body { .. },                    Event::Complete)               => self.complete(),
            (Body { .. },                    Event::Broken { again })       => self.broken(now, again && self.source.length.is_some()),
            (Pause { until, then },          Event::Tick) if until <= now   => self.pause_ends(then),

            (AskingForLink,                  Event::Done)                   => self.to(Link, Action::AwaitLink),
            (AskingForLink,                  Event::Broken { .. })          => self.pause(now, Then::AskForLink, None),
            (Link,                           Event::Link(link))             => self.link_answered(now, link),

            (Parse(bytes),                   Event::Parsed { taken, found }) => self.parsed(bytes, taken, found),
            (Accept(rest),                   Event::Accepted(accepted))     => self.accepted(rest, accepted),
            (BeginFile(rest),                Event::FileBegan { stored })   => self.file_began(rest, stored),
            (Write { rest, place, bytes },   Event::Took(taken))            => self.took(rest, place, bytes.behind(taken)),
            (Mark(rest) | EndFile(rest),     Event::Done)                   => self.parse(rest),
            (Finish,                         Event::Done)                   => self.end(End::Stored),

            (ReadBack(stored),               Event::ReadBack(0))            => self.forget(stored),
            (ReadBack(stored),               Event::ReadBack(bytes))        => self.parse_stored(Span::first(bytes), stored),
            (ParseStored(bytes, stored),     Event::Parsed { taken, found }) => self.parsed_stored(bytes.behind(taken), stored, found),
            (Compare(stored),                Event::Compared { same: true }) => self.go_on_behind(stored),
            (Compare(stored),                Event::Compared { same: false }) => self.forget(stored),
            (Forget(stored),                 Event::Done)                   => self.forgotten(stored),

            (GivingUp { module: true },      Event::Done)                   => self.to(ModuleEnds, Action::AwaitModule),
            (GivingUp { module: false } | ModuleEnds, Event::Done)          => self.end(End::Failed),

            (BeginFile(_) | Write { .. } | EndFile(_) | Finish, Event::Tick)
                if self.module_time_ends().is_some_and(|end| end <= now)    => self.give_up(self.module_too_slow()),

            (Asking { .. } | Head { .. } | Pause { .. } | AskingForLink | Link | Body { .. } | Parse(_) | Accept(_)
            | Between { .. } | BeginFile(_) | Write { .. } | Mark(_) | EndFile(_) | Finish | ReadBack(_)
            | ParseStored(..) | Compare(_) | Forget(_),
                                             Event::Stop)                   => self.give_up(Failure::Stopped),
            (Asking { .. } | Head { .. } | Pause { .. } | AskingForLink | Link | Body { .. } | Parse(_) | Accept(_)
            | BeginFile(_) | Write { .. } | Mark(_) | EndFile(_) | Finish | ReadBack(_) | ParseStored(..) | Compare(_)
            | Forget(_),
                                             Event::Failed)                 => self.give_up(Failure::Told),

            // Everything else has no meaning, and changes nothing.
            (Rest | Asking { .. } | Head { .. } | Pause { .. } | AskingForLink | Link | Body { .. } | Parse(_)
            | Accept(_) | Between { .. } | BeginFile(_) | Write { .. } | Mark(_) | EndFile(_) | Finish | ReadBack(_)
            | ParseStored(..) | Compare(_) | Forget(_) | GivingUp { .. } | ModuleEnds,
             Event::Begin(_) | Event::Stream(_) | Event::Stop | Event::Tick | Event::Done | Event::Failed
            | Event::Broken { .. } | Event::Head(..) | Event::Came(_) | Event::Complete | Event::Link(_)
            | Event::Parsed { .. } | Event::Accepted(_) | Event::FileBegan { .. } | Event::Took(_)
            | Event::ReadBack(_) | Event::Compared { .. })                  => Action::Wait,
        }
    }
}

/// The turns.
impl Transfer {
    fn begin(&mut self, begin: Begin) -> Action {
        let Begin { downloader, attempts, earlier } = begin;
        *self = Self {
            attempts: Attempts::new(downloader, attempts, earlier),
            half: Half::Header { again: earlier },
            ..Self::new()
        };
        self.request(true)
    }

    fn stream(&mut self, rest: Span, kept: bool, stream: Stream) -> Action {
        // Without a length nothing can be asked for again, and so no mark is of use.
        let mark_every = if self.source.length.is_some() { stream.mark_every } else { 0 };
        self.half = Half::Payload(Payload::new(Stream { mark_every, ..stream }, kept));
        self.parse(rest)
    }

    fn request(&mut self, first: bool) -> Action {
        self.to(State::Asking { first }, Action::Request { offset: self.source.offset, again: !first })
    }

    /// The head of an answer came.
    fn answered(&mut self, now: Instant, head: &Head, etag: Etag) -> Action {
        let old = self.attempts.link_may_be_old(self.source.offset);
        match self.source.judge(head, etag, old) {
            Answer::Whole(length) => {
                self.source.length = length;
                if let Half::Header { again } = &mut self.half {
                    *again &= etag == Etag::Same;
                }
                self.receive(0)
            }
            Answer::Rest { surplus } => self.receive(surplus),
            Answer::Later(retry_after) => self.pause(now, Then::Request, retry_after),
            Answer::Expired if self.attempts.next_link(self.source.offset) => self.ask_for_link(),
            Answer::Expired => self.give_up(Failure::LinkRefused),
            Answer::Never(why) => self.give_up(why),
        }
    }

    fn receive(&mut self, surplus: u64) -> Action {
        self.to(State::Body { surplus }, Action::Receive)
    }

    /// Bytes came, of which the surplus is here already.
    fn came(&mut self, surplus: u64, bytes: usize) -> Action {
        let here = usize::try_from(surplus).unwrap_or(usize::MAX).min(bytes);
        let new = Span { from: here, to: bytes };
        self.source.came(new.length());
        if new.is_empty() { self.receive(surplus.saturating_sub(here as u64)) } else { self.parse(new) }
    }

    /// The source has ended, and the artifact with it.
    fn complete(&mut self) -> Action {
        match self.half {
            Half::Header { .. } => self.give_up(Failure::PayloadMissing),
            Half::Empty => self.end(End::NoPayload),
            Half::Payload(_) => self.to(State::Finish, Action::Finish),
        }
    }

    fn broken(&mut self, now: Instant, again: bool) -> Action {
        if again { self.pause(now, Then::Request, None) } else { self.give_up(Failure::Broken) }
    }

    /// Uses up an attempt.
    fn pause(&mut self, now: Instant, then: Then, retry_after: Option<RetryAfter>) -> Action {
        match self.attempts.next(self.source.offset, retry_after) {
            Some(wait) => self.to(State::Pause { until: now + wait, then }, Action::Pause(wait)),
            None => self.give_up(Failure::NoAttempts),
        }
    }

    fn pause_ends(&mut self, then: Then) -> Action {
        match then {
            Then::Request => self.request(false),
            Then::AskForLink => self.ask_for_link(),
        }
    }

    fn ask_for_link(&mut self) -> Action {
        self.to(State::AskingForLink, Action::AskForLink)
    }

    fn link_answered(&mut self, now: Instant, link: Link) -> Action {
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
    fn parse(&mut self, bytes: Span) -> Action {
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
    fn parsed(&mut self, bytes: Span, taken: usize, found: Found) -> Action {
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

    fn accepted(&mut self, rest: Span, accepted: Accepted) -> Action {
        match accepted {
            Accepted::NoPayload => {
                self.half = Half::Empty;
                self.parse(rest)
            }
            Accepted::Payload { kept } => self.to(State::Between { rest, kept }, Action::End(End::Accepted)),
        }
    }

    /// The sink took the beginning of a file: what an earlier process stored of it need not come again.
    fn file_began(&mut self, rest: Span, stored: u64) -> Action {
        match &self.half {
            Half::Payload(payload) if self.source.length.is_some() && payload.may_go_on_behind(stored) => {
                let begins = self.source.offset.saturating_sub(rest.length());
                self.read_back(Stored { length: stored, done: 0, begins })
            }
            Half::Payload(_) | Half::Header { .. } | Half::Empty => self.parse(rest),
        }
    }

    fn write(&mut self, rest: Span, place: Place, bytes: Span) -> Action {
        let Span { from, to } = bytes;
        self.to(State::Write { rest, place, bytes }, Action::Write { place, from, to })
    }

    /// The sink took bytes; `left` are still to go.
    fn took(&mut self, rest: Span, place: Place, left: Span) -> Action {
        if !left.is_empty() {
            return self.write(rest, place, left);
        }
        match &self.half {
            Half::Payload(payload) if payload.mark_is_due() => self.to(State::Mark(rest), Action::Mark),
            Half::Payload(_) | Half::Header { .. } | Half::Empty => self.parse(rest),
        }
    }

    /// Reads back more of what is stored, or compares all of it.
    fn read_back(&mut self, stored: Stored) -> Action {
        match stored.length.saturating_sub(stored.done) {
            0 => self.to(State::Compare(stored), Action::Compare),
            left => self.to(State::ReadBack(stored), Action::ReadBack(left)),
        }
    }

    fn parse_stored(&mut self, bytes: Span, stored: Stored) -> Action {
        if bytes.is_empty() {
            return self.read_back(stored);
        }
        let Span { from, to } = bytes;
        self.to(State::ParseStored(bytes, stored), Action::Parse { from, to })
    }

    /// Stored bytes were parsed; `left` of those read back are still to be.
    fn parsed_stored(&mut self, left: Span, stored: Stored, found: Found) -> Action {
        match (found, &mut self.half) {
            (Found::Nothing, Half::Header { .. } | Half::Empty | Half::Payload(_)) => {
                self.parse_stored(left, stored)
            }
            (Found::Bytes { length, place: Place::Chunk }, Half::Payload(payload)) => {
                payload.came(length as u64);
                let done = stored.done.saturating_add(length as u64);
                self.parse_stored(left, Stored { done, ..stored })
            }
            (
                Found::Bytes { .. } | Found::Header | Found::File { .. } | Found::FileEnd,
                Half::Header { .. } | Half::Empty | Half::Payload(_),
            ) => self.give_up(Failure::OutOfOrder),
        }
    }

    /// What an earlier process stored is verified.
    fn go_on_behind(&mut self, stored: Stored) -> Action {
        self.source.go_on_at(stored.begins.saturating_add(stored.length));
        self.request(false)
    }

    fn forget(&mut self, stored: Stored) -> Action {
        self.to(State::Forget(stored), Action::ForgetStored(stored.done))
    }

    /// What an earlier process stored is damaged and forgotten.
    fn forgotten(&mut self, stored: Stored) -> Action {
        if let Half::Payload(payload) = &mut self.half {
            payload.restart_file();
        }
        self.source.go_on_at(stored.begins);
        self.request(false)
    }

    fn give_up(&mut self, why: Failure) -> Action {
        let module = match self.half {
            Half::Payload(_) => true,
            Half::Header { .. } | Half::Empty => false,
        };
        // Its time does not matter any more.
        self.half = Half::Header { again: false };
        self.to(State::GivingUp { module }, Action::GiveUp { why, module })
    }

    fn end(&mut self, end: End) -> Action {
        self.half = Half::Header { again: false };
        self.to(State::Rest, Action::End(end))
    }

    const fn to(&mut self, state: State, action: Action) -> Action {
        self.state = state;
        action
    }

    /// Whether the network, and not the module, has to do something next.
    const fn waits_for_network(&self) -> bool {
        match self.state {
            State::Asking { .. }
            | State::Head { .. }
            | State::Pause { .. }
            | State::AskingForLink
            | State::Link
            | State::Body { .. } => true,
            State::Rest
            | State::Parse(_)
            | State::Accept(_)
            | State::Between { .. }
            | State::BeginFile(_)
            | State::Write { .. }
            | State::Mark(_)
            | State::EndFile(_)
            | State::Finish
            | State::ReadBack(_)
            | State::ParseStored(..)
            | State::Compare(_)
            | State::Forget(_)
            | State::GivingUp { .. }
            | State::ModuleEnds => false,
        }
    }

    const fn module_time_ends(&self) -> Option<Instant> {
        match &self.half {
            Half::Payload(payload) => payload.time_ends(),
            Half::Header { .. } | Half::Empty => None,
        }
    }

    const fn module_too_slow(&self) -> Failure {
        match &self.half {
            Half::Payload(payload) => Failure::ModuleTooSlow(payload.time_limit()),
            Half::Header { .. } | Half::Empty => Failure::OutOfOrder,
        }
    }
}

impl Span {
    /// The first so many bytes.
    const fn first(bytes: usize) -> Self {
        Self { from: 0, to: bytes }
    }

    const fn length(self) -> u64 {
        self.to.saturating_sub(self.from) as u64
    }

    const fn is_empty(self) -> bool {
        self.from >= self.to
    }

    /// What is behind the first so many bytes.
    const fn behind(self, bytes: usize) -> Self {
        Self { from: self.from.saturating_add(bytes), to: self.to }
    }

    /// Bytes of a file that were found right before this span, or in the decompressor's output.
    const fn bytes(self, place: Place, length: usize) -> Self {
        match place {
            Place::Chunk => Self { from: self.from.saturating_sub(length), to: self.from },
            Place::Decompressed => Self::first(length),
        }
    }
}
