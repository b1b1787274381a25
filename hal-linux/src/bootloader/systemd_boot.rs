//! systemd-boot with boot counting (BOOT-61): one entry for each slot, told apart by `root=` in its
//! `options`.
//!
//! | where | what it says |
//! |---|---|
//! | variable `LoaderEntryDefault`, else `default` of `loader.conf` | the slot of every boot |
//! | variable `LoaderEntryOneShot` | the slot of the next boot only: the loader deletes it before it starts anything |
//! | file name `ID+LEFT-DONE.conf` | boots of this entry are counted: it is not known to be good |
//! | variable `LoaderBootCountPath` | the entry that runs was counted: the loader sets it, also when the file is renamed later |
//!
//! ```text
//! set_trial      default := the other slot (says what was so)   ID+1.conf   one-shot := slot   <- armed by this write
//! boot           the loader deletes one-shot, renames to ID+0-1.conf, starts it; any reset goes back to the default
//! set_permanent  default := slot   <- committed by this write   ID.conf
//! ```
//!
//! The variables decide, and each is written by the firmware wholly or not at all. File names only mark: where FAT
//! loses one of two names in a power loss, nothing else is started, since a new name is there before the old one goes.
//! An entry whose boots are used up sorts last, so that it is not started either when the firmware has forgotten its
//! variables.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{StatVfsMountFlags, statvfs};
use thimble_core::hal::{BootStatus, Slot};

use super::BootError;
use super::boot_entry::{Entry, Name, matches};
use super::efivars::LoaderVariables;
use crate::rootfs::slot::{Machine, Roots};

/// Where the partitions that the loader reads are mounted, its own before one for entries alone.
const PARTITIONS: [&str; 3] = ["/efi", "/boot/efi", "/boot"];
const ENTRIES: &str = "loader/entries";
/// Unified images, which are entries by being there.
const IMAGES: &str = "EFI/Linux";
const CONFIG: &str = "loader/loader.conf";
const EFIVARS: &str = "/sys/firmware/efi/efivars";

const DEFAULT: &str = "LoaderEntryDefault";
const ONE_SHOT: &str = "LoaderEntryOneShot";
const COUNTED: &str = "LoaderBootCountPath";
/// Would win over the default; newer loaders know it.
const PREFERRED: &str = "LoaderEntryPreferred";
/// Which loader has started this system.
const INFO: &str = "LoaderInfo";

/// What the loader may find or offer by itself, behind all entries that are files.
const AUTOMATIC: [&str; 7] = [
    "auto-efi-default",
    "auto-efi-shell",
    "auto-osx",
    "auto-poweroff",
    "auto-reboot",
    "auto-reboot-to-firmware-setup",
    "auto-windows",
];

/// Most entries, and longest file, that are looked at.
const ENTRIES_MAX: usize = 256;
const FILE_MAX: u64 = 64 * 1024;

/// What the loader reads: variables of the firmware, and entries.
pub(super) trait Records {
    fn get(&mut self, variable: &str) -> io::Result<Option<String>>;

    /// Sets a variable or deletes it, wholly or not at all; durable on return.
    fn set(&mut self, variable: &str, value: Option<&str>) -> io::Result<()>;

    /// The entries that the loader would offer.
    fn entries(&mut self) -> io::Result<Vec<Entry>>;

    /// Names of the unified images that the loader would offer between the entries.
    fn images(&mut self) -> io::Result<Vec<String>>;

    /// `default` of `loader.conf`.
    fn configured_default(&mut self) -> io::Result<Option<String>>;

    /// A new entry in a directory that has one; it is there whole or not at all, and durable on return.
    fn create(&mut self, dir: usize, file: &str, text: &[u8]) -> io::Result<()>;

    /// Durable on return.
    fn remove(&mut self, dir: usize, file: &str) -> io::Result<()>;

    /// Whether variables and entries could be written; changes nothing.
    fn check(&mut self) -> io::Result<()>;
}

/// The loader of this device.
pub(crate) struct SystemdBoot<R = Disk> {
    records: R,
    machine: Machine,
}

impl SystemdBoot {
    /// What tells that it is there.
    pub(crate) const SIGNS: &str =
        "variable LoaderInfo of systemd-boot, or no loader/entries in /efi, /boot/efi or /boot";

