//! The Linux side of thimble.

pub mod agent;
pub mod bootloader;
pub mod clock;
pub mod config;
pub mod dbus;
pub mod decompress;
pub mod file_source;
pub mod forward;
#[cfg(feature = "gpio")]
pub mod gpio;
pub mod handler;
pub mod hints;
pub mod keys;
pub mod lock;
pub mod log;
pub mod module;
pub mod near;
pub mod network;
pub mod paths;
pub mod platform;
pub mod policy;
pub mod process;
pub mod rootfs;
pub mod scripts;
pub mod secret;
pub mod snapshot;
pub mod storage;
pub mod system;
pub mod takeover;
pub mod terminal;
pub mod trust;
pub mod verify;
pub mod wait;

mod der;
mod fsat;
mod sys;
#[cfg(test)]
mod testing;
mod x509;

use std::cell::RefCell;
use std::rc::Rc;

/// To be called first in a process: what it frees of large buffers, it does not keep.
pub fn return_large_buffers() {
    sys::return_large_buffers();
}

/// Whether the process ignores a signal. To be asked before anything is done about that signal: `nohup` has SIGHUP
/// ignored by what it starts.
#[must_use]
pub fn ignores_signal(signal: i32) -> bool {
    sys::is_ignored(signal)
}

/// The one log, shared by everything that has something to say. The client is a single thread.
pub type SharedLog = Rc<RefCell<dyn thimble_core::hal::Log>>;
