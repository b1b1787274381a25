//! What one copy of U-Boot's environment is stored on: bytes in place, flash that is erased, a UBI volume.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise, major};

use super::fw_env_config::Place;
use super::uboot_env::{OBSOLETE, Scheme};
use crate::rootfs::slot::Machine;
use crate::sys;

/// One copy of an environment.
pub(crate) trait Store {
    /// How copies on this storage are told apart.
    fn scheme(&self) -> Scheme;

    /// All bytes of the copy.
    fn read(&mut self) -> io::Result<Vec<u8>>;

    /// Replaces the copy; durable on return. Power loss inside leaves anything in it, and nothing outside of it.
    fn replace(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Clears the flags byte without erasing (the boolean scheme only); durable on return.
    fn make_obsolete(&mut self) -> io::Result<()>;
}

impl Store for Box<dyn Store> {
    fn scheme(&self) -> Scheme {
        self.as_ref().scheme()
    }

    fn read(&mut self) -> io::Result<Vec<u8>> {
        self.as_mut().read()
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.as_mut().replace(bytes)
    }

    fn make_obsolete(&mut self) -> io::Result<()> {
        self.as_mut().make_obsolete()
    }
}

/// Bytes that can be written in place.
pub(crate) trait Bytes {
    fn read_at(&mut self, offset: u64, to: &mut [u8]) -> io::Result<()>;
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// What was written is durable, and will be read from the medium.
    fn flush(&mut self) -> io::Result<()>;
}

/// Flash with blocks that are erased before they are written.
pub(crate) trait Flash {
    fn erase_size(&self) -> u64;
    fn is_nor(&self) -> bool;
    fn is_bad(&mut self, offset: u64) -> io::Result<bool>;
    fn read_at(&mut self, offset: u64, to: &mut [u8]) -> io::Result<()>;
    fn erase(&mut self, offset: u64) -> io::Result<()>;
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
}

/// A copy on [`Bytes`].
pub(crate) struct InPlace<B> {
    pub(crate) bytes: B,
    pub(crate) offset: u64,
    pub(crate) size: usize,
}

impl<B: Bytes> Store for InPlace<B> {
    fn scheme(&self) -> Scheme {
        Scheme::Counter
    }

    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.size];
        self.bytes.read_at(self.offset, &mut bytes)?;
        Ok(bytes)
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes.write_at(self.offset, bytes)?;
        self.bytes.flush()
    }

    fn make_obsolete(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A copy on [`Flash`], in the good ones of its blocks.
pub(crate) struct InBlocks<F> {
    pub(crate) flash: F,
    pub(crate) offset: u64,
    pub(crate) size: usize,
    /// Blocks it may use, bad ones included.
    pub(crate) blocks: u64,
}

impl<F: Flash> InBlocks<F> {
    /// Offsets of the good blocks that hold the copy.
    fn good(&mut self) -> io::Result<Vec<u64>> {
        let erase_size = self.flash.erase_size();
        if erase_size == 0 || !self.offset.is_multiple_of(erase_size) {
            return Err(io::Error::other("the environment does not begin with an erase block"));
        }
        let needed = (self.size as u64).div_ceil(erase_size);
        let mut good = Vec::new();
        for index in 0..self.blocks.max(needed) {
            if good.len() as u64 == needed {
                break;
            }
            let offset = self.offset + index * erase_size;
            if !self.flash.is_bad(offset)? {
                good.push(offset);
            }
        }
        if (good.len() as u64) < needed {
            return Err(io::Error::other("too many bad blocks for the environment"));
        }
        Ok(good)
    }
}

impl<F: Flash> Store for InBlocks<F> {
    fn scheme(&self) -> Scheme {
        if self.flash.is_nor() { Scheme::Boolean } else { Scheme::Counter }
    }

    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.size];
        let block = usize::try_from(self.flash.erase_size()).map_err(io::Error::other)?;
        let good = self.good()?;
        for (offset, part) in good.into_iter().zip(bytes.chunks_mut(block.max(1))) {
            self.flash.read_at(offset, part)?;
        }
        Ok(bytes)
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        let block = usize::try_from(self.flash.erase_size()).map_err(io::Error::other)?;
        let good = self.good()?;
        for (offset, part) in good.into_iter().zip(bytes.chunks(block.max(1))) {
            // What else stands in the last block is kept.
            let mut whole = vec![0xff; block];
            if part.len() < block {
                self.flash.read_at(offset, &mut whole)?;
            }
            whole[..part.len()].copy_from_slice(part);
            self.flash.erase(offset)?;
            self.flash.write_at(offset, &whole)?;
        }
        Ok(())
    }

    fn make_obsolete(&mut self) -> io::Result<()> {
        if !self.flash.is_nor() {
            return Ok(());
        }
        let first = self.good()?.first().copied().unwrap_or(self.offset);
        // Bits of NOR flash go from 1 to 0 without an erase.
        self.flash.write_at(first + 4, &[OBSOLETE])
    }
}

/// A copy in a UBI volume of its own, replaced by an update of the volume.
pub(crate) struct Volume {
    path: PathBuf,
    size: usize,
}

