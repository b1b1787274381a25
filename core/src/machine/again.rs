//! A deployment that the server offers again: whether it begins (R-48).
//!
//! ```text
//!   the server offers a deployment --may begin--> ... the first record of it: counted, in the same batch
//!       |                                          ... its end is refused for good: so noted when its record goes
//!       +--is turned down: the record is brought up to date where it must be --> as a poll that found nothing
//! ```

use super::words::{Action, Op};
use super::{Apart, Machine, Owner, Shift};
use crate::begun::{Begun, FORGETS, TurnDown};
use crate::state::Outcome;
use crate::time::{Duration, Instant};

/// The deployments that began here, and how their record stands to them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Again {
    begun: Begun,
    /// The ages are those of this time.
    as_of: Apart<Instant>,
    /// The record says something else, apart from ages.
    is_news: bool,
    /// By how much the ages on record are behind.
    behind: Apart<Duration>,
    /// The deployment at hand is counted.
    counted: bool,
    /// A person wants a poll, and none was answered since.
    person_asks: bool,
    /// An offer is turned down; the record is written before.
    saves: bool,
}

impl Again {
    /// At start, from what is on record. `in_progress`: so is an update.
    pub(super) fn start(now: Instant, begun: Begun, in_progress: bool) -> Self {
        let mut new = Self {
            begun,
            as_of: Apart(now),
            is_news: false,
            behind: Apart(Duration::ZERO),
            counted: in_progress,
            person_asks: false,
            saves: false,
        };
        // What an earlier process may have left out: a device that never runs for long must not turn down for ever.
        new.grow_older(FORGETS);
        new
    }

    fn grow_older(&mut self, more: Duration) {
        self.begun.grow_older(more);
        self.behind = Apart(self.behind.plus(more));
    }

    /// Brings the ages up to date.
    fn look_at(&mut self, now: Instant) {
        self.grow_older(now.since(*self.as_of));
        self.as_of = Apart(now);
    }

    /// What was to be written is.
    const fn written(&mut self) {
        if self.is_news || self.saves {
            self.is_news = false;
            self.behind = Apart(Duration::ZERO);
        }
    }

    /// A person wants a poll: whatever it offers begins.
    pub(super) const fn person_asks(&mut self) {
        self.person_asks = true;
    }

    /// The server has answered a poll.
    pub(super) const fn answered(&mut self) {
        self.person_asks = false;
    }

    /// A deployment was offered, and may begin. It is not counted before its first record: its `Sync_Leave` scripts may
    /// drop it.
    pub(super) const fn offered(&mut self) {
        self.answered();
        self.counted = false;
    }

    pub(super) fn rebase(&mut self, shift: Shift) {
        self.look_at(shift.from);
        self.as_of = Apart(shift.to);
    }
}

impl Machine {
    /// Why an offer of the deployment of this id would be turned down at `now`; `None`: it would begin. An offer that is
    /// turned down is as an answer that there is none.
    #[must_use]
    pub fn turns_down(&self, now: Instant, id: &str) -> Option<TurnDown> {
        match &self.owner {
            Owner::Daemon(daemon) if !daemon.again.person_asks => {
                daemon.again.begun.turns_down(id, now.since(*daemon.again.as_of))
            }
            Owner::Daemon(_) | Owner::CommandLine(_) => None,
        }
    }

    /// What is to be made durable of the deployments that began here, with [`Op::Save`], [`Op::SaveReport`] unless
    /// [`Machine::is_late`], [`Op::ClearData`] and [`Op::ForgetReport`] in the same batch, by [`Op::SaveBegun`] alone.
    /// `None`: their record is what it should be.
    #[must_use]
    pub fn begun_to_save(&self) -> Option<&Begun> {
        match &self.owner {
            Owner::Daemon(daemon) if daemon.again.is_news || daemon.again.saves => Some(&daemon.again.begun),
            Owner::Daemon(_) | Owner::CommandLine(_) => None,
        }
    }

    /// An offer is turned down, and nothing of it is kept.
    pub(super) fn turn_down(&mut self, now: Instant) -> Action {
        if let Some(daemon) = self.daemon() {
            let again = &mut daemon.again;
            again.look_at(now);
            if again.is_news || *again.behind >= FORGETS {
                again.saves = true;
                return self.work(now, Op::SaveBegun);
            }
        }
        self.done(now, Outcome::Nothing)
    }

    /// The record was written before an offer is turned down, or could not be: it is turned down now.
    pub(super) fn turned_down(&mut self, outcome: Outcome) -> Outcome {
        if !self.is_turning_down() {
            return outcome;
        }
        if outcome == Outcome::Success {
            self.begun_is_written();
        }
        if let Some(daemon) = self.daemon() {
            daemon.again.saves = false;
        }
        Outcome::Nothing
    }

    /// The outstanding operation writes the record before an offer is turned down.
    pub(super) const fn is_turning_down(&self) -> bool {
        match &self.owner {
            Owner::Daemon(daemon) => daemon.again.saves,
            Owner::CommandLine(_) => false,
        }
    }

    /// The record of the update is about to be written: the deployment has begun.
    pub(super) fn count_beginning(&mut self, now: Instant) {
        if let Owner::Daemon(daemon) = &mut self.owner
            && !core::mem::replace(&mut daemon.again.counted, true)
        {
            daemon.again.look_at(now);
            daemon.again.begun.begins(self.checkpoint.deployment.as_str());
            daemon.again.is_news = true;
        }
    }

    /// The server refuses for good to hear how this deployment ended: it does not begin again before a person asks for
    /// updates from now on, or a day has passed.
    pub(super) fn end_is_refused(&mut self, now: Instant, id: &str) {
        if let Some(daemon) = self.daemon() {
            daemon.again.look_at(now);
            daemon.again.begun.is_refused(id);
            daemon.again.is_news = true;
            daemon.again.person_asks = false;
        }
    }

    /// Records were written, and that of the deployments that began here with them.
    pub(super) const fn begun_is_written(&mut self) {
        if let Some(daemon) = self.daemon() {
            daemon.again.written();
        }
    }
}
