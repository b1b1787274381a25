//! `check-update` and `send-inventory`: signals to the running daemon.

use std::ffi::OsStr;
use std::path::Path;
use std::task::Poll;

use rustix::process::{Pid, Signal, kill_process};
use thimble_core::hal::{Clock, Exit};
use thimble_core::time::{Duration, earliest};
use thimble_hal_linux::clock::BootClock;
use thimble_hal_linux::lock::LockHolder;
use thimble_hal_linux::process::{Options, Process, Stdout};
use thimble_hal_linux::storage::DataDirectory;
use thimble_hal_linux::wait::PollSet;

use crate::args::Invocation;
use crate::device::Device;
use crate::output::{Failure, SUCCESS};
use crate::verbs::VerbName;

/// The services that may be the daemon: Mender 5's name, then Mender 3's.
const SERVICES: [&str; 2] = ["mender-updated", "mender-client"];

/// systemctl answers in milliseconds, or not at all.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn signal(invocation: &Invocation) -> Result<u8, Failure> {
    let device = Device::open(invocation)?;
    let signal = if invocation.verb == VerbName::SendInventory { Signal::USR2 } else { Signal::USR1 };
    let pid = SERVICES
        .into_iter()
        .find_map(main_pid)
        .or_else(|| lock_holder(&device))
        .ok_or_else(|| device.no_daemon("no daemon is running: start the service first"))?;
    kill_process(pid, signal).map_err(|error| {
        Failure::new(format_args!("process {} cannot be signalled: {error}", pid.as_raw_nonzero()))
    })?;
    Ok(SUCCESS)
}

/// The daemon's process as systemd knows it.
fn main_pid(service: &str) -> Option<Pid> {
    let args = ["show", "--property=MainPID", service].map(OsStr::new);
    let options =
        Options { args: &args, stdout: Stdout::Answer(256), ..Options::new(Path::new("systemctl"), 0) };
    let mut systemctl = Process::spawn(&options).ok()?;
    let limit = BootClock.now() + PATIENCE;
    let exit = loop {
        let now = BootClock.now();
        if let Poll::Ready(exit) = systemctl.poll(now, &mut |_, _| {}) {
            break exit;
        }
        if now >= limit {
            systemctl.kill(now, Duration::ZERO);
        }
        let mut set = PollSet::new();
        systemctl.wants(&mut set);
        set.wait(now, earliest(systemctl.deadline(), (now < limit).then_some(limit))).ok()?;
    };
    (exit == Exit::Code(0)).then_some(())?;
    let first = str::from_utf8(systemctl.answer().ok()?).ok()?.lines().next()?;
    Pid::from_raw(first.strip_prefix("MainPID=")?.parse().ok().filter(|&pid| pid > 1)?)
}

/// Without systemd: who holds the datastore says so in the lock file (C-4).
fn lock_holder(device: &Device) -> Option<Pid> {
    let directory = DataDirectory::open(device.paths.datastore()).ok()?;
    let holder = LockHolder::find(&directory).ok()?.filter(|holder| holder.verb == "daemon")?;
    Pid::from_raw(i32::try_from(holder.pid).ok()?)
}
