use crate::time::Instant;

/// A clock that only moves forward, counting time in suspend where the platform can.
pub trait Clock {
    /// Now, in milliseconds since some point before this boot's first call.
    fn now(&mut self) -> Instant;
}

impl<T: Clock + ?Sized> Clock for &mut T {
    fn now(&mut self) -> Instant {
        T::now(self)
    }
}
