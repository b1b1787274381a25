//! An artifact in a local file, or on a pipe.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::task::Poll;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use thimble_core::hal::{self, Kind};
use thimble_core::time::{Duration, Instant};

use crate::fsat::kind_of;
use crate::wait::PollSet;

/// An opened file or pipe to read an artifact from. A person or program feeds a pipe at its own pace, but not without end:
/// whoever reads says how long at most nothing may come.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    path: PathBuf,
    length: Option<u64>,
    /// Bytes of `length` still to come.
    left: Option<u64>,
    /// Nothing was there to be read: how long that may go on.
    deadline: Option<Instant>,
}

impl FileSource {
    /// Opens `path`, to be read from `offset` on.
    pub fn open(path: &Path, offset: u64) -> Result<Self, FileError> {
        let error = |error: io::Error| FileError { path: path.to_owned(), error };
        // Neither a FIFO without a writer nor a terminal may hold the client up.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let mut file = File::from(open(path, flags, Mode::empty()).map_err(|errno| error(errno.into()))?);
        let found = file.metadata().map_err(error)?;
        if found.is_dir() {
            return Err(error(io::ErrorKind::IsADirectory.into()));
        }
        if offset > 0 {
            file.seek(SeekFrom::Start(offset)).map_err(error)?;
        }
        let length = found.is_file().then(|| found.len().saturating_sub(offset));
        Ok(Self { file, path: path.to_owned(), length, left: length, deadline: None })
    }

    /// Bytes from the offset to the end; `None` for a pipe, which has no length.
    #[must_use]
    pub const fn length(&self) -> Option<u64> {
        self.length
    }

    /// Reads into `buf`. `Ok(0)` means the end of the file. A pipe that gives nothing for `patience`, from the first time that
    /// it is read and from each byte on, is an error.
    pub fn poll_read(
        &mut self,
        patience: Duration,
        now: Instant,
        buf: &mut [u8],
    ) -> Poll<Result<usize, FileError>> {
        let read = self.read(buf);
        match read {
            Poll::Ready(_) => self.deadline = None,
            Poll::Pending if now >= *self.deadline.get_or_insert(now + patience) => {
                self.deadline = None;
                return Poll::Ready(Err(self.error(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("it is no regular file, and nothing came out of it for {patience}"),
                ))));
            }
            Poll::Pending => {}
        }
        read
    }

    fn read(&mut self, buf: &mut [u8]) -> Poll<Result<usize, FileError>> {
        // Bytes that are appended to the file while it is read are not part of the artifact: its length was taken
        // when it was opened.
        let most = self.left.and_then(|left| usize::try_from(left).ok()).unwrap_or(usize::MAX);
        let most = most.min(buf.len());
        loop {
            return match self.file.read(&mut buf[..most]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
                Err(error) => Poll::Ready(Err(self.error(error))),
                Ok(0) if self.left.is_some_and(|left| left > 0) && most > 0 => {
                    let text = "it became shorter while it was read";
                    Poll::Ready(Err(self.error(io::Error::new(io::ErrorKind::UnexpectedEof, text))))
                }
                Ok(0) if self.left.is_none() && !self.is_at_end() => Poll::Pending,
                Ok(read) => {
                    let taken = u64::try_from(read).unwrap_or(u64::MAX);
                    self.left = self.left.map(|left| left.saturating_sub(taken));
                    Poll::Ready(Ok(read))
                }
            };
        }
    }

    /// Whether a pipe from which 0 bytes were read has ended. If no writer has opened it yet, it has not.
    fn is_at_end(&self) -> bool {
        let mut fds = [PollFd::new(&self.file, PollFlags::IN)];
        match poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(0) => false,
            Ok(_) | Err(_) => true,
        }
    }

    fn error(&self, error: io::Error) -> FileError {
        FileError { path: self.path.clone(), error }
    }

    /// When the wait for the next byte ends; `None`: there is none.
    #[must_use]
    pub const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Adds the descriptors that the next poll would read from or write to.
    pub fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        if self.deadline.is_some() {
            set.read(&self.file);
        }
    }
}

/// The file cannot be read.
#[derive(Debug)]
pub struct FileError {
    path: PathBuf,
    error: io::Error,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.error)
    }
}

