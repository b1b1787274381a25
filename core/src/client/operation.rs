//! Beginning operations, and polling those that take time.

use core::task::Poll;

use super::Client;
use super::messages::{ScriptFault, ScriptName, UpdateText, say};
use super::reason::{Noted, note};
use crate::config;
use crate::deployment::{Call, Naming};
use crate::flow::Event;
use crate::hal::{
    Cause, Exit, Hal, Level, Log, Permit, Platform, Policy, ScriptRunner, System, UpdateModule,
};
use crate::machine::Op;
use crate::message::Earlier;
use crate::script::RETRY_LATER;
use crate::state::{Outcome, Place, transition};
use crate::text::Shown;
use crate::time::Instant;
use crate::transfer::Action;

/// What is polled for the operation that is outstanding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Nothing; the operation may be a request.
    None,
    /// It ended while it began.
    Ended(Outcome),
    /// A state script.
    Script,
    /// A call of the update module.
    Module(Call),
    /// An artifact on its way in: what is done for it.
    Transfer(Action),
    /// The reboot command; `asked`: it succeeded, and the client waits to be ended.
    Reboot { asked: bool },
    /// The policies of the device are asked.
    Policy,
    /// The module finds out whether what is to be committed runs.
    CheckRunning,
}

/// What polling the running operation gave.
pub(super) enum Polled {
    /// Nothing to do before the platform wakes.
    Pending,
    /// It moved on; poll again.
    Moved,
    /// It ended.
    Ended(Outcome),
}

impl From<Poll<Outcome>> for Polled {
    fn from(poll: Poll<Outcome>) -> Self {
        match poll {
            Poll::Pending => Self::Pending,
            Poll::Ready(outcome) => Self::Ended(outcome),
        }
    }
}

