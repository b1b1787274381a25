//! Entering a place: what is written first, and what the place does.

use super::words::{Action, ApiCall, Op};
use super::{Begin, Doing, Limit, Machine, Owner};
use crate::checkpoint::{RebootKind, Tag};
use crate::config;
use crate::deployment::{Call, Effect, Mode, Naming, Point, Status, Verdict};
use crate::limits;
use crate::state::{self, Entry, Otherwise, Outcome, Phase, Place, Reached, State, Unsaved, Write};
use crate::time::Instant;

/// What is to be done with the record before a place begins.
enum Record {
    /// Nothing.
    Stays,
    /// It is written.
    Save,
    /// It was written too often.
    Loop,
}

impl Machine {
    /// Goes to a place and begins it; goes on as long as places have their outcome at once. `begun`: the place had
    /// begun before a restart, so it is too late to stop before it.
    pub(super) fn enter(&mut self, now: Instant, place: Place, begun: bool) -> Action {
        let (mut place, mut begun) = (place, begun);
        loop {
            (self.state, self.phase) = place;
            if let Some((stop, tag, _)) = state::stop(place.0, place.1)
                && let Owner::CommandLine(line) = &self.owner
                && line.stops_before(stop)
                && !begun
            {
                self.mark(tag);
                self.checkpoint.stopped = true;
                self.checkpoint.failed = false;
                self.doing = Doing::Stopping(stop);
                return self.start_op(Op::Save);
            }
            begun = false;
            let outcome = match self.record() {
                Record::Save => {
                    self.doing = Doing::Saving;
                    self.count_beginning(now);
                    let is_report = self.checkpoint.tag == Tag::Report;
                    return self.start_op(if is_report { Op::SaveReport } else { Op::Save });
                }
                Record::Loop => return self.state_loop(now),
                Record::Stays => match self.begin(now) {
                    Ok(action) => return action,
                    Err(outcome) => outcome,
                },
            };
            place = match self.leave(now, outcome) {
                Ok(next) => next,
                Err(action) => return action,
            };
        }
    }

    /// What is to be done with the record before the place begins.
    fn record(&mut self) -> Record {
        let mode = self.mode();
        let Entry { write, counts, unsaved: _ } = state::entry(mode, self.state, self.phase);
        let worse = self.checkpoint.verdict != self.verdict;
        let tag = match write {
            Write::Nothing => return Record::Stays,
            Write::Tag(tag) => tag,
            Write::Once(tag) => {
                self.mark(tag);
                if self.is_saved() {
                    return Record::Stays;
                }
                tag
            }
            Write::WithProvides(_) if self.verdict == Verdict::RolledBack => return Record::Stays,
            Write::WithProvides(tag) => tag,
            Write::Again if self.is_saved() => return Record::Stays,
            Write::AgainIfWorse if self.is_saved() && !worse => return Record::Stays,
            Write::Again | Write::AgainIfWorse => self.checkpoint.tag,
        };
        self.mark(tag);
        if mode == Mode::Managed && counts && !self.count_store() {
            return Record::Loop;
        }
        match write {
            Write::WithProvides(_) | Write::Nothing => Record::Stays,
            Write::Tag(_) | Write::Once(_) | Write::Again | Write::AgainIfWorse => Record::Save,
        }
    }

    /// The record that a place begins, or is stopped before, could not be written.
    pub(super) fn unsaved(&mut self, now: Instant, rule: Unsaved) -> Action {
        let on_record = |tag| self.saved.as_ref().is_some_and(|saved| saved.tag == tag);
        let (otherwise, leads) = match rule {
            Unsaved::Fails => (Otherwise::Fails, None),
            Unsaved::GoesOn => (Otherwise::GoesOn, None),
            Unsaved::Ends => (Otherwise::Ends, None),
            Unsaved::Leads(place, effect) => (Otherwise::Fails, Some((place, effect))),
            Unsaved::LeadsFrom(tag, place, otherwise) => {
                (otherwise, on_record(tag).then_some((place, Effect::Worsens)))
            }
            Unsaved::LeadsUnless(tag, place, otherwise) => {
                (otherwise, (!on_record(tag)).then_some((place, Effect::Worsens)))
            }
        };
        let here = self.place();
        if let Some((place, effect)) = leads {
            self.run_failed(here);
            self.verdict = effect.on(self.verdict);
            return self.enter(now, place, false);
        }
        match otherwise {
            Otherwise::Fails => self.go_on(now, Outcome::Failure),
            Otherwise::GoesOn => self.begin_or_go_on(now),
            Otherwise::Ends => {
                self.run_failed(here);
                self.exit(Some(Reached::Unfinished))
            }
        }
    }

