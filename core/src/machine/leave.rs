//! Leaving a place: what its outcome says, what it does to the verdict and the timers, and where to go.

use super::doors::DoorNext;
use super::words::{Action, Reached};
use super::{Doing, Machine, blank, retry_after};
use crate::checkpoint::{Format, RebootKind};
use crate::deployment::{Mode, Verdict};
use crate::retry::{Purpose, SHORTEST, Schedule};
use crate::state::{self, Outcome, Phase, Place, State};
use crate::time::{Duration, Instant, earliest};

impl Machine {
    /// The work of a place without scripts ended: notes what it said, then goes on.
    pub(super) fn main_done(&mut self, now: Instant, outcome: Outcome) -> Action {
        let outcome = match self.state {
            State::Poll => self.polled(now, outcome),
            State::Inventory => self.inventory_sent(now, outcome),
            State::Prepare => {
                // After a failure there is still what an earlier process left to clean up.
                if matches!(outcome, Outcome::Success | Outcome::Nothing) {
                    self.checkpoint.header = true;
                    self.checkpoint.module = outcome == Outcome::Success;
                }
                outcome
            }
            State::CheckSizes => {
                self.file_sizes = outcome == Outcome::Success;
                outcome
            }
            State::CheckReboot | State::CheckRollbackReboot => {
                self.checkpoint.reboot = match outcome {
                    Outcome::Success => RebootKind::Custom,
                    Outcome::Automatic => RebootKind::Automatic,
                    Outcome::Nothing
                    | Outcome::Failure
                    | Outcome::Refused
                    | Outcome::Later(_)
                    | Outcome::Aborted => RebootKind::None,
                };
                self.report.reboot = self.checkpoint.reboot;
                outcome
            }
            State::CheckAutoCommit => {
                self.report.auto_commit = outcome == Outcome::Nothing;
                outcome
            }
            State::CheckRollback
                if core::mem::take(&mut self.rollback_asked) && outcome != Outcome::Success =>
            {
                Outcome::Aborted
            }
            State::ReportCommit | State::ReportFinal | State::ReportLog => match self.delivered(now, outcome)
            {
                Ok(outcome) => outcome,
                Err(until) => {
                    self.doing = Doing::Pause(until);
                    return Action::Wait;
                }
            },
            State::InstallDoor | State::RebootDoor | State::CommitDoor => {
                match self.door_done(now, outcome) {
                    DoorNext::Go(outcome) => outcome,
                    DoorNext::Wait(doing) => {
                        self.doing = doing;
                        return Action::Wait;
                    }
                    DoorNext::Start(op) => return self.work(now, op),
                }
            }
            State::Commit => {
                if outcome == Outcome::Success {
                    // No boot loader brings the version of before back now.
                    self.checkpoint.format = Format::NEWEST;
                }
                outcome
            }
            State::SaveProvides => {
                if outcome == Outcome::Success {
                    self.saved = (self.run.mode() == Mode::Managed).then(|| self.checkpoint.clone());
                }
                outcome
            }
            State::ClearData => {
                if outcome == Outcome::Success {
                    self.saved = None;
                }
                outcome
            }
            State::Idle
            | State::Offer
            | State::ReportDownloading
            | State::Download
            | State::EmptyPayload
            | State::ReportInstalling
            | State::Install
            | State::AwaitCommit
            | State::ReportRebooting
            | State::Reboot
            | State::VerifyReboot
            | State::CheckVersion
            | State::CheckRollback
            | State::Rollback
            | State::RollbackFailed
            | State::RollbackReboot
            | State::VerifyRollbackReboot
            | State::Failure
            | State::Cleanup
            | State::End
            | State::StateLoop => outcome,
        };
        self.go_on(now, outcome)
    }

    pub(super) fn polled(&mut self, now: Instant, outcome: Outcome) -> Outcome {
        let daemon = &mut self.daemon;
        match outcome {
            Outcome::Success | Outcome::Nothing | Outcome::Automatic => {
                daemon.poll_backoff.reset();
                // The server lets the device in: an inventory it has not got need not wait for its own timer, but
                // for what the server asked for, and no request is repeated at once (N13).
                if !daemon.inventory_accepted {
                    let soonest = daemon.no_inventory_before.map_or(now, |at| at.max(now));
                    daemon.next_inventory = earliest(daemon.next_inventory, Some(soonest));
                }
                outcome
            }
            Outcome::Later(_) | Outcome::Failure | Outcome::Refused | Outcome::Aborted => {
                // The retry takes the place of the poll timer; when there are no more, the timer stays.
                let schedule = Schedule::new(&self.config, Purpose::Poll);
                if let Some(wait) = daemon.poll_backoff.next(schedule, retry_after(outcome)) {
                    daemon.next_update = Some(now + wait);
                }
                Outcome::Failure
            }
        }
    }

