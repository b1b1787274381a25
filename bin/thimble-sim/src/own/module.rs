//! The user's update module, a process run by the same code as on a device, or the one that is described.

use std::io;
use std::path::Path;
use std::task::Poll;

use thimble_core::deployment::Call;
use thimble_core::hal::{Clock as _, ErrorType, Exit, PayloadSink, Stored, TreeFacts, UpdateModule};
use thimble_core::time::{Duration, Instant, earliest};
use thimble_hal_linux::clock::BootClock;
use thimble_hal_linux::module::Modules;
use thimble_hal_linux::wait::PollSet;
use thimble_hal_sim::sim::{self, Gone};

use super::faults::What;
use super::journal::Output;
use super::program::{Current, plan};
use super::shared::{GRACE, OwnError, Shared};
use thimble_hal_sim::story::Lane;

/// The user's update module, or the one that is described.
pub(super) struct Module {
    shared: Shared,
    real: Modules,
    described: sim::Module,
    is_real: bool,
    current: Current,
    /// A query's answer has been noted.
    answered: bool,
    /// The program has the whole payload, and said so.
    is_complete: bool,
    /// The client waits for the program, and not the program for the client: a download waits for the network, too.
    is_awaited: bool,
}

impl Module {
    pub(super) fn new(shared: Shared, described: sim::Module) -> io::Result<Self> {
        let log = std::rc::Rc::new(std::cell::RefCell::new(Output(shared.journal.clone())));
        let real = Modules::new(shared.data, Path::new("/var/lib/mender"), log)?;
        Ok(Self {
            shared,
            real,
            described,
            is_real: false,
            current: Current::Nothing,
            answered: false,
            is_complete: false,
            is_awaited: false,
        })
    }

    pub(super) fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) -> Option<Instant> {
        let Current::Real { began, .. } = &self.current else { return None };
        self.real.wants(set);
        earliest(self.real.deadline(), Some(*began + self.shared.limit))
    }

    /// Whether the client waits for a program that really runs.
    pub(super) const fn is_awaited(&self) -> bool {
        self.current.is_real() && self.is_awaited
    }

    /// Pending once power is lost, or a program that is given up is waited for.
    fn stops(&mut self) -> bool {
        if self.shared.bench.is_down() {
            return true;
        }
        self.current.give_up_after_limit(&mut self.real, &self.shared);
        if self.current.is_cut(&self.shared, false) {
            self.shared.bench.lose();
        }
        self.shared.bench.is_down() || !self.current.is_real()
    }
}

impl ErrorType for Module {
    type Error = OwnError;
}

/// Calls the module that is there.
macro_rules! either {
    ($self:ident.$call:ident($($argument:expr),*)) => {
        if $self.shared.bench.is_down() {
            Err(OwnError::Gone(Gone::down()))
        } else if $self.is_real {
            $self.real.$call($($argument),*).map_err(OwnError::Module)
        } else {
            $self.described.$call($($argument),*).map_err(OwnError::Gone)
        }
    };
}

macro_rules! either_poll {
    ($self:ident.$call:ident($now:ident $(, $argument:expr)*)) => {
        if $self.is_real {
            if $self.stops() {
                return $self.current.poll_made(&$self.shared).map(|exit| Err(OwnError::Ended(exit)));
            }
            let polled = $self.real.$call(BootClock.now() $(, $argument)*).map_err(OwnError::Module);
            $self.is_awaited = polled.is_pending();
            polled
        } else {
            $self.described.$call($now $(, $argument)*).map_err(OwnError::Gone)
        }
    };
}

impl Module {
    fn poll_finished(&mut self, now: Instant) -> Poll<Result<(), OwnError>> {
        either_poll!(self.poll_finish(now))
    }
}

impl UpdateModule for Module {
    fn select(&mut self, payload_type: &str) -> Result<(), OwnError> {
        self.is_real = self.real.has(payload_type);
        either!(self.select(payload_type))
    }

    fn prepare(&mut self, facts: &TreeFacts<'_>) -> Result<(), OwnError> {
        either!(self.prepare(facts))
    }

    fn prepare_again(&mut self, facts: &TreeFacts<'_>) -> Result<(), OwnError> {
        either!(self.prepare_again(facts))
    }

    fn start(&mut self, now: Instant, call: Call) -> Result<(), OwnError> {
        self.current = Current::Nothing;
        self.answered = false;
        self.is_complete = false;
        if !self.is_real {
            return self.described.start(now, call).map_err(OwnError::Gone);
        }
        let what = if call.is_query() { format!("{call}?") } else { call.to_string() };
        let (event, made, cut) = plan(&self.shared, &[call.name()], Lane::Module, &what)?;
        if let Some(made) = made {
            self.current = made;
            return Ok(());
        }
        if let Err(error) = self.real.start(BootClock.now(), call) {
            self.shared.journal.result(event, error.to_string());
            return Err(OwnError::Module(error));
        }
        self.is_awaited = !matches!(call, Call::Download | Call::DownloadWithFileSizes);
        self.current = Current::Real { event, name: call.name().to_owned(), began: BootClock.now(), cut };
        Ok(())
    }

