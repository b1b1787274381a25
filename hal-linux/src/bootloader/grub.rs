//! GRUB's environment in Mender's two directories (BOOT-51), or in one file.
//!
//! ```text
//! mender_grubenv1/{env,lock,lock.sha256sum}    in force when whole
//! mender_grubenv2/{env,lock,lock.sha256sum}
//!
//! write:  lock2 := editing   env2 := new   lock2 := whole   lock1 := editing   env1 := new   lock1 := whole
//! ```
//!
//! Every file is written in place and flushed: the file system is FAT, or one that GRUB writes by sectors, so its
//! blocks must not move. A copy whose lock says "editing", or that is damaged, is restored from the other one.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::grub_env::{self, Block};
use super::lock::{self, HostLock};
use super::vars::{Change, Vars};
use super::{BootError, Environment, Look};
use crate::rootfs::slot::Machine;

/// Says where the two directories are.
const CONFIG: &str = "/etc/mender_grubenv.config";
/// Where they may be otherwise.
const DIRECTORIES: [&str; 4] =
    ["/boot/efi/grub-mender-grubenv", "/boot/grub/grub-mender-grubenv", "/boot/efi/EFI/BOOT", "/boot/grub"];
/// Where GRUB's own single file is.
const FILES: [&str; 2] = ["/boot/grub/grubenv", "/boot/grub2/grubenv"];

/// A file of one of the copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Env,
    Lock,
    Digest,
}

impl Name {
    const fn file(self) -> &'static str {
        match self {
            Self::Env => "env",
            Self::Lock => "lock",
            Self::Digest => "lock.sha256sum",
        }
    }
}

/// The files of both copies (0 and 1).
pub(super) trait Files {
    fn read(&mut self, copy: usize, name: Name) -> io::Result<Vec<u8>>;
    /// In place, durable on return. Power loss inside leaves some sectors of before and some of after.
    fn write(&mut self, copy: usize, name: Name, bytes: &[u8]) -> io::Result<()>;
    /// Whether the file could be written; changes nothing.
    fn check(&mut self, copy: usize, name: Name) -> io::Result<()>;
}

/// Mender's two directories.
#[derive(Debug)]
pub(crate) struct GrubPair {
    dir: PathBuf,
    lock: PathBuf,
}

impl GrubPair {
    /// The directories of this device, if it has them.
    ///
    /// # Errors
    /// When those that are configured are not there.
    pub(crate) fn find(machine: &Machine) -> Result<Option<Self>, BootError> {
        let config = machine.at(CONFIG);
        let configured = fs::read_to_string(&config).ok().and_then(|text| env_dir(&text));
        let has_copies = |dir: &PathBuf| dir.join("mender_grubenv1").is_dir();
        let dir = match configured.map(|dir| machine.at(&dir)) {
            Some(dir) if !has_copies(&dir) => {
                let why = format!("ENV_DIR is {}, which has no mender_grubenv1", dir.display());
                return Err(BootError::Config(config, why));
            }
            Some(dir) => Some(dir),
            None => DIRECTORIES.map(|dir| machine.at(dir)).into_iter().find(has_copies),
        };
        Ok(dir.map(|dir| Self { dir, lock: machine.at(lock::GRUB) }))
    }

    #[cfg(test)]
    pub(crate) fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), lock: dir.join("host.lock") }
    }

    fn files(&self) -> Directories<'_> {
        Directories { dir: &self.dir }
    }
}

/// `ENV_DIR=...`, with or without blanks.
fn env_dir(text: &str) -> Option<String> {
    let mut values =
        text.lines().filter_map(|line| line.trim().strip_prefix("ENV_DIR")?.trim_start().strip_prefix('='));
    let value = values.next_back()?.trim().trim_matches(['"', '\'']);
    (!value.is_empty()).then(|| value.to_owned())
}

impl Environment for GrubPair {
    fn load(&mut self, look: &mut Look) -> Result<Vars, BootError> {
        let _lock = HostLock::take(&self.lock, look)?;
        in_force(&mut self.files())
    }

