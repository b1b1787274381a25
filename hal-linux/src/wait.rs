//! One `poll(2)` for everything the client waits for; no threads.
//!
//! Each turn of the main loop: make an empty [`PollSet`], let every component add the descriptors it waits for
//! (`component.wants(&mut set)`), then [`PollSet::wait`] until one of them is ready or the earliest deadline has
//! come. The set does not report which one it was: all components are polled again, and a poll too early is harmless.
//!
//! A component adds a descriptor only while its next `poll_*` would read from or write to it. Otherwise the descriptor
//! would stay ready, and the loop would spin.

use std::io;
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use thimble_core::time::{Duration, Instant};

/// The descriptors to wait for in this turn.
#[derive(Debug, Default)]
pub struct PollSet<'fd> {
    fds: Vec<PollFd<'fd>>,
}

impl<'fd> PollSet<'fd> {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Wakes when `fd` can be read, is at its end, or is broken.
    pub fn read(&mut self, fd: &'fd impl AsFd) {
        self.fds.push(PollFd::new(fd, PollFlags::IN));
    }

    /// Wakes when `fd` can be written, or is broken.
    pub fn write(&mut self, fd: &'fd impl AsFd) {
        self.fds.push(PollFd::new(fd, PollFlags::OUT));
    }

    /// Number of descriptors added.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fds.len()
    }

    /// True when no descriptor was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fds.is_empty()
    }

    /// Waits until a descriptor is ready, a signal arrived, or `until` has come (`None`: never). May return
    /// early; does not wait at all when `until` is not after `now`.
    pub fn wait(self, now: Instant, until: Option<Instant>) -> io::Result<()> {
        self.poll(until.map(|until| timespec(until.since(now)))).map(drop)
    }

    /// As [`Self::wait`]; says whether a descriptor is ready.
    pub(crate) fn wait_ready(self, now: Instant, until: Instant) -> io::Result<bool> {
        self.poll(Some(timespec(until.since(now))))
    }

    fn poll(mut self, timeout: Option<Timespec>) -> io::Result<bool> {
        match poll(&mut self.fds, timeout.as_ref()) {
            Ok(ready) => Ok(ready > 0),
            // A signal interrupted the wait: its component finds it in its next poll.
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// When to check again for something that no descriptor reports: ten times after a millisecond, then after a time that
/// doubles up to 50 ms.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backoff {
    tries: u8,
    at: Option<Instant>,
}

impl Backoff {
    const QUICK_TRIES: u8 = 10;
    const LONGEST: u64 = 50;

    /// True when the time of the next try has come, also before the first.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.at.is_none_or(|at| now >= at)
    }

    /// The check was made and found nothing: sets the time of the next one.
    pub(crate) fn again(&mut self, now: Instant) {
        let doublings = self.tries.saturating_sub(Self::QUICK_TRIES).min(16);
        self.tries = self.tries.saturating_add(1);
        self.at = Some(now + Duration::from_millis((1 << doublings).min(Self::LONGEST)));
    }

    /// Time of the next try; `None` while none was made.
    pub(crate) fn at(&self) -> Option<Instant> {
        self.at
    }
}

fn timespec(length: Duration) -> Timespec {
    let millis = length.as_millis();
    // A wait of centuries may end early, like every wait here.
    let tv_sec = i32::try_from(millis / 1000).unwrap_or(i32::MAX).into();
    let nanos = i32::try_from(millis % 1000 * 1_000_000).unwrap_or(0);
    Timespec { tv_sec, tv_nsec: nanos.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_when_a_descriptor_is_ready() {
        let (read, write) = rustix::pipe::pipe().unwrap();
        rustix::io::write(&write, b"x").unwrap();
        let mut set = PollSet::new();
        set.read(&read);
        // Without a time limit: only the descriptor can end this wait.
        set.wait(Instant::ZERO, None).unwrap();
    }

    #[test]
    fn a_broken_pipe_ends_the_wait_for_room() {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        while rustix::io::write(&write, &[0; 4096]).is_ok() {}
        drop(read);
        let mut set = PollSet::new();
        set.write(&write);
        set.wait(Instant::ZERO, None).unwrap();
    }

    #[test]
    fn a_deadline_in_the_past_does_not_wait() {
        let (read, _write) = rustix::pipe::pipe().unwrap();
        let mut set = PollSet::new();
        set.read(&read);
        set.wait(Instant::from_millis(5), Some(Instant::from_millis(3))).unwrap();
    }

    #[test]
    fn tries_become_rarer() {
        let mut backoff = Backoff::default();
        let mut now = Instant::ZERO;
        assert!(backoff.is_due(now));
        let waits: Vec<u64> = (0..20)
            .map(|_| {
                backoff.again(now);
                assert!(!backoff.is_due(now));
                let wait = backoff.at().unwrap().since(now).as_millis();
                now = backoff.at().unwrap();
                assert!(backoff.is_due(now));
                wait
            })
            .collect();
        assert_eq!(waits[..12], [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2]);
        assert_eq!(waits[12..], [4, 8, 16, 32, 50, 50, 50, 50]);
    }

    #[test]
    fn lengths_become_seconds_and_nanoseconds() {
        let t = timespec(Duration::from_millis(1_234));
        assert_eq!((t.tv_sec, t.tv_nsec), (1, 234_000_000));
        let t = timespec(Duration::from_millis(u64::MAX));
        assert_eq!(t.tv_sec, i64::from(i32::MAX));
    }
}
