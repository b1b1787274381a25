//! The policies of the device.

use thimble_core::deployment::Point;
use thimble_core::hal::{Permit, Policy, Poll};
use thimble_core::time::{Duration, Instant};

use super::Handle;

/// What a policy of the device says before one point.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// There is none.
    None,
    /// Not now, for this reason; it is asked again after a minute.
    Busy(String),
    /// Only between these minutes of the day.
    Window(u16, u16),
    /// Never, for this reason: the update fails.
    Never(String),
}

/// Asks them.
pub struct Doorkeeper {
    bench: Handle,
    answer: Permit,
    reason: String,
}

impl Doorkeeper {
    pub(super) fn new(bench: Handle) -> Self {
        Self { bench, answer: Permit::Go, reason: String::new() }
    }
}

impl Policy for Doorkeeper {
    fn start(&mut self, now: Instant, point: Point, _: Instant) {
        let mut bench = self.bench.0.borrow_mut();
        bench.asked[point as usize] += 1;
        let minute = Duration::from_secs(60);
        (self.answer, self.reason) = match &bench.policies[point as usize] {
            Rule::None => (Permit::Go, String::new()),
            Rule::Busy(reason) => (Permit::Wait(minute), reason.clone()),
            Rule::Never(reason) => (Permit::Fail, reason.clone()),
            Rule::Window(from, to) => {
                let (from, to) = (u64::from(*from), u64::from(*to));
                let time = (bench.booted + now.since(Instant::ZERO)).as_millis() / 60_000 % 1440;
                let inside = if from < to { (from..to).contains(&time) } else { time >= from || time < to };
                let wait = (from + 1440 - time) % 1440;
                let window = format!(
                    "outside the update window {:02}:{:02}-{:02}:{:02}",
                    from / 60,
                    from % 60,
                    to / 60,
                    to % 60
                );
                if inside {
                    (Permit::Go, String::new())
                } else {
                    (Permit::Wait(Duration::from_secs(wait * 60)), window)
                }
            }
        };
    }

    fn poll(&mut self, _: Instant) -> Poll<Permit> {
        if self.bench.is_down() { Poll::Pending } else { Poll::Ready(self.answer) }
    }

    fn kill(&mut self) {}

    fn reason(&self) -> &str {
        &self.reason
    }
}
