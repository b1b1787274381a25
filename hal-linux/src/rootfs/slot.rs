//! Which devices the two slots are, and which of them runs (BOOT-20 to BOOT-22).
//!
//! Devices are compared by number, never by name: a node, a link and the kernel's own name are one device, and
//! partition 2 is not partition 12.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{major, makedev, minor};
use thimble_core::hal::{self, Kind, Slot};

use crate::fsat::kind_of;

/// The root directory below which the kernel's files about devices are. Tests use another one than `/`.
#[derive(Clone, Debug)]
pub struct Machine {
    root: PathBuf,
}

/// The machine that this process runs on.
impl Default for Machine {
    fn default() -> Self {
        Self { root: PathBuf::from("/") }
    }
}

/// The device of one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotDevice {
    /// Its node.
    pub path: PathBuf,
    /// Number of the device.
    pub device: u64,
    /// The number by which the boot loader knows it: of the partition or UBI volume.
    pub number: u32,
    /// It is a UBI volume, not a block device.
    pub is_ubi: bool,
}

/// Both slots, and which of them runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// `RootfsPartA`.
    pub a: SlotDevice,
    /// `RootfsPartB`.
    pub b: SlotDevice,
    /// The slot the running root file system is in.
    pub running: Slot,
    /// Device number of the running root, where it is one: nothing is ever written to it.
    pub root_device: Option<u64>,
}

impl Roots {
    /// The device of `slot`.
    #[must_use]
    pub const fn device(&self, slot: Slot) -> &SlotDevice {
        match slot {
            Slot::A => &self.a,
            Slot::B => &self.b,
        }
    }

    /// The slot of a boot loader's number. Compared as a number, and never "the other one" for garbage (B3).
    #[must_use]
    pub fn slot(&self, number: &str) -> Option<Slot> {
        let number = if number.bytes().all(|b| b.is_ascii_digit()) {
            number.parse::<u32>().ok()?
        } else {
            return None;
        };
        [Slot::A, Slot::B].into_iter().find(|&slot| self.device(slot).number == number)
    }
}

/// The slots as `mender.conf` names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// `RootfsPartA`.
    pub a: Option<PathBuf>,
    /// `RootfsPartB`.
    pub b: Option<PathBuf>,
}

impl Machine {
    /// A machine whose files are in `root`, for tests.
    #[must_use]
    pub fn in_directory(root: PathBuf) -> Self {
        Self { root }
    }

    /// Finds the slots and the running one. Nothing is cached between calls.
    ///
    /// # Errors
    /// When a slot is not configured or no device, both are one, or neither runs for sure.
    pub fn roots(&self, parts: &Parts) -> Result<Roots, SlotError> {
        let root = self.mounted_root()?;
        let a = self.slot_device("RootfsPartA", parts.a.as_deref(), &root)?;
        let b = self.slot_device("RootfsPartB", parts.b.as_deref(), &root)?;
        if a.device == b.device {
            return Err(SlotError::Same(a.path, b.path));
        }
        if a.number == b.number {
            return Err(SlotError::SameNumber(a.number));
        }
        let slot_of = |device: u64| match () {
            () if device == a.device => Some(Slot::A),
            () if device == b.device => Some(Slot::B),
            () => None,
        };
        let running = match &root {
            Root::Device(device) => slot_of(*device).or_else(|| self.below(*device, &slot_of, 0)),
            Root::Ubi(device) => slot_of(*device),
            Root::Hidden => None,
        };
        let running = match (running, &root) {
            (Some(slot), _) => slot,
            // A real device that is no slot is a rescue system, say: the command line does not count then.
            (None, Root::Device(device)) if !self.is_stacked(*device) => {
                return Err(SlotError::Elsewhere { major: major(*device), minor: minor(*device) });
            }
            (None, Root::Device(_) | Root::Ubi(_) | Root::Hidden) => {
                self.command_line_root().and_then(slot_of).ok_or(SlotError::Unknown)?
            }
        };
        let root_device = match root {
            Root::Device(device) | Root::Ubi(device) => Some(device),
            Root::Hidden => None,
        };
        Ok(Roots { a, b, running, root_device })
    }

