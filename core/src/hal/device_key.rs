use super::{ErrorType, Poll};
use crate::time::Instant;

/// The key by which the servers know the device again (SERVER-13, SERVER-18). Only the daemon uses it.
pub trait DeviceKey: ErrorType {
    /// Ready with the public key: PEM (SubjectPublicKeyInfo) with LF line ends and a final one. A key is made, and durable
    /// before it is used, when none exists; never when one cannot be read. Pending while it is made: called again then,
    /// for [`IDENTITY_WAIT`](crate::config::IDENTITY_WAIT) at most from the question for the identity on; then
    /// [`Self::cancel`] comes, and the next authentication begins anew.
    fn poll_public_key(&mut self, now: Instant) -> Poll<Result<&str, Self::Error>>;

    /// Ready with the signature of `body` in standard base64, in the front of `out`
    /// ([`crate::limits::SIGNATURE`] bytes). Pending while it is made: called again with the same arguments then,
    /// within the same time.
    fn poll_sign<'o>(
        &mut self,
        now: Instant,
        body: &[u8],
        out: &'o mut [u8],
    ) -> Poll<Result<&'o str, Self::Error>>;

    /// What is pending is not wanted any more. A key that is being made may go on being made: the next call may find it.
    fn cancel(&mut self) {}

    /// When a poll should be made though nothing woke the platform.
    fn deadline(&self) -> Option<Instant> {
        None
    }
}

impl<T: DeviceKey + ?Sized> DeviceKey for &mut T {
    fn poll_public_key(&mut self, now: Instant) -> Poll<Result<&str, Self::Error>> {
        T::poll_public_key(self, now)
    }

    fn poll_sign<'o>(
        &mut self,
        now: Instant,
        body: &[u8],
        out: &'o mut [u8],
    ) -> Poll<Result<&'o str, Self::Error>> {
        T::poll_sign(self, now, body, out)
    }

    fn cancel(&mut self) {
        T::cancel(self);
    }

    fn deadline(&self) -> Option<Instant> {
        T::deadline(self)
    }
}
