//! Logs of deployments: `deployments.NNNN.<id>.log`. The newest has the number 0000, and five are kept.
//!
//! A line is a JSON object, written by one call. A line that a power loss cut off is repaired only in the copy that is
//! sent ([`super::upload`]); the file itself stays as it was found, as evidence.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{Mode, OFlags};
use thimble_core::hal::Level;
use thimble_core::limits::DEPLOYMENT_ID;

use super::entry::entry;
use super::shorten::{HEAD, TAIL, shortened};
use crate::fsat::open_regular;

/// How many logs are kept, the current one included.
const KEPT: usize = 5;

/// Bytes that must be free on the file system; older logs make room (CLI-81).
const FREE: u64 = 100 * 1024;

/// So many bytes a log may grow beyond what is kept of it, before it is written anew without its middle: a script that
/// prints a lot must not fill the disk, and each line of it must not cost half a megabyte.
const SLACK: u64 = 128 * 1024;

/// Longest log, in bytes.
const SIZE_MAX: u64 = (HEAD + TAIL) as u64 + SLACK;

const FULL: &str = "the deployment log is full and cannot be shortened; what follows is missing";

/// What a log becomes without its middle, until it takes its place.
const NEW: &str = "deployments.new";

/// The open log of the running deployment.
#[derive(Debug)]
pub(super) struct DeploymentLog {
    directory: PathBuf,
    path: PathBuf,
    file: File,
    size: u64,
    /// It could not be shortened: nothing more is written.
    full: bool,
    /// The last line has no newline: power was lost while it was written, or a write failed half-way.
    torn: bool,
}

/// A log file in the directory.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    number: u16,
    id: String,
}

impl Entry {
    fn parse(name: &str) -> Option<Self> {
        let (number, id) = name.strip_prefix("deployments.")?.strip_suffix(".log")?.split_once('.')?;
        let digits = number.len() == 4 && number.bytes().all(|b| b.is_ascii_digit());
        (digits && is_id(id)).then(|| Some(Self { number: number.parse().ok()?, id: id.to_owned() }))?
    }

    fn path(&self, directory: &Path) -> PathBuf {
        directory.join(format!("deployments.{:04}.{}.log", self.number, self.id))
    }
}

/// What may stand in a file name (SERVER-22).
fn is_id(id: &str) -> bool {
    (1..=DEPLOYMENT_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

impl DeploymentLog {
    /// Opens the log of `id` as number 0000, appending to the one it has, and renumbers the others behind it.
    pub(super) fn open(directory: &Path, id: &str) -> io::Result<Self> {
        if !is_id(id) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "its id cannot be part of a file name"));
        }
        let others = arrange(directory, id)?;
        make_room(directory, others, || {
            let space = rustix::fs::statvfs(directory)?;
            Ok(space.f_bavail.saturating_mul(space.f_frsize))
        })?;
        // Of a client that was killed while it wrote a log anew.
        remove(&directory.join(NEW))?;
        let path = Entry { number: 0, id: id.to_owned() }.path(directory);
        let mut file = open(&path, OFlags::CREATE)?;
        let size = file.metadata()?.len();
        let mut last = [b'\n'];
        if size > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        let directory = directory.to_owned();
        Ok(Self { directory, path, file, size, full: false, torn: last != [b'\n'] })
    }

    /// Appends a line, and leaves out the middle of a log that gets too long. A failed write is ignored: the log must not
    /// stop the deployment.
    pub(super) fn write(&mut self, time: &str, level: Level, message: &str) {
        if self.full {
            return;
        }
        let mut line = self.line(time, level, message);
        if self.size + line.len() as u64 > SIZE_MAX {
            match self.shorten(time) {
                Ok(()) => line = self.line(time, level, message),
                Err(_) => {
                    self.full = true;
                    line = self.line(time, Level::Warning, FULL);
                }
            }
        }
        if let Ok(length) = self.file.write(line.as_bytes()) {
            self.size = self.size.saturating_add(length as u64);
            self.torn = length < line.len();
        }
    }

    /// Writes the log anew without its middle. Power loss leaves the log of before or the new one.
    fn shorten(&mut self, time: &str) -> io::Result<()> {
        let mut log = Vec::new();
        self.file.seek(SeekFrom::Start(0))?;
        self.file.read_to_end(&mut log)?;
        let Some(short) = shortened(&log, time) else { return Ok(()) };
        let new = self.directory.join(NEW);
        remove(&new)?;
        let mut file = open(&new, OFlags::CREATE | OFlags::EXCL)?;
        let written = file.write_all(&short).and_then(|()| file.sync_data());
        written.and_then(|()| fs::rename(&new, &self.path)).inspect_err(|_| drop(remove(&new)))?;
        self.size = short.len() as u64;
        self.torn = short.last() != Some(&b'\n');
        self.file = file;
        Ok(())
    }

    fn line(&self, time: &str, level: Level, message: &str) -> String {
        let end_of_torn_line = if self.torn { "\n" } else { "" };
        format!("{end_of_torn_line}{}\n", entry(time, level.name(), message))
    }
}

