//! The datastore directory and the files in it: what the store asks of a file system, and Linux's answer.
//!
//! Tests implement these traits with a disk that loses power inside a write, fails, or is full.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, StatVfsMountFlags};
use rustix::process::{Gid, Uid, geteuid};
use thimble_core::hal::Level;

use crate::fsat::open_base;
use crate::paths::Word;

/// With less space than this, in bytes, logs of deployments are given up (CLI-81), and soon records cannot be written.
const LITTLE: u64 = 100 * 1024;

/// Whether the store may change anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// For verbs that only show something and may run beside a daemon: nothing is written, renamed or created.
    ReadOnly,
    /// For everything else; the caller holds the [`crate::lock::Lock`].
    ReadWrite,
}

/// What was found under a name in the directory.
#[derive(Debug)]
pub enum Found<F> {
    /// Nothing.
    Missing,
    /// A regular file, opened.
    File(F),
    /// Something else: a link, a directory, a FIFO. It was not followed and not opened.
    Foreign,
}

/// What came of taking a lock.
#[derive(Debug)]
pub enum Locked<F> {
    /// It is held until this is dropped.
    Held(F),
    /// There is no such file: nobody has ever held it.
    Missing,
    /// Another process holds it.
    Elsewhere,
}

impl<F> Locked<F> {
    /// No other process holds it.
    pub const fn is_ours(&self) -> bool {
        matches!(self, Self::Held(_) | Self::Missing)
    }
}

/// A file, as much of it as the store needs.
pub trait Medium {
    /// Length in bytes.
    fn size(&mut self) -> io::Result<u64>;
    /// Reads some bytes; 0 at the end.
    fn read_at(&mut self, at: u64, buf: &mut [u8]) -> io::Result<usize>;
    /// Writes some bytes. Nothing is durable before [`Self::sync`]: any part of it may be.
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<usize>;
    /// Cuts or extends the file.
    fn set_len(&mut self, len: u64) -> io::Result<()>;
    /// Makes content and length durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// A directory, as much of it as the store needs. Names are plain; no call follows a link.
pub trait Directory {
    /// Its open files.
    type File: Medium;
    /// Opens an existing file.
    ///
    /// # Errors
    /// The file system's; and for a link to what is not there.
    fn open(&self, name: &str, access: Access) -> io::Result<Found<Self::File>>;
    /// Creates a file that must not exist, for its owner only.
    fn create(&self, name: &str) -> io::Result<Self::File>;
    /// Whether anything has this name.
    fn exists(&self, name: &str) -> io::Result<bool>;
    /// Creates a file that must not exist, with owner and mode of `like`; for its owner only where that is not there.
    fn create_like(&self, name: &str, like: &str) -> io::Result<Self::File>;
    /// Takes the lock (`fcntl`) that clients with LMDB hold on this file while they run. They wait for it as long as it is held here.
    fn lock(&self, name: &str) -> io::Result<Locked<Self::File>>;
    /// Gives a file a new name, in the place of what has it now.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a name. It is no error if the name does not exist.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes the names durable.
    fn sync(&self) -> io::Result<()>;
    /// A number no other file had.
    fn salt(&self) -> u64;
}

/// The datastore directory (usually `/var/lib/mender`), by a handle: what happens to its path later changes nothing.
#[derive(Debug)]
pub struct DataDirectory {
    handle: OwnedFd,
}

impl DataDirectory {
    /// Opens `path`. It may itself be a link (device images point it to the data partition).
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { handle: open_base(path)? })
    }

    /// As [`Self::open`], after creating what is missing: `path` itself with mode 0700 whatever the umask would
    /// allow, its parents as usual.
    pub fn open_or_create(path: &Path) -> io::Result<Self> {
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent)?;
        }
        match std::fs::DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        Self::open(path)
    }

    /// What is unwise about the directory, which is at `path`, and how to mend it; it stays as it is
    /// (D5). Files in it are for their owner only; but whoever may write here may put others in their place.
    pub fn weakness(&self, path: &Path) -> io::Result<Option<(Level, String)>> {
        let stat = rustix::fs::fstat(&self.handle)?;
        let (owner, us) = (stat.st_uid, geteuid().as_raw());
        let (word, path, mode) = (Word(path), path.display(), stat.st_mode & 0o7777);
        let mend = format!("run `chmod 0700 {word}`");
        Ok(if owner != 0 && owner != us {
            let text = format!(
                "the datastore {path} belongs to user {owner}, who may change all of it; run `chown {us} {word}`"
            );
            Some((Level::Warning, text))
        } else if mode & 0o022 != 0 {
            let text =
                format!("the datastore {path} can be changed by other users (mode {mode:04o}); {mend}");
            Some((Level::Warning, text))
        } else if mode & 0o055 != 0 {
            let text =
                format!("the datastore {path} can be looked into by other users (mode {mode:04o}); {mend}");
            Some((Level::Info, text))
        } else {
            None
        })
    }

    /// Why nothing can be written here, in words, and what to do about it; `None`: there is room. Nothing is tried.
    ///
    /// # Errors
    /// The file system's.
    pub fn no_room(&self, path: &Path) -> io::Result<Option<String>> {
        let space = rustix::fs::fstatvfs(&self.handle)?;
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        let path = path.display();
        Ok(if space.f_flag.contains(StatVfsMountFlags::RDONLY) {
            Some(format!("the file system of the datastore {path} is read-only; mount it to be written"))
        } else if free < LITTLE {
            Some(format!(
                "the file system of the datastore {path} is full: {} KiB are free, and records need {} KiB; free some space",
                free / 1024,
                LITTLE / 1024
            ))
        } else {
            None
        })
    }

    /// The handle, for files that are not the store's.
    #[must_use]
    pub fn handle(&self) -> &OwnedFd {
        &self.handle
    }
}

