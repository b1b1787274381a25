//! Root file systems in two slots on Linux: finding them, and writing an image into the one that does not run.

mod medium;
pub mod slot;
mod writer;

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::task::Poll;
use std::thread::JoinHandle;

use rustix::fs::{Mode, OFlags, fsync, openat, renameat};
use thimble_core::hal::{self, ErrorType, Kind, Level, PayloadSink, Slot, Slots, Stored, TreeFacts};
use thimble_core::time::Instant;

use self::slot::{Machine, Parts, Roots, SlotError};
use self::writer::{BUFFER, Buffer, Writer, read_all};
pub use self::writer::{Options, Summary};
use crate::SharedLog;
use crate::fsat::{kind_of, open_dir};
use crate::module::{MARK_EVERY, Mark, Tree};
use crate::wait::PollSet;

/// In the work tree's `tmp/`: the slot that ran before the update, as `A` or `B` and a check value.
const MEMO: &str = "rootfs-slot";
const MEMO_NEW: &str = "rootfs-slot.new";

/// The two slots of a Linux device, and the work tree of the update.
pub struct LinuxSlots {
    machine: Machine,
    parts: Parts,
    options: Options,
    tree: Tree,
    log: SharedLog,
    aimed: Option<(Slot, Roots)>,
    /// The digest that the next image must have.
    expected: Option<[u8; 32]>,
    /// What an earlier process wrote of an image.
    kept: Option<Mark>,
    begun: Option<Begun>,
    writer: Option<Writer>,
    /// A thread that hangs in a medium and could still write to it.
    hanging: Option<JoinHandle<()>>,
}

/// An image of which this process has written nothing yet; the slot may already hold its first part.
struct Begun {
    medium: Box<dyn medium::Medium>,
    size: u64,
    stored: Option<Stored>,
    /// How many bytes were read back. The image continues after them.
    read: u64,
    buffer: Buffer,
    /// The unread part of the buffer.
    rest: (usize, usize),
}

impl Begun {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.rest.0 == self.rest.1 {
            let left = self.stored.map_or(0, |stored| stored.length.saturating_sub(self.read));
            let length = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            // Marks are at whole buffers, and so at whole sectors.
            read_all(self.medium.as_mut(), self.read, &mut self.buffer.all()[..length])?;
            self.rest = (0, length);
        }
        let (from, end) = self.rest;
        let length = to.len().min(end - from);
        to[..length].copy_from_slice(&self.buffer.all()[from..from + length]);
        self.rest.0 += length;
        self.read += length as u64;
        Ok(length)
    }
}

impl LinuxSlots {
    /// The work tree is in `datastore`, where update modules have theirs.
    ///
    /// # Errors
    /// When `datastore` cannot be made absolute.
    pub fn new(
        datastore: &Path,
        parts: Parts,
        machine: Machine,
        options: Options,
        log: SharedLog,
    ) -> io::Result<Self> {
        let tree = Tree::new(&std::path::absolute(datastore)?);
        Ok(Self {
            machine,
            parts,
            options,
            tree,
            log,
            aimed: None,
            expected: None,
            kept: None,
            begun: None,
            writer: None,
            hanging: None,
        })
    }

