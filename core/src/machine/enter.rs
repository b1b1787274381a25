//! Entering a place: what is written first, and what the place does.

use super::words::{Action, ApiCall, Op, Run, Stop};
use super::{Begin, Doing, Machine, Scripts};
use crate::checkpoint::{RebootKind, Tag};
use crate::config;
use crate::deployment::{Call, Mode, Naming, Point, Status, Verdict};
use crate::limits;
use crate::state::{self, Outcome, Phase, Place, State};
use crate::time::Instant;

impl Machine {
    /// Goes to a place and begins it; goes on as long as places have their outcome at once. `begun`: the place had
    /// begun before a restart, so it is too late to stop before it.
    pub(super) fn enter(&mut self, now: Instant, place: Place, begun: bool) -> Action {
        let (mut place, mut begun) = (place, begun);
        loop {
            (self.state, self.phase) = place;
            if let Some((stop, tag)) = Stop::at(place)
                && self.stop_before.contains(stop)
                && self.run.mode() == Mode::Standalone
                && !begun
            {
                self.mark(tag);
                self.checkpoint.stopped = true;
                self.checkpoint.failed = false;
                self.doing = Doing::Stopping(stop);
                return self.start_op(Op::Save);
            }
            begun = false;
            let outcome = match self.save_first() {
                Some(true) => {
                    self.doing = Doing::Saving;
                    return self.start_op(Op::Save);
                }
                Some(false) => return self.state_loop(now),
                None => match self.begin(now) {
                    Ok(action) => return action,
                    Err(outcome) => outcome,
                },
            };
            place = match self.leave(outcome) {
                Ok(next) => next,
                Err(action) => return action,
            };
        }
    }

    /// `Some(true)`: the record is to be written before the place begins; `Some(false)`: it was written too often.
    pub(super) fn save_first(&mut self) -> Option<bool> {
        let mode = self.run.mode();
        let tag = match (self.state, self.phase) {
            // The device is touched now: what could not be written on entry is tried once more. A rollback that a
            // restart does not know of would be taken for the update (the record may still say `reboot`).
            (State::Rollback | State::RollbackReboot, Phase::Main) if !self.is_saved() => self.checkpoint.tag,
            // A script of `ArtifactRollbackReboot_Enter` that failed must not be forgotten over the reboot (D-6).
            (State::RollbackReboot, Phase::Main) if self.checkpoint.verdict != self.verdict => {
                self.checkpoint.tag
            }
            // A failed `Cleanup` is about to be reported: a restart must not tell the server something else, which
            // would open the deployment again.
            (State::ReportFinal, Phase::Main)
                if mode == Mode::Managed
                    && self.checkpoint.tag == Tag::Cleanup
                    && self.checkpoint.verdict != self.verdict
                    && self.checkpoint.stores < limits::STORES =>
            {
                Tag::Cleanup
            }
            // Looked again, and waits on: the record says so already.
            (State::RebootDoor, Phase::Leave) if self.checkpoint.tag == Tag::Reboot && self.is_saved() => {
                return None;
            }
            // An earlier process has written just this.
            (State::CheckSizes, Phase::Main) if self.is_saved() => return None,
            // The device is what it was: nothing is written.
            (State::SaveProvides, _) if self.verdict == Verdict::RolledBack => return None,
            (state, phase) => state::tag(mode, state, phase)?,
        };
        self.mark(tag);
        let counts = mode == Mode::Managed && self.state != State::RebootDoor;
        let allowed = !counts || self.count_store();
        // Written together with name and provides.
        if allowed && self.state == State::SaveProvides { None } else { Some(allowed) }
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
        self.checkpoint.failed = self.run.mode() == Mode::Standalone && self.report.failed_at.is_some();
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
            self.scripts = Scripts { first_start: Some(now), ..Scripts::default() };
            return Ok(self.work(now, Op::RunScript(transition, 0)));
        }
        match self.main_work(now) {
            Begin::Start(op) => Ok(self.work(now, op)),
            Begin::Wait => {
                self.doing = Doing::Waiting;
                Ok(Action::Wait)
            }
            Begin::Already(outcome) => Err(outcome),
        }
    }

    pub(super) fn work(&mut self, now: Instant, op: Op) -> Action {
        let limit = match op {
            Op::RunScript(..) => Some(self.config.state_script_timeout),
            Op::CallModule(_) => Some(self.config.module_timeout),
            Op::Reboot => Some(config::REBOOT_WAIT),
            // The download's limits are those of the network and of the module's own work: the driver's.
            Op::Prepare | Op::Stream(_) | Op::Request(_) => None,
            // Policies end by themselves.
            Op::AskPolicy(_) => None,
            Op::Save | Op::SaveMaps | Op::SaveProvides(_) | Op::ClearData | Op::CheckVersion | Op::End => {
                None
            }
        };
        self.doing = Doing::Work { deadline: limit.map(|limit| now + limit), killed: false };
        self.start_op(op)
    }

    /// The work of a place that has no scripts.
    pub(super) fn main_work(&mut self, now: Instant) -> Begin {
        let call = |call| Begin::Start(Op::CallModule(call));
        match self.state {
            State::Idle => self.idle(now),
            State::Inventory => Begin::Start(Op::Request(ApiCall::Inventory)),
            State::Poll => Begin::Start(Op::Request(ApiCall::Next)),
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
            State::ReportCommit => Begin::Start(Op::Request(ApiCall::Status {
                status: Status::Installing,
                fresh_token: !self.report_is_repeat,
            })),
            State::CheckVersion => Begin::Start(Op::CheckVersion),
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
            State::ReportLog if self.verdict.is_good() => Begin::Already(Outcome::Nothing),
            State::ReportLog => Begin::Start(Op::Request(ApiCall::Log)),
            State::ClearData => {
                self.close_doors(now);
                Begin::Start(Op::ClearData)
            }
            State::End if self.run == Run::Daemon => Begin::Start(Op::End),
            State::AwaitCommit | State::End => Begin::Already(Outcome::Nothing),
            // Scripts only: never asked for their main work.
            State::Offer | State::EmptyPayload | State::RollbackFailed => Begin::Already(Outcome::Nothing),
        }
    }

    pub(super) fn status(&self, status: Status) -> Begin {
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

    /// Idle: on with what is due, or wait.
    pub(super) fn idle(&mut self, now: Instant) -> Begin {
        let daemon = &mut self.daemon;
        daemon.update_due |= daemon.next_update.is_some_and(|at| at <= now);
        daemon.inventory_due |= daemon.next_inventory.is_some_and(|at| at <= now);
        // Timers are armed before anything of the cycle can fail: no error stops the polling for good.
        if daemon.inventory_is_next() {
            daemon.next_inventory = Some(now + self.config.inventory_poll_interval);
            Begin::Already(Outcome::Nothing)
        } else if daemon.update_due {
            daemon.next_update = Some(now + self.config.update_poll_interval);
            Begin::Already(Outcome::Success)
        } else {
            Begin::Wait
        }
    }
}
