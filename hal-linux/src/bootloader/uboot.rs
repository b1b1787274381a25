//! U-Boot's environment, read and written natively (BOOT-40 to BOOT-45).
//!
//! A write goes to the copy that is not in force, completely; the next look finds the new one by its flags and CRC.
//! Power loss inside leaves the old one in force. The two copies are never written at once, and default
//! values are never written.

use std::fs;
use std::io::{self, Seek as _};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;

use super::fw_env_config::{self, FwEnvConfigError, Place};
use super::lock::{self, HostLock};
use super::media::{self, Store};
use super::uboot_env::{self, Copy, Scheme, choose, next_flags};
use super::vars::{Change, Vars, VarsError};
use super::{BootError, Environment, Look};
use crate::rootfs::slot::Machine;

/// Where U-Boot's tools have their configuration.
pub(crate) const CONFIG: &str = "/etc/fw_env.config";
/// Longest configuration.
const CONFIG_MAX: usize = 64 * 1024;

/// The environment that a `fw_env.config` names.
#[derive(Debug)]
pub(crate) struct Uboot {
    config: PathBuf,
    lock: PathBuf,
    machine: Machine,
    /// One copy alone may be written, though power loss then leaves none.
    allow_single: bool,
}

impl Uboot {
    pub(crate) fn new(machine: Machine, allow_single: bool) -> Self {
        Self { config: machine.at(CONFIG), lock: machine.at(lock::UBOOT), machine, allow_single }
    }

    #[cfg(test)]
    pub(crate) fn at(dir: &std::path::Path, allow_single: bool) -> Self {
        Self {
            config: dir.join("fw_env.config"),
            lock: dir.join("fw_printenv.lock"),
            machine: Machine::default(),
            allow_single,
        }
    }

    /// Where its copies are.
    fn copies(&self) -> Result<Vec<Place>, BootError> {
        let text = fs::read(&self.config).map_err(BootError::io("read", &self.config))?;
        if text.len() > CONFIG_MAX {
            return Err(BootError::Config(self.config.clone(), "is too long".into()));
        }
        let wrong = |error: &dyn std::fmt::Display| BootError::Config(self.config.clone(), error.to_string());
        let text = str::from_utf8(&text).map_err(|error| wrong(&error))?;
        let places = fw_env_config::parse(text).map_err(|error| wrong(&error))?;
        if let [a, b] = places.as_slice()
            && overlap(a, b).unwrap_or(false)
        {
            return Err(wrong(&FwEnvConfigError::Overlap));
        }
        Ok(places)
    }

    fn open(&self, look: &mut Look) -> Result<(HostLock, Vec<Box<dyn Store>>), BootError> {
        let places = self.copies()?;
        let lock = HostLock::take(&self.lock, look)?;
        let open =
            |place: &Place| media::open(place, &self.machine).map_err(BootError::io("open", &place.device));
        Ok((lock, places.iter().map(open).collect::<Result<_, _>>()?))
    }
}

impl Environment for Uboot {
    fn load(&mut self, look: &mut Look) -> Result<Vars, BootError> {
        let (_lock, mut stores) = self.open(look)?;
        let loaded = load(&mut stores).map_err(|error| self.named(error))?;
        Ok(loaded.in_force.vars)
    }

