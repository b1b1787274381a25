use core::fmt;

use super::{ErrorType, Poll};
use crate::message::{self, texts};
use crate::time::Instant;

/// Who the device is, for its servers (SERVER-12, SERVER-54): lines of `key=value`, of which the server makes the device's identity.
/// Only the daemon asks.
///
/// [`Fixed`] is that of a device whose identity is known when it is built.
pub trait Identity: ErrorType {
    /// Starts finding out. What was begun before is ended.
    fn start(&mut self, now: Instant) -> Result<(), Self::Error> {
        let _ = now;
        Ok(())
    }

    /// Ready with the whole output, copied to the front of `out`; how many bytes. Should end by itself; after
    /// [`IDENTITY_WAIT`](crate::config::IDENTITY_WAIT) it is ended by [`Self::cancel`].
    fn poll(&mut self, now: Instant, out: &mut [u8]) -> Poll<Result<usize, Self::Error>>;

    /// Ends what runs.
    fn cancel(&mut self) {}

    /// When a poll should be made though nothing woke the platform.
    fn deadline(&self) -> Option<Instant> {
        None
    }
}

/// The identity of a device that knows it: lines of `key=value`, at most [`crate::limits::IDENTITY`] bytes.
#[derive(Clone, Copy, Debug)]
pub struct Fixed<'a>(pub &'a str);

/// The identity is longer than what is lent for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLongIdentity;

texts! {
    ERRORS = 'H': TooLongIdentity {
        31 Self => "it is longer than the buffer that was lent for it",
    }
}

impl super::Error for TooLongIdentity {
    fn kind(&self) -> super::Kind {
        super::Kind::TooLarge
    }

    fn write_code(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        message::write(f, self)
    }
}

impl ErrorType for Fixed<'_> {
    type Error = TooLongIdentity;
}

impl Identity for Fixed<'_> {
    fn poll(&mut self, _: Instant, out: &mut [u8]) -> Poll<Result<usize, TooLongIdentity>> {
        let Some(room) = out.get_mut(..self.0.len()) else { return Poll::Ready(Err(TooLongIdentity)) };
        room.copy_from_slice(self.0.as_bytes());
        Poll::Ready(Ok(room.len()))
    }
}

impl<T: Identity + ?Sized> Identity for &mut T {
    fn start(&mut self, now: Instant) -> Result<(), Self::Error> {
        T::start(self, now)
    }

    fn poll(&mut self, now: Instant, out: &mut [u8]) -> Poll<Result<usize, Self::Error>> {
        T::poll(self, now, out)
    }

    fn cancel(&mut self) {
        T::cancel(self);
    }

    fn deadline(&self) -> Option<Instant> {
        T::deadline(self)
    }
}
