//! Boot loaders of Linux devices, behind [`thimble_core::hal::Bootloader`].

mod boot_entry;
mod command;
mod efivars;
#[cfg(feature = "fuzzing")]
pub mod fuzz;
mod fw_env_config;
mod grub;
mod grub_env;
mod media;
mod systemd_boot;
mod tryboot;
mod uboot;
mod uboot_env;
mod vars;

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use thimble_core::hal::{self, BootStatus, Bootloader, ErrorType, Kind, Slot};

use self::command::Tools;
use self::grub::{GrubFile, GrubPair};
use self::systemd_boot::SystemdBoot;
use self::tryboot::Tryboot;
use self::uboot::Uboot;
pub use self::vars::VarsError;
use self::vars::{Change, Vars};
use crate::fsat::kind_of;
use crate::rootfs::slot::{Machine, Parts, Roots, SlotError};

/// Which boot loader the device has: the key `Bootloader` of `mender.conf`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Found out: Mender's GRUB directories, its GRUB tools, systemd-boot if it has started this system,
    /// `fw_env.config`, the firmware of a Raspberry Pi, U-Boot's tools; the first that is there.
    #[default]
    Auto,
    /// U-Boot's environment, natively.
    Uboot,
    /// U-Boot's environment by `fw_printenv` and `fw_setenv`.
    UbootTools,
    /// GRUB's environment, natively.
    Grub,
    /// GRUB's environment by `grub-mender-grubenv-print` and `-set`.
    GrubTools,
    /// Raspberry Pi firmware.
    Tryboot,
    /// systemd-boot, by entries whose boots it counts.
    SystemdBoot,
}

impl Choice {
    /// Every word the key may have.
    pub const WORDS: [(&str, Self); 7] = [
        ("auto", Self::Auto),
        ("uboot", Self::Uboot),
        ("uboot-tools", Self::UbootTools),
        ("grub", Self::Grub),
        ("grub-tools", Self::GrubTools),
        ("tryboot", Self::Tryboot),
        ("systemd-boot", Self::SystemdBoot),
    ];

    /// The choice of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::WORDS.into_iter().find(|(known, _)| *known == word).map(|(_, choice)| choice)
    }
}

/// What is configured of the boot loader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `Bootloader`.
    pub choice: Choice,
    /// `BootloaderAllowSingle`: the client may write an environment that has only one copy, although a power loss can
    /// then destroy it.
    pub allow_single: bool,
    /// The two slots.
    pub parts: Parts,
}

/// The names of Mender's variables (BOOT-1).
pub(crate) struct Names {
    part: &'static str,
    part_hex: &'static str,
    upgrade: &'static str,
    bootcount: &'static str,
    check_canary: &'static str,
    canary: &'static str,
}

pub(crate) const NAMES: Names = Names {
    part: "mender_boot_part",
    part_hex: "mender_boot_part_hex",
    upgrade: "upgrade_available",
    bootcount: "bootcount",
    check_canary: "mender_check_saveenv_canary",
    canary: "mender_saveenv_canary",
};

/// Variables that the boot loader reads.
pub(crate) trait Environment {
    /// Reads all variables at once, so that they are consistent.
    fn load(&mut self) -> Result<Vars, BootError>;

