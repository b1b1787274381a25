//! Freezes a file system, and thaws it on every way out.
//!
//! ```text
//! this process                         the keeper, a process of its own
//!   Frozen::begin  --- fork ------------> FIFREEZE
//!                  <-- its result -------
//!   alive()        --- a byte ----------> waits on, for SILENCE_MAX at most
//!   end, or the end of the process ---->  sees the pipe closed: FITHAW, ends
//! ```
//!
//! The keeper is in a session of its own and ignores what a terminal sends, so that nothing but SIGKILL to itself or a
//! loss of power keeps it from thawing; and whoever stops or blocks this process for longer than [`SILENCE_MAX`] gets the
//! file system thawed too, because what blocks it may be waiting for that file system. This process is then ended, with a
//! word on standard error: it would wait for its reader without an end, for an image that is not usable any more.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, read, write};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitOptions, getpid, getppid, kill_process, waitpid};

use crate::sys;

/// A snapshot that nobody reads, or that is stopped, ends after this time: what blocks it may be waiting for the frozen
/// file system.
pub const SILENCE_MAX: Duration = Duration::from_secs(30);

/// What the keeper says by its exit status: it could not thaw.
const NOT_THAWED: i32 = 9;

/// Likewise: it has thawed after [`SILENCE_MAX`].
const WAS_SILENT: i32 = 8;

/// What is said then; memory is not to be asked for.
const SILENT: &[u8] =
    b"nobody read the snapshot for 30 s, so the file system was thawed; the snapshot is not usable\n";

/// Why a file system could not be frozen, or did not stay frozen.
#[derive(Debug)]
pub enum FreezeFault {
    /// The kernel refused.
    Refused(io::Error),
    /// The client was silent for longer than [`SILENCE_MAX`].
    ThawedTooEarly,
    /// It could not be thawed.
    StillFrozen,
    /// The process that thaws could not be started or asked.
    Keeper(io::Error),
}

impl std::fmt::Display for FreezeFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(error) => match error.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::PERM | Errno::ACCESS) => f.write_str("only root may freeze a file system; run it as root"),
                Some(Errno::OPNOTSUPP | Errno::NOTTY) => {
                    f.write_str("this kind of file system cannot be frozen, and without that the image would not be consistent")
                }
                Some(Errno::BUSY) => f.write_str(
                    "somebody else has frozen it; wait for their end, or thaw it with 'fsfreeze --unfreeze'",
                ),
                Some(_) | None => write!(f, "it could not be frozen: {error}"),
            },
            Self::ThawedTooEarly => write!(
                f,
                "nobody read the snapshot for {} s, so the file system was thawed; the snapshot is not usable",
                SILENCE_MAX.as_secs()
            ),
            Self::StillFrozen => {
                f.write_str("THE FILE SYSTEM IS STILL FROZEN: run 'fsfreeze --unfreeze' on it, or press Alt+SysRq+j, now")
            }
            Self::Keeper(error) => write!(f, "the process that thaws the file system: {error}"),
        }
    }
}

/// A frozen file system. Dropping it thaws, as does the end of the process.
#[derive(Debug)]
pub struct Frozen {
    /// Closed: thaw. A byte: this process is alive.
    signs: Option<OwnedFd>,
    keeper: Pid,
}

impl Frozen {
    /// Freezes the file system that `place`, a directory or a file, is on: what is to be written is written, and from then
    /// on whoever writes waits. To be called while the process has one thread.
    ///
    /// # Errors
    /// [`FreezeFault::Refused`], with nothing frozen; [`FreezeFault::Keeper`].
    pub fn begin(place: &File) -> Result<Self, FreezeFault> {
        let (answer, tell) =
            pipe_with(PipeFlags::CLOEXEC).map_err(|error| FreezeFault::Keeper(error.into()))?;
        let (watch, signs) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
            .map_err(|error| FreezeFault::Keeper(error.into()))?;
        let parent = getpid();
        let keeper = sys::fork(|| keep(place.as_fd(), watch.as_fd(), tell.as_fd(), &signs, parent))
            .map_err(FreezeFault::Keeper)?;
        let frozen = Self { signs: Some(signs), keeper };
        drop((watch, tell));
        let mut said = [0; 4];
        match read(&answer, &mut said) {
            Ok(4) => {}
            Ok(_) => return Err(FreezeFault::Keeper(io::ErrorKind::UnexpectedEof.into())),
            Err(error) => return Err(FreezeFault::Keeper(error.into())),
        }
        match i32::from_ne_bytes(said) {
            0 => Ok(frozen),
            code => Err(FreezeFault::Refused(io::Error::from_raw_os_error(code))),
        }
    }

