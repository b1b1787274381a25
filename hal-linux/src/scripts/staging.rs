//! Scripts of an artifact whose header is not verified yet (A3, A10, I9).
//!
//! The scripts are written into a directory beside the one that scripts run from. Publishing flushes all of them at
//! once and then renames the directory, so that a power loss leaves either no directory of that name or a complete one.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fsync, renameat, syncfs};
use thimble_core::limits;
use thimble_core::script::is_artifact_name;

use super::listing::VERSION;
use super::{ScriptError, io_error};
use crate::fsat::{create_new, make_dir, open_base, remove_all};

/// Name of the directory in the datastore that artifact scripts run from.
pub(super) const PUBLISHED: &str = "scripts";

/// Name of the directory in the datastore that scripts are staged in. No script is run from it.
const STAGED: &str = "scripts.staging";

/// Most bytes of all scripts of an artifact together. They are written before the digest of the header is compared, and
/// compressed zeros must not wear the flash out.
const MOST: u64 = 8 * 1024 * 1024;

/// A staging directory. It is removed if it is dropped without [`Staging::publish`].
#[derive(Debug)]
pub(super) struct Staging {
    path: PathBuf,
    base: OwnedFd,
    dir: OwnedFd,
    file: Option<Open>,
    count: u16,
    /// Bytes of all scripts so far.
    bytes: u64,
}

#[derive(Debug)]
struct Open {
    name: String,
    file: File,
    left: u64,
}

impl Staging {
    pub(super) fn new(datastore: &Path) -> Result<Self, ScriptError> {
        let path = datastore.join(STAGED);
        let base = open_base(datastore).map_err(io_error("open", datastore))?;
        remove_all(&path).map_err(io_error("remove", &path))?;
        let dir = make_dir(&base, STAGED).map_err(io_error("create", &path))?;
        Ok(Self { path, base, dir, file: None, count: 0, bytes: 0 })
    }

    pub(super) fn begin(&mut self, name: &str, size: u64) -> Result<(), ScriptError> {
        self.end()?;
        if !is_artifact_name(name) {
            return Err(ScriptError::Name(name.escape_debug().to_string()));
        }
        if self.count >= limits::SCRIPTS {
            return Err(ScriptError::TooMany(self.path.clone()));
        }
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > MOST {
            return Err(ScriptError::TooLarge(MOST));
        }
        self.count += 1;
        let file = create_new(&self.dir, name, Mode::RWXU).map_err(|error| {
            // The directory was made for this artifact, so only the artifact can have put it there.
            if error.kind() == io::ErrorKind::AlreadyExists {
                ScriptError::Twice(name.to_owned())
            } else {
                io_error("create", &self.path.join(name))(error)
            }
        })?;
        self.file = Some(Open { name: name.to_owned(), file, left: size });
        Ok(())
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), ScriptError> {
        let open = self.file.as_mut().ok_or(ScriptError::NothingOpen)?;
        let left = open.left.checked_sub(bytes.len() as u64);
        open.left = left.ok_or_else(|| ScriptError::Size(open.name.clone()))?;
        open.file.write_all(bytes).map_err(io_error("write", &self.path.join(&open.name)))
    }

    /// Makes the staged scripts those of the artifact. They are durable on return.
    pub(super) fn publish(mut self, datastore: &Path) -> Result<(), ScriptError> {
        self.end()?;
        let published = datastore.join(PUBLISHED);
        let at = |doing| io_error(doing, &published);
        create_new(&self.dir, VERSION, Mode::RUSR | Mode::WUSR)
            .and_then(|mut file| file.write_all(b"3"))
            .map_err(at("write the version of"))?;
        // The content is flushed before the name: a name that is durable first could lead to empty files after a power
        // loss.
        syncfs(&self.dir).map_err(|errno| at("flush")(errno.into()))?;
        remove_all(&published).map_err(at("replace"))?;
        renameat(&self.base, STAGED, &self.base, PUBLISHED).map_err(|errno| at("create")(errno.into()))?;
        fsync(&self.base).map_err(|errno| at("flush")(errno.into()))
    }

    /// Closes the open file, which must be complete.
    fn end(&mut self) -> Result<(), ScriptError> {
        match self.file.take() {
            Some(open) if open.left > 0 => Err(ScriptError::Size(open.name)),
            Some(_) | None => Ok(()),
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // After publishing the directory has another name, and there is nothing to remove here.
        let _ = remove_all(&self.path);
    }
}

/// Deletes staged and published scripts.
pub(super) fn discard(datastore: &Path) -> Result<(), ScriptError> {
    discard_staged(datastore)?;
    let path = datastore.join(PUBLISHED);
    remove_all(&path).map_err(io_error("remove", &path))
}

/// Deletes staged scripts.
pub(super) fn discard_staged(datastore: &Path) -> Result<(), ScriptError> {
    let path = datastore.join(STAGED);
    remove_all(&path).map_err(io_error("remove", &path))
}

/// For an artifact without scripts: deletes those of an earlier artifact. The deletion is durable on return.
pub(super) fn publish_nothing(datastore: &Path) -> Result<(), ScriptError> {
    discard(datastore)?;
    open_base(datastore).and_then(|base| Ok(fsync(base)?)).map_err(io_error("flush", datastore))
}
