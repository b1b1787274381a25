//! What an earlier process stored of the file at hand: it is read back, through the same digests, in place of the network's
//! bytes. `no_stored.rs` takes the place of this file where the feature `resumed-downloads` is off.

use super::payload::Payload;
use super::source::Source;
use super::{Action, Failure, Found, Half, Place, Span, State, Transfer};

/// What an earlier process stored of the file at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stored {
    /// So many bytes.
    length: u64,
    /// Of them, so many were read back and parsed.
    done: u64,
    /// Where in the artifact the file begins.
    begins: u64,
}

impl Transfer {
    /// The sink took the beginning of a file: what an earlier process stored of it need not come again.
    pub(super) fn file_began(&mut self, rest: Span, stored: u64) -> Action {
        match &self.half {
            Half::Payload(payload) if payload.may_go_on_behind(stored) => {
                let begins = self.source.offset.saturating_sub(rest.length());
                self.read_back(Stored { length: stored, done: 0, begins })
            }
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

    pub(super) fn parse_stored(&mut self, bytes: Span, stored: Stored) -> Action {
        if bytes.is_empty() {
            return self.read_back(stored);
        }
        let Span { from, to } = bytes;
        self.to(State::ParseStored(bytes, stored), Action::Parse { from, to })
    }

    /// Stored bytes were parsed; `left` of those read back are still to be.
    pub(super) fn parsed_stored(&mut self, left: Span, stored: Stored, found: Found) -> Action {
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
    pub(super) fn go_on_behind(&mut self, stored: Stored) -> Action {
        self.source.go_on_at(stored.begins.saturating_add(stored.length));
        self.request(false)
    }

    pub(super) fn forget(&mut self, stored: Stored) -> Action {
        self.to(State::Forget(stored), Action::ForgetStored(stored.done))
    }

    /// What an earlier process stored is damaged and forgotten.
    pub(super) fn forgotten(&mut self, stored: Stored) -> Action {
        if let Half::Payload(payload) = &mut self.half {
            payload.restart_file();
        }
        self.source.go_on_at(stored.begins);
        self.request(false)
    }
}

impl Payload {
    /// The file begins anew.
    pub(super) const fn restart_file(&mut self) {
        if let Some(file) = &mut self.file {
            file.came = 0;
        }
    }

    /// Whether `stored` bytes of the file, as the sink says, are worth reading back. Only where a file stands in the
    /// artifact as it is can the rest be asked for.
    pub(super) fn may_go_on_behind(&self, stored: u64) -> bool {
        self.kept && self.file.is_some_and(|file| file.plain && (1..=file.size).contains(&stored))
    }
}

impl Source {
    /// The next request goes on at `offset`, behind verified bytes.
    pub(super) const fn go_on_at(&mut self, offset: u64) {
        self.offset = offset;
        self.behind_stored = true;
    }
}
