//! Makes durable what was written, with an end to the wait.
//!
//! A flush of a disk that is dying can block for as long as the kernel tries, and no signal ends it. So it runs in a
//! thread of its own, and the client waits for that thread no longer than [`PATIENCE`]. Then it counts as failed, like
//! any flush that reports an error: what was written may be durable or not.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::fs::{fdatasync, fstat, fsync, syncfs};

/// How long a flush may take. It is less than `WatchdogSec=` of the unit, so that the client can still tell what is wrong
/// with the disk before it is ended. A slow card with all of a small device's memory to write needs less.
const PATIENCE: Duration = Duration::from_secs(100);

/// Stack size of a thread, which makes one system call.
const STACK: usize = 64 * 1024;

static STUCK: Stuck = Stuck(Mutex::new(Vec::new()));

/// The file systems, by device number, with a flush that did not end in time and still blocks. One thread at most hangs
/// for each: further flushes there fail at once.
struct Stuck(Mutex<Vec<u64>>);

/// The content of a file, and its length.
///
/// # Errors
/// Those of the disk; `TimedOut` when it did not answer in time.
pub(crate) fn content(file: impl AsFd) -> io::Result<()> {
    STUCK.bounded(file, PATIENCE, |file| Ok(fdatasync(file)?))
}

/// A file or a directory, with all that is known of it.
///
/// # Errors
/// As for [`content`].
pub(crate) fn file(file: impl AsFd) -> io::Result<()> {
    STUCK.bounded(file, PATIENCE, |file| Ok(fsync(file)?))
}

/// All of the file system that `file` is on.
///
/// # Errors
/// As for [`content`].
pub(crate) fn file_system(file: impl AsFd) -> io::Result<()> {
    STUCK.bounded(file, PATIENCE, |file| Ok(syncfs(file)?))
}

impl Stuck {
    fn bounded(
        &'static self,
        file: impl AsFd,
        patience: Duration,
        flush: impl FnOnce(&OwnedFd) -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let file = file.as_fd().try_clone_to_owned()?;
        let device = fstat(&file)?.st_dev;
        if self.list().contains(&device) {
            let text = "an earlier flush of this file system has not ended: the disk does not answer";
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        let (say, result) = channel();
        let work = move || {
            let flushed = flush(&file);
            drop(file);
            let mut list = self.list();
            // Nobody hears it: the wait ended before, and the device is on the list.
            if say.send(flushed).is_err() {
                list.retain(|listed| *listed != device);
            }
        };
        thread::Builder::new().name("flush".into()).stack_size(STACK).spawn(work)?;
        match result.recv_timeout(patience) {
            Ok(flushed) => flushed,
            Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the flush broke off")),
            Err(RecvTimeoutError::Timeout) => {
                // The thread says how it ended under the same lock, so it cannot miss that nobody listens any more.
                let mut list = self.list();
                if let Ok(flushed) = result.try_recv() {
                    return flushed;
                }
                list.push(device);
                drop(result);
                let text = format!("the disk did not end a flush within {} s", patience.as_secs());
                Err(io::Error::new(io::ErrorKind::TimedOut, text))
            }
        }
    }

    fn list(&self) -> MutexGuard<'_, Vec<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_its_own() -> &'static Stuck {
        Box::leak(Box::new(Stuck(Mutex::new(Vec::new()))))
    }

    #[test]
    fn what_the_disk_says_is_what_the_caller_hears() {
        let (stuck, file) = (of_its_own(), tempfile::tempfile().unwrap());
        stuck.bounded(&file, PATIENCE, |file| Ok(fdatasync(file)?)).unwrap();
        let failed = stuck.bounded(&file, PATIENCE, |_| Err(io::Error::from_raw_os_error(5))).unwrap_err();
        assert_eq!(failed.raw_os_error(), Some(5));
    }

    #[test]
    fn a_flush_that_hangs_ends_the_wait_and_others_there_fail_at_once_until_the_disk_answers() {
        let (stuck, hanging) = (of_its_own(), tempfile::tempfile().unwrap());
        let other = rustix::fs::memfd_create("other", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let device = |fd: &dyn AsFd| fstat(fd.as_fd()).unwrap().st_dev;
        assert_ne!(device(&hanging), device(&other), "the test needs two file systems");

        let (let_go, wait) = channel::<()>();
        let hangs = move |_: &OwnedFd| {
            let _ = wait.recv();
            Ok(())
        };
        let error = stuck.bounded(&hanging, Duration::ZERO, hangs).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(error.to_string(), "the disk did not end a flush within 0 s");

        let error = stuck.bounded(&hanging, PATIENCE, |_| panic!("a second thread")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        stuck.bounded(&other, PATIENCE, |_| Ok(())).expect("another disk has nothing to do with it");

        let_go.send(()).unwrap();
        let deadline = std::time::Instant::now() + PATIENCE;
        while stuck.list().contains(&device(&hanging)) {
            assert!(std::time::Instant::now() < deadline, "the device stays on the list");
            thread::yield_now();
        }
        stuck.bounded(&hanging, PATIENCE, |_| Ok(())).expect("the disk answers again");
    }
}