    fn poll_exit(&mut self, now: Instant) -> Poll<Result<Exit, OwnError>> {
        if !self.is_real {
            return self.described.poll_exit(now).map_err(OwnError::Gone);
        }
        if self.shared.bench.is_down() {
            return Poll::Pending;
        }
        if let Err(error) = self.current.watch(&mut self.real, &self.shared) {
            return Poll::Ready(Err(OwnError::Module(error)));
        }
        if self.shared.bench.is_down() {
            return Poll::Pending;
        }
        let event = match &self.current {
            Current::Made { event, .. } => Some(*event),
            Current::Nothing | Current::Real { .. } => None,
        };
        let ended = self.current.poll_made(&self.shared);
        if let (Poll::Ready(exit), Some(event), false) = (ended, event, self.answered) {
            self.answered = true;
            let answer = String::from_utf8_lossy(self.real.answer()).trim().escape_debug().to_string();
            if exit.is_success() && !answer.is_empty() {
                self.shared.journal.result(event, answer);
            }
        }
        ended.map(Ok)
    }

    fn answer(&self) -> &[u8] {
        if self.is_real { self.real.answer() } else { self.described.answer() }
    }

    fn kill(&mut self, now: Instant, grace: Duration) {
        if !self.is_real {
            self.described.kill(now, grace);
        } else if self.current.is_real() {
            self.is_awaited = true;
            self.real.kill(BootClock.now(), grace.min(GRACE));
        } else {
            self.current.kill();
        }
    }

    fn deadline(&self) -> Option<Instant> {
        if self.is_real { self.current.deadline() } else { self.described.deadline() }
    }

    fn is_clean(&mut self) -> bool {
        if self.is_real { self.real.is_clean() } else { self.described.is_clean() }
    }

    fn remove(&mut self) -> Result<(), OwnError> {
        either!(self.remove())
    }
}

impl PayloadSink for Module {
    fn expect(&mut self, sha256: &[u8; 32]) {
        self.real.expect(sha256);
    }

    fn poll_begin(&mut self, now: Instant, name: &str, size: u64) -> Poll<Result<(), OwnError>> {
        either_poll!(self.poll_begin(now, name, size))
    }

    fn poll_write(&mut self, now: Instant, bytes: &[u8]) -> Poll<Result<usize, OwnError>> {
        either_poll!(self.poll_write(now, bytes))
    }

    fn poll_end(&mut self, now: Instant) -> Poll<Result<(), OwnError>> {
        // A file has come and the payload is not complete: in the middle of the call.
        if self.is_real && matches!(self.current, Current::Real { cut: Some(What::CutInside), .. }) {
            self.shared.bench.lose();
            return Poll::Pending;
        }
        either_poll!(self.poll_end(now))
    }

    fn poll_finish(&mut self, now: Instant) -> Poll<Result<(), OwnError>> {
        if let (true, Current::Made { until, .. }) = (self.is_complete, &self.current) {
            // Nobody asks for the end of a download that is complete: it ends when the time that it takes is over.
            return if *until > now { Poll::Pending } else { Poll::Ready(Ok(())) };
        }
        let event = match &self.current {
            Current::Real { event, .. } => Some(*event),
            Current::Made { .. } | Current::Nothing => None,
        };
        let finished = self.poll_finished(now);
        if finished.is_ready() && event.is_some() && self.shared.restarts() {
            self.shared.restart();
            return Poll::Pending;
        }
        if let (Poll::Ready(done), Some(event)) = (&finished, event) {
            let result = done.as_ref().map_or_else(ToString::to_string, |()| "ok".to_owned());
            self.shared.journal.result(event, result);
            if done.is_ok() {
                self.is_complete = true;
                self.current.end(Exit::Code(0), &self.shared);
                return self.poll_finish(now);
            }
        }
        finished
    }

    fn mark_every(&self) -> u64 {
        if self.is_real { self.real.mark_every() } else { self.described.mark_every() }
    }

    fn mark(&mut self, sha256: &[u8; 32]) -> Result<(), OwnError> {
        either!(self.mark(sha256))
    }

    fn stored(&mut self) -> Option<Stored> {
        if self.is_real { self.real.stored() } else { self.described.stored() }
    }

    fn read_stored(&mut self, to: &mut [u8]) -> Result<usize, OwnError> {
        either!(self.read_stored(to))
    }

    fn forget_stored(&mut self) -> Result<(), OwnError> {
        either!(self.forget_stored())
    }

    fn abort(&mut self) {
        if self.is_real {
            self.real.abort();
        } else {
            self.described.abort();
        }
    }
}
