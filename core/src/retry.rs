//! When to try again: the back-off of requests. (A download has its own schedule, in [`crate::transfer`].)
//!
//! Only arithmetic on lengths of time; who waits, and until when, is the caller's. Nothing here is ever saved:
//! a restart begins every schedule anew.

use crate::config::{self, Config};
use crate::digits::divide;
use crate::http::RetryAfter;
use crate::time::Duration;

/// The shortest wait before anything is repeated, whatever a server says (N13).
pub const SHORTEST: Duration = config::SHORTEST;

/// The first interval of a back-off, and the floor of the reports' cap (D-15).
const START: Duration = Duration::from_secs(60);

/// How often an interval is used before it is doubled.
const REPEATS: u32 = 3;

/// All waits of one question that holds an update up, however long a server that is overloaded asks for: one day.
const LONGEST_WAITS: Duration = Duration::from_secs(24 * 60 * 60);

/// What a back-off is for: a cap below 60 s is honoured by polls and raised for reports (D-15).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Polls, inventory, authentication.
    Poll,
    /// The refresh of a control map before a door: as a poll, but not for ever.
    Refresh,
    /// The second `installing`: as a report, but not for ever.
    BeforeCommit,
    /// The final status, with the log.
    Report,
}

/// The fixed part of a back-off: 60 s three times, doubled, three times ... never above the cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Schedule {
    start: Duration,
    cap: Duration,
    /// 0: until the cap was used three times.
    count: u32,
    /// All waits together, those that the server asked for included.
    limit: Option<Duration>,
}

impl Schedule {
    /// From `RetryPollIntervalSeconds` and `RetryPollCount`.
    #[must_use]
    pub fn new(config: &Config, purpose: Purpose) -> Self {
        let floor = match purpose {
            Purpose::Poll | Purpose::Refresh => SHORTEST,
            Purpose::BeforeCommit | Purpose::Report => START,
        };
        let limit = match purpose {
            Purpose::Refresh | Purpose::BeforeCommit => Some(LONGEST_WAITS),
            Purpose::Poll | Purpose::Report => None,
        };
        let cap = config.retry_poll_interval.max(floor);
        Self { start: START.min(cap), cap, count: config.retry_poll_count, limit }
    }

    /// The wait before retry number `retry`, counted from 0, or `None` when there is no such retry.
    fn wait(self, retry: u32) -> Option<Duration> {
        if self.count != 0 && retry >= self.count {
            return None;
        }
        let mut wait = self.start;
        for _ in 0..retry / REPEATS {
            if wait >= self.cap {
                // The cap was used three times: with a count it stays, without one the schedule is over.
                return (self.count != 0).then_some(self.cap);
            }
            wait = wait.doubled().min(self.cap);
        }
        Some(wait)
    }
}

/// How far a [`Schedule`] has been used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Backoff {
    used: u32,
    /// All waits so far, where they have a limit.
    waited: Duration,
}

impl Backoff {
    /// No retry used yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { used: 0, waited: Duration::ZERO }
    }

    /// Whether anything was waited for since [`Self::reset`].
    #[must_use]
    pub fn is_used(&self) -> bool {
        *self != Self::new()
    }

    /// Uses up one retry: the time to wait before it, or `None` when the schedule is exhausted, which it stays
    /// until [`Self::reset`]. A 429 with `Retry-After` waits that long instead and uses no retry up, also when the
    /// schedule is exhausted; where all waits together have a limit, it counts towards that.
    pub fn next(&mut self, schedule: Schedule, retry_after: Option<RetryAfter>) -> Option<Duration> {
        let left = schedule.limit.map(|limit| limit.minus(self.waited));
        if left == Some(Duration::ZERO) {
            return None;
        }
        let wait = if let Some(retry_after) = retry_after {
            Duration::from_secs(retry_after.seconds.into()).max(SHORTEST)
        } else {
            let wait = schedule.wait(self.used)?;
            self.used = self.used.saturating_add(1);
            wait
        };
        let wait = left.map_or(wait, |left| wait.min(left));
        if left.is_some() {
            self.waited = self.waited.plus(wait);
        }
        Some(wait)
    }

    /// A success, or a new entry of the state: all retries are there again.
    pub const fn reset(&mut self) {
        *self = Self::new();
    }
}

