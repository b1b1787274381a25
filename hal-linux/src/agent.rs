//! What a Linux device tells its server: its identity and its inventory; and the addresses of the servers to ask.
//!
//! Identity and inventory are the output of programs of the device's owner (SERVER-53, SERVER-54). Each has ten
//! seconds; after that its whole process group is killed. An inventory program that fails is left out; without an
//! identity there is no authentication.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::task::Poll;

use thimble_core::config::Tier;
use thimble_core::hal::{self, Agent, ErrorType, Exit, Kind, Level};
use thimble_core::limits;
use thimble_core::time::{Duration, Instant, earliest};

use crate::SharedLog;
use crate::fsat::kind_of;
use crate::log::upload_body;
use crate::process::{Options, Process, Stdout, log_output};
use crate::trust::{Untrusted, check_program};
use crate::wait::PollSet;

/// How long a program may take (L13).
const TIME: Duration = Duration::from_secs(10);

/// A program that took too long gets SIGTERM, and SIGKILL this much later.
const GRACE: Duration = Duration::from_secs(1);

/// Output of all inventory programs together, in bytes.
const INVENTORY: usize = 256 * 1024;

/// How the names of inventory programs begin.
const INVENTORY_PREFIX: &str = "mender-inventory-";

/// The device's key.
pub trait DeviceKey {
    /// Why the key cannot be used.
    type Error: hal::Error;

    /// The public key in PEM. When no key exists, a new one is made and is durable before it is returned. When a key
    /// exists but cannot be read, that is an error and no new key is made.
    fn public_key(&mut self) -> Result<&str, Self::Error>;

    /// Writes the signature of `body`, in base64, to the beginning of `out`.
    fn sign<'o>(&mut self, body: &[u8], out: &'o mut [u8]) -> Result<&'o str, Self::Error>;
}

/// The settings of this part of the client.
#[derive(Clone, Default)]
pub struct Settings {
    /// Base URLs, in the order they are tried.
    pub servers: Vec<String>,
    /// `TenantToken`; empty if there is none.
    pub tenant_token: String,
    /// `DeviceTier`, if configured.
    pub tier: Option<Tier>,
    /// The client's version, for the inventory.
    pub version: String,
    /// The directory with `identity` and `inventory`.
    pub data: PathBuf,
    /// The directory with the logs of deployments.
    pub deployment_logs: PathBuf,
}

/// A device that runs Linux, as the server sees it.
pub struct DeviceAgent<K> {
    settings: Settings,
    key: K,
    log: SharedLog,
    running: Option<Running>,
    /// Inventory programs that have not run yet, in reverse order: the next one is the last element.
    waiting: Vec<PathBuf>,
    outputs: Vec<(String, Vec<u8>)>,
    /// The log upload that was made last, and the deployment that it is about.
    deployment_log: Option<(String, Vec<u8>)>,
}

/// The program that runs now.
struct Running {
    process: Process,
    name: String,
    until: Instant,
    is_late: bool,
}

impl<K> DeviceAgent<K> {
    /// Starts nothing and does not read the key yet.
    #[must_use]
    pub fn new(settings: Settings, key: K, log: SharedLog) -> Self {
        Self {
            settings,
            key,
            log,
            running: None,
            waiting: Vec::new(),
            outputs: Vec::new(),
            deployment_log: None,
        }
    }

    /// Adds the descriptors that the next poll would read from or write to.
    pub fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
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

    fn left_out(&self, error: &AgentError) {
        self.log.borrow_mut().log(Level::Warning, format_args!("left out of the inventory: {error}"));
    }
}

impl<K: DeviceKey> ErrorType for DeviceAgent<K> {
    type Error = AgentError;
}

impl<K: DeviceKey> Agent for DeviceAgent<K> {
    fn server(&self, index: usize) -> Option<&str> {
        self.settings.servers.get(index).map(String::as_str)
    }

    fn tenant_token(&self) -> &str {
        &self.settings.tenant_token
    }

    fn tier(&self) -> Option<Tier> {
        self.settings.tier
    }

    fn version(&self) -> &str {
        &self.settings.version
    }