    /// Begins the work of the place, and goes on where it has its outcome at once.
    pub(super) fn begin_or_go_on(&mut self, now: Instant) -> Action {
        match self.begin(now) {
            Ok(action) => action,
            Err(outcome) => self.go_on(now, outcome),
        }
    }

    /// Counts one more write of the record; false when there were too many.
    pub(super) fn count_store(&mut self) -> bool {
        if self.checkpoint.stores >= limits::STORES {
            return false;
        }
        self.checkpoint.stores = self.checkpoint.stores.saturating_add(1);
        true
    }

    pub(super) fn mark(&mut self, tag: Tag) {
        self.checkpoint.tag = tag;
        self.checkpoint.stopped = false;
        self.checkpoint.failed = match &self.owner {
            Owner::Daemon(_) => false,
            Owner::CommandLine(line) => line.has_failed(),
        };
        self.checkpoint.verdict = self.verdict;
    }

    /// The deployment wrote its record too often: it is given up as it is, without rollback or clean-up.
    pub(super) fn state_loop(&mut self, now: Instant) -> Action {
        self.verdict = Verdict::RollbackFailed;
        self.enter(now, (State::StateLoop, Phase::Main), false)
    }

    /// Begins the work of the place the machine stands at; `Err` when it has its outcome at once.
    pub(super) fn begin(&mut self, now: Instant) -> Result<Action, Outcome> {
        if let Some(transition) = state::transition(self.state, self.phase) {
            return Ok(self.first_script(now, transition));
        }
        match self.main_work(now) {
            Begin::Start(op) => Ok(self.work(now, op)),
            Begin::SaveMaps(word) => {
                self.doing = Doing::SavingMaps(word);
                Ok(self.start_op(Op::SaveMaps))
            }
            Begin::Wait => {
                self.doing = Doing::Waiting;
                Ok(Action::Wait)
            }
            Begin::Already(outcome) => Err(outcome),
        }
    }

    pub(super) fn work(&mut self, now: Instant, op: Op) -> Action {
        let limit = match op {
            Op::CallModule(_) => Limit::At(now + self.config.module_timeout),
            Op::Reboot => Limit::At(now + config::REBOOT_WAIT),
            // The download's limits are those of the network and of the module's own work: the driver's.
            Op::Prepare | Op::Stream(_) | Op::Request(_) => Limit::None,
            // Policies end by themselves.
            Op::AskPolicy(_) => Limit::None,
            // A script has its own; the others do not take long.
            Op::RunScript(..)
            | Op::Save
            | Op::SaveReport
            | Op::SaveBegun
            | Op::SaveMaps
            | Op::SaveProvides(_)
            | Op::ClearData
            | Op::ForgetReport
            | Op::CheckVersion
            | Op::CheckRunning
            | Op::End => Limit::None,
        };
        self.doing = Doing::Work(limit);
        self.start_op(op)
    }

