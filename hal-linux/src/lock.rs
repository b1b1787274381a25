//! One client at a time: an exclusive lock in the datastore (C-8).
//!
//! The lock file says who holds the lock, and which script or module it has started last:
//!
//! ```text
//! 812 daemon
//! runs 4711 1094552 6a1f31a8-cb52-41b0-a5a2-bdad3f1e3a63
//! ```

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::rc::Rc;
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, flock, openat};
use thimble_core::hal::{self, Kind};

use crate::fsat::kind_of;
use crate::process::leftover::Leftover;
use crate::process::note::{self, Note};
use crate::storage::DataDirectory;

const NAME: &str = "mender-update.lock";

/// Longest first line.
const HOLDER_MAX: usize = 64;

/// [`LockHolder::find`] holds a shared lock for a moment; a client that starts just then tries again.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// The lock. It is held until it is dropped or the process ends in any way. The lock file stays in place, and others
/// can read in it who holds the lock. The directory is locked too, so that removing the lock file does not let a second
/// client in.
#[derive(Debug)]
pub struct Lock {
    note: Rc<Note>,
    directory: File,
    leftover: Option<Leftover>,
}

/// Who holds the lock, as the holder wrote it into the lock file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockHolder {
    /// The holder's process id.
    pub pid: u32,
    /// The verb that the holder runs, such as `daemon` or `install`.
    pub verb: String,
}

/// Why the lock could not be taken.
#[derive(Debug)]
pub enum LockError {
    /// Another client holds the lock; `None`: the lock file does not say which.
    Held(Option<LockHolder>),
    /// Another client holds the lock, and the lock file was removed meanwhile.
    FileRemoved,
    /// The lock file cannot be used.
    Io(io::Error),
}

impl Lock {
    /// Takes the lock and leaves a note for others that this process holds it for `verb` (a plain word).
    pub fn acquire(directory: &DataDirectory, verb: &str) -> Result<Self, LockError> {
        // A lock file is never a link, and opening it must not wait for anything.
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(directory.handle(), NAME, flags, Mode::RUSR | Mode::WUSR).map_err(io_error)?;
        let mut file = File::from(file);
        if !lock(&file).map_err(LockError::Io)? {
            return Err(LockError::Held(LockHolder::read(&mut file)));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let whole = File::from(openat(directory.handle(), ".", flags, Mode::empty()).map_err(io_error)?);
        // Some file systems lock only files.
        if !lock(&whole).unwrap_or(true) {
            return Err(LockError::FileRemoved);
        }
        let leftover = note::leftover_in(&read(&mut file));
        let note = Note::new(file, format!("{} {verb}\n", std::process::id()));
        // The leftover stays noted until it is ended: if this client is killed before that, the next one finds it.
        note.write(leftover.as_ref());
        Ok(Self { note: Rc::new(note), directory: whole, leftover })
    }

    /// The note that every started script and module is written to.
    #[must_use]
    pub fn note(&self) -> Rc<Note> {
        Rc::clone(&self.note)
    }

    /// Ends the script or module that an earlier client left running when it was killed. Returns its process id if one
    /// was still running. To be called before anything else is started. Waits at most 5 s. Without `/proc` no leftover
    /// is recognized.
    ///
    /// # Errors
    /// The process id, and why the process could not be ended.
    pub fn end_leftover(&mut self) -> Result<Option<i32>, (i32, io::Error)> {
        let Some(leftover) = self.leftover.take() else { return Ok(None) };
        let ended = leftover.end().map_err(|error| (leftover.pid(), error))?;
        self.note.write(None);
        Ok(ended.then(|| leftover.pid()))
    }
}

/// The text of the lock file, up to the length that a client can have written.
fn read(file: &mut File) -> String {
    let mut text = [0; HOLDER_MAX + note::LINE_MAX];
    let length = file.read(&mut text).unwrap_or_default();
    String::from_utf8_lossy(text.get(..length).unwrap_or_default()).into_owned()
}

impl Drop for Lock {
    /// Closing the files would not be enough: a child that was just forked shares both locks until it executes its
    /// program. The directory is unlocked first, so that a client that gets the lock of the file also gets that of the
    /// directory.
    fn drop(&mut self) {
        for locked in [&self.directory, self.note.file()] {
            let _ = flock(locked, FlockOperation::Unlock);
        }
    }
}

/// Tries to lock the file; false if somebody else holds the lock.
fn lock(file: &File) -> io::Result<bool> {
    for attempt in 1.. {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(rustix::io::Errno::WOULDBLOCK) if attempt < ATTEMPTS => sleep(PAUSE),
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(false),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(true)
}

impl LockHolder {
    /// Who holds the lock now, or `None` if it is free. Does not wait.
    pub fn find(directory: &DataDirectory) -> io::Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut file = match openat(directory.handle(), NAME, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(None),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(Self::read(&mut file)),
            Err(errno) => Err(errno.into()),
        }
    }

    fn read(file: &mut File) -> Option<Self> {
        let text = read(file);
        let (holder, _) = text.split_once('\n')?;
        let (pid, verb) = holder.split_once(' ').filter(|_| holder.len() < HOLDER_MAX)?;
        let plain = verb.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        let pid = pid.parse().ok().filter(|&pid| pid > 1)?;
        plain.then(|| Self { pid, verb: verb.to_owned() })
    }
}

fn io_error(errno: rustix::io::Errno) -> LockError {
    LockError::Io(errno.into())
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held(Some(LockHolder { pid, verb })) => {
                write!(f, "another client is at work in this datastore: `{verb}`, process {pid}")?;
                if verb == "daemon" {
                    f.write_str("; wait until 'status' shows no deployment, then stop the daemon")
                } else {
                    f.write_str("; wait until it ends")
                }
            }
            Self::Held(None) => f.write_str("another client is at work in this datastore"),
            Self::FileRemoved => write!(
                f,
                "another client is at work in this datastore, and its lock file {NAME} was removed: stop that client, or wait until it ends"
            ),
            Self::Io(error) => write!(f, "cannot lock {NAME} in the datastore: {error}"),
        }
    }
}

