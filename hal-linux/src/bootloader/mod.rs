//! Boot loaders of Linux devices, behind [`thimble_core::hal::Bootloader`].

mod boot_entry;
mod command;
mod efivars;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzz;
mod fw_env_config;
mod grub;
mod grub_env;
mod loader;
mod lock;
mod media;
mod systemd_boot;
mod tryboot;
mod uboot;
mod uboot_env;
mod vars;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thimble_core::time::{Duration, Instant};

pub use self::error::BootError;
pub use self::lock::close_locks;
pub use self::vars::VarsError;
use self::vars::{Change, Vars};
pub use self::worker::LinuxBootloader;
use crate::rootfs::slot::Parts;

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

/// One call, which may block: when it must have ended, and what people should hear of it.
#[derive(Debug)]
pub(crate) struct Look {
    end: End,
    /// Lines for the log.
    notes: Vec<String>,
}

/// The end of a look, which may be moved nearer while it is under way.
#[derive(Clone, Debug)]
pub(crate) struct End {
    began: std::time::Instant,
    /// Milliseconds after that.
    until: Arc<AtomicU64>,
}

impl End {
    fn elapsed(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// No later than so long from now.
    fn within(&self, time: Duration) {
        self.until.fetch_min(self.elapsed().saturating_add(time.as_millis()), Ordering::SeqCst);
    }
}

impl Look {
    pub(crate) fn new(patience: Duration) -> Self {
        let until = Arc::new(AtomicU64::new(patience.as_millis()));
        Self { end: End { began: std::time::Instant::now(), until }, notes: Vec::new() }
    }

    fn end(&self) -> End {
        self.end.clone()
    }

    /// Since its begin.
    fn now(&self) -> Instant {
        Instant::from_millis(self.end.elapsed())
    }

    fn is_over(&self) -> bool {
        self.end.elapsed() >= self.end.until.load(Ordering::SeqCst)
    }

    fn note(&mut self, text: String) {
        self.notes.push(text);
    }
}

/// Variables that the boot loader reads. Calls block; all that wait do so no longer than the look lasts.
pub(crate) trait Environment: Send {
    /// Reads all variables at once, so that they are consistent.
    fn load(&mut self, look: &mut Look) -> Result<Vars, BootError>;

    /// Stores `changes`: all of them are durable on return, or none is, unless that is found out by reading back.
    /// Nothing is written when nothing changes.
    fn store(&mut self, look: &mut Look, changes: &[Change<'_>]) -> Result<(), BootError>;

    /// All of them as they are, after a check whether `changes` could be stored. May bring redundant copies in step.
    fn check(&mut self, look: &mut Look, changes: &[Change<'_>]) -> Result<Vars, BootError>;

    /// Whether the boot loader also reads `mender_boot_part_hex`.
    fn uses_hex(&self) -> bool;

    /// A description for messages.
    fn describe(&self) -> String;

    /// The files, directories and devices that it is kept in, as far as that is known without calling a program; or why it would not
    /// be written even if they can be.
    fn places(&self) -> Result<Vec<PathBuf>, BootError>;
}

#[cfg(test)]
mod tests;
