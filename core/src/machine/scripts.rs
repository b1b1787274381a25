//! The scripts of a transition, one after the other, with retry-later.

use super::words::{Action, Op};
use super::{Doing, Machine};
use crate::script::Transition;
use crate::state::{self, Outcome};
use crate::time::Instant;

impl Machine {
    /// A pause is over.
    pub(super) fn repeat(&mut self, now: Instant) -> Action {
        let Some(transition) = state::transition(self.state, self.phase) else {
            return self.go_on(now, Outcome::Later(None));
        };
        if self.retry_budget_ends().is_some_and(|end| end <= now) {
            return self.script_done(now, Outcome::Failure);
        }
        self.work(now, Op::RunScript(transition, self.scripts.index))
    }

    /// When the script at hand must not be started again (S-4: counted from its first start).
    pub(super) fn retry_budget_ends(&self) -> Option<Instant> {
        self.scripts.first_start.map(|start| start + self.config.state_script_retry_timeout)
    }

    /// A script ended, or there is none of its number.
    pub(super) fn script_done(&mut self, now: Instant, outcome: Outcome) -> Action {
        let Some(transition) = state::transition(self.state, self.phase) else { return Action::Wait };
        match outcome {
            Outcome::Later(_) => {
                let budget = self.retry_budget_ends().unwrap_or(now);
                if now < budget {
                    let until = (now + self.config.state_script_retry_interval).min(budget);
                    self.doing = Doing::Pause(until);
                    return Action::Wait;
                }
                self.script_failed(now, transition)
            }
            Outcome::Success | Outcome::Automatic => self.next_script(now, transition),
            Outcome::Failure | Outcome::Aborted => self.script_failed(now, transition),
            Outcome::Refused => self.go_on(now, Outcome::Failure),
            Outcome::Nothing => {
                let failed = self.scripts.failed;
                self.go_on(now, if failed { Outcome::Failure } else { Outcome::Success })
            }
        }
    }

    pub(super) fn script_failed(&mut self, now: Instant, transition: Transition) -> Action {
        if state::runs_all_scripts(self.state, self.phase) {
            self.scripts.failed = true;
            self.next_script(now, transition)
        } else {
            self.go_on(now, Outcome::Failure)
        }
    }

    pub(super) fn next_script(&mut self, now: Instant, transition: Transition) -> Action {
        self.scripts.index = self.scripts.index.saturating_add(1);
        self.scripts.first_start = Some(now);
        self.work(now, Op::RunScript(transition, self.scripts.index))
    }
}
