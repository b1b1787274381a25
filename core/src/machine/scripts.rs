//! The scripts of a transition, one after the other, with retry-later.

use super::words::{Action, Op};
use super::{Apart, Doing, Limit, Machine, Shift};
use crate::script::Transition;
use crate::state::{self, Outcome};
use crate::time::Instant;

/// How far the scripts of the transition at hand are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Scripts {
    index: u16,
    /// When the script at hand was started first.
    since: Instant,
    /// One before it has failed, where the others run all the same.
    failed: bool,
}

impl Scripts {
    pub(super) fn rebase(&mut self, shift: Shift) {
        self.since = shift.time(self.since);
    }
}

impl Machine {
    /// Starts the first script of the place.
    pub(super) fn first_script(&mut self, now: Instant, transition: Transition) -> Action {
        self.run_script(now, transition, Scripts { index: 0, since: now, failed: false })
    }

    /// A script that asked for later is to be run again.
    pub(super) fn script_again(&mut self, now: Instant, scripts: Scripts) -> Action {
        let Some(transition) = state::transition(self.state, self.phase) else { return Action::Wait };
        if self.retries_end(scripts) <= now {
            return self.script_done(now, scripts, Outcome::Later(None));
        }
        self.run_script(now, transition, scripts)
    }

    /// A script ended, or there is none of its number.
    pub(super) fn script_done(&mut self, now: Instant, scripts: Scripts, outcome: Outcome) -> Action {
        let Some(transition) = state::transition(self.state, self.phase) else { return Action::Wait };
        self.asked_too_long = Apart(matches!(outcome, Outcome::Later(_)) && self.retries_end(scripts) <= now);
        match outcome {
            Outcome::Later(_) if !self.asked_too_long.0 => {
                let until = now + self.config.state_script_retry_interval;
                self.doing = Doing::ScriptLater(scripts, until.min(self.retries_end(scripts)));
                Action::Wait
            }
            Outcome::Success | Outcome::Automatic => self.next_script(now, transition, scripts),
            Outcome::Later(_) | Outcome::Failure | Outcome::Aborted => {
                if state::runs_all_scripts(self.state, self.phase) {
                    self.next_script(now, transition, Scripts { failed: true, ..scripts })
                } else {
                    self.go_on(now, Outcome::Failure)
                }
            }
            Outcome::Refused => self.go_on(now, Outcome::Failure),
            Outcome::Nothing => {
                self.go_on(now, if scripts.failed { Outcome::Failure } else { Outcome::Success })
            }
        }
    }

    /// When the script at hand is not started again (S-4: counted from its first start).
    fn retries_end(&self, scripts: Scripts) -> Instant {
        scripts.since + self.config.state_script_retry_timeout
    }

    fn next_script(&mut self, now: Instant, transition: Transition, scripts: Scripts) -> Action {
        let index = scripts.index.saturating_add(1);
        self.run_script(now, transition, Scripts { index, since: now, ..scripts })
    }

    fn run_script(&mut self, now: Instant, transition: Transition, scripts: Scripts) -> Action {
        self.doing = Doing::Script(scripts, Limit::At(now + self.config.state_script_timeout));
        self.start_op(Op::RunScript(transition, scripts.index))
    }
}
