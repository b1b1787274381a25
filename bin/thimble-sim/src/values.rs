//! Options and their values, as several commands read them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use thimble_core::time::Duration;

/// Most bytes of settings and of a control map, and of a line of a log.
pub(crate) const MOST_TEXT: u64 = 1 << 20;

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

/// Options that have been read: none stands twice, unless it is one of those that are repeatable.
pub(crate) struct Once<'w> {
    repeatable: &'static [&'static str],
    seen: BTreeSet<&'w str>,
}

impl<'w> Once<'w> {
    pub(crate) const fn but(repeatable: &'static [&'static str]) -> Self {
        Self { repeatable, seen: BTreeSet::new() }
    }

    /// One more word, which is no value of an option.
    ///
    /// # Errors
    /// It is an option that stood there before: one of the two values would be lost.
    pub(crate) fn read(&mut self, word: &'w str) -> Result<(), String> {
        if !word.starts_with("--") || self.repeatable.contains(&word) || self.seen.insert(word) {
            return Ok(());
        }
        Err(format!("{word} stands there twice, and once is all that is possible"))
    }
}

/// What is in a file of at most so many bytes.
///
/// # Errors
/// It cannot be read, is longer, or is a folder, a pipe or a device, whose end nobody knows. The path comes first.
pub(crate) fn bytes(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let about = fs::metadata(path).map_err(|error| wrong(&error))?;
    if !about.is_file() {
        return Err(wrong(&"it is no file"));
    }
    if about.len() > most {
        return Err(wrong(&format!("it has {} bytes, and at most {most} are taken", about.len())));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| wrong(&error))?;
    // It may grow meanwhile, and some files say that they are empty.
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| wrong(&error))?;
    if bytes.len() as u64 > most {
        return Err(wrong(&format!("it has more than {most} bytes")));
    }
    Ok(bytes)
}

/// The text in a file of at most [`MOST_TEXT`] bytes.
///
/// # Errors
/// As with [`bytes`], or it is no UTF-8.
pub(crate) fn text(path: &str) -> Result<String, String> {
    String::from_utf8(bytes(Path::new(path), MOST_TEXT)?)
        .map_err(|_| format!("{path}: it is no text in UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_grows_or_hides_its_length_is_not_read_without_end() {
        // Its length is told as 0.
        let path = Path::new("/proc/self/status");
        assert!(bytes(path, 1 << 16).is_ok_and(|bytes| !bytes.is_empty()));
        assert_eq!(bytes(path, 10), Err("/proc/self/status: it has more than 10 bytes".into()));
    }

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