/// `wait` plus up to a tenth of it, chosen by `random`: many devices switched on together must not stay
/// together. Any source of numbers will do, a constant as well.
#[must_use]
pub fn with_jitter(wait: Duration, random: u16) -> Duration {
    let (tenth, _) = divide(wait.as_millis(), 10);
    let share = u128::from(tenth).saturating_mul(random.into()) >> u16::BITS;
    Duration::from_millis(wait.as_millis().saturating_add(u64::try_from(share).unwrap_or(tenth)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn config(cap: u64, count: u32) -> Config {
        Config { retry_poll_interval: Duration::from_secs(cap), retry_poll_count: count, ..Config::default() }
    }

    /// All waits in seconds until the schedule gives up, as runs of (wait, times).
    fn runs(cap: u64, count: u32, purpose: Purpose) -> Vec<(u64, usize)> {
        let schedule = Schedule::new(&config(cap, count), purpose);
        let mut backoff = Backoff::new();
        let waits: Vec<_> = core::iter::from_fn(|| backoff.next(schedule, None))
            .map(Duration::as_secs)
            .take(10_000)
            .collect();
        waits.chunk_by(|a, b| a == b).map(|run| (run[0], run.len())).collect()
    }

    #[test]
    fn every_row_of_the_back_off_table() {
        use Purpose::Poll;
        assert_eq!(runs(300, 0, Poll), [(60, 3), (120, 3), (240, 3), (300, 3)]);
        assert_eq!(runs(60, 0, Poll), [(60, 3)]);
        assert_eq!(runs(30, 0, Poll), [(30, 3)]);
        assert_eq!(runs(300, 15, Poll), [(60, 3), (120, 3), (240, 3), (300, 6)]);
        assert_eq!(runs(1800, 5, Poll), [(60, 3), (120, 2)]);
        assert_eq!(runs(1800, 0, Poll), [(60, 3), (120, 3), (240, 3), (480, 3), (960, 3), (1800, 3)]);
    }

    #[test]
    fn reports_raise_a_cap_below_a_minute_and_polls_do_not() {
        assert_eq!(runs(30, 0, Purpose::Report), [(60, 3)]);
        assert_eq!(runs(30, 7, Purpose::Report), [(60, 7)]);
        assert_eq!(runs(30, 7, Purpose::Poll), [(30, 7)]);
        assert_eq!(runs(300, 0, Purpose::Report), runs(300, 0, Purpose::Poll));
    }

    #[test]
    fn n13_an_interval_of_zero_waits_a_second() {
        assert_eq!(runs(0, 0, Purpose::Poll), [(1, 3)]);
        assert_eq!(runs(0, 4, Purpose::Poll), [(1, 4)]);
        assert_eq!(runs(0, 0, Purpose::Report), [(60, 3)]);
        let mut backoff = Backoff::new();
        let at_once = Some(RetryAfter { seconds: 0 });
        assert_eq!(backoff.next(Schedule::new(&config(0, 1), Purpose::Poll), at_once), Some(SHORTEST));
    }

    #[test]
    fn the_largest_settings_neither_overflow_nor_hang() {
        let config = Config {
            retry_poll_interval: Duration::from_millis(u64::MAX),
            retry_poll_count: u32::MAX,
            ..Config::default()
        };
        let schedule = Schedule::new(&config, Purpose::Report);
        let mut backoff = Backoff { used: u32::MAX - 1, ..Backoff::new() };
        assert_eq!(backoff.next(schedule, None), Some(Duration::from_millis(u64::MAX)));
        assert_eq!(backoff.next(schedule, None), None);
    }

    #[test]
    fn an_exhausted_back_off_stays_so_until_it_is_reset() {
        let schedule = Schedule::new(&config(60, 1), Purpose::Poll);
        let mut backoff = Backoff::new();
        assert!(backoff.next(schedule, None).is_some());
        assert_eq!(backoff.next(schedule, None), None);
        assert_eq!(backoff.next(schedule, None), None);
        backoff.reset();
        assert_eq!(backoff.next(schedule, None), Some(START));
    }

    #[test]
    fn retry_after_replaces_the_wait_and_uses_nothing_up() {
        let schedule = Schedule::new(&config(300, 0), Purpose::Report);
        let mut backoff = Backoff::new();
        for seconds in [7, 3600] {
            let wait = backoff.next(schedule, Some(RetryAfter { seconds }));
            assert_eq!(wait, Some(Duration::from_secs(seconds.into())));
        }
        assert_eq!(backoff, Backoff::new());
    }

    #[test]
    fn jitter_adds_at_most_a_tenth() {
        let wait = Duration::from_secs(60);
        assert_eq!(with_jitter(wait, 0), wait);
        assert_eq!(with_jitter(wait, 1 << 15), Duration::from_secs(63));
        assert!(with_jitter(wait, u16::MAX) < Duration::from_secs(66));
        let longest = Duration::from_millis(u64::MAX);
        assert_eq!(with_jitter(longest, u16::MAX), longest);
    }
}
