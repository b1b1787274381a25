//! Dates in the form that logs and the server use: RFC 3339, always UTC (L6).

use std::time::{SystemTime, UNIX_EPOCH};

const DAY: u64 = 86_400;

/// `time` to the second, such as `2026-02-28T23:59:59Z`. A time before 1970 is shown as the beginning of 1970.
#[must_use]
pub fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (year, month, day) = civil(seconds / DAY);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day, `days` after 1970-01-01. The calculation uses periods of 400 years, which all have the same
/// length, and years that begin in March, so that the leap day is the last day of a year.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let (month, carry) =
        if month_from_march < 10 { (month_from_march + 3, 0) } else { (month_from_march - 9, 1) };
    (era * 400 + year_of_era + carry, month, day)
}

/// True for a date and time that the server's reader accepts: `YYYY-MM-DDThh:mm:ss`, perhaps a fraction, and `Z`
/// or an offset.
pub(super) fn is_rfc3339(text: &str) -> bool {
    let bytes = text.as_bytes();
    let Some((front, mut rest)) = bytes.split_first_chunk::<19>() else { return false };
    let number = |at: std::ops::Range<usize>| front[at].iter().try_fold(0, digit);
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if marks.iter().any(|&(at, mark)| front[at] != mark) {
        return false;
    }
    let numbers = [number(0..4), number(5..7), number(8..10), number(11..13), number(14..16), number(17..19)];
    let [Some(year), Some(month), Some(day), Some(hour), Some(minute), Some(second)] = numbers else {
        return false;
    };
    if !(1..=12).contains(&month)
        || day < 1
        || day > days_in(year, month)
        || hour > 23
        || minute > 59
        || second > 59
    {
        return false;
    }
    if let [b'.', fraction @ ..] = rest {
        let digits = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
        if !(1..=9).contains(&digits) {
            return false;
        }
        rest = &fraction[digits..];
    }
    match rest {
        [b'Z'] => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => {
            let hours = [*h1, *h2].iter().try_fold(0, digit);
            let minutes = [*m1, *m2].iter().try_fold(0, digit);
            hours.is_some_and(|h| h < 24) && minutes.is_some_and(|m| m < 60)
        }
        _ => false,
    }
}

fn digit(number: u32, byte: &u8) -> Option<u32> {
    byte.is_ascii_digit().then(|| number * 10 + u32::from(byte - b'0'))
}

fn days_in(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: u64) -> String {
        rfc3339(UNIX_EPOCH + Duration::from_secs(seconds))
    }

    #[test]
    fn known_dates() {
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(951_868_800), "2000-03-01T00:00:00Z");
        assert_eq!(at(1_735_689_599), "2024-12-31T23:59:59Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00Z");
        assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_secs(5)), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut before = (1969, 12, 31);
        for days in 0..200_000 {
            let (year, month, day) = civil(days);
            let length = u64::from(days_in(before.0 as u32, before.1 as u32));
            let next = match before {
                (y, 12, 31) => (y + 1, 1, 1),
                (y, m, d) if d == length => (y, m + 1, 1),
                (y, m, d) => (y, m, d + 1),
            };
            assert_eq!((year, month, day), next);
            assert!(is_rfc3339(&at(days * DAY + days % DAY)));
            before = next;
        }
    }

    #[test]
    fn l6_the_time_zone_of_the_process_changes_nothing() {
        // Nothing here asks for a zone; what `date` makes of the same second in UTC is the proof.
        let seconds = 1_700_000_000;
        let mut date = std::process::Command::new("date");
        let out =
            date.env("TZ", "Asia/Tokyo").args(["-u", "-d", &format!("@{seconds}"), "+%Y-%m-%dT%H:%M:%SZ"]);
        assert_eq!(at(seconds), String::from_utf8(out.output().unwrap().stdout).unwrap().trim());
    }

    #[test]
    fn only_real_dates_are_accepted() {
        for good in ["2024-02-29T00:00:00Z", "2023-12-31T23:59:59.123456Z", "2023-01-01T00:00:00+02:00"] {
            assert!(is_rfc3339(good), "{good}");
        }
        for bad in [
            "",
            "2023-02-29T00:00:00Z",
            "2023-13-01T00:00:00Z",
            "2023-01-00T00:00:00Z",
            "2023-01-01T24:00:00Z",
            "2023-01-01 00:00:00Z",
            "2023-01-01T00:00:00",
            "2023-01-01T00:00:00.Z",
            "2023-01-01T00:00:00+0200",
            "2023-01-01T00:00:00ZZ",
            "2023-01-01T00:00:0é",
        ] {
            assert!(!is_rfc3339(bad), "{bad}");
        }
    }
}
