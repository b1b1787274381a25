//! Values of options that several commands share.

use thimble_core::time::Duration;

/// The longest time that an option takes: nothing of a device's life is longer than ten years.
const LONGEST: u64 = 10 * 365 * 86400;

/// A time: a number with `ms`, `s`, `m` or `min`, `h` or `d`; seconds without one.
///
/// # Errors
/// It is none, or longer than ten years.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let factor = match unit {
        "ms" => Some(1),
        "" | "s" => Some(1000),
        "min" | "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    let number = number.parse::<u64>().ok().zip(factor);
    let time = number.and_then(|(number, factor)| number.checked_mul(factor));
    let time = time.filter(|time| *time <= LONGEST * 1000);
    time.map(Duration::from_millis).ok_or_else(|| format!("{text:?} is no time like 60s, 5min, 2h or 1d"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("60", 60_000),
            ("60s", 60_000),
            ("5min", 300_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
            ("0", 0),
        ] {
            assert_eq!(time(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in
            ["", "h", "-1s", "1.5h", "1 h", "1y", "99999999999999999999s", "3651d", "18446744073709551615h"]
        {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