    fn store(&mut self, look: &mut Look, changes: &[Change<'_>]) -> Result<(), BootError> {
        let _lock = HostLock::take(&self.lock, look)?;
        store(&mut self.files(), changes)
    }

    fn check(&mut self, look: &mut Look, changes: &[Change<'_>]) -> Result<Vars, BootError> {
        let _lock = HostLock::take(&self.lock, look)?;
        check(&mut self.files(), changes)
    }

    fn uses_hex(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        format!("GRUB environment in {}", self.dir.display())
    }

    fn places(&self) -> Result<Vec<PathBuf>, BootError> {
        Ok(vec![self.dir.join("mender_grubenv1"), self.dir.join("mender_grubenv2")])
    }
}

struct Directories<'a> {
    dir: &'a Path,
}

impl Directories<'_> {
    fn path(&self, copy: usize, name: Name) -> PathBuf {
        self.dir.join(format!("mender_grubenv{}", copy + 1)).join(name.file())
    }
}

impl Files for Directories<'_> {
    fn read(&mut self, copy: usize, name: Name) -> io::Result<Vec<u8>> {
        read_block(&self.path(copy, name))
    }

    fn write(&mut self, copy: usize, name: Name, bytes: &[u8]) -> io::Result<()> {
        write_in_place(&self.path(copy, name), bytes)
    }

    fn check(&mut self, copy: usize, name: Name) -> io::Result<()> {
        OpenOptions::new().read(true).write(true).open(self.path(copy, name)).map(drop)
    }
}

fn read_block(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, grub_env::BLOCK_MAX as u64 + 1), &mut bytes)?;
    if bytes.len() > grub_env::BLOCK_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(bytes)
}

/// Neither truncated nor renamed: the clusters of the file must not move.
fn write_in_place(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.write_all_at(bytes, 0)?;
    if file.metadata()?.len() > bytes.len() as u64 {
        file.set_len(bytes.len() as u64)?;
    }
    file.sync_all()
}

const WHOLE: Change<'_> = ("editing", Some("0"));
const EDITING: Change<'_> = ("editing", Some("1"));

/// One copy, if its lock says that it is whole and it can be read.
fn whole(files: &mut impl Files, copy: usize) -> Option<Vec<u8>> {
    let lock = decode(&files.read(copy, Name::Lock).ok()?)?;
    if lock.get("editing") != Some("0") {
        return None;
    }
    let env = files.read(copy, Name::Env).ok()?;
    decode(&env).map(|_| env)
}

/// Which copy counts, as the boot script sees it after its repair.
fn pick(files: &mut impl Files) -> Result<(usize, Vec<u8>, bool), BootError> {
    match (whole(files, 0), whole(files, 1)) {
        (Some(first), Some(second)) => {
            let in_step = first == second;
            Ok((0, first, in_step))
        }
        (Some(first), None) => Ok((0, first, false)),
        (None, Some(second)) => Ok((1, second, false)),
        (None, None) => Err(BootError::NoEnvironment),
    }
}

fn in_force(files: &mut impl Files) -> Result<Vars, BootError> {
    let (_, bytes, _) = pick(files)?;
    decode(&bytes).ok_or(BootError::NoEnvironment)
}

