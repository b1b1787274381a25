//! U-Boot's environment, read and written natively (`rootfs-bootloader.md` 5).
//!
//! A write goes to the copy that is not in force, completely; the next look finds the new one by its flags and CRC.
//! Power loss inside leaves the old one in force. Never both are written at once, and never are defaults.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::media::{self, Store};
use super::uboot_env::{self, Copy, Scheme, choose, next_flags};
use super::vars::{Change, Vars};
use super::{BootError, Environment, HostLock, fw_env_config};
use crate::rootfs::slot::Machine;

/// Where U-Boot's tools have their configuration.
pub(crate) const CONFIG: &str = "/etc/fw_env.config";
/// The lock of U-Boot's tools.
const LOCK: &str = "/var/lock/fw_printenv.lock";
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
        Self { config: machine.at(CONFIG), lock: machine.at(LOCK), machine, allow_single }
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

    fn open(&self) -> Result<(HostLock, Vec<Box<dyn Store>>), BootError> {
        let text = fs::read(&self.config).map_err(BootError::io("read", &self.config))?;
        if text.len() > CONFIG_MAX {
            return Err(BootError::Config(self.config.clone(), "is too long".into()));
        }
        let wrong = |error: &dyn std::fmt::Display| BootError::Config(self.config.clone(), error.to_string());
        let text = str::from_utf8(&text).map_err(|error| wrong(&error))?;
        let places = fw_env_config::parse(text).map_err(|error| wrong(&error))?;
        let lock = HostLock::take(&self.lock)?;
        let open = |place: &fw_env_config::Place| {
            media::open(place, &self.machine).map_err(BootError::io("open", &place.device))
        };
        Ok((lock, places.iter().map(open).collect::<Result<_, _>>()?))
    }
}

impl Environment for Uboot {
    fn load(&mut self) -> Result<Vars, BootError> {
        let (_lock, mut stores) = self.open()?;
        Ok(load(&mut stores)?.in_force.vars)
    }

    fn store(&mut self, changes: &[Change<'_>]) -> Result<(), BootError> {
        let (_lock, mut stores) = self.open()?;
        self.may_write(&stores)?;
        store(&mut stores, changes)
    }

    fn check(&mut self, changes: &[Change<'_>]) -> Result<Vars, BootError> {
        // Opening asks for the right to write.
        let (_lock, mut stores) = self.open()?;
        self.may_write(&stores)?;
        let Loaded { mut in_force, size, .. } = load(&mut stores)?;
        let now = in_force.vars.clone();
        in_force.vars.apply(changes).map_err(BootError::Vars)?;
        uboot_env::encode(&in_force, stores.len() == 2, size).map_err(BootError::Vars)?;
        Ok(now)
    }

    fn uses_hex(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        format!("U-Boot environment of {}", self.config.display())
    }
}

impl Uboot {
    fn may_write(&self, stores: &[Box<dyn Store>]) -> Result<(), BootError> {
        if stores.len() == 2 || self.allow_single {
            Ok(())
        } else {
            Err(BootError::Single(self.config.clone()))
        }
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
    for (store, copy) in stores.iter_mut().zip(&mut copies) {
        match store.read() {
            Ok(bytes) => {
                size = bytes.len();
                *copy = uboot_env::decode(&bytes, redundant);
            }
            // A copy that cannot be read is as good as one with a wrong checksum.
            Err(error) if is_damage(&error) => {}
            Err(error) => return Err(BootError::Storage(error)),
        }
    }
    let index = choose(scheme, [0, 1].map(|at: usize| copies[at].as_ref().map(|copy| copy.flags)));
    let index = index.ok_or(BootError::NoEnvironment)?;
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
    if !in_force.vars.apply(changes).map_err(BootError::Vars)? {
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
