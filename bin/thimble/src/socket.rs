//! Sockets of the daemon in its datastore, which only root reaches.

use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use thimble_hal_linux::storage::DataDirectory;
use thimble_hal_linux::wait::PollSet;

/// A socket that the daemon listens on; its name goes with it.
pub(crate) struct Socket {
    listener: Option<UnixListener>,
    path: PathBuf,
}

impl Socket {
    /// Listens under `name` in the datastore. The holder of the datastore's lock is the only daemon: what is there is
    /// left from an earlier one.
    pub(crate) fn listen(datastore: &Path, name: &str) -> io::Result<Self> {
        let path = datastore.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let directory = DataDirectory::open(datastore)?;
        let listener = UnixListener::bind(short(&directory, name))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener: Some(listener), path })
    }

    /// Nobody is listened to.
    pub(crate) fn none() -> Self {
        Self { listener: None, path: PathBuf::new() }
    }

    pub(crate) fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        if let Some(listener) = &self.listener {
            set.read(listener);
        }
    }

    /// The next who waits, as a stream that does not block.
    pub(crate) fn accept(&mut self) -> Option<UnixStream> {
        let listener = self.listener.as_ref()?;
        loop {
            match listener.accept() {
                Ok((stream, _)) => return stream.set_nonblocking(true).is_ok().then_some(stream),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(_) => {
                    // Out of descriptors, say: asking on would spin.
                    self.listener = None;
                    return None;
                }
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Reaches the daemon that listens under `name`; `None` when there is none.
pub(crate) fn connect(datastore: &Path, name: &str) -> Option<UnixStream> {
    let directory = DataDirectory::open(datastore).ok()?;
    UnixStream::connect(short(&directory, name)).ok()
}

/// By this name no path is too long for a socket.
fn short(directory: &DataDirectory, name: &str) -> String {
    format!("/proc/self/fd/{}/{name}", directory.handle().as_raw_fd())
}
