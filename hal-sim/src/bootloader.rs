//! The boot loader of the simulated device, behind the trait that ports implement.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use std::task::Poll;

use thimble_core::hal::{BootCall, BootStatus, Bootloader, Error, ErrorType, Kind, Slot};
use thimble_core::time::{Duration, Instant};

use crate::world::Device;

/// Over a device that somebody else boots. Each write is a step of its own: wholly there or not at all.
#[derive(Clone, Debug)]
pub struct SimBootloader {
    device: Rc<RefCell<Device>>,
    /// The answer to the call at hand.
    answer: Option<Result<BootStatus, NoSlots>>,
}

impl SimBootloader {
    /// The boot loader of `device`.
    #[must_use]
    pub const fn new(device: Rc<RefCell<Device>>) -> Self {
        Self { device, answer: None }
    }

    fn status(&self) -> Result<BootStatus, NoSlots> {
        let device = self.device.borrow();
        if !device.profile.slots {
            return Err(NoSlots);
        }
        Ok(BootStatus { running: slot(device.running), selected: slot(device.next), trial: device.trial })
    }

    fn select(&self, slot: Slot, trial: bool) -> Result<BootStatus, NoSlots> {
        let status = self.status()?;
        if (status.selected, status.trial) != (slot, trial) {
            let mut device = self.device.borrow_mut();
            (device.next, device.trial, device.boots) = (number(slot), trial, 0);
        }
        self.status()
    }
}

const fn number(slot: Slot) -> usize {
    match slot {
        Slot::A => 0,
        Slot::B => 1,
    }
}

const fn slot(number: usize) -> Slot {
    if number == 0 { Slot::A } else { Slot::B }
}

/// The device has no slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSlots;

impl fmt::Display for NoSlots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the simulated device has no slots")
    }
}

impl Error for NoSlots {
    fn kind(&self) -> Kind {
        Kind::NotFound
    }
}

impl ErrorType for SimBootloader {
    type Error = NoSlots;
}

impl Bootloader for SimBootloader {
    fn running(&mut self) -> Result<Slot, NoSlots> {
        self.status().map(|status| status.running)
    }

    fn start(&mut self, _now: Instant, call: BootCall) -> Result<(), NoSlots> {
        self.answer = Some(match call {
            BootCall::Status | BootCall::Check => self.status(),
            BootCall::Trial(slot) => self.select(slot, true),
            BootCall::Permanent(slot) => self.select(slot, false),
        });
        Ok(())
    }

    fn poll(&mut self, _now: Instant) -> Poll<Result<BootStatus, NoSlots>> {
        self.answer.take().map_or(Poll::Pending, Poll::Ready)
    }

    fn stop(&mut self, _now: Instant, _grace: Duration) {}
}