    /// The work of a place that has no scripts.
    pub(super) fn main_work(&mut self, now: Instant) -> Begin {
        let call = |call| Begin::Start(Op::CallModule(call));
        match self.state {
            State::Idle => match &mut self.owner {
                Owner::Daemon(daemon) => daemon.polls.idle(now, &self.config),
                Owner::CommandLine(_) => Begin::Already(Outcome::Failure),
            },
            State::Inventory => Begin::Start(Op::Request(ApiCall::Inventory)),
            State::Poll => self.poll(),
            // The control map that came with the offer is no good: nothing was done, nothing is asked for.
            State::ReportDownloading if self.map_is_refused() => Begin::Already(Outcome::Aborted),
            State::ReportDownloading => self.status(Status::Downloading),
            State::Prepare => Begin::Start(Op::Prepare),
            State::CheckSizes => call(Call::ProvidePayloadFileSizes),
            State::Download => {
                let call = if self.file_sizes { Call::DownloadWithFileSizes } else { Call::Download };
                Begin::Start(Op::Stream(call))
            }
            State::InstallDoor => self.door(now, Point::Install),
            State::RebootDoor => self.door(now, Point::Reboot),
            State::CommitDoor => self.door(now, Point::Commit),
            State::ReportInstalling => self.status(Status::Installing),
            State::Install => call(Call::ArtifactInstall),
            State::CheckReboot | State::CheckRollbackReboot => call(Call::NeedsArtifactReboot),
            State::CheckAutoCommit | State::CheckRollback => call(Call::SupportsRollback),
            State::ReportRebooting => self.status(Status::Rebooting),
            State::Reboot => self.reboot(Call::ArtifactReboot),
            State::VerifyReboot => call(Call::ArtifactVerifyReboot),
            State::ReportCommit if self.is_unknown() => Begin::Already(Outcome::Nothing),
            State::ReportCommit => Begin::Start(Op::Request(ApiCall::Status {
                status: Status::Installing,
                fresh_token: !self.repeats(),
            })),
            State::CheckVersion => Begin::Start(Op::CheckVersion),
            State::CheckRunning => Begin::Start(Op::CheckRunning),
            State::Commit => call(Call::ArtifactCommit),
            State::Rollback => call(Call::ArtifactRollback),
            State::RollbackReboot => self.reboot(Call::ArtifactRollbackReboot),
            State::VerifyRollbackReboot => call(Call::ArtifactVerifyRollbackReboot),
            State::Failure => call(Call::ArtifactFailure),
            State::SaveProvides => self.save_provides(),
            State::StateLoop => Begin::Start(Op::SaveProvides(Naming::Loop)),
            State::Cleanup if self.checkpoint.module => call(Call::Cleanup),
            State::Cleanup => Begin::Already(Outcome::Nothing),
            State::ReportFinal if self.verdict.is_good() => self.status(Status::Success),
            State::ReportFinal => self.status(Status::Failure),
            State::ReportLog if self.verdict.is_good() || self.is_unknown() => {
                Begin::Already(Outcome::Nothing)
            }
            State::ReportLog => Begin::Start(Op::Request(ApiCall::Log)),
            State::ClearData => {
                self.close_doors(now);
                Begin::Start(Op::ClearData)
            }
            State::End if self.mode() == Mode::Managed => Begin::Start(Op::End),
            State::AwaitCommit | State::End => Begin::Already(Outcome::Nothing),
            // Scripts only: never asked for their main work.
            State::Offer | State::EmptyPayload | State::RollbackFailed => Begin::Already(Outcome::Nothing),
        }
    }

    pub(super) fn status(&self, status: Status) -> Begin {
        if self.is_unknown() {
            return Begin::Already(Outcome::Nothing);
        }
        Begin::Start(Op::Request(ApiCall::Status { status, fresh_token: false }))
    }

    pub(super) fn reboot(&self, custom: Call) -> Begin {
        match self.checkpoint.reboot {
            RebootKind::Custom => Begin::Start(Op::CallModule(custom)),
            RebootKind::Automatic => Begin::Start(Op::Reboot),
            RebootKind::None => Begin::Already(Outcome::Failure),
        }
    }

    pub(super) const fn save_provides(&self) -> Begin {
        match self.verdict {
            Verdict::Good => Begin::Start(Op::SaveProvides(Naming::Good)),
            Verdict::Failed | Verdict::RollbackFailed => Begin::Start(Op::SaveProvides(Naming::Inconsistent)),
            // The device is what it was.
            Verdict::RolledBack => Begin::Already(Outcome::Nothing),
        }
    }

    /// The server does not know the deployment.
    const fn is_unknown(&self) -> bool {
        match &self.owner {
            Owner::Daemon(daemon) => daemon.unknown,
            Owner::CommandLine(_) => false,
        }
    }

    /// The report at hand was sent before.
    const fn repeats(&self) -> bool {
        match &self.owner {
            Owner::Daemon(daemon) => daemon.repeats,
            Owner::CommandLine(_) => false,
        }
    }
}