    /// Stores `changes`: all of them are durable on return, or none is. Nothing is written when nothing changes.
    fn store(&mut self, changes: &[Change<'_>]) -> Result<(), BootError>;

    /// All of them as they are, after a check whether `changes` could be stored. May bring redundant copies in step.
    fn check(&mut self, changes: &[Change<'_>]) -> Result<Vars, BootError>;

    /// Whether the boot loader also reads `mender_boot_part_hex`.
    fn uses_hex(&self) -> bool;

    /// A description for messages.
    fn describe(&self) -> String;
}

/// The boot loader of a Linux device. It is looked for when it is first needed.
pub struct LinuxBootloader {
    settings: Settings,
    machine: Machine,
    found: Option<Loader>,
}

enum Loader {
    Variables(Box<dyn Environment>),
    Tryboot(Tryboot),
    SystemdBoot(SystemdBoot),
}

impl LinuxBootloader {
    /// Does not look for the boot loader yet.
    #[must_use]
    pub fn new(settings: Settings, machine: Machine) -> Self {
        Self { settings, machine, found: None }
    }

    /// Over an environment of a test's own.
    #[cfg(test)]
    pub(crate) fn over(environment: Box<dyn Environment>, parts: Parts, machine: Machine) -> Self {
        let settings = Settings { parts, ..Settings::default() };
        Self { settings, machine, found: Some(Loader::Variables(environment)) }
    }

    /// Describes the boot loader that was found.
    ///
    /// # Errors
    /// When none is found.
    pub fn describe(&mut self) -> Result<String, BootError> {
        Ok(match self.loader()? {
            Loader::Variables(environment) => environment.describe(),
            Loader::Tryboot(tryboot) => tryboot.describe(),
            Loader::SystemdBoot(loader) => loader.describe(),
        })
    }

    fn loader(&mut self) -> Result<&mut Loader, BootError> {
        if self.found.is_none() {
            self.found = Some(find(&self.settings, &self.machine)?);
        }
        self.found.as_mut().ok_or(BootError::NotFound)
    }

    fn roots(&self) -> Result<Roots, BootError> {
        self.machine.roots(&self.settings.parts).map_err(BootError::Slot)
    }

    fn select(&mut self, slot: Slot, trial: bool) -> Result<(), BootError> {
        let roots = self.roots()?;
        match self.loader()? {
            Loader::Variables(environment) => Selection::new(&roots, slot, trial).store(environment.as_mut()),
            Loader::Tryboot(tryboot) if trial => tryboot.set_trial(&roots, slot),
            Loader::Tryboot(tryboot) => tryboot.set_permanent(&roots, slot),
            Loader::SystemdBoot(loader) if trial => loader.set_trial(&roots, slot),
            Loader::SystemdBoot(loader) => loader.set_permanent(&roots, slot),
        }
    }
}

fn find(settings: &Settings, machine: &Machine) -> Result<Loader, BootError> {
    let variables = |environment: Box<dyn Environment>| Ok(Loader::Variables(environment));
    let uboot = || Box::new(Uboot::new(machine.clone(), settings.allow_single));
    match settings.choice {
        Choice::Uboot => variables(uboot()),
        Choice::UbootTools => variables(Box::new(Tools::uboot())),
        Choice::GrubTools => variables(Box::new(Tools::grub())),
        Choice::Grub => match GrubPair::find(machine)? {
            Some(pair) => variables(Box::new(pair)),
            None => variables(Box::new(GrubFile::find(machine, settings.allow_single))),
        },
        Choice::Tryboot => {
            Tryboot::find(machine).map(Loader::Tryboot).ok_or(BootError::NotThere(Tryboot::SIGNS))
        }
        Choice::SystemdBoot => {
            SystemdBoot::find(machine).map(Loader::SystemdBoot).ok_or(BootError::NotThere(SystemdBoot::SIGNS))
        }
        Choice::Auto => {
            if let Some(pair) = GrubPair::find(machine)? {
                variables(Box::new(pair))
            } else if Tools::grub().are_there() {
                variables(Box::new(Tools::grub()))
            } else if let Some(loader) = SystemdBoot::find(machine) {
                Ok(Loader::SystemdBoot(loader))
            } else if machine.at(uboot::CONFIG).is_file() {
                variables(uboot())
            } else if let Some(found) = Tryboot::find(machine) {
                Ok(Loader::Tryboot(found))
            } else if Tools::uboot().are_there() {
                variables(Box::new(Tools::uboot()))
            } else {
                Err(BootError::NotFound)
            }
        }
    }
}

/// The variables of a selection.
struct Selection {
    part: String,
    part_hex: String,
    upgrade: &'static str,
}

impl Selection {
    fn new(roots: &Roots, slot: Slot, trial: bool) -> Self {
        let number = roots.device(slot).number;
        Self {
            part: number.to_string(),
            part_hex: format!("{number:x}"),
            upgrade: if trial { "1" } else { "0" },
        }
    }

    fn store(&self, environment: &mut dyn Environment) -> Result<(), BootError> {
        environment.store(&self.changes(environment.uses_hex()))
    }

    fn changes(&self, hex: bool) -> Vec<Change<'_>> {
        let mut changes = vec![
            (NAMES.part, Some(self.part.as_str())),
            (NAMES.upgrade, Some(self.upgrade)),
            (NAMES.bootcount, Some("0")),
        ];
        if hex {
            changes.push((NAMES.part_hex, Some(&self.part_hex)));
        }
        changes
    }
}

/// What the variables say.
fn status(vars: &Vars, roots: &Roots) -> Result<BootStatus, BootError> {
    let variable = |name: &'static str| {
        let value = vars.get(name).unwrap_or_default().chars().take(40).collect::<String>();
        BootError::Variable(name, value)
    };
    let selected = vars.get(NAMES.part).and_then(|number| roots.slot(number));
    let trial = match vars.get(NAMES.upgrade) {
        None | Some("0") => false,
        Some("1") => true,
        Some(_) => return Err(variable(NAMES.upgrade)),
    };
    Ok(BootStatus { running: roots.running, selected: selected.ok_or_else(|| variable(NAMES.part))?, trial })
}

impl ErrorType for LinuxBootloader {
    type Error = BootError;
}

impl Bootloader for LinuxBootloader {
    fn running(&mut self) -> Result<Slot, BootError> {
        self.roots().map(|roots| roots.running)
    }

    fn status(&mut self) -> Result<BootStatus, BootError> {
        let roots = self.roots()?;
        match self.loader()? {
            Loader::Variables(environment) => status(&environment.load()?, &roots),
            Loader::Tryboot(tryboot) => tryboot.status(&roots),
            Loader::SystemdBoot(loader) => loader.status(&roots),
        }
    }

    fn set_trial(&mut self, slot: Slot) -> Result<(), BootError> {
        self.select(slot, true)
    }

    fn set_permanent(&mut self, slot: Slot) -> Result<(), BootError> {
        self.select(slot, false)
    }

    fn self_check(&mut self) -> Result<BootStatus, BootError> {
        let roots = self.roots()?;
        match self.loader()? {
            Loader::Variables(environment) => {
                let longest = if roots.a.number > roots.b.number { Slot::A } else { Slot::B };
                let hex = environment.uses_hex();
                let vars = environment.check(&Selection::new(&roots, longest, true).changes(hex))?;
                if vars.get(NAMES.check_canary) == Some("1") && vars.get(NAMES.canary) != Some("1") {
                    return Err(BootError::Canary);
                }
                status(&vars, &roots)
            }
            Loader::Tryboot(tryboot) => tryboot.check(&roots),
            Loader::SystemdBoot(loader) => loader.check(&roots),
        }
    }
}

/// The lock that the boot loader's own tools take.
#[derive(Debug)]
pub(crate) struct HostLock {
    _file: Option<File>,
}

/// Waits for the lock, at most 5 s: the tools hold it for milliseconds.
const ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(50);

impl HostLock {
    pub(crate) fn take(path: &Path) -> Result<Self, BootError> {
        let opened = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file = match opened {
            Ok(file) => file,
            // Without the directory no tool could lock either.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self { _file: None }),
            Err(error) => return Err(BootError::io("lock", path)(error)),
        };
        for _ in 0..ATTEMPTS {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _file: Some(file) }),
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => sleep(PAUSE),
                Err(errno) => return Err(BootError::io("lock", path)(errno.into())),
            }
        }
        Err(BootError::Locked(path.to_owned()))
    }
}

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
    /// A tool failed, and how.
    Tool(String, String),
    /// The environment's storage failed.
    Storage(io::Error),
    /// The operating system refused: what was done, to what, and why.
    Io(&'static str, PathBuf, io::Error),
}

impl BootError {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
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
            Self::Locked(_) => Kind::TimedOut,
            Self::Tool(..) => Kind::Other,
            Self::Storage(error) | Self::Io(_, _, error) => kind_of(error),
        }
    }
}

#[cfg(test)]
mod tests;
