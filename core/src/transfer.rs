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
//!             Pause <--- Asking, Head, Body, Link: the source broke, or is to be asked later.
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
#[cfg_attr(not(feature = "resumed-downloads"), path = "transfer/no_stored.rs")]
mod stored;

#[cfg(test)]
mod tests;
mod turns;
mod words;

pub use attempts::Downloader;
pub use words::{Accepted, Action, Begin, End, Etag, Event, Failure, Found, Link, Place, Stream};

#[cfg(feature = "text")]
use crate::message::Catalogue;
use crate::time::Instant;
use attempts::Attempts;
use payload::Payload;
use source::Source;
use stored::Stored;

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
#[cfg_attr(
    not(feature = "resumed-downloads"),
    expect(dead_code, reason = "what resumed downloads need of it")
)]
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
            (Body { .. },                    Event::Broken { again })       => self.broken(now, again),
            (Pause { until, then },          Event::Tick) if until <= now   => self.pause_ends(then),

            (AskingForLink,                  Event::Done)                   => self.to(Link, Action::AwaitLink),
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

/// All texts here.
#[cfg(feature = "text")]
pub(crate) const TEXTS: &[&Catalogue] = &[&words::FAILURES];
