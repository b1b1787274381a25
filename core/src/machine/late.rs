//! The end of a deployment that the server has not heard of: it is reported before the next poll (R-23).
//!
//! ```text
//!   Poll: status --accepted--> log, after a failure --accepted--> the record goes --> is there a deployment?
//!           |                   |                                    ^
//!           |                   +--refused for good------------------+
//!           +--refused for good, or not known------------------------+
//!           +--no answer, or not now: the record is brought up to date where it must be --> as a poll that failed
//! ```

use super::words::{Action, ApiCall, Op};
use super::{Apart, Begin, Machine, Owner, Shift};
use crate::checkpoint::Tag;
use crate::deployment::Status;
use crate::last_report::{Ended, Owed};
use crate::state::{Outcome, State};
use crate::time::{Duration, Instant};

/// How long a server may answer a last report with errors of its own before it is given up: a server that never takes it
/// must not keep the device from its updates.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How much of that time a restart may forget: the record is written once in so long.
const FORGETS: Duration = Duration::from_secs(15 * 60);

/// A deployment whose end the server has not heard of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Unheard {
    ended: Ended,
    step: Option<Step>,
    /// When the last answer came, if the server answered with an error of its own.
    broken_at: Option<Instant>,
    /// What is on record of [`Ended::owed`] and [`Ended::broken`].
    on_record: (Owed, Duration),
}

/// What is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Status,
    Log,
    /// The record is brought up to date, after a request that ended so.
    Save(Outcome),
    Forget,
}

impl Unheard {
    /// As it is on record, or will be with the end of the update.
    pub(super) const fn new(ended: Ended) -> Self {
        let on_record = (ended.owed, ended.broken);
        Self { ended, step: None, broken_at: None, on_record }
    }

    pub(super) fn rebase(&mut self, shift: Shift) {
        self.broken_at = self.broken_at.map(|at| shift.time(at));
    }

    /// The request of this report.
    const fn request(&mut self) -> ApiCall {
        match self.ended.owed {
            Owed::Status => {
                self.step = Some(Step::Status);
                ApiCall::Status {
                    status: if self.ended.good { Status::Success } else { Status::Failure },
                    fresh_token: false,
                }
            }
            Owed::Log => {
                self.step = Some(Step::Log);
                ApiCall::Log
            }
        }
    }

    /// Whether nothing more is to be reported, now that a request ended so.
    fn is_over(&mut self, now: Instant, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Success | Outcome::Automatic if self.ended.owed == Owed::Status && !self.ended.good => {
                self.ended.owed = Owed::Log;
                false
            }
            Outcome::Success
            | Outcome::Automatic
            | Outcome::Nothing
            | Outcome::Aborted
            | Outcome::Refused => true,
            // What only the server itself can be the reason of.
            Outcome::Later(None) => {
                let more = self.broken_at.map_or(Duration::ZERO, |at| now.since(at));
                self.ended.broken = self.ended.broken.plus(more);
                self.broken_at = Some(now);
                self.ended.broken >= LONGEST
            }
            // Whether it would have been one, nobody knows.
            Outcome::Failure | Outcome::Later(Some(_)) => {
                self.broken_at = None;
                false
            }
        }
    }

    /// The record says something else, and must not.
    fn is_news(&self) -> bool {
        let (owed, broken) = self.on_record;
        owed != self.ended.owed || self.ended.broken >= broken.plus(FORGETS)
    }
}

impl Machine {
    /// The deployment whose end is to be reported before the next poll.
    #[must_use]
    pub fn unheard(&self) -> Option<&Ended> {
        self.unheard_report().map(|unheard| &unheard.ended)
    }

    /// What is on record of a deployment that is over: [`Self::unheard`], or that of the deployment which is about to be
    /// reported.
    #[must_use]
    pub fn last_report(&self) -> Option<Ended> {
        let is_report = self.state == State::ReportFinal && self.checkpoint.tag == Tag::Report;
        self.unheard().cloned().or_else(|| is_report.then(|| self.ended(Owed::Status)))
    }

