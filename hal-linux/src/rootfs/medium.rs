//! The devices that an image can be written to.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{Advice, FallocateFlags, SeekFrom, fadvise, fallocate, ioctl_blksszget, seek};

use super::slot::SlotDevice;
use crate::sys;

/// Buffers begin at multiples of this: enough for direct access to any device.
pub(super) const ALIGNMENT: usize = 4096;

/// A slot that is open for writing. Offsets and lengths are multiples of [`Self::sector`].
pub(super) trait Medium: Send {
    /// The size in bytes.
    fn size(&self) -> u64;

    /// Smallest unit of reads and writes.
    fn sector(&self) -> usize;

    /// Whether an image must be written in one go from the first byte to the last, without reading or skipping
    /// anything.
    fn is_sequential(&self) -> bool {
        false
    }

    /// Before the first write of an image of `length` bytes.
    fn begin(&mut self, length: u64) -> io::Result<()>;

    /// Reads some bytes; 0 only at the end.
    fn read_at(&mut self, offset: u64, to: &mut [u8]) -> io::Result<usize>;

    /// Writes some of `bytes`.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<usize>;

    /// Makes zeros without writing them; false when that is not possible here.
    fn zero(&mut self, offset: u64, length: u64) -> io::Result<bool>;

    /// Everything written is durable. After an error never asked again: a success would mean nothing (B6).
    fn flush(&mut self) -> io::Result<()>;
}

/// Opens `device` for writing; nothing is changed yet, and nothing is ever created (B4).
///
/// `running`: the device of the running root, which is never opened (B8).
pub(super) fn open(
    device: &SlotDevice,
    running: Option<u64>,
    capacity: Option<u64>,
) -> io::Result<Box<dyn Medium>> {
    if let Some(size) = capacity {
        let volume = Volume { path: device.path.clone(), size, open: None, read: None };
        return if Some(device.device) == running { Err(is_running()) } else { Ok(Box::new(volume)) };
    }
    // O_EXCL on a device: opening fails if it is mounted or exclusively opened by another process.
    let file = exclusive(&device.path)?;
    let found = file.metadata()?;
    if !found.file_type().is_block_device() {
        return Err(io::Error::other("is no block device"));
    }
    // What the name led to when the slots were looked up may have changed.
    if found.rdev() != device.device || Some(found.rdev()) == running {
        return Err(is_running());
    }
    Ok(Box::new(Block::new(file)?))
}

/// Programs that look at devices (those of udev, say) hold them for moments: tried for a second.
fn exclusive(path: &Path) -> io::Result<File> {
    for _ in 0..20 {
        match direct(path, libc::O_EXCL) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => sleep(Duration::from_millis(50)),
            other => return other,
        }
    }
    direct(path, libc::O_EXCL).map_err(|error| match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES | libc::EROFS) => said(&error, "is it read-only?"),
        Some(libc::EBUSY) => said(&error, "it is mounted, or another program holds it"),
        _ => error,
    })
}

/// The error, and what it may be about.
fn said(error: &io::Error, what: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{error}: {what}"))
}

fn is_running() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "is not the slot that does not run; it is not written")
}

/// Without the page cache; with it where the file system of a test's file cannot do without.
fn direct(path: &Path, flags: i32) -> io::Result<File> {
    let open =
        |flags| OpenOptions::new().read(true).write(true).custom_flags(flags | libc::O_CLOEXEC).open(path);
    match open(flags | libc::O_DIRECT) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => open(flags),
        other => other,
    }
}

struct Block {
    file: File,
    size: u64,
    sector: usize,
    zeroes: bool,
}

impl Block {
    fn new(file: File) -> io::Result<Self> {
        let size = seek(&file, SeekFrom::End(0))?;
        let sector =
            if file.metadata()?.file_type().is_block_device() { ioctl_blksszget(&file)? } else { 512 };
        let sector = usize::try_from(sector).map_err(io::Error::other)?;
        if !sector.is_power_of_two() || sector > ALIGNMENT {
            return Err(io::Error::other(format!("has sectors of {sector} bytes, which is not supported")));
        }
        if size == 0 {
            return Err(io::Error::other("has no bytes: there is no medium in it, or nothing behind it"));
        }
        Ok(Self { file, size, sector, zeroes: true })
    }
}

impl Medium for Block {
    fn size(&self) -> u64 {
        self.size
    }

    fn sector(&self) -> usize {
        self.sector
    }

    fn begin(&mut self, _length: u64) -> io::Result<()> {
        Ok(())
    }

    fn read_at(&mut self, offset: u64, to: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(to, offset)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }

    fn zero(&mut self, offset: u64, length: u64) -> io::Result<bool> {
        let flags = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
        self.zeroes = self.zeroes && fallocate(&self.file, flags, offset, length).is_ok();
        Ok(self.zeroes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        // What is read back comes from the medium, also where direct access was refused. Only a hint.
        let _ = fadvise(&self.file, 0, None, Advice::DontNeed);
        Ok(())
    }
}

/// A UBI volume: an update of exactly so many bytes, marked as incomplete until the last of them is written.
struct Volume {
    path: PathBuf,
    size: u64,
    open: Option<File>,
    read: Option<File>,
}

impl Medium for Volume {
    fn size(&self) -> u64 {
        self.size
    }

    fn sector(&self) -> usize {
        1
    }

