use super::{ErrorType, Poll};
use crate::http::{Head, Request};
use crate::time::Instant;

/// Requests, one at a time, each on whatever connection the platform likes. All waits end by the time limits of
/// SERVER-70 to SERVER-73, reported as errors of kind [`super::Kind::TimedOut`].
pub trait Network: ErrorType {
    /// Begins a request; an outstanding one is cancelled first. An error here means it was never sent. The bytes of a
    /// body follow by [`Self::poll_send`].
    fn start(&mut self, now: Instant, request: &Request<'_>) -> Result<(), Self::Error>;

    /// Sends from the front of `rest`, which is the body of the request without what was taken before: ready with how
    /// many bytes of it were taken. 0: the server answered early and wants no more.
    ///
    /// Called until all bytes of the body are taken, or no more are wanted; then it is the turn of [`Self::poll_head`].
    /// `rest` is never empty, and not longer than [`Request::body`] says.
    fn poll_send(&mut self, now: Instant, rest: &[u8]) -> Poll<Result<usize, Self::Error>>;

    /// Ready with the head of the response.
    fn poll_head(&mut self, now: Instant) -> Poll<Result<Head, Self::Error>>;

    /// Bytes of the body into `buf`; 0 is its complete end, a short body is an error of kind
    /// [`super::Kind::Connection`].
    fn poll_read(&mut self, now: Instant, buf: &mut [u8]) -> Poll<Result<usize, Self::Error>>;

    /// The strong `ETag` of the last response, if it had one.
    fn etag(&self) -> Option<&str> {
        None
    }

    /// Drops the request and its connection.
    fn cancel(&mut self);

    /// When a poll should be made though nothing woke the platform.
    fn deadline(&self) -> Option<Instant> {
        None
    }
}

impl<T: Network + ?Sized> Network for &mut T {
    fn start(&mut self, now: Instant, request: &Request<'_>) -> Result<(), Self::Error> {
        T::start(self, now, request)
    }

    fn poll_send(&mut self, now: Instant, rest: &[u8]) -> Poll<Result<usize, Self::Error>> {
        T::poll_send(self, now, rest)
    }

    fn poll_head(&mut self, now: Instant) -> Poll<Result<Head, Self::Error>> {
        T::poll_head(self, now)
    }

    fn poll_read(&mut self, now: Instant, buf: &mut [u8]) -> Poll<Result<usize, Self::Error>> {
        T::poll_read(self, now, buf)
    }

    fn etag(&self) -> Option<&str> {
        T::etag(self)
    }

    fn cancel(&mut self) {
        T::cancel(self);
    }

    fn deadline(&self) -> Option<Instant> {
        T::deadline(self)
    }
}
