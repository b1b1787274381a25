//! What goes into the transfer machine and what comes out of it.

use super::Downloader;
use crate::http::{Head, RetryAfter};
use crate::message::texts;
use crate::time::Duration;

/// What the driver has to do next. One at a time: it is done when its event has been given to
/// [`Transfer::step`](super::Transfer::step).
///
/// An action whose platform call is pending is tried again whenever the platform wakes. `from` and `to` are places in
/// the chunk, the buffer that bytes are read into, unless something else is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub enum Action {
    /// Nothing new: the last action still stands. If there is none, nothing is to be done before the next event.
    Wait,
    /// Send a request for the artifact from this byte on; from any byte but the first with `If-Range`, if an `ETag` is
    /// known. [`Event::Done`]: it is on its way. [`Event::Broken`]: it could not be sent.
    Request {
        /// The first byte that is wanted.
        offset: u64,
        /// There was a request before.
        again: bool,
    },
    /// Wait for the head of the answer: [`Event::Head`] or [`Event::Broken`].
    AwaitHead,
    /// Read bytes of the answer into the chunk: [`Event::Came`], [`Event::Broken`], or at its end [`Event::Complete`] or
    /// [`Event::Failed`].
    Receive,
    /// Drop the connection and wait. The next attempt is made at [`Transfer::deadline`](super::Transfer::deadline).
    Pause(Duration),
    /// Drop the connection and ask the server for a fresh link to the artifact. [`Event::Done`]: it is being asked.
    AskForLink,
    /// Wait for the server's answer: [`Event::Link`].
    AwaitLink,
    /// Parse these bytes up to the first thing found in them: [`Event::Parsed`].
    Parse {
        /// The first of them.
        from: usize,
        /// Behind the last.
        to: usize,
    },
    /// The header is verified: get ready for its payload, or refuse it. [`Event::Accepted`].
    Accept {
        /// The artifact on the server is the one that an earlier process downloaded from, as far as its `ETag` says.
        again: bool,
    },
    /// Tell the sink that a file of this size begins: [`Event::FileBegan`].
    BeginFile(u64),
    /// Give the sink these bytes of the file: [`Event::Took`].
    Write {
        /// Where they are.
        place: Place,
        /// The first of them.
        from: usize,
        /// Behind the last.
        to: usize,
    },
    /// Let the sink make the file's bytes so far durable, with their digest, in case that a restart comes.
    /// [`Event::Done`].
    Mark,
    /// Tell the sink that the file is complete and verified: [`Event::Done`].
    EndFile,
    /// Tell the sink that the artifact is complete and verified: [`Event::Done`], once all of it is durable and the
    /// module has ended its call.
    Finish,
    /// Drop the connection. Read back up to so many bytes of what an earlier process stored of the file, into the chunk:
    /// [`Event::ReadBack`].
    ReadBack(u64),
    /// All that an earlier process stored of the file has been parsed: compare its digest. [`Event::Compared`].
    Compare,
    /// What an earlier process stored of the file is damaged. The parser forgets so many bytes of the file, the sink all
    /// of it: [`Event::Done`].
    ForgetStored(u64),
    /// The transfer has failed. Drop the connection and, with `module`, begin to end the module. [`Event::Done`].
    GiveUp {
        /// Why.
        why: Failure,
        /// The module was started.
        module: bool,
    },
    /// Wait until the module has ended: [`Event::Done`].
    AwaitModule,
    /// This half of the transfer is over.
    End(End),
}

/// How a half of a transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// The header was accepted. The payload comes with [`Event::Stream`].
    Accepted,
    /// The artifact has no payload, and was read to its end.
    NoPayload,
    /// The payload is stored, and verified.
    Stored,
    /// [`Action::GiveUp`] said why.
    Failed,
}

/// Where bytes of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// In the chunk.
    Chunk,
    /// What the decompressor gave last; `from` and `to` are places in it.
    Decompressed,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Begin: the first half, up to the verified header.
    Begin(Begin),
    /// The module was started: the second half, the payload.
    Stream(Stream),
    /// Give it up. A module that was started is ended.
    Stop,
    /// Time passed. Harmless when it did not.
    Tick,
    /// The action is done.
    Done,
    /// The action cannot be done. Why was told to people already.
    Failed,
    /// The source does not give what it should.
    Broken {
        /// It may when it is asked another time.
        again: bool,
    },
    /// The head of an answer.
    Head(Head, Etag),
    /// So many bytes came, at least one.
    Came(usize),
    /// The source has ended, and the artifact is complete.
    Complete,
    /// What the server said when it was asked for a fresh link.
    Link(Link),
    /// Bytes were parsed.
    Parsed {
        /// So many. The rest is parsed later.
        taken: usize,
        /// What was found behind them, or in them.
        found: Found,
    },
    /// The header was accepted.
    Accepted(Accepted),
    /// The sink took the beginning of a file.
    FileBegan {
        /// The sink says that an earlier process stored so many bytes of it. 0: none.
        stored: u64,
    },
    /// The sink took so many bytes, at least one.
    Took(usize),
    /// So many stored bytes were read back; 0: no more can be.
    ReadBack(usize),
    /// The digest of the stored bytes was compared.
    Compared {
        /// It is the one that was stored with them.
        same: bool,
    },
}