    /// This process goes on. To be called more often than once in [`SILENCE_MAX`].
    ///
    /// # Errors
    /// [`FreezeFault::ThawedTooEarly`]: what was read since the last call may have changed meanwhile.
    pub fn alive(&self) -> Result<(), FreezeFault> {
        let Some(signs) = &self.signs else { return Ok(()) };
        match write(signs, &[0]) {
            // So many unread signs are a sign too.
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(_) => Err(FreezeFault::ThawedTooEarly),
        }
    }

    /// Thaws.
    ///
    /// # Errors
    /// [`FreezeFault::ThawedTooEarly`] and [`FreezeFault::StillFrozen`].
    pub fn end(mut self) -> Result<(), FreezeFault> {
        let early = self.alive();
        let thawed = self.thaw();
        early.and(thawed)
    }

    fn thaw(&mut self) -> Result<(), FreezeFault> {
        if self.signs.take().is_none() {
            return Ok(());
        }
        match waitpid(Some(self.keeper), WaitOptions::empty()) {
            Ok(Some((_, status))) if status.exit_status() == Some(0) => Ok(()),
            Ok(Some((_, status))) if status.exit_status() == Some(WAS_SILENT) => {
                Err(FreezeFault::ThawedTooEarly)
            }
            Ok(_) => Err(FreezeFault::StillFrozen),
            Err(error) => Err(FreezeFault::Keeper(error.into())),
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // On the way out of an error, which is what the caller hears of; the keeper has thawed.
        let _ = self.thaw();
    }
}

/// The keeper. Makes system calls only: memory of other threads may be in any state. Its exit status.
fn keep(
    place: BorrowedFd<'_>,
    watch: BorrowedFd<'_>,
    tell: BorrowedFd<'_>,
    signs: &OwnedFd,
    parent: Pid,
) -> i32 {
    // Its own end of the pipe would keep it open.
    sys::close_inherited(signs);
    sys::ignore_requests_to_end();
    // As whoever is short of memory must not end the one that thaws.
    if let Ok(file) = rustix::fs::open(c"/proc/self/oom_score_adj", OFlags::WRONLY, Mode::empty()) {
        let _ = write(&file, b"-1000");
    }
    let frozen = sys::freeze(place);
    let code = frozen.map_or_else(Errno::raw_os_error, |()| 0);
    // Nobody may be there to hear it: the pipe below says so too.
    let _ = write(tell, &code.to_ne_bytes());
    if code != 0 {
        return 0;
    }
    let end = loop {
        match sign(watch) {
            Sign::Alive => {}
            Sign::Ended => break 0,
            Sign::Silence => break WAS_SILENT,
        }
    };
    let end = match sys::thaw(place) {
        // Not frozen any more: somebody else has thawed it.
        Ok(()) | Err(Errno::INVAL) => end,
        Err(_) => NOT_THAWED,
    };
    // Whoever is not our parent any more is somebody else.
    if end == WAS_SILENT && getppid() == Some(parent) {
        let _ = kill_process(parent, Signal::TERM);
        let _ = write(rustix::stdio::stderr(), SILENT);
    }
    end
}

/// What the keeper hears.
enum Sign {
    Alive,
    /// No more will come.
    Ended,
    /// None has come for [`SILENCE_MAX`].
    Silence,
}

/// Waits for the next one.
fn sign(watch: BorrowedFd<'_>) -> Sign {
    let mut set = [PollFd::from_borrowed_fd(watch, PollFlags::IN)];
    let time = Timespec { tv_sec: SILENCE_MAX.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: 0 };
    let is_alive = match poll(&mut set, Some(&time)) {
        Ok(0) => return Sign::Silence,
        Ok(_) => matches!(read(watch, &mut [0; 256]), Ok(1..) | Err(Errno::AGAIN | Errno::INTR)),
        Err(error) => error == Errno::INTR,
    };
    if is_alive { Sign::Alive } else { Sign::Ended }
}