    pub(super) fn inventory_sent(&mut self, now: Instant, outcome: Outcome) -> Outcome {
        let daemon = &mut self.daemon;
        match outcome {
            Outcome::Success | Outcome::Nothing | Outcome::Automatic => {
                daemon.inventory_backoff.reset();
                daemon.inventory_accepted = true;
                daemon.no_inventory_before = None;
                Outcome::Success
            }
            Outcome::Later(_) | Outcome::Failure | Outcome::Refused | Outcome::Aborted => {
                let schedule = Schedule::new(&self.config, Purpose::Poll);
                let asked_for = retry_after(outcome).map_or(0, |after| after.seconds);
                daemon.no_inventory_before = Some(now + Duration::from_secs(asked_for.into()).max(SHORTEST));
                if let Some(wait) = daemon.inventory_backoff.next(schedule, retry_after(outcome)) {
                    daemon.next_inventory = Some(now + wait);
                }
                Outcome::Failure
            }
        }
    }

    /// A report that must get through: its outcome, or when to try again.
    pub(super) fn delivered(&mut self, now: Instant, outcome: Outcome) -> Result<Outcome, Instant> {
        match outcome {
            Outcome::Failure | Outcome::Later(_) => {
                let retries = state::retries(self.state, self.phase);
                let schedule = retries.map(|purpose| Schedule::new(&self.config, purpose));
                match schedule.and_then(|schedule| self.report_backoff.next(schedule, retry_after(outcome))) {
                    Some(wait) => Err(now + wait),
                    None => Ok(Outcome::Failure),
                }
            }
            Outcome::Success
            | Outcome::Refused
            | Outcome::Nothing
            | Outcome::Automatic
            | Outcome::Aborted => Ok(outcome),
        }
    }

    /// Leaves a place with its outcome: the verdict, the timers, then where to go. `Err`: the run is over.
    pub(super) fn leave(&mut self, outcome: Outcome) -> Result<Place, Action> {
        let (mode, state, phase) = (self.run.mode(), self.state, self.phase);
        let outcome =
            if (state, phase) == (State::Idle, Phase::Leave) { self.what_is_due() } else { outcome };
        self.verdict = state::effect(mode, state, phase, outcome).on(self.verdict);
        self.report_is_repeat = matches!(outcome, Outcome::Later(_));
        // Status and log share their retries: an accepted status does not give the log's back.
        if !self.report_is_repeat && state != State::ReportFinal {
            self.report_backoff.reset();
        }
        match mode {
            Mode::Standalone => self.note(outcome)?,
            Mode::Managed if state == State::End => {
                self.checkpoint = blank(mode, self.checkpoint.format);
                self.verdict = Verdict::Good;
                // What is installed has changed: the inventory is due now, or when the server wants it.
                let soonest = self.daemon.no_inventory_before.unwrap_or(Instant::ZERO);
                self.daemon.next_inventory = earliest(self.daemon.next_inventory, Some(soonest));
            }
            Mode::Managed => {}
        }
        Ok(state::next(mode, state, phase, outcome))
    }

    /// What was due when Idle was left; script errors do not matter there.
    fn what_is_due(&mut self) -> Outcome {
        let daemon = &mut self.daemon;
        daemon.poll_goes_first = daemon.inventory_is_next();
        if daemon.poll_goes_first {
            daemon.inventory_due = false;
            Outcome::Nothing
        } else {
            daemon.update_due = false;
            Outcome::Success
        }
    }

    /// What the run of the command line reports. `Err`: it is over.
    fn note(&mut self, outcome: Outcome) -> Result<(), Action> {
        if matches!(self.state, State::AwaitCommit | State::End) {
            return Err(self.exit(self.report.reached));
        }
        if state::run_fails(self.state, self.phase, outcome) {
            self.report.failed_at.get_or_insert((self.state, self.phase));
        }
        self.report.cleanup_failed |= self.state == State::Cleanup
            && matches!(outcome, Outcome::Failure | Outcome::Refused | Outcome::Aborted);
        let reached = state::reached(self.state, outcome);
        // An empty payload stays one when its record is gone.
        let stays = self.report.reached == Reached::EmptyCommitted && reached == Some(Reached::Ended);
        if let Some(reached) = reached.filter(|_| !stays) {
            self.report.reached = reached;
        }
        Ok(())
    }

    pub(super) fn exit(&mut self, reached: Reached) -> Action {
        self.doing = Doing::Over;
        self.report.reached = reached;
        self.report.verdict = self.verdict;
        Action::Exit(self.report)
    }
}
