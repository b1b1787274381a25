//! Signals: those that ask the program to end, and those that ask the daemon for something.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::pipe::{PipeFlags, pipe_with};
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
use signal_hook::flag;
use signal_hook::low_level::pipe::register;
use thimble_hal_linux::ignores_signal;
use thimble_hal_linux::wait::PollSet;

/// To be called first: a write behind the limit of file sizes is an error like a full disk, not the end of the process.
/// A handler, which a child does not inherit, and not the kernel's "ignore", which it would.
pub(crate) fn survive_file_size_limit() -> io::Result<()> {
    // Nobody asks: the write itself says EFBIG.
    flag::register(SIGXFSZ, Arc::default()).map(drop)
}

/// Counts the signals SIGINT, SIGQUIT and SIGTERM, and SIGHUP unless it was ignored when the program began: then `nohup`
/// or the like started it, and the end of a terminal is to change nothing.
pub(crate) struct Signals {
    arrived: Arrived,
    count: usize,
}

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        let all = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];
        let ours = if ignores_signal(SIGHUP) { &all[1..] } else { &all[..] };
        Ok(Self { arrived: Arrived::new(ours)?, count: 0 })
    }

    /// How many have come so far.
    pub(crate) fn count(&mut self) -> usize {
        self.count += self.arrived.take();
        self.count
    }

    pub(crate) fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        set.read(&self.arrived.pipe);
    }
}

/// Notices SIGUSR1 (look for an update) and SIGUSR2 (send the inventory).
pub(crate) struct CheckSignals {
    update: Arrived,
    inventory: Arrived,
}

impl CheckSignals {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { update: Arrived::new(&[SIGUSR1])?, inventory: Arrived::new(&[SIGUSR2])? })
    }

    /// Whether an update was asked for since the last call.
    pub(crate) fn update(&mut self) -> bool {
        self.update.take() > 0
    }

    /// Whether the inventory was asked for since the last call.
    pub(crate) fn inventory(&mut self) -> bool {
        self.inventory.take() > 0
    }

    pub(crate) fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        set.read(&self.update.pipe);
        set.read(&self.inventory.pipe);
    }
}

/// Each signal is a byte in a pipe; of a storm as many as fit.
struct Arrived {
    pipe: OwnedFd,
}

impl Arrived {
    fn new(signals: &[i32]) -> io::Result<Self> {
        let (pipe, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        for &signal in signals {
            register(signal, write.try_clone()?)?;
        }
        Ok(Self { pipe })
    }

    fn take(&mut self) -> usize {
        let (mut bytes, mut count) = ([0; 64], 0);
        while let Ok(read @ 1..) = rustix::io::read(&self.pipe, &mut bytes) {
            count += read;
        }
        count
    }
}
