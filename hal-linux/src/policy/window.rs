//! Update windows, in local time.

use std::fmt;

use thimble_core::time::Duration;

use super::{AtDeadline, DEADLINE, Points};
use crate::sys;

/// 2025-01-01 in seconds since 1970. A clock that shows an earlier time was never set: this client did not exist then.
pub const EARLIEST: u64 = 1_735_689_600;

const DAY: u16 = 24 * 60;

/// The names of days in `mender.conf`; the index is [`Local::weekday`].
pub const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

/// A time of day at which updates may pass some points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The points before which the window applies.
    pub points: Points,
    /// When the window opens.
    pub from: Minute,
    /// When the window closes; if this is not later than `from`, on the next day.
    pub to: Minute,
    /// The days on which the window opens, one bit each; bit 0 is Sunday.
    pub days: u8,
    /// How long an update waits for the window at most.
    pub deadline: Duration,
    /// What happens to the update after that time.
    pub then: AtDeadline,
}

impl Window {
    /// A window of every day, with the configuration's defaults for the rest.
    #[must_use]
    pub fn daily(points: Points, from: Minute, to: Minute) -> Self {
        Self { points, from, to, days: 0x7f, deadline: DEADLINE, then: AtDeadline::default() }
    }

    /// Whether the window is open at `now`.
    #[must_use]
    pub fn is_open(&self, now: Local) -> bool {
        let opens_on = |weekday: u8| self.days >> (weekday % 7) & 1 == 1;
        let (from, to, minute) = (self.from.0, self.to.0, now.minute.0);
        if from < to {
            return opens_on(now.weekday) && (from..to).contains(&minute);
        }
        // The window goes over midnight. Its first part belongs to the day on which it opens, its second part to the
        // next day, so for that part the day before is checked.
        (minute >= from && opens_on(now.weekday)) || (minute < to && opens_on(now.weekday + 6))
    }

    /// After how much time it opens the next time, to the minute; `None`: on no day.
    #[must_use]
    pub fn opens(&self, now: Local) -> Option<Duration> {
        let until =
            |days: u16| (days * DAY + self.from.0).checked_sub(now.minute.0).filter(|&minutes| minutes > 0);
        let days = (0..=7).filter(|days| self.days >> ((now.weekday + days) % 7) & 1 == 1);
        let minutes = days.filter_map(|days| until(days.into())).min()?;
        Some(Duration::from_secs(u64::from(minutes) * 60))
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.from, self.to)?;
        if self.days & 0x7f != 0x7f {
            let names = DAYS.iter().enumerate().filter(|(day, _)| self.days >> day & 1 == 1);
            names.map(|(_, name)| name).try_for_each(|name| write!(f, " {name}"))?;
        }
        Ok(())
    }
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", DAYS[usize::from(self.weekday % 7)], self.minute)
    }
}

/// A minute of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Minute(u16);

impl Minute {
    /// Reads `HH:MM`, from `00:00` to `24:00`; `24:00` is the midnight at the end of the day.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (hours, minutes) = text.split_once(':')?;
        let number = |text: &str| {
            let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse::<u16>().ok()).flatten()
        };
        let (hours, minutes) = (number(hours)?, number(minutes)?);
        let minute = hours * 60 + minutes;
        (minutes < 60 && minute <= DAY).then_some(Self(minute))
    }
}

impl fmt::Display for Minute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

/// A local time, as a clock on the wall shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// 0 is Sunday.
    pub weekday: u8,
    /// The minute of the day.
    pub minute: Minute,
}

impl Local {
    /// The time so many minutes after a Monday began.
    #[must_use]
    pub fn of_week(minutes: u32) -> Self {
        let (day, minute) = (minutes / u32::from(DAY) + 1, minutes % u32::from(DAY));
        Self { weekday: (day % 7) as u8, minute: Minute(minute as u16) }
    }

