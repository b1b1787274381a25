//! Writes lines without ever blocking the client: if the reader has stopped reading, lines are dropped.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Stderr, Stdout};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FileType, OFlags, fstat};
use rustix::io::Errno;
use rustix::pipe::PIPE_BUF;
use thimble_core::hal::Clock;
use thimble_core::time::{Duration, Instant};

use crate::clock::BootClock;
use crate::wait::PollSet;

/// How long a write waits for room; the time starts again whenever some bytes were written. A reader that is only slow
/// has made room by then.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long a write may take in all: a slow serial line needs seconds for a screenful.
const LONGEST: Duration = Duration::from_secs(10);

/// A descriptor that lines are written to. It may be a pipe, a terminal or a socket that other processes write to as
/// well, so it is not made non-blocking: before each write, poll(2) tells whether there is room for [`PIPE_BUF`] bytes.
/// Files and other devices are written without asking: they have no reader to wait for, and some, such as `/dev/kmsg`,
/// never report that there is room.
#[derive(Debug)]
pub struct Outlet {
    to: To,
    /// Whether a reader may have to make room before a write.
    has_reader: bool,
    /// The last write found no room in time. The next one does not wait for room.
    is_full: bool,
    /// The beginning of a line was written, but not its end.
    is_torn: bool,
}

#[derive(Debug)]
enum To {
    Stdout(Stdout),
    Stderr(Stderr),
    File(File),
}

impl Outlet {
    /// Standard output.
    #[must_use]
    pub fn stdout() -> Self {
        Self::shared(To::Stdout(io::stdout()))
    }

    /// Standard error.
    #[must_use]
    pub fn stderr() -> Self {
        Self::shared(To::Stderr(io::stderr()))
    }

    /// Opens and truncates a file. It may be a FIFO without a reader: lines go into it as long as it has room.
    pub fn create(path: &Path) -> io::Result<Self> {
        let is_fifo = std::fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo());
        let mut options = OpenOptions::new();
        // A FIFO is opened for reading as well: then opening does not wait for a reader, and writing does not fail
        // when the reader goes away for a while.
        options.write(true).read(is_fifo).create(!is_fifo).truncate(!is_fifo);
        let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
        let file = options.custom_flags(flags.cast_signed()).open(path)?;
        Ok(Self::new(To::File(file)))
    }

    /// A terminal reports room even when a whole line does not fit, and would then block. So it is opened a second
    /// time, non-blocking, for this outlet alone.
    fn shared(to: To) -> Self {
        let outlet = Self::new(to);
        let fd = outlet.fd();
        let own = if fd.is_terminal() {
            let mut options = OpenOptions::new();
            options.write(true).custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed());
            options.open(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()
        } else {
            None
        };
        own.map_or(outlet, |own| Self::new(To::File(own)))
    }

    fn new(to: To) -> Self {
        let mut outlet = Self { to, has_reader: true, is_full: false, is_torn: false };
        let kind = fstat(outlet.fd()).map(|found| FileType::from_raw_mode(found.st_mode));
        outlet.has_reader = match kind {
            Ok(FileType::Fifo | FileType::Socket) => true,
            Ok(_) => outlet.fd().is_terminal(),
            Err(_) => false,
        };
        outlet
    }

    /// Writes one or more whole lines. Fails with [`io::ErrorKind::TimedOut`] when there was no room for too long, and
    /// after that fails at once until there is room again.
    pub fn write(&mut self, text: &[u8]) -> io::Result<()> {
        // The text is written in one piece: a pipe may consist of a single page, which any write, however short, takes.
        if self.is_torn { self.put(&[b"\n", text].concat()) } else { self.put(text) }
    }

    fn put(&mut self, text: &[u8]) -> io::Result<()> {
        let begun = BootClock.now();
        // If there was no room the last time, this write does not wait.
        let mut until = if self.is_full { begun } else { begun + PATIENCE };
        let mut rest = text;
        while !rest.is_empty() {
            let now = BootClock.now();
            let written = if self.is_ready(now, until)? {
                rustix::io::write(self.fd(), rest.get(..PIPE_BUF).unwrap_or(rest))
            } else {
                Err(Errno::AGAIN)
            };
            match written {
                Ok(written) => {
                    rest = rest.get(written..).unwrap_or_default();
                    until = earlier(BootClock.now() + PATIENCE, begun + LONGEST);
                }
                Err(Errno::INTR) => {}
                // Another process took the room, or the descriptor is non-blocking.
                Err(Errno::AGAIN) if now < until => {}
                Err(errno) => {
                    self.is_torn |= rest.len() < text.len();
                    self.is_full = errno == Errno::AGAIN;
                    return Err(if self.is_full { io::ErrorKind::TimedOut.into() } else { errno.into() });
                }
            }
        }
        (self.is_full, self.is_torn) = (false, false);
        Ok(())
    }

    fn is_ready(&self, now: Instant, until: Instant) -> io::Result<bool> {
        if !self.has_reader {
            return Ok(true);
        }
        let mut set = PollSet::new();
        let fd = self.fd();
        set.write(&fd);
        set.wait_ready(now, until)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match &self.to {
            To::Stdout(stdout) => stdout.as_fd(),
            To::Stderr(stderr) => stderr.as_fd(),
            To::File(file) => file.as_fd(),
        }
    }
}