impl Directory for DataDirectory {
    type File = std::fs::File;

    fn open(&self, name: &str, access: Access) -> io::Result<Found<Self::File>> {
        let stat = match rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(rustix::io::Errno::NOENT) => return Ok(Found::Missing),
            Err(errno) => return Err(errno.into()),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        // Records that cannot be reached now are not lost: nothing may begin without them.
        if kind == FileType::Symlink && rustix::fs::statat(&self.handle, name, AtFlags::empty()).is_err() {
            let text = "it is a link to what is not there; is its file system mounted?";
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        if kind != FileType::RegularFile {
            return Ok(Found::Foreign);
        }
        let mode = match access {
            Access::ReadOnly => OFlags::RDONLY,
            Access::ReadWrite => OFlags::RDWR,
        };
        // The file may have been replaced since it was examined. So opening follows no link and does not block, and the
        // opened file is examined again.
        let flags = mode | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.handle, name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(Found::Foreign);
        }
        if access == Access::ReadWrite && stat.st_mode & 0o077 != 0 {
            rustix::fs::fchmod(&file, Mode::RUSR | Mode::WUSR)?;
        }
        Ok(Found::File(file.into()))
    }

    fn create(&self, name: &str) -> io::Result<Self::File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.handle, name, flags, Mode::RUSR | Mode::WUSR)?.into())
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        match rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    fn create_like(&self, name: &str, like: &str) -> io::Result<Self::File> {
        let file = self.create(name)?;
        let stat = match rustix::fs::statat(&self.handle, like, AtFlags::SYMLINK_NOFOLLOW) {
            Err(rustix::io::Errno::NOENT) => return Ok(file),
            other => other?,
        };
        let own = rustix::fs::fstat(&file)?;
        if (own.st_uid, own.st_gid) != (stat.st_uid, stat.st_gid) {
            let (user, group) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
            rustix::fs::fchown(&file, Some(user), Some(group))?;
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(stat.st_mode & 0o777))?;
        Ok(file)
    }

    fn lock(&self, name: &str) -> io::Result<Locked<Self::File>> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.handle, name, flags, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) => return Ok(Locked::Missing),
            other => std::fs::File::from(other?),
        };
        match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Locked::Held(file)),
            Err(rustix::io::Errno::ACCESS | rustix::io::Errno::AGAIN) => Ok(Locked::Elsewhere),
            Err(errno) => Err(errno.into()),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.handle, from, &self.handle, to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.handle, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.handle)?)
    }

    /// The standard library seeds its hash maps from the kernel without ever waiting for entropy; the salt guards
    /// against accidents and against content chosen long before, and needs no more.
    fn salt(&self) -> u64 {
        RandomState::new().hash_one(std::process::id())
    }
}

impl Medium for std::fs::File {
    fn size(&mut self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&mut self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(self, buf, at)
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<usize> {
        FileExt::write_at(self, bytes, at)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        Self::set_len(self, len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}
