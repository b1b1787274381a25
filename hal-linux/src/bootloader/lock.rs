//! The lock of the boot environment. It is the file that the boot loader's own tools lock, in a directory that anybody
//! may write to: what another user left there is moved out of the way, and waits have an end.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{
    AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, Stat, fchmod, flock, fstat, open, statat,
};
use rustix::process::geteuid;

use super::{BootError, Look};
use crate::rootfs::slot::Machine;

/// The lock of U-Boot's tools.
pub(super) const UBOOT: &str = "/var/lock/fw_printenv.lock";
/// The lock of Mender's tools for GRUB.
pub(super) const GRUB: &str = "/var/lock/grub-mender-grubenv-set.lock";

/// The lock, held until it is dropped.
#[derive(Debug)]
pub(crate) struct HostLock {
    file: Option<OwnedFd>,
}

impl Drop for HostLock {
    fn drop(&mut self) {
        // Not only closed: a child that another thread has just forked still has the descriptor.
        if let Some(file) = &self.file {
            let _ = flock(file, FlockOperation::Unlock);
        }
    }
}

const PAUSE: Duration = Duration::from_millis(50);
/// How often what is there is moved away, before somebody who puts it there again has won.
const ATTEMPTS: u32 = 20;
const OURS: Mode = Mode::RUSR.union(Mode::WUSR);

impl HostLock {
    /// Waits for the lock as long as the look lasts. The tools hold it for milliseconds.
    pub(crate) fn take(path: &Path, look: &mut Look) -> Result<Self, BootError> {
        let mut attempts = 0;
        loop {
            let Some(file) = file(path, look, &mut attempts)? else {
                // Without the directory no tool could lock either.
                return Ok(Self { file: None });
            };
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // A tool may have found another file there meanwhile.
                Ok(()) if is_at(&file, path) => return Ok(Self { file: Some(file) }),
                Ok(()) | Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(failed(path, errno)),
            }
            if look.is_over() {
                return Err(BootError::Locked(path.to_owned()));
            }
            sleep(PAUSE);
        }
    }

    /// Moves away what would hang or mislead a tool that takes the lock itself.
    pub(crate) fn clear(path: &Path, look: &mut Look) -> Result<(), BootError> {
        match statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => file(path, look, &mut 0).map(drop),
            Err(_) => Ok(()),
        }
    }
}

/// The lock file, made where it is missing; `None`: its directory is missing.
fn file(path: &Path, look: &mut Look, attempts: &mut u32) -> Result<Option<OwnedFd>, BootError> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    loop {
        let opened = open(path, flags, Mode::empty());
        if let Ok(file) = opened
            && is_ours(&fstat(&file).map_err(|errno| failed(path, errno))?)
        {
            return Ok(Some(file));
        }
        match statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if is_ours(&found) => match open(path, flags, Mode::empty()) {
                Ok(file) => return Ok(Some(file)),
                Err(errno) => return Err(failed(path, errno)),
            },
            Ok(_) => {
                *attempts += 1;
                if *attempts > ATTEMPTS {
                    return Err(BootError::NoLock(path.to_owned()));
                }
                move_away(path)?;
                look.note(format!(
                    "{}, the lock of the boot environment, was not a file of this client's user or root's: it was \
                     moved away",
                    path.display()
                ));
            }
            Err(rustix::io::Errno::NOENT) => match open(path, flags | OFlags::CREATE | OFlags::EXCL, OURS) {
                Ok(file) => return Ok(Some(file)),
                // Somebody was faster.
                Err(rustix::io::Errno::EXIST) if *attempts < ATTEMPTS => *attempts += 1,
                Err(rustix::io::Errno::NOENT) => return Ok(None),
                Err(errno) => return Err(failed(path, errno)),
            },
            Err(errno) => return Err(failed(path, errno)),
        }
    }
}

/// A regular file of root's or the client's user, under no other name: a second name of a file that the system needs is
/// no lock.
fn is_ours(found: &Stat) -> bool {
    let owner = found.st_uid;
    FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
        && (owner == 0 || owner == geteuid().as_raw())
        && found.st_nlink == 1
}

fn is_at(file: &OwnedFd, path: &Path) -> bool {
    match (fstat(file), statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)) {
        (Ok(ours), Ok(there)) => (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => false,
    }
}

/// A directory may have content, so it gets another name.
fn move_away(path: &Path) -> Result<(), BootError> {
    let removed = match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
            fs::remove_dir(path).or_else(|_| fs::rename(path, beside(path)))
        }
        other => other,
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(BootError::io("remove", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn beside(path: &Path) -> PathBuf {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", since.as_nanos()));
    name.into()
}

fn failed(path: &Path, errno: rustix::io::Errno) -> BootError {
    BootError::io("lock", path)(errno.into())
}

/// Lets no other user open, and so hold, the locks of the boot environments that are there. Once, when the daemon starts.
pub fn close_locks(machine: &Machine) {
    for path in [UBOOT, GRUB].map(|path| machine.at(path)) {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let Ok(file) = open(&path, flags, Mode::empty()) else { continue };
        if fstat(&file).is_ok_and(|found| is_ours(&found)) {
            // A client that may not do it waits for the lock like everybody else.
            let _ = fchmod(&file, OURS);
        }
    }
}

#[cfg(test)]
#[path = "lock_tests.rs"]
mod tests;
