//! What people are told of an update: the first reason of a failure, and what the update went through.

use super::Client;
use super::flight::ReasonCode;
use super::messages::{Hinted, UpdateText, say};
use super::summary::{Summary, SummaryLine};
use crate::deployment::Verdict;
use crate::hal::{Level, Log, Platform};
use crate::limits;
use crate::message::{Coded, Earlier};
use crate::plain::Plain;
use crate::state::{Outcome, State};
use crate::text::{Text, TextExt};

/// What there is to tell of the update at hand.
#[derive(Debug, Default)]
pub(super) struct Story {
    /// Why it failed first; empty if it did not.
    pub(super) reason: Text<{ limits::REASON }>,
    /// Its code, for the flight record.
    pub(super) code: ReasonCode,
    /// The reason is on record: a restart does not forget it.
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

/// Logs why something failed, and keeps it in the story if nothing failed before.
pub(super) fn note(story: &mut Story, log: &mut impl Log, reason: &dyn Coded) -> Noted {
    say(log, Level::Error, reason);
    if story.reason.is_empty() {
        story.reason = Text::cut(&Hinted::of(reason, log));
        story.code.set(reason);
    }
    Noted(())
}

impl<P: Platform> Client<'_, P> {
    /// Notes the first reason of a failure, and logs it.
    pub(super) fn fail(&mut self, reason: &dyn Coded) -> Outcome {
        let Noted { .. } = self.noted(reason);
        Outcome::Failure
    }

    /// The same, where the failure is passed on.
    pub(super) fn noted(&mut self, reason: &dyn Coded) -> Noted {
        note(&mut self.story, &mut self.hal.log, reason)
    }

    /// The operation that has ended failed the update, or was a request: why, unless that was said before. Other operations
    /// say it themselves.
    pub(super) fn explain(&mut self, state: State, outcome: Outcome) {
        if !self.story.reason.is_empty()
            || self.machine().verdict() == Verdict::Good
            || self.flow.is_terminated()
        {
            return;
        }
        let Self { requests, story, hal, .. } = self;
        let why = requests.trouble();
        let is_door = matches!(state, State::InstallDoor | State::RebootDoor | State::CommitDoor);
        let mut fail = |why: UpdateText<'_>| {
            let Noted { .. } = note(story, &mut hal.log, &why);
        };
        if outcome == Outcome::Aborted {
            fail(UpdateText::Aborted);
        } else if state == State::ReportCommit {
            fail(UpdateText::NotAsked { why: Earlier(&Plain(why)) });
        } else if is_door && !why.is_empty() {
            fail(UpdateText::MapNotRefreshed { why: Earlier(&Plain(why)) });
        }
    }
}
