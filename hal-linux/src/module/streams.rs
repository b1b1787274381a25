//! `Download`: the payload goes to the module through FIFOs, or into files (MODULE-30 to MODULE-37).
//!
//! ```text
//!  Between --stream-next has a reader: name written--> Opening --streams/<name> has a reader--> Streaming
//!     ^  |                                                                                       |
//!     |  |                                        file complete                                  |
//!     +--|---------------------------------------------------------------------------------------+
//!        +--no more files, stream-next has a reader: closed unwritten--> Told --module exits 0--> done
//!        +--module exits 0 and never read stream-next--> Files <--> File                          done
//! ```
//!
//! Opening a FIFO for writing fails as long as it has no reader, and no descriptor reports when one comes: the client
//! tries again at intervals. The module's own output is read during every wait, so that a full pipe never stops it.

use std::fs::File;
use std::io::{self, ErrorKind, Seek};
use std::os::fd::OwnedFd;
use std::task::Poll;

use rustix::io::Errno;
use rustix::pipe::fcntl_setpipe_size;
use thimble_core::hal::{Exit, Stored};
use thimble_core::time::{Duration, Instant, earliest};

use super::ModuleError;
use super::mark::Mark;
use super::names::is_plain;
use super::tree::{STREAM_NEXT, Tree, create_file, free_space};
use crate::SharedLog;
use crate::process::{Process, log_output};
use crate::wait::{Backoff, PollSet};

/// Files of at least this size get a large pipe. Smaller files keep the kernel's 64 KiB, because a module that does not
/// read a file to its end is only noticed when the rest does not fit into the pipe.
const LARGE_FILE: u64 = 4 * 1024 * 1024;
const LARGE_PIPE: usize = 1024 * 1024;

/// A running `Download` or `DownloadWithFileSizes`.
#[derive(Debug)]
pub(super) struct Download {
    process: Process,
    /// The payload type and the call, for messages.
    name: String,
    with_sizes: bool,
    exit: Option<Exit>,
    /// The module has opened `stream-next`. A module that has done so must read all files.
    has_read: bool,
    delivery: Delivery,
    retry: Backoff,
    /// What an earlier process stored of a file; taken when that file begins.
    kept: Option<Mark>,
    /// The last poll was pending. Only then are descriptors waited for: while the client waits for the network instead,
    /// nothing would read what they report, and the main loop would spin.
    waiting: bool,
}

#[derive(Debug)]
enum Delivery {
    Between,
    Opening {
        file: String,
    },
    Streaming {
        fifo: OwnedFd,
        file: String,
        left: u64,
    },
    Told,
    Files {
        dir: OwnedFd,
    },
    File {
        dir: OwnedFd,
        to: File,
        file: String,
        size: u64,
        left: u64,
        /// What `to` held at the beginning, as long as it was not read back.
        stored: Option<Stored>,
    },
    /// The download was given up. The FIFO stays open until the module has ended: if it were closed, the module would
    /// see an end of file and take the file for complete.
    Aborted {
        _fifo: Option<OwnedFd>,
    },
}

impl Download {
    pub(super) fn new(process: Process, name: String, with_sizes: bool, kept: Option<Mark>) -> Self {
        Self {
            process,
            name,
            with_sizes,
            exit: None,
            has_read: false,
            delivery: Delivery::Between,
            retry: Backoff::default(),
            kept,
            waiting: false,
        }
    }

    pub(super) fn poll_begin(
        &mut self,
        now: Instant,
        file: &str,
        size: u64,
        on: &On<'_>,
    ) -> Poll<Result<(), ModuleError>> {
        let poll = self.begin(now, file, size, on);
        self.note(poll)
    }

    pub(super) fn poll_write(
        &mut self,
        now: Instant,
        bytes: &[u8],
        on: &On<'_>,
    ) -> Poll<Result<usize, ModuleError>> {
        let poll = self.write(now, bytes, on);
        self.note(poll)
    }

