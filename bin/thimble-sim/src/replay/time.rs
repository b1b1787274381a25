//! Times of log lines.

/// Seconds since 1970 of a time as in `2026-11-30T15:08:06Z`, with fractions or an offset behind it; `None`: it is no time.
pub(super) fn seconds(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let marks = [(4, "-"), (7, "-"), (10, "T"), (13, ":"), (16, ":")];
    if marks.into_iter().any(|(at, mark)| text.get(at..at + 1) != Some(mark)) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let sound = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !sound || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let utc = days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
    let zone = text.get(19..)?.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let (ahead, zone) = match (zone.strip_prefix('+'), zone.strip_prefix('-')) {
        (Some(zone), _) => (true, zone),
        (None, Some(zone)) => (false, zone),
        (None, None) => return Some(utc),
    };
    let (hours, minutes) = zone.split_once(':')?;
    let offset = hours.parse::<u64>().ok().filter(|hours| *hours < 24)? * 3600
        + minutes.parse::<u64>().ok().filter(|minutes| *minutes < 60)? * 60;
    Some(if ahead { utc.saturating_sub(offset) } else { utc + offset })
}

/// Days since 1970: years begin with March, so that the day that some years have more is their last.
const fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = year / 4 - year / 100 + year / 400;
    365 * year + leaps + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn times_of_logs() {
        for (text, wanted) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("2000-03-01T00:00:00.123456Z", 951_868_800),
            ("2026-11-30T15:08:06Z", 1_796_051_286),
            ("2026-11-30T16:08:06+01:00", 1_796_051_286),
            ("2026-11-30T10:38:06-04:30", 1_796_051_286),
        ] {
            assert_eq!(seconds(text), Some(wanted), "{text}");
        }
        for text in
            ["", "now", "2026-11-30", "2026-13-01T00:00:00Z", "1969-12-31T00:00:00Z", "2026-11-30T15:08:06+x"]
        {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
