//! Raspberry Pi firmware: `autoboot.txt` and the one-shot `tryboot` flag (BOOT-60).
//!
//! ```text
//! [all]                the firmware starts boot_partition of [all] at every reset,
//! tryboot_a_b=1        and that of [tryboot] once after a reboot with the argument "0 tryboot"
//! boot_partition=2
//! [tryboot]
//! boot_partition=3
//! ```
//!
//! No counter is needed: any reset of the trial goes back. The numbers are those of the slots.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use thimble_core::hal::{BootStatus, Slot};

use super::BootError;
use crate::rootfs::slot::{Machine, Roots};

/// The firmware reads one sector.
const SIZE_MAX: usize = 512;
/// Arguments of the reboot.
const TRIAL: &str = "0 tryboot";
const NO_TRIAL: &str = "0";

/// The firmware's files.
#[derive(Debug)]
pub(crate) struct Tryboot {
    autoboot: PathBuf,
    /// Big-endian 1 while a trial runs.
    flag: PathBuf,
    /// What systemd passes to the kernel at the next reboot.
    reboot_argument: PathBuf,
}

impl Tryboot {
    /// What tells that it is there.
    pub(crate) const SIGNS: &str =
        "autoboot.txt in /boot/firmware or /boot, or no /proc/device-tree/chosen/bootloader/tryboot";

    /// The files of this device, if the firmware has started it by them.
    pub(crate) fn find(machine: &Machine) -> Option<Self> {
        let flag = machine.at("/proc/device-tree/chosen/bootloader/tryboot");
        let autoboot = ["/boot/firmware/autoboot.txt", "/boot/autoboot.txt"].map(|path| machine.at(path));
        let autoboot = autoboot.into_iter().find(|path| path.is_file())?;
        let reboot_argument = machine.at("/run/systemd/reboot-param");
        flag.is_file().then_some(Self { autoboot, flag, reboot_argument })
    }

    #[cfg(test)]
    pub(super) fn at(dir: &std::path::Path) -> Self {
        Self {
            autoboot: dir.join("autoboot.txt"),
            flag: dir.join("tryboot"),
            reboot_argument: dir.join("reboot-param"),
        }
    }

    pub(crate) fn status(&mut self, roots: &Roots) -> Result<BootStatus, BootError> {
        let running = roots.running;
        let selection = self.selection(roots)?;
        let in_trial = fs::read(&self.flag).is_ok_and(|bytes| bytes.last() == Some(&1));
        let asked = fs::read_to_string(&self.reboot_argument).unwrap_or_default();
        let trial = match asked.trim() {
            TRIAL => true,
            NO_TRIAL => false,
            _ => in_trial && selection != running,
        };
        let selected = if trial { selection.other() } else { selection };
        Ok(BootStatus { running, selected, trial })
    }

    pub(crate) fn set_trial(&mut self, roots: &Roots, slot: Slot) -> Result<(), BootError> {
        // Already so, unless somebody has edited the file: the other slot is the one for every other boot.
        self.write(roots, slot.other())?;
        self.ask(TRIAL)
    }

    pub(crate) fn set_permanent(&mut self, roots: &Roots, slot: Slot) -> Result<(), BootError> {
        self.write(roots, slot)?;
        if roots.running != slot {
            // The flag of a trial stays until the reset: what is asked for tells the two apart.
            return self.ask(NO_TRIAL);
        }
        match fs::remove_file(&self.reboot_argument) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(BootError::io("remove", &self.reboot_argument)(error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn ask(&self, argument: &str) -> Result<(), BootError> {
        let old = fs::read_to_string(&self.reboot_argument).unwrap_or_default();
        if old.trim() == argument {
            return Ok(());
        }
        fs::write(&self.reboot_argument, format!("{argument}\n"))
            .map_err(BootError::io("write", &self.reboot_argument))
    }

    pub(crate) fn check(&mut self, roots: &Roots) -> Result<BootStatus, BootError> {
        let open = OpenOptions::new().write(true).open(&self.autoboot);
        open.map_err(BootError::io("open", &self.autoboot))?;
        self.status(roots)
    }

    /// The file that says which slot the firmware boots.
    pub(crate) fn places(&self) -> Vec<PathBuf> {
        vec![self.autoboot.clone()]
    }

    pub(crate) fn describe(&self) -> String {
        format!("Raspberry Pi firmware with {}", self.autoboot.display())
    }

    fn read(&self) -> Result<String, BootError> {
        let text = fs::read(&self.autoboot).map_err(BootError::io("read", &self.autoboot))?;
        let text = String::from_utf8(text).ok().filter(|text| text.len() <= SIZE_MAX);
        text.ok_or_else(|| BootError::Config(self.autoboot.clone(), "is not the firmware's".into()))
    }

    /// The slot of every normal boot.
    fn selection(&self, roots: &Roots) -> Result<Slot, BootError> {
        let text = self.read()?;
        let wrong = |why: &str| BootError::Config(self.autoboot.clone(), why.into());
        let (all, trial) = (partition(&text, "[all]"), partition(&text, "[tryboot]"));
        let slot = |number: Option<&str>, section: &str| {
            let number = number.ok_or_else(|| wrong(&format!("has no boot_partition in {section}")))?;
            roots.slot(number).ok_or_else(|| wrong("names a partition that is neither slot"))
        };
        let (all, trial) = (slot(all, "[all]")?, slot(trial, "[tryboot]")?);
        if all == trial {
            return Err(wrong("has one partition for both boots"));
        }
        Ok(all)
    }

    /// Only the two numbers change; the file keeps its length or grows within its sector.
    fn write(&self, roots: &Roots, all: Slot) -> Result<(), BootError> {
        let text = self.read()?;
        let number = |slot| roots.device(slot).number.to_string();
        let new = replace(&text, "[all]", &number(all));
        let new = replace(&new, "[tryboot]", &number(all.other()));
        if new == text {
            return Ok(());
        }
        if new.len() > SIZE_MAX {
            return Err(BootError::Config(self.autoboot.clone(), "would be longer than a sector".into()));
        }
        // One sector in place; a shorter text is filled up with newlines, so that one write is all.
        let mut bytes = new.into_bytes();
        bytes.resize(bytes.len().max(text.len()), b'\n');
        OpenOptions::new()
            .write(true)
            .open(&self.autoboot)
            .and_then(|file| file.write_all_at(&bytes, 0).and_then(|()| file.sync_all()))
            .map_err(BootError::io("write", &self.autoboot))
    }
}

/// The last `boot_partition` of a section.
fn partition<'a>(text: &'a str, section: &str) -> Option<&'a str> {
    let mut inside = section == "[all]";
    let mut found = None;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == section;
        } else if inside && let Some(value) = line.strip_prefix("boot_partition=") {
            found = Some(value.trim());
        }
    }
    found
}

fn replace(text: &str, section: &str, number: &str) -> String {
    let mut inside = section == "[all]";
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        let bare = line.trim();
        if bare.starts_with('[') {
            inside = bare == section;
        }
        if inside && bare.starts_with("boot_partition=") {
            let end = if line.ends_with('\n') { "\n" } else { "" };
            out.push_str(&format!("boot_partition={number}{end}"));
        } else {
            out.push_str(line);
        }
    }
    out
}

#[cfg(test)]
#[path = "tryboot_tests.rs"]
mod tests;
