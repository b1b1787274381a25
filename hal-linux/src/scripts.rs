//! State scripts: those of the root filesystem and those that come with an artifact (SCRIPT-1 to SCRIPT-21).
//!
//! | whose | states | directory |
//! |---|---|---|
//! | root filesystem | `Idle`, `Sync`, `Download` | `scripts` in the configuration directory |
//! | artifact | `Artifact*` | `scripts` in the datastore directory |

mod listing;
mod staging;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::task::Poll;

use thimble_core::hal::{self, ErrorType, Exit, Kind, Level, ScriptRunner};
use thimble_core::limits;
use thimble_core::script::{RETRY_LATER, Transition};
use thimble_core::time::{Duration, Instant};

pub use self::listing::{ScriptFault, faults};
use self::staging::Staging;
use crate::SharedLog;
use crate::fsat::kind_of;
use crate::paths::Paths;
use crate::process::Note;
use crate::process::{Options, Process, log_output};
use crate::trust::{Untrusted, check_program};
use crate::wait::PollSet;

/// Runs state scripts, one at a time, and stages those of an artifact.
pub struct Scripts {
    rootfs: PathBuf,
    datastore: PathBuf,
    log: SharedLog,
    listing: Option<Listing>,
    current: Current,
    /// The script that asked to be run again. When it runs again, the scripts of its transition are not listed anew.
    retry: Option<(Transition, u16)>,
    staging: Option<Staging>,
    note: Option<Rc<Note>>,
}

struct Listing {
    transition: Transition,
    names: Vec<String>,
}

enum Current {
    Nothing,
    Running {
        process: Process,
        name: String,
        number: (Transition, u16),
    },
    /// The script could not be started. The next poll reports this as its end.
    NotStarted(ScriptError),
}

impl Scripts {
    /// Scripts of the root filesystem are in `scripts` below `conf_dir`, those of artifacts in `scripts` below
    /// `datastore_dir`, where `scripts.staging` exists while an artifact is being read.
    ///
    /// Removes scripts that an earlier process staged and did not publish.
    pub fn new(conf_dir: &Path, datastore_dir: &Path, log: SharedLog) -> io::Result<Self> {
        let datastore = std::path::absolute(datastore_dir)?;
        // If this fails, staging the next artifact's scripts fails with the same error, and reports it.
        let _ = staging::discard_staged(&datastore);
        Ok(Self {
            rootfs: std::path::absolute(conf_dir)?.join("scripts"),
            datastore,
            log,
            listing: None,
            current: Current::Nothing,
            retry: None,
            staging: None,
            note: None,
        })
    }

    /// Every started script is written to this note.
    #[must_use]
    pub fn noted(self, note: Option<Rc<Note>>) -> Self {
        Self { note, ..self }
    }

    /// Adds the descriptors that the next poll would read from or write to.
    pub fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        if let Current::Running { process, .. } = &self.current {
            process.wants(set);
        }
    }

    /// Warns of each file in the directories of scripts whose name looks like a state script's and is none.
    pub fn warn_of_near_misses(&self) {
        let rootfs = listing::near_misses(&self.rootfs, false);
        let artifact = listing::near_misses(&self.datastore.join(staging::PUBLISHED), true);
        for warning in rootfs.iter().chain(&artifact) {
            self.log.borrow_mut().log(Level::Warning, format_args!("{warning}"));
        }
    }

    fn dir(&self, transition: Transition) -> PathBuf {
        if transition.state.is_artifact() {
            self.datastore.join(staging::PUBLISHED)
        } else {
            self.rootfs.clone()
        }
    }

    fn listed(&mut self, transition: Transition, index: u16) -> Result<Option<String>, ScriptError> {
        let is_repeat = self.retry.take() == Some((transition, index));
        let is_listed = self.listing.as_ref().is_some_and(|listing| listing.transition == transition);
        if !is_listed || (index == 0 && !is_repeat) {
            self.listing = None;
            let names = listing::read(&self.dir(transition), transition, &self.log)?;
            self.listing = Some(Listing { transition, names });
        }
        let names = self.listing.as_ref().map(|listing| &listing.names);
        Ok(names.and_then(|names| names.get(usize::from(index))).cloned())
    }
}

/// Whether the scripts of an artifact that are there are for this client.
///
/// # Errors
/// Those of the first transition.
pub(crate) fn check_artifact_scripts(paths: &Paths) -> Result<(), ScriptError> {
    listing::check_version(&paths.artifact_scripts())
}

impl ErrorType for Scripts {
    type Error = ScriptError;
}

impl ScriptRunner for Scripts {
    fn start(&mut self, _now: Instant, transition: Transition, index: u16) -> Result<bool, ScriptError> {
        self.current = Current::Nothing;
        // An artifact is read and its scripts are published without a script in between. Scripts that are still staged
        // when one runs belong to an artifact that was refused.
        self.staging = None;
        let Some(name) = self.listed(transition, index)? else { return Ok(false) };
        let path = self.dir(transition).join(&name);
        // Anew for each current: a retry may come much later.
        check_program(&path)?;
        self.log.borrow_mut().log(Level::Info, format_args!("running state script {name}"));
        let options = Options { note: self.note.as_deref(), ..Options::new(&path, limits::SCRIPT_OUTPUT) };
        self.current = match Process::spawn(&options) {
            Ok(process) => Current::Running { process, name, number: (transition, index) },
            Err(error) => Current::NotStarted(io_error("start", &path)(error)),
        };
        Ok(true)
    }

