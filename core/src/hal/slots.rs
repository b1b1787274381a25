use core::fmt;

use super::{PayloadSink, Poll, Slot, TreeFacts};
use crate::time::Instant;

/// The two slots as a place for an image, and the little that must be known after a reboot.
pub trait Slots: PayloadSink {
    /// The next file goes into `slot`. The sink itself never writes where the running system is.
    fn aim(&mut self, slot: Slot) -> Result<(), Self::Error>;

    /// Whether `slot` can be started from as far as its storage knows: no update of it was interrupted.
    fn check(&mut self, slot: Slot) -> Result<(), Self::Error>;

    /// Ready when nothing is being written any more, also after [`PayloadSink::abort`]; or when the medium does not
    /// answer, which is not waited for without end.
    fn poll_idle(&mut self, now: Instant) -> Poll<()>;

    /// When a poll should be made though nothing woke the platform.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// See [`super::UpdateModule::prepare`].
    fn prepare(&mut self, facts: &TreeFacts<'_>) -> Result<(), Self::Error>;

    /// See [`super::UpdateModule::prepare_again`].
    fn prepare_again(&mut self, facts: &TreeFacts<'_>) -> Result<(), Self::Error> {
        self.prepare(facts)
    }

    /// Keeps the slot that ran before the update. Durable on return; gone with [`Self::remove`].
    fn remember(&mut self, running: Slot) -> Result<(), Self::Error>;

    /// What was remembered; `None` when nothing was.
    fn remembered(&mut self) -> Result<Option<Slot>, Self::Error>;

    /// See [`super::UpdateModule::is_clean`].
    fn is_clean(&mut self) -> bool;

    /// Whether there is a work tree: no call but `Cleanup` makes sense without.
    fn has_tree(&mut self) -> bool;

    /// See [`super::UpdateModule::remove`].
    fn remove(&mut self) -> Result<(), Self::Error>;

    /// Something that people should know of and that stops nothing.
    fn warn(&mut self, message: fmt::Arguments<'_>);
}

impl<T: Slots + ?Sized> Slots for &mut T {
    fn aim(&mut self, slot: Slot) -> Result<(), Self::Error> {
        T::aim(self, slot)
    }

    fn check(&mut self, slot: Slot) -> Result<(), Self::Error> {
        T::check(self, slot)
    }

    fn poll_idle(&mut self, now: Instant) -> Poll<()> {
        T::poll_idle(self, now)
    }

    fn deadline(&self) -> Option<Instant> {
        T::deadline(self)
    }

    fn prepare(&mut self, facts: &TreeFacts<'_>) -> Result<(), Self::Error> {
        T::prepare(self, facts)
    }

    fn prepare_again(&mut self, facts: &TreeFacts<'_>) -> Result<(), Self::Error> {
        T::prepare_again(self, facts)
    }

    fn remember(&mut self, running: Slot) -> Result<(), Self::Error> {
        T::remember(self, running)
    }

    fn remembered(&mut self) -> Result<Option<Slot>, Self::Error> {
        T::remembered(self)
    }

    fn is_clean(&mut self) -> bool {
        T::is_clean(self)
    }

    fn has_tree(&mut self) -> bool {
        T::has_tree(self)
    }

    fn remove(&mut self) -> Result<(), Self::Error> {
        T::remove(self)
    }

    fn warn(&mut self, message: fmt::Arguments<'_>) {
        T::warn(self, message);
    }
}