fn earlier(a: Instant, b: Instant) -> Instant {
    if a < b { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
    use std::os::fd::OwnedFd;

    /// A pipe of one page, and an outlet into it.
    fn small_pipe() -> (OwnedFd, Outlet) {
        let (read, write) = rustix::pipe::pipe().unwrap();
        rustix::pipe::fcntl_setpipe_size(&write, PIPE_BUF).unwrap();
        (read, Outlet::new(To::File(write.into())))
    }

    fn read(fd: &OwnedFd, most: usize) -> String {
        let mut buf = vec![0; most];
        let read = rustix::io::read(fd, &mut buf).unwrap();
        String::from_utf8(buf[..read].to_vec()).unwrap()
    }

    #[test]
    fn a_full_pipe_takes_no_more_until_it_is_read() {
        let (reader, mut outlet) = small_pipe();
        let line = format!("{}\n", "x".repeat(PIPE_BUF - 1));
        outlet.write(line.as_bytes()).unwrap();
        for _ in 0..1000 {
            // Each of them half a second late would be eight minutes.
            assert_eq!(outlet.write(b"dropped\n").unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
        assert_eq!(read(&reader, PIPE_BUF), line);
        outlet.write(b"again\n").unwrap();
        assert_eq!(read(&reader, PIPE_BUF), "again\n");
    }

    #[test]
    fn a_line_that_was_cut_is_ended_before_the_next() {
        let (reader, mut outlet) = small_pipe();
        let line = format!("{}\n", "x".repeat(PIPE_BUF + 1));
        assert!(outlet.write(line.as_bytes()).is_err());
        assert_eq!(read(&reader, PIPE_BUF), line[..PIPE_BUF]);
        outlet.write(b"next\n").unwrap();
        assert_eq!(read(&reader, PIPE_BUF), "\nnext\n");
    }

    #[test]
    fn what_has_no_reader_is_written_though_poll_says_nothing() {
        let home = tempfile::tempdir().unwrap();
        for path in [home.path().join("file"), "/dev/null".into()] {
            let mut outlet = Outlet::create(&path).unwrap();
            assert!(!outlet.has_reader);
            outlet.write(b"a line\n").unwrap();
        }
        assert_eq!(std::fs::read(home.path().join("file")).unwrap(), b"a line\n");
    }

    #[test]
    fn a_reader_that_is_gone_is_an_error_at_once() {
        let (reader, mut outlet) = small_pipe();
        drop(reader);
        assert_eq!(outlet.write(b"x\n").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_slow_reader_gets_all_of_a_long_text() {
        let (reader, mut outlet) = small_pipe();
        let text = "line\n".repeat(2000);
        let slow = std::thread::spawn(move || {
            let mut all = String::new();
            loop {
                match read(&reader, 100) {
                    end if end.is_empty() => return all,
                    part => all.push_str(&part),
                }
            }
        });
        outlet.write(text.as_bytes()).unwrap();
        drop(outlet);
        assert_eq!(slow.join().unwrap(), text);
    }

    #[test]
    fn a_terminal_that_shows_nothing_any_more_holds_nobody_up() {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let mut options = OpenOptions::new();
        options.write(true).custom_flags(OFlags::NOCTTY.bits().cast_signed());
        let terminal = options.open(name.to_str().unwrap()).unwrap();
        let mut outlet = Outlet::shared(To::File(terminal.try_clone().unwrap()));
        let line = format!("{}\n", "x".repeat(1000));
        let full = (0..10_000).find_map(|_| outlet.write(line.as_bytes()).err());
        assert_eq!(full.map(|error| error.kind()), Some(io::ErrorKind::TimedOut));
        assert!(
            !rustix::fs::fcntl_getfl(&terminal).unwrap().contains(OFlags::NONBLOCK),
            "others have it too"
        );
    }

    #[test]
    fn a_fifo_without_reader_holds_nobody_up() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
        let mut outlet = Outlet::create(&path).unwrap();
        outlet.write(b"early\n").unwrap();
        let reader: OwnedFd = File::open(&path).unwrap().into();
        assert_eq!(read(&reader, 100), "early\n");
    }
}