    fn poll_exit(&mut self, now: Instant) -> Poll<Result<Exit, ScriptError>> {
        if let Current::Running { process, name, number } = &mut self.current {
            let poll = process.poll(now, &mut log_output(&self.log, name));
            if poll == Poll::Ready(Exit::Code(RETRY_LATER)) {
                self.retry = Some(*number);
            }
            return poll.map(Ok);
        }
        match std::mem::replace(&mut self.current, Current::Nothing) {
            Current::NotStarted(error) => Poll::Ready(Err(error)),
            Current::Nothing | Current::Running { .. } => Poll::Ready(Err(ScriptError::NothingOpen)),
        }
    }

    fn kill(&mut self, now: Instant, grace: Duration) {
        if let Current::Running { process, .. } = &mut self.current {
            process.kill(now, grace);
        }
    }

    fn name(&self) -> &str {
        match &self.current {
            Current::Running { name, .. } => name,
            Current::Nothing | Current::NotStarted(_) => "",
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.current {
            Current::Running { process, .. } => process.deadline(),
            Current::Nothing | Current::NotStarted(_) => None,
        }
    }

    fn check_version(&mut self) -> Result<(), ScriptError> {
        listing::check_version(&self.rootfs)
    }

    fn discard(&mut self) -> Result<(), ScriptError> {
        self.staging = None;
        self.listing = None;
        staging::discard(&self.datastore)
    }

    fn stage(&mut self, name: &str, size: u64) -> Result<(), ScriptError> {
        let staging = match self.staging.take() {
            Some(staging) => staging,
            None => Staging::new(&self.datastore)?,
        };
        self.staging.insert(staging).begin(name, size)
    }

    fn stage_write(&mut self, bytes: &[u8]) -> Result<(), ScriptError> {
        self.staging.as_mut().ok_or(ScriptError::NothingOpen)?.write(bytes)
    }

    fn publish(&mut self) -> Result<(), ScriptError> {
        self.listing = None;
        match self.staging.take() {
            Some(staging) => staging.publish(&self.datastore),
            None => staging::publish_nothing(&self.datastore),
        }
    }
}

/// Why scripts could not be run or staged.
#[derive(Debug)]
pub enum ScriptError {
    /// The directory is for another version of the script interface.
    #[expect(missing_docs, reason = "the file and what stands in it")]
    Version { path: PathBuf, found: String },
    /// A script fails the check of owner and mode.
    Untrusted(Untrusted),
    /// The directory holds more than [`limits::SCRIPTS`] scripts of one transition.
    TooMany(PathBuf),
    /// A script in the artifact has a name that scripts of artifacts cannot have.
    Name(String),
    /// The artifact has two scripts of one name.
    Twice(String),
    /// The scripts of the artifact together are longer than this many bytes.
    TooLarge(u64),
    /// A script inside the artifact is longer or shorter than it said.
    Size(String),
    /// A call came out of order: no script is open or running.
    NothingOpen,
    /// The operating system reported an error.
    #[expect(missing_docs, reason = "what was done to what, and why not")]
    Io { doing: &'static str, path: PathBuf, error: io::Error },
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ScriptError {
    let path = path.to_owned();
    move |error| ScriptError::Io { doing, path, error }
}

impl From<Untrusted> for ScriptError {
    fn from(untrusted: Untrusted) -> Self {
        Self::Untrusted(untrusted)
    }
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { path, found } => {
                let path = path.display();
                write!(
                    f,
                    "{path} holds \"{found}\": these state scripts are for another client; it must be 2 or 3"
                )
            }
            Self::Untrusted(untrusted) => write!(f, "state script refused: {untrusted}"),
            Self::TooMany(dir) => {
                write!(f, "more than {} state scripts in {}; use fewer", limits::SCRIPTS, dir.display())
            }
            Self::Name(name) => write!(f, "\"{name}\" cannot be a state script of an artifact"),
            Self::Twice(name) => write!(f, "the artifact has two state scripts {name}"),
            Self::TooLarge(most) => {
                write!(
                    f,
                    "the state scripts of the artifact are longer than {} MiB together; use shorter ones",
                    most >> 20
                )
            }
            Self::Size(name) => {
                write!(f, "state script {name} does not have the length that the artifact announces")
            }
            Self::NothingOpen => f.write_str("no state script is open or running"),
            Self::Io { doing, path, error } => write!(f, "cannot {doing} {}: {error}", path.display()),
        }
    }
}

impl hal::Error for ScriptError {
    fn kind(&self) -> Kind {
        match self {
            Self::Version { .. } | Self::Name(_) | Self::Twice(_) => Kind::Refused,
            Self::Untrusted(untrusted) => untrusted.kind(),
            Self::TooMany(_) | Self::TooLarge(_) => Kind::TooLarge,
            Self::Size(_) => Kind::Corrupt,
            Self::NothingOpen => Kind::Other,
            Self::Io { error, .. } => kind_of(error),
        }
    }
}

#[cfg(test)]
mod tests;