impl<P: Platform> Client<'_, P> {
    /// Begins an operation; what happened, if something did at once.
    #[inline(never)]
    pub(super) fn begin(&mut self, now: Instant, op: Op) -> Option<Event> {
        say(&mut self.hal.log, Level::Debug, &UpdateText::Next { op });
        self.work = match op {
            Op::Save => Work::Ended(self.save()),
            Op::SaveReport => Work::Ended(self.save_last_report()),
            Op::SaveMaps => Work::Ended(self.save_maps()),
            Op::SaveProvides(naming) => {
                if naming == Naming::Loop && self.story.reason.is_empty() {
                    self.fail(&UpdateText::Loop);
                }
                Work::Ended(self.save_provides(naming))
            }
            Op::ClearData => Work::Ended(self.clear_data()),
            Op::ForgetReport => Work::Ended(self.forget_report()),
            Op::SaveBegun => Work::Ended(self.save_begun()),
            Op::RunScript(transition, index) => match self.hal.scripts.start(now, transition, index) {
                Ok(true) => {
                    self.story.summary.script_starts(now);
                    say(&mut self.hal.log, Level::Debug, &UpdateText::RunsScript { index, transition });
                    Work::Script
                }
                Ok(false) => Work::Ended(Outcome::Nothing),
                Err(error) => {
                    self.fail(&UpdateText::Scripts { transition, error: Cause::of(&error) });
                    Work::Ended(Outcome::Refused)
                }
            },
            Op::CheckVersion => Work::Ended(match self.hal.scripts.check_version() {
                Ok(()) => Outcome::Success,
                Err(error) => self.fail(&UpdateText::BeforeCommit { error: Cause::of(&error) }),
            }),
            Op::CheckRunning => self.check_running(now),
            Op::CallModule(call) => self.call_module(now, call),
            Op::Prepare => match self.prepare_transfer() {
                Ok(()) => return Some(Event::Ready),
                Err(Noted { .. }) => Work::Ended(Outcome::Failure),
            },
            Op::Stream(call) => return Some(self.start_module(now, call)),
            Op::Reboot => match self.hal.system.start_reboot(now) {
                Ok(()) => Work::Reboot { asked: false },
                Err(error) => Work::Ended(self.fail(&UpdateText::Reboot { error: Cause::of(&error) })),
            },
            Op::Request(_) => {
                self.work = Work::None;
                return Some(Event::Ready);
            }
            Op::AskPolicy(point) => {
                let since = self.machine().at_door_since().unwrap_or(now);
                self.hal.policy.start(now, point, since);
                Work::Policy
            }
            Op::End => {
                // An offer that was dropped before anything was done has nothing to tell.
                let Self { hal, flow, story, .. } = self;
                let machine = flow.machine();
                if machine.checkpoint().stores > 0 {
                    let (deployment, line) = (machine.deployment(), story.line(machine.verdict()));
                    say(&mut hal.log, Level::Info, &UpdateText::Ended { deployment, line: Earlier(&line) });
                }
                hal.log.close_deployment();
                Work::Ended(Outcome::Success)
            }
        };
        None
    }

    fn call_module(&mut self, now: Instant, call: Call) -> Work {
        if call == Call::Cleanup && self.hal.module.is_clean() {
            // An earlier start already came this far.
            return Work::Ended(Outcome::Success);
        }
        let started = if self.flow.has_module() {
            self.hal
                .module
                .start(now, call)
                .map_err(|error| self.fail(&UpdateText::Call { call, error: Cause::of(&error) }))
        } else {
            Err(self.fail(&UpdateText::NoModule { call }))
        };
        match started {
            Ok(()) => {
                say(&mut self.hal.log, Level::Debug, &UpdateText::Calls { call });
                Work::Module(call)
            }
            Err(outcome) => {
                if call == Call::Cleanup {
                    self.remove_tree();
                }
                Work::Ended(self.once_more(call).unwrap_or(outcome))
            }
        }
    }

    /// Whatever else is wrong is found, and told, by the commit itself.
    fn check_running(&mut self, now: Instant) -> Work {
        match self.flow.has_module().then(|| self.hal.module.start_check_running(now)) {
            Some(Ok(true)) => Work::CheckRunning,
            Some(Ok(false) | Err(_)) | None => Work::Ended(Outcome::Success),
        }
    }

    #[inline(never)]
    fn poll_check_running(&mut self, now: Instant) -> Poll<Outcome> {
        self.hal.module.poll_exit(now).map(|exit| {
            if exit.is_err() || self.hal.module.answer() != b"No" {
                return Outcome::Success;
            }
            self.fail(&UpdateText::NotRunning);
            Outcome::Refused
        })
    }

    pub(super) fn remove_tree(&mut self) {
        if let Err(error) = self.hal.module.remove() {
            say(&mut self.hal.log, Level::Error, &UpdateText::TreeStays { error: Cause::of(&error) });
        }
    }

    /// Polls what runs.
    #[inline(never)]
    pub(super) fn poll_work(&mut self, now: Instant) -> Polled {
        match self.work {
            Work::None => Polled::Pending,
            Work::Ended(outcome) => Polled::Ended(outcome),
            Work::Script => self.poll_script(now).into(),
            Work::Module(call) => self.poll_module(now, call).into(),
            Work::Transfer(action) => self.poll_transfer(now, action),
            Work::Reboot { asked } => self.poll_reboot(now, asked).into(),
            Work::Policy => self.hal.policy.poll(now).map(permitted).into(),
            Work::CheckRunning => self.poll_check_running(now).into(),
        }
    }

    fn poll_script(&mut self, now: Instant) -> Poll<Outcome> {
        self.hal.scripts.poll_exit(now).map(|exit| match exit {
            Ok(exit) => self.script_ended(now, exit),
            Err(error) => self.fail(&UpdateText::Script { error: Cause::of(&error) }),
        })
    }

    fn poll_module(&mut self, now: Instant, call: Call) -> Poll<Outcome> {
        self.hal.module.poll_exit(now).map(|exit| {
            let outcome = match exit {
                Ok(exit) => self.call_ended(call, exit),
                Err(error) => {
                    let failed = self.fail(&UpdateText::Call { call, error: Cause::of(&error) });
                    self.once_more(call).unwrap_or(failed)
                }
            };
            if call == Call::Cleanup {
                self.remove_tree();
            }
            outcome
        })
    }

    /// A rollback that failed without any effect and is to be repeated.
    fn once_more(&self, call: Call) -> Option<Outcome> {
        let waits =
            call == Call::ArtifactRollback && self.flow.has_module() && self.hal.module.rollback_waits();
        waits.then_some(Outcome::Later(None))
    }

    #[inline(never)]
    fn script_ended(&mut self, now: Instant, exit: Exit) -> Outcome {
        self.flight.exited(exit);
        match exit {
            Exit::Code(0) => Outcome::Success,
            Exit::Code(RETRY_LATER) => {
                let (state, phase) = self.machine().place();
                let transition = transition(state, phase);
                let Hal { scripts, log, .. } = &mut self.hal;
                let script = ScriptName::of(scripts.name(), transition);
                say(log, Level::Info, &UpdateText::ScriptLater { script });
                if let Some(transition) = transition {
                    self.story.summary.script_waits(transition, now);
                }
                Outcome::Later(None)
            }
            Exit::Code(_) | Exit::Signal(_) => {
                self.fail_script(self.machine().place(), ScriptFault::Ended { exit })
            }
        }
    }

    /// The script last started, which ran at this place, has failed.
    #[inline(never)]
    pub(super) fn fail_script(&mut self, (state, phase): Place, how: ScriptFault) -> Outcome {
        let Hal { scripts, log, .. } = &mut self.hal;
        let script = ScriptName::of(scripts.name(), transition(state, phase));
        let Noted { .. } = note(&mut self.story, log, &UpdateText::ScriptFailed { script, how });
        Outcome::Failure
    }

    #[inline(never)]
    fn call_ended(&mut self, call: Call, exit: Exit) -> Outcome {
        self.flight.exited(exit);
        if !exit.is_success() {
            return self.fail(&UpdateText::CallEnded { call, exit });
        }
        if !call.is_query() {
            return Outcome::Success;
        }
        match answer(call, self.hal.module.answer()) {
            Some(outcome) => outcome,
            None => {
                let Self { hal, story, .. } = self;
                let answer = Shown(line(hal.module.answer()));
                let reason = UpdateText::BadAnswer { call, answer };
                let Noted { .. } = note(story, &mut hal.log, &reason);
                Outcome::Failure
            }
        }
    }

    /// The running operation has used up its time: says which, and how much it had.
    #[inline(never)]
    fn out_of_time(&mut self) {
        self.flight.too_slow();
        let config = self.machine().config();
        let (script, module) = (config.state_script_timeout, config.module_timeout);
        match self.work {
            Work::Script => {
                let place = self.machine().place();
                self.fail_script(place, ScriptFault::TooSlow { limit: script })
            }
            Work::Module(call) => self.fail(&UpdateText::CallTooSlow { call, limit: module }),
            Work::Reboot { .. } => self.fail(&UpdateText::StillRunning { time: config::REBOOT_WAIT }),
            Work::None | Work::Ended(_) | Work::Transfer(_) | Work::Policy | Work::CheckRunning => {
                Outcome::Failure
            }
        };
    }

    /// [`Task::Kill`](crate::flow::Task::Kill).
    pub(super) fn kill(&mut self, now: Instant) -> Option<Event> {
        if !self.flow.is_terminated() {
            self.out_of_time();
        }
        match self.work {
            // Its end is told already, or still polled for.
            Work::Ended(_) => return None,
            Work::Script => {
                self.hal.scripts.kill(now, config::SCRIPT_KILL_GRACE);
                return None;
            }
            Work::Module(_) | Work::CheckRunning => {
                self.hal.module.kill(now, config::MODULE_KILL_GRACE);
                return None;
            }
            Work::Policy => self.hal.policy.kill(),
            Work::None | Work::Transfer(_) | Work::Reboot { .. } => {}
        }
        Some(Event::Ended(Outcome::Failure))
    }

    fn poll_reboot(&mut self, now: Instant, asked: bool) -> Poll<Outcome> {
        if asked {
            return Poll::Pending;
        }
        match self.hal.system.poll_reboot(now) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(exit)) if exit.is_success() => {
                self.work = Work::Reboot { asked: true };
                Poll::Pending
            }
            Poll::Ready(Ok(exit)) => Poll::Ready(self.fail(&UpdateText::RebootEnded { exit })),
            Poll::Ready(Err(error)) => {
                Poll::Ready(self.fail(&UpdateText::Reboot { error: Cause::of(&error) }))
            }
        }
    }
}

