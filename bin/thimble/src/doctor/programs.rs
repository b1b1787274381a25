//! State scripts, update modules, and the programs that say who the device is and what it has: whether they ever run.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use thimble_core::artifact::is_payload_type;
use thimble_hal_linux::agent;
use thimble_hal_linux::scripts;
use thimble_hal_linux::trust::{Fault, Untrusted, check_program, fault_of_program};

use crate::device::Device;
use crate::doctor::{Findings, Severity, is_hidden};

/// Findings of one kind that are told one by one.
const MOST: usize = 64;

/// Entries of a directory that are looked at.
const MOST_LOOKED_AT: usize = 4096;

pub(super) fn look(device: &Device, found: &mut Findings) {
    identity(device, found);
    state_scripts(&device.paths.rootfs_scripts(), found);
    modules(device, found);
    let faults = agent::inventory_faults(device.paths.data()).into_iter();
    let faults =
        faults.map(|fault| (Severity::Doubtful, fault.so_that("its values are missing at the server")));
    tell("inventory", faults.collect(), found);
}

/// Tells the first ones, and how many more there are.
fn tell(name: &'static str, faults: Vec<(Severity, Fault)>, found: &mut Findings) {
    let more = faults.len().saturating_sub(MOST);
    for (severity, Fault { text, mend }) in faults.into_iter().take(MOST) {
        found.add(severity, name, text, mend);
    }
    found.left_out(name, more);
}

fn state_scripts(dir: &Path, found: &mut Findings) {
    const NAME: &str = "state scripts";
    if is_hidden(dir) {
        return found.unseen(NAME, format_args!("{} is not readable", dir.display()));
    }
    let faults = scripts::faults(dir);
    if faults.is_empty() && dir.is_dir() {
        found.good(NAME, format_args!("nothing is against those in {}", dir.display()));
    }
    let faults =
        faults.into_iter().map(|it| (if it.stops { Severity::Stops } else { Severity::Doubtful }, it.fault));
    tell(NAME, faults.collect(), found);
}

fn modules(device: &Device, found: &mut Findings) {
    const NAME: &str = "update modules";
    let dir = device.paths.modules();
    let has_slots = device.conf.rootfs_part_a.is_some() && device.conf.rootfs_part_b.is_some();
    let none = |found: &mut Findings| {
        let shown = dir.display();
        if let Some(trouble) = &device.conf_trouble {
            let what = format!("there is none in {shown}, and whether RootfsPartA and RootfsPartB are");
            return found.unset(trouble, NAME, &what);
        }
        let text = format!("there is none in {shown}, and no root file systems are set");
        found.stops(NAME, text, "install modules, or set RootfsPartA and RootfsPartB");
    };
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return found.unseen(NAME, format_args!("{}: {error}", dir.display()));
        }
        Err(_) if has_slots => return,
        Err(_) => return none(found),
    };
    let mut names: Vec<_> = entries.flatten().take(MOST_LOOKED_AT).map(|entry| entry.file_name()).collect();
    names.sort_unstable();
    let (mut good, mut faults) = (Vec::new(), Vec::new());
    for name in &names {
        let path = dir.join(name);
        let Some(name) = name.to_str().filter(|name| is_payload_type(name)) else {
            let text = format!("{} is not called like any type of payload, and never runs", path.display());
            faults.push((Severity::Doubtful, Fault { text, mend: "rename it, or move it elsewhere" }));
            continue;
        };
        match fault_of_program(&path) {
            None => good.push(name),
            Some(fault) => {
                let fault = fault.so_that(format_args!("artifacts of type {name} fail"));
                faults.push((Severity::Doubtful, fault));
            }
        }
    }
    if good.is_empty() && !has_slots {
        none(found);
    } else if !good.is_empty() {
        let more = match good.len().saturating_sub(MOST) {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        good.truncate(MOST);
        found.good(NAME, format_args!("{}{more}", good.join(", ")));
    }
    tell(NAME, faults, found);
}

fn identity(device: &Device, found: &mut Findings) {
    const NAME: &str = "identity";
    // Nobody asks who a device is that has no server.
    if device.conf.servers.is_empty() {
        return;
    }
    let path = device.paths.identity();
    if let Err(Untrusted::Io(_, error)) = check_program(&path) {
        if error.kind() == ErrorKind::PermissionDenied {
            return found.unseen(NAME, format_args!("{}: {error}", path.display()));
        }
        if path.symlink_metadata().is_err() {
            let text = format!("there is no {}, and no server accepts a device without one", path.display());
            return found.stops(NAME, text, "put a program there that prints key=value, such as mac=...");
        }
    }
    match fault_of_program(&path) {
        None => found.good(NAME, path.display()),
        Some(fault) => {
            let Fault { text, mend } = fault.so_that("no server accepts this device");
            found.stops(NAME, text, mend);
        }
    }
}
