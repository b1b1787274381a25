//! The traits a platform implements, one file each, and the [`Hal`] that holds one value of each.
//!
//! Conventions, the same everywhere:
//!
//! * `start*` begins a long operation and returns at once; `poll_*` never blocks and may be called at any
//!   time, also too early; `kill` and `cancel` never fail and may be called when nothing runs.
//! * At most one operation of a trait is outstanding.
//! * `Poll::Pending` promises that the platform wakes its main loop when it makes sense to poll again, or
//!   that the platform's `deadline` says when.
//! * Errors carry text for people (`Display`, one line, no trailing full stop: what was wrong, where, what to
//!   do) and a [`Kind`] for the driver; nothing generic enters the machine.

mod bootloader;
mod cause;
mod clock;
mod decompress;
mod deployment_log;
mod device_key;
mod identity;
mod inventory;
mod kind;
mod lines;
mod log;
mod module;
mod network;
mod policy;
mod script_runner;
mod sink;
mod slots;
mod storage;
mod system;
mod verifier;

pub use bootloader::{BootCall, BootStatus, Bootloader, Slot};
pub use clock::Clock;
pub use decompress::{Compression, Decompress, DecompressError, Decompressed};
pub use deployment_log::DeploymentLog;
pub use device_key::DeviceKey;
pub use identity::{Fixed, Identity, TooLongIdentity};
pub use inventory::Inventory;
pub use kind::Kind;
pub use lines::Lines;
pub use log::{Level, Log};
pub use module::{TreeFacts, UpdateModule};
pub use network::Network;
pub use policy::{Permit, Policy};
pub use script_runner::{NoScripts, ScriptRunner, ScriptsRefused};
pub use sink::{PayloadSink, Stored};
pub use slots::Slots;
pub use storage::{Change, Key, Storage};
pub use system::System;
pub use verifier::Verifier;

pub use core::task::Poll;

use core::fmt;

#[cfg(feature = "text")]
use crate::message::Catalogue;
use crate::message::{self, texts};

pub(crate) use cause::Cause;

/// The error type of a trait's operations, as `embedded-io` does it.
pub trait ErrorType {
    /// What its operations fail with.
    type Error: Error;
}

impl<T: ErrorType + ?Sized> ErrorType for &mut T {
    type Error = T::Error;
}

/// `()` stands for a part that a device does not have, where a trait says what that means.
impl ErrorType for () {
    type Error = core::convert::Infallible;
}

/// A platform's error: text for people, a kind for the driver.
pub trait Error: fmt::Debug + fmt::Display {
    /// What the driver may want to tell apart.
    fn kind(&self) -> Kind;

    /// Writes what a build without feature `text` shows of it, as an argument of a code ([`crate::message`]): its kind.
    /// What core itself knows more of writes that.
    ///
    /// # Errors
    /// Those of `f`.
    fn write_code(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        message::write(f, &self.kind())
    }
}

/// Every error of `embedded-io` is one here too, so that the error of a stream, a socket or a flash driver needs no second
/// type. A type with kinds that `embedded-io` lacks ([`Kind`]) implements this trait instead of that one.
impl<E: embedded_io::Error> Error for E {
    fn kind(&self) -> Kind {
        embedded_io::Error::kind(self).into()
    }
}

/// How a script or module process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// It exited with this status.
    Code(u8),
    /// It was ended by this signal.
    Signal(u8),
}

impl Exit {
    /// Exit status 0.
    #[must_use]
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Code(0))
    }
}

texts! {
    EXITS = 'H': Exit {
        11 Code(code) => "exit status {code}",
        12 Signal(signal) => "signal {signal}",
    }
}

/// One associated type per trait: what a board or an operating system brings.
pub trait Platform {
    /// Durable records.
    type Storage: Storage;
    /// State scripts.
    type Scripts: ScriptRunner;
    /// The handler of payloads: update modules on Linux, a built-in one on a board.
    type Module: UpdateModule;
    /// Where artifacts come from and requests go to.
    type Network: Network;
    /// Facts about the device, and its reboot.
    type System: System;
    /// Who the device is.
    type Identity: Identity;
    /// Its key.
    type DeviceKey: DeviceKey;
    /// What it tells of itself.
    type Inventory: Inventory;
    /// What it tells of a deployment that failed.
    type DeploymentLog: DeploymentLog;
    /// When updates are welcome.
    type Policy: Policy;
    /// The monotonic clock.
    type Clock: Clock;
    /// The log.
    type Log: Log;
    /// Verification of artifact signatures.
    type Verifier: Verifier;
    /// Decompression of headers and payloads.
    type Decompress: Decompress;
}

/// One value of each trait. The fields are public so that a driver can borrow them apart.
#[expect(missing_docs, reason = "each field is the trait of its name")]
pub struct Hal<P: Platform> {
    pub storage: P::Storage,
    pub scripts: P::Scripts,
    pub module: P::Module,
    pub network: P::Network,
    pub system: P::System,
    pub identity: P::Identity,
    pub device_key: P::DeviceKey,
    pub inventory: P::Inventory,
    pub deployment_log: P::DeploymentLog,
    pub policy: P::Policy,
    pub clock: P::Clock,
    pub log: P::Log,
    pub verifier: P::Verifier,
    pub decompress: P::Decompress,
}

/// All texts here.
#[cfg(feature = "text")]
pub(crate) const TEXTS: &[&Catalogue] =
    &[&kind::KINDS, &EXITS, &decompress::ERRORS, &identity::ERRORS, &script_runner::ERRORS];