    /// Where a file of the machine is.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The last file system mounted at `/`.
    fn mounted_root(&self) -> Result<Root, SlotError> {
        let path = self.at("proc/self/mountinfo");
        let text = fs::read(&path).map_err(|error| SlotError::Io { key: None, path, error })?;
        let mount = text.split(|&byte| byte == b'\n').filter_map(Mount::parse).rfind(|m| m.point == b"/");
        let Some(mount) = mount else { return Ok(Root::Hidden) };
        if mount.kind == b"ubifs" {
            let source = String::from_utf8_lossy(mount.source);
            return Ok(self.ubi_device(&source).map_or(Root::Hidden, Root::Ubi));
        }
        // Number 0 has no device; another root than `/` is a bind mount or a chroot.
        if mount.major == 0 || mount.root != b"/" {
            return Ok(Root::Hidden);
        }
        Ok(Root::Device(makedev(mount.major, mount.minor)))
    }

    fn slot_device(
        &self,
        key: &'static str,
        configured: Option<&Path>,
        root: &Root,
    ) -> Result<SlotDevice, SlotError> {
        let configured = configured.ok_or(SlotError::NotConfigured(key))?;
        let text = configured.to_str().ok_or_else(|| SlotError::NoDevice(key, configured.to_owned()))?;
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error| SlotError::Io { key: Some(key), path, error }
        };
        let named = match self.named(text) {
            Some(path) => path,
            None if text == "/dev/root" => match root {
                Root::Device(device) | Root::Ubi(device) => self.node(*device).ok_or(SlotError::Unknown)?,
                Root::Hidden => return Err(SlotError::Unknown),
            },
            None => return Err(SlotError::NoDevice(key, configured.to_owned())),
        };
        let path = fs::canonicalize(&named).map_err(io(&named))?;
        let found = fs::metadata(&path).map_err(io(&path))?;
        let is_ubi = found.file_type().is_char_device() && self.is_ubi_volume(found.rdev());
        if !found.file_type().is_block_device() && !is_ubi {
            return Err(SlotError::NoDevice(key, configured.to_owned()));
        }
        let number = self
            .partition_number(found.rdev())
            // The digits of a label, or of the links to devices, say nothing.
            .or_else(|| {
                trailing_number(named.as_os_str()).filter(|_| !named.starts_with(self.at("dev/disk")))
            })
            .or_else(|| trailing_number(path.as_os_str()))
            .ok_or_else(|| SlotError::NoNumber(key, configured.to_owned()))?;
        Ok(SlotDevice { path, device: found.rdev(), number, is_ubi })
    }

    /// The node a name of a device stands for: a path, `PARTUUID=`, `UBI` names ...
    fn named(&self, name: &str) -> Option<PathBuf> {
        for (tag, dir, ignores_case) in [
            ("PARTUUID=", "by-partuuid", true),
            ("PARTLABEL=", "by-partlabel", false),
            ("LABEL=", "by-label", false),
            ("UUID=", "by-uuid", true),
        ] {
            if let Some(value) = name.strip_prefix(tag) {
                let value = value.trim_matches('"');
                if value.is_empty() || value.contains('/') {
                    return None;
                }
                let dir = self.at("dev/disk").join(dir);
                let escaped = udev_escaped(value);
                let exact = dir.join(&escaped);
                if exact.exists() || !ignores_case {
                    return exact.exists().then_some(exact);
                }
                let entries = fs::read_dir(dir).ok()?.flatten();
                return entries.map(|e| e.path()).find(|path| {
                    path.file_name()
                        .is_some_and(|name| name.as_bytes().eq_ignore_ascii_case(escaped.as_bytes()))
                });
            }
        }
        let short = name.strip_prefix("/dev/").unwrap_or(name);
        if short.starts_with("ubi") && short.contains(':') {
            return self.ubi_volume_by_name(short);
        }
        if name.starts_with("ubi") {
            return Some(self.at("dev").join(name));
        }
        if name == "/dev/root" && !self.at(name).exists() {
            return None;
        }
        if name.starts_with("/dev/") {
            Some(self.at(name))
        } else {
            Some(PathBuf::from(name)).filter(|p| p.is_absolute())
        }
    }

    /// `ubi0:name`: the volume of that name.
    fn ubi_volume_by_name(&self, name: &str) -> Option<PathBuf> {
        let (device, volume) = name.split_once(':')?;
        let prefix = format!("{device}_");
        let entries = fs::read_dir(self.at("sys/class/ubi")).ok()?.flatten();
        let found =
            entries.filter(|e| e.file_name().as_bytes().starts_with(prefix.as_bytes())).find(|entry| {
                fs::read_to_string(entry.path().join("name")).is_ok_and(|text| text.trim_end() == volume)
            })?;
        Some(self.at("dev").join(found.file_name()))
    }

    /// The node of a UBI volume that is given by name (`/dev/ubi0:env`).
    pub(crate) fn ubi_path(&self, device: &Path) -> Option<PathBuf> {
        let name = device.to_str()?;
        let name = name.strip_prefix("/dev/").unwrap_or(name);
        (name.starts_with("ubi") && name.contains(':')).then(|| self.ubi_volume_by_name(name))?
    }

    fn ubi_device(&self, source: &str) -> Option<u64> {
        Some(fs::metadata(self.named(source)?).ok()?.rdev())
    }

    pub(crate) fn is_ubi_volume(&self, device: u64) -> bool {
        let subsystem = self.at("sys/dev/char").join(numbers(device)).join("upd_marker");
        subsystem.exists()
    }

    /// The kernel's own number of a partition.
    fn partition_number(&self, device: u64) -> Option<u32> {
        let text = fs::read_to_string(self.sys_block(device).join("partition")).ok()?;
        text.trim().parse().ok()
    }

    fn sys_block(&self, device: u64) -> PathBuf {
        self.at("sys/dev/block").join(numbers(device))
    }

    /// The slot below a stacked device (verity, crypt): its slaves, and theirs.
    fn below(&self, device: u64, slot_of: &dyn Fn(u64) -> Option<Slot>, depth: u8) -> Option<Slot> {
        if depth == 8 {
            return None;
        }
        let mut found = None;
        for slave in fs::read_dir(self.sys_block(device).join("slaves")).ok()?.flatten().take(16) {
            let text = fs::read_to_string(slave.path().join("dev")).ok()?;
            let device = parse_numbers(text.trim())?;
            let slot = slot_of(device).or_else(|| self.below(device, slot_of, depth + 1));
            if slot.is_some() && found.is_some() && slot != found {
                return None;
            }
            found = found.or(slot);
        }
        found
    }

    fn is_stacked(&self, device: u64) -> bool {
        fs::read_dir(self.sys_block(device).join("slaves")).is_ok_and(|mut slaves| slaves.next().is_some())
    }

    fn command_line_root(&self) -> Option<u64> {
        self.root_of(&fs::read_to_string(self.at("proc/cmdline")).ok()?)
    }

    /// The device of the last `root=` of a kernel command line.
    pub(crate) fn root_of(&self, command_line: &str) -> Option<u64> {
        let root = words(command_line)
            .into_iter()
            .filter_map(|w| w.strip_prefix("root=").map(str::to_owned))
            .next_back()?;
        if let Some(device) = parse_numbers(&root) {
            return Some(device);
        }
        fs::metadata(self.named(&root)?).ok().map(|found| found.rdev())
    }

    /// The node of a block device, by the kernel's name of it.
    pub(crate) fn node(&self, device: u64) -> Option<PathBuf> {
        let text = fs::read_to_string(self.sys_block(device).join("uevent")).ok()?;
        let name = text.lines().find_map(|line| line.strip_prefix("DEVNAME="))?;
        Some(self.at("dev").join(name))
    }

    /// Whether an update of a UBI volume was interrupted (B9).
    pub(crate) fn ubi_update_is_incomplete(&self, device: u64) -> io::Result<bool> {
        let path = self.at("sys/dev/char").join(numbers(device)).join("upd_marker");
        Ok(fs::read_to_string(path)?.trim() != "0")
    }

    /// Bytes that fit into a UBI volume.
    pub(crate) fn ubi_capacity(&self, device: u64) -> io::Result<u64> {
        let dir = self.at("sys/dev/char").join(numbers(device));
        let number = |name: &str| {
            let text = fs::read_to_string(dir.join(name))?;
            text.trim().parse::<u64>().map_err(io::Error::other)
        };
        Ok(number("reserved_ebs")?.saturating_mul(number("usable_eb_size")?))
    }
}

