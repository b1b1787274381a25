//! Update modules: programs that install payloads of one type (`docs/rules/update-modules.md`).
//!
//! `<data>/modules/v3/<payload type>` is called with the name of the call and the path of the work tree, which
//! is also its working directory. At most one call runs at a time.

mod mark;
mod names;
mod streams;
mod tree;

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::task::Poll;

use thimble_core::deployment::Call;
use thimble_core::hal::{self, ErrorType, Exit, Kind, PayloadSink, Stored, TreeFacts, UpdateModule};
use thimble_core::limits;
use thimble_core::time::{Duration, Instant};

pub(crate) use self::mark::Mark;
use self::names::is_payload_type;
use self::streams::{Download, On};
pub(crate) use self::tree::Tree;
pub use self::tree::free_space_at;
use crate::SharedLog;
use crate::fsat::kind_of;
use crate::process::Note;
use crate::process::{Options, Process, Stdout, log_output};
use crate::trust::{Untrusted, check_program};
use crate::wait::PollSet;

/// Most bytes of output that are logged per call and stream: more than a working module prints, and little enough for
/// the log.
const OUTPUT: usize = 1024 * 1024;

/// How many bytes are received between two marks. A mark costs two flushes and a small write; after a restart at most
/// this much is downloaded again.
pub(crate) const MARK_EVERY: u64 = 4 * 1024 * 1024;

/// Runs update modules and streams payloads to them.
pub struct Modules {
    dir: PathBuf,
    tree: Tree,
    log: SharedLog,
    selected: Option<String>,
    /// The digest that the next file must have.
    expected: Option<[u8; 32]>,
    /// What an earlier process stored of a payload file.
    kept: Option<Mark>,
    current: Current,
    note: Option<Rc<Note>>,
}

enum Current {
    Nothing,
    /// `Cleanup` was called and there is no work tree: an earlier `Cleanup` has removed it.
    AlreadyClean,
    Call {
        process: Process,
        name: String,
    },
    Download(Download),
}

impl Modules {
    /// Modules are in `modules/v3` below `data_dir`, the work tree in `modules/v3/payloads/0000/tree` below
    /// `datastore_dir`.
    pub fn new(data_dir: &Path, datastore_dir: &Path, log: SharedLog) -> io::Result<Self> {
        Ok(Self {
            dir: std::path::absolute(data_dir)?.join("modules/v3"),
            tree: Tree::new(&std::path::absolute(datastore_dir)?),
            log,
            selected: None,
            expected: None,
            kept: None,
            current: Current::Nothing,
            note: None,
        })
    }

    /// Every started module is written to this note.
    #[must_use]
    pub fn noted(self, note: Option<Rc<Note>>) -> Self {
        Self { note, ..self }
    }

