//! Sockets of the daemon in its datastore, which only root reaches.

use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use thimble_core::hal::Level;
use thimble_core::time::{Duration, Instant};
use thimble_hal_linux::SharedLog;
use thimble_hal_linux::storage::DataDirectory;
use thimble_hal_linux::wait::PollSet;

use crate::device::Device;

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

/// Reaches the daemon that listens under `name`; `None` when there is none.
pub(crate) fn connect(datastore: &Path, name: &str) -> Option<UnixStream> {
    let directory = DataDirectory::open(datastore).ok()?;
    UnixStream::connect(short(&directory, name)).ok()
}

/// A path of the socket that is short enough, however long the path of the datastore is.
fn short(directory: &DataDirectory, name: &str) -> String {
    format!("/proc/self/fd/{}/{name}", directory.handle().as_raw_fd())
}