#[derive(Debug)]
enum Root {
    Device(u64),
    Ubi(u64),
    /// Overlay, network, bind mount: the mount table does not say.
    Hidden,
}

/// A line of `mountinfo`.
pub(crate) struct Mount<'a> {
    major: u32,
    minor: u32,
    root: &'a [u8],
    point: &'a [u8],
    kind: &'a [u8],
    source: &'a [u8],
}

impl<'a> Mount<'a> {
    pub(crate) fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.split(|&byte| byte == b' ');
        let device = str::from_utf8(fields.nth(2)?).ok()?;
        let (major, minor) = device.split_once(':')?;
        let (root, point) = (fields.next()?, fields.next()?);
        fields.by_ref().find(|&field| field == b"-")?;
        let (kind, source) = (fields.next()?, fields.next()?);
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()?, root, point, kind, source })
    }

    pub(crate) fn device(&self) -> u64 {
        makedev(self.major, self.minor)
    }

    /// Where it is mounted; blanks and the like stand there as three octal digits.
    pub(crate) fn point(&self) -> PathBuf {
        let mut rest = self.point;
        let mut path = Vec::with_capacity(rest.len());
        while let Some((&first, after)) = rest.split_first() {
            let digits = after.get(..3).filter(|_| first == b'\\');
            let code = digits.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
            path.push(code.unwrap_or(first));
            rest = if code.is_some() { after.get(3..).unwrap_or_default() } else { after };
        }
        OsString::from_vec(path).into()
    }
}