impl Store for Volume {
    fn scheme(&self) -> Scheme {
        Scheme::Counter
    }

    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.size];
        File::open(&self.path)?.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut volume = OpenOptions::new().write(true).open(&self.path)?;
        sys::ubi_start_update(&volume, i64::try_from(bytes.len()).map_err(io::Error::other)?)?;
        volume.write_all(bytes)
    }

    fn make_obsolete(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens the storage of a copy, for reading and writing: what cannot be written cannot be relied on.
pub(crate) fn open(place: &Place, machine: &Machine) -> io::Result<Box<dyn Store>> {
    let path = machine.ubi_path(&place.device).unwrap_or_else(|| place.device.clone());
    let found = std::fs::metadata(&path)?;
    let kind = found.file_type();
    if kind.is_char_device() && machine.is_ubi_volume(found.rdev()) {
        if place.offset != 0 {
            return Err(io::Error::other("an environment in a UBI volume begins at offset 0"));
        }
        return Ok(Box::new(Volume { path, size: place.size }));
    }
    if kind.is_char_device() && major(found.rdev()) == MTD_MAJOR {
        let flash = Mtd::open(&path)?;
        let offset = from_start(place.offset, flash.size.into())?;
        return Ok(Box::new(InBlocks { flash, offset, size: place.size, blocks: place.sectors }));
    }
    if !kind.is_block_device() && !kind.is_file() {
        return Err(io::Error::other("is neither a file nor a device that can hold an environment"));
    }
    let lock = WriteLock::of(&path, kind.is_block_device());
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_CLOEXEC).open(&path)?;
    let size = rustix::fs::seek(&file, rustix::fs::SeekFrom::End(0))?;
    let offset = from_start(place.offset, size)?;
    if offset.checked_add(place.size as u64).is_none_or(|end| end > size) {
        return Err(io::Error::other("is too short for the environment it should hold"));
    }
    Ok(Box::new(InPlace { bytes: Plain { file, _lock: lock }, offset, size: place.size }))
}

const MTD_MAJOR: u32 = 90;
const MTD_NOR: u8 = 3;

fn from_start(offset: i64, size: u64) -> io::Result<u64> {
    let outside = || io::Error::other("the offset of the environment is outside of the device");
    if offset < 0 {
        return size.checked_sub(offset.unsigned_abs()).ok_or_else(outside);
    }
    u64::try_from(offset).map_err(|_| outside())
}

/// A regular file or a block device. The file is written in place: the boot loader may know its blocks.
struct Plain {
    file: File,
    _lock: Option<WriteLock>,
}

impl Bytes for Plain {
    fn read_at(&mut self, offset: u64, to: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(to, offset)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        // Only a hint to the kernel. Without it the comparison reads from the cache.
        let _ = fadvise(&self.file, 0, None, Advice::DontNeed);
        Ok(())
    }
}

/// The boot partitions of eMMC are read-only until `force_ro` is cleared; it is set again afterwards.
struct WriteLock(PathBuf);

impl WriteLock {
    fn of(path: &Path, is_block: bool) -> Option<Self> {
        let name = std::fs::canonicalize(path).ok()?;
        let name = name.file_name()?.to_str()?;
        if !is_block || !name.starts_with("mmcblk") || !name.contains("boot") {
            return None;
        }
        let lock = Path::new("/sys/block").join(name).join("force_ro");
        let locked = std::fs::read_to_string(&lock).is_ok_and(|text| text.trim() == "1");
        (locked && std::fs::write(&lock, "0").is_ok()).then_some(Self(lock))
    }
}

impl Drop for WriteLock {
    fn drop(&mut self) {
        let _ = std::fs::write(&self.0, "1");
    }
}

/// An MTD character device.
struct Mtd {
    file: File,
    kind: u8,
    size: u32,
    erase_size: u32,
}

impl Mtd {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_SYNC).open(path)?;
        let (kind, size, erase_size) = sys::mtd_info(&file)?;
        Ok(Self { file, kind, size, erase_size })
    }
}

impl Flash for Mtd {
    fn erase_size(&self) -> u64 {
        self.erase_size.into()
    }

    fn is_nor(&self) -> bool {
        self.kind == MTD_NOR
    }

    fn is_bad(&mut self, offset: u64) -> io::Result<bool> {
        if offset >= u64::from(self.size) {
            return Err(io::Error::other("the environment reaches beyond the end of the flash"));
        }
        match sys::mtd_is_bad(&self.file, i64::try_from(offset).map_err(io::Error::other)?) {
            // NOR flash has no bad blocks and does not know the question.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(false),
            other => other,
        }
    }

    fn read_at(&mut self, offset: u64, to: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(to, offset)
    }

    fn erase(&mut self, offset: u64) -> io::Result<()> {
        let start = u32::try_from(offset).map_err(io::Error::other)?;
        if self.is_nor() {
            // Most need no permission, and say so by an error; a block that stays locked fails to be erased.
            let _ = sys::mtd_unlock(&self.file, start, self.erase_size);
        }
        sys::mtd_erase(&self.file, start, self.erase_size)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }
}