    fn store(&mut self, look: &mut Look, changes: &[Change<'_>]) -> Result<(), BootError> {
        let (_lock, mut stores) = self.open(look)?;
        self.may_write(stores.len())?;
        store(&mut stores, changes).map_err(|error| self.named(error))
    }

    fn check(&mut self, look: &mut Look, changes: &[Change<'_>]) -> Result<Vars, BootError> {
        // The device is opened for writing, so that a missing permission is noticed here.
        let (_lock, mut stores) = self.open(look)?;
        self.may_write(stores.len())?;
        let Loaded { mut in_force, size, .. } = load(&mut stores).map_err(|error| self.named(error))?;
        let now = in_force.vars.clone();
        changed(&mut in_force.vars, changes).map_err(BootError::Vars)?;
        uboot_env::encode(&in_force, stores.len() == 2, size).map_err(BootError::Vars)?;
        Ok(now)
    }

    fn uses_hex(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        format!("U-Boot environment of {}", self.config.display())
    }

    fn places(&self) -> Result<Vec<PathBuf>, BootError> {
        let places = self.copies()?;
        self.may_write(places.len())?;
        Ok(places.into_iter().map(|place| place.device).collect())
    }
}

impl Uboot {
    /// Which environment it was.
    fn named(&self, error: BootError) -> BootError {
        if let BootError::Storage(error) = error {
            BootError::io("use the environment of", &self.config)(error)
        } else {
            error
        }
    }

    fn may_write(&self, copies: usize) -> Result<(), BootError> {
        if copies == 2 || self.allow_single { Ok(()) } else { Err(BootError::Single(self.config.clone())) }
    }
}

/// Whether the two copies are in one place, under whatever names.
fn overlap(a: &Place, b: &Place) -> io::Result<bool> {
    let identity = |place: &Place| -> io::Result<(bool, u64, u64)> {
        let found = fs::metadata(&place.device)?;
        let is_device = found.file_type().is_block_device() || found.file_type().is_char_device();
        Ok(if is_device { (true, found.rdev(), 0) } else { (false, found.dev(), found.ino()) })
    };
    if identity(a)? != identity(b)? {
        return Ok(false);
    }
    let end = fs::File::open(&a.device)?.seek(io::SeekFrom::End(0))?;
    let start = |place: &Place| match place.offset {
        before_end if before_end < 0 => end.checked_sub(before_end.unsigned_abs()),
        offset => Some(offset.unsigned_abs()),
    };
    let apart = start(a).zip(start(b)).map(|(a, b)| a.abs_diff(b));
    Ok(apart.is_some_and(|apart| apart < a.size as u64))
}

/// Applies `changes`; true when something changed. A name that stands twice means one thing to one reader and another
/// to the next.
fn changed(vars: &mut Vars, changes: &[Change<'_>]) -> Result<bool, VarsError> {
    match vars.twice() {
        Some(name) => Err(VarsError::Twice(name)),
        None => vars.apply(changes),
    }
}

/// What is stored.
struct Loaded {
    in_force: Copy,
    /// Which of the stores it is in.
    index: usize,
    scheme: Scheme,
    size: usize,
}

fn load<S: Store>(stores: &mut [S]) -> Result<Loaded, BootError> {
    let redundant = stores.len() == 2;
    let scheme = stores.first().map_or(Scheme::Counter, Store::scheme);
    let mut copies = [None, None];
    let mut size = 0;
    let mut damage = None;
    for (store, copy) in stores.iter_mut().zip(&mut copies) {
        match store.read() {
            Ok(bytes) => {
                size = bytes.len();
                *copy = uboot_env::decode(&bytes, redundant);
            }
            // A copy that cannot be read is treated like one with a wrong checksum.
            Err(error) if is_damage(&error) => damage = Some(error),
            Err(error) => return Err(BootError::Storage(error)),
        }
    }
    let index = choose(scheme, [0, 1].map(|at: usize| copies[at].as_ref().map(|copy| copy.flags)));
    let none = || damage.map_or(BootError::NoEnvironment, BootError::Storage);
    let index = index.ok_or_else(none)?;
    let in_force = copies[index].take().ok_or(BootError::NoEnvironment)?;
    Ok(Loaded { in_force, index, scheme, size })
}

/// The medium lost it: uncorrectable bits, or an interrupted update of a UBI volume.
fn is_damage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EBADMSG | libc::EBADF | libc::EUCLEAN))
}

fn store<S: Store>(stores: &mut [S], changes: &[Change<'_>]) -> Result<(), BootError> {
    let redundant = stores.len() == 2;
    let Loaded { mut in_force, index, scheme, size } = load(stores)?;
    if !changed(&mut in_force.vars, changes).map_err(BootError::Vars)? {
        return Ok(());
    }
    in_force.flags = next_flags(scheme, in_force.flags);
    let bytes = uboot_env::encode(&in_force, redundant, size).map_err(BootError::Vars)?;
    let other = if redundant { 1 - index } else { 0 };
    let target = stores.get_mut(other).ok_or(BootError::NoEnvironment)?;
    target.replace(&bytes).map_err(BootError::Storage)?;
    if target.read().map_err(BootError::Storage)? != bytes {
        return Err(BootError::ReadBack);
    }
    if redundant && scheme == Scheme::Boolean {
        // Until this is done the flags are equal and the first copy counts, old or new.
        if let Some(old) = stores.get_mut(index) {
            old.make_obsolete().map_err(BootError::Storage)?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "uboot_tests.rs"]
pub(crate) mod tests;