impl Event {
    /// How many bytes were moved: received, parsed, decompressed, written or read back.
    #[must_use]
    pub const fn moved(&self) -> usize {
        match self {
            Self::Parsed { taken, found: Found::Bytes { length, place: Place::Decompressed } } => {
                taken.saturating_add(*length)
            }
            Self::Came(bytes)
            | Self::Parsed { taken: bytes, found: _ }
            | Self::Took(bytes)
            | Self::ReadBack(bytes) => *bytes,
            Self::Begin(_)
            | Self::Stream(_)
            | Self::Stop
            | Self::Tick
            | Self::Done
            | Self::Failed
            | Self::Broken { .. }
            | Self::Head(..)
            | Self::Complete
            | Self::Link(_)
            | Self::Accepted(_)
            | Self::FileBegan { .. }
            | Self::Compared { .. } => 0,
        }
    }
}

/// What a transfer begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    /// Who downloads.
    pub downloader: Downloader,
    /// How often a broken download is tried again (`RetryDownloadCount`).
    pub attempts: u32,
    /// The download of an earlier process goes on: the link may have expired, and part of the payload may be stored.
    pub earlier: bool,
}

/// What the payload begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// After how many bytes of a file it is marked, and again; 0: never.
    pub mark_every: u64,
    /// How long the module may work. Waiting for the network does not count.
    pub time: Duration,
}

/// The `ETag` of an answer beside the last one before it, of an earlier process or of this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Etag {
    /// They are equal, or neither answer had one.
    Same,
    /// They differ.
    Other,
    /// Only one of the two had one.
    Unknown,
}

/// The server's answer to the question for a fresh link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// It gave one.
    Fresh,
    /// It gave none this time.
    NotNow(Option<RetryAfter>),
    /// It does not offer this deployment any more.
    NotOffered,
}

/// What the parser found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Found {
    /// Nothing that the transfer has to do with.
    Nothing,
    /// The end of the header, which is verified.
    Header,
    /// A file of the payload begins.
    File {
        /// Its length in bytes.
        size: u64,
        /// Its bytes stand in the artifact as they are.
        plain: bool,
    },
    /// Bytes of that file, the last of what was taken.
    Bytes {
        /// How many.
        length: usize,
        /// Where they are.
        place: Place,
    },
    /// The end of that file, which is verified.
    FileEnd,
}

/// What an accepted header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Accepted {
    /// The artifact has no payload.
    NoPayload,
    /// A module will take the payload.
    Payload {
        /// The sink kept what an earlier process stored of it.
        kept: bool,
    },
}

/// Why a transfer failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// An action failed, and people were told why.
    Told,
    /// It was stopped.
    Stopped,
    /// The source broke, and is not asked again. The driver knows what broke.
    Broken,
    /// The source broke once more than it may. The driver knows what broke.
    NoAttempts,
    /// The server refused the first request, with this status.
    Refused(u16),
    /// The server refused to give the rest, with this status.
    RestRefused(u16),
    /// The server gives another artifact than before.
    Changed,
    /// The server gives all of the artifact in place of the rest.
    NoRest,
    /// The server gives another part than the one from this byte to the end.
    WrongRange(u64),
    /// The server refused a fresh link.
    LinkRefused,
    /// The link has expired once more than it may.
    LinkExpired,
    /// The link has expired, and the server does not offer the deployment any more.
    NotOffered,
    /// The artifact has ended, but its header announced a payload.
    PayloadMissing,
    /// The module had so much time to take the payload.
    ModuleTooSlow(Duration),
    /// The parser found something that has no place there.
    OutOfOrder,
}

impl Failure {
    /// True when people know it already: the driver told them with what broke, or it is no failure to tell of.
    #[must_use]
    pub const fn is_told(self) -> bool {
        match self {
            Self::Told | Self::Stopped | Self::Broken | Self::NoAttempts => true,
            Self::Refused(_)
            | Self::RestRefused(_)
            | Self::Changed
            | Self::NoRest
            | Self::WrongRange(_)
            | Self::LinkRefused
            | Self::LinkExpired
            | Self::NotOffered
            | Self::PayloadMissing
            | Self::ModuleTooSlow(_)
            | Self::OutOfOrder => false,
        }
    }
}

texts! {
    FAILURES = 'F': Failure {
        1 Told => "the transfer of the artifact failed",
        2 Stopped => "the transfer of the artifact was stopped",
        3 Broken => "the artifact could not be downloaded",
        4 NoAttempts => "no attempts are left",
        5 Refused(status) => "the server answered {status} to the request for the artifact",
        6 RestRefused(status) => "the server answered {status} to the request for the rest of the artifact",
        7 Changed => "the artifact has changed on the server while it was downloaded",
        8 NoRest => "the artifact has changed on the server, or the server cannot resume",
        9 WrongRange(offset) => "the server's Content-Range is not from byte {offset} to the artifact's end",
        10 LinkRefused => "the server answered 403 to a fresh link to the artifact",
        11 LinkExpired => "the link to the artifact has expired, and no attempts are left for another",
        12 NotOffered => "the link to the artifact has expired, and the deployment is not offered any more",
        13 PayloadMissing => "the artifact ended before its payload",
        14 ModuleTooSlow(time) => "the update module did not take the payload within {time}",
        15 OutOfOrder => "the parts of the artifact are out of order",
    }
}