impl std::error::Error for LockError {}

impl hal::Error for LockError {
    fn kind(&self) -> Kind {
        match self {
            Self::Held(_) | Self::FileRemoved => Kind::Refused,
            Self::Io(error) => kind_of(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{Options, Process};
    use crate::testing;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn i15_only_one_client_holds_the_lock_and_the_other_is_told_who() {
        let home = tempfile::tempdir().unwrap();
        let directory = DataDirectory::open(home.path()).unwrap();
        assert_eq!(LockHolder::find(&directory).unwrap(), None);
        let lock = Lock::acquire(&directory, "daemon").unwrap();
        let me = LockHolder { pid: std::process::id(), verb: "daemon".into() };
        assert_eq!(LockHolder::find(&directory).unwrap().as_ref(), Some(&me));
        let Err(error @ LockError::Held(_)) = Lock::acquire(&directory, "install") else {
            panic!("two locks")
        };
        assert!(error.to_string().contains(&format!("process {}", me.pid)), "{error}");
        drop(lock);
        assert_eq!(LockHolder::find(&directory).unwrap(), None, "an old note is no holder");
        Lock::acquire(&directory, "install").unwrap();
    }

    #[test]
    fn i15_another_process_is_kept_out_and_a_child_does_not_keep_the_lock() {
        let home = tempfile::tempdir().unwrap();
        let directory = DataDirectory::open(home.path()).unwrap();
        let lock = Lock::acquire(&directory, "commit").unwrap();
        // With some patience: a child that another test starts at this moment holds all descriptors until it runs.
        let try_it = || {
            let mut command = std::process::Command::new("flock");
            command
                .args(["-w", "3", "-E", "42"])
                .arg(home.path().join(NAME))
                .arg("true")
                .status()
                .unwrap()
                .code()
        };
        assert_eq!(try_it(), Some(42));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        drop(lock);
        let after = try_it();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(after, Some(0));
    }

    #[test]
    fn i15_a_lock_file_that_somebody_removed_lets_nobody_in() {
        let home = tempfile::tempdir().unwrap();
        let directory = DataDirectory::open(home.path()).unwrap();
        let lock = Lock::acquire(&directory, "daemon").unwrap();
        std::fs::remove_file(home.path().join(NAME)).unwrap();
        assert!(matches!(Lock::acquire(&directory, "install"), Err(LockError::FileRemoved)));
        drop(lock);
        Lock::acquire(&directory, "install").unwrap();
    }

    /// A child that its client left: noted, and alive when the lock is given back.
    fn left(home: &tempfile::TempDir) -> Leftover {
        let lock = Lock::acquire(&DataDirectory::open(home.path()).unwrap(), "install").unwrap();
        let note = lock.note();
        let program = home.path().join("module");
        testing::script(&program, "exec sleep 1000");
        let options = Options { outlives: true, note: Some(&note), ..Options::new(&program, 1024) };
        drop(Process::spawn(&options).unwrap());
        note::leftover_in(&std::fs::read_to_string(home.path().join(NAME)).unwrap()).unwrap()
    }

    #[test]
    fn what_a_killed_client_left_running_is_ended_by_the_next_that_wants_it_ended() {
        let home = tempfile::tempdir().unwrap();
        let directory = DataDirectory::open(home.path()).unwrap();
        let pid = left(&home).pid();
        // One that does not ask keeps the note.
        let lock = Lock::acquire(&directory, "show-artifact").unwrap();
        assert_eq!(
            LockHolder::read(&mut File::open(home.path().join(NAME)).unwrap()).unwrap().verb,
            "show-artifact"
        );
        drop(lock);
        let mut lock = Lock::acquire(&directory, "commit").unwrap();
        assert_eq!(lock.end_leftover().unwrap(), Some(pid));
        assert_eq!(lock.end_leftover().unwrap(), None);
        drop(lock);
        let text = std::fs::read_to_string(home.path().join(NAME)).unwrap();
        assert_eq!(text, format!("{} commit\n", std::process::id()));
    }

    #[test]
    fn a_process_that_only_has_the_number_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let directory = DataDirectory::open(home.path()).unwrap();
        let left = left(&home);
        let other = |from: &str, to: &str| Leftover::parse(&left.to_string().replace(from, to)).unwrap();
        let (start, boot) = {
            let text = left.to_string();
            let mut words = text.split(' ').skip(1).map(str::to_owned);
            (words.next().unwrap(), words.next().unwrap())
        };
        let ours = Leftover::of(rustix::process::getpid()).unwrap();
        for strange in [other(&start, "1"), other(&boot, "6a1f31a8-cb52-41b0-a5a2-bdad3f1e3a63"), ours] {
            std::fs::write(home.path().join(NAME), format!("1234 daemon\n{}{strange}\n", note::RUNS))
                .unwrap();
            assert_eq!(
                Lock::acquire(&directory, "commit").unwrap().end_leftover().unwrap(),
                None,
                "{strange}"
            );
        }
        assert!(left.end().unwrap(), "it was alive all the time");
        for text in
            ["", "runs", "4711", "4711 1", "4711 1 ", "1 1 a-b", "-5 1 a-b", "4711 x a-b", "4711 1 a-b c"]
        {
            assert_eq!(Leftover::parse(text), None, "{text}");
        }
    }

    #[test]
    fn d5_the_lock_file_is_for_its_owner_only() {
        let home = tempfile::tempdir().unwrap();
        let _lock = Lock::acquire(&DataDirectory::open(home.path()).unwrap(), "daemon").unwrap();
        assert_eq!(home.path().join(NAME).metadata().unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn d6_a_planted_link_is_not_written_through() {
        let home = tempfile::tempdir().unwrap();
        let victim = home.path().join("victim");
        std::fs::write(&victim, "keep me").unwrap();
        symlink(&victim, home.path().join(NAME)).unwrap();
        let directory = DataDirectory::open(home.path()).unwrap();
        assert!(matches!(Lock::acquire(&directory, "daemon"), Err(LockError::Io(_))));
        assert_eq!(std::fs::read_to_string(victim).unwrap(), "keep me");
    }

    #[test]
    fn a_strange_note_is_no_holder() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(NAME);
        for note in ["", "12", "x daemon\n", "0 daemon\n", "12 a\x1bb\n", "-1 daemon\n"] {
            std::fs::write(&path, note).unwrap();
            assert_eq!(LockHolder::read(&mut File::open(&path).unwrap()), None, "{note:?}");
        }
    }
}