/// Opens a log to append to it, with these flags as well.
fn open(path: &Path, more: OFlags) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags | more, Mode::RUSR | Mode::WUSR)?))
}

/// Removes a file; it need not be there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The path of the log of `id`; the newest if there are several.
pub(super) fn find(directory: &Path, id: &str) -> io::Result<Option<PathBuf>> {
    Ok(list(directory)?.into_iter().find(|entry| entry.id == id).map(|entry| entry.path(directory)))
}

/// The logs that are kept in this directory, newest first: ids of deployments, and paths.
///
/// # Errors
/// The file system's.
pub fn kept(directory: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let path = |entry: Entry| (entry.id.clone(), entry.path(directory));
    Ok(list(directory)?.into_iter().map(path).collect())
}

/// A log that is kept, and when it was written last. Waits for nothing.
///
/// # Errors
/// The file system's; or it is no regular file.
pub fn read(path: &Path) -> io::Result<(Vec<u8>, SystemTime)> {
    let mut log = Vec::new();
    let file = open_regular(path)?;
    let written = file.metadata()?.modified()?;
    file.take(SIZE_MAX).read_to_end(&mut log)?;
    Ok((log, written))
}

/// All logs, newest first.
fn list(directory: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for found in fs::read_dir(directory)? {
        entries.extend(found?.file_name().to_str().and_then(Entry::parse));
    }
    entries.sort();
    Ok(entries)
}

/// Gives the log of `id`, if there is one, the number 0000, and the others the numbers from 0001 on, newest first.
/// Removes logs beyond the limit. Returns the remaining others, newest first.
fn arrange(directory: &Path, id: &str) -> io::Result<Vec<Entry>> {
    let (mut own, others): (Vec<_>, Vec<_>) = list(directory)?.into_iter().partition(|entry| entry.id == id);
    let mut left = Vec::new();
    // The oldest is renamed first. If this stops half-way, the order of the files by number is still right.
    for (at, entry) in others.into_iter().enumerate().rev() {
        let path = entry.path(directory);
        if at + 1 >= KEPT {
            fs::remove_file(path)?;
            continue;
        }
        let moved = Entry { number: u16::try_from(at + 1).unwrap_or(u16::MAX), ..entry };
        if path != moved.path(directory) {
            fs::rename(path, moved.path(directory))?;
        }
        left.push(moved);
    }
    left.reverse();
    if !own.is_empty() && own[0].number != 0 {
        let newest = own.remove(0);
        fs::rename(newest.path(directory), Entry { number: 0, id: id.to_owned() }.path(directory))?;
    }
    Ok(left)
}

