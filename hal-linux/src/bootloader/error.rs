//! Why a boot loader could not be asked or told.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thimble_core::hal::{self, BootStatus, Kind};

use super::vars::VarsError;
use crate::fsat::kind_of;
use crate::rootfs::slot::SlotError;

/// Why the boot loader's records cannot be read or written.
#[derive(Debug)]
pub enum BootError {
    /// No boot loader was found.
    NotFound,
    /// There is no sign that the configured boot loader has started this system.
    NotThere(&'static str),
    /// The slots are not known.
    Slot(SlotError),
    /// A file that says where the environment is, or the environment itself, makes no sense.
    Config(PathBuf, String),
    /// The entries of the loader, or its variables, do not say which slot is started.
    Entries(String),
    /// No whole copy of the environment.
    NoEnvironment,
    /// The environment has one copy only, and may not be written.
    Single(PathBuf),
    /// A variable has a value that it cannot have.
    Variable(&'static str, String),
    /// The boot loader was never seen to save what we can read.
    Canary,
    /// The variables cannot be stored.
    Vars(VarsError),
    /// What was written is not what is read.
    ReadBack,
    /// Another program holds the environment's lock.
    Locked(PathBuf),
    /// The environment's lock is a directory or the like that cannot be moved away.
    NoLock(PathBuf),
    /// Something failed on the way, and what was stored until then could not be taken back.
    NotUndone(Box<BootError>, Option<BootStatus>),
    /// The storage of the records, or a tool, does not answer.
    Stuck,
    /// Nothing was asked.
    Order,
    /// A tool failed, and how.
    Tool(String, String),
    /// The environment's storage failed.
    Storage(io::Error),
    /// The operating system refused: what was done, to what, and why.
    Io(&'static str, PathBuf, io::Error),
}

impl BootError {
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io(doing, path, error)
    }
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str(
                "no boot loader is found: install its tools (fw_printenv and fw_setenv, say), or set Bootloader in \
                 mender.conf",
            ),
            Self::NotThere(signs) => {
                write!(f, "the Bootloader of mender.conf has not started this system: there is no {signs}")
            }
            Self::Slot(error) => error.fmt(f),
            Self::Config(path, why) => write!(f, "{}: {why}", path.display()),
            Self::Entries(why) => write!(f, "systemd-boot: {why}"),
            Self::NoEnvironment => f.write_str("every copy of the boot environment is damaged; write a new one with the boot loader's own tool"),
            Self::Single(path) => write!(
                f,
                "{}: the boot environment has one copy only, which power loss could destroy; make it redundant, or \
                 set BootloaderAllowSingle in mender.conf",
                path.display()
            ),
            Self::Variable(name, value) if value.is_empty() => {
                write!(f, "{name} is not set in the boot environment")
            }
            Self::Variable(name, value) => {
                write!(f, "{name} in the boot environment is \"{}\", which is not a valid value", value.escape_debug())
            }
            Self::Canary => f.write_str(
                "the boot loader has not saved its canary (mender_saveenv_canary): it cannot write the environment \
                 that we read; check its configuration",
            ),
            Self::Vars(error) => error.fmt(f),
            Self::ReadBack => f.write_str("the boot loader's records do not read back as they were written"),
            Self::Locked(path) => write!(f, "another program holds {}; try again", path.display()),
            Self::NoLock(path) => {
                write!(f, "{} is no file and cannot be moved away: remove it", path.display())
            }
            Self::NotUndone(why, now) => {
                write!(f, "{why}; what was stored of it could not be taken back")?;
                match now {
                    Some(BootStatus { selected, trial: true, .. }) => {
                        write!(f, ": slot {selected} starts next, on trial")
                    }
                    Some(BootStatus { selected, .. }) => write!(f, ": slot {selected} starts next"),
                    None => f.write_str(", and the slot that starts next is not known"),
                }
            }
            Self::Stuck => f.write_str(
                "the boot loader's records or tools do not answer; the disk they are on may be broken",
            ),
            Self::Order => f.write_str("the boot loader was not asked anything, or is being asked already"),
            Self::Tool(tool, why) => write!(f, "{tool} failed: {why}"),
            Self::Storage(error) => write!(f, "the boot loader's records cannot be used: {error}"),
            Self::Io(doing, path, error) => write!(f, "cannot {doing} {}: {error}", path.display()),
        }
    }
}

impl hal::Error for BootError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotFound | Self::NotThere(_) => Kind::NotFound,
            Self::Slot(error) => error.kind(),
            Self::Config(..)
            | Self::Entries(_)
            | Self::NoEnvironment
            | Self::Variable(..)
            | Self::ReadBack => Kind::Corrupt,
            Self::Single(_) | Self::Canary => Kind::Refused,
            Self::Vars(VarsError::TooLarge { .. }) => Kind::NoSpace,
            Self::Vars(VarsError::Twice(_) | VarsError::Name(_)) => Kind::Corrupt,
            Self::NotUndone(why, _) => why.kind(),
            Self::Locked(_) | Self::Stuck => Kind::TimedOut,
            Self::Tool(..) | Self::NoLock(_) | Self::Order => Kind::Other,
            Self::Storage(error) | Self::Io(_, _, error) => kind_of(error),
        }
    }
}