    /// The records of this device, if systemd-boot has started it.
    pub(crate) fn find(machine: &Machine) -> Option<Self> {
        let all = PARTITIONS.map(|partition| machine.at(partition));
        let with = |subdirectory: &str| {
            let mut dirs = Vec::new();
            let mut seen = Vec::new();
            for dir in all.iter().map(|partition| partition.join(subdirectory)) {
                // One partition may be mounted, or linked to, at two places.
                let Ok(found) = fs::metadata(&dir) else { continue };
                let number = (found.dev(), found.ino());
                if found.is_dir() && !seen.contains(&number) {
                    seen.push(number);
                    dirs.push(dir);
                }
            }
            dirs
        };
        let (entries, images) = (with(ENTRIES), with(IMAGES));
        let variables = LoaderVariables::at(machine.at(EFIVARS));
        let info = variables.get(INFO).ok()??;
        let is_it = info.starts_with("systemd-boot") && !entries.is_empty();
        let configs = all.iter().map(|partition| partition.join(CONFIG)).collect();
        is_it
            .then(|| Self { records: Disk { entries, images, configs, variables }, machine: machine.clone() })
    }

    /// Where the entries are that it counts.
    pub(crate) fn places(&self) -> Vec<PathBuf> {
        self.records.entries.clone()
    }

    pub(crate) fn describe(&self) -> String {
        let dirs: Vec<String> = self.records.entries.iter().map(|dir| dir.display().to_string()).collect();
        format!("systemd-boot with entries in {}", dirs.join(" and "))
    }
}

/// One look at everything.
struct Look {
    entries: Vec<Entry>,
    /// The entry of each slot, whatever its counter.
    names: [String; 2],
    /// The slot of every boot, and whether the firmware's variable says so.
    default: Slot,
    is_explicit: bool,
    one_shot: Option<Slot>,
    /// The entry of the running slot was counted when it was started.
    is_counted: bool,
}

impl Look {
    fn name(&self, slot: Slot) -> &str {
        match slot {
            Slot::A => &self.names[0],
            Slot::B => &self.names[1],
        }
    }

    fn files(&self, slot: Slot) -> impl Iterator<Item = &Entry> {
        let name = self.name(slot);
        self.entries.iter().filter(move |entry| entry.name.id == name)
    }

    fn pattern(&self, slot: Slot) -> String {
        Name { id: self.name(slot).to_owned(), left: None }.pattern()
    }

    /// The running system is a trial that the loader will go back from.
    fn is_in_trial(&self, running: Slot) -> bool {
        running != self.default && self.is_counted
    }

    fn status(&self, running: Slot) -> BootStatus {
        match self.one_shot {
            Some(selected) => BootStatus { running, selected, trial: selected != self.default },
            None if self.is_in_trial(running) => BootStatus { running, selected: running, trial: true },
            None => BootStatus { running, selected: self.default, trial: false },
        }
    }
}

impl<R: Records> SystemdBoot<R> {
    pub(crate) fn status(&mut self, roots: &Roots) -> Result<BootStatus, BootError> {
        Ok(self.look(roots)?.status(roots.running))
    }

    pub(crate) fn set_trial(&mut self, roots: &Roots, slot: Slot) -> Result<(), BootError> {
        let look = self.look(roots)?;
        let other = slot.other();
        if look.default == other && !look.is_explicit {
            // From now on the names of files decide nothing.
            self.set(DEFAULT, Some(&look.pattern(other)))?;
        }
        if !look.files(slot).any(|entry| entry.name.left.is_some_and(|left| left > 0)) {
            self.rename(&look, slot, Some(1))?;
        }
        if look.one_shot != Some(slot) {
            self.set(ONE_SHOT, Some(&look.pattern(slot)))?;
        }
        if look.default == slot {
            self.set(DEFAULT, Some(&look.pattern(other)))?;
        }
        Ok(())
    }

    pub(crate) fn set_permanent(&mut self, roots: &Roots, slot: Slot) -> Result<(), BootError> {
        let look = self.look(roots)?;
        if look.default == slot {
            let one_shot = match look.one_shot {
                // In the trial the next boot has to be told from one that was committed.
                _ if look.is_in_trial(roots.running) => Some(slot),
                Some(asked) if asked != slot => None,
                same => same,
            };
            if one_shot != look.one_shot {
                let pattern = one_shot.map(|slot| look.pattern(slot));
                self.set(ONE_SHOT, pattern.as_deref())?;
            }
            return Ok(());
        }
        if look.one_shot == Some(look.default) {
            self.set(ONE_SHOT, None)?;
        }
        self.set(DEFAULT, Some(&look.pattern(slot)))?;
        if slot != roots.running && look.is_counted {
            // Else what was committed would look like a trial again until the reset.
            self.set(ONE_SHOT, Some(&look.pattern(slot)))?;
        } else if look.one_shot == Some(slot) {
            self.set(ONE_SHOT, None)?;
        }
        // The default counts whatever the name says; the next check tries again.
        let _ = self.bless(&look, slot);
        Ok(())
    }

