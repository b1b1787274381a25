//! The work tree of an update module (`update-modules.md` 4).
//!
//! ```text
//! <datastore>/modules/v3/payloads/0000/tree/
//!   version current_artifact_name current_artifact_group current_device_type
//!   header/{artifact_name,artifact_group,payload_type,header-info,type-info,meta-data}
//!   tmp/                      for the module
//!   stream-next streams/      FIFOs, only during Download
//!   files/                    payload files, only if the module did not stream
//! ```
//!
//! Every way into it goes by directory handles that follow no link below the datastore directory.

use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, fstat, mkdirat, mkfifoat, openat, statat, syncfs, unlinkat,
};
use rustix::io::Errno;
use thimble_core::hal::TreeFacts;

use crate::fsat::{create_new, ensure_dir, make_dir, open_base, open_dir, remove_all};

/// The only payload there can be, index 0.
const PARENTS: [&str; 4] = ["modules", "v3", "payloads", "0000"];
const TREE: &str = "tree";
const STREAMS: &str = "streams";
const FILES: &str = "files";
pub(super) const STREAM_NEXT: &str = "stream-next";

#[derive(Debug)]
pub(crate) struct Tree {
    datastore: PathBuf,
    path: PathBuf,
}

impl Tree {
    /// `datastore` is absolute.
    pub(crate) fn new(datastore: &Path) -> Self {
        let mut path = datastore.to_owned();
        path.extend(PARENTS);
        path.push(TREE);
        Self { datastore: datastore.to_owned(), path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether anything stands at its place, or might: an error of the disk is no proof that there is nothing.
    pub(crate) fn exists(&self) -> bool {
        !matches!(statat(CWD, &self.path, AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT | Errno::NOTDIR))
    }

    /// Deletes an earlier tree and builds a new one. Nothing is flushed: see [`Tree::flush`].
    pub(crate) fn build(&self, facts: &TreeFacts<'_>) -> io::Result<()> {
        let mut parent = open_base(&self.datastore)?;
        for name in PARENTS {
            parent = ensure_dir(&parent, name)?;
        }
        remove_all(&self.path)?;
        let tree = make_dir(&parent, TREE)?;
        write(&tree, "version", b"3\n")?;
        write(&tree, "current_artifact_name", &with_newline(facts.current_artifact_name))?;
        write(&tree, "current_artifact_group", &with_newline(facts.current_artifact_group))?;
        write(&tree, "current_device_type", &with_newline(facts.current_device_type))?;
        let header = make_dir(&tree, "header")?;
        write(&header, "artifact_name", facts.artifact_name.as_bytes())?;
        write(&header, "artifact_group", facts.artifact_group.as_bytes())?;
        write(&header, "payload_type", facts.payload_type.as_bytes())?;
        write(&header, "header-info", facts.header_info)?;
        write(&header, "type-info", facts.type_info)?;
        let meta_data = if facts.meta_data.is_empty() { b"null" } else { facts.meta_data };
        write(&header, "meta-data", meta_data)?;
        mkdirat(&tree, "tmp", Mode::RWXU)?;
        mkdirat(&tree, STREAMS, Mode::RWXU)?;
        Ok(())
    }

    /// Everything in the tree is durable on return: one flush for all of it.
    pub(crate) fn flush(&self) -> io::Result<()> {
        Ok(syncfs(&self.open()?)?)
    }

    /// Removes the tree. Links in it are removed, not followed.
    pub(crate) fn remove(&self) -> io::Result<()> {
        match self.parent() {
            Ok(_) => remove_all(&self.path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes `stream-next` and an empty `streams/`.
    pub(super) fn make_streams(&self) -> io::Result<()> {
        self.remove_streams()?;
        let tree = self.open()?;
        mkdirat(&tree, STREAMS, Mode::RWXU)?;
        Ok(mkfifoat(&tree, STREAM_NEXT, Mode::RUSR | Mode::WUSR)?)
    }

    /// Removes `stream-next` and `streams/`.
    pub(super) fn remove_streams(&self) -> io::Result<()> {
        let tree = self.open()?;
        remove_all(&self.path.join(STREAMS))?;
        match unlinkat(&tree, STREAM_NEXT, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Makes the FIFO of a file, which must not be there yet.
    pub(super) fn make_stream(&self, name: &str) -> io::Result<()> {
        let streams = open_dir(self.open()?, STREAMS)?;
        Ok(mkfifoat(&streams, name, Mode::RUSR | Mode::WUSR)?)
    }

    /// Opens `stream-next` for writing; `None` while nobody reads it.
    pub(super) fn open_stream_next(&self) -> io::Result<Option<OwnedFd>> {
        open_fifo(self.open()?, STREAM_NEXT)
    }

    /// Opens the FIFO of a file for writing; `None` while nobody reads it.
    pub(super) fn open_stream(&self, name: &str) -> io::Result<Option<OwnedFd>> {
        open_fifo(open_dir(self.open()?, STREAMS)?, name)
    }

    /// Opens `files/`, made if need be.
    pub(super) fn make_files(&self) -> io::Result<OwnedFd> {
        ensure_dir(self.open()?, FILES)
    }

    /// Where a stored file stands.
    pub(super) fn file_path(&self, name: &str) -> PathBuf {
        self.path.join(FILES).join(name)
    }

    /// The tree itself; an error when it is missing or no directory of ours.
    pub(crate) fn open(&self) -> io::Result<OwnedFd> {
        open_dir(self.parent()?, TREE)
    }

    fn parent(&self) -> io::Result<OwnedFd> {
        let mut parent = open_base(&self.datastore)?;
        for name in PARENTS {
            parent = open_dir(&parent, name)?;
        }
        Ok(parent)
    }
}

/// A stored payload file, which must not be there yet.
pub(super) fn create_file(files: &OwnedFd, name: &str) -> io::Result<fs::File> {
    create_new(files, name, Mode::RUSR | Mode::WUSR)
}

fn write(dir: &OwnedFd, name: &str, content: &[u8]) -> io::Result<()> {
    create_new(dir, name, Mode::RUSR | Mode::WUSR)?.write_all(content)
}

/// A newline behind a value, as newer clients write it; nothing for no value (U-5).
fn with_newline(value: &str) -> Vec<u8> {
    if value.is_empty() { Vec::new() } else { format!("{value}\n").into_bytes() }
}

fn open_fifo(dir: impl AsFd, name: &str) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fifo = match openat(dir, name, flags, Mode::empty()) {
        Err(Errno::NXIO) => return Ok(None),
        other => other?,
    };
    if FileType::from_raw_mode(fstat(&fifo)?.st_mode) != FileType::Fifo {
        return Err(io::Error::other("is no FIFO any more"));
    }
    Ok(Some(fifo))
}