/// Removes the oldest of `others` until enough bytes are free; fails when removing all of them is not enough.
fn make_room(directory: &Path, mut others: Vec<Entry>, free: impl Fn() -> io::Result<u64>) -> io::Result<()> {
    while free()? < FREE {
        let oldest = others.pop().ok_or(io::ErrorKind::StorageFull)?;
        fs::remove_file(oldest.path(directory))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn open(directory: &Path, id: &str) -> DeploymentLog {
        DeploymentLog::open(directory, id).unwrap()
    }

    #[test]
    fn five_logs_are_kept_and_the_current_one_is_number_0() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("deployments.0001.not an id.log"), "").unwrap();
        for id in ["a", "b", "c", "d", "e", "f", "g"] {
            open(home.path(), id).write("t", Level::Info, id);
        }
        let expected = ["0000.g", "0001.f", "0001.not an id", "0002.e", "0003.d", "0004.c"]
            .map(|n| format!("deployments.{n}.log"));
        assert_eq!(names(home.path()), expected);
        let oldest = fs::read_to_string(home.path().join("deployments.0004.c.log")).unwrap();
        assert!(oldest.contains("\"message\":\"c\""));
    }

    #[test]
    fn a_resumed_deployment_appends_to_its_log_wherever_it_is() {
        let home = tempfile::tempdir().unwrap();
        open(home.path(), "a").write("t", Level::Info, "1");
        open(home.path(), "a").write("t", Level::Info, "2");
        open(home.path(), "b");
        open(home.path(), "a").write("t", Level::Info, "3");
        assert_eq!(names(home.path()), ["deployments.0000.a.log", "deployments.0001.b.log"]);
        let log = fs::read_to_string(home.path().join("deployments.0000.a.log")).unwrap();
        assert_eq!(log.lines().count(), 3);
    }

    #[test]
    fn logs_of_the_go_client_are_renumbered_too() {
        let home = tempfile::tempdir().unwrap();
        for (n, id) in [(1, "new"), (2, "old")] {
            fs::write(home.path().join(format!("deployments.000{n}.{id}.log")), id).unwrap();
        }
        open(home.path(), "new");
        assert_eq!(names(home.path()), ["deployments.0000.new.log", "deployments.0001.old.log"]);
        assert_eq!(fs::read_to_string(home.path().join("deployments.0000.new.log")).unwrap(), "new");
    }

    #[test]
    fn the_oldest_logs_make_room() {
        let home = tempfile::tempdir().unwrap();
        for id in ["a", "b", "c"] {
            open(home.path(), id);
        }
        let others = arrange(home.path(), "c").unwrap();
        let asked = Cell::new(0);
        let free = || {
            asked.set(asked.get() + 1);
            Ok(if asked.get() < 2 { FREE - 1 } else { FREE })
        };
        make_room(home.path(), others, free).unwrap();
        assert_eq!(names(home.path()), ["deployments.0000.c.log", "deployments.0001.b.log"]);
        let others = arrange(home.path(), "c").unwrap();
        let error = make_room(home.path(), others, || Ok(0)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(names(home.path()), ["deployments.0000.c.log"], "the current one stays");
    }

    #[test]
    fn r30_a_long_log_keeps_its_beginning_and_its_end() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("deployments.0000.a.log");
        let mut log = open(home.path(), "a");
        let time = "2026-01-01T00:00:00Z";
        let long = "x".repeat(4000);
        log.write(time, Level::Info, "the deployment begins");
        for n in 0..1000 {
            log.write(time, Level::Info, &format!("{n} {long}"));
            assert!(path.metadata().unwrap().len() <= SIZE_MAX);
        }
        log.write(time, Level::Error, "what went wrong");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.lines().next().unwrap().contains("the deployment begins"));
        assert!(text.lines().last().unwrap().contains("what went wrong"));
        assert_eq!(text.matches("left out here").count(), 1);
        // Another process goes on with it.
        for n in 0..1000 {
            open(home.path(), "a").write(time, Level::Info, &format!("again {n} {long}"));
        }
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.len() as u64 <= SIZE_MAX && text.contains("the deployment begins"));
        assert!(text.lines().last().unwrap().contains("again 999"));
        assert_eq!(names(home.path()), ["deployments.0000.a.log"]);
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_log_that_cannot_be_shortened_says_so_and_stays_below_its_limit() {
        let home = tempfile::tempdir().unwrap();
        let mut log = open(home.path(), "a");
        fs::create_dir(home.path().join(NEW)).unwrap();
        for _ in 0..1000 {
            log.write("2026-01-01T00:00:00Z", Level::Info, &"x".repeat(4000));
        }
        let text = fs::read_to_string(home.path().join("deployments.0000.a.log")).unwrap();
        assert!(text.len() as u64 <= SIZE_MAX + 200, "{}", text.len());
        assert!(text.lines().last().unwrap().contains(FULL));
        assert_eq!(text.matches(FULL).count(), 1);
    }

    #[test]
    fn l4_a_torn_line_is_left_as_it_is_and_not_continued() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("deployments.0000.a.log");
        fs::write(&path, "{\"timestamp\":\"20").unwrap();
        open(home.path(), "a").write("t", Level::Info, "next");
        let text = fs::read_to_string(path).unwrap();
        assert_eq!(
            text,
            "{\"timestamp\":\"20\n{\"timestamp\":\"t\",\"level\":\"info\",\"message\":\"next\"}\n"
        );
    }

    #[test]
    fn d6_ids_and_links_lead_nowhere_else() {
        let home = tempfile::tempdir().unwrap();
        for id in ["", "../x", "a/b", "a.b", "a b", &"x".repeat(65)] {
            assert!(DeploymentLog::open(home.path(), id).is_err(), "{id:?}");
        }
        let victim = home.path().join("victim");
        fs::write(&victim, "keep me").unwrap();
        symlink(&victim, home.path().join("deployments.0000.a.log")).unwrap();
        assert!(DeploymentLog::open(home.path(), "a").is_err());
        assert_eq!(fs::read_to_string(victim).unwrap(), "keep me");
    }

    #[test]
    fn d5_a_log_is_for_its_owner_only() {
        let home = tempfile::tempdir().unwrap();
        open(home.path(), "a");
        assert_eq!(home.path().join("deployments.0000.a.log").metadata().unwrap().mode() & 0o777, 0o600);
    }
}
