//! The boot loader of a Linux device, asked in a thread: its records may be on a disk that is dying, its lock may be held,
//! and its tools may hang. None of that holds up the client.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::task::Poll;
use std::thread;

use rustix::pipe::{PipeFlags, pipe_with};
use thimble_core::hal::{BootCall, BootStatus, Bootloader, ErrorType, Level, Slot};
use thimble_core::time::{Duration, Instant};

use super::loader::Loader;
use super::{BootError, End, Look, Settings};
use crate::SharedLog;
use crate::rootfs::slot::Machine;
use crate::wait::PollSet;

/// How long one call may take, with all its tools, and the wait for the lock.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much later a thread that has not answered counts as stuck: a tool that was killed may take that long to die.
const GRACE: Duration = Duration::from_secs(10);
/// Stack size of the thread; environments are on the heap.
const STACK: usize = 256 * 1024;

/// The boot loader of a Linux device. It is looked for when it is first needed.
pub struct LinuxBootloader {
    settings: Settings,
    machine: Machine,
    log: Option<SharedLog>,
    patience: Duration,
    loader: Option<Loader>,
    asked: Option<Asked>,
    /// A thread that has not answered in time.
    stuck: Option<Receiver<Answer>>,
}

/// A call under way.
struct Asked {
    answer: Receiver<Answer>,
    /// The reading end of a pipe: at its end when the answer is there.
    done: OwnedFd,
    until: Instant,
    /// When the look ends.
    end: End,
}

struct Answer {
    loader: Option<Loader>,
    notes: Vec<String>,
    result: Result<BootStatus, BootError>,
}

impl LinuxBootloader {
    /// Does not look for the boot loader yet.
    #[must_use]
    pub const fn new(settings: Settings, machine: Machine) -> Self {
        Self { settings, machine, log: None, patience: PATIENCE, loader: None, asked: None, stuck: None }
    }

    /// What people should hear of goes there.
    #[must_use]
    pub fn logging(self, log: SharedLog) -> Self {
        Self { log: Some(log), ..self }
    }

    /// A call takes no longer than this, instead of a minute.
    #[must_use]
    pub fn patient(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Over an environment of a test's own.
    #[cfg(test)]
    pub(crate) fn over(
        environment: Box<dyn super::Environment>,
        parts: crate::rootfs::slot::Parts,
        machine: Machine,
    ) -> Self {
        let settings = Settings { parts, ..Settings::default() };
        Self { loader: Some(Loader::Variables(environment)), ..Self::new(settings, machine) }
    }

    /// Describes the boot loader that was found by the calls so far; `None`: none was.
    #[must_use]
    pub fn describe(&self) -> Option<String> {
        self.loader.as_ref().map(Loader::describe)
    }

    /// What it writes to when it is told to try a slot, as far as that is known; of the boot loader that was found by the calls so far.
    ///
    /// # Errors
    /// It would not be written even if these can be: U-Boot's environment has one copy only.
    pub fn places(&self) -> Result<Vec<PathBuf>, BootError> {
        self.loader.as_ref().map_or(Ok(Vec::new()), Loader::places)
    }

    /// A call, waited for: only for a process that has nothing else to do.
    ///
    /// # Errors
    /// Those of the call.
    pub fn wait(&mut self, call: BootCall) -> Result<BootStatus, BootError> {
        self.start(Instant::ZERO, call)?;
        let asked = self.asked.take().ok_or(BootError::Order)?;
        let limit = std::time::Duration::from_millis(self.patience.plus(GRACE).as_millis());
        match asked.answer.recv_timeout(limit) {
            Ok(answer) => self.answered(answer),
            Err(_) => self.is_stuck(asked),
        }
    }

    /// Adds the descriptor that tells of the answer.
    pub fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        if let Some(asked) = &self.asked {
            set.read(&asked.done);
        }
    }

    fn answered(&mut self, answer: Answer) -> Result<BootStatus, BootError> {
        self.loader = answer.loader;
        if let Some(log) = &self.log {
            for note in answer.notes {
                log.borrow_mut().log(Level::Warning, format_args!("{note}"));
            }
        }
        answer.result
    }

    fn is_stuck(&mut self, asked: Asked) -> Result<BootStatus, BootError> {
        self.stuck = Some(asked.answer);
        Err(BootError::Stuck)
    }
}

impl ErrorType for LinuxBootloader {
    type Error = BootError;
}

impl Bootloader for LinuxBootloader {
    fn running(&mut self) -> Result<Slot, BootError> {
        let roots = self.machine.roots(&self.settings.parts).map_err(BootError::Slot)?;
        Ok(roots.running)
    }

    fn start(&mut self, now: Instant, call: BootCall) -> Result<(), BootError> {
        if let Some(late) = self.stuck.take() {
            match late.try_recv() {
                Ok(Answer { loader, .. }) => self.loader = loader,
                Err(TryRecvError::Disconnected) => {}
                // One thread hangs at most.
                Err(TryRecvError::Empty) => {
                    self.stuck = Some(late);
                    return Err(BootError::Stuck);
                }
            }
        }
        if self.asked.is_some() {
            return Err(BootError::Order);
        }
        let failed = BootError::Storage;
        let (done, close_when_done) = pipe_with(PipeFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?;
        let (sender, answer) = channel();
        let (settings, machine, loader) = (self.settings.clone(), self.machine.clone(), self.loader.take());
        let mut look = Look::new(self.patience);
        let end = look.end();
        let work = move || {
            let (loader, result) = ask(&settings, &machine, loader, &mut look, call);
            // Sending fails when the client has ended, which does not matter.
            let _ = sender.send(Answer { loader, notes: look.notes, result });
            drop(close_when_done);
        };
        thread::Builder::new().name("boot loader".into()).stack_size(STACK).spawn(work).map_err(failed)?;
        self.asked = Some(Asked { answer, done, until: now + self.patience + GRACE, end });
        Ok(())
    }

    fn poll(&mut self, now: Instant) -> Poll<Result<BootStatus, BootError>> {
        let Some(asked) = self.asked.take() else { return Poll::Ready(Err(BootError::Order)) };
        match asked.answer.try_recv() {
            Ok(answer) => Poll::Ready(self.answered(answer)),
            Err(TryRecvError::Disconnected) => Poll::Ready(Err(BootError::Stuck)),
            Err(TryRecvError::Empty) if now >= asked.until => Poll::Ready(self.is_stuck(asked)),
            Err(TryRecvError::Empty) => {
                self.asked = Some(asked);
                Poll::Pending
            }
        }
    }

    fn stop(&mut self, now: Instant, grace: Duration) {
        if let Some(asked) = &mut self.asked {
            asked.end.within(grace);
            asked.until = asked.until.min(now + grace + GRACE);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.asked.as_ref().map(|asked| asked.until)
    }
}

/// All of a call, in the thread.
fn ask(
    settings: &Settings,
    machine: &Machine,
    loader: Option<Loader>,
    look: &mut Look,
    call: BootCall,
) -> (Option<Loader>, Result<BootStatus, BootError>) {
    let mut loader = match loader.map_or_else(|| Loader::find(settings, machine), Ok) {
        Ok(loader) => loader,
        Err(error) => return (None, Err(error)),
    };
    let result = match machine.roots(&settings.parts) {
        Ok(roots) => loader.call(look, &roots, call),
        Err(error) => Err(BootError::Slot(error)),
    };
    (Some(loader), result)
}
