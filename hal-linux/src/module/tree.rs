//! The work tree of an update module (MODULE-20 to MODULE-25).
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
//! Beside the tree, during a Download that can go on after a restart:
//!
//! ```text
//! <datastore>/modules/v3/payloads/0000/
//!   mark                      how much of which file is durably stored
//!   stored                    that file, while a new tree is built
//! ```
//!
//! The tree is only entered through directory handles; below the datastore directory no link is followed.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, fstat, fstatfs, fstatvfs, mkdirat, mkfifoat, openat, renameat,
    statat, syncfs, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;
use thimble_core::hal::TreeFacts;

use super::mark::{MARK_MAX, Mark};
use crate::fsat::{create_new, ensure_dir, make_dir, open_base, open_dir, remove_all};

/// The directories above the tree; 0000 is the index of the payload, and an artifact has at most one.
const PARENTS: [&str; 4] = ["modules", "v3", "payloads", "0000"];
const TREE: &str = "tree";
const STREAMS: &str = "streams";
const FILES: &str = "files";
pub(super) const STREAM_NEXT: &str = "stream-next";
const MARK: &str = "mark";
const MARK_NEW: &str = "mark.new";
const STORED: &str = "stored";

#[derive(Clone, Debug)]
pub(crate) struct Tree {
    datastore: PathBuf,
    path: PathBuf,
}