    pub(super) fn poll_end(&mut self, now: Instant, on: &On<'_>) -> Poll<Result<(), ModuleError>> {
        let result = self.end(now, on);
        self.note(Poll::Ready(result))
    }

    pub(super) fn poll_finish(&mut self, now: Instant, on: &On<'_>) -> Poll<Result<(), ModuleError>> {
        let poll = self.finish(now, on);
        self.note(poll)
    }

    /// Waits for the module's process to end, after [`Download::abort`].
    pub(super) fn poll_exit(&mut self, now: Instant, on: &On<'_>) -> Poll<Exit> {
        let poll = self.drive(now, on).map_or(Poll::Pending, Poll::Ready);
        if poll.is_ready() {
            self.delivery = Delivery::Aborted { _fifo: None };
            // If this fails, `Cleanup` removes them together with the tree.
            let _ = on.tree.remove_streams();
        }
        self.note(poll)
    }

    pub(super) fn abort(&mut self) {
        let fifo = match std::mem::replace(&mut self.delivery, Delivery::Between) {
            Delivery::Streaming { fifo, .. } | Delivery::Aborted { _fifo: Some(fifo) } => Some(fifo),
            Delivery::Between
            | Delivery::Opening { .. }
            | Delivery::Told
            | Delivery::Files { .. }
            | Delivery::File { .. }
            | Delivery::Aborted { _fifo: None } => None,
        };
        self.delivery = Delivery::Aborted { _fifo: fifo };
    }

    pub(super) fn kill(&mut self, now: Instant, grace: Duration) {
        self.process.kill(now, grace);
    }

    pub(super) fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        if self.waiting {
            self.process.wants(set);
            if let Delivery::Streaming { fifo, .. } = &self.delivery {
                set.write(fifo);
            }
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        if !self.waiting {
            return None;
        }
        let retry = match self.delivery {
            Delivery::Between | Delivery::Opening { .. } => self.retry.at(),
            Delivery::Streaming { .. }
            | Delivery::Told
            | Delivery::Files { .. }
            | Delivery::File { .. }
            | Delivery::Aborted { .. } => None,
        };
        earliest(self.process.deadline(), retry)
    }

