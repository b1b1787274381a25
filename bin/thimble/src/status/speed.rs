//! How fast a download is, as measured.

use std::collections::VecDeque;

use thimble_core::time::{Duration, Instant};

/// How long back is looked: a link that stands still for so long has no speed any more.
const WINDOW: Duration = Duration::from_secs(20);

/// Between two measurements.
const STEP: Duration = Duration::from_secs(1);

/// What had come when, of one download.
#[derive(Debug, Default)]
pub(crate) struct Speed {
    seen: VecDeque<(Instant, u64)>,
}

impl Speed {
    /// So much has come by now. Less than before: another download has begun.
    pub(crate) fn note(&mut self, now: Instant, received: u64) {
        match self.seen.back() {
            Some(&(_, before)) if received < before => self.seen.clear(),
            Some(&(at, _)) if now.since(at) < STEP => return,
            Some(_) | None => {}
        }
        while self.seen.front().is_some_and(|&(at, _)| now.since(at) > WINDOW) {
            self.seen.pop_front();
        }
        self.seen.push_back((now, received));
    }

    /// Nothing is downloaded.
    pub(crate) fn forget(&mut self) {
        self.seen.clear();
    }

    /// Bytes a second lately; `None`: that was not measured for long enough yet.
    pub(crate) fn of(&self, now: Instant, received: u64) -> Option<u64> {
        let (last, _) = self.seen.back()?;
        let in_window = self.seen.iter().find(|(at, _)| now.since(*at) <= WINDOW);
        let Some(&(at, before)) = in_window else {
            // Nothing has come since.
            return (now.since(*last) > WINDOW).then_some(0);
        };
        let time = now.since(at);
        let bytes = u128::from(received.saturating_sub(before));
        let speed = bytes.saturating_mul(1000).checked_div(time.as_millis().into())?;
        u64::try_from(speed).ok().filter(|_| time >= STEP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: fn(u64) -> Instant = |millis| Instant::from_millis(millis);

    #[test]
    fn a_speed_is_that_of_the_last_seconds() {
        let mut speed = Speed::default();
        assert_eq!(speed.of(AT(0), 0), None);
        speed.note(AT(0), 1000);
        // What was there before counts for nothing: a download that goes on.
        assert_eq!(speed.of(AT(999), 3000), None);
        assert_eq!(speed.of(AT(2000), 3000), Some(1000));
        for second in 1..=60 {
            speed.note(AT(second * 1000), 1000 + second * 500);
        }
        assert_eq!(speed.of(AT(60_500), 31_000), Some(487));
        assert!(speed.seen.len() <= 21, "{}", speed.seen.len());
        // It stands still.
        assert_eq!(speed.of(AT(70_000), 31_000), Some(250));
        assert_eq!(speed.of(AT(90_000), 31_000), Some(0));
    }

    #[test]
    fn another_download_begins_anew() {
        let mut speed = Speed::default();
        speed.note(AT(0), 0);
        speed.note(AT(1000), 5000);
        speed.note(AT(1100), 10);
        assert_eq!(speed.of(AT(2100), 1010), Some(1000));
        speed.forget();
        assert_eq!(speed.of(AT(2100), 1010), None);
    }
}
