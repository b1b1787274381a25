use super::{ErrorType, Exit, Poll};
use crate::time::Instant;

/// Facts about the device, and its reboot.
pub trait System: ErrorType {
    /// The device type (the value of `device_type=` in the device type file), in the front of `buf`.
    fn device_type<'b>(&mut self, buf: &'b mut [u8]) -> Result<&'b str, Self::Error>;

    /// Asks for a reboot. On a machine the process is ended soon after; the caller goes on waiting and treats
    /// still being alive after [`crate::config::REBOOT_WAIT`] as a failure. An error means it was refused at once.
    fn start_reboot(&mut self, now: Instant) -> Result<(), Self::Error>;

    /// Ready when the reboot command itself ended (a failure at once when that was not success; R-2). A device that resets
    /// itself has no such command.
    fn poll_reboot(&mut self, now: Instant) -> Poll<Result<Exit, Self::Error>> {
        let _ = now;
        Poll::Pending
    }
}

impl<T: System + ?Sized> System for &mut T {
    fn device_type<'b>(&mut self, buf: &'b mut [u8]) -> Result<&'b str, Self::Error> {
        T::device_type(self, buf)
    }

    fn start_reboot(&mut self, now: Instant) -> Result<(), Self::Error> {
        T::start_reboot(self, now)
    }

    fn poll_reboot(&mut self, now: Instant) -> Poll<Result<Exit, Self::Error>> {
        T::poll_reboot(self, now)
    }
}