    pub(crate) fn check(&mut self, roots: &Roots) -> Result<BootStatus, BootError> {
        self.records.check().map_err(BootError::Storage)?;
        let look = self.look(roots)?;
        for slot in [Slot::A, Slot::B] {
            if !look.files(slot).all(|entry| entry.name.is_plain()) {
                let why = format!(
                    "the name of the entry \"{}\" has other characters than letters, digits, '.', '_' and '-'",
                    look.name(slot).escape_debug()
                );
                return Err(BootError::Entries(why));
            }
        }
        if look.default == roots.running {
            self.bless(&look, roots.running)?;
        }
        Ok(look.status(roots.running))
    }

    fn look(&mut self, roots: &Roots) -> Result<Look, BootError> {
        let entries = self.records.entries().map_err(BootError::Storage)?;
        let names = [self.name_of(&entries, roots, Slot::A)?, self.name_of(&entries, roots, Slot::B)?];
        if self.get(PREFERRED)?.is_some_and(|pattern| !pattern.is_empty()) {
            return Err(BootError::Entries(format!(
                "the variable {PREFERRED} is set, which hides {DEFAULT}"
            )));
        }
        let images = self.records.images().map_err(BootError::Storage)?;
        // A pattern that chooses none is passed over by the loader.
        let chosen = |pattern: Option<&str>, what: &str| -> Result<Option<Slot>, BootError> {
            let Some(pattern) = pattern else { return Ok(None) };
            let slots = entries.iter().filter(|entry| matches(pattern, &entry.file)).map(|entry| {
                let index = names.iter().position(|name| *name == entry.name.id);
                index.map(|index| if index == 0 { Slot::A } else { Slot::B })
            });
            let images = images.iter().filter(|image| matches(pattern, image)).map(|_| None);
            let mut files = slots.chain(images);
            let first = match files.next() {
                Some(first) => first,
                // Whether it is there is not known.
                None if AUTOMATIC.iter().any(|name| matches(pattern, name)) => None,
                None => return Ok(None),
            };
            let slot = first.filter(|_| files.all(|slot| slot == first));
            slot.map(Some).ok_or_else(|| {
                let pattern: String = pattern.chars().take(80).collect();
                BootError::Entries(format!("{what} is \"{}\", which is not one slot", pattern.escape_debug()))
            })
        };
        let explicit = self.records.get(DEFAULT).map_err(BootError::Storage)?;
        if explicit.as_deref() == Some("@saved") {
            return Err(BootError::Entries(format!(
                "the variable {DEFAULT} is \"@saved\", which is no slot"
            )));
        }
        let explicit = chosen(explicit.as_deref(), DEFAULT)?;
        let default = match explicit {
            Some(slot) => Some(slot),
            None => {
                let configured = self.records.configured_default().map_err(BootError::Storage)?;
                chosen(configured.as_deref(), "default of loader.conf")?
            }
        };
        let default = default.ok_or_else(|| {
            BootError::Entries(format!("no slot is the default: set {DEFAULT}, or default in loader.conf"))
        })?;
        let one_shot = self.records.get(ONE_SHOT).map_err(BootError::Storage)?;
        let one_shot = chosen(one_shot.as_deref(), ONE_SHOT)?;
        let counted = self.records.get(COUNTED).map_err(BootError::Storage)?.unwrap_or_default();
        let counted = counted.rsplit(['\\', '/']).next().and_then(Name::parse);
        let running = match roots.running {
            Slot::A => &names[0],
            Slot::B => &names[1],
        };
        let is_counted = counted.is_some_and(|name| name.id.eq_ignore_ascii_case(running));
        Ok(Look { entries, names, default, is_explicit: explicit.is_some(), one_shot, is_counted })
    }

    /// The one entry that starts `slot`.
    fn name_of(&self, entries: &[Entry], roots: &Roots, slot: Slot) -> Result<String, BootError> {
        let device = roots.device(slot);
        let starts = |entry: &&Entry| self.machine.root_of(&entry.options) == Some(device.device);
        let mut names = entries.iter().filter(starts).map(|entry| &entry.name.id);
        let path = device.path.display();
        let name = names.next().ok_or_else(|| {
            BootError::Entries(format!("no entry has root= of slot {slot}, {path}, in its options"))
        })?;
        match names.find(|other| *other != name) {
            None => Ok(name.clone()),
            Some(other) => Err(BootError::Entries(format!(
                "two entries have root= of slot {slot}, {path}: \"{}\" and \"{}\"",
                name.escape_debug(),
                other.escape_debug()
            ))),
        }
    }

    fn get(&mut self, variable: &str) -> Result<Option<String>, BootError> {
        self.records.get(variable).map_err(BootError::Storage)
    }

    fn set(&mut self, variable: &str, value: Option<&str>) -> Result<(), BootError> {
        self.records.set(variable, value).map_err(BootError::Storage)?;
        // Firmware that cannot be written after the start may not say so.
        let now = self.get(variable)?;
        if now.as_deref() == value { Ok(()) } else { Err(BootError::ReadBack) }
    }

