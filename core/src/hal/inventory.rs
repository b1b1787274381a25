use super::{ErrorType, Poll};
use crate::time::Instant;

/// What the device tells its servers of itself beside what is installed (SERVER-53, SERVER-54): the outputs of its inventory
/// programs, each of them lines of `key=value`. Only the daemon asks.
///
/// `()` is that of a device which has nothing more to tell.
pub trait Inventory: ErrorType {
    /// Starts the programs. None is no error. What was begun before is ended.
    fn start(&mut self, now: Instant) -> Result<(), Self::Error>;

    /// Ready when all have ended. Ends by itself: each has ten seconds.
    fn poll(&mut self, now: Instant) -> Poll<()>;

    /// The name of the program of this number, of those that ended well, and what it printed; `None` behind the last.
    fn output(&self, index: usize) -> Option<(&str, &[u8])>;

    /// Ends what runs, and forgets the outputs.
    fn cancel(&mut self) {}

    /// When a poll should be made though nothing woke the platform.
    fn deadline(&self) -> Option<Instant> {
        None
    }
}

impl Inventory for () {
    fn start(&mut self, _: Instant) -> Result<(), Self::Error> {
        Ok(())
    }

    fn poll(&mut self, _: Instant) -> Poll<()> {
        Poll::Ready(())
    }

    fn output(&self, _: usize) -> Option<(&str, &[u8])> {
        None
    }
}

impl<T: Inventory + ?Sized> Inventory for &mut T {
    fn start(&mut self, now: Instant) -> Result<(), Self::Error> {
        T::start(self, now)
    }

    fn poll(&mut self, now: Instant) -> Poll<()> {
        T::poll(self, now)
    }

    fn output(&self, index: usize) -> Option<(&str, &[u8])> {
        T::output(self, index)
    }

    fn cancel(&mut self) {
        T::cancel(self);
    }

    fn deadline(&self) -> Option<Instant> {
        T::deadline(self)
    }
}
