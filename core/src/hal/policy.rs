use super::Poll;
use crate::deployment::Point;
use crate::time::{Duration, Instant};

/// What a policy says about an update that stands before a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permit {
    /// Go on.
    Go,
    /// Not now; ask again after this time (at least a second). The policy itself sees to it that the wait ends.
    Wait(Duration),
    /// The update must not go on: it fails, as if the state behind the point had failed.
    Fail,
}

/// Policies of the device: when updates are welcome. Asked where no control map decides (a `force_continue` and a
/// person at the device pass by them), only when [`crate::config::Config::policies`] is set.
///
/// `()` is the policy of a device that has none.
pub trait Policy {
    /// Begins to ask whether an update, which has stood before `point` since then, may go on. Nothing is kept of an
    /// earlier question; after power loss the time at the point begins anew.
    fn start(&mut self, now: Instant, point: Point, since: Instant);

    /// Ready with the answer. Ends by itself.
    fn poll(&mut self, now: Instant) -> Poll<Permit>;

    /// Gives up the question.
    fn kill(&mut self);

    /// When a poll should be made though nothing woke the platform.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Why the last answer was not [`Permit::Go`], for people: one line.
    fn reason(&self) -> &str;
}

impl Policy for () {
    fn start(&mut self, _: Instant, _: Point, _: Instant) {}

    fn poll(&mut self, _: Instant) -> Poll<Permit> {
        Poll::Ready(Permit::Go)
    }

    fn kill(&mut self) {}

    fn reason(&self) -> &str {
        ""
    }
}

impl<T: Policy + ?Sized> Policy for &mut T {
    fn start(&mut self, now: Instant, point: Point, since: Instant) {
        T::start(self, now, point, since);
    }

    fn poll(&mut self, now: Instant) -> Poll<Permit> {
        T::poll(self, now)
    }

    fn kill(&mut self) {
        T::kill(self);
    }

    fn deadline(&self) -> Option<Instant> {
        T::deadline(self)
    }

    fn reason(&self) -> &str {
        T::reason(self)
    }
}
