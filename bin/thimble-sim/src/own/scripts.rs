//! The user's state scripts: processes, run by the same code as on a device.

use std::fs;
use std::io;
use std::path::Path;
use std::task::Poll;

use thimble_core::hal::{Clock as _, ErrorType, Exit, ScriptRunner};
use thimble_core::script::{Transition, parse_name};
use thimble_core::time::{Duration, Instant, earliest};
use thimble_hal_linux::clock::BootClock;
use thimble_hal_linux::scripts::Scripts as LinuxScripts;
use thimble_hal_linux::wait::PollSet;

use super::device::{SIM, scripts_folder};
use super::journal::Output;
use super::program::{Current, plan, powered};
use super::shared::{GRACE, OwnError, Shared};
use thimble_hal_sim::story::Lane;

/// The user's state scripts.
pub(super) struct Scripts {
    shared: Shared,
    inner: LinuxScripts,
    current: Current,
    name: String,
}

impl Scripts {
    pub(super) fn new(shared: Shared) -> io::Result<Self> {
        let log = std::rc::Rc::new(std::cell::RefCell::new(Output(shared.journal.clone())));
        let inner = LinuxScripts::new(Path::new("/etc/mender"), Path::new("/var/lib/mender"), log)?;
        Ok(Self { shared, inner, current: Current::Nothing, name: String::new() })
    }

    pub(super) fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) -> Option<Instant> {
        if !self.current.is_real() {
            return None;
        }
        self.inner.wants(set);
        let Current::Real { began, .. } = &self.current else { return None };
        earliest(self.inner.deadline(), Some(*began + self.shared.limit))
    }

    pub(super) const fn is_real(&self) -> bool {
        self.current.is_real()
    }

    /// The name of the script that would be started.
    fn nth(transition: Transition, index: u16) -> Option<String> {
        let entries = fs::read_dir(scripts_folder(transition.state)).ok()?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| parse_name(name) == Some(transition)).collect();
        names.sort_unstable();
        names.get(usize::from(index)).cloned()
    }
}

impl ErrorType for Scripts {
    type Error = OwnError;
}

impl ScriptRunner for Scripts {
    fn start(&mut self, _: Instant, transition: Transition, index: u16) -> Result<bool, OwnError> {
        powered(&self.shared)?;
        self.current = Current::Nothing;
        let started = |scripts: &mut Self| {
            scripts.inner.start(BootClock.now(), transition, index).map_err(OwnError::Script)
        };
        let Some(name) = Self::nth(transition, index) else { return started(self) };
        self.name.clone_from(&name);
        let state = transition.to_string();
        let (event, made, cut) = plan(&self.shared, &[&name, &state], Lane::Device, &name)?;
        if let Some(made) = made {
            self.current = made;
            return Ok(true);
        }
        match started(self) {
            Ok(true) => {}
            Ok(false) => {
                self.shared.journal.result(event, "passed over: it cannot be executed".to_owned());
                return Ok(false);
            }
            Err(error) => {
                self.shared.journal.result(event, error.to_string());
                return Err(error);
            }
        }
        self.current = Current::Real { event, name, began: BootClock.now(), cut };
        Ok(true)
    }

    fn poll_exit(&mut self, _: Instant) -> Poll<Result<Exit, OwnError>> {
        if self.shared.bench.is_down() {
            return Poll::Pending;
        }
        if let Err(error) = self.current.watch(&mut self.inner, &self.shared) {
            return Poll::Ready(Err(OwnError::Script(error)));
        }
        if self.shared.bench.is_down() {
            return Poll::Pending;
        }
        self.current.poll_made(&self.shared).map(Ok)
    }

    fn deadline(&self) -> Option<Instant> {
        self.current.deadline()
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn kill(&mut self, _: Instant, grace: Duration) {
        if self.current.is_real() {
            self.inner.kill(BootClock.now(), grace.min(GRACE));
        } else {
            self.current.kill();
        }
    }

    fn check_version(&mut self) -> Result<(), OwnError> {
        self.inner.check_version().map_err(OwnError::Script)
    }

    fn discard(&mut self) -> Result<(), OwnError> {
        powered(&self.shared)?;
        self.inner.discard().map_err(OwnError::Script)
    }

    fn stage(&mut self, name: &str, size: u64) -> Result<(), OwnError> {
        powered(&self.shared)?;
        self.inner.stage(name, size).map_err(OwnError::Script)
    }

    fn stage_write(&mut self, bytes: &[u8]) -> Result<(), OwnError> {
        powered(&self.shared)?;
        self.inner.stage_write(bytes).map_err(OwnError::Script)
    }

    fn publish(&mut self) -> Result<(), OwnError> {
        powered(&self.shared)?;
        self.inner.publish().map_err(OwnError::Script)?;
        // The scripts that were handed over beside the artifact, as if they were in it.
        let (from, to) = (Path::new(SIM).join("scripts"), Path::new("/var/lib/mender/scripts"));
        let take = || -> io::Result<()> {
            for entry in fs::read_dir(&from)? {
                let entry = entry?;
                fs::create_dir_all(to)?;
                fs::copy(entry.path(), to.join(entry.file_name()))?;
            }
            Ok(())
        };
        take().map_err(OwnError::Io)
    }
}
