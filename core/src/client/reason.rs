//! What people are told of an update: the first reason of a failure, and what the update went through.

use core::fmt;

use super::summary::{Summary, SummaryLine};
use crate::deployment::Verdict;
use crate::hal::{Level, Log};
use crate::limits;
use crate::text::Text;

/// What there is to tell of the update at hand.
#[derive(Debug, Default)]
pub(super) struct Story {
    /// Why it failed first; empty if it did not.
    pub(super) reason: Text<{ limits::REASON }>,
    /// That is on record: a restart does not forget it.
    pub(super) reason_stored: bool,
    pub(super) summary: Summary,
}

impl Story {
    /// All of it in one line, of an update that stands like this.
    pub(super) fn line(&self, verdict: Verdict) -> SummaryLine<'_> {
        self.summary.line(verdict, self.reason.as_str())
    }
}

/// Why something failed has been logged, and kept if nothing failed before. Made by [`note`] only, so that no failure
/// goes without a reason.
#[derive(Debug)]
#[must_use]
pub(super) struct Noted(());

/// Logs why something failed, and keeps it in `first` if that is empty.
pub(super) fn note(
    first: &mut Text<{ limits::REASON }>,
    log: &mut impl Log,
    reason: fmt::Arguments<'_>,
) -> Noted {
    log.log(Level::Error, reason);
    if first.is_empty() {
        *first = Text::cut(reason);
    }
    Noted(())
}
