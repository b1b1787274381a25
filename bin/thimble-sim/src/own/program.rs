//! A program of the user's: what was planned for it, how it is waited for, and the time that it takes on the simulated device.

use std::fmt;
use std::task::Poll;

use thimble_core::hal::{Clock as _, Exit, ScriptRunner, UpdateModule};
use thimble_core::time::{Duration, Instant};
use thimble_hal_linux::clock::BootClock;
use thimble_hal_linux::module::{ModuleError, Modules};
use thimble_hal_linux::scripts::{ScriptError, Scripts};
use thimble_hal_sim::sim::Gone;

use super::faults::What;
use super::journal::ending;
use super::shared::{OwnError, Shared};
use thimble_hal_sim::story::Lane;

/// Seconds that count as none.
const AT_ONCE: u64 = 2;

/// What runs programs of one kind.
pub(super) trait Program {
    type Error: fmt::Display;

    fn poll_exit(&mut self, now: Instant) -> Poll<Result<Exit, Self::Error>>;

    fn kill(&mut self, now: Instant, grace: Duration);
}

impl Program for Scripts {
    type Error = ScriptError;

    fn poll_exit(&mut self, now: Instant) -> Poll<Result<Exit, ScriptError>> {
        ScriptRunner::poll_exit(self, now)
    }

    fn kill(&mut self, now: Instant, grace: Duration) {
        ScriptRunner::kill(self, now, grace);
    }
}

impl Program for Modules {
    type Error = ModuleError;

    fn poll_exit(&mut self, now: Instant) -> Poll<Result<Exit, ModuleError>> {
        UpdateModule::poll_exit(self, now)
    }

    fn kill(&mut self, now: Instant, grace: Duration) {
        UpdateModule::kill(self, now, grace);
    }
}

/// A program of the user's, or what stands for it.
pub(super) enum Current {
    Nothing,
    /// It runs.
    Real {
        event: usize,
        name: String,
        began: Instant,
        cut: Option<What>,
    },
    /// It has ended, or was never started; the simulated device waits until then. `None`: it never ends.
    Made {
        exit: Option<Exit>,
        until: Instant,
        event: usize,
        killed: bool,
        reported: bool,
    },
}

impl Current {
    /// Whether something really runs.
    pub(super) const fn is_real(&self) -> bool {
        matches!(self, Self::Real { .. })
    }