    fn begin(&mut self, now: Instant, file: &str, size: u64, on: &On<'_>) -> Poll<Result<(), ModuleError>> {
        if !is_plain(file) {
            return Poll::Ready(Err(ModuleError::FileName(file.escape_debug().to_string())));
        }
        if matches!(self.delivery, Delivery::Between) {
            match self.next_reader(now, on)? {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(next)) => {
                    self.announce(&next, file, size, on)?;
                    self.delivery = Delivery::Opening { file: file.to_owned() };
                }
                Poll::Ready(None) => {}
            }
        }
        match &self.delivery {
            Delivery::Opening { file: announced } if announced == file => self.open(now, file, size, on),
            Delivery::Files { .. } => Poll::Ready(self.create(file, size, on)),
            Delivery::Between
            | Delivery::Opening { .. }
            | Delivery::Streaming { .. }
            | Delivery::Told
            | Delivery::File { .. }
            | Delivery::Aborted { .. } => Poll::Ready(Err(ModuleError::Order)),
        }
    }

    /// Waits for a reader of `stream-next`. Ready with `None` when the module has ended with success without opening
    /// it: from then on the client stores the files in `files/`.
    fn next_reader(&mut self, now: Instant, on: &On<'_>) -> Result<Poll<Option<OwnedFd>>, ModuleError> {
        if let Some(exit) = self.drive(now, on) {
            if !exit.is_success() || self.has_read {
                return Err(self.ended(exit, "before it had read all files and the end of stream-next"));
            }
            on.tree.remove_streams().map_err(on.error("remove the streams of", None))?;
            let dir = on.tree.make_files().map_err(on.error("create files/ in", None))?;
            self.delivery = Delivery::Files { dir };
            return Ok(Poll::Ready(None));
        }
        if !self.retry.is_due(now) {
            return Ok(Poll::Pending);
        }
        let Some(next) = on.tree.open_stream_next().map_err(on.error("open stream-next in", None))? else {
            self.retry.again(now);
            return Ok(Poll::Pending);
        };
        self.has_read = true;
        self.retry = Backoff::default();
        Ok(Poll::Ready(Some(next)))
    }

    /// Makes the FIFO of the file and then tells the module its name. In the other order the module could try to open
    /// the FIFO before it exists.
    fn announce(&self, next: &OwnedFd, file: &str, size: u64, on: &On<'_>) -> Result<(), ModuleError> {
        on.tree.make_stream(file).map_err(on.error("create the stream of a file in", Some(file)))?;
        let line =
            if self.with_sizes { format!("streams/{file} {size}\n") } else { format!("streams/{file}\n") };
        // The line is shorter than PIPE_BUF and the pipe is empty, so the write takes all of it or fails.
        match rustix::io::write(next, line.as_bytes()) {
            Ok(n) if n == line.len() => Ok(()),
            Ok(_) | Err(Errno::PIPE) => Err(self.stopped_reading(STREAM_NEXT)),
            Err(errno) => Err(on.error("write stream-next in", None)(errno.into())),
        }
    }

    /// Waits for a reader of the announced file.
    fn open(&mut self, now: Instant, file: &str, size: u64, on: &On<'_>) -> Poll<Result<(), ModuleError>> {
        if let Some(exit) = self.drive(now, on) {
            return Poll::Ready(Err(self.ended(exit, "before it had read all files")));
        }
        if !self.retry.is_due(now) {
            return Poll::Pending;
        }
        let Some(fifo) =
            on.tree.open_stream(file).map_err(on.error("open the stream of a file in", Some(file)))?
        else {
            self.retry.again(now);
            return Poll::Pending;
        };
        if size >= LARGE_FILE {
            // A larger pipe is only faster. The call fails where the system's limit is lower, which does not matter.
            let _ = fcntl_setpipe_size(&fifo, LARGE_PIPE);
        }
        self.retry = Backoff::default();
        self.delivery = Delivery::Streaming { fifo, file: file.to_owned(), left: size };
        Poll::Ready(Ok(()))
    }

    fn create(&mut self, file: &str, size: u64, on: &On<'_>) -> Result<(), ModuleError> {
        let Delivery::Files { dir } = &self.delivery else { return Err(ModuleError::Order) };
        let mut stored = None;
        let adopted = match self.kept.take_if(|mark| mark.fits(file, size, on.whole)) {
            Some(mark) => {
                stored = Some(mark.stored);
                on.tree.adopt(dir, &mark).map_err(on.error("go on with", Some(file)))?
            }
            None => None,
        };
        let to = match adopted {
            Some(to) => to,
            None => {
                stored = None;
                // Checked before the first byte, so that an artifact that does not fit never fills a file system that
                // others use too.
                let free = free_space(dir).map_err(on.error("look at the space for", Some(file)))?;
                if let Some(free) = free.filter(|&free| size > free) {
                    let path = on.tree.file_path(file);
                    return Err(ModuleError::Space { path, needed: size, free });
                }
                create_file(dir, file).map_err(on.error("create", Some(file)))?
            }
        };
        let Delivery::Files { dir } = std::mem::replace(&mut self.delivery, Delivery::Between) else {
            return Err(ModuleError::Order);
        };
        self.delivery = Delivery::File { dir, to, file: file.to_owned(), size, left: size, stored };
        Ok(())
    }

    /// See [`thimble_core::hal::PayloadSink::stored`]; only for files that the client stores itself.
    pub(super) const fn stored(&self) -> Option<Stored> {
        match &self.delivery {
            Delivery::File { stored, .. } => *stored,
            Delivery::Between
            | Delivery::Opening { .. }
            | Delivery::Streaming { .. }
            | Delivery::Told
            | Delivery::Files { .. }
            | Delivery::Aborted { .. } => None,
        }
    }

    pub(super) fn read_stored(&mut self, to: &mut [u8], on: &On<'_>) -> Result<usize, ModuleError> {
        let Delivery::File { to: from, file, left, .. } = &mut self.delivery else {
            return Err(ModuleError::Order);
        };
        let read = rustix::io::retry_on_intr(|| rustix::io::read(&*from, &mut *to));
        let read = read.map_err(|errno| on.error("read back", Some(file))(errno.into()))?;
        *left = left.saturating_sub(read as u64);
        Ok(read)
    }

    pub(super) fn forget_stored(&mut self, on: &On<'_>) -> Result<(), ModuleError> {
        let Delivery::File { to, file, size, left, stored, .. } = &mut self.delivery else {
            return Err(ModuleError::Order);
        };
        (*left, *stored) = (*size, None);
        to.set_len(0).and_then(|()| to.rewind()).map_err(on.error("empty", Some(file)))
    }

    pub(super) fn mark(&self, sum: &[u8; 32], on: &On<'_>) -> Result<(), ModuleError> {
        let (Delivery::File { to, file, size, left, .. }, Some(whole)) = (&self.delivery, on.whole) else {
            // A module that reads streams gets all files again after a restart, so there is nothing to mark.
            return Ok(());
        };
        to.sync_data().map_err(on.error("flush", Some(file)))?;
        let stored = Stored { length: size.saturating_sub(*left), sum: *sum };
        let mark = Mark { name: file.clone(), stored, whole };
        on.tree.write_mark(&mark).map_err(on.error("mark how far it is stored:", Some(file)))
    }

    fn write(&mut self, now: Instant, bytes: &[u8], on: &On<'_>) -> Poll<Result<usize, ModuleError>> {
        let written = match &mut self.delivery {
            Delivery::Streaming { file, left, .. } | Delivery::File { file, left, .. }
                if bytes.len() as u64 > *left =>
            {
                return Poll::Ready(Err(ModuleError::Size(file.clone())));
            }
            Delivery::Streaming { fifo, .. } => rustix::io::retry_on_intr(|| rustix::io::write(&fifo, bytes)),
            Delivery::File { to, .. } => rustix::io::retry_on_intr(|| rustix::io::write(&to, bytes)),
            Delivery::Between
            | Delivery::Opening { .. }
            | Delivery::Told
            | Delivery::Files { .. }
            | Delivery::Aborted { .. } => {
                return Poll::Ready(Err(ModuleError::Order));
            }
        };
        match (written, &mut self.delivery) {
            (Ok(n), Delivery::Streaming { left, .. } | Delivery::File { left, .. })
                if n > 0 || bytes.is_empty() =>
            {
                *left = left.saturating_sub(n as u64);
                Poll::Ready(Ok(n))
            }
            (Ok(_), delivery) => {
                let error = ErrorKind::WriteZero.into();
                Poll::Ready(Err(on.error("write", delivery.file())(error)))
            }
            (Err(Errno::AGAIN), _) => match self.drive(now, on) {
                Some(exit) => Poll::Ready(Err(self.ended(exit, "while a file was sent to it"))),
                None => Poll::Pending,
            },
            (Err(Errno::PIPE), _) => {
                let file = self.delivery.file().unwrap_or_default().to_owned();
                Poll::Ready(Err(match self.drive(now, on) {
                    Some(exit) => self.ended(exit, "while a file was sent to it"),
                    None => self.stopped_reading(&format!("streams/{file}")),
                }))
            }
            (Err(errno), delivery) => Poll::Ready(Err(on.error("write", delivery.file())(errno.into()))),
        }
    }

    fn end(&mut self, now: Instant, on: &On<'_>) -> Result<(), ModuleError> {
        if let Delivery::Streaming { .. } = &self.delivery
            && let Some(exit) = self.drive(now, on)
        {
            return Err(self.ended(exit, "while a file was sent to it"));
        }
        match std::mem::replace(&mut self.delivery, Delivery::Between) {
            Delivery::Streaming { left: 0, .. } => {}
            Delivery::File { left: 0, dir, .. } => self.delivery = Delivery::Files { dir },
            delivery @ (Delivery::Streaming { .. } | Delivery::File { .. }) => {
                let error = ModuleError::Size(delivery.file().unwrap_or_default().to_owned());
                // The FIFO stays open: see `Delivery::Aborted`.
                self.delivery = delivery;
                return Err(error);
            }
            delivery @ (Delivery::Between
            | Delivery::Opening { .. }
            | Delivery::Told
            | Delivery::Files { .. }
            | Delivery::Aborted { .. }) => {
                self.delivery = delivery;
                return Err(ModuleError::Order);
            }
        }
        Ok(())
    }

    fn finish(&mut self, now: Instant, on: &On<'_>) -> Poll<Result<(), ModuleError>> {
        if matches!(self.delivery, Delivery::Between) {
            match self.next_reader(now, on)? {
                Poll::Pending => return Poll::Pending,
                // `stream-next` is closed without a line in it, which tells the module that all files were sent.
                Poll::Ready(Some(next)) => {
                    drop(next);
                    self.delivery = Delivery::Told;
                }
                Poll::Ready(None) => {}
            }
        }
        match &self.delivery {
            Delivery::Told => match self.drive(now, on) {
                None => return Poll::Pending,
                Some(exit) if !exit.is_success() => {
                    return Poll::Ready(Err(self.ended(exit, "after it had read all files")));
                }
                Some(_) => on.tree.remove_streams().map_err(on.error("remove the streams of", None))?,
            },
            Delivery::Files { .. } => {}
            Delivery::Between
            | Delivery::Opening { .. }
            | Delivery::Streaming { .. }
            | Delivery::File { .. }
            | Delivery::Aborted { .. } => return Poll::Ready(Err(ModuleError::Order)),
        }
        Poll::Ready(on.tree.flush().map_err(on.error("flush", None)))
    }

    /// Reads the module's output and returns how the module ended, once it has.
    fn drive(&mut self, now: Instant, on: &On<'_>) -> Option<Exit> {
        if self.exit.is_none()
            && let Poll::Ready(exit) = self.process.poll(now, &mut log_output(on.log, &self.name))
        {
            self.exit = Some(exit);
        }
        self.exit
    }

    fn note<T>(&mut self, poll: Poll<T>) -> Poll<T> {
        self.waiting = poll.is_pending();
        poll
    }

    fn ended(&self, exit: Exit, when: &'static str) -> ModuleError {
        ModuleError::Ended { module: self.name.clone(), exit, when }
    }

    fn stopped_reading(&self, what: &str) -> ModuleError {
        ModuleError::StoppedReading { module: self.name.clone(), what: what.to_owned() }
    }
}

impl Delivery {
    fn file(&self) -> Option<&str> {
        match self {
            Self::Opening { file } | Self::Streaming { file, .. } | Self::File { file, .. } => Some(file),
            Self::Between | Self::Told | Self::Files { .. } | Self::Aborted { .. } => None,
        }
    }
}

/// What a download uses besides its own state.
pub(super) struct On<'a> {
    pub(super) tree: &'a Tree,
    pub(super) log: &'a SharedLog,
    /// The digest of the current file, from the manifest.
    pub(super) whole: Option<[u8; 32]>,
}

impl On<'_> {
    fn error(
        &self,
        doing: &'static str,
        file: Option<&str>,
    ) -> impl FnOnce(io::Error) -> ModuleError + use<> {
        let path = file.map_or_else(|| self.tree.path().to_owned(), |file| self.tree.file_path(file));
        move |error| ModuleError::Io { doing, path, error }
    }
}
