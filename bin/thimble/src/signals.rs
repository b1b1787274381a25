//! Signals that ask the program to end.

use std::io;
use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, pipe_with};
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::low_level::pipe::register;
use thimble_hal_linux::wait::PollSet;

/// Counts the signals SIGHUP, SIGINT, SIGQUIT and SIGTERM; each is a byte in a pipe.
pub(crate) struct Signals {
    pipe: OwnedFd,
    count: usize,
}

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        let (pipe, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
            register(signal, write.try_clone()?)?;
        }
        Ok(Self { pipe, count: 0 })
    }

    /// How many have come so far.
    pub(crate) fn count(&mut self) -> usize {
        let mut bytes = [0; 16];
        while let Ok(read @ 1..) = rustix::io::read(&self.pipe, &mut bytes) {
            self.count += read;
        }
        self.count
    }

    pub(crate) fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        set.read(&self.pipe);
    }
}