    /// Adds the descriptors that the next poll would read from or write to.
    pub fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        if let Some(writer) = &self.writer {
            writer.wants(set);
        }
    }

    /// Ends what is being written.
    fn let_go(&mut self) {
        if let Some(hanging) = self.writer.take().and_then(Writer::let_go) {
            self.hanging = Some(hanging);
        }
    }

    fn open(&mut self, size: u64) -> Result<Begun, RootfsIo> {
        if self.hanging.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return Err(RootfsIo::Hangs);
        }
        self.hanging = None;
        let (slot, roots) = self.aimed.as_ref().ok_or(RootfsIo::Order)?;
        let device = roots.device(*slot);
        let failed = |error| RootfsIo::Io { doing: "write", path: device.path.clone(), error };
        let capacity = if device.is_ubi {
            Some(self.machine.ubi_capacity(device.device).map_err(failed)?)
        } else {
            None
        };
        // The running root is determined in two ways, by the mount table and by the slots. Each alone would be enough.
        let running = [roots.root_device, Some(roots.device(roots.running).device)];
        if running.contains(&Some(device.device)) {
            return Err(RootfsIo::Running(device.path.clone()));
        }
        let medium = medium::open(device, roots.root_device, capacity).map_err(failed)?;
        let kept = self.kept.take().filter(|mark| mark.fits(&mark_name(*slot), size, self.expected));
        let stored = kept.map(|mark| mark.stored).filter(|stored| {
            stored.length.is_multiple_of(BUFFER as u64)
                && stored.length <= medium.size()
                && !medium.is_sequential()
        });
        let log = &self.log;
        log.borrow_mut()
            .log(Level::Info, format_args!("writing {size} bytes to slot {slot}, {}", device.path.display()));
        Ok(Begun { medium, size, stored, read: 0, buffer: Buffer::new(BUFFER), rest: (0, 0) })
    }

    /// The writer, started with the first byte that is new.
    fn writer(&mut self) -> Result<&mut Writer, RootfsIo> {
        if let (Some(begun), Some((slot, _))) = (self.begun.take(), &self.aimed) {
            let (tree, name, whole) = (self.tree.clone(), mark_name(*slot), self.expected);
            let marker = move |length, sum| match whole {
                Some(whole) => {
                    tree.write_mark(&Mark { name: name.clone(), stored: Stored { length, sum }, whole })
                }
                None => Ok(()),
            };
            let Begun { medium, size, read, .. } = begun;
            let writer = Writer::start_at(read, medium, size, self.expected, self.options, Box::new(marker));
            self.writer = Some(writer.map_err(|error| self.failed(error))?);
        }
        self.writer.as_mut().ok_or(RootfsIo::Order)
    }

    fn failed(&self, error: io::Error) -> RootfsIo {
        let aimed = self.aimed.as_ref();
        let path = aimed.map_or_else(PathBuf::new, |(slot, roots)| roots.device(*slot).path.clone());
        RootfsIo::Io { doing: "write", path, error }
    }

    fn tmp(&self) -> io::Result<OwnedFd> {
        open_dir(self.tree.open()?, "tmp")
    }

    fn write_memo(&self, running: Slot) -> io::Result<()> {
        let tmp = self.tmp()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&tmp, MEMO_NEW, flags, Mode::RUSR | Mode::WUSR)?;
        let mut file = std::fs::File::from(file);
        io::Write::write_all(&mut file, memo(running).as_bytes())?;
        file.sync_all()?;
        renameat(&tmp, MEMO_NEW, &tmp, MEMO)?;
        Ok(fsync(&tmp)?)
    }

    fn read_memo(&self) -> io::Result<Option<Slot>> {
        let tmp = match self.tmp() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match openat(&tmp, MEMO, flags, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            other => std::fs::File::from(other?),
        };
        let mut text = String::new();
        io::Read::read_to_string(&mut io::Read::take(file, 64), &mut text)?;
        let slot = [Slot::A, Slot::B].into_iter().find(|&slot| memo(slot) == text);
        slot.map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "is damaged"))
    }
}

/// What holds a part of an image, in a mark.
fn mark_name(slot: Slot) -> String {
    format!("slot {slot}")
}

/// Its text; the check value tells a damaged one from a whole one.
fn memo(slot: Slot) -> String {
    let name = slot.to_string();
    format!("{name} {:08x}\n", crc32fast::hash(name.as_bytes()))
}

impl ErrorType for LinuxSlots {
    type Error = RootfsIo;
}

impl PayloadSink for LinuxSlots {
    fn expect(&mut self, sha256: &[u8; 32]) {
        self.expected = Some(*sha256);
    }

    fn poll_begin(&mut self, _now: Instant, _name: &str, size: u64) -> Poll<Result<(), RootfsIo>> {
        // An image that does not fit is refused before anything of the slot is looked at (B5).
        Poll::Ready(self.open(size).and_then(|begun| {
            if begun.stored.is_some() && size <= begun.medium.size() {
                self.begun = Some(begun);
                return Ok(());
            }
            self.begun = Some(Begun { stored: None, ..begun });
            self.writer().map(drop)
        }))
    }

    fn poll_write(&mut self, now: Instant, bytes: &[u8]) -> Poll<Result<usize, RootfsIo>> {
        let polled = self.writer()?.poll_write(now, bytes);
        polled.map_err(|error| self.failed(error))
    }

    fn poll_end(&mut self, _now: Instant) -> Poll<Result<(), RootfsIo>> {
        let ended = self.writer()?.end();
        Poll::Ready(ended.map_err(|error| self.failed(error)))
    }

    fn mark_every(&self) -> u64 {
        // Only whole buffers can be marked.
        MARK_EVERY.next_multiple_of(BUFFER as u64)
    }

    fn mark(&mut self, sha256: &[u8; 32]) -> Result<(), RootfsIo> {
        self.writer()?.mark(*sha256);
        Ok(())
    }

    fn stored(&mut self) -> Option<Stored> {
        self.begun.as_ref().and_then(|begun| begun.stored)
    }

    fn read_stored(&mut self, to: &mut [u8]) -> Result<usize, RootfsIo> {
        let read = self.begun.as_mut().ok_or(RootfsIo::Order)?.read(to);
        read.map_err(|error| self.failed(error))
    }

    fn forget_stored(&mut self) -> Result<(), RootfsIo> {
        let begun = self.begun.as_mut().ok_or(RootfsIo::Order)?;
        (begun.read, begun.stored, begun.rest) = (0, None, (0, 0));
        Ok(())
    }

    fn poll_finish(&mut self, now: Instant) -> Poll<Result<(), RootfsIo>> {
        let polled = match self.writer.as_mut().map(|writer| writer.poll_finish(now)) {
            Some(polled) => polled.map_err(|error| self.failed(error)),
            None => return Poll::Ready(Err(RootfsIo::Order)),
        };
        let Poll::Ready(result) = polled else { return Poll::Pending };
        self.let_go();
        // A rollback after a power loss needs the work tree.
        let result =
            result.and_then(|summary| self.tree.flush().map_err(self.tree_error("flush")).map(|()| summary));
        Poll::Ready(result.map(|Summary { image, written, same, zeroed }| {
            let verified = if self.options.verify { "read back and right" } else { "not read back" };
            self.log.borrow_mut().log(
                Level::Info,
                format_args!(
                    "the slot holds the image: {image} bytes, of which {written} were written, {same} were there, \
                     {zeroed} are zeros; {verified}"
                ),
            );
        }))
    }

