//! What holds for any bytes in the datastore's files: panics where it does not.

use std::io;

use super::directory::Medium;
use super::import;
use super::journal::Journal;
use super::lmdb::Database;
use super::lmdb_file;
use super::unfinished::Finding;

/// A file in memory.
#[derive(Clone)]
struct Bytes(Vec<u8>);

impl Medium for Bytes {
    fn size(&mut self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_at(&mut self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        let from = usize::try_from(at).unwrap_or(usize::MAX).min(self.0.len());
        let count = buf.len().min(self.0.len() - from);
        buf[..count].copy_from_slice(&self.0[from..from + count]);
        Ok(count)
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<usize> {
        let from = usize::try_from(at).map_err(io::Error::other)?;
        self.0.resize(self.0.len().max(from + bytes.len()), 0);
        self.0[from..from + bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.0.resize(usize::try_from(len).map_err(io::Error::other)?, 0);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A journal that can be read ends within its file, and reads the same when only its records are left.
pub fn journal(bytes: &[u8]) {
    let Ok((journal, live)) = Journal::replay(Bytes(bytes.to_vec())) else { return };
    let length = usize::try_from(journal.length()).unwrap_or(usize::MAX);
    assert!(length <= bytes.len());
    match Journal::replay(Bytes(bytes[..length].to_vec())) {
        Ok((again, same)) => assert!(same == live && !again.has_tail(), "without its tail it is another"),
        Err(_) => panic!("without its tail it cannot be read"),
    }
}

/// What Mender's client had not finished goes on here with records that this client takes, or does not go on.
pub fn unfinished(text: &str) {
    for finding in [Finding::of(None, Some(text), None, None), Finding::of(None, None, None, Some(text))] {
        let Some(Finding::Update(update)) = finding else { continue };
        assert!(!update.goes_on() || update.records().is_some(), "it cannot go on");
        assert!(!update.has_begun() || update.records_to_take_back().is_some(), "it cannot be taken back");
    }
}

/// Mender's database ends in a value of at most the asked length, whatever is in its pages.
pub fn lmdb(bytes: &[u8]) {
    let mut medium = Bytes(bytes.to_vec());
    let Ok(Some(mut database)) = Database::open(&mut medium) else { return };
    for key in ["artifact-name", "artifact-provides", "artifact-group", "auth"] {
        if let Ok(Some(value)) = database.read(key.as_bytes(), 4096) {
            assert!(value.len() <= 4096);
        }
    }
    // And what is taken over is a database again.
    let shape = database.shape();
    if let Ok(Some(import)) = import::read(&mut medium)
        && let Some(provides) = &import.provides
        && let Ok(written) = lmdb_file::write(shape, 1, &[("artifact-provides", provides)])
    {
        let mut medium = Bytes(written);
        match Database::open(&mut medium) {
            Ok(Some(mut database)) => {
                let read = database.read(b"artifact-provides", usize::MAX).ok().flatten();
                assert!(read.as_ref() == Some(provides), "it reads another value");
            }
            Ok(None) | Err(_) => panic!("what was written is no database"),
        }
    }
}