/// Words of the kernel command line; blanks within double quotes do not separate, the quotes go.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => words.push(String::new()),
            c => {
                if let Some(word) = words.last_mut() {
                    word.push(c);
                }
            }
        }
    }
    words
}

/// A label as udev names its link: what is not plain becomes `\xNN`.
fn udev_escaped(label: &str) -> String {
    let mut out = String::new();
    for c in label.chars() {
        if c.is_ascii_alphanumeric() || "#+-.:=@_".contains(c) || !c.is_ascii() {
            out.push(c);
        } else {
            out.push_str(&format!("\\x{:02x}", u32::from(c)));
        }
    }
    out
}

fn numbers(device: u64) -> String {
    format!("{}:{}", major(device), minor(device))
}

fn parse_numbers(text: &str) -> Option<u64> {
    let (major, minor) = text.split_once(':')?;
    Some(makedev(major.parse().ok()?, minor.parse().ok()?))
}

/// `sda2`, `mmcblk0p12`, `ubi0_1`.
fn trailing_number(path: &OsStr) -> Option<u32> {
    let bytes = path.as_bytes();
    let digits = bytes.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    str::from_utf8(&bytes[bytes.len() - digits..]).ok()?.parse().ok()
}

/// Why the slots are not known.
#[derive(Debug)]
#[expect(missing_docs, reason = "the fields are said by the variants")]
pub enum SlotError {
    /// A key of `mender.conf` is missing.
    NotConfigured(&'static str),
    /// What a key names is no block device and no UBI volume, or is not there.
    NoDevice(&'static str, PathBuf),
    /// A device without a number that a boot loader could know.
    NoNumber(&'static str, PathBuf),
    /// Both slots are one device.
    Same(PathBuf, PathBuf),
    /// Both slots have one partition number (on two disks): the boot loader cannot tell them apart.
    SameNumber(u32),
    /// The running root is on a device that is neither slot.
    Elsewhere { major: u32, minor: u32 },
    /// Nothing says for sure which slot runs.
    Unknown,
    /// The operating system refused, for the sake of this key.
    Io { key: Option<&'static str>, path: PathBuf, error: io::Error },
}

impl fmt::Display for SlotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConfigured(key) => {
                write!(f, "{key} is not set: root file systems need RootfsPartA and RootfsPartB in mender.conf")
            }
            Self::NoDevice(key, path) => {
                write!(f, "{key}: {} does not exist, or is neither a block device nor a UBI volume", path.display())
            }
            Self::NoNumber(key, path) => {
                write!(f, "{key}: {} has no partition number to tell the boot loader", path.display())
            }
            Self::Same(a, b) => {
                write!(f, "RootfsPartA ({}) and RootfsPartB ({}) are one device", a.display(), b.display())
            }
            Self::SameNumber(number) => {
                write!(f, "RootfsPartA and RootfsPartB both have partition number {number}; the boot loader cannot tell them apart")
            }
            Self::Elsewhere { major, minor } => write!(
                f,
                "the running root file system is on device {major}:{minor}, which is neither RootfsPartA nor RootfsPartB"
            ),
            Self::Unknown => f.write_str(
                "which slot runs cannot be told: neither the mount at / nor root= of the kernel command line leads to \
                 RootfsPartA or RootfsPartB",
            ),
            Self::Io { key: Some(key), path, error } => write!(f, "{key}: {}: {error}", path.display()),
            Self::Io { key: None, path, error } => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl hal::Error for SlotError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotConfigured(_) => Kind::NotFound,
            Self::Io { error, .. } => kind_of(error),
            Self::NoDevice(..)
            | Self::NoNumber(..)
            | Self::Same(..)
            | Self::SameNumber(_)
            | Self::Elsewhere { .. }
            | Self::Unknown => Kind::Refused,
        }
    }
}

#[cfg(test)]
pub(crate) mod fake {
    //! A machine in a directory; its device nodes are real ones (root only) that nobody opens.

    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    pub(crate) struct Fake {
        pub(crate) dir: tempfile::TempDir,
    }

