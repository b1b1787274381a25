//! A script or module that a client left running when it was killed: the next client ends it before it calls anything
//! (MODULE-7: no call survives the client). After a power loss there is nothing to end, and no process of the
//! next boot is taken for it.

use std::fmt;
use std::fs;
use std::io;

use rustix::process::{Pid, Signal, getpgid, getpgrp, kill_process_group};
use thimble_core::hal::Clock;

use super::{KILL_WAIT, group};
use crate::clock::BootClock;
use crate::wait::{Backoff, PollSet};

/// Longest text of a leftover, in bytes; a longer text is not valid.
pub(crate) const TEXT_MAX: usize = 96;

/// A process, told apart from all others that have or had the same process id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leftover {
    pid: Pid,
    /// When the process started, in clock ticks since the boot.
    start: u64,
    boot: String,
}

impl Leftover {
    /// The process that has this process id now. `None` if there is none, or without `/proc`.
    pub(crate) fn of(pid: Pid) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        // The name is in brackets and may have any byte in it; the 20th field behind it is the start.
        let start = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(Self { pid, start, boot: boot.trim_end().to_owned() })
    }

    /// Reads the text that [`fmt::Display`] wrote.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let (pid, start, boot) = (words.next()?, words.next()?, words.next()?);
        let pid = pid.parse().ok().filter(|&pid| pid > 1).and_then(Pid::from_raw)?;
        let is_plain = |b: u8| b.is_ascii_hexdigit() || b == b'-';
        let is_boot = !boot.is_empty() && boot.bytes().all(is_plain) && words.next().is_none();
        is_boot.then_some(Self { pid, start: start.parse().ok()?, boot: boot.to_owned() })
    }

    /// The process id, to be shown.
    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Kills the process group. Returns false if the process had ended before. Waits at most 5 s.
    ///
    /// # Errors
    /// When this process may not kill it, or it does not end in time.
    pub(crate) fn end(&self) -> io::Result<bool> {
        let is_leader = getpgid(Some(self.pid)) == Ok(self.pid) && self.pid != getpgrp();
        if !is_leader || Self::of(self.pid).as_ref() != Some(self) || !group::has_live_member(self.pid) {
            return Ok(false);
        }
        match kill_process_group(self.pid, Signal::KILL) {
            Ok(()) => {}
            Err(rustix::io::Errno::SRCH) => return Ok(false),
            Err(errno) => return Err(errno.into()),
        }
        let until = BootClock.now() + KILL_WAIT;
        let mut look = Backoff::default();
        while group::has_live_member(self.pid) {
            let now = BootClock.now();
            if now >= until {
                return Err(io::ErrorKind::TimedOut.into());
            }
            look.again(now);
            let _ = PollSet::new().wait(now, look.at());
        }
        Ok(true)
    }
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.pid(), self.start, self.boot)
    }
}
