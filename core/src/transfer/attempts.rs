//! How often a broken download is tried again, and what the link to the artifact is worth.

use crate::http::RetryAfter;
use crate::time::Duration;

/// Who downloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Downloader {
    /// 60 s between attempts; each MiB of progress gives all attempts back.
    Daemon,
    /// 1, 2, 4 ... 30 s between attempts, because somebody is watching; the first request is never repeated.
    CommandLine,
}

/// What follows when a link has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextLink {
    /// Another is asked for.
    Ask,
    /// None: this one was fresh, and nothing came by it.
    NothingCame,
    /// None: no attempts are left.
    NoAttempts,
}

/// The daemon's wait before an attempt.
const DAEMON_WAIT: Duration = Duration::from_secs(60);

/// The command line's first wait, and the shortest before anything is repeated (N13).
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The command line's longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Progress that gives the daemon all its attempts back, in bytes.
const PROGRESS: u64 = 1 << 20;

/// The attempts of one transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Attempts {
    downloader: Downloader,
    /// How many there are.
    count: u32,
    used: u32,
    /// The offset at which `used` was 0 last.
    since: u64,
    /// The link is that of an earlier process.
    link_is_old: bool,
    /// The offset at which a fresh link was asked for last.
    link_asked_at: Option<u64>,
}

impl Attempts {
    pub(super) const fn new(downloader: Downloader, count: u32, link_is_old: bool) -> Self {
        Self { downloader, count, used: 0, since: 0, link_is_old, link_asked_at: None }
    }

    /// Whether a request that no answer came to, or an answer that asks for patience, is repeated.
    pub(super) const fn repeats(&self, first: bool) -> bool {
        match self.downloader {
            Downloader::Daemon => true,
            Downloader::CommandLine => !first,
        }
    }

    /// The transfer broke at `offset`, or the last attempt to go on there failed: the time to wait before the next
    /// attempt, or `None` when all are used up. Ends: only progress gives attempts back, and an artifact is finite. A
    /// `Retry-After` only ever makes the wait longer.
    pub(super) fn next(&mut self, offset: u64, retry_after: Option<RetryAfter>) -> Option<Duration> {
        let wait = match self.downloader {
            Downloader::Daemon => {
                if offset.saturating_sub(self.since) >= PROGRESS {
                    self.used = 0;
                    self.since = offset;
                }
                DAEMON_WAIT
            }
            Downloader::CommandLine => {
                let doublings = self.used.min(LONGEST_WAIT.as_secs().ilog2().saturating_add(1));
                (0..doublings).fold(FIRST_WAIT, |wait, _| wait.doubled()).min(LONGEST_WAIT)
            }
        };
        if self.used >= self.count {
            return None;
        }
        self.used = self.used.saturating_add(1);
        let asked = retry_after.map_or(Duration::ZERO, |after| Duration::from_secs(after.seconds.into()));
        Some(wait.max(asked))
    }

    /// Whether a 403 at `offset` means that the link has expired. The command line got its link from a person, and a
    /// fresh link that is refused before it brought a byte is not old.
    pub(super) const fn link_may_be_old(&self, offset: u64) -> bool {
        match self.downloader {
            Downloader::Daemon => self.link_is_old || offset > 0,
            Downloader::CommandLine => false,
        }
    }

    /// The link has expired at `offset`: whether another is asked for, or why not. That uses up an attempt, as a broken
    /// connection does, and each link must bring something before the next.
    pub(super) fn next_link(&mut self, offset: u64) -> NextLink {
        if self.link_asked_at.replace(offset) == Some(offset) {
            return NextLink::NothingCame;
        }
        match self.next(offset, None) {
            Some(_) => NextLink::Ask,
            None => NextLink::NoAttempts,
        }
    }

    pub(super) const fn link_is_fresh(&mut self) {
        self.link_is_old = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn waits(downloader: Downloader, count: u32, offsets: impl Iterator<Item = u64>) -> Vec<u64> {
        let mut attempts = Attempts::new(downloader, count, false);
        offsets.map_while(|offset| attempts.next(offset, None)).map(Duration::as_secs).collect()
    }

    #[test]
    fn the_daemon_resumes_every_minute_a_counted_number_of_times() {
        assert_eq!(waits(Downloader::Daemon, 10, core::iter::repeat(5)), [60; 10]);
        assert_eq!(waits(Downloader::Daemon, 0, core::iter::repeat(5)), [0; 0]);
    }

    #[test]
    fn a_mebibyte_of_progress_gives_the_attempts_back() {
        let one_mib = [5, 5, (1 << 20) - 1, 1 << 20, 1 << 20, 1 << 20, 1 << 20];
        assert_eq!(waits(Downloader::Daemon, 3, one_mib.into_iter()), [60; 6]);
        let less = [5, 5, (1 << 20) - 1, (1 << 20) - 1];
        assert_eq!(waits(Downloader::Daemon, 3, less.into_iter()), [60; 3]);
        // Not so for the command line: at most that many, whatever was read in between.
        assert_eq!(waits(Downloader::CommandLine, 3, (1..).map(|mib| mib << 20)), [1, 2, 4]);
    }

    #[test]
    fn the_command_line_waits_longer_each_time_up_to_half_a_minute() {
        let waits = waits(Downloader::CommandLine, 10, core::iter::repeat(0));
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30, 30, 30]);
    }

    #[test]
    fn a_resume_honours_retry_after_only_upwards() {
        let mut attempts = Attempts::new(Downloader::Daemon, 10, false);
        let ask = |seconds| Some(RetryAfter { seconds });
        assert_eq!(attempts.next(0, ask(5)), Some(DAEMON_WAIT));
        assert_eq!(attempts.next(0, ask(500)), Some(Duration::from_secs(500)));
    }

    #[test]
    fn each_fresh_link_is_an_attempt_and_must_bring_something() {
        let mut attempts = Attempts::new(Downloader::Daemon, 3, false);
        let mut next = |offset| attempts.next_link(offset);
        assert_eq!([next(10), next(10), next(11)], [NextLink::Ask, NextLink::NothingCame, NextLink::Ask]);
        assert_eq!([next(12), next(13)], [NextLink::Ask, NextLink::NoAttempts], "all three are used up");
    }
}
