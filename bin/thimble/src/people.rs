//! Times and sizes as people say them.

/// A time of so many seconds, in two units at most: `45 s`, `2 min 5 s`, `27 min`, `2 h 5 min`, `3 days 4 h`.
pub(crate) fn time(seconds: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let both = |unit: u64, name: &str, small: u64, small_name: &str| {
        let (whole, rest) = (seconds / unit, seconds % unit / small);
        if rest == 0 { format!("{whole} {name}") } else { format!("{whole} {name} {rest} {small_name}") }
    };
    match seconds {
        0..MINUTE => format!("{seconds} s"),
        // Of a longer time nobody counts the seconds.
        MINUTE..600 => both(MINUTE, "min", 1, "s"),
        600..HOUR => format!("{} min", seconds / MINUTE),
        HOUR..172_800 => both(HOUR, "h", MINUTE, "min"),
        _ => both(DAY, "days", HOUR, "h"),
    }
}

/// So many bytes: `512 bytes`, `1.5 KiB`, `12.3 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    let mut tenths = u128::from(bytes) * 10;
    let mut unit = "bytes";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if tenths < 10_240 {
            break;
        }
        (tenths, unit) = (tenths / 1024, larger);
    }
    if unit == "bytes" { format!("{bytes} bytes") } else { format!("{}.{} {unit}", tenths / 10, tenths % 10) }
}

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn list<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<&str> = words.into_iter().collect();
    match words.split_last() {
        Some((last, front @ [_, ..])) => format!("{} and {last}", front.join(", ")),
        Some((only, [])) => (*only).to_owned(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_two_units_at_most() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (125, "2 min 5 s"),
            (600, "10 min"),
            (1625, "27 min"),
            (3599, "59 min"),
            (3600, "1 h"),
            (7500, "2 h 5 min"),
            (86_400, "24 h"),
            (172_800, "2 days"),
            (3 * 86_400 + 4 * 3600 + 59, "3 days 4 h"),
        ] {
            assert_eq!(time(seconds), text);
        }
    }

    #[test]
    fn a_size_has_three_digits_or_so() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (12_897_485, "12.3 MiB"),
            (3 << 30, "3.0 GiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        assert!(size(u64::MAX).ends_with(" TiB"));
    }

    #[test]
    fn a_list_reads_as_a_sentence() {
        assert_eq!(
            [list([]), list(["a"]), list(["a", "b"]), list(["a", "b", "c"])],
            ["", "a", "a and b", "a, b and c"]
        );
    }
}
