//! What scripts, module and the run of a user's own programs share, and how they fail.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use thimble_core::hal::{self, Exit, Kind};
use thimble_core::time::{Duration, Instant};
use thimble_hal_linux::module::ModuleError;
use thimble_hal_linux::scripts::ScriptError;
use thimble_hal_sim::sim::{Down, Gone, Handle};

use super::device::CLOCK;
use super::faults::Faults;
use super::journal::{Journal, ending};

/// How long a program that is to end is waited for.
pub(super) const GRACE: Duration = Duration::from_secs(2);

/// A stand-in puts it there when it is to restart the device.
pub(super) const RESTART: &str = "/sim/restart";

/// What all parts of a run know.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) bench: Handle,
    pub(super) journal: Journal,
    pub(super) faults: Faults,
    /// How long a program takes on the simulated device.
    pub(super) takes: BTreeMap<String, Duration>,
    /// How long it may really take.
    pub(super) limit: Duration,
    /// Where update modules are.
    pub(super) data: &'static Path,
    /// What `date` shows when the device is switched on, in seconds since 1970.
    pub(super) clock: Option<u64>,
}

impl Shared {
    /// A program has restarted the device, which is not down yet.
    pub(super) fn restarts(&self) -> bool {
        Path::new(RESTART).exists()
    }

    /// The device goes down, because a program has restarted it.
    pub(super) fn restart(&self) {
        if !self.bench.is_down() {
            self.bench.line("** reboot, by a program");
            self.bench.0.borrow_mut().down = Some(Down::Reboot);
        }
    }

    /// The stand-in for `date` shows what the device's clock does.
    pub(super) fn set_clock(&self) -> Result<(), OwnError> {
        let Some(clock) = self.clock else { return Ok(()) };
        let now = clock + self.bench.0.borrow().time().since(Instant::ZERO).as_secs();
        fs::write(CLOCK, format!("{now}\n")).map_err(OwnError::Io)
    }
}

/// Why a script or a module was not run.
#[derive(Debug)]
pub(super) enum OwnError {
    Gone(Gone),
    Script(ScriptError),
    Module(ModuleError),
    Io(io::Error),
    /// The module ended before it had the payload.
    Ended(Exit),
}

impl fmt::Display for OwnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone(error) => error.fmt(f),
            Self::Script(error) => error.fmt(f),
            Self::Module(error) => error.fmt(f),
            Self::Io(error) => error.fmt(f),
            Self::Ended(exit) => write!(f, "the module ended before it had the payload ({})", ending(*exit)),
        }
    }
}

impl hal::Error for OwnError {
    fn kind(&self) -> Kind {
        match self {
            Self::Gone(error) => error.kind(),
            Self::Script(error) => error.kind(),
            Self::Module(error) => error.kind(),
            Self::Io(_) | Self::Ended(_) => Kind::Other,
        }
    }
}