    /// The current time by the system's clock and time zone; `None` when the clock was not set.
    #[must_use]
    pub fn now() -> Option<Self> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?;
        Self::at(now.as_secs())
    }

    /// What it will be after this time; `None` when the clock was not set.
    #[must_use]
    pub fn after(time: Duration) -> Option<Self> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?;
        Self::now()?;
        Self::at(now.as_secs().saturating_add(time.as_secs()))
    }

    fn at(seconds: u64) -> Option<Self> {
        if seconds < EARLIEST {
            return None;
        }
        let (weekday, hour, minute) = sys::local_time(i64::try_from(seconds).ok()?)?;
        Some(Self { weekday, minute: Minute(u16::from(hour) * 60 + u16::from(minute)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u8 = 0x7f;

    fn window(from: &str, to: &str, days: u8) -> Window {
        let minute = |text| Minute::parse(text).unwrap();
        Window {
            points: Points::default(),
            from: minute(from),
            to: minute(to),
            days,
            deadline: Duration::from_secs(1),
            then: AtDeadline::Continue,
        }
    }

    fn local(weekday: u8, minute: &str) -> Local {
        Local { weekday, minute: Minute::parse(minute).unwrap() }
    }

    #[test]
    fn the_minutes_of_a_week_are_counted_from_monday() {
        for (minutes, weekday, text) in [
            (0, 1, "00:00"),
            (24 * 60 - 1, 1, "23:59"),
            (6 * 24 * 60 + 61, 0, "01:01"),
            (7 * 24 * 60, 1, "00:00"),
        ] {
            assert_eq!(Local::of_week(minutes), Local { weekday, minute: Minute::parse(text).unwrap() });
        }
    }

    #[test]
    fn a_window_is_open_from_its_first_minute_to_before_its_last() {
        let night = window("02:00", "04:00", ALL);
        for (time, open) in [("01:59", false), ("02:00", true), ("03:59", true), ("04:00", false)] {
            assert_eq!(night.is_open(local(3, time)), open, "{time}");
        }
        let day = window("00:00", "24:00", ALL);
        assert!(day.is_open(local(0, "00:00")) && day.is_open(local(0, "23:59")));
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_it_opens_on() {
        // Opens on Saturday only.
        let night = window("22:00", "04:00", 1 << 6);
        for (day, time, open) in [
            (6, "21:59", false),
            (6, "22:00", true),
            (6, "23:59", true),
            (0, "00:00", true),
            (0, "03:59", true),
            (0, "04:00", false),
            (0, "22:00", false),
            (6, "03:00", false),
        ] {
            assert_eq!(night.is_open(local(day, time)), open, "{day} {time}");
        }
        let always = window("05:00", "05:00", ALL);
        assert!(always.is_open(local(2, "04:59")) && always.is_open(local(2, "05:00")));
    }

    #[test]
    fn a_window_says_when_it_opens_next() {
        let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
        let night = window("02:00", "04:00", ALL);
        assert_eq!(night.opens(local(3, "01:00")), hours(1));
        assert_eq!(night.opens(local(3, "02:00")), hours(24));
        assert_eq!(night.opens(local(3, "21:00")), hours(5));
        // Sundays and Saturdays.
        let weekend = window("02:00", "04:00", 0b100_0001);
        assert_eq!(weekend.opens(local(0, "03:00")), hours(6 * 24 - 1));
        assert_eq!(weekend.opens(local(6, "03:00")), hours(23));
        let sunday = window("02:00", "04:00", 1);
        assert_eq!(sunday.opens(local(0, "03:00")), hours(7 * 24 - 1));
        assert_eq!(window("02:00", "04:00", 0).opens(local(0, "03:00")), None);
        assert_eq!(local(6, "23:59").to_string(), "Sat 23:59");
    }

    #[test]
    fn minutes_are_two_numbers_of_two_digits() {
        for (text, printed) in [("00:00", "00:00"), ("23:59", "23:59"), ("24:00", "24:00")] {
            assert_eq!(Minute::parse(text).unwrap().to_string(), printed);
        }
        for bad in ["", "2:00", "02:60", "24:01", "25:00", "+2:00", "02-00", "02:00:00", "0200", "02: 0"] {
            assert_eq!(Minute::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_clock_that_was_never_set_is_told_apart() {
        assert_eq!(Local::at(0), None);
        assert_eq!(Local::at(EARLIEST - 1), None);
        // A Wednesday; which hour it is depends on the zone this test runs in.
        let wednesday = Local::at(EARLIEST + 12 * 3600).unwrap();
        assert!((2..5).contains(&wednesday.weekday), "{wednesday:?}");
    }

    #[test]
    fn the_local_time_goes_on_after_2038_on_a_processor_of_32_bits_too() {
        // A Friday at noon, in 2100.
        let friday = Local::at(4_102_488_000).unwrap();
        assert!((4..7).contains(&friday.weekday), "{friday:?}");
    }

    #[test]
    fn days_are_named_when_they_are_not_all() {
        assert_eq!(window("02:00", "04:00", ALL).to_string(), "02:00-04:00");
        assert_eq!(window("02:00", "04:00", 0b100_0001).to_string(), "02:00-04:00 Sun Sat");
    }
}