    fn abort(&mut self) {
        self.begun = None;
        if let Some(writer) = &mut self.writer {
            writer.stop();
        }
    }
}

impl Slots for LinuxSlots {
    fn aim(&mut self, slot: Slot) -> Result<(), RootfsIo> {
        self.let_go();
        self.begun = None;
        self.aimed = Some((slot, self.machine.roots(&self.parts).map_err(RootfsIo::Slot)?));
        Ok(())
    }

    fn check(&mut self, slot: Slot) -> Result<(), RootfsIo> {
        let roots = self.machine.roots(&self.parts).map_err(RootfsIo::Slot)?;
        let device = roots.device(slot);
        if !device.is_ubi {
            return Ok(());
        }
        match self.machine.ubi_update_is_incomplete(device.device) {
            Ok(false) => Ok(()),
            Ok(true) => Err(RootfsIo::Incomplete(device.path.clone())),
            Err(error) => Err(RootfsIo::Io { doing: "check", path: device.path.clone(), error }),
        }
    }

    fn poll_idle(&mut self, now: Instant) -> Poll<()> {
        let idle = self.writer.as_mut().map_or(Poll::Ready(()), |writer| writer.poll_idle(now));
        if idle.is_ready() {
            self.let_go();
        }
        idle
    }

    fn deadline(&self) -> Option<Instant> {
        self.writer.as_ref().and_then(Writer::deadline)
    }

    fn prepare(&mut self, facts: &TreeFacts<'_>) -> Result<(), RootfsIo> {
        self.let_go();
        self.begun = None;
        self.aimed = None;
        self.kept = None;
        self.tree.build(facts).map_err(self.tree_error("build the work tree"))
    }

    fn prepare_again(&mut self, facts: &TreeFacts<'_>) -> Result<(), RootfsIo> {
        self.let_go();
        self.begun = None;
        self.aimed = None;
        self.kept = self.tree.build_again(facts).map_err(self.tree_error("build the work tree"))?;
        Ok(())
    }

    fn remember(&mut self, running: Slot) -> Result<(), RootfsIo> {
        self.write_memo(running).map_err(self.tree_error("note the running slot in"))
    }

    fn remembered(&mut self) -> Result<Option<Slot>, RootfsIo> {
        self.read_memo().map_err(self.tree_error("read the slot noted in"))
    }

    fn has_tree(&mut self) -> bool {
        self.tree.exists()
    }

    fn is_clean(&mut self) -> bool {
        !self.tree.exists() && !self.tree.has_kept()
    }

    fn remove(&mut self) -> Result<(), RootfsIo> {
        self.let_go();
        self.begun = None;
        self.tree.remove().map_err(self.tree_error("remove"))
    }

    fn warn(&mut self, message: fmt::Arguments<'_>) {
        self.log.borrow_mut().log(Level::Warning, message);
    }
}

impl LinuxSlots {
    fn tree_error(&self, doing: &'static str) -> impl FnOnce(io::Error) -> RootfsIo + use<> {
        let path = self.tree.path().to_owned();
        move |error| RootfsIo::Io { doing, path, error }
    }
}

/// Why a slot could not be used.
#[derive(Debug)]
#[expect(missing_docs, reason = "the fields are said by the variants")]
pub enum RootfsIo {
    /// The slots are not known.
    Slot(SlotError),
    /// It holds the running system.
    Running(PathBuf),
    /// The update of a UBI volume was interrupted.
    Incomplete(PathBuf),
    /// An earlier write has not ended, and could still change the slot.
    Hangs,
    /// A call came out of order: no slot is open.
    Order,
    /// The operating system refused.
    Io { doing: &'static str, path: PathBuf, error: io::Error },
}

impl fmt::Display for RootfsIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slot(error) => error.fmt(f),
            Self::Running(path) => {
                write!(f, "{} holds the running root file system and is not written", path.display())
            }
            Self::Incomplete(path) => {
                write!(f, "the image in {} is not complete: its update was interrupted", path.display())
            }
            Self::Hangs => f.write_str(
                "an earlier write to the slot hangs in the medium and could still change it; restart the device",
            ),
            Self::Order => f.write_str("no slot is open for this"),
            Self::Io { doing, path, error } => write!(f, "cannot {doing} {}: {error}", path.display()),
        }
    }
}

impl hal::Error for RootfsIo {
    fn kind(&self) -> Kind {
        match self {
            Self::Slot(error) => error.kind(),
            Self::Running(_) => Kind::Refused,
            Self::Incomplete(_) => Kind::Corrupt,
            Self::Hangs | Self::Order => Kind::Other,
            Self::Io { error, .. } => kind_of(error),
        }
    }
}