    impl Fake {
        /// `None` without the right to make device nodes.
        pub(crate) fn new() -> Option<Self> {
            let dir = tempfile::tempdir().unwrap();
            for sub in ["proc/self", "dev", "sys/dev/block", "sys/dev/char", "sys/class/ubi"] {
                fs::create_dir_all(dir.path().join(sub)).unwrap();
            }
            let fake = Self { dir };
            if !rustix::process::geteuid().is_root() {
                eprintln!("left out: needs root to make device nodes");
                return None;
            }
            for (name, major, minor) in
                [("vda1", 254, 1), ("vda2", 254, 2), ("vda3", 254, 3), ("vda12", 254, 12), ("dm-0", 253, 0)]
            {
                fake.block(name, major, minor);
            }
            fake.write("proc/cmdline", "quiet\n");
            Some(fake)
        }

        pub(crate) fn machine(&self) -> Machine {
            Machine::in_directory(self.dir.path().to_owned())
        }

        pub(crate) fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        pub(crate) fn write(&self, name: &str, text: &str) {
            let path = self.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn node(&self, name: &str, kind: FileType, major: u32, minor: u32) {
            let path = self.path("dev").join(name);
            mknodat(CWD, &path, kind, Mode::RUSR | Mode::WUSR, makedev(major, minor)).unwrap();
        }

        pub(crate) fn block(&self, name: &str, major: u32, minor: u32) {
            self.node(name, FileType::BlockDevice, major, minor);
            self.write(
                &format!("sys/dev/block/{major}:{minor}/uevent"),
                &format!("MAJOR={major}\nDEVNAME={name}\n"),
            );
            if let Some(number) = trailing_number(OsStr::new(name)).filter(|_| name.starts_with("vda")) {
                self.write(&format!("sys/dev/block/{major}:{minor}/partition"), &format!("{number}\n"));
            }
        }

        pub(crate) fn ubi(&self, volume: u32, name: &str) {
            let node = format!("ubi0_{volume}");
            self.node(&node, FileType::CharacterDevice, 240, volume + 1);
            for (file, text) in
                [("name", name), ("upd_marker", "0"), ("reserved_ebs", "4"), ("usable_eb_size", "1000")]
            {
                self.write(&format!("sys/class/ubi/{node}/{file}"), &format!("{text}\n"));
                self.write(&format!("sys/dev/char/240:{}/{file}", volume + 1), &format!("{text}\n"));
            }
        }

        pub(crate) fn mounts(&self, text: &str) {
            self.write("proc/self/mountinfo", text);
        }

        pub(crate) fn mount(&self, device: &str) {
            self.mounts(&format!("22 1 {device} / / rw,relatime shared:1 - ext4 /dev/root rw\n"));
        }

        pub(crate) fn roots(&self, a: &str, b: &str) -> Result<Roots, SlotError> {
            self.machine().roots(&Parts { a: Some(a.into()), b: Some(b.into()) })
        }
    }
}

#[cfg(test)]
#[path = "slot_tests.rs"]
mod tests;
