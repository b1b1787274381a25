//! `show-artifact` and `show-provides`: they take no lock, so they work beside a running daemon.

use thimble_core::artifact::provides::UNKNOWN;
use thimble_hal_linux::storage::{Access, Notice};

use crate::args::Invocation;
use crate::bootstrap;
use crate::device::Device;
use crate::output::{Failure, one_line, print};
use crate::provides::Provides;
use crate::signals::Signals;

pub(crate) fn artifact(invocation: &Invocation) -> Result<u8, Failure> {
    let provides = current(invocation)?;
    print(&format!("{}\n", one_line(provides.name().unwrap_or(UNKNOWN))))
}

pub(crate) fn provides(invocation: &Invocation) -> Result<u8, Failure> {
    print(&current(invocation)?.lines())
}

/// What is installed. The bootstrap artifact comes first, which changes the store and so needs the lock, as setting a damaged
/// store aside does: somebody who has it, or a datastore that cannot be written, means that it has to wait.
fn current(invocation: &Invocation) -> Result<Provides, Failure> {
    let device = Device::open(invocation)?;
    if device.was_never_used()? {
        return Ok(Provides::of_name(device.name_of_image()));
    }
    let (mut store, notices) = device.open_store(Access::ReadOnly)?;
    let stored = Provides::read(&mut store).inspect_err(|_| device.log_notices(&notices))?;
    let is_broken = notices.iter().any(|notice| matches!(notice, Notice::Broken { .. }));
    let is_settled = !is_broken && !device.paths.bootstrap().exists();
    let lock = if is_settled { None } else { device.lock(invocation.verb).ok() };
    // Whoever opens the store to change it notices the same, and says what it has done about it.
    let Some(storage) = lock.as_ref().and_then(|_| device.store().ok()) else {
        device.log_notices(&notices);
        return Ok(stored);
    };
    let mut signals = Signals::new().map_err(Failure::new)?;
    Provides::read(&mut bootstrap::ensure(&device, storage, &mut signals)?)
}