    fn is_sequential(&self) -> bool {
        true
    }

    fn begin(&mut self, length: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).custom_flags(libc::O_CLOEXEC).open(&self.path)?;
        sys::ubi_start_update(&file, i64::try_from(length).map_err(io::Error::other)?)?;
        self.open = Some(file);
        Ok(())
    }

    fn read_at(&mut self, offset: u64, to: &mut [u8]) -> io::Result<usize> {
        if self.read.is_none() {
            self.read = Some(File::open(&self.path)?);
        }
        self.read.as_ref().map_or(Ok(0), |file| file.read_at(to, offset))
    }

    fn write_at(&mut self, _offset: u64, bytes: &[u8]) -> io::Result<usize> {
        self.open.as_mut().map_or(Err(io::ErrorKind::BrokenPipe.into()), |file| file.write(bytes))
    }

    fn zero(&mut self, _offset: u64, _length: u64) -> io::Result<bool> {
        Ok(false)
    }

    fn flush(&mut self) -> io::Result<()> {
        // The last byte completed the update.
        self.open = None;
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod fault {
    //! A medium in memory that fails where a test says.

    use std::sync::{Arc, Mutex};

    use super::*;

    /// What it holds and what was done to it.
    #[derive(Debug, Default)]
    pub(crate) struct State {
        pub(crate) content: Vec<u8>,
        pub(crate) written: u64,
        pub(crate) writes: u32,
        pub(crate) flushes: u32,
        pub(crate) zeroed: u64,
        /// The next write after so many fails with this error.
        pub(crate) fail_write: Option<(u32, i32)>,
        pub(crate) fail_flush: Option<i32>,
        pub(crate) fail_read: Option<i32>,
        /// Each write takes at most so many bytes.
        pub(crate) short: Option<usize>,
        /// Every other call is interrupted.
        pub(crate) interrupts: bool,
        interrupted: bool,
        /// This byte of the medium becomes wrong.
        pub(crate) rot: Option<usize>,
        pub(crate) sequential: bool,
        pub(crate) no_zero: bool,
    }

    #[derive(Clone)]
    pub(crate) struct Fault(pub(crate) Arc<Mutex<State>>);

    impl Fault {
        pub(crate) fn new(size: usize) -> Self {
            // Not zeros, so that zeros are seen.
            Self(Arc::new(Mutex::new(State { content: vec![0xa5; size], ..State::default() })))
        }

        fn interrupt(state: &mut State) -> io::Result<()> {
            state.interrupted = state.interrupts && !state.interrupted;
            if state.interrupted { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
        }
    }

    impl Medium for Fault {
        fn size(&self) -> u64 {
            self.0.lock().unwrap().content.len() as u64
        }

        fn sector(&self) -> usize {
            if self.is_sequential() { 1 } else { 512 }
        }

        fn is_sequential(&self) -> bool {
            self.0.lock().unwrap().sequential
        }

        fn begin(&mut self, _length: u64) -> io::Result<()> {
            Ok(())
        }

        fn read_at(&mut self, offset: u64, to: &mut [u8]) -> io::Result<usize> {
            let mut state = self.0.lock().unwrap();
            Self::interrupt(&mut state)?;
            if let Some(code) = state.fail_read {
                return Err(io::Error::from_raw_os_error(code));
            }
            if !state.sequential {
                assert!(offset.is_multiple_of(512) && to.len().is_multiple_of(512), "unaligned read");
                assert_eq!(to.as_ptr().addr() % 512, 0);
            }
            let from = usize::try_from(offset).unwrap().min(state.content.len());
            let length = to.len().min(state.content.len() - from).min(state.short.unwrap_or(usize::MAX));
            to[..length].copy_from_slice(&state.content[from..from + length]);
            Ok(length)
        }

        fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
            let mut state = self.0.lock().unwrap();
            Self::interrupt(&mut state)?;
            if !state.sequential {
                assert!(offset.is_multiple_of(512) && bytes.len().is_multiple_of(512), "unaligned write");
                assert_eq!(bytes.as_ptr().addr() % 512, 0);
            }
            if let Some((0, code)) = state.fail_write {
                return Err(io::Error::from_raw_os_error(code));
            }
            if let Some((left, _)) = &mut state.fail_write {
                *left -= 1;
            }
            let from = usize::try_from(offset).unwrap();
            let length = bytes.len().min(state.short.unwrap_or(usize::MAX));
            assert!(from + length <= state.content.len(), "a write beyond the end");
            state.content[from..from + length].copy_from_slice(&bytes[..length]);
            state.written += length as u64;
            state.writes += 1;
            Ok(length)
        }

        fn zero(&mut self, offset: u64, length: u64) -> io::Result<bool> {
            let mut state = self.0.lock().unwrap();
            if state.no_zero {
                return Ok(false);
            }
            let from = usize::try_from(offset).unwrap();
            state.content[from..from + usize::try_from(length).unwrap()].fill(0);
            state.zeroed += length;
            Ok(true)
        }

        fn flush(&mut self) -> io::Result<()> {
            let mut state = self.0.lock().unwrap();
            state.flushes += 1;
            if let Some(at) = state.rot {
                state.content[at] ^= 1;
            }
            match state.fail_flush {
                Some(code) => Err(io::Error::from_raw_os_error(code)),
                None => Ok(()),
            }
        }
    }
}
