//! The clock of the client: time since boot.

use rustix::time::{ClockId, clock_gettime};
use thimble_core::hal;
use thimble_core::time::Instant;

/// Milliseconds since boot, time in suspend included: a device that slept past a poll interval polls at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct BootClock;

impl hal::Clock for BootClock {
    fn now(&mut self) -> Instant {
        let now = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let millis = u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000;
        Instant::from_millis(seconds.saturating_mul(1000).saturating_add(millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use thimble_core::hal::Clock;

    #[test]
    fn never_goes_back() {
        let (first, second) = (BootClock.now(), BootClock.now());
        assert!(first > Instant::ZERO && second >= first);
    }
}