    /// When the simulated clock has come to its end.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Made { exit: Some(_), until, reported: false, .. } => Some(*until),
            Self::Made { .. } | Self::Nothing | Self::Real { .. } => None,
        }
    }

    /// It never ends by itself from now on.
    fn hang(&mut self) {
        if let Self::Real { event, .. } = self {
            *self = Self::Made {
                exit: None,
                until: Instant::ZERO,
                event: *event,
                killed: false,
                reported: false,
            };
        }
    }

    /// What is made up has ended by now.
    pub(super) fn poll_made(&mut self, shared: &Shared) -> Poll<Exit> {
        let now = shared.bench.0.borrow().now;
        match self {
            Self::Made { exit: Some(exit), until, event, killed, reported } if now >= *until => {
                if !std::mem::replace(reported, true) {
                    let text = if *killed {
                        "ended by the client: its time was over".to_owned()
                    } else {
                        ending(*exit)
                    };
                    // What was given up says so already.
                    if !(*killed && shared.journal.has_result(*event)) {
                        shared.journal.result(*event, text);
                    }
                }
                Poll::Ready(*exit)
            }
            Self::Made { .. } | Self::Nothing | Self::Real { .. } => Poll::Pending,
        }
    }

    /// The program that ran has ended.
    pub(super) fn end(&mut self, exit: Exit, shared: &Shared) {
        let Self::Real { event, name, began, .. } = self else { return };
        let took = BootClock.now().since(*began).as_secs();
        // What is over at once takes no time, however busy this machine is.
        let took = if took < AT_ONCE { 0 } else { took };
        let took = shared.takes.get(name).copied().unwrap_or(Duration::from_secs(took));
        let until = shared.bench.0.borrow().now + took;
        *self = Self::Made { exit: Some(exit), until, event: *event, killed: false, reported: false };
    }

    /// It is killed: the client's patience is over.
    pub(super) fn kill(&mut self) {
        if let Self::Made { exit, until, killed, .. } = self {
            *exit = Some(Exit::Signal(15));
            *until = Instant::ZERO;
            *killed = true;
        }
    }

    /// Looks how a program stands that really runs: power may be lost now that it has done so much, and one that takes too long is
    /// given up.
    pub(super) fn watch<P: Program>(&mut self, program: &mut P, shared: &Shared) -> Result<(), P::Error> {
        let Self::Real { event, .. } = self else { return Ok(()) };
        let event = *event;
        let restarts = shared.restarts();
        let polled = program.poll_exit(BootClock.now());
        if self.is_cut(shared, polled.is_ready()) {
            shared.bench.lose();
        }
        // The client never hears how a program ended that restarted the device.
        if restarts || polled.is_ready() && shared.restarts() {
            shared.restart();
        }
        if shared.bench.is_down() {
            return Ok(());
        }
        match polled {
            Poll::Ready(Ok(exit)) => self.end(exit, shared),
            Poll::Ready(Err(error)) => {
                shared.journal.result(event, error.to_string());
                *self = Self::Nothing;
                return Err(error);
            }
            Poll::Pending => self.give_up_after_limit(program, shared),
        }
        Ok(())
    }

    /// A program that takes too long is killed, and counts as one that never ends.
    pub(super) fn give_up_after_limit<P: Program>(&mut self, program: &mut P, shared: &Shared) {
        let now = BootClock.now();
        if let Self::Real { began, event, .. } = self
            && now >= *began + shared.limit
        {
            program.kill(now, Duration::ZERO);
            shared.journal.result(*event, hangs(shared.limit));
            self.hang();
        }
    }

    /// Whether power is lost now that the program has done so much.
    pub(super) fn is_cut(&self, shared: &Shared, over: bool) -> bool {
        match self {
            Self::Real { cut: Some(What::CutInside), event, .. } => {
                over || shared.journal.has_printed(*event)
            }
            Self::Real { cut: Some(What::CutAfter), .. } => over,
            Self::Real { .. } | Self::Made { .. } | Self::Nothing => false,
        }
    }
}

/// What was planned for a program: `Ok(None)`: it is run.
pub(super) fn plan(
    shared: &Shared,
    names: &[&str],
    lane: Lane,
    what: &str,
) -> Result<(usize, Option<Current>, Option<What>), OwnError> {
    powered(shared)?;
    shared.set_clock()?;
    let fault = shared.faults.next(names);
    if fault == Some(What::CutBefore) {
        shared.bench.lose();
        return Err(OwnError::Gone(Gone::down()));
    }
    let event = shared.journal.note(lane, what);
    let now = shared.bench.0.borrow().now;
    let takes = names.iter().find_map(|name| shared.takes.get(*name)).copied().unwrap_or_default();
    let made = match fault {
        Some(What::Exit(status)) => Some(Current::Made {
            exit: Some(Exit::Code(status)),
            until: now + takes,
            event,
            killed: false,
            reported: false,
        }),
        Some(What::Hang) => {
            Some(Current::Made { exit: None, until: now, event, killed: false, reported: false })
        }
        Some(What::Abort | What::CutBefore | What::CutInside | What::CutAfter) | None => None,
    };
    Ok((event, made, fault))
}

/// Without power, nothing has an effect.
pub(super) fn powered(shared: &Shared) -> Result<(), OwnError> {
    if shared.bench.is_down() { Err(OwnError::Gone(Gone::down())) } else { Ok(()) }
}

fn hangs(limit: Duration) -> String {
    format!("still ran after {} s (--limit), counts as one that hangs: ended by the client", limit.as_secs())
}
