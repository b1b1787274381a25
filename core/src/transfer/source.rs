//! Where the bytes come from: how much of the artifact is here, and what the head of an answer says about the rest.

use super::words::{Etag, Failure};
use crate::http::{ContentRange, Head, RetryAfter};

/// The artifact at its source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Source {
    /// How many bytes were taken from it.
    pub(super) offset: u64,
    /// The artifact's length, where the source has said it. An answer without one may end too early without a sign: then the
    /// artifact is not complete, and the rest is asked for. The answer to that says the length.
    pub(super) length: Option<u64>,
    /// The request goes on behind stored bytes, and the network brought nothing behind them yet.
    pub(super) behind_stored: bool,
}

/// What the head of an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The artifact follows, from its first byte on, in this length.
    Whole(Option<u64>),
    /// What is missing follows, behind so many bytes that are here already.
    Rest { surplus: u64, length: Option<u64> },
    /// Not now.
    Later(Option<RetryAfter>),
    /// The link has expired.
    Expired,
    /// No.
    Never(Failure),
}

impl Source {
    /// The head of an answer came. `old`: 403 would mean that the link has expired. `repeats`: a request that no bytes
    /// came to is repeated.
    pub(super) fn judge(&self, head: &Head, etag: Etag, old: bool, repeats: bool) -> Answer {
        match head.status {
            403 if old => Answer::Expired,
            // A host that does not know the method or the version will not know it later either.
            408 | 425 | 429 | 500 | 502..=504 | 506..=599 if self.offset == 0 && repeats => {
                Answer::Later(head.retry_after)
            }
            status if self.offset == 0 => self.first(status, head.content_length),
            206 => self.part(head.content_range, etag),
            200 => self.all(head.content_length, etag),
            408 | 425 | 429 | 500..=599 => Answer::Later(head.retry_after),
            status => Answer::Never(Failure::RestRefused(status)),
        }
    }

    /// The answer to a request for the whole artifact: only 200 will do.
    fn first(&self, status: u16, length: Option<u64>) -> Answer {
        if status != 200 {
            Answer::Never(Failure::Refused(status))
        } else if self.length.is_some() && self.length != length {
            Answer::Never(Failure::Changed)
        } else {
            Answer::Whole(length)
        }
    }

    /// A part: it must be the one that was asked for. A server that ignores `If-Range` still says by its `ETag` that
    /// the file is another one.
    fn part(&self, range: Option<ContentRange>, etag: Etag) -> Answer {
        let length = self.length.or(range.and_then(|range| range.size));
        let fits = range.is_some_and(|range| {
            range.first == self.offset
                && length.is_some_and(|length| range.last == length.saturating_sub(1))
                && (range.size.is_none() || range.size == length)
        });
        if etag == Etag::Other {
            Answer::Never(Failure::Changed)
        } else if fits {
            Answer::Rest { surplus: 0, length }
        } else {
            Answer::Never(Failure::WrongRange(self.offset))
        }
    }

    /// All in place of a part. Behind stored bytes that is good enough, because they are verified and another process
    /// paid for them: what is here already is read and skipped. Behind bytes that this process received it is not.
    fn all(&self, length: Option<u64>, etag: Etag) -> Answer {
        if self.behind_stored && length == self.length && etag == Etag::Same {
            Answer::Rest { surplus: self.offset, length }
        } else {
            Answer::Never(Failure::NoRest)
        }
    }

    /// So many new bytes came.
    pub(super) const fn came(&mut self, bytes: u64) {
        self.offset = self.offset.saturating_add(bytes);
        self.behind_stored = self.behind_stored && bytes == 0;
    }
}
