//! The handler of payloads: an update module where one of the payload's type is installed, else the built-in one
//! for root file systems (U-2).

use std::fmt;
use std::task::Poll;

use thimble_core::deployment::Call;
use thimble_core::hal::{self, ErrorType, Exit, Kind, PayloadSink, Stored, TreeFacts, UpdateModule};
use thimble_core::module::rootfs::{PAYLOAD_TYPE, RootfsError, RootfsImage};
use thimble_core::time::{Duration, Instant};

use crate::bootloader::{BootError, LinuxBootloader};
use crate::module::{ModuleError, Modules};
use crate::rootfs::{LinuxSlots, RootfsIo};
use crate::wait::PollSet;

/// The built-in handler, with the slots of this device.
pub type Rootfs = RootfsImage<LinuxBootloader, LinuxSlots>;

/// All handlers of a Linux device.
pub struct Handlers {
    modules: Modules,
    rootfs: Rootfs,
    built_in: bool,
}

impl Handlers {
    /// Chooses between these two.
    #[must_use]
    pub const fn new(modules: Modules, rootfs: Rootfs) -> Self {
        Self { modules, rootfs, built_in: false }
    }

    /// Adds the descriptors that the next poll would read from or write to.
    pub fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        self.modules.wants(set);
        self.rootfs.boot().wants(set);
        self.rootfs.slots().wants(set);
    }

    /// The built-in handler of root file systems.
    pub const fn rootfs(&mut self) -> &mut Rootfs {
        &mut self.rootfs
    }
}

/// An error of the handler that was chosen for the payload.
#[derive(Debug)]
pub enum HandlerError {
    /// An update module's.
    Module(ModuleError),
    /// The built-in handler's.
    Rootfs(RootfsError<BootError, RootfsIo>),
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Module(error) => error.fmt(f),
            Self::Rootfs(error) => error.fmt(f),
        }
    }
}

impl hal::Error for HandlerError {
    fn kind(&self) -> Kind {
        match self {
            Self::Module(error) => error.kind(),
            Self::Rootfs(error) => error.kind(),
        }
    }
}

/// Calls the chosen handler and wraps its error.
macro_rules! chosen {
    ($self:ident.$($call:tt)*) => {
        if $self.built_in {
            $self.rootfs.$($call)*.map_err(HandlerError::Rootfs)
        } else {
            $self.modules.$($call)*.map_err(HandlerError::Module)
        }
    };
}

/// Whether payloads of this type are for the built-in handler: no update module of the type is installed.
#[must_use]
pub fn is_built_in(modules: &Modules, payload_type: &str) -> bool {
    payload_type == PAYLOAD_TYPE && !modules.has(payload_type)
}

impl ErrorType for Handlers {
    type Error = HandlerError;
}

impl UpdateModule for Handlers {
    fn select(&mut self, payload_type: &str) -> Result<(), HandlerError> {
        self.built_in = is_built_in(&self.modules, payload_type);
        chosen!(self.select(payload_type))
    }

    fn prepare(&mut self, facts: &TreeFacts<'_>) -> Result<(), HandlerError> {
        chosen!(self.prepare(facts))
    }

    fn prepare_again(&mut self, facts: &TreeFacts<'_>) -> Result<(), HandlerError> {
        chosen!(self.prepare_again(facts))
    }

    fn start(&mut self, now: Instant, call: Call) -> Result<(), HandlerError> {
        chosen!(self.start(now, call))
    }

    fn poll_exit(&mut self, now: Instant) -> Poll<Result<Exit, HandlerError>> {
        chosen!(self.poll_exit(now))
    }

    fn start_check_running(&mut self, now: Instant) -> Result<bool, HandlerError> {
        chosen!(self.start_check_running(now))
    }

    fn rollback_waits(&self) -> bool {
        if self.built_in { self.rootfs.rollback_waits() } else { self.modules.rollback_waits() }
    }

    fn answer(&self) -> &[u8] {
        if self.built_in { self.rootfs.answer() } else { self.modules.answer() }
    }

    fn kill(&mut self, now: Instant, grace: Duration) {
        if self.built_in { self.rootfs.kill(now, grace) } else { self.modules.kill(now, grace) }
    }

    fn deadline(&self) -> Option<Instant> {
        if self.built_in { self.rootfs.deadline() } else { self.modules.deadline() }
    }

    fn is_clean(&mut self) -> bool {
        // Both handlers use the same work tree, so asking one of them is enough.
        self.modules.is_clean()
    }

    fn remove(&mut self) -> Result<(), HandlerError> {
        chosen!(self.remove())
    }
}

impl PayloadSink for Handlers {
    fn expect(&mut self, sha256: &[u8; 32]) {
        if self.built_in {
            self.rootfs.expect(sha256);
        } else {
            self.modules.expect(sha256);
        }
    }

    fn poll_begin(&mut self, now: Instant, name: &str, size: u64) -> Poll<Result<(), HandlerError>> {
        chosen!(self.poll_begin(now, name, size))
    }

    fn poll_write(&mut self, now: Instant, bytes: &[u8]) -> Poll<Result<usize, HandlerError>> {
        chosen!(self.poll_write(now, bytes))
    }

    fn poll_end(&mut self, now: Instant) -> Poll<Result<(), HandlerError>> {
        chosen!(self.poll_end(now))
    }

    fn poll_finish(&mut self, now: Instant) -> Poll<Result<(), HandlerError>> {
        chosen!(self.poll_finish(now))
    }

    fn mark_every(&self) -> u64 {
        if self.built_in { self.rootfs.mark_every() } else { self.modules.mark_every() }
    }

    fn mark(&mut self, sha256: &[u8; 32]) -> Result<(), HandlerError> {
        chosen!(self.mark(sha256))
    }

    fn stored(&mut self) -> Option<Stored> {
        if self.built_in { self.rootfs.stored() } else { self.modules.stored() }
    }

    fn read_stored(&mut self, to: &mut [u8]) -> Result<usize, HandlerError> {
        chosen!(self.read_stored(to))
    }

    fn forget_stored(&mut self) -> Result<(), HandlerError> {
        chosen!(self.forget_stored())
    }

    fn abort(&mut self) {
        if self.built_in {
            self.rootfs.abort();
        } else {
            self.modules.abort();
        }
    }
}