impl hal::Error for FileError {
    fn kind(&self) -> Kind {
        kind_of(&self.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    const PATIENCE: Duration = Duration::from_secs(300);

    /// A read at the beginning of time.
    fn read_once(source: &mut FileSource, buf: &mut [u8]) -> Poll<Result<usize, FileError>> {
        source.poll_read(PATIENCE, Instant::ZERO, buf)
    }

    fn read_all(source: &mut FileSource) -> Vec<u8> {
        let (mut out, mut buf) = (Vec::new(), [0; 7]);
        while let Poll::Ready(Ok(length @ 1..)) = read_once(source, &mut buf) {
            out.extend(&buf[..length]);
        }
        out
    }

    #[test]
    fn a_file_is_read_from_an_offset() {
        let lab = tempfile::tempdir().unwrap();
        let path = lab.path().join("file");
        fs::write(&path, b"0123456789").unwrap();
        let mut source = FileSource::open(&path, 0).unwrap();
        assert_eq!((source.length(), read_all(&mut source)), (Some(10), b"0123456789".to_vec()));
        let mut source = FileSource::open(&path, 8).unwrap();
        assert_eq!((source.length(), read_all(&mut source)), (Some(2), b"89".to_vec()));
    }

    #[test]
    fn a_pipe_has_no_length_and_is_waited_for() {
        let (read, mut write) = io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&read));
        let mut source = FileSource::open(path.as_ref(), 0).unwrap();
        assert_eq!(source.length(), None);
        let mut buf = [0; 8];
        assert!(read_once(&mut source, &mut buf).is_pending());
        let mut set = PollSet::new();
        source.wants(&mut set);
        assert_eq!(set.len(), 1);
        write.write_all(b"abc").unwrap();
        assert!(matches!(read_once(&mut source, &mut buf), Poll::Ready(Ok(3))));
        drop(write);
        assert!(matches!(read_once(&mut source, &mut buf), Poll::Ready(Ok(0))));
    }

    #[test]
    fn a_named_pipe_is_waited_for_until_somebody_writes() {
        let lab = tempfile::tempdir().unwrap();
        let path = lab.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::RWXU).unwrap();
        let mut source = FileSource::open(&path, 0).unwrap();
        let mut buf = [0; 8];
        assert!(read_once(&mut source, &mut buf).is_pending());
        let mut writer = fs::OpenOptions::new().write(true).open(&path).unwrap();
        assert!(read_once(&mut source, &mut buf).is_pending());
        writer.write_all(b"abc").unwrap();
        drop(writer);
        assert_eq!(read_all(&mut source), b"abc");
        assert!(matches!(read_once(&mut source, &mut buf), Poll::Ready(Ok(0))));
    }

    #[test]
    fn a_pipe_from_which_nothing_comes_is_an_error_after_a_while() {
        let lab = tempfile::tempdir().unwrap();
        let path = lab.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::RWXU).unwrap();
        let mut source = FileSource::open(&path, 0).unwrap();
        let mut buf = [0; 8];
        let mut at =
            |seconds| source.poll_read(PATIENCE, Instant::ZERO + Duration::from_secs(seconds), &mut buf);
        assert!(at(10).is_pending() && at(309).is_pending());
        let mut writer = fs::OpenOptions::new().write(true).open(&path).unwrap();
        writer.write_all(b"abc").unwrap();
        assert!(matches!(at(400), Poll::Ready(Ok(3))));
        assert!(at(500).is_pending() && at(799).is_pending());
        let Poll::Ready(Err(error)) = at(800) else { panic!("still waiting") };
        assert!(error.to_string().ends_with("nothing came out of it for 300 s"), "{error}");
        assert_eq!(source.deadline(), None);
    }

    #[test]
    fn a_file_that_shrinks_is_an_error_and_one_that_grows_ends_where_it_did() {
        let lab = tempfile::tempdir().unwrap();
        let path = lab.path().join("file");
        fs::write(&path, b"0123456789").unwrap();
        let (mut shrinks, mut grows) =
            (FileSource::open(&path, 0).unwrap(), FileSource::open(&path, 0).unwrap());
        fs::write(&path, b"0123456789abc").unwrap();
        assert_eq!(read_all(&mut grows), b"0123456789");
        assert!(matches!(read_once(&mut grows, &mut [0]), Poll::Ready(Ok(0))));
        fs::write(&path, b"01").unwrap();
        assert_eq!(read_all(&mut shrinks), b"01");
        assert!(matches!(read_once(&mut shrinks, &mut [0]), Poll::Ready(Err(_))));
    }

    #[test]
    fn what_is_no_file_is_an_error_that_names_it() {
        let lab = tempfile::tempdir().unwrap();
        for (path, word) in [(lab.path().to_owned(), "directory"), (lab.path().join("none"), "No such file")]
        {
            let text = FileSource::open(&path, 0).unwrap_err().to_string();
            assert!(text.contains(word) && text.starts_with(path.to_str().unwrap()), "{text}");
        }
    }
}
