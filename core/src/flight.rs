//! The flight record: what the client did last, as coded events in a ring of a fixed size, for people who want to know
//! afterwards what happened. No decision depends on it.
//!
//! It is written in the batches that are written anyway, and never alone: it costs no write, and at most [`MAX_LEN`] bytes in
//! each of those batches, of which an update has 8 to 15. What happened since the last of them is lost with the process. Every
//! process begins with [`Event::Starts`], so that a reader sees where something may be missing.
//!
//! Not on record before the next batch: what a deployment did that ended before its first record, waits at a door, and a daemon
//! that only asks. Of that, only failures are noted at all, and polls that bring nothing are not.
//!
//! Layout: format number (1 byte), events that had to make room so far (4 bytes, little endian), the events from the oldest on,
//! CRC-32 (IEEE) of all before it, little endian. An event: the length of the rest (1 byte), then `postcard` of the seconds
//! since the event before it and of [`Event`]. A version that does not know an event passes over it; a record that is damaged,
//! cut, or of another format is none. A usual event has 4 to 7 bytes: there is room for two updates, one of them with a rollback.
//!
//! What is numbered in it is appended to, never reordered: [`Event`], and the enums in it. The golden texts in the tests guard
//! them.

mod ring;
#[cfg(feature = "text")]
mod text;

pub use ring::{MAX_LEN, Ring};

use serde::{Deserialize, Serialize};

use crate::checkpoint::Tag;
use crate::deployment::{Call, Naming, Point, Status, Verdict};
use crate::script::Transition;
use crate::state::State;

/// The format this version writes, and the only one it reads.
const FORMAT: u8 = 1;

/// Bytes before the events.
const HEAD: usize = 5;

/// Bytes behind them.
const CRC: usize = 4;

/// Longest reason in it, in bytes of its code.
pub const REASON: usize = 64;

/// Longest version of the client in it, in bytes.
pub const VERSION: usize = 24;

/// What happened. Appended to, never reordered: the number is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Event<'a> {
    /// A process of the client starts. How long the one before has been gone is not known.
    Starts {
        /// What for.
        run: Purpose,
        /// The client's version, cut at [`VERSION`] bytes.
        version: &'a str,
        /// The record of an update in progress that it found.
        found: Option<Tag>,
    },
    /// A deployment begins.
    Begins {
        /// What it is known by: the first bytes of the SHA-256 of its id, as in [`crate::begun`].
        deployment: [u8; 8],
    },
    /// The update comes to a state.
    Enters(State),
    /// A state script ended.
    Script {
        /// Its transition.
        transition: Transition,
        /// The two digits in its name, or its place in the order of scripts where the name has none.
        number: u8,
        /// How it ended.
        how: How,
    },
    /// A call of the update module ended.
    Call(Call, How),
    /// A request to the server ended, or its answer began.
    Request(Request, Answer),
    /// The download begins, or goes on, at this byte of the artifact.
    Downloads(u64),
    /// It broke off at this byte.
    BreaksOff(u64),
    /// The update waits before a point.
    Waits(Point, Holder),
    /// A person let it pass.
    Approved(Point),
    /// It was not allowed to go on.
    Forbidden(Point, Holder),
    /// The batch that this record is in makes this durable.
    Saves(Saved),
    /// That batch could not be written.
    NotSaved,
    /// Why the update failed first: the code of the reason, cut at [`REASON`] bytes.
    Reason(&'a str),
    /// The update is over, or a verb of the command line.
    Ends(Verdict),
    /// The client asked for a reboot, which did not come, or whose command failed.
    NotRebooted,
    /// The client was told to end.
    Terminated,
    /// The event before this one happened so many times more; the seconds are those since the first of them.
    Again(u32),
}

/// What a process of the client was started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the verbs")]
pub enum Purpose {
    Daemon,
    /// Beside records of a newer version.
    DaemonWithoutUpdates,
    Install,
    Resume,
    Commit,
    Rollback,
    Bootstrap,
}

/// How a script or a call of the module ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum How {
    /// Well. A query: it said `Yes`.
    Well,
    /// A query said `No`, or nothing.
    No,
    /// `NeedsArtifactReboot` said `Automatic`.
    Automatic,
    /// With exit status 21: again later.
    Later,
    /// With this exit status.
    Exited(u8),
    /// By this signal.
    Killed(u8),
    /// It took too long, and was ended.
    TooSlow,
    /// It could not be started, or its answer was no answer.
    Failed,
}

/// A request to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Request {
    /// For a token.
    Token,
    /// For a deployment, or for a fresh link to its artifact.
    Next,
    /// The report of a status.
    Status(Status),
    /// The log of the deployment.
    Log,
    /// The inventory.
    Inventory,
    /// For the control map of the deployment.
    ControlMap,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Answer {
    /// An answer with this status of HTTP.
    Status(u16),
    /// The connection broke, or could not be made.
    Broken,
    /// None came in time.
    TooSlow,
    /// It could not be sent.
    NotSent,
}

/// Who holds an update back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Holder {
    /// An update control map, or a person's order.
    Map,
    /// A policy of the device.
    Policy,
    /// The server does not say whether its control map still holds.
    Server,
    /// The saved control maps cannot be read.
    Unreadable,
}

/// What a batch makes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Saved {
    /// The record of the update: from here a restart goes on.
    Update(Tag, Verdict),
    /// Name and provides of the artifact.
    Provides(Naming),
    /// How the deployment ended, for the server, in the place of the record of the update.
    Report,
    /// The update has no record any more.
    Nothing,
}

/// One event of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// How many events were noted before it, since there is this record.
    pub number: u32,
    /// Seconds since the event before it in the same process; 0 for [`Event::Starts`].
    pub after: u32,
    /// What happened; `None`: a newer version knows.
    pub event: Option<Event<'a>>,
}

/// A flight record, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    dropped: u32,
    events: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads a record; any bytes are either a whole one or none.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<CRC>()?;
        let (&[format, a, b, c, d], events) = body.split_first_chunk::<HEAD>()?;
        if bytes.len() > MAX_LEN || format != FORMAT || crate::crc::hash(body).to_le_bytes() != *crc {
            return None;
        }
        let mut rest = events;
        while !rest.is_empty() {
            (_, rest) = split_first(rest)?;
        }
        Some(Self { dropped: u32::from_le_bytes([a, b, c, d]), events })
    }

    /// Its events, from the oldest on.
    #[must_use]
    pub const fn entries(&self) -> Entries<'a> {
        Entries { number: self.dropped, rest: self.events }
    }

    /// How many events had to make room for later ones.
    #[must_use]
    pub const fn dropped(&self) -> u32 {
        self.dropped
    }
}

/// The events of a record.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    number: u32,
    rest: &'a [u8],
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        let (bytes, rest) = split_first(self.rest)?;
        self.rest = rest;
        let number = self.number;
        self.number = number.wrapping_add(1);
        let (after, event) = match postcard::take_from_bytes::<u32>(bytes) {
            Ok((after, event)) => (after, event),
            Err(_) => (0, bytes),
        };
        let event =
            postcard::take_from_bytes(event).ok().and_then(|(event, rest)| rest.is_empty().then_some(event));
        Some(Entry { number, after, event })
    }
}

/// The bytes of the first event, without their length, and what follows them.
fn split_first(events: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = events.split_first()?;
    rest.split_at_checked(length.into())
}

#[cfg(test)]
mod tests;
