use super::{ErrorType, Poll};
use crate::message::Coded;
use crate::time::{Duration, Instant};

/// One of the two root file systems of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "their names say all there is")]
pub enum Slot {
    A,
    B,
}

impl Slot {
    /// The one that this is not.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Its letter.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
        }
    }
}

impl Coded for Slot {
    fn content(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.name().content(f)
    }
}

impl core::fmt::Display for Slot {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

/// How the boot loader and the running system stand to each other, in one consistent look.
///
/// | trial | running = selected | meaning |
/// |---|---|---|
/// | no | yes | normal |
/// | yes | no | installed, not yet rebooted (or the reboot went wrong) |
/// | yes | yes | trial boot, not committed |
/// | no | no | inconsistent: nothing may be installed |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BootStatus {
    /// The slot the running root file system is in.
    pub running: Slot,
    /// The slot the boot loader starts next.
    pub selected: Slot,
    /// The boot loader starts `selected` once, and goes back to the other one unless it is made permanent.
    pub trial: bool,
}

/// What a boot loader is asked or told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BootCall {
    /// How it stands. An error when that cannot be said for sure; it is never guessed.
    Status,
    /// How it stands, after a check whether a trial could be set and would be read by the boot loader: its records are
    /// whole and can be written, it can save what we can read (the canary), and the slots are two. Check and answer are
    /// of one look. Asked before a payload is written. May bring redundant copies in step again; changes nothing else.
    Check,
    /// The next boot is a trial of this slot. The caller has seen that it is not the running one.
    Trial(Slot),
    /// The next boot, and every one after it, is of this slot. Commits the running slot, or takes a trial back.
    Permanent(Slot),
}

/// Decides which slot is started (BOOT-70).
///
/// Every write is atomic and durable when its call ends well: power loss inside it leaves the selection of before or
/// that of after, never a third one and never a device that starts nothing. A write that ends with an error has changed
/// nothing, or the error says that it has. Each may be repeated. Nothing is written when nothing changes.
///
/// A reset during the trial, also by a watchdog, counts as a failed boot: the boot loader goes back.
pub trait Bootloader: ErrorType {
    /// The slot the running root file system is in. Known to the running system: the boot loader's records are not
    /// looked at, and may be unreadable. Does not block.
    fn running(&mut self) -> Result<Slot, Self::Error>;

    /// Starts a call; an error when the one before has not ended.
    fn start(&mut self, now: Instant, call: BootCall) -> Result<(), Self::Error>;

    /// Ready when the call has ended: how it stands then. A call has an end of its own, also where a disk or a tool does
    /// not answer.
    fn poll(&mut self, now: Instant) -> Poll<Result<BootStatus, Self::Error>>;

    /// The call should end, after `grace` at the latest where that is possible; `poll` then reports the end.
    fn stop(&mut self, now: Instant, grace: Duration);

    /// When a poll should be made though nothing woke the platform.
    fn deadline(&self) -> Option<Instant> {
        None
    }
}

impl<T: Bootloader + ?Sized> Bootloader for &mut T {
    fn running(&mut self) -> Result<Slot, Self::Error> {
        T::running(self)
    }

    fn start(&mut self, now: Instant, call: BootCall) -> Result<(), Self::Error> {
        T::start(self, now, call)
    }

    fn poll(&mut self, now: Instant) -> Poll<Result<BootStatus, Self::Error>> {
        T::poll(self, now)
    }

    fn stop(&mut self, now: Instant, grace: Duration) {
        T::stop(self, now, grace);
    }

    fn deadline(&self) -> Option<Instant> {
        T::deadline(self)
    }
}
