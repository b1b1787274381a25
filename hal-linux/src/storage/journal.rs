//! One open store file: replaying it, and appending to it.

use std::io;

use super::directory::Medium;
use super::record::{
    self, BODY_MAX, Edits, FILE_HEADER, FORMAT, Head, HeaderFault, Live, RECORD_HEADER, TOTAL_MAX,
};

/// An open journal: the file, and where its good records end.
#[derive(Debug)]
pub(super) struct Journal<M> {
    medium: M,
    salt: u64,
    next: u64,
    end: u64,
    /// There are bytes after `end`, which must be cut off before the next write.
    tail: bool,
}

/// Why a store file cannot be used.
#[derive(Debug)]
pub(super) enum JournalFault {
    /// The file could not be read, so that nothing is known about its content.
    Io(io::Error),
    /// The file is damaged, or is not a store.
    Broken(&'static str),
    /// A newer client wrote it.
    Newer(u32),
}

/// How an append failed.
#[derive(Debug)]
pub(super) struct AppendError {
    pub(super) cause: io::Error,
    /// Restoring the old records has failed, too.
    pub(super) lost: bool,
}

impl From<io::Error> for JournalFault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl<M: Medium> Journal<M> {
    /// Writes the header and one record of `edits` into an empty file and makes the content durable; the name of
    /// the file is the caller's to make durable. One write, one flush.
    pub(super) fn create(mut medium: M, salt: u64, sequence: u64, edits: &Edits<'_>) -> io::Result<Self> {
        let mut bytes = record::file_header(salt).to_vec();
        bytes.extend_from_slice(&record::encode(salt, sequence, edits));
        write_all(&mut medium, 0, &bytes)?;
        medium.sync()?;
        Ok(Self { medium, salt, next: sequence + 1, end: bytes.len() as u64, tail: false })
    }

    /// Reads every record. What stands behind the last good one is a write that power loss cut short, unless it
    /// holds a good record itself or is longer than any write: then the file was damaged in its middle.
    pub(super) fn replay(mut medium: M) -> Result<(Self, Live), JournalFault> {
        let size = medium.size()?;
        let mut header = [0; FILE_HEADER];
        if !fill(&mut medium, 0, &mut header)? {
            return Err(JournalFault::Broken("it is too short"));
        }
        let salt = record::salt_of(&header).map_err(|fault| match fault {
            HeaderFault::Damaged => JournalFault::Broken("its header is damaged"),
            HeaderFault::Newer(format) => JournalFault::Newer(format),
        })?;
        let mut journal = Self { medium, salt, next: 0, end: FILE_HEADER as u64, tail: false };
        let mut live = Live::new();
        while journal.replay_one(&mut live)? {}
        if journal.end < size {
            journal.check_tail(size)?;
        }
        Ok((journal, live))
    }

    /// Applies the record at `end`; false if there is no good one.
    fn replay_one(&mut self, live: &mut Live) -> Result<bool, JournalFault> {
        let mut head = [0; RECORD_HEADER];
        if !fill(&mut self.medium, self.end, &mut head)? {
            return Ok(false);
        }
        let Some(head) = Head::read(self.salt, &head) else { return Ok(false) };
        let mut body = vec![0; head.length];
        let start = self.end + RECORD_HEADER as u64;
        if !fill(&mut self.medium, start, &mut body)? || !head.fits(self.salt, &body) {
            return Ok(false);
        }
        let first = self.end == FILE_HEADER as u64;
        if !first && head.sequence != self.next {
            return Err(JournalFault::Broken("its records are out of order"));
        }
        if !record::apply(&body, live) || live.values().map(Vec::len).sum::<usize>() > TOTAL_MAX {
            return Err(JournalFault::Broken("a record makes no sense"));
        }
        self.next = head.sequence.saturating_add(1);
        self.end = start + head.length as u64;
        Ok(true)
    }

    fn check_tail(&mut self, size: u64) -> Result<(), JournalFault> {
        let length = usize::try_from(size - self.end).unwrap_or(usize::MAX);
        if length > RECORD_HEADER + BODY_MAX {
            return Err(JournalFault::Broken("more follows its last good record than one write holds"));
        }
        let mut tail = vec![0; length];
        if fill(&mut self.medium, self.end, &mut tail)?
            && record::find_later(self.salt, self.next, &tail).is_some()
        {
            return Err(JournalFault::Broken("a record is damaged though a later one is good"));
        }
        self.tail = true;
        Ok(())
    }

    /// Appends one record of `edits` and makes it durable: one write, one flush (and one more when a tail had to
    /// be cut first). After an error without `lost` the file holds the old records, durably.
    pub(super) fn append(&mut self, edits: &Edits<'_>) -> Result<(), AppendError> {
        if self.tail {
            self.cut().map_err(|cause| AppendError { cause, lost: false })?;
        }
        let bytes = record::encode(self.salt, self.next, edits);
        let written = write_all(&mut self.medium, self.end, &bytes).and_then(|()| self.medium.sync());
        match written {
            Ok(()) => {
                self.next = self.next.saturating_add(1);
                self.end += bytes.len() as u64;
                Ok(())
            }
            Err(cause) => {
                self.tail = true;
                Err(AppendError { lost: self.cut().is_err(), cause })
            }
        }
    }

    /// Removes what stands behind the last good record, durably.
    fn cut(&mut self) -> io::Result<()> {
        self.medium.set_len(self.end)?;
        self.medium.sync()?;
        self.tail = false;
        Ok(())
    }

    /// Length of the good part, in bytes.
    pub(super) fn length(&self) -> u64 {
        self.end
    }

    /// Whether a write was found that a power loss cut off.
    pub(super) fn has_tail(&self) -> bool {
        self.tail
    }

    /// The sequence number of the next record.
    pub(super) fn next(&self) -> u64 {
        self.next
    }
}

const _: () = assert!(FORMAT == 1, "a new format needs a reader for the old one here");

/// Reads until `buf` is full; `false`: the file ends before.
pub(super) fn fill(medium: &mut impl Medium, at: u64, buf: &mut [u8]) -> io::Result<bool> {
    let mut done = 0;
    while done < buf.len() {
        match medium.read_at(at.saturating_add(done as u64), &mut buf[done..]) {
            Ok(0) => return Ok(false),
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Writes all bytes. After a short write it tries again, so that the error that made it short is returned.
pub(super) fn write_all(medium: &mut impl Medium, at: u64, bytes: &[u8]) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match medium.write_at(at + done as u64, &bytes[done..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
