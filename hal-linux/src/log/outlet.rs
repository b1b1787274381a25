//! Where lines go that must not hold the client up: a reader that has stopped reading gets no more of them.

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

/// How long a text waits for room, anew whenever some of it went. A reader that is only slow has made some by then.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long a text may take in all: a slow serial line needs seconds for a screenful.
const LONGEST: Duration = Duration::from_secs(10);

/// A descriptor for lines. It may be a pipe, a terminal or a socket that others write to as well, so its flags stay
/// as they are: before each write, poll(2) says whether there is room for [`PIPE_BUF`] bytes. Files and other devices
/// do not wait for a reader, and some, like `/dev/kmsg`, never say that there is room.
#[derive(Debug)]
pub struct Outlet {
    to: To,
    /// It may have to be read by somebody before there is room.
    has_reader: bool,
    /// The last text found no room in time: the next does not wait.
    is_full: bool,
    /// The front of a line was written and its end was not.
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

    /// A file; what is in it is gone. A FIFO needs no reader yet: it keeps what it has room for.
    pub fn create(path: &Path) -> io::Result<Self> {
        let is_fifo = std::fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo());
        let mut options = OpenOptions::new();
        // Opening a FIFO for reading as well does not wait, and a reader that goes may come back.
        options.write(true).read(is_fifo).create(!is_fifo).truncate(!is_fifo);
        let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
        let file = options.custom_flags(flags.cast_signed()).open(path)?;
        Ok(Self::new(To::File(file)))
    }

    /// A terminal has room for less than it is given, and would then block: it is opened once more, for this alone.
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

    /// Writes a whole number of lines, or fails: with [`io::ErrorKind::TimedOut`] when there was no room for long
    /// enough, and at once as long as there is none after that.
    pub fn write(&mut self, text: &[u8]) -> io::Result<()> {
        // In one piece: a pipe may have a single place, whatever the length of what takes it.
        if self.is_torn { self.put(&[b"\n", text].concat()) } else { self.put(text) }
    }

    fn put(&mut self, text: &[u8]) -> io::Result<()> {
        let begun = BootClock.now();
        // Of what was full last time nothing is waited for.
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
                // Somebody else was quicker, or the descriptor does not wait by itself.
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
