//! State scripts: one for each transition, or those that were named.

use thimble_core::hal::{ErrorType, Exit, Poll, ScriptRunner};
use thimble_core::script::Transition;
use thimble_core::time::{Duration, Instant};

use super::{Effect, Fate, Gone, Handle};

/// Runs them.
pub struct Scripts {
    bench: Handle,
    exit: Exit,
    seen: bool,
    /// Of its file, if it has one.
    name: String,
}

impl Scripts {
    pub(super) fn new(bench: Handle) -> Self {
        Self { bench, exit: Exit::Code(0), seen: false, name: String::new() }
    }
}

impl ErrorType for Scripts {
    type Error = Gone;
}

impl ScriptRunner for Scripts {
    fn start(&mut self, _: Instant, transition: Transition, index: u16) -> Result<bool, Gone> {
        let name = match &self.bench.0.borrow().scripts {
            None => (index == 0).then(|| transition.to_string()),
            Some(scripts) => {
                let mut names =
                    scripts.iter().filter(|(of, _)| *of == transition).map(|(_, name)| name.clone());
                names.nth(index.into())
            }
        };
        let Some(name) = name else { return Ok(false) };
        if transition.state.is_artifact() && !self.bench.0.borrow().durable.scripts {
            return Ok(false);
        }
        self.seen = false;
        let fate = self.bench.fate(&Effect::Script(transition))?;
        self.bench.line(name.clone());
        self.name = if self.bench.0.borrow().scripts.is_some() { name } else { String::new() };
        self.exit = match fate {
            Fate::Works | Fate::LostBefore => Exit::Code(0),
            Fate::Fails => Exit::Code(1),
            Fate::Refuses => Exit::Code(21),
            Fate::LostInside | Fate::LostAfter => {
                self.bench.lose();
                Exit::Code(0)
            }
        };
        Ok(true)
    }

    fn poll_exit(&mut self, _: Instant) -> Poll<Result<Exit, Gone>> {
        // Pending once, so that whoever runs the client sees every operation begin.
        if self.bench.is_down() || !std::mem::replace(&mut self.seen, true) {
            return Poll::Pending;
        }
        Poll::Ready(Ok(self.exit))
    }

    fn deadline(&self) -> Option<Instant> {
        Some(Instant::ZERO)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn kill(&mut self, _: Instant, _: Duration) {
        self.exit = Exit::Signal(15);
    }

    fn check_version(&mut self) -> Result<(), Gone> {
        Ok(())
    }

    fn discard(&mut self) -> Result<(), Gone> {
        if self.bench.is_down() {
            return Err(Gone::down());
        }
        self.bench.0.borrow_mut().durable.scripts = false;
        Ok(())
    }

    fn stage(&mut self, _: &str, _: u64) -> Result<(), Gone> {
        Ok(())
    }

    fn stage_write(&mut self, _: &[u8]) -> Result<(), Gone> {
        Ok(())
    }

    fn publish(&mut self) -> Result<(), Gone> {
        if self.bench.is_down() {
            return Err(Gone::down());
        }
        self.bench.0.borrow_mut().durable.scripts = true;
        Ok(())
    }
}