impl Tree {
    /// The tree in `datastore`, which must be an absolute path.
    pub(crate) fn new(datastore: &Path) -> Self {
        let mut path = datastore.to_owned();
        path.extend(PARENTS);
        path.push(TREE);
        Self { datastore: datastore.to_owned(), path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the tree exists. True also if that cannot be found out: an error of the disk does not prove that nothing
    /// is there.
    pub(crate) fn exists(&self) -> bool {
        !matches!(statat(CWD, &self.path, AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT | Errno::NOTDIR))
    }

    /// Deletes an earlier tree with its mark and builds a new one. Does not flush: see [`Tree::flush`].
    pub(crate) fn build(&self, facts: &TreeFacts<'_>) -> io::Result<()> {
        self.forget()?;
        self.rebuild(facts)
    }

    /// As [`Tree::build`], but keeps the file that the mark names. Returns the mark.
    pub(crate) fn build_again(&self, facts: &TreeFacts<'_>) -> io::Result<Option<Mark>> {
        let mark = self.keep()?;
        if mark.is_none() {
            self.forget()?;
        }
        self.rebuild(facts)?;
        Ok(mark)
    }

    fn rebuild(&self, facts: &TreeFacts<'_>) -> io::Result<()> {
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

    /// Makes everything in the tree durable, with one flush.
    pub(crate) fn flush(&self) -> io::Result<()> {
        Ok(syncfs(&self.open()?)?)
    }

    /// Removes the tree and the mark. Links in the tree are removed, not followed.
    pub(crate) fn remove(&self) -> io::Result<()> {
        self.forget()?;
        match self.parent() {
            Ok(_) => remove_all(&self.path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether a mark or a kept file is beside the tree.
    pub(crate) fn has_kept(&self) -> bool {
        self.parent().is_ok_and(|parent| {
            [MARK, MARK_NEW, STORED]
                .into_iter()
                .any(|name| !matches!(statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT)))
        })
    }

    /// Removes the mark, and then the file that it names.
    fn forget(&self) -> io::Result<()> {
        let parent = match self.parent() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        for name in [MARK, MARK_NEW, STORED] {
            match unlinkat(&parent, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Reads the mark, and moves the file that it names out of the tree. It is no error here if there is no such file:
    /// the mark may name a slot instead, and [`Tree::adopt`] notices a file that is missing.
    fn keep(&self) -> io::Result<Option<Mark>> {
        let parent = match self.parent() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&parent, MARK, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            other => fs::File::from(other?),
        };
        let mut bytes = Vec::new();
        file.take(MARK_MAX as u64).read_to_end(&mut bytes)?;
        let Some(mark) = Mark::decode(&bytes) else { return Ok(None) };
        let files = open_dir(&parent, TREE).and_then(|tree| open_dir(tree, FILES));
        match files.map(|files| renameat(files, &mark.name, &parent, STORED)) {
            Ok(Ok(()) | Err(Errno::NOENT)) => {}
            Ok(Err(errno)) => return Err(errno.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(Some(mark))
    }

    /// Moves the kept file back into `files/` and cuts it to the marked length; `None` when it is missing or too short.
    pub(super) fn adopt(&self, files: &OwnedFd, mark: &Mark) -> io::Result<Option<fs::File>> {
        let parent = self.parent()?;
        match renameat(&parent, STORED, files, &mark.name) {
            Err(Errno::NOENT) => return Ok(None),
            other => other?,
        }
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = fs::File::from(openat(files, &mark.name, flags, Mode::empty())?);
        let found = file.metadata()?;
        if !found.is_file() || found.len() < mark.stored.length {
            unlinkat(files, &mark.name, AtFlags::empty())?;
            return Ok(None);
        }
        file.set_len(mark.stored.length)?;
        Ok(Some(file))
    }

    /// Writes the mark durably. The caller has made the bytes durable that it stands for. Power loss leaves this mark,
    /// the one before, or none.
    pub(crate) fn write_mark(&self, mark: &Mark) -> io::Result<()> {
        let parent = self.parent()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = fs::File::from(openat(&parent, MARK_NEW, flags, Mode::RUSR | Mode::WUSR)?);
        file.write_all(&mark.encode())?;
        file.sync_data()?;
        Ok(renameat(&parent, MARK_NEW, &parent, MARK)?)
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

    /// Makes the FIFO of a file, which must not exist yet.
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

    /// Opens `files/`, and makes the directory if it is missing.
    pub(super) fn make_files(&self) -> io::Result<OwnedFd> {
        ensure_dir(self.open()?, FILES)
    }

    /// The path of a stored file.
    pub(super) fn file_path(&self, name: &str) -> PathBuf {
        self.path.join(FILES).join(name)
    }

    /// Opens the tree; an error when it is missing, a link, or no directory.
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

/// Creates a payload file, which must not exist yet.
pub(super) fn create_file(files: &OwnedFd, name: &str) -> io::Result<fs::File> {
    create_new(files, name, Mode::RUSR | Mode::WUSR)
}

/// Magic numbers of file systems that compress: more bytes may fit than they report as free.
const COMPRESSING: [u32; 5] = [0x2405_1905, 0x9123_683e, 0xf2f5_2010, 0x0000_72b6, 0x2fc1_2fc1];

/// How many bytes this process may still write to the file system of a directory. `None` where that is not known: in a
/// file system in memory without a limit, or in one that compresses (UBIFS, btrfs, F2FS, JFFS2, ZFS).
pub(super) fn free_space(dir: &OwnedFd) -> io::Result<Option<u64>> {
    let space = fstatvfs(dir)?;
    // Magic numbers have 32 bits, although the field's type is wider on some architectures.
    let kind = fstatfs(dir)?.f_type as u32;
    let blocks = if geteuid().is_root() { space.f_bfree } else { space.f_bavail };
    let is_known = space.f_blocks > 0 && !COMPRESSING.contains(&kind);
    Ok(is_known.then(|| blocks.saturating_mul(space.f_frsize)))
}

/// How many bytes this process may still write below a directory, which need not be there yet. `None`: that is not known.
///
/// # Errors
/// The directory that is there cannot be opened.
pub fn free_space_at(dir: &Path) -> io::Result<Option<u64>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    for dir in dir.ancestors() {
        match rustix::fs::open(dir, flags, Mode::empty()) {
            Err(Errno::NOENT) => {}
            opened => return free_space(&opened?),
        }
    }
    Ok(None)
}

fn write(dir: &OwnedFd, name: &str, content: &[u8]) -> io::Result<()> {
    create_new(dir, name, Mode::RUSR | Mode::WUSR)?.write_all(content)
}

/// The value and a newline, as newer clients write it; empty for an empty value (U-5).
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