    /// The entry is good: its boots are not counted.
    fn bless(&mut self, look: &Look, slot: Slot) -> Result<(), BootError> {
        if look.files(slot).any(|entry| entry.name.left.is_some()) {
            self.rename(look, slot, None)?;
        }
        Ok(())
    }

    /// The new name is there before the old ones go: the loader finds the entry at every moment.
    fn rename(&mut self, look: &Look, slot: Slot, left: Option<u32>) -> Result<(), BootError> {
        let file = Name { id: look.name(slot).to_owned(), left }.file();
        let Some(entry) = look.files(slot).next() else { return Err(BootError::NoEnvironment) };
        if !look.files(slot).any(|entry| entry.file == file) {
            self.records.create(entry.dir, &file, &entry.text).map_err(BootError::Storage)?;
        }
        for old in look.files(slot).filter(|entry| entry.file != file) {
            self.records.remove(old.dir, &old.file).map_err(BootError::Storage)?;
        }
        Ok(())
    }
}

/// The records of a real device.
#[derive(Debug)]
pub(crate) struct Disk {
    /// Directories with entries.
    entries: Vec<PathBuf>,
    /// Directories that may have unified images.
    images: Vec<PathBuf>,
    /// Where `loader.conf` may be; the first counts.
    configs: Vec<PathBuf>,
    variables: LoaderVariables,
}

impl Disk {
    fn dir(&self, dir: usize) -> io::Result<&Path> {
        Ok(self.entries.get(dir).ok_or(io::ErrorKind::NotFound)?)
    }
}

impl Records for Disk {
    fn get(&mut self, variable: &str) -> io::Result<Option<String>> {
        self.variables.get(variable)
    }

    fn set(&mut self, variable: &str, value: Option<&str>) -> io::Result<()> {
        self.variables.set(variable, value)
    }

    fn entries(&mut self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for (dir, path) in self.entries.iter().enumerate() {
            for file in files(path, |file| Name::parse(file).is_some())? {
                let text = read_file(&path.join(&file))?;
                entries.extend(Entry::parse(dir, file, text));
            }
        }
        // The order of a directory says nothing.
        entries.sort_by(|a, b| a.file.cmp(&b.file));
        Ok(entries)
    }

    fn images(&mut self) -> io::Result<Vec<String>> {
        let mut images = Vec::new();
        for path in &self.images {
            images.extend(files(path, |file| file.to_ascii_lowercase().ends_with(".efi"))?);
        }
        Ok(images)
    }

    fn configured_default(&mut self) -> io::Result<Option<String>> {
        for config in &self.configs {
            match read_file(config) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
                Ok(text) => return Ok(configured_default(&String::from_utf8_lossy(&text))),
            }
        }
        Ok(None)
    }

    fn create(&mut self, dir: usize, file: &str, text: &[u8]) -> io::Result<()> {
        let dir = self.dir(dir)?;
        // Not a name that the loader looks at.
        let new = dir.join(format!("{file}.new"));
        let mut written = File::create(&new)?;
        written.write_all(text)?;
        written.sync_all()?;
        fs::rename(&new, dir.join(file))?;
        File::open(dir)?.sync_all()
    }

    fn remove(&mut self, dir: usize, file: &str) -> io::Result<()> {
        let dir = self.dir(dir)?;
        fs::remove_file(dir.join(file))?;
        File::open(dir)?.sync_all()
    }

    fn check(&mut self) -> io::Result<()> {
        for dir in self.entries.iter().map(PathBuf::as_path).chain([self.variables.dir()]) {
            if statvfs(dir)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
                let why = format!("{} is mounted read-only", dir.display());
                return Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, why));
            }
        }
        Ok(())
    }
}

/// The files in a directory with names of this kind.
fn files(dir: &Path, is_one: impl Fn(&str) -> bool) -> io::Result<Vec<String>> {
    let mut files = Vec::new();
    for found in fs::read_dir(dir)? {
        let found = found?;
        // A name that is no text is none of ours.
        let Ok(file) = found.file_name().into_string() else { continue };
        if !is_one(&file) || !found.file_type()?.is_file() {
            continue;
        }
        if files.len() == ENTRIES_MAX {
            return Err(io::Error::other(format!(
                "there are more than {ENTRIES_MAX} entries in {}",
                dir.display()
            )));
        }
        files.push(file);
    }
    Ok(files)
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(io::Error::other(format!("{} is longer than an entry can be", path.display())));
    }
    Ok(bytes)
}

/// The last `default` counts.
fn configured_default(text: &str) -> Option<String> {
    let values = text.lines().filter_map(|line| line.trim().split_once([' ', '\t']));
    values.filter(|(key, _)| *key == "default").map(|(_, value)| value.trim().to_owned()).next_back()
}

#[cfg(test)]
#[path = "systemd_boot_tests.rs"]
pub(crate) mod tests;
