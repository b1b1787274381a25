//! Whether an update that Mender's client left can go on here: its work tree and its scripts are what this client
//! would have made, and complete. They are used as they are.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind, Read};

use rustix::fs::{Mode, OFlags, openat};
use thimble_core::artifact::provides;
use thimble_core::hal::TreeFacts;
use thimble_core::json::Value;
use thimble_core::limits;

use crate::fsat::open_dir;
use crate::module::{ModuleError, Modules, Tree};
use crate::paths::Paths;
use crate::scripts::{ScriptError, check_artifact_scripts};
use crate::storage::Unfinished;

/// Longest file of a header, in bytes.
const FILE_MAX: u64 = 1024 * 1024;

/// Why it cannot go on.
#[derive(Debug)]
pub enum Missing {
    /// There is no work tree.
    Tree(String),
    /// A file of the work tree is missing or cannot be read.
    File(String, io::Error),
    /// A file of the work tree is of another update.
    Other(String),
    /// There is no update module for it, or none that can be run.
    Module(ModuleError),
    /// The scripts are for another client.
    Scripts(ScriptError),
    /// A work tree could not be made.
    NotMade(io::Error),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tree(tree) => write!(f, "its work tree {tree} is missing"),
            Self::File(path, error) => write!(f, "{path} of its work tree cannot be read: {error}"),
            Self::Other(path) => write!(f, "{path} in the work tree is of another update"),
            Self::Module(error) => error.fmt(f),
            Self::Scripts(error) => error.fmt(f),
            Self::NotMade(error) => write!(f, "its work tree cannot be made: {error}"),
        }
    }
}

/// What an update that can go on needs yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// A work tree, which [`make`] makes: Mender 3 has none for root file systems.
    Tree,
}

/// Checks what that client left beside its records, and changes nothing. One that is over needs nothing: what cannot clean up
/// after it does not.
///
/// # Errors
/// [`Missing`].
pub fn check(paths: &Paths, update: &mut Unfinished) -> Result<Needs, Missing> {
    if update.is_over() {
        if update.needs_handler() && check_handler(paths, update).is_err() {
            update.without_handler();
        }
        return Ok(Needs::Nothing);
    }
    check_artifact_scripts(paths).map_err(Missing::Scripts)?;
    match check_handler(paths, update) {
        Err(Missing::Tree(_) | Missing::File(..) | Missing::Other(_)) if update.is_rootfs() => {
            Ok(Needs::Tree)
        }
        other => other.map(|()| Needs::Nothing),
    }
}

fn check_handler(paths: &Paths, update: &mut Unfinished) -> Result<(), Missing> {
    let has_module = fs::symlink_metadata(paths.modules().join(&update.payload_type)).is_ok();
    if has_module || !update.is_rootfs() {
        Modules::check(&paths.modules(), &update.payload_type).map_err(Missing::Module)?;
    }
    check_tree(&Tree::new(paths.datastore()), update)
}

/// Makes the work tree of a root file system. `installed` is what is on record, `device_type` that of this device.
///
/// # Errors
/// [`Missing::NotMade`].
pub fn make(paths: &Paths, update: &Unfinished, installed: &[u8], device_type: &str) -> Result<(), Missing> {
    build(&Tree::new(paths.datastore()), update, installed, device_type).map_err(Missing::NotMade)
}

fn build(tree: &Tree, update: &Unfinished, installed: &[u8], device_type: &str) -> io::Result<()> {
    let (mut name, mut group) = ([0; limits::STORED_NAME], [0; limits::NAME]);
    tree.build(&TreeFacts {
        current_artifact_name: provides::artifact_name(installed, &mut name).unwrap_or_default(),
        current_artifact_group: provides::artifact_group(installed, &mut group).unwrap_or_default(),
        current_device_type: device_type,
        artifact_name: &update.name,
        artifact_group: &update.group,
        payload_type: &update.payload_type,
        header_info: &update.header_info(),
        type_info: &update.type_info(),
        meta_data: b"",
        files: 1,
    })?;
    tree.flush()
}

fn check_tree(tree: &Tree, update: &mut Unfinished) -> Result<(), Missing> {
    let path = tree.path().display().to_string();
    let root = tree.open().map_err(|_| Missing::Tree(path.clone()))?;
    let read = |name: &str| read(&root, name).map_err(|error| Missing::File(name.to_owned(), error));
    let says = |name: &str, text: &str| match read(name)?.trim_ascii() == text.as_bytes() {
        true => Ok(()),
        false => Err(Missing::Other(name.to_owned())),
    };
    says("version", "3")?;
    for name in ["current_artifact_name", "current_artifact_group", "current_device_type"] {
        read(name)?;
    }
    says("header/artifact_name", &update.name)?;
    says("header/artifact_group", &update.group)?;
    says("header/payload_type", &update.payload_type)?;
    for name in ["header/header-info", "header/meta-data"] {
        Value::parse(&read(name)?).map_err(|_| Missing::Other(name.to_owned()))?;
    }
    open_dir(&root, "tmp").map_err(|error| Missing::File("tmp".to_owned(), error))?;
    let name = "header/type-info";
    let type_info = read(name)?;
    let type_info = Value::parse(&type_info).map_err(|_| Missing::Other(name.to_owned()))?;
    let member = |key: &str| type_info.member(key).ok().flatten();
    if !member("type").and_then(Value::as_str).is_some_and(|kind| kind.is(&update.payload_type)) {
        return Err(Missing::Other(name.to_owned()));
    }
    // Mender 3 leaves a list that is empty out of its record; without one, everything would be cleared.
    if member("clears_artifact_provides").and_then(Value::items).is_some_and(|mut list| list.next().is_none())
    {
        update.clears_nothing();
    }
    Ok(())
}

/// Reads a file of the tree; no link is followed.
fn read(root: &impl std::os::fd::AsFd, name: &str) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match name.split_once('/') {
        Some((dir, name)) => openat(open_dir(root, dir)?, name, flags, Mode::empty())?,
        None => openat(root, name, flags, Mode::empty())?,
    };
    let file = fs::File::from(file);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(io::Error::new(ErrorKind::InvalidData, "it is too long"));
    }
    Ok(bytes)
}