/// Brings the copies in step (B2), and finds out whether `changes` could be stored.
fn check(files: &mut impl Files, changes: &[Change<'_>]) -> Result<Vars, BootError> {
    for copy in [0, 1] {
        for name in [Name::Env, Name::Lock] {
            files.check(copy, name).map_err(BootError::Storage)?;
        }
    }
    let bytes = repair(files)?;
    changed(&bytes, changes)?;
    decode(&bytes).ok_or(BootError::NoEnvironment)
}

/// Rewrites the copy that is damaged or behind. Returns the bytes of the copy that counts.
fn repair(files: &mut impl Files) -> Result<Vec<u8>, BootError> {
    let (copy, bytes, in_step) = pick(files)?;
    if !in_step {
        replace(files, 1 - copy, &bytes)?;
    }
    Ok(bytes)
}

fn store(files: &mut impl Files, changes: &[Change<'_>]) -> Result<(), BootError> {
    let bytes = repair(files)?;
    let Some(new) = changed(&bytes, changes)? else { return Ok(()) };
    // The second first: until the first is begun, the old values count.
    replace(files, 1, &new)?;
    replace(files, 0, &new)
}

/// The block with `changes`; `None` when they change nothing.
fn changed(bytes: &[u8], changes: &[Change<'_>]) -> Result<Option<Vec<u8>>, BootError> {
    let block = Block::parse(bytes).ok_or(BootError::NoEnvironment)?;
    block.edit(changes).map_err(BootError::Vars)
}

fn decode(bytes: &[u8]) -> Option<Vars> {
    Block::parse(bytes).map(|block| block.vars())
}

fn replace(files: &mut impl Files, copy: usize, env: &[u8]) -> Result<(), BootError> {
    set_lock(files, copy, EDITING)?;
    files.write(copy, Name::Env, env).map_err(BootError::Storage)?;
    if files.read(copy, Name::Env).map_err(BootError::Storage)? != env {
        return Err(BootError::ReadBack);
    }
    set_lock(files, copy, WHOLE)?;
    // Mender's own tool refuses a copy whose lock is not the one it was told of.
    let lock = files.read(copy, Name::Lock).map_err(BootError::Storage)?;
    let line = digest_line(&lock);
    let matches = files.read(copy, Name::Digest).is_ok_and(|text| {
        let digest = |text: &[u8]| text.split(|b| b.is_ascii_whitespace()).next().map(<[u8]>::to_vec);
        digest(&text) == digest(line.as_bytes())
    });
    if !matches && files.check(copy, Name::Digest).is_ok() {
        files.write(copy, Name::Digest, line.as_bytes()).map_err(BootError::Storage)?;
    }
    Ok(())
}

fn set_lock(files: &mut impl Files, copy: usize, state: Change<'_>) -> Result<(), BootError> {
    let mut old = files.read(copy, Name::Lock).unwrap_or_default();
    if Block::parse(&old).is_none() {
        old = grub_env::empty();
    }
    match changed(&old, &[state])? {
        Some(new) => files.write(copy, Name::Lock, &new).map_err(BootError::Storage),
        None => Ok(()),
    }
}

fn digest_line(lock: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, lock);
    let mut line: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    line.push_str("  lock\n");
    line
}

/// One environment block in one file: power loss while it is written can leave it torn.
#[derive(Debug)]
pub(crate) struct GrubFile {
    path: PathBuf,
    allow_single: bool,
}

impl GrubFile {
    /// The file that distributions have; `BootloaderAllowSingle` makes it writable.
    pub(crate) fn find(machine: &Machine, allow_single: bool) -> Self {
        let candidates = FILES.map(|path| machine.at(path));
        let path = candidates.iter().find(|path| path.is_file()).unwrap_or(&candidates[0]);
        Self::new(path, allow_single)
    }

    pub(crate) fn new(path: &Path, allow_single: bool) -> Self {
        Self { path: path.to_owned(), allow_single }
    }

    fn bytes(&self) -> Result<Vec<u8>, BootError> {
        if !self.allow_single {
            return Err(BootError::Single(self.path.clone()));
        }
        read_block(&self.path).map_err(BootError::io("read", &self.path))
    }
}

impl Environment for GrubFile {
    fn load(&mut self, _look: &mut Look) -> Result<Vars, BootError> {
        let bytes = read_block(&self.path).map_err(BootError::io("read", &self.path))?;
        decode(&bytes).ok_or(BootError::NoEnvironment)
    }

    fn store(&mut self, _look: &mut Look, changes: &[Change<'_>]) -> Result<(), BootError> {
        let Some(new) = changed(&self.bytes()?, changes)? else { return Ok(()) };
        write_in_place(&self.path, &new).map_err(BootError::io("write", &self.path))?;
        if self.bytes()? == new { Ok(()) } else { Err(BootError::ReadBack) }
    }

    fn check(&mut self, _look: &mut Look, changes: &[Change<'_>]) -> Result<Vars, BootError> {
        let bytes = self.bytes()?;
        changed(&bytes, changes)?;
        OpenOptions::new().write(true).open(&self.path).map_err(BootError::io("open", &self.path))?;
        decode(&bytes).ok_or(BootError::NoEnvironment)
    }

    fn uses_hex(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        format!("GRUB environment {}", self.path.display())
    }

    fn places(&self) -> Result<Vec<PathBuf>, BootError> {
        Ok(vec![self.path.clone()])
    }
}

#[cfg(test)]
#[path = "grub_tests.rs"]
pub(crate) mod tests;