const fn permitted(permit: Permit) -> Outcome {
    match permit {
        Permit::Go => Outcome::Success,
        Permit::Fail => Outcome::Failure,
        Permit::Wait(time) => {
            let seconds = time.as_secs();
            #[expect(clippy::cast_possible_truncation, reason = "a longer wait than can be told is cut")]
            let seconds = if seconds > u32::MAX as u64 { u32::MAX } else { seconds as u32 };
            Outcome::Later(Some(seconds))
        }
    }
}

/// The word a query printed: one line, the final newline optional, nothing else.
fn answer(call: Call, printed: &[u8]) -> Option<Outcome> {
    match line(printed) {
        b"" | b"No" => Some(Outcome::Nothing),
        b"Yes" => Some(Outcome::Success),
        b"Automatic" if call == Call::NeedsArtifactReboot => Some(Outcome::Automatic),
        _ => None,
    }
}

/// What was printed, without the end of its line.
fn line(printed: &[u8]) -> &[u8] {
    printed.strip_suffix(b"\n").unwrap_or(printed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_exact_words() {
        let reboot = Call::NeedsArtifactReboot;
        for (printed, expected) in [
            (&b""[..], Some(Outcome::Nothing)),
            (b"\n", Some(Outcome::Nothing)),
            (b"No\n", Some(Outcome::Nothing)),
            (b"Yes", Some(Outcome::Success)),
            (b"Yes\n", Some(Outcome::Success)),
            (b"Automatic\n", Some(Outcome::Automatic)),
            (b"Yes ", None),
            (b"Yes\n\n", None),
            (b"yes", None),
            (b"No\nYes\n", None),
        ] {
            assert_eq!(answer(reboot, printed), expected, "{printed:?}");
        }
        assert_eq!(answer(Call::SupportsRollback, b"Automatic"), None);
    }
}
