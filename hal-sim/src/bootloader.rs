//! The boot loader of the simulated device, behind the trait that ports implement.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use thimble_core::hal::{BootStatus, Bootloader, Error, ErrorType, Kind, Slot};

use crate::world::Device;

/// Over a device that somebody else boots. Each write is a step of its own: wholly there or not at all.
#[derive(Clone, Debug)]
pub struct SimBootloader(Rc<RefCell<Device>>);

impl SimBootloader {
    /// The boot loader of `device`.
    #[must_use]
    pub const fn new(device: Rc<RefCell<Device>>) -> Self {
        Self(device)
    }

    fn select(&self, slot: Slot, trial: bool) {
        let mut device = self.0.borrow_mut();
        (device.next, device.trial, device.boots) = (number(slot), trial, 0);
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

    fn status(&mut self) -> Result<BootStatus, NoSlots> {
        let device = self.0.borrow();
        if !device.profile.slots {
            return Err(NoSlots);
        }
        Ok(BootStatus { running: slot(device.running), selected: slot(device.next), trial: device.trial })
    }

    fn set_trial(&mut self, slot: Slot) -> Result<(), NoSlots> {
        let status = self.status()?;
        if (status.selected, status.trial) != (slot, true) {
            self.select(slot, true);
        }
        Ok(())
    }

    fn set_permanent(&mut self, slot: Slot) -> Result<(), NoSlots> {
        let status = self.status()?;
        if (status.selected, status.trial) != (slot, false) {
            self.select(slot, false);
        }
        Ok(())
    }

    fn self_check(&mut self) -> Result<BootStatus, NoSlots> {
        self.status()
    }
}
