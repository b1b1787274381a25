//! Time as a parameter: milliseconds of a clock that only moves forward.
//!
//! Core never reads a clock. An [`Instant`] is not serializable on purpose: the clock it counts on starts
//! anew at every boot, so no deadline may ever be saved.

use core::fmt::{self, Write};
use core::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

use crate::digits;
use crate::message::Coded;

/// A length of time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Duration(u64);

impl Duration {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// The longest.
    pub const MAX: Self = Self(u64::MAX);

    /// `n` milliseconds.
    #[must_use]
    pub const fn from_millis(n: u64) -> Self {
        Self(n)
    }

    /// `n` seconds; saturates.
    #[must_use]
    pub const fn from_secs(n: u64) -> Self {
        Self(n.saturating_mul(1000))
    }

    /// Milliseconds.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds, rounded down.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        digits::divide(self.0, 1000).0
    }

    /// Both together; saturates.
    #[must_use]
    #[inline(never)]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left of it after `other`; zero when that is longer.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The double; saturates.
    #[must_use]
    pub const fn doubled(self) -> Self {
        Self(self.0.saturating_mul(2))
    }
}

/// For people, rounded down to seconds, from two hours on to minutes: `600 s`, `30 minutes`, `2 hours`, `2 h 5 min`.
impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.as_secs();
        let (minutes, hours) = (seconds / 60, seconds / 3600);
        match seconds {
            0..1000 => write!(f, "{seconds} s"),
            3600 => f.write_str("1 hour"),
            _ if seconds.is_multiple_of(86_400) && hours > 24 => write!(f, "{} days", hours / 24),
            _ if seconds.is_multiple_of(3600) => write!(f, "{hours} hours"),
            _ if hours >= 2 => write!(f, "{hours} h {} min", minutes % 60),
            _ if seconds.is_multiple_of(60) => write!(f, "{minutes} minutes"),
            _ => write!(f, "{minutes} min {} s", seconds % 60),
        }
    }
}

impl Coded for Duration {
    fn content(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char(LETTER)?;
        digits::decimal(f, self.as_secs())
    }
}

/// Stands before the seconds of a time in a code.
pub(crate) const LETTER: char = 'T';

/// A point on the monotonic clock of this boot, in milliseconds. Arithmetic saturates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The start of the clock.
    pub const ZERO: Self = Self(0);

    /// `n` milliseconds after the start of the clock.
    #[must_use]
    pub const fn from_millis(n: u64) -> Self {
        Self(n)
    }

    /// Milliseconds since the start of the clock.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Time from `earlier` to here; zero when `earlier` is later.
    #[must_use]
    #[inline(never)]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    #[inline(never)]
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(rhs.0))
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(rhs.0))
    }
}

/// The earlier of two optional points in time; `None` means "never".
#[must_use]
pub fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, None) => a,
        (None, b) => b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn a_long_time_is_told_in_minutes_and_hours() {
        for (seconds, text) in [
            (90, "90 s"),
            (600, "600 s"),
            (1800, "30 minutes"),
            (1830, "30 min 30 s"),
            (3600, "1 hour"),
            (5400, "90 minutes"),
            (7200, "2 hours"),
            (7500, "2 h 5 min"),
            (86_400, "24 hours"),
            (604_800, "7 days"),
        ] {
            assert_eq!(Duration::from_secs(seconds).to_string(), text);
        }
    }
}
