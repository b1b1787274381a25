//! Sockets of the daemon in its datastore, which only root reaches.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration as StdDuration;

use thimble_core::hal::Level;
use thimble_core::time::{Duration, Instant};
use thimble_hal_linux::SharedLog;
use thimble_hal_linux::storage::DataDirectory;
use thimble_hal_linux::wait::PollSet;

use crate::device::{Device, not_for_this_user};
use crate::output::Failure;

/// The name of the socket for requests: what `control` asks for, and verbs that want the daemon to stand aside.
pub(crate) const CONTROL: &str = "mender-update.control";

/// The daemon answers within a turn of its loop; a store that is being written may take longer.
pub(crate) const PATIENCE: StdDuration = StdDuration::from_secs(10);

/// Longest answer that is read, in bytes.
const ANSWER: u64 = 64 * 1024;

/// How long the socket rests after a connection could not be accepted.
const REST: Duration = Duration::from_secs(1);

/// A socket that the daemon listens on, for one of its verbs; its name goes with it.
pub(crate) struct Socket {
    listener: Option<UnixListener>,
    path: PathBuf,
    verb: &'static str,
    log: SharedLog,
    /// No connection is accepted before this time.
    rests: Option<Instant>,
    /// Whether the failure was logged; reset by the next accepted connection.
    is_told: bool,
}

impl Socket {
    /// Listens under `name` in the datastore, for `verb`. Where that fails the daemon works all the same, without it.
    pub(crate) fn new(device: &Device, name: &str, verb: &'static str) -> Self {
        let (listener, path) = match listen(device.paths.datastore(), name) {
            Ok((listener, path)) => (Some(listener), path),
            Err(error) => {
                device.log(Level::Warning, format_args!("`{verb}` will not work: {error}"));
                (None, PathBuf::new())
            }
        };
        Self { listener, path, verb, log: device.log.clone(), rests: None, is_told: false }
    }

    pub(crate) fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        if let (Some(listener), None) = (&self.listener, self.rests) {
            set.read(listener);
        }
    }

    /// When to try again, even if no descriptor became ready.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.rests
    }

    /// Accepts the next connection, as a stream that does not block.
    pub(crate) fn accept(&mut self, now: Instant) -> Option<UnixStream> {
        let listener = self.listener.as_ref()?;
        self.rests = self.rests.filter(|&until| now < until);
        while self.rests.is_none() {
            match listener.accept() {
                Ok((stream, _)) => {
                    self.is_told = false;
                    return stream.set_nonblocking(true).is_ok().then_some(stream);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                // The peer has gone away already.
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                // For example, the process has no descriptors left. The connection goes on waiting; trying again at
                // once would make the main loop spin.
                Err(error) => {
                    if !std::mem::replace(&mut self.is_told, true) {
                        let text = format_args!("`{}` has to wait: {error}", self.verb);
                        self.log.borrow_mut().log(Level::Warning, text);
                    }
                    self.rests = Some(now + REST);
                }
            }
        }
        None
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The holder of the datastore's lock is the only daemon: what is there is left from an earlier one.
fn listen(datastore: &Path, name: &str) -> io::Result<(UnixListener, PathBuf)> {
    let path = datastore.join(name);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let directory = DataDirectory::open(datastore)?;
    let listener = UnixListener::bind(short(&directory, name))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok((listener, path))
}

/// Why nothing was heard of a daemon.
pub(crate) enum Silence {
    /// Nobody listens.
    NoDaemon,
    /// Somebody listens, and does not answer, or not in a way that can be understood.
    NoAnswer,
    /// This user may not ask.
    Forbidden,
}

impl Silence {
    pub(crate) fn failure(self, device: &Device) -> Failure {
        match self {
            Self::NoDaemon => device.no_daemon(
                "no daemon is running in this datastore; start it with 'systemctl start mender-updated' or 'thimble daemon'",
            ),
            Self::NoAnswer => Failure::new(
                "the daemon does not answer: perhaps it waits for a disk; try again, or start the daemon anew",
            ),
            Self::Forbidden => not_for_this_user(device.paths.datastore()),
        }
    }
}

/// Asks the daemon that listens under `name` for something, and waits for each piece of the answer at most so long.
pub(crate) fn ask(
    datastore: &Path,
    name: &str,
    question: &str,
    patience: StdDuration,
) -> Result<String, Silence> {
    let stream = connect(datastore, name).map_err(|error| {
        let is_forbidden = error.kind() == ErrorKind::PermissionDenied;
        if is_forbidden { Silence::Forbidden } else { Silence::NoDaemon }
    })?;
    match answer(stream, question, patience) {
        Ok(answer) if !answer.is_empty() => Ok(answer),
        Ok(_) | Err(_) => Err(Silence::NoAnswer),
    }
}

/// A connection to the daemon that listens under `name`.
pub(crate) fn connect(datastore: &Path, name: &str) -> io::Result<UnixStream> {
    let directory = DataDirectory::open(datastore)?;
    UnixStream::connect(short(&directory, name))
}

fn answer(mut stream: UnixStream, question: &str, patience: StdDuration) -> io::Result<String> {
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.write_all(question.as_bytes())?;
    let mut answer = String::new();
    stream.take(ANSWER).read_to_string(&mut answer)?;
    Ok(answer)
}

/// A path of the socket that is short enough, however long the path of the datastore is.
fn short(directory: &DataDirectory, name: &str) -> String {
    format!("/proc/self/fd/{}/{name}", directory.handle().as_raw_fd())
}
