//! Who the device is: the output of `identity/mender-device-identity`.

use std::path::{Path, PathBuf};
use std::task::Poll;

use thimble_core::hal::{ErrorType, Identity};
use thimble_core::limits;
use thimble_core::time::Instant;

use super::{AgentError, Program};
use crate::SharedLog;
use crate::wait::PollSet;

/// The identity of a device that runs Linux.
pub struct DeviceIdentity {
    path: PathBuf,
    pub(super) program: Program,
}

impl DeviceIdentity {
    /// Of the program below `data`. Starts nothing.
    #[must_use]
    pub fn new(data: &Path, log: SharedLog) -> Self {
        Self { path: data.join("identity/mender-device-identity"), program: Program::new(log) }
    }

    /// Adds the descriptors that the next poll would read from or write to.
    pub fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        self.program.wants(set);
    }
}

impl ErrorType for DeviceIdentity {
    type Error = AgentError;
}

impl Identity for DeviceIdentity {
    fn start(&mut self, now: Instant) -> Result<(), AgentError> {
        self.cancel();
        self.program.start(now, &self.path, limits::IDENTITY)
    }

    fn poll(&mut self, now: Instant, out: &mut [u8]) -> Poll<Result<usize, AgentError>> {
        self.program.poll_output(now, limits::IDENTITY).map(|output| {
            let output = output?;
            let front = out.get_mut(..output.len()).ok_or(AgentError::NoRoom)?;
            front.copy_from_slice(&output);
            Ok(output.len())
        })
    }

    fn cancel(&mut self) {
        self.program.running = None;
    }

    fn deadline(&self) -> Option<Instant> {
        self.program.deadline()
    }
}