    /// The deployment in progress, which is over.
    fn ended(&self, owed: Owed) -> Ended {
        let id = self.checkpoint.deployment.clone();
        Ended { id, good: self.verdict.is_good(), owed, broken: Duration::ZERO }
    }

    /// The deployment that the report at hand is about: the one in progress, or that of [`Self::unheard`].
    #[must_use]
    pub fn reported(&self) -> &str {
        match self.unheard_report() {
            Some(unheard) if self.is_late() => unheard.ended.id.as_str(),
            Some(_) | None => self.deployment(),
        }
    }

    /// The report at hand is that of [`Self::unheard`].
    #[must_use]
    pub fn is_late(&self) -> bool {
        self.state == State::Poll && self.unheard_report().is_some_and(|unheard| unheard.step.is_some())
    }

    const fn unheard_report(&self) -> Option<&Unheard> {
        match &self.owner {
            Owner::Daemon(daemon) => daemon.unheard.as_ref(),
            Owner::CommandLine(_) => None,
        }
    }

    /// The last report of the deployment could not be delivered: it stays on record, and polling goes on behind it.
    pub(super) fn keep_report(&mut self, now: Instant) {
        let owed = if self.state == State::ReportLog { Owed::Log } else { Owed::Status };
        let ended = self.ended(owed);
        let interval = self.config.update_poll_interval;
        if let Some(daemon) = self.daemon() {
            daemon.unheard = Some(Unheard::new(ended));
            daemon.polls.next_update = Some(now + interval);
        }
    }

    /// The work of a poll: what the server has not heard goes first.
    pub(super) fn poll(&mut self) -> Begin {
        let unheard = self.daemon().and_then(|daemon| daemon.unheard.as_mut());
        Begin::Start(Op::Request(unheard.map_or(ApiCall::Next, Unheard::request)))
    }

    /// A step of the late report ended.
    pub(super) fn reported_late(&mut self, now: Instant, outcome: Outcome) -> Action {
        let Some(unheard) = self.daemon().and_then(|daemon| daemon.unheard.as_mut()) else {
            return self.go_on(now, Outcome::Failure);
        };
        let op = match unheard.step.take() {
            Some(Step::Status | Step::Log) => {
                let before = unheard.ended.owed;
                if unheard.is_over(now, outcome) {
                    unheard.step = Some(Step::Forget);
                    let is_given_up = !matches!(outcome, Outcome::Success | Outcome::Automatic);
                    // Else the status was accepted, and only the log was not.
                    let status = (before == Owed::Status).then(|| unheard.ended.id.clone());
                    self.report_given_up = Apart(is_given_up);
                    if let Some(id) = status.filter(|_| is_given_up) {
                        self.end_is_refused(now, id.as_str());
                    }
                    Op::ForgetReport
                } else if unheard.ended.owed != before {
                    Op::Request(unheard.request())
                } else if unheard.is_news() {
                    unheard.step = Some(Step::Save(outcome));
                    Op::SaveReport
                } else {
                    return self.poll_failed(now, outcome);
                }
            }
            Some(Step::Save(ended)) => {
                if outcome == Outcome::Success {
                    unheard.on_record = (unheard.ended.owed, unheard.ended.broken);
                }
                return self.poll_failed(now, ended);
            }
            Some(Step::Forget) | None => {
                if outcome == Outcome::Success {
                    self.begun_is_written();
                }
                if let Some(daemon) = self.daemon() {
                    daemon.unheard = None;
                }
                Op::Request(ApiCall::Next)
            }
        };
        self.work(now, op)
    }

    fn poll_failed(&mut self, now: Instant, outcome: Outcome) -> Action {
        let outcome = match &mut self.owner {
            Owner::Daemon(daemon) => daemon.polls.polled(now, &self.config, outcome),
            Owner::CommandLine(_) => outcome,
        };
        self.go_on(now, outcome)
    }
}
