//! Leaving a place: what its outcome says, what it does to the verdict and the timers, and where to go.

use super::words::Action;
use super::{Apart, CommandLine, Doing, Machine, Owner, blank, retry_after};
use crate::checkpoint::{Format, RebootKind};
use crate::deployment::{Mode, Point, Verdict};
use crate::retry::Schedule;
use crate::state::{self, Outcome, Phase, Place, Reached, State};
use crate::time::Instant;

impl Machine {
    /// The work of a place without scripts ended: notes what it said, then goes on.
    pub(super) fn main_done(&mut self, now: Instant, outcome: Outcome) -> Action {
        let outcome = match self.state {
            State::Poll if self.is_late() => return self.reported_late(now, outcome),
            State::Poll => {
                let outcome = self.turned_down(outcome);
                match &mut self.owner {
                    Owner::Daemon(daemon) => {
                        // A poll that a person wanted while this one was under way is still to come.
                        if outcome == Outcome::Nothing && !daemon.polls.update_due {
                            daemon.again.answered();
                        }
                        daemon.polls.polled(now, &self.config, outcome)
                    }
                    Owner::CommandLine(_) => outcome,
                }
            }
            State::Inventory => match &mut self.owner {
                Owner::Daemon(daemon) => daemon.polls.inventory_sent(now, &self.config, outcome),
                Owner::CommandLine(_) => outcome,
            },
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
                let reboot = self.checkpoint.reboot;
                if let Some(line) = self.command_line() {
                    line.note_reboot(reboot);
                }
                outcome
            }
            State::CheckAutoCommit => {
                if let Some(line) = self.command_line() {
                    line.note_auto_commit(outcome == Outcome::Nothing);
                }
                outcome
            }
            // A rollback that was asked for, of a module that has none: the update stays as it is.
            State::CheckRollback => {
                let asked = self.was_asked_to_roll_back();
                if asked && outcome != Outcome::Success { Outcome::Aborted } else { outcome }
            }
            // Nothing is installed yet: as an abort.
            State::ReportDownloading | State::ReportInstalling if outcome == Outcome::Nothing => {
                Outcome::Aborted
            }
            State::ReportRebooting => self.heard(outcome),
            State::ReportCommit | State::ReportFinal | State::ReportLog => match self.delivered(now, outcome)
            {
                Ok(outcome) => outcome,
                Err(until) => {
                    self.doing = Doing::Repeat(until);
                    return Action::Wait;
                }
            },
            // The daemon tries again; the command line ends, and its user does.
            State::Rollback if self.mode() == Mode::Managed && matches!(outcome, Outcome::Later(_)) => {
                match self.delivered(now, outcome) {
                    Ok(outcome) => outcome,
                    Err(until) => {
                        self.doing = Doing::Repeat(until);
                        return Action::Wait;
                    }
                }
            }
            State::InstallDoor => return self.door_done(now, Point::Install, outcome),
            State::RebootDoor => return self.door_done(now, Point::Reboot, outcome),
            State::CommitDoor => return self.door_done(now, Point::Commit, outcome),
            State::Commit => {
                if outcome == Outcome::Success {
                    // No boot loader brings the version of before back now.
                    self.checkpoint.format = Format::NEWEST;
                }
                outcome
            }
            State::SaveProvides => {
                if outcome == Outcome::Success {
                    self.saved = (self.mode() == Mode::Managed).then(|| self.checkpoint.clone());
                }
                outcome
            }
            State::ClearData => {
                if outcome == Outcome::Success {
                    self.saved = None;
                    self.begun_is_written();
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
            | State::CheckRunning
            | State::Reboot
            | State::VerifyReboot
            | State::CheckVersion
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

    /// Whether `rollback` was asked for; it is decided now.
    fn was_asked_to_roll_back(&mut self) -> bool {
        self.command_line().is_some_and(CommandLine::take_rollback)
    }

    /// A report of an update that is installed was answered. A server that does not know the deployment does not hold it
    /// up: nothing more is reported, and the update goes on to its end.
    pub(super) fn heard(&mut self, outcome: Outcome) -> Outcome {
        if let (Outcome::Nothing, Some(daemon)) = (outcome, self.daemon()) {
            daemon.unknown = true;
        }
        outcome
    }

    /// A report that must get through: its outcome, or when to try again.
    pub(super) fn delivered(&mut self, now: Instant, outcome: Outcome) -> Result<Outcome, Instant> {
        match outcome {
            Outcome::Failure | Outcome::Later(_) => {
                let retries = state::retries(self.state, self.phase);
                let schedule = retries.map(|purpose| Schedule::new(&self.config, purpose));
                let wait = match (self.daemon(), schedule) {
                    (Some(daemon), Some(schedule)) => daemon.report.next(schedule, retry_after(outcome)),
                    (Some(_) | None, _) => None,
                };
                if wait.is_none() && matches!(self.state, State::ReportFinal | State::ReportLog) {
                    self.keep_report(now);
                }
                wait.map_or(Ok(Outcome::Failure), |wait| Err(now + wait))
            }
            Outcome::Success | Outcome::Automatic => Ok(self.heard(outcome)),
            Outcome::Refused | Outcome::Nothing | Outcome::Aborted => {
                self.report_given_up = Apart(matches!(self.state, State::ReportFinal | State::ReportLog));
                Ok(self.heard(outcome))
            }
        }
    }

    /// Leaves a place with its outcome: the verdict, the timers, then where to go. `Err`: the run is over.
    pub(super) fn leave(&mut self, now: Instant, outcome: Outcome) -> Result<Place, Action> {
        let (mode, state, phase) = (self.mode(), self.state, self.phase);
        let outcome = match &mut self.owner {
            Owner::Daemon(daemon) if (state, phase) == (State::Idle, Phase::Leave) => daemon.polls.take(),
            Owner::Daemon(_) | Owner::CommandLine(_) => outcome,
        };
        if state == State::ReportFinal && is_refused(outcome) {
            let id = self.checkpoint.deployment.clone();
            self.end_is_refused(now, id.as_str());
        }
        self.verdict = state::effect(mode, state, phase, outcome).on(self.verdict);
        match &mut self.owner {
            Owner::CommandLine(line) => {
                if matches!(state, State::AwaitCommit | State::End) {
                    return Err(self.exit(None));
                }
                line.note((state, phase), outcome);
            }
            Owner::Daemon(daemon) => {
                daemon.repeats = matches!(outcome, Outcome::Later(_));
                // Status and log share their retries: an accepted status does not give the log's back.
                if !daemon.repeats && state != State::ReportFinal {
                    daemon.report.reset();
                }
                if state == State::End {
                    daemon.unknown = false;
                    daemon.polls.deployment_over();
                    self.checkpoint = blank(mode, self.checkpoint.format);
                    self.verdict = Verdict::Good;
                }
            }
        }
        Ok(state::next(mode, state, phase, outcome))
    }

    /// Here the run of the command line has failed, unless it had before.
    pub(super) fn run_failed(&mut self, place: Place) {
        if let Some(line) = self.command_line() {
            line.fails_at(place);
        }
    }

    /// The run of the command line is over. `reached`: unless it is what was reached before.
    pub(super) fn exit(&mut self, reached: Option<Reached>) -> Action {
        self.doing = Doing::Over;
        let verdict = self.verdict;
        match self.command_line() {
            Some(line) => Action::Exit(line.exit(reached, verdict)),
            // The daemon's table has no way out.
            None => Action::Wait,
        }
    }
}

/// Whether the server has refused for good to hear how a deployment ended. Not known to the server, and over before, are
/// that too: a server that offers the deployment again all the same would do so for ever.
const fn is_refused(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Refused | Outcome::Nothing | Outcome::Aborted => true,
        Outcome::Success | Outcome::Automatic | Outcome::Failure | Outcome::Later(_) => false,
    }
}
