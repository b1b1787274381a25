//! What a Linux device tells its servers: its identity and its inventory, which programs of its owner print (SERVER-53,
//! SERVER-54), and the log of a deployment that failed.
//!
//! Each program has ten seconds; after that its whole process group is killed. An inventory program that fails is left out;
//! without an identity there is no authentication.

mod identity;
mod inventory;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::task::Poll;

use thimble_core::hal::{self, DeploymentLog, ErrorType, Exit, Kind};
use thimble_core::limits;
use thimble_core::time::{Duration, Instant, earliest};

use crate::SharedLog;
use crate::fsat::kind_of;
use crate::log::upload_body;
use crate::process::{Options, Process, Stdout, log_output};
use crate::trust::{Untrusted, check_program};
use crate::wait::PollSet;

pub use identity::DeviceIdentity;
pub use inventory::{DeviceInventory, inventory_faults};

/// How long a program may take (L13).
const TIME: Duration = Duration::from_secs(10);

/// A program that took too long gets SIGTERM, and SIGKILL this much later.
const GRACE: Duration = Duration::from_secs(1);

/// Output of all inventory programs together, in bytes.
const INVENTORY: usize = 256 * 1024;

/// The program that runs now, if one does.
struct Program {
    log: SharedLog,
    running: Option<Running>,
}

struct Running {
    process: Process,
    name: String,
    until: Instant,
    is_late: bool,
}

impl Program {
    const fn new(log: SharedLog) -> Self {
        Self { log, running: None }
    }

    fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        if let Some(running) = &self.running {
            running.process.wants(set);
        }
    }

    fn start(&mut self, now: Instant, path: &Path, limit: usize) -> Result<(), AgentError> {
        check_program(path).map_err(AgentError::Untrusted)?;
        let options = Options {
            stdout: Stdout::Answer(limit.saturating_add(1)),
            ..Options::new(path, limits::SCRIPT_OUTPUT)
        };
        let process = Process::spawn(&options).map_err(|error| AgentError::Start(path.to_owned(), error))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.running = Some(Running { process, name, until: now + TIME, is_late: false });
        Ok(())
    }

    /// Waits for the running program and returns its output; more than `limit` bytes are an error.
    fn poll_output(&mut self, now: Instant, limit: usize) -> Poll<Result<Vec<u8>, AgentError>> {
        let Some(running) = &mut self.running else { return Poll::Ready(Err(AgentError::NothingRuns)) };
        let mut sink = log_output(&self.log, &running.name);
        if !running.is_late && now >= running.until {
            running.is_late = true;
            running.process.kill(now, GRACE);
        }
        let Poll::Ready(exit) = running.process.poll(now, &mut sink) else { return Poll::Pending };
        drop(sink);
        let Some(running) = self.running.take() else { return Poll::Ready(Err(AgentError::NothingRuns)) };
        let name = running.name;
        Poll::Ready(if running.is_late {
            Err(AgentError::TooSlow(name))
        } else if !exit.is_success() {
            Err(AgentError::Failed(name, exit))
        } else {
            match running.process.answer() {
                Ok(output) if output.len() > limit => Err(AgentError::TooLong(name, limit)),
                Ok(output) => Ok(output.to_vec()),
                Err(error) => Err(AgentError::Output(name, error)),
            }
        })
    }

    fn deadline(&self) -> Option<Instant> {
        let running = self.running.as_ref()?;
        let late = (!running.is_late).then_some(running.until);
        earliest(late, running.process.deadline())
    }
}

/// The logs of deployments, as they are sent.
pub struct DeploymentLogs {
    dir: PathBuf,
    body: Vec<u8>,
}

impl DeploymentLogs {
    /// Those in `dir`.
    #[must_use]
    pub const fn new(dir: PathBuf) -> Self {
        Self { dir, body: Vec::new() }
    }
}

impl ErrorType for DeploymentLogs {
    type Error = std::convert::Infallible;
}

impl DeploymentLog for DeploymentLogs {
    fn open(&mut self, deployment: &str) -> Result<usize, Self::Error> {
        self.body = upload_body(&self.dir, deployment);
        Ok(self.body.len())
    }

    fn read(&mut self, at: usize) -> Result<&[u8], Self::Error> {
        Ok(self.body.get(at..).unwrap_or_default())
    }

    fn forget(&mut self) {
        self.body = Vec::new();
    }
}

/// Why the identity or the inventory of the device cannot be given.
#[derive(Debug)]
pub enum AgentError {
    /// A program fails the check of owner and mode, or cannot be executed.
    Untrusted(Untrusted),
    /// A program could not be started.
    Start(PathBuf, io::Error),
    /// The directory of the inventory programs cannot be read.
    List(PathBuf, io::Error),
    /// A program failed.
    Failed(String, Exit),
    /// What a program printed could not be read.
    Output(String, io::Error),
    /// A program took longer than it may.
    TooSlow(String),
    /// A program printed more than so many bytes.
    TooLong(String, usize),
    /// All inventory programs together printed more than can be sent.
    TooMuch,
    /// The buffer lent for the identity is too small.
    NoRoom,
    /// Nothing was started.
    NothingRuns,
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untrusted(error) => error.fmt(f),
            Self::Start(path, error) => write!(f, "cannot run {}: {error}", path.display()),
            Self::List(path, error) => write!(f, "cannot read {}: {error}", path.display()),
            Self::Failed(name, exit) => write!(f, "{name} ended with {exit}"),
            Self::Output(name, error) => write!(f, "what {name} printed cannot be read: {error}"),
            Self::TooSlow(name) => write!(f, "{name} took longer than {TIME}"),
            Self::TooLong(name, limit) => write!(f, "{name} printed more than {limit} bytes"),
            Self::TooMuch => {
                write!(f, "the programs of the inventory print more than {INVENTORY} bytes: remove one")
            }
            Self::NoRoom => f.write_str("no room for the identity"),
            Self::NothingRuns => f.write_str("no program was started"),
        }
    }
}

impl hal::Error for AgentError {
    fn kind(&self) -> Kind {
        match self {
            Self::Untrusted(error) => error.kind(),
            Self::Start(_, error) | Self::List(_, error) | Self::Output(_, error) => kind_of(error),
            Self::TooSlow(_) => Kind::TimedOut,
            Self::TooLong(..) | Self::TooMuch | Self::NoRoom => Kind::TooLarge,
            Self::Failed(..) | Self::NothingRuns => Kind::Other,
        }
    }
}

#[cfg(test)]
mod tests;