    fn start_identity(&mut self, now: Instant) -> Result<(), AgentError> {
        self.cancel();
        let path = self.settings.data.join("identity/mender-device-identity");
        self.start(now, &path, limits::IDENTITY)
    }

    fn poll_identity(&mut self, now: Instant, out: &mut [u8]) -> Poll<Result<usize, AgentError>> {
        self.poll_output(now, limits::IDENTITY).map(|output| {
            let output = output?;
            let front = out.get_mut(..output.len()).ok_or(AgentError::NoRoom)?;
            front.copy_from_slice(&output);
            Ok(output.len())
        })
    }

    fn public_key(&mut self) -> Result<&str, AgentError> {
        self.key.public_key().map_err(|error| AgentError::key(&error))
    }

    fn sign<'o>(&mut self, body: &[u8], out: &'o mut [u8]) -> Result<&'o str, AgentError> {
        self.key.sign(body, out).map_err(|error| AgentError::key(&error))
    }

    fn start_inventory(&mut self, _now: Instant) -> Result<(), AgentError> {
        self.cancel();
        let dir = self.settings.data.join("inventory");
        self.waiting = match programs(&dir) {
            Ok(programs) => programs,
            Err(error) => {
                self.left_out(&AgentError::List(dir, error));
                Vec::new()
            }
        };
        self.waiting.reverse();
        Ok(())
    }

    fn poll_inventory(&mut self, now: Instant) -> Poll<()> {
        loop {
            if let Some(name) = self.running.as_ref().map(|running| running.name.clone()) {
                match self.poll_output(now, limits::INVENTORY_SCRIPT) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(output)) => {
                        let total: usize = self.outputs.iter().map(|(_, output)| output.len()).sum();
                        if total.saturating_add(output.len()) > INVENTORY {
                            self.left_out(&AgentError::TooMuch);
                        } else {
                            self.outputs.push((name, output));
                        }
                    }
                    Poll::Ready(Err(error)) => self.left_out(&error),
                }
            }
            let Some(path) = self.waiting.pop() else { return Poll::Ready(()) };
            match self.start(now, &path, limits::INVENTORY_SCRIPT) {
                Ok(()) => {}
                // The owner switches a program off by taking its execute bits away: no warning.
                Err(AgentError::Untrusted(Untrusted::NotExecutable(_) | Untrusted::NotRegular(_))) => {}
                Err(error) => self.left_out(&error),
            }
        }
    }

    fn inventory(&self, index: usize) -> Option<(&str, &[u8])> {
        self.outputs.get(index).map(|(name, output)| (name.as_str(), output.as_slice()))
    }

    fn deployment_log(&mut self, deployment: &str) -> Result<&[u8], AgentError> {
        let known = self.deployment_log.take().filter(|(id, _)| id == deployment);
        let made = || (deployment.to_owned(), upload_body(&self.settings.deployment_logs, deployment));
        Ok(&self.deployment_log.insert(known.unwrap_or_else(made)).1)
    }

    /// Also frees the memory of the outputs and of the deployment log.
    fn cancel(&mut self) {
        self.running = None;
        self.waiting = Vec::new();
        self.outputs = Vec::new();
        self.deployment_log = None;
    }

    fn deadline(&self) -> Option<Instant> {
        let running = self.running.as_ref()?;
        let late = (!running.is_late).then_some(running.until);
        earliest(late, running.process.deadline())
    }
}

/// The inventory programs by name (L18). A missing directory means no programs.
fn programs(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        if is_inventory(&name) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names.into_iter().map(|name| dir.join(name)).collect())
}

fn is_inventory(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(INVENTORY_PREFIX.as_bytes())
}

/// Why identity, inventory, log or key of the device cannot be given.
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
    /// The device key cannot be used; the text says why.
    Key(String, Kind),
}

impl AgentError {
    fn key(error: &impl hal::Error) -> Self {
        Self::Key(error.to_string(), error.kind())
    }
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
            Self::Key(text, _) => f.write_str(text),
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
            Self::Key(_, kind) => *kind,
        }
    }
}

#[cfg(test)]
mod tests;
