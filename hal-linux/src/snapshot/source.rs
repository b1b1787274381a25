//! What a snapshot is made of: the device of a file system, and whether it can be read without the file system changing.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, fstat, open};
use rustix::io::Errno;

use crate::rootfs::slot::{Machine, Mount};

/// The device of a file system.
#[derive(Debug)]
pub struct Source {
    /// Its node, such as `/dev/mmcblk0p2`.
    pub device: PathBuf,
    /// A place in the file system, where it is mounted; it is to be frozen by it.
    pub place: Option<File>,
    number: u64,
}

/// Why no snapshot can be made of something.
#[derive(Debug)]
#[expect(missing_docs, reason = "the fields are said by the variants")]
pub enum SourceFault {
    /// It could not be looked at.
    Io { path: PathBuf, error: io::Error },
    /// It is neither in a file system nor a device.
    NoSource(PathBuf),
    /// The file system has no device of its own.
    NoDevice(PathBuf),
    /// The datastore is in it.
    DatastoreInside { datastore: PathBuf, source: PathBuf },
    /// The snapshot, or what is said meanwhile, would be written into the file system that it is of.
    OutputInside(&'static str),
    /// It is in use, by a mount that is not to be seen here or by another device that is made of it.
    InUse(PathBuf),
}

impl std::fmt::Display for SourceFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io { path, error } => write!(f, "{}: {error}", path.display()),
            Self::NoSource(path) => {
                write!(f, "{} is neither a file, a directory nor a block device", path.display())
            }
            Self::NoDevice(path) => write!(
                f,
                "the file system of {} has no device of its own (an overlay, btrfs, memory or the network); name the device \
                 with --source /dev/...",
                path.display()
            ),
            Self::DatastoreInside { datastore, source } => write!(
                f,
                "the datastore {} is in the file system of {}: every device that installs the image would get this device's \
                 key; keep the datastore on a partition of its own, with a link to it",
                datastore.display(),
                source.display()
            ),
            Self::OutputInside(what) => write!(
                f,
                "{what} is a file in the file system that is to be frozen, which would wait for itself; write it somewhere else"
            ),
            Self::InUse(path) => write!(
                f,
                "{} is in use by something that cannot be frozen from here; unmount it first",
                path.display()
            ),
        }
    }
}

impl Source {
    /// The file system that `path` is in, or that is on it where it is a block device. Nothing is changed.
    ///
    /// # Errors
    /// [`SourceFault`]; also when the datastore is in that file system, or one of `outputs`.
    pub fn find(
        path: &Path,
        datastore: &Path,
        outputs: &[(&'static str, &dyn AsFd)],
    ) -> Result<Self, SourceFault> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error| SourceFault::Io { path, error }
        };
        let found = fs::metadata(path).map_err(io(path))?;
        let kind = found.file_type();
        let number = match (kind.is_block_device(), kind.is_dir() || kind.is_file()) {
            (true, _) => found.rdev(),
            (_, true) => found.dev(),
            (false, false) => return Err(SourceFault::NoSource(path.to_owned())),
        };
        let system = Machine::default();
        let device = if rustix::fs::major(number) == 0 { None } else { system.node(number) };
        let device = device.ok_or_else(|| SourceFault::NoDevice(path.to_owned()))?;
        if fs::metadata(datastore).is_ok_and(|datastore| datastore.dev() == number) {
            return Err(SourceFault::DatastoreInside {
                datastore: datastore.to_owned(),
                source: path.to_owned(),
            });
        }
        for (what, output) in outputs {
            if fstat(output).is_ok_and(|output| output.st_dev == number) {
                return Err(SourceFault::OutputInside(what));
            }
        }
        let place = if kind.is_block_device() {
            mounted_at(&system, number)
        } else {
            Some(File::open(path).map_err(io(path))?)
        };
        Ok(Self { device, place, number })
    }

    /// Opens the device, and says how many bytes it has.
    ///
    /// # Errors
    /// [`SourceFault::InUse`], and those of the system.
    pub fn open(&self) -> Result<(File, u64), SourceFault> {
        let io = |error: io::Error| SourceFault::Io { path: self.device.clone(), error };
        // Where it is not mounted here, it must not be in use anywhere else.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let flags = if self.place.is_some() { flags } else { flags | OFlags::EXCL };
        let file = match open(&self.device, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::BUSY) => return Err(SourceFault::InUse(self.device.clone())),
            Err(error) => return Err(io(error.into())),
        };
        let is_it = file.metadata().map_err(io)?.rdev() == self.number;
        if !is_it {
            return Err(SourceFault::NoDevice(self.device.clone()));
        }
        let length = io::Seek::seek(&mut &file, io::SeekFrom::End(0)).map_err(io)?;
        io::Seek::rewind(&mut &file).map_err(io)?;
        Ok((file, length))
    }
}

/// A place in the file system of a device, if it is mounted.
fn mounted_at(system: &Machine, number: u64) -> Option<File> {
    let table = fs::read(system.at("proc/self/mountinfo")).ok()?;
    let points = table.split(|&byte| byte == b'\n').filter_map(Mount::parse).filter(|m| m.device() == number);
    let mut open = points.filter_map(|mount| File::open(mount.point()).ok());
    // Something else may be mounted over it.
    open.find(|place| place.metadata().is_ok_and(|place| place.dev() == number))
}