    /// Adds the descriptors that the next poll would read from or write to.
    pub fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        match &self.current {
            Current::Call { process, .. } => process.wants(set),
            Current::Download(download) => download.wants(set),
            Current::Nothing | Current::AlreadyClean => {}
        }
    }

    /// Whether the module directory has an entry of this name. True also if that cannot be found out.
    #[must_use]
    pub fn has(&self, payload_type: &str) -> bool {
        match fs::symlink_metadata(self.dir.join(payload_type)) {
            Ok(_) => true,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    fn download(&mut self) -> Result<(&mut Download, On<'_>), ModuleError> {
        match &mut self.current {
            Current::Download(download) => {
                Ok((download, On { tree: &self.tree, log: &self.log, whole: self.expected }))
            }
            Current::Nothing | Current::AlreadyClean | Current::Call { .. } => Err(ModuleError::Order),
        }
    }

    /// The module for this payload type, if it can be run.
    pub(crate) fn check(dir: &Path, payload_type: &str) -> Result<PathBuf, ModuleError> {
        let path = dir.join(payload_type);
        check_program(&path).map_err(ModuleError::Untrusted)?;
        Ok(path)
    }
}

impl ErrorType for Modules {
    type Error = ModuleError;
}

impl UpdateModule for Modules {
    fn select(&mut self, payload_type: &str) -> Result<(), ModuleError> {
        self.selected = None;
        if !is_payload_type(payload_type) {
            return Err(ModuleError::PayloadType);
        }
        Self::check(&self.dir, payload_type)?;
        self.selected = Some(payload_type.to_owned());
        Ok(())
    }

    fn prepare(&mut self, facts: &TreeFacts<'_>) -> Result<(), ModuleError> {
        self.current = Current::Nothing;
        self.kept = None;
        self.tree.build(facts).map_err(io_error("build the work tree", self.tree.path()))?;
        self.tree.flush().map_err(io_error("flush the work tree", self.tree.path()))
    }

    fn prepare_again(&mut self, facts: &TreeFacts<'_>) -> Result<(), ModuleError> {
        self.current = Current::Nothing;
        self.kept =
            self.tree.build_again(facts).map_err(io_error("build the work tree", self.tree.path()))?;
        self.tree.flush().map_err(io_error("flush the work tree", self.tree.path()))
    }

    fn start(&mut self, _now: Instant, call: Call) -> Result<(), ModuleError> {
        self.current = Current::Nothing;
        if !self.tree.exists() {
            if call == Call::Cleanup {
                self.current = Current::AlreadyClean;
                return Ok(());
            }
            return Err(ModuleError::NoTree { call, path: self.tree.path().to_owned() });
        }
        let payload_type = self.selected.as_deref().ok_or(ModuleError::NotSelected(call))?;
        let program = Self::check(&self.dir, payload_type)?;
        // An error if the tree is a link or no directory.
        self.tree.open().map_err(io_error("open", self.tree.path()))?;
        let is_download = matches!(call, Call::Download | Call::DownloadWithFileSizes);
        if is_download {
            self.tree.make_streams().map_err(io_error("create streams in", self.tree.path()))?;
        }
        let stdout = if call.is_query() { Stdout::Answer(limits::QUERY_ANSWER + 1) } else { Stdout::Lines };
        let process = Process::spawn(&Options {
            args: &[OsStr::new(call.name()), self.tree.path().as_os_str()],
            dir: Some(self.tree.path()),
            stdout,
            note: self.note.as_deref(),
            ..Options::new(&program, OUTPUT)
        })
        .map_err(io_error("start", &program))?;
        let name = format!("{payload_type} {call}");
        self.current = if is_download {
            let with_sizes = call == Call::DownloadWithFileSizes;
            Current::Download(Download::new(process, name, with_sizes, self.kept.take()))
        } else {
            Current::Call { process, name }
        };
        Ok(())
    }

    fn poll_exit(&mut self, now: Instant) -> Poll<Result<Exit, ModuleError>> {
        match &mut self.current {
            Current::Nothing => Poll::Ready(Err(ModuleError::Order)),
            Current::AlreadyClean => Poll::Ready(Ok(Exit::Code(0))),
            Current::Call { process, name } => {
                process.poll(now, &mut log_output(&self.log, name)).map(|exit| match process.answer() {
                    Ok(_) => Ok(exit),
                    // An answer that nobody could read is no `No`.
                    Err(error) if exit.is_success() => Err(ModuleError::Answer { call: name.clone(), error }),
                    Err(_) => Ok(exit),
                })
            }
            Current::Download(download) => {
                download.poll_exit(now, &On { tree: &self.tree, log: &self.log, whole: None }).map(Ok)
            }
        }
    }

    fn answer(&self) -> &[u8] {
        match &self.current {
            Current::Call { process, .. } => process.answer().unwrap_or_default(),
            Current::Nothing | Current::AlreadyClean | Current::Download(_) => &[],
        }
    }

    fn kill(&mut self, now: Instant, grace: Duration) {
        match &mut self.current {
            Current::Call { process, .. } => process.kill(now, grace),
            Current::Download(download) => download.kill(now, grace),
            Current::Nothing | Current::AlreadyClean => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.current {
            Current::Call { process, .. } => process.deadline(),
            Current::Download(download) => download.deadline(),
            Current::Nothing | Current::AlreadyClean => None,
        }
    }

    fn is_clean(&mut self) -> bool {
        !self.tree.exists() && !self.tree.has_kept()
    }

    fn remove(&mut self) -> Result<(), ModuleError> {
        self.current = Current::Nothing;
        self.tree.remove().map_err(io_error("remove", self.tree.path()))
    }
}

impl PayloadSink for Modules {
    fn expect(&mut self, sha256: &[u8; 32]) {
        self.expected = Some(*sha256);
    }

    fn poll_begin(&mut self, now: Instant, name: &str, size: u64) -> Poll<Result<(), ModuleError>> {
        let (download, on) = self.download()?;
        download.poll_begin(now, name, size, &on)
    }

    fn poll_write(&mut self, now: Instant, bytes: &[u8]) -> Poll<Result<usize, ModuleError>> {
        let (download, on) = self.download()?;
        download.poll_write(now, bytes, &on)
    }

    fn poll_end(&mut self, now: Instant) -> Poll<Result<(), ModuleError>> {
        let (download, on) = self.download()?;
        download.poll_end(now, &on)
    }

    fn poll_finish(&mut self, now: Instant) -> Poll<Result<(), ModuleError>> {
        let (download, on) = self.download()?;
        download.poll_finish(now, &on)
    }

    fn mark_every(&self) -> u64 {
        MARK_EVERY
    }

    fn mark(&mut self, sha256: &[u8; 32]) -> Result<(), ModuleError> {
        let (download, on) = self.download()?;
        download.mark(sha256, &on)
    }

    fn stored(&mut self) -> Option<Stored> {
        self.download().ok().and_then(|(download, _)| download.stored())
    }

    fn read_stored(&mut self, to: &mut [u8]) -> Result<usize, ModuleError> {
        let (download, on) = self.download()?;
        download.read_stored(to, &on)
    }

    fn forget_stored(&mut self) -> Result<(), ModuleError> {
        let (download, on) = self.download()?;
        download.forget_stored(&on)
    }

    fn abort(&mut self) {
        if let Current::Download(download) = &mut self.current {
            download.abort();
        }
    }
}

/// Why a payload could not be handled.
#[derive(Debug)]
#[expect(missing_docs, reason = "the fields are said by the variants")]
pub enum ModuleError {
    /// The payload type cannot be the name of a module.
    PayloadType,
    /// The module is missing, or fails the check of owner and mode.
    Untrusted(Untrusted),
    /// A module was to be called although selecting it had failed.
    NotSelected(Call),
    /// A module was to be called, and there is no work tree.
    NoTree { call: Call, path: PathBuf },
    /// The name of a payload file cannot be a file name.
    FileName(String),
    /// A payload file does not have the length that the artifact announced.
    Size(String),
    /// The module ended when it should not have.
    Ended { module: String, exit: Exit, when: &'static str },
    /// The module closed a stream before its end.
    StoppedReading { module: String, what: String },
    /// A payload file is larger than what is free where it has to go.
    Space { path: PathBuf, needed: u64, free: u64 },
    /// What the module printed could not be read.
    Answer { call: String, error: io::Error },
    /// A call came out of order.
    Order,
    /// The operating system reported an error.
    Io { doing: &'static str, path: PathBuf, error: io::Error },
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ModuleError {
    let path = path.to_owned();
    move |error| ModuleError::Io { doing, path, error }
}

impl fmt::Display for ModuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PayloadType => f.write_str("it cannot be the name of an update module"),
            Self::Untrusted(Untrusted::Io(path, error)) if error.kind() == io::ErrorKind::NotFound => {
                write!(f, "there is no update module for it: install it as {}", path.display())
            }
            Self::Untrusted(untrusted) => write!(f, "its update module is refused: {untrusted}"),
            Self::NotSelected(call) => write!(f, "no update module is there to call {call}"),
            Self::NoTree { call, path } => {
                write!(
                    f,
                    "cannot call {call}: the work tree {} is missing; start the update again",
                    path.display()
                )
            }
            Self::FileName(name) => write!(f, "\"{name}\" cannot be the name of a payload file"),
            Self::Size(name) => {
                write!(f, "payload file {name} does not have the length that the artifact announces")
            }
            // When it ended helps only the author of a module that ended with success too early.
            Self::Ended { module, exit, .. } if !exit.is_success() => write!(f, "{module} ended with {exit}"),
            Self::Ended { module, exit, when } => write!(f, "{module} ended {when} ({exit})"),
            Self::StoppedReading { module, what } => {
                write!(f, "{module} stopped reading {what} before its end")
            }
            Self::Space { path, needed, free } => write!(
                f,
                "no space left to write {}: it needs {needed} bytes, and {free} are free; free some and start the update again",
                path.display()
            ),
            Self::Answer { call, error } => write!(f, "what {call} printed cannot be read: {error}"),
            Self::Order => f.write_str("no module call or payload file is open for this"),
            Self::Io { path, error, .. } if kind_of(error) == Kind::NoSpace => {
                write!(f, "no space left to write {}; free some and start the update again", path.display())
            }
            Self::Io { doing, path, error } => write!(f, "cannot {doing} {}: {error}", path.display()),
        }
    }
}

impl hal::Error for ModuleError {
    fn kind(&self) -> Kind {
        match self {
            Self::Untrusted(untrusted) => untrusted.kind(),
            Self::PayloadType | Self::FileName(_) => Kind::Refused,
            Self::NoTree { .. } | Self::NotSelected(_) => Kind::NotFound,
            Self::Size(_) => Kind::Corrupt,
            Self::Space { .. } => Kind::NoSpace,
            Self::Ended { .. } | Self::StoppedReading { .. } | Self::Order => Kind::Other,
            Self::Answer { error, .. } | Self::Io { error, .. } => kind_of(error),
        }
    }
}

#[cfg(test)]
mod tests;
